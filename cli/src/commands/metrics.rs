//! `metrics`: the versions of a collection's metric, and which of them is active.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use affinis::{Collection, Drift, Version, VersionId};
use anstyle::Style;
use clap::Subcommand;
use ndarray::Array2;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refit::gate_document;
use super::{At, metric_name, trial, user};
use crate::failure::Failure;
use crate::input::{self, Input, InputError, Opened, Place};
use crate::output::{
    self, Align, BAD, BOLD, DIM, GOOD, Out, Table, WholeFile, count, number, plain,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Versions are immutable, and their numbers are never used again. Version 0 is Euclidean: the
collection's own distance.

Examples:
  affinis metrics notes                             the versions
  affinis metrics notes show 3
  affinis metrics notes promote 2
  affinis metrics notes rollback                    back to the parent of the active version
  affinis metrics notes rollback --user ann         ann is answered under everybody's metric again
  affinis metrics notes diff 0 3
  affinis metrics notes drift                       how far each refit moved, and what should alarm
  affinis metrics notes trial start 4               4 against the active one, decided by clicks
  affinis metrics notes export 3 metric.npy         the matrix, d x d; or metric.json
  affinis metrics notes import metric.npy")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the versions (what happens without an action)
    List,
    /// Show a version with all that is known of it
    Show {
        /// The version's number
        version: VersionId,
    },
    /// Answer searches under a version from now on: its user's where it was learned for one, else
    /// everybody's
    Promote {
        /// The version's number
        version: VersionId,
    },
    /// Go back to a version, or to the parent of the active one; a user, to everybody's metric
    Rollback {
        /// The version's number [default: the active version's parent]
        version: Option<VersionId>,
        /// End this user's own metric; it stays a version that can be promoted
        #[arg(long, value_name = "USER", value_parser = user, conflicts_with = "version")]
        user: Option<String>,
    },
    /// Show how far each refit moved the metric, what the gate measured, and what should alarm
    Drift,
    /// Try a version against the active one in live answers
    Trial {
        #[command(subcommand)]
        action: Option<trial::Action>,
    },
    /// Compare two versions
    Diff {
        /// The version to start from
        version: VersionId,
        /// The version to compare with it
        with: VersionId,
    },
    /// Write a version's matrix to a file: npy where its name ends so, else JSON
    Export {
        /// The version's number
        version: VersionId,
        /// The file, or - for standard output
        file: PathBuf,
    },
    /// Make a version of a matrix in a file; `promote` makes it active
    Import {
        /// The file, npy or JSON, or - for standard input
        file: Input,
    },
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.collection(&args.name)?;
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(&collection, out),
        Action::Show { version } => show(&collection.metric(*version)?, out),
        Action::Promote { version } => {
            collection.promote(*version)?;
            active(&collection, *version, out)
        }
        Action::Rollback {
            user: Some(user), ..
        } => end_own(&collection, user, out),
        Action::Rollback {
            version,
            user: None,
        } => active(&collection, collection.rollback(*version)?, out),
        Action::Drift => drift(&collection, out),
        Action::Trial { action } => trial::run(
            &collection,
            action.as_ref().unwrap_or(&trial::Action::Status),
            out,
        ),
        Action::Diff { version, with } => diff(&collection, *version, *with, out),
        Action::Export { version, file } => export(&collection, *version, file, out),
        Action::Import { file } => import(&collection, file, out),
    }
}

/// Says whose searches a version answers now.
fn active(collection: &Collection, version: VersionId, out: &mut Out) -> Result<(), Failure> {
    answers(version, collection.metric(version)?.user.as_deref(), out)
}

/// Takes a user back to everybody's metric.
fn end_own(collection: &Collection, user: &str, out: &mut Out) -> Result<(), Failure> {
    let shared = collection.active_metric(None);
    if collection.active_metric(Some(user)) == shared {
        return Err(Failure::Failed(format!(
            "{user:?} has no metric of their own to go back from"
        )));
    }
    collection.clear_user_metric(user)?;
    answers(shared, Some(user), out)
}

