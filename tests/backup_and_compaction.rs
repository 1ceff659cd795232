//! Backups taken during writes and restored, and compaction, which leaves nothing of what was
//! forgotten and little besides live data.
//!
//! `AFFINIS_REWRITES` says how many rewrites of the same items are made (1,000):
//! `AFFINIS_REWRITES=10000 cargo test --workspace --test backup_and_compaction rewrites --
//! --nocapture`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use affinis::learning::{Forget, Guidelines, ScaleGrade};
use affinis::testing::{Fault, Faults};
use affinis::{AddMode, Collection, Distance, Error, Item, Judgement, Precision, Query, Result};
use affinis_testkit::stores::{
    DIM, builder, copy_dir, create_filled, fill, judgements, store_contents, verified_contents,
};
use affinis_testkit::{Random, setting};
use serde_json::json;

#[test]
fn a_backup_taken_during_writes_is_consistent() {
    let home = tempfile::tempdir().expect("a directory");
    let store = builder().open(home.path().join("s")).expect("opened");
    let first = store.collection("first").dim(2).create().expect("made");
    let second = store.collection("second").dim(2).create().expect("made");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Both collections get the same batches, the first one before the second.
            for round in 0.. {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let batch = || {
                    (0..10).map(move |i| {
                        Item::vector(format!("{round}-{i}"), [round as f32, i as f32])
                    })
                };
                first.add(batch()).expect("added");
                second.add(batch()).expect("added");
            }
        });
        for number in 0..6 {
            std::thread::sleep(std::time::Duration::from_millis(30));
            store
                .backup(home.path().join(format!("backup {number}")))
                .expect("backed up");
        }
        stop.store(true, Ordering::Release);
    });
    let mut last = 0;
    for number in 0..6 {
        let path = home.path().join(format!("restored {number}"));
        builder()
            .restore(home.path().join(format!("backup {number}")), &path)
            .expect("whole");
        let store = builder().open(&path).expect("opened");
        let count = |name: &str| store.collection(name).open().expect("opened").len();
        let (one, two) = (count("first"), count("second"));
        assert!(
            one % 10 == 0 && (one == two || one == two + 10),
            "{one} and {two} items are no moment of it"
        );
        assert!(one >= last, "a later backup holds less");
        last = one;
    }
    assert!(last > 0, "nothing was written meanwhile");
}

#[test]
fn a_cancelled_backup_leaves_nothing_and_a_store_is_no_backup_of_itself() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, backup) = (home.path().join("s"), home.path().join("b"));
    let store = builder().open(&path).expect("opened");
    let main = fill(&store).expect("filled");
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(home.path()).expect("listed");
        entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect()
    };
    for asked in [0, 1, 5] {
        let left = std::cell::Cell::new(asked);
        let cancel = || left.replace(left.get().max(1) - 1) == 0;
        assert!(matches!(
            store.backup_with(&backup, cancel),
            Err(Error::Cancelled)
        ));
        assert_eq!(names(), ["s"]);
    }
    store.backup_with(&backup, || false).expect("backed up");
    drop((store, main));
    for itself in [path.clone(), home.path().join("b/../s")] {
        match builder().restore(&itself, &path) {
            Err(Error::NotAStore { reason, .. }) => assert!(reason.contains("the store itself")),
            other => panic!("{other:?}"),
        }
    }
    verified_contents(&path).expect("whole");
}

/// The files of vectors and graphs of a store, with what tells them from copies.
#[cfg(unix)]
fn vector_files(store: &Path) -> BTreeMap<String, u64> {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(store.join("sled/segments")).expect("a directory");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, entry.metadata().expect("its number").ino())
    };
    entries.map(file).collect()
}

