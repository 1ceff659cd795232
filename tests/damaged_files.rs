//! Damaged files: right answers or a typed error, never a panic, an endless loop or a silently
//! smaller collection.
//!
//! `AFFINIS_DAMAGES` says how many damaged stores are tried (60), `AFFINIS_SEED` from which seed
//! (1): `AFFINIS_DAMAGES=2000 cargo test --workspace --test damaged_files -- --nocapture`

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use affinis::{Error, Item};

use affinis_testkit::stores::{
    builder, copy_dir, create_filled, files, fill, items, store_contents, verified_contents,
};
use affinis_testkit::{Random, setting};

/// Damages one file and returns a description of the damage.
fn damage(dir: &Path, random: &mut Random) -> String {
    let files = files(dir);
    // Most of a store is its database, so most trials damage that.
    let images: Vec<&PathBuf> = files
        .iter()
        .filter(|f| f.parent().is_some_and(|dir| dir.ends_with("segments")))
        .collect();
    let file = match random.below(5) {
        0 => &files[random.below(files.len())],
        1 if !images.is_empty() => images[random.below(images.len())],
        _ => files
            .iter()
            .find(|f| f.ends_with("sled/db"))
            .expect("a database"),
    };
    let mut bytes = std::fs::read(file).expect("read");
    let what = match random.below(10) {
        0..6 if !bytes.is_empty() => {
            let mut places = Vec::new();
            for _ in 0..=random.below(3) {
                // In a byte that is not padding, if one is found.
                let mut at = random.below(bytes.len());
                for _ in 0..50 {
                    if bytes[at] != 0 {
                        break;
                    }
                    at = random.below(bytes.len());
                }
                bytes[at] ^= 1 << random.below(8);
                places.push(at);
            }
            format!("bits flipped at {places:?}")
        }
        6 | 7 => {
            let length = random.below(bytes.len() + 1);
            bytes.truncate(length);
            format!("cut to {length} bytes")
        }
        8 => {
            let (at, length) = (random.below(bytes.len() + 1), random.below(5000));
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(0);
            format!("{at}..{end} zeroed")
        }
        _ => {
            std::fs::remove_file(file).expect("removed");
            return format!("{} removed", file.display());
        }
    };
    std::fs::write(file, bytes).expect("written");
    format!("{}: {what}", file.display())
}

fn contents_of_copy(store: &Path) -> String {
    let copy = store.with_extension("copy");
    copy_dir(store, &copy);
    verified_contents(&copy).expect("whole")
}

/// Runs `work` in a thread and panics after two minutes: an endless loop is a failure too.
fn with_timeout<T: Send + 'static>(context: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waiting) = mpsc::channel();
    let thread = std::thread::spawn(move || drop(done.send(work())));
    match waiting.recv_timeout(Duration::from_mins(2)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{context}: no end"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("{context}: no result"),
        },
    }
}

#[test]
fn a_store_with_damaged_files_answers_rightly_or_refuses() {
    let (trials, seed) = (setting("AFFINIS_DAMAGES", 60), setting("AFFINIS_SEED", 1));
    let verbose = setting("AFFINIS_VERBOSE", 0) > 0;
    let home = tempfile::tempdir().expect("a directory");
    let whole = home.path().join("whole");
    create_filled(&whole);
    let expected = verified_contents(&whole).expect("whole");
    // The same store as a kill leaves it: sled has no snapshot of its last writes.
    let killed = home.path().join("killed");
    {
        let store = builder()
            .open(home.path().join("killed one"))
            .expect("opened");
        let main = fill(&store).expect("filled");
        main.settle().expect("settled");
        copy_dir(&home.path().join("killed one"), &killed);
    }
    let of_killed = contents_of_copy(&killed);
    let (mut right, mut refused, mut repaired) = (0, 0, 0);
    for trial in 0..trials {
        let mut random = Random(seed.wrapping_mul(1_000_003) + trial);
        let dir = home.path().join("damaged");
        let _ = std::fs::remove_dir_all(&dir);
        let (whole, expected) = if trial % 2 == 0 {
            (&whole, &expected)
        } else {
            (&killed, &of_killed)
        };
        copy_dir(whole, &dir);
        let what = damage(&dir, &mut random);
        let context = format!("seed {seed}, trial {trial}, {what}");
        let path = dir.clone();
        match with_timeout(&context, move || verified_contents(&path)) {
            Ok(found) => {
                assert!(
                    found == *expected,
                    "{context}: another answer, and nothing was said"
                );
                right += 1;
            }
            Err(error) => {
                let typed = matches!(
                    error,
                    Error::Damaged { .. }
                        | Error::Storage { .. }
                        | Error::Poisoned(_)
                        | Error::NotAStore { .. }
                        | Error::OlderFormat { .. }
                        | Error::NewerFormat { .. }
                        | Error::Io { .. }
                );
                assert!(
                    typed && !error.to_string().is_empty(),
                    "{context}: {error:?}"
                );
                if verbose {
                    println!("{context}: {error}");
                }
                refused += 1;
                let path = dir.clone();
                let repair = move || {
                    let report = builder().repair(&path)?;
                    let store = builder().create(false).open(&path)?;
                    Ok::<_, Error>((report, store.verify()?.problems, store_contents(&store)?))
                };
                if let Ok((report, problems, found)) = with_timeout(&context, repair) {
                    assert_eq!(problems, [], "{context}: repaired, and not sound");
                    assert!(
                        found == *expected || !report.lost.is_empty(),
                        "{context}: lost, and nothing was said"
                    );
                    repaired += 1;
                }
            }
        }
    }
    println!(
        "{trials} damaged stores: {right} answered rightly, {refused} refused, {repaired} of these repaired"
    );
    assert!(
        refused > 0 && right > 0,
        "{refused} refused, {right} right: the damage is too much or too little"
    );
}

