//! Which counters were seen: a sliding window of bits (RFC 4303, section 3.4.3; RFC 6479).

/// How many counters back from the largest are told apart.
pub(super) const WIDTH: u64 = 1_024;
const WORDS: usize = (WIDTH / 64) as usize;

/// The largest counter that was taken, and which of the ones before.
#[derive(Clone, Default)]
pub(super) struct Window {
    /// The counter after the largest taken; zero before the first.
    next: u64,
    /// A ring: counter `c` is bit `c % WIDTH`.
    bits: [u64; WORDS],
}

impl Window {
    /// Whether a counter was not taken yet and is not too far back to tell.
    pub(super) fn is_fresh(&self, counter: u64) -> bool {
        // The last counter has no successor, and nobody sends it.
        if counter >= self.next {
            return counter < u64::MAX;
        }
        self.next - counter <= WIDTH && self.bits[word(counter)] & bit(counter) == 0
    }

    /// Marks a fresh counter as taken.
    pub(super) fn take(&mut self, counter: u64) {
        if counter >= self.next {
            let skipped = counter - self.next;
            if skipped >= WIDTH {
                self.bits = [0; WORDS];
            } else {
                (self.next..counter).for_each(|c| self.bits[word(c)] &= !bit(c));
            }
            self.next = counter.saturating_add(1);
        }
        self.bits[word(counter)] |= bit(counter);
    }
}

fn word(counter: u64) -> usize {
    (counter % WIDTH / 64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set that forgets nothing.
        #[test]
        fn each_counter_is_taken_once_and_only_near_the_largest(
            steps in proptest::collection::vec((0u64..3_000, any::<bool>()), 1..400),
            start in prop_oneof![Just(0u64), Just(u64::MAX - 6_000), any::<u32>().prop_map(u64::from)],
        ) {
            let (mut window, mut taken) = (Window::default(), BTreeSet::new());
            let mut base = start;
            for (offset, moves) in steps {
                let counter = base.saturating_add(offset);
                if moves {
                    base = base.saturating_add(offset / 8);
                }
                let near = taken.last().is_none_or(|last: &u64| {
                    counter > *last || last - counter < WIDTH
                });
                let fresh = near && !taken.contains(&counter) && counter < u64::MAX;
                prop_assert_eq!(window.is_fresh(counter), fresh, "{}", counter);
                if fresh {
                    window.take(counter);
                    taken.insert(counter);
                }
            }
        }
    }
}
