//! A refit from judgements to a candidate with its verdict: evidence, prior, cross-fitting,
//! selection, candidate, gate.

use std::sync::Arc;
use std::time::Instant;

use affinis::{
    Examples, FitReport, Fitted, Gate, Incumbent, LearnError, Metric, PairCounts, ShrunkenMetric,
    Task,
};

use crate::change::{Base, Change};
use crate::changed::ChangedMetric;
use crate::codec;
use crate::evidence::Evidence;
use crate::folds::{FOLDS, Folds};
use crate::gate::{self, Baseline, Baselines, Findings};
use crate::learner::{Learner, Training, Variant};
use crate::metric::{MAX_DIM, MahalanobisMetric};
use crate::prior::{Prior, Priors};
use crate::scatter::{self, Scatters};
use crate::score::{Distances, Euclid, Measured, Scores};
use crate::seen::Seen;
use crate::select;
use crate::shape::{Shaped, shaped};
use crate::step;

/// What the gate says.
struct Judged {
    /// Of the candidate.
    gate: Gate,
    /// Of a step towards it, where that passes and the candidate does not.
    step: Option<Gate>,
    findings: Findings,
}

impl Judged {
    /// Refuses the candidate for a reason other than the held-out test, whose verdict is told.
    fn refuse(&mut self, reason: &str) {
        let gate = &mut self.gate;
        gate.accepted = false;
        gate.reason = format!("not promoted: {reason}; the held-out test says: {}", gate.reason);
        self.step = None;
        // What is clearly worse is not promoted by answered questions either.
        self.findings.clearly_worse = true;
    }
}

/// One refit under way.
struct Fit<'a> {
    task: &'a Task<'a>,
    learner: &'a dyn Learner,
    condition_cap: f64,
    evidence: &'a Evidence<'a>,
    prior: Arc<Prior>,
    /// What candidates are kept as a change of, if they are.
    base: Option<Base<'a>>,
    folds: Folds,
    /// The scatters of each fold alone.
    parts: Vec<Scatters>,
}

