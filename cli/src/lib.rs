//! The command line of affinis, as a library: the parsers of its inputs, which can be used and
//! fuzzed alone, and [`run`], which the binary calls.
//!
//! Everything the command line does, the crate [`affinis`] does; this crate reads arguments and
//! files, asks the store, and prints. Where to look: [`input`] for what is read, `commands` for one
//! file a command, `output` for how things are printed, `demo` for the main job on real text.

// No panic is to be reached from input or from what is on disk.
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

pub use args::Cli;

use std::process::ExitCode;

use output::Out;

/// Runs a command and gives the exit status: 0 done, 1 the operation failed, 2 the arguments were
/// wrong.
pub fn run(cli: Cli) -> ExitCode {
    let mut out = Out::new(cli.json);
    let result = commands::run(cli, &mut out).and_then(|()| out.flush().map_err(Into::into));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before the failure stays in its place before the message.
            let _ = out.flush();
            output::error(&failure);
            ExitCode::from(failure.status())
        }
    }
}
