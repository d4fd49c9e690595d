//! Tasks that are limited to some nodes, and nodes that work for some nodes only: what the others
//! get to see, whatever they ask.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::sync::Arc;

use edge_base::{Credits, Digest, Micros, NodeId, Rng, Signed, TaskId, TaskKind};
use edge_ledger::statement::{Assignment, Commit, FaultProof, Reveal, commit_hash, task_id};
use edge_swarm::{
    Answer, Command, Event, Guarded, Input, Peer, Refusal,
    command::{AMONG_MAX, Canaries, Priority, TaskRequest, TaskResult},
    message::{
        DeclineReason, Evidence, FaultReport, Gossip, Message, Offer, decode_message,
        encode_gossip, encode_message,
    },
};

use net::{Net, PIN};

/// More than travels inside a message.
const LARGE: usize = 900 << 10;
const KEY: Digest = Digest([0x4b; 32]);
const KEY_PIN: Digest = Digest([0x50; 32]);

fn secret(bytes: usize) -> Arc<[u8]> {
    let mut payload = vec![0; bytes];
    Rng::derive(bytes as u64, "secret").fill(&mut payload);
    payload.into()
}

fn request(payload: Arc<[u8]>, among: Option<Vec<NodeId>>) -> TaskRequest {
    TaskRequest {
        kind: TaskKind::Embedding,
        payload,
        pin: PIN,
        units: 1_000,
        priority: Priority::Normal,
        remaining: Micros::from_secs(30),
        price_max: None,
        among,
        canaries: Canaries::default(),
    }
}

fn submit(net: &mut Net, request: TaskRequest) -> TaskResult {
    match net.ask(0, Command::Submit(request)) {
        Ok(Answer::Task(result)) => result,
        other => panic!("{other:?}"),
    }
}

fn contains(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|window| window == part)
}

/// Whether a part of the payload was in a frame; a chunk of content has one every 16 KiB.
fn carries(frame: &[u8], payload: &[u8]) -> bool {
    let ends = (24..=payload.len()).step_by(16 << 10).chain([payload.len()]);
    // Only where a part begins with the same byte as the payload's.
    frame.len() >= 24 && ends.into_iter().any(|end| contains(frame, &payload[end - 24..end]))
}

/// What became of tasks among nodes 1 and 2, the first of which lies, in a pool of six; the first
/// offers get lost, and node 3 does all it can to be asked.
struct Course {
    net: Net,
    result: TaskResult,
    /// Frames of nodes 3 to 5 with a part of the payload.
    seen: usize,
    /// Frames of nodes 3 to 5 that name the task or the payload.
    named: usize,
}

fn course(bytes: usize, limited: bool) -> Course {
    let mut net = Net::new();
    for _ in 0..5 {
        net.join(false);
    }
    net.nodes[1].lies = true;
    net.records = true;
    net.lose_offers = 2;
    let payload = secret(bytes);
    let among = limited.then(|| vec![net.id(1), net.id(2)]);
    let call = net.call(0, Command::Submit(request(payload.clone(), among)));
    net.settle();
    let Ok(Answer::Tasks(tasks)) = net.ask(0, Command::ListTasks { limit: 1 }) else { panic!() };
    let task = tasks[0].task;
    let outsider = net.id(3);
    let bid = Message::Bid { task, load: 0, start_in: Micros(0) };
    for message in [bid, Message::Accepted { task }] {
        net.input(0, Input::Frame { from: outsider, bytes: encode_message(&message) });
    }
    net.run(Micros::from_secs(12));
    let content = Digest::of(&payload);
    for asked in 0..3 {
        for offset in (0..bytes as u64).step_by(256 << 10) {
            let want = encode_message(&Message::Want { content, offset });
            net.input(asked, Input::Frame { from: outsider, bytes: want });
        }
    }
    net.run(Micros::from_secs(20));
    let Some(Ok(Answer::Task(result))) = net.nodes[0].answers.remove(&call) else { panic!() };
    // Who is asked is drawn: the liar among five comes later.
    for n in 1..12 {
        let among = limited.then(|| vec![net.id(1), net.id(2)]);
        submit(&mut net, request(secret(bytes - n), among));
    }
    net.run(Micros::from_secs(20));
    let others = || net.delivered.iter().filter(|(to, _)| *to >= 3).map(|(_, frame)| frame);
    let names = |frame: &[u8]| {
        // That it is not here is all that is answered to who names it.
        !matches!(decode_message(frame), Ok(Message::NotHere { .. }))
            && (contains(frame, task.as_bytes()) || contains(frame, content.as_bytes()))
    };
    let payloads: Vec<_> = (0..12).map(|n| secret(bytes - n)).collect();
    let carry = |frame: &[u8]| payloads.iter().any(|payload| carries(frame, payload));
    let seen = others().filter(|frame| carry(frame)).count();
    let named = others().filter(|frame| names(frame)).count();
    Course { net, result, seen, named }
}

