//! Payloads and results by digest: kept for those who must check, fetched in chunks.
//!
//! Each has an [`Audience`]. Whoever is not of it is answered as if the content were not here.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use edge_base::{Digest, Micros, NodeId, TaskId};

use super::{Peer, Timer, fair::has_room};
use crate::message::{CHUNK_BYTES, CONTENT_BYTES_MAX, Message};

/// Content kept in memory, in bytes; the oldest goes first.
const KEPT_BYTES_MAX: usize = 96 << 20;
/// Fetches that run at the same time; further ones are refused.
const FETCHES_MAX: usize = 256;
/// How often a silent source is asked again before it is given up.
const RETRIES: u32 = 6;
const RETRY_AFTER: Micros = Micros::from_millis(500);

/// The digest that names content.
pub(crate) fn content_digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

/// Who may have content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Audience {
    /// Every member: whoever hears of a fault must be able to check it.
    Members,
    /// These nodes.
    Only(Vec<NodeId>),
    /// These nodes, in sessions.
    Private(Vec<NodeId>),
}

/// Content that was meant for different audiences is for all of them.
#[derive(Debug, Default)]
struct Readers {
    members: bool,
    open: BTreeSet<NodeId>,
    private: BTreeSet<NodeId>,
}

impl Readers {
    fn widen(&mut self, audience: Audience) {
        match audience {
            Audience::Members => self.members = true,
            Audience::Only(nodes) => self.open.extend(nodes),
            Audience::Private(nodes) => self.private.extend(nodes),
        }
    }

    fn has(&self, node: &NodeId, privately: bool) -> bool {
        self.members || self.open.contains(node) || privately && self.private.contains(node)
    }
}

/// Who waits for content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// A task of another node whose payload was too large for its assignment.
    Job(TaskId),
    /// A result too large for its reveal.
    Result { task: TaskId, worker: NodeId },
    /// A fault report's payload, answer or history.
    Fault(Digest),
    /// A checkpoint's accounts.
    States,
    /// The payload of a task to audit: looked for again and again.
    Audit,
}

#[derive(Debug)]
struct Fetch {
    source: NodeId,
    received: Vec<u8>,
    total: Option<u64>,
    tries: u32,
    /// It is asked for in a session and not taken from outside of one.
    private: bool,
    waiters: Vec<Waiting>,
}

/// A waiter gets what its own source says and nothing else: who knows the digest of what another
/// node is sending here must not have it computed on.
#[derive(Clone, Debug)]
struct Waiting {
    waiter: Waiter,
    source: NodeId,
    audience: Audience,
}

/// Content by digest.
#[derive(Debug, Default)]
pub(crate) struct Content {
    kept: BTreeMap<Digest, (Arc<[u8]>, Readers)>,
    order: VecDeque<Digest>,
    bytes: usize,
    fetches: BTreeMap<Digest, Fetch>,
}

impl Content {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("bytes of content", self.bytes, KEPT_BYTES_MAX);
        add("fetches", self.fetches.len(), FETCHES_MAX);
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fetches.len()
    }

    /// For this node's own use.
    pub(crate) fn get(&self, content: &Digest) -> Option<Arc<[u8]>> {
        self.kept.get(content).map(|(bytes, _)| bytes.clone())
    }

    fn get_for(&self, content: &Digest, node: &NodeId, privately: bool) -> Option<Arc<[u8]>> {
        let kept = self.kept.get(content).filter(|(_, who)| who.has(node, privately));
        kept.map(|(bytes, _)| bytes.clone())
    }

    /// Whether it is on its way here and is private.
    pub(super) fn is_private(&self, content: &Digest) -> bool {
        self.fetches.get(content).is_some_and(|fetch| fetch.private)
    }

    /// Keeps content under its digest, dropping the oldest above the bound.
    pub(crate) fn keep(&mut self, content: Digest, bytes: Arc<[u8]>, audience: Audience) {
        if let Some((_, who)) = self.kept.get_mut(&content) {
            return who.widen(audience);
        }
        self.bytes += bytes.len();
        let mut readers = Readers::default();
        readers.widen(audience);
        self.kept.insert(content, (bytes, readers));
        self.order.push_back(content);
        while self.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some((dropped, _)) = self.kept.remove(&oldest) {
                self.bytes -= dropped.len();
            }
        }
    }
}

