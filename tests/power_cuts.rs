//! The power is cut: of what was written and not synced, anything may be missing on the disk.
//! Nothing acknowledged is lost, and the operation under way is done or undone.
//!
//! What a cut can leave is composed from the files before an operation and after it: pages of the
//! log, whole files and names, each from before or after. What an acknowledgement promises is
//! always from after.
//!
//! `AFFINIS_CUTS` says how many cuts an operation (5), `AFFINIS_SEED` from which seed (1):
//! `AFFINIS_CUTS=200 cargo test --workspace --test power_cuts -- --nocapture`

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use affinis::{
    Error,
    testing::{DiskOp, Fault, Faults},
};

use affinis_testkit::interrupted::{
    OPERATIONS, Operation, allowed_contents, is_forgotten_before_refit, without_times,
};
use affinis_testkit::stores::{builder, copy_dir, files, fill, verified_contents};
use affinis_testkit::{Random, setting};

const PAGE: usize = 4096;

/// A store's directory before and after an operation.
struct Cut {
    before: PathBuf,
    after: PathBuf,
    acknowledged: bool,
}

impl Cut {
    /// Does an operation on a copy of a store. Without acknowledgement, all of it is written and
    /// nothing is promised.
    fn of(work: Operation, filled: &Path, home: &Path, acknowledged: bool) -> Self {
        let (path, before, after) = (home.join("s"), home.join("before"), home.join("after"));
        for dir in [&path, &before, &after] {
            let _ = fs::remove_dir_all(dir);
        }
        copy_dir(filled, &path);
        let faults = Faults::new();
        let store = builder()
            .faults(faults.clone())
            .open(&path)
            .expect("opened");
        let main = store.collection("main").open().expect("opened");
        main.settle().expect("settled");
        copy_dir(&path, &before);
        if !acknowledged {
            faults.fail(0, Fault::Refused, Some(DiskOp::Flush), true);
        }
        let done = work(&store, &main, home);
        assert_eq!(done.is_ok(), acknowledged, "{done:?}");
        if acknowledged {
            drop(main.settle());
            copy_dir(&path, &after);
        }
        drop((store, main));
        if !acknowledged {
            copy_dir(&path, &after);
        }
        Self {
            before,
            after,
            acknowledged,
        }
    }

    /// Writes what a cut may leave to a directory, and returns a description of it.
    fn make(&self, to: &Path, random: &mut Random) -> String {
        let _ = fs::remove_dir_all(to);
        let names = |dir: &Path| -> BTreeSet<PathBuf> {
            files(dir)
                .iter()
                .map(|file| file.strip_prefix(dir).expect("within").to_owned())
                .collect()
        };
        let mut said = Vec::new();
        // A file system journal keeps the order of names: the old snapshot is removed after the new
        // one is there.
        let snapshots = random.below(3);
        for dir in ["", "published", "sled", "sled/blobs", "sled/segments"] {
            fs::create_dir_all(to.join(dir)).expect("made");
        }
        for name in names(&self.before).union(&names(&self.after)) {
            let [before, after] =
                [&self.before, &self.after].map(|dir| fs::read(dir.join(name)).ok());
            let file = name.file_name().unwrap_or_default().to_string_lossy();
            let kept = if before == after {
                after
            } else if file == "db" && !self.acknowledged {
                let (bytes, pages) = mixed(
                    &before.unwrap_or_default(),
                    &after.unwrap_or_default(),
                    random,
                );
                said.push(format!("log: {pages}"));
                Some(bytes)
            } else if name.starts_with("sled/segments") {
                // A file is synced before the log names it, and removed when the log that does not is
                // synced; a removal may be undone.
                let is_back = !self.acknowledged || random.below(2) == 0;
                after.or(before.filter(|_| is_back))
            } else if self.acknowledged && (file == "db" || name.starts_with("sled/blobs")) {
                after
            } else if file == "commits" {
                if self.acknowledged && random.below(2) == 0 {
                    after
                } else {
                    before
                }
            } else if file.starts_with("snap.") {
                match (snapshots, before.is_some()) {
                    (0, _) => before,
                    (1, _) | (_, false) => before.or(after),
                    _ => None,
                }
            } else {
                let side = random.below(4);
                said.push(format!("{}: {side}", name.display()));
                match (side, after) {
                    (0, after) => after,
                    (1, Some(after)) => Some(after[..after.len() / 2].to_vec()),
                    (2, Some(_)) if before.is_none() => Some(Vec::new()),
                    _ => before,
                }
            };
            if let Some(bytes) = kept {
                fs::write(to.join(name), bytes).expect("written");
            }
        }
        format!("snapshots {snapshots}, {}", said.join(", "))
    }
}

