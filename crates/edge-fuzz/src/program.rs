//! The command line of a `fuzz_NAME` example.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::runner::{read_corpus, run};
use crate::{Reached, Target};

const HELP: &str = "\
Options:
  --runs N          inputs to decode; default 100000
  --seed S          seed of the mutations; default 1
  --corpus DIR      further messages to start from
  --artifacts DIR   where inputs that panicked are kept; default fuzz/artifacts
  --write-corpus    write the seeds to the corpus folder instead of fuzzing
";

/// At most so many inputs that panicked are kept.
const ARTIFACTS_MAX: u64 = 20;

struct Arguments {
    runs: u64,
    seed: u64,
    corpus: Option<PathBuf>,
    artifacts: PathBuf,
    write_corpus: bool,
}

/// Runs a target as its command line says and prints the report, one line of JSON. Ends with
/// failure where an input panicked, and with status 2 where the arguments or seeds are wrong.
pub fn main(target: &Target<'_>) -> ExitCode {
    match fuzz(target, std::env::args().skip(1)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("fuzz_{}: {message}", target.name);
            ExitCode::from(2)
        }
    }
}

/// Answers the number of panics.
fn fuzz(target: &Target<'_>, arguments: impl Iterator<Item = String>) -> Result<u64, String> {
    let arguments = parse(arguments)?;
    for (index, seed) in target.seeds.iter().enumerate() {
        if (target.decode)(seed) != Reached::Value {
            return Err(format!("seed {index} is refused by the decoder"));
        }
    }
    if arguments.write_corpus {
        let folder = arguments.corpus.ok_or("`--write-corpus` needs `--corpus DIR`")?;
        for seed in target.seeds {
            write(&folder, "seed", seed)?;
        }
        return Ok(0);
    }
    let corpus = match &arguments.corpus {
        Some(folder) => read_corpus(folder)
            .map_err(|error| format!("cannot read {}: {error}", folder.display()))?,
        None => Vec::new(),
    };
    // A report says more than a backtrace for each of a million inputs.
    std::panic::set_hook(Box::new(|_| {}));
    let mut kept = 0;
    let report = run(target, &corpus, arguments.runs, arguments.seed, &mut |number, input| {
        if kept < ARTIFACTS_MAX {
            kept += 1;
            match write(&arguments.artifacts, target.name, input) {
                Ok(path) => eprintln!("input {number} panicked: {}", path.display()),
                Err(error) => eprintln!("input {number} panicked and is lost: {error}"),
            }
        }
    });
    drop(std::panic::take_hook());
    print_line(&report.to_string())?;
    Ok(report.panics)
}

fn print_line(line: &str) -> Result<(), String> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}").map_err(|error| format!("cannot print: {error}"))
}

/// Writes an input to a file named by its hash, so that equal inputs share one.
fn write(folder: &Path, prefix: &str, input: &[u8]) -> Result<PathBuf, String> {
    let path = folder.join(format!("{prefix}-{:016x}.bin", fnv(input)));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, input))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): a name, not a proof.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        runs: 100_000,
        seed: 1,
        corpus: None,
        artifacts: PathBuf::from("fuzz/artifacts"),
        write_corpus: false,
    };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("`{name}` needs a value"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("`{name}` does not take `{text}`"))
        };
        match name.as_str() {
            "--runs" => parsed.runs = number(value()?)?,
            "--seed" => parsed.seed = number(value()?)?,
            "--corpus" => parsed.corpus = Some(value()?.into()),
            "--artifacts" => parsed.artifacts = value()?.into(),
            "--write-corpus" => parsed.write_corpus = true,
            _ => return Err(format!("no option `{name}`\n\n{HELP}")),
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> std::vec::IntoIter<String> {
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn options_are_read_or_named() {
        let parsed = parse(arguments("--runs 7 --seed 9 --corpus c --artifacts a")).unwrap();
        assert_eq!((parsed.runs, parsed.seed), (7, 9));
        assert_eq!(parsed.corpus.unwrap(), Path::new("c"));
        for (text, expected) in [
            ("--runs", "`--runs` needs a value"),
            ("--runs x", "`--runs` does not take `x`"),
            ("--jobs 2", "no option `--jobs`"),
        ] {
            let error = parse(arguments(text)).err().unwrap();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_target_whose_seeds_are_refused_does_not_run() {
        let seeds = [vec![1]];
        let target = Target::new("none", &seeds, &|_| Reached::Header);
        let error = fuzz(&target, arguments("--runs 1")).unwrap_err();
        assert_eq!(error, "seed 0 is refused by the decoder");
    }
}
