//! `explain` and `metrics trial`.

use serde_json::{Value, json};

use crate::home::{Home, keys, lines};

fn sum(parts: &Value, of: &str) -> f64 {
    parts.as_array().unwrap().iter().map(|p| p[of].as_f64().unwrap()).sum()
}

#[test]
fn an_explanation_adds_up_and_names_judgements() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    let why = home.json(["explain", "c", "--like", "1", "--item", "40"]);
    assert_eq!(keys(&why), ["distance", "euclidean", "directions", "judgements"]);
    assert_eq!(keys(&why["directions"][0]), ["weight", "contribution", "share"]);
    assert_eq!(keys(&why["judgements"][0]), ["judgement", "influence"]);
    assert_eq!(why["directions"].as_array().unwrap().len(), 4);
    let distance = why["distance"].as_f64().unwrap();
    assert!((sum(&why["directions"], "contribution") - distance).abs() < 1e-6 * distance);
    assert!((sum(&why["directions"], "share") - 1.0).abs() < 1e-6);
    let found = home.json(["search", "c", "--like", "1", "-k", "79"]);
    let hit = found["hits"].as_array().unwrap().iter().find(|hit| hit["id"] == "40").unwrap().clone();
    assert!((hit["distance"].as_f64().unwrap() - distance).abs() < 1e-4 * distance);
    let judgements = why["judgements"].as_array().unwrap();
    assert_eq!(judgements.len(), 120);
    let size = |j: &Value| j["influence"].as_f64().unwrap().abs();
    assert!(judgements.is_sorted_by(|a, b| size(a) >= size(b)) && size(&judgements[0]) > 0.0);

    let said = home.ok(["explain", "c", "--like", "1", "--item", "40"]).stdout;
    let rank = format!("rank {} under metric 1", hit["rank"]);
    assert!(said.contains(&rank) && said.contains("judgements that moved it most"), "{said}");
    let euclidean = home.json(["explain", "c", "--like", "1", "--item", "40", "--metric", "euclidean"]);
    assert_eq!((&euclidean["distance"], &euclidean["judgements"]), (&euclidean["euclidean"], &json!([])));
    home.fails(["explain", "c", "--like", "1", "--item", "nobody"], 1, &["nobody"]);
    home.fails(["explain", "c", "--like", "1"], 2, &["--item"]);
    home.fails(["explain", "c", "--item", "1"], 2, &["--like"]);
}

#[test]
fn clicks_decide_a_trial_and_promote_the_better_metric() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    home.ok(["metrics", "c", "rollback"]);
    assert_eq!(home.json(["metrics", "c", "trial"])["trial"], Value::Null);
    home.fails(["metrics", "c", "trial", "search", "--like", "3"], 1, &["no trial"]);
    home.fails(["metrics", "c", "trial", "start", "0"], 1, &["version 0"]);
    home.fails(["metrics", "c", "trial", "start", "1", "--alpha", "1"], 2, &["alpha"]);
    let trial = home.json(["metrics", "c", "trial", "start", "1", "--alpha", "0.2"])["trial"].clone();
    assert_eq!(
        (&trial["challenger"], &trial["champion"], &trial["verdict"]),
        (&json!(1), &json!(0), &json!("running"))
    );

    // A user who always clicks what the challenger gave, and nothing where it gave nothing of its own.
    let click = |query: &str, user: &str| {
        let answer = home.json(["metrics", "c", "trial", "search", "--like", query, "--user", user, "-k", "6"]);
        let ids = answer["ids"].as_array().unwrap();
        let from = ids.iter().zip(answer["teams"].as_array().unwrap()).filter(|(_, team)| **team == "challenger");
        let clicks: Vec<_> = from
            .map(|(id, _)| json!({"query_id": query, "item": id, "relevant": true, "source": "click", "shown": ids, "user": user}))
            .collect();
        let ran = home.run_with(["judge", "c", "-"], lines(&clicks).as_bytes());
        assert_eq!(ran.status, Some(0), "{ran:?}");
    };
    click("3", "ann");
    click("3", "ann");
    let trial = home.json(["metrics", "c", "trial"])["trial"].clone();
    assert_eq!((&trial["wins"], &trial["losses"]), (&json!(1), &json!(0)), "one contest a query and user");
    click("3", "bob");
    click("5", "ann");
    click("7", "ann");
    assert_eq!(
        home.json(["metrics", "c", "trial"])["trial"]["verdict"],
        "promoted",
        "four wins are evidence of 6.2, more than 1 / .2"
    );
    assert_eq!(home.json(["stats", "c"])["active_metric"], 1);
}
