//! Judging, refitting and the life of metric versions, with the Mahalanobis plugin.

mod common;

use affinis::{
    Collection, Distance, Error, EvalQuery, Forget, Item, Judgement, LearnError, MetricChoice,
    Query, ShrunkenMetric, Source, Store, Subject,
};
use common::kinds::{KINDS, judge_answers, kind, kinds, open};
use common::{Random, WordCounts, exact, items, l2};
use ndarray::{Array1, Array2};
use std::path::Path;
use std::time::{Duration, SystemTime};

fn learned(path: &Path) -> (Store, Collection) {
    let store = open(path);
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..60, None);
    (store, points)
}

/// `(x - y)' A (x - y)`.
fn quadratic(a: &Array2<f64>, x: &[f32], y: &[f32]) -> f64 {
    let z: Array1<f64> = x
        .iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) - f64::from(*y))
        .collect();
    z.dot(&a.dot(&z))
}

#[test]
fn a_refit_that_helps_is_promoted_and_answers_at_once_and_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = learned(dir.path());
    let unseen: Vec<EvalQuery> = (500..600)
        .map(|q| EvalQuery {
            query: Query::like(q.to_string()),
            relevant: (0..1_000)
                .filter(|i| *i != q && i % KINDS == q % KINDS)
                .map(|i| i.to_string())
                .collect(),
        })
        .collect();
    let report = points.refit().run().expect("a report");
    assert!(
        report.promoted && report.version == Some(1) && report.parent == 0,
        "{report:?}"
    );
    assert_eq!(report.pairs.similar + report.pairs.dissimilar, 600);
    let rows = points
        .evaluate(&unseen, 10, &[MetricChoice::BuiltIn, MetricChoice::Active])
        .expect("measures")
        .rows;
    assert_eq!((rows[0].metric, rows[1].metric), (0, 1));
    assert!(rows[1].precision.low > rows[0].precision.high, "{rows:?}");

    let query = [0.9_f32, 0.1, 0.5, -0.5, 0.2, 0.2, -0.9, 0.0];
    let hits = points.search(query.as_slice()).k(50).run().expect("hits");
    assert_eq!(hits.metric, 1);
    let matrix = points.metric_matrix(1).expect("a matrix");
    let expected = exact(&kinds(1_000), 50, |x| quadratic(&matrix, &query, x));
    for (hit, (id, distance)) in hits.iter().zip(&expected) {
        assert_eq!(&hit.id, id);
        assert!(
            (f64::from(hit.distance) - distance).abs() <= 1e-4 * distance,
            "{hit:?} for {distance}"
        );
    }
    let euclidean = points
        .search(query.as_slice())
        .k(50)
        .metric(MetricChoice::BuiltIn)
        .run()
        .expect("hits");
    let expected = exact(&kinds(1_000), 50, |x| l2(&query, x));
    assert!(
        euclidean
            .iter()
            .zip(&expected)
            .all(|(hit, (id, _))| hit.id == *id)
    );

    let version = points.metric(1).expect("version 1");
    assert!(version.active && version.parent == Some(0) && version.judgements == Some((0, 599)));
    assert!(version.gate.as_ref().is_some_and(|g| g.accepted) && version.condition >= 1.0);
    drop((store, points));
    let store = open(dir.path());
    let points = store.collection("points").open().expect("opened");
    assert_eq!(points.metric(1).expect("version 1"), version);
    let again = points.search(query.as_slice()).k(50).run().expect("hits");
    assert_eq!(again.hits, hits.hits, "bit for bit");
    assert_eq!(points.metric_matrix(1).expect("a matrix"), matrix);
    assert!(store.verify().expect("verified").problems.is_empty());
}

