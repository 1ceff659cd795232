//! Simulated users over labelled texts: a stored item is the query, and results of the current
//! ranking are judged relevant when their label is the query's.

use std::collections::HashSet;
use std::path::Path;

use affinis::plugin::{Examples, Graded, Incumbent, Metric, MetricLearner, Pair, Sample, Task};
use affinis_mahalanobis::Mahalanobis;
use ndarray::{Array2, Axis, s};

use crate::{Random, data_dir, f16_vectors};

/// A data set: vectors of texts, with labels.
#[derive(Debug)]
pub struct Corpus {
    /// The name of the data set.
    pub name: &'static str,
    /// `n` rows of 384 numbers.
    pub vectors: Array2<f32>,
    /// A label for each row.
    pub labels: Vec<String>,
    /// The text of each row.
    pub texts: Vec<String>,
    /// What a store would sample of these vectors.
    pub sample: Sample,
}

/// A labelled set of MiniLM vectors from [`data_dir`], or `None` (with a message) where it is
/// missing.
pub fn corpus(name: &'static str) -> Option<Corpus> {
    corpus_in(&data_dir(), name)
}

/// A labelled set of MiniLM vectors from a directory, or `None` (with a message) where it is
/// missing.
pub fn corpus_in(root: &Path, name: &'static str) -> Option<Corpus> {
    let vectors = f16_vectors(&root.join(format!("text/{name}.minilm384.f16.npy")))?;
    let text = std::fs::read_to_string(root.join(format!("text/{name}.tsv")))
        .expect("the texts are beside the vectors");
    let labels: Vec<String> = text
        .lines()
        .map(|l| l.split('\t').next().unwrap_or_default().to_owned())
        .collect();
    let texts = text
        .lines()
        .map(|l| l.split('\t').nth(1).unwrap_or_default().to_owned())
        .collect();
    assert_eq!(labels.len(), vectors.nrows());
    let sample = sample_of(&vectors, 7);
    Some(Corpus {
        name,
        vectors,
        labels,
        texts,
        sample,
    })
}

/// The sample that a store would give a learner: 2,000 items, and 1,000 items' differences to their
/// 10 nearest.
pub fn sample_of(vectors: &Array2<f32>, seed: u64) -> Sample {
    let mut random = Random(seed);
    let items = vectors.select(Axis(0), &random.choose(vectors.nrows(), 2000));
    let centres = random.choose(vectors.nrows(), 1000);
    let mut differences = Array2::zeros((centres.len() * 10, vectors.ncols()));
    for (i, near) in nearest(vectors, vectors, &centres, 10)
        .into_iter()
        .enumerate()
    {
        for (j, item) in near.into_iter().enumerate() {
            differences
                .row_mut(i * 10 + j)
                .assign(&(&vectors.row(item) - &vectors.row(centres[i])));
        }
    }
    Sample {
        items,
        neighbour_differences: differences,
    }
}

/// The `k` nearest of `items` to each of the rows `queries` of `from`, the query's own row left
/// out.
pub fn nearest(
    items: &Array2<f32>,
    from: &Array2<f32>,
    queries: &[usize],
    k: usize,
) -> Vec<Vec<usize>> {
    let squares: Vec<f32> = items.rows().into_iter().map(|r| r.dot(&r)).collect();
    let mut found = Vec::with_capacity(queries.len());
    for block in queries.chunks(100) {
        let dots = from.select(Axis(0), block).dot(&items.t());
        for (row, &query) in dots.rows().into_iter().zip(block) {
            let mut order: Vec<(f32, usize)> = row
                .iter()
                .zip(&squares)
                .map(|(dot, square)| square - 2.0 * dot)
                .zip(0..)
                .collect();
            order[query].0 = f32::INFINITY;
            order.select_nth_unstable_by(k, |a, b| a.0.total_cmp(&b.0));
            order.truncate(k);
            order.sort_by(|a, b| a.0.total_cmp(&b.0));
            found.push(order.into_iter().map(|(_, i)| i).collect());
        }
    }
    found
}

impl Corpus {
    /// The `k` nearest items of each query row under a metric, or under Euclid.
    pub fn ranked(
        &self,
        metric: Option<&dyn Metric>,
        queries: &[usize],
        k: usize,
    ) -> Vec<Vec<usize>> {
        match metric {
            None => nearest(&self.vectors, &self.vectors, queries, k),
            Some(metric) => {
                let images = metric.transform(self.vectors.view());
                nearest(&images, &images, queries, k)
            }
        }
    }

