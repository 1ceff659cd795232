//! The range of each number that its codes cover, and how many bits they need.

use rayon::prelude::*;

use super::{Codes, Width};
use crate::index::kernels::kernels;
use crate::index::rows::{Rows, unpack_into};
use crate::sum::sum;

/// Rows that are looked at.
const SAMPLE: usize = 1024;
/// Rows whose neighbours are looked for.
const QUERIES: usize = 32;
/// Neighbours that must be found among the first [`FOUND_AMONG`] by codes.
const NEAREST: usize = 10;
const FOUND_AMONG: usize = 20;
/// Share of them that must be.
const ENOUGH: f64 = 0.99;

/// How wide the codes of `rows` have to be: four bits, if the nearest of a sample are the nearest by such codes. Where numbers
/// fill few dimensions, many items lie nearer to each other than their steps.
pub(super) fn width_for(rows: &Rows) -> Width {
    // As many cache lines either way.
    if Width::Four.blocks(rows.dim()) == Width::Eight.blocks(rows.dim()) {
        return Width::Eight;
    }
    let sample = sample(rows);
    let found = found_by_codes(&sample);
    if found >= ENOUGH { Width::Four } else { Width::Eight }
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

/// The share of the nearest rows of some rows that are among the nearest by codes of four bits.
fn found_by_codes(sample: &Rows) -> f64 {
    let kernels = kernels();
    let codes = Codes::with(Width::Four, sample);
    let norms: Vec<f32> = (0..sample.len()).map(|i| (kernels.dot)(sample.row(i), sample.row(i))).collect();
    let queries: Vec<usize> = (0..sample.len()).step_by(sample.len().div_ceil(QUERIES).max(1)).collect();
    let nearest = |query: usize, dots: &[f32], count: usize| -> Vec<u32> {
        let mut order: Vec<(f32, u32)> = (0..sample.len() as u32)
            .filter(|id| *id as usize != query)
            .map(|id| (norms[id as usize] - 2.0 * dots[id as usize], id))
            .collect();
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        order.into_iter().take(count).map(|(_, id)| id).collect()
    };
    let ids: Vec<u32> = (0..sample.len() as u32).collect();
    let counts: Vec<(usize, usize)> = queries
        .par_iter()
        .map(|&query| {
            let row = sample.row(query);
            let exact: Vec<f32> = (0..sample.len()).map(|i| (kernels.dot)(row, sample.row(i))).collect();
            let (mut direction, mut coded) = (vec![0.0; sample.dim()], Vec::new());
            unpack_into(row, &mut direction);
            codes.query(&direction).dots(codes.rows(), &ids, &mut coded);
            let by_codes = nearest(query, &coded, FOUND_AMONG);
            let wanted = nearest(query, &exact, NEAREST);
            (wanted.iter().filter(|id| by_codes.contains(id)).count(), wanted.len())
        })
        .collect();
    let (found, wanted) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    if wanted == 0 { 1.0 } else { found as f64 / wanted as f64 }
}

/// The least value and the step of the codes of each number.
pub(super) fn ranges(width: Width, rows: &Rows) -> (Vec<f32>, Vec<f32>) {
    let (mut low, mut high) = extremes(rows);
    if width == Width::Four {
        narrow(&sample(rows), &mut low, &mut high);
    }
    let most = f32::from(width.most());
    let step = low.iter().zip(&high).map(|(low, high)| (high / most - low / most).max(0.0)).collect();
    (low, step)
}

/// Of few codes none should be spent on values that hardly occur: takes for each number the range, of some about its mean,
/// whose codes are nearest to the sample's values in the mean square. (For a normal distribution it is 2.7 standard deviations to
/// either side.)
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
    numbers.par_iter().zip(low).zip(high).for_each(|((numbers, low), high)| {
        let mean = sum(numbers, numbers, |x, _| x) / numbers.len().max(1) as f64;
        let deviation = (sum(numbers, numbers, |x, _| (x - mean).powi(2)) / numbers.len().max(1) as f64).sqrt();
        let error = |(low, high): (f32, f32)| {
            let step = high / most - low / most;
            let inverse = if step > 0.0 { step.recip() } else { 0.0 };
            let code = |x: f32| ((x - low) * inverse + 0.5).clamp(0.0, most) as i32 as f32;
            sum(numbers, numbers, |x, _| (f64::from(low + code(x as f32) * step) - x).powi(2))
        };
        let all = (*low, *high);
        let near = |c: f64| (all.0.max((mean - c * deviation) as f32), all.1.min((mean + c * deviation) as f32));
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
