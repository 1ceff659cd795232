//! The command `evaluate`.

use serde_json::{Value, json};

use crate::home::Home;

fn mean(row: &Value, measure: &str) -> f64 {
    row[measure]["mean"].as_f64().unwrap()
}

#[test]
fn measures_equal_those_worked_by_hand() {
    let home = Home::with_points();
    // The answer to a is b, c, d; c and d are relevant, at ranks 2 and 3.
    home.write(
        "e.jsonl",
        "{\"query_id\": \"a\", \"relevant\": [\"c\", \"d\"]}\n",
    );
    let found = home.json(["evaluate", "c", "e.jsonl", "-k", "2"]);
    assert_eq!((&found["k"], &found["queries"]), (&json!(2), &json!(1)));
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(
        rows.len(),
        2,
        "Euclidean and the active metric side by side"
    );
    let row = &rows[0];
    assert_eq!(row["metric"], 0);
    let log = f64::log2;
    assert_eq!((mean(row, "precision"), mean(row, "recall")), (0.5, 0.5));
    assert!((mean(row, "ndcg") - (1.0 / log(3.0)) / (1.0 + 1.0 / log(3.0))).abs() < 1e-9);
    assert!((mean(row, "mrr") - 0.5).abs() < 1e-9);
    assert!((mean(row, "map") - f64::midpoint(0.5, 2.0 / 3.0)).abs() < 1e-9);
    for measure in ["precision", "recall", "ndcg", "mrr", "map"] {
        let of = &row[measure];
        assert!(
            of["low"].as_f64() <= of["mean"].as_f64() && of["mean"].as_f64() <= of["high"].as_f64()
        );
    }
    assert!(
        home.ok(["evaluate", "c", "e.jsonl"])
            .stdout
            .contains("nDCG")
    );
}

#[test]
fn mrr_and_map_look_beyond_k_and_the_output_says_so() {
    let home = Home::with_points();
    // The first relevant item is at rank 3.
    home.write("e.jsonl", "{\"query_id\": \"a\", \"relevant\": [\"d\"]}\n");
    let found = home.ok(["evaluate", "c", "e.jsonl", "-k", "1", "--json"]);
    let row = &found.json()[0]["rows"][0];
    assert_eq!((mean(row, "precision"), mean(row, "ndcg")), (0.0, 0.0));
    assert!(
        (mean(row, "mrr") - 1.0 / 3.0).abs() < 1e-9 && (mean(row, "map") - 1.0 / 3.0).abs() < 1e-9
    );
    assert!(!found.stdout.contains("-0"), "{found:?}");
    for (k, depth) in [("1", "1,000"), ("2000", "2,000")] {
        let said = home.ok(["evaluate", "c", "e.jsonl", "-k", k]).stdout;
        let words =
            format!("precision, recall and nDCG at k = {k}; MRR and MAP over the first {depth};");
        assert!(said.contains(&words) && !said.contains("-0"), "{said}");
    }
}

#[test]
fn an_invalid_query_is_named_by_its_line() {
    let home = Home::new();
    home.ok(["create", "c", "--distance", "cosine"]);
    home.write("c.jsonl", "{\"id\": \"a\", \"text\": \"apples\"}\n");
    home.ok(["add", "c", "c.jsonl"]);
    let zero = vec!["0"; 256].join(",");
    for (bad, word) in [
        ("\"query\": \"\u{1f600}\"".to_owned(), "knows nothing"),
        (format!("\"query_vector\": [{zero}]"), "zero"),
    ] {
        home.write(
            "e.jsonl",
            format!("{{\"query\": \"pears\", \"relevant\": [\"a\"]}}\n\n{{{bad}, \"relevant\": [\"a\"]}}\n"),
        );
        home.fails(["evaluate", "c", "e.jsonl"], 1, &["e.jsonl, line 3", word]);
    }
}

#[test]
fn a_querys_own_item_is_left_out() {
    let home = Home::with_points();
    home.write(
        "e.jsonl",
        "{\"query_id\": \"a\", \"relevant\": [\"a\", \"b\"]}\n",
    );
    let found = home.json(["evaluate", "c", "e.jsonl", "-k", "1"]);
    assert_eq!(
        (
            mean(&found["rows"][0], "precision"),
            mean(&found["rows"][0], "recall")
        ),
        (1.0, 1.0)
    );
}

#[test]
fn trec_qrels_are_read_with_and_without_texts() {
    let home = Home::new();
    home.ok(["create", "c"]);
    home.write("c.jsonl", "{\"id\":\"apple\",\"text\":\"how to prune apple trees\"}\n{\"id\":\"knife\",\"text\":\"sharpening a kitchen knife\"}\n{\"id\":\"tomato\",\"text\":\"watering tomatoes\"}\n");
    home.ok(["add", "c", "c.jsonl"]);
    home.write(
        "qrels.txt",
        "1 0 apple 1\n1 0 knife 0\n2 0 knife 2\n3 0 apple 0\n",
    );
    home.write(
        "topics.tsv",
        "1\tfruit tree care\n2\tblunt blades\n3\tnothing\n",
    );
    let ran = home.ok([
        "evaluate",
        "c",
        "qrels.txt",
        "--queries",
        "topics.tsv",
        "-k",
        "1",
        "--json",
    ]);
    let found = &ran.json()[0];
    assert_eq!(
        (&found["queries"], mean(&found["rows"][0], "precision")),
        (&json!(2), 1.0)
    );
    assert!(
        ran.stderr.contains("1 topic without a relevant item"),
        "{ran:?}"
    );
    home.write("by-id.txt", "apple 0 tomato 1\n");
    assert_eq!(home.json(["evaluate", "c", "by-id.txt"])["queries"], 1);
}

#[test]
fn an_invalid_evaluation_file_is_refused_by_line() {
    let home = Home::with_points();
    let refused = |text: &str, words: &[&str]| {
        home.write("e.jsonl", text);
        home.fails(
            ["evaluate", "c", "e.jsonl"],
            1,
            &[&["e.jsonl"], words].concat(),
        );
    };
    refused("", &["empty"]);
    refused(
        "{\"query_id\": \"a\", \"relevant\": [\"b\"]}\n{\"query_id\": \"nobody\", \"relevant\": [\"b\"]}",
        &["line 2", "nobody"],
    );
    refused(
        "{\"query_id\": \"a\", \"relevant\": [\"nobody\"]}",
        &["line 1", "nobody"],
    );
    refused(
        "{\"query_id\": \"a\", \"relevant\": []}",
        &["line 1", "empty"],
    );
    refused(
        "{\"query_vector\": [1, 2, 3], \"relevant\": [\"a\"]}",
        &["line 1", "dimension"],
    );
    refused(
        "{\"query\": \"a text\", \"relevant\": [\"a\"]}",
        &["line 1", "encoder"],
    );
    refused("1 0 a\n", &["line 1", "3 fields"]);
}
