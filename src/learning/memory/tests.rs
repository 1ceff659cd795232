//! Memory compared with its formula, computed directly.

use ndarray::Array2;

use super::groups::{Groups, Judged, REST, Step};
use super::validate::validate;
use crate::learning::examples::Collected;
use crate::model::{Distance, JudgementId, MemorySettings, SourceWeights};
use crate::plugin::{Examples, Graded};

const DIM: usize = 7;

/// Judgements of queries, each `(query, [(item, grade)])` as rows of `vectors`.
fn collected(vectors: Array2<f32>, judged: &[(usize, Vec<(usize, f32)>)]) -> Collected {
    let graded: Vec<Graded> = judged
        .iter()
        .flat_map(|(query, items)| {
            items.iter().map(|(item, grade)| Graded {
                query: *query,
                item: *item,
                grade: *grade,
                weight: 1.0,
            })
        })
        .collect();
    Collected {
        graded: (0..graded.len() as u64).map(JudgementId).collect(),
        pairs: Vec::new(),
        subjects: Vec::new(),
        weights: SourceWeights::new(1.0, 1.0),
        range: None,
        stale: 0,
        examples: Examples {
            vectors,
            graded,
            pairs: Vec::new(),
        },
    }
}

fn random(rows: usize, seed: u64) -> Array2<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    Array2::from_shape_fn((rows, DIM), |_| random.f32() - 0.5)
}

fn moved(groups: &Groups, query: &[f32], settings: MemorySettings) -> Option<Vec<f32>> {
    let mut step = Step::new(query.len());
    groups.add_near(query, settings.width, 1.0, &mut step);
    step.apply(query, settings.strength)
}

fn mean(rows: &[(&[f32], f64)]) -> Vec<f64> {
    let total: f64 = rows.iter().map(|(_, weight)| weight).sum();
    (0..DIM)
        .map(|at| {
            rows.iter()
                .map(|(row, weight)| weight * f64::from(row[at]))
                .sum::<f64>()
                / total
        })
        .collect()
}

#[test]
fn a_query_moves_as_the_formula_says() {
    let vectors = random(12, 1);
    let row = |at: usize| vectors.row(at).to_slice().unwrap();
    let judged = [
        (0, vec![(1, 1.0), (2, -1.0), (3, 0.5), (4, -0.25)]),
        (5, vec![(6, 1.0), (7, 1.0)]),
        (8, vec![(9, -1.0), (10, 0.0)]),
    ];
    let collected = collected(vectors.clone(), &judged);
    let groups = Judged::of(&collected).into_groups();
    assert_eq!(groups.len(), 3);
    let settings = MemorySettings {
        width: 1.5,
        strength: 2.0,
    };
    let squared = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum()
    };
    let query = row(11);
    let (mut sum, mut total) = (vec![0.0; DIM], REST);
    for (asked, items) in &judged {
        let weighed = |is_relevant: bool| {
            let mut rows = vec![(row(*asked), 1.0)];
            let of_kind = items
                .iter()
                .filter(|(_, grade)| *grade != 0.0 && (*grade > 0.0) == is_relevant);
            rows.extend(of_kind.map(|(item, grade)| (row(*item), f64::from(grade.abs()))));
            mean(&rows)
        };
        let step: Vec<f64> = weighed(true)
            .iter()
            .zip(weighed(false))
            .map(|(p, n)| p - n)
            .collect();
        let graded = items.iter().filter(|(_, grade)| *grade != 0.0);
        let mut distances: Vec<f64> = graded
            .map(|(item, _)| squared(row(*asked), row(*item)))
            .collect();
        distances.sort_by(f64::total_cmp);
        let scale = settings.width * distances[distances.len() / 2];
        let distance = squared(query, row(*asked));
        assert!(distance < 8.0 * scale, "the case reaches all queries");
        let kernel = (-distance / scale).exp();
        total += kernel;
        sum.iter_mut()
            .zip(step)
            .for_each(|(sum, step)| *sum += kernel * step);
    }
    let moved = moved(&groups, query, settings).unwrap();
    for ((moved, query), sum) in moved.iter().zip(query).zip(sum) {
        let expected = f64::from(*query) + settings.strength * sum / total;
        assert!(
            (f64::from(*moved) - expected).abs() < 1e-6,
            "{moved} is not {expected}"
        );
    }
}

