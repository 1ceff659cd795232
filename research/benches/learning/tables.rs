//! Labelled tables: the error of 5 nearest neighbours under a learned metric, on given splits.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use affinis::plugin::Metric;
use affinis_mahalanobis::spd::GeneralizedEigen;
use affinis_research::Labelled;
use ndarray::{Array1, Array2, Axis, s};
use serde_json::json;

use crate::npy::{Npy, npz};
use affinis_testkit::Random;
use affinis_testkit::simulation::{Corpus, sample_of};

/// Number of principal components that `mnist164` keeps.
const COMPONENTS: usize = 164;
/// Number of neighbours that vote.
const VOTERS: usize = 5;
/// Largest number of rows of a table that serves as a corpus.
const MAX_CORPUS_ROWS: usize = 6000;

/// A labelled table: rows of numbers (`n x d`) with a class each.
struct Table {
    rows: Array2<f32>,
    classes: Vec<usize>,
}

/// Learns and measures on every split of every table that the splits name.
pub(crate) fn run(
    tables: &Path,
    splits: &Path,
    out: &Path,
    only: &[String],
    closed_form: bool,
) -> Result<(), Box<dyn Error>> {
    let splits = npz(splits)?;
    let mut results = BTreeMap::new();
    for (key, rows) in &splits {
        let Some(name) = key.strip_suffix(".rows") else {
            continue;
        };
        if !only.is_empty() && !only.iter().any(|o| o == name) {
            continue;
        }
        let folds = splits
            .get(&format!("{name}.fold"))
            .ok_or(format!("{name}.fold is missing"))?;
        let table = Table::read(tables, name)?.of(rows)?;
        let [seeds, n] = folds.shape[..] else {
            return Err(format!("{name}.fold is not seeds x rows").into());
        };
        if n != table.classes.len() {
            return Err(format!(
                "{name}.fold deals {n} rows, {name}.rows names {}",
                table.classes.len()
            )
            .into());
        }
        let (mut errors, mut seconds) = (Vec::new(), Vec::new());
        for split in 0..2 * seeds {
            let tested = |row: &usize| folds.numbers[split / 2 * n + row] == (split % 2) as i64;
            let (test, train): (Vec<usize>, Vec<usize>) = (0..n).partition(tested);
            let prepared = prepared(&table.rows, &train, name == "mnist164")?;
            let classes =
                |of: &[usize]| -> Vec<usize> { of.iter().map(|i| table.classes[*i]).collect() };
            let rows = prepared.select(Axis(0), &train);
            let learner = Labelled::default().seed(split as u64);
            let learner = if closed_form {
                learner.closed_form_only()
            } else {
                learner
            };
            let clock = Clock::start();
            let fit = learner.fit(rows.view(), &classes(&train));
            seconds.push(clock.seconds());
            errors.push(fit.ok().map(|fit| {
                let images = fit.metric.transform(prepared.view());
                let (known, asked) = (
                    images.select(Axis(0), &train),
                    images.select(Axis(0), &test),
                );
                error(&known, &classes(&train), &asked, &classes(&test))
            }));
        }
        let known: Vec<f64> = errors.iter().flatten().copied().collect();
        eprintln!(
            "{name}: error {:.2} %, {:.3} CPU s a fit",
            100.0 * known.iter().sum::<f64>() / known.len().max(1) as f64,
            seconds.iter().sum::<f64>() / seconds.len().max(1) as f64
        );
        results.insert(name.to_owned(), json!({"err": errors, "fit": seconds}));
    }
    let name = if closed_form {
        "affinis, closed form"
    } else {
        "affinis"
    };
    std::fs::write(
        out,
        serde_json::to_string(&json!({"name": name, "results": results}))?,
    )?;
    Ok(())
}

/// At most 6,000 rows of a table as a corpus, standardised, with a total variance of 1.
pub(crate) fn corpus(directory: &Path, name: &'static str) -> Result<Corpus, Box<dyn Error>> {
    let Table { rows, classes } = Table::read(directory, name)?;
    let kept = Random(5).choose(rows.nrows(), MAX_CORPUS_ROWS);
    let rows = rows.select(Axis(0), &kept);
    let all: Vec<usize> = (0..kept.len()).collect();
    let vectors = prepared(&rows, &all, false)? / (rows.ncols() as f32).sqrt();
    let labels = kept.iter().map(|i| classes[*i].to_string()).collect();
    let sample = sample_of(&vectors, 7);
    Ok(Corpus {
        name,
        vectors,
        labels,
        texts: Vec::new(),
        sample,
    })
}

