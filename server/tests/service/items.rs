//! Collections and items.

use affinis_testkit::kinds;
use serde_json::{Value, json};

use crate::served::Served;

#[test]
fn a_collection_is_made_listed_described_and_dropped() {
    let served = Served::new();
    assert_eq!(
        served.get("/v1/collections").ok(),
        json!({"collections": []})
    );
    let made = served.put("/v1/collections/notes", json!({}));
    assert_eq!(made.status, 201);
    let made = made.json();
    assert_eq!(
        (&made["name"], &made["items"]),
        (&json!("notes"), &json!(0))
    );
    assert_eq!(made["encoder"]["source"], "embedded");
    served.plane();
    let listed = served.get("/v1/collections").ok();
    let names: Vec<&Value> = listed["collections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["c", "notes"]);
    let stats = served.get("/v1/collections/c").ok();
    for (field, value) in [
        ("name", json!("c")),
        ("distance", json!("l2")),
        ("encoder", Value::Null),
        ("items", json!(4)),
        ("dim", json!(2)),
        ("judgements", json!(0)),
        ("active_metric", json!(0)),
    ] {
        assert_eq!(stats[field], value, "{field} of {stats}");
    }
    assert_eq!(
        served.delete("/v1/collections/c").ok(),
        json!({"dropped": "c"})
    );
    served.get("/v1/collections/c").problem(404, "not-found");
    served.delete("/v1/collections/c").problem(404, "not-found");
}

#[test]
fn settings_of_a_collection_are_taken_or_refused() {
    let served = Served::new();
    let settings = json!({"dim": 3, "distance": "cosine", "precision": "f16"});
    let made = served
        .put("/v1/collections/%C3%A9t%C3%A9%2F1", settings.clone())
        .ok();
    assert_eq!(
        (&made["name"], &made["distance"], &made["precision"]),
        (&json!("\u{e9}t\u{e9}/1"), &json!("cosine"), &json!("f16"))
    );
    served
        .put("/v1/collections/%C3%A9t%C3%A9%2F1", settings)
        .problem(409, "already-exists");
    for (settings, word) in [
        (json!({"dim": 0}), "4096"),
        (json!({"encoder": "/etc/passwd"}), "/v1/encoders"),
        (json!({"encoder": "embedded", "dim": 3}), "not both"),
        (json!({"dim": 3, "distance": "taxi"}), "taxi"),
        (json!({"dimension": 3}), "dimension"),
    ] {
        let detail = served
            .put("/v1/collections/x", settings.clone())
            .problem(400, "invalid-input");
        assert!(detail.contains(word), "{settings}: {detail}");
    }
    served.get("/v1/collections/x").problem(404, "not-found");
}

#[test]
fn items_are_added_in_each_mode_read_and_deleted() {
    let served = Served::new();
    served.plane();
    let of = |id: &str| served.get(&format!("/v1/collections/c/items/{id}"));
    assert_eq!(
        of("b").ok(),
        json!({"id": "b", "text": "the second", "vector": [1.0, 0.0], "meta": {"year": 2020}})
    );
    let add = |body: Value| served.post("/v1/collections/c/items", body);
    let again = json!({"items": [{"id": "a", "vector": [9, 9]}], "mode": "insert"});
    add(again).problem(409, "already-exists");
    let update = json!({"items": [{"id": "a", "meta": {"year": 2018}}], "mode": "update"});
    assert_eq!(add(update).ok()["updated"], 1);
    assert_eq!(of("a").ok()["meta"], json!({"year": 2018, "lang": "en"}));
    let replaced = add(json!({"items": [{"id": "a", "vector": [0, 1]}]})).ok();
    assert_eq!(
        replaced,
        json!({"added": 0, "replaced": 1, "updated": 0, "truncated": []})
    );
    for (item, word) in [
        (json!({"id": "x"}), "neither a text nor a vector"),
        (json!({"id": "x", "vector": [1]}), "dimension"),
        (json!({"id": "", "vector": [1, 1]}), "empty"),
        (json!({"id": "x", "vector": [1, 1], "colour": 1}), "colour"),
        (json!({"id": "x", "vector": [1, 1], "meta": 1}), "object"),
    ] {
        let good = json!({"id": "good", "vector": [1, 1]});
        let detail = add(json!({"items": [good, item]})).problem(400, "invalid-input");
        assert!(detail.contains(word), "{item}: {detail}");
    }
    add(json!({"items": []})).problem(400, "invalid-input");
    of("good").problem(404, "not-found");
    assert_eq!(
        served.delete("/v1/collections/c/items/a").ok(),
        json!({"deleted": 1})
    );
    of("a").problem(404, "not-found");
}

#[test]
fn ids_are_any_text() {
    let served = Served::new();
    served.plane();
    for (id, path) in [
        ("a/b c?d#e", "a%2Fb%20c%3Fd%23e"),
        ("count", "count"),
        ("\u{732b}", "%E7%8C%AB"),
        ("..", "%2E%2E"),
    ] {
        let item = json!({"items": [{"id": id, "vector": [1, 1]}]});
        served.post("/v1/collections/c/items", item).ok();
        let path = format!("/v1/collections/c/items/{path}");
        assert_eq!(served.get(&path).ok()["id"], id);
        assert_eq!(served.delete(&path).ok()["deleted"], 1, "{id}");
    }
}

#[test]
fn a_listing_is_taken_up_where_it_stopped() {
    let served = Served::of_kinds(0);
    let mut ids: Vec<String> = kinds::kinds(1_000)
        .into_iter()
        .map(|item| item.id)
        .collect();
    ids.sort();
    let mut read: Vec<String> = Vec::new();
    let mut after = String::new();
    loop {
        let page = served
            .get(&format!(
                "/v1/collections/points/items?limit=300&vector=false{after}"
            ))
            .ok();
        let items = page["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["vector"].is_null()));
        read.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(read, ids);
    for limit in ["0", "10001", "x"] {
        let path = format!("/v1/collections/points/items?limit={limit}");
        served.get(&path).problem(400, "invalid-input");
    }
}

#[test]
fn filters_list_count_and_delete() {
    let served = Served::new();
    served.plane();
    let filter = "%7B%22year%22%3A%7B%22%24gte%22%3A2020%7D%7D";
    let page = served
        .get(&format!("/v1/collections/c/items?filter={filter}&limit=1"))
        .ok();
    assert_eq!(
        (&page["items"][0]["id"], &page["next"]),
        (&json!("b"), &json!("b"))
    );
    let page = served
        .get(&format!("/v1/collections/c/items?filter={filter}&after=b"))
        .ok();
    assert_eq!(
        (&page["items"][0]["id"], &page["next"]),
        (&json!("c"), &Value::Null)
    );
    let count = |body: Value| served.post("/v1/collections/c/count", body).ok()["count"].clone();
    assert_eq!(count(json!({})), 4);
    assert_eq!(count(json!({"filter": {"lang": {"$exists": true}}})), 2);
    let wrong = json!({"filter": {"year": {"$near": 1}}});
    let detail = served
        .post("/v1/collections/c/count", wrong)
        .problem(400, "invalid-input");
    assert!(detail.contains("$near"), "{detail}");
    let delete = |body: Value| served.post("/v1/collections/c/delete", body);
    delete(json!({"ids": ["a", "nobody"]})).problem(404, "not-found");
    delete(json!({"ids": ["a"], "filter": {}})).problem(400, "invalid-input");
    delete(json!({})).problem(400, "invalid-input");
    assert_eq!(count(json!({})), 4);
    assert_eq!(delete(json!({"filter": {"lang": "de"}})).ok()["deleted"], 1);
    assert_eq!(delete(json!({"ids": ["d", "a"]})).ok()["deleted"], 2);
    let found = served
        .post("/v1/collections/c/get", json!({"ids": ["b"]}))
        .ok();
    assert_eq!(found["items"][0]["text"], "the second");
    served
        .post("/v1/collections/c/get", json!({"ids": ["b", "a"]}))
        .problem(404, "not-found");
}

#[test]
fn what_was_acknowledged_is_there_when_the_store_is_opened_again() {
    let mut served = Served::new();
    served.plane();
    let judgement = json!({"judgements": [{"query_id": "a", "item": "b", "relevant": true}]});
    served.post("/v1/collections/c/judgements", judgement).ok();
    served.ended();
    let store = kinds::open(&served.dir.path().join("store"));
    let collection = store.collection("c").open().unwrap();
    assert_eq!((collection.len(), collection.judgement_count()), (4, 1));
}
