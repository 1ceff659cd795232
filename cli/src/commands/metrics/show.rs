//! `metrics show`: everything that is known of one version of the metric.

use std::time::Duration;

use affinis::{Version, plugin::Gate};

use super::user_name;
use crate::commands::metric_name;
use crate::failure::Failure;
use crate::output::{BOLD, DIM, GOOD, Out, count, number, plain};

/// Rows of a name and a value.
type Rows = Vec<(&'static str, String)>;

pub(super) fn show(version: &Version, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(version)?);
    }
    out.line(format_args!(
        "{BOLD}{}{BOLD:#}{GOOD}{}{GOOD:#}",
        metric_name(version.version),
        standing(version)
    ))?;
    let mut rows = origin(version);
    rows.extend(further(version));
    for (at, (name, value)) in version.notes.iter().enumerate() {
        let title = if at == 0 { "notes" } else { "" };
        rows.push((title, format!("{} {}", plain(name), number(*value))));
    }
    if let Some(gate) = &version.gate {
        rows.extend(verdict(gate));
    }
    if let Some(memory) = &version.memory {
        rows.push(("memory", plain(&memory.gate.reason)));
        rows.extend(memory.settings.map(|settings| {
            let (width, strength) = (number(settings.width), number(settings.strength));
            ("", format!("width {width}, strength {strength}"))
        }));
    }
    if let Some(fusion) = &version.fusion {
        rows.push(("words", plain(&fusion.gate.reason)));
        let under = fusion.under.map_or(String::new(), |under| {
            format!(" under {}", metric_name(under))
        });
        rows.push((
            "",
            format!("weight {} in hybrid searches{under}", number(fusion.words)),
        ));
    }
    for (name, value) in rows {
        out.line(format_args!("  {DIM}{name:11}{DIM:#} {value}"))?;
    }
    Ok(())
}

/// Whether a version is active or withdrawn, as it follows the version's name.
fn standing(version: &Version) -> &'static str {
    match (version.active, version.withdrawn) {
        (true, _) if version.user.is_some() => "  active for its user",
        (true, _) => "  active",
        (false, true) => "  withdrawn: judgements it had learned from were forgotten",
        (false, false) => "",
    }
}

/// The learner of a version, the judgements it learned from, and its settings.
fn origin(version: &Version) -> Rows {
    let mut rows = vec![("learner", plain(&version.learner))];
    if !version.plugin.is_empty() {
        rows.push(("plugin", plain(&version.plugin)));
    }
    rows.extend(
        version
            .user
            .as_deref()
            .map(|user| ("user", user_name(user))),
    );
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
    rows
}

/// The measure, the figures and the reason of a gate.
fn verdict(gate: &Gate) -> Rows {
    let mut rows = vec![(
        "gate",
        format!(
            "{}, on {} held out",
            plain(&gate.measure),
            count(gate.held_out as u64)
        ),
    )];
    if let (Some(before), Some(after)) = (gate.before, gate.after) {
        rows.push((
            "",
            format!("{} before, {} after", number(before), number(after)),
        ));
    }
    rows.push(("", plain(&gate.reason)));
    rows
}

/// Facts that only some learned versions have.
fn further(version: &Version) -> Rows {
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
