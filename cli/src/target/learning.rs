//! Judging and learning, wherever the judgements are.

use std::collections::HashMap;
use std::time::Duration;

use affinis::engine::Learning;
use affinis::learning::{Drift, EvalQuery, Evaluation, Forget, StaleJudgement, Trial};
use affinis::{Item, Judgement, JudgementId, MetricChoice, Query, RankBy, Version, VersionId};
use affinis_api::{
    ActiveDocument, DifferenceDocument, ExplanationDocument, ForgottenDocument, JudgedDocument,
    JudgementDocument, MatrixDocument, RefitDocument, TrialAnswerDocument, TrialHitDocument,
    VersionDocument,
};
use ndarray::Array2;

use super::Target;
use crate::failure::Failure;

/// Number of items whose neighbours are compared.
const SAMPLE: usize = 100;
/// Number of neighbours of an item that are compared.
pub(crate) const NEIGHBOURS: usize = 10;

/// The settings of a refit.
#[derive(Default)]
pub(crate) struct RefitSettings<'a> {
    pub(crate) learner: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    pub(crate) rank: Option<usize>,
    pub(crate) dry_run: bool,
    pub(crate) force: bool,
    pub(crate) ask: Option<usize>,
    pub(crate) half_life: Option<Duration>,
    pub(crate) user_share: Option<f64>,
    pub(crate) seed: Option<u64>,
}

/// The outcome of a refit.
pub(crate) struct Refitted {
    pub(crate) document: RefitDocument,
    /// Whether it was promoted though the gate had not let it pass.
    pub(crate) forced: bool,
}

