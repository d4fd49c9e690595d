//! The conformance corpus as a wasm module without imports: what `tests/wasm_equality.rs` builds, and
//! `tests/wasm/run.mjs` runs, with and without `simd128`.

#[path = "../tests/support/digests.rs"]
mod digests;

use std::sync::OnceLock;

use edge_kernels::Simd;
use edge_kernels::canon::Kernels;

/// How many digests [`canon_digests`] writes.
#[unsafe(no_mangle)]
pub extern "C" fn canon_section_count() -> usize {
    edge_kernels::conformance::SECTIONS.len()
}

/// The SHA-256 digests of all sections, one behind the other, computed by the scalar kernels (`vector` 0)
/// or by wasm SIMD (any other); null when this build lacks it.
#[unsafe(no_mangle)]
pub extern "C" fn canon_digests(vector: u32) -> *const u8 {
    static DIGESTS: [OnceLock<Vec<[u8; 32]>>; 2] = [OnceLock::new(), OnceLock::new()];
    let (simd, slot) =
        if vector == 0 { (Simd::Scalar, &DIGESTS[0]) } else { (Simd::Wasm128, &DIGESTS[1]) };
    match Kernels::on(simd) {
        Ok(kernels) => slot.get_or_init(|| digests::sections(kernels)).as_ptr().cast(),
        Err(_) => std::ptr::null(),
    }
}
