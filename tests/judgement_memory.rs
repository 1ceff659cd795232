//! What was judged of a question shows in its answer: at once, for whom it should, and no longer than
//! the judgements are there.

use affinis::learning::{Forget, Weak};
use affinis::{Collection, Error, Hits, Item, Judgement, MetricChoice, Query, Store, VersionId};
use affinis_mahalanobis::Mahalanobis;
use serde_json::json;

const DIM: usize = 12;
const ITEMS: usize = 400;

fn vector(random: &mut fastrand::Rng) -> Vec<f32> {
    (0..DIM).map(|_| random.f32() - 0.5).collect()
}

fn store(dir: &std::path::Path) -> Store {
    Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir)
        .unwrap()
}

/// A collection of random items, and queries near none of each other.
fn collection(store: &Store) -> (Collection, Vec<Vec<f32>>) {
    let mut random = fastrand::Rng::with_seed(7);
    let collection = store.collection("c").dim(DIM).open_or_create().unwrap();
    let items: Vec<Item> = (0..ITEMS)
        .map(|i| Item::vector(format!("i{i}"), vector(&mut random)))
        .collect();
    collection.add(items).unwrap();
    let queries = (0..30).map(|_| vector(&mut random)).collect();
    (collection, queries)
}

fn ids(hits: &Hits) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

fn rank(hits: &Hits, id: &str) -> usize {
    hits.iter()
        .find(|hit| hit.id == id)
        .map_or(usize::MAX, |hit| hit.rank)
}

fn ask(collection: &Collection, query: &[f32]) -> Hits {
    collection.search(query.to_vec()).k(40).run().unwrap()
}

/// Judges the hits at ranks 4 to 6 relevant and the first three irrelevant.
fn judge(collection: &Collection, query: &[f32], user: Option<&str>) -> (Vec<String>, Vec<String>) {
    let hits = ask(collection, query);
    let of = |ranks: std::ops::Range<usize>| -> Vec<String> {
        hits[ranks].iter().map(|hit| hit.id.clone()).collect()
    };
    let (bad, good) = (of(0..3), of(3..6));
    let judged = |judgement: Judgement| match user {
        Some(user) => judgement.user(user),
        None => judgement,
    };
    let good_ones = good
        .iter()
        .map(|id| judged(Judgement::relevant(query.to_vec(), id)));
    let bad_ones = bad
        .iter()
        .map(|id| judged(Judgement::irrelevant(query.to_vec(), id)));
    collection.judge_all(good_ones.chain(bad_ones)).unwrap();
    (good, bad)
}

#[test]
fn an_answer_remembers_at_once_and_its_distances_stay_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (collection, queries) = collection(&store);
    let before = ask(&collection, &queries[0]);
    let of_another = ask(&collection, &queries[1]);
    assert!(before.iter().all(|hit| hit.memory.is_none()));
    let (good, bad) = judge(&collection, &queries[0], None);

    let after = ask(&collection, &queries[0]);
    let last_good = good.iter().map(|id| rank(&after, id)).max().unwrap();
    let first_bad = bad.iter().map(|id| rank(&after, id)).min().unwrap();
    assert!(last_good < first_bad, "{:?}", ids(&after));
    let mut last = f32::NEG_INFINITY;
    for hit in &after {
        let item = collection.get(&hit.id).unwrap().unwrap().vector.unwrap();
        let pairs = item.iter().zip(&queries[0]);
        let distance: f32 = pairs.map(|(x, q)| (x - q).powi(2)).sum();
        assert!(
            (hit.distance - distance).abs() < 1e-5,
            "{hit:?} is at {distance}"
        );
        let ordered_by = hit.distance - hit.memory.unwrap();
        assert!(ordered_by >= last - 1e-5, "{:?}", ids(&after));
        last = ordered_by;
    }
    assert!(
        after
            .iter()
            .zip(after.iter().skip(1))
            .all(|(a, b)| a.score >= b.score)
    );
    assert!(
        after
            .iter()
            .find(|hit| hit.id == good[0])
            .unwrap()
            .memory
            .unwrap()
            > 0.0
    );
    assert!(
        after
            .iter()
            .find(|hit| hit.id == bad[0])
            .is_none_or(|hit| hit.memory.unwrap() < 0.0)
    );

    // Neither another question, nor a metric that is named, nor a search that asks for none.
    assert_eq!(ask(&collection, &queries[1]).hits, of_another.hits);
    let plain = || collection.search(queries[0].clone()).k(40);
    assert_eq!(plain().memory(false).run().unwrap().hits, before.hits);
    let built_in = plain().metric(MetricChoice::BuiltIn).run().unwrap();
    assert_eq!(built_in.hits, before.hits);
    // Many at once are answered as one by one.
    let many = collection
        .search_many([queries[0].clone(), queries[1].clone()])
        .k(40)
        .run()
        .unwrap();
    assert_eq!(
        (&many[0].hits, &many[1].hits),
        (&after.hits, &of_another.hits)
    );

    // The explanation has the answer's rank, and names the judgements.
    let why = collection
        .explain(queries[0].clone(), good[0].clone())
        .run()
        .unwrap();
    assert_eq!(why.rank, Some(rank(&after, &good[0])));
    assert_eq!(why.euclidean_rank, Some(rank(&before, &good[0])));
    assert_eq!(why.memory.len(), 6);
    let total: f64 = why.memory.iter().map(|influence| influence.influence).sum();
    let memory = after
        .iter()
        .find(|hit| hit.id == good[0])
        .unwrap()
        .memory
        .unwrap();
    assert!(
        (total + f64::from(memory)).abs() < 1e-4,
        "{total} is not -{memory}"
    );
    let named = collection.explain(queries[0].clone(), good[0].clone());
    assert!(
        named
            .metric(MetricChoice::BuiltIn)
            .run()
            .unwrap()
            .memory
            .is_empty()
    );

    // It is the same for whoever opens the store.
    drop((collection, store));
    let again = self::store(dir.path());
    let collection = again.collection("c").open().unwrap();
    assert_eq!(ask(&collection, &queries[0]).hits, after.hits);
}