fn answers(version: VersionId, user: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(match user {
            Some(user) => out.json(&json!({"active": version, "user": user})),
            None => out.json(&json!({"active": version})),
        }?);
    }
    let whose = user
        .map(|user| format!(" for {}", plain(user)))
        .unwrap_or_default();
    out.line(format_args!("{} is active{whose}", metric_name(version)))?;
    Ok(())
}

/// A version as the command line promises it. A user's version names the user besides; a withdrawn
/// one says so, and a shrunken one its share.
fn document(version: &Version) -> Value {
    let mut document = json!({
        "version": version.version,
        "parent": version.parent,
        "active": version.active,
        "learner": version.learner,
        "created": version.created_text(),
        "condition": version.condition,
        "pairs": version.pairs,
        "gate": version.gate.as_ref().map(gate_document),
    });
    let more = [
        version.user.as_ref().map(|user| ("user", json!(user))),
        version.withdrawn.then(|| ("withdrawn", json!(true))),
        version.shrinkage.map(|share| ("shrinkage", json!(share))),
    ];
    if let Some(fields) = document.as_object_mut() {
        fields.extend(
            more.into_iter()
                .flatten()
                .map(|(name, value)| (name.to_owned(), value)),
        );
    }
    document
}

/// What the gate said, in a word.
fn verdict(accepted: bool, shrinkage: Option<f64>) -> &'static str {
    match shrinkage {
        _ if !accepted => "refused",
        Some(_) => "shrunken",
        None => "passed",
    }
}

fn list(collection: &Collection, out: &mut Out) -> Result<(), Failure> {
    let versions = collection.metrics()?;
    if out.is_json() {
        for version in &versions {
            out.json(&document(version))?;
        }
        return Ok(());
    }
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
                version.user.as_deref().map_or_else(String::new, whose),
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

fn show(version: &Version, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(version)?);
    }
    let state = match version {
        Version {
            active: true,
            user: Some(_),
            ..
        } => "  active for its user",
        Version { active: true, .. } => "  active",
        Version {
            withdrawn: true, ..
        } => "  withdrawn: judgements it had learned from were forgotten",
        _ => "",
    };
    out.line(format_args!(
        "{BOLD}{}{BOLD:#}{GOOD}{state}{GOOD:#}",
        metric_name(version.version)
    ))?;
    let mut rows = vec![("learner", plain(&version.learner))];
    if !version.plugin.is_empty() {
        rows.push(("plugin", plain(&version.plugin)));
    }
    rows.extend(version.user.as_deref().map(|user| ("user", whose(user))));
    rows.extend(version.parent.map(|parent| ("parent", metric_name(parent))));
    if version.created.is_some() {
        rows.push(("created", version.created_text()));
    }
    rows.push(("condition", number(version.condition)));
    if version.gate.is_some() {
        let pairs = version.pairs;
        rows.push((
            "pairs",
            format!(
                "{} similar, {} dissimilar",
                count(pairs.similar as u64),
                count(pairs.dissimilar as u64)
            ),
        ));
        rows.push((
            "settings",
            format!("lambda {}, t {}", number(version.lambda), number(version.t)),
        ));
    }
    rows.extend(version.judgements.map(|range| {
        let (first, last) = (count(range.first.0), count(range.last.0));
        ("judgements", format!("{first} to {last}"))
    }));
    rows.extend(further(version));
    for (at, (name, value)) in version.notes.iter().enumerate() {
        rows.push((
            if at == 0 { "notes" } else { "" },
            format!("{} {}", plain(name), number(*value)),
        ));
    }
    if let Some(gate) = &version.gate {
        rows.push((
            "gate",
            format!(
                "{}, on {} held out",
                plain(&gate.measure),
                count(gate.held_out as u64)
            ),
        ));
        if let (Some(before), Some(after)) = (gate.before, gate.after) {
            rows.push((
                "",
                format!("{} before, {} after", number(before), number(after)),
            ));
        }
        rows.push(("", plain(&gate.reason)));
    }
    for (name, value) in rows {
        out.line(format_args!("  {DIM}{name:11}{DIM:#} {value}"))?;
    }
    Ok(())
}

