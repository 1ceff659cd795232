//! Colours, numbers with units, and texts that are safe on a terminal.

use anstyle::{AnsiColor, Style};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();

/// A count with separated thousands: `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 item`, `2,000 items`.
pub(crate) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A size in bytes, with a unit: `12.3 MB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut size = n as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A time in milliseconds, with a unit: `350 us`, `12 ms`, `3.2 s`.
pub(crate) fn millis(millis: f64) -> String {
    match millis {
        m if m < 0.9995 => format!("{:.0} us", m * 1000.0),
        m if m < 10.0 => format!("{m:.1} ms"),
        m if m < 999.5 => format!("{m:.0} ms"),
        m => format!("{:.1} s", m / 1000.0),
    }
}

/// A number with four significant digits, and an exponent only if it is very small or large.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if !(1e-4..1e7).contains(&v) => format!("{value:.3e}"),
        v => {
            let digits = (3 - v.log10().floor() as i32).clamp(0, 7) as usize;
            format!("{value:.digits$}")
        }
    }
}

/// A number with all its digits: the shortest that no other number is closest to. An exponent
/// stands only for a very small or large one.
pub(crate) fn digits(value: f32) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// A text for a terminal: one line without control characters, and without characters that change
/// the direction of text, which could make it read as another text.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !changes_direction(*c))
        .map(|c| if breaks_line(c) { ' ' } else { c })
        .collect()
}

/// A message for a terminal, line by line as [`plain`] has it.
pub(crate) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// Whether a character is an embedding, override or isolate of bidirectional text (Unicode Standard
/// Annex 9).
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character is a control character or a separator of lines or paragraphs.
fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators_units_and_four_digits() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [999, 1000, 999_949, 999_950, 4_608_128].map(bytes),
            ["999 B", "1.0 kB", "999.9 kB", "1.0 MB", "4.6 MB"]
        );
        assert_eq!(
            [0.05, 0.9994, 0.9996, 9.94, 41.2, 999.6].map(millis),
            ["50 us", "999 us", "1.0 ms", "9.9 ms", "41 ms", "1.0 s"]
        );
        assert_eq!(
            [0.0, 1.0, 0.012_346, 1234.6, -7.25].map(number),
            ["0", "1.000", "0.01235", "1235", "-7.250"]
        );
        assert_eq!(number(1e-9), "1.000e-9");
        assert_eq!(
            [0.0, 2.0, 0.123_456_79, 1.5e-9, 0.000_061, 1234.567].map(digits),
            ["0", "2", "0.12345679", "1.5e-9", "6.1e-5", "1234.567"]
        );
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        assert_eq!(plain("a\n\u{1b}[31mred\u{9b}"), "a  [31mred ");
        assert_eq!(plain_lines("a\n\u{1b}[31m\r"), "a\n [31m ");
    }

    #[test]
    fn a_text_cannot_change_the_direction_of_what_follows() {
        assert_eq!(
            plain("\u{202e}evil\u{202c} \u{2066}a\u{2069}\u{2028}\u{5d0}\u{200f}"),
            "evil a \u{5d0}\u{200f}"
        );
    }
}
