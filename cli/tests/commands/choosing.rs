//! The options of `search` that choose among the ranked items: pages, thresholds, groups, facets,
//! diversity, several queries in one.

use serde_json::{Value, json};

use crate::home::{Home, keys, lines};

fn ids(answer: &Value) -> Vec<&str> {
    let hits = answer["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

/// A home with a collection `line` of 30 points on a line, in three documents of very different
/// sizes and two points of none.
fn home() -> Home {
    let home = Home::new();
    home.ok(["create", "line", "--dim", "1"]);
    let items: Vec<Value> = (0..30)
        .map(|i| {
            let mut item =
                json!({"id": format!("p{i:02}"), "vector": [i], "meta": {"odd": i % 2 == 1}});
            match i {
                7 | 21 => {}
                0..=17 => item["meta"]["doc"] = "long".into(),
                18 | 24 => item["meta"]["doc"] = 5.into(),
                _ => item["meta"]["doc"] = "short".into(),
            }
            item
        })
        .collect();
    home.write("items.jsonl", lines(&items));
    home.ok(["add", "line", "items.jsonl"]);
    home
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let home = home();
    let whole = home.json(["search", "line", "--like", "p00", "-k", "100"]);
    let page = home.json([
        "search", "line", "--like", "p00", "-k", "5", "--offset", "3",
    ]);
    assert_eq!(ids(&page), ids(&whole)[3..8]);
    assert_eq!(page["hits"][0]["rank"], 4);
    let (mut cursor, mut found) = ("start".to_owned(), Vec::new());
    loop {
        let page = home.json([
            "search", "line", "--like", "p00", "-k", "8", "--cursor", &cursor,
        ]);
        found.extend(ids(&page).into_iter().map(str::to_owned));
        match page.get("cursor") {
            Some(next) => cursor = next.as_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(found, ids(&whole));
    // For people the command of the next page is printed.
    let text = home.ok([
        "search", "line", "--like", "p00", "-k", "8", "--cursor", "start",
    ]);
    assert!(text.stdout.contains("next page: --cursor "), "{text:?}");
    let of_another = ["search", "line", "--like", "p01", "--cursor", &cursor];
    home.fails(of_another, 1, &["cursor", "another query"]);
    home.fails(
        ["search", "line", "--like", "p00", "--cursor", "x"],
        1,
        &["cursor", "damaged"],
    );
    home.fails(
        ["search", "line", "--like", "p00", "--offset", "10000"],
        2,
        &["offset", "10000"],
    );
    home.fails(
        ["search", "line", "--like", "p00", "--offset", "-1"],
        2,
        &["offset"],
    );
    home.fails(
        [
            "search", "line", "--like", "p00", "--offset", "1", "--cursor", "start",
        ],
        2,
        &["--cursor"],
    );
}

#[test]
fn a_threshold_is_in_the_unit_of_the_metric() {
    let home = home();
    let near = home.json(["search", "line", "--like", "p10", "--max-distance", "4"]);
    assert_eq!(ids(&near), ["p09", "p11", "p08", "p12"]);
    let none = home.ok(["search", "line", "--like", "p10", "--max-distance", "0.5"]);
    assert!(none.stdout.contains("within the distance"), "{none:?}");
    home.fails(
        ["search", "line", "--like", "p10", "--max-distance", "nan"],
        2,
        &["distance"],
    );
}

#[test]
fn groups_show_the_best_of_each_document() {
    let home = home();
    let search = [
        "search",
        "line",
        "--like",
        "p00",
        "-k",
        "4",
        "--group-by",
        "doc",
        "--per-group",
        "2",
    ];
    let answer = home.json(search);
    assert_eq!(keys(&answer), ["query", "metric", "hits", "groups"]);
    assert_eq!(
        ids(&answer),
        ["p01", "p02", "p07", "p18", "p24", "p19", "p20"]
    );
    let groups: Vec<&Value> = answer["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| &hit["group"])
        .collect();
    assert_eq!(
        json!(groups),
        json!(["long", "long", null, 5, 5, "short", "short"])
    );
    let expected = json!([
        {"value": "long", "count": 17}, {"value": null, "count": 1}, {"value": 5, "count": 2},
        {"value": "short", "count": 9}
    ]);
    assert_eq!(answer["groups"], expected);
    let text = home.ok(search).stdout;
    assert!(
        text.contains("long: 17 items") && text.contains("short"),
        "{text}"
    );
    let second = home.json([
        "search",
        "line",
        "--like",
        "p00",
        "-k",
        "1",
        "--group-by",
        "doc",
        "--offset",
        "2",
    ]);
    assert_eq!(ids(&second), ["p18"]);
    home.fails(
        ["search", "line", "--like", "p00", "--per-group", "2"],
        2,
        &["--group-by"],
    );
    home.fails(
        [&search[..6], &["--group-by", "doc", "--per-group", "0"][..]].concat(),
        2,
        &["--per-group"],
    );
    home.fails(
        [&search[..8], &["--diversity", "0.5"][..]].concat(),
        1,
        &["groups", "diversity"],
    );
}

#[test]
fn facets_count_what_passes_the_filter() {
    let home = home();
    let search = [
        "search", "line", "--like", "p00", "-k", "1", "--facet", "doc", "--facet", "odd",
    ];
    let answer = home.json(search);
    assert_eq!(keys(&answer), ["query", "metric", "hits", "facets"]);
    let doc = json!({
        "values": [{"value": "long", "count": 17}, {"value": "short", "count": 9}, {"value": 5, "count": 2}],
        "distinct": 3, "missing": 2, "uncounted": 0
    });
    assert_eq!(answer["facets"]["doc"], doc);
    assert_eq!(
        answer["facets"]["odd"]["values"][0],
        json!({"value": false, "count": 15})
    );
    let few = home.json(
        [
            &search[..8],
            &["--facet-values", "1", "--filter", r#"{"odd": true}"#][..],
        ]
        .concat(),
    );
    assert_eq!(
        few["facets"]["doc"]["values"],
        json!([{"value": "long", "count": 8}])
    );
    assert_eq!(few["facets"]["doc"]["distinct"], 2);
    let text = home.ok(search).stdout;
    assert!(
        text.contains("doc") && text.contains("17  long") && text.contains("2 items without it"),
        "{text}"
    );
}

#[test]
fn diversity_spreads_the_hits() {
    let home = home();
    let near = home.json([
        "search",
        "line",
        "--like",
        "p00",
        "-k",
        "3",
        "--diversity",
        "0",
    ]);
    assert_eq!(ids(&near), ["p01", "p02", "p03"]);
    let spread = home.json([
        "search",
        "line",
        "--like",
        "p00",
        "-k",
        "3",
        "--diversity",
        "1",
    ]);
    assert_eq!(ids(&spread)[..2], ["p01", "p29"]);
    home.fails(
        ["search", "line", "--like", "p00", "--diversity", "2"],
        2,
        &["diversity", "between 0"],
    );
}

#[test]
fn examples_are_put_into_one_query() {
    let home = home();
    // 10 + (10 - 7) = 13.
    let answer = home.json([
        "search", "line", "--like", "p09", "p11", "--unlike", "p07", "-k", "3",
    ]);
    assert_eq!(ids(&answer), ["p13", "p12", "p14"]);
    assert_eq!(
        answer["query"],
        json!({"like": ["p09", "p11"], "unlike": ["p07"]})
    );
    let text = home
        .ok(["search", "line", "--like", "p09", "--unlike", "p07"])
        .stdout;
    assert!(text.starts_with("like p09, unlike p07"), "{text}");
    home.fails(["search", "line", "--unlike", "p07"], 2, &["--like"]);
    home.fails(
        ["search", "line", "--like", "p09", "--unlike", "nobody"],
        1,
        &["nobody"],
    );
    home.write("q.npy", crate::home::npy(&[&[1.0]]));
    home.fails(
        ["search", "line", "--vectors", "q.npy", "--unlike", "p07"],
        2,
        &["--unlike"],
    );
    home.fails(
        ["search", "line", "--vectors", "q.npy", "--like", "p07"],
        2,
        &["--like"],
    );
    let rejected = [
        "search",
        "line",
        "--like",
        "p09",
        "--unlike",
        "p07",
        "--hide-rejected",
    ];
    home.fails(rejected, 1, &["not judged"]);
}
