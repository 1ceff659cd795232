//! `refit`: learns a metric from the judgements and puts it through the gate.

use std::time::Duration;

use affinis::{Collection, Gate, Query, RefitReport};
use serde_json::{Value, json};

use super::{At, learners, user};
use crate::failure::Failure;
use crate::output::{self, BAD, BOLD, DIM, GOOD, Out, count, millis, number, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A part of the judged queries is held out. A metric that does not help there is kept as a
candidate and not promoted, and the report says so; that is no failure. Where it is likely
to help, but not certain to, it is promoted shrunken to a third. The graph is not rebuilt:
the next query is answered under the new metric.

Examples:
  affinis refit notes
  affinis refit notes --dry-run                     say what would happen, and store nothing
  affinis refit notes --user ann                    a metric for searches with --user ann
  affinis refit notes --ask | grep '^{' > q.jsonl   30 judgements that may decide, to be answered
  affinis refit notes --learner diagonal --force    promote it whatever the gate says")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Which learner makes the metric, such as gmml, diagonal or contrastive [default: the plugin
    /// chooses]
    #[arg(long, value_name = "LEARNER", value_parser = learner)]
    learner: Option<String>,
    /// Learn a metric for this user, from this user's judgements
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<String>,
    /// Keep the user's metric as an update of everybody's of rank N, 4 N bytes a dimension;
    /// 0 keeps it whole [default: 64 above 256 dimensions, else 0]
    #[arg(long, value_name = "N", requires = "user")]
    rank: Option<usize>,
    /// Learn and test, but store nothing
    #[arg(long)]
    dry_run: bool,
    /// Promote whatever the gate says
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
    /// Where the gate does not pass it, ask for N judgements that may decide; fewer than 8 cannot
    /// [default N: 30]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "30", value_parser = questions, conflicts_with_all = ["dry_run", "force"])]
    ask: Option<usize>,
    /// Let a judgement's weight halve over so many days, counted back from the newest
    #[arg(long, value_name = "DAYS", value_parser = days)]
    half_life: Option<Duration>,
    /// Let no user's judgements make up more than this share of all that is learned from, such as
    /// 0.2
    #[arg(long, value_name = "SHARE", value_parser = share)]
    user_share: Option<f64>,
    /// Fixes every random choice [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let collection = at.collection(&args.name)?;
    let mut refit = collection.refit().dry_run(args.dry_run).force(args.force);
    if let Some(learner) = &args.learner {
        refit = refit.learner(learner);
    }
    if let Some(user) = &args.user {
        refit = refit.user(user);
    }
    if let Some(n) = args.ask {
        refit = refit.ask(n);
    }
    if let Some(half_life) = args.half_life {
        refit = refit.half_life(half_life);
    }
    if let Some(share) = args.user_share {
        refit = refit.user_share(share);
    }
    if let Some(rank) = args.rank {
        refit = refit.rank(rank);
    }
    if let Some(seed) = args.seed {
        refit = refit.seed(seed);
    }
    let working = output::spinner("learning");
    let report = refit.run()?;
    drop(working);
    if out.is_json() {
        let mut document = document(&report);
        if args.dry_run {
            document["would_promote"] = json!(report.gate.accepted);
        }
        return Ok(out.json(&document)?);
    }
    print(&report, args.dry_run, out)?;
    if args.ask.is_some() && !report.promoted {
        ask(&report, &collection, out)?;
    }
    Ok(())
}

fn questions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (2..=1000).contains(&n) => Ok(n),
        _ => Err("ask for 2 to 1000 judgements".into()),
    }
}

fn learner(name: &str) -> Result<String, String> {
    let known = learners();
    if known.contains(&name) {
        Ok(name.to_owned())
    } else {
        Err(format!("there are {}", known.join(", ")))
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a share is a number above 0 and at most 1".into()),
    }
}

fn days(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|days: f64| Duration::try_from_secs_f64(days * 86_400.0).ok())
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "a half-life is a number of days above 0".into())
}

