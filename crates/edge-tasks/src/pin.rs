//! What a build can execute, in 32 bytes each: a task pins one, a peer advertises several, and work is
//! assigned only where they meet, so that another version is never taken for a lie.

use std::sync::OnceLock;

use edge_base::{Digest, Hasher};
use edge_embed::{Model, Registry};

use crate::{Layout, compression, encryption};

/// The version of the canonical arithmetic (`docs/canon.md`).
pub const CANON: &str = "canon-1";
/// The version of hashes, scores and proofs of shards.
const SHARDS: &str = "shard-1";

/// The version of `matching`.
const MATCHES: &str = "match-2";

/// The models compiled in, loaded once.
pub(crate) fn builtin() -> &'static Registry {
    static BUILTIN: OnceLock<Registry> = OnceLock::new();
    BUILTIN.get_or_init(Registry::builtin)
}

/// The pin of work with a model: of its content hash, its tokenizer and [`CANON`]. The id of a model
/// that is not compiled in covers its tokenizer.
pub fn pin_of(model: &Digest) -> Digest {
    let tokenizer = builtin().get(model).map(|model| model.tokenizer_id()).unwrap_or_default();
    let mut hasher = Hasher::new("tasks/pin/1");
    hasher.update(model.as_bytes()).update(tokenizer.as_bytes()).update_framed(CANON.as_bytes());
    hasher.finish()
}

/// The pin of matches with a model: [`pin_of`] it, and how points, scores and thresholds are made.
pub fn match_pin(model: &Digest) -> Digest {
    let mut hasher = Hasher::new("tasks/pin/match/1");
    hasher.update(pin_of(model).as_bytes()).update_framed(MATCHES.as_bytes());
    hasher.finish()
}

/// The pin of work on shards.
pub fn shard_pin() -> Digest {
    let mut hasher = Hasher::new("tasks/pin/shard/1");
    hasher.update_framed(SHARDS.as_bytes()).update_framed(CANON.as_bytes());
    hasher.finish()
}

/// The pin of compression: of the exact encoder and its level ([`compression::ENCODER`]).
pub fn compression_pin() -> Digest {
    let mut hasher = Hasher::new("tasks/pin/compression/1");
    hasher.update_framed(compression::ENCODER.as_bytes());
    hasher.finish()
}

/// The pin of encryption with a key. It is in no [`pins`]: which keys a node has is told to nobody.
pub fn encryption_pin(key: &Digest) -> Digest {
    let mut hasher = Hasher::new("tasks/pin/encryption/1");
    hasher.update_framed(CANON.as_bytes()).update_framed(encryption::ALGORITHM.as_bytes());
    hasher.update(key.as_bytes());
    hasher.finish()
}

/// All that this build can execute without further models.
pub fn pins() -> Vec<Digest> {
    pins_with(builtin())
}

/// All that can be executed with these models: embeddings and matches by each, shards, compression.
pub fn pins_with(models: &Registry) -> Vec<Digest> {
    let models = models.list().flat_map(|model| [pin_of(&model.id()), match_pin(&model.id())]);
    models.chain([shard_pin(), compression_pin()]).collect()
}

/// The content hash of the model that is used when nobody names one.
pub fn default_model() -> Digest {
    default().id()
}

/// The layout of a collection of texts in the default model.
pub fn default_layout() -> Layout {
    Layout::texts(default().dim() as u32, default().id())
}

fn default() -> &'static dyn Model {
    builtin().by_name("default").map(|model| &**model).expect("invariant: compiled in")
}
