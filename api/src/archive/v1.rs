//! Upgrade of versions of the metric from format version 1 of an exported collection, where lineage,
//! settings and trials are numbers in one map, `parameters`.

use serde_json::{Map, Value, json};

/// Names of the numbers of a trial in `parameters`.
const TRIAL: [&str; 7] = [
    "trial_alpha",
    "trial_champion",
    "trial_losses",
    "trial_start",
    "trial_ties",
    "trial_verdict",
    "trial_wins",
];

/// Moves known numbers of `parameters` to the fields of a version; the others are notes of its
/// plugin.
pub(super) fn upgrade(version: &mut Map<String, Value>) {
    let parameters = match version.remove("parameters") {
        Some(Value::Object(parameters)) => parameters,
        _ => Map::new(),
    };
    let mut parameters = Parameters(parameters);
    let base = parameters.take_count("base_version");
    // The rank of a metric without a base is a number of its learner, not a setting.
    let rank = parameters.0.get("rank").and_then(as_count);
    let half_life = parameters.take("half_life_days").map(half_life);
    version.insert("base".into(), json!(base));
    version.insert(
        "settings".into(),
        json!({
            "learner": null,
            "rank": base.and(rank),
            "half_life": half_life,
            "user_share": parameters.take("user_share"),
            "seed": 0,
        }),
    );
    version.insert("shrinkage".into(), json!(parameters.take("cautious_step")));
    version.insert("moved".into(), json!(parameters.take("moved")));
    let of_others = parameters.take_count("judgements_of_others");
    version.insert("judgements_of_others".into(), json!(of_others));
    version.insert("asked".into(), json!(parameters.take_count("asked")));
    version.insert("incumbent".into(), parameters.incumbent());
    version.insert("source_weights".into(), parameters.source_weights());
    version.insert("trial".into(), parameters.trial());
    parameters.take("clearly_worse");
    version.insert("notes".into(), Value::Object(parameters.0));
}

/// The map `parameters`; what is taken from it is removed.
struct Parameters(Map<String, Value>);

impl Parameters {
    fn take(&mut self, name: &str) -> Option<f64> {
        self.0.remove(name)?.as_f64()
    }

    fn take_count(&mut self, name: &str) -> Option<u64> {
        self.0.remove(name).as_ref().and_then(as_count)
    }

    fn incumbent(&mut self) -> Value {
        let measure = self.take("active_measure");
        let count = self.take_count("active_held_out");
        match (measure, count) {
            (Some(measure), Some(count)) => json!({"measure": measure, "count": count}),
            _ => Value::Null,
        }
    }

    fn source_weights(&mut self) -> Value {
        let click = self.take("weight_of_click");
        let proxy = self.take("weight_of_proxy");
        match (click, proxy) {
            (Some(click), Some(proxy)) => json!({"click": click, "proxy": proxy}),
            _ => Value::Null,
        }
    }

    fn trial(&mut self) -> Value {
        let numbers = TRIAL.map(|name| self.take(name));
        let [
            Some(alpha),
            Some(champion),
            Some(losses),
            Some(start),
            Some(ties),
            Some(verdict),
            Some(wins),
        ] = numbers
        else {
            return Value::Null;
        };
        let verdict = match verdict as u64 {
            0 => "running",
            1 => "promoted",
            2 => "refused",
            _ => "ended",
        };
        json!({
            "champion": champion as u32,
            "alpha": alpha,
            "start": start as u64,
            "wins": wins as u64,
            "losses": losses as u64,
            "ties": ties as u64,
            "verdict": verdict,
        })
    }
}

/// A number as a count, if it is whole and not negative.
fn as_count(value: &Value) -> Option<u64> {
    let number = value.as_f64()?;
    (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
}

/// A time in days as the JSON of a `Duration`.
fn half_life(days: f64) -> Value {
    let seconds = (days * 86_400.0).max(0.0);
    json!({
        "secs": seconds as u64,
        "nanos": ((seconds - seconds.floor()) * 1e9) as u32,
    })
}
