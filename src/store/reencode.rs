//! [`Reencode`]: another encoder for a collection that has one, with all that was judged.
//!
//! A second collection, `NAME.reencoding`, is filled with the texts of the first as the new encoder
//! sees them; a process that ends meanwhile goes on there. Then the judgements follow, a metric is
//! fitted and tested on them, and one commit of the catalogue gives the second collection the name
//! and calls the first `NAME.before`. Until that is dropped, another such commit goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::builder::Opened;
use super::{Store, close_in};
use crate::collection::Collection;
use crate::encode::Encoder;
use crate::learning::{History, RefitReport, StoredVersion, Vectors};
use crate::model::error::{Error, Result};
use crate::model::{Distance, Item, JudgementId, Query, StoredJudgement, Subject, VersionId};

/// Texts that are encoded and stored together.
const BATCH: usize = 256;
/// Passes over the items while others write, before the last one, when nobody does.
const PASSES: usize = 3;

/// A change of a collection's encoder, from [`Store::reencode`].
#[must_use = "end with `run`"]
pub struct Reencode {
    store: Store,
    name: String,
    encoder: Arc<dyn Encoder>,
    distance: Option<Distance>,
    progress: Option<Box<dyn FnMut(u64, u64) + Send>>,
    cancel: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl std::fmt::Debug for Reencode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reencode")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The result of [`Reencode::run`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Reencoded {
    /// Items of the collection.
    pub items: u64,
    /// Items whose texts this run encoded; the others were encoded by a run that was interrupted.
    pub encoded: u64,
    /// Judgements that were carried over, with their numbers.
    pub judgements: u64,
    /// Judgements that were not: those of a vector, which the encoder before made, and of a text
    /// that the new one knows nothing of.
    pub left_out: Vec<JudgementId>,
    /// The refit on the judgements; `None` where there is none.
    pub refit: Option<RefitReport>,
}

/// The name of the collection that is being filled.
fn working(name: &str) -> String {
    format!("{name}.reencoding")
}

/// The name of the collection with the encoder before.
fn before(name: &str) -> String {
    format!("{name}.before")
}

impl Store {
    /// Begins to give a collection another encoder: its texts are encoded again, its judgements are
    /// kept by content, and a metric is fitted on them under the new vectors. The versions so far
    /// stay listed, as withdrawn: they measure other vectors.
    pub fn reencode(&self, name: &str, encoder: Arc<dyn Encoder>) -> Reencode {
        Reencode {
            store: self.clone(),
            name: name.to_owned(),
            encoder,
            distance: None,
            progress: None,
            cancel: None,
        }
    }

    /// Goes back to the encoder before a [re-encoding](Self::reencode): the collection is again what
    /// it was then. What it has become since is kept as `NAME.reencoding`.
    ///
    /// # Errors
    /// [`Error::NotReencoded`] where there is nothing to go back to; [`Error::InUse`].
    pub fn reencode_back(&self, name: &str) -> Result<()> {
        let (old, new) = (before(name), working(name));
        self.database().check_writable()?;
        let mut open = self.lock_collections();
        if self.database().collection(&old)?.is_none() {
            return Err(refused(
                name,
                format!("there is no collection {old:?} to go back to"),
            ));
        }
        if self.database().collection(&new)?.is_some() {
            let reason = format!(
                "there is a collection {new:?} of an encoding that was not finished; drop it first"
            );
            return Err(refused(name, reason));
        }
        close_in(&mut open, &[name, &old])?;
        self.database().rename(&[(name, &new), (&old, name)])
    }

    /// Ends a [re-encoding](Self::reencode): what the collection was before is dropped, and there is
    /// no way back.
    ///
    /// # Errors
    /// [`Error::NotReencoded`] where there is no such collection; [`Error::InUse`].
    pub fn reencode_commit(&self, name: &str) -> Result<()> {
        self.database().check_writable()?;
        self.drop_collection(&before(name))
            .map_err(|error| match error {
                Error::CollectionMissing { name: old, .. } => {
                    refused(name, format!("there is no collection {old:?}"))
                }
                other => other,
            })
    }
}

fn refused(name: &str, reason: String) -> Error {
    Error::NotReencoded {
        name: name.to_owned(),
        reason,
    }
}

impl Reencode {
    /// Sets the built-in distance; that of the collection by default.
    pub fn distance(mut self, distance: Distance) -> Self {
        self.distance = Some(distance);
        self
    }

