//! A model for the checker `stateright`: four witnesses, one of them arbitrary, two accounts with
//! two sequence numbers each, one owner that signs rival blocks, messages that are lost, doubled
//! and reordered.
//!
//! The network is what was ever sent: a proposal, a vote, a certificate or a proof may arrive at any
//! time, at anybody, any number of times, or never. So a lost message needs no step of its own (each
//! reachable state is also one in which what is still to come never comes), and a message needs no
//! place in the state: it is there as soon as its sender has sent it. Everybody sees every message,
//! the arbitrary ones with them. Arbitrary witnesses vote for every block or withhold their votes, as
//! suits the attack; the equivocator's blocks are all signed at the beginning.
//!
//! What a node does is the product's code (`pool.rs`).

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property, Representative};

use super::pool::{
    BlockId, EQUIVOCATOR, HONEST, LedgerId, Mask, Mutant, NONE, Pool, SEQS, WITNESSES, bits,
};

/// A witness that keeps the rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Witness {
    ledger: LedgerId,
    /// Its durable log: the last vote of each account.
    last: [BlockId; 2],
    /// Every vote that it ever sent.
    cast: Mask,
}

/// The owner that keeps the rules: it signs one block after another and never a second at one seq.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Owner {
    ledger: LedgerId,
    signed: [BlockId; SEQS],
}

/// The whole pool. Fields of witnesses that are not honest stay as they were at the beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct State {
    witnesses: [Witness; WITNESSES],
    owner: Owner,
    /// Blocks whose votes are enough for a certificate.
    certified: Mask,
    /// Restarts that are still to come at most.
    restarts: u8,
}

impl Representative for State {
    /// Honest witnesses differ in nothing but their names.
    fn representative(&self) -> State {
        let mut state = *self;
        state.witnesses.sort_unstable();
        state
    }
}

/// A step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// A proposal reaches a witness that votes for it.
    Vote(usize, BlockId),
    /// A certificate reaches a witness.
    Certified(usize, BlockId),
    /// The proof of the two rival blocks reaches a witness.
    Proof(usize),
    /// Forged proofs against the honest owner reach a witness.
    Frame(usize, BlockId),
    /// A witness crashes and starts with its durable log and the ledger of the beginning.
    Restart(usize),
    /// The honest owner signs its next block.
    Sign,
    /// A certificate reaches the honest owner.
    Learn(BlockId),
}

/// How much of a pool to model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Arbitrary ones among the four witnesses; more than one is beyond what four tolerate.
    pub(crate) arbitrary: usize,
    /// What the honest owner signs at most, one seq after another; the equivocator has two seqs.
    pub(crate) honest_blocks: usize,
    /// Restarts of honest witnesses that lose their ledgers.
    pub(crate) restarts: u8,
}

/// The whole model, for nightly runs: some minutes.
pub(crate) const FULL: Size = Size { arbitrary: 1, honest_blocks: SEQS, restarts: 1 };
/// A part of it, for every change: seconds.
pub(crate) const SMALL: Size = Size { arbitrary: 1, honest_blocks: 1, restarts: 0 };

/// The model of a pool.
pub(crate) struct Votes {
    pool: Pool,
    size: Size,
}

impl Votes {
    pub(crate) fn new(size: Size, mutant: Mutant) -> Votes {
        Votes { pool: Pool::new(size.arbitrary, mutant), size }
    }

    fn voters(&self, state: &State, block: BlockId) -> Mask {
        let cast = |witness: &usize| state.witnesses[*witness].cast & (1 << block) != 0;
        let honest: Mask = (0..self.pool.honest()).filter(cast).map(|witness| 1 << witness).sum();
        honest | self.pool.arbitrary()
    }

    /// Blocks that are signed: somebody may propose them.
    fn signed(&self, state: &State) -> Mask {
        let own = state.owner.signed.iter().filter(|block| **block != NONE);
        own.map(|block| 1 << block).sum::<Mask>() | self.equivocations()
    }

    fn equivocations(&self) -> Mask {
        self.pool.equivocations()
    }

    /// The honest owner's block that is signed and not certified.
    fn pending(&self, state: &State) -> Option<BlockId> {
        let signed = state.owner.signed.iter().filter(|block| **block != NONE);
        signed.copied().find(|block| state.certified & (1 << block) == 0)
    }

