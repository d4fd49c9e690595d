//! Shards as files.
//!
//! Layout: the snapshot of the index (`edge-index`), then what the log says of it (an encoded [`Place`]),
//! the length of that (4, little endian), and SHA-256 of it under the tag `tasks/snapshot/1` (32).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use edge_base::{Digest, Hasher, ShardId, codec};
use edge_index::{Index, Mapping};
use serde::{Deserialize, Serialize};

use crate::{LAYOUT_BYTES_MAX, Layout};

const TRAILER_BYTES: usize = 4 + 32;
const PLACE_BYTES_MAX: usize = LAYOUT_BYTES_MAX + 128;

/// Where snapshots of shards are kept, one of each. What is lost there costs time, never data: the log is
/// what counts.
pub trait Snapshots: Send + Sync {
    /// Replaces the snapshot of a shard by what `write` writes, whole or not at all, and returns it.
    ///
    /// # Errors
    /// The medium's, or those of `write`; an earlier snapshot may be gone.
    fn save(
        &self,
        shard: &ShardId,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Mapping>;

    /// The bytes that were saved last, if they are still there. They may be damaged.
    fn load(&self, shard: &ShardId) -> Option<Mapping>;

    /// Removes the snapshot of a shard, if there is one.
    fn remove(&self, shard: &ShardId);
}

/// Keeps none.
pub(crate) struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn save(
        &self,
        _: &ShardId,
        _: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn load(&self, _: &ShardId) -> Option<Mapping> {
        None
    }

    fn remove(&self, _: &ShardId) {}
}

type Files = BTreeMap<ShardId, Vec<u8>>;

/// Snapshots in memory, for a machine that is simulated and for tests. Clones are the same place: they
/// outlive an executor, as files do.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshots(Arc<Mutex<Files>>);

impl MemorySnapshots {
    /// What is there. Whatever is changed is found changed by the next [`Snapshots::load`].
    pub fn with<T>(&self, then: impl FnOnce(&mut Files) -> T) -> T {
        // Half a change is a damaged file, which every reader expects.
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Snapshots for MemorySnapshots {
    fn save(
        &self,
        shard: &ShardId,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Mapping> {
        let mut bytes = Vec::new();
        write(&mut bytes)?;
        self.with(|files| files.insert(*shard, bytes.clone()));
        Ok(Mapping::new(bytes))
    }

    fn load(&self, shard: &ShardId) -> Option<Mapping> {
        self.with(|files| files.get(shard).cloned()).map(Mapping::new)
    }

    fn remove(&self, shard: &ShardId) {
        self.with(|files| files.remove(shard));
    }
}

/// Which shard, and where in its log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) shard: ShardId,
    pub(crate) layout: Vec<u8>,
    pub(crate) seq: u64,
    pub(crate) chain: Digest,
}

fn checksum(place: &[u8]) -> Digest {
    let mut hasher = Hasher::new("tasks/snapshot/1");
    hasher.update(place);
    hasher.finish()
}

pub(crate) fn write(place: &Place, index: &Index, out: &mut dyn Write) -> io::Result<()> {
    index.write_snapshot(out)?;
    let place = codec::encode(place);
    out.write_all(&place)?;
    out.write_all(&(place.len() as u32).to_le_bytes())?;
    out.write_all(checksum(&place).as_bytes())
}

/// The index's bytes, and what the log says of them; `None` for anything else.
pub(crate) fn split(mapping: &Mapping) -> Option<(Mapping, Place)> {
    let (before, trailer) = mapping.bytes().split_last_chunk::<TRAILER_BYTES>()?;
    let (length, sum) = trailer.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > PLACE_BYTES_MAX {
        return None;
    }
    let (index, place) = before.split_at_checked(before.len().checked_sub(length)?)?;
    if checksum(place).as_bytes() != sum {
        return None;
    }
    Some((mapping.first(index.len())?, codec::decode(place).ok()?))
}

/// The shard in a snapshot, if it is whole and of this shard.
pub(crate) fn read(mapping: &Mapping, shard: &ShardId) -> Option<(Place, Layout, Index)> {
    let (bytes, place) = split(mapping)?;
    let layout = Layout::decode(&place.layout).ok()?;
    let index = Index::from_mapping(&bytes).ok()?;
    let fits = place.shard == *shard && *index.config() == layout.config_of(shard);
    fits.then_some((place, layout, index))
}
