//! `stats`, `collections` and `verify`: describe a collection, the store, and damage to it.

use affinis::Stats;
use affinis_api::{DamageDocument, DescriptionDocument, VerifiedDocument};
use serde_json::json;

#[cfg(feature = "postgres")]
use super::pg;
use super::{At, metric_name, metrics};
use crate::failure::Failure;
use crate::output::{self, Align, BAD, BOLD, DIM, GOOD, Out, Table, bytes, count, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  affinis stats notes
  affinis stats notes --json")]
pub(crate) struct StatsArgs {
    /// The collection's name
    name: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  affinis collections
  affinis collections --store other.store --json")]
pub(crate) struct CollectionsArgs {}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exits 1 if anything is damaged, and lists all damage. With --repair, ids, counters, counts and
graphs are rebuilt from what is left; what cannot be read is removed and listed, so that the rest can
be used. Copy the directory first if you want to keep the damaged store.

Examples:
  affinis verify
  affinis verify --repair")]
pub(crate) struct VerifyArgs {
    /// Rebuild what can be rebuilt from the rest, and list what is lost
    #[arg(long)]
    repair: bool,
}

pub(crate) fn stats(args: &StatsArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    #[cfg(feature = "postgres")]
    if let super::Engine::Postgres(_) = &at.engine {
        return pg::stats(&args.name, at, out);
    }
    let collection = at.target(&args.name)?;
    let described = collection.describe()?;
    let stats = &described.stats;
    if out.is_json() {
        return Ok(out.json(stats)?);
    }
    out.line(format_args!("{BOLD}{}{BOLD:#}", plain(&args.name)))?;
    for (name, value) in rows(&described) {
        out.line(format_args!("  {DIM}{name:10}{DIM:#}  {value}"))?;
    }
    if !stats.segments.is_empty() {
        let mut table = Table::new([
            ("segment", Align::Right),
            ("items", Align::Right),
            ("size", Align::Right),
            ("built under", Align::Left),
        ]);
        for (at, segment) in stats.segments.iter().enumerate() {
            table.row([
                at.to_string(),
                count(segment.items as u64),
                bytes(segment.bytes as u64),
                metric_name(segment.metric),
            ]);
        }
        out.line(table.indent(2))?;
    }
    if !stats.recall.is_empty() {
        out.line(recall_by_kind(stats).indent(2))?;
    }
    metrics::alarms(&collection.drift()?, out)
}

/// Sizes, settings and index of a collection, as rows of a name and a value.
fn rows(described: &DescriptionDocument) -> [(&'static str, String); 8] {
    let stats = &described.stats;
    let encoder = described
        .encoder
        .as_ref()
        .map_or_else(|| "none".to_owned(), |encoder| plain(&encoder.name));
    [
        (
            "items",
            format!("{} of dimension {}", count(stats.items as u64), stats.dim),
        ),
        (
            "deleted",
            format!(
                "{} whose space is not freed yet",
                count(stats.deleted as u64)
            ),
        ),
        (
            "settings",
            format!(
                "{} distance, {} numbers, encoder {encoder}",
                described.distance, described.precision
            ),
        ),
        (
            "metric",
            format!("{} is active", metric_name(stats.active_metric)),
        ),
        (
            "judgements",
            match stats.stale_judgements {
                0 => count(stats.judgements as u64),
                stale => format!(
                    "{}, of which {} nothing: their items hold something else now, or are gone",
                    count(stats.judgements as u64),
                    plural(stale as u64, "teaches", "teach")
                ),
            },
        ),
        (
            "index",
            format!(
                "{} in the growing segment, {}",
                count(stats.growing as u64),
                plural(
                    stats.segments.len() as u64,
                    "sealed segment",
                    "sealed segments"
                )
            ),
        ),
        ("recall", recall(stats)),
        (
            "size",
            format!(
                "{} in memory, {} mapped, about {} on disk (all of the store: {})",
                bytes(stats.memory_bytes as u64),
                bytes(stats.mapped_bytes as u64),
                bytes(stats.disk_bytes),
                bytes(stats.store_bytes)
            ),
        ),
    ]
}

/// The recall of searches, in words.
fn recall(stats: &Stats) -> String {
    if stats.segments.is_empty() {
        return "exact: a search scans all items, as they are few".to_owned();
    }
    let lowest = stats.recall.iter().map(|kind| kind.recall);
    let (Some(lowest), Some(evaluations)) = (lowest.min_by(f32::total_cmp), stats.evaluations)
    else {
        return "not measured yet; searches go far until it is".to_owned();
    };
    format!(
        "{:.1} % or more of the true nearest 10, whatever is asked (below), for {} distances a query",
        100.0 * lowest,
        count(evaluations as u64)
    )
}

/// Table of the recall by kind of question.
fn recall_by_kind(stats: &Stats) -> Table {
    let mut table = Table::new([
        ("asked", Align::Left),
        ("questions", Align::Right),
        ("of the nearest 10", Align::Right),
        ("the nearest", Align::Right),
        ("fewer than 5", Align::Right),
    ]);
    for kind in &stats.recall {
        let percent = |share: f32| format!("{:.1} %", 100.0 * share);
        table.row([
            kind.kind.to_string(),
            count(u64::from(kind.questions)),
            percent(kind.recall),
            percent(kind.recall_at_1),
            percent(kind.below_half),
        ]);
    }
    table
}

pub(crate) fn collections(_: &CollectionsArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    #[cfg(feature = "postgres")]
    if let super::Engine::Postgres(url) = &at.engine {
        return pg::collections(url, out);
    }
    let collections = match &at.engine {
        #[cfg(feature = "client")]
        super::Engine::Service(service) => service.client().collections()?,
        _ => at.open()?.collections()?,
    };
    if out.is_json() {
        for info in &collections {
            out.json(info)?;
        }
        return Ok(());
    }
    if collections.is_empty() {
        return Ok(out.line("the store has no collections yet; `affinis create NAME` creates one")?);
    }
    let mut table = Table::new([
        ("name", Align::Left),
        ("items", Align::Right),
        ("dim", Align::Right),
        ("distance", Align::Left),
        ("numbers", Align::Left),
        ("encoder", Align::Left),
    ]);
    for info in collections {
        let encoder = info.encoder.map_or_else(|| "none".to_owned(), |e| e.name);
        table.row([
            info.name,
            count(info.items),
            info.dim.to_string(),
            info.distance.to_string(),
            info.precision.to_string(),
            encoder,
        ]);
    }
    out.line(table)?;
    Ok(())
}

pub(crate) fn verify(args: &VerifyArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    if args.repair {
        return repair(at, out);
    }
    let (report, repairable) = verified(at)?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        for problem in &report.problems {
            out.line(format_args!(
                "{BAD}{}{BAD:#}: {}",
                plain(&problem.part),
                plain(&problem.message)
            ))?;
        }
    }
    let checked = plural(report.checked, "part", "parts");
    if let Some(first) = report.problems.first() {
        let remedy = if repairable {
            "`affinis verify --repair` rebuilds what can be rebuilt, `affinis restore` replaces the \
             store by a backup"
        } else {
            "a repair cannot read it either; `affinis restore` replaces the store by a backup"
        };
        return Err(Failure::Failed(format!(
            "the store is damaged: {} of {checked} checked, the first in {}: {}; {remedy}",
            plural(report.problems.len() as u64, "problem", "problems"),
            plain(&first.part),
            plain(&first.message)
        )));
    }
    if !out.is_json() {
        out.line(format_args!("{GOOD}sound{GOOD:#}: {checked} checked"))?;
    }
    Ok(())
}

/// Checks everything that is stored, and says whether a repair can do something about the damage.
fn verified(at: &At) -> Result<(VerifiedDocument, bool), Failure> {
    let reading = "reading everything that is stored";
    #[cfg(feature = "client")]
    if let super::Engine::Service(service) = &at.engine {
        let _working = output::spinner(reading);
        let report = crate::target::wait(&service.client().verify()?, |_| {})?;
        // Whether a repair helps is found by trying it, in the directory.
        return Ok((report, true));
    }
    let store = at.open().map_err(|failure| {
        of_verify(
            failure,
            "`affinis verify --repair` rebuilds what can be rebuilt, `affinis restore` replaces the \
             store by a backup",
        )
    })?;
    let working = output::spinner(reading);
    let report = store.verify()?;
    drop(working);
    let repairable = report.problems.iter().all(|problem| problem.repairable);
    let problems = report.problems.into_iter().map(|problem| DamageDocument {
        part: problem.part,
        message: problem.message,
    });
    let document = VerifiedDocument {
        checked: report.checked,
        problems: problems.collect(),
    };
    Ok((document, repairable))
}

fn repair(at: &At, out: &mut Out) -> Result<(), Failure> {
    let working = output::spinner("reading and repairing everything that is stored");
    let report = at.builder().repair(at.existing()?).map_err(|error| {
        of_verify(
            error.into(),
            "the repair cannot read it; `affinis restore` replaces the store by a backup",
        )
    })?;
    drop(working);
    if out.is_json() {
        let problems: Vec<_> = report
            .verified
            .problems
            .iter()
            .map(|p| json!({"part": p.part, "message": p.message}))
            .collect();
        out.json(&json!({
            "checked": report.verified.checked, "problems": problems, "rebuilt": report.rebuilt, "lost": report.lost
        }))?;
    } else {
        for what in &report.rebuilt {
            out.line(format_args!("{GOOD}rebuilt{GOOD:#}  {}", plain(what)))?;
        }
        for what in &report.lost {
            out.line(format_args!("{BAD}lost{BAD:#}     {}", plain(what)))?;
        }
        for problem in &report.verified.problems {
            out.line(format_args!(
                "{BAD}{}{BAD:#}: {}",
                plain(&problem.part),
                plain(&problem.message)
            ))?;
        }
    }
    if let Some(first) = report.verified.problems.first() {
        return Err(Failure::Failed(format!(
            "the store is still damaged: {}",
            plain(&first.message)
        )));
    }
    if !report.lost.is_empty() {
        return Err(Failure::Failed(format!(
            "the store is sound now, without {} that could not be read; a backup may have it",
            plural(report.lost.len() as u64, "part", "parts")
        )));
    }
    if !out.is_json() {
        let checked = plural(report.verified.checked, "part", "parts");
        out.line(format_args!("{GOOD}sound{GOOD:#}: {checked} checked"))?;
    }
    Ok(())
}

/// The failure of `verify` itself, with a remedy other than `verify`.
fn of_verify(failure: Failure, remedy: &str) -> Failure {
    match failure {
        Failure::Store(affinis::Error::Damaged { part, reason }) => {
            Failure::Failed(format!("{part} is damaged: {reason}; {remedy}"))
        }
        other => other,
    }
}
