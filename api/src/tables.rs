//! Figures of tables of PostgreSQL.

use affinis::VersionId;
use serde::Serialize;

/// Figures of a collection that is attached to a table, as `stats` gives them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TableStatsDocument {
    /// Number of rows with a vector; about, above 50,000.
    pub items: u64,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Number of judgements.
    pub judgements: usize,
    /// Number of judgements that teach nothing at present.
    pub stale_judgements: usize,
    /// The version that answers everybody.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub active_metric: VersionId,
    /// Candidates that a search for ten hits ranks under it; null where biases are not ready, or
    /// under version 0.
    pub candidates: Option<usize>,
    /// The same where the tenth of them is far away.
    pub far_candidates: Option<usize>,
    /// Seconds by which the server may be behind the one that takes writes; null where it is that
    /// one.
    pub staleness_seconds: Option<f64>,
}

#[cfg(feature = "postgres")]
impl TableStatsDocument {
    /// The figures of a table.
    ///
    /// # Errors
    /// Those of the database.
    pub fn of(table: &affinis_pgvector::Table) -> affinis::Result<Self> {
        let stats = table.stats()?;
        Ok(Self {
            items: stats.items,
            dim: table.dim(),
            judgements: stats.judgements,
            stale_judgements: stats.stale_judgements,
            active_metric: stats.active,
            candidates: stats.candidates,
            far_candidates: stats.far_candidates,
            staleness_seconds: stats.staleness.map(|behind| behind.as_secs_f64()),
        })
    }
}
