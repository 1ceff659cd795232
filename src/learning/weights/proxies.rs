//! Weak supervision: judgements that nobody gave, made from metadata or from the texts themselves.
//!
//! They are judgements of [`Source::Proxy`](crate::Source::Proxy), so their weight is learned from
//! how well they predict explicit ones. To make that possible, pairs that somebody judged are
//! labelled by the field as well.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use crate::filter::{Field, ambiguous};
use crate::learning::{Entry, Learning};
use crate::model::error::{Error, Result};
use crate::model::{Judgement, Source};

/// Smallest number of words of a text that is halved.
const MIN_WORDS: usize = 4;

/// Origin of weak labels.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weak {
    /// Two items are similar when they have the same value in this field of their metadata, and
    /// dissimilar when they have different ones. Dots in its name are read as those of
    /// [`Filter`](crate::Filter); items without the field are left out.
    Field(String),
    /// The first half of a text is a query to which its item is a relevant answer, and another item
    /// is not.
    Halves,
}

/// Text and metadata of an item.
pub(crate) struct WeakItem {
    pub(crate) text: Option<String>,
    pub(crate) meta: Value,
}

/// Reads an item by its id; `None` where it is gone.
pub(crate) type ReadItem<'a> = &'a dyn Fn(&str) -> Result<Option<WeakItem>>;

impl Learning {
    /// About `count` weak judgements of items, half of them of items that belong together. `ids`
    /// are all items in their order. The same seed makes the same judgements of the same items.
    pub(crate) fn weak_judgements(
        &self,
        from: &Weak,
        ids: Vec<String>,
        read: ReadItem<'_>,
        count: usize,
        seed: u64,
    ) -> Result<Vec<Judgement>> {
        let mut random = fastrand::Rng::with_seed(seed);
        let made = match from {
            Weak::Field(field) => {
                let judged = self.teaching(|_| true)?.judgements;
                by_field(
                    &values_of(field, ids, read)?,
                    field,
                    &judged,
                    count,
                    &mut random,
                )?
            }
            Weak::Halves => self.known(by_halves(ids, read, count, &mut random)?)?,
        };
        let proxies = made.into_iter().map(|j| j.source(Source::Proxy));
        Ok(proxies.collect())
    }

    /// Leaves out judgements of texts that the encoder can make nothing of.
    fn known(&self, mut made: Vec<Judgement>) -> Result<Vec<Judgement>> {
        let texts: Vec<&str> = made.iter().filter_map(Judgement::query_text).collect();
        let known: Vec<bool> = self
            .vectors
            .encode(&texts)?
            .iter()
            .map(Option::is_some)
            .collect();
        let mut known = known.into_iter();
        made.retain(|judgement| judgement.query_text().is_none() || known.next() == Some(true));
        if made.is_empty() {
            return Err(Error::TextsTooShort);
        }
        Ok(made)
    }
}

/// Ids, in order, with their values in a field of their metadata.
fn values_of(
    field: &str,
    mut ids: Vec<String>,
    read: ReadItem<'_>,
) -> Result<Vec<(String, String)>> {
    ids.sort_unstable();
    let field = Field::Name(field.to_owned());
    let mut values = Vec::new();
    for id in ids {
        let Some(item) = read(&id)? else { continue };
        if let Some(value) = value_at(&item.meta, &field, &id)? {
            values.push((id, value));
        }
    }
    Ok(values)
}

/// Items by their value in a field.
struct Groups<'a> {
    ids_by_value: BTreeMap<&'a str, Vec<&'a str>>,
    value_of: BTreeMap<&'a str, &'a str>,
}

/// Distinct pairs of items, labelled by their values.
struct Pairs<'a> {
    groups: &'a Groups<'a>,
    known: HashSet<(&'a str, &'a str)>,
    made: Vec<Judgement>,
}

impl<'a> Pairs<'a> {
    /// Adds a pair, unless it is there already or the two are one item.
    fn add(&mut self, a: &'a str, b: &'a str) {
        let pair = if a < b { (a, b) } else { (b, a) };
        if a == b || !self.known.insert(pair) {
            return;
        }
        let value = |id| self.groups.value_of.get(id);
        self.made.push(if value(a) == value(b) {
            Judgement::similar(a, b)
        } else {
            Judgement::dissimilar(a, b)
        });
    }
}

