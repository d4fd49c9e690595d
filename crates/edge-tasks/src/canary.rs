//! Canaries: texts whose vectors are known, put among the texts of an embedding batch at places its
//! worker cannot tell (L. Sarmenta 2002, spot-checking; P. Golle and I. Mironov, "Uncheatable
//! distributed computations", 2001, ringers), recycled from results that more than their own worker
//! vouched for. Of `r` items that a worker gives wrong values, all are missed by a share `c` of
//! canaries with probability `(1 - c)^r`.
//!
//! A wrong canary proves nothing by itself: it has the batch executed again, and the digest of the
//! result is what a fault proof is about, as ever (`edge_swarm::command::Canaries`).
//!
//! Who saw a text before may guess that it is one, so each is used [`USES_MAX`] times at most.

use edge_base::{Digest, Rng, codec};

use crate::{
    EmbeddingPayload, EmbeddingResult,
    text::{TEXT_BYTES_SUM_MAX, TEXTS_MAX},
};

/// The most known texts; beyond it a random one makes room.
pub const CANARIES_MAX: usize = 1_024;
/// Longer texts are not kept: a canary shall cost no more than what it is among.
const CANARY_BYTES_MAX: usize = 4 << 10;
/// Of one accepted result so many texts are kept at most.
const LEARNED_MAX: usize = 16;
/// How often a text is used.
pub const USES_MAX: u32 = 3;

/// Texts of accepted results with their vectors.
#[derive(Debug)]
pub struct CanaryStore {
    share: f64,
    rng: Rng,
    kept: Vec<Canary>,
}

#[derive(Clone, Debug)]
struct Canary {
    model: Digest,
    text: String,
    row: Vec<f32>,
    uses: u32,
}

/// A batch with canaries among its texts.
#[derive(Clone, Debug)]
pub struct Mixed {
    /// What is asked for.
    pub payload: EmbeddingPayload,
    /// Which of the texts are canaries, with their vectors, in order.
    known: Vec<(usize, Vec<f32>)>,
}

impl CanaryStore {
    /// An empty store that makes canaries a share of each batch, 0 to .5.
    pub fn new(share: f64, rng: Rng) -> Self {
        CanaryStore { share: share.clamp(0.0, 0.5), rng, kept: Vec::new() }
    }

    /// How many texts it has.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Keeps some texts of a result that others than one worker vouched for. What may not be shown to
    /// everybody must not be given here.
    pub fn learn(&mut self, payload: &EmbeddingPayload, result: &EmbeddingResult) {
        if self.share == 0.0 || result.rows().len() != payload.texts.len() {
            return;
        }
        let mut items: Vec<(&String, &[f32])> = payload.texts.iter().zip(result.rows()).collect();
        self.rng.shuffle(&mut items);
        for (text, row) in items.into_iter().take(LEARNED_MAX) {
            let known = |kept: &Canary| kept.model == payload.model && kept.text == *text;
            if text.len() > CANARY_BYTES_MAX || self.kept.iter().any(known) {
                continue;
            }
            if self.kept.len() >= CANARIES_MAX {
                let at = self.rng.below(self.kept.len() as u64) as usize;
                self.kept.swap_remove(at);
            }
            let (model, text, row) = (payload.model, text.clone(), row.to_vec());
            self.kept.push(Canary { model, text, row, uses: 0 });
        }
    }

    /// Puts canaries among the texts of a batch: so many that they are the store's share of it in the
    /// mean, fewer where it knows fewer or the batch is full. `None` without any.
    pub fn mix(&mut self, batch: &EmbeddingPayload) -> Option<Mixed> {
        let own = batch.texts.len();
        let wanted = own as f64 * self.share / (1.0 - self.share);
        let more = self.rng.chance((wanted.fract() * 1e6) as u64, 1_000_000);
        let wanted = (wanted as usize + usize::from(more)).min(TEXTS_MAX.saturating_sub(own));
        let mut room = batch.texts.iter().map(String::len).sum::<usize>();
        let mut drawn = Vec::new();
        self.rng.shuffle(&mut self.kept);
        for canary in &mut self.kept {
            let fits = canary.model == batch.model
                && room + canary.text.len() <= TEXT_BYTES_SUM_MAX
                && !batch.texts.contains(&canary.text);
            if drawn.len() < wanted && fits {
                room += canary.text.len();
                canary.uses += 1;
                drawn.push(canary.clone());
            }
        }
        self.kept.retain(|canary| canary.uses < USES_MAX);
        if drawn.is_empty() {
            return None;
        }
        let mut places = vec![false; own];
        places.resize(own + drawn.len(), true);
        self.rng.shuffle(&mut places);
        let (mut own, mut drawn) = (batch.texts.iter(), drawn.into_iter());
        let (mut texts, mut known) = (Vec::with_capacity(places.len()), Vec::new());
        for (at, is_canary) in places.into_iter().enumerate() {
            if is_canary && let Some(canary) = drawn.next() {
                known.push((at, canary.row));
                texts.push(canary.text);
            } else if let Some(text) = own.next() {
                texts.push(text.clone());
            }
        }
        Some(Mixed { payload: EmbeddingPayload { model: batch.model, texts }, known })
    }
}

