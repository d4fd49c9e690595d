//! The registry of task kinds: the numbers that travel and what may be promised about results.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a task does. The numbers are part of the protocol; only kinds that work are listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Texts to vectors by a pinned model.
    Embedding,
    /// One signed batch of a shard's log, executed by each replica; the digest is the new root.
    VectorInsert,
    /// Nearest neighbours of a vector in one shard.
    VectorSearch,
    /// A text against label texts by a pinned model.
    SemanticMatch,
    /// Bytes to a Zstandard frame and back, by a pinned encoder.
    Compression,
    /// Bytes to authenticated ciphertext and back, by nodes that were given the key.
    Encryption,
}

impl TaskKind {
    /// Every kind, in protocol order.
    pub const ALL: [TaskKind; 6] = [
        TaskKind::Embedding,
        TaskKind::VectorInsert,
        TaskKind::VectorSearch,
        TaskKind::SemanticMatch,
        TaskKind::Compression,
        TaskKind::Encryption,
    ];

    /// The name used on the command line, in HTTP and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Embedding => "embedding",
            TaskKind::VectorInsert => "vector_insert",
            TaskKind::VectorSearch => "vector_search",
            TaskKind::SemanticMatch => "semantic_match",
            TaskKind::Compression => "compression",
            TaskKind::Encryption => "encryption",
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Self> {
        TaskKind::ALL.into_iter().find(|k| k.name() == name)
    }

    /// How results of this kind are compared. A search is `Certified` here because its answer
    /// proves its hits; an answer in exact mode is in addition compared by digest at equal root.
    pub fn determinism(self) -> Determinism {
        match self {
            TaskKind::Embedding | TaskKind::VectorInsert | TaskKind::SemanticMatch => {
                Determinism::FloatExact
            }
            TaskKind::VectorSearch => Determinism::Certified,
            TaskKind::Compression | TaskKind::Encryption => Determinism::IntegerExact,
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Determinism classes D0-D3: what two honest executions have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Determinism {
    /// D0: integer arithmetic, equal bytes.
    IntegerExact,
    /// D1: canonical f32 arithmetic (canon-1), equal bytes.
    FloatExact,
    /// D2: equal within a stated tolerance.
    Tolerant,
    /// D3: the result carries a certificate that anybody can check.
    Certified,
}

impl Determinism {
    /// The name of the class.
    pub fn name(self) -> &'static str {
        match self {
            Determinism::IntegerExact => "D0",
            Determinism::FloatExact => "D1",
            Determinism::Tolerant => "D2",
            Determinism::Certified => "D3",
        }
    }
}
