//! The data folder: one process at a time, the node's identity, and the note that says where its
//! HTTP interface is.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | locked while a node runs; its process id |
//! | `identity` | 40-byte π identity and 32-byte seed, readable by its owner only |
//! | `identity.next` | the same of the key under which the node goes on, while it is being replaced |
//! | `pool.redb` | everything the peer keeps, see [`crate::store`] |
//! | `pool.mirror`, `members.mirror` | copies of two of its tables, for when it is damaged |
//! | `marker-…` | random digits of the last start, also in the store: a restored store shows |
//! | `ports.json` | the ports that the system chose, for the next start |
//! | `shards/` | snapshots of shards, see `snapshots.rs`; may be deleted while no node runs |
//! | `keys/` | encryption keys, readable by their owner only, see [`crate::keys`] |
//! | `models/` | models that were added, see [`crate::models`] |
//! | `api.json` | where the HTTP interface listens, while it does |

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use edge_base::{
    Digest, NetworkTag, PiIdentity, Rng, SecretKey,
    backup::{self, BackupError},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::platform;

/// The identity that is to take the place of the present one.
const NEXT: &str = "identity.next";

/// How long a lock is waited for that a process may hold that is ending, and how often it is tried.
const LOCK_PATIENCE: Duration = Duration::from_millis(1_500);
const LOCK_AGAIN: Duration = Duration::from_millis(20);
/// Paths that are listed as open to others.
const OPEN_MAX: usize = 256;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Another node runs on it: the caller's fault.
    #[error("another node (process {pid}) runs on {path}")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// What the lock file says.
        pid: String,
    },
    /// The environment's: no permission, no space, not a folder.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The identity file is damaged or of another program.
    #[error("{path} is not an identity: {reason}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An identity would be overwritten: the caller's fault.
    #[error("{path} already holds an identity, {existing}")]
    IdentityExists {
        /// The file.
        path: PathBuf,
        /// Whose.
        existing: String,
    },
    /// The backup was restored there already: the caller's fault.
    #[error("{path} holds this very identity already")]
    SameIdentity {
        /// The file.
        path: PathBuf,
    },
    /// A backup that does not open.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Entropy(String),
}

/// 32 bytes from the operating system.
///
/// # Errors
/// [`FolderError::Entropy`].
pub fn entropy() -> Result<Zeroizing<[u8; 32]>, FolderError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| FolderError::Entropy(error.to_string()))?;
    Ok(bytes)
}

/// A data folder that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: File,
    /// Held while the next identity is made.
    making: Mutex<()>,
}

/// Where the HTTP interface of a running node is: the file `api.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiNote {
    /// `edge-net.api/1`.
    pub schema: String,
    /// `http://127.0.0.1:3141`.
    pub url: String,
    /// The node's process.
    pub pid: u32,
    /// The node, hexadecimal.
    pub node: String,
}

