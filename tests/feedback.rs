//! What feedback is used for beside a refit: explanations, questions, trials, people's own metrics.

mod common;

use std::path::Path;
use std::time::{Duration, SystemTime};

use affinis::{
    Collection, Distance, Error, Forget, History, Judgement, MetricChoice, Query, Source, Store,
    Team, Verdict,
};
use common::kinds::{judge_answers, kind, kinds, open};

fn points(path: &Path) -> (Store, Collection) {
    let store = open(path);
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(1_000)).expect("added");
    (store, points)
}

#[test]
fn an_explanation_agrees_with_the_search_and_names_the_judgements() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
    judge_answers(&points, 0..40, None);
    points.refit().force(true).run().expect("version 1");
    judge_answers(&points, 40..50, None);
    let hits = points.search(Query::like("700")).run().expect("hits");
    for hit in &hits {
        let why = points
            .explain(Query::like("700"), &hit.id)
            .run()
            .expect("an explanation");
        assert_eq!((why.metric, why.rank), (1, Some(hit.rank)), "{}", hit.id);
        let sum: f64 = why.directions.iter().map(|d| d.contribution).sum();
        assert!((sum - why.distance).abs() < 1e-9 * why.distance);
        assert!((f64::from(hit.distance) - why.distance).abs() < 1e-4 * why.distance);
        let mut numbers: Vec<u64> = why.judgements.iter().map(|j| j.judgement).collect();
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

/// Answers what a refit asks, rightly or wrongly, and refits again.
fn ask_and_answer(points: &Collection, rightly: bool) -> affinis::RefitReport {
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
fn answers_to_what_is_asked_let_a_candidate_pass_or_bar_it() {
    for rightly in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let (_store, points) = points(dir.path());
        // Too few queries for the held-out test.
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
        assert_eq!(points.active_metric(None) > 0, rightly);
    }
}

#[test]
fn nothing_can_be_asked_of_a_dry_run_or_in_impossible_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
    judge_answers(&points, 0..5, None);
    for refit in [
        points.refit().ask(30).dry_run(true),
        points.refit().ask(1),
        points.refit().ask(5_000),
    ] {
        assert!(matches!(refit.run(), Err(Error::Invalid(_))));
    }
    assert!(matches!(
        points.refit().half_life(Duration::ZERO).run(),
        Err(Error::Invalid(_))
    ));
    assert_eq!(points.metrics().expect("versions").len(), 1);
}

#[test]
fn a_persons_metric_starts_from_what_others_judged_and_goes_its_own_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
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
        points.metric_matrix(1).expect("a"),
    );
    assert_eq!(mine, 40, "others' judgements are no pairs of bob's");
    assert_eq!(
        points.metric(1).expect("version 1").parameters["judgements_of_others"],
        600.0
    );
    let weight = |a: &ndarray::Array2<f64>| a[(0, 0)] + a[(1, 1)];
    points
        .forget(&Forget::User("ann".into()))
        .expect("forgotten");
    let version = points.active_metric(Some("bob"));
    assert!(
        matches!(points.promote(1), Err(Error::WithdrawnVersion(1))),
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
fn a_persons_metric_can_be_kept_as_a_change_of_everybodys() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = points(dir.path());
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
    // Everybody has the built-in metric, which nothing is a change of.
    let alone = refit(2).expect("stored");
    assert!(
        !points
            .metric(alone)
            .expect("a version")
            .parameters
            .contains_key("base_version")
    );
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
            .parameters
            .contains_key("rank")
    );
    let whole = refit(0).expect("stored");
    let change = refit(2).expect("stored");
    let parameters = points.metric(change).expect("a version").parameters;
    assert_eq!(
        (parameters["base_version"], parameters["rank"]),
        (f64::from(shared), 2.0)
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
    // What shared metric it is a change of is not active any more, and is still there.
    points.promote(0).expect("promoted");
    assert_eq!(answers(&points), before);

    let archive = points.history().expect("a history");
    let other = store.collection("other").dim(8).create().expect("created");
    other.add(kinds(1_000)).expect("added");
    other.restore(&archive).expect("taken over");
    assert_eq!(answers(&other), before);

    // Bob's own judgements stay; the shared metric had learned from ann's.
    points
        .forget(&Forget::User("ann".into()))
        .expect("forgotten");
    for version in [shared, whole, change] {
        assert!(matches!(points.promote(version), Err(Error::WithdrawnVersion(v)) if v == version));
    }
    assert_eq!(store.verify().expect("verified").problems, []);
}

#[test]
fn old_judgements_fade() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
    let day = Duration::from_hours(24);
    let now = SystemTime::now();
    // An old judge who looks at the third coordinate, a new one who looks at kinds.
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
    let third = |version: u32| points.metric_matrix(version).expect("a matrix")[(2, 2)];
    points.refit().run().expect("version 1");
    points.refit().half_life(day * 10).run().expect("version 2");
    points.refit().half_life(day * 10).run().expect("version 3");
    assert!(third(2) < third(1) - 0.1, "{} and {}", third(1), third(2));
    assert_eq!(
        points.metric_matrix(2).expect("a"),
        points.metric_matrix(3).expect("a"),
        "it does not depend on now"
    );
    assert_eq!(
        points.metric(2).expect("version 2").parameters["half_life_days"],
        10.0
    );
}

