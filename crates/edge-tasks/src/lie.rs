//! What a lying worker says instead of the truth: the transformer that the demonstration and the
//! simulator put between execution and the network, to see liars caught by the product as it is.
//!
//! It lies about results of tasks (`Run`, `Append`, `Search`), never about checks, and changes
//! nothing else that the node does: the node signs, commits and reveals like any other. Every lie
//! is well formed and plausible; nothing but the value is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use edge_base::{
    Digest, Rng, ShardId, TaskKind, Work, codec,
    shard::{AppendResult, LogBatch, ShardAnswer, ShardQuery},
};

use crate::compression::{CompressionPayload, Operation};
use crate::encryption::{self, EncryptionPayload, REQUEST_BYTES};
use crate::{EmbeddingPayload, EmbeddingResult, MatchPayload, MatchResult};

/// Results that [`Lie::HonestThenSometimes`] gives honestly first.
pub const HONEST_FIRST: u64 = 20;
/// Results that [`Lie::Patient`] gives honestly first: enough to be believed alone where a fifth of all may
/// lie and one wrong result in a thousand is too many (`edge-swarm/src/accept.rs`).
pub const PATIENT_FIRST: u64 = 100;
/// Texts that a wary liar remembers; beyond it some are forgotten.
const TEXTS_SEEN_MAX: usize = 1 << 16;
/// Shards whose last root and query are remembered; beyond it the lowest ids are forgotten.
const SHARDS_MAX: usize = 256;

/// How a liar lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lie {
    /// One bit of one component, score or root is another.
    FlipBit,
    /// The true answer to something else: another text's vector, another query's hits, another
    /// batch's root. The truth until there is another input.
    OtherInput,
    /// The truth [`HONEST_FIRST`] times, then one changed bit in three results of ten.
    HonestThenSometimes,
    /// One changed bit for one input in ten: the same inputs and the same bits that every other liar
    /// of this kind chooses, so that they confirm each other.
    Together,
    /// As [`Lie::Together`], after [`PATIENT_FIRST`] true results.
    Patient,
    /// As [`Lie::Patient`], but never about a text that it was asked before: that one may be a canary.
    Wary,
}

impl Lie {
    /// The kinds of a liar that has no friends.
    pub const ALONE: [Lie; 3] = [Lie::FlipBit, Lie::OtherInput, Lie::HonestThenSometimes];
    /// Every kind.
    pub const ALL: [Lie; 6] = [
        Lie::FlipBit,
        Lie::OtherInput,
        Lie::HonestThenSometimes,
        Lie::Together,
        Lie::Patient,
        Lie::Wary,
    ];

    /// What friends agree on about an input: whether to lie, and how.
    pub fn agreed(input: &Digest) -> Option<u64> {
        let mut rng = Rng::from_seed(Digest::of_value("liars together", input).0);
        rng.chance(1, 10).then(|| rng.next_u64())
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Lie::FlipBit => "flip-bit",
            Lie::OtherInput => "other-input",
            Lie::HonestThenSometimes => "sometimes",
            Lie::Together => "together",
            Lie::Patient => "patient",
            Lie::Wary => "wary",
        }
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a lie: the caller's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a kind of lie: use flip-bit, other-input, sometimes, together, patient or wary")]
pub struct UnknownLie;

impl FromStr for Lie {
    type Err = UnknownLie;

    fn from_str(text: &str) -> Result<Self, UnknownLie> {
        Lie::ALL.into_iter().find(|lie| lie.name() == text).ok_or(UnknownLie)
    }
}

/// A liar with its memory. One per node.
#[derive(Clone, Debug)]
pub struct Liar {
    lie: Lie,
    rng: Rng,
    results: u64,
    lies: u64,
    /// Texts that it was asked to embed, and how many there are in the batch it is at.
    seen: BTreeSet<Digest>,
    fresh: Vec<usize>,
    last_texts: Option<Vec<String>>,
    last_vector: Option<Vec<f32>>,
    last_data: Option<Vec<u8>>,
    last_secret: Option<Vec<u8>>,
    last_query: BTreeMap<ShardId, Vec<u8>>,
    last_root: BTreeMap<ShardId, Digest>,
}

/// What to do about one piece of work, decided before it is executed.
#[derive(Clone, Debug)]
pub struct Plan {
    lies: bool,
    /// Executed in place of the work.
    instead: Option<Work>,
    random: u64,
}

impl Liar {
    /// A liar whose choices follow from a seed.
    pub fn new(lie: Lie, seed: u64) -> Self {
        Liar {
            lie,
            rng: Rng::derive(seed, "liar"),
            results: 0,
            lies: 0,
            seen: BTreeSet::new(),
            fresh: Vec::new(),
            last_texts: None,
            last_vector: None,
            last_data: None,
            last_secret: None,
            last_query: BTreeMap::new(),
            last_root: BTreeMap::new(),
        }
    }

