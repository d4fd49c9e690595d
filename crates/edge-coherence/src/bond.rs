//! What a false contest costs its maker.
//!
//! Looking into a contest costs signature checks. Each contester has a few bonds; a contest that
//! does not hold takes one, and bonds come back with time. One that has none left is not looked
//! into: it can waste so much work of others in a time, and no more.

use std::collections::BTreeMap;

use edge_base::{Micros, Timestamp};

/// Bonds of contesters.
#[derive(Clone, Debug)]
pub struct Bonds<K> {
    each: u64,
    back_after: Micros,
    contesters_max: usize,
    lost: BTreeMap<K, (u64, Timestamp)>,
}

impl<K: Ord + Clone> Bonds<K> {
    /// Everybody has `each` bonds, and gets one back for each `back_after`. Of at most
    /// `contesters_max` it is remembered what they lost; whoever comes beyond that is not heard.
    pub fn new(each: u64, back_after: Micros, contesters_max: usize) -> Self {
        Bonds { each, back_after, contesters_max, lost: BTreeMap::new() }
    }

    /// How many bonds somebody has left.
    pub fn left(&self, contester: &K, now: Timestamp) -> u64 {
        let Some((lost, since)) = self.lost.get(contester) else {
            return if self.lost.len() < self.contesters_max { self.each } else { 0 };
        };
        self.each.saturating_sub(lost.saturating_sub(self.returned(*since, now)))
    }

    /// A contest of somebody did not hold.
    pub fn forfeit(&mut self, contester: &K, now: Timestamp) {
        let (each, back_after) = (self.each, self.back_after);
        let back = |since: Timestamp| now.since(since).0.checked_div(back_after.0).unwrap_or(0);
        if self.lost.len() >= self.contesters_max {
            self.lost.retain(|_, (lost, since)| *lost > back(*since));
        }
        if let Some((lost, since)) = self.lost.get_mut(contester) {
            let returned = back(*since);
            *lost = lost.saturating_sub(returned).saturating_add(1).min(each);
            *since = now;
        } else if self.lost.len() < self.contesters_max {
            self.lost.insert(contester.clone(), (1, now));
        }
    }

    /// Of how many contesters something is remembered.
    pub fn len(&self) -> usize {
        self.lost.len()
    }

    /// Whether nobody lost anything.
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty()
    }

    fn returned(&self, since: Timestamp, now: Timestamp) -> u64 {
        now.since(since).0.checked_div(self.back_after.0).unwrap_or(0)
    }
}
