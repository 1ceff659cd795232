//! Parsers of files and standard input.
//!
//! Every parser is a pure function from a reader to values, needs no store, and can be fuzzed by
//! itself. Its errors name the file, the line or row, and the reason. It never allocates by a
//! number that the input merely claims.

mod check;
mod feedback;
mod fields;
mod items;
mod layout;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod queries;
mod source;
mod table;

use affinis_api::input::{error, judgements, ratings, topics, ubi};

pub use affinis_api::archive::{
    Archive, FORMAT, FORMAT_VERSION, Header, Places, read_archive as archive,
};
pub use affinis_api::input::feedback::{FeedbackFormat, ReadFeedback};
pub(crate) use check::check_name;
pub use check::{Expected, Parsed};
pub use error::{InputError, Place};
pub use feedback::{Feedback, WORDS};
pub use items::items_json;
pub use judgements::{Defaults, judgements_jsonl};
pub use layout::{Columns, Layout};
pub use npy::{npy_f32, npy_f64, npy_items, npy_queries, read_ids, write_npy_f64};
#[cfg(feature = "parquet")]
pub use parquet::parquet;
pub use queries::{EvaluationInput, evaluation};
pub use ratings::{Rated, RatingFormat, ratings};
pub use source::{Input, Opened, read_ahead};
pub use table::{csv, tsv};
pub use topics::{Topics, topics};
pub use ubi::{CLICKS, UbiJudgements, ubi};
