//! The tiny encoder as a wasm module without imports: what `tests/encoder_wasm.rs` builds, and
//! `tests/wasm/run.mjs` runs, with and without `simd128`.

#[path = "../tests/support/tiny.rs"]
mod tiny;

use std::sync::OnceLock;

use edge_kernels::Simd;
use edge_kernels::canon::Kernels;

/// The digest as 64 hexadecimal characters, computed by the scalar kernels (`vector` 0) or by wasm SIMD
/// (any other); null when this build lacks it.
#[unsafe(no_mangle)]
pub extern "C" fn encoder_digest(vector: u32) -> *const u8 {
    static DIGESTS: [OnceLock<String>; 2] = [OnceLock::new(), OnceLock::new()];
    let (simd, slot) =
        if vector == 0 { (Simd::Scalar, &DIGESTS[0]) } else { (Simd::Wasm128, &DIGESTS[1]) };
    match Kernels::on(simd) {
        Ok(kernels) => slot.get_or_init(|| tiny::digest(kernels)).as_ptr(),
        Err(_) => std::ptr::null(),
    }
}
