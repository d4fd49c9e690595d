//! Owners that sign two heads for one position of a shard: who hears of it, who decides, who is
//! named and who is not.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{
    CollectionId, Digest, Micros, RecordId, Rng, SecretKey, ShardId, Signed, TaskKind,
};
use edge_base::{
    Credits, codec,
    shard::{ShardAnswer, ShardHit, ShardQuery},
};
use edge_coherence::{Ballot, Deadlines, Level, Verdict, evidence_root};
use edge_ledger::statement::{Assignment, Commit, Execution, Reveal, commit_hash, task_id};
use edge_swarm::{
    Answer, Command, Input, Table,
    command::Standing,
    contest::{Contest, HeadClaim, HeadPair, Repair},
    message::{
        CollectionSpec, Evidence, FaultReport, Gossip, Message, ShardHead, decode_gossip,
        encode_gossip, encode_message, shard_id,
    },
};
use net::{Net, PIN};

const REPAIR: Micros = Micros::from_secs(20);
/// The owner in most tests: a member that is no witness.
const OWNER: usize = 4;

fn key(index: usize) -> SecretKey {
    SecretKey::from_seed([index as u8 + 1; 32])
}

/// Five members, four of them witnesses.
fn five(coherence: Option<Deadlines>, limits: bool) -> Net {
    let mut net = Net::new();
    (net.coherence, net.limits) = (coherence, limits);
    net.nodes[0].peer = None;
    net.start(0);
    for _ in 0..4 {
        net.join_with(false, Credits::from_whole(1_000).unwrap());
    }
    let witnesses = (1..4).map(|i| net.id(i)).collect();
    assert!(matches!(net.ask(0, Command::Handover { witnesses }), Ok(Answer::HandedOver(_))));
    net
}

fn with_defence() -> Net {
    five(Some(Deadlines::from_repair(REPAIR)), true)
}

/// A collection that only its owner's key knows of, and heads of its first shard.
struct Forged {
    pool: Digest,
    spec: Signed<CollectionSpec>,
    collection: CollectionId,
    owner: usize,
}

impl Forged {
    fn new(net: &mut Net, owner: usize) -> Forged {
        let pool = net.pool();
        let spec = CollectionSpec { name: "x".into(), nonce: 1, layout: vec![], dropped: false };
        let spec = Signed::seal(spec, &key(owner), &pool);
        let collection = spec.body.id(&key(owner).node_id());
        Forged { pool, spec, collection, owner }
    }

    fn shard(&self) -> ShardId {
        shard_id(&self.collection, 0)
    }

    fn head(&self, seq: u64, says: &str) -> Signed<ShardHead> {
        self.head_by(self.owner, seq, says)
    }

    fn head_by(&self, signer: usize, seq: u64, says: &str) -> Signed<ShardHead> {
        let (chain, root) = (Digest::of_value("chain", says), Digest::of_value("root", says));
        let (collection, replicas) = (self.collection, vec![key(1).node_id()]);
        let head =
            ShardHead { collection, index: 0, seq, chain, root, rows: 1, replicas, renewed: 0 };
        Signed::seal(head, &key(signer), &self.pool)
    }

    fn contest(&self, first: Signed<ShardHead>, second: Signed<ShardHead>) -> Contest {
        let pairs = vec![HeadPair::new(first, second)];
        Contest { spec: self.spec.clone(), index: 0, pairs, repairs: vec![], decision: None }
    }

    /// Everybody knows the collection.
    fn tell(&self, net: &mut Net) {
        for index in 0..net.nodes.len() {
            publish(net, index, &Gossip::Collection(self.spec.clone()));
        }
    }

    fn standing_at(&self, net: &mut Net, index: usize) -> Option<(Standing, u64)> {
        let Ok(Answer::Collections(views)) = net.ask(index, Command::ListCollections) else {
            panic!("no collections")
        };
        let view = views.into_iter().find(|view| view.id == self.collection)?;
        view.shards.first().map(|shard| (shard.standing, shard.seq))
    }
}

