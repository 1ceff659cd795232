mod simulation;

use affinis::{Examples, Gate, Graded, MetricLearner, Task};
use affinis_mahalanobis::Mahalanobis;
use simulation::{Corpus, Random, compact, corpus};

fn z(gate: &Gate) -> f64 {
    match (gate.before, gate.after, gate.lower_bound) {
        (Some(b), Some(a), Some(l)) => {
            let gain = a - b;
            gain / ((gain - l) / 1.64)
        }
        _ => f64::NAN,
    }
}

fn t(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, mean / (var / n).sqrt())
}

fn one(
    corpus: &Corpus,
    judged: usize,
    budget: usize,
    seed: u64,
    mut shown: impl FnMut(usize, usize) -> bool,
    mut asked: impl FnMut(usize, usize) -> bool,
) {
    let (queries, unseen) = corpus.queries(judged, 1000, &mut Random(seed));
    let examples = corpus.judged(None, &queries, &mut shown);
    let first = corpus.fit(&examples, None, seed);
    let small = compact(&examples);
    let held = Mahalanobis::default()
        .held_out(&Task {
            dim: 384,
            learner: None,
            seed,
            examples: &small,
            incumbent: None,
            sample: &corpus.sample,
            cancel: &|| false,
        })
        .unwrap()
        .unwrap();
    let mut used: Vec<usize> = examples.graded.iter().flat_map(|g| [g.query, g.item]).collect();
    used.sort_unstable();
    used.dedup();
    let mut graded = examples.graded.clone();
    let (mut gains, mut asks, mut all_gains, mut single) = (vec![], 0, vec![], vec![]);
    let euclid = corpus.ranked(None, &queries, 10);
    for (f, metric) in held.metrics.iter().enumerate() {
        let images = metric.embed(corpus.vectors.view());
        let mine: Vec<usize> = (0..queries.len())
            .filter(|i| {
                let row = used.binary_search(&queries[*i]).unwrap();
                held.queries.iter().any(|(r, g)| *g == f && small.vectors.row(*r) == small.vectors.row(row))
            })
            .collect();
        let rows: Vec<usize> = mine.iter().map(|i| queries[*i]).collect();
        for (near, i) in simulation::nearest(&images, &images, &rows, 10).into_iter().zip(&mine) {
            let q = queries[*i];
            let new: Vec<usize> = near.iter().copied().filter(|x| !euclid[*i].contains(x)).collect();
            let old: Vec<usize> = euclid[*i].iter().copied().filter(|x| !near.contains(x)).collect();
            let truth = new.iter().filter(|x| corpus.same_label(q, **x)).count() as f64
                - old.iter().filter(|x| corpus.same_label(q, **x)).count() as f64;
            all_gains.push(truth / 10.0);
            if asks >= budget {
                continue;
            }
            let lost = old
                .iter()
                .filter(|x| examples.graded.iter().any(|g| g.query == q && g.item == **x && g.grade > 0.0))
                .count() as f64;
            let sample: Vec<usize> = new.iter().copied().take(5).collect();
            asks += sample.len();
            let mut won = 0.0;
            for x in &sample {
                let r = asked(q, *x);
                won += f64::from(u8::from(r));
                single.push(f64::from(u8::from(r)) - lost / old.len().max(1) as f64);
                graded.push(Graded { query: q, item: *x, grade: if r { 1.0 } else { -1.0 }, weight: 1.0 });
            }
            gains.push((won * new.len() as f64 / sample.len().max(1) as f64 - lost) / 10.0);
        }
    }
    let all = Examples { graded, ..examples };
    let second = corpus.fit(&all, None, seed);
    let before = corpus.precision(None, &unseen);
    let (g1, g2) = (
        corpus.precision(Some(&*first.metric), &unseen) - before,
        corpus.precision(Some(&*second.metric), &unseen) - before,
    );
    let (mean, z2) = t(&gains);
    eprintln!(
        "{} judged {judged} seed {seed}: z1 {:+.2} z1' {:+.2} asks {asks} on {} list {:+.1} z2 {z2:+.2} single {:+.2} true {:+.1} gains {:+.1} {:+.1}",
        corpus.name,
        z(&first.report.gate),
        z(&second.report.gate),
        gains.len(),
        mean * 1e3,
        t(&single).1,
        t(&all_gains).0 * 1e3,
        g1 * 1e3,
        g2 * 1e3
    );
}

