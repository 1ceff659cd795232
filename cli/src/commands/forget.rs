//! `forget`: removes judgements, and refits without them.

use affinis::{Collection, Forget, Version};
use clap::ArgGroup;
use serde_json::{Value, json};

use super::{At, metric_name, refit, user};
use crate::failure::Failure;
use crate::output::{self, Out, plain, plural};

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["user", "item"]))]
#[command(after_help = "\
Metrics that had learned from the judgements are withdrawn, everybody's and people's own, and new
ones are learned from what is left.

Examples:
  affinis forget notes --user ann                   all that ann judged
  affinis forget notes --item a1                    all judgements of an item")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Remove what this user judged
    #[arg(long, value_name = "USER", value_parser = user)]
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
    let before = collection.metrics()?.len();
    let forgotten = collection.forget(&what)?;
    // Versions are appended, and none is ever taken out of the list.
    let learned = collection.metrics()?.split_off(before);
    drop(working);
    let users: Vec<Anew> = forgotten.users.iter().map(|user| Anew::of(user, &learned, &collection)).collect();
    if out.is_json() {
        let document = json!({
            "removed": forgotten.removed,
            "withdrawn": forgotten.withdrawn,
            "refit": forgotten.refit.as_ref().map(refit::document),
            "active": forgotten.active,
            "users": users.iter().map(Anew::document).collect::<Vec<_>>(),
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
    for user in &users {
        out.line(user.sentence())?;
    }
    Ok(())
}

/// What became of a user whose own metric was withdrawn.
struct Anew<'a> {
    user: &'a str,
    /// What was learned for the user anew, if there was enough to learn from.
    learned: Option<&'a Version>,
    /// The metric that answers the user now.
    active: u32,
}

impl<'a> Anew<'a> {
    fn of(user: &'a str, learned: &'a [Version], collection: &Collection) -> Self {
        let learned = learned.iter().find(|version| version.user.as_deref() == Some(user));
        Self { user, learned, active: collection.active_metric(Some(user)) }
    }

    fn document(&self) -> Value {
        json!({
            "user": self.user,
            "version": self.learned.map(|version| version.version),
            "promoted": self.learned.is_some_and(|version| version.active),
            "gate": self.learned.and_then(|version| version.gate.as_ref()).map(refit::gate_document),
            "active": self.active,
        })
    }

    fn sentence(&self) -> String {
        let anew = match self.learned {
            None => "and nothing could be learned anew".to_owned(),
            Some(Version { version, active: true, .. }) => format!("and metric {version} learned anew"),
            Some(Version { version, .. }) => format!("and metric {version} learned anew, which the gate did not pass"),
        };
        let user = plain(self.user);
        format!(
            "{user}: the metric of their own was withdrawn, {anew}; {} is active for {user}",
            metric_name(self.active)
        )
    }
}
