//! The encryption keys of a data folder: `keys/NAME.key`, each with the nodes that its owner named
//! for it. Those nodes are asked to encrypt and decrypt with it, and they are answered; nobody else
//! is either. A key that is exported is the same file, with the exporting node named too.
//!
//! | bytes | what |
//! |---|---|
//! | 12 | `edge-net-key` |
//! | 1 | version, 1 |
//! | 32 | the key |
//! | rest | node ids, 32 bytes each |
//! | 32 | digest of all before |

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use edge_base::{Digest, Hasher, NodeId};
use edge_swarm::{Guarded, command::AMONG_MAX};
use edge_tasks::encryption::{EncryptionKey, KEYS_MAX, Keyring, KeyringError, check_name};
use edge_tasks::encryption_pin;
use zeroize::Zeroizing;

use crate::{
    folder::{FolderError, entropy, read_identity, replace},
    named::NamedFiles,
    platform,
};

const MAGIC: &[u8; 12] = b"edge-net-key";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = MAGIC.len() + 1;
const FILE_BYTES_MIN: usize = HEAD_BYTES + 32 + 32;
const FILE_BYTES_MAX: usize = FILE_BYTES_MIN + 32 * AMONG_MAX;
/// More than a keyring holds are refused by it.
const FILES: NamedFiles = NamedFiles { folder: "keys", extension: "key" };

/// Why keys cannot be changed or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The environment's, or the caller's when there is no such file.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A damaged file, or another one: the environment's or the caller's.
    #[error("{path} is no key: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A name or key that is taken or not possible: the caller's.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The caller's.
    #[error("there is no key {name}; there are: {known}")]
    Unknown {
        /// What was asked for, its first characters.
        name: String,
        /// What there is.
        known: String,
    },
    /// The caller's.
    #[error("{0} nodes for one key: there can be {AMONG_MAX}")]
    TooManyNodes(usize),
    /// A file would be overwritten: the caller's.
    #[error("{0} exists, and an exported key never overwrites anything")]
    Exists(PathBuf),
    /// The node has no identity that an exported key could name: the caller's.
    #[error("this node has no identity yet, so the file could not name it: start the node once")]
    NoIdentity,
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// A key as it is known to people: everything but the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyEntry {
    /// Its name at this node.
    pub name: String,
    /// Its id, the same at every node.
    pub id: Digest,
    /// The nodes that work with it for this one, and for which this one works.
    pub nodes: Vec<NodeId>,
}

/// The keys of a node that runs.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    ring: Keyring,
    nodes: BTreeMap<Digest, Vec<NodeId>>,
}

impl Keys {
    /// For the executor.
    pub fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// What they are called and for whom they are, by name.
    pub fn list(&self) -> impl Iterator<Item = KeyEntry> {
        self.ring.list().map(|(name, id)| KeyEntry {
            name: name.to_owned(),
            id,
            nodes: self.nodes_of(&id).to_vec(),
        })
    }

    /// The key with a name, or with an id of 64 hexadecimal digits.
    pub fn find(&self, name_or_id: &str) -> Option<Digest> {
        let by_id = || Digest::from_hex(name_or_id).filter(|id| self.ring.get(id).is_some());
        self.ring.id_of(name_or_id).or_else(by_id)
    }

    /// The nodes that are named for a key.
    pub fn nodes_of(&self, id: &Digest) -> &[NodeId] {
        self.nodes.get(id).map_or(&[], Vec::as_slice)
    }

    /// All but one.
    pub(crate) fn without(&self, id: &Digest) -> Keys {
        let mut fewer = self.clone();
        fewer.ring.remove(id);
        fewer.nodes.remove(id);
        fewer
    }

    /// For the peer.
    pub fn guarded(&self) -> Vec<Guarded> {
        let guarded =
            |key: KeyEntry| Guarded { pin: encryption_pin(&key.id), key: key.id, nodes: key.nodes };
        self.list().map(guarded).collect()
    }
}

/// The keys of a folder, and what is wrong with files that are none.
pub fn load(data_dir: &Path) -> (Keys, Vec<String>) {
    let (mut keys, mut problems) = (Keys::default(), Vec::new());
    for (name, path) in FILES.list(data_dir) {
        let taken = read(&path).and_then(|Contents { key, nodes }| {
            let id = key.id();
            keys.ring.insert(&name, key)?;
            keys.nodes.insert(id, nodes);
            Ok(())
        });
        if let Err(why) = taken {
            problems.push(format!("the key {name} is left out: {why}"));
        }
    }
    (keys, problems)
}

/// Makes a key of 32 bytes from the operating system.
///
/// # Errors
/// [`KeyError`]; nothing changes then.
pub fn create(data_dir: &Path, name: &str) -> Result<KeyEntry, KeyError> {
    let key = EncryptionKey::new(entropy()?);
    add(data_dir, name, Contents { key, nodes: Vec::new() })
}