    /// Calls with the numbers of items that are done and of all.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Stops once `cancel` returns true. What was encoded is kept, and another run goes on there.
    pub fn cancel(mut self, cancel: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.cancel = Some(Box::new(cancel));
        self
    }

    /// Encodes the texts that are not encoded yet, and leaves the collection as it is: what
    /// [`Self::run`] does before it needs the collection for itself, for programs that have other
    /// handles until then. Gives the number of items that were encoded.
    ///
    /// # Errors
    /// Those of [`Self::run`] but [`Error::InUse`].
    pub fn fill(&mut self) -> Result<u64> {
        self.check()?;
        let mut encoded = 0;
        let from = self.store.collection(&self.name).open()?;
        let to = self.open_working(&from)?;
        for _ in 0..PASSES {
            let changed = self.pass(&from, &to)?;
            encoded += changed;
            if changed == 0 {
                break;
            }
        }
        Ok(encoded)
    }

    /// Encodes, refits and switches. While it encodes, the collection answers and takes writes as
    /// before. For the end it needs the collection for itself.
    ///
    /// # Errors
    /// [`Error::InUse`] where there are other handles to the collection at the end,
    /// [`Error::Cancelled`] and errors of the encoder: another run goes on from there;
    /// [`Error::NotReencoded`] where items have no text, or an earlier re-encoding was not ended.
    pub fn run(mut self) -> Result<Reencoded> {
        let mut encoded = self.fill()?;
        let store = self.store.clone();
        let (name, new, old) = (self.name.clone(), working(&self.name), before(&self.name));
        let mut open = store.lock_collections();
        // From here on nobody else has the collection or can open it.
        close_in(&mut open, &[&name, &new])?;
        let handle = |open: &mut Opened, name: &str| {
            let record = store.database().collection(name)?;
            let record = record.ok_or_else(|| refused(name, "it is gone".to_owned()))?;
            let encoder = (*name == new).then(|| Arc::clone(&self.encoder));
            store.open_collection(open, name, &record, encoder)
        };
        let from = handle(&mut open, &name)?;
        let to = handle(&mut open, &new)?;
        encoded += self.pass(&from, &to)?;
        let guidelines = from.guidelines()?;
        if guidelines != to.guidelines()? {
            to.set_guidelines(&guidelines)?;
        }
        let (history, left_out) = carried(&from.history()?, &to)?;
        let held = to.history()?;
        if held.judgements.is_empty() && held.versions.is_empty() {
            to.restore(&history)?;
        } else if held.judgements != history.judgements {
            let reason = format!(
                "{new:?} holds judgements that the collection has not; drop it to begin anew"
            );
            return Err(refused(&name, reason));
        }
        let refit = if history.judgements.is_empty() {
            None
        } else {
            match to.refit().run() {
                Ok(report) => Some(report),
                // What there is may all be of items that are gone, or speak of one item only.
                Err(Error::NoJudgements { .. } | Error::Learn(_)) => None,
                Err(error) => return Err(error),
            }
        };
        let items = to.len() as u64;
        drop((from, to));
        close_in(&mut open, &[&name, &new])?;
        store.database().rename(&[(&name, &old), (&new, &name)])?;
        Ok(Reencoded {
            items,
            encoded,
            judgements: history.judgements.len() as u64,
            left_out,
            refit,
        })
    }

    /// Refuses what is not to be encoded again.
    fn check(&self) -> Result<()> {
        self.store.database().check_writable()?;
        let old = before(&self.name);
        if self.store.database().collection(&old)?.is_some() {
            let reason = format!(
                "{old:?} is there, the collection before it was encoded again the last time; commit that or go back first"
            );
            return Err(refused(&self.name, reason));
        }
        Ok(())
    }

