//! When which version of the metric became everybody's.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::time;
use super::{Active, VersionId};

/// The number of activations that a collection keeps, the newest.
pub const MAX_ACTIVATIONS: usize = 200;

/// A time from which everybody was answered under another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Activation {
    /// The time, to the millisecond.
    #[serde(with = "time::rfc3339_of")]
    pub at: SystemTime,
    /// The version that was active from then on.
    pub version: VersionId,
    /// What made it active.
    pub by: ActivatedBy,
}

/// What made a version active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ActivatedBy {
    /// A refit, whose candidate it was.
    Refit,
    /// Somebody who promoted it, or rolled back to it.
    Choice,
    /// A trial, which it won.
    Trial,
    /// The withdrawal of the version that was active.
    Withdrawal,
}

impl Activation {
    /// That a version becomes everybody's now; `None` where it is already.
    pub(crate) fn now(active: &Active, version: VersionId, by: ActivatedBy) -> Option<Self> {
        let at = time::from_millis(time::now_millis())?;
        (active.shared != version).then_some(Self { at, version, by })
    }
}

/// Adds activations to those that are kept.
pub(crate) fn keep(kept: &mut Vec<Activation>, new: &[Activation]) {
    kept.extend(new);
    let surplus = kept.len().saturating_sub(MAX_ACTIVATIONS);
    kept.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_nothing_is_told_of_what_is_active_already() {
        let mut active = Active::default();
        let mut kept = Vec::new();
        for number in 1..=MAX_ACTIVATIONS as u32 + 3 {
            active.shared = VersionId(number - 1);
            let new = Activation::now(&active, VersionId(number), ActivatedBy::Choice);
            keep(&mut kept, new.as_slice());
        }
        assert_eq!(
            (kept.len(), kept[0].version),
            (MAX_ACTIVATIONS, VersionId(4))
        );
        assert_eq!(
            Activation::now(&active, active.shared, ActivatedBy::Refit),
            None
        );
        let json = serde_json::to_string(&kept).expect("JSON");
        let read: Vec<Activation> = serde_json::from_str(&json).expect("read");
        assert_eq!(read, kept);
    }
}
