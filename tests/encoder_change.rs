//! Another encoder for a collection that was judged: what was learned is learned again under the new
//! vectors, nothing is half-done, and there is a way back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use affinis::encode::Encoder;
use affinis::{
    Collection, Distance, Error, ErrorKind, Item, Judgement, MetricChoice, Query, Store, VersionId,
};
use affinis_testkit::{Random, WordCounts, stores};
use serde_json::json;

/// Texts of a kind each, which one word in eight says.
fn texts(count: usize) -> Vec<Item> {
    let mut random = Random(3);
    let text = |i: usize| {
        let noise = random.vector(7);
        let noise: Vec<String> = noise
            .iter()
            .enumerate()
            .map(|(at, x)| format!("word{at}{}", (x * 4.0) as i32))
            .collect();
        let text = format!("kind{} {}", i % 5, noise.join(" "));
        Item::text(format!("{i:04}"), text).with_meta(json!({"row": i}))
    };
    (0..count).map(text).collect()
}

fn open(path: &Path) -> Store {
    stores::builder().open(path).expect("a store")
}

fn old() -> Arc<dyn Encoder> {
    Arc::new(WordCounts::new(24, "old"))
}

fn new() -> Arc<dyn Encoder> {
    Arc::new(WordCounts::new(32, "new"))
}

fn make(store: &Store, encoder: Arc<dyn Encoder>, items: Vec<Item>) -> Collection {
    let made = store.collection("texts").encoder_arc(encoder);
    let made = made.distance(Distance::Cosine).create().expect("made");
    made.add(items).expect("added");
    made
}

fn reopen(store: &Store, encoder: Arc<dyn Encoder>) -> Collection {
    let texts = store.collection("texts").encoder_arc(encoder).open();
    texts.expect("opened")
}

/// Judgements of texts and of items by their kinds.
fn judge(texts: &Collection) {
    let mut judgements = Vec::new();
    for query in 0..60 {
        for item in (0..10).map(|i| (query * 7 + i * 13) % 400) {
            let query_id = format!("{query:04}");
            let asked = if query % 2 == 0 {
                Query::like(&query_id)
            } else {
                let item = texts.get(&query_id).expect("read").expect("there");
                Query::from(item.text.expect("a text"))
            };
            let grade = if item % 5 == query % 5 { 1.0 } else { -1.0 };
            if item != query {
                judgements.push(Judgement::graded(asked, format!("{item:04}"), grade));
            }
        }
    }
    texts.judge_all(judgements).expect("judged");
}

/// The answers to some texts under the active metric and the built-in one.
fn answers(texts: &Collection) -> Vec<(String, f32)> {
    let mut all = Vec::new();
    for metric in [MetricChoice::Active, MetricChoice::BuiltIn] {
        for text in [
            "kind1 word00 word10",
            "kind3 word1-1 word20",
            "word61 kind4",
        ] {
            let hits = texts.search(text).metric(metric).recall(1.0).run();
            let hits = hits.expect("hits");
            all.extend(hits.iter().map(|hit| (hit.id.clone(), hit.distance)));
        }
    }
    all
}

#[test]
fn learning_after_a_change_equals_learning_under_the_new_encoder() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(&home.path().join("changed"));
    let changed = make(&store, old(), texts(400));
    judge(&changed);
    let before = changed.refit().force(true).run().expect("a version");
    assert_eq!(before.version, Some(VersionId(1)));
    let answered = answers(&changed);
    drop(changed);
    let done = store.reencode("texts", new()).run().expect("encoded");
    assert_eq!((done.items, done.encoded), (400, 400));
    assert!(done.left_out.is_empty());

    let other = open(&home.path().join("other"));
    let fresh = make(&other, new(), texts(400));
    judge(&fresh);
    let learned = fresh.refit().run().expect("a version");
    let again = done.refit.expect("a refit");
    assert_eq!(again.gate, learned.gate);
    assert_eq!(
        (again.version, learned.version),
        (Some(VersionId(2)), Some(VersionId(1)))
    );
    let changed = reopen(&store, new());
    assert_eq!(changed.dim(), 32);
    assert_eq!(
        changed.metric_matrix(VersionId(2)).expect("a matrix"),
        fresh.metric_matrix(VersionId(1)).expect("a matrix")
    );
    assert_eq!(answers(&changed), answers(&fresh));
    let contents = |texts: &Collection| {
        let judged = texts.judgements().expect("read").into_iter();
        judged
            .map(|judged| (judged.id, judged.content))
            .collect::<Vec<_>>()
    };
    assert_eq!(contents(&changed), contents(&fresh));
    assert!(changed.stale_judgements().expect("read").is_empty());
    // The version of the other vectors is listed, and answers nothing.
    let listed = changed.metrics().expect("read");
    let of_before = listed.iter().find(|v| v.version == VersionId(1));
    assert!(of_before.expect("listed").withdrawn);
    let refused = changed.promote(VersionId(1)).expect_err("refused");
    assert!(refused.to_string().contains("encoder"), "{refused}");
    drop(changed);

    // What it was is there until it is dropped, and nothing is damaged.
    let kept = store
        .collection("texts.before")
        .encoder_arc(old())
        .open()
        .expect("opened");
    assert_eq!(answers(&kept), answered);
    drop(kept);
    assert_eq!(store.verify().expect("verified").problems, []);
    let begun = store.reencode("texts", old()).run().expect_err("refused");
    assert!(begun.to_string().contains("commit"), "{begun}");
    store.reencode_commit("texts").expect("committed");
    assert_eq!(
        store.reencode_commit("texts").expect_err("gone").kind(),
        ErrorKind::Conflict
    );
    assert!(store.reencode_back("texts").is_err());
    let names: Vec<String> = store
        .collections()
        .expect("read")
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["texts"]);
    drop(store);
    let store = open(&home.path().join("changed"));
    assert_eq!(answers(&reopen(&store, new())), answers(&fresh));
}

