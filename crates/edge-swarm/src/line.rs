//! The line in front of a peer: everybody's turn comes as often as anybody else's.
//!
//! A peer handles one input after the other. In one line for all, who sends a hundred times as much as
//! others makes them wait behind it until its budget is spent and it is banned. Here each sender has a
//! queue of its own, and the queues take turns (Nagle 1985, "On packet switches with infinite storage",
//! RFC 970). When there is no room, the newest of the longest queue goes (McKenney 1990, "Stochastic
//! fairness queueing"): who fills the line loses what it sends, and nobody else. What one sender sends
//! stays in order.

use std::collections::{BTreeMap, VecDeque};

use edge_base::NodeId;

use crate::io::Input;

/// What an item takes besides its bytes.
const ITEM_BYTES: usize = 1_024;

/// A queue for each sender `K`, which take turns.
#[derive(Debug)]
pub struct Line<K, T> {
    queues: BTreeMap<K, Queue<T>>,
    turns: VecDeque<K>,
    items: usize,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<Waiting<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    /// 0: it may not be lost.
    bytes: usize,
    item: T,
}

impl<K: Ord + Copy, T> Line<K, T> {
    /// An empty line for so many bytes, of which each item takes 1,024 more than it has.
    pub fn new(bytes_max: usize) -> Self {
        let (queues, turns) = (BTreeMap::new(), VecDeque::new());
        Line { queues, turns, items: 0, bytes: 0, bytes_max }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.items
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Something of so many bytes waits; returns what is lost for it. Takes logarithmic time in the
    /// number of senders, and goes through them for what is lost.
    #[must_use]
    pub fn push(&mut self, from: K, bytes: usize, item: T) -> Vec<T> {
        self.put(from, bytes.saturating_add(ITEM_BYTES), item);
        let mut lost = Vec::new();
        while self.bytes > self.bytes_max {
            lost.extend(self.lose());
        }
        lost
    }

    /// Something that may not be lost waits.
    pub fn push_kept(&mut self, from: K, item: T) {
        self.put(from, 0, item);
    }

    fn put(&mut self, from: K, bytes: usize, item: T) {
        let queue = self.queues.entry(from).or_insert_with(|| {
            self.turns.push_back(from);
            Queue { items: VecDeque::new(), bytes: 0 }
        });
        queue.items.push_back(Waiting { bytes, item });
        queue.bytes += bytes;
        self.bytes += bytes;
        self.items += 1;
    }

    /// The next item: of the sender whose turn is the longest ago.
    pub fn pop(&mut self) -> Option<T> {
        let from = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&from)?;
        let next = queue.items.pop_front()?;
        queue.bytes -= next.bytes;
        if queue.items.is_empty() {
            self.queues.remove(&from);
        } else {
            self.turns.push_back(from);
        }
        self.bytes -= next.bytes;
        self.items -= 1;
        Some(next.item)
    }

    /// Takes out the newest item of the longest queue that may be lost.
    fn lose(&mut self) -> Option<T> {
        let (from, queue) = self.queues.iter_mut().max_by_key(|(_, queue)| queue.bytes)?;
        let from = *from;
        let newest = queue.items.iter().rposition(|waiting| waiting.bytes > 0)?;
        let lost = queue.items.remove(newest)?;
        queue.bytes -= lost.bytes;
        if queue.items.is_empty() {
            self.queues.remove(&from);
            self.turns.retain(|turn| *turn != from);
        }
        self.bytes -= lost.bytes;
        self.items -= 1;
        Some(lost.item)
    }
}

impl Line<Option<NodeId>, Input> {
    /// An input waits in the queue of who sent it, or of this node itself; returns the frames that are lost
    /// for it.
    #[must_use]
    pub fn take(&mut self, input: Input) -> Vec<Input> {
        match &input {
            Input::Frame { from, bytes } | Input::Published { from, bytes, .. } => {
                self.push(Some(*from), bytes.len(), input)
            }
            Input::Connected { node } | Input::Disconnected { node } => {
                self.push_kept(Some(*node), input);
                Vec::new()
            }
            _ => {
                self.push_kept(None, input);
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Rng;

    use super::*;

    #[test]
    fn who_sends_much_holds_nobody_up() {
        let mut line = Line::new(1 << 30);
        for n in 0..1_000 {
            assert!(line.push("loud", 10, ("loud", n)).is_empty());
        }
        assert!(line.push("calm", 10, ("calm", 0)).is_empty());
        assert!(line.push("calm", 10, ("calm", 1)).is_empty());
        let order: Vec<_> = std::iter::from_fn(|| line.pop()).collect();
        assert_eq!(order[..4], [("loud", 0), ("calm", 0), ("loud", 1), ("calm", 1)]);
        assert_eq!(order.len(), 1_002);
        assert!(line.is_empty() && line.queues.is_empty() && line.turns.is_empty());
    }

    #[test]
    fn who_fills_the_line_loses_what_it_sends() {
        let mut line = Line::new(10 * (ITEM_BYTES + 100));
        line.push_kept(1, "connected");
        for _ in 0..4 {
            assert!(line.push(1, 100, "calm").is_empty());
        }
        for n in 0..20 {
            let lost = line.push(2, 100, "loud");
            assert_eq!(lost.len(), usize::from(n >= 6), "{n}");
            assert!(lost.iter().all(|item| *item == "loud"));
        }
        assert_eq!(line.push(1, 100, "calm"), ["loud"], "not its own: it has fewer");
        assert_eq!(line.len(), 11);
        let lost = line.push(3, 1 << 40, "huge");
        assert_eq!(lost, ["huge"], "longer than the whole line");
    }

    /// Against lists that are searched: every sender's items come in order, turns go round, and nothing is
    /// lost while there is room.
    #[test]
    fn turns_go_round() {
        let mut rng = Rng::from_seed([3; 32]);
        for _ in 0..200 {
            let mut line = Line::new(usize::MAX);
            let mut model: Vec<(u64, Vec<u64>)> = Vec::new();
            for n in 0..300 {
                if rng.below(2) == 0 {
                    let from = rng.below(6);
                    assert!(line.push(from, 1, (from, n)).is_empty());
                    match model.iter_mut().find(|(sender, _)| *sender == from) {
                        Some((_, items)) => items.push(n),
                        None => model.push((from, vec![n])),
                    }
                } else {
                    let expected = (!model.is_empty()).then(|| {
                        let (from, mut items) = model.remove(0);
                        let first = items.remove(0);
                        if !items.is_empty() {
                            model.push((from, items));
                        }
                        (from, first)
                    });
                    assert_eq!(line.pop(), expected);
                }
                assert_eq!(line.len(), model.iter().map(|(_, items)| items.len()).sum::<usize>());
            }
        }
    }
}
