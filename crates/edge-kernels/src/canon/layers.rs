//! What a transformer layer needs beside products and softmax, for all vector units over sixteen lanes.

use super::lanes::{self, LANES, Lanes};
use super::{GELU_P, GELU_POLY};

lanes::vector_functions! {
    fn gelu(x: &mut [f32]) -> () {
        let (len, x) = (x.len(), x.as_mut_ptr());
        let mut i = 0;
        while i + LANES <= len {
            gelu_of(V::load(x.add(i))).store(x.add(i));
            i += LANES;
        }
        if i < len {
            gelu_of(V::load_partial(x.add(i), len - i)).store_partial(x.add(i), len - i);
        }
    }

    fn gelu_of(x: V) -> V {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let a = x.max(zero.sub(x));
        let t = one.div(a.mul(V::splat(GELU_P)).add(one));
        let mut p = V::splat(GELU_POLY[0]);
        for c in &GELU_POLY[1..] {
            p = p.mul(t).add(V::splat(*c));
        }
        let q = p.mul(t).mul(lanes::exp(a.mul(a).mul(V::splat(-0.5))));
        x.max(zero).sub(a.mul(q)).add(zero)
    }

    fn layer_norm(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) -> () {
        let len = x.len().min(gain.len()).min(bias.len());
        let count = len as f32;
        let mean = lanes::sum16::<V>(x) / count;
        let variance = lanes::squared_deviations::<V>(x, mean) / count;
        let r = V::splat(1.0 / (variance + epsilon).sqrt());
        let (mean, zero) = (V::splat(mean), V::splat(0.0));
        let (x, gain, bias) = (x.as_mut_ptr(), gain.as_ptr(), bias.as_ptr());
        let mut i = 0;
        while i + LANES <= len {
            let y = V::load(x.add(i)).sub(mean).mul(r).mul(V::load(gain.add(i)));
            y.add(V::load(bias.add(i))).add(zero).store(x.add(i));
            i += LANES;
        }
        if i < len {
            let n = len - i;
            let y = V::load_partial(x.add(i), n).sub(mean).mul(r);
            let y = y.mul(V::load_partial(gain.add(i), n)).add(V::load_partial(bias.add(i), n));
            y.add(zero).store_partial(x.add(i), n);
        }
    }
}

/// The functions above for one back end, as `lanes::entry_points` does it for the rest.
macro_rules! entry_points {
    ($(#[$unit:meta])* $v:ty) => {
        $(#[$unit])*
        pub(super) unsafe fn gelu(x: &mut [f32]) {
            // SAFETY: the caller's contract is the callee's: the machine has the unit.
            unsafe { $crate::canon::layers::gelu::<$v>(x) }
        }

        $(#[$unit])*
        pub(super) unsafe fn layer_norm(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
            // SAFETY: the caller's contract is the callee's: the machine has the unit.
            unsafe { $crate::canon::layers::layer_norm::<$v>(x, gain, bias, epsilon) }
        }
    };
}

pub(super) use entry_points;