#[test]
fn versions_are_promoted_rolled_back_compared_and_imported() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = learned(dir.path());
    assert!(matches!(
        points.rollback(None),
        Err(Error::NothingToRollBack)
    ));
    let dry = points.refit().dry_run(true).run().expect("a report");
    assert!(
        !dry.promoted && dry.version.is_none() && points.metrics().expect("versions").len() == 1
    );
    points.refit().run().expect("version 1");
    judge_answers(&points, 60..120, None);
    points.refit().force(true).run().expect("version 2");
    assert_eq!(points.active_metric(None), 2);
    assert_eq!(points.rollback(None).expect("back"), 1);
    assert_eq!(points.rollback(None).expect("back"), 0);
    points.promote(2).expect("promoted");
    assert_eq!(points.rollback(Some(0)).expect("back"), 0);

    let same = points.diff(1, 1).expect("compared");
    let other = points.diff(0, 1).expect("compared");
    assert!(
        same.distance.abs() < 1e-6 && other.distance > 0.1,
        "{same:?} {other:?}"
    );
    assert!((points.diff(1, 0).expect("compared").distance - other.distance).abs() < 1e-6);

    let matrix = points.metric_matrix(1).expect("a matrix");
    let imported = points.import_metric(matrix.view()).expect("imported");
    assert_eq!((imported, points.active_metric(None)), (3, 0));
    assert!(points.diff(1, 3).expect("compared").distance < 1e-6);
    points.promote(3).expect("promoted");
    let mut bad = Array2::<f64>::eye(8);
    bad[(0, 0)] = -1.0;
    assert!(matches!(
        points.import_metric(bad.view()),
        Err(Error::Learn(LearnError::NotAMetric(_)))
    ));
    assert!(matches!(
        points.import_metric(Array2::eye(7).view()),
        Err(Error::Invalid(_))
    ));
    assert!(matches!(
        points.promote(9),
        Err(Error::UnknownVersion { version: 9, .. })
    ));
    let choice = MetricChoice::Version(9);
    assert!(matches!(
        points.search(Query::like("0")).metric(choice).run(),
        Err(Error::UnknownVersion { .. })
    ));
    assert!(matches!(
        points.refit().learner("magic").run(),
        Err(Error::Learn(LearnError::UnknownLearner { .. }))
    ));
}

#[test]
fn judgements_of_noise_are_not_promoted() {
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
        (Some(1), 0),
        "kept as a candidate"
    );
    assert!(!points.metric(1).expect("the candidate").active);
}

#[test]
fn a_store_without_its_plugin_opens_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = learned(dir.path());
    points.refit().force(true).run().expect("version 1");
    drop((store, points));
    let store = Store::open(dir.path()).expect("opened");
    let points = store.collection("points").open().expect("opened");
    match points.search(Query::like("0")).run() {
        Err(Error::NoPlugin(message)) => assert!(message.contains("mahalanobis"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(
        !points
            .search(Query::like("0"))
            .metric(MetricChoice::BuiltIn)
            .run()
            .expect("hits")
            .is_empty()
    );
    assert!(matches!(points.refit().run(), Err(Error::NoPlugin(_))));
    drop((store, points));
    let store = open(dir.path());
    assert_eq!(
        store
            .collection("points")
            .open()
            .expect("opened")
            .search(Query::like("0"))
            .run()
            .expect("hits")
            .metric,
        1
    );
}

#[test]
fn users_have_metrics_of_their_own_and_others_do_not_notice() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..60, Some("ann"));
    judge_answers(&points, 60..62, Some("bob"));
    assert!(matches!(
        points.refit().user("eve").run(),
        Err(Error::NoJudgements(_))
    ));
    let report = points.refit().user("ann").run().expect("a report");
    assert!(report.promoted, "{report:?}");
    assert_eq!(points.active_metric(Some("ann")), 1);
    assert_eq!(
        (
            points.active_metric(Some("bob")),
            points.active_metric(None)
        ),
        (0, 0)
    );
    let search = |user: &str| {
        points
            .search(Query::like("5"))
            .user(user)
            .run()
            .expect("hits")
            .metric
    };
    assert_eq!((search("ann"), search("bob")), (1, 0));
    drop(store);
    points.clear_user_metric("ann").expect("cleared");
    assert_eq!(points.active_metric(Some("ann")), 0);
}

