//! The biases of versions: one side table a version, which is filled before the version answers.
//!
//! A bias is never written into a row of the user's table, whose vector indexes would take that row
//! in again. Beside it stands the mark of the vector that it is of, so that a bias of a vector that
//! was replaced is not believed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use affinis::engine::Versioned;
use affinis::{Result, VersionId};
use tokio_postgres::types::Type;

use crate::attached::Attached;
use crate::candidates::{Candidates, K, Measured};
use crate::error::During;
use crate::relation::Order;
use crate::scan::{Nearest, copy_text};
use crate::schema::{LOCKS, Parameter, identifier};
use crate::server::{Connection, Transaction};

/// First key of the lock under which the side tables of a collection change; the second is the
/// collection's number.
pub(crate) const LOCK: i32 = LOCKS + 1;
/// Versions whose biases stay beside those of the active one and of the newest.
const KEPT: i64 = 3;
/// What is known of the biases of versions: of those that were looked up since the versions
/// changed.
#[derive(Default)]
pub(crate) struct Ready(Mutex<HashMap<VersionId, Biases>>);

/// Whether the biases of a version are there.
#[derive(Debug, Clone, Copy)]
enum Biases {
    Missing,
    /// They are.
    Ready(Candidates),
}

impl Ready {
    fn get(&self, version: VersionId) -> Option<Biases> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&version).copied()
    }

    fn set(&self, version: VersionId, candidates: Option<Candidates>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(version, candidates.map_or(Biases::Missing, Biases::Ready));
    }

    /// Forgets all that was looked up.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// The side table of a version.
pub(crate) fn table(collection: i32, version: VersionId) -> String {
    format!(
        "affinis.{}",
        identifier(&format!("bias_{collection}_{version}"))
    )
}

