//! Claims: what witnesses insist on, and what they do not.

use edge_base::{Credits, Digest, EscrowId, Rng, Signed, TaskKind};
use edge_ledger::{
    Assignment, BlockKind, CLAIMS_PER_ESCROW_MAX, ClaimBook, ClaimError, Commit, Execution,
    ExecutionError, FeeRate, LedgerError, OverdraftProof, Refusal, Reveal, STANDING_CLAIMS_MAX,
    Voucher, commit_hash, task_id,
};

use crate::world::*;

struct Job {
    world: World,
    escrow: EscrowId,
}

const BUDGET: u64 = 100_000;
const PRICE: u64 = 1_000;

impl Job {
    /// Owner 1 has an open escrow.
    fn open() -> Job {
        let mut world = World::with_witnesses(4);
        world.act(0, send(1, 1_000_000)).unwrap();
        let escrow = world.escrow(1, BUDGET);
        Job { world, escrow }
    }

    fn seal<T: edge_base::SignedBody>(&self, body: T, by: u64) -> Signed<T> {
        Signed::seal(body, &key(by), &self.world.pool())
    }

    fn execution(&self, requester: u64, task: u64, worker: u64, answer: &[u8]) -> Execution {
        let (payload, kind) = (Digest::of(b"payload"), TaskKind::Embedding);
        let assignment = Assignment {
            task: task_id(&id(requester), task, kind, &payload),
            requester: id(requester),
            worker: id(worker),
            escrow: Some(self.escrow),
            price: micro(PRICE),
            kind,
            payload,
            payload_bytes: 7,
            pins: Digest::of(b"pins"),
            issued: task,
        };
        let nonce = [worker as u8; 16];
        let (task, worker_id, digest) = (assignment.task, id(worker), Digest::of(answer));
        let hash = commit_hash(&task, &worker_id, &nonce, &digest);
        Execution {
            assignment: self.seal(assignment, requester),
            commit: self.seal(Commit { task, worker: worker_id, hash }, worker),
            reveal: self.seal(Reveal { task, worker: worker_id, nonce, digest }, worker),
        }
    }

    fn voucher(&self, worker: u64, cumulative: u64) -> Signed<Voucher> {
        let (escrow, cumulative) = (self.escrow, micro(cumulative));
        self.seal(Voucher { escrow, requester: id(1), worker: id(worker), cumulative, tasks: 1 }, 1)
    }

    fn raise(&mut self, claim: &Signed<Voucher>) -> Result<Credits, ClaimError> {
        let World { ledger, claims, verifier, .. } = &mut self.world;
        claims.raise(claim, ledger, verifier).map(|owed| owed.amount)
    }

    /// Whether witnesses would vote for this next block of owner 1.
    fn would_vote(&self, kind: BlockKind) -> Result<(), LedgerError> {
        let block = self.world.ledger.next_block(id(1), kind)?;
        let block = self.world.seal(block, 1);
        let mut verifier = self.world.verifier.clone();
        self.world.ledger.check(&block, &self.world.claims, &mut verifier)
    }
}

#[test]
fn a_standing_claim_stops_every_end_of_its_escrow_but_the_one_that_pays() {
    let mut job = Job::open();
    let other = job.world.escrow(1, 500);
    let other_job = escrow(10);
    let escrow = job.escrow;
    assert_eq!(job.would_vote(BlockKind::Refund { escrow }), Ok(()));
    assert_eq!(job.raise(&job.voucher(2, 700)), Ok(micro(700)));
    let stands = LedgerError::ClaimStands { escrow, worker: id(2), owed: micro(700) };
    assert!(stands.is_retryable());
    for kind in [
        BlockKind::Refund { escrow },
        settle(escrow, vec![]),
        settle(escrow, vec![pay(2, 699)]),
        settle(escrow, vec![pay(3, 700)]),
    ] {
        assert_eq!(job.would_vote(kind), Err(stands.clone()));
    }
    assert_eq!(job.would_vote(settle(escrow, vec![pay(2, 700)])), Ok(()));
    assert_eq!(job.would_vote(settle(escrow, vec![pay(2, 800), pay(3, 1)])), Ok(()));
    // What cannot touch the claimed budget goes on: otherwise a block that its owner signed before
    // it heard of the claim would be stuck for ever.
    for kind in [send(5, 10), other_job.clone(), BlockKind::Refund { escrow: other }] {
        assert_eq!(job.would_vote(kind), Ok(()));
    }

    // Witnesses refuse, then the paying settlement is certified, and the claim is over.
    let refund = job.world.ledger.next_block(id(1), BlockKind::Refund { escrow }).unwrap();
    let refund = job.world.seal(refund, 1);
    assert_eq!(job.world.certify(&refund), Err(Refusal::Block(stands)));
    job.world.act(1, settle(escrow, vec![pay(2, 700)])).unwrap();
    assert_eq!(job.raise(&job.voucher(2, 900)), Err(ClaimError::EscrowEnded(escrow)));
    let World { ledger, claims, .. } = &mut job.world;
    claims.prune(ledger);
    assert!(claims.is_empty());
    job.world.check_totals();
}

