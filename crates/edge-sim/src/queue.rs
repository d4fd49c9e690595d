//! Virtual time: a queue of what will happen, in the order of time and, at equal times, of entry.

use std::{cmp::Ordering, collections::BinaryHeap};

use edge_base::Micros;

/// Global virtual time in microseconds since the start of the run.
pub(crate) type Instant = u64;

struct Entry<E> {
    at: Instant,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    // The heap is a maximum heap: the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What will happen.
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    entered: u64,
    now: Instant,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Queue { heap: BinaryHeap::new(), entered: 0, now: 0 }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn at(&mut self, at: Instant, event: E) {
        let (at, number) = (at.max(self.now), self.entered);
        self.entered += 1;
        self.heap.push(Entry { at, number, event });
    }

    pub(crate) fn after(&mut self, delay: Micros, event: E) {
        self.at(self.now.saturating_add(delay.0), event);
    }

    /// The next event; time moves to it.
    pub(crate) fn pop(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_entry() {
        let mut queue = Queue::new();
        for (at, event) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            queue.at(at, event);
        }
        let mut order = Vec::new();
        while let Some(event) = queue.pop() {
            order.push((queue.now(), event));
        }
        assert_eq!(order, [(1, "a"), (2, "b"), (5, "c"), (5, "d")]);
        queue.at(3, "late");
        queue.pop();
        assert_eq!(queue.now(), 5, "time does not go back");
    }
}
