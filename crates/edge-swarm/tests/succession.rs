//! A node that goes on under a new key: what it had stays with it, and who has the old key gets nothing of it.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::collections::BTreeMap;

use edge_base::{Credits, Digest, Micros, NodeId, SecretKey, Signed};
use edge_ledger::BlockKind;
use edge_swarm::{
    Answer, Command, Event, Input, Peer, Refusal, RevocationNote, SuccessionRecord,
    command::{BalanceView, PeerView},
    message::{
        Acquaintance, Gossip, MemberRecord, Membership, Message, decode_message, encode_gossip,
        encode_message,
    },
};

use net::Net;

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

/// Keys of nobody.
fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([100 + n; 32])
}

fn pool_of(net: &Net) -> Digest {
    Peer::pool_of(&net.nodes[0].stored()).unwrap()
}

/// A founder and three others, all four of them witnesses, and a worker with credits of its own.
fn pool() -> (Net, usize) {
    let mut net = Net::witnessed(|net| net.unstake_delay = Some(Micros::from_secs(60)));
    let worker = net.join_with(false, whole(100));
    net.run(Micros::from_secs(5));
    (net, worker)
}

fn rotate(net: &mut Net, node: usize, heir: &SecretKey) -> Result<Answer, Refusal> {
    net.ask(node, Command::Rotate { heir: Box::new(heir.clone()) })
}

/// What a driver does at a start: the new key once nothing is left to do for the old one.
fn start_again(net: &mut Net, node: usize, heir: &SecretKey) {
    net.kill(node);
    if Peer::rotated(&net.nodes[node].stored()) == Some(heir.node_id()) {
        net.nodes[node].key = heir.clone();
    }
    net.start(node);
}

/// Rotates, and goes on under the new key.
fn rotated(net: &mut Net, node: usize, heir: &SecretKey) {
    let done = rotate(net, node, heir);
    assert!(matches!(done, Ok(Answer::Rotated { heir: to }) if to == heir.node_id()), "{done:?}");
    start_again(net, node, heir);
    assert_eq!(net.id(node), heir.node_id());
    net.run(Micros::from_secs(15));
}

fn view_of(net: &mut Net, asked: usize, account: NodeId) -> BalanceView {
    match net.ask(asked, Command::Balance { account: Some(account) }) {
        Ok(Answer::Balance(view)) => view,
        other => panic!("{other:?}"),
    }
}

fn peer(net: &mut Net, asked: usize, node: NodeId) -> Option<PeerView> {
    let Ok(Answer::Peers(peers)) = net.ask(asked, Command::ListPeers) else { panic!() };
    peers.into_iter().find(|peer| peer.node == node)
}

/// Whether a node answers to what a member may ask.
fn answers(net: &mut Net, index: usize, from: NodeId) -> bool {
    net.records = true;
    net.replies.clear();
    let ask = encode_message(&Message::Want { content: Digest([7; 32]), offset: 0 });
    net.input(index, Input::Frame { from, bytes: ask });
    net.settle();
    let answer = |frame: &[u8]| matches!(decode_message(frame), Ok(Message::NotHere { .. }));
    let found =
        net.replies.iter().any(|(by, to, frame)| (*by, *to) == (index, from) && answer(frame));
    net.records = false;
    found
}

fn tell(net: &mut Net, to: usize, gossip: &Gossip) {
    net.publish_to(to, gossip);
    net.settle();
}

fn succession(old: &SecretKey, heir: &SecretKey, pool: Digest) -> Gossip {
    Gossip::Succession(Box::new(SuccessionRecord::new(old, heir, vec![], &pool)))
}

fn revocation(key: &SecretKey, pool: Digest) -> Gossip {
    Gossip::Revocation(RevocationNote::new(key, pool).revocation)
}