/// Further facts of a learned version, a row each.
fn further(version: &Version) -> Vec<(&'static str, String)> {
    let settings = &version.settings;
    let days = |time: Duration| number(time.as_secs_f64() / 86_400.0);
    let learned = version
        .source_weights
        .map(|weights| (number(weights.click.into()), number(weights.proxy.into())));
    let rows = [
        ("update of", version.base.map(metric_name)),
        ("rank", settings.rank.map(|rank| rank.to_string())),
        (
            "half-life",
            settings
                .half_life
                .map(|time| format!("{} days", days(time))),
        ),
        ("user share", settings.user_share.map(number)),
        ("shrunken to", version.shrinkage.map(number)),
        ("moved by", version.moved.map(number)),
        (
            "weights",
            learned.map(|(click, proxy)| format!("clicks {click}, proxies {proxy}")),
        ),
        (
            "others",
            version
                .judgements_of_others
                .map(|n| format!("{} judgements of others in the prior", count(n))),
        ),
        (
            "asked",
            version.asked.map(|n| format!("{} questions", count(n))),
        ),
    ];
    rows.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn diff(
    collection: &Collection,
    from: VersionId,
    to: VersionId,
    out: &mut Out,
) -> Result<(), Failure> {
    const SHOWN: usize = 10;
    const SAMPLE: usize = 100;
    const NEIGHBOURS: usize = 10;
    let comparison = collection.diff(from, to)?;
    let changes = collection.diff_neighbours(from, to);
    let changes = changes.sample(SAMPLE).k(NEIGHBOURS).run()?;
    if out.is_json() {
        let document = json!({"distance": comparison.distance, "factors": comparison.factors, "neighbours": changes});
        return Ok(out.json(&document)?);
    }
    out.line(format_args!(
        "{} -> {}: distance {} between the metrics",
        metric_name(from),
        metric_name(to),
        number(comparison.distance)
    ))?;
    let mut table = Table::new([
        ("direction", Align::Right),
        ("squared length grows by", Align::Right),
    ])
    .indent(2);
    for (at, factor) in comparison.factors.iter().take(SHOWN).enumerate() {
        table.row([(at + 1).to_string(), format!("x {}", number(*factor))]);
    }
    if !comparison.factors.is_empty() {
        out.line(table)?;
    }
    out.line(format_args!(
        "of the nearest {NEIGHBOURS} of {} items, {:.0} % stay",
        count(changes.queries.len() as u64),
        changes.kept * 100.0
    ))?;
    let mut table = Table::new([
        ("most changed", Align::Left),
        ("gone", Align::Left),
        ("come", Align::Left),
    ])
    .indent(2);
    let changed: Vec<_> = changes
        .queries
        .into_iter()
        .filter(|c| !c.gone.is_empty())
        .take(SHOWN / 2)
        .collect();
    for change in &changed {
        table.row([
            change.query.clone(),
            change.gone.join(" "),
            change.come.join(" "),
        ]);
    }
    if !changed.is_empty() {
        out.line(table)?;
    }
    Ok(())
}

fn drift(collection: &Collection, out: &mut Out) -> Result<(), Failure> {
    let drift = collection.drift()?;
    if out.is_json() {
        return Ok(out.json(&drift)?);
    }
    let mut table = Table::new([
        ("version", Align::Right),
        ("from", Align::Right),
        ("moved by", Align::Right),
        ("before", Align::Right),
        ("after", Align::Right),
        ("gain at least", Align::Right),
        ("gate", Align::Left),
    ]);
    let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
    for refit in &drift.refits {
        table.row([
            refit.version.to_string(),
            refit.parent.to_string(),
            optional(refit.distance),
            optional(refit.before),
            optional(refit.after),
            optional(refit.lower_bound),
            verdict(refit.accepted, refit.shrinkage).to_owned(),
        ]);
    }
    if drift.refits.is_empty() {
        out.line("no metric has been learned yet")?;
    } else {
        out.line(table)?;
    }
    alarms(&drift, out)
}

/// What should alarm about a collection's metric, a line each.
pub(crate) fn alarms(drift: &Drift, out: &mut Out) -> Result<(), Failure> {
    for alarm in &drift.alarms {
        out.line(format_args!("{BAD}alarm{BAD:#} {}", plain(alarm)))?;
    }
    Ok(())
}

fn export(
    collection: &Collection,
    version: VersionId,
    file: &Path,
    out: &mut Out,
) -> Result<(), Failure> {
    let matrix = collection.metric_matrix(version)?;
    let record = collection.metric(version)?;
    let mut whole = WholeFile::create(file)?;
    let to_stdout = whole.is_stdout();
    let writer = whole.writer();
    let written = if file
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("npy"))
    {
        input::write_npy_f64(writer, &matrix.view())
    } else {
        let rows: Vec<Vec<f64>> = matrix.outer_iter().map(|row| row.to_vec()).collect();
        let document = json!({"version": version, "learner": record.learner, "created": record.created_text(), "matrix": rows});
        serde_json::to_writer(&mut *writer, &document)
            .map_err(io::Error::from)
            .and_then(|()| writer.write_all(b"\n"))
    };
    whole.finish(written)?;
    let name = file.display().to_string();
    let said = format!(
        "wrote {}, {1} x {1}, to {2}",
        metric_name(version),
        matrix.nrows(),
        plain(&name)
    );
    match (to_stdout, out.is_json()) {
        (true, _) => output::note(said),
        (false, true) => {
            out.json(&json!({"version": version, "file": name, "dim": matrix.nrows()}))?
        }
        (false, false) => out.line(said)?,
    }
    Ok(())
}

