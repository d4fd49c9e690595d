//! Scenarios as data.

use edge_base::Micros;
use edge_swarm::accept::Assumption;
use edge_tasks::Lie;

use crate::{copying::Copying, network::Weather, sybil::Sybil};

/// How the pool comes into being.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// Memberships, grants and the handover are on every disk at the start.
    Ready,
    /// The founder starts alone; the others join by tickets, then it hands over.
    Tickets,
}

/// What is asked of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Nodes that submit tasks.
    pub requesters: usize,
    /// Embedding tasks of all requesters together.
    pub embeddings: usize,
    /// Match tasks of all requesters together.
    pub matches: usize,
    /// Compression tasks of all requesters together.
    pub compressions: usize,
    /// Collections, each of a requester.
    pub collections: usize,
    /// Batches appended to each collection.
    pub appends: usize,
    /// Records of a batch.
    pub records: usize,
    /// Searches of each collection.
    pub searches: usize,
    /// Calls that their caller stops, in percent: half by cancelling the task, half by going away.
    pub stop_percent: u64,
    /// Tasks are submitted within this time.
    pub within: Micros,
}

/// What goes wrong besides the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faults {
    /// Cuts of the network into two sides.
    pub partitions: usize,
    /// How long each lasts.
    pub partition: Micros,
    /// Processes that are killed at random moments, any node's, and start again at once or soon.
    /// Every second one is killed while something that it wrote is not durable yet.
    pub kills: u32,
    /// Keys that members give up for new ones; witnesses and the founder have to keep theirs.
    pub rotations: u32,
    /// A crash of the first requester that is no witness takes back what it wrote in this time, though its drive
    /// had said that it was durable: a file system that goes back to a snapshot.
    pub rolls_back: Option<Micros>,
    /// Peers that crash and restart, in percent.
    pub crash_percent: u64,
    /// Workers that take work and give nothing half of the time, in percent.
    pub unreliable_percent: u64,
    /// Workers that lie, in percent.
    pub liar_percent: u64,
    /// How they lie, in turn. [`Lie::Together`]: each tells the lies of the others. The other kinds are
    /// independent: no two of them tell the same lie about the same input.
    pub lies: &'static [Lie],
    /// The witness set loses as many members for a while as it can bear.
    pub crash_witnesses: bool,
    /// Nodes (a worker that holds copies, and a witness) that lose their disks.
    pub lost_disks: bool,
    /// The owner of a collection loses its disk.
    pub lost_owner: bool,
    /// How far clocks run apart, in parts per million.
    pub skew_ppm: u64,
    /// Peers whose clock is set by an hour, forward and back in turn, in percent.
    pub clock_jump_percent: u64,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Nodes.
    pub peers: usize,
    /// Witnesses: 1, 4, 7 ... 31.
    pub witnesses: usize,
    /// How the pool begins.
    pub setup: Setup,
    /// The network.
    pub weather: Weather,
    /// What is asked.
    pub workload: Workload,
    /// What goes wrong.
    pub faults: Faults,
    /// After the last fault everything must be settled within this time.
    pub settle_within: Micros,
    /// For an attack: how much of it may succeed.
    pub attack: Option<Attack>,
    /// Checkpoints and changes of the witness set, one of whose members is faulty.
    pub checkpoints: Option<Checkpointing>,
}

/// Checkpoints that a run makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpointing {
    /// Witnesses make one after this long with any blocks.
    pub every: Micros,
    /// How often the founder changes the witness set, one member at a time.
    pub changes: usize,
    /// The fewest checkpoints beside those of the changes that have to be decided.
    pub fewest: usize,
}

