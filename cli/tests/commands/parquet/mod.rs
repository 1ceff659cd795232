//! `add` of Parquet files: columns and their types, where a file comes from, and files that are
//! damaged or lie.

mod crafted;
mod hostile;
mod write;

use std::io::Write as _;

use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use serde_json::{Value, json};

use self::write::{Data, bytes, flat, full_schema, parquet, texts};
use crate::home::{Home, lines};

/// The same five notes as JSON and as Parquet.
fn notes() -> (Vec<Value>, Vec<u8>) {
    let texts_of = [
        "how to prune apple trees in spring",
        "sharpening a kitchen knife on a stone",
        "watering a vegetable garden",
        "changing the oil of a car",
        "feeding a sourdough starter",
    ];
    let items: Vec<Value> = (0_i32..5)
        .map(|i| {
            let mut meta = json!({
                "year": 2015 + i, "price": f64::from(i) + 0.1, "ok": i % 2 == 0,
                "at": format!("2026-03-0{}T09:30:00.25Z", i + 1), "tags": ["x", format!("t{i}")],
                "from": {"site": format!("s{i}"), "page": i}
            });
            if i == 3 {
                meta.as_object_mut().unwrap().shift_remove("price");
            }
            json!({"id": format!("n{i}"), "text": texts_of[i as usize], "meta": meta})
        })
        .collect();
    let schema = "message notes {
        required binary id (UTF8);
        required binary text (UTF8);
        required int32 year;
        optional double price;
        required boolean ok;
        required int64 at (TIMESTAMP(MICROS, true));
        required group tags (LIST) { repeated group list { required binary element (UTF8); } }
        required group from { required binary site (UTF8); required int32 page; }
    }";
    let first = 1_772_357_400_250_000_i64; // 2026-03-01T09:30:00.25Z
    let columns = vec![
        texts((0..5).map(|i| format!("n{i}"))),
        texts(texts_of),
        flat(Data::I32((0..5).map(|i| 2015 + i).collect())),
        Data::F64([0.1, 1.1, 2.1, 4.1].into()).with([1, 1, 1, 0, 1], []),
        flat(Data::Bool((0..5).map(|i| i % 2 == 0).collect())),
        flat(Data::I64(
            (0..5).map(|i| first + i * 86_400_000_000).collect(),
        )),
        bytes((0..5).flat_map(|i| ["x".to_owned(), format!("t{i}")]))
            .with([1; 10], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]),
        texts((0..5).map(|i| format!("s{i}"))),
        flat(Data::I32((0..5).collect())),
    ];
    (
        items,
        parquet(schema, &columns, WriterProperties::default()),
    )
}

#[test]
fn a_file_answers_as_the_same_items_in_json_do() {
    let home = Home::new();
    let (items, file) = notes();
    home.write("notes.jsonl", lines(&items));
    home.write("notes.parquet", &file);
    for (name, file) in [("json", "notes.jsonl"), ("parquet", "notes.parquet")] {
        home.ok(["create", name]);
        assert_eq!(home.json(["add", name, file])["added"], 5);
    }
    let listed = |name| home.ok(["list", name, "--json"]).stdout;
    assert_eq!(listed("parquet"), listed("json"));
    for filter in [
        "{}",
        r#"{"year": {"$gte": 2017}}"#,
        r#"{"price": 1.1}"#,
        r#"{"price": {"$exists": false}}"#,
        r#"{"at": {"$lt": "2026-03-03T00:00:00+01:00"}}"#,
        r#"{"tags": "t4"}"#,
        r#"{"from.page": 2}"#,
    ] {
        let found = |name| {
            home.ok(["search", name, "fruit trees", "--filter", filter, "--json"])
                .stdout
        };
        assert_eq!(found("parquet"), found("json"), "{filter}");
        assert_ne!(
            home.json(["search", "parquet", "fruit trees", "--filter", filter])["hits"],
            json!([]),
            "{filter}"
        );
    }
}

