//! The parameters of a pool's economy: what they are, where they begin, how far and how fast they may
//! be moved, and the word of the witnesses that moves them.
//!
//! A pool begins with the defaults of this table. A witness's owner says what a parameter should be
//! ([`ParameterVote`]); what a quorum says alike becomes an [`Amendment`] of the next checkpoint, and
//! holds from the epoch on that begins with it. Every value says since when it holds, and a vote names
//! that epoch, so that no vote counts twice.

use edge_base::{
    Credits, CreditsError, Digest, Domain, NodeId, Signature, Signed, SignedBody, Verifier,
};
use serde::{Deserialize, Serialize};

use crate::{
    bounded,
    error::LedgerError,
    witness::{WITNESSES_MAX, WitnessSet},
};

/// Changes of the fee that are remembered, as escrows opened before keep theirs. At the bound the fee
/// cannot be changed any more.
pub const FEES_MAX: usize = 256;

/// Something that the witnesses may change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Parameter {
    /// The part of every settled payment that is burned.
    FeeRate,
    /// How long stake is on its way back.
    UnstakeDelay,
    /// What two blocks at one seq cost, of the stake.
    SlashEquivocation,
    /// What a wrong result costs.
    SlashFault,
    /// What vouchers beyond an escrow cost.
    SlashOverdraft,
    /// What two heads for one position of a shard cost.
    SlashContest,
    /// What it costs to have invited liars.
    SlashInvitation,
    /// What is minted for a certified CPU-hour, before the multiplier.
    Reward,
    /// What has to be at stake to be drawn as an auditor.
    MinStake,
    /// Epochs after which a reward vests.
    VestingPeriod,
    /// Reference CPU time of embeddings.
    CpuEmbedding,
    /// Reference CPU time of matches.
    CpuMatch,
    /// Reference CPU time of compressions.
    CpuCompression,
    /// What an hour of being there is paid, as long as there is something set aside.
    UptimeReward,
    /// The part of what the cap grows by that is set aside for it.
    UptimeShare,
}

/// What a parameter counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Unit {
    /// Millionths.
    Ppm,
    /// Seconds.
    Seconds,
    /// Millionths of a rUv.
    Micro,
    /// Epochs.
    Epochs,
    /// Nanoseconds for a byte of the payload.
    NsPerByte,
}

impl Unit {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Unit::Ppm => "ppm",
            Unit::Seconds => "s",
            Unit::Micro => "micro-rUv",
            Unit::Epochs => "epochs",
            Unit::NsPerByte => "ns/byte",
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The name on the command line and in documents.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// The least value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
    /// The most by which it changes in one epoch.
    pub step: u64,
    /// What a pool begins with.
    pub default: u64,
}

impl Parameter {
    /// Every parameter.
    pub const ALL: [Parameter; 15] = [
        Parameter::FeeRate,
        Parameter::UnstakeDelay,
        Parameter::SlashEquivocation,
        Parameter::SlashFault,
        Parameter::SlashOverdraft,
        Parameter::SlashContest,
        Parameter::SlashInvitation,
        Parameter::Reward,
        Parameter::MinStake,
        Parameter::VestingPeriod,
        Parameter::CpuEmbedding,
        Parameter::CpuMatch,
        Parameter::CpuCompression,
        Parameter::UptimeReward,
        Parameter::UptimeShare,
    ];

