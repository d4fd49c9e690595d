//! Bytes from outside that rows may stay in.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that do not change and stay where they are, such as a snapshot's file mapped into memory: what is
/// not looked at need not be in memory. Clones share them.
#[derive(Clone)]
pub struct Mapping {
    all: Arc<dyn AsRef<[u8]> + Send + Sync>,
    part: Range<usize>,
}

impl Mapping {
    /// Whatever `bytes` refers to must be the same bytes in the same place each time.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let part = 0..bytes.as_ref().len();
        Mapping { all: Arc::new(bytes), part }
    }

    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        &(*self.all).as_ref()[self.part.clone()]
    }

    /// The first `len` of them; `None` when there are fewer.
    pub fn first(&self, len: usize) -> Option<Mapping> {
        let part = self.part.start..self.part.start.checked_add(len)?;
        (part.end <= self.part.end).then(|| Mapping { all: self.all.clone(), part })
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("bytes", &self.part.len()).finish()
    }
}
