//! Answers to the gate's questions on real text: thirty of them let a good candidate pass that a
//! hundred judgements cannot decide on, and no worse one.

use std::collections::HashSet;

use affinis::{Collection, Item, Judgement, Query, Store, VersionId, learning::Forget};
use affinis_mahalanobis::{Mahalanobis, MahalanobisMetric};
use affinis_testkit::Random;
use affinis_testkit::simulation::{Corpus, corpus};

const USER: &str = "simulated";

/// The outcome of a round of judging, asking and answering.
struct Round {
    /// Whether the gate passed the candidate before any question.
    first: bool,
    questions: usize,
    promoted: bool,
    /// Whether the promoted metric is a shrunken one.
    shrunken: bool,
    /// Gains in P@10 x 1000 on queries that were never judged, of the active metric and of the last
    /// candidate.
    gain: f64,
    ungated: f64,
    reason: String,
}

fn store_of(corpus: &Corpus) -> (tempfile::TempDir, Collection) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir.path())
        .unwrap();
    let items = store
        .collection("items")
        .dim(corpus.vectors.ncols())
        .create()
        .unwrap();
    let rows = corpus.vectors.rows().into_iter().enumerate();
    items
        .add(rows.map(|(i, row)| Item::vector(i.to_string(), row.to_vec())))
        .unwrap();
    (dir, items)
}

/// Judges the ten hits of each of `queries` queries by `judge`, and answers the questions by
/// `answer`.
fn round(
    corpus: &Corpus,
    items: &Collection,
    queries: usize,
    seed: u64,
    mut judge: impl FnMut(usize, usize) -> bool,
    mut answer: impl FnMut(usize, usize) -> bool,
) -> Round {
    let (queries, mut unseen) = corpus.queries(queries, 1000, &mut Random(seed));
    let judgement = |query: usize, item: &str, good: bool| {
        let query = Query::like(query.to_string());
        Judgement::graded(query, item, if good { 1.0 } else { -1.0 }).user(USER)
    };
    for query in queries {
        let hits = items.search(Query::like(query.to_string())).run().unwrap();
        items
            .judge_all(
                hits.iter()
                    .map(|h| judgement(query, &h.id, judge(query, h.id.parse().unwrap()))),
            )
            .unwrap();
    }
    let first = items.refit().ask(30).seed(seed).run().unwrap();
    let mut asked = HashSet::new();
    for question in &first.questions {
        let Query::Item(query) = &question.query else {
            panic!("{question:?}")
        };
        let query: usize = query.parse().unwrap();
        asked.insert(query);
        items
            .judge(judgement(
                query,
                &question.item,
                answer(query, question.item.parse().unwrap()),
            ))
            .unwrap();
    }
    let last = if first.promoted {
        first.clone()
    } else {
        items.refit().seed(seed).run().unwrap()
    };
    unseen.retain(|q| !asked.contains(q));
    let before = corpus.precision(None, &unseen);
    let gain_of = |version: VersionId| match version {
        VersionId::BUILT_IN => 0.0,
        v => {
            let metric = MahalanobisMetric::new(items.metric_matrix(v).unwrap().view()).unwrap();
            (corpus.precision(Some(&metric), &unseen) - before) * 1e3
        }
    };
    let gain = gain_of(items.active_metric(None));
    // Where a shrunken metric was promoted, `force` gives the candidate itself.
    let candidate = last.shrinkage.map_or(last.version, |_| {
        items.refit().seed(seed).force(true).run().unwrap().version
    });
    let round = Round {
        first: first.promoted,
        questions: first.questions.len(),
        promoted: last.promoted,
        shrunken: last.shrinkage.is_some(),
        gain,
        ungated: gain_of(candidate.unwrap()),
        reason: last.gate.reason.clone(),
    };
    items.forget(&Forget::User(USER.into())).unwrap();
    assert_eq!(
        (items.judgement_count(), items.active_metric(None)),
        (0, VersionId(0))
    );
    round
}

