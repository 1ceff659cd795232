//! Judgements as records: a query's numbers are stored once, under the hash of what was asked.

use std::time::{Duration, UNIX_EPOCH};

use super::{Judgement, Source, Subject};
use crate::persist::{JudgementRecord, QueryRecord};
use crate::query::Query;
use crate::time;

/// The key of a text's vector among the judged queries.
pub(crate) fn hash_text(text: &str) -> [u8; 16] {
    // Seeds keep a text and a vector with equal bytes apart.
    xxhash_rust::xxh3::xxh3_128_with_seed(text.as_bytes(), 1).to_be_bytes()
}

/// The key of a vector among the judged queries.
pub(crate) fn hash_vector(vector: &[f32]) -> [u8; 16] {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    xxhash_rust::xxh3::xxh3_128_with_seed(&bytes, 2).to_be_bytes()
}

/// The key under which a query's numbers are kept; a stored item's are with the item.
pub(crate) fn query_hash(query: &QueryRecord) -> Option<[u8; 16]> {
    match query {
        QueryRecord::Text(text) => Some(hash_text(text)),
        QueryRecord::Vector(hash) => Some(*hash),
        QueryRecord::Item(_) => None,
    }
}

/// What tells a query from others: equal for equal queries and, but for chance, for no others.
pub(crate) fn query_key(query: &Query) -> Vec<u8> {
    match query {
        Query::Text(text) => hash_text(text).to_vec(),
        Query::Vector(vector) => hash_vector(vector).to_vec(),
        Query::Item(id) => item_key(id),
    }
}

/// The same for a stored judgement's query.
pub(crate) fn record_key(query: &QueryRecord) -> Vec<u8> {
    match query {
        QueryRecord::Text(text) => hash_text(text).to_vec(),
        QueryRecord::Vector(hash) => hash.to_vec(),
        QueryRecord::Item(id) => item_key(id),
    }
}

fn item_key(id: &str) -> Vec<u8> {
    [b"item ", id.as_bytes()].concat()
}

/// The record of a judgement.
pub(crate) fn to_record(judgement: &Judgement) -> JudgementRecord {
    let (query, item, grade, pair) = match &judgement.subject {
        Subject::Graded { query, item, grade } => {
            let query = match query {
                Query::Text(text) => QueryRecord::Text(text.clone()),
                Query::Vector(vector) => QueryRecord::Vector(hash_vector(vector)),
                Query::Item(id) => QueryRecord::Item(id.clone()),
            };
            (query, item, *grade, false)
        }
        Subject::Pair { a, b, similar } => (
            QueryRecord::Item(a.clone()),
            b,
            if *similar { 1.0 } else { -1.0 },
            true,
        ),
    };
    JudgementRecord {
        query,
        item: item.clone(),
        grade,
        pair,
        weight: judgement.weight,
        source: match judgement.source {
            Source::Explicit => 0,
            Source::Click => 1,
            Source::Proxy => 2,
        },
        user: judgement.user.clone(),
        at: judgement.at.map_or_else(time::now_millis, time::millis),
        shown: judgement.shown.clone(),
    }
}

/// The source of a record.
pub(crate) fn source_of(code: u8) -> Source {
    match code {
        1 => Source::Click,
        2 => Source::Proxy,
        _ => Source::Explicit,
    }
}

/// The judgement of a record; `vector` gives the numbers of a judged vector by its hash.
pub(crate) fn from_record<E>(
    record: JudgementRecord,
    vector: impl Fn([u8; 16]) -> Result<Vec<f32>, E>,
) -> Result<Judgement, E> {
    let subject = match (record.query, record.pair) {
        (QueryRecord::Item(a), true) => Subject::Pair {
            a,
            b: record.item,
            similar: record.grade > 0.0,
        },
        (query, _) => {
            let query = match query {
                QueryRecord::Text(text) => Query::Text(text),
                QueryRecord::Vector(hash) => Query::Vector(vector(hash)?),
                QueryRecord::Item(id) => Query::Item(id),
            };
            Subject::Graded {
                query,
                item: record.item,
                grade: record.grade,
            }
        }
    };
    let since = Duration::from_millis(record.at.unsigned_abs());
    let at = if record.at < 0 {
        UNIX_EPOCH.checked_sub(since)
    } else {
        UNIX_EPOCH.checked_add(since)
    };
    Ok(Judgement {
        subject,
        user: record.user,
        source: source_of(record.source),
        weight: record.weight,
        at,
        shown: record.shown,
    })
}
