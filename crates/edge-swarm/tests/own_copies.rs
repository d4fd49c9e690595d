//! A node alone with the copies of its own collections: held whatever `works` says, and honest
//! about how far they are after a restart. Execution is a stand-in that can be held back.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};

use edge_base::{
    Credits, Digest, Micros, RecordId, SecretKey, Timestamp, Verifier, Work, codec,
    shard::{AppendResult, LogBatch, LogEntry, ShardAnswer, ShardHit, ShardQuery},
};
use edge_ledger::{Genesis, Network};
use edge_swarm::{
    Answer, Command, Input, Output, Peer, Refusal, Settings, Stored, Table,
    command::{Change, ReplicaView, SearchView, ShardView},
};

const PIN: Digest = Digest([9; 32]);

/// One peer with an instant disk.
struct Alone {
    peer: Peer,
    works: bool,
    disk: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>,
    shards: BTreeMap<edge_base::ShardId, (u64, Vec<RecordId>)>,
    /// How many more batches are applied; further ones wait in `held`.
    batches: usize,
    held: VecDeque<Input>,
    inbox: VecDeque<Input>,
    answers: BTreeMap<u64, Result<Answer, Refusal>>,
    calls: u64,
    now: Timestamp,
    wake: Timestamp,
}

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn peer(works: bool, stored: Stored, now: Timestamp) -> Peer {
    let settings = Settings { pins: vec![PIN], shard_pin: PIN, works, ..Settings::default() };
    Peer::new(key(), settings, stored, Verifier::strict(), [7; 32], now).unwrap()
}

fn root(rows: &[RecordId]) -> Digest {
    Digest::of_value("root", &rows)
}

impl Alone {
    fn new(works: bool) -> Self {
        let grant = Credits::from_whole(1_000).unwrap();
        let genesis = Genesis::new(Network::Test, key().node_id(), grant, "test", [0; 32]).unwrap();
        let mut disk: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
        for write in Peer::found(&genesis) {
            disk.entry(write.table).or_default().insert(write.key, write.value.unwrap());
        }
        let now = Timestamp(1);
        let mut alone = Alone {
            peer: peer(works, stored(&disk), now),
            works,
            disk,
            shards: BTreeMap::new(),
            batches: usize::MAX,
            held: VecDeque::new(),
            inbox: VecDeque::new(),
            answers: BTreeMap::new(),
            calls: 0,
            now,
            wake: now,
        };
        alone.settle();
        alone
    }

    /// Starts again with what is on the disk, and applies so many batches at first.
    fn restart(&mut self, works: bool, batches: usize) {
        self.works = works;
        self.peer = peer(works, stored(&self.disk), self.now);
        self.shards.clear();
        self.held.clear();
        self.inbox.clear();
        self.batches = batches;
        self.settle();
    }

    /// Applies all that was held back.
    fn release(&mut self) {
        self.batches = usize::MAX;
        let held = std::mem::take(&mut self.held);
        self.inbox.extend(held);
        self.settle();
    }

