//! Postings find what filters pass, while items come and go.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        (-3i64..4).prop_map(|i| Value::from(i as f64 / 2.0)),
        Just(json!(-0.0)),
        prop_oneof![Just(9_007_199_254_740_992_i64), Just(9_007_199_254_740_993)]
            .prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
        prop_oneof![
            Just("2026-03-01"),
            Just("2026-03-01T12:00:00Z"),
            Just("2026-03-01T13:00:00+01:00"),
            Just("2026-03-01T12:30:00+01:00"),
            Just("2026-03-01T12:30:00+99:00"),
        ]
        .prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![Just("x"), Just("y"), Just("x.y")],
                inner,
                0..3
            )
            .prop_map(|map| Value::Object(
                map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

fn meta() -> impl Strategy<Value = Value> {
    let key = prop_oneof![3 => Just("a"), 3 => Just("b"), 1 => Just("a.x"), 1 => Just("b.x.y")];
    prop::collection::btree_map(key, value(), 0..3)
        .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
}

fn condition() -> impl Strategy<Value = Value> {
    let field = prop_oneof![Just("a"), Just("b"), Just("a.x"), Just("b.x.y")];
    let ordered = prop_oneof![Just("$gt"), Just("$gte"), Just("$lt"), Just("$lte")];
    let comparable = scalar().prop_filter("in an order", |v| v.is_number() || v.is_string());
    let test = prop_oneof![
        value().prop_map(|v| json!({"$eq": v})),
        value().prop_map(|v| json!({"$ne": v})),
        (ordered, comparable).prop_map(|(operator, v)| json!({operator: v})),
        prop::collection::vec(scalar(), 0..4).prop_map(|v| json!({"$in": v})),
        any::<bool>().prop_map(|b| json!({"$exists": b})),
    ];
    let keys = prop_oneof![
        Just(vec!["a", "x"]),
        Just(vec!["a.x"]),
        Just(vec!["b", "x.y"])
    ];
    let named = (field, test.clone()).prop_map(|(field, test)| json!({field: test}));
    let listed = (keys, test).prop_map(|(keys, test)| json!({"$field": [keys, test]}));
    prop_oneof![3 => named, 1 => listed].prop_recursive(2, 8, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            list.clone().prop_map(|l| json!({"$and": l})),
            list.prop_map(|l| json!({"$or": l})),
            inner.prop_map(|f| json!({"$not": f})),
        ]
    })
}

proptest! {
    #[test]
    fn postings_find_what_the_filter_passes(
        before in prop::collection::vec(meta(), 0..20),
        after in prop::collection::vec(meta(), 0..8),
        removed in prop::collection::vec(0u32..20, 0..6),
        filters in prop::collection::vec(condition(), 1..4),
    ) {
        let mut all: BTreeMap<u32, Value> = (0..).zip(before).collect();
        let mut postings = Postings::new(all.keys().copied().collect());
        for (round, filter) in filters.iter().enumerate() {
            let filter = Filter::from_json(filter).expect("a valid filter");
            let missing = postings.missing(&Needs::of(Some(&filter)));
            postings.begin(&missing);
            for (slot, meta) in &all {
                postings.fill(*slot, meta, &missing);
            }
            if round == 1 {
                for (slot, meta) in (100..).zip(&after) {
                    postings.add(slot, meta);
                    all.insert(slot, meta.clone());
                }
                for slot in &removed {
                    postings.remove(*slot);
                    all.remove(slot);
                }
            }
            let found = postings.matching(&filter, &|slot| Ok(all[&slot].clone())).expect("matches");
            let passes: Result<Vec<(u32, bool)>> =
                all.iter().map(|(slot, meta)| Ok((*slot, filter.matches(meta)?))).collect();
            prop_assert_eq!(passes.is_err(), postings.ambiguous(&filter).is_some());
            if let Ok(passes) = passes {
                let expected: RoaringBitmap =
                    passes.iter().filter(|(_, passes)| *passes).map(|(slot, _)| *slot).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}

#[test]
fn values_of_removed_items_are_cleaned_up() {
    let filter = Filter::from_json(&json!({"name": "item 9999"})).expect("a valid filter");
    let mut postings = Postings::new(RoaringBitmap::new());
    postings.begin(&postings.missing(&Needs::of(Some(&filter))));
    for slot in 0..10_000 {
        postings.add(slot, &json!({"name": format!("item {slot}")}));
        if slot >= 10 {
            postings.remove(slot - 10);
        }
    }
    assert!(
        postings.fields[&Field::Name("name".into())].values.len()
            <= 10 + MAX_UNCLEANED as usize + 1
    );
    let found = postings
        .matching(&filter, &|_| Ok(Value::Null))
        .expect("matches");
    assert_eq!(found.iter().collect::<Vec<_>>(), [9999]);
}
