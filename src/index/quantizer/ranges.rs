//! Fits the range of each number that codes cover, and tells whether four bits are enough.

use rayon::prelude::*;

use super::{CodedQuery, Codes};
use crate::index::kernels::kernels;
use crate::index::layout::codes::CodeBits;
use crate::index::layout::rows::{Rows, unpack_into};
use crate::index::nearest::{Best, Scored};
use crate::sum::sum;

/// Most rows that ranges are fitted to.
const SAMPLE: usize = 1024;
/// Rows whose neighbours are compared to judge four-bit codes.
const QUERIES: usize = 32;
/// Queries that are compared together, so that each block of rows is read once for all of them.
const QUERIES_AT_ONCE: usize = 8;
/// Rows that meet all queries while they are in cache.
const ROWS_AT_ONCE: usize = 1024;
/// Exact neighbours of each query.
const NEAREST: usize = 10;
/// The neighbours must be among this many by codes; searches compute as many again.
const AMONG: usize = 50;
/// One in so many neighbours may be missed.
const MISSED_AT_MOST: usize = 100;
/// Half widths of the ranges that are tried for four-bit codes, in standard deviations about the
/// mean. (For a normal distribution 2.7 is best.)
const DEVIATIONS: [f64; 5] = [1.7, 2.2, 2.7, 3.4, 4.5];

/// Whether the nearest rows of a sample of rows are among the nearest by these codes. Where many
/// items lie nearer to each other than a step, they are not.
pub(super) fn preserve_neighbours(codes: &Codes, rows: &Rows) -> bool {
    let norms: Vec<f32> = (0..rows.len()).map(|i| dot(rows, i, i)).collect();
    let queries: Vec<usize> = (0..rows.len())
        .step_by(rows.len().div_ceil(QUERIES).max(1))
        .collect();
    let total = queries
        .par_chunks(QUERIES_AT_ONCE)
        .map(|queries| compare_neighbours(codes, rows, &norms, queries))
        .reduce(Comparison::default, Comparison::plus);
    total.missed * MISSED_AT_MOST <= total.neighbours
}

fn dot(rows: &Rows, a: usize, b: usize) -> f32 {
    (kernels().dot)(rows.row(a), rows.row(b))
}

/// How many exact neighbours were looked for, and how many of them codes miss.
#[derive(Clone, Copy, Default)]
struct Comparison {
    neighbours: usize,
    missed: usize,
}

impl Comparison {
    fn plus(self, other: Self) -> Self {
        Self {
            neighbours: self.neighbours + other.neighbours,
            missed: self.missed + other.missed,
        }
    }
}

/// One row's search for its neighbours, exactly and by codes.
struct NeighbourSearch {
    row: usize,
    coded: CodedQuery,
    exact: Best,
    by_codes: Best,
}

impl NeighbourSearch {
    fn new(codes: &Codes, rows: &Rows, row: usize) -> Self {
        let mut direction = vec![0.0; rows.dim()];
        unpack_into(rows.row(row), &mut direction);
        Self {
            row,
            coded: codes.query(&direction),
            exact: Best::new(NEAREST, rows.len()),
            by_codes: Best::new(AMONG, rows.len()),
        }
    }

    fn compare(self) -> Comparison {
        let (exact, by_codes) = (self.exact.sorted(), self.by_codes.sorted());
        let is_missed = |row: &&Scored| by_codes.iter().all(|other| other.id != row.id);
        Comparison {
            neighbours: exact.len(),
            missed: exact.iter().filter(is_missed).count(),
        }
    }
}

/// Compares the neighbours of some rows; `norms` are the squared norms of all rows.
fn compare_neighbours(codes: &Codes, rows: &Rows, norms: &[f32], queries: &[usize]) -> Comparison {
    let mut searches: Vec<NeighbourSearch> = queries
        .iter()
        .map(|&row| NeighbourSearch::new(codes, rows, row))
        .collect();
    let ids: Vec<u32> = (0..rows.len() as u32).collect();
    let mut distances = Vec::with_capacity(ROWS_AT_ONCE);
    for ids in ids.chunks(ROWS_AT_ONCE) {
        for search in &mut searches {
            let query = search.row;
            // A row is not its own neighbour.
            let distance = |id: u32, dot: f32| {
                if id as usize == query {
                    f32::INFINITY
                } else {
                    norms[id as usize] - 2.0 * dot
                }
            };
            distances.clear();
            distances.extend(
                ids.iter()
                    .map(|&id| distance(id, dot(rows, query, id as usize))),
            );
            search.exact.offer(ids, &distances, &|id| id);
            distances.clear();
            search.coded.dots(codes.rows(), ids, &mut distances);
            ids.iter()
                .zip(&mut distances)
                .for_each(|(&id, dot)| *dot = distance(id, *dot));
            search.by_codes.offer(ids, &distances, &|id| id);
        }
    }
    searches
        .into_iter()
        .map(NeighbourSearch::compare)
        .fold(Comparison::default(), Comparison::plus)
}

