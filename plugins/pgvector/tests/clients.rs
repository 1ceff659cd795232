//! Several clients of one table, and what goes wrong with tables, roles and connections.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use affinis::{Distance, ErrorKind, Item, Judgement, MetricChoice, Query, VersionId};
use affinis_mahalanobis::Mahalanobis;
use affinis_pgvector::{Postgres, Table};
use affinis_testkit::{kinds, life};
use ndarray::Array2;

fn attach(postgres: &Postgres) -> Table {
    let attach = postgres
        .attach("points")
        .table("points")
        .distance(Distance::L2);
    attach
        .plugin(Mahalanobis::default())
        .open()
        .expect("attached")
}

#[test]
fn what_one_client_promotes_the_others_answer_under() {
    let Some(database) = common::database("flip") else {
        return;
    };
    database.fill("bigint", "vector", &life::items(), Some("vector_l2_ops"));
    let (one, other) = (database.connect(), database.connect());
    let (one, other) = (attach(&one), attach(&other));
    let active = |table: &Table| table.search(Query::like("3")).run().expect("hits").metric;
    assert_eq!((active(&one), active(&other)), (VersionId(0), VersionId(0)));
    let matrix = |weight: f64| {
        let mut weights = [1.0; 8];
        weights[0] = weight;
        Array2::from_diag(&ndarray::arr1(&weights))
    };
    let first = one
        .learning()
        .import_metric(matrix(3.0).view(), None)
        .expect("imported");
    let second = other
        .learning()
        .import_metric(matrix(9.0).view(), None)
        .expect("imported");
    assert_eq!((first, second), (VersionId(1), VersionId(2)));
    one.learning().promote(second).expect("promoted");
    assert_eq!(active(&other), second);
    other.learning().promote(first).expect("promoted");
    assert_eq!(active(&one), first);
    one.learning().promote(VersionId(0)).expect("promoted");
    other.learning().delete_metric(second).expect("deleted");
    assert_eq!(active(&other), VersionId(0));
    let gone = one
        .search(Query::like("3"))
        .metric(MetricChoice::Version(second))
        .run();
    assert_eq!(gone.expect_err("deleted").kind(), ErrorKind::NotFound);

    // While one client flips, every answer of another is that of the version that it says.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let third = one
                .learning()
                .import_metric(matrix(5.0).view(), None)
                .expect("imported");
            for _ in 0..10 {
                one.learning().promote(first).expect("promoted");
                one.learning().promote(third).expect("promoted");
                one.sweep().expect("swept");
            }
            stop.store(true, Ordering::Release);
        });
        let query: Vec<f32> = life::items()[4].vector.clone().expect("a vector");
        while !stop.load(Ordering::Acquire) {
            let hits = other.search(query.clone()).run().expect("hits");
            let metric = other
                .learning()
                .choose(MetricChoice::Version(hits.metric), None)
                .expect("a metric");
            for hit in &hits {
                let item: Item = other.items(&[&hit.id]).expect("read").remove(0);
                let distance = metric
                    .metric
                    .distance(&query, &item.vector.expect("a vector"));
                assert!(
                    (f64::from(hit.distance) - distance).abs() < 1e-3,
                    "{hit:?} {distance} {:?}",
                    hits.metric
                );
            }
        }
    });
}

