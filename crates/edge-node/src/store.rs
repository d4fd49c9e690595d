//! What the node keeps: one table of an embedded database (redb) for each table of the peer.
//!
//! A commit is durable when it returns. Beyond that, the store knows when it must not be believed:
//! a witness that votes with an old vote log could vote twice for one block number, so a database
//! that was moved, restored, repaired, damaged or lost says [`Store::may_vote`] = false, for good. A
//! copy is not opened at all unless the caller says that it was moved: the original may run, and two
//! nodes of one identity sign two different blocks of one account. Nor is the database of another
//! identity.
//!
//! How a copy is told: the database holds the number of its own file on its device, the machine's
//! id, and random bytes that every start draws anew and also makes the name of a file `marker-…`. Moving
//! the folder keeps all of them; `cp`, `tar`, a backup or an older database file beside a newer
//! marker do not. A backup that is written over the folder leaves the newer marker beside its own. What puts every file
//! back in its place and takes newer ones away (a snapshot of a file system or of a virtual machine) keeps them all;
//! nothing in the folder could tell.

#[cfg(test)]
pub(crate) mod disk;
mod meta;
mod pipeline;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use edge_base::{Digest, NodeId, codec};
use edge_swarm::{Stored, Table, Write};
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableError,
};

use crate::folder::{Folder, replace};

pub use pipeline::{Batch, Commit, Pipeline, Stopped};

/// The version of the layout below. A newer one is refused.
pub const SCHEMA: u32 = 1;

const DATABASE: &str = "pool.redb";
/// Tables of which a copy lies beside the database. With them a node whose database is damaged
/// still knows its pool and where to find some members, and gets the rest from them.
const MIRRORS: [(Table, &str); 2] =
    [(Table::Pool, "pool.mirror"), (Table::Members, "members.mirror")];
/// A file smaller than this is left as large as it is.
const SHRUNK_BYTES_MIN: u64 = 8 << 20;
/// Rows of a table that are copied, at most: enough members to be let in by one of them.
const MIRROR_ROWS_MAX: usize = 256;

/// Why storage failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the database open: the caller's fault.
    #[error("another process uses {0}")]
    InUse(PathBuf),
    /// Written by a newer edge-net: the caller's fault.
    #[error("{path} has layout {found}, this edge-net knows {SCHEMA}: use the newer program")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// The file system's: no space.
    #[error("no space left for {0}: free some, then start the node again")]
    Full(PathBuf),
    /// The file system's.
    #[error("cannot use {path}: {reason}")]
    Io {
        /// The database.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The database is damaged and was found to be so while running.
    #[error("{path} is damaged ({reason}): start the node again, it will set it aside")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A copy, or moved or restored: refused unless [`Opening::moved`].
    #[error(
        "{path} is not where it was left: {reason}; were the original to run too, both would sign \
         different blocks of one account, and the witnesses freeze such an account for good"
    )]
    Copied {
        /// The database.
        path: PathBuf,
        /// What gave it away.
        reason: String,
    },
    /// The folder has a pool and no identity.
    #[error("{path} has the data of {}, but the file `identity` beside it is gone", whose(*owner))]
    NoIdentity {
        /// The database.
        path: PathBuf,
        /// Whose it is, where it says so.
        owner: Option<NodeId>,
    },
    /// The folder has the data of one node and the identity of another.
    #[error(
        "{path} has the data of {}, the file `identity` beside it is of {}",
        owner.short(), identity.short()
    )]
    OtherIdentity {
        /// The database.
        path: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Whose identity is there.
        identity: NodeId,
    },
}

fn whose(owner: Option<NodeId>) -> String {
    owner.map_or_else(|| "a node".to_owned(), |owner| owner.short())
}

/// What is known of a folder before its database is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Opening {
    /// Whose folder it is; `None` when it has no identity.
    pub owner: Option<Owner>,
    /// The key under which the node is to go on, if one was made.
    pub next: Option<NodeId>,
    /// It was moved, and the original will never run again: a copy is not refused.
    pub moved: bool,
}

