//! Binding the port and serving until the node ends.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use axum::{Router, middleware, routing::get};
use edge_node::{Jobs, NodeHandle, config::Port};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    connections::{self, Limits},
    error::Failure,
    guard, routes, web,
};

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The port is taken: the caller's choice.
    #[error("{address} cannot be listened on: {source}; choose another one with --port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Reachable by others without a token: the caller's choice.
    #[error("{0} can be reached by others: set `token` first")]
    NeedsToken(IpAddr),
    /// The data folder does not take the note of the address.
    #[error("the data folder does not take the API's address: {0}")]
    Note(String),
}

/// What every handler has.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) node: NodeHandle,
    pub(crate) jobs: Jobs,
    pub(crate) url: String,
    pub(crate) stop: watch::Sender<bool>,
}

/// A running server. Dropping it does not stop it; the node's end does.
#[derive(Debug)]
pub struct Server {
    url: String,
    port: u16,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// Where it listens, as a URL without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port of it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until somebody asked by `POST /api/v1/stop` that the node end. The node is then shut
    /// down without further help.
    pub async fn stop_requested(&self) {
        let mut stop = self.stop.clone();
        // An error means that the server is gone, and with it who could ask.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Serves a node's API on the address its configuration says, and notes the address in its folder.
///
/// # Errors
/// [`ApiError`].
pub async fn serve(node: NodeHandle) -> Result<Server, ApiError> {
    let config = node.config();
    let (bind, token) = (config.bind, config.token.clone());
    if !bind.is_loopback() && token.is_none() {
        return Err(ApiError::NeedsToken(bind));
    }
    let listener = listen(bind, config.port).await?;
    let address = listener
        .local_addr()
        .map_err(|source| ApiError::Bind { address: SocketAddr::new(bind, 0), source })?;
    let url = format!("http://{address}");
    node.note_api(&url).map_err(|e| ApiError::Note(e.to_string()))?;
    let (stop, stopped) = watch::channel(false);
    let app = App { jobs: Jobs::new(node.clone()), node: node.clone(), url: url.clone(), stop };
    let router: Router = Router::new()
        .merge(routes::router())
        .merge(web::router())
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(|| async { Failure::no_route() })
        .layer(middleware::from_fn_with_state(guard::Guard::new(token, bind), guard::check))
        .with_state(app);
    tokio::spawn(async move {
        let ended = async move {
            // However it ended, there is nothing left to serve.
            let _ = node.wait_ended().await;
        };
        connections::serve(listener, router, Limits::default(), ended).await;
    });
    Ok(Server { url, port: address.port(), stop: stopped })
}

async fn listen(bind: IpAddr, port: Port) -> Result<TcpListener, ApiError> {
    let (from, to) = match port {
        Port::Exactly(port) => (port, port),
        Port::FirstFree { from, to } => (from, to),
    };
    let mut last = None;
    for port in from..=to {
        let address = SocketAddr::new(bind, port);
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(source) => last = Some(ApiError::Bind { address, source }),
        }
    }
    Err(last.unwrap_or(ApiError::NeedsToken(bind)))
}
