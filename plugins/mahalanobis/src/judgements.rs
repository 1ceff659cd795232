//! Judgements prepared for learning: checked, merged, and put in a canonical order.
//!
//! The statements on one (query, item) or on one pair are summed, `weight x grade`, positive for
//! together. So duplicates add up, contradictions cancel, and an item judged against itself is left
//! out. Everything is then ordered by the *content* of the vectors, which makes all that follows
//! independent of the order in which judgements came, of row numbers, and of equal vectors under
//! two rows.

use std::collections::BTreeMap;

use affinis::plugin::{Examples, LearnError};
use ndarray::Array2;

use crate::fingerprints::{self, splitmix};

/// A judged item with the weight of its judgement, above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct JudgedItem {
    pub(crate) row: usize,
    pub(crate) weight: f64,
}

/// A query with the items judged for it.
#[derive(Debug, Clone)]
pub(crate) struct JudgedQuery {
    pub(crate) row: usize,
    /// The same for the same vector, in every task.
    pub(crate) fingerprint: u64,
    pub(crate) relevant: Vec<JudgedItem>,
    pub(crate) irrelevant: Vec<JudgedItem>,
}

impl JudgedQuery {
    pub(crate) fn has_both_kinds(&self) -> bool {
        !self.relevant.is_empty() && !self.irrelevant.is_empty()
    }

    /// All judged items, the relevant ones first.
    pub(crate) fn items(&self) -> impl Iterator<Item = &JudgedItem> {
        self.relevant.iter().chain(&self.irrelevant)
    }
}

/// Two items judged to belong together or apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JudgedPair {
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) similar: bool,
    pub(crate) weight: f64,
    /// The same for the same two vectors, in every task.
    pub(crate) fingerprint: u64,
}

/// All judgements of a task. Rows are those of [`Examples::vectors`]; of equal vectors the first
/// row stands for all.
#[derive(Debug)]
pub(crate) struct Judgements<'a> {
    pub(crate) vectors: &'a Array2<f32>,
    pub(crate) queries: Vec<JudgedQuery>,
    pub(crate) pairs: Vec<JudgedPair>,
    /// For each row the first row of an equal vector.
    pub(crate) first_rows: Vec<usize>,
}

impl<'a> Judgements<'a> {
    /// The judgements of a task of dimension `dim`.
    ///
    /// # Errors
    /// [`LearnError::Numerical`] when a row is missing, a vector has the wrong length or is not
    /// finite, or a grade or a weight is out of range.
    pub(crate) fn new(dim: usize, examples: &'a Examples) -> Result<Self, LearnError> {
        check(dim, examples)?;
        let vectors = &examples.vectors;
        let of_row: Vec<u64> = vectors
            .rows()
            .into_iter()
            .map(fingerprints::of_vector)
            .collect();
        let rows = Rows {
            first: first_rows(vectors, &of_row),
            fingerprints: of_row,
        };
        Ok(Self {
            queries: queries(examples, &rows),
            pairs: pairs(examples, &rows),
            vectors,
            first_rows: rows.first,
        })
    }

    /// Numbers of (similar, dissimilar) pairs, graded judgements included.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let similar = self.pairs.iter().filter(|pair| pair.similar).count();
        let relevant: usize = self.queries.iter().map(|q| q.relevant.len()).sum();
        let irrelevant: usize = self.queries.iter().map(|q| q.irrelevant.len()).sum();
        (relevant + similar, irrelevant + self.pairs.len() - similar)
    }

    /// The difference `x - y` of two rows (`d` numbers), in f64.
    pub(crate) fn difference(&self, x: usize, y: usize) -> impl Iterator<Item = f64> {
        let rows = self.vectors.row(x).into_iter().zip(self.vectors.row(y));
        rows.map(|(a, b)| f64::from(*a) - f64::from(*b))
    }

    /// The fingerprints of all queries and pairs.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = u64> {
        self.queries
            .iter()
            .map(|q| q.fingerprint)
            .chain(self.pairs.iter().map(|p| p.fingerprint))
    }
}

/// The rows of a task's vectors.
struct Rows {
    fingerprints: Vec<u64>,
    first: Vec<usize>,
}

impl Rows {
    /// The key that the first row equal to a row is ordered by: its content, then its number.
    fn key(&self, row: usize) -> (u64, usize) {
        let first = self.first[row];
        (self.fingerprints[first], first)
    }
}

