//! The libp2p behaviours of a node, and the names under which they meet.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{
    PeerId, StreamProtocol, allow_block_list, connection_limits, gossipsub, identify, kad, ping,
    relay, request_response,
};
use sha2::{Digest as _, Sha256};

use crate::codec::DirectCodec;
use crate::config::{Limits, TransportConfig};
use crate::error::TransportError;
use crate::platform;

/// How long ping waits for an answer; two in a row without one close the connection, so that a cut
/// of some seconds is survived and a dead peer is noticed in half a minute.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Everything a connection of ours can do.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(crate) struct Behaviour {
    // The first two refuse connections, so they come first.
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) banned: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) direct: request_response::Behaviour<DirectCodec>,
    pub(crate) gossip: gossipsub::Behaviour,
    pub(crate) kad: kad::Behaviour<kad::store::MemoryStore>,
    pub(crate) relay: relay::Behaviour,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) mdns: platform::Mdns,
}

/// The names of a pool. All contain its genesis hash, so that nodes of two pools share none.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// What identify calls the protocol; compared before anything else.
    pub(crate) pool: String,
    direct: String,
    gossip: String,
    kad: String,
    /// Names the whole hash, the others its first 16 digits.
    pub(crate) topic: gossipsub::IdentTopic,
}

impl Names {
    pub(crate) fn new(genesis_hash: &[u8; 32]) -> Self {
        let hex = genesis_hash.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let pool = format!("/edge-net/{}", &hex[..16]);
        Names {
            direct: format!("{pool}/direct/1"),
            gossip: format!("{pool}/gossip"),
            kad: format!("{pool}/kad/1"),
            pool: format!("{pool}/1"),
            topic: gossipsub::IdentTopic::new(format!("edge-net/{hex}")),
        }
    }
}

fn protocol(name: &str) -> Result<StreamProtocol, TransportError> {
    StreamProtocol::try_from_owned(name.to_owned()).map_err(setup)
}

pub(crate) fn setup(error: impl std::fmt::Display) -> TransportError {
    TransportError::Setup(error.to_string())
}

impl Behaviour {
    pub(crate) fn new(
        key: &Keypair,
        relay_client: relay::client::Behaviour,
        config: &TransportConfig,
    ) -> Result<Self, TransportError> {
        let me = key.public().to_peer_id();
        let names = Names::new(&config.genesis_hash);
        let mut gossip = gossip(&names, &config.limits)?;
        gossip.subscribe(&names.topic).map_err(setup)?;
        Ok(Behaviour {
            limits: connection_limits::Behaviour::new(connection_limits(&config.limits)),
            banned: allow_block_list::Behaviour::default(),
            identify: identify::Behaviour::new(
                identify::Config::new(names.pool.clone(), key.public())
                    .with_agent_version(config.agent.clone())
                    .with_push_listen_addr_updates(true)
                    .with_cache_size(0),
            ),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT),
            ),
            direct: request_response::Behaviour::with_codec(
                DirectCodec { batch_bytes_max: config.limits.batch_bytes_max() },
                [(protocol(&names.direct)?, request_response::ProtocolSupport::Full)],
                request_response::Config::default()
                    .with_request_timeout(config.limits.request_timeout)
                    .with_max_concurrent_streams(CONCURRENT_STREAMS),
            ),
            gossip,
            kad: kademlia(me, &names)?,
            relay: relay(me),
            relay_client,
            mdns: platform::mdns(config.mdns, me)?,
        })
    }
}

/// Relays for others where others can come by themselves. Decided once: a relay that changes its mind, as libp2p's
/// does by itself when external addresses come and go, tells all its connections, and panics at one that is relayed
/// (libp2p-relay 0.22, `reconfigure_relay_status`).
fn relay(me: PeerId) -> relay::Behaviour {
    let mut relay = relay::Behaviour::new(me, relay_limits());
    relay.set_status(Some(match cfg!(target_family = "wasm") {
        true => relay::Status::Disable,
        false => relay::Status::Enable,
    }));
    relay
}

/// One batch is in flight each way; the rest is for retries that overlap with a stuck one.
const CONCURRENT_STREAMS: usize = 8;

