//! Judgements from what people have: JSON lines, rated answers, and events of users.

use std::collections::BTreeMap;
use std::io::BufRead;

use affinis::{Judgement, Query};

use super::check::{Expected, check_name};
use super::error::{InputError, Place, cut};
use super::judgements::{Defaults, judgements_jsonl, query};
use super::ratings::{CsvColumns, Rated, RatingFormat, ratings};
use super::topics::topics;
use super::ubi::ubi;

/// Format of a file of judgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackFormat {
    /// JSON lines of judgements.
    Jsonl,
    /// Rated answers.
    Rated(RatingFormat),
    /// Events of User Behavior Insights.
    Ubi,
}

/// What the caller calls the settings, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// [`Feedback::scale`].
    pub scale: &'static str,
    /// The second input, of queries.
    pub queries: &'static str,
    /// [`Feedback::columns`].
    pub columns: &'static str,
}

/// How a file of judgements is read.
#[derive(Debug, Clone)]
pub struct Feedback {
    /// Its format; by default that of its first line, where that is JSON lines or rated answers.
    pub format: Option<FeedbackFormat>,
    /// The grade that is entirely relevant; by default the highest in the file, and at least 1.
    pub scale: Option<f64>,
    /// The columns of a csv; by default those of Quepid.
    pub columns: Option<CsvColumns>,
    /// What the collection accepts.
    pub expected: Expected,
    /// Values of what a line leaves out.
    pub defaults: Defaults,
    /// The names of the settings in messages.
    pub words: Words,
}

/// Judgements with their lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadFeedback {
    /// The judgements with their lines, from 1.
    pub judgements: Vec<(u64, Judgement)>,
    /// Sentences on what was left out, and on what was taken for granted.
    pub notes: Vec<String>,
}

impl Feedback {
    /// Reads the judgements of an input with its name, and the texts of topics or the queries of
    /// events from another.
    ///
    /// # Errors
    /// [`InputError`] at the first line that cannot be used, for a setting that the format does not
    /// have, and for an input without judgements.
    pub fn read(
        &self,
        (mut reader, name): (impl BufRead, &str),
        queries: Option<(impl BufRead, &str)>,
    ) -> Result<ReadFeedback, InputError> {
        let whole = |reason: String| InputError::new(name, Place::File, reason);
        let format = match self.format {
            None if self.columns.is_some() => Some(FeedbackFormat::Rated(RatingFormat::Quepid)),
            None => {
                let json = is_json(&mut reader);
                let json = json.map_err(|e| whole(format!("cannot be read: {e}")))?;
                json.then_some(FeedbackFormat::Jsonl)
            }
            some => some,
        };
        let takes = |what: &str, formats: &str| {
            Err(whole(format!(
                "{what} belongs to {formats}, not to this format"
            )))
        };
        if self.scale.is_some()
            && matches!(format, Some(FeedbackFormat::Jsonl | FeedbackFormat::Ubi))
        {
            return takes(self.words.scale, "qrels, beir and quepid");
        }
        if self.columns.is_some() && format != Some(FeedbackFormat::Rated(RatingFormat::Quepid)) {
            return takes(self.words.columns, "csv");
        }
        match format {
            Some(FeedbackFormat::Jsonl) => {
                if queries.is_some() {
                    return takes(self.words.queries, "qrels, beir and ubi");
                }
                Ok(ReadFeedback {
                    judgements: judgements_jsonl(reader, name, self.expected, &self.defaults)?,
                    notes: Vec::new(),
                })
            }
            Some(FeedbackFormat::Ubi) => self.events((reader, name), queries),
            Some(FeedbackFormat::Rated(format)) => {
                self.rated((reader, name), queries, Some(format))
            }
            None => self.rated((reader, name), queries, None),
        }
    }

