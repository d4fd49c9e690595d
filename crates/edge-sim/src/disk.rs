//! The virtual disk: durable is what a completed sync covered; a crash drops the rest.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use edge_swarm::{Stored, Table, Write};

use crate::{network::mix, queue::Instant};

/// Rows by table and key.
pub(crate) type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// One node's disk. `base` is what it was set up with, shared by all nodes of a run.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    base: Arc<Rows>,
    /// Changes that are durable; `None` removes a row of the base.
    durable: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    /// Changes in the order of their numbers, not durable yet.
    pending: VecDeque<(u64, Write)>,
    /// Changes that a lying drive said are durable, with the time it said so.
    cached: VecDeque<(Instant, Write)>,
    written: u64,
    synced: u64,
    syncing: Option<u64>,
    /// How long a lying drive keeps in a volatile cache what it said is durable.
    lies_for: Option<u64>,
}

impl Disk {
    pub(crate) fn new(base: Arc<Rows>) -> Self {
        Disk { base, ..Disk::default() }
    }

    /// The drive lies from now on; what it holds is safe.
    pub(crate) fn lie_for(&mut self, time: Option<u64>) {
        self.lies_for = time;
    }

    /// A change; durable after the next sync that begins after it.
    pub(crate) fn write(&mut self, write: Write) {
        self.written += 1;
        self.pending.push_back((self.written, write));
    }

    /// The number of the last change.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The number of the last change that is said to be durable.
    pub(crate) fn synced(&self) -> u64 {
        self.synced
    }

    /// Begins a sync of everything written so far, if there is something and none is under way.
    pub(crate) fn begin_sync(&mut self) -> Option<u64> {
        if self.syncing.is_some() || self.synced == self.written {
            return None;
        }
        self.syncing = Some(self.written);
        self.syncing
    }

    pub(crate) fn end_sync(&mut self, now: Instant) {
        let Some(upto) = self.syncing.take() else { return };
        self.synced = upto;
        while self.pending.front().is_some_and(|(number, _)| *number <= upto) {
            let Some((_, write)) = self.pending.pop_front() else { break };
            match self.lies_for {
                None => self.apply(write),
                Some(_) => self.cached.push_back((now, write)),
            }
        }
        self.flush(now);
    }

    /// Moves what a lying drive has held long enough to where it is safe.
    fn flush(&mut self, now: Instant) {
        let Some(hold) = self.lies_for else { return };
        while self.cached.front().is_some_and(|(at, _)| at + hold <= now) {
            if let Some((_, write)) = self.cached.pop_front() {
                self.apply(write);
            }
        }
    }

    fn apply(&mut self, write: Write) {
        let place = (write.table, write.key);
        if write.value.is_none() && !self.base.contains_key(&place) {
            self.durable.remove(&place);
        } else {
            self.durable.insert(place, write.value);
        }
    }

    /// The machine stops: a sync under way is durable whole or not at all, later changes are gone.
    pub(crate) fn crash(&mut self, now: Instant, last_sync_held: bool) {
        self.flush(now);
        self.cached.clear();
        if last_sync_held && self.lies_for.is_none() {
            self.end_sync(now);
        }
        self.syncing = None;
        self.pending.clear();
        self.synced = self.written;
    }

    /// Everything is gone.
    pub(crate) fn lose(&mut self) {
        let (written, lies_for) = (self.written, self.lies_for);
        *self = Disk { written, synced: written, lies_for, ..Disk::default() };
    }

    /// A value as the running process reads it: with its own changes.
    pub(crate) fn read(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        let changed = |write: &Write| write.table == table && write.key == key;
        if let Some((_, write)) = self.pending.iter().rev().find(|(_, write)| changed(write)) {
            return write.value.clone();
        }
        if let Some((_, write)) = self.cached.iter().rev().find(|(_, write)| changed(write)) {
            return write.value.clone();
        }
        let place = (table, key.to_vec());
        match self.durable.get(&place) {
            Some(value) => value.clone(),
            None => self.base.get(&place).cloned(),
        }
    }

