//! `metrics diff` and `metrics drift`: how versions of the metric differ, and how far refits moved
//! it.

use affinis::{VersionId, learning::Drift};

use super::verdict;
use crate::commands::metric_name;
use crate::failure::Failure;
use crate::output::{Align, BAD, Out, Table, count, number, plain};
use crate::target::{NEIGHBOURS, Target};

/// Largest number of directions that are printed.
const MAX_DIRECTIONS: usize = 10;
/// Largest number of items with changed neighbours that are printed.
const MAX_CHANGED: usize = 5;

pub(super) fn diff(
    collection: &Target,
    from: VersionId,
    to: VersionId,
    out: &mut Out,
) -> Result<(), Failure> {
    let comparison = collection.diff(from, to)?;
    if out.is_json() {
        return Ok(out.json(&comparison)?);
    }
    let changes = comparison.neighbours;
    out.line(format_args!(
        "{} -> {}: distance {} between the metrics",
        metric_name(from),
        metric_name(to),
        number(comparison.distance)
    ))?;
    let mut table = Table::new([
        ("direction", Align::Right),
        ("squared length grows by", Align::Right),
    ])
    .indent(2);
    for (at, factor) in comparison.factors.iter().take(MAX_DIRECTIONS).enumerate() {
        table.row([(at + 1).to_string(), format!("x {}", number(*factor))]);
    }
    if !comparison.factors.is_empty() {
        out.line(table)?;
    }
    out.line(format_args!(
        "of the nearest {NEIGHBOURS} of {} items, {:.0} % stay",
        count(changes.queries.len() as u64),
        changes.kept * 100.0
    ))?;
    let mut table = Table::new([
        ("most changed", Align::Left),
        ("gone", Align::Left),
        ("come", Align::Left),
    ])
    .indent(2);
    let changed: Vec<_> = changes
        .queries
        .into_iter()
        .filter(|c| !c.gone.is_empty())
        .take(MAX_CHANGED)
        .collect();
    for change in &changed {
        table.row([
            change.query.clone(),
            change.gone.join(" "),
            change.come.join(" "),
        ]);
    }
    if !changed.is_empty() {
        out.line(table)?;
    }
    Ok(())
}

pub(super) fn drift(collection: &Target, out: &mut Out) -> Result<(), Failure> {
    let drift = collection.drift()?;
    if out.is_json() {
        return Ok(out.json(&drift)?);
    }
    let mut table = Table::new([
        ("version", Align::Right),
        ("from", Align::Right),
        ("moved by", Align::Right),
        ("before", Align::Right),
        ("after", Align::Right),
        ("gain at least", Align::Right),
        ("gate", Align::Left),
    ]);
    let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
    for refit in &drift.refits {
        table.row([
            refit.version.to_string(),
            refit.parent.to_string(),
            optional(refit.distance),
            optional(refit.before),
            optional(refit.after),
            optional(refit.lower_bound),
            verdict(refit.accepted, refit.shrinkage).to_owned(),
        ]);
    }
    if drift.refits.is_empty() {
        out.line("no metric has been learned yet")?;
    } else {
        out.line(table)?;
    }
    alarms(&drift, out)
}

/// Prints the alarms of a collection's metric, a line each.
pub(crate) fn alarms(drift: &Drift, out: &mut Out) -> Result<(), Failure> {
    for alarm in &drift.alarms {
        out.line(format_args!("{BAD}alarm{BAD:#} {}", plain(alarm)))?;
    }
    Ok(())
}
