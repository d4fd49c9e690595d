//! What it takes that two ledgers become one: `cargo xtask bench sync`.
//!
//! First heads alone: a million of them on both sides, a hundred of which differ, in the frames
//! that peers send. Then two whole peers, on a network without delay, with sketches and, in the
//! same run, with lists only.

// A program of its own, not a part of the core: it has a clock and prints.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a benchmark"
)]

#[path = "../tests/support/net.rs"]
mod net;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use edge_base::{Credits, Digest, Micros, NodeId, Rng, SecretKey, Signed, Verifier, codec};
use edge_ledger::{
    BlockKind, Certificate, Compared, Genesis, Heads as _, Ledger, Network, VoteBody, block_hash,
};
use edge_swarm::{
    Table,
    message::{Message, SketchAnswer, decode_message, encode_message},
};

use net::Net;

const ITEMS: usize = 1_000_000;
const DIFFER: usize = 100;
const SEEDS: u64 = 60;
/// One message holds a list of all of them, just.
const ACCOUNTS: u64 = 8_000;

fn main() {
    heads();
    peers();
}

fn line(bench: &str, metric: &str, value: f64, unit: &str, rival: Option<(&str, f64)>) {
    let rival = rival.map_or(String::new(), |(name, rival)| {
        let ratio = rival / value;
        format!(",\"rival\":\"{name}\",\"rival_value\":{rival:.4},\"ratio\":{ratio:.4}")
    });
    println!(
        "{{\"bench\":\"{bench}\",\"metric\":\"{metric}\",\"value\":{value:.4},\"unit\":\"{unit}\"{rival}}}"
    );
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part) as usize]
}

