//! Versions: immutable, numbered, with where they came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::persist::{GateRecord, VersionRecord};
use crate::plugin::{CautiousStep, FitReport, Gate, PairCounts};
use crate::time;

/// One version of a collection's metric. Version 0 is the built-in distance; learned versions are
/// numbered from 1, and a number is never used again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub version: u32,
    /// The version that was active when it was learned.
    pub parent: Option<u32>,
    /// Whether searches that name no metric are answered under it (for a user's version: that
    /// user's searches).
    pub active: bool,
    /// The user it was learned for; `None` for everybody.
    pub user: Option<String>,
    /// What made it: a learner, `import`, or the built-in distance.
    pub learner: String,
    /// When, as RFC 3339; empty for version 0.
    pub created: String,
    /// `cond A`.
    pub condition: f64,
    /// Pairs it learned from.
    pub pairs: PairCounts,
    /// First and last judgement it learned from.
    pub judgements: Option<(u64, u64)>,
    /// The weight of the prior.
    pub lambda: f64,
    /// Position on the geodesic.
    pub t: f64,
    /// Further parameters of its learner.
    pub parameters: BTreeMap<String, f64>,
    /// The held-out test; `None` for version 0 and imports.
    pub gate: Option<Gate>,
    /// The plugin that reads its matrix.
    pub plugin: String,
    /// Whether it was withdrawn because judgements it had learned from were forgotten.
    pub withdrawn: bool,
}

impl Version {
    /// How far it goes from Euclid to what was learned, where it is a [step](CautiousStep).
    pub fn step(&self) -> Option<f64> {
        self.parameters.get(CautiousStep::PARAMETER).copied()
    }

    /// Version 0.
    pub(crate) fn builtin(distance: &str, active: bool) -> Self {
        Self {
            version: 0,
            parent: None,
            active,
            user: None,
            learner: distance.to_owned(),
            created: String::new(),
            condition: 1.0,
            pairs: PairCounts::default(),
            judgements: None,
            lambda: 0.0,
            t: 0.0,
            parameters: BTreeMap::new(),
            gate: None,
            plugin: String::new(),
            withdrawn: false,
        }
    }

    /// A stored version.
    pub(crate) fn read(version: u32, record: VersionRecord, active: bool) -> Self {
        Self {
            version,
            parent: Some(record.parent),
            active,
            user: record.user,
            learner: record.learner,
            created: time::rfc3339(record.created),
            condition: record.condition,
            pairs: PairCounts {
                similar: record.similar as usize,
                dissimilar: record.dissimilar as usize,
            },
            judgements: record.judgements,
            lambda: record.lambda,
            t: record.t,
            parameters: record.parameters,
            gate: record.gate.map(gate),
            plugin: record.plugin,
            withdrawn: record.withdrawn,
        }
    }
}

/// A stored verdict.
fn gate(record: GateRecord) -> Gate {
    let GateRecord {
        accepted,
        measure,
        before,
        after,
        lower_bound,
        held_out,
        reason,
    } = record;
    Gate {
        accepted,
        measure,
        before,
        after,
        lower_bound,
        held_out: held_out as usize,
        reason,
    }
}

/// The record of a verdict.
fn gate_record(gate: &Gate) -> GateRecord {
    let Gate {
        accepted,
        measure,
        before,
        after,
        lower_bound,
        held_out,
        reason,
    } = gate.clone();
    GateRecord {
        accepted,
        measure,
        before,
        after,
        lower_bound,
        held_out: held_out as u64,
        reason,
    }
}

/// The record of a version that was read elsewhere.
pub(crate) fn record_of(version: &Version) -> Result<VersionRecord, String> {
    let created = time::parse_rfc3339(&version.created)
        .ok_or_else(|| format!("{:?} is no time as RFC 3339 has it", version.created))?;
    let numbers = [version.condition, version.lambda, version.t];
    if numbers
        .iter()
        .chain(version.parameters.values())
        .any(|v| !v.is_finite())
    {
        return Err("it has a number that is not finite".to_owned());
    }
    Ok(VersionRecord {
        parent: version.parent.unwrap_or(0),
        user: version.user.clone(),
        plugin: version.plugin.clone(),
        learner: version.learner.clone(),
        created,
        condition: version.condition,
        similar: version.pairs.similar as u64,
        dissimilar: version.pairs.dissimilar as u64,
        lambda: version.lambda,
        t: version.t,
        parameters: version.parameters.clone(),
        judgements: version.judgements,
        gate: version.gate.as_ref().map(gate_record),
        withdrawn: version.withdrawn,
    })
}

/// The record of a version that a learner made.
pub(crate) fn learned(
    report: &FitReport,
    plugin: &str,
    parent: u32,
    user: Option<&str>,
    judgements: Option<(u64, u64)>,
) -> VersionRecord {
    VersionRecord {
        parent,
        user: user.map(str::to_owned),
        plugin: plugin.to_owned(),
        learner: report.learner.clone(),
        created: time::now_millis(),
        condition: report.condition,
        similar: report.pairs.similar as u64,
        dissimilar: report.pairs.dissimilar as u64,
        lambda: report.lambda,
        t: report.t,
        parameters: report.parameters.clone(),
        judgements,
        gate: Some(gate_record(&report.gate)),
        withdrawn: false,
    }
}

/// The record of a version that was brought from outside.
pub(crate) fn imported(plugin: &str, parent: u32, condition: f64) -> VersionRecord {
    VersionRecord {
        parent,
        user: None,
        plugin: plugin.to_owned(),
        learner: "import".to_owned(),
        created: time::now_millis(),
        condition,
        similar: 0,
        dissimilar: 0,
        lambda: 0.0,
        t: 0.0,
        parameters: BTreeMap::new(),
        judgements: None,
        gate: None,
        withdrawn: false,
    }
}
