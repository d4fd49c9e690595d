//! What the database knows about itself and its surroundings.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use edge_base::{NodeId, codec};
use redb::{ReadableDatabase as _, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use super::{Finding, Owner, SCHEMA, Store, StoreError, io_error};
use crate::{folder, platform};

const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");
/// Files whose names end in 32 hexadecimal digits, of which each start leaves one.
const MARKER: &str = "marker-";
/// A file that holds them, of earlier versions.
const MARKER_BEFORE: &str = "marker";

/// Where the database was when it was last opened.
#[derive(Serialize, Deserialize)]
struct Surroundings {
    facts: platform::Facts,
    /// The marker written by the last start, and the one before: a crash between writing it here
    /// and to the file is not a restore.
    marker: [u8; 16],
    marker_before: [u8; 16],
}

/// What [`Store::look_around`] found, to be noted by [`Store::settle`].
pub(super) struct Look {
    facts: platform::Facts,
    markers: Vec<[u8; 16]>,
    /// What does not fit what was noted at the last start.
    pub(super) mismatch: Option<String>,
}

fn marker_path(folder: &Path, marker: &[u8; 16]) -> PathBuf {
    folder.join(format!("{MARKER}{:032x}", u128::from_be_bytes(*marker)))
}

/// The markers of all starts that lie in a folder. A backup that is written over it leaves the newest there.
pub(super) fn markers(folder: &Path) -> std::io::Result<Vec<[u8; 16]>> {
    let before = std::fs::read(folder.join(MARKER_BEFORE)).ok();
    let mut found: Vec<[u8; 16]> =
        before.and_then(|bytes| bytes.try_into().ok()).into_iter().collect();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(MARKER));
        let digits = digits.filter(|digits| digits.len() == 32);
        found.extend(
            digits.and_then(|digits| u128::from_str_radix(digits, 16).ok()).map(u128::to_be_bytes),
        );
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(path, &error)),
        _ => Ok(()),
    }
}

impl Store {
    /// Whether no start has got to its end with this database; refuses one of a newer program.
    pub(super) fn is_blank(&self) -> Result<bool, StoreError> {
        let Some(bytes) = self.meta("schema")? else { return Ok(true) };
        let found = bytes.try_into().map_or(u32::MAX, u32::from_le_bytes);
        if found > SCHEMA {
            return Err(StoreError::Newer { path: self.path.clone(), found });
        }
        Ok(false)
    }

    /// Compares the database with its surroundings; changes nothing.
    pub(super) fn look_around(&self, folder: &Path, blank: bool) -> Result<Look, StoreError> {
        let facts = platform::facts(&self.path).map_err(|error| io_error(&self.path, &error))?;
        let markers = markers(folder).map_err(|error| io_error(folder, &error))?;
        let before =
            self.meta("surroundings")?.and_then(|b| codec::decode::<Surroundings>(&b).ok());
        let mismatch = match &before {
            // Made by this start, or by one that ended before it got to the end.
            _ if blank => None,
            None => Some("it does not say where it was".to_owned()),
            Some(before) => mismatch(before, &facts, &markers),
        };
        Ok(Look { facts, markers, mismatch })
    }

    /// Notes the surroundings anew, and last that this was done.
    pub(super) fn settle(&self, folder: &Path, look: Look) -> Result<(), StoreError> {
        let mut marker = [0; 16];
        getrandom::fill(&mut marker).map_err(|error| StoreError::Io {
            path: folder.to_owned(),
            reason: format!("the operating system gives no randomness: {error}"),
        })?;
        // A start that ends at any place in here leaves no marker that the database does not know.
        let marker_before = look.markers.first().copied().unwrap_or_default();
        for other in look.markers.iter().skip(1) {
            remove(&marker_path(folder, other))?;
        }
        let now = Surroundings { facts: look.facts, marker, marker_before };
        self.put_meta("surroundings", &codec::encode(&now))?;
        let path = marker_path(folder, &marker);
        folder::replace(&path, &[]).map_err(|error| io_error(&path, &error))?;
        remove(&marker_path(folder, &marker_before))?;
        remove(&folder.join(MARKER_BEFORE))?;
        self.put_meta("schema", &SCHEMA.to_le_bytes())
    }

