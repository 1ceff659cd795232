//! `backup`, `restore`, `compact`, `verify --repair`, and exports of an earlier affinis.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::home::{Home, failed};

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_backup_is_restored_and_a_damaged_one_changes_nothing() {
    let home = Home::with_points();
    let made = home.json(["backup", "b/monday"]);
    assert_eq!(
        (&made["collections"], &made["items"]),
        (&json!(1), &json!(4))
    );
    home.ok(["backup", "b/monday"]);
    home.ok(["delete", "c", "a", "b"]);
    home.write("mine", "a note");
    home.fails(["backup", "."], 1, &["something else"]);
    assert_eq!(home.json(["stats", "c", "--store", "b/monday"])["items"], 4);

    let db = home.path("b/monday/sled/db");
    let whole = fs::read(&db).unwrap();
    fs::write(&db, &whole[..600]).unwrap();
    home.fails(["restore", "b/monday"], 1, &["damaged"]);
    assert_eq!(home.items(), 2);
    home.fails(["restore", "b/tuesday"], 1, &["b/tuesday"]);
    fs::write(&db, whole).unwrap();
    assert!(home.json(["restore", "b/monday"])["checked"].as_u64() > Some(4));
    assert_eq!(home.items(), 4);
    home.ok(["restore", "b/monday", "--store", "other"]);
    assert!(
        home.ok(["verify", "--store", "other"])
            .stdout
            .contains("sound")
    );
}

#[test]
fn compacting_keeps_answers_and_drops_what_was_deleted() {
    let home = Home::with_points();
    let before = home.ok(["search", "c", "--like", "a", "--json"]).stdout;
    home.ok(["delete", "c", "b"]);
    home.ok(["compact"]);
    let hits = &home.json(["search", "c", "--like", "a"])["hits"];
    assert_eq!(hits.as_array().unwrap().len(), 2, "{before}");
    let bytes = fs::read(home.path("affinis.store/sled/db")).unwrap();
    assert!(
        !bytes.windows(10).any(|w| w == b"the second"),
        "the deleted text is still in the files"
    );
    home.fails(["compact", "--store", "nowhere"], 1, &["nowhere"]);
}

#[test]
fn a_sound_store_has_nothing_to_repair() {
    let home = Home::with_judgements();
    let report = home.json(["verify", "--repair"]);
    assert_eq!(
        (&report["problems"], &report["rebuilt"], &report["lost"]),
        (&json!([]), &json!([]), &json!([]))
    );
    assert!(home.ok(["verify", "--repair"]).stdout.contains("sound"));
}

