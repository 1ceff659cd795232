//! Synthetic tasks for a learner.

use affinis::plugin::{Examples, Graded, Pair, Sample};
use ndarray::Array2;

use crate::Random;

/// A task in which the first half of the coordinates decides what is similar and the second half is
/// noise.
#[derive(Debug)]
pub struct World {
    /// Graded judgements, eight on each query.
    pub examples: Examples,
    /// All vectors, without differences of neighbours.
    pub sample: Sample,
}

/// A world of `d` dimensions in which `queries` queries are judged.
pub fn world(d: usize, queries: usize, seed: u64) -> World {
    let mut random = Random(seed);
    let vectors = Array2::from_shape_fn((queries * 9, d), |_| random.normal() as f32);
    let mut graded = Vec::new();
    for query in 0..queries {
        let matters = |item: usize| -> f32 {
            (0..d.div_ceil(2))
                .map(|k| (vectors[[query * 9, k]] - vectors[[item, k]]).powi(2))
                .sum()
        };
        let mut near: Vec<usize> = (1..9).map(|i| query * 9 + i).collect();
        near.sort_by(|a, b| matters(*a).total_cmp(&matters(*b)));
        for (rank, item) in near.into_iter().enumerate() {
            let grade = if rank < 4 { 1.0 } else { -1.0 };
            graded.push(Graded {
                query: query * 9,
                item,
                grade,
                weight: 1.0,
            });
        }
    }
    let sample = Sample {
        items: vectors.clone(),
        neighbour_differences: Array2::zeros((0, d)),
    };
    World {
        examples: Examples {
            vectors,
            graded,
            pairs: Vec::new(),
        },
        sample,
    }
}

/// The same judgements as pairs.
pub fn pairs_of(world: &World) -> Examples {
    let pairs = world.examples.graded.iter();
    let pairs = pairs
        .map(|g| Pair {
            a: g.query,
            b: g.item,
            similar: g.grade > 0.0,
            weight: g.weight,
        })
        .collect();
    Examples {
        vectors: world.examples.vectors.clone(),
        graded: Vec::new(),
        pairs,
    }
}

/// Judgements of `queries` queries in `d` dimensions, each with five relevant and five irrelevant
/// results. Relevant results differ from their query by `far` in the first four numbers and by
/// `near` in the others, irrelevant ones the other way round (standard deviations).
pub fn judged_by_four_numbers(queries: usize, d: usize, far: f32, near: f32) -> Examples {
    let mut random = Random(3);
    let mut vectors = Array2::from_shape_fn((queries * 11, d), |_| random.normal() as f32);
    let mut graded = Vec::new();
    for query in (0..queries).map(|q| q * 11) {
        for item in query + 1..query + 11 {
            let relevant = item % 2 == 0;
            for j in 0..d {
                let length = if (j < 4) == relevant { far } else { near };
                vectors[[item, j]] = vectors[[query, j]] + length * random.normal() as f32;
            }
            graded.push(Graded {
                query,
                item,
                grade: if relevant { 1.0 } else { -1.0 },
                weight: 1.0,
            });
        }
    }
    Examples {
        vectors,
        graded,
        pairs: vec![],
    }
}

/// Makes the rows of a square matrix orthonormal, by the Gram-Schmidt process. They must be linearly
/// independent.
pub fn orthonormalise(basis: &mut Array2<f64>) {
    for i in 0..basis.nrows() {
        for j in 0..i {
            let along = basis.row(i).dot(&basis.row(j));
            let other = basis.row(j).to_owned();
            basis.row_mut(i).scaled_add(-along, &other);
        }
        let norm = basis.row(i).dot(&basis.row(i)).sqrt();
        basis.row_mut(i).mapv_inplace(|x| x / norm);
    }
}
