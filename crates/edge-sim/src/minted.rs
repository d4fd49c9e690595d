//! What may be minted, computed once more from what checkpoints say and what was executed: who was
//! drawn, whether the results are the truth, what they are worth, what vests, what every node's
//! ledger has to come to.
//!
//! Nothing of the ledger is used but its data: the draw, the medians, the curve and the shares are
//! computed here by other means (the curve in floats: `docs/benchmarks.md`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Digest, NodeId, TaskId, TaskKind, Work};
use edge_ledger::{Assignment, Base, Parameter, Parameters, Resolutions, Seen};
use edge_swarm::Peer;
use edge_tasks::Executor;

use crate::{minting::Minters, node::Node};

/// Lies that both auditors agree on and that are certified all the same, at most in a run: each passes
/// three honest witnesses, each of which looks at half, one time in eight, and otherwise the liars
/// are out.
const LIES_PASSED_MAX: u64 = 3;
/// How far the share of places may be beyond the share of accounts, in standard deviations.
const DEVIATIONS: f64 = 5.0;

/// What may be minted as of an epoch.
#[derive(Clone, PartialEq, Debug, Default)]
struct Books {
    hours: u64,
    fund: u64,
    minted: u64,
    promised: BTreeMap<NodeId, BTreeMap<u64, u64>>,
}

impl Books {
    fn promises(&self) -> u64 {
        self.promised.values().flat_map(BTreeMap::values).sum()
    }
}

