//! Searching: candidates by the server's index, ranked under the metric.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Instant;

use affinis::engine::Versioned;
use affinis::limits::MAX_K;
use affinis::{Error, ErrorKind, Execution, Filter, Hit, Hits, Result};
use ndarray::ArrayView2;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::attached::Attached;
use crate::bias::{Computed, table};
use crate::candidates::K;
use crate::error::{During, is_missing_table, other};
use crate::listing::{Learned, Listing};
use crate::relation::Order;
use crate::server::Connection;
use crate::where_clause::Condition;

/// Largest `hnsw.ef_search` that pgvector takes.
const MAX_EF: usize = 1_000;
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

/// Parameters of a statement in the order of their numbers.
#[derive(Default)]
pub(crate) struct Parameters<'a>(Vec<(&'a (dyn ToSql + Sync), Type)>);

impl<'a> Parameters<'a> {
    /// Adds a parameter; gives its name in the statement.
    pub(crate) fn add(&mut self, value: &'a (dyn ToSql + Sync), of_type: Type) -> String {
        self.0.push((value, of_type));
        format!("${}", self.0.len())
    }
}

/// An item that may be a hit.
struct Candidate {
    id: String,
    distance: f64,
    meta: Option<Value>,
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

    async fn list(
        &self,
        connection: &Connection,
        metric: &Versioned,
        request: &Request<'_>,
        wanted: usize,
        is_ready: bool,
    ) -> Result<Round> {
        let relation = &self.relation;
        let learned = !metric.version.is_built_in();
        let rewritten = metric.metric.rewrite(request.vector);
        let norm = length(&rewritten.direction);
        let order = if learned {
            relation.candidate_order(self.rules.distance)
        } else {
            Order::of(self.rules.distance)
        };
        let target = if !learned {
            request.vector.to_vec()
        } else if order == Order::of(self.rules.distance) {
            between(request.vector, &rewritten.direction)
        } else {
            // In the order of another distance what is near to the query itself says nothing.
            rewritten.direction.clone()
        };
        let mut parameters = Parameters::default();
        let target_name = parameters.add(&target, Type::FLOAT4_ARRAY);
        let (id, vector) = (relation.id(), relation.vector());
        let mut conditions = vec![format!("{vector} IS NOT NULL")];
        let own = request.own.filter(|own| relation.can_be_id(own));
        if let Some(own) = &own {
            let own = relation.as_id(&parameters.add(own, Type::TEXT));
            conditions.push(format!("{id} <> {own}"));
        }
        if let Some((_, condition)) = request.filter {
            conditions.push(condition.sql(&mut parameters));
        }
        let meta = relation
            .meta()
            .filter(|_| request.filter.is_some_and(|(_, c)| !c.is_exact));
        let listing = Listing {
            relation,
            distance: self.rules.distance,
            conditions: conditions.join(" AND "),
            meta: meta.map_or_else(|| "NULL::text".to_owned(), |meta| format!("{meta}::text")),
            target: target_name,
            order,
            limit: wanted,
        };
        let sql = if learned {
            let probe = parameters.add(&self.probe, Type::FLOAT4_ARRAY);
            let side = is_ready.then(|| table(self.collection, metric.version));
            let direction = parameters.add(&rewritten.direction, Type::FLOAT4_ARRAY);
            listing.learned(&Learned {
                direction: &direction,
                norm,
                probe: &probe,
                side: side.as_deref(),
            })
        } else {
            listing.plain()
        };
        let (generation, rows) = self
            .run(connection, &sql, &parameters, wanted, request)
            .await?;
        let mut round = Round {
            generation,
            listed: rows.len(),
            candidates: Vec::with_capacity(rows.len()),
            computed: Vec::new(),
        };
        let asked = Asked {
            metric,
            offset: rewritten.offset,
            norm,
            order,
            is_ready,
        };
        let elsewhere = self.elsewhere(connection, metric, &rows).await?;
        for row in &rows {
            let candidate = self.candidate(&asked, row, &elsewhere, &mut round.computed);
            round.candidates.extend(candidate);
        }
        Ok(round)
    }

    /// The vectors of listed rows that have no bias and lie on another server.
    async fn elsewhere(
        &self,
        connection: &Connection,
        metric: &Versioned,
        rows: &[Row],
    ) -> Result<HashMap<String, Vec<f32>>> {
        if metric.version.is_built_in() || self.relation.parts.is_empty() {
            return Ok(HashMap::new());
        }
        let without = rows
            .iter()
            .filter(|row| row.get::<_, Option<Vec<f32>>>(5).is_some());
        let ids: Vec<String> = without.map(|row| row.get(0)).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let contents = self.contents(connection, &ids).await?;
        Ok(contents
            .into_iter()
            .map(|(id, content)| (id, content.vector))
            .collect())
    }

