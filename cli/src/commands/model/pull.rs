//! `model pull`: downloads a text encoder.

use std::path::PathBuf;

#[cfg(feature = "hub")]
use affinis::encode::{PullOptions, Pulled, pull};
#[cfg(feature = "hub")]
use serde_json::{Map, json};

use crate::failure::Failure;
use crate::output::Out;
#[cfg(feature = "hub")]
use crate::output::{self, Align, Table, bytes, plain};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The repository must hold model.onnx or onnx/model.onnx, and tokenizer.json. The environment
variable HF_ENDPOINT names another hub, and HF_TOKEN gives access to private repositories.

Examples:
  affinis model pull sentence-transformers/all-MiniLM-L6-v2
  affinis model pull BAAI/bge-small-en-v1.5 --to models/bge --revision main")]
pub(super) struct Args {
    /// The repository, OWNER/MODEL
    repo: String,
    /// Directory to create for the model [default: MODEL of OWNER/MODEL]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Branch, tag or commit
    #[arg(long, value_name = "REVISION", default_value = "main")]
    revision: String,
    /// ONNX file of the repository [default: model.onnx or onnx/model.onnx]
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
}

#[cfg(not(feature = "hub"))]
pub(super) fn run(args: &Args, _out: &mut Out) -> Result<(), Failure> {
    Err(Failure::Failed(format!(
        "{} cannot be downloaded by this build; one with `--features hub` or `--features full` can, and so can any \
         program that copies the repository's files into a directory",
        args.repo
    )))
}

#[cfg(feature = "hub")]
pub(super) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let dir = args
        .to
        .clone()
        .unwrap_or_else(|| args.repo.rsplit('/').next().unwrap_or("model").into());
    let bar = output::download();
    let shown = bar.clone();
    let mut options =
        PullOptions::new()
            .revision(&args.revision)
            .progress(move |file, done, total| {
                if shown.message() != file {
                    shown.set_message(file.to_owned());
                }
                shown.set_length(total);
                shown.set_position(done);
            });
    if let Some(file) = &args.file {
        options = options.model(file);
    }
    let pulled = pull(&args.repo, &dir, &options).map_err(affinis::Error::from);
    bar.finish_and_clear();
    let Pulled {
        dir, commit, files, ..
    } = pulled?;
    let dir = plain(&dir.display().to_string());
    if out.is_json() {
        let files: Map<_, _> = files
            .iter()
            .map(|(name, size)| (name.clone(), json!(size)))
            .collect();
        return Ok(
            out.json(&json!({"repo": args.repo, "commit": commit, "dir": dir, "files": files}))?
        );
    }
    let mut table = Table::new([("", Align::Left), ("", Align::Right)]).indent(2);
    for (name, size) in files {
        table.row([name, bytes(size)]);
    }
    out.line(format_args!(
        "{} at {commit} is in {dir}",
        plain(&args.repo)
    ))?;
    out.line(table)?;
    out.line(format_args!(
        "`affinis create NAME --encoder {dir}` creates a collection with it"
    ))?;
    Ok(())
}
