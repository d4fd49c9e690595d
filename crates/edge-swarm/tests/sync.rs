//! How ledgers with many accounts become one: by sketches of their heads where few differ, by lists
//! where many do, and whatever others make up.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::sync::{Arc, LazyLock};

use edge_base::{Credits, Digest, Micros, NodeId, Rng, SecretKey, Signed, Verifier, codec};
use edge_ledger::{
    Block, BlockKind, Certificate, Genesis, Head, Heads as _, Ledger, Network, Sketch, VoteBody,
    block_hash,
};
use edge_swarm::{
    Input, Table,
    message::{Message, SketchAnswer, decode_message, encode_message},
};

use net::Net;

const OWNERS: u64 = 220;

fn key(n: u64) -> SecretKey {
    let mut seed = [0x77; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    // The founder of the net.
    if n == 0 { SecretKey::from_seed([1; 32]) } else { SecretKey::from_seed(seed) }
}

/// The next block of an owner with the founder's vote, applied.
fn act(ledger: &mut Ledger, owner: u64, kind: BlockKind) -> Arc<Certificate> {
    let (pool, mut known) = (ledger.pool(), Verifier::trusting_for_simulation());
    let block: Block = ledger.next_block(key(owner).node_id(), kind).unwrap();
    let block = Signed::seal(block, &key(owner), &pool);
    let body = VoteBody { set_version: 1, epoch: 0, block: block_hash(&block) };
    let vote = Signed::seal(body, &key(0), &pool);
    let votes = vec![(vote.signer, vote.signature)];
    let certificate = Arc::new(Certificate { block, set_version: 1, votes });
    ledger.apply(certificate.clone(), &mut known).unwrap();
    certificate
}

fn pay(to: u64, amount: u64) -> BlockKind {
    let amount = Credits::from_micro(amount);
    BlockKind::Send { to: key(to).node_id(), amount, memo: Digest::default() }
}

/// The certificates that everybody has, and then two of each owner.
struct Past {
    common: Vec<Arc<Certificate>>,
    later: Vec<Vec<Arc<Certificate>>>,
}

static PAST: LazyLock<Past> = LazyLock::new(|| {
    let founder = key(0).node_id();
    let grant = Credits::from_whole(1_000_000).unwrap();
    let genesis = Genesis::new(Network::Test, founder, grant, "test", [0; 32]).unwrap();
    let mut ledger = Ledger::new(genesis).unwrap();
    let mut common: Vec<_> =
        (1..=OWNERS).map(|owner| act(&mut ledger, 0, pay(owner, 1_000))).collect();
    common.extend((1..=OWNERS).map(|owner| act(&mut ledger, owner, pay(0, 1))));
    let later = (1..=OWNERS)
        .map(|owner| (0..2).map(|_| act(&mut ledger, owner, pay(0, 1))).collect())
        .collect();
    Past { common, later }
});

/// Founder and a member. Both have the common past; what came later has only the one or the other.
fn two(founders: &[usize], members: &[usize]) -> Net {
    let mut net = Net::new();
    net.join(false);
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
    net.kill(1);
    net.kill(0);
    for (index, more) in [founders, members].into_iter().enumerate() {
        let rows = net.nodes[index].disk.entry(Table::Certificates).or_default();
        let later = more.iter().flat_map(|owner| &PAST.later[*owner]);
        for certificate in PAST.common.iter().chain(later) {
            let body = certificate.body();
            let key = [body.account.0.as_slice(), &body.seq.to_be_bytes()].concat();
            rows.insert(key, codec::encode(certificate.as_ref()));
        }
        net.start(index);
    }
    net.records = true;
    net
}

fn frontier(net: &Net, index: usize) -> Digest {
    net.ledger_of(index).frontier_digest()
}

fn messages(net: &Net) -> Vec<(usize, Message)> {
    let decoded =
        net.delivered.iter().filter_map(|(to, bytes)| Some((*to, decode_message(bytes).ok()?)));
    decoded.collect()
}

fn count(net: &Net, which: impl Fn(&Message) -> bool) -> usize {
    messages(net).iter().filter(|(_, message)| which(message)).count()
}

fn lists(net: &Net) -> usize {
    count(net, |message| matches!(message, Message::Frontier { .. }))
}

fn certificates(net: &Net) -> usize {
    (0..2).map(|to| certificates_to(net, to)).sum()
}

fn certificates_to(net: &Net, index: usize) -> usize {
    let all = messages(net);
    let lists = all.iter().map(|(to, message)| match message {
        Message::Certificates(list) if *to == index => list.len(),
        _ => 0,
    });
    lists.sum()
}

#[test]
fn few_that_differ_are_found_without_a_list() {
    let mut net = two(&[3, 5, 100], &[7, 200]);
    assert_ne!(frontier(&net, 0), frontier(&net, 1));
    net.run(Micros::from_secs(3));
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
    assert_eq!(lists(&net), 0);
    // Each lacking one went once.
    assert_eq!(certificates(&net), 10);
    let sketches = count(&net, |message| matches!(message, Message::Sketch(_)));
    assert!((1..=3).contains(&sketches), "{sketches}");
    let bytes = |which: fn(&Message) -> bool| {
        let all = net
            .delivered
            .iter()
            .filter(|(_, bytes)| decode_message(bytes).is_ok_and(|m| which(&m)));
        all.map(|(_, bytes)| bytes.len()).sum::<usize>()
    };
    let compared = bytes(|m| matches!(m, Message::Sketch(_) | Message::SketchAnswer { .. }));
    let listed =
        encode_message(&Message::Frontier { range: None, heads: net.ledger_of(0).frontier() });
    assert!(compared < listed.len() / 2, "{compared} of {}", listed.len());
}

#[test]
fn more_that_differ_take_a_second_sketch() {
    let owners: Vec<usize> = (0..30).collect();
    let mut net = two(&owners, &[]);
    net.run(Micros::from_secs(3));
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
    assert_eq!(lists(&net), 0);
    let more =
        |m: &Message| matches!(m, Message::SketchAnswer { answer: SketchAnswer::More(_), .. });
    assert!(count(&net, more) >= 1);
    assert_eq!(certificates(&net), 60);
}

#[test]
fn who_lacks_nearly_all_is_told_by_lists() {
    let owners: Vec<usize> = (0..200).collect();
    let mut net = two(&owners, &[]);
    net.run(Micros::from_secs(8));
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
    let list = |m: &Message| matches!(m, Message::SketchAnswer { answer: SketchAnswer::List, .. });
    assert!(count(&net, list) >= 1 && lists(&net) >= 1);
}

/// The control: with sketches off, the same by lists, as it was before there were sketches.
#[test]
fn without_sketches_lists_do_the_same() {
    let mut net = two(&[3, 5, 100], &[7, 200]);
    net.sketches = false;
    net.kill(0);
    net.kill(1);
    net.start(0);
    net.start(1);
    net.delivered.clear();
    net.run(Micros::from_secs(3));
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
    assert_eq!(count(&net, |message| matches!(message, Message::Sketch(_))), 0);
    assert!(lists(&net) >= 2);
}

/// Frames of a member to the founder.
fn says(net: &mut Net, message: &Message) {
    let (from, bytes) = (net.id(1), encode_message(message));
    net.input(0, Input::Frame { from, bytes });
    net.settle();
}

/// A member that hears everything and says what the test says.
fn puppet() -> Net {
    let mut net = two(&[3, 5, 100], &[]);
    net.frozen = Some(1);
    net
}

/// Makes the founder ask the member, by a certificate without what goes before it.
fn nudge(net: &mut Net) {
    net.run(Micros::from_millis(500));
    let late = PAST.later[30][1].as_ref().clone();
    says(net, &Message::Certificates(vec![late]));
}

fn sketch_keys(net: &Net) -> Vec<[u8; 16]> {
    let to_member = messages(net).into_iter().filter(|(to, _)| *to == 1);
    to_member
        .filter_map(|(_, message)| match message {
            Message::Sketch(sketch) => Some(sketch.key()),
            _ => None,
        })
        .collect()
}

/// Asked for more cells again and again, a node makes a few sketches and then says its heads.
#[test]
fn who_asks_for_more_without_end_gets_a_list() {
    let mut net = puppet();
    let mut answered = 0;
    for _ in 0..4 {
        nudge(&mut net);
        while let Some(key) = sketch_keys(&net).get(answered).copied() {
            answered += 1;
            says(&mut net, &Message::SketchAnswer { key, answer: SketchAnswer::More(2_048) });
        }
    }
    // The first one and three more; then lists, for a while.
    assert_eq!((answered, lists(&net)), (4, 4));
    net.frozen = None;
    net.run(Micros::from_secs(8));
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
}

/// Who does not answer sketches is told the heads after two of them.
#[test]
fn who_answers_nothing_is_told_by_lists() {
    let mut net = puppet();
    for _ in 0..20 {
        nudge(&mut net);
    }
    let (sketches, lists) = (sketch_keys(&net).len(), lists(&net));
    assert!(lists >= 3 && sketches >= 2 * lists - 1, "{sketches} sketches, {lists} lists");
}

/// Answers that nobody asked for, heads that do not exist, and lists about nothing change nothing.
#[test]
fn made_up_answers_and_heads_move_nothing() {
    let mut net = puppet();
    net.run(Micros::from_secs(1));
    let before = frontier(&net, 0);
    let mut rng = Rng::derive(1, "made up");
    let heads = |rng: &mut Rng, count: usize| -> Vec<Head> {
        (0..count).map(|_| Head { account: rng.bytes(), seq: rng.next_u64() }).collect()
    };
    net.delivered.clear();
    for _ in 0..20 {
        let key = rng.bytes();
        for answer in [
            SketchAnswer::Known(heads(&mut rng, 2_048)),
            SketchAnswer::More(2_048),
            SketchAnswer::List,
            SketchAnswer::Later,
        ] {
            says(&mut net, &Message::SketchAnswer { key, answer });
        }
    }
    assert_eq!(lists(&net) + certificates_to(&net, 1) + sketch_keys(&net).len(), 0);
    // Asked for: a list of heads that nobody has is answered by nothing.
    nudge(&mut net);
    let key = sketch_keys(&net)[0];
    says(
        &mut net,
        &Message::SketchAnswer { key, answer: SketchAnswer::Known(heads(&mut rng, 2_048)) },
    );
    assert_eq!(certificates_to(&net, 1), 0);
    let (low, high) = (net.id(0).max(net.id(1)), net.id(0).min(net.id(1)));
    for range in [None, Some((low, high))] {
        let heads = vec![(net.id(0), u64::MAX), (net.id(0), 0), (net.id(1), 7)];
        says(&mut net, &Message::Frontier { range, heads });
    }
    assert_eq!(frontier(&net, 0), before);
    net.frozen = None;
    net.run(Micros::from_secs(8));
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
}

/// Sketches of nothing that exists: each is answered or not, none is remembered, and so many at once
/// are answered by `Later`.
#[test]
fn made_up_sketches_end_and_leave_nothing() {
    let mut net = puppet();
    // What is bounded has to be without a ban, too.
    net.limits = false;
    net.kill(0);
    net.start(0);
    net.run(Micros::from_secs(1));
    let before = frontier(&net, 0);
    let mut rng = Rng::derive(2, "made up");
    for round in 0..60_u64 {
        let mut sketch =
            Sketch::empty(rng.bytes(), 1 + (round as usize * 37) % 2_048, round % 2 == 0);
        for _ in 0..rng.below(400) {
            sketch.add(Head { account: rng.bytes(), seq: 1 + rng.below(9) });
        }
        let mut bytes = encode_message(&Message::Sketch(Box::new(sketch)));
        for _ in 0..rng.below(30) {
            let place = 24 + rng.below(bytes.len() as u64 - 24) as usize;
            bytes[place] = rng.next_u64() as u8;
        }
        let from = net.id(1);
        net.input(0, Input::Frame { from, bytes });
        if round < 30 {
            net.run(Micros::from_millis(20));
        }
    }
    net.settle();
    let answer = |which: fn(&SketchAnswer) -> bool| {
        count(&net, |m| matches!(m, Message::SketchAnswer { answer, .. } if which(answer)))
    };
    let (known, more, list, later) = (
        answer(|a| matches!(a, SketchAnswer::Known(_))),
        answer(|a| matches!(a, SketchAnswer::More(_))),
        answer(|a| matches!(a, SketchAnswer::List)),
        answer(|a| matches!(a, SketchAnswer::Later)),
    );
    assert!(later >= 10 && list + more >= 5, "{known} {more} {list} {later}");
    assert!(known + more + list + later <= 60);
    assert_eq!(frontier(&net, 0), before);
    let held = net.nodes[0].peer.as_ref().unwrap().held();
    assert!(held.iter().all(|holding| holding.count <= holding.limit));
    net.frozen = None;
    net.run(Micros::from_secs(8));
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
}

/// Who says again and again that it has more, and sends nothing, is asked once.
#[test]
fn more_that_never_comes_is_asked_for_once() {
    let mut net = puppet();
    net.run(Micros::from_secs(1));
    net.delivered.clear();
    for n in 0..40_u8 {
        says(&mut net, &Message::Next(NodeId([n; 32])));
        net.run(Micros::from_millis(100));
    }
    assert_eq!(lists(&net), 1);
}

/// A sketch that this node's own heads refute. Who sends ten of them is banned for a while; who
/// differs, however much, is not.
#[test]
fn who_makes_sketches_up_is_banned() {
    for made_up in [true, false] {
        let mut net = puppet();
        net.run(Micros::from_secs(1));
        let mut rng = Rng::derive(3, "made up");
        for _ in 0..12 {
            let mut sketch = net.ledger_of(0).sketch(rng.bytes(), None);
            let other = Head { account: rng.bytes(), seq: 1 };
            if made_up {
                // A head that the founder should have.
                let mut lacks = sketch.like();
                lacks.add(other);
                sketch.subtract(&lacks);
            } else {
                sketch.add(other);
            }
            says(&mut net, &Message::Sketch(Box::new(sketch)));
            net.run(Micros::from_millis(100));
        }
        let member = net.id(1);
        assert_eq!(net.nodes[0].banned.contains(&member), made_up);
    }
}

/// A newcomer to a pool in which everybody's first block builds on a block of one account, which comes
/// last: every answer holds something that it can take.
#[test]
fn a_newcomer_is_told_what_builds_on_what() {
    let mut net = Net::new();
    net.join(false);
    net.kill(1);
    net.kill(0);
    let rows = net.nodes[0].disk.entry(Table::Certificates).or_default();
    for certificate in PAST.common.iter().chain(PAST.later.iter().flatten()) {
        let body = certificate.body();
        let key = [body.account.0.as_slice(), &body.seq.to_be_bytes()].concat();
        rows.insert(key, codec::encode(certificate.as_ref()));
    }
    net.start(0);
    net.start(1);
    net.records = true;
    net.run(Micros::from_secs(4));
    assert_eq!(frontier(&net, 0), frontier(&net, 1));
    let next = count(&net, |message| matches!(message, Message::Next(_)));
    assert!((2..=4).contains(&next), "{next}");
    let all = PAST.common.len() + PAST.later.iter().flatten().count();
    // Nothing goes twice, but for an answer on its way while the next question is asked.
    assert!((all..all + 300).contains(&certificates_to(&net, 1)));
}
