//! A map in the order of its keys that takes little more than its rows do.
//!
//! The rows are in sorted chunks that grow by a sixteenth and are cut in two when they are full: the
//! nodes of a B-tree are a third empty when keys come in random order, and a hash table has no order.
//! Finding takes two binary searches, inserting moves half a chunk.

use std::{borrow::Borrow, ops::RangeInclusive};

/// Rows of a chunk. A few kilobytes, so that inserting moves little.
const CHUNK_MAX: usize = 128;

/// Rows by key.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    /// None is empty.
    chunks: Vec<Vec<(K, V)>>,
    /// The first key of each, side by side: what is looked at first.
    firsts: Vec<K>,
    rows: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { chunks: Vec::new(), firsts: Vec::new(), rows: 0 }
    }
}

/// Where a key is, or would be.
enum Place {
    At(usize, usize),
    Before(usize, usize),
}

impl<K: Ord + Copy, V> Table<K, V> {
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Place
    where
        K: Borrow<Q>,
    {
        let after = self.firsts.partition_point(|first| first.borrow() <= key);
        let chunk = after.saturating_sub(1);
        let Some(rows) = self.chunks.get(chunk) else { return Place::Before(0, 0) };
        match rows.binary_search_by(|row| row.0.borrow().cmp(key)) {
            Ok(row) => Place::At(chunk, row),
            Err(row) => Place::Before(chunk, row),
        }
    }

    /// The value of a key.
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let Place::At(chunk, row) = self.place(key) else { return None };
        self.chunks.get(chunk)?.get(row).map(|(_, value)| value)
    }

    /// The value of a key, to change it.
    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let Place::At(chunk, row) = self.place(key) else { return None };
        self.chunks.get_mut(chunk)?.get_mut(row).map(|(_, value)| value)
    }

    /// Whether there is a key.
    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        matches!(self.place(key), Place::At(..))
    }

    /// The value of a key, made if there is none.
    pub(crate) fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        let (chunk, row) = match self.place(&key) {
            Place::At(chunk, row) => (chunk, row),
            Place::Before(chunk, row) => self.insert_before(chunk, row, (key, value())),
        };
        &mut self.chunks[chunk][row].1
    }

    /// Puts a value in the place of a key's.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Place::At(chunk, row) => self.chunks[chunk][row].1 = value,
            Place::Before(chunk, row) => _ = self.insert_before(chunk, row, (key, value)),
        }
    }

    fn insert_before(&mut self, mut chunk: usize, mut at: usize, row: (K, V)) -> (usize, usize) {
        match self.chunks.get_mut(chunk) {
            None => {
                self.chunks.push(Vec::with_capacity(1));
                self.firsts.push(row.0);
            }
            Some(rows) if rows.len() == CHUNK_MAX => {
                // Keys that come in order leave full chunks behind.
                let cut = if at == CHUNK_MAX { at } else { CHUNK_MAX / 2 };
                let rest = rows.split_off(cut);
                rows.shrink_to_fit();
                let first = rest.first().map_or(row.0, |(key, _)| *key);
                self.chunks.insert(chunk + 1, rest);
                self.firsts.insert(chunk + 1, first);
                if at >= cut {
                    (chunk, at) = (chunk + 1, at - cut);
                }
            }
            Some(_) => {}
        }
        if at == 0 {
            self.firsts[chunk] = row.0;
        }
        let rows = &mut self.chunks[chunk];
        if rows.len() == rows.capacity() {
            rows.reserve_exact(1 + rows.len() / 16);
        }
        rows.insert(at, row);
        self.rows += 1;
        (chunk, at)
    }

    /// Takes a row out.
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let Place::At(chunk, row) = self.place(key) else { return None };
        let (_, value) = self.chunks[chunk].remove(row);
        self.rows -= 1;
        let count = |chunk: usize| self.chunks.get(chunk).map_or(CHUNK_MAX, Vec::len);
        if count(chunk) + count(chunk + 1) <= CHUNK_MAX / 2 {
            let next = self.chunks.remove(chunk + 1);
            self.firsts.remove(chunk + 1);
            self.chunks[chunk].extend(next);
        }
        let rows = &mut self.chunks[chunk];
        if rows.capacity() > rows.len() + rows.len() / 4 {
            rows.shrink_to(rows.len() + rows.len() / 16);
        }
        match rows.first() {
            Some((first, _)) => self.firsts[chunk] = *first,
            None => {
                self.chunks.remove(chunk);
                self.firsts.remove(chunk);
            }
        }
        Some(value)
    }

    /// Every row, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.chunks.iter().flatten().map(|(key, value)| (key, value))
    }

    /// Every key, ascending.
    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// Every value, ascending by key.
    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// Every row, to change its value.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.chunks.iter_mut().flatten().map(|(key, value)| (&*key, value))
    }

    /// The rows between two keys, both included.
    pub(crate) fn range(&self, keys: RangeInclusive<K>) -> impl Iterator<Item = (&K, &V)> {
        let (chunk, row) = match self.place(keys.start()) {
            Place::At(chunk, row) | Place::Before(chunk, row) => (chunk, row),
        };
        let rows = self.chunks.iter().skip(chunk).flatten().skip(row);
        rows.map(|(key, value)| (key, value)).take_while(move |(key, _)| **key <= *keys.end())
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }
}

