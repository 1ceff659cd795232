//! Import of judgements as others keep them.

use serde_json::{Value, json};

use crate::served::Served;

const IMPORT: &str = "/v1/collections/c/judgements/import";
const JUDGEMENTS: &str = "/v1/collections/c/judgements";

fn count(served: &Served) -> usize {
    let listed = served.get(JUDGEMENTS).ok();
    listed["judgements"].as_array().unwrap().len()
}

#[test]
fn each_format_is_read_and_its_grades_are_kept() {
    let served = Served::new();
    served.plane();
    let import = |body: Value| served.post(IMPORT, body).ok();
    let qrels = import(json!({"file": "a 0 b 2\na 0 c 0\na 0 d 1\n"}));
    assert_eq!(
        (&qrels["stored"], &qrels["left_out"]),
        (&json!(3), &json!(0))
    );
    let note = qrels["notes"][0].as_str().unwrap();
    assert!(note.contains("`scale` sets another"), "{note}");
    let all = served.get(JUDGEMENTS).ok();
    let grades: Vec<_> = (0..3)
        .map(|at| all["judgements"][at]["grade"].as_f64().unwrap())
        .collect();
    assert_eq!(grades, [1.0, -1.0, 0.5]);
    let lines = "{\"query_id\": \"a\", \"item\": \"b\", \"grade\": 0.25, \"user\": \"ann\"}\n";
    assert_eq!(
        import(json!({"file": lines, "format": "jsonl"}))["stored"],
        1
    );
    let skipped = import(
        json!({"file": "a 0 nobody 1\na 0 b 1\nb 0 nobody 0\n", "format": "qrels", "skip_unknown": true, "scale": 2}),
    );
    assert_eq!(
        (
            &skipped["stored"],
            &skipped["left_out"],
            &skipped["unknown"]
        ),
        (&json!(1), &json!(2), &json!(["nobody"]))
    );
    assert_eq!(count(&served), 5);
}

#[test]
fn what_cannot_be_read_is_named_by_its_line_and_nothing_is_stored() {
    let served = Served::new();
    served.plane();
    for (body, status, kind, words) in [
        (
            json!({"file": "a 0 b 1\na 0 c one\n"}),
            400,
            "invalid-input",
            "line 2: the grade \"one\"",
        ),
        (
            json!({"file": "a 0 b 1\na 0 nobody 1\n"}),
            404,
            "not-found",
            "line 2: the collection has no item \"nobody\"",
        ),
        (
            json!({"file": "{\"query_id\": \"a\", \"item\": \"b\"}"}),
            400,
            "invalid-input",
            "line 1: needs \"relevant\"",
        ),
        (
            json!({"file": "q,d,g\nx,b,1\n", "columns": {"query": "q", "item": "d", "grade": "mark"}}),
            400,
            "invalid-input",
            "no column \"mark\"",
        ),
        (
            json!({"file": "query,docid,rating\nx,b,1\n"}),
            400,
            "invalid-input",
            "line 2: the collection has no encoder",
        ),
        (
            json!({"file": "query-id\tcorpus-id\tscore\na\tb\t1\n"}),
            400,
            "invalid-input",
            "`queries` names the file",
        ),
        (
            json!({"file": "a 0 b 1\n", "format": "qrels", "columns": {"query": "q", "item": "d", "grade": "g"}}),
            400,
            "invalid-input",
            "`columns` belongs to csv",
        ),
        (
            json!({"file": "a 0 b 1\n", "scale": 0}),
            400,
            "invalid-input",
            "`scale`",
        ),
        (
            json!({"file": "", "format": "ubi"}),
            400,
            "invalid-input",
            "holds no clicks",
        ),
        (
            json!({"file": "a 0 b 1\n", "format": "xml"}),
            400,
            "invalid-input",
            "xml",
        ),
        (
            json!({"file": "a 0 nobody 1\n", "skip_unknown": true}),
            404,
            "not-found",
            "none of its judgements",
        ),
    ] {
        let detail = served.post(IMPORT, body).problem(status, kind);
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
    }
    assert_eq!(count(&served), 0);
}
