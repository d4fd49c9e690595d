//! The canonical kernels once for all vector units, over sixteen lanes at a time.
//!
//! A back end implements [`Lanes`] and instantiates the functions here inside `#[target_feature]`
//! functions (the [`entry_points`] macro), into which everything is inlined. What differs by more than
//! an instruction's name (8-bit dot products) lives in the back end itself.

#![allow(clippy::needless_range_loop, reason = "rows of a group read as indices")]

use super::{EXP_HIGH, EXP_LOW, EXP_POLY, LN2_HIGH, LN2_LOW, LOG2_E};

/// The number of canonical accumulators.
pub(crate) const LANES: usize = 16;

/// Sixteen `f32` in however many registers the unit needs. Each arithmetic method rounds each lane once.
///
/// # Safety
/// Of every method: the machine has the unit. Pointers need no alignment and are valid for the number of
/// elements that the method names.
pub(crate) trait Lanes: Copy {
    unsafe fn splat(value: f32) -> Self;
    /// Reads 16.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes 16.
    unsafe fn store(self, to: *mut f32);
    /// Reads 16 and converts, which is exact.
    unsafe fn load_i8(from: *const i8) -> Self;
    /// Writes 16; the lanes are integers in -128..=127.
    unsafe fn store_i8(self, to: *mut i8);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// Of two finite lanes (or infinities) the greater; of two zeros either.
    unsafe fn max(self, other: Self) -> Self;
    /// Of two finite lanes (or infinities) the smaller; of two zeros either.
    unsafe fn min(self, other: Self) -> Self;
    /// To the nearest integer, ties to even.
    unsafe fn round(self) -> Self;
    /// `(self * 2^floor(n/2)) * 2^(n-floor(n/2))` for integers `n` in -126..=128; anything elsewhere.
    unsafe fn scale(self, n: Self) -> Self;
    /// +0 where `x < EXP_LOW`, +infinity where `x > EXP_HIGH`, else `self`.
    unsafe fn bound_exp(self, x: Self, low: Self, high: Self) -> Self;
    /// The tree: `lane[j] += lane[j + s]` for `s` = 8, 4, 2, 1; lane 0.
    unsafe fn fold(self) -> f32;

    /// Reads `count` < 16; the other lanes are +0.
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self {
        let mut lanes = [0f32; LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: `i < count`, and the caller vouches for `count` elements.
            *lane = unsafe { *from.add(i) };
        }
        // SAFETY: an array of 16.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// Writes the first `count` < 16 lanes.
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize) {
        for (i, lane) in lanes_of(self).iter().enumerate().take(count) {
            // SAFETY: `i < count`, and the caller vouches for `count` elements.
            unsafe { *to.add(i) = *lane };
        }
    }
}

/// The lanes as an array.
#[inline(always)]
fn lanes_of<V: Lanes>(v: V) -> [f32; LANES] {
    let mut lanes = [0f32; LANES];
    // SAFETY: an array of 16; a value of `V` exists only where the unit does.
    unsafe { v.store(lanes.as_mut_ptr()) };
    lanes
}

