//! The life of a metric version: refit, promotion, rollback, comparison, import, reopening.

use std::path::Path;
use std::time::Duration;

use affinis::{
    Collection, Distance, Error, JudgementId, MetricChoice, Query, Store, VersionId,
    learning::EvalQuery, plugin::LearnError,
};
use affinis_testkit::exact::{exact, l2};
use affinis_testkit::kinds::{KINDS, judge_answers, kinds, open, store_of_kinds};
use ndarray::{Array1, Array2};

fn judged_store(path: &Path) -> (Store, Collection) {
    let store = open(path);
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..60, None);
    (store, points)
}

/// The quadratic form `(x - y)' A (x - y)`.
fn quadratic(a: &Array2<f64>, x: &[f32], y: &[f32]) -> f64 {
    let z: Array1<f64> = x
        .iter()
        .zip(y)
        .map(|(x, y)| f64::from(*x) - f64::from(*y))
        .collect();
    z.dot(&a.dot(&z))
}

#[test]
fn a_better_metric_is_promoted_and_answers_at_once_and_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = judged_store(dir.path());
    let unseen: Vec<EvalQuery> = (500..600)
        .map(|q| {
            EvalQuery::new(
                Query::like(q.to_string()),
                (0..1_000)
                    .filter(|i| *i != q && i % KINDS == q % KINDS)
                    .map(|i| i.to_string()),
            )
        })
        .collect();
    let report = points.refit().run().expect("a report");
    assert!(
        report.promoted && report.version == Some(VersionId(1)) && report.parent == 0,
        "{report:?}"
    );
    assert_eq!(report.pairs.similar + report.pairs.dissimilar, 600);
    let rows = points
        .evaluate(&unseen, 10, &[MetricChoice::BuiltIn, MetricChoice::Active])
        .expect("measures")
        .rows;
    assert_eq!(
        (rows[0].metric, rows[1].metric),
        (VersionId(0), VersionId(1))
    );
    assert!(rows[1].precision.low > rows[0].precision.high, "{rows:?}");

    let query = [0.9_f32, 0.1, 0.5, -0.5, 0.2, 0.2, -0.9, 0.0];
    let by_metric = |points: &Collection| {
        points
            .search(query.as_slice())
            .k(50)
            .memory(false)
            .run()
            .expect("hits")
    };
    let hits = by_metric(&points);
    assert_eq!(hits.metric, 1);
    let matrix = points.metric_matrix(VersionId(1)).expect("a matrix");
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

    let version = points.metric(VersionId(1)).expect("version 1");
    assert!(
        version.active
            && version.parent == Some(VersionId(0))
            && version.judgements == Some((JudgementId(0), JudgementId(599)).into())
    );
    assert!(version.gate.as_ref().is_some_and(|g| g.accepted) && version.condition >= 1.0);
    drop((store, points));
    let store = open(dir.path());
    let points = store.collection("points").open().expect("opened");
    assert_eq!(points.metric(VersionId(1)).expect("version 1"), version);
    assert_eq!(by_metric(&points).hits, hits.hits, "bit for bit");
    assert_eq!(
        points.metric_matrix(VersionId(1)).expect("a matrix"),
        matrix
    );
    assert!(store.verify().expect("verified").problems.is_empty());
}

