//! Trials of two metrics by interleaved answers and clicks.

use affinis::{
    Collection, Error, Judgement, JudgementId, Query, Source, VersionId,
    learning::{Forget, History, Team, TrialRecord, Verdict},
};
use affinis_testkit::kinds::{judge_answers, kind, kinds, open, store_of_kinds};

/// Asks for an interleaved answer and clicks on every hit of the query's kind.
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
fn clicks_decide_a_trial_also_across_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..60, None);
    points.refit().force(true).run().expect("version 1");
    points.promote(VersionId(0)).expect("back");
    assert!(matches!(
        points.interleave(Query::like("1"), 10, None),
        Err(Error::InvalidQuery(_))
    ));
    assert!(matches!(
        points.start_trial(VersionId(7)).run(),
        Err(Error::UnknownVersion {
            version: VersionId(7),
            ..
        })
    ));
    assert!(matches!(
        points.start_trial(VersionId(1)).alpha(0.0).run(),
        Err(Error::InvalidSetting { .. })
    ));
    points
        .start_trial(VersionId(1))
        .alpha(0.1)
        .run()
        .expect("a trial");
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
    // Neither a second click on an answer nor one on another answer is counted.
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
        (Verdict::Promoted, VersionId(1)),
        "{trial:?}"
    );
    assert!(trial.evidence >= 10.0 && trial.wins > trial.losses);
}

#[test]
fn contests_stay_counted_when_what_was_shown_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..60, None);
    points.refit().force(true).run().expect("version 1");
    points.promote(VersionId(0)).expect("back");
    points.start_trial(VersionId(1)).run().expect("a trial");
    (500..503).for_each(|query| click(&points, query));
    let before = points.trial().expect("read").expect("a trial");
    assert_eq!(before.wins + before.losses + before.ties, 3);
    let clicked = points.judgements().expect("read");
    let clicked = clicked
        .iter()
        .rev()
        .find_map(|given| match &given.judgement.subject {
            affinis::Subject::Graded { item, .. } => Some(item.clone()),
            _ => None,
        });
    let clicked = clicked.expect("a clicked item");
    points
        .add([affinis::Item::vector(&clicked, vec![9.0; 8])])
        .expect("replaced");
    // The click teaches no longer, and the contest that it decided stays.
    assert!(!points.stale_judgements().expect("read").is_empty());
    assert_eq!(points.trial().expect("read"), Some(before));
}

#[test]
fn a_trial_ends_when_a_metric_is_promoted_or_its_clicks_are_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = store_of_kinds(dir.path());
    for queries in [0..60, 60..70] {
        judge_answers(&points, queries, None);
        points.refit().force(true).run().expect("a version");
    }
    points.promote(VersionId(0)).expect("back");
    points.start_trial(VersionId(1)).run().expect("a trial");
    points.promote(VersionId(2)).expect("promoted");
    assert_eq!(
        points.trial().expect("read").expect("the last").verdict,
        Verdict::Ended
    );
    points.promote(VersionId(0)).expect("back");
    points.start_trial(VersionId(2)).run().expect("a trial");
    (500..505).for_each(|query| click(&points, query));
    points
        .forget(&Forget::User("ann".into()))
        .expect("forgotten");
    let trial = points.trial().expect("read").expect("the last");
    assert_eq!(
        (trial.verdict, trial.wins, trial.losses, trial.ties),
        (Verdict::Ended, 0, 0, 0)
    );
    points.start_trial(VersionId(1)).run().expect("another");
    assert_eq!(
        points.end_trial().expect("ended").expect("it").verdict,
        Verdict::Ended
    );
    assert_eq!(points.end_trial().expect("nothing"), None);
}

#[test]
fn an_imported_trial_continues_and_forged_counters_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = store_of_kinds(dir.path());
    judge_answers(&points, 0..40, None);
    points.refit().force(true).run().expect("version 1");
    points.promote(VersionId(0)).expect("back");
    points.start_trial(VersionId(1)).run().expect("a trial");
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
        matches!(copy.start_trial(VersionId(1)).run(), Err(error @ Error::TrialRunning { contests: 3, .. }) if error.to_string().contains("3 contests held"))
    );
    assert_eq!(
        copy.end_trial().expect("ended").expect("it").verdict,
        Verdict::Ended
    );
    assert!(store.verify().expect("verified").problems.is_empty());

    for forge in [
        |h: &mut History| h.next_version = VersionId(u32::MAX),
        |h: &mut History| h.next_judgement = JudgementId(u64::MAX),
    ] {
        let mut forged = history.clone();
        forge(&mut forged);
        let made = store
            .collection("forged")
            .dim(8)
            .create_with(kinds(1_000), &forged);
        assert!(
            matches!(made, Err(Error::HistoryNumbers { .. })),
            "{made:?}"
        );
    }
}

#[test]
fn forged_trials_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = store_of_kinds(dir.path());
    for queries in [0..40, 40..50] {
        judge_answers(&points, queries, None);
        points.refit().force(true).run().expect("a version");
    }
    points.promote(VersionId(0)).expect("back");
    points.start_trial(VersionId(1)).run().expect("a trial");
    let history = points.history().expect("read");
    let trial = history.versions[0].version.trial.expect("a trial");
    let forge = |change: &dyn Fn(&mut TrialRecord)| {
        let mut forged = trial;
        change(&mut forged);
        forged
    };
    let forgeries = [
        (
            "wins",
            forge(&|trial| trial.wins = 1_000_000_000_000_000_000),
        ),
        ("alpha", forge(&|trial| trial.alpha = 1e9)),
        ("champion", forge(&|trial| trial.champion = VersionId(77))),
        (
            "start",
            forge(&|trial| trial.start = JudgementId(1_000_000_000)),
        ),
    ];
    for (name, trial) in forgeries {
        let mut forged = history.clone();
        forged.versions[0].version.trial = Some(trial);
        let made = store
            .collection("forged")
            .dim(8)
            .create_with(kinds(1_000), &forged);
        assert!(
            matches!(
                made,
                Err(Error::InvalidVersion {
                    version: VersionId(1),
                    ..
                })
            ),
            "{name}: {made:?}"
        );
    }
    let mut twice = history.clone();
    twice.versions[1].version.trial = Some(trial);
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