#[cfg(unix)]
#[test]
fn a_second_backup_copies_only_new_files_of_vectors() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, backup) = (home.path().join("s"), home.path().join("b"));
    let store = builder().open(&path).expect("opened");
    let main = fill(&store).expect("filled");
    let other = store.collection("other").dim(2).create().expect("made");
    let item = |i: usize| Item::vector(format!("{i}"), [i as f32, 1.0]);
    other.add((0..3_000).map(item)).expect("added");
    other.optimize().expect("built");
    main.settle().expect("settled");
    store.backup(&backup).expect("backed up");
    let first = vector_files(&backup);
    main.delete(&["p1"]).expect("deleted");
    main.optimize().expect("built");
    store.backup(&backup).expect("backed up again");
    let second = vector_files(&backup);
    let of_other = |name: &str| name.starts_with("2-");
    assert!(first.keys().any(|name| of_other(name)), "{first:?}");
    for (name, number) in &first {
        let kept = second.get(name);
        assert_eq!(kept, of_other(name).then_some(number), "{name}");
    }
    let then = store_contents(&store).expect("seen");
    drop((store, main, other));
    // A damaged file of the earlier backup is not taken over.
    let damaged = second.keys().find(|name| of_other(name)).expect("a file");
    let damaged = backup.join("sled/segments").join(damaged);
    let mut bytes = std::fs::read(&damaged).expect("read");
    bytes[4 * 4096] ^= 1;
    std::fs::write(&damaged, bytes).expect("written");
    builder()
        .open(&path)
        .expect("opened")
        .backup(&backup)
        .expect("backed up");
    assert!(verified_contents(&backup).expect("whole") == then);

    let stranger = builder().open(home.path().join("t")).expect("opened");
    assert!(
        matches!(stranger.backup(&backup), Err(Error::BackupExists(_))),
        "the backup of another store is not overwritten"
    );
    let opened = builder().open(&backup).expect("opened");
    let store = builder().open(&path).expect("opened");
    assert!(matches!(store.backup(&backup), Err(Error::Locked { .. })));
    assert!(matches!(opened.backup(&backup), Err(Error::Locked { .. })));
}

#[test]
fn a_backup_that_is_replaced_is_the_earlier_or_the_new_one_wherever_the_disk_fails() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, backup) = (home.path().join("s"), home.path().join("b"));
    let faults = Faults::new();
    let store = builder()
        .faults(faults.clone())
        .open(&path)
        .expect("opened");
    let points = store.collection("points").dim(2).create().expect("made");
    let item = |i: usize| Item::vector(format!("{i}"), [i as f32, 1.0]);
    points.add((0..500).map(item)).expect("added");
    points.optimize().expect("built");
    store.backup(&backup).expect("backed up");
    points
        .add([Item::vector("new", [0.5, 0.5])])
        .expect("added");
    let (earlier, kept) = (home.path().join("earlier"), home.path().join("kept"));
    copy_dir(&backup, &kept);
    let (mut old, mut new) = (0, 0);
    for after in 0.. {
        let _ = std::fs::remove_dir_all(&earlier);
        copy_dir(&kept, &earlier);
        faults.fail(after, Fault::Refused, None, true);
        let written = store.backup(&earlier);
        faults.clear();
        let target = home.path().join(format!("restored {after}"));
        builder().restore(&earlier, &target).expect("restored");
        let restored = builder().open(&target).expect("opened");
        let restored = restored.collection("points").open().expect("opened");
        match restored.len() {
            500 => old += 1,
            501 => new += 1,
            other => panic!("{other} items after a fault at operation {after}"),
        }
        if written.is_ok() {
            assert_eq!(restored.len(), 501);
            break;
        }
    }
    assert!(
        old > 10 && new > 1,
        "{old} times the earlier, {new} times the new"
    );
}

#[cfg(unix)]
#[test]
fn a_backup_follows_a_link_to_an_empty_directory_and_refuses_one_to_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let store = builder().open(home.path().join("s")).expect("opened");
    let _main = fill(&store).expect("filled");
    let (link, target) = (home.path().join("link"), home.path().join("target"));
    std::os::unix::fs::symlink(&target, &link).expect("linked");
    assert!(matches!(
        store.backup(&link),
        Err(Error::DanglingLink { .. })
    ));
    std::fs::create_dir(&target).expect("a directory");
    store.backup(&link).expect("backed up");
    assert!(link.is_symlink());
    verified_contents(&target).expect("whole");
}

