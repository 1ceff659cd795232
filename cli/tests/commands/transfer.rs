//! The commands `export` and `import`, which lose nothing.

use std::fs;

use serde_json::{Value, json};

use crate::home::{Home, failed, lines};

/// Everything that the commands print of a collection.
fn seen(home: &Home, name: &str) -> Vec<String> {
    let ids: Vec<String> = (0..80).map(|i| i.to_string()).collect();
    let mut seen = vec![
        home.ok(["metrics", name, "--json"]).stdout,
        home.ok(["get", name, "--json"]
            .into_iter()
            .chain(ids[2..].iter().map(String::as_str)))
            .stdout,
    ];
    for (id, metric) in [
        ("70", "active"),
        ("70", "euclidean"),
        ("71", "1"),
        ("71", "2"),
    ] {
        seen.push(
            home.ok(["search", name, "--like", id, "--metric", metric, "--json"])
                .stdout,
        );
    }
    seen.push(
        home.ok(["search", name, "--like", "72", "--user", "ann", "--json"])
            .stdout,
    );
    seen
}

#[test]
fn an_imported_collection_equals_the_exported_one() {
    let home = Home::with_judgements();
    let text = fs::read_to_string(home.path("judgements.jsonl")).unwrap();
    assert_eq!(
        home.run_with(["judge", "c", "-", "--user", "ann"], text.as_bytes())
            .status,
        Some(0)
    );
    home.ok(["refit", "c", "--force"]);
    home.ok(["refit", "c", "--force", "--user", "ann"]);
    let matrix: Vec<Vec<f64>> = (0..4)
        .map(|i| {
            (0..4)
                .map(|j| if i == j { f64::from(i + 1) } else { 0.1 })
                .collect()
        })
        .collect();
    home.write("m.json", json!({"matrix": matrix}).to_string());
    home.ok(["metrics", "c", "import", "m.json"]);
    // Judgements with a vector, a weight and a time, one of an item that is then deleted, and one
    // of an item that is added later.
    let more = json!({"query_vector": [0.1, -0.2, 0.3, 0.4], "item": "3", "grade": 0.3, "weight": 0.7,
        "at": "2025-06-07T08:09:10.123Z", "source": "click", "shown": ["3", "1"]});
    assert_eq!(
        home.run_with(["judge", "c", "-"], format!("{more}\n").as_bytes())
            .status,
        Some(0)
    );
    home.ok(["delete", "c", "0"]);
    home.write(
        "late.jsonl",
        lines(&[json!({"id": "1", "vector": [0.1, 0.2, 0.3, 1e-30], "text": "late", "meta": {"b": [1, {"a": null}]}})]),
    );
    home.ok(["add", "c", "late.jsonl"]);

    let exported = home.json(["export", "c", "c.export"]);
    assert_eq!(
        (
            &exported["items"],
            &exported["judgements"],
            &exported["metrics"]
        ),
        (&json!(79), &json!(241), &json!(3))
    );
    home.ok(["import", "copy", "c.export"]);
    assert_eq!(seen(&home, "copy"), seen(&home, "c"));
    assert_eq!(
        home.json(["get", "copy", "1"]),
        home.json(["get", "c", "1"])
    );
    // A second export differs from the first in the name alone.
    home.ok(["export", "copy", "copy.export"]);
    let (first, second) = (
        fs::read_to_string(home.path("c.export")),
        fs::read_to_string(home.path("copy.export")),
    );
    assert_eq!(
        second
            .unwrap()
            .replacen("\"name\":\"copy\"", "\"name\":\"c\"", 1),
        first.unwrap()
    );
    // Learning continues from the same version.
    let refit = |name| home.json(["refit", name, "--force"]);
    let (of_copy, of_first) = (refit("copy"), refit("c"));
    assert_eq!(of_copy["version"], 4);
    for field in ["parent", "pairs", "lambda", "t", "condition", "gate"] {
        assert_eq!(of_copy[field], of_first[field], "{field}");
    }
}