#[test]
fn all_that_a_node_had_goes_on_under_its_new_key() {
    let (mut net, worker) = pool();
    let old = net.id(worker);
    assert!(matches!(net.ask(worker, Command::Stake { amount: whole(40) }), Ok(Answer::Done)));
    // Somebody that it invited, and a record of results.
    let invite = Command::Invite { owner: true, credits: Credits::ZERO };
    let Ok(Answer::Ticket(text)) = net.ask(worker, invite) else { panic!() };
    let child = net.add(key(50), Peer::join(&text.parse().unwrap()));
    net.run(Micros::from_secs(3));
    for n in 0..30 {
        net.submit(&format!("task {n}")).unwrap();
    }
    assert!(matches!(net.ask(0, Command::Settle), Ok(Answer::Done)));
    net.run(Micros::from_secs(5));
    let (before, known) = (net.balances(worker), peer(&mut net, 0, old).unwrap());
    assert!(known.checked > 0 && known.stake == whole(40));

    let heir = key(1);
    rotated(&mut net, worker, &heir);
    let new = heir.node_id();
    let after = net.balances(worker);
    let sum = |view: &BalanceView| view.balance.plus(view.incoming).unwrap();
    assert_eq!((sum(&after), after.staked), (sum(&before), before.staked));
    for asked in (0..4).chain([child]) {
        let view = peer(&mut net, asked, new).expect("the heir is a member");
        assert!(view.connected && !view.revoked);
        assert_eq!((view.inviter, view.stake), (Some(net.id(0)), whole(40)), "{asked}");
        let before = peer(&mut net, asked, old).unwrap();
        assert!(before.revoked && before.replaced_by == Some(new), "the old key is dead");
        assert!(answers(&mut net, asked, new) && !answers(&mut net, asked, old), "{asked}");
    }
    assert_eq!(peer(&mut net, 0, new).unwrap().checked, known.checked);
    // Nodes of one owner are so still, by both ways.
    assert!(peer(&mut net, child, new).unwrap().same_owner);
    let child_id = net.id(child);
    assert!(peer(&mut net, worker, child_id).unwrap().same_owner);

    // It works and is paid, it pays, and what still comes to the old account is its own.
    let ran = net.nodes[worker].ran.len();
    for n in 0..20 {
        net.submit(&format!("another {n}")).unwrap();
    }
    assert!(net.nodes[worker].ran.len() > ran);
    assert!(matches!(net.ask(0, Command::Settle), Ok(Answer::Done)));
    let refused = net.ask(0, Command::Send { to: old, amount: whole(1) });
    let Err(Refusal::Refused(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains(&new.to_hex()), "{text}");
    net.run(Micros::from_secs(20));
    let paid = net.balances(worker);
    assert!(sum(&paid) > sum(&after));
    assert_eq!(view_of(&mut net, 0, old).balance, Credits::ZERO);
    let to = net.id(0);
    assert!(matches!(net.ask(worker, Command::Send { to, amount: whole(5) }), Ok(Answer::Sent(_))));
    // Stake that the old key put up comes back to the new one.
    assert!(matches!(net.ask(worker, Command::Unstake { amount: whole(40) }), Ok(Answer::Done)));
    net.run(Micros::from_secs(120));
    let last = net.balances(worker);
    assert_eq!((last.staked, last.leaving), (Credits::ZERO, Credits::ZERO));
    let expected = sum(&paid).plus(whole(40)).and_then(|c| c.minus(whole(5))).unwrap();
    assert_eq!(sum(&last), expected);
    (0..=child).for_each(|node| net.conserved(node));
}

/// The control of the test above: a payment that was under way to the old account when it changed hands.
#[test]
fn what_was_paid_to_the_old_account_reaches_the_heir() {
    let (mut net, worker) = pool();
    let (old, heir) = (net.id(worker), key(1));
    // One member never hears of it, and pays the old account.
    let done = rotate(&mut net, worker, &heir);
    assert!(matches!(done, Ok(Answer::Rotated { .. })));
    net.kill(worker);
    let ledger = net.ledger_of(0);
    assert_eq!(ledger.holder(&old), heir.node_id());
    // The founder's own rule is gone round: its block is signed by hand.
    let amount = whole(7);
    let kind = BlockKind::Send { to: old, amount, memo: Digest::default() };
    let block = ledger.next_block(net.id(0), kind).unwrap();
    let block = Signed::seal(block, &net.nodes[0].key.clone(), &pool_of(&net));
    let founder = net.id(0);
    net.records = true;
    for witness in 1..4 {
        let bytes = encode_message(&Message::Propose(block.clone()));
        net.input(witness, Input::Frame { from: founder, bytes });
    }
    net.settle();
    let votes: Vec<_> = (net.replies.iter())
        .filter_map(|(_, to, frame)| match decode_message(frame) {
            Ok(Message::Vote(vote)) if *to == founder => Some((vote.signer, vote.signature)),
            _ => None,
        })
        .collect();
    net.records = false;
    let mut votes: Vec<_> = votes.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
    votes.truncate(3);
    assert_eq!(votes.len(), 3);
    let set_version = ledger.witness_set().version;
    let certificate = edge_ledger::Certificate { block, set_version, votes };
    for node in 0..4 {
        tell(&mut net, node, &Gossip::Certificate(Box::new(certificate.clone())));
    }
    assert_eq!(view_of(&mut net, 1, old).incoming, amount);
    start_again(&mut net, worker, &heir);
    net.run(Micros::from_secs(30));
    let view = net.balances(worker);
    assert_eq!(view.balance.plus(view.incoming).unwrap(), whole(107));
    let left = view_of(&mut net, 1, old);
    assert_eq!((left.balance, left.incoming), (Credits::ZERO, Credits::ZERO));
    (0..5).for_each(|node| net.conserved(node));
}

/// What the new key takes from the account of the one before is no payment that somebody asked for.
#[test]
fn what_an_heir_takes_over_stops_no_payment_of_its_own() {
    let (mut net, worker) = pool();
    let heir = key(1);
    let Ok(Answer::Rotated { .. }) = rotate(&mut net, worker, &heir) else { panic!() };
    // It gets no quorum for anything.
    (1..3).for_each(|witness| net.kill(witness));
    start_again(&mut net, worker, &heir);
    net.run(Micros::from_secs(5));
    let to = net.id(0);
    let Err(Refusal::Refused(why)) = net.ask(worker, Command::Send { to, amount: whole(1) }) else {
        panic!("the new account has nothing yet")
    };
    assert!(why.contains("1 rUv are needed and this node has 0"), "{why}");
}

/// Vouchers for the key before say nothing of what the new one is promised out of the same escrow.
#[test]
fn an_heir_is_vouched_for_while_an_escrow_goes_on() {
    let (mut net, worker) = pool();
    let heir = key(1);
    let vouchers = |net: &mut Net| net.balances(worker).vouchers;
    // A task a second, so that the requester's escrow does not end.
    let submit = |net: &mut Net, tasks: usize| {
        for n in 0..tasks {
            net.submit(&format!("{tasks}: task {n}")).unwrap();
            net.run(Micros::from_secs(1));
        }
    };
    submit(&mut net, 30);
    let before = vouchers(&mut net);
    assert!(before > Credits::ZERO);
    let rotating = rotate(&mut net, worker, &heir);
    assert!(matches!(rotating, Ok(Answer::Rotated { .. })));
    start_again(&mut net, worker, &heir);
    assert_eq!(vouchers(&mut net), before, "they are worth what they were");
    submit(&mut net, 8);
    assert!(vouchers(&mut net) > before, "the new key is promised its own");
    net.kill(worker);
    let kept = {
        net.start(worker);
        vouchers(&mut net)
    };
    assert!(kept > before, "and keeps both");
    let sum = |view: BalanceView| view.balance.plus(view.incoming).unwrap();
    assert!(matches!(net.ask(0, Command::Settle), Ok(Answer::Done)));
    net.run(Micros::from_secs(15));
    assert_eq!(vouchers(&mut net), Credits::ZERO);
    assert!(sum(net.balances(worker)) >= kept.plus(whole(100)).unwrap());
}

/// What a node holds of who is who, as far as it is told by others.
fn standing(net: &mut Net, asked: usize) -> BTreeMap<NodeId, (bool, Option<NodeId>)> {
    let Ok(Answer::Peers(peers)) = net.ask(asked, Command::ListPeers) else { panic!() };
    peers.into_iter().map(|peer| (peer.node, (peer.revoked, peer.inviter))).collect()
}

fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![vec![]];
    }
    let with = |at: usize| {
        let mut rest = items.to_vec();
        let first = rest.remove(at);
        orders(&rest).into_iter().map(move |mut order| {
            order.insert(0, first.clone());
            order
        })
    };
    (0..items.len()).flat_map(with).collect()
}

