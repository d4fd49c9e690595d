//! Senders that ask for more than their share, or for nonsense: they are dropped and banned, and
//! nobody else notices. Every kind of message is flooded.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{
    Credits, Digest, EscrowId, Micros, NodeId, SecretKey, Signature, Signed, TaskId, TaskKind,
    Validation,
    session::{
        Record, SessionId,
        agreement::XWING_CIPHERTEXT_BYTES,
        handshake::{Acceptance, Initiator, Opening},
    },
};
use edge_ledger::{
    Ballot, Block, BlockKind, Certificate, ChangeOrder, Checkpoint, Closing, CpuHours, Decided,
    EquivocationProof, FaultProof, Handover, OverdraftProof, Parameter, ParameterVote, Parameters,
    Phase, Plan, Resolutions, Sealed, Seen, Sketch, Statement, VoteBody, WitnessSet,
    statement::{Assignment, Commit, Reveal, Voucher, commit_hash, task_id},
};
use edge_swarm::{
    Answer, Command, Event, Here, Input, Revocation, RollCall, SuccessionRecord,
    command::{Canaries, Priority},
    contest::{Contest, HeadPair},
    frame::{Class, FrameKind},
    message::{
        AccountHead, Acquaintance, Advert, CollectionSpec, DeclineReason, Evidence, FaultReport,
        Gossip, MayWithdraw, MemberRecord, Membership, Message, Offer, ShardHead, SketchAnswer,
        Withdrawal, encode_gossip, encode_message, shard_id,
    },
};

use net::{Net, PIN};

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// Kinds of direct messages.
const DIRECT: usize = 53;

/// The member that floods has key 2 and place 1.
struct Flooder {
    key: SecretKey,
    pool: Digest,
}

impl Flooder {
    fn id(&self) -> NodeId {
        self.key.node_id()
    }

    fn seal<T: edge_base::SignedBody>(&self, body: T) -> Signed<T> {
        Signed::seal(body, &self.key, &self.pool)
    }

    fn block(&self, n: u64) -> Signed<Block> {
        self.seal(Block {
            account: self.id(),
            seq: 1,
            prev: self.pool,
            epoch: 0,
            kind: BlockKind::Stake { amount: Credits::from_micro(1 + n) },
            debit: Credits::from_micro(1 + n),
            credits: vec![],
            balance_after: Credits::ZERO,
        })
    }

    fn spec(&self, nonce: u64) -> Signed<CollectionSpec> {
        // A name is its first owner's.
        let name = self.id().to_hex();
        self.seal(CollectionSpec { name, nonce, layout: vec![], dropped: false })
    }

    fn head(&self, n: u64) -> Signed<ShardHead> {
        let collection = self.spec(0).body.id(&self.id());
        let (chain, root, replicas) = (Digest::default(), Digest::of(&n.to_be_bytes()), vec![]);
        let head =
            ShardHead { collection, index: 0, seq: n, chain, root, rows: 1, replicas, renewed: 0 };
        self.seal(head)
    }

    fn advert(&self, counter: u64) -> Signed<Advert> {
        self.seal(Advert {
            counter,
            life: u64::MAX,
            pins: vec![PIN],
            works: true,
            load: 0,
            offers: 0,
            addresses: vec![],
            set_version: 1,
            epoch: 0,
            frontier: Digest::default(),
            agent: String::new(),
        })
    }

    fn member(&self, n: u64) -> MemberRecord {
        let node = SecretKey::from_seed(Digest::of(&n.to_be_bytes()).0).node_id();
        let membership = Some(self.seal(Membership { node, group: node }));
        MemberRecord { membership, node, addresses: vec![] }
    }

    fn assignment(&self, issued: u64, worker: NodeId) -> Signed<Assignment> {
        let payload = Digest::of(b"work");
        self.seal(Assignment {
            task: task_id(&self.id(), issued, TaskKind::Embedding, &payload),
            requester: self.id(),
            worker,
            escrow: None,
            price: Credits::from_micro(1),
            kind: TaskKind::Embedding,
            payload,
            payload_bytes: 4,
            pins: PIN,
            issued,
        })
    }

    fn fault(&self, n: u64) -> FaultReport {
        let assignment = self.assignment(n, self.id());
        let (task, worker, nonce) = (assignment.body.task, self.id(), [1; 16]);
        let digest = Digest::of(b"a result");
        let hash = commit_hash(&task, &worker, &nonce, &digest);
        let commit = self.seal(Commit { task, worker, hash });
        let reveal = self.seal(Reveal { task, worker, nonce, digest });
        let proof = FaultProof { assignment, commit, reveal };
        FaultReport { proof, evidence: Evidence::Payload }
    }

