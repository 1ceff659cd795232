//! `demo`: learning from feedback, end to end, on real text that ships with the program.
//!
//! Glosses of `WordNet` are encoded, stored and searched. Simulated users judge the answers to some
//! of them by category; the metric is refitted, and measured on queries that nobody judged. All
//! figures are computed in the run.

mod corpus;
mod narrate;
mod report;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use affinis::{
    Collection, Hit, Hits, Item, Judgement, Language, MetricChoice, Query, Source, Store, Subject,
    encode::Onnx,
    learning::{EvalQuery, RefitReport},
};
use affinis_api::RefitDocument;
use serde_json::json;

use crate::commands::builder;
#[cfg(feature = "serve")]
use crate::commands::serve;
use crate::failure::Failure;
#[cfg(feature = "serve")]
use crate::output::BOLD;
use crate::output::{self, Out};
pub(crate) use corpus::definitions;
use corpus::{Corpus, QUESTIONS};
use narrate::Narrator;
use report::{Asked, Judged, Named, Remembered, Report, Same, Sizes};

/// Number of hits that are judged and measured.
const K: usize = 10;
/// Number of first answers whose ranks are kept, to show how items moved.
const DEPTH: usize = 100;
/// Number of queries whose answers simulated users judge.
const JUDGED: usize = 100;
/// Number of queries without judgements, on which the metric is measured.
const MEASURED: usize = 500;
const NAME: &str = "wordnet";
/// A name that the encoder makes little of.
const RARE_NAME: &str = "Euclid";

/// Help text after the options.
const HELP: &str = "\
The texts are 6,000 definitions from WordNet 3.0, which are part of the program, as is the encoder:
the demo needs no file and no network. Its store is made in a temporary directory and removed at
the end.

Examples:
  affinis demo
  affinis demo --keep demo.store                    to search it afterwards with --store demo.store
  affinis demo --serve                              and its page at http://127.0.0.1:7717
  affinis demo --json                               the results as one JSON document";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", corpus::LICENCE))]
pub(crate) struct Args {
    /// Keep the store in this directory, which must not exist yet
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Open the store in a browser at the end: search, judge and learn on a page, until Ctrl-C; in a
    /// build with `serve`
    #[arg(long)]
    serve: bool,
    /// Address and port of the page; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:7717",
        requires = "serve"
    )]
    listen: String,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    // What cannot be served is said before anything runs.
    let page = args.serve.then(|| Page::new(&args.listen)).transpose()?;
    let folder = tempfile::tempdir()
        .map_err(|e| Failure::Failed(format!("no temporary directory can be made: {e}")))?;
    let path = match &args.keep {
        Some(dir) if dir.exists() => {
            let message = format!(
                "{} exists; --keep makes a new store, so name a directory that does not",
                dir.display()
            );
            return Err(Failure::Failed(message));
        }
        Some(dir) => dir.clone(),
        None => folder.path().join("demo.store"),
    };
    let report = run_all(
        &path,
        &mut Narrator::new(out, args.keep.as_deref(), page.is_some()),
    )?;
    if out.is_json() {
        out.json(&report)?;
        out.flush()?;
    }
    match page {
        Some(page) => page.open(&path, out),
        None => Ok(()),
    }
}

/// The page on the demo's store.
#[cfg(feature = "serve")]
struct Page {
    listen: std::net::SocketAddr,
}

/// This build has no page.
#[cfg(not(feature = "serve"))]
enum Page {}

#[cfg(not(feature = "serve"))]
impl Page {
    fn new(_: &str) -> Result<Self, Failure> {
        Err(Failure::Failed(
            "this build has no page; one with `--features serve` or `--features full` does: \
             cargo run --release -p affinis-cli --features serve -- demo --serve"
                .to_owned(),
        ))
    }

    fn open(&self, _: &Path, _: &mut Out) -> Result<(), Failure> {
        match *self {}
    }
}

#[cfg(feature = "serve")]
impl Page {
    fn new(listen: &str) -> Result<Self, Failure> {
        let listen = serve::address(listen).map_err(Failure::Usage)?;
        let taken = std::net::TcpListener::bind(listen);
        taken.map_err(|error| {
            Failure::Failed(format!(
                "{listen} cannot be listened on: {error}; --listen 127.0.0.1:0 takes a free port"
            ))
        })?;
        Ok(Self { listen })
    }

    /// Serves the store until a signal ends it.
    fn open(&self, path: &Path, out: &mut Out) -> Result<(), Failure> {
        let service = serve::of_store(builder().create(false).open(path)?, self.listen)?;
        if !out.is_json() {
            out.line(format_args!(
                "\n{BOLD}The page is at http://{}{BOLD:#}: search, judge and learn on. Ctrl-C ends it.",
                service.address()
            ))?;
            out.flush()?;
        }
        serve::answer(service)
    }
}

