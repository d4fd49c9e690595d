//! The loop around the peer: what comes in, what goes out, and what has to be stored in between.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use edge_base::{NodeId, Timestamp, Work, codec};
use edge_swarm::{Answer, CallId, Event, Input, Line, LoadId, Output, Peer, Refusal, Table, Write};
use edge_transport::{TransportEvent, TransportHandle, Validation};
use futures::future::OptionFuture;
use js_sys::Uint8Array;
use tokio::sync::{Notify, mpsc};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::{calls::Calls, host::Host, now, stored};

/// Batches that may wait for storage; then the peer takes no further input.
const STORAGE_QUEUE: usize = 4_096;
/// Bytes of frames that wait for the peer.
pub(crate) const LINE_BYTES: usize = 8 << 20;
/// Batches that are made durable together.
const GROUP_BATCHES: usize = 1_024;

/// What may only happen once the writes before it are durable.
enum Effect {
    Send { to: NodeId, frames: Vec<Vec<u8>> },
    Publish(Vec<u8>),
    Answer { call: CallId, answer: Result<Answer, Refusal> },
    Event(Event),
    Load { load: LoadId, table: Table, key: Vec<u8> },
}

/// Writes, and what waits for them.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    then: Vec<Effect>,
}

/// Where effects go.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) host: Rc<Host>,
    pub(crate) transport: TransportHandle,
    pub(crate) calls: Calls,
    pub(crate) completions: mpsc::UnboundedSender<Input>,
}

impl Sink {
    fn release(&self, effect: Effect) {
        match effect {
            Effect::Send { to, frames } => {
                // What the transport does not take is lost, which the protocol allows for.
                self.transport.send(to, frames);
            }
            // As above.
            Effect::Publish(frame) => drop(self.transport.publish(frame)),
            Effect::Answer { call, answer } => self.calls.answer(call, answer),
            Effect::Event(event) => {
                if let Ok(json) = serde_json::to_string(&event) {
                    self.host.event(json);
                }
            }
            Effect::Load { load, table, key } => {
                let sink = self.clone();
                spawn_local(async move {
                    let value = sink.load(table, key).await;
                    // An error means that the peer has ended.
                    let _ = sink.completions.send(Input::Loaded { load, value });
                });
            }
        }
    }

    async fn load(&self, table: Table, key: Vec<u8>) -> Option<Vec<u8>> {
        let promise = self.host.load(table.name(), key).ok()?;
        let value = JsFuture::from(promise).await.ok()?;
        value.dyn_into::<Uint8Array>().ok().map(|bytes| bytes.to_vec())
    }
}

/// Makes batches durable, all that wait in one go (as the daemon's `store/pipeline.rs`), and releases what
/// waited for them. Ends with the reason when storage fails.
async fn store(mut batches: mpsc::Receiver<Batch>, sink: Sink) -> Result<(), String> {
    let mut group = Vec::new();
    while batches.recv_many(&mut group, GROUP_BATCHES).await > 0 {
        if group.iter().any(|batch| !batch.writes.is_empty()) {
            let rows = stored::rows(group.iter().flat_map(|batch| &batch.writes));
            let written = async { JsFuture::from(sink.host.persist(rows)?).await };
            if let Err(error) = written.await {
                return Err(reason(&error));
            }
        }
        for effect in group.drain(..).flat_map(|batch| batch.then) {
            sink.release(effect);
        }
    }
    Ok(())
}

/// What a browser says of an error.
pub(crate) fn reason(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => error.as_string().unwrap_or_else(|| "unknown".into()),
    }
}

/// Everything the loop owns.
pub(crate) struct PeerLoop {
    pub(crate) peer: Peer,
    /// What waits for the peer, each sender's turn after the other's.
    pub(crate) line: Line<Option<NodeId>, Input>,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) network: mpsc::Receiver<TransportEvent>,
    pub(crate) completed: mpsc::UnboundedReceiver<Input>,
    pub(crate) sink: Sink,
    pub(crate) stop: Rc<Notify>,
}