/// Every set of statements about a line of keys, in every order, also across a restart: the same standing.
#[test]
fn every_order_of_arrival_comes_to_the_same() {
    let mut net = Net::new();
    for _ in 0..2 {
        net.join(false);
    }
    let (pool, old) = (pool_of(&net), net.nodes[2].key.clone());
    net.kill(2);
    net.kill(1);
    let disk = net.nodes[0].disk.clone();
    let invited = Membership { node: key(1).node_id(), group: key(1).node_id() };
    let invited = Signed::seal(invited, &net.nodes[0].key.clone(), &pool);
    let member = Gossip::Member(MemberRecord {
        membership: Some(invited),
        node: key(1).node_id(),
        addresses: vec![],
    });
    // The owner's, a thief's, the next of the owner's, both revocations, and a ticket of the heir's own.
    let all = [
        succession(&old, &key(1), pool),
        succession(&old, &key(2), pool),
        succession(&key(1), &key(3), pool),
        succession(&key(4), &key(1), pool),
        revocation(&old, pool),
        revocation(&key(1), pool),
        member,
    ];
    let (heir, thief, next) = (key(1).node_id(), key(2).node_id(), key(3).node_id());
    let mut outcomes = BTreeMap::new();
    for set in (0u32..1 << all.len()).filter(|set| set.count_ones() <= 4) {
        let chosen: Vec<Gossip> = all
            .iter()
            .enumerate()
            .filter(|(at, _)| set >> at & 1 == 1)
            .map(|(_, g)| g.clone())
            .collect();
        let mut first = None;
        for (number, order) in orders(&chosen).into_iter().enumerate() {
            net.nodes[0].peer = None;
            net.nodes[0].disk = disk.clone();
            net.start(0);
            net.settle();
            for (at, gossip) in order.iter().enumerate() {
                // As a member tells one that was away: by itself, and twice.
                let from = net.id(1);
                for _ in 0..2 {
                    net.input(0, Input::Frame { from, bytes: encode_gossip(gossip) });
                    net.settle();
                }
                if at == number % 5 {
                    net.nodes[0].peer = None;
                    net.start(0);
                    net.settle();
                }
            }
            // What came before anybody knew whom it is about is told again when nodes greet.
            for gossip in &order {
                let from = net.id(1);
                net.input(0, Input::Frame { from, bytes: encode_gossip(gossip) });
                net.settle();
            }
            let outcome = standing(&mut net, 0);
            assert_eq!(first.get_or_insert_with(|| outcome.clone()), &outcome, "{order:?}");
        }
        outcomes.insert(set, first.unwrap());
    }
    // What it comes to. The control of each is the set without what voids it.
    let alive = |set: u32, node: NodeId| outcomes[&set].get(&node).is_some_and(|(dead, _)| !dead);
    let (mine, thiefs, later, other, end, heirs_end, ticket) = (1, 2, 4, 8, 16, 32, 64);
    let old = old.node_id();
    assert!(alive(0, old) && !alive(mine, old) && alive(mine, heir));
    assert!(alive(thiefs, thief), "who comes with the key alone is believed");
    assert!(!alive(mine | thiefs, heir) && !alive(mine | thiefs, thief), "two void each other");
    assert!(!alive(mine | end, heir), "so does a revocation");
    assert!(alive(mine | later, next) && !alive(mine | later, heir));
    assert!(!alive(mine | later | end, next) && !alive(mine | later | thiefs, next));
    assert!(!alive(mine | later | heirs_end, next));
    assert!(alive(mine | other, heir), "a succession of nobody says nothing");
    assert!(alive(mine | end | ticket, heir) && alive(mine | thiefs | ticket, heir));
    assert!(alive(mine | later | end | ticket, next), "it rests on the ticket then");
    assert_eq!(outcomes[&mine][&heir].1, Some(net.id(0)));
}

