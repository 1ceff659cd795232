//! How much words count in hybrid searches is learned from judgements, belongs to a version, and
//! shows in explanations and measures.

use std::collections::BTreeMap;

use affinis::learning::{EvalQuery, Forget};
use affinis::{
    Collection, Error, Item, Judgement, Language, MetricChoice, Query, RankBy, Store, VersionId,
};
use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::WordCounts;

const DIM: usize = 8;
const ITEMS: usize = 500;
const WORDS: usize = 40;

fn store(dir: &std::path::Path) -> Store {
    Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir)
        .unwrap()
}

/// Items whose vectors say nothing of their texts, of three words each.
fn collection(store: &Store) -> Collection {
    let mut random = fastrand::Rng::with_seed(3);
    let collection = store
        .collection("c")
        .encoder(WordCounts::new(DIM, "counts"))
        .keywords(Language::Simple)
        .open_or_create()
        .unwrap();
    let items = (0..ITEMS).map(|i| {
        let vector: Vec<f32> = (0..DIM).map(|_| random.f32()).collect();
        let words: Vec<String> = (0..3).map(|_| word(random.usize(..WORDS))).collect();
        Item::vector(format!("i{i}"), vector).with_text(words.join(" "))
    });
    collection.add(items.collect::<Vec<_>>()).unwrap();
    collection
}

fn word(number: usize) -> String {
    format!("word{number}x")
}

/// For each of a number of one-word queries the ids of items: of its nearest, and of those that hold
/// the word and are not among them.
fn found(collection: &Collection, queries: usize) -> Vec<(String, Vec<String>, Vec<String>)> {
    let queries = (0..queries).map(|q| {
        let query = word(q);
        let near = collection.search(query.as_str()).k(5).run().unwrap();
        let near: Vec<String> = near.iter().map(|hit| hit.id.clone()).collect();
        let holding = collection.search(query.as_str()).words_only().k(12).run();
        let holding = holding.unwrap();
        let holding = holding.iter().map(|hit| hit.id.clone());
        let holding = holding.filter(|id| !near.contains(id)).take(5).collect();
        (query, near, holding)
    });
    queries.collect()
}

/// Judges the nearest items and those that hold the word; the latter are relevant, or the former.
fn judge(collection: &Collection, queries: usize, words_are_right: bool) {
    let mut judgements = Vec::new();
    for (query, near, holding) in found(collection, queries) {
        let (right, wrong) = if words_are_right {
            (holding, near)
        } else {
            (near, holding)
        };
        let right = right
            .iter()
            .map(|id| Judgement::relevant(query.as_str(), id));
        let wrong = wrong
            .iter()
            .map(|id| Judgement::irrelevant(query.as_str(), id));
        judgements.extend(right.chain(wrong));
    }
    collection.judge_all(judgements).unwrap();
}

/// The weight of words that scores of a query show, under a metric.
fn weight(collection: &Collection, metric: MetricChoice) -> f64 {
    let query = word(1);
    let hits = collection
        .search(query.as_str())
        .hybrid()
        .metric(metric)
        .k(60)
        .run()
        .unwrap();
    let id = &hits
        .iter()
        .find(|hit| hit.keyword_score.is_some())
        .unwrap()
        .id;
    let explained = collection.explain(query.as_str(), id.as_str());
    let words = explained.metric(metric).run().unwrap().words.unwrap();
    let hit = hits.iter().find(|hit| hit.id == *id).unwrap();
    // The scale of an explanation is that of the candidates of a search.
    let score = f64::from(words.shares.closeness) + words.weight * f64::from(words.shares.words);
    assert!(
        (f64::from(hit.score) - score).abs() < 1e-3,
        "{hit:?} {words:?}"
    );
    assert_eq!(words.hybrid_rank, Some(hit.rank));
    words.weight
}

