//! Top-k in the canonical order: score descending, then id ascending.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{NonFinite, check_finite};

/// The canonical order of hits: the better one is `Less`. Scores must be finite ([`top_k`] checks);
/// -0 equals +0.
pub fn rank<I: Ord>(a: &(f32, I), b: &(f32, I)) -> Ordering {
    (b.0 + 0.0).total_cmp(&(a.0 + 0.0)).then_with(|| a.1.cmp(&b.1))
}

/// The best `k` of `hits`, best first, by score descending and then id ascending (compare ids as
/// bytes: `&[u8]`, `[u8; 32]`, `String`). The order of `hits` does not matter. Keeps at most `k` in memory.
///
/// ```
/// let hits = vec![(0.5, "b"), (0.9, "c"), (0.5, "a")];
/// assert_eq!(edge_kernels::canon::top_k(hits, 2), Ok(vec![(0.9, "c"), (0.5, "a")]));
/// ```
///
/// # Errors
/// [`NonFinite`] when any score, in the result or not, is NaN or infinite.
pub fn top_k<I: Ord>(
    hits: impl IntoIterator<Item = (f32, I)>,
    k: usize,
) -> Result<Vec<(f32, I)>, NonFinite> {
    let mut best: BinaryHeap<Ranked<I>> = BinaryHeap::new();
    for (score, id) in hits {
        if !score.is_finite() {
            return Err(NonFinite);
        }
        let hit = Ranked((score + 0.0, id));
        if best.len() < k {
            best.push(hit);
        } else if let Some(mut worst) = best.peek_mut()
            && hit < *worst
        {
            *worst = hit;
        }
    }
    Ok(best.into_sorted_vec().into_iter().map(|hit| hit.0).collect())
}

/// [`top_k`] of the scores of a whole scan, each with its position as the id: the best `k`, best first, of
/// equal scores the earlier one. Most scores of a long scan are worse than the worst of the best so far;
/// runs of these are passed over with a comparison each, by whatever vectors the compiler has.
///
/// ```
/// assert_eq!(edge_kernels::canon::top_k_scores(&[0.5, 0.9, 0.5], 2), Ok(vec![(0.9, 1), (0.5, 0)]));
/// ```
///
/// # Errors
/// [`NonFinite`] when any score, in the result or not, is NaN or infinite.
pub fn top_k_scores(scores: &[f32], k: usize) -> Result<Vec<(f32, usize)>, NonFinite> {
    const RUN: usize = 64;
    check_finite(scores)?;
    let mut best: BinaryHeap<Ranked<usize>> = BinaryHeap::with_capacity(k.min(scores.len()));
    for (run, values) in scores.chunks(RUN).enumerate() {
        if best.len() == k {
            let Some(worst) = best.peek() else { break };
            let worst = worst.0.0;
            // An equal score has a greater position and is worse.
            let mut better = false;
            for score in values {
                better |= *score > worst;
            }
            if !better {
                continue;
            }
        }
        for (at, score) in values.iter().enumerate() {
            let hit = Ranked((*score + 0.0, run * RUN + at));
            if best.len() < k {
                best.push(hit);
            } else if let Some(mut worst) = best.peek_mut()
                && hit < *worst
            {
                *worst = hit;
            }
        }
    }
    Ok(best.into_sorted_vec().into_iter().map(|hit| hit.0).collect())
}

/// Orders by [`rank`], so that a max-heap holds the worst hit on top.
struct Ranked<I>((f32, I));

impl<I: Ord> Ord for Ranked<I> {
    fn cmp(&self, other: &Self) -> Ordering {
        rank(&self.0, &other.0)
    }
}

impl<I: Ord> PartialOrd for Ranked<I> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<I: Ord> PartialEq for Ranked<I> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<I: Ord> Eq for Ranked<I> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_smaller_id_and_zero_has_no_sign() {
        let hits = [(0.0, 3), (-0.0, 1), (0.0, 2), (-1.0, 0), (2.0, 9)];
        let top = top_k(hits, 4).expect("finite");
        assert_eq!(top.iter().map(|hit| hit.1).collect::<Vec<_>>(), [9, 1, 2, 3]);
        assert!(top.iter().all(|hit| hit.0.to_bits() != (-0.0f32).to_bits()));
    }

    #[test]
    fn a_scan_gives_the_same_hits_as_any_other_order() {
        let mut random = crate::conformance::SplitMix64(9);
        for len in [0, 1, 63, 64, 65, 1000, 5000] {
            for values in [3, 1 << 20] {
                // Few values, so that positions decide; many; and zeros of both signs.
                let scores: Vec<f32> = (0..len)
                    .map(|_| match random.next_u64() % (2 * values) {
                        0 => -0.0,
                        v => v as f32 - values as f32,
                    })
                    .collect();
                let hits: Vec<_> = scores.iter().copied().zip(0..len).rev().collect();
                for k in [0, 1, 10, 64, len, len + 1] {
                    let want = top_k(hits.clone(), k).expect("finite");
                    let got = top_k_scores(&scores, k).expect("finite");
                    let bits = |hits: Vec<(f32, usize)>| {
                        hits.into_iter().map(|(s, at)| (s.to_bits(), at)).collect::<Vec<_>>()
                    };
                    assert_eq!(bits(got), bits(want), "{len} scores, k {k}");
                }
            }
        }
        assert_eq!(top_k_scores(&[1.0, f32::NAN], 1), Err(NonFinite));
        assert_eq!(top_k_scores(&[f32::INFINITY], 0), Err(NonFinite));
    }

    #[test]
    fn refuses_what_has_no_order() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(top_k([(1.0, 1), (bad, 2)], 1), Err(NonFinite));
        }
        assert_eq!(top_k([(f32::NAN, 1)], 0), Err(NonFinite));
    }

    #[test]
    fn short_inputs_and_zero_k() {
        assert_eq!(top_k([(1.0, 1)], 0), Ok(vec![]));
        assert_eq!(top_k([(1.0, 1)], 5), Ok(vec![(1.0, 1)]));
        assert_eq!(top_k::<u8>([], 5), Ok(vec![]));
    }
}
