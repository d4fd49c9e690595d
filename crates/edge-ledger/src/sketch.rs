//! Sketches of sets of heads: which accounts of two ledgers differ, in bytes that grow with the
//! difference and not with the ledgers.
//!
//! A sketch is a prefix of the rateless invertible Bloom lookup table of Yang, Gilad and Alizadeh
//! 2024 ("Practical Rateless Set Reconciliation", arXiv 2402.02668): every head is added to cell 0
//! and to cell i with probability 1 / (1 + i/2). Subtracting two sketches with one key leaves the
//! sketch of what only one side has. A cell with a single head in it shows that head; taken out of
//! its other cells, it uncovers the next (peeling). About 1.4 cells for each difference are enough.
//!
//! Beside the cells a sketch may carry counters from which the size of the difference is estimated,
//! so that whoever could not decode it knows how many cells to ask for: each head adds 1 or −1 to
//! one of 256 (the count sketch of Charikar, Chen and Farach-Colton 2002, as an estimator of the
//! second moment: Thorup and Zhang 2004); its standard error is √(2/256), 9 %.
//!
//! What differs from the paper: steps between cells are integers, so that all machines agree; a
//! sketch with more cells is a new one, with a new key, so that nobody keeps a state for anybody.
//! Everything is keyed by who makes the sketch, at random and each time anew, with SipHash-2-4
//! (Aumasson and Bernstein 2012): an owner who would make heads that hide each other does not know
//! the key. Who makes the sketch may fill it with anything. Decoding ends all the same: each head
//! that comes out empties a cell for good, so there are at most as many as cells.

use std::collections::BTreeSet;
use std::hash::Hasher as _;

use edge_base::NodeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::bounded;

/// The most cells of a sketch: about 60 kB, and enough for a thousand differences.
pub const SKETCH_CELLS_MAX: usize = 2_048;
/// How many counters a sketch has, if it has any.
pub const SKETCH_COUNTERS: usize = 256;

/// Whose hashes a sketch is made of. Drawn at random for each sketch.
pub type SketchKey = [u8; 16];

/// The head of an account, as sketches hold it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The first 16 bytes of the account. Two owners' keys that share them take 2^64 attempts, and
    /// whoever has both gets a certificate too many.
    pub account: [u8; 16],
    /// The seq of its last certified block; 0 without one, which no sketch holds.
    pub seq: u64,
}

impl Head {
    /// The head of an account.
    pub fn of(account: &NodeId, seq: u64) -> Head {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&account.0[..16]);
        Head { account: prefix, seq }
    }

    /// The lowest and the highest account that begins like this one.
    pub fn accounts(&self) -> (NodeId, NodeId) {
        let (mut low, mut high) = ([0; 32], [0xff; 32]);
        low[..16].copy_from_slice(&self.account);
        high[..16].copy_from_slice(&self.account);
        (NodeId(low), NodeId(high))
    }
}

/// A sum of heads.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Cell {
    account: [u8; 16],
    seq: u64,
    #[serde(serialize_with = "as_bytes", deserialize_with = "from_bytes")]
    check: u64,
    count: i32,
}

fn as_bytes<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    value.to_le_bytes().serialize(serializer)
}

fn from_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    <[u8; 8]>::deserialize(deserializer).map(u64::from_le_bytes)
}

impl Cell {
    fn add(&mut self, head: &Head, check: u64, sign: i32) {
        let other = Cell { account: head.account, seq: head.seq, check, count: sign };
        self.join(&other);
    }

    fn join(&mut self, other: &Cell) {
        for (byte, other) in self.account.iter_mut().zip(&other.account) {
            *byte ^= other;
        }
        self.seq ^= other.seq;
        self.check ^= other.check;
        self.count = self.count.wrapping_add(other.count);
    }
}

/// Where a head goes under a key.
struct Hashed {
    /// Goes into the cells with it.
    check: u64,
    seed: u64,
}

impl Hashed {
    fn of(key: &SketchKey, head: &Head) -> Hashed {
        let mut hasher = SipHasher24::new_with_key(key);
        hasher.write(&head.account);
        hasher.write(&head.seq.to_le_bytes());
        let hash = hasher.finish128();
        Hashed { check: hash.h1, seed: hash.h2 }
    }

    /// Its cells, ascending, without end (the paper's section 4.2).
    fn cells(&self) -> impl Iterator<Item = usize> + use<> {
        let (mut state, mut cell) = (self.seed, 0_u64);
        std::iter::from_fn(move || {
            let here = cell;
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            // The next one is ⌈(cell + 3/2)·(1/√u − 1)⌉ further, u uniform in (0, 1]. The root is
            // rounded up, so that it is at least 1, and at most 2^32.
            let root = mixed(state).isqrt() + 1;
            let ahead = (2 * cell + 3).saturating_mul((1 << 32) - root).div_ceil(2 * root);
            cell = cell.saturating_add(ahead.max(1)).min(u64::from(u32::MAX));
            usize::try_from(here).ok()
        })
    }

