//! What a ledger knows of an account, in as few bytes as most accounts need.
//!
//! Most accounts were paid once, or did something and took what they were paid. Each of the two is behind a
//! pointer that is empty for the others: what its own blocks came to, and the payment. What few have, more payments,
//! certificates, stake and escrows, is behind the second. Reading what is not there finds nothing; writing makes
//! room for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
    sync::Arc,
};

use edge_base::{Credits, Digest, NodeId};

use crate::{
    equivocation::EquivocationProof, offence::OffenceKind, table::Table, vote::Certificate,
};

/// An account.
#[derive(Clone, Default, Debug)]
pub(super) struct Account {
    own: Option<Box<Own>>,
    more: Option<Box<More>>,
}

/// What an account's own blocks came to.
#[derive(Clone, Debug)]
struct Own {
    last: Digest,
    balance: Credits,
    /// The lower halves of two numbers; the upper ones are in [`Rest`], where they are not 0.
    below: u32,
    epoch: u32,
}

/// What else there is of an account.
#[derive(Clone, Debug)]
enum More {
    /// One payment to it that none of its blocks has taken.
    Paid(Digest, Credits),
    Any {
        incoming: Option<Box<Incoming>>,
        rest: Option<Box<Rest>>,
    },
}

/// What few accounts have.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    /// The certificate of the block with seq s is at s − below − 1.
    pub(super) chain: Vec<Arc<Certificate>>,
    pub(super) escrowed: Credits,
    pub(super) staked: Credits,
    pub(super) penalty: Credits,
    pub(super) offences: BTreeSet<OffenceKind>,
    /// Withdrawals that have not ended, by the hash of their Unstake.
    pub(super) leaving: BTreeMap<Digest, Credits>,
    pub(super) leaving_sum: Credits,
    /// By the epoch in which they are minted.
    pub(super) vesting: BTreeMap<u64, Credits>,
    pub(super) frozen: Option<Arc<EquivocationProof>>,
    /// Who signs its blocks, where it is not the account's own key any more.
    pub(super) holder: Option<NodeId>,
    /// The upper halves of numbers in [`Own`].
    below_upper: u32,
    epoch_upper: u32,
}

impl Rest {
    fn is_nothing(&self) -> bool {
        let Rest { chain, escrowed, staked, penalty, offences, .. } = self;
        let Rest {
            leaving, leaving_sum, vesting, frozen, holder, below_upper, epoch_upper, ..
        } = self;
        let sums = [*escrowed, *staked, *penalty, *leaving_sum];
        let empty = chain.is_empty() && leaving.is_empty() && offences.is_empty();
        let unheld = frozen.is_none() && holder.is_none();
        let small = (*below_upper, *epoch_upper) == (0, 0);
        empty && vesting.is_empty() && unheld && small && sums == [Credits::ZERO; 4]
    }

    /// Whether nobody votes for its blocks: there is a proof here that its key signed two at one place, or a
    /// checkpoint charged it for that. Such a key signs none any more once the account is another key's: what it
    /// signed is a mark then, and stops nobody.
    pub(super) fn is_frozen(&self) -> bool {
        let proven = self.frozen.is_some() || self.offences.contains(&OffenceKind::Equivocation);
        proven && self.holder.is_none()
    }

    /// At stake or leaving, as blocks say.
    pub(super) fn bonded(&self) -> Credits {
        self.staked.plus(self.leaving_sum).unwrap_or(Credits::from_micro(u64::MAX))
    }

    /// Promised and not vested.
    pub(super) fn promised(&self) -> Credits {
        Credits::sum(self.vesting.values().copied()).unwrap_or_default()
    }

    /// What the penalty takes of that.
    pub(super) fn forfeited(&self) -> Credits {
        self.penalty.min(self.bonded())
    }

    /// Stake and withdrawals without that: the penalty takes stake first.
    pub(super) fn left(&self) -> (Credits, Credits) {
        let of_stake = self.penalty.min(self.staked);
        let rest = self.penalty.minus(of_stake).unwrap_or_default().min(self.leaving_sum);
        let left = |whole: Credits, taken| whole.minus(taken).unwrap_or_default();
        (left(self.staked, of_stake), left(self.leaving_sum, rest))
    }
}

static NO_BLOCK: Own = Own { last: Digest([0; 32]), balance: Credits::ZERO, below: 0, epoch: 0 };
static NOTHING: Rest = Rest {
    chain: Vec::new(),
    escrowed: Credits::ZERO,
    staked: Credits::ZERO,
    penalty: Credits::ZERO,
    offences: BTreeSet::new(),
    leaving: BTreeMap::new(),
    leaving_sum: Credits::ZERO,
    vesting: BTreeMap::new(),
    frozen: None,
    holder: None,
    below_upper: 0,
    epoch_upper: 0,
};

