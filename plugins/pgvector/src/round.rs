//! One listing of candidates: the vector that they are near to, the statement and its settings, and
//! their distances.

use std::collections::HashMap;

use affinis::Result;
use affinis::engine::Versioned;
use ndarray::ArrayView2;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::attached::Attached;
use crate::bias::{Computed, table};
use crate::error::During;
use crate::listing::{Learned, Listing};
use crate::relation::Order;
use crate::search::{MAX_EF, Request};
use crate::server::Connection;

/// Share of the query itself in the vector that candidates are nearest to.
const OWN_SHARE: f64 = 0.75;

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
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) distance: f64,
    pub(crate) meta: Option<Value>,
}

/// What one listing of candidates gave.
pub(crate) struct Round {
    pub(crate) generation: u64,
    /// Number of rows that the server listed.
    pub(crate) listed: usize,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) computed: Vec<Computed>,
}

impl Attached {
    /// Lists candidates once.
    pub(crate) async fn list(
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