/// A file of which some of the pages that differ were written, with its old or its new length, and
/// a description of it.
fn mixed(before: &[u8], after: &[u8], random: &mut Random) -> (Vec<u8>, String) {
    let length = if random.below(2) == 0 {
        before.len().max(PAGE)
    } else {
        after.len()
    };
    let often = random.below(5);
    let (mut written, mut lost) = (0, 0);
    let mut bytes = Vec::with_capacity(length);
    for at in (0..length).step_by(PAGE) {
        let page = |side: &[u8]| {
            let mut page = side
                .get(at..(at + PAGE).min(side.len()))
                .unwrap_or_default()
                .to_vec();
            page.resize(PAGE.min(length - at), 0);
            page
        };
        let (old, new) = (page(before), page(after));
        if old == new {
            bytes.extend(old);
        } else if random.below(4) < often {
            written += 1;
            bytes.extend(new);
        } else {
            lost += 1;
            bytes.extend(old);
        }
    }
    (
        bytes,
        format!(
            "{written} pages written, {lost} lost, {} bytes of {}",
            length,
            after.len()
        ),
    )
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_and_leaves_no_operation_half_done() {
    let (cuts, seed) = (setting("AFFINIS_CUTS", 5), setting("AFFINIS_SEED", 1));
    let home = tempfile::tempdir().expect("a directory");
    let filled = home.path().join("filled");
    drop(fill(&builder().open(&filled).expect("opened")).expect("filled"));
    let (mut tried, mut kept, mut undone) = (0, 0, 0);
    let mut refused: Vec<String> = Vec::new();
    for (name, work) in OPERATIONS.into_iter().filter(|(name, _)| *name != "backup") {
        let states: Vec<String> = allowed_contents(work, name, &filled)
            .iter()
            .map(|state| without_times(state))
            .collect();
        for acknowledged in [true, false] {
            let cut = Cut::of(work, &filled, home.path(), acknowledged);
            let mut random = Random(
                seed.wrapping_mul(1_000_003) ^ name.len() as u64 ^ u64::from(acknowledged) << 20,
            );
            for trial in 0..cuts {
                let dir = home.path().join("cut");
                let what = cut.make(&dir, &mut random);
                let context = format!(
                    "{name}, acknowledged: {acknowledged}, seed {seed}, trial {trial}, {what}"
                );
                tried += 1;
                match verified_contents(&dir) {
                    Ok(state) => {
                        let state = without_times(&state);
                        let after = states.last() == Some(&state);
                        let before = states.contains(&state)
                            || name == "forget" && is_forgotten_before_refit(&state);
                        assert!(after || before && !acknowledged, "{context}: another state");
                        kept += usize::from(after);
                        undone += usize::from(!after);
                    }
                    Err(error @ Error::Damaged { .. }) => {
                        refused.push(format!("{context}: {error}"));
                    }
                    Err(error) => panic!("{context}: {error}"),
                }
            }
        }
    }
    for refused in &refused {
        println!("{refused}");
    }
    println!(
        "{tried} cuts: {kept} left the state after, {undone} the state before, {} were refused",
        refused.len()
    );
    assert!(kept > 0 && undone > 0, "{kept} and {undone}");
    assert!(refused.is_empty());
}