    /// Its counter and what it adds there.
    fn counter(&self) -> (usize, i32) {
        let place = (self.seed >> 56) as usize;
        (place, if self.seed & 1 == 0 { 1 } else { -1 })
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(state: u64) -> u64 {
    let a = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

/// A set of heads, summed up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sketch {
    key: SketchKey,
    #[serde(deserialize_with = "bounded::vec::<_, _, SKETCH_CELLS_MAX>")]
    cells: Vec<Cell>,
    #[serde(deserialize_with = "bounded::vec::<_, _, SKETCH_COUNTERS>")]
    counters: Vec<i32>,
}

/// What each of two sets has that the other has not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Difference {
    /// Heads of the set whose sketch was subtracted from, ascending.
    pub only_theirs: Vec<Head>,
    /// Heads of the set whose sketch was subtracted, ascending.
    pub only_mine: Vec<Head>,
}

/// Why a sketch did not decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undecoded {
    /// Cells are left that hold several heads each.
    TooFew,
    /// No two sets have this difference.
    Contradiction,
}

impl Sketch {
    /// The sketch of no heads with 1 to [`SKETCH_CELLS_MAX`] cells, and with counters if told.
    pub fn empty(key: SketchKey, cells: usize, counted: bool) -> Sketch {
        let cells = vec![Cell::default(); cells.clamp(1, SKETCH_CELLS_MAX)];
        Sketch { key, cells, counters: vec![0; if counted { SKETCH_COUNTERS } else { 0 }] }
    }

    /// A sketch that holds nothing yet, to be compared with this one.
    pub fn like(&self) -> Sketch {
        Sketch::empty(self.key, self.cells.len(), !self.counters.is_empty())
    }

    /// Adds a head. Adding one twice leaves the sum of a set that there is not.
    pub fn add(&mut self, head: Head) {
        let hashed = Hashed::of(&self.key, &head);
        for cell in hashed.cells() {
            let Some(cell) = self.cells.get_mut(cell) else { break };
            cell.add(&head, hashed.check, 1);
        }
        let (place, sign) = hashed.counter();
        if let Some(counter) = self.counters.get_mut(place) {
            *counter = counter.wrapping_add(sign);
        }
    }

    /// Whether it has the number of cells and counters that a sketch has.
    pub fn is_well_formed(&self) -> bool {
        let counters = self.counters.len();
        (1..=SKETCH_CELLS_MAX).contains(&self.cells.len())
            && (counters == 0 || counters == SKETCH_COUNTERS)
    }

    /// The key.
    pub fn key(&self) -> SketchKey {
        self.key
    }

    /// How many cells it has.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// How many heads were added, as it says itself.
    pub fn heads(&self) -> u64 {
        self.cells.first().map_or(0, |cell| u64::try_from(cell.count).unwrap_or(0))
    }

    /// Takes the sketch of another set away, which has the same key and shape.
    pub fn subtract(&mut self, other: &Sketch) {
        for (cell, other) in self.cells.iter_mut().zip(&other.cells) {
            // XOR is its own inverse.
            cell.join(&Cell { count: other.count.wrapping_neg(), ..*other });
        }
        for (counter, other) in self.counters.iter_mut().zip(&other.counters) {
            *counter = counter.wrapping_sub(*other);
        }
    }

    /// About how many heads are in it, each on either side; `None` without counters.
    pub fn estimate(&self) -> Option<u64> {
        if self.counters.is_empty() {
            return None;
        }
        let squares = self.counters.iter().map(|c| u64::from(c.unsigned_abs()).pow(2));
        Some(squares.fold(0, u64::saturating_add))
    }

    /// The heads in a difference, if there are cells enough.
    pub fn decode(mut self) -> Result<Difference, Undecoded> {
        let mut seen: BTreeSet<Head> = BTreeSet::new();
        let mut difference = Difference::default();
        let mut look_at: Vec<usize> = (0..self.cells.len()).rev().collect();
        while let Some(place) = look_at.pop() {
            let Cell { account, seq, check, count } = self.cells[place];
            let head = Head { account, seq };
            if count.unsigned_abs() != 1 {
                continue;
            }
            let hashed = Hashed::of(&self.key, &head);
            if hashed.check != check {
                continue;
            }
            let within = hashed.cells().take_while(|cell| *cell < self.cells.len());
            let own: Vec<usize> = within.collect();
            // A head of a real difference comes out once, of a cell that is its own.
            let real = seq > 0 && own.binary_search(&place).is_ok() && seen.insert(head);
            if !real || seen.len() > self.cells.len() {
                return Err(Undecoded::Contradiction);
            }
            match count {
                1 => difference.only_theirs.push(head),
                _ => difference.only_mine.push(head),
            }
            for cell in own {
                self.cells[cell].add(&head, hashed.check, -count);
                look_at.push(cell);
            }
        }
        if self.cells.iter().any(|cell| *cell != Cell::default()) {
            return Err(Undecoded::TooFew);
        }
        difference.only_theirs.sort_unstable();
        difference.only_mine.sort_unstable();
        Ok(difference)
    }
}
