//! The binary `affinis`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    affinis_cli::run(affinis_cli::Cli::parse())
}
