//! The arguments: what every command understands, and the list of commands.

use std::path::PathBuf;

use anstyle::AnsiColor;
use clap::builder::Styles;
use clap::{Parser, Subcommand};

use crate::commands::{
    add, backup, create, evaluate, explain, forget, items, judge, metrics, model, optimize,
    overview, refit, search, transfer,
};
use crate::demo;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default().dimmed());

const EXAMPLES: &str = "\
Examples:
  affinis demo                                      the whole idea on real text, in under a minute
  affinis create notes                              a collection with the built-in text encoder
  affinis add notes notes.jsonl                     {\"id\": \"a1\", \"text\": \"how to prune apple trees\"}
  affinis search notes \"fruit tree care\"
  affinis judge notes judgements.jsonl              {\"query\": \"fruit trees\", \"item\": \"a1\", \"relevant\": true}
  affinis refit notes                               learn the metric, promoted if held-out judgements say that it helps
  affinis evaluate notes queries.jsonl              Euclidean against learned, with intervals

Exit status: 0 done, 1 the operation failed and nothing was half-done, 2 the arguments were wrong.";

/// The heading of what every command understands.
const EVERYWHERE: &str = "With every command";

/// An embedded vector store that learns what "similar" means from feedback.
#[derive(Debug, Parser)]
#[command(name = "affinis", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 120)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    /// The store's directory
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR", env = "AFFINIS_STORE", default_value = "affinis.store")]
    pub(crate) store: PathBuf,

    /// Print JSON, one document a line, and nothing else on standard output
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One command each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the main job on real text: encode, search, judge, refit, search better
    Demo(demo::Args),
    /// Make a collection
    Create(create::Args),
    /// Add items from a file, replacing those whose ids exist
    Add(add::Args),
    /// Print items
    Get(items::GetArgs),
    /// Delete items
    Delete(items::DeleteArgs),
    /// Find the items nearest to a text, to vectors, or to an item
    Search(search::Args),
    /// Store judgements of answers: what was relevant, what was not
    Judge(judge::Args),
    /// Learn the metric from the judgements, and promote it if it helps
    Refit(refit::Args),
    /// List the versions of the metric, promote one, go back, compare, export, import
    Metrics(metrics::Args),
    /// Say why an item is at its rank: the metric's directions, and the judgements behind it
    Explain(explain::Args),
    /// Measure answers against known relevant items, Euclidean beside learned
    Evaluate(evaluate::Args),
    /// Build everything into one graph now, under the active metric
    #[command(alias = "relink")]
    Optimize(optimize::Args),
    /// Show a collection's size and state
    Stats(overview::StatsArgs),
    /// List the collections
    Collections(overview::CollectionsArgs),
    /// Read everything that is stored and check it
    Verify(overview::VerifyArgs),
    /// Write the whole store to a directory, as it is at one moment
    Backup(backup::BackupArgs),
    /// Put a backup in the store's place, once it is verified
    Restore(backup::RestoreArgs),
    /// Write the store anew, without what was overwritten, removed and forgotten
    Compact(backup::CompactArgs),
    /// Write a collection, with judgements and metrics, to a file
    Export(transfer::ExportArgs),
    /// Make a collection of an exported file
    Import(transfer::ImportArgs),
    /// Remove judgements for good, and refit without them
    Forget(forget::Args),
    /// Get text encoders
    Model(model::Args),
}
