//! Lives of a collection that is refitted again and again: whether what is active ever comes to lose.

use std::error::Error;
use std::path::Path;

use affinis_testkit::simulation::Corpus;

use super::{Gains, table, title};
use crate::feedback::{self, User};
use crate::plot::{self, Line};

/// Number of refits of a life.
const REFITS: usize = 20;
/// Number of judgements before each refit.
const EACH: usize = 30;
/// Points of P@10 x 1000 that an active metric may lose before the life counts as harmed.
const TOLERATED: f64 = 2.0;

const USERS: [(&str, User); 4] = [
    ("honest", User::Shown),
    ("a coin", User::Coin),
    ("the reverse", User::Reversed),
    ("10 % of the queries reversed", User::Hostile(0.1)),
];

/// Some lives of one corpus under one user.
#[derive(Default)]
struct Lives {
    /// The least gain at any point of each life.
    least: Gains,
    /// The gain at the end of each life.
    last: Gains,
    /// The sum of the gains after each refit.
    sums: Vec<f64>,
}

impl Lives {
    fn add(&mut self, gains: &[f64]) {
        self.least.0.push(gains.iter().copied().fold(0.0, f64::min));
        self.last.0.extend(gains.last());
        self.sums.resize(gains.len(), 0.0);
        for (sum, gain) in self.sums.iter_mut().zip(gains) {
            *sum += gain;
        }
    }

    fn harmed(&self) -> usize {
        self.least
            .0
            .iter()
            .filter(|gain| **gain < -TOLERATED)
            .count()
    }

    fn cell(&self) -> String {
        format!(
            "{} of {}, worst {:.0}; {:.0}",
            self.harmed(),
            self.least.0.len(),
            self.least.least(),
            self.last.mean()
        )
    }
}

/// Lives of twenty refits on text, and on labelled tables, where the prior from unlabelled items is
/// wrong.
pub(super) fn lives(
    corpora: &[Corpus],
    seeds: u64,
    directory: &Path,
) -> Result<String, Box<dyn Error>> {
    let labelled = super::labelled()?;
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    let mut harmed = [0; USERS.len()];
    for corpus in corpora.iter().chain(&labelled) {
        let mut row = vec![title(corpus).to_owned()];
        for (harmed, (name, user)) in harmed.iter_mut().zip(USERS) {
            let mut lives = Lives::default();
            for seed in 1..=seeds {
                lives.add(&feedback::rounds(corpus, user, REFITS, EACH, seed));
            }
            eprintln!("{}, {name}: {}", title(corpus), lives.cell());
            *harmed += lives.harmed();
            row.push(lives.cell());
            if user == User::Shown {
                let points = lives.sums.iter().zip(1..);
                lines.push(Line {
                    name: title(corpus).to_owned(),
                    points: points
                        .map(|(sum, i)| (f64::from(i * EACH as i32), sum / seeds as f64))
                        .collect(),
                });
            }
        }
        rows.push(row);
    }
    let all = (corpora.len() + labelled.len()) as u64 * seeds;
    let mut last = vec!["all".to_owned()];
    last.extend(harmed.map(|harmed| format!("**{harmed} of {all}**")));
    rows.push(last);
    let mut head = vec!["corpus".to_owned()];
    head.extend(USERS.map(|(name, _)| name.to_owned()));
    let picture = plot::write(directory, "learning-lives", "judgements", &lines)?;
    Ok(format!(
        "{}\n![the gain of what is active over honest lives]({picture})\n\n",
        table(&head, &rows)
    ))
}
