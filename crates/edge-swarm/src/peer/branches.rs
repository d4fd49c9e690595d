//! Invitations: how many a member may sign, who answers for whom, and whose words are one.
//!
//! Every member but the founder was invited by another, so members form a tree. Identities cost
//! nothing, and nobody can tell whether two of them are one person; but whoever made them up hangs them
//! all below itself. So what is below one child of a node's own path to the founder is one *voice*
//! for that node: it confirms nothing to itself, and it is given work and copies as one member
//! would be. The founder may invite whom it likes; others a few, and more with stake
//! for each. A proven fault costs the inviter, too. See docs/adr/0018.
//!
//! The idea that weight belongs to branches and not to leaves is that of sybil defences on social graphs
//! (Yu, Kaminsky, Gibbons and Flaxman, "SybilGuard", 2006): attackers make up nodes, but not edges to the
//! honest. A tree of invitations is the graph with the fewest edges; here it is signed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_base::{Credits, NodeId, Signed, TaskKind};
use edge_ledger::OffenceKind;

use super::{Peer, membership::MEMBERS_MAX};
use crate::message::{Gossip, Membership};

/// Whom a member may invite that the founder invited itself, with nothing at stake.
pub(super) const FREE_INVITES: usize = 4;
/// What must be at stake for each further invitation: one rUv.
pub(crate) const INVITE_STAKE: Credits = Credits::from_micro(1_000_000);
/// What a proven lie of somebody invited costs who invited it, in such units: those without stake are
/// answered for by the others.
const LIABILITY: u64 = 4;
/// Statements about identities beyond what their inviter may invite that are remembered, of one inviter
/// and of all: they make nobody a member, but their inviter answers for them all the same.
const SURPLUS_OF_ONE_MAX: usize = 64;
const SURPLUS_MAX: usize = 4_096;
/// The longest way to the founder.
pub(super) const DEPTH_MAX: usize = 32;

/// Who invited whom.
#[derive(Debug, Default)]
pub(super) struct Branches {
    inviters: BTreeMap<NodeId, NodeId>,
    /// How many each invited.
    invited: BTreeMap<NodeId, usize>,
    /// Invited nodes that faults name, by who invited them.
    blamed: BTreeMap<NodeId, u64>,
    /// Statements about no members, unverified, by who made them; the newest stay.
    surplus: BTreeMap<NodeId, VecDeque<Signed<Membership>>>,
}

impl Branches {
    /// A member was learnt.
    pub(super) fn insert(&mut self, node: NodeId, inviter: NodeId) {
        if self.inviters.insert(node, inviter).is_none() {
            *self.invited.entry(inviter).or_default() += 1;
        }
    }

    /// What grows here, with its bounds.
    pub(super) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        let surplus = self.surplus.values().map(VecDeque::len);
        add("surplus invitations", surplus.sum(), SURPLUS_MAX + SURPLUS_OF_ONE_MAX);
    }

    fn surplus_of(&self, node: &NodeId) -> Option<&Signed<Membership>> {
        self.surplus.values().flatten().find(|signed| signed.body.node == *node)
    }

    /// Remembers a statement that makes nobody a member.
    pub(super) fn remember_surplus(&mut self, signed: Signed<Membership>) {
        let total: usize = self.surplus.values().map(VecDeque::len).sum();
        let of_one = self.surplus.entry(signed.signer).or_default();
        if of_one.iter().any(|known| known.body.node == signed.body.node) {
            return;
        }
        of_one.push_back(signed);
        if of_one.len() > SURPLUS_OF_ONE_MAX || total >= SURPLUS_MAX {
            of_one.pop_front();
        }
    }

    /// Who invited a node; nobody the founder.
    pub(super) fn inviter(&self, node: &NodeId) -> Option<NodeId> {
        self.inviters.get(node).copied()
    }
}

