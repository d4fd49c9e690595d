//! Commands that read, and the orderly end.

use std::collections::BTreeSet;

use edge_base::{Credits, Micros, NodeId};
use edge_ledger::Ledger;

use super::{
    Peer, Timer,
    collections::NOT_A_MEMBER,
    payments::{FROZEN, Place},
};
use crate::{
    command::{Answer, BalanceView, BannedView, Command, Refusal, SecurityView, StatusView},
    io::CallId,
};

/// A drain that takes longer than this answers with what is left undone.
const DRAIN_MAX: Micros = Micros::from_secs(10);
/// What the owner of a revoked key has to know.
const REVOKED: &str = "this node's key was revoked: nobody hears it any more, and what it signs is void. \
                       Join again with a new key: an empty `--data-dir` and a ticket of a member";

/// The same of one that gave its place up.
const GAVE_UP: &str = "this node's key gave its place to another: nobody hears it any more. If you replaced it, stop \
    this node and start it again, and it goes on under the new key, unless its data folder is an older copy that does not \
    have that key: put a newer one in its place; if you did not, it was stolen: hand in its revocation at another node (`edge-net identity revoke`), which \
    voids that";
/// And of one whose place was voided.
const VOID: &str = "the key that this node's took the place of was revoked, or named another heir, too: this node is \
    no member any more. Its credits stay its own: export its identity, import it into an empty \
    `--data-dir`, and join with a ticket of a member";

/// Whether a command comes to something that others have to believe this node.
fn signs(command: &Command) -> bool {
    match command {
        Command::Submit(_)
        | Command::CreateCollection { .. }
        | Command::DropCollection { .. }
        | Command::Append { .. }
        | Command::Invite { .. }
        | Command::WantParameter { .. }
        | Command::Handover { .. }
        | Command::Send { .. }
        | Command::AfterPending(_)
        | Command::Stake { .. }
        | Command::Unstake { .. }
        | Command::Rotate { .. }
        | Command::Settle => true,
        // Own copies are read, and the node is taken down, all the same.
        Command::Status
        | Command::CancelTask(_)
        | Command::ListTasks { .. }
        | Command::ExplainTask(_)
        | Command::ListCollections
        | Command::Known { .. }
        | Command::Search { .. }
        | Command::ListPeers
        | Command::Ban { .. }
        | Command::Security
        | Command::Unban { .. }
        | Command::Revoke(_)
        | Command::Tickets
        | Command::WithdrawTicket { .. }
        | Command::Guard(_)
        | Command::Work { .. }
        | Command::Offer { .. }
        | Command::Economy
        | Command::Fate { .. }
        | Command::Balance { .. }
        | Command::History { .. }
        | Command::VerifyLedger
        | Command::Checkpoint
        | Command::Proof { .. }
        | Command::Parameters
        | Command::Drain => false,
    }
}

/// Accounts that offences cost something, or will as soon as a checkpoint charges them.
fn slashed(ledger: &Ledger) -> usize {
    let charged = ledger.accounts().filter(|(_, view)| view.penalty > Credits::ZERO);
    let all: BTreeSet<NodeId> =
        ledger.slashed().chain(charged.map(|(account, _)| account)).collect();
    all.len()
}

