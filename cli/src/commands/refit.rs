//! `refit`: learns a metric from the judgements, and promotes it if it passes the gate.

use std::time::Duration;

use affinis_api::RefitDocument;
use serde_json::{Value, json};

use super::{At, learners, user};
use crate::failure::Failure;
use crate::output::{self, BAD, BOLD, DIM, GOOD, Out, count, millis, number, plain, plural};
use crate::target::{RefitSettings, Target};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The gate holds out a part of the judged queries. A metric that does not help on them is stored as
a candidate and not promoted; the exit status is 0 nevertheless. A metric that probably helps is
shrunken to a third of the way from Euclidean, and promoted if that passes the gate. The graph is
not rebuilt: the next query is answered under the new metric.

Examples:
  affinis refit notes
  affinis refit notes --dry-run                     report the result, and store nothing
  affinis refit notes --user ann                    a metric for searches with --user ann
  affinis refit notes --ask | grep '^{' > q.jsonl   30 questions whose answers may decide
  affinis refit notes --learner diagonal --force    promote it whatever the gate says")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Learner of the metric, such as gmml, diagonal or contrastive [default: chosen by the plugin]
    #[arg(long, value_name = "LEARNER", value_parser = learner)]
    learner: Option<String>,
    /// Learn a metric for this user, from this user's judgements
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<String>,
    /// Store the user's metric as a low-rank update of the shared one, of rank N and 4 N bytes a
    /// dimension; 0 stores the full matrix [default: 64 above 256 dimensions, else 0]
    #[arg(long, value_name = "N", requires = "user")]
    rank: Option<usize>,
    /// Learn and test the metric, but store nothing
    #[arg(long)]
    dry_run: bool,
    /// Promote the metric even if it does not pass the gate
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
    /// If the metric does not pass the gate, print N questions, 2 to 1000, whose answers may
    /// decide; fewer than 8 answers cannot [default N: 30]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "30", value_parser = questions, conflicts_with_all = ["dry_run", "force"])]
    ask: Option<usize>,
    /// Halve the weight of judgements for every DAYS days that they are older than the newest
    #[arg(long, value_name = "DAYS", value_parser = days)]
    half_life: Option<Duration>,
    /// Largest share of one user's judgements in the total weight, above 0, at most 1 (such as 0.2)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    user_share: Option<f64>,
    /// Seed of all random choices [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.target(&args.name)?;
    let settings = RefitSettings {
        learner: args.learner.as_deref(),
        user: args.user.as_deref(),
        rank: args.rank,
        dry_run: args.dry_run,
        force: args.force,
        ask: args.ask,
        half_life: args.half_life,
        user_share: args.user_share,
        seed: args.seed,
    };
    let working = output::spinner("learning");
    let refitted = collection.refit(&settings)?;
    drop(working);
    let document = &refitted.document;
    if out.is_json() {
        return Ok(out.json(document)?);
    }
    print(document, refitted.forced, out)?;
    if args.ask.is_some() && !document.promoted {
        ask(document, &collection, out)?;
    }
    Ok(())
}

fn questions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (2..=1000).contains(&n) => Ok(n),
        _ => Err("the number to ask for is a whole number from 2 to 1000".into()),
    }
}

fn learner(name: &str) -> Result<String, String> {
    let known = learners();
    if known.contains(&name) {
        Ok(name.to_owned())
    } else {
        Err(format!("the learners are {}", known.join(", ")))
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a share is a number above 0 and at most 1".into()),
    }
}

pub(crate) fn days(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|days: f64| Duration::try_from_secs_f64(days * 86_400.0).ok())
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "a time is a number of days above 0".into())
}

/// Prints the questions as lines that are completed and given to `judge`, and the texts of their
/// ids on standard error.
fn ask(report: &RefitDocument, collection: &Target, out: &mut Out) -> Result<(), Failure> {
    let questions = report.ask.as_deref().unwrap_or_default();
    if questions.is_empty() {
        out.line("there is nothing to ask: both metrics give the same answers")?;
        return Ok(());
    }
    out.line(format_args!(
        "{BOLD}{} may decide{BOLD:#}: complete the lines, give them to `affinis judge {}`, and refit{}",
        plural(questions.len() as u64, "judgement", "judgements"),
        plain(collection.name()),
        if questions.iter().any(|question| question.user.is_some()) { " for the same user" } else { "" }
    ))?;
    let text = |id: &str| -> Result<Option<String>, Failure> {
        let ids = [id.to_owned()];
        Ok(collection
            .items(&ids)?
            .remove(id)
            .and_then(|item| item.text))
    };
    for question in questions {
        if let (Some(query), Some(item)) = (text(&question.query_id)?, text(&question.item)?) {
            output::note(format_args!(
                "{DIM}{} -> {}{DIM:#}",
                plain(&query),
                plain(&item)
            ));
        }
        let mut line = json!(question);
        line["relevant"] = Value::Null;
        out.line(line)?;
    }
    Ok(())
}