#[test]
fn words_that_are_right_count_more_and_go_back_with_the_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = collection(&store);
    assert_eq!(weight(&collection, MetricChoice::Active), 2.0);
    judge(&collection, 30, true);
    let report = collection.refit().dry_run(true).run().unwrap();
    assert!(report.fusion.unwrap().gate.accepted);
    assert_eq!(
        weight(&collection, MetricChoice::Active),
        2.0,
        "a dry run changes nothing"
    );

    let report = collection.refit().force(true).run().unwrap();
    let fusion = report.fusion.unwrap();
    assert!(fusion.gate.accepted && fusion.words > 2.0, "{fusion:?}");
    assert!(fusion.gate.lower_bound.unwrap() > 0.0);
    assert_eq!(
        fusion.under, None,
        "it holds under the version that it came with"
    );
    let version = report.version.unwrap();
    assert_eq!(weight(&collection, MetricChoice::Active), fusion.words);
    assert_eq!(weight(&collection, MetricChoice::BuiltIn), 2.0);
    let stored = collection.metrics().unwrap();
    let stored = stored.into_iter().find(|stored| stored.version == version);
    assert_eq!(stored.unwrap().fusion.as_ref(), Some(&fusion));
    // The answers are better: by each measure, for questions of the same kind that nobody judged.
    let unseen: Vec<EvalQuery> = found(&collection, WORDS)[30..]
        .iter()
        .map(|(query, _, holding)| EvalQuery::new(query.as_str(), holding.clone()))
        .collect();
    let metrics = [MetricChoice::BuiltIn, MetricChoice::Active];
    let by = |ranking| {
        collection
            .evaluate_by(ranking, &unseen, 10, &metrics)
            .unwrap()
    };
    let (meaning, hybrid) = (by(RankBy::Meaning), by(RankBy::Hybrid));
    let ndcg =
        |evaluation: &affinis::learning::Evaluation, row: usize| evaluation.rows[row].ndcg.mean;
    assert!(ndcg(&hybrid, 1) > ndcg(&hybrid, 0), "{hybrid:?}");
    assert!(ndcg(&hybrid, 0) > ndcg(&meaning, 0));
    assert!(ndcg(&by(RankBy::Words), 0) > 0.6);

    drop(collection);
    let collection = store
        .collection("c")
        .encoder(WordCounts::new(DIM, "counts"))
        .open()
        .unwrap();
    assert_eq!(weight(&collection, MetricChoice::Active), fusion.words);
    collection.rollback(Some(VersionId::BUILT_IN)).unwrap();
    assert_eq!(weight(&collection, MetricChoice::Active), 2.0);
    collection.promote(version).unwrap();
    assert_eq!(weight(&collection, MetricChoice::Active), fusion.words);
    let all = collection
        .judgements()
        .unwrap()
        .into_iter()
        .map(|stored| stored.id);
    collection
        .forget(&Forget::Judgements(all.collect()))
        .unwrap();
    assert_eq!(
        weight(&collection, MetricChoice::Active),
        2.0,
        "nothing of it acts any more"
    );
}

#[test]
fn words_that_mislead_count_less_under_the_metric_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = collection(&store);
    judge(&collection, 30, false);
    let report = collection.refit().run().unwrap();
    let fusion = report.fusion.clone().unwrap();
    assert!(fusion.gate.accepted && fusion.words < 2.0, "{fusion:?}");
    let expected = if report.promoted {
        None
    } else {
        Some(report.parent)
    };
    assert_eq!(fusion.under, expected);
    assert_eq!(weight(&collection, MetricChoice::Active), fusion.words);
    // Nothing new was said: the same version, and the same weight.
    let again = collection.refit().run().unwrap();
    assert!(!again.fusion.unwrap().gate.accepted);
    assert_eq!(weight(&collection, MetricChoice::Active), fusion.words);
}