/// Runs the demo, and prints each part of it as it ends.
fn run_all(path: &Path, narrator: &mut Narrator<'_>) -> Result<Report, Failure> {
    let start = Instant::now();
    let corpus = Corpus::load(JUDGED, MEASURED)?;
    narrator.opening(&corpus)?;

    let mut clock = Clock(Instant::now());
    let store = builder().open(path)?;
    let collection = fill(&store, &corpus)?;
    let store_millis = clock.lap();
    let sizes = Sizes::of(&collection, &corpus)?;
    narrator.stored(&sizes, store_millis)?;

    let before = ask(&collection, MetricChoice::Active)?;
    narrator.first_answers(&corpus, &before)?;

    let _ = clock.lap();
    let judged = judge(&collection, &corpus)?;
    let judge_millis = clock.lap();
    narrator.judged(&judged, judge_millis)?;

    let working = output::spinner("learning");
    let refit = collection.refit().run()?;
    let refit_millis = clock.lap();
    // As after filling: the index measures the beam width that the new metric needs.
    collection.settle()?;
    drop(working);
    narrator.refitted(&refit, refit_millis)?;

    let learned = refit
        .version
        .map_or(MetricChoice::Active, MetricChoice::Version);
    let after = ask(&collection, learned)?;
    narrator.second_answers(&corpus, &before, &after, &refit)?;

    let _ = clock.lap();
    let working = output::spinner("measuring");
    let evaluation =
        collection.evaluate(&measured(&corpus), K, &[MetricChoice::BuiltIn, learned])?;
    let measure_millis = clock.lap();
    drop(working);
    narrator.measured(&evaluation, measure_millis)?;

    let _ = clock.lap();
    let remembered = remember(&collection, &corpus)?;
    let remember_millis = clock.lap();
    narrator.remembered(&remembered, remember_millis)?;

    let _ = clock.lap();
    let named = name(&collection)?;
    let name_millis = clock.lap();
    narrator.named(&named, name_millis)?;

    let known = answers(&collection, &corpus, learned)?;
    let _ = clock.lap();
    drop((collection, store));
    let collection = builder()
        .create(false)
        .open(path)?
        .collection(NAME)
        .open()?;
    let reopen_millis = clock.lap();
    let same = compare(
        &known,
        &answers(&collection, &corpus, learned)?,
        judged.micros,
    );
    narrator.reopened(&same, reopen_millis)?;
    let total = start.elapsed().as_secs_f64() * 1000.0;
    narrator.closing(total)?;

    Ok(Report {
        items: sizes.items,
        dim: sizes.dim,
        encoder: sizes.encoder.clone(),
        categories: sizes.categories,
        disk_bytes: sizes.disk_bytes,
        queries: QUESTIONS
            .iter()
            .zip(before.iter().zip(&after))
            .map(|(q, (b, a))| Asked::of(q, b, a, &corpus))
            .collect(),
        judged,
        refit: RefitDocument::new(&refit, false),
        evaluation,
        remembered,
        named,
        reopened: same,
        millis: json!({
            "encode_and_store": store_millis, "judge": judge_millis, "refit": refit_millis,
            "measure": measure_millis, "remember": remember_millis, "name": name_millis, "reopen": reopen_millis, "total": total
        }),
    })
}

/// A stopwatch for the milliseconds since the last lap.
struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> f64 {
        let millis = self.0.elapsed().as_secs_f64() * 1000.0;
        self.0 = Instant::now();
        millis
    }
}

