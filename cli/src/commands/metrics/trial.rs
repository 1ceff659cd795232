//! `metrics trial`: compares a version with the active one by clicks on interleaved answers.

use affinis::{
    Query, VersionId,
    learning::{Team, Trial, Verdict},
};
use anstyle::Style;
use clap::{ArgGroup, Subcommand};
use serde_json::json;

use crate::commands::{hits, metric_name, text, user};
use crate::failure::Failure;
use crate::output::{Align, BOLD, DIM, GOOD, Out, Table, count, number, plain};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Show the state of the trial; this is the default action
    Status,
    /// Start a trial of a version against the active one
    Start {
        /// The version's number
        version: VersionId,
        /// Largest probability of a wrong decision, above 0 and below 1 [default: 0.05]
        #[arg(long, value_name = "A", value_parser = share)]
        alpha: Option<f64>,
    },
    /// Interleave the answers of both metrics; judge clicks with `"source": "click"` and the ids as
    /// `"shown"`
    Search(Search),
    /// End the trial without a decision
    End,
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("query").required(true).args(["text", "like"]))]
pub(crate) struct Search {
    /// The text to search for
    #[arg(value_parser = text, allow_hyphen_values = true)]
    text: Option<String>,
    /// Search for items near this stored item
    #[arg(long, value_name = "ID")]
    like: Option<String>,
    /// Number of hits, 1 to 10000
    #[arg(short, default_value = "10", value_parser = hits)]
    k: usize,
    /// The user who searches
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<String>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(alpha) if alpha > 0.0 && alpha < 1.0 => Ok(alpha),
        _ => Err("alpha is a number above 0 and below 1".into()),
    }
}

pub(crate) fn run(collection: &Target, action: &Action, out: &mut Out) -> Result<(), Failure> {
    let name = collection.name();
    match action {
        Action::Status => status(name, collection.trial()?.as_ref(), out),
        Action::Start { version, alpha } => {
            let trial = collection.start_trial(*version, *alpha)?;
            status(name, trial.as_ref(), out)
        }
        Action::Search(search) => answer(collection, search, out),
        Action::End => status(name, collection.end_trial()?.as_ref(), out),
    }
}

fn status(name: &str, trial: Option<&Trial>, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(&json!({"trial": trial}))?);
    }
    let Some(trial) = trial else {
        out.line(format_args!(
            "there is no trial; `affinis metrics {} trial start V` starts one",
            plain(name)
        ))?;
        return Ok(());
    };
    out.line(format_args!("{BOLD}{}{BOLD:#}", sentence(trial)))?;
    for (name, value) in evidence(trial) {
        out.line(format_args!("  {DIM}{name:9}{DIM:#} {value}"))?;
    }
    Ok(())
}

/// Counts, evidence and error bound of a trial, as rows of a name and a value.
fn evidence(trial: &Trial) -> [(&'static str, String); 4] {
    let needed = number(1.0 / trial.alpha);
    [
        (
            "contests",
            format!(
                "{} won, {} lost, {} undecided",
                count(trial.wins),
                count(trial.losses),
                count(trial.ties)
            ),
        ),
        (
            "evidence",
            format!(
                "{} that it is better, {needed} promotes it",
                number(trial.evidence)
            ),
        ),
        (
            "",
            format!(
                "{} that it is worse, {needed} turns it down",
                number(trial.evidence_against)
            ),
        ),
        (
            "error",
            format!(
                "at most {} for either decision, whenever it is read",
                number(trial.alpha)
            ),
        ),
    ]
}

/// The state of a trial in a sentence.
pub(crate) fn sentence(trial: &Trial) -> String {
    let (challenger, champion) = (metric_name(trial.challenger), metric_name(trial.champion));
    match trial.verdict {
        Verdict::Running => format!("{challenger} is on trial against {champion}"),
        Verdict::Promoted => format!("{challenger} was better than {champion}, and was promoted"),
        Verdict::Refused => format!("{challenger} was worse than {champion}, and was turned down"),
        _ => format!("the trial of {challenger} against {champion} was ended undecided"),
    }
}

fn answer(collection: &Target, search: &Search, out: &mut Out) -> Result<(), Failure> {
    let (query, name) = match (&search.text, &search.like) {
        (_, Some(id)) => (Query::like(id), id.as_str()),
        (text, None) => {
            let text = text.as_deref().unwrap_or_default();
            (Query::from(text), text)
        }
    };
    let answer = collection.interleave(&query, name, search.k, search.user.as_deref())?;
    if out.is_json() {
        return Ok(out.json(&answer)?);
    }
    let mut table = Table::new([
        ("", Align::Right),
        ("id", Align::Left),
        ("from", Align::Left),
        ("", Align::Left),
    ])
    .indent(2);
    let is_empty = answer.hits.is_empty();
    for hit in answer.hits {
        let (name, style) = match hit.team {
            Team::Challenger => ("the challenger", GOOD),
            _ => ("the active metric", DIM),
        };
        table.styled([
            (hit.rank.to_string(), DIM),
            (hit.id, BOLD),
            (name.to_owned(), style),
            (hit.text.unwrap_or_default(), Style::new()),
        ]);
    }
    if is_empty {
        out.line("  the collection is empty")?;
    } else {
        out.line(table)?;
    }
    Ok(())
}
