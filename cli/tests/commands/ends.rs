//! Items with an end: `add --expires-column` and `--expires-in`.

use serde_json::{Value, json};

use crate::home::{Home, lines};

const FAR: &str = "2999-01-31T12:00:00Z";
const OVER: &str = "2001-01-31T12:00:00Z";

fn ids(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect()
}

#[test]
fn ends_are_read_from_a_column_and_travel_with_the_items() {
    let home = Home::new();
    home.ok(["create", "offers"]);
    home.write(
        "offers.csv",
        format!(
            "id,text,until,lang\na,apple pie,{FAR},en\nb,apple juice,{OVER},en\nc,apple tree,,en\n"
        ),
    );
    let added = home.json(["add", "offers", "offers.csv", "--expires-column", "until"]);
    assert_eq!(added["added"], 3, "{added}");
    let items = home.all_json(["list", "offers"]);
    assert_eq!(ids(&items), ["a", "c"]);
    assert_eq!(
        (&items[0]["expires"], &items[0]["meta"]),
        (&json!(FAR), &json!({"lang": "en"}))
    );
    assert!(items[1].get("expires").is_none());
    let shown = home.ok(["get", "offers", "a"]).stdout;
    assert!(shown.contains("ends") && shown.contains(FAR), "{shown}");
    home.ok(["export", "offers", "offers.archive"]);
    home.ok(["import", "again", "offers.archive"]);
    assert_eq!(home.all_json(["list", "again"]), items);

    // JSON has it under the same name, and an update changes it alone.
    home.write("later.jsonl", lines(&[json!({"id": "c", "until": FAR})]));
    home.ok([
        "add",
        "offers",
        "later.jsonl",
        "--mode",
        "update",
        "--expires-column",
        "until",
    ]);
    let items = home.all_json(["get", "offers", "c"]);
    assert_eq!(
        (&items[0]["expires"], &items[0]["text"], &items[0]["meta"]),
        (&json!(FAR), &json!("apple tree"), &json!({"lang": "en"}))
    );
}

#[test]
fn items_without_an_end_may_get_one_by_days() {
    let home = Home::new();
    home.ok(["create", "notes"]);
    home.write(
        "notes.jsonl",
        lines(&[
            json!({"id": "a", "text": "apple", "until": FAR}),
            json!({"id": "b", "text": "pear"}),
        ]),
    );
    home.ok([
        "add",
        "notes",
        "notes.jsonl",
        "--expires-column",
        "until",
        "--expires-in",
        "30",
    ]);
    let items = home.all_json(["list", "notes"]);
    assert_eq!(items[0]["expires"], FAR);
    let end = items[1]["expires"].as_str().unwrap();
    assert!(end > "2026" && end < FAR, "{end}");
}

#[test]
fn an_end_that_is_no_time_is_refused_with_its_line() {
    let home = Home::new();
    home.ok(["create", "notes"]);
    home.write(
        "bad.jsonl",
        lines(&[
            json!({"id": "a", "text": "apple"}),
            json!({"id": "b", "text": "pear", "until": "soon"}),
        ]),
    );
    let add = ["add", "notes", "bad.jsonl", "--expires-column", "until"];
    home.fails(add, 1, &["line 2", "RFC 3339"]);
    home.write("bad.csv", "id,text\na,apple\n");
    let add = ["add", "notes", "bad.csv", "--expires-column", "until"];
    home.fails(add, 1, &["until"]);
    for days in ["0", "soon", "1e300"] {
        home.fails(
            ["add", "notes", "bad.csv", "--expires-in", days],
            2,
            &["days"],
        );
    }
}
