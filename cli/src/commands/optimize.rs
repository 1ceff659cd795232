//! `optimize`: builds one graph of all items, under the active metric.

use std::time::Instant;

use serde_json::json;

use super::{At, metric_name};
use crate::failure::Failure;
use crate::output::{self, Out, count, millis, plain};

/// Number of positions of the progress bar.
const BAR_LENGTH: u64 = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A background thread builds the graphs of new items, and adapts them to a new metric. This command
does all of it now, and frees the space of deleted items. Searches continue meanwhile. If it is
interrupted, nothing changes.

Examples:
  affinis optimize notes")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.collection(&args.name)?;
    let started = Instant::now();
    let bar = output::bar(BAR_LENGTH, "building");
    let built = collection.optimize_with(
        |share| bar.set_position((f64::from(share) * BAR_LENGTH as f64) as u64),
        || false,
    );
    bar.finish_and_clear();
    built?;
    let (items, metric) = (collection.len(), collection.active_metric(None));
    let took = started.elapsed().as_secs_f64() * 1000.0;
    if out.is_json() {
        let document = json!({ "items": items, "metric": metric, "millis": took });
        return Ok(out.json(&document)?);
    }
    Ok(out.line(format_args!(
        "built one graph of the {} items of {} under {} in {}",
        count(items as u64),
        plain(&args.name),
        metric_name(metric),
        millis(took)
    ))?)
}
