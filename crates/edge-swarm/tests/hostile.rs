//! Members and strangers that say what they like: nobody honest is named, owed or moved by it.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{
    Credits, Digest, EscrowId, Micros, RecordId, SecretKey, Signed, TaskKind, codec,
    shard::{ShardAnswer, ShardHit, ShardQuery},
};
use edge_ledger::{
    Execution,
    statement::{Assignment, Commit, Reveal, commit_hash, task_id},
};
use edge_swarm::{
    Answer, Command, Input,
    command::Priority,
    message::{
        Advert, CollectionSpec, Evidence, FaultReport, Gossip, MemberRecord, Message, ShardHead,
        decode_message, encode_message, shard_id,
    },
};

use net::{Net, PIN};

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// What requester and worker sign for one execution.
struct Work<'a> {
    requester: u8,
    worker: u8,
    kind: TaskKind,
    payload: &'a [u8],
    result: &'a [u8],
    issued: u64,
    escrow: Option<EscrowId>,
    price: u64,
}

impl Work<'_> {
    fn signed(&self, pool: &Digest) -> Execution {
        self.signed_for(PIN, pool)
    }

    /// By a build with this pin.
    fn signed_for(&self, pins: Digest, pool: &Digest) -> Execution {
        let Work { kind, issued, escrow, .. } = *self;
        let (requester, worker) = (key(self.requester), key(self.worker));
        let (payload, digest) = (Digest::of(self.payload), Digest::of(self.result));
        let task = task_id(&requester.node_id(), issued, kind, &payload);
        let assignment = Assignment {
            task,
            requester: requester.node_id(),
            worker: worker.node_id(),
            escrow,
            price: Credits::from_micro(self.price),
            kind,
            payload,
            payload_bytes: self.payload.len() as u64,
            pins,
            issued,
        };
        let (worker_id, nonce) = (worker.node_id(), [1; 16]);
        let hash = commit_hash(&task, &worker_id, &nonce, &digest);
        Execution {
            assignment: Signed::seal(assignment, &requester, pool),
            commit: Signed::seal(Commit { task, worker: worker_id, hash }, &worker, pool),
            reveal: Signed::seal(Reveal { task, worker: worker_id, nonce, digest }, &worker, pool),
        }
    }
}

fn publish(net: &mut Net, to: usize, gossip: &Gossip) {
    net.publish_to(to, gossip);
    net.settle();
}

#[test]
fn addresses_of_a_member_are_its_own_word() {
    let mut net = Net::four();
    let addresses = |net: &mut Net| {
        let one = net.id(1);
        let Ok(Answer::Peers(peers)) = net.ask(0, Command::ListPeers) else { panic!() };
        peers.into_iter().find(|peer| peer.node == one).unwrap().addresses
    };
    let before = addresses(&mut net);
    let elsewhere = vec!["/ip4/203.0.113.9/tcp/1".to_owned()];
    let record = MemberRecord { membership: None, node: net.id(1), addresses: elsewhere };
    publish(&mut net, 0, &Gossip::Member(record));
    assert_eq!(addresses(&mut net), before);
}

