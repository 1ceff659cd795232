//! The catalogue: the collections of a store, and the digests of what their tables hold.
//!
//! | key | value |
//! |---|---|
//! | `\0format` | the store's format, u32 |
//! | `\0next` | the number of the next collection, u32 |
//! | `\0commits` | number of commits so far, u64 |
//! | `\0gone/NUMBER` | nothing: the records of that number are to be removed, because the collection was dropped or is not complete yet |
//! | `\0staged/NUMBER` | nothing: items of that collection are being written in parts |
//! | `\0store` | a number that no other store has; its copies have it too |
//! | `c/NAME` | the settings of a collection |
//! | `t/NUMBER` | the digests of a collection's tables |

use std::collections::BTreeSet;

use super::batch::Batch;
use super::digest::TableDigests;
use super::disk::{Disk, DiskOp};
use super::tree::Tree;
use super::{CollectionRecord, Database, codec, damaged, keywords, lock, manifest, staging, table};
use crate::model::error::{Error, Result};

pub(super) const TREE: &str = "catalog";
pub(super) const COMMITS: &[u8] = b"\0commits";
/// The store's own format; raised when the layout of trees or files changes. Stores of any other
/// format are refused. No number is used twice.
const FORMAT: u32 = 10;
const DIGESTS_FORMAT: u8 = 1;
const FORMAT_KEY: &[u8] = b"\0format";
const NEXT: &[u8] = b"\0next";
const STORE: &[u8] = b"\0store";
/// Records of a collection that goes that are removed in one transaction.
const REMOVED_AT_ONCE: usize = 8192;
pub(super) const STAGED: &str = "\0staged/";
const GONE: &str = "\0gone/";
const COLLECTION: &str = "c/";

