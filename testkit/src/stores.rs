//! A small store with items, judgements and versions, its contents as text, and copies of
//! directories.

use std::path::{Path, PathBuf};

use affinis::{
    Collection, Error, Hits, Item, Judgement, Language, MetricChoice, Query, Result, Store,
    StoreBuilder,
};
use affinis_mahalanobis::Mahalanobis;
use serde_json::json;

use crate::Random;

/// The dimension of the collection `main`.
pub const DIM: usize = 5;

/// An empty store without a plugin, in the directory `s` of a temporary directory.
pub fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("s")).expect("a fresh store");
    (dir, store)
}

/// The collection `v` of a store, for vectors of dimension `dim`; it is created where it is missing.
pub fn vectors(store: &Store, dim: usize) -> Collection {
    store
        .collection("v")
        .dim(dim)
        .open_or_create()
        .expect("a collection")
}

/// The ids of hits, nearest first.
pub fn ids(hits: &Hits) -> Vec<&str> {
    hits.iter().map(|h| h.id.as_str()).collect()
}

/// A builder of stores with the Mahalanobis plugin.
pub fn builder() -> StoreBuilder {
    Store::builder().plugin(Mahalanobis::default())
}

/// `count` items `p{from}`, ... whose first number tells two classes apart; every seventh has a
/// text.
pub fn items(from: usize, count: usize) -> Vec<Item> {
    let mut random = Random(from as u64 + 11);
    (from..from + count)
        .map(|i| {
            let mut vector = random.vector(DIM);
            vector[0] = (i % 2) as f32;
            let item =
                Item::vector(format!("p{i}"), vector).with_meta(json!({"class": i % 2, "n": i}));
            if i % 7 == 0 {
                item.with_text(format!("text of {i} ").repeat(1 + i * 40))
            } else {
                item
            }
        })
        .collect()
}

/// A chunk of a document, as an item of its own.
pub fn chunk(document: &str, number: usize, vector: Vec<f32>) -> Item {
    Item::vector(format!("{document}#{number:06}"), vector)
        .with_meta(json!({"document": document, "chunk": number}))
}

/// 48 judgements of a user, by class, on the queries `p{from}` to `p{from + 5}`.
pub fn judgements(user: &str, from: usize) -> Vec<Judgement> {
    (from..from + 6)
        .flat_map(|a| (20..28).map(move |b| (a, b)))
        .map(|(a, b)| {
            let (query, item) = (Query::like(format!("p{a}")), format!("p{b}"));
            let judgement = if a % 2 == b % 2 {
                Judgement::relevant(query, item)
            } else {
                Judgement::irrelevant(query, item)
            };
            judgement.user(user)
        })
        .collect()
}

/// Fills a store: the collection `main`, which is returned, with a graph, keywords, judgements of two
/// users and two versions, and the chunks of a document `doc`; and a small one, `beside`.
pub fn fill(store: &Store) -> Result<Collection> {
    let main = store.collection("main").dim(DIM);
    let main = main.keywords(Language::English).create()?;
    main.add(items(0, 60))?;
    main.delete(&["p50", "p51"])?;
    main.add(items(30, 3))?;
    main.add((1..4).map(|number| chunk("doc", number, vec![0.0; DIM])))?;
    main.judge_all(judgements("ann", 0))?;
    main.judge(Judgement::relevant(vec![0.5; DIM], "p9"))?;
    main.refit().force(true).run()?;
    main.judge_all(judgements("bob", 8))?;
    main.refit().force(true).run()?;
    main.optimize()?;
    let beside = store.collection("beside").dim(2).create()?;
    beside.add([Item::vector("a", [0.0, 1.0]), Item::vector("b", [1.0, 0.0])])?;
    Ok(main)
}

/// Creates a filled store in a directory and closes it.
pub fn create_filled(path: &Path) {
    let store = builder().open(path).expect("opened");
    fill(&store).expect("filled");
}

/// Everything that a caller can read of a collection, as text: two collections with the same text
/// have the same items, judgements, versions and answers.
pub fn collection_contents(collection: &Collection) -> Result<String> {
    let history = collection.history()?;
    let items = collection.items()?.collect::<Result<Vec<_>>>()?;
    let mut answers: Vec<Hits> = Vec::new();
    for choice in [MetricChoice::Active, MetricChoice::BuiltIn] {
        let query = vec![0.25; collection.dim()];
        answers.push(
            collection
                .search(query)
                .k(100)
                .recall(1.0)
                .include_text()
                .include_meta()
                .metric(choice)
                .run()?,
        );
    }
    let hits: Vec<_> = answers.iter().map(|a| (&a.hits, a.metric)).collect();
    let stated = (collection.len(), collection.judgement_count());
    let mut words = Vec::new();
    if collection.keywords().is_some() {
        let found = collection.search("texts").words_only().k(100).run()?;
        words.extend(found.into_iter().map(|hit| hit.id));
        words.sort();
    }
    Ok(format!(
        "{stated:?}\n{items:?}\n{history:?}\n{hits:?}\n{words:?}"
    ))
}

/// Everything that a caller can read of a store, as text.
pub fn store_contents(store: &Store) -> Result<String> {
    let mut all = String::new();
    for info in store.collections()? {
        let collection = store.collection(&info.name).open()?;
        all.extend([format!("{info:?}\n"), collection_contents(&collection)?]);
    }
    Ok(all)
}

/// Opens a store, verifies it, and returns [`store_contents`].
pub fn verified_contents(path: &Path) -> Result<String> {
    let store = builder().create(false).open(path)?;
    let report = store.verify()?;
    if let Some(problem) = report.problems.first() {
        return Err(Error::Damaged {
            part: problem.part.clone(),
            reason: problem.message.clone(),
        });
    }
    store_contents(&store)
}

/// Copies a directory and everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("read").flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// The files in a directory and in those below it, sorted.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).expect("read").flatten() {
        if entry.file_type().expect("known").is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all.sort();
    all
}
