//! Insertion: levels, the choice of links, and what a full row gives up.

use edge_base::RecordId;

use super::walk::Near;
use super::{Graph, NONE};
use crate::codes::Probe;

impl Graph {
    /// Adds the next row, with its vector in canonical form.
    pub(crate) fn insert(&mut self, id: &RecordId, vector: &[f32]) {
        let (row, level) = (self.len() as u32, self.level_of(id));
        let mut scratch = std::mem::take(&mut self.scratch);
        self.codes.ask(vector, &mut scratch.probe);
        self.codes.push(&scratch.probe);
        self.levels.push(level);
        self.add_base();
        self.degrees.push(0);
        self.upper.push(vec![Vec::new(); usize::from(level)]);
        self.parents.push(NONE);
        self.children.push(0);
        if row == 0 {
            (self.root, self.entry) = (0, 0);
            self.scratch = scratch;
            return;
        }
        let top = self.levels[self.entry as usize];
        let at = self.enter(level.min(top), &mut scratch);
        scratch.pool.clear();
        scratch.pool.push(at);
        for level in (0..=level.min(top)).rev() {
            self.search_level(self.ef_construction, level, &mut scratch);
            let mut chosen = self.choose(row, &scratch.pool);
            if level == 0 {
                self.adopt(row, &mut chosen);
            }
            for to in chosen {
                self.connect(row, to, level);
            }
        }
        self.scratch = scratch;
        if level > top {
            self.entry = row;
        }
    }

    /// Up to m links for a new row out of candidates, nearest first: a candidate that is
    /// nearer to one already chosen than to the row is left out (algorithm 4 of the paper), and if that
    /// leaves fewer than half, the nearest left out come back. Equal rows would shut each other out, or a
    /// row in among nothing but its equals: two of them are taken, and they rule out nobody.
    fn choose(&self, row: u32, candidates: &[Near]) -> Vec<u32> {
        let itself = self.between(row, row);
        let (mut equals, mut others) = (Vec::new(), Vec::new());
        for near in candidates {
            if near.distance() == itself { equals.push(*near) } else { others.push(*near) }
        }
        let few = equals.len().min(2);
        let mut chosen: Vec<u32> = equals[..few].iter().map(|near| near.row()).collect();
        let (apart, mut left_out) = self.apart(&others, self.m - few);
        chosen.extend(apart);
        let missing = (self.m / 2).saturating_sub(chosen.len());
        if missing > 0 {
            left_out.extend_from_slice(&equals[few..]);
            left_out.sort_unstable();
            chosen.extend(left_out.iter().take(missing).map(|near| near.row()));
        }
        chosen
    }

    /// Of candidates for links of one row, nearest first, the first `most` that are nearer to that row than
    /// to each candidate taken before; and those left out before so many were found.
    ///
    /// Whoever is taken is compared with all candidates behind it at once.
    fn apart(&self, candidates: &[Near], most: usize) -> (Vec<u32>, Vec<Near>) {
        let (mut taken, mut left_out) = (Vec::with_capacity(most), Vec::new());
        let (mut probe, mut dots) = (Probe::default(), Vec::new());
        // Not ruled out, in order; those behind `open[at]` are still to be looked at.
        let mut open: Vec<Near> = candidates.to_vec();
        let (mut rows, mut kept) = (Vec::new(), Vec::new());
        while let Some((first, rest)) = open.split_first() {
            if taken.len() == most {
                break;
            }
            taken.push(first.row());
            rows.clear();
            rows.extend(rest.iter().map(|near| near.row()));
            self.codes.ask_row(first.row(), &mut probe);
            kept.clear();
            let mut at = 0;
            self.codes.distances(&probe, &rows, &mut dots, |_, distance| {
                let near = rest[at];
                if distance > near.distance() {
                    kept.push(near)
                } else {
                    left_out.push(near)
                }
                at += 1;
            });
            std::mem::swap(&mut open, &mut kept);
        }
        left_out.extend_from_slice(&open);
        left_out.sort_unstable();
        (taken, left_out)
    }

