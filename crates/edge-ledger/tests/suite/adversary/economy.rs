//! Schedules with what follows from no block: offences that checkpoints charge, assigned work that they
//! reward, pay for being there; beside blocks of every kind, certificates that turn up after a checkpoint which did
//! not know of them, and nodes that take certificates and checkpoints late and in any order.
//!
//! What there has to be is computed from the decided resolutions and the blocks by code that shares nothing
//! with the ledger's: shares in signed integers, the curve in floats.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Digest, NodeId, Rng, Signed, TaskId};
use edge_ledger::{
    Applied, AuditCommits, BlockKind, Certificate, Certified, Commit, Decided, Ledger, Offence,
    OffenceKind, Resolutions,
};

use super::{Broken, audit::audit_with, seeds};
use crate::{
    checkpoint::seal,
    minting::{AUDITORS, VESTING, answer, asked, pool},
    world::*,
};

const STEPS: u64 = 2_500;
const NODES: usize = 3;
/// Of a stake in millionths, by the first values of the parameters.
const RATES: [i128; 5] = [1_000_000, 1_000_000, 500_000, 500_000, 1_000_000];

/// A rule that is broken in the pool of a control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// Witnesses take commits of others than the drawn.
    AnyAuditor,
    /// Witnesses mark who did nothing.
    Framing,
    /// A node takes what it can and forgets the rest.
    Hasty,
    /// What is minted is not looked at: the audit itself has to miss it.
    Blind,
}

/// What checkpoints come to.
#[derive(Clone, Default)]
struct Fold {
    hours: i128,
    fund: i128,
    minted: i128,
    payments: BTreeMap<(NodeId, Digest), i128>,
    promised: BTreeMap<NodeId, BTreeMap<u64, i128>>,
    penalties: BTreeMap<NodeId, i128>,
    charged: BTreeSet<Offence>,
    heads: BTreeMap<NodeId, u64>,
}

/// S(H) in micro-credits at one credit an hour; as `CpuHours::cap`, in floats.
fn cap(micro_hours: i128) -> i128 {
    let bonus = -9e12 * (-(micro_hours as f64) / 1e12).exp_m1();
    micro_hours + (bonus - 4e-5).max(0.0).floor() as i128
}

impl Fold {
    fn promises(&self) -> i128 {
        self.promised.values().flat_map(BTreeMap::values).sum()
    }

    fn promise(&mut self, account: NodeId, due: u64, amount: i128) -> i128 {
        if self.charged.iter().any(|offence| offence.account == account) || amount == 0 {
            return 0;
        }
        *self.promised.entry(account).or_default().entry(due).or_default() += amount;
        amount
    }

    /// Goes on by a checkpoint; `put_up` is what an account has at stake and leaving by its blocks.
    fn advance(
        &mut self,
        pool: Digest,
        decided: &Decided,
        last: Option<&Decided>,
        put_up: impl Fn(&NodeId, u64) -> i128,
    ) {
        let (epoch, resolutions) = (decided.sealed.checkpoint.epoch, &decided.resolutions);
        self.heads.extend(decided.cut.iter().copied());
        for offence in &resolutions.offences {
            let head = self.heads.get(&offence.account).copied().unwrap_or(0);
            let owed = self.penalties.entry(offence.account).or_default();
            let left = (put_up(&offence.account, head) - *owed).max(0);
            *owed += (left * RATES[offence.kind as usize] + 999_999) / 1_000_000;
            self.charged.insert(*offence);
            self.promised.remove(&offence.account);
        }
        for (account, promised) in &mut self.promised {
            let later = promised.split_off(&(epoch + 1));
            let due: i128 = std::mem::replace(promised, later).into_values().sum();
            if due > 0 {
                let id = Digest::of_value("ledger/mint/1", &(pool, epoch, account));
                self.payments.insert((*account, id), due);
                self.minted += due;
            }
        }
        let due = epoch + VESTING;
        let mut worked: Vec<(NodeId, i128)> = Vec::new();
        for certified in &resolutions.certified {
            let of_it = |c: &&AuditCommits| c.assignment.body.task == certified.task;
            let commits = last.and_then(|last| last.resolutions.commits.iter().find(of_it));
            let ns = commits.map_or(0, |c| i128::from(c.assignment.body.payload_bytes) * 100);
            worked.extend(certified.reveals.iter().map(|reveal| (reveal.body.worker, ns)));
        }
        let all: i128 = worked.iter().map(|(_, ns)| ns).sum();
        let before = cap(self.hours);
        self.hours += all / 1_000 / 3_600;
        let grown = cap(self.hours) - before;
        let aside = grown / 10;
        for (account, ns) in worked {
            self.promise(account, due, (grown - aside) * ns / all);
        }
        self.fund += aside;
        let mut counts: BTreeMap<NodeId, Vec<i128>> = BTreeMap::new();
        for (account, count) in resolutions.seen.iter().flat_map(|seen| &seen.body.answered) {
            counts.entry(*account).or_default().push((*count).into());
        }
        let dues: Vec<(NodeId, i128)> = counts
            .into_iter()
            .map(|(account, mut counts)| {
                counts.resize(resolutions.seen.len(), 0);
                counts.sort_unstable();
                (account, counts[(counts.len() - 1) / 2] * 100_000 / 6)
            })
            .collect();
        let (wanted, have) = (dues.iter().map(|(_, due)| due).sum::<i128>(), self.fund);
        for (account, amount) in dues {
            let paid = if wanted <= have { amount } else { amount * have / wanted };
            self.fund -= self.promise(account, due, paid);
        }
    }
}

