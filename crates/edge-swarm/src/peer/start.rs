//! Founding, joining and starting again from what was stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_base::{Digest, Micros, Rng, SecretKey, ShardId, Timestamp, Verifier, codec};
use edge_ledger::Genesis;

use super::{
    Counters, Peer, Timer,
    answers::Answers,
    audits::Audits,
    bank::Bank,
    checkpoint::Checkpoints,
    claims::Promises,
    coherence::Coherence,
    collections::Shards,
    content::Content,
    decode_stored,
    economy::Economy,
    equivocation::Equivocations,
    escrow::Spending,
    faults::Faults,
    job::Jobs,
    membership::Members,
    offences::Offences,
    outflow::Outflow,
    own_heads::OwnHeads,
    parameters::Wishes,
    recover::{Shelf, aside_key},
    replica::copies_in,
    rotation::Inheritance,
    search::Searches,
    session::Sessions,
    stake::Staking,
    standing::Standing,
    task::Tasks,
    tuning::Tuning,
    uptime::Uptime,
};
use crate::{
    io::{Settings, Table, Write},
    ticket::Ticket,
};

/// A stored row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Everything that was durable when the node stopped, except the log's batches.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Rows by table, in key order.
    pub rows: BTreeMap<Table, Vec<Row>>,
}

impl Stored {
    /// The rows of a table.
    pub fn table(&self, table: Table) -> &[Row] {
        self.rows.get(&table).map_or(&[], Vec::as_slice)
    }

    /// One value.
    pub fn get(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        self.table(table).iter().find(|(k, _)| k == key).map(|(_, v)| v.as_slice())
    }
}

/// Why a peer cannot start from what was stored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nothing says which pool this is: found one or join one first.
    #[error("this data folder belongs to no pool yet")]
    NoPool,
    /// A stored value does not decode.
    #[error("the stored {table} is damaged")]
    Damaged {
        /// The table.
        table: &'static str,
    },
    /// The ledger refuses what was stored.
    #[error("the stored ledger does not add up: {0}")]
    Ledger(String),
}

impl Peer {
    /// What to make durable in an empty store to found a pool.
    pub fn found(genesis: &Genesis) -> Vec<Write> {
        let value = Some(codec::encode(genesis));
        vec![Write { table: Table::Pool, key: b"genesis".to_vec(), value }]
    }

    /// What to make durable in an empty store to join a pool.
    pub fn join(ticket: &Ticket) -> Vec<Write> {
        let value = Some(codec::encode(ticket));
        vec![Write { table: Table::Pool, key: b"ticket".to_vec(), value }]
    }

    /// Whether the node of a store founded its pool or was let in; before, another ticket may take
    /// the place of the first.
    pub fn is_let_in(stored: &Stored) -> bool {
        stored.get(Table::Pool, b"genesis").is_some()
    }

    /// The pool that a store belongs to.
    pub fn pool_of(stored: &Stored) -> Option<Digest> {
        let genesis = stored.get(Table::Pool, b"genesis").and_then(decode_stored::<Genesis>);
        let ticket = || stored.get(Table::Pool, b"ticket").and_then(decode_stored::<Ticket>);
        genesis.map(|g| g.hash()).or_else(|| ticket().map(|t| t.pool))
    }

    /// The shards of which a store says that its node holds copies.
    pub fn copies_in(stored: &Stored) -> BTreeSet<ShardId> {
        copies_in(stored).collect()
    }

