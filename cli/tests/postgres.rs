//! The commands over PostgreSQL, run as their users run them.
#![cfg(feature = "postgres")]
#![allow(
    clippy::format_push_string,
    clippy::too_many_lines,
    reason = "a test tells one story"
)]

use std::path::Path;
use std::process::{Command, Output};

use affinis_testkit::kinds;
use serde_json::{Value, json};

/// Runs the binary.
fn affinis(store: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_affinis"))
        .args(["--store", store])
        .args(arguments)
        .output()
        .expect("started")
}

/// The documents that a command prints.
fn documents(store: &str, arguments: &[&str]) -> Vec<Value> {
    let output = affinis(store, &[&["--json"], arguments].concat());
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn document(store: &str, arguments: &[&str]) -> Value {
    let mut all = documents(store, arguments);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// What a command says when it refuses.
fn refusal(store: &str, arguments: &[&str]) -> String {
    let output = affinis(store, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Lines of a file, sorted.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("read");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Writes judgements of what Euclid answers to queries.
fn judge(store: &str, name: &str, path: &Path, queries: std::ops::Range<usize>) {
    let mut text = String::new();
    for query in queries.map(|query| query.to_string()) {
        let answer = document(
            store,
            &["search", name, "--like", &query, "--metric", "euclidean"],
        );
        for hit in answer["hits"].as_array().expect("hits") {
            let id = hit["id"].as_str().expect("an id");
            let relevant = kinds::kind(id) == kinds::kind(&query);
            text += &format!(
                "{}\n",
                json!({"query_id": query, "item": id, "relevant": relevant})
            );
        }
    }
    std::fs::write(path, text).expect("written");
    let path = path.to_str().expect("UTF-8");
    let stored = document(store, &["judge", name, path]);
    assert!(stored["judgements"].as_u64() > Some(0), "{stored}");
}

#[test]
fn a_collection_moves_to_a_table_learns_there_and_moves_back() {
    let Ok(url) = std::env::var("AFFINIS_PG_URL") else {
        affinis_testkit::skipped("AFFINIS_PG_URL names no server");
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let file = |name: &str| home.path().join(name);
    let local = file("store");
    let local = local.to_str().expect("UTF-8");
    let name = format!("cli test {}", std::process::id());
    let mut items = String::new();
    for (at, item) in kinds::kinds(400).iter().enumerate() {
        let meta = json!({"even": at % 2 == 0});
        items += &format!(
            "{}\n",
            json!({"id": item.id, "text": format!("number {at}\ta\\b 'c'"), "vector": item.vector, "meta": meta})
        );
    }
    std::fs::write(file("items.jsonl"), items).expect("written");
    let path = |name: &str| file(name).to_str().expect("UTF-8").to_owned();
    document(local, &["create", &name, "--dim", "8"]);
    document(local, &["add", &name, &path("items.jsonl")]);
    judge(local, &name, &file("first.jsonl"), 0..40);
    let learned = document(local, &["refit", &name]);
    assert_eq!(learned["promoted"], json!(true), "{learned}");
    document(local, &["export", &name, &path("there.jsonl")]);

    document(&url, &["import", &name, &path("there.jsonl")]);
    let stats = document(&url, &["stats", &name]);
    assert_eq!(
        (&stats["items"], &stats["active_metric"]),
        (&json!(400), &json!(1))
    );
    // Answers there do not remember yet.
    for arguments in [
        vec!["search", &name, "--no-memory", "--like", "7"],
        vec![
            "search",
            &name,
            "--no-memory",
            "--like",
            "7",
            "--metric",
            "euclidean",
            "-k",
            "3",
        ],
        vec![
            "search",
            &name,
            "--no-memory",
            "--like",
            "8",
            "--filter",
            "{\"even\": true}",
        ],
        vec![
            "search",
            &name,
            "--no-memory",
            "--like",
            "7",
            "--metric",
            "euclidean",
            "--offset",
            "5",
            "--max-distance",
            "6",
        ],
    ] {
        let (here, there) = (document(local, &arguments), document(&url, &arguments));
        let ids = |answer: &Value| {
            let hits = answer["hits"].as_array().expect("hits").iter();
            hits.map(|hit| (hit["id"].clone(), hit["text"].clone(), hit["meta"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (ids(&here), &here["metric"]),
            (ids(&there), &there["metric"]),
            "{arguments:?}"
        );
    }
    for (option, words) in [
        (vec!["--cursor", "start"], "--cursor"),
        (vec!["--group-by", "even"], "--group-by"),
        (vec!["--diversity", "0.5"], "--diversity"),
        (vec!["--facet", "even"], "--facet"),
        (vec!["--unlike", "8"], "--unlike"),
    ] {
        let arguments = [&["search", &name, "--like", "7"], &option[..]].concat();
        assert!(refusal(&url, &arguments).contains(words), "{arguments:?}");
    }
    // The same judgements give the same metric.
    assert_eq!(document(&url, &["refit", &name])["unchanged"], json!(true));
    document(&url, &["export", &name, &path("back.jsonl")]);
    assert_eq!(lines(&file("there.jsonl")), lines(&file("back.jsonl")));

    // What is judged and learned there is what is judged and learned here.
    judge(&url, &name, &file("second.jsonl"), 40..60);
    document(local, &["judge", &name, &path("second.jsonl")]);
    let (here, there) = (
        document(local, &["refit", &name, "--force"]),
        document(&url, &["refit", &name, "--force"]),
    );
    assert_eq!(
        (&here["gate"], &here["version"]),
        (&there["gate"], &there["version"])
    );
    let explain = ["explain", &name, "--like", "7", "--item", "12"];
    assert_eq!(
        document(local, &explain)["judgements"],
        document(&url, &explain)["judgements"]
    );
    assert_eq!(
        documents(local, &["judgements", &name]).len(),
        documents(&url, &["judgements", &name]).len()
    );
    assert_eq!(
        document(&url, &["judge", &name, "--withdraw", "0"])["removed"],
        json!(1)
    );
    documents(&url, &["metrics", &name]);
    let evaluated = {
        let queries = (60..70).map(|query| {
            let relevant: Vec<String> = (0..400)
                .filter(|id| id % 5 == query % 5)
                .map(|id: usize| id.to_string())
                .collect();
            format!(
                "{}\n",
                json!({"query_id": query.to_string(), "relevant": relevant})
            )
        });
        std::fs::write(file("queries.jsonl"), queries.collect::<String>()).expect("written");
        document(&url, &["evaluate", &name, &path("queries.jsonl")])
    };
    assert!(evaluated.to_string().contains("ndcg"), "{evaluated}");
    let listed = documents(&url, &["collections"]);
    assert!(
        listed.iter().any(|info| info["name"] == json!(name)),
        "{listed:?}"
    );

    // What a database does itself is refused, and so is what is wrong.
    assert!(refusal(&url, &["add", &name, &path("items.jsonl")]).contains("SQL"));
    assert!(refusal(&url, &["optimize", &name]).contains("SQL"));
    assert!(refusal(&url, &["judge", &name, "--by-halves"]).contains("derived"));
    assert!(refusal(&url, &["search", &name, "a text"]).contains("encoder"));
    assert!(refusal(&url, &["import", &name, &path("there.jsonl")]).contains("exists"));
    assert!(refusal(&url, &["pg", "init", "--table", "nothing at all"]).contains("nothing at all"));
    assert!(refusal(local, &["pg", "init", "--table", "x"]).contains("postgres://"));
    assert!(refusal(&url, &["drop", &name]).contains("--yes"));
    document(&url, &["drop", &name, "--yes"]);
    assert!(refusal(&url, &["search", &name, "--like", "7"]).contains(&name));
    // The table is as it was, and can be attached again.
    let table = format!("\"{name}\"");
    let attached = document(
        &url,
        &[
            "pg", "init", "--table", &table, "--text", "body", "--meta", "meta",
        ],
    );
    assert_eq!(
        (&attached["name"], &attached["items"]),
        (&json!(name), &json!(400))
    );
    document(&url, &["drop", &name, "--yes"]);
}
