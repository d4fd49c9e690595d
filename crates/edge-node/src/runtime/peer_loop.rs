//! The peer's thread.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use edge_base::{NodeId, Timestamp};
use edge_swarm::{Answer, CallId, Event, Input, Line, LoadId, Output, Peer, Refusal, Table};
use edge_transport::{TransportEvent, TransportHandle, Validation};
use tokio::sync::{mpsc, watch};

use super::{Ended, Gauges, calls::Calls, now};
use crate::{
    events::EventLog,
    folder::Folder,
    snapshots::SnapshotTaker,
    store::{Batch, Pipeline, Store, StoreError},
    workers::Workers,
};

/// Batches that may wait for storage; then the peer takes no further input.
pub(super) const STORAGE_QUEUE: usize = 4_096;
/// Bytes of frames that wait for the peer.
pub(super) const LINE_BYTES: usize = 32 << 20;
/// So many of each queue are put in line between two inputs.
const TAKEN_AT_ONCE: usize = 256;

/// What may only happen once the writes before it are durable.
pub(super) enum Effect {
    Send { to: NodeId, frames: Vec<Vec<u8>> },
    Publish(Vec<u8>),
    Answer { call: CallId, answer: Result<Answer, Refusal> },
    Event(Event),
    Load { load: LoadId, table: Table, key: Vec<u8> },
}

/// Where effects go.
pub(super) struct Sink {
    pub(super) transport: TransportHandle,
    pub(super) calls: Arc<Calls>,
    pub(super) events: Arc<EventLog>,
    pub(super) store: Arc<Store>,
    pub(super) completions: mpsc::UnboundedSender<Input>,
    pub(super) rotated: watch::Sender<Option<NodeId>>,
}

impl Sink {
    pub(super) fn release(&self, effect: Effect) -> Result<(), StoreError> {
        match effect {
            Effect::Send { to, frames } => {
                // What the transport does not take is lost, which the protocol allows for.
                self.transport.send(to, frames);
            }
            Effect::Publish(frame) => {
                if let Err(error) = self.transport.publish(frame) {
                    tracing::debug!(%error, "a frame was not published");
                }
            }
            Effect::Answer { call, answer } => self.calls.answer(call, answer),
            Effect::Event(event) => {
                log(&event);
                if let Event::Rotated { heir } = &event {
                    self.rotated.send_replace(Some(*heir));
                }
                self.events.push(event);
            }
            Effect::Load { load, table, key } => {
                let value = self.store.load(table, &key)?;
                // The peer's thread ends before storage does; then nobody needs the value.
                let _ = self.completions.send(Input::Loaded { load, value });
            }
        }
        Ok(())
    }
}

/// Everything the peer's thread owns.
pub(super) struct PeerLoop {
    pub(super) peer: Peer,
    /// What waits for the peer, each sender's turn after the other's.
    pub(super) line: Line<Option<NodeId>, Input>,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) network: mpsc::Receiver<TransportEvent>,
    pub(super) completions: mpsc::UnboundedReceiver<Input>,
    pub(super) completed: mpsc::UnboundedSender<Input>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) pipeline: Pipeline<Effect>,
    pub(super) workers: Workers,
    pub(super) snapshots: SnapshotTaker,
    pub(super) transport: TransportHandle,
    pub(super) calls: Arc<Calls>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) folder: Arc<Folder>,
}

impl PeerLoop {
    /// Runs until it is told to stop or storage fails, then takes everything down.
    pub(super) async fn run(mut self, ended: watch::Sender<Option<Ended>>) {
        let mut wake = self.drain().await;
        while let Ok(at) = wake {
            self.take_in_line();
            let next = self.completions.try_recv().ok().or_else(|| self.line.pop());
            let input = match next {
                Some(_) if *self.stop.borrow() || self.stop.has_changed().is_err() => break,
                Some(input) => input,
                None => tokio::select! {
                    biased;
                    // An error means that every handle is gone.
                    _ = self.stop.wait_for(|stop| *stop) => break,
                    Some(input) = self.completions.recv() => input,
                    Some(input) = self.inputs.recv() => input,
                    Some(event) = self.network.recv() => match input_of(event, &self.transport) {
                        Some(input) => input,
                        None => continue,
                    },
                    () = sleep_until(at) => Input::Tick,
                },
            };
            let started = Instant::now();
            self.peer.handle(now(), input);
            wake = self.drain().await;
            self.measure(started);
        }
        let outcome = self.end().await;
        ended.send_replace(Some(outcome));
    }

    /// Puts what came in line. The network is always read, so that who sends much does not make others wait
    /// before they are in line.
    fn take_in_line(&mut self) {
        for _ in 0..TAKEN_AT_ONCE {
            let Ok(input) = self.inputs.try_recv() else { break };
            self.line.push_kept(None, input);
        }
        for _ in 0..TAKEN_AT_ONCE {
            let Ok(event) = self.network.try_recv() else { break };
            let Some(input) = input_of(event, &self.transport) else { continue };
            for lost in self.line.take(input) {
                self.gauges.frames_lost.fetch_add(1, Ordering::Relaxed);
                if let Input::Published { number, .. } = lost {
                    self.transport.judge(number, Validation::Ignore);
                }
            }
        }
    }

