//! What is limited to some nodes travels in sessions: what others can read, and what they can do with what
//! they recorded, changed or made up.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::sync::Arc;

use edge_base::{
    Credits, Digest, Micros, NodeId, Rng, SecretKey, Signed, TaskId, TaskKind, Verifier,
    session::{
        Limits, Session,
        handshake::{Initiator, Opening},
    },
};
use edge_swarm::{
    Answer, Command, Guarded, Input, Peer,
    command::{Priority, TaskRequest, TaskResult},
    message::{Message, Offer, decode_message, encode_message},
};

use net::Net;

const KEY: Digest = Digest([0x4b; 32]);
const KEY_PIN: Digest = Digest([0x50; 32]);
/// More than travels inside a message.
const LARGE: usize = 900 << 10;

fn secret(bytes: usize, seed: u64) -> Arc<[u8]> {
    let mut payload = KEY.0.to_vec();
    payload.resize(bytes, 0);
    Rng::derive(seed, "secret").fill(&mut payload[32..]);
    payload.into()
}

/// A key of nodes 0, 1 and 2, which are an owner's and two others'; nodes 3 and 4 have nothing to do with it.
fn pool(keeps_private: bool) -> Net {
    let mut net = Net::new();
    net.keeps_private = keeps_private;
    for _ in 0..4 {
        net.join_with(false, Credits::from_whole(100).unwrap());
    }
    let nodes = vec![net.id(0), net.id(1), net.id(2)];
    for index in 0..3 {
        let nodes = nodes.clone();
        net.nodes[index].guarded = vec![Guarded { pin: KEY_PIN, key: KEY, nodes }];
        net.kill(index);
        net.start(index);
    }
    net.run(Micros::from_secs(3));
    net.records = true;
    net
}

fn encryption(net: &Net, payload: Arc<[u8]>) -> Command {
    Command::Submit(TaskRequest {
        kind: TaskKind::Encryption,
        payload,
        pin: KEY_PIN,
        units: 1_000,
        priority: Priority::Normal,
        remaining: Micros::from_secs(30),
        price_max: None,
        among: Some(vec![net.id(1), net.id(2)]),
        canaries: edge_swarm::command::Canaries::default(),
    })
}

fn encrypt(net: &mut Net, bytes: usize, seed: u64) -> TaskResult {
    let command = encryption(net, secret(bytes, seed));
    match net.ask(0, command) {
        Ok(Answer::Task(result)) => result,
        other => panic!("{other:?}"),
    }
}

fn contains(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|window| window == part)
}

fn counters(net: &Net, index: usize) -> edge_swarm::Counters {
    net.nodes[index].peer.as_ref().unwrap().counters()
}

fn pool_of(net: &Net) -> Digest {
    Peer::pool_of(&net.nodes[0].stored()).unwrap()
}

fn hears(net: &mut Net, index: usize, from: NodeId, message: &Message) {
    net.input(index, Input::Frame { from, bytes: encode_message(message) });
    net.settle();
}

/// What of one encryption stands in any frame to anybody: its text, its result, its key's id and pin, the
/// task's name and the digests by which a text could be guessed.
fn readable(keeps_private: bool, bytes: usize) -> Vec<&'static str> {
    let mut net = pool(keeps_private);
    let payload = secret(bytes, 1);
    let result = encrypt(&mut net, bytes, 1);
    assert_eq!(result.check.agreed.len(), 2, "{:?}", result.check);
    net.run(Micros::from_secs(20));
    let frames: Vec<&[u8]> = net.delivered.iter().map(|(_, frame)| &frame[..]).collect();
    assert!(frames.len() > 50);
    let digest = Digest::of(&payload);
    let output = Digest::of_value("run", &payload[..]);
    let of_output = Digest::of(&result.result);
    let parts: [(&str, &[u8]); 8] = [
        ("the text", &payload[32..64]),
        ("its end", &payload[bytes - 24..]),
        ("the key's id", &KEY.0),
        ("the key's pin", &KEY_PIN.0),
        ("the task", result.task.as_bytes()),
        ("the text's digest", digest.as_bytes()),
        ("the result", output.as_bytes()),
        ("the result's digest", of_output.as_bytes()),
    ];
    let stands = |part: &[u8]| frames.iter().any(|frame| contains(frame, part));
    parts.into_iter().filter(|(_, part)| stands(part)).map(|(name, _)| name).collect()
}

