//! Groups and facets.

use std::collections::BTreeMap;

use affinis::{Distance, Error, Filter, Hit, Item, Query};
use affinis_testkit::Random;
use affinis_testkit::stores::fresh;
use serde_json::{Value, json};

use crate::{DIM, collection, items, message, same};

/// The groups by hand: the value of each, and its best hits.
fn groups_of(whole: &[Hit], groups: usize, per_group: usize) -> Vec<(Option<Value>, Vec<Hit>)> {
    let mut found: Vec<(Option<Value>, Vec<Hit>)> = Vec::new();
    for hit in whole {
        let doc = &hit.meta.as_ref().expect("metadata")["doc"];
        let value = (!doc.is_null() && !doc.is_array()).then(|| doc.clone());
        let is_known = |known: &(Option<Value>, Vec<Hit>)| value.is_some() && known.0 == value;
        match found.iter().position(is_known) {
            Some(at) if found[at].1.len() < per_group => found[at].1.push(hit.clone()),
            None if found.len() < groups => found.push((value, vec![hit.clone()])),
            _ => {}
        }
    }
    found
}

#[test]
fn groups_equal_a_grouping_of_all_items_by_hand() {
    let (_dir, store) = fresh();
    let data = items(3_000, 15);
    let points = collection(&store, &data, Distance::L2);
    let mut random = Random(16);
    for round in 0..6 {
        // The postings of the groups follow every write.
        if round == 3 {
            let gone: Vec<String> = (0..700).map(|i| format!("p{i}")).collect();
            points.delete(&gone).expect("deleted");
            let more = items(200, 17).into_iter();
            points
                .add(more.map(|item| Item {
                    id: format!("more {}", item.id),
                    ..item
                }))
                .expect("added");
        }
        let query = random.vector(DIM);
        let filter = json!({"even": true});
        for filter in [None, Some(Filter::from_json(&filter).expect("a filter"))] {
            let search = points
                .search(query.clone())
                .k(10_000)
                .recall(1.0)
                .include_meta();
            let whole = match &filter {
                Some(filter) => search.filter(filter.clone()),
                None => search,
            };
            let whole = whole.run().expect("answers");
            for (k, per_group, offset) in [
                (1, 1, 0),
                (10, 1, 0),
                (10, 3, 0),
                (5, 2, 5),
                (60, 4, 0),
                (2_000, 5, 0),
            ] {
                let mut search = points.search(query.clone()).k(k).offset(offset).recall(1.0);
                if let Some(filter) = &filter {
                    search = search.filter(filter.clone());
                }
                let found = search.group_by("doc", per_group).run().expect("answers");
                let expected = groups_of(&whole, k + offset, per_group);
                let (before, expected) = expected.split_at(offset.min(expected.len()));
                let flat: Vec<Hit> = expected.iter().flat_map(|(_, hits)| hits.clone()).collect();
                same(&found, &flat);
                let ranks = before.iter().map(|(_, hits)| hits.len()).sum::<usize>() + 1..;
                assert!(found.iter().zip(ranks).all(|(hit, rank)| hit.rank == rank));
                let of_hits = expected
                    .iter()
                    .flat_map(|(value, hits)| vec![value; hits.len()]);
                assert!(
                    found
                        .iter()
                        .zip(of_hits)
                        .all(|(hit, value)| hit.group == *value)
                );
                let groups = found.groups.as_ref().expect("groups");
                assert_eq!(groups.len(), expected.len());
                for (group, (value, _)) in groups.iter().zip(expected) {
                    assert_eq!(group.value, *value);
                    let has = |hit: &&Hit| {
                        Some(&hit.meta.as_ref().expect("metadata")["doc"]) == value.as_ref()
                    };
                    let count = whole.iter().filter(has).count().max(1);
                    assert_eq!(group.count, count as u64, "{value:?}");
                }
            }
        }
    }
}

