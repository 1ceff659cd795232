//! The program `affinis`, a vector store on the command line.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    affinis_cli::run(affinis_cli::Cli::parse())
}