/// A node and how many checkpoints it took.
struct Node {
    ledger: Ledger,
    taken: usize,
}

struct Economy {
    world: World,
    escrow: edge_base::EscrowId,
    mutant: Mutant,
    rng: Rng,
    issued: u64,
    answered: BTreeMap<(TaskId, NodeId), bool>,
    /// Certified where others do not hear of it for a while: the owner signs nothing until then.
    late: Vec<(u64, Arc<Certificate>)>,
    certified: BTreeMap<Digest, Arc<Certificate>>,
    decided: Vec<Decided>,
    folds: Vec<Fold>,
    nodes: Vec<Node>,
    offended: BTreeSet<Offence>,
    /// Whom checkpoints drew for the tasks that they named.
    named: BTreeMap<TaskId, BTreeSet<NodeId>>,
    broken: BTreeSet<Broken>,
    late_taken: u64,
}

impl Economy {
    fn new(seed: u64, mutant: Mutant) -> Economy {
        let (world, escrow) = pool();
        let node = |_| Node { ledger: world.ledger.clone(), taken: 0 };
        Economy {
            nodes: (0..NODES).map(node).collect(),
            certified: world.ledger.certificates().map(|c| (c.id(), c.clone())).collect(),
            folds: vec![Fold::default()],
            world,
            escrow,
            mutant,
            rng: Rng::derive(seed, "economy"),
            issued: 0,
            answered: BTreeMap::new(),
            late: Vec::new(),
            decided: Vec::new(),
            offended: BTreeSet::new(),
            named: BTreeMap::new(),
            broken: BTreeSet::new(),
            late_taken: 0,
        }
    }

    fn run(mut self, steps: u64) -> Economy {
        for step in 0..steps {
            match self.rng.below(100) {
                0..=59 => self.act(),
                60..=63 => self.checkpoint(),
                64..=65 => self.offend(),
                66..=75 => self.turn_up(),
                _ => self.sync(),
            }
            if step % 250 == 0 {
                self.audit();
            }
        }
        while !self.late.is_empty() {
            self.turn_up();
        }
        self.checkpoint();
        for node in 0..NODES {
            self.catch_up(node);
        }
        self.audit();
        let wanted = self.state(&self.world.ledger);
        if self.nodes.iter().any(|node| self.state(&node.ledger) != wanted) {
            self.broken.insert(Broken::Order);
        }
        self
    }

    /// What a ledger comes to, whatever it took first.
    fn state(&self, ledger: &Ledger) -> (Digest, String, Vec<String>) {
        let views = ledger.accounts().map(|(id, view)| {
            // A mark is this ledger's own until it is charged.
            format!(
                "{} {} {} {} {} {}",
                id.short(),
                view.balance,
                view.incoming,
                view.penalty,
                view.vesting,
                view.seq
            )
        });
        let totals = ledger.totals();
        let sums = format!("{} {}", totals.granted, totals.burned);
        (ledger.frontier_digest(), sums, views.collect())
    }