    /// At most one certificate for each account and seq.
    fn unique(&self, state: &State) -> bool {
        let mut places: Vec<_> = bits(state.certified).map(|b| self.pool.place(b)).collect();
        places.sort_unstable();
        places.windows(2).all(|pair| pair[0] != pair[1])
    }

    fn ledgers<'a>(&'a self, state: &'a State) -> impl Iterator<Item = LedgerId> + 'a {
        let honest = state.witnesses[..self.pool.honest()].iter();
        honest.map(|witness| witness.ledger).chain([state.owner.ledger])
    }

    /// Every honest witness can take all certificates there are, and with them it votes for the block
    /// that the honest owner waits for: whatever happened, one more round completes it.
    fn completes(&self, state: &State) -> bool {
        (0..self.pool.honest()).all(|index| {
            let witness = state.witnesses[index];
            let Some(ledger) = self.pool.merge(witness.ledger, state.certified) else {
                return false;
            };
            let Some(block) = self.pending(state) else { return true };
            let voted = witness.cast & (1 << block) != 0;
            voted || self.pool.votes(index, ledger, witness.last, block)
        })
    }
}

impl Model for Votes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let ledger = self.pool.start_id();
        let witness = Witness { ledger, last: [NONE; 2], cast: 0 };
        let owner = Owner { ledger, signed: [NONE; SEQS] };
        vec![State {
            witnesses: [witness; WITNESSES],
            owner,
            certified: 0,
            restarts: self.size.restarts,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let signed = self.signed(state);
        for (index, witness) in state.witnesses[..self.pool.honest()].iter().enumerate() {
            actions.extend(bits(signed & !witness.cast).map(|block| Action::Vote(index, block)));
            let view = self.pool.view(witness.ledger);
            let news = state.certified & !view.certified;
            actions.extend(bits(news).map(|block| Action::Certified(index, block)));
            if !view.frozen[EQUIVOCATOR] {
                actions.push(Action::Proof(index));
            }
            if !view.frozen[HONEST] {
                let own = state.owner.signed.iter().filter(|block| **block != NONE);
                actions.extend(own.map(|block| Action::Frame(index, *block)));
            }
            if state.restarts > 0 && witness.ledger != self.pool.start_id() {
                actions.push(Action::Restart(index));
            }
        }
        actions.push(Action::Sign);
        let news = state.certified & !self.pool.view(state.owner.ledger).certified;
        actions.extend(bits(news).map(Action::Learn));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Vote(index, block) => {
                let witness = &mut state.witnesses[index];
                if !self.pool.votes(index, witness.ledger, witness.last, block) {
                    return None;
                }
                witness.last[self.pool.place(block).0] = block;
                witness.cast |= 1 << block;
                if self.pool.certifies(block, self.voters(&state, block)) {
                    state.certified |= 1 << block;
                }
            }
            Action::Certified(index, block) => {
                let voters = self.voters(&state, block);
                let ledger = &mut state.witnesses[index].ledger;
                *ledger = self.pool.apply(*ledger, block, voters);
            }
            Action::Proof(index) => {
                let ledger = &mut state.witnesses[index].ledger;
                *ledger = self.pool.prove(*ledger);
            }
            Action::Frame(index, block) => {
                let ledger = &mut state.witnesses[index].ledger;
                *ledger = self.pool.frame(*ledger, block);
            }
            Action::Restart(index) => {
                state.restarts -= 1;
                state.witnesses[index].ledger = self.pool.start_id();
                if self.pool.mutant() == Mutant::ForgetfulLog {
                    state.witnesses[index].last = [NONE; 2];
                }
            }
            Action::Sign => {
                let count = state.owner.signed.iter().filter(|block| **block != NONE).count();
                let held = self.pool.view(state.owner.ledger).certified;
                let waits = state.owner.signed[..count].iter().any(|b| held & (1 << b) == 0);
                if waits || count == self.size.honest_blocks {
                    return None;
                }
                state.owner.signed[count] = self.pool.next(state.owner.ledger)?;
            }
            Action::Learn(block) => {
                let voters = self.voters(&state, block);
                state.owner.ledger = self.pool.apply(state.owner.ledger, block, voters);
            }
        }
        (state != *before).then_some(state)
    }

    fn format_action(&self, action: &Action) -> String {
        let name = |block: &BlockId| self.pool.name(*block);
        match action {
            Action::Vote(witness, block) => format!("witness {witness} votes: {}", name(block)),
            Action::Certified(witness, block) => {
                format!("witness {witness} gets the certificate: {}", name(block))
            }
            Action::Proof(witness) => format!("witness {witness} gets the proof"),
            Action::Frame(witness, block) => {
                format!("witness {witness} gets a forged proof against: {}", name(block))
            }
            Action::Restart(witness) => format!("witness {witness} restarts"),
            Action::Sign => "the honest owner signs".to_owned(),
            Action::Learn(block) => {
                format!("the honest owner gets the certificate: {}", name(block))
            }
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(UNIQUE, |model: &Votes, state: &State| model.unique(state)),
            Property::always("no ledger sees a conflict", |model: &Votes, state: &State| {
                model.ledgers(state).all(|ledger| !model.pool.view(ledger).conflict)
            }),
            Property::always(UNFROZEN, |model: &Votes, state: &State| {
                model.ledgers(state).all(|ledger| !model.pool.view(ledger).frozen[HONEST])
            }),
            Property::always(
                "credits are conserved and no balance is negative",
                |model: &Votes, state: &State| {
                    model.ledgers(state).all(|ledger| model.pool.view(ledger).sound)
                },
            ),
            Property::always(
                "certificates merge to one state in every order",
                |model: &Votes, state: &State| model.pool.orderless(state.certified),
            ),
            Property::always(
                "one more round completes what the honest owner waits for",
                |model: &Votes, state: &State| model.completes(state),
            ),
            Property::sometimes(PAID, |model: &Votes, state: &State| {
                let own = &state.owner.signed[..model.size.honest_blocks];
                own.iter().all(|block| *block != NONE && state.certified & (1 << block) != 0)
            }),
            Property::sometimes(
                "both places of the equivocator are certified",
                |model: &Votes, state: &State| {
                    (state.certified & model.equivocations()).count_ones() == SEQS as u32
                },
            ),
            Property::sometimes(
                "rivals split the votes, the owner is caught, the honest one paid",
                |model: &Votes, state: &State| {
                    let its = model.equivocations();
                    let cast = state.witnesses[..model.pool.honest()]
                        .iter()
                        .fold(0, |all, witness| all | (witness.cast & its));
                    let caught = |ledger| model.pool.view(ledger).frozen[EQUIVOCATOR];
                    let honest = &state.witnesses[..model.pool.honest()];
                    cast.count_ones() > 1
                        && state.certified & its == 0
                        && honest.iter().all(|witness| caught(witness.ledger))
                        && state.certified & !its != 0
                },
            ),
        ]
    }
}

