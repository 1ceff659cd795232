//! Documents and highlights.

use serde_json::{Value, json};

use crate::served::Served;

const TEXT: &str = "Bees collect nectar from flowers.\n\nA cargo ship sails over the ocean.";

fn ids(items: &Value) -> Vec<&str> {
    let items = items.as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect()
}

#[test]
fn documents_are_added_given_updated_judged_and_deleted() {
    let served = Served::new();
    served
        .put("/v1/collections/n", json!({"keywords": "en"}))
        .good();
    let add = |body: Value| served.post("/v1/collections/n/items", body);
    let document = json!({"id": "d", "text": TEXT, "meta": {"lang": "en"},
        "chunk": {"tokens": 12, "overlap": 0}});
    let short = json!({"id": "s", "text": "short", "chunk": true});
    let whole = json!({"id": "i", "text": TEXT, "chunk": false});
    let added = add(json!({"items": [document, short, whole]})).ok();
    assert_eq!(
        added,
        json!({"added": 3, "replaced": 0, "updated": 0, "chunks": 3, "truncated": []})
    );
    let chunks = served.get("/v1/collections/n/documents/d").ok();
    assert_eq!(ids(&chunks["items"]), ["d#000001", "d#000002"]);
    assert_eq!(
        chunks["items"][1]["meta"],
        json!({"lang": "en", "document": "d", "chunk": 2})
    );
    served.get("/v1/collections/n/items/d%23000002").good();
    served
        .get("/v1/collections/n/items/d")
        .problem(404, "not-found");
    served
        .get("/v1/collections/n/documents/i")
        .problem(404, "not-found");
    let meta = json!({"mode": "update", "items": [{"id": "d", "meta": {"year": 7}}]});
    assert_eq!(add(meta).ok()["updated"], 1);
    let count = json!({"filter": {"year": 7}});
    let counted = served.post("/v1/collections/n/count", count).ok();
    assert_eq!(counted, json!({"count": 2}));
    let judged = json!({"judgements": [
        {"query": "the ocean", "item": "d", "relevant": true},
        {"query": "a bicycle", "item": "d", "relevant": false},
    ]});
    assert_eq!(
        served.post("/v1/collections/n/judgements", judged).ok()["stored"],
        3
    );
    for (item, word) in [
        (
            json!({"id": "x", "text": "a", "chunk": {"tokens": 0}}),
            "0 tokens",
        ),
        (
            json!({"id": "x", "text": "a", "chunk": {"tokens": 9, "overlap": 9}}),
            "overlap of 9",
        ),
        (
            json!({"id": "x", "text": "a", "chunk": {"words": 9}}),
            "chunk",
        ),
        (
            json!({"id": "x", "vector": [1], "chunk": true}),
            "no vector",
        ),
        (
            json!({"id": "x", "text": "a", "meta": {"document": 1}, "chunk": true}),
            "document",
        ),
    ] {
        let detail = add(json!({"items": [item]})).problem(400, "invalid-input");
        assert!(detail.contains(word), "{item}: {detail}");
    }
    let deleted = served.delete("/v1/collections/n/items/d").ok();
    assert_eq!(deleted, json!({"deleted": 2}));
    served
        .get("/v1/collections/n/documents/d")
        .problem(404, "not-found");
    let listed = served.get("/v1/collections/n/items?vector=false").ok();
    assert_eq!(ids(&listed["items"]), ["i", "s#000001"]);
}

#[test]
fn hits_tell_the_places_that_say_why_they_were_found() {
    let served = Served::new();
    served
        .put("/v1/collections/n", json!({"keywords": "en"}))
        .good();
    let items = json!({"items": [{"id": "a", "text": TEXT}]});
    served.post("/v1/collections/n/items", items).good();
    let search = |body: Value| served.post("/v1/collections/n/search", body);
    let answer =
        search(json!({"query": "ships of the sea", "highlights": true, "include": []})).ok();
    let hit = &answer["hits"][0];
    assert_eq!(hit["text"], Value::Null);
    let places = json!([
        {"start": 35, "end": 69, "by": "meaning"},
        {"start": 43, "end": 47, "by": "words"},
        {"start": 59, "end": 62, "by": "words"},
    ]);
    let found: Vec<&Value> = hit["highlights"].as_array().unwrap().iter().collect();
    assert!(
        places.as_array().unwrap()[1..]
            .iter()
            .all(|place| found.contains(&place)),
        "{hit}"
    );
    assert!(found.iter().any(|place| place["by"] == "meaning"), "{hit}");
    let plain = search(json!({"query": "ships"})).ok();
    assert!(plain["hits"][0].get("highlights").is_none());
    search(json!({"query": "ships", "highlights": true, "k": 1001})).problem(400, "invalid-input");
}
