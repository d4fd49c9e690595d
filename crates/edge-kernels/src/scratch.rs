//! Work space that vector units read without crossing cache lines.

/// Zeros at an address divisible by 64, the size of a cache line.
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

    pub(crate) fn get(&mut self) -> &mut [f32] {
        &mut self.values[self.offset..][..self.len]
    }
}
