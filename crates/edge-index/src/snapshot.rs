//! A shard as bytes.
//!
//! Layout, integers little endian. A head of 128 bytes: magic `EDGEIDX\0` (8), version (2), configuration
//! (dim 4, metric 1, storage 1, exact_below 4, m 2, m0 2, ef_construction 2, ef 2, seed 8), root (32), number of rows
//! (4), length of all (8), zeros. Then, in the order of the rows: their vectors (4 · dim each), their ids
//! (32 each), the lengths of their payloads (4 each), their payloads; whether there is a graph (1), the
//! graph; at the end SHA-256 of all before it under the tag `index/snapshot/2` (32). The vectors begin
//! where numbers may lie, so that they can stay in the file.
//!
//! The checksum finds damage; it does not make the bytes trustworthy. Everything in them is checked
//! as if a stranger had sent it, and nothing is allocated for a number that the bytes do not back.

use std::io::{self, BufWriter, Write};

use edge_base::{Digest, Hasher, RecordId};

use crate::blocks::Blocks;
use crate::graph::Graph;
use crate::rows::Rows;
use crate::{
    Index, IndexConfig, Mapping, Metric, PAYLOAD_BYTES_MAX, ROWS_MAX, SnapshotError, Storage,
};

const MAGIC: [u8; 8] = *b"EDGEIDX\0";
/// The version written; others are refused by name.
pub const SNAPSHOT_VERSION: u16 = 2;
const HEAD_BYTES: usize = 128;
const CHECKSUM_BYTES: usize = 32;

/// Takes numbers off the front of bytes that may end too early.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], SnapshotError> {
        let (head, rest) =
            self.0.split_at_checked(count).ok_or(SnapshotError::Inconsistent("it ends early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, SnapshotError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, SnapshotError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, SnapshotError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, SnapshotError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(SnapshotError::Inconsistent("a flag is neither 0 nor 1")),
        }
    }
}

/// Writes to `out` what it hashes.
struct Sealing<'a> {
    hasher: Hasher,
    out: &'a mut dyn Write,
}

impl Write for Sealing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn hasher() -> Hasher {
    Hasher::new("index/snapshot/2")
}

fn write_config(config: &IndexConfig, out: &mut Vec<u8>) {
    let metric = match config.metric {
        Metric::Cosine => 0u8,
        Metric::Dot => 1,
        Metric::L2 => 2,
    };
    out.extend_from_slice(&(config.dim as u32).to_le_bytes());
    out.push(metric);
    out.push(match config.storage {
        Storage::Int8 => 0,
        Storage::F32 => 1,
        Storage::Binary => 2,
    });
    out.extend_from_slice(&(config.exact_below as u32).to_le_bytes());
    for small in [config.m, config.m0, config.ef_construction, config.ef] {
        out.extend_from_slice(&(small as u16).to_le_bytes());
    }
    out.extend_from_slice(&config.seed.to_le_bytes());
}

fn read_config(reader: &mut Reader<'_>) -> Result<IndexConfig, SnapshotError> {
    let dim = reader.u32()? as usize;
    let metric = match reader.array()? {
        [0] => Metric::Cosine,
        [1] => Metric::Dot,
        [2] => Metric::L2,
        _ => return Err(SnapshotError::Inconsistent("an unknown metric")),
    };
    let storage = match reader.array()? {
        [0] => Storage::Int8,
        [1] => Storage::F32,
        [2] => Storage::Binary,
        _ => return Err(SnapshotError::Inconsistent("an unknown storage")),
    };
    let config = IndexConfig {
        dim,
        metric,
        storage,
        exact_below: reader.u32()? as usize,
        m: usize::from(reader.u16()?),
        m0: usize::from(reader.u16()?),
        ef_construction: usize::from(reader.u16()?),
        ef: usize::from(reader.u16()?),
        seed: reader.u64()?,
    };
    Ok(config)
}

/// What the head says.
struct Head {
    config: IndexConfig,
    root: Digest,
    rows: usize,
}

impl Head {
    /// Reads the head of `bytes`, whose length it must say.
    fn read(bytes: &[u8]) -> Result<Head, SnapshotError> {
        let mut reader = Reader(bytes.get(..HEAD_BYTES).ok_or(SnapshotError::NotASnapshot)?);
        if reader.array()? != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        let version = reader.u16()?;
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(version));
        }
        let config = read_config(&mut reader)?;
        let root = Digest(reader.array()?);
        let rows = reader.u32()? as usize;
        let (expected, got) = (reader.u64()?, bytes.len() as u64);
        if expected != got {
            return Err(SnapshotError::Length { expected, got });
        }
        if reader.0.iter().any(|byte| *byte != 0) {
            return Err(SnapshotError::Inconsistent("its head does not end with zeros"));
        }
        if rows > ROWS_MAX {
            return Err(SnapshotError::Inconsistent("more rows than a shard holds"));
        }
        Ok(Head { config, root, rows })
    }

    fn vector_bytes(&self) -> usize {
        self.rows.saturating_mul(self.config.dim).saturating_mul(size_of::<f32>())
    }
}

fn decode_rows(bytes: &[u8], dim: usize) -> Blocks<f32> {
    let mut vectors = Blocks::new(dim);
    let mut row = Vec::with_capacity(dim);
    for bytes in bytes.chunks_exact(dim * size_of::<f32>()) {
        row.clear();
        row.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        vectors.push(&row);
    }
    vectors
}

