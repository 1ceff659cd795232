//! Searches on a table, compared with every row.

mod common;

use affinis::{Distance, Filter, Hits, Item, Judgement, MetricChoice, Query};
use affinis_mahalanobis::Mahalanobis;
use affinis_pgvector::{Postgres, Table};
use affinis_testkit::exact::{cosine, dot, exact, l2};
use affinis_testkit::{Random, kinds};
use ndarray::Array2;
use serde_json::{Value, json};

fn ids(hits: &Hits) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

fn attach(postgres: &Postgres, name: &str, distance: Distance) -> Table {
    let attach = postgres
        .attach(name)
        .table("points")
        .text("body")
        .meta("meta");
    attach
        .distance(distance)
        .plugin(Mahalanobis::default())
        .open()
        .expect("attached")
}

#[test]
fn version_0_is_the_tables_own_distance() {
    let Some(database) = common::database("own_distance") else {
        return;
    };
    let items = kinds::kinds(500);
    let query = Random(3).vector(8);
    type Between = fn(&[f32], &[f32]) -> f64;
    let distances: [(Distance, &str, Between); 3] = [
        (Distance::L2, "l2", l2),
        (Distance::Cosine, "cosine", cosine),
        (Distance::Dot, "ip", |x, y| -dot(x, y)),
    ];
    for (distance, class, between) in distances {
        for vector_type in ["vector", "halfvec"] {
            database.run("DROP TABLE IF EXISTS points");
            database.fill(
                "bigint",
                vector_type,
                &items,
                Some(&format!("{vector_type}_{class}_ops")),
            );
            let postgres = database.connect();
            let name = format!("{vector_type} {class}");
            // The distance is that of the index.
            let table = postgres
                .attach(&name)
                .table("points")
                .open()
                .expect("attached");
            assert_eq!((table.distance(), table.dim()), (distance, 8));
            let stored = table
                .items(&items.iter().map(|item| &item.id).collect::<Vec<_>>())
                .expect("read");
            let expected = exact(&stored, 10, |x| between(&query, x));
            let hits = table.search(query.clone()).run().expect("hits");
            let expected_ids: Vec<&str> = expected.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(ids(&hits), expected_ids, "{name}");
            // The server rounds the query to halves too.
            let tolerance = if vector_type == "halfvec" { 3e-3 } else { 1e-4 };
            for (hit, (_, distance)) in hits.iter().zip(&expected) {
                assert!(
                    (f64::from(hit.distance) - distance).abs() < tolerance * (1.0 + distance.abs()),
                    "{name}: {hit:?} {distance}"
                );
            }
            let like = table.search(Query::like("7")).k(3).run().expect("hits");
            assert_eq!(like.len(), 3);
            assert!(!ids(&like).contains(&"7"), "{like:?}");
        }
    }
}

/// Learns from the kinds of what Euclid answers, and promotes.
fn learn(table: &Table) {
    let mut judgements = Vec::new();
    for query in 0..60 {
        let query = query.to_string();
        let hits = table
            .search(Query::like(&query))
            .metric(MetricChoice::BuiltIn)
            .run()
            .expect("hits");
        for hit in &hits {
            let grade = if kinds::kind(&hit.id) == kinds::kind(&query) {
                1.0
            } else {
                -1.0
            };
            judgements.push(Judgement::graded(Query::like(&query), &hit.id, grade));
        }
    }
    table.learning().judge(&judgements).expect("judged");
    let report = table.learning().refit().run().expect("refitted");
    assert!(report.promoted, "{:?}", report.gate);
}

