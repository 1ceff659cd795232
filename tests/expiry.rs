//! Items with an end: they are there until it comes, and then nowhere.

use std::time::{Duration, SystemTime};

use affinis::{
    AddMode, Chunking, Collection, Error, Filter, Item, Judgement, Language, Query, Store,
};
use affinis_testkit::WordCounts;
use serde_json::json;

const DIM: usize = 16;

fn open(store: &Store) -> Collection {
    store
        .collection("c")
        .encoder(WordCounts::new(DIM, "counts"))
        .keywords(Language::Simple)
        .open_or_create()
        .unwrap()
}

fn ids(collection: &Collection) -> Vec<String> {
    let items = collection.list(None);
    items.map(|item| item.unwrap().id).collect()
}

fn past() -> SystemTime {
    SystemTime::now() - Duration::from_mins(1)
}

fn future() -> SystemTime {
    SystemTime::now() + Duration::from_hours(24)
}

/// Waits until a time has come.
fn wait_for(end: SystemTime) {
    while SystemTime::now() <= end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_has_ended_is_found_by_no_way_of_reading() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let collection = open(&store);
    let item = |id: &str, text: &str| Item::text(id, text).with_meta(json!({"kind": "note"}));
    collection
        .add([
            item("stays", "apple tree"),
            item("later", "apple pie").expiring_at(future()),
            item("over", "apple juice").expiring_at(past()),
        ])
        .unwrap();
    let kept = ["later", "stays"];
    let kept_of = |mut found: Vec<String>| {
        found.sort();
        assert_eq!(found, kept);
    };
    let hits = |search: affinis::Search| {
        let hits = search.k(10).run().unwrap();
        hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>()
    };
    kept_of(hits(collection.search("apple juice")));
    kept_of(hits(collection.search("apple juice").hybrid()));
    kept_of(hits(collection.search("apple").words_only()));
    assert!(hits(collection.search("juice").words_only()).is_empty());
    let note = Filter::parse(r#"{"kind": "note"}"#).unwrap();
    kept_of(hits(collection.search("apple").filter(note.clone())));
    kept_of(ids(&collection));
    kept_of(
        collection
            .items()
            .unwrap()
            .map(|item| item.unwrap().id)
            .collect(),
    );
    assert_eq!(collection.count(&note).unwrap(), 2);
    assert_eq!(
        collection.facet("kind", None, 5).unwrap().values[0].count,
        2
    );
    assert_eq!(collection.len(), 2);
    assert_eq!(collection.info().items, 2);
    assert_eq!(collection.get("over").unwrap(), None);
    assert!(!collection.contains("over").unwrap());
    assert!(matches!(
        collection.get_many(&["over"]),
        Err(Error::UnknownId { .. })
    ));
    let within = collection.within("apple juice", 1e9).run().unwrap();
    assert_eq!(within.count(), 2);
    let explained = collection.explain(Query::like("stays"), "over").run();
    assert!(matches!(explained, Err(Error::UnknownId { .. })));
    assert!(
        collection
            .judge(Judgement::relevant("apple", "over"))
            .is_err()
    );
    let later = collection.get("later").unwrap().unwrap();
    assert!(later.expires.is_some() && later.expires_text().unwrap().contains('T'));
    assert_eq!(collection.get("stays").unwrap().unwrap().expires, None);
}

#[test]
fn an_end_comes_while_the_store_is_open_and_while_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let collection = open(&store);
    let end = SystemTime::now() + Duration::from_millis(300);
    collection
        .add([Item::text("soon", "pear"), Item::text("stays", "pear tree")])
        .unwrap();
    collection
        .judge(Judgement::irrelevant("pear", "soon"))
        .unwrap();
    let update = Item {
        id: "soon".into(),
        ..Item::default()
    };
    collection
        .add_as(AddMode::Update, [update.expiring_at(end)])
        .unwrap();
    wait_for(end);
    assert_eq!(ids(&collection), ["stays"]);
    // What was judged of it acts no more: it can be added anew, and is not what was rejected.
    let hits = collection.search("pear").hide_rejected().run().unwrap();
    assert_eq!(hits.len(), 1);

    let end = SystemTime::now() + Duration::from_millis(300);
    collection
        .add([Item::text("soon", "plum").expiring_at(end)])
        .unwrap();
    drop(collection);
    drop(store);
    wait_for(end);
    let store = Store::open(dir.path()).unwrap();
    let collection = open(&store);
    assert_eq!(ids(&collection), ["stays"]);
    drop(collection);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.verify().unwrap().problems.is_empty());
    assert_eq!(ids(&open(&store)), ["stays"]);
}

#[test]
fn the_last_end_counts() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let collection = open(&store);
    let soon = SystemTime::now() + Duration::from_millis(200);
    // One is replaced without an end, one gets a later one, one is removed and added again, and an
    // update that says nothing of it leaves it.
    let names = ["replaced", "longer", "again", "updated"];
    collection
        .add(names.map(|id| Item::text(id, "quince").expiring_at(soon)))
        .unwrap();
    collection
        .add([Item::text("replaced", "quince jam")])
        .unwrap();
    let longer = Item {
        id: "longer".into(),
        ..Item::default()
    };
    let meta = Item {
        id: "updated".into(),
        meta: json!({"a": 1}),
        ..Item::default()
    };
    collection
        .add_as(AddMode::Update, [longer.expiring_at(future()), meta])
        .unwrap();
    collection.delete(&["again"]).unwrap();
    collection
        .add([Item::text("again", "quince").expiring_at(future())])
        .unwrap();
    wait_for(soon);
    assert_eq!(ids(&collection), ["again", "longer", "replaced"]);
    drop(collection);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(ids(&open(&store)), ["again", "longer", "replaced"]);
}

#[test]
fn the_chunks_of_a_document_end_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let collection = open(&store);
    let text = "One sentence is here. Another one follows it. A third one ends it.";
    let chunking = Chunking {
        tokens: Some(5),
        overlap: Some(0),
    };
    let document = |id: &str| {
        let mut document = Item::document(id, text);
        document.document = Some(chunking.into());
        document
    };
    let added = collection
        .add([document("book").expiring_at(past()), document("other")])
        .unwrap();
    assert!(added.chunks >= 4, "{added:?}");
    assert!(collection.document("book").unwrap().is_empty());
    let other = collection.document("other").unwrap();
    assert_eq!(other.len() * 2, added.chunks);
    assert!(other.iter().all(|chunk| chunk.expires.is_none()));
}

#[test]
fn json_has_ends_as_times() {
    let item: Item =
        serde_json::from_value(json!({"id": "a", "text": "t", "expires": "2030-01-31T12:00:00Z"}))
            .unwrap();
    assert_eq!(item.expires_text().as_deref(), Some("2030-01-31T12:00:00Z"));
    assert_eq!(
        serde_json::to_value(&item).unwrap()["expires"],
        "2030-01-31T12:00:00Z"
    );
    assert!(
        serde_json::to_value(Item::text("a", "t"))
            .unwrap()
            .get("expires")
            .is_none()
    );
    for wrong in [json!("tomorrow"), json!("2030-01-31"), json!(17)] {
        let item =
            serde_json::from_value::<Item>(json!({"id": "a", "text": "t", "expires": wrong}));
        assert!(item.is_err(), "{wrong}");
    }
    let error = Item::parse_end("tomorrow").unwrap_err().to_string();
    assert!(error.contains("RFC 3339"), "{error}");
}