#[test]
fn collections_of_every_precision_are_imported_into_another_store() {
    let home = Home::new();
    home.write("n.tsv", "garden\thow to prune apple trees\nkitchen\tsharpening a knife\ngarden\twatering tomatoes\n");
    for precision in ["f32", "f16", "i8"] {
        home.ok(["create", precision, "--precision", precision]);
        home.ok(["add", precision, "n.tsv"]);
        let judged = home.run_with(
            ["judge", precision, "-"],
            b"{\"query\": \"fruit trees\", \"item\": \"0\", \"relevant\": true}\n",
        );
        assert_eq!(judged.status, Some(0), "{judged:?}");
        let exported = home.ok(["export", precision, "-"]);
        assert!(exported.stderr.contains("3 items"), "{exported:?}");
        let imported = home.run_with(
            ["import", precision, "-", "--store", "other"],
            exported.stdout.as_bytes(),
        );
        assert_eq!(imported.status, Some(0), "{imported:?}");
        for args in [
            ["search", precision, "fruit tree care"],
            ["get", precision, "1"],
        ] {
            let other = home.ok(args.into_iter().chain(["--json", "--store", "other"]));
            assert_eq!(
                other.stdout,
                home.ok(args.into_iter().chain(["--json"])).stdout,
                "{precision}"
            );
        }
    }
}

#[test]
fn an_empty_collection_is_exported_and_imported() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "3", "--distance", "dot"]);
    home.ok(["export", "c", "c.export"]);
    home.ok(["import", "copy", "c.export"]);
    let collections = home.all_json(["collections"]);
    assert_eq!(
        (&collections[1]["distance"], &collections[1]["dim"]),
        (&json!("dot"), &json!(3))
    );
}

#[test]
fn a_damaged_export_is_refused_and_leaves_no_collection() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    home.ok(["export", "c", "c.export"]);
    let whole = fs::read_to_string(home.path("c.export")).unwrap();
    let refused = |text: &str, words: &[&str]| {
        home.write("bad.export", text);
        home.fails(["import", "bad", "bad.export"], 1, words);
        assert_eq!(home.all_json(["collections"]).len(), 1);
    };
    let count = whole.lines().count();
    for kept in [1, 2, 81, count - 1] {
        let cut: String = whole
            .lines()
            .take(kept)
            .flat_map(|line| [line, "\n"])
            .collect();
        refused(&cut, &["bad.export", "is incomplete"]);
    }
    refused(&whole[..whole.len() / 2], &["bad.export, line"]);
    refused("", &["bad.export", "empty"]);
    refused(
        "{\"id\": \"a\"}\n",
        &["bad.export, line 1", "not an exported collection"],
    );
    refused(
        &whole.replacen("\"format_version\":4", "\"format_version\":9", 1),
        &["line 1", "newer affinis"],
    );
    refused(
        &whole.replacen("\"grade\":1.0", "\"grade\":1.5", 1),
        &["bad.export, line", "outside [-1, 1]"],
    );
    refused(
        &whole.replacen("{\"item\":", "{\"itme\":", 1),
        &["line 2", "itme"],
    );
    refused(
        &whole.replacen("\"parent\":0", "\"parent\":9", 1),
        &["bad.export, line 202: metric version 1"],
    );
    refused(
        &whole.replacen("\"sequence\":3,", "\"sequence\":1,", 1),
        &["bad.export, line 85: its number 1"],
    );
    refused(
        &whole.replacen("\"next_version\":2", "\"next_version\":4294967295", 1),
        &["bad.export: the numbers"],
    );
    let item = whole.lines().nth(1).unwrap();
    let zero = format!(
        "{}\"vector\":[0,0,0,0],{}",
        &item[..item.find("\"vector\"").unwrap()],
        &item[item.find("\"meta\"").unwrap()..]
    );
    let cosine = whole
        .replacen("\"distance\":\"l2\"", "\"distance\":\"cosine\"", 1)
        .replacen(item, &zero, 1);
    refused(&cosine, &["bad.export, line 2", "zero"]);
    // A damaged matrix.
    let bytes = whole.find("\"bytes\":\"").unwrap() + 40;
    let mut damaged = whole.clone().into_bytes();
    damaged[bytes] = if damaged[bytes] == b'A' { b'B' } else { b'A' };
    refused(
        std::str::from_utf8(&damaged).unwrap(),
        &["bad.export", "damaged"],
    );
    home.fails(
        ["import", "", "c.export"],
        1,
        &["error: the collection's name \"\" is empty"],
    );
    home.fails(["import", "c", "c.export"], 1, &["exists"]);
    failed(&home.run(["export", "nobody", "x"]), 1, &["nobody"]);
    assert!(!home.path("x").exists());
}

#[test]
fn the_first_line_states_the_contents() {
    let home = Home::with_points();
    home.ok(["export", "c", "c.export"]);
    let text = fs::read_to_string(home.path("c.export")).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let header = &first["collection"];
    assert_eq!(
        (&header["format"], &header["format_version"]),
        (&json!("affinis-collection"), &json!(4))
    );
    assert_eq!(
        (&header["settings"]["items"], &header["settings"]["dim"]),
        (&json!(4), &json!(2))
    );
}
