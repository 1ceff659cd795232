//! A refit, from judgements to a candidate with its verdict: prepared judgements, prior,
//! cross-fitting, selection, candidate, gate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use affinis::plugin::{
    Examples, Fitted, Gate, LearnError, Metric, PairCounts, ShrunkenMetric, Task,
};

use crate::fingerprints::Fingerprints;
use crate::gate::{self, Baselines, FOLDS, Folds, HeldOutDistances, Outcome, Scores, poll};
use crate::judgements::Judgements;
use crate::learner::{self, Learner, Training, Variant};
use crate::low_rank_update::{Base, LowRankUpdate, Terms};
use crate::metric::MahalanobisMetric;
use crate::prior::{Prior, Priors};
use crate::scatter::{self, Scatters};
use crate::select::{self, Choice};
use crate::shape::{Shaped, shaped};
use crate::shrink;

/// The learner and the plugin's settings of a refit.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) learner: &'a dyn Learner,
    pub(crate) condition_cap: f64,
    pub(crate) priors: &'a Priors,
}

/// A matrix ready to measure with, and its terms where it is kept as an update of the base.
type Found = (Shaped, Option<Terms>);

/// The gate's verdicts on a candidate.
struct Verdicts {
    candidate: Outcome,
    /// The verdict on the shrunken metric, where that passes and the candidate does not.
    shrunken: Option<Gate>,
}

/// One refit under way.
struct Fit<'a> {
    task: &'a Task<'a>,
    others: Option<&'a Examples>,
    settings: Settings<'a>,
    judgements: &'a Judgements<'a>,
    prior: Arc<Prior>,
    /// The base that candidates are kept as updates of, if they are.
    base: Option<Base<'a>>,
    folds: Folds,
    /// The scatters of each fold alone.
    fold_scatters: Vec<Scatters>,
}

/// Fits a candidate and puts it through the gate. The judgements of `others`, where there are any,
/// are its prior.
pub(crate) fn fit<'a>(
    task: &'a Task<'a>,
    others: Option<&'a Examples>,
    settings: Settings<'a>,
) -> Result<Fitted, LearnError> {
    let start = Instant::now();
    gate::check_dimensions(task)?;
    let judgements = Judgements::new(task.dim, task.examples)?;
    let (similar, dissimilar) = judgements.counts();
    if similar + dissimilar == 0 {
        return Err(LearnError::NotEnough(
            "no judgement says which items belong together or apart: there are none, or they cancel each other, have \
             grade 0, or judge an item against itself"
                .into(),
        ));
    }
    let fit = Fit::new(task, others, settings, &judgements)?;

    let measurable = gate::can_measure(&judgements);
    let variants = tried_variants(settings.learner, measurable, similar, dissimilar)?;
    let crossing = Instant::now();
    let held_out = if measurable {
        fit.cross_fit(&variants)?
    } else {
        Vec::new()
    };
    let crossed = crossing.elapsed();
    let scores: Vec<Scores> = held_out.iter().map(HeldOutDistances::scores).collect();
    let Choice { chosen, tested } = select::select(&judgements, &variants, &scores);
    let variant = variants[chosen];

    let mut total = Scatters::zero(task.dim);
    fit.fold_scatters.iter().for_each(|fold| total.add(fold));
    let found = fit.train(None, &total, &[variant])?;
    let (found, terms) = found.into_iter().next().ok_or_else(no_variants)?;
    // Cross-fitting is part of the gate, unless it also serves the selection.
    let of_gate = if variants.len() > 1 {
        Duration::ZERO
    } else {
        crossed
    };
    let fit_time = start.elapsed().saturating_sub(of_gate);

    let mut verdicts = match held_out.get(tested).zip(scores.get(tested)) {
        Some((distances, scores)) => fit.verdicts(distances, scores, variant)?,
        None => Verdicts {
            candidate: Outcome::not_measured(&judgements),
            shrunken: None,
        },
    };
    if let Some(reason) = settings.learner.refusal() {
        verdicts.refuse(reason);
    }
    let Verdicts {
        candidate: mut outcome,
        shrunken,
    } = verdicts;
    let shrunken = match shrunken {
        Some(verdict) => fit.shrunken(&found, verdict, &mut outcome.gate)?,
        None => None,
    };

    let mut report = outcome.into_report(variant.learner);
    report.pairs = PairCounts {
        similar,
        dissimilar,
    };
    report.lambda = settings.learner.lambda();
    report.t = variant.t;
    report.condition = found.condition.max(1.0);
    report.notes = settings.learner.notes(variant);
    report.notes.extend([
        ("condition_cap".into(), settings.condition_cap),
        ("effective_dissimilar".into(), total.dissimilar.effective()),
        ("effective_similar".into(), total.similar.effective()),
        ("variants_tried".into(), variants.len() as f64),
    ]);
    if let Some(terms) = &terms {
        report.notes.insert("rank".into(), terms.rank() as f64);
    }
    report.fit_millis = fit_time.as_secs_f64() * 1e3;
    report.gate_millis = start.elapsed().saturating_sub(fit_time).as_secs_f64() * 1e3;
    let is_update = terms.is_some();
    let mut candidate = Fitted::new(fit.metric(&found, terms), report);
    candidate.is_update = is_update;
    candidate.shrunken = shrunken;
    Ok(candidate)
}

