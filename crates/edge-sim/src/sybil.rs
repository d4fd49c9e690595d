//! One member that invites a thousand identities of its own.
//!
//! The identities are light: they have keys and no peers. What is sent to them is answered here by the
//! rules, at once and with the best bid. In half of the tasks all that were given the task tell the
//! same lie, which costs nothing; in the other half one computes and all give its answer, which costs
//! one execution at its list price however many are paid for it. What the attacker earns is what its
//! identities are promised, less what it computed, less the stake that it lost.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, Digest, EscrowId, Micros, NodeId, SecretKey, Signed, TaskId, Work};
use edge_ledger::{Assignment, Commit, Reveal, commit_hash};
use edge_swarm::message::{
    Advert, FRAME_GOSSIP, Gossip, MemberRecord, Membership, Message, decode_message, encode_gossip,
    encode_message,
};
use edge_tasks::Executor;

use crate::{outcome::Counted, queue::Instant};

/// An attacker with identities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sybil {
    /// How many.
    pub identities: usize,
    /// What the inviter has at stake, in whole rUv.
    pub stake: u64,
}

/// The identities are made known so many times ...
const TELLINGS: u32 = 2;
/// ... this far apart, and advertise as often for as long as the run lasts: who says nothing is away.
pub(crate) const TELL_EVERY: Micros = Micros::from_secs(5);

struct Job {
    price: u64,
    nonce: [u8; 16],
    answer: Vec<u8>,
    lie: bool,
}

/// A lie that an identity told: who, about which payload, and what.
pub(crate) type Lied = (NodeId, Digest, Digest);

/// The identities of a run.
pub(crate) struct Sybils {
    pub(crate) inviter: u32,
    pub(crate) attack: Sybil,
    keys: BTreeMap<NodeId, SecretKey>,
    pool: Digest,
    executor: Executor,
    /// They lie in every task.
    pub(crate) always: bool,
    told: u32,
    jobs: BTreeMap<(TaskId, NodeId), Job>,
    /// Tasks that were computed, and what that costs.
    computed: BTreeMap<TaskId, u64>,
    lies: Vec<Lied>,
    lies_accepted: BTreeSet<TaskId>,
    assigned: u64,
    assigned_here: u64,
    promised: BTreeMap<(EscrowId, NodeId), u64>,
    said: Vec<(NodeId, u32, Vec<u8>)>,
}