    fn some_kind(&mut self, owner: u64) -> BlockKind {
        let ledger = &self.world.ledger;
        let open: Vec<_> = ledger.open_escrows(&id(owner)).collect();
        let leaving: Vec<_> = ledger.withdrawals(&id(owner)).collect();
        let other = AUDITORS.start + self.rng.below(10);
        let amount = 1 + self.rng.below(200_000);
        match (self.rng.below(8), open.first(), leaving.first()) {
            (0..=1, Some(open), _) => settle(*open, vec![pay(other, 1 + amount / 400)]),
            (0, None, _) => escrow(10_000 + amount),
            (2, Some(open), _) => BlockKind::Refund { escrow: *open },
            (3..=4, _, Some((unstake, _))) => BlockKind::Release { unstake: *unstake },
            (3..=4, ..) => unstake(amount * 4),
            (5..=6, ..) => stake(amount),
            _ => send(other, amount),
        }
    }

    fn act(&mut self) {
        let owner = AUDITORS.start + self.rng.below(10);
        if self.late.iter().any(|(of, _)| *of == owner) {
            return;
        }
        let kind = self.some_kind(owner);
        let before = self.world.ledger.clone();
        // What is refused changes nothing.
        let Ok(certificate) = self.world.act(owner, kind) else { return };
        self.certified.insert(certificate.id(), certificate.clone());
        if self.rng.chance(1, 8) {
            self.world.ledger = before;
            self.late.push((owner, certificate));
        }
    }

    /// A certificate that checkpoints did not know of.
    fn turn_up(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let at = self.rng.below(self.late.len() as u64) as usize;
        let (_, certificate) = self.late.swap_remove(at);
        if self.world.apply(&certificate) != Ok(Applied::New) {
            self.broken.insert(Broken::Refused);
        }
        self.late_taken += 1;
    }

    fn offend(&mut self) {
        // Seven of ten owners are honest, and only some offend often.
        let owner = AUDITORS.start + self.rng.below(3);
        let kind = *self.rng.pick(&OffenceKind::ALL).unwrap();
        // An account with two heads is frozen: another schedule's matter.
        if kind == OffenceKind::Equivocation {
            return;
        }
        let framed = self.mutant == Mutant::Framing;
        let account = id(if framed { AUDITORS.end - 1 } else { owner });
        let offence = Offence { account, kind };
        if !framed {
            self.offended.insert(offence);
        }
        self.world.ledger.slash(offence);
    }

    fn checkpoint(&mut self) {
        let last = self.world.ledger.base().map(|base| base.decided.resolutions.clone());
        let last = last.unwrap_or_default();
        let mut next = Resolutions::default();
        for _ in 0..self.rng.below(3) {
            self.issued += 1;
            next.audits.push(asked(&self.world, self.escrow, self.issued));
        }
        for task in &last.audits {
            let mut drawn = self.world.ledger.base().unwrap().draw(&task.body);
            if self.mutant == Mutant::AnyAuditor && drawn.len() > 2 {
                drawn.remove(0);
            }
            drawn.truncate(2);
            drawn.sort_unstable();
            if drawn.len() < 2 || self.rng.chance(1, 8) {
                continue;
            }
            let mut commits: Vec<Signed<Commit>> = Vec::new();
            for by in drawn {
                let right = !self.rng.chance(1, 8);
                self.answered.insert((task.body.task, by), right);
                commits.push(answer(&self.world, &task.body, by, words(right)).0);
            }
            next.commits.push(AuditCommits { assignment: task.clone(), commits });
        }
        for commits in &last.commits {
            let body = &commits.assignment.body;
            let reveal = |commit: &Signed<Commit>| {
                let right = self.answered[&(body.task, commit.signer)];
                answer(&self.world, body, commit.signer, words(right)).1
            };
            let reveals = commits.commits.iter().map(reveal).collect();
            next.certified.push(Certified { task: body.task, reveals });
        }
        next.offences = self.world.ledger.uncharged().collect();
        next.offences.sort_unstable();
        if let Some(base) = self.world.ledger.base().cloned() {
            let mut called = base.called();
            called.sort_unstable();
            next.seen = (0..4)
                .map(|witness| {
                    let counts = called.iter().map(|node| (*node, 1 + self.rng.below(144) as u16));
                    let counts = counts.collect();
                    crate::uptime::seen(&self.world, witness, counts)
                })
                .collect();
        }
        let plan = self.world.ledger.plan(None, next, &mut self.world.verifier).unwrap();
        self.world.ledger.check_plan(&plan, &mut self.world.verifier).unwrap();
        let decided = seal(&self.world, &plan);
        self.world.ledger.apply_checkpoint(decided.clone(), &mut self.world.verifier).unwrap();
        self.judge(&decided);
        self.decided.push(decided);
    }