    fn voucher(&self, n: u64, worker: NodeId) -> Signed<Voucher> {
        self.seal(Voucher {
            escrow: EscrowId(Digest::of(b"nothing")),
            requester: self.id(),
            worker,
            cumulative: Credits::from_micro(n),
            tasks: n,
        })
    }

    fn ending(&self, n: u64) -> Signed<Block> {
        let mut block = self.block(n).body;
        block.kind = BlockKind::Refund { escrow: EscrowId(Digest::of(b"nothing")) };
        self.seal(block)
    }

    fn checkpoint(&self, n: u64) -> Checkpoint {
        Checkpoint {
            epoch: n,
            prev: Digest::default(),
            version: 1,
            accounts: Digest::default(),
            count: 0,
            snapshot: Digest::default(),
            supply: Credits::ZERO,
            burned: Credits::ZERO,
            hours: CpuHours::default(),
            fund: Credits::ZERO,
            parameters: Parameters::default(),
            resolutions: Resolutions::default().digest(),
            set: WitnessSet::new(1, vec![self.id()]).unwrap(),
            carried: vec![],
        }
    }

    fn decided(&self, n: u64) -> Decided {
        let sealed = Sealed { checkpoint: self.checkpoint(n), round: 0, votes: vec![] };
        Decided { sealed, cut: vec![], resolutions: Resolutions::default() }
    }

    fn certificate(&self, n: u64) -> Certificate {
        Certificate { block: self.block(n), set_version: 1, votes: vec![] }
    }

