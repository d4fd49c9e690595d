//! Claims: what witnesses insist on, and what they do not.

use edge_base::{Credits, Digest, EscrowId, Rng, Signed, TaskKind};
use edge_ledger::{
    Assignment, BlockKind, CLAIM_AGREEING_MAX, CLAIM_TASKS_MAX, Claim, ClaimBook, ClaimError,
    ClaimedTask, Commit, Execution, ExecutionError, LedgerError, Refusal, Reveal, Voucher,
    check_claim, commit_hash, payable, task_id,
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

    /// Workers 2 and 3 agree on a task of owner 1; worker 2 claims.
    fn confirmed(&self, task: u64, answer: &[u8]) -> ClaimedTask {
        ClaimedTask {
            mine: self.execution(1, task, 2, answer),
            agreeing: vec![self.execution(1, task, 3, answer)],
        }
    }

    fn voucher(&self, worker: u64, cumulative: u64) -> Signed<Voucher> {
        let (escrow, cumulative) = (self.escrow, micro(cumulative));
        self.seal(Voucher { escrow, requester: id(1), worker: id(worker), cumulative, tasks: 1 }, 1)
    }

    fn by_voucher(&self, worker: u64, cumulative: u64) -> Signed<Claim> {
        let voucher = Some(self.voucher(worker, cumulative));
        let claim = Claim { escrow: self.escrow, worker: id(worker), voucher, tasks: vec![] };
        self.seal(claim, worker)
    }

    fn by_work(&self, mut tasks: Vec<ClaimedTask>) -> Signed<Claim> {
        tasks.sort_by_key(|task| task.mine.task());
        self.seal(Claim { escrow: self.escrow, worker: id(2), voucher: None, tasks }, 2)
    }

    fn raise(&mut self, claim: &Signed<Claim>) -> Result<Credits, ClaimError> {
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
    assert_eq!(job.raise(&job.by_voucher(2, 700)), Ok(micro(700)));
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
    assert!(job.world.claims.stands_against(&id(1)));
    assert!(!job.world.claims.stands_against(&id(2)));

    // Witnesses refuse, then the paying settlement is certified, and the claim is over.
    let refund = job.world.ledger.next_block(id(1), BlockKind::Refund { escrow }).unwrap();
    let refund = job.world.seal(refund, 1);
    assert_eq!(job.world.certify(&refund), Err(Refusal::Block(stands)));
    job.world.act(1, settle(escrow, vec![pay(2, 700)])).unwrap();
    assert_eq!(job.raise(&job.by_voucher(2, 900)), Err(ClaimError::EscrowEnded(escrow)));
    let World { ledger, claims, .. } = &mut job.world;
    claims.prune(ledger);
    assert!(claims.is_empty());
    job.world.check_totals();
}

#[test]
fn the_largest_claim_of_a_worker_stands() {
    let mut job = Job::open();
    for (asked, stands) in [(500, 500), (300, 500), (800, 800), (800, 800)] {
        assert_eq!(job.raise(&job.by_voucher(2, asked)), Ok(micro(stands)));
    }
    assert_eq!(job.raise(&job.by_voucher(3, 50)), Ok(micro(50)));
    let claims: Vec<_> = job.world.claims.claims(&job.escrow).collect();
    let mut expected = vec![(id(2), micro(800)), (id(3), micro(50))];
    expected.sort_unstable();
    assert_eq!(claims, expected);
    assert_eq!(job.world.claims.len(), 2);
}

#[test]
fn work_that_another_worker_confirmed_is_owed_without_a_voucher() {
    let mut job = Job::open();
    let tasks: Vec<_> = (0..5).map(|task| job.confirmed(task, b"right")).collect();
    let claim = job.by_work(tasks);
    let mut verifier = job.world.verifier.clone();
    let owed = check_claim(&claim, &job.world.ledger, &mut verifier).unwrap();
    assert_eq!((owed.owner, owed.worker, owed.amount), (id(1), id(2), micro(5 * PRICE)));
    assert_eq!(job.raise(&claim), Ok(micro(5 * PRICE)));

    // A voucher may cover the same work: the larger one is owed, not both.
    for (vouched, amount) in [(2_000, 5_000), (7_000, 7_000)] {
        let mut both = claim.body.clone();
        both.voucher = Some(job.voucher(2, vouched));
        let both = job.seal(both, 2);
        let owed = check_claim(&both, &job.world.ledger, &mut verifier).unwrap();
        assert_eq!(owed.amount, micro(amount));
    }
}

#[test]
fn work_that_is_not_confirmed_is_not_owed() {
    let mut job = Job::open();
    let mine = job.execution(1, 0, 2, b"right");
    let alone = ClaimedTask { mine: mine.clone(), agreeing: vec![] };
    let myself = ClaimedTask { mine: mine.clone(), agreeing: vec![mine.clone()] };
    let disagreeing = job.execution(1, 0, 3, b"wrong");
    let disagreed = ClaimedTask { mine: mine.clone(), agreeing: vec![disagreeing.clone()] };
    for task in [alone, myself, disagreed] {
        assert_eq!(job.raise(&job.by_work(vec![task])), Err(ClaimError::Unconfirmed(0)));
    }
    // A third worker's disagreement beside a confirmation does not matter.
    let agreeing = vec![disagreeing, job.execution(1, 0, 4, b"right")];
    let task = ClaimedTask { mine, agreeing };
    assert_eq!(job.raise(&job.by_work(vec![task])), Ok(micro(PRICE)));
}

#[test]
fn foreign_or_forged_work_is_not_owed() {
    let mut job = Job::open();
    let good = job.confirmed(0, b"right");
    // Assigned by somebody else than the escrow's owner: a friend's assignments pay nothing.
    let friends = ClaimedTask {
        mine: job.execution(5, 0, 2, b"right"),
        agreeing: vec![job.execution(5, 0, 3, b"right")],
    };
    // Somebody else's execution, another task's confirmation, another escrow's work.
    let others = ClaimedTask { mine: good.agreeing[0].clone(), agreeing: vec![good.mine.clone()] };
    let mixed =
        ClaimedTask { mine: good.mine.clone(), agreeing: vec![job.execution(1, 1, 3, b"right")] };
    let mut unpaid = good.clone();
    unpaid.mine.assignment.body.escrow = None;
    unpaid.mine.assignment = job.seal(unpaid.mine.assignment.body, 1);
    for task in [friends, others, mixed, unpaid] {
        assert_eq!(job.raise(&job.by_work(vec![task])), Err(ClaimError::Foreign(0)));
    }
    type Change = fn(&mut Execution);
    let forgeries: [(Change, ExecutionError); 7] = [
        (|e| e.assignment.body.price = micro(90_000), ExecutionError::Assignment),
        (|e| e.assignment.body.issued += 1, ExecutionError::Task),
        (|e| e.commit.signature.0[3] ^= 1, ExecutionError::Commit),
        (|e| e.reveal.signature.0[3] ^= 1, ExecutionError::Reveal),
        (|e| e.commit.body.worker = id(3), ExecutionError::Mismatch),
        (|e| e.reveal.body.nonce[0] ^= 1, ExecutionError::DoesNotOpen),
        (|e| e.commit.body.hash = Digest::of(b"copied"), ExecutionError::DoesNotOpen),
    ];
    for (change, source) in forgeries {
        let mut task = good.clone();
        change(&mut task.mine);
        let refused = job.raise(&job.by_work(vec![task]));
        assert_eq!(refused, Err(ClaimError::Execution { index: 0, source }));
    }
    assert!(job.world.claims.is_empty());
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
fn vouchers_that_are_not_the_owners_word_to_this_worker_are_refused() {
    let mut job = Job::open();
    let good = job.voucher(2, 500).body;
    let wrongs = [
        job.seal(good, 2),
        job.seal(Voucher { worker: id(3), ..good }, 1),
        job.seal(Voucher { requester: id(2), ..good }, 2),
        job.seal(Voucher { escrow: EscrowId::default(), ..good }, 1),
        Signed { body: Voucher { cumulative: micro(900), ..good }, ..job.voucher(2, 500) },
    ];
    for voucher in wrongs {
        let mut claim = job.by_voucher(2, 500).body;
        claim.voucher = Some(voucher);
        let claim = job.seal(claim, 2);
        assert_eq!(job.raise(&claim), Err(ClaimError::Voucher));
    }
    let stolen = job.seal(job.by_voucher(2, 500).body, 3);
    assert_eq!(job.raise(&stolen), Err(ClaimError::Signature));
    let mut renamed = stolen;
    renamed.signer = id(2);
    assert_eq!(job.raise(&renamed), Err(ClaimError::Signature));
    assert_eq!(job.raise(&job.by_voucher(2, 0)), Err(ClaimError::Nothing));
    let mut nowhere = job.by_voucher(2, 500).body;
    nowhere.escrow = EscrowId(Digest::of(b"not here"));
    let missing = ClaimError::MissingEscrow(nowhere.escrow);
    let nowhere = job.seal(nowhere, 2);
    assert_eq!(job.raise(&nowhere), Err(missing));
}

#[test]
fn claims_are_bounded_and_sorted() {
    let mut job = Job::open();
    let task = job.confirmed(0, b"right");
    let twice = vec![task.clone(), task.clone()];
    assert_eq!(job.raise(&job.by_work(twice)), Err(ClaimError::Order));
    let many = vec![task.clone(); CLAIM_TASKS_MAX + 1];
    let refused = job.raise(&job.by_work(many)).unwrap_err();
    assert!(matches!(refused, ClaimError::TooMany { .. }), "{refused}");
    let mut crowded = task;
    crowded.agreeing = vec![crowded.agreeing[0].clone(); CLAIM_AGREEING_MAX + 1];
    let refused = job.raise(&job.by_work(vec![crowded])).unwrap_err();
    assert!(matches!(refused, ClaimError::TooMany { .. }), "{refused}");
}

#[test]
fn two_liars_who_agree_lose_to_a_fault_proof() {
    let mut job = Job::open();
    let escrow = job.escrow;
    let (lie, truth) = (job.confirmed(0, b"wrong"), job.confirmed(1, b"right"));
    assert_eq!(job.raise(&job.by_work(vec![lie.clone(), truth])), Ok(micro(2 * PRICE)));
    // Somebody executed task 0 again and found another digest.
    job.world.claims.dismiss(&lie.agreeing[0]);
    assert_eq!(job.world.claims.owed(&escrow, &id(2)), micro(PRICE));
    assert_eq!(job.would_vote(settle(escrow, vec![pay(2, PRICE)])), Ok(()));
    // The same lie later, by anybody, is worth nothing.
    let late = Claim {
        escrow,
        worker: id(3),
        voucher: None,
        tasks: vec![ClaimedTask {
            mine: lie.agreeing[0].clone(),
            agreeing: vec![lie.mine.clone()],
        }],
    };
    let late = job.seal(late, 3);
    assert_eq!(job.raise(&late), Err(ClaimError::Nothing));
}

#[test]
fn claims_beyond_the_budget_get_all_that_it_can_pay() {
    let mut job = Job::open();
    let escrow = job.escrow;
    job.raise(&job.by_voucher(2, 80_000)).unwrap();
    job.raise(&job.by_voucher(3, u64::MAX)).unwrap();
    let most = payable(micro(BUDGET)).micro();
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
                job.raise(&job.by_voucher(worker, owed[worker as usize])).unwrap();
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
