//! What the schema `affinis` keeps of the attached collections.

use affinis::{Distance, Error, Result};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::attach::AttachedInfo;
use crate::error::During;
use crate::relation::Names;
use crate::server::Connection;

/// What the schema keeps of a collection.
pub(crate) struct Stored {
    pub(crate) number: i32,
    pub(crate) name: String,
    pub(crate) names: Names,
    pub(crate) distance: Distance,
    /// Distance of the vector indexes on other servers, where it was said.
    pub(crate) index: Option<Distance>,
    pub(crate) dim: usize,
    pub(crate) encoder: Option<StoredEncoder>,
}

/// The encoder that a collection was attached with.
pub(crate) struct StoredEncoder {
    pub(crate) name: String,
    pub(crate) fingerprint: String,
    pub(crate) source: Option<String>,
    /// The output of its graph that was chosen.
    pub(crate) output: Option<String>,
}

/// The columns that [`Stored::read`] takes.
pub(crate) const SELECT: &str = "SELECT id, name, table_schema, table_name, id_column, vector_column, text_column, \
    meta_column, distance, dim, encoder, encoder_fingerprint, encoder_source, index_distance, encoder_output \
    FROM affinis.collections";

impl Stored {
    pub(crate) fn read(row: &Row) -> Result<Self> {
        let damaged = |reason: String| Error::Damaged {
            part: "the table affinis.collections".to_owned(),
            reason,
        };
        let distance = |text: &str| {
            let parsed = text.parse::<Distance>();
            parsed.map_err(|error| damaged(format!("{error}")))
        };
        let index: Option<&str> = row.get(13);
        let encoder: Option<String> = row.get(10);
        Ok(Self {
            number: row.get(0),
            name: row.get(1),
            names: Names {
                schema: row.get(2),
                table: row.get(3),
                id: row.get(4),
                vector: row.get(5),
                text: row.get(6),
                meta: row.get(7),
            },
            distance: distance(row.get(8))?,
            index: index.map(distance).transpose()?,
            dim: usize::try_from(row.get::<_, i32>(9))
                .map_err(|_| damaged("a dimension is below 0".to_owned()))?,
            encoder: encoder.map(|name| StoredEncoder {
                name,
                fingerprint: row.get::<_, Option<String>>(11).unwrap_or_default(),
                source: row.get(12),
                output: row.get(14),
            }),
        })
    }

    pub(crate) fn into_info(self) -> AttachedInfo {
        AttachedInfo {
            table: format!("{}.{}", self.names.schema, self.names.table),
            name: self.name,
            dim: self.dim,
            distance: self.distance,
        }
    }
}

/// The names of all collections.
pub(crate) async fn names(connection: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM affinis.collections ORDER BY name";
    let rows = connection
        .query_typed(sql, &[])
        .await
        .during("collections cannot be listed")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The collection of a name, if there is one.
pub(crate) async fn find(connection: &Connection, name: &str) -> Result<Option<Stored>> {
    let sql = format!("{SELECT} WHERE name = $1");
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::TEXT)];
    let rows = connection
        .query_typed(&sql, &parameters)
        .await
        .during("the collection cannot be read")?;
    rows.first().map(Stored::read).transpose()
}
