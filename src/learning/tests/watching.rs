//! What watches over learning: evaluation, explanations, drift; and judgements that nobody gave.

use serde_json::json;

use super::*;
use crate::learning::{EvalQuery, Weak, WeakItem};
use crate::model::RankBy;

#[test]
fn an_evaluation_measures_what_a_metric_gains() {
    let lab = Lab::new();
    lab.learn_shape();
    let query = |q: usize| {
        let relevant = (0..ITEMS).filter(|x| Taste::Shape.alike(q, *x)).map(id);
        EvalQuery::new(Query::like(id(q)), relevant)
    };
    let queries: Vec<EvalQuery> = (50..80).map(query).collect();
    let metrics = [MetricChoice::BuiltIn, MetricChoice::Active];
    let evaluation = lab
        .learning
        .evaluate(&queries, 20, &metrics, RankBy::Meaning)
        .unwrap();
    let [before, after] = &evaluation.rows[..] else {
        panic!("{evaluation:?}");
    };
    assert_eq!(
        (before.metric, after.metric),
        (VersionId::BUILT_IN, VersionId(1))
    );
    assert!(before.precision.high < 0.8 && after.precision.low > 0.98);
    assert!(after.map.mean > before.map.mean + 0.1);
    // 29 items are alike beside the query itself.
    assert!((after.recall.mean - 20.0 / 29.0).abs() < 0.01);
    let nothing = EvalQuery::new(Query::like("item-0"), vec!["item-0".to_owned()]);
    let measured = lab
        .learning
        .evaluate(&[nothing], 20, &metrics, RankBy::Meaning)
        .unwrap();
    assert_eq!(measured.rows[0].recall.mean, 0.0, "as in trec_eval");
    let negative = [("item-1", 1.0)];
    let mut negative = EvalQuery::graded(Query::like("item-0"), negative, None);
    negative.gains.insert("item-2".to_owned(), -1.0);
    let refused = lab
        .learning
        .evaluate(&[negative], 20, &metrics, RankBy::Meaning);
    assert!(matches!(refused, Err(Error::InvalidQuery(_))));
}

#[test]
fn an_explanation_names_ranks_and_the_judgements_that_moved_the_item() {
    let lab = Lab::new();
    let learned = lab.learn_shape();
    let explain = |lab: &Lab| {
        lab.learning
            .explain(Query::like("item-0"), id(44))
            .run()
            .unwrap()
    };
    let why = explain(&lab);
    assert_eq!(why.metric, learned);
    assert!(
        why.rank < why.euclidean_rank && why.rank.is_some(),
        "{why:?}"
    );
    let parts: f64 = why.directions.iter().map(|d| d.contribution).sum();
    assert!((parts - why.distance).abs() < 1e-9 && why.distance < why.euclidean);
    let strongest = &why.judgements[0];
    assert!(
        why.judgements
            .iter()
            .all(|j| j.influence.abs() <= strongest.influence.abs())
    );

    let without = Lab::new();
    for stored in lab.learning.judgements().unwrap() {
        if stored.id != strongest.judgement {
            without.learning.judge(&[stored.judgement]).unwrap();
        }
    }
    promoted(without.learning.refit()).unwrap();
    let moved = why.distance - explain(&without).distance;
    assert!((strongest.influence - moved).abs() < 1e-9 && moved != 0.0);
}

#[test]
fn drift_lists_the_refits_and_alarms_when_answers_get_worse() {
    let lab = Lab::new();
    let rated = |queries: std::ops::Range<usize>, relevant: usize| {
        let judgements = queries.flat_map(|q| {
            let others = (0..ITEMS).filter(move |x| *x != q);
            let (alike, unlike) = others.partition::<Vec<_>, _>(|x| Taste::Shape.alike(q, *x));
            let good = alike.into_iter().take(relevant).map(|x| (x, 1.0));
            let bad = unlike.into_iter().take(6 - relevant).map(|x| (x, -1.0));
            let rate = move |(x, grade)| Judgement::graded(Query::like(id(q)), id(x), grade);
            good.chain(bad).map(rate).collect::<Vec<_>>()
        });
        lab.learning.judge(&judgements.collect::<Vec<_>>()).unwrap();
    };
    rated(0..15, 5);
    let learned = promoted(lab.learning.refit()).unwrap();
    let drift = lab.learning.drift().unwrap();
    assert_eq!((drift.refits.len(), drift.alarms.len()), (1, 0));
    assert_eq!(
        (drift.refits[0].version, drift.refits[0].accepted),
        (learned, true)
    );
    assert!(
        drift.refits[0]
            .distance
            .is_some_and(|distance| distance > 1.0)
    );
    rated(15..30, 1);
    let drift = lab.learning.drift().unwrap();
    assert_eq!(drift.alarms.len(), 1, "{:?}", drift.alarms);
    assert!(drift.alarms[0].contains("17 %") && drift.alarms[0].contains("83 %"));
    // What speaks of other contents than the items hold says nothing about today's answers.
    lab.engine.change((15..30).map(id));
    assert_eq!(lab.learning.drift().unwrap().alarms.len(), 0);
    lab.engine.change([]);
    assert_eq!(lab.learning.drift().unwrap(), drift);
}

#[test]
fn weak_judgements_weigh_less_and_teach_what_their_field_says() {
    let lab = Lab::new();
    let read = |id: &str| {
        Ok(Some(WeakItem {
            text: Some(format!("{0} {0} {0} {0}", number(id))),
            meta: json!({"shape": number(id) % 4}),
        }))
    };
    let make = |weak: &Weak, seed| {
        let all = (0..ITEMS).map(id).collect();
        lab.learning
            .weak_judgements(weak, all, &read, 300, seed)
            .unwrap()
    };
    let field = Weak::Field("shape".to_owned());
    let made = make(&field, 1);
    assert_eq!(made, make(&field, 1));
    assert_ne!(made, make(&field, 2));
    assert!(
        made.iter()
            .all(|judgement| judgement.source == Source::Proxy)
    );
    lab.learning.judge(&made).unwrap();
    let report = lab.learning.refit().force(true).run().unwrap();
    assert!(lab.precision(Taste::Shape, None) > 0.95);
    let version = lab.learning.metric(report.version.unwrap()).unwrap();
    let weight = version.source_weights.unwrap().proxy;
    assert!(weight > 0.0 && weight < 1.0, "{weight}");
    let halves = make(&Weak::Halves, 1);
    assert!(halves.len() > 100 && halves[0].graded_item().is_some());
}
