//! Reads what a store holds as a [`Model`], and checks what a kill left.

use std::collections::BTreeMap;
use std::path::Path;

use affinis::{Collection, Judgement, MetricChoice, Query, Store, Subject, VersionId};

use super::model::{Content, DIM, Judged, Model, Op, Version};
use crate::Random;
use crate::exact::l2;
use crate::stores::builder;

/// A stored judgement in the form of the model.
fn judged(judgement: Judgement) -> Judged {
    let user = judgement.user.expect("every judgement has a user");
    match judgement.subject {
        Subject::Graded {
            query: Query::Item(query),
            item,
            grade,
        } => (user, query, item, grade > 0.0),
        other => panic!("no such judgement was given: {other:?}"),
    }
}

/// The contents of a collection.
fn content(collection: &Collection) -> Content {
    let history = collection.history().expect("the history is read");
    let items = collection.items().expect("the items are listed");
    let versions = history.versions.iter().map(|v| {
        let version = Version {
            parent: v.version.parent.expect("a parent").0,
            withdrawn: v.version.withdrawn,
        };
        (v.version.version.0, version)
    });
    Content {
        items: items
            .map(|item| item.map(|i| (i.id.clone(), i)))
            .collect::<Result<_, _>>()
            .expect("the items are read"),
        versions: versions.collect(),
        judgements: history
            .judgements
            .into_iter()
            .map(|j| (j.id.0, judged(j.judgement)))
            .collect(),
        next_judgement: history.next_judgement.0,
        next_version: match history.next_version {
            VersionId(1) => 0,
            VersionId(next) => next,
        },
        active: history.active.0,
    }
}

/// All that a store holds, without its backups. Checks the answers of `main` on the way.
pub fn model_of(store: &Store) -> Model {
    let mut model = Model::default();
    for info in store.collections().expect("the collections are listed") {
        let collection = store
            .collection(&info.name)
            .open()
            .expect("a collection opens");
        let found = content(&collection);
        if info.name == "main" {
            answers(&collection, &found);
            model.main = found;
        } else {
            model.copies.insert(info.name, found);
        }
    }
    model
}

/// The name of the youngest backup. Older ones are removed.
pub(super) fn last_backup(dir: &Path) -> Option<String> {
    let names = std::fs::read_dir(dir)
        .expect("the directory is read")
        .flatten()
        .map(|e| e.file_name());
    let numbers =
        names.filter_map(|name| name.to_str()?.strip_prefix("backup-")?.parse::<u64>().ok());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    let last = numbers.pop()?;
    for old in numbers {
        std::fs::remove_dir_all(dir.join(format!("backup-{old}"))).expect("removed");
    }
    Some(format!("backup-{last}"))
}

/// The contents of a backup. Opening it as a store would change it, so it is restored beside it.
fn backed_up(dir: &Path, name: &str) -> Model {
    let copy = dir.join("restored-backup");
    let _ = std::fs::remove_dir_all(&copy);
    builder()
        .restore(dir.join(name), &copy)
        .expect("a backup that is there is whole");
    model_of(&builder().open(&copy).expect("a restored backup opens"))
}

/// Checks answers against an exact scan under the built-in and the active metric.
fn answers(collection: &Collection, content: &Content) {
    let mut random = Random(content.next_judgement + 77);
    for choice in [MetricChoice::BuiltIn, MetricChoice::Active] {
        let matrix = match choice {
            MetricChoice::Active if content.active > 0 => Some(
                collection
                    .metric_matrix(VersionId(content.active))
                    .expect("read"),
            ),
            _ => None,
        };
        for k in [1, 7, 100] {
            let query = random.vector(DIM);
            let distance = |x: &[f32]| match &matrix {
                None => l2(&query, x),
                Some(a) => {
                    let z: Vec<f64> = query
                        .iter()
                        .zip(x)
                        .map(|(q, x)| f64::from(*q) - f64::from(*x))
                        .collect();
                    (0..DIM)
                        .flat_map(|i| (0..DIM).map(move |j| (i, j)))
                        .map(|(i, j)| z[i] * a[[i, j]] * z[j])
                        .sum()
                }
            };
            let exact: BTreeMap<&str, f64> = content
                .items
                .values()
                .map(|i| (i.id.as_str(), distance(i.vector.as_deref().expect("given"))))
                .collect();
            let hits = collection
                .search(query.clone())
                .k(k)
                .recall(1.0)
                .metric(choice)
                .memory(false)
                .run()
                .expect("answered");
            assert_eq!(hits.len(), k.min(exact.len()));
            let mut sorted: Vec<f64> = exact.values().copied().collect();
            sorted.sort_by(f64::total_cmp);
            for (hit, nth) in hits.iter().zip(sorted) {
                let of_item = exact[hit.id.as_str()];
                for expected in [of_item, nth] {
                    let error = (f64::from(hit.distance) - expected).abs();
                    assert!(
                        error <= 1e-4 * expected + 1e-5,
                        "{hit:?}: {expected} was expected under {choice:?}"
                    );
                }
            }
        }
    }
}

