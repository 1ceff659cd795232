//! What memory of judgements gains: on judged questions that are asked again, on those whose judged
//! answers do not count, and on questions that nobody judged.

use std::collections::HashSet;

use affinis::{Collection, Item, Judgement, Query, Store};
use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::simulation::{Corpus, corpus};
use affinis_testkit::{Random, setting};

const CORPORA: [&str; 2] = ["debian-6000", "wordnet-6000"];
const K: usize = 10;
/// Number of questions that nobody judged.
const UNSEEN: usize = 1_000;

/// Who judges.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Judge {
    /// By the label.
    Honest,
    /// By a coin.
    Coin,
}

/// Gains of memory in P@10 beyond the active metric, and the share of kernels' gate.
#[derive(Debug, Default, Clone, Copy)]
struct Gains {
    again: f64,
    again_others: f64,
    unseen: f64,
    /// Whether the refit found that questions like those judged gain.
    widened: bool,
    /// Whether the refit turned memory off.
    off: bool,
}

fn id(row: usize) -> String {
    row.to_string()
}

/// The share of the first ten hits that have the label of the question, without those left out.
fn precision(
    corpus: &Corpus,
    collection: &Collection,
    row: usize,
    memory: bool,
    left_out: &HashSet<String>,
) -> f64 {
    let search = collection.search(Query::like(id(row)));
    let hits = search.k(K + left_out.len()).memory(memory).run().unwrap();
    let shown = hits
        .iter()
        .filter(|hit| !left_out.contains(&hit.id))
        .take(K);
    let right = shown.filter(|hit| corpus.same_label(row, hit.id.parse().unwrap()));
    right.count() as f64 / K as f64
}

/// Judges ten answers to each of some questions, refits, and measures with memory and without.
fn gains(corpus: &Corpus, questions: usize, seed: u64, judge: Judge) -> Gains {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir.path())
        .unwrap();
    let collection = store.collection("texts").dim(corpus.vectors.ncols());
    let collection = collection.create().unwrap();
    let items = corpus.vectors.outer_iter().enumerate();
    let items = items.map(|(row, vector)| Item::vector(id(row), vector.to_vec()));
    collection.add(items.collect::<Vec<_>>()).unwrap();
    let mut random = Random(seed);
    let (judged, unseen) = corpus.queries(questions, UNSEEN, &mut random);
    let mut said: Vec<HashSet<String>> = Vec::new();
    let mut judgements = Vec::new();
    for &row in &judged {
        let hits = collection.search(Query::like(id(row))).k(K).run().unwrap();
        for hit in &hits {
            let good = match judge {
                Judge::Honest => corpus.same_label(row, hit.id.parse().unwrap()),
                Judge::Coin => random.unit() < 0.5,
            };
            let grade = if good { 1.0 } else { -1.0 };
            judgements.push(Judgement::graded(Query::like(id(row)), &hit.id, grade));
        }
        said.push(hits.into_iter().map(|hit| hit.id).collect());
    }
    collection.judge_all(judgements).unwrap();
    let report = collection.refit().run().unwrap();
    collection.settle().unwrap();
    let memory = report.memory.unwrap();
    eprintln!("  {}", memory.gate.reason);
    let nothing = HashSet::new();
    let gain = |rows: &[usize], left_out: &dyn Fn(usize) -> HashSet<String>| {
        let gains = rows.iter().enumerate().map(|(at, &row)| {
            let left_out = left_out(at);
            precision(corpus, &collection, row, true, &left_out)
                - precision(corpus, &collection, row, false, &left_out)
        });
        gains.sum::<f64>() / rows.len() as f64
    };
    Gains {
        again: gain(&judged, &|_| nothing.clone()),
        again_others: gain(&judged, &|at| said[at].clone()),
        unseen: gain(&unseen, &|_| nothing.clone()),
        widened: memory.gate.accepted,
        off: memory.settings.is_none(),
    }
}

#[test]
fn judged_questions_gain_and_others_lose_nothing() {
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        let gains = gains(&corpus, 30, 1, Judge::Honest);
        let what = format!("{}: {gains:?}", corpus.name);
        assert!(!gains.off, "{what}");
        assert!(gains.again >= 0.03, "{what}");
        assert!(gains.again_others >= 0.006, "{what}");
        assert!(gains.unseen >= -0.002, "{what}");
    }
}

/// Prints the table of `docs/learning.md`, for each number of judgements and seed; asserts nothing.
#[test]
#[ignore = "prints a table"]
fn table() {
    let seeds = setting("AFFINIS_SEEDS", 3);
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        for judge in [Judge::Honest, Judge::Coin] {
            for questions in [3, 10, 30, 100, 500] {
                if judge == Judge::Coin && questions > 100 {
                    continue;
                }
                let all: Vec<Gains> = (1..=seeds)
                    .map(|seed| gains(&corpus, questions, seed, judge))
                    .collect();
                let mean = |of: fn(&Gains) -> f64| {
                    1e3 * all.iter().map(of).sum::<f64>() / all.len() as f64
                };
                let count = |of: fn(&Gains) -> bool| all.iter().filter(|gains| of(gains)).count();
                println!(
                    "{} {judge:?} {} judgements: again {:.1}, others than those judged {:.1}, unseen {:.1}; widened \
                     {}/{seeds}, off {}/{seeds}",
                    corpus.name,
                    questions * K,
                    mean(|gains| gains.again),
                    mean(|gains| gains.again_others),
                    mean(|gains| gains.unseen),
                    count(|gains| gains.widened),
                    count(|gains| gains.off),
                );
            }
        }
    }
}
