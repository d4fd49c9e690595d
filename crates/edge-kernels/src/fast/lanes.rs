//! The fast functions once for all vector units, over the sixteen lanes of the canonical ones.

use crate::canon::lanes::{LANES, Lanes, max};
use crate::canon::{EXP_LOW, EXP_POLY, GELU_P, GELU_POLY, LN2_HIGH, LN2_LOW, LOG2_E};

/// Sixteen lanes that can multiply and add in one step.
///
/// # Safety
/// Of the method: the machine has the unit.
pub(crate) trait Fused: Lanes {
    /// `self * by + plus`, rounded once where the unit can.
    unsafe fn fused(self, by: Self, plus: Self) -> Self;

    /// `self * 2^n` for integers `n` in -126..=0.
    #[inline(always)]
    unsafe fn halved(self, n: Self) -> Self {
        // SAFETY: the caller vouches for the unit.
        unsafe { self.scale(n) }
    }
}

/// e^x for `x` of at most 0, or above it by rounding; below the least normal number's logarithm that number.
///
/// # Safety
/// The machine has the unit.
#[inline(always)]
unsafe fn exp<V: Fused>(x: V) -> V {
    // SAFETY: the caller vouches for the unit.
    unsafe {
        let x = x.max(V::splat(EXP_LOW));
        let n = x.mul(V::splat(LOG2_E)).round();
        let r = n.fused(V::splat(-LN2_HIGH), x);
        let r = n.fused(V::splat(-LN2_LOW), r);
        // Estrin's order: what waits for what is half as long as in Horner's.
        let [p0, p1, p2, p3, p4, p5] = EXP_POLY.map(|c| V::splat(c));
        let square = r.mul(r);
        let (high, middle, low) = (p0.fused(r, p1), p2.fused(r, p3), p4.fused(r, p5));
        let p = high.fused(square, middle).fused(square, low);
        p.fused(square, r.add(V::splat(1.0))).halved(n)
    }
}

/// # Safety
/// The machine has the unit; the lengths are equal.
#[inline(always)]
pub(crate) unsafe fn dot<V: Fused>(a: &[f32], b: &[f32]) -> f32 {
    const SUMS: usize = 4;
    let len = a.len().min(b.len());
    let (a, b) = (a.as_ptr(), b.as_ptr());
    // SAFETY: the caller vouches for the unit; every read ends at or before `len`.
    unsafe {
        let mut sums = [V::splat(0.0); SUMS];
        let mut i = 0;
        while i + SUMS * LANES <= len {
            for (s, sum) in sums.iter_mut().enumerate() {
                let at = i + s * LANES;
                *sum = V::load(a.add(at)).fused(V::load(b.add(at)), *sum);
            }
            i += SUMS * LANES;
        }
        while i + LANES <= len {
            sums[0] = V::load(a.add(i)).fused(V::load(b.add(i)), sums[0]);
            i += LANES;
        }
        if i < len {
            let rest = len - i;
            let x = V::load_partial(a.add(i), rest);
            sums[1] = x.fused(V::load_partial(b.add(i), rest), sums[1]);
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).fold()
    }
}

/// # Safety
/// The machine has the unit.
#[inline(always)]
pub(crate) unsafe fn softmax_sum<V: Fused>(x: &mut [f32], factor: f32) -> f32 {
    // SAFETY: the caller vouches for the unit; every access ends at or before the length.
    unsafe {
        let shift = V::splat(-max::<V>(x) * factor);
        let factor = V::splat(factor);
        let (len, x) = (x.len(), x.as_mut_ptr());
        let mut sums = V::splat(0.0);
        let mut i = 0;
        while i + LANES <= len {
            let y = exp(V::load(x.add(i)).fused(factor, shift));
            y.store(x.add(i));
            sums = sums.add(y);
            i += LANES;
        }
        if i < len {
            let rest = len - i;
            let y = V::load_partial(x.add(i), rest).fused(factor, shift);
            exp(y).store_partial(x.add(i), rest);
            sums = sums.add(V::load_partial(x.add(i), rest));
        }
        sums.fold()
    }
}

/// # Safety
/// The machine has the unit; `gain` and `bias` are equally long, and `x` a multiple of them.
#[inline(always)]
pub(crate) unsafe fn layer_norm<V: Fused>(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    use crate::canon::lanes::{squared_deviations, sum16};
    let dim = gain.len();
    for row in x.chunks_exact_mut(dim) {
        // SAFETY: the caller vouches for the unit; every access ends at or before `dim`.
        unsafe {
            let mean = sum16::<V>(row) / dim as f32;
            let variance = squared_deviations::<V>(row, mean) / dim as f32;
            let factor = 1.0 / (variance + epsilon).sqrt();
            let (factor, shift) = (V::splat(factor), V::splat(-mean * factor));
            let x = row.as_mut_ptr();
            let mut i = 0;
            while i + LANES <= dim {
                let unit = V::load(x.add(i)).fused(factor, shift);
                let (gain, bias) = (gain.as_ptr().add(i), bias.as_ptr().add(i));
                unit.fused(V::load(gain), V::load(bias)).store(x.add(i));
                i += LANES;
            }
            if i < dim {
                let rest = dim - i;
                let unit = V::load_partial(x.add(i), rest).fused(factor, shift);
                let gain = V::load_partial(gain.as_ptr().add(i), rest);
                let bias = V::load_partial(bias.as_ptr().add(i), rest);
                unit.fused(gain, bias).store_partial(x.add(i), rest);
            }
        }
    }
}

/// # Safety
/// The machine has the unit.
#[inline(always)]
pub(crate) unsafe fn gelu<V: Fused>(x: &mut [f32]) {
    let (len, x) = (x.len(), x.as_mut_ptr());
    let mut i = 0;
    // SAFETY: the caller vouches for the unit; every access ends at or before the length.
    unsafe {
        while i + LANES <= len {
            gelu_of(V::load(x.add(i))).store(x.add(i));
            i += LANES;
        }
        if i < len {
            let rest = len - i;
            gelu_of(V::load_partial(x.add(i), rest)).store_partial(x.add(i), rest);
        }
    }
}

/// # Safety
/// The machine has the unit.
#[inline(always)]
unsafe fn gelu_of<V: Fused>(x: V) -> V {
    // SAFETY: the caller vouches for the unit.
    unsafe {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let size = x.max(zero.sub(x));
        let t = one.div(size.fused(V::splat(GELU_P), one));
        let mut poly = V::splat(GELU_POLY[0]);
        for c in &GELU_POLY[1..] {
            poly = poly.fused(t, V::splat(*c));
        }
        let power = exp(size.mul(size).mul(V::splat(-0.5)));
        let tail = poly.mul(t).mul(power);
        zero.sub(size).fused(tail, x.max(zero))
    }
}
