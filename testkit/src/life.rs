//! A life of learning, told as text: the same on every engine that holds the same items.

use std::sync::Arc;

use affinis::engine::Learning;
use affinis::learning::{EvalQuery, Forget, Question, RefitReport};
use affinis::{Item, Judgement, MetricChoice, Query, RankBy, Result, Source, VersionId};
use ndarray::Array2;

use crate::interrupted::without_times;
use crate::kinds::{kind, kinds};

/// Number of items.
const ITEMS: usize = 300;

/// The items of the life: points of [five kinds](crate::kinds), ids `0` to `299`.
pub fn items() -> Vec<Item> {
    kinds(ITEMS)
}

/// The vector of an item.
fn vector(item: &Item) -> &[f32] {
    item.vector.as_deref().expect("a vector")
}

/// The ten items nearest to one by Euclid.
fn nearest(items: &[Item], query: usize) -> Vec<usize> {
    let distance = |other: usize| {
        let pairs = vector(&items[query]).iter().zip(vector(&items[other]));
        pairs.map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>()
    };
    let mut others: Vec<usize> = (0..items.len()).filter(|other| *other != query).collect();
    others.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
    others.truncate(10);
    others
}

/// Judgements, by their kind, of what Euclid answers to queries.
fn judged(queries: std::ops::Range<usize>, user: Option<&str>) -> Vec<Judgement> {
    let items = items();
    let mut judgements = Vec::new();
    for query in queries {
        for other in nearest(&items, query) {
            let (query, item) = (query.to_string(), other.to_string());
            let grade = if kind(&query) == kind(&item) {
                1.0
            } else {
                -1.0
            };
            let judgement = Judgement::graded(Query::like(query), item, grade);
            judgements.push(match user {
                Some(user) => judgement.user(user),
                None => judgement,
            });
        }
    }
    judgements
}

/// A report without the times that it took.
fn told(report: Result<RefitReport>) -> String {
    match report {
        Ok(mut report) => {
            report.millis = affinis::learning::RefitMillis::default();
            format!("{report:?}")
        }
        Err(error) => format!("{error}"),
    }
}

/// Everything that a collection's history says, without times. Bits of metrics are among it.
fn history(learning: &Learning) -> String {
    without_times(&format!("{:?}", learning.history().expect("a history")))
}

/// What the steps of a life said.
#[derive(Default)]
struct Tale(Vec<String>);

impl Tale {
    fn tell(&mut self, step: &str, text: String) {
        self.0.push(format!("{step}: {text}"));
    }
}

/// Lives through judging, refits, a user's own metric, questions, a trial, explanations,
/// evaluation, drift, imports, rollbacks and forgetting. Gives what each step said.
pub fn live(learning: &Arc<Learning>) -> Vec<String> {
    let mut tale = Tale::default();
    let first = learn(learning, &mut tale);
    let imported = try_out(learning, first, &mut tale);
    look_back(learning, first, imported, &mut tale);
    tale.0
}

/// Judges, refits, and asks. Gives the first version.
fn learn(learning: &Arc<Learning>, tale: &mut Tale) -> VersionId {
    tale.tell("nothing to learn", told(learning.refit().run()));
    let ids = learning.judge(&judged(0..30, None)).expect("judged");
    tale.tell("judged", format!("{ids:?}"));
    tale.tell(
        "a vector",
        format!(
            "{:?}",
            learning.judge(&[Judgement::relevant(vec![0.5; 8], "7")])
        ),
    );
    let wrong = Judgement::relevant(Query::like("0"), "no such item");
    tale.tell(
        "refused",
        format!(
            "{:?}",
            learning.judge(&[wrong]).map_err(|error| error.to_string())
        ),
    );
    let mut guidelines = learning.guidelines().expect("guidelines");
    guidelines
        .text
        .push_str("Relevant is what is of its \"kind\".");
    guidelines.scale.remove(1);
    learning.set_guidelines(&guidelines).expect("set");
    tale.tell("guidelines", format!("{:?}", learning.guidelines()));
    tale.tell("dry run", told(learning.refit().dry_run(true).run()));
    tale.tell("refit", told(learning.refit().run()));
    tale.tell("again", told(learning.refit().run()));
    let first = learning.active(None);
    tale.tell("active", format!("{first:?}"));
    let matrix = learning.metric_matrix(first).expect("a matrix");
    let bits: Vec<u64> = matrix.iter().map(|x| x.to_bits()).collect();
    tale.tell("matrix", format!("{bits:?}"));

    learning
        .judge(&judged(30..45, Some("ann")))
        .expect("judged");
    tale.tell(
        "a user's",
        told(learning.refit().user("ann").force(true).run()),
    );
    tale.tell(
        "active for the user",
        format!("{:?}", learning.active(Some("ann"))),
    );
    let asked = learning.refit().learner("lmnn").ask(6).run();
    let questions = asked.as_ref().map(|report| report.questions.clone());
    answer_and_withdraw(learning, &questions.unwrap_or_default(), tale);
    tale.tell("asked", told(asked));
    for metric in [MetricChoice::Active, MetricChoice::BuiltIn] {
        let chosen = learning.choose(metric, None).expect("a metric");
        tale.tell("chosen", format!("{:?}", chosen.version));
    }
    first
}

