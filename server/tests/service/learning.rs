//! Refits, versions, trials, measures, maintenance, and the jobs that do what takes long.

use affinis_server::Settings;
use serde_json::{Value, json};

use crate::served::Served;

const POINTS: &str = "/v1/collections/points";

fn at(path: &str) -> String {
    format!("{POINTS}{path}")
}

#[test]
fn a_refit_runs_to_its_end_and_changes_the_answers() {
    let served = Served::of_kinds(100);
    let dry = served.post(&at("/refit"), json!({"dry_run": true}));
    assert_eq!(dry.status, 202);
    let dry = served.result(&dry.json());
    assert_eq!(
        (&dry["promoted"], &dry["version"], &dry["would_promote"]),
        (&json!(false), &Value::Null, &json!(true))
    );
    let report = served.result(&served.post(&at("/refit"), json!({})).ok());
    assert_eq!(
        (&report["promoted"], &report["version"], &report["parent"]),
        (&json!(true), &json!(1), &json!(0))
    );
    for field in [
        "learner",
        "pairs",
        "lambda",
        "t",
        "condition",
        "gate",
        "millis",
    ] {
        assert!(!report[field].is_null(), "{field}: {report}");
    }
    let answer = served.post(&at("/search"), json!({"like": "3"})).ok();
    assert_eq!(answer["metric"], 1);
    let jobs = served.get("/v1/jobs").ok();
    let kinds: Vec<&Value> = jobs["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["kind"])
        .collect();
    assert_eq!(kinds, ["refit", "refit"]);
    let figures = String::from_utf8(served.get("/metrics").body).unwrap();
    for line in [
        r#"affinis_jobs_total{kind="refit",outcome="done"} 2"#,
        r#"affinis_refits_total{kind="refit",outcome="promoted"} 1"#,
        r#"affinis_active_metric{collection="points"} 1"#,
        r#"affinis_judgements{collection="points"} 1000"#,
    ] {
        assert!(figures.contains(line), "{line} in {figures}");
    }
}

#[test]
fn a_refit_that_cannot_be_is_refused_or_fails_with_a_problem() {
    let served = Served::of_kinds(0);
    let failed = served.finish(&served.post(&at("/refit"), json!({})).ok());
    assert_eq!(
        (&failed["state"], &failed["result"]),
        (&json!("failed"), &Value::Null)
    );
    assert_eq!(
        (&failed["error"]["type"], &failed["error"]["status"]),
        (&json!("urn:affinis:conflict"), &json!(409))
    );
    served
        .post(&at("/refit"), json!({"learner": 3}))
        .problem(400, "invalid-input");
    served
        .post(&at("/refit"), json!({"dry_run": true, "force": true}))
        .problem(400, "invalid-input");
    served
        .post(&at("/refit"), json!({"half_life_days": -1}))
        .problem(400, "invalid-input");
    served
        .post("/v1/collections/none/refit", json!({}))
        .problem(404, "not-found");
    served.get("/v1/jobs/none").problem(404, "not-found");
    served.get("/v1/jobs/none/events").problem(404, "not-found");
    served
        .raw("POST", "/v1/jobs/none/cancel", &[], None)
        .problem(404, "not-found");
}

#[test]
fn a_job_that_is_cancelled_changes_nothing() {
    let served = Served::of_kinds(200);
    // Refits of one collection wait for each other, so the last is cancelled before it begins.
    let begun: Vec<Value> = (0..4)
        .map(|seed| {
            served
                .post(
                    &at("/refit"),
                    json!({"seed": seed, "learner": "contrastive"}),
                )
                .ok()
        })
        .collect();
    let last = begun.last().unwrap()["job"].as_str().unwrap();
    served
        .raw("POST", &format!("/v1/jobs/{last}/cancel"), &[], None)
        .ok();
    let job = served.finish(begun.last().unwrap());
    assert_eq!(
        (&job["state"], &job["error"]["type"]),
        (&json!("failed"), &json!("urn:affinis:cancelled"))
    );
}

#[test]
fn versions_are_imported_promoted_compared_rolled_back_and_deleted() {
    let served = Served::new();
    served.plane();
    let of = |path: &str| format!("/v1/collections/c/metrics{path}");
    let import = |matrix: Value| served.post(&of("/import"), json!({"matrix": matrix}));
    let made = import(json!([[2.0, 0.0], [0.0, 0.5]]));
    assert_eq!((made.status, made.json()), (201, json!({"version": 1})));
    import(json!([[1.0, 0.0]])).problem(400, "invalid-input");
    import(json!([[1.0, 0.0], [0.0]])).problem(400, "invalid-input");
    import(json!([[1.0, 0.0], [0.0, -1.0]])).problem(400, "invalid-input");
    let listed = served.get(&of("")).ok();
    let versions = listed["metrics"].as_array().unwrap();
    assert_eq!(
        (
            versions.len(),
            &versions[0]["active"],
            &versions[1]["learner"]
        ),
        (2, &json!(true), &json!("import"))
    );
    // Neither has stood before the gate.
    assert!(versions.iter().all(|version| version["accepted"].is_null()));
    assert!(versions[1].as_object().unwrap().contains_key("accepted"));
    let promoted = served.raw("POST", &of("/1/promote"), &[], None).ok();
    assert_eq!(promoted, json!({"active": 1}));
    assert_eq!(served.get(&of("/1")).ok()["active"], true);
    // c is two away along the direction that counts for less.
    let answer = served
        .post("/v1/collections/c/search", json!({"like": "a", "k": 2}))
        .ok();
    let ids: Vec<&Value> = answer["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| &hit["id"])
        .collect();
    assert_eq!(
        (ids, &answer["metric"]),
        (vec![&json!("b"), &json!("c")], &json!(1))
    );
    let exported = served.get(&of("/1/export")).ok();
    assert_eq!(
        (
            &exported["version"],
            exported["matrix"].as_array().unwrap().len()
        ),
        (&json!(1), 2)
    );
    assert_eq!(
        served.post(&of("/import"), exported).ok(),
        json!({"version": 2})
    );
    let diff = served.get(&of("/0/diff/1")).ok();
    assert!(diff["distance"].as_f64().unwrap() > 0.1, "{diff}");
    assert!(
        diff["neighbours"]["kept"].is_number() && diff["factors"].is_array(),
        "{diff}"
    );
    served.delete(&of("/1")).problem(409, "conflict");
    assert_eq!(
        served.raw("POST", &of("/rollback"), &[], None).ok(),
        json!({"active": 0})
    );
    served
        .raw("POST", &of("/rollback"), &[], None)
        .problem(409, "conflict");
    served
        .post(&of("/rollback"), json!({"user": "ann"}))
        .problem(409, "conflict");
    served
        .post(&of("/rollback"), json!({"user": "ann", "version": 1}))
        .problem(400, "invalid-input");
    assert_eq!(
        served.post(&of("/rollback"), json!({"version": 2})).ok(),
        json!({"active": 2})
    );
    let listed = served.get(&of("")).ok();
    let activations = listed["activations"].as_array().unwrap();
    let told: Vec<(&Value, &Value)> = activations
        .iter()
        .map(|activation| (&activation["version"], &activation["by"]))
        .collect();
    let choice = &json!("choice");
    assert_eq!(
        told,
        [
            (&json!(1), choice),
            (&json!(0), choice),
            (&json!(2), choice)
        ]
    );
    let times: Vec<&str> = activations
        .iter()
        .map(|activation| activation["at"].as_str().unwrap())
        .collect();
    assert!(times.iter().all(|at| at.ends_with('Z')), "{times:?}");
    assert_eq!(served.delete(&of("/1")).ok(), json!({"deleted": 1}));
    served.get(&of("/1")).problem(404, "not-found");
    served.get(&of("/one")).problem(400, "invalid-input");
}

#[test]
fn questions_are_asked_and_their_answers_taken() {
    let served = Served::of_kinds(8);
    assert_eq!(served.get(&at("/ask")).ok(), json!({"questions": []}));
    let report = served.result(&served.post(&at("/refit"), json!({"ask": 8})).ok());
    assert_eq!(
        report["promoted"], false,
        "the test needs a refit that cannot decide: {report}"
    );
    let asked = report["ask"].as_array().unwrap().clone();
    let open = served.get(&at("/ask")).ok();
    let open = open["questions"].as_array().unwrap();
    assert_eq!(open.len(), asked.len());
    assert_eq!(
        (&open[0]["query_id"], &open[0]["item"]),
        (&asked[0]["query_id"], &asked[0]["item"])
    );
    let answer = |question: &Value| {
        let mut answer = question.clone();
        answer["relevant"] = json!(true);
        json!({"answers": [answer]})
    };
    assert_eq!(
        served.post(&at("/ask"), answer(&asked[0])).ok()["stored"],
        1
    );
    served
        .post(&at("/ask"), answer(&asked[0]))
        .problem(409, "conflict");
    let left = served.get(&at("/ask")).ok();
    assert_eq!(left["questions"].as_array().unwrap().len(), asked.len() - 1);
    // The withdrawal of an answer opens its question again, and a judgement answers as well.
    let judged = served.get(&at("/judgements?limit=10000")).ok();
    let last = judged["judgements"].as_array().unwrap().last().unwrap();
    served
        .delete(&at(&format!("/judgements/{}", last["sequence"])))
        .ok();
    let open = |served: &Served| {
        let open = served.get(&at("/ask")).ok();
        open["questions"].as_array().unwrap().len()
    };
    assert_eq!(open(&served), asked.len());
    let judgement = answer(&asked[0])["answers"].take();
    served
        .post(&at("/judgements"), json!({"judgements": judgement}))
        .ok();
    assert_eq!(open(&served), asked.len() - 1);
    served
        .post(&at("/ask"), json!({"answers": []}))
        .problem(400, "invalid-input");
}

#[test]
fn a_trial_draws_from_both_metrics_and_counts_clicks() {
    let served = Served::of_kinds(60);
    assert_eq!(served.get(&at("/trial")).ok(), json!({"trial": null}));
    served.result(&served.post(&at("/refit"), json!({"force": true})).ok());
    served.post(&at("/metrics/rollback"), json!({})).ok();
    served
        .post(&at("/trial"), json!({"version": 0}))
        .problem(400, "invalid-input");
    let started = served.post(&at("/trial"), json!({"version": 1, "alpha": 0.1}));
    assert_eq!(started.status, 201);
    let trial = &started.json()["trial"];
    assert_eq!(
        (&trial["challenger"], &trial["champion"], &trial["verdict"]),
        (&json!(1), &json!(0), &json!("running"))
    );
    served
        .post(&at("/trial"), json!({"version": 1, "alpha": 0.1}))
        .problem(409, "conflict");
    // A query for which the metrics disagree: one of the challenger's own hits is clicked.
    let (query, shown, clicked) = (0..50)
        .find_map(|query| {
            let query = query.to_string();
            let answer = served
                .post(
                    &at("/trial/search"),
                    json!({"like": query, "k": 10, "user": "ann"}),
                )
                .ok();
            let hits = answer["hits"].as_array().unwrap().clone();
            let shown: Vec<Value> = hits.iter().map(|hit| hit["id"].clone()).collect();
            let euclid = served
                .post(&at("/search"), json!({"like": query, "metric": 0}))
                .ok();
            let euclid: Vec<Value> = euclid["hits"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hit| hit["id"].clone())
                .collect();
            let own = hits
                .iter()
                .find(|hit| hit["team"] == "challenger" && !euclid.contains(&hit["id"]))?;
            Some((query, shown, own["id"].clone()))
        })
        .expect("the metrics agree everywhere");
    let signal = json!({"signals": [{"query_id": query, "shown": shown, "clicked": [clicked], "user": "ann"}]});
    let counted = served.post(&at("/signals"), signal).ok();
    assert_eq!(counted["trial"]["wins"], 1, "{counted}");
    assert_eq!(served.get(&at("/trial")).ok()["trial"]["wins"], 1);
    assert_eq!(
        served.delete(&at("/trial")).ok()["trial"]["verdict"],
        "ended"
    );
    assert_eq!(served.delete(&at("/trial")).ok(), json!({"trial": null}));
    served
        .post(&at("/trial/search"), json!({"like": "1"}))
        .problem(400, "invalid-input");
}

#[test]
fn ranks_are_explained_and_answers_measured() {
    let served = Served::of_kinds(60);
    served.result(&served.post(&at("/refit"), json!({"force": true})).ok());
    let why = served
        .post(&at("/explain"), json!({"like": "3", "item": "8"}))
        .ok();
    let sum: f64 = why["directions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["contribution"].as_f64().unwrap())
        .sum();
    let distance = why["distance"].as_f64().unwrap();
    assert!((sum - distance).abs() < 1e-6 * distance, "{why}");
    assert_eq!(why["metric"], 1);
    assert!(
        why["judgements"].as_array().is_some_and(|j| !j.is_empty()),
        "{why}"
    );
    served
        .post(&at("/explain"), json!({"like": "3", "item": "nobody"}))
        .problem(404, "not-found");
    // All points of a kind have numbers that are equal modulo five.
    let queries: Vec<Value> = (500..540)
        .map(|query: usize| {
            let same = (0..1_000).filter(|other| other % 5 == query % 5 && *other != query);
            let relevant: Vec<String> = same.map(|id| id.to_string()).collect();
            json!({"query_id": query.to_string(), "relevant": relevant})
        })
        .collect();
    let measured = served
        .post(&at("/evaluate"), json!({"queries": queries, "k": 10}))
        .ok();
    assert_eq!(
        (&measured["k"], &measured["queries"]),
        (&json!(10), &json!(40))
    );
    let rows = measured["rows"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["metric"], &rows[1]["metric"]),
        (&json!(0), &json!(1))
    );
    let precision = |row: &Value| row["precision"]["mean"].as_f64().unwrap();
    assert!(precision(&rows[1]) > precision(&rows[0]), "{measured}");
    let graded = json!({"queries": [{"query_id": "1", "relevant": {"6": 3, "11": 0.5}}]});
    served.post(&at("/evaluate"), graded).ok();
    served
        .post(&at("/evaluate"), json!({"queries": []}))
        .problem(400, "invalid-input");
    let drift = served.get(&at("/drift")).ok();
    assert_eq!(
        (&drift["refits"][0]["version"], &drift["alarms"]),
        (&json!(1), &json!([]))
    );
}

#[test]
fn a_collection_is_optimized_and_the_store_verified_and_backed_up() {
    let served = Served::with(|dir, settings| Settings {
        backups: Some(dir.path().join("backups")),
        ..settings
    });
    served.plane();
    let optimized = served.raw("POST", "/v1/collections/c/optimize", &[], None);
    assert_eq!(optimized.status, 202);
    assert_eq!(served.result(&optimized.json())["items"], 4);
    let verified = served.result(&served.raw("POST", "/v1/verify", &[], None).ok());
    assert_eq!(verified["problems"], json!([]));
    assert!(verified["checked"].as_u64().unwrap() > 4, "{verified}");
    assert_eq!(served.get("/v1/backups").ok(), json!({"backups": []}));
    let backup = |name: &str| served.post("/v1/backups", json!({"name": name}));
    let written = served.result(&backup("monday").ok());
    assert_eq!(
        written,
        json!({"backup": "monday", "collections": 1, "items": 4})
    );
    assert_eq!(
        served.get("/v1/backups").ok(),
        json!({"backups": ["monday"]})
    );
    backup("monday").problem(409, "already-exists");
    for name in ["../out", "/tmp/out", ".", "", "a/b"] {
        backup(name).problem(400, "invalid-input");
    }
    let copy = affinis::Store::open(served.dir.path().join("backups/monday")).unwrap();
    assert_eq!(copy.collection("c").open().unwrap().len(), 4);
}

#[test]
fn without_a_directory_there_are_no_backups() {
    let served = Served::new();
    served.get("/v1/backups").problem(501, "unsupported");
    served
        .post("/v1/backups", json!({"name": "x"}))
        .problem(501, "unsupported");
}
