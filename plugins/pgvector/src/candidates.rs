//! How many candidates of the server's index are ranked, so that the promised recall is kept.

use affinis::Result;
use affinis::engine::Versioned;
use tokio_postgres::types::Type;

use crate::attached::Attached;
use crate::error::During;
use crate::scan::Found;
use crate::schema::Parameter;
use crate::server::Connection;

/// Candidates that are ranked for a search where nothing was measured.
const DEFAULT_CANDIDATES: usize = 200;
/// Recall that is promised.
const PROMISED_RECALL: f64 = 0.95;
/// Recall that is measured, at which the promise is kept for other queries.
const MEASURED_RECALL: f64 = 0.97;
/// The same of far questions, of which those that come differ more from those that were measured.
const MEASURED_FAR: f64 = 0.985;
/// Hits whose recall is measured.
pub(crate) const K: usize = 10;
/// Share of the measured items and judged queries that count as near to items.
const NEAR: f64 = 0.9;
/// Numbers of candidates that are tried.
const TRIED: [usize; 11] = [40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1_000];
/// Items that are asked as queries, to measure recall, and of which questions are made.
pub(crate) const ITEMS_ASKED: usize = 48;
/// Far questions that are asked.
pub(crate) const FAR_ASKED: usize = 24;
/// Judged queries that are asked.
const JUDGED_ASKED: i64 = 48;

/// How many candidates a search for ten hits ranks under a version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidates {
    pub(crate) near: usize,
    /// Where the tenth nearest of these is farther away than `far_from`, as of questions of a word or
    /// two, which the index answers worse.
    pub(crate) far: usize,
    pub(crate) far_from: f64,
}

/// Queries on which it is measured, as they are searched.
pub(crate) struct Measured {
    /// Items.
    pub(crate) items: Vec<Vec<f32>>,
    /// Questions that are far from all items.
    pub(crate) far: Vec<Vec<f32>>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            near: DEFAULT_CANDIDATES,
            far: DEFAULT_CANDIDATES,
            far_from: f64::INFINITY,
        }
    }
}

impl Attached {
    /// Texts and vectors that were judged, as queries.
    pub(crate) async fn judged(&self) -> Result<Vec<Vec<f32>>> {
        let sql = "SELECT vector FROM affinis.queries WHERE collection = $1 ORDER BY hash LIMIT $2";
        let parameters: [Parameter<'_>; 2] =
            [(&self.collection, Type::INT4), (&JUDGED_ASKED, Type::INT8)];
        let connection = self.postgres.connection().await?;
        let rows = connection
            .query_typed(sql, &parameters)
            .await
            .during("judged queries cannot be read")?;
        let judged = rows.iter().map(|row| crate::ledger::numbers(row.get(0)));
        Ok(judged
            .filter_map(|vector| self.rules.prepare_query(vector).ok())
            .collect())
    }

    /// Measures for queries near to items, and for those that are far from them. `exact` has the
    /// nearest items of the ones and then of the others.
    pub(crate) async fn measure_all(
        &self,
        connection: &Connection,
        metric: &Versioned,
        (near, far): (&[Vec<f32>], &[Vec<f32>]),
        exact: &[Found],
    ) -> Result<Candidates> {
        let (of_near, of_far) = exact.split_at(near.len());
        let least = TRIED[0];
        let of_items = self
            .measure(connection, metric, (near, of_near), MEASURED_RECALL, least)
            .await?;
        let mut candidates = Candidates {
            near: of_items,
            far: of_items,
            far_from: f64::INFINITY,
        };
        if far.is_empty() || near.is_empty() {
            return Ok(candidates);
        }
        candidates.far = self
            .measure(connection, metric, (far, of_far), MEASURED_FAR, of_items)
            .await?;
        let last = |(query, found): (&Vec<f32>, &Found)| {
            let own = metric.metric.rewrite(query).offset;
            found.last().map(|(distance, _)| f64::from(own + distance))
        };
        let mut distances: Vec<f64> = near.iter().zip(of_near).filter_map(last).collect();
        distances.sort_by(f64::total_cmp);
        let at = (NEAR * distances.len() as f64) as usize;
        if let Some(from) = distances.get(at) {
            candidates.far_from = *from;
        }
        Ok(candidates)
    }

    /// The least number of candidates, from so many on, among which enough of the nearest items are.
    async fn measure(
        &self,
        connection: &Connection,
        metric: &Versioned,
        (queries, exact): (&[Vec<f32>], &[Found]),
        recall: f64,
        least: usize,
    ) -> Result<usize> {
        let wanted: usize = exact.iter().map(Vec::len).sum();
        let may_miss = wanted - (recall * wanted as f64).ceil() as usize;
        'tried: for candidates in TRIED.into_iter().filter(|tried| *tried >= least) {
            let mut missed = 0;
            for (query, exact) in queries.iter().zip(exact) {
                let listed = self
                    .candidate_ids(connection, metric, query, candidates)
                    .await?;
                missed += exact.iter().filter(|(_, id)| !listed.contains(id)).count();
                if missed > may_miss {
                    // The other queries cannot make up for it.
                    continue 'tried;
                }
            }
            return Ok(candidates);
        }
        tracing::warn!(
            collection = self.name,
            version = %metric.version,
            "the index of the table does not find {PROMISED_RECALL} of the nearest items among {} candidates",
            TRIED[TRIED.len() - 1]
        );
        Ok(TRIED[TRIED.len() - 1])
    }
}
