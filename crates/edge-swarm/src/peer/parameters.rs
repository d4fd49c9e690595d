//! Parameters as the peer lives them: what this node's owner wants as a witness, what the other
//! witnesses want, and the amendments that come of it.
//!
//! A vote is void once its parameter or the witness set changed. What this node wants is durable and
//! said again every minute, under the present set, until the parameter changed: who was away hears it.

use std::collections::BTreeMap;

use edge_base::{Micros, NodeId, Signed, Timestamp};
use edge_ledger::{Amendment, Parameter, ParameterVote, Resolutions, WITNESSES_MAX};

use super::{Peer, Stored, decode_stored};
use crate::{
    command::{Answer, ParameterView, Refusal},
    io::{CallId, Table},
    message::Gossip,
};

/// What this node wants is said again after this.
const SAY_EVERY: Micros = Micros::from_secs(60);
/// Before the stored key of what this node wants.
const WISH: &[u8] = b"wish";

/// Votes for other values of parameters.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// What this node wants: the value, and since when the parameter is what it is.
    own: BTreeMap<Parameter, (u64, u64)>,
    /// The last vote of each witness.
    votes: BTreeMap<(Parameter, NodeId), Signed<ParameterVote>>,
    said: Timestamp,
}

impl Wishes {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("votes for parameters", self.votes.len(), WITNESSES_MAX * Parameter::ALL.len());
    }

    pub(crate) fn restore(stored: &Stored) -> Self {
        let mut restored = Wishes::default();
        for (key, value) in stored.table(Table::Checkpoints) {
            let name = key.strip_prefix(WISH).and_then(|name| std::str::from_utf8(name).ok());
            let parameter = name.and_then(Parameter::named);
            if let (Some(parameter), Some(wish)) = (parameter, decode_stored(value)) {
                restored.own.insert(parameter, wish);
            }
        }
        restored
    }
}

fn wish_key(parameter: Parameter) -> Vec<u8> {
    [WISH, parameter.rule().name.as_bytes()].concat()
}

impl Peer {
    /// What a parameter is now; its first value before this node joined.
    pub(super) fn parameter(&self, parameter: Parameter) -> u64 {
        let bank = self.bank.as_ref();
        bank.map_or(parameter.rule().default, |bank| bank.ledger.parameters().get(parameter))
    }

    /// How long stake is on its way back.
    pub(super) fn unstake_delay(&self) -> Micros {
        let seconds = self.parameter(Parameter::UnstakeDelay);
        self.settings.unstake_delay.unwrap_or(Micros::from_secs(seconds))
    }

    /// The owner of this witness wants a parameter to become something.
    pub(super) fn want_parameter(&mut self, call: CallId, name: &str, value: u64) {
        let answer = self.set_wish(name, value);
        let answer = answer.and_then(|()| self.parameter_views().map(Answer::Parameters));
        self.answer(call, answer);
    }

    fn set_wish(&mut self, name: &str, value: u64) -> Result<(), Refusal> {
        let Some(parameter) = Parameter::named(name) else {
            let text =
                format!("there is no parameter {name:?}; `edge-net ledger parameter` lists them");
            return Err(Refusal::NotFound(text));
        };
        let Some(bank) = &self.bank else {
            return Err(Refusal::Refused("this node has not joined its pool yet".into()));
        };
        let set = bank.ledger.witness_set();
        if set.members.len() == 1 || !set.contains(&self.me) {
            let text = "the witnesses decide on parameters, four and more of them; this node is none \
                        (`edge-net ledger verify` shows who is)";
            return Err(Refusal::Refused(text.into()));
        }
        let parameters = bank.ledger.parameters();
        if let Err(error) = parameters.check(parameter, value) {
            let (rule, now) = (parameter.rule(), parameters.get(parameter));
            let (min, max, step) = (rule.min, rule.max, rule.step);
            return Err(Refusal::Invalid(format!(
                "{error}: {name} is {now}, at least {min} and at most {max} {}, and moves by at most \
                 {step} an epoch",
                rule.unit.text()
            )));
        }
        let wish = (value, parameters.since(parameter));
        self.persist(Table::Checkpoints, &wish_key(parameter), &wish);
        self.wishes.own.insert(parameter, wish);
        self.say_wishes();
        self.step_checkpoints();
        Ok(())
    }