/// An attack, and the line it has to be held at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Attack {
    /// Workers give wrong results ([`Faults::lies`] says how).
    WrongResults(WrongResults),
    /// Owners spend twice, and faulty witnesses help them.
    DoubleSpend(DoubleSpend),
    /// So many recorded frames are shown again: none may change anything.
    Replay(usize),
    /// So many percent of the workers compute nothing and give others' answers: none may be paid.
    Copy(u64, Copying),
    /// A member invites many identities of its own: they may earn it nothing, and weigh as one.
    Sybil(Sybil),
    /// A node hears only one member and what that invited.
    Eclipse,
    /// Members send far more than others.
    Flood(Flood),
    /// So many members fork logs, accuse others of it and vote unasked, and a witness helps them: each false
    /// claim is found against everywhere, and nobody else's.
    Coherence(usize),
    /// Members and a witness want more minted than they work for.
    Minting(Minting),
}

impl Attack {
    /// What it is, if it is one by wrong results.
    pub fn wrong_results(self) -> Option<WrongResults> {
        match self {
            Attack::WrongResults(line) => Some(line),
            _ => None,
        }
    }

    /// What it is, if it is one by two blocks at one place.
    pub fn double_spend(self) -> Option<DoubleSpend> {
        match self {
            Attack::DoubleSpend(attack) => Some(attack),
            _ => None,
        }
    }

    /// What each worker has at stake before it begins, in whole rUv.
    pub(crate) fn stake(self) -> u64 {
        match self {
            Attack::WrongResults(line) => line.stake,
            Attack::Minting(attack) => attack.stake,
            _ => 0,
        }
    }

    /// What it is, if it is a flood.
    pub fn flood(self) -> Option<Flood> {
        match self {
            Attack::Flood(attack) => Some(attack),
            _ => None,
        }
    }
}

/// Owners that sign two blocks for one place. The line: one certificate at a place, the proof
/// everywhere within five times the longest way of a message, nobody else harmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoubleSpend {
    /// How many owners.
    pub cheats: usize,
    /// Witnesses that vote for both blocks, beyond as many as the set tolerates (which all do). Then
    /// both blocks are certified, and the line is that the conflict names exactly the culprits.
    pub beyond: usize,
    /// The faulty witnesses also withhold votes and send blocks, votes and certificates that do
    /// not hold.
    pub arbitrary: bool,
}

/// Members that send a multiple of what an honest node sends, of all kinds, all at one requester at
/// a time. The line: honest calls take at most twice as long (99 of 100), each flooder is banned by
/// whom it floods within ten seconds, no queue is full and no honest node is banned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flood {
    /// How many members, in percent.
    pub percent: u64,
    /// How many times what an honest node sends in the same time.
    pub times: u64,
}

/// Members that want more credits minted than they work for, and a witness that helps them. The line:
/// every ledger is what the checkpoints and the work that was executed come to, computed elsewhere; what is
/// certified was drawn, committed to before, and is true, but for a lie of both auditors that no witness
/// happened to look at; attackers are drawn as often as others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Minting {
    /// How many members.
    pub attackers: usize,
    /// What every node that asks for nothing has at stake, in whole rUv.
    pub stake: u64,
}

/// What may come of wrong results, where it is known that some are accepted, and what it may cost.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WrongResults {
    /// What requesters assume about workers.
    pub assumption: Assumption,
    /// What each worker has at stake, in whole rUv.
    pub stake: u64,
    /// What each requester is sent, in whole rUv.
    pub grant: u64,
    /// Wrong results among accepted ones, in millionths: the mean of many seeds, whose upper bound counts.
    pub wrong_ppm: f64,
    /// Executions for each accepted result, in the mean of many seeds.
    pub work: f64,
}

const CALM: Weather = Weather {
    loss_ppm: 0,
    duplicate_ppm: 0,
    latency_min: Micros::from_millis(1),
    latency_max: Micros::from_millis(40),
};

const ROUGH: Weather = Weather {
    loss_ppm: 50_000,
    duplicate_ppm: 20_000,
    latency_min: Micros::from_millis(1),
    latency_max: Micros::from_millis(200),
};

