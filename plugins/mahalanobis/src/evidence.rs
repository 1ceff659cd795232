//! Judgements made ready to learn from: checked, merged, and put in an order of their own.
//!
//! What is said of one (query, item) or of one pair is summed: `weight x grade`, positive for
//! together. So duplicates add up, contradictions cancel, and an item judged against itself says
//! nothing and is left out. Everything is then ordered by the *content* of the vectors, which makes
//! all that follows independent of the order in which judgements came, of row numbers, and of equal
//! vectors under two rows.

use std::collections::BTreeMap;

use affinis::{Examples, LearnError};
use ndarray::{Array2, ArrayView1};

/// An item and how much its judgement weighs, above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Judged {
    pub(crate) row: usize,
    pub(crate) weight: f64,
}

/// A query with the items judged for it.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) row: usize,
    /// The same for the same vector, in every task.
    pub(crate) fingerprint: u64,
    pub(crate) relevant: Vec<Judged>,
    pub(crate) irrelevant: Vec<Judged>,
}

impl Query {
    pub(crate) fn has_both_kinds(&self) -> bool {
        !self.relevant.is_empty() && !self.irrelevant.is_empty()
    }
}

/// Two items judged to belong together or apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) similar: bool,
    pub(crate) weight: f64,
    pub(crate) fingerprint: u64,
}

/// All judgements of a task.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) vectors: &'a Array2<f32>,
    pub(crate) queries: Vec<Query>,
    pub(crate) links: Vec<Link>,
}

impl<'a> Evidence<'a> {
    /// # Errors
    /// [`LearnError::Numerical`] when a row is missing, a vector has the wrong length or is not
    /// finite, or a grade or a weight is out of range.
    pub(crate) fn new(dim: usize, examples: &'a Examples) -> Result<Self, LearnError> {
        let vectors = &examples.vectors;
        check(dim, examples)?;
        let prints: Vec<u64> = vectors.rows().into_iter().map(fingerprint).collect();
        let mut rows = BTreeMap::new();
        for (row, print) in prints.iter().enumerate() {
            rows.entry(*print).or_insert(row);
        }
        // Equal vectors are one; two vectors of one fingerprint (not to be expected) stay two.
        let row_of = |row: usize| {
            let first = rows[&prints[row]];
            if vectors.row(first) == vectors.row(row) {
                first
            } else {
                row
            }
        };
        let key = |row: usize| (prints[row], row);

        let mut graded: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for g in &examples.graded {
            let (query, item) = (row_of(g.query), row_of(g.item));
            if query != item {
                graded
                    .entry((key(query), key(item)))
                    .or_default()
                    .push(f64::from(g.weight) * f64::from(g.grade));
            }
        }
        let mut queries: Vec<Query> = Vec::new();
        for (((print, query), (_, row)), said) in graded {
            let sum = sum(said);
            if queries.last().is_none_or(|q| q.row != query) {
                queries.push(Query {
                    row: query,
                    fingerprint: print,
                    relevant: Vec::new(),
                    irrelevant: Vec::new(),
                });
            }
            if let Some(q) = queries.last_mut() {
                let judged = Judged {
                    row,
                    weight: sum.abs(),
                };
                match sum {
                    s if s > 0.0 => q.relevant.push(judged),
                    s if s < 0.0 => q.irrelevant.push(judged),
                    _ => {}
                }
            }
        }
        queries.retain(|q| !q.relevant.is_empty() || !q.irrelevant.is_empty());

        let mut paired: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for p in &examples.pairs {
            let (a, b) = (key(row_of(p.a)), key(row_of(p.b)));
            if a != b {
                let weight = f64::from(p.weight);
                paired
                    .entry((a.min(b), a.max(b)))
                    .or_default()
                    .push(if p.similar { weight } else { -weight });
            }
        }
        let links = paired
            .into_iter()
            .map(|(pair, said)| (pair, sum(said)))
            .filter(|(_, sum)| *sum != 0.0)
            .map(|(((pa, a), (pb, b)), sum)| Link {
                a,
                b,
                similar: sum > 0.0,
                weight: sum.abs(),
                fingerprint: mix(pa ^ mix(pb)),
            })
            .collect();
        Ok(Self {
            vectors,
            queries,
            links,
        })
    }

    /// Numbers of (similar, dissimilar) pairs, graded judgements included.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let similar = self.links.iter().filter(|l| l.similar).count();
        let relevant: usize = self.queries.iter().map(|q| q.relevant.len()).sum();
        let irrelevant: usize = self.queries.iter().map(|q| q.irrelevant.len()).sum();
        (relevant + similar, irrelevant + self.links.len() - similar)
    }

    /// `x - y` in f64.
    pub(crate) fn difference(&self, x: usize, y: usize) -> impl Iterator<Item = f64> {
        let rows = self.vectors.row(x).into_iter().zip(self.vectors.row(y));
        rows.map(|(a, b)| f64::from(*a) - f64::from(*b))
    }

    /// What identifies all that was judged here in later tasks.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = u64> {
        self.queries
            .iter()
            .map(|q| q.fingerprint)
            .chain(self.links.iter().map(|l| l.fingerprint))
    }
}

/// The sum, the same in whatever order the numbers come.
fn sum(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.into_iter().sum()
}

fn check(dim: usize, examples: &Examples) -> Result<(), LearnError> {
    let (rows, columns) = examples.vectors.dim();
    let refuse = |why: String| Err(LearnError::Numerical(why));
    if dim == 0 || (columns != dim && rows > 0) {
        return refuse(format!(
            "the judged vectors have {columns} numbers, the task says {dim}"
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
                "judgement {i} speaks of rows {} and {}; there are {rows}",
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
                "pair {i} speaks of rows {} and {}; there are {rows}",
                p.a, p.b
            ));
        }
        if !(p.weight > 0.0 && p.weight.is_finite()) {
            return refuse(format!("pair {i} has weight {}", p.weight));
        }
    }
    Ok(())
}

/// A number that stands for a vector's content; both zeros are one.
pub(crate) fn fingerprint(vector: ArrayView1<'_, f32>) -> u64 {
    vector.iter().fold(vector.len() as u64, |hash, v| {
        mix(hash ^ u64::from((v + 0.0).to_bits()))
    })
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014): a bijection that scatters its input.
pub(crate) fn mix(v: u64) -> u64 {
    let v = v.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let v = (v ^ (v >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let v = (v ^ (v >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    v ^ (v >> 31)
}