impl Peer {
    /// The first of a node's group: the nodes of one owner are one.
    pub(super) fn leader(&self, node: &NodeId) -> NodeId {
        if *node == self.me {
            return self.members.own_group().unwrap_or(self.me);
        }
        // Nobody can tell when a revoked key said whose a node is.
        if self.members.is_of_revoked(node) {
            return *node;
        }
        let root = self.members.root(node);
        self.members.get(&root).map_or(*node, |member| member.group)
    }

    pub(super) fn inviter_of(&self, node: &NodeId) -> Option<NodeId> {
        if *node == self.me {
            return self.members.own_inviter();
        }
        self.members.branches.inviter(&self.members.root(node))
    }

    pub(super) fn is_founders(&self, node: &NodeId) -> bool {
        let founder = self.members.founder();
        founder.is_some() && (founder == Some(*node) || founder == Some(self.leader(node)))
    }

    /// How many steps a node is from the founder's owner; `None` if it hangs on nobody known.
    pub(super) fn depth_of(&self, node: &NodeId) -> Option<usize> {
        let mut at = *node;
        for depth in 0..=DEPTH_MAX {
            if self.is_founders(&at) {
                return Some(depth);
            }
            at = self.inviter_of(&at)?;
        }
        None
    }

    /// How many a member may have invited, all together.
    pub(super) fn invites_of(&self, inviter: &NodeId) -> usize {
        if self.is_founders(inviter) || !self.settings.weighs_branches {
            return usize::MAX;
        }
        let kin = self.members.kin(inviter);
        let blamed =
            kin.iter().filter_map(|node| self.members.branches.blamed.get(node)).sum::<u64>();
        let owed = blamed.saturating_mul(LIABILITY);
        let near = self.inviter_of(inviter).is_some_and(|by| self.is_founders(&by));
        let free = if near && blamed == 0 { FREE_INVITES } else { 0 };
        let holder = self.members.successions.newest(inviter);
        let staked = self.stake_of(&holder).micro() / INVITE_STAKE.micro();
        free.saturating_add(usize::try_from(staked.saturating_sub(owed)).unwrap_or(usize::MAX))
    }

    /// How many more a member may invite.
    pub(super) fn invites_left(&self, inviter: &NodeId) -> usize {
        let kin = self.members.kin(inviter);
        let invited = kin.iter().filter_map(|node| self.members.branches.invited.get(node)).sum();
        self.invites_of(inviter).saturating_sub(invited)
    }

    /// Whether one more that a member invited is taken.
    pub(super) fn may_invite(&self, inviter: &NodeId) -> bool {
        let deep = self.depth_of(inviter).is_none_or(|depth| depth >= DEPTH_MAX);
        !self.settings.weighs_branches || (!deep && self.invites_left(inviter) > 0)
    }

    /// This node, who invited it, and so on up to the founder, each with the first of its group.
    fn own_path(&self) -> BTreeSet<NodeId> {
        let mut path = BTreeSet::from([self.me, self.leader(&self.me)]);
        path.extend(self.members.founder());
        let mut at = self.leader(&self.me);
        for _ in 0..=DEPTH_MAX {
            let Some(by) = self.inviter_of(&at) else { break };
            path.insert(by);
            at = self.leader(&by);
            path.insert(at);
        }
        path
    }

    fn voice_beside(&self, path: &BTreeSet<NodeId>, node: &NodeId) -> NodeId {
        // Who owns nodes did not make them up.
        if !self.settings.weighs_branches || self.members.is_trusted(node) {
            return *node;
        }
        let mut at = self.leader(node);
        for _ in 0..=DEPTH_MAX {
            if path.contains(&at) {
                return at;
            }
            let Some(by) = self.inviter_of(&at) else { return at };
            let by = self.leader(&by);
            if path.contains(&by) {
                return at;
            }
            at = by;
        }
        at
    }

    /// The voice of a member.
    pub(super) fn voice(&self, node: &NodeId) -> NodeId {
        self.voice_beside(&self.own_path(), node)
    }

