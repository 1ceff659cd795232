//! What answers are compared with.

use std::sync::Arc;
use std::time::Instant;

use affinis::plugin::Metric;
use ndarray::{Array2, Axis};
use tokio_postgres::NoTls;

use crate::data::Data;
use crate::of_share;

/// Questions that are answered at a time.
const BLOCK: usize = 64;

/// The ten nearest rows of each question.
pub(crate) struct Truth {
    pub(crate) nearest: Vec<Vec<String>>,
}

impl Truth {
    /// By comparison with every row of which one in `share` passes.
    pub(crate) fn of(
        data: &Data,
        metric: &Arc<dyn Metric>,
        questions: &[Vec<f32>],
        share: usize,
    ) -> Self {
        let rows: Vec<usize> = of_share(&data.vectors, share).collect();
        let some = data.vectors.select(Axis(0), &rows);
        let mut biases = vec![0.0; rows.len()];
        metric.biases(some.view(), &mut biases);
        let mut nearest = Vec::new();
        for block in questions.chunks(BLOCK) {
            let mut directions = Array2::zeros((data.dim(), block.len()));
            for (mut column, question) in directions.columns_mut().into_iter().zip(block) {
                let rewritten = metric.rewrite(question).direction;
                column.iter_mut().zip(rewritten).for_each(|(to, x)| *to = x);
            }
            let products = some.dot(&directions);
            for products in products.columns() {
                let distances = products.iter().zip(&biases).map(|(p, b)| b - 2.0 * p);
                let mut distances: Vec<(f32, usize)> =
                    distances.zip(rows.iter().copied()).collect();
                distances.select_nth_unstable_by(10, |a, b| a.0.total_cmp(&b.0));
                distances.truncate(10);
                nearest.push(distances.iter().map(|(_, row)| row.to_string()).collect());
            }
        }
        Self { nearest }
    }
}

/// A share of the values lies at most at the one that is given back.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values
        .get(at.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The table's own answers: the least `hnsw.ef_search` that finds .95, the recall there, and the
/// median time in milliseconds of a prepared statement on one connection.
pub(crate) fn own(url: &str, questions: &[Vec<f32>], truth: &Truth) -> (usize, f64, f64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .expect("connected");
        tokio::spawn(connection);
        let nearest = "SELECT id FROM docs ORDER BY embedding <#> $1::real[]::vector LIMIT 10";
        let statement = client.prepare(nearest).await.expect("a statement");
        for ef in [10, 20, 40, 60, 80, 120, 160, 240, 400, 800] {
            let set = format!("SET hnsw.ef_search = {ef}");
            client.batch_execute(&set).await.expect("set");
            let (mut found, mut times) = (0, Vec::new());
            for _ in 0..3 {
                for (question, nearest) in questions.iter().zip(&truth.nearest) {
                    let began = Instant::now();
                    let rows = client.query(&statement, &[question]).await.expect("rows");
                    times.push(began.elapsed().as_secs_f64() * 1e3);
                    let id = |row: &tokio_postgres::Row| row.get::<_, i64>(0).to_string();
                    found += rows.iter().filter(|row| nearest.contains(&id(row))).count();
                }
            }
            let recall = found as f64 / (30 * questions.len()) as f64;
            if recall >= 0.95 {
                return (ef, recall, percentile(&mut times, 0.5));
            }
        }
        (0, 0.0, f64::NAN)
    })
}
