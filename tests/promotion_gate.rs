//! Which candidates the gate promotes: none that was learned from noise, a shrunken metric from few
//! judgements, and one whose questions were answered rightly.

use std::time::Duration;

use affinis::learning::Forget;
use affinis::{Collection, Distance, Error, Item, Judgement, Query, VersionId};
use affinis_testkit::Random;
use affinis_testkit::exact::items;
use affinis_testkit::kinds::{judge_answers, kind, kinds, open, store_of_kinds};
use ndarray::Array2;

#[test]
fn a_metric_learned_from_noise_is_not_promoted() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    let mut random = Random(3);
    for query in (0..50).map(|q| q.to_string()) {
        let hits = points.search(Query::like(&query)).run().expect("hits");
        let judged = hits.iter().map(|hit| {
            let grade = if random.unit() > 0.0 { 1.0 } else { -1.0 };
            Judgement::graded(Query::like(&query), &hit.id, grade)
        });
        points.judge_all(judged).expect("judged");
    }
    let report = points.refit().run().expect("a report");
    assert!(!report.promoted && !report.gate.accepted, "{report:?}");
    assert_eq!(
        (report.version, points.active_metric(None)),
        (Some(VersionId(1)), VersionId(0)),
        "kept as a candidate"
    );
    assert!(!points.metric(VersionId(1)).expect("the candidate").active);
}

#[test]
fn one_sided_and_contradictory_judgements_are_not_promoted() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(items(50, 8, 2)).expect("added");
    assert!(matches!(
        points.refit().run(),
        Err(Error::NoJudgements { .. })
    ));
    points
        .judge(Judgement::relevant(Query::like("p0"), "p1"))
        .expect("judged");
    points
        .judge(Judgement::irrelevant(Query::like("p0"), "p1"))
        .expect("judged");
    match points.refit().run() {
        Ok(report) => assert!(!report.promoted, "{report:?}"),
        Err(error) => assert!(matches!(error, Error::Learn(_)), "{error:?}"),
    }
    points
        .judge(Judgement::similar("p2", "p3"))
        .expect("judged");
    let report = points.refit().run().expect("a report");
    assert!(
        !report.promoted && points.active_metric(None) == 0,
        "{report:?}"
    );
    // Judgements of deleted items are ignored.
    points.delete(&["p3"]).expect("deleted");
    assert!(points.refit().run().is_ok_and(|r| !r.promoted) || points.active_metric(None) == 0);
}

#[test]
fn few_judgements_promote_a_shrunken_metric_and_more_the_candidate() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..12, None);
    let dry = points.refit().dry_run(true).run().expect("a report");
    assert!(
        dry.gate.accepted
            && dry
                .shrinkage
                .is_some_and(|share| share > 0.0 && share < 1.0),
        "{dry:?}"
    );
    let forced = points.refit().force(true).run().expect("a report");
    assert!(
        forced.promoted && forced.shrinkage.is_none() && !forced.gate.accepted,
        "{forced:?}"
    );
    assert_eq!(points.rollback(None).expect("back"), VersionId(0));
    let step = points.refit().run().expect("a report");
    assert!(
        step.promoted && step.shrinkage == dry.shrinkage && step.condition < forced.condition,
        "{step:?}"
    );
    let [whole, third] = [forced.version, step.version]
        .map(|v| points.metric_matrix(v.expect("stored")).expect("a matrix"));
    let share = step.shrinkage.expect("a step");
    let expected = Array2::<f64>::eye(8) * (1.0 - share) + whole * share;
    assert!((third - expected).iter().all(|v| v.abs() < 1e-9));
    let version = points.metric(VersionId(2)).expect("version 2");
    assert!(version.active && version.shrinkage == Some(share));

    judge_answers(&points, 12..60, None);
    let all = points.refit().run().expect("a report");
    assert!(
        all.promoted && all.shrinkage.is_none() && all.parent == 2,
        "{all:?}"
    );
    assert!(store.verify().expect("verified").problems.is_empty());
}

#[test]
fn no_shrunken_metric_is_promoted_while_questions_are_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..12, None);
    let asked = points.refit().ask(30).run().expect("a report");
    assert!(
        !asked.promoted && asked.shrinkage.is_none() && asked.questions.len() == 30,
        "{asked:?}"
    );
    assert!(
        asked
            .gate
            .reason
            .contains("shrunken towards Euclid it would pass"),
        "{}",
        asked.gate.reason
    );
    let answer = |questions: &[affinis::learning::Question]| {
        for question in questions {
            let Query::Item(query) = &question.query else {
                panic!("{question:?}")
            };
            let same = kind(&question.item) == kind(query);
            let grade = if same { 1.0 } else { -1.0 };
            points
                .judge(Judgement::graded(Query::like(query), &question.item, grade))
                .expect("judged");
        }
    };
    let open = || points.unanswered(&asked.questions).expect("read");
    assert_eq!(open(), asked.questions);
    answer(&asked.questions[..4]);
    assert_eq!(open(), asked.questions[4..]);
    let waiting = points.refit().run().expect("a report");
    assert!(!waiting.promoted && waiting.parent == 0, "{waiting:?}");
    assert!(
        waiting.gate.reason.contains("the 26 open questions"),
        "{}",
        waiting.gate.reason
    );
    // The withdrawal of an answer opens its question again.
    let last = points.judgements().expect("judgements").pop();
    let last = last.expect("the fourth answer").id;
    let withdrawn = points.forget(&Forget::Judgements([last].into()));
    assert_eq!(withdrawn.expect("withdrawn").removed, 1);
    assert_eq!(open(), asked.questions[3..]);
    let waiting = points.refit().run().expect("a report");
    assert!(
        waiting.gate.reason.contains("the 27 open questions"),
        "{}",
        waiting.gate.reason
    );
    answer(&asked.questions[3..]);
    assert_eq!(open(), []);
    let answered = points.refit().run().expect("a report");
    assert!(answered.promoted, "{answered:?}");
}

