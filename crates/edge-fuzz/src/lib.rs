//! Seeded mutation fuzzing of decoders of remote bytes.
//!
//! **What it is.** An engine that takes valid messages, breaks them in the ways that break
//! decoders (flipped bits, extreme integers, truncation, splices of two messages) and feeds them
//! to a function that must never panic. It runs on the stable toolchain, in one thread, and a
//! run replays from its seed.
//!
//! **What it is not.** Coverage-guided: nothing is instrumented. What finds its way past the
//! first check does so because it started as a valid message; inputs that are still accepted
//! whole after a mutation join a bounded pool and are mutated further. It is no part of the
//! product: `cargo xtask tidy` lets it be a dev-dependency only.
//!
//! **The model.** A [`Target`] names a decoder, gives it valid messages to start from, and says
//! how far an input got ([`Reached`]). An example `fuzz_NAME` of the owning crate hands it to
//! [`main`]; an ordinary test hands it to [`replay`], so that CI runs the committed corpus and a
//! few thousand mutations each time. `fuzz/README.md` in the repository shows both files.
//!
//! ```
//! use edge_fuzz::{Reached, Target};
//!
//! /// A length, then that many bytes.
//! fn decode(bytes: &[u8]) -> Reached {
//!     match bytes.split_first() {
//!         None => Reached::Nothing,
//!         Some((length, body)) if usize::from(*length) == body.len() => Reached::Value,
//!         Some(_) => Reached::Header,
//!     }
//! }
//!
//! let seeds = [vec![3, b'a', b'b', b'c'], vec![0]];
//! let target = Target::new("prefixed", &seeds, &decode);
//! let report = edge_fuzz::run(&target, &[], 1_000, 1, &mut |_, _| {});
//! assert_eq!((report.runs, report.panics), (1_000, 0));
//! ```
//!
//! **Invariants.** Equal target, corpus, seed and number of runs give equal inputs. Inputs never
//! exceed [`Target::bytes_max`]. A panic of the decoder never ends the run.

mod mutation;
mod program;
mod runner;

pub use program::main;
pub use runner::{Report, replay, run};

/// How far an input got in a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// Refused by the frame: magic, version, genesis, length.
    Nothing,
    /// The frame was accepted, what it holds was refused.
    Header,
    /// All of it was accepted.
    Value,
}

/// Makes a mutated message consistent again.
pub type Repair<'a> = &'a dyn Fn(&mut [u8]);

/// A decoder under test.
pub struct Target<'a> {
    /// The name; the example is called `fuzz_NAME`, its corpus lies in `fuzz/corpus/NAME`.
    pub name: &'a str,
    /// Valid messages, at least one; each must reach [`Reached::Value`].
    pub seeds: &'a [Vec<u8>],
    /// Decodes an input. It may not panic, whatever the bytes are.
    pub decode: &'a dyn Fn(&[u8]) -> Reached,
    /// Bytes at the start that the frame check reads; three quarters of the mutations leave them
    /// alone, since an input that fails there tests nothing else. Default 0.
    pub header_bytes: usize,
    /// Recomputes what the frame says about its contents (a length, a checksum) after a
    /// mutation, without which no mutated message would pass it. Applied to three quarters of
    /// the inputs.
    pub repair: Option<Repair<'a>>,
    /// Inputs are cut to this length. Default 64 KiB.
    pub bytes_max: usize,
}

impl<'a> Target<'a> {
    /// A target without a header to spare or repair.
    pub fn new(name: &'a str, seeds: &'a [Vec<u8>], decode: &'a dyn Fn(&[u8]) -> Reached) -> Self {
        Self { name, seeds, decode, header_bytes: 0, repair: None, bytes_max: 64 * 1024 }
    }
}
