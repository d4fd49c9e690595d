//! The peer's thread.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use edge_base::{NodeId, Timestamp};
use edge_swarm::{Answer, CallId, Event, Input, LoadId, Output, Peer, Refusal, Table};
use edge_transport::{TransportHandle, Validation};
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
    pub(super) inputs: mpsc::Receiver<Input>,
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
        loop {
            let input = match wake {
                Err(()) => break,
                Ok(wake) => tokio::select! {
                    biased;
                    // An error means that every handle is gone.
                    _ = self.stop.wait_for(|stop| *stop) => break,
                    Some(input) = self.completions.recv() => input,
                    Some(input) = self.inputs.recv() => input,
                    () = sleep_until(wake) => Input::Tick,
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
                    tracing::warn!(node = %node.short(), "banned");
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
                Output::Judged { number, validation } => {
                    let validation = match validation {
                        edge_swarm::Validation::Accept => Validation::Accept,
                        edge_swarm::Validation::Ignore => Validation::Ignore,
                        edge_swarm::Validation::Reject => Validation::Reject,
                    };
                    self.transport.judge(number, validation);
                }
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
        let PeerLoop { workers, snapshots, pipeline, transport, calls, folder, inputs, .. } = self;
        drop(inputs);
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
