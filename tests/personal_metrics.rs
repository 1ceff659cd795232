//! Metrics of single users: whose searches they answer, and what they are learned from.

use affinis::{Collection, Error, Query, VersionId, learning::Forget};
use affinis_testkit::kinds::{judge_answers, kinds, open, store_of_kinds};

#[test]
fn a_users_metric_answers_that_user_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    judge_answers(&points, 0..60, Some("ann"));
    judge_answers(&points, 60..62, Some("bob"));
    assert!(matches!(
        points.refit().user("eve").run(),
        Err(Error::NoJudgements { .. })
    ));
    let report = points.refit().user("ann").run().expect("a report");
    assert!(report.promoted, "{report:?}");
    assert_eq!(points.active_metric(Some("ann")), VersionId(1));
    assert_eq!(
        (
            points.active_metric(Some("bob")),
            points.active_metric(None)
        ),
        (VersionId(0), VersionId(0))
    );
    let search = |user: &str| {
        points
            .search(Query::like("5"))
            .user(user)
            .run()
            .expect("hits")
            .metric
    };
    assert_eq!((search("ann"), search("bob")), (VersionId(1), VersionId(0)));
    drop(store);
    points.clear_user_metric("ann").expect("cleared");
    assert_eq!(points.active_metric(Some("ann")), VersionId(0));
}

#[test]
fn a_users_metric_starts_from_the_judgements_of_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..60, Some("ann"));
    judge_answers(&points, 60..64, Some("bob"));
    let report = points
        .refit()
        .user("bob")
        .force(true)
        .run()
        .expect("version 1");
    let (mine, with_others) = (
        report.pairs.similar + report.pairs.dissimilar,
        points.metric_matrix(VersionId(1)).expect("a"),
    );
    assert_eq!(mine, 40, "others' judgements are no pairs of bob's");
    assert_eq!(
        points
            .metric(VersionId(1))
            .expect("version 1")
            .judgements_of_others,
        Some(600)
    );
    let weight = |a: &ndarray::Array2<f64>| a[(0, 0)] + a[(1, 1)];
    points
        .forget(&Forget::User("ann".into()))
        .expect("forgotten");
    let version = points.active_metric(Some("bob"));
    assert!(
        matches!(
            points.promote(VersionId(1)),
            Err(Error::WithdrawnVersion(VersionId(1)))
        ),
        "it had learned from ann's"
    );
    assert_eq!(
        version, 0,
        "a metric of four queries is not promoted by itself"
    );
    let alone = points
        .metrics()
        .expect("versions")
        .last()
        .expect("bob's")
        .version;
    let alone = points.metric_matrix(alone).expect("a matrix");
    assert!(
        weight(&with_others) > weight(&alone) + 0.2,
        "{} and {}",
        weight(&with_others),
        weight(&alone)
    );
}

#[test]
fn a_users_metric_can_be_a_low_rank_update_of_the_shared_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..60, Some("ann"));
    let refit = |rank| {
        points
            .refit()
            .user("bob")
            .rank(rank)
            .force(true)
            .run()
            .expect("a version")
            .version
    };
    judge_answers(&points, 60..64, Some("bob"));
    // The shared metric is the built-in one, which has no low-rank updates.
    let alone = refit(2).expect("stored");
    assert!(points.metric(alone).expect("a version").base.is_none());
    let shared = points
        .refit()
        .force(true)
        .run()
        .expect("a version")
        .version
        .expect("stored");
    assert!(
        !points
            .metric(shared)
            .expect("a version")
            .notes
            .contains_key("rank")
    );
    let whole = refit(0).expect("stored");
    let change = refit(2).expect("stored");
    let version = points.metric(change).expect("a version");
    assert_eq!(
        (version.base, version.settings.rank, version.notes["rank"]),
        (Some(shared), Some(2), 2.0)
    );
    let near = points.diff(whole, change).expect("comparable").distance;
    assert!(
        near < points.diff(whole, shared).expect("comparable").distance,
        "{near}"
    );

    let answers = |points: &Collection| {
        let hits = points
            .search(Query::like("7"))
            .user("bob")
            .run()
            .expect("hits");
        assert_eq!(hits.metric, change);
        hits.iter()
            .map(|hit| (hit.id.clone(), hit.distance.to_bits()))
            .collect::<Vec<_>>()
    };
    let before = answers(&points);
    drop((points, store));
    let store = open(dir.path());
    let points = store.collection("points").open().expect("opened");
    assert_eq!(answers(&points), before);
    assert_eq!(store.verify().expect("verified").problems, []);
    // The shared metric that it updates is kept when it is no longer active.
    points.promote(VersionId(0)).expect("promoted");
    assert_eq!(answers(&points), before);

    let archive = points.history().expect("a history");
    let other = store.collection("other").dim(8).create().expect("created");
    other.add(kinds(1_000)).expect("added");
    other.restore(&archive).expect("taken over");
    assert_eq!(answers(&other), before);

    // Bob's judgements remain, but all three versions had learned from Ann's.
    points
        .forget(&Forget::User("ann".into()))
        .expect("forgotten");
    for version in [shared, whole, change] {
        assert!(matches!(points.promote(version), Err(Error::WithdrawnVersion(v)) if v == version));
    }
    assert_eq!(store.verify().expect("verified").problems, []);
}
