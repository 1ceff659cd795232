//! [`Target`]: a collection in whichever engine it is, a store in a directory or a table of
//! PostgreSQL.

mod search;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use affinis::engine::Learning;
use affinis::learning::Weak;
use affinis::{Collection, CollectionInfo, Distance, Item, JudgementId};

pub use search::{Cancel, DEFAULT_FACET_VALUES, SearchSettings};

/// A collection of a store in a directory, or one that is attached to a table of a database. A
/// handle is cheap to clone.
#[derive(Debug, Clone)]
pub enum Target {
    /// A collection of a store.
    Embedded(Collection),
    /// A table of PostgreSQL.
    #[cfg(feature = "postgres")]
    Table(affinis_pgvector::Table),
}

/// Why something cannot be done to a collection.
#[derive(Debug)]
#[non_exhaustive]
pub enum TargetError {
    /// The engine failed, or refused the input.
    Store(affinis::Error),
    /// The engine of the collection does not do this; the text says what does it.
    Unsupported(String),
    /// The engine has no such setting; the text says what it has.
    Setting(String),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Unsupported(text) | Self::Setting(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for TargetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Unsupported(_) | Self::Setting(_) => None,
        }
    }
}

impl From<affinis::Error> for TargetError {
    fn from(error: affinis::Error) -> Self {
        Self::Store(error)
    }
}

impl Target {
    /// Judgements and versions.
    pub fn learning(&self) -> &Arc<Learning> {
        match self {
            Self::Embedded(collection) => collection.learning(),
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.learning(),
        }
    }

    /// Name of the collection.
    pub fn name(&self) -> &str {
        match self {
            Self::Embedded(collection) => collection.name(),
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.name(),
        }
    }

    /// Dimension of the vectors.
    pub fn dim(&self) -> usize {
        match self {
            Self::Embedded(collection) => collection.dim(),
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.dim(),
        }
    }

    /// The built-in distance, version 0.
    pub fn distance(&self) -> Distance {
        match self {
            Self::Embedded(collection) => collection.info().distance,
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.distance(),
        }
    }

    /// Whether texts can be encoded.
    pub fn has_encoder(&self) -> bool {
        match self {
            Self::Embedded(collection) => collection.info().encoder.is_some(),
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.encoder().is_some(),
        }
    }

    /// The collection of a store. `instead` says what does it to a table.
    ///
    /// # Errors
    /// [`TargetError::Unsupported`] for a table.
    #[cfg_attr(
        not(feature = "postgres"),
        allow(
            clippy::unnecessary_wraps,
            unused_variables,
            reason = "without the feature there are no tables"
        )
    )]
    pub fn embedded(&self, instead: &str) -> Result<&Collection, TargetError> {
        match self {
            Self::Embedded(collection) => Ok(collection),
            #[cfg(feature = "postgres")]
            Self::Table(table) => Err(TargetError::Unsupported(format!(
                "{:?} is a table of PostgreSQL: {instead}",
                table.name()
            ))),
        }
    }

    /// Number of items; about, where counting them takes long.
    ///
    /// # Errors
    /// Those of the database.
    pub fn len(&self) -> Result<u64, TargetError> {
        Ok(match self {
            Self::Embedded(collection) => collection.len() as u64,
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.len()?,
        })
    }

    /// Whether there are no items.
    ///
    /// # Errors
    /// Those of the database.
    pub fn is_empty(&self) -> Result<bool, TargetError> {
        Ok(self.len()? == 0)
    }

    /// The items of ids, by id; those that are not there are left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn items(&self, ids: &[String]) -> Result<HashMap<String, Item>, TargetError> {
        let found: Vec<Item> = match self {
            Self::Embedded(collection) => {
                let found = ids.iter().map(|id| collection.get(id));
                let found: Vec<Option<Item>> = found.collect::<Result<_, _>>()?;
                found.into_iter().flatten().collect()
            }
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.items(ids)?,
        };
        let named = found.into_iter().map(|item| (item.id.clone(), item));
        Ok(named.collect())
    }

    /// The vector of an image, or what is wrong with it.
    ///
    /// # Errors
    /// Without an encoder of images, and for a table.
    pub fn encode_image(&self, image: &[u8]) -> Result<Result<Vec<f32>, String>, TargetError> {
        let instead = "images are searched for in a store, and not yet on a table";
        let vector = self.embedded(instead)?.encode_images(&[image])?.pop();
        Ok(vector.unwrap_or_else(|| Err("the encoder gave nothing for it".to_owned())))
    }

    /// Settings, with this number of items, for an archive that holds as many.
    ///
    /// # Errors
    /// Those of the database.
    #[cfg_attr(
        not(feature = "postgres"),
        allow(clippy::unnecessary_wraps, reason = "only a database fails at it")
    )]
    pub fn settings(&self, items: u64) -> Result<CollectionInfo, TargetError> {
        match self {
            Self::Embedded(collection) => {
                let mut info = collection.info();
                info.items = items;
                Ok(info)
            }
            #[cfg(feature = "postgres")]
            Self::Table(table) => settings_of(table, items),
        }
    }

    /// Visits every item until `visit` gives `false`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn for_each_item(&self, mut visit: impl FnMut(Item) -> bool) -> Result<(), TargetError> {
        match self {
            Self::Embedded(collection) => {
                for item in collection.items()? {
                    if !visit(item?) {
                        break;
                    }
                }
                Ok(())
            }
            #[cfg(feature = "postgres")]
            Self::Table(table) => Ok(table.for_each_item(|item| Ok(visit(item)))?),
        }
    }

    /// Number of judgements.
    ///
    /// # Errors
    /// Those of the database.
    pub fn judgement_count(&self) -> Result<u64, TargetError> {
        Ok(match self {
            Self::Embedded(collection) => collection.judgement_count() as u64,
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.stats()?.judgements as u64,
        })
    }

    /// Stores judgements that are derived from the items.
    ///
    /// # Errors
    /// Those of the store, and for a table.
    pub fn judge_weakly(&self, from: &Weak, count: usize) -> Result<Vec<JudgementId>, TargetError> {
        let instead = "judgements cannot be derived from its rows; export them, and give judgements in a file";
        Ok(self.embedded(instead)?.judge_weakly(from, count, 0)?)
    }
}

/// Settings of a table as of a collection.
#[cfg(feature = "postgres")]
fn settings_of(table: &affinis_pgvector::Table, items: u64) -> Result<CollectionInfo, TargetError> {
    let encoder = table.encoder().map(|encoder| {
        serde_json::json!({
            "name": encoder.name(), "fingerprint": encoder.fingerprint(), "source": encoder.source(),
            "output": encoder.output(),
        })
    });
    let settings = serde_json::json!({
        "name": table.name(), "dim": table.dim(), "distance": table.distance(), "precision": "f32",
        "encoder": encoder, "items": items,
    });
    serde_json::from_value(settings)
        .map_err(|error| TargetError::Unsupported(format!("an archive cannot say this: {error}")))
}
