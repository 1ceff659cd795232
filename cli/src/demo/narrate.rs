//! The output of the demo for people; nothing is printed with `--json`.

use std::path::Path;

use affinis::{
    Hits,
    learning::{Evaluation, Measure, RefitReport},
};
use anstyle::Style;

use super::corpus::{Corpus, QUESTIONS, Question};
use super::passed;
use super::report::{Judged, Named, Remembered, Same, Sizes, rank_of};
use crate::failure::Failure;
use crate::output::{Align, BAD, BOLD, DIM, GOOD, Out, Table, bytes, count, millis, number, plain};

/// Number of answers to a question that are printed.
const PRINTED: usize = 5;

pub(super) struct Narrator<'a> {
    out: &'a mut Out,
    keep: Option<&'a Path>,
    /// Whether the page on the store is opened at the end.
    serves: bool,
}

type Printed = Result<(), Failure>;

impl<'a> Narrator<'a> {
    pub(super) fn new(out: &'a mut Out, keep: Option<&'a Path>, serves: bool) -> Self {
        Self { out, keep, serves }
    }

    /// Prints a line at once, before the next part of the demo runs.
    fn print(&mut self, text: impl std::fmt::Display) -> Printed {
        if !self.out.is_json() {
            self.out.line(text)?;
            self.out.flush()?;
        }
        Ok(())
    }

    fn heading(&mut self, number: usize, title: &str) -> Printed {
        self.print(format_args!("\n{BOLD}{number}. {title}{BOLD:#}"))
    }

    pub(super) fn opening(&mut self, corpus: &Corpus) -> Printed {
        self.print(format_args!(
            "{BOLD}affinis{BOLD:#} learns what \"similar\" means from feedback. Here: {} dictionary definitions from WordNet,\n\
             and users who want answers of the same category ({} of them: noun.food, verb.motion, ..).",
            count(corpus.glosses.len() as u64),
            corpus.categories()
        ))
    }

    pub(super) fn stored(&mut self, sizes: &Sizes, spent: f64) -> Printed {
        self.heading(1, "Encode and store")?;
        self.print(format_args!(
            "   {} texts encoded by {} ({} numbers each) and stored durably: {}, {} on disk",
            count(sizes.items as u64),
            plain(&sizes.encoder),
            sizes.dim,
            millis(spent),
            bytes(sizes.disk_bytes)
        ))
    }

    pub(super) fn first_answers(&mut self, corpus: &Corpus, answers: &[Hits]) -> Printed {
        self.heading(2, "Ask three questions, under the Euclidean metric")?;
        for (question, hits) in QUESTIONS.iter().zip(answers) {
            self.answers(question, hits, None, corpus)?;
        }
        Ok(())
    }

    pub(super) fn judged(&mut self, judged: &Judged, spent: f64) -> Printed {
        self.heading(3, "Judge")?;
        self.print(format_args!(
            "   {} other definitions were asked as queries, and their answers judged by category:\n   \
             {} judgements, {} of them relevant, stored in {}",
            count(judged.queries as u64),
            count(judged.judgements as u64),
            count(judged.relevant as u64),
            millis(spent)
        ))
    }

    pub(super) fn refitted(&mut self, refit: &RefitReport, spent: f64) -> Printed {
        self.heading(4, "Refit the metric")?;
        let verdict = if passed(refit) {
            format!("{GOOD}promoted{GOOD:#}")
        } else {
            format!("{BAD}not promoted{BAD:#}")
        };
        self.print(format_args!(
            "   {} of {} similar and {} dissimilar pairs in {} (condition number {})",
            plain(&refit.learner),
            count(refit.pairs.similar as u64),
            count(refit.pairs.dissimilar as u64),
            millis(spent),
            number(refit.condition)
        ))?;
        let gate = &refit.gate;
        let figures = match (gate.before, gate.after) {
            (Some(before), Some(after)) => {
                format!(": {} before, {} after", number(before), number(after))
            }
            _ => String::new(),
        };
        self.print(format_args!(
            "   the gate, on {} held out ({}){figures}\n   {verdict}: {}",
            count(gate.held_out as u64),
            plain(&gate.measure),
            plain(&gate.reason)
        ))
    }

    pub(super) fn second_answers(
        &mut self,
        corpus: &Corpus,
        before: &[Hits],
        after: &[Hits],
        refit: &RefitReport,
    ) -> Printed {
        let title = if passed(refit) {
            "Ask again: the learned metric, the same index, nothing rebuilt"
        } else {
            "Ask again, under the candidate that was not promoted"
        };
        self.heading(5, title)?;
        for (question, (before, after)) in QUESTIONS.iter().zip(before.iter().zip(after)) {
            self.answers(question, after, Some(before), corpus)?;
        }
        Ok(())
    }

    fn answers(
        &mut self,
        question: &Question,
        hits: &Hits,
        before: Option<&Hits>,
        corpus: &Corpus,
    ) -> Printed {
        if self.out.is_json() {
            return Ok(());
        }
        let good = |hits: &Hits| {
            hits.iter()
                .take(PRINTED)
                .filter(|h| corpus.label(&h.id) == Some(question.wanted))
                .count()
        };
        let change = before
            .map(|before| format!(", {} before", good(before)))
            .unwrap_or_default();
        self.print(format_args!(
            "\n   {BOLD}\"{}\"{BOLD:#}  {DIM}{} of {PRINTED} are {}{change}{DIM:#}",
            question.text,
            good(hits),
            question.wanted
        ))?;
        let mut table = Table::new([
            ("", Align::Right),
            ("", Align::Left),
            ("", Align::Left),
            ("", Align::Left),
        ])
        .indent(5);
        for hit in hits.iter().take(PRINTED) {
            let Some(gloss) = corpus.gloss(&hit.id) else {
                continue;
            };
            let style = if gloss.label == question.wanted {
                GOOD
            } else {
                DIM
            };
            table.styled([
                (hit.rank.to_string(), DIM),
                moved(&hit.id, hit.rank, before),
                (gloss.label.to_owned(), style),
                (gloss.text.to_owned(), Style::new()),
            ]);
        }
        self.print(table)
    }

