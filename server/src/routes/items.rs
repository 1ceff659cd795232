//! Items: add, read, list, count, delete.

use std::time::SystemTime;

use affinis::{AddMode, Chunking, Document, Item};
use affinis_api::target::Target;
use affinis_api::{AddedDocument, ItemDocument, ItemsDocument};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::extract::{Given, GivenOrDefault, Parameters, Segments};
use crate::problem::{Kind, Problem};
use crate::query::filter;

/// What adds items to a table.
pub(super) const ADDING: &str = "INSERT and UPDATE write its rows";
/// What deletes items of a table.
const DELETING: &str = "DELETE removes its rows";
/// The number of items of a page where none is given.
const DEFAULT_LIMIT: usize = 100;
/// The largest number of items of a page.
const MAX_LIMIT: usize = 10_000;

/// Items to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToAdd {
    /// The items; all of them are stored, or none.
    items: Vec<GivenItem>,
    /// What an id that exists means; `upsert` by default.
    #[serde(default)]
    mode: Mode,
}

/// Reads the end of an item.
fn end<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let read = |text: String| Item::parse_end(&text).map_err(serde::de::Error::custom);
    text.map(read).transpose()
}

/// An item to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenItem {
    /// Id of the item, 1 to 512 bytes.
    id: String,
    /// Its text, at most 1 MiB.
    text: Option<String>,
    /// Its vector, of the collection's dimension; where there is none, the text is encoded.
    vector: Option<Vec<f32>>,
    /// Its metadata, an object.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    meta: Value,
    /// When it ends, RFC 3339: it is not found after that, and is removed. It stays without one.
    #[serde(default, deserialize_with = "end")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<SystemTime>,
    /// Makes it a document, whose text, of at most 64 MiB, is split into chunks: `true`, or how.
    #[schema(inline)]
    chunk: Option<GivenChunk>,
}

/// Whether or how the text of a document is split.
#[derive(Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "`chunk` is true, false, or an object with `tokens` or `overlap` or both"
)]
enum GivenChunk {
    /// Whether it is split.
    Whether(bool),
    /// How it is split.
    How(GivenChunking),
}

/// How the text of a document is split, in tokens of the collection's encoder.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GivenChunking {
    /// Largest number of tokens of a chunk; 256 by default, or what the encoder takes where that is
    /// less.
    tokens: Option<usize>,
    /// Largest number of tokens that a chunk shares with the one before it, less than `tokens`; a
    /// tenth of these by default.
    overlap: Option<usize>,
}

impl From<GivenChunk> for Option<Document> {
    fn from(given: GivenChunk) -> Self {
        match given {
            GivenChunk::Whether(false) => None,
            GivenChunk::Whether(true) => Some(Document::default()),
            GivenChunk::How(GivenChunking { tokens, overlap }) => {
                Some(Chunking { tokens, overlap }.into())
            }
        }
    }
}

/// What an id that exists means.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Its item is replaced.
    #[default]
    Upsert,
    /// It is refused.
    Insert,
    /// What is given changes; an id that does not exist is refused.
    Update,
}

impl From<Mode> for AddMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Upsert => Self::Upsert,
            Mode::Insert => Self::Insert,
            Mode::Update => Self::Update,
        }
    }
}

impl From<GivenItem> for Item {
    fn from(given: GivenItem) -> Self {
        Self {
            id: given.id,
            text: given.text,
            vector: given.vector,
            meta: given.meta,
            expires: given.expires,
            document: given.chunk.and_then(GivenChunk::into),
            ..Self::default()
        }
    }
}

/// Which items are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// List the items whose ids follow this one, which need not exist.
    after: Option<String>,
    /// Largest number of items, 1 to 10,000; 100 by default.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// List the items whose metadata match this filter, as JSON.
    filter: Option<String>,
    /// Whether vectors are given; they are by default.
    #[serde(default = "yes")]
    vector: bool,
}

fn yes() -> bool {
    true
}

/// Ids of items.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ids {
    /// The ids.
    ids: Vec<String>,
}

