//! Answers that remember what was judged of a question.

use serde_json::Value;

use crate::home::{Home, keys};

fn ids(answer: &Value) -> Vec<String> {
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| hit["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_was_judged_of_a_question_shows_in_its_answer() {
    let home = Home::with_points();
    let search = ["search", "c", "--like", "a"];
    let before = home.json(search);
    assert_eq!(ids(&before), ["b", "c", "d"]);
    home.write(
        "judged.jsonl",
        "{\"query_id\": \"a\", \"item\": \"c\", \"grade\": 1}\n{\"query_id\": \"a\", \"item\": \"b\", \"grade\": -1}\n",
    );
    home.ok(["judge", "c", "judged.jsonl"]);
    let after = home.json(search);
    assert_eq!(ids(&after)[0], "c");
    let hit = &after["hits"][0];
    assert_eq!(
        keys(hit),
        ["id", "distance", "score", "memory", "rank", "text", "meta"]
    );
    assert!(hit["memory"].as_f64().unwrap() > 0.0);
    assert_eq!(hit["distance"], before["hits"][1]["distance"]);
    let printed = home.ok(search).stdout;
    assert!(printed.contains("memory"), "{printed}");

    let with = |more: &[&str]| home.json(search.iter().chain(more).copied());
    assert_eq!(with(&["--no-memory"]), before);
    assert_eq!(with(&["--metric", "euclidean"]), before);
    assert_eq!(ids(&with(&["--hide-rejected"])), ["c", "d"]);
    // Judged by nobody in particular, so not hidden from somebody.
    assert!(ids(&with(&["--hide-rejected", "--user", "ann"])).contains(&"b".to_owned()));

    let why = home.json(["explain", "c", "--like", "a", "--item", "c"]);
    assert_eq!(why["rank"], 1);
    assert_eq!(why["memory"].as_array().unwrap().len(), 2);
    assert!(why["memory"][0]["influence"].as_f64().unwrap() < 0.0);
    let printed = home
        .ok(["explain", "c", "--like", "a", "--item", "c"])
        .stdout;
    assert!(
        printed.contains("judgements of questions like this one"),
        "{printed}"
    );
}
