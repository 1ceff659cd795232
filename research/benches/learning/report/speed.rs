//! What a refit costs, on random vectors: nothing here depends on what they mean.

use std::error::Error;
use std::path::Path;

use affinis::plugin::{Examples, Graded, MetricLearner, Sample, Task};
use affinis_mahalanobis::Mahalanobis;
use ndarray::{Array2, s};

use super::table;
use crate::tables::Clock;
use affinis_testkit::Random;
use affinis_testkit::simulation::Corpus;

/// CPU seconds of refits at several dimensions and numbers of judgements: closed form alone, and
/// the automatic choice.
pub(super) fn speed(_: &[Corpus], _: u64, _: &Path) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    for (d, judgements) in [
        (384, 1_000),
        (768, 1_000),
        (1_024, 1_000),
        (384, 10_000),
        (384, 100_000),
    ] {
        let (examples, sample) = world(d, judgements);
        let mut row = vec![d.to_string(), judgements.to_string()];
        // Too few for a held-out test, so that the closed form is all that is done.
        let few = Examples {
            graded: examples.graded[..40].to_vec(),
            ..examples.clone()
        };
        // As a store has it: one plugin, which remembers the prior of the collection's sample.
        let plugin = Mahalanobis::default();
        let first = [(&few, Some("gmml")), (&few, Some("gmml"))];
        for (examples, learner) in first
            .into_iter()
            .chain([(&examples, Some("gmml")), (&examples, None)])
        {
            let task = Task::new(d, examples, &sample)
                .with_learner(learner)
                .with_seed(1);
            let clock = Clock::start();
            plugin.fit(&task)?;
            row.push(format!("{:.0}", 1e3 * clock.seconds()));
        }
        eprintln!("{row:?}");
        rows.push(row);
    }
    let head = [
        "d",
        "judgements",
        "the first closed form (40 judgements)",
        "the same, the prior known",
        "with selection of t, and gate",
        "with refining too",
    ];
    Ok(table(&head.map(str::to_owned), &rows))
}

/// Ten judgements a query, of vectors whose first half matters.
fn world(d: usize, judgements: usize) -> (Examples, Sample) {
    let mut random = Random(d as u64);
    let queries = judgements / 10;
    let vectors = Array2::from_shape_fn((queries * 11, d), |_| {
        random.normal() as f32 / (d as f32).sqrt()
    });
    let graded = (0..queries).flat_map(|q| (1..11).map(move |i| (q * 11, q * 11 + i)));
    let graded = graded
        .map(|(query, item)| {
            let half = s![..d / 2];
            let difference =
                &vectors.row(query).slice(half).to_owned() - &vectors.row(item).slice(half);
            let grade = if difference.dot(&difference) < 1.0 {
                1.0
            } else {
                -1.0
            };
            Graded {
                query,
                item,
                grade,
                weight: 1.0,
            }
        })
        .collect();
    let items = Array2::from_shape_fn((4_000, d), |_| random.normal() as f32);
    let neighbour_differences = Array2::from_shape_fn((10_000, d), |_| random.normal() as f32);
    (
        Examples {
            vectors,
            graded,
            pairs: Vec::new(),
        },
        Sample {
            items,
            neighbour_differences,
        },
    )
}
