//! Stake among a few peers on an instant network (`support/net.rs`): the delay, the mark, restarts.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Digest, Micros, Signed};
use edge_ledger::{BlockKind, SignedBlock};
use edge_swarm::{
    Answer, Command, Event, Input, Refusal, Table, UNSTAKE_DELAY,
    command::BalanceView,
    message::{MayWithdraw, Message, Withdrawal, decode_message, encode_message},
};

use net::Net;

const HOUR: Micros = Micros::from_secs(3_600);

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

/// A founder and three others, all four of them witnesses, and a worker with credits of its own.
fn pool() -> (Net, usize) {
    pool_with(UNSTAKE_DELAY)
}

fn pool_with(delay: Micros) -> (Net, usize) {
    let mut net = Net::new();
    net.unstake_delay = delay;
    net.kill(0);
    net.start(0);
    for _ in 0..3 {
        net.join(false);
    }
    let witnesses = (1..4).map(|i| net.id(i)).collect();
    assert!(matches!(net.ask(0, Command::Handover { witnesses }), Ok(Answer::HandedOver(_))));
    let worker = net.join_with(false, whole(100));
    net.run(Micros::from_secs(5));
    (net, worker)
}

fn stake(net: &mut Net, node: usize, amount: u64) {
    let done = net.ask(node, Command::Stake { amount: whole(amount) });
    assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
}

fn unstake(net: &mut Net, node: usize, amount: u64) -> Result<Answer, Refusal> {
    net.ask(node, Command::Unstake { amount: whole(amount) })
}

fn view_of(net: &mut Net, asked: usize, account: usize) -> BalanceView {
    let account = Some(net.id(account));
    match net.ask(asked, Command::Balance { account }) {
        Ok(Answer::Balance(view)) => view,
        other => panic!("{other:?}"),
    }
}

fn released(net: &Net, node: usize) -> bool {
    let is_release =
        |event: &Event| matches!(event, Event::BlockCertified { kind, .. } if kind == "release");
    net.nodes[node].events.iter().any(is_release)
}

#[test]
fn stake_comes_back_by_itself_a_day_later_and_not_before() {
    let (mut net, worker) = pool();
    stake(&mut net, worker, 60);
    let view = net.balances(worker);
    assert_eq!((view.balance, view.staked), (whole(40), whole(60)));
    assert!(matches!(unstake(&mut net, worker, 50), Ok(Answer::Done)));
    net.run(Micros::from_secs(5));
    let view = net.balances(worker);
    assert_eq!((view.balance, view.staked, view.leaving), (whole(40), whole(10), whole(50)));
    let left = view.withdrawals[0].release_in.expect("the witnesses were asked");
    assert!(left <= UNSTAKE_DELAY && left > HOUR.times(23), "{left:?}");
    (0..5).for_each(|node| net.conserved(node));

    // Other blocks go on meanwhile: nothing waits behind the Release.
    net.now = net.now + HOUR.times(23);
    net.run(Micros::from_secs(100));
    assert!(!released(&net, worker));
    stake(&mut net, worker, 1);
    assert_eq!(net.balances(worker).leaving, whole(50));

    net.now = net.now + HOUR;
    net.run(Micros::from_secs(100));
    assert!(released(&net, worker));
    let view = net.balances(worker);
    assert_eq!((view.balance, view.staked, view.leaving), (whole(89), whole(11), whole(0)));
    assert!(view.withdrawals.is_empty() && !view.slashed);
    (0..5).for_each(|node| net.conserved(node));
}

/// The control: with no delay the same steps end at once.
#[test]
fn without_a_delay_stake_comes_back_at_once() {
    let (mut net, worker) = pool_with(Micros(0));
    stake(&mut net, worker, 60);
    assert!(matches!(unstake(&mut net, worker, 50), Ok(Answer::Done)));
    net.run(Micros::from_secs(5));
    assert!(released(&net, worker));
    assert_eq!(net.balances(worker).balance, whole(90));
}

/// The Release of a cheat that asks nobody first.
fn sign_release(net: &mut Net, owner: usize) -> SignedBlock {
    let unstake = net.balances(owner).withdrawals[0].unstake;
    let ledger = net.ledger_of(owner);
    let body = ledger.next_block(net.id(owner), BlockKind::Release { unstake }).unwrap();
    Signed::seal(body, &net.nodes[owner].key, &ledger.pool())
}

