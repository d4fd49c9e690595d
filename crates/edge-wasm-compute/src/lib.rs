//! Task execution in a browser's workers.
//!
//! The same `edge_tasks::Executor` as in the daemon: each worker has one instance of this module with a
//! memory of its own. `Compute::execute` is all that the peer asks; the rest makes the payloads of a page's
//! own tasks and reads their results, so that the worker with the network needs to know neither texts nor
//! models. The built-in model is not part of the module: the page loads it once (`Compute::new`).
//!
//! Invariant: equal work gives the bytes that every other node gives (canon-1).

#![cfg(target_arch = "wasm32")]

mod ask;

use edge_base::{Work, codec};
use edge_embed::StaticModel;
use edge_tasks::{Executor, shard_pin};
use wasm_bindgen::{JsError, prelude::wasm_bindgen};

pub use ask::{Query, Task};

/// What executes work, with the built-in model.
#[wasm_bindgen]
pub struct Compute {
    executor: Executor,
}

#[wasm_bindgen]
impl Compute {
    /// With the pack of the built-in model (`StaticModel::pack`), which is checked.
    #[wasm_bindgen(constructor)]
    pub fn new(model: Vec<u8>) -> Result<Compute, JsError> {
        console_error_panic_hook::set_once();
        StaticModel::provide(model)?;
        Ok(Compute { executor: Executor::new() })
    }

    /// What this module can execute for others, 32 bytes each: everything but shards, which are not
    /// kept in a tab.
    pub fn pins(&self) -> Vec<u8> {
        let pins = edge_tasks::pins();
        pins.into_iter().filter(|pin| *pin != shard_pin()).flat_map(|pin| pin.0).collect()
    }

    /// What this module's checks of search answers fit to, 32 bytes.
    #[wasm_bindgen(js_name = shardPin)]
    pub fn shard_pin(&self) -> Vec<u8> {
        shard_pin().0.to_vec()
    }

    /// Executes encoded [`Work`].
    pub fn execute(&self, work: &[u8]) -> Result<Vec<u8>, JsError> {
        let work: Work = codec::decode(work).map_err(|_| JsError::new("the work is malformed"))?;
        Ok(self.executor.execute(&work)?)
    }
}

/// The instructions that the kernels use here: `wasm128` or `scalar`.
#[wasm_bindgen]
pub fn instructions() -> String {
    format!("{:?}", edge_kernels::canon::Kernels::active().simd()).to_lowercase()
}