    /// Carries out what the peer wants; answers when it wants to be woken, or that storage failed.
    async fn drain(&mut self) -> Result<Option<Timestamp>, ()> {
        let mut batch = Batch { writes: Vec::new(), then: Vec::new() };
        let mut wake = None;
        while let Some(output) = self.peer.poll() {
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
                    if let Err(reason) = self.workers.submit(work, what, urgency) {
                        let outcome = Err(reason);
                        // Our own receiver: it cannot be closed.
                        let _ = self.completed.send(Input::Executed { work, outcome });
                    }
                }
                Output::CancelWork { work } => self.workers.cancel(work),
                Output::Keep { node, addresses } => {
                    if let Err(error) = self.transport.keep(node, addresses) {
                        tracing::debug!(node = %node.short(), %error, "cannot keep a connection");
                    }
                }
                Output::Disconnect { node } => {
                    tracing::debug!(node = %node.short(), "not a member: disconnected");
                    if let Err(error) = self.transport.disconnect(node) {
                        tracing::debug!(%error, "cannot disconnect");
                    }
                }
                Output::Ban { node } => {
                    tracing::info!(node = %node.short(), "banned");
                    if let Err(error) = self.transport.ban(node) {
                        tracing::debug!(%error, "cannot ban");
                    }
                }
                Output::Unban { node } => {
                    if let Err(error) = self.transport.unban(node) {
                        tracing::debug!(%error, "cannot lift a ban");
                    }
                }
                Output::Admit { node } => {
                    if let Err(error) = self.transport.admit(node) {
                        tracing::debug!(%error, "cannot admit");
                    }
                }
                Output::Judged { number, validation } => self.transport.judge(number, validation),
                Output::WakeAt(at) => wake = Some(at),
            }
        }
        if batch.writes.is_empty() && batch.then.is_empty() {
            return Ok(wake);
        }
        self.pipeline.push(batch).await.map_err(|_| ())?;
        Ok(wake)
    }

    fn measure(&self, started: Instant) {
        let us = u64::try_from(started.elapsed().as_micros()).unwrap_or(0);
        self.gauges.inputs.fetch_add(1, Ordering::Relaxed);
        self.gauges.busy_us.fetch_add(us, Ordering::Relaxed);
        let (waiting, running) = self.workers.load();
        self.gauges.work_waiting.store(waiting as u64, Ordering::Relaxed);
        self.gauges.work_running.store(running as u64, Ordering::Relaxed);
    }

    /// Ends workers, storage and network, in this order, so that what was decided still leaves.
    async fn end(self) -> Ended {
        let PeerLoop { workers, snapshots, pipeline, transport, calls, folder, .. } = self;
        // Callers see from it that nobody answers any more; a call that came later would wait for good.
        drop((self.inputs, self.network));
        // This is the peer's own thread: blocking it disturbs nobody.
        workers.stop();
        snapshots.stop();
        let stored = pipeline.close();
        if let Err(error) = &stored {
            tracing::error!(%error, "storage failed: the node stops; nothing acknowledged is lost");
        }
        calls.end();
        transport.shutdown().await;
        folder.release();
        stored.map_err(|error| error.to_string())
    }
}

/// What the network reports, if it is something for the peer.
fn input_of(event: TransportEvent, transport: &TransportHandle) -> Option<Input> {
    match event {
        TransportEvent::Connected { node, address, rtt } => {
            tracing::debug!(node = %node.short(), address, ?rtt, "connected");
            Some(Input::Connected { node })
        }
        TransportEvent::Disconnected { node } => {
            tracing::debug!(node = %node.short(), "disconnected");
            Some(Input::Disconnected { node })
        }
        TransportEvent::Message { from, frame } => Some(Input::Frame { from, bytes: frame }),
        TransportEvent::Published { from, number, frame } => {
            Some(Input::Published { from, number, bytes: frame })
        }
        TransportEvent::DiscoveredByMdns { node, addresses } => {
            // A connection, not a membership: that takes a ticket. Asked for once at each discovery;
            // members are kept connected by the peer.
            if let Err(error) = transport.dial(Some(node), addresses) {
                tracing::debug!(%error, "cannot dial a discovered node");
            }
            None
        }
        TransportEvent::DialFailed { node, addresses, error } => {
            let node = node.map(|node| node.short());
            tracing::debug!(node, ?addresses, error, "cannot connect");
            None
        }
        TransportEvent::Listening { addresses } => {
            tracing::debug!(?addresses, "listening");
            None
        }
        _ => None,
    }
}

/// What a person looks for in the log is info, what follows single tasks is not.
fn log(event: &Event) {
    match event {
        Event::Note { text } => tracing::info!("{text}"),
        Event::Joined { pool } => tracing::info!(pool = %pool.short(), "joined the pool"),
        Event::MemberKnown { node } => tracing::info!(node = %node.short(), "member"),
        Event::MemberConnected { node } => {
            tracing::info!(node = %node.short(), "member connected");
        }
        Event::MemberGone { node } => tracing::info!(node = %node.short(), "member gone"),
        event => tracing::debug!(?event),
    }
}

/// Without a time, forever.
async fn sleep_until(wake: Option<Timestamp>) {
    match wake {
        Some(at) => tokio::time::sleep(Duration::from_micros(at.since(now()).0)).await,
        None => std::future::pending().await,
    }
}
