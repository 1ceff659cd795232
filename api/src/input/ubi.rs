//! User Behavior Insights (UBI, <https://docs.opensearch.org/latest/search-plugins/ubi/schemas/>):
//! queries with the lists that were shown, and what people did with these.
//!
//! A record is a JSON line, by itself or as the `_source` of a hit of `OpenSearch`. One with an
//! `action_name` is an event, any other a query; both may stand in one file. A query has a
//! `query_id`, a `user_query` and, in `query_response_hit_ids` (`query_response_object_ids` since
//! UBI 1.2), the list that was shown. An event has the `query_id` that it followed, the `client_id`
//! of who acted, and in `event_attributes.object.object_id` the item. [`CLICKS`] are clicks, and
//! each becomes a judgement; impressions give the list where the query has none; other actions say
//! nothing of relevance and are counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufRead;
use std::time::{Duration, SystemTime};

use affinis::{Judgement, Source};
use serde::Deserialize;
use serde_json::Value;

use super::check::{Expected, check_id, check_name};
use super::error::{InputError, Place, cut};
use super::feedback::Words;
use super::json::json_line;
use super::judgements::{Defaults, query, time};
use super::lines::Lines;

/// Names of the actions by which a person chose an answer.
pub const CLICKS: [&str; 7] = [
    "click",
    "item_click",
    "click_through",
    "product_click",
    "add_to_cart",
    "purchase",
    "watch",
];

/// Name of the event of an answer that was shown.
const IMPRESSION: &str = "impression";

/// Judgements of events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UbiJudgements {
    /// One a clicked item and query, with the line of its first click.
    pub judgements: Vec<(u64, Judgement)>,
    /// Numbers of events of actions that are neither clicks nor impressions, by name.
    pub other_actions: BTreeMap<String, u64>,
}

/// A query or an event; fields of neither are not read.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "_source")]
    source: Option<Box<Record>>,
    action_name: Option<String>,
    query_id: Option<String>,
    client_id: Option<String>,
    user_query: Option<String>,
    #[serde(alias = "query_response_object_ids")]
    query_response_hit_ids: Option<Vec<String>>,
    timestamp: Option<Value>,
    event_attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    object: Option<Object>,
    position: Option<Position>,
}

#[derive(Deserialize)]
struct Object {
    object_id: Option<String>,
}

#[derive(Deserialize)]
struct Position {
    ordinal: Option<u64>,
}

/// A query that people asked.
#[derive(Default)]
struct Asked {
    text: Option<String>,
    shown: Vec<String>,
    /// Items by the position at which an impression saw them.
    seen: BTreeMap<u64, String>,
}

/// A click, before its query is known.
struct Click {
    line: u64,
    query: String,
    item: String,
    user: Option<String>,
    at: Option<SystemTime>,
}

/// Reads events, with queries of files of their own or of the same file.
///
/// # Errors
/// [`InputError`] at the first line that cannot be used, for a click on an answer to an unknown
/// query, and for an input without clicks.
pub fn ubi(
    events: (impl BufRead, &str),
    queries: Option<(impl BufRead, &str)>,
    expected: Expected,
    defaults: &Defaults,
    words: Words,
) -> Result<UbiJudgements, InputError> {
    let mut read = Reading::default();
    if let Some((reader, file)) = queries {
        read.file(reader, file)?;
    }
    let (reader, file) = events;
    read.file(reader, file)?;
    let wrong = |line, reason: String| InputError::new(file, Place::Line(line), reason);
    let mut found = UbiJudgements {
        other_actions: read.other_actions,
        ..UbiJudgements::default()
    };
    let mut seen = HashSet::new();
    for click in read.clicks {
        let asked = read.asked.get(&click.query);
        let text = asked.and_then(|asked| asked.text.as_ref()).ok_or_else(|| {
            let id = cut(&click.query);
            wrong(
                click.line,
                format!(
                    "a click on an answer to the query {id:?}, whose \"user_query\" is not known; \
                     {} names the file of queries",
                    words.queries
                ),
            )
        })?;
        if !seen.insert((click.query.clone(), click.item.clone())) {
            continue;
        }
        let asks = query(Some(text), None, None, expected).map_err(|e| wrong(click.line, e))?;
        let mut judgement = Judgement::relevant(asks, click.item)
            .source(defaults.source.unwrap_or(Source::Click))
            .shown(asked.map(Asked::list).unwrap_or_default());
        if let Some(user) = click.user.as_ref().or(defaults.user.as_ref()) {
            check_name("\"client_id\"", user).map_err(|e| wrong(click.line, e))?;
            judgement = judgement.user(user.clone());
        }
        if let Some(at) = click.at {
            judgement = judgement.at(at);
        }
        found.judgements.push((click.line, judgement));
    }
    if found.judgements.is_empty() {
        let reason = if found.other_actions.is_empty() {
            "it holds no clicks".to_owned()
        } else {
            format!(
                "it holds no clicks; its actions are {}, and clicks are {}",
                names(&found.other_actions),
                CLICKS.join(", ")
            )
        };
        return Err(InputError::new(file, Place::File, reason));
    }
    Ok(found)
}