const NO_FAULTS: Faults = Faults {
    partitions: 0,
    partition: Micros::from_secs(10),
    kills: 0,
    rotations: 0,
    rolls_back: None,
    crash_percent: 0,
    unreliable_percent: 0,
    liar_percent: 0,
    lies: &Lie::ALONE,
    crash_witnesses: false,
    lost_disks: false,
    lost_owner: false,
    skew_ppm: 200,
    clock_jump_percent: 0,
};

/// Tasks and nothing else: of six requesters for two minutes.
const TASKS_ONLY: Workload = Workload {
    requesters: 6,
    embeddings: 240,
    matches: 60,
    compressions: 0,
    collections: 0,
    appends: 0,
    records: 0,
    searches: 0,
    stop_percent: 0,
    within: Micros::from_secs(120),
};

const WORKLOAD: Workload = Workload {
    requesters: 10,
    embeddings: 400,
    matches: 200,
    compressions: 60,
    collections: 3,
    appends: 12,
    records: 8,
    searches: 12,
    stop_percent: 3,
    within: Micros::from_secs(45),
};

const MIXED: Scenario = Scenario {
    name: "mixed-faults",
    about: "50 peers, loss, duplication, two partitions, crashes, liars of all three kinds",
    peers: 50,
    witnesses: 7,
    setup: Setup::Ready,
    weather: ROUGH,
    workload: WORKLOAD,
    faults: Faults { partitions: 2, crash_percent: 10, liar_percent: 20, ..NO_FAULTS },
    settle_within: Micros::from_secs(180),
    attack: None,
    checkpoints: None,
};

const COLLUDING: Scenario = Scenario {
    name: "attack/colluding-answers",
    about: "20 % of 30 workers tell the same lie about one input in ten",
    peers: 31,
    witnesses: 4,
    setup: Setup::Ready,
    weather: CALM,
    workload: Workload {
        requesters: 1,
        embeddings: 8_000,
        matches: 0,
        within: Micros::from_secs(400),
        ..TASKS_ONLY
    },
    faults: Faults { liar_percent: 19, lies: &[Lie::Together], ..NO_FAULTS },
    settle_within: Micros::from_secs(180),
    attack: Some(Attack::WrongResults(WrongResults {
        assumption: Assumption::OPEN,
        stake: 10,
        grant: 10_000,
        wrong_ppm: 1_500.0,
        work: 1.6,
    })),
    checkpoints: None,
};

const SPEND: DoubleSpend = DoubleSpend { cheats: 6, beyond: 0, arbitrary: false };

const DOUBLE_SPEND: Scenario = Scenario {
    name: "attack/double-spend",
    about: "six owners sign two blocks for one place, two of seven witnesses vote for both",
    peers: 31,
    witnesses: 7,
    setup: Setup::Ready,
    weather: ROUGH,
    workload: Workload {
        requesters: 5,
        embeddings: 100,
        matches: 0,
        compressions: 20,
        collections: 0,
        appends: 0,
        records: 0,
        searches: 0,
        stop_percent: 0,
        within: Micros::from_secs(30),
    },
    faults: NO_FAULTS,
    settle_within: Micros::from_secs(180),
    attack: Some(Attack::DoubleSpend(SPEND)),
    checkpoints: None,
};

const REPLAY: Scenario = Scenario {
    name: "attack/replay",
    about: "a member shows 2,000 recorded frames again, after a handover and restarts, and in another pool",
    peers: 12,
    witnesses: 4,
    setup: Setup::Tickets,
    weather: Weather { loss_ppm: 10_000, ..CALM },
    workload: Workload {
        requesters: 3,
        embeddings: 40,
        matches: 20,
        compressions: 10,
        collections: 2,
        appends: 6,
        records: 6,
        searches: 6,
        stop_percent: 0,
        within: Micros::from_secs(40),
    },
    faults: Faults { crash_percent: 20, liar_percent: 10, ..NO_FAULTS },
    settle_within: Micros::from_secs(180),
    attack: Some(Attack::Replay(2_000)),
    checkpoints: None,
};

