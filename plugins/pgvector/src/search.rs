//! Searching: how many candidates are listed, and which of them are the hits.

use std::cmp::Ordering;
use std::time::Instant;

use affinis::engine::Versioned;
use affinis::limits::MAX_K;
use affinis::{Error, ErrorKind, Execution, Filter, Hit, Hits, Result};
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use crate::attached::Attached;
use crate::bias::Computed;
use crate::candidates::K;
use crate::error::{During, is_missing_table, other};
use crate::round::{Candidate, Round};
use crate::server::Connection;
use crate::where_clause::Condition;

/// Largest `hnsw.ef_search` that pgvector takes.
pub(crate) const MAX_EF: usize = 1_000;
/// Largest number of candidates of one search.
const MAX_CANDIDATES: usize = 4 * MAX_K;

/// One search, whose metric is chosen.
pub(crate) struct Request<'a> {
    /// The query as it is searched (`d` numbers).
    pub(crate) vector: &'a [f32],
    pub(crate) k: usize,
    /// The item that is itself the query.
    pub(crate) own: Option<&'a str>,
    pub(crate) filter: Option<&'a (Filter, Condition)>,
    /// Number of candidates; measured where none is given.
    pub(crate) candidates: Option<usize>,
    pub(crate) include_text: bool,
    pub(crate) include_meta: bool,
}

/// An answer, with the generation of the versions when it was given.
pub(crate) struct Answer {
    pub(crate) hits: Hits,
    pub(crate) generation: u64,
    /// Biases that were not there, and were computed.
    pub(crate) computed: Vec<Computed>,
}

impl Attached {
    /// Answers a search under a metric.
    pub(crate) async fn search(
        &self,
        connection: &Connection,
        metric: &Versioned,
        request: &Request<'_>,
    ) -> Result<Answer> {
        let started = Instant::now();
        let (mut wanted, mut farther) = match request.candidates {
            Some(wanted) => (wanted, None),
            None => self.candidates(connection, metric, request.k).await?,
        };
        loop {
            wanted = wanted.clamp(request.k, MAX_CANDIDATES);
            let mut round = self.round(connection, metric, request, wanted).await?;
            let listed = round.listed;
            if let Some((filter, condition)) = request.filter
                && !condition.is_exact
            {
                // The server lists all that pass, and some that do not.
                let mut kept = Vec::with_capacity(round.candidates.len());
                for candidate in round.candidates {
                    let meta = candidate.meta.as_ref().unwrap_or(&Value::Null);
                    if filter.matches(meta)? {
                        kept.push(candidate);
                    }
                }
                round.candidates = kept;
                let is_short = round.candidates.len() < request.k.max(wanted / 2);
                if is_short && listed == wanted && wanted < MAX_CANDIDATES {
                    wanted *= 4;
                    continue;
                }
            }
            round.candidates.sort_by(nearer);
            if let Some((more, from)) = farther.take()
                && more > wanted
                && is_far(&round.candidates, from)
            {
                wanted = more;
                continue;
            }
            round.candidates.truncate(request.k);
            let distance = self.rules.distance;
            let learned = !metric.version.is_built_in();
            let hits = round
                .candidates
                .into_iter()
                .enumerate()
                .map(|(at, candidate)| {
                    let found = candidate.distance.max(if learned { 0.0 } else { f64::MIN }) as f32;
                    Hit::new(candidate.id, found, distance.score(found, learned), at + 1)
                });
            let mut hits: Vec<Hit> = hits.collect();
            self.fill(connection, &mut hits, request).await?;
            let micros = started.elapsed().as_micros() as u64;
            let execution = Execution::by_engine(listed, wanted.clamp(1, MAX_EF), micros);
            return Ok(Answer {
                hits: Hits::new(hits, metric.version, execution),
                generation: round.generation,
                computed: round.computed,
            });
        }
    }

