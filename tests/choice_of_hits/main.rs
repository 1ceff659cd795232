//! Which of the ranked items an answer holds: pages, thresholds, ranges, groups, facets, diversity, highlights,
//! and several queries in one. Each is compared with a choice from all items by hand.

mod diversity;
mod examples;
mod groups;
mod highlights;
mod paging;

use affinis::{Collection, Distance, Error, Hit, Hits, Item, Store};
use affinis_testkit::Random;
use serde_json::{Value, json};

pub(crate) const DIM: usize = 6;

/// `count` items with metadata: `doc` of very different frequencies, `even`, and now and then a list.
pub(crate) fn items(count: usize, seed: u64) -> Vec<Item> {
    let mut random = Random(seed);
    let all = (0..count).map(|i| {
        let vector = random.vector(DIM);
        // More than half of the items are of one document.
        let doc = match random.below(100) {
            0..60 => json!("huge"),
            60..85 => json!(format!("d{}", random.below(40))),
            85..90 => json!(random.below(5)),
            90..94 => Value::Null,
            94..97 => json!(["d1", "d2"]),
            _ => json!(format!("only {i}")),
        };
        let mut meta =
            json!({"doc": doc, "even": i % 2 == 0, "tags": [format!("t{}", i % 7), "all"]});
        if random.below(20) == 0 {
            meta.as_object_mut().expect("an object").remove("doc");
        }
        Item::vector(format!("p{i}"), vector).with_meta(meta)
    });
    all.collect()
}

pub(crate) fn collection(store: &Store, items: &[Item], distance: Distance) -> Collection {
    let name = format!("{distance}");
    let collection = store.collection(&name).dim(DIM).distance(distance);
    let collection = collection.create().expect("created");
    collection.add(items.to_vec()).expect("added");
    collection
}

pub(crate) fn vector(item: &Item) -> &[f32] {
    item.vector.as_deref().expect("a vector")
}

/// The hits of everything, in the order of distance.
pub(crate) fn all(collection: &Collection, query: &[f32]) -> Hits {
    let search = collection.search(query.to_vec()).k(10_000);
    search.include_meta().recall(1.0).run().expect("answers")
}

pub(crate) fn message(error: Error) -> String {
    assert!(matches!(error, Error::InvalidQuery(_)), "{error:?}");
    error.to_string()
}

#[track_caller]
pub(crate) fn same(found: &[Hit], expected: &[Hit]) {
    let of = |hits: &[Hit]| -> Vec<(String, f32, f32)> {
        let parts = hits
            .iter()
            .map(|hit| (hit.id.clone(), hit.distance, hit.score));
        parts.collect()
    };
    assert_eq!(of(found), of(expected));
}
