//! SHA-256 of each section of the conformance corpus, shared by the golden test, the wasm module and the
//! test that runs it.

use edge_kernels::canon::Kernels;
use edge_kernels::conformance;
use sha2::{Digest, Sha256};

/// One digest for each of [`conformance::SECTIONS`], over the little-endian words.
pub(crate) fn sections(kernels: Kernels) -> Vec<[u8; 32]> {
    conformance::SECTIONS
        .iter()
        .map(|section| {
            let mut hash = Sha256::new();
            conformance::visit(kernels, section, &mut |word| hash.update(word.to_le_bytes()));
            hash.finalize().into()
        })
        .collect()
}