    /// Durable rows of a table, in key order.
    pub(crate) fn rows(&self, table: Table) -> Vec<(&[u8], &[u8])> {
        let range = (table, Vec::new())..;
        let in_table = move |place: &(Table, Vec<u8>)| place.0 == table;
        let mut rows: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        for (place, value) in self.base.range(range.clone()).take_while(|(p, _)| in_table(p)) {
            rows.insert(&place.1, value);
        }
        for (place, value) in self.durable.range(range).take_while(|(p, _)| in_table(p)) {
            match value {
                Some(value) => rows.insert(&place.1, value),
                None => rows.remove(place.1.as_slice()),
            };
        }
        rows.into_iter().collect()
    }

    /// A hash of the durable keys of a table whose rows are never changed, whatever their order.
    pub(crate) fn fingerprint(&self, table: Table) -> u64 {
        let range = (table, Vec::new())..;
        let base = self.base.range(range.clone()).map(|(place, _)| place);
        let base = base
            .take_while(|place| place.0 == table)
            .filter(|place| !matches!(self.durable.get(*place), Some(None)));
        let fresh = self.durable.range(range).take_while(|(place, _)| place.0 == table);
        let fresh = fresh
            .filter(|(place, value)| value.is_some() && !self.base.contains_key(*place))
            .map(|(place, _)| place);
        let hash = |key: &[u8]| key.iter().fold(1, |hash, byte| mix(hash ^ u64::from(*byte)));
        base.chain(fresh).fold(0, |all, place| all ^ hash(&place.1))
    }

    /// What a process that starts now finds, as the peer wants it.
    pub(crate) fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Log) {
            let rows = self.rows(table).into_iter().map(|(k, v)| (k.to_vec(), v.to_vec()));
            stored.rows.insert(table, rows.collect());
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8, value: u8) -> Write {
        Write { table: Table::Log, key: vec![key], value: Some(vec![value]) }
    }

    fn keys(disk: &Disk) -> Vec<u8> {
        disk.rows(Table::Log).iter().map(|(key, _)| key[0]).collect()
    }

    #[test]
    fn a_crash_drops_what_no_completed_sync_covered() {
        for held in [false, true] {
            let mut disk = Disk::new(Arc::new(Rows::new()));
            disk.write(put(1, 1));
            assert_eq!(disk.begin_sync(), Some(1));
            disk.write(put(2, 2));
            assert_eq!(disk.begin_sync(), None, "one sync at a time");
            disk.end_sync(0);
            assert_eq!((disk.synced(), disk.written()), (1, 2));
            assert_eq!(disk.begin_sync(), Some(2));
            disk.write(put(3, 3));
            assert_eq!(disk.read(Table::Log, &[3]), Some(vec![3]));
            disk.crash(0, held);
            assert_eq!(keys(&disk), if held { vec![1, 2] } else { vec![1] });
        }
    }

    #[test]
    fn rows_of_the_base_can_be_replaced_and_removed() {
        let base = Rows::from([((Table::Log, vec![1]), vec![1]), ((Table::Log, vec![2]), vec![2])]);
        let mut disk = Disk::new(Arc::new(base));
        disk.write(put(2, 9));
        disk.write(Write { table: Table::Log, key: vec![1], value: None });
        disk.begin_sync();
        disk.end_sync(0);
        assert_eq!(disk.rows(Table::Log), [(&[2][..], &[9][..])]);
        assert_eq!(disk.read(Table::Log, &[1]), None);
        disk.lose();
        assert!(keys(&disk).is_empty());
    }

    #[test]
    fn a_lying_drive_loses_what_it_said_is_durable() {
        let mut disk = Disk::new(Arc::new(Rows::new()));
        disk.lie_for(Some(10));
        disk.write(put(1, 1));
        disk.begin_sync();
        disk.end_sync(5);
        disk.write(put(2, 2));
        disk.begin_sync();
        disk.end_sync(12);
        assert_eq!(disk.synced(), 2);
        disk.crash(15, true);
        assert_eq!(keys(&disk), [1]);
    }
}
