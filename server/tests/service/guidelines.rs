//! Guidelines for those who judge, and the measures of single queries.

use serde_json::{Value, json};

use crate::served::Served;

const GUIDELINES: &str = "/v1/collections/c/guidelines";

#[test]
fn guidelines_are_kept_and_a_wrong_scale_changes_nothing() {
    let served = Served::new();
    served.plane();
    let usual = served.get(GUIDELINES).ok();
    assert_eq!(usual["text"], "");
    let grades: Vec<_> = usual["scale"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["grade"].as_f64())
        .collect();
    assert_eq!(grades, [-1.0, -0.5, 0.5, 1.0].map(Some));
    let mine = json!({"text": "Relevant is what answers the question.\nElse not.", "scale": [
        {"label": "No", "grade": -1.0}, {"label": "Partly", "grade": 0.25}, {"label": "Yes", "grade": 1.0}]});
    assert_eq!(served.put(GUIDELINES, mine.clone()).ok(), mine);
    assert_eq!(served.get(GUIDELINES).ok(), mine);
    let refused: [(Value, &str); 4] = [
        (
            json!({"text": "", "scale": [{"label": "a", "grade": 1}]}),
            "2 to 7",
        ),
        (
            json!({"text": "", "scale": [{"label": "a", "grade": 1}, {"label": "b", "grade": -1}]}),
            "above the one before",
        ),
        (
            json!({"text": "", "scale": [{"label": "a", "grade": -1}, {"label": "a", "grade": 1}]}),
            "twice",
        ),
        (
            json!({"text": "x".repeat(20_000), "scale": mine["scale"]}),
            "16 KiB",
        ),
    ];
    for (wrong, word) in refused {
        let detail = served.put(GUIDELINES, wrong).problem(400, "invalid-input");
        assert!(detail.contains(word), "{detail}");
    }
    served
        .put(GUIDELINES, json!({"text": ""}))
        .problem(400, "invalid-input");
    assert_eq!(served.get(GUIDELINES).ok(), mine);
    served
        .get("/v1/collections/nobody/guidelines")
        .problem(404, "not-found");
}

#[test]
fn guidelines_go_with_an_exported_collection() {
    let served = Served::new();
    served.plane();
    let copied = |name: &str| {
        let file = served.get("/v1/collections/c/export").body;
        let path = format!("/v1/collections/{name}/import");
        let lines = [("content-type", "application/x-ndjson")];
        served.result(&served.raw("POST", &path, &lines, Some(&file)).ok());
        let copy = served.get(&format!("/v1/collections/{name}/guidelines"));
        (String::from_utf8(file).unwrap(), copy.ok())
    };
    // None were set, so that the copy has the usual ones, whatever those are.
    let (file, usual) = copied("usual");
    assert!(!file.contains("guidelines"));
    assert_eq!(usual, served.get(GUIDELINES).ok());
    let mine = json!({"text": "Relevant is what answers.", "scale": [
        {"label": "No", "grade": -1.0}, {"label": "Partly", "grade": 0.25}, {"label": "Yes", "grade": 1.0}]});
    served.put(GUIDELINES, mine.clone()).ok();
    let (file, copy) = copied("mine");
    assert_eq!(copy, mine);
    // A scale that breaks a rule is refused, and nothing is stored.
    let wrong = file.replacen("0.25", "-2.0", 1);
    let lines = [("content-type", "application/x-ndjson")];
    let import = "/v1/collections/wrong/import";
    let begun = served.raw("POST", import, &lines, Some(wrong.as_bytes()));
    let job = served.finish(&begun.ok());
    assert_eq!(
        (&job["state"], &job["error"]["status"]),
        (&json!("failed"), &json!(400))
    );
    served
        .get("/v1/collections/wrong")
        .problem(404, "not-found");
}

#[test]
fn measures_of_each_query_are_given_where_they_are_asked_for() {
    let served = Served::new();
    served.plane();
    let asked = |per_query: Value| {
        let queries = json!([{"query_id": "a", "relevant": ["b"]}, {"query_vector": [0, 0], "relevant": ["c", "d"]}]);
        served
            .post(
                "/v1/collections/c/evaluate",
                json!({"queries": queries, "k": 2, "per_query": per_query}),
            )
            .ok()
    };
    let told = asked(json!(true));
    let plain = asked(json!(false));
    assert_eq!(plain["rows"][0].get("per_query"), None);
    for row in told["rows"].as_array().unwrap() {
        let each = row["per_query"].as_array().unwrap();
        assert_eq!(each.len(), 2);
        for measure in ["precision", "recall", "ndcg", "mrr", "map"] {
            let mean = each
                .iter()
                .map(|query| query[measure].as_f64().unwrap())
                .sum::<f64>()
                / 2.0;
            assert!(
                (mean - row[measure]["mean"].as_f64().unwrap()).abs() < 1e-12,
                "{measure}"
            );
        }
    }
}
