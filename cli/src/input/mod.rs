//! Parsers of files and standard input.
//!
//! Every parser is a pure function from a reader to values, needs no store, and can be fuzzed by
//! itself. Its errors name the file, the line or row, and the reason. It never allocates by a
//! number that the input merely claims.

mod archive;
mod archive_v1;
mod check;
mod delimited;
mod error;
mod feedback;
mod items;
mod judgements;
mod lines;
mod npy;
mod queries;
mod quotes;
mod ratings;
mod source;
mod topics;
mod ubi;

pub use archive::{Archive, FORMAT, FORMAT_VERSION, Header, Places, archive};
pub(crate) use check::check_name;
pub use check::{Expected, Parsed};
pub use delimited::{csv, tsv};
pub use error::{InputError, Place};
pub use feedback::{Feedback, FeedbackFormat, ReadFeedback};
pub use items::items_jsonl;
pub use judgements::{Defaults, judgements_jsonl};
pub use npy::{npy_f32, npy_f64, npy_items, npy_queries, write_npy_f64};
pub use queries::{EvaluationInput, evaluation};
pub use ratings::{Rated, RatingFormat, ratings};
pub use source::{Input, Opened};
pub use topics::{Topics, topics};
pub use ubi::{CLICKS, UbiJudgements, ubi};