/// Under the same key with an empty folder and a ticket; where it is then.
fn join_anew(net: &mut Net, node: usize, key: SecretKey) -> usize {
    net.kill(node);
    let invite = Command::Invite { owner: false, credits: Credits::ZERO };
    let Ok(Answer::Ticket(text)) = net.ask(0, invite) else { panic!() };
    let again = net.add(key, Peer::join(&text.parse().unwrap()));
    net.run(Micros::from_secs(20));
    again
}

#[test]
fn what_is_at_stake_under_keys_before_stays_in_reach_when_the_first_is_revoked() {
    let (mut net, worker) = pool();
    let first = net.nodes[worker].key.clone();
    for (nth, amount) in [(1, 4), (2, 2), (3, 1)] {
        let staked = net.ask(worker, Command::Stake { amount: whole(amount) });
        assert!(matches!(staked, Ok(Answer::Done)), "{staked:?}");
        rotated(&mut net, worker, &key(nth));
    }
    assert_eq!(net.balances(worker).staked, whole(7));
    let pool = pool_of(&net);
    for node in 0..4 {
        tell(&mut net, node, &revocation(&first, pool));
    }
    net.run(Micros::from_secs(5));
    let again = join_anew(&mut net, worker, key(3));
    let view = net.balances(again);
    assert_eq!(view.staked, whole(7), "{view:?}");
    assert_eq!(view.balance.plus(view.incoming).unwrap(), whole(93), "{view:?}");
    let Err(Refusal::Refused(why)) = net.ask(again, Command::Unstake { amount: whole(6) }) else {
        panic!()
    };
    assert!(why.contains("on 4 accounts") && why.contains("4 rUv at most"), "{why}");
    for amount in [4, 2, 1] {
        let back = net.ask(again, Command::Unstake { amount: whole(amount) });
        assert!(matches!(back, Ok(Answer::Done)), "{back:?}");
    }
    net.run(Micros::from_secs(300));
    let view = net.balances(again);
    assert_eq!((view.staked, view.leaving), (whole(0), whole(0)), "{view:?}");
    assert_eq!(view.balance.plus(view.incoming).unwrap(), whole(100), "{view:?}");
    net.conserved(0);
}

