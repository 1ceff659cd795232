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
fn pages_by_cursor_are_those_of_one_answer() {
    let served = Served::of_kinds(0);
    let search = |body: Value| served.post("/v1/collections/points/search", body);
    let whole = search(json!({"like": "3", "k": 50, "recall": 1.0})).ok();
    let mut cursor = json!("start");
    let mut found: Vec<Value> = Vec::new();
    while found.len() < 50 {
        let body = json!({"like": "3", "k": 10, "recall": 1.0, "cursor": cursor});
        let page = search(body).ok();
        found.extend(page["hits"].as_array().unwrap().iter().cloned());
        cursor = page["cursor"].clone();
    }
    assert_eq!(json!(found), whole["hits"]);
    let page = search(json!({"like": "3", "k": 5, "offset": 20, "recall": 1.0})).ok();
    assert_eq!(ids(&page), ids(&whole)[20..25]);
    for body in [
        json!({"like": "4", "recall": 1.0, "cursor": cursor}),
        json!({"like": "3", "cursor": cursor}),
        json!({"like": "3", "cursor": "AAAA"}),
        json!({"like": "3", "cursor": "start", "offset": 1}),
        json!({"like": "3", "cursor": "start", "compare": "euclidean"}),
        json!({"queries": [{"like": "3"}], "cursor": "start"}),
        json!({"like": "3", "offset": 10_000}),
        json!({"like": "3", "offset": -1}),
    ] {
        search(body).problem(400, "invalid-input");
    }
}

#[test]
fn groups_facets_diversity_and_thresholds_are_settings_of_a_search() {
    let served = Served::new();
    served.plane();
    let search = |body: Value| served.post("/v1/collections/c/search", body);
    let grouped = search(json!({"vector": [0, 0], "group_by": "lang", "k": 3})).ok();
    assert_eq!(ids(&grouped), ["a", "b", "c"]);
    assert_eq!(grouped["hits"][2]["group"], "de");
    let groups = json!([{"value": "en", "count": 1}, {"value": null, "count": 1}, {"value": "de", "count": 1}]);
    assert_eq!(grouped["groups"], groups);
    let body = json!({"vector": [0, 0], "facets": ["lang", "year"], "facet_values": 1});
    let counted = search(body).ok();
    let lang = json!({"values": [{"value": "de", "count": 1}], "distinct": 2, "missing": 2, "uncounted": 0});
    assert_eq!(counted["facets"]["lang"], lang);
    let near = search(json!({"vector": [0, 0], "max_distance": 1})).ok();
    assert_eq!(ids(&near), ["a", "b"]);
    let spread = search(json!({"vector": [0, 0], "k": 2, "diversity": 1})).ok();
    assert_eq!(ids(&spread), ["a", "d"]);
    for body in [
        json!({"vector": [0, 0], "per_group": 2}),
        json!({"vector": [0, 0], "group_by": "lang", "per_group": 0}),
        json!({"vector": [0, 0], "group_by": ""}),
        json!({"vector": [0, 0], "group_by": "lang", "diversity": 0.5}),
        json!({"vector": [0, 0], "diversity": 1.5}),
        json!({"vector": [0, 0], "facet_values": 5}),
        json!({"vector": [0, 0], "facets": [""]}),
        json!({"vector": [0, 0], "facets": ["lang"], "facet_values": 0}),
    ] {
        search(body).problem(400, "invalid-input");
    }
}

#[test]
fn several_queries_are_put_into_one() {
    let served = Served::new();
    served.plane();
    let search = |body: Value| served.post("/v1/collections/c/search", body);
    // (1, 0) + ((1, 0) - (0, 2)) = (2, -2).
    let answer = search(json!({"like": ["b"], "unlike": "c", "k": 9})).ok();
    assert_eq!(ids(&answer), ["a", "d"]);
    assert_eq!(answer["query"], json!({"like": ["b"], "unlike": ["c"]}));
    let weighted = json!({
        "positive": [{"vector": [4, 4], "weight": 3}, {"like": "a"}],
        "negative": [{"vector": [3, 3]}], "k": 1
    });
    assert_eq!(ids(&search(weighted).ok()), ["d"]);
    let many = json!({"queries": [{"like": ["a", "b"]}, {"like": "a"}], "k": 1});
    let many = search(many).ok();
    assert_eq!(
        (ids(&many["answers"][0]), ids(&many["answers"][1])),
        (vec!["c"], vec!["b"])
    );
    for body in [
        json!({"unlike": ["a"]}),
        json!({"like": []}),
        json!({"like": ["a"], "negative": [{"like": "b", "weight": 0}]}),
        json!({"positive": [{"like": "a", "vector": [0, 0]}]}),
        json!({"positive": [{}]}),
        json!({"like": ["a"], "unlike": ["b"], "hide_rejected": true}),
    ] {
        search(body).problem(400, "invalid-input");
    }
    search(json!({"like": ["a", "nobody"]})).problem(404, "not-found");
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

#[test]
fn words_rank_where_they_are_asked_for() {
    let served = Served::new();
    let texts = json!({"encoder": "embedded", "keywords": "en"});
    assert_eq!(served.put("/v1/collections/t", texts).status, 201);
    let items = json!({"items": [{"id": "a", "text": "apple trees"}, {"id": "b", "text": "oil of a car, CWE-79"}]});
    served.post("/v1/collections/t/items", items).ok();
    let search = |more: Value| {
        let mut body = json!({"query": "tree cwe"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        served.post("/v1/collections/t/search", body)
    };
    for more in [json!({"hybrid": true}), json!({"words_only": true})] {
        let answer = search(more).ok();
        let hits = answer["hits"].as_array().unwrap();
        assert_eq!(hits.len(), 2);
        assert!(
            hits.iter()
                .all(|hit| hit["keyword_score"].as_f64().unwrap() > 0.0)
        );
    }
    assert!(
        search(json!({})).ok()["hits"][0]
            .get("keyword_score")
            .is_none()
    );
    search(json!({"hybrid": true, "words_only": true})).problem(400, "invalid-input");
    // A stored item is a query of its words; several in one are not.
    let like = json!({"like": "a", "hybrid": true});
    let alike = served.post("/v1/collections/t/search", like).ok();
    assert_eq!(alike["hits"][0]["id"], "b");
    let like = json!({"like": ["a", "b"], "hybrid": true});
    served
        .post("/v1/collections/t/search", like)
        .problem(400, "invalid-input");
    let setting = "/v1/collections/t/keywords";
    assert_eq!(served.get(setting).ok(), json!({"language": "en"}));
    served
        .put(setting, json!({"language": "xx"}))
        .problem(400, "invalid-input");
    assert_eq!(
        served.put(setting, json!({"language": null})).ok(),
        json!({"language": null})
    );
    let detail = search(json!({"hybrid": true})).problem(400, "invalid-input");
    assert!(detail.contains("keyword search is off"), "{detail}");
}
