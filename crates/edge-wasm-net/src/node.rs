//! What the worker around this module may ask.

use std::{collections::VecDeque, rc::Rc, sync::Arc, time::Duration};

use edge_base::{Credits, Digest, Micros, NodeId, SecretKey, TaskKind, Verifier, codec};
use edge_swarm::{
    Answer, Command, Input, Line, Peer, Refusal, Settings, Ticket,
    command::{Canaries, Priority, TaskRequest},
};
use edge_transport::{Transport, TransportConfig, TransportEvent};
use futures::future::{Either, select};
use js_sys::{Array, Uint8Array};
use serde::Serialize;
use tokio::sync::{Notify, mpsc};
use wasm_bindgen::{JsError, prelude::wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use zeroize::Zeroizing;

use crate::{
    calls::Calls,
    entropy,
    host::Host,
    now,
    run::{LINE_BYTES, PeerLoop, Sink, input_of, reason},
    stored,
};

/// Frames and commands that may wait for the peer.
const INPUT_QUEUE: usize = 1_024;
/// Tasks of others that may wait here: a tab has a small share of the processor, and what it takes must be
/// done in time.
const QUEUE_MAX: usize = 8;
/// How long a relay has to give this tab an address; without one it works, but other tabs cannot reach it.
const RESERVATION: Duration = Duration::from_secs(5);
/// Gateways that are asked for an address.
const RELAYS_MAX: usize = 2;

/// What a tab starts with.
#[wasm_bindgen]
#[derive(Default)]
pub struct Options {
    seed: Zeroizing<Vec<u8>>,
    ticket: Option<String>,
    gateways: Vec<String>,
    pins: Vec<u8>,
    shard_pin: Vec<u8>,
    works: bool,
    life: u64,
}

#[wasm_bindgen]
impl Options {
    /// The 32 bytes of the node's key; whether it executes tasks of others, which of them by
    /// 32 bytes each; what answers of shards it can check; the seconds of the wall clock.
    #[wasm_bindgen(constructor)]
    pub fn new(
        seed: Vec<u8>,
        works: bool,
        pins: Vec<u8>,
        shard_pin: Vec<u8>,
        life: f64,
    ) -> Options {
        let seed = Zeroizing::new(seed);
        Options { seed, pins, shard_pin, works, life: life as u64, ..Options::default() }
    }

    /// The ticket that lets this tab in.
    pub fn ticket(&mut self, text: String) {
        self.ticket = Some(text);
    }

    /// Addresses of gateways, besides those of the ticket.
    pub fn gateway(&mut self, address: String) {
        self.gateways.push(address);
    }
}

/// A peer that runs. It ends when it is told to, when this is freed, or when storage fails.
#[wasm_bindgen]
pub struct Node {
    calls: Calls,
    stop: Rc<Notify>,
    completions: mpsc::UnboundedSender<Input>,
    id: NodeId,
    pool: Digest,
}

/// Says to a page what a refusal says: its kind is the error's name.
fn refused(refusal: Refusal) -> JsError {
    let kind = match &refusal {
        Refusal::NotFound(_) => "not found",
        Refusal::Invalid(_) => "invalid",
        Refusal::Refused(_) => "refused",
        Refusal::TimedOut(_) => "timed out",
        _ => "failed",
    };
    JsError::new(&format!("{kind}: {refusal}"))
}

fn json(value: &impl Serialize) -> Result<String, JsError> {
    serde_json::to_string(value).map_err(|error| JsError::new(&error.to_string()))
}

/// Whether stored rows are those of a member, who needs no ticket.
#[wasm_bindgen(js_name = isMember)]
pub fn is_member(rows: &Array) -> Result<bool, JsError> {
    Ok(Peer::is_let_in(&stored::read(rows)?))
}

/// The pool that a ticket leads to, 64 hexadecimal digits.
#[wasm_bindgen(js_name = ticketPool)]
pub fn ticket_pool(ticket: &str) -> Result<String, JsError> {
    Ok(ticket.parse::<Ticket>()?.pool.to_hex())
}

fn unexpected() -> JsError {
    JsError::new("failed: the peer answered something else")
}

#[wasm_bindgen]
impl Node {
    /// Starts the peer with what the host has stored, as `[table, key, value]` rows.
    pub async fn start(host: Host, rows: Array, options: Options) -> Result<Node, JsError> {
        console_error_panic_hook::set_once();
        let host = Rc::new(host);
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(
            options.seed[..].try_into().map_err(|_| JsError::new("a key has 32 bytes"))?,
        );
        let mut stored = stored::read(&rows)?;
        let ticket = options.ticket.as_deref().map(str::parse::<Ticket>).transpose();
        let ticket = ticket.map_err(|error| JsError::new(&error.to_string()))?;
        match (Peer::pool_of(&stored), &ticket) {
            (Some(pool), Some(ticket)) if ticket.pool != pool => {
                return Err(JsError::new(
                    "this site's storage belongs to another pool than the ticket; clear the site's data \
                     to leave that pool",
                ));
            }
            (Some(_), Some(_)) if Peer::is_let_in(&stored) => {}
            (_, Some(ticket)) => {
                let writes = Peer::join(ticket);
                let done = host.persist(stored::rows(&writes)).map(JsFuture::from);
                let done = match done {
                    Ok(done) => done.await,
                    Err(error) => Err(error),
                };
                done.map_err(|error| {
                    JsError::new(&format!("the browser did not store: {}", reason(&error)))
                })?;
                stored::apply(&mut stored, &writes);
            }
            (Some(_), None) => {}
            (None, None) => {
                return Err(JsError::new("this tab is of no pool yet: a ticket is needed"));
            }
        }
        let pool = Peer::pool_of(&stored).ok_or_else(|| JsError::new("the pool is not stored"))?;
        let mut gateways = options.gateways.clone();
        gateways.extend(ticket.into_iter().flat_map(|ticket| ticket.addresses));
        gateways.retain(|address| is_gateway(address));
        let listen = gateways.iter().take(RELAYS_MAX);
        let config = TransportConfig {
            listen: listen.map(|address| format!("{address}/p2p-circuit")).collect(),
            ..TransportConfig::new(*seed, pool.0)
        };
        let (transport, mut network) =
            Transport::start(config).map_err(|error| JsError::new(&error.to_string()))?;
        for address in &gateways {
            transport
                .dial(None, vec![address.clone()])
                .map_err(|error| JsError::new(&error.to_string()))?;
        }
        let (addresses, early) = reserve(&mut network, !gateways.is_empty()).await;
        let key = SecretKey::from_seed(*seed);
        let pins = options.pins.chunks_exact(32);
        let settings = Settings {
            addresses,
            pins: pins.map(|pin| Digest(pin.try_into().unwrap_or_default())).collect(),
            shard_pin: options.shard_pin[..].try_into().map(Digest).unwrap_or_default(),
            works: options.works,
            queue_max: QUEUE_MAX,
            agent: concat!("edge-net-web/", env!("CARGO_PKG_VERSION")).to_owned(),
            life_min: options.life,
            ..Settings::default()
        };
        let mut peer = Peer::new(key, settings, stored, Verifier::strict(), entropy()?, now())
            .map_err(|error| JsError::new(&error.to_string()))?;
        peer.session_entropy(entropy()?);

        let (inputs, receiver) = mpsc::channel(INPUT_QUEUE);
        let (completions, completed) = mpsc::unbounded_channel();
        let calls = Calls::new(inputs);
        let sink = Sink {
            host,
            transport: transport.clone(),
            calls: calls.clone(),
            completions: completions.clone(),
        };
        let (id, stop) = (peer.node_id(), Rc::new(Notify::new()));
        let peer_loop = PeerLoop {
            peer,
            line: Line::new(LINE_BYTES),
            inputs: receiver,
            network,
            completed,
            sink,
            stop: Rc::clone(&stop),
        };
        spawn_local(peer_loop.run(early));
        Ok(Node { calls, stop, completions, id, pool })
    }

    /// The node's id, 64 hexadecimal digits.
    pub fn id(&self) -> String {
        self.id.to_hex()
    }

    /// The pool's genesis hash, 64 hexadecimal digits.
    pub fn pool(&self) -> String {
        self.pool.to_hex()
    }

    /// Work that was handed out ended: its result.
    pub fn executed(&self, work: f64, result: Vec<u8>) {
        // An error means that the peer has ended.
        let _ = self.completions.send(Input::Executed { work: work as u64, outcome: Ok(result) });
    }

    /// Work that was handed out ended without a result.
    pub fn failed(&self, work: f64, why: String) {
        // As above.
        let _ = self.completions.send(Input::Executed { work: work as u64, outcome: Err(why) });
    }

    /// Who and how this node is: JSON.
    pub async fn status(&self) -> Result<String, JsError> {
        match self.ask(Command::Status).await? {
            Answer::Status(view) => json(&view),
            _ => Err(unexpected()),
        }
    }

    /// The members: JSON.
    pub async fn peers(&self) -> Result<String, JsError> {
        match self.ask(Command::ListPeers).await? {
            Answer::Peers(views) => json(&views),
            _ => Err(unexpected()),
        }
    }

    /// Own tasks, newest first: JSON.
    pub async fn tasks(&self, limit: usize) -> Result<String, JsError> {
        match self.ask(Command::ListTasks { limit }).await? {
            Answer::Tasks(views) => json(&views),
            _ => Err(unexpected()),
        }
    }

    /// The blocks of this node's account, the newest `limit`: JSON.
    pub async fn history(&self, limit: usize) -> Result<String, JsError> {
        match self.ask(Command::History { account: None, limit }).await? {
            Answer::History(views) => json(&views),
            _ => Err(unexpected()),
        }
    }

    /// The last checkpoint of the pool: JSON, `null` before the first one that this node has.
    pub async fn checkpoint(&self) -> Result<String, JsError> {
        match self.calls.call(Command::Checkpoint).await {
            Ok(Answer::Checkpoint(view)) => json(&view),
            Ok(_) => Err(unexpected()),
            // There is none, or this node has not joined yet.
            Err(Refusal::NotFound(_) | Refusal::Refused(_)) => Ok("null".into()),
            Err(refusal) => Err(refused(refusal)),
        }
    }

    /// What senders did to this node and what came of it: JSON.
    pub async fn security(&self) -> Result<String, JsError> {
        match self.ask(Command::Security).await? {
            Answer::Security(view) => json(&view),
            _ => Err(unexpected()),
        }
    }

    /// The collections of the pool: JSON.
    pub async fn collections(&self) -> Result<String, JsError> {
        match self.ask(Command::ListCollections).await? {
            Answer::Collections(views) => json(&views),
            _ => Err(unexpected()),
        }
    }

    /// Has a task executed by the pool and checked: `[task id, how it was checked as JSON, result]`.
    #[allow(clippy::too_many_arguments, reason = "each is a number or bytes of another module")]
    pub async fn submit(
        &self,
        kind: String,
        payload: Vec<u8>,
        pin: Vec<u8>,
        units: f64,
        micro_ruv_max: Option<f64>,
        high: bool,
        milliseconds: f64,
    ) -> Result<Array, JsError> {
        let kind = TaskKind::from_name(&kind)
            .ok_or_else(|| JsError::new(&format!("invalid: there is no task kind {kind:?}")))?;
        let pin: [u8; 32] =
            pin.try_into().map_err(|_| JsError::new("invalid: a pin has 32 bytes"))?;
        let request = TaskRequest {
            kind,
            payload: payload.into(),
            pin: Digest(pin),
            units: (units as u64).max(1),
            priority: if high { Priority::High } else { Priority::Normal },
            remaining: Micros::from_millis(milliseconds as u64),
            price_max: micro_ruv_max.map(|micro| Credits::from_micro(micro as u64)),
            among: None,
            canaries: Canaries::default(),
        };
        match self.ask(Command::Submit(request)).await? {
            Answer::Task(task) => Ok(Array::of3(
                &task.task.to_hex().into(),
                &json(&task.check)?.into(),
                &bytes(&task.result),
            )),
            _ => Err(unexpected()),
        }
    }

    /// Searches a collection: `[encoded hits, how each shard was searched as JSON]`.
    pub async fn search(
        &self,
        collection: String,
        k: u32,
        query: Vec<u8>,
        units: f64,
        milliseconds: f64,
    ) -> Result<Array, JsError> {
        let remaining = Micros::from_millis(milliseconds as u64);
        let units = (units as u64).max(1);
        match self.ask(Command::Search { collection, k, query, units, remaining }).await? {
            Answer::Found(found) => {
                let hits = Arc::from(codec::encode(&found.hits));
                Ok(Array::of2(&bytes(&hits), &json(&found.shards)?.into()))
            }
            _ => Err(unexpected()),
        }
    }

    /// Takes tasks of others from now on, with so many thousandths of a core, or declines them.
    pub async fn work(&self, others: bool, cpu_milli: u32) -> Result<(), JsError> {
        self.ask(Command::Offer { cpu_milli }).await?;
        self.ask(Command::Work { others }).await.map(drop)
    }

    /// How the pool's economy goes: JSON, `null` before this node has joined.
    pub async fn economy(&self) -> Result<String, JsError> {
        match self.calls.call(Command::Economy).await {
            Ok(Answer::Economy(view)) => json(&view),
            Ok(_) => Err(unexpected()),
            Err(Refusal::Refused(_)) => Ok("null".into()),
            Err(refusal) => Err(refused(refusal)),
        }
    }

    /// Pays another account, puts credits at stake (`stake`), or begins to take them back (`unstake`), in
    /// micro-rUv: the certified block as JSON, or `null` where the answer has none.
    pub async fn pay(&self, what: String, to: String, micro: f64) -> Result<String, JsError> {
        let amount = Credits::from_micro(micro as u64);
        let command = match what.as_str() {
            "send" => {
                let to = NodeId::from_hex(&to)
                    .ok_or_else(|| JsError::new("invalid: an account has 64 hexadecimal digits"))?;
                Command::Send { to, amount }
            }
            "stake" => Command::Stake { amount },
            "unstake" => Command::Unstake { amount },
            _ => return Err(JsError::new("invalid: there is no such payment")),
        };
        match self.ask(command).await? {
            Answer::Sent(view) => json(&view),
            _ => Ok("null".into()),
        }
    }

    /// Finishes what was promised and takes nothing new, then ends.
    pub async fn stop(&self) -> Result<(), JsError> {
        let drained = self.ask(Command::Drain).await;
        self.stop.notify_one();
        drained.map(drop)
    }

    async fn ask(&self, command: Command) -> Result<Answer, JsError> {
        self.calls.call(command).await.map_err(refused)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

fn bytes(bytes: &Arc<[u8]>) -> wasm_bindgen::JsValue {
    Uint8Array::from(&bytes[..]).into()
}

/// Whether a browser can dial an address and ask there for a circuit.
fn is_gateway(address: &str) -> bool {
    is_web(address) && address.contains("/p2p/") && !address.contains("/p2p-circuit")
}

fn is_web(address: &str) -> bool {
    address.split('/').any(|part| matches!(part, "ws" | "wss"))
}

/// Waits for an address at a relay; what came in meanwhile is kept.
async fn reserve(
    network: &mut mpsc::Receiver<TransportEvent>,
    wait: bool,
) -> (Vec<String>, VecDeque<Input>) {
    let (mut addresses, mut early) = (Vec::new(), VecDeque::new());
    let mut timeout = futures_timer::Delay::new(if wait { RESERVATION } else { Duration::ZERO });
    while addresses.is_empty() {
        let event = Box::pin(network.recv());
        match select(event, &mut timeout).await {
            // A relay names all its addresses; other tabs can use those of WebSocket.
            Either::Left((Some(TransportEvent::Listening { addresses: given }), _)) => {
                addresses = given.into_iter().filter(|address| is_web(address)).collect();
            }
            Either::Left((Some(event), _)) => early.extend(input_of(event)),
            Either::Left((None, _)) | Either::Right(_) => break,
        }
    }
    (addresses, early)
}
