//! The shapes of the three kernels, and what of them is refused before anything is sent.

use crate::error::GpuError;

/// Dimensions of a head at most: the kernel has 64 of them in each of eight rows of invocations.
pub const DIM_MAX: usize = 512;

/// A matrix product: a `[m, k]`, b `[k, n]`, the result `[m, n]`, all row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Rows of the result.
    pub m: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Columns of the result.
    pub n: usize,
}

/// Attention: queries, keys, values and the result are `[heads, tokens, dim]`, row-major. Scores are scaled by
/// 1 / sqrt(dim).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// How many heads, each by itself.
    pub heads: usize,
    /// Tokens of the sequence.
    pub tokens: usize,
    /// Dimensions of a head, at most [`DIM_MAX`]. Time goes by multiples of 64.
    pub dim: usize,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
}

/// What a low-rank adapter adds to a layer: x `[tokens, inputs]`, a `[inputs, rank]`, b `[rank, outputs]`, base and the
/// result `[tokens, outputs]`, row-major.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LowRank {
    /// Rows of x.
    pub tokens: usize,
    /// Width of x.
    pub inputs: usize,
    /// Width of the result.
    pub outputs: usize,
    /// Width between a and b.
    pub rank: usize,
    /// What the adapter's part is multiplied by.
    pub scale: f32,
}

/// The adapter's limits that shapes meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) binding_bytes: u64,
    pub(crate) groups: u32,
}

impl Limits {
    /// The bytes of `count` values, if a kernel can address them.
    pub(crate) fn bytes(self, what: &'static str, count: usize) -> Result<u64, GpuError> {
        let given = (count as u64).saturating_mul(4);
        let most = self.binding_bytes.min(u64::from(u32::MAX));
        if given > most { Err(GpuError::TooLarge { what, given, most }) } else { Ok(given) }
    }

    /// `count` workgroups in one dimension of a dispatch.
    pub(crate) fn groups(self, what: &'static str, count: usize) -> Result<u32, GpuError> {
        let most = self.groups;
        u32::try_from(count).ok().filter(|&groups| groups <= most).ok_or(GpuError::TooLarge {
            what,
            given: count as u64,
            most: u64::from(most),
        })
    }
}

