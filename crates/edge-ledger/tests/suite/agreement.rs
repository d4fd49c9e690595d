//! The agreement under adversarial schedules: messages are lost, delayed, doubled and reordered, witnesses
//! crash between making a record durable and sending, and up to f of them say whatever they like.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, NodeId, Rng, SecretKey, Signed, Verifier};
use edge_ledger::{
    Act, Agreement, Ballot, Decision, Phase, Proposal, Proposed, ROUNDS_AHEAD_MAX, ROUNDS_KEPT_MAX,
    Statement, Step, WITNESSES_MAX, WitnessSet, culprits,
};
use proptest::prelude::*;

use crate::world::{scale, witness_keys};

const EPOCH: u64 = 3;

fn pool() -> Digest {
    Digest::of(b"pool")
}

/// Even values are valid.
fn value(n: u64) -> Digest {
    let mut bytes = Digest::of(&n.to_le_bytes()).0;
    bytes[0] = n as u8;
    Digest(bytes)
}

fn is_valid(value: &Digest) -> bool {
    value.0[0].is_multiple_of(2)
}

struct Node {
    key: SecretKey,
    agreement: Agreement,
    durable: Option<Vec<u8>>,
    alarms: BTreeSet<(u32, Step)>,
    decision: Option<Decision>,
    /// Every ballot that ever left it, across restarts.
    sent: Vec<Signed<Ballot>>,
    faulty: bool,
    /// What it would propose.
    candidate: u64,
    restarts: u64,
}

impl Node {
    /// Whether it ever said two things at one place.
    fn contradicts(&self) -> bool {
        let mut said: BTreeMap<(u32, Phase), Ballot> = BTreeMap::new();
        self.sent.iter().any(|ballot| {
            let place = (ballot.body.round, ballot.body.phase);
            *said.entry(place).or_insert(ballot.body) != ballot.body
        })
    }
}

struct Arena {
    set: WitnessSet,
    nodes: BTreeMap<NodeId, Node>,
    order: Vec<NodeId>,
    wire: Vec<(NodeId, Statement)>,
    verifier: Verifier,
    rng: Rng,
    /// How many values the faulty ones pick from.
    values: u64,
    /// Restarts lose the durable record: the control.
    forgets: bool,
    /// Who has something against a value that others have not, and whether it insists.
    doubter: Option<(NodeId, Digest, bool)>,
}

impl Arena {
    fn new(n: u64, faulty: usize, seed: u64, verifier: Verifier) -> Arena {
        let mut rng = Rng::derive(seed, "agreement");
        let mut keys = witness_keys(n);
        let set = WitnessSet::new(2, keys.iter().map(SecretKey::node_id).collect()).unwrap();
        rng.shuffle(&mut keys);
        let nodes: BTreeMap<NodeId, Node> = keys
            .into_iter()
            .enumerate()
            .map(|(i, key)| {
                let agreement = Agreement::new(set.clone(), pool(), EPOCH, &key);
                let node = Node {
                    agreement,
                    durable: None,
                    alarms: BTreeSet::new(),
                    decision: None,
                    sent: Vec::new(),
                    faulty: i < faulty,
                    candidate: 2 * (i as u64 % 4),
                    restarts: 0,
                    key,
                };
                (node.key.node_id(), node)
            })
            .collect();
        let order = nodes.keys().copied().collect();
        let wire = Vec::new();
        let (values, forgets, doubter) = (5, false, None);
        let mut arena = Arena { set, nodes, order, wire, verifier, rng, values, forgets, doubter };
        for id in arena.order.clone() {
            arena.drain(id);
        }
        arena
    }

    /// What a witness does after an input; a crash may come before any of it.
    fn drain(&mut self, id: NodeId) {
        let others: Vec<NodeId> = self.order.iter().copied().filter(|o| *o != id).collect();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.faulty {
            return;
        }
        while let Some(act) = node.agreement.poll() {
            match act {
                Act::Persist(record) => node.durable = Some(record.value),
                Act::Send(statement) => {
                    if let Statement::Ballot(ballot) = &statement {
                        node.sent.push(ballot.clone());
                    }
                    self.wire.extend(others.iter().map(|to| (*to, statement.clone())));
                }
                Act::Propose(_) => node.agreement.propose(value(node.candidate)),
                Act::Judge(asked) => {
                    match self.doubter {
                        Some((who, of, insists)) if (who, of) == (id, asked) => match insists {
                            true => node.agreement.judged(asked, false),
                            false => node.agreement.doubted(asked),
                        },
                        // Now, or with the next message.
                        _ => node.agreement.judged(asked, is_valid(&asked)),
                    }
                }
                Act::Alarm(round, step) => drop(node.alarms.insert((round, step))),
                Act::Decided(decision) => {
                    assert!(node.decision.is_none(), "decided twice");
                    node.decision = Some(decision);
                }
            }
        }
    }

