//! What a collection holds, as types, with all validation of them.
//!
//! Types of this module that derive `Serialize` and end in `Record`, and [`LoggedJudgement`], are
//! what the storage module encodes: the order of their fields is part of the format on disk.

mod distance;
mod item;
mod judgement;
mod logged;
mod query;
pub(crate) mod time;
mod vector;
mod version;

pub use crate::ids::{JudgementId, VersionId};
pub use distance::Distance;
pub use item::{Item, MAX_DIM, MAX_ID_BYTES, MAX_META_BYTES, MAX_META_DEPTH, MAX_TEXT_BYTES};
pub(crate) use item::{check_id, check_text, depth};
pub use judgement::{Judgement, Source, StoredJudgement, Subject};
pub(crate) use logged::{LoggedJudgement, LoggedQuery, QueryHash, hash_text, hash_vector};
pub use query::{DEFAULT_RECALL, Execution, Hit, Hits, MAX_K, MetricChoice, Plan, Query};
pub(crate) use vector::{VectorRules, prepare, rows};
pub(crate) use version::{Active, VersionRecord, Versioned};
pub use version::{JudgementRange, RefitSettings, SourceWeights, TrialRecord, Verdict, Version};
