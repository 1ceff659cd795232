//! `model`: text encoders in directories of their own.

mod bench;
mod pull;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Out;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  affinis model pull sentence-transformers/all-MiniLM-L6-v2 --to models/minilm
  affinis model bench models/minilm
  affinis create notes --encoder models/minilm")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Download an ONNX model from the Hugging Face hub, completely or not at all
    Pull(pull::Args),
    /// Measure how many texts a second a model encodes, and whether the backends agree
    Bench(bench::Args),
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    match &args.action {
        Action::Pull(args) => pull::run(args, out),
        Action::Bench(args) => bench::run(args, out),
    }
}