impl Peer {
    /// Fetches content from a node and keeps it for an audience. Returns false when it cannot begin.
    pub(super) fn fetch(
        &mut self,
        content: Digest,
        source: NodeId,
        waiter: Waiter,
        audience: Audience,
    ) -> bool {
        let private = matches!(audience, Audience::Private(_));
        let waiting = Waiting { waiter, source, audience };
        if let Some(fetch) = self.content.fetches.get_mut(&content) {
            fetch.private |= private;
            fetch.waiters.push(waiting);
            return true;
        }
        let fetches = &self.content.fetches;
        let of_source = || fetches.values().filter(|fetch| fetch.source == source).count();
        if source == self.me || !has_room(fetches.len(), FETCHES_MAX, of_source) {
            return false;
        }
        let waiters = vec![waiting];
        let fetch = Fetch { source, received: Vec::new(), total: None, tries: 0, private, waiters };
        self.content.fetches.insert(content, fetch);
        self.ask_for(content);
        self.after(RETRY_AFTER, Timer::Fetch(content));
        true
    }

    fn ask_for(&mut self, content: Digest) {
        let Some(fetch) = self.content.fetches.get(&content) else { return };
        let (source, offset) = (fetch.source, fetch.received.len() as u64);
        self.send(source, &Message::Want { content, offset });
    }

    pub(super) fn on_want(&mut self, from: NodeId, content: Digest, offset: u64) {
        let privately = self.is_reading_privately() || !self.settings.keeps_private;
        let Some(bytes) = self.content.get_for(&content, &from, privately) else {
            return self.send(from, &Message::NotHere { content });
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = bytes.len().min(start + CHUNK_BYTES);
        let chunk = Message::Chunk {
            content,
            total: bytes.len() as u64,
            offset: start as u64,
            bytes: bytes[start..end].to_vec(),
        };
        self.send(from, &chunk);
    }

    pub(super) fn on_chunk(
        &mut self,
        from: NodeId,
        content: Digest,
        total: u64,
        offset: u64,
        bytes: Vec<u8>,
    ) {
        let Some(fetch) = self.content.fetches.get_mut(&content) else { return };
        let in_order = offset == fetch.received.len() as u64;
        let same_total = fetch.total.is_none_or(|t| t == total);
        let fits = fetch.received.len() + bytes.len() <= total as usize;
        if fetch.source != from || !in_order || !same_total || !fits {
            return;
        }
        if total > CONTENT_BYTES_MAX as u64 {
            return self.end_fetch(content, None);
        }
        fetch.total = Some(total);
        fetch.received.extend_from_slice(&bytes);
        fetch.tries = 0;
        if (fetch.received.len() as u64) < total {
            return self.ask_for(content);
        }
        if content_digest(&fetch.received) != content {
            return self.end_fetch(content, None);
        }
        let Some(fetch) = self.content.fetches.get_mut(&content) else { return };
        let bytes: Arc<[u8]> = std::mem::take(&mut fetch.received).into();
        self.end_fetch(content, Some(bytes));
    }

    pub(super) fn on_not_here(&mut self, from: NodeId, content: Digest) {
        if self.content.fetches.get(&content).is_some_and(|fetch| fetch.source == from) {
            self.end_fetch(content, None);
        }
    }

    /// Tells those who waited for what the source sent; the others' sources are asked now.
    fn end_fetch(&mut self, content: Digest, bytes: Option<Arc<[u8]>>) {
        let Some(fetch) = self.content.fetches.remove(&content) else { return };
        for Waiting { waiter, source, audience } in fetch.waiters {
            if source != fetch.source {
                if !self.fetch(content, source, waiter, audience) {
                    self.on_fetched(waiter, content, None);
                }
                continue;
            }
            if let Some(bytes) = &bytes {
                self.content.keep(content, bytes.clone(), audience);
            }
            self.on_fetched(waiter, content, bytes.clone());
        }
    }

    pub(super) fn on_fetch_timer(&mut self, content: Digest) {
        let Some(fetch) = self.content.fetches.get_mut(&content) else { return };
        fetch.tries += 1;
        if fetch.tries > RETRIES {
            self.end_fetch(content, None);
        } else {
            self.ask_for(content);
        }
        if self.content.fetches.contains_key(&content) {
            self.after(RETRY_AFTER, Timer::Fetch(content));
        }
    }

    fn on_fetched(&mut self, waiter: Waiter, content: Digest, bytes: Option<Arc<[u8]>>) {
        match waiter {
            Waiter::Job(task) => self.on_job_payload(task, bytes),
            Waiter::Result { task, worker } => self.on_result_fetched(task, worker, content, bytes),
            Waiter::Fault(fault) => self.on_fault_content(fault, content, bytes.is_some()),
            Waiter::States => self.on_states(content, bytes.as_deref()),
            Waiter::Audit => self.step_audits(),
        }
    }
}
