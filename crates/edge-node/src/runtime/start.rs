//! Starting a node: folder, identity, store, network, peer, workers, in this order.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use edge_base::{Credits, Digest, NetworkTag, NodeId, Rng, SecretKey, Verifier};
use edge_embed::Registry;
use edge_ledger::{Genesis, GenesisError, Network};
use edge_swarm::{Command, Input, Line, Peer, Settings, StartError, Stored, Ticket, Write};
use edge_tasks::{CanaryStore, Executor, lie::Lie};
use edge_transport::{
    Limits, Transport, TransportConfig, TransportError, TransportEvent, TransportHandle,
};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use super::{
    Gauges, Inner, NodeHandle,
    calls::Calls,
    now,
    peer_loop::{LINE_BYTES, PeerLoop, STORAGE_QUEUE, Sink},
    ports::Ports,
};
use crate::{
    activity::Activity,
    config::Config,
    events::EventLog,
    execute::TaskExecutor,
    folder::{Folder, FolderError, entropy, read_identity, read_next_identity},
    keys::{self, Keys},
    models, platform,
    snapshots::{SnapshotFolder, SnapshotTaker},
    store::{Commit as _, Finding, Opening, Owner, Pipeline, Store, StoreError},
    workers::{Bounds, CpuShare, Workers},
};

/// Frames and commands that may wait for the peer.
const INPUT_QUEUE: usize = 1_024;
/// How long a port of the last run is waited for before another one is chosen.
const PORT_PATIENCE: Duration = Duration::from_secs(1);
/// Pieces of work that may wait for workers; the peer hands out fewer.
const WORK_QUEUE: usize = 16_384;
/// How often bootstrap addresses are dialled while no peer is connected.
const BOOTSTRAP_EVERY: Duration = Duration::from_secs(5);
/// How often the CPU share is looked at.
const ACTIVITY_EVERY: Duration = Duration::from_secs(2);
/// Peers to whom frames may wait at once, for dividing the memory.
const FLOWS: u64 = 16;

/// Starts nodes.
#[derive(Clone, Copy, Debug)]
pub struct Node;

/// What a new pool begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The founder's balance: every credit there will be.
    pub grant: Credits,
    /// A pool for trying or for keeping.
    pub network: Network,
}

impl Default for Found {
    /// A million rUv to keep.
    fn default() -> Self {
        let grant = Credits::from_whole(1_000_000).expect("invariant: a million fits");
        Found { grant, network: Network::Main }
    }
}

/// Which pool the node is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartMode {
    /// A new one; an error when the data folder has one.
    Found(Found),
    /// That of the data folder, else a new one.
    ResumeOrFound(Found),
    /// That of a ticket; an error when the data folder has another one.
    Join(Ticket),
    /// That of the data folder.
    Resume,
}

/// What no configuration file should say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeOptions {
    /// Lie about results of others' tasks, with choices from this seed. For the demonstration.
    pub lie: Option<(Lie, u64)>,
    /// The data folder was moved or restored, and the original will never run again: go on with it,
    /// without voting. Without this, what looks like a copy is refused.
    pub moved: bool,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network: an address that is taken or is none.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// What was stored.
    #[error(transparent)]
    Peer(#[from] StartError),
    /// The new pool's record.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A pool is to be founded where there is one: the caller's fault.
    #[error("{path} already belongs to pool {pool}")]
    PoolExists {
        /// The folder.
        path: PathBuf,
        /// Its pool.
        pool: Digest,
    },
    /// A ticket of one pool for a folder of another: the caller's fault. Pools do not merge.
    #[error(
        "{path} belongs to pool {pool}, the ticket is for pool {ticket}; pools do not merge: start a \
         second node with `edge-net start --data-dir OTHER_FOLDER --join TICKET`"
    )]
    OtherPool {
        /// The folder.
        path: PathBuf,
        /// Its pool.
        pool: Digest,
        /// The ticket's.
        ticket: Digest,
    },
    /// The key of this node is being replaced, and the new one is gone.
    #[error("this node's key is being replaced by {}, and {path} does not hold that key", heir.to_hex())]
    HeirGone {
        /// Where it should be.
        path: PathBuf,
        /// The new key.
        heir: NodeId,
    },
    /// A pool would be founded by an identity that has one: its data is gone, or only the identity
    /// was restored.
    #[error(
        "the identity in {path} belongs to a pool (its id begins with {network}) whose data is not \
         in this folder"
    )]
    PoolGone {
        /// The folder.
        path: PathBuf,
        /// What the identity says of its pool.
        network: NetworkTag,
    },
}

