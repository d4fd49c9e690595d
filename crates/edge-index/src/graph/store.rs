//! The graph as bytes: root, entry, then for each row its parent and its links level by level. Codes,
//! levels and children follow from the rows.

use std::io::{self, Write};

use super::{Graph, NONE};
use crate::codes::Probe;
use crate::rows::Rows;
use crate::snapshot::Reader;
use crate::{IndexConfig, SnapshotError};

impl Graph {
    /// How many bytes [`Graph::write`] writes.
    pub(crate) fn written_bytes(&self) -> usize {
        let of_row = |row: u32| {
            let levels = 0..=self.levels[row as usize];
            4 + levels.map(|level| 2 + 4 * self.links(row, level).len()).sum::<usize>()
        };
        8 + (0..self.len() as u32).map(of_row).sum::<usize>()
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.root.to_le_bytes())?;
        out.write_all(&self.entry.to_le_bytes())?;
        for row in 0..self.len() as u32 {
            out.write_all(&self.parents[row as usize].to_le_bytes())?;
            for level in 0..=self.levels[row as usize] {
                let links = self.links(row, level);
                out.write_all(&(links.len() as u16).to_le_bytes())?;
                for link in links {
                    out.write_all(&link.to_le_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// Reads the graph over `rows`; checks every invariant.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        config: &IndexConfig,
        rows: &Rows,
    ) -> Result<Self, SnapshotError> {
        let mut graph = Graph::new(config);
        graph.root = reader.u32()?;
        graph.entry = reader.u32()?;
        for row in 0..rows.len() as u32 {
            let parent = reader.u32()?;
            if parent != NONE && parent as usize >= rows.len() {
                return Err(SnapshotError::Inconsistent("a parent is not a row"));
            }
            let level = graph.level_of(&rows.id(row));
            graph.levels.push(level);
            graph.parents.push(parent);
            graph.degrees.push(0);
            graph.upper.push(vec![Vec::new(); usize::from(level)]);
            graph.add_base();
            for level in 0..=level {
                let count = usize::from(reader.u16()?);
                if count > graph.cap(level) {
                    return Err(SnapshotError::Inconsistent("a row has too many links"));
                }
                for _ in 0..count {
                    graph.push_link(row, level, reader.u32()?);
                }
            }
        }
        graph.children = vec![0; rows.len()];
        for parent in graph.parents.iter().filter(|parent| **parent != NONE) {
            let count = &mut graph.children[*parent as usize];
            *count = count.saturating_add(1);
        }
        graph.check(|row| rows.id(row)).map_err(SnapshotError::Inconsistent)?;
        let mut probe = Probe::default();
        for row in 0..rows.len() as u32 {
            graph.codes.ask(rows.vector(row), &mut probe);
            graph.codes.push(&probe);
        }
        Ok(graph)
    }
}
