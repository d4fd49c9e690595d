//! What the database knows about itself and its surroundings.

use std::path::{Path, PathBuf};

use edge_base::codec;
use redb::{ReadableDatabase as _, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use super::{Finding, SCHEMA, Store, StoreError, io_error};
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

pub(super) fn marker_exists(folder: &Path) -> bool {
    marker_path(folder).exists()
}

fn marker_path(folder: &Path) -> PathBuf {
    folder.join(MARKER)
}

impl Store {
    /// Compares the database with its surroundings and notes them anew. Says what does not fit.
    pub(super) fn meet(&self, folder: &Path, fresh: bool) -> Result<Option<String>, StoreError> {
        let schema = self.meta("schema")?;
        let blank = schema.is_none();
        match schema {
            None => self.put_meta("schema", &SCHEMA.to_le_bytes())?,
            Some(bytes) => {
                let found = bytes.try_into().map_or(u32::MAX, u32::from_le_bytes);
                if found > SCHEMA {
                    return Err(StoreError::Newer { path: self.path.clone(), found });
                }
            }
        }
        let facts = platform::facts(&self.path).map_err(|error| io_error(&self.path, &error))?;
        let path = marker_path(folder);
        let on_disk = std::fs::read(&path).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let before =
            self.meta("surroundings")?.and_then(|b| codec::decode::<Surroundings>(&b).ok());
        let mismatch = match &before {
            // Made by this start, or by one that ended before it got here.
            None if fresh || (blank && on_disk.is_none()) => None,
            None => Some("it does not say where it was".to_owned()),
            Some(before) => mismatch(before, &facts, on_disk),
        };
        let mut marker = [0; 16];
        getrandom::fill(&mut marker).map_err(|error| StoreError::Io {
            path: path.clone(),
            reason: format!("the operating system gives no randomness: {error}"),
        })?;
        let marker_before = on_disk.unwrap_or_default();
        let now = Surroundings { facts, marker, marker_before };
        self.put_meta("surroundings", &codec::encode(&now))?;
        folder::replace(&path, &marker).map_err(|error| io_error(&path, &error))?;
        Ok(mismatch)
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
}

fn mismatch(
    before: &Surroundings,
    facts: &platform::Facts,
    on_disk: Option<[u8; 16]>,
) -> Option<String> {
    let then = &before.facts;
    // Device numbers are only good for one start of the machine.
    let same_boot = then.boot == facts.boot && !facts.boot.is_empty();
    if then.inode != facts.inode || (same_boot && then.device != facts.device) {
        return Some("it is another file than before".into());
    }
    if then.machine != facts.machine {
        return Some("it is on another machine than before".into());
    }
    match on_disk {
        Some(marker) if marker == before.marker || marker == before.marker_before => None,
        Some(_) => Some("it is of another start than the folder's marker".into()),
        // The first start ended before it wrote the file.
        None if before.marker_before == [0; 16] => None,
        None => Some("the folder's marker is missing".into()),
    }
}
