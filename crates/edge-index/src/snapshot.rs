//! A shard as bytes.
//!
//! Layout, integers little endian: magic `EDGEIDX\0` (8 bytes), version (2), length of the body (8),
//! SHA-256 of the body under the tag `index/snapshot/1` (32), body. Body: configuration (dim 4, metric 1,
//! exact_below 4, m 2, m0 2, ef_construction 2, ef 2, seed 8), root (32), number of rows (4), per row id
//! (32), vector (4 · dim) and payload (4 + n), whether there is a graph (1), the graph.
//!
//! The checksum finds damage; it does not make the bytes trustworthy. Everything in them is checked
//! as if a stranger had sent it, and nothing is allocated for a number that the bytes do not back.

use edge_base::{Digest, Hasher, RecordId};

use crate::graph::Graph;
use crate::{Index, IndexConfig, Metric, ROWS_MAX, Record, SnapshotError};

const MAGIC: [u8; 8] = *b"EDGEIDX\0";
/// The version written; others are refused by name.
pub const SNAPSHOT_VERSION: u16 = 1;
const HEADER_BYTES: usize = 8 + 2 + 8 + 32;

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

fn checksum(body: &[u8]) -> Digest {
    let mut hasher = Hasher::new("index/snapshot/1");
    hasher.update(body);
    hasher.finish()
}

fn write_config(config: &IndexConfig, out: &mut Vec<u8>) {
    let metric = match config.metric {
        Metric::Cosine => 0u8,
        Metric::Dot => 1,
        Metric::L2 => 2,
    };
    out.extend_from_slice(&(config.dim as u32).to_le_bytes());
    out.push(metric);
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
    let config = IndexConfig {
        dim,
        metric,
        exact_below: reader.u32()? as usize,
        m: usize::from(reader.u16()?),
        m0: usize::from(reader.u16()?),
        ef_construction: usize::from(reader.u16()?),
        ef: usize::from(reader.u16()?),
        seed: reader.u64()?,
    };
    config.validate()?;
    Ok(config)
}

fn read_record(reader: &mut Reader<'_>, config: &IndexConfig) -> Result<Record, SnapshotError> {
    let id = RecordId(Digest(reader.array()?));
    let bytes = reader.bytes(config.dim * 4)?;
    let vector: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let length = reader.u32()? as usize;
    let payload = reader.bytes(length)?.to_vec();
    let record = config.canonical(Record { id, vector, payload })?;
    let same = record.vector.iter().zip(bytes.chunks_exact(4)).all(|(v, b)| v.to_le_bytes() == b);
    if same { Ok(record) } else { Err(SnapshotError::Inconsistent("a vector is not canonical")) }
}

impl Index {
    /// The whole shard as bytes: equal for equal configuration and log.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut body = Vec::new();
        write_config(&self.config, &mut body);
        body.extend_from_slice(self.root().as_bytes());
        body.extend_from_slice(&(self.len() as u32).to_le_bytes());
        for row in 0..self.len() as u32 {
            body.extend_from_slice(self.rows.id(row).as_bytes());
            for value in self.rows.vector(row) {
                body.extend_from_slice(&value.to_le_bytes());
            }
            let payload = self.rows.payload(row);
            body.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            body.extend_from_slice(payload);
        }
        body.push(u8::from(self.graph.is_some()));
        if let Some(graph) = &self.graph {
            graph.write(&mut body);
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        out.extend_from_slice(checksum(&body).as_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// The shard that [`Index::to_snapshot`] wrote, ready for the next operation of its log.
    ///
    /// # Errors
    /// [`SnapshotError`] for bytes that are damaged, cut, of another version, or not what an index would
    /// write.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader(bytes);
        let not_ours = |_| SnapshotError::NotASnapshot;
        if reader.array().map_err(not_ours)? != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        let version = reader.u16().map_err(not_ours)?;
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(version));
        }
        let expected = reader.u64().map_err(not_ours)?;
        let sum = Digest(reader.array().map_err(not_ours)?);
        let got = reader.0.len() as u64;
        if expected != got {
            return Err(SnapshotError::Length { expected, got });
        }
        if checksum(reader.0) != sum {
            return Err(SnapshotError::Checksum);
        }
        Index::read_body(&mut reader)
    }

    fn read_body(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let config = read_config(reader)?;
        let root = Digest(reader.array()?);
        let rows = reader.u32()? as usize;
        if rows > ROWS_MAX {
            return Err(SnapshotError::Inconsistent("more rows than a shard holds"));
        }
        let mut index = Index::new(config)?;
        for _ in 0..rows {
            let record = read_record(reader, &config)?;
            if !index.restore(record) {
                return Err(SnapshotError::Inconsistent("an id occurs twice"));
            }
        }
        if index.root() != root {
            return Err(SnapshotError::Inconsistent("the root is not that of the rows"));
        }
        if reader.flag()? {
            index.graph = Some(Graph::read(reader, &config, &index.rows)?);
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
