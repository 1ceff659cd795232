//! Weak supervision: judgements that nobody gave, made of metadata or of the texts themselves.
//!
//! They are judgements of [`Source::Proxy`], so what they weigh is learned from how well they
//! predict explicit ones. To make that possible, pairs that somebody judged are labelled by the
//! field as well.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use serde_json::Value;

use super::Collection;
use super::read::parse_meta;
use crate::error::{Error, Result};
use crate::feedback::{Judgement, Source, source_of};
use crate::persist::QueryRecord;

/// Where labels come from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weak {
    /// Two items are similar when they have the same value in this field of their metadata, and
    /// dissimilar when they have different ones. Dots reach into objects; items without the field
    /// are left out.
    Field(String),
    /// The first half of a text is a query to which its item is a relevant answer, and another item
    /// is not.
    Halves,
}

impl Collection {
    /// Makes and stores about so many judgements, half of them of things that belong together. The
    /// same seed on the same collection makes the same ones. Gives their sequence numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the field does not tell at least two groups apart, one of them of
    /// two items, or no text has four words; storage and encoder errors.
    pub fn judge_weakly(&self, from: &Weak, judgements: usize, seed: u64) -> Result<Range<u64>> {
        let mut random = fastrand::Rng::with_seed(seed);
        let made = match from {
            Weak::Field(field) => self.by_field(field, judgements, &mut random)?,
            Weak::Halves => self.by_halves(judgements, &mut random)?,
        };
        self.judge_all(
            made.into_iter()
                .map(|judgement| judgement.source(Source::Proxy)),
        )
    }

    fn by_field(
        &self,
        field: &str,
        judgements: usize,
        random: &mut fastrand::Rng,
    ) -> Result<Vec<Judgement>> {
        let inner = &self.inner;
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut value_of: BTreeMap<String, String> = BTreeMap::new();
        for entry in inner.shelf.ids() {
            let (id, slot) = entry?;
            let Some(record) = inner.steady(|| inner.shelf.item(slot))? else {
                continue;
            };
            if let Some(value) = value_at(&parse_meta(&record.meta, slot)?, field) {
                groups.entry(value.clone()).or_default().push(id.clone());
                value_of.insert(id, value);
            }
        }
        let several: Vec<&Vec<String>> = groups.values().filter(|ids| ids.len() > 1).collect();
        if groups.len() < 2 || several.is_empty() {
            return Err(Error::Invalid(format!(
                "the field {field:?} tells {} groups of items apart; it takes two, one of them with two items",
                groups.len()
            )));
        }
        let mut made = Vec::new();
        let mut pairs = HashSet::new();
        let mut add = |a: &str, b: &str| {
            let pair = if a < b { (a, b) } else { (b, a) };
            if a != b && pairs.insert((pair.0.to_owned(), pair.1.to_owned())) {
                let similar = value_of.get(a) == value_of.get(b);
                made.push(if similar {
                    Judgement::similar(a, b)
                } else {
                    Judgement::dissimilar(a, b)
                });
            }
        };
        // A quarter at most of what was judged outright, to learn from how much the field is worth.
        let mut judged: BTreeSet<(String, String)> = BTreeSet::new();
        for entry in inner.shelf.judgements() {
            let (_, record) = entry?;
            if let QueryRecord::Item(query) = record.query
                && source_of(record.source) == Source::Explicit
                && value_of.contains_key(&query)
                && value_of.contains_key(&record.item)
            {
                judged.insert((query, record.item));
            }
        }
        let mut judged: Vec<_> = judged.into_iter().collect();
        random.shuffle(&mut judged);
        judged
            .iter()
            .take(judgements / 4)
            .for_each(|(a, b)| add(a, b));
        let everything: Vec<&String> = value_of.keys().collect();
        // Groups are drawn by their size, so that pairs are those of items drawn at random.
        let weighted: Vec<&Vec<String>> = several
            .iter()
            .flat_map(|ids| std::iter::repeat_n(*ids, ids.len()))
            .collect();
        let half = judgements
            .saturating_sub(judged.len().min(judgements / 4))
            .div_ceil(2);
        for _ in 0..half {
            let group = weighted[random.usize(..weighted.len())];
            add(
                &group[random.usize(..group.len())],
                &group[random.usize(..group.len())],
            );
            let (a, b) = (
                everything[random.usize(..everything.len())],
                everything[random.usize(..everything.len())],
            );
            if value_of.get(a) != value_of.get(b) {
                add(a, b);
            }
        }
        Ok(made)
    }

    fn by_halves(&self, judgements: usize, random: &mut fastrand::Rng) -> Result<Vec<Judgement>> {
        let inner = &self.inner;
        let mut slots = inner.index.live_slots();
        random.shuffle(&mut slots);
        let mut made = Vec::new();
        for (i, slot) in slots.iter().enumerate() {
            if made.len() + 1 >= judgements.max(2) {
                break;
            }
            let Some(record) = inner.steady(|| inner.shelf.item(*slot))? else {
                continue;
            };
            let words: Vec<&str> = record
                .text
                .as_deref()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            let other = slots
                .get((i + 1) % slots.len())
                .filter(|other| *other != slot);
            if let (4.., Some(other)) = (words.len(), other.and_then(|slot| inner.ids.get(*slot))) {
                let half = words[..words.len() / 2].join(" ");
                made.push(Judgement::relevant(half.clone(), &record.id));
                made.push(Judgement::irrelevant(half, other));
            }
        }
        if made.is_empty() {
            return Err(Error::Invalid(
                "no two items have a text of four words, which could be halved".into(),
            ));
        }
        Ok(made)
    }
}

/// A field's value as one string; dots reach into objects.
fn value_at(meta: &Value, field: &str) -> Option<String> {
    let value = field
        .split('.')
        .try_fold(meta, |value, name| value.get(name))?;
    (!value.is_null()).then(|| value.to_string())
}