/// The JSON file of `export`. What else it says is not needed.
#[derive(Deserialize)]
struct MatrixFile {
    matrix: Vec<Vec<f64>>,
}

fn import(collection: &Collection, file: &Input, out: &mut Out) -> Result<(), Failure> {
    let Opened { name, mut reader } = file.open()?;
    let npy = reader.fill_buf().map(|start| start.first() == Some(&0x93));
    let wrong = |reason: String| InputError::new(&name, Place::File, reason);
    let matrix = if npy.map_err(|e| wrong(format!("cannot be read: {e}")))? {
        input::npy_f64(reader, &name)?
    } else {
        json_matrix(reader).map_err(wrong)?
    };
    let dim = collection.dim();
    if matrix.dim() != (dim, dim) {
        let reason = format!(
            "holds {} x {} numbers; a metric of this collection has {dim} x {dim}",
            matrix.nrows(),
            matrix.ncols()
        );
        return Err(wrong(reason).into());
    }
    let version = collection
        .import_metric(matrix.view())
        .map_err(|error| match error {
            affinis::Error::Learn(_) | affinis::Error::MatrixShape { .. } => {
                wrong(error.to_string()).into()
            }
            other => Failure::Store(other),
        })?;
    if out.is_json() {
        return Ok(out.json(&json!({"version": version}))?);
    }
    out.line(format_args!(
        "made {} of {}; `affinis metrics {} promote {version}` makes it active",
        metric_name(version),
        plain(&name),
        plain(collection.name())
    ))?;
    Ok(())
}

fn json_matrix(reader: impl std::io::Read) -> Result<Array2<f64>, String> {
    let file: MatrixFile = serde_json::from_reader(reader)
        .map_err(|e| format!("is neither npy nor JSON with a \"matrix\" of rows: {e}"))?;
    let columns = file.matrix.first().map_or(0, Vec::len);
    if let Some(row) = file.matrix.iter().position(|row| row.len() != columns) {
        return Err(format!(
            "row {row} of \"matrix\" has {} numbers, the first has {columns}",
            file.matrix[row].len()
        ));
    }
    let rows = file.matrix.len();
    Array2::from_shape_vec((rows, columns), file.matrix.into_iter().flatten().collect())
        .map_err(|e| e.to_string())
}

/// A person's name, which goes when they are forgotten.
fn whose(user: &str) -> String {
    if user.is_empty() {
        "(forgotten)".into()
    } else {
        plain(user)
    }
}
