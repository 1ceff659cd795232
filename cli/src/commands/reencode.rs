//! `reencode`: gives a collection another encoder, with all that was judged.

use std::path::PathBuf;
use std::sync::Arc;

use affinis::encode::Encoder;
use affinis::maintenance::Reencoded;
use affinis_api::RefitDocument;
use serde_json::json;

use super::create::DistanceName;
use super::{At, refit};
use crate::failure::Failure;
use crate::output::{self, Out, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The texts are encoded into the collection NAME.reencoding. A command that is interrupted or killed goes on there
when it is given again. The judgements are kept, and a metric is fitted and tested on them; then the
collection has the new encoder, and NAME.before is what it was. Versions of the metric so far stay listed,
as withdrawn, since they measure other vectors.

Examples:
  affinis reencode notes --encoder models/minilm
  affinis reencode notes --back                     the collection is what it was before
  affinis reencode notes --commit                   drop what it was before")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Directory of the new encoder, or `embedded` for the one in the program
    #[arg(long, value_name = "DIR", required_unless_present_any = ["back", "commit"])]
    encoder: Option<PathBuf>,
    /// Output of the new encoder's graph that is the embedding
    #[arg(long, value_name = "NAME", requires = "encoder")]
    output: Option<String>,
    /// Built-in distance [default: that of the collection]
    #[arg(long, value_enum, requires = "encoder")]
    distance: Option<DistanceName>,
    /// Go back to the encoder before; what came since is kept as NAME.reencoding
    #[arg(long, conflicts_with_all = ["encoder", "commit"])]
    back: bool,
    /// Drop what the collection was before; with --encoder, as soon as it is encoded
    #[arg(long)]
    commit: bool,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let store = at.open()?;
    let name = &args.name;
    if args.back {
        store.reencode_back(name)?;
        if out.is_json() {
            return Ok(out.json(&json!({"collection": name, "back": true}))?);
        }
        return Ok(out.line(format_args!(
            "{0} has the encoder before again; {0}.reencoding is what came since",
            plain(name)
        ))?);
    }
    let Some(directory) = &args.encoder else {
        store.reencode_commit(name)?;
        if out.is_json() {
            return Ok(out.json(&json!({"collection": name, "committed": true}))?);
        }
        return Ok(out.line(format_args!(
            "{0}.before is dropped; {0} keeps its encoder",
            plain(name)
        ))?);
    };
    let encoder = super::encoder(directory, args.output.as_deref())?;
    let bar = output::bar(0, "encoding");
    let shown = bar.clone();
    let mut reencode = store
        .reencode(name, Arc::clone(&encoder) as Arc<dyn Encoder>)
        .progress(move |done, all| {
            shown.set_length(all);
            shown.set_position(done);
        })
        .cancel(output::interrupted);
    if let Some(distance) = args.distance {
        reencode = reencode.distance(distance.into());
    }
    output::catch_interrupts();
    let done = reencode.run().map_err(|error| match error {
        affinis::Error::Cancelled => Failure::Interrupted(format!(
            "interrupted: {name} is what it was; the same command goes on where this one stopped"
        )),
        other => other.into(),
    });
    bar.finish_and_clear();
    let done = done?;
    if args.commit {
        store.reencode_commit(name)?;
    }
    if out.is_json() {
        return Ok(out.json(&json!({
            "collection": name, "encoder": encoder.name(), "fingerprint": encoder.fingerprint(), "dim": encoder.dim(),
            "items": done.items, "encoded": done.encoded, "judgements": done.judgements, "left_out": done.left_out,
            "refit": done.refit.as_ref().map(|report| RefitDocument::new(report, false)), "committed": args.commit,
        }))?);
    }
    say(args, encoder.name(), &done, out)
}

/// Says for people what was done.
fn say(args: &Args, encoder: &str, done: &Reencoded, out: &mut Out) -> Result<(), Failure> {
    let name = plain(&args.name);
    out.line(format_args!(
        "{name}: {} encoded by {}, {} kept",
        plural(done.items, "text", "texts"),
        plain(encoder),
        plural(done.judgements, "judgement", "judgements")
    ))?;
    if !done.left_out.is_empty() {
        let first: Vec<String> = done
            .left_out
            .iter()
            .take(5)
            .map(ToString::to_string)
            .collect();
        output::warn(format!(
            "{} of queries that the new encoder cannot make: {}{}",
            plural(
                done.left_out.len() as u64,
                "judgement is left out,",
                "judgements are left out,"
            ),
            first.join(", "),
            if done.left_out.len() > first.len() {
                ", ..."
            } else {
                ""
            }
        ));
    }
    if let Some(report) = &done.refit {
        let forced = report.promoted && !report.gate.accepted;
        refit::print(&RefitDocument::new(report, false), forced, out)?;
    }
    if !args.commit {
        out.line(format_args!(
            "{name}.before is what it was; `affinis reencode {name} --back` goes back, `--commit` drops it"
        ))?;
    }
    Ok(())
}
