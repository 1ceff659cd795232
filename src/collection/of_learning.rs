//! The methods of [`Collection`] for judgements, refits and versions.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use super::Collection;
use crate::learning::{
    DiffNeighbours, Drift, EvalQuery, Evaluation, Explain, Forget, Forgotten, History, Interleaved,
    Question, Refit, RefitReport, StaleJudgement, StartTrial, Trial, Weak,
};
use crate::model::error::{Error, Result};
use crate::model::{
    Activation, Guidelines, Judgement, JudgementId, MetricChoice, Query, RankBy, StoredJudgement,
    Version, VersionId,
};
use crate::plugin::Comparison;

impl Collection {
    /// Stores one judgement, durably. Returns its number.
    ///
    /// # Errors
    /// Those of [`Self::judge_all`].
    pub fn judge(&self, judgement: Judgement) -> Result<JudgementId> {
        let ids = self.judge_all([judgement])?;
        Ok(ids.first().copied().unwrap_or_default())
    }

    /// Stores judgements, all or none, durably. Returns their numbers.
    ///
    /// A judgement of a [document](crate::Item::document), by its id, is stored as one of its chunks:
    /// if the grade is above 0, of the one that is nearest to the query under the active metric,
    /// otherwise as one of each of them, with an equal share of the weight. So there may be more
    /// numbers than judgements.
    ///
    /// Clicks (judgements of [`Source::Click`](crate::Source::Click) with what was shown) on an
    /// answer of the running trial count for it, and may decide it: see [`Self::start_trial`].
    ///
    /// The text of a query is encoded once and its vector is stored, so that a refit does not need
    /// the encoder.
    ///
    /// # Errors
    /// [`Error::InvalidJudgement`] with its position for a grade,
    /// weight, user, vector or id that cannot be; encoder and storage errors.
    pub fn judge_all(
        &self,
        judgements: impl IntoIterator<Item = Judgement>,
    ) -> Result<Vec<JudgementId>> {
        let judgements: Vec<Judgement> = judgements.into_iter().collect();
        self.learning().judge(&judgements)
    }

    /// Derives about `count` judgements from the items and stores them; half of them say that items
    /// belong together. The same seed on the same collection gives the same judgements. Returns
    /// their numbers.
    ///
    /// # Errors
    /// [`Error::TooFewGroups`] when the field does not tell at least two groups apart, one of them
    /// of two items; [`Error::TextsTooShort`] when no two texts have four words; storage and
    /// encoder errors.
    pub fn judge_weakly(&self, from: &Weak, count: usize, seed: u64) -> Result<Vec<JudgementId>> {
        let items = self.current()?;
        let ids = items.live_ids()?.into_iter().map(|(_, id)| id).collect();
        let read = |id: &str| items.read_weak(id);
        let made = self
            .inner
            .learning
            .weak_judgements(from, ids, &read, count, seed)?;
        self.judge_all(made)
    }

