//! Forgetting a user or an item: what was learned from their judgements is withdrawn and refitted.

use affinis::{Error, Forget, Judgement, Query, Source, Subject, VersionId};
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
            let forgotten = points
                .forget(&Forget::User("gone".into()))
                .expect("forgotten");
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
