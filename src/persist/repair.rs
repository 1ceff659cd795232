//! Setting a collection's trees right: what follows from other records is made again, what does not
//! is removed and named.

use std::collections::{BTreeMap, BTreeSet};

use sled::Batch;

use super::catalog::put_tally;
use super::lock;
use super::records::{ItemRecord, JudgementRecord, QueryRecord, VersionRecord};
use super::shelf::{
    ACTIVE, GRAPH, IDS, ITEMS, JUDGEMENTS, META, METRICS, NAMES, NEXT_JUDGEMENT, NEXT_SLOT,
    NEXT_VERSION, QUERIES, Shelf, VECTORS, part_key, segment_of, split_key,
};
use crate::error::{Error, Result};
use crate::model::VersionId;

/// What only others can judge.
pub(crate) struct Judges<'a> {
    /// Why an item's record cannot be used, if it cannot.
    pub(crate) item: &'a dyn Fn(&ItemRecord, u32) -> Option<String>,
    /// Why a version's metric cannot be used, if it cannot.
    pub(crate) version: &'a dyn Fn(u32, &VersionRecord) -> Option<String>,
    /// Why a stored graph cannot be used, if it cannot: its number, its chunks, the first slot that
    /// was never given.
    pub(crate) segment: &'a dyn Fn(u64, Vec<Vec<u8>>, u32) -> Option<String>,
    /// The key of a judged query's numbers.
    pub(crate) hash: &'a dyn Fn(&QueryRecord) -> Option<[u8; 16]>,
}

/// What was made again, and what is lost, in words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repairs {
    pub(crate) rebuilt: Vec<String>,
    pub(crate) lost: Vec<String>,
}

/// The changes of a repair.
struct Repair<'a> {
    shelf: &'a Shelf,
    judges: &'a Judges<'a>,
    batches: [Batch; NAMES.len()],
    changes: usize,
    done: Repairs,
}

impl Shelf {
    /// Sets the trees right, in one transaction. Nobody may read or write meanwhile.
    pub(crate) fn repair(&self, judges: &Judges<'_>) -> Result<Repairs> {
        let mut repair = Repair {
            shelf: self,
            judges,
            batches: Default::default(),
            changes: 0,
            done: Repairs::default(),
        };
        let next_slot = repair.items()?;
        repair.judgements()?;
        repair.versions()?;
        repair.graph(next_slot)?;
        let Repair {
            batches,
            changes,
            mut done,
            ..
        } = repair;
        if changes > 0 {
            let all: Vec<_> = self.trees.iter().zip(batches).collect();
            self.database().commit(&all, Batch::default())?;
        }
        let found = Self::count_trees(self.database(), self.number)?;
        let mut tally = lock(&self.tally);
        if *tally != found {
            let differs =
                tally
                    .iter()
                    .zip(found)
                    .enumerate()
                    .filter_map(|(tree, (should, found))| {
                        Some(format!(
                            "the tree {}: {}",
                            NAMES[tree],
                            found.differs(*should)?
                        ))
                    });
            // What was removed just now has been said; what was not there at all is said here.
            let missing = tally
                .iter()
                .zip(found)
                .any(|(should, found)| found.entries < should.entries);
            let said = differs.collect::<Vec<_>>().join("; ");
            if missing {
                done.lost.push(said);
            } else {
                done.rebuilt.push(format!("the tally ({said})"));
            }
            let mut catalog = Batch::default();
            put_tally(&mut catalog, self.number, &found)?;
            self.database().commit(&[], catalog)?;
            *tally = found;
        }
        Ok(done)
    }
}

/// A record's damage in words; any other error ends the repair, as does a record that a newer
/// affinis wrote, which is not damaged.
fn damage<T>(read: Result<T>) -> Result<Result<T, String>> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Damaged { reason, .. }) => Ok(Err(reason)),
        Err(error) => Err(error),
    }
}

