//! Rows of one length in blocks that never move: growing copies nothing, and no more than a block is
//! unused, where a vector that doubles holds up to twice what it needs and leaves its former places as
//! holes in the heap.

/// Elements of a block, at least one row.
const BLOCK: usize = 1 << 18;

/// `[len, width]`, in order.
#[derive(Clone, Debug)]
pub(crate) struct Blocks<T> {
    width: usize,
    /// Rows of a block.
    rows: usize,
    blocks: Vec<Vec<T>>,
    len: usize,
}

impl<T: Copy> Blocks<T> {
    /// None yet, each of `width` elements.
    pub(crate) fn new(width: usize) -> Self {
        // A power of two: a row is found by a shift.
        let rows = (BLOCK / width.max(1)).max(1).next_power_of_two();
        Blocks { width, rows, blocks: Vec::new(), len: 0 }
    }

    pub(crate) fn row(&self, row: usize) -> &[T] {
        let (block, at) = (row / self.rows, row % self.rows);
        &self.blocks[block][at * self.width..][..self.width]
    }

    /// Appends a row of `width` elements.
    pub(crate) fn push(&mut self, row: &[T]) {
        debug_assert_eq!(row.len(), self.width);
        if self.len.is_multiple_of(self.rows) {
            // The first block grows as it is filled: most shards of tests and newcomers are small.
            let capacity = if self.blocks.is_empty() { 0 } else { self.rows * self.width };
            self.blocks.push(Vec::with_capacity(capacity));
        }
        if let Some(block) = self.blocks.last_mut() {
            block.extend_from_slice(row);
        }
        self.len += 1;
    }

    /// Removes a row; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        let last = self.len - 1;
        let (from, to) = (last / self.rows, row / self.rows);
        let (start, place) = (last % self.rows * self.width, row % self.rows * self.width);
        if from == to {
            self.blocks[to].copy_within(start.., place);
        } else {
            let (before, after) = self.blocks.split_at_mut(from);
            before[to][place..][..self.width].copy_from_slice(&after[0][start..]);
        }
        self.blocks[from].truncate(start);
        if self.blocks[from].is_empty() {
            self.blocks.pop();
        }
        self.len = last;
    }

    /// The rows in order, several at a time: all but the last part have as many rows as a block.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[T]> {
        self.blocks.iter().map(Vec::as_slice)
    }

    /// Bytes that are held, in use or not.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.capacity() * size_of::<T>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Rng;

    use super::*;

    /// Beside a plain vector of rows, over block borders in both directions.
    #[test]
    fn rows_are_those_of_a_vector() {
        for width in [1, 3, BLOCK / 4, BLOCK, BLOCK + 1] {
            let mut rng = Rng::derive(1, "blocks");
            let (mut blocks, mut plain) = (Blocks::new(width), Vec::new());
            let steps = if width == 3 { 300_000 } else { 60 };
            for step in 0..steps {
                if plain.is_empty() || rng.chance(if step < steps / 2 { 4 } else { 1 }, 5) {
                    let row = vec![step as u32; width];
                    blocks.push(&row);
                    plain.push(row);
                } else {
                    let row = rng.below(plain.len() as u64) as usize;
                    blocks.swap_remove(row);
                    plain.swap_remove(row);
                }
            }
            assert!((0..plain.len()).all(|row| blocks.row(row) == plain[row]), "{width}");
            let all: Vec<u32> = blocks.parts().flatten().copied().collect();
            assert_eq!(all, plain.concat());
            let most = (plain.len() + 2 * blocks.rows) * width * size_of::<u32>();
            assert!(blocks.bytes() <= most);
        }
    }
}
