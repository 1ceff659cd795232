//! Documents and highlights: `add --chunk`, `get` and `delete` of documents, `search --highlights`.

use serde_json::{Value, json};

use crate::home::{Home, failed, lines};

const BEES: &str = "Bees collect nectar from flowers. They make honey of it.";
const SHIPS: &str = "A cargo ship sails over the ocean. Its crew sees no land.";

fn ids(documents: &[Value]) -> Vec<&str> {
    let ids = documents.iter().map(|item| item["id"].as_str().unwrap());
    ids.collect()
}

/// A home with a collection `books` with keywords, and a file of two documents.
fn home() -> Home {
    let home = Home::new();
    home.ok(["create", "books", "--keywords", "en"]);
    let text = format!("{BEES}\n\n{SHIPS}");
    let books = [
        json!({"id": "b1", "text": text, "lang": "en"}),
        json!({"id": "b2", "text": "One short sentence about trees."}),
    ];
    home.write("books.jsonl", lines(&books));
    home
}

const ADD: [&str; 8] = [
    "add",
    "books",
    "books.jsonl",
    "--chunk",
    "--chunk-tokens",
    "20",
    "--chunk-overlap",
    "0",
];

#[test]
fn documents_are_added_printed_replaced_and_deleted_whole() {
    let home = home();
    let added = home.json(ADD);
    let counts = ["added", "replaced", "chunks"].map(|key| added[key].as_u64().unwrap());
    assert_eq!(counts, [2, 0, 3], "{added}");
    let chunks = home.all_json(["get", "books", "b1"]);
    assert_eq!(ids(&chunks), ["b1#000001", "b1#000002"]);
    assert_eq!(
        (&chunks[0]["text"], &chunks[1]["text"]),
        (&json!(BEES), &json!(SHIPS))
    );
    assert_eq!(
        chunks[1]["meta"],
        json!({"lang": "en", "document": "b1", "chunk": 2})
    );
    let said = home.ok(ADD).stdout;
    assert!(
        said.contains("replaced 2") && said.contains("3 chunks"),
        "{said}"
    );
    let mixed = home.all_json(["get", "books", "b2#000001", "b1"]);
    assert_eq!(ids(&mixed), ["b2#000001", "b1#000001", "b1#000002"]);
    failed(&home.run(["get", "books", "b1", "b3"]), 1, &["b3"]);
    home.write(
        "judgements.jsonl",
        "{\"query\": \"the ocean\", \"item\": \"b1\", \"relevant\": true}\n",
    );
    home.ok(["judge", "books", "judgements.jsonl"]);
    let judged = home.all_json(["judgements", "books"]);
    assert_eq!(judged[0]["item"], "b1#000002");
    home.write(
        "meta.jsonl",
        "{\"id\": \"b1\", \"meta\": {\"year\": 2020}}\n",
    );
    home.ok(["add", "books", "meta.jsonl", "--mode", "update"]);
    let chunks = home.all_json(["get", "books", "b1"]);
    assert!(chunks.iter().all(|chunk| chunk["meta"]["year"] == 2020));
    let again = ["--mode", "insert"];
    failed(
        &home.run(ADD.into_iter().chain(again)),
        1,
        &["line 1", "exists already"],
    );
    home.ok(["delete", "books", "b1"]);
    assert_eq!(ids(&home.all_json(["list", "books"])), ["b2#000001"]);
    failed(&home.run(["delete", "books", "b1"]), 1, &["b1"]);
}

#[test]
fn what_cannot_be_split_is_refused_with_its_place() {
    let home = home();
    let of = |more: &[&'static str]| -> Vec<&'static str> {
        ["add", "books", "books.jsonl"]
            .iter()
            .chain(more)
            .copied()
            .collect()
    };
    for (arguments, status, words) in [
        (of(&["--chunk-tokens", "5"]), 2, &["--chunk"][..]),
        (
            of(&["--chunk", "--chunk-tokens", "0"]),
            1,
            &["line 1", "0 tokens"],
        ),
        (
            of(&["--chunk", "--chunk-tokens", "1000000"]),
            1,
            &["line 1", "takes 1 to"],
        ),
        (
            of(&["--chunk", "--chunk-tokens", "9", "--chunk-overlap", "9"]),
            1,
            &["line 1", "an overlap of 9"],
        ),
        (
            of(&["--chunk", "--image-column", "image"]),
            2,
            &["--image-column"],
        ),
    ] {
        failed(&home.run(arguments), status, words);
    }
    home.write(
        "bad.jsonl",
        "{\"id\": \"x\", \"text\": \"a\", \"meta\": {\"chunk\": 1}}\n",
    );
    failed(
        &home.run(["add", "books", "bad.jsonl", "--chunk"]),
        1,
        &["line 1", "the key \"chunk\""],
    );
    // A text that no item can have is a document.
    let long = "A sentence of six words here. ".repeat(40_000);
    home.write("long.jsonl", lines(&[json!({"id": "long", "text": long})]));
    failed(
        &home.run(["add", "books", "long.jsonl"]),
        1,
        &["line 1", "more than 1048576"],
    );
    let added = home.json(["add", "books", "long.jsonl", "--chunk"]);
    assert!(added["chunks"].as_u64().unwrap() > 1000, "{added}");
    assert_eq!(added["truncated"], json!([]));
}

#[test]
fn highlights_are_printed_and_given_in_bytes() {
    let home = home();
    home.ok(ADD);
    let search = [
        "search",
        "books",
        "honey from a flower",
        "--group-by",
        "document",
        "--highlights",
    ];
    let answer = home.json(search);
    let hit = &answer["hits"][0];
    assert_eq!(hit["id"], "b1#000001");
    let text = hit["text"].as_str().unwrap();
    let held = |by: &str| -> Vec<&str> {
        let places = hit["highlights"].as_array().unwrap().iter();
        let places = places.filter(|place| place["by"] == by);
        let place = |place: &Value, end: &str| place[end].as_u64().unwrap() as usize;
        places
            .map(|of| &text[place(of, "start")..place(of, "end")])
            .collect()
    };
    assert_eq!(held("words"), ["from", "flowers", "honey"]);
    assert_eq!(held("meaning").len(), 1);
    let plain = home.json(["search", "books", "honey"]);
    assert!(plain["hits"][0].get("highlights").is_none());
    let shown = home.ok(search).stdout;
    assert!(
        shown.contains("nectar from flowers") || shown.contains("make honey"),
        "{shown}"
    );
    failed(
        &home.run(search.into_iter().chain(["-k", "1001"])),
        1,
        &["at most 1000 hits"],
    );
}
