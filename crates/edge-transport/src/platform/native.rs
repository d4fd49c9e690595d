//! Linux, macOS, Windows: tokio, TCP, QUIC, WebSocket, the system's resolver, mDNS.

use std::future::Future;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport, dns, mdns as libp2p_mdns, noise, quic, tcp,
    websocket, yamux,
};

use super::MdnsNews;
use crate::behaviour::{Behaviour, setup};
use crate::config::TransportConfig;
use crate::error::TransportError;

pub(crate) use std::time::Instant;

pub(crate) type Mdns = Toggle<libp2p_mdns::tokio::Behaviour>;
pub(crate) type MdnsEvent = libp2p_mdns::Event;

/// Connections stay until somebody closes them; ping finds the dead ones.
const IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// How often to ask the local network. The first answer, whoever gives it, ends the quick questions
/// at the start, and a node that was not listening yet when it was asked is heard at the next one:
/// the default of five minutes is too long for that.
const MDNS_INTERVAL: Duration = Duration::from_secs(15);

pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

pub(crate) async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

pub(crate) fn mdns(enabled: bool, me: PeerId) -> Result<Mdns, TransportError> {
    let behaviour = enabled
        .then(|| {
            let config = libp2p_mdns::Config {
                query_interval: MDNS_INTERVAL,
                ..libp2p_mdns::Config::default()
            };
            libp2p_mdns::tokio::Behaviour::new(config, me)
        })
        .transpose()
        .map_err(setup)?;
    Ok(behaviour.into())
}

pub(crate) fn mdns_news(event: MdnsEvent) -> Vec<MdnsNews> {
    let found = |(peer, address)| MdnsNews::Found(peer, address);
    let gone = |(peer, address)| MdnsNews::Gone(peer, address);
    match event {
        MdnsEvent::Discovered(list) => list.into_iter().map(found).collect(),
        MdnsEvent::Expired(list) => list.into_iter().map(gone).collect(),
    }
}

pub(crate) fn build_swarm(
    key: Keypair,
    config: &TransportConfig,
) -> Result<Swarm<Behaviour>, TransportError> {
    // An error means that the program has chosen a provider already, which is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let carriers = carriers(&key)?;
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|_| carriers)
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

/// WebSocket is asked first, because a `/tcp/1/ws` address is a TCP address with a tail, too. TCP and
/// QUIC share one resolver: a resolver takes every address, and only later finds that what it wraps
/// cannot dial it.
fn carriers(key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, TransportError> {
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let noise = noise::Config::new(key).map_err(setup)?;
    let web = websocket::Config::new(resolving(tcp))
        .upgrade(Version::V1Lazy)
        .authenticate(noise.clone())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let plain = resolving(|| {
        let tcp = tcp()
            .upgrade(Version::V1Lazy)
            .authenticate(noise.clone())
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let quic = quic::tokio::Transport::new(quic::Config::new(key))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        tcp.or_transport(quic).map(|either, _| either.into_inner())
    });
    Ok(web.or_transport(plain).map(|either, _| either.into_inner()).boxed())
}

/// Refuses a TCP port that somebody listens on: libp2p listens with `SO_REUSEPORT`, so that two
/// nodes of one user would share the port without a word.
pub(crate) fn check_free(address: &Multiaddr) -> std::io::Result<()> {
    let mut protocols = address.iter();
    let ip: IpAddr = match protocols.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    let relayed = address.iter().any(|protocol| protocol == Protocol::P2pCircuit);
    match protocols.next() {
        Some(Protocol::Tcp(port)) if port != 0 && !relayed => {
            TcpListener::bind((ip, port)).map(drop)
        }
        _ => Ok(()),
    }
}

/// Adds `/dns...` addresses. A machine without a resolver configuration is not refused: names then
/// do not resolve, numbers work.
fn resolving<T>(make: impl Fn() -> T) -> dns::tokio::Transport<T>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: Send,
    T::Error: Send,
    T::Dial: Send,
{
    dns::tokio::Transport::system(make()).unwrap_or_else(|error| {
        tracing::warn!(%error, "no resolver, addresses with names cannot be dialled");
        let nobody = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        dns::tokio::Transport::custom(make(), nobody, dns::ResolverOpts::default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // A container without /etc/resolv.conf takes this path.
    #[test]
    fn a_resolver_without_servers_can_be_built() {
        let nobody = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        let inner = tcp::tokio::Transport::new(tcp::Config::default());
        dns::tokio::Transport::custom(inner, nobody, dns::ResolverOpts::default());
    }
}
