//! The trait [`Vectors`] of learning, on an attached table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use affinis::engine::{
    Effort, ItemContent, Revision, StoredItem, Vectors, Versioned, short_question,
};
use affinis::{ContentHash, Error, Item, Result};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::attached::Attached;
use crate::candidates::{FAR_ASKED, ITEMS_ASKED, Measured};
use crate::error::During;
use crate::scan::{Found, Nearest};
use crate::search::Request;
use crate::server::Connection;

/// Rows up to which they are counted one by one rather than estimated.
const COUNTED: i64 = 50_000;
/// Searches at a time.
const PARALLEL: usize = 2;

/// The items of an attached table.
pub(crate) struct TableVectors {
    table: Arc<Attached>,
    /// Counts up at each look: nothing tells whether rows changed meanwhile.
    looks: AtomicU64,
}

/// What a table holds under an id.
#[derive(Clone)]
pub(crate) struct Content {
    /// As it is stored.
    pub(crate) vector: Vec<f32>,
    text: Option<String>,
}

impl TableVectors {
    pub(crate) fn new(table: Arc<Attached>) -> Self {
        Self {
            table,
            looks: AtomicU64::new(0),
        }
    }

    /// Items as queries, and questions that are far from all items: a word or two of their texts,
    /// or where there are no texts the sums of two items.
    fn questions(&self) -> Result<Measured> {
        let items = self.sample(ITEMS_ASKED, 0)?;
        let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
        let texts = self.contents_of(&ids)?.into_iter();
        let texts = texts.filter_map(|content| content?.text);
        let words: Vec<String> = texts
            .enumerate()
            .filter_map(|(at, text)| short_question(at as u32, &text))
            .take(FAR_ASKED)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let encoded = match (self.table.encoder.is_some(), words.is_empty()) {
            (true, false) => self.table.encode(&words)?,
            _ => Vec::new(),
        };
        let rules = self.table.rules;
        let mut far: Vec<Vec<f32>> = encoded
            .into_iter()
            .filter_map(|vector| rules.prepare_query(vector?).ok())
            .collect();
        let items: Vec<Vec<f32>> = items.into_iter().map(|item| item.vector).collect();
        if far.is_empty() {
            let sum = |pair: &[Vec<f32>]| match pair {
                [a, b] => Some(a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect()),
                _ => None,
            };
            let sums = items.windows(2).take(FAR_ASKED).filter_map(sum);
            far = sums
                .filter_map(|sum| rules.prepare_query(sum).ok())
                .collect();
        }
        Ok(Measured { items, far })
    }

    fn contents_of(&self, ids: &[&str]) -> Result<Vec<Option<Content>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let table = Arc::clone(&self.table);
        let known = ids.iter().filter(|id| table.relation.can_be_id(id));
        let asked: Vec<String> = known.map(|id| (*id).to_owned()).collect();
        let found = self.table.postgres.wait(async move {
            let table = &table;
            let asked = &asked;
            let read =
                |connection: Connection| async move { table.contents(&connection, asked).await };
            table.postgres.read(read).await
        })?;
        Ok(ids.iter().map(|id| found.get(*id).cloned()).collect())
    }
}

