//! The arguments of the program: the options of every command, and the list of commands.

use std::path::PathBuf;
use std::time::Duration;

use anstyle::AnsiColor;
use clap::builder::Styles;
use clap::{Parser, Subcommand};

#[cfg(feature = "serve")]
use crate::commands::serve;
use crate::commands::{
    add, backup, create, drop, evaluate, explain, forget, items, judge, judgements, keywords,
    metrics, model, optimize, overview, pg, reencode, refit, search, transfer,
};
use crate::demo;
use crate::input::Input;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default().dimmed());

const EXAMPLES: &str = "\
Examples:
  affinis demo                                      store, search, judge and refit on real text, in under a minute
  affinis create notes                              a collection with the built-in text encoder
  affinis add notes notes.jsonl                     {\"id\": \"a1\", \"text\": \"how to prune apple trees\"}
  affinis search notes \"fruit tree care\"
  affinis judge notes judgements.jsonl              {\"query\": \"fruit trees\", \"item\": \"a1\", \"relevant\": true}
  affinis refit notes                               learn a metric, and promote it if it helps on held-out judgements
  affinis evaluate notes queries.jsonl              measures under Euclidean and the learned metric

Exit status: 0 done, 1 the operation failed and nothing was half-done, 2 the arguments were wrong.";

/// Heading of the options of every command.
const EVERYWHERE: &str = "Options of every command";

/// An embedded vector store that learns what "similar" means from feedback.
#[derive(Debug, Parser)]
#[command(name = "affinis", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 120)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    /// Directory of the store; `postgres://USER@HOST/DATABASE` in a build with `postgres`, or
    /// `http://HOST:PORT` of a service in one with `client`
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR", env = "AFFINIS_STORE", default_value = "affinis.store")]
    pub(crate) store: PathBuf,

    /// Print only JSON on standard output, one document a line
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,

    /// Directory of the collection's encoder, or one that holds it, if not where it was
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub(crate) encoder: Option<PathBuf>,

    /// Seconds to wait for another process that has the store open [default: fail at once]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,

    /// Only read the store, beside the process that has it open; whatever writes is refused
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) read_only: bool,

    /// File of the token that a service is shown [default: `AFFINIS_TOKEN` in the environment]
    #[cfg(feature = "client")]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Root certificates, PEM, that are trusted for `--store https://..` beside those of the system
    #[cfg(feature = "client")]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE", env = "AFFINIS_ROOT_CERTIFICATES")]
    pub(crate) root_certificates: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show on real text how judgements improve search: encode, search, judge, refit, search again
    Demo(demo::Args),
    /// Create a collection
    Create(create::Args),
    /// Delete a collection with all that it holds
    Drop(drop::Args),
    /// Add, replace or update items from a file
    Add(add::Args),
    /// Print items by their ids, or those that match a filter
    Get(items::GetArgs),
    /// List items in the order of their ids
    List(items::ListArgs),
    /// Count items, or those that match a filter
    Count(items::CountArgs),
    /// Delete items by their ids, or those that match a filter
    Delete(items::DeleteArgs),
    /// Find the items nearest to a text, a vector or a stored item
    Search(Box<search::Args>),
    /// Store judgements: which items are relevant to a query, or similar to each other
    Judge(judge::Args),
    /// List the judgements, with their numbers and whether they still teach
    Judgements(judgements::Args),
    /// Learn a metric from the judgements, and promote it if it helps
    Refit(refit::Args),
    /// List, promote, roll back, compare, export and import versions of the metric
    Metrics(metrics::Args),
    /// Explain an item's rank by the directions of the metric and by judgements
    Explain(explain::Args),
    /// Measure answers to queries with known relevant items, under Euclidean and another metric
    Evaluate(evaluate::Args),
    /// Turn keyword search over the texts of a collection on or off
    Keywords(keywords::Args),
    /// Build one graph of all items now, under the active metric
    #[command(alias = "relink")]
    Optimize(optimize::Args),
    /// Show the size and the index of a collection
    Stats(overview::StatsArgs),
    /// List the collections
    Collections(overview::CollectionsArgs),
    /// Read and check everything that is stored; repair it with --repair
    Verify(overview::VerifyArgs),
    /// Copy the whole store, as it is at one moment, to a directory
    Backup(backup::BackupArgs),
    /// Verify a backup and replace the store by it
    Restore(backup::RestoreArgs),
    /// Rewrite the store without replaced, deleted and forgotten data
    Compact(backup::CompactArgs),
    /// Write a collection with its judgements and metrics to a file
    Export(transfer::ExportArgs),
    /// Create a collection from an exported file
    Import(transfer::ImportArgs),
    /// Remove judgements permanently, and refit without them
    Forget(forget::Args),
    /// Give a collection another encoder, and keep what was judged
    Reencode(reencode::Args),
    /// Download text encoders, and measure them
    Model(model::Args),
    /// Attach tables of PostgreSQL with pgvector to the learned metric
    Pg(pg::Args),
    /// Answer over HTTP: search, judge, learn, and a page
    #[cfg(feature = "serve")]
    Serve(serve::ServeArgs),
    /// Make a token for somebody who may ask a service
    #[cfg(feature = "serve")]
    Token(serve::TokenArgs),
}

/// Longest time for which a command waits for a store, in seconds.
const MAX_WAIT: f64 = 1e6;

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=MAX_WAIT).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!(
            "a number of seconds from 0 to {MAX_WAIT} is expected"
        )),
    }
}

impl Command {
    /// Whether the command does nothing but write to the store.
    pub(crate) fn writes(&self) -> bool {
        matches!(
            self,
            Self::Create(_)
                | Self::Drop(_)
                | Self::Add(_)
                | Self::Delete(_)
                | Self::Judge(_)
                | Self::Optimize(_)
                | Self::Restore(_)
                | Self::Compact(_)
                | Self::Import(_)
                | Self::Forget(_)
                | Self::Reencode(_)
        )
    }

    /// Whether it reads standard input.
    pub(crate) fn reads_standard_input(&self) -> bool {
        let inputs: [Option<&Input>; 2] = match self {
            Self::Add(args) => args.inputs(),
            Self::Delete(args) => args.inputs(),
            Self::Evaluate(args) => args.inputs(),
            Self::Import(args) => args.inputs(),
            Self::Judge(args) => args.inputs(),
            Self::Metrics(args) => args.inputs(),
            Self::Search(args) => args.inputs(),
            _ => return false,
        };
        inputs
            .into_iter()
            .flatten()
            .any(|input| *input == Input::Stdin)
    }
}