fn verified(net: &Net, index: usize) -> usize {
    let fault = |event: &&Event| matches!(event, Event::FaultVerified { .. });
    net.nodes[index].events.iter().filter(fault).count()
}

#[test]
fn nobody_else_sees_the_payload_the_task_or_the_dispute() {
    for bytes in [300, LARGE] {
        let Course { net, result, seen, named } = course(bytes, true);
        assert_eq!((seen, named), (0, 0), "{bytes} bytes");
        let check = &result.check;
        assert_eq!((&check.agreed, &check.disagreed), (&vec![net.id(2)], &vec![net.id(1)]));
        assert!(check.own_execution.as_ref().unwrap().contains("too few other nodes"));
        // Its own node knows the liar.
        assert_eq!([0, 1, 2, 3, 4, 5].map(|index| verified(&net, index)), [1, 0, 0, 0, 0, 0]);
    }
}

/// The control: the same without the limit.
#[test]
fn without_the_limit_all_that_is_seen() {
    for bytes in [300, LARGE] {
        let Course { net, seen, named, .. } = course(bytes, false);
        assert!(seen > 0 && named > 0, "{bytes} bytes: {seen}, {named}");
        let told = (0..6).filter(|index| verified(&net, *index) > 0).count();
        assert!(told >= 4, "{told} know the liar");
    }
}

/// A liar that only its requester may name is still named after a restart, and not told of to those
/// who come, before or after.
#[test]
fn a_private_dispute_stays_one_after_a_restart() {
    for (limited, restart) in [(true, false), (true, true), (false, false), (false, true)] {
        let Course { mut net, .. } = course(300, limited);
        let liar = net.id(1);
        if restart {
            net.kill(0);
            net.start(0);
            net.run(Micros::from_secs(3));
        }
        let Ok(Answer::Status(status)) = net.ask(0, Command::Status) else { panic!() };
        assert_eq!(status.faulty, vec![liar]);
        net.delivered.clear();
        net.join(false);
        net.run(Micros::from_secs(5));
        let told = net.delivered.iter().filter(|(to, _)| *to == 6).any(|(_, frame)| {
            matches!(edge_swarm::message::decode_gossip(frame), Ok(Gossip::Fault(_)))
        });
        assert_eq!(told, !limited, "the newcomer is told of public faults only ({restart})");
    }
}

#[test]
fn what_is_missing_is_executed_here() {
    let mut net = Net::new();
    let (first, second) = (net.join(false), net.join(false));
    let payload = || secret(300);
    let among = |net: &Net, nodes: &[usize]| Some(nodes.iter().map(|n| net.id(*n)).collect());
    let both = among(&net, &[first, second]);
    let check = submit(&mut net, request(payload(), both.clone())).check;
    assert_eq!((check.agreed.len(), check.own_execution), (2, None));
    let one = among(&net, &[first]);
    let check = submit(&mut net, request(payload(), one)).check;
    assert_eq!(check.agreed, vec![net.id(first)]);
    assert!(check.own_execution.is_some(), "one stranger is not enough");
    let check = submit(&mut net, request(payload(), Some(vec![]))).check;
    assert!(check.self_checked);
    net.kill(first);
    net.kill(second);
    assert!(submit(&mut net, request(payload(), both)).check.self_checked);
}

/// One result of a node of the same owner is enough; the audits of others go nowhere else.
#[test]
fn audits_of_own_nodes_are_made_here() {
    let mut net = Net::new();
    let own = net.join(true);
    net.join(false);
    net.join(true);
    net.records = true;
    let mut audits = 0;
    for n in 0..60 {
        let payload = secret(300 + n);
        let among = Some(vec![net.id(own)]);
        let check = submit(&mut net, request(payload.clone(), among)).check;
        assert_eq!(check.agreed, vec![net.id(own)]);
        audits += usize::from(check.own_execution.is_some());
        assert!(!net.delivered.iter().any(|(to, frame)| *to != own && carries(frame, &payload)));
    }
    assert!((1..20).contains(&audits), "{audits} of 60");
}

