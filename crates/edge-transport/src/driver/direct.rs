//! Direct frames: one batch in flight each way, numbered, acknowledged when taken.

use std::sync::Arc;
use std::time::Duration;

use edge_base::NodeId;
use libp2p::PeerId;
use libp2p::request_response::{
    self, InboundRequestId, OutboundFailure, OutboundRequestId, ResponseChannel,
};

use super::{Driver, OutboxItem, Peer, Timer, node_id, peer_id};
use crate::batch::decode_batch;
use crate::codec::{Acknowledged, DirectRequest};
use crate::event::TransportEvent;
use crate::platform::Instant;

/// First wait before a batch is sent again on a connection that still stands; doubles.
const RESEND_FIRST: Duration = Duration::from_millis(50);
/// Requests out of turn after which a peer is disconnected.
const REFUSED_MAX: u32 = 64;

/// What goes to a peer.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    sequence: u64,
    pub(super) in_flight: Option<InFlight>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    /// None while it waits to be sent again.
    request: Option<OutboundRequestId>,
    message: DirectRequest,
    frames: usize,
    payload_bytes: u64,
    attempts: u32,
}

/// What comes from a peer.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    session: u64,
    /// The last batch of the session that the application took; sequences start at 1.
    taken: u64,
    pub(super) waiting: Option<Waiting>,
    refused: u32,
}

/// Where the acknowledgement of a batch goes.
#[derive(Debug)]
struct Answer {
    request: InboundRequestId,
    channel: ResponseChannel<Acknowledged>,
}

/// A batch that the application has not taken yet.
#[derive(Debug)]
pub(super) struct Waiting {
    session: u64,
    sequence: u64,
    answer: Answer,
    frames: u64,
    payload_bytes: u64,
    /// The frames, while the peer's rate holds them back.
    held: Option<Arc<Vec<u8>>>,
}

impl Peer {
    /// Whether it can be forgotten without a batch arriving twice.
    pub(super) fn is_blank(&self) -> bool {
        self.inbound.taken == 0 && self.outbound.sequence == 0
    }
}

impl Driver {
    pub(super) fn on_direct(
        &mut self,
        event: request_response::Event<DirectRequest, Acknowledged>,
    ) {
        use request_response::{Event, Message};
        match event {
            Event::Message {
                peer,
                message: Message::Request { request_id, request, channel },
                ..
            } => {
                self.on_request(peer, request, Answer { request: request_id, channel });
            }
            Event::Message { peer, message: Message::Response { request_id, .. }, .. } => {
                self.on_acknowledged(peer, request_id);
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                self.on_send_failure(peer, request_id, &error);
            }
            Event::InboundFailure { peer, request_id, error, .. } => {
                self.answering.remove(&request_id);
                tracing::debug!(%peer, %error, "a request was not answered");
            }
            Event::ResponseSent { request_id, .. } => {
                self.answering.remove(&request_id);
            }
        }
    }