/// A false answer, first accused with heads of another shard, then with the right one: that it was accused
/// wrongly, however often, does not protect whoever gave it.
#[test]
fn a_head_of_another_shard_refutes_nothing_and_shields_nobody() {
    let mut net = Net::four();
    let pool = net.pool();
    // Member 1 owns a collection, and asked member 2.
    let spec = CollectionSpec { name: "x".into(), nonce: 1, layout: vec![], dropped: false };
    let spec = Signed::seal(spec, &key(2), &pool);
    let collection = spec.body.id(&key(2).node_id());
    publish(&mut net, 0, &Gossip::Collection(spec));
    let (shard, root) = (shard_id(&collection, 0), Digest::of(b"a root"));
    let query = ShardQuery { shard, seq_min: 1, k: 1, query: vec![] };
    let payload = codec::encode(&query);
    // The stand-in for an executor calls every score but 7 false.
    let hit = ShardHit { id: RecordId::default(), score: 8, body: vec![], proof: vec![] };
    let answer = codec::encode(&ShardAnswer {
        shard,
        seq: 1,
        root,
        exact: true,
        rows_visited: 1,
        rows: 1,
        hits: vec![hit],
    });
    let work = Work {
        requester: 2,
        worker: 3,
        kind: TaskKind::VectorSearch,
        payload: &payload,
        result: &answer,
        issued: 5,
        escrow: None,
        price: 1,
    };
    let proof = work.signed(&pool);
    let accuse = |net: &mut Net, index: u32| {
        let (chain, replicas) = (Digest::default(), vec![]);
        let head =
            ShardHead { collection, index, seq: 1, chain, root, rows: 1, replicas, renewed: 0 };
        let head = Signed::seal(head, &key(2), &pool);
        let evidence = Evidence::Answer { answer: Digest::of(&answer), head };
        let report = Gossip::Fault(Box::new(FaultReport { proof: proof.clone(), evidence }));
        net.publish_to(0, &report);
        // Before the requester says that it has nothing.
        let from = net.id(1);
        for bytes in [&payload, &answer] {
            let (content, total) = (Digest::of(bytes), bytes.len() as u64);
            let chunk = Message::Chunk { content, total, offset: 0, bytes: bytes.clone() };
            net.input(0, Input::Frame { from, bytes: encode_message(&chunk) });
        }
        net.settle();
        net.named_at(0)
    };
    for index in 1..30 {
        assert_eq!(accuse(&mut net, index), [], "by a head of shard {index}");
    }
    let liar = net.id(2);
    assert_eq!(accuse(&mut net, 0), [liar]);
}

#[test]
fn empty_accusations_do_not_make_a_liar_unnameable() {
    let mut net = Net::four();
    let pool = net.pool();
    for issued in 0..20 {
        let proof = Work {
            requester: 2,
            worker: 4,
            kind: TaskKind::Embedding,
            payload: b"nowhere",
            result: b"x",
            issued,
            escrow: None,
            price: 1,
        };
        let proof = proof.signed(&pool);
        for index in [0, 2] {
            let report = FaultReport { proof: proof.clone(), evidence: Evidence::Payload };
            publish(&mut net, index, &Gossip::Fault(Box::new(report)));
        }
    }
    net.nodes[3].lies = true;
    for n in 0..12 {
        net.submit(&format!("text {n}")).unwrap();
    }
    net.run(Micros::from_secs(15));
    let liar = net.id(3);
    for index in [0, 2] {
        assert_eq!(net.named_at(index), [liar], "at node {index}");
    }
}

/// What another build computed is nothing for this one to judge.
#[test]
fn a_worker_of_another_build_is_not_judged_by_this_one() {
    for (pin, named) in [(Digest::of(b"another build"), false), (PIN, true)] {
        let mut net = Net::four();
        let pool = net.pool();
        let work = Work {
            requester: 2,
            worker: 3,
            kind: TaskKind::Embedding,
            payload: b"text",
            result: b"what another build says",
            issued: 1,
            escrow: None,
            price: 1,
        };
        let proof = work.signed_for(pin, &pool);
        let report = FaultReport { proof, evidence: Evidence::Payload };
        // The requester is asked for the payload, and this test answers for it.
        net.frozen = Some(1);
        publish(&mut net, 0, &Gossip::Fault(Box::new(report)));
        let chunk = Message::Chunk {
            content: Digest::of(b"text"),
            total: 4,
            offset: 0,
            bytes: b"text".to_vec(),
        };
        let from = net.id(1);
        net.input(0, Input::Frame { from, bytes: encode_message(&chunk) });
        net.settle();
        let expected = if named { vec![net.id(2)] } else { vec![] };
        assert_eq!(net.named_at(0), expected);
    }
}