impl Deref for Account {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        match self.more.as_deref() {
            Some(More::Any { rest: Some(rest), .. }) => rest,
            Some(More::Any { rest: None, .. } | More::Paid(..)) | None => &NOTHING,
        }
    }
}

impl DerefMut for Account {
    fn deref_mut(&mut self) -> &mut Rest {
        self.any().1.get_or_insert_with(|| Box::new(NOTHING.clone()))
    }
}

/// The upper and the lower half of a number.
fn halves(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

fn whole(upper: u32, lower: u32) -> u64 {
    u64::from(upper) << 32 | u64::from(lower)
}

impl Account {
    fn own(&self) -> &Own {
        self.own.as_deref().unwrap_or(&NO_BLOCK)
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.get_or_insert_with(|| Box::new(NO_BLOCK.clone()))
    }

    /// Room for any payments, and for the rest.
    fn any(&mut self) -> (&mut Option<Box<Incoming>>, &mut Option<Box<Rest>>) {
        let more =
            self.more.get_or_insert_with(|| Box::new(More::Any { incoming: None, rest: None }));
        if let More::Paid(id, amount) = **more {
            let incoming = Some(Box::new(Incoming::one(id, amount)));
            **more = More::Any { incoming, rest: None };
        }
        match &mut **more {
            More::Any { incoming, rest } => (incoming, rest),
            More::Paid(..) => unreachable!("it was made room for"),
        }
    }

    /// Payments to it that none of its blocks has taken, ascending by the block that pays.
    pub(super) fn incoming(&self) -> impl Iterator<Item = (&Digest, &Credits)> {
        let (one, any) = match self.more.as_deref() {
            None => (None, None),
            Some(More::Paid(id, amount)) => (Some((id, amount)), None),
            Some(More::Any { incoming, .. }) => {
                (None, incoming.as_ref().map(|all| all.rows.iter()))
            }
        };
        one.into_iter().chain(any.into_iter().flatten())
    }

    /// What these come to.
    pub(super) fn incoming_sum(&self) -> Credits {
        match self.more.as_deref() {
            None => Credits::ZERO,
            Some(More::Paid(_, amount)) => *amount,
            Some(More::Any { incoming, .. }) => {
                incoming.as_ref().map_or(Credits::ZERO, |all| all.sum)
            }
        }
    }

    /// What a block pays it, if it has not taken that.
    pub(super) fn payment(&self, id: &Digest) -> Option<Credits> {
        match self.more.as_deref()? {
            More::Paid(one, amount) => (one == id).then_some(*amount),
            More::Any { incoming, .. } => incoming.as_ref()?.rows.get(id).copied(),
        }
    }

    /// Adds a payment; a block pays an account once.
    pub(super) fn add_payment(&mut self, id: Digest, amount: Credits) {
        match self.more {
            None => self.more = Some(Box::new(More::Paid(id, amount))),
            Some(_) => self.any().0.get_or_insert_default().insert(id, amount),
        }
    }

    pub(super) fn take_payment(&mut self, id: &Digest) {
        match self.more.as_deref_mut() {
            Some(More::Paid(one, _)) if one == id => self.more = None,
            Some(More::Any { incoming: Some(incoming), .. }) => incoming.remove(id),
            Some(More::Paid(..) | More::Any { incoming: None, .. }) | None => {}
        }
    }

    pub(super) fn seq(&self) -> u64 {
        self.below() + self.chain.len() as u64
    }

    /// Blocks whose certificates are not kept: those before a checkpoint.
    pub(super) fn below(&self) -> u64 {
        whole(self.below_upper, self.own().below)
    }

    pub(super) fn set_below(&mut self, below: u64) {
        let (upper, lower) = halves(below);
        self.own_mut().below = lower;
        if self.below_upper != upper {
            self.below_upper = upper;
        }
    }

    /// The epoch of the last block.
    pub(super) fn epoch(&self) -> u64 {
        whole(self.epoch_upper, self.own().epoch)
    }

    fn set_epoch(&mut self, epoch: u64) {
        let (upper, lower) = halves(epoch);
        self.own_mut().epoch = lower;
        if self.epoch_upper != upper {
            self.epoch_upper = upper;
        }
    }

    pub(super) fn balance(&self) -> Credits {
        self.own().balance
    }

    pub(super) fn set_balance(&mut self, balance: Credits) {
        self.own_mut().balance = balance;
    }

    /// What the last block says: its hash and its epoch, and what it leaves.
    pub(super) fn set_last(&mut self, last: Digest, epoch: u64, balance: Credits) {
        let own = self.own_mut();
        (own.last, own.balance) = (last, balance);
        self.set_epoch(epoch);
    }

    /// The hash of the last block, while there is one: see [`Account::head`].
    pub(super) fn last(&self) -> Digest {
        self.own().last
    }

    /// The hash of the last block; the pool's before the first.
    pub(super) fn head(&self, pool: Digest) -> Digest {
        if self.seq() > 0 { self.last() } else { pool }
    }

    /// Gives room back that nothing is in any more.
    pub(super) fn shrink(&mut self) {
        let Some(More::Any { incoming, rest }) = self.more.as_deref_mut() else { return };
        rest.take_if(|rest| rest.is_nothing());
        incoming.take_if(|incoming| incoming.rows.len() == 0);
        match (incoming, rest) {
            (None, None) => self.more = None,
            (Some(incoming), None) => {
                if let Some((id, amount)) = incoming.only() {
                    self.more = Some(Box::new(More::Paid(id, amount)));
                }
            }
            (_, Some(_)) => {}
        }
    }

    pub(super) fn at(&self, seq: u64) -> Option<&Arc<Certificate>> {
        let place = seq.checked_sub(self.below())?.checked_sub(1)?;
        self.chain.get(usize::try_from(place).ok()?)
    }

    /// The certificates kept of the blocks after a seq; none if they begin later than that.
    pub(super) fn after(&self, seq: u64) -> &[Arc<Certificate>] {
        let skip = seq.checked_sub(self.below()).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.chain.get(skip..)).unwrap_or_default()
    }
}