/// Items in the order that was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct Found {
    /// The items.
    items: Vec<ItemDocument>,
}

/// Items, by their ids or by a filter.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Ids of the items.
    ids: Option<Vec<String>>,
    /// A filter that their metadata match.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
}

/// Items, by a filter.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matching {
    /// A filter that their metadata match; without one, all items are counted.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
}

/// The number of items that are gone, chunks of documents among them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// The number.
    deleted: usize,
}

/// The number of items counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Counted {
    /// The number; about, for a large table of PostgreSQL.
    count: u64,
}

/// Adds items, all or none.
#[utoipa::path(post, path = "/v1/collections/{c}/items", tag = "items",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = ToAdd,
    responses((status = 200, description = "They are on disk", body = AddedDocument)))]
pub(crate) async fn add(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(given): Given<ToAdd>,
) -> Result<Json<AddedDocument>, Problem> {
    if given.items.is_empty() {
        return Err(Problem::invalid("there are no items to add"));
    }
    let stored = app.on(name, move |target| {
        let collection = target.embedded(ADDING)?;
        let items = given.items.into_iter().map(Item::from);
        let added = collection.add_as(given.mode.into(), items)?;
        Ok(AddedDocument::from(added))
    });
    Ok(Json(stored.await?))
}

/// Lists items in the order of their ids.
#[utoipa::path(get, path = "/v1/collections/{c}/items", tag = "items",
    params(("c" = String, Path, description = "Name of the collection"), Page),
    responses((status = 200, description = "A page", body = ItemsDocument)))]
pub(crate) async fn list(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<ItemsDocument>, Problem> {
    let limit = limit(page.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let filter = match &page.filter {
        Some(text) => Some(affinis::Filter::parse(text)?),
        None => None,
    };
    let listed = app.on(name, move |target| {
        let collection = target.embedded("SELECT lists its rows")?;
        let after = page.after.as_deref();
        let items: Box<dyn Iterator<Item = affinis::Result<Item>> + '_> = match &filter {
            Some(filter) => Box::new(collection.list_matching(filter, after)?),
            None => Box::new(collection.list(after)),
        };
        // One more than the page has: whether there is a next one.
        let mut items: Vec<Item> = items.take(limit + 1).collect::<Result<_, _>>()?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|item| item.id.clone());
        let items = items.into_iter().map(|mut item| {
            item.vector = item.vector.filter(|_| page.vector);
            item.into()
        });
        Ok(ItemsDocument {
            items: items.collect(),
            next,
        })
    });
    Ok(Json(listed.await?))
}

/// Gives an item.
#[utoipa::path(get, path = "/v1/collections/{c}/items/{id}", tag = "items",
    params(("c" = String, Path, description = "Name of the collection"),
        ("id" = String, Path, description = "Id of the item")),
    responses((status = 200, description = "The item", body = ItemDocument)))]
pub(crate) async fn get(
    State(app): State<App>,
    Segments((name, id)): Segments<(String, String)>,
) -> Result<Json<ItemDocument>, Problem> {
    let found = app.on(name, move |target| items_of(target, &[id]));
    let item = found.await?.into_iter().next();
    let item = item.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such item"))?;
    Ok(Json(item.into()))
}

/// Gives the chunks of a document, in order.
#[utoipa::path(get, path = "/v1/collections/{c}/documents/{id}", tag = "items", operation_id = "document",
    params(("c" = String, Path, description = "Name of the collection"),
        ("id" = String, Path, description = "Id of the document")),
    responses((status = 200, description = "Its chunks", body = Found)))]
pub(crate) async fn document(
    State(app): State<App>,
    Segments((name, id)): Segments<(String, String)>,
) -> Result<Json<Found>, Problem> {
    let found = app.on(name, move |target| {
        let collection = target.embedded("a table has rows, and no documents")?;
        Ok(collection.document(&id)?)
    });
    let items: Vec<ItemDocument> = found.await?.into_iter().map(ItemDocument::from).collect();
    if items.is_empty() {
        return Err(Problem::new(Kind::NotFound, "there is no such document"));
    }
    Ok(Json(Found { items }))
}

