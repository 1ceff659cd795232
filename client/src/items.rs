//! Items: add, get, list, count, delete.

use std::fmt;
use std::io::{self, Read};

use affinis::{AddMode, Document, Filter, Item};
use affinis_api::{AddedAllDocument, AddedDocument, BegunDocument, ItemDocument, ItemsDocument};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::collection::Collection;
use crate::error::{Error, Result};
use crate::http::{Repeat, encoded};
use crate::jobs::Job;
use crate::pages::Pages;

/// The most items of a request of [`Collection::add`].
pub const MAX_BATCH_ITEMS: usize = 500;
/// The size in bytes at which a request of [`Collection::add`] is sent; the service takes 32 MiB.
pub const MAX_BATCH_BYTES: usize = 8 << 20;
/// Items that are asked for by their ids at once.
const MAX_IDS: usize = 1_000;
/// Items of a page of a list.
const PAGE: usize = 500;

/// An item as a request has it.
#[derive(Serialize)]
struct Sent<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<&'a [f32]>,
    #[serde(skip_serializing_if = "Value::is_null")]
    meta: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<&'a Document>,
}

impl<'a> From<&'a Item> for Sent<'a> {
    fn from(item: &'a Item) -> Self {
        Self {
            id: &item.id,
            text: item.text.as_deref(),
            vector: item.vector.as_deref(),
            meta: &item.meta,
            expires: item.expires_text(),
            chunk: item.document.as_ref(),
        }
    }
}

/// The name of a mode in a request.
fn name_of(mode: AddMode) -> Result<&'static str> {
    match mode {
        AddMode::Upsert => Ok("upsert"),
        AddMode::Insert => Ok("insert"),
        AddMode::Update => Ok("update"),
        _ => Err(Error::Unsupported("this mode of adding items")),
    }
}

#[derive(Deserialize)]
struct Found {
    items: Vec<ItemDocument>,
}

#[derive(Deserialize)]
struct Deleted {
    deleted: usize,
}

/// The body of a request, to which items are added one by one.
struct Batch {
    body: Vec<u8>,
    items: usize,
    mode: &'static str,
}

impl Batch {
    fn new(mode: AddMode) -> Result<Self> {
        let mode = name_of(mode)?;
        Ok(Self {
            body: Self::start(mode),
            items: 0,
            mode,
        })
    }

    fn start(mode: &str) -> Vec<u8> {
        format!("{{\"mode\":\"{mode}\",\"items\":[").into_bytes()
    }

    fn push(&mut self, item: &Item) -> Result<()> {
        let sent = Sent::from(item);
        if self.items > 0 {
            self.body.push(b',');
        }
        self.items += 1;
        serde_json::to_writer(&mut self.body, &sent)
            .map_err(|_| Error::Unsupported("an item that is no JSON"))
    }

    fn is_full(&self) -> bool {
        self.items >= MAX_BATCH_ITEMS || self.body.len() >= MAX_BATCH_BYTES
    }

    /// Sends what there is, and is empty then.
    fn send(&mut self, collection: &Collection) -> Result<AddedDocument> {
        let mut body = std::mem::replace(&mut self.body, Self::start(self.mode));
        self.items = 0;
        body.extend_from_slice(b"]}");
        let path = collection.path("items");
        collection.http().post_json(&path, &body, Repeat::Keyed)
    }
}

impl Collection {
    /// Adds items, and replaces those whose ids exist. They are sent in requests of at most
    /// [`MAX_BATCH_ITEMS`], each of which is stored as a whole or not at all. Returns what became of
    /// all of them.
    ///
    /// # Errors
    /// [`Error::Partly`] where a request fails after others that are stored; otherwise a problem
    /// `invalid-input`, with the first item that breaks a rule, or those of any call.
    pub fn add(&self, items: impl IntoIterator<Item = Item>) -> Result<AddedDocument> {
        self.add_as(AddMode::Upsert, items)
    }

