//! What a ledger knows of an account, in as few bytes as most accounts need.
//!
//! Most accounts were paid and did little or nothing themselves. What only some have is behind a pointer
//! that is empty for the others: what its own blocks came to, and, behind that, certificates, stake and
//! escrows. Reading what is not there finds nothing; writing makes room for it.

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
    /// Payments to it that none of its blocks has taken.
    pub(super) incoming: Incoming,
    own: Option<Box<Own>>,
}

/// What an account's own blocks came to.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// Blocks whose certificates are not kept: those before a checkpoint.
    pub(super) below: u64,
    /// The hash of the last block, while there is one: see [`Account::head`].
    pub(super) last: Digest,
    /// The epoch of the last block.
    pub(super) epoch: u64,
    pub(super) balance: Credits,
    rest: Option<Box<Rest>>,
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
}

impl Rest {
    fn is_nothing(&self) -> bool {
        let Rest { chain, escrowed, staked, penalty, offences, .. } = self;
        let Rest { leaving, leaving_sum, vesting, frozen, holder, .. } = self;
        let sums = [*escrowed, *staked, *penalty, *leaving_sum];
        let empty = chain.is_empty() && leaving.is_empty() && offences.is_empty();
        let unheld = frozen.is_none() && holder.is_none();
        empty && vesting.is_empty() && unheld && sums == [Credits::ZERO; 4]
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

static NO_BLOCK: Own =
    Own { below: 0, last: Digest([0; 32]), epoch: 0, balance: Credits::ZERO, rest: None };
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
};

impl Deref for Account {
    type Target = Own;

    fn deref(&self) -> &Own {
        self.own.as_deref().unwrap_or(&NO_BLOCK)
    }
}

impl DerefMut for Account {
    fn deref_mut(&mut self) -> &mut Own {
        self.own.get_or_insert_with(|| Box::new(NO_BLOCK.clone()))
    }
}

impl Deref for Own {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        self.rest.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_with(|| Box::new(NOTHING.clone()))
    }
}

impl Account {
    pub(super) fn seq(&self) -> u64 {
        self.below + self.chain.len() as u64
    }

    /// The hash of the last block; the pool's before the first.
    pub(super) fn head(&self, pool: Digest) -> Digest {
        if self.seq() > 0 { self.last } else { pool }
    }

    /// Gives room back that nothing is in any more.
    pub(super) fn shrink(&mut self) {
        let rest = self.own.as_mut().and_then(|own| own.rest.take_if(|rest| rest.is_nothing()));
        drop(rest);
    }

    pub(super) fn at(&self, seq: u64) -> Option<&Arc<Certificate>> {
        let place = seq.checked_sub(self.below)?.checked_sub(1)?;
        self.chain.get(usize::try_from(place).ok()?)
    }

    /// The certificates kept of the blocks after a seq; none if they begin later than that.
    pub(super) fn after(&self, seq: u64) -> &[Arc<Certificate>] {
        let skip = seq.checked_sub(self.below).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.chain.get(skip..)).unwrap_or_default()
    }
}

/// Payments by the hash of the block that pays. Most accounts have one.
#[derive(Clone, Default, Debug)]
pub(super) struct Incoming(Option<Box<Payments>>);

#[derive(Clone, Debug)]
enum Payments {
    One(Digest, Credits),
    Many { sum: Credits, rows: Box<Table<Digest, Credits>> },
}

impl Incoming {
    /// What all of them pay.
    pub(super) fn sum(&self) -> Credits {
        match self.0.as_deref() {
            None => Credits::ZERO,
            Some(Payments::One(_, amount)) => *amount,
            Some(Payments::Many { sum, .. }) => *sum,
        }
    }

    pub(super) fn get(&self, id: &Digest) -> Option<&Credits> {
        match self.0.as_deref()? {
            Payments::One(one, amount) => (one == id).then_some(amount),
            Payments::Many { rows, .. } => rows.get(id),
        }
    }

    /// Adds a payment; a block pays an account once.
    pub(super) fn insert(&mut self, id: Digest, amount: Credits) {
        let fits = "invariant: every sum of certified amounts is at most the grant";
        self.remove(&id);
        match self.0.as_deref_mut() {
            None => self.0 = Some(Box::new(Payments::One(id, amount))),
            Some(Payments::Many { sum, rows }) => {
                *sum = sum.plus(amount).expect(fits);
                rows.insert(id, amount);
            }
            Some(Payments::One(one, first)) => {
                let (sum, mut rows) =
                    (first.plus(amount).expect(fits), Box::<Table<_, _>>::default());
                rows.insert(*one, *first);
                rows.insert(id, amount);
                self.0 = Some(Box::new(Payments::Many { sum, rows }));
            }
        }
    }

    pub(super) fn remove(&mut self, id: &Digest) {
        let held = "invariant: what leaves a sum was counted in it";
        let left = match self.0.as_deref_mut() {
            None => return,
            Some(Payments::One(one, _)) => usize::from(one != id),
            Some(Payments::Many { sum, rows }) => {
                if let Some(amount) = rows.remove(id) {
                    *sum = sum.minus(amount).expect(held);
                }
                rows.len()
            }
        };
        if left == 0 {
            self.0 = None;
        }
    }

    /// All of them, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &Credits)> {
        let (one, many) = match self.0.as_deref() {
            None => (None, None),
            Some(Payments::One(id, amount)) => (Some((id, amount)), None),
            Some(Payments::Many { rows, .. }) => (None, Some(rows.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

impl FromIterator<(Digest, Credits)> for Incoming {
    fn from_iter<I: IntoIterator<Item = (Digest, Credits)>>(payments: I) -> Incoming {
        let mut incoming = Incoming::default();
        payments.into_iter().for_each(|(id, amount)| incoming.insert(id, amount));
        incoming
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Rng;

    use super::*;

    #[test]
    fn payments_are_a_map_with_a_sum() {
        let mut rng = Rng::derive(1, "payments");
        let (mut incoming, mut map) = (Incoming::default(), BTreeMap::new());
        for _ in 0..4_000 {
            let id = Digest([rng.below(9) as u8; 32]);
            let amount = Credits::from_micro(rng.below(100));
            if rng.chance(1, 2) {
                incoming.insert(id, amount);
                map.insert(id, amount);
            } else {
                incoming.remove(&id);
                map.remove(&id);
            }
            assert!(incoming.iter().eq(map.iter()));
            assert_eq!(incoming.get(&id), map.get(&id));
            assert_eq!(incoming.sum(), Credits::sum(map.values().copied()).unwrap());
            assert_eq!(incoming.0.is_none(), map.is_empty());
        }
    }

    #[test]
    fn most_accounts_are_two_pointers() {
        assert_eq!(size_of::<Account>(), 16);
        assert_eq!((size_of::<Payments>(), size_of::<Own>()), (48, 64));
    }
}
