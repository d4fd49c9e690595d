//! Owners that sign two blocks for one place, witnesses that vote for anything, messages that are
//! lost, doubled and reordered, witnesses that crash: at most one certificate per (account, seq).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Digest, NodeId, Rng, SecretKey, Verifier};
use edge_ledger::{
    Applied, BlockKind, Certificate, ClaimBook, EquivocationProof, Ledger, LedgerError, Refusal,
    SignedBlock, Vote, VoteCollector, VoteLog, block_hash,
};

use crate::world::*;

/// A message under way.
#[derive(Clone)]
enum Message {
    Propose { witness: usize, block: SignedBlock },
    Vote(Vote),
    Certified { witness: usize, certificate: Arc<Certificate> },
}

struct Witness {
    key: SecretKey,
    faulty: bool,
    ledger: Ledger,
    log: VoteLog,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
}

struct Schedule {
    world: World,
    rng: Rng,
    witnesses: Vec<Witness>,
    network: Vec<Message>,
    collectors: BTreeMap<Digest, VoteCollector>,
    certified: BTreeMap<(NodeId, u64), BTreeSet<Digest>>,
    refused_other: usize,
    /// More witnesses are faulty than the set tolerates: chains may fork.
    broken: bool,
}

impl Schedule {
    fn new(n: u64, faulty: u64, seed: u64) -> Schedule {
        let mut world = World::alone();
        world.act(0, send(1, 1_000_000)).unwrap();
        world.hand_over(n);
        let mut rng = Rng::derive(seed, "quorum");
        let mut bad: Vec<bool> = (0..n).map(|i| i < faulty).collect();
        rng.shuffle(&mut bad);
        let witnesses = world.witnesses.iter().zip(bad);
        let witnesses = witnesses
            .map(|(key, faulty)| Witness {
                key: key.clone(),
                faulty,
                ledger: world.ledger.clone(),
                log: VoteLog::new(),
                disk: BTreeMap::new(),
            })
            .collect();
        Schedule {
            world,
            rng,
            witnesses,
            network: Vec::new(),
            collectors: BTreeMap::new(),
            certified: BTreeMap::new(),
            refused_other: 0,
            broken: faulty > (n - 1) / 3,
        }
    }

    /// The owner signs `rivals` different blocks for its next place, as seen by some witness, and
    /// sends each to everybody, several times.
    fn equivocate(&mut self, owner: u64, rivals: u64) {
        let view = self.rng.below(self.witnesses.len() as u64) as usize;
        let ledger = &self.witnesses[view].ledger;
        for rival in 0..rivals {
            let Ok(block) = ledger.next_block(id(owner), send(10 + rival, 1_000 + rival)) else {
                continue;
            };
            let block = self.world.seal(block, owner);
            let collector = VoteCollector::new(block.clone(), self.world.set(), self.world.pool());
            self.collectors.insert(block_hash(&block), collector);
            for witness in 0..self.witnesses.len() {
                for _ in 0..1 + self.rng.below(2) {
                    self.network.push(Message::Propose { witness, block: block.clone() });
                }
            }
        }
    }

    fn run(&mut self, verifier: &mut Verifier) {
        while !self.network.is_empty() {
            let next = self.rng.below(self.network.len() as u64) as usize;
            let message = self.network.swap_remove(next);
            if self.rng.chance(1, 20) {
                self.network.push(message.clone());
            }
            if self.rng.chance(1, 20) {
                continue;
            }
            if self.rng.chance(1, 10) {
                let crashed = self.rng.below(self.witnesses.len() as u64) as usize;
                let witness = &mut self.witnesses[crashed];
                witness.log = VoteLog::restore(&witness.disk).unwrap();
            }
            self.deliver(message, verifier);
        }
    }