/// Names of actions, cut.
fn names(actions: &BTreeMap<String, u64>) -> String {
    let names: Vec<_> = actions.keys().map(|name| cut(name)).collect();
    names.join(", ")
}

impl Asked {
    /// The list that was shown, best first.
    fn list(&self) -> Vec<String> {
        if self.shown.is_empty() {
            self.seen.values().cloned().collect()
        } else {
            self.shown.clone()
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    asked: HashMap<String, Asked>,
    clicks: Vec<Click>,
    other_actions: BTreeMap<String, u64>,
}

impl Reading {
    fn file(&mut self, reader: impl BufRead, file: &str) -> Result<(), InputError> {
        for line in Lines::new(reader, file) {
            let (number, text) = line?;
            if text.trim().is_empty() {
                continue;
            }
            json_line(&text, |_| true)
                .and_then(|record: Record| match record.source {
                    Some(source) => self.record(number, *source),
                    None => self.record(number, record),
                })
                .map_err(|reason| InputError::new(file, Place::Line(number), reason))?;
        }
        Ok(())
    }

    fn record(&mut self, line: u64, record: Record) -> Result<(), String> {
        let id = record.query_id.filter(|id| !id.trim().is_empty());
        let Some(action) = record.action_name else {
            let id = id.ok_or("a query has no \"query_id\"")?;
            let asked = self.asked.entry(id).or_default();
            asked.text = asked.text.take().or(record.user_query);
            let shown = record.query_response_hit_ids.unwrap_or_default();
            for id in &shown {
                check_id(id).map_err(|e| format!("\"query_response_hit_ids\": {e}"))?;
            }
            if !shown.is_empty() {
                asked.shown = shown;
            }
            return Ok(());
        };
        let is_click = CLICKS.contains(&action.as_str());
        let attributes = record.event_attributes;
        let (object, position) = attributes.map_or((None, None), |a| (a.object, a.position));
        let item = object.and_then(|object| object.object_id);
        let (Some(id), Some(item)) = (id, item) else {
            if is_click {
                return Err(format!(
                    "the event {action:?} has no \"query_id\" or no \"event_attributes.object.object_id\""
                ));
            }
            *self.other_actions.entry(action).or_default() += 1;
            return Ok(());
        };
        let asked = self.asked.entry(id.clone()).or_default();
        asked.text = asked.text.take().or(record.user_query);
        if is_click {
            check_id(&item).map_err(|e| format!("\"object_id\": {e}"))?;
            self.clicks.push(Click {
                line,
                query: id,
                item,
                user: record.client_id.filter(|client| !client.is_empty()),
                at: record.timestamp.as_ref().map(instant).transpose()?,
            });
        } else if let (IMPRESSION, Some(ordinal)) = (
            action.as_str(),
            position.and_then(|position| position.ordinal),
        ) {
            check_id(&item).map_err(|e| format!("\"object_id\": {e}"))?;
            asked.seen.entry(ordinal).or_insert(item);
        } else {
            *self.other_actions.entry(action).or_default() += 1;
        }
        Ok(())
    }
}

/// A time of RFC 3339, or in milliseconds since 1970 as a number or its text.
fn instant(value: &Value) -> Result<SystemTime, String> {
    let millis = match value {
        Value::String(text) => match text.parse() {
            Ok(millis) => Some(millis),
            Err(_) => return time(text).map_err(|e| e.replace("\"at\"", "\"timestamp\"")),
        },
        other => other.as_u64(),
    };
    millis
        .and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)))
        .ok_or_else(|| format!("\"timestamp\" is {value}, not a time"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use affinis::Distance;

    const TEXTS: Expected = Expected {
        dim: 2,
        texts: true,
        distance: Distance::L2,
        skip_bad: false,
    };

    fn read(events: &str, queries: Option<&str>) -> Result<UbiJudgements, String> {
        let queries = queries.map(|text| (text.as_bytes(), "q"));
        ubi(
            (events.as_bytes(), "e"),
            queries,
            TEXTS,
            &Defaults::default(),
            Words {
                scale: "scale",
                queries: "queries",
                columns: "columns",
            },
        )
        .map_err(|e| e.to_string())
    }

    #[test]
    fn clicks_are_judgements_of_what_was_shown() {
        let queries = r#"{"query_id": "1", "user_query": "laptop", "query_response_hit_ids": ["a", "b", "c"]}
{"_index": "ubi_queries", "_source": {"query_id": "2", "user_query": "desk", "query_response_object_ids": ["d"]}}"#;
        let events = r#"{"action_name": "on_search", "query_id": "1"}
{"action_name": "click", "query_id": "1", "client_id": "ann", "timestamp": "2026-01-02T03:04:05Z", "event_attributes": {"object": {"object_id": "b", "object_id_field": "sku"}, "position": {"ordinal": 2}}}
{"action_name": "purchase", "query_id": "1", "client_id": "ann", "event_attributes": {"object": {"object_id": "b"}}}
{"_source": {"action_name": "click", "query_id": "2", "timestamp": 1000, "event_attributes": {"object": {"object_id": "d"}}}}"#;
        let found = read(events, Some(queries)).unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let click = |text: &str, item: &str| Judgement::relevant(text, item).source(Source::Click);
        let expected = [
            (
                2,
                click("laptop", "b")
                    .shown(["a", "b", "c"])
                    .user("ann")
                    .at(at(1_767_323_045)),
            ),
            (4, click("desk", "d").shown(["d"]).at(at(1))),
        ];
        assert_eq!(found.judgements, expected);
        assert_eq!(
            found.other_actions,
            BTreeMap::from([("on_search".into(), 1)])
        );
    }

    #[test]
    fn one_file_may_hold_all_and_impressions_give_the_list() {
        let events = r#"{"action_name": "impression", "query_id": "1", "user_query": "x", "event_attributes": {"object": {"object_id": "b"}, "position": {"ordinal": 2}}}
{"action_name": "impression", "query_id": "1", "event_attributes": {"object": {"object_id": "a"}, "position": {"ordinal": 1}}}
{"action_name": "click", "query_id": "1", "event_attributes": {"object": {"object_id": "b"}}}"#;
        let found = read(events, None).unwrap();
        let expected = Judgement::relevant("x", "b").source(Source::Click);
        assert_eq!(found.judgements, [(3, expected.shown(["a", "b"]))]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_line() {
        let click = r#"{"action_name": "click", "query_id": "1", "event_attributes": {"object": {"object_id": "b"}}}"#;
        for (events, word) in [
            (click, "e, line 1: a click on an answer to the query \"1\""),
            (
                "{\"action_name\": \"click\"}",
                "line 1: the event \"click\" has no",
            ),
            (
                "{\"user_query\": \"x\"}",
                "line 1: a query has no \"query_id\"",
            ),
            (
                "{\"action_name\": \"login\"}",
                "no clicks; its actions are login",
            ),
            ("", "no clicks"),
            ("[1]", "line 1: not a JSON object"),
        ] {
            let error = read(events, None).expect_err(events);
            assert!(error.contains(word), "{events}: {error}");
        }
    }
}