    /// Every judgement, in the order of their numbers.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn judgements(&self) -> Result<Vec<StoredJudgement>> {
        self.learning().judgements()
    }

    /// The judgements that teach nothing at present, in the order of their numbers.
    ///
    /// A judgement speaks of what its items held when it was given. Where one of them was replaced
    /// by an item of another content (another text, or another vector where there is no text), or
    /// deleted, the next refit is as if the judgement had never been given. It teaches again once
    /// the same content is back under the same id. Metadata is no part of the content.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn stale_judgements(&self) -> Result<Vec<StaleJudgement>> {
        self.learning().stale_judgements()
    }

    /// Number of judgements.
    pub fn judgement_count(&self) -> usize {
        self.inner.items.judgement_count()
    }

    /// Number of judgements from which no metric for everybody was learned yet.
    ///
    /// # Errors
    /// Storage errors.
    pub fn unlearned(&self) -> Result<usize> {
        self.learning().unlearned()
    }

    /// Learns a metric from the judgements so far. The candidate becomes a version; it is promoted
    /// when the gate finds that it answers held-out judgements better. Where that is likely, but
    /// not certain, the candidate [shrunken](crate::plugin::ShrunkenMetric) towards Euclid is
    /// promoted in its place. Searches go on meanwhile, and the next one after a promotion is
    /// answered under it: nothing is rebuilt.
    pub fn refit(&self) -> Refit {
        self.learning().refit()
    }

    /// Those of some questions of a [refit](crate::learning::Refit::ask) that no explicit judgement
    /// answers, in their order. A question is open again once its answer is
    /// [withdrawn](Self::forget), or speaks of items that hold something else now.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn unanswered(&self, questions: &[Question]) -> Result<Vec<Question>> {
        self.learning().unanswered(questions)
    }

    /// The outcome of the last refit in the background; `None` where none has ended. See
    /// [`CollectionBuilder::refit_after`](crate::CollectionBuilder::refit_after).
    pub fn background_refit(&self) -> Option<Result<RefitReport, Arc<Error>>> {
        self.learning().background_refit()
    }

    /// All versions, version 0 (the built-in distance) first.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn metrics(&self) -> Result<Vec<Version>> {
        self.learning().metrics()
    }

    /// The version of a number.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`].
    pub fn metric(&self, version: VersionId) -> Result<Version> {
        self.learning().metric(version)
    }

    /// The version that answers a user, or everybody.
    pub fn active_metric(&self, user: Option<&str>) -> VersionId {
        self.learning().active(user)
    }

    /// Makes a version active: for its user where it was learned for one, otherwise for everybody.
    /// The next search is answered under it; nothing is rebuilt. A running trial ends when the
    /// metric of everybody changes.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`],
    /// [`Error::WithdrawnVersion`], or
    /// [`Error::NoPlugin`] when nobody can read it.
    pub fn promote(&self, version: VersionId) -> Result<()> {
        self.learning().promote(version)
    }

    /// Makes an earlier version of everybody active again, by default the parent of the active one.
    /// Returns the version that is then active.
    ///
    /// # Errors
    /// [`Error::NothingToRollBack`] at version 0; [`Error::PersonalVersion`] for a user's own
    /// version; those of [`Self::promote`].
    pub fn rollback(&self, version: Option<VersionId>) -> Result<VersionId> {
        self.learning().rollback(version)
    }

    /// Ends a user's own metric: they are answered under the collection's again.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn clear_user_metric(&self, user: &str) -> Result<()> {
        self.learning().clear_user_metric(user)
    }

    /// How version `b` differs from version `a`.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`],
    /// [`Error::NoPlugin`], or when either has no matrix (the dot product).
    pub fn diff(&self, a: VersionId, b: VersionId) -> Result<Comparison> {
        self.learning().diff(a, b)
    }

    /// A comparison of the nearest neighbours of sampled items under version `a` and under version
    /// `b`.
    pub fn diff_neighbours(&self, a: VersionId, b: VersionId) -> DiffNeighbours {
        self.learning().diff_neighbours(a, b)
    }

    /// The matrix `A` of a version, `d x d`, symmetric.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`]; [`Error::NoPlugin`]; [`Error::NoMatrix`] for the dot product.
    pub fn metric_matrix(&self, version: VersionId) -> Result<Array2<f64>> {
        self.learning().metric_matrix(version)
    }

    /// Imports a matrix `A`, scaled to trace `d`, as a new version of the first plugin that takes
    /// it. It is not active until it is promoted. Returns its number.
    ///
    /// # Errors
    /// [`Error::MatrixShape`] for another shape than `d x d`;
    /// [`Error::Learn`] when it is not symmetric positive definite;
    /// [`Error::NoPlugin`] without a plugin to keep it.
    pub fn import_metric(&self, matrix: ArrayView2<'_, f64>) -> Result<VersionId> {
        self.learning().import_metric(matrix, None)
    }

    /// Imports a matrix as a version of the plugin of this name.
    ///
    /// # Errors
    /// Those of [`Self::import_metric`]; [`Error::NoPlugin`] when no plugin of the name is
    /// registered.
    pub fn import_metric_for(
        &self,
        plugin: &str,
        matrix: ArrayView2<'_, f64>,
    ) -> Result<VersionId> {
        self.learning().import_metric(matrix, Some(plugin))
    }

    /// Deletes a version with its matrix. Versions that were learned from it are children of its
    /// parent then, to which a rollback leads. Its number is not given again.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`]; [`Error::VersionNeeded`] for version 0, one that is active for
    /// somebody, one that another version is an update of, and one in the running trial; storage
    /// errors.
    pub fn delete_metric(&self, version: VersionId) -> Result<()> {
        self.learning().delete_metric(version)
    }

    /// Begins a trial of a version against the active one in live answers.
    pub fn start_trial(&self, challenger: VersionId) -> StartTrial {
        self.learning().start_trial(challenger)
    }

    /// The running trial, otherwise the last one; `None` when there was none.
    ///
    /// # Errors
    /// Storage errors.
    pub fn trial(&self) -> Result<Option<Trial>> {
        self.learning().trial()
    }

    /// Ends the running trial without a decision. Returns its state; `None` when none is running.
    ///
    /// # Errors
    /// Storage errors.
    pub fn end_trial(&self) -> Result<Option<Trial>> {
        self.learning().end_trial()
    }

    /// Answers a query with hits of both metrics of the running trial. The same query of the same
    /// user has the same answer as long as the collection is unchanged.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] when no trial is running or `k` is out of
    /// range; those of a search.
    pub fn interleave(
        &self,
        query: impl Into<Query>,
        k: usize,
        user: Option<&str>,
    ) -> Result<Interleaved> {
        self.learning().interleave(&query.into(), k, user)
    }

    /// When which version of the metric became everybody's and by what, the oldest first; the newest
    /// [`MAX_ACTIVATIONS`](crate::learning::MAX_ACTIVATIONS) are kept.
    ///
    /// # Errors
    /// Storage errors.
    pub fn activations(&self) -> Result<Vec<Activation>> {
        self.learning().activations()
    }

    /// The guidelines for those who judge; the default where none were set.
    ///
    /// # Errors
    /// Storage errors.
    pub fn guidelines(&self) -> Result<Guidelines> {
        self.learning().guidelines()
    }

    /// Sets the guidelines for those who judge, durably. Judgements that were given before keep
    /// their grades.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a text or a scale that breaks a rule; storage errors.
    pub fn set_guidelines(&self, guidelines: &Guidelines) -> Result<()> {
        self.learning().set_guidelines(guidelines)
    }

    /// The refits of everybody's metric, with alarms: a refit that moved it far more than those
    /// before it, refits in a row that bring no gain, and answers of which fewer are relevant since
    /// the active metric was learned.
    ///
    /// # Errors
    /// Storage errors.
    pub fn drift(&self) -> Result<Drift> {
        self.learning().drift()
    }

    /// Explains an item's distance from a query.
    ///
    /// The metric's directions are its eigenvectors. The influence of a judgement is the derivative
    /// of the learner's closed form, checked against refits without it; it is given for metrics
    /// that were learned from judgements.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Query, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(2).open_or_create()?;
    /// points.add([
    ///     Item::vector("a", [0.0, 0.0]),
    ///     Item::vector("b", [1.0, 0.0]),
    ///     Item::vector("c", [3.0, 4.0]),
    /// ])?;
    /// let why = points.explain(Query::like("a"), "c").run()?;
    /// assert_eq!((why.rank, why.distance, why.euclidean), (Some(2), 25.0, 25.0));
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn explain(&self, query: impl Into<Query>, item: impl Into<String>) -> Explain {
        self.learning().explain(query.into(), item.into())
    }

    /// Measures the answers to queries under metrics. The item of a query by id is left out of its
    /// answer.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for `k` out of range or a query without
    /// relevant items; [`Error::UnknownId`] for relevant items that do
    /// not exist; and those of a search.
    pub fn evaluate(
        &self,
        queries: &[EvalQuery],
        k: usize,
        metrics: &[MetricChoice],
    ) -> Result<Evaluation> {
        self.evaluate_by(RankBy::Meaning, queries, k, metrics)
    }

    /// Measures as [`Self::evaluate`] does the answers of searches by words, or by words and
    /// meaning.
    ///
    /// # Errors
    /// Those of [`Self::evaluate`]; [`Error::InvalidQuery`] by words where the collection has no
    /// keywords, or a query is a vector or an item without a text.
    pub fn evaluate_by(
        &self,
        ranking: RankBy,
        queries: &[EvalQuery],
        k: usize,
        metrics: &[MetricChoice],
    ) -> Result<Evaluation> {
        self.learning().evaluate(queries, k, metrics, ranking)
    }

    /// Removes judgements and withdraws every version that may have learned from them. Where an
    /// active metric is withdrawn, it is fitted again from the other judgements with the same
    /// settings, and then equals a metric that was never fitted to the removed ones. The gate
    /// decides again.
    ///
    /// # Errors
    /// [`Error::UnknownJudgement`] for a number that no judgement has; nothing is removed then.
    /// Storage errors. When the refit fails, the judgements are removed nevertheless, and the
    /// active metric is the built-in one.
    pub fn forget(&self, what: &Forget) -> Result<Forgotten> {
        self.learning().forget(what)
    }

    /// The judgements and versions of the collection, for another collection.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn history(&self) -> Result<History> {
        self.learning().history()
    }

    /// Imports the history of another collection: all of it, durably, or nothing. Judgements may
    /// name items that do not exist, because they were deleted later.
    ///
    /// # Errors
    /// [`Error::HistoryExists`] when this collection has judgements or versions;
    /// [`Error::HistoryNumbers`] when the history's next numbers are too large;
    /// [`Error::InvalidVersion`] for an invalid version, or
    /// one that no registered plugin can read; [`Error::InvalidJudgement`].
    pub fn restore(&self, history: &History) -> Result<()> {
        self.learning().restore(history)
    }
}