    /// Says again what this node wants, and forgets what is void.
    pub(super) fn step_wishes(&mut self) {
        let Some(bank) = &self.bank else { return };
        let version = bank.ledger.witness_set().version;
        let parameters = bank.ledger.parameters();
        let since = |parameter: &Parameter| parameters.since(*parameter);
        self.wishes.votes.retain(|(parameter, _), vote| {
            vote.body.version == version && vote.body.since == since(parameter)
        });
        let over = self.wishes.own.iter().filter(|(parameter, (_, of))| since(parameter) != *of);
        for parameter in over.map(|(parameter, _)| *parameter).collect::<Vec<_>>() {
            self.wishes.own.remove(&parameter);
            self.forget(Table::Checkpoints, &wish_key(parameter));
        }
        if self.now.since(self.wishes.said) >= SAY_EVERY {
            self.say_wishes();
        }
    }

    fn say_wishes(&mut self) {
        self.wishes.said = self.now;
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        let Some(set) = set.filter(|set| set.contains(&self.me)) else { return };
        let version = set.version;
        for (parameter, (value, since)) in self.wishes.own.clone() {
            let body = ParameterVote { version, parameter, value, since };
            let vote = Signed::seal(body, &self.key, &self.pool);
            self.wishes.votes.insert((parameter, self.me), vote.clone());
            self.publish(&Gossip::Parameter(Box::new(vote)));
        }
    }

    /// A witness says what it wants.
    pub(super) fn on_parameter_vote(&mut self, vote: Signed<ParameterVote>) {
        let Some(bank) = &self.bank else { return };
        let ParameterVote { version, parameter, value, since } = vote.body;
        let (set, parameters) = (bank.ledger.witness_set(), bank.ledger.parameters());
        let place = (parameter, vote.signer);
        let known = self.wishes.votes.get(&place).is_some_and(|known| *known == vote);
        if known
            || vote.signer == self.me
            || version != set.version
            || !set.contains(&vote.signer)
            || since != parameters.since(parameter)
            || parameters.check(parameter, value).is_err()
            || vote.open(&mut self.verifier, &self.pool).is_err()
        {
            return;
        }
        self.wishes.votes.insert(place, vote);
    }

    /// What a quorum wants: at most one value of each parameter.
    pub(super) fn amendments(&self) -> Vec<Amendment> {
        let Some(bank) = &self.bank else { return Vec::new() };
        let (set, parameters) = (bank.ledger.witness_set(), bank.ledger.parameters());
        let mut wanted: BTreeMap<(Parameter, u64), Amendment> = BTreeMap::new();
        for ((parameter, voter), vote) in &self.wishes.votes {
            let ParameterVote { version, value, since, .. } = vote.body;
            if version == set.version && since == parameters.since(*parameter) {
                let (parameter, votes) = (*parameter, Vec::new());
                let amendment = Amendment { parameter, value, votes };
                let amendment = wanted.entry((parameter, value)).or_insert(amendment);
                amendment.votes.push((*voter, vote.signature));
            }
        }
        let enough = |amendment: &Amendment| amendment.votes.len() >= set.quorum();
        wanted.into_values().filter(enough).collect()
    }

    /// What this node would have the next checkpoint resolve.
    pub(super) fn resolutions(&self) -> Resolutions {
        let round = self.checkpoints.round();
        let (audits, commits, certified) = self.audit_resolutions(round);
        Resolutions {
            amendments: self.amendments(),
            offences: self.chargeable(round),
            audits,
            commits,
            certified,
            seen: self.seen_resolutions(),
        }
    }

    pub(super) fn parameter_views(&self) -> Result<Vec<ParameterView>, Refusal> {
        let Some(bank) = &self.bank else {
            return Err(Refusal::Refused("this node has not joined its pool yet".into()));
        };
        let parameters = bank.ledger.parameters();
        let view = |parameter: Parameter| {
            let rule = parameter.rule();
            let of_it = self.wishes.votes.iter().filter(|((wanted, _), _)| *wanted == parameter);
            let mut wanted: BTreeMap<u64, Vec<NodeId>> = BTreeMap::new();
            of_it.for_each(|((_, voter), vote)| {
                wanted.entry(vote.body.value).or_default().push(*voter)
            });
            ParameterView {
                name: rule.name.into(),
                unit: rule.unit.text().into(),
                value: parameters.get(parameter),
                since: parameters.since(parameter),
                min: rule.min,
                max: rule.max,
                step: rule.step,
                default: rule.default,
                wanted: wanted.into_iter().collect(),
            }
        };
        Ok(Parameter::ALL.into_iter().map(view).collect())
    }
}