fn rank_of(order: &[usize], item: usize) -> usize {
    order.iter().position(|x| *x == item).unwrap_or(order.len())
}

fn pool(corpus: &Corpus, seed: u64, kind: usize, budget: usize) {
    let (queries, unseen) = corpus.queries(10, 1000, &mut Random(seed));
    let mut coin = Random(seed + 77);
    let same = |q: usize, i: usize| corpus.same_label(q, i);
    let examples = corpus.judged(None, &queries, |q, i| match kind {
        0 => same(q, i),
        1 => coin.next() & 1 == 1,
        _ => !same(q, i),
    });
    let fitted = corpus.fit(&examples, None, seed);
    let gain = corpus.precision(Some(&*fitted.metric), &unseen) - corpus.precision(None, &unseen);
    let pool = &unseen[..300];
    let depth = 100;
    let images = fitted.metric.embed(corpus.vectors.view());
    let e = simulation::nearest(&corpus.vectors, &corpus.vectors, pool, depth);
    let c = simulation::nearest(&images, &images, pool, depth);
    let mut line = String::new();
    // one pair a query: largest gaps
    for (name, each) in [("1+1", 1), ("2+2", 2), ("rand1+1", 1)] {
        let mut all: Vec<(f64, usize, Vec<usize>, Vec<usize>)> = vec![];
        for (i, q) in pool.iter().enumerate() {
            let mut new: Vec<(usize, usize)> =
                c[i][..10].iter().filter(|x| !e[i][..10].contains(x)).map(|x| (rank_of(&e[i], *x), *x)).collect();
            let mut old: Vec<(usize, usize)> =
                e[i][..10].iter().filter(|x| !c[i][..10].contains(x)).map(|x| (rank_of(&c[i], *x), *x)).collect();
            if new.len() < each {
                continue;
            }
            new.sort_by(|a, b| b.cmp(a));
            old.sort_by(|a, b| b.cmp(a));
            new.truncate(each);
            old.truncate(each);
            let score: f64 = if name == "rand1+1" {
                (i * 7919 % 300) as f64
            } else {
                new.iter().chain(&old).map(|x| (x.0 as f64 + 1.0).ln()).sum()
            };
            all.push((score, *q, new.iter().map(|x| x.1).collect(), old.iter().map(|x| x.1).collect()));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.truncate(budget / (2 * each));
        for truth in [true, false] {
            if !truth && kind != 2 {
                continue;
            }
            let d: Vec<f64> = all
                .iter()
                .map(|(_, q, n, o)| {
                    let r = |v: &Vec<usize>| v.iter().filter(|x| same(*q, **x) == truth).count() as f64;
                    (r(n) - r(o)) / each as f64
                })
                .collect();
            let (mean, z) = t(&d);
            line += &format!(" {name}{}: {mean:+.2} z {z:+.2};", if truth { "" } else { " inv" });
        }
    }
    eprintln!(
        "{} kind {kind} seed {seed}: z1 {:+.2} gain {:+.1}{line}",
        corpus.name,
        z(&fitted.report.gate),
        gain * 1e3
    );
}

#[test]
fn pools() {
    for corpus in ["debian-6000", "wordnet-6000"].into_iter().filter_map(corpus) {
        for kind in 0..3 {
            for seed in 1..=(if kind == 0 { 10 } else { 5 }) {
                pool(&corpus, seed, kind, 30);
            }
        }
    }
}
