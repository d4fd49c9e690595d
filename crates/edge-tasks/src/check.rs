//! Checking another node's answer to a search, from the query, the answer and the root alone.

use std::collections::BTreeSet;

use edge_base::shard::{ShardAnswer, ShardHit, score_key};
use edge_base::{Digest, Verdict};
use edge_index::{MerkleProof, PROOF_STEPS_MAX, score};

use crate::query::Search;
use crate::{ANSWER_BYTES_MAX, RecordBody, bounded};

/// The most bytes of an encoded proof: 33 a step, the leaf where it ends, the count.
const PROOF_BYTES_MAX: usize = PROOF_STEPS_MAX * 33 + 80;

/// Whether every statement of an answer holds. A neighbour that an `ann` answer misses is no statement.
pub(crate) fn answer(search: &Search, answer: &[u8], root: &Digest) -> Verdict {
    match find_false(search, answer, root) {
        Ok(()) => Verdict::Holds,
        Err(statement) => Verdict::False(statement),
    }
}

/// The first statement that is false.
fn find_false(search: &Search, bytes: &[u8], root: &Digest) -> Result<(), String> {
    let answer: ShardAnswer =
        bounded::decode("answer", bytes, ANSWER_BYTES_MAX).map_err(|error| error.to_string())?;
    let ask = &search.ask;
    if answer.shard != ask.shard {
        return Err(format!("shard {} answers for shard {}", answer.shard, ask.shard));
    }
    if answer.root != *root {
        return Err(format!("root {} at {} is not {root}", answer.root, answer.seq));
    }
    if answer.seq < ask.seq_min {
        return Err(format!("position {} is before {}", answer.seq, ask.seq_min));
    }
    check_counts(search, &answer)?;
    let mut ids = BTreeSet::new();
    let mut before: Option<&ShardHit> = None;
    for (at, hit) in answer.hits.iter().enumerate() {
        if !ids.insert(hit.id) {
            return Err(format!("hit {at} repeats record {}", hit.id));
        }
        let ordered = |before: &ShardHit| {
            before.score > hit.score || (before.score == hit.score && before.id < hit.id)
        };
        if !before.is_none_or(ordered) {
            return Err(format!("hit {at} is out of order"));
        }
        before = Some(hit);
        check_hit(search, hit, answer.rows, root).map_err(|why| format!("hit {at}: {why}"))?;
    }
    Ok(())
}

fn check_counts(search: &Search, answer: &ShardAnswer) -> Result<(), String> {
    let (hits, k) = (answer.hits.len() as u64, u64::from(search.ask.k));
    let most = k.min(answer.rows);
    if hits > most {
        return Err(format!("{hits} hits where {most} are possible"));
    }
    if answer.rows_visited > answer.rows {
        return Err(format!("visited {} of {} rows", answer.rows_visited, answer.rows));
    }
    if answer.rows_visited < hits {
        return Err(format!("{hits} hits after {} rows", answer.rows_visited));
    }
    // How many rows pass a filter is no statement of the answer.
    if answer.exact && search.filter.is_none() {
        if hits != most {
            return Err(format!("{hits} hits where an exact answer has {most}"));
        }
        if answer.rows_visited != answer.rows {
            let (visited, rows) = (answer.rows_visited, answer.rows);
            return Err(format!("an exact answer from {visited} of {rows} rows"));
        }
    }
    Ok(())
}

fn check_hit(search: &Search, hit: &ShardHit, rows: u64, root: &Digest) -> Result<(), String> {
    let body = RecordBody::decode(&hit.body).map_err(|error| error.to_string())?;
    let proof: MerkleProof =
        bounded::decode("proof", &hit.proof, PROOF_BYTES_MAX).map_err(|error| error.to_string())?;
    if !proof.verify(root, &hit.id, Some(&body.hash(&hit.id))) {
        return Err("the record is not under the root".into());
    }
    // Each step of a proof has at least one other record beside it.
    if proof.depth() as u64 >= rows {
        return Err(format!("a proof of {} steps among {rows} rows", proof.depth()));
    }
    let truth = score(search.query.metric, &search.query.vector, &body.vector);
    if !truth.is_finite() || score_key(truth.to_bits()) != hit.score {
        return Err(format!("the score is not {truth}"));
    }
    if search.filter.as_ref().is_some_and(|filter| !filter.matches(&body.payload)) {
        return Err("the record does not pass the filter".into());
    }
    Ok(())
}
