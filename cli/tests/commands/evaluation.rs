//! The command `evaluate`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::home::{Home, lines};

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
        (&json!(3), 2.0 / 3.0)
    );
    assert!(
        ran.stderr
            .contains("1 topic is without a relevant item, and counts as 0"),
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

/// The measures of `trec_eval` by their definitions, over the topics of qrels: precision, recall and
/// nDCG at a cut, reciprocal rank and average precision. A run is ordered by its scores.
fn trec_eval(qrels: &str, run: &str, k: usize, threshold: i64) -> [f64; 5] {
    let mut grades: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for line in qrels.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let of_topic = grades.entry(fields[0]).or_default();
        of_topic.insert(fields[2], fields[3].parse().unwrap());
    }
    let mut answers: BTreeMap<&str, Vec<(f32, &str)>> = BTreeMap::new();
    for line in run.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let of_topic = answers.entry(fields[0]).or_default();
        of_topic.push((fields[4].parse().unwrap(), fields[2]));
    }
    let mut sums = [0.0; 5];
    for (topic, grades) in &grades {
        let mut ranked = answers.remove(topic).unwrap();
        // Equal scores would be ordered by falling id.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(a.1)));
        let grade = |id: &str| grades.get(id).copied().unwrap_or(0);
        let is_relevant = |id: &str| grade(id) >= threshold;
        let relevant = grades.keys().filter(|id| is_relevant(id)).count() as f64;
        let gain = |(at, grade): (usize, i64)| grade.max(0) as f64 / (at as f64 + 2.0).log2();
        let mut ideal: Vec<i64> = grades.values().copied().collect();
        ideal.sort_by_key(|grade| Reverse(*grade));
        let dcg: f64 = ranked
            .iter()
            .take(k)
            .map(|hit| grade(hit.1))
            .enumerate()
            .map(gain)
            .sum();
        let best: f64 = ideal.into_iter().take(k).enumerate().map(gain).sum();
        let found = ranked
            .iter()
            .take(k)
            .filter(|hit| is_relevant(hit.1))
            .count() as f64;
        let (mut seen, mut precisions, mut reciprocal) = (0.0, 0.0, 0.0);
        for (at, _) in ranked
            .iter()
            .enumerate()
            .filter(|(_, hit)| is_relevant(hit.1))
        {
            seen += 1.0;
            precisions += seen / (at as f64 + 1.0);
            reciprocal = f64::max(reciprocal, 1.0 / (at as f64 + 1.0));
        }
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let of_topic = [
            found / k as f64,
            share(found, relevant),
            share(dcg, best),
            reciprocal,
            share(precisions, relevant),
        ];
        sums.iter_mut()
            .zip(of_topic)
            .for_each(|(sum, value)| *sum += value);
    }
    sums.map(|sum| sum / grades.len() as f64)
}

/// The same measures by `ir_measures` (over `trec_eval` itself), where a Python has it:
/// `AFFINIS_PYTHON`, or `python3`.
fn ir_measures(home: &Home, k: usize, threshold: i64) -> Option<[f64; 5]> {
    let script = format!(
        "import ir_measures as ir
m = [ir.P(rel={threshold})@{k}, ir.R(rel={threshold})@{k}, ir.nDCG@{k}, ir.RR(rel={threshold}), ir.AP(rel={threshold})]
found = ir.calc_aggregate(m, list(ir.read_trec_qrels('q.qrels')), list(ir.read_trec_run('q.run')))
print(*(found[each] for each in m))"
    );
    let python = std::env::var("AFFINIS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .current_dir(home.path(""))
        .args(["-c", &script])
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let values: Vec<f64> = text
        .split_whitespace()
        .map(|v| v.parse().unwrap())
        .collect();
    Some(values.try_into().unwrap())
}

#[test]
fn runs_and_measures_agree_with_trec_eval() {
    let home = Home::new();
    home.ok(["create", "c"]);
    let words = ["apple", "pear", "knife", "dog", "cash", "garden"];
    let items: Vec<Value> = (0..90)
        .map(|i| {
            let (a, b, c) = (i % 6, i / 6 % 6, i / 3 % 5);
            json!({"id": format!("d{i}"), "text": format!("{} {} {}", words[a], words[b], words[c])})
        })
        // Equal texts have equal scores, which tools order in their own way.
        .chain((90..110).map(|i| json!({"id": format!("d{i}"), "text": "apple pear"})))
        .collect();
    home.write("c.jsonl", lines(&items));
    home.ok(["add", "c", "c.jsonl"]);
    let mut topics = String::new();
    let mut qrels = String::new();
    for (topic, word) in words.iter().enumerate() {
        writeln!(topics, "t{topic}\tall about {word}").unwrap();
        for i in (topic..110).step_by(7 + topic) {
            writeln!(qrels, "t{topic} 0 d{i} {}", [0, 1, 3, 2, -1][i % 5]).unwrap();
        }
    }
    topics += "t9\tnothing of the kind\n";
    qrels += "t9 0 d1 0\n";
    home.write("topics.tsv", &topics);
    home.write("q.qrels", &qrels);
    let search = ["search", "c", "--queries", "topics.tsv", "-k", "1000"];
    let ran = home.json(search.into_iter().chain(["--run", "q.run"]));
    assert_eq!(ran, json!({"run": "q.run", "queries": 7}));
    let run = fs::read_to_string(home.path("q.run")).unwrap();
    assert_eq!(run.lines().count(), 7 * 110);
    let mut measured = 0;
    for (k, threshold) in [(10, 1), (5, 2)] {
        let (cut, least) = (k.to_string(), threshold.to_string());
        let evaluate = [
            "evaluate",
            "c",
            "q.qrels",
            "--queries",
            "topics.tsv",
            "-k",
            &cut,
        ];
        let found = home.json(
            evaluate
                .into_iter()
                .chain(["--relevance-threshold", &least]),
        );
        let row = &found["rows"][0];
        let ours = ["precision", "recall", "ndcg", "mrr", "map"].map(|name| mean(row, name));
        assert!(
            ours.iter().all(|value| *value > 0.0 && *value < 1.0),
            "{ours:?}"
        );
        let theirs = [
            Some(trec_eval(&qrels, &run, k, threshold)),
            ir_measures(&home, k, threshold),
        ];
        for theirs in theirs.into_iter().flatten() {
            measured += 1;
            let differences = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
            let most = differences.fold(0.0, f64::max);
            assert!(most < 1e-6, "k {k}: {ours:?}, not {theirs:?}");
        }
    }
    if measured == 2 {
        eprintln!("no Python with ir_measures: only the definitions were compared");
    }
}
