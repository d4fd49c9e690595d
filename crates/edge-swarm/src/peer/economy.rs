//! How the pool's economy goes, as far as this node saw it: what is offered, what is used, what it costs.
//!
//! Every ten seconds the node adds up what members offer by their adverts; every certified settlement says
//! what was paid, for how many tasks, and at which prices. A unit of cost is a microsecond of a reference
//! core ([`edge_ledger::PriceList`] has credits per unit), so a settlement divided by its price is certified
//! CPU time; work of high priority is paid twice and counts twice. Sums are kept by the hour for eight days
//! and stored. They are this node's own observations and go into nothing that nodes agree on.
//!
//! | figure | definition |
//! |---|---|
//! | velocity | credits settled per epoch, over the credits there are; after three epochs |
//! | utilization | certified CPU time over offered CPU time, of the last 24 hours |
//! | growth | members heard of in this hour over those in the same hour seven days ago, less one |
//! | stability | one less the coefficient of variation of the settlements' prices in the last 24 hours |
//! | fitness | utilization times what the own share of accepted results exceeds with 95 % credibility |
//!
//! Too few samples: none.

use std::collections::VecDeque;

use edge_base::{Credits, Micros, Timestamp};
use edge_ledger::{Block, BlockKind};
use serde::{Deserialize, Serialize};

use super::Peer;
use crate::{
    command::{EconomyView, Refusal},
    io::Table,
    peer::start::Stored,
    reputation::Promises,
};

/// Where it is stored.
const KEY: &[u8] = b"economy";
/// How often members' offers are added up.
const LOOK_EVERY: Micros = Micros::from_secs(10);
/// Between two looks that are further apart than this the node did not run: nobody knows what was offered.
const GAP_MAX: Micros = Micros::from_secs(60);
/// What was seen is stored after this.
const STORE_EVERY: Micros = Micros::from_secs(600);
/// The window of rates.
const DAY: u64 = 24;
/// Growth is over so many hours.
const WEEK: u64 = 7 * DAY;
/// Hours that are kept: those that growth looks back on, and the present one.
const HOURS_MAX: usize = WEEK as usize + 2;
/// What one member is believed to offer at most, in thousandths of a core.
const OFFERS_MAX: u32 = 1_024_000;
/// Utilization needs so much time of looking.
const OBSERVED_MIN: Micros = Micros::from_secs(600);
/// A mean or a deviation needs so many settlements, or tasks.
const SAMPLES_MIN: u64 = 30;

/// What was seen in an hour.
#[derive(Clone, Copy, Default, Debug, PartialEq, Serialize, Deserialize)]
struct Hour {
    /// Hours since the Unix epoch, by the clock of the machine when the node started.
    hour: u64,
    /// Microseconds of looking.
    observed: u64,
    /// CPU microseconds that members offered meanwhile.
    offered: u64,
    /// CPU microseconds that settlements certified.
    certified: u64,
    /// Micro-credits that workers were paid.
    settled: u64,
    /// Tasks that they were paid for.
    tasks: u64,
    /// Micro-credits that were burned as fees.
    fees: u64,
    /// Micro-credits that were minted.
    minted: u64,
    /// Epochs that began.
    epochs: u64,
    /// Settlements, and the sums of their prices of a unit and of the squares.
    prices: (u64, f64, f64),
    /// The most members that were heard at a time, with this node.
    active: u64,
}

impl Hour {
    fn add(&mut self, other: &Hour) {
        self.observed = self.observed.saturating_add(other.observed);
        self.offered = self.offered.saturating_add(other.offered);
        self.certified = self.certified.saturating_add(other.certified);
        self.settled = self.settled.saturating_add(other.settled);
        self.tasks = self.tasks.saturating_add(other.tasks);
        self.fees = self.fees.saturating_add(other.fees);
        self.minted = self.minted.saturating_add(other.minted);
        self.epochs = self.epochs.saturating_add(other.epochs);
        let (n, sum, squares) = other.prices;
        self.prices = (self.prices.0 + n, self.prices.1 + sum, self.prices.2 + squares);
    }

    /// One less the coefficient of variation of the prices.
    fn stability(&self) -> Option<f64> {
        let (n, sum, squares) = self.prices;
        let mean = sum / n as f64;
        let variance = (squares / n as f64 - mean * mean).max(0.0);
        (n >= SAMPLES_MIN && mean > 0.0).then(|| 1.0 - variance.sqrt() / mean)
    }
}