#[test]
fn nothing_of_an_encryption_is_readable_between_the_nodes() {
    for bytes in [300, LARGE] {
        assert_eq!(readable(true, bytes), Vec::<&str>::new(), "{bytes} bytes");
        // The control: without sessions all of it is.
        assert_eq!(readable(false, bytes).len(), 8, "{bytes} bytes");
    }
}

/// Everything that was ever said in sessions, said again to its receiver, back to its sender and to
/// somebody else, changed and unchanged: nothing comes of it, and sessions go on.
#[test]
fn recorded_frames_are_of_no_use() {
    let mut net = pool(true);
    for seed in 0..3 {
        assert_eq!(encrypt(&mut net, 300, seed).check.agreed.len(), 2);
    }
    net.run(Micros::from_secs(40));
    let recorded: Vec<(usize, NodeId, Vec<u8>)> = net
        .sent
        .iter()
        .filter(|(_, _, frame)| {
            matches!(
                decode_message(frame),
                Ok(Message::SessionOpen(_) | Message::SessionAccept(_) | Message::Private(_))
            )
        })
        .cloned()
        .collect();
    assert!(recorded.len() > 30, "{}", recorded.len());
    let ran: Vec<usize> = net.nodes.iter().map(|node| node.ran.len()).collect();
    let refused: u64 = (0..3).map(|index| counters(&net, index).private_refused).sum();
    let received: u64 = (0..5).map(|index| counters(&net, index).private_received).sum();
    let stranger = net.id(3);
    let mut rng = Rng::derive(7, "replays");
    let mut said = 0;
    for _ in 0..1_000 {
        let (to, from, mut frame) = rng.pick(&recorded).unwrap().clone();
        let (to, from) = match rng.below(4) {
            // To whom it was meant for, as its sender.
            0 => (to, from),
            // Back to its sender, as its receiver.
            1 => (net.index_of(&from).unwrap(), net.id(to)),
            // To another node, as its sender; to its receiver, as another node.
            2 => (3 - to.min(2), from),
            _ => (to, stranger),
        };
        if rng.chance(1, 3) {
            let at = 6 + rng.below(frame.len() as u64 - 6) as usize;
            frame[at] ^= 1 << rng.below(8);
        }
        if from == net.id(to) {
            continue;
        }
        said += 1;
        net.input(to, Input::Frame { from, bytes: frame });
        net.settle();
        net.now = net.now + Micros::from_millis(20);
    }
    assert!(said > 900);
    assert_eq!(net.nodes.iter().map(|node| node.ran.len()).collect::<Vec<_>>(), ran);
    let again: u64 = (0..5).map(|index| counters(&net, index).private_received).sum();
    // What nodes say in the sessions that they open again is theirs; nothing recorded is read twice.
    let now_refused: u64 = (0..3).map(|index| counters(&net, index).private_refused).sum();
    assert!(now_refused >= refused + 300, "{refused} {now_refused} {received} {again}");
    net.run(Micros::from_secs(20));
    assert_eq!(encrypt(&mut net, 300, 9).check.agreed.len(), 2, "sessions go on");
}

/// A member that can make up frames in the name of nobody but itself, and speaks sessions well.
struct Insider {
    key: SecretKey,
    session: Session,
}

impl Insider {
    /// Agrees on a session with node 1, as node 3, whose own peer is away.
    fn new(net: &mut Net) -> Self {
        net.kill(3);
        let (key, pool) = (net.nodes[3].key.clone(), pool_of(net));
        let begun = Initiator::begin(&key, &pool, net.id(1), [77; 32]);
        net.replies.clear();
        let open = Message::SessionOpen(Box::new(begun.opening().clone()));
        hears(net, 1, key.node_id(), &open);
        let answer = net.replies.iter().find_map(|(_, to, frame)| match decode_message(frame) {
            Ok(Message::SessionAccept(answer)) if *to == key.node_id() => Some(*answer),
            _ => None,
        });
        let (mut verifier, limits) = (Verifier::strict(), Limits::default());
        let answer = answer.expect("any member may have a session");
        let session = begun.finish(&answer, &pool, &mut verifier, limits, net.now).unwrap();
        Insider { key, session }
    }