impl PeerLoop {
    /// Runs until it is told to stop or storage fails.
    pub(crate) async fn run(mut self, early: VecDeque<Input>) {
        let (batches, receiver) = mpsc::channel(STORAGE_QUEUE);
        let storing = store(receiver, self.sink.clone());
        let driving = async {
            let mut wake = self.drain(&batches).await;
            for input in early {
                self.peer.handle(now(), input);
                wake = self.drain(&batches).await;
            }
            while let Ok(at) = wake {
                self.take_in_line();
                let sleep =
                    OptionFuture::from(at.map(|at| {
                        futures_timer::Delay::new(Duration::from_micros(at.since(now()).0))
                    }));
                let line = &mut self.line;
                let input = tokio::select! {
                    biased;
                    () = self.stop.notified() => break,
                    Some(input) = self.completed.recv() => input,
                    Some(input) = async { line.pop() } => input,
                    Some(input) = self.inputs.recv() => input,
                    Some(event) = self.network.recv() => match input_of(event) {
                        Some(input) => input,
                        None => continue,
                    },
                    Some(()) = sleep => Input::Tick,
                };
                self.peer.handle(now(), input);
                wake = self.drain(&batches).await;
            }
            drop(batches);
        };
        let ((), stored) = futures::join!(driving, storing);
        self.sink.calls.end();
        self.sink.transport.shutdown().await;
        self.sink.host.ended(stored.err().map(|why| format!("the browser did not store: {why}")));
    }

    /// Puts what came in line (as the daemon's `peer_loop.rs`).
    fn take_in_line(&mut self) {
        while let Ok(input) = self.inputs.try_recv() {
            self.line.push_kept(None, input);
        }
        while let Ok(event) = self.network.try_recv() {
            let lost = input_of(event).map(|input| self.line.take(input));
            for lost in lost.into_iter().flatten() {
                if let Input::Published { number, .. } = lost {
                    self.sink.transport.judge(number, Validation::Ignore);
                }
            }
        }
    }

    /// Carries out what the peer wants; answers when it wants to be woken, or that storage failed.
    async fn drain(&mut self, batches: &mpsc::Sender<Batch>) -> Result<Option<Timestamp>, ()> {
        let (mut batch, mut wake) = (Batch::default(), None);
        let Sink { transport, host, .. } = &self.sink;
        while let Some(output) = self.peer.poll() {
            // What the transport cannot do now, it is asked again for or does without.
            match output {
                Output::Persist(write) => batch.writes.push(write),
                Output::Send { to, frame } => match batch.then.last_mut() {
                    Some(Effect::Send { to: last, frames }) if *last == to => frames.push(frame),
                    _ => batch.then.push(Effect::Send { to, frames: vec![frame] }),
                },
                Output::Publish { frame } => batch.then.push(Effect::Publish(frame)),
                Output::Answer { call, answer } => batch.then.push(Effect::Answer { call, answer }),
                Output::Event(event) => batch.then.push(Effect::Event(event)),
                Output::Load { load, table, key } => {
                    batch.then.push(Effect::Load { load, table, key });
                }
                Output::Execute { work, what, urgency } => {
                    let others = matches!(what, Work::Paid { .. });
                    host.execute(work as f64, codec::encode(&what), urgency as u8, others);
                }
                Output::CancelWork { work } => host.cancel(work as f64),
                Output::Keep { node, addresses } => drop(transport.keep(node, addresses)),
                Output::Disconnect { node } => drop(transport.disconnect(node)),
                Output::Ban { node } => drop(transport.ban(node)),
                Output::Unban { node } => drop(transport.unban(node)),
                Output::Admit { node } => drop(transport.admit(node)),
                Output::Judged { number, validation } => transport.judge(number, validation),
                Output::WakeAt(at) => wake = Some(at),
            }
        }
        if !batch.writes.is_empty() || !batch.then.is_empty() {
            batches.send(batch).await.map_err(drop)?;
        }
        Ok(wake)
    }
}

/// What an event of the network is to the peer.
pub(crate) fn input_of(event: TransportEvent) -> Option<Input> {
    match event {
        TransportEvent::Connected { node, .. } => Some(Input::Connected { node }),
        TransportEvent::Disconnected { node } => Some(Input::Disconnected { node }),
        TransportEvent::Message { from, frame } => Some(Input::Frame { from, bytes: frame }),
        TransportEvent::Published { from, number, frame } => {
            Some(Input::Published { from, number, bytes: frame })
        }
        _ => None,
    }
}
