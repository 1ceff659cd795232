//! `judgements --qrels`: writes explicit judgements as TREC qrels.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use affinis::{Judgement, Query, Source, Subject};
use serde_json::json;

use super::Args;
use crate::failure::Failure;
use crate::output::{self, Out, WholeFile, field, plain, plural};

/// The sums of weights and of weighted grades of what was said of an answer.
#[derive(Default)]
struct Said {
    weight: f64,
    grade: f64,
}

/// The qrels of judgements whose queries are all texts, or all stored items.
#[derive(Default)]
struct Qrels {
    /// Texts of topics in the order of their numbers, from 1.
    texts: Vec<String>,
    /// By topic and item.
    said: BTreeMap<(String, String), Said>,
    /// Number of explicit judgements of other queries and of pairs.
    left_out: u64,
}

impl Qrels {
    fn of(judgements: impl Iterator<Item = Judgement>, of_texts: bool) -> Self {
        let mut qrels = Self::default();
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        for judgement in judgements.filter(|judgement| judgement.source == Source::Explicit) {
            let (topic, item, grade) = match judgement.subject {
                Subject::Graded {
                    query: Query::Item(id),
                    item,
                    grade,
                } if !of_texts => (id, item, grade),
                Subject::Graded {
                    query: Query::Text(text),
                    item,
                    grade,
                } if of_texts => {
                    let number = *numbers.entry(text.clone()).or_insert_with(|| {
                        qrels.texts.push(text);
                        qrels.texts.len()
                    });
                    (number.to_string(), item, grade)
                }
                _ => {
                    qrels.left_out += 1;
                    continue;
                }
            };
            let said = qrels.said.entry((topic, item)).or_default();
            said.weight += f64::from(judgement.weight);
            said.grade += f64::from(judgement.weight) * f64::from(grade);
        }
        qrels
    }

    /// Writes a line an answer. What is relevant at all has grade 1 at least.
    fn write(&self, out: &mut dyn Write, scale: u32) -> io::Result<()> {
        for ((topic, item), said) in &self.said {
            let mean = said.grade / said.weight;
            let grade = if mean > 0.0 {
                (mean * f64::from(scale)).round().max(1.0)
            } else {
                0.0
            };
            writeln!(out, "{} 0 {} {grade}", field(topic)?, field(item)?)?;
        }
        Ok(())
    }

    /// Writes a line a topic.
    fn write_texts(&self, out: &mut dyn Write) -> io::Result<()> {
        for (at, text) in self.texts.iter().enumerate() {
            if text.contains(['\n', '\r']) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("the query {text:?} has line breaks, which end a line of this format"),
                ));
            }
            writeln!(out, "{}\t{text}", at + 1)?;
        }
        Ok(())
    }
}

pub(super) fn write(
    args: &Args,
    judgements: impl Iterator<Item = Judgement>,
    file: &Path,
    out: &mut Out,
) -> Result<(), Failure> {
    let qrels = Qrels::of(judgements, args.queries.is_some());
    let (wanted, others) = match args.queries {
        Some(_) => ("texts", "of items, of vectors or of pairs"),
        None => (
            "items",
            "of texts (--queries writes these), of vectors or of pairs",
        ),
    };
    if qrels.said.is_empty() {
        return Err(Failure::Failed(format!(
            "there are no explicit judgements whose queries are {wanted}; {} {others}",
            plural(qrels.left_out, "is", "are")
        )));
    }
    if let Some(file) = &args.queries {
        let mut whole = WholeFile::create(file)?;
        let written = qrels.write_texts(whole.writer());
        whole.finish(written)?;
    }
    let mut whole = WholeFile::create(file)?;
    let to_stdout = whole.is_stdout();
    let written = qrels.write(whole.writer(), args.scale);
    whole.finish(written)?;
    if qrels.left_out > 0 {
        output::warn(format_args!(
            "left out {} {others}",
            plural(qrels.left_out, "judgement", "judgements")
        ));
    }
    let (name, answers) = (file.display().to_string(), qrels.said.len());
    let summary = format!(
        "wrote {} to {}",
        plural(answers as u64, "judged answer", "judged answers"),
        plain(&name)
    );
    match (to_stdout, out.is_json()) {
        (true, _) => output::note(summary),
        (false, true) => out.json(&json!({"qrels": name, "answers": answers}))?,
        (false, false) => out.line(summary)?,
    }
    Ok(())
}
