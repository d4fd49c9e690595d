//! The queue: one line per urgency, bounded together.

use std::collections::VecDeque;

use edge_base::Work;
use edge_swarm::{Urgency, WorkId};

/// One pick in this many starts with the ordinary line, and one with the background line.
const GUARANTEE: u64 = 8;

/// Work that waits.
pub(super) struct Queue {
    lines: [VecDeque<(WorkId, Work)>; 3],
    pieces: usize,
    pieces_max: usize,
    bytes: u64,
    bytes_max: u64,
    picks: u64,
}

const URGENCIES: [Urgency; 3] = [Urgency::High, Urgency::Normal, Urgency::Background];

impl Queue {
    pub(super) fn new(pieces_max: usize, bytes_max: u64) -> Self {
        let lines = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
        Queue { lines, pieces: 0, pieces_max, bytes: 0, bytes_max, picks: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.pieces
    }

    /// `false` when it does not fit.
    pub(super) fn push(&mut self, id: WorkId, work: Work, urgency: Urgency) -> bool {
        let bytes = size(&work);
        // One piece always fits: a bound on waiting must not make a large task impossible.
        let fits = self.bytes.saturating_add(bytes) <= self.bytes_max || self.pieces == 0;
        if self.pieces >= self.pieces_max || !fits {
            return false;
        }
        self.pieces += 1;
        self.bytes += bytes;
        self.lines[line(urgency)].push_back((id, work));
        true
    }

    pub(super) fn pop(&mut self) -> Option<(WorkId, Work, Urgency)> {
        let order: [usize; 3] = match self.picks % GUARANTEE {
            3 => [1, 0, 2],
            7 => [2, 1, 0],
            _ => [0, 1, 2],
        };
        let line = order.into_iter().find(|line| !self.lines[*line].is_empty())?;
        let (id, work) = self.lines[line].pop_front()?;
        self.picks = self.picks.wrapping_add(1);
        self.pieces -= 1;
        self.bytes -= size(&work);
        Some((id, work, URGENCIES[line]))
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, id: WorkId) -> bool {
        for line in &mut self.lines {
            let found = line.iter().position(|(known, _)| *known == id);
            if let Some((_, work)) = found.and_then(|at| line.remove(at)) {
                self.pieces -= 1;
                self.bytes -= size(&work);
                return true;
            }
        }
        false
    }

    pub(super) fn clear(&mut self) {
        self.lines.iter_mut().for_each(VecDeque::clear);
        (self.pieces, self.bytes) = (0, 0);
    }
}

fn line(urgency: Urgency) -> usize {
    match urgency {
        Urgency::High => 0,
        Urgency::Normal => 1,
        Urgency::Background => 2,
    }
}

fn size(work: &Work) -> u64 {
    let bytes = match work.inner() {
        Work::Run { payload, .. } | Work::Append { payload } | Work::Search { payload } => {
            payload.len()
        }
        Work::CheckAnswer { payload, answer, .. } => payload.len() + answer.len(),
        Work::CheckItem { payload, result, .. } => payload.len() + result.len(),
        Work::Replay { history, payload } => history.len() + payload.len(),
        Work::Restore { .. } | Work::Drop { .. } | Work::Paid { .. } => 0,
    };
    bytes as u64
}
