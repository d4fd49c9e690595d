//! Feeding a decoder.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::mutation::{Random, mutate};
use crate::{Reached, Target};

/// Mutated inputs kept because they were still accepted whole; the oldest makes way.
const POOL_MAX: usize = 256;

/// Mutations that an ordinary test runs, times `EDGE_TEST_SCALE`.
const REPLAY_RUNS: u64 = 5_000;

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The name of the target.
    pub target: String,
    /// The seed of the mutations.
    pub seed: u64,
    /// Inputs decoded.
    pub runs: u64,
    /// Those that got past the frame.
    pub accepted_header: u64,
    /// Those that were accepted whole.
    pub accepted: u64,
    /// Those that made the decoder panic.
    pub panics: u64,
    /// The longest time one input took.
    pub slowest: Duration,
}

impl fmt::Display for Report {
    /// One JSON object, as `cargo xtask fuzz` reads it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, seed, runs, accepted_header, accepted, panics, slowest } = self;
        write!(
            formatter,
            "{{\"target\":\"{target}\",\"seed\":{seed},\"runs\":{runs},\
             \"accepted_header\":{accepted_header},\"accepted\":{accepted},\
             \"panics\":{panics},\"slowest_us\":{}}}",
            slowest.as_micros()
        )
    }
}

/// Decodes the seeds, the corpus, and then mutations of both until there were `runs` inputs.
/// Each input that makes the decoder panic is shown to `broken`, with its number.
///
/// # Panics
/// If the target has no seed: the caller's fault.
pub fn run(
    target: &Target<'_>,
    corpus: &[Vec<u8>],
    runs: u64,
    seed: u64,
    broken: &mut dyn FnMut(u64, &[u8]),
) -> Report {
    assert!(!target.seeds.is_empty(), "the target {} has no seed", target.name);
    let mut report = Report {
        target: target.name.to_owned(),
        seed,
        runs: 0,
        accepted_header: 0,
        accepted: 0,
        panics: 0,
        slowest: Duration::ZERO,
    };
    for input in target.seeds.iter().chain(corpus).take(runs as usize) {
        decode(target, input, &mut report, broken);
    }
    let mut random = Random::new(seed);
    let mut pool: Vec<Vec<u8>> = Vec::new();
    let mut oldest = 0;
    let mut input = Vec::new();
    while report.runs < runs {
        prepare(target, corpus, &pool, &mut random, &mut input);
        if decode(target, &input, &mut report, broken) == Some(Reached::Value) {
            if pool.len() < POOL_MAX {
                pool.push(input.clone());
            } else {
                pool[oldest].clone_from(&input);
                oldest = (oldest + 1) % POOL_MAX;
            }
        }
    }
    report
}

/// Makes the next input: a message from seeds, corpus or pool, broken, cut and mostly repaired.
fn prepare(
    target: &Target<'_>,
    corpus: &[Vec<u8>],
    pool: &[Vec<u8>],
    random: &mut Random,
    input: &mut Vec<u8>,
) {
    // The pool is left aside half the time: what drifts there is seldom like a real message.
    let pool = if random.quarters(2) { pool } else { &[] };
    let mut pick = || {
        let index = random.below(target.seeds.len() + corpus.len() + pool.len());
        let all = target.seeds.iter().chain(corpus).chain(pool);
        all.into_iter().nth(index).map_or(&[][..], Vec::as_slice)
    };
    let (message, other) = (pick(), pick());
    input.clear();
    input.extend_from_slice(message);
    let spare = if random.quarters(3) { target.header_bytes } else { 0 };
    mutate(random, input, spare, other);
    input.truncate(target.bytes_max);
    if let Some(repair) = target.repair
        && random.quarters(3)
    {
        repair(input);
    }
}

/// Decodes one input; `None` where the decoder panicked.
fn decode(
    target: &Target<'_>,
    input: &[u8],
    report: &mut Report,
    broken: &mut dyn FnMut(u64, &[u8]),
) -> Option<Reached> {
    let started = Instant::now();
    let reached = catch_unwind(AssertUnwindSafe(|| (target.decode)(input))).ok();
    report.slowest = report.slowest.max(started.elapsed());
    match reached {
        None => {
            report.panics += 1;
            broken(report.runs, input);
        }
        Some(Reached::Nothing) => {}
        Some(Reached::Header) => report.accepted_header += 1,
        Some(Reached::Value) => {
            report.accepted_header += 1;
            report.accepted += 1;
        }
    }
    report.runs += 1;
    reached
}

/// The body of an ordinary test: the seeds are accepted whole, nothing in the corpus folder and
/// none of some thousand mutations panics, and at least half of them get past the frame. The
/// number of mutations grows with `EDGE_TEST_SCALE`.
///
/// # Panics
/// If any of that does not hold, or the folder cannot be read.
pub fn replay(target: &Target<'_>, corpus: &Path) -> Report {
    for (index, seed) in target.seeds.iter().enumerate() {
        let reached = (target.decode)(seed);
        assert_eq!(reached, Reached::Value, "{}: seed {index} is refused", target.name);
    }
    let corpus = match read_corpus(corpus) {
        Ok(corpus) => corpus,
        Err(error) => panic!("{}: cannot read {}: {error}", target.name, corpus.display()),
    };
    let scale = std::env::var("EDGE_TEST_SCALE").ok().and_then(|text| text.parse().ok());
    let inputs = (target.seeds.len() + corpus.len()) as u64;
    let runs = inputs + REPLAY_RUNS * scale.unwrap_or(1).max(1);
    let report = run(target, &corpus, runs, 1, &mut |number, input| {
        eprintln!("{}: input {number} panicked: {}", target.name, hex(input));
    });
    assert_eq!(report.panics, 0, "{report}");
    assert!(report.accepted_header * 2 >= report.runs, "too few get past the frame: {report}");
    report
}

/// The files of a corpus folder in the order of their names. A folder that is not there holds
/// nothing.
pub(crate) fn read_corpus(folder: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
