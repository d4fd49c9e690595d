//! Records as they stand in a log, and the ids they go by.

use std::collections::BTreeMap;

use edge_base::shard::LogEntry;
use edge_base::{Digest, Hasher, RecordId, codec};
use edge_index::{DIM_MAX, PAYLOAD_BYTES_MAX, Record, record_hash};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::text::check_finite;
use crate::{Layout, TaskError, bounded};

/// The most bytes of an encoded body.
const BODY_BYTES_MAX: usize = DIM_MAX * 4 + PAYLOAD_BYTES_MAX + 16;

/// The body of a log entry that stores a record. Encoded: number of components, four bytes each, length
/// of the payload, payload.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecordBody {
    /// The embedding, in canonical form: [`RecordBody::canonical`] makes it.
    #[serde(deserialize_with = "bounded::at_most::<DIM_MAX, _, _>")]
    pub vector: Vec<f32>,
    /// Empty, or a JSON object of at most 64 KiB that filters can test.
    #[serde(deserialize_with = "bounded::at_most::<PAYLOAD_BYTES_MAX, _, _>")]
    pub payload: Vec<u8>,
}

impl RecordBody {
    /// A record as a collection of this layout stores it: components finite, -0 as +0, unit length for
    /// cosine. An owner makes every body by this, because replicas accept no other form.
    ///
    /// # Errors
    /// [`TaskError`]: another dimension, a vector without canonical form, a payload that is not a JSON
    /// object or too large.
    pub fn canonical(
        layout: &Layout,
        vector: Vec<f32>,
        payload: Vec<u8>,
    ) -> Result<Self, TaskError> {
        let record =
            layout.config().canonical(Record { id: RecordId::default(), vector, payload })?;
        let body = RecordBody { vector: record.vector, payload: record.payload };
        body.check_payload()?;
        Ok(body)
    }

    /// The entry of a log's manifest and the body that belongs to it.
    pub fn entry(&self, id: RecordId) -> (LogEntry, Vec<u8>) {
        (LogEntry { id, record: Some(self.hash(&id)) }, self.encode())
    }

    /// The hash that a manifest and a root commit to.
    pub fn hash(&self, id: &RecordId) -> Digest {
        record_hash(&self.record(*id))
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not the canonical encoding of a body, numbers that are not finite, a payload that
    /// is not a JSON object.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let body: Self = bounded::decode_strict("record body", bytes, BODY_BYTES_MAX)?;
        check_finite("the vector", &body.vector)?;
        body.check_payload()?;
        Ok(body)
    }

    pub(crate) fn record(&self, id: RecordId) -> Record {
        Record { id, vector: self.vector.clone(), payload: self.payload.clone() }
    }

    fn check_payload(&self) -> Result<(), TaskError> {
        let object = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&self.payload);
        if self.payload.is_empty() || object.is_ok() { Ok(()) } else { Err(TaskError::NotAnObject) }
    }
}

impl From<Record> for RecordBody {
    fn from(record: Record) -> Self {
        RecordBody { vector: record.vector, payload: record.payload }
    }
}

/// The text without white space around it and with single spaces for runs of white space within.
pub fn normalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// The id of a text: SHA-256 of it [`normalised`], so that a text has one record however it is wrapped.
pub fn record_id_for_text(text: &str) -> RecordId {
    RecordId(Digest::of(normalised(text).as_bytes()))
}

/// The id for a key that a client chose. Never that of a text: the hash has a domain tag.
pub fn record_id_for_key(key: &str) -> RecordId {
    let mut hasher = Hasher::new("tasks/record-key/1");
    hasher.update(key.as_bytes());
    RecordId(hasher.finish())
}

/// Where a stored payload keeps the caller's id. A record without one is stored without it.
pub const KEY_FIELD: &str = "edge-net:id";

/// Takes the caller's id out of a stored payload: only one that this record goes by is believed.
pub fn take_key(id: &RecordId, payload: &mut Map<String, Value>) -> Option<String> {
    let key = payload.get(KEY_FIELD)?.as_str()?.to_owned();
    if record_id_for_key(&key) != *id {
        return None;
    }
    payload.remove(KEY_FIELD);
    Some(key)
}
