//! Searching.

use affinis::MetricChoice;
use affinis_testkit::kinds;
use serde_json::{Value, json};

use crate::served::Served;

fn ids(answer: &Value) -> Vec<&str> {
    let hits = answer["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[test]
fn each_form_of_query_is_answered() {
    let served = Served::new();
    served.plane();
    let search = |body: Value| served.post("/v1/collections/c/search", body);
    let answer = search(json!({"vector": [0.1, 0], "k": 2})).ok();
    assert_eq!(ids(&answer), ["a", "b"]);
    assert_eq!(
        (&answer["query"], &answer["metric"]),
        (&Value::Null, &json!(0))
    );
    let hit = &answer["hits"][1];
    assert_eq!(
        (&hit["rank"], &hit["text"], &hit["meta"]),
        (&json!(2), &json!("the second"), &json!({"year": 2020}))
    );
    assert!(hit.get("moved").is_none() && answer.get("visited").is_none());
    let answer =
        search(json!({"like": "a", "k": 9, "include": ["meta"], "explain_search": true})).ok();
    assert_eq!(ids(&answer), ["b", "c", "d"]);
    assert_eq!(
        (&answer["query"], &answer["hits"][0]["text"]),
        (&json!("a"), &Value::Null)
    );
    assert_eq!(answer["plan"], "scan");
    let filtered = json!({"like": "a", "filter": {"lang": "de"}});
    assert_eq!(ids(&search(filtered).ok()), ["c"]);
    let nothing = json!({"like": "a", "filter": {"lang": "fr"}});
    assert_eq!(search(nothing).ok()["hits"], json!([]));
    for (body, status, kind) in [
        (json!({}), 400, "invalid-input"),
        (json!({"like": "a", "vector": [0, 0]}), 400, "invalid-input"),
        (json!({"like": "a", "k": 0}), 400, "invalid-input"),
        (json!({"like": "a", "k": 10_001}), 400, "invalid-input"),
        (
            json!({"like": "a", "ef": 1, "recall": 0.5}),
            400,
            "invalid-input",
        ),
        (
            json!({"like": "a", "metric": "manhattan"}),
            400,
            "invalid-input",
        ),
        (json!({"like": "a", "size": 3}), 400, "invalid-input"),
        (json!({"vector": [1]}), 400, "invalid-input"),
        (json!({"like": "nobody"}), 404, "not-found"),
        (json!({"like": "a", "metric": 7}), 404, "not-found"),
        (json!({"query": "a text"}), 409, "conflict"),
    ] {
        search(body).problem(status, kind);
    }
    served
        .post("/v1/collections/none/search", json!({"like": "a"}))
        .problem(404, "not-found");
}

#[test]
fn texts_are_encoded() {
    let served = Served::new();
    served
        .put("/v1/collections/notes", json!({"encoder": "embedded"}))
        .ok();
    let items = json!({"items": [
        {"id": "trees", "text": "how to prune apple trees"},
        {"id": "car", "text": "changing the oil of a car"},
    ]});
    served.post("/v1/collections/notes/items", items).ok();
    let search = json!({"query": "fruit tree care", "k": 1});
    let answer = served.post("/v1/collections/notes/search", search).ok();
    assert_eq!(
        (ids(&answer), &answer["query"]),
        (vec!["trees"], &json!("fruit tree care"))
    );
}

#[test]
fn many_queries_have_the_answers_of_each() {
    let served = Served::of_kinds(0);
    let search = |body: Value| served.post("/v1/collections/points/search", body).ok();
    let queries = json!([{"like": "3"}, {"like": "141"}]);
    let many = search(json!({"queries": queries, "k": 5, "explain_search": false}));
    let single = ["3", "141"].map(|id| search(json!({"like": id, "k": 5})));
    assert_eq!(many["answers"], json!(single));
    assert_eq!(search(json!({"queries": []})), json!({"answers": []}));
    let body = json!({"queries": queries, "like": "3"});
    served
        .post("/v1/collections/points/search", body)
        .problem(400, "invalid-input");
    let body = json!({"queries": vec![json!({"like": "3"}); 11], "k": 10_000});
    served
        .post("/v1/collections/points/search", body)
        .problem(400, "invalid-input");
}

#[test]
fn a_comparison_tells_how_each_hit_moved() {
    let served = Served::of_kinds(60);
    let begun = served
        .post("/v1/collections/points/refit", json!({"force": true}))
        .ok();
    assert_eq!(served.result(&begun)["version"], 1);
    let compare = json!({"like": "7", "k": 20, "compare": "euclidean"});
    let answer = served.post("/v1/collections/points/search", compare).ok();
    assert_eq!(
        (&answer["metric"], &answer["compared"]["metric"]),
        (&json!(1), &json!(0))
    );
    let there = ids(&answer["compared"]);
    let mut moved = 0;
    for (at, hit) in answer["hits"].as_array().unwrap().iter().enumerate() {
        let before = there.iter().position(|id| hit["id"] == *id);
        let expected = before.map(|before| before as i64 - at as i64);
        assert_eq!(hit["moved"], json!(expected), "{hit}");
        moved += i64::from(expected != Some(0));
    }
    assert!(moved > 0, "the metrics rank alike: {answer}");
}

#[test]
fn answers_are_those_of_the_crate() {
    let mut served = Served::of_kinds(0);
    let body = json!({"like": "42", "k": 50, "metric": "euclidean"});
    let answer = served.post("/v1/collections/points/search", body).ok();
    served.ended();
    let store = kinds::open(&served.dir.path().join("store"));
    let points = store.collection("points").open().unwrap();
    let search = points.search(affinis::Query::like("42")).k(50);
    let hits = search.metric(MetricChoice::BuiltIn).run().unwrap();
    let expected: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!(ids(&answer), expected);
    for (hit, expected) in answer["hits"].as_array().unwrap().iter().zip(&hits) {
        assert_eq!(hit["distance"].as_f64().unwrap() as f32, expected.distance);
        assert_eq!(hit["score"].as_f64().unwrap() as f32, expected.score);
    }
}
