//! The command `search`: its queries, its output, and the order of hits.

use serde_json::{Value, json};

use crate::home::{Home, keys, npy};

fn ids(answer: &Value) -> Vec<&str> {
    answer["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["id"].as_str().unwrap())
        .collect()
}

#[test]
fn the_json_of_an_answer_has_the_documented_keys() {
    let home = Home::with_points();
    let answer = home.json(["search", "c", "--like", "a", "-k", "2"]);
    assert_eq!(keys(&answer), ["query", "metric", "hits"]);
    assert_eq!(
        (&answer["query"], &answer["metric"]),
        (&json!("a"), &json!(0))
    );
    let hit = &answer["hits"][0];
    assert_eq!(
        keys(hit),
        ["id", "distance", "score", "rank", "text", "meta"]
    );
    assert_eq!(
        (&hit["id"], &hit["distance"], &hit["rank"]),
        (&json!("b"), &json!(1.0), &json!(1))
    );
    assert_eq!(
        (&hit["text"], &hit["meta"]["year"]),
        (&json!("the second"), &json!(2020))
    );
    let explained = home.json(["search", "c", "--like", "a", "--explain-search"]);
    assert_eq!(
        keys(&explained),
        ["query", "metric", "hits", "visited", "ef", "micros", "plan"]
    );
}

#[test]
fn a_search_like_an_item_leaves_it_out() {
    let home = Home::with_points();
    assert_eq!(
        ids(&home.json(["search", "c", "--like", "a"])),
        ["b", "c", "d"]
    );
    home.fails(["search", "c", "--like", "nobody"], 1, &["nobody"]);
}

#[test]
fn each_row_of_an_array_gives_a_line_with_its_row_number() {
    let home = Home::with_points();
    home.write("q.npy", npy(&[&[0.1, 0.0], &[3.0, 2.5]]));
    let answers = home.all_json(["search", "c", "--vectors", "q.npy", "-k", "1"]);
    assert_eq!(
        answers.iter().map(|a| &a["query"]).collect::<Vec<_>>(),
        [&json!(0), &json!(1)]
    );
    assert_eq!(answers.iter().map(ids).collect::<Vec<_>>(), [["a"], ["d"]]);
    let piped = home.run_with(
        ["search", "c", "--vectors", "-", "-k", "1", "--json"],
        &npy(&[&[3.0, 2.5]]),
    );
    assert_eq!(ids(&piped.json()[0]), ["d"]);
}

#[test]
fn filters_select_by_metadata() {
    let home = Home::with_points();
    let filtered = |filter| {
        let answer = home.json(["search", "c", "--like", "d", "--filter", filter]);
        ids(&answer)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(filtered(r#"{"year": {"$gte": 2020}}"#), ["c", "b"]);
    assert_eq!(filtered(r#"{"lang": {"$in": ["en", "fr"]}}"#), ["a"]);
    assert_eq!(filtered(r#"{"tags": "y"}"#), ["b"]);
    assert_eq!(
        filtered(r#"{"$or": [{"year": 2019}, {"tags": {"$exists": true}}]}"#),
        ["b", "a"]
    );
    assert_eq!(filtered(r#"{"year": 1900}"#), Vec::<String>::new());
}

#[test]
fn filters_name_keys_with_dots_and_paths_alike() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "1"]);
    home.write(
        "items.jsonl",
        r#"{"id": "written", "vector": [1], "meta": {"user.name": "ann"}}
{"id": "nested", "vector": [2], "meta": {"user": {"name": "ann"}}}
{"id": "other", "vector": [3], "meta": {"user.name": "bob"}}
{"id": "none", "vector": [4]}
"#,
    );
    home.ok(["add", "c", "items.jsonl"]);
    home.write("q.npy", npy(&[&[0.0]]));
    let args = |filter| ["search", "c", "--vectors", "q.npy", "--filter", filter];
    let filtered = |filter| -> Vec<String> {
        let answer = home.json(args(filter));
        ids(&answer).into_iter().map(str::to_owned).collect()
    };
    for (filter, expected) in [
        (r#"{"user.name": "ann"}"#, vec!["written", "nested"]),
        (r#"{"user.name": {"$ne": "ann"}}"#, vec!["other", "none"]),
        (
            r#"{"user.name": {"$in": ["ann"]}}"#,
            vec!["written", "nested"],
        ),
        (r#"{"user.name": {"$nin": ["ann"]}}"#, vec!["other", "none"]),
        (r#"{"user.name": {"$exists": false}}"#, vec!["none"]),
        (
            r#"{"user.name": {"$not": {"$eq": "ann"}}}"#,
            vec!["other", "none"],
        ),
        (r#"{"$field": [["user.name"], "ann"]}"#, vec!["written"]),
        (r#"{"$field": [["user", "name"], "ann"]}"#, vec!["nested"]),
    ] {
        assert_eq!(filtered(filter), expected, "{filter}");
    }

    // Nothing is lost of an item with both, and no filter guesses which is meant.
    let both = json!({"user.name": "bob", "user": {"name": "ann"}});
    home.write(
        "both.jsonl",
        json!({"id": "both", "vector": [5], "meta": both}).to_string(),
    );
    home.ok(["add", "c", "both.jsonl"]);
    assert_eq!(home.json(["get", "c", "both"])["meta"], both);
    for filter in [
        r#"{"user.name": "ann"}"#,
        r#"{"user.name": {"$ne": "ann"}}"#,
    ] {
        home.fails(args(filter), 1, &["user.name", "\"both\"", "$field"]);
    }
    home.fails(
        ["judge", "c", "--by-field", "user.name"],
        1,
        &["user.name", "\"both\""],
    );
    assert_eq!(
        filtered(r#"{"$field": [["user.name"], "bob"]}"#),
        ["other", "both"]
    );
    assert_eq!(
        filtered(r#"{"$field": [["user", "name"], {"$ne": "ann"}]}"#),
        ["written", "other", "none"]
    );
    home.ok(["delete", "c", "both"]);
    assert_eq!(filtered(r#"{"user.name": "ann"}"#), ["written", "nested"]);
}

#[test]
fn filters_compare_times_as_times() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "1"]);
    home.write(
        "items.jsonl",
        r#"{"id": "berlin", "vector": [1], "meta": {"at": "2026-03-01T00:30:00+01:00"}}
{"id": "utc", "vector": [2], "meta": {"at": "2026-03-01T00:00:00Z"}}
{"id": "new york", "vector": [3], "meta": {"at": "2026-02-28T20:00:00-05:00"}}
{"id": "day", "vector": [4], "meta": {"at": "2026-03-01"}}
"#,
    );
    home.ok(["add", "c", "items.jsonl"]);
    home.write("q.npy", npy(&[&[0.0]]));
    let filtered = |filter| -> Vec<String> {
        let answer = home.json(["search", "c", "--vectors", "q.npy", "--filter", filter]);
        ids(&answer).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(
        filtered(r#"{"at": {"$gte": "2026-03-01T00:00:00Z"}}"#),
        ["utc", "new york"]
    );
    assert_eq!(
        filtered(r#"{"at": {"$lt": "2026-03-01T01:00:00+01:00"}}"#),
        ["berlin", "day"]
    );
    assert_eq!(
        filtered(r#"{"at": {"$gt": "2026-03-01T00:00:00Z", "$lte": "2026-03-01T01:00:00Z"}}"#),
        ["new york"]
    );
    // A day is a text, and texts are compared with it.
    assert_eq!(
        filtered(r#"{"at": {"$gt": "2026-03-01"}}"#),
        ["berlin", "utc"]
    );
    assert_eq!(filtered(r#"{"at": "2026-03-01T00:00:00Z"}"#), ["utc"]);
}

#[test]
fn ties_are_ordered_by_id_and_answers_repeat_to_the_byte() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2"]);
    home.write(
        "t.jsonl",
        "{\"id\":\"z\",\"vector\":[1,0]}\n{\"id\":\"m\",\"vector\":[0,1]}\n{\"id\":\"b\",\"vector\":[-1,0]}\n",
    );
    home.ok(["add", "c", "t.jsonl"]);
    home.write("q.npy", npy(&[&[0.0, 0.0]]));
    let ask = || home.ok(["search", "c", "--vectors", "q.npy", "--json"]);
    assert_eq!(ids(&ask().json()[0]), ["b", "m", "z"]);
    assert_eq!(ask().stdout, ask().stdout);
}

#[test]
fn an_empty_collection_answers_no_hits() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2"]);
    home.write("q.npy", npy(&[&[0.0, 0.0]]));
    assert_eq!(
        home.json(["search", "c", "--vectors", "q.npy"])["hits"],
        json!([])
    );
    home.fails(["search", "c", "a text"], 1, &["encode"]);
}