impl Folder {
    /// Makes the folder if there is none, private to its owner, and locks it.
    ///
    /// # Errors
    /// [`FolderError::InUse`] and [`FolderError::Io`].
    pub fn open(path: &Path) -> Result<Folder, FolderError> {
        create(path)?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(io_at(&lock_path))?;
        match lock_soon(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Who it is helps; not knowing does not change the answer.
                let _ = lock.read_to_string(&mut pid);
                let pid = if pid.is_empty() { "unknown".to_owned() } else { pid };
                return Err(FolderError::InUse { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(FolderError::Io { path: lock_path, source });
            }
        }
        let note = |lock: &mut File| -> io::Result<()> {
            lock.set_len(0)?;
            lock.rewind()?;
            lock.write_all(std::process::id().to_string().as_bytes())
        };
        note(&mut lock).map_err(io_at(&lock_path))?;
        Ok(Folder { path: path.to_owned(), lock, making: Mutex::new(()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity, made on the first call.
    ///
    /// # Errors
    /// [`FolderError::Identity`] for a damaged file, [`FolderError::Io`], [`FolderError::Entropy`].
    pub fn identity(&self) -> Result<SecretKey, FolderError> {
        if let Some((_, key)) = read_identity(&self.path)? {
            return Ok(key);
        }
        let key = SecretKey::from_seed(*entropy()?);
        write_identity(&self.path, &key, NetworkTag::UNBOUND)?;
        Ok(key)
    }

    /// Writes the pool's tag into the identity file.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn bind_identity(&self, key: &SecretKey, pool: &Digest) -> Result<(), FolderError> {
        let network = NetworkTag::of_genesis(pool);
        match read_identity(&self.path)? {
            Some((identity, _)) if identity.network() == network => Ok(()),
            _ => write_identity(&self.path, key, network),
        }
    }

    /// The key under which the node is to go on, made on the first call, in `identity.next`.
    ///
    /// # Errors
    /// [`FolderError::Identity`] for a damaged file, [`FolderError::Io`], [`FolderError::Entropy`].
    pub fn next_identity(&self, pool: &Digest) -> Result<SecretKey, FolderError> {
        // Two callers at once have to get the same key: the one that is not kept would be lost for good.
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = read_next_identity(&self.path)? {
            return Ok(key);
        }
        let key = SecretKey::from_seed(*entropy()?);
        write_identity_to(&self.path.join(NEXT), &key, NetworkTag::of_genesis(pool))?;
        Ok(key)
    }

    /// Puts the next identity into the place of the present one, which is gone then. A crash leaves one or the
    /// other whole.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn take_next_identity(&self) -> Result<(), FolderError> {
        let path = self.path.join("identity");
        std::fs::rename(self.path.join(NEXT), &path).map_err(io_at(&path))?;
        platform::sync_folder(&self.path).map_err(io_at(&path))
    }

    /// Notes where the HTTP interface is.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn note_api(&self, note: &ApiNote) -> Result<(), FolderError> {
        let path = self.path.join("api.json");
        let text = serde_json::to_vec(note).expect("invariant: four plain fields serialise");
        replace(&path, &text).map_err(io_at(&path))
    }

    /// Removes that note.
    pub fn forget_api(&self) {
        // Left behind, it names a port that answers nobody; readers try before they believe it.
        let _ = std::fs::remove_file(self.path.join("api.json"));
    }

    /// Gives the folder back although handles to it remain: the node has ended.
    pub(crate) fn release(&self) {
        self.forget_api();
        // The lock ends with the file anyway.
        let _ = self.lock.unlock();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.release();
    }
}

/// Takes a lock. A process that was killed a moment ago holds it until the system has taken it apart, which
/// takes a while with much memory: it is waited for.
fn lock_soon(lock: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_AGAIN);
            }
            done => return done,
        }
    }
}

/// Makes a data folder private to its owner, unless there is one.
///
/// # Errors
/// [`FolderError::Io`].
pub fn create(path: &Path) -> Result<(), FolderError> {
    if path.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(io_at(path))?;
    make_private(path).map_err(io_at(path))
}

/// What of a data folder others than its owner may reach: the folder itself, or, where they can get
/// into it, what lies in it down to the second level. `None` where the system does not say.
pub fn open_to_others(path: &Path) -> Option<Vec<PathBuf>> {
    if !platform::is_open_to_others(path)? {
        return Some(Vec::new());
    }
    let mut found = vec![path.to_owned()];
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if platform::is_open_to_others(&path) == Some(true) && found.len() < OPEN_MAX {
                found.push(path.clone());
            }
            if depth == 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push((path, 1));
            }
        }
    }
    found.sort();
    Some(found)
}

