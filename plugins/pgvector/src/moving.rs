//! Moving items: a table made of them, and the rows of a table as items.

use std::fmt::Write as _;
use std::sync::Arc;

use affinis::{Distance, ErrorKind, Item, Result};
use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::types::{ToSql, Type};

use crate::attach::Attach;
use crate::attached::Attached;
use crate::error::{During, other};
use crate::relation::Order;
use crate::scan::copy_text;
use crate::schema::identifier;
use crate::server::{Connection, Postgres};
use crate::table::Table;

/// Bytes of lines that are sent at a time.
const SENT: usize = 1 << 20;
/// Rows of a page.
const PAGE: i64 = 1_000;

impl Attach {
    /// Makes a table of items, of the name of the collection, and attaches it. It has the columns
    /// `id text PRIMARY KEY`, `embedding vector(dim)`, `body text` and `meta jsonb`, and an HNSW
    /// index of the distance, which is [`Distance::L2`] unless one was set. Where it fails, no table
    /// is left.
    ///
    /// # Errors
    /// [`Error::Dimension`](affinis::Error::Dimension) and its like for an item without a vector that can be searched; those of
    /// the server, such as for a table that exists; those of [`Self::open`].
    pub fn create(self, dim: usize, items: Vec<Item>) -> Result<Table> {
        let distance = self.distance.unwrap_or_default();
        for item in &items {
            distance.check_vector(item.vector.as_deref().unwrap_or_default(), dim)?;
        }
        let table = identifier(&self.name);
        let (postgres, made) = (self.postgres.clone(), table.clone());
        self.postgres
            .wait(async move { make(&postgres, &made, dim, distance, &items).await })?;
        self.table(table)
            .text("body")
            .meta("meta")
            .distance(distance)
            .open()
    }
}

/// Makes a table of items, with its index, in one transaction.
async fn make(
    postgres: &Postgres,
    table: &str,
    dim: usize,
    distance: Distance,
    items: &[Item],
) -> Result<()> {
    let during = format!("the table {table} cannot be made");
    let transaction = postgres.begin().await?;
    let connection = transaction.connection()?;
    let create = format!(
        "CREATE TABLE {table} (id text PRIMARY KEY, embedding vector({dim}) NOT NULL, body text, meta jsonb)"
    );
    connection.batch_execute(&create).await.during(&during)?;
    let copy = format!("COPY {table} FROM STDIN");
    let sink = connection
        .copy_in::<_, Bytes>(&copy)
        .await
        .during(&during)?;
    let mut sink = std::pin::pin!(sink);
    let mut lines = String::new();
    for item in items {
        let what = || {
            other(
                &*during,
                ErrorKind::InvalidInput,
                format!("{:?} holds U+0000, which the database cannot", item.id),
            )
        };
        let text = item.text.as_deref();
        let meta = (!item.meta.is_null()).then(|| item.meta.to_string());
        // A character that JSON escapes is not in the text of the JSON, and is refused by its parser.
        if item.id.contains('\0') || text.is_some_and(|text| text.contains('\0')) {
            return Err(what());
        }
        let numbers: Vec<String> = item
            .vector
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        let field = |text: Option<&str>| text.map_or_else(|| "\\N".to_owned(), copy_text);
        // A write to a string does not fail.
        let _ = writeln!(
            lines,
            "{}\t[{}]\t{}\t{}",
            copy_text(&item.id),
            numbers.join(","),
            field(text),
            field(meta.as_deref())
        );
        if lines.len() > SENT {
            let some = Bytes::from(std::mem::take(&mut lines));
            sink.send(some).await.during(&during)?;
        }
    }
    sink.send(Bytes::from(lines)).await.during(&during)?;
    sink.finish().await.during(&during)?;
    let class = match Order::of(distance) {
        Order::InnerProduct => "vector_ip_ops",
        Order::Cosine => "vector_cosine_ops",
        Order::Euclid => "vector_l2_ops",
    };
    let index = format!("CREATE INDEX ON {table} USING hnsw (embedding {class}); ANALYZE {table}");
    connection.batch_execute(&index).await.during(&during)?;
    transaction.commit().await
}

impl Table {
    /// Visits every row with a vector as an item, in the order of the ids of the database, until
    /// `visit` gives `false`. Rows that change meanwhile may be seen before or after.
    ///
    /// # Errors
    /// Those of the server and of `visit`.
    pub fn for_each_item(&self, mut visit: impl FnMut(Item) -> Result<bool>) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let (attached, from) = (Arc::clone(self.attached()), after.clone());
            let wait = &self.attached().postgres;
            let ids = wait.wait(async move { attached.ids_after(from.as_deref()).await })?;
            let Some(last) = ids.last().cloned() else {
                return Ok(());
            };
            let mut items = self.items(&ids)?;
            let place = |id: &str| ids.iter().position(|known| known == id);
            items.sort_by_key(|item| place(&item.id));
            for item in items.into_iter().filter(|item| item.vector.is_some()) {
                if !visit(item)? {
                    return Ok(());
                }
            }
            after = Some(last);
        }
    }
}

impl Attached {
    /// The ids of a page of rows after one.
    async fn ids_after(&self, after: Option<&str>) -> Result<Vec<String>> {
        let relation = &self.relation;
        let (id, vector) = (relation.id(), relation.vector());
        let condition = after.map_or_else(String::new, |_| {
            format!(" AND t.{id} > {}", relation.as_id("$2"))
        });
        // Without the name of the table the order would be that of the text, which has the column's
        // name too.
        let sql = format!(
            "SELECT t.{id}::text FROM {} t WHERE t.{vector} IS NOT NULL{condition} ORDER BY t.{id} LIMIT $1",
            relation.table()
        );
        let sql = &sql;
        let read = |connection: Connection| async move {
            let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&PAGE, Type::INT8)];
            if let Some(after) = &after {
                parameters.push((after, Type::TEXT));
            }
            connection
                .query_typed(sql, &parameters)
                .await
                .during("ids cannot be read")
        };
        let rows = self.postgres.read(read).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