impl Attached {
    /// How many candidates searches under a version rank, where its biases are ready; `None` where
    /// distances are computed from the vectors.
    pub(crate) async fn ready(
        &self,
        connection: &Connection,
        version: VersionId,
    ) -> Result<Option<Candidates>> {
        match self.ready.get(version) {
            Some(Biases::Ready(candidates)) => return Ok(Some(candidates)),
            Some(Biases::Missing) => return Ok(None),
            None => {}
        }
        let sql = "SELECT candidates, far_candidates, far_from FROM affinis.biases WHERE collection = $1 AND version = $2 AND done";
        let number = i64::from(version.0);
        let parameters: [Parameter<'_>; 2] =
            [(&self.collection, Type::INT4), (&number, Type::INT8)];
        let rows = connection
            .query_typed(sql, &parameters)
            .await
            .during("the biases of a version cannot be looked up")?;
        let candidates = rows.first().map(|row| {
            let other = Candidates::default();
            let number = |at| row.get::<_, Option<i32>>(at).map(|n| n.max(1) as usize);
            let near = number(0).unwrap_or(other.near);
            Candidates {
                near,
                far: number(1).unwrap_or(near),
                far_from: row.get::<_, Option<f64>>(2).unwrap_or(other.far_from),
            }
        });
        self.ready.set(version, candidates);
        Ok(candidates)
    }

    /// Begins a transaction in which no other client changes the side tables of the collection.
    async fn begin_biases(&self) -> Result<Transaction> {
        let transaction = self.postgres.begin().await?;
        let lock = format!("SELECT pg_advisory_xact_lock({LOCK}, {})", self.collection);
        let locked = transaction.connection()?.batch_execute(&lock).await;
        locked.during("the lock of the biases cannot be taken")?;
        Ok(transaction)
    }

    /// Whether the side table of a version is filled, asked of the server, for another client may
    /// have dropped it.
    pub(crate) async fn is_prepared(&self, version: VersionId) -> Result<bool> {
        self.ready.clear();
        let connection = self.postgres.connection().await?;
        Ok(self.ready(&connection, version).await?.is_some())
    }

    /// Fills the side table of a stored version from where a preparation before stopped, and
    /// measures how many candidates the promised recall needs: for items and judged queries, and for
    /// questions that are `far` from all items.
    pub(crate) async fn prepare(&self, metric: &Versioned, measured: Measured) -> Result<()> {
        let Measured { items, far } = measured;
        let mut queries = items;
        queries.extend(self.judged().await?);
        let near = queries.len();
        queries.extend(far);
        let mut nearest = Some(Nearest::new(metric, &queries, K, self.rules));
        let mut expected = 0;
        let exact = loop {
            match self.prepare_page(metric, nearest.take(), expected).await? {
                Step::Done => return Ok(()),
                Step::Page(visited) => {
                    nearest = visited;
                    expected += 1;
                }
                Step::Last(visited) => break visited.map(Nearest::into_found),
            }
        };
        let exact = if let Some(exact) = exact {
            exact
        } else {
            let nearest = Nearest::new(metric, &queries, K, self.rules);
            self.nearest_exactly(nearest).await?
        };
        let connection = self.postgres.connection().await?;
        let candidates = self
            .measure_all(&connection, metric, queries.split_at(near), &exact)
            .await?;
        let sql = "UPDATE affinis.biases SET done = true, candidates = $3, far_candidates = $4, far_from = $5 \
            WHERE collection = $1 AND version = $2";
        let number = i64::from(metric.version.0);
        let far_from = Some(candidates.far_from).filter(|from| from.is_finite());
        let (near, far) = (candidates.near as i32, candidates.far as i32);
        let parameters: [Parameter<'_>; 5] = [
            (&self.collection, Type::INT4),
            (&number, Type::INT8),
            (&near, Type::INT4),
            (&far, Type::INT4),
            (&far_from, Type::FLOAT8),
        ];
        connection
            .execute_typed(sql, &parameters)
            .await
            .during("the biases cannot be written")?;
        self.ready.clear();
        self.drop_older(metric.version).await
    }

    /// Drops the side tables of versions that are neither active, nor the one given, nor among the
    /// newest others.
    async fn drop_older(&self, version: VersionId) -> Result<()> {
        let during = "biases of old versions cannot be removed";
        let transaction = self.begin_biases().await?;
        let connection = transaction.connection()?;
        let sql = "DELETE FROM affinis.biases WHERE collection = $1 AND version IN
            (SELECT b.version FROM affinis.biases b JOIN affinis.collections c ON c.id = b.collection
             WHERE b.collection = $1 AND b.version <> $2 AND b.version <> c.active
             ORDER BY b.version DESC OFFSET $3) RETURNING version";
        let number = i64::from(version.0);
        let parameters: [Parameter<'_>; 3] = [
            (&self.collection, Type::INT4),
            (&number, Type::INT8),
            (&KEPT, Type::INT8),
        ];
        let dropped = connection
            .query_typed(sql, &parameters)
            .await
            .during(during)?;
        for row in dropped {
            let version = VersionId(u32::try_from(row.get::<_, i64>(0)).unwrap_or_default());
            let drop = format!("DROP TABLE IF EXISTS {}", table(self.collection, version));
            connection.batch_execute(&drop).await.during(during)?;
        }
        transaction.commit().await
    }

    /// Writes the biases of the next page, together with how far they are. `nearest` visits the page
    /// where it has visited all pages before it, `visited` in number.
    async fn prepare_page(
        &self,
        metric: &Versioned,
        nearest: Option<Nearest>,
        visited: usize,
    ) -> Result<Step> {
        let during = "the biases of a version cannot be written";
        // One client prepares at a time; another one goes on where it stopped.
        let transaction = self.begin_biases().await?;
        let connection = transaction.connection()?;
        let number = i64::from(metric.version.0);
        let of: [Parameter<'_>; 2] = [(&self.collection, Type::INT4), (&number, Type::INT8)];
        let find =
            "SELECT upto, done, pages FROM affinis.biases WHERE collection = $1 AND version = $2";
        let rows = connection.query_typed(find, &of).await.during(during)?;
        let (upto, pages) = match rows.first() {
            Some(row) if row.get(1) => return Ok(Step::Done),
            Some(row) => (
                row.get::<_, Option<String>>(0),
                row.get::<_, i32>(2) as usize,
            ),
            None => {
                let create = format!(
                    "DROP TABLE IF EXISTS {table}; \
                     CREATE TABLE {table} (id {} PRIMARY KEY, bias real NOT NULL, mark float8 NOT NULL)",
                    self.relation.id_type_name(),
                    table = table(self.collection, metric.version),
                );
                connection.batch_execute(&create).await.during(during)?;
                let insert = "INSERT INTO affinis.biases (collection, version) VALUES ($1, $2)";
                connection.execute_typed(insert, &of).await.during(during)?;
                self.write_matrix(&transaction, metric).await?;
                (None, 0)
            }
        };
        if pages > 0 && upto.is_none() {
            // All pages are there, and what was to follow them was not done.
            return Ok(Step::Last(None));
        }
        let page = self.page(&transaction, upto.as_deref()).await?;
        let mut nearest = nearest.filter(|_| pages == visited);
        let biases = if let Some(nearest) = &mut nearest {
            nearest.visit(&page)
        } else {
            let mut biases = vec![0.0; page.ids.len()];
            metric.metric.biases(page.vectors.view(), &mut biases);
            biases
        };
        let mut lines = String::new();
        for ((id, bias), mark) in page.ids.iter().zip(&biases).zip(&page.marks) {
            // A write to a string does not fail.
            let _ = writeln!(lines, "{}\t{bias}\t{mark}", copy_text(id));
        }
        self.copy_in(&transaction, &table(self.collection, metric.version), lines)
            .await?;
        let update = "UPDATE affinis.biases SET upto = $3, pages = pages + 1 WHERE collection = $1 AND version = $2";
        let upto: Parameter<'_> = (&page.next, Type::TEXT);
        let [collection, version] = of;
        connection
            .execute_typed(update, &[collection, version, upto])
            .await
            .during(during)?;
        transaction.commit().await?;
        Ok(if page.next.is_some() {
            Step::Page(nearest)
        } else {
            Step::Last(nearest)
        })
    }

    /// Writes biases that a search computed, for those that come after it. One that cannot be
    /// written is computed again.
    pub(crate) async fn keep_biases(
        &self,
        version: VersionId,
        computed: Vec<Computed>,
    ) -> Result<()> {
        let connection = self.postgres.connection().await?;
        let relation = &self.relation;
        // From the row itself, which may have changed meanwhile: only what still has the mark of the
        // vector that was read.
        let sql = format!(
            "INSERT INTO {table} SELECT t.{id}, new.bias, new.mark \
             FROM unnest({ids}, $2::real[], $3::float8[]) AS new (id, bias, mark) \
             JOIN {rows} t ON t.{id} = new.id WHERE t.{id} = ANY({ids}) AND (t.{vector} {operator} {probe}) = new.mark \
             ON CONFLICT (id) DO UPDATE SET bias = EXCLUDED.bias, mark = EXCLUDED.mark",
            table = table(self.collection, version),
            id = relation.id(),
            ids = relation.as_ids("$1"),
            rows = relation.table(),
            vector = relation.vector(),
            operator = relation.operator(Order::InnerProduct),
            probe = relation.as_vector("$4"),
        );
        let ids: Vec<&str> = computed.iter().map(|of| of.id.as_str()).collect();
        let biases: Vec<f32> = computed.iter().map(|of| of.bias).collect();
        let marks: Vec<f64> = computed.iter().map(|of| of.mark).collect();
        let parameters: [Parameter<'_>; 4] = [
            (&ids, Type::TEXT_ARRAY),
            (&biases, Type::FLOAT4_ARRAY),
            (&marks, Type::FLOAT8_ARRAY),
            (&self.probe, Type::FLOAT4_ARRAY),
        ];
        connection
            .execute_typed(&sql, &parameters)
            .await
            .during("biases cannot be kept")?;
        Ok(())
    }

    /// Removes the biases of rows that went, and the side tables of versions that are neither active
    /// nor to be kept. Gives the number of biases removed.
    pub(crate) async fn sweep(&self, keep: Vec<VersionId>) -> Result<u64> {
        let during = "biases of rows that went cannot be removed";
        // Listed under the lock: until then other clients drop side tables, and promote versions.
        let transaction = self.begin_biases().await?;
        let connection = transaction.connection()?;
        let versions = "SELECT b.version, b.version = c.active FROM affinis.biases b
            JOIN affinis.collections c ON c.id = b.collection WHERE b.collection = $1";
        let of: Parameter<'_> = (&self.collection, Type::INT4);
        let rows = connection
            .query_typed(versions, &[of])
            .await
            .during(during)?;
        let mut removed = 0;
        for row in rows {
            let number: i64 = row.get(0);
            let version = VersionId(u32::try_from(number).unwrap_or_default());
            let table = table(self.collection, version);
            if row.get(1) || keep.contains(&version) {
                // Where the role does not see all rows, one that it does not see has not gone.
                let sql = format!(
                    "DELETE FROM {table} b WHERE NOT row_security_active({name}::regclass) \
                     AND NOT EXISTS (SELECT 1 FROM {rows} t WHERE t.{id} = b.id)",
                    name = crate::schema::literal(&self.relation.table()),
                    rows = self.relation.table(),
                    id = self.relation.id(),
                );
                removed += connection.execute_typed(&sql, &[]).await.during(during)?;
            } else {
                let drop = format!("DROP TABLE IF EXISTS {table}");
                connection.batch_execute(&drop).await.during(during)?;
                let delete = "DELETE FROM affinis.biases WHERE collection = $1 AND version = $2";
                let parameters: [Parameter<'_>; 2] =
                    [(&self.collection, Type::INT4), (&number, Type::INT8)];
                connection
                    .execute_typed(delete, &parameters)
                    .await
                    .during(during)?;
            }
        }
        transaction.commit().await?;
        self.ready.clear();
        Ok(removed)
    }
}

/// A bias that was computed from a row's vector.
pub(crate) struct Computed {
    pub(crate) id: String,
    pub(crate) bias: f32,
    pub(crate) mark: f64,
}

/// What a step of a preparation did.
enum Step {
    /// Nothing: another client had prepared the version.
    Done,
    /// A page that others follow.
    Page(Option<Nearest>),
    /// The last page.
    Last(Option<Nearest>),
}