/// Takes a key that [`export`] wrote at another node. Its name is that of the file unless one is given.
///
/// # Errors
/// [`KeyError`]; nothing changes then.
pub fn import(data_dir: &Path, file: &Path, name: Option<&str>) -> Result<KeyEntry, KeyError> {
    let name = name.map_or_else(|| FILES.name_of(file), str::to_owned);
    let mut contents = read(file)?;
    if let Some((me, _)) = read_identity(data_dir)? {
        contents.nodes.retain(|node| *node != me.node_id());
    }
    add(data_dir, &name, contents)
}

/// Writes a key to a file that only its owner may read, for another node of theirs. The file names
/// this node, too.
///
/// # Errors
/// [`KeyError::Exists`] and the others; nothing is written then.
pub fn export(data_dir: &Path, name: &str, out: &Path) -> Result<KeyEntry, KeyError> {
    let mut contents = read(&path_of_known(data_dir, name)?)?;
    let entry = contents.entry(name);
    let (me, _) = read_identity(data_dir)?.ok_or(KeyError::NoIdentity)?;
    contents.allow(&[me.node_id()])?;
    let mut file = platform::create_private(out).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(out.to_owned()),
        _ => KeyError::Io { path: out.to_owned(), source },
    })?;
    file.write_all(&contents.encode()).and_then(|()| file.sync_all()).map_err(io_at(out))?;
    Ok(entry)
}

/// Names nodes for a key: these besides the others, or these `only`.
///
/// # Errors
/// [`KeyError`]; nothing changes then.
pub fn allow(
    data_dir: &Path,
    name: &str,
    nodes: &[NodeId],
    only: bool,
) -> Result<KeyEntry, KeyError> {
    path_of_known(data_dir, name)?;
    let _lock = lock(data_dir)?;
    let path = path_of_known(data_dir, name)?;
    let mut contents = read(&path)?;
    if only {
        contents.nodes.clear();
    }
    contents.allow(nodes)?;
    if let Some((me, _)) = read_identity(data_dir)? {
        contents.nodes.retain(|node| *node != me.node_id());
    }
    replace(&path, &contents.encode()).map_err(io_at(&path))?;
    Ok(contents.entry(name))
}

/// Removes a key for good.
///
/// # Errors
/// [`KeyError::Unknown`] and [`KeyError::Io`].
pub fn remove(data_dir: &Path, name: &str) -> Result<(), KeyError> {
    path_of_known(data_dir, name)?;
    let _lock = lock(data_dir)?;
    let path = path_of_known(data_dir, name)?;
    fs::remove_file(&path).map_err(io_at(&path))
}

/// The keys in a folder, by name, and why other files there are none.
pub fn list(data_dir: &Path) -> (Vec<KeyEntry>, Vec<KeyError>) {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for (name, path) in FILES.list(data_dir) {
        match read(&path) {
            Ok(contents) => keys.push(contents.entry(&name)),
            Err(problem) => problems.push(problem),
        }
    }
    (keys, problems)
}

/// Keeps other processes from changing the keys until it is dropped.
fn lock(data_dir: &Path) -> Result<fs::File, KeyError> {
    let folder = data_dir.join(FILES.folder);
    platform::make_private_folder(&folder).map_err(io_at(&folder))?;
    let path = folder.join("lock");
    let file = platform::open_private(&path).map_err(io_at(&path))?;
    file.lock().map_err(io_at(&path))?;
    Ok(file)
}

/// What a file holds.
struct Contents {
    key: EncryptionKey,
    nodes: Vec<NodeId>,
}

impl Contents {
    fn entry(&self, name: &str) -> KeyEntry {
        KeyEntry { name: name.to_owned(), id: self.key.id(), nodes: self.nodes.clone() }
    }