/// Fits a candidate and judges it. Others' judgements, where there are any, are its prior.
pub(crate) fn fit(
    task: &Task<'_>,
    others: Option<&Examples>,
    learner: &dyn Learner,
    condition_cap: f64,
    priors: &Priors,
) -> Result<Fitted, LearnError> {
    let start = Instant::now();
    if task.dim == 0 || task.dim > MAX_DIM {
        return Err(LearnError::Numerical(format!(
            "dimension {} is not between 1 and {MAX_DIM}",
            task.dim
        )));
    }
    if let Some(incumbent) = task.incumbent.filter(|i| i.metric.dim() != task.dim) {
        let (theirs, ours) = (incumbent.metric.dim(), task.dim);
        return Err(LearnError::Numerical(format!(
            "the active metric has dimension {theirs}, the task {ours}"
        )));
    }
    let evidence = Evidence::new(task.dim, task.examples)?;
    let (similar, dissimilar) = evidence.counts();
    if similar + dissimilar == 0 {
        return Err(LearnError::NotEnough(
            "no judgement says which items belong together or apart: there are none, or they cancel each other, have \
             grade 0, or judge an item against itself"
                .into(),
        ));
    }
    let fit = Fit::new(task, others, (learner, condition_cap), &evidence, priors)?;

    let measurable = gate::can_measure(&evidence);
    let selecting = measurable && similar + dissimilar >= select::MIN_JUDGEMENTS;
    let mut variants = learner.variants().to_vec();
    if !selecting {
        variants.truncate(1);
    } else if similar < select::MIN_POSITIVES {
        let [default, ..] = variants[..] else {
            return Err(no_variants());
        };
        variants.retain(|v| *v == default || !v.refined);
    }
    let crossing = Instant::now();
    let measured = if measurable {
        fit.cross_fit(&variants)?
    } else {
        Vec::new()
    };
    let crossed = crossing.elapsed();
    let scores: Vec<Scores> = measured.iter().map(Measured::scores).collect();
    let chosen = select::select(&evidence, &scores);

    let mut total = Scatters::zero(task.dim);
    fit.parts.iter().for_each(|part| total.add(part));
    let found = fit.train(None, &total, &variants[chosen..=chosen])?;
    let Some((found, change)) = found.into_iter().next() else {
        return Err(no_variants());
    };
    // Cross-fitting is part of the gate, unless it also serves the selection.
    let fitted = if selecting {
        start.elapsed()
    } else {
        start.elapsed().saturating_sub(crossed)
    };
    let mut judged = match measured.first().zip(scores.first()) {
        Some(default) => fit.gate(default)?,
        None => Judged {
            gate: gate::not_measured(&evidence),
            step: None,
            findings: Findings {
                incumbent: None,
                clearly_worse: false,
            },
        },
    };
    if let Some(reason) = learner.refusal() {
        judged.refuse(reason);
    }
    let Judged {
        mut gate,
        step,
        findings,
    } = judged;

    let mut notes = learner.notes(variants[chosen]);
    notes.extend([
        ("condition_cap".into(), condition_cap),
        ("effective_dissimilar".into(), total.dissimilar.effective()),
        ("effective_similar".into(), total.similar.effective()),
        ("variants_tried".into(), variants.len() as f64),
    ]);
    let mut taken = None;
    if let Some(verdict) = step {
        let shaped = step::toward(&found)?;
        if step::is_active(task, &shaped) {
            gate.reason = format!(
                "{}; the step that may be taken is active already",
                gate.reason
            );
        } else {
            let (metric, _) = fit.metric(&shaped, None);
            let condition = shaped.condition.max(1.0);
            taken = Some(ShrunkenMetric::new(metric, step::SHARE, condition, verdict));
        }
    }
    if let Some(change) = &change {
        notes.insert("rank".into(), change.weights().len() as f64);
    }
    let mut report = FitReport::new(variants[chosen].learner, gate);
    report.pairs = PairCounts {
        similar,
        dissimilar,
    };
    report.lambda = learner.lambda();
    report.t = variants[chosen].t;
    report.condition = found.condition.max(1.0);
    report.incumbent = findings.incumbent;
    report.clearly_worse = findings.clearly_worse;
    report.notes = notes;
    report.fit_millis = fitted.as_secs_f64() * 1e3;
    report.gate_millis = start.elapsed().saturating_sub(fitted).as_secs_f64() * 1e3;
    let (metric, is_update) = fit.metric(&found, change);
    let mut candidate = Fitted::new(metric, report);
    candidate.is_update = is_update;
    candidate.shrunken = taken;
    Ok(candidate)
}