    /// One message of each kind, the n-th of each.
    fn direct(&self, n: u64, to: NodeId, genesis: &edge_ledger::Genesis) -> Vec<Message> {
        let task = TaskId(Digest::of(&n.to_be_bytes()));
        let (me, digest) = (self.id(), Digest::of(b"nothing"));
        let shard = shard_id(&self.spec(0).body.id(&me), 0);
        let commit = self.seal(Commit { task, worker: me, hash: digest });
        let reveal = self.seal(Reveal { task, worker: me, nonce: [0; 16], digest });
        let voucher = self.voucher(n, to);
        let (checkpoint, resolutions) = (self.checkpoint(n), Resolutions::default());
        let plan = Plan { checkpoint, cut: vec![], change: None, resolutions };
        let ballot = Ballot {
            version: 2,
            epoch: n,
            round: 0,
            phase: Phase::Prevote,
            value: None,
            valid_round: None,
        };
        let closing = Closing { version: 1, accounts: digest, voted: vec![] };
        vec![
            Message::Hello {
                pool: self.pool,
                membership: None,
                join: None,
                addresses: vec![],
                known: Acquaintance { count: n, sum: n },
            },
            Message::Welcome {
                genesis: genesis.clone(),
                handover: None,
                membership: None,
                members: vec![],
                advert: self.advert(n),
            },
            Message::Refused { reason: format!("{n}") },
            Message::Collections { specs: vec![self.spec(n)], heads: vec![self.head(n)] },
            Message::Want { content: digest, offset: 0 },
            Message::Chunk { content: digest, total: 1, offset: 0, bytes: vec![0] },
            Message::NotHere { content: digest },
            Message::Offer(Offer {
                task,
                kind: TaskKind::Embedding,
                pin: PIN,
                payload_bytes: 4,
                price: Credits::from_micro(1),
                priority: Priority::Normal,
                remaining: Micros::from_secs(10),
            }),
            Message::Bid { task, load: 0, start_in: Micros(0) },
            Message::Decline { task, reason: DeclineReason::Busy },
            Message::Assign {
                assignment: self.assignment(n, to),
                payload: Some(b"work".to_vec()),
                priority: Priority::Normal,
                remaining: Micros::from_secs(10),
            },
            Message::Accepted { task },
            Message::Committed(commit.clone()),
            Message::RevealPlease { task, commits: vec![commit.clone()] },
            Message::Revealed { commit, reveal, result: None },
            Message::Over { task, accepted: None },
            Message::Paid(voucher.clone()),
            Message::Replicate { spec: self.spec(0), index: n as u32, head: None },
            Message::Release { shard },
            Message::LogWant { shard, seq: 1 },
            Message::LogBatch { shard, seq: 1, batch: vec![], last: 1 },
            Message::ReplicaAt { shard, seq: 1, root: digest },
            Message::Propose(self.block(n)),
            Message::Vote(self.seal(VoteBody { set_version: 1, epoch: 0, block: digest })),
            Message::NoVote { block: digest, missing: None, reason: String::new() },
            Message::Certificates(vec![self.certificate(n)]),
            Message::Frontier { range: None, heads: vec![(me, n)] },
            Message::Claim(Box::new(voucher)),
            Message::AskWithdraw(Withdrawal::Begin),
            Message::SayWithdraw { step: Withdrawal::Begin, answer: MayWithdraw::Now },
            Message::Challenge { shard, seq: n, nonce: [0; 16] },
            Message::Possesses { shard, nonce: [0; 16], digest },
            Message::Agree(Box::new(Statement::Ballot(self.seal(ballot)))),
            Message::Plan(Box::new(plan)),
            Message::PlanWant(digest),
            Message::Closed(Box::new(self.seal(closing))),
            Message::CheckpointWant { epoch: 0, version: 1 },
            Message::Checkpoints { chain: vec![], last: Box::new(self.decided(n)) },
            Message::Ballot(Box::new(self.seal(edge_coherence::Ballot {
                context: digest,
                epoch: 1,
                level: edge_coherence::Level::Narrow,
                conflict: digest,
                evidence: digest,
                verdict: edge_coherence::Verdict::Uphold,
            }))),
            Message::Sketch(Box::new(Sketch::empty(digest.0[..16].try_into().unwrap(), 24, true))),
            Message::SketchAnswer { key: [0; 16], answer: SketchAnswer::More(99) },
            Message::SessionOpen(Box::new(self.opening(n, to))),
            Message::SessionAccept(Box::new(self.seal(Acceptance {
                to,
                opening: digest,
                ciphertext: vec![n as u8; XWING_CIPHERTEXT_BYTES],
            }))),
            Message::Private(Record {
                session: SessionId([n as u8; 16]),
                phase: 0,
                counter: n,
                bytes: vec![n as u8; 300],
            }),
            Message::SessionGone(SessionId([n as u8; 16])),
            Message::Audit(Box::new(self.assignment(n, to))),
            Message::AuditCommit(self.seal(Commit { task, worker: me, hash: digest })),
            Message::AuditReveal(self.seal(Reveal { task, worker: me, nonce: [0; 16], digest })),
            Message::AuditDoubt(task),
            Message::Next(me),
            Message::RollCall(Box::new(RollCall::Here(self.seal(Here {
                beacon: digest,
                witness: to,
                number: n,
            })))),
            Message::Seen(Box::new(self.seal(Seen {
                version: 1,
                beacon: digest,
                answered: vec![],
            }))),
            Message::Heir { root: Box::new(self.member(n)), chain: vec![self.succession(n)] },
            Message::AskHeads,
            Message::SayHeads {
                epoch: 0,
                heads: vec![AccountHead {
                    account: me,
                    seq: n,
                    signed: Some(Box::new(self.block(n))),
                }],
                claims: vec![],
            },
        ]
    }

    fn opening(&self, n: u64, to: NodeId) -> Signed<Opening> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        Initiator::begin(&self.key, &self.pool, to, seed).opening().clone()
    }

    /// Of a key that nobody knows, to its own.
    fn succession(&self, n: u64) -> SuccessionRecord {
        let mut seed = [77; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        SuccessionRecord::new(&SecretKey::from_seed(seed), &self.key, vec![], &self.pool)
    }

    /// Gossip with a number, the n-th of it.
    fn gossip_of(&self, which: usize, n: u64) -> Gossip {
        match which {
            0 => Gossip::Advert(self.advert(n + 1)),
            1 => Gossip::Member(self.member(n)),
            2 => Gossip::Certificate(Box::new(self.certificate(n))),
            3 => {
                let mut ids: Vec<NodeId> = (1..=4).map(|n| key(n).node_id()).collect();
                ids.sort();
                let to = WitnessSet::new(2, ids).unwrap();
                let handover = Handover { from_version: 1, epoch: 1, to, heads: vec![] };
                Gossip::Handover(Box::new(self.seal(handover)))
            }
            4 => Gossip::Collection(self.spec(n + 1)),
            5 => Gossip::Head(self.head(n)),
            6 => Gossip::Fault(Box::new(self.fault(n))),
            7 => {
                let proof = EquivocationProof::new(self.block(2 * n), self.block(2 * n + 1));
                Gossip::Equivocation(Box::new(proof))
            }
            8 => Gossip::Ending(Box::new(self.ending(n))),
            9 => {
                let vouchers = vec![self.voucher(n, key(3).node_id())];
                Gossip::Overdraft(Box::new(OverdraftProof::new(vouchers)))
            }
            10 => Gossip::Checkpoint(Box::new(self.decided(n))),
            11 => {
                let order = ChangeOrder { version: n, members: vec![self.id()] };
                Gossip::Change(Box::new(self.seal(order)))
            }
            12 => {
                let (one, mut other) = (self.head(n), self.head(n));
                other.body.root = Digest::of(b"another");
                let pairs = vec![HeadPair::new(one, self.seal(other.body))];
                let contest = Contest {
                    spec: self.spec(0),
                    index: 0,
                    pairs,
                    repairs: vec![],
                    decision: None,
                };
                Gossip::Contest(Box::new(contest))
            }
            13 => {
                let (parameter, since) = (Parameter::FeeRate, 0);
                let vote = ParameterVote { version: n, parameter, value: 4_000, since };
                Gossip::Parameter(Box::new(self.seal(vote)))
            }
            // Of somebody else's key, of which it has no say.
            14 => Gossip::Revocation(self.seal(Revocation { node: key(200).node_id() })),
            _ => Gossip::Succession(Box::new(self.succession(n))),
        }
    }

    /// One of each.
    fn gossip(&self, n: u64) -> Vec<Gossip> {
        (0..16).map(|which| self.gossip_of(which, n)).collect()
    }
}