impl Node {
    /// Starts an honest node on the current tokio runtime.
    ///
    /// # Errors
    /// Every [`NodeError`]. Nothing runs on after an error.
    pub async fn start(config: Config, mode: StartMode) -> Result<NodeHandle, NodeError> {
        Node::start_with(config, mode, NodeOptions::default()).await
    }

    /// As [`Node::start`], with options.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(
        config: Config,
        mode: StartMode,
        options: NodeOptions,
    ) -> Result<NodeHandle, NodeError> {
        platform::survive_file_size_limit();
        let folder = Folder::open(&config.data_dir)?;
        let owner = read_identity(folder.path())?.map(|(identity, key)| Owner {
            node: key.node_id(),
            bound: identity.network() != NetworkTag::UNBOUND,
        });
        // Before an identity is made: it must not get the database of another one.
        let next = read_next_identity(folder.path())?.map(|(_, key)| key.node_id());
        let opening = Opening { owner, next, moved: options.moved };
        let (store, findings) = Store::open(&folder, config.memory.0 / 2, opening)?;
        take_next_key(&store, &folder, next)?;
        let key = folder.identity()?;
        store.belongs_to(key.node_id())?;
        for finding in &findings {
            match finding {
                Finding::Created => tracing::debug!("{finding}"),
                other => tracing::warn!("{other}"),
            }
        }
        let stored = enter_pool(&store, &folder, &config, &key, mode)?;
        let parts = Parts::ready(config, folder, key, store, stored).await?;
        Ok(parts.run(options, &findings))
    }
}

/// Goes on under the next key, if nothing is left to do for the present one. Killed between any two steps, it
/// does the rest at the next start.
pub(super) fn take_next_key(
    store: &Store,
    folder: &Folder,
    next: Option<NodeId>,
) -> Result<(), NodeError> {
    let present = read_identity(folder.path())?.map(|(_, key)| key.node_id());
    let stored = store.load_all()?;
    let Some(heir) = Peer::rotates_to(&stored).filter(|heir| present != Some(*heir)) else {
        return Ok(());
    };
    if next != Some(heir) {
        // Nobody hears the present key when this is done, and nobody would have the other one.
        return Err(NodeError::HeirGone { path: folder.path().join("identity.next"), heir });
    }
    if Peer::rotated(&stored) == Some(heir) {
        store.belongs_to(heir)?;
        folder.take_next_identity()?;
        tracing::info!(node = %heir.short(), "this node goes on under its new key");
    }
    Ok(())
}

/// Everything that is ready when the threads start.
pub(super) struct Parts {
    config: Config,
    pool: Digest,
    folder: Folder,
    store: Store,
    transport: TransportHandle,
    network: mpsc::Receiver<TransportEvent>,
    addresses: Vec<String>,
    peer: Peer,
    models: Registry,
    canaries: CanaryStore,
    keys: Keys,
    /// What is wrong with some models and keys.
    problems: Vec<String>,
    snapshots: SnapshotFolder,
}

impl Parts {
    /// Binds the network and makes the peer.
    pub(super) async fn ready(
        config: Config,
        folder: Folder,
        key: SecretKey,
        store: Store,
        stored: Stored,
    ) -> Result<Parts, NodeError> {
        let pool = Peer::pool_of(&stored).ok_or(StartError::NoPool)?;
        folder.bind_identity(&key, &pool)?;
        // Before others connect: it takes a while, and they are told what this node can execute.
        let (models, mut problems) = models::load(folder.path());
        let (keys, wrong) = keys::load(folder.path());
        problems.extend(wrong);
        let (transport, network) = start_transport(&config, &key, pool, folder.path()).await?;
        let addresses = transport.listen_addresses().await?;
        Ports::keep(folder.path(), &config.listen, &addresses);
        let snapshots = SnapshotFolder::open(folder.path(), &Peer::copies_in(&stored));
        let settings = Settings {
            addresses: addresses.clone(),
            pins: edge_tasks::pins_with(&models),
            guarded: keys.guarded(),
            shard_pin: edge_tasks::shard_pin(),
            works: config.works,
            exposure_max: config.exposure,
            assumption: config.trust,
            tuner: config.tuner,
            agent: concat!("edge-net/", env!("CARGO_PKG_VERSION")).to_owned(),
            life_min: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            ..Settings::default()
        };
        let rng = Rng::from_seed(*entropy()?);
        let canaries = CanaryStore::new(config.canaries.fraction(), rng);
        let seed = *entropy()?;
        let mut peer = Peer::new(key.clone(), settings, stored, Verifier::strict(), seed, now())?;
        peer.session_entropy(*entropy()?);
        if !store.may_vote() {
            peer.may_vote(false);
        }
        Ok(Parts {
            config,
            pool,
            folder,
            store,
            transport,
            network,
            addresses,
            peer,
            models,
            canaries,
            keys,
            problems,
            snapshots,
        })
    }

