//! A world is made: who is what, what acts for an attack, and nodes with what they know at the start.

use std::collections::BTreeMap;

use edge_base::{Credits, Micros, NodeId, Rng, SecretKey, Verifier};
use edge_coherence::Deadlines;
use edge_ledger::Genesis;
use edge_swarm::{Peer, Settings, accept::Assumption};
use edge_tasks::{Liar, Lie, pins, shard_pin};

use super::{Options, World, calls::Calls};
use crate::{
    cheat::{Cast, Cheats},
    checks::Checks,
    copying::{Copiers, Copying},
    disk::Disk,
    flood::{Floods, Quiet},
    forking::{self, Forkers},
    frames::Frames,
    minted::Minted,
    minting::Minters,
    mutant::{Mutant, Rogue},
    network::{Network, mix},
    node::{LiesTold, Node},
    pool,
    queue::Queue,
    replay::Recorder,
    scenario::{Attack, Scenario, Setup},
    siege::{self, Siege},
    sybil::{Sybil, Sybils},
    twofaced::TwoFaced,
};

/// Memo of signatures that held, shared by all nodes of a run.
const MEMO: usize = 1 << 22;
/// Rows after which a collection opens its next shard: few, so that runs have several.
const SHARD_ROWS: u64 = 48;
/// Where being there is paid in minutes: ten minutes in the product.
const CALL_EVERY: Micros = Micros::from_secs(15);

/// Who is what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roles {
    pub(crate) witnesses: Vec<u32>,
    pub(crate) requesters: Vec<u32>,
    pub(crate) liars: BTreeMap<u32, Lie>,
    pub(crate) unreliable: Vec<u32>,
    pub(crate) crashing: Vec<u32>,
    /// Owners that sign two blocks for one place.
    pub(crate) cheats: Vec<u32>,
    /// Witnesses that help them.
    pub(crate) helpers: Vec<u32>,
    /// An honest owner whose disk is restored from an old copy.
    pub(crate) restored: Option<u32>,
    /// Members that send far more than others.
    pub(crate) flooders: Vec<u32>,
}

