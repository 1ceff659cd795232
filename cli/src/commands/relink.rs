//! `relink`: one graph of everything, improved under the active metric.

use std::time::Instant;

use serde_json::json;

use super::{At, metric_name};
use crate::failure::Failure;
use crate::output::{self, Out, count, millis, plain};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The background links what is added and what a new metric needs without being asked; this does all
of it now, and takes back the place of deleted items. Searches are exact or on the old graph until
it is done; stopped half-way, it changes nothing.

Examples:
  affinis relink notes")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    const STEPS: u64 = 1000;
    let collection = at.collection(&args.name)?;
    let started = Instant::now();
    let bar = output::bar(STEPS, "linking");
    let linked = collection.optimize_with(
        |share| bar.set_position((f64::from(share) * STEPS as f64) as u64),
        || false,
    );
    bar.finish_and_clear();
    linked?;
    let (items, metric) = (collection.len(), collection.active_metric(None));
    let took = started.elapsed().as_secs_f64() * 1000.0;
    if out.is_json() {
        return Ok(out.json(&json!({ "items": items, "metric": metric, "millis": took }))?);
    }
    Ok(out.line(format_args!(
        "linked the {} items of {} under {} in {}",
        count(items as u64),
        plain(&args.name),
        metric_name(metric),
        millis(took)
    ))?)
}