    pub(super) fn run(self, options: NodeOptions, findings: &[Finding]) -> NodeHandle {
        let Parts { config, pool, folder, store, transport, network, addresses, peer, .. } = self;
        let Parts { models, canaries, keys, problems, snapshots, .. } = self;
        let (folder, store) = (Arc::new(folder), Arc::new(store));
        let (inputs, input_receiver) = mpsc::channel(INPUT_QUEUE);
        let (completed, completions) = mpsc::unbounded_channel();
        let (stop, stop_receiver) = watch::channel(false);
        let (ended_sender, ended) = watch::channel(None);
        let (calls, events) = (Arc::new(Calls::default()), Arc::new(EventLog::default()));
        let gauges = Arc::new(Gauges::default());
        let (rotated_sender, rotated) = watch::channel(None);

        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = Arc::new(CpuShare::new(config.cpu, cores, Instant::now()));
        let bounds =
            Bounds { threads: config.workers, pieces: WORK_QUEUE, bytes: config.memory.0 / 4 };
        let executor = Executor::with_models(models.clone())
            .with_keys(keys.ring().clone())
            .with_snapshots(snapshots);
        let executor = Arc::new(TaskExecutor::new(executor, options.lie));
        let snapshots = SnapshotTaker::start(Arc::clone(&executor), folder.path());
        let results = completed.clone();
        let workers =
            Workers::start(bounds, Arc::clone(&share), executor.clone(), move |work, outcome| {
                // The peer's thread stops the workers before it goes: a result after that is unwanted.
                let _ = results.send(Input::Executed { work, outcome });
            });

        let sink = Sink {
            transport: transport.clone(),
            calls: Arc::clone(&calls),
            events: Arc::clone(&events),
            store: Arc::clone(&store),
            completions: completed.clone(),
            rotated: rotated_sender,
        };
        let pipeline =
            Pipeline::start(Arc::clone(&store), STORAGE_QUEUE, move |effect| sink.release(effect));

        for finding in findings.iter().filter(|finding| **finding != Finding::Created) {
            events.push(edge_swarm::Event::Note { text: finding.to_string() });
        }
        for text in problems {
            tracing::warn!("{text}");
            events.push(edge_swarm::Event::Note { text });
        }
        let inner = Inner {
            models,
            keys: RwLock::new(Arc::new(keys)),
            node: peer.node_id(),
            pool,
            addresses,
            started: Instant::now(),
            inputs: inputs.clone(),
            calls: Arc::clone(&calls),
            events,
            transport: transport.clone(),
            store,
            workers: Arc::clone(workers.stats()),
            executor,
            share: Arc::clone(&share),
            folder: Arc::clone(&folder),
            gauges: Arc::clone(&gauges),
            stop,
            ended: ended.clone(),
            rotated,
            canaries: Mutex::new(canaries),
            config: config.clone(),
        };
        let commands = Commands { calls: Arc::clone(&calls), inputs, ended: ended.clone() };
        let peer_loop = PeerLoop {
            peer,
            line: Line::new(LINE_BYTES),
            inputs: input_receiver,
            network,
            completions,
            completed,
            stop: stop_receiver,
            pipeline,
            workers,
            snapshots,
            transport: transport.clone(),
            calls,
            gauges,
            folder,
        };
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("peer".into())
            .spawn(move || runtime.block_on(peer_loop.run(ended_sender)))
            .expect("invariant: a thread can be started while the node starts");
        tokio::spawn(watch_activity(Activity::new(&config), share, cores, commands));
        if !config.bootstrap.is_empty() {
            tokio::spawn(bootstrap(config.bootstrap, transport, ended));
        }
        NodeHandle(Arc::new(inner))
    }
}

