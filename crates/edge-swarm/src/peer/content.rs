//! Payloads and results by digest: kept for those who must check, fetched in chunks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use edge_base::{Digest, Micros, NodeId, TaskId};

use super::{Peer, Timer};
use crate::message::{CHUNK_BYTES, CONTENT_BYTES_MAX, Message};

/// Content kept in memory, in bytes; the oldest goes first.
const KEPT_BYTES_MAX: usize = 96 << 20;
/// Fetches that run at the same time; further ones are refused.
const FETCHES_MAX: usize = 256;
/// How often a silent source is asked again before the next one is tried.
const RETRIES: u32 = 6;
const RETRY_AFTER: Micros = Micros::from_millis(500);

/// The digest that names content.
pub(crate) fn content_digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
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
}

#[derive(Debug)]
struct Fetch {
    sources: Vec<NodeId>,
    received: Vec<u8>,
    total: Option<u64>,
    tries: u32,
    waiters: Vec<Waiter>,
}

/// Content by digest.
#[derive(Debug, Default)]
pub(crate) struct Content {
    kept: BTreeMap<Digest, Arc<[u8]>>,
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

    pub(crate) fn get(&self, content: &Digest) -> Option<Arc<[u8]>> {
        self.kept.get(content).cloned()
    }

    /// Keeps content under its digest, dropping the oldest above the bound.
    pub(crate) fn keep(&mut self, content: Digest, bytes: Arc<[u8]>) {
        if self.kept.contains_key(&content) {
            return;
        }
        self.bytes += bytes.len();
        self.kept.insert(content, bytes);
        self.order.push_back(content);
        while self.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(dropped) = self.kept.remove(&oldest) {
                self.bytes -= dropped.len();
            }
        }
    }
}

impl Peer {
    /// Fetches content from the first source that has it. Returns false when it cannot begin.
    pub(super) fn fetch(&mut self, content: Digest, sources: Vec<NodeId>, waiter: Waiter) -> bool {
        if let Some(fetch) = self.content.fetches.get_mut(&content) {
            fetch.waiters.push(waiter);
            return true;
        }
        let sources: Vec<NodeId> = sources.into_iter().filter(|n| *n != self.me).collect();
        if sources.is_empty() || self.content.fetches.len() >= FETCHES_MAX {
            return false;
        }
        let fetch =
            Fetch { sources, received: Vec::new(), total: None, tries: 0, waiters: vec![waiter] };
        self.content.fetches.insert(content, fetch);
        self.ask_for(content);
        self.after(RETRY_AFTER, Timer::Fetch(content));
        true
    }

    fn ask_for(&mut self, content: Digest) {
        let Some(fetch) = self.content.fetches.get(&content) else { return };
        let Some(source) = fetch.sources.first().copied() else { return };
        let offset = fetch.received.len() as u64;
        self.send(source, &Message::Want { content, offset });
    }

    pub(super) fn on_want(&mut self, from: NodeId, content: Digest, offset: u64) {
        let Some(bytes) = self.content.get(&content) else {
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
        if fetch.sources.first() != Some(&from) || !in_order || !same_total || !fits {
            return;
        }
        if total > CONTENT_BYTES_MAX as u64 {
            return self.next_source(content);
        }
        fetch.total = Some(total);
        fetch.received.extend_from_slice(&bytes);
        fetch.tries = 0;
        if (fetch.received.len() as u64) < total {
            return self.ask_for(content);
        }
        if content_digest(&fetch.received) != content {
            return self.next_source(content);
        }
        let Some(fetch) = self.content.fetches.remove(&content) else { return };
        let bytes: Arc<[u8]> = fetch.received.into();
        self.content.keep(content, bytes.clone());
        for waiter in fetch.waiters {
            self.on_fetched(waiter, content, Some(bytes.clone()));
        }
    }

    pub(super) fn on_not_here(&mut self, from: NodeId, content: Digest) {
        let asked = self.content.fetches.get(&content).and_then(|f| f.sources.first().copied());
        if asked == Some(from) {
            self.next_source(content);
        }
    }

    fn next_source(&mut self, content: Digest) {
        let Some(fetch) = self.content.fetches.get_mut(&content) else { return };
        fetch.sources.remove(0);
        fetch.received.clear();
        fetch.total = None;
        fetch.tries = 0;
        if fetch.sources.is_empty() {
            let fetch = self.content.fetches.remove(&content);
            for waiter in fetch.map(|f| f.waiters).unwrap_or_default() {
                self.on_fetched(waiter, content, None);
            }
        } else {
            self.ask_for(content);
        }
    }

    pub(super) fn on_fetch_timer(&mut self, content: Digest) {
        let Some(fetch) = self.content.fetches.get_mut(&content) else { return };
        fetch.tries += 1;
        if fetch.tries > RETRIES {
            self.next_source(content);
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
            Waiter::Fault(fault) => self.on_fault_content(fault, bytes.is_some()),
        }
    }
}
