//! The keys of a node, by name and by id.

use std::{collections::BTreeMap, fmt};

use edge_base::Digest;
use thiserror::Error;

use super::EncryptionKey;

/// The most keys of one node.
pub const KEYS_MAX: usize = 256;
/// The longest name of a key.
pub const NAME_BYTES_MAX: usize = 64;

/// Why a key is not taken: the caller's fault.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// A name that could not be a file's everywhere, or could be taken for a key's id.
    #[error(
        "{0:?} cannot name a key: 1 to {NAME_BYTES_MAX} small letters, digits, `-`, `_`, `.`, a \
         letter or digit first, and not 64 hexadecimal digits"
    )]
    Name(String),
    /// Another key has the name.
    #[error("a key named {0} is there already")]
    NameTaken(String),
    /// The key has another name.
    #[error("the key {id} is there already, as {name}")]
    KeyTaken {
        /// The key.
        id: Digest,
        /// Its name.
        name: String,
    },
    /// [`KEYS_MAX`].
    #[error("there are {KEYS_MAX} keys already, the most there can be")]
    TooMany,
}

/// Keys under names. One name a key: what its owner says of it must not depend on which name was used.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: BTreeMap<Digest, EncryptionKey>,
    names: BTreeMap<String, Digest>,
}

impl Keyring {
    /// Takes a key.
    ///
    /// # Errors
    /// [`KeyringError`]; nothing changes then.
    pub fn insert(&mut self, name: &str, key: EncryptionKey) -> Result<(), KeyringError> {
        check_name(name)?;
        let id = key.id();
        if self.names.contains_key(name) {
            return Err(KeyringError::NameTaken(name.to_owned()));
        }
        if let Some(name) = self.name_of(&id) {
            return Err(KeyringError::KeyTaken { id, name: name.to_owned() });
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(KeyringError::TooMany);
        }
        self.names.insert(name.to_owned(), id);
        self.keys.insert(id, key);
        Ok(())
    }

    /// Drops the key with this id, if there is one.
    pub fn remove(&mut self, id: &Digest) {
        self.keys.remove(id);
        self.names.retain(|_, named| named != id);
    }

    /// The key with this id.
    pub fn get(&self, id: &Digest) -> Option<&EncryptionKey> {
        self.keys.get(id)
    }

    /// The id of the key with this name.
    pub fn id_of(&self, name: &str) -> Option<Digest> {
        self.names.get(name).copied()
    }

    /// The name of the key with this id.
    pub fn name_of(&self, id: &Digest) -> Option<&str> {
        self.list().find(|(_, known)| known == id).map(|(name, _)| name)
    }

    /// Names and ids, by name.
    pub fn list(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.names.iter().map(|(name, id)| (name.as_str(), *id))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.list()).finish()
    }
}

/// Whether a key can have this name.
///
/// # Errors
/// [`KeyringError::Name`], with the first characters of one that is too long.
pub fn check_name(name: &str) -> Result<(), KeyringError> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= NAME_BYTES_MAX
        && name.starts_with(fine)
        && name.chars().all(|c| fine(c) || "-_.".contains(c))
        && Digest::from_hex(name).is_none();
    if good {
        return Ok(());
    }
    Err(KeyringError::Name(name.chars().take(NAME_BYTES_MAX + 1).collect()))
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn key(number: usize) -> EncryptionKey {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        EncryptionKey::new(bytes)
    }

    #[test]
    fn names_are_those_of_files() {
        let long = "x".repeat(NAME_BYTES_MAX);
        for good in ["a", "0", "my-key_2.old", &long, &"a".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let endless = "x".repeat(10_000);
        for bad in ["", "/", "a/b", "..", ".a", "-a", "A", "ä", "a b", "a\0", "a\n", &endless] {
            let error = check_name(bad).unwrap_err().to_string();
            assert!(error.len() < 300, "{error}");
        }
        assert!(check_name(&"a".repeat(64)).is_err(), "it could be an id");
    }

    #[test]
    fn a_key_has_one_name_and_a_name_one_key() {
        let mut keys = Keyring::default();
        keys.insert("one", key(1)).unwrap();
        assert_eq!(keys.insert("one", key(2)), Err(KeyringError::NameTaken("one".into())));
        let taken = KeyringError::KeyTaken { id: key(1).id(), name: "one".into() };
        assert_eq!(keys.insert("two", key(1)), Err(taken));
        assert_eq!(keys.insert("Two", key(2)), Err(KeyringError::Name("Two".into())));
        assert_eq!(keys.list().collect::<Vec<_>>(), [("one", key(1).id())]);
        assert_eq!(keys.id_of("one"), Some(key(1).id()));
        assert_eq!((keys.id_of("two"), keys.name_of(&key(2).id())), (None, None));
        let mut fewer = keys.clone();
        fewer.remove(&key(2).id());
        assert_eq!(fewer.list().count(), 1);
        fewer.remove(&key(1).id());
        assert!(fewer.list().count() == 0 && fewer.get(&key(1).id()).is_none());
        fewer.insert("one", key(2)).unwrap();
        for number in 2..=KEYS_MAX {
            keys.insert(&format!("key-{number}"), key(number)).unwrap();
        }
        assert_eq!(keys.insert("more", key(0)), Err(KeyringError::TooMany));
    }
}