fn flooder(net: &mut Net) -> Flooder {
    Flooder { key: key(2), pool: net.pool() }
}

/// What a message calls itself, without its content.
fn variant(debug: &str) -> String {
    debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[test]
fn the_numbers_of_the_limits_are_those_of_the_messages() {
    let mut net = Net::four();
    let from = flooder(&mut net);
    let direct = from.direct(1, net.id(0), &net.genesis);
    let direct = direct.iter().map(|m| (variant(&format!("{m:?}")), encode_message(m)));
    let gossip = from.gossip(1);
    let gossip = gossip.iter().map(|g| (variant(&format!("{g:?}")), encode_gossip(g)));
    let all: Vec<(String, Vec<u8>)> = direct.chain(gossip).collect();
    let kinds: Vec<FrameKind> = all.iter().map(|(_, frame)| FrameKind::of(frame)).collect();
    for ((name, _), kind) in all.iter().zip(&kinds) {
        assert_eq!(name, kind.name());
    }
    assert_eq!(kinds, FrameKind::all().collect::<Vec<_>>(), "one of each");
    for odd in [&b""[..], b"EN", b"EN\x01\x01", b"EN\x01\x01\xff", b"EN\x01\x07\x01"] {
        assert_eq!(FrameKind::of(odd).class(), Class::Other);
    }
}

/// Twenty thousand a second of one kind: within ten seconds the flooder is banned at the one that it
/// floods, everything stays in its bounds, and work goes on.
#[test]
fn a_flood_of_each_kind_of_message_is_banned() {
    for (at, kind) in FrameKind::all().enumerate() {
        let mut net = Net::four();
        let from = flooder(&mut net);
        let (to, id) = (net.id(0), from.id());
        if kind.name() == "Head" || kind.name() == "Replicate" {
            let first = Gossip::Collection(from.spec(0));
            let bytes = encode_gossip(&first);
            net.input(0, Input::Published { from: id, number: 0, bytes });
            net.settle();
        }
        let genesis = net.genesis.clone();
        let few: Vec<Vec<u8>> = (0..if kind.is_gossip() { 0 } else { 50 })
            .map(|n| encode_message(&from.direct(n, to, &genesis)[at]))
            .collect();
        let (mut sent, mut banned_after) = (0, None);
        'flood: for hundredth in 0..400 {
            for _ in 0..200 {
                sent += 1;
                let input = if kind.is_gossip() {
                    let bytes = encode_gossip(&from.gossip_of(at - DIRECT, sent));
                    Input::Published { from: id, number: sent, bytes }
                } else {
                    let bytes = few[sent as usize % few.len()].clone();
                    Input::Frame { from: id, bytes }
                };
                net.input(0, input);
            }
            net.run(Micros::from_millis(10));
            for held in net.nodes[0].peer.as_ref().unwrap().held() {
                assert!(held.count <= held.limit, "{kind}: {held:?}");
            }
            if net.nodes[0].banned.contains(&id) {
                banned_after = Some(hundredth);
                break 'flood;
            }
        }
        let counters = net.nodes[0].peer.as_ref().unwrap().counters();
        assert!(banned_after.is_some(), "{kind} is not banned: {counters:?}");
        assert_eq!(net.nodes[0].banned.len(), 1, "{kind}: nobody else");
        let told = |event: &Event| matches!(event, Event::Banned { node, .. } if *node == id);
        assert!(net.nodes[0].events.iter().any(told));
        // The others work for the founder all the same.
        let done = net.submit(&format!("{kind}"));
        assert!(matches!(done, Ok(Answer::Task(r)) if !r.check.self_checked), "{kind}");
    }
}