    pub(super) fn measured(&mut self, evaluation: &Evaluation, spent: f64) -> Printed {
        self.heading(6, "Measure, on queries that nobody judged or chose")?;
        let mut table = Table::new([
            ("", Align::Left),
            ("precision@10", Align::Left),
            ("nDCG@10", Align::Left),
        ])
        .indent(3);
        let names = ["Euclidean", "learned"];
        for (name, row) in names.iter().zip(&evaluation.rows) {
            table.row([
                (*name).to_owned(),
                interval(&row.precision),
                interval(&row.ndcg),
            ]);
        }
        if let [euclidean, learned] = &evaluation.rows[..] {
            let gain = |from: &Measure, to: &Measure| {
                let style = if to.mean > from.mean { GOOD } else { BAD };
                (
                    format!(
                        "{:+.3} ({:+.0} %)",
                        to.mean - from.mean,
                        (to.mean / from.mean - 1.0) * 100.0
                    ),
                    style,
                )
            };
            table.styled([
                ("gain".to_owned(), Style::new()),
                gain(&euclidean.precision, &learned.precision),
                gain(&euclidean.ndcg, &learned.ndcg),
            ]);
        }
        self.print(table)?;
        self.print(format_args!(
            "   {DIM}{} queries, 95 % bootstrap intervals, {}{DIM:#}",
            count(evaluation.queries as u64),
            millis(spent)
        ))
    }

    pub(super) fn remembered(&mut self, remembered: &Remembered, spent: f64) -> Printed {
        self.heading(7, "Ask what was judged again: answers remember")?;
        let mut table = Table::new([
            ("precision@10", Align::Left),
            ("by the metric", Align::Left),
            ("and by memory", Align::Left),
        ])
        .indent(3);
        let rows = [
            ("all answers", remembered.metric, remembered.memory),
            (
                "those that nobody judged",
                remembered.metric_of_new,
                remembered.memory_of_new,
            ),
        ];
        for (name, metric, memory) in rows {
            let style = if memory > metric { GOOD } else { BAD };
            table.styled([
                (name.to_owned(), Style::new()),
                (format!("{metric:.3}"), Style::new()),
                (format!("{memory:.3}"), style),
            ]);
        }
        self.print(table)?;
        self.print(format_args!(
            "   {DIM}{} judged queries, {}{DIM:#}",
            count(remembered.queries as u64),
            millis(spent)
        ))
    }

    pub(super) fn named(&mut self, named: &Named, spent: f64) -> Printed {
        self.heading(8, "Ask for a name: words beside meaning")?;
        let rank = |rank: Option<usize>| {
            rank.map_or_else(|| "beyond 100".to_owned(), |rank| rank.to_string())
        };
        self.print(format_args!(
            "   {BOLD}\"{}\"{BOLD:#}  {}",
            named.query,
            named.text.as_deref().unwrap_or_default()
        ))?;
        self.print(format_args!(
            "   rank of that text by meaning: {}; by words and meaning: {GOOD}{}{GOOD:#}  {DIM}{}{DIM:#}",
            rank(named.by_meaning),
            rank(named.hybrid),
            millis(spent)
        ))
    }

    pub(super) fn reopened(&mut self, same: &Same, spent: f64) -> Printed {
        self.heading(9, "Close the store and open it again")?;
        let verdict = if same.all_equal {
            format!("{GOOD}all the same{GOOD:#}")
        } else {
            format!("{BAD}not all the same{BAD:#}")
        };
        self.print(format_args!(
            "   opened in {}; {} of {} queries, {} answers with their distances: {verdict}",
            millis(spent),
            count(same.equal_queries as u64),
            count(same.queries as u64),
            count(same.answers as u64)
        ))?;
        self.print(format_args!(
            "   a query takes {} under the Euclidean metric and {} under the learned one",
            millis(same.micros_euclidean / 1000.0),
            millis(same.micros_learned / 1000.0)
        ))
    }

    pub(super) fn closing(&mut self, total: f64) -> Printed {
        match self.keep {
            Some(dir) => {
                let dir = plain(&dir.display().to_string());
                self.print(format_args!(
                    "\nDone in {}. The store is kept: affinis search {} \"{}\" --store {dir}",
                    millis(total),
                    super::NAME,
                    QUESTIONS[0].text
                ))
            }
            None if self.serves => self.print(format_args!(
                "\nDone in {}; the store is removed when the page ends (--keep DIR keeps it).",
                millis(total)
            )),
            None => self.print(format_args!(
                "\nDone in {}; the store is removed (--keep DIR keeps it).",
                millis(total)
            )),
        }
    }
}

/// How an answer moved since before the refit.
fn moved(id: &str, rank: usize, before: Option<&Hits>) -> (String, Style) {
    let Some(before) = before else {
        return (String::new(), DIM);
    };
    match rank_of(id, before) {
        Some(was) if was > PRINTED => (format!("new, was {was}"), GOOD),
        Some(was) if was > rank => (format!("up {}", was - rank), GOOD),
        Some(was) if was < rank => (format!("down {}", rank - was), DIM),
        Some(_) => ("=".to_owned(), DIM),
        None => ("new".to_owned(), GOOD),
    }
}

fn interval(measure: &Measure) -> String {
    format!(
        "{:.3} [{:.3}, {:.3}]",
        measure.mean, measure.low, measure.high
    )
}