const FLOOD: Scenario = Scenario {
    name: "attack/flood",
    about: "30 % of 20 members send a hundred times what others send, at one at a time",
    peers: 20,
    witnesses: 4,
    setup: Setup::Ready,
    weather: CALM,
    workload: Workload {
        requesters: 4,
        embeddings: 1_800,
        matches: 0,
        compressions: 60,
        collections: 2,
        appends: 6,
        records: 8,
        // Of fewer the slowest hundredth would be one or none.
        searches: 500,
        stop_percent: 0,
        within: Micros::from_secs(15),
    },
    faults: NO_FAULTS,
    checkpoints: None,
    settle_within: Micros::from_secs(180),
    attack: Some(Attack::Flood(Flood { percent: 30, times: 100 })),
};

const COPIED: Scenario = Scenario {
    name: "attack/copied-answers",
    about: "30 % of 30 workers compute nothing and give what they can learn of others' answers",
    peers: 31,
    witnesses: 4,
    setup: Setup::Ready,
    weather: CALM,
    workload: Workload {
        requesters: 10,
        embeddings: 1_800,
        matches: 400,
        within: Micros::from_secs(120),
        ..COLLUDING.workload
    },
    faults: Faults { liar_percent: 3, ..NO_FAULTS },
    settle_within: Micros::from_secs(180),
    attack: Some(Attack::Copy(30, Copying::Wire)),
    checkpoints: None,
};

const SYBIL: Scenario = Scenario {
    name: "attack/sybil",
    about: "one of 30 members invites 1,000 identities of its own, which lie or share answers",
    peers: 30,
    witnesses: 4,
    setup: Setup::Ready,
    weather: CALM,
    workload: Workload {
        requesters: 5,
        embeddings: 600,
        matches: 200,
        within: Micros::from_secs(60),
        ..COLLUDING.workload
    },
    faults: NO_FAULTS,
    settle_within: Micros::from_secs(180),
    attack: Some(Attack::Sybil(Sybil { identities: 1_000, stake: 10 })),
    checkpoints: None,
};

const ECLIPSE: Scenario = Scenario {
    name: "attack/eclipse",
    about: "one of 20 hears attackers only, which are 30, 60 or 90 % of whom it knows",
    peers: 21,
    workload: Workload {
        requesters: 4,
        embeddings: 80,
        matches: 20,
        within: Micros::from_secs(28),
        ..COLLUDING.workload
    },
    attack: Some(Attack::Eclipse),
    ..SYBIL
};

const MINTING: Scenario = Scenario {
    name: "attack/minting",
    about: "4 of 14 members invent, copy and lie about audits through 20 checkpoints; a witness helps",
    peers: 15,
    witnesses: 4,
    setup: Setup::Ready,
    weather: CALM,
    workload: Workload {
        requesters: 4,
        embeddings: 160,
        matches: 0,
        within: Micros::from_secs(400),
        ..TASKS_ONLY
    },
    faults: NO_FAULTS,
    settle_within: Micros::from_secs(180),
    attack: Some(Attack::Minting(Minting { attackers: 4, stake: 2 })),
    checkpoints: Some(Checkpointing { every: Micros::from_secs(20), changes: 0, fewest: 15 }),
};

const COHERENCE: Scenario = Scenario {
    name: "attack/coherence",
    about: "4 owners fork logs, 3 members accuse and vote unasked, a witness helps, one owner is restored",
    peers: 32,
    witnesses: 4,
    setup: Setup::Ready,
    weather: Weather { loss_ppm: 10_000, ..CALM },
    workload: Workload {
        requesters: 3,
        embeddings: 30,
        matches: 0,
        compressions: 0,
        collections: 3,
        appends: 6,
        records: 6,
        searches: 8,
        stop_percent: 0,
        within: Micros::from_secs(40),
    },
    faults: NO_FAULTS,
    settle_within: Micros::from_secs(180),
    attack: Some(Attack::Coherence(7)),
    checkpoints: None,
};