    /// How it lies.
    pub fn lie(&self) -> Lie {
        self.lie
    }

    /// Results that were not the truth.
    pub fn lies(&self) -> u64 {
        self.lies
    }

    /// Decides about the next piece of work.
    pub fn plan(&mut self, work: &Work) -> Plan {
        let work = work.inner();
        let told = matches!(work, Work::Run { .. } | Work::Append { .. } | Work::Search { .. });
        let mut random = self.rng.next_u64();
        if !told {
            return Plan { lies: false, instead: None, random };
        }
        self.results += 1;
        let lies = match self.lie {
            Lie::FlipBit | Lie::OtherInput => true,
            Lie::HonestThenSometimes => {
                let now = self.rng.chance(3, 10);
                self.results > HONEST_FIRST && now
            }
            Lie::Together | Lie::Patient | Lie::Wary => {
                let agreed = payload_of(work).and_then(|input| Lie::agreed(&Digest::of(input)));
                random = agreed.unwrap_or(random);
                let waits = self.lie != Lie::Together && self.results <= PATIENT_FIRST;
                agreed.is_some() && !waits
            }
        };
        if self.lie == Lie::Wary {
            self.remember_texts(work);
        }
        let instead = if self.lie == Lie::OtherInput { self.other(work) } else { None };
        Plan { lies, instead, random }
    }

    /// What to execute: the work, or other work of the same kind whose true answer is the lie.
    /// Only searches, matches, compressions and encryptions are replaced; they change no state.
    pub fn work<'a>(plan: &'a Plan, work: &'a Work) -> &'a Work {
        plan.instead.as_ref().unwrap_or(work)
    }

    /// The answer to give, from the result of what [`Liar::work`] named.
    pub fn tell(&mut self, plan: &Plan, work: &Work, truth: Vec<u8>) -> Vec<u8> {
        let work = work.inner();
        if !plan.lies {
            return truth;
        }
        let told = match (self.lie, work) {
            (Lie::OtherInput, Work::Run { kind: TaskKind::Embedding, .. }) => {
                self.other_vector(&truth, plan.random)
            }
            (Lie::OtherInput, Work::Append { payload }) => self.other_root(&truth, payload),
            // Executed as another input already.
            (Lie::OtherInput, _) => {
                self.lies += u64::from(plan.instead.is_some());
                return truth;
            }
            (Lie::Wary, Work::Run { kind: TaskKind::Embedding, .. }) => {
                self.flip_fresh(&truth, plan.random)
            }
            (
                Lie::FlipBit | Lie::HonestThenSometimes | Lie::Together | Lie::Patient | Lie::Wary,
                _,
            ) => flip(work, &truth, plan.random),
        };
        self.lies += u64::from(told.is_some());
        told.unwrap_or(truth)
    }

    /// Which texts of a batch it was never asked before.
    fn remember_texts(&mut self, work: &Work) {
        self.fresh.clear();
        let Work::Run { kind: TaskKind::Embedding, payload } = work else { return };
        let Ok(batch) = EmbeddingPayload::decode(payload) else { return };
        for (at, text) in batch.texts.iter().enumerate() {
            if self.seen.insert(Digest::of(text.as_bytes())) {
                self.fresh.push(at);
            }
        }
        while self.seen.len() > TEXTS_SEEN_MAX {
            self.seen.pop_first();
        }
    }