#[test]
fn nothing_of_what_is_forgotten_or_replaced_acts() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (collection, queries) = collection(&store);
    let before = ask(&collection, &queries[0]).hits;
    let (good, bad) = judge(&collection, &queries[0], Some("ann"));
    let remembered = ask(&collection, &queries[0]).hits;
    assert_ne!(remembered, before);

    // Items that hold something else, or are gone, are not what was judged.
    let old: Vec<Item> = collection
        .get_many(&[good.clone(), bad.clone()].concat())
        .unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let others = old
        .iter()
        .map(|item| Item::vector(&item.id, vector(&mut random)));
    collection.add(others.collect::<Vec<_>>()).unwrap();
    assert!(
        ask(&collection, &queries[0])
            .iter()
            .all(|hit| hit.memory.is_none())
    );
    collection.delete(&good).unwrap();
    assert!(
        ask(&collection, &queries[0])
            .iter()
            .all(|hit| hit.memory.is_none())
    );
    collection.add(old.clone()).unwrap();
    assert_eq!(ask(&collection, &queries[0]).hits, remembered);
    let tagged = old.into_iter().map(|mut item| {
        item.meta = json!({"gone": true});
        item
    });
    collection.add(tagged.collect::<Vec<_>>()).unwrap();
    let filter = affinis::Filter::parse(r#"{"gone": true}"#).unwrap();
    assert_eq!(collection.delete_matching(&filter).unwrap(), 6);
    assert!(
        ask(&collection, &queries[0])
            .iter()
            .all(|hit| hit.memory.is_none())
    );
    drop((collection, store));

    let dir = tempfile::tempdir().unwrap();
    let store = self::store(dir.path());
    let (collection, queries) = self::collection(&store);
    judge(&collection, &queries[0], Some("ann"));
    judge(&collection, &queries[1], Some("ben"));
    let of_ben = ask(&collection, &queries[1]).hits;
    collection.forget(&Forget::User("ann".into())).unwrap();
    assert_eq!(ask(&collection, &queries[0]).hits, before);
    assert_eq!(ask(&collection, &queries[1]).hits, of_ben);
}

#[test]
fn a_person_is_answered_by_what_they_said_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (collection, queries) = collection(&store);
    let hits = ask(&collection, &queries[0]);
    let (a, b) = (hits[4].id.clone(), hits[5].id.clone());
    let says = |user: &str, good: &str, bad: &str| {
        [
            Judgement::relevant(queries[0].clone(), good).user(user),
            Judgement::irrelevant(queries[0].clone(), bad).user(user),
        ]
    };
    collection.judge_all(says("ann", &a, &b)).unwrap();
    collection.judge_all(says("ben", &b, &a)).unwrap();
    let of = |user: &str| {
        let search = collection.search(queries[0].clone()).k(40).user(user);
        search.run().unwrap()
    };
    assert!(rank(&of("ann"), &a) < rank(&of("ann"), &b));
    assert!(rank(&of("ben"), &b) < rank(&of("ben"), &a));
    // Together they say nothing.
    assert_eq!(ids(&ask(&collection, &queries[0])), ids(&hits));

    let hidden = |user: Option<&str>| {
        let search = collection.search(queries[0].clone()).k(40).hide_rejected();
        let search = match user {
            Some(user) => search.user(user),
            None => search,
        };
        search.run().unwrap()
    };
    assert_eq!(rank(&hidden(Some("ann")), &b), usize::MAX);
    assert!(rank(&hidden(Some("ann")), &a) <= 40);
    assert_eq!(hidden(Some("ann")).len(), 40);
    assert_eq!(rank(&hidden(Some("ben")), &a), usize::MAX);
    assert!(rank(&hidden(None), &a) <= 40 && rank(&hidden(None), &b) <= 40);
    // The last word counts, and only for this very query.
    let back = Judgement::relevant(queries[0].clone(), &b).user("ann");
    collection.judge(back).unwrap();
    assert!(rank(&hidden(Some("ann")), &b) <= 40);
    let like = collection
        .search(Query::like(&a))
        .k(40)
        .user("ben")
        .hide_rejected();
    assert_eq!(like.run().unwrap().len(), 40);
}

