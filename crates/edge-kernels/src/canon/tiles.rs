//! The matrix product once for all vector units: register tiles over packed operands.
//!
//! The order is that of Goto and van de Geijn (ACM TOMS 34:12, 2008) with the canonical blocks of `k`
//! outermost: rows of `a` lie packed in the second-level cache, a panel of `b` some registers wide in the
//! first, and a tile of outputs stays in registers while it walks along `k`. Every output is computed by
//! itself, so neither the tile's size nor the split into panels and row blocks has an influence on bits.
//!
//! The first tile that needs a panel reads `b` where it lies and leaves a packed copy for the next ones;
//! a [`Packed`] matrix needs neither.

#![allow(clippy::needless_range_loop, reason = "register tiles read as indices")]
#![allow(clippy::too_many_arguments, reason = "a product has three shapes and three operands")]

use super::MATMUL_BLOCK;
use crate::rows::{Rows, hold};
use crate::scratch::Scratch;

/// A register of [`Self::WIDTH`] `f32`. Each arithmetic method rounds each lane once.
///
/// # Safety
/// Of every method: the machine has the unit. Pointers need no alignment and are valid for the number of
/// elements that the method names.
pub(crate) trait Vector: Copy {
    const WIDTH: usize;
    unsafe fn zero() -> Self;
    /// Reads one element into every lane.
    unsafe fn broadcast(from: *const f32) -> Self;
    /// Reads a register.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes a register.
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// Asks for a cache line that is needed soon; any address will do.
    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}
    /// The same, into a cache further away.
    #[inline(always)]
    unsafe fn prefetch_far(_at: *const f32) {}
}

/// How a tile adds a product to a sum.
///
/// # Safety
/// Of the method: the machine has the unit of `V`.
pub(crate) trait AddProduct<V> {
    /// How many `k` a tile walks along before it adds what it has to the output: divides
    /// [`MATMUL_BLOCK`], and is that where the result is canonical.
    const DEPTH: usize = MATMUL_BLOCK;

    unsafe fn add_product(sum: V, x: V, y: V) -> V;
}

/// The canonical way: the product is rounded, then the sum.
pub(crate) struct Rounded;

impl<V: Vector> AddProduct<V> for Rounded {
    #[inline(always)]
    unsafe fn add_product(sum: V, x: V, y: V) -> V {
        // SAFETY: the caller vouches for the unit.
        unsafe { sum.add(x.mul(y)) }
    }
}

