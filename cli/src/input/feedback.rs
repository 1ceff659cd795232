//! Judgements from files or standard input.

use affinis_api::input::feedback::{self, FeedbackFormat, ReadFeedback, Words};

use super::check::Expected;
use super::error::InputError;
use super::judgements::Defaults;
use super::{Input, Opened};

/// The options of the command line, in messages.
pub const WORDS: Words = Words {
    scale: "--scale",
    queries: "--queries",
    columns: "--columns",
};

/// A file of judgements and how to read it.
#[derive(Debug, Clone)]
pub struct Feedback<'a> {
    /// The file.
    pub file: &'a Input,
    /// Its format; by default that of its first line, where that is JSON lines or rated answers.
    pub format: Option<FeedbackFormat>,
    /// The file of the texts of topics, or of the queries of events.
    pub queries: Option<&'a Input>,
    /// The grade that is entirely relevant; by default the highest in the file, and at least 1.
    pub scale: Option<f64>,
    /// What the collection accepts.
    pub expected: Expected,
    /// Values of what a line leaves out.
    pub defaults: Defaults,
}

impl Feedback<'_> {
    /// Reads the judgements.
    ///
    /// # Errors
    /// [`InputError`] for files that cannot be opened, at the first line that cannot be used, for an
    /// option that the format does not have, and for an input without judgements.
    pub fn read(&self) -> Result<ReadFeedback, InputError> {
        let Opened { name, reader, .. } = self.file.open()?;
        let queries = self.queries.map(Input::open).transpose()?;
        let (queries, queries_name) = queries.map(|opened| (opened.reader, opened.name)).unzip();
        let queries = queries.zip(queries_name.as_deref());
        let feedback = feedback::Feedback {
            format: self.format,
            scale: self.scale,
            columns: None,
            expected: self.expected,
            defaults: self.defaults.clone(),
            words: WORDS,
        };
        feedback.read((reader, &name), queries)
    }
}