#[test]
fn a_database_that_lost_commits_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    create_filled(&path);
    let old = home.path().join("old");
    copy_dir(&path, &old);
    let store = builder().open(&path).expect("opened");
    let main = store.collection("main").open().expect("opened");
    main.add(items(80, 3)).expect("acknowledged");
    drop((store, main));
    // An older database beside the newer commit counter: as if the end of sled's log was gone.
    for file in files(&old) {
        let name = file.file_name().expect("a name");
        if name != "commits" && name != "lock" {
            let target = path.join("sled").join(name);
            let _ = std::fs::remove_file(&target);
            std::fs::copy(&file, target).expect("copied");
        }
    }
    for stale in files(&path.join("sled")) {
        let known = old.join("sled").join(stale.file_name().expect("a name"));
        if !known.exists() {
            std::fs::remove_file(stale).expect("removed");
        }
    }
    match builder().open(&path) {
        Err(Error::Damaged { reason, .. }) => {
            assert!(reason.contains("commits are missing"), "{reason}");
        }
        other => panic!("an older database was taken for the last: {other:?}"),
    }
    let report = builder().repair(&path).expect("repaired");
    assert!(
        report.lost[0].contains("cannot be brought back"),
        "{report:?}"
    );
    assert_eq!(report.verified.problems, []);
    builder().open(&path).expect("what is left can be used");
}

#[test]
fn an_unfinished_snapshot_of_sled_is_ignored() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    create_filled(&path);
    let expected = verified_contents(&path).expect("whole");
    let snapshot = |file: &PathBuf| {
        file.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("snap."))
    };
    let newest = files(&path)
        .into_iter()
        .rfind(snapshot)
        .expect("sled left a snapshot");
    let bytes = std::fs::read(&newest).expect("read");
    // A snapshot that sled began to write when it opened the database, and did not finish.
    let unfinished = path.join("sled").join("snap.7FFFFFFFFFFFFFFF.generating");
    for length in [0, 11, bytes.len() / 2, bytes.len()] {
        std::fs::write(&unfinished, &bytes[..length]).expect("written");
        assert!(
            verified_contents(&path).unwrap_or_else(|e| panic!("{length} bytes: {e}")) == expected,
            "{length} bytes"
        );
        assert!(!unfinished.exists());
    }
}

/// The file of the only segment of the collection that was made first.
fn segment_file(store: &Path) -> PathBuf {
    let name = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("0-") && !name.contains("ids") && !name.contains("rows")
    };
    let mut found = files(store).into_iter().filter(name);
    let file = found.next().expect("a segment file");
    assert_eq!(found.next(), None);
    file
}

/// Flips a bit of a file.
fn flip(file: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = std::fs::read(file).expect("read");
    let at = at(bytes.len());
    bytes[at] ^= 4;
    std::fs::write(file, bytes).expect("written");
}