#[test]
fn every_compression_encoding_and_version_of_pages_is_read() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "3"]);
    let rows = 3000;
    let schema = "message m { required binary id (UTF8); required group vector (LIST) { repeated group list { required float element; } } required binary kind (UTF8); }";
    let columns = [
        texts((0..rows).map(|i| format!("item {i:05}"))),
        Data::F32((0..rows * 3).map(|i| i as f32 / 7.0).collect()).with(
            vec![1; rows * 3],
            (0..rows * 3)
                .map(|i| i16::from(i % 3 > 0))
                .collect::<Vec<_>>(),
        ),
        texts((0..rows).map(|i| format!("kind {}", i % 4))),
    ];
    let builder = || {
        WriterProperties::builder()
            .set_max_row_group_row_count(Some(700))
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(64)
    };
    let mut before: Option<String> = None;
    for (name, properties) in [
        ("plain", builder().set_dictionary_enabled(false)),
        ("snappy", builder().set_compression(Compression::SNAPPY)),
        (
            "gzip",
            builder().set_compression(Compression::GZIP(GzipLevel::default())),
        ),
        (
            "zstd",
            builder().set_compression(Compression::ZSTD(ZstdLevel::default())),
        ),
        ("lz4", builder().set_compression(Compression::LZ4_RAW)),
        ("hadoop's lz4", builder().set_compression(Compression::LZ4)),
        (
            "second version",
            builder().set_writer_version(WriterVersion::PARQUET_2_0),
        ),
        (
            "second version, packed",
            builder()
                .set_writer_version(WriterVersion::PARQUET_2_0)
                .set_compression(Compression::GZIP(GzipLevel::default())),
        ),
        (
            "delta",
            builder()
                .set_dictionary_enabled(false)
                .set_column_encoding("id".into(), Encoding::DELTA_BYTE_ARRAY)
                .set_column_encoding("kind".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY),
        ),
        (
            "split",
            builder()
                .set_dictionary_enabled(false)
                .set_column_encoding("vector.list.element".into(), Encoding::BYTE_STREAM_SPLIT),
        ),
        (
            "delta, second version",
            builder()
                .set_dictionary_enabled(false)
                .set_writer_version(WriterVersion::PARQUET_2_0)
                .set_column_encoding("id".into(), Encoding::DELTA_BYTE_ARRAY),
        ),
    ] {
        home.write("c.parquet", parquet(schema, &columns, properties.build()));
        let added = home.json(["add", "c", "c.parquet"]);
        assert_eq!(
            added["added"].as_u64().unwrap() + added["replaced"].as_u64().unwrap(),
            rows as u64,
            "{name}"
        );
        let listed = home
            .ok([
                "get",
                "c",
                "item 00000",
                "item 01234",
                "item 02999",
                "--json",
            ])
            .stdout;
        assert!(listed.contains("\"kind\":\"kind 2\""), "{listed}");
        assert_eq!(
            *before.get_or_insert_with(|| listed.clone()),
            listed,
            "{name}"
        );
    }
}

#[test]
fn types_become_what_json_and_filters_understand() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2"]);
    let (schema, columns) = full_schema();
    home.write(
        "all.parquet",
        parquet(&schema, &columns, WriterProperties::default()),
    );
    home.ok([
        "add",
        "c",
        "all.parquet",
        "--id-column",
        "key",
        "--vector-columns",
        "x,y",
    ]);
    let first = home.json(["get", "c", "18446744073709551615"]);
    assert_eq!(first["vector"], json!([0.5, -2.0]));
    assert_eq!(
        first["meta"],
        json!({
            "i8": -5, "u32": 4_000_000_000_u32, "f16": 1.5, "f32": 0.1, "day": "2024-02-29",
            "millis": "2024-02-29T12:34:56.789Z", "nanos": "1969-12-31T23:59:59.999999999Z",
            "old": "2000-01-01T12:00:00Z", "clock": "23:59:59.5", "price": "-0.05", "large": "12345678901234567.890",
            "uuid": "00112233-4455-6677-8899-aabbccddeeff",
            "lists": [[1, 2], [], [3]], "map": {"a": 1}, "people": [{"name": "ann", "age": 7}, {"name": "bob"}]
        })
    );
    // All that can be null is.
    let second = home.json(["get", "c", "7"]);
    assert_eq!(second["vector"], json!([1.0, 1.0]));
    assert_eq!(
        second["meta"],
        json!({"i8": 1, "u32": 2, "lists": [], "map": {}, "people": []})
    );
}