    /// Refuses the pool of one node beside the identity of another, or of nobody.
    pub(super) fn check_owner(
        &self,
        owner: Option<Owner>,
        next: Option<NodeId>,
        has_pool: bool,
    ) -> Result<(), StoreError> {
        let path = || self.path.clone();
        match (owner.map(|owner| owner.node), self.owner()?) {
            _ if !has_pool => Ok(()),
            (None, owner) => Err(StoreError::NoIdentity { path: path(), owner }),
            // The last step of a change of keys was not done: the file of the new one is not in its place.
            (Some(_), Some(owner)) if next == Some(owner) => Ok(()),
            (Some(identity), Some(owner)) if identity != owner => {
                Err(StoreError::OtherIdentity { path: path(), owner, identity })
            }
            _ => Ok(()),
        }
    }

    /// Of a database without a pool: what was noted about another node does not hold for this one.
    pub(super) fn begin_anew(&self, node: Option<NodeId>) -> Result<(), StoreError> {
        if self.owner()?.is_some_and(|owner| Some(owner) != node) {
            self.remove_meta("votes_forbidden")?;
            self.remove_meta("owner")?;
        }
        Ok(())
    }

    /// Notes whose it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn belongs_to(&self, node: NodeId) -> Result<(), StoreError> {
        if self.owner()? == Some(node) {
            return Ok(());
        }
        self.put_meta("owner", node.as_bytes())
    }

    fn owner(&self) -> Result<Option<NodeId>, StoreError> {
        let bytes = self.meta("owner")?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(NodeId))
    }

    /// Notes that votes in here are not all that were cast.
    pub(super) fn forbid_votes(&self, findings: &[Finding]) -> Result<(), StoreError> {
        let reasons: Vec<String> = findings.iter().map(Finding::to_string).collect();
        self.put_meta("votes_forbidden", reasons.join("; ").as_bytes())
    }

    /// Why votes are forbidden, if they are.
    pub(super) fn votes_forbidden(&self) -> Result<Option<String>, StoreError> {
        Ok(self.meta("votes_forbidden")?.map(|b| String::from_utf8_lossy(&b).into_owned()))
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            match transaction.open_table(META) {
                Ok(table) => Ok(redb::ReadableTable::get(&table, key)?.map(|v| v.value().to_vec())),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        read().map_err(|error| self.error(error))
    }

    pub(super) fn put_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(META)?.insert(key, value)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| self.error(error))
    }

    fn remove_meta(&self, key: &str) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(META)?.remove(key)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| self.error(error))
    }
}

fn mismatch(
    before: &Surroundings,
    facts: &platform::Facts,
    on_disk: &[[u8; 16]],
) -> Option<String> {
    let then = &before.facts;
    // Device numbers are only good for one start of the machine.
    let same_boot = then.boot == facts.boot && !facts.boot.is_empty();
    let last = "than at the last start";
    if then.inode != facts.inode {
        return Some(format!("it is another file {last}, as after `cp`, `tar` or a restore"));
    }
    if same_boot && then.device != facts.device {
        return Some(format!("it is on another disk, or one that was mounted anew, {last}"));
    }
    if then.machine != facts.machine {
        return Some(format!("it is on another machine (/etc/machine-id) {last}"));
    }
    let known = |marker: &[u8; 16]| [before.marker, before.marker_before].contains(marker);
    if !on_disk.iter().all(known) {
        let text =
            "a file `marker-…` beside it is of another start, as after a restore over the folder";
        return Some(text.into());
    }
    // The first start may have ended before it left one.
    let missing = on_disk.is_empty() && before.marker_before != [0; 16];
    missing.then(|| "the file `marker-…` beside it is missing".into())
}
