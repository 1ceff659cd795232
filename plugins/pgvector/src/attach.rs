//! [`Attach`]: attaching a table, new to affinis or attached before.

use std::path::PathBuf;
use std::sync::Arc;

use affinis::encode::{self, Encoder, Wanted};
use affinis::engine::VectorRules;
use affinis::plugin::MetricLearner;
use affinis::{Distance, Error, ErrorKind, Result};
use tokio_postgres::types::{ToSql, Type};

use crate::attached::Attached;
use crate::bias::Ready;
use crate::error::{During, other};
use crate::relation::{Names, Order, Relation};
use crate::schema::{Parameter, migrate};
use crate::server::{Connection, Postgres};
use crate::stored::{SELECT, Stored, find, names};
use crate::table::Table;

/// A table to be attached; made by [`Postgres::attach`].
///
/// Nothing of the table is altered. What affinis keeps (judgements, versions, biases) lies in the
/// schema `affinis` of the same database, under the name of a collection.
#[must_use = "end with `open`"]
pub struct Attach {
    pub(crate) postgres: Postgres,
    pub(crate) name: String,
    table: Option<String>,
    id: Option<String>,
    vector: Option<String>,
    text: Option<String>,
    meta: Option<String>,
    pub(crate) distance: Option<Distance>,
    index: Option<Distance>,
    makes_index: bool,
    encoder: Option<Arc<dyn Encoder>>,
    models: Vec<PathBuf>,
    plugins: Vec<Arc<dyn MetricLearner>>,
}

/// A collection that is attached to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachedInfo {
    /// Name of the collection.
    pub name: String,
    /// The table with its schema.
    pub table: String,
    /// Dimension of the vectors.
    pub dim: usize,
    /// The built-in distance, version 0.
    pub distance: Distance,
}

impl Postgres {
    /// Begins to attach a table under the name of a collection. Where the collection is attached
    /// already, nothing else need be said of it.
    pub fn attach(&self, name: impl Into<String>) -> Attach {
        Attach {
            postgres: self.clone(),
            name: name.into(),
            table: None,
            id: None,
            vector: None,
            text: None,
            meta: None,
            distance: None,
            index: None,
            makes_index: false,
            encoder: None,
            models: Vec::new(),
            plugins: Vec::new(),
        }
    }

    /// The attached collections, by name.
    ///
    /// # Errors
    /// Those of the server.
    pub fn collections(&self) -> Result<Vec<AttachedInfo>> {
        let postgres = self.clone();
        self.wait(async move {
            let mut connection = postgres.connection().await?;
            migrate(&mut connection).await?;
            let sql = format!("{SELECT} ORDER BY name");
            let rows = connection
                .query_typed(&sql, &[])
                .await
                .during("collections cannot be listed")?;
            rows.iter()
                .map(|row| Stored::read(row).map(Stored::into_info))
                .collect()
        })
    }

    /// Detaches a collection: its judgements, versions and biases are removed. The table stays as
    /// it is. Gives whether there was such a collection.
    ///
    /// # Errors
    /// Those of the server.
    pub fn detach(&self, name: &str) -> Result<bool> {
        let (postgres, name) = (self.clone(), name.to_owned());
        self.wait(async move {
            let during = "the collection cannot be detached";
            let mut connection = postgres.connection().await?;
            migrate(&mut connection).await?;
            let transaction = connection.transaction().await.during(during)?;
            let of: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
            // No client makes a side table between their listing and the end of the collection.
            let lock = format!(
                "SELECT pg_advisory_xact_lock({}, id) FROM affinis.collections WHERE name = $1",
                crate::bias::LOCK
            );
            transaction.query_typed(&lock, &of).await.during(during)?;
            let find = "SELECT b.collection, b.version FROM affinis.biases b
                JOIN affinis.collections c ON c.id = b.collection WHERE c.name = $1";
            for row in transaction.query_typed(find, &of).await.during(during)? {
                let version =
                    affinis::VersionId(u32::try_from(row.get::<_, i64>(1)).unwrap_or_default());
                let drop = format!(
                    "DROP TABLE IF EXISTS {}",
                    crate::bias::table(row.get(0), version)
                );
                transaction.batch_execute(&drop).await.during(during)?;
            }
            let delete = "DELETE FROM affinis.collections WHERE name = $1 RETURNING id";
            let deleted = transaction.query_typed(delete, &of).await.during(during)?;
            for row in &deleted {
                let drop = crate::trigger::drop_of(row.get(0));
                transaction.batch_execute(&drop).await.during(during)?;
            }
            transaction.commit().await.during(during)?;
            Ok(!deleted.is_empty())
        })
    }
}