/// Two members that want every place of a table, and budgets that would stop them much earlier switched
/// off: each gets a third, and whoever comes then still finds room.
/// A node that stood still gets at once what others sent meanwhile; one that ran is flooded by as much.
#[test]
fn nobody_is_banned_for_what_came_while_this_node_slept() {
    for slept in [true, false] {
        let mut net = Net::four();
        let from = flooder(&mut net);
        net.run(Micros::from_secs(5));
        let (to, id, genesis) = (net.id(0), from.id(), net.genesis.clone());
        let at = FrameKind::all().position(|kind| kind.name() == "Offer").unwrap();
        if slept {
            // Nobody's timers run.
            net.now = net.now + Micros::from_secs(9);
        }
        for n in 0..20_000 {
            let bytes = encode_message(&from.direct(n, to, &genesis)[at]);
            net.input(0, Input::Frame { from: id, bytes });
        }
        net.settle();
        assert_eq!(net.nodes[0].banned.contains(&id), !slept);
        let counters = net.nodes[0].peer.as_ref().unwrap().counters();
        assert!(counters.inputs_limited > 100, "dropped in any case: {counters:?}");
    }
}

/// Who owns copies that are held here brings what they missed after it connects, and is not banned for how much that
/// is; for longer, or without copies, it is.
#[test]
fn an_owner_is_not_banned_while_its_copies_catch_up() {
    for (holds, later, banned) in [(true, 1, false), (true, 70, true), (false, 1, true)] {
        let mut net = Net::four();
        let from = flooder(&mut net);
        let (to, id, genesis) = (net.id(0), from.id(), net.genesis.clone());
        if holds {
            let hold = Message::Replicate { spec: from.spec(0), index: 0, head: None };
            net.input(0, Input::Frame { from: id, bytes: encode_message(&hold) });
            net.settle();
        }
        net.run(Micros::from_secs(5));
        net.kill(1);
        net.start(1);
        net.run(Micros::from_secs(later));
        let at = FrameKind::all().position(|kind| kind.name() == "Offer").unwrap();
        for n in 0..20_000 {
            let bytes = encode_message(&from.direct(n, to, &genesis)[at]);
            net.input(0, Input::Frame { from: id, bytes });
        }
        net.settle();
        assert_eq!(net.nodes[0].banned.contains(&id), banned, "{holds} {later}");
    }
}

#[test]
fn nobody_fills_a_table_alone() {
    let mut net = Net::new();
    net.limits = false;
    net.start(0);
    for _ in 0..3 {
        net.join(false);
    }
    let pool = net.pool();
    let count = |net: &Net, what: &str| {
        let held = net.nodes[0].peer.as_ref().unwrap().held();
        held.into_iter()
            .find(|held| held.what == what)
            .map(|held| (held.count, held.limit))
            .unwrap()
    };
    let show = |net: &mut Net, from: NodeId, message: &Message| {
        net.input(0, Input::Frame { from, bytes: encode_message(message) });
    };
    for greedy in [2, 3] {
        let from = Flooder { key: key(greedy), pool };
        let id = from.id();
        for n in 0..4_200 {
            let specs = vec![from.spec(n)];
            show(&mut net, id, &Message::Collections { specs, heads: vec![] });
            let ask = Message::Replicate { spec: from.spec(0), index: n as u32, head: None };
            show(&mut net, id, &ask);
            if n % 100 == 0 {
                net.settle();
            }
        }
        net.settle();
        let taken = if greedy == 2 { 2_048 } else { 3_072 };
        assert_eq!(count(&net, "collections"), (taken, 4_096));
        assert_eq!(count(&net, "copies"), (taken, 4_096));
    }
    let last = Flooder { key: key(4), pool };
    let id = last.id();
    show(&mut net, id, &Message::Replicate { spec: last.spec(7), index: 0, head: None });
    net.settle();
    assert_eq!(count(&net, "collections").0, 3_073);
    assert_eq!(count(&net, "copies").0, 3_073);
}

