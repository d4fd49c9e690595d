//! What happened, numbered: a broadcast for those who watch, and a ring of the latest for those who
//! were away for a moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_base::Ring;
use edge_swarm::Event;
use serde::Serialize;
use tokio::sync::broadcast;

/// How many events are kept.
pub const EVENTS_KEPT: usize = 1_000;

/// One event with its number: 1 is the first since the start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Sequenced {
    /// Counts up by one.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

type Latest = Ring<Arc<Sequenced>, EVENTS_KEPT>;

/// The events of a node.
#[derive(Debug)]
pub struct EventLog {
    ring: Mutex<Latest>,
    sender: broadcast::Sender<Arc<Sequenced>>,
    next: std::sync::atomic::AtomicU64,
}

/// A watcher's position: everything after `seen` comes through `receiver`.
#[derive(Debug)]
pub struct Subscription {
    /// The number of the latest event before the subscription.
    pub seen: u64,
    /// What follows. A receiver that lags loses events and is told so.
    pub receiver: broadcast::Receiver<Arc<Sequenced>>,
}

impl Default for EventLog {
    fn default() -> Self {
        EventLog {
            ring: Mutex::default(),
            sender: broadcast::Sender::new(EVENTS_KEPT),
            next: std::sync::atomic::AtomicU64::new(1),
        }
    }
}

impl EventLog {
    /// Adds an event.
    pub fn push(&self, event: Event) {
        let mut ring = self.lock();
        let seq = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let event = Arc::new(Sequenced { seq, event });
        ring.push(Arc::clone(&event));
        // Nobody watching is fine.
        let _ = self.sender.send(event);
    }

    /// Watches from now on. Sent under the same lock as [`EventLog::push`], so nothing is missed
    /// between `seen` and the first received event.
    pub fn subscribe(&self) -> Subscription {
        let ring = self.lock();
        let seen = ring.last().map_or(0, |event| event.seq);
        Subscription { seen, receiver: self.sender.subscribe() }
    }

    /// Everything after a number, or `None` when some of it is forgotten.
    pub fn since(&self, seen: u64) -> Option<Vec<Arc<Sequenced>>> {
        let ring = self.lock();
        let first = ring.first().map_or(seen + 1, |event| event.seq);
        let last = ring.last().map_or(0, |event| event.seq);
        if seen + 1 < first || seen > last {
            return None;
        }
        Some(ring.iter().filter(|event| event.seq > seen).map(Arc::clone).collect())
    }

    /// How many there were since the start.
    pub fn count(&self) -> u64 {
        self.lock().last().map_or(0, |event| event.seq)
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(n: u64) -> Event {
        Event::Note { text: n.to_string() }
    }

    #[test]
    fn the_ring_answers_for_what_it_holds_and_admits_a_gap() {
        let log = EventLog::default();
        assert_eq!(log.since(0).map(|events| events.len()), Some(0));
        for n in 1..=1_500 {
            log.push(note(n));
        }
        assert_eq!(log.count(), 1_500);
        let numbers =
            |seen| log.since(seen).map(|events| events.iter().map(|e| e.seq).collect::<Vec<_>>());
        assert_eq!(numbers(1_498), Some(vec![1_499, 1_500]));
        assert_eq!(numbers(1_500), Some(vec![]));
        assert_eq!(numbers(500).map(|n| n.len()), Some(1_000));
        assert_eq!(numbers(499), None, "500 is forgotten");
        assert_eq!(numbers(1_501), None, "of another start");
    }

    #[test]
    fn a_subscription_continues_where_it_says() {
        let log = EventLog::default();
        log.push(note(1));
        let mut watch = log.subscribe();
        log.push(note(2));
        assert_eq!(watch.seen, 1);
        assert_eq!(watch.receiver.try_recv().unwrap().seq, 2);
        assert!(watch.receiver.try_recv().is_err());
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let log = EventLog::default();
        log.push(note(7));
        let text = serde_json::to_string(&*log.since(0).unwrap()[0]).unwrap();
        assert_eq!(text, r#"{"seq":1,"event":"note","text":"7"}"#);
    }
}