/// Asserts that a kill left the contents of the model, or those after the operation that was under
/// way, and returns which.
pub fn after_a_kill(dir: &Path, model: &Model, under_way: Option<&Op>, context: &str) -> Model {
    // A kill before the store was created leaves none; opening creates it.
    let store = builder()
        .open(dir.join("store"))
        .unwrap_or_else(|e| panic!("{context}: {e}"));
    let report = store.verify().unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(report.problems, [], "{context}");
    let mut found = model_of(&store);
    drop(store);
    for leftover in ["store/sled.next", "store/sled.last"] {
        assert!(
            !dir.join(leftover).exists(),
            "{context}: {leftover} is left"
        );
    }
    // A backup that was checked before is not checked again.
    found.backup = last_backup(dir).map(|name| match &model.backup {
        Some((known, content)) if *known == name => (name, content.clone()),
        _ => (name.clone(), Box::new(backed_up(dir, &name))),
    });
    let mut allowed = vec![model.clone()];
    if let Some(op) = under_way {
        let mut after = model.after(op);
        match op {
            // The refit was committed: the next version is there and promoted.
            Op::Refit(_) if found.main.next_version > model.main.next_version => {
                after.main.learned(model.main.next_version.max(1));
            }
            // The withdrawn versions depend on the judgements that each learned from. The active
            // metric is then the built-in one, the one before, or a version learned since.
            Op::Forget(_) if found.main.judgements == after.main.judgements => {
                let main = &found.main;
                assert!(
                    [0, model.main.active].contains(&main.active)
                        || main.active >= model.main.next_version,
                    "{context}: {} is active",
                    main.active
                );
                let kept = main.versions.iter().all(|(number, version)| {
                    match model.main.versions.get(number) {
                        Some(before) => {
                            before.parent == version.parent && version.withdrawn >= before.withdrawn
                        }
                        None => *number >= model.main.next_version,
                    }
                });
                assert!(
                    kept && !main.versions.get(&main.active).is_some_and(|v| v.withdrawn),
                    "{context}"
                );
                after.main.versions.clone_from(&main.versions);
                (after.main.active, after.main.next_version) = (main.active, main.next_version);
            }
            _ => {}
        }
        allowed.push(after);
    }
    if let Some(state) = allowed.iter().find(|state| **state == found) {
        return state.clone();
    }
    panic!(
        "{context}: the store holds neither of the two contents\n{}",
        differences(&allowed, &found)
    );
}

fn differences(allowed: &[Model], found: &Model) -> String {
    let brief = |m: &Model| {
        let of = |c: &Content| {
            let ids: Vec<&String> = c.items.keys().collect();
            format!(
                "{} items {ids:?}, judgements to {}, {} of them, versions {:?}, active {}",
                c.items.len(),
                c.next_judgement,
                c.judgements.len(),
                c.versions,
                c.active
            )
        };
        format!(
            "main {}; copies {:?}; backup {:?}",
            of(&m.main),
            m.copies.keys(),
            m.backup.as_ref().map(|b| &b.0)
        )
    };
    let same: Vec<bool> = allowed
        .iter()
        .map(|a| a.main == found.main && a.copies == found.copies)
        .collect();
    let allowed = allowed
        .iter()
        .map(|a| format!("allowed: {}\n", brief(a)))
        .collect::<Vec<_>>()
        .concat();
    format!(
        "{allowed}found:   {}\nequal but for the backup: {same:?}",
        brief(found)
    )
}