/// The control: without budgets nobody is dropped or banned, and all of it is worked on.
#[test]
fn without_limits_every_frame_of_a_flood_is_worked_on() {
    let mut net = Net::new();
    net.limits = false;
    net.start(0);
    for _ in 0..3 {
        net.join(false);
    }
    let from = flooder(&mut net);
    let genesis = net.genesis.clone();
    let before = net.nodes[0].peer.as_ref().unwrap().counters();
    let verified = net.nodes[0].peer.as_ref().unwrap().verifier_stats().computed;
    for n in 0..2_000 {
        let to = net.id(0);
        let bytes = encode_message(&from.direct(n, to, &genesis)[10]);
        net.input(0, Input::Frame { from: from.id(), bytes });
    }
    net.run(Micros::from_millis(10));
    let after = net.nodes[0].peer.as_ref().unwrap().counters();
    let computed = net.nodes[0].peer.as_ref().unwrap().verifier_stats().computed - verified;
    assert!(after.inputs_decoded - before.inputs_decoded >= 2_000 && computed >= 2_000);
    assert_eq!((after.inputs_limited, after.bans), (0, 0));
}

/// Two thousand calls at once of a member that is nobody's: how many got their answers, how many of its frames were over
/// budgets, who banned it, and after how long the last answer came.
fn two_thousand_calls(paces: bool, search: bool) -> (usize, u64, usize, Micros) {
    let mut net = Net::new();
    net.paces = paces;
    for _ in 0..2 {
        net.join(true);
    }
    let own = net.join_with(false, Credits::from_micro(900_000_000));
    if search {
        let layout = vec![1];
        net.ask(0, Command::CreateCollection { name: "docs".into(), layout }).unwrap();
        net.append(0, 10).unwrap();
    }
    net.run(Micros::from_secs(60));
    let began = net.now;
    let calls: Vec<u64> = (0..2_000)
        .map(|n| match search {
            true => net.call_search(own),
            false => {
                let request = net::embedding(&format!("text {n}"), Canaries::default(), 1);
                net.call(own, Command::Submit(request))
            }
        })
        .collect();
    let mut ended = began;
    while net.now.since(began) < Micros::from_secs(30) {
        net.run(Micros::from_millis(100));
        if !calls.iter().all(|call| net.nodes[own].answers.contains_key(call)) {
            ended = net.now;
        }
    }
    let right = calls.iter().filter(|call| matches!(net.nodes[own].answers.get(call), Some(Ok(_))));
    let right = right.count();
    let id = net.id(own);
    let over = (0..3).map(|n| net.nodes[n].peer.as_ref().unwrap().counters().inputs_limited).sum();
    let banned = (0..3).filter(|n| net.nodes[*n].banned.contains(&id)).count();
    (right, over, banned, ended.since(began))
}

#[test]
fn who_asks_for_much_at_once_waits_for_room_and_is_not_banned() {
    for search in [false, true] {
        let (right, over, banned, took) = two_thousand_calls(true, search);
        println!("search {search}: {right} right, {over} over, {banned} bans, {took:?}");
        assert_eq!((right, over, banned), (2_000, 0, 0), "{search}");
        assert!(took < Micros::from_secs(25), "{took:?}");
    }
    // Control.
    let (_, over, banned, _) = two_thousand_calls(false, false);
    assert!(over > 0 && banned > 0, "{over} {banned}");
}

fn banned_for(net: &mut Net, at: usize, node: NodeId) -> Option<Micros> {
    let Ok(Answer::Peers(peers)) = net.ask(at, Command::ListPeers) else { panic!() };
    peers.into_iter().find(|peer| peer.node == node).and_then(|peer| peer.banned)
}