#[test]
fn the_largest_claim_of_a_worker_stands() {
    let mut job = Job::open();
    for (asked, stands) in [(500, 500), (300, 500), (800, 800), (800, 800)] {
        assert_eq!(job.raise(&job.voucher(2, asked)), Ok(micro(stands)));
    }
    assert_eq!(job.raise(&job.voucher(3, 50)), Ok(micro(50)));
    let claims: Vec<_> = job.world.claims.claims(&job.escrow).collect();
    let mut expected = vec![(id(2), micro(800)), (id(3), micro(50))];
    expected.sort_unstable();
    assert_eq!(claims, expected);
    assert_eq!(job.world.claims.len(), 2);
}

#[test]
fn a_commit_cannot_be_copied() {
    let job = Job::open();
    let (honest, copy) = (job.execution(1, 0, 2, b"x"), job.execution(1, 0, 3, b"x"));
    let mut copied = copy.clone();
    copied.commit = job.seal(Commit { worker: id(3), ..honest.commit.body }, 3);
    copied.reveal = job.seal(Reveal { worker: id(3), ..honest.reveal.body }, 3);
    let mut verifier = job.world.verifier.clone();
    let refused = copied.check_shape(&mut verifier, &job.world.pool());
    assert_eq!(refused, Err(ExecutionError::DoesNotOpen));
    assert_eq!(copy.check_shape(&mut verifier, &job.world.pool()), Ok(()));
    assert!(honest.check_shape(&mut verifier, &Digest::of(b"another pool")).is_err());
}

#[test]
fn vouchers_that_are_not_the_owners_word_to_another_node_are_refused() {
    let mut job = Job::open();
    let good = job.voucher(2, 500).body;
    let wrongs = [
        job.seal(good, 2),
        job.seal(Voucher { worker: id(1), ..good }, 1),
        job.seal(Voucher { requester: id(2), ..good }, 2),
        job.seal(Voucher { requester: id(2), ..good }, 1),
        Signed { body: Voucher { cumulative: micro(900), ..good }, ..job.voucher(2, 500) },
    ];
    for voucher in wrongs {
        assert_eq!(job.raise(&voucher), Err(ClaimError::Voucher));
    }
    assert_eq!(job.raise(&job.voucher(2, 0)), Err(ClaimError::Nothing));
    let escrow = EscrowId(Digest::of(b"not here"));
    let nowhere = job.seal(Voucher { escrow, ..good }, 1);
    assert_eq!(job.raise(&nowhere), Err(ClaimError::MissingEscrow(escrow)));
    assert!(job.world.claims.is_empty());
}

#[test]
fn the_bound_is_held_against_those_who_set_little_aside() {
    let mut job = Job::open();
    let honest = job.voucher(2, 5_000);
    assert_eq!(job.raise(&honest), Ok(micro(5_000)));
    // Owner 7 vouches without end from small escrows: together they are worth what it set aside.
    job.world.act(0, send(7, 100_000)).unwrap();
    let (mut refused, mut worker) = (0, 100);
    for _ in 0..STANDING_CLAIMS_MAX.div_ceil(CLAIMS_PER_ESCROW_MAX) + 1 {
        let escrow = job.world.escrow(7, 10_000);
        for _ in 0..=CLAIMS_PER_ESCROW_MAX {
            worker += 1;
            let body = Voucher {
                escrow,
                requester: id(7),
                worker: id(worker),
                cumulative: micro(u64::MAX / 2),
                tasks: 1,
            };
            let voucher = job.seal(body, 7);
            refused += usize::from(job.raise(&voucher).is_err());
        }
    }
    assert!(refused > 0);
    assert_eq!(job.world.claims.len(), STANDING_CLAIMS_MAX);
    assert_eq!(job.world.claims.owed(&job.escrow, &id(2)), micro(5_000));
    // There is room for another honest one.
    assert_eq!(job.raise(&job.voucher(3, 900)), Ok(micro(900)));
    assert_eq!(job.world.claims.len(), STANDING_CLAIMS_MAX);
}

