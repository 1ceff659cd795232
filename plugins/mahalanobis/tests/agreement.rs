//! The gate's second question: whether the judgements agree with similarity at all.

use affinis::plugin::{Examples, Gate, Graded, Sample, Task};
use affinis_mahalanobis::gate;
use ndarray::Array2;

const QUERIES: usize = 12;

/// Twelve queries with two answers at a distance of some 1 and two at some 2, along the second and
/// the first coordinate; the near or the far ones are relevant.
fn examples(near_is_relevant: bool) -> Examples {
    let vectors = Array2::from_shape_fn((QUERIES * 5, 2), |(row, column)| {
        let (query, answer) = (row / 5, row % 5);
        let differs = answer > 0 && column == answer % 2;
        let size = if answer % 2 == 1 { 1.0 } else { 2.0 };
        100.0 * query as f32
            + if differs {
                size + (row * 7 % 10) as f32 / 20.0
            } else {
                0.0
            }
    });
    let graded = (0..QUERIES).flat_map(|query| {
        (1..5).map(move |answer| Graded {
            query: 5 * query,
            item: 5 * query + answer,
            grade: if (answer % 2 == 1) == near_is_relevant {
                1.0
            } else {
                -1.0
            },
            weight: 1.0,
        })
    });
    Examples {
        vectors,
        graded: graded.collect(),
        pairs: Vec::new(),
    }
}

/// The verdict on `x^2 + weight y^2` in differences of the two coordinates.
fn verdict(near_is_relevant: bool, weight: f64) -> Gate {
    let examples = examples(near_is_relevant);
    let sample = Sample::default();
    let task = Task::new(2, &examples, &sample).with_seed(7);
    let outcome = gate::test(&task, |_| {
        Ok(move |x: &[f32], y: &[f32]| {
            let square = |at: usize| f64::from(x[at] - y[at]).powi(2);
            square(0) + weight * square(1)
        })
    });
    outcome.expect("a verdict").gate
}

#[test]
fn a_gain_counts_where_judgements_agree_with_similarity() {
    let gate = verdict(true, 0.5);
    assert!(gate.accepted, "{}", gate.reason);
    assert!(
        gate.reason.contains("agree with similarity"),
        "{}",
        gate.reason
    );
}

/// Far answers are called relevant. A metric that brings them nearer is better than Euclid by these
/// judgements, with certainty; but they are the reverse of similarity under it too.
#[test]
fn a_gain_does_not_count_where_judgements_are_the_reverse_of_similarity() {
    let gate = verdict(false, 2.0);
    assert!(
        gate.lower_bound.is_some_and(|bound| bound > 0.0),
        "{}",
        gate.reason
    );
    assert!(!gate.accepted, "{}", gate.reason);
    assert!(gate.reason.contains("at random"), "{}", gate.reason);
}