fn by_field(
    values: &[(String, String)],
    field: &str,
    judged: &[Entry],
    count: usize,
    random: &mut fastrand::Rng,
) -> Result<Vec<Judgement>> {
    let mut groups = Groups {
        ids_by_value: BTreeMap::new(),
        value_of: BTreeMap::new(),
    };
    for (id, value) in values {
        groups.ids_by_value.entry(value).or_default().push(id);
        groups.value_of.insert(id, value);
    }
    let several: Vec<&Vec<&str>> = groups
        .ids_by_value
        .values()
        .filter(|ids| ids.len() > 1)
        .collect();
    if groups.ids_by_value.len() < 2 || several.is_empty() {
        return Err(Error::TooFewGroups {
            field: field.to_owned(),
            groups: groups.ids_by_value.len(),
        });
    }
    let mut pairs = Pairs {
        groups: &groups,
        known: HashSet::new(),
        made: Vec::new(),
    };
    // A quarter at most are pairs that were judged explicitly, to learn the weight of the field.
    let mut judged: Vec<(&str, &str)> = explicit_pairs(judged, &groups).into_iter().collect();
    random.shuffle(&mut judged);
    judged.truncate(count / 4);
    for (a, b) in &judged {
        let known = |id: &str| groups.value_of.get_key_value(id).map(|(id, _)| *id);
        if let (Some(a), Some(b)) = (known(a), known(b)) {
            pairs.add(a, b);
        }
    }
    let everything: Vec<&str> = groups.value_of.keys().copied().collect();
    // Groups are drawn by their size, so that pairs are those of items drawn at random.
    let weighted: Vec<&Vec<&str>> = several
        .iter()
        .flat_map(|ids| std::iter::repeat_n(*ids, ids.len()))
        .collect();
    let half = count.saturating_sub(judged.len()).div_ceil(2);
    for _ in 0..half {
        let group = weighted[random.usize(..weighted.len())];
        let a = group[random.usize(..group.len())];
        let b = group[random.usize(..group.len())];
        pairs.add(a, b);
        let a = everything[random.usize(..everything.len())];
        let b = everything[random.usize(..everything.len())];
        if groups.value_of.get(a) != groups.value_of.get(b) {
            pairs.add(a, b);
        }
    }
    Ok(pairs.made)
}

/// Pairs of a query and an item, both with a value, that were judged explicitly.
fn explicit_pairs<'a>(judged: &'a [Entry], groups: &Groups<'_>) -> BTreeSet<(&'a str, &'a str)> {
    let mut pairs = BTreeSet::new();
    for (_, judgement) in judged.iter().filter(|(_, j)| j.source == Source::Explicit) {
        if let Some(query) = judgement.query.item()
            && groups.value_of.contains_key(query.id.as_str())
            && groups.value_of.contains_key(judgement.item.id.as_str())
        {
            pairs.insert((query.id.as_str(), judgement.item.id.as_str()));
        }
    }
    pairs
}

fn by_halves(
    mut ids: Vec<String>,
    read: ReadItem<'_>,
    count: usize,
    random: &mut fastrand::Rng,
) -> Result<Vec<Judgement>> {
    random.shuffle(&mut ids);
    let mut made = Vec::new();
    for (i, id) in ids.iter().enumerate() {
        if made.len() + 1 >= count.max(2) {
            break;
        }
        let Some(item) = read(id)? else { continue };
        let text = item.text.unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let other = &ids[(i + 1) % ids.len()];
        if words.len() >= MIN_WORDS && other != id {
            let half = words[..words.len() / 2].join(" ");
            made.push(Judgement::relevant(half.clone(), id));
            made.push(Judgement::irrelevant(half, other));
        }
    }
    if made.is_empty() {
        return Err(Error::TextsTooShort);
    }
    Ok(made)
}

/// The value of a field as a string; `None` where it is missing, null, or not one.
fn value_at(meta: &Value, field: &Field, id: &str) -> Result<Option<String>> {
    let reached = field.reach(meta);
    if reached.ambiguous {
        return Err(ambiguous(field, Some(id.to_owned())));
    }
    Ok(match reached.values[..] {
        [value] if !value.is_null() => Some(value.to_string()),
        _ => None,
    })
}
