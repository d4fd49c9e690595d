//! Recall against a scan of everything: plain loops over plain floats, no code of the index.

use std::collections::BTreeSet;

use edge_base::RecordId;

/// How many neighbours count.
pub(crate) const NEIGHBOURS: usize = 10;

/// The share of the true nearest neighbours that answers contain, the query itself left out of both.
///
/// `vectors` holds one row of `dim` for each of `ids`; an answer is the row of its query and the
/// ids that came back, best first. A hit that scores what the last true neighbour scores counts.
pub(crate) fn recall_at_10(
    ids: &[RecordId],
    vectors: &[f32],
    dim: usize,
    answers: &[(usize, Vec<RecordId>)],
) -> Option<f64> {
    if answers.is_empty() {
        return None;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let chunk = answers.len().div_ceil(threads).max(1);
    let work = |answers: &[(usize, Vec<RecordId>)]| -> f64 {
        answers.iter().map(|(row, hits)| one(ids, vectors, dim, *row, hits)).sum()
    };
    let sum: f64 = std::thread::scope(|scope| {
        let parts: Vec<_> =
            answers.chunks(chunk).map(|part| scope.spawn(move || work(part))).collect();
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum()
    });
    Some(sum / answers.len() as f64)
}

fn one(ids: &[RecordId], vectors: &[f32], dim: usize, query: usize, hits: &[RecordId]) -> f64 {
    let row = |i: usize| &vectors[i * dim..(i + 1) * dim];
    let mut scores: Vec<(f32, usize)> = (0..ids.len())
        .filter(|i| *i != query)
        .map(|i| (scalar_dot(row(query), row(i)), i))
        .collect();
    let wanted = NEIGHBOURS.min(scores.len());
    if wanted == 0 {
        return 1.0;
    }
    scores.select_nth_unstable_by(wanted - 1, |a, b| b.0.total_cmp(&a.0));
    let last = scores[wanted - 1].0;
    let good: BTreeSet<RecordId> =
        scores.iter().filter(|(score, _)| *score >= last).map(|(_, i)| ids[*i]).collect();
    let found: BTreeSet<&RecordId> = hits
        .iter()
        .filter(|id| **id != ids[query])
        .take(wanted)
        .filter(|id| good.contains(id))
        .collect();
    found.len() as f64 / wanted as f64
}

fn scalar_dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sum = 0.0;
    for (x, y) in a.iter().zip(b) {
        sum += x * y;
    }
    sum
}

#[cfg(test)]
mod tests {
    use edge_base::Digest;

    use super::*;

    fn id(n: usize) -> RecordId {
        RecordId(Digest::of(&n.to_le_bytes()))
    }

    #[test]
    fn counts_what_is_among_the_nearest() {
        let ids: Vec<RecordId> = (0..50).map(id).collect();
        // On a line: the nearest of 0 are 1, 2, 3 ...
        let vectors: Vec<f32> = (0..50).flat_map(|n| [1.0, -(n as f32)]).collect();
        let row: Vec<f32> = [0.0, 1.0].into();
        let vectors = [row, vectors[2..].to_vec()].concat();
        let all: Vec<RecordId> = (0..=10).map(id).collect();
        assert_eq!(recall_at_10(&ids, &vectors, 2, &[(0, all.clone())]), Some(1.0));
        let half: Vec<RecordId> = [0, 1, 2, 3, 4, 5, 45, 46, 47, 48, 49].map(id).into();
        assert_eq!(recall_at_10(&ids, &vectors, 2, &[(0, half.clone())]), Some(0.5));
        assert_eq!(recall_at_10(&ids, &vectors, 2, &[(0, all), (0, half)]), Some(0.75));
        assert_eq!(recall_at_10(&ids, &vectors, 2, &[]), None);
        // The same neighbour eleven times is one neighbour.
        assert_eq!(recall_at_10(&ids, &vectors, 2, &[(0, vec![id(1); 11])]), Some(0.1));
    }

    #[test]
    fn equal_scores_are_equally_good() {
        let ids: Vec<RecordId> = (0..30).map(id).collect();
        let vectors = [1.0, 0.0].repeat(30);
        let hits: Vec<RecordId> = (19..30).map(id).collect();
        assert_eq!(recall_at_10(&ids, &vectors, 2, &[(3, hits)]), Some(1.0));
    }
}