fn connection_limits(limits: &Limits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_established(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
        .with_max_pending_incoming(Some(limits.connections))
        .with_max_pending_outgoing(Some(limits.connections))
}

// Anonymous, because the frame is an envelope that its author signed: a second signature would only
// say which node published it. The message id is the digest of the bytes for the same reason.
fn gossip(names: &Names, limits: &Limits) -> Result<gossipsub::Behaviour, TransportError> {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(names.gossip.clone())
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        .flood_publish(true)
        // Shorter than the time after which heads are told again, the same bytes as before.
        .duplicate_cache_time(Duration::from_secs(25))
        // Who is not admitted yet is pruned, and is admitted a round trip later.
        .prune_backoff(Duration::from_secs(5))
        .max_transmit_size(limits.gossip_bytes + GOSSIP_ENVELOPE_BYTES)
        .connection_handler_queue_len(1_024)
        .message_id_fn(|message| {
            gossipsub::MessageId::from(Sha256::digest(&message.data)[..20].to_vec())
        })
        .build()
        .map_err(setup)?;
    let mut gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config)
        .map_err(setup)?;
    let (parameters, thresholds) = scores(names);
    gossip.with_peer_score(parameters, thresholds).map_err(setup)?;
    Ok(gossip)
}

/// The score of a node that was not admitted: nothing is sent to it or taken from it.
pub(crate) const OUTSIDER_SCORE: f64 = -1_000.0;

// Peer scores of gossipsub 1.1 (Vyzovitis et al. 2020, "GossipSub: Attack-Resilient Message
// Propagation"): what the application says of a node (P5), messages it rejected (P4, squared) and
// broken promises (P7). Deliveries that are missing (P3) are no wrong in a pool that is often silent,
// and many nodes at one address (P6) are one person's machines.
fn scores(names: &Names) -> (gossipsub::PeerScoreParams, gossipsub::PeerScoreThresholds) {
    let topic = gossipsub::TopicScoreParams {
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.5,
        first_message_deliveries_cap: 20.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // Two rejected messages outweigh all that a node delivered first; ten silence it.
        invalid_message_deliveries_weight: -4.0,
        invalid_message_deliveries_decay: gossipsub::score_parameter_decay(INVALID_FORGOTTEN),
        ..gossipsub::TopicScoreParams::default()
    };
    let parameters = gossipsub::PeerScoreParams {
        topics: [(names.topic.hash(), topic)].into(),
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: gossipsub::score_parameter_decay(Duration::from_secs(60)),
        retain_score: Duration::from_secs(600),
        ..gossipsub::PeerScoreParams::default()
    };
    let thresholds = gossipsub::PeerScoreThresholds {
        gossip_threshold: -50.0,
        publish_threshold: -100.0,
        graylist_threshold: -400.0,
        accept_px_threshold: 1_000.0,
        opportunistic_graft_threshold: 0.0,
    };
    (parameters, thresholds)
}

/// Rejected messages are forgotten in this time.
const INVALID_FORGOTTEN: Duration = Duration::from_secs(600);

/// Topic and protobuf around a published frame.
const GOSSIP_ENVELOPE_BYTES: usize = 1_024;

// Kademlia (Maymounkov, Mazières 2002) only to find a node's addresses: no records are stored, no
// table is filled by itself (everybody a server opened thousands of connections in large nets), no
// periodic bootstrap.
fn kademlia(
    me: PeerId,
    names: &Names,
) -> Result<kad::Behaviour<kad::store::MemoryStore>, TransportError> {
    let mut config = kad::Config::new(protocol(&names.kad)?);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_kbucket_size(NonZeroUsize::new(8).expect("invariant: not zero"))
        .set_periodic_bootstrap_interval(None)
        .set_query_timeout(Duration::from_secs(10))
        .set_record_filtering(kad::StoreInserts::FilterBoth);
    let store = kad::store::MemoryStore::with_config(
        me,
        kad::store::MemoryStoreConfig {
            max_records: 0,
            max_provided_keys: 0,
            ..kad::store::MemoryStoreConfig::default()
        },
    );
    let mut kad = kad::Behaviour::with_config(me, store, config);
    kad.set_mode(Some(kad::Mode::Server));
    Ok(kad)
}

// The defaults (16 circuits of 2 minutes and 128 KiB, rates per IP) do not carry a pool of tabs.
fn relay_limits() -> relay::Config {
    relay::Config {
        max_reservations: 128,
        max_reservations_per_peer: 2,
        reservation_duration: Duration::from_secs(3_600),
        reservation_rate_limiters: Vec::new(),
        max_circuits: 64,
        max_circuits_per_peer: 16,
        max_circuit_duration: Duration::from_secs(3_600),
        max_circuit_bytes: 1 << 30,
        circuit_src_rate_limiters: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_between_pools() {
        let mut hash = [0xab; 32];
        let names = Names::new(&hash);
        assert_eq!(names.pool, "/edge-net/abababababababab/1");
        assert_eq!(names.direct, "/edge-net/abababababababab/direct/1");
        hash[31] = 0;
        assert_ne!(Names::new(&hash).topic.hash(), names.topic.hash());
    }
}
