//! `explain`: explains the rank of an item by the directions of the metric and by judgements.

use std::collections::HashMap;

use affinis::{Judgement, JudgementId, MetricChoice, Query, Subject, VersionId};
use affinis_api::{ByWordsDocument, DirectionDocument, ExplanationDocument, InfluenceDocument};
use clap::ArgGroup;

use super::{At, metric_choice, metric_name, text, user};
use crate::failure::Failure;
use crate::output::{Align, BOLD, DIM, Out, Table, count, digits, number, plain, plural};

/// Largest number of directions, and of judgements, that are printed.
const MAX_ROWS: usize = 5;

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("query").required(true).args(["text", "like"]))]
#[command(override_usage = "affinis explain [OPTIONS] <NAME> <TEXT | --like ID> --item ID")]
#[command(after_help = "\
The distance is the sum of contributions of the metric's directions (its eigenvectors). An influence
is the change of the distance by a judgement that the metric was learned from; below zero, the
judgement brought the item nearer.

Examples:
  affinis explain notes \"fruit tree care\" --item a1
  affinis explain notes --like a1 --item a7 --json")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// The text of the query; after -- it may begin with a minus sign, also as an option does
    #[arg(value_parser = text, allow_hyphen_values = true)]
    text: Option<String>,
    /// The stored item that is the query
    #[arg(long, value_name = "ID")]
    like: Option<String>,
    /// The item whose rank is explained
    #[arg(long, value_name = "ID")]
    item: String,
    /// Metric to explain: `active`, `euclidean`, or a version's number
    #[arg(long, value_name = "METRIC", default_value = "active", value_parser = metric_choice)]
    metric: MetricChoice,
    /// Explain this user's metric, if the user has one
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<String>,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.target(&args.name)?;
    let (query, title) = match (&args.text, &args.like) {
        (_, Some(id)) => (Query::like(id), format!("like {}", plain(id))),
        (text, None) => {
            let text = text.as_deref().unwrap_or_default();
            (Query::from(text), format!("\"{}\"", plain(text)))
        }
    };
    let why = collection.explain(query, &args.item, args.metric, args.user.as_deref())?;
    if out.is_json() {
        return Ok(out.json(&why)?);
    }
    let rank = |rank: Option<usize>| {
        rank.map_or_else(|| "beyond rank 1,000".to_owned(), |r| format!("rank {r}"))
    };
    if args.like.as_ref() == Some(&args.item) {
        out.line(format_args!(
            "{BOLD}{}{BOLD:#} is the query itself, which answers leave out",
            plain(&args.item)
        ))?;
        return Ok(());
    }
    out.line(format_args!(
        "{BOLD}{title} -> {}{BOLD:#}: {} under {}, {} under {}",
        plain(&args.item),
        rank(why.rank),
        metric_name(why.metric),
        rank(why.euclidean_rank),
        metric_name(VersionId::BUILT_IN),
    ))?;
    out.line(format_args!("  {}", comparison(&why)))?;
    if let Some(words) = &why.words {
        out.line(by_words(words))?;
    }
    let stored: HashMap<JudgementId, Judgement> = collection
        .judgements()?
        .into_iter()
        .map(|document| (document.sequence, document.judgement))
        .collect();
    if !why.memory.is_empty() {
        let title = "judgements of questions like this one";
        out.line(influences(title, &why.memory, &stored))?;
    }
    if !why.metric.is_built_in() {
        directions(&why, out)?;
        judgements(&stored, &why, out)?;
    }
    Ok(())
}

/// The item's place by words, and what its text holds of the query.
fn by_words(by_words: &ByWordsDocument) -> String {
    let rank = |rank: Option<usize>| {
        rank.map_or_else(|| "beyond rank 1,000".to_owned(), |r| format!("rank {r}"))
    };
    let found = if by_words.found.is_empty() {
        "none of them in its text".to_owned()
    } else {
        let shown = by_words
            .found
            .iter()
            .take(MAX_ROWS)
            .map(|found| format!("{} {}", plain(&found.words), number(f64::from(found.score))));
        let mut shown: Vec<String> = shown.collect();
        if by_words.found.len() > MAX_ROWS {
            let more = by_words.found.len() - MAX_ROWS;
            shown.push(format!("{} more", count(more as u64)));
        }
        shown.join(", ")
    };
    format!(
        "  by words {} ({found}), hybrid {}: closeness {} + {} x words {}",
        rank(by_words.rank),
        rank(by_words.hybrid_rank),
        number(f64::from(by_words.closeness)),
        number(by_words.weight),
        number(f64::from(by_words.share)),
    )
}

