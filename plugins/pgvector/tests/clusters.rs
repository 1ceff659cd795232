//! Tables behind a pool of connections, on shards, and on servers that fail and follow each other.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use affinis::{
    Distance, ErrorKind, Filter, Hits, Item, Judgement, JudgementId, MetricChoice, Query, VersionId,
};
use affinis_mahalanobis::Mahalanobis;
use affinis_pgvector::{Postgres, Table};
use affinis_testkit::exact::exact;
use affinis_testkit::servers::Servers;
use affinis_testkit::{Random, kinds, life};
use ndarray::Array2;
use serde_json::json;

/// A metric of eight numbers in which one counts more.
fn metric(number: usize, weight: f64) -> Array2<f64> {
    let mut weights = [1.0; 8];
    weights[number] = weight;
    Array2::from_diag(&ndarray::arr1(&weights))
}

/// Makes the table `points` of items, row by row through whatever the URL leads to.
fn insert(url: &str, items: &[Item]) {
    for some in items.chunks(500) {
        let row = |item: &Item| {
            let numbers = item.vector.iter().flatten().map(ToString::to_string);
            let vector = numbers.collect::<Vec<_>>().join(",");
            format!("({}, '[{vector}]', '{}')", item.id, item.meta)
        };
        let rows: Vec<String> = some.iter().map(row).collect();
        let insert = format!(
            "INSERT INTO points (id, embedding, meta) VALUES {}",
            rows.join(",")
        );
        common::run(url, &insert);
    }
}

fn attach(postgres: &Postgres) -> Table {
    postgres
        .attach("points")
        .table("points")
        .meta("meta")
        .distance(Distance::L2)
        .plugin(Mahalanobis::default())
        .open()
        .expect("attached")
}

/// Checks that every hit has the distance of the version that the answer names.
fn assert_distances(table: &Table, items: &[Item], query: &[f32], hits: &Hits) {
    let metric = table
        .learning()
        .choose(MetricChoice::Version(hits.metric), None)
        .expect("a metric");
    for hit in hits {
        let at: usize = hit.id.parse().expect("a number");
        let vector = items[at].vector.as_deref().expect("a vector");
        let distance = metric.metric.distance(query, vector);
        assert!(
            (f64::from(hit.distance) - distance).abs() < 1e-3 * (1.0 + distance),
            "{hit:?} {distance} {}",
            hits.metric
        );
    }
}

/// Judgements, by their kind, of what Euclid answers to sixty rows.
fn by_kind(table: &Table) -> Vec<Judgement> {
    let mut judgements = Vec::new();
    for query in 0..60 {
        let query = query.to_string();
        let hits = table
            .search(Query::like(&query))
            .metric(MetricChoice::BuiltIn)
            .run()
            .expect("hits");
        let graded = hits.iter().map(|hit| {
            let is_kin = kinds::kind(&hit.id) == kinds::kind(&query);
            Judgement::graded(
                Query::like(&query),
                &hit.id,
                if is_kin { 1.0 } else { -1.0 },
            )
        });
        judgements.extend(graded);
    }
    judgements
}

