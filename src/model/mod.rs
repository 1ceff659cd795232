//! The types of what a collection holds, with all validation of them.
//!
//! Types of this module that derive `Serialize` and end in `Record`, and [`LoggedJudgement`], are
//! what the storage module encodes: the order of their fields is part of the format on disk.

mod activation;
mod combined;
mod content;
mod distance;
mod document;
pub(crate) mod error;
mod guidelines;
mod highlight;
mod invalid;
mod item;
mod judgement;
mod judgement_format;
mod language;
mod logged;
mod memory;
mod names;
mod query;
mod question;
pub(crate) mod time;
mod vector;
mod version;

pub use crate::ids::{JudgementId, VersionId};
pub(crate) use activation::keep as keep_activations;
pub use activation::{ActivatedBy, Activation, MAX_ACTIVATIONS};
pub use combined::{CombinedQuery, MAX_PARTS, SearchQuery};
pub use content::{ContentHash, JudgedContent};
pub use distance::Distance;
pub(crate) use document::{
    BYTES_PER_TOKEN, Chunk, check_document_meta, chunk_id, chunk_meta, chunk_prefix, document_meta,
    is_chunk_id, is_chunk_of,
};
pub use document::{
    Chunking, Document, MAX_CHUNK_TOKENS, MAX_CHUNKS, MAX_CHUNKS_BYTES, MAX_DOCUMENT_BYTES,
};
pub use guidelines::{Guidelines, MAX_GUIDELINES_BYTES, ScaleGrade};
pub use highlight::{Highlight, HighlightBy};
pub(crate) use invalid::VersionError;
pub use invalid::{IdError, ItemError, JudgementError};
pub use item::{
    AddMode, Item, MAX_DIM, MAX_ID_BYTES, MAX_META_BYTES, MAX_META_DEPTH, MAX_TEXT_BYTES,
};
pub(crate) use item::{check_id, check_text, depth};
use judgement::MAX_SHOWN;
pub use judgement::{Judgement, Source, StoredJudgement, Subject};
pub use language::Language;
pub(crate) use logged::{LoggedItem, LoggedQuery, hash_text, hash_vector, item_key, query_key};
pub use logged::{LoggedJudgement, QueryHash};
pub use memory::{FusionRecord, MemoryRecord, MemorySettings};
pub use names::UnknownName;
pub(crate) use names::named;
pub use query::{
    DEFAULT_RECALL, Execution, GroupCount, Hit, Hits, MAX_K, MetricChoice, Plan, Query, RankBy,
};
pub use question::{KindRecall, QuestionKind};
pub(crate) use question::{QueryForm, Sampled};
pub use vector::VectorRules;
pub(crate) use vector::rows;
pub use version::{Active, VersionRecord, Versioned};
pub use version::{JudgementRange, RefitSettings, SourceWeights, TrialRecord, Verdict, Version};