/// A user who judges with great weight by what nobody else looks at.
#[test]
fn one_user_does_not_outweigh_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = points(dir.path());
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
    let third = |version: u32| points.metric_matrix(version).expect("a matrix")[(2, 2)];
    let learn = |refit: affinis::Refit| {
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
        points.metric(limited).expect("a version").parameters["user_share"],
        0.25
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
                Err(Error::Invalid(_))
            ),
            "{share}"
        );
    }
}

/// Asks the trial and clicks: on what is of the query's kind.
fn click(points: &Collection, query: usize) {
    let query = query.to_string();
    let answer = points
        .interleave(Query::like(&query), 10, Some("ann"))
        .expect("an answer");
    let right = answer.ids.iter().filter(|id| kind(id) == kind(&query));
    let clicks = right.map(|id| {
        let click = Judgement::relevant(Query::like(&query), id)
            .source(Source::Click)
            .user("ann");
        click.shown(answer.ids.clone())
    });
    points
        .judge_all(clicks.collect::<Vec<_>>())
        .expect("judged");
}

#[test]
fn a_trial_is_decided_by_clicks_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = points(dir.path());
    judge_answers(&points, 0..60, None);
    points.refit().force(true).run().expect("version 1");
    points.promote(0).expect("back");
    assert!(matches!(
        points.interleave(Query::like("1"), 10, None),
        Err(Error::InvalidQuery(_))
    ));
    assert!(matches!(
        points.start_trial(7, None),
        Err(Error::UnknownVersion { version: 7, .. })
    ));
    assert!(matches!(
        points.start_trial(1, Some(0.0)),
        Err(Error::Invalid(_))
    ));
    points.start_trial(1, Some(0.1)).expect("a trial");
    let answer = points
        .interleave(Query::like("500"), 10, Some("ann"))
        .expect("an answer");
    assert_eq!(
        answer
            .teams
            .iter()
            .filter(|t| **t == Team::Challenger)
            .count(),
        5
    );
    (500..505).for_each(|query| click(&points, query));
    let before = points.trial().expect("read").expect("a trial");
    assert_eq!(before.verdict, Verdict::Running);
    assert_eq!(before.wins + before.losses + before.ties, 5);
    // Neither a second click on an answer nor one on another answer counts.
    click(&points, 500);
    let other = Judgement::relevant(Query::like("600"), "1")
        .source(Source::Click)
        .shown(["1", "2"]);
    points.judge(other).expect("judged");
    assert_eq!(points.trial().expect("read"), Some(before.clone()));
    drop((store, points));
    let store = open(dir.path());
    let points = store.collection("points").open().expect("opened");
    assert_eq!(points.trial().expect("read"), Some(before));
    click(&points, 500);
    let mut query = 700;
    while points
        .trial()
        .expect("read")
        .is_some_and(|t| t.verdict == Verdict::Running)
        && query < 1_000
    {
        click(&points, query);
        query += 1;
    }
    let trial = points.trial().expect("read").expect("a trial");
    assert_eq!(
        (trial.verdict, points.active_metric(None)),
        (Verdict::Promoted, 1),
        "{trial:?}"
    );
    assert!(trial.evidence >= 10.0 && trial.wins > trial.losses);
}

#[test]
fn a_trial_ends_with_its_metrics_and_with_its_clicks() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
    judge_answers(&points, 0..60, None);
    for _ in 0..2 {
        points.refit().force(true).run().expect("a version");
    }
    points.promote(0).expect("back");
    points.start_trial(1, None).expect("a trial");
    points.promote(2).expect("promoted");
    assert_eq!(
        points.trial().expect("read").expect("the last").verdict,
        Verdict::Ended
    );
    points.promote(0).expect("back");
    points.start_trial(2, None).expect("a trial");
    (500..505).for_each(|query| click(&points, query));
    points
        .forget(&Forget::User("ann".into()))
        .expect("forgotten");
    let trial = points.trial().expect("read").expect("the last");
    assert_eq!(
        (trial.verdict, trial.wins, trial.losses, trial.ties),
        (Verdict::Ended, 0, 0, 0)
    );
    points.start_trial(1, None).expect("another");
    assert_eq!(
        points.end_trial().expect("ended").expect("it").verdict,
        Verdict::Ended
    );
    assert_eq!(points.end_trial().expect("nothing"), None);
}

