//! The commands `judge`, `judgements` and `forget`.

use std::fs;

use serde_json::{Value, json};

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

#[test]
fn a_judgement_does_not_outlive_the_content_that_was_judged() {
    let home = Home::with_judgements();
    let text = |text: &str| {
        home.write(
            "a.jsonl",
            json!({"id": "20", "text": text, "vector": [9, 9, 9, 9]}).to_string(),
        );
        home.ok(["add", "c", "a.jsonl"]);
    };
    text("old words");
    assert_eq!(home.json(["stats", "c"])["stale_judgements"], 12);
    home.write(
        "j.jsonl",
        r#"{"query_id": "1", "item": "20", "relevant": true}"#,
    );
    home.ok(["judge", "c", "j.jsonl"]);
    home.ok(["delete", "c", "20"]);
    text("other words");
    let stats = home.json(["stats", "c"]);
    assert_eq!(
        (&stats["judgements"], &stats["stale_judgements"]),
        (&json!(121), &json!(13))
    );
    let said = home.ok(["stats", "c"]).stdout;
    assert!(said.contains("121, of which 13 teach nothing"), "{said}");
    let listed = home.all_json(["judgements", "c"]);
    assert_eq!(listed.len(), 121);
    let last = &listed[120];
    assert_eq!(
        (
            &last["sequence"],
            &last["teaches"],
            &last["changed"],
            &last["gone"]
        ),
        (&json!(120), &json!(false), &json!(["20"]), &json!([]))
    );
    assert_eq!(
        (&listed[1]["teaches"], listed[1].get("changed")),
        (&json!(true), None)
    );
    let report = home.json(["refit", "c", "--force"]);
    assert_eq!(report["stale"], 13);
    assert!(
        home.ok(["refit", "c"])
            .stdout
            .contains("13 judgements not learned from"),
        "also for people"
    );
    let shown = home.ok(["judgements", "c"]).stdout;
    assert!(
        shown.contains("no: 20 changed") && shown.contains("like 1 -> 20"),
        "{shown}"
    );
    text("old words");
    assert_eq!(home.json(["stats", "c"])["stale_judgements"], 12);
    assert_eq!(home.all_json(["judgements", "c"])[120]["teaches"], true);
}

#[test]
fn one_judgement_is_withdrawn() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    let withdrawn = home.json(["judge", "c", "--withdraw", "7"]);
    assert_eq!(
        (&withdrawn["removed"], &withdrawn["withdrawn"]),
        (&json!(1), &json!([1]))
    );
    assert_eq!(judgements(&home), 119);
    let listed = home.all_json(["judgements", "c"]);
    assert!(listed.iter().all(|judgement| judgement["sequence"] != 7));
    home.fails(["judge", "c", "--withdraw", "7"], 1, &["no judgement 7"]);
    home.fails(
        ["judge", "c", "--withdraw", "7", "judgements.jsonl"],
        2,
        &[],
    );
    assert_eq!(judgements(&home), 119);
}

#[test]
fn an_unchanged_refit_says_so_and_versions_are_deleted() {
    let home = Home::with_judgements();
    let first = home.json(["refit", "c", "--force"]);
    assert_eq!(first.get("unchanged"), None);
    let again = home.json(["refit", "c"]);
    assert_eq!(
        (&again["unchanged"], &again["promoted"], &again["version"]),
        (&json!(true), &json!(false), &json!(1))
    );
    let said = home.ok(["refit", "c"]).stdout;
    assert!(
        said.starts_with("nothing changed: the active metric 1 was learned"),
        "{said}"
    );
    assert_eq!(home.all_json(["metrics", "c"]).len(), 2);
    home.fails(["metrics", "c", "delete", "1"], 1, &["active", "roll back"]);
    home.ok(["metrics", "c", "rollback"]);
    assert_eq!(
        home.json(["metrics", "c", "delete", "1"]),
        json!({"deleted": 1})
    );
    home.fails(["metrics", "c", "show", "1"], 1, &["no metric version 1"]);
    assert_eq!(home.json(["refit", "c", "--force"])["version"], 2);
    home.ok(["verify"]);
}

