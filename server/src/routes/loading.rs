//! Items of a file: more than a request of items holds, added in one transaction.

use std::fs::File;
use std::io::BufRead;
use std::sync::Arc;

use affinis::{AddMode, Collection, Error, Item};
use affinis_api::input::{Lines, json_line};
use affinis_api::{AddedAllDocument, BegunDocument, SkippedDocument};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::items::{ADDING, GivenItem, Mode};
use super::to_value;
use super::transfer::{brought, stop_if_cancelled, unpacked_file};
use crate::app::App;
use crate::extract::{Parameters, Segments};
use crate::jobs::{Job, JobKind};
use crate::problem::Problem;

/// Name of what is added, in messages.
const FILE: &str = "the items";
/// What the job does, in messages.
const ADDING_ITEMS: &str = "adding the items";
/// Texts that are encoded before the job looks whether it was cancelled.
const BATCH: usize = 256;

/// How the items of a file are added.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// What an id that exists means; `upsert` by default.
    #[serde(default)]
    #[param(inline)]
    mode: Mode,
    /// Whether items that cannot be stored are left out; otherwise nothing is stored where there is
    /// one.
    #[serde(default)]
    skip_bad: bool,
}

/// Adds the items of a file, all or none, in the background after the file has come.
#[utoipa::path(post, path = "/v1/collections/{c}/items/import", tag = "items", operation_id = "import",
    params(("c" = String, Path, description = "Name of the collection"), Load),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "A JSON object a line, each an item as in `POST /v1/collections/{c}/items`; the file may be packed with gzip or zstd"),
    responses((status = 202, body = BegunDocument,
        description = "A job, whose result is `{\"added\", \"replaced\", \"updated\", \"truncated\", \"skipped\": [{\"line\", \"reason\"}]}`")))]
