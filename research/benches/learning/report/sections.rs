//! The sections that simulated users are measured in.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use affinis::plugin::{Fitted, MetricLearner, Task};
use affinis_mahalanobis::Mahalanobis;

use super::{Gains, table, title};
use crate::feedback::{self, Trial, User};
use crate::plot::{self, Line};
use crate::rivals;
use affinis_testkit::simulation::{Corpus, compact};

const BUDGETS: [usize; 5] = [30, 100, 300, 1_000, 5_000];

/// Gains with and without the gate, and the numbers of candidates and of shrunken metrics promoted.
#[derive(Default)]
pub(super) struct Recipe {
    gated: Gains,
    ungated: Gains,
    promoted: usize,
    shrunken: usize,
}

impl Recipe {
    fn add(&mut self, trial: &Trial<'_>) {
        self.add_fitted(trial, &trial.fit());
    }

    pub(super) fn add_fitted(&mut self, trial: &Trial<'_>, fitted: &Fitted) {
        let gain = trial.gain(&*fitted.metric);
        self.ungated.0.push(gain);
        self.gated.0.push(match &fitted.shrunken {
            _ if fitted.report.gate.accepted => gain,
            Some(shrunken) => trial.gain(&*shrunken.metric),
            None => 0.0,
        });
        self.promoted += usize::from(fitted.report.gate.accepted);
        self.shrunken += usize::from(fitted.shrunken.is_some());
    }

    fn gated(&self) -> String {
        format!(
            "{:.0} ({} + {})",
            self.gated.mean(),
            self.promoted,
            self.shrunken
        )
    }

    /// Gated with its worst seed, and ungated.
    pub(super) fn cell(&self) -> String {
        format!(
            "{}, worst {:.0}; {:.0}",
            self.gated(),
            self.gated.least(),
            self.ungated.mean()
        )
    }
}

fn head(first: &str, budgets: &[usize]) -> Vec<String> {
    std::iter::once(first.to_owned())
        .chain(budgets.iter().map(ToString::to_string))
        .collect()
}

/// Euclid's P@10, and the recipe at each budget, R1.
pub(super) fn budgets(
    corpora: &[Corpus],
    seeds: u64,
    directory: &Path,
) -> Result<String, Box<dyn Error>> {
    recipe(corpora, seeds, directory, "budgets")
}

/// The same on corpora of another kind.
pub(super) fn elsewhere(
    _: &[Corpus],
    seeds: u64,
    directory: &Path,
) -> Result<String, Box<dyn Error>> {
    let corpora = super::elsewhere()?;
    Ok(recipe(&corpora, seeds, directory, "elsewhere")? + &others(&corpora, seeds, directory)?)
}

fn recipe(
    corpora: &[Corpus],
    seeds: u64,
    directory: &Path,
    section: &str,
) -> Result<String, Box<dyn Error>> {
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    for corpus in corpora {
        let mut euclid = Gains::default();
        let mut recipes: Vec<Recipe> = Vec::new();
        for budget in BUDGETS {
            let mut recipe = Recipe::default();
            for seed in 1..=seeds {
                let trial = Trial::new(corpus, User::Shown, budget, seed);
                recipe.add(&trial);
                euclid.0.push(trial.before);
            }
            eprintln!(
                "{} at {budget}: gated {}, worst {:.0}",
                title(corpus),
                recipe.gated(),
                recipe.gated.least()
            );
            recipes.push(recipe);
        }
        let name = title(corpus);
        let mut add = |what: String, cells: Vec<String>| {
            rows.push(std::iter::once(what).chain(cells).collect());
        };
        let rounded =
            |of: fn(&Recipe) -> f64| recipes.iter().map(|r| format!("{:.0}", of(r))).collect();
        add(
            format!("{name} (Euclid {:.3}), gated", euclid.mean()),
            recipes.iter().map(Recipe::gated).collect(),
        );
        add("its worst seed".into(), rounded(|r| r.gated.least()));
        add("ungated".into(), rounded(|r| r.ungated.mean()));
        for (what, of) in [
            ("gated", (|r| r.gated.mean()) as fn(&Recipe) -> f64),
            ("ungated", |r| r.ungated.mean()),
        ] {
            let points = BUDGETS
                .map(|b| b as f64)
                .into_iter()
                .zip(recipes.iter().map(of))
                .collect();
            lines.push(Line {
                name: format!("{name}, {what}"),
                points,
            });
        }
    }
    let picture = plot::write(
        directory,
        &format!("learning-{section}"),
        "judgements",
        &lines,
    )?;
    Ok(format!(
        "{}\n![{section}]({picture})\n\n",
        table(&head("judgements", &BUDGETS), &rows)
    ))
}

