//! Import of judgements as others keep them.

use std::collections::{BTreeSet, HashSet};

use affinis::Judgement;
use affinis_api::JudgedDocument;
use affinis_api::input::check::Expected;
use affinis_api::input::feedback::{Feedback, FeedbackFormat, ReadFeedback, Words};
use affinis_api::input::judgements::Defaults;
use affinis_api::input::ratings::{CsvColumns, RatingFormat};
use affinis_api::input::{InputError, Place, cut};
use affinis_api::target::Target;
use axum::Extension;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::judgements::{own, store};
use crate::access::{Caller, Role};
use crate::app::App;
use crate::extract::{Given, Segments};
use crate::problem::{Kind, Problem};

/// The most unknown items that an answer names.
const MAX_LISTED: usize = 20;

/// The fields of a request, in messages.
const WORDS: Words = Words {
    scale: "`scale`",
    queries: "`queries`",
    columns: "`columns`",
};

/// Judgements with their lines.
type Numbered = Vec<(u64, Judgement)>;

/// A file of judgements. All of them are stored, or none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToImport {
    /// The text of the file.
    file: String,
    /// Its format; by default that of its first line, where that is not of UBI.
    format: Option<Format>,
    /// The text of the file of queries: the texts of topics (`topic<TAB>text`, or BEIR's
    /// `queries.jsonl`) for qrels and BEIR, the queries of UBI's events.
    queries: Option<String>,
    /// The grade that is entirely relevant; by default the highest in the file, and at least 1.
    #[schema(exclusive_minimum = 0)]
    scale: Option<f64>,
    /// The names of the columns of a csv; Quepid's by default.
    columns: Option<Columns>,
    /// Leave out judgements of items that the collection does not hold.
    #[serde(default)]
    skip_unknown: bool,
}

/// A format of judgements.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// JSON lines, as `judge` reads them.
    Jsonl,
    /// TREC qrels: `topic iteration item grade`.
    Qrels,
    /// BEIR's qrels: `topic<TAB>item<TAB>grade`.
    Beir,
    /// A csv with a header: Quepid's `query,docid,rating`, or the columns that are named.
    Csv,
    /// JSON lines of User Behavior Insights.
    Ubi,
}

/// Names of the columns of a csv.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Columns {
    /// The column of the query's text.
    query: String,
    /// The column of the item's id.
    item: String,
    /// The column of the grade.
    grade: String,
}

/// What was stored of a file.
#[derive(Serialize, ToSchema)]
pub(crate) struct Imported {
    #[serde(flatten)]
    judged: JudgedDocument,
    /// How many judgements were left out, because their items are unknown.
    left_out: usize,
    /// The unknown items, the first 20 of them.
    unknown: Vec<String>,
    /// Sentences on what was left out for other reasons, and on what was taken for granted.
    notes: Vec<String>,
}

impl From<Format> for FeedbackFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Jsonl => Self::Jsonl,
            Format::Qrels => Self::Rated(RatingFormat::Qrels),
            Format::Beir => Self::Rated(RatingFormat::Beir),
            Format::Csv => Self::Rated(RatingFormat::Quepid),
            Format::Ubi => Self::Ubi,
        }
    }
}

impl ToImport {
    fn read(&self, target: &Target) -> Result<ReadFeedback, Problem> {
        if let Some(scale) = self.scale
            && !(scale.is_finite() && scale > 0.0)
        {
            return Err(Problem::invalid("`scale` is the highest grade, above 0"));
        }
        let columns = self.columns.as_ref().map(|columns| CsvColumns {
            query: columns.query.clone(),
            item: columns.item.clone(),
            grade: columns.grade.clone(),
        });
        let feedback = Feedback {
            format: self.format.map(FeedbackFormat::from),
            scale: self.scale,
            columns,
            expected: Expected {
                dim: target.dim(),
                texts: target.has_encoder(),
                distance: target.distance(),
                skip_bad: false,
            },
            defaults: Defaults::default(),
            words: WORDS,
        };
        let queries = self.queries.as_deref().map(str::as_bytes);
        let file = (self.file.as_bytes(), "the file");
        let read = feedback.read(file, queries.map(|queries| (queries, "the queries")));
        read.map_err(|error| Problem::invalid(error.to_string()))
    }
}

/// Stores the judgements of a file, all or none: JSON lines, TREC qrels, BEIR qrels, csv of Quepid
/// or with named columns, events of UBI. What cannot be read is named by its line. Below the role
/// write each judgement must be one's own.
#[utoipa::path(post, path = "/v1/collections/{c}/judgements/import", tag = "judgements",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = ToImport,
    responses((status = 200, description = "They are on disk", body = Imported)))]
pub(crate) async fn import(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    Given(given): Given<ToImport>,
) -> Result<Json<Imported>, Problem> {
    let imported = app.on(name, move |target| {
        let ReadFeedback { judgements, notes } = given.read(target)?;
        let read = judgements.len();
        let (judgements, mut unknown) = known(judgements, given.skip_unknown, target)?;
        let judgements = judgements.into_iter().map(|(line, judgement)| {
            // What others judged is imported by who may write, as it was given.
            let named = judgement.user.is_some() && caller.may(Role::Write);
            let owned = if named {
                Ok(judgement)
            } else {
                own(judgement, &caller)
            };
            owned.map_err(|problem| problem.in_line(line))
        });
        let judgements: Vec<Judgement> = judgements.collect::<Result<_, _>>()?;
        let left_out = read - judgements.len();
        unknown.truncate(MAX_LISTED);
        Ok(Imported {
            judged: store(target, &judgements)?,
            left_out,
            unknown,
            notes,
        })
    });
    Ok(Json(imported.await?))
}

/// The judgements of items that the collection holds, and the ids of others. What was merely shown
/// is left out of a judgement, and not the judgement.
fn known(
    judgements: Numbered,
    skip: bool,
    target: &Target,
) -> Result<(Numbered, Vec<String>), Problem> {
    let ids = judgements.iter().flat_map(|(_, judgement)| {
        let shown = judgement.shown.iter().map(String::as_str);
        judgement.ids().chain(shown)
    });
    let ids: BTreeSet<&str> = ids.collect();
    let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    let held: HashSet<String> = target.items(&ids)?.into_keys().collect();
    let mut unknown = Vec::new();
    let mut first = None;
    let mut kept = Vec::new();
    for (line, mut judgement) in judgements {
        let missing = judgement.ids().find(|id| !held.contains(*id));
        if let Some(id) = missing {
            if !unknown.iter().any(|known| known == id) {
                unknown.push(id.to_owned());
            }
            first.get_or_insert(line);
            continue;
        }
        judgement.shown.retain(|id| held.contains(id));
        kept.push((line, judgement));
    }
    match first {
        Some(line) if !skip || kept.is_empty() => {
            let shown: Vec<String> = unknown
                .iter()
                .take(MAX_LISTED)
                .map(|id| format!("{:?}", cut(id)))
                .collect();
            let more = match unknown.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let remedy = if skip {
                "none of its judgements is of items that are there"
            } else {
                "`skip_unknown` leaves out what names unknown items"
            };
            let reason = format!(
                "the collection has no item {}{more}; {remedy}",
                shown.join(", ")
            );
            let error = InputError::new("the file", Place::Line(line), reason);
            Err(Problem::new(Kind::NotFound, error.to_string()))
        }
        _ => Ok((kept, unknown)),
    }
}
