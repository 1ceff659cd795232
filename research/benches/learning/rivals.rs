//! What others would do with the same judgements. Each gives a map `L` of the vectors, or moves the
//! queries.

use std::collections::BTreeMap;

use affinis::plugin::Examples;
use affinis_mahalanobis::spd::{self, GeneralizedEigen};
use ndarray::{Array1, Array2, Axis, s};

use crate::feedback::Trial;
use affinis_testkit::Random;
use affinis_testkit::simulation::nearest;

/// A name, and the gain in P@10 x 1000 of what it makes of a trial.
type Rival = (&'static str, fn(&Trial<'_>) -> f64);

/// Rivals, in the order of the tables.
pub(crate) const ALL: [Rival; 6] = [
    ("plain GMML", plain_gmml),
    ("InfoNCE from the identity", info_nce),
    ("ITML", itml),
    ("RCA", rca),
    ("Rocchio", rocchio),
    ("Procrustes adapter", procrustes),
];

/// Relevant and irrelevant rows of each judged query.
fn by_query(examples: &Examples) -> BTreeMap<usize, (Vec<usize>, Vec<usize>)> {
    let mut queries = BTreeMap::<usize, (Vec<usize>, Vec<usize>)>::new();
    for g in &examples.graded {
        let (relevant, irrelevant) = queries.entry(g.query).or_default();
        if g.grade > 0.0 {
            relevant.push(g.item);
        } else {
            irrelevant.push(g.item);
        }
    }
    queries
}

/// `sum zz'` over pairs of rows.
fn scatter(vectors: &Array2<f32>, pairs: impl Iterator<Item = (usize, usize)>) -> Array2<f64> {
    let d = vectors.ncols();
    let mut differences = Vec::new();
    for (a, b) in pairs {
        differences.extend((&vectors.row(a) - &vectors.row(b)).mapv(f64::from));
    }
    match Array2::from_shape_vec((differences.len() / d, d), differences) {
        Ok(z) => z.t().dot(&z),
        Err(_) => Array2::zeros((d, d)),
    }
}

/// Gain in P@10 x 1000 of the map `x -> L x`.
fn gain(trial: &Trial<'_>, map: &Array2<f64>) -> f64 {
    let images = trial.corpus.vectors.dot(&map.t().mapv(|v| v as f32));
    precision_gain(trial, &nearest(&images, &images, &trial.unseen, 10))
}

fn precision_gain(trial: &Trial<'_>, ranked: &[Vec<usize>]) -> f64 {
    let same = |(near, q): (&Vec<usize>, &usize)| {
        near.iter()
            .filter(|i| trial.corpus.same_label(**i, *q))
            .count()
    };
    let hits: usize = ranked.iter().zip(&trial.unseen).map(same).sum();
    1e3 * (hits as f64 / (10 * trial.unseen.len()) as f64 - trial.before)
}

/// GMML as published: plain pairs, the prior `I` with lambda .1, t = .5 (Zadeh, Hosseini and Sra,
/// 2016).
fn plain_gmml(trial: &Trial<'_>) -> f64 {
    let vectors = &trial.corpus.vectors;
    let pairs = |similar: bool| {
        let graded = trial
            .examples
            .graded
            .iter()
            .filter(move |g| (g.grade > 0.0) == similar);
        let of = graded.map(|g| (g.query, g.item));
        let paired = trial
            .examples
            .pairs
            .iter()
            .filter(move |p| p.similar == similar)
            .map(|p| (p.a, p.b));
        let mut m = scatter(vectors, of.chain(paired));
        let trace = m.diag().sum();
        if trace > 0.0 {
            m *= m.nrows() as f64 / trace;
        }
        m.diag_mut().iter_mut().for_each(|v| *v += 0.1);
        m
    };
    match GeneralizedEigen::of_scatters(pairs(true).view(), pairs(false).view()) {
        Ok(geodesic) => gain(trial, &geodesic.factor(0.5)),
        Err(_) => 0.0,
    }
}

/// Relevant component analysis (Bar-Hillel et al., 2005): whitening within chunklets, ridged by a
/// tenth.
fn rca(trial: &Trial<'_>) -> f64 {
    let vectors = &trial.corpus.vectors;
    let d = vectors.ncols();
    let mut rows = Vec::new();
    for (query, (relevant, _)) in by_query(&trial.examples)
        .into_iter()
        .filter(|(_, (r, _))| !r.is_empty())
    {
        let members: Vec<usize> = relevant.into_iter().chain([query]).collect();
        let chunklet = vectors.select(Axis(0), &members).mapv(f64::from);
        let mean = chunklet.sum_axis(Axis(0)) / members.len() as f64;
        rows.extend(chunklet - &mean);
    }
    let Ok(z) = Array2::from_shape_vec((rows.len() / d, d), rows) else {
        return 0.0;
    };
    let mut within = z.t().dot(&z);
    let mean = within.diag().sum() / d as f64;
    within
        .diag_mut()
        .iter_mut()
        .for_each(|v| *v += 0.1 * mean.max(f64::MIN_POSITIVE));
    // A = within^-1 is the point at 0 of the geodesic from it to anything.
    match GeneralizedEigen::of_scatters(within.view(), Array2::eye(d).view()) {
        Ok(geodesic) => gain(trial, &geodesic.factor(0.0)),
        Err(_) => 0.0,
    }
}

