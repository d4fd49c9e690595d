//! Walks: best-first search on one level, and the search of a query.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use edge_kernels::codes::prefetch;

use super::{Graph, NONE};
use crate::codes::Probe;

/// A row and its distance in one number, ordered by distance, then row: the upper half is the distance
/// with its bits turned so that they order as integers, the lowest bit says whether a walk followed the
/// row's links. Rows are fewer than 2^31.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Near(u64);

/// See [`Near`].
const FOLLOWED: u64 = 1;

impl Near {
    #[inline(always)]
    pub(super) fn new(distance: f32, row: u32) -> Self {
        let bits = distance.to_bits() as i32;
        // Negative numbers order the other way round, and below the positive ones.
        let ordered = bits ^ ((bits >> 31) as u32 >> 1) as i32 ^ i32::MIN;
        Near(u64::from(ordered as u32) << 32 | u64::from(row) << 1)
    }

    #[inline(always)]
    pub(super) fn distance(self) -> f32 {
        let bits = (self.0 >> 32) as i32 ^ i32::MIN;
        f32::from_bits((bits ^ ((bits >> 31) as u32 >> 1) as i32) as u32)
    }

    #[inline(always)]
    pub(crate) fn row(self) -> u32 {
        self.0 as u32 >> 1
    }

    /// By distance alone.
    #[inline(always)]
    fn is_nearer_than(self, other: Near) -> bool {
        self.0 >> 32 < other.0 >> 32
    }

    fn is_followed(self) -> bool {
        self.0 & FOLLOWED != 0
    }
}

/// A set of rows that is emptied in no time: a row is in it when its mark is the current one.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    marks: Vec<u16>,
    current: u16,
    count: usize,
}

impl Marks {
    fn clear(&mut self, rows: usize) {
        self.count = 0;
        if self.marks.len() != rows {
            self.marks.resize(rows, 0);
        }
        self.current = self.current.wrapping_add(1);
        if self.current == 0 {
            self.marks.fill(0);
            self.current = 1;
        }
    }

    /// Adds a row; whether it was new.
    #[inline(always)]
    fn add(&mut self, row: u32) -> bool {
        let mark = &mut self.marks[row as usize];
        let new = *mark != self.current;
        *mark = self.current;
        self.count += usize::from(new);
        new
    }
}

/// What a walk needs besides the graph. Kept between walks, so that none allocates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    seen: Marks,
    fresh: Vec<u32>,
    dots: Vec<i32>,
    /// Rows compared above the lowest level.
    compared: Vec<u32>,
    /// The query.
    pub(super) probe: Probe,
    /// The nearest rows so far, nearest first.
    pub(super) pool: Vec<Near>,
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// Nearest by code first.
    pub(crate) rows: &'a [Near],
    /// Distinct rows whose distance from the query was computed.
    pub(crate) visited: usize,
}

impl Graph {
    /// Best-first search on one level from the rows in `scratch.pool`, which must be sorted and distinct;
    /// leaves the up to `ef` nearest rows there.
    pub(super) fn search_level(&self, ef: usize, level: u8, scratch: &mut Scratch) {
        let Scratch { seen, fresh, dots, probe, pool, .. } = scratch;
        seen.clear(self.len());
        pool.truncate(ef);
        pool.iter().for_each(|near| {
            seen.add(near.row());
        });
        let mut at = 0;
        while at < pool.len() {
            if pool[at].is_followed() {
                at += 1;
                continue;
            }
            pool[at].0 |= FOLLOWED;
            let links = self.links(pool[at].row(), level);
            fresh.resize(links.len(), 0);
            let mut count = 0;
            for link in links {
                fresh[count] = *link;
                count += usize::from(seen.add(*link));
            }
            at += 1;
            // Most likely the next to follow.
            if let Some(next) = pool.get(at) {
                prefetch(self.links(next.row(), level));
            }
            self.codes.distances(probe, &fresh[..count], dots, |row, distance| {
                let near = Near::new(distance, row);
                if pool.len() >= ef {
                    if pool.last().is_some_and(|worst| !near.is_nearer_than(*worst)) {
                        return;
                    }
                    pool.pop();
                }
                let place = pool.partition_point(|other| *other < near);
                pool.insert(place, near);
                at = at.min(place);
            });
        }
        pool.iter_mut().for_each(|near| near.0 &= !FOLLOWED);
    }