#[test]
fn a_ban_ends_lasts_longer_the_next_time_and_survives_a_restart() {
    let mut net = Net::four();
    let id = net.id(1);
    let misbehave = |net: &mut Net| {
        for n in 0..30u8 {
            net.input(0, Input::Frame { from: id, bytes: vec![b'E', b'N', 1, 1, 0, n] });
        }
        net.settle();
    };
    for minutes in [1u64, 4, 16] {
        misbehave(&mut net);
        assert_eq!(banned_for(&mut net, 0, id), Some(Micros::from_secs(60 * minutes)));
        net.run(Micros::from_secs(60 * minutes - 1));
        assert_eq!(banned_for(&mut net, 0, id), Some(Micros::from_secs(1)));
        assert!(net.nodes[0].banned.contains(&id));
        net.run(Micros::from_secs(1));
        assert_eq!(banned_for(&mut net, 0, id), None);
        assert!(!net.nodes[0].banned.contains(&id), "it may connect again");
    }
    misbehave(&mut net);
    let hour = Some(Micros::from_secs(64 * 60));
    assert_eq!(banned_for(&mut net, 0, id), hour);
    net.run(Micros::from_secs(60));
    net.kill(0);
    net.nodes[0].banned.clear();
    net.start(0);
    net.settle();
    assert_eq!(banned_for(&mut net, 0, id), hour, "what is left is not known after a kill");
    assert!(net.nodes[0].banned.contains(&id), "the transport is told again");
    net.run(Micros::from_secs(60));
    net.ask(0, Command::Drain).unwrap();
    let left = banned_for(&mut net, 0, id);
    assert!(left <= Some(Micros::from_secs(63 * 60)), "{left:?}");
    net.kill(0);
    net.start(0);
    net.settle();
    assert_eq!(banned_for(&mut net, 0, id), left, "an orderly end stores it");
    assert!(net.ask(0, Command::Unban { node: id }).is_ok());
    assert_eq!(banned_for(&mut net, 0, id), None);
    assert!(net.ask(0, Command::Unban { node: id }).is_err());
    misbehave(&mut net);
    assert_eq!(banned_for(&mut net, 0, id), Some(Micros::from_secs(60)), "it was forgiven");
}

#[test]
fn a_person_bans_and_lets_in_again() {
    let mut net = Net::four();
    let (id, stranger) = (net.id(1), key(99).node_id());
    for node in [id, stranger] {
        assert!(net.ask(0, Command::Ban { node, lasts: Micros::from_secs(3_600) }).is_ok());
        assert_eq!(banned_for(&mut net, 0, node), Some(Micros::from_secs(3_600)));
    }
    let me = net.id(0);
    assert!(net.ask(0, Command::Ban { node: me, lasts: Micros::from_secs(1) }).is_err());
    // Nothing of it is heard, nothing is sent to it.
    net.records = true;
    net.run(Micros::from_secs(10));
    let before = net.nodes[0].peer.as_ref().unwrap().counters().inputs_decoded;
    net.input(
        0,
        Input::Frame { from: id, bytes: encode_message(&Message::Refused { reason: "x".into() }) },
    );
    net.settle();
    assert_eq!(net.nodes[0].peer.as_ref().unwrap().counters().inputs_decoded, before);
    assert!(net.ask(0, Command::Unban { node: id }).is_ok());
    net.input(0, Input::Connected { node: id });
    net.input(1, Input::Connected { node: me });
    net.run(Micros::from_secs(3));
    assert!(net.nodes[0].peer.as_ref().unwrap().counters().inputs_decoded > before);
}

/// Only what is new, holds and is a member's word is passed on.
#[test]
fn gossip_is_passed_on_only_after_it_was_looked_at() {
    let mut net = Net::four();
    let from = flooder(&mut net);
    let hear = |net: &mut Net, by: NodeId, gossip: &Gossip| {
        net.nodes[0].judged.clear();
        let bytes = encode_gossip(gossip);
        net.input(0, Input::Published { from: by, number: 1, bytes });
        net.settle();
        net.nodes[0].judged.clone()
    };
    let one = from.id();
    let good = Gossip::Collection(from.spec(1));
    let stranger = key(99).node_id();
    assert_eq!(hear(&mut net, stranger, &good), [Validation::Ignore], "brought by no member");
    assert_eq!(hear(&mut net, one, &good), [Validation::Accept]);
    assert_eq!(hear(&mut net, one, &good), [Validation::Ignore], "known");
    let mut forged = from.spec(2);
    forged.signature = Signature([7; 64]);
    assert_eq!(hear(&mut net, one, &Gossip::Collection(forged)), [Validation::Reject]);
    let strange = Signed::seal(from.spec(3).body, &key(99), &from.pool);
    assert_eq!(hear(&mut net, one, &Gossip::Collection(strange)), [Validation::Ignore]);
    let handover = from.gossip(1).swap_remove(3);
    assert_eq!(hear(&mut net, one, &handover), [Validation::Reject], "not the founder's");
    // The same in a longer encoding is another message to the network.
    let mut longer = encode_gossip(&Gossip::Advert(from.advert(1)));
    longer[4] |= 0x80;
    longer.insert(5, 0);
    net.nodes[0].judged.clear();
    net.input(0, Input::Published { from: one, number: 1, bytes: longer });
    net.settle();
    assert_eq!(net.nodes[0].judged, [Validation::Reject]);
    let counters = net.nodes[0].peer.as_ref().unwrap().counters();
    assert_eq!((counters.gossip_rejected, counters.gossip_ignored), (3, 3));
    assert!(counters.signatures_refused >= 1 && counters.inputs_malformed >= 1);
}

