//! Ranking: the texts of all parts by BM25, as if they were one index.
//!
//! The score of a text for a term is that of Lucene, `idf * tf / (tf + k1 (1 - b + b l / avg))` with
//! `idf = ln(1 + (N - n + .5) / (n + .5))`, `k1 = 1.2` and `b = .75`: Robertson and Zaragoza, "The
//! Probabilistic Relevance Framework: BM25 and Beyond" (2009). `N`, `n` and `avg` are those of all
//! parts together; the length `l` of a text is rounded to one byte, as Lucene's is.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use roaring::RoaringBitmap;
use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, DisjunctionMaxQuery, EnableScoring,
    FuzzyTermQuery, Occur as TantivyOccur, PhraseQuery, Query, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};

use super::analyze::{Kind, Term};
use super::collect::{Best, Scored};
use super::part::{Part, PartError, Result, TEXT, guarded};
use super::query::{Clause, KeywordQuery, Occur};

/// tantivy's scores are this many times those of Lucene: `k1 + 1`.
const SCALE: f32 = 2.2;
/// Unknown words shorter than this are not looked for with another spelling, in characters.
const MIN_RESPELLED: usize = 3;
/// The most known words that an unknown one stands for.
const MAX_RESPELLED: usize = 32;
/// The weight of a known word that an unknown one stands for.
const RESPELLED: f32 = 0.5;

/// The parts of an index as one collection of texts.
struct Statistics<'a>(&'a [Arc<Part>]);

impl Bm25StatisticsProvider for Statistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        let parts = self.0.iter();
        parts
            .map(|part| part.searcher.total_num_tokens(field))
            .sum()
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        let parts = self.0.iter();
        parts.map(|part| part.searcher.total_num_docs()).sum()
    }

    fn doc_freq(&self, term: &tantivy::Term) -> tantivy::Result<u64> {
        let parts = self.0.iter();
        parts.map(|part| part.searcher.doc_freq(term)).sum()
    }
}

/// The best texts for a query.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Texts {
    /// The texts: the highest scores first, of equal ones the lowest slots.
    pub(crate) best: Vec<Scored>,
    /// The score of a text of mean length that holds every word of the query once.
    pub(crate) of_average: f32,
}

/// The `k` best texts for a query, of the slots that are `allowed`.
pub(crate) fn search(
    parts: &[Arc<Part>],
    query: &KeywordQuery,
    k: usize,
    allowed: &dyn Fn(u32) -> bool,
) -> Result<Texts> {
    if query.is_empty() || k == 0 {
        return Ok(Texts::default());
    }
    guarded(|| {
        let statistics = Statistics(parts);
        let excluded = excluded(parts, query)?;
        let Compiled { query, idf } = compile(query, &statistics)?;
        let mut best = Best::new(k);
        for part in parts {
            let scoring =
                EnableScoring::enabled_from_statistics_provider(&statistics, &part.searcher);
            let weight = query.weight(scoring)?;
            weight.for_each_pruning(best.threshold(), part.segment(), &mut |document, score| {
                if let Some(slot) = part.slot(document)
                    && !excluded.contains(slot)
                    && allowed(slot)
                {
                    best.offer(Scored { slot, score });
                }
                best.threshold()
            })?;
        }
        let mut found = best.sorted();
        for scored in &mut found {
            scored.score /= SCALE;
        }
        Ok(Texts {
            best: found,
            // Where a text is of mean length, a term that stands in it once counts 1 / (1 + k1).
            of_average: (idf / f64::from(SCALE)) as f32,
        })
    })
}

/// What the operators of a query say of the items that it may find.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Restriction {
    /// The slots that hold all that is required; `None` where nothing is.
    pub(crate) required: Option<RoaringBitmap>,
    /// The slots that hold something that is excluded.
    pub(crate) excluded: RoaringBitmap,
}