    /// The collection that is filled, which an interrupted run may have begun.
    fn open_working(&self, from: &Collection) -> Result<Collection> {
        let info = from.info();
        let Some(known) = &info.encoder else {
            let reason = "its vectors were given, and no encoder made them".to_owned();
            return Err(refused(&self.name, reason));
        };
        if known.fingerprint == self.encoder.fingerprint() {
            let reason = format!("{} is its encoder already", self.encoder.name());
            return Err(refused(&self.name, reason));
        }
        let to = self
            .store
            .collection(&working(&self.name))
            .encoder_arc(Arc::clone(&self.encoder))
            .precision(info.precision)
            .distance(self.distance.unwrap_or(info.distance));
        let to = match info.keywords {
            Some(language) => to.keywords(language),
            None => to,
        };
        to.open_or_create().map_err(|error| match error {
            Error::EncoderMismatch { name, made, .. } => {
                let reason = format!("{name:?} was begun with {made}; drop it to begin anew");
                refused(&self.name, reason)
            }
            other => other,
        })
    }

    /// Makes the items of the one collection equal to the texts of the other. Gives the number of
    /// changes.
    fn pass(&mut self, from: &Collection, to: &Collection) -> Result<u64> {
        let (mut changes, mut done) = (0, 0);
        let mut ids = BTreeSet::new();
        let mut items = from.items()?;
        loop {
            let batch = items.by_ref().take(BATCH).collect::<Result<Vec<Item>>>()?;
            if batch.is_empty() {
                break;
            }
            if self.cancel.as_ref().is_some_and(|cancel| cancel()) {
                return Err(Error::Cancelled);
            }
            done += batch.len() as u64;
            ids.extend(batch.iter().map(|item| item.id.clone()));
            changes += self.encode(batch, to)?;
            if let Some(progress) = &mut self.progress {
                progress(done, done.max(from.len() as u64));
            }
        }
        if to.len() == ids.len() {
            return Ok(changes);
        }
        let gone = to.items()?.filter_map(|item| match item {
            Ok(item) if ids.contains(&item.id) => None,
            Ok(item) => Some(Ok(item.id)),
            Err(error) => Some(Err(error)),
        });
        let gone = gone.collect::<Result<Vec<String>>>()?;
        Ok(changes + to.delete(&gone)? as u64)
    }

    /// Stores those of some items that differ.
    fn encode(&self, batch: Vec<Item>, to: &Collection) -> Result<u64> {
        let mut fresh = Vec::new();
        for item in &batch {
            let Some(text) = &item.text else {
                let reason = format!(
                    "the item {:?} has no text, so that no encoder can make its vector",
                    item.id
                );
                return Err(refused(&self.name, reason));
            };
            let known = to.get(&item.id)?;
            if known.is_none_or(|known| known.text != item.text || known.meta != item.meta) {
                fresh.push(Item::text(&item.id, text).with_meta(item.meta.clone()));
            }
        }
        let count = fresh.len() as u64;
        to.add(fresh).map_err(|error| match error {
            Error::InvalidItem { id, source, .. } => refused(
                &self.name,
                format!("its item {id:?} cannot be encoded: {source}"),
            ),
            other => other,
        })?;
        Ok(count)
    }
}

/// A history under the encoder of another collection, and the judgements that it leaves out.
fn carried(history: &History, to: &Collection) -> Result<(History, Vec<JudgementId>)> {
    let texts: Vec<&str> = history.texts.keys().map(String::as_str).collect();
    let mut vectors = BTreeMap::new();
    for texts in texts.chunks(BATCH) {
        let encoded = Vectors::encode_each(to.items_handle(), texts)?;
        for (text, vector) in texts.iter().zip(encoded) {
            if let Ok(Some(vector)) = vector {
                vectors.insert((*text).to_owned(), vector);
            }
        }
    }
    let is_known = |judged: &StoredJudgement| match &judged.judgement.subject {
        Subject::Graded {
            query: Query::Text(text),
            ..
        } => vectors.contains_key(text),
        Subject::Graded {
            query: Query::Vector(_),
            ..
        } => false,
        _ => true,
    };
    let (kept, out): (Vec<_>, Vec<_>) = history.judgements.iter().cloned().partition(is_known);
    let versions = history.versions.iter().map(|stored| {
        let mut version = stored.version.clone();
        version.withdrawn = true;
        version.trial = None;
        StoredVersion::new(version, Vec::new())
    });
    let history = History {
        judgements: kept,
        versions: versions.collect(),
        active: VersionId::BUILT_IN,
        active_users: BTreeMap::new(),
        next_judgement: history.next_judgement,
        next_version: history.next_version,
        texts: vectors,
        guidelines: history.guidelines.clone(),
        activations: history.activations.clone(),
    };
    Ok((history, out.into_iter().map(|judged| judged.id).collect()))
}
