//! Checking one item of another node's result for a batch: what a judge executes when the accuser says
//! where the result is wrong. Items of a batch do not depend on each other, so one step settles what took
//! the whole batch before (the referee of Verde, arXiv 2502.19405, with the items as steps: both results
//! are there byte for byte, so the first difference is found by comparing, without a bisection).

use edge_base::{TaskKind, Verdict};
use edge_embed::Registry;

use crate::{
    EmbeddingPayload, EmbeddingResult, MatchPayload, MatchResult, TaskError, matching, text,
};

/// Whether the item of a result that `byte` of its encoding belongs to is what executing it gives; a
/// result that is none of its batch is false. `byte` is anybody's word: one beyond the end is of the last
/// item.
///
/// # Errors
/// [`TaskError`] when the payload is none, its kind has no items or the item cannot be executed: nothing
/// is said of the result then.
pub(crate) fn check(
    models: &Registry,
    kind: TaskKind,
    payload: &[u8],
    result: &[u8],
    byte: u64,
) -> Result<Verdict, TaskError> {
    match kind {
        TaskKind::Embedding => {
            let EmbeddingPayload { model, texts } = EmbeddingPayload::decode(payload)?;
            let Ok(told) = EmbeddingResult::decode(result) else { return Ok(no_result()) };
            if told.rows().len() != texts.len() {
                return Ok(no_result());
            }
            let at = item_of(result.len(), told.vectors.len(), told.dim, byte);
            let Some(own) = texts.get(at) else { return Ok(no_result()) };
            let one = EmbeddingPayload { model, texts: vec![own.clone()] };
            let truth = text::embed(models, &one.encode())?;
            let same =
                truth.dim == told.dim && told.rows().nth(at).is_some_and(equals(&truth.vectors));
            Ok(verdict(same, at))
        }
        TaskKind::SemanticMatch => {
            let mut batch = MatchPayload::decode(payload)?;
            let Ok(told) = MatchResult::decode(result) else { return Ok(no_result()) };
            if told.rows().len() != batch.texts.len() {
                return Ok(no_result());
            }
            let at = item_of(result.len(), told.similarities.len(), told.labels, byte);
            let Some(own) = batch.texts.get(at).cloned() else { return Ok(no_result()) };
            batch.texts = vec![own];
            let truth = matching::execute(models, &batch.encode())?;
            let same = truth.labels == told.labels
                && equals(&[truth.temperature, truth.threshold])(&[
                    told.temperature,
                    told.threshold,
                ])
                && told.rows().nth(at).is_some_and(equals(&truth.similarities));
            Ok(verdict(same, at))
        }
        TaskKind::VectorInsert
        | TaskKind::VectorSearch
        | TaskKind::Compression
        | TaskKind::Encryption => Err(TaskError::NotPure(kind)),
    }
}

/// Rows are the last of an encoding, four bytes a number.
fn item_of(bytes: usize, numbers: usize, row: u32, byte: u64) -> usize {
    let begins = bytes.saturating_sub(numbers * 4);
    let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(bytes.saturating_sub(1));
    byte.saturating_sub(begins) / (row as usize * 4).max(1)
}

fn equals(truth: &[f32]) -> impl Fn(&[f32]) -> bool + '_ {
    |told| {
        truth.len() == told.len() && truth.iter().zip(told).all(|(a, b)| a.to_bits() == b.to_bits())
    }
}

fn no_result() -> Verdict {
    Verdict::False("it is no result of the batch".into())
}

fn verdict(same: bool, at: usize) -> Verdict {
    if same { Verdict::Holds } else { Verdict::False(format!("item {at} is not so")) }
}

#[cfg(test)]
mod tests {
    use edge_base::{Rng, Work, codec};
    use proptest::prelude::*;

    use super::*;
    use crate::{Example, Executor, default_model};

    fn texts(count: usize, seed: u64) -> Vec<String> {
        (0..count).map(|n| format!("text {n} of the batch {seed}")).collect()
    }

    fn batches(count: usize, seed: u64) -> [(TaskKind, Vec<u8>); 2] {
        let (model, texts) = (default_model(), texts(count, seed));
        let labels = vec!["one label".into(), "another label".into(), "a third".into()];
        let examples = 0..seed as u32 % 14;
        let examples =
            examples.map(|n| Example { label: n % 3, text: format!("like {n}") }).collect();
        let batch = EmbeddingPayload { model, texts: texts.clone() }.encode();
        let question = MatchPayload { model, texts, labels, examples }.encode();
        [(TaskKind::Embedding, batch), (TaskKind::SemanticMatch, question)]
    }

    fn verdict_of(kind: TaskKind, payload: &[u8], result: &[u8], byte: u64) -> Verdict {
        let (payload, result) = (payload.into(), result.into());
        let work = Work::CheckItem { kind, payload, result, byte };
        codec::decode(&Executor::new().execute(&work).unwrap()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The oracle is the whole batch: whatever one byte of a result is changed to, the item of the
        /// first byte that differs is false, and no item of the truth is.
        #[test]
        fn the_first_difference_names_a_false_item(count in 1usize..9, seed: u64, bits in 1u8..) {
            let mut rng = Rng::derive(seed, "item");
            for (kind, payload) in batches(count, seed) {
                let work = Work::Run { kind, payload: payload.as_slice().into() };
                let truth = Executor::new().execute(&work).unwrap();
                let at = rng.below(truth.len() as u64) as usize;
                let mut lie = truth.clone();
                lie[at] ^= bits;
                let found = verdict_of(kind, &payload, &lie, at as u64);
                prop_assert!(matches!(found, Verdict::False(_)), "{kind} at {at} of {}", lie.len());
                prop_assert_eq!(verdict_of(kind, &payload, &truth, at as u64), Verdict::Holds);
                prop_assert_eq!(verdict_of(kind, &payload, &truth, u64::MAX), Verdict::Holds);
                // Another row, as true as any, in its place; one row less; nothing; more.
                let cut = &truth[..truth.len() - 4];
                for none in [cut, &[], &[truth.as_slice(), &[0]].concat()] {
                    prop_assert!(matches!(verdict_of(kind, &payload, none, 0), Verdict::False(_)));
                }
            }
        }

        /// Bytes from anywhere.
        #[test]
        fn nothing_panics(result: Vec<u8>, payload: Vec<u8>, byte: u64) {
            for (kind, batch) in batches(2, 1) {
                let _ = verdict_of(kind, &batch, &result, byte);
                let (payload, result) = (payload.as_slice().into(), result.as_slice().into());
                let work = Work::CheckItem { kind, payload, result, byte };
                let _ = Executor::new().execute(&work);
            }
        }
    }

    #[test]
    fn kinds_without_items_have_none() {
        let (payload, result) = (vec![].into(), vec![].into());
        let work = Work::CheckItem { kind: TaskKind::Compression, payload, result, byte: 0 };
        assert_eq!(Executor::new().execute(&work), Err(TaskError::NotPure(TaskKind::Compression)));
    }
}
