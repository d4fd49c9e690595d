//! Space that vector units read without crossing cache lines.

/// Floats at an address divisible by 64, the size of a cache line; zeros at first.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    values: Vec<f32>,
    offset: usize,
    len: usize,
}

impl Scratch {
    pub(crate) fn new(len: usize) -> Scratch {
        let values = vec![0f32; len + 15];
        // A machine that cannot say may answer the greatest number: then the space is only slower.
        let offset = values.as_ptr().align_offset(64).min(15);
        Scratch { values, offset, len }
    }

    /// The first `len` of `values`.
    pub(crate) fn of(len: usize, values: impl Iterator<Item = f32>) -> Scratch {
        let mut scratch = Scratch::new(len);
        scratch.get().iter_mut().zip(values).for_each(|(to, value)| *to = value);
        scratch
    }

    /// Makes it at least `len` long. Where it grows, its values are zeros again.
    pub(crate) fn grow(&mut self, len: usize) {
        if self.len < len {
            // Not both in memory at once.
            *self = Scratch::default();
            *self = Scratch::new(len);
        }
    }

    /// The first `len`, with anything in it; see [`Scratch::grow`].
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        self.grow(len);
        &mut self.get()[..len]
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }

    pub(crate) fn get(&mut self) -> &mut [f32] {
        &mut self.values[self.offset..][..self.len]
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values[self.offset..][..self.len]
    }
}

impl Clone for Scratch {
    /// Another allocation lies elsewhere: only its values are the same.
    fn clone(&self) -> Scratch {
        let mut other = Scratch::new(self.len);
        other.get().copy_from_slice(self.values());
        other
    }
}
