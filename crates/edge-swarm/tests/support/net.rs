//! A few peers on an instant network with an instant disk: the protocol without faults of the
//! network. Execution is a stand-in (a hash of the payload); `edge-sim` runs the real one.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use edge_base::{
    Credits, Digest, Micros, NodeId, RecordId, SecretKey, TaskKind, Timestamp, UNDERPAID,
    Validation, Verdict, Verifier, Work, codec,
    shard::{AppendResult, LogBatch, LogEntry, ShardAnswer, ShardHit, ShardQuery},
};
use edge_ledger::{Genesis, Network};
use edge_swarm::{
    Answer, Command, Event, Guarded, Input, Output, Peer, Refusal, Settings, Stored, Table, Ticket,
    command::{Canaries, Change, Priority, TaskRequest},
    message::{FaultReport, Gossip, Message, decode_gossip, decode_message},
};

pub(crate) const PIN: Digest = Digest([9; 32]);

/// A shard as the stand-in executes it: records in order, the root is a hash of them.
pub(crate) type Rows = BTreeMap<RecordId, Digest>;

pub(crate) fn root(rows: &Rows) -> Digest {
    Digest::of_value("root", rows)
}

pub(crate) struct Node {
    pub(crate) peer: Option<Peer>,
    pub(crate) key: SecretKey,
    pub(crate) disk: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>,
    pub(crate) shards: BTreeMap<edge_base::ShardId, (u64, Rows)>,
    pub(crate) snapshots: BTreeMap<edge_base::ShardId, (u64, Rows)>,
    /// Batches executed.
    pub(crate) appends: usize,
    /// A snapshot is of another log: the first batch after it does not continue it.
    pub(crate) foreign_snapshot: bool,
    pub(crate) answers: BTreeMap<u64, Result<Answer, Refusal>>,
    pub(crate) events: Vec<Event>,
    pub(crate) lies: bool,
    pub(crate) guarded: Vec<Guarded>,
    /// Payloads of pure tasks that were executed here.
    pub(crate) ran: Vec<Arc<[u8]>>,
    /// Items that were executed alone.
    pub(crate) items: Vec<u64>,
    pub(crate) wake: Timestamp,
    pub(crate) sent_away: usize,
    /// Answers searches without looking: nothing that is false, and no hits.
    pub(crate) lazy: bool,
    /// What comes of a batch of a log that is read.
    pub(crate) reads: fn(Vec<u8>) -> Option<Vec<u8>>,
    /// What every task of another costs, in units.
    pub(crate) cost: u64,
    /// Whom its transport refuses.
    pub(crate) banned: BTreeSet<NodeId>,
    /// What it said of gossip.
    pub(crate) judged: Vec<Validation>,
    /// Writes until its process is killed: the last one is not done.
    pub(crate) writes_left: Option<usize>,
}