/// The questions as lines to be completed and given to `judge`, with what the ids stand for beside
/// them.
fn ask(report: &RefitReport, collection: &Collection, out: &mut Out) -> Result<(), Failure> {
    if report.questions.is_empty() {
        out.line("there is nothing to ask: both metrics answer alike")?;
        return Ok(());
    }
    out.line(format_args!(
        "{BOLD}{} may decide{BOLD:#}: complete the lines, give them to `affinis judge {}`, and refit{}",
        plural(report.questions.len() as u64, "judgement", "judgements"),
        plain(collection.name()),
        if report.questions.iter().any(|question| question.user.is_some()) { " for the same user" } else { "" }
    ))?;
    let text = |id: &str| -> Result<Option<String>, Failure> {
        Ok(collection.get(id)?.and_then(|item| item.text))
    };
    for question in &report.questions {
        if let Query::Item(query) = &question.query
            && let (Some(query), Some(item)) = (text(query)?, text(&question.item)?)
        {
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

/// The report as the command line promises it.
pub(crate) fn document(report: &RefitReport) -> Value {
    let mut document = json!({
        "promoted": report.promoted,
        "version": report.version,
        "parent": report.parent,
        "learner": report.learner,
        "pairs": {"similar": report.pairs.similar, "dissimilar": report.pairs.dissimilar},
        "lambda": report.lambda,
        "t": report.t,
        "condition": report.condition,
        "gate": gate_document(&report.gate),
        "millis": report.millis,
    });
    if let Some(share) = report.shrinkage {
        document["shrinkage"] = json!(share);
    }
    if !report.questions.is_empty() {
        document["ask"] = json!(report.questions);
    }
    document
}

/// A gate's verdict as the command line promises it.
pub(crate) fn gate_document(gate: &Gate) -> Value {
    json!({
        "measure": gate.measure,
        "before": gate.before,
        "after": gate.after,
        "lower_bound": gate.lower_bound,
        "held_out": gate.held_out,
        "reason": gate.reason,
    })
}

/// The report for people.
pub(crate) fn print(report: &RefitReport, dry_run: bool, out: &mut Out) -> Result<(), Failure> {
    let what = match (report.version, dry_run) {
        (Some(version), _) => format!("metric {version}"),
        (None, true) => "the metric".to_owned(),
        (None, false) => "the candidate".to_owned(),
    };
    // Nothing but --force promotes what the gate did not pass.
    let forced = report.promoted && !report.gate.accepted;
    match (report.promoted, dry_run) {
        (true, _) if forced => out.line(format_args!(
            "{BOLD}promoted by --force{BOLD:#}: {what}, learned by {}, which the gate had not passed",
            plain(&report.learner)
        ))?,
        (true, _) if report.shrinkage.is_some() => out.line(format_args!(
            "{GOOD}promoted{GOOD:#} {what}, what {1} learned shrunken to {0} of the way from Euclid",
            number(report.shrinkage.unwrap_or(1.0)),
            plain(&report.learner)
        ))?,
        (true, _) => out.line(format_args!("{GOOD}promoted{GOOD:#} {what}, learned by {}", plain(&report.learner)))?,
        (false, true) => out.line(format_args!(
            "{BOLD}dry run{BOLD:#}: {what} of {}{} would {}be promoted; nothing is stored",
            plain(&report.learner),
            if report.shrinkage.is_some() { ", shrunken," } else { "" },
            if report.gate.accepted { "" } else { "not " }
        ))?,
        (false, false) => {
            out.line(format_args!(
                "{BAD}not promoted{BAD:#}: {what}, {} by {}, stays a candidate",
                if report.shrinkage.is_some() { "learned and shrunken" } else { "learned" },
                plain(&report.learner)
            ))?;
        }
    }
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
    let said = if forced { "the gate said: " } else { "" };
    rows.push(("", format!("{said}{}", plain(&gate.reason))));
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
    for (name, value) in rows {
        out.line(format_args!("  {DIM}{name:9}{DIM:#} {value}"))?;
    }
    Ok(())
}
