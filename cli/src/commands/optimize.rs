//! `optimize`: builds one graph of all items, under the active metric.

use std::time::Instant;

use affinis_api::OptimizedDocument;

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
    let bar = output::bar(BAR_LENGTH, "building");
    let built = build(&args.name, at, |share| {
        bar.set_position((f64::from(share) * BAR_LENGTH as f64) as u64);
    });
    bar.finish_and_clear();
    let built = built?;
    if out.is_json() {
        return Ok(out.json(&built)?);
    }
    Ok(out.line(format_args!(
        "built one graph of the {} items of {} under {} in {}",
        count(built.items as u64),
        plain(&args.name),
        metric_name(built.metric),
        millis(built.millis)
    ))?)
}

/// Builds the graph, and tells the share that is done.
fn build(name: &str, at: &At, progress: impl Fn(f32) + Sync) -> Result<OptimizedDocument, Failure> {
    #[cfg(feature = "client")]
    if let super::Engine::Service(service) = &at.engine {
        let job = service.client().collection(name).optimize()?;
        return crate::target::wait(&job, progress);
    }
    let collection = at.collection(name)?;
    let started = Instant::now();
    collection.optimize_with(progress, || false)?;
    Ok(OptimizedDocument {
        items: collection.len(),
        metric: collection.active_metric(None),
        millis: started.elapsed().as_secs_f64() * 1000.0,
    })
}
