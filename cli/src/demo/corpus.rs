//! The texts of the demo, and the queries that are shown, judged and measured.

use std::collections::HashMap;

use crate::failure::Failure;

/// Licence of the glosses, which every copy of them must include.
pub(super) const LICENCE: &str = include_str!("../../data/LICENSE-WORDNET");

/// 6,000 glosses of `WordNet` 3.0 with the name of their lexicographer file, `label<TAB>text`.
/// Licence: LICENSE-WORDNET.
const WORDNET: &str = include_str!("../../data/wordnet-6000.tsv");

/// The definitions alone.
pub(crate) fn definitions() -> impl Iterator<Item = &'static str> {
    WORDNET
        .lines()
        .filter_map(|line| Some(line.split_once('\t')?.1))
}

/// Seed of the choice of queries, which is the same in every run.
const SEED: u64 = 7;

/// A question, and the category that its answers should have.
pub(super) struct Question {
    pub(super) text: &'static str,
    pub(super) wanted: &'static str,
}

/// Questions chosen to show how answers move. The gain is measured on random queries.
pub(super) const QUESTIONS: [Question; 3] = [
    Question {
        text: "to walk slowly without a goal",
        wanted: "verb.motion",
    },
    Question {
        text: "the season after winter",
        wanted: "noun.time",
    },
    Question {
        text: "a tree that grows near water",
        wanted: "noun.plant",
    },
];

/// A definition with its category.
pub(super) struct Gloss {
    pub(super) id: String,
    pub(super) label: &'static str,
    pub(super) text: &'static str,
}

/// The definitions, and two disjoint random choices of them as queries.
pub(super) struct Corpus {
    pub(super) glosses: Vec<Gloss>,
    /// Positions of the queries whose answers are judged.
    pub(super) judged: Vec<usize>,
    /// Positions of the queries on which the metric is measured.
    pub(super) measured: Vec<usize>,
    by_id: HashMap<String, usize>,
}

impl Corpus {
    pub(super) fn load(judged: usize, measured: usize) -> Result<Self, Failure> {
        let glosses: Vec<Gloss> = WORDNET
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .enumerate()
            .map(|(at, (label, text))| Gloss {
                id: format!("w{at:04}"),
                label,
                text,
            })
            .collect();
        if glosses.len() < judged + measured {
            return Err(Failure::Failed(
                "the program was built without the demo's texts".into(),
            ));
        }
        let mut order: Vec<usize> = (0..glosses.len()).collect();
        fastrand::Rng::with_seed(SEED).shuffle(&mut order);
        let by_id = glosses
            .iter()
            .enumerate()
            .map(|(at, gloss)| (gloss.id.clone(), at))
            .collect();
        Ok(Self {
            glosses,
            judged: order[..judged].to_vec(),
            measured: order[judged..judged + measured].to_vec(),
            by_id,
        })
    }

    pub(super) fn gloss(&self, id: &str) -> Option<&Gloss> {
        self.by_id.get(id).map(|&at| &self.glosses[at])
    }

    pub(super) fn label(&self, id: &str) -> Option<&'static str> {
        self.gloss(id).map(|gloss| gloss.label)
    }

    pub(super) fn categories(&self) -> usize {
        let mut labels: Vec<&str> = self.glosses.iter().map(|gloss| gloss.label).collect();
        labels.sort_unstable();
        labels.dedup();
        labels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_whole_and_no_measured_query_is_judged() {
        let corpus = Corpus::load(100, 500).unwrap();
        assert_eq!((corpus.glosses.len(), corpus.categories()), (6000, 41));
        assert!(corpus.measured.iter().all(|at| !corpus.judged.contains(at)));
        assert!(
            QUESTIONS
                .iter()
                .all(|q| corpus.glosses.iter().any(|g| g.label == q.wanted))
        );
    }
}
