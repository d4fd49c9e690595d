//! The events of a context and what they build on.
//!
//! An event is a signed statement, known by its digest; its signature was checked by who inserts
//! it. Digests of parents make the graph acyclic: nobody can name what does not exist yet.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::Digest;

/// Events that one event may name as its parents.
pub const PARENTS_MAX: usize = 16;
/// Events of a context; further ones are refused.
pub const EVENTS_MAX: usize = 4_096;
/// Events whose parents are missing; further ones are refused until those came.
pub const WAITING_MAX: usize = 256;

/// Why an event was not taken: the sender's fault, but for a full graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DagError {
    /// It names too many parents, or itself.
    #[error("an event names at most {PARENTS_MAX} parents, and not itself")]
    Parents,
    /// There are too many events already.
    #[error("the context has {EVENTS_MAX} events already")]
    Full,
    /// Too many events wait for their parents already.
    #[error("{WAITING_MAX} events wait for their parents already")]
    Waiting,
}

/// The graph of one context.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dag {
    parents: BTreeMap<Digest, BTreeSet<Digest>>,
    children: BTreeMap<Digest, BTreeSet<Digest>>,
    waiting: BTreeMap<Digest, BTreeSet<Digest>>,
}

impl Dag {
    /// Adds an event after its parents. One whose parents are not here yet waits for them. Returns
    /// whether it is new.
    pub fn insert(
        &mut self,
        event: Digest,
        parents: impl IntoIterator<Item = Digest>,
    ) -> Result<bool, DagError> {
        if self.parents.contains_key(&event) || self.waiting.contains_key(&event) {
            return Ok(false);
        }
        let parents: BTreeSet<Digest> = parents.into_iter().take(PARENTS_MAX + 1).collect();
        if parents.len() > PARENTS_MAX || parents.contains(&event) {
            return Err(DagError::Parents);
        }
        if self.parents.len() + self.waiting.len() >= EVENTS_MAX {
            return Err(DagError::Full);
        }
        if parents.iter().all(|parent| self.parents.contains_key(parent)) {
            self.place(event, parents);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.insert(event, parents);
        } else {
            return Err(DagError::Waiting);
        }
        Ok(true)
    }

    fn place(&mut self, event: Digest, parents: BTreeSet<Digest>) {
        let mut ready = vec![(event, parents)];
        while let Some((event, parents)) = ready.pop() {
            for parent in &parents {
                self.children.entry(*parent).or_default().insert(event);
            }
            self.parents.insert(event, parents);
            let here = &self.parents;
            let complete =
                |parents: &BTreeSet<Digest>| parents.iter().all(|p| here.contains_key(p));
            let due: Vec<Digest> = self
                .waiting
                .iter()
                .filter(|(_, parents)| parents.contains(&event) && complete(parents))
                .map(|(event, _)| *event)
                .collect();
            for event in due {
                ready.extend(self.waiting.remove(&event).map(|parents| (event, parents)));
            }
        }
    }

    /// Whether an event is here, with all that it builds on.
    pub fn contains(&self, event: &Digest) -> bool {
        self.parents.contains_key(event)
    }

    /// Events here, without those that wait.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// Events that wait for their parents.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// All events, each after its parents; of those that may come next the smallest digest does
    /// (Kahn 1962). The same on every node that has the same events.
    pub fn order(&self) -> Vec<Digest> {
        let mut missing: BTreeMap<Digest, usize> =
            self.parents.iter().map(|(event, parents)| (*event, parents.len())).collect();
        let mut ready: BTreeSet<Digest> =
            missing.iter().filter(|(_, n)| **n == 0).map(|(event, _)| *event).collect();
        let mut order = Vec::with_capacity(self.parents.len());
        while let Some(event) = ready.pop_first() {
            order.push(event);
            for child in self.children.get(&event).into_iter().flatten() {
                if let Some(left) = missing.get_mut(child) {
                    *left -= 1;
                    if *left == 0 {
                        ready.insert(*child);
                    }
                }
            }
        }
        order
    }

    /// The events of `roots` that are here and all that builds on them.
    pub fn taint(&self, roots: impl IntoIterator<Item = Digest>) -> BTreeSet<Digest> {
        let mut open: Vec<Digest> =
            roots.into_iter().filter(|event| self.contains(event)).collect();
        let mut tainted = BTreeSet::new();
        while let Some(event) = open.pop() {
            if tainted.insert(event) {
                open.extend(self.children.get(&event).into_iter().flatten().copied());
            }
        }
        tainted
    }
}