    fn says(&mut self, net: &mut Net, bytes: Vec<u8>) {
        let record = self.session.encrypt(net.now, bytes).unwrap();
        hears(net, 1, self.key.node_id(), &Message::Private(record));
    }
}

#[test]
fn what_comes_in_a_session_is_a_message_of_a_member_and_no_more() {
    let mut net = pool(true);
    let mut insider = Insider::new(&mut net);
    let opening = Initiator::begin(&insider.key, &pool_of(&net), net.id(1), [78; 32]);
    let record = insider.session.encrypt(net.now, Vec::new()).unwrap();
    let gone = Message::SessionGone(record.session);
    let nested = [
        encode_message(&Message::Private(record)),
        encode_message(&Message::SessionOpen(Box::new(opening.opening().clone()))),
        encode_message(&gone),
        encode_message(&Message::Refused { reason: "a greeting".into() }),
        vec![1],
        vec![0; 1_000],
    ];
    for (number, inner) in nested.into_iter().enumerate() {
        let refused = counters(&net, 1).private_refused;
        insider.says(&mut net, inner);
        assert_eq!(counters(&net, 1).private_refused, refused + 1, "{number}");
    }
    // It has a session, and the key is still not for it.
    let task = TaskId(Digest([3; 32]));
    let offer = Message::Offer(offer(task));
    net.replies.clear();
    insider.says(&mut net, encode_message(&offer));
    let me = insider.key.node_id();
    let answer = net.replies.iter().find_map(|(from, to, frame)| match decode_message(frame) {
        Ok(Message::Private(record)) if (*from, *to) == (1, me) => Some(record),
        _ => None,
    });
    let answer = insider.session.decrypt(net.now, &answer.expect("an answer in the session"));
    let answer = decode_message(&answer.unwrap()).unwrap();
    assert!(matches!(answer, Message::Decline { task: of, .. } if of == task), "{answer:?}");
}

fn offer(task: TaskId) -> Offer {
    Offer {
        task,
        kind: TaskKind::Encryption,
        pin: KEY_PIN,
        payload_bytes: 332,
        price: Credits::ZERO,
        priority: Priority::Normal,
        remaining: Micros::from_secs(20),
    }
}

/// Who cannot read a session says the same outside of it, in the name of a node that may.
#[test]
fn outside_of_a_session_nothing_is_answered() {
    for keeps_private in [true, false] {
        let mut net = pool(keeps_private);
        let (asker, task) = (net.id(0), TaskId(Digest([3; 32])));
        net.replies.clear();
        hears(&mut net, 1, asker, &Message::Offer(offer(task)));
        let answered = net.replies.iter().any(|(from, to, frame)| {
            let about = matches!(
                decode_message(frame),
                Ok(Message::Bid { task: of, .. } | Message::Decline { task: of, .. }) if of == task
            );
            (*from, *to) == (1, asker) && about
        });
        assert_eq!(answered, !keeps_private);
        // And answers to an own one do not count: node 1 is frozen, somebody bids for it.
        net.frozen = Some(1);
        let call = {
            let command = encryption(&net, secret(300, 4));
            net.call(0, command)
        };
        net.settle();
        let Ok(Answer::Tasks(tasks)) = net.ask(0, Command::ListTasks { limit: 1 }) else {
            panic!()
        };
        let (worker, task) = (net.id(1), tasks[0].task);
        net.replies.clear();
        let bid = Message::Bid { task, load: 0, start_in: Micros(0) };
        hears(&mut net, 0, worker, &bid);
        net.run(Micros::from_millis(300));
        let assigned = net.replies.iter().any(|(from, to, frame)| {
            let assigns = matches!(decode_message(frame), Ok(Message::Assign { .. }));
            (*from, *to) == (0, worker) && assigns
        });
        assert_eq!(assigned, !keeps_private);
        net.run(Micros::from_secs(20));
        assert!(matches!(net.nodes[0].answers.remove(&call), Some(Ok(Answer::Task(_)))));
    }
}