impl Attach {
    /// The table, as SQL names it: `docs`, or `app.docs` with its schema. Names that need quoting
    /// are quoted: `"My Docs"`.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// The column of the ids, integers, UUIDs or texts; `id` by default.
    pub fn id(mut self, column: impl Into<String>) -> Self {
        self.id = Some(column.into());
        self
    }

    /// The column of the vectors, of type `vector` or `halfvec`; `embedding` by default.
    pub fn vector(mut self, column: impl Into<String>) -> Self {
        self.vector = Some(column.into());
        self
    }

    /// The column of the texts, if there is one.
    pub fn text(mut self, column: impl Into<String>) -> Self {
        self.text = Some(column.into());
        self
    }

    /// The column of the metadata, of type `jsonb`, if there is one.
    pub fn meta(mut self, column: impl Into<String>) -> Self {
        self.meta = Some(column.into());
        self
    }

    /// The built-in distance, version 0. By default that of the vector index of the table, and
    /// [`Distance::L2`] where it has none.
    pub fn distance(mut self, distance: Distance) -> Self {
        self.distance = Some(distance);
        self
    }

    /// The distance of the vector indexes of tables on other servers, which the catalogue of this
    /// one does not show: of a foreign table, or of the foreign partitions of a table. By default
    /// the built-in distance of the collection.
    pub fn index(mut self, distance: Distance) -> Self {
        self.index = Some(distance);
        self
    }

    /// Makes a vector index on the table, an HNSW of its distance, where it has none of all rows.
    /// Without this nothing of the table is altered. Rows can be written while it is made, unless
    /// the table is partitioned.
    pub fn make_index(mut self) -> Self {
        self.makes_index = true;
        self
    }

    /// The encoder of the texts of queries: the one that made the vectors. Where the collection was
    /// attached with one before that can be loaded, it need not be given.
    pub fn encoder(mut self, encoder: Arc<dyn Encoder>) -> Self {
        self.encoder = Some(encoder);
        self
    }

    /// Names a directory in which the encoder of an attached table is looked for, by its
    /// fingerprint, if it is not where it was; see [`encode::find`].
    pub fn models(mut self, directory: impl Into<PathBuf>) -> Self {
        self.models.push(directory.into());
        self
    }

    /// Registers a plugin that learns metrics.
    pub fn plugin(mut self, plugin: impl MetricLearner + 'static) -> Self {
        self.plugins.push(Arc::new(plugin));
        self
    }

    /// Registers plugins that learn metrics.
    pub fn plugins(mut self, plugins: impl IntoIterator<Item = Arc<dyn MetricLearner>>) -> Self {
        self.plugins.extend(plugins);
        self
    }

    /// Attaches the table, and makes the schema `affinis` where it is not there.
    ///
    /// # Errors
    /// [`Error::CollectionMissing`] where no table is named and the collection is not attached;
    /// [`Error::SettingMismatch`] where it is attached to another table or with other columns;
    /// [`Error::EncoderMismatch`] for another encoder; [`Error::EncoderDimension`];
    /// [`Error::Engine`] for a table that cannot be attached, with the reason, and those of the
    /// server.
    pub fn open(self) -> Result<Table> {
        let postgres = self.postgres.clone();
        let plugins = self.plugins.clone();
        let attached = postgres.wait(self.attach())?;
        Table::open(Arc::new(attached), plugins.into())
    }

