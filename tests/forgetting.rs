//! Forgetting a user or an item: what was learned from their judgements is withdrawn and refitted.

use std::path::Path;

use affinis::{
    Collection, Error, Item, Judgement, Query, Source, Store, Subject, Version, VersionId,
    learning::Forget,
};
use affinis_testkit::Random;
use affinis_testkit::kinds::{judge_answers, kinds, open, store_of_kinds};

#[test]
fn forgetting_equals_never_having_seen() {
    // The remaining judgements promote a candidate, or a shrunken metric.
    for (queries, step) in [(60, false), (12, true)] {
        forgetting_equals_never_having_seen_with(queries, step);
    }
}

fn forgetting_equals_never_having_seen_with(queries: usize, step: bool) {
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
            // Withdrawing judgements one by one is as exact as forgetting who gave them.
            let judgements = points.judgements().expect("judgements");
            let theirs = judgements
                .iter()
                .filter(|j| j.judgement.user.as_deref() == Some("gone"));
            let what = if step {
                Forget::Judgements(theirs.map(|j| j.id).collect())
            } else {
                Forget::User("gone".into())
            };
            let forgotten = points.forget(&what).expect("forgotten");
            assert_eq!(
                (forgotten.removed, forgotten.withdrawn),
                (300, vec![VersionId(1)])
            );
            let refit = forgotten.refit.expect("a refit");
            assert!(
                refit.promoted
                    && forgotten.active == VersionId(2)
                    && refit.shrinkage.is_some() == step,
                "{refit:?}"
            );
            assert!(matches!(
                points.promote(VersionId(1)),
                Err(Error::WithdrawnVersion(VersionId(1)))
            ));
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
            let count = points.judgement_count();
            let unknown = Forget::Judgements([judgements[0].id, judgements[300].id].into());
            assert!(matches!(
                points.forget(&unknown),
                Err(Error::UnknownJudgement { .. })
            ));
            assert_eq!(points.judgement_count(), count, "all or nothing");
            assert!(store.verify().expect("verified").problems.is_empty());
        } else {
            let refit = points.refit().run().expect("version 1");
            assert!(
                refit.promoted && refit.shrinkage.is_some() == step,
                "{refit:?}"
            );
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
fn forgetting_withdraws_versions_whose_weights_the_user_influenced() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..40, None);
    let said = points.judgements().expect("read");
    // Bob's proxy judgements of the same answers are wrong every time, so their source weighs
    // nothing: they influence the weights, and nothing is learned from them.
    for judged in said.iter().take(60) {
        let affinis::Subject::Graded { query, item, grade } = judged.judgement.subject.clone()
        else {
            continue;
        };
        points
            .judge(
                Judgement::graded(query, &item, -grade)
                    .source(Source::Proxy)
                    .user("bob"),
            )
            .expect("judged");
    }
    points.refit().force(true).run().expect("version 1");
    let forgotten = points
        .forget(&Forget::User("bob".into()))
        .expect("forgotten");
    assert_eq!(
        (forgotten.removed, forgotten.withdrawn),
        (60, vec![VersionId(1)])
    );
}

#[test]
fn a_forgotten_user_leaves_no_metric_and_no_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..40, Some("ann"));
    points
        .refit()
        .user("ann")
        .force(true)
        .run()
        .expect("her own");
    // Her judgements are removed, item by item, before she is forgotten.
    for id in 0..1_000 {
        points
            .forget(&Forget::Item(id.to_string()))
            .expect("forgotten");
    }
    assert_eq!(points.judgement_count(), 0);
    points
        .forget(&Forget::User("ann".into()))
        .expect("forgotten");
    let versions = points.metrics().expect("read");
    assert!(
        versions.iter().all(|v| v.user.as_deref() != Some("ann")),
        "{versions:?}"
    );
    assert!(
        versions[1].withdrawn && versions[1].user.is_some(),
        "it stays somebody's: {versions:?}"
    );
}

/// A collection of random items with a shared metric that everybody's judgements taught, and then
/// judgements by Bob alone. Gives the version of Bob's that a refit makes with the given settings.
fn bobs_version(
    dir: &Path,
    dim: usize,
    settings: impl Fn(affinis::learning::Refit) -> affinis::learning::Refit,
) -> (Store, Collection, Version) {
    const ITEMS: usize = 300;
    let store = open(dir);
    let points = store.collection("p").dim(dim).create().expect("created");
    let mut random = Random(11);
    let items = (0..ITEMS).map(|i| Item::vector(i.to_string(), random.vector(dim)));
    points.add(items).expect("added");
    let judge = |queries: std::ops::Range<usize>, user: &str| {
        for query in queries {
            for (answer, relevant) in [(3, true), (7, false), (11, true), (13, false)] {
                let item = ((query + answer) % ITEMS).to_string();
                let grade = if relevant { 1.0 } else { -1.0 };
                let judgement = Judgement::graded(Query::like(query.to_string()), item, grade);
                points.judge(judgement.user(user)).expect("judged");
            }
        }
    };
    judge(0..40, "ann");
    points.refit().force(true).run().expect("a shared metric");
    judge(100..110, "bob");
    let report = settings(points.refit().user("bob")).force(true).run();
    let version = report.expect("a version").version.expect("stored");
    let version = points.metric(version).expect("a version");
    (store, points, version)
}

/// The version that Bob's metric is relearned as after one of his judgements is forgotten.
fn relearned(points: &Collection) -> Version {
    let forgotten = points
        .forget(&Forget::Item("100".into()))
        .expect("forgotten");
    let [bob] = &forgotten.users[..] else {
        panic!("only Bob's metric had learned from it: {forgotten:?}");
    };
    let version = bob.refit.as_ref().and_then(|refit| refit.version);
    points.metric(version.expect("a refit")).expect("a version")
}

#[test]
fn a_whole_metric_of_a_user_is_whole_after_forgetting_above_256_dimensions() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points, version) = bobs_version(dir.path(), 260, |refit| refit.rank(0));
    assert_eq!((version.base, version.settings.rank), (None, Some(0)));
    let again = relearned(&points);
    assert_eq!((again.base, again.settings.rank), (None, Some(0)));
}

#[test]
fn the_rank_of_the_low_rank_learner_is_not_taken_for_the_users() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points, version) =
        bobs_version(dir.path(), 200, |refit| refit.learner("low-rank"));
    assert_eq!(version.notes["rank"], 128.0, "the learner's own");
    assert_eq!((version.base, version.settings.rank), (None, None));
    let again = relearned(&points);
    assert_eq!((again.base, again.settings.rank), (None, None));
    assert_eq!(again.settings.learner.as_deref(), Some("low-rank"));
}