    /// Adds, replaces or updates items, as [`add`](Self::add) does.
    ///
    /// # Errors
    /// Those of [`add`](Self::add); a problem `already-exists` for an insert of an id that exists,
    /// `not-found` for an update of one that does not.
    pub fn add_as(
        &self,
        mode: AddMode,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<AddedDocument> {
        let mut batch = Batch::new(mode)?;
        let mut all = AddedDocument::default();
        let mut stored = 0;
        let mut items = items.into_iter().peekable();
        // Without items the service says what is wrong with that.
        loop {
            let item = items.next();
            if let Some(item) = &item {
                batch.push(item)?;
            }
            let is_last = items.peek().is_none();
            if !is_last && !batch.is_full() {
                continue;
            }
            let count = batch.items;
            match batch.send(self) {
                Ok(added) => {
                    all.added += added.added;
                    all.replaced += added.replaced;
                    all.updated += added.updated;
                    all.chunks += added.chunks;
                    all.truncated.extend(added.truncated);
                }
                Err(source) if stored > 0 => {
                    return Err(Error::Partly {
                        stored,
                        count,
                        source: Box::new(source),
                    });
                }
                Err(error) => return Err(error),
            }
            stored += count;
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Adds items in one transaction, all of them or none, in the background. They are sent in one
    /// request, of at most 1 GiB unless the service was started with another limit, and held in
    /// memory there.
    pub fn add_all<'a>(&self, items: impl IntoIterator<Item = Item, IntoIter: 'a>) -> AddAll<'a> {
        AddAll {
            collection: self.clone(),
            items: Box::new(items.into_iter()),
            mode: AddMode::Upsert,
            skip_bad: false,
        }
    }

    /// An item.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown id.
    pub fn get(&self, id: &str) -> Result<ItemDocument> {
        self.http()
            .get(&self.path(&format!("items/{}", encoded(id))))
    }

    /// The chunks of a document, in order.
    ///
    /// # Errors
    /// A problem `not-found` where there is no document of this id.
    pub fn document(&self, id: &str) -> Result<Vec<ItemDocument>> {
        let path = self.path(&format!("documents/{}", encoded(id)));
        let found: Found = self.http().get(&path)?;
        Ok(found.items)
    }

    /// Items in the order of their ids here.
    ///
    /// # Errors
    /// A problem `not-found` if one of the ids is unknown.
    pub fn get_many(&self, ids: &[impl AsRef<str>]) -> Result<Vec<ItemDocument>> {
        let mut items = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MAX_IDS) {
            let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
            let body = json!({ "ids": ids });
            let found: Found = self.http().post(&self.path("get"), &body, Repeat::Read)?;
            items.extend(found.items);
        }
        Ok(items)
    }

    /// A list of the items, in the order of their ids.
    pub fn list(&self) -> ListItems {
        ListItems {
            collection: self.clone(),
            after: None,
            filter: None,
            vectors: true,
            page: PAGE,
        }
    }

    /// Number of items, or of those that match a filter.
    ///
    /// # Errors
    /// A problem `invalid-input` for a filter that an item's metadata make ambiguous.
    pub fn count(&self, filter: Option<&Filter>) -> Result<u64> {
        #[derive(Deserialize)]
        struct Counted {
            count: u64,
        }
        let body = match filter {
            Some(filter) => json!({ "filter": filter.as_json() }),
            None => json!({}),
        };
        let counted: Counted = self.http().post(&self.path("count"), &body, Repeat::Read)?;
        Ok(counted.count)
    }

    /// Deletes items and documents, all or none, and returns the number of the items that are gone.
    ///
    /// # Errors
    /// A problem `not-found` if one of the ids is unknown.
    pub fn delete(&self, ids: &[impl AsRef<str>]) -> Result<usize> {
        let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
        let body = json!({ "ids": ids });
        let gone: Deleted = self
            .http()
            .post(&self.path("delete"), &body, Repeat::Keyed)?;
        Ok(gone.deleted)
    }

    /// Deletes the items that match a filter, and returns their number.
    ///
    /// # Errors
    /// A problem `invalid-input` for a filter that an item's metadata make ambiguous.
    pub fn delete_matching(&self, filter: &Filter) -> Result<usize> {
        let body = json!({ "filter": filter.as_json() });
        let gone: Deleted = self
            .http()
            .post(&self.path("delete"), &body, Repeat::Keyed)?;
        Ok(gone.deleted)
    }
}

