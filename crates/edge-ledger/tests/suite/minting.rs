//! Minting: for assigned work that was committed to and revealed alike, under the cap, and nothing else.

use edge_base::{Credits, Digest, NodeId, Rng, Signed, TaskKind};
use edge_ledger::{
    AUDIT_BYTES_MAX, Assignment, AuditCommits, BlockKind, Certified, Commit, CpuHours, LedgerError,
    Resolutions, Reveal, Rewards, commit_hash, cpu_ns, rewards, task_id,
};
use proptest::prelude::*;

use crate::{checkpoint::seal, world::*};

/// Owners with enough at stake to be drawn.
pub(crate) const AUDITORS: std::ops::Range<u64> = 10..20;
const REWARD: Credits = Credits::from_micro(1_000_000);
pub(crate) const VESTING: u64 = 6;

pub(crate) fn pool() -> (World, edge_base::EscrowId) {
    let mut world = World::with_witnesses(4);
    for owner in AUDITORS {
        world.act(0, send(owner, 3_000_000)).unwrap();
        world.act(owner, stake(2_000_000)).unwrap();
    }
    world.act(0, send(1, 50_000_000)).unwrap();
    let escrow = world.escrow(1, 40_000_000);
    (world, escrow)
}

/// Task number `issued` of requester 1, done by worker 2.
pub(crate) fn asked(world: &World, escrow: edge_base::EscrowId, issued: u64) -> Signed<Assignment> {
    let (requester, kind, payload) = (id(1), TaskKind::Embedding, Digest::of(b"texts"));
    let body = Assignment {
        task: task_id(&requester, issued, kind, &payload),
        requester,
        worker: id(2),
        escrow: Some(escrow),
        price: micro(7),
        kind,
        payload,
        payload_bytes: AUDIT_BYTES_MAX,
        pins: Digest::default(),
        issued,
    };
    Signed::seal(body, &key(1), &world.pool())
}

pub(crate) fn number(account: &NodeId) -> u64 {
    (0..100).find(|i| id(*i) == *account).unwrap()
}

/// What an auditor commits to and reveals.
pub(crate) fn answer(
    world: &World,
    task: &Assignment,
    by: NodeId,
    digest: &[u8],
) -> (Signed<Commit>, Signed<Reveal>) {
    let (nonce, digest) = ([7; 16], Digest::of(digest));
    let commit =
        Commit { task: task.task, worker: by, hash: commit_hash(&task.task, &by, &nonce, &digest) };
    let reveal = Reveal { task: task.task, worker: by, nonce, digest };
    let key = key(number(&by));
    (Signed::seal(commit, &key, &world.pool()), Signed::seal(reveal, &key, &world.pool()))
}

/// A checkpoint with these resolutions as far as they hold.
pub(crate) fn step(world: &mut World, resolutions: Resolutions) -> Resolutions {
    let plan = world.ledger.plan(None, resolutions, &mut world.verifier).unwrap();
    world.ledger.check_plan(&plan, &mut world.verifier).unwrap();
    let decided = seal(world, &plan);
    world.ledger.apply_checkpoint(decided, &mut world.verifier).unwrap();
    minted_under_the_cap(world);
    plan.resolutions
}

/// What there is and what is promised beyond the grant never passes S(H); credits add up.
fn minted_under_the_cap(world: &World) {
    let totals = world.ledger.totals();
    assert!(totals.conserved(), "{totals:?}");
    let promised = Credits::sum(world.ledger.accounts().map(|(_, view)| view.vesting)).unwrap();
    let made = totals.granted.minus(GRANT).unwrap().plus(promised).unwrap();
    let made = made.plus(world.ledger.fund()).unwrap();
    assert!(made <= world.ledger.hours().cap(REWARD), "{made} of {:?}", world.ledger.hours());
    let base = world.ledger.base().unwrap();
    assert_eq!(base.decided.sealed.checkpoint.supply, totals.granted);
}

fn named(audits: Vec<Signed<Assignment>>) -> Resolutions {
    Resolutions { audits, ..Resolutions::default() }
}

