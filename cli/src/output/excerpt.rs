//! Excerpts of texts with the places that a search found.

use affinis_api::HighlightDocument;

use super::style::{BOLD, plain};

/// The longest excerpt, in bytes.
const EXCERPT: usize = 400;
/// What is shown before the first place, in bytes.
const BEFORE: usize = 80;

/// The part of a text that says why it was found, with what was found in bold: the words of the
/// query, or else the nearest sentence.
pub(crate) fn excerpt(text: &str, highlights: &[HighlightDocument]) -> String {
    let of = |by: &'static str| highlights.iter().filter(move |place| place.by == by);
    let is_worded = of("words").next().is_some();
    let marked: Vec<&HighlightDocument> = of(if is_worded { "words" } else { "meaning" }).collect();
    let sentence = of("meaning").next();
    let (from, to) = match (sentence, marked.first()) {
        (Some(sentence), _) => (sentence.start, sentence.end.min(sentence.start + EXCERPT)),
        (None, Some(first)) => {
            let from = first.start.saturating_sub(BEFORE);
            (from, from + EXCERPT)
        }
        (None, None) => (0, EXCERPT),
    };
    let (from, to) = (text.floor_char_boundary(from), text.floor_char_boundary(to));
    let mut shown = String::new();
    if from > 0 {
        shown.push_str("... ");
    }
    let mut at = from;
    for place in marked {
        let start = text.floor_char_boundary(place.start).clamp(at, to);
        let end = text.floor_char_boundary(place.end).clamp(start, to);
        if end > start {
            let (before, found) = (plain(&text[at..start]), plain(&text[start..end]));
            shown.extend([before, format!("{BOLD}{found}{BOLD:#}")]);
            at = end;
        }
    }
    shown.push_str(&plain(&text[at..to]));
    if to < text.len() {
        shown.push_str(" ...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(start: usize, end: usize, by: &str) -> HighlightDocument {
        HighlightDocument {
            start,
            end,
            by: by.to_owned(),
        }
    }

    /// An excerpt with brackets in place of bold letters.
    fn shown(text: &str, highlights: &[HighlightDocument]) -> String {
        let excerpt = excerpt(text, highlights);
        excerpt
            .replace(&format!("{BOLD}"), "[")
            .replace(&format!("{BOLD:#}"), "]")
    }

    #[test]
    fn words_are_marked_in_the_nearest_sentence() {
        let text = "A first one. Bees collect nectar. A last one.";
        let places = [
            place(13, 33, "meaning"),
            place(13, 17, "words"),
            place(41, 44, "words"),
        ];
        assert_eq!(shown(text, &places), "... [Bees] collect nectar. ...");
        assert_eq!(shown(text, &places[..1]), "... [Bees collect nectar.] ...");
        assert_eq!(
            shown(text, &places[1..]),
            "A first one. [Bees] collect nectar. A last [one]."
        );
        assert_eq!(shown(text, &[]), text);
    }

    #[test]
    fn excerpts_are_short_and_of_whole_characters() {
        let text = "é".repeat(1000);
        let excerpt = excerpt(
            &text,
            &[place(1000, 1002, "words"), place(1999, 5000, "words")],
        );
        assert!(excerpt.len() < 450 && excerpt.contains("ééé"), "{excerpt}");
    }
}