#[test]
fn versions_are_promoted_rolled_back_compared_and_imported() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = judged_store(dir.path());
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
    assert_eq!(points.active_metric(None), VersionId(2));
    assert_eq!(points.rollback(None).expect("back"), VersionId(1));
    assert_eq!(points.rollback(None).expect("back"), VersionId(0));
    points.promote(VersionId(2)).expect("promoted");
    assert_eq!(
        points.rollback(Some(VersionId(0))).expect("back"),
        VersionId(0)
    );

    let same = points.diff(VersionId(1), VersionId(1)).expect("compared");
    let other = points.diff(VersionId(0), VersionId(1)).expect("compared");
    assert!(
        same.distance.abs() < 1e-6 && other.distance > 0.1,
        "{same:?} {other:?}"
    );
    assert!(
        (points
            .diff(VersionId(1), VersionId(0))
            .expect("compared")
            .distance
            - other.distance)
            .abs()
            < 1e-6
    );

    let matrix = points.metric_matrix(VersionId(1)).expect("a matrix");
    let imported = points.import_metric(matrix.view()).expect("imported");
    assert_eq!(
        (imported, points.active_metric(None)),
        (VersionId(3), VersionId(0))
    );
    assert!(
        points
            .diff(VersionId(1), VersionId(3))
            .expect("compared")
            .distance
            < 1e-6
    );
    points.promote(VersionId(3)).expect("promoted");
    let mut bad = Array2::<f64>::eye(8);
    bad[(0, 0)] = -1.0;
    assert!(matches!(
        points.import_metric(bad.view()),
        Err(Error::Learn(LearnError::NotAMetric(_)))
    ));
    assert!(matches!(
        points.import_metric(Array2::eye(7).view()),
        Err(Error::MatrixShape { .. })
    ));
    assert!(matches!(
        points.promote(VersionId(9)),
        Err(Error::UnknownVersion {
            version: VersionId(9),
            ..
        })
    ));
    let choice = MetricChoice::Version(VersionId(9));
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
fn a_store_opens_without_its_plugin_and_names_the_missing_plugin() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = judged_store(dir.path());
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
fn a_metric_is_learned_over_every_distance() {
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
        points.promote(VersionId(1)).expect("promoted");
        let hits = points.search(Query::like("3")).run().expect("hits");
        assert!(
            hits.metric == 1 && hits.iter().all(|h| h.distance >= 0.0),
            "{distance:?}"
        );
    }
}

#[test]
fn a_background_refit_starts_by_itself_and_ends_with_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store
        .collection("points")
        .dim(8)
        .refit_after(200)
        .create()
        .expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..19, None);
    points.settle().expect("settled");
    assert!(points.background_refit().is_none() && points.metrics().expect("versions").len() == 1);
    assert_eq!(points.unlearned().expect("counted"), 190);
    judge_answers(&points, 19..60, None);
    assert!(
        !points
            .search(Query::like("3"))
            .run()
            .expect("hits")
            .is_empty()
    );
    points.settle().expect("settled");
    let report = points
        .background_refit()
        .expect("a refit")
        .expect("that went well");
    assert_eq!(
        points
            .metrics()
            .expect("versions")
            .last()
            .map(|v| v.version),
        report.version
    );
    assert!(points.unlearned().expect("counted") < 200);
    judge_answers(&points, 60..100, None);
    drop((store, points));
    // The refit ends or is cancelled; either way the store can soon be opened again.
    let reopened = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        Store::builder()
            .plugin(affinis_mahalanobis::Mahalanobis::default())
            .open(dir.path())
            .ok()
    });
    let store = reopened.expect("the store is not held for good");
    assert!(store.verify().expect("verified").problems.is_empty());
}

#[test]
fn the_neighbours_that_differ_between_two_metrics_are_listed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..60, None);
    points.refit().run().expect("version 1");
    let changes = points
        .diff_neighbours(VersionId(0), VersionId(1))
        .sample(20)
        .k(10)
        .run()
        .expect("compared");
    assert_eq!(changes.queries.len(), 20);
    let gone: usize = changes.queries.iter().map(|c| c.gone.len()).sum();
    assert!((changes.kept - (1.0 - gone as f64 / 200.0)).abs() < 1e-12);
    let first = &changes.queries[0];
    let now = points
        .search(Query::like(&first.query))
        .memory(false)
        .run()
        .expect("hits");
    assert!(
        !first.come.is_empty()
            && first
                .come
                .iter()
                .all(|id| now.iter().any(|hit| hit.id == *id))
    );
    assert!(
        first
            .gone
            .iter()
            .all(|id| now.iter().all(|hit| hit.id != *id))
    );
    assert_eq!(
        points
            .diff_neighbours(VersionId(1), VersionId(1))
            .sample(20)
            .k(10)
            .run()
            .expect("compared")
            .kept,
        1.0
    );
    assert!(matches!(
        points
            .diff_neighbours(VersionId(0), VersionId(9))
            .sample(20)
            .k(10)
            .run(),
        Err(Error::UnknownVersion { .. })
    ));
    assert!(matches!(
        points
            .diff_neighbours(VersionId(0), VersionId(1))
            .sample(20)
            .k(0)
            .run(),
        Err(Error::InvalidQuery(_))
    ));
}

