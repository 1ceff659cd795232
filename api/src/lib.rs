//! The JSON documents of [`affinis`]: what its command line prints with `--json`, and what its
//! service answers. Both make them from here, so that a field has one name.
//!
//! Beside them is what else both need: collections as [files](archive), the [reading](input) of
//! lines, and a collection in [whichever engine](target) it is.
//!
//! Types of the crate `affinis` that are documents as they are, such as
//! [`Stats`](affinis::Stats), are not repeated. [`input`] has the parsers of judgements that both read.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! let store = affinis::Store::open(dir.path())?;
//! let points = store.collection("points").dim(1).create()?;
//! points.add([affinis::Item::vector("a", [0.5])])?;
//! let items = points.get_many(&["a"])?.into_iter().map(affinis_api::ItemDocument::from);
//! let json = serde_json::to_string(&items.collect::<Vec<_>>())?;
//! assert_eq!(json, r#"[{"id":"a","text":null,"vector":[0.5],"meta":null}]"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod archive;
mod explanation;
pub mod input;
mod items;
mod learning;
mod search;
mod service;
mod tables;
pub mod target;

pub use explanation::{
    ByWordsDocument, DirectionDocument, ExplanationDocument, FoundWordsDocument, InfluenceDocument,
};
pub use items::{AddedAllDocument, AddedDocument, ItemDocument, ItemsDocument, SkippedDocument};
pub use learning::{
    ForgottenDocument, FusionDocument, GateDocument, JudgementDocument, MemoryDocument,
    MillisDocument, PairsDocument, QuestionDocument, RefitDocument, RelearnedDocument,
    VersionDocument,
};
pub use search::{
    AnswerDocument, ComparedDocument, ExecutionDocument, FacetDocument, FacetValueDocument, Facets,
    GroupDocument, HighlightDocument, HitDocument,
};
pub use service::{
    ActiveDocument, BackupDocument, BegunDocument, DamageDocument, DescriptionDocument,
    DifferenceDocument, ImportedDocument, JobDocument, JobState, JudgedDocument,
    JudgementsDocument, MatrixDocument, OpenQuestionDocument, OptimizedDocument, ProblemDocument,
    ReencodedDocument, SessionDocument, TrialAnswerDocument, TrialHitDocument, VerifiedDocument,
};
pub use tables::TableStatsDocument;
