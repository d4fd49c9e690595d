//! What the worker around this module offers to it.

use js_sys::{Array, Promise};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    /// Storage, computation and somebody who listens.
    pub type Host;

    /// Makes changes durable: an array of `[table, key, value]`, the value `null` to remove it. All of
    /// them or none.
    #[wasm_bindgen(method, catch)]
    pub(crate) fn persist(this: &Host, writes: Array) -> Result<Promise, JsValue>;

    /// Reads a stored value: bytes, or `null`.
    #[wasm_bindgen(method, catch)]
    pub(crate) fn load(this: &Host, table: &str, key: Vec<u8>) -> Result<Promise, JsValue>;

    /// Executes encoded work, most urgent 0, of others or for this node itself; the outcome is told to
    /// `Node.executed` or `Node.failed`.
    #[wasm_bindgen(method)]
    pub(crate) fn execute(this: &Host, work: f64, what: Vec<u8>, urgency: u8, others: bool);

    /// The result of this work is not needed any more.
    #[wasm_bindgen(method)]
    pub(crate) fn cancel(this: &Host, work: f64);

    /// An event of the peer, as JSON.
    #[wasm_bindgen(method)]
    pub(crate) fn event(this: &Host, json: String);

    /// The peer ended: why, if it was not asked to.
    #[wasm_bindgen(method)]
    pub(crate) fn ended(this: &Host, why: Option<String>);
}