fn publish(net: &mut Net, to: usize, gossip: &Gossip) {
    net.publish_to(to, gossip);
    net.settle();
}

/// The owner signs two heads of position 2, and two halves of the pool hear one each.
fn fork(net: &mut Net, forged: &Forged) {
    net.frozen = Some(forged.owner);
    forged.tell(net);
    for index in 0..4 {
        publish(net, index, &Gossip::Head(forged.head(1, "one")));
        let says = if index < 2 { "two" } else { "other" };
        publish(net, index, &Gossip::Head(forged.head(2, says)));
    }
}

#[test]
fn an_owner_that_signs_two_heads_is_named_everywhere_once_its_time_is_over() {
    let mut net = with_defence();
    let forged = Forged::new(&mut net, OWNER);
    let owner = net.id(OWNER);
    fork(&mut net, &forged);
    // Two halves do not see the contradiction until some node is told of both heads.
    publish(&mut net, 1, &Gossip::Head(forged.head(2, "other")));
    net.run(Micros::from_secs(2));
    for index in 0..4 {
        let (standing, _) = forged.standing_at(&mut net, index).unwrap();
        assert_eq!(standing, Standing::Contested, "at {index}");
        assert!(net.named_at(index).is_empty());
    }
    // Its answers say so: nobody holds the shard, and what there is is marked.
    net.kill(3);
    net.run(Micros(REPAIR.0 + 5_000_000));
    for index in 0..3 {
        let (standing, _) = forged.standing_at(&mut net, index).unwrap();
        assert_eq!(standing, Standing::Upheld, "at {index}");
        assert_eq!(net.named_at(index), [owner], "at {index}");
        publish(&mut net, index, &Gossip::Head(forged.head(3, "three")));
        let (_, seq) = forged.standing_at(&mut net, index).unwrap();
        assert_eq!(seq, 2, "nothing is built on it");
        assert!(net.ledger_of(index).totals().conserved());
    }
    // Who was away learns it by a greeting, who restarts remembers it.
    net.start(3);
    net.kill(1);
    net.start(1);
    net.run(Micros::from_secs(3));
    for index in [1, 3] {
        assert_eq!(forged.standing_at(&mut net, index).map(|s| s.0), Some(Standing::Upheld));
        assert_eq!(net.named_at(index), [owner], "at {index}");
    }
}

/// The control: nobody else learns of it, nobody is named.
#[test]
fn without_the_defence_nobody_learns_of_two_heads() {
    let mut net = five(None, true);
    let forged = Forged::new(&mut net, OWNER);
    fork(&mut net, &forged);
    publish(&mut net, 1, &Gossip::Head(forged.head(2, "other")));
    net.run(Micros(2 * REPAIR.0));
    for index in 0..4 {
        assert_eq!(forged.standing_at(&mut net, index), Some((Standing::Sound, 2)));
        assert!(net.named_at(index).is_empty());
    }
}

/// The founder alone is the authority of a small pool.
#[test]
fn the_only_witness_decides_about_others_and_nobody_about_it() {
    for (owner, standing) in [(1, Standing::Upheld), (0, Standing::Expired)] {
        let mut net = Net::new();
        net.coherence = Some(Deadlines::from_repair(REPAIR));
        net.nodes[0].peer = None;
        net.start(0);
        for _ in 0..2 {
            net.join(false);
        }
        let forged = Forged::new(&mut net, owner);
        net.frozen = Some(owner);
        forged.tell(&mut net);
        publish(&mut net, 2, &Gossip::Head(forged.head(1, "one")));
        publish(&mut net, 2, &Gossip::Head(forged.head(1, "other")));
        net.run(Micros(9 * REPAIR.0));
        assert_eq!(forged.standing_at(&mut net, 2).map(|s| s.0), Some(standing), "{owner}");
        let id = net.id(owner);
        let named = net.named_at(2);
        assert_eq!(named.contains(&id), standing == Standing::Upheld);
    }
}