    async fn attach(self) -> Result<Attached> {
        let mut connection = self.postgres.connection().await?;
        migrate(&mut connection).await?;
        let before = find(&connection, &self.name).await?;
        let wanted = self.names(&connection, before.as_ref()).await?;
        let mut relation = Relation::describe(&connection, &wanted).await?;
        if self.makes_index && relation.orders.is_empty() {
            let known = before.as_ref().map(|stored| stored.distance);
            let distance = self.distance.or(known).unwrap_or_default();
            relation.create_index(&connection, distance).await?;
            relation = Relation::describe(&connection, &wanted).await?;
        }
        let stored = match before {
            Some(stored) => stored,
            None => self.insert(&mut connection, &relation).await?,
        };
        self.check(&stored, &relation)?;
        if relation.orders.is_empty() && !relation.parts.is_empty() {
            let index = stored.index.unwrap_or(stored.distance);
            relation.orders.push(Order::of(index));
        }
        let encoder = self.encoder_of(&stored)?;
        Ok(Attached {
            collection: stored.number,
            rules: VectorRules {
                dim: stored.dim,
                distance: stored.distance,
            },
            probe: Attached::probe_of(stored.dim),
            name: self.name,
            relation,
            encoder,
            ready: Ready::default(),
            postgres: self.postgres,
        })
    }

    /// The names of the table and its columns: those that are given, otherwise the stored ones.
    async fn names(&self, connection: &Connection, stored: Option<&Stored>) -> Result<Names> {
        let known = match (&self.table, stored) {
            (None, None) => names(connection).await?,
            _ => Vec::new(),
        };
        let (schema, table) = match (&self.table, stored) {
            (Some(table), _) => resolve(connection, table).await?,
            (None, Some(stored)) => (stored.names.schema.clone(), stored.names.table.clone()),
            (None, None) => {
                return Err(Error::CollectionMissing {
                    name: self.name.clone(),
                    known,
                });
            }
        };
        let of = |given: &Option<String>, stored: Option<&String>, default: &str| {
            given
                .clone()
                .or_else(|| stored.cloned())
                .unwrap_or_else(|| default.to_owned())
        };
        let names = stored.map(|stored| &stored.names);
        Ok(Names {
            schema,
            table,
            id: of(&self.id, names.map(|names| &names.id), "id"),
            vector: of(&self.vector, names.map(|names| &names.vector), "embedding"),
            text: self.text.clone().or_else(|| names?.text.clone()),
            meta: self.meta.clone().or_else(|| names?.meta.clone()),
        })
    }

    /// Stores a collection that is new, unless another client did meanwhile.
    async fn insert(&self, connection: &mut Connection, relation: &Relation) -> Result<Stored> {
        let during = format!("the table {} cannot be attached", relation.table());
        if !relation.unique {
            let why = format!(
                "its column {} has no unique index, so that an id may be that of several rows; CREATE UNIQUE INDEX makes one",
                relation.id()
            );
            // Foreign tables and views have none, and their owners answer for the ids.
            if relation.can_have_index(connection).await? {
                return Err(other(during, ErrorKind::InvalidInput, why));
            }
        }
        let dim = match relation.dim {
            Some(dim) => dim,
            None => first_dim(connection, relation).await?,
        };
        let indexed = relation
            .orders
            .first()
            .map(|order: &Order| order.distance());
        let distance = self.distance.or(indexed).unwrap_or_default().to_string();
        let index = self.index.map(|distance| distance.to_string());
        let names = &relation.names;
        let (dim, encoder) = (dim as i32, self.encoder.as_ref());
        let encoder_name = encoder.map(|encoder| encoder.name());
        let fingerprint = encoder.map(|encoder| encoder.fingerprint());
        let source = encoder.and_then(|encoder| encoder.source());
        let output = encoder.and_then(|encoder| encoder.output());
        let sql = "INSERT INTO affinis.collections (name, table_schema, table_name, id_column, vector_column, \
            text_column, meta_column, distance, dim, encoder, encoder_fingerprint, encoder_source, index_distance, \
            encoder_output) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (name) DO NOTHING";
        let parameters: [(&(dyn ToSql + Sync), Type); 14] = [
            (&self.name, Type::TEXT),
            (&names.schema, Type::TEXT),
            (&names.table, Type::TEXT),
            (&names.id, Type::TEXT),
            (&names.vector, Type::TEXT),
            (&names.text, Type::TEXT),
            (&names.meta, Type::TEXT),
            (&distance, Type::TEXT),
            (&dim, Type::INT4),
            (&encoder_name, Type::TEXT),
            (&fingerprint, Type::TEXT),
            (&source, Type::TEXT),
            (&index, Type::TEXT),
            (&output, Type::TEXT),
        ];
        connection
            .execute_typed(sql, &parameters)
            .await
            .during(&during)?;
        let stored = find(connection, &self.name).await?;
        stored.ok_or_else(|| other(during, ErrorKind::Conflict, "it was detached at once"))
    }