    /// Starts a peer from what was stored. `seed` is entropy from the operating system (or the
    /// simulator's seed); nonces and task numbers come from it.
    pub fn new(
        key: SecretKey,
        settings: Settings,
        stored: Stored,
        verifier: Verifier,
        seed: [u8; 32],
        now: Timestamp,
    ) -> Result<Peer, StartError> {
        let pool = Peer::pool_of(&stored).ok_or(StartError::NoPool)?;
        let ticket = stored.get(Table::Pool, b"ticket").and_then(decode_stored::<Ticket>);
        let lives = stored.get(Table::Pool, b"life").and_then(decode_stored::<u64>).unwrap_or(0);
        let life = lives.saturating_add(1).max(settings.life_min);
        let tuner = settings.tuner;
        let mut peer = Peer {
            me: key.node_id(),
            key,
            pool,
            settings,
            verifier,
            rng: Rng::from_seed(seed),
            now,
            started: now,
            isolated: None,
            set_back: Micros(0),
            life,
            outputs: VecDeque::new(),
            wake_given: None,
            timers: BTreeSet::new(),
            timer_kinds: BTreeMap::new(),
            next_id: 0,
            works: BTreeMap::new(),
            loads: BTreeMap::new(),
            ticket,
            members: Members::default(),
            bank: None,
            escrow: Spending::default(),
            content: Content::default(),
            jobs: Jobs::default(),
            tasks: Tasks::default(),
            shards: Shards::default(),
            searches: Searches::default(),
            sessions: Sessions::new(&seed, life, now),
            faults: Faults::default(),
            equivocations: Equivocations::default(),
            answers: Answers::default(),
            promises: Promises::default(),
            coherence: Coherence::default(),
            staking: Staking::default(),
            checkpoints: Checkpoints::default(),
            recovering: None,
            standing: Standing::default(),
            outflow: Outflow::default(),
            own_heads: OwnHeads::default(),
            wishes: Wishes::default(),
            offences: Offences::default(),
            tuning: Tuning::new(tuner),
            audits: Audits::default(),
            uptime: Uptime::default(),
            economy: Economy::restore(&stored, now),
            may_vote: true,
            draining: None,
            rotation: None,
            inherited: Inheritance::default(),
            paused: false,
            counters: Counters::default(),
        };
        peer.persist(Table::Pool, b"life", &life);
        peer.restore_bans(&stored);
        peer.start_tuning();
        let (mut shelf, mut unreadable) = (Shelf::default(), false);
        if let Some(bytes) = stored.get(Table::Pool, b"genesis") {
            let genesis: Genesis =
                decode_stored(bytes).ok_or(StartError::Damaged { table: "pool" })?;
            let restored = Bank::restore(genesis, &stored, &mut peer.verifier)?;
            peer.bank = Some(restored.bank);
            if peer.settings.prunes {
                restored.stale.iter().for_each(|key| peer.forget(Table::Certificates, key));
            }
            shelf = restored.shelf;
            unreadable = restored.unreadable;
        }
        peer.start_economy();
        peer.checkpoints = Checkpoints::restore(&stored, now);
        if unreadable && let Some(bytes) = stored.get(Table::Checkpoints, b"last") {
            peer.checkpoints.forget_chain();
            peer.persist_bytes(Table::Checkpoints, &aside_key(bytes), bytes.to_vec());
            peer.forget(Table::Checkpoints, b"last");
        }
        peer.wishes = Wishes::restore(&stored);
        peer.restore_members(&stored)?;
        peer.restore_revoked(&stored);
        peer.restore_successions(&stored);
        peer.restore_faults(&stored);
        peer.restore_equivocations();
        peer.restore_blame();
        peer.name_heirs();
        peer.restore_rotation(&stored);
        peer.restore_staking();
        peer.restore_jobs(&stored);
        peer.restore_spending(&stored);
        peer.restore_promises(&stored);
        peer.restore_shards(&stored)?;
        peer.restore_coherence(&stored);
        peer.begin_recovery(&stored, shelf);
        peer.after(Micros::from_millis(20), Timer::Advert);
        peer.after(Micros::from_millis(50), Timer::Hello);
        peer.after(Micros::from_millis(200), Timer::Propose);
        // What others sent to the last life may still come.
        peer.standing.overslept(now, Micros(0));
        peer.after(Micros::from_secs(1), Timer::Repair);
        peer.after(Micros::from_millis(500), Timer::Pay);
        Ok(peer)
    }

    /// Called right after [`Peer::new`] when the data folder was copied, restored or repaired: a
    /// witness whose vote log may be incomplete never votes again under its set version.
    pub fn may_vote(&mut self, allowed: bool) {
        self.may_vote = allowed;
    }
}