impl Peer {
    pub(super) fn on_command(&mut self, call: CallId, command: Command) {
        if let Some(text) = self.is_over().filter(|_| signs(&command)) {
            return self.answer(call, Err(Refusal::Revoked(text.into())));
        }
        match command {
            Command::Status => {
                let answer = self.status().map(|s| Answer::Status(Box::new(s)));
                self.answer(call, answer);
            }
            Command::Submit(_) | Command::Search { .. } => self.ask_others(call, command),
            Command::CancelTask(task) => self.cancel_task(call, task),
            Command::ListTasks { limit } => {
                let views = self.task_views(limit);
                self.answer(call, Ok(Answer::Tasks(views)));
            }
            Command::ExplainTask(task) => {
                let own = self.tasks.all.get(&task).map(|t| self.task_view(&task, t));
                let found = own.or_else(|| self.search_views().find(|v| v.task == task));
                let missing = || {
                    let text =
                        format!("no task {} here; `edge-net task ls` lists them", task.short());
                    Refusal::NotFound(text)
                };
                let answer = found.map(|v| Answer::Explained(Box::new(v))).ok_or_else(missing);
                self.answer(call, answer);
            }
            Command::CreateCollection { name, layout } => {
                self.create_collection(call, name, layout);
            }
            Command::ListCollections => {
                let views = self.collection_views();
                let known = match views.is_empty() && !self.is_admitted() {
                    true => Err(Refusal::Refused(NOT_A_MEMBER.into())),
                    false => Ok(Answer::Collections(views)),
                };
                self.answer(call, known);
            }
            Command::DropCollection { name } => self.drop_collection(call, &name),
            Command::Append { collection, changes, units } => {
                self.append(call, collection, changes, units);
            }
            Command::Known { collection, ids, pending } => {
                self.known_records(call, collection, ids, pending);
            }
            Command::ListPeers => {
                let views = self.peer_views();
                self.answer(call, Ok(Answer::Peers(views)));
            }
            Command::Security => {
                let answer = Answer::Security(Box::new(self.security()));
                self.answer(call, Ok(answer));
            }
            Command::Ban { node, lasts } => self.ban_by_hand(call, node, lasts),
            Command::Unban { node } => self.unban_by_hand(call, node),
            Command::Revoke(signed) => self.revoke_by_hand(call, *signed),
            Command::Rotate { heir } => self.rotate(call, &heir),
            Command::Invite { owner, credits } => self.invite(call, owner, credits),
            Command::Tickets => {
                let views = self.ticket_views();
                self.answer(call, Ok(Answer::Tickets(views)));
            }
            Command::WithdrawTicket { ticket } => self.withdraw_ticket(call, &ticket),
            Command::Guard(guarded) => {
                self.settings.guarded = guarded;
                self.answer(call, Ok(Answer::Done));
            }
            Command::Send { to, amount } => self.send_credits(call, to, amount, Place::Alone),
            Command::AfterPending(command) => self.after_pending(call, *command),
            Command::Fate { block } => {
                let answer = self.fate(block);
                self.answer(call, answer);
            }
            Command::Balance { account } => {
                let answer = self.balance_view(account).map(Answer::Balance);
                self.answer(call, answer);
            }
            Command::History { account, limit } => {
                let answer = self.history_view(account, limit).map(Answer::History);
                self.answer(call, answer);
            }
            Command::VerifyLedger => {
                let answer = self.ledger_view().map(Answer::Ledger);
                self.answer(call, answer);
            }
            Command::Checkpoint => {
                let answer = self.checkpoint_view().map(|v| Answer::Checkpoint(Box::new(v)));
                self.answer(call, answer);
            }
            Command::Proof { account } => {
                let answer = self.proof_view(account).map(|v| Answer::Proof(Box::new(v)));
                self.answer(call, answer);
            }
            Command::Parameters => {
                let answer = self.parameter_views().map(Answer::Parameters);
                self.answer(call, answer);
            }
            Command::WantParameter { name, value } => self.want_parameter(call, &name, value),
            Command::Handover { witnesses } => self.hand_over(call, witnesses),
            Command::Stake { amount } => self.stake(call, amount, Place::Alone),
            Command::Unstake { amount } => self.unstake(call, amount, Place::Alone),
            Command::Settle => self.settle_now(call),
            Command::Work { others } => {
                self.work_for_others(others);
                self.answer(call, Ok(Answer::Done));
            }
            Command::Offer { cpu_milli } => {
                self.offer(cpu_milli);
                self.answer(call, Ok(Answer::Done));
            }
            Command::Economy => {
                let answer = self.economy_view().map(|view| Answer::Economy(Box::new(view)));
                self.answer(call, answer);
            }
            Command::Drain => self.drain(call),
        }
    }