#[test]
fn a_few_judgements_take_a_step_and_more_go_all_the_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..12, None);
    let dry = points.refit().dry_run(true).run().expect("a report");
    assert!(
        dry.gate.accepted && dry.step.is_some_and(|share| share > 0.0 && share < 1.0),
        "{dry:?}"
    );
    let forced = points.refit().force(true).run().expect("a report");
    assert!(
        forced.promoted && forced.step.is_none() && !forced.gate.accepted,
        "{forced:?}"
    );
    assert_eq!(points.rollback(None).expect("back"), 0);
    let step = points.refit().run().expect("a report");
    assert!(
        step.promoted && step.step == dry.step && step.condition < forced.condition,
        "{step:?}"
    );
    let [whole, third] = [forced.version, step.version]
        .map(|v| points.metric_matrix(v.expect("stored")).expect("a matrix"));
    let share = step.step.expect("a step");
    let expected = Array2::<f64>::eye(8) * (1.0 - share) + whole * share;
    assert!((third - expected).iter().all(|v| v.abs() < 1e-9));
    let version = points.metric(2).expect("version 2");
    assert!(version.active && version.parameters[ShrunkenMetric::PARAMETER] == share);

    judge_answers(&points, 12..60, None);
    let all = points.refit().run().expect("a report");
    assert!(
        all.promoted && all.step.is_none() && all.parent == 2,
        "{all:?}"
    );
    assert!(store.verify().expect("verified").problems.is_empty());
}

#[test]
fn no_step_is_taken_while_questions_are_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..12, None);
    let asked = points.refit().ask(30).run().expect("a report");
    assert!(
        !asked.promoted && asked.step.is_none() && asked.questions.len() == 30,
        "{asked:?}"
    );
    assert!(
        asked.gate.reason.contains("a step towards it would pass"),
        "{}",
        asked.gate.reason
    );
    let answer = |questions: &[affinis::Question]| {
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
    answer(&asked.questions[..4]);
    let waiting = points.refit().run().expect("a report");
    assert!(!waiting.promoted && waiting.parent == 0, "{waiting:?}");
    assert!(
        waiting.gate.reason.contains("the 26 open questions"),
        "{}",
        waiting.gate.reason
    );
    answer(&asked.questions[4..]);
    let answered = points.refit().run().expect("a report");
    assert!(answered.promoted, "{answered:?}");
}

#[test]
fn forgetting_equals_never_having_seen() {
    // What is left makes a candidate pass, or a step.
    for (queries, step) in [(60, false), (12, true)] {
        forgets_what_was_learned_beside(queries, step);
    }
}

fn forgets_what_was_learned_beside(queries: usize, step: bool) {
    let (dir, other) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let matrices = [(dir.path(), true), (other.path(), false)].map(|(path, sees)| {
        let store = open(path);
        let points = store.collection("points").dim(8).create().expect("created");
        points.add(kinds(1_000)).expect("added");
        if sees {
            judge_answers(&points, 200..230, Some("gone"));
        }
        judge_answers(&points, 0..queries, Some("stays"));
        if sees {
            points.refit().force(true).run().expect("version 1");
            let forgotten = points
                .forget(&Forget::User("gone".into()))
                .expect("forgotten");
            assert_eq!((forgotten.removed, forgotten.withdrawn), (300, vec![1]));
            let refit = forgotten.refit.expect("a refit");
            assert!(
                refit.promoted && forgotten.active == 2 && refit.step.is_some() == step,
                "{refit:?}"
            );
            assert!(matches!(points.promote(1), Err(Error::WithdrawnVersion(1))));
            assert!(
                points.judgements().expect("judgements").iter().all(|j| j
                    .judgement
                    .user
                    .as_deref()
                    == Some("stays"))
            );
            assert_eq!(
                points
                    .forget(&Forget::User("gone".into()))
                    .expect("nothing")
                    .removed,
                0
            );
            assert!(store.verify().expect("verified").problems.is_empty());
        } else {
            let refit = points.refit().run().expect("version 1");
            assert!(refit.promoted && refit.step.is_some() == step, "{refit:?}");
        }
        points
            .metric_matrix(points.active_metric(None))
            .expect("a matrix")
    });
    let difference = (&matrices[0] - &matrices[1])
        .mapv(f64::abs)
        .fold(0.0_f64, |m, x| m.max(*x));
    assert!(difference < 1e-10, "{difference:e}");
    let store = open(dir.path());
    let points = store.collection("points").open().expect("opened");
    let removed = points
        .forget(&Forget::Item("0".into()))
        .expect("forgotten")
        .removed;
    assert!(removed >= 10, "{removed}");
    assert!(
        points
            .judgements()
            .expect("judgements")
            .iter()
            .all(|j| match &j.judgement.subject {
                Subject::Graded { query, item, .. } => item != "0" && *query != Query::like("0"),
                _ => true,
            })
    );
}

