//! The learner's promise on real text: a thousand judgements make answers to *other* queries better, and judgements
//! that mean nothing make them no worse.

mod simulation;

use simulation::{Corpus, Random, corpus};

const CORPORA: [&str; 2] = ["debian-6000", "wordnet-6000"];
const UNSEEN: usize = 1000;

/// `(promoted, gain in P@10 on unseen queries)` after `judged` queries' top 10 were judged.
fn gain(corpus: &Corpus, judged: usize, seed: u64, judge: impl FnMut(usize, usize) -> bool) -> (affinis::Fitted, f64) {
    let (queries, unseen) = corpus.queries(judged, UNSEEN, &mut Random(seed));
    let fitted = corpus.fit(&corpus.judged(None, &queries, judge), None, seed);
    let before = corpus.precision(None, &unseen);
    let after = corpus.precision(Some(&*fitted.metric), &unseen);
    (fitted, after - before)
}

#[test]
fn a_thousand_judgements_are_promoted_and_gain_two_points() {
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        for seed in 1..=3 {
            let (fitted, gain) = gain(&corpus, 100, seed, |q, i| corpus.same_label(q, i));
            let gate = &fitted.report.gate;
            assert!(gate.accepted, "{}, seed {seed}: {}", corpus.name, gate.reason);
            assert!(gain >= 0.02, "{}, seed {seed}: gain {gain}", corpus.name);
        }
    }
}

#[test]
fn random_judgements_do_no_harm() {
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        for seed in 1..=3 {
            let mut coin = Random(seed + 100);
            let (fitted, gain) = gain(&corpus, 50, seed, |_, _| coin.next() & 1 == 1);
            let gate = &fitted.report.gate;
            assert!(!gate.accepted || gain >= -0.002, "{}, seed {seed}: gain {gain}, {}", corpus.name, gate.reason);
        }
    }
}

/// Prints gains at several budgets when `AFFINIS_TABLE` is set; asserts nothing.
#[test]
fn table() {
    if std::env::var_os("AFFINIS_TABLE").is_none() {
        eprintln!("skipped: set AFFINIS_TABLE to print the table");
        return;
    }
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        let wanted = std::env::var("AFFINIS_TABLE").unwrap_or_default();
        let only: Vec<usize> = wanted.split(',').filter_map(|n| n.parse().ok()).filter(|n| *n > 1).collect();
        for judged in [3, 10, 30, 100, 500].into_iter().filter(|n| only.is_empty() || only.contains(n)) {
            let (mut ungated, mut gated, mut promoted, mut millis) = (0.0, 0.0, 0, (0.0, 0.0));
            let mut each = Vec::new();
            let seeds = 5;
            for seed in 1..=seeds {
                let (fitted, gain) = gain(&corpus, judged, seed, |q, i| corpus.same_label(q, i));
                let accepted = fitted.report.gate.accepted;
                eprintln!("{} {judged}: {}", corpus.name, fitted.report.gate.reason);
                each.push(format!(
                    "{:.0}{}@{}{:.1}",
                    gain * 1e3,
                    if accepted { "+" } else { "" },
                    fitted.report.learner,
                    fitted.report.t
                ));
                ungated += gain * 1e3 / seeds as f64;
                gated += if accepted { gain * 1e3 / seeds as f64 } else { 0.0 };
                promoted += u32::from(accepted);
                millis.0 += fitted.report.fit_millis / seeds as f64;
                millis.1 += fitted.report.gate_millis / seeds as f64;
            }
            eprintln!(
                "{} {} judgements: ungated {ungated:.1}, gated {gated:.1}, promoted {promoted}/{seeds}, fit {:.0} ms, gate {:.0} ms [{}]",
                corpus.name,
                judged * 10,
                millis.0,
                millis.1,
                each.join(" ")
            );
        }
    }
}
