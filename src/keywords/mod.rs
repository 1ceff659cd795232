//! Keyword search: texts ranked by the words of a query with BM25.
//!
//! The index of a collection is a list of immutable [`Part`]s, each a tantivy index of one segment
//! that is built in memory. A part holds the texts of some slots; which of them are live the caller
//! knows, so that removing an item changes no part. This module knows neither the items nor the
//! files: [`crate::items`] builds the parts that are missing, and writes them to files.

mod analyze;
mod collect;
mod files;
mod highlight;
mod part;
mod query;
mod search;
mod stem;

pub(crate) use analyze::ANALYSIS;
pub(crate) use files::Sections;
pub(crate) use highlight::Highlighter;
pub(crate) use part::{Part, PartError};
pub(crate) use query::{KeywordQuery, meaning};
pub(crate) use search::{Restriction, Texts, restriction, search};

#[cfg(test)]
mod tests;
