//! What this node embeds for itself: questions, and hits that are
//! ranked again. Nobody compares these vectors, so the fast arithmetic will do, and all cores.

use std::{sync::Arc, thread};

use edge_embed::{EmbedError, Model};
use edge_swarm::Refusal;

use super::{Hit, check_text};

/// Of what a search found at least this many hits are ranked again.
pub const RERANKED: u32 = 50;

/// The vectors of texts, in their order.
pub(super) async fn embed(
    model: Arc<dyn Model>,
    texts: Vec<String>,
) -> Result<Vec<Vec<f32>>, Refusal> {
    for text in &texts {
        check_text(text).map_err(|why| Refusal::Invalid(format!("the text: {why}")))?;
    }
    match tokio::task::spawn_blocking(move || on_all_cores(&*model, &texts)).await {
        Ok(Ok(vectors)) => Ok(vectors),
        Ok(Err(error)) => Err(Refusal::Invalid(error.to_string())),
        Err(error) => Err(Refusal::Failed(error.to_string())),
    }
}

fn on_all_cores(model: &dyn Model, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(texts.len()).max(1);
    // Every so manieth text: long and short ones are spread over the threads.
    let part = |first: usize| {
        let texts: Vec<&str> =
            texts.iter().skip(first).step_by(threads).map(String::as_str).collect();
        let mut vectors = Vec::new();
        model.embed_fast(&texts, &mut vectors).map(|()| vectors)
    };
    let parts: Vec<Vec<f32>> = if threads == 1 {
        vec![part(0)?]
    } else {
        thread::scope(|scope| {
            let part = &part;
            let handles: Vec<_> = (0..threads).map(|n| scope.spawn(move || part(n))).collect();
            let join = |handle: thread::ScopedJoinHandle<'_, _>| {
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            handles.into_iter().map(join).collect::<Result<_, _>>()
        })?
    };
    let dim = model.dim().max(1);
    let row = |n: usize| parts[n % threads][n / threads * dim..][..dim].to_vec();
    Ok((0..texts.len()).map(row).collect())
}

/// Orders hits by how near their texts are to the question's for a model: scores are the cosines by that
/// model. Hits without text keep their score and their order, behind the others.
pub(super) async fn rerank(
    model: Arc<dyn Model>,
    question: &str,
    hits: Vec<Hit>,
) -> Result<Vec<Hit>, Refusal> {
    let text = |hit: &Hit| {
        let text = hit.payload.get("text")?.as_str()?;
        check_text(text).is_ok().then(|| text.to_owned())
    };
    let (with, without): (Vec<Hit>, Vec<Hit>) =
        hits.into_iter().partition(|hit| text(hit).is_some());
    let texts = std::iter::once(question.to_owned()).chain(with.iter().filter_map(text)).collect();
    let vectors = embed(model, texts).await?;
    let Some((question, vectors)) = vectors.split_first() else { return Ok(without) };
    let score = |vector: &[f32]| question.iter().zip(vector).fold(0.0, |sum, (a, b)| sum + a * b);
    let mut ranked: Vec<Hit> =
        with.into_iter().zip(vectors).map(|(hit, v)| Hit { score: score(v), ..hit }).collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    ranked.extend(without);
    Ok(ranked)
}

#[cfg(test)]
mod tests {
    use edge_base::{Digest, RecordId};
    use edge_embed::Registry;

    use super::*;

    fn model() -> Arc<dyn Model> {
        Registry::builtin().by_name("default").unwrap().clone()
    }

    #[test]
    fn texts_keep_their_places_on_any_number_of_threads() {
        for count in [1, 2, 7, 60] {
            let texts: Vec<String> = (0..count).map(|n| format!("text number {n}")).collect();
            let vectors = on_all_cores(&*model(), &texts).unwrap();
            for (text, vector) in texts.iter().zip(&vectors) {
                let mut alone = Vec::new();
                model().embed_fast(&[text], &mut alone).unwrap();
                assert_eq!(*vector, alone);
            }
            assert_eq!(vectors.len(), count);
        }
    }

    #[tokio::test]
    async fn hits_are_ordered_by_the_model_and_those_without_text_come_last() {
        let hit = |n: u8, text: Option<&str>| {
            let payload = text.map(|text| ("text".to_owned(), text.into())).into_iter().collect();
            let id = RecordId(Digest([n; 32]));
            Hit { id, key: None, score: f32::from(10 - n), payload }
        };
        let hits = vec![
            hit(1, Some("a recipe for bread")),
            hit(2, None),
            hit(3, Some("renew a certificate of a web server")),
            hit(4, Some("\u{200b}")),
        ];
        let ranked = rerank(model(), "how to renew a TLS certificate", hits).await.unwrap();
        let order: Vec<u8> = ranked.iter().map(|hit| hit.id.0.0[0]).collect();
        assert_eq!(order, [3, 1, 2, 4]);
        assert!(ranked[0].score > ranked[1].score && ranked[0].score <= 1.0 + 1e-6);
        assert_eq!((ranked[2].score, ranked[3].score), (8.0, 6.0));
        assert!(rerank(model(), "nothing", Vec::new()).await.unwrap().is_empty());
        assert!(rerank(model(), " ", Vec::new()).await.is_err());
    }
}