/// Who is what in a run: at most f witnesses are liars or crash, requesters are honest, and with
/// crashes at least one owner of a collection is among those who crash.
fn roles(scenario: &Scenario, seed: u64) -> Roles {
    let mut rng = Rng::derive(seed, "roles");
    let peers = scenario.peers as u32;
    let witnesses: Vec<u32> = (0..scenario.witnesses as u32).collect();
    let mut faulty_witnesses = scenario.witnesses.saturating_sub(1) / 3;
    let mut order: Vec<u32> = (1..peers).collect();
    rng.shuffle(&mut order);
    let wanted = |percent: u64| (u64::from(peers) * percent).div_ceil(100) as usize;
    let mut liars = BTreeMap::new();
    let mut budget = |node: u32| {
        let spent = node < scenario.witnesses as u32;
        let fine = !spent || faulty_witnesses > 0;
        if fine && spent {
            faulty_witnesses -= 1;
        }
        fine
    };
    for node in order.iter().copied() {
        if liars.len() < wanted(scenario.faults.liar_percent) && budget(node) {
            let lies = scenario.faults.lies;
            liars.insert(node, lies[liars.len() % lies.len()]);
        }
    }
    rng.shuffle(&mut order);
    let mut honest: Vec<u32> = order.into_iter().filter(|n| !liars.contains_key(n)).collect();
    let (mut cheats, mut helpers) = (Vec::new(), Vec::new());
    if let Some(attack) = scenario.attack.and_then(|attack| attack.double_spend()) {
        let (among, others): (Vec<u32>, Vec<u32>) =
            honest.iter().partition(|n| **n < scenario.witnesses as u32);
        let tolerated = scenario.witnesses.saturating_sub(1) / 3;
        let beyond = if tolerated > 0 { attack.beyond } else { 0 };
        helpers = among.into_iter().take(tolerated + beyond).collect();
        // Most nodes of a small pool are honest all the same.
        cheats = others.into_iter().take(attack.cheats.min(scenario.peers / 5)).collect();
        honest.retain(|n| !cheats.contains(n) && !helpers.contains(n));
    }
    if let Some(Attack::Replay(_) | Attack::Sybil(_) | Attack::Eclipse) = scenario.attack {
        // Neither who asks nor who votes.
        let plain = |n: &&u32| **n as usize >= scenario.witnesses.max(scenario.workload.requesters);
        cheats.extend(honest.iter().rev().find(plain));
        honest.retain(|n| !cheats.contains(n));
    }
    if let Some(Attack::Minting(attack)) = scenario.attack {
        // Neither who asks nor who votes; enough others are left.
        let plain = |n: &&u32| **n as usize >= scenario.witnesses.max(scenario.workload.requesters);
        let most = attack.attackers.min(scenario.peers / 3);
        cheats.extend(honest.iter().rev().filter(plain).take(most));
        honest.retain(|n| !cheats.contains(n));
    }
    let mut restored = None;
    if let Some(Attack::Coherence(attackers)) = scenario.attack {
        let plain = |n: &&u32| **n as usize >= scenario.witnesses.max(scenario.workload.requesters);
        let mut plain = honest.iter().rev().filter(plain).copied();
        cheats.extend(plain.by_ref().take(attackers.min(scenario.peers / 2)));
        restored = plain.next();
        honest.retain(|n| !cheats.contains(n) && Some(*n) != restored);
    }
    if let Some(Attack::Copy(percent, _)) = scenario.attack {
        let plain = honest.iter().filter(|n| **n as usize >= scenario.witnesses);
        let most =
            honest.len().saturating_sub(scenario.workload.requesters.min(scenario.peers / 2));
        let workers = u64::from(peers) - 1;
        cheats = plain.take(most.min((workers * percent / 100) as usize)).copied().collect();
        honest.retain(|n| !cheats.contains(n));
    }
    let mut requesters: Vec<u32> = honest.clone();
    if scenario.setup == Setup::Tickets {
        requesters = (0..peers).filter(|n| !liars.contains_key(n)).collect();
    }
    requesters.truncate(scenario.workload.requesters);
    let others = honest.iter().rev().filter(|node| !requesters.contains(node)).copied();
    let flood = scenario.attack.and_then(|attack| attack.flood());
    let plain = others.clone().filter(|node| !witnesses.contains(node));
    let flooders = plain.take(wanted(flood.map_or(0, |flood| flood.percent))).collect();
    let unreliable = others.take(wanted(scenario.faults.unreliable_percent)).collect();
    let mut crashing: Vec<u32> = Vec::new();
    if scenario.faults.crash_percent > 0 {
        let owners = requesters.iter().take(scenario.workload.collections).copied();
        crashing.extend(owners.filter(|n| budget(*n)).take(1));
        for node in honest.iter().rev().copied() {
            let more = crashing.len() < wanted(scenario.faults.crash_percent);
            if more && !crashing.contains(&node) && budget(node) {
                crashing.push(node);
            }
        }
    }
    Roles {
        witnesses,
        requesters,
        liars,
        unreliable,
        crashing,
        cheats,
        helpers,
        restored,
        flooders,
    }
}

/// What the founder sends to whom before a run.
fn grants(scenario: &Scenario, roles: &Roles) -> Vec<(u32, Credits)> {
    let whole = |whole: u64| Credits::from_whole(whole).unwrap_or(Credits::ZERO);
    let attack = scenario.attack.and_then(|attack| attack.wrong_results());
    let requester = attack.map_or(pool::REQUESTER_GRANT, |attack| attack.grant);
    let attackers = roles.cheats.iter().chain(&roles.helpers);
    let rich = roles.requesters.iter().chain(attackers).chain(&roles.restored);
    let requesters = rich.map(|node| (*node, whole(requester)));
    let stake = scenario.attack.map_or(0, Attack::stake);
    let workers = (0..scenario.peers as u32).filter(|n| stake > 0 && !roles.requesters.contains(n));
    requesters
        .chain(workers.map(|node| (node, whole(stake))))
        .filter(|(node, _)| *node != 0)
        .collect()
}