/// The nearest of all rows of the table under the active metric.
fn nearest(table: &Table, query: &[f32], k: usize, passes: impl Fn(&Item) -> bool) -> Vec<String> {
    let metric = table
        .learning()
        .choose(MetricChoice::Active, None)
        .expect("a metric")
        .metric;
    let all: Vec<String> = (0..6_000).map(|id| id.to_string()).collect();
    let mut items = table.items(&all).expect("read");
    items.retain(|item| item.vector.is_some() && passes(item));
    let unit = |x: &[f32]| {
        let norm = x.iter().map(|x| x * x).sum::<f32>().sqrt();
        x.iter().map(|x| x / norm).collect::<Vec<f32>>()
    };
    let is_cosine = table.distance() == Distance::Cosine;
    let form = |x: &[f32]| if is_cosine { unit(x) } else { x.to_vec() };
    let query = form(query);
    let found = exact(&items, k, |x| metric.distance(&query, &form(x)));
    found.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_learned_metric_answers_by_the_index_and_keeps_its_recall() {
    let Some(database) = common::database("learned") else {
        return;
    };
    let items = kinds::kinds(4_000);
    for class in [
        None,
        Some("vector_l2_ops"),
        Some("vector_ip_ops"),
        Some("vector_cosine_ops"),
    ] {
        database.run("DROP TABLE IF EXISTS points");
        database.fill("bigint", "vector", &items, class);
        let postgres = database.connect();
        let name = format!("{class:?}");
        let distance = match class {
            Some("vector_cosine_ops") => Distance::Cosine,
            _ => Distance::L2,
        };
        let table = attach(&postgres, &name, distance);
        learn(&table);
        let mut random = Random(5);
        let (mut found, mut wanted) = (0, 0);
        for _ in 0..40 {
            let query = random.vector(8);
            let hits = table.search(query.clone()).run().expect("hits");
            assert_eq!(hits.metric, table.learning().active(None));
            let expected = nearest(&table, &query, 10, |_| true);
            found += expected
                .iter()
                .filter(|id| ids(&hits).contains(&id.as_str()))
                .count();
            wanted += expected.len();
        }
        let recall = found as f64 / f64::from(wanted as u32);
        assert!(
            recall >= if class.is_some() { 0.95 } else { 1.0 },
            "{name}: {recall}"
        );
    }
}

#[test]
fn rows_that_come_change_and_go_are_answered_as_they_are() {
    let Some(database) = common::database("rows_change") else {
        return;
    };
    database.fill(
        "bigint",
        "vector",
        &kinds::kinds(2_000),
        Some("vector_l2_ops"),
    );
    let postgres = database.connect();
    let table = attach(&postgres, "points", Distance::L2);
    learn(&table);
    let query = vec![0.9, 0.1, 0.3, -0.2, 0.1, 0.0, 0.2, -0.4];
    let agree = |when: &str| {
        let hits = table.search(query.clone()).k(5).run().expect("hits");
        assert_eq!(ids(&hits), nearest(&table, &query, 5, |_| true), "{when}");
        let metric = table
            .learning()
            .choose(MetricChoice::Active, None)
            .expect("a metric")
            .metric;
        for hit in &hits {
            let item = table.items(&[&hit.id]).expect("read").remove(0);
            let distance = metric.distance(&query, &item.vector.expect("a vector"));
            assert!(
                (f64::from(hit.distance) - distance).abs() < 1e-4,
                "{when}: {hit:?} {distance}"
            );
        }
    };
    agree("at first");
    database.run("INSERT INTO points VALUES (5000, '[0.9,0.1,0.3,-0.2,0.1,0,0.2,-0.4]')");
    agree("a row that came");
    assert_eq!(
        table.search(query.clone()).run().expect("hits")[0].id,
        "5000"
    );
    database.run("UPDATE points SET embedding = '[9,9,9,9,9,9,9,9]' WHERE id = 5000");
    agree("a vector that changed");
    database.run("UPDATE points SET embedding = '[0.9,0.1,0.3,-0.2,0.1,0,0.2,-0.39]' WHERE id = 3");
    agree("another one that changed");
    database.run("UPDATE points SET meta = '{\"a\": 1}'");
    agree("metadata that changed");
    database.run("DELETE FROM points WHERE id = 3; INSERT INTO points VALUES (5001, NULL)");
    agree("a row that went, and one without a vector");
    assert!(table.sweep().expect("swept") >= 1);
    assert_eq!(table.sweep().expect("swept"), 0);
    agree("after a sweep");
    table.learning().rollback(None).expect("rolled back");
    assert!(
        table
            .search(query.clone())
            .run()
            .expect("hits")
            .metric
            .is_built_in()
    );
}

#[test]
fn filters_pass_what_they_pass_in_a_store() {
    let Some(database) = common::database("filters") else {
        return;
    };
    let meta = |at: usize| match at % 9 {
        0 => json!({"lang": "en", "year": 2000 + at, "tags": ["a", "b"]}),
        1 => {
            json!({"lang": "de", "year": 2000.5 + at as f64, "nested": {"n": at, "list": [{"x": 1}, {"x": at}]}})
        }
        2 => json!({"user.name": "ann", "lang": null}),
        3 => json!({"user": {"name": "bob"}, "year": "2010"}),
        4 => {
            json!({"at": format!("2026-03-{:02}T12:00:00+01:00", at % 28 + 1), "lang": "O'Neil \"x\" \\ é\n"})
        }
        5 => json!({"tags": [1, "b", [2]], "lang": ["en", "fr"], "flag": true}),
        6 => json!({}),
        7 => json!({"a.b.c": 1, "$odd": "x", "": "empty"}),
        _ => Value::Null,
    };
    let mut items = kinds::kinds(900);
    for (at, item) in items.iter_mut().enumerate() {
        item.meta = meta(at);
    }
    database.fill("bigint", "vector", &items, Some("vector_l2_ops"));
    let postgres = database.connect();
    let table = attach(&postgres, "points", Distance::L2);
    learn(&table);
    let tests = [
        json!({"lang": "en"}),
        json!({"lang": {"$ne": "en"}}),
        json!({"lang": "O'Neil \"x\" \\ é\n"}),
        json!({"lang": null}),
        json!({"lang": {"$in": ["de", "fr", 3]}}),
        json!({"lang": {"$nin": ["de", "en"]}}),
        json!({"year": {"$gt": 2100, "$lte": 2600.5}}),
        json!({"year": {"$gte": "2"}}),
        json!({"user.name": "ann"}),
        json!({"user.name": {"$ne": "ann"}}),
        json!({"user.name": {"$exists": true}}),
        json!({"$field": [["user.name"], "ann"]}),
        json!({"$field": [["user", "name"], {"$ne": "bob"}]}),
        json!({"$field": [["$odd"], "x"]}),
        json!({"a.b.c": 1}),
        json!({"nested.list.x": {"$gt": 100}}),
        json!({"nested.list": [{"x": 1}, {"x": 10}]}),
        json!({"nested": {"$not": {"$exists": true}}}),
        json!({"tags": "b"}),
        json!({"tags": ["a", "b"]}),
        json!({"flag": true}),
        json!({"at": {"$gte": "2026-03-14T11:00:00Z"}}),
        json!({"at": {"$not": {"$gte": "2026-03-14T11:00:00Z"}}}),
        json!({"$or": [{"lang": "en", "year": {"$lt": 2300}}, {"flag": true}]}),
        json!({"$and": [{"$not": {"lang": "en"}}, {"$not": {"user.name": "ann"}}]}),
        json!({"lang": "nobody speaks this"}),
        json!({"lang": "'; DROP TABLE points; --"}),
        json!({"x\") ? (true": 1}),
    ];
    let query = vec![0.4, -0.2, 0.3, -0.2, 0.1, 0.0, 0.2, -0.4];
    for filter in tests {
        let parsed = Filter::from_json(&filter).expect("a filter");
        let passes = |item: &Item| parsed.matches(&item.meta).expect("one meaning");
        let expected = nearest(&table, &query, 10, passes);
        let hits = table
            .search(query.clone())
            .filter(parsed.clone())
            .include_meta()
            .run()
            .expect("hits");
        assert_eq!(ids(&hits), expected, "{filter}");
        for hit in &hits {
            assert!(
                parsed
                    .matches(hit.meta.as_ref().unwrap_or(&Value::Null))
                    .expect("one meaning"),
                "{filter} {hit:?}"
            );
        }
    }
}

#[test]
fn a_selective_filter_finds_all_that_pass_however_far_off() {
    let Some(database) = common::database("selective") else {
        return;
    };
    let mut items = kinds::kinds(3_000);
    for (at, item) in items.iter_mut().enumerate() {
        item.meta = json!({"rare": at % 300 == 7});
        if at % 300 == 7 {
            // Far from every query.
            item.vector.as_mut().expect("a vector")[2] += 30.0;
        }
    }
    database.fill("bigint", "vector", &items, Some("vector_l2_ops"));
    let postgres = database.connect();
    let table = attach(&postgres, "points", Distance::L2);
    let rare = Filter::from_json(&json!({"rare": true})).expect("a filter");
    for learned in [false, true] {
        if learned {
            learn(&table);
        }
        let hits = table
            .search(vec![0.0; 8])
            .filter(rare.clone())
            .run()
            .expect("hits");
        assert_eq!(hits.len(), 10);
    }
}

#[test]
fn biases_of_many_pages_go_on_where_they_stopped() {
    const DIM: usize = 1_024;
    let Some(database) = common::database("pages") else {
        return;
    };
    database.run(&format!(
        "CREATE TABLE points (id bigint PRIMARY KEY, embedding vector({DIM}), body text, meta jsonb); \
         INSERT INTO points SELECT i, (SELECT array_agg(sin(i * j)) FROM generate_series(1, {DIM}) j)::vector \
         FROM generate_series(1, 9000) i"
    ));
    let postgres = database.connect();
    let table = attach(&postgres, "points", Distance::L2);
    let weights = ndarray::Array1::from_shape_fn(DIM, |at| if at < 8 { 5.0 } else { 1.0 });
    let version = table
        .learning()
        .import_metric(ndarray::Array2::from_diag(&weights).view(), None)
        .expect("imported");
    table.learning().promote(version).expect("promoted");
    let biases = || {
        let sql =
            "SELECT count(*), sum(bias), (SELECT pages FROM affinis.biases) FROM affinis.bias_1_1";
        common::rows(&database.url, sql).remove(0)
    };
    let whole = biases();
    assert_eq!(
        (whole[0].as_deref(), whole[2].as_deref()),
        (Some("9000"), Some("3"))
    );
    let query: Vec<f32> = (1..=DIM).map(|j| (17.0 * j as f32).sin()).collect();
    let answer = || {
        let hits = table.search(query.clone()).k(5).run().expect("hits");
        hits.iter()
            .map(|hit| (hit.id.clone(), hit.distance))
            .collect::<Vec<_>>()
    };
    let answered = answer();
    assert_eq!(answered[0].0, "17");

    let mut visited = Vec::new();
    let visit = |item: Item| {
        visited.push(item.id.parse::<u32>().expect("a number"));
        Ok(true)
    };
    table.for_each_item(visit).expect("visited");
    assert!(visited.into_iter().eq(1..=9000), "in the order of the ids");

    // As if the client had been killed after the first page.
    database.run(
        "DELETE FROM affinis.bias_1_1 WHERE id > (SELECT id FROM points ORDER BY id OFFSET 4095 LIMIT 1); \
         UPDATE affinis.biases SET done = false, candidates = NULL, pages = 1, \
            upto = (SELECT p.id::text FROM points p ORDER BY p.id OFFSET 4095 LIMIT 1)",
    );
    table
        .learning()
        .promote(affinis::VersionId(0))
        .expect("promoted");
    table.learning().promote(version).expect("promoted");
    let again = biases();
    assert_eq!(again[0], whole[0]);
    let sums = [&whole, &again].map(|row| {
        row[1]
            .as_ref()
            .expect("a sum")
            .parse::<f64>()
            .expect("a number")
    });
    assert!((sums[0] - sums[1]).abs() < 1e-3 * sums[0], "{sums:?}");
    assert_eq!(answer(), answered);
}

#[test]
fn an_index_and_a_trigger_are_made_where_they_are_asked_for() {
    let Some(database) = common::database("extras") else {
        return;
    };
    let items = kinds::kinds(300);
    database.fill("bigint", "vector", &items, None);
    let postgres = database.connect();
    let count = |sql: &str| {
        let rows = common::rows(&database.url, sql);
        rows[0][0].clone().expect("a number")
    };
    let indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'points' AND indexdef LIKE '%hnsw%cosine_ops%'";
    let triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal";
    for distance in [Distance::Cosine, Distance::Cosine] {
        let attach = postgres.attach("points").table("points").distance(distance);
        attach.make_index().open().expect("attached");
        assert_eq!((count(indexes), count(triggers)), ("1".into(), "0".into()));
    }
    let attach = postgres.attach("points").plugin(Mahalanobis::default());
    let table = attach.open().expect("attached");
    let metric = |weight: f64| {
        let mut weights = ndarray::Array1::ones(8);
        weights[2] = weight;
        Array2::from_diag(&weights)
    };
    let learning = table.learning();
    let first = learning.import_metric(metric(5.0).view(), None);
    learning
        .promote(first.expect("imported"))
        .expect("promoted");
    table.create_trigger().expect("made");
    table.create_trigger().expect("made again");
    let second = learning.import_metric(metric(9.0).view(), None);
    learning
        .promote(second.expect("imported"))
        .expect("promoted");
    assert_eq!(count(triggers), "1");

    // The biases under both versions are those of the row as it is.
    let biases = |id: usize| {
        let bias = |version: usize| {
            let sql = format!("SELECT bias FROM affinis.bias_1_{version} WHERE id = {id}");
            let rows = common::rows(&database.url, &sql);
            rows.first().map(|row| {
                row[0]
                    .clone()
                    .expect("a bias")
                    .parse::<f32>()
                    .expect("a number")
            })
        };
        [bias(1), bias(2)]
    };
    let expected = |vector: &[f32]| {
        let norm = dot(vector, vector).sqrt();
        let unit: Vec<f32> = vector.iter().map(|x| x / norm as f32).collect();
        [1, 2].map(|version| {
            let choice = MetricChoice::Version(affinis::VersionId(version));
            let metric = learning.choose(choice, None).expect("a metric").metric;
            let mut bias = [0.0];
            let row = Array2::from_shape_vec((1, 8), unit.clone()).expect("a row");
            metric.biases(row.view(), &mut bias);
            bias[0]
        })
    };
    let mut random = Random(8);
    let written = |sql: &str, vector: &[f32]| {
        let numbers: Vec<String> = vector.iter().map(ToString::to_string).collect();
        database.run(&sql.replace("VECTOR", &format!("'[{}]'", numbers.join(","))));
        for (found, expected) in biases(1_000).into_iter().zip(expected(vector)) {
            let found = found.expect("a bias");
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        let hits = table.search(vector.to_vec()).k(1).run().expect("hits");
        assert_eq!(hits[0].id, "1000");
        assert!(hits[0].distance.abs() < 1e-4, "{hits:?}");
    };
    written(
        "INSERT INTO points VALUES (1000, VECTOR)",
        &random.vector(8),
    );
    written(
        "UPDATE points SET embedding = VECTOR WHERE id = 1000",
        &random.vector(8),
    );
    database.run("UPDATE points SET embedding = NULL WHERE id = 1000");
    assert_eq!(biases(1_000), [None, None]);
    written(
        "UPDATE points SET embedding = VECTOR WHERE id = 1000",
        &random.vector(8),
    );
    database.run("DELETE FROM points WHERE id = 1000");
    assert_eq!(biases(1_000), [None, None]);

    // Rows are written as before when a version's biases are gone, and when all is detached.
    database
        .run("DROP TABLE affinis.bias_1_1; INSERT INTO points VALUES (1001, '[1,2,3,4,5,6,7,8]')");
    assert!(postgres.detach("points").expect("detached"));
    assert_eq!(count(triggers), "0");
    database.run("DELETE FROM points WHERE id = 1001");
}
