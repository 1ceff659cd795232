//! Versions of the metric, trials and drift.

use affinis::learning::{Drift, Trial};
use affinis::{Query, Version, VersionId};
use affinis_api::{
    ActiveDocument, DifferenceDocument, MatrixDocument, TrialAnswerDocument, VersionDocument,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::collection::Collection;
use crate::error::Result;
use crate::http::Repeat;
use crate::search::query;

#[derive(Deserialize)]
struct TrialState {
    trial: Option<Trial>,
}

impl Collection {
    /// The versions of the metric, version 0 first.
    ///
    /// # Errors
    /// Those of any call: see [`Error`](crate::Error).
    pub fn metrics(&self) -> Result<Vec<VersionDocument>> {
        #[derive(Deserialize)]
        struct Versions {
            metrics: Vec<VersionDocument>,
        }
        let listed: Versions = self.http().get(&self.path("metrics"))?;
        Ok(listed.metrics)
    }

    /// Everything that is known of a version.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown version.
    pub fn metric(&self, version: VersionId) -> Result<Version> {
        self.http().get(&self.path(&format!("metrics/{version}")))
    }

    /// Makes a version active: for its user, or else for everybody.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown version, `conflict` for one that was withdrawn.
    pub fn promote(&self, version: VersionId) -> Result<ActiveDocument> {
        let path = self.path(&format!("metrics/{version}/promote"));
        self.http().post(&path, &json!({}), Repeat::Keyed)
    }

    /// Makes an earlier version active again: by default the parent of the active one.
    ///
    /// # Errors
    /// As [`promote`](Self::promote); a problem `conflict` at version 0.
    pub fn roll_back(&self, version: Option<VersionId>) -> Result<ActiveDocument> {
        let body = match version {
            Some(version) => json!({ "version": version }),
            None => json!({}),
        };
        self.http()
            .post(&self.path("metrics/rollback"), &body, Repeat::Keyed)
    }

    /// Ends a user's own metric, so that the shared one answers them again.
    ///
    /// # Errors
    /// A problem `conflict` where the user has none.
    pub fn clear_user_metric(&self, user: &str) -> Result<ActiveDocument> {
        let body = json!({ "user": user });
        self.http()
            .post(&self.path("metrics/rollback"), &body, Repeat::Keyed)
    }

    /// Deletes a version that nothing needs.
    ///
    /// # Errors
    /// A problem `conflict` for one that is active, the base of another, or in a trial.
    pub fn delete_metric(&self, version: VersionId) -> Result<()> {
        let path = self.path(&format!("metrics/{version}"));
        self.http().delete::<Value>(&path).map(drop)
    }

    /// Compares two versions: their distance, directions and nearest items.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown version.
    pub fn diff(&self, from: VersionId, to: VersionId) -> Result<DifferenceDocument> {
        self.http()
            .get(&self.path(&format!("metrics/{from}/diff/{to}")))
    }

    /// The matrix of a version.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown version.
    pub fn export_metric(&self, version: VersionId) -> Result<MatrixDocument> {
        self.http()
            .get(&self.path(&format!("metrics/{version}/export")))
    }

    /// Stores a matrix, `d` rows of `d` numbers, as a new version, which is not active.
    ///
    /// # Errors
    /// A problem `invalid-input` for one that is no metric of this collection.
    pub fn import_metric(&self, rows: &[Vec<f64>]) -> Result<VersionId> {
        #[derive(Deserialize)]
        struct Imported {
            version: VersionId,
        }
        let body = json!({ "matrix": rows });
        let made: Imported =
            self.http()
                .post(&self.path("metrics/import"), &body, Repeat::Keyed)?;
        Ok(made.version)
    }

    /// How far each refit moved the metric, and alarms.
    ///
    /// # Errors
    /// Those of any call.
    pub fn drift(&self) -> Result<Drift> {
        self.http().get(&self.path("drift"))
    }

    /// The running trial, otherwise the last one; `None` where there was none.
    ///
    /// # Errors
    /// Those of any call.
    pub fn trial(&self) -> Result<Option<Trial>> {
        let state: TrialState = self.http().get(&self.path("trial"))?;
        Ok(state.trial)
    }

    /// A trial of a version against the active one, which is to begin.
    pub fn start_trial(&self, version: VersionId) -> StartTrial {
        StartTrial {
            collection: self.clone(),
            version,
            alpha: None,
        }
    }

    /// Ends the running trial without a decision; `None` where none was running.
    ///
    /// # Errors
    /// Those of any call.
    pub fn end_trial(&self) -> Result<Option<Trial>> {
        let state: TrialState = self.http().delete(&self.path("trial"))?;
        Ok(state.trial)
    }

    /// Answers a query with hits of both metrics of the trial; `signals` tell what was chosen.
    ///
    /// # Errors
    /// A problem `conflict` without a trial; those of a search.
    pub fn trial_search(
        &self,
        asked: &Query,
        k: usize,
        user: Option<&str>,
    ) -> Result<TrialAnswerDocument> {
        let mut body = query(asked)?;
        body["k"] = k.into();
        if let Some(user) = user {
            body["user"] = user.into();
        }
        // Each answer is drawn anew and kept until its clicks come, so this is no mere read.
        self.http()
            .post(&self.path("trial/search"), &body, Repeat::Keyed)
    }
}

/// A trial that is to begin.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct StartTrial {
    collection: Collection,
    version: VersionId,
    alpha: Option<f64>,
}

impl StartTrial {
    /// Sets the largest chance of a wrong decision, above 0 and below 1; 0.05 by default.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = Some(alpha);
        self
    }

    /// Begins it.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown version, `conflict` for one that cannot be tried.
    pub fn run(self) -> Result<Option<Trial>> {
        let mut body = json!({ "version": self.version });
        if let Some(alpha) = self.alpha {
            body["alpha"] = alpha.into();
        }
        let path = self.collection.path("trial");
        let state: TrialState = self.collection.http().post(&path, &body, Repeat::Keyed)?;
        Ok(state.trial)
    }
}
