//! Reading and removing items, wherever they are.

use std::collections::{HashMap, HashSet};

use affinis::{Filter, Item};

use super::{Target, WITH_SQL};
use crate::failure::Failure;

/// Items that are read one by one.
type Reading<'a> = Box<dyn Iterator<Item = Result<Item, Failure>> + 'a>;

impl Target {
    /// The items of ids, by id; those that are not there are left out.
    pub(crate) fn items(&self, ids: &[String]) -> Result<HashMap<String, Item>, Failure> {
        match self {
            Self::Local(local) => Ok(local.items(ids)?),
            #[cfg(feature = "client")]
            Self::Remote(remote) => {
                let found = remote.items(ids)?.into_iter();
                Ok(found.map(|item| (item.id.clone(), item)).collect())
            }
        }
    }

    /// Those of some ids that are of an item or a document.
    pub(crate) fn existing(&self, ids: &[String]) -> Result<HashSet<String>, Failure> {
        match self {
            Self::Local(local) => {
                let Ok(collection) = local.embedded(WITH_SQL) else {
                    return Ok(local.items(ids)?.into_keys().collect());
                };
                let mut found = HashSet::new();
                for id in ids {
                    if collection.contains(id)? || collection.contains_document(id)? {
                        found.insert(id.clone());
                    }
                }
                Ok(found)
            }
            #[cfg(feature = "client")]
            Self::Remote(remote) => remote.existing(ids),
        }
    }

    /// The items of ids and the chunks of documents of ids, in their order, all of which must exist.
    pub(crate) fn get_many(&self, ids: &[String]) -> Result<Vec<Item>, Failure> {
        match self {
            Self::Local(local) => {
                let collection = local.embedded(WITH_SQL)?;
                let (mut found, mut unknown) = (Vec::with_capacity(ids.len()), Vec::new());
                for id in ids {
                    let items = match collection.get(id)? {
                        Some(item) => vec![item],
                        None => collection.document(id)?,
                    };
                    if items.is_empty() {
                        unknown.push(id.clone());
                    }
                    found.extend(items);
                }
                if unknown.is_empty() {
                    return Ok(found);
                }
                let collection = collection.name().to_owned();
                let ids = unknown;
                Err(affinis::Error::UnknownId { collection, ids }.into())
            }
            #[cfg(feature = "client")]
            Self::Remote(remote) => remote.get_many(ids),
        }
    }

    /// The items that match a filter, in the order of their ids.
    pub(crate) fn matching(&self, filter: &Filter) -> Result<Reading<'_>, Failure> {
        Ok(match self {
            Self::Local(local) => {
                let items = local.embedded(WITH_SQL)?.get_matching(filter)?;
                Box::new(items.map(|item| item.map_err(Failure::from)))
            }
            #[cfg(feature = "client")]
            Self::Remote(remote) => {
                let items = remote.collection().list().filter(filter.clone()).run();
                Box::new(items.map(|item| Ok(item?.into())))
            }
        })
    }

    /// The items whose ids follow another, in the order of their ids. Somebody who reads `limit` of
    /// them may want to know whether there is one more.
    #[cfg_attr(
        not(feature = "client"),
        expect(unused_variables, reason = "only a service is asked for pages")
    )]
    pub(crate) fn list(
        &self,
        after: Option<&str>,
        limit: Option<u64>,
        vectors: bool,
    ) -> Result<Reading<'_>, Failure> {
        Ok(match self {
            Self::Local(local) => {
                let items = local.embedded(WITH_SQL)?.list(after);
                Box::new(items.map(|item| item.map_err(Failure::from)))
            }
            #[cfg(feature = "client")]
            Self::Remote(remote) => {
                let items = remote.list(after, limit, vectors).run();
                Box::new(items.map(|item| Ok(item?.into())))
            }
        })
    }

    /// Number of items that match a filter; of all of them without one.
    pub(crate) fn count(&self, filter: Option<&Filter>) -> Result<u64, Failure> {
        match (self, filter) {
            (Self::Local(local), Some(filter)) => {
                Ok(local.embedded(WITH_SQL)?.count(filter)? as u64)
            }
            #[cfg(feature = "client")]
            (Self::Remote(remote), filter) => Ok(remote.collection().count(filter)?),
            (Self::Local(_), None) => self.len(),
        }
    }

    /// Deletes items, all or none.
    pub(crate) fn delete(&self, ids: &[String]) -> Result<usize, Failure> {
        match self {
            Self::Local(local) => Ok(local.embedded(WITH_SQL)?.delete(ids)?),
            #[cfg(feature = "client")]
            Self::Remote(remote) => Ok(remote.collection().delete(ids)?),
        }
    }

    /// Deletes the items that match a filter.
    pub(crate) fn delete_matching(&self, filter: &Filter) -> Result<usize, Failure> {
        match self {
            Self::Local(local) => Ok(local.embedded(WITH_SQL)?.delete_matching(filter)?),
            #[cfg(feature = "client")]
            Self::Remote(remote) => Ok(remote.collection().delete_matching(filter)?),
        }
    }
}
