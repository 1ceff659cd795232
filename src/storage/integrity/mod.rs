//! The integrity of one collection's records: what is damaged, and how each damage is remedied.
//!
//! [`Tables::check`] walks through all tables once and gives [`Finding`]s, each with a [`Remedy`].
//! `Store::verify` reports them; [`Tables::repair`] applies their remedies in one transaction. What
//! follows from other records is written anew; what does not is removed and named.

mod repair;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::fmt;

use roaring::RoaringBitmap;

use super::digest::TableDigests;
use super::records::{ItemRecord, QueryRecord, VersionRecord};
use super::tables::NAMES;
use crate::model::error::{Error, Result};

pub(crate) use repair::Repairs;

/// Why a metric version cannot be used, given its number, header and encoded metric; `None` for a
/// sound one.
pub(crate) type VersionCheck<'a> = &'a dyn Fn(u32, &VersionRecord, Option<&[u8]>) -> Option<String>;

/// The checks of records that need more than the records: each gives the reason why a record cannot
/// be used, or `None` for a sound one.
pub(crate) struct Checks<'a> {
    /// Checks the record of the item in a slot.
    pub(crate) item: &'a dyn Fn(&ItemRecord, u32) -> Option<String>,
    /// Checks a metric version, given its number, header and encoded metric.
    pub(crate) version: VersionCheck<'a>,
    /// The key of a judged query's vector in the table of queries; `None` for a query without one.
    pub(crate) query_hash: &'a dyn Fn(&QueryRecord) -> Option<[u8; 16]>,
    /// What the files hold, given the slots in which something is stored.
    pub(crate) files: &'a dyn Fn(&RoaringBitmap) -> Result<FileVectors>,
}

/// What the files of a collection hold of its vectors.
#[derive(Debug, Default)]
pub(crate) struct FileVectors {
    /// Slots whose vectors are in a file and can be read.
    pub(crate) sound: RoaringBitmap,
    /// Slots whose vectors are in a file and cannot be read, each with the reason.
    pub(crate) damaged: BTreeMap<u32, String>,
    /// The slot after the last that a file holds.
    pub(crate) end: u32,
    /// The files, or the records that name them, that are damaged, each with the damage.
    pub(crate) problems: Vec<(String, String)>,
}

/// The result of one walk through a collection's tables.
pub(crate) struct Integrity {
    /// Records, references between records, and table digests that were checked.
    pub(crate) checked: u64,
    pub(crate) findings: Vec<Finding>,
    /// The digests of what the tables hold.
    found: TableDigests,
}

/// One damage, and what is to be done about it.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    /// What is wrong there.
    pub(crate) damage: String,
    pub(crate) remedy: Remedy,
}

/// The record, table or file that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Settings,
    /// A table of a collection, by the collection's number and the table's.
    Table(u32, usize),
    Counter(&'static str),
    Item {
        slot: u32,
        id: Option<String>,
    },
    /// The entry of an external id.
    Id(String),
    Judgement(u64),
    /// The vector of a judged query.
    Query,
    Version(u32),
    /// The active metric of the collection or of a user, by its key.
    Active(String),
    /// A file, or the records that name the files.
    File(String),
    Guidelines,
    Activations,
    Keywords,
}

/// What a repair does about a finding.
#[derive(Debug)]
pub(crate) enum Remedy {
    /// Other records say what it should be: it is written anew, or removed and made again when it
    /// is next needed. Nothing is lost.
    Rebuild(Vec<Edit>),
    /// Nothing refers to it: it is removed, and nothing is lost.
    Discard(Vec<Edit>),
    /// It cannot be used: it is removed, and lost.
    Remove(Vec<Edit>),
    /// It is lost, and the default takes its place, which is named.
    Reset(Vec<Edit>, &'static str),
    /// The digest of a table is set to what the table holds.
    Recount,
    /// What is sound in the files is taken out of them, and they are made anew: the work of
    /// [`Tables::move_to_table`], which must have been done before a [repair](Tables::repair).
    RescueVectors,
    /// There is none: a repair ends with this error. The disk fails, or another version of affinis
    /// wrote the record.
    None(Error),
}

/// A change of one table.
#[derive(Debug)]
pub(crate) enum Edit {
    Put {
        table: usize,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Remove {
        table: usize,
        key: Vec<u8>,
    },
    /// Removes all chunks of a record.
    RemoveRecord {
        table: usize,
        number: u32,
    },
}

impl Integrity {
    /// The damages of files, in words.
    pub(crate) fn files(&self) -> impl Iterator<Item = String> {
        let of_files = self.findings.iter().filter(|finding| finding.is_of_files());
        of_files.map(|finding| format!("{}: {}", finding.place, finding.damage))
    }
}

impl Finding {
    /// Whether the database could not be read there, so that nothing is known of what it holds.
    pub(crate) fn is_of_database(&self) -> bool {
        let unread = matches!(
            self.remedy,
            Remedy::None(Error::Damaged { .. } | Error::Storage { .. } | Error::Poisoned(_))
        );
        unread && self.place != Place::Settings
    }

    /// Whether the files must be made anew.
    pub(crate) fn is_of_files(&self) -> bool {
        matches!(self.remedy, Remedy::RescueVectors)
    }

    /// Whether a repair does something about it.
    pub(crate) fn is_repairable(&self) -> bool {
        !matches!(self.remedy, Remedy::None(_))
    }

    /// The damage in words, for a report that does nothing about it.
    pub(crate) fn message(&self) -> String {
        match &self.remedy {
            Remedy::None(Error::Damaged { .. })
            | Remedy::Remove(_)
            | Remedy::Reset(..)
            | Remedy::Discard(_)
            | Remedy::Recount => format!("damaged: {}", self.damage),
            Remedy::Rebuild(_) | Remedy::RescueVectors => {
                format!("damaged: {}; it can be rebuilt", self.damage)
            }
            Remedy::None(_) => self.damage.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings => f.write_str("settings"),
            Self::Table(number, table) => write!(f, "the table {number}/{}", NAMES[*table]),
            Self::Counter(name) => write!(f, "the counter {name}"),
            Self::Item { slot, id: Some(id) } => write!(f, "item {id:?} (slot {slot})"),
            Self::Item { slot, id: None } => write!(f, "an item (slot {slot})"),
            Self::Id(id) => write!(f, "the id {id:?}"),
            Self::Judgement(sequence) => write!(f, "judgement {sequence}"),
            Self::Query => f.write_str("a judged query"),
            Self::Version(version) => write!(f, "metric version {version}"),
            Self::Active(key) => write!(f, "which metric is {key}"),
            Self::File(name) => f.write_str(name),
            Self::Guidelines => f.write_str("the guidelines"),
            Self::Activations => f.write_str("the activations"),
            Self::Keywords => f.write_str("the language of keywords"),
        }
    }
}
