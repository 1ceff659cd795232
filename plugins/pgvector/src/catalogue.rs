//! What the catalogue of the database says of a table: its columns, its indexes, its parts, and the
//! extension.

use affinis::{ErrorKind, Result};
use tokio_postgres::types::Type;

use crate::error::{During, other};
use crate::relation::{Names, Order};
use crate::schema::identifier;
use crate::server::Connection;

/// Oldest version of the extension: filters need its iterative scans.
const OLDEST_PGVECTOR: (u32, u32) = (0, 8);

/// The number of a table, its kind, and whether the role may read all of it.
pub(crate) async fn find(
    connection: &Connection,
    wanted: &Names,
    during: &str,
) -> Result<(u32, String, bool)> {
    let found = "SELECT c.oid, c.relkind::text, has_table_privilege(c.oid, 'SELECT')
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2";
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&wanted.schema, Type::TEXT), (&wanted.table, Type::TEXT)];
    let rows = connection
        .query_typed(found, &parameters)
        .await
        .during(during)?;
    let Some(row) = rows.first() else {
        let why = "there is no such table; it may have been renamed or dropped";
        return Err(other(during, ErrorKind::NotFound, why));
    };
    let kind: String = row.get(1);
    if !["r", "p", "f", "v", "m"].contains(&kind.as_str()) {
        let why = "it is no table and no view";
        return Err(other(during, ErrorKind::InvalidInput, why));
    }
    Ok((row.get(0), kind, row.get(2)))
}

/// A column in the catalogue.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) number: i16,
    pub(crate) type_name: String,
    pub(crate) modifier: i32,
    pub(crate) readable: bool,
}

pub(crate) async fn columns(
    connection: &Connection,
    table: u32,
    during: &str,
) -> Result<Vec<Column>> {
    let columns = "SELECT a.attname::text, a.attnum, t.typname::text, a.atttypmod,
            has_column_privilege($1, a.attnum, 'SELECT')
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
    let rows = connection
        .query_typed(columns, &[(&table, Type::OID)])
        .await
        .during(during)?;
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        number: row.get(1),
        type_name: row.get(2),
        modifier: row.get(3),
        readable: row.get(4),
    };
    Ok(rows.iter().map(column).collect())
}

/// The orders of the valid vector indexes on a column that leave out no row.
pub(crate) async fn orders(
    connection: &Connection,
    table: u32,
    column: i16,
    during: &str,
) -> Result<Vec<Order>> {
    let indexes = "SELECT DISTINCT o.opcname::text
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_am m ON m.oid = c.relam
        JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]
        WHERE i.indrelid IN (SELECT $1 UNION ALL SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = $1)
          AND m.amname IN ('hnsw', 'ivfflat') AND i.indisvalid AND i.indpred IS NULL
          AND (i.indkey[0] = $2 OR i.indrelid <> $1)";
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&table, Type::OID), (&column, Type::INT2)];
    let rows = connection
        .query_typed(indexes, &parameters)
        .await
        .during(during)?;
    let mut orders: Vec<Order> = rows
        .iter()
        .filter_map(|row| {
            let class: &str = row.get(0);
            let (_, order) = class.split_once('_')?;
            match order {
                "ip_ops" => Some(Order::InnerProduct),
                "cosine_ops" => Some(Order::Cosine),
                "l2_ops" => Some(Order::Euclid),
                _ => None,
            }
        })
        .collect();
    orders.sort_unstable();
    orders.dedup();
    Ok(orders)
}

/// The leaves of a partitioned table of which some are foreign, or the foreign table itself.
pub(crate) async fn parts(
    connection: &Connection,
    oid: u32,
    kind: &str,
    table: &str,
    during: &str,
) -> Result<Vec<String>> {
    if kind == "f" {
        return Ok(vec![table.to_owned()]);
    }
    if kind != "p" {
        return Ok(Vec::new());
    }
    let leaves = "SELECT n.nspname::text, c.relname::text, c.relkind::text = 'f'
        FROM pg_catalog.pg_partition_tree($1::oid) t
        JOIN pg_catalog.pg_class c ON c.oid = t.relid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE t.isleaf ORDER BY 1, 2";
    let rows = connection
        .query_typed(leaves, &[(&oid, Type::OID)])
        .await
        .during(during)?;
    if !rows.iter().any(|row| row.get(2)) {
        return Ok(Vec::new());
    }
    let name = |row: &tokio_postgres::Row| {
        format!("{}.{}", identifier(row.get(0)), identifier(row.get(1)))
    };
    Ok(rows.iter().map(name).collect())
}

pub(crate) async fn is_unique(
    connection: &Connection,
    table: u32,
    column: i16,
    during: &str,
) -> Result<bool> {
    let unique = "SELECT 1 FROM pg_catalog.pg_index
        WHERE indrelid = $1 AND indisunique AND indisvalid AND indpred IS NULL AND indnkeyatts = 1 AND indkey[0] = $2";
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&table, Type::OID), (&column, Type::INT2)];
    let rows = connection
        .query_typed(unique, &parameters)
        .await
        .during(during)?;
    Ok(!rows.is_empty())
}

/// The schema of the extension, which must be new enough.
pub(crate) async fn extension(connection: &Connection) -> Result<String> {
    let during = "the extension pgvector of the database cannot be used";
    let found = "SELECT n.nspname::text, e.extversion FROM pg_catalog.pg_extension e
        JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'";
    let rows = connection.query_typed(found, &[]).await.during(during)?;
    let Some(row) = rows.first() else {
        let why = "it is not installed; a superuser runs CREATE EXTENSION vector";
        return Err(other(during, ErrorKind::NotFound, why));
    };
    let version: &str = row.get(1);
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version_found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version_found < OLDEST_PGVECTOR {
        let why = format!(
            "it is version {version}; 0.8 or newer is needed: ALTER EXTENSION vector UPDATE"
        );
        return Err(other(during, ErrorKind::Unsupported, why));
    }
    Ok(row.get(0))
}