    /// Who was drawn, and who was caught; then the fold goes on.
    fn judge(&mut self, decided: &Decided) {
        if !decided.resolutions.offences.iter().all(|o| self.offended.contains(o)) {
            self.broken.insert(Broken::PenaltyUnfounded);
        }
        let last = self.decided.last();
        for certified in &decided.resolutions.certified {
            let alike =
                certified.reveals.windows(2).all(|two| two[0].body.digest == two[1].body.digest);
            let drawn = self.drawn_for(certified.task);
            let by: BTreeSet<NodeId> = certified.reveals.iter().map(|r| r.signer).collect();
            if !alike || by != drawn {
                self.broken.insert(Broken::MintedToUndrawn);
            }
        }
        let put_up = |account: &NodeId, head: u64| put_up(self.certified.values(), account, head);
        let mut fold = self.folds.last().unwrap().clone();
        fold.advance(self.world.pool(), decided, last, put_up);
        if fold.minted + fold.promises() + fold.fund > cap(fold.hours) {
            self.broken.insert(Broken::BeyondCap);
        }
        self.draw(decided, &fold);
        self.folds.push(fold);
    }

    /// The two that the checkpoint before the last drew, by its states.
    fn drawn_for(&self, task: TaskId) -> BTreeSet<NodeId> {
        self.named.get(&task).cloned().unwrap_or_default()
    }

    /// The draw of a checkpoint, by the blocks before it and who was charged.
    fn draw(&mut self, decided: &Decided, fold: &Fold) {
        let beacon = decided.sealed.checkpoint.digest();
        for audit in &decided.resolutions.audits {
            let fits = |account: &&NodeId| {
                let head = fold.heads.get(account).copied().unwrap_or(0);
                let own = [audit.body.requester, audit.body.worker].contains(account);
                staked(self.certified.values(), account, head) >= 1_000_000
                    && !fold.charged.iter().any(|offence| offence.account == **account)
                    && !own
            };
            let rank = |account: &NodeId| {
                Digest::of_value("ledger/draw/1", &(beacon, audit.body.task, account))
            };
            let accounts: Vec<NodeId> = AUDITORS.map(id).collect();
            let mut order: Vec<&NodeId> = accounts.iter().filter(fits).collect();
            order.sort_unstable_by_key(|account| rank(account));
            let drawn = order.into_iter().take(2).copied().collect();
            self.named.insert(audit.body.task, drawn);
        }
    }

    /// A node hears of something, or takes a checkpoint.
    fn sync(&mut self) {
        let at = self.rng.below(NODES as u64) as usize;
        let held: BTreeSet<Digest> = self.late.iter().map(|(_, c)| c.id()).collect();
        let mut some: Vec<Arc<Certificate>> = self.certified.values().cloned().collect();
        // Even what others have not heard of, sometimes.
        let early = self.rng.chance(1, 8);
        some.retain(|c| (early || !held.contains(&c.id())) && self.rng.chance(1, 2));
        self.rng.shuffle(&mut some);
        self.take(at, some);
        let next = self.decided.get(self.nodes[at].taken).cloned();
        if let Some(decided) = next.filter(|_| self.rng.chance(1, 2)) {
            let node = &mut self.nodes[at];
            match node.ledger.apply_checkpoint(decided, &mut self.world.verifier) {
                Ok(_) => node.taken += 1,
                Err(error) if error.is_retryable() => {
                    node.taken += usize::from(self.mutant == Mutant::Hasty);
                }
                Err(_) => drop(self.broken.insert(Broken::Refused)),
            }
        }
    }

    fn take(&mut self, at: usize, some: Vec<Arc<Certificate>>) {
        let (node, verifier) = (&mut self.nodes[at], &mut self.world.verifier);
        if !node.ledger.merge(some, verifier).refused.is_empty() {
            self.broken.insert(Broken::Refused);
        }
    }

    /// A node hears of everything.
    fn catch_up(&mut self, at: usize) {
        loop {
            // What credits what a checkpoint mints waits for that.
            self.take(at, self.certified.values().cloned().collect());
            let Some(decided) = self.decided.get(self.nodes[at].taken).cloned() else { return };
            let node = &mut self.nodes[at];
            node.taken += 1;
            if node.ledger.apply_checkpoint(decided, &mut self.world.verifier).is_err() {
                self.broken.insert(Broken::Refused);
            }
        }
    }