#[test]
fn groups_keep_to_a_threshold_and_leave_out_the_query() {
    let (_dir, store) = fresh();
    let points = collection(&store, &items(400, 18), Distance::L2);
    let search = |k: usize| points.search(Query::like("p7")).k(k).recall(1.0);
    let whole = search(10_000).include_meta().run().expect("answers");
    let limit = whole[90].distance;
    let expected = groups_of(&whole[..91], 30, 3);
    let found = search(30)
        .group_by("doc", 3)
        .max_distance(limit)
        .run()
        .expect("answers");
    let flat: Vec<Hit> = expected.into_iter().flat_map(|(_, hits)| hits).collect();
    same(&found, &flat);
    for (search, part) in [
        (search(1).group_by("", 1), "empty"),
        (search(1).group_by("doc", 0), "at least 1"),
        (search(10_000).group_by("doc", 2), "10000"),
    ] {
        let error = message(search.run().expect_err("refused"));
        assert!(error.contains(part), "{error}");
    }
    points
        .add([Item::vector("two", vec![0.0; DIM]).with_meta(json!({"a.b": 1, "a": {"b": 2}}))])
        .expect("added");
    let found = search(1).group_by("a.b", 1).run();
    assert!(
        matches!(found, Err(Error::AmbiguousField { .. })),
        "{found:?}"
    );
    let found = points.facet("a.b", None, 10);
    assert!(
        matches!(found, Err(Error::AmbiguousField { .. })),
        "{found:?}"
    );
}

#[test]
fn facets_count_the_values_of_what_passes_the_filter() {
    let (_dir, store) = fresh();
    let mut data = items(2_000, 19);
    data.push(Item::vector("object", vec![0.0; DIM]).with_meta(json!({"doc": {"x": 1}})));
    data.push(
        Item::vector("large", vec![0.0; DIM]).with_meta(json!({"doc": 9_007_199_254_740_993_i64})),
    );
    let points = collection(&store, &data, Distance::L2);
    for round in 0..2 {
        if round == 1 {
            let gone: Vec<String> = (0..300).map(|i| format!("p{i}")).collect();
            points.delete(&gone).expect("deleted");
            data.retain(|item| !gone.contains(&item.id));
        }
        for filter in [
            None,
            Some(Filter::from_json(&json!({"even": true})).expect("a filter")),
        ] {
            let passes = |item: &&Item| {
                filter
                    .as_ref()
                    .is_none_or(|filter| filter.matches(&item.meta).expect("one meaning"))
            };
            for field in ["doc", "tags", "nothing"] {
                let mut counts: BTreeMap<String, (Value, u64)> = BTreeMap::new();
                let (mut missing, mut uncounted) = (0, 0);
                for item in data.iter().filter(passes) {
                    let value = item.meta.get(field);
                    missing += u64::from(value.is_none());
                    let values = match value {
                        None => Vec::new(),
                        Some(Value::Array(values)) => values.clone(),
                        Some(value) => vec![value.clone()],
                    };
                    for value in values {
                        if value.is_object() || value.as_i64().is_some_and(|i| i > 1 << 53) {
                            uncounted += 1;
                        } else {
                            counts.entry(value.to_string()).or_insert((value, 0)).1 += 1;
                        }
                    }
                }
                let whole = points
                    .facet(field, filter.as_ref(), 10_000)
                    .expect("counts");
                assert_eq!(
                    (whole.missing, whole.uncounted),
                    (missing, uncounted),
                    "{field}"
                );
                assert_eq!(whole.distinct, counts.len() as u64);
                let found: BTreeMap<String, (Value, u64)> = whole
                    .values
                    .iter()
                    .map(|v| (v.value.to_string(), (v.value.clone(), v.count)))
                    .collect();
                assert_eq!(found, counts);
                assert!(
                    whole
                        .values
                        .windows(2)
                        .all(|two| two[0].count >= two[1].count)
                );
                let few = points.facet(field, filter.as_ref(), 3).expect("counts");
                assert_eq!(few.values[..], whole.values[..whole.values.len().min(3)]);
                assert_eq!(few.distinct, whole.distinct);
            }
        }
    }
    message(points.facet("", None, 10).expect_err("no name"));
    message(points.facet("doc", None, 0).expect_err("no values"));
}