/// A million heads on both sides; of a hundred, half are only here and half only there.
fn heads() {
    let mut rng = Rng::derive(0, "bench sync");
    let mut common = BTreeMap::new();
    while common.len() < ITEMS - DIFFER / 2 {
        common.insert(NodeId(rng.bytes()), 1 + rng.below(1_000));
    }
    let (mut bytes, mut rounds, mut times) = (Vec::new(), Vec::new(), Vec::new());
    let (mut mine, mut theirs) = (common.clone(), common);
    for seed in 0..SEEDS {
        let mut rng = Rng::derive(seed, "bench sync heads");
        let mut some = || -> Vec<(NodeId, u64)> {
            (0..DIFFER / 2).map(|_| (NodeId(rng.bytes()), 1 + rng.below(1_000))).collect()
        };
        let (only_mine, only_theirs) = (some(), some());
        mine.extend(only_mine.iter().copied());
        theirs.extend(only_theirs.iter().copied());
        let (mut sent, mut trips, mut cells) = (0, 0, None);
        let began = Instant::now();
        loop {
            let key = rng.bytes();
            let frame = encode_message(&Message::Sketch(Box::new(theirs.sketch(key, cells))));
            sent += frame.len();
            trips += 1;
            let Ok(Message::Sketch(sketch)) = decode_message(&frame) else { panic!("no sketch") };
            let answer = match mine.compare(&sketch) {
                Compared::Known { theirs_behind, mine_behind } => {
                    let mut told: Vec<NodeId> = theirs_behind.iter().map(|(id, _)| *id).collect();
                    let mut expected: Vec<NodeId> = only_mine.iter().map(|(id, _)| *id).collect();
                    expected.sort();
                    told.sort();
                    assert_eq!(told, expected, "what the other side lacks");
                    let mut asked: Vec<_> = mine_behind.iter().map(|head| head.account).collect();
                    let begin = |id: &NodeId| <[u8; 16]>::try_from(&id.0[..16]).unwrap();
                    let mut expected: Vec<_> =
                        only_theirs.iter().map(|(id, _)| begin(id)).collect();
                    expected.sort();
                    asked.sort();
                    assert_eq!(asked, expected, "what this side lacks");
                    // Certificates would tell the other side what it lacks; here, their heads.
                    let list = Message::Frontier { range: None, heads: theirs_behind };
                    sent += encode_message(&list).len();
                    SketchAnswer::Known(mine_behind)
                }
                Compared::More { cells } => SketchAnswer::More(cells as u32),
                other => panic!("{other:?}"),
            };
            let done = matches!(answer, SketchAnswer::Known(_));
            cells =
                if let SketchAnswer::More(cells) = answer { Some(cells as usize) } else { None };
            sent += encode_message(&Message::SketchAnswer { key, answer }).len();
            if done {
                break;
            }
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
        bytes.push(sent as f64);
        rounds.push(f64::from(trips));
        only_mine.iter().for_each(|(id, _)| _ = mine.remove(id));
        only_theirs.iter().for_each(|(id, _)| _ = theirs.remove(id));
    }
    let bench = "reconcile_100_of_1M_heads";
    let listed =
        encode_message(&Message::Frontier { range: None, heads: mine.into_iter().collect() });
    let rival = Some(("a list of all heads", 2.0 * listed.len() as f64 / 1e3));
    line(bench, "sent, both ways, p50", quantile(&mut bytes, 0.5) / 1e3, "kB", rival);
    line(bench, "sent, both ways, worst of 60 seeds", quantile(&mut bytes, 1.0) / 1e3, "kB", None);
    line(bench, "round trips, p50", quantile(&mut rounds, 0.5), "1", None);
    line(bench, "round trips, worst of 60 seeds", quantile(&mut rounds, 1.0), "1", None);
    line(bench, "both sides' time, least of 60 seeds", quantile(&mut times, 0.0), "ms", None);
}

fn key(n: u64) -> SecretKey {
    let mut seed = [0x77; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    // The founder of the net.
    if n == 0 { SecretKey::from_seed([1; 32]) } else { SecretKey::from_seed(seed) }
}

fn act(ledger: &mut Ledger, owner: &SecretKey, to: NodeId, amount: u64) -> Arc<Certificate> {
    let (pool, mut known) = (ledger.pool(), Verifier::trusting_for_simulation());
    let amount = Credits::from_micro(amount);
    let kind = BlockKind::Send { to, amount, memo: Digest::default() };
    let block = Signed::seal(ledger.next_block(owner.node_id(), kind).unwrap(), owner, &pool);
    let body = VoteBody { set_version: 1, epoch: 0, block: block_hash(&block) };
    let vote = Signed::seal(body, &key(0), &pool);
    let votes = vec![(vote.signer, vote.signature)];
    let certificate = Arc::new(Certificate { block, set_version: 1, votes });
    ledger.apply(certificate.clone(), &mut known).unwrap();
    certificate
}

/// What two peers said until they had the same ledger.
#[derive(Default)]
struct Cost {
    compared: f64,
    certificates: f64,
    comparisons: f64,
    seconds: f64,
}

/// A founder with all of it and a member that has what it has.
fn run(all: &[Arc<Certificate>], has: impl Fn(usize) -> bool, sketches: bool) -> Cost {
    let mut net = Net::new();
    net.sketches = sketches;
    net.join(false);
    net.kill(1);
    net.kill(0);
    for index in 0..2 {
        let rows = net.nodes[index].disk.entry(Table::Certificates).or_default();
        for (place, certificate) in all.iter().enumerate() {
            if index == 0 || has(place) {
                let body = certificate.body();
                let key = [body.account.0.as_slice(), &body.seq.to_be_bytes()].concat();
                rows.insert(key, codec::encode(certificate.as_ref()));
            }
        }
    }
    net.start(0);
    net.start(1);
    net.records = true;
    let mut cost = Cost::default();
    let digest = |net: &Net, index: usize| {
        net.nodes[index].peer.as_ref().unwrap().ledger().unwrap().frontier_digest()
    };
    let began = net.now;
    while digest(&net, 0) != digest(&net, 1) {
        net.run(Micros::from_millis(100));
        assert!(net.now.since(began) < Micros::from_secs(3_600), "they stay apart");
    }
    cost.seconds = net.now.since(began).0 as f64 / 1e6;
    for (_, bytes) in &net.delivered {
        match decode_message(bytes) {
            Ok(Message::Certificates(_)) => cost.certificates += bytes.len() as f64 / 1e3,
            Ok(Message::Frontier { .. } | Message::Sketch(_)) => {
                cost.compared += bytes.len() as f64 / 1e3;
                cost.comparisons += 1.0;
            }
            Ok(Message::SketchAnswer { .. }) => cost.compared += bytes.len() as f64 / 1e3,
            _ => {}
        }
    }
    cost
}

/// Two peers, each time with sketches and with lists only.
fn peers() {
    let grant = Credits::from_whole(1_000_000).unwrap();
    let id = key(0).node_id();
    let mut ledger =
        Ledger::new(Genesis::new(Network::Test, id, grant, "test", [0; 32]).unwrap()).unwrap();
    let owners: Vec<SecretKey> = (1..=ACCOUNTS).map(key).collect();
    let mut all = Vec::new();
    for owner in &owners {
        all.push(act(&mut ledger, &key(0), owner.node_id(), 1_000));
    }
    for owner in &owners {
        all.push(act(&mut ledger, owner, id, 1));
    }
    let common = all.len();
    for owner in &owners[..500] {
        all.push(act(&mut ledger, owner, id, 1));
    }
    let small = all[..40].iter().chain(&all[ACCOUNTS as usize..ACCOUNTS as usize + 40]).cloned();
    let small: Vec<_> = small.collect();
    let cases: [(&str, &[Arc<Certificate>], usize); 5] = [
        ("1 of 8,000 accounts", &all[..common + 1], common),
        ("50 of 8,000 accounts", &all[..common + 50], common),
        ("500 of 8,000 accounts", &all, common),
        ("a newcomer to 8,000 accounts", &all[..common], 0),
        ("5 of 40 accounts", &small, small.len() - 5),
    ];
    for (name, certificates, has) in cases {
        let [ours, lists] =
            [true, false].map(|sketches| run(certificates, |place| place < has, sketches));
        let rival = |value| Some(("lists only", value));
        let (a, b) = (ours, lists);
        line(name, "comparing, both ways", a.compared, "kB", rival(b.compared));
        line(name, "comparisons", a.comparisons, "1", rival(b.comparisons));
        line(name, "certificates", a.certificates, "kB", rival(b.certificates));
        line(name, "until equal, network without delay", a.seconds, "s", rival(b.seconds));
    }
}
