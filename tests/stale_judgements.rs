//! A judgement speaks of the content that was judged: once its items hold something else, the next
//! refit is as if it had never been given.

use std::path::Path;

use affinis::{
    Collection, Item, Judgement, JudgementId, Query, Source, StoredJudgement, learning::Forget,
};
use affinis_testkit::kinds::{judge_answers, kind, open, store_of_kinds};
use ndarray::Array2;
use serde_json::json;

/// Numbers of the judgements that teach nothing, each with its changed and its gone items.
fn stale(points: &Collection) -> Vec<(u64, Vec<String>, Vec<String>)> {
    let stale = points.stale_judgements().expect("read");
    // The number is kept between writes, and right after each of them.
    for _ in 0..2 {
        let counted = points.stats().expect("stats").stale_judgements;
        assert_eq!(counted, stale.len());
    }
    stale
        .into_iter()
        .map(|stale| (stale.judgement.0, stale.changed, stale.gone))
        .collect()
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// The metric that everybody's judgements make of 1,000 points, of which 30 are replaced by others
/// after they were judged, or are not judged at all; once more after they are back.
fn learned(path: &Path, judges: bool) -> [Array2<f64>; 2] {
    let (store, points) = store_of_kinds(path);
    if judges {
        // These items are queries of some judgements and answers of others.
        judge_answers(&points, 200..230, Some("ann"));
    }
    judge_answers(&points, 0..60, Some("bob"));
    let originals = points
        .get_many(&(200..230).map(|i| i.to_string()).collect::<Vec<_>>())
        .expect("there");
    let others = originals.iter().map(|item| {
        let vector = item.vector.as_ref().expect("a vector");
        Item::vector(&item.id, vector.iter().map(|x| x + 0.5).collect::<Vec<_>>())
    });
    points.add(others).expect("replaced");
    if !judges {
        // What speaks of the replaced items is there in neither store.
        let concerned = |stored: &StoredJudgement| {
            let text = serde_json::to_value(&stored.judgement).expect("JSON");
            let is_replaced = |id: &serde_json::Value| {
                let number = id.as_str().and_then(|id| id.parse().ok());
                number.is_some_and(|number: u32| (200..230).contains(&number))
            };
            is_replaced(&text["item"]) || is_replaced(&text["query_id"])
        };
        let judgements = points.judgements().expect("read");
        let gone = judgements.iter().filter(|j| concerned(j)).map(|j| j.id);
        let gone = Forget::Judgements(gone.collect());
        points.forget(&gone).expect("withdrawn");
    }
    let report = points.refit().force(true).run().expect("a refit");
    let version = report.version.expect("a version");
    let changed = points.metric_matrix(version).expect("a matrix");
    let count = points.stats().expect("stats").stale_judgements;
    assert_eq!((report.stale, stale(&points).len()), (count, count));
    if judges {
        assert!(count >= 300, "{count} teach nothing");
        let left = report.pairs.similar + report.pairs.dissimilar;
        assert!(left + count <= points.judgement_count(), "{report:?}");
    } else {
        assert_eq!(count, 0);
    }
    points.add(originals).expect("back");
    assert_eq!(points.stats().expect("stats").stale_judgements, 0);
    let report = points.refit().force(true).run().expect("a refit");
    assert_eq!(report.stale, 0);
    assert!(store.verify().expect("verified").problems.is_empty());
    let version = report.version.expect("a version");
    [changed, points.metric_matrix(version).expect("a matrix")]
}

#[test]
fn what_speaks_of_replaced_items_is_as_if_it_had_never_been_given() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let seen = learned(dirs[0].path(), true);
    let never = learned(dirs[1].path(), false);
    let difference =
        |a: &Array2<f64>, b: &Array2<f64>| (a - b).mapv(f64::abs).fold(0.0_f64, |m, x| m.max(*x));
    let now = difference(&seen[0], &never[0]);
    assert!(now < 1e-10, "{now:e}");
    let revived = difference(&seen[1], &never[1]);
    assert!(revived > 1e-6, "they teach again: {revived:e}");
}