impl Node {
    pub(crate) fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for (table, rows) in &self.disk {
            if *table != Table::Log {
                let rows = rows.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                stored.rows.insert(*table, rows);
            }
        }
        stored
    }

    pub(crate) fn execute(&mut self, work: &Work) -> Result<Vec<u8>, String> {
        let lie = |mut bytes: Vec<u8>| {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            bytes
        };
        match work {
            Work::Paid { units, .. } if *units < self.cost => Err(UNDERPAID.to_owned()),
            Work::Paid { work, .. } => self.execute(work),
            Work::Run { payload, .. } => {
                self.ran.push(payload.clone());
                let truth = Digest::of_value("run", &payload[..]).0.to_vec();
                Ok(if self.lies { lie(truth) } else { truth })
            }
            Work::Append { payload } => {
                self.appends += 1;
                let foreign = std::mem::take(&mut self.foreign_snapshot);
                let batch: LogBatch = codec::decode(payload).map_err(|e| e.to_string())?;
                let (seq, rows) = self.shards.entry(batch.shard).or_default();
                if batch.seq != *seq + 1 || foreign {
                    return Err(format!("batch {} after {seq}", batch.seq));
                }
                *seq = batch.seq;
                apply(rows, &batch.entries);
                let result = codec::encode(&AppendResult { seq: batch.seq, root: root(rows) });
                Ok(if self.lies { lie(result) } else { result })
            }
            Work::Search { payload } => {
                let query: ShardQuery = codec::decode(payload).map_err(|e| e.to_string())?;
                let (seq, rows) = self.shards.get(&query.shard).ok_or("no shard")?;
                let most = if self.lazy { 0 } else { query.k as usize };
                let hits = rows
                    .keys()
                    .take(most)
                    .map(|id| ShardHit {
                        id: *id,
                        score: if self.lies { 8 } else { 7 },
                        body: vec![],
                        proof: vec![],
                    })
                    .collect();
                Ok(codec::encode(&ShardAnswer {
                    shard: query.shard,
                    seq: *seq,
                    root: root(rows),
                    exact: true,
                    rows_visited: rows.len() as u64,
                    rows: rows.len() as u64,
                    hits,
                }))
            }
            Work::CheckAnswer { answer, root, .. } => {
                let answer: ShardAnswer = codec::decode(answer).map_err(|e| e.to_string())?;
                let fine = answer.root == *root && answer.hits.iter().all(|h| h.score == 7);
                let verdict =
                    if fine { Verdict::Holds } else { Verdict::False("a wrong score".into()) };
                Ok(codec::encode(&verdict))
            }
            // An item is a byte of the result.
            Work::CheckItem { payload, result, byte, .. } => {
                self.items.push(*byte);
                let truth = Digest::of_value("run", &payload[..]).0;
                let at = *byte as usize;
                let fine = truth.len() == result.len() && truth.get(at) == result.get(at);
                let verdict =
                    if fine { Verdict::Holds } else { Verdict::False("another byte".into()) };
                Ok(codec::encode(&verdict))
            }
            Work::Replay { history, payload } => {
                let history: Vec<Vec<LogEntry>> =
                    codec::decode(history).map_err(|e| e.to_string())?;
                let batch: LogBatch = codec::decode(payload).map_err(|e| e.to_string())?;
                let mut rows = Rows::new();
                history.iter().for_each(|entries| apply(&mut rows, entries));
                apply(&mut rows, &batch.entries);
                Ok(codec::encode(&AppendResult { seq: batch.seq, root: root(&rows) }))
            }
            Work::Restore { shard, seq, .. } => {
                self.shards.remove(shard);
                let found = self.snapshots.get(shard).filter(|(at, _)| at <= seq).cloned();
                let result = found.map(|(seq, rows)| {
                    let root = root(&rows);
                    self.shards.insert(*shard, (seq, rows));
                    AppendResult { seq, root }
                });
                if result.is_none() {
                    self.snapshots.remove(shard);
                }
                Ok(codec::encode(&result))
            }
            Work::Drop { shard } => {
                self.shards.remove(shard);
                Ok(vec![])
            }
        }
    }
}

pub(crate) fn apply(rows: &mut Rows, entries: &[LogEntry]) {
    for entry in entries {
        match entry.record {
            Some(record) => rows.insert(entry.id, record),
            None => rows.remove(&entry.id),
        };
    }
}

pub(crate) enum Parcel {
    Input(usize, Input),
}

