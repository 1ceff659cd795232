//! The methods of [`Collection`] for items.

use super::Collection;
use crate::filter::{Facet, Field, Filter};
use crate::items::{Added, Stats};
use crate::model::error::{Error, Result};
use crate::model::{AddMode, Item, ItemError, Language, MAX_K};

impl Collection {
    /// Adds items; an item whose id exists replaces the one that has it ([`AddMode::Upsert`]).
    /// Stores all or none, durably, before it returns. The next search sees them all.
    ///
    /// # Errors
    /// [`Error::InvalidItem`] with its position, or
    /// [`Error::DuplicateId`], for the input;
    /// [`Error::NoEncoder`] or [`Error::Encode`] for
    /// texts; storage errors. Nothing is stored then.
    pub fn add(&self, items: impl IntoIterator<Item = Item>) -> Result<Added> {
        self.add_as(AddMode::Upsert, items)
    }

    /// Adds items in a mode: [`AddMode::Insert`] refuses ids that exist, [`AddMode::Update`]
    /// changes what the items give and keeps the rest of what is stored. Stores all or none,
    /// durably, before it returns. The next search sees them all.
    ///
    /// # Errors
    /// [`Error::IdExists`] for an insert, [`Error::UnknownId`] for an update; otherwise those of
    /// [`Self::add`]. Nothing is stored then.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{AddMode, Error, Item, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// use serde_json::json;
    ///
    /// let points = store.collection("points").dim(1).open_or_create()?;
    /// points.add([Item::vector("a", [1.0]).with_meta(json!({"year": 2020, "lang": "en"}))])?;
    /// let again = points.add_as(AddMode::Insert, [Item::vector("a", [2.0])]);
    /// assert!(matches!(again, Err(Error::IdExists { .. })));
    /// let year = Item { id: "a".into(), meta: json!({"year": 2021}), ..Item::default() };
    /// points.add_as(AddMode::Update, [year])?;
    /// let item = points.get("a")?.expect("it is there");
    /// assert_eq!(item, Item::vector("a", [1.0]).with_meta(json!({"year": 2021, "lang": "en"})));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_as(&self, mode: AddMode, items: impl IntoIterator<Item = Item>) -> Result<Added> {
        self.check_writable()?;
        let items = self.prepare_as(mode, items)?;
        let (added, changed) = self.current()?.add(mode, items)?;
        let changed = changed.iter().map(String::as_str);
        self.inner.learning.items_changed(changed);
        Ok(added)
    }

    /// Checks items and encodes the texts of those without a vector: the slow part of
    /// [`Self::add`], for programs that show progress over a large input. Returns items that are
    /// added without encoding.
    ///
    /// # Errors
    /// Those of [`Self::add`] that concern single items.
    pub fn prepare(&self, items: impl IntoIterator<Item = Item>) -> Result<Vec<Item>> {
        self.prepare_as(AddMode::Upsert, items)
    }

    /// Does the same as [`Self::prepare`] for items that [`Self::add_as`] adds in a mode.
    ///
    /// # Errors
    /// Those of [`Self::add_as`] that concern single items.
    pub fn prepare_as(
        &self,
        mode: AddMode,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<Vec<Item>> {
        self.inner.items.prepare(mode, items.into_iter().collect())
    }

    /// Does the same as [`Self::prepare_as`] for programs that leave out items that cannot be
    /// stored, such as those with a text that the encoder can make nothing of. Gives an item, or
    /// the rule that it breaks, for each of those given, in their order.
    ///
    /// # Errors
    /// [`Error::NoEncoder`] or [`Error::Encode`] for all texts together.
    pub fn prepare_each(
        &self,
        mode: AddMode,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<Vec<Result<Item, ItemError>>> {
        self.inner
            .items
            .prepare_each(mode, items.into_iter().collect())
    }

    /// Encodes images, each the bytes of a png, jpeg, webp, gif or bmp file, by the collection's
    /// encoder, which must take images. Gives for each its vector, to be
    /// [stored](Item::vector) or [searched](Self::search) for, or what is wrong with it. The images
    /// themselves are not kept.
    ///
    /// # Errors
    /// [`Error::NoEncoder`] without an encoder; [`Error::Encode`] for one that takes no images.
    pub fn encode_images(&self, images: &[&[u8]]) -> Result<Vec<Result<Vec<f32>, String>>> {
        self.inner.items.encode_images(images)
    }

    /// Checks one item by all rules of [`Self::add`] that concern a single item, without encoding
    /// its text.
    ///
    /// # Errors
    /// [`ItemError`], the rule that the item breaks.
    pub fn check(&self, item: &Item) -> Result<(), ItemError> {
        self.check_as(AddMode::Upsert, item)
    }

    /// Does the same as [`Self::check`] for an item that [`Self::add_as`] adds in a mode.
    ///
    /// # Errors
    /// [`ItemError`], the rule that the item breaks.
    pub fn check_as(&self, mode: AddMode, item: &Item) -> Result<(), ItemError> {
        self.inner.items.check(mode, item)
    }

    /// Removes items, all or none; the id of a document removes all its chunks. Returns the number
    /// of the items that are gone.
    ///
    /// # Errors
    /// [`Error::UnknownId`] when any id is that of no item and no document; nothing is removed
    /// then.
    pub fn delete(&self, ids: &[impl AsRef<str>]) -> Result<usize> {
        self.check_writable()?;
        let deleted = self.current()?.delete(ids)?;
        let changed = deleted.iter().map(String::as_str);
        self.inner.learning.items_changed(changed);
        Ok(deleted.len())
    }

    /// Removes the items whose metadata passes a filter, all or none. Returns their number.
    ///
    /// # Errors
    /// When the metadata cannot be read, or the items cannot be removed; none is removed then.
    pub fn delete_matching(&self, filter: &Filter) -> Result<usize> {
        self.check_writable()?;
        let deleted = self.current()?.delete_matching(filter)?;
        if deleted > 0 {
            self.inner.learning.some_items_changed();
        }
        Ok(deleted)
    }

    /// Number of items whose metadata passes a filter. [`Self::len`] is the number of all.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub fn count(&self, filter: &Filter) -> Result<usize> {
        self.current()?.count(filter)
    }

    /// Counts the values of a field of metadata over the items that pass a filter, or over all: the
    /// `limit` most frequent values, 1 to 10,000. The field is a name as in a [`Filter`]. The first
    /// call for a field reads the metadata of all items; then bitmaps are counted.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for an empty name and for `limit`; [`Error::AmbiguousField`]; when the
    /// metadata cannot be read.
    pub fn facet(&self, field: &str, filter: Option<&Filter>, limit: usize) -> Result<Facet> {
        let field = Field::Name(field.to_owned());
        field.check()?;
        if !(1..=MAX_K).contains(&limit) {
            return Err(Error::InvalidQuery(format!(
                "the number of values of a facet is {limit}, not between 1 and {MAX_K}"
            )));
        }
        self.current()?.facet(&field, filter, limit)
    }

    /// The item of an id, with its vector; `None` when there is none.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Item>> {
        self.current()?.get(id)
    }

    /// The chunks of a [document](Item::document), in order, with their vectors; none where there is
    /// no document of this id.
    ///
    /// # Errors
    /// When what is stored is damaged or cannot be read.
    pub fn document(&self, id: &str) -> Result<Vec<Item>> {
        self.current()?.document(id)
    }

    /// Whether there is a [document](Item::document) of this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contains_document(&self, id: &str) -> Result<bool> {
        self.current()?.contains_document(id)
    }

    /// The items of ids, all of which must exist, in the order of `ids`.
    ///
    /// # Errors
    /// [`Error::UnknownId`] naming those that do not exist.
    pub fn get_many(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Item>> {
        self.current()?.get_many(ids)
    }

    /// Whether there is an item of this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contains(&self, id: &str) -> Result<bool> {
        self.current()?.contains(id)
    }

    /// Every item at the time of the call, oldest first, with its vector. Items that are removed
    /// during the iteration are left out; of those that are replaced, the new ones are returned.
    ///
    /// # Errors
    /// The call fails when the ids cannot be read. Each item can fail for itself when its records
    /// are damaged.
    pub fn items(&self) -> Result<impl Iterator<Item = Result<Item>> + use<>> {
        let live = self.current()?.live_ids()?;
        let collection = self.clone();
        Ok(live
            .into_iter()
            .filter_map(move |(slot, id)| collection.inner.items.read_moved(slot, &id).transpose()))
    }

    /// The items whose metadata passes a filter at the time of the call, in the order of ids. Items
    /// that are removed or replaced during the iteration are treated as by [`Self::items`].
    ///
    /// # Errors
    /// The call fails when the metadata cannot be read, each item when its records are damaged.
    pub fn get_matching(
        &self,
        filter: &Filter,
    ) -> Result<impl Iterator<Item = Result<Item>> + use<>> {
        self.list_matching(filter, None)
    }

    /// The items whose metadata passes a filter at the time of the call, in the order of ids, from
    /// the first behind the id `after`, which need not exist. As with [`Self::list`], `take` gives a
    /// page, and the id of its last item begins the next one; no item before the page is read.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Error, Filter, Item, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// use serde_json::json;
    ///
    /// let points = store.collection("points").dim(1).open_or_create()?;
    /// let of = |id: &str, even: bool| Item::vector(id, [1.0]).with_meta(json!({"even": even}));
    /// points.add([of("4", true), of("1", false), of("2", true), of("3", false)])?;
    /// let even = Filter::parse(r#"{"even": true}"#)?;
    /// let first = points.list_matching(&even, None)?.next().expect("one is even")?;
    /// assert_eq!(first.id, "2");
    /// let next = points.list_matching(&even, Some("2"))?.next().expect("another one is")?;
    /// assert_eq!(next.id, "4");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Self::get_matching`].
    pub fn list_matching(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<impl Iterator<Item = Result<Item>> + use<>> {
        let found = self.current()?.ids_matching(filter, after)?;
        let collection = self.clone();
        Ok(found
            .filter_map(move |(slot, id)| collection.inner.items.read_moved(slot, &id).transpose()))
    }

    /// The items in the order of ids, from the first on, or from the first behind the id `after`,
    /// which need not exist. A listing can be taken up where it stopped: `take` gives a page, and
    /// the id of its last item begins the next one. Items are read as the iterator comes to them,
    /// so the listing of a collection that is written to shows it at no single moment.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Error, Item, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let points = store.collection("points").dim(1).open_or_create()?;
    /// points.add(["c", "a", "b"].map(|id| Item::vector(id, [1.0])))?;
    /// let page = |after| -> Result<Vec<String>, Error> {
    ///     let items = points.list(after).take(2);
    ///     items.map(|item| Ok(item?.id)).collect()
    /// };
    /// assert_eq!(page(None)?, ["a", "b"]);
    /// assert_eq!(page(Some("b"))?, ["c"]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Of each item, when its id or its records are damaged. The iteration ends after an error of
    /// the ids.
    pub fn list(&self, after: Option<&str>) -> impl Iterator<Item = Result<Item>> + use<> {
        /// Number of ids that are read at once.
        const PAGE: usize = 256;
        let (collection, pages) = (self.clone(), self.clone());
        let mut next = Some(after.map(str::to_owned));
        let page = move || {
            let after = next.take()?;
            let page = pages
                .current()
                .and_then(|items| items.ids_after(after.as_deref(), PAGE));
            next = match page.as_deref() {
                Ok([.., (_, last)]) => Some(Some(last.clone())),
                Ok([]) | Err(_) => None,
            };
            Some(page)
        };
        std::iter::from_fn(page)
            .flat_map(|page| match page {
                Ok(ids) => ids.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
            .filter_map(move |id| match id {
                Ok((slot, id)) => collection.inner.items.read_moved(slot, &id).transpose(),
                Err(error) => Some(Err(error)),
            })
    }

    /// Builds one graph of all live items and refines it under the active metric. Searches and
    /// writes go on meanwhile. The background work of the collection does what searches need; this
    /// does all of it now.
    ///
    /// # Errors
    /// When the graph cannot be stored.
    pub fn optimize(&self) -> Result<()> {
        self.optimize_with(|_| (), || false)
    }

    /// Does the same as [`Self::optimize`]. Calls `progress` with the share that is done, 0 to 1,
    /// and stops once `cancel` returns true.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; the graph is then unchanged. Otherwise when
    /// the graph cannot be stored.
    pub fn optimize_with(
        &self,
        progress: impl Fn(f32) + Sync,
        cancel: impl Fn() -> bool + Sync,
    ) -> Result<()> {
        self.check_writable()?;
        self.current()?.optimize(&progress, &cancel)
    }

    /// The language of keyword search over its texts; `None` where it is off.
    pub fn keywords(&self) -> Option<Language> {
        self.inner.items.keywords()
    }

    /// Turns keyword search on, in a language, or off, durably. The index of the texts is built
    /// before this returns; it follows every write from then on.
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// # Examples
    /// ```
    /// # use affinis::{Item, Language, Store};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = Store::open(dir.path())?;
    /// let packages = store.collection("packages").dim(2).open_or_create()?;
    /// let openssl = Item { text: Some("libssl3: secure sockets".into()), ..Item::vector("a", [0.0, 1.0]) };
    /// let zlib = Item { text: Some("zlib1g: compression".into()), ..Item::vector("b", [1.0, 0.0]) };
    /// packages.add([openssl, zlib])?;
    /// packages.set_keywords(Some(Language::English))?;
    /// assert_eq!(packages.keywords(), Some(Language::English));
    /// # Ok::<(), affinis::Error>(())
    /// ```
    pub fn set_keywords(&self, language: Option<Language>) -> Result<()> {
        self.check_writable()?;
        self.inner.items.set_keywords(language)
    }

    /// Figures of the collection.
    ///
    /// # Errors
    /// When the store cannot be measured.
    pub fn stats(&self) -> Result<Stats> {
        let stale = self.inner.learning.stale_count(self.judgement_count())?;
        self.current()?.stats(self.active_metric(None), stale)
    }
}
