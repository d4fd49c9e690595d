//! Deletion: the neighbours of a deleted row are linked to each other, and its children in the tree get
//! new parents.

use super::walk::Near;
use super::{Graph, NONE};
use crate::codes::Probe;

/// How many of the nearest candidates a neighbour of a deleted row looks at.
const REPAIR_CANDIDATES: usize = 16;
/// How many new links, each apart from the nearer ones, it takes.
const REPAIR_LINKS: usize = 2;
/// How many of the nearest rows are tried as a new parent before any row with room is taken.
const PARENT_CANDIDATES: usize = 8;

impl Graph {
    /// Removes a row; the last one takes its place.
    pub(crate) fn remove(&mut self, row: u32) {
        for level in (0..=self.levels[row as usize]).rev() {
            let around = self.links(row, level).to_vec();
            for other in &around {
                self.drop_link(*other, level, row);
            }
            self.set_links(row, level, &[]);
            if level == 0 {
                self.leave_tree(row, &around);
            }
            self.repair(&around, level);
        }
        self.take_place_of(row);
        if self.entry == NONE {
            // The first row of the highest level; none when the graph is empty.
            let highest = self.levels.iter().enumerate().rev().max_by_key(|(_, level)| **level);
            self.entry = highest.map_or(NONE, |(at, _)| at as u32);
        }
    }

    /// Takes a row out of the tree and gives its children other parents.
    fn leave_tree(&mut self, row: u32, around: &[u32]) {
        let parent = std::mem::replace(&mut self.parents[row as usize], NONE);
        let mut orphans: Vec<u32> =
            around.iter().copied().filter(|at| self.parents[*at as usize] == row).collect();
        for orphan in &orphans {
            self.parents[*orphan as usize] = NONE;
        }
        self.children[row as usize] = 0;
        if parent != NONE {
            self.children[parent as usize] -= 1;
        } else {
            // The root's first child becomes the root; without children the graph was this one row.
            self.root = if orphans.is_empty() { NONE } else { orphans.remove(0) };
        }
        let fallback = if parent == NONE { self.root } else { parent };
        for orphan in orphans {
            let parent =
                self.new_parent(orphan, around).unwrap_or_else(|| self.with_room(fallback));
            self.parents[orphan as usize] = parent;
            self.children[parent as usize] += 1;
            if !self.links(orphan, 0).contains(&parent) {
                self.connect(orphan, parent, 0);
            }
        }
    }

    /// The nearest of a few rows that hangs on the root and has room for a child. What hangs on the
    /// orphan itself does not hang on the root, so no cycle can arise.
    fn new_parent(&self, orphan: u32, around: &[u32]) -> Option<u32> {
        let near = self.nearest(orphan, around);
        let mut candidates = near.iter().take(PARENT_CANDIDATES).map(|near| near.row());
        candidates.find(|at| {
            let room = usize::from(self.children[*at as usize]) < self.children_max();
            room && self.hangs_on(*at) == self.root
        })
    }

    /// The row at the top of the tree, or of the part of it cut off, that a row is in.
    fn hangs_on(&self, row: u32) -> u32 {
        let mut at = row;
        while self.parents[at as usize] != NONE {
            at = self.parents[at as usize];
        }
        at
    }

    /// The others among some rows, nearest first.
    fn nearest(&self, row: u32, among: &[u32]) -> Vec<Near> {
        let others: Vec<u32> = among.iter().copied().filter(|other| *other != row).collect();
        self.by_distance(row, &others)
    }

    /// Whether a candidate for a link is nearer to the row it is a candidate for than to each of others.
    fn is_apart(&self, near: Near, others: &[u32]) -> bool {
        let (mut probe, mut dots) = (Probe::default(), Vec::new());
        others.iter().all(|other| {
            let mut apart = false;
            self.codes.ask_row(*other, &mut probe);
            self.codes.distances(&probe, &[near.row()], &mut dots, |_, distance| {
                apart = distance > near.distance();
            });
            apart
        })
    }

    /// Links the former neighbours of a deleted row to each other where that opens a way.
    fn repair(&mut self, around: &[u32], level: u8) {
        for &row in around {
            let near = self.nearest(row, around);
            let mut added = 0;
            for near in near.iter().copied().take(REPAIR_CANDIDATES) {
                if added == REPAIR_LINKS || self.is_full(row, level) {
                    break;
                }
                let links = self.links(row, level);
                if !self.is_full(near.row(), level)
                    && !links.contains(&near.row())
                    && self.is_apart(near, links)
                {
                    self.connect(row, near.row(), level);
                    added += 1;
                }
            }
            for near in near {
                let links = self.links(row, level);
                if links.len() >= self.m / 2 {
                    break;
                }
                if !links.contains(&near.row()) && !self.is_full(near.row(), level) {
                    self.connect(row, near.row(), level);
                }
            }
        }
    }

    /// Moves the last row to the place of a row that has no links left.
    fn take_place_of(&mut self, row: u32) {
        let (at, last) = (row as usize, self.len() - 1);
        let moved = last as u32;
        if self.entry == row {
            self.entry = NONE;
        } else if self.entry == moved {
            self.entry = row;
        }
        if at != last {
            for level in 0..=self.levels[last] {
                for other in self.links(moved, level).to_vec() {
                    self.rename_link(other, level, moved, row);
                    if level == 0 && self.parents[other as usize] == moved {
                        self.parents[other as usize] = row;
                    }
                }
            }
            if self.root == moved {
                self.root = row;
            }
            self.base.copy_within(last * self.m0.., at * self.m0);
        }
        self.base.truncate(last * self.m0);
        self.codes.swap_remove(row);
        self.levels.swap_remove(at);
        self.degrees.swap_remove(at);
        self.upper.swap_remove(at);
        self.parents.swap_remove(at);
        self.children.swap_remove(at);
    }
}