    /// Precision at 10 by label, mean over queries.
    pub fn precision(&self, metric: Option<&dyn Metric>, queries: &[usize]) -> f64 {
        let ranked = self.ranked(metric, queries, 10);
        let hits = |(near, q): (&Vec<usize>, &usize)| {
            near.iter()
                .filter(|i| self.labels[**i] == self.labels[*q])
                .count()
        };
        ranked.iter().zip(queries).map(hits).sum::<usize>() as f64 / (10 * queries.len()) as f64
    }

    /// Judgements of the ten nearest items of each query, graded 1 where `judge(query, item)` holds
    /// and -1 elsewhere.
    pub fn judged(
        &self,
        metric: Option<&dyn Metric>,
        queries: &[usize],
        judge: impl FnMut(usize, usize) -> bool,
    ) -> Examples {
        self.graded(queries, &self.ranked(metric, queries, 10), judge)
    }

    fn graded(
        &self,
        queries: &[usize],
        shown: &[Vec<usize>],
        mut judge: impl FnMut(usize, usize) -> bool,
    ) -> Examples {
        let graded = queries
            .iter()
            .zip(shown)
            .flat_map(|(q, near)| near.iter().map(move |i| (*q, *i)));
        let graded = graded
            .map(|(query, item)| Graded {
                query,
                item,
                grade: if judge(query, item) { 1.0 } else { -1.0 },
                weight: 1.0,
            })
            .collect();
        // All rows of the corpus; a store would send only those that were judged.
        Examples {
            vectors: self.vectors.clone(),
            graded,
            pairs: Vec::new(),
        }
    }

    /// `n` random pairs, half of them of one label.
    pub fn paired(&self, n: usize, random: &mut Random) -> Examples {
        let mut pairs = Vec::new();
        while pairs.len() < n {
            let (a, b) = (
                random.below(self.labels.len()),
                random.below(self.labels.len()),
            );
            let similar = self.labels[a] == self.labels[b];
            if a != b && similar == (pairs.len() % 2 == 0) {
                pairs.push(Pair {
                    a,
                    b,
                    similar,
                    weight: 1.0,
                });
            }
        }
        Examples {
            vectors: self.vectors.clone(),
            graded: Vec::new(),
            pairs,
        }
    }

    /// Random rows as queries to judge, and other rows as queries to measure with.
    pub fn queries(
        &self,
        judged: usize,
        unseen: usize,
        random: &mut Random,
    ) -> (Vec<usize>, Vec<usize>) {
        let mut all = random.choose(self.labels.len(), judged + unseen);
        let unseen = all.split_off(judged);
        (all, unseen)
    }

    /// Whether two rows have one label.
    pub fn same_label(&self, a: usize, b: usize) -> bool {
        self.labels[a] == self.labels[b]
    }

    /// Fits the default learner to judgements of this corpus.
    pub fn fit(
        &self,
        examples: &Examples,
        incumbent: Option<Incumbent<'_>>,
        seed: u64,
    ) -> affinis::plugin::Fitted {
        let examples = compact(examples);
        Mahalanobis::default()
            .fit(
                &Task::new(self.vectors.ncols(), &examples, &self.sample)
                    .with_seed(seed)
                    .with_incumbent(incumbent),
            )
            .expect("the simulation gives sound judgements")
    }
}

/// The same judgements over only the rows that they name, as a store would send them.
pub fn compact(examples: &Examples) -> Examples {
    let mut used: Vec<usize> = examples
        .graded
        .iter()
        .flat_map(|g| [g.query, g.item])
        .chain(examples.pairs.iter().flat_map(|p| [p.a, p.b]))
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    used.sort_unstable();
    let at = |row: usize| used.binary_search(&row).expect("every row was collected");
    Examples {
        vectors: examples.vectors.select(Axis(0), &used),
        graded: examples
            .graded
            .iter()
            .map(|g| Graded {
                query: at(g.query),
                item: at(g.item),
                ..*g
            })
            .collect(),
        pairs: examples
            .pairs
            .iter()
            .map(|p| Pair {
                a: at(p.a),
                b: at(p.b),
                ..*p
            })
            .collect(),
    }
}

/// The first `n` graded judgements.
pub fn first(examples: &Examples, n: usize) -> Examples {
    Examples {
        vectors: examples.vectors.slice(s![.., ..]).to_owned(),
        graded: examples.graded[..n].to_vec(),
        pairs: vec![],
    }
}
