//! What a ledger says to the sketch of another one.

use std::collections::BTreeMap;

use edge_base::NodeId;

use super::Ledger;
use crate::sketch::{Head, SKETCH_CELLS_MAX, SKETCH_COUNTERS, Sketch, SketchKey, Undecoded};

/// Cells of the first sketch: enough for the few accounts that differ while blocks spread.
const CELLS_FIRST: usize = 24;
/// What a cell takes in a message, about.
const CELL_BYTES: u64 = 29;
/// What an account takes in a list of all heads, about.
const LISTED_BYTES: u64 = 34;

/// What came of comparing with a sketch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Compared {
    /// Where both differ is known.
    Known {
        /// Accounts of which the other ledger lacks certificates, and the seq that it has.
        theirs_behind: Vec<(NodeId, u64)>,
        /// Accounts of which this ledger lacks certificates, and the seq that it has.
        mine_behind: Vec<Head>,
    },
    /// A sketch with so many cells would most likely tell.
    More {
        /// At most [`SKETCH_CELLS_MAX`].
        cells: usize,
    },
    /// A list of all heads takes fewer bytes than such a sketch.
    TooDifferent,
    /// No ledger has this sketch.
    Wrong,
}

/// Accounts with a block, and their last seqs.
pub trait Heads {
    /// Calls with every head.
    fn each(&self, add: &mut dyn FnMut(&NodeId, u64));

    /// Accounts that begin like a head's, and their seqs: one, or none.
    fn like(&self, head: &Head) -> Vec<(NodeId, u64)>;

    /// The sketch of all of them: the first one of an exchange, or one with as many cells as the
    /// other side asked for.
    fn sketch(&self, key: SketchKey, cells: Option<usize>) -> Sketch {
        let mut sketch = Sketch::empty(key, cells.unwrap_or(CELLS_FIRST), cells.is_none());
        self.each(&mut |account, seq| sketch.add(Head::of(account, seq)));
        sketch
    }

    /// Compares with another one's sketch.
    fn compare(&self, theirs: &Sketch) -> Compared {
        if !theirs.is_well_formed() {
            return Compared::Wrong;
        }
        let mut mine = theirs.like();
        self.each(&mut |account, seq| mine.add(Head::of(account, seq)));
        let mut between = theirs.clone();
        between.subtract(&mine);
        let estimate = between.estimate();
        let difference = match between.decode() {
            Ok(difference) => difference,
            Err(Undecoded::Contradiction) => return Compared::Wrong,
            Err(Undecoded::TooFew) => return what_next(theirs, estimate),
        };
        // What is said to be here is here, and an account has one head, unless it is made up.
        let only_theirs: BTreeMap<[u8; 16], u64> =
            difference.only_theirs.iter().map(|head| (head.account, head.seq)).collect();
        let (mut theirs_behind, mut mine_behind) = (Vec::new(), Vec::new());
        let mut wrong = only_theirs.len() < difference.only_theirs.len();
        for head in &difference.only_mine {
            let like = self.like(head);
            wrong |= !like.iter().any(|(_, seq)| *seq == head.seq);
            let known = only_theirs.get(&head.account).copied().unwrap_or(0);
            let ahead = like.into_iter().filter(|(_, seq)| *seq > known);
            theirs_behind.extend(ahead.map(|(account, _)| (account, known)));
        }
        for (account, seq) in only_theirs {
            let head = Head { account, seq };
            let known = self.like(&head).into_iter().map(|(_, seq)| seq).max().unwrap_or(0);
            if known < seq {
                mine_behind.push(Head { seq: known, ..head });
            }
        }
        if wrong { Compared::Wrong } else { Compared::Known { theirs_behind, mine_behind } }
    }
}

/// After a sketch that did not decode.
fn what_next(theirs: &Sketch, estimate: Option<u64>) -> Compared {
    let half_more = theirs.cells() as u64 * 3 / 2;
    let cells = estimate.map_or(half_more, cells_for).max(half_more);
    let listed = theirs.heads().saturating_mul(LISTED_BYTES);
    match usize::try_from(cells) {
        Ok(fits) if fits <= SKETCH_CELLS_MAX && cells * CELL_BYTES <= listed => {
            Compared::More { cells: fits }
        }
        _ => Compared::TooDifferent,
    }
}

/// Cells with which 99.5 of 100 differences decode whose size was estimated: 1.4 for each head, as
/// many again for the estimate's error and for the spread of small ones (`tests/suite/sketch.rs`).
fn cells_for(estimate: u64) -> u64 {
    estimate.saturating_mul(7) / 4 + 45
}

impl Heads for Ledger {
    fn each(&self, add: &mut dyn FnMut(&NodeId, u64)) {
        let heads = self.accounts.iter().map(|(account, found)| (account, found.seq()));
        heads.filter(|(_, seq)| *seq > 0).for_each(|(account, seq)| add(account, seq));
    }

    fn like(&self, head: &Head) -> Vec<(NodeId, u64)> {
        let (low, high) = head.accounts();
        let found = self.accounts.range(low..=high);
        found.map(|(account, found)| (*account, found.seq())).filter(|(_, seq)| *seq > 0).collect()
    }
}

/// For those that have heads and no ledger.
impl Heads for BTreeMap<NodeId, u64> {
    fn each(&self, add: &mut dyn FnMut(&NodeId, u64)) {
        self.iter().for_each(|(account, seq)| add(account, *seq));
    }

    fn like(&self, head: &Head) -> Vec<(NodeId, u64)> {
        let (low, high) = head.accounts();
        self.range(low..=high).map(|(account, seq)| (*account, *seq)).collect()
    }
}

impl Ledger {
    /// Whether the first sketch is smaller than a list of all heads.
    pub fn is_worth_a_sketch(&self) -> bool {
        let first = CELLS_FIRST as u64 * CELL_BYTES + SKETCH_COUNTERS as u64;
        let heads = self.accounts.values().filter(|found| found.seq() > 0);
        heads.take((first / LISTED_BYTES + 1) as usize).count() as u64 * LISTED_BYTES > first
    }
}