    /// How many candidates are ranked, and how many where the tenth is farther away than a distance.
    async fn candidates(
        &self,
        connection: &Connection,
        metric: &Versioned,
        k: usize,
    ) -> Result<(usize, Option<(usize, f64)>)> {
        if metric.version.is_built_in() {
            return Ok((k, None));
        }
        let ready = self.ready(connection, metric.version).await?;
        let measured = ready.unwrap_or_default();
        if self.relation.orders.is_empty() {
            return Ok((measured.near.max(MAX_EF), None));
        }
        // Measured for ten hits.
        let scaled = |measured: usize| measured.max(measured * k / K).min(measured + K * k);
        let far = (scaled(measured.far), measured.far_from);
        Ok((scaled(measured.near), Some(far)))
    }

    /// Lists candidates once.
    async fn round(
        &self,
        connection: &Connection,
        metric: &Versioned,
        request: &Request<'_>,
        wanted: usize,
    ) -> Result<Round> {
        let is_ready = !metric.version.is_built_in()
            && self.ready(connection, metric.version).await?.is_some();
        let found = self
            .list(connection, metric, request, wanted, is_ready)
            .await;
        match found {
            // Another client dropped the biases of a version that answers no longer.
            Err(error) if is_ready && is_missing_table(&error) => {
                self.ready.clear();
                let is_ready = self.ready(connection, metric.version).await?.is_some();
                self.list(connection, metric, request, wanted, is_ready)
                    .await
            }
            found => found,
        }
    }

    /// The ids of the candidates of a query, as the index lists them.
    pub(crate) async fn candidate_ids(
        &self,
        connection: &Connection,
        metric: &Versioned,
        query: &[f32],
        candidates: usize,
    ) -> Result<Vec<String>> {
        let request = Request {
            vector: query,
            k: candidates,
            own: None,
            filter: None,
            candidates: Some(candidates),
            include_text: false,
            include_meta: false,
        };
        let round = self
            .list(connection, metric, &request, candidates, false)
            .await?;
        Ok(round
            .candidates
            .into_iter()
            .map(|candidate| candidate.id)
            .collect())
    }

    /// Reads the texts and metadata of hits.
    async fn fill(
        &self,
        connection: &Connection,
        hits: &mut [Hit],
        request: &Request<'_>,
    ) -> Result<()> {
        if hits.is_empty() || !(request.include_text || request.include_meta) {
            return Ok(());
        }
        let relation = &self.relation;
        let ids: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
        let meta = relation.meta().filter(|_| request.include_meta);
        let sql = format!(
            "SELECT {id}::text, {text}, {meta} FROM {table} WHERE {id} = ANY({ids})",
            id = relation.id(),
            text = if request.include_text {
                relation.text()
            } else {
                "NULL::text".to_owned()
            },
            meta = meta.map_or_else(|| "NULL::text".to_owned(), |meta| format!("{meta}::text")),
            table = relation.table(),
            ids = relation.as_ids("$1"),
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&ids, Type::TEXT_ARRAY)];
        let rows = connection
            .query_typed(&sql, &parameters)
            .await
            .during("texts cannot be read")?;
        for row in &rows {
            let id: &str = row.get(0);
            if let Some(hit) = hits.iter_mut().find(|hit| hit.id == id) {
                hit.text = row.get(1);
                let meta: Option<&str> = row.get(2);
                hit.meta = meta.and_then(|meta| serde_json::from_str(meta).ok());
            }
        }
        Ok(())
    }
}

/// Whether the tenth of some candidates, in order, is farther away than a distance.
fn is_far(candidates: &[Candidate], from: f64) -> bool {
    let tenth = candidates.iter().take(K).next_back();
    tenth.is_some_and(|tenth| tenth.distance > from)
}

/// By distance, ties by id.
fn nearer(a: &Candidate, b: &Candidate) -> Ordering {
    a.distance
        .total_cmp(&b.distance)
        .then_with(|| a.id.cmp(&b.id))
}

/// Checks the number of hits.
pub(crate) fn check_k(k: usize) -> Result<()> {
    if (1..=MAX_K).contains(&k) {
        return Ok(());
    }
    Err(Error::InvalidQuery(format!(
        "k is {k}, not between 1 and {MAX_K}"
    )))
}

/// The refusal of a filter on a table without metadata.
pub(crate) fn no_metadata() -> Error {
    other(
        "the filter cannot be answered",
        ErrorKind::InvalidInput,
        "the table was attached without a column of metadata",
    )
}
