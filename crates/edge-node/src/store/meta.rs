//! What the database knows about itself and its surroundings.

use std::path::{Path, PathBuf};

use edge_base::{NodeId, codec};
use redb::{ReadableDatabase as _, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use super::{Finding, Owner, SCHEMA, Store, StoreError, io_error};
use crate::{folder, platform};

const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");
const MARKER: &str = "marker";

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
    marker: Option<[u8; 16]>,
    /// What does not fit what was noted at the last start.
    pub(super) mismatch: Option<String>,
}

fn marker_path(folder: &Path) -> PathBuf {
    folder.join(MARKER)
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
        let marker = std::fs::read(marker_path(folder)).ok();
        let marker = marker.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let before =
            self.meta("surroundings")?.and_then(|b| codec::decode::<Surroundings>(&b).ok());
        let mismatch = match &before {
            // Made by this start, or by one that ended before it got to the end.
            _ if blank => None,
            None => Some("it does not say where it was".to_owned()),
            Some(before) => mismatch(before, &facts, marker),
        };
        Ok(Look { facts, marker, mismatch })
    }

    /// Notes the surroundings anew, and last that this was done.
    pub(super) fn settle(&self, folder: &Path, look: Look) -> Result<(), StoreError> {
        let path = marker_path(folder);
        let mut marker = [0; 16];
        getrandom::fill(&mut marker).map_err(|error| StoreError::Io {
            path: path.clone(),
            reason: format!("the operating system gives no randomness: {error}"),
        })?;
        let marker_before = look.marker.unwrap_or_default();
        let now = Surroundings { facts: look.facts, marker, marker_before };
        self.put_meta("surroundings", &codec::encode(&now))?;
        folder::replace(&path, &marker).map_err(|error| io_error(&path, &error))?;
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
    on_disk: Option<[u8; 16]>,
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
    match on_disk {
        Some(marker) if marker == before.marker || marker == before.marker_before => None,
        Some(_) => {
            Some("it and the file `marker` are of different starts, as after a restore".into())
        }
        // The first start ended before it wrote the file.
        None if before.marker_before == [0; 16] => None,
        None => Some("the file `marker` beside it is missing".into()),
    }
}
