//! Walks: best-first search on one level, and the search of a query.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Graph, NONE};
use crate::codes::Probe;

/// A row and its distance, ordered by distance, then row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Near {
    pub(super) distance: f32,
    pub(super) row: u32,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A set of rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    words: Vec<u64>,
    count: usize,
}

impl Marks {
    fn clear(&mut self, rows: usize) {
        self.words.clear();
        self.words.resize(rows.div_ceil(64), 0);
        self.count = 0;
    }

    /// Adds a row; whether it was new.
    fn add(&mut self, row: u32) -> bool {
        let (word, bit) = (&mut self.words[row as usize / 64], 1u64 << (row % 64));
        let new = *word & bit == 0;
        *word |= bit;
        self.count += usize::from(new);
        new
    }
}

/// Marks a row of the pool whose links were followed; rows are fewer than 2^31.
const FOLLOWED: u32 = 1 << 31;

/// What a walk needs besides the graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    seen: Marks,
    fresh: Vec<u32>,
    /// The nearest rows so far, nearest first.
    pub(super) pool: Vec<Near>,
}

/// What a search found.
pub(crate) struct Walk {
    /// Nearest by code first.
    pub(crate) rows: Vec<u32>,
    /// Distinct rows whose distance from the query was computed.
    pub(crate) visited: usize,
}

impl Graph {
    /// Best-first search on one level from the rows in `scratch.pool`, which must be sorted and distinct;
    /// leaves the up to `ef` nearest rows there.
    pub(super) fn search_level(&self, probe: &Probe, ef: usize, level: u8, scratch: &mut Scratch) {
        let Scratch { seen, fresh, pool } = scratch;
        seen.clear(self.len());
        pool.truncate(ef);
        pool.iter().for_each(|near| {
            seen.add(near.row);
        });
        let mut at = 0;
        while at < pool.len() {
            let row = pool[at].row;
            if row & FOLLOWED != 0 {
                at += 1;
                continue;
            }
            pool[at].row |= FOLLOWED;
            fresh.clear();
            fresh.extend(self.links(row, level).iter().copied().filter(|link| seen.add(*link)));
            at += 1;
            for &row in fresh.iter() {
                let near = Near { distance: self.codes.distance(probe, row), row };
                if pool.len() >= ef {
                    if pool.last().is_some_and(|worst| worst.distance <= near.distance) {
                        continue;
                    }
                    pool.pop();
                }
                let place = pool.partition_point(|other| {
                    (other.distance, other.row & !FOLLOWED) < (near.distance, near.row)
                });
                pool.insert(place, near);
                at = at.min(place);
            }
        }
        pool.iter_mut().for_each(|near| near.row &= !FOLLOWED);
    }

    /// Goes to the nearest row it can reach by always improving on one level. Calls `visit` with every
    /// row it compares.
    pub(super) fn descend(
        &self,
        probe: &Probe,
        from: Near,
        level: u8,
        mut visit: impl FnMut(u32),
    ) -> Near {
        let mut best = from;
        loop {
            let at = best.row;
            for &row in self.links(at, level) {
                visit(row);
                best = best.min(Near { distance: self.codes.distance(probe, row), row });
            }
            if best.row == at {
                return best;
            }
        }
    }

    /// The entry of a search on the lowest level, and the rows compared on the way.
    fn enter(&self, probe: &Probe) -> (Near, Vec<u32>) {
        let mut at = self.near(probe, self.entry);
        let mut compared = vec![self.entry];
        for level in (1..=self.levels[self.entry as usize]).rev() {
            at = self.descend(probe, at, level, |row| compared.push(row));
        }
        (at, compared)
    }

    pub(super) fn near(&self, probe: &Probe, row: u32) -> Near {
        Near { distance: self.codes.distance(probe, row), row }
    }

    /// The rows nearest to a vector in canonical form, about `ef` of them.
    pub(crate) fn search(&self, vector: &[f32], ef: usize) -> Walk {
        if self.entry == NONE {
            return Walk { rows: Vec::new(), visited: 0 };
        }
        let probe = self.codes.probe(vector);
        let (at, compared) = self.enter(&probe);
        let mut scratch = Scratch { pool: vec![at], ..Scratch::default() };
        self.search_level(&probe, ef, 0, &mut scratch);
        compared.iter().for_each(|row| {
            scratch.seen.add(*row);
        });
        let rows = scratch.pool.iter().map(|near| near.row).collect();
        Walk { rows, visited: scratch.seen.count }
    }

    /// The rows nearest to a vector among those that are `allowed` (sorted): walks through all rows, and
    /// on until `ef` allowed ones are found and nothing nearer is in sight.
    pub(crate) fn search_among(&self, vector: &[f32], ef: usize, allowed: &[u32]) -> Walk {
        if self.entry == NONE {
            return Walk { rows: Vec::new(), visited: 0 };
        }
        let (mut permitted, mut seen) = (Marks::default(), Marks::default());
        permitted.clear(self.len());
        allowed.iter().for_each(|row| {
            permitted.add(*row);
        });
        let is_permitted = |row: u32| permitted.words[row as usize / 64] >> (row % 64) & 1 == 1;
        seen.clear(self.len());
        let probe = self.codes.probe(vector);
        let (at, compared) = self.enter(&probe);
        // Ascending distance of what to follow; descending distance of what was found.
        let mut open = BinaryHeap::from([Reverse(at)]);
        let mut found: BinaryHeap<Near> = BinaryHeap::new();
        seen.add(at.row);
        if is_permitted(at.row) {
            found.push(at);
        }
        while let Some(Reverse(next)) = open.pop() {
            if found.len() >= ef && found.peek().is_some_and(|worst| *worst < next) {
                break;
            }
            for &row in self.links(next.row, 0) {
                if !seen.add(row) {
                    continue;
                }
                let near = self.near(&probe, row);
                if found.len() >= ef && found.peek().is_some_and(|worst| *worst < near) {
                    continue;
                }
                open.push(Reverse(near));
                if is_permitted(row) {
                    found.push(near);
                    if found.len() > ef {
                        found.pop();
                    }
                }
            }
        }
        compared.iter().for_each(|row| {
            seen.add(*row);
        });
        let rows = found.into_sorted_vec().into_iter().map(|near| near.row).collect();
        Walk { rows, visited: seen.count }
    }
}
