//! The range of each number that its codes cover, and whether four bits are enough.

use rayon::prelude::*;

use super::{CodedQuery, Codes, Width};
use crate::index::beam::Scored;
use crate::index::best::Best;
use crate::index::kernels::kernels;
use crate::index::rows::{Rows, unpack_into};
use crate::sum::sum;

/// Rows whose values ranges are chosen by.
const SAMPLE: usize = 1024;
/// Rows whose neighbours are looked for.
const QUERIES: usize = 32;
/// Neighbours that must be found among the first [`AMONG`] by codes, but for one in
/// [`MISSED_AT_MOST`]. Searches compute so many again.
const NEAREST: usize = 10;
const AMONG: usize = 50;
const MISSED_AT_MOST: usize = 100;

/// Whether codes of four bits tell enough: the nearest rows of some rows have to be among the
/// nearest by such codes. Where many items lie nearer to each other than a step, they are not.
pub(super) fn suffice(codes: &Codes, rows: &Rows) -> bool {
    const AT_ONCE: usize = 8;
    let norms: Vec<f32> = (0..rows.len()).map(|i| dot(rows, i, i)).collect();
    let queries: Vec<usize> = (0..rows.len())
        .step_by(rows.len().div_ceil(QUERIES).max(1))
        .collect();
    let (wanted, missed) = queries
        .par_chunks(AT_ONCE)
        .map(|queries| wanted_and_missed(codes, rows, &norms, queries))
        .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    missed * MISSED_AT_MOST <= wanted
}

fn dot(rows: &Rows, a: usize, b: usize) -> f32 {
    (kernels().dot)(rows.row(a), rows.row(b))
}

/// How many nearest rows some rows have, and how many of them are not among the nearest by codes.
fn wanted_and_missed(
    codes: &Codes,
    rows: &Rows,
    norms: &[f32],
    queries: &[usize],
) -> (usize, usize) {
    const STEP: usize = 1024;
    let mut searches: Vec<(usize, CodedQuery, Best, Best)> = queries
        .iter()
        .map(|&query| {
            let mut direction = vec![0.0; rows.dim()];
            unpack_into(rows.row(query), &mut direction);
            (
                query,
                codes.query(&direction),
                Best::new(NEAREST, rows.len()),
                Best::new(AMONG, rows.len()),
            )
        })
        .collect();
    let ids: Vec<u32> = (0..rows.len() as u32).collect();
    let mut distances = Vec::with_capacity(STEP);
    // Every block of rows meets all queries while it is in cache.
    for ids in ids.chunks(STEP) {
        for (query, coded, exact, by_codes) in &mut searches {
            // A row is none of its own neighbours.
            let distance = |id: u32, dot: f32| {
                if id as usize == *query {
                    f32::INFINITY
                } else {
                    norms[id as usize] - 2.0 * dot
                }
            };
            distances.clear();
            distances.extend(
                ids.iter()
                    .map(|&id| distance(id, dot(rows, *query, id as usize))),
            );
            exact.offer(ids, &distances, &|id| id);
            distances.clear();
            coded.dots(codes.rows(), ids, &mut distances);
            ids.iter()
                .zip(&mut distances)
                .for_each(|(&id, dot)| *dot = distance(id, *dot));
            by_codes.offer(ids, &distances, &|id| id);
        }
    }
    searches
        .into_iter()
        .fold((0, 0), |(wanted, missed), (_, _, exact, by_codes)| {
            let (exact, by_codes) = (exact.sorted(), by_codes.sorted());
            let is_missed = |row: &&Scored| by_codes.iter().all(|other| other.id != row.id);
            (
                wanted + exact.len(),
                missed + exact.iter().filter(is_missed).count(),
            )
        })
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

/// The least value and the step of the codes of each number.
pub(super) fn ranges(width: Width, rows: &Rows) -> (Vec<f32>, Vec<f32>) {
    let (mut low, mut high) = extremes(rows);
    if width == Width::Four {
        narrow(&sample(rows), &mut low, &mut high);
    }
    let most = f32::from(width.most());
    let step = low
        .iter()
        .zip(&high)
        .map(|(low, high)| (high / most - low / most).max(0.0))
        .collect();
    (low, step)
}

/// Of few codes none should be spent on values that hardly occur: takes for each number the range,
/// of some about its mean, whose codes are nearest to the sample's values in the mean square. (For
/// a normal distribution it is 2.7 standard deviations to either side.)
fn narrow(sample: &Rows, low: &mut [f32], high: &mut [f32]) {
    const DEVIATIONS: [f64; 5] = [1.7, 2.2, 2.7, 3.4, 4.5];
    let most = f32::from(Width::Four.most());
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
            let mean = sum(numbers, numbers, |x, _| x) / numbers.len().max(1) as f64;
            let deviation = (sum(numbers, numbers, |x, _| (x - mean).powi(2))
                / numbers.len().max(1) as f64)
                .sqrt();
            let error = |(low, high): (f32, f32)| {
                let step = high / most - low / most;
                let inverse = if step > 0.0 { step.recip() } else { 0.0 };
                let code = |x: f32| ((x - low) * inverse + 0.5).clamp(0.0, most) as i32 as f32;
                sum(numbers, numbers, |x, _| {
                    (f64::from(low + code(x as f32) * step) - x).powi(2)
                })
            };
            let all = (*low, *high);
            let near = |c: f64| {
                (
                    all.0.max((mean - c * deviation) as f32),
                    all.1.min((mean + c * deviation) as f32),
                )
            };
            let mut best = (error(all), all);
            for range in DEVIATIONS.map(near) {
                let error = error(range);
                if error < best.0 {
                    best = (error, range);
                }
            }
            (*low, *high) = best.1;
        });
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