    /// Its row of the table.
    pub fn rule(self) -> Rule {
        let rule = |name, unit, [min, max, step, default]: [u64; 4]| Rule {
            name,
            unit,
            min,
            max,
            step,
            default,
        };
        match self {
            Parameter::FeeRate => rule("fee-rate", Unit::Ppm, [0, 100_000, 1_000, 3_000]),
            Parameter::UnstakeDelay => {
                rule("unstake-delay", Unit::Seconds, [3_600, 2_592_000, 86_400, 86_400])
            }
            Parameter::SlashEquivocation => {
                rule("slash-equivocation", Unit::Ppm, [500_000, 1_000_000, 100_000, 1_000_000])
            }
            Parameter::SlashFault => {
                rule("slash-fault", Unit::Ppm, [100_000, 1_000_000, 100_000, 1_000_000])
            }
            Parameter::SlashOverdraft => {
                rule("slash-overdraft", Unit::Ppm, [100_000, 1_000_000, 100_000, 500_000])
            }
            Parameter::SlashContest => {
                rule("slash-contest", Unit::Ppm, [100_000, 1_000_000, 100_000, 500_000])
            }
            Parameter::SlashInvitation => {
                rule("slash-invitation", Unit::Ppm, [100_000, 1_000_000, 100_000, 1_000_000])
            }
            Parameter::Reward => {
                rule("reward", Unit::Micro, [0, 1_000_000_000, 1_000_000, 1_000_000])
            }
            Parameter::MinStake => {
                rule("min-stake", Unit::Micro, [1, 1_000_000_000, 1_000_000, 1_000_000])
            }
            Parameter::VestingPeriod => rule("vesting-period", Unit::Epochs, [1, 60, 6, 6]),
            Parameter::CpuEmbedding => {
                rule("cpu-embedding", Unit::NsPerByte, [1, 100_000, 100, 100])
            }
            Parameter::CpuMatch => rule("cpu-match", Unit::NsPerByte, [1, 100_000, 100, 100]),
            Parameter::CpuCompression => {
                rule("cpu-compression", Unit::NsPerByte, [1, 100_000, 100, 100])
            }
            Parameter::UptimeReward => {
                rule("uptime-reward", Unit::Micro, [0, 100_000_000, 100_000, 100_000])
            }
            Parameter::UptimeShare => {
                rule("uptime-share", Unit::Ppm, [0, 500_000, 100_000, 100_000])
            }
        }
    }

    /// The parameter of this name.
    pub fn named(name: &str) -> Option<Parameter> {
        Parameter::ALL.into_iter().find(|parameter| parameter.rule().name == name)
    }
}

/// The part of a settled payment that is burned, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FeeRate(u32);

impl FeeRate {
    /// What a pool begins with: .003.
    pub const DEFAULT: FeeRate = FeeRate(3_000);

    /// So many millionths; more than the table allows is the most it allows.
    pub fn from_ppm(ppm: u64) -> Self {
        FeeRate(ppm.min(Parameter::FeeRate.rule().max) as u32)
    }

    /// Millionths.
    pub fn ppm(self) -> u64 {
        self.0.into()
    }

    /// What is burned when `total` is settled, rounded up, so that splitting a settlement never pays
    /// less.
    pub fn fee(self, total: Credits) -> Result<Credits, CreditsError> {
        let micro = (u128::from(total.micro()) * u128::from(self.0)).div_ceil(1_000_000);
        u64::try_from(micro).map(Credits::from_micro).map_err(|_| CreditsError::Overflow)
    }

    /// The most that a budget can pay to workers, its fee included in the budget.
    pub fn payable(self, budget: Credits) -> Credits {
        // Largest m with m + ceil(m f) <= budget: as budget - m is whole, that is m (1 + f) <= budget.
        let micro = u128::from(budget.micro()) * 1_000_000 / u128::from(1_000_000 + self.0);
        Credits::from_micro(
            u64::try_from(micro).expect("invariant: a part of a budget fits like the budget"),
        )
    }
}

/// A value and the epoch since which it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Current {
    value: u64,
    since: u64,
}

/// The values that hold in an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Parameters {
    /// Those that were ever changed, ascending.
    #[serde(deserialize_with = "bounded::vec::<_, _, { Parameter::ALL.len() }>")]
    changed: Vec<(Parameter, Current)>,
    /// Every rate of the fee but the first, with the epoch from which it holds, ascending.
    #[serde(deserialize_with = "bounded::vec::<_, _, FEES_MAX>")]
    fees: Vec<(u64, FeeRate)>,
}

