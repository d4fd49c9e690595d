//! The contribution curve as a wasm module without imports: what `tests/wasm_curve.rs` builds and
//! `tests/wasm/run.mjs` runs.

use edge_base::Credits;
use edge_ledger::CpuHours;

/// The multiplier in billionths after so many micro-hours.
#[unsafe(no_mangle)]
pub extern "C" fn multiplier(micro_hours: u64) -> u64 {
    CpuHours::from_micro(micro_hours).multiplier()
}

/// The cap in micro-rUv after so many micro-hours at `rate` micro-rUv an hour.
#[unsafe(no_mangle)]
pub extern "C" fn cap(micro_hours: u64, rate: u64) -> u64 {
    CpuHours::from_micro(micro_hours).cap(Credits::from_micro(rate)).micro()
}