    fn deliver(&mut self, message: Message, verifier: &mut Verifier) {
        match message {
            Message::Propose { witness: index, block } => {
                let witness = &mut self.witnesses[index];
                if witness.faulty {
                    self.network.push(Message::Vote(self.world.vote_of(index, &block)));
                    return;
                }
                let claims = ClaimBook::new();
                match witness.log.vote(&witness.ledger, &claims, &block, &witness.key, verifier) {
                    Ok(voted) => {
                        witness.disk.insert(voted.record.key, voted.record.value);
                        self.network.push(Message::Vote(voted.vote));
                    }
                    Err(Refusal::OtherBlock(proof)) => {
                        self.refused_other += 1;
                        proof.check(verifier, &self.world.pool()).unwrap();
                    }
                    Err(Refusal::Block(_) | Refusal::Past { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            Message::Vote(vote) => {
                let collector = self.collectors.get_mut(&vote.body.block).unwrap();
                if let Some(certificate) = collector.add(&vote, verifier).unwrap() {
                    let body = certificate.body();
                    let place = (body.account, body.seq);
                    self.certified.entry(place).or_default().insert(certificate.id());
                    let certificate = Arc::new(certificate);
                    for witness in 0..self.witnesses.len() {
                        let certificate = certificate.clone();
                        self.network.push(Message::Certified { witness, certificate });
                    }
                }
            }
            Message::Certified { witness, certificate } => {
                let ledger = &mut self.witnesses[witness].ledger;
                match ledger.apply(certificate, verifier) {
                    Ok(_) => check_totals(ledger),
                    Err(error) => assert!(error.is_retryable() || self.broken, "{error}"),
                }
            }
        }
    }
}

/// Runs rounds of equivocation; returns (places with more than one certificate, places with one,
/// votes refused because of another block).
fn rounds(n: u64, faulty: u64, seed: u64) -> (usize, usize, usize) {
    let mut schedule = Schedule::new(n, faulty, seed);
    let mut verifier = schedule.world.verifier.clone();
    for _ in 0..4 {
        schedule.equivocate(1, 2 + seed % 2);
        schedule.equivocate(0, 1);
        schedule.run(&mut verifier);
    }
    let double = schedule.certified.values().filter(|ids| ids.len() > 1).count();
    let single = schedule.certified.values().filter(|ids| ids.len() == 1).count();
    (double, single, schedule.refused_other)
}

#[test]
fn fewer_than_a_third_faulty_never_certify_two_blocks_for_one_place() {
    let (mut single, mut refused) = (0, 0);
    for seed in 0..20 * scale() {
        for (n, faulty) in [(4, 1), (7, 2)] {
            let (double, once, other) = rounds(n, faulty, seed);
            assert_eq!(double, 0, "n = {n}, seed = {seed}");
            single += once;
            refused += other;
        }
    }
    assert!(single > 0, "nothing was certified at all");
    assert!(refused > 0, "nobody equivocated within reach of an honest witness");
}

#[test]
fn the_same_schedule_with_one_more_faulty_witness_certifies_two() {
    // The control: the attack is real, and only the bound on faulty witnesses stops it.
    let double: usize = (0..20).map(|seed| rounds(4, 2, seed).0 + rounds(7, 3, seed).0).sum();
    assert!(double > 0);
}

#[test]
fn conflicting_certificates_freeze_the_owner_and_name_the_culprits() {
    let mut world = World::with_witnesses(4);
    let first = world.seal(world.ledger.next_block(id(0), send(1, 10)).unwrap(), 0);
    let second = world.seal(world.ledger.next_block(id(0), send(2, 10)).unwrap(), 0);
    let vote = |witness: usize, block: &SignedBlock| {
        let vote = world.vote_of(witness, block);
        (vote.signer, vote.signature)
    };
    let certificate = |block: &SignedBlock, voters: [usize; 3]| {
        let mut votes: Vec<_> = voters.map(|witness| vote(witness, block)).into();
        votes.sort_unstable_by_key(|(voter, _)| *voter);
        Arc::new(Certificate { block: block.clone(), set_version: world.set().version, votes })
    };
    // Witnesses 1 and 2 vote for both, one more than f.
    let (kept, refused) = (certificate(&first, [0, 1, 2]), certificate(&second, [1, 2, 3]));
    let mut culprits = vec![world.witnesses[1].node_id(), world.witnesses[2].node_id()];
    culprits.sort_unstable();

    assert_eq!(world.apply(&kept), Ok(Applied::New));
    let error = world.apply(&refused);
    assert_eq!(error, Err(LedgerError::ConflictingCertificate { account: id(0), seq: 1 }));
    assert!(world.apply(&refused).is_err());
    let [conflict] = world.ledger.conflicts() else { panic!("one conflict") };
    assert_eq!(conflict.culprits, culprits);
    assert_eq!((conflict.kept.id(), conflict.refused.id()), (kept.id(), refused.id()));
    assert!(world.ledger.account(&id(0)).frozen);
    assert_eq!(world.ledger.account(&id(1)).incoming, micro(10));
    assert_eq!(world.ledger.account(&id(2)).incoming, micro(0));
    world.check_totals();
}

#[test]
fn equivocation_freezes_the_owner_and_harms_nobody_else() {
    let mut world = World::with_witnesses(4);
    world.act(0, send(1, 500)).unwrap();
    world.act(0, send(2, 500)).unwrap();
    let a = world.seal(world.ledger.next_block(id(1), send(3, 100)).unwrap(), 1);
    let b = world.seal(world.ledger.next_block(id(1), send(4, 100)).unwrap(), 1);
    let proof = EquivocationProof::new(b.clone(), a.clone());
    assert_eq!(proof, EquivocationProof::new(a.clone(), b.clone()));
    assert_eq!((proof.account(), proof.seq()), (id(1), 1));
    let mut verifier = world.verifier.clone();
    assert_eq!(world.ledger.apply_equivocation(proof.clone(), &mut verifier), Ok(Applied::New));
    assert_eq!(world.ledger.apply_equivocation(proof, &mut verifier), Ok(Applied::Known));
    assert!(world.ledger.account(&id(1)).frozen);
    assert!(world.ledger.equivocation(&id(1)).is_some());

    // No witness votes for the account any more, neither block, nor a later one.
    for block in [&a, &b] {
        let refused = world.certify(block);
        assert_eq!(refused, Err(Refusal::Block(LedgerError::Frozen(id(1)))));
    }
    let open = world.ledger.next_block(id(1), BlockKind::Open);
    assert_eq!(open, Err(LedgerError::Frozen(id(1))));
    // A certificate that exists already still counts: merging stays commutative.
    let certificate = world.collude(&a);
    assert_eq!(world.apply(&certificate), Ok(Applied::New));
    // Everybody else goes on.
    world.act(3, send(2, 60)).unwrap();
    world.act(2, send(1, 560)).unwrap();
    world.check_totals();
}

#[test]
fn what_is_no_equivocation_freezes_nobody() {
    let mut world = World::with_witnesses(4);
    world.act(0, send(1, 500)).unwrap();
    let mut verifier = world.verifier.clone();
    let a = world.seal(world.ledger.next_block(id(1), send(3, 100)).unwrap(), 1);
    let same = EquivocationProof::new(a.clone(), a.clone());
    let mut next = a.body.clone();
    next.seq += 1;
    let other_place = EquivocationProof::new(a.clone(), world.seal(next, 1));
    let mut rival = a.body.clone();
    rival.balance_after = micro(1);
    let framed = EquivocationProof::new(a.clone(), world.seal(rival.clone(), 2));
    let mut forged = world.seal(rival, 2);
    forged.signer = id(1);
    let forged = EquivocationProof::new(a, forged);
    for proof in [same, other_place, framed, forged] {
        assert!(world.ledger.apply_equivocation(proof, &mut verifier).is_err());
    }
    assert!(!world.ledger.account(&id(1)).frozen);
}