    /// Goes to the nearest row it can reach by always improving on one level, and notes every row it
    /// compares.
    pub(super) fn descend(&self, from: Near, level: u8, scratch: &mut Scratch) -> Near {
        let Scratch { dots, probe, compared, .. } = scratch;
        let mut best = from;
        loop {
            let at = best.row();
            let links = self.links(at, level);
            compared.extend_from_slice(links);
            self.codes.distances(probe, links, dots, |row, distance| {
                best = best.min(Near::new(distance, row));
            });
            if best.row() == at {
                return best;
            }
        }
    }

    /// Walks from the entry down to a level with `scratch.probe`.
    pub(super) fn enter(&self, down_to: u8, scratch: &mut Scratch) -> Near {
        scratch.compared.clear();
        scratch.compared.push(self.entry);
        let mut at = Near::new(0.0, self.entry);
        let Scratch { dots, probe, .. } = scratch;
        self.codes.distances(probe, &[self.entry], dots, |row, distance| {
            at = Near::new(distance, row);
        });
        for level in (down_to + 1..=self.levels[self.entry as usize]).rev() {
            at = self.descend(at, level, scratch);
        }
        at
    }

    /// The rows nearest to a vector in canonical form, about `ef` of them.
    pub(crate) fn search<'a>(
        &self,
        vector: &[f32],
        ef: usize,
        scratch: &'a mut Scratch,
    ) -> Walk<'a> {
        scratch.pool.clear();
        if self.entry == NONE {
            return Walk { rows: &scratch.pool, visited: 0 };
        }
        self.codes.ask(vector, &mut scratch.probe);
        let at = self.enter(0, scratch);
        scratch.pool.push(at);
        self.search_level(ef, 0, scratch);
        for row in &scratch.compared {
            scratch.seen.add(*row);
        }
        Walk { rows: &scratch.pool, visited: scratch.seen.count }
    }

    /// The rows nearest to a vector among those that are `allowed` (sorted): walks through all rows, and
    /// on until `ef` allowed ones are found and nothing nearer is in sight.
    pub(crate) fn search_among<'a>(
        &self,
        vector: &[f32],
        ef: usize,
        allowed: &[u32],
        scratch: &'a mut Scratch,
    ) -> Walk<'a> {
        scratch.pool.clear();
        if self.entry == NONE {
            return Walk { rows: &scratch.pool, visited: 0 };
        }
        let mut permitted = vec![0u64; self.len().div_ceil(64)];
        allowed.iter().for_each(|row| permitted[*row as usize / 64] |= 1 << (row % 64));
        let is_permitted = |row: u32| permitted[row as usize / 64] >> (row % 64) & 1 == 1;
        self.codes.ask(vector, &mut scratch.probe);
        let start = self.enter(0, scratch);
        let Scratch { seen, fresh, dots, probe, compared, pool, .. } = scratch;
        seen.clear(self.len());
        // Ascending distance of what to follow; descending distance of what was found.
        let mut open = BinaryHeap::from([Reverse(start)]);
        let mut found: BinaryHeap<Near> = BinaryHeap::new();
        seen.add(start.row());
        if is_permitted(start.row()) {
            found.push(start);
        }
        while let Some(Reverse(next)) = open.pop() {
            if found.len() >= ef && found.peek().is_some_and(|worst| *worst < next) {
                break;
            }
            fresh.clear();
            let links = self.links(next.row(), 0).iter().copied();
            fresh.extend(links.filter(|row| seen.add(*row)));
            self.codes.distances(probe, fresh, dots, |row, distance| {
                let near = Near::new(distance, row);
                if found.len() >= ef && found.peek().is_some_and(|worst| *worst < near) {
                    return;
                }
                open.push(Reverse(near));
                if is_permitted(row) {
                    found.push(near);
                    if found.len() > ef {
                        found.pop();
                    }
                }
            });
        }
        compared.iter().for_each(|row| {
            seen.add(*row);
        });
        pool.extend(found.into_sorted_vec());
        Walk { rows: &scratch.pool, visited: scratch.seen.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_orders_by_distance_then_row_and_gives_both_back() {
        let distances =
            [f32::MIN, -2.5, -1e-30, -f32::from_bits(1), 0.0, f32::from_bits(1), 0.5, f32::MAX];
        let mut all = Vec::new();
        for distance in distances {
            for row in [0, 1, 77, (1 << 24) - 1] {
                let near = Near::new(distance, row);
                assert_eq!((near.distance().to_bits(), near.row()), (distance.to_bits(), row));
                all.push(near);
            }
        }
        assert!(all.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn marks_start_again_when_they_run_out() {
        let mut marks = Marks::default();
        for round in 0..70_000 {
            marks.clear(3 + round % 2);
            assert!(marks.add(2));
            assert!(!marks.add(2));
            assert_eq!(marks.count, 1);
        }
    }
}