/// Openings of another pool, for somebody else, by somebody else, changed.
#[test]
fn openings_that_are_none_are_not_answered() {
    let mut net = pool(true);
    let (member, other) = (net.nodes[3].key.clone(), net.id(2));
    let pool = pool_of(&net);
    let signed = |pool: &Digest, to, key: &SecretKey, seed| {
        Initiator::begin(key, pool, to, [seed; 32]).opening().clone()
    };
    let me = net.id(1);
    let mut changed = signed(&pool, me, &member, 1);
    changed.body.public[5] ^= 1;
    let unknown_suite = {
        let body = Opening { suite: 2, ..signed(&pool, me, &member, 2).body };
        Signed::seal(body, &member, &pool)
    };
    let no_key = {
        let body = Opening { public: vec![0xff; 1_216], ..signed(&pool, me, &member, 3).body };
        Signed::seal(body, &member, &pool)
    };
    let none = [
        signed(&Digest::of(b"another pool"), me, &member, 4),
        signed(&pool, other, &member, 5),
        signed(&pool, me, &SecretKey::from_seed([99; 32]), 6),
        changed,
        unknown_suite,
        no_key,
    ];
    let accepts = |net: &Net| {
        let accept = |frame: &[u8]| matches!(decode_message(frame), Ok(Message::SessionAccept(_)));
        net.replies.iter().filter(|(from, _, frame)| *from == 1 && accept(frame)).count()
    };
    for (number, opening) in none.into_iter().enumerate() {
        net.replies.clear();
        // Not to be refused for its number.
        net.run(Micros::from_secs(3));
        let before = accepts(&net);
        hears(&mut net, 1, member.node_id(), &Message::SessionOpen(Box::new(opening)));
        assert_eq!(accepts(&net), before, "{number}");
    }
    let good = signed(&pool, me, &member, 7);
    net.replies.clear();
    net.run(Micros::from_secs(3));
    for _ in 0..3 {
        hears(&mut net, 1, member.node_id(), &Message::SessionOpen(Box::new(good.clone())));
    }
    assert_eq!(accepts(&net), 3, "the same answer to the same question");
    assert_eq!(counters(&net, 1).sessions_agreed, 0, "nothing is agreed on before it is spoken in");
}

/// A member begins handshakes without end, each of which costs whoever answers.
#[test]
fn endless_handshakes_cost_a_bounded_number_of_answers() {
    for limits in [true, false] {
        let (answered, sessions) = endless_handshakes(limits);
        if limits {
            // Four at once and one each two seconds for ten seconds.
            assert!((4..=9).contains(&answered), "{answered} answers");
        } else {
            assert_eq!(answered, 1_000, "the control: without limits each is computed");
        }
        assert!(sessions <= 4, "what nobody speaks in is not kept: {sessions}");
    }
}

/// How many of a thousand openings of one member in ten seconds are answered, and how many sessions are held.
fn endless_handshakes(limits: bool) -> (usize, usize) {
    let mut net = pool(true);
    net.limits = limits;
    net.kill(1);
    net.start(1);
    net.run(Micros::from_secs(3));
    let (member, pool, me) = (net.nodes[3].key.clone(), pool_of(&net), net.id(1));
    net.kill(3);
    net.replies.clear();
    for n in 0..1_000u32 {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&n.to_le_bytes());
        let opening = Initiator::begin(&member, &pool, me, seed).opening().clone();
        hears(&mut net, 1, member.node_id(), &Message::SessionOpen(Box::new(opening)));
        net.now = net.now + Micros::from_millis(10);
    }
    let accept = |frame: &[u8]| matches!(decode_message(frame), Ok(Message::SessionAccept(_)));
    let answered = net.replies.iter().filter(|(_, _, frame)| accept(frame)).count();
    let held = net.nodes[1].peer.as_ref().unwrap().held();
    let sessions = held.iter().find(|holding| holding.what == "sessions").unwrap();
    let sessions = sessions.count;
    assert_eq!(encrypt(&mut net, 300, 1).check.agreed.len(), 2, "others are not in its way");
    (answered, sessions)
}

