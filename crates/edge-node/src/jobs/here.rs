//! What this node embeds for itself: questions, and hits that are
//! ranked again. Nobody compares these vectors, so the fast arithmetic will do, and all cores.

use std::sync::Arc;

use edge_embed::{EmbedError, Model};
use edge_kernels::backend::{Backend, map};
use edge_swarm::Refusal;

use super::{Hit, check_text};
use crate::threads::all_cores;

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
    match tokio::task::spawn_blocking(move || embed_on(all_cores(), &*model, &texts)).await {
        Ok(Ok(vectors)) => Ok(vectors),
        Ok(Err(error)) => Err(Refusal::Invalid(error.to_string())),
        Err(error) => Err(Refusal::Failed(error.to_string())),
    }
}

/// In parts of a few texts of about one length each, the longest first.
fn embed_on(
    backend: &dyn Backend,
    model: &dyn Model,
    texts: &[String],
) -> Result<Vec<Vec<f32>>, EmbedError> {
    const PART: usize = 4;
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse(texts[*n].len()));
    let parts: Vec<&[usize]> = order.chunks(PART).collect();
    let embedded = map(backend, parts.len(), |part| {
        let texts: Vec<&str> = parts[part].iter().map(|n| texts[*n].as_str()).collect();
        let mut vectors = Vec::new();
        model.embed_fast(&texts, &mut vectors).map(|()| vectors)
    });
    let mut out = vec![Vec::new(); texts.len()];
    for (part, vectors) in parts.iter().zip(embedded) {
        for (n, vector) in part.iter().zip(vectors?.chunks_exact(model.dim().max(1))) {
            out[*n] = vector.to_vec();
        }
    }
    Ok(out)
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
    use edge_kernels::backend::Serial;

    use super::*;

    fn model() -> Arc<dyn Model> {
        Registry::builtin().by_name("default").unwrap().clone()
    }

    #[test]
    fn texts_keep_their_places_on_every_backend() {
        for count in [1, 2, 7, 60] {
            let texts: Vec<String> = (0..count).map(|n| "text ".repeat(n % 9) + "number").collect();
            let vectors = embed_on(all_cores(), &*model(), &texts).unwrap();
            assert_eq!(vectors, embed_on(&Serial, &*model(), &texts).unwrap());
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
