//! `reencode`: gives a collection another encoder, with all that was judged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use affinis_api::ReencodedDocument;
use indicatif::ProgressBar;
use serde_json::json;

use super::create::DistanceName;
use super::{At, refit};
use crate::failure::Failure;
use crate::output::{self, Out, plain, plural};
#[cfg(feature = "client")]
use crate::target::{Service, wait};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The texts are encoded into the collection NAME.reencoding. A command that is interrupted or killed goes on there
when it is given again. The judgements are kept, and a metric is fitted and tested on them; then the
collection has the new encoder, and NAME.before is what it was. Versions of the metric so far stay listed,
as withdrawn, since they measure other vectors.

A service (--store http://..) has encoders by their names, and does the work in the background; it answers
as before until the end.

Examples:
  affinis reencode notes --encoder models/minilm
  affinis reencode notes --back                     the collection is what it was before
  affinis reencode notes --commit                   drop what it was before")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Directory of the new encoder, or `embedded` for the one in the program; of a service, its name
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
    let name = &args.name;
    if args.back {
        go_back(name, at)?;
        if out.is_json() {
            return Ok(out.json(&json!({"collection": name, "back": true}))?);
        }
        return Ok(out.line(format_args!(
            "{0} has the encoder before again; {0}.reencoding is what came since",
            plain(name)
        ))?);
    }
    let Some(encoder) = &args.encoder else {
        commit(name, at)?;
        if out.is_json() {
            return Ok(out.json(&json!({"collection": name, "committed": true}))?);
        }
        return Ok(out.line(format_args!(
            "{0}.before is dropped; {0} keeps its encoder",
            plain(name)
        ))?);
    };
    let bar = output::bar(0, "encoding");
    let done = reencode(args, encoder, at, &bar)?;
    bar.finish_and_clear();
    if out.is_json() {
        return Ok(out.json(&done)?);
    }
    say(&done, out)
}

fn go_back(name: &str, at: &At) -> Result<(), Failure> {
    #[cfg(feature = "client")]
    if let super::Engine::Service(service) = &at.engine {
        return Ok(service.client().collection(name).reencode_back()?);
    }
    Ok(at.open()?.reencode_back(name)?)
}

fn commit(name: &str, at: &At) -> Result<(), Failure> {
    #[cfg(feature = "client")]
    if let super::Engine::Service(service) = &at.engine {
        return Ok(service.client().collection(name).reencode_commit()?);
    }
    Ok(at.open()?.reencode_commit(name)?)
}

/// Encodes the texts of a collection.
fn reencode(
    args: &Args,
    directory: &Path,
    at: &At,
    bar: &ProgressBar,
) -> Result<ReencodedDocument, Failure> {
    #[cfg(feature = "client")]
    if let super::Engine::Service(service) = &at.engine {
        return on_service(args, directory, service, bar);
    }
    let name = &args.name;
    let store = at.open()?;
    let encoder = super::encoder(directory, args.output.as_deref())?;
    let shown = bar.clone();
    let mut reencode = store
        .reencode(name, Arc::clone(&encoder))
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
    })?;
    if args.commit {
        store.reencode_commit(name)?;
    }
    Ok(ReencodedDocument::new(
        name,
        encoder.as_ref(),
        done,
        args.commit,
    ))
}

/// Lets a service encode the texts of a collection, by an encoder that it has.
#[cfg(feature = "client")]
fn on_service(
    args: &Args,
    encoder: &Path,
    service: &Service,
    bar: &ProgressBar,
) -> Result<ReencodedDocument, Failure> {
    const STEPS: u64 = 100;
    let known = service.client().encoders()?;
    let named = encoder
        .to_str()
        .filter(|name| known.iter().any(|own| own == name));
    let Some(encoder) = named else {
        return Err(Failure::Failed(format!(
            "{}: a service has encoders by their names, and this one has {}; `affinis serve --encoder DIR` gives it others",
            encoder.display(),
            known.join(", ")
        )));
    };
    let collection = service.client().collection(&args.name);
    let mut reencode = collection.reencode(encoder).commit(args.commit);
    if let Some(output) = &args.output {
        reencode = reencode.output(output);
    }
    if let Some(distance) = args.distance {
        reencode = reencode.distance(distance.into());
    }
    bar.set_length(STEPS);
    wait(&reencode.begin()?, |share| {
        bar.set_position((share * STEPS as f32) as u64);
    })
}

/// Says for people what was done.
fn say(done: &ReencodedDocument, out: &mut Out) -> Result<(), Failure> {
    let name = plain(&done.collection);
    out.line(format_args!(
        "{name}: {} encoded by {}, {} kept",
        plural(done.items, "text", "texts"),
        plain(&done.encoder),
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
        // Nothing forces this refit.
        refit::print(report, false, out)?;
    }
    if !done.committed {
        out.line(format_args!(
            "{name}.before is what it was; `affinis reencode {name} --back` goes back, `--commit` drops it"
        ))?;
    }
    Ok(())
}