#[test]
fn a_coin_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = collection(&store);
    let mut random = fastrand::Rng::with_seed(5);
    let mut judgements = Vec::new();
    for (query, near, holding) in found(&collection, WORDS) {
        for id in near.iter().chain(&holding) {
            judgements.push(if random.bool() {
                Judgement::relevant(query.as_str(), id)
            } else {
                Judgement::irrelevant(query.as_str(), id)
            });
        }
    }
    collection.judge_all(judgements).unwrap();
    let fusion = collection.refit().run().unwrap().fusion.unwrap();
    assert!(!fusion.gate.accepted, "{fusion:?}");
    assert_eq!(weight(&collection, MetricChoice::Active), 2.0);
}

#[test]
fn few_queries_and_no_keywords_leave_the_weight_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = collection(&store);
    judge(&collection, 5, true);
    let fusion = collection.refit().run().unwrap().fusion.unwrap();
    assert!(
        !fusion.gate.accepted && fusion.gate.reason.contains("too few"),
        "{fusion:?}"
    );
    assert_eq!(fusion.gate.lower_bound, None);
    collection.set_keywords(None).unwrap();
    assert_eq!(collection.refit().run().unwrap().fusion, None);
    let query = EvalQuery::new(word(1), ["i1"]);
    let refused = collection.evaluate_by(RankBy::Hybrid, &[query], 10, &[MetricChoice::Active]);
    assert!(
        matches!(refused, Err(Error::InvalidQuery(reason)) if reason.contains("keyword search is off"))
    );
    let explained = collection.explain(word(1), "i1").run().unwrap();
    assert_eq!(explained.words, None);
}

#[test]
fn a_stored_item_is_a_query_of_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = collection(&store);
    let text = collection.get("i7").unwrap().unwrap().text.unwrap();
    let scores = |hits: affinis::Hits| -> BTreeMap<String, f32> {
        let scores = hits.iter().map(|hit| (hit.id.clone(), hit.score));
        scores.filter(|(id, _)| id != "i7").collect()
    };
    let by_item = collection
        .search(Query::like("i7"))
        .words_only()
        .k(100)
        .run()
        .unwrap();
    assert!(by_item.iter().all(|hit| hit.id != "i7"));
    let by_text = collection
        .search(text.as_str())
        .words_only()
        .k(101)
        .run()
        .unwrap();
    let (by_item, by_text) = (scores(by_item), scores(by_text));
    assert!(by_item.len() > 20);
    assert!(
        by_item
            .iter()
            .all(|(id, score)| by_text.get(id) == Some(score))
    );
    let both = collection.search(Query::like("i7")).hybrid().run().unwrap();
    assert!(
        both.iter().all(|hit| hit.id != "i7") && both.iter().any(|hit| hit.keyword_score.is_some())
    );

    let why = collection
        .explain(Query::like("i7"), both[0].id.as_str())
        .run()
        .unwrap();
    let words = why.words.unwrap();
    assert_eq!(words.hybrid_rank, Some(1));
    let sum: f32 = words.found.iter().map(|found| found.score).sum();
    assert!(
        (sum - both[0].keyword_score.unwrap_or_default()).abs() < 1e-4,
        "{words:?}"
    );
    assert!(words.found.iter().all(|found| text.contains(&found.words)));

    collection.add([Item::vector("bare", [0.5; DIM])]).unwrap();
    let refused = collection.search(Query::like("bare")).hybrid().run();
    assert!(matches!(refused, Err(Error::InvalidQuery(reason)) if reason.contains("no text")));
    let refused = collection.search(vec![0.5; DIM]).hybrid().run();
    assert!(matches!(refused, Err(Error::InvalidQuery(reason)) if reason.contains("neither")));
    let operators = collection
        .explain(r#"+word1x "word2x word3x" -word4x"#, "i1")
        .run()
        .unwrap();
    let found = operators.words.unwrap().found;
    assert!(
        found.iter().all(|found| !found.words.starts_with('-')),
        "{found:?}"
    );
}
