//! Owners that say two things about one position of a shard, members that say it of others who did not,
//! a faulty witness, and an honest owner whose disk was restored from an old copy.
//!
//! They sit at the boundary of the peer and speak with the keys of their nodes. One owner is silent about
//! its fork, one repairs it twice, one with a head whose root is false, one with the head of a log that
//! nobody has, which no evidence contradicts. The other attackers show contests that do not hold and sign ballots although nobody asked them. The faulty
//! witness tells each half of the others another verdict, and votes where it has no vote.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{CollectionId, Digest, Micros, NodeId, Rng, ShardId, Signed, codec};
use edge_coherence::{Ballot, Decision, Level, Verdict, evidence_root};
use edge_swarm::{
    Table,
    command::{CollectionView, Standing},
    contest::{Contest, HeadClaim, HeadPair, Repair},
    message::{
        CollectionSpec, FRAME_GOSSIP, Gossip, Message, ShardHead, decode_gossip, decode_message,
        encode_gossip, encode_message, shard_id,
    },
};

use crate::{node::Node, outcome::Counted, queue::Instant};

/// How long an owner can put a fork right in these runs.
pub(crate) const REPAIR: Micros = Micros::from_secs(10);
/// They act this often.
pub(crate) const ACT_EVERY: Micros = Micros::from_millis(500);
/// Owners fork after this ...
pub(crate) const FORK_AFTER: u64 = 14_000_000;
/// ... show the rest of it after this ...
const SHOW_AFTER: u64 = 3_000_000;
/// ... and are searched from then on.
pub(crate) const SEARCH_AFTER: u64 = 6_000_000;
/// The disk of an honest owner is restored after this.
pub(crate) const RESTORE_AFTER: u64 = 16_000_000;
/// Owners that fork.
pub(crate) const OWNERS: usize = 4;
/// False contests of one attacker in a turn.
const FALSE_EACH: usize = 2;

struct Fork {
    spec: Signed<CollectionSpec>,
    heads: [Signed<ShardHead>; 2],
}

impl Fork {
    fn contest(&self) -> Contest {
        let [first, second] = self.heads.clone();
        let pairs = vec![HeadPair::new(first, second)];
        Contest { spec: self.spec.clone(), index: 0, pairs, repairs: Vec::new(), decision: None }
    }
}