/// A requester takes results and says each time that it accepted something else.
#[test]
fn what_was_not_accepted_counts_for_a_while() {
    let mut net = Net::four();
    let pool = net.pool();
    let taken = |net: &mut Net, first: u64| {
        net.submit(&format!("opens an escrow {first}")).unwrap();
        let history = Command::History { account: None, limit: 100 };
        let Ok(Answer::History(blocks)) = net.ask(0, history) else { panic!() };
        let opened = blocks.iter().filter(|block| block.kind == "escrow");
        let escrow = opened.max_by_key(|block| block.seq).and_then(|block| block.escrow);
        net.records = true;
        net.delivered.clear();
        let founder = net.id(0);
        let say = |net: &mut Net, message: &Message| {
            net.input(1, Input::Frame { from: founder, bytes: encode_message(message) });
            net.settle();
        };
        for issued in first..first + 5 {
            let work = Work {
                requester: 1,
                worker: 2,
                kind: TaskKind::Embedding,
                payload: b"work",
                result: b"",
                issued,
                escrow,
                price: 9_000_000,
            };
            let assignment = work.signed(&pool).assignment;
            let task = assignment.body.task;
            let assign = Message::Assign {
                assignment,
                payload: Some(b"work".to_vec()),
                priority: Priority::Normal,
                remaining: Micros::from_secs(30),
            };
            say(net, &assign);
            let commit =
                net.delivered.iter().rev().find_map(|(to, bytes)| match decode_message(bytes) {
                    Ok(Message::Committed(commit)) if *to == 0 && commit.body.task == task => {
                        Some(commit)
                    }
                    _ => None,
                });
            if let Some(commit) = commit {
                say(net, &Message::RevealPlease { task, commits: vec![commit] });
                say(net, &Message::Over { task, accepted: None });
            }
        }
        let revealed = |(to, bytes): &&(usize, Vec<u8>)| {
            *to == 0 && matches!(decode_message(bytes), Ok(Message::Revealed { .. }))
        };
        net.delivered.iter().filter(revealed).count()
    };
    // 9 rUv each, and at most 10 without pay.
    assert_eq!(taken(&mut net, 100), 1);
    net.run(Micros::from_secs(60));
    assert_eq!(taken(&mut net, 200), 0);
    net.run(Micros::from_secs(600));
    assert_eq!(taken(&mut net, 300), 1, "an honest requester is worked for again");
}

fn names_at(net: &mut Net, index: usize) -> Vec<String> {
    match net.ask(index, Command::ListCollections) {
        Ok(Answer::Collections(list)) => list.into_iter().map(|c| c.name).collect(),
        other => panic!("{other:?}"),
    }
}

/// Nothing remembered a removal: whoever showed the owner's old statement again brought the collection
/// back, for ever where the owner did not return.
#[test]
fn a_removed_collection_stays_removed() {
    let mut net = Net::four();
    let pool = net.pool();
    let owner = key(2);
    let spec = |nonce: u64, dropped: bool| {
        let spec = CollectionSpec { name: "x".into(), nonce, layout: vec![], dropped };
        Signed::seal(spec, &owner, &pool)
    };
    publish(&mut net, 0, &Gossip::Collection(spec(1, false)));
    publish(&mut net, 3, &Gossip::Collection(spec(1, false)));
    assert_eq!(names_at(&mut net, 0), ["x"]);
    publish(&mut net, 0, &Gossip::Collection(spec(1, true)));
    let shown_again = |net: &mut Net| {
        publish(net, 0, &Gossip::Collection(spec(1, false)));
        let told = Message::Collections { specs: vec![spec(1, false)], heads: vec![] };
        let from = net.id(2);
        net.input(0, Input::Frame { from, bytes: encode_message(&told) });
        net.settle();
        names_at(net, 0)
    };
    assert_eq!(shown_again(&mut net), [""; 0]);
    net.kill(0);
    net.start(0);
    net.settle();
    assert_eq!(shown_again(&mut net), [""; 0], "after a restart");
    // Who missed the removal told of the collection when it greeted, and was told of its end.
    assert_eq!(names_at(&mut net, 3), [""; 0], "who missed the removal");
    // The end may come before the beginning.
    publish(&mut net, 2, &Gossip::Collection(spec(2, true)));
    publish(&mut net, 2, &Gossip::Collection(spec(2, false)));
    assert_eq!(names_at(&mut net, 2), [""; 0]);
    // Another one of the same name is another one.
    publish(&mut net, 0, &Gossip::Collection(spec(3, false)));
    assert_eq!(names_at(&mut net, 0), ["x"]);
}

