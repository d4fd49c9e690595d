//! Binding the port and serving until the node ends.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{Router, middleware, routing::get};
use edge_node::{
    Jobs, NodeHandle,
    config::{Config, Port},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use crate::{
    connections::{self, Limits},
    error::Failure,
    events, guard, routes, web,
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
    /// Bytes of bodies that may be read at once.
    pub(crate) bodies: Arc<Semaphore>,
    /// Streams of events that may be open.
    pub(crate) streams: Arc<Semaphore>,
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

    /// Whether somebody asked by `POST /api/v1/stop` that the node end.
    pub fn is_stop_requested(&self) -> bool {
        *self.stop.borrow()
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
    Listening::at(node.config()).await?.serve(node)
}

/// The address of a node's API, taken before there is a node: one that cannot be had is known before anything is
/// founded. Who connects waits until it is served.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Takes the address that a configuration says.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn at(config: &Config) -> Result<Listening, ApiError> {
        let bind = config.bind;
        if !bind.is_loopback() && config.token.is_none() {
            return Err(ApiError::NeedsToken(bind));
        }
        let listener = listen(bind, config.port).await?;
        let address = listener
            .local_addr()
            .map_err(|source| ApiError::Bind { address: SocketAddr::new(bind, 0), source })?;
        Ok(Listening { listener, address })
    }

    /// Serves a node's API here, and notes the address in its folder.
    ///
    /// # Errors
    /// [`ApiError::Note`].
    pub fn serve(self, node: NodeHandle) -> Result<Server, ApiError> {
        let Listening { listener, address } = self;
        let (bind, token) = (address.ip(), node.config().token.clone());
        let url = format!("http://{address}");
        node.note_api(&url).map_err(|e| ApiError::Note(e.to_string()))?;
        let (stop, stopped) = watch::channel(false);
        let app = App {
            jobs: Jobs::new(node.clone()),
            node: node.clone(),
            url: url.clone(),
            stop,
            bodies: Arc::new(Semaphore::new(routes::BODIES_BYTES_MAX)),
            streams: Arc::new(Semaphore::new(events::STREAMS_MAX)),
        };
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
