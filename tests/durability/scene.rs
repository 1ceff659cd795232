//! A small store with some of everything, and all that can be seen of one.

use std::path::Path;

use affinis::{
    Collection, Error, Hits, Item, Judgement, MetricChoice, Query, Result, Store, StoreBuilder,
};
use affinis_mahalanobis::Mahalanobis;
use serde_json::json;

use crate::common::Random;

pub(crate) const DIM: usize = 5;

pub(crate) fn builder() -> StoreBuilder {
    Store::builder().plugin(Mahalanobis::default())
}

/// Items whose first number tells two classes apart.
pub(crate) fn items(from: usize, count: usize) -> Vec<Item> {
    let mut random = Random(from as u64 + 11);
    (from..from + count)
        .map(|i| {
            let mut vector = random.vector(DIM);
            vector[0] = (i % 2) as f32;
            let item = Item::vector(format!("p{i}"), vector).meta(json!({"class": i % 2, "n": i}));
            if i % 7 == 0 {
                item.with_text(format!("text of {i} ").repeat(1 + i * 40))
            } else {
                item
            }
        })
        .collect()
}

pub(crate) fn judgements(user: &str, from: usize) -> Vec<Judgement> {
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

/// Fills a store: a collection with a graph, judgements of two users, two versions; and one beside
/// it.
pub(crate) fn fill(store: &Store) -> Result<Collection> {
    let main = store.collection("main").dim(DIM).create()?;
    main.add(items(0, 60))?;
    main.delete(&["p50", "p51"])?;
    main.add(items(30, 3))?;
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

/// A filled store in a directory, closed.
pub(crate) fn filled(path: &Path) {
    let store = builder().open(path).expect("opened");
    fill(&store).expect("filled");
}

/// All that can be seen of a collection, in words that differ when anything does.
pub(crate) fn seen(collection: &Collection) -> Result<String> {
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
                .with_text()
                .with_meta()
                .metric(choice)
                .run()?,
        );
    }
    let hits: Vec<_> = answers.iter().map(|a| (&a.hits, a.metric)).collect();
    let stated = (collection.len(), collection.judgement_count());
    Ok(format!("{stated:?}\n{items:?}\n{history:?}\n{hits:?}"))
}

/// All that can be seen of a store, once its collections were verified.
pub(crate) fn seen_store(store: &Store) -> Result<String> {
    let mut all = String::new();
    for info in store.collections()? {
        let collection = store.collection(&info.name).open()?;
        all.extend([format!("{info:?}\n"), seen(&collection)?]);
    }
    Ok(all)
}

/// Opens a store and gives all that can be seen of it.
pub(crate) fn look(path: &Path) -> Result<String> {
    let store = builder().create(false).open(path)?;
    let report = store.verify()?;
    if let Some(problem) = report.problems.first() {
        return Err(Error::Damaged {
            part: problem.part.clone(),
            reason: problem.message.clone(),
        });
    }
    seen_store(&store)
}

/// Copies a directory with all that is in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
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