/// The variants of a learner that are tried, the default first: only that one where nothing can be
/// measured, none that asks for more judgements, and no refined one besides the default where
/// similar pairs are few.
fn tried_variants(
    learner: &dyn Learner,
    measurable: bool,
    similar: usize,
    dissimilar: usize,
) -> Result<Vec<Variant>, LearnError> {
    let (default, others) = learner.variants().split_first().ok_or_else(no_variants)?;
    let is_tried = |variant: &&Variant| {
        measurable
            && similar + dissimilar >= variant.from
            && (!variant.refined || similar >= select::MIN_SIMILAR)
    };
    let mut variants = vec![*default];
    variants.extend(others.iter().filter(is_tried));
    Ok(variants)
}

impl Verdicts {
    /// Refuses the candidate for a reason other than the held-out test, whose verdict is told.
    fn refuse(&mut self, reason: &str) {
        let Outcome {
            gate,
            clearly_worse,
            ..
        } = &mut self.candidate;
        gate.accepted = false;
        gate.reason = format!(
            "not promoted: {reason}; the held-out test says: {}",
            gate.reason
        );
        // Answered questions promote nothing that is clearly worse.
        *clearly_worse = true;
        self.shrunken = None;
    }
}

impl<'a> Fit<'a> {
    fn new(
        task: &'a Task<'a>,
        others: Option<&'a Examples>,
        settings: Settings<'a>,
        judgements: &'a Judgements<'a>,
    ) -> Result<Self, LearnError> {
        poll(task)?;
        let learner = settings.learner;
        let update_of = task.update_of.filter(|_| learner.refusal().is_none());
        let base = Base::of(update_of.as_ref(), task.dim)?;
        let default = *learner.variants().first().ok_or_else(no_variants)?;
        let prior = settings
            .priors
            .of_task(task, others, &learner.notes(default))?;
        let folds = Folds::new(judgements, task.seed);
        let chunklets = scatter::as_chunklets(judgements);
        let mut fold_scatters = Vec::with_capacity(FOLDS);
        for fold in 0..FOLDS {
            poll(task)?;
            let has_query = |i: usize| folds.queries[i] == fold;
            let has_pair = |i: usize| folds.pairs[i] == fold;
            fold_scatters.push(scatter::scatters(
                judgements, chunklets, has_query, has_pair,
            ));
        }
        Ok(Self {
            task,
            others,
            settings,
            judgements,
            prior,
            base,
            folds,
            fold_scatters,
        })
    }

    /// What the learner finds without a fold, for each of some variants.
    fn train(
        &self,
        held_out: Option<usize>,
        scatters: &Scatters,
        variants: &[Variant],
    ) -> Result<Vec<Found>, LearnError> {
        poll(self.task)?;
        let training = Training {
            judgements: self.judgements,
            held_out: held_out.map(|fold| (&self.folds, fold)),
            scatters,
            prior: &self.prior,
            sample: self.task.sample,
            seed: self.task.seed,
            cancel: self.task.cancel,
        };
        let family = self.settings.learner.fit(&training)?;
        let mut found = Vec::with_capacity(variants.len());
        for variant in variants {
            poll(self.task)?;
            let whole = shaped(family.matrix(*variant)?, self.settings.condition_cap)?;
            let update = match &self.base {
                Some(base) => base.reduce(&whole)?,
                None => None,
            };
            found.push(match update {
                Some((terms, reduced)) => (reduced, Some(terms)),
                None => (whole, None),
            });
        }
        Ok(found)
    }