impl Target {
    /// Learns a metric.
    pub(crate) fn refit(&self, settings: &RefitSettings<'_>) -> Result<Refitted, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return remote.refit(settings);
        }
        let refit = with_settings!(self.learning()?.refit(), settings);
        let report = refit.run()?;
        Ok(Refitted {
            document: RefitDocument::new(&report, settings.dry_run),
            forced: report.promoted && !report.gate.accepted,
        })
    }

    /// Why an item is at its rank.
    pub(crate) fn explain(
        &self,
        query: Query,
        item: &str,
        metric: MetricChoice,
        user: Option<&str>,
    ) -> Result<ExplanationDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            let mut explain = remote.collection().explain(query, item).metric(metric)?;
            if let Some(user) = user {
                explain = explain.user(user);
            }
            return Ok(explain.run()?);
        }
        let mut explain = self
            .learning()?
            .explain(query, item.to_owned())
            .metric(metric);
        if let Some(user) = user {
            explain = explain.user(user);
        }
        Ok(ExplanationDocument::from(&explain.run()?))
    }

    /// Measures on queries that were made with a threshold, under Euclid and a metric.
    #[cfg_attr(
        not(feature = "client"),
        expect(unused_variables, reason = "the queries know what is relevant")
    )]
    pub(crate) fn evaluate(
        &self,
        queries: &[EvalQuery],
        k: usize,
        (metric, ranking): (MetricChoice, RankBy),
        threshold: Option<f64>,
    ) -> Result<Evaluation, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            let evaluate = remote.collection().evaluate(queries.to_vec()).k(k);
            let evaluate = evaluate.metric(metric)?.ranking(ranking)?;
            return Ok(evaluate.relevance_threshold(threshold).run()?);
        }
        let metrics = [MetricChoice::BuiltIn, metric];
        Ok(self.learning()?.evaluate(queries, k, &metrics, ranking)?)
    }

    /// The judgements, with whether they teach.
    pub(crate) fn judgements(&self) -> Result<Vec<JudgementDocument>, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            let all = remote.collection().judgements().run();
            return Ok(all.collect::<Result<_, _>>()?);
        }
        let judgements = self.learning()?.judgements()?;
        let stale: HashMap<JudgementId, StaleJudgement> = self
            .learning()?
            .stale_judgements()?
            .into_iter()
            .map(|stale| (stale.judgement, stale))
            .collect();
        let documents = judgements.into_iter().map(|stored| {
            let stale = stale.get(&stored.id);
            JudgementDocument::new(stored, stale)
        });
        Ok(documents.collect())
    }

    /// Stores judgements, all or none. The trial is not looked at.
    pub(crate) fn judge(&self, judgements: &[Judgement]) -> Result<JudgedDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().judge(judgements)?);
        }
        Ok(numbered(&self.learning()?.judge(judgements)?))
    }

    /// Number of judgements that were stored since the last refit.
    pub(crate) fn unlearned(&self) -> Result<u64, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Err(remote.refuse("it does not count the judgements since the last refit"));
        }
        Ok(self.learning()?.unlearned()? as u64)
    }

    /// Removes judgements, and learns anew without them.
    pub(crate) fn forget(&self, what: &Forget) -> Result<ForgottenDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().forget(what)?);
        }
        Ok(ForgottenDocument::from(&self.learning()?.forget(what)?))
    }

    /// The versions of the metric, as they are listed.
    pub(crate) fn versions(&self) -> Result<Vec<VersionDocument>, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().metrics()?);
        }
        let versions = self.learning()?.metrics()?;
        Ok(versions.iter().map(VersionDocument::from).collect())
    }

    /// The versions of the metric, with everything that is known of them.
    pub(crate) fn versions_in_full(&self) -> Result<Vec<Version>, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(_) = self {
            let versions = self.versions()?.into_iter();
            return versions
                .map(|listed| self.version(listed.version))
                .collect();
        }
        Ok(self.learning()?.metrics()?)
    }

    /// Everything that is known of a version.
    pub(crate) fn version(&self, version: VersionId) -> Result<Version, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().metric(version)?);
        }
        Ok(self.learning()?.metric(version)?)
    }

    /// Makes a version active.
    pub(crate) fn promote(&self, version: VersionId) -> Result<ActiveDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().promote(version)?);
        }
        let learning = self.learning()?;
        learning.promote(version)?;
        active(learning, version)
    }

    /// Makes an earlier version active.
    pub(crate) fn roll_back(&self, version: Option<VersionId>) -> Result<ActiveDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().roll_back(version)?);
        }
        let learning = self.learning()?;
        let version = learning.rollback(version)?;
        active(learning, version)
    }

    /// Ends a user's own metric, so that the shared one is active for the user.
    pub(crate) fn clear_user_metric(&self, user: &str) -> Result<ActiveDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().clear_user_metric(user)?);
        }
        let learning = self.learning()?;
        let shared = learning.active(None);
        if learning.active(Some(user)) == shared {
            return Err(Failure::Failed(format!(
                "{user:?} has no metric of their own to go back from"
            )));
        }
        learning.clear_user_metric(user)?;
        Ok(ActiveDocument {
            active: shared,
            user: Some(user.to_owned()),
        })
    }

    /// Deletes a version that nothing needs.
    pub(crate) fn delete_metric(&self, version: VersionId) -> Result<(), Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().delete_metric(version)?);
        }
        Ok(self.learning()?.delete_metric(version)?)
    }

    /// How far refits moved the metric.
    pub(crate) fn drift(&self) -> Result<Drift, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().drift()?);
        }
        Ok(self.learning()?.drift()?)
    }

    /// How two versions differ.
    pub(crate) fn diff(
        &self,
        from: VersionId,
        to: VersionId,
    ) -> Result<DifferenceDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().diff(from, to)?);
        }
        let comparison = self.learning()?.diff(from, to)?;
        let changes = self.learning()?.diff_neighbours(from, to);
        Ok(DifferenceDocument {
            distance: comparison.distance,
            factors: comparison.factors,
            neighbours: changes.sample(SAMPLE).k(NEIGHBOURS).run()?,
        })
    }

    /// The matrix of a version.
    pub(crate) fn matrix(&self, version: VersionId) -> Result<MatrixDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().export_metric(version)?);
        }
        let matrix = self.learning()?.metric_matrix(version)?;
        let record = self.learning()?.metric(version)?;
        Ok(MatrixDocument {
            version,
            created: record.created_text(),
            learner: record.learner,
            matrix: matrix.outer_iter().map(|row| row.to_vec()).collect(),
        })
    }

    /// Stores a matrix as a new version.
    pub(crate) fn import_matrix(&self, matrix: &Array2<f64>) -> Result<VersionId, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            let rows: Vec<Vec<f64>> = matrix.outer_iter().map(|row| row.to_vec()).collect();
            return Ok(remote.collection().import_metric(&rows)?);
        }
        Ok(self.learning()?.import_metric(matrix.view(), None)?)
    }

    /// The running trial, otherwise the last one.
    pub(crate) fn trial(&self) -> Result<Option<Trial>, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().trial()?);
        }
        Ok(self.learning()?.trial()?)
    }

    /// Starts a trial.
    pub(crate) fn start_trial(
        &self,
        version: VersionId,
        alpha: Option<f64>,
    ) -> Result<Option<Trial>, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            let mut trial = remote.collection().start_trial(version);
            if let Some(alpha) = alpha {
                trial = trial.alpha(alpha);
            }
            return Ok(trial.run()?);
        }
        let mut trial = self.learning()?.start_trial(version);
        if let Some(alpha) = alpha {
            trial = trial.alpha(alpha);
        }
        Ok(Some(trial.run()?))
    }

    /// Ends the trial.
    pub(crate) fn end_trial(&self) -> Result<Option<Trial>, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().end_trial()?);
        }
        Ok(self.learning()?.end_trial()?)
    }

    /// The answer of a trial to a query, which has this name.
    pub(crate) fn interleave(
        &self,
        query: &Query,
        name: &str,
        k: usize,
        user: Option<&str>,
    ) -> Result<TrialAnswerDocument, Failure> {
        #[cfg(feature = "client")]
        if let Self::Remote(remote) = self {
            return Ok(remote.collection().trial_search(query, k, user)?);
        }
        let answer = self.learning()?.interleave(query, k, user)?;
        let mut found = self.items(&answer.ids)?;
        let items: Vec<Item> = answer
            .ids
            .iter()
            .filter_map(|id| found.remove(id))
            .collect();
        let drawn = items.into_iter().zip(answer.teams).enumerate();
        let hits = drawn.map(|(at, (item, team))| TrialHitDocument {
            id: item.id,
            rank: at + 1,
            text: item.text,
            meta: item.meta,
            team,
        });
        Ok(TrialAnswerDocument {
            query: name.into(),
            hits: hits.collect(),
        })
    }
}

/// The numbers of judgements that were stored.
pub(super) fn numbered(stored: &[JudgementId]) -> JudgedDocument {
    JudgedDocument {
        stored: stored.len(),
        first: stored.first().copied(),
        last: stored.last().copied(),
        trial: None,
    }
}

/// For whom a version is active.
fn active(learning: &Learning, version: VersionId) -> Result<ActiveDocument, Failure> {
    Ok(ActiveDocument {
        active: version,
        user: learning.metric(version)?.user,
    })
}