    fn restart(&mut self, id: NodeId) {
        let (set, node) = (self.set.clone(), self.nodes.get_mut(&id).unwrap());
        if node.decision.is_some() || node.faulty {
            return;
        }
        node.restarts += 1;
        node.alarms.clear();
        node.agreement = match node.durable.as_ref().filter(|_| !self.forgets) {
            None => Agreement::new(set, pool(), EPOCH, &node.key),
            Some(record) => Agreement::restore(set, pool(), EPOCH, &node.key, record).unwrap(),
        };
        self.drain(id);
    }

    fn deliver(&mut self, at: usize) {
        let (to, statement) = self.wire.swap_remove(at);
        let node = self.nodes.get_mut(&to).unwrap();
        node.agreement.handle(statement, &mut self.verifier);
        self.drain(to);
    }

    fn ring(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if let Some((round, step)) = node.alarms.pop_first() {
            node.agreement.on_alarm(round, step);
        }
        self.drain(id);
    }

    /// A faulty witness says something to somebody: any ballot or proposal it can sign.
    fn lie(&mut self) {
        let faulty: Vec<NodeId> =
            self.order.iter().copied().filter(|id| self.nodes[id].faulty).collect();
        let Some(liar) = self.rng.pick(&faulty).copied() else { return };
        let to = *self.rng.pick(&self.order).unwrap();
        let near = self.nodes[&to].agreement.round();
        let round = (near + self.rng.below(3) as u32).saturating_sub(1);
        let (version, epoch) = (self.set.version, EPOCH);
        let picked = value(self.rng.below(self.values));
        let shown = self.rng.chance(1, 3).then(|| self.rng.below(u64::from(round) + 1) as u32);
        let key = &self.nodes[&liar].key;
        let statement = if self.rng.chance(1, 3) {
            let body = Proposed { version, epoch, round, value: picked, valid_round: shown };
            let head = Signed::seal(body, key, &pool());
            Statement::Proposal(Proposal { head, polka: Vec::new() })
        } else {
            let phase = if self.rng.chance(1, 2) { Phase::Prevote } else { Phase::Precommit };
            let value = self.rng.chance(3, 4).then_some(picked);
            let valid_round = shown.filter(|_| phase == Phase::Prevote);
            let body = Ballot { version, epoch, round, phase, value, valid_round };
            Statement::Ballot(Signed::seal(body, key, &pool()))
        };
        self.wire.push((to, statement));
    }

    fn random_node(&mut self) -> NodeId {
        *self.rng.pick(&self.order).unwrap()
    }

    fn chaos(&mut self, steps: u64) {
        for _ in 0..steps {
            if self.wire.len() > 2_000 {
                self.wire.truncate(500);
            }
            let at = |rng: &mut Rng, len: usize| rng.below(len as u64) as usize;
            match self.rng.below(100) {
                0..55 if !self.wire.is_empty() => {
                    let at = at(&mut self.rng, self.wire.len());
                    self.deliver(at);
                }
                55..65 if !self.wire.is_empty() => {
                    let at = at(&mut self.rng, self.wire.len());
                    self.wire.swap_remove(at);
                }
                65..70 if !self.wire.is_empty() => {
                    let at = at(&mut self.rng, self.wire.len());
                    self.wire.push(self.wire[at].clone());
                }
                70..78 => {
                    let id = self.random_node();
                    self.ring(id);
                }
                78..80 => {
                    let id = self.random_node();
                    self.restart(id);
                }
                80..84 => {
                    let id = self.random_node();
                    self.nodes.get_mut(&id).unwrap().agreement.again();
                    self.drain(id);
                }
                _ => self.lie(),
            }
        }
    }

    /// Nothing is lost any more and alarms ring only when nothing is on its way. Returns how many
    /// times all alarms had to ring until every honest witness had decided.
    fn good_times(&mut self, most: u32) -> Option<u32> {
        for rang in 0..most {
            for id in self.order.clone() {
                self.nodes.get_mut(&id).unwrap().agreement.again();
                self.drain(id);
            }
            while !self.wire.is_empty() {
                self.deliver(0);
            }
            let decided = |node: &Node| node.faulty || node.decision.is_some();
            if self.nodes.values().all(decided) {
                return Some(rang);
            }
            // Who decided tells the others, as checkpoints spread.
            let known = self.nodes.values().find_map(|node| node.decision.clone());
            if let Some(decision) = known {
                self.check(&decision);
                for node in self.nodes.values_mut().filter(|node| !node.faulty) {
                    node.decision.get_or_insert_with(|| decision.clone());
                }
                return Some(rang);
            }
            for id in self.order.clone() {
                self.ring(id);
            }
        }
        None
    }