/// Both drawn auditors of a task, in the order of their ids.
fn drawn(world: &World, task: &Assignment) -> [NodeId; 2] {
    let mut drawn = [0, 1].map(|at| world.ledger.base().unwrap().draw(task)[at]);
    drawn.sort_unstable();
    drawn
}

/// A task from its naming to what was certified, its auditors answering these.
pub(crate) fn audited(
    world: &mut World,
    task: &Signed<Assignment>,
    answers: [&[u8]; 2],
) -> Resolutions {
    assert_eq!(step(world, named(vec![task.clone()])).audits.len(), 1);
    let both = drawn(world, &task.body);
    let made = [0, 1].map(|at| answer(world, &task.body, both[at], answers[at]));
    let commits = made.iter().map(|(commit, _)| commit.clone()).collect();
    let commits = vec![AuditCommits { assignment: task.clone(), commits }];
    assert_eq!(step(world, Resolutions { commits, ..Resolutions::default() }).commits.len(), 1);
    let reveals = made.into_iter().map(|(_, reveal)| reveal).collect();
    let certified = vec![Certified { task: task.body.task, reveals }];
    step(world, Resolutions { certified, ..Resolutions::default() })
}

pub(crate) fn empty(world: &mut World, steps: u64) {
    (0..steps).for_each(|_| drop(step(world, Resolutions::default())));
}

#[test]
fn assigned_work_that_two_revealed_alike_is_rewarded_when_it_vests() {
    let (mut world, escrow) = pool();
    let task = asked(&world, escrow, 1);
    let taken = audited(&mut world, &task, [b"right", b"right"]);
    assert_eq!(taken.certified.len(), 1);
    // Two executions of 64 KiB at 100 ns a byte: 13,107,200 ns, 3 micro-hours, rounded down.
    let ns = cpu_ns(&task.body, world.ledger.parameters());
    assert_eq!(ns, 6_553_600);
    assert_eq!(world.ledger.hours(), CpuHours::from_micro(2 * ns / 1_000 / 3_600));
    assert_eq!(world.ledger.totals().granted, GRANT, "nothing before it vests");
    let cap = world.ledger.hours().cap(REWARD).micro();
    assert_eq!(world.ledger.fund(), micro(cap / 10), "a tenth is set aside for being there");
    let promised = (cap - cap / 10) / 2;
    assert!(promised > 10, "{promised}");
    let two: Vec<NodeId> = taken.certified[0].reveals.iter().map(|reveal| reveal.signer).collect();
    for auditor in &two {
        assert_eq!(world.ledger.account(auditor).vesting, micro(promised));
    }
    empty(&mut world, VESTING - 1);
    assert_eq!(world.ledger.totals().granted, GRANT);
    empty(&mut world, 1);
    assert_eq!(world.ledger.totals().granted, micro(GRANT.micro() + 2 * promised));
    for auditor in two {
        let view = world.ledger.account(&auditor);
        assert_eq!((view.vesting, view.incoming), (micro(0), micro(promised)));
        let before = view.balance.micro();
        world.act(number(&auditor), BlockKind::Open).unwrap();
        assert_eq!(world.balance(number(&auditor)), before + promised);
    }
    empty(&mut world, 2);
    // From the checkpoint alone, and with the certificates after it in any order.
    world.ledger.prune();
    let again = world.ledger.verified_again(&mut world.verifier).unwrap();
    assert_eq!(again.totals(), world.ledger.totals());
}

/// A block that takes what a checkpoint minted waits for that checkpoint, and is taken once.
#[test]
fn a_reward_is_credited_once_wherever_the_checkpoint_comes_late() {
    let (mut world, escrow) = pool();
    let task = asked(&world, escrow, 1);
    audited(&mut world, &task, [b"right", b"right"]);
    empty(&mut world, VESTING - 1);
    let mut late = world.ledger.clone();
    empty(&mut world, 1);
    let decided = world.ledger.base().unwrap().decided.clone();
    let auditor =
        AUDITORS.clone().find(|i| world.ledger.account(&id(*i)).incoming > micro(0)).unwrap();
    let block = world.act(auditor, BlockKind::Open).unwrap();
    let early = late.apply(block.clone(), &mut world.verifier);
    assert!(early.unwrap_err().is_retryable());
    late.apply_checkpoint(decided, &mut world.verifier).unwrap();
    late.apply(block, &mut world.verifier).unwrap();
    assert_same(&late, &world.ledger);
    assert!(matches!(world.act(auditor, BlockKind::Open), Err(LedgerError::Empty(_))));
}

