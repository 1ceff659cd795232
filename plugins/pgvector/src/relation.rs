//! [`Relation`]: a table of the user's, as the catalogue of the database describes it.

use affinis::{Distance, ErrorKind, Result};
use tokio_postgres::types::Type;

use crate::catalogue::{columns, extension, find, is_unique, orders, parts};
use crate::error::{During, other};
use crate::schema::identifier;
use crate::server::Connection;

/// The names of a table and of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) id: String,
    pub(crate) vector: String,
    pub(crate) text: Option<String>,
    pub(crate) meta: Option<String>,
}

/// How the ids of a table are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdType {
    /// `smallint`, `integer`, `bigint`.
    Integer(&'static str),
    Uuid,
    Text,
}

/// An order in which an index of the table gives rows, by the operator of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// `<#>`, minus the inner product.
    InnerProduct,
    /// `<=>`, one minus the cosine.
    Cosine,
    /// `<->`, the Euclidean distance.
    Euclid,
}

impl Order {
    pub(crate) fn operator(self) -> &'static str {
        match self {
            Self::InnerProduct => "<#>",
            Self::Cosine => "<=>",
            Self::Euclid => "<->",
        }
    }

    /// The order of a distance.
    pub(crate) fn of(distance: Distance) -> Self {
        match distance {
            Distance::Cosine => Self::Cosine,
            Distance::Dot => Self::InnerProduct,
            _ => Self::Euclid,
        }
    }

    /// The distance that an index of this order stands for.
    pub(crate) fn distance(self) -> Distance {
        match self {
            Self::InnerProduct => Distance::Dot,
            Self::Cosine => Distance::Cosine,
            Self::Euclid => Distance::L2,
        }
    }
}

/// A table with what searching it needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) names: Names,
    pub(crate) id_type: IdType,
    /// The type of the vectors with its schema, such as `"public"."vector"`.
    vector_type: String,
    /// The schema of the extension.
    extension: String,
    /// Dimension that the column is declared with; `None` where it is not.
    pub(crate) dim: Option<usize>,
    /// Orders of its vector indexes that hold all rows.
    pub(crate) orders: Vec<Order>,
    /// Whether the ids are known to be unique.
    pub(crate) unique: bool,
    /// The tables that hold its rows, quoted, where some are on other servers; otherwise empty.
    pub(crate) parts: Vec<String>,
}

impl Relation {
    /// The table, quoted, with its schema.
    pub(crate) fn table(&self) -> String {
        let Names { schema, table, .. } = &self.names;
        format!("{}.{}", identifier(schema), identifier(table))
    }

    /// The column of ids, quoted.
    pub(crate) fn id(&self) -> String {
        identifier(&self.names.id)
    }

    /// The column of vectors, quoted.
    pub(crate) fn vector(&self) -> String {
        identifier(&self.names.vector)
    }

    /// The column of texts, or null.
    pub(crate) fn text(&self) -> String {
        let text = self.names.text.as_deref();
        text.map_or_else(
            || "NULL::text".to_owned(),
            |name| format!("{}::text", identifier(name)),
        )
    }

    /// The column of metadata, quoted, if there is one.
    pub(crate) fn meta(&self) -> Option<String> {
        self.names.meta.as_deref().map(identifier)
    }

    /// A parameter of numbers (`real[]`) as a vector of the column's type.
    pub(crate) fn as_vector(&self, parameter: &str) -> String {
        format!("({parameter}::real[]::{})", self.vector_type)
    }

    /// An expression, of the column's type or `real[]`, as a vector of full precision.
    pub(crate) fn as_full(&self, vector: &str) -> String {
        format!("({vector}::{})", self.full_type())
    }

    /// The type of vectors of full precision.
    pub(crate) fn full_type(&self) -> String {
        format!("{}.vector", identifier(&self.extension))
    }

    /// A call of a function of the extension.
    pub(crate) fn function(&self, name: &str, argument: &str) -> String {
        format!("{}.{name}({argument})", identifier(&self.extension))
    }