/// Answers a question, and withdraws the answer.
fn answer_and_withdraw(learning: &Arc<Learning>, questions: &[Question], tale: &mut Tale) {
    let open = |learning: &Arc<Learning>| learning.unanswered(questions).expect("read");
    tale.tell("open", format!("{:?}", open(learning)));
    let Some(question) = questions.first() else {
        return;
    };
    let answer = Judgement::relevant(question.query.clone(), question.item.clone());
    let answered = learning.judge(&[answer]).expect("judged");
    tale.tell("answered", format!("{:?}", open(learning)));
    let withdrawn = Forget::Judgements(answered.into_iter().collect());
    let withdrawn = learning.forget(&withdrawn).expect("forgotten");
    tale.tell("withdrawn", format!("{:?}", withdrawn.withdrawn));
    tale.tell("open again", format!("{:?}", open(learning)));
}

/// Imports a version, compares it with the first one, and tries it. Gives it.
fn try_out(learning: &Arc<Learning>, first: VersionId, tale: &mut Tale) -> VersionId {
    let matrix = Array2::from_diag(&ndarray::arr1(&[4.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]));
    let imported = learning
        .import_metric(matrix.view(), None)
        .expect("imported");
    tale.tell("imported", format!("{imported:?}"));
    tale.tell(
        "compared",
        format!(
            "{:?}",
            learning.diff(first, imported).expect("a comparison")
        ),
    );
    // All of them: a smaller sample is another one on each engine.
    let changes = learning
        .diff_neighbours(VersionId::BUILT_IN, imported)
        .sample(ITEMS + 1)
        .run();
    tale.tell(
        "neighbours",
        format!("{:?}", changes.expect("a comparison")),
    );

    let trial = learning.start_trial(imported).run().expect("a trial");
    tale.tell("trial", without_times(&format!("{trial:?}")));
    for query in 50..60 {
        let query = Query::like(query.to_string());
        let answer = learning
            .interleave(&query, 5, Some("bob"))
            .expect("an answer");
        let mut click = Judgement::relevant(query, answer.ids[0].clone()).user("bob");
        (click.source, click.shown) = (Source::Click, answer.ids.clone());
        tale.tell("interleaved", format!("{answer:?}"));
        learning.judge(&[click]).expect("judged");
    }
    tale.tell(
        "counted",
        without_times(&format!("{:?}", learning.trial().expect("a trial"))),
    );
    tale.tell(
        "ended",
        without_times(&format!("{:?}", learning.end_trial().expect("a trial"))),
    );

    imported
}

/// Explains, evaluates, rolls back, and forgets.
fn look_back(learning: &Arc<Learning>, first: VersionId, imported: VersionId, tale: &mut Tale) {
    // Under a metric that is named nothing is remembered, as on tables nothing is yet.
    let why = learning
        .explain(Query::like("8"), "3".to_owned())
        .metric(MetricChoice::Version(first))
        .run()
        .expect("an explanation");
    tale.tell("explained", format!("{why:?}"));
    let queries: Vec<EvalQuery> = (60..80)
        .map(|query| {
            let same = (0..ITEMS).filter(|other| *other != query && other % 5 == query % 5);
            EvalQuery::new(
                Query::like(query.to_string()),
                same.map(|other| other.to_string()),
            )
        })
        .collect();
    let metrics = [
        MetricChoice::BuiltIn,
        MetricChoice::Version(first),
        MetricChoice::Active,
    ];
    let measured = learning
        .evaluate(&queries, 10, &metrics, RankBy::Meaning)
        .expect("measured");
    for row in &measured.rows {
        let firsts = (&row.precision, &row.recall, &row.ndcg, &row.mrr);
        // Of the whole ranking, in which items that are equally far but for rounding may change
        // places.
        let map = row.map.mean;
        tale.tell("evaluated", format!("{:?} {firsts:?} {map:.3}", row.metric));
    }
    tale.tell(
        "drift",
        without_times(&format!("{:?}", learning.drift().expect("drift"))),
    );

    learning.promote(imported).expect("promoted");
    tale.tell("rolled back", format!("{:?}", learning.rollback(None)));
    learning.delete_metric(imported).expect("deleted");
    tale.tell(
        "stale",
        format!("{:?}", learning.stale_judgements().expect("read")),
    );
    let mut forgotten = learning
        .forget(&Forget::User("ann".to_owned()))
        .expect("forgotten");
    let refits = forgotten
        .users
        .iter_mut()
        .filter_map(|user| user.refit.as_mut());
    for report in refits.chain(forgotten.refit.as_mut()) {
        report.millis = affinis::learning::RefitMillis::default();
    }
    tale.tell("forgotten", format!("{forgotten:?}"));
    tale.tell("active at last", format!("{:?}", learning.active(None)));
    tale.tell("history", history(learning));
}
