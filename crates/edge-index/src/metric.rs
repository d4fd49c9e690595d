//! Metrics and the canonical score.

use std::borrow::Cow;

use edge_kernels::canon;
use serde::{Deserialize, Serialize};

use crate::error::VectorError;

/// The largest number of components of a vector.
pub const DIM_MAX: usize = 4096;
/// The largest magnitude of a component: with it no dot product or distance of [`DIM_MAX`] components
/// overflows, so every score of stored records is finite.
pub const COMPONENT_MAX: f32 = 1e15;
/// How far a squared length may be from 1 to count as unit length. Above the rounding of a sum of
/// [`DIM_MAX`] squares, far below what a score shows.
const UNIT_TOLERANCE: f32 = 1.0 / 16_384.0;

/// How two vectors compare. The better score is always the greater one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Metric {
    /// The cosine of the angle: vectors are brought to unit length, then [`canon::dot`].
    Cosine,
    /// [`canon::dot`] of the vectors as they are.
    Dot,
    /// The squared Euclidean distance, negated: `-canon::l2_squared`.
    L2,
}

impl Metric {
    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
            Metric::L2 => "l2",
        }
    }

    /// Reads a name, `euclid` being another one for `l2`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cosine" => Some(Metric::Cosine),
            "dot" => Some(Metric::Dot),
            "l2" | "euclid" => Some(Metric::L2),
            _ => None,
        }
    }

    /// The form in which a vector is stored, hashed and scored: every component finite and at most
    /// [`COMPONENT_MAX`], -0 as +0, and for [`Metric::Cosine`] of unit length. Applying it again changes
    /// nothing: a vector that is unit length within rounding, such as a model's output, keeps its bits.
    ///
    /// # Errors
    /// [`VectorError`]: a wrong component, or for cosine a vector without a direction.
    pub fn canonical(self, vector: &[f32]) -> Result<Cow<'_, [f32]>, VectorError> {
        if vector.is_empty() || vector.len() > DIM_MAX {
            return Err(VectorError::Size { components: vector.len() });
        }
        for (at, value) in vector.iter().enumerate() {
            if !value.is_finite() {
                return Err(VectorError::NotFinite { at });
            }
            if value.abs() > COMPONENT_MAX {
                return Err(VectorError::TooLarge { at });
            }
        }
        let mut vector = Cow::Borrowed(vector);
        if vector.iter().any(|value| value.to_bits() == (-0.0f32).to_bits()) {
            canon::fold_negative_zero(vector.to_mut());
        }
        if self != Metric::Cosine {
            return Ok(vector);
        }
        // Very small vectors lose precision in their squares; a second pass repairs it.
        for _ in 0..3 {
            if (canon::sum_squares(&vector) - 1.0).abs() <= UNIT_TOLERANCE {
                return Ok(vector);
            }
            canon::normalize(vector.to_mut()).map_err(|_| VectorError::NoDirection)?;
        }
        Err(VectorError::NoDirection)
    }

    /// The score of two vectors in canonical form and of one length.
    pub(crate) fn score_canonical(self, a: &[f32], b: &[f32]) -> f32 {
        match self {
            Metric::Cosine | Metric::Dot => canon::dot(a, b),
            Metric::L2 => 0.0 - canon::l2_squared(a, b),
        }
    }

    /// [`Metric::score_canonical`] of a query and each of `rows`, which is `[out.len(), dim]`.
    pub(crate) fn score_many_canonical(
        self,
        query: &[f32],
        rows: &[f32],
        dim: usize,
        out: &mut [f32],
    ) {
        match self {
            Metric::Cosine | Metric::Dot => canon::dot_many(query, rows, dim, out),
            Metric::L2 => {
                canon::l2_squared_many(query, rows, dim, out);
                out.iter_mut().for_each(|score| *score = 0.0 - *score);
            }
        }
    }
}

/// The canonical score of a stored vector for a query: what every replica computes and what a verifier
/// recomputes, bit for bit. NaN, which equals nothing, when the lengths differ or a vector has no
/// canonical form: a hit that claims such a score is false.
pub fn score(metric: Metric, query: &[f32], vector: &[f32]) -> f32 {
    match (metric.canonical(query), metric.canonical(vector)) {
        (Ok(query), Ok(vector)) if query.len() == vector.len() => {
            metric.score_canonical(&query, &vector)
        }
        _ => f32::NAN,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

    #[test]
    fn names_round_trip() {
        for metric in ALL {
            assert_eq!(Metric::from_name(metric.name()), Some(metric));
        }
        assert_eq!(Metric::from_name("manhattan"), None);
    }

    #[test]
    fn what_has_no_canonical_form_is_named() {
        let not_finite = [1.0, f32::NAN];
        for metric in ALL {
            assert_eq!(metric.canonical(&not_finite), Err(VectorError::NotFinite { at: 1 }));
            assert_eq!(metric.canonical(&[f32::INFINITY]), Err(VectorError::NotFinite { at: 0 }));
            assert_eq!(metric.canonical(&[0.0, 2e15]), Err(VectorError::TooLarge { at: 1 }));
            assert_eq!(metric.canonical(&[]), Err(VectorError::Size { components: 0 }));
            assert!(metric.canonical(&vec![1.0; DIM_MAX + 1]).is_err());
            assert!(score(metric, &not_finite, &[1.0, 1.0]).is_nan());
            assert!(score(metric, &[1.0], &[1.0, 1.0]).is_nan());
        }
        assert_eq!(Metric::Cosine.canonical(&[0.0, -0.0]), Err(VectorError::NoDirection));
        assert!(Metric::Dot.canonical(&[0.0, -0.0]).is_ok());
        assert!(Metric::L2.canonical(&[0.0, -0.0]).is_ok());
    }

    #[test]
    fn known_scores() {
        let (a, b) = ([3.0, 4.0], [4.0, 3.0]);
        assert_eq!(score(Metric::Dot, &a, &b), 24.0);
        assert_eq!(score(Metric::L2, &a, &b), -2.0);
        assert!((score(Metric::Cosine, &a, &b) - 0.96).abs() < 1e-6);
        assert_eq!(score(Metric::L2, &a, &a).to_bits(), 0);
    }

    #[test]
    fn no_score_of_stored_vectors_overflows() {
        let (a, b) = (vec![COMPONENT_MAX; DIM_MAX], vec![-COMPONENT_MAX; DIM_MAX]);
        for metric in ALL {
            assert!(score(metric, &a, &b).is_finite());
        }
    }

    proptest! {
        #[test]
        fn canonical_form_is_idempotent(
            mut v in proptest::collection::vec(-1f32..1.0, 1..300),
            exponent in -44i32..15,
        ) {
            let factor = format!("1e{exponent}").parse::<f32>().unwrap();
            v.iter_mut().for_each(|x| *x *= factor);
            for metric in ALL {
                let Ok(once) = metric.canonical(&v) else {
                    // Only cosine may refuse, and only what is too small to have a direction.
                    prop_assert!(metric == Metric::Cosine);
                    prop_assert!(exponent < -15 || v.iter().all(|x| x.abs() < 1e-15));
                    continue;
                };
                let twice = metric.canonical(&once).unwrap();
                let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&once), bits(&twice));
                prop_assert!(!bits(&once).contains(&0x8000_0000));
            }
        }

        #[test]
        fn scores_are_symmetric(
            pair in proptest::collection::vec((-9f32..9.0, -9f32..9.0), 1..80),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pair.into_iter().unzip();
            for metric in ALL {
                prop_assert_eq!(score(metric, &a, &b).to_bits(), score(metric, &b, &a).to_bits());
            }
        }
    }
}
