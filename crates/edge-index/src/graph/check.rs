//! The graph's invariants, checked from scratch: for snapshots, which come from outside, and for tests.

use edge_base::RecordId;

use super::{Graph, NONE};

impl Graph {
    /// That links are symmetric, distinct and within their limits, that levels are those of the ids, and
    /// that the tree spans the lowest level: whatever passes can be walked and changed without a panic,
    /// and every row can be reached from every other.
    pub(crate) fn check(&self, id: impl Fn(u32) -> RecordId) -> Result<(), &'static str> {
        let rows = self.len() as u32;
        if rows == 0 {
            let empty = self.root == NONE && self.entry == NONE;
            return if empty { Ok(()) } else { Err("an empty graph has an entry") };
        }
        for row in 0..rows {
            if self.levels[row as usize] != self.level_of(&id(row)) {
                return Err("a row is on another level than its id says");
            }
            for level in 0..=self.levels[row as usize] {
                self.check_links(row, level)?;
            }
        }
        if self.entry >= rows {
            return Err("the entry is not a row");
        }
        if self.levels.iter().max() != Some(&self.levels[self.entry as usize]) {
            return Err("the entry is not on the highest level");
        }
        self.check_tree()
    }

    fn check_links(&self, row: u32, level: u8) -> Result<(), &'static str> {
        let links = self.links(row, level);
        if links.len() > self.cap(level) {
            return Err("a row has too many links");
        }
        for (at, &to) in links.iter().enumerate() {
            if to as usize >= self.len() || to == row || self.levels[to as usize] < level {
                return Err("a link leads nowhere");
            }
            if links[..at].contains(&to) {
                return Err("a link occurs twice");
            }
            if !self.links(to, level).contains(&row) {
                return Err("a link has one end");
            }
        }
        Ok(())
    }

    fn check_tree(&self) -> Result<(), &'static str> {
        let rows = self.len();
        let mut children = vec![0u16; rows];
        // Whether a row is known to hang on the root.
        let mut hangs = vec![false; rows];
        if self.root as usize >= rows || self.parents[self.root as usize] != NONE {
            return Err("the tree has no root");
        }
        hangs[self.root as usize] = true;
        for row in 0..rows as u32 {
            let parent = self.parents[row as usize];
            if row != self.root {
                if !self.links(row, 0).contains(&parent) {
                    return Err("a parent is not linked");
                }
                children[parent as usize] += 1;
            }
        }
        for row in 0..rows {
            let (mut at, mut way) = (row, Vec::new());
            while !hangs[at] {
                if way.len() > rows {
                    return Err("the tree has a cycle");
                }
                way.push(at);
                at = self.parents[at] as usize;
            }
            way.into_iter().for_each(|at| hangs[at] = true);
        }
        if children != self.children {
            return Err("children are miscounted");
        }
        if children.iter().any(|count| usize::from(*count) > self.children_max()) {
            return Err("a row has too many children");
        }
        Ok(())
    }
}