#[test]
fn a_store_that_lost_commits_is_refused_and_its_repair_says_so() {
    let home = Home::with_points();
    let (store, old) = (home.path("affinis.store"), home.path("old"));
    copy_dir(&store, &old);
    home.ok(["delete", "c", "a"]);
    let counter = fs::read(store.join("sled/commits")).unwrap();
    fs::remove_dir_all(&store).unwrap();
    copy_dir(&old, &store);
    fs::write(store.join("sled/commits"), counter).unwrap();
    for args in [
        &["verify"][..],
        &["stats", "c"],
        &["search", "c", "--like", "a"],
        &["backup", "b"],
    ] {
        failed(&home.run(args.iter().copied()), 1, &["damaged", "missing"]);
    }
    let ran = home.run(["verify", "--repair", "--json"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(
        report["lost"][0]
            .as_str()
            .unwrap()
            .contains("commits are missing"),
        "{report}"
    );
    home.ok(["verify"]);
    assert_eq!(home.items(), 4);
}

/// Asserts that two exports, the second of format 1, hold the same settings, items, judgements and
/// metrics. What a version says of its fit is laid out differently.
fn same_contents(now: &Path, earlier: &Path) {
    let parsed = |path: &Path| -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    };
    let (mut now, mut earlier) = (parsed(now), parsed(earlier));
    // What the items held that were judged was not written then.
    for line in now.iter_mut().filter_map(|line| line.get_mut("judgement")) {
        let content = line.as_object_mut().unwrap().remove("content");
        assert!(content.is_some_and(|content| content["item"].is_string()));
    }
    assert_eq!(earlier[0]["collection"]["format_version"], 1);
    earlier[0]["collection"]["format_version"] = json!(4);
    assert_eq!(now.len(), earlier.len());
    // Vectors of cosine collections were written as they were given.
    if earlier[0]["collection"]["settings"]["distance"] == "cosine" {
        for (now, earlier) in now.iter_mut().zip(&mut earlier) {
            let vector = |line: &mut Value| {
                let item = line.get_mut("item")?;
                serde_json::from_value::<Vec<f32>>(item["vector"].take()).ok()
            };
            if let (Some(now), Some(earlier)) = (vector(now), vector(earlier)) {
                let squares = now.iter().map(|x| x * x);
                assert!((squares.sum::<f32>() - 1.0).abs() < 1e-6, "{now:?}");
                assert!(affinis_testkit::exact::cosine(&now, &earlier) < 1e-6);
            }
        }
    }
    for (now, earlier) in now.iter().zip(&earlier) {
        if earlier.get("metric").is_none() {
            assert_eq!(now, earlier);
            continue;
        }
        for key in [
            "version",
            "parent",
            "base",
            "active",
            "user",
            "learner",
            "created",
            "condition",
            "judgements",
            "lambda",
            "t",
            "gate",
            "plugin",
            "withdrawn",
            "bytes",
        ] {
            assert_eq!(now["metric"][key], earlier["metric"][key], "{key}: {now}");
        }
    }
}

/// `tests/fixtures/exports` holds what the first affinis exported from a store of format 1, and the
/// answers that it gave.
#[test]
fn an_export_of_an_earlier_affinis_is_imported_and_answers_as_it_did() {
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports");
    let home = Home::new();
    for name in ["points", "half", "tiny"] {
        let export = fixture.join(format!("{name}.export"));
        home.ok(["import", name, export.to_str().unwrap()]);
    }
    assert!(home.ok(["verify"]).stdout.contains("sound"));
    for name in ["points", "half", "tiny"] {
        home.ok(["export", name, "again"]);
        same_contents(&home.path("again"), &fixture.join(format!("{name}.export")));
    }
    let searches: [&[&str]; 5] = [
        &["points", "--like", "3"],
        &["points", "--like", "3", "--metric", "euclidean"],
        &["points", "--like", "4", "--user", "ann"],
        &["half", "--like", "s1"],
        &["tiny", "--like", "s2"],
    ];
    let answers = fs::read_to_string(fixture.join("answers.jsonl")).unwrap();
    for (args, expected) in searches.iter().zip(answers.lines()) {
        let expected: Value = serde_json::from_str(expected).unwrap();
        let search = ["search", "--no-memory"].into_iter();
        let found = home.json(search.chain(args.iter().copied()));
        assert_eq!(found["metric"], expected["metric"]);
        let hits = |answer: &Value| -> Vec<(String, f64)> {
            let hit = |h: &Value| {
                (
                    h["id"].as_str().unwrap().to_owned(),
                    h["distance"].as_f64().unwrap(),
                )
            };
            answer["hits"].as_array().unwrap().iter().map(hit).collect()
        };
        let (found, expected) = (hits(&found), hits(&expected));
        assert_eq!(found.len(), expected.len());
        for ((id, distance), (expected_id, expected)) in found.iter().zip(&expected) {
            assert!(
                id == expected_id && (distance - expected).abs() < 1e-5,
                "{args:?}: {id} at {distance}"
            );
        }
    }
    // The imported collections can be written to.
    home.ok(["delete", "points", "3"]);
    assert!(home.ok(["verify"]).stdout.contains("sound"));
}
