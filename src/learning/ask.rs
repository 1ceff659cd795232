//! Questions that would decide on a candidate; [`answers`](super::answers) says what their answers
//! decide.
//!
//! Judgements of answers that were shown say nothing of the items that a new metric would show
//! instead. So a candidate that the held-out test cannot decide on is compared with the active
//! metric where the two disagree. For sampled items as queries, none of them judged before, the two
//! lists of ten are compared. One item of either list that the other list lacks makes a *contest*:
//! those that the other metric puts farthest behind its tenth, by the ratio of the distances. The
//! queries of the greatest disagreement are asked.

use std::collections::HashSet;

use serde::Serialize;

use super::{Changes, Effort, Entry, Learning, StoredItem};
use crate::model::error::{Error, Result};
use crate::model::{LoggedQuery, Query, Source, Versioned};
use crate::plugin::Metric;

/// Length of the lists that are compared.
const LIST_LENGTH: usize = 10;
/// Largest number of items that are tried as queries, unless more questions are asked for.
const MAX_TRIED: usize = 2_000;
/// Largest number of pairs of items whose distances are computed to find questions.
const MAX_PAIRS: usize = 40_000_000;
/// Largest number of questions asked at a time.
const MAX_QUESTIONS: usize = 1_000;

/// A judgement that would help to decide: whether the item is a good answer to the query.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Question {
    /// The query: a stored item.
    pub query: Query,
    /// The id of the item to be judged.
    pub item: String,
    /// The user whose judgement is asked for; `None` asks anybody.
    pub user: Option<String>,
}

impl Serialize for Question {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        match &self.query {
            Query::Text(text) => map.serialize_entry("query", text)?,
            Query::Vector(vector) => map.serialize_entry("query_vector", vector)?,
            Query::Item(id) => map.serialize_entry("query_id", id)?,
        }
        map.serialize_entry("item", &self.item)?;
        if let Some(user) = &self.user {
            map.serialize_entry("user", user)?;
        }
        map.end()
    }
}

/// The candidate and the active metric.
#[derive(Clone, Copy)]
pub(super) struct Rivals<'a> {
    pub(super) candidate: &'a Versioned,
    pub(super) incumbent: &'a Versioned,
}

/// The ids of the nearest items of a query under the candidate and under the incumbent.
pub(super) struct Lists {
    pub(super) candidate: Vec<String>,
    pub(super) incumbent: Vec<String>,
}

/// One item that only the candidate lists for a query, and one that only the incumbent lists.
struct Contest {
    query: String,
    candidate: String,
    incumbent: String,
    disagreement: f64,
}

impl Learning {
    /// Asks for judgements that may decide on a candidate, and records in its version how many.
    pub(super) fn ask(
        &self,
        candidate: &Versioned,
        incumbent: &Versioned,
        n: usize,
        user: Option<&str>,
    ) -> Result<Vec<Question>> {
        let rivals = Rivals {
            candidate,
            incumbent,
        };
        let questions = self.questions(rivals, n, user)?;
        if !questions.is_empty() {
            let _guard = self.lock()?;
            let mut record = self.version_record(candidate.version)?;
            record.asked = Some(questions.len() as u64);
            let mut changes = Changes::default();
            changes.put_version(candidate.version, record);
            self.commit(changes)?;
        }
        Ok(questions)
    }

    /// Those of some questions that no judgement answers.
    ///
    /// # Errors
    /// Those of [`Collection::unanswered`](crate::Collection::unanswered).
    pub fn unanswered(&self, questions: &[Question]) -> Result<Vec<Question>> {
        let asked: HashSet<(&str, &str)> = questions
            .iter()
            .filter_map(|question| Some((question.query.item()?.as_str(), question.item.as_str())))
            .collect();
        let answers_one = |(_, judgement): &Entry| match &judgement.query {
            LoggedQuery::Item(query) if !judgement.pair => {
                let answered = (query.id.as_str(), judgement.item.id.as_str());
                judgement.source == Source::Explicit && asked.contains(&answered)
            }
            _ => false,
        };
        let answers = self.counting(answers_one)?;
        let is_open = |question: &&Question| {
            !answers.iter().any(|(_, answer)| match &answer.query {
                LoggedQuery::Item(query) => {
                    question.query.item() == Some(&query.id)
                        && question.item == answer.item.id
                        && (question.user.is_none() || question.user == answer.user)
                }
                _ => false,
            })
        };
        Ok(questions.iter().filter(is_open).cloned().collect())
    }

