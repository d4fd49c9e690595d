//! Stake among a few peers on an instant network (`support/net.rs`): the delay, the mark, restarts.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Digest, Micros, Signed, Verifier};
use edge_ledger::{Block, BlockKind, Certificate, EquivocationProof, SignedBlock, VoteCollector};
use edge_swarm::{
    Answer, Command, Event, Input, Refusal, Table,
    command::BalanceView,
    message::{
        Gossip, MayWithdraw, Message, Withdrawal, decode_message, encode_gossip, encode_message,
    },
};

use net::Net;

const HOUR: Micros = Micros::from_secs(3_600);
/// The parameter's first value.
const UNSTAKE_DELAY: Micros = Micros::from_secs(86_400);

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

/// A founder and three others, all four of them witnesses, and a worker with credits of its own.
fn pool() -> (Net, usize) {
    pool_with(None)
}

fn pool_with(delay: Option<Micros>) -> (Net, usize) {
    let mut net = Net::witnessed(|net| net.unstake_delay = delay);
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
    let (mut net, worker) = pool_with(Some(Micros(0)));
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

/// A pool whose worker staked 60 of its 100, takes 10 of that back, lies and is named.
fn named(mut net: Net, worker: usize) -> Net {
    stake(&mut net, worker, 60);
    unstake(&mut net, worker, 10).unwrap();
    net.run(Micros::from_secs(5));
    assert_eq!(view_of(&mut net, 0, worker).staked, whole(50));
    net.nodes[worker].lies = true;
    for i in 0..12 {
        net.submit(&format!("text {i}")).unwrap();
    }
    net.run(Micros::from_secs(10));
    net
}

/// Stake, lie, get named: nothing comes back, neither what is staked nor what is leaving; the next
/// checkpoint burns it, and that outlives a restart of everybody.
#[test]
fn a_named_liar_takes_nothing_back_and_the_next_checkpoint_burns_it() {
    let (net, worker) = pool();
    let mut net = named(net, worker);
    let liar = net.id(worker);
    for witness in 0..4 {
        let Ok(Answer::Status(status)) = net.ask(witness, Command::Status) else { panic!() };
        assert_eq!(status.faulty, vec![liar]);
        let view = view_of(&mut net, witness, worker);
        assert!(view.slashed && !view.frozen);
        assert_eq!((view.staked, view.leaving, view.penalty), (whole(50), whole(10), whole(0)));
        let Ok(Answer::Ledger(ledger)) = net.ask(witness, Command::VerifyLedger) else { panic!() };
        assert_eq!((ledger.totals.staked, ledger.totals.slashed), (whole(60), whole(60)));
    }
    let Ok(Answer::Peers(peers)) = net.ask(0, Command::ListPeers) else { panic!() };
    let stakes: Vec<_> = peers.iter().map(|peer| peer.stake).collect();
    assert_eq!(stakes, vec![Credits::ZERO; 4], "slashed stake counts for nothing");
    let refused = unstake(&mut net, worker, 50);
    let Err(Refusal::Refused(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("caught"), "{text}");
    net.run(Micros::from_secs(60));
    for restarted in [false, true] {
        for node in 0..5 {
            if restarted {
                net.kill(node);
                net.start(node);
                net.run(Micros::from_secs(5));
            }
            let view = view_of(&mut net, node, worker);
            assert_eq!((view.staked, view.leaving, view.penalty), (whole(0), whole(0), whole(60)));
            assert!(!view.slashed, "charged: {view:?}");
            let Ok(Answer::Ledger(ledger)) = net.ask(node, Command::VerifyLedger) else { panic!() };
            assert!(ledger.conserved);
            let totals = ledger.totals;
            assert_eq!((totals.staked, totals.forfeited), (whole(0), whole(60)));
        }
        net.now = net.now + UNSTAKE_DELAY + UNSTAKE_DELAY;
        net.run(Micros::from_secs(100));
        assert!(!released(&net, worker));
    }
    // No more checkpoints are made for the same offence.
    let epoch = |net: &Net| net.nodes[0].peer.as_ref().unwrap().ledger().unwrap().epoch();
    net.run(Micros::from_secs(1_500));
    let before = epoch(&net);
    net.run(Micros::from_secs(1_300));
    assert_eq!(epoch(&net), before);
    // Nothing was proposed that witnesses refuse, so that the rest of its credits still moves.
    assert_eq!(net.balances(worker).seq, view_of(&mut net, 0, worker).seq);
    let pending = net.nodes[worker].disk.get(&Table::OwnBlock);
    assert!(pending.is_none_or(|rows| rows.is_empty()));
}

/// At a rate of nine tenths the last tenth comes back, once as much is at stake as the penalty.
#[test]
fn what_an_offence_does_not_cost_comes_back() {
    let (mut net, worker) = pool();
    for witness in 0..3 {
        let (name, value) = ("slash-fault".to_owned(), 900_000);
        let wanted = net.ask(witness, Command::WantParameter { name, value });
        assert!(matches!(wanted, Ok(Answer::Parameters(_))), "{wanted:?}");
    }
    net.run(Micros::from_secs(30));
    let mut net = named(net, worker);
    net.run(Micros::from_secs(60));
    let view = net.balances(worker);
    assert_eq!((view.staked, view.leaving, view.penalty), (whole(0), whole(6), whole(54)));
    net.now = net.now + UNSTAKE_DELAY;
    net.run(Micros::from_secs(130));
    assert!(!released(&net, worker), "10 of 60 would leave less than the penalty");
    stake(&mut net, worker, 4);
    net.now = net.now + UNSTAKE_DELAY;
    net.run(Micros::from_secs(200));
    let view = net.balances(worker);
    assert_eq!((view.balance, view.staked, view.leaving), (whole(46), whole(0), whole(0)));
    (0..5).for_each(|node| net.conserved(node));
}

/// Two blocks that the owner of an account signs for its next place.
fn two_blocks(net: &Net, owner: usize) -> [SignedBlock; 2] {
    let ledger = net.ledger_of(owner);
    [20, 30].map(|amount| {
        let kind = BlockKind::Unstake { amount: whole(amount) };
        let body = ledger.next_block(net.id(owner), kind).unwrap();
        Signed::seal(body, &net.nodes[owner].key, &ledger.pool())
    })
}

fn show(net: &mut Net, from: usize, to: usize, proof: &EquivocationProof, gossip: bool) {
    let bytes = encode_gossip(&Gossip::Equivocation(Box::new(proof.clone())));
    let from = net.id(from);
    let input = match gossip {
        true => Input::Published { from, number: 0, bytes },
        false => Input::Frame { from, bytes },
    };
    net.input(to, input);
    net.settle();
}

/// Which of nodes 0 to 4 hold the account for frozen.
fn frozen(net: &mut Net, account: usize) -> [bool; 5] {
    [0, 1, 2, 3, 4].map(|node| {
        let view = view_of(net, node, account);
        assert_eq!(view.frozen, view.slashed);
        view.frozen
    })
}

/// Who signs two blocks for one place and shows both to one witness is frozen by everybody, for
/// ever. With the control, a network that loses the proof, by that witness alone.
#[test]
fn a_proof_of_two_blocks_freezes_everywhere_and_survives_restarts() {
    for lost in [false, true] {
        let (mut net, worker) = pool();
        stake(&mut net, worker, 60);
        net.run(Micros::from_secs(5));
        net.lose_proofs = lost;
        for block in two_blocks(&net, worker) {
            propose(&mut net, worker, &block, &[1]);
        }
        net.run(Micros::from_secs(5));
        assert_eq!(frozen(&mut net, worker), [!lost, true, !lost, !lost, !lost]);
        if lost {
            // Who was away is told by whoever knows.
            net.lose_proofs = false;
            for node in [2, 3] {
                net.kill(node);
                net.start(node);
                net.run(Micros::from_secs(5));
            }
        }
        net.run(Micros::from_secs(5));
        assert_eq!(frozen(&mut net, worker), [true; 5], "lost: {lost}");
        // Nobody tells them again.
        net.lose_proofs = true;
        for node in 0..5 {
            net.kill(node);
            net.start(node);
            net.run(Micros::from_secs(3));
        }
        assert_eq!(frozen(&mut net, worker), [true; 5]);
        let [block, _] = two_blocks(&net, worker);
        // Witness 1 gave its vote before; nobody else does.
        assert_eq!(votes(&propose(&mut net, worker, &block, &[0, 2, 3])), 0);
        (0..5).for_each(|node| net.conserved(node));
    }
}

/// A witness that voted for one block and sees the other certified has the proof in its hands, and
/// so has one that is shown a block whose place is another's.
#[test]
fn a_certificate_of_another_block_is_half_of_a_proof() {
    for voted in [true, false] {
        let (mut net, worker) = pool();
        stake(&mut net, worker, 60);
        net.run(Micros::from_secs(5));
        let [mine, other] = two_blocks(&net, worker);
        if voted {
            propose(&mut net, worker, &mine, &[1]);
        }
        let ledger = net.ledger_of(0);
        let (set, genesis) = (ledger.witness_set().clone(), ledger.pool());
        let mut collector = VoteCollector::new(other.clone(), &set, genesis);
        let heard = propose(&mut net, worker, &other, &[0, 2, 3]);
        let mut verifier = Verifier::strict();
        let mut certificate: Option<Certificate> = None;
        for message in heard {
            let Message::Vote(vote) = message else { continue };
            certificate = certificate.or(collector.add(&vote, &mut verifier).unwrap());
        }
        let certificate = certificate.expect("three of four voted");
        let bytes = encode_gossip(&Gossip::Certificate(Box::new(certificate)));
        let from = net.id(0);
        net.input(1, Input::Published { from, number: 0, bytes });
        net.run(Micros::from_secs(5));
        assert_eq!(frozen(&mut net, worker), [voted; 5]);
        propose(&mut net, worker, &mine, &[1]);
        net.run(Micros::from_secs(5));
        assert_eq!(frozen(&mut net, worker), [true; 5]);
        // What a quorum certified counts all the same.
        assert_eq!(view_of(&mut net, 3, worker).leaving, net.balances(worker).leaving);
        assert!(net.balances(worker).leaving > Credits::ZERO);
        (0..5).for_each(|node| net.conserved(node));
    }
}

/// What does not hold freezes nobody, is not handed on, and is looked into so often only.
#[test]
fn a_false_or_known_proof_changes_nothing() {
    let (mut net, worker) = pool();
    stake(&mut net, worker, 60);
    net.run(Micros::from_secs(5));
    let [a, b] = two_blocks(&net, worker);
    let good = EquivocationProof::new(a.clone(), b.clone());
    let (ledger, key) = (net.ledger_of(worker), net.nodes[worker].key.clone());
    let later = Block { seq: b.body.seq + 1, ..b.body.clone() };
    let same = EquivocationProof { first: a.clone(), second: a.clone() };
    let two_places = EquivocationProof::new(a.clone(), Signed::seal(later, &key, &ledger.pool()));
    let foreign = Signed::seal(b.body.clone(), &key, &Digest::of(b"another pool"));
    let of_another_pool = EquivocationProof::new(a.clone(), foreign);
    let changed = Block { balance_after: whole(1), ..b.body.clone() };
    let unsigned = EquivocationProof::new(a.clone(), Signed { body: changed, ..b.clone() });
    let witness = net.nodes[3].key.clone();
    let of_somebody_else =
        EquivocationProof::new(a.clone(), Signed::seal(b.body.clone(), &witness, &ledger.pool()));
    let false_ones = [same, two_places, of_another_pool, unsigned, of_somebody_else];
    let disk = net.nodes[0].disk.clone();
    net.records = true;
    for proof in &false_ones {
        show(&mut net, 3, 0, proof, false);
        show(&mut net, 3, 0, proof, true);
    }
    assert_eq!(net.delivered.len(), 2 * false_ones.len(), "nothing was handed on");
    assert!(net.nodes[0].disk == disk, "something was written");
    assert_eq!(frozen(&mut net, worker), [false; 5]);
    for _ in 0..3 {
        show(&mut net, 3, 0, &false_ones[0], false);
    }
    // Eight bad ones are enough of one sender, for a minute.
    show(&mut net, 3, 0, &good, false);
    assert_eq!(frozen(&mut net, worker), [false; 5]);
    net.run(Micros::from_secs(61));
    net.lose_proofs = true;
    show(&mut net, 3, 0, &good, false);
    assert_eq!(frozen(&mut net, worker), [true, false, false, false, false]);
    net.lose_proofs = false;
    net.delivered.clear();
    show(&mut net, 3, 0, &good, false);
    show(&mut net, 2, 0, &good, true);
    assert_eq!(net.delivered.len(), 2, "a known one is not handed on again");
    show(&mut net, 3, 1, &good, false);
    assert_eq!(frozen(&mut net, worker), [true; 5]);
}

/// The proof may come before anything else about its account: it counts from when there is one.
#[test]
fn a_proof_about_a_member_without_credits_waits_for_them() {
    let mut net = Net::new();
    for _ in 0..4 {
        net.join(false);
    }
    let poor = 1;
    let (pool, key) = (net.ledger_of(0).pool(), net.nodes[poor].key.clone());
    let block = |epoch| {
        let body = Block {
            account: key.node_id(),
            seq: 1,
            prev: pool,
            epoch,
            kind: BlockKind::Open,
            debit: Credits::ZERO,
            credits: vec![Digest::of(b"a credit")],
            balance_after: whole(1),
        };
        Signed::seal(body, &key, &pool)
    };
    show(&mut net, 2, 0, &EquivocationProof::new(block(0), block(1)), true);
    assert_eq!(frozen(&mut net, poor), [false; 5]);
    for n in 0..20 {
        net.submit(&format!("text {n}")).unwrap();
    }
    net.run(Micros::from_secs(15));
    assert!(view_of(&mut net, 0, poor).incoming > Credits::ZERO, "it was paid");
    assert_eq!(frozen(&mut net, poor), [true; 5]);
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
        let Err(Refusal::Refused(text) | Refusal::Invalid(text)) = refused else {
            panic!("{refused:?}")
        };
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