#[test]
fn what_is_far_moves_nothing() {
    let mut vectors = random(4, 2);
    vectors.row_mut(3).fill(100.0);
    let far = vectors.row(3).to_vec();
    let collected = collected(vectors, &[(0, vec![(1, 1.0), (2, -1.0)])]);
    let groups = Judged::of(&collected).into_groups();
    assert_eq!(moved(&groups, &far, MemorySettings::default()), None);
    let same = groups.query(0).to_vec();
    assert!(moved(&groups, &same, MemorySettings::default()).is_some());
}

#[test]
fn a_width_that_no_distance_determines_is_that_of_the_same_question() {
    // Every judged item is equal to the query.
    let vectors = Array2::from_shape_fn((4, DIM), |(row, _)| if row == 3 { 1.01 } else { 1.0 });
    let other = vectors.row(3).to_vec();
    let collected = collected(vectors, &[(0, vec![(1, 1.0), (2, -1.0)])]);
    let groups = Judged::of(&collected).into_groups();
    let same = groups.query(0).to_vec();
    assert_eq!(moved(&groups, &same, MemorySettings::default()), Some(same));
    assert_eq!(moved(&groups, &other, MemorySettings::default()), None);
}

#[test]
fn the_parts_of_judgements_add_up_to_the_step() {
    let collected = collected(
        random(6, 3),
        &[(0, vec![(1, 1.0), (2, -1.0), (3, 0.5), (4, -0.5)])],
    );
    let judged = Judged::of(&collected);
    let direction: Vec<f32> = random(1, 4).into_iter().collect();
    let parts: f64 = judged
        .parts(0, &direction)
        .iter()
        .map(|(_, part)| part)
        .sum();
    let whole = crate::sum::dot(judged.groups().step(0), &direction);
    assert!((parts - whole).abs() < 1e-6, "{parts} is not {whole}");
}

/// Queries along a line, with answers to their left and to their right: the side that is relevant
/// depends on the stretch of the line.
fn line(queries: usize, is_relevant: impl Fn(usize, usize) -> bool) -> Collected {
    const ANSWERS: usize = 8;
    let mut random = fastrand::Rng::with_seed(9);
    let vectors = Array2::from_shape_fn((queries * (ANSWERS + 1), DIM), |(row, column)| {
        let (query, answer) = (row / (ANSWERS + 1), row % (ANSWERS + 1));
        let side = if answer % 2 == 0 { 1.0 } else { -1.0 };
        match (column, answer) {
            (0, _) => 0.1 * query as f32,
            (_, 0) => 0.0,
            (1, _) => side,
            _ => 0.3 * (random.f32() - 0.5),
        }
    });
    let judged: Vec<(usize, Vec<(usize, f32)>)> = (0..queries)
        .map(|query| {
            let first = query * (ANSWERS + 1);
            let grade = |answer| {
                if is_relevant(query, answer) {
                    1.0
                } else {
                    -1.0
                }
            };
            let items = (1..=ANSWERS).map(|answer| (first + answer, grade(answer)));
            (first, items.collect())
        })
        .collect();
    collected(vectors, &judged)
}

#[test]
fn neighbours_that_agree_widen_it_and_a_coin_turns_it_off() {
    let metric = Distance::L2.metric(DIM);
    let agree = line(40, |query, answer| (query / 10 + answer) % 2 == 0);
    let found = validate(&agree, &*metric, &|| false).unwrap();
    assert!(found.gate.accepted, "{}", found.gate.reason);
    assert!(found.gate.lower_bound.unwrap() > 0.0);
    assert_eq!(found.gate.held_out, 40);

    let alone = line(7, |_, answer| answer % 2 == 0);
    let found = validate(&alone, &*metric, &|| false).unwrap();
    assert_eq!(found.settings, Some(MemorySettings::default()));
    assert!(!found.gate.accepted && found.gate.lower_bound.is_none());

    // Of two answers on one side one is relevant, so each half of the answers misleads the other.
    let coin = line(40, |query, answer| (answer / 2 + query) % 2 == 0);
    let found = validate(&coin, &*metric, &|| false).unwrap();
    assert!(!found.gate.accepted, "{}", found.gate.reason);
    assert_eq!(validate(&coin, &*metric, &|| true), None);
}