    /// A decision is a quorum of precommits of one round that hold.
    fn check(&self, decision: &Decision) {
        assert!(decision.votes.len() >= self.set.quorum());
        for (voter, signature) in &decision.votes {
            let body = Ballot {
                version: self.set.version,
                epoch: EPOCH,
                round: decision.round,
                phase: Phase::Precommit,
                value: Some(decision.value),
                valid_round: None,
            };
            let ballot = Signed { signer: *voter, body, signature: *signature };
            ballot.open(&mut self.verifier.clone(), &pool()).unwrap();
        }
    }

    fn decisions(&self) -> BTreeSet<Digest> {
        let all = self.nodes.values().filter(|node| !node.faulty);
        all.filter_map(|node| node.decision.as_ref()).map(|d| d.value).collect()
    }

    /// What must hold whatever happened, with at most f faulty witnesses.
    fn check_safety(&self) {
        let decisions = self.decisions();
        assert!(decisions.len() <= 1, "two decisions");
        assert!(decisions.iter().all(is_valid), "an invalid value");
        self.check_honesty();
    }

    /// No honest witness contradicts itself, across restarts, nor is accused of it.
    fn check_honesty(&self) {
        let honest: BTreeSet<NodeId> =
            self.nodes.iter().filter(|(_, n)| !n.faulty).map(|(id, _)| *id).collect();
        for node in self.nodes.values().filter(|node| !node.faulty) {
            node.decision.iter().for_each(|decision| self.check(decision));
            assert!(!node.contradicts(), "two ballots after {} restarts", node.restarts);
            assert!(node.agreement.kept() <= 2 * WITNESSES_MAX * kept_rounds() + 512);
        }
        let everything = self
            .nodes
            .values()
            .flat_map(|node| node.agreement.transcript().chain(node.sent.iter()));
        let accused = culprits(everything);
        assert!(accused.is_disjoint(&honest), "an honest witness is accused");
    }
}

fn kept_rounds() -> usize {
    (ROUNDS_KEPT_MAX + ROUNDS_AHEAD_MAX + 2) as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24 * scale() as u32))]

    #[test]
    fn at_most_one_valid_value_is_decided_and_good_times_decide(
        seed: u64, big: bool, faulty in 0usize..=2, steps in 100u64..900,
    ) {
        let n = if big { 7 } else { 4 };
        let faulty = faulty.min(((n - 1) / 3) as usize);
        let mut arena = Arena::new(n, faulty, seed, Verifier::memoised(1 << 16));
        arena.chaos(steps);
        arena.check_safety();
        let rang = arena.good_times(60);
        prop_assert!(rang.is_some(), "not decided in good times");
        prop_assert_eq!(arena.decisions().len(), 1);
        arena.check_safety();
    }
}

/// Two witnesses waited in a round for the precommit of a third, which had gone on to the next one and
/// repeated only what it said there: for ever. It repeats the round before, too.
#[test]
fn a_witness_that_went_on_leaves_nobody_behind() {
    let mut arena = Arena::new(4, 1, 3_950_734_127_101_611_831, Verifier::memoised(1 << 16));
    arena.chaos(161);
    assert!(arena.good_times(60).is_some());
    arena.check_safety();
}

#[test]
fn without_faults_the_first_round_decides() {
    for n in [1, 4, 7, 31] {
        let mut arena = Arena::new(n, 0, 5, Verifier::memoised(1 << 16));
        assert_eq!(arena.good_times(1), Some(0), "n = {n}");
        let rounds = arena.nodes.values().map(|node| node.decision.as_ref().unwrap().round);
        assert_eq!(rounds.max(), Some(0));
        arena.check_safety();
    }
}