/// The two distances and their relation, in words.
fn comparison(why: &ExplanationDocument) -> String {
    let change = if why.euclidean > 0.0 {
        why.distance / why.euclidean - 1.0
    } else {
        0.0
    };
    let words = match (change.abs() * 100.0).round() {
        _ if why.metric.is_built_in() => String::new(),
        p if p < 1.0 => ": as far as before".to_owned(),
        p if change < 0.0 => format!(": {p} % nearer"),
        p => format!(": {p} % farther"),
    };
    format!(
        "distance {}, Euclidean {}{words}",
        digits(why.distance as f32),
        digits(why.euclidean as f32)
    )
}

/// The smallest number of contributions that make up half of their sum.
fn count_to_half(mut contributions: Vec<f64>) -> usize {
    contributions.sort_by(|a, b| b.total_cmp(a));
    let half = contributions.iter().sum::<f64>() / 2.0;
    let mut sum = 0.0;
    for (count, contribution) in contributions.iter().enumerate() {
        if sum >= half {
            return count;
        }
        sum += contribution;
    }
    contributions.len()
}

fn directions(why: &ExplanationDocument, out: &mut Out) -> Result<(), Failure> {
    let learned = count_to_half(why.directions.iter().map(|d| d.contribution).collect());
    let euclidean = count_to_half(
        why.directions
            .iter()
            .map(|d| d.contribution / d.weight)
            .collect(),
    );
    out.line(format_args!(
        "  half of it lies along {learned} of the metric's {} (Euclidean: {euclidean})",
        plural(why.directions.len() as u64, "direction", "directions")
    ))?;
    let mut moved: Vec<_> = why.directions.iter().filter(|d| d.weight > 0.0).collect();
    let change = |d: &DirectionDocument| d.contribution - d.contribution / d.weight;
    moved.sort_by(|a, b| change(b).abs().total_cmp(&change(a).abs()));
    let mut table = Table::new([
        ("directions that changed it most", Align::Left),
        ("weight", Align::Right),
        ("Euclidean", Align::Right),
        ("learned", Align::Right),
        ("share", Align::Right),
    ])
    .indent(2);
    for direction in moved.into_iter().take(MAX_ROWS) {
        let word = if direction.weight < 1.0 {
            "counts for less"
        } else {
            "counts for more"
        };
        table.row([
            word.to_owned(),
            format!("x {}", number(direction.weight)),
            format!("{:.4}", direction.contribution / direction.weight),
            format!("{:.4}", direction.contribution),
            format!("{:.1} %", direction.share * 100.0),
        ]);
    }
    if !why.directions.is_empty() {
        out.line(table)?;
    }
    Ok(())
}

fn judgements(
    stored: &HashMap<JudgementId, Judgement>,
    why: &ExplanationDocument,
    out: &mut Out,
) -> Result<(), Failure> {
    if let Some(stale) = why.stale {
        out.line(format_args!(
            "  {DIM}{} left out: their items hold something else now, or are gone{DIM:#}",
            plural(stale as u64, "judgement", "judgements")
        ))?;
    }
    if why.judgements.is_empty() {
        out.line(format_args!(
            "  {DIM}which judgements moved it is not known for this metric{DIM:#}"
        ))?;
        return Ok(());
    }
    let title = "judgements that moved it most";
    out.line(influences(title, &why.judgements, stored))?;
    Ok(())
}

/// The strongest influences with their judgements.
fn influences(
    title: &'static str,
    influences: &[InfluenceDocument],
    stored: &HashMap<JudgementId, Judgement>,
) -> Table {
    let mut table = Table::new([
        (title, Align::Left),
        ("by", Align::Right),
        ("number", Align::Right),
        ("", Align::Left),
    ])
    .indent(2);
    for influence in influences.iter().take(MAX_ROWS) {
        let word = if influence.influence < 0.0 {
            "nearer"
        } else {
            "farther"
        };
        table.row([
            word.to_owned(),
            format!("{:+.2e}", influence.influence),
            count(influence.judgement.0),
            stored
                .get(&influence.judgement)
                .map(describe)
                .unwrap_or_default(),
        ]);
    }
    table
}

/// A judgement in words.
pub(crate) fn describe(judgement: &Judgement) -> String {
    let who = judgement
        .user
        .as_ref()
        .map(|user| format!(", says {user}"))
        .unwrap_or_default();
    let what = match &judgement.subject {
        Subject::Graded { query, item, grade } => {
            let query = match query {
                Query::Text(text) => format!("\"{text}\""),
                Query::Item(id) => format!("like {id}"),
                _ => "a vector".to_owned(),
            };
            let grade = match grade {
                g if *g >= 1.0 => "relevant".to_owned(),
                g if *g <= -1.0 => "irrelevant".to_owned(),
                g => format!("grade {g}"),
            };
            format!("{query} -> {item}: {grade}")
        }
        Subject::Pair { a, b, similar } => {
            format!(
                "{a} and {b} are {}",
                if *similar { "similar" } else { "dissimilar" }
            )
        }
        _ => String::new(),
    };
    format!("{what}{who}")
}
