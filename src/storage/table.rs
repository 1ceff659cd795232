//! One table of one collection: a range of keys in the tree of records.
//!
//! The records of all collections are in one tree of sled, because sled writes the names of all
//! trees again whenever one is made. A key there is the number of the collection, the number of the
//! table, and the record's own key:
//!
//! ```text
//! bytes 0-3   number of the collection, big-endian
//! byte 4      number of the table
//! bytes 5-    the record's key
//! ```

use std::ops::{Bound, RangeBounds};

use sled::IVec;

use super::batch::Batch;
use super::replica::ReplicaTree;
use super::tree::{self, Entry, Tree};

/// The name of the tree of records.
pub(super) const TREE: &str = "records";
/// Length of what comes before a record's own key, in bytes.
const PREFIX: usize = 5;

/// A table: its entries under their own keys.
#[derive(Debug, Clone)]
pub(super) struct Table {
    tree: Tree,
    prefix: [u8; PREFIX],
}

impl Table {
    /// A table of the tree of records.
    pub(super) fn new(tree: Tree, collection: u32, table: usize) -> Self {
        let [a, b, c, d] = collection.to_be_bytes();
        Self {
            tree,
            prefix: [a, b, c, d, table as u8],
        }
    }

    /// The key in the tree.
    pub(super) fn full(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    /// The first key in the tree after all of the table.
    fn end(&self) -> [u8; PREFIX] {
        let mut end = self.prefix;
        // No table has the number 255.
        end[PREFIX - 1] += 1;
        end
    }

    pub(super) fn get(&self, key: &[u8]) -> sled::Result<Option<IVec>> {
        self.tree.get(self.full(key))
    }

    /// All entries, in the order of their keys.
    pub(super) fn iter(&self) -> Entries {
        Entries(self.tree.scan_prefix(&self.prefix))
    }

    /// The entries whose keys begin so.
    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> Entries {
        Entries(self.tree.scan_prefix(&self.full(prefix)))
    }

    /// The entries with keys in a range.
    pub(super) fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Entries {
        let start = match range.start_bound() {
            Bound::Included(key) => Bound::Included(self.full(key.as_ref())),
            Bound::Excluded(key) => Bound::Excluded(self.full(key.as_ref())),
            Bound::Unbounded => Bound::Included(self.prefix.to_vec()),
        };
        let end = match range.end_bound() {
            Bound::Included(key) => Bound::Included(self.full(key.as_ref())),
            Bound::Excluded(key) => Bound::Excluded(self.full(key.as_ref())),
            Bound::Unbounded => Bound::Excluded(self.end().to_vec()),
        };
        Entries(self.tree.range((start, end)))
    }

    /// The changes of this table in a batch of the tree.
    pub(super) fn changes<'a>(&'a self, batch: &'a mut Batch) -> Changes<'a> {
        Changes { table: self, batch }
    }

    /// The tree, where it is one of a replica.
    pub(super) fn replica(&self) -> Option<&ReplicaTree> {
        match &self.tree {
            Tree::Sled(_) => None,
            Tree::Replica(tree) => Some(tree),
        }
    }

    /// Takes keys out of a table of a replica, for those only who hold the table.
    pub(super) fn hide<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        if let Some(tree) = self.replica() {
            tree.hide(keys.map(|key| self.full(key)));
        }
    }

    #[cfg(test)]
    fn sled(&self) -> &sled::Tree {
        match &self.tree {
            Tree::Sled(tree) => tree,
            Tree::Replica(_) => panic!("a replica is only read"),
        }
    }

    #[cfg(test)]
    pub(super) fn insert(&self, key: impl AsRef<[u8]>, value: impl Into<IVec>) -> sled::Result<()> {
        self.sled().insert(self.full(key.as_ref()), value).map(drop)
    }

    #[cfg(test)]
    pub(super) fn remove(&self, key: impl AsRef<[u8]>) -> sled::Result<()> {
        self.sled().remove(self.full(key.as_ref())).map(drop)
    }

    #[cfg(test)]
    pub(super) fn clear(&self) -> sled::Result<()> {
        self.iter().try_for_each(|entry| self.remove(entry?.0))
    }
}

