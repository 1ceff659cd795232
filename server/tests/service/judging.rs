//! Judgements, signals, and forgetting.

use serde_json::{Value, json};

use crate::served::Served;

const JUDGEMENTS: &str = "/v1/collections/c/judgements";

#[test]
fn judgements_are_stored_all_or_none_and_listed() {
    let served = Served::new();
    served.plane();
    let judge = |judgements: Value| served.post(JUDGEMENTS, json!({"judgements": judgements}));
    let stored = judge(json!([
        {"query_id": "a", "item": "b", "relevant": true, "user": "ann"},
        {"query_vector": [0, 0], "item": "c", "grade": 0.3, "weight": 2},
        {"a": "b", "b": "c", "similar": false, "source": "proxy"},
    ]));
    assert_eq!(stored.ok(), json!({"stored": 3, "first": 0, "last": 2}));
    for (judgement, status, kind) in [
        (
            json!({"query_id": "a", "item": "nobody", "relevant": true}),
            404,
            "not-found",
        ),
        (
            json!({"query_id": "a", "item": "a", "relevant": true}),
            400,
            "invalid-input",
        ),
        (
            json!({"query_id": "a", "item": "b", "grade": 2}),
            400,
            "invalid-input",
        ),
        (json!({"query_id": "a", "item": "b"}), 400, "invalid-input"),
        (
            json!({"query_id": "a", "item": "b", "relevant": true, "colour": 1}),
            400,
            "invalid-input",
        ),
        (
            json!({"query": "text", "item": "b", "relevant": true}),
            409,
            "conflict",
        ),
    ] {
        judge(json!([{"a": "a", "b": "d", "similar": true}, judgement])).problem(status, kind);
    }
    judge(json!([])).problem(400, "invalid-input");
    let listed = served.get(JUDGEMENTS).ok();
    let all = listed["judgements"].as_array().unwrap();
    assert_eq!((all.len(), &listed["next"]), (3, &Value::Null));
    assert_eq!(
        (
            &all[0]["query_id"],
            &all[0]["item"],
            &all[0]["grade"],
            &all[0]["user"],
            &all[0]["sequence"],
            &all[0]["teaches"]
        ),
        (
            &json!("a"),
            &json!("b"),
            &json!(1.0),
            &json!("ann"),
            &json!(0),
            &json!(true)
        )
    );
    assert_eq!(all[1]["grade"], 0.3);
    let numbers = |query: &str| -> Vec<u64> {
        let listed = served.get(&format!("{JUDGEMENTS}?{query}")).ok();
        let listed = listed["judgements"].as_array().unwrap().iter();
        listed
            .map(|judgement| judgement["sequence"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers("user=ann"), [0]);
    assert_eq!(numbers("item=c"), [1, 2]);
    let of_a = numbers("query_id=a");
    assert!(of_a.contains(&0), "{of_a:?}");
    assert!(numbers("query_id=nobody").is_empty() && numbers("query=a").is_empty());
    assert_eq!(numbers("after=0&limit=1"), [1]);
    assert_eq!(served.get(&format!("{JUDGEMENTS}?limit=2")).ok()["next"], 1);
    served.delete("/v1/collections/c/items/b").ok();
    let stale = &served.get(JUDGEMENTS).ok()["judgements"][0];
    assert_eq!(
        (&stale["teaches"], &stale["gone"]),
        (&json!(false), &json!(["b"]))
    );
}

#[test]
fn judgements_are_found_by_the_text_that_was_asked() {
    let served = Served::new();
    served.put("/v1/collections/notes", json!({})).ok();
    let items = json!({"items": [{"id": "a", "text": "apple trees"}, {"id": "b", "text": "cars"}]});
    served.post("/v1/collections/notes/items", items).ok();
    let judgements = json!({"judgements": [
        {"query": "fruit", "item": "a", "relevant": true},
        {"query": "roads", "item": "b", "relevant": true},
    ]});
    served
        .post("/v1/collections/notes/judgements", judgements)
        .ok();
    let found = served
        .get("/v1/collections/notes/judgements?query=fruit")
        .ok();
    assert_eq!(found["judgements"].as_array().unwrap().len(), 1);
    assert_eq!(found["judgements"][0]["query"], "fruit");
}

#[test]
fn a_judgement_is_withdrawn_and_a_user_forgotten() {
    let served = Served::new();
    served.plane();
    let judgements = json!({"judgements": [
        {"query_id": "a", "item": "b", "relevant": true, "user": "ann"},
        {"query_id": "a", "item": "c", "relevant": true, "user": "ann"},
        {"query_id": "a", "item": "d", "relevant": false, "user": "bob"},
    ]});
    served.post(JUDGEMENTS, judgements).ok();
    let withdrawn = served.delete(&format!("{JUDGEMENTS}/1")).ok();
    assert_eq!(
        withdrawn,
        json!({"removed": 1, "withdrawn": [], "refit": null, "active": 0, "users": []})
    );
    served
        .delete(&format!("{JUDGEMENTS}/1"))
        .problem(404, "not-found");
    let forget = |body: Value| served.post("/v1/collections/c/forget", body);
    assert_eq!(forget(json!({"user": "ann"})).ok()["removed"], 1);
    assert_eq!(forget(json!({"item": "d"})).ok()["removed"], 1);
    forget(json!({})).problem(400, "invalid-input");
    forget(json!({"user": "ann", "item": "d"})).problem(400, "invalid-input");
    assert_eq!(served.get(JUDGEMENTS).ok()["judgements"], json!([]));
}

#[test]
fn signals_are_clicks_with_what_was_shown() {
    let served = Served::new();
    served.plane();
    let signals =
        |body: Value| served.post("/v1/collections/c/signals", json!({"signals": [body]}));
    let stored = signals(
        json!({"query_id": "a", "shown": ["b", "c", "d"], "clicked": ["c", "d"], "user": "ann"}),
    );
    assert_eq!(stored.ok()["stored"], 2);
    let listed = served.get(JUDGEMENTS).ok();
    let click = &listed["judgements"][0];
    assert_eq!(
        (
            &click["source"],
            &click["item"],
            &click["shown"],
            &click["user"]
        ),
        (
            &json!("click"),
            &json!("c"),
            &json!(["b", "c", "d"]),
            &json!("ann")
        )
    );
    signals(json!({"query_id": "a", "shown": ["b"], "clicked": ["c"]}))
        .problem(400, "invalid-input");
    let none = signals(json!({"query_id": "a", "shown": ["b"], "clicked": []})).ok();
    assert_eq!((&none["stored"], &none["first"]), (&json!(0), &Value::Null));
}