/// A witness knows something against a value on which another one is locked, by the help of the faulty
/// one. Were it to refuse for ever, nothing would ever be decided; it gives way to the quorum that it is shown.
#[test]
fn a_doubt_does_not_stop_what_a_quorum_voted_for() {
    for insists in [false, true] {
        let arena = |seed| Arena::new(4, 1, seed, Verifier::memoised(1 << 12));
        let begins = |arena: &Arena| arena.nodes.values().next().unwrap().agreement.proposer(0);
        let honest = |arena: &Arena, id: &NodeId| !arena.nodes[id].faulty;
        let mut arena = (0..).map(arena).find(|arena| honest(arena, &begins(arena))).unwrap();
        let proposer = begins(&arena);
        let others: Vec<NodeId> = arena.order.iter().copied().filter(|o| *o != proposer).collect();
        let (liar, others): (Vec<NodeId>, Vec<NodeId>) =
            others.into_iter().partition(|id| arena.nodes[id].faulty);
        let (locks, doubts) = (others[0], others[1]);
        let disputed = value(arena.nodes[&proposer].candidate);
        arena.doubter = Some((doubts, disputed, insists));
        for (to, said) in [(locks, Some(disputed)), (doubts, None), (proposer, None)] {
            let (version, phase) = (2, Phase::Prevote);
            let body =
                Ballot { version, epoch: EPOCH, round: 0, phase, value: said, valid_round: None };
            let ballot = Signed::seal(body, &arena.nodes[&liar[0]].key, &pool());
            arena.wire.insert(0, (to, Statement::Ballot(ballot)));
        }
        while !arena.wire.is_empty() {
            arena.deliver(0);
        }
        let held = |arena: &Arena, id: &NodeId| arena.nodes[id].agreement.held();
        assert_eq!(held(&arena, &locks), Some(disputed));
        assert_eq!(held(&arena, &doubts), None);
        assert_eq!(arena.good_times(60).is_some(), !insists);
        let decided = if insists { BTreeSet::new() } else { BTreeSet::from([disputed]) };
        assert_eq!(arena.decisions(), decided);
        arena.check_safety();
        arena.check_honesty();
    }
}

#[test]
fn a_silent_proposer_costs_a_round() {
    let mut arena = Arena::new(4, 1, 0, Verifier::memoised(1 << 12));
    // Seeds differ in who is faulty: find one whose faulty witness begins.
    for seed in 1.. {
        let first = arena.nodes.values().next().unwrap().agreement.proposer(0);
        if arena.nodes[&first].faulty {
            break;
        }
        arena = Arena::new(4, 1, seed, Verifier::memoised(1 << 12));
    }
    assert!(arena.good_times(6).is_some());
    let rounds = arena.nodes.values().filter_map(|node| node.decision.as_ref());
    assert_eq!(rounds.map(|decision| decision.round).max(), Some(1));
}

/// The control of durability: witnesses that restart without their records contradict themselves.
#[test]
fn without_durable_records_restarts_contradict() {
    let contradicts = |seed| {
        let mut arena = Arena::new(4, 1, seed, Verifier::memoised(1 << 14));
        arena.forgets = true;
        arena.chaos(600);
        arena.nodes.values().any(Node::contradicts)
    };
    assert!((0..8).any(contradicts));
}

/// The control: one faulty witness more than f, and the same witnesses decide twice. Each of the two
/// decisions is complete, and the ballots of both name more than f of the faulty.
#[test]
fn beyond_f_two_values_are_decided_and_the_culprits_are_named() {
    for n in [4u64, 7] {
        let f = ((n - 1) / 3) as usize;
        let mut arena = Arena::new(n, f + 1, 11, Verifier::memoised(1 << 14));
        let faulty: Vec<NodeId> =
            arena.order.iter().copied().filter(|id| arena.nodes[id].faulty).collect();
        let honest: Vec<NodeId> =
            arena.order.iter().copied().filter(|id| !arena.nodes[id].faulty).collect();
        // Two halves that hear each other and the faulty ones, who tell each half another story.
        let (left, right) = honest.split_at(honest.len() / 2);
        let round = (0..).find(|round| {
            let proposer = arena.nodes[&honest[0]].agreement.proposer(*round);
            faulty.contains(&proposer)
        });
        let round = round.unwrap();
        while arena.nodes[&honest[0]].agreement.round() < round {
            arena.wire.clear();
            let round = arena.nodes[&honest[0]].agreement.round();
            for id in &honest {
                arena.nodes.get_mut(id).unwrap().agreement.on_alarm(round, Step::Precommit);
                arena.drain(*id);
            }
        }
        arena.wire.clear();
        let liar = arena.nodes[&honest[0]].agreement.proposer(round);
        for (half, story) in [(left, value(2)), (right, value(4))] {
            let body =
                Proposed { version: 2, epoch: EPOCH, round, value: story, valid_round: None };
            let head = Signed::seal(body, &arena.nodes[&liar].key, &pool());
            let mut say = vec![Statement::Proposal(Proposal { head, polka: Vec::new() })];
            for phase in [Phase::Prevote, Phase::Precommit] {
                for id in &faulty {
                    let body = Ballot {
                        version: 2,
                        epoch: EPOCH,
                        round,
                        phase,
                        value: Some(story),
                        valid_round: None,
                    };
                    say.push(Statement::Ballot(Signed::seal(body, &arena.nodes[id].key, &pool())));
                }
            }
            for statement in say {
                for id in half {
                    let node = arena.nodes.get_mut(id).unwrap();
                    node.agreement.handle(statement.clone(), &mut arena.verifier);
                    arena.drain(*id);
                }
            }
        }
        // Within each half everything arrives.
        loop {
            let within = |(to, statement): &(NodeId, Statement)| {
                left.contains(to) == left.contains(&statement.signer())
            };
            let Some(at) = arena.wire.iter().position(within) else { break };
            arena.deliver(at);
        }
        assert_eq!(arena.decisions(), BTreeSet::from([value(2), value(4)]), "n = {n}");
        arena.check_honesty();
        let decided = arena.nodes.values().filter(|node| node.decision.is_some());
        let named = culprits(decided.flat_map(|node| node.agreement.transcript()));
        assert!(named.len() > f, "{} of {} named", named.len(), f + 1);
        assert!(named.iter().all(|id| faulty.contains(id)));
    }
}

