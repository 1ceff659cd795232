//! The learner's promise on real text: a thousand judgements make answers to *other* queries
//! better, and judgements that mean nothing make them no worse.

mod simulation;

use simulation::{Corpus, Random, corpus};

const CORPORA: [&str; 2] = ["debian-6000", "wordnet-6000"];
const UNSEEN: usize = 1000;

/// `(promoted, gain in P@10 on unseen queries)` after `judged` queries' top 10 were judged.
fn gain(
    corpus: &Corpus,
    judged: usize,
    seed: u64,
    judge: impl FnMut(usize, usize) -> bool,
) -> (affinis::Fitted, f64) {
    let (queries, unseen) = corpus.queries(judged, UNSEEN, &mut Random(seed));
    let fitted = corpus.fit(&corpus.judged(None, &queries, judge), None, seed);
    let before = corpus.precision(None, &unseen);
    let served = fitted.passed().unwrap_or(&fitted.metric);
    let after = corpus.precision(Some(&**served), &unseen);
    (fitted, after - before)
}

#[test]
fn a_thousand_judgements_are_promoted_and_gain_two_points() {
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        for seed in 1..=3 {
            let (fitted, gain) = gain(&corpus, 100, seed, |q, i| corpus.same_label(q, i));
            let gate = &fitted.report.gate;
            assert!(
                gate.accepted,
                "{}, seed {seed}: {}",
                corpus.name, gate.reason
            );
            assert!(gain >= 0.02, "{}, seed {seed}: gain {gain}", corpus.name);
        }
    }
}

#[test]
fn five_thousand_judgements_are_refined_and_gain_four_points() {
    for corpus in CORPORA.into_iter().take(1).filter_map(corpus) {
        let (fitted, gain) = gain(&corpus, 500, 1, |q, i| corpus.same_label(q, i));
        let report = &fitted.report;
        assert_eq!(report.learner, "contrastive", "{}: {report:?}", corpus.name);
        assert!(
            report.gate.accepted && gain >= 0.04,
            "{}: gain {gain}, {}",
            corpus.name,
            report.gate.reason
        );
    }
}

#[test]
fn random_judgements_do_no_harm() {
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        for seed in 1..=3 {
            let mut coin = Random(seed + 100);
            let (fitted, gain) = gain(&corpus, 50, seed, |_, _| coin.next() & 1 == 1);
            let gate = &fitted.report.gate;
            assert!(
                fitted.passed().is_none() || gain >= -0.002,
                "{}, seed {seed}: gain {gain}, {}",
                corpus.name,
                gate.reason
            );
        }
    }
}