    /// The distance of two rows.
    pub(super) fn between(&self, a: u32, b: u32) -> f32 {
        let (mut probe, mut dots, mut found) = (Probe::default(), Vec::new(), 0.0);
        self.codes.ask_row(a, &mut probe);
        self.codes.distances(&probe, &[b], &mut dots, |_, distance| found = distance);
        found
    }

    /// Some rows with their distances from one, nearest first.
    pub(super) fn by_distance(&self, row: u32, others: &[u32]) -> Vec<Near> {
        let (mut probe, mut dots) = (Probe::default(), Vec::new());
        let mut near = Vec::with_capacity(others.len());
        self.codes.ask_row(row, &mut probe);
        self.codes.distances(&probe, others, &mut dots, |other, distance| {
            near.push(Near::new(distance, other));
        });
        near.sort_unstable();
        near
    }

    /// Finds a parent for a new row, among its links if one has room for a child.
    fn adopt(&mut self, row: u32, chosen: &mut Vec<u32>) {
        let room = |at: &u32| usize::from(self.children[*at as usize]) < self.children_max();
        let parent = match chosen.iter().copied().find(room) {
            Some(parent) => parent,
            None => {
                let parent = self.with_room(chosen.first().copied().unwrap_or(self.root));
                if !chosen.contains(&parent) {
                    chosen.truncate(self.m - 1);
                    chosen.push(parent);
                }
                parent
            }
        };
        self.parents[row as usize] = parent;
        self.children[parent as usize] += 1;
    }

    /// The row itself, or one below it in the tree, that has room for a child: a leaf has.
    pub(super) fn with_room(&self, from: u32) -> u32 {
        let mut at = from;
        while usize::from(self.children[at as usize]) >= self.children_max() {
            let child = self.links(at, 0).iter().find(|to| self.parents[**to as usize] == at);
            at = *child.expect("invariant: children are among the links");
        }
        at
    }

    /// Whether two rows are linked by the tree.
    fn is_of_tree(&self, a: u32, b: u32) -> bool {
        self.parents[a as usize] == b || self.parents[b as usize] == a
    }

    /// Links two rows that are not linked on this level. A row that is full gives up other links, or
    /// refuses this one unless it is of the tree.
    pub(super) fn connect(&mut self, a: u32, b: u32, level: u8) {
        for (row, to) in [(a, b), (b, a)] {
            if self.is_full(row, level) && !self.make_room(row, to, level) {
                return;
            }
        }
        self.push_link(a, level, b);
        self.push_link(b, level, a);
    }

    /// Cuts a full row's links to three quarters of the most it may have, counting the link to come:
    /// those of the tree stay, then those apart from nearer ones, then the nearest. Whether the link to
    /// come is among them.
    fn make_room(&mut self, row: u32, to: u32, level: u8) -> bool {
        let mut links = self.links(row, level).to_vec();
        links.push(to);
        let mut candidates = self.by_distance(row, &links);
        let target = self.cap(level) * 3 / 4;
        let mut kept = Vec::with_capacity(self.cap(level));
        if level == 0 {
            candidates.retain(|near| {
                let of_tree = self.is_of_tree(row, near.row());
                if of_tree {
                    kept.push(near.row());
                }
                !of_tree
            });
        }
        let (apart, left_out) = self.apart(&candidates, target.saturating_sub(kept.len()));
        kept.extend(apart);
        let mut left_out: Vec<u32> = left_out.iter().map(|near| near.row()).collect();
        let missing = target.saturating_sub(kept.len()).min(left_out.len());
        let dropped = left_out.split_off(missing);
        kept.extend(left_out);
        for other in dropped.into_iter().filter(|other| *other != to) {
            self.drop_link(other, level, row);
        }
        let accepted = kept.contains(&to);
        kept.retain(|other| *other != to);
        self.set_links(row, level, &kept);
        accepted
    }
}
