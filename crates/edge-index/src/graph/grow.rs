//! Insertion: levels, the choice of links, and what a full row gives up.

use edge_base::RecordId;

use super::walk::Near;
use super::{Graph, NONE};

impl Graph {
    /// Adds the next row, with its vector in canonical form.
    pub(crate) fn insert(&mut self, id: &RecordId, vector: &[f32]) {
        let (row, level) = (self.len() as u32, self.level_of(id));
        let probe = self.codes.probe(vector);
        self.codes.push(&probe);
        self.levels.push(level);
        self.base.resize(self.base.len() + self.m0, NONE);
        self.degrees.push(0);
        self.upper.push(vec![Vec::new(); usize::from(level)]);
        self.parents.push(NONE);
        self.children.push(0);
        if row == 0 {
            (self.root, self.entry) = (0, 0);
            return;
        }
        let top = self.levels[self.entry as usize];
        let mut at = self.near(&probe, self.entry);
        for above in (level + 1..=top).rev() {
            at = self.descend(&probe, at, above, |_| {});
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.pool.clear();
        scratch.pool.push(at);
        for level in (0..=level.min(top)).rev() {
            self.search_level(&probe, self.ef_construction, level, &mut scratch);
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

    /// Up to m links for a new row out of candidates, nearest first: a candidate that is nearer to one
    /// already chosen than to the row is left out (algorithm 4 of the paper), and if that leaves fewer
    /// than half, the nearest left out come back. Equal rows would shut each other out, or a row in
    /// among nothing but its equals: two of them are taken, and they rule out nobody.
    fn choose(&self, row: u32, candidates: &[Near]) -> Vec<u32> {
        let itself = self.codes.between(row, row);
        let mut chosen: Vec<u32> = Vec::with_capacity(self.m + 1);
        let (mut equals, mut left_out) = (0, Vec::new());
        for near in candidates {
            if chosen.len() >= self.m {
                return chosen;
            }
            if near.distance == itself {
                equals += 1;
                if equals <= 2 {
                    chosen.insert(equals - 1, near.row);
                } else {
                    left_out.push(near.row);
                }
            } else if self.is_apart(near, &chosen[equals.min(2)..]) {
                chosen.push(near.row);
            } else {
                left_out.push(near.row);
            }
        }
        let missing = (self.m / 2).saturating_sub(chosen.len());
        chosen.extend(left_out.into_iter().take(missing));
        chosen
    }

    /// Whether a candidate is nearer to the row it is a candidate for than to each of the chosen.
    pub(super) fn is_apart(&self, near: &Near, chosen: &[u32]) -> bool {
        chosen.iter().all(|other| self.codes.between(*other, near.row) > near.distance)
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
        let links = self.links(row, level).iter().copied().chain([to]);
        let mut candidates: Vec<Near> = links
            .map(|other| Near { distance: self.codes.between(row, other), row: other })
            .collect();
        candidates.sort_unstable();
        let target = self.cap(level) * 3 / 4;
        let of_tree = |other: u32| level == 0 && self.is_of_tree(row, other);
        let mut kept: Vec<u32> =
            candidates.iter().map(|near| near.row).filter(|other| of_tree(*other)).collect();
        let tree_links = kept.len();
        let mut left_out = Vec::new();
        for near in candidates.iter().filter(|near| !of_tree(near.row)) {
            if kept.len() < target && self.is_apart(near, &kept[tree_links..]) {
                kept.push(near.row);
            } else {
                left_out.push(near.row);
            }
        }
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