#[test]
fn what_differs_was_not_committed_or_is_not_from_the_draw_is_not_rewarded() {
    let (mut world, escrow) = pool();
    let task = asked(&world, escrow, 1);
    let mut differing = world.clone();
    let refused = audited(&mut differing, &task, [b"right", b"wrong"]);
    assert!(refused.certified.is_empty());
    assert_eq!(differing.ledger.hours(), CpuHours::default());

    step(&mut world, named(vec![task.clone()]));
    let [a, b] = drawn(&world, &task.body);
    let answers = [a, b].map(|by| answer(&world, &task.body, by, b"right"));
    let commits = |commits: Vec<Signed<Commit>>| Resolutions {
        commits: vec![AuditCommits { assignment: task.clone(), commits }],
        ..Resolutions::default()
    };
    let outsiders: Vec<NodeId> = vec![id(1), id(2), id(3)];
    for outsider in outsiders {
        let (commit, _) = answer(&world, &task.body, outsider, b"right");
        let taken = step(&mut world.clone(), commits(vec![commit]));
        assert!(taken.commits.is_empty(), "requester, worker, nothing at stake");
    }
    // One of two auditors alone is not enough, whatever is revealed.
    let mut alone = world.clone();
    step(&mut alone, commits(vec![answers[0].0.clone()]));
    let certified = vec![Certified { task: task.body.task, reveals: vec![answers[0].1.clone()] }];
    let taken = step(&mut alone, Resolutions { certified, ..Resolutions::default() });
    assert!(taken.certified.is_empty());

    step(&mut world, commits(answers.iter().map(|(commit, _)| commit.clone()).collect()));
    let reveals: Vec<Signed<Reveal>> = answers.iter().map(|(_, reveal)| reveal.clone()).collect();
    let attempts: [(Vec<Signed<Reveal>>, &str); 4] = [
        (vec![reveals[0].clone(), reveals[0].clone()], "one for two"),
        (vec![reveals[1].clone(), reveals[0].clone()], "the other's"),
        (
            vec![answer(&world, &task.body, a, b"other").1, reveals[1].clone()],
            "not what was committed",
        ),
        (vec![], "nothing"),
    ];
    for (reveals, why) in attempts {
        let resolutions = Resolutions {
            certified: vec![Certified { task: task.body.task, reveals }],
            ..Resolutions::default()
        };
        assert!(step(&mut world.clone(), resolutions.clone()).certified.is_empty(), "{why}");
        // A faulty proposer finds no honest witness either.
        let mut plan =
            world.ledger.plan(None, Resolutions::default(), &mut world.verifier).unwrap();
        plan.checkpoint.resolutions = resolutions.digest();
        plan.resolutions = resolutions;
        assert!(world.ledger.check_plan(&plan, &mut world.verifier).is_err(), "{why}");
    }
    let certified = vec![Certified { task: task.body.task, reveals }];
    let right = Resolutions { certified, ..Resolutions::default() };
    // More than it is worth: the supply and the hours are computed by everybody.
    let mut plan = world.ledger.plan(None, right.clone(), &mut world.verifier).unwrap();
    plan.checkpoint.supply = micro(GRANT.micro() + 1);
    assert!(world.ledger.check_plan(&plan, &mut world.verifier).is_err());
    assert_eq!(step(&mut world, right.clone()).certified.len(), 1);
    assert!(step(&mut world, right).certified.is_empty(), "once");
}