    /// The questions on a candidate, in pairs of one query.
    fn questions(&self, rivals: Rivals<'_>, n: usize, user: Option<&str>) -> Result<Vec<Question>> {
        let judged = self.judged_items(user)?;
        let seed = u64::from(rivals.candidate.version.0);
        let items = self.vectors.revision()?.items;
        let wanted = (MAX_PAIRS / items.max(1)).clamp(n, MAX_TRIED.max(n));
        let mut queries = self.sample_items(wanted + judged.len(), seed)?;
        queries.retain(|item| !judged.contains(&item.id));
        queries.truncate(wanted);
        let lists = self.lists(rivals, &queries)?;
        let mut contests = Vec::new();
        for (query, lists) in queries.iter().zip(&lists) {
            contests.extend(self.contest(query, lists, rivals)?);
        }
        contests.sort_by(|a: &Contest, b| {
            let by_disagreement = b.disagreement.total_cmp(&a.disagreement);
            by_disagreement.then_with(|| a.query.cmp(&b.query))
        });
        contests.truncate(n.div_ceil(2));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut questions = Vec::with_capacity(2 * contests.len());
        for contest in contests {
            // In either order, so that the position does not tell which metric an item comes from.
            let mut items = [contest.candidate, contest.incumbent];
            if random.bool() {
                items.swap(0, 1);
            }
            questions.extend(items.map(|item| Question {
                query: Query::like(&contest.query),
                item,
                user: user.map(str::to_owned),
            }));
        }
        questions.truncate(n);
        Ok(questions)
    }

    /// The items that a user, or anybody, judged answers to.
    fn judged_items(&self, user: Option<&str>) -> Result<HashSet<String>> {
        let is_theirs =
            |(_, judgement): &Entry| user.is_none() || judgement.user.as_deref() == user;
        let judgements = self.teaching(is_theirs)?.judgements.into_iter();
        let items = judgements.filter_map(|(_, judgement)| match judgement.query {
            LoggedQuery::Item(item) => Some(item.id),
            LoggedQuery::Text(_) | LoggedQuery::Vector(_) => None,
        });
        Ok(items.collect())
    }

    /// The exact lists of both metrics for stored items as queries.
    pub(super) fn lists(&self, rivals: Rivals<'_>, queries: &[StoredItem]) -> Result<Vec<Lists>> {
        let of = |metric| self.nearest_of_items(metric, queries, LIST_LENGTH, Effort::Exact);
        let (candidate, incumbent) = (of(rivals.candidate)?, of(rivals.incumbent)?);
        let pairs = candidate.into_iter().zip(incumbent);
        Ok(pairs
            .map(|(candidate, incumbent)| Lists {
                candidate,
                incumbent,
            })
            .collect())
    }

    /// The contest of a query, where each list has an item of its own.
    fn contest(
        &self,
        query: &StoredItem,
        lists: &Lists,
        rivals: Rivals<'_>,
    ) -> Result<Option<Contest>> {
        let of_candidate = self.farthest(
            query,
            &*rivals.incumbent.metric,
            &lists.incumbent,
            &lists.candidate,
        )?;
        let of_incumbent = self.farthest(
            query,
            &*rivals.candidate.metric,
            &lists.candidate,
            &lists.incumbent,
        )?;
        Ok(of_candidate
            .zip(of_incumbent)
            .map(|((candidate, a), (incumbent, b))| Contest {
                query: query.id.clone(),
                candidate,
                incumbent,
                disagreement: a + b,
            }))
    }

    /// Of the items that only another list has, the one that a metric puts farthest behind the end
    /// of its own list, and how far.
    fn farthest(
        &self,
        query: &StoredItem,
        metric: &dyn Metric,
        own: &[String],
        others: &[String],
    ) -> Result<Option<(String, f64)>> {
        let Some(last) = own.last() else {
            return Ok(None);
        };
        let ids: Vec<&str> = std::iter::once(last)
            .chain(others.iter().filter(|id| !own.contains(id)))
            .map(String::as_str)
            .collect();
        let vectors = self.vectors.vectors(&ids)?;
        let distance = |vector: &Option<Vec<f32>>| {
            let vector = vector.as_ref()?;
            Some(metric.distance(&query.vector, vector))
        };
        let Some(last) = vectors.first().and_then(distance).filter(|d| *d != 0.0) else {
            return Ok(None);
        };
        // A similarity is a negative distance, which has no ratios.
        let behind = |d: f64| {
            if last > 0.0 {
                (d / last).max(1.0).ln()
            } else {
                ((d - last) / last.abs()).max(0.0)
            }
        };
        let behind_last = ids.iter().zip(&vectors).skip(1);
        let farthest = behind_last
            .filter_map(|(id, vector)| Some((*id, behind(distance(vector)?))))
            .max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(a.0)));
        Ok(farthest.map(|(id, behind)| (id.to_owned(), behind)))
    }
}

/// Checks a number of questions.
pub(super) fn check(n: usize) -> Result<()> {
    if (2..=MAX_QUESTIONS).contains(&n) {
        return Ok(());
    }
    Err(Error::InvalidSetting {
        setting: "the number of judgements asked for",
        value: n.to_string(),
        allowed: format!("2 to {MAX_QUESTIONS}"),
    })
}
