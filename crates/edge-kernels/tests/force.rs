//! The process-wide choice. One test, since the choice is shared by the whole process.

use edge_kernels::{Simd, Unavailable, active, available, canon, force};

#[test]
fn a_forced_back_end_is_the_one_that_runs() {
    assert_eq!(active(), *available().last().unwrap(), "the fastest is the default");
    for simd in Simd::ALL {
        let before = active();
        if available().contains(&simd) {
            assert_eq!(force(simd), Ok(()));
            assert_eq!(canon::Kernels::active().simd(), simd);
        } else {
            assert_eq!(force(simd), Err(Unavailable { simd }));
            assert_eq!(canon::Kernels::on(simd), Err(Unavailable { simd }));
            assert_eq!(active(), before, "a refused choice changes nothing");
        }
        assert_eq!(canon::dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
    }
}