/// Answers the questions of a refit, rightly or wrongly, and refits again.
fn ask_and_answer(points: &Collection, rightly: bool) -> affinis::learning::RefitReport {
    let asked = points.refit().ask(30).run().expect("a report");
    assert!(!asked.promoted, "{}", asked.gate.reason);
    assert!(
        (10..=30).contains(&asked.questions.len()),
        "{}",
        asked.questions.len()
    );
    for question in &asked.questions {
        let Query::Item(query) = &question.query else {
            panic!("{question:?}")
        };
        assert_ne!(*query, question.item);
        let good = (kind(query) == kind(&question.item)) == rightly;
        points
            .judge(Judgement::graded(
                question.query.clone(),
                &question.item,
                if good { 1.0 } else { -1.0 },
            ))
            .expect("judged");
    }
    points.refit().run().expect("a report")
}

#[test]
fn right_answers_promote_a_candidate_and_wrong_ones_bar_it() {
    for rightly in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let (_store, points) = store_of_kinds(dir.path());
        // Too few queries for the test on held-out judgements.
        judge_answers(&points, 0..7, None);
        let again = points.refit().ask(4).run().expect("a report").questions;
        assert_eq!(again.len(), 4);
        assert!(again.iter().all(|q| points.judgements().is_ok_and(|all| {
            all.iter()
                .all(|j| !matches!(&j.judgement.subject, affinis::Subject::Graded { query, .. } if *query == q.query))
        })));
        let report = ask_and_answer(&points, rightly);
        assert_eq!(report.promoted, rightly, "{}", report.gate.reason);
        assert!(
            report.gate.reason.contains("asked for"),
            "{}",
            report.gate.reason
        );
        assert!(report.questions.is_empty());
        assert_eq!(points.active_metric(None) > VersionId::BUILT_IN, rightly);
    }
}

#[test]
fn questions_of_a_dry_run_or_in_impossible_numbers_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..5, None);
    assert!(matches!(
        points.refit().ask(30).dry_run(true).run(),
        Err(Error::ConflictingSettings { .. })
    ));
    for refit in [points.refit().ask(1), points.refit().ask(5_000)] {
        assert!(matches!(refit.run(), Err(Error::InvalidSetting { .. })));
    }
    assert!(matches!(
        points.refit().half_life(Duration::ZERO).run(),
        Err(Error::InvalidSetting { .. })
    ));
    assert_eq!(points.metrics().expect("versions").len(), 1);
}

#[test]
fn the_gate_of_a_dot_collection_asks_and_compares_with_the_dot_product() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store
        .collection("points")
        .dim(8)
        .distance(Distance::Dot)
        .create()
        .expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..7, None);
    assert!(
        !points
            .refit()
            .ask(10)
            .run()
            .expect("a report")
            .questions
            .is_empty()
    );
    judge_answers(&points, 7..60, None);
    let gate = points.refit().run().expect("a report").gate;
    assert!(
        gate.reason.contains("under the active metric") && gate.reason.contains("new to it"),
        "{}",
        gate.reason
    );
}

/// Points of all kinds, turned so that no coordinate alone tells anything of a kind.
fn turned(count: usize) -> Vec<Item> {
    let turn = |item: Item| {
        let vector = item.vector.expect("a vector");
        // The Hadamard matrix of order 8, scaled: a rotation.
        let coordinate = |row: usize| {
            let signed = vector.iter().enumerate().map(|(column, x)| {
                if (row & column).count_ones().is_multiple_of(2) {
                    *x
                } else {
                    -x
                }
            });
            signed.sum::<f32>() / 8.0_f32.sqrt()
        };
        Item::vector(item.id, (0..8).map(coordinate).collect::<Vec<f32>>())
    };
    kinds(count).into_iter().map(turn).collect()
}

#[test]
fn another_learner_is_compared_on_what_neither_has_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(turned(1_000)).expect("added");
    judge_answers(&points, 0..60, None);
    let with = |learner| points.refit().learner(learner);
    // One weight a coordinate learns nothing here; whoever has seen the judgements looks well.
    let diagonal = with("diagonal").force(true).run().expect("a report");
    assert!(diagonal.promoted);
    let full = with("gmml").run().expect("a report");
    assert!(full.promoted, "{}", full.gate.reason);
    assert!(
        full.gate.reason.contains("learner makes without them"),
        "{}",
        full.gate.reason
    );
    let worse = with("diagonal").run().expect("a report");
    assert!(worse.unchanged && !worse.promoted, "{}", worse.gate.reason);
    assert!(!worse.gate.accepted && worse.gate.after < worse.gate.before);
}