#[test]
fn a_restored_store_equals_the_one_backed_up_and_a_damaged_backup_replaces_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, backup) = (home.path().join("s"), home.path().join("b"));
    let store = builder().open(&path).expect("opened");
    let main = fill(&store).expect("filled");
    store.backup(&backup).expect("backed up");
    let then = store_contents(&store).expect("seen");
    main.delete(&["p1", "p2"]).expect("deleted");
    assert!(matches!(
        builder().restore(&backup, &path),
        Err(Error::Locked { .. })
    ));
    let now = store_contents(&store).expect("seen");
    drop((store, main));

    assert!(matches!(
        builder().restore(home.path().join("nothing"), &path),
        Err(Error::NotAStore { .. })
    ));
    // Every damaged, truncated or altered backup is refused, and the store is unchanged.
    let mut refused = 0;
    for (at, place) in (0..40).map(|i| (i, i * 997)).chain([(100, 0), (101, 0)]) {
        let bad = home.path().join(format!("bad {at}"));
        copy_dir(&backup, &bad);
        let db = bad.join("sled/db");
        let mut bytes = std::fs::read(&db).expect("read");
        match at {
            100 => bytes.truncate(bytes.len() / 3),
            101 => std::fs::write(bad.join("sled/evil"), "x").expect("written"),
            _ => bytes[place] ^= 0x10,
        }
        std::fs::write(&db, bytes).expect("written");
        let before = home.path().join("before");
        let _ = std::fs::remove_dir_all(&before);
        copy_dir(&path, &before);
        if builder().restore(&bad, &path).is_ok() {
            assert_eq!(
                verified_contents(&path).expect("whole"),
                then,
                "a damaged backup was believed"
            );
        } else {
            assert_eq!(verified_contents(&path).expect("as it was"), now);
            refused += 1;
        }
        std::fs::remove_dir_all(&path).expect("removed");
        std::fs::rename(&before, &path).expect("put back");
    }
    assert!(refused > 2, "only {refused} were refused");

    builder().restore(&backup, &path).expect("restored");
    assert_eq!(verified_contents(&path).expect("whole"), then);
    let fresh = home.path().join("fresh");
    builder().restore(&backup, &fresh).expect("a new store");
    assert_eq!(verified_contents(&fresh).expect("whole"), then);
}

#[cfg(unix)]
#[test]
fn a_backup_with_links_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let backup = home.path().join("b");
    {
        let store = builder().open(home.path().join("s")).expect("opened");
        fill(&store).expect("filled");
        store.backup(&backup).expect("backed up");
    }
    let secret = home.path().join("secret");
    std::fs::write(&secret, "not yours").expect("written");
    std::os::unix::fs::symlink(&secret, backup.join("sled/snap.0000000000000001")).expect("linked");
    let refused = builder()
        .restore(&backup, home.path().join("fresh"))
        .expect_err("refused");
    assert!(
        matches!(&refused, Error::Damaged { part, .. } if part.contains("snap.")),
        "{refused}"
    );
    assert!(
        builder()
            .create(false)
            .open(home.path().join("fresh"))
            .is_err()
    );
}

#[test]
fn compaction_changes_no_contents() -> Result<()> {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    create_filled(&path);
    let before = verified_contents(&path)?;
    let open = builder().open(&path)?;
    assert!(matches!(
        builder().compact(&path),
        Err(Error::Locked { .. })
    ));
    drop(open);
    let sizes = builder().compact(&path)?;
    assert!(sizes.after <= sizes.before, "{sizes:?}");
    assert_eq!(verified_contents(&path)?, before);
    builder().compact(&path)?;
    assert_eq!(verified_contents(&path)?, before);
    assert!(matches!(
        builder().compact(home.path().join("none")),
        Err(Error::NotAStore { .. })
    ));
    Ok(())
}

#[test]
fn a_backup_that_was_opened_as_a_store_can_be_restored() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, backup) = (home.path().join("s"), home.path().join("b"));
    let store = builder().open(&path).expect("opened");
    let points = store.collection("points").dim(2).create().expect("made");
    points
        .add((0..3_000).map(|i| Item::vector(format!("{i}"), [i as f32, 1.0])))
        .expect("added");
    points.settle().expect("settled");
    store.backup(&backup).expect("backed up");
    let used = builder().open(&backup).expect("opened");
    used.collection("points")
        .open()
        .expect("opened")
        .settle()
        .expect("settled");
    drop(used);
    assert!(
        backup.join("sled/segments").exists(),
        "it has images of its own"
    );
    drop((store, points));
    for target in [home.path().join("fresh"), path] {
        builder().restore(&backup, &target).expect("restored");
        let restored = builder().open(&target).expect("opened");
        assert_eq!(
            restored.collection("points").open().expect("opened").len(),
            3_000
        );
        assert!(restored.verify().expect("verified").problems.is_empty());
    }
}