/// Velocity needs so many epochs: one may have begun the moment before.
const EPOCHS_MIN: u64 = 3;
/// Own results are stored so long after they were judged.
const STORE_OWN_AFTER: Micros = Micros::from_secs(30);

/// What this node itself got, gave and kept, since it was made.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
struct Own {
    earned: u64,
    spent: u64,
    results: Promises,
}

/// What this node saw of the pool's economy.
#[derive(Debug, Default)]
pub(crate) struct Economy {
    own: Own,
    /// Ascending.
    hours: VecDeque<Hour>,
    /// CPU thousandths that this node offers.
    offers: u32,
    looked: Option<Timestamp>,
    stored: Timestamp,
    /// Own results were judged and not stored.
    judged: bool,
    /// The certificate that is taken now was not heard of when it came to be.
    pub(super) late: bool,
    /// As the ledger had them at the last look: what was ever granted or minted, and the epoch.
    before: Option<(u64, u64)>,
    /// What this node is promised, by epoch, as the last checkpoint says.
    promised: Vec<(u64, Credits)>,
}

impl Economy {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("hours of the economy", self.hours.len(), HOURS_MAX);
    }

    /// As it was stored; what does not decode is forgotten: nothing depends on it.
    pub(super) fn restore(stored: &Stored, now: Timestamp) -> Economy {
        let found = stored.get(Table::Pool, KEY).and_then(super::decode_stored::<(Own, Vec<Hour>)>);
        let (own, mut hours) = found.unwrap_or_default();
        hours.truncate(HOURS_MAX);
        Economy { own, hours: hours.into(), stored: now, ..Economy::default() }
    }

    /// The sums of this hour; where a clock was set back, of the latest one.
    fn hour(&mut self, hour: u64) -> &mut Hour {
        if self.hours.back().is_none_or(|last| last.hour < hour) {
            self.hours.push_back(Hour { hour, ..Hour::default() });
            while self.hours.front().is_some_and(|first| first.hour + WEEK + 1 < hour)
                || self.hours.len() > HOURS_MAX
            {
                self.hours.pop_front();
            }
        }
        let last = self.hours.len() - 1;
        &mut self.hours[last]
    }

    /// The sums of the 24 hours that end with this one.
    fn day(&self, hour: u64) -> Hour {
        let mut day = Hour::default();
        for one in self.hours.iter().filter(|one| one.hour <= hour && one.hour + DAY > hour) {
            day.add(one);
        }
        day
    }

    fn growth(&self, hour: u64) -> Option<f64> {
        let of = |hour| self.hours.iter().find(|one| one.hour == hour && one.active > 0);
        let (now, before) = (of(hour)?, of(hour.checked_sub(WEEK)?)?);
        Some(now.active as f64 / before.active as f64 - 1.0)
    }
}

impl Peer {
    /// Hours since the Unix epoch, as far as the clock was right when the node started.
    fn hour(&self) -> u64 {
        (self.settings.life_min + self.now.since(self.started).0 / 1_000_000) / 3_600
    }

    /// How much CPU this node offers to others while it works, in thousandths of a core.
    pub(super) fn offer(&mut self, cpu_milli: u32) {
        let before = std::mem::replace(&mut self.economy.offers, cpu_milli);
        if before != cpu_milli && self.takes_work() {
            self.tell_advert();
        }
    }

    /// What this node offers now, in thousandths of a core.
    pub(super) fn offered(&self) -> u32 {
        if self.takes_work() { self.economy.offers } else { 0 }
    }

    /// What members offer that are heard of, with this node, in thousandths of a core; and how many they are.
    fn cpu_of_members(&self) -> (u64, u64) {
        let within = self.heard_within();
        // Whom a fault names is offered no work.
        let unnamed = self.members.iter().filter(|(_, member)| member.faults == 0);
        let heard = unnamed.filter(|(node, _)| self.is_fresh(node, within));
        let adverts = heard.filter_map(|(_, member)| member.advert.as_ref());
        let count = |(sum, n), offers: u32| (sum + u64::from(offers.min(OFFERS_MAX)), n + 1);
        let working = adverts.map(|advert| if advert.works { advert.offers } else { 0 });
        working.chain([self.offered()]).fold((0, 0), count)
    }