/// `b` of a product, `[k, n]`.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// Row after row.
    Rows(Rows<'a>),
    /// As [`pack`] made it for the same width of panels.
    Packed(&'a [f32]),
}

/// Row blocks hold this many tiles of the greatest height.
const TILES_MAX: usize = 20;

/// How far ahead of its use a row of `b` that lies in memory is asked for.
const PREFETCH_ROWS: usize = 8;

/// `c = a · b` in tiles of at most `R` rows by `C` registers, at most twelve rows. The rows of `c` begin
/// `c_stride` elements apart.
///
/// # Safety
/// The machine has the unit of `V`.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector, A: AddProduct<V>, const R: usize, const C: usize>(
    m: usize,
    n: usize,
    k: usize,
    a: Rows<'_>,
    b: Right<'_>,
    c: &mut [f32],
    c_stride: usize,
) {
    assert!(R <= 12 && R * C * V::WIDTH <= TILE_MAX, "invariant: tiles");
    assert!(a.hold(m, k) && hold(c.len(), c_stride, m, n), "invariant: shapes");
    match b {
        Right::Rows(b) => assert!(b.hold(k, n), "invariant: shapes"),
        Right::Packed(b) => assert!(b.len() >= k * padded(n, V::WIDTH, C), "invariant: shapes"),
    }
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        return c.chunks_mut(c_stride).take(m).for_each(|row| row[..n].fill(0.0));
    }
    let width = V::WIDTH * C;
    let block_rows = m.min(R * TILES_MAX);
    // Not filled before it is written: a small product would take longer to do that.
    let mut rows = Vec::<f32>::with_capacity(block_rows * A::DEPTH);
    let rows = rows.as_mut_ptr();
    let needs_panel = matches!(b, Right::Rows(_)) && (m > R || !n.is_multiple_of(width));
    let mut panel = Scratch::new(if needs_panel { k.min(A::DEPTH) * width } else { 0 });
    let panel = panel.get();
    // Where rows go that need not be kept: storing them anyway is cheaper than asking.
    let mut nowhere = Scratch::new(width);
    let nowhere = nowhere.get();
    for start in (0..k).step_by(A::DEPTH) {
        let depth = (k - start).min(A::DEPTH);
        // Where the block begins that a packed matrix has it in, and how deep that is.
        let block = start - start % MATMUL_BLOCK;
        let block_depth = (k - block).min(MATMUL_BLOCK);
        for top in (0..m).step_by(block_rows) {
            let height = (m - top).min(block_rows);
            for i in 0..height {
                let row = &a.values[(top + i) * a.stride + start..][..depth];
                // SAFETY: i < block_rows and depth <= DEPTH, which is what there is room for.
                unsafe {
                    let to = rows.add(i * A::DEPTH);
                    let mut q = 0;
                    while q + V::WIDTH <= depth {
                        V::load(row.as_ptr().add(q)).store(to.add(q));
                        q += V::WIDTH;
                    }
                    std::ptr::copy_nonoverlapping(row.as_ptr().add(q), to.add(q), depth - q);
                }
            }
            // Tiles of about equal height: a last tile of one row would wait for its own additions.
            let tiles = height.div_ceil(R);
            for j in (0..n).step_by(width) {
                let columns = (n - j).min(width);
                let narrow = columns <= V::WIDTH;
                let panel_width = if narrow { V::WIDTH } else { width };
                let (mut from, mut stride, mut keep) = match b {
                    Right::Packed(b) => {
                        let at = block * padded(n, V::WIDTH, C) + block_depth * j;
                        let at = at + (start - block) * panel_width;
                        (b[at..].as_ptr(), panel_width, false)
                    }
                    Right::Rows(b) if columns == panel_width => {
                        (b.values[start * b.stride + j..].as_ptr(), b.stride, tiles > 1)
                    }
                    Right::Rows(b) => {
                        let rows = &b.values[start * b.stride + j..];
                        pack_panel(rows, b.stride, depth, columns, panel_width, panel);
                        (panel.as_ptr(), panel_width, false)
                    }
                };
                let packed = matches!(b, Right::Packed(_));
                let next_panel = from.wrapping_add(block_depth * panel_width);
                let mut first = 0;
                for t in 0..tiles {
                    let next = first + height / tiles + usize::from(t < height % tiles);
                    let c = &mut c[(top + first) * c_stride + j..];
                    let next_rows = rows.wrapping_add(next * A::DEPTH).cast_const();
                    // While the first tiles walk along a packed panel, the next panel is on its way: each
                    // fetches a cache line a row. Rows that lie apart are asked for just before they are read.
                    let (far, far_stride) = match packed {
                        true if t < C => (next_panel.wrapping_add(t * depth * V::WIDTH), V::WIDTH),
                        true => (from, 0),
                        false => (from.wrapping_add(PREFETCH_ROWS * stride), stride),
                    };
                    let near = if tiles == 1 && packed {
                        next_panel.wrapping_add(depth * V::WIDTH)
                    } else {
                        next_rows
                    };
                    let step = Step {
                        depth,
                        rows: rows.wrapping_add(first * A::DEPTH),
                        b: from,
                        b_stride: stride,
                        near,
                        far,
                        far_stride,
                        keep: if keep { panel.as_mut_ptr() } else { nowhere.as_mut_ptr() },
                        keep_stride: if keep { panel_width } else { 0 },
                        overwrite: start == 0,
                        c_stride,
                        columns,
                    };
                    // SAFETY: `rows` has next - first rows whose `depth` elements were written; b has `depth` rows of panel_width
                    // elements at `stride`; `panel` has room for them where they are kept.
                    unsafe {
                        if narrow {
                            tile_of::<V, A, R, 1>(next - first, step, c);
                        } else {
                            tile_of::<V, A, R, C>(next - first, step, c);
                        }
                    }
                    if keep {
                        (from, stride, keep) = (panel.as_ptr(), panel_width, false);
                    }
                    first = next;
                }
            }
        }
    }
}

/// The elements of a row of a packed `[k, n]`: `n` rounded up to whole panels, the last of which is one
/// register wide if that is enough.
fn padded(n: usize, lanes: usize, registers: usize) -> usize {
    let width = lanes * registers;
    let rest = n % width;
    n - rest
        + match rest {
            0 => 0,
            rest if rest <= lanes => lanes,
            _ => width,
        }
}