/// Deletes an item, or a document with all its chunks.
#[utoipa::path(delete, path = "/v1/collections/{c}/items/{id}", tag = "items",
    params(("c" = String, Path, description = "Name of the collection"),
        ("id" = String, Path, description = "Id of the item or document")),
    responses((status = 200, description = "It is gone", body = Deleted)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Segments((name, id)): Segments<(String, String)>,
) -> Result<Json<Deleted>, Problem> {
    let deleted = app.on(name, move |target| {
        Ok(target.embedded(DELETING)?.delete(&[id])?)
    });
    let deleted = deleted.await?;
    Ok(Json(Deleted { deleted }))
}

/// Gives items of ids, all of which must exist, in their order.
#[utoipa::path(post, path = "/v1/collections/{c}/get", tag = "items",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = Ids,
    responses((status = 200, description = "The items", body = Found)))]
pub(crate) async fn get_many(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(asked): Given<Ids>,
) -> Result<Json<Found>, Problem> {
    if asked.ids.len() > MAX_LIMIT {
        return Err(Problem::invalid(format!(
            "at most {MAX_LIMIT} items are given at once"
        )));
    }
    let found = app.on(name, move |target| items_of(target, &asked.ids));
    let items = found.await?.into_iter().map(ItemDocument::from).collect();
    Ok(Json(Found { items }))
}

/// Deletes items by their ids or by a filter, all or none.
#[utoipa::path(post, path = "/v1/collections/{c}/delete", tag = "items",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = Which,
    responses((status = 200, description = "They are gone", body = Deleted)))]
pub(crate) async fn delete_many(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Given(which): Given<Which>,
) -> Result<Json<Deleted>, Problem> {
    let filter = filter(which.filter.as_ref())?;
    let deleted = app.on(name, move |target| {
        let collection = target.embedded(DELETING)?;
        match (which.ids, filter) {
            (Some(ids), None) => Ok(collection.delete(&ids)?),
            (None, Some(filter)) => Ok(collection.delete_matching(&filter)?),
            _ => Err(Problem::invalid(
                "items are deleted by `ids` or by `filter`, one of them",
            )),
        }
    });
    let deleted = deleted.await?;
    Ok(Json(Deleted { deleted }))
}

/// Counts items.
#[utoipa::path(post, path = "/v1/collections/{c}/count", tag = "items",
    params(("c" = String, Path, description = "Name of the collection")),
    request_body = Option<Matching>,
    responses((status = 200, description = "Their number", body = Counted)))]
pub(crate) async fn count(
    State(app): State<App>,
    Segments(name): Segments<String>,
    GivenOrDefault(which): GivenOrDefault<Matching>,
) -> Result<Json<Counted>, Problem> {
    let filter = filter(which.filter.as_ref())?;
    let count = app.on(name, move |target| match filter {
        Some(filter) => {
            let collection = target.embedded("SELECT count(*) counts its rows")?;
            Ok(collection.count(&filter)? as u64)
        }
        None => Ok(target.len()?),
    });
    let count = count.await?;
    Ok(Json(Counted { count }))
}

/// The items of ids, all of which must exist, in their order.
fn items_of(target: &Target, ids: &[String]) -> Result<Vec<Item>, Problem> {
    if let Ok(collection) = target.embedded("its rows are read below") {
        return Ok(collection.get_many(ids)?);
    }
    let found = target.items(ids)?;
    let unknown = ids.iter().filter(|id| !found.contains_key(*id));
    let unknown: Vec<String> = unknown.cloned().collect();
    if !unknown.is_empty() {
        return Err(affinis::Error::UnknownId {
            collection: target.name().to_owned(),
            ids: unknown,
        }
        .into());
    }
    let items = ids.iter().filter_map(|id| found.get(id).cloned());
    Ok(items.collect())
}

/// The number of entries of a page.
pub(super) fn limit(given: Option<usize>, default: usize, most: usize) -> Result<usize, Problem> {
    match given.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(Problem::invalid(format!(
            "the limit is {limit}, not between 1 and {most}"
        ))),
    }
}