#[test]
fn an_offence_before_it_vests_forfeits_the_reward() {
    let (mut world, escrow) = pool();
    let task = asked(&world, escrow, 1);
    let taken = audited(&mut world, &task, [b"right", b"right"]);
    let [liar, honest] = [0, 1].map(|at| taken.certified[0].reveals[at].signer);
    let offence = fault(number(&liar));
    world.ledger.slash(offence);
    step(&mut world, Resolutions { offences: vec![offence], ..Resolutions::default() });
    assert_eq!(world.ledger.account(&liar).vesting, micro(0));
    empty(&mut world, VESTING);
    assert_eq!(world.ledger.account(&liar).incoming, micro(0));
    let minted = world.ledger.totals().granted.minus(GRANT).unwrap();
    assert_eq!(world.ledger.account(&honest).incoming, minted, "never minted, not burned");
    // Nor is it drawn again, whatever it stakes.
    world.act(number(&liar), stake(900_000)).unwrap();
    let next = asked(&world, escrow, 2);
    step(&mut world, named(vec![next.clone()]));
    assert!(!world.ledger.base().unwrap().draw(&next.body).contains(&liar));
}

/// Tasks that nobody paid for, of somebody else, too large, of a kind that is not audited, named
/// before, or one too many of a requester, are not named.
#[test]
fn not_every_task_is_audited() {
    let (mut world, escrow) = pool();
    let good = asked(&world, escrow, 1);
    let changed = |change: fn(&mut Assignment)| {
        let mut body = good.body.clone();
        change(&mut body);
        body.task = task_id(&body.requester, body.issued, body.kind, &body.payload);
        Signed::seal(body, &key(1), &world.pool())
    };
    let mut forged = good.clone();
    forged.body.payload_bytes = 7;
    for (bad, why) in [
        (changed(|body| body.escrow = None), "without pay"),
        (changed(|body| body.worker = body.requester), "its own work"),
        (changed(|body| body.payload_bytes = AUDIT_BYTES_MAX + 1), "too large"),
        (changed(|body| body.kind = TaskKind::Encryption), "of a key"),
        (changed(|body| body.requester = id(3)), "somebody else's"),
        (forged, "not what was signed"),
    ] {
        assert!(step(&mut world.clone(), named(vec![bad])).audits.is_empty(), "{why}");
    }
    let three: Vec<_> = (1..4).map(|issued| asked(&world, escrow, issued)).collect();
    assert_eq!(step(&mut world, named(three.clone())).audits.len(), 2, "two of one requester");
    let again = step(&mut world, named(three)).audits.len();
    assert_eq!(again, 1, "those two are under way");
}

