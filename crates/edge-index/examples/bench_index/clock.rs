//! CPU time of this thread, so that a busy machine does not count against whoever is measured.

use std::time::Instant;

/// Seconds that this thread has run, where the system tells.
#[cfg(target_os = "linux")]
fn cpu_s() -> Option<f64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(now.tv_sec as f64 + now.tv_nsec as f64 / 1e9)
}

#[cfg(not(target_os = "linux"))]
fn cpu_s() -> Option<f64> {
    None
}

/// Keeps this thread, and what it starts from now on, on one CPU, where the system can.
pub(crate) fn pin_to_one_cpu() {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        if let Ok(all) = sched_getaffinity(None) {
            let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| all.is_set(*cpu));
            let mut one = CpuSet::new();
            one.set(last.unwrap_or(0));
            // Without it the figures are only noisier.
            let _ = sched_setaffinity(None, &one);
        }
    }
}

/// Bytes of this process in memory that are not those of a file; 0 where the system does not tell.
pub(crate) fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Gives freed memory back to the system, as a node does.
pub(crate) fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call has no precondition.
    unsafe {
        libc::malloc_trim(0);
    }
}

pub(crate) struct Clock {
    cpu_s: Option<f64>,
    wall: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Clock { cpu_s: cpu_s(), wall: Instant::now() }
    }

    /// CPU seconds since the start; wall time where the system does not tell.
    pub(crate) fn seconds(&self) -> f64 {
        match (self.cpu_s, cpu_s()) {
            (Some(from), Some(to)) => to - from,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}