    /// The vectors with one bit of one text's changed that it was never asked before.
    fn flip_fresh(&self, truth: &[u8], random: u64) -> Option<Vec<u8>> {
        let mut result: EmbeddingResult = codec::decode(truth).ok()?;
        let row = *self.fresh.get(((random >> 32) as usize).checked_rem(self.fresh.len())?)?;
        let dim = result.dim as usize;
        let place = result.vectors.get_mut(row * dim..(row + 1) * dim)?;
        flip_component(place, random)?;
        Some(codec::encode(&result))
    }

    /// Work of the same kind about an earlier input, and remembers this one.
    fn other(&mut self, work: &Work) -> Option<Work> {
        match work {
            Work::Run { kind: TaskKind::SemanticMatch, payload } => {
                let mut own: MatchPayload = codec::decode(payload).ok()?;
                let last = self.last_texts.replace(own.texts.clone())?;
                if last == own.texts || last.len() != own.texts.len() {
                    return None;
                }
                own.texts = last;
                let payload = codec::encode(&own).into();
                Some(Work::Run { kind: TaskKind::SemanticMatch, payload })
            }
            Work::Search { payload } => {
                let mut own: ShardQuery = codec::decode(payload).ok()?;
                let last = remember(&mut self.last_query, own.shard, own.query.clone())?;
                if last == own.query {
                    return None;
                }
                own.query = last;
                Some(Work::Search { payload: codec::encode(&own).into() })
            }
            Work::Run { kind: TaskKind::Compression, payload } => {
                let mut own = CompressionPayload::decode(payload).ok()?;
                if own.operation == Operation::Decompress {
                    return None;
                }
                let last = self.last_data.replace(own.data.clone())?;
                if last == own.data {
                    return None;
                }
                own.data = last;
                let payload = own.encode().into();
                Some(Work::Run { kind: TaskKind::Compression, payload })
            }
            Work::Run { kind: TaskKind::Encryption, payload } => {
                let mut own = EncryptionPayload::decode(payload).ok()?;
                if own.operation == encryption::Operation::Decrypt {
                    return None;
                }
                let last = self.last_secret.replace(own.data.clone())?;
                if last == own.data {
                    return None;
                }
                own.data = last;
                let payload = own.encode().into();
                Some(Work::Run { kind: TaskKind::Encryption, payload })
            }
            Work::Run { .. }
            | Work::Append { .. }
            | Work::CheckAnswer { .. }
            | Work::CheckItem { .. }
            | Work::Replay { .. }
            | Work::Restore { .. }
            | Work::Drop { .. }
            | Work::Paid { .. } => None,
        }
    }

    /// The vectors with one replaced by that of a text seen before.
    fn other_vector(&mut self, truth: &[u8], random: u64) -> Option<Vec<u8>> {
        let mut result: EmbeddingResult = codec::decode(truth).ok()?;
        let dim = result.dim as usize;
        let row = (random as usize).checked_rem(result.vectors.len().checked_div(dim)?)?;
        let place = result.vectors.get_mut(row * dim..(row + 1) * dim)?;
        let own = place.to_vec();
        let last = self.last_vector.replace(own.clone())?;
        if last.len() != dim || last == own {
            return None;
        }
        place.copy_from_slice(&last);
        Some(codec::encode(&result))
    }