#[test]
fn who_has_the_old_key_ends_the_new_one_and_gets_nothing() {
    let (mut net, worker) = pool();
    let (stolen, heir) = (net.nodes[worker].key.clone(), key(1));
    let (old, new) = (stolen.node_id(), heir.node_id());
    rotated(&mut net, worker, &heir);
    let (before, pool) = (net.balances(worker), pool_of(&net));
    assert!(before.balance.plus(before.incoming).unwrap() == whole(100));
    // The thief signs blocks on the account: no witness votes, whoever proposes them.
    let ledger = net.ledger_of(1);
    let kind = BlockKind::Rotate { to: key(2).node_id() };
    let block = Signed::seal(ledger.next_block(old, kind).unwrap(), &stolen, &pool);
    net.records = true;
    net.replies.clear();
    for from in [old, new] {
        let bytes = encode_message(&Message::Propose(block.clone()));
        net.input(1, Input::Frame { from, bytes });
        net.settle();
    }
    let vote = |frame: &[u8]| matches!(decode_message(frame), Ok(Message::Vote(_)));
    assert!(!net.replies.iter().any(|(_, _, frame)| vote(frame)));
    net.records = false;
    // It names its own heir: both are void, and the owner's is a stranger until it has a ticket.
    for node in 0..4 {
        tell(&mut net, node, &succession(&stolen, &key(2), pool));
    }
    for node in 0..4 {
        assert!(peer(&mut net, node, new).is_none() && !answers(&mut net, node, new), "{node}");
        assert!(peer(&mut net, node, key(2).node_id()).is_none());
    }
    net.run(Micros::from_secs(5));
    let notes = net.status(worker).notes;
    assert!(notes.iter().any(|note| note.contains("ticket")), "{notes:?}");
    // With an empty folder and a ticket it has its credits again.
    let again = join_anew(&mut net, worker, heir);
    let view = net.balances(again);
    assert_eq!(view.balance.plus(view.incoming).unwrap(), whole(100));
    let to = net.id(0);
    assert!(matches!(net.ask(again, Command::Send { to, amount: whole(60) }), Ok(Answer::Sent(_))));
    net.conserved(0);
}

