//! A disk access fails: the operation returns an error, nothing unacknowledged is shown, and
//! reopening finds the contents before the operation or after it.
//!
//! `AFFINIS_EVERY=1 cargo test --workspace --test disk_faults -- --nocapture` makes every access
//! fail, one by one; without the variable the first few of each kind fail, and a choice of the
//! rest.

use std::path::Path;

use affinis::{
    Error,
    testing::{DiskOp, Fault, Faults},
};
use affinis_testkit::interrupted::{
    OPERATIONS, Operation, allowed_contents, is_forgotten_before_refit, without_times,
};
use affinis_testkit::stores::{
    builder, collection_contents, copy_dir, fill, items, store_contents, verified_contents,
};

#[test]
fn an_operation_that_fails_at_any_disk_access_is_done_or_undone() {
    let home = tempfile::tempdir().expect("a directory");
    let filled = home.path().join("filled");
    drop(fill(&builder().open(&filled).expect("opened")).expect("filled"));
    let every = std::env::var_os("AFFINIS_EVERY").is_some();
    let mut tried = 0;
    for (name, work) in OPERATIONS {
        let allowed: Vec<String> = allowed_contents(work, name, &filled)
            .iter()
            .map(|state| without_times(state))
            .collect();
        for (only, fault) in [
            (None, Fault::Refused),
            (Some(DiskOp::Commit), Fault::Unacknowledged),
            (Some(DiskOp::Flush), Fault::Refused),
            (Some(DiskOp::Flush), Fault::Unacknowledged),
            (Some(DiskOp::Write), Fault::Short),
        ] {
            // Accesses are many and alike: the first ones fail, then ever fewer of them, unless
            // `AFFINIS_EVERY` is set.
            let mut after = 0;
            loop {
                let context = format!("{name}, {fault:?} of {only:?} after {after}");
                if !fail_once(
                    &context,
                    &filled,
                    work,
                    (after, fault, only),
                    &allowed,
                    name,
                ) {
                    break;
                }
                tried += 1;
                after += if every { 1 } else { 1 + after };
            }
        }
    }
    println!("{tried} crash points tried");
    assert!(tried > 100, "only {tried} crash points were tried");
}

/// Makes one disk access fail during an operation and checks what it leaves. Returns whether there
/// was an access to fail.
#[expect(
    clippy::too_many_lines,
    reason = "one fault from its arming to what it left"
)]
fn fail_once(
    context: &str,
    filled: &Path,
    work: Operation,
    (after, fault, only): (u64, Fault, Option<DiskOp>),
    allowed: &[String],
    name: &str,
) -> bool {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    copy_dir(filled, &path);
    let faults = Faults::new();
    let store = builder()
        .faults(faults.clone())
        .open(&path)
        .expect("opened");
    let main = store.collection("main").open().expect("opened");
    main.settle().expect("settled");
    let before = main
        .search(vec![0.25; 5])
        .k(100)
        .recall(1.0)
        .run()
        .expect("answered");
    faults.fail(after, fault, only, false);
    let done = work(&store, &main, home.path());
    let struck = faults.clear();
    // The files that a kill would leave now; nothing writes to them while they are copied.
    drop(main.settle());
    let killed = home.path().join("killed");
    copy_dir(&path, &killed);
    if let Err(error) = &done {
        assert!(struck, "{context}: {error}");
        let expected = matches!(
            error,
            Error::Storage { .. } | Error::Io { .. } | Error::Poisoned(_)
        );
        assert!(expected, "{context}: {error:?}");
        // Searches still answer, from what was acknowledged before or within the operation.
        main.search(vec![0.25; 5])
            .k(100)
            .run()
            .unwrap_or_else(|e| panic!("{context}: {e}"));
        match main.add(items(90, 1)) {
            Err(Error::Poisoned(said)) => {
                assert!(said.contains("no space left"), "{context}: {said}");
                assert!(
                    matches!(collection_contents(&main), Err(Error::Poisoned(_))),
                    "{context}: a poisoned handle reads"
                );
                if name != "optimize" && name != "forget" {
                    let now = main
                        .search(vec![0.25; 5])
                        .k(100)
                        .recall(1.0)
                        .run()
                        .expect("answered");
                    assert_eq!(
                        now.hits, before.hits,
                        "{context}: what was not acknowledged is seen"
                    );
                }
            }
            // A failed read or file leaves no doubt of what is durable.
            Ok(_) => drop(main.delete(&["p90"]).expect("deleted")),
            Err(error) => panic!("{context}: then {error}"),
        }
    } else if name != "backup" && name != "optimize" {
        match store_contents(&store) {
            Ok(state) => {
                let last = allowed.last().expect("the state after");
                assert!(
                    without_times(&state) == *last,
                    "{context}: acknowledged, and not there"
                );
            }
            // The fault hit the background thread, which stores what it measured.
            Err(error) => assert!(
                struck && matches!(error, Error::Poisoned(_)),
                "{context}: {error}"
            ),
        }
    }
    drop((store, main));
    for (which, found) in [("closed", &path), ("killed", &killed)] {
        let state = without_times(
            &verified_contents(found).unwrap_or_else(|e| panic!("{context}, {which}: {e}")),
        );
        let at = allowed.iter().position(|allowed| *allowed == state);
        let between = name == "forget" && is_forgotten_before_refit(&state);
        assert!(
            at.is_some() || between,
            "{context}, {which}: neither of the states"
        );
        if done.is_ok() && name != "backup" {
            assert!(
                Some(&state) == allowed.last(),
                "{context}, {which}: acknowledged, and lost"
            );
        }
    }
    let backup = home.path().join("backup");
    if name == "backup" && (done.is_ok() || backup.exists()) {
        let copy = home.path().join("restored");
        builder()
            .restore(&backup, &copy)
            .unwrap_or_else(|e| panic!("{context}: {e}"));
        assert_eq!(
            without_times(&verified_contents(&copy).expect("whole")),
            allowed[0],
            "{context}"
        );
    }
    struck
}