#[test]
fn a_store_without_its_database_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    create_filled(&path);
    std::fs::remove_file(path.join("sled/db")).expect("removed");
    for create in [false, true, false] {
        assert!(
            matches!(
                builder().create(create).open(&path),
                Err(Error::NotAStore { .. })
            ),
            "{create}"
        );
    }
    std::fs::remove_dir_all(path.join("sled")).expect("removed");
    std::fs::create_dir(path.join("sled")).expect("made");
    assert!(matches!(
        builder().create(false).open(&path),
        Err(Error::NotAStore { .. })
    ));
    assert!(matches!(
        builder().repair(&path),
        Err(Error::NotAStore { .. })
    ));
}

#[test]
fn unreadable_settings_of_sled_are_damage_that_a_repair_removes() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    create_filled(&path);
    let before = verified_contents(&path).expect("whole");
    let whole = std::fs::read(path.join("sled/conf")).expect("read");
    let noise = |factor: usize| {
        (0..62)
            .map(move |i| (i * factor % 251) as u8)
            .collect::<Vec<u8>>()
    };
    for settings in [
        noise(37),
        noise(101),
        whole[..whole.len() / 2].to_vec(),
        Vec::new(),
    ] {
        std::fs::write(path.join("sled/conf"), &settings).expect("written");
        let refused = match builder().open(&path) {
            Err(refused) => refused,
            // sled writes new settings where the file is empty.
            Ok(_) if settings.is_empty() => continue,
            Ok(_) => panic!("{settings:?} were believed"),
        };
        assert!(matches!(refused, Error::Damaged { .. }), "{refused:?}");
        assert!(
            !builder()
                .repair(&path)
                .expect("repaired")
                .rebuilt
                .is_empty()
        );
        assert_eq!(verified_contents(&path).expect("whole"), before);
    }
}

/// The number of occurrences of `needle` in the files of a directory.
fn found(dir: &Path, needle: &[u8]) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += found(&path, needle);
        } else {
            let bytes = std::fs::read(path).expect("read");
            count += bytes
                .windows(needle.len())
                .filter(|window| *window == needle)
                .count();
        }
    }
    count
}

/// A vector that no other item has, and its bytes.
fn secret(seed: u64) -> (Vec<f32>, Vec<u8>) {
    let vector = Random(seed).vector(16);
    let bytes = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    (vector, bytes)
}

