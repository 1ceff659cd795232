//! `evaluate`: measures the answers to queries whose relevant items are known.

use std::collections::BTreeSet;

use affinis::{
    MetricChoice, Query, RankBy,
    learning::{EvaluationRow, Measure},
};

use serde_json::Value;

use super::{At, hits, metric_choice, metric_name, rank_by};
use crate::failure::Failure;
use crate::input::{self, EvaluationInput, Input, InputError, Opened, Place};
use crate::output::{self, Align, DIM, Out, Table, count, plain, plural};
use crate::target::{SearchSettings, Target};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds JSON lines, {\"query\": \"text\" (or \"query_id\", \"query_vector\"), \"relevant\": [\"id\",
..]} (or, with grades, {\"id\": 3, ..}), TREC qrels, `topic iteration item grade`, BEIR qrels,
`topic<TAB>item<TAB>score`, or Quepid's csv, query,docid,rating. A grade above 0 is relevant, or one
of at least --relevance-threshold; nDCG takes the grades as gains. A topic without a relevant item
counts as 0, as in trec_eval. A query's own item is left out of its results. Precision, recall and
nDCG are computed over the first K hits, MRR and MAP over the first 1,000 (or K, if that is larger).
Intervals are 95 % bootstrap intervals over the queries.

Examples:
  affinis evaluate notes queries.jsonl
  affinis evaluate notes qrels.txt --queries topics.tsv -k 20
  affinis evaluate notes queries.jsonl --metric 3 --json
  affinis evaluate notes queries.jsonl --hybrid")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// File of queries with their relevant items, or - for standard input
    file: Input,
    /// File with the texts of the topics of a qrels file: topic<TAB>text a line, or BEIR's
    /// queries.jsonl [default: topics are ids of items]
    #[arg(long, value_name = "FILE")]
    queries: Option<Input>,
    /// Smallest grade that is relevant for precision, recall, MRR and MAP [default: any above 0]
    #[arg(long, value_name = "GRADE", value_parser = threshold, allow_negative_numbers = true)]
    relevance_threshold: Option<f64>,
    /// Metric that is measured beside Euclidean: `active`, `euclidean`, or a version's number
    #[arg(long, value_name = "METRIC", default_value = "active", value_parser = metric_choice)]
    metric: MetricChoice,
    /// Measure searches by words and meaning together, under both metrics
    #[arg(long, conflicts_with = "words_only")]
    hybrid: bool,
    /// Measure searches by words only
    #[arg(long)]
    words_only: bool,
    /// Number of hits over which precision, recall and nDCG are computed, 1 to 10000
    #[arg(short, default_value = "10", value_parser = hits)]
    k: usize,
}

impl Args {
    /// The inputs that it names.
    pub(crate) fn inputs(&self) -> [Option<&Input>; 2] {
        [Some(&self.file), self.queries.as_ref()]
    }
}

fn threshold(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(threshold) if threshold.is_finite() => Ok(threshold),
        _ => Err("a relevance threshold is a number".into()),
    }
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    if args.file == Input::Stdin && args.queries == Some(Input::Stdin) {
        return Err(Failure::Usage(
            "FILE and --queries cannot both be standard input".into(),
        ));
    }
    let collection = at.target(&args.name)?;
    let texts = match &args.queries {
        None => None,
        Some(queries) => {
            let Opened { name, reader, .. } = queries.open()?;
            Some(input::topics(reader, &name)?.texts)
        }
    };
    let Opened { name, reader, .. } = args.file.open()?;
    let input = input::evaluation(
        reader,
        &name,
        collection.expected(),
        texts.as_ref(),
        args.relevance_threshold,
    )?;
    check_ids(&input, &name, &collection)?;
    if !input.without_relevant.is_empty() {
        output::warn(format_args!(
            "{} a relevant item, and {} as 0",
            plural(
                input.without_relevant.len() as u64,
                "topic is without",
                "topics are without"
            ),
            if input.without_relevant.len() == 1 {
                "counts"
            } else {
                "count"
            }
        ));
    }
    let ranking = rank_by(args.hybrid, args.words_only);
    let working = output::spinner(format!(
        "searching for {}",
        plural(input.queries.len() as u64, "query", "queries")
    ));
    let evaluation = collection
        .evaluate(
            &input.queries,
            args.k,
            (args.metric, ranking),
            args.relevance_threshold,
        )
        .map_err(|error| with_line(error, &input, &name, (&collection, ranking)))?;
    drop(working);
    if out.is_json() {
        return Ok(out.json(&evaluation)?);
    }
    out.line(format_args!(
        "{} on {}",
        plural(evaluation.queries as u64, "query", "queries"),
        plain(&args.name)
    ))?;
    let mut table = Table::new([
        ("", Align::Left),
        ("precision", Align::Left),
        ("recall", Align::Left),
        ("nDCG", Align::Left),
        ("MRR", Align::Left),
        ("MAP", Align::Left),
    ]);
    for EvaluationRow {
        metric,
        precision,
        recall,
        ndcg,
        mrr,
        map,
        ..
    } in &evaluation.rows
    {
        table.row([
            metric_name(*metric),
            measure(precision),
            measure(recall),
            measure(ndcg),
            measure(mrr),
            measure(map),
        ]);
    }
    out.line(table.indent(2))?;
    out.line(format_args!(
        "  {DIM}precision, recall and nDCG at k = {}; MRR and MAP over the first {}; 95 % bootstrap intervals{DIM:#}",
        evaluation.k,
        count(evaluation.depth() as u64)
    ))?;
    Ok(())
}