/// Rocchio (1971): an unseen query is moved as the nearest judged one would be, by .75 of the mean
/// of its relevant and -.15 of that of its irrelevant results.
fn rocchio(trial: &Trial<'_>) -> f64 {
    let vectors = &trial.corpus.vectors;
    let judged = by_query(&trial.examples);
    let queries: Vec<usize> = judged.keys().copied().collect();
    if queries.is_empty() {
        return 0.0;
    }
    let known = vectors.select(Axis(0), &queries);
    let mean = |rows: &[usize]| -> Array1<f32> {
        let n = rows.len().max(1) as f32;
        vectors.select(Axis(0), rows).sum_axis(Axis(0)) / n
    };
    let mut moved = vectors.clone();
    for query in &trial.unseen {
        let products = known.dot(&vectors.row(*query));
        let best = products
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0, |(i, _)| i);
        let (relevant, irrelevant) = &judged[&queries[best]];
        let by = mean(relevant) * 0.75 - mean(irrelevant) * 0.15;
        let mut row = moved.row_mut(*query);
        row += &by;
    }
    precision_gain(trial, &nearest(vectors, &moved, &trial.unseen, 10))
}

/// The orthogonal map that brings queries nearest to their relevant results (Schoenemann, 1966), as
/// adapters of query vectors are fitted: the polar factor of `sum p q'` over unit vectors, ridged
/// by a tenth of its mean diagonal.
fn procrustes(trial: &Trial<'_>) -> f64 {
    let mut unit = trial.corpus.vectors.mapv(f64::from);
    unit.rows_mut()
        .into_iter()
        .for_each(|mut r| r /= r.dot(&r).sqrt().max(1e-12));
    let (mut queries, mut results) = (Vec::new(), Vec::new());
    for (query, (relevant, _)) in by_query(&trial.examples) {
        queries.extend(std::iter::repeat_n(query, relevant.len()));
        results.extend(relevant);
    }
    let mut cross = unit
        .select(Axis(0), &results)
        .t()
        .dot(&unit.select(Axis(0), &queries));
    let ridge = (0.1 * cross.diag().mean().unwrap_or(0.0)).max(1e-9);
    cross.diag_mut().iter_mut().for_each(|v| *v += ridge);
    // `M (M'M)^(-1/2)`.
    let Ok((values, vectors)) = spd::eigen(cross.t().dot(&cross).view()) else {
        return 0.0;
    };
    let roots = Array1::from_iter(values.iter().map(|v| v.max(1e-18).sqrt().recip()));
    let map = cross.dot(&(&vectors.t() * &roots)).dot(&vectors);
    let mut moved = trial.corpus.vectors.clone();
    for query in &trial.unseen {
        moved.row_mut(*query).assign(
            &map.dot(&trial.corpus.vectors.row(*query).mapv(f64::from))
                .mapv(|v| v as f32),
        );
    }
    precision_gain(
        trial,
        &nearest(&trial.corpus.vectors, &moved, &trial.unseen, 10),
    )
}

/// Information-theoretic metric learning (Davis et al., 2007) from the identity with slack 1:
/// judged pairs below the 5th and above the 95th percentile of the distances of random pairs, five
/// passes.
fn itml(trial: &Trial<'_>) -> f64 {
    let vectors = &trial.corpus.vectors;
    let mut random = Random(trial.seed);
    let difference = |a: usize, b: usize| (&vectors.row(a) - &vectors.row(b)).mapv(f64::from);
    let mut distances: Vec<f64> = (0..2_000)
        .map(|_| difference(random.below(vectors.nrows()), random.below(vectors.nrows())))
        .map(|z| z.dot(&z))
        .collect();
    distances.sort_by(f64::total_cmp);
    let (near, far) = (distances[100].max(1e-9), distances[1_899].max(1e-9));
    let mut a = Array2::<f64>::eye(vectors.ncols());
    // Each constraint with its multiplier and its bound.
    let mut constraints: Vec<_> = trial
        .examples
        .graded
        .iter()
        .map(|g| (g, 0.0_f64, if g.grade > 0.0 { near } else { far }))
        .collect();
    for _ in 0..5 {
        for (judged, multiplier, bound) in &mut constraints {
            let z = difference(judged.query, judged.item);
            let az = a.dot(&z);
            let distance = z.dot(&az);
            if distance <= 1e-12 {
                continue;
            }
            let sign = if judged.grade > 0.0 { 1.0 } else { -1.0 };
            let alpha = multiplier.min(0.5 * sign * (distance.recip() - bound.recip()));
            *multiplier -= alpha;
            *bound = (bound.recip() + sign * alpha).recip();
            let beta = sign * alpha / (1.0 - sign * alpha * distance);
            let scaled = &az * beta;
            a.rows_mut()
                .into_iter()
                .zip(&az)
                .for_each(|(mut row, v)| row.scaled_add(*v, &scaled));
        }
    }
    spd::cholesky(a.view()).map_or(0.0, |factor| gain(trial, &factor))
}