#[test]
fn vectors_come_from_lists_of_every_form_and_from_columns() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2"]);
    let ids = || texts(["a", "b"]);
    let pairs = |data: Data| data.with([1; 4], [0, 1, 0, 1]);
    let lists = |element: &str| {
        format!(
            "message m {{ required binary id (UTF8); required group v (LIST) {{ repeated group list {{ required {element}; }} }} }}"
        )
    };
    let halves = [0.5_f32, -2.0, 1.0, 4.0].map(|x| half::f16::from_f32(x).to_le_bytes().to_vec());
    for (schema, columns) in [
        (lists("float element"), vec![ids(), pairs(Data::F32(vec![0.5, -2.0, 1.0, 4.0]))]),
        (lists("double element"), vec![ids(), pairs(Data::F64(vec![0.5, -2.0, 1.0, 4.0]))]),
        (lists("fixed_len_byte_array(2) element (FLOAT16)"), vec![ids(), pairs(Data::Fixed(halves.into()))]),
        ("message m { required binary id (UTF8); required group v (LIST) { repeated float array; } }".to_owned(), vec![ids(), pairs(Data::F32(vec![0.5, -2.0, 1.0, 4.0]))]),
        ("message m { required binary id (UTF8); repeated float v; }".to_owned(), vec![ids(), pairs(Data::F32(vec![0.5, -2.0, 1.0, 4.0]))]),
    ] {
        home.write("v.parquet", parquet(&schema, &columns, WriterProperties::default()));
        home.ok(["add", "c", "v.parquet", "--vector-columns", "v"]);
        assert_eq!(home.json(["get", "c", "a"])["vector"], json!([0.5, -2.0]), "{schema}");
        assert_eq!(home.json(["get", "c", "b"])["vector"], json!([1.0, 4.0]), "{schema}");
        home.ok(["delete", "c", "a", "b"]);
    }
    // Without text and vector, as many columns of numbers as the dimension are the vector.
    let schema = "message m { required int64 id; required float x; required int32 y; required binary label (UTF8); }";
    let columns = [
        flat(Data::I64(vec![1, 2])),
        flat(Data::F32(vec![0.5, 1.0])),
        flat(Data::I32(vec![-2, 4])),
        texts(["p", "q"]),
    ];
    home.write(
        "v.parquet",
        parquet(schema, &columns, WriterProperties::default()),
    );
    home.ok(["add", "c", "v.parquet"]);
    let item = home.json(["get", "c", "1"]);
    assert_eq!(
        (&item["vector"], &item["meta"]),
        (&json!([0.5, -2.0]), &json!({"label": "p"}))
    );
    home.ok(["create", "three", "--dim", "3"]);
    home.fails(
        ["add", "three", "v.parquet"],
        1,
        &[
            "v.parquet: no column gives a text or a vector",
            "\"x\", \"y\", are 2",
            "--vector-columns",
            "\"label\"",
        ],
    );
}

#[test]
fn columns_are_chosen_by_options() {
    let home = Home::new();
    home.ok(["create", "notes"]);
    let schema = "message m { required int32 key; optional binary title (UTF8); optional binary body (UTF8); required int32 year; required binary raw; }";
    let columns = [
        flat(Data::I32(vec![3, 4])),
        bytes(["apple trees"]).with([1, 0], []),
        bytes(["how to prune them", "oil of a car"]).with([1, 1], []),
        flat(Data::I32(vec![2019, 2020])),
        bytes(["\u{1}", "\u{2}"]).with([], []),
    ];
    home.write(
        "m.parquet",
        parquet(schema, &columns, WriterProperties::default()),
    );
    let chosen = [
        "add",
        "notes",
        "m.parquet",
        "--id-column",
        "key",
        "--text-column",
        "title,body",
    ];
    home.fails(
        chosen,
        1,
        &[
            "m.parquet: column \"raw\" holds bytes that are not said to be text",
            "--meta-column",
        ],
    );
    home.ok(chosen.into_iter().chain(["--meta-column", "year"]));
    let item = home.json(["get", "notes", "3"]);
    assert_eq!(
        (&item["text"], &item["meta"]),
        (
            &json!("apple trees how to prune them"),
            &json!({"year": 2019})
        )
    );
    assert_eq!(home.json(["get", "notes", "4"])["text"], "oil of a car");
    for (option, name) in [
        ("--id-column", "kee"),
        ("--text-column", "titel"),
        ("--vector-columns", "v"),
        ("--meta-column", "yaer"),
    ] {
        home.fails(
            ["add", "notes", "m.parquet", option, name],
            1,
            &[&format!("no column {name:?}"), "\"title\""],
        );
    }
    for (option, words) in [
        ("--ids", "npy"),
        ("--delimiter", "csv"),
        ("--strict", "JSON"),
    ] {
        let value = if option == "--strict" {
            None
        } else {
            Some(",")
        };
        home.fails(
            ["add", "notes", "m.parquet", option]
                .into_iter()
                .chain(value),
            2,
            &[words],
        );
    }
}