/// An entry of the tree under its own key.
fn own_key((key, value): Entry) -> Entry {
    let length = key.len() - PREFIX;
    (key.subslice(PREFIX, length), value)
}

/// Entries of a table, in the order of their keys.
pub(super) struct Entries(tree::Entries);

impl Iterator for Entries {
    type Item = sled::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|entry| entry.map(own_key))
    }
}

/// The changes of one table, in a batch of the tree. Of changes of one key the last counts.
pub(super) struct Changes<'a> {
    table: &'a Table,
    batch: &'a mut Batch,
}

impl Changes<'_> {
    pub(super) fn insert(&mut self, key: impl AsRef<[u8]>, value: impl Into<IVec>) {
        self.batch.insert(self.table.full(key.as_ref()), value);
    }

    pub(super) fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.batch.remove(self.table.full(key.as_ref()));
    }
}

/// The numbers of the collections that have records.
pub(super) fn collections(tree: &sled::Tree) -> impl Iterator<Item = sled::Result<u32>> {
    let mut next = Some(0_u32);
    std::iter::from_fn(move || {
        let from = next.take()?;
        let number = match tree.range(from.to_be_bytes()..).next()? {
            Ok((key, _)) => u32::from_be_bytes(*key.first_chunk::<4>()?),
            Err(error) => return Some(Err(error)),
        };
        next = number.checked_add(1);
        Some(Ok(number))
    })
}

/// The keys in the tree of all records of a collection.
pub(super) fn keys_of(
    tree: &sled::Tree,
    collection: u32,
) -> impl Iterator<Item = sled::Result<IVec>> {
    tree.scan_prefix(collection.to_be_bytes()).keys()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_sees_its_own_entries_only() {
        let db = sled::Config::new().temporary(true).open().expect("opened");
        let tree = db.open_tree(TREE).expect("opened");
        let tables: Vec<Table> = [(0, 0), (0, 1), (1, 0), (u32::MAX, 8)]
            .map(|(collection, table)| Table::new(Tree::Sled(tree.clone()), collection, table))
            .into();
        for (number, table) in tables.iter().enumerate() {
            for key in ["", "a", "ab", "b"] {
                table.insert(key, vec![number as u8]).expect("inserted");
            }
        }
        let keys = |entries: Entries| -> Vec<String> {
            entries
                .map(|entry| String::from_utf8_lossy(&entry.expect("read").0).into_owned())
                .collect()
        };
        for (number, table) in tables.iter().enumerate() {
            assert_eq!(keys(table.iter()), ["", "a", "ab", "b"]);
            assert_eq!(keys(table.scan_prefix(b"a")), ["a", "ab"]);
            assert_eq!(keys(table.range("aa"..)), ["ab", "b"]);
            assert_eq!(keys(table.range(..="ab")), ["", "a", "ab"]);
            assert_eq!(
                keys(table.range::<&str>((Bound::Excluded("a"), Bound::Unbounded))),
                ["ab", "b"]
            );
            let value = table.get(b"ab").expect("read").expect("there");
            assert_eq!(&*value, [number as u8]);
        }
        let numbers: Vec<u32> = collections(&tree).map(|n| n.expect("read")).collect();
        assert_eq!(numbers, [0, 1, u32::MAX]);
        assert_eq!(keys_of(&tree, 0).count(), 8);
        tables[0].clear().expect("cleared");
        assert_eq!(keys_of(&tree, 0).count(), 4);
    }

    #[test]
    fn of_changes_of_one_key_the_last_counts() {
        let db = sled::Config::new().temporary(true).open().expect("opened");
        let tree = db.open_tree(TREE).expect("opened");
        let table = Table::new(Tree::Sled(tree.clone()), 3, 2);
        let mut batch = Batch::default();
        let mut changes = table.changes(&mut batch);
        changes.insert("a", &[1]);
        changes.remove("a");
        changes.remove("b");
        changes.insert("b", &[2]);
        for (key, value) in batch.changes() {
            match value {
                Some(value) => tree.insert(key, value.clone()),
                None => tree.remove(key),
            }
            .expect("applied");
        }
        let found: Vec<Entry> = table.iter().map(|entry| entry.expect("read")).collect();
        assert_eq!(found, [(IVec::from(b"b"), IVec::from(&[2]))]);
    }
}