    /// The item of a row that was listed; `None` for one that cannot be searched.
    fn candidate(
        &self,
        asked: &Asked<'_>,
        row: &Row,
        elsewhere: &HashMap<String, Vec<f32>>,
        computed: &mut Vec<Computed>,
    ) -> Option<Candidate> {
        let id: String = row.get(0);
        let found: f64 = row.get(1);
        let meta: Option<&str> = row.get(2);
        let distance = if asked.metric.version.is_built_in() {
            match asked.order {
                Order::Euclid => found * found,
                Order::Cosine => 2.0 * found,
                Order::InnerProduct => found,
            }
        } else {
            let product = match self.rules.distance {
                // One minus the cosine; the item's vector counts as one of unit length.
                affinis::Distance::Cosine => (1.0 - found) * asked.norm,
                _ => -found,
            };
            let numbers: Option<Vec<f32>> = row.get(5);
            let bias = match numbers {
                None => row.get::<_, Option<f32>>(4)?,
                Some(mut numbers) => {
                    if numbers.is_empty() {
                        numbers.clone_from(elsewhere.get(&id)?);
                    }
                    let bias = self.bias_of(asked.metric, numbers)?;
                    if asked.is_ready {
                        let (id, mark) = (id.clone(), row.get(3));
                        computed.push(Computed { id, bias, mark });
                    }
                    bias
                }
            };
            f64::from(asked.offset) - 2.0 * product + f64::from(bias)
        };
        let meta = meta.map(serde_json::from_str).transpose();
        // A vector without a direction, in a table whose vectors are compared by theirs, has none.
        (!distance.is_nan()).then_some(Candidate {
            id,
            distance,
            meta: meta.unwrap_or_default(),
        })
    }

    /// Runs a statement in a transaction of its own with the settings of a search, all in one
    /// exchange with the server. Gives the generation of the versions, and the rows.
    async fn run(
        &self,
        connection: &Connection,
        sql: &str,
        parameters: &Parameters<'_>,
        wanted: usize,
        request: &Request<'_>,
    ) -> Result<(u64, Vec<Row>)> {
        let during = "the search failed";
        let width = wanted.clamp(1, MAX_EF);
        let mut begin = format!(
            "BEGIN READ ONLY; SELECT set_config('hnsw.ef_search', \
             greatest(coalesce(nullif(current_setting('hnsw.ef_search', true), ''), '40')::int, {width})::text, true)"
        );
        if request.filter.is_some() || request.own.is_some() || wanted > MAX_EF {
            begin.push_str(
                "; SET LOCAL hnsw.iterative_scan = relaxed_order; SET LOCAL ivfflat.iterative_scan = relaxed_order",
            );
        }
        let of: [(&(dyn ToSql + Sync), Type); 1] = [(&self.collection, Type::INT4)];
        let generation = "SELECT generation FROM affinis.collections WHERE id = $1";
        let (begun, generation, rows, ended) = futures_util::join!(
            connection.batch_execute(&begin),
            connection.query_typed(generation, &of),
            connection.query_typed(sql, &parameters.0),
            connection.batch_execute("COMMIT"),
        );
        let outcome = begun
            .and(generation)
            .and_then(|generation| Ok((generation, rows?)));
        if outcome.is_err() && ended.is_err() {
            // Only where the connection is gone, and the transaction with it.
            let _ = connection.batch_execute("ROLLBACK").await;
        }
        let (generation, rows) = outcome.during(during)?;
        let generation = generation.first().map_or(0, |row| row.get::<_, i64>(0));
        Ok((generation.cast_unsigned(), rows))
    }

    /// The bias of a stored vector; `None` for one that cannot be searched.
    fn bias_of(&self, metric: &Versioned, numbers: Vec<f32>) -> Option<f32> {
        let prepared = self.rules.prepare_query(numbers).ok()?;
        let mut bias = [0.0];
        let view = ArrayView2::from_shape((1, prepared.len()), &prepared).ok()?;
        metric.metric.biases(view, &mut bias);
        Some(bias[0])
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

/// Share of the query itself in the vector that candidates are nearest to.
const OWN_SHARE: f64 = 0.75;

/// The vector that candidates of a learned metric are nearest to, in the order of the index.
///
/// With the rewritten query `Aq` alone the index would order by `<Aq, x>` and leave out the bias `x .
/// Ax`, which for items near the query undoes the pull of `Aq` along the strong directions of `A`.
/// With the query alone it would order by the table's own distance, which knows nothing of `A`. Of
/// unit vectors, near the query, the error of the first is linear in `x - q` and that of the second
/// quadratic, so that the mixture leans to the query.
fn between(query: &[f32], rewritten: &[f32]) -> Vec<f32> {
    let (own, other) = (length(query), length(rewritten));
    if own == 0.0 || other == 0.0 {
        return rewritten.to_vec();
    }
    let scale = (1.0 - OWN_SHARE) * own / other;
    let mixed = query.iter().zip(rewritten);
    mixed
        .map(|(q, r)| (OWN_SHARE * f64::from(*q) + scale * f64::from(*r)) as f32)
        .collect()
}

/// The Euclidean length of a vector.
fn length(vector: &[f32]) -> f64 {
    let square: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
    square.sqrt()
}

/// What the rows of a listing are read by.
struct Asked<'a> {
    metric: &'a Versioned,
    /// The query's own term under a learned metric.
    offset: f32,
    /// Length of the rewritten query.
    norm: f64,
    order: Order,
    is_ready: bool,
}

/// What one listing of candidates gave.
struct Round {
    generation: u64,
    /// Number of rows that the server listed.
    listed: usize,
    candidates: Vec<Candidate>,
    computed: Vec<Computed>,
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