impl Repair<'_> {
    fn remove(&mut self, tree: usize, key: &[u8]) {
        self.batches[tree].remove(key);
        self.changes += 1;
    }

    fn put(&mut self, tree: usize, key: &[u8], value: impl Into<sled::IVec>) {
        self.batches[tree].insert(key, value);
        self.changes += 1;
    }

    /// Raises a counter that is not above all that it counted; one that cannot be read is set.
    fn raise(&mut self, name: &str, read: Result<u64>, least: u64) -> Result<u64> {
        match damage(read)? {
            Ok(found) if found >= least => Ok(found),
            _ => {
                self.put(META, name.as_bytes(), &least.to_le_bytes());
                self.done.rebuilt.push(format!("the counter {name}"));
                Ok(least)
            }
        }
    }

    /// Items that have a record and a vector stay, and the ids are made to say so. Gives the next
    /// slot.
    fn items(&mut self) -> Result<u32> {
        let shelf = self.shelf;
        let mut named: BTreeMap<u32, String> = BTreeMap::new();
        let mut broken: Vec<(u32, String)> = Vec::new();
        let mut live: BTreeMap<String, u32> = BTreeMap::new();
        let mut slots = BTreeSet::new();
        for entry in shelf.raw(ITEMS) {
            let (key, _) = entry?;
            match split_key(&key) {
                Ok((slot, _)) => drop(slots.insert(slot)),
                Err(_) => self.remove(ITEMS, &key),
            }
        }
        for entry in shelf.raw(VECTORS) {
            let (key, _) = entry?;
            match <[u8; 4]>::try_from(&*key) {
                Ok(slot) => drop(slots.insert(u32::from_be_bytes(slot))),
                Err(_) => self.remove(VECTORS, &key),
            }
        }
        let next = slots.last().map_or(0, |slot| u64::from(*slot) + 1);
        for slot in slots {
            let missing = |what: &str| format!("its {what} is missing");
            let record = damage(shelf.item(slot))?
                .and_then(|record| record.ok_or_else(|| missing("record")));
            let vector = damage(shelf.vector(slot))?
                .and_then(|vector| vector.ok_or_else(|| missing("vector")));
            let fault = match (&record, vector) {
                (Ok(record), Ok(_)) => (self.judges.item)(record, slot),
                (Ok(_), Err(reason)) => Some(reason),
                (Err(reason), _) => Some(reason.clone()),
            };
            if let Ok(record) = &record {
                named.insert(slot, record.id.clone());
            }
            match (fault, record) {
                (None, Ok(record)) => {
                    // Two items of one id cannot be: the younger one took the other's place.
                    if let Some(old) = live.insert(record.id, slot) {
                        broken.push((old, "a younger item has its id".into()));
                    }
                }
                (fault, _) => broken.push((slot, fault.unwrap_or_default())),
            }
        }
        let mut kept = BTreeSet::new();
        for entry in shelf.raw(IDS) {
            let (key, value) = entry?;
            let id = std::str::from_utf8(&key).ok();
            let slot = <[u8; 4]>::try_from(&*value).ok().map(u32::from_be_bytes);
            match (id, slot) {
                (Some(id), Some(slot)) if live.get(id) == Some(&slot) => {
                    drop(kept.insert(id.to_owned()))
                }
                _ => {
                    self.remove(IDS, &key);
                    if let (Some(id), Some(slot)) = (id, slot) {
                        named.entry(slot).or_insert_with(|| id.to_owned());
                        if !live.contains_key(id)
                            && !broken.iter().any(|(broken, _)| *broken == slot)
                        {
                            broken.push((slot, "its record and its vector are missing".into()));
                        }
                    }
                }
            }
        }
        for (id, slot) in live.iter().filter(|(id, _)| !kept.contains(*id)) {
            self.put(IDS, id.as_bytes(), &slot.to_be_bytes());
            self.done
                .rebuilt
                .push(format!("the id {id:?} of slot {slot}"));
        }
        for (slot, reason) in broken {
            for key in shelf.part_keys(ITEMS, slot, 0) {
                self.remove(ITEMS, &key?);
            }
            self.remove(VECTORS, &slot.to_be_bytes());
            let name = named
                .get(&slot)
                .map_or_else(|| "an item".to_owned(), |id| format!("item {id:?}"));
            self.done
                .lost
                .push(format!("{name} (slot {slot}): {reason}"));
        }
        let next = self.raise(NEXT_SLOT, shelf.next_slot().map(u64::from), next)?;
        Ok(u32::try_from(next).unwrap_or(u32::MAX))
    }

    fn judgements(&mut self) -> Result<()> {
        let shelf = self.shelf;
        let mut asked = BTreeSet::new();
        let mut next = 0;
        for entry in shelf.raw(JUDGEMENTS) {
            let (key, value) = entry?;
            let Ok(sequence) = <[u8; 8]>::try_from(&*key).map(u64::from_be_bytes) else {
                self.remove(JUDGEMENTS, &key);
                continue;
            };
            next = sequence.saturating_add(1);
            let record = damage(JudgementRecord::decode(&value, sequence))?;
            let fault = match record.map(|record| (self.judges.hash)(&record.query)) {
                Err(reason) => Some(reason),
                Ok(None) => None,
                Ok(Some(hash)) => match damage(shelf.query(hash))? {
                    Ok(Some(_)) => {
                        asked.insert(hash);
                        None
                    }
                    Ok(None) => Some("its query's vector is missing".to_owned()),
                    Err(reason) => Some(format!("its query's vector: {reason}")),
                },
            };
            if let Some(reason) = fault {
                self.remove(JUDGEMENTS, &key);
                self.done
                    .lost
                    .push(format!("judgement {sequence}: {reason}"));
            }
        }
        for entry in shelf.raw(QUERIES) {
            let (key, _) = entry?;
            if !<[u8; 16]>::try_from(&*key).is_ok_and(|hash| asked.contains(&hash)) {
                self.remove(QUERIES, &key);
            }
        }
        self.raise(NEXT_JUDGEMENT, shelf.next_judgement(), next)
            .map(drop)
    }

    fn versions(&mut self) -> Result<()> {
        let shelf = self.shelf;
        let mut parts: BTreeMap<u32, Option<VersionRecord>> = BTreeMap::new();
        let mut keys = Vec::new();
        for entry in shelf.raw(METRICS) {
            let (key, value) = entry?;
            match split_key(&key) {
                Ok((version, part)) => {
                    let header = parts.entry(version).or_default();
                    if part == 0 {
                        *header = damage(VersionRecord::decode(&value, version))?.ok();
                    }
                    keys.push((version, part));
                }
                Err(_) => self.remove(METRICS, &key),
            }
        }
        let next = parts
            .last_key_value()
            .map_or(1, |(version, _)| u64::from(*version) + 1);
        let mut usable = BTreeSet::from([0]);
        for (version, header) in &parts {
            let fault = match header {
                None => Some("its header cannot be read".to_owned()),
                Some(record) => (self.judges.version)(*version, record),
            };
            match (fault, header) {
                (None, Some(record)) if record.withdrawn => {}
                (None, _) => drop(usable.insert(*version)),
                (Some(reason), _) => {
                    for (_, part) in keys.iter().filter(|(of, _)| of == version) {
                        self.remove(METRICS, &part_key(*version, *part));
                    }
                    self.done
                        .lost
                        .push(format!("metric version {version}: {reason}"));
                }
            }
        }
        let there = |version: u32| {
            usable.contains(&version)
                || parts
                    .get(&version)
                    .is_some_and(|h| h.as_ref().is_some_and(|record| record.withdrawn))
        };
        for (version, record) in parts
            .iter()
            .filter_map(|(version, header)| Some((*version, header.as_ref()?)))
        {
            if there(version)
                && (record.lineage.parent >= VersionId(version) || !there(record.lineage.parent.0))
            {
                let mut mended = record.clone();
                mended.lineage.parent = VersionId::BUILT_IN;
                self.put(METRICS, &part_key(version, 0), mended.encode()?);
                self.done.lost.push(format!(
                    "metric version {version}: its parent {}, 0 stands for it",
                    record.lineage.parent
                ));
            }
        }
        for entry in shelf.prefixed(ACTIVE) {
            let (key, value) = entry?;
            let version = <[u8; 8]>::try_from(&*value).ok().map(u64::from_le_bytes);
            if !version
                .and_then(|v| u32::try_from(v).ok())
                .is_some_and(|v| usable.contains(&v))
            {
                self.remove(META, &key);
                let key = String::from_utf8_lossy(&key).into_owned();
                self.done.lost.push(format!(
                    "which metric is {key}: the built-in distance answers now"
                ));
            }
        }
        self.raise(NEXT_VERSION, shelf.next_version().map(u64::from), next)
            .map(drop)
    }

    fn graph(&mut self, next_slot: u32) -> Result<()> {
        let shelf = self.shelf;
        let mut segments: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        let mut keys = Vec::new();
        for entry in shelf.raw(GRAPH) {
            let (key, value) = entry?;
            match segment_of(&key) {
                Ok(id) => {
                    segments.entry(id).or_default().push(value.to_vec());
                    keys.push((id, key));
                }
                Err(_) => self.remove(GRAPH, &key),
            }
        }
        for (id, chunks) in segments {
            if let Some(reason) = (self.judges.segment)(id, chunks, next_slot) {
                for (_, key) in keys.iter().filter(|(of, _)| *of == id) {
                    self.remove(GRAPH, key);
                }
                self.done.rebuilt.push(format!(
                    "the graph of segment {id}, which is linked again ({reason})"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Database, Opening};
    use super::*;
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
        points.relink().expect("linked");
    }

    /// Damages records behind the store's back.
    fn damage(path: &Path, harm: impl Fn(&Shelf)) {
        let opening = Opening {
            cache_bytes: 1 << 20,
            ..Opening::default()
        };
        let database = Database::open(path, &opening).expect("opened");
        let record = database.collection("c").expect("read").expect("there");
        harm(&Shelf::open(database.clone(), &record).expect("opened"));
        database.flush().expect("flushed");
    }

    fn flip(shelf: &Shelf, tree: usize, key: &[u8]) {
        let mut value = shelf.trees[tree]
            .get(key)
            .expect("read")
            .expect("there")
            .to_vec();
        let last = value.len() - 1;
        value[last] ^= 1;
        shelf.trees[tree].insert(key, value).expect("written");
    }

    type Harm = fn(&Shelf);

    #[test]
    fn what_follows_from_other_records_is_made_again_and_the_rest_is_named() {
        // How a record is damaged, a word of what verify says, a word of what is lost (none where
        // all is rebuilt), items left.
        let cases: [(Harm, &str, Option<&str>, usize); 14] = [
            (|s| drop(s.trees[IDS].remove(b"i3")), "ids", None, 10),
            (|s| drop(s.trees[IDS].clear()), "ids", None, 10),
            (
                |s| drop(s.trees[IDS].insert(b"i3", &[0, 0, 0, 4])),
                "i3",
                None,
                10,
            ),
            (|s| drop(s.trees[IDS].insert(b"i3", &[0])), "i3", None, 10),
            (
                |s| drop(s.trees[META].insert(NEXT_SLOT, &3_u64.to_le_bytes())),
                "counter",
                None,
                10,
            ),
            (
                |s| drop(s.trees[META].insert(NEXT_JUDGEMENT, &[1])),
                "next_judgement",
                None,
                10,
            ),
            (
                |s| {
                    flip(
                        s,
                        GRAPH,
                        &s.trees[GRAPH].first().expect("read").expect("there").0,
                    )
                },
                "graph",
                None,
                10,
            ),
            (|s| flip(s, VECTORS, &[0, 0, 0, 3]), "vector", Some("i3"), 9),
            (
                |s| drop(s.trees[VECTORS].remove([0, 0, 0, 3])),
                "vector",
                Some("i3"),
                9,
            ),
            (|s| flip(s, ITEMS, &part_key(3, 0)), "slot 3", Some("i3"), 9),
            (
                |s| drop(s.trees[ITEMS].remove(part_key(5, 1))),
                "part",
                Some("i5"),
                9,
            ),
            (
                |s| drop(s.trees[JUDGEMENTS].remove(1_u64.to_be_bytes())),
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
                |s| drop(s.trees[QUERIES].clear()),
                "vector is missing",
                Some("judgement 0"),
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
            damage(&path, |shelf| drop(shelf.trees[tree].remove(&key)));
            {
                // Images still have all of it.
                let store = Store::open(&path).expect("opened");
                let points = store.collection("c").open().expect("opened");
                assert_eq!(
                    points
                        .search(vec![0.0, 0.0])
                        .k(100)
                        .run()
                        .expect("answered")
                        .len(),
                    points.len()
                );
                assert_ne!(store.verify().expect("verified").problems, []);
            }
            damage(&path, |shelf| shelf.drop_images().expect("dropped"));
            let refused = Store::open(&path).expect("opened").collection("c").open();
            assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
        }
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        store(&path);
        damage(&path, |shelf| {
            drop(shelf.trees[ITEMS].remove(part_key(3, 0)))
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
            points.search(vec![0.0, 0.0]).with_text().run(),
            Err(Error::Damaged { .. })
        ));
    }

    #[test]
    fn a_lost_entry_of_the_catalogue_is_not_an_empty_store() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        store(&path);
        damage(&path, |shelf| drop(shelf.database().catalog.remove(b"c/c")));
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
}