/// An owner whose folder was restored signed another head for a position; it hears of its first one
/// and puts it right by itself. The witnesses that hold copies see that what it keeps is true.
#[test]
fn an_owner_that_was_rolled_back_puts_it_right_and_is_not_named() {
    let mut net = with_defence();
    let pool = net.pool();
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    assert!(net.ask(0, create).is_ok());
    net.append(0, 5).unwrap();
    net.append(5, 9).unwrap();
    net.run(Micros::from_secs(3));
    let Ok(Answer::Collections(views)) = net.ask(2, Command::ListCollections) else { panic!() };
    let (collection, true_root) = (views[0].id, views[0].shards[0].root);
    assert_eq!(views[0].shards[0].seq, 2);
    let shard = shard_id(&collection, 0);
    net.kill(0);
    // The head of position 2 is another one in the restored folder.
    let row = [b"h".as_slice(), shard.as_bytes()].concat();
    let rows = net.nodes[0].disk.get_mut(&Table::Shards).unwrap();
    let before: Signed<ShardHead> = codec::decode(&rows[&row]).unwrap();
    let (chain, root) = (Digest::of(b"written alone"), Digest::of(b"its root"));
    let other = Signed::seal(ShardHead { chain, root, ..before.body.clone() }, &key(0), &pool);
    rows.insert(row, codec::encode(&other));
    net.start(0);
    net.run(Micros::from_secs(8));
    for index in 0..5 {
        let Ok(Answer::Collections(views)) = net.ask(index, Command::ListCollections) else {
            panic!()
        };
        let shard = &views[0].shards[0];
        assert_eq!((shard.standing, shard.seq), (Standing::Repaired, 2), "at {index}");
        assert_eq!(shard.root, true_root, "at {index}");
        assert!(net.named_at(index).is_empty());
    }
    assert!(net.append(9, 10).is_err(), "the log is not continued");
    let found = net.search_from(2);
    assert_eq!((found.hits.len(), found.shards[0].contested), (5, false));
}

#[test]
fn answers_from_the_fork_on_say_that_they_are_contested() {
    let mut net = with_defence();
    let pool = net.pool();
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    assert!(net.ask(0, create).is_ok());
    net.append(0, 5).unwrap();
    net.append(5, 9).unwrap();
    net.run(Micros::from_secs(3));
    assert!(!net.search_from(2).shards[0].contested);
    let Ok(Answer::Collections(views)) = net.ask(2, Command::ListCollections) else { panic!() };
    let (collection, view) = (views[0].id, views[0].shards[0].clone());
    let head = ShardHead {
        collection,
        index: 0,
        seq: 2,
        chain: Digest::of(b"another log"),
        root: Digest::of(b"another root"),
        rows: view.rows,
        replicas: view.replicas.iter().map(|r| r.node).collect(),
        renewed: 0,
    };
    let other = Gossip::Head(Signed::seal(head, &key(0), &pool));
    net.frozen = Some(0);
    publish(&mut net, 2, &other);
    net.run(Micros::from_secs(1));
    for index in [2, 4] {
        let found = net.search_from(index);
        assert_eq!(found.hits.len(), 5, "it is still answered");
        assert!(found.shards[0].contested, "at {index}");
    }
}

/// What requester and worker sign for a search.
fn search_execution(
    requester: usize,
    worker: usize,
    payload: &[u8],
    result: &[u8],
    pool: &Digest,
) -> Execution {
    let (requester, worker) = (key(requester), key(worker));
    let (payload_digest, digest, issued) = (Digest::of(payload), Digest::of(result), 5);
    let kind = TaskKind::VectorSearch;
    let task = task_id(&requester.node_id(), issued, kind, &payload_digest);
    let worker_id = worker.node_id();
    let assignment = Assignment {
        task,
        requester: requester.node_id(),
        worker: worker_id,
        escrow: None,
        price: Credits::from_micro(1),
        kind,
        payload: payload_digest,
        payload_bytes: payload.len() as u64,
        pins: PIN,
        issued,
    };
    let nonce = [1; 16];
    let hash = commit_hash(&task, &worker_id, &nonce, &digest);
    Execution {
        assignment: Signed::seal(assignment, &requester, pool),
        commit: Signed::seal(Commit { task, worker: worker_id, hash }, &worker, pool),
        reveal: Signed::seal(Reveal { task, worker: worker_id, nonce, digest }, &worker, pool),
    }
}

