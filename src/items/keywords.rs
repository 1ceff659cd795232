//! Keyword search over the items: which texts the index holds, and where it is kept.
//!
//! The index is derived from the items. Whatever it lacks is added before a search, so that an item
//! is found as soon as it is added; an item that was removed or replaced is left out by its slot.
//! It follows the index of vectors, never the counters of the database: a write that is being
//! committed is in some tables before it is in others.
//! Texts that were added lately are in parts in memory, the others in files that the database lists.
//! What cannot be read from a file is built again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Items;
use super::hybrid::WordsOf;
use super::stats::KeywordStats;
use crate::keywords::{
    ANALYSIS, Highlighter, KeywordQuery, Part, PartError, Restriction, Sections, Texts,
    restriction, search,
};
use crate::learning::WordsFound;
use crate::model::Language;
use crate::model::error::{Error, Result, cut};
use crate::storage::{KeywordFiles, SegmentFile, Stamp, Tables};

/// Parts in memory with this many texts together are written to a file.
const SAVE_FROM: usize = 2048;
/// The most bytes of texts that are indexed at a time, which bounds the memory of building.
const CHUNK_BYTES: usize = 16 << 20;
/// A part is merged with the one before that has at most this many times its texts. So there are
/// few parts, and each text is merged a few times.
const MERGE_RATIO: usize = 4;
/// A file is rewritten when more than one in this many of its texts is of an item that is gone.
const DEAD_SHARE: u64 = 4;

/// A part in a file.
#[derive(Clone)]
struct Saved {
    part: Arc<Part>,
    stamp: Stamp,
}

/// The state of the index.
#[derive(Default)]
struct State {
    language: Option<Language>,
    /// What is wrong with the stored language, where it cannot be read.
    damage: Option<(String, String)>,
    /// Whether the list of files was read.
    opened: bool,
    saved: Vec<Saved>,
    /// The first slot that is in no file.
    saved_end: u32,
    /// Parts in memory, in the order of their slots.
    fresh: Vec<Arc<Part>>,
    /// The first slot that is in no part.
    end: u32,
}

impl State {
    fn parts(&self) -> Vec<Arc<Part>> {
        let saved = self.saved.iter().map(|saved| Arc::clone(&saved.part));
        saved.chain(self.fresh.iter().cloned()).collect()
    }
}

/// The keyword index of a collection.
pub(super) struct Keywords {
    tables: Arc<Tables>,
    state: Mutex<State>,
}

/// A segment file as the index reads it.
struct Opened(SegmentFile);

impl Sections for Opened {
    fn section(&self, section: usize) -> &[u8] {
        self.0.section(section)
    }
}

fn internal(error: PartError) -> Error {
    Error::Internal {
        source: Box::new(error),
    }
}