#[test]
fn a_value_that_cannot_be_used_is_named_by_row_and_column() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "1"]);
    let schema = "message m { required binary id (UTF8); required double vector; required double price; required int64 at (TIMESTAMP(MILLIS, true)); }";
    let nan = f64::NAN;
    let columns = [
        texts(["a", "b", "c", "d"]),
        flat(Data::F64(vec![1.0, nan, 3.0, 4.0])),
        flat(Data::F64(vec![1.0, 1.0, nan, 1.0])),
        flat(Data::I64(vec![0, 0, 0, i64::MAX])),
    ];
    home.write(
        "m.parquet",
        parquet(schema, &columns, WriterProperties::default()),
    );
    home.fails(
        ["add", "c", "m.parquet", "--vector-columns", "vector"],
        1,
        &["m.parquet, row 1: column \"vector\" holds NaN", "null"],
    );
    let added = home.json([
        "add",
        "c",
        "m.parquet",
        "--vector-columns",
        "vector",
        "--skip-bad",
    ]);
    assert_eq!(added["added"], 1);
    let skipped: Vec<String> = added["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    for (skipped, words) in
        skipped
            .iter()
            .zip([["row 1", "vector"], ["row 2", "price"], ["row 3", "at"]])
    {
        assert!(words.iter().all(|word| skipped.contains(word)), "{skipped}");
    }
    // What other formats refuse too.
    let schema = "message m { required binary id (UTF8); required group vector (LIST) { repeated group list { optional float element; } } }";
    let columns = [
        texts(["a", "a", "b"]),
        Data::F32(vec![1.0, 2.0]).with([2, 2, 1], [0, 0, 0]),
    ];
    home.write(
        "m.parquet",
        parquet(schema, &columns, WriterProperties::default()),
    );
    home.fails(
        ["add", "c", "m.parquet"],
        1,
        &["m.parquet, row 1: the id \"a\" occurs already in row 0"],
    );
    let columns = [texts(["a", "b"]), Data::F32(vec![1.0]).with([2, 1], [0, 0])];
    home.write(
        "m.parquet",
        parquet(schema, &columns, WriterProperties::default()),
    );
    home.fails(
        ["add", "c", "m.parquet"],
        1,
        &["row 1", "null among its numbers"],
    );
}

#[test]
fn a_file_may_come_from_a_pipe_or_be_packed_or_have_any_name() {
    let (_, file) = notes();
    let packed = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&file).unwrap();
        encoder.finish().unwrap()
    };
    let home = Home::new();
    home.ok(["create", "notes"]);
    home.write("notes.dat", &file);
    home.write("notes.csv", &file);
    home.write("notes.parquet.gz", &packed);
    home.ok(["add", "notes", "notes.dat"]);
    let listed = home.ok(["list", "notes", "--json"]).stdout;
    assert_eq!(listed.lines().count(), 5);
    for (args, input) in [
        (vec!["add", "notes", "-"], &file),
        (vec!["add", "notes", "-", "--format", "parquet"], &file),
        (vec!["add", "notes", "-", "--format", "parquet"], &packed),
        (vec!["add", "notes", "notes.csv"], &Vec::new()),
        (vec!["add", "notes", "notes.parquet.gz"], &Vec::new()),
    ] {
        home.ok(["drop", "notes", "--yes"]);
        home.ok(["create", "notes"]);
        let ran = home.run_with(args.iter().copied(), input);
        assert_eq!(ran.status, Some(0), "{args:?} {ran:?}");
        assert_eq!(
            home.ok(["list", "notes", "--json"]).stdout,
            listed,
            "{args:?}"
        );
    }
    home.fails(
        ["add", "notes", "notes.dat", "--format", "csv"],
        1,
        &["notes.dat: is Parquet, not csv"],
    );
    home.write("text.parquet", "no parquet at all");
    home.fails(
        ["add", "notes", "text.parquet"],
        1,
        &["text.parquet: is not Parquet"],
    );
    home.write("empty.parquet", "");
    home.fails(
        ["add", "notes", "empty.parquet"],
        1,
        &["empty.parquet: the input is empty"],
    );
}
