//! Binary codes: a bit for each element, set where it is positive.

/// The words that [`sign_bits`] needs for `len` elements.
pub const fn words_of_bits(len: usize) -> usize {
    len.div_ceil(64)
}

/// Bit `i mod 64` of `out[i / 64]` is whether `x[i] > 0`; bits without an element are 0. The sign of a zero
/// does not matter, and a NaN is not positive. Their [`crate::canon::hamming`] distance stands for the
/// angle between two vectors (Charikar, STOC 2002).
///
/// ```
/// use edge_kernels::canon;
///
/// let mut code = [0u64; canon::words_of_bits(3)];
/// canon::sign_bits(&[0.5, -0.5, 2.0], &mut code);
/// assert_eq!(code, [0b101]);
/// assert_eq!(canon::hamming(&code, &[0b011]), 2);
/// ```
///
/// # Panics
/// If `out` is not [`words_of_bits`] of `x` long.
pub fn sign_bits(x: &[f32], out: &mut [u64]) {
    assert_eq!(out.len(), words_of_bits(x.len()), "out has another size than the code");
    for (word, x) in out.iter_mut().zip(x.chunks(64)) {
        // A shift a step, from the last to the first: the compiler makes vectors of the comparisons.
        *word = x.iter().rev().fold(0, |word, v| word << 1 | u64::from(*v > 0.0));
    }
}