#[test]
fn judgements_that_say_little_or_too_much_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (collection, queries) = collection(&store);
    let hits = ask(&collection, &queries[0]);
    // One answer a thousand times, an answer that is loved and hated, one that is neither.
    let often = (0..1_000).map(|_| Judgement::relevant(queries[0].clone(), &hits[7].id));
    collection.judge_all(often).unwrap();
    let both = [1.0, -1.0].map(|grade| Judgement::graded(queries[1].clone(), "i3", grade));
    collection.judge_all(both).unwrap();
    collection
        .judge(Judgement::graded(queries[2].clone(), "i4", 0.0))
        .unwrap();
    let after = ask(&collection, &queries[0]);
    assert_eq!(rank(&after, &hits[7].id), 1);
    assert!(
        after
            .iter()
            .all(|hit| hit.score.is_finite() && hit.distance >= 0.0)
    );
    for query in [&queries[1], &queries[2]] {
        let search = collection.search(query.clone()).k(40);
        assert_eq!(
            ids(&ask(&collection, query)),
            ids(&search.memory(false).run().unwrap())
        );
    }
    // A stored item as the query is left out of its answer still.
    let judged = Judgement::relevant(Query::like("i9"), "i10");
    collection.judge(judged).unwrap();
    let like = collection.search(Query::like("i9")).k(40).run().unwrap();
    assert_eq!(rank(&like, "i9"), usize::MAX);
    assert!(like[0].memory.is_some());
    // Pairs are of no question: the judged item that lies near is not the reason.
    collection
        .judge_weakly(&Weak::Field("none".into()), 4, 0)
        .unwrap_err();
    let pair = collection.judge(Judgement::similar("i20", "i21")).unwrap();
    let why = collection.explain(Query::like("i20"), "i21").run().unwrap();
    assert!(
        why.memory
            .iter()
            .all(|influence| influence.judgement != pair)
    );
}

#[test]
fn a_refit_says_how_it_remembers_and_versions_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (collection, queries) = collection(&store);
    for query in &queries {
        judge(&collection, query, None);
    }
    let report = collection.refit().run().unwrap();
    let memory = report.memory.expect("a refit for everybody says it");
    assert_eq!(memory.gate.held_out, queries.len());
    assert!(!memory.gate.reason.is_empty());
    let version = collection.metric(report.version.unwrap()).unwrap();
    assert_eq!(version.memory.as_ref(), Some(&memory));
    // Another process reads the same.
    drop((collection, store));
    let store = self::store(dir.path());
    let collection = store.collection("c").open().unwrap();
    assert_eq!(
        collection.metric(VersionId(1)).unwrap().memory,
        Some(memory)
    );
    let own = collection.refit().user("nobody").run();
    assert!(matches!(own, Err(Error::NoJudgements { .. })));
}

#[test]
fn walks_from_moved_queries_find_what_scans_find() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = store.collection("many").dim(DIM).open_or_create().unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let items: Vec<Item> = (0..6_000)
        .map(|i| Item::vector(format!("i{i}"), vector(&mut random)))
        .collect();
    collection.add(items).unwrap();
    collection.settle().unwrap();
    let queries: Vec<Vec<f32>> = (0..40).map(|_| vector(&mut random)).collect();
    for query in &queries {
        judge(&collection, query, None);
    }
    let (mut found, mut all) = (0, 0);
    for query in &queries {
        let search = collection.search(query.clone()).k(10);
        let exact = search.clone().recall(1.0).run().unwrap();
        let walked = search.run().unwrap();
        assert!(exact.iter().all(|hit| hit.memory.is_some()));
        let walked = ids(&walked);
        found += exact
            .iter()
            .filter(|hit| walked.contains(&hit.id.as_str()))
            .count();
        all += exact.len();
    }
    assert!(found * 100 >= all * 95, "{found} of {all}");
}
