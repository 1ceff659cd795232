//! All of learning on an engine in memory: no database, no index, and a small plugin.
//!
//! Items lie around the 16 corners of `{-3, 3}^4`. The *shape* of an item is its corner by the first
//! two axes, its *colour* that by the last two. Euclid minds both alike; people mind one of them.

mod diagonal;
mod memory;
mod versions;
mod watching;

use std::sync::Arc;

use ndarray::Array2;

use super::{Forget, Learning, Ledger, Plugins, Refit, StoredItem};
use crate::model::error::{Error, Result};
use crate::model::{
    Distance, Judgement, JudgementId, MetricChoice, Query, Source, VectorRules, VersionId,
};
use diagonal::DiagonalLearner;
use memory::Memory;

const DIM: usize = 4;
const ITEMS: usize = 120;

/// What makes two items alike.
#[derive(Clone, Copy)]
enum Taste {
    Shape,
    Colour,
}

impl Taste {
    /// Whether the items of two numbers are alike.
    fn alike(self, a: usize, b: usize) -> bool {
        match self {
            Self::Shape => a % 4 == b % 4,
            Self::Colour => a / 4 % 4 == b / 4 % 4,
        }
    }
}

/// The learning of a collection of items with its engine.
struct Lab {
    engine: Arc<Memory>,
    learning: Arc<Learning>,
}

impl Lab {
    fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let mut coordinate = |corner: usize| 6.0 * corner as f32 - 3.0 + 1.2 * random.f32() - 0.6;
        let items = (0..ITEMS).map(|i| StoredItem {
            id: id(i),
            vector: [i % 2, i / 2 % 2, i / 4 % 2, i / 8 % 2]
                .map(&mut coordinate)
                .to_vec(),
        });
        Self::on(Arc::new(Memory::new(items.collect())))
    }

    /// Opens the learning of an engine.
    fn on(engine: Arc<Memory>) -> Self {
        let rules = VectorRules {
            dim: DIM,
            distance: Distance::L2,
        };
        let plugins: Plugins = Arc::new([Arc::new(DiagonalLearner) as _]);
        let learning = Learning::open("things", rules, engine.clone(), engine.clone(), plugins);
        let learning = learning.unwrap();
        Self { engine, learning }
    }

    /// Stores somebody's judgements by their taste: of each query, three items that are alike and
    /// three that are not.
    fn judge(&self, queries: std::ops::Range<usize>, taste: Taste, user: Option<&str>) {
        let judgements: Vec<Judgement> = queries.flat_map(|q| judged(q, taste, user)).collect();
        self.learning.judge(&judgements).unwrap();
    }

    /// Learns a metric for everybody from 20 queries, and promotes it.
    fn learn_shape(&self) -> VersionId {
        self.judge(0..20, Taste::Shape, None);
        let report = self.learning.refit().run().unwrap();
        assert!(report.promoted, "{:?}", report.gate);
        report.version.unwrap()
    }

    /// A diagonal metric as a version that is not active.
    fn import(&self, weights: [f64; DIM]) -> VersionId {
        let matrix = Array2::from_diag(&ndarray::arr1(&weights));
        self.learning.import_metric(matrix.view(), None).unwrap()
    }

    /// The share of items that are alike among the 20 that are nearest to an item, over all items,
    /// under the metric that is active for a user.
    fn precision(&self, taste: Taste, user: Option<&str>) -> f64 {
        let metric = self.learning.choose(MetricChoice::Active, user).unwrap();
        let share = |q: usize| {
            let query = Query::like(id(q));
            let vector = self.learning.query_vector(&query).unwrap();
            let found = self.learning.ranking(&metric, &query, &vector, 20).unwrap();
            let alike = found.iter().filter(|id| taste.alike(q, number(id)));
            alike.count() as f64 / 20.0
        };
        (0..ITEMS).map(share).sum::<f64>() / ITEMS as f64
    }

    /// The stored bytes of a version's metric.
    fn bytes(&self, version: VersionId) -> Option<Vec<u8>> {
        self.engine.metric(version).unwrap()
    }
}