#[test]
fn a_kill_at_any_step_leaves_the_old_key_or_the_new_one() {
    let mut ends = BTreeMap::new();
    for writes in 0.. {
        let (mut net, worker) = pool();
        let (old, heir) = (net.id(worker), key(1));
        net.ask(worker, Command::Stake { amount: whole(10) }).unwrap();
        net.nodes[worker].writes_left = Some(writes);
        let call = net.call(worker, Command::Rotate { heir: Box::new(heir.clone()) });
        net.run(Micros::from_secs(10));
        let killed = net.nodes[worker].peer.is_none();
        let answered = net.nodes[worker].answers.contains_key(&call);
        let stored = net.nodes[worker].stored();
        let begun = Peer::rotates_to(&stored).is_some();
        // Twice, since a driver may be killed before it took the new key.
        for _ in 0..2 {
            start_again(&mut net, worker, &heir);
            net.nodes[worker].writes_left = None;
            net.run(Micros::from_secs(15));
        }
        let end = if begun { heir.node_id() } else { old };
        assert_eq!(net.id(worker), end, "after {writes} writes");
        let (dead, alive) = (if begun { old } else { heir.node_id() }, end);
        for node in 0..4 {
            assert!(answers(&mut net, node, alive), "after {writes} writes, {node}");
            assert!(!answers(&mut net, node, dead), "after {writes} writes, {node}");
            assert!(!view_of(&mut net, node, old).frozen);
            assert!(!view_of(&mut net, node, heir.node_id()).frozen);
        }
        let view = net.balances(worker);
        let sum = view.balance.plus(view.incoming).unwrap();
        assert_eq!((sum, view.staked), (whole(90), whole(10)), "after {writes} writes");
        net.conserved(worker);
        net.conserved(0);
        *ends.entry((killed, begun)).or_insert(0) += 1;
        if !killed {
            assert!(answered);
            break;
        }
        assert!(writes < 60, "it never comes to its end: {ends:?}");
    }
    // Some kills were before the first step, some between, and the last run had none.
    assert!(ends[&(true, false)] >= 1 && ends[&(true, true)] >= 3, "{ends:?}");
}

#[test]
fn faults_and_bans_go_with_the_line() {
    let mut net = Net::new();
    for _ in 0..5 {
        net.join_with(false, whole(10));
    }
    let (liar, fair, heir, other) = (4, 5, key(1), key(2));
    net.nodes[liar].lies = true;
    for n in 0..40 {
        let _ = net.submit(&format!("task {n}"));
    }
    net.run(Micros::from_secs(5));
    let named = net.id(liar);
    assert!((0..4).all(|node| net.named_at(node).contains(&named)));
    net.nodes[liar].lies = false;
    net.ask(0, Command::Ban { node: net.id(fair), lasts: Micros::from_secs(3_600) }).unwrap();
    let pool = pool_of(&net);
    for (node, heir) in [(liar, &heir), (fair, &other)] {
        let record = succession(&net.nodes[node].key.clone(), heir, pool);
        (0..4).for_each(|to| tell(&mut net, to, &record));
    }
    for node in 0..4 {
        assert!(net.named_at(node).contains(&heir.node_id()), "{node}");
        let view = peer(&mut net, node, heir.node_id()).unwrap();
        assert!(view.faults > 0 && view.checked <= 40);
        // The control: who was not named is not.
        assert!(!net.named_at(node).contains(&other.node_id()));
    }
    assert!(peer(&mut net, 0, other.node_id()).unwrap().banned.is_some());
    assert!(peer(&mut net, 1, other.node_id()).unwrap().banned.is_none());
    // After a restart, too; and no work for the heir.
    net.kill(0);
    net.start(0);
    net.run(Micros::from_secs(5));
    assert!(net.named_at(0).contains(&heir.node_id()));
}