/// Makes the store belong to the pool that the mode says, or refuses.
pub(super) fn enter_pool(
    store: &Store,
    folder: &Folder,
    config: &Config,
    key: &SecretKey,
    mode: StartMode,
) -> Result<Stored, NodeError> {
    let stored = store.load_all()?;
    let path = || folder.path().to_owned();
    let network = read_identity(folder.path())?.map(|(identity, _)| identity.network());
    let bound = network.filter(|network| *network != NetworkTag::UNBOUND);
    let pool = Peer::pool_of(&stored);
    if let (None, Some(network)) = (pool, bound)
        && !matches!(mode, StartMode::Join(_))
    {
        return Err(NodeError::PoolGone { path: path(), network });
    }
    let writes: Vec<Write> = match (pool, mode) {
        (Some(pool), StartMode::Found(_)) => {
            return Err(NodeError::PoolExists { path: path(), pool });
        }
        (Some(pool), StartMode::Join(ticket)) if ticket.pool != pool => {
            return Err(NodeError::OtherPool { path: path(), pool, ticket: ticket.pool });
        }
        (Some(_), StartMode::Join(ticket)) if !Peer::is_let_in(&stored) => Peer::join(&ticket),
        (Some(_), StartMode::Join(_) | StartMode::Resume | StartMode::ResumeOrFound(_)) => {
            return Ok(stored);
        }
        (None, StartMode::Join(ticket)) => Peer::join(&ticket),
        (None, StartMode::Found(found) | StartMode::ResumeOrFound(found)) => {
            let Found { grant, network } = found;
            let nonce = *entropy()?;
            let name = config.namespace.as_str();
            Peer::found(&Genesis::new(network, key.node_id(), grant, name, nonce)?)
        }
        (None, StartMode::Resume) => return Err(StartError::NoPool.into()),
    };
    store.commit(&writes.iter().collect::<Vec<_>>())?;
    Ok(store.load_all()?)
}

async fn start_transport(
    config: &Config,
    key: &SecretKey,
    pool: Digest,
    folder: &Path,
) -> Result<(TransportHandle, mpsc::Receiver<TransportEvent>), TransportError> {
    let seed: Zeroizing<[u8; 32]> = key.seed();
    let per_peer = usize::try_from(config.memory.0 / 4 / FLOWS).unwrap_or(usize::MAX);
    let defaults = Limits::default();
    let limits = Limits {
        // Two of the largest frames must fit, or nothing large would ever leave.
        outgoing_bytes_per_peer: per_peer.max(2 * defaults.message_bytes),
        ..defaults
    };
    let mut ports = Ports::load(folder);
    let began = Instant::now();
    loop {
        let started = Transport::start(TransportConfig {
            listen: config.listen.iter().map(|address| ports.apply(address)).collect(),
            mdns: config.mdns,
            limits: limits.clone(),
            ..TransportConfig::new(*seed, pool.0)
        });
        let Err(TransportError::Listen { address, reason }) = &started else { return started };
        let remembered = |asked: &&String| *asked != address && ports.apply(asked) == *address;
        let Some(configured) = config.listen.iter().find(remembered) else { return started };
        // A node that was here a moment ago may not have let go of it.
        if began.elapsed() < PORT_PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        tracing::info!(address, reason, "the last run's port is taken: another one is chosen");
        ports.forget(configured);
    }
}

/// Dials the configured addresses for as long as nobody is connected.
async fn bootstrap(
    addresses: Vec<String>,
    transport: TransportHandle,
    ended: watch::Receiver<Option<super::Ended>>,
) {
    let mut every = tokio::time::interval(BOOTSTRAP_EVERY);
    while ended.borrow().is_none() {
        every.tick().await;
        if transport.stats().connections > 0 {
            continue;
        }
        for address in &addresses {
            if let Err(error) = transport.dial(None, vec![address.clone()]) {
                tracing::warn!(address, %error, "cannot use a bootstrap address");
            }
        }
    }
}

/// Gives the peer commands without keeping the node open: its store closes with the last handle.
struct Commands {
    calls: Arc<Calls>,
    inputs: mpsc::Sender<Input>,
    ended: watch::Receiver<Option<super::Ended>>,
}

impl Commands {
    /// Whether the peer did it.
    async fn give(&self, command: Command) -> bool {
        let Ok(ticket) = self.calls.open(&self.inputs) else { return false };
        let input = Input::Command { call: ticket.id(), command };
        self.inputs.send(input).await.is_ok() && matches!(ticket.wait().await, Some(Ok(_)))
    }
}

/// Sets the CPU share that fits what the machine is used for, and has the peer tell members what it comes to.
async fn watch_activity(
    mut activity: Activity,
    share: Arc<CpuShare>,
    cores: usize,
    commands: Commands,
) {
    let mut every = tokio::time::interval(ACTIVITY_EVERY);
    let mut told = None;
    while commands.ended.borrow().is_none() {
        every.tick().await;
        let now = Instant::now();
        let chosen = activity.look(now);
        if chosen != share.get() {
            tracing::info!(per_mille = chosen.per_mille(), "CPU share");
            share.set(chosen, now);
        }
        if told != Some(chosen) {
            let all = u64::from(chosen.per_mille()) * cores as u64;
            let cpu_milli = u32::try_from(all).unwrap_or(u32::MAX);
            // A peer that has no time now is told the next time.
            if commands.give(Command::Offer { cpu_milli }).await {
                told = Some(chosen);
            }
        }
    }
}
