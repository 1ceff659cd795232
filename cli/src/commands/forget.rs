//! `forget`: removes judgements permanently, and refits without them.

use affinis::{VersionId, learning::Forget};
use affinis_api::RelearnedDocument;
use clap::ArgGroup;

use super::{At, metric_name, refit, user};
use crate::failure::Failure;
use crate::output::{self, Out, plain, plural};
use crate::target::Target;

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["user", "item"]))]
#[command(after_help = "\
Versions of the metric that were learned from these judgements are withdrawn, shared and personal
ones, and new versions are learned from the remaining judgements.

Examples:
  affinis forget notes --user ann                   all that ann judged
  affinis forget notes --item a1                    all judgements of an item")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Remove all judgements of this user
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<String>,
    /// Remove all judgements that name this item
    #[arg(long, value_name = "ID")]
    item: Option<String>,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.target(&args.name)?;
    let what = match (&args.user, &args.item) {
        (Some(user), None) => Forget::User(user.clone()),
        (None, Some(item)) => Forget::Item(item.clone()),
        _ => return Err(Failure::Usage("one of --user and --item is needed".into())),
    };
    forget(&collection, &what, out)
}

/// Removes judgements, and prints what follows.
pub(crate) fn forget(collection: &Target, what: &Forget, out: &mut Out) -> Result<(), Failure> {
    let working = output::spinner("removing judgements and refitting");
    let forgotten = collection.forget(what)?;
    drop(working);
    if out.is_json() {
        return Ok(out.json(&forgotten)?);
    }
    out.line(format_args!(
        "removed {} from {}",
        plural(forgotten.removed as u64, "judgement", "judgements"),
        plain(collection.name())
    ))?;
    if !forgotten.withdrawn.is_empty() {
        let versions: Vec<_> = forgotten
            .withdrawn
            .iter()
            .map(VersionId::to_string)
            .collect();
        out.line(format_args!(
            "withdrew the metrics learned from them: metric {}",
            versions.join(", ")
        ))?;
    }
    if let Some(report) = &forgotten.refit {
        refit::print(report, false, out)?;
    }
    out.line(format_args!("{} is active", metric_name(forgotten.active)))?;
    for user in &forgotten.users {
        out.line(sentence(user))?;
    }
    Ok(())
}

fn sentence(relearned: &RelearnedDocument) -> String {
    let learned = relearned.version;
    let anew = match learned.map(|version| (version, relearned.promoted, relearned.shrinkage)) {
        None => "and nothing could be learned anew".to_owned(),
        Some((version, true, None)) => format!("and metric {version} learned anew"),
        Some((version, true, Some(_))) => format!("and metric {version}, shrunken, learned anew"),
        Some((version, false, _)) => {
            format!("and metric {version} learned anew, which the gate did not pass")
        }
    };
    let user = plain(&relearned.user);
    let active = metric_name(relearned.active);
    format!("{user}: the metric of their own was withdrawn, {anew}; {active} is active for {user}")
}
