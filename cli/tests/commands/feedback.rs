//! The commands `explain`, `metrics trial`, `metrics diff` and `metrics drift`, and what `refit`
//! asks.

use serde_json::{Value, json};

use crate::home::{Home, keys, lines};

fn sum(parts: &Value, of: &str) -> f64 {
    parts
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p[of].as_f64().unwrap())
        .sum()
}

#[test]
fn an_explanation_adds_up_and_names_judgements() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    let why = home.json(["explain", "c", "--like", "1", "--item", "40"]);
    assert_eq!(
        keys(&why),
        [
            "distance",
            "euclidean",
            "directions",
            "judgements",
            "memory",
            "metric",
            "rank",
            "euclidean_rank"
        ]
    );
    assert_eq!(
        keys(&why["directions"][0]),
        ["weight", "contribution", "share"]
    );
    assert_eq!(keys(&why["judgements"][0]), ["judgement", "influence"]);
    assert_eq!(why["directions"].as_array().unwrap().len(), 4);
    let distance = why["distance"].as_f64().unwrap();
    assert!((sum(&why["directions"], "contribution") - distance).abs() < 1e-6 * distance);
    assert!((sum(&why["directions"], "share") - 1.0).abs() < 1e-6);
    let found = home.json(["search", "c", "--like", "1", "-k", "79"]);
    let hit = found["hits"]
        .as_array()
        .unwrap()
        .iter()
        .find(|hit| hit["id"] == "40")
        .unwrap()
        .clone();
    assert!((hit["distance"].as_f64().unwrap() - distance).abs() < 1e-4 * distance);
    let judgements = why["judgements"].as_array().unwrap();
    assert_eq!(judgements.len(), 120);
    let size = |j: &Value| j["influence"].as_f64().unwrap().abs();
    assert!(judgements.is_sorted_by(|a, b| size(a) >= size(b)) && size(&judgements[0]) > 0.0);

    let said = home
        .ok(["explain", "c", "--like", "1", "--item", "40"])
        .stdout;
    let rank = format!("rank {} under metric 1", hit["rank"]);
    assert!(
        said.contains(&rank) && said.contains("judgements that moved it most"),
        "{said}"
    );
    let euclidean = home.json([
        "explain",
        "c",
        "--like",
        "1",
        "--item",
        "40",
        "--metric",
        "euclidean",
    ]);
    assert_eq!(
        (&euclidean["distance"], &euclidean["judgements"]),
        (&euclidean["euclidean"], &json!([]))
    );
    home.fails(
        ["explain", "c", "--like", "1", "--item", "nobody"],
        1,
        &["nobody"],
    );
    home.fails(["explain", "c", "--like", "1"], 2, &["--item"]);
    home.fails(["explain", "c", "--item", "1"], 2, &["--like"]);
}

#[test]
fn clicks_decide_a_trial_and_promote_the_better_metric() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    home.ok(["metrics", "c", "rollback"]);
    assert_eq!(home.json(["metrics", "c", "trial"])["trial"], Value::Null);
    home.fails(
        ["metrics", "c", "trial", "search", "--like", "3"],
        1,
        &["no trial"],
    );
    home.fails(["metrics", "c", "trial", "start", "0"], 1, &["version 0"]);
    home.fails(
        ["metrics", "c", "trial", "start", "1", "--alpha", "1"],
        2,
        &["alpha"],
    );
    let trial =
        home.json(["metrics", "c", "trial", "start", "1", "--alpha", "0.2"])["trial"].clone();
    assert_eq!(
        (&trial["challenger"], &trial["champion"], &trial["verdict"]),
        (&json!(1), &json!(0), &json!("running"))
    );

    // A user who always clicks a hit of the challenger, and nothing where it has none of its own.
    let click = |query: &str, user: &str| {
        let answer = home.json([
            "metrics", "c", "trial", "search", "--like", query, "--user", user, "-k", "6",
        ]);
        let hits = answer["hits"].as_array().unwrap();
        let ids: Vec<&Value> = hits.iter().map(|hit| &hit["id"]).collect();
        let from = hits.iter().filter(|hit| hit["team"] == "challenger");
        let clicks: Vec<_> = from
            .map(|hit| json!({"query_id": query, "item": hit["id"], "relevant": true, "source": "click", "shown": ids, "user": user}))
            .collect();
        let ran = home.run_with(["judge", "c", "-", "--json"], lines(&clicks).as_bytes());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran.json()[0].clone()
    };
    click("3", "ann");
    click("3", "ann");
    let trial = home.json(["metrics", "c", "trial"])["trial"].clone();
    assert_eq!(
        (&trial["wins"], &trial["losses"]),
        (&json!(1), &json!(0)),
        "one contest a query and user"
    );
    click("3", "bob");
    assert_eq!(click("5", "ann").get("trial"), None, "it goes on");
    let last = click("7", "ann")["trial"].clone();
    assert_eq!(
        (&last["challenger"], &last["verdict"]),
        (&json!(1), &json!("promoted"))
    );
    assert_eq!(
        home.json(["metrics", "c", "trial"])["trial"]["verdict"],
        "promoted",
        "four wins are evidence of 6.2, more than 1 / .2"
    );
    assert_eq!(home.json(["stats", "c"])["active_metric"], 1);
}

