//! Updates: items that give a part of what is stored, completed by the rest.

use serde_json::{Map, Value};

use super::documents::stored_items;
use super::write::{Given, invalid_item};
use super::{Items, WriteGuard};
use crate::model::error::{Error, Result};
use crate::model::{Item, ItemError, check_document_meta, document_meta};

impl Items {
    /// Completes items by what the stored items and documents of their ids have and they do not
    /// give.
    pub(super) fn complete(&self, items: Vec<Item>, _guard: &WriteGuard<'_>) -> Result<Vec<Given>> {
        let mut completed = Vec::with_capacity(items.len());
        let mut unknown = Vec::new();
        for (index, given) in items.into_iter().enumerate() {
            let id = given.id.clone();
            let slot = self.tables.slot(&id)?;
            let chunks = self.chunk_slots(&id)?;
            let mut stored = Vec::with_capacity(chunks.len());
            for (slot, id) in slot
                .map(|slot| (slot, id.clone()))
                .into_iter()
                .chain(chunks)
            {
                stored.push(self.read(slot, &id)?);
            }
            if stored.is_empty() {
                unknown.push(id);
                continue;
            }
            let is_split_again = given.document.is_some() && given.text.is_some();
            let keeps_vectors = given.vector.is_none() && !is_split_again;
            let items = update(given, stored, slot.is_some());
            let items = items.map_err(|source| invalid_item(index, &id, source))?;
            completed.push(Given {
                id,
                items,
                keeps_vectors,
            });
        }
        if unknown.is_empty() {
            Ok(completed)
        } else {
            Err(Error::UnknownId {
                collection: self.name.clone(),
                ids: unknown,
            })
        }
    }
}

/// What is stored of an item or a document that is completed by the stored item or chunks of its id.
fn update(given: Item, stored: Vec<Item>, is_item: bool) -> Result<Vec<Item>, ItemError> {
    let gives_text = given.text.is_some();
    if !is_item && given.document.is_none() && (gives_text || given.vector.is_some()) {
        return Err(ItemError::IsDocument);
    }
    if !is_item {
        check_document_meta(&given.meta)?;
    }
    if given.document.is_some() && gives_text {
        let mut meta = stored
            .into_iter()
            .next()
            .map_or(Value::Null, |first| first.meta);
        if !is_item {
            meta = document_meta(meta);
        }
        merge(&mut meta, given.meta.clone());
        return stored_items(Item { meta, ..given });
    }
    let completed = stored.into_iter().map(|stored| {
        let given = Item {
            id: stored.id.clone(),
            document: None,
            ..given.clone()
        };
        complete(given, stored)
    });
    Ok(completed.collect())
}

fn complete(given: Item, mut stored: Item) -> Item {
    merge(&mut stored.meta, given.meta);
    Item {
        id: given.id,
        truncated: match given.vector {
            Some(_) => given.truncated,
            None => stored.truncated,
        },
        text: given.text.or(stored.text),
        vector: given.vector.or(stored.vector),
        meta: stored.meta,
        expires: given.expires.or(stored.expires),
        document: None,
    }
}

/// Applies a JSON merge patch to metadata (RFC 7396). A patch that is null changes nothing, because
/// null is how an item says that it gives no metadata; a null inside of one removes its key.
fn merge(stored: &mut Value, patch: Value) {
    if let Value::Object(patch) = patch {
        if !stored.is_object() {
            *stored = Value::Object(Map::new());
        }
        merge_into(stored, patch);
    }
}

fn merge_into(stored: &mut Value, patch: Map<String, Value>) {
    let Some(stored) = stored.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => {
                stored.shift_remove(&key);
            }
            Value::Object(inner) => {
                let place = stored.entry(key).or_insert(Value::Null);
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                merge_into(place, inner);
            }
            value => {
                stored.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of RFC 7396, appendix A, in which both sides are objects.
    #[test]
    fn metadata_are_merged_by_rfc_7396() {
        for (stored, patch, merged) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
            (json!(null), json!({"a": 1}), json!({"a": 1})),
            (json!({"a": 1}), json!(null), json!({"a": 1})),
        ] {
            let mut found = stored.clone();
            merge(&mut found, patch.clone());
            assert_eq!(found, merged, "{stored} with {patch}");
        }
    }

    #[test]
    fn what_is_given_changes_and_the_rest_stays() {
        let stored = Item {
            truncated: true,
            ..Item::text("a", "old")
                .with_vector([1.0])
                .with_meta(json!({"k": 1}))
        };
        let meta = complete(
            Item {
                id: "a".into(),
                meta: json!({"l": 2}),
                ..Item::default()
            },
            stored.clone(),
        );
        assert_eq!(meta, stored.clone().with_meta(json!({"k": 1, "l": 2})));
        let vector = complete(Item::vector("a", [2.0]), stored.clone());
        assert_eq!(vector.text.as_deref(), Some("old"));
        assert_eq!((vector.vector, vector.truncated), (Some(vec![2.0]), false));
        let text = complete(Item::text("a", "new"), stored);
        assert_eq!(
            (text.text.as_deref(), text.vector),
            (Some("new"), Some(vec![1.0]))
        );
    }
}
