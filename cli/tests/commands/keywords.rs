//! Keyword search: `create --keywords`, `keywords`, `search --hybrid` and `--words-only`.

use serde_json::{Value, json};

use crate::home::{Home, failed, lines};

const PACKAGES: &str = r#"{"id": "ssl", "text": "libssl3: cryptography for network connections", "meta": {"main": true}}
{"id": "zip", "text": "zlib1g: compression of files", "meta": {"main": true}}
{"id": "tls", "text": "encrypted sockets and certificates", "meta": {"main": false}}
{"id": "cwe", "text": "a fix of CWE-79 in the web server", "meta": {"main": false}}
"#;

fn packages() -> Home {
    let home = Home::new();
    home.write("packages.jsonl", PACKAGES);
    home.ok(["create", "packages", "--keywords", "en"]);
    home.ok(["add", "packages", "packages.jsonl"]);
    home
}

fn ids(answer: &Value) -> Vec<&str> {
    let hits = answer["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[test]
fn words_are_searched_for_alone_and_beside_the_meaning() {
    let home = packages();
    let words = home.json(["search", "packages", "networks libssl", "--words-only"]);
    assert_eq!(ids(&words), ["ssl"]);
    assert_eq!(words["hits"][0]["score"], words["hits"][0]["keyword_score"]);
    assert!(words["hits"][0]["distance"].as_f64().unwrap() > 0.0);
    let hybrid = home.json(["search", "packages", "encryption CWE-79", "--hybrid"]);
    assert_eq!(hybrid["hits"].as_array().unwrap().len(), 4);
    assert!(ids(&hybrid)[..2].contains(&"cwe"));
    let plain = home.json(["search", "packages", "encryption CWE-79"]);
    assert!(plain["hits"][0].get("keyword_score").is_none());
    let filter = r#"{"main": true}"#;
    let filtered = home.json([
        "search",
        "packages",
        "encryption -files",
        "--hybrid",
        "--filter",
        filter,
    ]);
    assert_eq!(ids(&filtered), ["ssl"]);
    let table = home
        .ok(["search", "packages", "encryption CWE-79", "--hybrid"])
        .stdout;
    assert!(
        table.contains("words") && table.contains("distance"),
        "{table}"
    );
    // The encoder knows nothing of it, and it has no distance.
    home.write(
        "more.jsonl",
        "{\"id\": \"thai\", \"text\": \"hello สวัสดี\"}\n",
    );
    home.ok(["add", "packages", "more.jsonl"]);
    let thai = home.json(["search", "packages", "สวัสดี", "--hybrid"]);
    assert_eq!(
        (ids(&thai), &thai["hits"][0]["distance"]),
        (vec!["thai"], &Value::Null)
    );
    let table = home
        .ok(["search", "packages", "สวัสดี", "--words-only"])
        .stdout;
    assert!(table.contains("thai"), "{table}");
}

#[test]
fn keywords_are_turned_on_and_off() {
    let home = Home::new();
    home.write("packages.jsonl", PACKAGES);
    home.ok(["create", "packages"]);
    home.ok(["add", "packages", "packages.jsonl"]);
    let search = ["search", "packages", "compressed", "--words-only"];
    home.fails(search, 1, &["keyword search is off", "packages"]);
    assert_eq!(
        home.json(["keywords", "packages", "simple"]),
        json!({"collection": "packages", "keywords": "simple"})
    );
    assert!(ids(&home.json(search)).is_empty());
    home.ok(["keywords", "packages", "en"]);
    assert_eq!(ids(&home.json(search)), ["zip"]);
    let stats = home.json(["stats", "packages"]);
    assert_eq!(stats["keywords"]["language"], "en");
    assert_eq!(
        stats["keywords"]["texts"], 0,
        "the index is opened by the first search"
    );
    assert_eq!(home.all_json(["collections"])[0]["keywords"], "en");
    home.ok(["export", "packages", "packages.affinis"]);
    home.ok(["import", "copy", "packages.affinis"]);
    assert_eq!(
        ids(&home.json(["search", "copy", "compressed", "--words-only"])),
        ["zip"]
    );
    assert_eq!(
        home.json(["keywords", "packages", "off"])["keywords"],
        Value::Null
    );
    home.fails(search, 1, &["keyword search is off"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let home = packages();
    home.fails(
        ["keywords", "packages", "klingon"],
        2,
        &["klingon", "simple", "off"],
    );
    home.fails(
        ["create", "other", "--keywords", "xx"],
        2,
        &["xx", "simple"],
    );
    home.fails(["keywords", "nothing", "en"], 1, &["nothing"]);
    for both in [["--hybrid", "--words-only"], ["--words-only", "--vectors"]] {
        let ran = home.run(["search", "packages", both[0], both[1], "ssl"]);
        failed(&ran, 2, &[both[0]]);
    }
    home.fails(
        ["search", "packages", "--hybrid", "--like", "ssl", "zip"],
        1,
        &["words"],
    );
    let alike = home.json(["search", "packages", "--hybrid", "--like", "ssl"]);
    assert!(
        !ids(&alike).contains(&"ssl") && ids(&alike).len() == 3,
        "{alike}"
    );
    // Every text is a query.
    for text in ["\"unbalanced", "- + \"\"", "the of and", "...", "-only"] {
        home.ok(["search", "packages", "--words-only", "--", text]);
        home.ok(["search", "packages", "--hybrid", "--", text]);
    }
}

#[test]
fn refits_find_how_much_words_count_and_explanations_and_measures_tell() {
    let home = Home::new();
    home.ok(["create", "notes", "--keywords", "simple"]);
    let items: Vec<Value> = (0..60)
        .map(|at| json!({"id": format!("n{at}"), "text": format!("note number{at} group{}", at % 10)}))
        .collect();
    home.write("notes.jsonl", lines(&items));
    home.ok(["add", "notes", "notes.jsonl"]);
    let mut judgements = Vec::new();
    for group in 0..10 {
        for at in 0..12 {
            let relevant = at % 10 == group;
            if relevant || at < 4 {
                let query = format!("group{group}");
                judgements
                    .push(json!({"query": query, "item": format!("n{at}"), "relevant": relevant}));
            }
        }
    }
    home.write("judgements.jsonl", lines(&judgements));
    home.ok(["judge", "notes", "judgements.jsonl"]);
    let report = home.json(["refit", "notes"]);
    let fusion = &report["fusion"];
    assert_eq!(fusion["gate"]["held_out"], 10, "{report}");
    let said = fusion["gate"]["reason"].as_str().unwrap();
    assert!(said.contains("weight"), "{said}");
    let version = report["version"].to_string();
    let shown = home.ok(["metrics", "notes", "show", &version]).stdout;
    assert!(shown.contains(said), "{shown}");

    let why = home.json(["explain", "notes", "+group3 other", "--item", "n3"]);
    assert_eq!(why["words"]["found"][0]["words"], "+group3", "{why}");
    assert_eq!(why["words"]["weight"], fusion["words"]);
    let told = home
        .ok(["explain", "notes", "+group3 other", "--item", "n3"])
        .stdout;
    assert!(
        told.contains("by words rank") && told.contains("+group3"),
        "{told}"
    );

    home.write(
        "queries.jsonl",
        lines(&[json!({"query": "group7", "relevant": ["n7", "n17", "n27", "n37", "n47", "n57"]})]),
    );
    let measured = |ranking: &[&str]| {
        let command = ["evaluate", "notes", "queries.jsonl"];
        let measured = home.json(command.iter().chain(ranking).copied());
        measured["rows"][0]["ndcg"]["mean"].as_f64().unwrap()
    };
    assert_eq!(measured(&["--words-only"]), 1.0);
    assert!(measured(&["--hybrid"]) >= measured(&[]));
    home.fails(
        [
            "evaluate",
            "notes",
            "queries.jsonl",
            "--hybrid",
            "--words-only",
        ],
        2,
        &["--words-only"],
    );
    home.ok(["keywords", "notes", "off"]);
    home.fails(
        ["evaluate", "notes", "queries.jsonl", "--hybrid"],
        1,
        &["keyword search is off"],
    );
}
