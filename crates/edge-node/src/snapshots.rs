//! Snapshots of shards as files, so that a start need not build every index again, and so that the
//! vectors of shards at rest lie in files that are mapped into memory instead of the heap.
//!
//! `shards/HEX.shard` holds the latest snapshot of one shard. The log in the database is what counts: a
//! file that is gone, damaged or of another position costs the time of applying the log, so nothing
//! here is synced, and nothing that fails here stops the node. A file is never changed, only replaced;
//! whoever cuts one short while a node runs makes the system end the node when it reads there, and the
//! next start applies the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use edge_base::ShardId;
use edge_tasks::{Mapping, Saved, Snapshots, Unsaved};
use memmap2::Mmap;

use crate::{execute::TaskExecutor, platform};

const FOLDER: &str = "shards";
const EXTENSION: &str = "shard";
/// Shards of fewer records have no snapshot: their logs are applied in a blink.
const ROWS_MIN: u64 = 1_000;
/// A snapshot is taken when this part of the records changed since the last one, or when nothing changed
/// between two looks.
const CHANGED_PART: u64 = 4;
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the end of a node may take snapshots.
const AT_END: Duration = Duration::from_secs(5);

/// The folder of the snapshots.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFolder {
    path: PathBuf,
}

impl SnapshotFolder {
    /// In a data folder. Files of shards that are not `held` are removed.
    pub(crate) fn open(data: &Path, held: &BTreeSet<ShardId>) -> Self {
        let folder = SnapshotFolder { path: data.join(FOLDER) };
        let named: BTreeSet<PathBuf> = held.iter().map(|shard| folder.file(shard)).collect();
        // No folder: no files. What cannot be removed lies there and is never read.
        for entry in fs::read_dir(&folder.path).into_iter().flatten().flatten() {
            if !named.contains(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        folder
    }

    fn file(&self, shard: &ShardId) -> PathBuf {
        self.path.join(format!("{}.{EXTENSION}", shard.0))
    }
}

/// Takes no more than there is room for: the database needs the disk more.
struct Roomy<'a> {
    file: &'a mut File,
    left: u64,
}

impl Write for Roomy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.left = self
            .left
            .checked_sub(written as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn map(file: &File) -> io::Result<Mapping> {
    // SAFETY: the file is private to this node, whose folder is locked, and is replaced by renaming, never
    // written to after it got its name; the module's text says what it means if somebody else does.
    let map = unsafe { Mmap::map(file)? };
    Ok(Mapping::new(map))
}

impl Snapshots for SnapshotFolder {
    fn save(
        &self,
        shard: &ShardId,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Mapping> {
        fs::create_dir_all(&self.path)?;
        let path = self.file(shard);
        let new = path.with_extension("new");
        let mut saved = || {
            let mut file = platform::open_private(&new)?;
            // Half of what is free is the database's.
            let left = platform::free_bytes(&self.path).map_or(u64::MAX, |free| free / 2);
            write(&mut Roomy { file: &mut file, left })?;
            drop(file);
            let mapping = map(&File::open(&new)?)?;
            fs::rename(&new, &path)?;
            Ok(mapping)
        };
        saved().inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    fn load(&self, shard: &ShardId) -> Option<Mapping> {
        let path = self.file(shard);
        // Opening a pipe would wait for whoever writes to it.
        let is_file = fs::metadata(&path).is_ok_and(|meta| meta.is_file());
        is_file.then(|| map(&File::open(path).ok()?).ok()).flatten()
    }

    fn remove(&self, shard: &ShardId) {
        // There is none for most shards; one that stays is refused by its position.
        let _ = fs::remove_file(self.file(shard));
    }
}

/// The thread that takes snapshots.
#[derive(Debug)]
pub(crate) struct SnapshotTaker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl SnapshotTaker {
    /// `data` is the data folder.
    pub(crate) fn start(executor: Arc<TaskExecutor>, data: &Path) -> Self {
        let folder = data.join(FOLDER);
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("snapshots".into())
            .spawn(move || {
                let (seen, unsettled) = (BTreeMap::new(), Vec::new());
                Taking { executor, seen, unsettled, failed: None, folder }.run(&stopped)
            })
            .expect("invariant: a thread can be started while the node starts");
        SnapshotTaker { stop, thread }
    }

    /// Takes the snapshots that are missing, for a few seconds at most, and ends. Blocks.
    pub(crate) fn stop(self) {
        drop(self.stop);
        // It ended already only if it panicked, which it said.
        let _ = self.thread.join();
    }
}

struct Taking {
    executor: Arc<TaskExecutor>,
    /// Changes of each shard at the last look.
    seen: BTreeMap<ShardId, u64>,
    /// Snapshots of shards that were being searched when their vectors were to be left in them.
    unsettled: Vec<Saved>,
    /// What the last failure said: the same is not logged again.
    failed: Option<String>,
    folder: PathBuf,
}

impl Taking {
    fn run(mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.due().iter().for_each(|shard| self.save(shard));
            self.settle();
        }
        let end = Instant::now() + AT_END;
        for unsaved in self.worth_it() {
            if Instant::now() >= end {
                break;
            }
            self.save(&unsaved.shard);
        }
    }

    fn worth_it(&self) -> Vec<Unsaved> {
        let all = self.executor.honest().unsaved();
        all.into_iter().filter(|unsaved| unsaved.rows >= ROWS_MIN).collect()
    }

    fn due(&mut self) -> Vec<ShardId> {
        let unsaved = self.worth_it();
        let now: BTreeMap<ShardId, u64> = unsaved.iter().map(|u| (u.shard, u.changes)).collect();
        let before = std::mem::replace(&mut self.seen, now);
        let is_due = |unsaved: &&Unsaved| {
            unsaved.changes >= unsaved.rows / CHANGED_PART
                || before.get(&unsaved.shard) == Some(&unsaved.changes)
        };
        unsaved.iter().filter(is_due).map(|unsaved| unsaved.shard).collect()
    }

    fn settle(&mut self) {
        let before = self.unsettled.len();
        let executor = self.executor.honest();
        self.unsettled.retain(|saved| !executor.settle(saved));
        if self.unsettled.len() < before {
            // The vectors were let go of in blocks between which other things lie.
            platform::give_back_memory();
        }
    }

    fn save(&mut self, shard: &ShardId) {
        let executor = self.executor.honest();
        match executor.save(shard) {
            Ok(saved) => {
                self.unsettled.push(saved);
                self.failed = None;
            }
            // Dropped meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = error.to_string();
                if self.failed.as_ref() != Some(&text) {
                    tracing::warn!(
                        folder = %self.folder.display(),
                        shard = %shard.short(),
                        error = text,
                        "no snapshot of a shard: the next start applies its log, which takes longer"
                    );
                }
                self.failed = Some(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Digest;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let (one, two) = (ShardId(Digest([1; 32])), ShardId(Digest([2; 32])));
        let snapshots = SnapshotFolder::open(temp.path(), &BTreeSet::new());
        assert!(snapshots.load(&one).is_none());
        let save = |shard: &ShardId, text: &[u8]| {
            snapshots.save(shard, &mut |out| out.write_all(text)).unwrap()
        };
        let first = save(&one, b"first");
        let second = save(&one, b"second");
        assert_eq!((first.bytes(), second.bytes()), (&b"first"[..], &b"second"[..]));
        let failed = snapshots.save(&one, &mut |out| {
            out.write_all(b"th")?;
            Err(io::ErrorKind::Other.into())
        });
        assert!(failed.is_err());
        assert_eq!(snapshots.load(&one).unwrap().bytes(), b"second");
        save(&two, b"two");
        let files = || fs::read_dir(temp.path().join(FOLDER)).unwrap().count();
        assert_eq!(files(), 2, "nothing half written stays");
        // At the next start only one is held.
        fs::write(temp.path().join(FOLDER).join("0.new"), b"cut").unwrap();
        let snapshots = SnapshotFolder::open(temp.path(), &BTreeSet::from([two]));
        assert_eq!(files(), 1);
        assert!(snapshots.load(&one).is_none());
        assert_eq!(snapshots.load(&two).unwrap().bytes(), b"two");
        snapshots.remove(&two);
        snapshots.remove(&two);
        assert_eq!(files(), 0);
        assert_eq!(second.bytes(), b"second", "what is mapped stays");
    }

    #[test]
    fn the_database_keeps_its_room() {
        let temp = tempfile::tempdir().unwrap();
        let mut file = File::create(temp.path().join("file")).unwrap();
        let mut roomy = Roomy { file: &mut file, left: 10 };
        roomy.write_all(b"12345678").unwrap();
        let error = roomy.write_all(b"901").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