impl<'a> Fit<'a> {
    fn new(
        task: &'a Task<'a>,
        others: Option<&Examples>,
        (learner, condition_cap): (&'a dyn Learner, f64),
        evidence: &'a Evidence<'a>,
        priors: &Priors,
    ) -> Result<Self, LearnError> {
        poll(task)?;
        let update_of = task.update_of.filter(|_| learner.refusal().is_none());
        let base = Base::of(update_of.as_ref(), task.dim)?;
        let default = learner
            .variants()
            .first()
            .copied()
            .ok_or_else(no_variants)?;
        let prior = priors.of_task(task, others, &learner.notes(default))?;
        let folds = Folds::new(evidence, task.seed);
        let chunklets = scatter::as_chunklets(evidence);
        let mut parts = Vec::with_capacity(FOLDS);
        for fold in 0..FOLDS {
            poll(task)?;
            let query_in = |i: usize| folds.queries[i] == fold;
            parts.push(scatter::scatters(evidence, chunklets, query_in, |i| {
                folds.links[i] == fold
            }));
        }
        Ok(Self {
            task,
            learner,
            condition_cap,
            evidence,
            prior,
            base,
            folds,
            parts,
        })
    }

    /// What the learner finds without a fold, for each of some variants.
    fn train(
        &self,
        held_out: Option<usize>,
        scatters: &Scatters,
        variants: &[Variant],
    ) -> Result<Vec<(Shaped, Option<Change>)>, LearnError> {
        poll(self.task)?;
        let held_out = held_out.map(|fold| (&self.folds, fold));
        let training = Training {
            evidence: self.evidence,
            held_out,
            scatters,
            prior: &self.prior,
            sample: self.task.sample,
            seed: self.task.seed,
            cancel: self.task.cancel,
        };
        let family = self.learner.fit(&training)?;
        let of_variant = |variant: &Variant| {
            poll(self.task)?;
            let whole = shaped(family.matrix(*variant)?, self.condition_cap)?;
            let reduced = self
                .base
                .as_ref()
                .map(|base| base.reduce(&whole))
                .transpose()?
                .flatten();
            Ok(reduced.map_or((whole, None), |(change, reduced)| (reduced, Some(change))))
        };
        variants.iter().map(of_variant).collect()
    }

    /// What each variant measures, every fold under a metric fitted on the others. Of refined
    /// variants that compete with a default only some folds are scored, which is enough to choose
    /// by.
    fn cross_fit(&self, variants: &[Variant]) -> Result<Vec<Measured<'_>>, LearnError> {
        let mut measured = vec![Measured::new(self.evidence, &self.folds); variants.len()];
        for fold in 0..FOLDS {
            let mut rest = Scatters::zero(self.task.dim);
            self.parts
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != fold)
                .for_each(|(_, part)| rest.add(part));
            let tried = |i: usize| i == 0 || !variants[i].refined || fold < select::REFINED_FOLDS;
            let tried: Vec<usize> = (0..variants.len()).filter(|i| tried(*i)).collect();
            let variants: Vec<Variant> = tried.iter().map(|i| variants[*i]).collect();
            for (i, (metric, _)) in
                tried
                    .into_iter()
                    .zip(self.train(Some(fold), &rest, &variants)?)
            {
                measured[i].add_fold(fold, &metric);
            }
        }
        Ok(measured)
    }

    /// A metric to be served, which knows what it has learned from; and whether it is a change of
    /// the base.
    fn metric(&self, shaped: &Shaped, change: Option<Change>) -> (Arc<dyn Metric>, bool) {
        let seen = Seen::new(self.evidence.fingerprints());
        match (change, &self.base) {
            (Some(change), Some(base)) => (
                Arc::new(ChangedMetric::new(
                    base.metric().clone(),
                    change,
                    shaped.condition,
                    seen,
                )),
                true,
            ),
            _ => (
                Arc::new(
                    MahalanobisMetric::from_factor(&shaped.factor, shaped.condition)
                        .with_seen(seen),
                ),
                false,
            ),
        }
    }

    /// The verdicts, given what the learner's default variant measures, cross-fitted.
    fn gate(&self, (measured, candidate): (&Measured<'_>, &Scores)) -> Result<Judged, LearnError> {
        let under = |distances: &dyn Distances| {
            Measured::under(self.evidence, &self.folds, distances, || poll(self.task))
        };
        let euclid = under(&Euclid)?;
        let incumbent = match &self.task.incumbent {
            Some(Incumbent { metric, shrunken }) => Some(Baseline {
                scores: under(metric)?.scores(),
                seen: match &*metric.encode() {
                    // A built-in distance, which was not learned.
                    [] => Seen::new(std::iter::empty()),
                    // Another plugin's metric does not say what it has seen.
                    bytes => codec::peek_seen(bytes)
                        .unwrap_or_else(|| Seen::new(self.evidence.fingerprints())),
                },
                step: *shrunken,
            }),
            None => None,
        };
        let baselines = Baselines {
            euclid: euclid.scores(),
            incumbent,
        };
        let findings = gate::findings(self.evidence, candidate, &baselines);
        let gate = gate::judge(gate::WHOLE, self.evidence, candidate, &baselines);
        if gate.accepted || !step::may_be_taken(self.task) {
            return Ok(Judged {
                gate,
                step: None,
                findings,
            });
        }
        let step = gate::judge(
            gate::STEP,
            self.evidence,
            &euclid.mixed(measured, step::SHARE).scores(),
            &baselines,
        );
        let (gate, step) = gate::together(gate, step);
        Ok(Judged {
            gate,
            step,
            findings,
        })
    }
}

fn no_variants() -> LearnError {
    LearnError::Numerical("the learner has no variants".into())
}

fn poll(task: &Task<'_>) -> Result<(), LearnError> {
    if (task.cancel)() {
        Err(LearnError::Cancelled)
    } else {
        Ok(())
    }
}