#[test]
fn the_text_counts_where_there_is_one_and_the_vector_otherwise() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(2).create().expect("made");
    let texts = |id: &str, vector: [f32; 2], text: &str| Item::vector(id, vector).with_text(text);
    points
        .add([
            texts("a", [0.0, 1.0], "apples"),
            texts("b", [1.0, 0.0], "pears"),
            Item::vector("c", [2.0, 0.0]),
            Item::vector("d", [0.0, 2.0]),
        ])
        .expect("added");
    let given = [
        Judgement::relevant(vec![1.0, 1.0], "a"),
        Judgement::relevant(Query::like("b"), "a"),
        Judgement::similar("c", "d"),
        Judgement::irrelevant(Query::like("c"), "b"),
    ];
    points.judge_all(given).expect("judged");
    let stored = points.judgements().expect("read");
    // Another encoder gives the same text another vector; metadata are no content.
    points
        .add([
            texts("a", [5.0, 5.0], "apples").with_meta(json!({"n": 1})),
            Item::vector("c", [2.0, 0.0]).with_meta(json!({"n": 1})),
        ])
        .expect("replaced");
    assert_eq!(stale(&points), []);
    // Another text, with the vector of before.
    points
        .add([texts("a", [0.0, 1.0], "plums")])
        .expect("replaced");
    assert_eq!(
        stale(&points),
        [(0, ids(&["a"]), vec![]), (1, ids(&["a"]), vec![])]
    );
    points
        .add([Item::vector("c", [2.0, 0.1])])
        .expect("replaced");
    points.delete(&["b", "d"]).expect("deleted");
    assert_eq!(
        stale(&points),
        [
            (0, ids(&["a"]), vec![]),
            (1, ids(&["a"]), ids(&["b"])),
            (2, ids(&["c"]), ids(&["d"])),
            (3, ids(&["c"]), ids(&["b"]))
        ]
    );
    let refused = points.refit().run().expect_err("nothing to learn from");
    assert!(
        refused.to_string().contains("4 speak of items"),
        "{refused}"
    );
    assert_eq!(points.judgements().expect("read"), stored, "the log stays");

    // Carried elsewhere they are as stale as here, and come back by the same contents.
    let copy = store.collection("copy").dim(2).create().expect("made");
    let items: Vec<Item> = points.items().expect("items").map(Result::unwrap).collect();
    copy.add(items).expect("added");
    copy.restore(&points.history().expect("read"))
        .expect("restored");
    assert_eq!(stale(&copy), stale(&points));
    copy.add([
        texts("a", [9.0, 9.0], "apples"),
        texts("b", [1.0, 0.0], "pears"),
        Item::vector("c", [2.0, 0.0]),
    ])
    .expect("added");
    assert_eq!(stale(&copy), [(2, vec![], ids(&["d"]))]);
    copy.add([Item::vector("d", [0.0, 2.0])]).expect("added");
    assert_eq!(stale(&copy), []);
    let mut wrong = points.history().expect("read");
    wrong.judgements[1].content.query = None;
    let third = store.collection("third").dim(2).create().expect("made");
    let refused = third.restore(&wrong).expect_err("refused");
    assert!(refused.to_string().contains("contents"), "{refused}");
}

#[test]
fn an_answer_that_was_passed_over_counts_while_it_is_what_was_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..20, None);
    let dissimilar = || {
        let report = points.refit().dry_run(true).run().expect("a report");
        (report.pairs.dissimilar, report.stale)
    };
    let before = dissimilar().0;
    points
        .judge(
            Judgement::relevant(vec![0.5; 8], "503")
                .source(Source::Click)
                .shown(["501", "502", "503"]),
        )
        .expect("judged");
    assert_eq!(dissimilar(), (before + 2, 0));
    points
        .add([Item::vector("501", [9.0; 8])])
        .expect("replaced");
    assert_eq!(dissimilar(), (before + 1, 0), "the click teaches");
    points.delete(&["503"]).expect("deleted");
    assert_eq!(dissimilar(), (before, 1), "and now nothing of it does");
}

#[test]
fn explanations_and_questions_leave_out_what_teaches_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..60, None);
    assert!(points.refit().run().expect("a report").promoted);
    let explain = || {
        let why = points
            .explain(Query::like("700"), "705")
            .run()
            .expect("why");
        let numbers: Vec<JudgementId> = why.judgements.iter().map(|j| j.judgement).collect();
        (numbers, why.stale)
    };
    let (all, none) = explain();
    assert_eq!((all.len(), none), (600, 0));
    points.add([Item::vector("7", [3.0; 8])]).expect("replaced");
    let expected: Vec<JudgementId> = points
        .stale_judgements()
        .expect("read")
        .iter()
        .map(|stale| stale.judgement)
        .collect();
    assert!(expected.len() >= 10, "{expected:?}");
    let (left, stale) = explain();
    assert_eq!(stale, expected.len());
    assert_eq!(left.len(), 600 - stale);
    assert!(left.iter().all(|judgement| !expected.contains(judgement)));

    // Answers to questions are believed only of what was asked.
    let other = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(other.path());
    judge_answers(&points, 0..8, None);
    let asked = points.refit().ask(30).run().expect("a report");
    assert!(!asked.promoted && !asked.questions.is_empty(), "{asked:?}");
    let answers = asked.questions.iter().map(|question| {
        let Query::Item(query) = &question.query else {
            unreachable!("questions are of items")
        };
        let grade = if kind(query) == kind(&question.item) {
            1.0
        } else {
            -1.0
        };
        Judgement::graded(question.query.clone(), &question.item, grade)
    });
    points.judge_all(answers).expect("judged");
    let decided = |reason: &str| reason.contains("of the pairs of judgements asked for");
    let gate = points.refit().dry_run(true).run().expect("a report").gate;
    assert!(decided(&gate.reason), "{}", gate.reason);
    let queries: Vec<Item> = asked
        .questions
        .iter()
        .filter_map(|question| match &question.query {
            Query::Item(id) => points.get(id).expect("read"),
            _ => None,
        })
        .map(|item| Item::vector(item.id, [2.5; 8]))
        .collect();
    for query in queries {
        points.add([query]).expect("replaced");
    }
    let gate = points.refit().dry_run(true).run().expect("a report").gate;
    assert!(!decided(&gate.reason), "{}", gate.reason);
}