impl Sybils {
    pub(crate) fn new(
        attack: Sybil,
        inviter: u32,
        pool: Digest,
        seed: u64,
        silent: bool,
    ) -> Sybils {
        let key = |n: usize| {
            let secret = Digest::of_value("sybil", &(seed, n as u64)).0;
            match silent {
                true => SecretKey::silent_for_simulation(secret),
                false => SecretKey::from_seed(secret),
            }
        };
        let keys = (0..attack.identities).map(key).map(|key| (key.node_id(), key)).collect();
        Sybils {
            inviter,
            attack,
            keys,
            pool,
            executor: Executor::new(),
            always: false,
            told: 0,
            jobs: BTreeMap::new(),
            computed: BTreeMap::new(),
            lies: Vec::new(),
            lies_accepted: BTreeSet::new(),
            assigned: 0,
            assigned_here: 0,
            promised: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    pub(crate) fn has(&self, node: &NodeId) -> bool {
        self.keys.contains_key(node)
    }

    /// What makes the identities known to everybody, and what they say of themselves.
    pub(crate) fn tell(&mut self, inviter: &SecretKey) -> Vec<Vec<u8>> {
        self.told += 1;
        let mut gossip = Vec::new();
        for (node, key) in &self.keys {
            let addresses = vec!["/memory/nowhere".to_owned()];
            if self.told <= TELLINGS {
                let membership = Membership { node: *node, group: *node };
                let membership = Some(Signed::seal(membership, inviter, &self.pool));
                let record = MemberRecord { membership, node: *node, addresses: addresses.clone() };
                gossip.push(encode_gossip(&Gossip::Member(record)));
            }
            let advert = Advert {
                counter: u64::from(self.told),
                life: 1,
                pins: edge_tasks::pins(),
                works: true,
                load: 0,
                offers: 0,
                addresses,
                set_version: 2,
                frontier: Digest::default(),
                agent: "sybil".into(),
                epoch: 0,
            };
            gossip.push(encode_gossip(&Gossip::Advert(Signed::seal(advert, key, &self.pool))));
        }
        gossip
    }

    /// A frame leaves an honest node for anybody.
    pub(crate) fn on_leaving(&mut self, frame: &[u8]) {
        match decode_message(frame) {
            Ok(Message::Assign { assignment, .. }) => {
                self.assigned += 1;
                self.assigned_here += u64::from(self.has(&assignment.body.worker));
            }
            Ok(Message::Paid(voucher)) => {
                let body = voucher.body;
                if self.has(&body.worker) {
                    let known = self.promised.entry((body.escrow, body.worker)).or_default();
                    *known = (*known).max(body.cumulative.micro());
                }
            }
            _ => {}
        }
    }

    /// A frame arrives at an identity.
    pub(crate) fn receive(&mut self, from: u32, to: NodeId, frame: &[u8]) {
        if frame.get(3) == Some(&FRAME_GOSSIP) {
            return;
        }
        let Ok(message) = decode_message(frame) else { return };
        match message {
            Message::Offer(offer) => {
                let bid = Message::Bid { task: offer.task, load: 0, start_in: Micros(0) };
                self.say(to, from, &bid);
            }
            Message::Assign { assignment, payload: Some(payload), .. } => {
                self.take(from, to, &assignment, payload);
            }
            Message::RevealPlease { task, .. } => self.reveal(from, to, task),
            Message::Over { task, accepted } => {
                let lied = self.jobs.get(&(task, to)).filter(|job| job.lie);
                if lied.is_some_and(|job| accepted == Some(Digest::of(&job.answer))) {
                    self.lies_accepted.insert(task);
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, from: NodeId, to: u32, message: &Message) {
        self.said.push((from, to, encode_message(message)));
    }

    fn take(&mut self, from: u32, to: NodeId, signed: &Signed<Assignment>, payload: Vec<u8>) {
        let body = &signed.body;
        let task = body.task;
        let Some(key) = self.keys.get(&to).cloned() else { return };
        if !self.jobs.contains_key(&(task, to)) {
            let known = self.jobs.iter().find(|((of, _), _)| *of == task);
            // All say what the first one said, who may have said it before they lied always.
            let lie = match known {
                Some((_, job)) => job.lie,
                None => self.always || task.as_bytes()[0].is_multiple_of(2),
            };
            let answer = match (known, lie) {
                (Some((_, job)), _) => job.answer.clone(),
                (None, true) => [b"a lie about ".as_slice(), &body.payload.0].concat(),
                (None, false) => {
                    let work = Work::Run { kind: body.kind, payload: payload.into() };
                    let Ok(answer) = self.executor.execute(&work) else { return };
                    self.computed.insert(task, body.price.micro());
                    answer
                }
            };
            if lie {
                self.lies.push((to, body.payload, Digest::of(&answer)));
            }
            let nonce: [u8; 16] =
                Digest::of_value("nonce", &(task, to)).0[..16].try_into().unwrap_or_default();
            let price = body.price.micro();
            self.jobs.insert((task, to), Job { price, nonce, answer, lie });
        }
        let Some(job) = self.jobs.get(&(task, to)) else { return };
        let hash = commit_hash(&task, &to, &job.nonce, &Digest::of(&job.answer));
        let commit = Signed::seal(Commit { task, worker: to, hash }, &key, &self.pool);
        self.say(to, from, &Message::Accepted { task });
        self.say(to, from, &Message::Committed(commit));
    }

    fn reveal(&mut self, from: u32, to: NodeId, task: TaskId) {
        let (Some(job), Some(key)) = (self.jobs.get(&(task, to)), self.keys.get(&to)) else {
            return;
        };
        let (nonce, digest) = (job.nonce, Digest::of(&job.answer));
        let hash = commit_hash(&task, &to, &nonce, &digest);
        let commit = Signed::seal(Commit { task, worker: to, hash }, key, &self.pool);
        let reveal = Signed::seal(Reveal { task, worker: to, nonce, digest }, key, &self.pool);
        let result = Some(job.answer.clone());
        self.say(to, from, &Message::Revealed { commit, reveal, result });
    }

    /// What identities say: from, to, frame.
    pub(crate) fn said(&mut self) -> Vec<(NodeId, u32, Vec<u8>)> {
        std::mem::take(&mut self.said)
    }

    /// Tasks whose requester took a lie for the truth.
    pub(crate) fn lies_accepted(&self) -> usize {
        self.lies_accepted.len()
    }

    /// Lies since the last time.
    pub(crate) fn lies(&mut self) -> Vec<Lied> {
        std::mem::take(&mut self.lies)
    }

    /// What it came to: `known` identities at the node that knows most, `voices` that a requester hears,
    /// `lost` of the inviter's stake.
    pub(crate) fn verdict(
        &self,
        known: usize,
        voices: usize,
        lost: Credits,
        end: Instant,
    ) -> (Counted, Vec<String>) {
        let paid: u64 = self.promised.values().sum();
        let cost: u64 = self.computed.values().sum();
        let profit = paid as f64 - cost as f64 - lost.micro() as f64;
        let share = self.assigned_here as f64 / self.assigned.max(1) as f64;
        let fair = 1.0 / voices.max(1) as f64;
        // Four standard deviations of as many draws.
        let most = fair + 4.0 * (fair * (1.0 - fair) / self.assigned.max(1) as f64).sqrt();
        let mut found = Vec::new();
        if profit > 0.0 {
            found.push(format!("the inviter of {} made {profit} micro-credits", self.keys.len()));
        }
        if share > most {
            found.push(format!("{share:.3} of the work went to one of {voices} voices"));
        }
        if !self.lies_accepted.is_empty() {
            found.push(format!("{} lies of identities were accepted", self.lies_accepted.len()));
        }
        let asked: u64 = self.jobs.values().map(|job| job.price).sum();
        let counted = Counted::of([
            ("identities", self.keys.len() as f64),
            ("known", known as f64),
            ("voices", voices as f64),
            ("assigned", self.assigned as f64),
            ("assigned_to_identities", self.assigned_here as f64),
            ("asked", asked as f64),
            ("paid", paid as f64),
            ("computed", cost as f64),
            ("stake_lost", lost.micro() as f64),
            ("profit", profit),
            ("lies_accepted", self.lies_accepted.len() as f64),
            ("virtual_s", end as f64 / 1e6),
        ]);
        (counted, found)
    }
}