#[test]
fn judgements_of_every_form_are_read_back_and_bad_ones_leave_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let notes = store
        .collection("notes")
        .encoder(WordCounts::new(8, "w"))
        .create()
        .expect("created");
    notes
        .add([
            Item::text("a", "red apple"),
            Item::text("b", "green pear"),
            Item::text("c", "blue car"),
        ])
        .expect("added");
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let given = [
        Judgement::relevant("fruit", "a")
            .user("ann")
            .source(Source::Click)
            .weight(0.5)
            .at(at)
            .shown(["b", "a"]),
        Judgement::irrelevant(Query::like("a"), "c").at(at),
        Judgement::graded(vec![0.5; 8], "b", 0.25).at(at),
        Judgement::similar("a", "b").at(at),
        Judgement::dissimilar("b", "c").source(Source::Proxy).at(at),
    ];
    assert_eq!(notes.judge_all(given.clone()).expect("judged"), 0..5);
    for (bad, word) in [
        (Judgement::relevant("fruit", "nobody"), "nobody"),
        (
            Judgement::relevant("fruit", "a").shown(["nobody"]),
            "nobody",
        ),
        (Judgement::relevant(Query::like("nobody"), "a"), "nobody"),
        (Judgement::graded("fruit", "a", 2.0), "grade"),
        (Judgement::relevant(vec![1.0, 2.0], "a"), "dimension"),
        (Judgement::relevant(vec![f32::NAN; 8], "a"), "finite"),
        (Judgement::similar("a", "a"), "both"),
    ] {
        match notes.judge_all([Judgement::relevant("fruit", "b"), bad]) {
            Err(Error::InvalidJudgement { index: 1, reason }) => {
                assert!(reason.contains(word), "{reason}")
            }
            other => panic!("{word}: {other:?}"),
        }
    }
    assert_eq!(notes.judgement_count(), 5);
    drop((store, notes));
    let store = open(dir.path());
    let notes = store
        .collection("notes")
        .open()
        .expect("opened without its encoder");
    let stored = notes.judgements().expect("judgements");
    assert_eq!(
        stored.iter().map(|s| s.sequence).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert!(stored.iter().map(|s| &s.judgement).eq(&given), "{stored:?}");
    // A refit needs no encoder: the judged text's vector was kept.
    assert!(
        notes
            .refit()
            .force(true)
            .run()
            .expect("a report")
            .version
            .is_some()
    );
}

#[test]
fn every_kind_of_distance_can_learn() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for distance in [Distance::L2, Distance::Cosine, Distance::Dot] {
        let points = store
            .collection(&format!("{distance:?}"))
            .dim(8)
            .distance(distance)
            .create()
            .expect("created");
        points.add(kinds(500)).expect("added");
        judge_answers(&points, 0..40, None);
        let report = points.refit().run().expect("a report");
        assert!(
            report.condition.is_finite() && report.condition >= 1.0,
            "{distance:?}: {report:?}"
        );
        points.promote(1).expect("promoted");
        let hits = points.search(Query::like("3")).run().expect("hits");
        assert!(
            hits.metric == 1 && hits.iter().all(|h| h.distance >= 0.0),
            "{distance:?}"
        );
    }
}

#[test]
fn one_sided_and_contradictory_judgements_never_harm() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(items(50, 8, 2)).expect("added");
    assert!(matches!(points.refit().run(), Err(Error::NoJudgements(_))));
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
    // Judgements of items that are gone say nothing any more.
    points.delete(&["p3"]).expect("deleted");
    assert!(points.refit().run().is_ok_and(|r| !r.promoted) || points.active_metric(None) == 0);
}