impl Parameters {
    fn current(&self, parameter: Parameter) -> Option<Current> {
        let found = self.changed.binary_search_by_key(&parameter, |(parameter, _)| *parameter);
        found.ok().map(|at| self.changed[at].1)
    }

    /// What a parameter is now.
    pub fn get(&self, parameter: Parameter) -> u64 {
        self.current(parameter).map_or(parameter.rule().default, |current| current.value)
    }

    /// The epoch since which a parameter is what it is.
    pub fn since(&self, parameter: Parameter) -> u64 {
        self.current(parameter).map_or(0, |current| current.since)
    }

    /// The fee of escrows that are opened in an epoch.
    pub fn fee_in(&self, epoch: u64) -> FeeRate {
        let before = self.fees.iter().rev().find(|(from, _)| *from <= epoch);
        before.map_or(FeeRate::DEFAULT, |(_, rate)| *rate)
    }

    /// Whether a parameter may become this: inside its range, and no further off than one step.
    pub fn check(&self, parameter: Parameter, value: u64) -> Result<(), LedgerError> {
        let rule = parameter.rule();
        let refuse = |why| Err(LedgerError::NotAnAmendment(why));
        if !(rule.min..=rule.max).contains(&value) {
            return refuse("the value is outside of its range");
        }
        let step = self.get(parameter).abs_diff(value);
        if step == 0 {
            return refuse("it is this already");
        }
        if step > rule.step {
            return refuse("the value is further away than one step");
        }
        if parameter == Parameter::FeeRate && self.fees.len() >= FEES_MAX {
            return refuse("the fee was changed as often as it can be");
        }
        Ok(())
    }

    /// The values with this one, from an epoch on.
    pub(crate) fn set(&mut self, parameter: Parameter, value: u64, since: u64) {
        let current = Current { value, since };
        match self.changed.binary_search_by_key(&parameter, |(parameter, _)| *parameter) {
            Ok(at) => self.changed[at].1 = current,
            Err(at) => self.changed.insert(at, (parameter, current)),
        }
        if parameter == Parameter::FeeRate {
            self.fees.push((since, FeeRate::from_ppm(value)));
        }
    }
}

/// A witness's word that a parameter should become something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ParameterVote {
    /// The witness set that is asked.
    pub version: u64,
    /// Which.
    pub parameter: Parameter,
    /// What it should be.
    pub value: u64,
    /// Since when it is what it is now. Once it changed, the vote is void.
    pub since: u64,
}

impl SignedBody for ParameterVote {
    const DOMAIN: Domain = Domain("ledger/parameter");
}

/// A change of a parameter with the votes of a quorum, ascending by witness.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Amendment {
    /// Which.
    pub parameter: Parameter,
    /// What it becomes.
    pub value: u64,
    /// Who voted for that.
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub votes: Vec<(NodeId, Signature)>,
}

impl Amendment {
    /// Checks range, step and votes against what holds now.
    pub fn check(
        &self,
        present: &Parameters,
        set: &WitnessSet,
        pool: &Digest,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let Amendment { parameter, value, ref votes } = *self;
        present.check(parameter, value)?;
        if votes.len() < set.quorum() {
            return Err(LedgerError::NotAnAmendment("fewer than a quorum want it"));
        }
        if !bounded::strictly_ascending(votes.iter().map(|(voter, _)| voter)) {
            return Err(LedgerError::Order("votes for a parameter"));
        }
        let since = present.since(parameter);
        let body = ParameterVote { version: set.version, parameter, value, since };
        for (voter, signature) in votes {
            if !set.contains(voter) {
                return Err(LedgerError::NotAnAmendment("a vote of somebody else"));
            }
            Signed { signer: *voter, body, signature: *signature }.open(verifier, pool)?;
        }
        Ok(())
    }
}