/// After a restart an advert of long ago moved a member to where it was then.
#[test]
fn an_old_advert_says_nothing_after_a_restart() {
    let mut net = Net::four();
    let pool = net.pool();
    let one = net.id(1);
    let advert = |life: u64, counter: u64, at: &str| {
        let advert = Advert {
            counter,
            life,
            pins: vec![PIN],
            works: true,
            load: 0,
            offers: 0,
            addresses: vec![at.to_owned()],
            set_version: 1,
            frontier: Digest::default(),
            agent: "test".into(),
            epoch: 0,
        };
        Gossip::Advert(Signed::seal(advert, &key(2), &pool))
    };
    let addresses = |net: &mut Net| {
        let Ok(Answer::Peers(peers)) = net.ask(0, Command::ListPeers) else { panic!() };
        peers.into_iter().find(|peer| peer.node == one).unwrap().addresses
    };
    publish(&mut net, 0, &advert(90, 1, "/memory/old"));
    assert_eq!(addresses(&mut net), ["/memory/old"]);
    publish(&mut net, 0, &advert(90, 2, "/memory/new"));
    assert_eq!(addresses(&mut net), ["/memory/new"]);
    // Whoever could tell better is away.
    for node in [1, 2, 3, 0] {
        net.kill(node);
    }
    net.start(0);
    publish(&mut net, 0, &advert(90, 1, "/memory/old"));
    assert_eq!(addresses(&mut net), ["/memory/new"]);
    publish(&mut net, 0, &advert(90, 3, "/memory/newer"));
    assert_eq!(addresses(&mut net), ["/memory/newer"]);
}

/// What holders say is no secret, and nobody becomes one by saying it.
#[test]
fn nobody_holds_a_copy_by_its_own_word() {
    let mut net = Net::four();
    net.join(false);
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    net.ask(0, create).unwrap();
    net.append(0, 6).unwrap();
    net.run(Micros::from_secs(5));
    let view = |net: &mut Net| {
        let Ok(Answer::Collections(list)) = net.ask(0, Command::ListCollections) else { panic!() };
        list[0].shards[0].clone()
    };
    let shard = view(&mut net);
    let holders: Vec<_> = shard.replicas.iter().map(|replica| replica.node).collect();
    let other = (1..5).find(|n| !holders.contains(&net.id(*n))).unwrap();
    let from = net.id(other);
    let said = Message::ReplicaAt { shard: shard.shard, seq: shard.seq, root: shard.root };
    net.input(0, Input::Frame { from, bytes: encode_message(&said) });
    net.settle();
    let now: Vec<_> = view(&mut net).replicas.iter().map(|replica| replica.node).collect();
    assert_eq!(now, holders);
}

/// A node that is to hold a copy says that it has it. It names the right root, as everybody can.
#[test]
fn who_cannot_show_a_copy_does_not_hold_it() {
    let flipped = |mut batch: Vec<u8>| {
        *batch.last_mut()? ^= 1;
        Some(batch)
    };
    type Reads = fn(Vec<u8>) -> Option<Vec<u8>>;
    let cases: [(Reads, bool); 3] = [(Some, true), (flipped, false), (|_| None, false)];
    for (reads, holds) in cases {
        let mut net = Net::new();
        for _ in 0..4 {
            net.join(false);
        }
        let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
        net.ask(0, create).unwrap();
        net.append(0, 30).unwrap();
        let holders = |net: &mut Net| {
            let Ok(Answer::Collections(views)) = net.ask(0, Command::ListCollections) else {
                panic!()
            };
            let shard = &views[0].shards[0];
            let in_step = shard.replicas.iter().filter(|replica| replica.seq == shard.seq);
            in_step.map(|replica| replica.node).collect::<Vec<_>>()
        };
        let before = holders(&mut net);
        let other = (1..5).find(|index| !before.contains(&net.id(*index))).unwrap();
        net.nodes[other].reads = reads;
        // A holder goes, and the one that is left is to take its place.
        let gone = (1..5).find(|index| before.contains(&net.id(*index))).unwrap();
        net.kill(gone);
        net.run(Micros::from_secs(60));
        let after = holders(&mut net);
        assert_eq!(after.contains(&net.id(other)), holds, "{after:?}");
        // Nobody is named: what it said was not signed.
        assert_eq!(net.named_at(0), []);
    }
}