#[test]
fn a_refit_in_the_background_comes_by_itself_and_ends_with_the_store() {
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
    // Whether it had ended or was given up, the store is free soon.
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
fn neighbours_that_change_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
    judge_answers(&points, 0..60, None);
    points.refit().run().expect("version 1");
    let changes = points.diff_neighbours(0, 1, 20, 10).expect("compared");
    assert_eq!(changes.queries.len(), 20);
    let gone: usize = changes.queries.iter().map(|c| c.gone.len()).sum();
    assert!((changes.kept - (1.0 - gone as f64 / 200.0)).abs() < 1e-12);
    let first = &changes.queries[0];
    let now = points
        .search(Query::like(&first.query))
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
        points.diff_neighbours(1, 1, 20, 10).expect("compared").kept,
        1.0
    );
    assert!(matches!(
        points.diff_neighbours(0, 9, 20, 10),
        Err(Error::UnknownVersion { .. })
    ));
    assert!(matches!(
        points.diff_neighbours(0, 1, 20, 0),
        Err(Error::InvalidQuery(_))
    ));
}

#[test]
fn a_history_with_a_trial_goes_on_where_it_is_taken_in_and_a_forged_one_does_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = points(dir.path());
    judge_answers(&points, 0..40, None);
    points.refit().force(true).run().expect("version 1");
    points.promote(0).expect("back");
    points.start_trial(1, None).expect("a trial");
    (500..503).for_each(|query| click(&points, query));
    let mut history = points.history().expect("read");
    history.texts.insert("nobody asked".into(), vec![0.0; 8]);
    let copy = store
        .collection("copy")
        .dim(8)
        .create_with(kinds(1_000), &history)
        .expect("made");
    assert_eq!(copy.trial().expect("read"), points.trial().expect("read"));
    let answer = copy
        .interleave(Query::like("500"), 10, Some("ann"))
        .expect("an answer");
    assert_eq!(
        answer,
        points
            .interleave(Query::like("500"), 10, Some("ann"))
            .expect("an answer")
    );
    assert!(
        matches!(copy.start_trial(1, None), Err(Error::Invalid(why)) if why.contains("3 contests held"))
    );
    assert_eq!(
        copy.end_trial().expect("ended").expect("it").verdict,
        Verdict::Ended
    );
    assert!(store.verify().expect("verified").problems.is_empty());

    for forge in [
        |h: &mut History| h.next_version = u32::MAX,
        |h: &mut History| h.next_judgement = u64::MAX,
    ] {
        let mut forged = history.clone();
        forge(&mut forged);
        let made = store
            .collection("forged")
            .dim(8)
            .create_with(kinds(1_000), &forged);
        assert!(matches!(made, Err(Error::Invalid(_))), "{made:?}");
    }
}

#[test]
fn a_judge_who_counts_for_nothing_takes_nobodys_share() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
    for user in ["ann", "ben"] {
        judge_answers(
            &points,
            if user == "ann" { 0..30 } else { 30..60 },
            Some(user),
        );
    }
    // A source that says the opposite of what people say is worth nothing.
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
fn forged_trials_are_not_taken_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = points(dir.path());
    judge_answers(&points, 0..40, None);
    for _ in 0..2 {
        points.refit().force(true).run().expect("a version");
    }
    points.promote(0).expect("back");
    points.start_trial(1, None).expect("a trial");
    let history = points.history().expect("read");
    let trial: Vec<(String, f64)> = history.versions[0]
        .version
        .parameters
        .clone()
        .into_iter()
        .collect();
    let forgeries = [
        ("trial_wins", 1e18),
        ("trial_alpha", 1e9),
        ("trial_champion", 77.0),
        ("trial_start", 1e9),
    ];
    for (name, value) in forgeries {
        let mut forged = history.clone();
        assert!(
            forged.versions[0]
                .version
                .parameters
                .insert(name.into(), value)
                .is_some(),
            "{name}"
        );
        let made = store
            .collection("forged")
            .dim(8)
            .create_with(kinds(1_000), &forged);
        assert!(
            matches!(made, Err(Error::InvalidVersion { version: 1, .. })),
            "{name}: {made:?}"
        );
    }
    let mut twice = history.clone();
    twice.versions[1].version.parameters.extend(
        trial
            .into_iter()
            .filter(|(name, _)| name.starts_with("trial_")),
    );
    assert!(
        store
            .collection("forged")
            .dim(8)
            .create_with(kinds(1_000), &twice)
            .is_err()
    );
    assert!(
        store
            .collection("whole")
            .dim(8)
            .create_with(kinds(1_000), &history)
            .is_ok()
    );
}

#[test]
fn what_had_a_say_in_the_weights_is_forgotten_like_what_was_learned_from() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
    judge_answers(&points, 0..40, None);
    let said = points.judgements().expect("read");
    // What bob reports of the same answers is wrong every time, so that no click counts: he is
    // heard, and not learned from.
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
    assert_eq!((forgotten.removed, forgotten.withdrawn), (60, vec![1]));
}

#[test]
fn a_forgotten_person_has_no_metric_and_no_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = points(dir.path());
    judge_answers(&points, 0..40, Some("ann"));
    points
        .refit()
        .user("ann")
        .force(true)
        .run()
        .expect("her own");
    // Her judgements go before she does.
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

#[test]
fn a_dot_collection_asks_too_and_its_gate_compares_with_the_dot_product() {
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
