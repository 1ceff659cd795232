//! `--store http://..`: each command does to a service what it does to a store in a directory, and
//! prints the same.

mod both;
mod connection;
mod files;

use serde_json::{Value, json};

use crate::home::{Ran, keys, lines, npy};
use both::{Both, judgements, points};

#[test]
fn items_are_the_same() {
    let both = Both::new();
    let home = &both.home;
    both.same(&["create", "c", "--dim", "4", "--precision", "f16"]);
    both.fails(&["create", "c", "--dim", "4"], &["\"c\"", "exists"]);
    both.same(&["create", "notes", "--distance", "cosine"]);
    both.same(&["collections"]);
    both.same_text(&["collections"]);
    both.same_text(&["list", "c"]);
    home.write("points.jsonl", points());
    both.same(&["add", "c", "points.jsonl"]);
    both.same(&["add", "c", "points.jsonl"]);
    home.write(
        "notes.jsonl",
        r#"{"id": "a1", "text": "how to prune apple trees", "meta": {"year": 2021}}
{"id": "a2", "text": "changing the oil of a car"}
{"id": "a 3/ä", "text": "watering a vegetable garden", "meta": {"year": 2023, "tags": ["x"]}}
"#,
    );
    both.same(&["add", "notes", "notes.jsonl"]);
    home.write("update.csv", "id,year\na1,2022\n");
    both.same(&["add", "notes", "update.csv", "--mode", "update"]);
    home.write("unknown.csv", "id,year\na1,2022\nb9,2023\n");
    both.fails(
        &["add", "notes", "unknown.csv", "--mode", "update"],
        &["unknown.csv", "line 3", "b9"],
    );
    both.fails(
        &["add", "notes", "notes.jsonl", "--mode", "insert"],
        &["notes.jsonl", "line 1", "a1"],
    );
    home.write("labels.tsv", "fruit\tripe apples\ntool\ta sharp saw\n");
    both.same(&["add", "notes", "labels.tsv", "--id-prefix", "n"]);
    both.fails(
        &["add", "notes", "labels.tsv", "--id-prefix", "n"],
        &["n0", "--id-prefix"],
    );
    home.write("vectors.npy", npy(&[&[1., 2., 3., 4.], &[0., 0., 1., 0.]]));
    home.write("ids.txt", "x1\nx2\n");
    both.same(&["add", "c", "vectors.npy", "--ids", "ids.txt"]);
    home.write(
        "bad.jsonl",
        "{\"id\": \"g1\", \"text\": \"good words\"}\n{\"id\": \"g2\", \"text\": \"\"}\n",
    );
    both.fails(&["add", "notes", "bad.jsonl"], &["line 2"]);
    let skipped = both.same(&["add", "notes", "bad.jsonl", "--skip-bad"]);
    assert_eq!(skipped[0]["skipped"].as_array().unwrap().len(), 1);

    for command in [
        &["list", "notes"][..],
        &["list", "c", "--limit", "3", "--after", "17"],
        &["get", "notes", "a 3/ä", "a1"],
        &["get", "c", "--filter", r#"{"class": 1}"#],
        &["count", "c"],
        &["count", "c", "--filter", r#"{"class": {"$ne": 0}}"#],
    ] {
        both.same(command);
        both.same_text(command);
    }
    both.fails(&["get", "notes", "a1", "none"], &["none"]);
    both.fails(&["count", "nothing"], &["nothing"]);
    both.same(&["delete", "notes", "a2"]);
    both.fails(&["delete", "notes", "a1", "a2"], &["a2"]);
    home.write("gone.txt", "x1\n");
    both.same(&["delete", "c", "--ids", "gone.txt"]);
    both.same(&["delete", "c", "--filter", r#"{"class": 1}"#]);
    both.same(&["stats", "c"]);
    both.same(&["drop", "c", "--yes"]);
    both.fails(&["stats", "c"], &["\"c\""]);
}

#[test]
fn documents_are_the_same() {
    let both = Both::new();
    let text = "Bees collect nectar from flowers.\n\nA cargo ship sails over the ocean.";
    let books = [
        json!({"id": "b1", "text": text, "lang": "en"}),
        json!({"id": "b2", "text": "One short sentence about trees."}),
    ];
    both.home.write("books.jsonl", lines(&books));
    both.same(&["create", "books", "--keywords", "en"]);
    let size = ["--chunk-tokens", "12", "--chunk-overlap", "0"];
    let add = [&["add", "books", "books.jsonl", "--chunk"][..], &size].concat();
    both.same(&add);
    both.same_text(&add);
    let skip_bad = [&add[..], &["--skip-bad"]].concat();
    assert_eq!(both.same(&skip_bad)[0]["chunks"], 3);
    both.fails(&[&add[..], &["--mode", "insert"]].concat(), &["b1"]);
    for command in [
        &["get", "books", "b1"][..],
        &["get", "books", "b2#000001", "b1"],
    ] {
        assert!(both.same(command).len() > 1);
        both.same_text(command);
    }
    both.fails(&["get", "books", "b1", "none"], &["none"]);
    both.home.write(
        "meta.jsonl",
        "{\"id\": \"b1\", \"meta\": {\"year\": 2020}}\n",
    );
    both.same(&["add", "books", "meta.jsonl", "--mode", "update"]);
    let judged = "{\"query\": \"the ocean\", \"item\": \"b1\", \"relevant\": true}\n";
    both.home.write("judged.jsonl", judged);
    both.same(&["judge", "books", "judged.jsonl"]);
    let search = [
        "search",
        "books",
        "a ship at sea",
        "--highlights",
        "--hybrid",
    ];
    let found = both.same(&search);
    assert!(found[0]["hits"][0]["highlights"].is_array());
    both.same_text(&search);
    both.same(&["delete", "books", "b1"]);
    both.fails(&["delete", "books", "b1"], &["b1"]);
}

#[test]
fn words_are_the_same() {
    let both = Both::new();
    both.home.write(
        "notes.jsonl",
        "{\"id\": \"a\", \"text\": \"apple trees\"}\n{\"id\": \"b\", \"text\": \"oil of a car, CWE-79\"}\n",
    );
    both.same(&["create", "notes", "--keywords", "simple"]);
    both.same_text(&["create", "texts", "--keywords", "de"]);
    both.same(&["add", "notes", "notes.jsonl"]);
    both.same(&["collections"]);
    let searches = ["--hybrid", "--words-only"];
    for setting in searches {
        for text in ["cwe-79 cars", "trees -oil", "สวัสดี"] {
            both.same(&["search", "notes", text, setting]);
            both.same_text(&["search", "notes", text, setting]);
        }
    }
    both.same(&["keywords", "notes", "en"]);
    both.same(&["search", "notes", "car tree", "--words-only"]);
    both.same_text(&["keywords", "notes", "off"]);
    both.fails(
        &["search", "notes", "car", "--hybrid"],
        &["keyword search is off"],
    );
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one store goes through all commands, in an order that matters"
)]
fn searches_and_learning_are_the_same() {
    let both = Both::new();
    let home = &both.home;
    both.same(&["create", "c", "--dim", "4"]);
    home.write("points.jsonl", points());
    both.same(&["add", "c", "points.jsonl"]);
    both.fails(&["refit", "c"], &["affinis judge"]);
    home.write("judgements.jsonl", judgements());
    both.same(&["judge", "c", "judgements.jsonl"]);
    home.write(
        "unknown.jsonl",
        "{\"a\": \"1\", \"b\": \"3\", \"similar\": true}\n{\"a\": \"1\", \"b\": \"none\", \"similar\": true}\n",
    );
    both.fails(&["judge", "c", "unknown.jsonl"], &["line 2", "none"]);
    both.same(&[
        "judge",
        "c",
        "unknown.jsonl",
        "--skip-unknown",
        "--user",
        "eve",
    ]);
    both.same(&["judgements", "c"]);
    both.same_text(&["judgements", "c"]);
    for (store, file) in [
        ("here", "here.qrels"),
        (both.serving.url.as_str(), "there.qrels"),
    ] {
        home.ok(["judgements", "c", "--qrels", file, "--store", store]);
    }
    let read = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
    assert_eq!(read("here.qrels"), read("there.qrels"));

    both.same(&["refit", "c", "--dry-run", "--seed", "5"]);
    let refit = both.same(&["refit", "c", "--force", "--seed", "5"]);
    assert_eq!(refit[0]["promoted"], true);
    both.same(&[
        "refit",
        "c",
        "--user",
        "ann",
        "--force",
        "--rank",
        "2",
        "--half-life",
        "30",
    ]);
    both.same(&["refit", "c", "--user", "bob", "--ask", "4"]);
    both.same(&["metrics", "c"]);
    both.same(&["metrics", "c", "show", "1"]);
    both.same(&["metrics", "c", "diff", "0", "1"]);
    both.same_text(&["metrics", "c", "diff", "0", "1"]);
    both.same(&["metrics", "c", "drift"]);
    both.same_text(&["metrics", "c", "drift"]);
    both.fails(&["metrics", "c", "show", "77"], &["77"]);

    home.write("queries.npy", npy(&[&[1., 0., 0., 0.], &[0., 1., 0., 0.]]));
    for search in [
        &["search", "c", "--like", "7", "-k", "4"][..],
        &["search", "c", "--like", "7", "--metric", "euclidean"],
        &[
            "search", "c", "--like", "7", "--user", "ann", "--recall", "0.99",
        ],
        &["search", "c", "--like", "7", "--filter", r#"{"class": 1}"#],
        &["search", "c", "--vectors", "queries.npy", "-k", "3"],
        &[
            "search",
            "c",
            "--like",
            "7",
            "--offset",
            "4",
            "--max-distance",
            "9",
        ],
        &["search", "c", "--like", "7", "-k", "3", "--cursor", "start"],
        &[
            "search",
            "c",
            "--like",
            "7",
            "--group-by",
            "class",
            "--per-group",
            "3",
            "--facet",
            "class",
        ],
        &["search", "c", "--like", "7", "--diversity", "0.5"],
        &["search", "c", "--like", "7", "9", "--unlike", "30"],
        &["explain", "c", "--like", "7", "--item", "9"],
    ] {
        both.same(search);
        both.same_text(search);
    }
    // How a search is executed depends on what the index has done meanwhile.
    let (here, there) = both.run(&["search", "c", "--like", "7", "--explain-search", "--json"]);
    let (here, there) = (&here.json()[0], &there.json()[0]);
    assert_eq!(here["hits"], there["hits"]);
    assert_eq!(keys(here), keys(there));
    both.fails(&["search", "c", "some text"], &["text"]);
    both.fails(&["search", "c", "--like", "none"], &["none"]);
    for (store, file) in [
        ("here", "here.run"),
        (both.serving.url.as_str(), "there.run"),
    ] {
        home.ok([
            "search", "c", "--like", "7", "--run", file, "--store", store,
        ]);
    }
    assert_eq!(read("here.run"), read("there.run"));
    let queries: Vec<Value> = (0..8)
        .map(|at| json!({"query_id": at.to_string(), "relevant": {"21": 3, "22": 1, "30": 0}}))
        .collect();
    home.write("queries.jsonl", lines(&queries));
    let measure = [
        "evaluate",
        "c",
        "queries.jsonl",
        "--relevance-threshold",
        "2",
    ];
    both.same(&measure);
    both.same_text(&measure);

    home.ok([
        "metrics",
        "c",
        "export",
        "1",
        "matrix.npy",
        "--store",
        "here",
    ]);
    home.ok([
        "metrics",
        "c",
        "export",
        "1",
        "there.npy",
        "--store",
        &both.serving.url,
    ]);
    let bytes = |name: &str| std::fs::read(home.path(name)).unwrap();
    assert_eq!(bytes("matrix.npy"), bytes("there.npy"));
    let imported = both.same(&["metrics", "c", "import", "matrix.npy"]);
    let version = imported[0]["version"].to_string();
    both.same(&["metrics", "c", "trial"]);
    both.same(&["metrics", "c", "trial", "start", &version, "--alpha", "0.1"]);
    both.same_text(&["metrics", "c", "trial"]);
    let (here, there) = both.run(&["metrics", "c", "trial", "search", "--like", "7", "--json"]);
    let shape = |ran: &Ran| -> Vec<Vec<String>> {
        let hits = ran.json()[0]["hits"].as_array().unwrap().clone();
        let keys = |hit: &Value| hit.as_object().unwrap().keys().cloned().collect();
        hits.iter().map(keys).collect()
    };
    assert_eq!(shape(&here), shape(&there));
    both.same(&["metrics", "c", "trial", "end"]);
    both.same(&["metrics", "c", "promote", &version]);
    both.same_text(&["metrics", "c", "rollback"]);
    both.same(&["metrics", "c", "delete", &version]);
    both.same(&["metrics", "c", "rollback", "--user", "ann"]);
    both.fails(&["metrics", "c", "rollback", "--user", "eve"], &["eve"]);

    both.same(&["judge", "c", "--withdraw", "3"]);
    both.same(&["forget", "c", "--user", "eve"]);
    both.same(&["forget", "c", "--item", "21"]);
    both.same(&["optimize", "c"]);
    both.same(&["stats", "c"]);
    both.same(&["metrics", "c"]);
}

#[test]
fn the_whole_store_is_checked_and_copied_there() {
    let both = Both::new();
    both.same(&["create", "c", "--dim", "4"]);
    both.home.write("points.jsonl", points());
    both.same(&["add", "c", "points.jsonl"]);
    let url = both.serving.url.as_str();
    let home = &both.home;
    let verified = home.json(["verify", "--store", url]);
    assert_eq!(verified["problems"], json!([]));
    assert!(verified["checked"].as_u64().unwrap() > 80);
    let written = home.json(["backup", "monday", "--store", url]);
    assert_eq!(
        written,
        json!({"backup": "monday", "collections": 1, "items": 80})
    );
    assert_eq!(
        home.json(["count", "c", "--store", "backups/monday"]),
        json!({"count": 80})
    );
    for command in [
        &["restore", "backups/monday"][..],
        &["compact"],
        &["verify", "--repair"],
        &["judge", "c", "--by-field", "class"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        both.refused(command);
    }
    home.fails(
        ["count", "c", "--store", url, "--encoder", "x"],
        2,
        &["--encoder"],
    );
}