/// What two quorums that share an honest witness are for.
pub(crate) const UNIQUE: &str = "at most one certificate for each account and seq";
/// What signatures on blocks are for.
pub(crate) const UNFROZEN: &str = "an honest owner's account is never frozen";
const PAID: &str = "all payments of the honest owner are certified";

/// What the checker found.
pub(crate) struct Report {
    /// Different states, up to the names of honest witnesses.
    pub(crate) states: usize,
    /// States on the longest path that was walked.
    pub(crate) depth: usize,
    pub(crate) seconds: f64,
    /// Properties that were broken, each with the steps to where.
    pub(crate) broken: Vec<(&'static str, Vec<String>)>,
    /// Things that should happen and never do.
    pub(crate) unreached: Vec<&'static str>,
}

/// Visits every state of the model, up to the names of honest witnesses, or stops at the first one
/// that breaks a property.
pub(crate) fn visit(model: Votes) -> Report {
    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = model.checker().symmetry().threads(cores);
    let checker = builder.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    report(&checker, started)
}

/// Looks for a short way to break one property.
pub(crate) fn search(model: Votes, property: &'static str) -> Report {
    let started = Instant::now();
    let builder = model.checker();
    let only = HasDiscoveries::AnyOf([property].into());
    report(&builder.finish_when(only).spawn_bfs().join(), started)
}

fn report(checker: &impl Checker<Votes>, started: Instant) -> Report {
    let (model, found) = (checker.model(), checker.discoveries());
    let (mut broken, mut unreached) = (Vec::new(), Vec::new());
    for property in model.properties() {
        let fails = property.expectation.discovery_is_failure();
        match found.get(property.name) {
            Some(path) if fails => {
                let steps = path.clone().into_actions();
                let steps = steps.iter().map(|action| model.format_action(action)).collect();
                broken.push((property.name, steps));
            }
            None if !fails => unreached.push(property.name),
            _ => {}
        }
    }
    Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: started.elapsed().as_secs_f64(),
        broken,
        unreached,
    }
}
