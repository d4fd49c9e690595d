//! Shares of tables that all members fill.

/// Whether a table of `cap` places, of which `taken` are, has one more for somebody who has `of_one`
/// of them: nobody has more than are free. One that takes all it can leaves half to others, k
/// that do leave one part in k + 1; nobody is held back while less than half is taken (Choudhury and
/// Hahne 1998, "Dynamic queue length thresholds for shared-memory packet switches", with α = 1).
/// Counting is left until it matters.
pub(super) fn has_room(taken: usize, cap: usize, of_one: impl FnOnce() -> usize) -> bool {
    let free = cap.saturating_sub(taken);
    free > 0 && (taken < free || of_one() < free)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some that take what they get, one after the other; what each has and what is left.
    fn fill(greedy: usize, cap: usize) -> (Vec<usize>, usize) {
        let mut has = vec![0; greedy];
        loop {
            let before: usize = has.iter().sum();
            for one in 0..greedy {
                let taken = has.iter().sum();
                if has_room(taken, cap, || has[one]) {
                    has[one] += 1;
                }
            }
            let taken: usize = has.iter().sum();
            if taken == before {
                return (has, cap - taken);
            }
        }
    }

    #[test]
    fn k_that_take_all_they_can_leave_one_part_in_k_and_one() {
        for greedy in 1..40 {
            let (has, free) = fill(greedy, 4_096);
            let part = 4_096 / (greedy + 1);
            assert!(free.abs_diff(part) <= greedy + 1, "{greedy}: {free} of {part}");
            assert!(has.iter().all(|n| n.abs_diff(part) <= greedy + 1), "{greedy}: {has:?}");
        }
    }

    #[test]
    fn a_full_table_and_an_empty_one() {
        assert!(!has_room(8, 8, || 0));
        assert!(!has_room(9, 8, || 0));
        assert!(has_room(7, 8, || 0), "the last place is for somebody who has none");
        assert!(!has_room(7, 8, || 1));
        assert!(has_room(3, 8, || unreachable!("not counted")));
    }
}
