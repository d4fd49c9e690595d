//! A browser's worker: WebSocket to gateways, other tabs through a relay on one of them, the browser's
//! own resolver and clock. It cannot be dialled and has no local network to ask.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::dummy;
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, Transport, noise, websocket_websys, yamux};

use super::MdnsNews;
use crate::behaviour::{Behaviour, setup};
use crate::config::TransportConfig;
use crate::error::TransportError;

pub(crate) use web_time::Instant;

/// There is none: a behaviour that does nothing.
pub(crate) type Mdns = dummy::Behaviour;
pub(crate) type MdnsEvent = Infallible;

/// As for other nodes: connections stay until somebody closes them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    wasm_bindgen_futures::spawn_local(task);
}

pub(crate) async fn sleep_until(at: Instant) {
    futures_timer::Delay::new(at.saturating_duration_since(Instant::now())).await;
}

#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn mdns(_enabled: bool, _me: PeerId) -> Result<Mdns, TransportError> {
    Ok(dummy::Behaviour)
}

pub(crate) fn mdns_news(event: MdnsEvent) -> Vec<MdnsNews> {
    match event {}
}

pub(crate) fn build_swarm(
    key: Keypair,
    config: &TransportConfig,
) -> Result<Swarm<Behaviour>, TransportError> {
    let noise = noise::Config::new(&key).map_err(setup)?;
    let web = websocket_websys::Transport::default()
        .map(|connection, _| Prompt(connection))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default());
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_wasm_bindgen()
        .with_other_transport(|_| web)
        .map_err(setup)?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(setup)?
        .with_behaviour(|key, relay_client| {
            Behaviour::new(key, relay_client, config).map_err(Into::into)
        })
        .map_err(setup)?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build();
    Ok(swarm)
}

/// A connection whose end is not waited for: a browser waits a minute for the other side's word, and all
/// that time a node that is gone would count as connected. What was written before is still sent.
struct Prompt<C>(C);

impl<C: AsyncRead + Unpin> AsyncRead for Prompt<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Prompt<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_close(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

/// Nothing but circuits can be listened on; whatever else is asked for fails by itself.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn check_free(_address: &Multiaddr) -> std::io::Result<()> {
    Ok(())
}