    /// Everything adds up, and what was granted is what vested, in every ledger as far as it came.
    fn audit(&mut self) {
        let genesis = self.world.ledger.genesis().clone();
        let grant = i128::from(genesis.grant.micro());
        let ledgers = self.nodes.iter().map(|node| (&node.ledger, node.taken));
        let mut found = BTreeSet::new();
        for (ledger, taken) in ledgers.chain([(&self.world.ledger, self.decided.len())]) {
            let fold = &self.folds[taken];
            let none = BTreeMap::new();
            let blind = self.mutant == Mutant::Blind;
            let minted = if blind { &none } else { &fold.payments };
            let (broken, burned) =
                audit_with(&genesis, ledger.certificates(), minted, &fold.penalties);
            found.extend(broken);
            let totals = ledger.totals();
            if i128::from(totals.granted.micro()) != grant + fold.minted
                || i128::from(totals.burned.micro()) != burned
                || !totals.conserved()
            {
                found.insert(Broken::Totals);
            }
        }
        self.broken.extend(found);
    }
}

fn words(right: bool) -> &'static [u8] {
    if right { b"right" } else { b"wrong" }
}

/// What an account has at stake, leaving or not, by its blocks up to a place.
fn put_up<'a>(
    blocks: impl Iterator<Item = &'a Arc<Certificate>> + Clone,
    account: &NodeId,
    head: u64,
) -> i128 {
    let own = blocks.filter(|c| c.body().account == *account && c.body().seq <= head);
    let amount = |certificate: &Arc<Certificate>| match &certificate.body().kind {
        BlockKind::Stake { amount } => i128::from(amount.micro()),
        BlockKind::Release { unstake } => {
            let of = own.clone().find(|c| c.id() == *unstake);
            match of.map(|c| &c.body().kind) {
                Some(BlockKind::Unstake { amount }) => -i128::from(amount.micro()),
                _ => 0,
            }
        }
        _ => 0,
    };
    own.clone().map(amount).sum()
}

/// What of that is not leaving.
fn staked<'a>(
    blocks: impl Iterator<Item = &'a Arc<Certificate>>,
    account: &NodeId,
    head: u64,
) -> i128 {
    let own = blocks.filter(|c| c.body().account == *account && c.body().seq <= head);
    let amount = |certificate: &Arc<Certificate>| match certificate.body().kind {
        BlockKind::Stake { amount } => i128::from(amount.micro()),
        BlockKind::Unstake { amount } => -i128::from(amount.micro()),
        _ => 0,
    };
    own.map(amount).sum()
}

#[test]
fn no_schedule_with_penalties_and_mints_breaks_a_law() {
    let mut sums = [0; 4];
    for seed in 0..seeds() {
        let done = Economy::new(seed, Mutant::None).run(STEPS);
        assert_eq!(done.broken, BTreeSet::new(), "seed {seed}");
        let fold = done.folds.last().unwrap();
        let penalties: i128 = fold.penalties.values().sum();
        assert!(fold.minted > 0 && penalties > 0, "seed {seed}: nothing is minted or burned");
        sums[0] += fold.minted;
        sums[1] += penalties;
        sums[2] += done.decided.len() as i128;
        sums[3] += i128::from(done.late_taken);
    }
    println!(
        "minted {}, penalties {}, checkpoints {}, late {}",
        sums[0], sums[1], sums[2], sums[3]
    );
    assert!(sums[2] > 50 && sums[3] > 50, "{sums:?}");
}

/// The controls: the same schedules over a pool that breaks a rule break a law.
#[test]
fn every_law_of_penalties_and_mints_falls_with_its_rule() {
    for (mutant, laws) in [
        (Mutant::AnyAuditor, &[Broken::MintedToUndrawn][..]),
        (Mutant::Framing, &[Broken::PenaltyUnfounded]),
        (Mutant::Hasty, &[Broken::Totals, Broken::Order]),
        (Mutant::Blind, &[Broken::Conservation]),
    ] {
        let mut missing: BTreeSet<Broken> = laws.iter().copied().collect();
        for seed in 0..8 {
            let done = Economy::new(seed, mutant).run(STEPS / 2);
            missing.retain(|law| !done.broken.contains(law));
            if missing.is_empty() {
                break;
            }
        }
        assert!(missing.is_empty(), "{mutant:?} breaks no {missing:?}");
    }
}
