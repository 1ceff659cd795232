//! How judgements are stored and weighted, and how an explanation names them.

use std::time::{Duration, SystemTime};

use affinis::{Error, Item, Judgement, JudgementId, MetricChoice, Query, Source, VersionId};
use affinis_testkit::WordCounts;
use affinis_testkit::kinds::{judge_answers, kind, open, store_of_kinds};

#[test]
fn judgements_of_every_form_are_read_back_and_a_refused_batch_stores_nothing() {
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
    assert_eq!(
        notes.judge_all(given.clone()).expect("judged"),
        [0, 1, 2, 3, 4].map(JudgementId)
    );
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
            Err(Error::InvalidJudgement { index: 1, source }) => {
                assert!(source.to_string().contains(word), "{source}");
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
        stored.iter().map(|s| s.id).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4].map(JudgementId)
    );
    assert!(stored.iter().map(|s| &s.judgement).eq(&given), "{stored:?}");
    // A refit needs no encoder: the vector of the judged text is stored.
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
fn old_judgements_lose_weight_by_the_half_life() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    let day = Duration::from_hours(24);
    let now = SystemTime::now();
    // Old judgements by the third coordinate, new ones by kind.
    for (age, by_kind) in [(100, false), (0, true)] {
        for query in 0..30 {
            let query = if by_kind { query } else { query + 100 }.to_string();
            let vector = points
                .get(&query)
                .expect("read")
                .expect("there")
                .vector
                .expect("a vector");
            for hit in &points.search(Query::like(&query)).run().expect("hits") {
                let other = points
                    .get(&hit.id)
                    .expect("read")
                    .expect("there")
                    .vector
                    .expect("a vector");
                let good = if by_kind {
                    kind(&hit.id) == kind(&query)
                } else {
                    (other[2] - vector[2]).abs() < 0.2
                };
                let judgement =
                    Judgement::graded(Query::like(&query), &hit.id, if good { 1.0 } else { -1.0 });
                points.judge(judgement.at(now - day * age)).expect("judged");
            }
        }
    }
    let third = |version: u32| points.metric_matrix(VersionId(version)).expect("a matrix")[(2, 2)];
    points.refit().run().expect("version 1");
    points.refit().half_life(day * 10).run().expect("version 2");
    let again = points.refit().half_life(day * 10).run().expect("a report");
    assert!(third(2) < third(1) - 0.1, "{} and {}", third(1), third(2));
    assert_eq!(
        (again.unchanged, again.version),
        (true, Some(VersionId(2))),
        "it does not depend on now"
    );
    assert_eq!(
        points
            .metric(VersionId(2))
            .expect("version 2")
            .settings
            .half_life,
        Some(day * 10)
    );
}

/// One user judges with great weight, and by a coordinate that the others ignore.
#[test]
fn one_user_does_not_outweigh_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = store_of_kinds(dir.path());
    for user in ["ann", "bob", "cat"] {
        let from = usize::from(user.as_bytes()[0] - b'a') * 10;
        judge_answers(&points, from..from + 10, Some(user));
    }
    let honest = points
        .refit()
        .force(true)
        .run()
        .expect("version 1")
        .version
        .expect("stored");
    for query in (100..160).map(|q: usize| q.to_string()) {
        let vector = points
            .get(&query)
            .expect("read")
            .expect("there")
            .vector
            .expect("a vector");
        for hit in &points.search(Query::like(&query)).run().expect("hits") {
            let other = points
                .get(&hit.id)
                .expect("read")
                .expect("there")
                .vector
                .expect("a vector");
            let grade = if (other[2] - vector[2]).abs() < 0.2 {
                1.0
            } else {
                -1.0
            };
            points
                .judge(
                    Judgement::graded(Query::like(&query), &hit.id, grade)
                        .user("eve")
                        .weight(50.0),
                )
                .expect("judged");
        }
    }
    let third = |version: VersionId| points.metric_matrix(version).expect("a matrix")[(2, 2)];
    let learn = |refit: affinis::learning::Refit| {
        refit
            .force(true)
            .run()
            .expect("learned")
            .version
            .expect("stored")
    };
    let poisoned = learn(points.refit());
    let limited = learn(points.refit().user_share(0.25));
    assert!(
        third(poisoned) > third(honest) + 0.5,
        "{} and {}",
        third(poisoned),
        third(honest)
    );
    assert!(
        third(limited) < third(poisoned) - 0.2,
        "{:?}",
        [honest, limited, poisoned].map(third)
    );
    assert_eq!(
        points
            .metric(limited)
            .expect("a version")
            .settings
            .user_share,
        Some(0.25)
    );
    let weights = || points.metric_matrix(limited).expect("a matrix");
    let same = store
        .collection("points")
        .user_share(0.25)
        .open()
        .expect("opened");
    assert_eq!(
        points.metric_matrix(learn(same.refit())).expect("a matrix"),
        weights()
    );
    for share in [0.0, -1.0, 1.5, f64::NAN] {
        assert!(
            matches!(
                points.refit().user_share(share).run(),
                Err(Error::InvalidSetting { .. })
            ),
            "{share}"
        );
    }
}

#[test]
fn a_user_whose_judgements_weigh_nothing_takes_no_share() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    for user in ["ann", "ben"] {
        judge_answers(
            &points,
            if user == "ann" { 0..30 } else { 30..60 },
            Some(user),
        );
    }
    // A source that contradicts the users is given the weight 0.
    for judged in points.judgements().expect("read") {
        let affinis::Subject::Graded { query, item, grade } = judged.judgement.subject else {
            continue;
        };
        points
            .judge(
                Judgement::graded(query, &item, -grade)
                    .source(Source::Proxy)
                    .user("bot"),
            )
            .expect("judged");
    }
    let report = points
        .refit()
        .user_share(0.1)
        .force(true)
        .run()
        .expect("a metric");
    assert!(
        report.pairs.similar > 0 && report.pairs.dissimilar > 0,
        "{report:?}"
    );
}

#[test]
fn an_explanation_agrees_with_the_search_and_names_the_judgements() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..40, None);
    points.refit().force(true).run().expect("version 1");
    judge_answers(&points, 40..50, None);
    let hits = points.search(Query::like("700")).run().expect("hits");
    for hit in &hits {
        let why = points
            .explain(Query::like("700"), &hit.id)
            .run()
            .expect("an explanation");
        assert_eq!(
            (why.metric, why.rank),
            (VersionId(1), Some(hit.rank)),
            "{}",
            hit.id
        );
        let sum: f64 = why.directions.iter().map(|d| d.contribution).sum();
        assert!((sum - why.distance).abs() < 1e-9 * why.distance);
        assert!((f64::from(hit.distance) - why.distance).abs() < 1e-4 * why.distance);
        let mut numbers: Vec<u64> = why.judgements.iter().map(|j| j.judgement.0).collect();
        numbers.sort_unstable();
        assert_eq!(
            numbers,
            (0..400).collect::<Vec<_>>(),
            "those it learned from, and none that came later"
        );
    }
    let why = points
        .explain(Query::like("700"), "3")
        .metric(MetricChoice::BuiltIn)
        .run()
        .expect("an explanation");
    assert!(
        why.judgements.is_empty() && why.rank == why.euclidean_rank && why.directions.len() == 1
    );
    assert!((why.distance - why.euclidean).abs() < 1e-9 * why.euclidean);
    assert!(matches!(
        points.explain(Query::like("700"), "nobody").run(),
        Err(Error::UnknownId { .. })
    ));
    assert!(matches!(
        points.explain(vec![1.0], "3").run(),
        Err(Error::Dimension { .. })
    ));
}
