//! Bytes to a Zstandard frame and back.

use axum::extract::State;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use edge_base::Credits;
use edge_swarm::command::Priority;
use edge_tasks::compression::{CompressionPayload, Operation};
use serde::{Deserialize, Serialize};

use super::{
    Body, Outcome, amount_or_none, tagged,
    tasks::{Checked, options},
};
use crate::{error::Failure, server::App};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compression {
    data: String,
    operation: Operation,
    max_bytes: Option<u32>,
    #[serde(default)]
    priority: Priority,
    #[serde(default, deserialize_with = "amount_or_none")]
    max_credits: Option<Credits>,
}

#[derive(Serialize)]
struct Compressed {
    data: String,
    bytes: usize,
    task: Checked,
}

/// `POST /api/v1/compression`.
pub(crate) async fn compression(State(app): State<App>, Body(body): Body<Compression>) -> Outcome {
    let data = BASE64_STANDARD
        .decode(&body.data)
        .map_err(|error| Failure::invalid(format!("`data` is not base64: {error}")))?;
    let payload = match (body.operation, body.max_bytes) {
        (Operation::Compress, None) => CompressionPayload::compress(data),
        (Operation::Compress, Some(_)) => {
            return Err(Failure::invalid("`max_bytes` is for `decompress` only"));
        }
        (Operation::Decompress, most) => CompressionPayload::decompress(data, most),
    };
    let options = options(body.priority, body.max_credits);
    let compressed = app.jobs.compression(payload, options).await?;
    let data = BASE64_STANDARD.encode(&compressed.data);
    let bytes = compressed.data.len();
    tagged("edge-net.compression/1", Compressed { data, bytes, task: compressed.task.into() })
}
