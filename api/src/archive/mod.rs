//! A collection as a file of JSON lines: what `export` writes and `import` reads.
//!
//! The first line is `{"collection": {..}}`: the format's name and version, the settings, and how
//! many lines of each kind follow. Then come, in this order, `{"item": {"id", "text", "vector",
//! "meta"}}`; `{"text": {"text", "vector"}}`, the vectors of texts that are queries of judgements;
//! `{"judgement": {"sequence", ..}}`, otherwise as `judge` reads them; and `{"metric": {"version",
//! .., "bytes"}}`, a version as `metrics show --json` prints it, with the bytes that its plugin
//! encoded, in base64. Numbers are read back bit for bit.

mod place;
mod read;
mod v1;
mod write;

use std::collections::BTreeMap;

use affinis::learning::{Activation, Guidelines};
use affinis::{CollectionInfo, JudgementId, VersionId};
use serde::{Deserialize, Serialize};

pub use place::place_of;
pub use read::{Archive, Places, read_archive, read_header};
pub use write::{write_header, write_history, write_item};

/// Name of the format, in the first line.
pub const FORMAT: &str = "affinis-collection";
/// Version of the format that is written, and the newest that is read.
pub const FORMAT_VERSION: u32 = 4;

/// Name of an exported collection that a service was sent, in its messages.
pub const NAME_AT_SERVICE: &str = "the exported collection";

/// The first line: the settings of the collection, and the number of lines of each kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Name, settings and number of items.
    pub settings: CollectionInfo,
    /// Number of texts that are queries of judgements.
    pub texts: usize,
    /// Number of judgements.
    pub judgements: usize,
    /// Number of learned metrics.
    pub metrics: usize,
    /// The active metric of searches without a user.
    pub active: VersionId,
    /// The active metric of each user who has one of their own.
    pub active_users: BTreeMap<String, VersionId>,
    /// Number of the next judgement.
    pub next_judgement: JudgementId,
    /// Number of the next version.
    pub next_version: VersionId,
    /// The guidelines for those who judge; left out where none were set, and before format version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidelines: Option<Guidelines>,
    /// When which version became everybody's; none are known before format version 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activations: Vec<Activation>,
}