#[test]
fn a_restore_or_compaction_that_fails_anywhere_leaves_a_whole_store() {
    let home = tempfile::tempdir().expect("a directory");
    let (filled, backup) = (home.path().join("filled"), home.path().join("backup"));
    let store = builder().open(&filled).expect("opened");
    let main = fill(&store).expect("filled");
    store.backup(&backup).expect("backed up");
    main.delete(&["p3", "p4"]).expect("deleted");
    drop((store, main));
    let copy = home.path().join("copy");
    let restored = || {
        let _ = std::fs::remove_dir_all(&copy);
        builder().restore(&backup, &copy).expect("restored");
        without_times(&verified_contents(&copy).expect("whole"))
    };
    let (before, of_backup) = (
        without_times(&verified_contents(&filled).expect("whole")),
        restored(),
    );
    assert_ne!(before, of_backup);
    let path = home.path().join("s");
    let mut tried = 0;
    for restoring in [false, true] {
        let after = if restoring { &of_backup } else { &before };
        for (fault, only) in [
            (Fault::Refused, None),
            (Fault::Unacknowledged, Some(DiskOp::Rename)),
            (Fault::Unacknowledged, Some(DiskOp::Sync)),
            (Fault::Unacknowledged, Some(DiskOp::Flush)),
            (Fault::Short, Some(DiskOp::Write)),
        ] {
            let mut at = 0;
            loop {
                let context = format!("restoring: {restoring}, {fault:?} of {only:?} after {at}");
                let _ = std::fs::remove_dir_all(&path);
                copy_dir(&filled, &path);
                let faults = Faults::new();
                faults.fail(at, fault, only, false);
                let store = builder().faults(faults.clone());
                let done = if restoring {
                    store.restore(&backup, &path).map(drop)
                } else {
                    store.compact(&path).map(drop)
                };
                let struck = faults.clear();
                assert!(struck || done.is_ok(), "{context}: {done:?}");
                let state = without_times(
                    &verified_contents(&path).unwrap_or_else(|e| panic!("{context}: {e}")),
                );
                assert!(
                    state == *after || done.is_err() && state == before,
                    "{context}: another state"
                );
                for left in ["sled.next", "sled.last"] {
                    assert!(!path.join(left).exists(), "{context}: {left}");
                }
                if !struck {
                    break;
                }
                tried += 1;
                at += if std::env::var_os("AFFINIS_EVERY").is_some() {
                    1
                } else {
                    1 + at / 2
                };
            }
        }
    }
    assert_eq!(restored(), of_backup, "the backup is as it was");
    println!("{tried} crash points of restore and compact tried");
    assert!(tried > 50, "only {tried} crash points were tried");
}

#[test]
fn a_failed_flush_poisons_the_store_until_it_is_opened_again() {
    let home = tempfile::tempdir().expect("a directory");
    let faults = Faults::new();
    let store = builder()
        .faults(faults.clone())
        .open(home.path().join("s"))
        .expect("opened");
    let main = fill(&store).expect("filled");
    main.settle().expect("settled");
    faults.fail(0, Fault::Refused, Some(DiskOp::Flush), false);
    store
        .flush()
        .expect("all is on disk: there is nothing to do, and nothing that could fail");
    assert!(matches!(main.add(items(70, 1)), Err(Error::Storage { .. })));
    faults.clear();
    for refused in [
        main.add(items(71, 1)).map(drop),
        main.delete(&["p1"]).map(drop),
        store.flush(),
        main.rollback(None).map(drop),
    ] {
        let message = refused.expect_err("refused").to_string();
        assert!(message.contains("open it again"), "{message}");
    }
    assert!(
        matches!(main.get("p70"), Err(Error::Poisoned(_))),
        "what may not be durable is not shown"
    );
    assert_eq!(main.len(), 61);
    drop((store, main));
    let store = builder().open(home.path().join("s")).expect("opened again");
    let main = store.collection("main").open().expect("opened");
    assert!([61, 62].contains(&main.len()));
    main.add(items(71, 1)).expect("writes again");
    assert_eq!(store.verify().expect("verified").problems, []);
}
