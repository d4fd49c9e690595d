//! What handling each kind of frame costs, in real time, and how busy one sender keeps one
//! receiver: the figures that limits are made of.

use std::{collections::BTreeMap, time::Duration};

use edge_swarm::frame::{Class, FrameKind};
use serde::Serialize;

use crate::queue::Instant;

/// Windows in which the work that one sender makes is added up, in virtual microseconds.
const WINDOW: u64 = 1_000_000;

/// Frames of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    frames: u64,
    bytes: u64,
    took: Duration,
    slowest: Duration,
    /// What limits charge for them.
    charged_ns: u64,
}

/// Frames that arrived.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    kinds: BTreeMap<FrameKind, Kind>,
    /// Frames and charged nanoseconds of the present window, by sender, receiver and class.
    window: BTreeMap<(u32, u32, Class), (u64, u64)>,
    window_ends: Instant,
    /// The busiest second of one sender at one receiver.
    busiest: BTreeMap<Class, (u64, u64)>,
}

/// Frames of one kind, as the outcome tells of them.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FrameCost {
    /// The message.
    pub kind: &'static str,
    /// Whether it is gossip.
    pub gossip: bool,
    /// How many arrived.
    pub frames: u64,
    /// Bytes of one, in the mean.
    pub bytes: u64,
    /// Real microseconds that handling one took, in the mean, its signatures computed.
    pub took_us: f64,
    /// The slowest.
    pub slowest_us: f64,
    /// What limits charge for one, in the mean.
    pub charged_us: f64,
}

/// The most that one sender asked of one receiver within a second.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Busiest {
    /// Frames.
    pub frames: u64,
    /// What limits charge for them, in milliseconds of work.
    pub charged_ms: f64,
}

impl Frames {
    /// A frame arrives.
    pub(crate) fn arrives(&mut self, now: Instant, from: u32, to: u32, frame: &[u8]) {
        if now >= self.window_ends {
            self.close_window();
            self.window_ends = now - now % WINDOW + WINDOW;
        }
        let kind = FrameKind::of(frame);
        let entry = self.window.entry((from, to, kind.class())).or_default();
        entry.0 += 1;
        entry.1 += kind.cost_ns(frame.len());
    }

    /// It was handled.
    pub(crate) fn took(&mut self, kind: FrameKind, bytes: usize, took: Duration) {
        let entry = self.kinds.entry(kind).or_default();
        entry.frames += 1;
        entry.bytes += bytes as u64;
        entry.took += took;
        entry.slowest = entry.slowest.max(took);
        entry.charged_ns += kind.cost_ns(bytes);
    }

    fn close_window(&mut self) {
        for ((_, _, class), (frames, charged)) in std::mem::take(&mut self.window) {
            let most = self.busiest.entry(class).or_default();
            *most = (most.0.max(frames), most.1.max(charged));
        }
    }

    pub(crate) fn costs(&self) -> Vec<FrameCost> {
        let us = |time: Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
        let cost = |(kind, found): (&FrameKind, &Kind)| FrameCost {
            kind: kind.name(),
            gossip: kind.is_gossip(),
            frames: found.frames,
            bytes: found.bytes / found.frames.max(1),
            took_us: us(found.took / u32::try_from(found.frames).unwrap_or(u32::MAX).max(1)),
            slowest_us: us(found.slowest),
            charged_us: (found.charged_ns as f64 / found.frames.max(1) as f64 / 100.0).round()
                / 10.0,
        };
        self.kinds.iter().map(cost).collect()
    }

    pub(crate) fn busiest(&mut self) -> BTreeMap<&'static str, Busiest> {
        self.close_window();
        let most = |(class, (frames, charged)): (&Class, &(u64, u64))| {
            (class.name(), Busiest { frames: *frames, charged_ms: *charged as f64 / 1e6 })
        };
        self.busiest.iter().map(most).collect()
    }
}