/// The slots to which the operators of a query restrict it.
pub(crate) fn restriction(parts: &[Arc<Part>], query: &KeywordQuery) -> Result<Restriction> {
    guarded(|| {
        let required: Vec<_> = clauses(query, Occur::Must).map(sequence).collect();
        let required = if required.is_empty() {
            None
        } else {
            Some(holding(parts, &BooleanQuery::intersection(required))?)
        };
        Ok(Restriction {
            required,
            excluded: excluded(parts, query)?,
        })
    })
}

/// The clauses of a query that ask for this.
fn clauses(query: &KeywordQuery, occur: Occur) -> impl Iterator<Item = &Clause> {
    let clauses = query.clauses.iter();
    clauses.filter(move |clause| clause.occur == occur)
}

/// The slots that hold something that a query excludes. tantivy's own exclusion goes wrong where
/// that is several terms in sequence: it looks for a text before the one that it stands at.
fn excluded(parts: &[Arc<Part>], query: &KeywordQuery) -> Result<RoaringBitmap> {
    let mut excluded = RoaringBitmap::new();
    for clause in clauses(query, Occur::MustNot) {
        excluded |= holding(parts, &*sequence(clause))?;
    }
    Ok(excluded)
}

/// The slots of the texts that a query finds.
fn holding(parts: &[Arc<Part>], query: &dyn Query) -> Result<RoaringBitmap> {
    let mut holding = RoaringBitmap::new();
    for part in parts {
        let weight = query.weight(EnableScoring::disabled_from_searcher(&part.searcher))?;
        weight.for_each_no_score(part.segment(), &mut |documents| {
            holding.extend(documents.iter().filter_map(|document| part.slot(*document)));
        })?;
    }
    Ok(holding)
}

fn term(text: &str) -> tantivy::Term {
    tantivy::Term::from_field_text(TEXT, text)
}

fn term_query(text: &str) -> Box<dyn Query> {
    Box::new(TermQuery::new(term(text), IndexRecordOption::WithFreqs))
}

/// A query as tantivy takes it.
struct Compiled {
    query: BooleanQuery,
    /// The sum of the weights of its terms.
    idf: f64,
}

