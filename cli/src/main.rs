//! The program `affinis`, a vector store on the command line.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A panic that is caught becomes an error, whose message is printed.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !affinis::panics::are_caught() {
            report(panic);
        }
    }));
    affinis_cli::run(affinis_cli::Cli::parse())
}