    /// Adds up what was offered since the last look.
    pub(super) fn step_economy(&mut self) {
        let now = self.now;
        let elapsed = self.economy.looked.map_or(LOOK_EVERY, |looked| now.since(looked));
        if elapsed < LOOK_EVERY || self.bank.is_none() {
            return;
        }
        let (hour, (offers, active)) = (self.hour(), self.cpu_of_members());
        let first = self.economy.looked.replace(now).is_none();
        let elapsed = if first || elapsed > GAP_MAX { 0 } else { elapsed.0 };
        let ledger = self.bank.as_ref().map(|bank| &bank.ledger);
        let after = ledger.map(|ledger| (ledger.totals().granted.micro(), ledger.epoch()));
        let before = std::mem::replace(&mut self.economy.before, after);
        let this = self.economy.hour(hour);
        let sums = Hour {
            observed: elapsed,
            offered: offers.saturating_mul(elapsed) / 1_000,
            minted: before.zip(after).map_or(0, |(old, new)| new.0.saturating_sub(old.0)),
            epochs: before.zip(after).map_or(0, |(old, new)| new.1.saturating_sub(old.1)),
            ..Hour::default()
        };
        this.add(&sums);
        this.active = this.active.max(active);
        let patience = if self.economy.judged { STORE_OWN_AFTER } else { STORE_EVERY };
        if now.since(self.economy.stored) >= patience {
            self.store_economy();
        }
    }

    /// Makes durable what was seen.
    pub(super) fn store_economy(&mut self) {
        (self.economy.stored, self.economy.judged) = (self.now, false);
        let hours: Vec<Hour> = self.economy.hours.iter().copied().collect();
        let own = self.economy.own;
        self.persist(Table::Pool, KEY, &(own, hours));
    }

    /// A block was certified: counts what it paid. What was certified while this node was away, or before it
    /// looked, is not counted, as what was offered then is not; but what it got by it, it got.
    pub(super) fn count_settled(&mut self, block: &Block) {
        let BlockKind::Settle { escrow, payments, fee } = &block.kind else { return };
        let Some(bank) = &self.bank else { return };
        let ledger = &bank.ledger;
        let settled = payments.iter().fold(0u64, |sum, p| sum.saturating_add(p.amount.micro()));
        let tasks = payments.iter().fold(0u64, |sum, p| sum.saturating_add(p.tasks));
        let heard = self.economy.looked.is_some() && !self.economy.late;
        if let Some(price) = ledger.escrow(escrow).and_then(|escrow| escrow.prices.mean())
            && heard
            && settled > 0
        {
            let hour = self.hour();
            let sums = Hour {
                certified: (settled as f64 / price) as u64,
                settled,
                tasks,
                fees: fee.micro(),
                prices: (1, price, price * price),
                ..Hour::default()
            };
            self.economy.hour(hour).add(&sums);
        }
        let me = self.me;
        let got = block.kind.pays(&me).map_or(0, Credits::micro);
        let gave = if block.account == me { settled.saturating_add(fee.micro()) } else { 0 };
        self.count_own(got, gave);
    }

    fn count_own(&mut self, got: u64, gave: u64) {
        if got > 0 || gave > 0 {
            let own = &mut self.economy.own;
            own.earned = own.earned.saturating_add(got);
            own.spent = own.spent.saturating_add(gave);
            self.store_economy();
        }
    }

    /// What this node is promised by the last checkpoint, and whether it was never caught.
    fn promised(&self) -> (Vec<(u64, Credits)>, bool) {
        let base = self.bank.as_ref().and_then(|bank| bank.ledger.base());
        let states = base.map_or(&[][..], |base| base.states());
        let found = states.binary_search_by_key(&self.me, |state| state.account);
        let found = found.ok().map(|at| &states[at]);
        (
            found.map(|state| state.vesting.clone()).unwrap_or_default(),
            found.is_some_and(|state| state.offences.is_empty()),
        )
    }

    /// The node starts: what it is promised is counted when it is due.
    pub(super) fn start_economy(&mut self) {
        self.economy.promised = self.promised().0;
    }

    /// There is a new checkpoint: what it minted for this node, was earned.
    pub(super) fn count_minted(&mut self) {
        let (promised, innocent) = self.promised();
        let before = std::mem::replace(&mut self.economy.promised, promised);
        // Whoever is caught is minted nothing.
        if innocent {
            let epoch = self.bank.as_ref().map_or(0, |bank| bank.ledger.epoch());
            let due = before.iter().filter(|(due, _)| *due <= epoch);
            let minted = due.fold(0u64, |sum, (_, amount)| sum.saturating_add(amount.micro()));
            self.count_own(minted, 0);
        }
    }