    /// Checks that what is given is what the collection was attached with.
    fn check(&self, stored: &Stored, relation: &Relation) -> Result<()> {
        let mismatch = |what: &'static str, made: String, given: String| {
            Err(Error::SettingMismatch {
                name: self.name.clone(),
                what,
                made,
                given,
            })
        };
        if stored.names != relation.names {
            let said = |names: &Names| format!("{names:?}");
            return mismatch(
                "the table and its columns",
                said(&stored.names),
                said(&relation.names),
            );
        }
        if let Some(distance) = self
            .distance
            .filter(|distance| *distance != stored.distance)
        {
            return mismatch(
                "the distance",
                stored.distance.to_string(),
                distance.to_string(),
            );
        }
        if let Some(index) = self.index.filter(|index| Some(*index) != stored.index) {
            let made = stored
                .index
                .map_or("not said".to_owned(), |d| d.to_string());
            return mismatch("the distance of the indexes", made, index.to_string());
        }
        if let Some(dim) = relation.dim.filter(|dim| *dim != stored.dim) {
            return mismatch("the dimension", stored.dim.to_string(), dim.to_string());
        }
        if let (Some(given), Some(stored)) = (&self.encoder, &stored.encoder)
            && given.fingerprint() != stored.fingerprint
        {
            return Err(Error::EncoderMismatch {
                name: self.name.clone(),
                made: format!("{} ({})", stored.name, stored.fingerprint),
                given: format!("{} ({})", given.name(), given.fingerprint()),
            });
        }
        if let Some(encoder) = &self.encoder
            && encoder.dim() != stored.dim
        {
            return Err(Error::EncoderDimension {
                encoder: encoder.name().to_owned(),
                encoded: encoder.dim(),
                given: stored.dim,
            });
        }
        Ok(())
    }

    /// The encoder that is given, otherwise the stored one where it can be loaded.
    fn encoder_of(&self, stored: &Stored) -> Result<Option<Arc<dyn Encoder>>> {
        if let Some(encoder) = &self.encoder {
            return Ok(Some(Arc::clone(encoder)));
        }
        let Some(known) = &stored.encoder else {
            return Ok(None);
        };
        let Some(source) = &known.source else {
            return Ok(None);
        };
        let wanted = Wanted::new(&known.name, &known.fingerprint)
            .source(Some(source))
            .output(known.output.as_deref());
        match encode::find(&wanted, &self.models) {
            Ok(encoder) if encoder.fingerprint() == known.fingerprint => Ok(Some(encoder)),
            Ok(encoder) => Err(Error::EncoderMismatch {
                name: self.name.clone(),
                made: format!("{} ({})", known.name, known.fingerprint),
                given: format!("{} ({})", encoder.name(), encoder.fingerprint()),
            }),
            Err(error) if !self.models.is_empty() => Err(error.into()),
            Err(error) => {
                tracing::warn!(collection = self.name, %error, "texts cannot be encoded");
                Ok(None)
            }
        }
    }
}

/// The schema and the name of a table as SQL names it.
async fn resolve(connection: &Connection, table: &str) -> Result<(String, String)> {
    let during = format!("the table {table} cannot be found");
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)";
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&table, Type::TEXT)];
    let rows = connection
        .query_typed(sql, &parameters)
        .await
        .during(&during)?;
    let Some(row) = rows.first() else {
        let why = "there is no such table in the schemas that are searched";
        return Err(other(during, ErrorKind::NotFound, why));
    };
    Ok((row.get(0), row.get(1)))
}

/// The dimension of the first vector of a table whose column does not say one.
async fn first_dim(connection: &Connection, relation: &Relation) -> Result<usize> {
    let (vector, table) = (relation.vector(), relation.table());
    let sql = format!(
        "SELECT cardinality({}) FROM {table} WHERE {vector} IS NOT NULL LIMIT 1",
        relation.as_numbers(&vector)
    );
    let during = format!("the table {table} cannot be attached");
    let rows = connection.query_typed(&sql, &[]).await.during(&during)?;
    let Some(row) = rows.first() else {
        let why = format!("its column {vector} says no dimension, and holds no vector yet");
        return Err(other(during, ErrorKind::InvalidInput, why));
    };
    Ok(row.get::<_, i32>(0) as usize)
}