/// Prints the report for people. Nothing but --force promotes what the gate did not pass.
pub(crate) fn print(report: &RefitDocument, forced: bool, out: &mut Out) -> Result<(), Failure> {
    let dry_run = report.would_promote.is_some();
    let what = match (report.version, dry_run) {
        (Some(version), _) => format!("metric {version}"),
        (None, true) => "the metric".to_owned(),
        (None, false) => "the candidate".to_owned(),
    };
    if report.unchanged == Some(true) {
        out.line(format_args!(
            "{BOLD}nothing changed{BOLD:#}: {}, so nothing is stored",
            match report.version {
                Some(version) if version == report.parent => format!(
                    "the active metric {version} was learned by {} from the same judgements and items",
                    plain(&report.learner)
                ),
                Some(version) => format!(
                    "metric {version} was learned by {} from the same judgements and items",
                    plain(&report.learner)
                ),
                None => "a version was learned from the same judgements and items".to_owned(),
            }
        ))?;
        if report.version == Some(report.parent) {
            return stale(report, out);
        }
    }
    match (report.promoted, dry_run) {
        (true, _) if forced => out.line(format_args!(
            "{BOLD}promoted by --force{BOLD:#}: {what}, learned by {}, which the gate had not passed",
            plain(&report.learner)
        ))?,
        (true, _) if report.shrinkage.is_some() => out.line(format_args!(
            "{GOOD}promoted{GOOD:#} {what}, learned by {1} and shrunken to {0} of the way from Euclidean",
            number(report.shrinkage.unwrap_or(1.0)),
            plain(&report.learner)
        ))?,
        (true, _) => out.line(format_args!("{GOOD}promoted{GOOD:#} {what}, learned by {}", plain(&report.learner)))?,
        (false, true) => out.line(format_args!(
            "{BOLD}dry run{BOLD:#}: {what} of {}{} would {}be promoted; nothing is stored",
            plain(&report.learner),
            if report.shrinkage.is_some() { ", shrunken," } else { "" },
            if report.would_promote == Some(true) { "" } else { "not " }
        ))?,
        (false, false) => {
            out.line(format_args!(
                "{BAD}not promoted{BAD:#}: {what}, {} by {}, stays a candidate",
                if report.shrinkage.is_some() { "learned and shrunken" } else { "learned" },
                plain(&report.learner)
            ))?;
        }
    }
    for (name, value) in rows(report, forced) {
        out.line(format_args!("  {DIM}{name:9}{DIM:#} {value}"))?;
    }
    stale(report, out)
}

/// Says how many judgements taught nothing, where there are any.
fn stale(report: &RefitDocument, out: &mut Out) -> Result<(), Failure> {
    if let Some(stale) = report.stale {
        out.line(format_args!(
            "  {DIM}{:9}{DIM:#} {} not learned from: their items hold something else now, or are gone",
            "left out",
            plural(stale as u64, "judgement", "judgements")
        ))?;
    }
    Ok(())
}

/// Pairs, settings, gate and times of a refit, as rows of a name and a value.
fn rows(report: &RefitDocument, forced: bool) -> Vec<(&'static str, String)> {
    let gate = &report.gate;
    let mut rows = vec![
        (
            "pairs",
            format!(
                "{} similar, {} dissimilar",
                count(report.pairs.similar as u64),
                count(report.pairs.dissimilar as u64)
            ),
        ),
        (
            "settings",
            format!(
                "lambda {}, t {}, condition {}",
                number(report.lambda),
                number(report.t),
                number(report.condition)
            ),
        ),
        (
            "gate",
            format!(
                "{}, on {} held out",
                plain(&gate.measure),
                count(gate.held_out as u64)
            ),
        ),
    ];
    if let (Some(before), Some(after)) = (gate.before, gate.after) {
        let bound = gate
            .lower_bound
            .map(|b| format!("; the gain is at least {}", number(b)))
            .unwrap_or_default();
        rows.push((
            "",
            format!("{} before, {} after{bound}", number(before), number(after)),
        ));
    }
    let prefix = if forced { "the gate said: " } else { "" };
    rows.push(("", format!("{prefix}{}", plain(&gate.reason))));
    rows.extend(
        report
            .memory
            .as_ref()
            .map(|memory| ("memory", plain(&memory.gate.reason))),
    );
    let fusion = report.fusion.as_ref();
    rows.extend(fusion.map(|fusion| ("words", plain(&fusion.gate.reason))));
    let spent = &report.millis;
    rows.push((
        "time",
        format!(
            "collect {}, fit {}, gate {}, swap {}",
            millis(spent.collect),
            millis(spent.fit),
            millis(spent.gate),
            millis(spent.swap)
        ),
    ));
    rows
}
