//! `list`, `count`, `drop`, and `get` and `delete` by a filter or a file of ids.

use serde_json::json;

use crate::home::Home;

fn ids(home: &Home, args: &[&str]) -> Vec<String> {
    let items = home.all_json(args.iter().copied());
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn items_are_listed_in_the_order_of_ids_page_by_page() {
    let home = Home::with_points();
    home.write(
        "more.jsonl",
        "{\"id\": \"B\", \"vector\": [1, 1]}\n{\"id\": \"bb\", \"vector\": [1, 1]}\n",
    );
    home.ok(["add", "c", "more.jsonl"]);
    assert_eq!(ids(&home, &["list", "c"]), ["B", "a", "b", "bb", "c", "d"]);
    assert_eq!(ids(&home, &["list", "c", "--limit", "2"]), ["B", "a"]);
    assert_eq!(
        ids(&home, &["list", "c", "--limit", "2", "--after", "a"]),
        ["b", "bb"]
    );
    // The id need not exist.
    assert_eq!(ids(&home, &["list", "c", "--after", "bc"]), ["c", "d"]);
    assert!(ids(&home, &["list", "c", "--after", "d"]).is_empty());
    assert_eq!(
        home.all_json(["list", "c", "--limit", "1", "--after", "a"]),
        home.all_json(["get", "c", "b"])
    );
    let page = home.ok(["list", "c", "--limit", "2"]);
    assert!(
        page.stdout.contains('B') && page.stderr.contains("--after 'a'"),
        "{page:?}"
    );
    assert!(home.ok(["list", "c"]).stderr.is_empty());
    home.fails(["list", "c", "--limit", "0"], 2, &["limit"]);
    home.fails(["list", "nobody"], 1, &["nobody"]);
}

#[test]
fn a_long_listing_has_every_item_once() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "1"]);
    let items: Vec<String> = (0..1200)
        .map(|i| format!("{{\"id\": \"{:04}\", \"vector\": [{i}]}}\n", (i * 7) % 1200))
        .collect();
    let items = items.concat();
    home.write("items.jsonl", items);
    home.ok(["add", "c", "items.jsonl"]);
    let wanted: Vec<String> = (0..1200).map(|i| format!("{i:04}")).collect();
    assert_eq!(ids(&home, &["list", "c"]), wanted);
    assert_eq!(home.ok(["list", "c"]).stdout.lines().count(), 1200);
}

#[test]
fn items_are_counted_printed_and_deleted_by_a_filter() {
    let home = Home::with_points();
    let filter = ["--filter", "{\"year\": {\"$gte\": 2020}}"];
    let with = |command: &'static str| [command, "c", filter[0], filter[1]];
    assert_eq!(home.json(["count", "c"]), json!({"count": 4}));
    assert_eq!(home.json(with("count")), json!({"count": 2}));
    assert_eq!(home.ok(with("count")).stdout, "2\n");
    assert_eq!(
        home.all_json(with("get")),
        home.all_json(["get", "c", "b", "c"])
    );
    home.fails(
        ["delete", "c", "a", filter[0], filter[1]],
        2,
        &["cannot be used with"],
    );
    home.fails(["delete", "c"], 2, &["required"]);
    assert_eq!(home.json(with("delete")), json!({"deleted": 2}));
    assert_eq!(ids(&home, &["list", "c"]), ["a", "d"]);
    assert_eq!(home.json(with("delete")), json!({"deleted": 0}));
    assert!(home.all_json(with("get")).is_empty());
    home.fails(
        ["delete", "c", "--filter", "{\"year\": {\"$gt\": []}}"],
        2,
        &["year.$gt"],
    );
    home.ok(["verify"]);
}

#[test]
fn ids_to_delete_are_read_from_a_file() {
    let home = Home::with_points();
    home.write("gone.txt", "a\nnobody\n");
    home.fails(["delete", "c", "--ids", "gone.txt"], 1, &["nobody"]);
    assert_eq!(home.items(), 4);
    home.write("gone.txt", "a\n\n");
    home.fails(
        ["delete", "c", "--ids", "gone.txt"],
        1,
        &["gone.txt, line 2", "empty"],
    );
    home.write("gone.txt", "a\nc\n");
    assert_eq!(
        home.json(["delete", "c", "--ids", "gone.txt"]),
        json!({"deleted": 2})
    );
    let ran = home.run_with(["delete", "c", "--ids", "-", "--json"], b"b\n");
    assert_eq!(ran.json(), [json!({"deleted": 1})]);
    assert_eq!(ids(&home, &["list", "c"]), ["d"]);
}

#[test]
fn a_collection_is_dropped_only_if_it_is_meant() {
    let home = Home::with_points();
    home.ok(["create", "other", "--dim", "2"]);
    home.fails(["drop", "c"], 2, &["--yes", "4 items"]);
    home.fails(["drop", "nobody"], 1, &["nobody", "other"]);
    home.fails(["drop", "nobody", "--yes"], 1, &["nobody", "other"]);
    assert_eq!(home.items(), 4);
    assert_eq!(home.json(["drop", "c", "--yes"]), json!({"dropped": "c"}));
    home.fails(["stats", "c"], 1, &["no collection \"c\"", "other"]);
    home.ok(["create", "c", "--dim", "2"]);
    assert_eq!(home.items(), 0);
    home.ok(["verify"]);
}

#[test]
fn an_empty_collection_does_not_show_the_disk_use_of_the_others() {
    let home = Home::with_judgements();
    home.ok(["create", "empty", "--dim", "2"]);
    let full = home.json(["stats", "c"]);
    let empty = home.json(["stats", "empty"]);
    let bytes = |stats: &serde_json::Value, key: &str| stats[key].as_u64().unwrap();
    assert!(bytes(&empty, "disk_bytes") < 500, "{empty}");
    // 80 items of four numbers, 120 judgements.
    assert!(bytes(&full, "disk_bytes") > 80 * 16 + 120 * 20, "{full}");
    assert!(
        bytes(&full, "disk_bytes") <= bytes(&full, "store_bytes"),
        "{full}"
    );
    assert_eq!(bytes(&empty, "store_bytes"), bytes(&full, "store_bytes"));
}

#[test]
fn a_query_may_begin_with_a_minus_sign() {
    let home = Home::new();
    home.ok(["create", "notes"]);
    home.write("notes.jsonl", "{\"id\": \"a\", \"text\": \"it was -5 degrees outside\"}\n{\"id\": \"b\", \"text\": \"apples\"}\n");
    home.ok(["add", "notes", "notes.jsonl"]);
    for query in [
        "-5 degrees",
        "-40",
        "--five degrees of frost",
        "- degrees",
        "-5",
    ] {
        let found = home.json(["search", "notes", query, "-k", "1"]);
        assert_eq!(found["query"], query);
        home.json(["explain", "notes", query, "--item", "a"]);
    }
    // Options keep their meaning, and a mistyped one is no query.
    assert_eq!(
        home.json(["search", "notes", "--like", "a"])["hits"][0]["id"],
        "b"
    );
    home.fails(
        ["search", "notes", "--jsno"],
        2,
        &["no such option", "-- --jsno"],
    );
    assert_eq!(
        home.ok(["search", "--json", "notes", "--", "--degrees"])
            .json()[0]["query"],
        "--degrees"
    );
}
