//! The page with which a browser tab joins the pool, and what it needs: files that `cargo xtask web` made, the
//! built-in model, and a ticket.

use std::sync::LazyLock;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use edge_base::{Credits, Digest};
use edge_embed::StaticModel;
use edge_swarm::{Answer, Command};
use serde::Serialize;

use crate::{
    error::Failure,
    routes::{Outcome, tagged, unexpected},
    server::App,
};

/// Files by name; none where the program was built without them.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/web.rs"));
/// The page among them.
const PAGE: &str = "join.html";
/// The built-in model, for tabs that execute tasks.
static MODEL: LazyLock<Bytes> = LazyLock::new(|| StaticModel::pack().into());
/// What a tab is given, if this node has so much: enough for its first own tasks.
const GRANT: Credits = Credits::from_micro(1_000_000);
/// The page loads nothing from elsewhere and connects to gateways only.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; \
     connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);
/// What stands where the page would be.
const WITHOUT: &str = "<!doctype html><html lang=en><title>edge-net</title><p>This program was built without the \
                       browser's part. Run <code>cargo xtask web</code>, then build it again.";

/// `/join` and what belongs to it.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/join", get(page))
        .route("/join/pool", get(pool))
        .route("/join/ticket", post(ticket))
        .route("/web/{*file}", get(file))
}

async fn page(headers: HeaderMap) -> Response {
    match FILES.iter().find(|(name, _)| *name == PAGE) {
        Some((name, bytes)) => served(name, Bytes::from_static(bytes), &headers),
        None => (StatusCode::NOT_FOUND, Html(WITHOUT)).into_response(),
    }
}

async fn file(Path(asked): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    if asked == "model.bin" {
        return Ok(served(&asked, MODEL.clone(), &headers));
    }
    let found = FILES.iter().find(|(name, _)| *name == asked);
    let (name, bytes) = found.ok_or_else(Failure::no_route)?;
    Ok(served(name, Bytes::from_static(bytes), &headers))
}

/// A file, or that the browser's copy is still good.
fn served(name: &str, bytes: Bytes, headers: &HeaderMap) -> Response {
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        Some("wgsl") => "text/wgsl",
        _ => "application/octet-stream",
    };
    let tag = format!("\"{}\"", Digest::of(&bytes).short());
    let same = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *tag);
    let mut response =
        if same { StatusCode::NOT_MODIFIED.into_response() } else { bytes.into_response() };
    let sent = response.headers_mut();
    sent.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    sent.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    sent.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    sent.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        sent.insert(header::ETAG, tag);
    }
    response
}

#[derive(Serialize)]
struct Pool {
    pool: Digest,
    /// Where a browser can connect, best first.
    gateways: Vec<String>,
}

/// `GET /join/pool`: where to go, for a tab that may be a member already.
async fn pool(State(app): State<App>, headers: HeaderMap) -> Outcome {
    tagged(
        "edge-net.join-pool/1",
        Pool { pool: app.node.pool(), gateways: gateways(&app, &headers) },
    )
}

#[derive(Serialize)]
struct Invited {
    ticket: String,
    gateways: Vec<String>,
}

/// `POST /join/ticket`: a ticket for the tab that asks. Whoever may call may invite in any case.
async fn ticket(State(app): State<App>, headers: HeaderMap) -> Outcome {
    let available = match app.node.call(Command::Balance { account: None }).await? {
        Answer::Balance(view) => view.balance,
        other => return Err(unexpected(other)),
    };
    let credits = if available >= GRANT { GRANT } else { Credits::ZERO };
    match app.node.call(Command::Invite { owner: false, credits }).await? {
        Answer::Ticket(ticket) => {
            tagged("edge-net.ticket/1", Invited { ticket, gateways: gateways(&app, &headers) })
        }
        other => Err(unexpected(other)),
    }
}

/// This node's WebSocket addresses, that of the host which the page came from first.
fn gateways(app: &App, headers: &HeaderMap) -> Vec<String> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = if name == "localhost" { "127.0.0.1" } else { name };
    let same = format!("/ip4/{name}/");
    let mut addresses: Vec<String> = app.node.addresses().to_vec();
    addresses.retain(|address| address.split('/').any(|part| matches!(part, "ws" | "wss")));
    addresses.sort_by_key(|address| !address.starts_with(&same));
    addresses
}
