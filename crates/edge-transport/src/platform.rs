//! All that differs between the operating systems and a browser: one file per target, same
//! signatures. It makes the swarm, runs its task, tells the time and waits.

#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(not(target_arch = "wasm32"))]
mod native;

#[cfg(target_arch = "wasm32")]
use browser as target;
#[cfg(not(target_arch = "wasm32"))]
use native as target;

pub(crate) use target::{
    Instant, Mdns, MdnsEvent, build_swarm, check_free, mdns, mdns_news, sleep_until, spawn,
};

/// What mDNS says: addresses that were found or are gone.
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser has no mDNS"))]
pub(crate) enum MdnsNews {
    /// There is a node.
    Found(libp2p::PeerId, libp2p::Multiaddr),
    /// It has not said so for a while.
    Gone(libp2p::PeerId, libp2p::Multiaddr),
}