/// One faulty witness more than f forgets its lock: a value is decided in one round and another in a
/// later one. What it signed convicts it although no two of its ballots are at one place.
#[test]
fn a_broken_lock_convicts() {
    let key = &witness_keys(4)[0];
    let ballot = |round, phase, of, valid_round| {
        let value = Some(value(of));
        let body = Ballot { version: 2, epoch: EPOCH, round, phase, value, valid_round };
        Signed::seal(body, key, &pool())
    };
    let locked = ballot(2, Phase::Precommit, 2, None);
    for (later, guilty) in [
        (ballot(3, Phase::Prevote, 4, None), true),
        (ballot(5, Phase::Prevote, 4, Some(1)), true),
        (ballot(5, Phase::Prevote, 4, Some(2)), false),
        (ballot(5, Phase::Prevote, 4, Some(4)), false),
        (ballot(5, Phase::Prevote, 2, None), false),
        (ballot(1, Phase::Prevote, 4, None), false),
        (ballot(2, Phase::Precommit, 4, None), true),
        (ballot(2, Phase::Precommit, 2, None), false),
    ] {
        let named = culprits([&locked, &later]);
        assert_eq!(named.contains(&key.node_id()), guilty, "{:?}", later.body);
    }
}

#[test]
fn what_is_not_about_this_decision_changes_nothing() {
    let mut arena = Arena::new(4, 0, 1, Verifier::strict());
    arena.wire.clear();
    let to = arena.order[0];
    let stranger = SecretKey::from_seed([7; 32]);
    let insider = arena.nodes[&arena.order[1]].key.clone();
    let good = Ballot {
        version: 2,
        epoch: EPOCH,
        round: 0,
        phase: Phase::Prevote,
        value: None,
        valid_round: None,
    };
    let forged = Signed { signer: insider.node_id(), ..Signed::seal(good, &stranger, &pool()) };
    for ballot in [
        Signed::seal(good, &stranger, &pool()),
        Signed::seal(Ballot { epoch: 2, ..good }, &insider, &pool()),
        Signed::seal(Ballot { version: 1, ..good }, &insider, &pool()),
        Signed::seal(good, &insider, &Digest::of(b"another pool")),
        forged,
    ] {
        let node = arena.nodes.get_mut(&to).unwrap();
        let before = node.agreement.transcript().count();
        node.agreement.handle(Statement::Ballot(ballot), &mut arena.verifier);
        assert_eq!(node.agreement.transcript().count(), before);
    }
}

/// A witness alone in a far round drags nobody along and fills nobody's memory.
#[test]
fn ballots_of_far_rounds_are_not_kept() {
    let mut arena = Arena::new(4, 1, 2, Verifier::memoised(1 << 16));
    let liar = *arena.order.iter().find(|id| arena.nodes[id].faulty).unwrap();
    let to = *arena.order.iter().find(|id| !arena.nodes[id].faulty).unwrap();
    let key = arena.nodes[&liar].key.clone();
    let node = arena.nodes.get_mut(&to).unwrap();
    for round in (0..4_000).chain([u32::MAX]) {
        let body = Ballot {
            version: 2,
            epoch: EPOCH,
            round,
            phase: Phase::Precommit,
            value: None,
            valid_round: None,
        };
        let ballot = Statement::Ballot(Signed::seal(body, &key, &pool()));
        node.agreement.handle(ballot, &mut arena.verifier);
    }
    assert_eq!(node.agreement.round(), 0);
    assert!(node.agreement.kept() < 40, "{}", node.agreement.kept());
}
