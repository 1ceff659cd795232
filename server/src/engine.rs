//! What holds the collections of a service: a store in a directory, or a database.

use std::path::PathBuf;

use affinis::encode::EMBEDDED;
use affinis::{CollectionInfo, Distance, EncoderInfo, Language, Precision, Store};
use affinis_api::target::Target;
use serde::Serialize;
use utoipa::ToSchema;

#[cfg(feature = "postgres")]
use crate::problem::Kind;
use crate::problem::Problem;

/// What holds the collections of a service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Engine {
    /// A store in a directory.
    Store(Store),
    /// A database with collections that are attached to its tables.
    #[cfg(feature = "postgres")]
    Postgres(Database),
}

impl From<Store> for Engine {
    fn from(store: Store) -> Self {
        Self::Store(store)
    }
}

/// A database of PostgreSQL, and what is needed to open the collections in it.
#[cfg(feature = "postgres")]
#[derive(Clone)]
pub struct Database {
    /// The connections.
    pub postgres: affinis_pgvector::Postgres,
    /// Plugins that learn metrics.
    pub plugins: Vec<std::sync::Arc<dyn affinis::plugin::MetricLearner>>,
    /// Directories in which the encoders of queries are looked for.
    pub models: Vec<PathBuf>,
}

#[cfg(feature = "postgres")]
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address of the database may hold a password.
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// Settings and size of a collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct CollectionDocument {
    /// Name of the collection.
    name: String,
    /// Dimension of its vectors.
    dim: usize,
    /// `l2`, `cosine` or `dot`.
    #[schema(value_type = String)]
    distance: Distance,
    /// `f32`, `f16` or `i8`; null for a table of PostgreSQL.
    #[schema(value_type = Option<String>)]
    precision: Option<Precision>,
    /// Encoder of its texts; null where its vectors are given, and for a table of PostgreSQL.
    #[schema(value_type = Option<Object>)]
    encoder: Option<EncoderInfo>,
    /// Language of keyword search over the texts. Not there where it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    keywords: Option<Language>,
    /// Number of live items; null for a table of PostgreSQL.
    items: Option<u64>,
    /// The table of PostgreSQL that it is attached to, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
}

impl From<CollectionInfo> for CollectionDocument {
    fn from(info: CollectionInfo) -> Self {
        Self {
            name: info.name,
            dim: info.dim,
            distance: info.distance,
            precision: Some(info.precision),
            encoder: info.encoder,
            keywords: info.keywords,
            items: Some(info.items),
            table: None,
        }
    }
}

impl Engine {
    /// Opens a collection. Blocks.
    pub(crate) fn open(&self, name: &str) -> affinis::Result<Target> {
        match self {
            Self::Store(store) => Ok(Target::Embedded(store.collection(name).open()?)),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => {
                let mut attach = database.postgres.attach(name);
                attach = attach.plugins(database.plugins.iter().cloned());
                for directory in &database.models {
                    attach = attach.models(directory);
                }
                Ok(Target::Table(attach.open()?))
            }
        }
    }

    /// The collections, by name. Blocks.
    pub(crate) fn collections(&self) -> affinis::Result<Vec<CollectionDocument>> {
        match self {
            Self::Store(store) => {
                let listed = store.collections()?.into_iter();
                Ok(listed.map(CollectionDocument::from).collect())
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => {
                let listed = database.postgres.collections()?.into_iter();
                let documents = listed.map(|info| CollectionDocument {
                    name: info.name,
                    dim: info.dim,
                    distance: info.distance,
                    precision: None,
                    encoder: None,
                    keywords: None,
                    items: None,
                    table: Some(info.table),
                });
                Ok(documents.collect())
            }
        }
    }

    /// Removes a collection with what it learned; a table stays as it is. Blocks.
    pub(crate) fn remove(&self, name: &str) -> affinis::Result<()> {
        match self {
            Self::Store(store) => store.drop_collection(name),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => {
                if database.postgres.detach(name)? {
                    return Ok(());
                }
                let known = database.postgres.collections()?.into_iter();
                Err(affinis::Error::CollectionMissing {
                    name: name.to_owned(),
                    known: known.map(|info| info.name).collect(),
                })
            }
        }
    }

    /// The store in a directory. `instead` says what does it over PostgreSQL.
    ///
    /// # Errors
    /// The service is over PostgreSQL.
    #[cfg_attr(
        not(feature = "postgres"),
        allow(
            clippy::unnecessary_wraps,
            unused_variables,
            reason = "without the feature there are no databases"
        )
    )]
    pub(crate) fn store(&self, instead: &str) -> Result<&Store, Problem> {
        match self {
            Self::Store(store) => Ok(store),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Err(Problem::new(
                Kind::Unsupported,
                format!("this service is over PostgreSQL: {instead}"),
            )),
        }
    }

    /// The directories in which encoders are looked for.
    pub(crate) fn models(&self) -> &[PathBuf] {
        match self {
            Self::Store(store) => store.models(),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => &database.models,
        }
    }

    /// The names of the encoders that collections can have: `embedded`, and those of directories of
    /// models. Reads directories.
    pub(crate) fn encoders(&self) -> Vec<String> {
        let mut names = vec![EMBEDDED.to_owned()];
        for directory in affinis::encode::models(self.models()) {
            if let Some(name) = directory.file_name().and_then(|name| name.to_str())
                && !names.iter().any(|known| known == name)
            {
                names.push(name.to_owned());
            }
        }
        names
    }
}
