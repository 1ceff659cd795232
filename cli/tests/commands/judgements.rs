//! The commands `judge` and `forget`.

use serde_json::json;

use crate::home::{Home, failed};

fn judgements(home: &Home) -> u64 {
    home.json(["stats", "c"])["judgements"].as_u64().unwrap()
}

#[test]
fn all_four_forms_of_judgements_are_stored() {
    let home = Home::with_points();
    home.write(
        "j.jsonl",
        r#"{"query_id": "a", "item": "b", "relevant": true, "shown": ["b", "c"], "weight": 2}
{"query_vector": [1, 1], "item": "c", "grade": 0.5, "at": "2026-01-02T03:04:05Z"}

{"a": "a", "b": "d", "similar": false, "source": "click", "user": "ann"}
"#,
    );
    let stored = home.json(["judge", "c", "j.jsonl"]);
    assert_eq!(stored, json!({"judgements": 3, "first": 0, "last": 2}));
    let piped = home.run_with(
        ["judge", "c", "-", "--user", "bob"],
        b"{\"a\": \"a\", \"b\": \"b\", \"similar\": true}\n",
    );
    assert_eq!(piped.status, Some(0), "{piped:?}");
    assert_eq!(judgements(&home), 4);
}

#[test]
fn text_queries_are_judged_in_a_collection_with_an_encoder() {
    let home = Home::new();
    home.ok(["create", "c"]);
    home.write(
        "c.jsonl",
        "{\"id\": \"a1\", \"text\": \"how to prune apple trees\"}\n",
    );
    home.ok(["add", "c", "c.jsonl"]);
    home.write(
        "j.jsonl",
        "{\"query\": \"fruit tree care\", \"item\": \"a1\", \"relevant\": true}\n",
    );
    home.ok(["judge", "c", "j.jsonl"]);
    assert_eq!(judgements(&home), 1);
}

#[test]
fn judgements_of_one_command_are_all_stored_or_none() {
    let home = Home::with_points();
    let good = "{\"query_id\": \"a\", \"item\": \"b\", \"relevant\": true}\n";
    for (bad, words) in [
        (
            r#"{"query_id": "a", "item": "nobody", "relevant": true}"#,
            &["line 2", "nobody"][..],
        ),
        (
            r#"{"query_id": "nobody", "item": "a", "relevant": true}"#,
            &["line 2", "nobody"],
        ),
        (
            r#"{"a": "a", "b": "nobody", "similar": true}"#,
            &["line 2", "nobody"],
        ),
        (
            r#"{"query_id": "a", "item": "a", "relevant": true}"#,
            &["line 2", "itself"],
        ),
        (
            r#"{"a": "a", "b": "a", "similar": true}"#,
            &["line 2", "itself"],
        ),
        (
            r#"{"query_id": "a", "item": "b", "grade": 1.5}"#,
            &["line 2", "between -1 and 1"],
        ),
        (
            r#"{"query_id": "a", "item": "b", "grade": -1.01}"#,
            &["line 2", "between -1 and 1"],
        ),
        (
            r#"{"query_id": "a", "item": "b", "relevent": true}"#,
            &["line 2", "relevent"],
        ),
        (
            r#"{"query_vector": [1], "item": "b", "relevant": true}"#,
            &["line 2", "dimension"],
        ),
        (
            r#"{"query": "a text", "item": "b", "relevant": true}"#,
            &["line 2", "encoder"],
        ),
        (
            r#"{"query_id": "a", "item": "b", "relevant": true, "weight": -1}"#,
            &["line 2", "weight"],
        ),
        (
            r#"{"query_id": "a", "item": "b", "relevant": true, "weight": 1e300}"#,
            &["line 2", "1e300", "32-bit"],
        ),
        (
            r#"{"query_id": "a", "item": "b", "grade": 1e300}"#,
            &["line 2", "1e300; it lies"],
        ),
        ("nonsense", &["line 2"]),
    ] {
        home.write("j.jsonl", format!("{good}{bad}\n"));
        home.fails(
            ["judge", "c", "j.jsonl"],
            1,
            &[&["j.jsonl"], words].concat(),
        );
        assert_eq!(judgements(&home), 0, "{bad}");
    }
    failed(
        &home.run_with(["judge", "c", "-"], b""),
        1,
        &["standard input", "empty"],
    );
}

#[test]
fn forget_removes_judgements_and_withdraws_the_versions_learned_from_them() {
    let home = Home::with_judgements();
    let ann = home.run_with(
        ["judge", "c", "-", "--user", "ann"],
        b"{\"query_id\": \"0\", \"item\": \"40\", \"relevant\": true}\n{\"query_id\": \"1\", \"item\": \"40\", \"relevant\": false}\n",
    );
    assert_eq!(ann.status, Some(0));
    home.ok(["refit", "c", "--force"]);
    let forgotten = home.json(["forget", "c", "--user", "ann"]);
    assert_eq!(
        (&forgotten["removed"], &forgotten["withdrawn"]),
        (&json!(2), &json!([1]))
    );
    assert_eq!(judgements(&home), 120);
    assert_ne!(forgotten["active"], 1);
    home.fails(["metrics", "c", "promote", "1"], 1, &["withdrawn"]);
    let of_item = home.json(["forget", "c", "--item", "20"]);
    assert_eq!(of_item["removed"], 12);
    assert_eq!(judgements(&home), 108);
}

#[test]
fn forget_reports_the_metrics_of_users() {
    let home = Home::with_judgements();
    let text = std::fs::read_to_string(home.path("judgements.jsonl")).unwrap();
    for user in ["ann", "bob"] {
        assert_eq!(
            home.run_with(["judge", "c", "-", "--user", user], text.as_bytes())
                .status,
            Some(0)
        );
    }
    for user in ["ann", "bob"] {
        home.ok(["refit", "c", "--user", user, "--force"]);
    }
    // Ann's metric was learned from Bob's judgements too.
    let forgotten = home.json(["forget", "c", "--user", "bob"]);
    assert_eq!(forgotten["withdrawn"], json!([1, 2]));
    let users = forgotten["users"].as_array().unwrap();
    let of = |name: &str| users.iter().find(|user| user["user"] == name).unwrap();
    assert_eq!(
        of("bob"),
        &json!({"user": "bob", "version": null, "promoted": false, "gate": null, "active": 0})
    );
    let ann = of("ann");
    assert_eq!(
        (&ann["version"], &ann["gate"]["held_out"]),
        (&json!(3), &json!(12))
    );
    assert_eq!(ann["active"] == 3, ann["promoted"] == true);
    assert_eq!(
        home.json(["search", "c", "--like", "1", "--user", "ann"])["metric"],
        ann["active"]
    );

    home.ok(["metrics", "c", "promote", "3"]);
    let said = home.ok(["forget", "c", "--item", "20"]).stdout;
    let words = "ann: the metric of their own was withdrawn, and metric 4 learned anew";
    assert!(
        said.contains(words) && said.contains("is active for ann"),
        "{said}"
    );
}