/// What acts for the attack of a run.
#[derive(Default)]
struct Attackers {
    cheats: Option<Cheats>,
    recorder: Option<Recorder>,
    copiers: Option<Copiers>,
    sybils: Option<Sybils>,
    siege: Option<Siege>,
    floods: Option<Floods>,
    minters: Option<(Minters, Minted)>,
    forkers: Option<Forkers>,
}

/// What every part of a run is made from.
struct Plan<'a> {
    scenario: &'a Scenario,
    options: &'a Options,
    roles: &'a Roles,
    seed: u64,
    genesis: &'a Genesis,
    ids: &'a [NodeId],
}

impl Plan<'_> {
    /// What acts for the attack; what is expected of it is told to the checks.
    fn attackers(
        &self,
        quiet: Option<Quiet>,
        checks: &mut Checks,
        verifier: &Verifier,
    ) -> Attackers {
        let Plan { scenario, options, roles, seed, genesis, ids } = *self;
        let mut all = Attackers::default();
        match scenario.attack {
            Some(Attack::WrongResults(_)) => checks.count_lies(),
            Some(Attack::DoubleSpend(attack)) => {
                let Roles { cheats: owners, helpers, witnesses, .. } = &roles;
                let cast = Cast { cheats: owners, helpers, witnesses };
                let set = pool::witness_set(ids, witnesses);
                let round = scenario.weather.latency_max;
                let how = (seed, round, options.no_defence);
                let (genesis, verifier) = (genesis.clone(), verifier.clone());
                let frozen = owners.iter().chain(helpers).map(|n| ids[*n as usize]).collect();
                checks.expect_frozen(frozen, attack.beyond > 0 && !helpers.is_empty());
                all.cheats = Some(Cheats::new(attack, cast, set, genesis, verifier, how));
            }
            Some(Attack::Replay(_)) => {
                checks
                    .expect_frozen(roles.cheats.iter().map(|n| ids[*n as usize]).collect(), false);
                all.recorder = roles.cheats.first().map(|attacker| Recorder::new(*attacker, seed));
            }
            Some(Attack::Sybil(attack)) => {
                let inviter = roles.cheats.first();
                all.sybils = inviter.map(|inviter| {
                    Sybils::new(attack, *inviter, genesis.hash(), seed, options.no_signatures)
                });
            }
            Some(Attack::Eclipse) => {
                if let (Some(inviter), Some(victim)) =
                    (roles.cheats.first(), roles.requesters.first())
                {
                    let (percent, identities) = siege::identities(scenario.peers - 2, seed);
                    let attack = Sybil { identities, stake: identities as u64 };
                    let silent = options.no_signatures;
                    all.sybils = Some(Sybils::new(attack, *inviter, genesis.hash(), seed, silent));
                    all.recorder = Some(Recorder::new(*inviter, seed));
                    all.siege = Some(Siege::new(*victim, percent));
                }
            }
            Some(Attack::Copy(_, how)) => {
                let how = if options.no_defence { Copying::Shown } else { how };
                all.copiers = Some(Copiers::new(how, &roles.cheats, ids, genesis.hash(), seed));
            }
            Some(Attack::Flood(attack)) => {
                let Roles { flooders, requesters, .. } = &roles;
                let how = (seed, quiet);
                all.floods = Some(Floods::new(attack, flooders, requesters, scenario.peers, how));
                checks.expect_bans(flooders.iter().copied());
            }
            Some(Attack::Coherence(_)) => {
                let Roles { cheats: attackers, restored, witnesses, .. } = &roles;
                let helper = witnesses.last().copied().filter(|witness| *witness > 0);
                let cast = (attackers.as_slice(), *restored, helper);
                let version = pool::witness_set(ids, witnesses).version;
                all.forkers = Some(Forkers::new(cast, ids, genesis.hash(), version, seed));
                checks.expect_bans(helper);
            }
            Some(Attack::Minting(_)) => {
                let Roles { cheats: attackers, witnesses, .. } = &roles;
                let cast = (attackers.as_slice(), witnesses.last().copied(), witnesses.as_slice());
                let how = (seed, options.no_defence);
                let grant = genesis.grant.micro();
                all.minters =
                    Some((Minters::new(cast, ids, genesis.hash(), how), Minted::new(grant)));
            }
            None => {}
        }
        all
    }

    /// How a node is set, before what is particular to it.
    fn settings(&self, number: usize, works: bool) -> Settings {
        let Plan { scenario, options, .. } = *self;
        let assumption = match scenario.attack {
            Some(Attack::WrongResults(_)) if options.no_defence => Assumption::NOBODY,
            Some(Attack::WrongResults(attack)) => attack.assumption,
            _ => Settings::default().assumption,
        };
        Settings {
            addresses: vec![pool::address(number)],
            pins: pins(),
            shard_pin: shard_pin(),
            shard_rows: SHARD_ROWS,
            works,
            agent: format!("sim-{number}"),
            assumption,
            tuner: options.tuner,
            weighs_outcomes: !options.no_defence,
            waits_for_bids: !options.no_defence,
            weighs_branches: !options.no_defence,
            notices_isolation: !options.no_defence,
            coherence: match scenario.attack {
                Some(Attack::Coherence(_)) if options.no_defence => None,
                Some(Attack::Coherence(_)) => Some(Deadlines::from_repair(forking::REPAIR)),
                _ => Settings::default().coherence,
            },
            checks_audits: !options.no_defence,
            asks_heads: !options.no_defence,
            call_every: match scenario.attack {
                Some(Attack::Minting(_)) => CALL_EVERY,
                _ => Settings::default().call_every,
            },
            checkpoint_every: scenario
                .checkpoints
                .map_or(Settings::default().checkpoint_every, |wanted| wanted.every),
            // Elsewhere what lies on disks is compared as a whole.
            prunes: scenario.checkpoints.is_some(),
            limits: match scenario.attack {
                Some(Attack::Flood(_)) => !options.no_defence,
                // What is said again must change nothing although it is heard.
                Some(Attack::Replay(_) | Attack::Eclipse) => false,
                _ => true,
            },
            ..Settings::default()
        }
    }

    /// The nodes, with what they have on their disks.
    fn nodes(
        &self,
        keys: Vec<SecretKey>,
        ready: Option<pool::Ready>,
        idle: &[u32],
        rng: &mut Rng,
    ) -> Vec<Node> {
        let Plan { scenario, options, roles, seed, genesis, .. } = *self;
        let rolled_back = roles.requesters.iter().find(|n| !roles.witnesses.contains(n)).copied();
        let lies_for = |number: u32| match options.mutant {
            Some(Mutant::LostAcknowledgement) => Some(30_000_000),
            _ if rolled_back == Some(number) => scenario.faults.rolls_back.map(|time| time.0),
            _ => None,
        };
        let mut nodes = Vec::with_capacity(keys.len());
        for (number, key) in keys.into_iter().enumerate() {
            let base = ready.as_ref().map(|ready| ready.base.clone()).unwrap_or_default();
            let mut disk = Disk::new(base);
            let own = ready.as_ref().and_then(|ready| ready.own.get(&number));
            for write in own.into_iter().flatten() {
                disk.write(write.clone());
            }
            if number == 0 && scenario.setup == Setup::Tickets {
                Peer::found(genesis).into_iter().for_each(|write| disk.write(write));
            }
            disk.begin_sync();
            disk.end_sync(0);
            disk.lie_for(lies_for(number as u32));
            let settings = self.settings(number, !idle.contains(&(number as u32)));
            let mut node = Node::new(key, settings, disk, rng);
            node.unreliable = roles.unreliable.contains(&(number as u32));
            // Attackers do not mind what their own flood is answered with.
            node.settings.limits &= !roles.flooders.contains(&(number as u32));
            if let Some(lie) = roles.liars.get(&(number as u32)) {
                node.liar = Some(Liar::new(*lie, mix(seed ^ number as u64)));
            }
            nodes.push(node);
        }
        nodes
    }
}

