//! Rows of one length in blocks that never move: growing copies nothing, and no more than a block is
//! unused, where a vector that doubles holds up to twice what it needs and leaves its former places as
//! holes in the heap. A block may also lie in a mapped file until it is changed.

use bytemuck::Pod;

use crate::Mapping;

/// Elements of a block, at least one row.
const BLOCK: usize = 1 << 18;

#[derive(Clone, Debug)]
enum Block<T> {
    Held(Vec<T>),
    /// `len` elements from byte `at` of a mapping on.
    Mapped {
        mapping: Mapping,
        at: usize,
        len: usize,
    },
}

impl<T: Pod> Block<T> {
    fn elements(&self) -> &[T] {
        match self {
            Block::Held(elements) => elements,
            Block::Mapped { mapping, at, len } => {
                bytemuck::cast_slice(&mapping.bytes()[*at..][..len * size_of::<T>()])
            }
        }
    }

    /// The elements, to be changed: in the heap from now on.
    fn held(&mut self) -> &mut Vec<T> {
        if let Block::Mapped { .. } = self {
            *self = Block::Held(self.elements().to_vec());
        }
        match self {
            Block::Held(elements) => elements,
            Block::Mapped { .. } => unreachable!("invariant: it was copied just now"),
        }
    }

    fn truncate(&mut self, to: usize) {
        match self {
            Block::Held(elements) => elements.truncate(to),
            Block::Mapped { len, .. } => *len = to.min(*len),
        }
    }
}

/// `[len, width]`, in order.
#[derive(Clone, Debug)]
pub(crate) struct Blocks<T> {
    width: usize,
    /// Rows of a block.
    rows: usize,
    blocks: Vec<Block<T>>,
    len: usize,
}

impl<T: Pod> Blocks<T> {
    /// None yet, each of `width` elements.
    pub(crate) fn new(width: usize) -> Self {
        // A power of two: a row is found by a shift.
        let rows = (BLOCK / width.max(1)).max(1).next_power_of_two();
        Blocks { width, rows, blocks: Vec::new(), len: 0 }
    }

    /// `len` rows that lie in a mapping from byte `at` on, as this machine writes numbers; `None` when
    /// they do not, or not where numbers may lie.
    pub(crate) fn mapped(width: usize, mapping: &Mapping, at: usize, len: usize) -> Option<Self> {
        let size = width.checked_mul(len)?.checked_mul(size_of::<T>())?;
        let bytes = mapping.bytes().get(at..at.checked_add(size)?)?;
        bytemuck::try_cast_slice::<u8, T>(bytes).ok()?;
        let mut blocks = Blocks::new(width);
        for first in (0..len).step_by(blocks.rows) {
            blocks.blocks.push(Block::Mapped {
                mapping: mapping.clone(),
                at: at + first * width * size_of::<T>(),
                len: (len - first).min(blocks.rows) * width,
            });
        }
        blocks.len = len;
        Some(blocks)
    }

    /// Elements of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn row(&self, row: usize) -> &[T] {
        let (block, at) = (row / self.rows, row % self.rows);
        &self.blocks[block].elements()[at * self.width..][..self.width]
    }

    /// Appends a row of `width` elements.
    pub(crate) fn push(&mut self, row: &[T]) {
        debug_assert_eq!(row.len(), self.width);
        if self.len.is_multiple_of(self.rows) {
            // The first block grows as it is filled: most shards of tests and newcomers are small.
            let capacity = if self.blocks.is_empty() { 0 } else { self.rows * self.width };
            self.blocks.push(Block::Held(Vec::with_capacity(capacity)));
        }
        if let Some(block) = self.blocks.last_mut() {
            block.held().extend_from_slice(row);
        }
        self.len += 1;
    }

    /// Removes a row; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        let last = self.len - 1;
        let (from, to) = (last / self.rows, row / self.rows);
        let (start, place) = (last % self.rows * self.width, row % self.rows * self.width);
        if row == last {
            // Nothing takes its place.
        } else if from == to {
            self.blocks[to].held().copy_within(start.., place);
        } else {
            let (before, after) = self.blocks.split_at_mut(from);
            before[to].held()[place..][..self.width].copy_from_slice(&after[0].elements()[start..]);
        }
        self.blocks[from].truncate(start);
        if self.blocks[from].elements().is_empty() {
            self.blocks.pop();
        }
        self.len = last;
    }

    /// The rows in order, several at a time: all but the last part have as many rows as a block.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[T]> {
        self.blocks.iter().map(Block::elements)
    }

    /// Bytes that are held in the heap, in use or not, and bytes that lie in a mapping.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        self.blocks.iter().fold((0, 0), |(held, mapped), block| match block {
            Block::Held(elements) => (held + elements.capacity() * size_of::<T>(), mapped),
            Block::Mapped { len, .. } => (held, mapped + len * size_of::<T>()),
        })
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Rng;

    use super::*;

    /// Beside a plain vector of rows, over block borders in both directions; in between the rows go
    /// into a mapping.
    #[test]
    fn rows_are_those_of_a_vector() {
        for width in [1, 3, BLOCK / 4, BLOCK, BLOCK + 1] {
            let mut rng = Rng::derive(1, "blocks");
            let (mut blocks, mut plain) = (Blocks::<u32>::new(width), Vec::new());
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
                if step % (steps / 6) == steps / 7 {
                    let all: Vec<u32> = blocks.parts().flatten().copied().collect();
                    let words = [&[7u32; 4], all.as_slice()].concat();
                    let mapping = Mapping::new(Words(words));
                    let mapped = Blocks::mapped(width, &mapping, 16, plain.len()).unwrap();
                    assert_eq!(mapped.bytes(), (0, plain.len() * width * size_of::<u32>()));
                    blocks = mapped;
                }
            }
            assert!((0..plain.len()).all(|row| blocks.row(row) == plain[row]), "{width}");
            let all: Vec<u32> = blocks.parts().flatten().copied().collect();
            assert_eq!(all, plain.concat());
            let most = (plain.len() + 2 * blocks.rows) * width * size_of::<u32>();
            let (held, mapped) = blocks.bytes();
            assert!(held + mapped <= most);
        }
    }

    #[test]
    fn a_mapping_that_holds_no_such_rows_is_refused() {
        let mapping = Mapping::new(Words(vec![1; 12]));
        assert!(Blocks::<u32>::mapped(3, &mapping, 0, 4).is_some());
        assert!(Blocks::<u32>::mapped(3, &mapping, 4, 4).is_none(), "it ends early");
        assert!(Blocks::<u32>::mapped(3, &mapping, 2, 2).is_none(), "not where numbers lie");
        assert!(Blocks::<u32>::mapped(usize::MAX, &mapping, 0, 4).is_none());
        assert!(Blocks::<u32>::mapped(3, &mapping, usize::MAX, 4).is_none());
    }

    struct Words(Vec<u32>);

    impl AsRef<[u8]> for Words {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
}
