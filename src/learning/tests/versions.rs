//! Versions: promotion, rollback, comparison, import, trials, and the carrying of a history.

use super::*;
use crate::learning::{Interleaved, Trial};
use crate::model::Verdict;

#[test]
fn versions_are_promoted_rolled_back_compared_and_imported() {
    let lab = Lab::new();
    let learned = lab.learn_shape();
    let matrix = lab.learning.metric_matrix(learned).unwrap();
    assert!(matrix[[0, 0]] > 10.0 * matrix[[2, 2]], "{matrix}");
    let imported = lab.import([0.5, 0.5, 1.5, 1.5]);
    assert_eq!(
        (imported, lab.learning.active(None)),
        (VersionId(2), learned)
    );
    assert_eq!(lab.learning.metric(imported).unwrap().learner, "import");
    lab.learning.promote(imported).unwrap();
    assert_eq!(lab.engine.served(), imported);
    assert!(lab.precision(Taste::Colour, None) > 0.9);
    assert_eq!(lab.learning.rollback(None).unwrap(), learned);
    assert_eq!(lab.learning.rollback(None).unwrap(), VersionId::BUILT_IN);
    assert_eq!(lab.engine.served(), VersionId::BUILT_IN);
    let nothing = lab.learning.rollback(None);
    assert!(matches!(nothing, Err(Error::NothingToRollBack)));

    let comparison = lab.learning.diff(VersionId::BUILT_IN, imported).unwrap();
    assert!(
        (comparison.factors[0] - 0.5).abs() < 1e-12,
        "{comparison:?}"
    );
    let expected = (2.0 * 0.5_f64.ln().powi(2) + 2.0 * 1.5_f64.ln().powi(2)).sqrt();
    assert!((comparison.distance - expected).abs() < 1e-12);
    let shape = ndarray::Array2::<f64>::eye(DIM + 1);
    let refused = lab.learning.import_metric(shape.view(), None);
    assert!(matches!(refused, Err(Error::MatrixShape { .. })));
    let full = ndarray::Array2::<f64>::ones((DIM, DIM));
    let refused = lab.learning.import_metric(full.view(), None);
    assert!(matches!(refused, Err(Error::Learn(_))));
    let unknown = lab.learning.promote(VersionId(9));
    assert!(matches!(unknown, Err(Error::UnknownVersion { .. })));
}

#[test]
fn neighbours_change_between_metrics_and_not_within_one() {
    let lab = Lab::new();
    let learned = lab.learn_shape();
    let compare = |a, b| lab.learning.diff_neighbours(a, b).sample(50).k(12).run();
    let same = compare(learned, learned).unwrap();
    assert_eq!((same.kept, same.queries.len()), (1.0, 50));
    assert!(
        same.queries
            .iter()
            .all(|q| q.gone.is_empty() && q.come.is_empty())
    );
    let changed = compare(VersionId::BUILT_IN, learned).unwrap();
    assert!(changed.kept < 0.8, "{}", changed.kept);
    let come = changed.queries.iter().map(|q| q.come.len());
    assert!(come.clone().rev().is_sorted() && come.max() > Some(3));
    for query in &changed.queries {
        let alike = |id: &String| Taste::Shape.alike(number(&query.query), number(id));
        assert!(query.come.iter().all(alike), "{query:?}");
    }
}

/// Clicks on all answers of a trial's query that are alike by their shape.
fn click(lab: &Lab, query: usize) -> Interleaved {
    let query_id = Query::like(id(query));
    let answer = lab.learning.interleave(&query_id, 20, Some("u")).unwrap();
    let alike = answer
        .ids
        .iter()
        .filter(|id| Taste::Shape.alike(query, number(id)));
    let clicks = alike.map(|item| {
        Judgement::relevant(query_id.clone(), item)
            .source(Source::Click)
            .user("u")
            .shown(&answer.ids)
    });
    lab.learning.judge(&clicks.collect::<Vec<_>>()).unwrap();
    answer
}

/// Clicks until the running trial is decided, or on every item.
fn click_until_decided(lab: &Lab) -> Trial {
    for query in 0..ITEMS {
        click(lab, query);
        let trial = lab.learning.trial().unwrap().unwrap();
        if trial.verdict != Verdict::Running {
            return trial;
        }
    }
    panic!("not decided");
}