#[test]
fn answers_let_good_candidates_pass_and_no_worse_ones() {
    for corpus in ["debian-6000", "wordnet-6000"]
        .into_iter()
        .filter_map(corpus)
    {
        let (_dir, items) = store_of(&corpus);
        let same = |q: usize, i: usize| corpus.same_label(q, i);
        let good = round(&corpus, &items, 10, 2, same, same);
        assert!(
            good.questions <= 30 && good.promoted && good.gain > 0.0,
            "{}: {}",
            corpus.name,
            good.reason
        );
        // Judgements of the opposite label, with questions answered rightly.
        let bad = round(&corpus, &items, 100, 2, |q, i| !same(q, i), same);
        assert!(
            !bad.promoted || bad.gain >= -2.0,
            "{}: gain {}, {}",
            corpus.name,
            bad.gain,
            bad.reason
        );
    }
}

/// Prints the table of `docs/feedback.md` when `AFFINIS_TABLE` is set, those rows whose name holds
/// its value; asserts nothing.
#[test]
#[ignore = "prints a table"]
fn table() {
    let Ok(wanted) = std::env::var("AFFINIS_TABLE") else {
        eprintln!(
            "skipped: set AFFINIS_TABLE to print the table, to `all` or to a part of a row's name"
        );
        return;
    };
    for corpus in ["debian-6000", "wordnet-6000"]
        .into_iter()
        .filter_map(corpus)
    {
        let (_dir, items) = store_of(&corpus);
        let same = |q: usize, i: usize| corpus.same_label(q, i);
        for (queries, kind) in [
            (3, 0),
            (10, 0),
            (30, 0),
            (3, 1),
            (10, 1),
            (30, 1),
            (3, 2),
            (10, 2),
            (30, 2),
            (100, 2),
            (3, 3),
            (10, 3),
            (30, 3),
            (100, 3),
        ] {
            let what = [
                "true",
                "coins",
                "inverted, asked truly",
                "inverted, asked too",
            ][kind];
            if wanted != "all"
                && !format!("{} {what}, {} judgements", corpus.name, queries * 10).contains(&wanted)
            {
                continue;
            }
            let seeds = if kind == 0 { 10 } else { 5 };
            let rounds: Vec<Round> = (1..=seeds)
                .map(|seed| {
                    let (mut a, mut b) = (Random(seed + 77), Random(seed + 99));
                    match kind {
                        0 => round(&corpus, &items, queries, seed, same, same),
                        1 => round(
                            &corpus,
                            &items,
                            queries,
                            seed,
                            |_, _| a.next() & 1 == 1,
                            |_, _| b.next() & 1 == 1,
                        ),
                        2 => round(&corpus, &items, queries, seed, |q, i| !same(q, i), same),
                        _ => round(
                            &corpus,
                            &items,
                            queries,
                            seed,
                            |q, i| !same(q, i),
                            |q, i| !same(q, i),
                        ),
                    }
                })
                .collect();
            let mean = |of: &dyn Fn(&Round) -> f64| {
                rounds.iter().map(of).sum::<f64>() / rounds.len() as f64
            };
            eprintln!(
                "{} {what}, {} judgements: passed {} at first and {} in all of {seeds} ({} shrunken), asked {:.0}, gain {:.1} \
                 (least {:.1}), ungated {:.1}",
                corpus.name,
                queries * 10,
                rounds.iter().filter(|r| r.first).count(),
                rounds.iter().filter(|r| r.promoted).count(),
                rounds.iter().filter(|r| r.shrunken).count(),
                mean(&|r| r.questions as f64),
                mean(&|r| r.gain),
                rounds.iter().map(|r| r.gain).fold(f64::MAX, f64::min),
                mean(&|r| r.ungated)
            );
            for round in &rounds {
                eprintln!(
                    "    {:+.1} {:+.1} {}",
                    round.gain, round.ungated, round.reason
                );
            }
        }
    }
}
