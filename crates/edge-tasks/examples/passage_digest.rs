//! The work over the sample passages as a wasm module without imports: what `tests/same_bits.rs` builds
//! and `tests/wasm/run.mjs` runs, with and without `simd128`.

#[path = "../tests/support/passages.rs"]
mod passages;

use std::sync::OnceLock;

use edge_kernels::Simd;

/// How many digests [`passage_digests`] writes.
#[unsafe(no_mangle)]
pub extern "C" fn passage_section_count() -> usize {
    passages::SECTIONS.len()
}

/// The digests of all sections, 32 bytes each, computed by the scalar kernels (`vector` 0) or by wasm SIMD
/// (any other); null when this build lacks it or work failed.
#[unsafe(no_mangle)]
pub extern "C" fn passage_digests(vector: u32) -> *const u8 {
    static DIGESTS: [OnceLock<Option<Vec<u8>>>; 2] = [OnceLock::new(), OnceLock::new()];
    let (simd, slot) =
        if vector == 0 { (Simd::Scalar, &DIGESTS[0]) } else { (Simd::Wasm128, &DIGESTS[1]) };
    if edge_kernels::force(simd).is_err() {
        return std::ptr::null();
    }
    let compute = || {
        let digests = passages::sections().ok()?;
        Some(digests.iter().flat_map(|digest| digest.0).collect())
    };
    slot.get_or_init(compute).as_ref().map_or(std::ptr::null(), Vec::as_ptr)
}