/// Items that are to be added in one transaction, however many they are.
#[must_use = "end with `begin` or `run`"]
pub struct AddAll<'a> {
    collection: Collection,
    items: Box<dyn Iterator<Item = Item> + 'a>,
    mode: AddMode,
    skip_bad: bool,
}

impl fmt::Debug for AddAll<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddAll")
            .field("collection", &self.collection)
            .field("mode", &self.mode)
            .field("skip_bad", &self.skip_bad)
            .finish_non_exhaustive()
    }
}

impl AddAll<'_> {
    /// Sets what an id that exists means.
    pub fn mode(mut self, mode: AddMode) -> Self {
        self.mode = mode;
        self
    }

    /// Leaves items out that cannot be stored; without it, nothing is stored where there is one.
    pub fn skip_bad(mut self, skip_bad: bool) -> Self {
        self.skip_bad = skip_bad;
        self
    }

    /// Sends the items, which are added in the background. They are sent once: where the connection
    /// is cut off before the answer, they may be added all the same.
    ///
    /// # Errors
    /// A problem `too-large` beyond the limit of files of the service; those of any call. The job
    /// fails with a problem `invalid-input` for the first item that breaks a rule, `already-exists`
    /// for an insert of an id that exists, `not-found` for an update of one that does not.
    pub fn begin(self) -> Result<Job<AddedAllDocument>> {
        let Self {
            collection,
            items,
            mode,
            skip_bad,
        } = self;
        let mode = name_of(mode)?;
        let path = collection.path(&format!("items/import?mode={mode}&skip_bad={skip_bad}"));
        let lines = Lines {
            items,
            piece: Vec::new(),
            at: 0,
        };
        let begun: BegunDocument = collection.http().post_stream(&path, lines, None)?;
        Ok(Job::new(collection.client.clone(), begun.job))
    }

    /// Waits until the items are added.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), and the problem with which the job failed.
    pub fn run(self) -> Result<AddedAllDocument> {
        self.begin()?.wait()
    }
}

/// Items as JSON lines, which are written when they are read.
struct Lines<I> {
    items: I,
    /// Lines that were written, of which those before `at` were read.
    piece: Vec<u8>,
    at: usize,
}

impl<I: Iterator<Item = Item>> Read for Lines<I> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        const PIECE: usize = 1 << 16;
        if self.at == self.piece.len() {
            self.piece.clear();
            self.at = 0;
            while self.piece.len() < PIECE
                && let Some(item) = self.items.next()
            {
                serde_json::to_writer(&mut self.piece, &Sent::from(&item))?;
                self.piece.push(b'\n');
            }
        }
        let read = (&self.piece[self.at..]).read(bytes)?;
        self.at += read;
        Ok(read)
    }
}

/// A list of items that is to be read.
#[must_use = "end with `run`"]
#[derive(Debug, Clone)]
pub struct ListItems {
    collection: Collection,
    after: Option<String>,
    filter: Option<Filter>,
    vectors: bool,
    page: usize,
}

impl ListItems {
    /// Lists the items whose ids follow this one, which need not exist.
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// Lists the items whose metadata match.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Leaves the vectors out.
    pub fn without_vectors(mut self) -> Self {
        self.vectors = false;
        self
    }

    /// Sets the number of items that are read at once, 1 to 10,000.
    pub fn page(mut self, items: usize) -> Self {
        self.page = items.clamp(1, 10_000);
        self
    }

    /// The items. Each page is read when it is needed; what is written meanwhile may be in it.
    pub fn run(self) -> Pages<ItemDocument> {
        let Self {
            collection,
            after,
            filter,
            vectors,
            page,
        } = self;
        let mut fixed = format!("items?limit={page}&vector={vectors}");
        if let Some(filter) = &filter {
            let filter = encoded(&filter.as_json().to_string());
            fixed = format!("{fixed}&filter={filter}");
        }
        Pages::new(after, move |after| {
            let mut path = collection.path(&fixed);
            if let Some(after) = after {
                path = format!("{path}&after={}", encoded(after));
            }
            let page: ItemsDocument = collection.http().get(&path)?;
            Ok((page.items, page.next))
        })
    }
}
