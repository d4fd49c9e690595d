//! The graph of the approximate mode: HNSW (Malkov and Yashunin, arXiv 1603.09320) over 8-bit rows, with
//! true deletion.
//!
//! Rows are compared by codes whose distances are exact or canonical (`codes.rs`), so a graph is the same on every
//! machine; the caller scores what a walk finds from the f32 rows. Three things deviate from the paper:
//!
//! - Links are symmetric on every level: when a full row drops a link, both ends lose it. All who link to
//!   a row are then the rows it links to, and a deletion is local.
//! - A spanning tree of the lowest level is part of the graph: each row but one has a parent among its
//!   neighbours, and a link of the tree is never dropped, only replaced when one of its ends is deleted.
//!   So every live row can be reached from every other, whatever was inserted and deleted before.
//! - A row's level is drawn from the digest of (seed, id), not from a generator's state.

use edge_base::{Digest, RecordId};

use crate::IndexConfig;
use crate::codes::Codes;

mod check;
mod grow;
mod prune;
mod store;
mod walk;

pub(crate) use walk::{Near, Scratch, Walk};

/// No row.
const NONE: u32 = u32::MAX;
/// Levels above the lowest are at most this many.
const LEVEL_MAX: u8 = 12;

/// The graph over the rows of a shard, by their positions.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    m: usize,
    m0: usize,
    ef_construction: usize,
    seed: u64,
    codes: Codes,
    /// The highest level of each row.
    levels: Vec<u8>,
    /// Links of the lowest level, `[rows, m0]`, of which the first `degrees[row]` count.
    base: Vec<u32>,
    degrees: Vec<u16>,
    /// Links of the levels above: `upper[row][level - 1]`.
    upper: Vec<Vec<Vec<u32>>>,
    /// The spanning tree of the lowest level: each row's parent, [`NONE`] for the root.
    parents: Vec<u32>,
    /// How many rows have each row as their parent.
    children: Vec<u16>,
    root: u32,
    /// Where a walk starts: a row of the highest level.
    entry: u32,
    /// Kept between insertions so that each does not allocate.
    scratch: Scratch,
}

impl Graph {
    pub(crate) fn new(config: &IndexConfig) -> Self {
        Graph {
            m: config.m,
            m0: config.m0,
            ef_construction: config.ef_construction,
            seed: config.seed,
            codes: Codes::new(config.dim, config.metric, config.storage),
            levels: Vec::new(),
            base: Vec::new(),
            degrees: Vec::new(),
            upper: Vec::new(),
            parents: Vec::new(),
            children: Vec::new(),
            root: NONE,
            entry: NONE,
            scratch: Scratch::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    /// Bytes in memory: of the codes, and of all else.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let lists = self.upper.iter().flatten();
        let upper: usize = lists.map(|links| size_of::<Vec<u32>>() + links.capacity() * 4).sum();
        let links = self.base.capacity() * 4
            + self.levels.capacity()
            + (self.degrees.capacity() + self.children.capacity()) * 2
            + self.parents.capacity() * 4
            + self.upper.capacity() * size_of::<Vec<Vec<u32>>>();
        (self.codes.bytes(), links + upper)
    }

    /// How many rows no walk can reach from the entry: 0, or the graph is broken.
    pub(crate) fn unreachable(&self) -> usize {
        if self.entry == NONE {
            return self.len();
        }
        let mut reached = vec![false; self.len()];
        let (mut open, mut count) = (vec![self.entry], 1);
        reached[self.entry as usize] = true;
        while let Some(row) = open.pop() {
            for &to in self.links(row, 0) {
                if !std::mem::replace(&mut reached[to as usize], true) {
                    open.push(to);
                    count += 1;
                }
            }
        }
        self.len() - count
    }

    /// The level of a row: above 0 with probability 1/m, above 1 with 1/m², and so on.
    fn level_of(&self, id: &RecordId) -> u8 {
        let mut bits = Digest::of_value("index/level/1", &(self.seed, id)).prefix_u64();
        let mut level = 0;
        while level < LEVEL_MAX && bits.is_multiple_of(self.m as u64) {
            bits /= self.m as u64;
            level += 1;
        }
        level
    }

    /// The most links of a row on a level.
    fn cap(&self, level: u8) -> usize {
        if level == 0 { self.m0 } else { self.m }
    }

    /// The most rows that have one row as their parent.
    fn children_max(&self) -> usize {
        self.m0 / 2
    }

    fn links(&self, row: u32, level: u8) -> &[u32] {
        let row = row as usize;
        match level {
            0 => &self.base[row * self.m0..][..usize::from(self.degrees[row])],
            _ => &self.upper[row][usize::from(level) - 1],
        }
    }

    fn is_full(&self, row: u32, level: u8) -> bool {
        self.links(row, level).len() >= self.cap(level)
    }

    /// Sets the links of one row; the other ends are the caller's.
    fn set_links(&mut self, row: u32, level: u8, links: &[u32]) {
        let row = row as usize;
        match level {
            0 => {
                self.base[row * self.m0..][..links.len()].copy_from_slice(links);
                self.degrees[row] = links.len() as u16;
            }
            _ => {
                let list = &mut self.upper[row][usize::from(level) - 1];
                list.clear();
                list.extend_from_slice(links);
            }
        }
    }

    /// One more row of links on the lowest level, none of which count. Grows by an eighth: a vector that
    /// doubles holds up to twice what it needs.
    fn add_base(&mut self) {
        let more = self.base.len() + self.m0;
        if more > self.base.capacity() {
            self.base.reserve_exact((self.base.len() / 8).max(64 * self.m0));
        }
        self.base.resize(more, NONE);
    }

    fn push_link(&mut self, row: u32, level: u8, to: u32) {
        let row = row as usize;
        match level {
            0 => {
                self.base[row * self.m0 + usize::from(self.degrees[row])] = to;
                self.degrees[row] += 1;
            }
            _ => self.upper[row][usize::from(level) - 1].push(to),
        }
    }

    /// Removes one end of a link; the order of the others stays.
    fn drop_link(&mut self, row: u32, level: u8, to: u32) {
        let row = row as usize;
        if level > 0 {
            self.upper[row][usize::from(level) - 1].retain(|link| *link != to);
            return;
        }
        let degree = usize::from(self.degrees[row]);
        let links = &mut self.base[row * self.m0..][..degree];
        if let Some(at) = links.iter().position(|link| *link == to) {
            links.copy_within(at + 1.., at);
            self.degrees[row] -= 1;
        }
    }

    fn rename_link(&mut self, row: u32, level: u8, from: u32, to: u32) {
        let row = row as usize;
        let links = match level {
            0 => &mut self.base[row * self.m0..][..usize::from(self.degrees[row])],
            _ => &mut self.upper[row][usize::from(level) - 1],
        };
        for link in links.iter_mut().filter(|link| **link == from) {
            *link = to;
        }
    }
}

#[cfg(test)]
mod tests;
