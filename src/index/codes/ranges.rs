//! The range of each number that its codes cover, and whether four bits are enough.

use rayon::prelude::*;

use super::{CodedQuery, Codes, Width};
use crate::index::kernels::kernels;
use crate::index::rows::{Rows, unpack_into};
use crate::sum::sum;

/// Rows whose values ranges are chosen by.
const SAMPLE: usize = 1024;
/// Rows whose neighbours are looked for.
const QUERIES: usize = 32;
/// Neighbours that must be found among the first [`AMONG`] by codes, but for one in [`MISSED_AT_MOST`]. Searches compute so many
/// again.
const NEAREST: usize = 10;
const AMONG: usize = 50;
const MISSED_AT_MOST: usize = 100;

/// Whether codes of four bits tell enough: the nearest rows of some rows have to be among the nearest by such codes. Where
/// many items lie nearer to each other than a step, they are not.
pub(super) fn suffice(codes: &Codes, rows: &Rows) -> bool {
    const STEP: usize = 1024;
    let kernels = kernels();
    let dot = |a: usize, b: usize| (kernels.dot)(rows.row(a), rows.row(b));
    let queries: Vec<(u32, CodedQuery)> = (0..rows.len())
        .step_by(rows.len().div_ceil(QUERIES).max(1))
        .map(|query| {
            let mut direction = vec![0.0; rows.dim()];
            unpack_into(rows.row(query), &mut direction);
            (query as u32, codes.query(&direction))
        })
        .collect();
    let starts: Vec<u32> = (0..rows.len() as u32).step_by(STEP).collect();
    // Every block of rows meets all queries while it is in cache.
    let of_block = |from: u32| -> Vec<[Nearest; 2]> {
        let ids: Vec<u32> = (from..rows.len().min(from as usize + STEP) as u32).collect();
        let norms: Vec<f32> = ids.iter().map(|id| dot(*id as usize, *id as usize)).collect();
        let mut dots = Vec::with_capacity(ids.len());
        let mut each = |(query, coded): &(u32, CodedQuery)| {
            let nearest = |dots: &[f32], most: usize| {
                let others = ids.iter().zip(&norms).zip(dots).filter(|((id, _), _)| *id != query);
                Nearest::of(others.map(|((id, norm), dot)| (norm - 2.0 * dot, *id)).collect(), most)
            };
            dots.clear();
            dots.extend(ids.iter().map(|id| dot(*query as usize, *id as usize)));
            let exact = nearest(&dots, NEAREST);
            dots.clear();
            coded.dots(codes.rows(), &ids, &mut dots);
            [exact, nearest(&dots, AMONG)]
        };
        queries.iter().map(&mut each).collect()
    };
    let none = || queries.iter().map(|_| [Nearest::default(), Nearest::default()]).collect();
    let both = |a: Vec<[Nearest; 2]>, b: Vec<[Nearest; 2]>| {
        a.into_iter().zip(b).map(|([a, by_a], [b, by_b])| [a.and(b, NEAREST), by_a.and(by_b, AMONG)]).collect()
    };
    let found: Vec<[Nearest; 2]> = starts.into_par_iter().map(of_block).reduce(none, both);
    let wanted = found.iter().map(|[exact, _]| exact.0.len()).sum::<usize>();
    let missed = found.iter().map(|[exact, by_codes]| exact.without(by_codes)).sum::<usize>();
    missed * MISSED_AT_MOST <= wanted
}

/// The nearest items, with their distances, in no order.
#[derive(Debug, Default)]
struct Nearest(Vec<(f32, u32)>);

impl Nearest {
    /// The nearest `most`.
    fn of(mut all: Vec<(f32, u32)>, most: usize) -> Self {
        if all.len() > most {
            all.select_nth_unstable_by(most, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            all.truncate(most);
        }
        Self(all)
    }

    fn and(mut self, other: Self, most: usize) -> Self {
        self.0.extend(other.0);
        Self::of(self.0, most)
    }

    /// How many are not among others.
    fn without(&self, others: &Self) -> usize {
        self.0.iter().filter(|(_, id)| others.0.iter().all(|(_, other)| other != id)).count()
    }
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