/// Safety contract shared by the functions below: the machine has the unit of `V`, and lengths agree as
/// the caller in `kernels.rs` asserts.
macro_rules! vector_functions {
    ($(
        $(#[$meta:meta])*
        fn $name:ident $([$($generics:tt)*])? ($($arg:ident: $type:ty),*) $(-> $ret:ty)? $body:block
    )*) => {$(
        $(#[$meta])*
        #[inline(always)]
        pub(crate) unsafe fn $name<V: Lanes $(, $($generics)*)?>($($arg: $type),*) $(-> $ret)? {
            // SAFETY: the unit is present by the caller's contract; every pointer is derived from a slice
            // and stays below its length, which the loop bounds show.
            unsafe { $body }
        }
    )*};
}

vector_functions! {
    fn sum16(x: &[f32]) -> f32 {
        let (len, x) = (x.len(), x.as_ptr());
        let mut acc = V::splat(0.0);
        let mut i = 0;
        while i + LANES <= len {
            acc = acc.add(V::load(x.add(i)));
            i += LANES;
        }
        if i < len {
            acc = acc.add(V::load_partial(x.add(i), len - i));
        }
        acc.fold()
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let (a, b) = (a.as_ptr(), b.as_ptr());
        let mut acc = V::splat(0.0);
        let mut i = 0;
        while i + LANES <= len {
            acc = acc.add(V::load(a.add(i)).mul(V::load(b.add(i))));
            i += LANES;
        }
        if i < len {
            // An absent pair adds +0 * +0 to an accumulator that is never -0: nothing.
            let (a, b) = (V::load_partial(a.add(i), len - i), V::load_partial(b.add(i), len - i));
            acc = acc.add(a.mul(b));
        }
        acc.fold()
    }

    fn dot_many(query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) {
        const ROWS: usize = 4;
        let mut done = 0;
        // Several rows at once: each row's additions form one dependent chain, which leaves the unit idle.
        while done + ROWS <= out.len() {
            let group = &rows[done * dim..(done + ROWS) * dim];
            let scores = dot_rows::<V, ROWS>(&query[..dim], group);
            out[done..done + ROWS].copy_from_slice(&scores);
            done += ROWS;
        }
        for row in done..out.len() {
            out[row] = dot::<V>(query, &rows[row * dim..(row + 1) * dim]);
        }
    }

    /// The dot products of `query` with `R` rows of its length.
    fn dot_rows[const R: usize](query: &[f32], rows: &[f32]) -> [f32; R] {
        let dim = query.len();
        assert!(rows.len() >= R * dim, "invariant: R rows");
        let (query, rows) = (query.as_ptr(), rows.as_ptr());
        let mut acc = [V::splat(0.0); R];
        let mut i = 0;
        while i + LANES <= dim {
            let q = V::load(query.add(i));
            for r in 0..R {
                acc[r] = acc[r].add(q.mul(V::load(rows.add(r * dim + i))));
            }
            i += LANES;
        }
        if i < dim {
            let q = V::load_partial(query.add(i), dim - i);
            for r in 0..R {
                acc[r] = acc[r].add(q.mul(V::load_partial(rows.add(r * dim + i), dim - i)));
            }
        }
        let mut scores = [0f32; R];
        for r in 0..R {
            scores[r] = acc[r].fold();
        }
        scores
    }

    fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let (a, b) = (a.as_ptr(), b.as_ptr());
        let mut acc = V::splat(0.0);
        let mut i = 0;
        while i + LANES <= len {
            let d = V::load(a.add(i)).sub(V::load(b.add(i)));
            acc = acc.add(d.mul(d));
            i += LANES;
        }
        if i < len {
            let (a, b) = (V::load_partial(a.add(i), len - i), V::load_partial(b.add(i), len - i));
            let d = a.sub(b);
            acc = acc.add(d.mul(d));
        }
        acc.fold()
    }

    fn l2_squared_many(query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) {
        const ROWS: usize = 4;
        let mut done = 0;
        while done + ROWS <= out.len() {
            let group = &rows[done * dim..(done + ROWS) * dim];
            let distances = l2_squared_rows::<V, ROWS>(&query[..dim], group);
            out[done..done + ROWS].copy_from_slice(&distances);
            done += ROWS;
        }
        for row in done..out.len() {
            out[row] = l2_squared::<V>(query, &rows[row * dim..(row + 1) * dim]);
        }
    }

    /// The squared distances of `query` from `R` rows of its length.
    fn l2_squared_rows[const R: usize](query: &[f32], rows: &[f32]) -> [f32; R] {
        let dim = query.len();
        assert!(rows.len() >= R * dim, "invariant: R rows");
        let (query, rows) = (query.as_ptr(), rows.as_ptr());
        let mut acc = [V::splat(0.0); R];
        let mut i = 0;
        while i + LANES <= dim {
            let q = V::load(query.add(i));
            for r in 0..R {
                let d = q.sub(V::load(rows.add(r * dim + i)));
                acc[r] = acc[r].add(d.mul(d));
            }
            i += LANES;
        }
        if i < dim {
            let q = V::load_partial(query.add(i), dim - i);
            for r in 0..R {
                let d = q.sub(V::load_partial(rows.add(r * dim + i), dim - i));
                acc[r] = acc[r].add(d.mul(d));
            }
        }
        let mut distances = [0f32; R];
        for r in 0..R {
            distances[r] = acc[r].fold();
        }
        distances
    }

    fn squared_deviations(x: &[f32], mean: f32) -> f32 {
        let (len, x) = (x.len(), x.as_ptr());
        let mean = V::splat(mean);
        let mut acc = V::splat(0.0);
        let mut i = 0;
        while i + LANES <= len {
            let d = V::load(x.add(i)).sub(mean);
            acc = acc.add(d.mul(d));
            i += LANES;
        }
        if i < len {
            let d = V::load_partial(x.add(i), len - i).sub(mean);
            // An absent element has a deviation of -mean: drop those lanes.
            let squares = lanes_of(d.mul(d));
            acc = acc.add(V::load_partial(squares.as_ptr(), len - i));
        }
        acc.fold()
    }

    fn divide(x: &mut [f32], divisor: f32) {
        let (divisor, zero) = (V::splat(divisor), V::splat(0.0));
        let (len, x) = (x.len(), x.as_mut_ptr());
        let mut i = 0;
        while i + LANES <= len {
            V::load(x.add(i)).div(divisor).add(zero).store(x.add(i));
            i += LANES;
        }
        if i < len {
            let v = V::load_partial(x.add(i), len - i);
            v.div(divisor).add(zero).store_partial(x.add(i), len - i);
        }
    }

    fn exp_shifted(x: &mut [f32], shift: f32) {
        let shift = V::splat(shift);
        let (len, x) = (x.len(), x.as_mut_ptr());
        let mut i = 0;
        while i + LANES <= len {
            exp(V::load(x.add(i)).sub(shift)).store(x.add(i));
            i += LANES;
        }
        if i < len {
            let v = V::load_partial(x.add(i), len - i).sub(shift);
            exp(v).store_partial(x.add(i), len - i);
        }
    }

    fn exp(x: V) -> V {
        let n = x.mul(V::splat(LOG2_E)).round();
        let r = x.sub(n.mul(V::splat(LN2_HIGH))).sub(n.mul(V::splat(LN2_LOW)));
        let mut p = V::splat(EXP_POLY[0]);
        for c in &EXP_POLY[1..] {
            p = p.mul(r).add(V::splat(*c));
        }
        let y = p.mul(r.mul(r)).add(r).add(V::splat(1.0));
        y.scale(n).bound_exp(x, V::splat(EXP_LOW), V::splat(EXP_HIGH))
    }

    fn max(x: &[f32]) -> f32 {
        let Some(first) = x.first() else { return 0.0 };
        let (chunks, rest) = x.as_chunks::<LANES>();
        let mut acc = V::splat(*first);
        for chunk in chunks {
            acc = acc.max(V::load(chunk.as_ptr()));
        }
        let mut greatest = *first;
        for v in lanes_of(acc).iter().chain(rest) {
            if *v > greatest {
                greatest = *v;
            }
        }
        greatest + 0.0
    }

    fn accumulate_i8(x: &mut [f32], row: &[i8], scale: f32) {
        let len = x.len().min(row.len());
        let (x, row) = (x.as_mut_ptr(), row.as_ptr());
        let (scales, zero) = (V::splat(scale), V::splat(0.0));
        let mut i = 0;
        while i + LANES <= len {
            let product = V::load_i8(row.add(i)).mul(scales);
            V::load(x.add(i)).add(product).add(zero).store(x.add(i));
            i += LANES;
        }
        while i < len {
            *x.add(i) = (*x.add(i) + f32::from(*row.add(i)) * scale) + 0.0;
            i += 1;
        }
    }

    fn dequantize_i8(codes: &[i8], scale: f32, out: &mut [f32]) {
        let len = codes.len().min(out.len());
        let (codes, out) = (codes.as_ptr(), out.as_mut_ptr());
        let (scales, zero) = (V::splat(scale), V::splat(0.0));
        let mut i = 0;
        while i + LANES <= len {
            V::load_i8(codes.add(i)).mul(scales).add(zero).store(out.add(i));
            i += LANES;
        }
        while i < len {
            *out.add(i) = f32::from(*codes.add(i)) * scale + 0.0;
            i += 1;
        }
    }

    fn add_scaled(x: &mut [f32], y: &[f32], w: f32) {
        let len = x.len().min(y.len());
        let (x, y) = (x.as_mut_ptr(), y.as_ptr());
        let (weights, zero) = (V::splat(w), V::splat(0.0));
        let mut i = 0;
        while i + LANES <= len {
            let product = V::load(y.add(i)).mul(weights);
            V::load(x.add(i)).add(product).add(zero).store(x.add(i));
            i += LANES;
        }
        if i < len {
            let product = V::load_partial(y.add(i), len - i).mul(weights);
            let v = V::load_partial(x.add(i), len - i);
            v.add(product).add(zero).store_partial(x.add(i), len - i);
        }
    }

    fn quantize_i8(x: &[f32], scale: f32, out: &mut [i8]) {
        let len = x.len().min(out.len());
        let (x, out) = (x.as_ptr(), out.as_mut_ptr());
        let (scale, low, high) = (V::splat(scale), V::splat(-127.0), V::splat(127.0));
        let mut i = 0;
        while i + LANES <= len {
            V::load(x.add(i)).div(scale).round().max(low).min(high).store_i8(out.add(i));
            i += LANES;
        }
        if i < len {
            let v = V::load_partial(x.add(i), len - i);
            let mut codes = [0i8; LANES];
            v.div(scale).round().max(low).min(high).store_i8(codes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(codes.as_ptr(), out.add(i), len - i);
        }
    }
}

/// The functions of a back end that [`crate::canon::Kernels`] calls, over the `Lanes` type `$v`.
///
/// The generated functions are unsafe: the machine must have the unit, and lengths must agree as their
/// callers assert.
macro_rules! entry_points {
    ($(#[$unit:meta])* $v:ty) => {
        $crate::canon::lanes::entry_points! { @each [$(#[$unit])*] $v;
            fn sum16(x: &[f32]) -> f32;
            fn dot(a: &[f32], b: &[f32]) -> f32;
            fn dot_many(query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) -> ();
            fn l2_squared(a: &[f32], b: &[f32]) -> f32;
            fn l2_squared_many(query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) -> ();
            fn squared_deviations(x: &[f32], mean: f32) -> f32;
            fn divide(x: &mut [f32], divisor: f32) -> ();
            fn exp_shifted(x: &mut [f32], shift: f32) -> ();
            fn max(x: &[f32]) -> f32;
            fn accumulate_i8(x: &mut [f32], row: &[i8], scale: f32) -> ();
            fn add_scaled(x: &mut [f32], y: &[f32], w: f32) -> ();
            fn quantize_i8(x: &[f32], scale: f32, out: &mut [i8]) -> ();
            fn dequantize_i8(codes: &[i8], scale: f32, out: &mut [f32]) -> ();
        }
    };
    (@each $unit:tt $v:ty;
        $(fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*
    ) => {
        $($crate::canon::lanes::entry_points! {
            @one $unit $v, fn $name($($arg: $type),*) -> $ret
        })*
    };
    (@one [$(#[$unit:meta])*] $v:ty, fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty) => {
        $(#[$unit])*
        pub(super) unsafe fn $name($($arg: $type),*) -> $ret {
            // SAFETY: the caller's contract is the callee's.
            unsafe { $crate::canon::lanes::$name::<$v>($($arg),*) }
        }
    };
}

/// Writes the methods of a `Lanes` implementation: each is inlined and has its body in an unsafe block.
macro_rules! lane_methods {
    ($(fn $name:ident($($arg:tt)*) $(-> $ret:ty)? $body:block)*) => {$(
        #[inline(always)]
        unsafe fn $name($($arg)*) $(-> $ret)? {
            // SAFETY: the caller of a `Lanes` method vouches for the unit and for its pointers.
            unsafe { $body }
        }
    )*};
}

pub(crate) use lane_methods;
pub(super) use {entry_points, vector_functions};