#[test]
fn judge_reports_the_end_of_a_trial() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    home.ok(["metrics", "c", "rollback"]);
    home.ok(["metrics", "c", "trial", "start", "1", "--alpha", "0.9"]);
    let answer = home.json(["metrics", "c", "trial", "search", "--like", "3", "-k", "6"]);
    let hits = answer["hits"].as_array().unwrap();
    let searched = home.json(["search", "c", "--like", "3", "-k", "6"]);
    for hit in hits {
        for name in keys(hit).into_iter().filter(|name| *name != "team") {
            assert!(
                searched["hits"][0].get(name).is_some(),
                "search has no {name}"
            );
        }
    }
    assert_eq!(answer["query"], searched["query"]);
    let ids: Vec<&Value> = hits.iter().map(|hit| &hit["id"]).collect();
    let lost = hits.iter().find(|hit| hit["team"] == "champion").unwrap();
    let click = json!({"query_id": "3", "item": lost["id"], "relevant": true, "source": "click", "shown": ids});
    home.write("click.jsonl", lines(&[click]));
    let said = home.ok(["judge", "c", "click.jsonl"]).stdout;
    assert!(
        said.contains("the trial is over: metric 1 was worse than Euclidean, and was turned down"),
        "{said}"
    );
    assert!(
        !home
            .ok(["judge", "c", "click.jsonl"])
            .stdout
            .contains("trial")
    );
}

/// A collection in which ten items were judged for each query, by whether both numbers are even or
/// odd.
fn judged_by_parity(queries: u32, user: Option<&str>) -> Home {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "6"]);
    // Two coordinates tell even items from odd ones, four are noise.
    let noise = |i: u32| f64::from((i * 7919 + 104_729) % 1_000) / 500.0 - 1.0;
    let vector = |i: u32| -> Vec<f64> {
        (0..6)
            .map(|k| {
                if k < 2 {
                    f64::from(i % 2) + noise(i * 6 + k) / 4.0
                } else {
                    noise(i * 6 + k)
                }
            })
            .collect()
    };
    let points: Vec<_> = (0..60)
        .map(|i| json!({"id": i.to_string(), "vector": vector(i)}))
        .collect();
    home.write("points.jsonl", lines(&points));
    home.ok(["add", "c", "points.jsonl"]);
    let judgements: Vec<_> = (0..queries)
        .flat_map(|query| (20..30).map(move |item| (query, item)))
        .map(|(query, item)| {
            let mut said =
                json!({"query_id": query.to_string(), "item": item.to_string(), "relevant": query % 2 == item % 2});
            if let Some(user) = user {
                said["user"] = json!(user);
            }
            said
        })
        .collect();
    home.write("judgements.jsonl", lines(&judgements));
    home.ok(["judge", "c", "judgements.jsonl"]);
    home
}

