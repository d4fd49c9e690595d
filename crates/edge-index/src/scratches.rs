//! Room for walks, kept between searches that may run at the same time.

use std::sync::{Mutex, PoisonError};

use crate::graph::Scratch;

/// Kept at most: more searches at once than this allocate.
const KEPT_MAX: usize = 64;

/// Scratches that no search uses. What is in one never changes an answer.
#[derive(Debug, Default)]
pub(crate) struct Scratches(Mutex<Vec<Scratch>>);

impl Clone for Scratches {
    /// Room is not worth copying.
    fn clone(&self) -> Self {
        Scratches::default()
    }
}

impl Scratches {
    /// Lends one to `work`.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        // A search that panicked took its scratch along: those here are whole.
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free().pop();
        let mut scratch = kept.unwrap_or_default();
        let out = work(&mut scratch);
        let mut free = free();
        if free.len() < KEPT_MAX {
            free.push(scratch);
        }
        out
    }
}