/// What others once said can be repeated by anybody: its author is not blamed for that.
#[test]
fn nobody_is_banned_for_what_others_repeat() {
    let mut net = Net::four();
    let from = flooder(&mut net);
    for n in 1..3_000 {
        let bytes = encode_gossip(&Gossip::Advert(from.advert(n)));
        let by = net.id(2);
        net.input(0, Input::Published { from: by, number: n, bytes });
    }
    net.run(Micros::from_secs(1));
    let counters = net.nodes[0].peer.as_ref().unwrap().counters();
    assert!(counters.inputs_limited > 0, "most of it is not passed on");
    assert!(net.nodes[0].banned.is_empty());
}

/// Keys are free: however many strangers come, together they get what four members get.
#[test]
fn strangers_share_a_budget() {
    let mut net = Net::four();
    let pool = net.pool();
    let hello = Message::Hello {
        pool,
        membership: None,
        join: None,
        addresses: vec![],
        known: Acquaintance { count: 1, sum: 1 },
    };
    let bytes = encode_message(&hello);
    net.records = true;
    let before = net.nodes[0].peer.as_ref().unwrap().counters();
    for n in 0..5_000u32 {
        let id = SecretKey::from_seed(Digest::of(&n.to_be_bytes()).0).node_id();
        net.input(0, Input::Frame { from: id, bytes: bytes.clone() });
    }
    net.settle();
    let after = net.nodes[0].peer.as_ref().unwrap().counters();
    let heard = after.inputs_decoded - before.inputs_decoded;
    assert!((300..1_000).contains(&heard), "{heard} of 5,000 were answered");
    // Members are greeted all the same.
    let one = net.id(1);
    net.input(0, Input::Frame { from: one, bytes });
    net.settle();
    assert_eq!(
        net.nodes[0].peer.as_ref().unwrap().counters().inputs_decoded,
        after.inputs_decoded + 1
    );
}

/// The transport need not have a connection to close when a node is banned. Two of a shard's holders are:
/// nobody waits for their answers, which would not be heard.
#[test]
fn who_is_banned_is_asked_for_nothing() {
    let (mut net, replicas) = Net::with_copies();
    let me = net.id(0);
    let banned: Vec<_> = replicas.into_iter().filter(|node| *node != me).take(2).collect();
    assert_eq!(banned.len(), 2);
    net.refuses_silently = true;
    for node in &banned {
        net.ask(0, Command::Ban { node: *node, lasts: Micros::from_secs(3_600) }).unwrap();
    }
    let (began, mut slowest) = (net.now, Micros(0));
    for _ in 0..10 {
        let before = net.now;
        assert_eq!(net.search().hits.len(), 5);
        slowest = slowest.max(net.now.since(before));
    }
    assert!(slowest <= Micros::from_millis(400), "{slowest:?} of {:?}", net.now.since(began));
    // A task goes to the others as well.
    let before = net.now;
    assert!(net.submit("text").is_ok());
    assert!(net.now.since(before) < Micros::from_secs(1));
}

/// A member signs blocks that cost nothing as fast as they are certified. The control: without limits all
/// of them are, in no time.
#[test]
fn blocks_that_cost_nothing_are_certified_one_a_second() {
    let certified = |limits: bool| {
        let mut net = Net::witnessed(|net| net.limits = limits);
        let member = net.join_with(false, Credits::from_whole(1).unwrap());
        net.run(Micros::from_secs(5));
        let end = net.now + Micros::from_secs(20);
        let mut count = 0;
        while net.now < end && count < 400 {
            let stake = Command::Stake { amount: Credits::from_micro(1) };
            assert!(matches!(net.ask(member, stake), Ok(Answer::Done)));
            count += 1;
        }
        // Others go on meanwhile, and ends of escrows do not wait.
        let before = net.now;
        let other = Command::Stake { amount: Credits::from_micro(1) };
        assert!(matches!(net.ask(0, other), Ok(Answer::Done)));
        assert!(net.now.since(before) < Micros::from_secs(1));
        (count, net.now < end)
    };
    let (limited, _) = certified(true);
    assert!((270..=285).contains(&limited), "{limited}");
    assert_eq!(certified(false), (400, true));
}