#[test]
fn clients_that_attach_and_judge_at_once_lose_nothing() {
    let Some(database) = common::database("at_once") else {
        return;
    };
    let uuid = |id: &str| format!("00000000-0000-4000-8000-{id:0>12}");
    let mut items = life::items();
    for item in &mut items {
        item.id = uuid(&item.id);
    }
    database.fill("uuid", "vector", &items, None);
    let clients: Vec<Vec<_>> = thread::scope(|scope| {
        let client = |at: usize| {
            // Each makes the schema and attaches the table, if no other has.
            let postgres = database.connect();
            let table = attach(&postgres);
            let judge = |n: usize| {
                let query = Query::like(uuid(&at.to_string()));
                let judgement = Judgement::relevant(query, uuid(&(n + 10).to_string()));
                table.learning().judge(&[judgement]).expect("judged")
            };
            (0..25).flat_map(judge).collect()
        };
        let threads: Vec<_> = (0..4).map(|at| scope.spawn(move || client(at))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let mut numbers: Vec<u64> = clients
        .into_iter()
        .flatten()
        .map(|id: affinis::JudgementId| id.0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<u64>>());
    let table = attach(&database.connect());
    assert_eq!(table.learning().judgements().expect("read").len(), 100);
}

#[test]
fn a_connection_that_dies_costs_no_acknowledged_judgement_and_no_search() {
    let Some(database) = common::database("dying") else {
        return;
    };
    database.fill("bigint", "vector", &life::items(), Some("vector_l2_ops"));
    let postgres = database.connect();
    let table = attach(&postgres);
    let until = Instant::now() + Duration::from_secs(4);
    let mut acknowledged = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < until {
                thread::sleep(Duration::from_millis(60));
                common::run(
                    database.admin(),
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'affinis' AND datname = 'affinis_test_dying'",
                );
            }
        });
        scope.spawn(|| {
            while Instant::now() < until {
                assert_eq!(
                    table.search(Query::like("3")).run().expect("hits").len(),
                    10
                );
            }
        });
        while Instant::now() < until {
            let judgement = Judgement::relevant(Query::like("5"), "6");
            if let Ok(ids) = table.learning().judge(&[judgement]) {
                acknowledged.extend(ids);
            }
        }
    });
    assert!(!acknowledged.is_empty());
    let stored: Vec<_> = table
        .learning()
        .judgements()
        .expect("read")
        .into_iter()
        .map(|j| j.id)
        .collect();
    for id in &acknowledged {
        assert!(stored.contains(id), "{id} is lost");
    }
    let mut unique = acknowledged.clone();
    unique.dedup();
    assert_eq!(unique, acknowledged, "numbers are given once");
}

#[test]
fn what_cannot_be_attached_is_refused_with_the_reason() {
    let Some(database) = common::database("refused") else {
        return;
    };
    database.run(
        "CREATE SCHEMA \"my schema\"; \
         CREATE TABLE \"my schema\".\"Ta\"\"ble\" (\"Key\" text PRIMARY KEY, \"V v\" vector(3), t text); \
         INSERT INTO \"my schema\".\"Ta\"\"ble\" VALUES ('a''b', '[1,2,3]', 'x'), ('c\\d', '[4,5,6]', NULL), ('e', NULL, NULL); \
         CREATE TABLE loose (id bigint, embedding vector(3)); \
         CREATE TABLE wrong (id float8 PRIMARY KEY, embedding text); \
         CREATE TABLE free (id bigint PRIMARY KEY, embedding vector); \
         CREATE TABLE secret (id bigint PRIMARY KEY, embedding vector(3)); \
         ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
    );
    let postgres = database.connect();
    let refusal = |table: &str, id: &str, vector: &str| {
        let attach = postgres
            .attach("refused")
            .table(table)
            .id(id)
            .vector(vector);
        attach.open().expect_err("a refusal").to_string()
    };
    for (table, id, vector, words) in [
        ("nothing", "id", "embedding", "no such table"),
        ("loose", "id", "embedding", "unique"),
        ("loose", "key", "embedding", "no column \"key\""),
        ("wrong", "id", "embedding", "float8"),
        ("free", "id", "embedding", "no dimension"),
        ("free", "id", "id", "vector or halfvec"),
        ("x'; DROP TABLE loose; --", "id", "embedding", "x'; DROP"),
    ] {
        let said = refusal(table, id, vector);
        assert!(said.contains(words), "{table}: {said}");
    }
    let quoted = postgres
        .attach("It's \"quoted\"")
        .table("\"my schema\".\"Ta\"\"ble\"")
        .id("Key")
        .vector("V v")
        .text("t")
        .plugin(Mahalanobis::default())
        .open()
        .expect("attached");
    let hits = quoted
        .search(vec![1.0, 2.0, 3.5])
        .include_text()
        .run()
        .expect("hits");
    assert_eq!(
        (hits.len(), hits[0].id.as_str(), hits[0].text.as_deref()),
        (2, "a'b", Some("x"))
    );
    let like = quoted.search(Query::like("c\\d")).run().expect("hits");
    assert_eq!(like[0].id, "a'b");
    let unknown = quoted
        .search(Query::like("'; --"))
        .run()
        .expect_err("unknown");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    quoted
        .learning()
        .judge(&[Judgement::relevant(Query::like("a'b"), "c\\d").user("o'user")])
        .expect("judged");
    assert_eq!(quoted.stats().expect("stats").judgements, 1);

    // Renamed while attached, and attached again by name alone.
    database.run("ALTER TABLE \"my schema\".\"Ta\"\"ble\" RENAME TO other");
    let gone = quoted
        .search(vec![1.0, 2.0, 3.5])
        .run()
        .expect_err("renamed");
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    let again = postgres
        .attach("It's \"quoted\"")
        .open()
        .expect_err("renamed")
        .to_string();
    assert!(again.contains("renamed"), "{again}");
    let missing = postgres
        .attach("never attached")
        .open()
        .expect_err("missing")
        .to_string();
    assert!(
        missing.contains("never attached") && missing.contains("quoted"),
        "{missing}"
    );

    database.run("UPDATE affinis.format SET format = 99");
    let newer = database
        .connect()
        .attach("x")
        .table("secret")
        .open()
        .expect_err("newer");
    assert_eq!(newer.kind(), ErrorKind::Unsupported, "{newer}");
    database.run("UPDATE affinis.format SET format = 5");
    assert!(postgres.detach("It's \"quoted\"").expect("detached"));
    assert!(
        !postgres
            .detach("It's \"quoted\"")
            .expect("nothing to detach")
    );
}