#[test]
fn compaction_leaves_no_byte_of_a_removed_vector_wherever_it_was() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    let store = builder().open(&path).expect("opened");
    let points = store.collection("points").dim(16).create().expect("made");
    let items = |from: usize, count: usize| {
        let mut random = Random(from as u64 + 1);
        let item = move |i: usize| Item::vector(format!("i{i}"), random.vector(16));
        (from..from + count).map(item)
    };
    let [sealed, in_rows, in_table] = [1, 2, 3].map(|seed| secret(1_000_000 + seed));
    points.add(items(0, 500)).expect("added");
    points
        .add([Item::vector("sealed", sealed.0.clone())])
        .expect("added");
    points.optimize().expect("built");
    // So many at once are in a file of their own until they are sealed.
    let large = items(1_000, 9_000).chain([Item::vector("in rows", in_rows.0.clone())]);
    points.add(large).expect("added");
    points
        .add([Item::vector("in table", in_table.0.clone())])
        .expect("added");
    let needles = [&sealed.1, &in_rows.1, &in_table.1];
    for (number, needle) in needles.into_iter().enumerate() {
        assert!(found(&path, needle) > 0, "{number} is to be found before");
    }
    points
        .delete(&["sealed", "in rows", "in table"])
        .expect("removed");
    drop((store, points));
    builder().compact(&path).expect("compacted");
    for (number, needle) in needles.into_iter().enumerate() {
        assert_eq!(found(&path, needle), 0, "{number} is still there");
    }
    let store = builder().open(&path).expect("opened");
    let points = store.collection("points").open().expect("opened");
    assert_eq!(store.verify().expect("verified").problems, []);
    assert_eq!(points.len(), 9_500);
    let nearest = points.search(Query::like("i1234")).k(5).recall(1.0).run();
    assert_eq!(nearest.expect("answered").len(), 5);
    // Some of one large write are sealed, and some are not yet.
    let large = secret(2_000_000);
    let batch = [Item::vector("large", large.0.clone())];
    points
        .add(batch.into_iter().chain(items(20_000, 8_700)))
        .expect("added");
    let half: Vec<String> = (20_000..22_500).map(|i| format!("i{i}")).collect();
    points.delete(&["large"]).expect("removed");
    points.delete(&half).expect("removed");
    points.settle().expect("settled");
    drop((store, points));
    builder().compact(&path).expect("compacted");
    assert_eq!(found(&path, &large.1), 0);
    let store = builder().open(&path).expect("opened");
    let points = store.collection("points").open().expect("opened");
    assert_eq!(points.len(), 9_500 + 8_700 - 2_500);
    // Of a collection of which everything was removed, no file is left.
    let all: Vec<String> = points
        .list(None)
        .map(|item| item.map(|item| item.id))
        .collect::<Result<_>>()
        .expect("read");
    points.delete(&all).expect("removed");
    drop((store, points));
    builder().compact(&path).expect("compacted");
    let left = std::fs::read_dir(path.join("sled/segments")).expect("a directory");
    assert_eq!(left.count(), 0);
    let store = builder().open(&path).expect("opened");
    let points = store.collection("points").open().expect("opened");
    points.add(items(0, 5)).expect("added");
    assert_eq!(points.len(), 5);
    // Removed before anything of it was sealed.
    let other = store.collection("other").dim(384).create().expect("made");
    let mut random = Random(5);
    let item = |i: usize| Item::vector(format!("{i}"), random.vector(384));
    let all: Vec<Item> = (0..600).map(item).collect();
    let first = all[0].vector.clone().expect("given");
    let first: Vec<u8> = first.iter().flat_map(|x| x.to_le_bytes()).collect();
    other.add(all.clone()).expect("added");
    assert!(found(&path, &first) > 0);
    let ids: Vec<&str> = all.iter().map(|item| &*item.id).collect();
    other.delete(&ids).expect("removed");
    drop((store, points, other));
    builder().compact(&path).expect("compacted");
    assert_eq!(found(&path, &first), 0);
}

#[test]
fn vectors_of_cosine_collections_stay_the_same_to_the_bit() {
    let home = tempfile::tempdir().expect("a directory");
    for precision in [Precision::F32, Precision::F16, Precision::I8] {
        let path = home.path().join(precision.to_string());
        let store = builder().open(&path).expect("opened");
        let points = store.collection("points").dim(100);
        let points = points.distance(Distance::Cosine).precision(precision);
        let points = points.create().expect("made");
        let mut random = Random(11);
        let item = |i: usize| Item::vector(format!("i{i}"), random.vector(100));
        points.add((0..2_000).map(item)).expect("added");
        let read = |points: &Collection| -> BTreeMap<String, Vec<f32>> {
            let items = points.list(None).map(|item| item.expect("read"));
            let vector = |item: Item| (item.id, item.vector.expect("stored"));
            items.map(vector).collect()
        };
        let first = read(&points);
        // Sealed, with other metadata, in another store, and taken out of a damaged file.
        points.optimize().expect("built");
        assert!(read(&points) == first, "{precision}: sealed");
        for ids in [0..5, 0..1_500] {
            let meta = |i: usize| Item {
                id: format!("i{i}"),
                meta: json!({"round": 2}),
                ..Item::default()
            };
            points
                .add_as(AddMode::Update, ids.map(meta))
                .expect("updated");
            assert!(read(&points) == first, "{precision}: updated");
        }
        points.optimize().expect("built");
        assert!(read(&points) == first, "{precision}: sealed again");
        drop((store, points));
        let files = std::fs::read_dir(path.join("sled/segments")).expect("files");
        let files = files.map(|file| file.expect("a file").path());
        let is_segment = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default();
            !name.to_string_lossy().contains("ids")
        };
        for file in files.filter(is_segment) {
            let mut bytes = std::fs::read(&file).expect("read");
            // The header, the sections of numbers and of slots (two blocks), and then the edges.
            bytes[4 * 4096 + 1] ^= 1;
            std::fs::write(&file, bytes).expect("written");
        }
        let store = builder().open(&path).expect("opened");
        let points = store.collection("points").open().expect("built again");
        assert!(
            read(&points) == first,
            "{precision}: taken out of a damaged file"
        );
        assert_eq!(store.verify().expect("verified").problems, []);
    }
}