#[test]
fn a_damaged_vector_fails_the_search_and_a_repair_keeps_all_others() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    {
        let store = builder().open(&path).expect("made");
        let main = store.collection("main").dim(16).create().expect("made");
        let mut random = Random(3);
        let item = |i: usize| Item::vector(format!("i{i}"), random.vector(16));
        main.add((0..300).map(item)).expect("added");
        main.optimize().expect("built");
    }
    // The vectors are the last section, in blocks of 4 KiB; the second header follows them.
    flip(&segment_file(&path), |length| length - 2 * 4096 + 10);
    let before = {
        let store = builder().open(&path).expect("opened");
        let main = store
            .collection("main")
            .open()
            .expect("nobody has looked at the vector yet");
        assert!(main.stats().expect("measured").mapped_bytes > 0);
        for recall in [1.0, 0.5] {
            let refused = main
                .search(vec![0.0; main.dim()])
                .k(100)
                .recall(recall)
                .run();
            assert!(
                matches!(&refused, Err(Error::Damaged { part, reason })
                    if part.contains("file") && reason.contains("--repair")),
                "{refused:?}"
            );
        }
        let problems = store.verify().expect("verified").problems;
        assert!(
            problems.iter().any(|problem| problem.part.contains("item")),
            "{problems:?}"
        );
        main.len()
    };
    let report = builder().repair(&path).expect("repaired");
    assert_eq!(report.verified.problems, []);
    assert!(
        report.lost.iter().all(|lost| lost.contains("item")),
        "{report:?}"
    );
    let store = builder().open(&path).expect("opened");
    let main = store.collection("main").open().expect("opened");
    assert!(!report.lost.is_empty() && report.lost.len() <= 64);
    assert_eq!(main.len(), before - report.lost.len());
    main.optimize().expect("built again");
    assert!(main.stats().expect("measured").mapped_bytes > 0);
    let found = main
        .search(vec![1.0; main.dim()])
        .k(10_000)
        .recall(1.0)
        .run();
    assert_eq!(found.expect("answered").len(), main.len());
    segment_file(&path);
    assert_eq!(store.verify().expect("verified").problems, []);
}

#[test]
fn where_no_vector_is_damaged_a_collection_opens_and_is_built_again() {
    let home = tempfile::tempdir().expect("a directory");
    let whole = home.path().join("whole");
    create_filled(&whole);
    let expected = verified_contents(&whole).expect("whole");
    // The first header; the edges, in the fourth block; the file of ids.
    for at in [Some(1), Some(3 * 4096 + 1), None] {
        let path = home.path().join("s");
        let _ = std::fs::remove_dir_all(&path);
        copy_dir(&whole, &path);
        if let Some(at) = at {
            flip(&segment_file(&path), |_| at);
        } else {
            let ids = |file: &PathBuf| file.to_string_lossy().contains("0-ids");
            let ids = files(&path).into_iter().find(ids).expect("a file of ids");
            std::fs::remove_file(ids).expect("removed");
        }
        let report = builder().repair(&path).expect("repaired");
        assert!(
            report.lost.is_empty() && !report.rebuilt.is_empty(),
            "{report:?}"
        );
        assert!(verified_contents(&path).expect("whole") == expected);
        let _ = std::fs::remove_dir_all(&path);
        copy_dir(&whole, &path);
        if let Some(at) = at {
            flip(&segment_file(&path), |_| at);
        }
        let store = builder().open(&path).expect("opened");
        store.collection("main").open().expect("opened");
        assert!(store_contents(&store).expect("read") == expected);
    }
}

#[test]
fn a_page_that_cannot_be_read_is_one_problem_that_no_repair_remedies() {
    let home = tempfile::tempdir().expect("a directory");
    let whole = home.path().join("whole");
    {
        let store = builder().open(&whole).expect("made");
        for name in ["one", "two", "three", "four"] {
            let points = store.collection(name).dim(16).create().expect("made");
            let mut random = Random(7);
            let item = |i: usize| {
                let text = format!("text number {i} with some words ").repeat(8);
                Item::vector(format!("i{i}"), random.vector(16)).with_text(text)
            };
            points.add((0..3_000).map(item)).expect("added");
        }
    }
    // An opening writes a snapshot of the page table, after which sled reads a page when it is asked
    // for it. Without one, damage keeps the store from opening.
    drop(builder().open(&whole).expect("opened"));
    drop(builder().open(&whole).expect("opened"));
    let mut found = 0;
    for seed in 0..40 {
        let mut random = Random(seed + 1);
        let dir = home.path().join("damaged");
        let _ = std::fs::remove_dir_all(&dir);
        copy_dir(&whole, &dir);
        let file = dir.join("sled/db");
        let mut bytes = std::fs::read(&file).expect("read");
        let from = random.below(bytes.len());
        let to = (from + 512).min(bytes.len());
        for byte in &mut bytes[from..to] {
            *byte = random.below(256) as u8;
        }
        std::fs::write(&file, bytes).expect("written");
        let Ok(store) = builder().open(&dir) else {
            continue;
        };
        let problems = store.verify().expect("verified").problems;
        drop(store);
        let unread: Vec<_> = problems
            .iter()
            .filter(|p| p.message.contains("sled"))
            .collect();
        if unread.is_empty() {
            continue;
        }
        found += 1;
        assert_eq!(unread.len(), 1, "seed {seed}: {problems:?}");
        assert!(!unread[0].repairable && unread[0].part.contains("the database in"));
        assert!(builder().repair(&dir).is_err(), "seed {seed}");
        if found == 3 {
            break;
        }
    }
    assert!(found > 0, "no damage was in a page that is read");
}