    /// The numbers of an expression of the column's type, `real[]`.
    pub(crate) fn as_numbers(&self, vector: &str) -> String {
        // The type of half precision is cast by way of the full one.
        format!("({vector}::{}::real[])", self.full_type())
    }

    /// An operator between a column and a parameter.
    pub(crate) fn operator(&self, order: Order) -> String {
        format!(
            "OPERATOR({}.{})",
            identifier(&self.extension),
            order.operator()
        )
    }

    /// A parameter of ids (`text[]`) as an array of the column's type.
    pub(crate) fn as_ids(&self, parameter: &str) -> String {
        match self.id_type {
            IdType::Integer(name) => format!("({parameter}::text[]::{name}[])"),
            IdType::Uuid => format!("({parameter}::text[]::uuid[])"),
            IdType::Text => format!("({parameter}::text[])"),
        }
    }

    /// One id (`text`) as a value of the column's type.
    pub(crate) fn as_id(&self, parameter: &str) -> String {
        format!("({parameter}::text::{})", self.id_type_name())
    }

    pub(crate) fn id_type_name(&self) -> &'static str {
        match self.id_type {
            IdType::Integer(name) => name,
            IdType::Uuid => "uuid",
            IdType::Text => "text",
        }
    }

    /// Whether a text is an id as the database writes it: another text is the id of nothing.
    pub(crate) fn can_be_id(&self, id: &str) -> bool {
        match self.id_type {
            IdType::Integer("smallint") => id.parse::<i16>().is_ok_and(|n| n.to_string() == id),
            IdType::Integer("integer") => id.parse::<i32>().is_ok_and(|n| n.to_string() == id),
            IdType::Integer(_) => id.parse::<i64>().is_ok_and(|n| n.to_string() == id),
            IdType::Uuid => is_uuid(id),
            IdType::Text => !id.contains('\0'),
        }
    }

    /// The order in which candidates of a rewritten query are found: by an index, if there is one.
    pub(crate) fn candidate_order(&self, distance: Distance) -> Order {
        let own = Order::of(distance);
        // For unit vectors the cosine with the rewritten query is its inner product with them.
        let preferred = if distance == Distance::Cosine {
            [Order::Cosine, Order::InnerProduct, Order::Euclid]
        } else {
            [Order::InnerProduct, Order::Euclid, Order::Cosine]
        };
        let indexed = preferred
            .into_iter()
            .find(|order| self.orders.contains(order));
        indexed.unwrap_or(if own == Order::Euclid {
            Order::InnerProduct
        } else {
            own
        })
    }

    /// Whether it is a table that could have a unique index on its ids: no view, no foreign table,
    /// and not one that is partitioned over such.
    pub(crate) async fn can_have_index(&self, connection: &Connection) -> Result<bool> {
        let sql = "SELECT relkind = 'r' FROM pg_catalog.pg_class WHERE oid = $1::text::regclass";
        let table = self.table();
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] =
            [(&table, Type::TEXT)];
        let rows = connection
            .query_typed(sql, &parameters)
            .await
            .during("the table cannot be described")?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Makes a vector index of a distance.
    ///
    /// # Errors
    /// Where rows are on other servers; those of the server.
    pub(crate) async fn create_index(
        &self,
        connection: &Connection,
        distance: Distance,
    ) -> Result<()> {
        let during = format!("no index can be made on the table {}", self.table());
        if !self.parts.is_empty() {
            let why = "its rows are on other servers; make an index there, and say its distance";
            return Err(other(during, ErrorKind::Unsupported, why));
        }
        let (_, kind) = self.vector_type.rsplit_once('.').unwrap_or_default();
        let class = match Order::of(distance) {
            Order::InnerProduct => "ip",
            Order::Cosine => "cosine",
            Order::Euclid => "l2",
        };
        // A partitioned table takes no index that is made beside its writers.
        let concurrently = if self.can_have_index(connection).await? {
            "CONCURRENTLY "
        } else {
            ""
        };
        let create = format!(
            "CREATE INDEX {concurrently}ON {} USING hnsw ({} {}.{kind}_{class}_ops)",
            self.table(),
            self.vector(),
            identifier(&self.extension)
        );
        connection.batch_execute(&create).await.during(during)
    }

    /// Describes a table.
    ///
    /// # Errors
    /// Where there is no such table or column, one has another type, or the role may not read it.
    pub(crate) async fn describe(connection: &Connection, wanted: &Names) -> Result<Self> {
        let table = format!(
            "{}.{}",
            identifier(&wanted.schema),
            identifier(&wanted.table)
        );
        let during = format!("the table {table} cannot be described");
        let extension = extension(connection).await?;
        let (oid, kind, readable) = find(connection, wanted, &during).await?;
        let columns = columns(connection, oid, &during).await?;
        let column = |name: &str, what: &str| {
            columns
                .iter()
                .find(|column| column.name == name)
                .ok_or_else(|| {
                    let why = format!("it has no column {} for the {what}", identifier(name));
                    other(during.as_str(), ErrorKind::NotFound, why)
                })
        };
        let wrong = |name: &str, found: &str, needed: &str| {
            let why = format!(
                "its column {} is of type {found}, not {needed}",
                identifier(name)
            );
            other(during.as_str(), ErrorKind::InvalidInput, why)
        };
        let id = column(&wanted.id, "ids")?;
        let id_type = match id.type_name.as_str() {
            "int2" => IdType::Integer("smallint"),
            "int4" => IdType::Integer("integer"),
            "int8" => IdType::Integer("bigint"),
            "uuid" => IdType::Uuid,
            "text" | "varchar" => IdType::Text,
            found => return Err(wrong(&wanted.id, found, "an integer, uuid or text")),
        };
        let vector = column(&wanted.vector, "vectors")?;
        if !["vector", "halfvec"].contains(&vector.type_name.as_str()) {
            return Err(wrong(
                &wanted.vector,
                &vector.type_name,
                "vector or halfvec",
            ));
        }
        let optional: [(_, &[&str], _); 2] = [
            (&wanted.text, &["text", "varchar", "bpchar"], "text"),
            (&wanted.meta, &["jsonb"], "jsonb"),
        ];
        for (name, allowed, what) in optional {
            let Some(name) = name else { continue };
            let found = &column(name, what)?.type_name;
            if !allowed.contains(&found.as_str()) {
                return Err(wrong(name, found, what));
            }
        }
        let hidden = [
            Some(&wanted.id),
            Some(&wanted.vector),
            wanted.text.as_ref(),
            wanted.meta.as_ref(),
        ]
        .into_iter()
        .flatten()
        .filter_map(|name| columns.iter().find(|column| column.name == *name))
        .find(|column| !column.readable);
        if let Some(column) = hidden.filter(|_| !readable) {
            let why = format!(
                "the role may not read its column {}; its owner grants it: GRANT SELECT ON {table} TO ...",
                identifier(&column.name)
            );
            return Err(other(during, ErrorKind::InvalidInput, why));
        }
        Ok(Self {
            id_type,
            vector_type: format!("{}.{}", identifier(&extension), vector.type_name),
            dim: usize::try_from(vector.modifier).ok().filter(|dim| *dim > 0),
            orders: orders(connection, oid, vector.number, &during).await?,
            unique: is_unique(connection, oid, id.number, &during).await?,
            parts: parts(connection, oid, &kind, &table, &during).await?,
            names: wanted.clone(),
            extension,
        })
    }
}

/// Whether a text is a UUID as the database writes it.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

#[cfg(test)]
mod tests {
    use super::is_uuid;

    #[test]
    fn a_uuid_is_one_as_the_database_writes_it() {
        assert!(is_uuid("0b0e4a3c-7c1d-4f7e-9a55-0123456789ab"));
        for other in [
            "0B0E4A3C-7C1D-4F7E-9A55-0123456789AB",
            "0b0e4a3c7c1d4f7e9a550123456789ab",
            "{0b0e4a3c-7c1d-4f7e-9a55-0123456789ab}",
            "0b0e4a3c-7c1d-4f7e-9a55-0123456789a",
            "",
        ] {
            assert!(!is_uuid(other), "{other}");
        }
    }
}