impl Mixed {
    /// A batch as it is.
    pub fn without(payload: EmbeddingPayload) -> Mixed {
        Mixed { payload, known: Vec::new() }
    }

    /// How many of the texts are canaries.
    pub fn canaries(&self) -> usize {
        self.known.len()
    }

    /// Their share of the batch, in millionths.
    pub fn share_ppm(&self) -> u32 {
        (self.known.len() * 1_000_000 / self.payload.texts.len().max(1)) as u32
    }

    /// What is known of the encoded result: where bytes begin, and the bytes.
    pub fn known(&self) -> Vec<(usize, Vec<u8>)> {
        let Some(dim) = self.known.first().map(|(_, row)| row.len()) else { return Vec::new() };
        let numbers = (self.payload.texts.len() * dim) as u64;
        let begins = codec::encode(&(dim as u32, numbers)).len();
        let bytes = |row: &[f32]| row.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.known.iter().map(|(at, row)| (begins + at * dim * 4, bytes(row))).collect()
    }

    /// What was asked for in the first place.
    pub fn own(&self) -> EmbeddingPayload {
        let is_own = |at: &usize| !self.known.iter().any(|(known, _)| known == at);
        let own = self.payload.texts.iter().enumerate().filter(|(at, _)| is_own(at));
        let texts = own.map(|(_, text)| text.clone()).collect();
        EmbeddingPayload { model: self.payload.model, texts }
    }

