//! The command `demo`: its report, and the store that it can keep.

use serde_json::json;

use crate::home::Home;

#[test]
fn the_demo_learns_and_keeps_its_store_on_request() {
    let home = Home::new();
    let report = home.json(["demo", "--keep", "kept"]);
    assert_eq!(
        (&report["items"], &report["categories"]),
        (&json!(6000), &json!(41))
    );
    assert_eq!(
        (
            &report["judged"]["queries"],
            &report["judged"]["judgements"]
        ),
        (&json!(100), &json!(1000))
    );
    assert_eq!(report["queries"].as_array().unwrap().len(), 3);
    assert_eq!(
        report["queries"][0]["learned"].as_array().unwrap().len(),
        10
    );
    assert_eq!(
        (
            &report["reopened"]["all_equal"],
            &report["reopened"]["queries"]
        ),
        (&json!(true), &json!(603))
    );
    assert_eq!(report["refit"]["promoted"], true, "{report}");
    let measure = |row: usize, name: &str| {
        report["evaluation"]["rows"][row][name]["mean"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(report["evaluation"]["queries"], 500);
    assert!(
        measure(1, "precision") > measure(0, "precision")
            && measure(1, "ndcg") > measure(0, "ndcg"),
        "{report}"
    );

    // The store answers as the demo did, down to the depth at which the demo compares ranks.
    let question = report["queries"][0]["query"].as_str().unwrap();
    let again = home.json([
        "search", "wordnet", question, "-k", "100", "--store", "kept",
    ]);
    let ids = |answers: &serde_json::Value| -> Vec<_> {
        answers
            .as_array()
            .unwrap()
            .iter()
            .take(10)
            .map(|a| (a["id"].clone(), a["distance"].clone()))
            .collect()
    };
    assert_eq!(ids(&again["hits"]), ids(&report["queries"][0]["learned"]));
    home.fails(["demo", "--keep", "kept"], 1, &["kept exists"]);
    assert!(!home.path("affinis.store").exists());
}
