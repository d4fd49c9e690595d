//! Requesters that promise and do not pay: what they signed is held against them.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::sync::Arc;

use edge_base::{Credits, Digest, EscrowId, Micros, SecretKey, Signed, TaskKind};
use edge_ledger::{
    BlockKind, Certificate, FeeRate, Payment, PriceList, SignedBlock, block_hash,
    statement::{Assignment, Voucher, task_id},
};
use edge_swarm::{
    Answer, Command, Input,
    command::Priority,
    message::{DeclineReason, Gossip, Message, decode_message, encode_message},
};

use net::{Net, PIN};

/// The requester that cheats, and its credits.
const CHEAT: usize = 3;
const GRANT: u64 = 1_000;
/// Beyond this a voucher is shown to the witnesses at once.
const EXPOSURE: u64 = 10_000_000;

fn key() -> SecretKey {
    SecretKey::from_seed([CHEAT as u8 + 1; 32])
}

fn micro(amount: u64) -> Credits {
    Credits::from_micro(amount)
}

/// The founder, who is the witness, two workers, and a requester whose key this test has.
fn pool() -> (Net, Digest) {
    let mut net = Net::new();
    net.join(false);
    net.join(false);
    net.join_with(false, Credits::from_whole(GRANT).unwrap());
    let Ok(Answer::Status(status)) = net.ask(0, Command::Status) else { panic!() };
    net.records = true;
    (net, status.pool)
}

fn say(net: &mut Net, to: usize, message: &Message) {
    let from = net.id(CHEAT);
    net.input(to, Input::Frame { from, bytes: encode_message(message) });
    net.settle();
}

/// The next block of the cheat's account.
fn block(net: &Net, pool: &Digest, kind: BlockKind) -> SignedBlock {
    let body = net.ledger_of(0).next_block(net.id(CHEAT), kind).unwrap();
    Signed::seal(body, &key(), pool)
}

/// Asks the founder for its vote for as long as told; when it came.
fn propose(net: &mut Net, block: &SignedBlock, seconds: u64) -> Option<(u64, Certificate)> {
    for tick in 0..seconds * 4 {
        net.delivered.clear();
        say(net, 0, &Message::Propose(block.clone()));
        let vote = net.delivered.iter().find_map(|(to, bytes)| match decode_message(bytes) {
            Ok(Message::Vote(vote)) if *to == CHEAT && vote.body.block == block_hash(block) => {
                Some(vote)
            }
            _ => None,
        });
        if let Some(vote) = vote {
            let votes = vec![(vote.signer, vote.signature)];
            let (block, set_version) = (block.clone(), vote.body.set_version);
            return Some((tick * 250, Certificate { block, set_version, votes }));
        }
        net.run(Micros::from_millis(250));
    }
    None
}

/// A certified block of the cheat, known to all.
fn certified(net: &mut Net, pool: &Digest, kind: BlockKind) -> SignedBlock {
    let block = block(net, pool, kind);
    let (_, certificate) = propose(net, &block, 5).unwrap();
    for to in 0..net.nodes.len() {
        let gossip = Gossip::Certificate(Box::new(certificate.clone()));
        net.publish_to(to, &gossip);
        net.settle();
    }
    block
}

fn escrow(net: &mut Net, pool: &Digest, budget: u64) -> EscrowId {
    let prices = PriceList::uniform(Credits::SMALLEST);
    let kind = BlockKind::Escrow { budget: micro(budget), prices, expires_epoch: u64::MAX };
    EscrowId(block_hash(&certified(net, pool, kind)))
}

fn vouch(net: &mut Net, pool: &Digest, escrow: EscrowId, worker: usize, cumulative: u64) {
    let (requester, worker_id) = (net.id(CHEAT), net.id(worker));
    let cumulative = micro(cumulative);
    let body = Voucher { escrow, requester, worker: worker_id, cumulative, tasks: 1 };
    say(net, worker, &Message::Paid(Signed::seal(body, &key(), pool)));
}

fn pay(net: &Net, escrow: EscrowId, worker: usize, amount: u64) -> BlockKind {
    let worker = net.id(worker);
    let payment = Payment { worker, amount: micro(amount), tasks: 1 };
    BlockKind::settle(escrow, vec![payment], FeeRate::DEFAULT).unwrap()
}

#[test]
fn who_takes_back_what_it_vouched_for_gets_no_vote() {
    let (mut net, pool) = pool();
    let escrow = escrow(&mut net, &pool, 20_000_000);
    vouch(&mut net, &pool, escrow, 1, 5_000_000);
    // Worker 1 is connected, and nobody told it of the refund but the witness.
    let refund = block(&net, &pool, BlockKind::Refund { escrow });
    assert!(propose(&mut net, &refund, 20).is_none());

    // Nor with a settlement that pays less; one that pays it is certified after the notice.
    let (mut net, pool) = self::pool();
    let escrow = self::escrow(&mut net, &pool, 20_000_000);
    vouch(&mut net, &pool, escrow, 1, 5_000_000);
    let less = block(&net, &pool, pay(&net, escrow, 1, 4_999_999));
    assert!(propose(&mut net, &less, 20).is_none());

    let (mut net, pool) = self::pool();
    let escrow = self::escrow(&mut net, &pool, 20_000_000);
    vouch(&mut net, &pool, escrow, 1, 5_000_000);
    let fair = block(&net, &pool, pay(&net, escrow, 1, 5_000_000));
    let (after, _) = propose(&mut net, &fair, 20).unwrap();
    assert!((2_000..=2_500).contains(&after), "{after} ms");
}