/// Who is drawn follows from the checkpoint: of many tasks each account gets its share, and who holds
/// three of ten accounts three tenths. The control: who picks its own audits gets them all.
#[test]
fn a_colluders_share_of_the_draw_is_its_share_of_the_accounts() {
    let (mut world, escrow) = pool();
    let colluders: Vec<NodeId> = (10..13).map(id).collect();
    let (mut places, mut won, mut picked) = (0, 0, 0);
    for issued in 0..40 {
        let tasks = [2 * issued, 2 * issued + 1].map(|issued| asked(&world, escrow, issued));
        let base = step(&mut world, named(tasks.to_vec())).audits;
        for task in base {
            let draw = world.ledger.base().unwrap().draw(&task.body);
            places += 2;
            won += draw[..2].iter().filter(|auditor| colluders.contains(auditor)).count();
            picked += draw.iter().filter(|auditor| colluders.contains(auditor)).take(2).count();
        }
        empty(&mut world, 1);
    }
    let share = won as f64 / f64::from(places);
    // 160 places of a share of .3: four standard deviations are .145.
    assert!((share - 0.3).abs() < 0.145, "{share}");
    assert_eq!(picked, places as usize, "a worker that picks its audits picks them all");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64 * scale() as u32))]

    /// In whatever steps work is certified, at whatever point of the curve: what is promised never
    /// passes what the cap grew by, and misses it by less than a micro-rUv for each part.
    #[test]
    fn rewards_never_pass_the_cap(seed in any::<u64>(), start in 0u64..20_000_000_000_000, rate in 1u64..1_000_000_000) {
        let mut rng = Rng::derive(seed, "rewards");
        let (rate, first) = (micro(rate), CpuHours::from_micro(start));
        let (mut hours, mut promised, mut parts) = (first, 0u128, 0u128);
        for _ in 0..20 {
            let times: Vec<u64> = (0..rng.below(64)).map(|_| rng.below(1 << 40)).collect();
            let share = rng.below(1_000_001);
            let Rewards { hours: after, aside, amounts } = rewards(hours, &times, rate, share);
            prop_assert!(after >= hours && amounts.len() == times.len());
            promised += u128::from(aside.micro());
            promised += amounts.iter().map(|amount| u128::from(amount.micro())).sum::<u128>();
            parts += times.len() as u128;
            hours = after;
            let room = u128::from(hours.cap(rate).micro()) - u128::from(first.cap(rate).micro());
            prop_assert!(promised <= room, "{promised} of {room}");
        }
        let room = u128::from(hours.cap(rate).micro()) - u128::from(first.cap(rate).micro());
        prop_assert!(room - promised <= parts + 20, "{promised} of {room}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6 * scale() as u32))]

    /// Payments, stakes, offences, audits that are honest, lied about or left, rewards taken, pruning:
    /// after every checkpoint credits add up and nothing passes the cap, and who begins at it agrees.
    #[test]
    fn no_schedule_mints_beyond_the_cap(seed in any::<u64>()) {
        let mut rng = Rng::derive(seed, "minting");
        let (mut world, escrow) = pool();
        let mut answered: std::collections::BTreeMap<(edge_base::TaskId, NodeId), &[u8]> = Default::default();
        let mut issued = 0;
        for _ in 0..16 {
            for _ in 0..rng.below(4) {
                let owner = AUDITORS.start + rng.below(10);
                let kind = match rng.below(4) {
                    0 => send(AUDITORS.start + rng.below(10), 1 + rng.below(500)),
                    1 => stake(1 + rng.below(100_000)),
                    2 => unstake(1 + rng.below(1_500_000)),
                    _ => BlockKind::Open,
                };
                // What is refused changes nothing.
                let _ = world.act(owner, kind);
            }
            let last = world.ledger.base().map(|base| base.decided.resolutions.clone()).unwrap_or_default();
            let mut next = Resolutions::default();
            for _ in 0..rng.below(3) {
                issued += 1;
                next.audits.push(asked(&world, escrow, issued));
            }
            next.audits.sort_unstable_by_key(|audit| audit.body.task);
            for task in &last.audits {
                if world.ledger.base().unwrap().draw(&task.body).len() < 2 {
                    continue;
                }
                let mut commits = Vec::new();
                for by in drawn(&world, &task.body) {
                    let digest: &[u8] = if rng.chance(1, 8) { b"wrong" } else { b"right" };
                    answered.insert((task.body.task, by), digest);
                    commits.push(answer(&world, &task.body, by, digest).0);
                }
                if !rng.chance(1, 8) {
                    next.commits.push(AuditCommits { assignment: task.clone(), commits });
                }
            }
            for commits in &last.commits {
                let body = &commits.assignment.body;
                let reveal = |c: &Signed<Commit>| answer(&world, body, c.signer, answered[&(body.task, c.signer)]).1;
                let reveals = commits.commits.iter().map(reveal).collect();
                next.certified.push(Certified { task: body.task, reveals });
            }
            if rng.chance(1, 4) {
                let offence = fault(AUDITORS.start + rng.below(10));
                world.ledger.slash(offence);
                next.offences.push(offence);
            }
            // What witnesses say of who is there, whoever was.
            if let (Some(base), true) = (world.ledger.base().cloned(), rng.chance(3, 4)) {
                let counts = |rng: &mut Rng| -> Vec<(NodeId, u16)> {
                    let mut called = base.called();
                    called.sort_unstable();
                    called.into_iter().map(|node| (node, 1 + rng.below(144) as u16)).collect()
                };
                next.seen = (0..4).map(|witness| crate::uptime::seen(&world, witness, counts(&mut rng))).collect();
            }
            step(&mut world, next);
            if rng.chance(1, 4) {
                world.ledger.prune();
                let again = world.ledger.verified_again(&mut world.verifier).unwrap();
                prop_assert_eq!(again.totals(), world.ledger.totals());
            }
        }
        prop_assert!(world.ledger.hours() > CpuHours::default());
    }
}