/// Whether no process holds a folder or its database any more, so that a node can start on it.
pub fn is_free(path: &Path) -> bool {
    ["lock", "pool.redb"].iter().all(|name| match File::open(path.join(name)) {
        // The lock ends with the file, which is closed here.
        Ok(file) => !matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => true,
    })
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// What the system says.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = platform::open_private(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens a file for what only its owner may read: a new one, or one that is overwritten.
///
/// # Errors
/// What the system says; that it exists, where it must not.
pub fn create_private(path: &Path, overwrite: bool) -> io::Result<File> {
    match overwrite {
        true => platform::overwrite_private(path),
        false => platform::create_private(path),
    }
}

/// Where the HTTP interface of the node on a folder listens, if one says so.
pub fn read_api_note(folder: &Path) -> Option<ApiNote> {
    serde_json::from_slice(&std::fs::read(folder.join("api.json")).ok()?).ok()
}

/// The identity in a folder, locked or not.
///
/// # Errors
/// [`FolderError::Identity`] for a damaged file and [`FolderError::Io`].
pub fn read_identity(folder: &Path) -> Result<Option<(PiIdentity, SecretKey)>, FolderError> {
    read_identity_from(folder.join("identity"))
}

/// The identity that is to take its place, if one was made.
///
/// # Errors
/// As [`read_identity`].
pub fn read_next_identity(folder: &Path) -> Result<Option<(PiIdentity, SecretKey)>, FolderError> {
    read_identity_from(folder.join(NEXT))
}

fn read_identity_from(path: PathBuf) -> Result<Option<(PiIdentity, SecretKey)>, FolderError> {
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FolderError::Io { path, source }),
    };
    PiIdentity::decode_with_secret(&bytes)
        .map(Some)
        .map_err(|error| FolderError::Identity { path, reason: error.to_string() })
}

/// Encrypts the identity of a folder under a password.
///
/// # Errors
/// [`FolderError::Identity`] when there is none, [`FolderError::Backup`].
pub fn export_identity(folder: &Path, password: &[u8]) -> Result<Vec<u8>, FolderError> {
    let path = folder.join("identity");
    let Some((identity, key)) = read_identity(folder)? else {
        let reason = "there is none; `edge-net start` makes one".to_owned();
        return Err(FolderError::Identity { path, reason });
    };
    let bytes = identity.with_secret(&key);
    let salt = backup::Entropy::draw(&mut Rng::from_seed(*entropy()?));
    Ok(backup::seal(&bytes, password, salt)?)
}

/// Restores an identity into a folder that has none. The folder must not be in use.
///
/// # Errors
/// [`FolderError::IdentityExists`], [`FolderError::SameIdentity`], [`FolderError::InUse`],
/// [`FolderError::Backup`].
pub fn import_identity(
    folder: &Path,
    file: &[u8],
    password: &[u8],
) -> Result<PiIdentity, FolderError> {
    let opened = backup::open(file, password)?;
    let folder = Folder::open(folder)?;
    let path = folder.path.join("identity");
    let existing = read_identity(&folder.path)?;
    let (identity, key) = PiIdentity::decode_with_secret(&opened)
        .map_err(|error| FolderError::Identity { path: path.clone(), reason: error.to_string() })?;
    match existing {
        Some((existing, _)) if existing.node_id() == identity.node_id() => {
            return Err(FolderError::SameIdentity { path });
        }
        Some((existing, _)) => {
            return Err(FolderError::IdentityExists { path, existing: existing.to_string() });
        }
        None => {}
    }
    write_identity(&folder.path, &key, identity.network())?;
    Ok(identity)
}

fn write_identity(folder: &Path, key: &SecretKey, network: NetworkTag) -> Result<(), FolderError> {
    write_identity_to(&folder.join("identity"), key, network)
}

fn write_identity_to(path: &Path, key: &SecretKey, network: NetworkTag) -> Result<(), FolderError> {
    let identity = PiIdentity::new(key.node_id(), network).map_err(|error| {
        FolderError::Identity { path: path.to_owned(), reason: error.to_string() }
    })?;
    replace(path, &identity.with_secret(key)).map_err(io_at(path))
}

/// Replaces a file by a private one, so that a crash leaves the old or the new one whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = platform::open_private(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), platform::sync_folder)
}

