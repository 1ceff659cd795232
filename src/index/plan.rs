//! The choice of how far searches go, from what was measured of questions.
//!
//! Classes of farther queries never go less far than those of nearer ones. Beginning with the
//! smallest slack for all, the step is taken that mends most of what breaks the promise for the
//! distances that it costs, until nothing does. A step gives one class, and all that lie farther, a
//! larger slack or a scan.

use std::collections::BTreeMap;

use crate::index::calibrations::{Class, Curve, LEVELS, Level, Plans, SLACKS};
use crate::index::search::evaluations_of_scan;
use crate::model::{DEFAULT_RECALL, KindRecall, QueryForm, QuestionKind};

/// Fewest questions in a class.
const MIN_CLASS: usize = 40;
/// Fewest questions of a form that have plans of their own.
const MIN_OF_FORM: usize = 100;
/// Most classes.
const MAX_CLASSES: usize = 10;
/// The reach of a class whose items are scanned.
const SCAN: usize = SLACKS.len();
/// Share of `1 - recall` that questions may be whose nearest item is missed, or most of whose
/// items.
const MISSED_SHARE: f64 = 0.2;
/// So much of that share is used up on the sample, because another one is less lucky.
const CAUTION: f64 = 0.3;
/// Of at least so many questions, one may be missed in any case.
const ONE_MISSED_FROM: usize = 60;

/// What a search found of a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    /// Share of the exact neighbours, 0 to 1.
    pub(crate) recall: f32,
    /// Whether the nearest item is among what was found.
    pub(crate) has_nearest: bool,
    /// Number of distances computed.
    pub(crate) evaluations: u32,
}

/// A question with what was found of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    /// The kind.
    pub(crate) kind: QuestionKind,
    /// The form of the query.
    pub(crate) form: QueryForm,
    /// The distance at which its class is decided.
    pub(crate) rest: f32,
    /// The outcome with each of [`SLACKS`].
    pub(crate) outcomes: [Outcome; SLACKS.len()],
}

impl Question {
    /// The outcome with a reach: a position in [`SLACKS`], or [`SCAN`].
    fn outcome(&self, reach: usize, scan: u32) -> Outcome {
        self.outcomes.get(reach).copied().unwrap_or(Outcome {
            recall: 1.0,
            has_nearest: true,
            evaluations: self.outcomes[0].evaluations + scan,
        })
    }
}

/// Plans for each form of query and each of [`LEVELS`] on a collection of `held` items.
pub(crate) fn plan(questions: &[Question], held: usize) -> Curve {
    let (any, mut kinds) = plan_for(questions.iter().collect(), held);
    let mut forms = BTreeMap::new();
    for form in QueryForm::ALL {
        let of_form = |question: &&Question| question.form == form;
        let questions: Vec<&Question> = questions.iter().filter(of_form).collect();
        if form != QueryForm::Any && questions.len() >= MIN_OF_FORM {
            let (plans, of_form) = plan_for(questions, held);
            forms.insert(form, plans);
            for figures in of_form {
                let is_same = |known: &&mut KindRecall| known.kind == figures.kind;
                if let Some(known) = kinds.iter_mut().find(is_same) {
                    *known = figures;
                }
            }
        }
    }
    Curve {
        on_vectors: false,
        any,
        forms,
        kinds,
    }
}

/// Plans for each of [`LEVELS`], and what searches with the default recall reach by them.
fn plan_for(questions: Vec<&Question>, held: usize) -> (Plans, Vec<KindRecall>) {
    let scan = evaluations_of_scan(held) as u32;
    let bounds = bounds(&questions);
    let class_of = |question: &&Question| bounds.partition_point(|bound| *bound < question.rest);
    let mut kinds: Vec<QuestionKind> = questions.iter().map(|question| question.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let kind_of = |question: &&Question| kinds.partition_point(|kind| *kind < question.kind);
    let planning = Planning {
        classes: questions.iter().map(class_of).collect(),
        class_count: bounds.len() + 1,
        kinds_of: questions.iter().map(kind_of).collect(),
        questions,
        kinds: &kinds,
        scan,
    };
    let chosen = LEVELS.map(|recall| planning.choose(recall));
    let levels = chosen.iter().map(|reaches| planning.level(reaches));
    let default = LEVELS.iter().position(|level| *level >= DEFAULT_RECALL);
    let plans = Plans {
        levels: levels.collect(),
        bounds,
    };
    (
        plans,
        planning.by_kind(&chosen[default.unwrap_or_default()]),
    )
}

/// The distances at rest that divide questions into classes of nearly equal size. The last class
/// begins beyond all questions.
fn bounds(questions: &[&Question]) -> Vec<f32> {
    let mut rests: Vec<f32> = questions.iter().map(|question| question.rest).collect();
    rests.sort_unstable_by(f32::total_cmp);
    let count = (rests.len() / MIN_CLASS).clamp(1, MAX_CLASSES);
    let mut bounds: Vec<f32> = (1..count)
        .map(|i| rests[i * rests.len() / count - 1])
        .chain(rests.last().copied())
        .collect();
    bounds.dedup();
    bounds
}

/// The choice of reaches for classes of questions.
struct Planning<'a> {
    questions: Vec<&'a Question>,
    /// The class of each question.
    classes: Vec<usize>,
    class_count: usize,
    /// The position of each question's kind among `kinds`.
    kinds_of: Vec<usize>,
    kinds: &'a [QuestionKind],
    /// What a scan costs, in distances of a walk.
    scan: u32,
}

