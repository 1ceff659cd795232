//! What simulated users gain on real text. A thousand judgements improve the answers to *other*
//! queries, and random judgements make them no worse. Of two users with different notions of
//! similar, the judgements of one are a prior for the other, not a verdict.

use affinis::plugin::{Examples, Fitted, MetricLearner, Task, UpdateOf};
use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::Random;
use affinis_testkit::simulation::{Corpus, compact, corpus};

const CORPORA: [&str; 2] = ["debian-6000", "wordnet-6000"];
const UNSEEN: usize = 1000;

/// Two notions of similar: their names, and the label that each gives every item.
fn notions(corpus: &Corpus) -> [(&'static str, Vec<String>); 2] {
    if corpus.name.starts_with("wordnet") {
        let part = |label: &String| label.split('.').next().unwrap_or_default().to_owned();
        [
            ("file", corpus.labels.clone()),
            ("part of speech", corpus.labels.iter().map(part).collect()),
        ]
    } else {
        let kind = |text: &String| {
            let name = text.split(':').next().unwrap_or_default();
            let ends = [
                ("-dev", "dev"),
                ("-doc", "doc"),
                ("-data", "data"),
                ("-common", "data"),
                ("-perl", "lib"),
            ];
            let by_end = ends
                .iter()
                .find(|(end, _)| name.ends_with(end))
                .map(|(_, kind)| *kind);
            by_end
                .unwrap_or(if name.starts_with("lib") || name.starts_with("python") {
                    "lib"
                } else {
                    "program"
                })
                .to_owned()
        };
        [
            ("section", corpus.labels.clone()),
            ("package kind", corpus.texts.iter().map(kind).collect()),
        ]
    }
}

fn fit(
    corpus: &Corpus,
    examples: &Examples,
    others: Option<&Examples>,
    change: Option<UpdateOf<'_>>,
    seed: u64,
) -> Fitted {
    let (examples, others) = (compact(examples), others.map(compact));
    let task = Task::new(corpus.vectors.ncols(), &examples, &corpus.sample)
        .with_seed(seed)
        .with_update_of(change);
    match others {
        Some(others) => Mahalanobis::default().fit_personal(&task, &others).unwrap(),
        None => Mahalanobis::default().fit(&task).unwrap(),
    }
}

/// The rank of a user's metric that is a low-rank update of the other's.
const RANK: usize = 64;

/// Gains in P@10 x 1000 by one user's notion: of a metric of all judgements together, of their own
/// judgements, of their own with the other's as a prior, and of the last as a low-rank update of
/// the other's metric; and whether the gate let the last two pass.
fn gains(
    corpus: &Corpus,
    of: usize,
    own: usize,
    others: usize,
    seed: u64,
) -> ([f64; 4], [bool; 2]) {
    let notions = notions(corpus);
    let (queries, unseen) = corpus.queries(own + others, 1000, &mut Random(seed));
    let judged = |queries: &[usize], notion: usize| {
        corpus.judged(None, queries, |q, i| {
            notions[notion].1[q] == notions[notion].1[i]
        })
    };
    let (mine, theirs) = (judged(&queries[..own], of), judged(&queries[own..], 1 - of));
    let mut both = mine.clone();
    both.graded.extend(&theirs.graded);
    let precision = |fitted: Option<&Fitted>| {
        let ranked = corpus.ranked(fitted.map(|f| &*f.metric), &unseen, 10);
        let right = ranked
            .iter()
            .zip(&unseen)
            .flat_map(|(near, q)| near.iter().map(move |i| (*q, *i)));
        right
            .filter(|(q, i)| notions[of].1[*q] == notions[of].1[*i])
            .count() as f64
            / (10 * unseen.len()) as f64
    };
    let before = precision(None);
    let other = fit(corpus, &theirs, None, None, seed).metric;
    let change = UpdateOf {
        base: &other,
        rank: RANK,
    };
    let fits = [
        fit(corpus, &both, None, None, seed),
        fit(corpus, &mine, None, None, seed),
        fit(corpus, &mine, Some(&theirs), None, seed),
        fit(corpus, &mine, Some(&theirs), Some(change), seed),
    ];
    let passed = [2, 3].map(|i: usize| fits[i].report.gate.accepted);
    (
        fits.map(|fitted| (precision(Some(&fitted)) - before) * 1e3),
        passed,
    )
}

#[test]
fn the_judgements_of_others_are_a_prior_and_no_verdict() {
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        for of in 0..2 {
            let ([shared, own, personal, change], _) = gains(&corpus, of, 30, 100, 1);
            let what = format!(
                "{}, {of}: shared {shared:.1}, own {own:.1}, personal {personal:.1}, a change {change:.1}",
                corpus.name
            );
            assert!(personal > own - 3.0 && personal > 0.0, "{what}");
            assert!(change > personal - 8.0 && change > 0.0, "{what}");
        }
    }
}

/// Prints the table of `docs/feedback.md` when `AFFINIS_TABLE` is set; asserts nothing.
#[test]
#[ignore = "prints a table"]
fn table() {
    if std::env::var_os("AFFINIS_TABLE").is_none() {
        eprintln!("skipped: set AFFINIS_TABLE to print the table");
        return;
    }
    for corpus in CORPORA.into_iter().filter_map(corpus) {
        for (own, others) in [(10, 100), (30, 100), (100, 100)] {
            for of in 0..2 {
                let seeds = 3;
                let rounds: Vec<_> = (1..=seeds)
                    .map(|seed| gains(&corpus, of, own, others, seed))
                    .collect();
                let mean = |i: usize| rounds.iter().map(|r| r.0[i]).sum::<f64>() / seeds as f64;
                eprintln!(
                    "{} {}, {} judgements and {} of the other: shared {:.1}, own {:.1}, personal {:.1}, a change of \
                     {RANK} directions {:.1}; passed {}/{seeds} and {}/{seeds}",
                    corpus.name,
                    notions(&corpus)[of].0,
                    own * 10,
                    others * 10,
                    mean(0),
                    mean(1),
                    mean(2),
                    mean(3),
                    rounds.iter().filter(|r| r.1[0]).count(),
                    rounds.iter().filter(|r| r.1[1]).count()
                );
            }
        }
    }
}

/// The fit after the ten hits of each of `judged` queries were judged, and its gain in P@10 on
/// unseen queries.
fn gain(
    corpus: &Corpus,
    judged: usize,
    seed: u64,
    judge: impl FnMut(usize, usize) -> bool,
) -> (affinis::plugin::Fitted, f64) {
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
fn random_judgements_do_not_worsen_answers() {
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