#[test]
fn the_output_tells_a_shrunken_metric_from_a_candidate() {
    let home = judged_by_parity(7, None);
    let dry = home.json(["refit", "c", "--dry-run"]);
    assert_eq!(
        (&dry["promoted"], &dry["would_promote"]),
        (&json!(false), &json!(true)),
        "{dry}"
    );
    assert!(
        dry["shrinkage"]
            .as_f64()
            .is_some_and(|share| share > 0.0 && share < 1.0),
        "{dry}"
    );
    let said = home.ok(["refit", "c"]).stdout;
    assert!(
        said.contains(
            "promoted metric 1, learned by gmml and shrunken to 0.3333 of the way from Euclidean"
        ),
        "{said}"
    );
    assert!(
        said.contains("the candidate itself is not promoted"),
        "{said}"
    );
    for action in [&["metrics", "c"][..], &["metrics", "c", "drift"]] {
        assert!(
            home.ok(action.iter().copied()).stdout.contains("shrunken"),
            "{action:?}"
        );
    }
    let forced = home.json(["refit", "c", "--force"]);
    assert_eq!(
        (&forced["promoted"], forced.get("shrinkage")),
        (&json!(true), None)
    );
    let versions: Vec<_> = home.ok(["metrics", "c", "--json"]).json();
    assert_eq!(
        versions
            .iter()
            .map(|v| v.get("shrinkage").is_some())
            .collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
fn questions_to_one_user_name_the_user() {
    let home = judged_by_parity(5, Some("ann"));
    let asked = home.json(["refit", "c", "--user", "ann", "--ask", "8"])["ask"].clone();
    assert!(
        asked
            .as_array()
            .is_some_and(|asked| asked.len() == 8 && asked.iter().all(|q| q["user"] == "ann")),
        "{asked}"
    );
}

#[test]
fn the_questions_of_a_refit_can_be_answered_and_judged() {
    let home = judged_by_parity(5, None);
    let report = home.json(["refit", "c", "--ask", "8"]);
    assert_eq!(report["promoted"], false);
    let asked = report["ask"].as_array().unwrap();
    assert_eq!(
        (asked.len(), keys(&asked[0])),
        (8, vec!["query_id", "item"])
    );
    let answers: Vec<Value> = asked
        .iter()
        .map(|question| {
            let mut answer = question.clone();
            let parity = |id: &Value| id.as_str().unwrap().parse::<u32>().unwrap_or(0) % 2;
            answer["relevant"] = json!(parity(&question["query_id"]) == parity(&question["item"]));
            answer
        })
        .collect();
    home.write("answers.jsonl", lines(&answers));
    home.ok(["judge", "c", "answers.jsonl"]);
    let report = home.json(["refit", "c"]);
    assert!(
        report["gate"]["reason"]
            .as_str()
            .unwrap()
            .contains("asked for"),
        "{report}"
    );
    assert_eq!(report.get("ask"), None);

    // The text output has lines that lack only the answer.
    let said = home.ok(["refit", "c", "--ask", "2"]).stdout;
    let unanswered: Vec<&str> = said.lines().filter(|line| line.starts_with('{')).collect();
    assert!(
        report["promoted"] == true
            || (unanswered.len() == 2 && unanswered[0].contains("\"relevant\":null")),
        "{said}"
    );
    home.fails(["refit", "c", "--ask", "1"], 2, &["ask"]);
    home.fails(["refit", "c", "--ask", "--dry-run"], 2, &["--dry-run"]);
    home.fails(["refit", "c", "--half-life", "0"], 2, &["half-life"]);
}

#[test]
fn versions_are_compared_by_their_neighbours_and_for_drift() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    let diff = home.json(["metrics", "c", "diff", "0", "1"]);
    assert_eq!(keys(&diff), ["distance", "factors", "neighbours"]);
    let kept = diff["neighbours"]["kept"].as_f64().unwrap();
    assert!(kept > 0.0 && kept < 1.0, "{diff}");
    let most = &diff["neighbours"]["queries"][0];
    assert_eq!(
        most["gone"].as_array().unwrap().len(),
        most["come"].as_array().unwrap().len()
    );
    assert_eq!(
        home.json(["metrics", "c", "diff", "1", "1"])["neighbours"]["kept"],
        1.0
    );

    let drift = home.json(["metrics", "c", "drift"]);
    assert_eq!(drift["refits"].as_array().unwrap().len(), 1);
    let moved = drift["refits"][0]["distance"].as_f64().unwrap();
    assert!(
        (moved - diff["distance"].as_f64().unwrap()).abs() < 1e-9,
        "{drift}"
    );
    for item in ["61", "63", "65"] {
        let judgement = json!({"query_id": "1", "item": item, "relevant": true});
        home.write("more.jsonl", judgement.to_string());
        home.ok(["judge", "c", "more.jsonl"]);
        home.ok(["refit", "c"]);
    }
    assert_eq!(
        home.json(["metrics", "c", "drift"])["refits"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn metadata_and_clicks_are_learned_from_with_less_weight() {
    let home = Home::with_judgements();
    let made = home.json(["judge", "c", "--by-field", "class", "--number", "40"])["judgements"]
        .as_u64()
        .unwrap();
    assert!((30..=50).contains(&made), "{made}");
    home.fails(["judge", "c", "--by-field", "nothing"], 1, &["nothing"]);
    home.fails(["judge", "c", "--by-halves"], 1, &["text"]);
    home.fails(["judge", "c"], 2, &["FILE"]);
    let click = json!({"query_id": "0", "item": "42", "relevant": true, "source": "click", "shown": ["41", "42"]});
    home.write("click.jsonl", lines(&[click]));
    let judged = home.json(["judge", "c", "click.jsonl", "--refit-after", "1000"]);
    assert_eq!(judged.get("refit"), None);
    let judged = home.json(["judge", "c", "click.jsonl", "--refit-after", "100"]);
    assert_eq!(judged["refit"]["version"], 1);
    let weights = home.json(["metrics", "c", "show", "1"])["source_weights"].clone();
    // The field agrees with the judgements, so its weight rises above the assumed one.
    assert!(weights["proxy"].as_f64().unwrap() > 0.4, "{weights}");
    assert_eq!(weights["click"], 0.5);
}
