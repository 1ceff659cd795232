//! Damage to single records, found by a check and remedied by a repair.

use std::path::{Path, PathBuf};

use super::super::tables::{
    IDS, ITEMS, JUDGEMENTS, META, NEXT_JUDGEMENT, NEXT_SLOT, QUERIES, Tables, VECTORS, chunk_key,
};
use super::super::{Database, Opening, segment_file};
use crate::items::{CollectionInfo, rescue_vectors};
use crate::{Error, Item, Judgement, Query, Store};

/// A store with ten items, of which two have long texts, and judgements.
fn store(path: &Path) {
    let store = Store::open(path).expect("opened");
    let points = store.collection("c").dim(2).create().expect("made");
    points
        .add((0..10).map(|i| {
            let item = Item::vector(format!("i{i}"), [i as f32, 1.0]);
            if i % 5 == 0 {
                item.with_text("long ".repeat(20_000))
            } else {
                item
            }
        }))
        .expect("added");
    points
        .judge(Judgement::relevant(vec![1.0, 1.0], "i1"))
        .expect("judged");
    points
        .judge(Judgement::relevant(Query::like("i2"), "i3"))
        .expect("judged");
    points.optimize().expect("optimized");
}

/// Damages records behind the store's back.
fn damage(path: &Path, harm: impl Fn(&Tables)) {
    let opening = Opening {
        cache_bytes: 1 << 20,
        ..Opening::default()
    };
    let database = Database::open(path, &opening).expect("opened");
    let record = database.collection("c").expect("read").expect("there");
    harm(&Tables::open(database.clone(), &record).expect("opened"));
    database.flush().expect("flushed");
}

fn flip(tables: &Tables, tree: usize, key: &[u8]) {
    let mut value = tables.table[tree]
        .get(key)
        .expect("read")
        .expect("there")
        .to_vec();
    let last = value.len() - 1;
    value[last] ^= 1;
    tables.table[tree].insert(key, value).expect("written");
}

/// The file of the only segment.
fn only_file(tables: &Tables) -> PathBuf {
    let dir = tables.database().segments_dir();
    let names = segment_file::names(&dir, "0-").expect("listed");
    let name = names.iter().find(|name| !name.contains("ids"));
    dir.join(name.expect("a file"))
}

/// Flips a byte of the file of the only segment.
fn flip_in_file(tables: &Tables, at: usize) {
    let path = only_file(tables);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("written");
}

/// The section of edges of a small segment begins at the fourth block of its file, that of rows at
/// the ninth.
const EDGES_AT: usize = 3 * 4096;
const ROWS_AT: usize = 8 * 4096;

/// Takes all vectors out of files.
fn to_table(tables: &Tables) {
    let record = tables
        .database()
        .collection("c")
        .expect("read")
        .expect("there");
    let info = CollectionInfo::read("c", &record, 0).expect("settings");
    rescue_vectors(tables, info.rules()).expect("taken out");
}

type Harm = fn(&Tables);

