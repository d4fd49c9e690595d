//! Published frames, out and in.

use std::time::Instant;

use libp2p::gossipsub::{self, MessageAcceptance, PublishError};

use super::{Driver, OUTBOX_MAX, OutboxItem, node_id};
use crate::event::TransportEvent;

impl Driver {
    /// Publishes what waits. With peers of which none has subscribed yet, which takes a round trip
    /// after connecting, it goes on waiting; with no peers it is dropped.
    pub(super) fn pump_gossip(&mut self) {
        while let Some(frame) = self.shared.pop_gossip() {
            let bytes = frame.len() as u64;
            let topic = self.names.topic.clone();
            match self.swarm.behaviour_mut().gossip.publish(topic, frame.clone()) {
                Ok(_) => {
                    let mut stats = self.shared.stats();
                    stats.published_frames += 1;
                    stats.published_bytes += bytes;
                }
                Err(PublishError::NoPeersSubscribedToTopic)
                    if self.peers.values().any(|peer| !peer.connections.is_empty()) =>
                {
                    self.shared.unpop_gossip(frame);
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "a frame was not published");
                    self.shared.stats().publish_dropped += 1;
                }
            }
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source, message_id, message } = event else {
            return; // A subscription, say: the next turn publishes what waits for one.
        };
        let room = self.outbox.len() < OUTBOX_MAX / 2;
        let bytes = message.data.len() as u64;
        let source = node_id(&propagation_source);
        let peer = source.and_then(|node| self.peers.get_mut(&node));
        let now = Instant::now();
        let within_rate = peer.is_some_and(|peer| {
            peer.byte_rate.try_charge(bytes, now) && peer.frame_rate.try_charge(1, now)
        });
        let accepted = room && within_rate && message.data.len() <= self.limits.gossip_bytes;
        let verdict = if accepted { MessageAcceptance::Accept } else { MessageAcceptance::Ignore };
        // False means that the message has left gossipsub's cache: then it is not forwarded.
        let _ = self.swarm.behaviour_mut().gossip.report_message_validation_result(
            &message_id,
            &propagation_source,
            verdict,
        );
        let Some(node) = source else { return };
        self.with_stats(&node, |stats| {
            if accepted {
                stats.gossip_frames += 1;
                stats.gossip_bytes += bytes;
            } else {
                stats.refused += 1;
            }
        });
        if accepted {
            let event = TransportEvent::Published { frame: message.data };
            self.outbox.push_back(OutboxItem::Event(event));
        }
    }
}
