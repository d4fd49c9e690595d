//! Which vector unit runs the kernels: what this machine has, what is in use, and how to choose.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

use thiserror::Error;

/// A back end of the canonical kernels. All of them give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Simd {
    /// Plain Rust; the definition, and the only back end that every machine has.
    Scalar = 1,
    /// x86-64 with AVX2 (two 256-bit registers per 16 lanes).
    Avx2 = 2,
    /// x86-64 with AVX-512 F, BW, DQ and VL; VNNI is used for `i8` where present.
    Avx512 = 3,
    /// 64-bit Arm (four 128-bit registers per 16 lanes).
    Neon = 4,
    /// wasm32 built with `+simd128`; relaxed SIMD is never used.
    Wasm128 = 5,
}

/// The back end asked for does not exist on this machine or in this build (the caller's fault).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{simd} kernels are not available on this machine")]
pub struct Unavailable {
    /// What was asked for.
    pub simd: Simd,
}

/// A name that is none of [`Simd::ALL`] (the caller's fault).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown SIMD back end {name:?}: expected scalar, avx2, avx512, neon or wasm128")]
pub struct UnknownSimd {
    /// What was given.
    pub name: String,
}

impl Simd {
    /// Every back end that exists anywhere, slowest first.
    pub const ALL: [Simd; 5] = [Simd::Scalar, Simd::Avx2, Simd::Avx512, Simd::Neon, Simd::Wasm128];

    /// The lower-case name that [`FromStr`] reads, e.g. `avx512`.
    pub const fn name(self) -> &'static str {
        match self {
            Simd::Scalar => "scalar",
            Simd::Avx2 => "avx2",
            Simd::Avx512 => "avx512",
            Simd::Neon => "neon",
            Simd::Wasm128 => "wasm128",
        }
    }

    /// Whether this machine and this build can run the back end.
    pub fn is_available(self) -> bool {
        match self {
            Simd::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => std::is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => {
                std::is_x86_feature_detected!("avx2")
                    && std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512bw")
                    && std::is_x86_feature_detected!("avx512dq")
                    && std::is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Simd::Wasm128 => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    fn from_byte(byte: u8) -> Option<Simd> {
        match byte {
            1 => Some(Simd::Scalar),
            2 => Some(Simd::Avx2),
            3 => Some(Simd::Avx512),
            4 => Some(Simd::Neon),
            5 => Some(Simd::Wasm128),
            _ => None,
        }
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Simd {
    type Err = UnknownSimd;

    fn from_str(name: &str) -> Result<Self, UnknownSimd> {
        Simd::ALL
            .into_iter()
            .find(|simd| simd.name() == name)
            .ok_or_else(|| UnknownSimd { name: name.to_owned() })
    }
}

/// The back ends of this machine, slowest first; the first is always [`Simd::Scalar`].
pub fn available() -> Vec<Simd> {
    Simd::ALL.into_iter().filter(|simd| simd.is_available()).collect()
}

/// 0: not chosen yet. Otherwise a `Simd` that was available when it was stored.
static ACTIVE: AtomicU8 = AtomicU8::new(0);

/// The back end that the free functions of [`crate::canon`] use: the last one [`force`]d, else the
/// fastest available.
#[inline]
pub fn active() -> Simd {
    match Simd::from_byte(ACTIVE.load(Ordering::Relaxed)) {
        Some(simd) => simd,
        None => choose(),
    }
}

#[cold]
fn choose() -> Simd {
    let fastest = available().pop().unwrap_or(Simd::Scalar);
    // A concurrent `force` wins: only the undecided state is replaced.
    match ACTIVE.compare_exchange(0, fastest as u8, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fastest,
        Err(now) => Simd::from_byte(now).unwrap_or(fastest),
    }
}

/// Makes every later call in this process use `simd`: for tests and for `EDGE_NET_SIMD`, which the
/// binary reads. Results do not change, only speed.
///
/// # Errors
/// [`Unavailable`] when this machine lacks it; nothing changes then.
pub fn force(simd: Simd) -> Result<(), Unavailable> {
    if !simd.is_available() {
        return Err(Unavailable { simd });
    }
    ACTIVE.store(simd as u8, Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for simd in Simd::ALL {
            assert_eq!(simd.name().parse(), Ok(simd));
            assert_eq!(Simd::from_byte(simd as u8), Some(simd));
        }
        assert_eq!((Simd::from_byte(0), Simd::from_byte(6)), (None, None));
        let error = "avx".parse::<Simd>().expect_err("no such back end");
        assert_eq!(
            error.to_string(),
            "unknown SIMD back end \"avx\": expected scalar, avx2, avx512, neon or wasm128"
        );
    }

    #[test]
    fn scalar_is_always_there_and_foreign_units_never() {
        assert_eq!(available().first(), Some(&Simd::Scalar));
        assert!(available().contains(&active()));
        let foreign = if cfg!(target_arch = "x86_64") { Simd::Neon } else { Simd::Avx2 };
        assert_eq!(force(foreign), Err(Unavailable { simd: foreign }));
        assert!(!available().contains(&foreign));
    }
}