#[test]
fn clients_share_the_connections_of_a_pool_in_transaction_mode_over_tls() {
    let Some(servers) = Servers::start("one", &["--pgbouncer"]) else {
        return;
    };
    let status = servers.status();
    let items = life::items();
    common::run(
        &servers.url(),
        "CREATE TABLE points (id bigint PRIMARY KEY, embedding vector(8), meta jsonb); \
         CREATE INDEX ON points USING hnsw (embedding vector_l2_ops)",
    );
    insert(&servers.url(), &items);
    let pool = &status["pgbouncer"];
    let plain = pool["url"].as_str().expect("a URL").to_owned();
    let url = match pool["tls_authority"].as_str() {
        Some(authority) => {
            let refused = format!("{plain}?sslmode=verify-full&sslrootcert=/nowhere.pem");
            let refused = Postgres::connect(&refused).expect_err("no such file");
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
            format!("{plain}?sslmode=verify-full&sslrootcert={authority}")
        }
        None => plain,
    };
    let clients = 4;
    let judged: usize = thread::scope(|scope| {
        let client = |number: usize| {
            let (url, items) = (&url, &items);
            move || {
                let table = attach(&Postgres::connect(url).expect("connected"));
                let version = table
                    .learning()
                    .import_metric(metric(number, 4.0).view(), None)
                    .expect("imported");
                for round in 0..6 {
                    table.learning().promote(version).expect("promoted");
                    let query = items[number * 10 + round].vector.clone().expect("a vector");
                    let hits = table.search(query.clone()).run().expect("hits");
                    assert_eq!(hits.len(), 10);
                    assert_distances(&table, items, &query, &hits);
                    let judgement = Judgement::similar(number.to_string(), &hits[9].id);
                    table.learning().judge(&[judgement]).expect("judged");
                    // While the others promote, search and sweep.
                    table.sweep().expect("swept");
                }
                6
            }
        };
        let threads: Vec<_> = (0..clients)
            .map(|number| scope.spawn(client(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum()
    });
    let table = attach(&Postgres::connect(&url).expect("connected"));
    assert_eq!(table.learning().judgements().expect("read").len(), judged);
    assert_eq!(table.learning().metrics().expect("read").len(), 1 + clients);
}

#[test]
fn a_table_on_shards_is_learned_from_and_searched() {
    let Some(servers) = Servers::start("shards", &[]) else {
        return;
    };
    servers.call(
        "shard-table",
        &["points", "id bigint, embedding vector(8), meta jsonb"],
    );
    let url = servers.url();
    let mut items = kinds::kinds(3_000);
    for item in &mut items {
        item.meta = json!({"kind": kinds::kind(&item.id)});
    }
    insert(&url, &items);
    let postgres = Postgres::connect(&url).expect("connected");
    let attach = |postgres: &Postgres| {
        let attach = postgres.attach("points").table("points").meta("meta");
        // The catalogue of the coordinator does not show the indexes of the shards.
        let attach = attach.distance(Distance::L2).index(Distance::Dot);
        attach.plugin(Mahalanobis::default()).open()
    };
    let table = attach(&postgres).expect("attached");
    let other = attach(&Postgres::connect(&url).expect("connected")).expect("attached");
    // Near to items, as those are that the recall is measured with.
    let near = |at: usize| {
        let vector = items[at * 131].vector.as_deref().expect("a vector");
        vector.iter().map(|x| x + 0.03).collect()
    };
    let queries: Vec<Vec<f32>> = (0..20).map(near).collect();

    // The share of the nearest rows that searches find.
    let recall = |table: &Table, passes: &dyn Fn(&Item) -> bool, filter: Option<&Filter>| {
        table.learning().refresh(None).expect("refreshed");
        let metric = table.learning().choose(MetricChoice::Active, None);
        let metric = metric.expect("a metric").metric;
        let some: Vec<Item> = items.iter().filter(|item| passes(item)).cloned().collect();
        let mut found = 0;
        for query in &queries {
            let search = table.search(query.clone());
            let search = match filter {
                Some(filter) => search.filter(filter.clone()),
                None => search,
            };
            let hits = search.run().expect("hits");
            assert_distances(table, &items, query, &hits);
            let nearest = exact(&some, 10, |x| metric.distance(query, x));
            let ids: Vec<&str> = nearest.iter().map(|(id, _)| id.as_str()).collect();
            found += hits
                .iter()
                .filter(|hit| ids.contains(&hit.id.as_str()))
                .count();
        }
        found as f64 / (10 * queries.len()) as f64
    };
    let version = table
        .learning()
        .import_metric(metric(0, 9.0).view(), None)
        .expect("imported");
    table.learning().promote(version).expect("promoted");
    let everything = recall(&other, &|_| true, None);
    assert!(everything >= 0.95, "{everything}");
    let filter = Filter::from_json(&json!({"kind": 2})).expect("a filter");
    let some = recall(&other, &|item| item.meta["kind"] == 2, Some(&filter));
    assert!(some >= 0.95, "{some}");

    // Learning from judgements: the same gate, on the shards' rows.
    table.learning().judge(&by_kind(&table)).expect("judged");
    let report = table.learning().refit().run().expect("refitted");
    assert!(report.version.is_some_and(|version| version > VersionId(1)));

    // A row that comes later is found by its own distance, and so is one whose vector is replaced.
    let mut items = items.clone();
    let mut new = items[7].clone();
    new.id = items.len().to_string();
    insert(&url, std::slice::from_ref(&new));
    items.push(new);
    let moved = queries[0].clone();
    let numbers = moved.iter().map(ToString::to_string).collect::<Vec<_>>();
    let update = format!(
        "UPDATE points SET embedding = '[{}]' WHERE id = 11",
        numbers.join(",")
    );
    common::run(&url, &update);
    items[11].vector = Some(moved.clone());
    for _ in 0..2 {
        let query = items[7].vector.clone().expect("a vector");
        let hits = other.search(query.clone()).run().expect("hits");
        assert_distances(&other, &items, &query, &hits);
        assert!(hits.iter().any(|hit| hit.id == "3000"), "{hits:?}");
        let hits = other.search(moved.clone()).run().expect("hits");
        assert_distances(&other, &items, &moved, &hits);
        assert_eq!(hits[0].id, "11");
    }

    // A shard that is gone is an error, and no answer without its rows.
    servers.call("kill", &["shard2"]);
    let gone = other.search(queries[1].clone()).run();
    let gone = gone.expect_err("a part of the table cannot be read");
    assert_eq!(gone.kind(), ErrorKind::Unavailable, "{gone}");
    servers.call("revive", &["shard2"]);
    assert_eq!(
        other.search(queries[1].clone()).run().expect("hits").len(),
        10
    );
}

/// A standby answers whoever asks for one, says how far it is behind, and takes no write.
fn assert_standby_answers(servers: &Servers, items: &[Item]) {
    let read_only = servers.status()["url_read_only"].clone();
    let read_only = Postgres::connect(read_only.as_str().expect("a URL"));
    let standby = attach(&read_only.expect("connected"));
    let query = items[3].vector.clone().expect("a vector");
    let hits = standby.search(query.clone()).run().expect("hits");
    assert_distances(&standby, items, &query, &hits);
    assert!(standby.stats().expect("stats").staleness.is_some());
    let refused = Judgement::relevant(Query::like("5"), "6");
    assert!(standby.learning().judge(&[refused]).is_err());
}

#[test]
fn a_killed_leader_and_a_switchover_cost_no_answer_and_nothing_acknowledged() {
    let Some(servers) = Servers::start("patroni", &[]) else {
        return;
    };
    let url = servers.url();
    let items = kinds::kinds(2_000);
    common::run(
        &url,
        "CREATE TABLE points (id bigint PRIMARY KEY, embedding vector(8), meta jsonb); \
         CREATE INDEX ON points USING hnsw (embedding vector_ip_ops)",
    );
    insert(&url, &items);
    let connect = || attach(&Postgres::connect(&url).expect("connected"));
    connect();
    assert_standby_answers(&servers, &items);
    assert_eq!(connect().stats().expect("stats").staleness, None);

    let (searching, judging, flipping) = (connect(), connect(), connect());
    let stop = AtomicBool::new(false);
    let searches = AtomicUsize::new(0);
    let running = || !stop.load(Ordering::Acquire);
    let (acknowledged, promoted) = thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(9);
            while running() {
                let query = random.vector(8);
                let hits = searching.search(query.clone()).run().expect("hits");
                assert_eq!(hits.len(), 10);
                assert_distances(&searching, &items, &query, &hits);
                searches.fetch_add(1, Ordering::Relaxed);
            }
        });
        let judge = scope.spawn(|| {
            let mut acknowledged: Vec<JudgementId> = Vec::new();
            while running() {
                let judgement = Judgement::relevant(Query::like("5"), "6");
                match judging.learning().judge(&[judgement]) {
                    Ok(ids) => acknowledged.extend(ids),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                }
            }
            acknowledged
        });
        let flip = scope.spawn(|| {
            let mut promoted = Vec::new();
            for round in 0.. {
                if !running() {
                    break;
                }
                let learning = flipping.learning();
                let version = learning.import_metric(metric(round % 8, 3.0).view(), None);
                match version.and_then(|version| learning.promote(version).map(|()| version)) {
                    Ok(version) => promoted.push(version),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                }
            }
            promoted
        });
        let wait = |searched: usize| {
            let (from, began) = (searches.load(Ordering::Relaxed), Instant::now());
            while searches.load(Ordering::Relaxed) < from + searched {
                assert!(began.elapsed() < Duration::from_mins(2), "no answers");
                thread::sleep(Duration::from_millis(20));
            }
        };
        let each = affinis_testkit::setting("AFFINIS_FAILOVER_SEARCHES", 100) as usize;
        wait(each);
        let killed = servers.call("kill", &["leader"]);
        wait(each);
        assert_ne!(servers.call("leader", &["--wait", "60"]), killed);
        servers.call("revive", &[&killed]);
        servers.call("switchover", &[]);
        wait(each);
        stop.store(true, Ordering::Release);
        (
            judge.join().expect("no panic"),
            flip.join().expect("no panic"),
        )
    });
    assert!(!acknowledged.is_empty() && !promoted.is_empty());
    println!(
        "{} searches, {} judgements and {} flips over a killed leader and a switchover",
        searches.into_inner(),
        acknowledged.len(),
        promoted.len()
    );
    let table = connect();
    let stored = table.learning().judgements().expect("read");
    let stored: Vec<JudgementId> = stored.into_iter().map(|j| j.id).collect();
    for id in &acknowledged {
        assert!(stored.contains(id), "judgement {id} is lost");
    }
    let versions = table.learning().metrics().expect("read");
    for version in &promoted {
        let known = versions.iter().any(|info| info.version == *version);
        assert!(known, "version {version} is lost");
    }
}