/// `InfoNCE` over full matrices from the identity: temperature .3, 100 steps of Adam at 5e-4, 64
/// queries a step, each with a relevant result, its irrelevant ones and the other queries' relevant
/// ones.
fn info_nce(trial: &Trial<'_>) -> f64 {
    let (temperature, rate, steps, size) = (0.3_f32, 5e-4_f32, 100, 64);
    let vectors = &trial.corpus.vectors;
    let judged: Vec<_> = by_query(&trial.examples)
        .into_iter()
        .filter(|(_, (r, _))| !r.is_empty())
        .collect();
    if judged.is_empty() {
        return 0.0;
    }
    let d = vectors.ncols();
    let mut random = Random(trial.seed);
    let mut map = Array2::<f32>::eye(d);
    let (mut first, mut second) = (Array2::<f32>::zeros((d, d)), Array2::<f32>::zeros((d, d)));
    for step in 1..=steps {
        let chosen = random.choose(judged.len(), size.min(judged.len()));
        let n = chosen.len();
        let mut rows: Vec<usize> = chosen.iter().map(|i| judged[*i].0).collect();
        rows.extend(
            chosen
                .iter()
                .map(|i| judged[*i].1.0[random.below(judged[*i].1.0.len())]),
        );
        let mut owner: Vec<Option<usize>> = vec![None; n];
        for (at, i) in chosen.iter().enumerate() {
            rows.extend(&judged[*i].1.1);
            owner.extend(judged[*i].1.1.iter().map(|_| Some(at)));
        }
        let x = vectors.select(Axis(0), &rows);
        let mut z = x.dot(&map.t());
        let norms: Vec<f32> = z
            .rows()
            .into_iter()
            .map(|r| r.dot(&r).sqrt().max(1e-12))
            .collect();
        z.rows_mut()
            .into_iter()
            .zip(&norms)
            .for_each(|(mut r, n)| r /= *n);
        let (queries, others) = (z.slice(s![..n, ..]), z.slice(s![n.., ..]));
        let mut slopes = queries.dot(&others.t());
        for (at, mut row) in slopes.rows_mut().into_iter().enumerate() {
            for (value, owner) in row.iter_mut().zip(&owner) {
                *value = if owner.is_none_or(|o| o == at) {
                    (*value / temperature).exp()
                } else {
                    0.0
                };
            }
            let total = row.sum();
            row /= total * temperature * n as f32;
            row[at] -= 1.0 / (temperature * n as f32);
        }
        let mut gradient = Array2::zeros(z.raw_dim());
        gradient.slice_mut(s![..n, ..]).assign(&slopes.dot(&others));
        gradient
            .slice_mut(s![n.., ..])
            .assign(&slopes.t().dot(&queries));
        for ((mut g, u), norm) in gradient.rows_mut().into_iter().zip(z.rows()).zip(&norms) {
            let along = g.dot(&u);
            g.zip_mut_with(&u, |g, u| *g = (*g - along * u) / norm);
        }
        let gradient = gradient.t().dot(&x);
        let scale = (1.0 - 0.999_f32.powi(step)).sqrt() / (1.0 - 0.9_f32.powi(step));
        ndarray::Zip::from(&mut map)
            .and(&mut first)
            .and(&mut second)
            .and(&gradient)
            .for_each(|m, f, s, g| {
                *f = 0.9 * *f + 0.1 * g;
                *s = 0.999 * *s + 0.001 * g * g;
                *m -= rate * scale * *f / (s.sqrt() + 1e-8);
            });
    }
    // Ranked as it was trained: by cosines of the images.
    let mut images = vectors.dot(&map.t());
    images.rows_mut().into_iter().for_each(|mut row| {
        let length = row.dot(&row).sqrt().max(1e-12);
        row /= length;
    });
    precision_gain(trial, &nearest(&images, &images, &trial.unseen, 10))
}

/// Whitening within every label: `A = W^-1` of the scatter within labels, which is RCA with all
/// labels at once.
pub(crate) fn all_labels(trial: &Trial<'_>) -> f64 {
    let corpus = trial.corpus;
    let mut members = BTreeMap::<&str, Vec<usize>>::new();
    for (i, label) in corpus.labels.iter().enumerate() {
        members.entry(label).or_default().push(i);
    }
    let d = corpus.vectors.ncols();
    let mut within = Array2::<f64>::zeros((d, d));
    for rows in members.values() {
        let mut x = corpus.vectors.select(Axis(0), rows).mapv(f64::from);
        let mean = x.sum_axis(Axis(0)) / rows.len() as f64;
        x -= &mean;
        within += &x.t().dot(&x);
    }
    let mean = within.diag().sum() / d as f64;
    within.diag_mut().iter_mut().for_each(|v| *v += 0.1 * mean);
    match GeneralizedEigen::of_scatters(within.view(), Array2::eye(d).view()) {
        Ok(geodesic) => gain(trial, &geodesic.factor(0.0)),
        Err(_) => 0.0,
    }
}