impl World {
    pub(crate) fn new(
        scenario: Scenario,
        seed: u64,
        options: Options,
        quiet: Option<Quiet>,
    ) -> Self {
        let mut rng = Rng::derive(seed, "world");
        let roles = roles(&scenario, seed);
        let secret = |node: usize| edge_base::Digest::of_value("sim-key", &(seed, node as u64)).0;
        let key = |node: usize| match options.no_signatures {
            true => SecretKey::silent_for_simulation(secret(node)),
            false => SecretKey::from_seed(secret(node)),
        };
        let keys: Vec<SecretKey> = (0..scenario.peers).map(key).collect();
        let ids: Vec<NodeId> = keys.iter().map(SecretKey::node_id).collect();
        let mut verifier = match options.no_signatures {
            true => Verifier::trusting_for_simulation(),
            // One that remembers would have one node pay for all.
            false if options.frames => Verifier::strict(),
            false => Verifier::memoised(MEMO),
        };
        let genesis = pool::genesis(ids[0], seed);
        let mut checks = Checks::new(genesis.clone(), verifier.clone());
        if scenario.faults.kills > 0 {
            checks.watch_places();
        }
        checks.promises_arrive = scenario.faults.rolls_back.is_some() || scenario.faults.lost_owner;
        let ready = (scenario.setup == Setup::Ready).then(|| {
            checks.expect_set(pool::witness_set(&ids, &roles.witnesses));
            let grants = grants(&scenario, &roles);
            pool::ready(&keys, &grants, &roles.witnesses, seed, &mut verifier)
        });
        let plan = Plan {
            scenario: &scenario,
            options: &options,
            roles: &roles,
            seed,
            genesis: &genesis,
            ids: &ids,
        };
        let Attackers { cheats, recorder, copiers, sybils, siege, floods, minters, forkers } =
            plan.attackers(quiet, &mut checks, &verifier);
        // These say nothing of themselves: everything is about others.
        let mut idle: Vec<u32> = recorder.as_ref().map(|r| r.attacker).into_iter().collect();
        idle.extend(sybils.as_ref().map(|sybils| sybils.inviter));
        let twofaced = scenario
            .checkpoints
            .and(roles.witnesses.last())
            .map(|last| TwoFaced::new(*last, keys[*last as usize].clone(), genesis.hash()));
        let nodes = plan.nodes(keys, ready, &idle, &mut rng);
        let numbers = ids.iter().enumerate().map(|(n, id)| (*id, n as u32)).collect();
        checks.expect_liars(roles.liars.keys().map(|n| ids[*n as usize]).collect());
        let attackers = roles.liars.keys().chain(&roles.cheats).chain(&roles.helpers);
        checks.expect_bans(attackers.copied().collect::<Vec<_>>());
        World {
            network: Network::new(scenario.weather, seed),
            queue: Queue::new(),
            rogue: options.mutant.and_then(Rogue::of),
            cheats,
            recorder,
            copiers,
            sybils,
            siege,
            twofaced,
            frames: options.frames.then(Frames::default),
            floods,
            minters,
            forkers,
            calls: Calls::new(seed, options.canaries),
            scenario,
            seed,
            options,
            nodes,
            checks,
            roles,
            numbers,
            verifier,
            rng,
            outputs: Vec::new(),
            lies_told: LiesTold::new(),
            inputs: Vec::new(),
            happened: 0,
            events: 0,
            kills: 0,
        }
    }
}