    /// A requester said whether a result of this node was the accepted one.
    pub(super) fn count_result(&mut self, accepted: bool) {
        let now = self.now;
        self.economy.own.results.note(accepted, now);
        self.economy.judged = true;
    }

    pub(super) fn economy_view(&self) -> Result<EconomyView, Refusal> {
        let Some(bank) = &self.bank else {
            return Err(Refusal::Refused("this node has not joined its pool yet".into()));
        };
        let (economy, hour) = (&self.economy, self.hour());
        let day = economy.day(hour);
        let (offers, active) = self.cpu_of_members();
        let totals = bank.ledger.totals();
        let supply = totals.granted.minus(totals.burned).unwrap_or_default();
        let results = economy.own.results.at(self.now);
        let seen = day.observed >= OBSERVED_MIN.0 && day.offered > 0;
        let utilization = seen.then(|| day.certified as f64 / day.offered as f64);
        let reputation = results.any().then(|| results.lower_bound());
        let velocity = (day.epochs >= EPOCHS_MIN && supply > Credits::ZERO)
            .then(|| day.settled as f64 / day.epochs as f64 / supply.micro() as f64);
        let mean = |sum: u64| (day.tasks >= SAMPLES_MIN).then(|| sum as f64 / day.tasks as f64);
        Ok(EconomyView {
            velocity,
            utilization,
            growth: economy.growth(hour),
            stability: day.stability(),
            fitness: utilization.zip(reputation).map(|(used, kept)| used * kept),
            supply,
            epoch: bank.ledger.epoch(),
            observed_seconds: day.observed / 1_000_000,
            offered_cpu_seconds: day.offered as f64 / 1e6,
            certified_cpu_seconds: day.certified as f64 / 1e6,
            cpu_seconds_per_task: mean(day.certified).map(|micros| micros / 1e6),
            settled: Credits::from_micro(day.settled),
            settled_tasks: day.tasks,
            fees: Credits::from_micro(day.fees),
            minted: Credits::from_micro(day.minted),
            active,
            offered_cores: offers as f64 / 1e3,
            earned: Credits::from_micro(economy.own.earned),
            spent: Credits::from_micro(economy.own.spent),
            reputation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(hour: u64, active: u64) -> Hour {
        Hour { hour, active, settled: 1, ..Hour::default() }
    }

    #[test]
    fn a_day_has_24_hours_and_a_week_is_looked_back_on() {
        let mut economy = Economy::default();
        for hour in 1_000..1_400 {
            let this = economy.hour(hour);
            *this = seen(hour, hour - 900);
            assert!(economy.hours.len() <= HOURS_MAX);
            assert_eq!(economy.day(hour).settled, (hour - 999).min(DAY));
            let before = hour.checked_sub(WEEK).filter(|before| *before >= 1_000);
            let growth = before.map(|b| (hour - 900) as f64 / (b - 900) as f64 - 1.0);
            assert_eq!(economy.growth(hour), growth, "{hour}");
        }
        // An hour in which nobody looked is no sample.
        assert_eq!(economy.growth(1_400), None);
    }

    #[test]
    fn a_clock_that_jumps_loses_no_more_than_its_hours() {
        let mut economy = Economy::default();
        economy.hour(1_000).settled = 5;
        economy.hour(900).settled += 5;
        assert_eq!((economy.hours.len(), economy.day(1_000).settled), (1, 10), "set back");
        economy.hour(u64::MAX / 2).settled += 1;
        assert_eq!(economy.day(u64::MAX / 2).settled, 1, "far ahead");
        assert_eq!(economy.hours.len(), 1);
    }

    /// 1 - statistics.pstdev(prices) / statistics.mean(prices) of Python.
    #[test]
    fn stability_is_one_less_the_coefficient_of_variation() {
        let mut day = Hour::default();
        for i in 0..SAMPLES_MIN {
            assert_eq!(day.stability(), None);
            let price = [1.0, 2.0, 4.0][i as usize % 3];
            day.add(&Hour { prices: (1, price, price * price), ..Hour::default() });
        }
        assert!((day.stability().unwrap() - 0.465_477_516).abs() < 1e-9, "{day:?}");
        let mut same = Hour::default();
        (0..40).for_each(|_| same.add(&Hour { prices: (1, 3.0, 9.0), ..Hour::default() }));
        assert_eq!(same.stability(), Some(1.0));
    }
}
