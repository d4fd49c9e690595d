//! Frames on their way to the driver: the part of a handle that is shared with it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use edge_base::{NodeId, Validation};
use tokio::sync::Notify;

use crate::batch::{BATCH_FRAMES_MAX, BatchWriter, FRAME_HEADER_BYTES};
use crate::config::{BATCH_BYTES, Limits};
use crate::stats::TransportStats;

/// What a queued frame costs beyond its bytes, so that empty frames are bounded too.
const FRAME_OVERHEAD_BYTES: usize = 32;

/// Published frames that may wait for their judgement.
pub(crate) const JUDGED_MAX: usize = 8_192;

/// State that handles and driver share. Locks are held for pushes and pops only.
#[derive(Debug)]
pub(crate) struct Shared {
    queues: Mutex<Queues>,
    stats: Mutex<TransportStats>,
    /// Judgements on published frames that the driver has not seen; no more than it waits for.
    judgements: Mutex<Vec<(u64, Validation)>>,
    /// Rings when there is something new in the queues.
    pub(crate) wake: Notify,
    pub(crate) limits: Limits,
}

/// Everything that waits to be sent.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    peers: HashMap<NodeId, Queue>,
    /// Peers whose queue grew since the driver looked.
    ready: BTreeSet<NodeId>,
    /// Frames to publish.
    gossip: VecDeque<Vec<u8>>,
    gossip_bytes: usize,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        Shared {
            queues: Mutex::default(),
            stats: Mutex::default(),
            judgements: Mutex::default(),
            wake: Notify::new(),
            limits,
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> MutexGuard<'_, TransportStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues frames in order; returns how many were taken. After the first that does not fit, none
    /// of the call is taken: a later one must not overtake it.
    pub(crate) fn push(&self, node: NodeId, frames: Vec<Vec<u8>>) -> usize {
        let offered = frames.len();
        let taken = self.push_until_full(node, frames);
        if taken > 0 {
            self.wake.notify_one();
        }
        if taken < offered {
            self.dropped(node, (offered - taken) as u64);
        }
        taken
    }

    fn push_until_full(&self, node: NodeId, frames: Vec<Vec<u8>>) -> usize {
        let mut queues = self.queues();
        let full = queues.peers.len() >= self.limits.known_peers;
        if queues.stopped || frames.is_empty() || (full && !queues.peers.contains_key(&node)) {
            return 0;
        }
        let queue = queues.peers.entry(node).or_default();
        let mut taken = 0;
        for frame in frames {
            let bytes = frame.len() + FRAME_OVERHEAD_BYTES;
            let fits = queue.bytes + bytes <= self.limits.outgoing_bytes_per_peer;
            if frame.len() > self.limits.message_bytes || !fits {
                break;
            }
            queue.bytes += bytes;
            queue.frames.push_back(frame);
            taken += 1;
        }
        if queue.frames.is_empty() {
            queues.peers.remove(&node);
        } else {
            queues.ready.insert(node);
        }
        taken
    }

    /// Counts frames that will not be delivered.
    pub(crate) fn dropped(&self, node: NodeId, frames: u64) {
        let mut stats = self.stats();
        let room = stats.peers.len() < self.limits.known_peers;
        if room || stats.peers.contains_key(&node) {
            stats.peers.entry(node).or_default().dropped_frames += frames;
        }
    }

    pub(crate) fn push_gossip(&self, frame: Vec<u8>) -> bool {
        {
            let mut queues = self.queues();
            let bytes = queues.gossip_bytes + frame.len() + FRAME_OVERHEAD_BYTES;
            if !queues.stopped && bytes <= self.limits.outgoing_gossip_bytes {
                queues.gossip_bytes = bytes;
                queues.gossip.push_back(frame);
                self.wake.notify_one();
                return true;
            }
        }
        self.stats().publish_dropped += 1;
        false
    }

    pub(crate) fn push_judgement(&self, number: u64, validation: Validation) {
        let mut judgements = self.judgements.lock().unwrap_or_else(PoisonError::into_inner);
        if judgements.len() < JUDGED_MAX {
            judgements.push((number, validation));
            self.wake.notify_one();
        }
    }

    pub(crate) fn take_judgements(&self) -> Vec<(u64, Validation)> {
        std::mem::take(&mut *self.judgements.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn pop_gossip(&self) -> Option<Vec<u8>> {
        let mut queues = self.queues();
        let frame = queues.gossip.pop_front()?;
        queues.gossip_bytes -= frame.len() + FRAME_OVERHEAD_BYTES;
        Some(frame)
    }

    /// Puts a popped frame back to the front.
    pub(crate) fn unpop_gossip(&self, frame: Vec<u8>) {
        let mut queues = self.queues();
        queues.gossip_bytes += frame.len() + FRAME_OVERHEAD_BYTES;
        queues.gossip.push_front(frame);
    }

    /// The peers whose queue grew since the last call.
    pub(crate) fn take_ready(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.queues().ready)
    }

    pub(crate) fn has_frames_for(&self, node: &NodeId) -> bool {
        self.queues().peers.contains_key(node)
    }

    pub(crate) fn nothing_waits(&self, reachable: impl Fn(&NodeId) -> bool) -> bool {
        !self.queues().peers.keys().any(reachable)
    }

    /// Takes as many frames for a peer as one batch carries.
    pub(crate) fn take_batch(&self, node: &NodeId) -> Option<BatchWriter> {
        let mut queues = self.queues();
        let queue = queues.peers.get_mut(node)?;
        let mut batch = BatchWriter::default();
        while let Some(frame) = queue.frames.front() {
            let bytes = batch.bytes.len() + FRAME_HEADER_BYTES + frame.len();
            let full = batch.frames > 0 && bytes > BATCH_BYTES;
            if full || batch.frames == BATCH_FRAMES_MAX {
                break;
            }
            batch.push(frame).expect("invariant: queued frames are below the limits of a batch");
            queue.bytes -= frame.len() + FRAME_OVERHEAD_BYTES;
            queue.frames.pop_front();
        }
        if queue.frames.is_empty() {
            queues.peers.remove(node);
        }
        (batch.frames > 0).then_some(batch)
    }

    /// Throws away what waits for a peer and counts it.
    pub(crate) fn discard(&self, node: &NodeId) {
        let queue = self.queues().peers.remove(node);
        if let Some(queue) = queue {
            self.dropped(*node, queue.frames.len() as u64);
        }
    }

    /// From here on nothing more is taken.
    pub(crate) fn stop(&self) {
        self.queues().stopped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode_batch;

    const NODE: NodeId = NodeId([1; 32]);

    fn shared(limits: Limits) -> Shared {
        Shared::new(limits)
    }

    #[test]
    fn the_newest_frames_are_dropped_at_the_bound_and_counted() {
        let limits = Limits { outgoing_bytes_per_peer: 1_000, ..Limits::default() };
        let shared = shared(limits);
        let frames = |n: usize| vec![vec![0; 100 - FRAME_OVERHEAD_BYTES]; n];
        assert_eq!(shared.push(NODE, frames(7)), 7);
        assert_eq!(shared.push(NODE, frames(7)), 3);
        assert_eq!(shared.push(NODE, frames(1)), 0);
        assert_eq!(shared.stats().peers[&NODE].dropped_frames, 5);
        assert_eq!(shared.take_batch(&NODE).unwrap().frames, 10);
        assert_eq!(shared.push(NODE, frames(7)), 7);
    }

    #[test]
    fn frames_keep_their_order_over_batches() {
        let shared = shared(Limits::default());
        let frames: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 100_000]).collect();
        assert_eq!(shared.push(NODE, frames.clone()), 40);
        assert_eq!(shared.take_ready(), BTreeSet::from([NODE]));
        let mut seen = Vec::new();
        while let Some(batch) = shared.take_batch(&NODE) {
            assert!(batch.bytes.len() <= BATCH_BYTES);
            seen.extend(decode_batch(&batch.bytes).unwrap().iter().map(|f| f.to_vec()));
        }
        assert_eq!(seen, frames);
        assert!(!shared.has_frames_for(&NODE));
        assert!(shared.take_ready().is_empty());
    }

    #[test]
    fn a_frame_over_the_limit_stops_the_call() {
        let shared = shared(Limits { message_bytes: 10, ..Limits::default() });
        assert_eq!(shared.push(NODE, vec![vec![0; 10], vec![0; 11], vec![0; 1]]), 1);
        assert_eq!(shared.stats().peers[&NODE].dropped_frames, 2);
    }

    #[test]
    fn the_number_of_queues_is_bounded() {
        let shared = shared(Limits { known_peers: 2, ..Limits::default() });
        for (n, taken) in [(1, 1), (2, 1), (3, 0), (1, 1)] {
            assert_eq!(shared.push(NodeId([n; 32]), vec![vec![n]]), taken);
        }
    }

    #[test]
    fn gossip_is_bounded_and_ends_with_stop() {
        let shared = shared(Limits { outgoing_gossip_bytes: 100, ..Limits::default() });
        assert!(shared.push_gossip(vec![1; 50]));
        assert!(!shared.push_gossip(vec![2; 50]));
        assert_eq!(shared.pop_gossip(), Some(vec![1; 50]));
        shared.stop();
        assert!(!shared.push_gossip(vec![3]));
        assert_eq!(shared.stats().publish_dropped, 2);
        assert_eq!(shared.push(NODE, vec![vec![1]]), 0);
    }
}