impl Attached {
    /// What the table holds under ids. Rows without a vector, or with one that cannot be searched,
    /// are left out.
    pub(crate) async fn contents(
        &self,
        connection: &Connection,
        ids: &[String],
    ) -> Result<HashMap<String, Content>> {
        let relation = &self.relation;
        let sql = format!(
            "SELECT {id}::text, {numbers}, {text} FROM {table} WHERE {id} = ANY({ids}) AND {vector} IS NOT NULL",
            id = relation.id(),
            numbers = relation.as_numbers(&relation.vector()),
            text = relation.text(),
            table = relation.table(),
            ids = relation.as_ids("$1"),
            vector = relation.vector(),
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&ids, Type::TEXT_ARRAY)];
        let rows = connection
            .query_typed(&sql, &parameters)
            .await
            .during("items cannot be read")?;
        let content = |row: &Row| {
            let content = Content {
                vector: row.get(1),
                text: row.get(2),
            };
            (row.get(0), content)
        };
        let mut contents: HashMap<String, Content> = rows.iter().map(content).collect();
        contents.retain(|_, content| self.rules.check(&content.vector, &String::new).is_ok());
        Ok(contents)
    }

    /// The rows of ids.
    pub(crate) async fn items(&self, mut ids: Vec<String>) -> Result<Vec<Item>> {
        ids.retain(|id| self.relation.can_be_id(id));
        let relation = &self.relation;
        let meta = relation.meta();
        let sql = format!(
            "SELECT {id}::text, {numbers}, {text}, {meta} FROM {table} WHERE {id} = ANY({ids})",
            id = relation.id(),
            numbers = relation.as_numbers(&relation.vector()),
            text = relation.text(),
            meta = meta.map_or_else(|| "NULL::text".to_owned(), |meta| format!("{meta}::text")),
            table = relation.table(),
            ids = relation.as_ids("$1"),
        );
        let (sql, ids) = (&sql, &ids);
        let read = |connection: Connection| async move {
            let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(ids, Type::TEXT_ARRAY)];
            connection
                .query_typed(sql, &parameters)
                .await
                .during("items cannot be read")
        };
        let rows = self.postgres.read(read).await?;
        let item = |row: &Row| {
            let meta: Option<&str> = row.get(3);
            Item {
                id: row.get(0),
                vector: row.get(1),
                text: row.get(2),
                meta: meta
                    .and_then(|meta| serde_json::from_str(meta).ok())
                    .unwrap_or_default(),
                ..Item::default()
            }
        };
        Ok(rows.iter().map(item).collect())
    }

    /// The vector of an item that must be there, as it is searched.
    pub(crate) async fn vector_of(&self, id: &str) -> Result<Vec<f32>> {
        let unknown = || Error::UnknownId {
            collection: self.name.clone(),
            ids: vec![id.to_owned()],
        };
        if !self.relation.can_be_id(id) {
            return Err(unknown());
        }
        let ids = &[id.to_owned()];
        let read = |connection: Connection| async move { self.contents(&connection, ids).await };
        let mut found = self.postgres.read(read).await?;
        let content = found.remove(id).ok_or_else(unknown)?;
        Ok(self.rules.prepare(content.vector))
    }

    /// A uniform sample of at most `n` items: those whose ids have the least hashes under the seed.
    pub(crate) async fn sample_items(&self, n: usize, seed: u64) -> Result<Vec<StoredItem>> {
        let connection = self.postgres.connection().await?;
        let relation = &self.relation;
        let sql = format!(
            "SELECT t.{id}::text, {numbers} FROM {table} t WHERE t.{vector} IS NOT NULL \
             ORDER BY pg_catalog.md5($1 || t.{id}::text), t.{id} LIMIT $2",
            id = relation.id(),
            numbers = relation.as_numbers(&relation.vector()),
            table = relation.table(),
            vector = relation.vector(),
        );
        let (salt, limit) = (format!("{seed} "), n as i64);
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&salt, Type::TEXT), (&limit, Type::INT8)];
        let rows = connection
            .query_typed(&sql, &parameters)
            .await
            .during("items cannot be read")?;
        let items = rows.iter().filter_map(|row| {
            Some(StoredItem {
                id: row.get(0),
                vector: self.rules.prepare_query(row.get(1)).ok()?,
            })
        });
        Ok(items.collect())
    }

    /// How far a standby may be behind; `None` for a server that takes writes.
    pub(crate) async fn staleness(&self, connection: &Connection) -> Result<Option<Duration>> {
        // A standby that has replayed all that it received is as old as its last contact at most.
        let sql = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN NULL
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0.0
            ELSE greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))
            END::float8";
        let rows = connection.query_typed(sql, &[]).await;
        let rows = rows.during("the server cannot say how far it is behind")?;
        let seconds: Option<f64> = rows.first().and_then(|row| row.get(0));
        Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
    }

    /// Number of rows, estimated by the server where there are many.
    pub(crate) async fn count(&self, connection: &Connection) -> Result<u64> {
        let relation = &self.relation;
        let during = "the rows cannot be counted";
        let sql = format!(
            "SELECT count(*) FROM (SELECT FROM {} WHERE {} IS NOT NULL LIMIT {COUNTED}) t",
            relation.table(),
            relation.vector()
        );
        let rows = connection.query_typed(&sql, &[]).await.during(during)?;
        let counted: i64 = rows.first().map_or(0, |row| row.get(0));
        if counted < COUNTED {
            return Ok(counted.cast_unsigned());
        }
        let sql = "SELECT greatest(sum(reltuples), $2::float8)::float8 FROM pg_catalog.pg_class
            WHERE oid = $1::text::regclass
               OR oid IN (SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = $1::text::regclass)";
        let (name, least) = (relation.table(), counted as f64);
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&name, Type::TEXT), (&least, Type::FLOAT8)];
        let rows = connection
            .query_typed(sql, &parameters)
            .await
            .during(during)?;
        Ok(rows.first().map_or(0.0, |row| row.get::<_, f64>(0)) as u64)
    }
}