#[test]
fn an_encryption_names_its_nodes_and_not_too_many() {
    let mut net = Net::new();
    let mut refused = |request| match net.ask(0, Command::Submit(request)) {
        Err(Refusal::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    let encryption = TaskRequest { kind: TaskKind::Encryption, ..request(secret(99), None) };
    assert!(refused(encryption).contains("which nodes may have it"));
    let many = vec![NodeId([1; 32]); AMONG_MAX + 1];
    assert!(refused(request(secret(99), Some(many))).contains("64 nodes"));
}

/// A pool with a key at node 1, for node 0; nodes 2 and 3 are of the same owner and not meant.
fn with_key() -> Net {
    with_key_that(true)
}

/// Without sessions what nodes say can be made up here, and what comes of it be seen.
fn with_key_that(keeps_private: bool) -> Net {
    let mut net = Net::new();
    net.keeps_private = keeps_private;
    for owner in [true, true, true] {
        net.join(owner);
    }
    let nodes = vec![net.id(0)];
    net.nodes[1].guarded = vec![Guarded { pin: KEY_PIN, key: KEY, nodes }];
    net.kill(1);
    net.start(1);
    net.run(Micros::from_secs(3));
    net.records = true;
    net
}

fn keyed(key: Digest, rest: usize) -> Arc<[u8]> {
    [key.as_bytes(), &secret(rest)[..]].concat().into()
}

fn assignment(
    net: &Net,
    (requester, worker): (usize, usize),
    kind: TaskKind,
    pins: Digest,
    payload: &[u8],
) -> Signed<Assignment> {
    let pool = Peer::pool_of(&net.nodes[0].stored()).unwrap();
    let digest = Digest::of(payload);
    let (me, issued) = (net.id(requester), 7);
    let body = Assignment {
        task: task_id(&me, issued, kind, &digest),
        requester: me,
        worker: net.id(worker),
        escrow: None,
        price: Credits::ZERO,
        kind,
        payload: digest,
        payload_bytes: payload.len() as u64,
        pins,
        issued,
    };
    Signed::seal(body, &net.nodes[requester].key, &pool)
}

fn assign(net: &mut Net, assignment: Signed<Assignment>, payload: Option<Vec<u8>>) {
    let from = assignment.body.requester;
    let to = (0..4).find(|n| net.id(*n) == assignment.body.worker).unwrap();
    let (priority, remaining) = (Priority::Normal, Micros::from_secs(20));
    let message = Message::Assign { assignment, payload, priority, remaining };
    net.input(to, Input::Frame { from, bytes: encode_message(&message) });
    net.settle();
}

/// What a node was answered about a task last.
fn answered(net: &Net, index: usize, task: TaskId) -> Option<Message> {
    let about = |message: &Message| match message {
        Message::Bid { task: t, .. }
        | Message::Decline { task: t, .. }
        | Message::Accepted { task: t } => *t == task,
        _ => false,
    };
    let mine = net.delivered.iter().rev().filter(|(to, _)| *to == index);
    mine.filter_map(|(_, frame)| decode_message(frame).ok()).find(about)
}

/// Else whoever is a member could have everything deciphered.
#[test]
fn a_key_works_for_its_nodes_and_for_nobody_else() {
    let mut net = with_key();
    let payload = keyed(KEY, 300);
    let among = Some(vec![net.id(1), net.id(2)]);
    let mine =
        TaskRequest { kind: TaskKind::Encryption, pin: KEY_PIN, ..request(payload.clone(), among) };
    assert_eq!(submit(&mut net, mine.clone()).check.agreed, vec![net.id(1)]);
    assert!(net.nodes[1].ran.contains(&payload) && !net.nodes[2].ran.contains(&payload));

    // The pin of one key does not open another.
    net.nodes[1].ran.clear();
    let other = TaskRequest { payload: keyed(Digest([1; 32]), 300), ..mine };
    let check = submit(&mut net, other).check;
    assert!(check.self_checked && net.nodes[1].ran.is_empty(), "{check:?}");

    // Of its own owner's nodes, too, only those that are named.
    let mut net = with_key_that(false);
    for (kind, pins) in [
        (TaskKind::Encryption, KEY_PIN),
        (TaskKind::Encryption, PIN),
        (TaskKind::Embedding, KEY_PIN),
    ] {
        net.nodes[1].ran.clear();
        let assignment = assignment(&net, (2, 1), kind, pins, &payload);
        let task = assignment.body.task;
        let offer = Offer {
            task,
            kind,
            pin: pins,
            payload_bytes: 332,
            price: Credits::ZERO,
            priority: Priority::Normal,
            remaining: Micros::from_secs(20),
        };
        let declined = Some(Message::Decline { task, reason: DeclineReason::Pin });
        let bytes = encode_message(&Message::Offer(offer));
        net.delivered.clear();
        let from = net.id(2);
        net.input(1, Input::Frame { from, bytes });
        net.settle();
        assert_eq!(answered(&net, 2, task), declined, "{kind} under {pins}");
        net.delivered.clear();
        assign(&mut net, assignment, Some(payload.to_vec()));
        assert_eq!(answered(&net, 2, task), declined, "{kind} under {pins}");
        assert!(net.nodes[1].ran.is_empty());
    }
    // The control: the same node is worked for otherwise.
    let public = assignment(&net, (2, 1), TaskKind::Embedding, PIN, &payload);
    assign(&mut net, public, Some(payload.to_vec()));
    assert_eq!(net.nodes[1].ran, [payload]);
}

/// Which keys a node has stands in no advert.
#[test]
fn a_guarded_pin_is_told_to_nobody() {
    let mut net = with_key();
    net.run(Micros::from_secs(60));
    let told = |part: &[u8]| net.delivered.iter().any(|(_, frame)| contains(frame, part));
    assert!(told(PIN.as_bytes()) && !told(KEY_PIN.as_bytes()) && !told(KEY.as_bytes()));
}

/// A report about an encryption would have its payload fetched and deciphered by all who hear it.
#[test]
fn reports_about_encryptions_are_not_judged() {
    let encryption = (TaskKind::Encryption, KEY_PIN, false);
    for (kind, pin, judged) in [encryption, (TaskKind::Embedding, PIN, true)] {
        let mut net = with_key();
        let payload = keyed(KEY, 300);
        let pool = Peer::pool_of(&net.nodes[0].stored()).unwrap();
        let assignment = assignment(&net, (0, 3), kind, pin, &payload);
        let (task, worker, nonce) = (assignment.body.task, net.id(3), [0; 16]);
        let digest = Digest::of(b"a lie");
        let hash = commit_hash(&task, &worker, &nonce, &digest);
        let key = &net.nodes[3].key;
        let commit = Signed::seal(Commit { task, worker, hash }, key, &pool);
        let reveal = Signed::seal(Reveal { task, worker, nonce, digest }, key, &pool);
        let proof = FaultProof { assignment, commit, reveal };
        let report = FaultReport { proof, evidence: Evidence::Payload };
        let bytes = encode_gossip(&Gossip::Fault(Box::new(report)));
        let from = net.id(0);
        net.input(1, Input::Published { from, number: 0, bytes });
        net.settle();
        let asked = net.delivered.iter().any(|(to, frame)| {
            *to == 0 && matches!(decode_message(frame), Ok(Message::Want { .. }))
        });
        assert_eq!(asked, judged, "{kind}");
    }
}

/// Two requesters name the same digest; one of them has the content. What it sends is not computed
/// on for the other one, nor given to it.
#[test]
fn what_one_requester_sends_is_not_for_another() {
    let mut net = with_key();
    let payload = secret(LARGE);
    net.kill(2);
    net.kill(3);
    let (first, second) = (net.id(2), net.id(3));
    for requester in [2, 3] {
        let of = assignment(&net, (requester, 1), TaskKind::Embedding, PIN, &payload);
        assign(&mut net, of, None);
    }
    let content = Digest::of(&payload);
    for (n, bytes) in payload.chunks(256 << 10).enumerate() {
        let (total, offset) = (payload.len() as u64, (n * (256 << 10)) as u64);
        let chunk = Message::Chunk { content, total, offset, bytes: bytes.to_vec() };
        net.input(1, Input::Frame { from: first, bytes: encode_message(&chunk) });
        net.settle();
    }
    assert_eq!(net.nodes[1].ran.len(), 1, "for the one that sent it");
    // Nor does who names it get it.
    net.start(3);
    net.settle();
    net.delivered.clear();
    let want = encode_message(&Message::Want { content, offset: 0 });
    net.input(1, Input::Frame { from: second, bytes: want });
    net.settle();
    assert!(!net.delivered.iter().any(|(_, frame)| carries(frame, &payload)));
    assert!(net.delivered.iter().any(|(to, frame)| {
        *to == 3 && matches!(decode_message(frame), Ok(Message::NotHere { .. }))
    }));
}

/// A key that comes to a running node, and goes again: it works with it from that moment on, and no longer.
#[test]
fn a_running_node_is_told_of_keys() {
    let mut net = Net::new();
    for _ in 0..2 {
        net.join_with(false, Credits::from_whole(10).unwrap());
    }
    net.run(Micros::from_secs(3));
    let nodes = vec![net.id(0), net.id(1)];
    let guarded = vec![Guarded { pin: KEY_PIN, key: KEY, nodes }];
    let guard = |net: &mut Net, index: usize, guarded: Vec<Guarded>| {
        assert!(matches!(net.ask(index, Command::Guard(guarded)), Ok(Answer::Done)));
    };
    let encrypt = |net: &mut Net, n: u8| {
        let request = TaskRequest {
            kind: TaskKind::Encryption,
            pin: KEY_PIN,
            ..request(Arc::from([&KEY.0[..], &[n; 40]].concat()), Some(vec![net.id(1)]))
        };
        submit(net, request).check.agreed
    };
    guard(&mut net, 0, guarded.clone());
    assert_eq!(encrypt(&mut net, 1), [], "the other one does not have it yet");
    guard(&mut net, 1, guarded);
    assert_eq!(encrypt(&mut net, 2), [net.id(1)]);
    guard(&mut net, 1, Vec::new());
    assert_eq!(encrypt(&mut net, 3), [], "nor any more");
}