/// Lays out `b`, whose element `(q, j)` is `at(q, j)`, for panels of `registers` times `lanes` columns:
/// for each block of `k`, for each panel, its rows, filled with zeros that are computed with and never
/// stored.
pub(crate) fn pack(
    k: usize,
    n: usize,
    lanes: usize,
    registers: usize,
    at: impl Fn(usize, usize) -> f32,
) -> Scratch {
    let mut packed = Scratch::new(k * padded(n, lanes, registers));
    let mut rows = packed.get();
    for start in (0..k).step_by(MATMUL_BLOCK) {
        for j in (0..n).step_by(lanes * registers) {
            let columns = (n - j).min(lanes * registers);
            let width = if columns <= lanes { lanes } else { lanes * registers };
            for q in start..(start + MATMUL_BLOCK).min(k) {
                let (row, rest) = rows.split_at_mut(width);
                rows = rest;
                row.iter_mut().zip(j..j + columns).for_each(|(to, j)| *to = at(q, j));
            }
        }
    }
    packed
}

/// Where [`pack`] puts the element `(q, j)` of a `[k, n]`.
pub(crate) fn packed_at(
    [k, n]: [usize; 2],
    lanes: usize,
    registers: usize,
    q: usize,
    j: usize,
) -> usize {
    let start = q - q % MATMUL_BLOCK;
    let depth = (k - start).min(MATMUL_BLOCK);
    let first = j - j % (lanes * registers);
    let width = if n - first <= lanes { lanes } else { lanes * registers };
    start * padded(n, lanes, registers) + depth * first + (q - start) * width + (j - first)
}

/// Copies `depth` rows of `columns` out of `b`, whose rows are `stride` apart, to rows of `width`, filled
/// with zeros that are computed with and never stored.
#[inline(always)]
fn pack_panel(
    b: &[f32],
    stride: usize,
    depth: usize,
    columns: usize,
    width: usize,
    out: &mut [f32],
) {
    for q in 0..depth {
        let row = &mut out[q * width..(q + 1) * width];
        row[..columns].copy_from_slice(&b[q * stride..q * stride + columns]);
        row[columns..].fill(0.0);
    }
}

/// What a tile reads and where it goes.
#[derive(Clone, Copy)]
struct Step {
    depth: usize,
    /// Rows of `a`, each [`AddProduct::DEPTH`] behind the one before.
    rows: *const f32,
    b: *const f32,
    b_stride: usize,
    /// What the next tile reads: a line a step is asked for.
    near: *const f32,
    /// What is read of `b` later, and how far apart its lines are.
    far: *const f32,
    far_stride: usize,
    /// Where a packed copy of what is read of `b` goes, and how far apart its rows are.
    keep: *mut f32,
    keep_stride: usize,
    /// Whether this is the first block of `k`: `c` holds nothing yet.
    overwrite: bool,
    c_stride: usize,
    columns: usize,
}