/// What others make of the same judgements.
pub(super) fn others(
    corpora: &[Corpus],
    seeds: u64,
    directory: &Path,
) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for corpus in corpora {
        let mut gains = vec![vec![Gains::default(); BUDGETS.len()]; rivals::ALL.len()];
        let mut with_all = Gains::default();
        for (at, budget) in BUDGETS.into_iter().enumerate() {
            for seed in 1..=seeds {
                let trial = Trial::new(corpus, User::Shown, budget, seed);
                for ((_, rival), gains) in rivals::ALL.into_iter().zip(&mut gains) {
                    gains[at].0.push(rival(&trial));
                }
                if at == 0 {
                    with_all.0.push(rivals::all_labels(&trial));
                }
            }
        }
        let mut rows = Vec::new();
        let mut lines = Vec::new();
        for ((name, _), gains) in rivals::ALL.into_iter().zip(&gains) {
            let means: Vec<f64> = gains.iter().map(Gains::mean).collect();
            rows.push(
                std::iter::once(name.to_owned())
                    .chain(means.iter().map(|v| format!("{v:.0}")))
                    .collect(),
            );
            lines.push(Line {
                name: name.to_owned(),
                points: BUDGETS.map(|b| b as f64).into_iter().zip(means).collect(),
            });
        }
        write!(
            text,
            "{}\nWhitening within every label, which is RCA with all labels at once: {:.0}.\n\n![{}]({})\n\n",
            table(&head(title(corpus), &BUDGETS), &rows),
            with_all.mean(),
            title(corpus),
            plot::write(
                directory,
                &format!("learning-others-{}", corpus.name),
                "judgements",
                &lines
            )?,
        )?;
    }
    Ok(text)
}

/// Every learner at 1,000 judgements, ungated.
pub(super) fn learners(corpora: &[Corpus], seeds: u64, _: &Path) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    let plugin = Mahalanobis::default();
    for learner in plugin.learners() {
        let mut row = vec![format!("`{learner}`")];
        for corpus in corpora {
            let mut gains = Gains::default();
            for seed in 1..=seeds {
                let trial = Trial::new(corpus, User::Shown, 1_000, seed);
                let examples = compact(&trial.examples);
                let fitted = plugin.fit(
                    &Task::new(corpus.vectors.ncols(), &examples, &corpus.sample)
                        .with_learner(Some(learner))
                        .with_seed(seed),
                )?;
                gains.0.push(trial.gain(&*fitted.metric));
            }
            row.push(format!("{:.0}", gains.mean()));
        }
        rows.push(row);
    }
    let head: Vec<String> = std::iter::once("learner".into())
        .chain(corpora.iter().map(|c| title(c).into()))
        .collect();
    Ok(table(&head, &rows))
}

/// Judgements that are partly or wholly wrong.
pub(super) fn noise(corpora: &[Corpus], seeds: u64, _: &Path) -> Result<String, Box<dyn Error>> {
    let budgets = [100, 300, 1_000];
    let users = [
        ("10 % flipped", User::Flipped(0.1)),
        ("20 % flipped", User::Flipped(0.2)),
        ("a coin", User::Coin),
        ("the reverse of the label", User::Reversed),
    ];
    let mut text = String::new();
    for corpus in corpora {
        let mut rows = Vec::new();
        for (name, user) in users {
            let mut row = vec![name.to_owned()];
            for budget in budgets {
                let mut recipe = Recipe::default();
                for seed in 1..=seeds {
                    recipe.add(&Trial::new(corpus, user, budget, seed));
                }
                row.push(recipe.cell());
            }
            rows.push(row);
        }
        write!(
            text,
            "{}\n\n",
            table(&head(title(corpus), &budgets), &rows).trim_end()
        )?;
    }
    Ok(text)
}

/// R2: random pairs.
#[expect(clippy::unnecessary_wraps, reason = "sections are called alike")]
pub(super) fn pairs(corpora: &[Corpus], seeds: u64, _: &Path) -> Result<String, Box<dyn Error>> {
    let budgets = [100, 300, 1_000];
    let mut rows = Vec::new();
    for corpus in corpora {
        let mut row = vec![title(corpus).to_owned()];
        for budget in budgets {
            let mut recipe = Recipe::default();
            for seed in 1..=seeds {
                recipe.add(&Trial::new(corpus, User::Pairs, budget, seed));
            }
            row.push(format!("{}; {:.0}", recipe.gated(), recipe.ungated.mean()));
        }
        rows.push(row);
    }
    Ok(table(&head("pairs", &budgets), &rows))
}

/// Ten rounds of 30 judgements, each of answers under the metric of the rounds before.
pub(super) fn rounds(
    corpora: &[Corpus],
    seeds: u64,
    directory: &Path,
) -> Result<String, Box<dyn Error>> {
    let (count, each) = (10, 30);
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    for corpus in corpora {
        let mut gains = vec![Gains::default(); count];
        for seed in 1..=seeds {
            for (gains, gain) in
                gains
                    .iter_mut()
                    .zip(feedback::rounds(corpus, User::Shown, count, each, seed))
            {
                gains.0.push(gain);
            }
        }
        let means: Vec<f64> = gains.iter().map(Gains::mean).collect();
        rows.push(
            std::iter::once(title(corpus).to_owned())
                .chain(means.iter().map(|v| format!("{v:.0}")))
                .collect(),
        );
        let points = means
            .into_iter()
            .zip(1..)
            .map(|(v, i)| (f64::from(i * each as i32), v))
            .collect();
        lines.push(Line {
            name: title(corpus).to_owned(),
            points,
        });
    }
    let judged: Vec<usize> = (1..=count).map(|i| i * each).collect();
    let picture = plot::write(directory, "learning-rounds", "judgements", &lines)?;
    Ok(format!(
        "{}\n![rounds]({picture})\n\n",
        table(&head("judgements so far", &judged), &rows)
    ))
}