/// A home with a collection `c` of a few texts.
fn with_texts() -> Home {
    let home = Home::new();
    home.ok(["create", "c"]);
    home.write(
        "c.jsonl",
        "{\"id\":\"765\",\"text\":\"dogs bark at night\"}
{\"id\":\"766\",\"text\":\"a puppy in the garden\"}
{\"id\":\"3\",\"text\":\"money in the bank\"}
",
    );
    home.ok(["add", "c", "c.jsonl"]);
    home.write("topics.tsv", "1\tdog barking\n2\tcash\n");
    home
}

/// Query, item and grade of all judgements.
fn graded(home: &Home) -> Vec<(Value, Value, f64)> {
    let listed = home.all_json(["judgements", "c"]).into_iter();
    let fields = |j: Value| {
        (
            j["query"].clone(),
            j["item"].clone(),
            j["grade"].as_f64().unwrap(),
        )
    };
    listed.map(fields).collect()
}

#[test]
fn ratings_of_trec_beir_and_quepid_are_judgements() {
    // Grades are numbers of 32 bits, printed with the digits that tell them apart.
    let third = 0.333_333_34;
    let two_thirds = 0.666_666_7;
    let graded_by = |file: &str, text: &str, args: &[&str]| {
        let home = with_texts();
        home.write(file, text);
        home.ok(["judge", "c", file].into_iter().chain(args.iter().copied()));
        graded(&home)
    };
    let all = [
        (json!("dog barking"), json!("765"), 1.0),
        (json!("dog barking"), json!("766"), third),
        (json!("cash"), json!("3"), two_thirds),
    ];
    let queries = &["--queries", "topics.tsv"][..];
    let trec = "1 0 765 3\n1 0 766 1\n2 0 3 2\n";
    assert_eq!(graded_by("graded.qrels", trec, queries), all);
    let explicit = [queries, &["--format", "qrels", "--scale", "3"]].concat();
    assert_eq!(graded_by("graded.qrels", trec, &explicit), all);
    let floats = graded_by("float.qrels", "1 0 765 1.0\n2 0 3 0.5\n1 0 3 0\n", queries);
    let grades: Vec<f64> = floats.into_iter().map(|(_, _, grade)| grade).collect();
    assert_eq!(grades, [1.0, 0.5, -1.0]);
    let beir = "query-id\tcorpus-id\tscore\n1\t765\t1\n";
    assert_eq!(graded_by("beir.qrels", beir, queries), [all[0].clone()]);
    let quepid = "query,docid,rating\ndog barking,765,3\nmoney,3,0\n";
    let rated = graded_by("quepid.csv", quepid, &["--scale", "3"]);
    assert_eq!(rated, [all[0].clone(), (json!("money"), json!("3"), -1.0)]);

    let home = with_texts();
    home.write(
        "queries.jsonl",
        "{\"_id\": \"1\", \"text\": \"dog barking\"}\n",
    );
    home.write("beir.qrels", beir);
    home.fails(["judge", "c", "beir.qrels"], 1, &["--queries"]);
    home.ok([
        "judge",
        "c",
        "beir.qrels",
        "--queries",
        "queries.jsonl",
        "--user",
        "ann",
    ]);
    assert_eq!(home.all_json(["judgements", "c"])[0]["user"], "ann");
    home.write("high.csv", "query,docid,rating\nq,765,4\n");
    home.fails(
        ["judge", "c", "high.csv", "--scale", "3"],
        1,
        &["high.csv, line 2", "above the highest"],
    );
    home.fails(["judge", "c", "high.csv", "--scale", "0"], 2, &["scale"]);
    home.fails(
        ["judge", "c", "high.csv", "--format", "xml"],
        2,
        &["quepid and ubi"],
    );
    home.fails(
        ["judge", "c", "c.jsonl", "--format", "jsonl", "--scale", "3"],
        1,
        &["--scale belongs to"],
    );
}

#[test]
fn unknown_items_are_listed_and_left_out_on_demand() {
    let home = with_texts();
    home.write("q.qrels", "1 0 765 1\n1 0 nobody 1\n2 0 none 0\n2 0 3 1\n");
    let judge = ["judge", "c", "q.qrels", "--queries", "topics.tsv"];
    home.fails(
        judge,
        1,
        &["q.qrels, line 2", "nobody", "none", "--skip-unknown"],
    );
    assert_eq!(judgements(&home), 0);
    let ran = home.ok(judge.into_iter().chain(["--skip-unknown", "--json"]));
    assert_eq!(
        ran.json(),
        [json!({"judgements": 2, "first": 0, "last": 1, "unknown": ["nobody", "none"]})]
    );
    assert!(ran.stderr.contains("left out 2 judgements"), "{ran:?}");
    assert!(ran.stderr.contains("nobody, none"), "{ran:?}");
    home.write("q.qrels", "1 0 nobody 1\n");
    home.fails(judge.into_iter().chain(["--skip-unknown"]), 1, &["nobody"]);
}

#[test]
fn events_of_users_are_clicks_on_what_was_shown() {
    let home = with_texts();
    home.write(
        "queries.jsonl",
        r#"{"query_id": "q1", "client_id": "ann", "user_query": "dog barking", "query_response_hit_ids": ["766", "gone", "765"], "timestamp": "2026-01-02T03:04:05Z"}"#,
    );
    home.write(
        "events.jsonl",
        r#"{"action_name": "page_exit", "query_id": "q1"}
{"action_name": "click", "query_id": "q1", "client_id": "ann", "timestamp": "2026-01-02T03:04:09Z", "event_attributes": {"object": {"object_id": "765", "object_id_field": "id"}, "position": {"ordinal": 3}}}
"#,
    );
    let judge = [
        "judge",
        "c",
        "events.jsonl",
        "--format",
        "ubi",
        "--queries",
        "queries.jsonl",
    ];
    home.fails(judge, 1, &["events.jsonl, line 2", "gone"]);
    let ran = home.ok(judge.into_iter().chain(["--skip-unknown"]));
    assert!(ran.stderr.contains("page_exit (1)"), "{ran:?}");
    let judged = &home.all_json(["judgements", "c"])[0];
    let fields = ["query", "item", "source", "user", "shown", "at"].map(|field| &judged[field]);
    let wanted = [
        json!("dog barking"),
        json!("765"),
        json!("click"),
        json!("ann"),
        json!(["766", "765"]),
        json!("2026-01-02T03:04:09Z"),
    ];
    assert_eq!(fields, wanted.each_ref());
}

#[test]
fn judgements_are_written_as_qrels_that_are_read_again() {
    let home = with_texts();
    let qrels = "1 0 765 3\n1 0 766 1\n2 0 3 0\n";
    home.write("in.qrels", qrels);
    home.ok(["judge", "c", "in.qrels", "--queries", "topics.tsv"]);
    home.ok([
        "judgements",
        "c",
        "--qrels",
        "out.qrels",
        "--queries",
        "out.tsv",
        "--scale",
        "3",
    ]);
    let read = |name: &str| fs::read_to_string(home.path(name)).unwrap();
    assert_eq!(read("out.qrels"), qrels);
    assert_eq!(read("out.tsv"), read("topics.tsv"));
    home.fails(
        ["judgements", "c", "--qrels", "out.qrels"],
        1,
        &["whose queries are items", "3 are of texts"],
    );
}