pub(crate) struct Net {
    pub(crate) genesis: Genesis,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Timestamp,
    pub(crate) mail: VecDeque<Parcel>,
    pub(crate) next_call: u64,
    /// Offers, and messages in sessions, that get lost from now on.
    pub(crate) lose_offers: usize,
    /// A node that misses what is published from now on.
    pub(crate) deaf: Option<usize>,
    /// A node that stands still: its connections stand, and it hears nothing.
    pub(crate) frozen: Option<usize>,
    /// Who freezes when it is given a task.
    pub(crate) freezes_at_work: Option<usize>,
    /// A transport that is asked to refuse a node has nothing of it to close, and says nothing.
    pub(crate) refuses_silently: bool,
    /// Proofs of two blocks at one place get lost from now on.
    pub(crate) lose_proofs: bool,
    /// Accusations of workers get lost from now on, and are kept here.
    pub(crate) lose_faults: bool,
    pub(crate) lost_faults: Vec<FaultReport>,
    /// How long stake is on its way back, for nodes that start from now on.
    pub(crate) unstake_delay: Option<Micros>,
    pub(crate) checkpoint_every: Micros,
    /// Whether certificates before checkpoints are dropped, for nodes that start from now on.
    pub(crate) prunes: bool,
    /// How often witnesses challenge members to show that they are there, for nodes that start from now
    /// on, and whether they have to.
    pub(crate) call_every: Micros,
    pub(crate) challenges: bool,
    pub(crate) checks_audits: bool,
    pub(crate) roots_take_two: bool,
    /// Whether what one member invited is one voice, for nodes that start from now on.
    pub(crate) weighs_branches: bool,
    /// Whether ledgers are compared by sketches, for nodes that start from now on.
    pub(crate) sketches: bool,
    /// How long contradictions of an owner wait, for nodes that start from now on.
    pub(crate) coherence: Option<edge_coherence::Deadlines>,
    /// Nodes whose frames take this long from now on, in each direction, and those under way.
    pub(crate) far: BTreeMap<usize, Micros>,
    /// Direct messages of this name take this long from now on, and are overtaken.
    pub(crate) late: Option<(&'static str, Micros)>,
    under_way: BTreeMap<(Timestamp, u64), (usize, Input)>,
    posted: u64,
    /// Whether the bids of who was drawn first are waited for, for nodes that start from now on.
    pub(crate) waits_for_bids: bool,
    /// Whether own calls wait for room in others' budgets, for nodes that start from now on.
    pub(crate) paces: bool,
    pub(crate) asks_heads: bool,
    /// Pairs of nodes that do not hear each other from now on.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Frames that get lost, in a million, and by which draw.
    pub(crate) loss: Option<(edge_base::Rng, u64)>,
    /// A witness whose votes get lost from now on.
    pub(crate) withholds: Option<usize>,
    /// Whether senders have budgets, for nodes that start from now on.
    pub(crate) limits: bool,
    /// Whether what is limited to some nodes travels in sessions, for nodes that start from now on.
    pub(crate) keeps_private: bool,
    /// Whether what is delivered is remembered.
    pub(crate) records: bool,
    /// What nodes were sent, told and asked by others.
    pub(crate) delivered: Vec<(usize, Vec<u8>)>,
    /// The same of direct frames, with who sent them: receiver, sender, frame.
    pub(crate) sent: Vec<(usize, NodeId, Vec<u8>)>,
    /// What nodes sent, whether it arrived or not, while what is delivered is remembered: sender, receiver, frame.
    pub(crate) replies: Vec<(usize, NodeId, Vec<u8>)>,
}

impl Net {
    /// A founder alone.
    pub(crate) fn new() -> Self {
        let key = SecretKey::from_seed([1; 32]);
        let grant = Credits::from_whole(1_000_000).unwrap();
        let genesis = Genesis::new(Network::Test, key.node_id(), grant, "test", [0; 32]).unwrap();
        let (now, mail) = (Timestamp(1), VecDeque::new());
        let mut net = Net {
            genesis: genesis.clone(),
            nodes: vec![],
            now,
            mail,
            next_call: 0,
            lose_offers: 0,
            deaf: None,
            frozen: None,
            freezes_at_work: None,
            refuses_silently: false,
            lose_proofs: false,
            unstake_delay: None,
            lose_faults: false,
            lost_faults: vec![],
            checkpoint_every: Settings::default().checkpoint_every,
            prunes: true,
            call_every: Settings::default().call_every,
            challenges: true,
            checks_audits: true,
            roots_take_two: true,
            weighs_branches: true,
            sketches: true,
            coherence: Settings::default().coherence,
            far: BTreeMap::new(),
            late: None,
            under_way: BTreeMap::new(),
            posted: 0,
            waits_for_bids: true,
            paces: true,
            asks_heads: true,
            cut: BTreeSet::new(),
            loss: None,
            withholds: None,
            limits: true,
            keeps_private: true,
            records: false,
            delivered: vec![],
            sent: vec![],
            replies: vec![],
        };
        net.add(key, Peer::found(&genesis));
        net
    }