fn id(item: usize) -> String {
    format!("item-{item}")
}

fn number(id: &str) -> usize {
    id["item-".len()..].parse().unwrap()
}

/// Judgements of one query by a taste.
fn judged(query: usize, taste: Taste, user: Option<&str>) -> Vec<Judgement> {
    let mut random = fastrand::Rng::with_seed(query as u64);
    let mut others: Vec<usize> = (0..ITEMS).filter(|item| *item != query).collect();
    random.shuffle(&mut others);
    let mut made = Vec::new();
    for (alike, grade) in [(true, 1.0), (false, -1.0)] {
        let chosen = others.iter().filter(|x| taste.alike(query, **x) == alike);
        for item in chosen.take(3) {
            let judgement = Judgement::graded(Query::like(id(query)), id(*item), grade);
            made.push(match user {
                Some(user) => judgement.user(user),
                None => judgement,
            });
        }
    }
    made
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<JudgementId> {
    numbers.into_iter().map(JudgementId).collect()
}

#[test]
fn judgements_are_numbered_kept_as_given_and_stored_all_or_none() {
    let lab = Lab::new();
    let given = [
        Judgement::relevant("1 0 0 0", "item-1").user("ann"),
        Judgement::irrelevant("1 0 0 0", "item-2").weight(2.0),
        Judgement::relevant(vec![0.0, 1.0, 0.0, 0.0], "item-3").source(Source::Click),
        Judgement::similar("item-4", "item-5"),
    ];
    assert_eq!(lab.learning.judge(&given).unwrap(), ids(0..4));
    let stored = lab.learning.judgements().unwrap();
    for (stored, given) in stored.iter().zip(&given) {
        let judgement = &stored.judgement;
        assert_eq!(judgement.subject, given.subject);
        assert_eq!(
            (&judgement.user, judgement.weight),
            (&given.user, given.weight)
        );
        assert!(judgement.at.is_some());
    }
    assert_eq!(lab.engine.queries(), 2, "a text and a vector");
    let with_unknown = [given[0].clone(), Judgement::relevant("0 0 0 1", "no-item")];
    let refused = lab.learning.judge(&with_unknown);
    assert!(matches!(
        refused,
        Err(Error::InvalidJudgement { index: 1, .. })
    ));
    assert_eq!(lab.learning.judgements().unwrap().len(), 4);
    assert_eq!(lab.learning.judge(&given[..1]).unwrap(), ids(4..5));
    assert_eq!(lab.engine.encoded(), 1, "a text is encoded once");
}

#[test]
fn a_promoted_metric_changes_the_order_and_a_dry_run_nothing() {
    let lab = Lab::new();
    assert!(matches!(
        lab.learning.refit().run(),
        Err(Error::NoJudgements { .. })
    ));
    lab.judge(0..20, Taste::Shape, None);
    let before = lab.precision(Taste::Shape, None);
    assert!(before < 0.75, "Euclid knows no shapes: {before}");
    let dry = lab.learning.refit().dry_run(true).run().unwrap();
    assert!(dry.gate.accepted && !dry.promoted && dry.version.is_none());
    assert_eq!(lab.learning.metrics().unwrap().len(), 1);
    assert_eq!(lab.precision(Taste::Shape, None), before);

    let report = lab.learning.refit().run().unwrap();
    assert_eq!(
        (report.promoted, report.version),
        (true, Some(VersionId(1)))
    );
    assert_eq!(report.parent, VersionId::BUILT_IN);
    let after = lab.precision(Taste::Shape, None);
    assert!(after > 0.99, "{before}, then {after}");
    assert_eq!(lab.engine.served(), 1);
    let version = lab.learning.metric(VersionId(1)).unwrap();
    assert!(version.active && version.gate.is_some_and(|gate| gate.accepted));
    assert_eq!((version.pairs.similar, version.pairs.dissimilar), (60, 60));
    assert_eq!(lab.learning.unlearned().unwrap(), 0);
}

#[test]
fn the_gate_keeps_out_what_does_not_help_and_force_lets_it_in() {
    let lab = Lab::new();
    lab.judge(0..20, Taste::Shape, None);
    let timid = || lab.learning.refit().learner("timid");
    let refused = timid().run().unwrap();
    assert!(!refused.promoted && !refused.gate.accepted);
    assert_eq!(lab.learning.active(None), VersionId::BUILT_IN);
    assert_eq!(lab.engine.served(), VersionId::BUILT_IN);
    assert!(
        lab.bytes(VersionId(1)).is_some(),
        "it is a version all the same"
    );
    let forced = timid().force(true).run().unwrap();
    assert!(forced.promoted && forced.unchanged && !forced.gate.accepted);
    assert_eq!(lab.learning.active(None), 1, "what was refused is promoted");
    let unknown = lab.learning.refit().learner("guess").run();
    assert!(matches!(unknown, Err(Error::Learn(_))), "{unknown:?}");
    let cancelled = lab.learning.refit().cancel(|| true).run();
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    assert_eq!(
        lab.learning.metrics().unwrap().len(),
        2,
        "neither left a version"
    );
}

#[test]
fn a_shrunken_metric_takes_the_place_of_a_candidate_that_does_not_pass() {
    let lab = Lab::new();
    lab.judge(0..20, Taste::Shape, None);
    let report = lab.learning.refit().learner("shrinking").run().unwrap();
    assert!(report.promoted && report.shrinkage == Some(1.0 / 3.0));
    let shrunken = lab.learning.metric_matrix(VersionId(1)).unwrap();
    let whole = lab.learning.refit().learner("timid").run().unwrap();
    let whole = lab.learning.metric_matrix(whole.version.unwrap()).unwrap();
    let expected = whole.diag().mapv(|w| (2.0 + w) / 3.0);
    assert!(
        (&shrunken.diag() - &expected)
            .iter()
            .all(|e| e.abs() < 1e-12)
    );
}

#[test]
fn a_user_has_a_metric_of_their_own_beside_everybody_s() {
    let lab = Lab::new();
    lab.learn_shape();
    lab.judge(20..50, Taste::Colour, Some("ann"));
    let ann = Some("ann");
    let report = lab.learning.refit().user("ann").rank(1).run().unwrap();
    assert!(report.promoted, "{:?}", report.gate);
    let own = lab.learning.metric(report.version.unwrap()).unwrap();
    assert_eq!((own.user.as_deref(), own.base), (ann, Some(VersionId(1))));
    assert!(lab.precision(Taste::Colour, ann) > 0.9);
    assert!(
        lab.precision(Taste::Shape, None) > 0.9,
        "others keep theirs"
    );
    // It is read back through its base.
    let again = Lab::on(lab.engine.clone());
    assert_eq!(again.learning.active(ann), own.version);
    assert_eq!(
        again.precision(Taste::Colour, ann),
        lab.precision(Taste::Colour, ann)
    );
    lab.learning.clear_user_metric("ann").unwrap();
    assert_eq!(lab.learning.active(ann), 1);
    assert!(lab.precision(Taste::Colour, ann) < 0.75);
}

#[test]
fn a_refit_in_the_background_begins_when_it_is_due() {
    let lab = Lab::new();
    lab.learning.background().set_refit_after(120);
    lab.judge(0..10, Taste::Shape, None);
    lab.learning.settle();
    assert!(lab.learning.background_refit().is_none());
    lab.judge(10..20, Taste::Shape, None);
    lab.learning.settle();
    let report = lab.learning.background_refit().unwrap().unwrap();
    assert!(report.promoted && lab.learning.active(None) == 1);
}

#[test]
fn questions_are_asked_in_twos_and_their_answers_decide() {
    for right in [true, false] {
        let lab = Lab::new();
        lab.judge(0..10, Taste::Shape, None);
        let timid = || lab.learning.refit().learner("timid");
        let report = timid().ask(40).run().unwrap();
        assert!(!report.promoted && report.questions.len() == 40);
        let mut answers = Vec::new();
        for pair in report.questions.chunks(2) {
            assert_eq!(pair[0].query, pair[1].query);
            for question in pair {
                let Query::Item(query) = &question.query else {
                    panic!("{question:?}");
                };
                assert!(number(query) >= 10, "{query} was judged before");
                let alike = Taste::Shape.alike(number(query), number(&question.item));
                let grade = if alike == right { 1.0 } else { -1.0 };
                let query = question.query.clone();
                answers.push(Judgement::graded(query, &question.item, grade));
            }
        }
        assert_eq!(lab.learning.metric(VersionId(1)).unwrap().asked, Some(40));
        lab.learning.judge(&answers).unwrap();
        let decided = timid().run().unwrap();
        assert_eq!(decided.promoted, right, "{}", decided.gate.reason);
        assert!(decided.gate.reason.contains("for the candidate"));
    }
}

#[test]
fn what_is_forgotten_leaves_what_was_never_judged_to_the_bit() {
    let of_ann = || (20..40).flat_map(|q| judged(q, Taste::Shape, Some("ann")));
    let with = Lab::new();
    with.judge(0..20, Taste::Shape, None);
    with.learning.judge(&of_ann().collect::<Vec<_>>()).unwrap();
    let text = Judgement::relevant("3 3 0 0", "item-3").user("ann");
    with.learning.judge(&[text]).unwrap();
    assert!(with.learning.refit().seed(3).run().unwrap().promoted);
    assert!(
        with.learning
            .refit()
            .user("ann")
            .force(true)
            .run()
            .unwrap()
            .promoted
    );
    let forgotten = with
        .learning
        .forget(&Forget::User("ann".to_owned()))
        .unwrap();
    assert_eq!(forgotten.removed, 121);
    assert_eq!(forgotten.withdrawn, [VersionId(1), VersionId(2)]);
    assert_eq!(
        (with.bytes(VersionId(1)), with.bytes(VersionId(2))),
        (None, None)
    );
    assert_eq!(
        (with.engine.queries(), with.learning.active(Some("ann"))),
        (0, forgotten.active)
    );
    assert!(matches!(
        with.learning.promote(VersionId(1)),
        Err(Error::WithdrawnVersion(_))
    ));

    let without = Lab::new();
    without.learn_shape();
    assert_eq!(with.bytes(forgotten.active), without.bytes(VersionId(1)));
    assert!(with.bytes(forgotten.active).is_some());
    let settings = with.learning.metric(forgotten.active).unwrap().settings;
    assert_eq!(settings.seed, 3, "the settings of before");
}

#[test]
fn an_item_is_forgotten_with_what_was_learned_from_it() {
    let with = Lab::new();
    with.judge(0..20, Taste::Shape, None);
    let of_item = [60, 64, 68].map(|q| Judgement::relevant(Query::like(id(q)), "item-100"));
    with.learning.judge(&of_item).unwrap();
    let learned = with.learning.refit().run().unwrap().version.unwrap();
    let bytes = with.bytes(learned);
    let never = Forget::Item("item-119-b".to_owned());
    assert_eq!(with.learning.forget(&never).unwrap().removed, 0);
    assert_eq!(with.learning.active(None), learned, "nothing speaks of it");

    let without = Lab::new();
    let named = |j: &Judgement| j.ids().any(|id| id == "item-100");
    let kept = (0..20).flat_map(|q| judged(q, Taste::Shape, None));
    let kept: Vec<Judgement> = kept.filter(|j| !named(j)).collect();
    without.learning.judge(&kept).unwrap();
    without.learning.refit().run().unwrap();
    let forgotten = with
        .learning
        .forget(&Forget::Item("item-100".to_owned()))
        .unwrap();
    assert_eq!(forgotten.removed, 123 - kept.len());
    assert_ne!(with.bytes(forgotten.active), bytes);
    assert_eq!(with.bytes(forgotten.active), without.bytes(VersionId(1)));
}

/// A refit of `lab` that must promote.
fn promoted(refit: Refit) -> Result<VersionId> {
    let report = refit.run()?;
    assert!(report.promoted, "{:?}", report.gate);
    Ok(report.version.unwrap_or_default())
}