impl<'a, K: Ord + Copy, V> IntoIterator for &'a Table<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Box<dyn Iterator<Item = (&'a K, &'a V)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<'a, K: Ord + Copy, V> IntoIterator for &'a mut Table<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = Box<dyn Iterator<Item = (&'a K, &'a mut V)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter_mut())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edge_base::Rng;

    use super::*;

    /// The oracle is the standard library's map.
    #[test]
    fn it_is_a_map_in_order() {
        for (seed, keys) in [(1, 40), (2, 1_000), (3, 100_000)] {
            let mut rng = Rng::derive(seed, "table");
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            for step in 0..3_000_u64 {
                let key = if rng.chance(1, 3) { step } else { rng.below(keys) };
                match rng.below(4) {
                    3 => assert_eq!(table.remove(&key), map.remove(&key)),
                    0 => {
                        table.insert(key, step);
                        map.insert(key, step);
                    }
                    1 => {
                        *table.get_or_insert_with(key, || 7) += step;
                        *map.entry(key).or_insert(7) += step;
                    }
                    2 => {
                        assert_eq!(table.get(&key), map.get(&key));
                        assert_eq!(table.contains_key(&key), map.contains_key(&key));
                        assert_eq!(table.get_mut(&key), map.get_mut(&key));
                    }
                    _ => unreachable!("below four"),
                }
                assert_eq!(table.len(), map.len());
                let firsts = table.chunks.iter().map(|rows| &rows[0].0);
                assert!(table.firsts.iter().eq(firsts));
                if step % 100 == 0 {
                    assert!(table.iter().eq(map.iter()) && table.keys().eq(map.keys()));
                    assert!(table.iter().rev().eq(map.iter().rev()));
                    let (low, high) = (rng.below(keys), rng.below(keys));
                    let (low, high) = (low.min(high), low.max(high));
                    assert!(table.range(low..=high).eq(map.range(low..=high)));
                }
            }
            for (_, value) in table.iter_mut() {
                *value += 1;
            }
            assert!(
                table.values().eq(map.values().map(|value| value + 1).collect::<Vec<_>>().iter())
            );
        }
        let none: Table<u64, u64> = Table::default();
        assert_eq!((none.len(), none.get(&3), none.range(0..=9).count()), (0, None, 0));
    }

    #[test]
    fn little_room_is_empty() {
        let mut rng = Rng::derive(4, "table");
        let (mut random, mut ordered) = (Table::default(), Table::default());
        for number in 0..10_000_u64 {
            random.insert(rng.next_u64(), ());
            ordered.insert(number, ());
        }
        for table in [&random, &ordered] {
            let room: usize = table.chunks.iter().map(Vec::capacity).sum();
            assert!(room * 100 <= table.len() * 107, "{room} for {}", table.len());
            assert!(table.chunks.iter().all(|rows| (1..=CHUNK_MAX).contains(&rows.len())));
        }
        assert!(ordered.chunks.len() <= 10_000 / CHUNK_MAX + 1);
    }
}
