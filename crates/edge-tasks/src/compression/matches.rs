//! The match finder behind the pinned `zstd` encoder.
//!
//! Two hash tables over the whole input, one of 4 and one of 8 bytes, each with the last position
//! of its hash (the `dfast` strategy of the reference implementation), and one step of lazy
//! evaluation (`lazy`): a match is given up for a better one that starts a byte later, by the
//! reference's estimate of gain, four bits a byte less the bits of the offset. Integer arithmetic in
//! a fixed order: equal input gives equal matches on every machine.

use ruzstd::encoding::{CompressionLevel, Matcher, Sequence};

const BLOCK_BYTES: usize = 128 * 1024;
const SHORT_LOG: u32 = 16;
const LONG_LOG: u32 = 17;
/// The shortest match that is worth an offset.
const LEAST: usize = 4;
/// Without a match for this many bytes, positions begin to be skipped.
const SKIP_LOG: u32 = 8;

/// Finds matches in one input.
pub(super) struct Matches {
    data: Vec<u8>,
    window: u64,
    /// Where the last block starts.
    block: usize,
    short: Vec<u32>,
    long: Vec<u32>,
}

/// An earlier occurrence of what is at a position.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    from: usize,
    bytes: usize,
}

impl Found {
    fn gain(self) -> i64 {
        4 * self.bytes as i64 - i64::from((self.start - self.from + 3).ilog2())
    }
}

impl Matches {
    /// For an input of so many bytes, all of which are in the window.
    pub(super) fn new(bytes: usize) -> Self {
        let window = bytes.max(BLOCK_BYTES).next_power_of_two() as u64;
        Matches {
            data: Vec::with_capacity(bytes),
            window,
            block: 0,
            short: vec![0; 1 << SHORT_LOG],
            long: vec![0; 1 << LONG_LOG],
        }
    }

    /// Eight bytes at a position.
    fn word(&self, at: usize) -> u64 {
        self.data[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    /// Remembers a position; answers with the last one of each hash, plus 1.
    fn insert(&mut self, at: usize) -> [u32; 2] {
        let word = self.word(at);
        let short = (word as u32).wrapping_mul(0x9E37_79B1) >> (32 - SHORT_LOG);
        let long = word.wrapping_mul(0xCF1B_BCDC_B7A5_6463) >> (64 - LONG_LOG);
        let now = at as u32 + 1;
        [
            std::mem::replace(&mut self.long[long as usize], now),
            std::mem::replace(&mut self.short[short as usize], now),
        ]
    }

    /// How many bytes at two positions are equal, up to the end of the data.
    fn equal(&self, mut from: usize, mut at: usize) -> usize {
        let start = at;
        while at + 8 <= self.data.len() {
            let differ = self.word(from) ^ self.word(at);
            if differ != 0 {
                return at - start + differ.trailing_zeros() as usize / 8;
            }
            (from, at) = (from + 8, at + 8);
        }
        while at < self.data.len() && self.data[from] == self.data[at] {
            (from, at) = (from + 1, at + 1);
        }
        at - start
    }

    /// The best match at a position, which is remembered.
    fn find(&mut self, start: usize) -> Option<Found> {
        let mut best: Option<Found> = None;
        for candidate in self.insert(start) {
            let Some(from) = candidate.checked_sub(1) else { continue };
            let from = from as usize;
            if from >= start {
                continue; // Looked up twice.
            }
            let found = Found { start, from, bytes: self.equal(from, start) };
            let better = best.is_none_or(|best| found.gain() > best.gain());
            if found.bytes >= LEAST && better {
                best = Some(found);
            }
        }
        best
    }
}

impl Matcher for Matches {
    fn get_next_space(&mut self) -> Vec<u8> {
        vec![0; BLOCK_BYTES]
    }

    fn get_last_space(&mut self) -> &[u8] {
        &self.data[self.block..]
    }

    fn commit_space(&mut self, space: Vec<u8>) {
        self.block = self.data.len();
        self.data.extend_from_slice(&space);
    }

    /// Blocks of one repeated byte: nothing to learn but where they are.
    fn skip_matching(&mut self) {
        if self.block + 8 <= self.data.len() {
            self.insert(self.block);
        }
    }

    fn start_matching(&mut self, mut sequence: impl for<'a> FnMut(Sequence<'a>)) {
        let last = self.data.len().saturating_sub(8);
        let (mut at, mut told) = (self.block, self.block);
        while at < last {
            let Some(mut found) = self.find(at) else {
                at += 1 + ((at - told) >> SKIP_LOG);
                continue;
            };
            while found.start + 1 < last
                && let Some(next) = self.find(found.start + 1)
                && next.gain() > found.gain() + 4
            {
                found = next;
            }
            let Found { mut start, mut from, mut bytes } = found;
            let inserted = start + 1;
            while start > told && from > 0 && self.data[start - 1] == self.data[from - 1] {
                (start, from, bytes) = (start - 1, from - 1, bytes + 1);
            }
            // ruzstd 0.9.1 cannot write a block whose sequences all come without literals
            // (`build_table_from_counts` of a single symbol): the first one gets a literal.
            if start == self.block && bytes > LEAST {
                (start, from, bytes) = (start + 1, from + 1, bytes - 1);
            } else if start == self.block {
                at = start + 1;
                continue;
            }
            let literals = &self.data[told..start];
            sequence(Sequence::Triple { literals, offset: start - from, match_len: bytes });
            at = start + bytes;
            told = at;
            for at in (inserted + 1..at.min(last)).step_by(2) {
                self.insert(at);
            }
        }
        if told < self.data.len() {
            sequence(Sequence::Literals { literals: &self.data[told..] });
        }
    }

    fn reset(&mut self, _: CompressionLevel) {
        self.data.clear();
        self.block = 0;
        self.short.fill(0);
        self.long.fill(0);
    }

    fn window_size(&self) -> u64 {
        self.window
    }
}