impl Table {
    fn read(directory: &Path, name: &str) -> Result<Self, Box<dyn Error>> {
        let file = match name {
            "libras" => "keel_movement_libras",
            "wdbc" => "breast_cancer_wdbc",
            "pima" => "pimaindiansdiabetes",
            "segment" => "keel_segment",
            "spambase" => "keel_spambase",
            "penbased" => "keel_penbased",
            "optdigits" => "keel_optdigits",
            "texture" => "keel_texture",
            "letter" => "letterrecognition",
            "mnist164" => "mnist_10k",
            other => other,
        };
        let read = |ending: &str| {
            let path = directory.join(format!("{file}{ending}"));
            std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
        };
        let (numbers, labels) = if name == "mnist164" {
            let pixels = Npy::parse(&read(".npy")?)?;
            let labels: Vec<String> = String::from_utf8(read(".labels.txt")?)?
                .lines()
                .map(str::to_owned)
                .collect();
            (
                pixels.numbers.into_iter().map(|v| v as f32).collect(),
                labels,
            )
        } else {
            let text = String::from_utf8(read(".csv")?)?;
            let mut numbers: Vec<f32> = Vec::new();
            let mut labels = Vec::new();
            for line in text.lines().skip(1).filter(|l| !l.is_empty()) {
                let (row, label) = line.rsplit_once(',').ok_or(format!("{file}: {line}"))?;
                labels.push(label.to_owned());
                for cell in row.split(',') {
                    numbers.push(
                        cell.trim()
                            .parse()
                            .map_err(|e| format!("{file}: {cell:?}: {e}"))?,
                    );
                }
            }
            (numbers, labels)
        };
        let mut known: Vec<&String> = labels.iter().collect();
        known.sort_unstable();
        known.dedup();
        let classes = labels
            .iter()
            .map(|l| known.binary_search(&l).unwrap_or(0))
            .collect();
        let shape = (labels.len(), numbers.len() / labels.len().max(1));
        Ok(Self {
            rows: Array2::from_shape_vec(shape, numbers)?,
            classes,
        })
    }

    /// The rows at the given indices.
    fn of(&self, rows: &Npy) -> Result<Self, Box<dyn Error>> {
        let rows: Vec<usize> = rows
            .numbers
            .iter()
            .map(|r| usize::try_from(*r))
            .collect::<Result<_, _>>()?;
        if let Some(beyond) = rows.iter().find(|r| **r >= self.classes.len()) {
            return Err(format!("row {beyond} of a table of {}", self.classes.len()).into());
        }
        Ok(Self {
            rows: self.rows.select(Axis(0), &rows),
            classes: rows.iter().map(|r| self.classes[*r]).collect(),
        })
    }
}

/// All rows, standardised by the training rows; or their principal components, all divided by one
/// deviation.
fn prepared(
    rows: &Array2<f32>,
    train: &[usize],
    components: bool,
) -> Result<Array2<f32>, Box<dyn Error>> {
    let rows = rows.mapv(f64::from);
    let training = rows.select(Axis(0), train);
    let mean = training.mean_axis(Axis(0)).ok_or("no training rows")?;
    let centred = &rows - &mean;
    if !components {
        let deviations: Array1<f64> = training
            .std_axis(Axis(0), 0.0)
            .mapv(|s| if s > 0.0 { s } else { 1.0 });
        return Ok((centred / &deviations).mapv(|v| v as f32));
    }
    let training = training - &mean;
    let mut covariance = training.t().dot(&training) / train.len() as f64;
    let (d, trace) = (covariance.nrows(), covariance.diag().sum());
    // Pixels that never change have no variance; the eigenproblem wants some.
    covariance
        .diag_mut()
        .iter_mut()
        .for_each(|v| *v += 1e-9 * trace);
    let directions =
        GeneralizedEigen::between(Array2::eye(d).view(), covariance.view())?.factor(0.0);
    let kept = directions.slice(s![d.saturating_sub(COMPONENTS).., ..]);
    let projected = centred.dot(&kept.t());
    let variance = training.dot(&kept.t()).var(0.0);
    Ok((projected / variance.sqrt()).mapv(|v| v as f32))
}

/// The share of query rows whose 5 nearest known rows vote for another class; ties go to the
/// nearest.
fn error(known: &Array2<f32>, classes: &[usize], asked: &Array2<f32>, truth: &[usize]) -> f64 {
    let squares: Vec<f32> = known.rows().into_iter().map(|r| r.dot(&r)).collect();
    let mut wrong = 0;
    for (block, truth) in asked.axis_chunks_iter(Axis(0), 128).zip(truth.chunks(128)) {
        for (row, class) in block.dot(&known.t()).rows().into_iter().zip(truth) {
            let mut order: Vec<(f32, usize)> = row
                .iter()
                .zip(&squares)
                .map(|(p, s)| s - 2.0 * p)
                .zip(0..)
                .collect();
            let k = VOTERS.min(order.len());
            if k < order.len() {
                order.select_nth_unstable_by(k, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            }
            order.truncate(k);
            order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let votes = |c: usize| order.iter().filter(|(_, i)| classes[*i] == c).count();
            let most = order.iter().map(|(_, i)| votes(classes[*i])).max();
            let winner = order
                .iter()
                .map(|(_, i)| classes[*i])
                .find(|c| Some(votes(*c)) == most);
            wrong += usize::from(winner != Some(*class));
        }
    }
    wrong as f64 / truth.len().max(1) as f64
}

/// A clock of this thread's CPU time, or of wall time where the system does not report that.
pub(crate) struct Clock(Option<f64>, Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(cpu(), Instant::now())
    }

    pub(crate) fn seconds(&self) -> f64 {
        match (self.0, cpu()) {
            (Some(before), Some(after)) => after - before,
            _ => self.1.elapsed().as_secs_f64(),
        }
    }
}

fn cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace()
        .next()?
        .parse::<f64>()
        .ok()
        .map(|nanos| nanos * 1e-9)
}