/// The owner gives one holder another head than all others, asks it, and accuses it with the others'.
/// With the mechanism off the honest holder is named.
#[test]
fn a_holder_that_was_given_another_head_is_not_named_for_its_answer() {
    for (defence, named) in [(Some(Deadlines::from_repair(REPAIR)), false), (None, true)] {
        let mut net = five(defence, true);
        let forged = Forged::new(&mut net, OWNER);
        net.frozen = Some(OWNER);
        forged.tell(&mut net);
        let (lie, told) = (forged.head(1, "told to the holder"), forged.head(1, "told to others"));
        publish(&mut net, 1, &Gossip::Head(lie.clone()));
        for index in [0, 2, 3] {
            publish(&mut net, index, &Gossip::Head(told.clone()));
        }
        let query = ShardQuery { shard: forged.shard(), seq_min: 1, k: 1, query: vec![] };
        let payload = codec::encode(&query);
        let hit = ShardHit { id: RecordId::default(), score: 7, body: vec![], proof: vec![] };
        let answer = codec::encode(&ShardAnswer {
            shard: forged.shard(),
            seq: 1,
            root: lie.body.root,
            exact: true,
            rows_visited: 1,
            rows: 1,
            hits: vec![hit],
        });
        let proof = search_execution(OWNER, 1, &payload, &answer, &forged.pool);
        let evidence = Evidence::Answer { answer: Digest::of(&answer), head: told };
        let report = Gossip::Fault(Box::new(FaultReport { proof, evidence }));
        let from = net.id(OWNER);
        for index in 0..4 {
            net.publish_to(index, &report);
            for bytes in [&payload, &answer] {
                let (content, total) = (Digest::of(bytes), bytes.len() as u64);
                let chunk = Message::Chunk { content, total, offset: 0, bytes: bytes.clone() };
                net.input(index, Input::Frame { from, bytes: encode_message(&chunk) });
            }
        }
        net.run(Micros::from_secs(6));
        let (holder, owner) = (net.id(1), net.id(OWNER));
        assert_eq!(net.named_at(0).contains(&holder), named);
        assert_eq!(net.named_at(2).contains(&holder), named);
        if !named {
            assert_eq!(forged.standing_at(&mut net, 0).map(|s| s.0), Some(Standing::Contested));
            net.run(REPAIR);
            assert_eq!(net.named_at(2), [owner]);
        }
    }
}

