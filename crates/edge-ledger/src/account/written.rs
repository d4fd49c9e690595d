//! How a state is written: as it was before accounts could change hands, unless this one did.
//!
//! The bytes of all states are what a checkpoint's digest is of, so a field more for every account would make all
//! checkpoints of before unreadable. What only some have hides in the count of the last list: where it is more
//! than that list can have, so many fewer elements follow, and then the key that has the account.

use edge_base::{Credits, Digest, NodeId};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::{SerializeStruct as _, SerializeTuple as _},
};

use super::{AccountState, HOLDINGS_MAX, OpenEscrow};
use crate::{audit::VESTING_MAX, block::WITHDRAWALS_MAX, bounded, offence::OffenceKind};

/// What the count of rewards is more, where a holder follows them.
const HELD: u64 = VESTING_MAX as u64 + 1;

/// The state as it is read.
#[derive(Deserialize)]
pub(super) struct Written {
    account: NodeId,
    seq: u64,
    head: Digest,
    epoch: u64,
    balance: Credits,
    staked: Credits,
    penalty: Credits,
    #[serde(deserialize_with = "bounded::vec::<_, _, { OffenceKind::ALL.len() }>")]
    offences: Vec<OffenceKind>,
    #[serde(deserialize_with = "bounded::vec::<_, _, WITHDRAWALS_MAX>")]
    leaving: Vec<(Digest, Credits)>,
    #[serde(deserialize_with = "bounded::vec::<_, _, HOLDINGS_MAX>")]
    escrows: Vec<OpenEscrow>,
    #[serde(deserialize_with = "bounded::vec::<_, _, HOLDINGS_MAX>")]
    incoming: Vec<(Digest, Credits)>,
    rest: Rest,
}

impl From<Written> for AccountState {
    fn from(written: Written) -> AccountState {
        let Written { account, seq, head, epoch, balance, staked, penalty, offences, .. } = written;
        let Written { leaving, escrows, incoming, rest: Rest { vesting, holder }, .. } = written;
        AccountState {
            account,
            seq,
            head,
            epoch,
            balance,
            staked,
            penalty,
            offences,
            leaving,
            escrows,
            incoming,
            vesting,
            holder,
        }
    }
}

impl Serialize for AccountState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut state = serializer.serialize_struct("AccountState", 12)?;
        state.serialize_field("account", &self.account)?;
        state.serialize_field("seq", &self.seq)?;
        state.serialize_field("head", &self.head)?;
        state.serialize_field("epoch", &self.epoch)?;
        state.serialize_field("balance", &self.balance)?;
        state.serialize_field("staked", &self.staked)?;
        state.serialize_field("penalty", &self.penalty)?;
        state.serialize_field("offences", &self.offences)?;
        state.serialize_field("leaving", &self.leaving)?;
        state.serialize_field("escrows", &self.escrows)?;
        state.serialize_field("incoming", &self.incoming)?;
        state.serialize_field("rest", &RestOf { vesting: &self.vesting, holder: self.holder })?;
        state.end()
    }
}

struct Rest {
    vesting: Vec<(u64, Credits)>,
    holder: Option<NodeId>,
}

struct RestOf<'a> {
    vesting: &'a [(u64, Credits)],
    holder: Option<NodeId>,
}

impl Serialize for RestOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let more = usize::from(self.holder.is_some());
        let mut rest = serializer.serialize_tuple(1 + self.vesting.len() + more)?;
        let held = if self.holder.is_some() { HELD } else { 0 };
        rest.serialize_element(&(self.vesting.len() as u64 + held))?;
        self.vesting.iter().try_for_each(|reward| rest.serialize_element(reward))?;
        self.holder.iter().try_for_each(|holder| rest.serialize_element(holder))?;
        rest.end()
    }
}

impl<'de> Deserialize<'de> for Rest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rest, D::Error> {
        deserializer.deserialize_tuple(VESTING_MAX + 2, Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Rest;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {VESTING_MAX} rewards, and perhaps who has the account")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rest, A::Error> {
        let short = || A::Error::custom("the state ends early");
        let count: u64 = seq.next_element()?.ok_or_else(short)?;
        let (held, count) = match count.checked_sub(HELD) {
            Some(count) => (true, count),
            None => (false, count),
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > VESTING_MAX {
            return Err(A::Error::invalid_length(count, &self));
        }
        let mut vesting = Vec::with_capacity(count);
        for _ in 0..count {
            vesting.push(seq.next_element()?.ok_or_else(short)?);
        }
        let holder = if held { Some(seq.next_element()?.ok_or_else(short)?) } else { None };
        Ok(Rest { vesting, holder })
    }
}

#[cfg(test)]
mod tests {
    use edge_base::codec;

    use super::*;

    /// The type as it was.
    #[derive(PartialEq, Debug, Serialize, Deserialize)]
    struct Before {
        account: NodeId,
        seq: u64,
        head: Digest,
        epoch: u64,
        balance: Credits,
        staked: Credits,
        penalty: Credits,
        offences: Vec<OffenceKind>,
        leaving: Vec<(Digest, Credits)>,
        escrows: Vec<OpenEscrow>,
        incoming: Vec<(Digest, Credits)>,
        vesting: Vec<(u64, Credits)>,
    }

    fn state(rewards: u64, holder: Option<NodeId>) -> AccountState {
        let micro = Credits::from_micro;
        AccountState {
            account: NodeId([1; 32]),
            seq: 300,
            head: Digest([2; 32]),
            epoch: 4,
            balance: micro(500),
            staked: micro(6),
            penalty: micro(0),
            offences: vec![OffenceKind::Fault],
            leaving: vec![(Digest([3; 32]), micro(7))],
            escrows: Vec::new(),
            incoming: vec![(Digest([4; 32]), micro(8))],
            vesting: (0..rewards).map(|epoch| (epoch, micro(epoch + 9))).collect(),
            holder,
        }
    }

    #[test]
    fn accounts_of_their_own_keys_have_the_bytes_they_always_had() {
        for rewards in [0, 1, 63, 64] {
            let states = vec![state(rewards, None), state(0, None)];
            let bytes = codec::encode(&states);
            let before: Vec<Before> = codec::decode(&bytes).unwrap();
            assert_eq!(codec::encode(&before), bytes);
            assert_eq!(codec::decode::<Vec<AccountState>>(&bytes).unwrap(), states);
        }
    }

    #[test]
    fn who_has_an_account_is_written_and_bounds_hold() {
        for rewards in [0, 1, 64] {
            let states = vec![state(rewards, Some(NodeId([9; 32]))), state(2, None)];
            let bytes = codec::encode(&states);
            assert_eq!(codec::decode::<Vec<AccountState>>(&bytes).unwrap(), states);
            for end in 0..bytes.len() {
                assert!(codec::decode::<Vec<AccountState>>(&bytes[..end]).is_err());
            }
        }
        // More rewards than there may be, said in either way.
        for count in [65 + 65, 200, u64::MAX] {
            let mut bytes = codec::encode(&state(0, None));
            assert_eq!(bytes.pop(), Some(0));
            bytes.extend(codec::encode(&count));
            bytes.extend([0; 4_000]);
            assert!(codec::decode::<AccountState>(&bytes).is_err(), "{count}");
        }
    }
}
