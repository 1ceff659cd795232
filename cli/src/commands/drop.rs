//! `drop`: deletes a collection.

use serde_json::json;

use super::At;
use crate::failure::Failure;
use crate::output::{Out, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The items, the judgements and all versions of the metric are deleted. `affinis compact` removes them
from the files too.

Examples:
  affinis drop notes --yes")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Say that the collection is to be deleted; nothing is done without it
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    #[cfg(feature = "postgres")]
    if let super::Engine::Postgres(url) = &at.engine {
        return super::pg::drop(&args.name, args.yes, url, out);
    }
    if !args.yes {
        let held = plural(at.target(&args.name)?.len()?, "item", "items");
        return Err(Failure::Usage(format!(
            "this deletes the collection {:?} with {held}, its judgements and its metrics; say so with --yes",
            args.name
        )));
    }
    match &at.engine {
        #[cfg(feature = "client")]
        super::Engine::Service(service) => service.client().drop_collection(&args.name)?,
        _ => at.open()?.drop_collection(&args.name)?,
    }
    if out.is_json() {
        return Ok(out.json(&json!({"dropped": args.name}))?);
    }
    out.line(format_args!("dropped {}", plain(&args.name)))?;
    Ok(())
}
