//! The command line of affinis as a library: the parsers of its inputs, which can be used and
//! fuzzed by themselves, and [`run`], which the binary calls.
//!
//! This crate reads arguments and files, calls the crate [`affinis`], and prints. [`input`] holds
//! the parsers, `commands` the commands, `output` the printing, `demo` the demonstration on real
//! text.

// No panic may be reachable from input or from data on disk.
#![cfg_attr(
    not(any(test, fuzzing)),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod args;
mod commands;
mod demo;
mod failure;
pub mod input;
mod output;
mod target;

pub use args::Cli;

use std::process::ExitCode;

use output::Out;

/// Runs a command and returns the exit status: 0 done, 1 the operation failed, 2 the arguments were
/// wrong.
pub fn run(cli: Cli) -> ExitCode {
    let mut out = Out::new(cli.json);
    let result = commands::run(cli, &mut out).and_then(|()| out.flush().map_err(Into::into));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // Output that came before the failure stays before its message.
            let _ = out.flush();
            output::error(&failure);
            ExitCode::from(failure.status())
        }
    }
}
