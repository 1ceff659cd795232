//! Operations on a store that a test interrupts, and the contents that an interruption may leave.

use std::path::Path;
use std::time::Duration;

use affinis::{Collection, Item, Result, Store, VersionId, learning::Forget};

use crate::stores::{DIM, builder, copy_dir, items, judgements, verified_contents};

/// Does one operation on a store that [`fill`](crate::stores::fill) made, whose collection `main`
/// is given; a backup is written into the directory.
pub type Operation = fn(&Store, &Collection, &Path) -> Result<()>;

/// The operations that are interrupted, with their names.
pub const OPERATIONS: [(&str, Operation); 11] = [
    ("add", |_, main, _| main.add(items(55, 10)).map(drop)),
    ("delete", |_, main, _| main.delete(&["p1", "p7"]).map(drop)),
    // In place of the chunks of `fill`.
    ("replace a document", |_, main, _| {
        main.add(vec![Item::vector("doc", vec![0.5; DIM])])
            .map(drop)
    }),
    ("judge", |_, main, _| {
        main.judge_all(judgements("cat", 2)).map(drop)
    }),
    ("refit", |_, main, _| {
        // With other settings than before, so that a version is stored.
        let month = Duration::from_hours(30 * 24);
        let refit = main.refit().half_life(month).force(true);
        refit.run().map(drop)
    }),
    ("optimize", |_, main, _| {
        main.add(items(55, 10)).and_then(|_| main.optimize())
    }),
    ("promote", |_, main, _| main.promote(VersionId(1))),
    ("rollback", |_, main, _| main.rollback(None).map(drop)),
    ("forget", |_, main, _| {
        main.forget(&Forget::User("ann".into())).map(drop)
    }),
    ("import", |store, main, _| {
        let items = main.items()?.collect::<Result<Vec<_>>>()?;
        store
            .collection("copy")
            .dim(main.dim())
            .create_with(items, &main.history()?)
            .map(drop)
    }),
    ("backup", |store, _, dir| store.backup(dir.join("backup"))),
];

/// The contents that may be found after an operation was interrupted: those before it, those
/// between its two transactions where it has two, and last those after it.
pub fn allowed_contents(operation: Operation, name: &str, filled: &Path) -> Vec<String> {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    copy_dir(filled, &path);
    let mut contents = vec![verified_contents(&path).expect("whole")];
    if name == "optimize" {
        let store = builder().open(&path).expect("opened");
        store
            .collection("main")
            .open()
            .expect("opened")
            .add(items(55, 10))
            .expect("added");
        drop(store);
        contents.push(verified_contents(&path).expect("whole"));
    }
    let store = builder().open(&path).expect("opened");
    let main = store.collection("main").open().expect("opened");
    operation(&store, &main, home.path()).expect("nothing fails");
    drop((store, main));
    contents.push(verified_contents(&path).expect("whole"));
    contents
}

/// Contents without the times in them, which differ from run to run.
pub fn without_times(contents: &str) -> String {
    let mut out = String::new();
    for (at, piece) in contents.split("created: Some(SystemTime {").enumerate() {
        out.push_str(if at == 0 {
            piece
        } else {
            piece.split_once('}').map_or(piece, |(_, rest)| rest)
        });
    }
    let mut rest = out.as_str();
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once("at: Some(") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    let out = plain + rest;
    let mut rest = out.as_str();
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once("at: SystemTime {") {
        plain.push_str(before);
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

/// Whether these are the contents after the first transaction of `forget`: the judgements are gone,
/// the metric is the built-in one, and the refit that follows was not reached.
pub fn is_forgotten_before_refit(contents: &str) -> bool {
    !contents.contains("user: Some(\"ann\")") && contents.contains("active: VersionId(0), ")
}
