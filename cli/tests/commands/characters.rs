//! Every character of Unicode in ids, texts, metadata and users comes back as it was given.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::home::{Home, lines, npy};

/// Number of characters in a chunk: an id has at most 512 bytes.
const CHUNK: usize = 128;
/// Number of ids in one command line, whose length the system limits.
const IDS: usize = 500;

/// All Unicode scalar values, in chunks.
fn chunks() -> Vec<String> {
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    assert_eq!(all.len(), 0x11_0000 - 0x800);
    all.chunks(CHUNK)
        .map(|chunk| chunk.iter().collect())
        .collect()
}

/// An item with the characters in its id, its text, a key and a value of its metadata.
fn item(chunk: &str) -> Value {
    json!({"id": chunk, "text": chunk, "vector": [1.0], "meta": {chunk: {"nested": [chunk]}}})
}

fn by_id(items: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    items
        .into_iter()
        .map(|item| (item["id"].as_str().unwrap().to_owned(), item))
        .collect()
}

/// A collection `c` with an item for each chunk.
fn home(chunks: &[String]) -> Home {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "1"]);
    let items: Vec<Value> = chunks.iter().map(|chunk| item(chunk)).collect();
    home.write("items.jsonl", lines(&items));
    home.ok(["add", "c", "items.jsonl"]);
    home
}

#[test]
fn every_character_survives_get_search_and_export() {
    let chunks = chunks();
    let home = home(&chunks);
    let wanted = by_id(chunks.iter().map(|chunk| item(chunk)));

    // No command line can hold U+0000.
    let ids: Vec<&str> = chunks
        .iter()
        .map(String::as_str)
        .filter(|id| !id.contains('\0'))
        .collect();
    for ids in ids.chunks(IDS) {
        let got = home.ok(["--json", "get", "c", "--"]
            .into_iter()
            .chain(ids.iter().copied()));
        for (id, got) in ids.iter().zip(got.json()) {
            assert_eq!(got, wanted[*id]);
        }
    }

    home.write("q.npy", npy(&[&[1.0]]));
    let found = home.json([
        "search",
        "c",
        "--vectors",
        "q.npy",
        "-k",
        "10000",
        "--recall",
        "1",
    ]);
    let hits = found["hits"].as_array().unwrap();
    assert_eq!(hits.len(), chunks.len());
    for hit in hits {
        let given = &wanted[hit["id"].as_str().unwrap()];
        assert_eq!(
            (&hit["text"], &hit["meta"]),
            (&given["text"], &given["meta"])
        );
    }

    home.ok(["export", "c", "file.jsonl"]);
    let file = std::fs::read_to_string(home.path("file.jsonl")).unwrap();
    let piped = home.ok(["export", "c", "-"]).stdout;
    assert_eq!(file, piped);
    let exported = file
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let exported = exported.filter_map(|mut line| line.get_mut("item").map(Value::take));
    assert_eq!(by_id(exported), wanted);

    home.ok(["import", "d", "file.jsonl"]);
    let again = home.ok(["export", "d", "-"]).stdout;
    let items = |text: &str| -> Vec<String> {
        let items = text.lines().filter(|line| line.starts_with("{\"item\""));
        items.map(str::to_owned).collect()
    };
    assert_eq!(items(&file), items(&again));
}

#[test]
fn every_character_survives_judge_and_explain() {
    // Fewer ids, each of more characters than one user may have.
    let chunks = chunks();
    let home = home(&chunks);
    let judgements: Vec<Value> = chunks
        .windows(2)
        .map(|pair| {
            json!({"query_id": pair[0], "item": pair[1], "relevant": true, "user": pair[0], "shown": [pair[0], pair[1]]})
        })
        .collect();
    home.write("judgements.jsonl", lines(&judgements));
    home.ok(["judge", "c", "judgements.jsonl"]);
    let exported = home.ok(["export", "c", "-"]).stdout;
    let stored: Vec<Value> = exported
        .lines()
        .filter(|line| line.starts_with("{\"judgement\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(stored.len(), judgements.len());
    for (stored, given) in stored.iter().zip(&judgements) {
        for key in ["query_id", "item", "user", "shown"] {
            assert_eq!(stored["judgement"][key], given[key]);
        }
    }
    // A command for each id would take hours: those with characters that terminals and streams treat
    // otherwise. No command line can hold U+0000.
    let is_control = |id: &&String| !id.contains('\0') && id.contains(char::is_control);
    let mut controls = 0;
    for id in chunks.iter().filter(is_control) {
        let like = format!("--like={id}");
        let item = format!("--item={}", chunks[2]);
        let explained = home.json(["explain", "c", &like, &item]);
        assert_eq!(explained["euclidean"], 0.0);
        let found = home.json(["search", "c", &like, "-k", "1"]);
        assert_eq!(found["query"], json!(id));
        controls += 1;
    }
    assert_eq!(controls, 1, "U+0080 to U+009F stand in one chunk");
}
