//! `metrics`: lists the versions of a collection's metric and changes which of them is active.

mod compare;
mod matrix;
mod show;
pub(crate) mod trial;

use std::path::PathBuf;

use affinis::VersionId;
use affinis_api::ActiveDocument;
use anstyle::Style;
use clap::Subcommand;
use serde_json::json;

pub(crate) use self::compare::alarms;
use super::{At, metric_name, user};
use crate::failure::Failure;
use crate::input::Input;
use crate::output::{Align, BOLD, GOOD, Out, Table, count, number, plain};
use crate::target::Target;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Versions never change, and their numbers are never reused. Version 0 is the collection's
built-in distance, called Euclidean.

Examples:
  affinis metrics notes                             the versions
  affinis metrics notes show 3
  affinis metrics notes promote 2
  affinis metrics notes rollback                    back to the parent of the active version
  affinis metrics notes rollback --user ann         ann's searches use the shared metric again
  affinis metrics notes diff 0 3
  affinis metrics notes delete 3                    a version that nothing needs
  affinis metrics notes drift                       how far each refit moved the metric, and alarms
  affinis metrics notes trial start 4               4 against the active one, decided by clicks
  affinis metrics notes export 3 metric.npy         the matrix, d x d; or metric.json
  affinis metrics notes import metric.npy")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    #[command(subcommand)]
    action: Option<Action>,
}

impl Args {
    /// The inputs that it names.
    pub(crate) fn inputs(&self) -> [Option<&Input>; 2] {
        match &self.action {
            Some(Action::Import { file }) => [Some(file), None],
            _ => [None, None],
        }
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the versions; this is the default action
    List,
    /// Show everything that is known of a version
    Show {
        /// The version's number
        version: VersionId,
    },
    /// Make a version active: for its user if it was learned for one, else for everybody
    Promote {
        /// The version's number
        version: VersionId,
    },
    /// Make an earlier version active again, or end a user's own metric
    Rollback {
        /// The version's number [default: the active version's parent]
        version: Option<VersionId>,
        /// Search under the shared metric again for this user; the user's own version is kept
        #[arg(long, value_name = "USER", value_parser = user, conflicts_with = "version")]
        user: Option<String>,
    },
    /// Delete a version that nothing needs: not active, no base of another, not in a trial
    Delete {
        /// The version's number
        version: VersionId,
    },
    /// Show how far each refit moved the metric, what the gate measured, and alarms
    Drift,
    /// Compare a version with the active one by clicks on interleaved answers
    Trial {
        #[command(subcommand)]
        action: Option<trial::Action>,
    },
    /// Compare two versions: their distance, directions and nearest items
    Diff {
        /// The version to start from
        version: VersionId,
        /// The version to compare with it
        with: VersionId,
    },
    /// Write a version's matrix to a file: npy if its name ends in .npy, else JSON
    Export {
        /// The version's number
        version: VersionId,
        /// The file, or - for standard output
        file: PathBuf,
    },
    /// Store a matrix from a file as a new version; `promote` makes it active
    Import {
        /// The file, npy or JSON, or - for standard input
        file: Input,
    },
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.target(&args.name)?;
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(&collection, out),
        Action::Show { version } => show::show(&collection.version(*version)?, out),
        Action::Promote { version } => active(&collection.promote(*version)?, out),
        Action::Rollback {
            user: Some(user), ..
        } => active(&collection.clear_user_metric(user)?, out),
        Action::Rollback {
            version,
            user: None,
        } => active(&collection.roll_back(*version)?, out),
        Action::Delete { version } => delete(&collection, *version, out),
        Action::Drift => compare::drift(&collection, out),
        Action::Trial { action } => trial::run(
            &collection,
            action.as_ref().unwrap_or(&trial::Action::Status),
            out,
        ),
        Action::Diff { version, with } => compare::diff(&collection, *version, *with, out),
        Action::Export { version, file } => matrix::export(&collection, *version, file, out),
        Action::Import { file } => matrix::import(&collection, file, out),
    }
}

fn delete(collection: &Target, version: VersionId, out: &mut Out) -> Result<(), Failure> {
    collection.delete_metric(version)?;
    if out.is_json() {
        return Ok(out.json(&json!({"deleted": version}))?);
    }
    Ok(out.line(format_args!("deleted {}", metric_name(version)))?)
}

/// Prints for whom a version is active now.
fn active(active: &ActiveDocument, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(active)?);
    }
    let whose = active
        .user
        .as_deref()
        .map(|user| format!(" for {}", plain(user)))
        .unwrap_or_default();
    out.line(format_args!(
        "{} is active{whose}",
        metric_name(active.active)
    ))?;
    Ok(())
}

/// The verdict of the gate in a word.
fn verdict(accepted: bool, shrinkage: Option<f64>) -> &'static str {
    match shrinkage {
        _ if !accepted => "refused",
        Some(_) => "shrunken",
        None => "passed",
    }
}

fn list(collection: &Target, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        for version in &collection.versions()? {
            out.json(version)?;
        }
        return Ok(());
    }
    let versions = collection.versions_in_full()?;
    let mut table = Table::new([
        ("", Align::Left),
        ("version", Align::Right),
        ("parent", Align::Right),
        ("learner", Align::Left),
        ("user", Align::Left),
        ("pairs", Align::Right),
        ("condition", Align::Right),
        ("gate", Align::Left),
        ("created", Align::Left),
    ]);
    let plain_style = Style::new();
    for version in versions {
        let gate = match &version.gate {
            _ if version.withdrawn => "withdrawn",
            None => "",
            Some(gate) => verdict(gate.accepted, version.shrinkage),
        };
        let pairs = match version.pairs.similar + version.pairs.dissimilar {
            0 => String::new(),
            n => count(n as u64),
        };
        table.styled([
            (
                if version.active {
                    "*".to_owned()
                } else {
                    String::new()
                },
                GOOD,
            ),
            (version.version.to_string(), BOLD),
            (
                version.parent.map(|p| p.to_string()).unwrap_or_default(),
                plain_style,
            ),
            (version.learner.clone(), plain_style),
            (
                version.user.as_deref().map_or_else(String::new, user_name),
                plain_style,
            ),
            (pairs, plain_style),
            (number(version.condition), plain_style),
            (gate.to_owned(), plain_style),
            (version.created_text(), plain_style),
        ]);
    }
    out.line(table)?;
    alarms(&collection.drift()?, out)
}

/// The user of a version; the name is removed when the user is forgotten.
fn user_name(user: &str) -> String {
    if user.is_empty() {
        "(forgotten)".into()
    } else {
        plain(user)
    }
}