#[test]
fn false_contests_and_ballots_change_nothing_and_cost_their_sender_its_hearing() {
    // With budgets its sender would be banned long before.
    let mut net = five(Some(Deadlines::from_repair(REPAIR)), false);
    let forged = Forged::new(&mut net, OWNER);
    net.frozen = Some(OWNER);
    forged.tell(&mut net);
    publish(&mut net, 0, &Gossip::Head(forged.head(1, "one")));
    let good = forged.contest(forged.head(1, "one"), forged.head(1, "other"));
    let mut resigned = good.clone();
    resigned.pairs[0].second.signature = resigned.pairs[0].first.signature;
    let mut elsewhere = good.clone();
    elsewhere.index = 1;
    let mut other_spec = good.clone();
    let spec = CollectionSpec { name: "y".into(), ..good.spec.body.clone() };
    other_spec.spec = Signed::seal(spec, &key(OWNER), &forged.pool);
    let mut early = good.clone();
    let kept = forged.head_by(1, 1, "of another");
    early.repairs = vec![Signed::seal(Repair { kept }, &key(OWNER), &forged.pool)];
    let mut empty = good.clone();
    empty.pairs.clear();
    let mut many = good.clone();
    many.pairs = vec![good.pairs[0].clone(); 5];
    let renewed = {
        let mut head = forged.head(1, "one").body;
        head.renewed = 7;
        head.replicas = vec![];
        Signed::seal(head, &key(OWNER), &forged.pool)
    };
    let bad = [
        forged.contest(forged.head(1, "one"), forged.head_by(1, 1, "by a stranger")),
        forged.contest(forged.head(1, "one"), forged.head(1, "one")),
        forged.contest(forged.head(1, "one"), renewed),
        forged.contest(forged.head(1, "one"), forged.head(2, "other")),
        resigned,
        elsewhere,
        other_spec,
        early,
        empty,
        many,
    ];
    let from = net.id(2);
    for contest in bad {
        let bytes = encode_gossip(&Gossip::Contest(Box::new(contest)));
        net.input(0, Input::Frame { from, bytes });
        net.settle();
        assert_eq!(forged.standing_at(&mut net, 0).map(|s| s.0), Some(Standing::Sound));
    }
    // Eight that do not hold are enough: even a good one of this member is not looked into ...
    let bytes = encode_gossip(&Gossip::Contest(Box::new(good.clone())));
    net.input(0, Input::Frame { from, bytes: bytes.clone() });
    net.settle();
    assert_eq!(forged.standing_at(&mut net, 0).map(|s| s.0), Some(Standing::Sound));
    // ... until its time is over. One of another member is.
    net.run(Micros::from_secs(9));
    net.input(0, Input::Frame { from, bytes });
    net.settle();
    assert_eq!(forged.standing_at(&mut net, 0).map(|s| s.0), Some(Standing::Contested));

    // Ballots by who has no vote, of another epoch, context or pool, and replayed ones.
    let pair = &good.pairs[0];
    let body = Ballot {
        context: forged.collection.0,
        epoch: 2,
        level: Level::Narrow,
        conflict: forged.shard().0,
        evidence: evidence_root(pair.claims()),
        verdict: Verdict::Uphold,
    };
    let seal = |body: &Ballot, by: usize| Signed::seal(*body, &key(by), &forged.pool);
    let mut ballots: Vec<Signed<Ballot>> = vec![seal(&body, OWNER), seal(&body, 9)];
    for by in 1..4 {
        ballots.push(seal(&Ballot { epoch: 1, ..body }, by));
        ballots.push(seal(&Ballot { epoch: 3, ..body }, by));
        ballots.push(seal(&Ballot { context: Digest::of(b"x"), ..body }, by));
        ballots.push(seal(&Ballot { evidence: Digest::of(b"x"), ..body }, by));
        ballots.push(seal(&Ballot { level: Level::Wide, ..body }, by));
        ballots.push(Signed::seal(body, &key(by), &Digest::of(b"another pool")));
        let mut stolen = seal(&body, 1);
        stolen.signer = key(by).node_id();
        ballots.extend((by > 1).then_some(stolen));
    }
    for _ in 0..20 {
        for ballot in &ballots {
            let bytes = encode_message(&Message::Ballot(Box::new(ballot.clone())));
            net.input(0, Input::Frame { from, bytes });
        }
        net.settle();
    }
    assert_eq!(forged.standing_at(&mut net, 0).map(|s| s.0), Some(Standing::Contested));
    assert!(net.named_at(0).is_empty());
    // Two faulty of four can do it: the assumption is what holds.
    for by in 1..4 {
        let bytes = encode_message(&Message::Ballot(Box::new(seal(&body, by))));
        net.input(0, Input::Frame { from, bytes });
    }
    net.settle();
    assert_eq!(forged.standing_at(&mut net, 0).map(|s| s.0), Some(Standing::Upheld));
}