impl Keywords {
    /// Reads the language; where it is damaged, only searches by words fail. The index is opened by
    /// the first of them.
    pub(super) fn open(tables: &Arc<Tables>) -> Result<Self> {
        let mut state = State::default();
        match tables.keywords() {
            Ok(language) => state.language = language,
            Err(Error::Damaged { part, reason }) => {
                tracing::error!(part, reason, "searches by words will fail");
                state.damage = Some((part, reason));
            }
            Err(error) => return Err(error),
        }
        Ok(Self {
            tables: Arc::clone(tables),
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn language(&self) -> Option<Language> {
        self.lock().language
    }

    /// Sets the language, or turns keyword search off. The index begins anew where that is a change.
    pub(super) fn set(&self, language: Option<Language>) -> Result<()> {
        let mut state = self.lock();
        if state.language == language && state.damage.is_none() {
            return Ok(());
        }
        self.tables.set_keywords(language)?;
        *state = State {
            language,
            opened: true,
            ..State::default()
        };
        Ok(())
    }

    /// Opens the files of the index; where one cannot be used, the index begins anew.
    fn read_files(&self, state: &mut State) -> Result<()> {
        if state.opened {
            return Ok(());
        }
        match self.open_files() {
            Ok(Some((saved, end))) => {
                (state.saved, state.saved_end, state.end) = (saved, end, end);
            }
            Ok(None) => {}
            Err(error @ Error::Poisoned(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the files of the keyword index cannot be used; it is built again");
            }
        }
        state.opened = true;
        Ok(())
    }

    /// The parts in files and the first slot after them; `None` where there are none of this
    /// analysis.
    fn open_files(&self) -> Result<Option<(Vec<Saved>, u32)>> {
        let Some(list) = self.tables.keyword_files()? else {
            return Ok(None);
        };
        let next = self.tables.next_slot()?;
        if list.analysis != ANALYSIS || list.end > next {
            return Ok(None);
        }
        let (mut saved, mut after): (Vec<Saved>, u32) = (Vec::new(), 0);
        for stamp in list.files {
            let part = self.open_part(stamp)?;
            let (first, last) = part.range();
            if first < after || last >= list.end {
                return Err(Error::Damaged {
                    part: "the list of files of the keyword index".to_owned(),
                    reason: "a file holds other slots than it says".to_owned(),
                });
            }
            after = last + 1;
            saved.push(Saved { part, stamp });
        }
        Ok(Some((saved, list.end)))
    }

    /// Opens the part in a file.
    fn open_part(&self, stamp: Stamp) -> Result<Arc<Part>> {
        let file = self.tables.keyword_file(stamp)?;
        let part = file.name();
        let file: Arc<dyn Sections> = Arc::new(Opened(file));
        let opened = Part::open(&file).map_err(|error| Error::Damaged {
            part,
            reason: error.to_string(),
        });
        opened.map(Arc::new)
    }

    /// Indexes the texts in slots below `next` that are in no part yet.
    fn catch_up(&self, state: &mut State, language: Language, next: u32) -> Result<()> {
        self.read_files(state)?;
        while state.end < next {
            let (mut texts, mut bytes, mut end) = (Vec::new(), 0, next);
            for item in self.tables.items_between(state.end, next) {
                let (slot, item) = item?;
                if bytes > CHUNK_BYTES {
                    end = slot;
                    break;
                }
                if let Some(text) = item.text {
                    bytes += text.len();
                    texts.push((slot, text));
                }
            }
            let texts = texts.iter().map(|(slot, text)| (*slot, text.as_str()));
            if let Some(part) = Part::build(language, texts).map_err(internal)? {
                state.fresh.push(Arc::new(part));
                Self::merge_small(&mut state.fresh)?;
            }
            state.end = end;
        }
        Ok(())
    }

    /// Merges small parts in memory at the end of their list.
    fn merge_small(parts: &mut Vec<Arc<Part>>) -> Result<()> {
        while let [.., before, last] = &parts[..]
            && before.len() <= MERGE_RATIO * last.len()
            && before.len() + last.len() <= SAVE_FROM
        {
            let merged = Part::merge(&parts[parts.len() - 2..], |_| true).map_err(internal)?;
            parts.truncate(parts.len() - 2);
            parts.extend(merged.map(Arc::new));
        }
        Ok(())
    }

    /// Writes the parts in memory to a file, merged with the files before that are not much larger,
    /// and without the texts of items that are gone. If `thorough`, also a file of which too much is
    /// gone is rewritten, with those after it.
    fn save(&self, state: &mut State, thorough: bool) -> Result<()> {
        let mut live = self.live_of(&state.fresh)?;
        let mut count = live.len();
        let mut keep = state.saved.len();
        for (i, saved) in state.saved.iter().enumerate().rev() {
            let texts = saved.part.len() as u64;
            let is_small = texts <= MERGE_RATIO as u64 * count;
            if !is_small && !thorough {
                break;
            }
            let of_saved = self.live_of(std::slice::from_ref(&saved.part))?;
            let is_stale = of_saved.len() * DEAD_SHARE < texts * (DEAD_SHARE - 1);
            live |= of_saved;
            if is_small || is_stale {
                keep = i;
                count = live.len();
            }
        }
        let mut merging: Vec<Arc<Part>> = state.saved[keep..]
            .iter()
            .map(|saved| Arc::clone(&saved.part))
            .collect();
        merging.append(&mut state.fresh);
        let fresh = merging[state.saved.len() - keep..].to_vec();
        let done = (|| {
            let merged = Part::merge(&merging, |slot| live.contains(slot)).map_err(internal)?;
            let mut saved: Vec<Saved> = state.saved[..keep].to_vec();
            if let Some(part) = merged {
                let sections = part.sections();
                let sections: Vec<&[u8]> = sections.iter().map(AsRef::as_ref).collect();
                let stamp = self.tables.write_keyword_file(&sections)?;
                // Read back from the file, it takes no memory of its own.
                let part = self.open_part(stamp)?;
                saved.push(Saved { part, stamp });
            }
            let list = KeywordFiles {
                analysis: ANALYSIS,
                files: saved.iter().map(|saved| saved.stamp).collect(),
                end: state.end,
            };
            self.tables.put_keyword_files(&list)?;
            Ok(saved)
        })();
        match done {
            Ok(saved) => {
                state.saved = saved;
                state.saved_end = state.end;
                Ok(())
            }
            Err(error) => {
                state.fresh = fresh;
                Err(error)
            }
        }
    }

    /// The slots of parts whose items are there.
    fn live_of(&self, parts: &[Arc<Part>]) -> Result<roaring::RoaringBitmap> {
        let mut live = roaring::RoaringBitmap::new();
        for part in parts {
            for slot in part.slots().map_err(internal)? {
                if self.tables.holds(slot)? {
                    live.insert(slot);
                }
            }
        }
        Ok(live)
    }

    /// Brings the index up to `next`, and writes it to files if `always` or if there is much to
    /// write. That it could not be written is no error: it is built again where it is needed.
    fn refresh(
        &self,
        state: &mut State,
        language: Language,
        next: u32,
        always: bool,
    ) -> Result<()> {
        self.catch_up(state, language, next)?;
        let fresh: usize = state.fresh.iter().map(|part| part.len()).sum();
        if self.tables.is_read_only()
            || fresh < SAVE_FROM && !(always && state.saved_end < state.end)
        {
            return Ok(());
        }
        match self.save(state, always) {
            Err(error @ Error::Poisoned(_)) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the keyword index could not be written");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Brings the index up to `next`, the first slot that was never published, and writes it to
    /// files.
    pub(super) fn settle(&self, next: u32) -> Result<()> {
        let mut state = self.lock();
        match state.language {
            Some(language) => self.refresh(&mut state, language, next, true),
            None => Ok(()),
        }
    }

    /// Writes what is worth it, of the slots below `next`, before the collection is closed.
    pub(super) fn close(&self, next: u32) -> Result<()> {
        let mut state = self.lock();
        let Some(language) = state.language else {
            return Ok(());
        };
        self.read_files(&mut state)?;
        let behind = next.saturating_sub(state.saved_end);
        if (behind as usize) < SAVE_FROM {
            return Ok(());
        }
        self.refresh(&mut state, language, next, true)
    }

    /// The parts that hold the texts of all items in slots below `next`, and their language; `None`
    /// where keyword search is off.
    fn current(&self, next: u32) -> Result<Option<(Vec<Arc<Part>>, Language)>> {
        let mut state = self.lock();
        if let Some((part, reason)) = state.damage.clone() {
            return Err(Error::Damaged { part, reason });
        }
        let Some(language) = state.language else {
            return Ok(None);
        };
        self.refresh(&mut state, language, next, false)?;
        Ok(Some((state.parts(), language)))
    }

    /// Figures of the index; `None` where keyword search is off.
    pub(super) fn stats(&self) -> Option<KeywordStats> {
        let state = self.lock();
        let parts = state.parts();
        Some(KeywordStats {
            language: state.language?,
            texts: parts.iter().map(|part| part.len()).sum(),
            bytes: parts.iter().map(|part| part.bytes()).sum(),
        })
    }
}

impl Items {
    /// The language of keyword search; `None` where it is off.
    pub(crate) fn keywords(&self) -> Option<Language> {
        self.keywords.language()
    }

    /// Sets the language of keyword search and builds its index, or turns it off.
    pub(crate) fn set_keywords(&self, language: Option<Language>) -> Result<()> {
        self.keywords.set(language)?;
        self.keywords.settle(self.index.next_slot())
    }

    /// What finds the words of a query in texts; `None` where keyword search is off.
    pub(super) fn highlighter(&self, text: &str) -> Result<Option<Highlighter>> {
        let Some((parts, language)) = self.keywords.current(self.index.next_slot())? else {
            return Ok(None);
        };
        let query = KeywordQuery::parse(text, language);
        let highlighter = Highlighter::new(&parts, &query, language);
        highlighter.map(Some).map_err(internal)
    }

    /// The index as it is now, and the words that are looked for in it.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] where keyword search is off, or an item has no text;
    /// [`Error::UnknownId`] for an item.
    pub(super) fn words(&self, words: WordsOf<'_>) -> Result<Words> {
        let Some((parts, language)) = self.keywords.current(self.index.next_slot())? else {
            return Err(Error::no_keywords(&self.name));
        };
        let query = match words {
            WordsOf::Query(text) => KeywordQuery::parse(text, language),
            WordsOf::Item(id) => KeywordQuery::of_text(&self.text_of(id)?, language),
        };
        Ok(Words { parts, query })
    }

    /// The text of a stored item, whose words are looked for.
    fn text_of(&self, id: &str) -> Result<String> {
        let Some(item) = self.read_weak(id)? else {
            return Err(Error::UnknownId {
                collection: self.name.clone(),
                ids: vec![id.to_owned()],
            });
        };
        item.text.ok_or_else(|| {
            let reason = format!(
                "item {:?} has no text whose words could be looked for",
                cut(id)
            );
            Error::InvalidQuery(reason)
        })
    }
}

/// A query for words, and the index in which they are looked up.
pub(super) struct Words {
    parts: Vec<Arc<Part>>,
    query: KeywordQuery,
}

impl Words {
    /// The best `k` texts, of the slots that are `allowed`.
    pub(super) fn find(&self, k: usize, allowed: &dyn Fn(u32) -> bool) -> Result<Texts> {
        search(&self.parts, &self.query, k, allowed).map_err(internal)
    }

    /// What each word and phrase of the query adds to the score of a text, where that is something.
    pub(super) fn scores_in(&self, slot: u32) -> Result<Vec<WordsFound>> {
        let mut found = Vec::new();
        for (words, query) in self.query.each() {
            let scored = search(&self.parts, &query, 1, &|of| of == slot).map_err(internal)?;
            found.extend(scored.best.first().map(|scored| WordsFound {
                words,
                score: scored.score,
            }));
        }
        Ok(found)
    }

    /// What the operators of the query say of the items that may be found.
    pub(super) fn restriction(&self) -> Result<Restriction> {
        restriction(&self.parts, &self.query).map_err(internal)
    }
}
