//! Points in time: milliseconds since 1970 in records, RFC 3339 for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The present time in milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    millis(SystemTime::now())
}

/// A time in milliseconds since 1970, negative before.
pub(crate) fn millis(at: SystemTime) -> i64 {
    let to_i64 = |millis: u128| i64::try_from(millis).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => to_i64(since.as_millis()),
        Err(before) => -to_i64(before.duration().as_millis()),
    }
}

/// The time so many milliseconds after 1970, or before it where they are negative; `None` where the
/// system has no such time.
pub(crate) fn from_millis(millis: i64) -> Option<SystemTime> {
    let since = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 {
        UNIX_EPOCH.checked_sub(since)
    } else {
        UNIX_EPOCH.checked_add(since)
    }
}

/// Serialises a time as RFC 3339.
pub(crate) mod rfc3339_of {
    use std::time::SystemTime;

    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        at: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::rfc3339_or_empty::serialize(&Some(*at), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let at = super::rfc3339_or_empty::deserialize(deserializer)?;
        at.ok_or_else(|| D::Error::custom("a time is needed"))
    }
}

/// Serialises an optional time as RFC 3339, and `None` as an empty string.
pub(crate) mod rfc3339_or_empty {
    use std::time::SystemTime;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(
        at: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = at.map(|at| super::rfc3339(super::millis(at)));
        serializer.serialize_str(&text.unwrap_or_default())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        let millis = super::parse_rfc3339(&text)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not a time in RFC 3339")))?;
        Ok(super::from_millis(millis))
    }
}

/// Serialises an optional time as RFC 3339 or null.
pub(crate) mod rfc3339_or_none {
    use std::time::SystemTime;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(
        at: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = at.map(|at| super::rfc3339(super::millis(at)));
        text.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let read = |text: String| {
            let at = super::parse_rfc3339(&text).and_then(super::from_millis);
            at.ok_or_else(|| D::Error::custom(format!("{text:?} is not a time in RFC 3339")))
        };
        text.map(read).transpose()
    }
}

/// A time as RFC 3339 in UTC. Times outside its range are clamped to it.
pub(crate) fn rfc3339(millis: i64) -> String {
    let clamped = millis.clamp(
        Timestamp::MIN.as_millisecond(),
        Timestamp::MAX.as_millisecond(),
    );
    Timestamp::from_millisecond(clamped)
        .unwrap_or_default()
        .to_string()
}

/// The time of a text in RFC 3339, in milliseconds since 1970; `None` for any other text.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for millis in [0, 1_795_000_000_123, -1] {
            assert_eq!(parse_rfc3339(&rfc3339(millis)), Some(millis));
        }
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert!(!rfc3339(i64::MAX).is_empty());
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
