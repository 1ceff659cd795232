//! The collection that a command is about, in whichever engine it is.
#![cfg_attr(
    not(feature = "postgres"),
    allow(
        clippy::unnecessary_wraps,
        reason = "only a database fails at what a store in memory knows"
    )
)]

use std::collections::HashMap;
use std::sync::Arc;

use affinis::engine::Learning;
use affinis::learning::Weak;
use affinis::{Collection, CollectionInfo, Filter, Hits, Item, JudgementId, MetricChoice, Query};

use crate::commands::expected;
use crate::failure::Failure;
use crate::input::Expected;

/// A collection of a store in a directory, or one that is attached to a table of a database.
pub(crate) enum Target {
    Embedded(Collection),
    #[cfg(feature = "postgres")]
    Table(affinis_pgvector::Table),
}

/// The settings of a search.
pub(crate) struct SearchSettings<'a> {
    pub(crate) k: usize,
    pub(crate) metric: MetricChoice,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) ef: Option<usize>,
    pub(crate) recall: Option<f64>,
    pub(crate) user: Option<&'a str>,
    /// Whether judgements of the question, and of questions like it, show.
    pub(crate) memory: bool,
    /// Whether items are left out that the user called irrelevant for the question.
    pub(crate) hide_rejected: bool,
}

impl Target {
    /// Judgements and versions.
    pub(crate) fn learning(&self) -> &Arc<Learning> {
        match self {
            Self::Embedded(collection) => collection.learning(),
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.learning(),
        }
    }

    /// Name of the collection.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Embedded(collection) => collection.name(),
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.name(),
        }
    }

    /// Dimension of the vectors.
    pub(crate) fn dim(&self) -> usize {
        self.expected().dim
    }

    /// Number of items; about, where counting them takes long.
    pub(crate) fn len(&self) -> Result<u64, Failure> {
        Ok(match self {
            Self::Embedded(collection) => collection.len() as u64,
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.len()?,
        })
    }

    /// What it accepts as input.
    pub(crate) fn expected(&self) -> Expected {
        match self {
            Self::Embedded(collection) => expected(collection),
            #[cfg(feature = "postgres")]
            Self::Table(table) => Expected {
                dim: table.dim(),
                texts: table.encoder().is_some(),
                distance: table.distance(),
                skip_bad: false,
            },
        }
    }

    /// The items of ids, by id; those that are not there are left out.
    pub(crate) fn items(&self, ids: &[String]) -> Result<HashMap<String, Item>, Failure> {
        let found: Vec<Item> = match self {
            Self::Embedded(collection) => {
                let found = ids.iter().map(|id| collection.get(id));
                let found: Vec<Option<Item>> = found.collect::<Result<_, _>>()?;
                found.into_iter().flatten().collect()
            }
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.items(ids)?,
        };
        Ok(found
            .into_iter()
            .map(|item| (item.id.clone(), item))
            .collect())
    }

    /// The vector of an image, or what is wrong with it.
    pub(crate) fn encode_image(&self, image: &[u8]) -> Result<Result<Vec<f32>, String>, Failure> {
        match self {
            Self::Embedded(collection) => {
                let vector = collection.encode_images(&[image])?.pop();
                Ok(vector.unwrap_or_else(|| Err("the encoder gave nothing for it".to_owned())))
            }
            #[cfg(feature = "postgres")]
            Self::Table(_) => Err(Failure::Failed(
                "images are searched for in a store, and not yet on a table of PostgreSQL"
                    .to_owned(),
            )),
        }
    }

    /// Settings and size, for an archive.
    pub(crate) fn settings(&self) -> Result<CollectionInfo, Failure> {
        match self {
            Self::Embedded(collection) => Ok(collection.info()),
            #[cfg(feature = "postgres")]
            Self::Table(table) => {
                // An archive says how many items follow, so they are counted one by one.
                let mut items = 0;
                table.for_each_item(|_| {
                    items += 1;
                    Ok(true)
                })?;
                crate::commands::pg::settings(table, items)
            }
        }
    }

    /// Visits every item until `visit` gives `false`.
    pub(crate) fn for_each_item(&self, mut visit: impl FnMut(Item) -> bool) -> Result<(), Failure> {
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
    pub(crate) fn judgement_count(&self) -> Result<u64, Failure> {
        Ok(match self {
            Self::Embedded(collection) => collection.judgement_count() as u64,
            #[cfg(feature = "postgres")]
            Self::Table(table) => table.stats()?.judgements as u64,
        })
    }

    /// Stores judgements that are derived from the items.
    pub(crate) fn judge_weakly(
        &self,
        from: &Weak,
        count: usize,
    ) -> Result<Vec<JudgementId>, Failure> {
        match self {
            Self::Embedded(collection) => Ok(collection.judge_weakly(from, count, 0)?),
            #[cfg(feature = "postgres")]
            Self::Table(_) => Err(Failure::Failed(
                "judgements cannot be derived from the rows of a table; export them, and give judgements in a file".to_owned(),
            )),
        }
    }

    /// The answer to a query.
    pub(crate) fn search(
        &self,
        query: Query,
        settings: &SearchSettings<'_>,
    ) -> Result<Hits, Failure> {
        match self {
            Self::Embedded(collection) => {
                let mut search = collection
                    .search(query)
                    .k(settings.k)
                    .metric(settings.metric)
                    .memory(settings.memory)
                    .include_text()
                    .include_meta();
                if let Some(filter) = settings.filter {
                    search = search.filter(filter.clone());
                }
                if let Some(ef) = settings.ef {
                    search = search.ef(ef);
                }
                if let Some(recall) = settings.recall {
                    search = search.recall(recall);
                }
                if let Some(user) = settings.user {
                    search = search.user(user);
                }
                if settings.hide_rejected {
                    search = search.hide_rejected();
                }
                Ok(search.run()?)
            }
            #[cfg(feature = "postgres")]
            Self::Table(table) => {
                let mut search = table
                    .search(query)
                    .k(settings.k)
                    .metric(settings.metric)
                    .include_text()
                    .include_meta();
                if let Some(filter) = settings.filter {
                    search = search.filter(filter.clone());
                }
                if settings.hide_rejected {
                    return Err(Failure::Usage(
                        "--hide-rejected works on a store in a directory, and not yet on a table of PostgreSQL"
                            .to_owned(),
                    ));
                }
                if let Some(ef) = settings.ef {
                    search = search.candidates(ef);
                }
                if settings.recall.is_some() {
                    return Err(Failure::Usage(
                        "over PostgreSQL the number of candidates is measured for a recall of 0.95; --ef N sets it"
                            .to_owned(),
                    ));
                }
                if let Some(user) = settings.user {
                    search = search.user(user);
                }
                Ok(search.run()?)
            }
        }
    }
}