#[test]
fn a_schema_of_an_earlier_format_is_brought_up_to_date_once() {
    let Some(database) = common::database("earlier") else {
        return;
    };
    database.fill("bigint", "vector", &life::items(), None);
    attach(&database.connect());
    database.run(
        "ALTER TABLE affinis.collections DROP COLUMN index_distance, DROP COLUMN has_trigger, \
         DROP COLUMN encoder_output, DROP COLUMN guidelines; \
         DROP TABLE affinis.matrices; DROP TABLE affinis.activations; \
         ALTER TABLE affinis.biases DROP COLUMN far_candidates, DROP COLUMN far_from; \
         UPDATE affinis.format SET format = 1",
    );
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let table = attach(&database.connect());
                let hits = table.search(Query::like("3")).run().expect("hits");
                assert_eq!(hits.len(), 10);
            });
        }
    });
    let format = common::rows(&database.url, "SELECT format FROM affinis.format");
    assert_eq!(format, [[Some("5".to_owned())]]);
}

#[test]
fn a_role_without_rights_is_told_which() {
    let Some(database) = common::database("rights") else {
        return;
    };
    database.fill("bigint", "vector", &kinds::kinds(50), None);
    let admin = database.admin_in();
    common::run(
        &admin,
        "DROP ROLE IF EXISTS affinis_guest; CREATE ROLE affinis_guest LOGIN PASSWORD 'guest'",
    );
    let guest = database.as_role("affinis_guest", "guest");
    let first = Postgres::connect(&guest)
        .expect("connected")
        .attach("points")
        .table("points")
        .open();
    let said = first.expect_err("no right to make the schema").to_string();
    assert!(said.contains("schema \"affinis\""), "{said}");
    attach(&database.connect());
    let open = || {
        Postgres::connect(&guest)
            .expect("connected")
            .attach("points")
            .open()
    };
    let said = open().expect_err("no right to read the schema").to_string();
    assert!(
        said.contains("USAGE") || said.contains("permission denied"),
        "{said}"
    );
    database.run(
        "GRANT USAGE ON SCHEMA affinis TO affinis_guest; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA affinis TO affinis_guest",
    );
    let said = open().expect_err("no right to read the table").to_string();
    assert!(said.contains("GRANT SELECT"), "{said}");
    database.run("GRANT SELECT ON points TO affinis_guest");
    let table = open().expect("attached");
    assert_eq!(
        table.search(Query::like("3")).run().expect("hits").len(),
        10
    );

    // It sees what its policies let it see.
    database.run(
        "ALTER TABLE points ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY even ON points TO affinis_guest USING (id % 2 = 0)",
    );
    let hits = table.search(Query::like("4")).run().expect("hits");
    assert!(
        hits.iter()
            .all(|hit| hit.id.parse::<u32>().expect("a number") % 2 == 0),
        "{hits:?}"
    );
    assert_eq!(
        table
            .search(Query::like("3"))
            .run()
            .expect_err("hidden")
            .kind(),
        ErrorKind::NotFound
    );
    drop(table);
    drop(database);
    common::run(
        &admin.replace("affinis_test_rights", "postgres"),
        "DROP ROLE affinis_guest",
    );
}