/// Adds to an error the line of the query that caused it: the first query whose search fails by
/// itself, such as a text that the encoder knows nothing of.
fn with_line(
    error: Failure,
    input: &EvaluationInput,
    file: &str,
    (collection, ranking): (&Target, RankBy),
) -> Failure {
    use affinis::Error::{Dimension, Encode, InvalidQuery, NotFinite, UnknownText, ZeroVector};
    let is_of_a_query = match &error {
        Failure::Store(error) => matches!(
            error,
            Dimension { .. }
                | Encode(_)
                | InvalidQuery(_)
                | NotFinite { .. }
                | UnknownText { .. }
                | ZeroVector { .. }
        ),
        #[cfg(feature = "client")]
        Failure::Service(error) => error.is("invalid-input"),
        _ => false,
    };
    if !is_of_a_query {
        return error;
    }
    let fails = |query: &Query| {
        let settings = SearchSettings {
            k: 1,
            metric: MetricChoice::BuiltIn,
            memory: false,
            ranking,
            ..SearchSettings::default()
        };
        match collection.search(query.clone().into(), Value::Null, &settings, false) {
            Err(error @ Failure::Store(_)) => Some(error),
            #[cfg(feature = "client")]
            Err(error @ Failure::Service(_)) => Some(error),
            _ => None,
        }
    };
    let alone = input
        .queries
        .iter()
        .zip(&input.lines)
        .find_map(|(q, &line)| Some((fails(&q.query)?, line)));
    match alone {
        Some((error, line)) => InputError::new(file, Place::Line(line), error.to_string()).into(),
        None => error,
    }
}

fn measure(measure: &Measure) -> String {
    format!(
        "{:.3} [{:.3}, {:.3}]",
        measure.mean, measure.low, measure.high
    )
}

/// Refuses ids that the collection does not hold, with the line of the query.
fn check_ids(input: &EvaluationInput, file: &str, collection: &Target) -> Result<(), Failure> {
    let all = input.queries.iter().flat_map(|query| {
        let own = match &query.query {
            Query::Item(id) => Some(id),
            _ => None,
        };
        own.into_iter()
            .chain(&query.relevant)
            .chain(query.gains.keys())
    });
    let all: BTreeSet<&String> = all.collect();
    let held = collection.existing(&all.into_iter().cloned().collect::<Vec<_>>())?;
    for (query, &line) in input.queries.iter().zip(&input.lines) {
        let own = match &query.query {
            Query::Item(id) => Some(id),
            _ => None,
        };
        let named = own.into_iter().chain(&query.relevant);
        for id in named.chain(query.gains.keys()) {
            if !held.contains(id) {
                let reason = format!("the collection has no item {:?}", plain(id));
                return Err(InputError::new(file, Place::Line(line), reason).into());
            }
        }
    }
    Ok(())
}