/// What stops the refund is that the worker hears of it: the control of the test above.
#[test]
fn a_worker_that_hears_nothing_loses_what_it_did_not_show_before() {
    let (mut net, pool) = pool();
    let escrow = escrow(&mut net, &pool, 20_000_000);
    vouch(&mut net, &pool, escrow, 1, 5_000_000);
    net.deaf = Some(1);
    let refund = block(&net, &pool, BlockKind::Refund { escrow });
    let (after, _) = propose(&mut net, &refund, 20).unwrap();
    assert!((2_000..=2_500).contains(&after), "{after} ms");
}

#[test]
fn large_vouchers_and_those_of_who_leaves_are_shown_before() {
    for (amount, drains, shown) in
        [(EXPOSURE, false, true), (EXPOSURE - 1, false, false), (EXPOSURE - 1, true, true)]
    {
        let (mut net, pool) = pool();
        let escrow = escrow(&mut net, &pool, 30_000_000);
        vouch(&mut net, &pool, escrow, 1, amount);
        if drains {
            net.ask(1, Command::Drain).unwrap();
        }
        net.kill(1);
        let refund = block(&net, &pool, BlockKind::Refund { escrow });
        let voted = propose(&mut net, &refund, 20).is_some();
        assert_eq!(voted, !shown, "{amount}, drains: {drains}");
    }
}

#[test]
fn two_ends_asked_for_at_one_place_freeze_the_account() {
    let (mut net, pool) = pool();
    let escrow = escrow(&mut net, &pool, 20_000_000);
    let refund = block(&net, &pool, BlockKind::Refund { escrow });
    let settle = block(&net, &pool, pay(&net, escrow, 2, 1));
    say(&mut net, 0, &Message::Propose(refund));
    say(&mut net, 0, &Message::Propose(settle));
    let account = Some(net.id(CHEAT));
    let Ok(Answer::Balance(view)) = net.ask(0, Command::Balance { account }) else { panic!() };
    assert!(view.frozen && view.slashed);
}

#[test]
fn who_promises_more_than_it_set_aside_is_named_and_loses_its_stake() {
    for (second, named) in [(12_000_000, true), (8_000_000, false)] {
        let (mut net, pool) = pool();
        let escrow = escrow(&mut net, &pool, 20_060_000);
        vouch(&mut net, &pool, escrow, 1, 12_000_000);
        vouch(&mut net, &pool, escrow, 2, second);
        net.run(Micros::from_secs(1));
        net.kill(2);
        net.start(2);
        // One that comes later hears of it too.
        net.join(false);
        let cheat = net.id(CHEAT);
        for index in [0, 1, 2, 4] {
            assert_eq!(net.named_at(index).contains(&cheat), named, "node {index}");
            let account = Some(cheat);
            let asked = net.ask(index, Command::Balance { account });
            let Ok(Answer::Balance(view)) = asked else { panic!() };
            assert_eq!(view.slashed, named, "node {index}");
        }
        // Whoever is paid at all gets all that there is.
        let less = block(&net, &pool, pay(&net, escrow, 1, 11_999_999));
        assert!(propose(&mut net, &less, 10).is_none());
    }
}

#[test]
fn a_price_of_less_than_the_work_costs_is_declined() {
    for (units, price, priority, declined) in [
        (900, 1_000, Priority::Normal, false),
        (1_001, 1_000, Priority::Normal, true),
        (501, 1_000, Priority::High, true),
        (500, 1_000, Priority::High, false),
    ] {
        let (mut net, pool) = pool();
        let escrow = escrow(&mut net, &pool, 20_000_000);
        net.nodes[1].cost = units;
        net.delivered.clear();
        let (requester, worker) = (net.id(CHEAT), net.id(1));
        let (kind, payload) = (TaskKind::Embedding, Arc::<[u8]>::from(&b"work"[..]));
        let digest = Digest::of(&payload);
        let assignment = Assignment {
            task: task_id(&requester, 7, kind, &digest),
            requester,
            worker,
            escrow: Some(escrow),
            price: micro(price),
            kind,
            payload: digest,
            payload_bytes: 4,
            pins: PIN,
            issued: 7,
        };
        let assign = Message::Assign {
            assignment: Signed::seal(assignment, &key(), &pool),
            payload: Some(payload.to_vec()),
            priority,
            remaining: Micros::from_secs(30),
        };
        say(&mut net, 1, &assign);
        let answers = net.delivered.iter().filter(|(to, _)| *to == CHEAT);
        let answers: Vec<_> = answers.filter_map(|(_, bytes)| decode_message(bytes).ok()).collect();
        let price =
            |m: &Message| matches!(m, Message::Decline { reason: DeclineReason::Price, .. });
        let commit = |m: &Message| matches!(m, Message::Committed(_));
        assert_eq!(answers.iter().any(price), declined, "{units} {priority:?}: {answers:?}");
        assert_eq!(answers.iter().any(commit), !declined, "{units} {priority:?}: {answers:?}");
        assert_eq!(net.nodes[1].ran.is_empty(), declined, "nothing is computed for it");
    }
}
