//! Canonical and fast numeric kernels with bit-identical SIMD back ends.