    /// Sends a node's next batch, or does what leads to a connection.
    pub(super) fn pump(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.announced) else {
            self.reach_if_needed(node);
            return;
        };
        let Some(to) = peer_id(&node) else { return };
        if peer.outbound.in_flight.is_none() {
            let Some(batch) = self.shared.take_batch(&node) else { return };
            peer.outbound.sequence += 1;
            peer.outbound.in_flight = Some(InFlight {
                request: None,
                message: DirectRequest {
                    session: self.session,
                    sequence: peer.outbound.sequence,
                    batch: Arc::new(batch.bytes),
                },
                frames: batch.frames,
                payload_bytes: batch.payload_bytes,
                attempts: 0,
            });
        }
        if let Some(in_flight) = &mut peer.outbound.in_flight
            && in_flight.request.is_none()
        {
            in_flight.attempts += 1;
            let direct = &mut self.swarm.behaviour_mut().direct;
            in_flight.request = Some(direct.send_request(&to, in_flight.message.clone()));
        }
    }

    /// Dials a node that something waits for, if there is a way to it.
    pub(super) fn reach_if_needed(&mut self, node: NodeId) {
        let in_flight = self.peers.get(&node).is_some_and(|peer| peer.outbound.in_flight.is_some());
        if !in_flight && !self.shared.has_frames_for(&node) {
            return;
        }
        if self.is_connected(&node) {
            return; // It has yet to show its pool.
        }
        let way = node != self.me
            && peer_id(&node).is_some()
            && (!self.book.addresses(&node).is_empty() || self.can_search());
        if !way || !self.book.want(node, self.limits.send_attempts, Instant::now()) {
            self.discard(node);
        }
    }

    /// Drops and counts what waits for a node, except a batch that is on its way.
    pub(super) fn discard(&mut self, node: NodeId) {
        self.shared.discard(&node);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let waits = peer.outbound.in_flight.take_if(|in_flight| in_flight.request.is_none());
        if let Some(in_flight) = waits {
            self.shared.dropped(node, in_flight.frames as u64);
        }
    }

    fn on_acknowledged(&mut self, peer: PeerId, request: OutboundRequestId) {
        let Some(node) = node_id(&peer) else { return };
        let Some(known) = self.peers.get_mut(&node) else { return };
        let done = known.outbound.in_flight.take_if(|sent| sent.request == Some(request));
        if let Some(sent) = done {
            self.with_stats(&node, |stats| {
                stats.sent_frames += sent.frames as u64;
                stats.sent_bytes += sent.payload_bytes;
            });
            self.pump(node);
        }
    }

    fn on_send_failure(
        &mut self,
        peer: PeerId,
        request: OutboundRequestId,
        error: &OutboundFailure,
    ) {
        tracing::debug!(%peer, %error, "a batch was not acknowledged");
        let Some(node) = node_id(&peer) else { return };
        let attempts_max = self.limits.send_attempts;
        let Some(known) = self.peers.get_mut(&node) else { return };
        let Some(sent) = &mut known.outbound.in_flight else { return };
        if sent.request != Some(request) {
            return;
        }
        sent.request = None;
        let hopeless = matches!(error, OutboundFailure::UnsupportedProtocols);
        if hopeless || sent.attempts >= attempts_max {
            let frames = sent.frames as u64;
            known.outbound.in_flight = None;
            self.shared.dropped(node, frames);
            self.pump(node);
        } else if known.announced {
            let wait = RESEND_FIRST * 2u32.pow(sent.attempts.min(8));
            self.remind(Instant::now() + wait, Timer::Resend(node));
        } else {
            self.reach_if_needed(node);
        }
    }

    fn on_request(&mut self, peer: PeerId, request: DirectRequest, answer: Answer) {
        let Some(node) = node_id(&peer) else { return };
        // The protocol's name contains the genesis hash, so whoever speaks it is of our pool.
        self.announce(node);
        let Some(known) = self.peers.get_mut(&node) else { return };
        let inbound = &mut known.inbound;
        let id = (request.session, request.sequence);
        if request.session == inbound.session && request.sequence <= inbound.taken {
            self.respond(answer); // Its acknowledgement was lost.
            return;
        }
        if let Some(waiting) = &mut inbound.waiting {
            if (waiting.session, waiting.sequence) == id {
                waiting.answer = answer; // Sent again because we are slow.
            } else {
                self.refuse(node, peer); // Out of turn.
            }
            return;
        }
        // The codec has checked the batch; this only finds the frames.
        let frames = decode_batch(&request.batch).unwrap_or_default();
        if frames.iter().any(|frame| frame.len() > self.limits.message_bytes) {
            self.refuse(node, peer);
            return;
        }
        let payload_bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        let frame_count = frames.len() as u64;
        let now = Instant::now();
        let wait = known
            .byte_rate
            .charge(payload_bytes, now)
            .max(known.frame_rate.charge(frame_count, now));
        inbound.waiting = Some(Waiting {
            session: request.session,
            sequence: request.sequence,
            answer,
            frames: frame_count,
            payload_bytes,
            held: Some(request.batch),
        });
        if wait.is_zero() {
            self.pass_held(node);
        } else {
            self.remind(now + wait, Timer::Pass(node));
        }
    }

    /// Counts a request that gets no answer: its stream ends, and an honest sender tries again.
    fn refuse(&mut self, node: NodeId, peer: PeerId) {
        let Some(known) = self.peers.get_mut(&node) else { return };
        known.inbound.refused += 1;
        if known.inbound.refused >= REFUSED_MAX {
            known.inbound.refused = 0;
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.with_stats(&node, |stats| stats.refused += 1);
    }

    /// Puts the frames of a held batch in line for the application.
    pub(super) fn pass_held(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(batch) = peer.inbound.waiting.as_mut().and_then(|waiting| waiting.held.take())
        else {
            return;
        };
        let frames = decode_batch(&batch).unwrap_or_default();
        self.outbox.extend(frames.into_iter().map(|frame| {
            OutboxItem::Event(TransportEvent::Message { from: node, frame: frame.to_vec() })
        }));
        self.outbox.push_back(OutboxItem::Taken(node));
    }

    /// The application has the whole batch.
    pub(super) fn acknowledge(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(waiting) = peer.inbound.waiting.take() else { return };
        peer.inbound.session = waiting.session;
        peer.inbound.taken = waiting.sequence;
        peer.inbound.refused = 0;
        self.with_stats(&node, |stats| {
            stats.received_frames += waiting.frames;
            stats.received_bytes += waiting.payload_bytes;
        });
        self.respond(waiting.answer);
    }

    fn respond(&mut self, answer: Answer) {
        let direct = &mut self.swarm.behaviour_mut().direct;
        // An error means that the stream is gone: the sender asks again and is told then.
        if direct.send_response(answer.channel, Acknowledged).is_ok() {
            self.answering.insert(answer.request);
        }
    }
}