/// At most [`SAMPLE`] rows, evenly spread.
fn sample(rows: &Rows) -> Rows {
    let stride = rows.len().div_ceil(SAMPLE).max(1);
    let mut sample = Rows::zeros(rows.dim(), rows.len().div_ceil(stride));
    for i in 0..sample.len() {
        sample.row_mut(i).copy_from_slice(rows.row(i * stride));
    }
    sample
}

/// The least value and the step of the codes of each of `dim` numbers.
pub(super) fn fit(bits: CodeBits, rows: &Rows) -> (Vec<f32>, Vec<f32>) {
    let (mut low, mut high) = extremes(rows);
    if bits == CodeBits::Four {
        narrow(&sample(rows), &mut low, &mut high);
    }
    let max_code = f32::from(bits.max_code());
    let step = low
        .iter()
        .zip(&high)
        .map(|(low, high)| (high / max_code - low / max_code).max(0.0))
        .collect();
    (low, step)
}

/// Narrows the range of each number to the one with the least mean squared error over the sample:
/// few codes should not be spent on values that hardly occur.
fn narrow(sample: &Rows, low: &mut [f32], high: &mut [f32]) {
    let mut numbers = vec![vec![0.0f32; sample.len()]; sample.dim()];
    let mut row = vec![0.0; sample.dim()];
    for i in 0..sample.len() {
        unpack_into(sample.row(i), &mut row);
        for (numbers, x) in numbers.iter_mut().zip(&row) {
            numbers[i] = *x;
        }
    }
    numbers
        .par_iter()
        .zip(low)
        .zip(high)
        .for_each(|((numbers, low), high)| {
            let best = best_range(numbers, Range::new(*low, *high));
            (*low, *high) = (best.low, best.high);
        });
}

/// The range of numbers that codes cover.
#[derive(Clone, Copy)]
struct Range {
    low: f32,
    high: f32,
}

impl Range {
    fn new(low: f32, high: f32) -> Self {
        Self { low, high }
    }

    /// The sum of squared differences between numbers and their four-bit codes in this range.
    fn squared_error(self, numbers: &[f32]) -> f64 {
        let max_code = f32::from(CodeBits::Four.max_code());
        let step = self.high / max_code - self.low / max_code;
        let inverse = if step > 0.0 { step.recip() } else { 0.0 };
        let code = |x: f32| ((x - self.low) * inverse + 0.5).clamp(0.0, max_code) as i32 as f32;
        sum(numbers, numbers, |x, _| {
            (f64::from(self.low + code(x as f32) * step) - x).powi(2)
        })
    }
}

/// The range within `all`, which covers every number, whose codes have the least error.
fn best_range(numbers: &[f32], all: Range) -> Range {
    let count = numbers.len().max(1) as f64;
    let mean = sum(numbers, numbers, |x, _| x) / count;
    let deviation = (sum(numbers, numbers, |x, _| (x - mean).powi(2)) / count).sqrt();
    let mut best = (all.squared_error(numbers), all);
    for deviations in DEVIATIONS {
        let range = Range::new(
            all.low.max((mean - deviations * deviation) as f32),
            all.high.min((mean + deviations * deviation) as f32),
        );
        let error = range.squared_error(numbers);
        if error < best.0 {
            best = (error, range);
        }
    }
    best.1
}

/// The least and greatest value of each number; zero to zero where there are no rows.
fn extremes(rows: &Rows) -> (Vec<f32>, Vec<f32>) {
    let dim = rows.dim();
    if rows.len() == 0 {
        return (vec![0.0; dim], vec![0.0; dim]);
    }
    let none = || (vec![f32::INFINITY; dim], vec![f32::NEG_INFINITY; dim]);
    let wider = |mut a: (Vec<f32>, Vec<f32>), b: (Vec<f32>, Vec<f32>)| {
        a.0.iter_mut().zip(b.0).for_each(|(a, b)| *a = a.min(b));
        a.1.iter_mut().zip(b.1).for_each(|(a, b)| *a = a.max(b));
        a
    };
    (0..rows.len())
        .into_par_iter()
        .with_min_len(1024)
        .fold(none, |(mut low, mut high), i| {
            let numbers = rows.row(i).iter().flat_map(|block| &block.0);
            for ((low, high), x) in low.iter_mut().zip(&mut high).zip(numbers) {
                *low = low.min(*x);
                *high = high.max(*x);
            }
            (low, high)
        })
        .reduce(none, wider)
}
