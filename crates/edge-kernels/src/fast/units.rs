//! What each vector unit adds to its canonical form: the fused step, and the functions made from it.

/// The functions of a unit over its lanes `$v` and its tiles.
macro_rules! unit {
    ($(#[$unit:meta])* $v:ty, $register:ty, $rows:literal, $registers:literal) => {
        use $crate::fast::lanes;

        /// Tiles with the fused step.
        struct Fma;

        $crate::canon::tiles::product! {
            $(#[$unit])*
            $register, Fma, $rows, $registers
        }

        unit! { @each [$(#[$unit])*] $v;
            fn dot(a: &[f32], b: &[f32]) -> f32;
            fn softmax_sum(x: &mut [f32], factor: f32) -> f32;
            fn layer_norm(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) -> ();
            fn gelu(x: &mut [f32]) -> ();
        }
    };
    (@each $unit:tt $v:ty; $(fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {
        $(unit! { @one $unit $v, fn $name($($arg: $type),*) -> $ret })*
    };
    (@one [$(#[$unit:meta])*] $v:ty, fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty) => {
        /// # Safety
        /// The machine has the unit; lengths agree as the callers in `fast.rs` assert.
        $(#[$unit])*
        pub(in crate::fast) unsafe fn $name($($arg: $type),*) -> $ret {
            // SAFETY: the caller's contract is the callee's.
            unsafe { lanes::$name::<$v>($($arg),*) }
        }
    };
}

/// A panel of so many rows, a tile of `a` and the next one lie in a first-level cache together.
const DEPTH: usize = 128;

/// Whether the machine can fuse a multiplication and an addition of 256-bit registers.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_fma() -> bool {
    std::is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use std::arch::x86_64::*;

    use crate::canon::avx512::{Register, V};
    use crate::canon::tiles::AddProduct;

    unit! {
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
        V, Register, 12, 2
    }

    impl lanes::Fused for V {
        #[inline(always)]
        unsafe fn fused(self, by: Self, plus: Self) -> Self {
            // SAFETY: the caller vouches for the unit.
            // tidy: allow(canon) no canonical result
            V(unsafe { _mm512_fmadd_ps(self.0, by.0, plus.0) })
        }

        #[inline(always)]
        unsafe fn halved(self, n: Self) -> Self {
            // SAFETY: the caller vouches for the unit.
            V(unsafe { _mm512_scalef_ps(self.0, n.0) })
        }
    }

    impl AddProduct<Register> for Fma {
        const DEPTH: usize = super::DEPTH;

        #[inline(always)]
        unsafe fn add_product(sum: Register, x: Register, y: Register) -> Register {
            // SAFETY: the caller vouches for the unit.
            // tidy: allow(canon) no canonical result
            Register(unsafe { _mm512_fmadd_ps(x.0, y.0, sum.0) })
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use std::arch::x86_64::*;

    use crate::canon::avx2::{Register, V};
    use crate::canon::tiles::AddProduct;

    unit! {
        #[target_feature(enable = "avx2,fma")]
        V, Register, 6, 2
    }

    impl lanes::Fused for V {
        #[inline(always)]
        unsafe fn fused(self, by: Self, plus: Self) -> Self {
            // SAFETY: the caller vouches for the unit and FMA.
            V([0, 1].map(|h| unsafe { fma(self.0[h], by.0[h], plus.0[h]) }))
        }
    }

    impl AddProduct<Register> for Fma {
        const DEPTH: usize = super::DEPTH;

        #[inline(always)]
        unsafe fn add_product(sum: Register, x: Register, y: Register) -> Register {
            // SAFETY: the caller vouches for the unit and FMA.
            Register(unsafe { fma(x.0, y.0, sum.0) })
        }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // tidy: allow(canon) no canonical result
        _mm256_fmadd_ps(a, b, c)
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) mod neon {
    use std::arch::aarch64::*;

    use crate::canon::neon::{Register, V};
    use crate::canon::tiles::AddProduct;

    unit! {
        #[target_feature(enable = "neon")]
        V, Register, 6, 4
    }

    impl lanes::Fused for V {
        #[inline(always)]
        unsafe fn fused(self, by: Self, plus: Self) -> Self {
            // SAFETY: the caller vouches for the unit.
            V([0, 1, 2, 3].map(|h| unsafe { fma(self.0[h], by.0[h], plus.0[h]) }))
        }
    }

    impl AddProduct<Register> for Fma {
        const DEPTH: usize = super::DEPTH;

        #[inline(always)]
        unsafe fn add_product(sum: Register, x: Register, y: Register) -> Register {
            // SAFETY: the caller vouches for the unit.
            Register(unsafe { fma(x.0, y.0, sum.0) })
        }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // tidy: allow(canon) no canonical result
        vfmaq_f32(c, a, b)
    }
}

/// Without relaxed SIMD, which wasm engines may lack, a fused step is the canonical one.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) mod wasm128 {
    use crate::canon::lanes::Lanes;
    use crate::canon::tiles::{AddProduct, Rounded};
    use crate::canon::wasm128::{Register, V};

    unit! { V, Register, 6, 2 }

    impl lanes::Fused for V {
        #[inline(always)]
        unsafe fn fused(self, by: Self, plus: Self) -> Self {
            // SAFETY: the caller vouches for the unit.
            unsafe { self.mul(by).add(plus) }
        }
    }

    impl AddProduct<Register> for Fma {
        const DEPTH: usize = super::DEPTH;

        #[inline(always)]
        unsafe fn add_product(sum: Register, x: Register, y: Register) -> Register {
            // SAFETY: the caller vouches for the unit.
            unsafe { Rounded::add_product(sum, x, y) }
        }
    }
}