#[test]
fn a_change_that_was_stopped_goes_on_and_there_is_a_way_back() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let handle = make(&store, old(), texts(600));
    let answered = answers(&handle);
    // Stopped after the first batch.
    let batches = Arc::new(AtomicUsize::new(0));
    let (told, asked) = (Arc::clone(&batches), batches);
    let stopped = store
        .reencode("texts", new())
        .progress(move |_, all| {
            assert_eq!(all, 600);
            told.fetch_add(1, Ordering::Relaxed);
        })
        .cancel(move || asked.load(Ordering::Relaxed) > 0)
        .run();
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert_eq!(answers(&handle), answered);
    // Changes meanwhile are in what comes.
    handle.delete(&["0001"]).expect("deleted");
    let changed = Item::text("0002", "kind4 word00").with_meta(json!({"row": "new"}));
    handle.add([changed]).expect("added");
    // Somebody still has the collection, and it is what it was.
    let in_use = store.reencode("texts", new()).run();
    assert!(matches!(in_use, Err(Error::InUse { .. })), "{in_use:?}");
    handle.add([Item::text("9999", "kind1")]).expect("added");
    assert_eq!(handle.dim(), 24);
    drop(handle);
    let done = store.reencode("texts", new()).run().expect("encoded");
    assert_eq!((done.items, done.encoded, done.judgements), (600, 1, 0));
    assert!(done.refit.is_none());
    let texts = reopen(&store, new());
    assert!(!texts.contains("0001").expect("read"));
    let item = texts.get("0002").expect("read").expect("there");
    assert_eq!(
        (item.text.as_deref(), &item.meta),
        (Some("kind4 word00"), &json!({"row": "new"}))
    );
    texts
        .judge(Judgement::similar("0002", "0004"))
        .expect("judged");
    drop(texts);

    store.reencode_back("texts").expect("back");
    let texts = reopen(&store, old());
    assert_eq!((texts.dim(), texts.judgement_count()), (24, 0));
    drop(texts);
    // What was judged since is not lost, and not taken for an encoding that was stopped.
    let kept = store.collection("texts.reencoding").open().expect("kept");
    assert_eq!((kept.dim(), kept.judgement_count()), (32, 1));
    drop(kept);
    let refused = store.reencode("texts", new()).run().expect_err("refused");
    assert!(
        refused.to_string().contains("texts.reencoding"),
        "{refused}"
    );
    store.drop_collection("texts.reencoding").expect("dropped");
    store.reencode("texts", new()).run().expect("encoded");
    assert_eq!(store.verify().expect("verified").problems, []);
}

#[test]
fn what_cannot_be_encoded_again_is_said() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let given = store.collection("given").dim(24).create().expect("made");
    drop(given);
    let refused = store.reencode("given", new()).run().expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let handle = make(&store, old(), texts(20));
    let same = store.reencode("texts", old()).run().expect_err("refused");
    assert!(same.to_string().contains("already"), "{same}");
    let by_vector = Query::Vector(vec![0.5; 24]);
    let judgements = [
        Judgement::graded(by_vector, "0003", 1.0),
        Judgement::graded("kind3 word00", "0003", 1.0),
    ];
    handle.judge_all(judgements).expect("judged");
    handle
        .add([Item::vector("bare", vec![0.25; 24])])
        .expect("added");
    drop(handle);
    let refused = store.reencode("texts", new()).run().expect_err("refused");
    assert!(refused.to_string().contains("\"bare\""), "{refused}");
    assert_eq!(reopen(&store, old()).dim(), 24);
    reopen(&store, old()).delete(&["bare"]).expect("deleted");
    let other: Arc<dyn Encoder> = Arc::new(WordCounts::new(16, "another"));
    let refused = store.reencode("texts", other).run().expect_err("refused");
    assert!(refused.to_string().contains("begun with"), "{refused}");
    let done = store.reencode("texts", new()).run().expect("encoded");
    assert_eq!((done.judgements, done.left_out.len()), (1, 1));
    assert_eq!(reopen(&store, new()).judgements().expect("read")[0].id.0, 1);
    let missing = store.reencode("nothing", new()).run();
    assert!(matches!(missing, Err(Error::CollectionMissing { .. })));
}