/// A witness that restarts does not vote for another verdict.
#[test]
fn a_ballot_is_on_disk_before_it_leaves_and_is_not_changed_by_a_repair_that_comes_late() {
    let mut net = with_defence();
    let forged = Forged::new(&mut net, OWNER);
    fork(&mut net, &forged);
    // Only node 1 can speak to nobody: it votes alone.
    for other in [0, 2, 3] {
        net.cut.insert((other.min(1), other.max(1)));
    }
    publish(&mut net, 1, &Gossip::Head(forged.head(2, "other")));
    net.run(Micros(REPAIR.0 + 3_000_000));
    let ballots = |net: &Net| -> Vec<Signed<Ballot>> {
        let row = [b"y".as_slice(), forged.shard().as_bytes()].concat();
        let row = net.nodes[1].disk[&Table::Shards].get(&row).cloned();
        row.map(|row| codec::decode(&row).unwrap()).unwrap_or_default()
    };
    let before = ballots(&net);
    assert_eq!(before.iter().map(|b| b.body.verdict).collect::<Vec<_>>(), [Verdict::Uphold]);
    net.kill(1);
    net.start(1);
    let mut late = forged.contest(forged.head(2, "two"), forged.head(2, "other"));
    let kept = forged.head(2, "two");
    late.repairs = vec![Signed::seal(Repair { kept }, &key(OWNER), &forged.pool)];
    publish(&mut net, 1, &Gossip::Contest(Box::new(late)));
    net.run(Micros(3 * REPAIR.0));
    assert_eq!(ballots(&net), before);
}

/// An owner forks toward halves of the pool while the network is cut and loses a tenth of all
/// frames: all honest nodes come to the same verdict, and nobody but the owner is named.
#[test]
#[allow(clippy::disallowed_methods, reason = "the nightly run asks for more seeds")]
fn all_honest_nodes_reach_one_verdict_under_cuts_and_loss() {
    #[allow(clippy::disallowed_methods, reason = "how much a test does is set from outside")]
    let scale = std::env::var("EDGE_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    for seed in 0..2 * scale {
        let mut rng = Rng::from_seed(Digest::of_value("coherence", &seed).0);
        let mut net = with_defence();
        let forged = Forged::new(&mut net, OWNER);
        let owner = net.id(OWNER);
        net.loss = Some((Rng::from_seed([7; 32]), 100_000));
        // Two sides of the four others, for a while.
        let side: Vec<u64> = (0..4).map(|_| rng.below(2)).collect();
        for a in 0..4 {
            for b in a + 1..4 {
                if side[a] != side[b] {
                    net.cut.insert((a, b));
                }
            }
        }
        net.frozen = Some(OWNER);
        forged.tell(&mut net);
        for (index, side) in side.iter().enumerate() {
            publish(&mut net, index, &Gossip::Head(forged.head(1, "one")));
            let says = if *side == 0 { "two" } else { "other" };
            publish(&mut net, index, &Gossip::Head(forged.head(2, says)));
        }
        let informed = rng.below(4) as usize;
        let says = if side[informed] == 0 { "other" } else { "two" };
        publish(&mut net, informed, &Gossip::Head(forged.head(2, says)));
        net.run(Micros(rng.below(2 * REPAIR.0)));
        net.cut.clear();
        // Nodes that met again greet each other.
        for a in 0..4 {
            for b in 0..4 {
                if a != b {
                    let node = net.id(b);
                    net.input(a, Input::Connected { node });
                }
            }
        }
        net.run(Micros(4 * REPAIR.0));
        for index in 0..4 {
            let standing = forged.standing_at(&mut net, index).map(|s| s.0);
            assert_eq!(standing, Some(Standing::Upheld), "seed {seed}, node {index}");
            assert_eq!(net.named_at(index), [owner], "seed {seed}, node {index}");
        }
    }
}

#[test]
fn claims_are_equal_but_for_their_copies() {
    let mut net = Net::new();
    let forged = Forged::new(&mut net, 0);
    let (one, other) = (forged.head(1, "one"), forged.head(1, "other"));
    let digest = |head: &Signed<ShardHead>| HeadClaim(&head.body).digest(&head.signer);
    assert_eq!(
        HeadPair::new(one.clone(), other.clone()),
        HeadPair::new(other.clone(), one.clone())
    );
    let mut renewed = one.clone();
    renewed.body.renewed = 3;
    renewed.body.replicas = vec![];
    assert_eq!(digest(&renewed), digest(&one));
    assert_ne!(digest(&other), digest(&one));
    let contest = forged.contest(one, other);
    let frame = encode_gossip(&Gossip::Contest(Box::new(contest.clone())));
    assert_eq!(decode_gossip(&frame), Ok(Gossip::Contest(Box::new(contest))));
}