#[test]
fn a_new_key_is_no_new_invitations() {
    let mut net = Net::new();
    let member = net.join_with(false, whole(10));
    let mut children = Vec::new();
    for n in 0..4 {
        let invite = Command::Invite { owner: false, credits: Credits::ZERO };
        let Ok(Answer::Ticket(text)) = net.ask(member, invite) else { panic!() };
        children.push(net.add(key(50 + n), Peer::join(&text.parse().unwrap())));
        net.run(Micros::from_secs(3));
    }
    rotated(&mut net, member, &key(1));
    let invite = Command::Invite { owner: false, credits: Credits::ZERO };
    let refused = net.ask(member, invite.clone());
    assert!(
        matches!(&refused, Err(Refusal::Refused(text)) if text.contains("may not invite more"))
    );
    // With a stake of one rUv it may invite one more, as the old key could: the control.
    net.ask(member, Command::Stake { amount: whole(1) }).unwrap();
    assert!(matches!(net.ask(member, invite), Ok(Answer::Ticket(_))));
    // Whom it signs beyond that is no member at the founder.
    let pool = pool_of(&net);
    for (n, expected) in [(70u8, true), (71, false)] {
        let body = Membership { node: key(n).node_id(), group: key(n).node_id() };
        let membership = Some(Signed::seal(body, &key(1), &pool));
        let record = MemberRecord { membership, node: key(n).node_id(), addresses: vec![] };
        tell(&mut net, 0, &Gossip::Member(record));
        assert_eq!(peer(&mut net, 0, key(n).node_id()).is_some(), expected, "{n}");
    }
}

#[test]
fn who_cannot_rotate_is_told_why() {
    let (mut net, worker) = pool();
    for (node, word) in [(0, "founder's"), (1, "witness")] {
        let refused = rotate(&mut net, node, &key(1));
        assert!(
            matches!(&refused, Err(Refusal::Refused(text)) if text.contains(word)),
            "{refused:?}"
        );
    }
    let member = net.nodes[2].key.clone();
    let refused = rotate(&mut net, worker, &member);
    assert!(matches!(&refused, Err(Refusal::Refused(text)) if text.contains("member's already")));
    // Nothing was begun.
    assert_eq!(Peer::rotates_to(&net.nodes[worker].stored()), None);
    // Eight are followed.
    for n in 1..=8 {
        rotated(&mut net, worker, &key(n));
        let view = peer(&mut net, 0, key(n).node_id()).expect("a member");
        assert_eq!(view.inviter, Some(net.id(0)));
    }
    let refused = rotate(&mut net, worker, &key(9));
    assert!(matches!(&refused, Err(Refusal::Refused(text)) if text.contains("eight keys")));
    let view = net.balances(worker);
    assert_eq!(view.balance.plus(view.incoming).unwrap(), whole(100));
    // One that goes on all the same is not followed.
    let ninth = succession(&key(8), &key(9), pool_of(&net));
    tell(&mut net, 0, &ninth);
    assert!(peer(&mut net, 0, key(9).node_id()).is_none());
}

