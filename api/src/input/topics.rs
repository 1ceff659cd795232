//! Texts of topics: `topic<TAB>text` lines, or JSON lines as BEIR has them,
//! `{"_id": "topic", "text": ".."}`.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use serde::Deserialize;

use super::check::check_id;
use super::error::{InputError, Place, cut};
use super::json::json_line;
use super::lines::Lines;

/// A line of JSON; its other fields are not read.
#[derive(Deserialize)]
struct TopicLine {
    #[serde(rename = "_id", alias = "id", alias = "query_id")]
    id: String,
    #[serde(alias = "query")]
    text: String,
}

/// The texts of topics, with the topics in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topics {
    /// The topics in their order.
    pub order: Vec<String>,
    /// The text of each.
    pub texts: BTreeMap<String, String>,
}

/// Reads the texts of topics in either format; a line that begins with `{` is JSON.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used, and for an input without topics.
pub fn topics(reader: impl BufRead, file: &str) -> Result<Topics, InputError> {
    let mut topics = Topics::default();
    let mut lines: HashMap<String, u64> = HashMap::new();
    for line in Lines::new(reader, file) {
        let (number, line) = line?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| InputError::new(file, Place::Line(number), reason);
        let (topic, text) = topic(&line).map_err(wrong)?;
        if let Some(first) = lines.insert(topic.clone(), number) {
            return Err(wrong(format!(
                "the topic {:?} occurs already in line {first}",
                cut(&topic)
            )));
        }
        topics.order.push(topic.clone());
        topics.texts.insert(topic, text);
    }
    if topics.order.is_empty() {
        return Err(InputError::new(
            file,
            Place::File,
            "the input is empty: it holds no queries",
        ));
    }
    Ok(topics)
}

fn topic(line: &str) -> Result<(String, String), String> {
    let (topic, text) = if line.trim_start().starts_with('{') {
        let line: TopicLine = json_line(line, |_| true)?;
        (line.id, line.text)
    } else {
        let (topic, text) = line
            .split_once('\t')
            .ok_or("no tab; a line is topic<TAB>text, or JSON with \"_id\" and \"text\"")?;
        (topic.trim().to_owned(), text.to_owned())
    };
    check_id(&topic)?;
    if text.trim().is_empty() {
        return Err("the text of the topic is empty".into());
    }
    Ok((topic, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read_in_their_order() {
        let text =
            "7\tseven\tand more\n\n{\"_id\": \"3\", \"text\": \"three\", \"metadata\": {}}\n";
        let topics = topics(text.as_bytes(), "q").unwrap();
        assert_eq!(topics.order, ["7", "3"]);
        assert_eq!(topics.texts["7"], "seven\tand more");
        assert_eq!(topics.texts["3"], "three");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_line() {
        for (text, with) in [
            ("7 seven", "q, line 1: no tab"),
            ("7\t", "is empty"),
            ("{\"_id\": \"7\"}", "missing field `text`"),
            (
                "7\ta\n7\tb",
                "line 2: the topic \"7\" occurs already in line 1",
            ),
            ("", "holds no queries"),
        ] {
            let error = topics(text.as_bytes(), "q").unwrap_err().to_string();
            assert!(error.contains(with), "{error}");
        }
    }
}