/// For each row the first row of an equal vector. Two different vectors of one fingerprint (not to
/// be expected) stay two.
fn first_rows(vectors: &Array2<f32>, fingerprints: &[u64]) -> Vec<usize> {
    let mut first = BTreeMap::new();
    for (row, fingerprint) in fingerprints.iter().enumerate() {
        first.entry(*fingerprint).or_insert(row);
    }
    let first_of = |(row, fingerprint): (usize, &u64)| {
        let first = first[fingerprint];
        if vectors.row(first) == vectors.row(row) {
            first
        } else {
            row
        }
    };
    fingerprints.iter().enumerate().map(first_of).collect()
}

/// The graded judgements merged by query and item, queries and items in the order of their keys.
fn queries(examples: &Examples, rows: &Rows) -> Vec<JudgedQuery> {
    let mut graded: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for g in &examples.graded {
        let (query, item) = (rows.key(g.query), rows.key(g.item));
        if query.1 != item.1 {
            let statement = f64::from(g.weight) * f64::from(g.grade);
            graded.entry((query, item)).or_default().push(statement);
        }
    }
    let mut queries: Vec<JudgedQuery> = Vec::new();
    for (((fingerprint, query), (_, row)), statements) in graded {
        if queries.last().is_none_or(|q| q.row != query) {
            queries.push(JudgedQuery {
                row: query,
                fingerprint,
                relevant: Vec::new(),
                irrelevant: Vec::new(),
            });
        }
        let sum = sum(statements);
        let judged = JudgedItem {
            row,
            weight: sum.abs(),
        };
        if let Some(query) = queries.last_mut() {
            match sum {
                s if s > 0.0 => query.relevant.push(judged),
                s if s < 0.0 => query.irrelevant.push(judged),
                _ => {}
            }
        }
    }
    queries.retain(|q| !q.relevant.is_empty() || !q.irrelevant.is_empty());
    queries
}

/// The judged pairs merged, in the order of their keys.
fn pairs(examples: &Examples, rows: &Rows) -> Vec<JudgedPair> {
    let mut paired: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for p in &examples.pairs {
        let (a, b) = (rows.key(p.a), rows.key(p.b));
        if a != b {
            let weight = f64::from(p.weight);
            let statement = if p.similar { weight } else { -weight };
            let statements = paired.entry((a.min(b), a.max(b))).or_default();
            statements.push(statement);
        }
    }
    paired
        .into_iter()
        .map(|(pair, statements)| (pair, sum(statements)))
        .filter(|(_, sum)| *sum != 0.0)
        .map(|(((of_a, a), (of_b, b)), sum)| JudgedPair {
            a,
            b,
            similar: sum > 0.0,
            weight: sum.abs(),
            fingerprint: splitmix(of_a ^ splitmix(of_b)),
        })
        .collect()
}

/// The sum, the same in whatever order the numbers come.
fn sum(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.into_iter().sum()
}

/// Refuses vectors of another dimension or with numbers that are not finite, rows that are missing,
/// and grades and weights out of range.
fn check(dim: usize, examples: &Examples) -> Result<(), LearnError> {
    let (rows, columns) = examples.vectors.dim();
    let refuse = |why: String| Err(LearnError::Numerical(why));
    if dim == 0 || (columns != dim && rows > 0) {
        return refuse(format!(
            "the judged vectors have {columns} numbers, the task has dimension {dim}"
        ));
    }
    if let Some(row) = examples
        .vectors
        .rows()
        .into_iter()
        .position(|r| r.iter().any(|v| !v.is_finite()))
    {
        return refuse(format!(
            "judged vector {row} has a number that is not finite"
        ));
    }
    for (i, g) in examples.graded.iter().enumerate() {
        if g.query >= rows || g.item >= rows {
            return refuse(format!(
                "judgement {i} names the rows {} and {}; there are {rows}",
                g.query, g.item
            ));
        }
        if !((-1.0..=1.0).contains(&g.grade) && g.weight > 0.0 && g.weight.is_finite()) {
            return refuse(format!(
                "judgement {i} has grade {} and weight {}",
                g.grade, g.weight
            ));
        }
    }
    for (i, p) in examples.pairs.iter().enumerate() {
        if p.a >= rows || p.b >= rows {
            return refuse(format!(
                "pair {i} names the rows {} and {}; there are {rows}",
                p.a, p.b
            ));
        }
        if !(p.weight > 0.0 && p.weight.is_finite()) {
            return refuse(format!("pair {i} has weight {}", p.weight));
        }
    }
    Ok(())
}