    /// The root that another batch of the shard had.
    fn other_root(&mut self, truth: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
        let batch: LogBatch = codec::decode(payload).ok()?;
        let mut result: AppendResult = codec::decode(truth).ok()?;
        let last = remember(&mut self.last_root, batch.shard, result.root)?;
        if last == result.root {
            return None;
        }
        result.root = last;
        Some(codec::encode(&result))
    }
}

/// What a task's work is about.
pub fn payload_of(work: &Work) -> Option<&[u8]> {
    match work.inner() {
        Work::Run { payload, .. } | Work::Append { payload } | Work::Search { payload } => {
            Some(payload)
        }
        Work::CheckAnswer { .. }
        | Work::CheckItem { .. }
        | Work::Replay { .. }
        | Work::Restore { .. }
        | Work::Drop { .. }
        | Work::Paid { .. } => None,
    }
}

/// Replaces what is known of a shard; the number of shards is bounded.
fn remember<T>(known: &mut BTreeMap<ShardId, T>, shard: ShardId, value: T) -> Option<T> {
    let before = known.insert(shard, value);
    if known.len() > SHARDS_MAX {
        known.pop_first();
    }
    before
}

/// The result with one bit changed; `None` when there is no value to change.
fn flip(work: &Work, truth: &[u8], random: u64) -> Option<Vec<u8>> {
    match work {
        Work::Run { kind: TaskKind::Embedding, .. } => {
            let mut result: EmbeddingResult = codec::decode(truth).ok()?;
            flip_component(&mut result.vectors, random)?;
            Some(codec::encode(&result))
        }
        Work::Run { kind: TaskKind::SemanticMatch, .. } => {
            let mut result: MatchResult = codec::decode(truth).ok()?;
            flip_component(&mut result.similarities, random)?;
            Some(codec::encode(&result))
        }
        Work::Run { kind: TaskKind::Compression, .. } => {
            let mut bytes = truth.to_vec();
            let at = ((random >> 8) as usize).checked_rem(bytes.len())?;
            bytes[at] ^= 1 << (random % 8);
            Some(bytes)
        }
        Work::Run { kind: TaskKind::Encryption, .. } => {
            // Behind what a requester would miss at once.
            let mut bytes = truth.to_vec();
            let rest = bytes.get_mut(REQUEST_BYTES..)?;
            let at = ((random >> 8) as usize).checked_rem(rest.len())?;
            rest[at] ^= 1 << (random % 8);
            Some(bytes)
        }
        Work::Append { .. } => {
            let mut result: AppendResult = codec::decode(truth).ok()?;
            let bit = (random % 256) as usize;
            result.root.0[bit / 8] ^= 1 << (bit % 8);
            Some(codec::encode(&result))
        }
        Work::Search { .. } => {
            let mut answer: ShardAnswer = codec::decode(truth).ok()?;
            let hit = (random >> 8) as usize;
            let hits = answer.hits.len();
            let hit = answer.hits.get_mut(hit.checked_rem(hits)?)?;
            hit.score ^= 1 << (random % 23);
            Some(codec::encode(&answer))
        }
        Work::Run { .. }
        | Work::CheckAnswer { .. }
        | Work::CheckItem { .. }
        | Work::Replay { .. }
        | Work::Restore { .. }
        | Work::Drop { .. }
        | Work::Paid { .. } => None,
    }
}

/// Changes one bit of the fraction of one component, so that the value stays finite.
fn flip_component(values: &mut [f32], random: u64) -> Option<()> {
    let at = ((random >> 8) as usize).checked_rem(values.len())?;
    values[at] = f32::from_bits(values[at].to_bits() ^ (1 << (random % 23)));
    Some(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn embedding(values: &[f32]) -> Vec<u8> {
        codec::encode(&EmbeddingResult { dim: 2, vectors: values.to_vec() })
    }

    fn vectors(bytes: &[u8]) -> Vec<f32> {
        codec::decode::<EmbeddingResult>(bytes).unwrap().vectors
    }

    fn run(kind: TaskKind) -> Work {
        Work::Run { kind, payload: Arc::from([]) }
    }

    /// The answers of a liar that would truly give these.
    fn answers(lie: Lie, work: &Work, truths: &[Vec<u8>]) -> (Vec<Vec<u8>>, u64) {
        let mut liar = Liar::new(lie, 1);
        let told = truths.iter().map(|truth| {
            let plan = liar.plan(work);
            liar.tell(&plan, work, truth.clone())
        });
        (told.collect(), liar.lies())
    }

    #[test]
    fn one_bit_of_one_component_is_another() {
        let truths: Vec<_> = (0..50).map(|n| embedding(&[n as f32, 0.5, -1.0, 2.0])).collect();
        let (told, lies) = answers(Lie::FlipBit, &run(TaskKind::Embedding), &truths);
        assert_eq!(lies, 50);
        for (truth, told) in truths.iter().zip(&told) {
            let changed: Vec<u32> = vectors(truth)
                .iter()
                .zip(vectors(told))
                .map(|(a, b)| (a.to_bits() ^ b.to_bits()).count_ones())
                .collect();
            assert_eq!(changed.iter().sum::<u32>(), 1);
            assert!(vectors(told).iter().all(|v| v.is_finite()));
        }
    }

    #[test]
    fn roots_and_scores_are_changed_too() {
        let root = codec::encode(&AppendResult { seq: 3, root: Digest::of(b"root") });
        let work = Work::Append { payload: Arc::from([]) };
        let (told, _) = answers(Lie::FlipBit, &work, std::slice::from_ref(&root));
        let told: AppendResult = codec::decode(&told[0]).unwrap();
        assert_eq!(told.seq, 3);
        let bits: u32 =
            told.root.0.iter().zip(Digest::of(b"root").0).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(bits, 1);
    }

    #[test]
    fn the_first_vector_is_true_and_the_next_is_the_one_before() {
        let truths = [embedding(&[1.0, 2.0]), embedding(&[3.0, 4.0]), embedding(&[3.0, 4.0])];
        let (told, lies) = answers(Lie::OtherInput, &run(TaskKind::Embedding), &truths);
        assert_eq!(told, [truths[0].clone(), truths[0].clone(), truths[1].clone()]);
        assert_eq!(lies, 1, "the same text twice leaves nothing else to say");
    }

    #[test]
    fn another_batchs_root() {
        let batch = |seq| LogBatch {
            shard: ShardId::default(),
            layout: Vec::new(),
            seq,
            prev: Digest::default(),
            entries: Vec::new(),
            bodies: Vec::new(),
        };
        let root = |n: u8| Digest::of(&[n]);
        let mut liar = Liar::new(Lie::OtherInput, 1);
        let mut tell = |seq: u64| {
            let work = Work::Append { payload: codec::encode(&batch(seq)).into() };
            let plan = liar.plan(&work);
            assert_eq!(Liar::work(&plan, &work), &work, "a batch is applied as it is");
            let truth = codec::encode(&AppendResult { seq, root: root(seq as u8) });
            codec::decode::<AppendResult>(&liar.tell(&plan, &work, truth)).unwrap()
        };
        assert_eq!(tell(1), AppendResult { seq: 1, root: root(1) });
        assert_eq!(tell(2), AppendResult { seq: 2, root: root(1) });
        assert_eq!(tell(3), AppendResult { seq: 3, root: root(2) });
    }

    #[test]
    fn another_query_is_executed_on_the_same_shard() {
        let mut liar = Liar::new(Lie::OtherInput, 1);
        let query = |query: &[u8], k| ShardQuery {
            shard: ShardId::default(),
            seq_min: 5,
            k,
            query: query.to_vec(),
        };
        let work = |q: &ShardQuery| Work::Search { payload: codec::encode(q).into() };
        let first = work(&query(b"first", 1));
        let plan = liar.plan(&first);
        assert_eq!(Liar::work(&plan, &first), &first);
        let second = work(&query(b"second", 2));
        let plan = liar.plan(&second);
        assert_eq!(Liar::work(&plan, &second), &work(&query(b"first", 2)));
        assert_eq!(liar.tell(&plan, &second, b"answer".to_vec()), b"answer");
        assert_eq!(liar.lies(), 1);
    }

    #[test]
    fn honest_twenty_times_then_sometimes() {
        let truths = vec![embedding(&[1.0, 2.0]); 1_020];
        let (told, lies) = answers(Lie::HonestThenSometimes, &run(TaskKind::Embedding), &truths);
        assert_eq!(told[..20], truths[..20]);
        assert!((250..350).contains(&lies), "{lies} of 1,000");
    }

    #[test]
    fn checks_are_honest() {
        let check = Work::CheckAnswer {
            payload: Arc::from([]),
            answer: Arc::from([]),
            root: Digest::default(),
        };
        for lie in Lie::ALL {
            let (told, lies) = answers(lie, &check, &vec![vec![1, 2, 3]; 100]);
            assert_eq!((told, lies), (vec![vec![1, 2, 3]; 100], 0));
            assert_eq!(lie.name().parse(), Ok(lie));
        }
    }
}