    fn security(&self) -> SecurityView {
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        let others = || {
            let members = set.iter().flat_map(|set| set.members.iter().copied());
            members.filter(|witness| *witness != self.me)
        };
        let lost = |w: &NodeId| self.faults.names(w) || self.members.is_dead(w);
        let witnesses_lost = others().filter(lost).collect();
        let banned_here = |w: &NodeId| self.standing.is_banned(w, self.now);
        let witnesses_banned = others().filter(banned_here).collect();
        let banned = self.standing.banned(self.now).map(|(node, left, last)| {
            let reason = last.text().to_owned();
            BannedView { node, left, reason }
        });
        let (open_tickets, promised) = self.open_tickets();
        let counters = self.counters;
        SecurityView {
            limits: self.settings.limits,
            open_tickets,
            promised,
            malformed: counters.inputs_malformed,
            limited: counters.inputs_limited,
            refused: counters.inputs_refused,
            bad_signatures: counters.signatures_refused,
            gossip_rejected: counters.gossip_rejected,
            gossip_ignored: counters.gossip_ignored,
            results_rejected: counters.results_rejected,
            faults: counters.faults_verified,
            accusations_refuted: counters.faults_refuted,
            joins_refused: counters.joins_refused,
            equivocations: self.equivocations.frozen().count(),
            private_refused: counters.private_refused,
            sessions: counters.sessions_agreed,
            private_messages: counters.private_sent + counters.private_received,
            bans: counters.bans,
            banned: banned.collect(),
            named: self.faults.named().count(),
            slashed: self.bank.as_ref().map_or(0, |bank| slashed(&bank.ledger)),
            own_executions: counters.own_executions,
            witness: set.is_some_and(|set| set.contains(&self.me)),
            may_vote: self.may_vote,
            witnesses_reachable: self.witnesses_reachable(),
            witnesses_voting: self.witnesses_voting(),
            quorum: set.map_or(0, |set| set.quorum()),
            witnesses_lost,
            witnesses_banned,
            revoked: self.members.revoked.nodes().count(),
            self_revoked: self.is_over().is_some(),
            founder: self.members.founder() == Some(self.me),
        }
    }

