//! The child process: opens the store and does operations until it is killed.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use affinis::{Collection, Error, Judgement, Query, Store, VersionId, learning::Forget};

use super::check;
use super::model::{DIM, Judged, Model, Op};
use crate::stores::builder;

fn open(dir: &Path) -> (Store, Collection) {
    let store = builder().open(dir.join("store")).expect("the store opens");
    let main = store
        .collection("main")
        .dim(DIM)
        .open_or_create()
        .expect("the collection opens");
    (store, main)
}

fn print_line(text: &str) {
    let mut out = std::io::stdout().lock();
    // In one write, so that a kill mostly leaves a whole line or none; the dot marks a whole line.
    out.write_all(format!("@{text} .\n").as_bytes())
        .expect("said");
    out.flush().expect("said");
}

fn judgement((user, query, item, relevant): &Judged) -> Judgement {
    let query = Query::like(query);
    let judgement = if *relevant {
        Judgement::relevant(query, item)
    } else {
        Judgement::irrelevant(query, item)
    };
    judgement.user(user)
}

/// Does operation `from` of the run with a seed and those after it, until the process is killed.
/// Prints a line before each (`@begin N .`) and after it (`@done N WORDS .`).
pub fn work(dir: &Path, seed: u64, from: u64) {
    let (store, main) = open(dir);
    let known = |store: &Store| {
        // The child does not know what a backup holds, and reads it from the store once restored.
        let backup = check::last_backup(dir).map(|name| (name, Box::default()));
        Model {
            backup,
            ..check::model_of(store)
        }
    };
    let mut model = known(&store);
    let mut opened = Some((store, main));
    for number in from.. {
        let op = model.operation(seed, number);
        print_line(&format!("begin {number}"));
        let words = run(dir, &mut opened, &op);
        print_line(&format!(
            "done {number}{}{words}",
            if words.is_empty() { "" } else { " " }
        ));
        model.done(
            &op,
            &format!("{words} .")
                .split(' ')
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        );
        if let (Op::Restore(_), Some((store, _))) = (&op, &opened) {
            model = known(store);
        }
    }
}

/// Does one operation and returns the words of its outcome that do not follow from the model.
fn run(dir: &Path, opened: &mut Option<(Store, Collection)>, op: &Op) -> String {
    let (store, main) = opened.take().expect("open between operations");
    match op {
        Op::Add(items) => drop(main.add(items.clone()).expect("added")),
        Op::Delete(ids) => drop(main.delete(ids).expect("deleted")),
        Op::Judge(judged) => drop(
            main.judge_all(judged.iter().map(judgement))
                .expect("judged"),
        ),
        Op::Refit(seed) => {
            // With other settings each time, since a refit of what was learned from already stores
            // nothing.
            let half_life = Duration::from_secs(30 * 86_400 + seed % 1_000_000_000);
            let refit = main.refit().seed(*seed).half_life(half_life).force(true);
            let words = match refit.run() {
                Ok(report) => format!("version {}", report.version.expect("it was stored")),
                Err(Error::NoJudgements { .. } | Error::Learn(_)) => "none".to_owned(),
                Err(error) => panic!("refit: {error}"),
            };
            *opened = Some((store, main));
            return words;
        }
        Op::Promote(version) => main.promote(VersionId(*version)).expect("promoted"),
        Op::Rollback => match main.rollback(None) {
            Ok(_) | Err(Error::NothingToRollBack) => {}
            Err(error) => panic!("rollback: {error}"),
        },
        Op::Forget(user) => {
            let forgotten = main.forget(&Forget::User(user.clone())).expect("forgotten");
            let refitted = forgotten
                .refit
                .and_then(|report| report.version)
                .unwrap_or_default();
            let withdrawn = forgotten
                .withdrawn
                .iter()
                .map(|v| format!(" {v}"))
                .collect::<Vec<_>>()
                .concat();
            let words = format!("{} {refitted}{withdrawn}", forgotten.active);
            *opened = Some((store, main));
            return words;
        }
        Op::Optimize => main.optimize().expect("optimized"),
        Op::Export => {
            main.history().expect("read");
            let items = main
                .items()
                .expect("listed")
                .collect::<Result<Vec<_>, _>>()
                .expect("read");
            assert_eq!(items.len(), main.len());
        }
        Op::Import(name) => {
            let items = main
                .items()
                .expect("listed")
                .collect::<Result<Vec<_>, _>>()
                .expect("read");
            let history = main.history().expect("read");
            match store.collection(name).dim(DIM).create_with(items, &history) {
                Ok(_) | Err(Error::CollectionExists(_)) => {}
                Err(error) => panic!("import: {error}"),
            }
        }
        Op::Drop(name) => match store.drop_collection(name) {
            Ok(()) | Err(Error::CollectionMissing { .. }) => {}
            Err(error) => panic!("drop: {error}"),
        },
        Op::Backup(name) => store.backup(dir.join(name)).expect("backed up"),
        Op::Restore(name) => {
            drop((store, main));
            builder()
                .restore(dir.join(name), dir.join("store"))
                .expect("restored");
            *opened = Some(open(dir));
            return String::new();
        }
        Op::Compact => {
            drop((store, main));
            builder().compact(dir.join("store")).expect("compacted");
            *opened = Some(open(dir));
            return String::new();
        }
        Op::Reopen => {
            drop((store, main));
            *opened = Some(open(dir));
            return String::new();
        }
    }
    *opened = Some((store, main));
    String::new()
}