/// What the owner hears when it proposes a block to witnesses.
fn propose(net: &mut Net, owner: usize, block: &SignedBlock, witnesses: &[usize]) -> Vec<Message> {
    let bytes = encode_message(&Message::Propose(block.clone()));
    net.records = true;
    net.delivered.clear();
    let from = net.id(owner);
    for witness in witnesses {
        net.input(*witness, Input::Frame { from, bytes: bytes.clone() });
    }
    net.settle();
    net.records = false;
    let delivered = std::mem::take(&mut net.delivered).into_iter();
    let to_owner = delivered.filter(|(to, _)| *to == owner);
    to_owner.filter_map(|(_, bytes)| decode_message(&bytes).ok()).collect()
}

fn votes(messages: &[Message]) -> usize {
    messages.iter().filter(|message| matches!(message, Message::Vote(_))).count()
}

#[test]
fn a_release_before_the_delay_gets_no_vote_and_after_it_one() {
    let (mut net, worker) = pool();
    stake(&mut net, worker, 60);
    unstake(&mut net, worker, 50).unwrap();
    net.run(Micros::from_secs(5));
    let block = sign_release(&mut net, worker);
    net.now = net.now + HOUR.times(23);
    let heard = propose(&mut net, worker, &block, &[0, 1, 2, 3]);
    assert_eq!(votes(&heard), 0);
    let early = |message: &&Message| match message {
        Message::NoVote { missing: None, reason, .. } => reason.contains("cannot end yet"),
        _ => false,
    };
    assert_eq!(heard.iter().filter(early).count(), 4, "{heard:?}");
    net.now = net.now + HOUR;
    assert!(votes(&propose(&mut net, worker, &block, &[0, 1, 2, 3])) >= 4);
}

/// The clock of a witness begins anew when it restarts; a quorum of the others is enough, two
/// restarts of four are not.
#[test]
fn a_restarted_witness_waits_the_whole_delay_again() {
    let (mut net, worker) = pool();
    stake(&mut net, worker, 60);
    unstake(&mut net, worker, 50).unwrap();
    net.run(Micros::from_secs(5));
    net.now = net.now + HOUR.times(20);
    net.run(Micros::from_secs(100));
    for witness in [2, 3] {
        net.kill(witness);
        net.start(witness);
    }
    net.run(Micros::from_secs(100));
    net.now = net.now + HOUR.times(5);
    net.run(Micros::from_secs(100));
    assert!(!released(&net, worker), "two of four began anew");
    let block = sign_release(&mut net, worker);
    assert_eq!(votes(&propose(&mut net, worker, &block, &[2, 3])), 0);
    net.now = net.now + HOUR.times(20);
    net.run(Micros::from_secs(200));
    assert!(released(&net, worker));
}

/// An owner that restarts asks again and loses nothing of the time that passed.
#[test]
fn a_restarted_owner_gets_its_stake_back_all_the_same() {
    let (mut net, worker) = pool();
    stake(&mut net, worker, 60);
    unstake(&mut net, worker, 50).unwrap();
    net.run(Micros::from_secs(5));
    net.kill(worker);
    net.now = net.now + UNSTAKE_DELAY;
    net.start(worker);
    net.run(Micros::from_secs(10));
    assert!(released(&net, worker));
    assert_eq!(net.balances(worker).balance, whole(90));
}

/// Stake, lie, get named: nothing comes back, neither what is staked nor what is leaving, and the
/// marks outlive a restart of everybody.
#[test]
fn a_named_liar_takes_nothing_back() {
    let (mut net, worker) = pool();
    stake(&mut net, worker, 60);
    unstake(&mut net, worker, 10).unwrap();
    net.run(Micros::from_secs(5));
    assert_eq!(view_of(&mut net, 0, worker).staked, whole(50));
    net.nodes[worker].lies = true;
    for i in 0..12 {
        net.submit(&format!("text {i}")).unwrap();
    }
    net.run(Micros::from_secs(15));
    let liar = net.id(worker);
    for restarted in [false, true] {
        for witness in 0..4 {
            if restarted {
                net.kill(witness);
                net.start(witness);
                net.run(Micros::from_secs(5));
            }
            let Ok(Answer::Status(status)) = net.ask(witness, Command::Status) else { panic!() };
            assert_eq!(status.faulty, vec![liar]);
            let view = view_of(&mut net, witness, worker);
            assert!(view.slashed && !view.frozen);
            assert_eq!((view.staked, view.leaving), (whole(50), whole(10)));
            let Ok(Answer::Ledger(ledger)) = net.ask(witness, Command::VerifyLedger) else {
                panic!()
            };
            assert!(ledger.conserved);
            assert_eq!((ledger.totals.staked, ledger.totals.slashed), (whole(60), whole(60)));
            if witness > 0 {
                continue;
            }
            let Ok(Answer::Peers(peers)) = net.ask(witness, Command::ListPeers) else { panic!() };
            let stakes: Vec<_> = peers.iter().map(|peer| peer.stake).collect();
            assert_eq!(stakes, vec![Credits::ZERO; 4], "slashed stake counts for nothing");
        }
        let refused = unstake(&mut net, worker, 50);
        let Err(Refusal::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains("proven fault"), "{text}");
        net.now = net.now + UNSTAKE_DELAY + UNSTAKE_DELAY;
        net.run(Micros::from_secs(100));
        assert!(!released(&net, worker));
        assert!(net.balances(worker).slashed, "its own node says so too");
    }
    // It was not proposed either, so that the rest of its credits still moves.
    assert_eq!(net.balances(worker).seq, view_of(&mut net, 0, worker).seq);
    let pending = net.nodes[worker].disk.get(&Table::OwnBlock);
    assert!(pending.is_none_or(|rows| rows.is_empty()));
}

