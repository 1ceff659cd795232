//! Reading a table from its first row to its last, in pages of bounded size.

use std::cmp::Ordering;

use affinis::Result;
use affinis::engine::{VectorRules, Versioned};
use bytes::Bytes;
use futures_util::StreamExt;
use ndarray::Array2;
use pgvector::{HalfVector, Vector};
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::{FromSql, Type};

use crate::attached::Attached;
use crate::error::{During, other};
use crate::relation::Order;
use crate::schema::literal;
use crate::server::Transaction;

/// Most numbers of vectors in a page: 16 MiB of them.
const PAGE_NUMBERS: usize = 1 << 22;

/// Rows of a table in the order of their ids.
pub(crate) struct Page {
    pub(crate) ids: Vec<String>,
    /// Vectors as they are searched (`n x d`).
    pub(crate) vectors: Array2<f32>,
    /// Minus the inner products of the stored vectors with the probe, by the server.
    pub(crate) marks: Vec<f64>,
    /// The id after which the next page begins; `None` after the last page.
    pub(crate) next: Option<String>,
}

/// The numbers of a vector in its binary form.
struct Numbers(Vec<f32>);

impl<'a> FromSql<'a> for Numbers {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        // Both begin with the number of dimensions; what follows is two or four bytes for each.
        let dim = raw
            .first_chunk::<2>()
            .map_or(0, |bytes| u16::from_be_bytes(*bytes));
        if raw.len() == 4 + 2 * usize::from(dim) {
            let halves = HalfVector::from_sql(ty, raw)?.to_vec();
            return Ok(Self(halves.into_iter().map(f32::from).collect()));
        }
        Ok(Self(Vector::from_sql(ty, raw)?.to_vec()))
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }
}

impl Attached {
    /// The page of rows after an id, from the beginning where none is given. Rows without a vector,
    /// or with one that cannot be searched, are left out. A transaction, because COPY is a named
    /// statement, and a pool may give the next one another connection.
    pub(crate) async fn page(
        &self,
        transaction: &Transaction,
        after: Option<&str>,
    ) -> Result<Page> {
        let connection = transaction.connection()?;
        let relation = &self.relation;
        let (id, vector) = (relation.id(), relation.vector());
        let limit = (PAGE_NUMBERS / self.rules.dim).max(1);
        let after = after.map_or_else(String::new, |after| {
            format!(" AND t.{id} > {}", relation.as_id(&literal(after)))
        });
        let probe = relation.as_vector(&literal(&array_text(&self.probe)));
        // Without the name of the table the order would be that of the text, which has the column's
        // name too.
        let copy = format!(
            "COPY (SELECT t.{id}::text, t.{vector}, (t.{vector} {} {probe})::float8 FROM {} t \
             WHERE t.{vector} IS NOT NULL{after} ORDER BY t.{id} LIMIT {limit}) TO STDOUT (FORMAT binary)",
            relation.operator(Order::InnerProduct),
            relation.table(),
        );
        let during = "the table cannot be read";
        let stream = connection.copy_out(&copy).await.during(during)?;
        let rows = BinaryCopyOutStream::new(stream, &[Type::TEXT, Type::BYTEA, Type::FLOAT8]);
        let mut rows = std::pin::pin!(rows);
        let (mut ids, mut marks, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        let (mut last, mut read) = (None, 0);
        while let Some(row) = rows.next().await {
            let row = row.during(during)?;
            let id: String = row.try_get(0).during(during)?;
            let Numbers(stored) = row.try_get(1).during(during)?;
            if let Ok(prepared) = self.rules.prepare_query(stored) {
                numbers.extend(prepared);
                marks.push(row.try_get(2).during(during)?);
                ids.push(id.clone());
            }
            last = Some(id);
            read += 1;
        }
        let vectors = Array2::from_shape_vec((ids.len(), self.rules.dim), numbers)
            .map_err(|error| other(during, affinis::ErrorKind::Internal, error.to_string()))?;
        Ok(Page {
            ids,
            vectors,
            marks,
            next: last.filter(|_| read == limit),
        })
    }

    /// Writes lines of `id`, numbers to a table by COPY.
    pub(crate) async fn copy_in(
        &self,
        transaction: &Transaction,
        table: &str,
        lines: String,
    ) -> Result<()> {
        let connection = transaction.connection()?;
        let during = "biases cannot be written";
        let copy = format!("COPY {table} FROM STDIN");
        let sink = connection.copy_in::<_, Bytes>(&copy).await.during(during)?;
        let mut sink = std::pin::pin!(sink);
        futures_util::SinkExt::send(&mut sink, Bytes::from(lines))
            .await
            .during(during)?;
        sink.finish().await.during(during)?;
        Ok(())
    }

    /// The nearest items of queries by comparison with every item.
    pub(crate) async fn nearest_exactly(&self, mut nearest: Nearest) -> Result<Vec<Found>> {
        let mut after = None;
        loop {
            let transaction = self.postgres.begin().await?;
            let page = self.page(&transaction, after.as_deref()).await?;
            transaction.commit().await?;
            nearest.visit(&page);
            after = page.next;
            if after.is_none() {
                return Ok(nearest.into_found());
            }
        }
    }
}

/// Numbers as the text of an array.
pub(crate) fn array_text(numbers: &[f32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

/// An id in the text form of COPY.
pub(crate) fn copy_text(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for c in id.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
    text
}

/// The nearest items of a query, nearest first, with their distances without the query's own term.
pub(crate) type Found = Vec<(f32, String)>;

/// The nearest items of some queries, among those that were visited.
pub(crate) struct Nearest {
    metric: Versioned,
    /// Directions of the rewritten queries as columns (`d x m`).
    directions: Array2<f32>,
    k: usize,
    /// For each query its nearest items so far, the nearest first.
    found: Vec<Found>,
}

impl Nearest {
    /// The `k` nearest items of queries (`d` numbers each, as they are searched) under a metric.
    pub(crate) fn new(
        metric: &Versioned,
        queries: &[Vec<f32>],
        k: usize,
        rules: VectorRules,
    ) -> Self {
        let mut directions = Array2::zeros((rules.dim, queries.len()));
        for (mut column, query) in directions.columns_mut().into_iter().zip(queries) {
            let rewritten = metric.metric.rewrite(query);
            column
                .iter_mut()
                .zip(rewritten.direction)
                .for_each(|(to, x)| *to = x);
        }
        Self {
            metric: metric.clone(),
            directions,
            k,
            found: vec![Vec::new(); queries.len()],
        }
    }

    /// Compares the rows of a page. Gives their biases.
    pub(crate) fn visit(&mut self, page: &Page) -> Vec<f32> {
        let mut biases = vec![0.0; page.ids.len()];
        self.metric.metric.biases(page.vectors.view(), &mut biases);
        let products = page.vectors.dot(&self.directions);
        for (query, found) in self.found.iter_mut().enumerate() {
            let bound = if found.len() < self.k {
                f32::INFINITY
            } else {
                found
                    .last()
                    .map_or(f32::INFINITY, |(distance, _)| *distance)
            };
            for (row, bias) in biases.iter().enumerate() {
                // The query's own term is the same for all of them.
                let distance = bias - 2.0 * products[[row, query]];
                if distance <= bound {
                    found.push((distance, page.ids[row].clone()));
                }
            }
            found.sort_by(nearer);
            found.truncate(self.k);
        }
        biases
    }

    /// The nearest items of each query.
    pub(crate) fn into_found(self) -> Vec<Found> {
        self.found
    }
}

/// By distance, ties by id.
fn nearer(a: &(f32, String), b: &(f32, String)) -> Ordering {
    a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1))
}