    /// The held-out distances of each variant, every fold under a metric fitted on the others. Of
    /// refined variants that compete with a default only some folds are measured, which is enough
    /// to choose by.
    fn cross_fit(&self, variants: &[Variant]) -> Result<Vec<HeldOutDistances<'_>>, LearnError> {
        let mut held_out =
            vec![HeldOutDistances::new(self.judgements, &self.folds); variants.len()];
        for fold in 0..FOLDS {
            let mut rest = Scatters::zero(self.task.dim);
            let others = self.fold_scatters.iter().enumerate();
            others
                .filter(|(i, _)| *i != fold)
                .for_each(|(_, scatters)| rest.add(scatters));
            let is_tried =
                |i: &usize| *i == 0 || !variants[*i].refined || fold < select::REFINED_FOLDS;
            let tried: Vec<usize> = (0..variants.len()).filter(is_tried).collect();
            let of_fold: Vec<Variant> = tried.iter().map(|i| variants[*i]).collect();
            let found = self.train(Some(fold), &rest, &of_fold)?;
            for (i, (metric, _)) in tried.into_iter().zip(found) {
                held_out[i].add_fold(fold, &metric);
            }
        }
        Ok(held_out)
    }

    /// The metric to be served, which carries the fingerprints of its judgements: an update of the
    /// base where there are terms of one.
    fn metric(&self, shaped: &Shaped, terms: Option<Terms>) -> Arc<dyn Metric> {
        let seen = Fingerprints::new(self.judgements.fingerprints());
        match (terms, &self.base) {
            (Some(terms), Some(base)) => Arc::new(LowRankUpdate::new(
                base.metric().clone(),
                terms,
                shaped.condition,
                seen,
            )),
            _ => Arc::new(
                MahalanobisMetric::from_factor(&shaped.factor, shaped.condition).with_seen(seen),
            ),
        }
    }

    /// The scores of what the incumbent's learner makes without each fold; `None` where the learner
    /// is not known. Where the chosen variant is the incumbent's, these are the candidate's own.
    fn refitted_incumbent(
        &self,
        scores: &Scores,
        chosen: Variant,
    ) -> Result<Option<Scores>, LearnError> {
        let report = self.task.incumbent.and_then(|incumbent| incumbent.report);
        let Some((learner, variant)) = report.and_then(learner::of_report) else {
            return Ok(None);
        };
        if variant == chosen {
            return Ok(Some(scores.clone()));
        }
        let settings = Settings {
            learner,
            ..self.settings
        };
        let again = Fit::new(self.task, self.others, settings, self.judgements)?;
        let distances = again.cross_fit(&[variant])?;
        Ok(distances.first().map(HeldOutDistances::scores))
    }

    /// The verdicts, given the cross-fitted distances of the variant that is tested and their
    /// scores, and the variant that was chosen.
    fn verdicts(
        &self,
        distances: &HeldOutDistances<'_>,
        scores: &Scores,
        chosen: Variant,
    ) -> Result<Verdicts, LearnError> {
        let mut baselines = Baselines::measure(self.task, self.judgements, &self.folds)?;
        if baselines.have_been_seen(self.judgements, scores)
            && let Some(refitted) = self.refitted_incumbent(scores, chosen)?
        {
            baselines.set_refitted(refitted);
        }
        let mut candidate = baselines.outcome(self.judgements, distances.tested(scores));
        if candidate.gate.accepted || !shrink::may_be_promoted(self.task) {
            return Ok(Verdicts {
                candidate,
                shrunken: None,
            });
        }
        let mixed = baselines.euclid.mixed(distances, shrink::SHARE);
        let scores = mixed.scores();
        let of_shrunken = baselines.verdict(gate::SHRUNKEN, self.judgements, mixed.tested(&scores));
        let (of_candidate, shrunken) = shrink::verdicts(candidate.gate, of_shrunken);
        candidate.gate = of_candidate;
        Ok(Verdicts {
            candidate,
            shrunken,
        })
    }

    /// The shrunken metric that passed; `None`, with that added to the candidate's verdict, where
    /// it is active already.
    fn shrunken(
        &self,
        candidate: &Shaped,
        verdict: Gate,
        of_candidate: &mut Gate,
    ) -> Result<Option<ShrunkenMetric>, LearnError> {
        let shrunken = shrink::shrunken(candidate)?;
        if shrink::is_active(self.task, &shrunken) {
            of_candidate
                .reason
                .push_str("; the shrunken metric that may be promoted is active already");
            return Ok(None);
        }
        Ok(Some(ShrunkenMetric::new(
            self.metric(&shrunken, None),
            shrink::SHARE,
            shrunken.condition.max(1.0),
            verdict,
        )))
    }
}

fn no_variants() -> LearnError {
    LearnError::Numerical("the learner has no variants".into())
}