impl Planning<'_> {
    /// The reach of each class that keeps the promise for a recall.
    fn choose(&self, recall: f64) -> Vec<usize> {
        let mut reaches = vec![0; self.class_count];
        let (mut broken, mut cost) = (self.broken(&reaches, recall), self.cost(&reaches));
        while broken > 0.0 {
            let mut best: Option<(f64, Vec<usize>, f64, f64)> = None;
            for class in 0..self.class_count {
                for reach in reaches[class] + 1..=SCAN {
                    let mut further = reaches.clone();
                    for later in &mut further[class..] {
                        *later = reach.max(*later);
                    }
                    let (still, costs) = (self.broken(&further, recall), self.cost(&further));
                    // A step that costs nothing, or even saves, counts as one distance.
                    let worth = (broken - still) / (costs - cost).max(1.0);
                    if still < broken && best.as_ref().is_none_or(|best| worth > best.0) {
                        best = Some((worth, further, still, costs));
                    }
                }
            }
            match best {
                Some((_, further, still, costs)) => {
                    (reaches, broken, cost) = (further, still, costs);
                }
                None => return vec![SCAN; self.class_count],
            }
        }
        // Nothing is known of queries beyond all questions.
        if let [.., last, beyond] = &mut *reaches {
            *beyond = (*last + 1).min(SCAN);
        }
        self.scan_where_cheaper(&mut reaches);
        reaches
    }

    /// How much breaks the promise for a recall: 0 if nothing does.
    fn broken(&self, reaches: &[usize], recall: f64) -> f64 {
        let missed_share = CAUTION * MISSED_SHARE * (1.0 - recall);
        let of_kind = |(kind, sums): (&QuestionKind, &Sums)| {
            let lacking = ((recall - sums.less_standard_error()) * sums.count).max(0.0);
            if *kind == QuestionKind::BetweenItems {
                return lacking;
            }
            let mut allowed = (missed_share * sums.count).floor();
            if sums.count >= ONE_MISSED_FROM as f64 && recall <= DEFAULT_RECALL {
                allowed = allowed.max(1.0);
            }
            let beyond = |missed: f64| (missed - allowed).max(0.0);
            beyond(sums.without_nearest) + beyond(sums.below_half) + lacking
        };
        let by_kind = self.sums_by_kind(reaches);
        self.kinds.iter().zip(&by_kind).map(of_kind).sum()
    }

    /// The cost of all questions, in distances of a walk.
    fn cost(&self, reaches: &[usize]) -> f64 {
        self.sums(reaches, |_, _| true).evaluations
    }

    /// Gives those classes a scan that are no cheaper without, and all that lie farther.
    fn scan_where_cheaper(&self, reaches: &mut [usize]) {
        let is_cheaper = |class: usize| {
            let in_class = |_: &Question, of: usize| of == class;
            let mut scanned = reaches.to_vec();
            scanned[class] = SCAN;
            let (walks, scans) = (self.sums(reaches, in_class), self.sums(&scanned, in_class));
            walks.count > 0.0 && scans.evaluations <= walks.evaluations
        };
        if let Some(first) = (0..self.class_count).find(|class| is_cheaper(*class)) {
            reaches[first..].fill(SCAN);
        }
    }

    fn level(&self, reaches: &[usize]) -> Level {
        let all = self.sums(reaches, |_, _| true);
        let class = |(class, reach): (usize, &usize)| {
            let sums = self.sums(reaches, |_, of| of == class);
            Class {
                reach: *reach as u8,
                // Nothing was measured beyond all questions.
                recall: if sums.count > 0.0 {
                    sums.mean() as f32
                } else {
                    all.mean() as f32
                },
            }
        };
        Level {
            classes: reaches.iter().enumerate().map(class).collect(),
            evaluations: all.evaluations / all.count.max(1.0),
        }
    }

    fn by_kind(&self, reaches: &[usize]) -> Vec<KindRecall> {
        let figures = |(kind, sums): (&QuestionKind, Sums)| {
            let share = |missed: f64| (missed / sums.count) as f32;
            KindRecall {
                kind: *kind,
                questions: sums.count as u32,
                recall: sums.mean() as f32,
                recall_at_1: 1.0 - share(sums.without_nearest),
                below_half: share(sums.below_half),
            }
        };
        let by_kind = self.sums_by_kind(reaches);
        self.kinds.iter().zip(by_kind).map(figures).collect()
    }

    /// Sums over the questions of each kind.
    fn sums_by_kind(&self, reaches: &[usize]) -> Vec<Sums> {
        let mut by_kind: Vec<Sums> = self.kinds.iter().map(|_| Sums::default()).collect();
        let of_questions = self.classes.iter().zip(&self.kinds_of);
        for (question, (class, kind)) in self.questions.iter().zip(of_questions) {
            by_kind[*kind].add(question.outcome(reaches[*class], self.scan));
        }
        by_kind
    }

    /// Sums over the questions, with their classes, that `chosen` chooses.
    fn sums(&self, reaches: &[usize], chosen: impl Fn(&Question, usize) -> bool) -> Sums {
        let mut sums = Sums::default();
        for (question, class) in self.questions.iter().zip(&self.classes) {
            if chosen(question, *class) {
                sums.add(question.outcome(reaches[*class], self.scan));
            }
        }
        sums
    }
}