/// What the identity in a folder says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// Whether it belongs to a pool already. Before that, a node has cast no vote.
    pub bound: bool,
}

/// Something unusual that opening found. Each but `Created` takes the right to vote from a node of
/// a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// There was no database and never had been one.
    Created,
    /// The database is a copy or was moved or restored; says what gave it away.
    Copied(String),
    /// The database was damaged and is a new one now; the old one was moved.
    Damaged {
        /// Where the damaged one is.
        moved_to: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The database was damaged and could be repaired, perhaps to an older state.
    Repaired,
    /// The database or what it says of the pool is gone; other files say there was one.
    Lost,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let no_vote = "this node will not vote as a witness again with it";
        match self {
            Finding::Created => f.write_str("made a new database"),
            Finding::Copied(what) => write!(
                f,
                "the database is a copy or was moved ({what}): the original must never be started \
                 again; {no_vote}"
            ),
            Finding::Damaged { moved_to, reason } => write!(
                f,
                "the database was damaged ({reason}) and is now {}; identity and pool are kept, and \
                 what other members hold is fetched from them. What nobody else holds is only in that \
                 file: to try it once more, when the disk is sound again, stop the node, move the \
                 file back to {DATABASE} and run `edge-net start --moved`; {no_vote}",
                moved_to.display()
            ),
            Finding::Repaired => write!(f, "the database was damaged and repaired; {no_vote}"),
            Finding::Lost => write!(
                f,
                "the database is gone; what other members hold is fetched from them; {no_vote}"
            ),
        }
    }
}

/// Counters of a store.
#[derive(Debug, Default)]
pub struct StoreStats {
    /// Transactions made durable.
    pub commits: AtomicU64,
    /// Values written or removed.
    pub writes: AtomicU64,
    /// Their bytes, keys included.
    pub bytes: AtomicU64,
    /// Microseconds spent in commits.
    pub commit_us: AtomicU64,
}

/// An open database.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
    may_vote: bool,
    /// Whether there is a folder to mirror the pool's table into.
    mirrored: bool,
    stats: StoreStats,
}

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

fn definition(table: Table) -> Definition {
    Definition::new(table.name())
}

impl Store {
    /// Opens the database of a folder, or makes one; says what was unusual about it. `cache_bytes`
    /// bounds what is kept in memory. After an error the folder is as it was, but for a damaged
    /// database that was set aside.
    ///
    /// # Errors
    /// Every [`StoreError`] but `Damaged`: damage found here is a [`Finding`].
    pub fn open(
        folder: &Folder,
        cache_bytes: u64,
        opening: Opening,
    ) -> Result<(Store, Vec<Finding>), StoreError> {
        let path = folder.path().join(DATABASE);
        let cache = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        let open = || {
            Store::open_checked(&path, || Database::builder().set_cache_size(cache).create(&path))
        };
        let mut findings = Vec::new();
        let (database, clean) = match open() {
            Ok(opened) => opened,
            Err(StoreError::Damaged { reason, .. }) => {
                let moved_to = set_aside(&path).map_err(|error| io_error(&path, &error))?;
                findings.push(Finding::Damaged { moved_to, reason });
                open()?
            }
            Err(error) => return Err(error),
        };
        if !clean {
            findings.push(Finding::Repaired);
        }
        let stats = StoreStats::default();
        let mut store = Store { database, path, may_vote: true, mirrored: true, stats };
        let blank = store.is_blank()?;
        let mirrored = match store.rows(Table::Pool)?.is_empty() {
            true => Some(store.read_mirrors()?),
            false => None,
        };
        let in_mirror = |rows: &Vec<Write>| rows.iter().any(|write| write.table == Table::Pool);
        let has_pool = mirrored.as_ref().is_none_or(in_mirror);
        store.check_owner(opening.owner, opening.next, has_pool)?;
        // Nothing but a pool has votes, and an identity is bound before its node runs.
        let had_pool = has_pool || opening.owner.is_some_and(|owner| owner.bound);
        let damaged = findings.iter().any(|f| matches!(f, Finding::Damaged { .. }));
        if !damaged && mirrored.is_some() && had_pool {
            findings.push(Finding::Lost);
        } else if !damaged && blank {
            findings.push(Finding::Created);
        }
        let surroundings = store.look_around(folder.path(), blank)?;
        if let Some(reason) = surroundings.mismatch.clone() {
            if !opening.moved {
                return Err(StoreError::Copied { path: store.path, reason });
            }
            findings.push(Finding::Copied(reason));
        }
        // In this order: a process that ends in between finds the same again at the next start.
        if !has_pool {
            store.begin_anew(opening.owner.map(|owner| owner.node))?;
        }
        if had_pool && findings.iter().any(|finding| *finding != Finding::Created) {
            store.forbid_votes(&findings)?;
        }
        if let Some(writes) = mirrored {
            let writes: Vec<&Write> = writes.iter().collect();
            store.apply(&writes).map_err(|error| store.error(error))?;
        }
        store.settle(folder.path(), surroundings)?;
        if let Some(owner) = opening.owner {
            store.belongs_to(owner.node)?;
        }
        store.may_vote = store.votes_forbidden()?.is_none();
        store.shrink()?;
        Ok((store, findings))
    }

