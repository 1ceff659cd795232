//! [`Part`]: the inverted index of the texts of some slots.

use std::sync::Arc;

use tantivy::columnar::Column;
use tantivy::directory::OwnedBytes;
use tantivy::fastfield::{AliveBitSet, write_alive_bitset};
use tantivy::indexer::merge_filtered_segments;
use tantivy::schema::{
    FAST, Field, IndexRecordOption, Schema, TantivyDocument, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{
    BitSet, DocId, Index, IndexBuilder, ReloadPolicy, Searcher, SegmentReader, TantivyError,
};

use super::analyze::Analyzer;
use super::files::{Files, Sections};
use crate::model::Language;
use crate::panics::catch;

/// The field of texts.
pub(super) const TEXT: Field = Field::from_field_id(0);
/// The name of the field of slots.
const SLOT: &str = "slot";
/// The name under which tantivy knows the [`Analyzer`].
const ANALYZER: &str = "affinis";
/// Memory that the tables of a part's terms begin with, in bytes; they grow as they must.
const BUILD_BYTES: usize = 15 << 20;

/// What tantivy says is wrong, or the message of a panic in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PartError(String);

impl From<tantivy::TantivyError> for PartError {
    fn from(error: tantivy::TantivyError) -> Self {
        Self(error.to_string())
    }
}

pub(super) type Result<T> = std::result::Result<T, PartError>;

/// Runs code of tantivy. Its files are checked before it reads them, but not by it.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch(work).unwrap_or_else(|panic| Err(PartError(panic)))
}

/// An immutable index of texts. Each has a slot; the slots of two parts do not overlap.
pub(crate) struct Part {
    files: Files,
    /// Its reader, of one segment.
    pub(super) searcher: Searcher,
    /// The slots of its texts.
    slots: Column<u64>,
    /// The first slot, and the last.
    range: (u32, u32),
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

fn schema() -> Schema {
    let mut schema = Schema::builder();
    let terms = TextFieldIndexing::default()
        .set_tokenizer(ANALYZER)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let text = schema.add_text_field("text", TextOptions::default().set_indexing_options(terms));
    debug_assert_eq!(text, TEXT, "the first field has the first number");
    schema.add_u64_field(SLOT, FAST);
    schema.build()
}

impl Part {
    /// Indexes texts with their slots, which increase; `None` where there are none.
    pub(crate) fn build<'a>(
        language: Language,
        texts: impl IntoIterator<Item = (u32, &'a str)>,
    ) -> Result<Option<Self>> {
        guarded(|| {
            let schema = schema();
            let slot = schema.get_field(SLOT)?;
            let tokenizers = TokenizerManager::default();
            tokenizers.register(ANALYZER, Analyzer::new(language));
            let files = Files::default();
            let mut writer = IndexBuilder::new()
                .schema(schema)
                .tokenizers(tokenizers)
                .single_segment_index_writer(files.clone(), BUILD_BYTES)?;
            let mut is_empty = true;
            for (number, text) in texts {
                let mut document = TantivyDocument::new();
                document.add_text(TEXT, text);
                document.add_u64(slot, number.into());
                writer.add_document(document)?;
                is_empty = false;
            }
            if is_empty {
                return Ok(None);
            }
            Self::read(files, &writer.finalize()?).map(Some)
        })
    }

    /// Opens a part in a file whose checksums are verified.
    pub(crate) fn open(file: &Arc<dyn Sections>) -> Result<Self> {
        guarded(|| {
            let files = Files::open(file);
            let index = Index::open(files.clone())?;
            if index.schema() != schema() {
                return Err(PartError("it is an index of other fields".to_owned()));
            }
            Self::read(files, &index)
        })
    }

    fn read(files: Files, index: &Index) -> Result<Self> {
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?;
        let searcher: Searcher = reader.searcher();
        let [segment] = searcher.segment_readers() else {
            return Err(PartError("it has not one segment".to_owned()));
        };
        let slots = segment.fast_fields().u64(SLOT)?;
        let (first, last) = (slots.min_value(), slots.max_value());
        let range = u32::try_from(first).ok().zip(u32::try_from(last).ok());
        let range = range.filter(|(first, last)| first <= last && segment.max_doc() > 0);
        Ok(Self {
            range: range.ok_or_else(|| PartError("it has no slots".to_owned()))?,
            files,
            searcher,
            slots,
        })
    }

    /// Its one segment.
    pub(super) fn segment(&self) -> &SegmentReader {
        self.searcher.segment_reader(0)
    }

    /// The slot of a text, by its number in the segment.
    pub(super) fn slot(&self, document: DocId) -> Option<u32> {
        self.slots.first(document).map(|slot| slot as u32)
    }

    /// One part of neighbouring ones, with only the texts of slots that are `live`; `None` where
    /// none is.
    pub(crate) fn merge(parts: &[Arc<Self>], live: impl Fn(u32) -> bool) -> Result<Option<Self>> {
        guarded(|| {
            let (mut segments, mut kept) = (Vec::new(), Vec::new());
            for part in parts {
                let texts = part.segment().max_doc();
                let mut alive = BitSet::with_max_value(texts);
                for document in 0..texts {
                    if part.slot(document).is_some_and(&live) {
                        alive.insert(document);
                    }
                }
                if alive.len() > 0 {
                    let mut bytes = Vec::new();
                    write_alive_bitset(&alive, &mut bytes).map_err(TantivyError::from)?;
                    kept.push(Some(AliveBitSet::open(OwnedBytes::new(bytes))));
                    segments.extend(part.searcher.index().searchable_segments()?);
                }
            }
            let Some(first) = parts.first().filter(|_| !segments.is_empty()) else {
                return Ok(None);
            };
            let settings = first.searcher.index().settings().clone();
            let files = Files::default();
            let index = merge_filtered_segments(&segments, settings, kept, files.clone())?;
            Self::read(files, &index).map(Some)
        })
    }

    /// The sections of a file of it.
    pub(crate) fn sections(&self) -> Vec<impl AsRef<[u8]> + use<>> {
        self.files.sections()
    }

    /// Number of texts, those of items that are gone included.
    pub(crate) fn len(&self) -> usize {
        self.searcher.num_docs() as usize
    }

    /// Length of its files, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.files.bytes()
    }

    /// The first slot and the last.
    pub(crate) fn range(&self) -> (u32, u32) {
        self.range
    }

    /// The slots of all its texts, increasing.
    pub(crate) fn slots(&self) -> Result<Vec<u32>> {
        guarded(|| {
            let texts = 0..self.segment().max_doc();
            Ok(texts.filter_map(|document| self.slot(document)).collect())
        })
    }
}