    /// The result without the canaries: what was asked for in the first place. `None` when it has
    /// not one row for each text.
    pub fn strip(&self, result: &EmbeddingResult) -> Option<EmbeddingResult> {
        if result.rows().len() != self.payload.texts.len() {
            return None;
        }
        let is_own = |at: &usize| !self.known.iter().any(|(known, _)| known == at);
        let own = result.rows().enumerate().filter(|(at, _)| is_own(at));
        let vectors = own.flat_map(|(_, row)| row.iter().copied()).collect();
        Some(EmbeddingResult { dim: result.dim, vectors })
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::Executor;

    fn batch(texts: impl IntoIterator<Item = String>) -> EmbeddingPayload {
        let texts = texts.into_iter().collect();
        EmbeddingPayload { model: crate::default_model(), texts }
    }

    fn embed(payload: &EmbeddingPayload) -> EmbeddingResult {
        let work = edge_base::Work::Run {
            kind: edge_base::TaskKind::Embedding,
            payload: payload.encode().into(),
        };
        EmbeddingResult::decode(&Executor::new().execute(&work).unwrap()).unwrap()
    }

    fn store(share: f64, texts: usize, seed: u64) -> CanaryStore {
        let mut store = CanaryStore::new(share, Rng::derive(seed, "canaries"));
        for chunk in (0..texts).collect::<Vec<_>>().chunks(LEARNED_MAX) {
            let known = batch(chunk.iter().map(|n| format!("a known text number {n}")));
            store.learn(&known, &embed(&known));
        }
        store
    }

    /// Whether a result has what is known of it: what `edge-swarm` asks.
    fn holds(mixed: &Mixed, result: &[u8]) -> bool {
        mixed.known().iter().all(|(at, bytes)| result.get(*at..at + bytes.len()) == Some(bytes))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// The truth passes whatever is mixed, and stripped it is what would have come without.
        #[test]
        fn the_truth_passes_and_comes_back(own in 1usize..40, share in 0.05f64..0.5, seed: u64) {
            let mut store = store(share, 64, seed);
            let asked = batch((0..own).map(|n| format!("text {n} of {seed}")));
            let Some(mixed) = store.mix(&asked) else { return Ok(()) };
            prop_assert_eq!(mixed.payload.texts.len(), own + mixed.canaries());
            let result = embed(&mixed.payload);
            prop_assert!(holds(&mixed, &result.encode()));
            prop_assert_eq!(mixed.strip(&result).unwrap(), embed(&asked));
            prop_assert_eq!(mixed.own(), asked);
            // Any bit of any canary's row is looked at, and none of another row.
            let dim = result.dim as usize;
            for at in 0..mixed.payload.texts.len() {
                let mut lie = result.clone();
                let place = at * dim + (seed as usize ^ at) % dim;
                lie.vectors[place] = f32::from_bits(lie.vectors[place].to_bits() ^ 1);
                let canary = mixed.known.iter().any(|(known, _)| *known == at);
                prop_assert_eq!(holds(&mixed, &lie.encode()), !canary);
            }
        }
    }

    /// The figure of the design: c = .3, r = 16 wrong items escape with (1 - c)^r = .33 %. Here the items
    /// are drawn without replacement, which is a little less; `r` of 1, 4 and 8, too.
    #[test]
    fn lies_escape_as_often_as_the_formula_says() {
        assert!((0.7f64.powi(16) - 0.0033).abs() < 5e-5);
        let mut rng = Rng::derive(7, "liar");
        let asked = batch((0..140).map(|n| format!("text {n}")));
        for (wrong, trials) in [(1, 4_000), (4, 4_000), (8, 4_000), (16, 4_000)] {
            let mut escaped = 0;
            let full = store(0.3, 200, wrong as u64);
            for trial in 0..trials {
                let mut store = CanaryStore { rng: Rng::derive(trial, "mix"), ..clone(&full) };
                let mixed = store.mix(&asked).unwrap();
                assert_eq!((mixed.canaries(), mixed.payload.texts.len()), (60, 200));
                let mut places: Vec<usize> = (0..200).collect();
                rng.shuffle(&mut places);
                let hit = |at: &usize| mixed.known.iter().any(|(known, _)| known == at);
                escaped += u64::from(!places[..wrong].iter().any(hit));
            }
            let share = escaped as f64 / trials as f64;
            let formula = 0.7f64.powi(wrong as i32);
            // Exactly, without replacement.
            let exact: f64 = (0..wrong).map(|i| (140.0 - i as f64) / (200.0 - i as f64)).product();
            let spread = 4.0 * (exact * (1.0 - exact) / trials as f64).sqrt();
            assert!((share - exact).abs() <= spread, "{wrong}: {share}, {exact}, {formula}");
            assert!(exact <= formula);
        }
    }

    fn clone(store: &CanaryStore) -> CanaryStore {
        CanaryStore { share: store.share, rng: store.rng.clone(), kept: store.kept.clone() }
    }

    #[test]
    fn each_is_used_a_few_times_and_the_store_is_bounded() {
        let mut few = store(0.5, 16, 1);
        assert_eq!(few.len(), 16);
        let asked = batch((0..16).map(|n| format!("text {n}")));
        for _ in 0..USES_MAX {
            assert_eq!(few.mix(&asked).unwrap().canaries(), 16);
        }
        assert!(few.mix(&asked).is_none() && few.is_empty());
        // Neither another model's texts nor those of the batch itself.
        let mut own = store(0.5, 4, 1);
        assert!(own.mix(&EmbeddingPayload { model: Digest::of(b"m"), ..asked.clone() }).is_none());
        assert!(own.mix(&batch((0..4).map(|n| format!("a known text number {n}")))).is_none());
        let mut full = CanaryStore::new(0.1, Rng::derive(1, "full"));
        let row = EmbeddingResult { dim: 1, vectors: vec![1.0] };
        for n in 0..2 * CANARIES_MAX {
            full.learn(&batch([n.to_string()]), &row);
        }
        assert_eq!(full.len(), CANARIES_MAX);
        full.learn(&batch(["x".repeat(CANARY_BYTES_MAX + 1)]), &row);
        assert!(full.kept.iter().all(|canary| canary.text.len() <= CANARY_BYTES_MAX));
        // Switched off it keeps nothing; at its limits a batch gets no more than it may have.
        assert!(store(0.0, 16, 1).is_empty());
        let whole = batch((0..TEXTS_MAX).map(|n| format!("text {n}")));
        assert!(full.mix(&whole).is_none());
    }
}