    fn allow(&mut self, nodes: &[NodeId]) -> Result<(), KeyError> {
        self.nodes.extend(nodes);
        self.nodes.sort();
        self.nodes.dedup();
        match self.nodes.len() {
            0..=AMONG_MAX => Ok(()),
            more => Err(KeyError::TooManyNodes(more)),
        }
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // With room for all: what is moved while it grows would stay in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&**self.key.bytes());
        self.nodes.iter().for_each(|node| bytes.extend_from_slice(&node.0));
        let sum = checksum(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Contents, String> {
        let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin like one")?;
        match rest.first() {
            Some(&VERSION) => {}
            Some(other) => {
                return Err(format!("it is of version {other}, and this program knows {VERSION}"));
            }
            None => return Err("it breaks off".to_owned()),
        }
        let whole =
            bytes.len() >= FILE_BYTES_MIN && (bytes.len() - FILE_BYTES_MIN).is_multiple_of(32);
        let (body, sum) = bytes.split_at(bytes.len().saturating_sub(32));
        if !whole || checksum(body).as_bytes() != sum {
            return Err("it is damaged or cut off: its checksum is another one".to_owned());
        }
        let (key, nodes) = body[HEAD_BYTES..].split_at(32);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(key);
        let node = |bytes: &[u8]| bytes.try_into().map(NodeId);
        let nodes: Vec<NodeId> = nodes.chunks_exact(32).flat_map(node).collect();
        Ok(Contents { key: EncryptionKey::new(secret), nodes })
    }
}

fn checksum(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new("node/key-file/1");
    hasher.update(bytes);
    hasher.finish()
}

fn add(data_dir: &Path, name: &str, mut contents: Contents) -> Result<KeyEntry, KeyError> {
    check_name(name)?;
    let _lock = lock(data_dir)?;
    let (known, _) = list(data_dir);
    let entry = contents.entry(name);
    if FILES.find(data_dir, name).is_ok() {
        return Err(KeyringError::NameTaken(name.to_owned()).into());
    }
    if let Some(other) = known.iter().find(|other| other.id == entry.id) {
        return Err(KeyringError::KeyTaken { id: entry.id, name: other.name.clone() }.into());
    }
    if known.len() >= KEYS_MAX {
        return Err(KeyringError::TooMany.into());
    }
    contents.allow(&[])?;
    let path = FILES.path(data_dir, name);
    replace(&path, &contents.encode()).map_err(io_at(&path))?;
    Ok(contents.entry(name))
}

fn read(path: &Path) -> Result<Contents, KeyError> {
    let damaged = |reason: String| KeyError::File { path: path.to_owned(), reason };
    // A pipe would be waited for, and a device has no end.
    if !fs::metadata(path).map_err(io_at(path))?.is_file() {
        return Err(damaged("it is no file".to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    let file = fs::File::open(path).map_err(io_at(path))?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io_at(path))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(damaged(format!(
            "more than the {FILE_BYTES_MAX} bytes that a key has at most"
        )));
    }
    Contents::decode(&bytes).map_err(damaged)
}

fn path_of_known(data_dir: &Path, name: &str) -> Result<PathBuf, KeyError> {
    let unknown = |known| KeyError::Unknown { name: name.chars().take(80).collect(), known };
    FILES.find(data_dir, name).map_err(unknown)
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: NodeId = NodeId([2; 32]);

    #[test]
    fn a_key_goes_from_node_to_node_with_who_has_it() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let me = crate::folder::Folder::open(here.path()).unwrap().identity().unwrap().node_id();
        let made = create(here.path(), "mine").unwrap();
        assert_eq!((made.name.as_str(), made.nodes.len()), ("mine", 0));
        assert_eq!(list(here.path()).0, std::slice::from_ref(&made));
        let file = there.path().join("mine.key");
        assert_eq!(export(here.path(), "mine", &file).unwrap(), made);
        assert!(matches!(export(here.path(), "mine", &file), Err(KeyError::Exists(_))));
        let taken = import(there.path(), &file, None).unwrap();
        assert_eq!((taken.id, taken.nodes), (made.id, vec![me]));
        // Back at home it does not name home, and is there already.
        let again = import(here.path(), &file, Some("other")).unwrap_err().to_string();
        assert!(again.ends_with("is there already, as mine"), "{again}");
        remove(here.path(), "mine").unwrap();
        assert_eq!(import(here.path(), &file, Some("other")).unwrap().nodes, []);

        let allowed = allow(here.path(), "other", &[THERE, THERE], false).unwrap();
        assert_eq!(allowed.nodes, [THERE]);
        let (keys, problems) = load(here.path());
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(keys.list().collect::<Vec<_>>(), [allowed]);
        assert_eq!(keys.find("other"), Some(made.id));
        assert_eq!(keys.find(&made.id.to_hex()), Some(made.id));
        assert_eq!((keys.find("mine"), keys.find(&Digest::default().to_hex())), (None, None));
        let (pin, key) = (encryption_pin(&made.id), made.id);
        assert_eq!(keys.guarded(), [Guarded { pin, key, nodes: vec![THERE] }]);
        let fewer = keys.without(&made.id);
        assert!(fewer.find("other").is_none() && fewer.guarded().is_empty());
        assert_eq!(allow(here.path(), "other", &[], true).unwrap().nodes, []);
        let many: Vec<NodeId> = (0..=64).map(|n| NodeId([n; 32])).collect();
        assert!(matches!(
            allow(here.path(), "other", &many, true),
            Err(KeyError::TooManyNodes(65))
        ));
        allow(here.path(), "other", &many[..64], true).unwrap();
        assert_eq!(load(here.path()).0.nodes_of(&made.id).len(), 64);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_a_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let here = tempfile::tempdir().unwrap();
        let out = here.path().join("out");
        create(here.path(), "mine").unwrap();
        let error = export(here.path(), "mine", &out).unwrap_err();
        assert!(matches!(error, KeyError::NoIdentity) && !out.exists(), "{error}");
        crate::folder::Folder::open(here.path()).unwrap().identity().unwrap();
        allow(here.path(), "mine", &[THERE], false).unwrap();
        export(here.path(), "mine", &out).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&FILES.path(here.path(), "mine")), 0o600);
        assert_eq!((mode(&here.path().join("keys")), mode(&out)), (0o700, 0o600));
        // A folder that was made by hand is closed, too.
        let by_hand = tempfile::tempdir().unwrap();
        let folder = by_hand.path().join("keys");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        create(by_hand.path(), "mine").unwrap();
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn a_damaged_file_is_named_and_left_out() {
        let here = tempfile::tempdir().unwrap();
        create(here.path(), "good").unwrap();
        create(here.path(), "bad").unwrap();
        let path = FILES.path(here.path(), "bad");
        let whole = fs::read(&path).unwrap();
        let mut damaged: Vec<(Vec<u8>, &str)> = vec![
            (whole[..whole.len() / 2].to_vec(), "damaged or cut off"),
            (Vec::new(), "does not begin like one"),
            (MAGIC.to_vec(), "breaks off"),
            ([&whole[..], b"x"].concat(), "damaged or cut off"),
            ([&whole[..], &[0; 32]].concat(), "damaged or cut off"),
            (vec![0; 10_000], "more than the"),
        ];
        let mut newer = whole.clone();
        newer[MAGIC.len()] = 2;
        damaged.push((newer, "of version 2, and this program knows 1"));
        for at in HEAD_BYTES..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            damaged.push((changed, "damaged or cut off"));
        }
        for (bytes, why) in damaged {
            fs::write(&path, bytes).unwrap();
            let (keys, errors) = list(here.path());
            assert_eq!((keys.len(), errors.len()), (1, 1));
            let error = errors[0].to_string();
            assert!(error.contains("bad.key") && error.contains(why), "{error}");
            let (keys, problems) = load(here.path());
            assert_eq!(keys.list().map(|key| key.name).collect::<Vec<_>>(), ["good"]);
            assert!(problems.len() == 1 && problems[0].contains("bad.key"), "{problems:?}");
        }
    }

