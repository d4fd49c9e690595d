//! Reading a stopped node's data folder from outside: the tables as raw keys and values.

use std::path::Path;

use edge_swarm::Table;
use redb::{
    ReadOnlyDatabase, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError,
};

/// The rows of a table, by key.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// A stopped node's database.
pub(crate) struct Database(ReadOnlyDatabase);

impl Database {
    /// Opens the database of a data folder for reading.
    ///
    /// # Errors
    /// When it is in use, absent or damaged.
    pub(crate) fn open(folder: &Path) -> Result<Self, redb::Error> {
        Ok(Database(ReadOnlyDatabase::open(folder.join("pool.redb"))?))
    }

    /// Every row of a table.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn rows(&self, table: Table) -> Result<Rows, redb::Error> {
        let mut rows = Rows::new();
        self.each(table, |key, value| rows.push((key.to_vec(), value.to_vec())))?;
        Ok(rows)
    }

    /// Visits every row of a table, for those that do not fit in memory.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn each(
        &self,
        table: Table,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), redb::Error> {
        let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table.name());
        let read = self.0.begin_read()?;
        let table = match read.open_table(definition) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for row in table.iter()? {
            let (key, value) = row?;
            visit(key.value(), value.value());
        }
        Ok(())
    }
}