/// Payments by the hash of the block that pays, and what they come to.
#[derive(Clone, Default, Debug)]
struct Incoming {
    sum: Credits,
    rows: Table<Digest, Credits>,
}

impl Incoming {
    fn one(id: Digest, amount: Credits) -> Incoming {
        let mut one = Incoming::default();
        one.insert(id, amount);
        one
    }

    /// The payment, if it is one.
    fn only(&self) -> Option<(Digest, Credits)> {
        let mut all = self.rows.iter();
        let first = all.next().map(|(id, amount)| (*id, *amount));
        if all.next().is_some() { None } else { first }
    }

    /// Adds a payment; a block pays an account once.
    fn insert(&mut self, id: Digest, amount: Credits) {
        let fits = "invariant: every sum of certified amounts is at most the grant";
        self.remove(&id);
        self.sum = self.sum.plus(amount).expect(fits);
        self.rows.insert(id, amount);
    }

    fn remove(&mut self, id: &Digest) {
        let held = "invariant: what leaves a sum was counted in it";
        if let Some(amount) = self.rows.remove(id) {
            self.sum = self.sum.minus(amount).expect(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Rng;

    use super::*;

    #[test]
    fn payments_are_a_map_with_a_sum() {
        let mut rng = Rng::derive(1, "payments");
        let (mut account, mut map) = (Account::default(), BTreeMap::new());
        for _ in 0..8_000 {
            let id = Digest([rng.below(5) as u8; 32]);
            let amount = Credits::from_micro(rng.below(100));
            match rng.below(5) {
                0 | 1 => {
                    account.take_payment(&id);
                    account.add_payment(id, amount);
                    map.insert(id, amount);
                }
                2 | 3 => {
                    account.take_payment(&id);
                    map.remove(&id);
                }
                // What is not payments comes and goes, and changes nothing of them.
                4 if rng.chance(1, 2) => account.penalty = amount,
                _ => {
                    account.penalty = Credits::ZERO;
                    account.shrink();
                    match (account.more.as_deref(), map.len()) {
                        (None, 0) | (Some(More::Paid(..)), 1) => {}
                        (Some(More::Any { rest: None, .. }), 2..) => {}
                        (more, len) => panic!("{more:?} for {len}"),
                    }
                }
            }
            assert!(account.incoming().eq(map.iter()));
            assert_eq!(account.payment(&id), map.get(&id).copied());
            assert_eq!(account.incoming_sum(), Credits::sum(map.values().copied()).unwrap());
        }
    }

    #[test]
    fn numbers_of_64_bits_are_kept_whole() {
        let (large, small) = (u64::from(u32::MAX) + 7, 3);
        let mut account = Account::default();
        for (below, epoch) in [(small, large), (u64::MAX, small), (large, u64::MAX), (0, 0)] {
            account.set_below(below);
            account.set_last(Digest([1; 32]), epoch, Credits::from_micro(9));
            account.shrink();
            assert_eq!((account.below(), account.epoch()), (below, epoch));
        }
        assert!(account.more.is_none(), "small numbers take no room");
        assert_eq!(account.balance(), Credits::from_micro(9));
    }

    #[test]
    fn most_accounts_are_two_pointers_and_what_one_is_to() {
        assert_eq!(size_of::<Account>(), 16);
        assert_eq!((size_of::<More>(), size_of::<Own>()), (48, 48));
    }
}