    /// A founder and three strangers; the node at a place has the key of the next number.
    pub(crate) fn four() -> Net {
        let mut net = Net::new();
        for _ in 0..3 {
            net.join(false);
        }
        net
    }

    /// A founder and four strangers with the collection `docs` of the founder, 30 records in one shard, and who
    /// has copies of that.
    pub(crate) fn with_copies() -> (Net, Vec<NodeId>) {
        let mut net = Net::four();
        net.join(false);
        let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
        net.ask(0, create).unwrap();
        net.append(0, 30).unwrap();
        net.run(Micros::from_secs(10));
        let Ok(Answer::Collections(views)) = net.ask(0, Command::ListCollections) else { panic!() };
        let holders = views[0].shards[0].replicas.iter().map(|replica| replica.node).collect();
        (net, holders)
    }

    /// A founder and three witnesses beside it, under settings that hold from the beginning.
    pub(crate) fn witnessed(set: impl FnOnce(&mut Net)) -> Net {
        let mut net = Net::new();
        set(&mut net);
        net.kill(0);
        net.start(0);
        for _ in 0..3 {
            net.join(false);
        }
        let witnesses = (1..4).map(|i| net.id(i)).collect();
        assert!(matches!(net.ask(0, Command::Handover { witnesses }), Ok(Answer::HandedOver(_))));
        net
    }

    pub(crate) fn status(&mut self, index: usize) -> edge_swarm::command::StatusView {
        match self.ask(index, Command::Status) {
            Ok(Answer::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// What the pool is called.
    pub(crate) fn pool(&mut self) -> Digest {
        self.status(0).pool
    }

    /// Whom a node holds for liars.
    pub(crate) fn named_at(&mut self, index: usize) -> Vec<NodeId> {
        self.status(index).faulty
    }

    pub(crate) fn add(&mut self, key: SecretKey, writes: Vec<edge_swarm::Write>) -> usize {
        let mut disk: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
        for write in writes {
            disk.entry(write.table).or_default().insert(write.key, write.value.unwrap());
        }
        let node = Node {
            peer: None,
            key,
            disk,
            shards: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            appends: 0,
            foreign_snapshot: false,
            answers: BTreeMap::new(),
            events: vec![],
            lies: false,
            guarded: vec![],
            ran: vec![],
            items: vec![],
            wake: Timestamp(u64::MAX),
            sent_away: 0,
            lazy: false,
            reads: Some,
            cost: 0,
            banned: BTreeSet::new(),
            judged: vec![],
            writes_left: None,
        };
        self.nodes.push(node);
        let index = self.nodes.len() - 1;
        self.start(index);
        index
    }

    pub(crate) fn start(&mut self, index: usize) {
        let settings = Settings {
            addresses: vec![format!("/memory/{index}")],
            pins: vec![PIN],
            guarded: self.nodes[index].guarded.clone(),
            shard_pin: PIN,
            shard_rows: 40,
            unstake_delay: self.unstake_delay,
            checkpoint_every: self.checkpoint_every,
            prunes: self.prunes,
            call_every: self.call_every,
            challenges: self.challenges,
            checks_audits: self.checks_audits,
            roots_take_two: self.roots_take_two,
            weighs_branches: self.weighs_branches,
            waits_for_bids: self.waits_for_bids,
            paces: self.paces,
            asks_heads: self.asks_heads,
            sketches: self.sketches,
            coherence: self.coherence,
            limits: self.limits,
            keeps_private: self.keeps_private,
            ..Settings::default()
        };
        let node = &mut self.nodes[index];
        let seed = [index as u8 + 1; 32];
        let peer = Peer::new(
            node.key.clone(),
            settings,
            node.stored(),
            Verifier::strict(),
            seed,
            self.now,
        );
        node.shards.clear();
        node.peer = Some(peer.unwrap());
        self.drain(index);
        for other in 0..self.nodes.len() {
            if other != index && self.nodes[other].peer.is_some() {
                let (a, b) = (self.nodes[index].key.node_id(), self.nodes[other].key.node_id());
                self.input(index, Input::Connected { node: b });
                self.input(other, Input::Connected { node: a });
            }
        }
    }

    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index].peer = None;
        let gone = self.nodes[index].key.node_id();
        for other in 0..self.nodes.len() {
            self.input(other, Input::Disconnected { node: gone });
        }
    }

    pub(crate) fn id(&self, index: usize) -> NodeId {
        self.nodes[index].key.node_id()
    }

    pub(crate) fn index_of(&self, node: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| n.key.node_id() == *node && n.peer.is_some())
    }