/// Sums over outcomes.
#[derive(Default)]
struct Sums {
    count: f64,
    recall: f64,
    squared_recall: f64,
    without_nearest: f64,
    below_half: f64,
    evaluations: f64,
}

impl Sums {
    fn add(&mut self, outcome: Outcome) {
        let recall = f64::from(outcome.recall);
        self.count += 1.0;
        self.recall += recall;
        self.squared_recall += recall * recall;
        self.without_nearest += f64::from(u8::from(!outcome.has_nearest));
        self.below_half += f64::from(u8::from(outcome.recall < 0.5));
        self.evaluations += f64::from(outcome.evaluations);
    }

    fn mean(&self) -> f64 {
        self.recall / self.count.max(1.0)
    }

    /// The mean recall, less its standard error, since a sample can be lucky.
    fn less_standard_error(&self) -> f64 {
        let n = self.count.max(1.0);
        let variance = (self.squared_recall - n * self.mean().powi(2)) / (n - 1.0).max(1.0);
        self.mean() - (variance.max(0.0) / n).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions of a kind of which every search with a slack from position `from` on finds all.
    fn questions(kind: QuestionKind, rest: f32, from: usize) -> Vec<Question> {
        let outcome = |reach: usize| Outcome {
            recall: if reach < from { 0.3 } else { 1.0 },
            has_nearest: reach >= from,
            evaluations: 100 * (reach as u32 + 1),
        };
        let question = Question {
            kind,
            form: QueryForm::Any,
            rest,
            outcomes: std::array::from_fn(outcome),
        };
        vec![question; 100]
    }

    fn reaches(curve: &Curve, recall: f64) -> Vec<u8> {
        let level = LEVELS.iter().position(|level| *level == recall);
        let classes = &curve.any.levels[level.expect("a level")].classes;
        classes.iter().map(|class| class.reach).collect()
    }

    #[test]
    fn each_class_goes_as_far_as_its_questions_need() {
        let near = questions(QuestionKind::NearItems, 0.2, 1);
        let far = questions(QuestionKind::OneWord, 0.9, 4);
        let curve = plan(&[near, far].concat(), 100_000);
        let chosen = reaches(&curve, 0.95);
        let class_of = |rest: f32| curve.any.bounds.partition_point(|bound| *bound < rest);
        assert_eq!(chosen[class_of(0.2)], 1);
        assert_eq!(chosen[class_of(0.9)], 4);
        assert_eq!(chosen[class_of(1.5)], 5, "beyond all questions");
        assert!(curve.is_sound());
        assert!(curve.kinds.iter().all(|kind| kind.recall == 1.0));
    }

    #[test]
    fn what_no_walk_finds_is_scanned_and_so_is_what_a_scan_finds_sooner() {
        let near = questions(QuestionKind::NearItems, 0.2, 0);
        let lost = questions(QuestionKind::OneWord, 0.9, SCAN);
        let curve = plan(&[near.clone(), lost].concat(), 100_000);
        let is_scanned = |chosen: &[u8]| chosen.contains(&(SCAN as u8));
        assert!(is_scanned(&reaches(&curve, 0.95)));
        assert_eq!(reaches(&curve, 0.95)[0], 0);
        // A walk with the needed slack computes 700 distances more; a scan of 300 items takes 100.
        let costly = questions(QuestionKind::OneWord, 0.9, 7);
        let curve = plan(&[near, costly].concat(), 300);
        assert!(is_scanned(&reaches(&curve, 0.95)));
    }

    #[test]
    fn a_kind_that_is_seldom_asked_is_not_hidden_by_the_others() {
        let mut all = questions(QuestionKind::NearItems, 0.2, 0);
        all.extend(questions(QuestionKind::NearItems, 0.2, 0));
        all.extend(
            questions(QuestionKind::Fragment, 0.2, 3)
                .into_iter()
                .take(60),
        );
        let curve = plan(&all, 100_000);
        assert_eq!(reaches(&curve, 0.95)[0], 3);
    }
}
