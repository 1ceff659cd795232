//! Numbers that name judgements and versions, each a type of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Number of a metric version in its collection. Version 0 is the built-in distance; learned
/// versions count from 1, and no number is used twice.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct VersionId(pub u32);

/// Number of a judgement in its collection's log. Judgements count from 0 in the order in which
/// they were stored, and no number is used twice.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct JudgementId(pub u64);

impl VersionId {
    /// Version 0, the built-in distance.
    pub const BUILT_IN: Self = Self(0);

    /// Whether it is version 0, the built-in distance.
    pub fn is_built_in(self) -> bool {
        self == Self::BUILT_IN
    }

    /// The number after this one; `None` after the last.
    pub(crate) fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl JudgementId {
    /// The number `count` places after this one; `None` beyond the last.
    pub(crate) fn after(self, count: usize) -> Option<Self> {
        self.0.checked_add(count as u64).map(Self)
    }
}

macro_rules! number {
    ($name:ident, $inner:ty) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<$inner> for $name {
            fn from(number: $inner) -> Self {
                Self(number)
            }
        }

        impl From<$name> for $inner {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl PartialEq<$inner> for $name {
            fn eq(&self, other: &$inner) -> bool {
                self.0 == *other
            }
        }
    };
}

number!(VersionId, u32);
number!(JudgementId, u64);