    pub(crate) fn input(&mut self, index: usize, input: Input) {
        self.mail.push_back(Parcel::Input(index, input));
    }

    /// Gossip that another node passes on.
    pub(crate) fn publish_to(&mut self, to: usize, gossip: &edge_swarm::message::Gossip) {
        let from = self.id(usize::from(to == 0));
        let bytes = edge_swarm::message::encode_gossip(gossip);
        self.input(to, Input::Published { from, number: 0, bytes });
    }

    fn arrives(&mut self, from: usize, to: usize) -> bool {
        let cut = self.cut.contains(&(from.min(to), from.max(to)));
        let lost = self.loss.as_mut().is_some_and(|(rng, ppm)| rng.below(1_000_000) < *ppm);
        !cut && !lost
    }

    pub(crate) fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].peer.as_mut().and_then(Peer::poll) {
            self.output(index, output);
        }
    }

    pub(crate) fn output(&mut self, index: usize, output: Output) {
        let from = self.nodes[index].key.node_id();
        if let (true, Output::Send { frame, .. } | Output::Publish { frame }) =
            (self.lose_proofs, &output)
            && matches!(decode_gossip(frame), Ok(Gossip::Equivocation(_)))
        {
            return;
        }
        if let (true, Output::Send { frame, .. } | Output::Publish { frame }) =
            (self.lose_faults, &output)
            && let Ok(Gossip::Fault(report)) = decode_gossip(frame)
        {
            return self.lost_faults.push(*report);
        }
        if let (true, Output::Send { frame, .. }) = (self.withholds == Some(index), &output)
            && matches!(decode_message(frame), Ok(Message::Vote(_)))
        {
            return;
        }
        match output {
            Output::Persist(write) => {
                let node = &mut self.nodes[index];
                match &mut node.writes_left {
                    Some(0) => {
                        (node.peer, node.writes_left) = (None, None);
                        return;
                    }
                    Some(left) => *left -= 1,
                    None => {}
                }
                let table = self.nodes[index].disk.entry(write.table).or_default();
                match write.value {
                    Some(value) => table.insert(write.key, value),
                    None => table.remove(&write.key),
                };
            }
            Output::Send { to, frame } => {
                if self.records {
                    self.replies.push((index, to, frame.clone()));
                }
                let message = decode_message(&frame);
                if self.lose_offers > 0
                    && matches!(message, Ok(Message::Offer(_) | Message::Private(_)))
                {
                    self.lose_offers -= 1;
                    return;
                }
                if let Some(to) = self.index_of(&to)
                    && !self.nodes[to].banned.contains(&from)
                    && self.arrives(index, to)
                {
                    let name = edge_swarm::frame::FrameKind::of(&frame).name();
                    let late = self.late.filter(|(late, _)| *late == name).map(|(_, takes)| takes);
                    let input = Input::Frame { from, bytes: frame };
                    let far = late.or(self.far.get(&index).or(self.far.get(&to)).copied());
                    match far {
                        Some(takes) => {
                            self.posted += 1;
                            self.under_way.insert((self.now + takes, self.posted), (to, input));
                        }
                        None => self.input(to, input),
                    }
                }
            }
            Output::Publish { frame } => {
                for other in 0..self.nodes.len() {
                    if other != index
                        && self.nodes[other].peer.is_some()
                        && self.deaf != Some(other)
                        && !self.nodes[other].banned.contains(&from)
                        && self.arrives(index, other)
                    {
                        let (number, bytes) = (0, frame.clone());
                        self.input(other, Input::Published { from, number, bytes });
                    }
                }
            }
            Output::Execute { work, what, .. } => {
                let outcome = self.nodes[index].execute(&what);
                self.input(index, Input::Executed { work, outcome });
            }
            Output::Load { load, table, key } => {
                let mut value =
                    self.nodes[index].disk.get(&table).and_then(|t| t.get(&key)).cloned();
                if table == Table::Log {
                    value = value.and_then(self.nodes[index].reads);
                }
                self.input(index, Input::Loaded { load, value });
            }
            Output::Answer { call, answer } => {
                self.nodes[index].answers.insert(call, answer);
            }
            Output::Event(event) => self.nodes[index].events.push(event),
            Output::WakeAt(at) => self.nodes[index].wake = at,
            Output::Disconnect { node } => {
                self.nodes[index].sent_away += 1;
                self.input(index, Input::Disconnected { node });
            }
            Output::Ban { node } => {
                self.nodes[index].banned.insert(node);
                if !self.refuses_silently {
                    self.input(index, Input::Disconnected { node });
                }
            }
            Output::Unban { node } => {
                self.nodes[index].banned.remove(&node);
            }
            Output::Judged { validation, .. } => self.nodes[index].judged.push(validation),
            Output::CancelWork { .. } | Output::Keep { .. } | Output::Admit { .. } => {}
        }
    }

    /// Delivers everything that is under way, without time passing.
    pub(crate) fn settle(&mut self) {
        for _ in 0..200_000 {
            let Some(Parcel::Input(index, input)) = self.mail.pop_front() else { return };
            let now = self.now;
            if let (true, Input::Frame { bytes, .. } | Input::Published { bytes, .. }) =
                (self.records, &input)
            {
                self.delivered.push((index, bytes.clone()));
            }
            if let (true, Input::Frame { from, bytes }) = (self.records, &input) {
                self.sent.push((index, *from, bytes.clone()));
            }
            if self.freezes_at_work == Some(index)
                && let Input::Frame { bytes, .. } = &input
                && matches!(decode_message(bytes), Ok(Message::Assign { .. }))
            {
                (self.freezes_at_work, self.frozen) = (None, Some(index));
            }
            if let Some(peer) = &mut self.nodes[index].peer
                && self.frozen != Some(index)
            {
                peer.handle(now, input);
                self.drain(index);
            }
        }
        panic!("the pool does not come to rest");
    }

    /// Lets time pass, in the steps the peers ask for.
    pub(crate) fn run(&mut self, time: Micros) {
        let end = self.now + time;
        self.settle();
        loop {
            let next = self.nodes.iter().filter(|n| n.peer.is_some()).map(|n| n.wake).min();
            let arrives = self.under_way.keys().next().map_or(end, |(at, _)| *at);
            let next = next.unwrap_or(end).min(arrives).max(self.now + Micros(1));
            if next > end {
                break;
            }
            self.now = next;
            while let Some(first) =
                self.under_way.first_entry().filter(|first| first.key().0 <= next)
            {
                let (to, input) = first.remove();
                self.input(to, input);
            }
            for index in 0..self.nodes.len() {
                if self.nodes[index].peer.is_some() && self.nodes[index].wake <= next {
                    self.input(index, Input::Tick);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    pub(crate) fn call(&mut self, index: usize, command: Command) -> u64 {
        self.next_call += 1;
        let call = self.next_call;
        self.input(index, Input::Command { call, command });
        call
    }

    pub(crate) fn ask(&mut self, index: usize, command: Command) -> Result<Answer, Refusal> {
        let call = self.call(index, command);
        self.answer(call, index)
    }

    fn answer(&mut self, call: u64, index: usize) -> Result<Answer, Refusal> {
        for _ in 0..400 {
            self.settle();
            if let Some(answer) = self.nodes[index].answers.remove(&call) {
                return answer;
            }
            self.run(Micros::from_millis(100));
        }
        panic!("no answer");
    }

    pub(crate) fn join(&mut self, owner: bool) -> usize {
        self.join_with(owner, Credits::ZERO)
    }

    pub(crate) fn join_with(&mut self, owner: bool, credits: Credits) -> usize {
        let invite = Command::Invite { owner, credits };
        let Ok(Answer::Ticket(text)) = self.ask(0, invite) else { panic!("no ticket") };
        let ticket: Ticket = text.parse().unwrap();
        let key = SecretKey::from_seed([self.nodes.len() as u8 + 1; 32]);
        let index = self.add(key, Peer::join(&ticket));
        self.run(Micros::from_secs(3));
        index
    }

    pub(crate) fn submit(&mut self, text: &str) -> Result<Answer, Refusal> {
        self.submit_with(text, Canaries::default(), 1_000)
    }

    pub(crate) fn submit_with(
        &mut self,
        text: &str,
        canaries: Canaries,
        units: u64,
    ) -> Result<Answer, Refusal> {
        self.ask(0, Command::Submit(embedding(text, canaries, units)))
    }

    pub(crate) fn submit_by(&mut self, index: usize, text: &str) -> Result<Answer, Refusal> {
        self.ask(index, Command::Submit(embedding(text, Canaries::default(), 1_000)))
    }

    pub(crate) fn append(&mut self, from: u8, to: u8) -> Result<Answer, Refusal> {
        self.append_to("docs", from, to)
    }

    pub(crate) fn append_to(&mut self, name: &str, from: u8, to: u8) -> Result<Answer, Refusal> {
        let changes = (from..to)
            .map(|i| Change {
                entry: LogEntry { id: RecordId(Digest([i; 32])), record: Some(Digest::of(&[i])) },
                body: vec![i],
            })
            .collect();
        self.ask(0, Command::Append { collection: name.into(), changes, units: 1_000 })
    }

    pub(crate) fn search(&mut self) -> edge_swarm::command::SearchView {
        self.search_from(0)
    }

    /// Asks for five records, and does not wait.
    pub(crate) fn call_search(&mut self, index: usize) -> u64 {
        let command = Command::Search {
            collection: "docs".into(),
            k: 5,
            query: vec![],
            units: 10,
            remaining: Micros::from_secs(20),
        };
        self.call(index, command)
    }

    pub(crate) fn search_from(&mut self, index: usize) -> edge_swarm::command::SearchView {
        let call = self.call_search(index);
        match self.answer(call, index) {
            Ok(Answer::Found(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn balances(&mut self, index: usize) -> edge_swarm::command::BalanceView {
        match self.ask(index, Command::Balance { account: None }) {
            Ok(Answer::Balance(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    /// The ledger that a node's disk holds.
    pub(crate) fn ledger_of(&self, index: usize) -> edge_ledger::Ledger {
        let disk = &self.nodes[index].disk;
        let read = |key: &[u8]| disk.get(&Table::Pool).and_then(|rows| rows.get(key));
        let mut verifier = Verifier::strict();
        let genesis = codec::decode(read(b"genesis").unwrap()).unwrap();
        let mut ledger = edge_ledger::Ledger::new(genesis).unwrap();
        if let Some(bytes) = read(b"handover") {
            let handover = Arc::new(codec::decode(bytes).unwrap());
            ledger.apply_handover(handover, &mut verifier).unwrap();
        }
        let rows = disk.get(&Table::Certificates).into_iter().flat_map(|rows| rows.values());
        let certificates = rows.map(|bytes| Arc::new(codec::decode(bytes).unwrap()));
        ledger.merge(certificates, &mut verifier);
        ledger
    }

    pub(crate) fn conserved(&mut self, index: usize) {
        match self.ask(index, Command::VerifyLedger) {
            Ok(Answer::Ledger(view)) => assert!(view.conserved, "{view:?}"),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn embedding(text: &str, canaries: Canaries, units: u64) -> TaskRequest {
    TaskRequest {
        kind: TaskKind::Embedding,
        payload: Arc::from(text.as_bytes()),
        pin: PIN,
        units,
        priority: Priority::Normal,
        remaining: Micros::from_secs(30),
        price_max: None,
        among: None,
        canaries,
    }
}
