//! `model`: gets text encoders.

use std::path::PathBuf;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Out;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Get a model
    Pull { repo: String, #[arg(long)] to: Option<PathBuf> },
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let _ = (args, out);
    Ok(())
}