/// The checker of what is minted.
pub(crate) struct Minted {
    grant: u64,
    reference: Executor,
    payloads: BTreeMap<Digest, (TaskKind, Arc<[u8]>)>,
    books: BTreeMap<u64, Books>,
    bases: BTreeMap<u64, Arc<Base>>,
    seen: BTreeMap<u32, u64>,
    audited: BTreeSet<TaskId>,
    /// What attackers were promised for lies.
    lies_passed: u64,
    places: (u64, f64, f64),
    foreseen: (u64, u64),
    found: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

/// Who may execute a task, in the order of the draw.
pub(crate) fn draw(base: &Base, task: &Assignment) -> Vec<NodeId> {
    let beacon = base.decided.sealed.checkpoint.digest();
    draw_by(&beacon, base, task)
}

fn draw_by(beacon: &Digest, base: &Base, task: &Assignment) -> Vec<NodeId> {
    let least = base.decided.sealed.checkpoint.parameters.get(Parameter::MinStake);
    let fits = base.states().iter().filter(|state| {
        state.staked.micro() >= least
            && state.offences.is_empty()
            && ![task.requester, task.worker].contains(&state.account)
    });
    let mut order: Vec<(Digest, NodeId)> = fits
        .map(|state| {
            let place = (beacon, &task.task, &state.account);
            (Digest::of_value("ledger/draw/1", &place), state.account)
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, account)| account).collect()
}

/// S(H) in micro-credits at one credit an hour, by floats: r·[H + 9·10⁶·(1 − e^(−H/10⁶))], the bonus
/// rounded down with the margin that the ledger leaves for its own error.
fn cap(micro_hours: u64) -> u64 {
    let bonus = -9e12 * (-(micro_hours as f64) / 1e12).exp_m1();
    micro_hours + (bonus - 4e-5).max(0.0).floor() as u64
}

fn ns_per_byte(kind: TaskKind, parameters: &Parameters) -> u64 {
    match kind {
        TaskKind::Embedding => parameters.get(Parameter::CpuEmbedding),
        TaskKind::SemanticMatch => parameters.get(Parameter::CpuMatch),
        TaskKind::Compression => parameters.get(Parameter::CpuCompression),
        TaskKind::Encryption | TaskKind::VectorInsert | TaskKind::VectorSearch => 0,
    }
}

/// By account the lower median of what witnesses counted; who does not name it counted nothing.
fn medians(seen: &[edge_base::Signed<Seen>]) -> BTreeMap<NodeId, u64> {
    let named = seen.iter().flat_map(|seen| seen.body.answered.iter().map(|(id, _)| *id));
    let named: BTreeSet<NodeId> = named.collect();
    let count = |id: &NodeId| {
        let mut counts: Vec<u64> = seen
            .iter()
            .map(|seen| {
                let answered = seen.body.answered.iter().find(|(of, _)| of == id);
                answered.map_or(0, |(_, count)| u64::from(*count))
            })
            .collect();
        counts.sort_unstable();
        counts[(counts.len() - 1) / 2]
    };
    named.into_iter().map(|id| (id, count(&id))).filter(|(_, count)| *count > 0).collect()
}

impl Minted {
    pub(crate) fn new(grant: u64) -> Minted {
        Minted {
            grant,
            reference: Executor::new(),
            payloads: BTreeMap::new(),
            books: BTreeMap::new(),
            bases: BTreeMap::new(),
            seen: BTreeMap::new(),
            audited: BTreeSet::new(),
            lies_passed: 0,
            places: (0, 0.0, 0.0),
            foreseen: (0, 0),
            found: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Somebody asks for this.
    pub(crate) fn on_payload(&mut self, kind: TaskKind, payload: &Arc<[u8]>) {
        self.payloads.insert(Digest::of(payload), (kind, payload.clone()));
    }

    fn count(&mut self, what: &'static str, more: u64) {
        *self.counts.entry(what).or_default() += more;
    }

    /// Compares every node's ledger with what it has to come to; what is found to be wrong.
    pub(crate) fn look(
        &mut self,
        nodes: &[Node],
        minters: &Minters,
        helper: Option<u32>,
    ) -> Vec<String> {
        let ledgers = || {
            nodes.iter().enumerate().filter_map(|(n, node)| {
                Some((n as u32, node.peer.as_ref().and_then(Peer::ledger)?))
            })
        };
        let bases: Vec<Arc<Base>> = ledgers().filter_map(|(_, l)| l.base().cloned()).collect();
        let epoch = |base: &Base| base.decided.sealed.checkpoint.epoch;
        for base in bases {
            if self.bases.contains_key(&epoch(&base)) {
                continue;
            }
            self.fold(&base, minters, helper, nodes);
            self.bases.insert(epoch(&base), base);
        }
        for (number, ledger) in ledgers() {
            let Some(base) = ledger.base() else { continue };
            if self.seen.insert(number, epoch(base)) == Some(epoch(base)) {
                continue;
            }
            let Some(books) = self.books.get(&epoch(base)) else {
                self.found.push(format!("no checkpoint before epoch {} was seen", epoch(base)));
                continue;
            };
            let checkpoint = &base.decided.sealed.checkpoint;
            let vesting = ledger.accounts().map(|(_, view)| view.vesting.micro()).sum::<u64>();
            let has = [
                ledger.totals().granted.micro() - self.grant,
                vesting,
                checkpoint.fund.micro(),
                checkpoint.hours.micro(),
                checkpoint.supply.micro() - self.grant,
            ];
            let wanted = [books.minted, books.promises(), books.fund, books.hours, books.minted];
            if has != wanted {
                self.found.push(format!(
                    "node {number} has in epoch {} minted, promised, set aside, certified and \
                     in all {has:?}, which has to be {wanted:?}",
                    epoch(base)
                ));
            }
            self.count("ledgers_compared", 1);
        }
        std::mem::take(&mut self.found)
    }

    /// Goes on by one checkpoint.
    fn fold(&mut self, base: &Base, minters: &Minters, helper: Option<u32>, nodes: &[Node]) {
        let epoch = base.decided.sealed.checkpoint.epoch;
        let prev = self.bases.get(&(epoch - 1)).cloned();
        let first = self.bases.is_empty().then(Books::default);
        let Some(mut books) = self.books.get(&(epoch - 1)).cloned().or(first) else {
            return self.found.push(format!("no checkpoint before epoch {epoch} was seen"));
        };
        let resolutions = &base.decided.resolutions;
        for offence in &resolutions.offences {
            books.promised.remove(&offence.account);
        }
        for promised in books.promised.values_mut() {
            let later = promised.split_off(&(epoch + 1));
            books.minted += std::mem::replace(promised, later).into_values().sum::<u64>();
        }
        let parameters = match &prev {
            Some(prev) => prev.decided.sealed.checkpoint.parameters.clone(),
            None => Parameters::default(),
        };
        let offended = |account: &NodeId| {
            let state = base.states().iter().find(|state| state.account == *account);
            state.is_none_or(|state| !state.offences.is_empty())
        };
        let due = epoch + parameters.get(Parameter::VestingPeriod);
        if let Some(prev) = &prev {
            self.judge_commits(prev, resolutions, minters);
            let worked = self.judge_results(prev, resolutions, minters, &parameters);
            let all: u64 = worked.iter().map(|(_, ns)| ns).sum();
            let before = cap(books.hours);
            books.hours += all / 1_000 / 3_600;
            let grown = cap(books.hours) - before;
            let aside = (u128::from(grown) * u128::from(parameters.get(Parameter::UptimeShare))
                / 1_000_000) as u64;
            for (account, ns) in worked {
                let part = u128::from(grown - aside) * u128::from(ns) / u128::from(all.max(1));
                if !offended(&account) && part > 0 {
                    let promised = books.promised.entry(account).or_default();
                    *promised.entry(due).or_default() += part as u64;
                }
            }
            books.fund += aside;
        }
        self.judge_seen(&resolutions.seen, helper.map(|helper| nodes[helper as usize].id));
        let counts = medians(&resolutions.seen);
        // .1 an hour by the parameter, and a challenge is ten minutes.
        let hourly = u128::from(parameters.get(Parameter::UptimeReward));
        let dues: Vec<(NodeId, u128)> =
            counts.into_iter().map(|(id, n)| (id, hourly * u128::from(n) / 6)).collect();
        let (all, have) = (dues.iter().map(|(_, due)| due).sum::<u128>(), u128::from(books.fund));
        for (account, amount) in dues {
            let paid = if all <= have { amount } else { amount * have / all } as u64;
            if !offended(&account) && paid > 0 {
                *books.promised.entry(account).or_default().entry(due).or_default() += paid;
                books.fund -= paid;
                self.count("paid_for_presence", paid);
            }
        }
        let made = books.minted + books.promises() + books.fund;
        if made > cap(books.hours) {
            self.found.push(format!(
                "{made} are minted, promised or set aside in epoch {epoch}, beyond the cap {}",
                cap(books.hours)
            ));
        }
        self.count_places(base, prev.as_deref(), minters);
        self.books.insert(epoch, books);
    }

    /// Commits are those of the two that the beacon drew.
    fn judge_commits(&mut self, prev: &Base, resolutions: &Resolutions, minters: &Minters) {
        for commits in &resolutions.commits {
            let task = commits.assignment.body.task;
            let mut drawn = draw(prev, &commits.assignment.body);
            drawn.truncate(2);
            drawn.sort_unstable();
            let by: Vec<NodeId> = commits.commits.iter().map(|commit| commit.signer).collect();
            if by != drawn {
                let theirs = by.iter().filter(|id| minters.has(id)).count();
                self.found.push(format!(
                    "the task {} was committed to by others than the drawn, {theirs} of them \
                     attackers",
                    task.short()
                ));
            }
            if !prev.decided.resolutions.audits.contains(&commits.assignment) {
                self.found.push(format!("the task {} was not named before", task.short()));
            }
        }
    }

    /// Results are the truth about payloads that are there; who worked, and for how many nanoseconds.
    fn judge_results(
        &mut self,
        prev: &Base,
        resolutions: &Resolutions,
        minters: &Minters,
        parameters: &Parameters,
    ) -> Vec<(NodeId, u64)> {
        let mut worked = Vec::new();
        for certified in &resolutions.certified {
            let of_it = prev.decided.resolutions.commits.iter();
            let commits = of_it.clone().find(|c| c.assignment.body.task == certified.task);
            let Some(commits) = commits else {
                self.found.push(format!("{} was certified uncommitted", certified.task.short()));
                continue;
            };
            let body = &commits.assignment.body;
            let bytes = body.payload_bytes.min(64 << 10);
            let ns = ns_per_byte(body.kind, parameters) * bytes;
            worked.extend(certified.reveals.iter().map(|reveal| (reveal.signer, ns)));
            self.count("certified", 1);
            let again = !self.audited.insert(body.task);
            self.count("certified_again", u64::from(again));
            self.count("certified_invented", u64::from(minters.invented.contains(&body.task)));
            let served = minters.served.get(&body.payload).map(|bytes| Arc::from(bytes.as_slice()));
            let asked = self.payloads.get(&body.payload).map(|(_, payload)| payload.clone());
            let payload: Option<Arc<[u8]>> = asked.or(served);
            let payload = payload.filter(|payload| payload.len() as u64 == body.payload_bytes);
            let truth = payload.and_then(|payload| {
                let work = Work::Run { kind: body.kind, payload };
                self.reference.execute(&work).ok().map(|result| Digest::of(&result))
            });
            let right = |reveal: &edge_ledger::Reveal| truth == Some(reveal.digest);
            if certified.reveals.iter().all(|reveal| right(&reveal.body)) {
                continue;
            }
            let by: Vec<NodeId> = certified.reveals.iter().map(|reveal| reveal.signer).collect();
            let theirs = by.iter().all(|id| minters.has(id));
            self.lies_passed += 1;
            if truth.is_none() || !theirs || self.lies_passed > LIES_PASSED_MAX {
                let what = match truth {
                    Some(_) => "a wrong result",
                    None => "a result of what nobody can have",
                };
                self.found.push(format!("{what} of {} was certified", body.task.short()));
            }
        }
        worked
    }

    /// What counts as being there is between what honest witnesses counted.
    fn judge_seen(&mut self, seen: &[edge_base::Signed<Seen>], helper: Option<NodeId>) {
        let honest: Vec<edge_base::Signed<Seen>> =
            seen.iter().filter(|seen| Some(seen.signer) != helper).cloned().collect();
        for (id, count) in medians(seen) {
            let of = |seen: &edge_base::Signed<Seen>| {
                let answered = seen.body.answered.iter().find(|(of, _)| *of == id);
                answered.map_or(0, |(_, count)| u64::from(*count))
            };
            let most = honest.iter().map(of).max().unwrap_or(0);
            let least = honest.iter().map(of).min().unwrap_or(0);
            if !(least..=most).contains(&count) {
                self.found.push(format!(
                    "{} was there {count} times, where honest witnesses counted {least} to {most}",
                    id.short()
                ));
            }
        }
    }

    /// How often attackers are drawn, and how often they would be if the beacon could be foreseen.
    fn count_places(&mut self, base: &Base, prev: Option<&Base>, minters: &Minters) {
        for audit in &base.decided.resolutions.audits {
            let drawn = draw(base, &audit.body);
            self.count("named", 1);
            self.count("named_invented", u64::from(minters.invented.contains(&audit.body.task)));
            let theirs = drawn.iter().filter(|id| minters.has(id)).count();
            let share = theirs as f64 / drawn.len().max(1) as f64;
            let places = drawn.iter().take(2).filter(|id| minters.has(id)).count() as u64;
            self.places.0 += places;
            self.places.1 += 2.0 * share;
            self.places.2 += 2.0 * share * (1.0 - share);
            if let Some(prev) = prev.filter(|_| minters.ground.contains(&audit.body.task)) {
                let beacon = prev.decided.sealed.checkpoint.digest();
                let wished = draw_by(&beacon, prev, &audit.body);
                let wished = wished.iter().take(2).filter(|id| minters.has(id)).count() as u64;
                self.foreseen.0 += places;
                self.foreseen.1 += wished;
            }
        }
    }

    /// What it came to, and what must not have been.
    pub(crate) fn verdict(
        &self,
        minters: &Minters,
        lost: f64,
    ) -> (Vec<(&'static str, f64)>, Vec<String>) {
        let mut found = Vec::new();
        let (places, expected, variance) = self.places;
        if places as f64 > expected + DEVIATIONS * variance.sqrt() {
            found.push(format!("attackers were drawn {places} times, not {expected:.1}"));
        }
        let last = self.books.values().next_back().cloned().unwrap_or_default();
        let theirs = last.promised.iter().filter(|(id, _)| minters.has(id));
        let theirs: u64 = theirs.flat_map(|(_, promised)| promised.values()).sum();
        let epochs = self.bases.len() as f64;
        let mut figures = vec![
            ("epochs", epochs),
            ("minted_micro", last.minted as f64),
            ("promised_micro", last.promises() as f64),
            ("promised_to_attackers_micro", theirs as f64),
            ("set_aside_micro", last.fund as f64),
            ("cap_micro", cap(last.hours) as f64),
            ("lies_certified", self.lies_passed as f64),
            ("places_of_attackers", places as f64),
            ("places_expected", expected),
            ("ground_places", self.foreseen.0 as f64),
            ("ground_places_if_foreseen", self.foreseen.1 as f64),
            ("stake_lost", lost),
        ];
        figures.extend(self.counts.iter().map(|(name, count)| (*name, *count as f64)));
        figures.extend(minters.counts.iter().map(|(name, count)| (*name, *count as f64)));
        (figures, found)
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Credits;
    use edge_ledger::CpuHours;

    use super::cap;

    /// The float curve gives the ledger's integers where pools begin.
    #[test]
    fn the_cap_is_that_of_the_ledger() {
        let rate = Credits::from_micro(1_000_000);
        for hours in (0..5_000).chain([70_001, 1_234_567]) {
            assert_eq!(cap(hours), CpuHours::from_micro(hours).cap(rate).micro(), "{hours}");
        }
    }
}