#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn make_private(_path: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> FolderError + '_ {
    move |source| FolderError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_a_folder() {
        let temp = tempfile::tempdir().unwrap();
        assert!(is_free(temp.path()));
        let first = Folder::open(temp.path()).unwrap();
        assert!(!is_free(temp.path()));
        match Folder::open(temp.path()) {
            Err(FolderError::InUse { pid, .. }) => {
                assert_eq!(pid, std::process::id().to_string());
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        assert!(is_free(temp.path()));
        Folder::open(temp.path()).unwrap();
    }

    /// As of a process that was killed and is taken apart: its lock goes a moment later.
    #[test]
    fn a_lock_that_goes_soon_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let first = Folder::open(temp.path()).unwrap();
        let (begins, begun) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                begins.send(()).unwrap();
                Folder::open(temp.path()).map(|_| ())
            });
            begun.recv().unwrap();
            // Not before it was tried once, as far as a thread can know of another.
            std::thread::sleep(LOCK_AGAIN);
            drop(first);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn whoever_asks_for_the_next_key_at_once_gets_the_one_that_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        for _ in 0..50 {
            let barrier = std::sync::Barrier::new(4);
            let made: Vec<edge_base::NodeId> = std::thread::scope(|scope| {
                let make = || {
                    barrier.wait();
                    folder.next_identity(&Digest::default()).unwrap().node_id()
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (_, kept) = read_next_identity(temp.path()).unwrap().unwrap();
            assert_eq!(made, [kept.node_id(); 4]);
            std::fs::remove_file(temp.path().join(NEXT)).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_private_whatever_was_there() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("text");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        create_private(&path, false).unwrap();
        assert_eq!(mode(), 0o600);
        assert!(create_private(&path, false).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        create_private(&path, true).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn an_identity_is_made_once_and_private() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let key = folder.identity().unwrap();
        assert_eq!(folder.identity().unwrap().node_id(), key.node_id());
        let pool = Digest::of(b"pool");
        folder.bind_identity(&key, &pool).unwrap();
        let (identity, again) = read_identity(temp.path()).unwrap().unwrap();
        assert_eq!(identity.network(), NetworkTag::of_genesis(&pool));
        assert_eq!(again.node_id(), key.node_id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |name| std::fs::metadata(name).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(temp.path().join("identity")), 0o600);
            let made = temp.path().join("made");
            let _folder = Folder::open(&made).unwrap();
            assert_eq!(mode(made), 0o700);
        }
    }

    #[test]
    fn any_flipped_bit_of_the_identity_file_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        folder.identity().unwrap();
        let path = temp.path().join("identity");
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(folder.identity(), Err(FolderError::Identity { .. })), "byte {at}");
        }
        std::fs::write(&path, &good[..71]).unwrap();
        assert!(matches!(folder.identity(), Err(FolderError::Identity { .. })));
    }

    #[test]
    fn an_identity_moves_by_backup_and_is_never_overwritten() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(export_identity(from.path(), b"password").is_err());
        let key = Folder::open(from.path()).unwrap().identity().unwrap();
        let file = export_identity(from.path(), b"password").unwrap();
        assert!(matches!(
            import_identity(to.path(), &file, b"passwore"),
            Err(FolderError::Backup(BackupError::Password))
        ));
        let identity = import_identity(to.path(), &file, b"password").unwrap();
        assert_eq!(identity.node_id(), key.node_id());
        assert!(matches!(
            import_identity(to.path(), &file, b"password"),
            Err(FolderError::SameIdentity { .. })
        ));
        let other = tempfile::tempdir().unwrap();
        let kept = Folder::open(other.path()).unwrap().identity().unwrap();
        assert!(matches!(
            import_identity(other.path(), &file, b"password"),
            Err(FolderError::IdentityExists { .. })
        ));
        let (there, _) = read_identity(other.path()).unwrap().unwrap();
        assert_eq!(there.node_id(), kept.node_id());
    }

    #[test]
    fn the_api_note_goes_with_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let note = ApiNote {
            schema: "edge-net.api/1".into(),
            url: "http://127.0.0.1:3141".into(),
            pid: 7,
            node: "00".into(),
        };
        folder.note_api(&note).unwrap();
        assert_eq!(read_api_note(temp.path()), Some(note));
        drop(folder);
        assert_eq!(read_api_note(temp.path()), None);
    }
}