/// The vectors of a snapshot, left where they are where that is possible.
fn map_rows(head: &Head, mapping: &Mapping) -> Option<Blocks<f32>> {
    let little = cfg!(target_endian = "little");
    little.then(|| Blocks::mapped(head.config.dim, mapping, HEAD_BYTES, head.rows)).flatten()
}

impl Index {
    /// The whole shard as bytes: equal for equal configuration and log.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_snapshot(&mut out).expect("invariant: memory takes what is written");
        out
    }

    /// Writes what [`Index::to_snapshot`] returns.
    ///
    /// # Errors
    /// Those of `out`, which may then hold a part.
    pub fn write_snapshot(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = 0..self.len() as u32;
        let payloads: usize = rows.clone().map(|row| self.rows.payload(row).len()).sum();
        let row_bytes = self.config.dim * size_of::<f32>() + 32 + 4;
        let graph = self.graph.as_ref().map_or(0, Graph::written_bytes);
        let length = HEAD_BYTES + self.len() * row_bytes + payloads + 1 + graph + CHECKSUM_BYTES;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
        write_config(&self.config, &mut head);
        head.extend_from_slice(self.root().as_bytes());
        head.extend_from_slice(&(self.len() as u32).to_le_bytes());
        head.extend_from_slice(&(length as u64).to_le_bytes());
        head.resize(HEAD_BYTES, 0);

        let mut out = BufWriter::with_capacity(1 << 16, Sealing { hasher: hasher(), out });
        out.write_all(&head)?;
        for row in rows.clone() {
            for value in self.rows.vector(row) {
                out.write_all(&value.to_le_bytes())?;
            }
        }
        for row in rows.clone() {
            out.write_all(self.rows.id(row).as_bytes())?;
        }
        for row in rows.clone() {
            out.write_all(&(self.rows.payload(row).len() as u32).to_le_bytes())?;
        }
        for row in rows {
            out.write_all(self.rows.payload(row))?;
        }
        out.write_all(&[u8::from(self.graph.is_some())])?;
        if let Some(graph) = &self.graph {
            graph.write(&mut out)?;
        }
        let Sealing { hasher, out } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        out.write_all(hasher.finish().as_bytes())
    }

    /// The shard that [`Index::to_snapshot`] wrote, ready for the next operation of its log.
    ///
    /// # Errors
    /// [`SnapshotError`] for bytes that are damaged, cut, of another version, or not what an index would
    /// write.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        Index::read(bytes, |head, vectors| decode_rows(vectors, head.config.dim))
    }

    /// As [`Index::from_snapshot`]; the vectors stay in the mapping, each until a change of the rows near
    /// it. All bytes are read once.
    ///
    /// # Errors
    /// As [`Index::from_snapshot`].
    pub fn from_mapping(mapping: &Mapping) -> Result<Self, SnapshotError> {
        Index::read(mapping.bytes(), |head, vectors| {
            map_rows(head, mapping).unwrap_or_else(|| decode_rows(vectors, head.config.dim))
        })
    }

    /// Lets go of the vectors in memory and uses those of a mapped snapshot of this very state from now on;
    /// returns whether that was possible here.
    ///
    /// # Errors
    /// [`SnapshotError`] when the snapshot is one of another state; nothing changed.
    pub fn move_into(&mut self, mapping: &Mapping) -> Result<bool, SnapshotError> {
        let head = Head::read(mapping.bytes())?;
        if head.rows != self.len() || head.config != self.config || head.root != self.root() {
            return Err(SnapshotError::Inconsistent("it is of another state"));
        }
        let Some(vectors) = map_rows(&head, mapping) else {
            return Ok(false);
        };
        if self.rows.share_vectors(vectors) {
            return Ok(true);
        }
        Err(SnapshotError::Inconsistent("its vectors are others"))
    }

    fn read(
        bytes: &[u8],
        vectors_of: impl FnOnce(&Head, &[u8]) -> Blocks<f32>,
    ) -> Result<Self, SnapshotError> {
        let head = Head::read(bytes)?;
        let (sealed, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(SnapshotError::Inconsistent("it ends early"))?;
        let mut hasher = hasher();
        hasher.update(sealed);
        if hasher.finish().as_bytes() != sum {
            return Err(SnapshotError::Checksum);
        }
        head.config.validate()?;
        let mut reader = Reader(sealed);
        reader.bytes(HEAD_BYTES)?;
        let vectors = reader.bytes(head.vector_bytes())?;
        let mut ids = Reader(reader.bytes(head.rows * 32)?);
        let mut lengths = Reader(reader.bytes(head.rows * 4)?);
        let mut index = Index::new(head.config)?;
        index.rows = Rows::over(head.config.metric, vectors_of(&head, vectors));
        for _ in 0..head.rows {
            let length = lengths.u32()? as usize;
            if length > PAYLOAD_BYTES_MAX {
                return Err(SnapshotError::Inconsistent("a payload is too long"));
            }
            index.restore(RecordId(Digest(ids.array()?)), reader.bytes(length)?)?;
        }
        if index.root() != head.root {
            return Err(SnapshotError::Inconsistent("the root is not that of the rows"));
        }
        if reader.flag()? {
            index.graph = Some(Graph::read(&mut reader, &head.config, &index.rows)?);
        }
        if !index.graph_is_due() {
            return Err(SnapshotError::Inconsistent("a graph for too few rows, or none for many"));
        }
        if !reader.0.is_empty() {
            return Err(SnapshotError::Inconsistent("bytes after its end"));
        }
        Ok(index)
    }
}
