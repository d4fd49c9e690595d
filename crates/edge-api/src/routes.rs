//! The paths under `/api/v1`.

mod collections;
mod compression;
mod encryption;
mod ledger;
mod matching;
mod node;
mod security;
mod tasks;

use axum::{
    Json, Router,
    extract::{FromRequest, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use edge_base::{Credits, NodeId};
use edge_swarm::{Answer, Refusal};
use futures::StreamExt as _;
use serde::{
    Deserialize as _, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};

use crate::{error::Failure, events, metrics, server::App};

/// What handlers answer.
pub(crate) type Outcome = Result<Response, Failure>;

/// Every path.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/readyz", get(node::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/status", get(node::status))
        .route("/api/v1/peers", get(node::peers))
        .route("/api/v1/peers/ban", post(security::ban))
        .route("/api/v1/peers/unban", post(security::unban))
        .route("/api/v1/security/audit", get(security::audit))
        .route("/api/v1/stop", post(node::stop))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/identity/invite", post(node::invite))
        .route("/api/v1/identity/tickets", get(node::tickets))
        .route("/api/v1/identity/tickets/{id}", delete(node::withdraw))
        .route("/api/v1/identity/revoke", post(security::revoke))
        .route("/api/v1/identity/rotate", post(security::rotate))
        .route("/api/v1/tasks", get(tasks::list))
        .route("/api/v1/tasks/{id}", get(tasks::explain).delete(tasks::cancel))
        .route("/api/v1/embed", post(tasks::embed))
        .route("/api/v1/match", post(matching::match_labels))
        .route("/api/v1/compression", post(compression::compression))
        .route("/api/v1/encryption", post(encryption::encryption))
        .route("/api/v1/keys", get(encryption::keys).post(encryption::reload))
        .route("/api/v1/keys/{key}", delete(encryption::forget))
        .route("/api/v1/models", get(tasks::models))
        .route("/api/v1/collections", get(collections::list).post(collections::create))
        .route("/api/v1/collections/{name}", get(collections::show).delete(collections::remove))
        .route("/api/v1/collections/{name}/records", post(collections::import))
        .route("/api/v1/collections/{name}/records/delete", post(collections::delete))
        .route("/api/v1/collections/{name}/check", post(collections::check))
        .route("/api/v1/collections/{name}/search", post(collections::search))
        .route("/api/v1/ledger/balance", get(ledger::balance))
        .route("/api/v1/ledger/history", get(ledger::history))
        .route("/api/v1/ledger/verify", get(ledger::verify))
        .route("/api/v1/ledger/checkpoint", get(ledger::checkpoint))
        .route("/api/v1/ledger/economy", get(ledger::economy))
        .route("/api/v1/ledger/proof", get(ledger::proof))
        .route("/api/v1/ledger/parameters", get(ledger::parameters).post(ledger::want_parameter))
        .route("/api/v1/ledger/handover", post(ledger::handover))
        .route("/api/v1/ledger/blocks/{hash}", get(ledger::fate))
        .route("/api/v1/ledger/send", post(ledger::send))
        .route("/api/v1/ledger/stake", post(ledger::stake))
        .route("/api/v1/ledger/unstake", post(ledger::unstake))
        .route("/api/v1/ledger/settle", post(ledger::settle))
}

/// An answer with its schema in front of its fields.
#[derive(Serialize)]
struct Tagged<T> {
    schema: &'static str,
    #[serde(flatten)]
    body: T,
}

/// An answer of a named shape.
pub(crate) fn tagged<T: Serialize>(schema: &'static str, body: T) -> Outcome {
    Ok(Json(Tagged { schema, body }).into_response())
}

/// The answer of what only succeeds.
pub(crate) fn done() -> Outcome {
    tagged("edge-net.done/1", serde_json::Map::new())
}

/// The peer answered a question with the answer to another: a fault of this program.
pub(crate) fn unexpected(_: Answer) -> Failure {
    Failure::from(Refusal::Failed("the peer answered something else".into()))
}

/// The largest request body.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Bytes of a body over the limit that are still read, and forgotten: a client that sends without
/// looking then finds the answer instead of a broken connection.
const OVERRUN_BYTES_MAX: usize = 64 << 20;

/// Bytes of bodies that are being read, of all connections together: those of each beyond its first ones.
pub(crate) const BODIES_BYTES_MAX: usize = 128 << 20;
/// First bytes of a body that need no room: small requests are heard whatever others send.
const BODY_BYTES_FREE: usize = 64 << 10;

/// A body of UTF-8 text within the limit.
pub(crate) struct Text(pub(crate) String);

impl FromRequest<App> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let mut frames = request.into_body().into_data_stream();
        let (mut bytes, mut read, mut room) = (Vec::new(), 0, Vec::new());
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|e| Failure::invalid(format!("the body broke off: {e}")))?;
            read += frame.len();
            if read <= BODY_BYTES_MAX {
                let taken = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                if read > BODY_BYTES_FREE {
                    room.push(app.bodies.try_acquire_many(taken).map_err(|_| Failure::crowded())?);
                }
                bytes.extend_from_slice(&frame);
            } else if read > OVERRUN_BYTES_MAX {
                break;
            } else {
                // Nothing of it is kept any more.
                (bytes, room) = (Vec::new(), Vec::new());
            }
        }
        if read > BODY_BYTES_MAX {
            let why = format!("the body is over the limit of {BODY_BYTES_MAX} bytes");
            let (status, what) = (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
            return Err(Failure::new(status, what, why, "send it in parts"));
        }
        String::from_utf8(bytes)
            .map(Text)
            .map_err(|e| Failure::invalid(format!("the body is not UTF-8: {}", e.utf8_error())))
    }
}

/// A JSON body whose errors are answers like all others.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let Text(text) = Text::from_request(request, app).await?;
        if text.trim_start().starts_with('[') {
            // Fields in order would be taken for an object.
            return Err(Failure::invalid("the body: it is a list, and an object is expected"));
        }
        let value = serde_json::from_str(if text.trim().is_empty() { "{}" } else { &text })
            .map_err(|e| Failure::invalid(format!("the body: {e}")))?;
        Ok(Body(value))
    }
}

/// Reads an amount of a body: as the command line does, it refuses what would have to be rounded.
pub(crate) fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Credits, D::Error> {
    // Written out, never with an exponent.
    f64::deserialize(deserializer)?.to_string().parse().map_err(D::Error::custom)
}

/// As [`amount`], of a field that may be `null`.
pub(crate) fn amount_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Credits>, D::Error> {
    let ruv = Option::<f64>::deserialize(deserializer)?;
    ruv.map(|ruv| ruv.to_string().parse().map_err(D::Error::custom)).transpose()
}

/// Reads a node id from a query or body.
pub(crate) fn node_id(text: &str) -> Result<NodeId, Failure> {
    NodeId::from_hex(text)
        .ok_or_else(|| Failure::invalid(format!("{text:?} is not a node id of 64 hex digits")))
}