impl Vectors for TableVectors {
    fn vectors(&self, ids: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        let rules = self.table.rules;
        let contents = self.contents_of(ids)?.into_iter();
        Ok(contents
            .map(|content| Some(rules.prepare(content?.vector)))
            .collect())
    }

    fn hashes(&self, ids: &[&str]) -> Result<Vec<Option<ContentHash>>> {
        let contents = self.contents_of(ids)?.into_iter();
        let hash = |of: Content| ContentHash::of(of.text.as_deref(), &of.vector);
        Ok(contents.map(|content| content.map(hash)).collect())
    }

    fn contents(&self, ids: &[&str]) -> Result<Vec<Option<ItemContent>>> {
        let rules = self.table.rules;
        let contents = self.contents_of(ids)?.into_iter();
        let content = |of: Content| ItemContent {
            hash: ContentHash::of(of.text.as_deref(), &of.vector),
            vector: rules.prepare(of.vector),
        };
        Ok(contents.map(|found| found.map(content)).collect())
    }

    fn sample(&self, n: usize, seed: u64) -> Result<Vec<StoredItem>> {
        let table = Arc::clone(&self.table);
        let wait = &self.table.postgres;
        wait.wait(async move { table.sample_items(n, seed).await })
    }

    fn nearest(
        &self,
        metric: &Versioned,
        queries: &[&[f32]],
        k: usize,
        effort: Effort,
    ) -> Result<Vec<Vec<String>>> {
        let table = Arc::clone(&self.table);
        let metric = metric.clone();
        let queries: Vec<Vec<f32>> = queries.iter().map(|query| query.to_vec()).collect();
        self.table.postgres.wait(async move {
            if effort == Effort::Exact {
                let nearest = Nearest::new(&metric, &queries, k, table.rules);
                let found = table.nearest_exactly(nearest).await?;
                let ids = |found: Found| found.into_iter().map(|(_, id)| id).collect();
                return Ok(found.into_iter().map(ids).collect());
            }
            table.nearest_served(&metric, &queries, k).await
        })
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        self.table.encode(texts)
    }

    fn revision(&self) -> Result<Revision> {
        let table = Arc::clone(&self.table);
        let items = self.table.postgres.wait(async move {
            let connection = table.postgres.connection().await?;
            table.count(&connection).await
        })?;
        Ok(Revision {
            items: items as usize,
            writes: self.looks.fetch_add(1, Ordering::Relaxed),
        })
    }

    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&self, metric: &Versioned) -> Result<()> {
        let table = Arc::clone(&self.table);
        let metric = metric.clone();
        let wait = &self.table.postgres;
        let (asked, version) = (Arc::clone(&table), metric.version);
        if wait.wait(async move { asked.is_prepared(version).await })? {
            return Ok(());
        }
        let queries = self.questions()?;
        wait.wait(async move { table.prepare(&metric, queries).await })
    }

    fn serve(&self, _metric: &Versioned) {
        self.table.ready.clear();
    }
}

impl Attached {
    /// The ids of the nearest items of queries, as searches find them.
    async fn nearest_served(
        self: Arc<Self>,
        metric: &Versioned,
        queries: &[Vec<f32>],
        k: usize,
    ) -> Result<Vec<Vec<String>>> {
        let share = queries.len().div_ceil(PARALLEL).max(1);
        let tasks: Vec<_> = queries
            .chunks(share)
            .map(|queries| {
                let (table, metric, queries) =
                    (Arc::clone(&self), metric.clone(), queries.to_vec());
                self.postgres.spawn(async move {
                    let connection = table.postgres.connection().await?;
                    let mut found = Vec::with_capacity(queries.len());
                    for query in &queries {
                        let request = Request {
                            vector: query,
                            k,
                            own: None,
                            filter: None,
                            candidates: None,
                            include_text: false,
                            include_meta: false,
                        };
                        let answer = table.search(&connection, &metric, &request).await?;
                        found.push(answer.hits.into_iter().map(|hit| hit.id).collect());
                    }
                    Ok(found)
                })
            })
            .collect();
        let mut found = Vec::with_capacity(queries.len());
        for task in tasks {
            found.extend(task.await?);
        }
        Ok(found)
    }
}