#[test]
#[expect(clippy::too_many_lines, reason = "a table of damages")]
fn what_follows_from_other_records_is_made_again_and_the_rest_is_named() {
    // How a record is damaged, a word of what verify says, a word of what is lost (none where
    // all is rebuilt), items left.
    let cases: [(Harm, &str, Option<&str>, usize); 22] = [
        (|s| drop(s.table[IDS].remove(b"i3")), "ids", None, 10),
        (|s| drop(s.table[IDS].clear()), "ids", None, 10),
        (
            |s| drop(s.table[IDS].insert(b"i3", &[0, 0, 0, 4])),
            "i3",
            None,
            10,
        ),
        (|s| drop(s.table[IDS].insert(b"i3", &[0])), "i3", None, 10),
        (
            |s| drop(s.table[META].insert(NEXT_SLOT, &3_u64.to_le_bytes())),
            "counter",
            None,
            10,
        ),
        (
            |s| drop(s.table[META].insert(NEXT_JUDGEMENT, &[1])),
            "next_judgement",
            None,
            10,
        ),
        (|s| flip_in_file(s, EDGES_AT), "checksum", None, 10),
        (|s| flip_in_file(s, 0), "header", None, 10),
        // As where the log lost the record that names the file.
        (
            |s| {
                let file = only_file(s);
                std::fs::rename(&file, file.with_file_name("0-9-00000000")).expect("renamed");
            },
            "No such file",
            None,
            10,
        ),
        (|s| flip_in_file(s, ROWS_AT), "checksum", Some("i3"), 0),
        (
            |s| {
                flip_in_file(s, ROWS_AT);
                drop(s.table[META].insert("manifest", &[1, 2, 3]));
            },
            "manifest",
            Some("i3"),
            0,
        ),
        (
            |s| drop(s.table[META].insert("manifest", &[1, 2, 3])),
            "manifest",
            None,
            10,
        ),
        (
            |s| {
                to_table(s);
                flip(s, VECTORS, &[0, 0, 0, 3]);
            },
            "vector",
            Some("i3"),
            9,
        ),
        (
            |s| {
                to_table(s);
                drop(s.table[VECTORS].remove([0, 0, 0, 3]));
            },
            "vector",
            Some("i3"),
            9,
        ),
        (
            |s| flip(s, ITEMS, &chunk_key(3, 0)),
            "slot 3",
            Some("i3"),
            9,
        ),
        (
            |s| drop(s.table[ITEMS].remove(chunk_key(5, 1))),
            "part",
            Some("i5"),
            9,
        ),
        (
            |s| drop(s.table[JUDGEMENTS].remove(1_u64.to_be_bytes())),
            "judgements",
            Some("judgements"),
            10,
        ),
        (
            |s| flip(s, JUDGEMENTS, &1_u64.to_be_bytes()),
            "judgement 1",
            Some("judgement 1"),
            10,
        ),
        (
            |s| drop(s.table[QUERIES].clear()),
            "vector is missing",
            Some("judgement 0"),
            10,
        ),
        (
            |s| drop(s.table[META].insert("guidelines", &[1, 2, 3])),
            "guidelines",
            Some("guidelines"),
            10,
        ),
        (
            |s| drop(s.table[META].insert("activations", &[1, 2, 3])),
            "activations",
            Some("activations"),
            10,
        ),
        (
            |s| drop(s.table[META].insert("keywords", &[1, 2, 3])),
            "keywords",
            Some("keywords"),
            10,
        ),
    ];
    for (number, (harm, said, lost, left)) in cases.into_iter().enumerate() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        store(&path);
        damage(&path, harm);
        let problems = Store::open(&path)
            .expect("opened")
            .verify()
            .expect("verified")
            .problems;
        let text = problems
            .iter()
            .map(|p| format!("{}: {}", p.part, p.message))
            .collect::<Vec<_>>()
            .join("; ");
        assert!(
            text.contains(said),
            "case {number}: verify says {text:?}, not {said:?}"
        );

        let report = Store::builder().repair(&path).expect("repaired");
        let all = report.lost.join("; ");
        match lost {
            None => assert!(
                report.lost.is_empty() && !report.rebuilt.is_empty(),
                "case {number}: {report:?}"
            ),
            Some(word) => assert!(
                all.contains(word),
                "case {number}: {all:?} does not name {word:?}"
            ),
        }
        assert_eq!(report.verified.problems, [], "case {number}");
        let store = Store::open(&path).expect("opened");
        let points = store.collection("c").open().expect("opened");
        assert_eq!(points.len(), left, "case {number}");
        assert_eq!(
            points.search(vec![0.0, 0.0]).run().expect("answered").len(),
            left
        );
        points
            .add([Item::vector("new", [0.5, 0.5])])
            .expect("written to");
    }
}

#[test]
fn a_collection_with_fewer_records_than_were_stored_is_not_opened() {
    for (tree, key) in [(IDS, b"i3".to_vec()), (VECTORS, vec![0, 0, 0, 9])] {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        store(&path);
        damage(&path, |tables| {
            to_table(tables);
            drop(tables.table[tree].remove(&key));
        });
        let refused = Store::open(&path).expect("opened").collection("c").open();
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    }
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    store(&path);
    damage(&path, |tables| {
        drop(tables.table[ITEMS].remove(chunk_key(3, 0)));
    });
    let store = Store::open(&path).expect("opened");
    let points = store.collection("c").open().expect("opened");
    assert!(matches!(points.get("i3"), Err(Error::Damaged { .. })));
    let filter = crate::Filter::parse("{\"a\": {\"$exists\": false}}").expect("a filter");
    assert!(matches!(
        points.search(vec![0.0, 0.0]).filter(filter).run(),
        Err(Error::Damaged { .. })
    ));
    assert!(matches!(
        points.search(vec![0.0, 0.0]).include_text().run(),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn a_lost_entry_of_the_catalogue_is_not_an_empty_store() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    store(&path);
    damage(&path, |tables| {
        drop(
            tables
                .database()
                .sled()
                .expect("opened")
                .catalog
                .remove(b"c/c"),
        );
    });
    let refused = Store::open(&path).expect_err("refused");
    assert!(
        matches!(&refused, Error::Damaged { part, .. } if part == "the catalogue"),
        "{refused}"
    );
    let report = Store::builder().repair(&path).expect("repaired");
    assert!(report.lost[0].contains("collection number 0"), "{report:?}");
    assert_eq!(
        Store::open(&path)
            .expect("opened")
            .collections()
            .expect("listed"),
        []
    );
}