/// Either end forgets its sessions with its process; the next task heals them.
#[test]
fn a_restart_of_either_end_heals() {
    let mut net = pool(true);
    assert_eq!(encrypt(&mut net, 300, 0).check.agreed.len(), 2);
    for (round, restarted) in [1, 0, 2, 0, 1].into_iter().enumerate() {
        net.kill(restarted);
        net.start(restarted);
        net.run(Micros::from_secs(3));
        let check = encrypt(&mut net, 300, 10 + round as u64).check;
        assert_eq!(check.agreed.len(), 2, "round {round}: {check:?}");
    }
    // A worker that loses its sessions and nothing else, in the middle of a task.
    let command = encryption(&net, secret(LARGE, 30));
    let call = net.call(0, command);
    net.run(Micros::from_millis(1));
    net.kill(1);
    net.start(1);
    net.run(Micros::from_secs(30));
    assert!(matches!(net.nodes[0].answers.remove(&call), Some(Ok(Answer::Task(_)))));
    // Sessions of before are not spoken in: each process has its own.
    let spoken = net.delivered.iter().filter_map(|(_, frame)| match decode_message(frame) {
        Ok(Message::Private(record)) => Some((record.session, record.phase, record.counter)),
        _ => None,
    });
    let mut nonces: Vec<_> = spoken.collect();
    nonces.sort();
    let all = nonces.len();
    nonces.dedup();
    // Both directions of a session count from zero.
    assert!(all <= 2 * nonces.len() && all > 60, "{all} records");
}

/// A network that loses every fifth frame.
#[test]
fn what_is_lost_is_said_again() {
    let mut net = pool(true);
    net.loss = Some((Rng::derive(3, "loss"), 200_000));
    let mut by_others = 0;
    for seed in 0..12 {
        let result = encrypt(&mut net, 300, seed);
        assert_eq!(result.result[..], Digest::of_value("run", &secret(300, seed)[..]).0);
        by_others += result.check.agreed.len();
    }
    assert!(by_others >= 12, "{by_others} of 24 results of others");
}

/// Both ends open a session in the same moment.
#[test]
fn openings_may_cross() {
    let mut net = pool(true);
    let (first, second) = (net.id(0), net.id(1));
    let mut calls = Vec::new();
    for (asker, other) in [(0, second), (1, first)] {
        let request = TaskRequest {
            kind: TaskKind::Encryption,
            payload: secret(300, asker as u64),
            pin: KEY_PIN,
            units: 1_000,
            priority: Priority::Normal,
            remaining: Micros::from_secs(30),
            price_max: None,
            among: Some(vec![other]),
            canaries: edge_swarm::command::Canaries::default(),
        };
        calls.push((asker, other, net.call(asker, Command::Submit(request))));
    }
    net.run(Micros::from_secs(10));
    for (asker, other, call) in calls {
        let Some(Ok(Answer::Task(result))) = net.nodes[asker].answers.remove(&call) else {
            panic!()
        };
        assert_eq!(result.check.agreed, vec![other]);
    }
}

/// A session ends after an hour, and another begins when there is something to say.
#[test]
fn sessions_are_replaced() {
    let mut net = pool(true);
    net.kill(3);
    net.kill(4);
    for hour in 0..2 {
        assert_eq!(encrypt(&mut net, 300, hour).check.agreed.len(), 2);
        let agreed = counters(&net, 0).sessions_agreed;
        assert_eq!(agreed, 2 * (hour + 1), "one with each worker, an hour");
        net.records = false;
        net.run(Micros::from_secs(3_700));
        let held = net.nodes[0].peer.as_ref().unwrap().held();
        let sessions = held.iter().find(|holding| holding.what == "sessions").unwrap();
        assert_eq!(sessions.count, 0, "the secrets of sessions that are over are gone");
    }
}

/// What waits for a node that does not answer is bounded and given up.
#[test]
fn what_waits_is_bounded() {
    let mut net = pool(true);
    net.frozen = Some(1);
    let mut most = 0;
    for seed in 0..40 {
        let command = encryption(&net, secret(600 << 10, seed));
        net.call(0, command);
        net.run(Micros::from_millis(20));
        for holding in net.nodes[0].peer.as_ref().unwrap().held() {
            assert!(holding.count <= holding.limit, "{holding:?}");
            if holding.what == "bytes that wait for a session" {
                most = most.max(holding.count);
            }
        }
    }
    assert!(most > 0 && most <= 4 << 20, "{most} bytes");
    net.run(Micros::from_secs(60));
    let held = net.nodes[0].peer.as_ref().unwrap().held();
    let waits = held.iter().find(|holding| holding.what == "bytes that wait for a session");
    assert_eq!(waits.unwrap().count, 0);
}
