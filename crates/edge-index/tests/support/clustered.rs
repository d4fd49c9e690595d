//! Synthetic rows shaped like text embeddings: overlapping clusters in few latent dimensions, spread over
//! many components by a random matrix, with a little noise on each.

use edge_base::Rng;

/// Dimensions that the rows really have.
const LATENT: usize = 24;

/// About normal: the sum of twelve uniform numbers.
fn normal(rng: &mut Rng) -> f32 {
    let mut sum = -6.0;
    for _ in 0..12 {
        sum += (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
    }
    sum
}

pub(crate) fn normals(count: usize, rng: &mut Rng) -> Vec<f32> {
    (0..count).map(|_| normal(rng)).collect()
}

/// `rows` vectors of `dim` components around `rows / 60` centres, in random order.
pub(crate) fn clustered(rows: usize, dim: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Rng::derive(seed, "index/test/clustered");
    let spread: Vec<Vec<f32>> = (0..LATENT).map(|_| normals(dim, &mut rng)).collect();
    let centres: Vec<Vec<f32>> =
        (0..rows.div_ceil(60)).map(|_| normals(LATENT, &mut rng)).collect();
    let mut out = Vec::with_capacity(rows);
    for _ in 0..rows {
        let centre = rng.pick(&centres).cloned().unwrap_or_default();
        let mut row: Vec<f32> = (0..dim).map(|_| 0.1 * normal(&mut rng)).collect();
        for (x, direction) in centre.iter().zip(&spread) {
            let along = x + 0.5 * normal(&mut rng);
            row.iter_mut().zip(direction).for_each(|(r, d)| *r += along * d);
        }
        out.push(row);
    }
    out
}
