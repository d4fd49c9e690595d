//! Published frames, out and in.

use edge_base::{NodeId, Validation};
use libp2p::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance, MessageId, PublishError};

use super::{Driver, OUTBOX_MAX, OutboxItem, node_id, peer_id};
use crate::behaviour::OUTSIDER_SCORE;
use crate::event::TransportEvent;
use crate::outgoing::JUDGED_MAX;
use crate::platform::Instant;

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
        let room = self.outbox.len() < OUTBOX_MAX / 2 && self.unjudged.len() < JUDGED_MAX;
        let bytes = message.data.len() as u64;
        let source = node_id(&propagation_source);
        let peer = source.and_then(|node| self.peers.get_mut(&node));
        let now = Instant::now();
        // Who was not admitted is not heard; gossipsub refuses most of it before it comes here.
        let within_rate = peer.is_some_and(|peer| {
            peer.admitted
                && peer.byte_rate.try_charge(bytes, now)
                && peer.frame_rate.try_charge(1, now)
        });
        let taken = room && within_rate && message.data.len() <= self.limits.gossip_bytes;
        if let Some(node) = source {
            self.with_stats(&node, |stats| {
                if taken {
                    stats.gossip_frames += 1;
                    stats.gossip_bytes += bytes;
                } else {
                    stats.refused += 1;
                }
            });
        }
        match source {
            Some(from) if taken => {
                self.counter += 1;
                let number = self.counter;
                self.unjudged.insert(number, (message_id, propagation_source));
                let event = TransportEvent::Published { from, number, frame: message.data };
                self.outbox.push_back(OutboxItem::Event(event));
            }
            _ => self.report(&message_id, &propagation_source, Validation::Ignore),
        }
    }

    /// Tells gossipsub what the application said.
    pub(super) fn pass_judgements(&mut self) {
        for (number, validation) in self.shared.take_judgements() {
            if let Some((message, source)) = self.unjudged.remove(&number) {
                self.report(&message, &source, validation);
            }
        }
        // What is not judged for long has left gossipsub's cache.
        while self.unjudged.len() >= JUDGED_MAX {
            self.unjudged.pop_first();
        }
    }

    fn report(&mut self, message: &MessageId, source: &PeerId, validation: Validation) {
        let acceptance = match validation {
            Validation::Accept => MessageAcceptance::Accept,
            Validation::Ignore => MessageAcceptance::Ignore,
            Validation::Reject => MessageAcceptance::Reject,
        };
        // False means that the message has left gossipsub's cache: then it is not forwarded.
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let _ = gossip.report_message_validation_result(message, source, acceptance);
    }

    /// A connected node may hear and say from now on what is published, or may not.
    pub(super) fn set_admitted(&mut self, node: NodeId, admitted: bool) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.admitted = admitted;
        let Some(id) = peer_id(&node) else { return };
        let score = if admitted { 0.0 } else { OUTSIDER_SCORE };
        self.swarm.behaviour_mut().gossip.set_application_score(&id, score);
    }
}