    fn execute(&mut self, work: &Work) -> Result<Vec<u8>, String> {
        match work {
            Work::Paid { work, .. } => self.execute(work),
            Work::Append { payload } => {
                let batch: LogBatch = codec::decode(payload).unwrap();
                let (seq, rows) = self.shards.entry(batch.shard).or_default();
                assert_eq!(batch.seq, *seq + 1);
                *seq = batch.seq;
                rows.extend(batch.entries.iter().map(|entry| entry.id));
                Ok(codec::encode(&AppendResult { seq: batch.seq, root: root(rows) }))
            }
            Work::Search { payload } => {
                let query: ShardQuery = codec::decode(payload).unwrap();
                let (seq, rows) = self.shards.get(&query.shard).ok_or("no such shard")?;
                if *seq < query.seq_min {
                    return Err("behind".into());
                }
                let hit =
                    |id: &RecordId| ShardHit { id: *id, score: 7, body: vec![], proof: vec![] };
                Ok(codec::encode(&ShardAnswer {
                    shard: query.shard,
                    seq: *seq,
                    root: root(rows),
                    exact: true,
                    rows_visited: rows.len() as u64,
                    rows: rows.len() as u64,
                    hits: rows.iter().take(query.k as usize).map(hit).collect(),
                }))
            }
            Work::Replay { history, payload } => {
                let history: Vec<Vec<LogEntry>> = codec::decode(history).unwrap();
                let batch: LogBatch = codec::decode(payload).unwrap();
                let rows: Vec<RecordId> =
                    history.iter().flatten().chain(&batch.entries).map(|entry| entry.id).collect();
                Ok(codec::encode(&AppendResult { seq: batch.seq, root: root(&rows) }))
            }
            _ => Ok(vec![]),
        }
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.peer.poll() {
                self.output(output);
            }
            let Some(input) = self.inbox.pop_front() else { return };
            self.peer.handle(self.now, input);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Persist(write) => {
                let table = self.disk.entry(write.table).or_default();
                match write.value {
                    Some(value) => table.insert(write.key, value),
                    None => table.remove(&write.key),
                };
            }
            Output::Execute { work, what, .. } => {
                let outcome = self.execute(&what);
                let done = Input::Executed { work, outcome };
                match what {
                    Work::Append { .. } if self.batches == 0 => self.held.push_back(done),
                    Work::Append { .. } => {
                        self.batches -= 1;
                        self.inbox.push_back(done);
                    }
                    _ => self.inbox.push_back(done),
                }
            }
            Output::Load { load, table, key } => {
                let value = self.disk.get(&table).and_then(|t| t.get(&key)).cloned();
                self.inbox.push_back(Input::Loaded { load, value });
            }
            Output::Answer { call, answer } => {
                self.answers.insert(call, answer);
            }
            Output::WakeAt(at) => self.wake = at,
            _ => {}
        }
    }

    /// The answer, and how long it took.
    fn ask(&mut self, command: Command) -> (Result<Answer, Refusal>, Micros) {
        let (asked, call) = (self.now, self.calls);
        self.calls += 1;
        self.inbox.push_back(Input::Command { call, command });
        for _ in 0..20_000 {
            self.settle();
            if let Some(answer) = self.answers.remove(&call) {
                return (answer, self.now.since(asked));
            }
            self.now = self.wake.max(self.now + Micros(1));
            self.inbox.push_back(Input::Tick);
        }
        panic!("no answer");
    }

    fn fill(&mut self, batches: u8) {
        let name = String::from("docs");
        let create = Command::CreateCollection { name: name.clone(), layout: vec![] };
        self.ask(create).0.unwrap();
        for i in 0..batches {
            let entry = LogEntry { id: RecordId(Digest([i; 32])), record: Some(Digest::of(&[i])) };
            let changes = vec![Change { entry, body: vec![i] }];
            let append = Command::Append { collection: name.clone(), changes, units: 10 };
            let appended = self.ask(append).0;
            assert!(matches!(appended, Ok(Answer::Appended { .. })), "{appended:?}");
        }
    }

    fn search(&mut self) -> (Result<SearchView, Refusal>, Micros) {
        let (answer, took) = self.ask(Command::Search {
            collection: "docs".into(),
            k: 5,
            query: vec![],
            units: 10,
            remaining: Micros::from_secs(30),
        });
        let view = answer.map(|answer| match answer {
            Answer::Found(view) => view,
            other => panic!("{other:?}"),
        });
        (view, took)
    }

    fn shard(&mut self) -> ShardView {
        match self.ask(Command::ListCollections).0 {
            Ok(Answer::Collections(views)) => views[0].shards[0].clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn stored(disk: &BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>) -> Stored {
    let mut stored = Stored::default();
    for (table, rows) in disk.iter().filter(|(table, _)| **table != Table::Log) {
        let rows = rows.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        stored.rows.insert(*table, rows);
    }
    stored
}

fn seqs(shard: &ShardView) -> Vec<u64> {
    shard.replicas.iter().map(|ReplicaView { seq, .. }| *seq).collect()
}

#[test]
fn an_owner_that_does_not_work_for_others_holds_and_searches_what_it_stored() {
    let mut alone = Alone::new(false);
    alone.fill(6);
    let (view, took) = alone.search();
    assert_eq!(view.unwrap().hits.len(), 5);
    assert!(took < Micros::from_secs(1), "{took:?}");
    assert_eq!(seqs(&alone.shard()), [6]);
    for works in [true, false] {
        alone.restart(works, usize::MAX);
        assert_eq!(alone.search().0.unwrap().hits.len(), 5, "works: {works}");
    }
}

#[test]
fn while_the_index_is_built_again_views_and_searches_say_how_far_it_is() {
    let mut alone = Alone::new(true);
    alone.fill(6);
    alone.restart(true, 2);
    let shard = alone.shard();
    assert_eq!((seqs(&shard), shard.seq), (vec![2], 6));
    let (refusal, took) = alone.search();
    let Err(Refusal::TimedOut(text)) = refusal else { panic!("{refusal:?}") };
    assert!(text.contains("is being rebuilt here, 2 of 6 batches: try again;"), "{text}");
    assert!(took < Micros::from_secs(8), "{took:?}");
    alone.release();
    let (view, took) = alone.search();
    assert_eq!(view.unwrap().hits.len(), 5);
    assert!(took < Micros::from_secs(1), "{took:?}");
    assert_eq!(seqs(&alone.shard()), [6]);
}

#[test]
fn a_search_that_waits_for_its_copy_is_answered_when_the_copy_caught_up() {
    let mut alone = Alone::new(true);
    alone.fill(6);
    alone.restart(true, 2);
    let call = 1_000_000;
    let command = Command::Search {
        collection: "docs".into(),
        k: 5,
        query: vec![],
        units: 10,
        remaining: Micros::from_secs(30),
    };
    alone.inbox.push_back(Input::Command { call, command });
    alone.settle();
    assert!(!alone.answers.contains_key(&call), "the copy is behind");
    alone.release();
    alone.ask(Command::Status).0.unwrap();
    for _ in 0..100 {
        alone.now = alone.wake.max(alone.now + Micros(1));
        alone.inbox.push_back(Input::Tick);
        alone.settle();
    }
    let Some(Ok(Answer::Found(view))) = alone.answers.remove(&call) else { panic!("no answer") };
    assert_eq!(view.hits.len(), 5);
}