fn fill(store: &Store, corpus: &Corpus) -> Result<Collection, Failure> {
    const BATCH: usize = 250;
    let encoder = Onnx::embedded().map_err(affinis::Error::from)?;
    let collection = store.collection(NAME).encoder(encoder);
    let collection = collection.keywords(Language::English).create()?;
    let items: Vec<Item> = corpus
        .glosses
        .iter()
        .map(|gloss| Item::text(&gloss.id, gloss.text).with_meta(json!({"label": gloss.label})))
        .collect();
    let bar = output::bar(items.len() as u64, "encoding");
    let mut encoded = Vec::with_capacity(items.len());
    for batch in items.chunks(BATCH) {
        encoded.extend(collection.prepare(batch.to_vec())?);
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    collection.add(encoded)?;
    // Background work that is still under way could change how an answer is found between two of
    // the steps.
    collection.settle()?;
    Ok(collection)
}

/// The first 100 answers to each of the three questions.
fn ask(collection: &Collection, metric: MetricChoice) -> Result<Vec<Hits>, Failure> {
    let ask = |question: &corpus::Question| {
        collection
            .search(question.text)
            .k(DEPTH)
            .metric(metric)
            .run()
    };
    Ok(QUESTIONS.iter().map(ask).collect::<Result<_, _>>()?)
}

/// Searches for each judged query, and judges its answers: those of the same category are relevant.
fn judge(collection: &Collection, corpus: &Corpus) -> Result<Judged, Failure> {
    let mut judgements = Vec::with_capacity(corpus.judged.len() * K);
    let mut relevant = 0;
    let mut micros = 0;
    for query in corpus.judged.iter().map(|&at| &corpus.glosses[at]) {
        let hits = collection.search(Query::like(&query.id)).k(K).run()?;
        micros += hits.execution.micros;
        let shown: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
        for &id in &shown {
            let good = corpus.label(id) == Some(query.label);
            relevant += usize::from(good);
            let judgement =
                Judgement::graded(Query::like(&query.id), id, if good { 1.0 } else { -1.0 });
            judgements.push(judgement.source(Source::Proxy).shown(shown.iter().copied()));
        }
    }
    let stored = collection.judge_all(judgements)?;
    Ok(Judged {
        queries: corpus.judged.len(),
        judgements: stored.len(),
        relevant,
        micros: micros as f64 / corpus.judged.len().max(1) as f64,
    })
}

/// The measured queries; all items of the same category are relevant to a query.
fn measured(corpus: &Corpus) -> Vec<EvalQuery> {
    let mut of_category: HashMap<&str, Vec<&str>> = HashMap::new();
    for gloss in &corpus.glosses {
        of_category.entry(gloss.label).or_default().push(&gloss.id);
    }
    corpus
        .measured
        .iter()
        .map(|&at| {
            let gloss = &corpus.glosses[at];
            let others = of_category[gloss.label]
                .iter()
                .filter(|id| **id != gloss.id);
            EvalQuery::new(Query::like(&gloss.id), others.copied())
        })
        .collect()
}

/// Asks the judged queries again, with what was judged of each and without.
fn remember(collection: &Collection, corpus: &Corpus) -> Result<Remembered, Failure> {
    let judged: HashSet<(String, String)> = collection
        .judgements()?
        .into_iter()
        .filter_map(|stored| match stored.judgement.subject {
            Subject::Graded {
                query: Query::Item(query),
                item,
                ..
            } => Some((query, item)),
            _ => None,
        })
        .collect();
    let mut sums = [0usize; 4];
    for query in corpus.judged.iter().map(|&at| &corpus.glosses[at]) {
        let like = Query::like(&query.id);
        for (at, memory) in [false, true].into_iter().enumerate() {
            let search = collection.search(like.clone()).k(3 * K);
            let hits = search.memory(memory).run()?;
            let is_good = |hit: &&Hit| corpus.label(&hit.id) == Some(query.label);
            let is_new = |hit: &&Hit| !judged.contains(&(query.id.clone(), hit.id.clone()));
            sums[at] += hits.iter().take(K).filter(is_good).count();
            sums[2 + at] += hits.iter().filter(is_new).take(K).filter(is_good).count();
        }
    }
    let shown = (K * corpus.judged.len()).max(1) as f64;
    let [metric, memory, metric_of_new, memory_of_new] = sums.map(|sum| sum as f64 / shown);
    Ok(Remembered {
        queries: corpus.judged.len(),
        metric,
        memory,
        metric_of_new,
        memory_of_new,
    })
}

/// Asks for a name that stands in few texts: where the first of them is by meaning, and where by
/// words and meaning.
fn name(collection: &Collection) -> Result<Named, Failure> {
    let search = || collection.search(RARE_NAME).k(DEPTH);
    let words = search().words_only().include_text().run()?;
    let wanted = words.first();
    let rank_in = |hits: &Hits| {
        let found = hits
            .iter()
            .find(|hit| Some(&hit.id) == wanted.map(|w| &w.id));
        found.map(|hit| hit.rank)
    };
    Ok(Named {
        query: RARE_NAME,
        text: wanted.and_then(|hit| hit.text.clone()),
        by_meaning: rank_in(&search().run()?),
        hybrid: rank_in(&search().hybrid().run()?),
    })
}

/// The answers to all queries of the demo: the questions, the judged and the measured queries.
fn answers(
    collection: &Collection,
    corpus: &Corpus,
    metric: MetricChoice,
) -> Result<Vec<Hits>, Failure> {
    let mut answers = ask(collection, metric)?;
    for &at in corpus.judged.iter().chain(&corpus.measured) {
        answers.push(
            collection
                .search(Query::like(&corpus.glosses[at].id))
                .k(K)
                .metric(metric)
                .run()?,
        );
    }
    Ok(answers)
}

fn compare(known: &[Hits], again: &[Hits], micros_euclidean: f64) -> Same {
    let equal = known
        .iter()
        .zip(again)
        .filter(|(a, b)| a.metric == b.metric && a.hits == b.hits)
        .count();
    let micros: u64 = again.iter().map(|hits| hits.execution.micros).sum();
    Same {
        queries: known.len(),
        answers: known.iter().map(|hits| hits.hits.len()).sum(),
        equal_queries: equal,
        all_equal: equal == known.len() && known.len() == again.len(),
        micros_euclidean,
        micros_learned: micros as f64 / again.len().max(1) as f64,
    }
}

/// Whether the metric was promoted.
fn passed(refit: &RefitReport) -> bool {
    refit.promoted
}