    /// A database on any backend, with nothing remembered about its surroundings.
    #[cfg(test)]
    pub(crate) fn on_backend(backend: impl redb::StorageBackend) -> Result<Store, StoreError> {
        let path = PathBuf::from("backend");
        let (database, _) =
            Store::open_checked(&path, || Database::builder().create_with_backend(backend))?;
        let stats = StoreStats::default();
        Ok(Store { database, path, may_vote: true, mirrored: false, stats })
    }

    fn open_checked(
        path: &Path,
        open: impl FnOnce() -> Result<Database, DatabaseError>,
    ) -> Result<(Database, bool), StoreError> {
        // A damaged file may lead the library astray; that is damage, not a reason to end.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut database = open()?;
            let clean = database.check_integrity()?;
            Ok((database, clean))
        }));
        match opened {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => Err(database_error(path, &error)),
            Err(_) => Err(StoreError::Damaged {
                path: path.to_owned(),
                reason: "its structure makes no sense".into(),
            }),
        }
    }

    /// Whether votes found here are all that were ever cast.
    pub fn may_vote(&self) -> bool {
        self.may_vote
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counters since it was opened.
    pub fn stats(&self) -> &StoreStats {
        &self.stats
    }

    /// Everything but the log batches.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load_all(&self) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Log) {
            stored.rows.insert(table, self.rows(table)?);
        }
        Ok(stored)
    }

    /// Every row of a table, by key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rows(&self, table: Table) -> Result<Vec<edge_swarm::Row>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let table = match transaction.open_table(definition(table)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                rows.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(rows)
        };
        read().map_err(|error| self.error(error))
    }

    /// One value.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            match transaction.open_table(definition(table)) {
                Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        read().map_err(|error| self.error(error))
    }

    /// Gives the file system back what is free in a file that is mostly free: removed rows leave room
    /// that later ones take, and a file that was large once stays so. It is moved within the file, and a
    /// crash in between loses nothing.
    fn shrink(&mut self) -> Result<(), StoreError> {
        let length =
            std::fs::metadata(&self.path).map_err(|error| io_error(&self.path, &error))?.len();
        if length < SHRUNK_BYTES_MIN {
            return Ok(());
        }
        let used = || -> Result<u64, redb::Error> {
            let transaction = self.database.begin_write()?;
            let stats = transaction.stats()?;
            let used = stats.allocated_pages() * stats.page_size() as u64;
            transaction.abort()?;
            Ok(used)
        };
        if used().map_err(|error| self.error(error))? < length / 3 {
            self.database.compact().map(drop).map_err(|error| self.error(error.into()))?;
        }
        Ok(())
    }

    fn apply(&self, writes: &[&Write]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        for table in Table::ALL {
            let mut of_table = writes.iter().filter(|write| write.table == table).peekable();
            if of_table.peek().is_none() {
                continue;
            }
            let mut open = transaction.open_table(definition(table))?;
            for write in of_table {
                match &write.value {
                    Some(value) => drop(open.insert(write.key.as_slice(), value.as_slice())?),
                    None => drop(open.remove(write.key.as_slice())?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    /// Copies a table to a file beside the database.
    fn write_mirror(&self, table: Table, name: &str) -> Result<(), StoreError> {
        let mut rows = self.rows(table)?;
        rows.truncate(MIRROR_ROWS_MAX);
        let rows = codec::encode(&rows);
        let mut file = Digest::of(&rows).0.to_vec();
        file.extend_from_slice(&rows);
        let path = mirror_path(&self.path, name);
        replace(&path, &file).map_err(|error| io_error(&path, &error))
    }

    /// What the mirrors say, as writes.
    fn read_mirrors(&self) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        for (table, name) in MIRRORS {
            writes.extend(self.read_mirror(table, name)?);
        }
        Ok(writes)
    }

    fn read_mirror(&self, table: Table, name: &str) -> Result<Vec<Write>, StoreError> {
        let path = mirror_path(&self.path, name);
        let file = match std::fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(&path, &error)),
        };
        // A damaged mirror is no mirror: the node then has to be given a ticket again.
        let rows = file.split_at_checked(32).filter(|(digest, rows)| Digest::of(rows).0 == *digest);
        let rows = rows.and_then(|(_, rows)| codec::decode::<Vec<(Vec<u8>, Vec<u8>)>>(rows).ok());
        let write = |(key, value)| Write { table, key, value: Some(value) };
        Ok(rows.unwrap_or_default().into_iter().map(write).collect())
    }

    fn error(&self, error: redb::Error) -> StoreError {
        let path = &self.path;
        match error {
            redb::Error::Io(error) => io_error(path, &error),
            redb::Error::Corrupted(reason) => StoreError::Damaged { path: path.clone(), reason },
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse(path.clone()),
            other => StoreError::Io { path: path.clone(), reason: other.to_string() },
        }
    }
}

impl Commit for Store {
    fn commit(&self, writes: &[&Write]) -> Result<(), StoreError> {
        let started = std::time::Instant::now();
        self.apply(writes).map_err(|error| self.error(error))?;
        let bytes: usize = writes
            .iter()
            .map(|write| write.key.len() + write.value.as_ref().map_or(0, Vec::len))
            .sum();
        let add = |counter: &AtomicU64, n: u64| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.stats.commits, 1);
        add(&self.stats.writes, writes.len() as u64);
        add(&self.stats.bytes, bytes as u64);
        add(&self.stats.commit_us, u64::try_from(started.elapsed().as_micros()).unwrap_or(0));
        for (table, name) in MIRRORS.into_iter().filter(|_| self.mirrored) {
            if writes.iter().any(|write| write.table == table) {
                self.write_mirror(table, name)?;
            }
        }
        Ok(())
    }
}

fn mirror_path(database: &Path, name: &str) -> PathBuf {
    database.with_file_name(name)
}

/// Moves a damaged database to the first free `NAME.corrupt-N`.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let free = (1..=u32::MAX)
        .map(|n| path.with_file_name(format!("{name}.corrupt-{n}")))
        .find(|candidate| !candidate.exists())
        .ok_or_else(|| io::Error::other("too many damaged databases"))?;
    std::fs::rename(path, &free)?;
    Ok(free)
}

fn database_error(path: &Path, error: &DatabaseError) -> StoreError {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => damaged(error.to_string()),
            _ => io_error(path, error),
        },
        DatabaseError::Storage(StorageError::Corrupted(reason)) => damaged(reason.clone()),
        other => damaged(other.to_string()),
    }
}

fn io_error(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full(path.to_owned())
        }
        io::ErrorKind::FileTooLarge => StoreError::Io {
            path: path.to_owned(),
            reason: format!("{error}; see the limit on file sizes, `ulimit -f`"),
        },
        _ => StoreError::Io { path: path.to_owned(), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
