//! Learning a metric from the judgements so far.

mod run;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Learning;
use super::ask::{self, Question};
use super::weights::user_share;
use crate::model::error::{Error, Result};
use crate::model::{FusionRecord, MemoryRecord, RefitSettings, VersionId};
use crate::plugin::{Gate, PairCounts};

/// A refit that is to be run; made by [`Collection::refit`](crate::Collection::refit).
#[must_use = "end with `run`"]
#[derive(Clone)]
pub struct Refit {
    learning: Arc<Learning>,
    user: Option<String>,
    settings: RefitSettings,
    dry_run: bool,
    force: bool,
    ask: Option<usize>,
    cancel: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    /// Whether it gives up when no handle but its own and its caller's is left.
    until_alone: bool,
}

impl std::fmt::Debug for Refit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refit")
            .field("learning", &self.learning)
            .field("user", &self.user)
            .field("settings", &self.settings)
            .field("dry_run", &self.dry_run)
            .field("force", &self.force)
            .field("ask", &self.ask)
            .finish_non_exhaustive()
    }
}

/// Outcome of a refit, with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RefitReport {
    /// Whether the refit made its candidate active.
    pub promoted: bool,
    /// Whether nothing changed since a version was learned: the candidate is that version, to the
    /// bit, and no other was stored.
    pub unchanged: bool,
    /// The candidate's version; `None` after a dry run.
    pub version: Option<VersionId>,
    /// The version that was active before.
    pub parent: VersionId,
    /// The learner that made the candidate.
    pub learner: String,
    /// Pairs it learned from.
    pub pairs: PairCounts,
    /// Number of judgements that taught nothing, because their items hold other contents than those
    /// that were judged, or are gone.
    pub stale: usize,
    /// The weight of the prior.
    pub lambda: f64,
    /// Position on the geodesic.
    pub t: f64,
    /// `cond A`.
    pub condition: f64,
    /// The share of the learned metric where a [shrunken one](crate::plugin::ShrunkenMetric) took
    /// its place.
    pub shrinkage: Option<f64>,
    /// The held-out test.
    pub gate: Gate,
    /// How judgements are remembered from now on; `None` for one user's refit, which leaves that as
    /// it is. A dry run changes nothing.
    pub memory: Option<MemoryRecord>,
    /// How much words count in hybrid searches from now on; `None` where the collection has no
    /// keywords.
    pub fusion: Option<FusionRecord>,
    /// Milliseconds of each phase.
    pub millis: RefitMillis,
    /// Judgements that may decide, where they were asked for and the candidate was not promoted.
    /// They come in twos of one query.
    pub questions: Vec<Question>,
}

/// Milliseconds of each phase of a refit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct RefitMillis {
    /// Reading judgements and sampling the collection.
    pub collect: f64,
    /// Fitting, selection included.
    pub fit: f64,
    /// The held-out test.
    pub gate: f64,
    /// Storing the version and answering under it.
    pub swap: f64,
}

impl Learning {
    /// A refit with the settings of the open collection.
    pub fn refit(self: &Arc<Self>) -> Refit {
        Refit {
            learning: Arc::clone(self),
            user: None,
            settings: RefitSettings {
                user_share: self.background.user_share(),
                ..RefitSettings::default()
            },
            dry_run: false,
            force: false,
            ask: None,
            cancel: None,
            until_alone: false,
        }
    }
}

impl Refit {
    /// Sets the learner; by default the plugin chooses.
    pub fn learner(mut self, learner: impl Into<String>) -> Self {
        self.settings.learner = Some(learner.into());
        self
    }

    /// Learns a metric for one user: from their judgements, with everybody else's as the prior. The
    /// gate tests it on theirs alone. Users without a metric of their own are answered under
    /// everybody's.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Fixes every random choice; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Fits and tests a candidate, and stores nothing.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Promotes the candidate whatever the gate says.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Asks for a number of judgements (2 to 1,000; 30 decide most cases) where the gate does not
    /// let the candidate pass. Answer them as [explicit](crate::Source::Explicit) judgements and
    /// refit again: they decide where they speak clearly for or against the candidate, and are
    /// learned from as well.
    pub fn ask(mut self, questions: usize) -> Self {
        self.ask = Some(questions);
        self
    }

    /// Halves the weight of a judgement over each such time, counted back from the newest one. By
    /// default all judgements keep their weight.
    pub fn half_life(mut self, half_life: Duration) -> Self {
        self.settings.half_life = Some(half_life);
        self
    }

    /// Limits the share of one user's judgements in the weight of all that the shared metric is
    /// learned from, above 0 and at most 1; the judgements of users above it are scaled down. Where
    /// there are too few users for the limit, nobody weighs more than the one who weighs least.
    /// Judgements without a user are the program's own and are not scaled. Without a limit here,
    /// that of the [opened collection](crate::CollectionBuilder::user_share) holds, if it has one.
    pub fn user_share(mut self, share: f64) -> Self {
        self.settings.user_share = Some(share);
        self
    }

    /// Keeps a user's metric as an update of everybody's of at most this rank (`4 rank d` bytes
    /// instead of `4 d^2`); 0 keeps it whole. By default the rank is 64 above 256 dimensions, and
    /// the metric is whole otherwise. Everybody's metric is always whole, and so is a user's where
    /// everybody has the built-in one.
    pub fn rank(mut self, rank: usize) -> Self {
        self.settings.rank = Some(rank);
        self
    }

    /// Stops the fit with [`Error::Cancelled`] soon after `cancel` returns `true`. Nothing is
    /// stored then.
    pub fn cancel(mut self, cancel: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cancel = Some(Arc::new(cancel));
        self
    }

    /// Takes over the settings of an earlier refit.
    pub(super) fn with(mut self, settings: RefitSettings) -> Self {
        let of_collection = self.settings.user_share;
        self.settings = settings;
        self.settings.user_share = self.settings.user_share.or(of_collection);
        self
    }

    /// Gives up when no handle of the collection is left.
    pub(super) fn until_alone(mut self) -> Self {
        self.until_alone = true;
        self
    }

    /// Runs the refit. Refits of one collection run one at a time.
    ///
    /// # Errors
    /// [`Error::NoJudgements`], also where none of them teaches; [`Error::NoPlugin`];
    /// [`Error::Learn`] when the judgements do not determine a metric; [`Error::Cancelled`];
    /// [`Error::InvalidSetting`] for a number of questions, a half-life or a share out of range;
    /// [`Error::ConflictingSettings`] for questions of a dry run; storage errors. The active metric
    /// is unchanged then.
    pub fn run(self) -> Result<RefitReport> {
        let guard = self.learning.lock_refits();
        self.learning.run_refit(&self, &guard)
    }

    /// Checks the settings.
    fn check(&self) -> Result<()> {
        if let Some(n) = self.ask {
            ask::check(n)?;
            if self.dry_run {
                return Err(Error::ConflictingSettings {
                    first: "a dry run",
                    second: "asking for judgements",
                    reason: "it stores no candidate that judgements could be asked for",
                });
            }
        }
        if self.settings.half_life.is_some_and(|h| h.is_zero()) {
            return Err(Error::InvalidSetting {
                setting: "the half-life",
                value: "0".to_owned(),
                allowed: "a time above 0".to_owned(),
            });
        }
        self.settings.user_share.map_or(Ok(()), user_share::check)
    }

    /// Whether the fit is to stop.
    fn is_cancelled(&self) -> bool {
        let alone = self.until_alone && Arc::strong_count(&self.learning) <= 2;
        alone || self.cancel.as_ref().is_some_and(|cancel| cancel())
    }
}