    /// The voices of some members.
    pub(super) fn voices<'a>(&self, nodes: impl Iterator<Item = &'a NodeId>) -> BTreeSet<NodeId> {
        let path = self.own_path();
        nodes.map(|node| self.voice_beside(&path, node)).collect()
    }

    /// The best credibility of each voice among workers that gave the same result.
    pub(super) fn credibilities(&self, workers: &[NodeId], kind: TaskKind) -> Vec<f64> {
        let path = self.own_path();
        let mut voices: BTreeMap<NodeId, f64> = BTreeMap::new();
        for worker in workers {
            let checked = self.members.checked_of(worker, kind);
            let credibility = self.settings.assumption.credibility(checked);
            let voice = voices.entry(self.voice_beside(&path, worker)).or_insert(0.0);
            *voice = voice.max(credibility);
        }
        voices.into_values().collect()
    }

    /// The turn in which each of these nodes is asked, and its voice: of each voice one at a time, in the
    /// given order, beginning with those that have no part yet.
    pub(super) fn turns(
        &self,
        nodes: &[NodeId],
        parts: impl Iterator<Item = NodeId>,
    ) -> BTreeMap<NodeId, (u64, NodeId)> {
        let path = self.own_path();
        let mut taken: BTreeMap<NodeId, u64> = BTreeMap::new();
        for part in parts {
            *taken.entry(self.voice_beside(&path, &part)).or_default() += 1;
        }
        let turn = |node: &NodeId| {
            let voice = self.voice_beside(&path, node);
            let place = taken.entry(voice).or_default();
            let turn = *place;
            *place += 1;
            (*node, (turn, voice))
        };
        nodes.iter().map(turn).collect()
    }

    /// Whether somebody answers for a node: itself as a member, or who invited it beyond what it may.
    pub(super) fn is_answered_for(&mut self, node: &NodeId) -> bool {
        if self.members.is_member(node) {
            return true;
        }
        let Some(signed) = self.members.branches.surplus_of(node).cloned() else { return false };
        let holds = self.members.is_member(&signed.signer)
            && signed.open(&mut self.verifier, &self.pool).is_ok();
        if holds && self.members.branches.inviters.len() < MEMBERS_MAX + SURPLUS_MAX {
            self.members.branches.inviters.insert(*node, signed.signer);
        }
        holds
    }

    /// Says again who invited a liar, before it is accused: not everybody need have heard of it.
    pub(super) fn tell_inviter_of(&mut self, liar: &NodeId) {
        let root = self.members.root(liar);
        let Some(inviter) = self.members.branches.inviter(&root) else { return };
        if !self.is_founders(&inviter)
            && let Some(record) = self.member_record(&root)
        {
            self.publish(&Gossip::Member(record));
        }
    }

    /// Who invited a liar answers for it: it has to prove itself again, invites fewer, and
    /// loses its stake once what it answers for is worth as much.
    pub(super) fn blame_inviter(&mut self, liar: &NodeId) {
        let root = self.members.root(liar);
        let Some(inviter) = self.members.branches.inviter(&root) else { return };
        // Who took the place of an inviter answers for whom that one invited.
        let answers = self.members.successions.newest(&inviter);
        if answers == self.me || self.is_founders(&inviter) || !self.settings.weighs_branches {
            return;
        }
        let blamed = self.members.branches.blamed.entry(inviter).or_default();
        *blamed += 1;
        let kin = self.members.kin(&inviter);
        let blamed =
            kin.iter().filter_map(|node| self.members.branches.blamed.get(node)).sum::<u64>();
        let owed = INVITE_STAKE.micro().saturating_mul(blamed.saturating_mul(LIABILITY));
        self.members.unprove(&answers);
        self.store_reputation(&answers);
        let staked = self.stake_of(&answers).micro();
        if staked > 0 && owed >= staked {
            for account in self.accounts_of(&answers) {
                self.offended(account, OffenceKind::Invitation, true);
            }
        }
    }

    /// Blames again those whose invitations are named by stored faults.
    pub(super) fn restore_blame(&mut self) {
        let named: Vec<NodeId> = self.faults.named().copied().collect();
        for liar in named {
            self.blame_inviter(&liar);
        }
    }
}
