//! Where the parts of one computation run.
//!
//! This crate starts no thread. What can be cut into parts that share nothing takes a [`Backend`]: the
//! threads of a process, the workers of a browser tab, or [`Serial`]. A part's result must not depend on
//! where or when it runs, so the whole is the same bits on all of them.

use std::sync::{Mutex, PoisonError};

/// Runs parts of a computation, perhaps at the same time.
pub trait Backend: Send + Sync {
    /// How many parts run at the same time, at least 1: more parts than that are no faster.
    fn width(&self) -> usize;

    /// Calls `part` once with each number below `parts`, in any order, and returns when all have ended. A
    /// panic in a part reaches the caller.
    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync));
}

/// One part after the other, on the caller's thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Backend for Serial {
    fn width(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        (0..parts).for_each(part);
    }
}

/// What `of` gives for each number below `parts`, in their order.
pub fn map<T: Send>(backend: &dyn Backend, parts: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let places: Vec<Mutex<Option<T>>> = (0..parts).map(|_| Mutex::new(None)).collect();
    backend.run(parts, &|part| {
        let value = of(part);
        // Each place is one part's: a lock is never waited for.
        *places[part].lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    });
    let values = places.into_iter().map(|place| {
        let value = place.into_inner().unwrap_or_else(PoisonError::into_inner);
        value.expect("invariant: a backend runs every part")
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_places() {
        assert_eq!(map(&Serial, 5, |part| part * part), [0, 1, 4, 9, 16]);
        assert!(map(&Serial, 0, |part| part).is_empty());
    }
}