pub(crate) async fn import(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Parameters(load): Parameters<Load>,
    request: Request,
) -> Result<(StatusCode, Json<BegunDocument>), Problem> {
    let (opened, of) = (app.clone(), name.clone());
    let exists = move || -> Result<(), Problem> {
        opened.collection(&of)?.embedded(ADDING)?;
        Ok(())
    };
    let (file, permit) = brought(&app, request, exists).await?;
    let begun = app.begin(JobKind::Add, Some(name.clone()), move |app, job| {
        let _permit = permit;
        let target = app.collection(&name)?;
        let added = add_file(app, job, target.embedded(ADDING)?, &load, file)?;
        to_value(&added)
    })?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// An item that may be stored, and its line.
type Numbered = (u64, Item);

/// Items that were read so far.
struct Gathered {
    items: Vec<Numbered>,
    skips: bool,
    skipped: Vec<SkippedDocument>,
}

impl Gathered {
    /// Leaves an item out, or stops with what is wrong with it.
    fn refuse(&mut self, line: u64, reason: String, problem: Problem) -> Result<(), Problem> {
        if !self.skips {
            return Err(problem);
        }
        self.skipped.push(SkippedDocument { line, reason });
        Ok(())
    }
}

fn add_file(
    app: &App,
    job: &Arc<Job>,
    collection: &Collection,
    load: &Load,
    file: File,
) -> Result<AddedAllDocument, Problem> {
    let mode = AddMode::from(load.mode);
    let read = read_items(unpacked_file(app, job, file)?, load.skip_bad);
    stop_if_cancelled(job, ADDING_ITEMS)?;
    let Gathered {
        items,
        skips,
        skipped,
    } = read?;
    let mut usable = Gathered {
        items: Vec::with_capacity(items.len()),
        skips,
        skipped,
    };
    prepare(job, collection, mode, items, &mut usable)?;
    let Gathered {
        items, mut skipped, ..
    } = usable;
    skipped.sort_by_key(|skipped| skipped.line);
    if items.is_empty() {
        if skipped.is_empty() {
            return Err(Problem::invalid("there are no items to add"));
        }
        return Ok(AddedAllDocument {
            skipped,
            ..AddedAllDocument::default()
        });
    }
    stop_if_cancelled(job, ADDING_ITEMS)?;
    let items = items.into_iter().map(|(_, item)| item);
    let added = collection.add_as(mode, items)?;
    Ok(AddedAllDocument {
        added: added.into(),
        skipped,
    })
}

/// Reads items, a JSON object a line. Empty lines are passed over.
fn read_items(reader: impl BufRead, skips: bool) -> Result<Gathered, Problem> {
    let mut read = Gathered {
        items: Vec::new(),
        skips,
        skipped: Vec::new(),
    };
    for (at, line) in Lines::new(reader, FILE).enumerate() {
        let (number, text) = match line {
            Ok(line) => line,
            Err(error) if error.skippable() => {
                let problem = Problem::invalid(error.to_string());
                read.refuse(at as u64 + 1, error.reason, problem)?;
                continue;
            }
            Err(error) => return Err(Problem::invalid(error.to_string())),
        };
        if text.trim().is_empty() {
            continue;
        }
        match json_line::<GivenItem>(&text, |key| key == "vector") {
            Ok(item) => read.items.push((number, item.into())),
            Err(reason) => {
                let problem = Problem::invalid(format!("{FILE}, line {number}: {reason}"));
                read.refuse(number, reason, problem)?;
            }
        }
    }
    Ok(read)
}

/// Encodes the texts of items, and checks what only the collection knows.
fn prepare(
    job: &Job,
    collection: &Collection,
    mode: AddMode,
    items: Vec<Numbered>,
    usable: &mut Gathered,
) -> Result<(), Problem> {
    let all = items.len().max(1) as f32;
    let mut at = 0;
    let mut rest = items.into_iter();
    loop {
        stop_if_cancelled(job, ADDING_ITEMS)?;
        let (lines, batch): (Vec<u64>, Vec<Item>) = rest.by_ref().take(BATCH).unzip();
        if batch.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = batch.iter().map(|item| item.id.clone()).collect();
        let prepared = collection.prepare_each(mode, batch)?;
        for ((line, id), prepared) in lines.into_iter().zip(ids).zip(prepared) {
            let checked = prepared.and_then(|item| collection.check_as(mode, &item).map(|()| item));
            match checked {
                Ok(item) => usable.items.push((line, item)),
                Err(source) => {
                    let reason = source.to_string();
                    let error = Error::InvalidItem {
                        index: at,
                        id: affinis_api::input::cut(&id),
                        source,
                    };
                    usable.refuse(line, reason, error.into())?;
                }
            }
            at += 1;
        }
        job.progress(at as f32 / all);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn lines_that_are_no_items_are_named_or_left_out() {
        let file = b"{\"id\": \"a\", \"vector\": [1]}\n\n{\"id\": \"b\"\n{\"id\": \"c\", \"x\": 1}\n\xff\n[]\n";
        let problem = read_items(&file[..], false).err().expect("refused");
        let detail = problem.document().detail;
        assert!(detail.starts_with("the items, line 3: "), "{detail}");
        let read = read_items(&file[..], true).expect("read");
        let lines: Vec<u64> = read.skipped.iter().map(|skipped| skipped.line).collect();
        assert_eq!((read.items.len(), lines), (1, vec![3, 4, 5, 6]));
        let nothing = read_items(&b"\n\n"[..], false).expect("read");
        assert!(nothing.items.is_empty());
    }

    #[test]
    fn metadata_keep_what_they_say() {
        let twice = br#"{"id": "a", "vector": [1], "meta": {"x": 1, "x": 2}}"#;
        assert!(read_items(&twice[..], false).is_err());
        let nested = br#"{"id": "a", "meta": {"x": {"y": [1, "z"]}}}"#;
        let read = read_items(&nested[..], false).expect("read");
        let meta: &Value = &read.items[0].1.meta;
        assert_eq!(meta["x"]["y"][1], "z");
    }
}
