//! What a metric shrunken towards Euclid is worth: where candidates help, and where they do harm.

use std::error::Error;
use std::path::Path;

use affinis_mahalanobis::MahalanobisMetric;
use affinis_testkit::simulation::Corpus;
use ndarray::Array2;

use super::{Gains, table, title};
use crate::feedback::{Trial, User};

const BUDGETS: [usize; 2] = [100, 300];
/// The candidate's share in a shrunken metric, whose gain is shown whether it passes or not.
const SHARE: f64 = 1.0 / 3.0;

/// Gains of one corpus at one budget.
#[derive(Default)]
struct Outcome {
    /// Gains of all candidates.
    candidates: Gains,
    /// Gains of all shrunken metrics.
    shrunken: Gains,
    /// Gains of what is promoted where only candidates may pass.
    promoted: Gains,
    /// Gains of what is promoted where shrunken metrics may pass too.
    promoted_with_shrunken: Gains,
    candidates_promoted: usize,
    shrunken_promoted: usize,
}

impl Outcome {
    fn add(&mut self, trial: &Trial<'_>) -> Result<(), Box<dyn Error>> {
        let fitted = trial.fit();
        let offered = fitted.shrunken.as_ref();
        if offered.is_some_and(|shrunken| (shrunken.share - SHARE).abs() > 1e-9) {
            return Err(
                "the plugin's shrunken metrics have another share than is shown here".into(),
            );
        }
        let gain = trial.gain(&*fitted.metric);
        let matrix = fitted.metric.matrix();
        let matrix = matrix.ok_or("a learned metric has a matrix")?;
        let mixed = Array2::<f64>::eye(matrix.nrows()) * (1.0 - SHARE) + matrix * SHARE;
        let shrunken = trial.gain(&MahalanobisMetric::new(mixed.view())?);
        let passed = fitted.report.gate.accepted;
        self.candidates.0.push(gain);
        self.shrunken.0.push(shrunken);
        self.promoted.0.push(if passed { gain } else { 0.0 });
        self.promoted_with_shrunken.0.push(match (passed, offered) {
            (true, _) => gain,
            (false, Some(_)) => shrunken,
            (false, None) => 0.0,
        });
        self.candidates_promoted += usize::from(passed);
        self.shrunken_promoted += usize::from(offered.is_some());
        Ok(())
    }

    fn row(&self, name: String) -> Vec<String> {
        let with_worst = |gains: &Gains, counts: String| {
            format!("{:.1} ({counts}), worst {:.0}", gains.mean(), gains.least())
        };
        let (candidates, shrunken) = (self.candidates_promoted, self.shrunken_promoted);
        vec![
            name,
            format!("{:.0}", self.candidates.mean()),
            format!("{:.0}", self.shrunken.mean()),
            with_worst(&self.promoted, candidates.to_string()),
            with_worst(
                &self.promoted_with_shrunken,
                format!("{candidates} + {shrunken}"),
            ),
        ]
    }
}

/// Gains of all candidates and of all shrunken metrics, and of what the gate promotes without
/// shrunken metrics and with them.
pub(super) fn shrunken(corpora: &[Corpus], seeds: u64, _: &Path) -> Result<String, Box<dyn Error>> {
    let elsewhere = super::elsewhere().unwrap_or_else(|why| {
        eprintln!("without corpora of another kind: {why}");
        Vec::new()
    });
    let labelled = super::labelled()?;
    let mut rows = Vec::new();
    for corpus in corpora.iter().chain(&elsewhere).chain(&labelled) {
        for budget in BUDGETS {
            let mut outcome = Outcome::default();
            for seed in 1..=seeds {
                outcome.add(&Trial::new(corpus, User::Shown, budget, seed))?;
            }
            eprintln!(
                "{} at {budget}: {:.1} without shrunken metrics, {:.1} with",
                title(corpus),
                outcome.promoted.mean(),
                outcome.promoted_with_shrunken.mean()
            );
            rows.push(outcome.row(format!("{}, {budget}", title(corpus))));
        }
    }
    let head = [
        "judgements",
        "candidate",
        "a third of it",
        "gate, candidates only",
        "gate, shrunken metrics too",
    ]
    .map(String::from);
    Ok(table(&head, &rows))
}