    /// Why this node's own key is believed no more, if it is not.
    fn is_over(&self) -> Option<&'static str> {
        let void = self.members.root(&self.me) != self.me && !self.is_admitted();
        match () {
            () if self.members.revoked.contains(&self.me) => Some(REVOKED),
            () if self.gave_up() => Some(GAVE_UP),
            () if void => Some(VOID),
            () => None,
        }
    }

    fn status(&self) -> Result<StatusView, Refusal> {
        let balance = match self.balance_view(None) {
            Ok(view) => view,
            Err(_) => BalanceView {
                account: self.me,
                balance: edge_base::Credits::ZERO,
                incoming: edge_base::Credits::ZERO,
                escrowed: edge_base::Credits::ZERO,
                staked: edge_base::Credits::ZERO,
                leaving: edge_base::Credits::ZERO,
                withdrawals: Vec::new(),
                vouchers: edge_base::Credits::ZERO,
                seq: 0,
                frozen: false,
                slashed: false,
                penalty: edge_base::Credits::ZERO,
                vesting: edge_base::Credits::ZERO,
                pending: None,
            },
        };
        let views = self.peer_views();
        let (witnesses, quorum) = self.bank.as_ref().map_or((0, 0), |bank| {
            let set = bank.ledger.witness_set();
            (set.members.len(), set.quorum())
        });
        let (certificates, certificates_dropped) = self
            .bank
            .as_ref()
            .map_or((0, 0), |bank| (bank.ledger.certificate_count(), bank.ledger.dropped()));
        let witnesses_reachable = self.witnesses_reachable();
        let witnesses_voting = self.witnesses_voting();
        let faulty = self.faults.named().copied().collect();
        Ok(StatusView {
            node: self.me,
            pool: self.pool,
            founder: self.members.founder(),
            members: self.members.living() + 1,
            connected: views.iter().filter(|v| v.connected).count(),
            witnesses,
            witnesses_reachable,
            witnesses_voting,
            quorum,
            revoked: self.is_over().is_some(),
            unresponsive: self.answers.unresponsive(),
            working: self.jobs.load() as usize,
            own_tasks: self.tasks.undecided + self.searches.len(),
            tasks_verified: self.counters.tasks_verified,
            tasks_failed: self.counters.tasks_failed,
            results_rejected: self.counters.results_rejected,
            own_executions: self.counters.own_executions,
            executed_for_others: self.counters.executed_for_others,
            faulty,
            isolated: self.isolated.clone(),
            certificates,
            certificates_dropped,
            notes: self.notes(&balance, witnesses, quorum),
            balance,
        })
    }

    /// What a person should know: what is tight or wrong, and what to do.
    fn notes(&self, balance: &BalanceView, witnesses: usize, quorum: usize) -> Vec<String> {
        let (reachable, voting) = (self.witnesses_reachable(), self.witnesses_voting());
        let mut notes = Vec::new();
        if self.bank.is_none() {
            notes.push(match &self.members.refused {
                Some(reason) => format!(
                    "not a member: the node that wrote the ticket refuses it: {reason}. Start again \
                     with `--join` and a new ticket"
                ),
                None => "not a member yet: waiting for the node that wrote the ticket".into(),
            });
            return notes;
        }
        if self.members.is_empty() {
            notes.push(
                "no other member yet: results are self-checked; invite one with `edge-net identity \
                 invite`"
                    .into(),
            );
        }
        if witnesses > 1 && reachable < quorum {
            notes.push(format!(
                "only {reachable} of {witnesses} witnesses can be reached and {quorum} are needed: \
                 payments wait"
            ));
        } else if witnesses > 1 && voting < quorum {
            notes.push(format!(
                "only {voting} of {witnesses} witnesses vote and {quorum} are needed: payments wait. \
                 {reachable} can be reached; the others are revoked, banned here, do not answer, or \
                 may not vote because their data were copied or restored"
            ));
        } else if witnesses > 1 && voting == quorum {
            notes.push(format!("no slack: {voting} of {witnesses} witnesses are the quorum"));
        }
        let silent: Vec<String> =
            self.answers.unresponsive().iter().map(edge_base::NodeId::short).collect();
        if !silent.is_empty() {
            notes.push(format!(
                "witnesses that are connected and do not answer when they are asked for votes: {}",
                silent.join(", ")
            ));
        }
        if let Some(why) = &self.isolated {
            notes.push(format!(
                "isolated: {why}; until then own tasks run on this node and nobody is worked for. \
                 Is the network there, and does `edge-net peer ls` show whom you know?"
            ));
        }
        notes.extend(self.is_over().map(String::from));
        notes.extend(self.own_heads_text());
        if balance.frozen {
            notes.push(FROZEN.into());
        } else {
            notes.extend(self.refused_block_text());
        }
        if let Some(text) = self.rotation_text() {
            notes.push(text);
        }
        if self.is_recovering() {
            notes.push(self.recovering_text());
        }
        notes.extend(self.name_clashes());
        if !self.may_vote {
            notes.push(
                "this node does not vote: its data folder was copied, restored or repaired".into(),
            );
        }
        let proven = self.members.iter().filter(|(n, _)| self.members.is_proven(n)).count();
        if self.members.len() >= 2 && proven < 3.min(self.members.len()) {
            notes.push(
                "replicas unproven: fewer than three members have ten checked results".into(),
            );
        }
        let poor = balance.balance.plus(balance.incoming).is_ok_and(|c| c.micro() == 0)
            && balance.escrowed.micro() == 0;
        if poor {
            notes.push(
                "no credits: own tasks run on this node; earn some by working for others (or join \
                 with a ticket that carries some: `edge-net identity invite --credits N`)"
                    .into(),
            );
        }
        for node in self.faults.named() {
            notes.push(format!("{} was named by a fault proof and gets no work", node.short()));
        }
        notes
    }

    // The orderly end.

    fn drain(&mut self, call: CallId) {
        if let Some(before) = self.draining.replace(call) {
            self.answer(before, Err(Refusal::Refused("another drain began".into())));
        }
        self.settle_for_drain();
        self.store_economy();
        self.store_bans();
        self.after(DRAIN_MAX, Timer::Drain);
        self.step_drain();
    }

    /// Answers a drain when nothing is under way any more.
    pub(super) fn step_drain(&mut self) {
        let Some(call) = self.draining else { return };
        let idle = self.tasks.undecided == 0 && self.searches.len() == 0 && self.jobs.load() == 0;
        if idle {
            self.settle_for_drain();
        }
        let busy = self.bank.as_ref().is_some_and(|b| b.is_busy());
        if idle && self.is_settled() && !busy {
            self.draining = None;
            self.answer(call, Ok(Answer::Done));
        }
    }

    pub(super) fn on_drain_timer(&mut self) {
        if let Some(call) = self.draining.take() {
            let text = "some work or payments are still under way; they go on at the next start";
            self.answer(call, Err(Refusal::TimedOut(text.into())));
        }
    }
}