    /// Whoever is told that a key was made finds that key.
    #[test]
    fn of_many_that_make_a_key_of_one_name_one_succeeds() {
        for _ in 0..10 {
            let here = tempfile::tempdir().unwrap();
            let made: Vec<KeyEntry> = std::thread::scope(|scope| {
                let makers: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| create(here.path(), "race"))).collect();
                makers.into_iter().filter_map(|maker| maker.join().unwrap().ok()).collect()
            });
            assert_eq!(made, list(here.path()).0);
            std::thread::scope(|scope| {
                for n in 0..10 {
                    let here = &here;
                    scope.spawn(move || {
                        allow(here.path(), "race", &[NodeId([n; 32])], false).unwrap()
                    });
                }
            });
            assert_eq!(list(here.path()).0[0].nodes.len(), 10);
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let here = tempfile::tempdir().unwrap();
        create(here.path(), "good").unwrap();
        let path = FILES.path(here.path(), "endless");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        fs::create_dir(FILES.path(here.path(), "folder")).unwrap();
        let (keys, problems) = list(here.path());
        assert_eq!((keys.len(), problems.len()), (1, 2));
        let error = import(here.path(), &path, Some("x")).unwrap_err().to_string();
        assert!(error.ends_with("is no key: it is no file"), "{error}");
    }

    #[test]
    fn names_that_are_none_are_refused_and_leave_nothing() {
        let here = tempfile::tempdir().unwrap();
        let long = "x".repeat(10_000);
        for name in ["", "a/b", "../a", "A", ".", &long] {
            let error = create(here.path(), name).unwrap_err();
            assert!(matches!(error, KeyError::Keyring(KeyringError::Name(_))), "{error}");
            for error in [
                remove(here.path(), name).unwrap_err(),
                allow(here.path(), name, &[THERE], false).unwrap_err(),
                export(here.path(), name, &here.path().join("out")).unwrap_err(),
            ] {
                assert!(matches!(error, KeyError::Unknown { .. }), "{error}");
                assert!(error.to_string().len() < 200);
            }
        }
        assert!(fs::read_dir(here.path()).unwrap().next().is_none());
        create(here.path(), "a").unwrap();
        let taken = create(here.path(), "a").unwrap_err();
        assert!(matches!(taken, KeyError::Keyring(KeyringError::NameTaken(_))));
    }
}