/// The product of sizes, none of which may be 0.
fn count(sizes: &[(&'static str, usize)]) -> Result<usize, GpuError> {
    let mut product = 1usize;
    for &(what, size) in sizes {
        if size == 0 {
            return Err(GpuError::Empty { what });
        }
        product = product.saturating_mul(size);
    }
    Ok(product)
}

/// Whether an operand has the values that its shape says.
fn hold(what: &'static str, needed: usize, given: usize) -> Result<(), GpuError> {
    if given == needed { Ok(()) } else { Err(GpuError::Length { what, needed, given }) }
}

impl Product {
    /// Checks the lengths of a and b; answers the result's.
    pub(crate) fn check(self, a: usize, b: usize) -> Result<usize, GpuError> {
        let (m, k, n) = (("m", self.m), ("k", self.k), ("n", self.n));
        let result = count(&[m, n])?;
        hold("a", count(&[m, k])?, a)?;
        hold("b", count(&[k, n])?, b)?;
        Ok(result)
    }
}

impl Heads {
    /// Checks the lengths of queries, keys and values; answers the result's.
    pub(crate) fn check(self, q: usize, k: usize, v: usize) -> Result<usize, GpuError> {
        let all = count(&[("heads", self.heads), ("tokens", self.tokens), ("dim", self.dim)])?;
        if self.dim > DIM_MAX {
            let (given, most) = (self.dim as u64, DIM_MAX as u64);
            return Err(GpuError::TooLarge { what: "dim", given, most });
        }
        hold("q", all, q)?;
        hold("k", all, k)?;
        hold("v", all, v)?;
        Ok(all)
    }

    /// Rows of invocations that share the dimensions: 1, 2, 4 or 8.
    pub(crate) fn parts(self) -> usize {
        self.dim.div_ceil(64).next_power_of_two()
    }
}

impl LowRank {
    /// Checks the lengths of x, base, a and b; answers the result's.
    pub(crate) fn check(
        self,
        x: usize,
        base: usize,
        a: usize,
        b: usize,
    ) -> Result<usize, GpuError> {
        let tokens = ("tokens", self.tokens);
        let (inputs, outputs) = (("inputs", self.inputs), ("outputs", self.outputs));
        let rank = ("rank", self.rank);
        let result = count(&[tokens, outputs])?;
        hold("x", count(&[tokens, inputs])?, x)?;
        hold("base", result, base)?;
        hold("a", count(&[inputs, rank])?, a)?;
        hold("b", count(&[rank, outputs])?, b)?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_its_shape_is_named() {
        let product = Product { m: 2, k: 3, n: 4 };
        assert_eq!(product.check(6, 12), Ok(8));
        for (shape, a, b, said) in [
            (product, 5, 12, "a has 5 values, its shape needs 6"),
            (product, 6, 13, "b has 13 values, its shape needs 12"),
            (Product { k: 0, ..product }, 0, 0, "k is 0: there is nothing to compute"),
            (Product { m: 0, ..product }, 0, 12, "m is 0: there is nothing to compute"),
            (Product { n: 0, ..product }, 6, 0, "n is 0: there is nothing to compute"),
        ] {
            assert_eq!(shape.check(a, b).unwrap_err().to_string(), said);
        }
        let overflow = Product { m: usize::MAX, k: 2, n: usize::MAX };
        overflow.check(6, 12).unwrap_err();

        let heads = Heads { heads: 2, tokens: 3, dim: 4, causal: false };
        assert_eq!(heads.check(24, 24, 24), Ok(24));
        for (shape, [q, k, v], said) in [
            (heads, [23, 24, 24], "q has 23 values, its shape needs 24"),
            (heads, [24, 25, 24], "k has 25 values, its shape needs 24"),
            (heads, [24, 24, 0], "v has 0 values, its shape needs 24"),
            (Heads { tokens: 0, ..heads }, [0; 3], "tokens is 0: there is nothing to compute"),
            (
                Heads { dim: 513, ..heads },
                [3078; 3],
                "dim is 513, and this adapter or kernel takes 512: split the work",
            ),
        ] {
            assert_eq!(shape.check(q, k, v).unwrap_err().to_string(), said);
        }

        let low = LowRank { tokens: 2, inputs: 3, outputs: 5, rank: 4, scale: 1.0 };
        assert_eq!(low.check(6, 10, 12, 20), Ok(10));
        for (shape, [x, base, a, b], said) in [
            (low, [7, 10, 12, 20], "x has 7 values, its shape needs 6"),
            (low, [6, 9, 12, 20], "base has 9 values, its shape needs 10"),
            (low, [6, 10, 11, 20], "a has 11 values, its shape needs 12"),
            (low, [6, 10, 12, 21], "b has 21 values, its shape needs 20"),
            (LowRank { rank: 0, ..low }, [6, 10, 0, 0], "rank is 0: there is nothing to compute"),
        ] {
            assert_eq!(shape.check(x, base, a, b).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn limits_of_the_adapter_hold() {
        let limits = Limits { binding_bytes: 400, groups: 65_535 };
        assert_eq!(limits.bytes("a", 100), Ok(400));
        limits.bytes("a", 101).unwrap_err();
        limits.bytes("a", usize::MAX).unwrap_err();
        assert_eq!(limits.groups("m", 65_535), Ok(65_535));
        limits.groups("m", 65_536).unwrap_err();
        // Indices in the kernels have 32 bits, whatever the adapter could bind.
        let limits = Limits { binding_bytes: u64::MAX, groups: 1 };
        limits.bytes("a", 1 << 30).unwrap_err();
    }

    #[test]
    fn dimensions_are_shared_by_a_power_of_two() {
        for (dim, parts) in
            [(1, 1), (64, 1), (65, 2), (128, 2), (129, 4), (256, 4), (257, 8), (512, 8)]
        {
            assert_eq!(Heads { heads: 1, tokens: 1, dim, causal: false }.parts(), parts, "{dim}");
        }
    }
}