/// The tile of `rows` rows: at most `R`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn tile_of<V: Vector, A: AddProduct<V>, const R: usize, const C: usize>(
    rows: usize,
    step: Step,
    c: &mut [f32],
) {
    macro_rules! by_rows {
        ($($count:literal)*) => {
            match rows {
                $($count if $count <= R => {
                    // SAFETY: the caller's contract is the callee's.
                    unsafe { tile::<V, A, $count, C>(step, c) }
                })*
                _ => unreachable!("invariant: a tile has 1 to R rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// `c[r, ..columns] += Σ_q a[r, q] · b[q, ..]` for `R` rows and `C` registers of columns.
///
/// # Safety
/// The machine has the unit of `V`; the pointers of `step` are valid for `R` rows of `a` and `depth` rows
/// of `C` registers; `R` times those is at most [`TILE_MAX`] elements.
#[inline(always)]
unsafe fn tile<V: Vector, A: AddProduct<V>, const R: usize, const C: usize>(
    step: Step,
    c: &mut [f32],
) {
    let Step { depth, rows, b, b_stride, near, far, far_stride, .. } = step;
    let Step { keep, keep_stride, overwrite, c_stride, columns, .. } = step;
    assert!(c.len() >= (R - 1) * c_stride + columns, "invariant: the tile lies in c");
    // SAFETY: by the caller's contract; a prefetch may have any address, and writes stay within what was
    // asserted.
    unsafe {
        for r in 0..R {
            for h in 0..C {
                V::prefetch(c.as_ptr().wrapping_add(r * c_stride + h * V::WIDTH));
            }
        }
        let mut partial = [[V::zero(); C]; R];
        for q in 0..depth {
            let row = b.add(q * b_stride);
            V::prefetch(near.wrapping_add(q * V::WIDTH));
            V::prefetch_far(far.wrapping_add(q * far_stride));
            let mut y = [V::zero(); C];
            for h in 0..C {
                y[h] = V::load(row.add(h * V::WIDTH));
                y[h].store(keep.add(q * keep_stride + h * V::WIDTH));
            }
            for r in 0..R {
                let x = V::broadcast(rows.add(r * A::DEPTH + q));
                for h in 0..C {
                    partial[r][h] = A::add_product(partial[r][h], x, y[h]);
                }
            }
        }
        if columns == C * V::WIDTH {
            for r in 0..R {
                for h in 0..C {
                    let to = c.as_mut_ptr().add(r * c_stride + h * V::WIDTH);
                    let total = if overwrite { V::zero() } else { V::load(to) };
                    total.add(partial[r][h]).store(to);
                }
            }
        } else {
            let mut sums = [0f32; TILE_MAX];
            for r in 0..R {
                for h in 0..C {
                    partial[r][h].store(sums.as_mut_ptr().add((r * C + h) * V::WIDTH));
                }
            }
            add_edge(&sums, C * V::WIDTH, &step, R, c);
        }
    }
}

/// The elements of the greatest tile of any unit.
const TILE_MAX: usize = 12 * 32;

/// Adds the first columns of `sums`, rows of `width`, to the tile `c` of `rows` rows.
#[inline(never)]
fn add_edge(sums: &[f32; TILE_MAX], width: usize, step: &Step, rows: usize, c: &mut [f32]) {
    for (r, sums) in sums.chunks_exact(width).enumerate().take(rows) {
        let c = &mut c[r * step.c_stride..][..step.columns];
        for (total, sum) in c.iter_mut().zip(sums) {
            *total = if step.overwrite { 0.0 } else { *total } + *sum;
        }
    }
}

/// Writes a [`Vector`] of a unit: its type, its width, and the name of each operation.
macro_rules! vector {
    ($name:ident($register:ty), $width:literal, $zero:expr, $broadcast:expr, $load:expr, $store:expr,
     $add:expr, $mul:expr $(, prefetch $prefetch:expr, $far:expr)?) => {
        /// One register.
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) $register);

        impl $crate::canon::tiles::Vector for $name {
            const WIDTH: usize = $width;
            $crate::canon::lanes::lane_methods! {
                fn zero() -> Self { $name($zero) }
                fn broadcast(from: *const f32) -> Self { $name($broadcast(from)) }
                fn load(from: *const f32) -> Self { $name($load(from)) }
                fn store(self, to: *mut f32) { $store(to, self.0); }
                fn add(self, other: Self) -> Self { $name($add(self.0, other.0)) }
                fn mul(self, other: Self) -> Self { $name($mul(self.0, other.0)) }
                $(fn prefetch(at: *const f32) { $prefetch(at); }
                fn prefetch_far(at: *const f32) { $far(at); })?
            }
        }
    };
}

/// The product of a unit in tiles of `$rows` by `$registers`.
macro_rules! product {
    ($(#[$unit:meta])* $v:ty, $arithmetic:ty, $rows:literal, $registers:literal) => {
        /// See [`crate::canon::tiles::multiply`].
        ///
        /// # Safety
        /// The machine has the unit.
        $(#[$unit])*
        pub(crate) unsafe fn matmul(
            m: usize,
            n: usize,
            k: usize,
            a: $crate::rows::Rows<'_>,
            b: $crate::canon::tiles::Right<'_>,
            c: &mut [f32],
            c_stride: usize,
        ) {
            // SAFETY: the caller's contract is the callee's.
            unsafe {
                $crate::canon::tiles::multiply::<$v, $arithmetic, $rows, $registers>(
                    m, n, k, a, b, c, c_stride,
                )
            }
        }
    };
}

pub(crate) use {product, vector};