/// The number of the collection whose mark of a write in parts a key is.
pub(super) fn staged_number(key: &[u8]) -> Option<u32> {
    let number = key.strip_prefix(STAGED.as_bytes())?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// The key of a collection's digests.
fn digests_key(number: u32) -> String {
    format!("t/{number}")
}

/// Puts a collection's digests into a batch.
pub(super) fn put_digests(batch: &mut Batch, number: u32, digests: &TableDigests) -> Result<()> {
    batch.insert(
        digests_key(number).as_bytes(),
        codec::encode(DIGESTS_FORMAT, digests)?,
    );
    Ok(())
}

/// Whether an entry belongs in a copy of these collections.
pub(super) fn is_copied(key: &[u8], numbers: &BTreeSet<u32>) -> bool {
    let digests = std::str::from_utf8(key)
        .ok()
        .and_then(|key| key.strip_prefix("t/"))
        .map(str::parse::<u32>);
    match digests {
        Some(number) => number.is_ok_and(|number| numbers.contains(&number)),
        None => !key.starts_with(GONE.as_bytes()),
    }
}

fn entry(prefix: &str, name: &str) -> Vec<u8> {
    [prefix, name].concat().into_bytes()
}

/// A number of the catalogue; `None` where there is no such entry.
fn read_number(catalog: &Tree, key: &[u8], disk: &Disk) -> Result<Option<u32>> {
    let part = || {
        format!(
            "the catalogue's entry {:?}",
            String::from_utf8_lossy(key.strip_prefix(b"\0").unwrap_or(key))
        )
    };
    let read = |bytes: sled::IVec| {
        (&*bytes)
            .try_into()
            .map(u32::from_le_bytes)
            .map_err(|_| damaged(part(), "it has a wrong length"))
    };
    disk.run(DiskOp::Read, "read its catalogue", || catalog.get(key))?
        .map(read)
        .transpose()
}

/// Refuses a store of another format than [`FORMAT`], before anything is written to it. A new store
/// has no number yet.
pub(super) fn check_format(catalog: &Tree, disk: &Disk) -> Result<()> {
    let part = "the store".to_owned();
    match read_number(catalog, FORMAT_KEY, disk)? {
        None | Some(FORMAT) => Ok(()),
        Some(0) => Err(damaged("the store's format number", "it is 0")),
        Some(found) if found < FORMAT => Err(Error::OlderFormat {
            part,
            found,
            known: FORMAT,
        }),
        Some(found) => Err(Error::NewerFormat {
            part,
            found,
            known: FORMAT,
        }),
    }
}

impl Database {
    /// Checks and tidies a database of this format that was opened, or makes a new one.
    pub(super) fn prepare(&mut self, lenient: bool) -> Result<()> {
        let noted = lock(&self.sled()?.syncing.log_sync).counter.count();
        if self.number(FORMAT_KEY)?.is_none() {
            if noted.is_some() || !self.is_fresh()? {
                return Err(damaged("the store's format number", "it is missing"));
            }
            self.begin()?;
        }
        self.check_commits(noted, lenient)?;
        self.check_numbers(lenient)?;
        for number in self.gone()? {
            self.sweep(number)?;
        }
        Ok(())
    }

    fn is_fresh(&self) -> Result<bool> {
        let sled = self.sled()?;
        self.disk.run(DiskOp::Read, "read its catalogue", || {
            Ok(sled.catalog.is_empty() && sled.records.is_empty())
        })
    }

    /// Makes the catalogue of a new store.
    fn begin(&self) -> Result<()> {
        let mut batch = Batch::default();
        batch.insert(FORMAT_KEY, &FORMAT.to_le_bytes());
        batch.insert(STORE, &fastrand::u128(..).to_le_bytes());
        self.commit(&Batch::default(), batch)?;
        self.flush()
    }

    /// Compares the number of commits in the database with the durable commit counter.
    fn check_commits(&mut self, noted: Option<u64>, lenient: bool) -> Result<()> {
        let held = self
            .get(COMMITS)?
            .ok_or_else(|| damaged(self.disk.name(), "its count of commits is missing"))?;
        let held =
            u64::from_le_bytes((&*held).try_into().map_err(|_| {
                damaged(self.disk.name(), "its count of commits has a wrong length")
            })?);
        *lock(&self.commits) = held;
        match noted.unwrap_or(0) {
            noted if noted > held => {
                let missing = format!(
                    "its last {} commits are missing: it holds {held} of {noted}",
                    noted - held
                );
                if !lenient {
                    return Err(damaged(self.disk.name(), missing));
                }
                self.repaired.lost.push(format!(
                    "{}: {missing}; they cannot be brought back",
                    self.disk.name()
                ));
                lock(&self.sled()?.syncing.log_sync)
                    .counter
                    .set(held, &self.disk)
            }
            noted if noted < held => self.sync(held),
            _ => Ok(()),
        }
    }

    /// Refuses a database with records of collections that are not in the catalogue. A lenient
    /// opening removes such records, because their settings are lost.
    fn check_numbers(&mut self, lenient: bool) -> Result<()> {
        let mut batch = Batch::default();
        for number in self.orphans()? {
            let reason = format!(
                "the entry of collection number {number} is missing, and its records are there"
            );
            if !lenient {
                return Err(damaged("the catalogue", reason));
            }
            batch.insert(entry(GONE, &number.to_string()), &[]);
            self.repaired.lost.push(format!("the catalogue: {reason}"));
        }
        if self.repaired.lost.is_empty() {
            Ok(())
        } else {
            self.commit(&Batch::default(), batch)
        }
    }

    /// Numbers of collections that have records, but neither an entry nor a mark for removal.
    fn orphans(&self) -> Result<BTreeSet<u32>> {
        let mut known: BTreeSet<u32> = self
            .collections()?
            .iter()
            .map(|(_, record)| record.number)
            .collect();
        known.extend(self.gone()?);
        let mut orphans = BTreeSet::new();
        let mut numbers = table::collections(&self.sled()?.records);
        let mut next = || {
            let read = || numbers.next().transpose();
            self.disk.run(DiskOp::Read, "list its records", read)
        };
        while let Some(number) = next()? {
            if !known.contains(&number) {
                orphans.insert(number);
            }
        }
        Ok(orphans)
    }

    fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>> {
        self.disk
            .run(DiskOp::Read, "read its catalogue", || self.catalog.get(key))
    }

    /// The number of the store, which its copies have too, in hexadecimal; `None` where it is lost.
    pub(super) fn store_number(&self) -> Result<Option<String>> {
        let bytes = self.get(STORE)?;
        let number = bytes.and_then(|bytes| (&*bytes).try_into().ok());
        Ok(number.map(|bytes| format!("{:032x}", u128::from_le_bytes(bytes))))
    }

    fn number(&self, key: &[u8]) -> Result<Option<u32>> {
        read_number(&self.catalog, key, &self.disk)
    }

    /// The entries whose keys begin with a prefix: the rest of each key, and the value.
    fn entries(&self, prefix: &str) -> impl Iterator<Item = Result<(String, sled::IVec)>> {
        let length = prefix.len();
        self.disk
            .walk(
                "read its catalogue",
                self.catalog.scan_prefix(prefix.as_bytes()),
            )
            .map(move |entry| {
                let (key, value) = entry?;
                Ok((String::from_utf8_lossy(&key[length..]).into_owned(), value))
            })
    }

    /// Names and settings of all collections, ordered by name.
    pub(crate) fn collections(&self) -> Result<Vec<(String, CollectionRecord)>> {
        self.entries(COLLECTION)
            .map(|entry| {
                let (name, value) = entry?;
                let record = CollectionRecord::decode(&value, &name)?;
                Ok((name, record))
            })
            .collect()
    }

    /// The settings of a collection; `None` where there is none of that name.
    pub(crate) fn collection(&self, name: &str) -> Result<Option<CollectionRecord>> {
        self.get(&entry(COLLECTION, name))?
            .map(|bytes| CollectionRecord::decode(&bytes, name))
            .transpose()
    }

    /// The digests of a collection's tables.
    pub(super) fn digests(&self, number: u32) -> Result<TableDigests> {
        let part = || format!("the table digests of collection number {number}");
        let bytes = self
            .get(digests_key(number).as_bytes())?
            .ok_or_else(|| damaged(part(), "it is missing"))?;
        codec::decode(DIGESTS_FORMAT, &bytes, &part)
    }

    /// Gives a new collection a number that was never used. Until the collection is
    /// [entered](Self::enter), all that is stored under the number is removed at the next opening.
    pub(crate) fn reserve(&self, mut record: CollectionRecord) -> Result<CollectionRecord> {
        record.number = self.number(NEXT)?.unwrap_or(0);
        let next = record
            .number
            .checked_add(1)
            .ok_or_else(|| Error::OutOfNumbers {
                part: "the store".to_owned(),
                what: "collections",
            })?;
        let mut batch = Batch::default();
        batch.insert(NEXT, &next.to_le_bytes());
        batch.insert(entry(GONE, &record.number.to_string()), &[]);
        put_digests(&mut batch, record.number, &TableDigests::default())?;
        self.commit(&Batch::default(), batch)?;
        Ok(record)
    }

    /// Enters a collection with a reserved number into the catalogue, with all that was stored
    /// under the number.
    pub(crate) fn enter(&self, name: &str, record: &CollectionRecord) -> Result<()> {
        let mut batch = Batch::default();
        batch.remove(entry(GONE, &record.number.to_string()));
        batch.insert(entry(COLLECTION, name), record.encode()?);
        self.commit(&Batch::default(), batch)
    }

    /// Gives collections other names, all in one commit. A name may be one that another collection
    /// gives up.
    pub(crate) fn rename(&self, moves: &[(&str, &str)]) -> Result<()> {
        let mut batch = Batch::default();
        let mut records = Vec::with_capacity(moves.len());
        for (old, new) in moves {
            let record = self.collection(old)?.ok_or_else(|| {
                damaged(format!("the catalogue's entry {old:?}"), "it is missing")
            })?;
            batch.remove(entry(COLLECTION, old));
            records.push((new, record));
        }
        // Of a key that is removed and inserted the last operation counts.
        for (new, record) in records {
            batch.insert(entry(COLLECTION, new), record.encode()?);
        }
        self.commit(&Batch::default(), batch)
    }

    /// Removes a collection: first its entry, then its records. After a crash between the two, the
    /// next opening removes the records.
    pub(crate) fn drop_collection(&self, name: &str, number: u32) -> Result<()> {
        let mut batch = Batch::default();
        batch.remove(entry(COLLECTION, name));
        batch.insert(entry(GONE, &number.to_string()), &[]);
        self.commit(&Batch::default(), batch)?;
        self.sweep(number)
    }

    /// The numbers that are marked for removal.
    fn gone(&self) -> Result<Vec<u32>> {
        self.numbers_after(GONE)
    }

    /// The numbers of the collections into which items are being written in parts.
    pub(super) fn staged(&self) -> Result<Vec<u32>> {
        self.numbers_after(STAGED)
    }

    /// The numbers in keys after a prefix.
    fn numbers_after(&self, prefix: &str) -> Result<Vec<u32>> {
        let read = |name: String| {
            name.parse()
                .map_err(|_| damaged("the catalogue", format!("{name:?} is no number")))
        };
        self.entries(prefix).map(|entry| read(entry?.0)).collect()
    }

    /// Removes the records and segment files of a number that is marked for removal.
    pub(crate) fn sweep(&self, number: u32) -> Result<()> {
        let mut keys = table::keys_of(&self.sled()?.records, number);
        loop {
            let mut batch = Batch::default();
            let mut removed = 0;
            while removed < REMOVED_AT_ONCE {
                let next = || keys.next().transpose();
                let next = self.disk.run(DiskOp::Read, "list records", next)?;
                let Some(key) = next else { break };
                batch.remove(key);
                removed += 1;
            }
            if removed == 0 {
                break;
            }
            self.commit(&batch, Batch::default())?;
        }
        // Files may go only once it is on disk that nothing names them, whatever is promised to
        // those who write.
        self.flush()?;
        for prefix in [manifest::prefix(number), keywords::prefix(number)] {
            self.sweep_dir(&prefix, &|_| false)?;
        }
        let mut batch = Batch::default();
        batch.remove(entry(GONE, &number.to_string()));
        batch.remove(digests_key(number).as_bytes());
        batch.remove(staging::mark(number).as_bytes());
        self.commit(&Batch::default(), batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Item, Store};

    /// Sets a store's format number behind its back.
    fn set_format(path: &std::path::Path, format: u32) {
        let sled = sled::Config::default()
            .path(path.join("sled"))
            .open()
            .expect("opened");
        sled.open_tree(TREE)
            .expect("opened")
            .insert(FORMAT_KEY, &format.to_le_bytes())
            .expect("set");
        sled.flush().expect("flushed");
    }

    #[test]
    fn a_store_of_another_format_is_refused_by_name_and_left_alone() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s");
        {
            let store = Store::open(&path).expect("opened");
            let points = store.collection("c").dim(2).create().expect("made");
            points.add([Item::vector("a", [0.0, 1.0])]).expect("added");
        }
        for format in 1..FORMAT {
            set_format(&path, format);
            let refused = Store::open(&path).expect_err("refused");
            assert!(
                matches!(
                    refused,
                    Error::OlderFormat { found, known: FORMAT, .. } if found == format
                ),
                "{refused:?}"
            );
            let message = refused.to_string();
            assert!(
                message.contains(&format!("format {format}"))
                    && message.contains("export")
                    && message.contains("import"),
                "{message}"
            );
            // A repair does not take it for damaged either, nor does a restore.
            assert!(matches!(
                Store::builder().repair(&path),
                Err(Error::OlderFormat { .. })
            ));
            assert!(matches!(
                Store::builder().restore(&path, home.path().join("other")),
                Err(Error::OlderFormat { .. })
            ));
        }
        set_format(&path, FORMAT + 1);
        assert!(matches!(
            Store::open(&path),
            Err(Error::NewerFormat { known: FORMAT, .. })
        ));
        set_format(&path, 0);
        assert!(matches!(Store::open(&path), Err(Error::Damaged { .. })));
        set_format(&path, FORMAT);
        let store = Store::open(&path).expect("opened again");
        assert_eq!(store.collection("c").open().expect("opened").len(), 1);
        assert_eq!(store.verify().expect("verified").problems, []);
    }
}
