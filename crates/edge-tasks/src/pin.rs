//! What a build can execute, in 32 bytes each: a task pins one, a peer advertises several, and work is
//! assigned only where they meet, so that another version is never taken for a lie.

use std::sync::OnceLock;

use edge_base::{Digest, Hasher};
use edge_embed::{Model, Registry};

use crate::Layout;

/// The version of the canonical arithmetic (`docs/canon.md`).
pub const CANON: &str = "canon-1";
/// The version of hashes, scores and proofs of shards.
const SHARDS: &str = "shard-1";

/// The models compiled in, loaded once.
pub(crate) fn builtin() -> &'static Registry {
    static BUILTIN: OnceLock<Registry> = OnceLock::new();
    BUILTIN.get_or_init(Registry::builtin)
}

/// The pin of work with a model: of its content hash, its tokenizer and [`CANON`]. A model that is not
/// compiled in has a pin that no such build advertises.
pub fn pin_of(model: &Digest) -> Digest {
    let tokenizer = builtin().get(model).map(|model| model.tokenizer_id()).unwrap_or_default();
    let mut hasher = Hasher::new("tasks/pin/1");
    hasher.update(model.as_bytes()).update(tokenizer.as_bytes()).update_framed(CANON.as_bytes());
    hasher.finish()
}

/// The pin of work on shards.
pub fn shard_pin() -> Digest {
    let mut hasher = Hasher::new("tasks/pin/shard/1");
    hasher.update_framed(SHARDS.as_bytes()).update_framed(CANON.as_bytes());
    hasher.finish()
}

/// All that this build can execute: its models, then shards.
pub fn pins() -> Vec<Digest> {
    let models = builtin().list().map(|model| pin_of(&model.id()));
    models.chain([shard_pin()]).collect()
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