#[test]
fn compaction_leaves_no_byte_of_what_was_forgotten() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    let store = builder().open(&path).expect("opened");
    let main = fill(&store).expect("filled");
    let question: Vec<f32> = (0..DIM)
        .map(|i| 0.123_456_7 + i as f32 * 0.000_317)
        .collect();
    let question_bytes: Vec<u8> = question.iter().flat_map(|x| x.to_le_bytes()).collect();
    main.judge_all(judgements("Guinevere of Camelot", 3))
        .expect("judged");
    main.judge(
        Judgement::relevant(question, "p3")
            .user("Guinevere of Camelot")
            .shown(["p4"]),
    )
    .expect("judged");
    main.add([Item::vector("the secret item", vec![9.0; DIM]).with_text("a text nobody else has")])
        .expect("added");
    main.judge(Judgement::relevant(Query::like("p5"), "the secret item").user("ann"))
        .expect("judged");
    main.refit()
        .user("Guinevere of Camelot")
        .force(true)
        .run()
        .expect("her own");
    main.refit().force(true).run().expect("learned");
    let learned = main
        .history()
        .expect("read")
        .versions
        .last()
        .expect("a version")
        .metric
        .clone();
    let matrix = &learned[24..56];
    let needles: [&[u8]; 5] = [
        b"Guinevere of Camelot",
        &question_bytes,
        b"the secret item",
        b"a text nobody else has",
        matrix,
    ];
    for needle in needles {
        assert!(
            found(&path, needle) > 0,
            "{:?} is to be found before",
            String::from_utf8_lossy(needle)
        );
    }
    main.forget(&Forget::User("Guinevere of Camelot".into()))
        .expect("forgotten");
    main.forget(&Forget::Item("the secret item".into()))
        .expect("forgotten");
    main.delete(&["the secret item"]).expect("deleted");
    drop((store, main));
    builder().compact(&path).expect("compacted");
    for needle in needles {
        assert_eq!(
            found(&path, needle),
            0,
            "{:?} is left",
            String::from_utf8_lossy(needle)
        );
    }
    assert!(found(&path, b"p3") > 0, "what was kept is kept");
}

/// Moves a file or directory of a store elsewhere, and puts a symbolic link in its place.
#[cfg(unix)]
fn replace_by_link(path: &Path, elsewhere: &Path) {
    std::fs::rename(path, elsewhere).expect("moved");
    std::os::unix::fs::symlink(elsewhere, path).expect("linked");
}

#[cfg(unix)]
#[test]
fn compaction_leaves_nothing_behind_a_link() {
    const NEEDLE: &[u8] = b"a text nobody else has";
    // All that the store ever writes is below one directory.
    let everything = tempfile::tempdir().expect("a directory");
    let path = everything.path().join("s");
    let other = everything.path().join("other-disk");
    std::fs::create_dir(&other).expect("made");
    let store = builder().open(&path).expect("opened");
    let main = fill(&store).expect("filled");
    // Longer than sled keeps in its log.
    let text = format!("a text nobody else has {}", "x".repeat(100_000));
    main.add([Item::vector("secret", vec![9.0; DIM]).with_text(text)])
        .expect("added");
    main.settle().expect("settled");
    main.delete(&["secret"]).expect("deleted");
    drop((store, main));
    let backup = everything.path().join("backup");
    builder()
        .open(&path)
        .expect("opened")
        .backup(&backup)
        .expect("backed up");
    let before = verified_contents(&path).expect("whole");
    assert!(found(&path, NEEDLE) > 0, "it is to be found before");

    let inside: Vec<std::path::PathBuf> = std::fs::read_dir(path.join("sled"))
        .expect("read")
        .map(|entry| entry.expect("read").path())
        .collect();
    let blob = std::fs::read_dir(path.join("sled/blobs"))
        .expect("read")
        .next()
        .map(|entry| entry.expect("read").path());
    let mut linked = vec![path.join("sled")];
    linked.extend(inside);
    linked.extend(blob);
    assert!(linked.len() > 4, "{linked:?}");
    for link in linked {
        let target = other.join("target");
        replace_by_link(&link, &target);
        for refused in [
            builder().compact(&path).err(),
            builder().restore(&backup, &path).err(),
        ] {
            assert!(
                matches!(&refused, Some(Error::SymbolicLink(of)) if *of == link),
                "{}: {refused:?}",
                link.display()
            );
        }
        assert!(link.is_symlink());
        // As the message advises.
        std::fs::remove_file(&link).expect("removed");
        std::fs::rename(&target, &link).expect("moved");
        assert_eq!(verified_contents(&path).expect("whole"), before);
    }
    assert!(found(everything.path(), NEEDLE) > 0);

    // The store's whole directory on another disk.
    replace_by_link(&path, &other.join("store"));
    builder().compact(&path).expect("compacted");
    assert_eq!(found(everything.path(), NEEDLE), 0);
    assert!(path.is_symlink());
    assert_eq!(verified_contents(&path).expect("whole"), before);
}