    fn events(
        &self,
        events: (impl BufRead, &str),
        queries: Option<(impl BufRead, &str)>,
    ) -> Result<ReadFeedback, InputError> {
        let found = ubi(events, queries, self.expected, &self.defaults, self.words)?;
        let others = found.other_actions.iter();
        let others: Vec<String> = others
            .map(|(action, count)| format!("{} ({count})", cut(action)))
            .collect();
        let mut notes = Vec::new();
        if !others.is_empty() {
            notes.push(format!(
                "events that say nothing of relevance were left out: {}",
                others.join(", ")
            ));
        }
        Ok(ReadFeedback {
            judgements: found.judgements,
            notes,
        })
    }

    fn rated(
        &self,
        (reader, name): (impl BufRead, &str),
        queries: Option<(impl BufRead, &str)>,
        format: Option<RatingFormat>,
    ) -> Result<ReadFeedback, InputError> {
        let (format, rated) = ratings(reader, name, format, self.columns.as_ref())?;
        let whole = |reason: String| InputError::new(name, Place::File, reason);
        let texts = match (queries, format) {
            (Some(_), RatingFormat::Quepid) => {
                return Err(whole(format!(
                    "{} belongs to qrels, beir and ubi; a csv holds the texts itself",
                    self.words.queries
                )));
            }
            (None, RatingFormat::Beir) => {
                return Err(whole(format!(
                    "BEIR's qrels name queries by ids that are no items; {} names the file of \
                     their texts, queries.jsonl or topic<TAB>text",
                    self.words.queries
                )));
            }
            (None, _) => None,
            (Some((reader, name)), _) => Some(topics(reader, name)?.texts),
        };
        let highest = rated
            .iter()
            .fold(1.0_f64, |most, rated| most.max(rated.grade));
        let scale = self.scale.unwrap_or(highest);
        let mut read = ReadFeedback::default();
        if self.scale.is_none() && highest > 1.0 {
            read.notes.push(format!(
                "the highest grade, {highest}, is taken for entirely relevant; {} sets another",
                self.words.scale
            ));
        }
        let mut own = 0;
        for rated in &rated {
            let wrong = |reason| InputError::new(name, Place::Line(rated.line), reason);
            let asks = self.query(rated, format, texts.as_ref()).map_err(wrong)?;
            if asks == Query::like(&rated.item) {
                own += 1;
                continue;
            }
            let grade = grade(rated.grade, scale).map_err(wrong)?;
            let mut judgement = Judgement::graded(asks, &rated.item, grade);
            if let Some(user) = &self.defaults.user {
                check_name("the user's name", user).map_err(wrong)?;
                judgement = judgement.user(user.clone());
            }
            if let Some(source) = self.defaults.source {
                judgement = judgement.source(source);
            }
            read.judgements.push((rated.line, judgement));
        }
        if own > 0 {
            read.notes.push(format!(
                "{own} ratings of an item as an answer to itself were left out"
            ));
        }
        if read.judgements.is_empty() {
            return Err(whole(
                "it rates nothing but items as answers to themselves".to_owned(),
            ));
        }
        Ok(read)
    }

    /// The query of a rated answer: a text, or a topic that is the id of an item.
    fn query(
        &self,
        rated: &Rated,
        format: RatingFormat,
        texts: Option<&BTreeMap<String, String>>,
    ) -> Result<Query, String> {
        let text = match texts {
            None if format == RatingFormat::Quepid => Some(&rated.query),
            None => None,
            Some(texts) => Some(texts.get(&rated.query).ok_or_else(|| {
                format!("the file of queries has no topic {:?}", cut(&rated.query))
            })?),
        };
        match text {
            Some(text) => query(Some(text), None, None, self.expected),
            None => Ok(Query::like(&rated.query)),
        }
    }
}

/// The grade of a judgement: -1 for a rating of 0 or below, else the share of the scale.
fn grade(rating: f64, scale: f64) -> Result<f32, String> {
    if rating > scale {
        return Err(format!(
            "the grade {rating} is above the highest of the scale, {scale}"
        ));
    }
    Ok(if rating > 0.0 {
        (rating / scale) as f32
    } else {
        -1.0
    })
}

/// Whether an input begins with `{`, or holds nothing.
fn is_json(reader: &mut impl BufRead) -> std::io::Result<bool> {
    let start = reader.fill_buf()?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    Ok(first.is_none_or(|byte| *byte == b'{'))
}
