//! The trait [`Ledger`] of learning, on the tables of the schema `affinis`.

use std::sync::{Arc, Mutex, PoisonError};

use affinis::engine::{
    Active, Changes, Entry, Ledger, LedgerLock, LoggedJudgement, NextIds, QueryHash, VersionRecord,
};
use affinis::learning::{Activation, Guidelines, MAX_ACTIVATIONS};
use affinis::{Error, ErrorKind, JudgementId, Result, VersionId};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::During;
use crate::schema::{LOCKS, Parameter};
use crate::server::{Connection, Postgres, Transaction};

/// Judgements that are read at a time.
const PAGE: i64 = 5_000;

/// The judgements and versions of one attached table.
pub(crate) struct TableLedger {
    postgres: Postgres,
    /// Number of the collection.
    collection: i32,
    /// The transaction that holds the lock of writers, while one does.
    locked: Arc<Mutex<Option<Transaction>>>,
}

/// Ends the transaction that holds the lock.
struct Unlock(Arc<Mutex<Option<Transaction>>>);

impl Drop for Unlock {
    fn drop(&mut self) {
        let open = &self.0;
        drop(open.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl TableLedger {
    pub(crate) fn new(postgres: Postgres, collection: i32) -> Self {
        Self {
            postgres,
            collection,
            locked: Arc::default(),
        }
    }

    /// Rows of a read, whose first parameter is the collection.
    fn rows(&self, what: &'static str, sql: &'static str, number: Option<i64>) -> Result<Vec<Row>> {
        let (postgres, collection) = (self.postgres.clone(), self.collection);
        self.postgres.wait(async move {
            let read = |connection: Connection| async move {
                let of_collection: Parameter<'_> = (&collection, Type::INT4);
                let mut parameters = vec![of_collection];
                if let Some(number) = &number {
                    parameters.push((number, Type::INT8));
                }
                connection.query_typed(sql, &parameters).await.during(what)
            };
            postgres.read(read).await
        })
    }
}

/// A stored number of a version.
fn version(number: i64) -> Result<VersionId> {
    u32::try_from(number)
        .map(VersionId)
        .map_err(|_| damaged(format!("version {number}")))
}

/// A stored number of a judgement.
fn judgement(number: i64) -> Result<JudgementId> {
    u64::try_from(number)
        .map(JudgementId)
        .map_err(|_| damaged(format!("judgement {number}")))
}

fn damaged(what: String) -> Error {
    Error::Damaged {
        part: "the schema \"affinis\" of the database".to_owned(),
        reason: format!("there is no {what}"),
    }
}

impl Ledger for TableLedger {
    fn lock(&self) -> Result<LedgerLock> {
        let (postgres, collection) = (self.postgres.clone(), self.collection);
        let transaction = self.postgres.wait(async move {
            let transaction = postgres.begin().await?;
            let lock = format!("SELECT pg_advisory_xact_lock({LOCKS}, {collection})");
            let during = "the lock of writers cannot be taken";
            transaction
                .connection()?
                .batch_execute(&lock)
                .await
                .during(during)?;
            Ok(transaction)
        })?;
        *self.locked.lock().unwrap_or_else(PoisonError::into_inner) = Some(transaction);
        Ok(LedgerLock::new(Unlock(Arc::clone(&self.locked))))
    }

    fn generation(&self) -> Result<u64> {
        let sql = "SELECT generation FROM affinis.collections WHERE id = $1";
        let rows = self.rows("the collection cannot be read", sql, None)?;
        let row = rows
            .first()
            .ok_or_else(|| damaged(format!("collection {}", self.collection)))?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }

    fn judgements(&self) -> Box<dyn Iterator<Item = Result<Entry>> + '_> {
        let mut next = Some(0_i64);
        let pages = std::iter::from_fn(move || {
            let sql = "SELECT number, record FROM affinis.judgements
                WHERE collection = $1 AND number >= $2 ORDER BY number LIMIT 5000";
            let rows = match self.rows("judgements cannot be read", sql, Some(next?)) {
                Ok(rows) => rows,
                Err(error) => {
                    next = None;
                    return Some(vec![Err(error)]);
                }
            };
            let last: Option<i64> = rows.last().map(|row| row.get(0));
            next = last
                .filter(|_| rows.len() as i64 == PAGE)
                .map(|last| last + 1);
            let read = |row: &Row| {
                let number = judgement(row.get(0))?;
                Ok((number, LoggedJudgement::from_bytes(row.get(1), number)?))
            };
            Some(rows.iter().map(read).collect())
        });
        Box::new(pages.flatten())
    }

    fn query_vector(&self, hash: QueryHash) -> Result<Option<Vec<f32>>> {
        let (postgres, collection) = (self.postgres.clone(), self.collection);
        let rows = self.postgres.wait(async move {
            let read = |connection: Connection| async move {
                let sql = "SELECT vector FROM affinis.queries WHERE collection = $1 AND hash = $2";
                let hash: &[u8] = &hash;
                let parameters: [Parameter<'_>; 2] =
                    [(&collection, Type::INT4), (&hash, Type::BYTEA)];
                let during = "a judged query cannot be read";
                connection
                    .query_typed(sql, &parameters)
                    .await
                    .during(during)
            };
            postgres.read(read).await
        })?;
        Ok(rows.first().map(|row| numbers(row.get(0))))
    }

    fn next_ids(&self) -> Result<NextIds> {
        let sql = "SELECT next_judgement, next_version FROM affinis.collections WHERE id = $1";
        let rows = self.rows("the collection cannot be read", sql, None)?;
        let row = rows
            .first()
            .ok_or_else(|| damaged(format!("collection {}", self.collection)))?;
        Ok(NextIds {
            judgement: judgement(row.get(0))?,
            version: version(row.get(1))?,
        })
    }

    fn versions(&self) -> Result<Vec<(VersionId, VersionRecord)>> {
        let sql =
            "SELECT version, record FROM affinis.versions WHERE collection = $1 ORDER BY version";
        let rows = self.rows("the versions cannot be read", sql, None)?;
        let read = |row: &Row| {
            let number = version(row.get(0))?;
            Ok((number, VersionRecord::from_bytes(row.get(1), number)?))
        };
        rows.iter().map(read).collect()
    }

    fn version(&self, version: VersionId) -> Result<Option<VersionRecord>> {
        let sql = "SELECT record FROM affinis.versions WHERE collection = $1 AND version = $2";
        let rows = self.rows("a version cannot be read", sql, Some(version.0.into()))?;
        let record = rows
            .first()
            .map(|row| VersionRecord::from_bytes(row.get(0), version));
        record.transpose()
    }

    fn metric(&self, version: VersionId) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT metric FROM affinis.versions WHERE collection = $1 AND version = $2";
        let rows = self.rows("a version cannot be read", sql, Some(version.0.into()))?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    fn active(&self) -> Result<Active> {
        // One statement, so that both are of one moment.
        let sql = "SELECT NULL::text, active FROM affinis.collections WHERE id = $1
            UNION ALL SELECT username, version FROM affinis.active_users WHERE collection = $1";
        let mut active = Active::default();
        for row in self.rows("the active versions cannot be read", sql, None)? {
            let version = version(row.get(1))?;
            match row.get::<_, Option<String>>(0) {
                Some(user) => drop(active.users.insert(user, version)),
                None => active.shared = version,
            }
        }
        Ok(active)
    }

    fn guidelines(&self) -> Result<Option<Guidelines>> {
        let sql = "SELECT guidelines FROM affinis.collections WHERE id = $1";
        let rows = self.rows("the guidelines cannot be read", sql, None)?;
        let row = rows
            .first()
            .ok_or_else(|| damaged(format!("collection {}", self.collection)))?;
        let Some(json) = row.get::<_, Option<&str>>(0) else {
            return Ok(None);
        };
        let read = serde_json::from_str(json).map_err(|error| Error::Damaged {
            part: "the guidelines of a collection in the schema \"affinis\"".to_owned(),
            reason: error.to_string(),
        });
        read.map(Some)
    }

    fn activations(&self) -> Result<Vec<Activation>> {
        const { assert!(MAX_ACTIVATIONS == 200) };
        let sql = "SELECT activation FROM (SELECT number, activation FROM affinis.activations
            WHERE collection = $1 ORDER BY number DESC LIMIT 200) AS newest ORDER BY number";
        let rows = self.rows("the activations cannot be read", sql, None)?;
        let read = |row: &Row| {
            serde_json::from_str(row.get(0)).map_err(|error| Error::Damaged {
                part: "the activations of a collection in the schema \"affinis\"".to_owned(),
                reason: error.to_string(),
            })
        };
        rows.iter().map(read).collect()
    }

    fn commit(&self, changes: Changes) -> Result<()> {
        let locked = self
            .locked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let statements = Statements::of(&changes)?;
        let (postgres, collection) = (self.postgres.clone(), self.collection);
        self.postgres.wait(async move {
            let transaction = match locked {
                Some(transaction) => transaction,
                None => postgres.begin().await?,
            };
            let stored = statements.run(transaction.connection()?, collection).await;
            stored.during("the changes cannot be stored")?;
            transaction.commit().await
        })
    }
}

/// Numbers from their little-endian bytes.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

fn as_json(json: serde_json::Result<String>) -> Result<String> {
    json.map_err(|error| Error::Engine {
        what: "the changes cannot be stored".to_owned(),
        kind: ErrorKind::InvalidInput,
        source: error.into(),
    })
}

/// Changes as the arrays that statements take.
#[derive(Default)]
struct Statements {
    judgements: (Vec<i64>, Vec<Vec<u8>>),
    removed_judgements: Vec<i64>,
    queries: (Vec<Vec<u8>>, Vec<Vec<u8>>),
    removed_queries: Vec<Vec<u8>>,
    versions: (Vec<i64>, Vec<Vec<u8>>),
    metrics: (Vec<i64>, Vec<Vec<u8>>),
    removed_metrics: Vec<i64>,
    removed_versions: Vec<i64>,
    users: (Vec<String>, Vec<i64>),
    removed_users: Vec<String>,
    active: Option<i64>,
    next_judgement: Option<i64>,
    next_version: Option<i64>,
    /// As JSON.
    guidelines: Option<String>,
    /// Each as JSON.
    activations: Vec<String>,
    /// Whether other clients must read versions again.
    is_of_versions: bool,
}

impl Statements {
    fn of(changes: &Changes) -> Result<Self> {
        let number = |id: &JudgementId| {
            let what = || damaged(format!("room for judgement {id}"));
            i64::try_from(id.0).map_err(|_| what())
        };
        let versions = |versions: &[VersionId]| versions.iter().map(|v| i64::from(v.0)).collect();
        let mut all = Self {
            removed_judgements: changes
                .removed_judgements
                .iter()
                .map(number)
                .collect::<Result<_>>()?,
            removed_queries: changes
                .removed_queries
                .iter()
                .map(|hash| hash.to_vec())
                .collect(),
            removed_metrics: versions(&changes.removed_metrics),
            removed_versions: versions(&changes.removed_versions),
            active: changes.active.map(|version| version.0.into()),
            next_judgement: changes.next_judgement.as_ref().map(number).transpose()?,
            next_version: changes.next_version.map(|version| version.0.into()),
            guidelines: changes
                .guidelines
                .as_ref()
                .map(|guidelines| as_json(serde_json::to_string(guidelines)))
                .transpose()?,
            activations: changes
                .activations
                .iter()
                .map(|activation| as_json(serde_json::to_string(activation)))
                .collect::<Result<_>>()?,
            is_of_versions: !changes.versions.is_empty()
                || !changes.removed_versions.is_empty()
                || !changes.active_users.is_empty()
                || changes.active.is_some(),
            ..Self::default()
        };
        for (id, judgement) in &changes.judgements {
            all.judgements.0.push(number(id)?);
            all.judgements.1.push(judgement.to_bytes()?);
        }
        for (hash, vector) in &changes.queries {
            all.queries.0.push(hash.to_vec());
            all.queries
                .1
                .push(vector.iter().flat_map(|x| x.to_le_bytes()).collect());
        }
        for (version, record) in &changes.versions {
            all.versions.0.push(version.0.into());
            all.versions.1.push(record.to_bytes()?);
        }
        for (version, metric) in &changes.metrics {
            all.metrics.0.push(version.0.into());
            all.metrics.1.push(metric.clone());
        }
        // Of several changes of one user the last holds.
        for (user, version) in &changes.active_users {
            if let Some(at) = all.users.0.iter().position(|known| known == user) {
                all.users.0.remove(at);
                all.users.1.remove(at);
            }
            all.removed_users.push(user.clone());
            if let Some(version) = version {
                all.users.0.push(user.clone());
                all.users.1.push(version.0.into());
            }
        }
        Ok(all)
    }

    async fn run(
        &self,
        connection: &Connection,
        collection: i32,
    ) -> Result<(), tokio_postgres::Error> {
        let of: Parameter<'_> = (&collection, Type::INT4);
        let run = async |is_needed: bool, sql: &str, parameters: &[Parameter<'_>]| {
            if is_needed {
                let all: Vec<Parameter<'_>> =
                    std::iter::once(&of).chain(parameters).cloned().collect();
                connection.execute_typed(sql, &all).await?;
            }
            Ok::<(), tokio_postgres::Error>(())
        };
        let (numbers, records) = &self.judgements;
        let sql =
            "INSERT INTO affinis.judgements SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])";
        let parameters: [Parameter<'_>; 2] =
            [(numbers, Type::INT8_ARRAY), (records, Type::BYTEA_ARRAY)];
        run(!numbers.is_empty(), sql, &parameters).await?;

        let (hashes, vectors) = &self.queries;
        let sql = "INSERT INTO affinis.queries SELECT $1, * FROM unnest($2::bytea[], $3::bytea[])
            ON CONFLICT (collection, hash) DO UPDATE SET vector = EXCLUDED.vector";
        let parameters: [Parameter<'_>; 2] =
            [(hashes, Type::BYTEA_ARRAY), (vectors, Type::BYTEA_ARRAY)];
        run(!hashes.is_empty(), sql, &parameters).await?;

        let sql = "DELETE FROM affinis.judgements WHERE collection = $1 AND number = ANY($2)";
        let removed = &self.removed_judgements;
        run(!removed.is_empty(), sql, &[(removed, Type::INT8_ARRAY)]).await?;

        let sql = "DELETE FROM affinis.queries WHERE collection = $1 AND hash = ANY($2)";
        let removed = &self.removed_queries;
        run(!removed.is_empty(), sql, &[(removed, Type::BYTEA_ARRAY)]).await?;

        let (numbers, records) = &self.versions;
        let sql = "INSERT INTO affinis.versions SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])
            ON CONFLICT (collection, version) DO UPDATE SET record = EXCLUDED.record";
        let parameters: [Parameter<'_>; 2] =
            [(numbers, Type::INT8_ARRAY), (records, Type::BYTEA_ARRAY)];
        run(!numbers.is_empty(), sql, &parameters).await?;

        let (numbers, metrics) = &self.metrics;
        let sql = "UPDATE affinis.versions SET metric = new.metric
            FROM unnest($2::bigint[], $3::bytea[]) AS new (version, metric)
            WHERE collection = $1 AND versions.version = new.version";
        let parameters: [Parameter<'_>; 2] =
            [(numbers, Type::INT8_ARRAY), (metrics, Type::BYTEA_ARRAY)];
        run(!numbers.is_empty(), sql, &parameters).await?;

        let sql =
            "UPDATE affinis.versions SET metric = NULL WHERE collection = $1 AND version = ANY($2)";
        let removed = &self.removed_metrics;
        run(!removed.is_empty(), sql, &[(removed, Type::INT8_ARRAY)]).await?;

        let sql = "DELETE FROM affinis.versions WHERE collection = $1 AND version = ANY($2)";
        let removed = &self.removed_versions;
        run(!removed.is_empty(), sql, &[(removed, Type::INT8_ARRAY)]).await?;

        let sql = "DELETE FROM affinis.active_users WHERE collection = $1 AND username = ANY($2)";
        let removed = &self.removed_users;
        run(!removed.is_empty(), sql, &[(removed, Type::TEXT_ARRAY)]).await?;

        let (users, versions) = &self.users;
        let sql =
            "INSERT INTO affinis.active_users SELECT $1, * FROM unnest($2::text[], $3::bigint[])";
        let parameters: [Parameter<'_>; 2] =
            [(users, Type::TEXT_ARRAY), (versions, Type::INT8_ARRAY)];
        run(!users.is_empty(), sql, &parameters).await?;

        let sql = "INSERT INTO affinis.activations (collection, activation)
            SELECT $1, activation FROM unnest($2::text[]) WITH ORDINALITY AS new (activation, at) ORDER BY at";
        let new = &self.activations;
        run(!new.is_empty(), sql, &[(new, Type::TEXT_ARRAY)]).await?;

        let step = i64::from(self.is_of_versions);
        let sql = "UPDATE affinis.collections SET active = coalesce($2, active),
                next_judgement = coalesce($3, next_judgement), next_version = coalesce($4, next_version),
                generation = generation + $5, guidelines = coalesce($6, guidelines)
            WHERE id = $1";
        let parameters: [Parameter<'_>; 5] = [
            (&self.active, Type::INT8),
            (&self.next_judgement, Type::INT8),
            (&self.next_version, Type::INT8),
            (&step, Type::INT8),
            (&self.guidelines, Type::TEXT),
        ];
        run(true, sql, &parameters).await
    }
}
