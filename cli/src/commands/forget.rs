//! `forget`: removes judgements, and refits without them.

use affinis::Forget;
use clap::ArgGroup;
use serde_json::json;

use super::{At, metric_name, refit};
use crate::failure::Failure;
use crate::output::{self, Out, plain, plural};

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["user", "item"]))]
#[command(after_help = "\
Metrics that had learned from the judgements are withdrawn, and a new one is learned from what
is left.

Examples:
  affinis forget notes --user ann                   all that ann judged
  affinis forget notes --item a1                    all judgements of an item")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Remove what this user judged
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Remove the judgements that speak of this item
    #[arg(long, value_name = "ID")]
    item: Option<String>,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.collection(&args.name)?;
    let what = match (&args.user, &args.item) {
        (Some(user), None) => Forget::User(user.clone()),
        (None, Some(item)) => Forget::Item(item.clone()),
        _ => return Err(Failure::Usage("one of --user and --item is needed".into())),
    };
    let working = output::spinner("forgetting, and learning anew");
    let forgotten = collection.forget(&what)?;
    drop(working);
    if out.is_json() {
        let document = json!({
            "removed": forgotten.removed,
            "withdrawn": forgotten.withdrawn,
            "refit": forgotten.refit.as_ref().map(refit::document),
            "active": forgotten.active,
        });
        return Ok(out.json(&document)?);
    }
    out.line(format_args!(
        "removed {} from {}",
        plural(forgotten.removed as u64, "judgement", "judgements"),
        plain(&args.name)
    ))?;
    if !forgotten.withdrawn.is_empty() {
        let versions: Vec<_> = forgotten.withdrawn.iter().map(u32::to_string).collect();
        out.line(format_args!("withdrew what had learned from them: metric {}", versions.join(", ")))?;
    }
    if let Some(report) = &forgotten.refit {
        refit::print(report, false, out)?;
    }
    out.line(format_args!("{} is active", metric_name(forgotten.active)))?;
    Ok(())
}