/// The attackers of a run, and who is restored.
pub(crate) struct Forkers {
    owners: Vec<u32>,
    noisy: Vec<u32>,
    pub(crate) restored: Option<u32>,
    helper: Option<u32>,
    honest: Vec<u32>,
    ids: Vec<NodeId>,
    pool: Digest,
    set_version: u64,
    rng: Rng,
    /// Whether the faulty witness passes on what it cannot tell.
    passes_on: bool,
    begins: Instant,
    over: bool,
    forks: BTreeMap<u32, Fork>,
    shown: BTreeSet<u32>,
    /// Contests that attackers heard of.
    heard: BTreeMap<ShardId, Contest>,
    /// When all honest nodes stood where they have to in the end.
    ended: Option<Instant>,
    /// How shards stood last, by who forked them or was restored.
    last: BTreeMap<u32, Standing>,
    /// What holders have of the shard whose owner is restored.
    pub(crate) restored_head: Option<Signed<ShardHead>>,
    /// Standings seen of forked and restored shards.
    stood: BTreeMap<&'static str, u64>,
    sends: Vec<(u32, u32, Vec<u8>)>,
    found: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

/// The collection that a node forks or has restored.
pub(crate) fn name_of(node: u32) -> String {
    format!("forked-{node}")
}

fn spec_of(node: &Node, name: &str) -> Option<Signed<CollectionSpec>> {
    let rows = node.disk.rows(Table::Shards);
    let specs = rows.into_iter().filter(|(key, _)| key.starts_with(b"c"));
    let mut specs =
        specs.filter_map(|(_, value)| codec::decode::<Signed<CollectionSpec>>(value).ok());
    specs.find(|spec| spec.signer == node.id && spec.body.name == name)
}

pub(crate) fn head_key(shard: &ShardId) -> Vec<u8> {
    [b"h".as_slice(), shard.as_bytes()].concat()
}

/// The newest head of the first shard of a collection that a node has stored.
pub(crate) fn head_of(node: &Node, name: &str) -> Option<Signed<ShardHead>> {
    let spec = spec_of(node, name)?;
    let shard = shard_id(&spec.body.id(&node.id), 0);
    codec::decode(&node.disk.read(Table::Shards, &head_key(&shard))?).ok()
}

fn claim(head: &Signed<ShardHead>) -> Digest {
    HeadClaim(&head.body).digest(&head.signer)
}

impl Forkers {
    pub(crate) fn new(
        (attackers, restored, helper): (&[u32], Option<u32>, Option<u32>),
        ids: &[NodeId],
        pool: Digest,
        set_version: u64,
        seed: u64,
    ) -> Forkers {
        let (owners, noisy) = attackers.split_at(OWNERS.min(attackers.len()));
        let honest = (0..ids.len() as u32).filter(|n| !attackers.contains(n));
        Forkers {
            owners: owners.to_vec(),
            noisy: noisy.to_vec(),
            restored,
            helper,
            honest: honest.filter(|n| Some(*n) != helper).collect(),
            ids: ids.to_vec(),
            pool,
            set_version,
            rng: Rng::derive(seed, "forkers"),
            passes_on: seed.is_multiple_of(2),
            begins: Instant::MAX,
            over: false,
            forks: BTreeMap::new(),
            shown: BTreeSet::new(),
            heard: BTreeMap::new(),
            ended: None,
            last: BTreeMap::new(),
            restored_head: None,
            stood: BTreeMap::new(),
            sends: Vec::new(),
            found: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Whoever makes a collection of its own to begin with.
    pub(crate) fn writers(&self) -> Vec<u32> {
        self.owners.iter().copied().chain(self.restored).collect()
    }

    pub(crate) fn owners(&self) -> &[u32] {
        &self.owners
    }

    pub(crate) fn honest(&self) -> &[u32] {
        &self.honest
    }

    pub(crate) fn begin(&mut self, at: Instant) {
        self.begins = at;
    }

    pub(crate) fn sends(&mut self) -> Vec<(u32, u32, Vec<u8>)> {
        std::mem::take(&mut self.sends)
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn find(&mut self, text: String) {
        if !self.found.contains(&text) {
            self.found.push(text);
        }
    }

    fn tell(&mut self, by: u32, to: &[u32], gossip: &Gossip) {
        let frame = encode_gossip(gossip);
        self.sends.extend(to.iter().map(|to| (by, *to, frame.clone())));
    }

    /// Nothing more is said.
    pub(crate) fn end(&mut self) {
        self.over = true;
    }

    /// What is due now.
    pub(crate) fn act(&mut self, now: Instant, nodes: &[Node]) {
        if self.over || now < self.begins {
            return;
        }
        for (n, owner) in self.owners.clone().into_iter().enumerate() {
            if !self.forks.contains_key(&owner) {
                self.fork(nodes, owner, n);
            } else if now >= self.begins + SHOW_AFTER && self.shown.insert(owner) {
                self.show_the_rest(nodes, owner, n);
            }
        }
        for by in self.noisy.clone() {
            for _ in 0..FALSE_EACH {
                self.accuse_falsely(nodes, by);
            }
            self.vote_unasked(nodes, by);
        }
        if let Some(helper) = self.helper {
            self.vote_unasked(nodes, helper);
        }
    }

    /// An owner signs two heads, and each half of the others hears one.
    fn fork(&mut self, nodes: &[Node], owner: u32, n: usize) {
        let node = &nodes[owner as usize];
        let name = name_of(owner);
        let (Some(spec), Some(head)) = (spec_of(node, &name), head_of(node, &name)) else { return };
        let other = |seq: u64, says: &str| {
            let place = (head.body.collection, seq, says);
            let (chain, root) =
                (Digest::of_value("chain", &place), Digest::of_value("root", &place));
            let body = ShardHead { seq, chain, root, renewed: 0, ..head.body.clone() };
            Signed::seal(body, &node.key, &self.pool)
        };
        let seq = head.body.seq;
        let heads = match n % OWNERS {
            // Beside the head that holders have executed: of the same log, or of another one.
            2 => {
                let root = Digest::of_value("false root", &head.body.root);
                let body = ShardHead { root, renewed: 0, ..head.body.clone() };
                [head.clone(), Signed::seal(body, &node.key, &self.pool)]
            }
            3 => [head.clone(), other(seq, "unknown")],
            _ => [other(seq + 1, "one"), other(seq + 1, "other")],
        };
        let mut halves = self.honest.clone();
        self.rng.shuffle(&mut halves);
        let (first, second) = halves.split_at(halves.len() / 2);
        let (first, second) = (first.to_vec(), second.to_vec());
        self.tell(owner, &first, &Gossip::Head(heads[0].clone()));
        self.tell(owner, &second, &Gossip::Head(heads[1].clone()));
        self.forks.insert(owner, Fork { spec, heads });
        self.count("forks");
    }

    /// Somebody hears the other half's head as well, and the owner says what it has to say.
    fn show_the_rest(&mut self, nodes: &[Node], owner: u32, n: usize) {
        let Some(fork) = self.forks.get(&owner) else { return };
        let (heads, mut contest) = (fork.heads.clone(), fork.contest());
        let to = [*self.rng.pick(&self.honest).unwrap_or(&0)];
        heads.iter().for_each(|head| self.tell(owner, &to, &Gossip::Head(head.clone())));
        let key = &nodes[owner as usize].key;
        let repair =
            |head: &Signed<ShardHead>| Signed::seal(Repair { kept: head.clone() }, key, &self.pool);
        contest.repairs = match n % OWNERS {
            0 => return,
            1 => heads.iter().map(repair).collect(),
            _ => vec![repair(&heads[1])],
        };
        let honest = self.honest.clone();
        self.tell(owner, &honest, &Gossip::Contest(Box::new(contest)));
    }

    /// A contest that does not hold, about a shard of somebody honest.
    fn accuse_falsely(&mut self, nodes: &[Node], by: u32) {
        let node = &nodes[by as usize];
        let rows = node.disk.rows(Table::Shards);
        let decode = |(key, value): &(&[u8], &[u8])| {
            let head: Signed<ShardHead> =
                codec::decode(value).ok().filter(|_| key.starts_with(b"h"))?;
            let owner = self.ids.iter().position(|id| *id == head.signer)? as u32;
            self.honest.contains(&owner).then_some(head)
        };
        let heads: Vec<Signed<ShardHead>> = rows.iter().filter_map(decode).collect();
        let Some(head) = self.rng.pick(&heads).cloned() else { return };
        let spec = |(key, value): &(&[u8], &[u8])| {
            let spec: Signed<CollectionSpec> =
                codec::decode(value).ok().filter(|_| key.starts_with(b"c"))?;
            (spec.body.id(&spec.signer) == head.body.collection).then_some(spec)
        };
        let Some(spec) = rows.iter().find_map(spec) else { return };
        let body = ShardHead { root: Digest::of(b"what it never said"), ..head.body.clone() };
        let forged = Signed { body: body.clone(), ..head.clone() };
        let own = Signed::seal(body, &node.key, &self.pool);
        let pair = |second: &Signed<ShardHead>| vec![HeadPair::new(head.clone(), second.clone())];
        let index = head.body.index;
        let contest = |pairs, index| Contest {
            spec: spec.clone(),
            index,
            pairs,
            repairs: vec![],
            decision: None,
        };
        let mut made = match self.rng.below(5) {
            0 => contest(pair(&own), index),
            1 => contest(pair(&head), index),
            2 => contest(pair(&forged), index + 1),
            3 => contest(Vec::new(), index),
            _ => contest(pair(&forged), index),
        };
        if self.rng.chance(1, 3) {
            // Settled already, it says.
            let ballots = self.noisy.iter().map(|by| {
                let evidence = made.evidence().first().copied().unwrap_or_default();
                let body = Ballot {
                    context: made.collection().0,
                    epoch: self.set_version,
                    level: Level::Narrow,
                    conflict: made.shard().0,
                    evidence,
                    verdict: Verdict::Uphold,
                };
                Signed::seal(body, &nodes[*by as usize].key, &self.pool)
            });
            made.decision = Some(Decision { wider: None, ballots: ballots.collect() });
        }
        self.count("false_contests");
        let to = [*self.rng.pick(&self.honest).unwrap_or(&0)];
        self.tell(by, &to, &Gossip::Contest(Box::new(made)));
    }

    /// Ballots of who has no vote, or none there: for forkers, against the restored.
    fn vote_unasked(&mut self, nodes: &[Node], by: u32) {
        let contests: Vec<Contest> = self.heard.values().cloned().collect();
        let Some(contest) = self.rng.pick(&contests) else { return };
        let Some(pair) = contest.pairs.first() else { return };
        let verdict = match self.is_owner(&contest.owner()) {
            true => Verdict::Reject { kept: claim(&pair.second) },
            false => Verdict::Uphold,
        };
        let body = Ballot {
            context: contest.collection().0,
            epoch: self.set_version,
            level: Level::Narrow,
            conflict: contest.shard().0,
            evidence: evidence_root(pair.claims()),
            verdict,
        };
        let elsewhere = Digest::of(b"another context");
        let helps = self.helper == Some(by);
        let bodies = [
            // The faulty witness has this vote, and gives it elsewhere.
            (!helps).then_some(body),
            Some(Ballot { level: Level::Wide, ..body }),
            Some(Ballot { epoch: self.set_version + 1, ..body }),
            Some(Ballot { context: elsewhere, ..body }),
            Some(Ballot { conflict: elsewhere, ..body }),
        ];
        let key = &nodes[by as usize].key;
        let to = *self.rng.pick(&self.honest).unwrap_or(&0);
        for body in bodies.into_iter().flatten() {
            let ballot = Signed::seal(body, key, &self.pool);
            self.sends.push((by, to, encode_message(&Message::Ballot(Box::new(ballot)))));
            self.count("ballots_without_a_vote");
        }
    }

    pub(crate) fn is_owner(&self, id: &NodeId) -> bool {
        self.owners.iter().any(|owner| self.ids[*owner as usize] == *id)
    }

    /// A frame arrives; what is returned is what the peer there gets.
    pub(crate) fn arriving(
        &mut self,
        nodes: &[Node],
        from: u32,
        to: u32,
        frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        if frame.get(3) == Some(&FRAME_GOSSIP) {
            return self.hears(from, to, &frame).then_some(frame);
        }
        if self.owners.contains(&to) && self.forks.contains_key(&to) {
            let own = |head: &Signed<ShardHead>| head.signer == self.ids[to as usize];
            if let Ok(Message::Collections { heads, .. }) = decode_message(&frame)
                && heads.iter().any(own)
            {
                return None;
            }
        }
        if self.helper == Some(from)
            && let Ok(Message::Ballot(ballot)) = decode_message(&frame)
        {
            self.count("two_faced_ballots");
            let contest = self.heard.get(&ShardId(Digest(ballot.body.conflict.0)));
            let kept = contest.and_then(|contest| contest.pairs.first());
            let kept = kept.map_or(ballot.body.conflict, |pair| claim(&pair.first));
            let verdict = match ballot.body.verdict {
                // In every other run it lets others decide.
                Verdict::Escalate { .. } if self.passes_on => return Some(frame),
                _ if to.is_multiple_of(2) => Verdict::Uphold,
                _ => Verdict::Reject { kept },
            };
            let body = Ballot { verdict, ..ballot.body };
            let ballot = Signed::seal(body, &nodes[from as usize].key, &self.pool);
            return Some(encode_message(&Message::Ballot(Box::new(ballot))));
        }
        Some(frame)
    }

    /// Whether a node hears gossip: owners that forked do not listen to what is said of it, and say
    /// nothing of it beside what is made up here.
    pub(crate) fn hears(&mut self, from: u32, to: u32, frame: &[u8]) -> bool {
        let attacker = |n: u32| self.owners.contains(&n) || self.noisy.contains(&n);
        let helps = self.helper == Some(to);
        if !attacker(to) && !attacker(from) && !helps && !self.is_wide(frame) {
            return true;
        }
        match decode_gossip(frame) {
            Ok(Gossip::Contest(contest)) => {
                let wide = contest.decision.as_ref().is_some_and(|d| d.wider.is_some());
                if wide {
                    *self.counts.entry("told_of_wider_verdicts").or_default() += 1;
                }
                if attacker(to) || helps {
                    self.heard.insert(contest.shard(), *contest.clone());
                }
                !(self.owners.contains(&to) && contest.owner() == self.ids[to as usize])
            }
            Ok(Gossip::Head(head)) => {
                let forked = self.owners.contains(&to) && self.forks.contains_key(&to);
                !(forked && head.signer == self.ids[to as usize])
            }
            Ok(_) | Err(_) => true,
        }
    }

    /// Contests are few: looking at all of them shows whether a wider authority decided.
    fn is_wide(&self, frame: &[u8]) -> bool {
        !self.forks.is_empty() && frame.get(4) == Some(&GOSSIP_CONTEST)
    }

    /// What honest nodes hold of collections; whether every case is over and all hold the same.
    pub(crate) fn look(&mut self, now: Instant, views: &[(u32, Vec<CollectionView>)]) {
        let mut over = !self.forks.is_empty();
        self.last.clear();
        // A node that lost the one word of a collection whose owner is deaf since does not know it.
        let mut first: BTreeMap<CollectionId, (Standing, u64, Digest)> = BTreeMap::new();
        for (number, views) in views {
            let mut stands = BTreeMap::new();
            for view in views {
                let Some(shard) = view.shards.first() else { continue };
                let stood = shard.standing;
                let ends =
                    matches!(stood, Standing::Upheld | Standing::Repaired | Standing::Expired);
                let accused = self.ids.iter().position(|id| *id == view.owner);
                let accused = accused.map(|at| at as u32).filter(|n| self.writers().contains(n));
                // Which of the heads of a forked shard a node heard is its own affair: where it is upheld
                // it ends before the fork, and where nobody decided nobody says so again.
                let forked = accused.is_some_and(|node| self.owners.contains(&node));
                let (seq, root) = match forked || stood == Standing::Expired {
                    true => (0, Digest::default()),
                    false => (shard.seq, shard.root),
                };
                stands.insert(view.id, (stood, seq, root));
                match accused {
                    Some(node) => {
                        *self.stood.entry(label(stood)).or_default() += 1;
                        over &= ends;
                        self.last.insert(node, stood);
                    }
                    None if stood != Standing::Sound => {
                        self.find(format!("node {number} holds {} to be {stood:?}", view.name));
                    }
                    None => {}
                }
            }
            over &= stands.iter().all(|(id, stands)| first.get(id).is_none_or(|f| f == stands));
            first.extend(stands);
        }
        match (over, self.ended) {
            (true, None) => self.ended = Some(now),
            (false, Some(_)) => self.ended = None,
            _ => {}
        }
    }

    /// Whether there are so many honest members of an authority which can tell that it has to decide
    /// about a head, by who holds copies: more than f of the witnesses; or those that cannot tell are a
    /// quorum that passes it on, and in the wider authority more than f can, who with the honest witnesses
    /// are a quorum of that.
    fn can_tell(&self, head: &Signed<ShardHead>, witnesses: &[u32]) -> bool {
        let holders: BTreeSet<u32> = head
            .body
            .replicas
            .iter()
            .filter_map(|id| Some(self.ids.iter().position(|other| other == id)? as u32))
            .collect();
        let honest = |n: &&u32| self.honest.contains(n);
        let tell = holders.iter().filter(|n| witnesses.contains(n)).filter(honest).count();
        let others = holders.iter().filter(|n| !witnesses.contains(n));
        let (wide, known) =
            (witnesses.len() + others.clone().count(), others.filter(honest).count());
        let votes = witnesses.iter().filter(honest).count();
        let (faulty, wide_faulty) = ((witnesses.len() - 1) / 3, (wide - 1) / 3);
        let sealed = votes - tell + usize::from(self.passes_on) >= witnesses.len() - faulty;
        let decided = tell + known > wide_faulty && votes + known >= wide - wide_faulty;
        tell > faulty || (sealed && decided)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// What it came to, and what must not have been.
    pub(crate) fn verdict(
        &self,
        named: &BTreeMap<NodeId, usize>,
        witnesses: &[u32],
    ) -> (Counted, Vec<String>) {
        let mut found = self.found.clone();
        if self.ended.is_none() {
            found.push("a case is not over, or honest nodes do not hold the same of it".into());
        }
        let mut ends: BTreeMap<&'static str, f64> = BTreeMap::new();
        for (n, node) in self.writers().into_iter().enumerate() {
            let stands = self.last.get(&node).copied().unwrap_or_default();
            let by = named.get(&self.ids[node as usize]).copied().unwrap_or(0);
            let restored = self.restored == Some(node);
            let heads = self.forks.get(&node).map(|fork| &fork.heads);
            let head = heads.map(|heads| &heads[0]).or(self.restored_head.as_ref());
            let tells = head.is_some_and(|head| self.can_tell(head, witnesses));
            let allowed: &[Standing] = match (restored, n % OWNERS) {
                (true, _) if tells => &[Standing::Repaired],
                (true, _) => &[Standing::Repaired, Standing::Expired],
                // There is no repair that anybody would have to look into.
                (false, 0 | 1) => &[Standing::Upheld],
                (false, 2) if tells => &[Standing::Upheld],
                (false, _) => &[Standing::Upheld, Standing::Expired],
            };
            if !allowed.contains(&stands) {
                found.push(format!("the shard of node {node} ends as {stands:?}, not {allowed:?}"));
            }
            let wanted = if stands == Standing::Upheld { self.honest.len() } else { 0 };
            // It does not name itself.
            if by < wanted || (wanted == 0 && by > 0) {
                found.push(format!("node {node} is named by {by}, not {wanted} honest nodes"));
            }
            let kind = match (restored, n % OWNERS) {
                (true, _) => ["restored_repaired", "restored_expired"],
                (false, 0) => ["silent_upheld", "silent_expired"],
                (false, 1) => ["two_repairs_upheld", "two_repairs_expired"],
                (false, 2) => ["false_root_upheld", "false_root_expired"],
                (false, _) => ["unknown_log_upheld", "unknown_log_expired"],
            };
            match stands {
                Standing::Upheld | Standing::Repaired => *ends.entry(kind[0]).or_default() += 1.0,
                Standing::Expired => *ends.entry(kind[1]).or_default() += 1.0,
                Standing::Sound
                | Standing::Contested
                | Standing::Quarantined
                | Standing::HeldBack => {}
            }
        }
        let stood =
            |standing: Standing| self.stood.get(label(standing)).copied().unwrap_or(0) as f64;
        let ended = self.ended.map_or(-1.0, |at| (at - self.begins) as f64 / 1e6);
        let mut counted = Counted::of([
            ("ended_after_s", ended),
            ("looks_contested", stood(Standing::Contested)),
            ("looks_quarantined", stood(Standing::Quarantined)),
            ("looks_held_back", stood(Standing::HeldBack)),
        ]);
        counted.figures.extend(ends);
        counted.figures.extend(self.counts.iter().map(|(name, count)| (*name, *count as f64)));
        (counted, found)
    }
}

fn label(standing: Standing) -> &'static str {
    match standing {
        Standing::Sound => "sound",
        Standing::Contested => "contested",
        Standing::Quarantined => "quarantined",
        Standing::HeldBack => "held back",
        Standing::Repaired => "repaired",
        Standing::Upheld => "upheld",
        Standing::Expired => "expired",
    }
}

/// The number of [`Gossip::Contest`] in a frame.
const GOSSIP_CONTEST: u8 = 12;

#[cfg(test)]
mod tests {
    use edge_base::SecretKey;

    use super::*;

    #[test]
    fn contests_are_known_by_their_number() {
        let key = SecretKey::from_seed([1; 32]);
        let spec = CollectionSpec { name: "x".into(), nonce: 1, layout: vec![], dropped: false };
        let spec = Signed::seal(spec, &key, &Digest::default());
        let contest = Contest { spec, index: 0, pairs: vec![], repairs: vec![], decision: None };
        let frame = encode_gossip(&Gossip::Contest(Box::new(contest)));
        assert_eq!((frame[3], frame[4]), (FRAME_GOSSIP, GOSSIP_CONTEST));
    }
}