#[test]
fn successions_that_are_none_change_nothing() {
    let mut net = Net::four();
    let pool = pool_of(&net);
    let before = standing(&mut net, 0);
    let (member, third) = (net.nodes[2].key.clone(), net.nodes[3].key.clone());
    let sealed = SuccessionRecord::new(&member, &key(1), vec![], &pool);
    // Of the founder, of another pool, by one of the two alone, with a changed signature.
    let founder = net.nodes[0].key.clone();
    let elsewhere = succession(&member, &key(1), Digest::of(b"another pool"));
    let mut forged = sealed.clone();
    forged.accepted.signature.0[5] ^= 1;
    let mut unsigned = sealed.clone();
    unsigned.succession.signature.0[5] ^= 1;
    let bad = [
        succession(&founder, &key(1), pool),
        elsewhere,
        Gossip::Succession(Box::new(forged)),
        Gossip::Succession(Box::new(unsigned)),
    ];
    for gossip in &bad {
        // Each by another: who brings such things is not heard for long.
        tell(&mut net, 0, gossip);
        assert_eq!(standing(&mut net, 0), before);
    }
    // Of nobody known: kept aside, at most 1,024, and passed on by nobody.
    for n in 0..1_030u32 {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&n.to_le_bytes());
        let stranger = SecretKey::from_seed(seed);
        let from = net.id(1);
        let bytes = encode_gossip(&succession(&stranger, &key(1), pool));
        net.input(0, Input::Frame { from, bytes });
        net.settle();
    }
    assert_eq!(standing(&mut net, 0), before);
    let held = net.nodes[0].peer.as_ref().unwrap().held();
    for holding in &held {
        assert!(holding.count <= holding.limit, "{holding:?}");
    }
    // In a ring nobody is left. The control: each alone has an heir.
    let mut net = Net::four();
    tell(&mut net, 0, &succession(&member, &key(1), pool));
    assert!(peer(&mut net, 0, key(1).node_id()).is_some());
    tell(&mut net, 0, &succession(&key(1), &member, pool));
    assert!(peer(&mut net, 0, key(1).node_id()).unwrap().revoked);
    assert!(peer(&mut net, 0, member.node_id()).unwrap().revoked);
    // To who is a member anyway: it stays what it was invited as.
    let by = peer(&mut net, 0, third.node_id()).unwrap().inviter;
    let second = net.nodes[1].key.clone();
    tell(&mut net, 0, &succession(&second, &third, pool));
    let view = peer(&mut net, 0, third.node_id()).unwrap();
    assert!(!view.revoked && view.inviter == by);
}

#[test]
fn an_heir_is_let_in_by_who_never_heard_of_it() {
    let mut net = Net::four();
    let (pool, member) = (pool_of(&net), net.nodes[3].key.clone());
    net.kill(3);
    let founder = net.nodes[0].key.clone();
    let invited = |key: &SecretKey| {
        let body = Membership { node: key.node_id(), group: key.node_id() };
        let membership = Some(Signed::seal(body, &founder, &pool));
        MemberRecord { membership, node: key.node_id(), addresses: vec![] }
    };
    let heir = key(1);
    let chain = vec![SuccessionRecord::new(&member, &heir, vec![], &pool)];
    let (new, root) = (heir.node_id(), Box::new(invited(&member)));
    let hello = encode_message(&Message::Hello {
        pool,
        membership: None,
        join: None,
        addresses: vec![],
        known: Acquaintance::default(),
    });
    // The control: without its steps it is a stranger.
    net.input(0, Input::Connected { node: new });
    net.input(0, Input::Frame { from: new, bytes: hello.clone() });
    net.settle();
    assert!(peer(&mut net, 0, new).is_none());
    // Steps of another, or with a gap.
    let gap = vec![SuccessionRecord::new(&key(3), &heir, vec![], &pool)];
    for (from, chain) in [(key(2).node_id(), chain.clone()), (new, gap)] {
        let bytes = encode_message(&Message::Heir { root: root.clone(), chain });
        net.input(0, Input::Frame { from, bytes });
        net.settle();
        assert!(peer(&mut net, 0, new).is_none());
    }
    let bytes = encode_message(&Message::Heir { root, chain });
    net.input(0, Input::Frame { from: new, bytes });
    net.input(0, Input::Frame { from: new, bytes: hello });
    net.settle();
    let view = peer(&mut net, 0, new).expect("a member");
    assert_eq!(view.inviter, Some(net.id(0)));
    assert!(answers(&mut net, 0, new));
    let told = |event: &Event| matches!(event, Event::Succeeded { heir, .. } if *heir == new);
    assert!(net.nodes[0].events.iter().any(told));
}