#[test]
fn compaction_bounds_a_store_after_many_rewrites_refits_and_builds() {
    let rewrites = setting("AFFINIS_REWRITES", 1_000) as usize;
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    let store = builder().open(&path).expect("opened");
    let main = store.collection("main").dim(64).create().expect("made");
    let (batch, mut random) = (200, Random(3));
    let mut rewrite = || {
        let items: Vec<Item> = (0..batch)
            .map(|i| Item::vector(format!("p{i}"), random.vector(64)).with_text("x".repeat(200)))
            .collect();
        main.add(items).expect("added");
    };
    rewrite();
    main.judge_all(judgements("ann", 0)).expect("judged");
    for round in 0..20 {
        for _ in 0..=rewrites / batch / 20 {
            rewrite();
        }
        main.refit().force(true).run().expect("learned");
        if round % 2 == 0 {
            main.optimize().expect("optimized");
        }
    }
    let metrics: usize = main
        .history()
        .expect("read")
        .versions
        .iter()
        .map(|v| v.metric.len())
        .sum();
    // The vectors, ids and texts of the items, and the matrices of all versions, which are kept.
    let live = batch * (64 * 4 + 200 + 8) + metrics;
    drop((store, main));
    let sizes = builder().compact(&path).expect("compacted");
    let ratio = sizes.after as f64 / live as f64;
    println!(
        "{rewrites} rewrites, 20 refits, 10 optimizations: {} bytes before compacting, {} after, {ratio:.2} times the {live} live",
        sizes.before, sizes.after
    );
    assert!(ratio < 4.0, "{ratio:.2} times the live data");
}

#[test]
fn guidelines_are_there_after_opening_again_in_a_backup_and_after_compaction() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    let grade = |label: &str, grade| ScaleGrade {
        label: label.to_owned(),
        grade,
    };
    let guidelines = Guidelines {
        text: "Relevant is what answers the question.".to_owned(),
        scale: vec![grade("no", -1.0), grade("partly", 0.25), grade("yes", 1.0)],
    };
    {
        let store = builder().open(&path).expect("opened");
        let points = store.collection("points").dim(2).create().expect("made");
        assert_eq!(points.guidelines().expect("read"), Guidelines::default());
        points.set_guidelines(&guidelines).expect("set");
        let wrong = Guidelines {
            scale: vec![grade("yes", 1.0)],
            ..guidelines.clone()
        };
        let refused = points.set_guidelines(&wrong);
        assert!(matches!(refused, Err(Error::InvalidSetting { .. })));
        store.backup(home.path().join("b")).expect("backed up");
    }
    let kept = |path: &Path| {
        let store = builder().open(path).expect("opened");
        assert_eq!(store.verify().expect("verified").problems, []);
        let points = store.collection("points").open().expect("opened");
        assert_eq!(points.guidelines().expect("read"), guidelines);
    };
    kept(&path);
    builder().compact(&path).expect("compacted");
    kept(&path);
    let restored = home.path().join("r");
    builder()
        .restore(home.path().join("b"), &restored)
        .expect("whole");
    kept(&restored);
}