#[test]
fn clicks_promote_a_better_metric_and_refuse_a_worse_one() {
    let lab = Lab::new();
    let better = lab.import([1.9, 1.9, 0.1, 0.1]);
    let worse = lab.import([0.1, 0.1, 1.9, 1.9]);
    let no_trial = lab.learning.interleave(&Query::like("item-0"), 5, None);
    assert!(matches!(no_trial, Err(Error::InvalidQuery(_))));
    lab.learning.start_trial(better).run().unwrap();
    let trial = click_until_decided(&lab);
    assert_eq!(
        (trial.verdict, trial.challenger),
        (Verdict::Promoted, better)
    );
    assert!(trial.wins > 5 && trial.losses == 0 && trial.evidence >= 20.0);
    assert_eq!(
        (lab.learning.active(None), lab.engine.served()),
        (better, better)
    );
    assert!(lab.precision(Taste::Shape, None) > 0.99);

    lab.learning.start_trial(worse).alpha(0.01).run().unwrap();
    let trial = click_until_decided(&lab);
    assert_eq!((trial.verdict, trial.champion), (Verdict::Refused, better));
    assert_eq!(lab.learning.active(None), better);
}

#[test]
fn a_trial_goes_on_when_it_is_opened_again_and_ends_undecided() {
    let lab = Lab::new();
    let challenger = lab.import([1.9, 1.9, 0.1, 0.1]);
    lab.learning.start_trial(challenger).run().unwrap();
    let answer = click(&lab, 0);
    let twice = lab
        .learning
        .interleave(&Query::like("item-0"), 20, Some("u"));
    assert_eq!(twice.unwrap(), answer, "the same query is answered alike");
    let counted = lab.learning.trial().unwrap();
    assert_eq!(
        counted.as_ref().map(|trial| trial.wins + trial.losses),
        Some(1)
    );
    let lab = Lab::on(lab.engine.clone());
    assert_eq!(lab.learning.trial().unwrap(), counted);
    click(&lab, 0);
    assert_eq!(
        lab.learning.trial().unwrap(),
        counted,
        "a contest counts once"
    );
    let ended = lab.learning.end_trial().unwrap().unwrap();
    assert_eq!((ended.verdict, ended.wins), (Verdict::Ended, 1));
    assert_eq!(lab.learning.active(None), VersionId::BUILT_IN);
    assert_eq!(lab.learning.end_trial().unwrap(), None);
}

#[test]
fn a_history_answers_alike_elsewhere_and_only_where_there_is_none() {
    let lab = Lab::new();
    promoted({
        lab.judge(0..20, Taste::Shape, None);
        lab.learning.refit()
    })
    .unwrap();
    lab.judge(20..50, Taste::Colour, Some("ann"));
    promoted(lab.learning.refit().user("ann").rank(1)).unwrap();
    let text = Judgement::relevant("1 2 3 4", "item-7");
    lab.learning.judge(&[text]).unwrap();
    let history = lab.learning.history().unwrap();
    assert_eq!((history.judgements.len(), history.versions.len()), (301, 2));
    assert_eq!(history.texts["1 2 3 4"], [1.0, 2.0, 3.0, 4.0]);

    let other = Lab::new();
    other.learning.restore(&history).unwrap();
    assert_eq!(other.learning.history().unwrap(), history);
    assert_eq!(other.engine.served(), 1);
    assert_eq!(other.engine.encoded(), 0);
    for (taste, user) in [(Taste::Shape, None), (Taste::Colour, Some("ann"))] {
        assert_eq!(other.precision(taste, user), lab.precision(taste, user));
    }
    let again = other.learning.restore(&history);
    assert!(matches!(again, Err(Error::HistoryExists { .. })));
    let third = Lab::new();
    let mut wrong = history.clone();
    wrong.versions[1].metric.truncate(9);
    let refused = third.learning.restore(&wrong);
    assert!(
        matches!(refused, Err(Error::InvalidVersion { .. })),
        "{refused:?}"
    );
    assert_eq!(third.learning.judgements().unwrap(), [], "all or nothing");
}

#[test]
fn a_metric_that_cannot_be_read_leaves_the_rest_in_use() {
    let lab = Lab::new();
    let learned = lab.learn_shape();
    lab.engine.put_metric(learned, vec![0, 1, 2]);
    let lab = Lab::on(lab.engine.clone());
    assert_eq!(lab.learning.active(None), learned);
    let active = lab.learning.choose(MetricChoice::Active, None);
    assert!(matches!(active, Err(Error::Damaged { .. })));
    assert!(lab.learning.choose(MetricChoice::BuiltIn, None).is_ok());
    assert_eq!(lab.learning.rollback(None).unwrap(), VersionId::BUILT_IN);
}