impl Scenario {
    /// Every scenario.
    pub fn all() -> Vec<Scenario> {
        vec![
            Scenario {
                name: "smoke",
                about: "five peers join by tickets, hand over to four witnesses and work",
                peers: 5,
                witnesses: 4,
                setup: Setup::Tickets,
                weather: Weather { loss_ppm: 10_000, ..CALM },
                workload: Workload {
                    requesters: 2,
                    embeddings: 10,
                    matches: 6,
                    compressions: 4,
                    collections: 1,
                    appends: 6,
                    records: 6,
                    searches: 6,
                    stop_percent: 0,
                    within: Micros::from_secs(15),
                },
                faults: NO_FAULTS,
                settle_within: Micros::from_secs(90),
                attack: None,
                checkpoints: None,
            },
            MIXED,
            Scenario {
                name: "honest",
                about: "as mixed-faults, but only the network is at fault: nobody may be named",
                faults: Faults { partitions: 2, ..NO_FAULTS },
                ..MIXED
            },
            Scenario {
                name: "kills",
                about: "100 kills of any of nine nodes, every second one in the middle of a write",
                peers: 9,
                witnesses: 4,
                workload: Workload {
                    requesters: 6,
                    embeddings: 120,
                    matches: 30,
                    compressions: 0,
                    collections: 2,
                    appends: 10,
                    records: 4,
                    searches: 4,
                    stop_percent: 0,
                    within: Micros::from_secs(60),
                },
                faults: Faults { kills: 100, ..NO_FAULTS },
                ..MIXED
            },
            Scenario {
                name: "rotations",
                about: "members go on under new keys, 15 times, while processes are killed",
                peers: 9,
                witnesses: 4,
                workload: TASKS_ONLY,
                faults: Faults { kills: 30, rotations: 15, ..NO_FAULTS },
                ..MIXED
            },
            Scenario {
                name: "rollback",
                about: "a member that is killed finds its data 20 seconds old, again and again, without a trace",
                peers: 9,
                witnesses: 4,
                workload: TASKS_ONLY,
                weather: CALM,
                faults: Faults { kills: 40, rolls_back: Some(Micros::from_secs(20)), ..NO_FAULTS },
                ..MIXED
            },
            Scenario {
                name: "crash-witness",
                about: "as many witnesses as the set can bear crash while blocks are certified",
                peers: 20,
                faults: Faults { crash_witnesses: true, ..NO_FAULTS },
                ..MIXED
            },
            Scenario {
                name: "lost-disk",
                about: "a holder of copies and a witness lose their disks and join again",
                peers: 20,
                faults: Faults { lost_disks: true, ..NO_FAULTS },
                ..MIXED
            },
            Scenario {
                name: "lost-owner",
                about: "the owner of a collection loses its disk and joins again",
                peers: 20,
                faults: Faults { lost_owner: true, ..NO_FAULTS },
                ..MIXED
            },
            Scenario {
                name: "clock-jumps",
                about: "every other clock is set by an hour, forward or back, liars and all",
                peers: 20,
                faults: Faults { clock_jump_percent: 50, liar_percent: 10, ..NO_FAULTS },
                ..MIXED
            },
            Scenario {
                name: "checkpoints",
                about: "7 witnesses, one of them two-faced, make checkpoints and change three times \
                        through crashes and partitions",
                peers: 20,
                workload: Workload {
                    embeddings: 120,
                    matches: 40,
                    compressions: 10,
                    collections: 1,
                    ..WORKLOAD
                },
                faults: Faults { partitions: 2, crash_percent: 20, ..NO_FAULTS },
                checkpoints: Some(Checkpointing {
                    every: Micros::from_secs(12),
                    changes: 3,
                    fewest: 1,
                }),
                ..MIXED
            },
            Scenario {
                name: "thousand-peers",
                about: "1,000 peers, 31 witnesses, 2,000 tasks",
                peers: 1_000,
                witnesses: 31,
                weather: Weather { loss_ppm: 10_000, ..ROUGH },
                workload: Workload {
                    requesters: 40,
                    embeddings: 1_200,
                    matches: 500,
                    compressions: 100,
                    collections: 10,
                    appends: 20,
                    records: 8,
                    searches: 10,
                    stop_percent: 1,
                    within: Micros::from_secs(60),
                },
                faults: Faults { partitions: 1, crash_percent: 2, liar_percent: 2, ..NO_FAULTS },
                settle_within: Micros::from_secs(240),
                ..MIXED
            },
            Scenario {
                name: "unreliable-workers",
                about: "a fifth of 30 workers takes work and gives nothing half of the time",
                peers: 31,
                witnesses: 4,
                weather: CALM,
                workload: Workload { embeddings: 3_000, ..COLLUDING.workload },
                faults: Faults { unreliable_percent: 19, ..NO_FAULTS },
                ..MIXED
            },
            COLLUDING,
            Scenario {
                name: "attack/patient-liars",
                about: "as colluding-answers, but they lie only once they are believed alone",
                faults: Faults { lies: &[Lie::Patient], ..COLLUDING.faults },
                ..COLLUDING
            },
            Scenario {
                name: "unattacked",
                about: "as colluding-answers, but nobody lies: what checking costs then",
                faults: NO_FAULTS,
                ..COLLUDING
            },
            Scenario {
                name: "attack/wary-liars",
                about: "as patient-liars, but never about a text they were asked before",
                faults: Faults { lies: &[Lie::Wary], ..COLLUDING.faults },
                ..COLLUDING
            },
            DOUBLE_SPEND,
            Scenario {
                name: "attack/byzantine",
                about: "as double-spend; the two also withhold votes and send what does not hold",
                attack: Some(Attack::DoubleSpend(DoubleSpend { arbitrary: true, ..SPEND })),
                ..DOUBLE_SPEND
            },
            Scenario {
                name: "attack/byzantine-beyond",
                about: "as double-spend with a third faulty witness: the conflicts name all three",
                attack: Some(Attack::DoubleSpend(DoubleSpend { beyond: 1, ..SPEND })),
                ..DOUBLE_SPEND
            },
            REPLAY,
            SYBIL,
            ECLIPSE,
            COPIED,
            Scenario {
                name: "shared-answers",
                about: "as copied-answers, but half of the copiers compute and tell the others",
                attack: Some(Attack::Copy(30, Copying::Shared)),
                ..COPIED
            },
            FLOOD,
            MINTING,
            COHERENCE,
        ]
    }

    /// A scenario by name.
    pub fn named(name: &str) -> Option<Scenario> {
        Scenario::all().into_iter().find(|scenario| scenario.name == name)
    }

    /// The fewest peers it can be run with: one that asks for work, beside the founder and as many
    /// liars as the scenario wants of so many.
    pub fn least_peers(&self) -> usize {
        let asks = |peers: &usize| {
            let liars = (*peers as u64 * self.faults.liar_percent).div_ceil(100) as usize;
            self.setup == Setup::Tickets || *peers > 1 + liars
        };
        (1..).find(asks).unwrap_or(usize::MAX)
    }

    /// The same with another number of peers, and fewer witnesses where they do not fit.
    pub fn with_peers(mut self, peers: usize) -> Scenario {
        self.peers = peers.max(1);
        while self.witnesses > self.peers {
            self.witnesses = self.witnesses.saturating_sub(3).max(1);
        }
        self.workload.requesters = self.workload.requesters.min(self.peers);
        self
    }
}