#[test]
fn who_vouches_beyond_the_budget_signs_the_proof_of_it() {
    let mut job = Job::open();
    let most = FeeRate::DEFAULT.payable(micro(BUDGET)).micro();
    let (half, rest) = (most / 2, most - most / 2);
    job.raise(&job.voucher(2, half)).unwrap();
    job.raise(&job.voucher(3, rest)).unwrap();
    let World { ledger, claims, .. } = &job.world;
    assert_eq!(claims.overdraft(&job.escrow, ledger), None, "all that it can pay is no overdraft");
    let vouchers = [(2, half), (3, rest), (4, 1)].map(|(worker, sum)| job.voucher(worker, sum));
    let World { ledger, claims, verifier, .. } = &mut job.world;
    claims.raise(&vouchers[2], ledger, verifier).unwrap();
    let proof = claims.overdraft(&job.escrow, ledger).unwrap();
    assert_eq!((proof.owner(), proof.escrow()), (Some(id(1)), Some(job.escrow)));
    assert_eq!(proof.check(ledger, verifier), Ok(()));

    let check = |job: &Job, vouchers: Vec<Signed<Voucher>>| {
        let mut verifier = job.world.verifier.clone();
        OverdraftProof::new(vouchers).check(&job.world.ledger, &mut verifier)
    };
    let [a, b, c] = vouchers.clone();
    assert_eq!(check(&job, vec![c.clone(), b.clone(), a.clone()]), Ok(()), "in any order");
    assert_eq!(check(&job, vec![]), Err(ClaimError::Nothing));
    assert_eq!(check(&job, vec![a.clone(), b.clone()]), Err(ClaimError::NoOverdraft));
    // One worker's vouchers are one sum that grows, not several.
    let twice = vec![a.clone(), a.clone(), b.clone()];
    assert_eq!(check(&job, twice), Err(ClaimError::Order));
    let mut forged = a.clone();
    forged.body.cumulative = micro(most + 1);
    assert_eq!(check(&job, vec![forged]), Err(ClaimError::Voucher));
    let foreign = job.seal(Voucher { cumulative: micro(most + 1), ..a.body }, 2);
    assert_eq!(check(&job, vec![foreign]), Err(ClaimError::Voucher));
    let other = job.world.escrow(1, 500);
    let mixed = job.seal(Voucher { escrow: other, ..c.body }, 1);
    assert_eq!(check(&job, vec![a.clone(), b.clone(), mixed]), Err(ClaimError::Voucher));
    // A single one beyond the budget, and sums that do not fit a number.
    assert_eq!(check(&job, vec![job.voucher(2, most + 1)]), Ok(()));
    let huge = [2, 3].map(|worker| job.voucher(worker, u64::MAX));
    assert_eq!(check(&job, huge.to_vec()), Ok(()));
    // The escrow's end changes nothing.
    let escrow = job.escrow;
    job.world.claims = ClaimBook::new();
    job.world.act(1, settle(escrow, vec![pay(2, half)])).unwrap();
    assert_eq!(check(&job, vec![a, b, c]), Ok(()));
}

#[test]
fn claims_beyond_the_budget_get_all_that_it_can_pay() {
    let mut job = Job::open();
    let escrow = job.escrow;
    job.raise(&job.voucher(2, 80_000)).unwrap();
    job.raise(&job.voucher(3, u64::MAX)).unwrap();
    let most = FeeRate::DEFAULT.payable(micro(BUDGET)).micro();
    assert_eq!(job.would_vote(settle(escrow, vec![pay(2, 40_000), pay(3, most - 40_000)])), Ok(()));
    for short in [
        vec![pay(2, 40_000), pay(3, most - 40_001)],
        vec![pay(4, 40_000), pay(3, most - 40_000)],
        vec![pay(2, 80_000)],
        vec![],
    ] {
        let refused = job.would_vote(settle(escrow, short));
        assert!(matches!(refused, Err(LedgerError::ClaimStands { .. })), "{refused:?}");
    }
}

#[test]
fn an_owner_that_settles_what_it_vouched_for_is_never_stopped() {
    for seed in 0..20 * scale() {
        let mut rng = Rng::derive(seed, "vouchers");
        let mut job = Job::open();
        let mut owed = [0; 6];
        for _ in 0..20 {
            let worker = 2 + rng.below(4);
            owed[worker as usize] += 1 + rng.below(900);
            if rng.chance(1, 2) {
                job.raise(&job.voucher(worker, owed[worker as usize])).unwrap();
            }
        }
        let payments = (2..6).map(|worker| pay(worker, owed[worker as usize])).collect();
        assert_eq!(job.would_vote(settle(job.escrow, payments)), Ok(()), "seed {seed}");
        let claims = job.world.claims.claims(&job.escrow).collect::<Vec<_>>();
        let (worker, amount) = claims[rng.below(claims.len() as u64) as usize];
        let less = (2..6)
            .map(|w| {
                if id(w) == worker { pay(w, amount.micro() - 1) } else { pay(w, owed[w as usize]) }
            })
            .collect();
        let refused = job.would_vote(settle(job.escrow, less));
        assert!(matches!(refused, Err(LedgerError::ClaimStands { .. })), "seed {seed}");
    }
}

#[test]
fn a_new_book_lets_everything_pass() {
    let job = Job::open();
    let book = ClaimBook::new();
    let refund = BlockKind::Refund { escrow: job.escrow };
    assert_eq!(book.admits(&refund, micro(BUDGET)), Ok(()));
    assert_eq!(book.owed(&job.escrow, &id(2)), Credits::ZERO);
}
