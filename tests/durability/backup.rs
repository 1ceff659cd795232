//! Backup of a live store, restoring, compacting.

use std::sync::atomic::{AtomicBool, Ordering};

use affinis::{Error, Item, Result};

use crate::scene::{builder, copy_dir, fill, filled, look, seen_store};

#[test]
fn a_backup_of_a_store_that_is_written_to_is_one_moment_of_it() {
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
fn what_is_restored_is_what_was_backed_up_and_damage_replaces_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, backup) = (home.path().join("s"), home.path().join("b"));
    let store = builder().open(&path).expect("opened");
    let main = fill(&store).expect("filled");
    store.backup(&backup).expect("backed up");
    assert!(
        matches!(store.backup(&backup), Err(Error::Invalid(_))),
        "a backup is not overwritten"
    );
    let then = seen_store(&store).expect("seen");
    main.delete(&["p1", "p2"]).expect("deleted");
    assert!(matches!(
        builder().restore(&backup, &path),
        Err(Error::Locked { .. })
    ));
    let now = seen_store(&store).expect("seen");
    drop((store, main));

    assert!(matches!(
        builder().restore(home.path().join("nothing"), &path),
        Err(Error::NotAStore { .. })
    ));
    // Every damaged, cut or strange backup is refused, and the store stays.
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
                look(&path).expect("whole"),
                then,
                "a damaged backup was believed"
            );
        } else {
            assert_eq!(look(&path).expect("as it was"), now);
            refused += 1;
        }
        std::fs::remove_dir_all(&path).expect("removed");
        std::fs::rename(&before, &path).expect("put back");
    }
    assert!(refused > 2, "only {refused} were refused");

    builder().restore(&backup, &path).expect("restored");
    assert_eq!(look(&path).expect("whole"), then);
    let fresh = home.path().join("fresh");
    builder().restore(&backup, &fresh).expect("a new store");
    assert_eq!(look(&fresh).expect("whole"), then);
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
fn a_compacted_store_is_the_same_store() -> Result<()> {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    filled(&path);
    let before = look(&path)?;
    let open = builder().open(&path)?;
    assert!(matches!(
        builder().compact(&path),
        Err(Error::Locked { .. })
    ));
    drop(open);
    let sizes = builder().compact(&path)?;
    assert!(sizes.after <= sizes.before, "{sizes:?}");
    assert_eq!(look(&path)?, before);
    builder().compact(&path)?;
    assert_eq!(look(&path)?, before);
    assert!(matches!(
        builder().compact(home.path().join("none")),
        Err(Error::NotAStore { .. })
    ));
    Ok(())
}

#[test]
fn a_backup_that_was_used_as_a_store_is_restored_too() {
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
fn a_store_without_its_database_is_not_said_to_be_sound() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    filled(&path);
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
fn settings_of_sled_that_cannot_be_read_are_damage_that_a_repair_mends() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    filled(&path);
    let before = look(&path).expect("whole");
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
            // sled makes new ones where there are none.
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
        assert_eq!(look(&path).expect("whole"), before);
    }
}
