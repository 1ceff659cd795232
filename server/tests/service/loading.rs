//! Files of items: all of them are added, or none.

use std::io::Write as _;

use affinis_server::{Limits, Settings};
use serde_json::{Value, json};

use crate::served::{Answer, Served};

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

fn import(served: &Served, query: &str, file: &[u8]) -> Answer {
    let path = format!("/v1/collections/c/items/import{query}");
    served.raw("POST", &path, &[LINES], Some(file))
}

/// A file of items whose vectors are their numbers.
fn file_of(numbers: std::ops::Range<u32>) -> String {
    let line = |at: u32| format!("{}\n", json!({"id": format!("n{at}"), "vector": [at, 1]}));
    numbers.map(line).collect()
}

fn count(served: &Served) -> Value {
    served.post("/v1/collections/c/count", json!({})).ok()["count"].clone()
}

#[test]
fn a_file_is_added_as_a_whole_or_not_at_all() {
    let served = Served::new();
    served.plane();
    let good = file_of(0..3_000);
    // In the middle one that only the collection can refuse, by its dimension.
    let bad = good.replacen("[1500,1]", "[1500]", 1);
    let failed = |query: &str, file: &str| {
        let job = served.finish(&import(&served, query, file.as_bytes()).ok());
        assert_eq!(job["state"], "failed", "{job}");
        assert_eq!(count(&served), 4);
        let error = &job["error"];
        (
            error["status"].clone(),
            error["detail"].as_str().unwrap().to_owned(),
        )
    };
    let (status, detail) = failed("", &bad);
    assert_eq!(status, 400);
    assert!(detail.starts_with("item \"n1500\" ("), "{detail}");
    let (status, detail) = failed("", &good.replacen("{\"id\":\"n7\"", "{\"id\":\"n7", 1));
    assert_eq!(status, 400);
    assert!(detail.contains("line 8"), "{detail}");
    assert_eq!(failed("", "\n").0, 400);
    let known = format!("{good}{}", json!({"id": "a", "vector": [5, 5]}));
    assert_eq!(failed("?mode=insert", &known).0, 409);
    assert_eq!(failed("?mode=update", &good).0, 404);

    let job = served.finish(&import(&served, "?skip_bad=true", bad.as_bytes()).ok());
    let result = &job["result"];
    assert_eq!(result["added"], 2_999, "{job}");
    assert_eq!(result["skipped"][0]["line"], 1_501);
    assert_eq!(count(&served), 3_003);

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(good.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let result = served.result(&import(&served, "", &packed).ok());
    assert_eq!(
        [&result["added"], &result["replaced"]],
        [&json!(1), &json!(2_999)]
    );
    let listed = served.get("/v1/jobs").ok();
    assert_eq!(listed["jobs"][0]["kind"], "add");
}

#[test]
fn texts_of_a_file_are_encoded() {
    let served = Served::new();
    served.put("/v1/collections/c", json!({})).ok();
    let line = |at: usize| {
        let item = json!({"id": at.to_string(), "text": format!("apple tree number {at}")});
        format!("{item}\n")
    };
    let mut file: String = (0..600).map(line).collect();
    file.push_str("{\"id\": \"empty\", \"text\": \"\"}\n");
    let job = served.finish(&import(&served, "", file.as_bytes()).ok());
    assert_eq!(
        (&job["state"], count(&served)),
        (&json!("failed"), json!(0))
    );
    let result = served.result(&import(&served, "?skip_bad=true", file.as_bytes()).ok());
    assert_eq!(
        [&result["added"], &result["skipped"][0]["line"]],
        [&json!(600), &json!(601)]
    );
    let found = served.post(
        "/v1/collections/c/search",
        json!({"query": "apple tree number 17", "k": 1}),
    );
    assert_eq!(found.ok()["hits"][0]["id"], "17");
}

#[test]
fn what_is_no_file_of_items_is_refused_ahead() {
    let served = Served::with(|_, settings| Settings {
        limits: Limits {
            import_bytes: 10_000,
            ..Limits::default()
        },
        ..settings
    });
    let file = file_of(0..3_000);
    import(&served, "", file.as_bytes()).problem(413, "too-large");
    import(&served, "", b"").problem(404, "not-found");
    served.plane();
    import(&served, "?mode=other", b"").problem(400, "invalid-input");
    import(&served, "?colour=1", b"").problem(400, "invalid-input");
    let path = "/v1/collections/c/items/import";
    served
        .post(path, json!({"items": []}))
        .problem(415, "unsupported-media-type");
    assert_eq!(count(&served), 4);
}