/// Who signs two blocks for one place is frozen by the witness that voted for the first, also after
/// that witness restarted.
#[test]
fn a_frozen_account_stays_slashed_after_a_restart() {
    let (mut net, worker) = pool();
    stake(&mut net, worker, 60);
    net.run(Micros::from_secs(5));
    let ledger = net.ledger_of(worker);
    for amount in [20, 30] {
        let kind = BlockKind::Unstake { amount: whole(amount) };
        let body = ledger.next_block(net.id(worker), kind).unwrap();
        let block = Signed::seal(body, &net.nodes[worker].key, &ledger.pool());
        let bytes = encode_message(&Message::Propose(block));
        let from = net.id(worker);
        net.input(1, Input::Frame { from, bytes });
        net.settle();
    }
    for restarted in [false, true] {
        if restarted {
            net.kill(1);
            net.start(1);
            net.run(Micros::from_secs(5));
        }
        let view = view_of(&mut net, 1, worker);
        assert!(view.frozen && view.slashed, "restarted: {restarted}");
    }
    assert!(!view_of(&mut net, 2, worker).slashed, "nobody else saw the second block");
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    let (mut net, worker) = pool();
    for (command, word) in [
        (Command::Stake { amount: Credits::ZERO }, "nothing"),
        (Command::Stake { amount: whole(101) }, "needed"),
        (Command::Unstake { amount: whole(1) }, "staked"),
        (Command::Unstake { amount: Credits::ZERO }, "nothing"),
    ] {
        let refused = net.ask(worker, command);
        let Err(Refusal::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains(word), "{text}");
    }
    let view = net.balances(worker);
    assert_eq!((view.balance, view.incoming, view.seq), (whole(0), whole(100), 0));
}

/// Without a quorum nothing is signed, and a caller that went away gets nothing unstaked later.
#[test]
fn an_abandoned_unstake_does_not_happen() {
    let (mut net, worker) = pool();
    stake(&mut net, worker, 60);
    for witness in [1, 2] {
        net.kill(witness);
    }
    let call = net.call(worker, Command::Unstake { amount: whole(5) });
    net.run(Micros::from_secs(10));
    assert!(!net.nodes[worker].answers.contains_key(&call));
    net.input(worker, Input::Abandoned { call });
    for witness in [1, 2] {
        net.start(witness);
    }
    net.run(Micros::from_secs(100));
    assert_eq!(net.balances(worker).leaving, Credits::ZERO);
    assert!(matches!(unstake(&mut net, worker, 5), Ok(Answer::Done)), "the next one does");
}

/// Who is no witness says what it likes.
#[test]
fn the_word_of_strangers_does_not_count() {
    let (mut net, worker) = pool();
    let stranger = net.join(false);
    stake(&mut net, worker, 60);
    unstake(&mut net, worker, 50).unwrap();
    net.run(Micros::from_secs(5));
    let unstake = net.balances(worker).withdrawals[0].unstake;
    let step = Withdrawal::End(unstake);
    for (from, unknown) in [(stranger, false), (1, true), (1, false)] {
        let step = match unknown {
            true => Withdrawal::End(Digest::of(b"never seen")),
            false => step,
        };
        for answer in [MayWithdraw::Now, MayWithdraw::In(Micros(u64::MAX)), MayWithdraw::Never] {
            let bytes = encode_message(&Message::SayWithdraw { step, answer });
            let from = net.id(from);
            net.input(worker, Input::Frame { from, bytes });
            net.settle();
        }
    }
    net.run(Micros::from_secs(10));
    let view = net.balances(worker);
    assert!(!released(&net, worker) && !view.slashed);
    let left = view.withdrawals[0].release_in.unwrap();
    assert!(left <= UNSTAKE_DELAY, "one liar among four does not move it: {left:?}");
}