/// The weight of a term that so many of all texts hold, see the formula of the module.
fn idf(with: u64, all: u64) -> f64 {
    let (with, all) = (with as f64, all as f64);
    (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
}

/// The query as tantivy takes it, without what is excluded. Words without operators are one flat
/// union, which it prunes.
fn compile(query: &KeywordQuery, statistics: &Statistics<'_>) -> Result<Compiled> {
    let all = statistics.total_num_docs()?;
    let mut idf_sum = 0.0;
    let mut clauses: Vec<(TantivyOccur, Box<dyn Query>)> = Vec::new();
    // A term that is asked for again counts once more, as a factor.
    let mut words: BTreeMap<&str, f32> = BTreeMap::new();
    for clause in &query.clauses {
        let in_sequence = match clause.occur {
            Occur::MustNot => continue,
            Occur::Must => Some(TantivyOccur::Must),
            Occur::Should => clause.is_phrase.then_some(TantivyOccur::Should),
        };
        if let Some(occur) = in_sequence {
            clauses.push((occur, sequence(clause)));
            for found in clause.sequence() {
                idf_sum += idf(statistics.doc_freq(&term(&found.text))?, all);
            }
        }
        let terms: Vec<&Term> = match clause.occur {
            Occur::Should if !clause.is_phrase => looked_up(clause).collect(),
            // The longer terms of a required word raise the score.
            Occur::Must if !clause.is_phrase => longer(clause).collect(),
            _ => Vec::new(),
        };
        for term in terms {
            *words.entry(&term.text).or_default() += 1.0;
        }
    }
    for (text, factor) in words {
        let found = match statistics.doc_freq(&term(text))? {
            0 => respelled(text, statistics)?,
            with => Some((term_query(text), idf(with, all))),
        };
        if let Some((mut found, weight)) = found {
            idf_sum += weight * f64::from(factor);
            if factor != 1.0 {
                found = Box::new(BoostQuery::new(found, factor));
            }
            clauses.push((TantivyOccur::Should, found));
        }
    }
    Ok(Compiled {
        query: BooleanQuery::new(clauses),
        idf: idf_sum,
    })
}

/// The terms of a word that are looked up: of a script without spaces, the pairs where there are
/// any.
pub(super) fn looked_up(clause: &Clause) -> impl Iterator<Item = &Term> {
    let has_pairs = clause.terms.iter().any(|term| term.kind == Kind::Pair);
    let terms = clause.terms.iter();
    terms.filter(move |term| !(has_pairs && term.kind == Kind::Atom && is_one(&term.text)))
}

fn is_one(text: &str) -> bool {
    text.chars().nth(1).is_none()
}

/// The terms of a word that are longer than its atoms.
pub(super) fn longer(clause: &Clause) -> impl Iterator<Item = &Term> {
    let sequence = clause.sequence();
    let terms = clause.terms.iter();
    terms.filter(move |term| !sequence.contains(term))
}

/// The texts that hold the terms of a clause one after the other.
fn sequence(clause: &Clause) -> Box<dyn Query> {
    let sequence = clause.sequence();
    match sequence[..] {
        [single] => term_query(&single.text),
        _ => Box::new(PhraseQuery::new_with_offset(
            sequence
                .into_iter()
                .map(|found| (found.position, term(&found.text)))
                .collect(),
        )),
    }
}

/// The known words that differ from an unknown one in one letter: one more, one fewer, another, or
/// two neighbours exchanged. Returns the query for them with their weight; `None` where there are
/// none.
fn respelled(text: &str, statistics: &Statistics<'_>) -> Result<Option<(Box<dyn Query>, f64)>> {
    let known = known_like(text, statistics)?;
    let Some(rarest) = known.iter().map(|(_, with)| *with).min() else {
        return Ok(None);
    };
    let weight = idf(rarest, statistics.total_num_docs()?);
    let words = known.iter().map(|(text, _)| term_query(text)).collect();
    let any = Box::new(DisjunctionMaxQuery::new(words));
    let any = Box::new(BoostQuery::new(any, RESPELLED));
    Ok(Some((any, weight * f64::from(RESPELLED))))
}

/// The known words that those of some words stand for that are unknown.
pub(super) fn spellings(parts: &[Arc<Part>], words: &HashSet<String>) -> Result<Vec<String>> {
    let statistics = Statistics(parts);
    let mut spellings = Vec::new();
    for word in words {
        if statistics.doc_freq(&term(word))? == 0 {
            let known = known_like(word, &statistics)?;
            spellings.extend(known.into_iter().map(|(text, _)| text));
        }
    }
    Ok(spellings)
}

/// The known words that differ from an unknown one in one letter, with the number of texts that hold
/// them, the most frequent first.
fn known_like(text: &str, statistics: &Statistics<'_>) -> Result<Vec<(String, u64)>> {
    if text.chars().count() < MIN_RESPELLED {
        return Ok(Vec::new());
    }
    let automaton = FuzzyTermQuery::new(term(text), 1, true).automaton()?;
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    for part in statistics.0 {
        let inverted = part.segment().inverted_index(TEXT)?;
        let stream = inverted.terms().search(&automaton).into_stream();
        let mut stream = stream.map_err(tantivy::TantivyError::from)?;
        while stream.advance() {
            if let Ok(text) = std::str::from_utf8(stream.key()) {
                *known.entry(text.to_owned()).or_default() += u64::from(stream.value().doc_freq);
            }
        }
    }
    // The most frequent are the likeliest.
    let mut known: Vec<(String, u64)> = known.into_iter().collect();
    known.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    known.truncate(MAX_RESPELLED);
    Ok(known)
}

impl From<std::io::Error> for PartError {
    fn from(error: std::io::Error) -> Self {
        tantivy::TantivyError::from(error).into()
    }
}
