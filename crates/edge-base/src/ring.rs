//! The latest of a stream, and no more.

use std::collections::{BTreeSet, VecDeque, vec_deque};

/// The `N` values that were pushed last, oldest first. Room is taken as it fills, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring<T, const N: usize>(VecDeque<T>);

impl<T, const N: usize> Ring<T, N> {
    /// Adds a value, and gives back the oldest one where there were `N` already.
    pub fn push(&mut self, value: T) -> Option<T> {
        const { assert!(N > 0, "a ring that keeps nothing") };
        let oldest = if self.0.len() == N { self.0.pop_front() } else { None };
        self.0.push_back(value);
        oldest
    }

    /// How many there are, `N` at most.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The oldest that is left.
    pub fn first(&self) -> Option<&T> {
        self.0.front()
    }

    /// The one that was pushed last.
    pub fn last(&self) -> Option<&T> {
        self.0.back()
    }

    /// From the oldest to the latest.
    pub fn iter(&self) -> vec_deque::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Ring(VecDeque::new())
    }
}

/// The `N` different values that were inserted last: one that is inserted again keeps its place.
#[derive(Clone, Debug)]
pub struct RingSet<T, const N: usize> {
    set: BTreeSet<T>,
    order: Ring<T, N>,
}

impl<T: Ord + Clone, const N: usize> RingSet<T, N> {
    /// Adds a value; `false` if it is there.
    pub fn insert(&mut self, value: T) -> bool {
        let new = self.set.insert(value.clone());
        if new && let Some(oldest) = self.order.push(value) {
            self.set.remove(&oldest);
        }
        new
    }

    /// Whether it is among them.
    pub fn contains(&self, value: &T) -> bool {
        self.set.contains(value)
    }

    /// How many there are, `N` at most.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether nothing was inserted yet.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

impl<T, const N: usize> Default for RingSet<T, N> {
    fn default() -> Self {
        RingSet { set: BTreeSet::new(), order: Ring::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn the_latest_stay_in_order() {
        let mut ring = Ring::<u32, 3>::default();
        assert!(ring.is_empty());
        let gone: Vec<Option<u32>> = (0..5).map(|n| ring.push(n)).collect();
        assert_eq!(gone, [None, None, None, Some(0), Some(1)]);
        assert_eq!(ring.iter().collect::<Vec<_>>(), [&2, &3, &4]);
        assert_eq!((ring.first(), ring.last(), ring.len()), (Some(&2), Some(&4), 3));
    }

    #[test]
    fn a_set_forgets_in_the_order_of_first_sight() {
        let mut rng = Rng::derive(1, "ring set");
        let mut set = RingSet::<u64, 8>::default();
        let mut all: Vec<u64> = Vec::new();
        for _ in 0..2_000 {
            let value = rng.below(20);
            let latest = &all[all.len().saturating_sub(8)..];
            let new = !latest.contains(&value);
            assert_eq!(set.insert(value), new);
            if new {
                all.push(value);
            }
            let latest = &all[all.len().saturating_sub(8)..];
            assert!((0..20).all(|n| set.contains(&n) == latest.contains(&n)));
            assert_eq!(set.len(), latest.len());
        }
    }
}
