//! The commands `refit` and `metrics`.

use std::fs;

use serde_json::{Value, json};

use crate::home::{Home, keys, lines};

fn active(home: &Home) -> Value {
    home.json(["stats", "c"])["active_metric"].clone()
}

fn answers(home: &Home) -> String {
    home.ok(["search", "c", "--like", "70", "--json"]).stdout
}

#[test]
fn the_json_of_a_refit_has_the_documented_keys_and_force_promotes() {
    let home = Home::with_judgements();
    let before = answers(&home);
    let dry = home.json(["refit", "c", "--dry-run"]);
    assert_eq!(
        (&dry["promoted"], &dry["version"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(answers(&home), before);
    let report = home.json(["refit", "c", "--force"]);
    let wanted = [
        "promoted",
        "version",
        "parent",
        "learner",
        "pairs",
        "lambda",
        "t",
        "condition",
        "gate",
        "memory",
        "millis",
    ];
    assert_eq!(keys(&report), wanted);
    assert_eq!(keys(&report["pairs"]), ["similar", "dissimilar"]);
    assert_eq!(
        keys(&report["gate"]),
        [
            "measure",
            "before",
            "after",
            "lower_bound",
            "held_out",
            "reason"
        ]
    );
    assert_eq!(keys(&report["millis"]), ["collect", "fit", "gate", "swap"]);
    assert_eq!(
        (&report["promoted"], &report["version"], &report["parent"]),
        (&json!(true), &json!(1), &json!(0))
    );
    assert_eq!(active(&home), 1);
    let after = answers(&home);
    assert_ne!(after, before);
    assert!(after.contains("\"metric\":1"), "{after}");
}

#[test]
fn a_learned_metric_separates_classes_that_euclid_does_not() {
    let home = Home::with_judgements();
    let judgements: Vec<_> = (0..30)
        .flat_map(|query| (1..=20).map(move |step| (query, (query + 3 * step) % 80)))
        .map(|(query, item)| {
            json!({"query_id": query.to_string(), "item": item.to_string(), "relevant": query % 2 == item % 2})
        })
        .collect();
    home.write("more.jsonl", lines(&judgements));
    home.ok(["judge", "c", "more.jsonl"]);
    assert_eq!(home.json(["refit", "c"])["promoted"], true);
    let right = |metric| {
        let queries = 30..80;
        let total = queries.len() * 10;
        let found: usize = queries
            .map(|query| {
                let id = query.to_string();
                let answer = home.json(["search", "c", "--like", &id, "--metric", metric]);
                answer["hits"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|hit| hit["meta"]["class"] == query % 2)
                    .count()
            })
            .sum();
        found as f64 / total as f64
    };
    let (euclidean, learned) = (right("euclidean"), right("active"));
    assert!(learned > euclidean + 0.1, "{euclidean} {learned}");
}

#[test]
fn a_refit_fails_without_judgements_but_not_when_the_gate_refuses() {
    let home = Home::with_points();
    home.fails(["refit", "c"], 1, &["judgements"]);
    home.fails(["refit", "c", "--user", "ann"], 1, &["judgements"]);
    // Random judgements: every item is relevant to half of the queries.
    let home = Home::with_judgements();
    home.ok(["create", "noise", "--dim", "4"]);
    home.ok(["add", "noise", "items.jsonl"]);
    let judgements: Vec<_> = (0..400_u32)
        .map(|i| {
            let hash = i.wrapping_mul(2_654_435_761) >> 16;
            json!({"query_id": (i / 10).to_string(), "item": (40 + i % 10).to_string(), "relevant": hash % 2 == 0})
        })
        .collect();
    home.write("noise.jsonl", lines(&judgements));
    home.ok(["judge", "noise", "noise.jsonl"]);
    let report = home.json(["refit", "noise"]);
    assert_eq!(report["promoted"], false, "{report}");
    assert_eq!(home.json(["stats", "noise"])["active_metric"], 0);
}

#[test]
fn versions_are_listed_promoted_and_rolled_back() {
    let home = Home::with_judgements();
    home.fails(["metrics", "c", "rollback"], 1, &["version 0"]);
    let judge = |item: &str| {
        let judgement = json!({"query_id": "1", "item": item, "relevant": true});
        home.write("more.jsonl", judgement.to_string());
        home.ok(["judge", "c", "more.jsonl"]);
    };
    home.ok(["refit", "c", "--force"]);
    judge("61");
    home.ok(["refit", "c", "--force"]);
    let versions = home.all_json(["metrics", "c"]);
    let wanted = [
        "version",
        "parent",
        "active",
        "learner",
        "created",
        "condition",
        "pairs",
        "accepted",
        "gate",
    ];
    assert!(versions.iter().all(|v| keys(v) == wanted), "{versions:?}");
    let column = |name: &str| versions.iter().map(|v| v[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("version"), [0, 1, 2]);
    assert_eq!(column("parent"), [Value::Null, json!(0), json!(1)]);
    assert_eq!(column("active"), [false, false, true]);
    assert_eq!(versions[0]["gate"], Value::Null);
    assert_eq!(home.all_json(["metrics", "c", "list"]), versions);
    assert_eq!(home.json(["metrics", "c", "show", "2"])["version"], 2);

    assert_eq!(
        home.json(["metrics", "c", "rollback"]),
        json!({"active": 1})
    );
    assert_eq!(
        home.json(["metrics", "c", "rollback", "2"]),
        json!({"active": 2})
    );
    assert_eq!(
        home.json(["metrics", "c", "promote", "0"]),
        json!({"active": 0})
    );
    assert_eq!(active(&home), 0);
    home.fails(["metrics", "c", "rollback"], 1, &["version 0"]);
    home.fails(["metrics", "c", "promote", "7"], 1, &["7"]);
    home.fails(["metrics", "c", "show", "7"], 1, &["7"]);
    home.fails(["search", "c", "--like", "1", "--metric", "7"], 1, &["7"]);
    // The number of a version is never used again.
    judge("63");
    assert_eq!(home.json(["refit", "c", "--force"])["version"], 3);
}

#[test]
fn metrics_are_compared_exported_and_imported() {
    let home = Home::with_judgements();
    home.ok(["refit", "c", "--force"]);
    let same = home.json(["metrics", "c", "diff", "1", "1"]);
    assert!(same["distance"].as_f64().unwrap() < 1e-6, "{same}");
    assert!(
        home.json(["metrics", "c", "diff", "0", "1"])["distance"]
            .as_f64()
            .unwrap()
            > 0.1
    );

    home.ok(["metrics", "c", "export", "1", "m.npy"]);
    home.ok(["metrics", "c", "export", "1", "m.json"]);
    let npy = fs::read(home.path("m.npy")).unwrap();
    assert!(npy.len() > 16 * 8 && (npy.len() - 16 * 8).is_multiple_of(64));
    assert!(
        String::from_utf8_lossy(&npy[..128])
            .contains("'<f8', 'fortran_order': False, 'shape': (4, 4)")
    );
    let json: Value = serde_json::from_slice(&fs::read(home.path("m.json")).unwrap()).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["matrix"].as_array().unwrap().len(), 4);

    for (file, version) in [("m.npy", 2), ("m.json", 3)] {
        assert_eq!(
            home.json(["metrics", "c", "import", file]),
            json!({"version": version})
        );
        assert_eq!(active(&home), 1);
        let version = version.to_string();
        assert!(
            home.json(["metrics", "c", "diff", "1", &version])["distance"]
                .as_f64()
                .unwrap()
                < 1e-6
        );
    }
    home.fails(["metrics", "c", "export", "7", "m.npy"], 1, &["7"]);
    home.write("bad.json", "{\"matrix\": [[1, 0], [0, 1]]}");
    home.fails(
        ["metrics", "c", "import", "bad.json"],
        1,
        &["bad.json", "2 x 2", "4 x 4"],
    );
    home.write("bad.json", "{\"matrix\": [[1, 0], [0]]}");
    home.fails(
        ["metrics", "c", "import", "bad.json"],
        1,
        &["bad.json", "row 1"],
    );
    home.write(
        "bad.json",
        "{\"matrix\": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,-1]]}",
    );
    home.fails(
        ["metrics", "c", "import", "bad.json"],
        1,
        &["bad.json", "not a metric"],
    );
}

#[test]
fn a_users_metric_answers_that_user_only() {
    let home = Home::with_judgements();
    let text = fs::read_to_string(home.path("judgements.jsonl")).unwrap();
    let judged = home.run_with(["judge", "c", "-", "--user", "ann"], text.as_bytes());
    assert_eq!(judged.status, Some(0));
    let version = home.json(["refit", "c", "--user", "ann", "--force"])["version"].clone();
    assert_eq!(active(&home), 0);
    assert_eq!(
        home.json(["search", "c", "--like", "1", "--user", "ann"])["metric"],
        version
    );
    assert_eq!(
        home.json(["search", "c", "--like", "1", "--user", "bob"])["metric"],
        0
    );
    assert_eq!(home.json(["search", "c", "--like", "1"])["metric"], 0);
    let versions = home.all_json(["metrics", "c"]);
    assert_eq!(versions[1]["user"], "ann");
    let promoted = ["metrics", "c", "promote", "1"];
    assert_eq!(home.json(promoted), json!({"active": 1, "user": "ann"}));
    assert!(
        home.ok(promoted)
            .stdout
            .contains("metric 1 is active for ann")
    );
    assert!(
        home.ok(["metrics", "c", "show", "1"])
            .stdout
            .contains("active for its user")
    );
}

#[test]
fn a_user_can_return_to_the_shared_metric_and_keeps_the_version() {
    let home = Home::with_judgements();
    let text = fs::read_to_string(home.path("judgements.jsonl")).unwrap();
    assert_eq!(
        home.run_with(["judge", "c", "-", "--user", "ann"], text.as_bytes())
            .status,
        Some(0)
    );
    let back = ["metrics", "c", "rollback", "--user", "ann"];
    home.fails(back, 1, &["\"ann\" has no metric of their own"]);
    home.ok(["refit", "c", "--force"]);
    home.ok(["refit", "c", "--user", "ann", "--force"]);
    let answering =
        |user: &str| home.json(["search", "c", "--like", "1", "--user", user])["metric"].clone();
    assert_eq!((answering("ann"), answering("bob")), (json!(2), json!(1)));
    assert_eq!(home.json(back), json!({"active": 1, "user": "ann"}));
    assert_eq!(answering("ann"), 1);
    assert!(
        home.all_json(["metrics", "c"])
            .iter()
            .all(|v| v["active"] == (v["version"] == 1))
    );
    home.fails(back, 1, &["no metric of their own"]);
    home.ok(["metrics", "c", "promote", "2"]);
    assert!(home.ok(back).stdout.contains("metric 1 is active for ann"));
    home.fails(
        ["metrics", "c", "rollback", "2", "--user", "ann"],
        2,
        &["--user"],
    );
}

#[test]
fn a_forced_promotion_is_not_reported_as_refused() {
    let home = Home::with_judgements();
    let report = home.json(["refit", "c", "--dry-run"]);
    assert!(
        report["gate"]["reason"]
            .as_str()
            .unwrap()
            .starts_with("not promoted"),
        "{report}"
    );
    let said = home.ok(["refit", "c", "--force"]).stdout;
    assert!(
        said.starts_with("promoted by --force: metric 1, "),
        "{said}"
    );
    assert!(said.contains("the gate said: not promoted, "), "{said}");
}
