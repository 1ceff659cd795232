//! Times of RFC 3339 in metadata and filters, such as `2026-03-01T09:30:00+01:00`.

use jiff::Timestamp;

/// The point in time that a text states as RFC 3339 has it: a date, a time of day and an offset from
/// UTC, to the nanosecond. `None` for every other text, also for a date alone, which is no point in
/// time.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    // Other forms of ISO 8601 are texts.
    has_form(text.as_bytes())
        .then(|| text.parse().ok())
        .flatten()
}

fn has_form(text: &[u8]) -> bool {
    const SECONDS: &[u8] = b"0000-00-00T00:00:00";
    let Some((seconds, rest)) = text.split_at_checked(SECONDS.len()) else {
        return false;
    };
    let like = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        _ => byte == form,
    };
    let offset = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        _ => rest,
    };
    let has_offset = match offset {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h, i, b':', m, n] => [h, i, m, n].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    };
    has_offset && seconds.iter().zip(SECONDS).all(like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        let noon = time("2026-03-01T12:00:00Z");
        assert!(noon.is_some());
        for text in [
            "2026-03-01t12:00:00z",
            "2026-03-01 12:00:00Z",
            "2026-03-01T12:00:00.000Z",
            "2026-03-01T12:00:00-00:00",
            "2026-03-01T13:00:00+01:00",
            "2026-03-01T06:30:00.000000000-05:30",
        ] {
            assert_eq!(time(text), noon, "{text}");
        }
        for text in [
            "",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00Z",
            "20260301T120000Z",
            "2026-13-01T12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00+01",
            "2026-03-01T12:00:00Z[Europe/Berlin]",
            " 2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00Zä",
            "2026-03-0äT12:00:00Z",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
