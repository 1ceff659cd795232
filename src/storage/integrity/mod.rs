//! The integrity of one collection's records: what is damaged, and how each damage is remedied.
//!
//! [`Tables::check`] walks through all tables once and gives [`Finding`]s, each with a [`Remedy`].
//! `Store::verify` reports them; [`Tables::repair`] applies their remedies in one transaction. What
//! follows from other records is written anew; what does not is removed and named.

mod repair;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;

use super::digest::TableDigests;
use super::records::{ItemRecord, QueryRecord, VersionRecord};
use super::tables::NAMES;
use crate::model::error::Error;

pub(crate) use repair::Repairs;

/// Why a stored graph cannot be used, given its segment's number, its chunks in order and the first
/// slot that was never given out; `None` for a sound one.
pub(crate) type SegmentCheck<'a> = &'a dyn Fn(u64, Vec<Vec<u8>>, u32) -> Option<String>;

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
    pub(crate) segment: SegmentCheck<'a>,
    /// The key of a judged query's vector in the table of queries; `None` for a query without one.
    pub(crate) query_hash: &'a dyn Fn(&QueryRecord) -> Option<[u8; 16]>,
    /// The damaged segment files, each with a reason, given the first slot that was never given
    /// out.
    pub(crate) segment_files: &'a dyn Fn(u32) -> Vec<(String, String)>,
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
    /// The stored graph of a segment.
    Graph(u64),
    SegmentFile(String),
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
    /// The segment files are removed; they are made anew from the records.
    DropSegmentFiles,
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

impl Finding {
    /// Whether the database could not be read there, so that nothing is known of what it holds.
    pub(crate) fn is_of_database(&self) -> bool {
        let unread = matches!(
            self.remedy,
            Remedy::None(Error::Damaged { .. } | Error::Storage { .. } | Error::Poisoned(_))
        );
        unread && self.place != Place::Settings
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
            Remedy::Rebuild(_) | Remedy::DropSegmentFiles => {
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
            Self::Graph(segment) => write!(f, "the graph of segment {segment}"),
            Self::SegmentFile(name) => f.write_str(name),
            Self::Guidelines => f.write_str("the guidelines"),
            Self::Activations => f.write_str("the activations"),
            Self::Keywords => f.write_str("the language of keywords"),
        }
    }
}