#[test]
fn a_refit_on_what_was_learned_from_already_stores_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = judged_store(dir.path());
    let versions = || points.metrics().expect("versions").len();
    let first = points.refit().run().expect("a report");
    assert!(first.promoted && !first.unchanged, "{first:?}");
    for force in [false, true] {
        let again = points.refit().force(force).run().expect("a report");
        assert!(again.unchanged && !again.promoted, "{again:?}");
        assert_eq!((again.version, again.parent), (first.version, VersionId(1)));
    }
    // A candidate that stays one is the same version, too.
    let naive = || points.refit().learner("naive");
    let candidate = naive().run().expect("a report");
    assert!(!candidate.promoted && !candidate.unchanged && candidate.version == Some(VersionId(2)));
    assert_eq!(naive().run().expect("a report").version, candidate.version);
    let forced = naive().force(true).run().expect("a report");
    assert!(forced.promoted && forced.unchanged, "{forced:?}");
    assert_eq!(points.active_metric(None), VersionId(2));
    assert_eq!(versions(), 3);
    // After a rollback what was learned is promoted again, and not stored again.
    points.promote(VersionId(0)).expect("back");
    let dry = points.refit().dry_run(true).run().expect("a report");
    assert!(dry.unchanged && dry.version.is_none(), "{dry:?}");
    let again = points.refit().run().expect("a report");
    assert!(again.unchanged && again.promoted, "{again:?}");
    assert_eq!((points.active_metric(None), versions()), (VersionId(1), 3));
    // One judgement more is another metric.
    judge_answers(&points, 60..61, None);
    let other = points.refit().run().expect("a report");
    assert!(
        !other.unchanged && other.version == Some(VersionId(3)),
        "{other:?}"
    );
}

#[test]
fn a_version_that_nothing_needs_is_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = judged_store(dir.path());
    points.refit().run().expect("version 1");
    for queries in [60..70, 70..80] {
        judge_answers(&points, queries, None);
        points.refit().force(true).run().expect("a version");
    }
    let needed = |version: u32| {
        let refused = points.delete_metric(VersionId(version));
        assert!(
            matches!(refused, Err(Error::VersionNeeded { .. })),
            "{refused:?}"
        );
        refused.expect_err("refused").to_string()
    };
    assert!(needed(0).contains("own distance"));
    assert!(needed(3).contains("active"));
    points.start_trial(VersionId(1)).run().expect("a trial");
    assert!(needed(1).contains("trial"));
    points.end_trial().expect("ended");
    judge_answers(&points, 80..95, Some("ann"));
    let own = points.refit().user("ann").rank(2).force(true).run();
    assert_eq!(own.expect("a report").version, Some(VersionId(4)));
    assert!(needed(4).contains("ann"));
    points.promote(VersionId(2)).expect("promoted");
    assert!(needed(3).contains("version 4 is an update of it"));
    points.promote(VersionId(3)).expect("promoted");

    points.delete_metric(VersionId(2)).expect("deleted");
    for missing in [
        points.delete_metric(VersionId(2)),
        points.promote(VersionId(2)),
    ] {
        assert!(
            matches!(missing, Err(Error::UnknownVersion { .. })),
            "{missing:?}"
        );
    }
    let child = points.metric(VersionId(3)).expect("there");
    assert_eq!((child.parent, child.moved), (Some(VersionId(1)), None));
    assert!(store.verify().expect("verified").problems.is_empty());
    drop((points, store));
    let store = open(dir.path());
    let points = store.collection("points").open().expect("opened");
    assert_eq!(points.rollback(None).expect("rolled back"), VersionId(1));
    points.clear_user_metric("ann").expect("ended");
    for version in [4, 3] {
        points.delete_metric(VersionId(version)).expect("deleted");
    }
    judge_answers(&points, 95..99, None);
    let next = points.refit().run().expect("a report").version;
    assert_eq!(next, Some(VersionId(5)), "numbers are not given again");
    points.promote(VersionId(0)).expect("promoted");
    assert_eq!(points.metrics().expect("versions").len(), 3);
    assert!(store.verify().expect("verified").problems.is_empty());
}
