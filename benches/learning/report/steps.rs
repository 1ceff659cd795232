//! What a step towards a candidate is worth: where candidates help, and where they do harm.

use std::error::Error;
use std::path::Path;

use affinis_mahalanobis::MahalanobisMetric;
use ndarray::Array2;

use super::{Gains, table, title};
use crate::feedback::{Trial, User};
use crate::tables;
use affinis_testkit::data_dir;
use affinis_testkit::simulation::Corpus;

const BUDGETS: [usize; 2] = [100, 300];
/// Labelled tables as corpora: vectors of few numbers, whose neighbourhoods often agree with the
/// label already.
const TABLES: [&str; 6] = [
    "letter",
    "optdigits",
    "penbased",
    "satellite",
    "segment",
    "texture",
];
/// How far a step goes, of which the gain is shown whether it passes or not.
const SHARE: f64 = 1.0 / 3.0;

/// Gains of all candidates and of a third of the way, and of what is promoted without steps and
/// with them.
pub(super) fn steps(corpora: &[Corpus], seeds: u64, _: &Path) -> Result<String, Box<dyn Error>> {
    let elsewhere = super::elsewhere().unwrap_or_else(|why| {
        eprintln!("without corpora of another kind: {why}");
        Vec::new()
    });
    let directory = data_dir().join("numeric");
    let labelled = TABLES
        .map(|name| tables::corpus(&directory, name))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    for corpus in corpora.iter().chain(&elsewhere).chain(&labelled) {
        for budget in BUDGETS {
            let [mut whole, mut third, mut certain, mut likely] = [const { Gains(Vec::new()) }; 4];
            let (mut candidates, mut steps) = (0, 0);
            for seed in 1..=seeds {
                let trial = Trial::new(corpus, User::Shown, budget, seed);
                let fitted = trial.fit();
                let gain = trial.gain(&*fitted.metric);
                let matrix = fitted
                    .metric
                    .matrix()
                    .ok_or("a learned metric has a matrix")?;
                let toward = Array2::<f64>::eye(matrix.nrows()) * (1.0 - SHARE) + matrix * SHARE;
                let step = trial.gain(&MahalanobisMetric::new(toward.view())?);
                whole.0.push(gain);
                third.0.push(step);
                if fitted
                    .shrunken
                    .as_ref()
                    .is_some_and(|step| (step.share - SHARE).abs() > 1e-9)
                {
                    return Err("steps go another share of the way than is shown here".into());
                }
                let passed = fitted.report.gate.accepted;
                certain.0.push(if passed { gain } else { 0.0 });
                likely.0.push(match (passed, &fitted.shrunken) {
                    (true, _) => gain,
                    (false, Some(_)) => step,
                    (false, None) => 0.0,
                });
                candidates += usize::from(passed);
                steps += usize::from(fitted.shrunken.is_some());
            }
            eprintln!(
                "{} at {budget}: {:.1} without steps, {:.1} with",
                title(corpus),
                certain.mean(),
                likely.mean()
            );
            rows.push(vec![
                format!("{}, {budget}", title(corpus)),
                format!("{:.0}", whole.mean()),
                format!("{:.0}", third.mean()),
                format!(
                    "{:.1} ({candidates}), worst {:.0}",
                    certain.mean(),
                    certain.least()
                ),
                format!(
                    "{:.1} ({candidates} + {steps}), worst {:.0}",
                    likely.mean(),
                    likely.least()
                ),
            ]);
        }
    }
    let head = [
        "judgements",
        "all the way",
        "a third",
        "gate without steps",
        "gate with steps",
    ]
    .map(String::from);
    Ok(table(&head, &rows))
}
