//! What hostile users can do to everybody's answers.

use std::error::Error;
use std::path::Path;

use affinis::plugin::{Fitted, Metric};

use super::sections::Recipe;
use super::{Gains, table, title};
use crate::feedback::{Trial, User};
use affinis_testkit::Random;
use affinis_testkit::simulation::Corpus;

const JUDGEMENTS: usize = 1_000;
/// The share of all weight that the limited refit leaves to one user.
const LIMIT: f64 = 0.1;

#[derive(Debug, Clone, Copy)]
enum Aim {
    /// Says the reverse of the label.
    Reverse,
    /// Says of every query that one and the same item belongs to it.
    Push,
}

/// One hostile user among honest ones who judge the rest.
struct Attack {
    aim: Aim,
    /// The share of the queries that are judged by the hostile user.
    share: f64,
    /// What a hostile judgement weighs; an honest one weighs 1.
    weight: f32,
}

const ATTACKS: [Attack; 6] = [
    Attack {
        aim: Aim::Reverse,
        share: 0.1,
        weight: 1.0,
    },
    Attack {
        aim: Aim::Reverse,
        share: 0.3,
        weight: 1.0,
    },
    Attack {
        aim: Aim::Reverse,
        share: 0.5,
        weight: 1.0,
    },
    Attack {
        aim: Aim::Reverse,
        share: 0.1,
        weight: 100.0,
    },
    Attack {
        aim: Aim::Push,
        share: 0.1,
        weight: 1.0,
    },
    Attack {
        aim: Aim::Push,
        share: 0.1,
        weight: 100.0,
    },
];

impl Attack {
    fn name(&self) -> String {
        let aim = match self.aim {
            Aim::Reverse => "the reverse of the label",
            Aim::Push => "one item for every query",
        };
        let weight = if self.weight == 1.0 {
            String::new()
        } else {
            format!(", weight {}", self.weight)
        };
        format!("{aim}, {:.0} %{weight}", 100.0 * self.share)
    }

    /// Gives a share of honest judgements to the hostile user; limited as `Refit::user_share`
    /// limits them. Gives the item that is pushed.
    fn strike(&self, trial: &mut Trial<'_>, limited: bool) -> usize {
        let graded = &mut trial.examples.graded;
        let pushed = Random(trial.seed + 77).below(trial.corpus.labels.len());
        let hostile = (self.share * graded.len() as f64) as usize;
        let (honest, theirs) = (
            (graded.len() - hostile) as f64,
            hostile as f64 * f64::from(self.weight),
        );
        let most = if limited {
            LIMIT * honest / (1.0 - LIMIT)
        } else {
            f64::INFINITY
        };
        for judgement in &mut graded[..hostile] {
            judgement.weight = self.weight * (most / theirs).min(1.0) as f32;
            match self.aim {
                Aim::Reverse => judgement.grade = -judgement.grade,
                Aim::Push => (judgement.item, judgement.grade) = (pushed, 1.0),
            }
        }
        pushed
    }
}

/// Gains under an attack, and how many of 1,000 answers show the pushed item.
#[derive(Default)]
struct Outcome {
    recipe: Recipe,
    shown: Gains,
}

impl Outcome {
    fn add(&mut self, trial: &Trial<'_>, fitted: &Fitted, pushed: usize) {
        self.recipe.add_fitted(trial, fitted);
        let shown = |metric: Option<&dyn Metric>| {
            let ranked = trial.corpus.ranked(metric, &trial.unseen, 10);
            1e3 * ranked.iter().filter(|near| near.contains(&pushed)).count() as f64
                / ranked.len() as f64
        };
        self.shown
            .0
            .push(shown(Some(&*fitted.metric)) - shown(None));
    }

    fn cell(&self, aim: Aim) -> String {
        let gains = self.recipe.cell();
        match aim {
            Aim::Reverse => gains,
            Aim::Push => format!("{gains}; shown {:+.1}", self.shown.mean()),
        }
    }
}

/// Gated and ungated gains under attacks, without and with a limit on one user's share.
#[expect(clippy::unnecessary_wraps, reason = "sections are called alike")]
pub(super) fn hostile(corpora: &[Corpus], seeds: u64, _: &Path) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    for attack in &ATTACKS {
        let mut row = vec![attack.name()];
        for corpus in corpora {
            for limited in [false, true] {
                let mut outcome = Outcome::default();
                for seed in 1..=seeds {
                    let mut trial = Trial::new(corpus, User::Shown, JUDGEMENTS, seed);
                    let pushed = attack.strike(&mut trial, limited);
                    outcome.add(&trial, &trial.fit(), pushed);
                }
                row.push(outcome.cell(attack.aim));
            }
        }
        eprintln!("{}", row.join(" | "));
        rows.push(row);
    }
    let columns = corpora
        .iter()
        .flat_map(|c| [title(c).to_owned(), format!("{}, limited", title(c))]);
    Ok(table(
        &std::iter::once("hostile".to_owned())
            .chain(columns)
            .collect::<Vec<_>>(),
        &rows,
    ))
}
