//! Files that are damaged or lie are refused with a reason, without a panic and in bounded memory.

use std::fs::File;
use std::io::Write;
use std::process::Command;

use affinis_cli::input::{self, Expected, Layout};
use affinis_testkit::fuzz::drive;
use parquet::basic::{Compression, GzipLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::crafted::thrift::{STRUCT, list, varint};
use super::crafted::{
    DATA_PAGE, DELTA_LENGTH, DELTA_PREFIXED, DICTIONARY_PAGE, GZIP, PLAIN, PLAIN_DICTIONARY, Page,
    SNAPPY, UNCOMPRESSED, ZSTD, all_there, file, file_of, group, leaf, plain,
};
use super::write::{full_schema, parquet};
use crate::home::{Home, failed};

fn data(values: i64, encoding: i64, bytes: Vec<u8>) -> Page {
    Page {
        kind: DATA_PAGE,
        unpacked: None,
        values,
        encoding,
        bytes,
    }
}

fn dictionary(values: i64, bytes: Vec<u8>) -> Page {
    Page {
        kind: DICTIONARY_PAGE,
        unpacked: None,
        values,
        encoding: PLAIN_DICTIONARY,
        bytes,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The header of a delta encoding that claims a number of values.
fn delta(values: u64) -> Vec<u8> {
    [varint(128), varint(4), varint(values), varint(0)].concat()
}

#[test]
fn a_file_built_by_hand_is_read() {
    let home = Home::new();
    home.ok(["create", "c"]);
    let page = [all_there(2), plain("apple trees"), plain("an oil change")].concat();
    home.write(
        "c.parquet",
        file(2, UNCOMPRESSED, &[data(2, PLAIN, page.clone())]),
    );
    assert_eq!(home.json(["add", "c", "c.parquet"])["added"], 2);
    let packed = Page {
        unpacked: Some(page.len() as i64),
        ..data(2, PLAIN, gzip(&page))
    };
    home.write("c.parquet", file(2, GZIP, &[packed]));
    assert_eq!(
        home.json(["add", "c", "c.parquet", "--id-prefix", "x"])["added"],
        2
    );
    // One text of a dictionary in both rows: a run of two of its first entry.
    let indices = [all_there(2), vec![1], varint(2 << 1), vec![0]].concat();
    let pages = [
        dictionary(1, plain("apple trees")),
        data(2, PLAIN_DICTIONARY, indices),
    ];
    home.write("c.parquet", file(2, UNCOMPRESSED, &pages));
    assert_eq!(
        home.json(["add", "c", "c.parquet", "--id-prefix", "y"])["added"],
        2
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn claims_are_refused_before_memory_is_taken_for_them() {
    let text = || [all_there(1), plain("apple trees")].concat();
    let sized = |unpacked, codec, bytes| {
        file(
            1,
            codec,
            &[Page {
                unpacked: Some(unpacked),
                ..data(1, PLAIN, bytes)
            }],
        )
    };
    let two_gib = i64::from(i32::MAX);
    let columns_of = |depth: usize| {
        let mut schema = vec![group("m", 1); depth];
        schema.push(leaf());
        file_of(&list(STRUCT, &schema), 1, UNCOMPRESSED, &[])
    };
    let children = list(STRUCT, &[group("m", two_gib), leaf()]);
    let many = |count: i64| {
        data(
            count,
            PLAIN_DICTIONARY,
            [
                all_there(count as u64),
                vec![1],
                varint((count as u64) << 1),
                vec![0],
            ]
            .concat(),
        )
    };
    let long = "x".repeat(1 << 18);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "a page of 2 GiB",
            sized(two_gib, SNAPPY, text()),
            "a page has 2147483647 bytes",
        ),
        (
            "a page of less than nothing",
            sized(-5, SNAPPY, text()),
            "below zero",
        ),
        (
            "a page that is cut off",
            file(1, UNCOMPRESSED, &[data(1, PLAIN, text()[..9].to_vec())]),
            "column \"text\" is damaged",
        ),
        (
            "a gzip bomb",
            sized(100, GZIP, gzip(&vec![0; 1 << 28])),
            "unpacks to another size",
        ),
        (
            "a zstd page that is none",
            sized(100, ZSTD, text()),
            "column \"text\" is damaged",
        ),
        (
            "a dictionary of 2^31 texts",
            file(1, UNCOMPRESSED, &[dictionary(two_gib, plain("a")), many(1)]),
            "claims to hold 2147483647 values",
        ),
        (
            "2^31 values in a page",
            file(
                two_gib,
                UNCOMPRESSED,
                &[dictionary(1, plain("a")), many(two_gib)],
            ),
            "claims to hold 2147483647 values",
        ),
        (
            "2^40 lengths of texts",
            file(
                1,
                UNCOMPRESSED,
                &[data(
                    1,
                    DELTA_LENGTH,
                    [all_there(1), delta(1 << 40)].concat(),
                )],
            ),
            "texts of a page are damaged",
        ),
        (
            "2^40 prefixes of texts",
            file(
                1,
                UNCOMPRESSED,
                &[data(
                    1,
                    DELTA_PREFIXED,
                    [all_there(1), delta(1 << 40)].concat(),
                )],
            ),
            "texts of a page are damaged",
        ),
        (
            "2^40 suffixes of texts",
            file(
                1,
                UNCOMPRESSED,
                &[data(
                    1,
                    DELTA_PREFIXED,
                    [all_there(1), delta(1), delta(1 << 40)].concat(),
                )],
            ),
            "texts of a page are damaged",
        ),
        (
            "an encoding that nobody knows",
            file(1, UNCOMPRESSED, &[data(1, 10, text())]),
            "not supported",
        ),
        (
            "a schema of a million groups",
            columns_of(1_000_000),
            "nested more than 64 deep",
        ),
        (
            "2^31 children of a group",
            file_of(&children, 1, UNCOMPRESSED, &[]),
            "do not fit together",
        ),
        (
            "more rows than there are",
            file(1 << 40, UNCOMPRESSED, &[data(1, PLAIN, text())]),
            "fewer rows than its row group claims",
        ),
        (
            "less than no rows",
            file(-1, UNCOMPRESSED, &[data(1, PLAIN, text())]),
            "fewer than no rows",
        ),
        (
            "a long text in a million rows",
            file(
                1_000_000,
                UNCOMPRESSED,
                &[dictionary(1, plain(&long)), many(1_000_000)],
            ),
            "more than 200 times the size of the file",
        ),
        (
            "a statistic of 2^60 bytes",
            {
                let mut pages = data(1, PLAIN, text()).to_bytes();
                // Field 5 of the header of the page is its statistics, whose field 1 is bytes.
                let end = pages.len() - text().len() - 2;
                pages.splice(end..end, [&[0x1c, 0x18][..], &varint(1 << 60)].concat());
                file_of(
                    &list(STRUCT, &[group("m", 1), leaf()]),
                    1,
                    UNCOMPRESSED,
                    &pages,
                )
            },
            "the header of a page is damaged",
        ),
    ];
    let home = Home::new();
    home.ok(["create", "c"]);
    for (name, file, words) in cases {
        println!("{name}");
        home.write("c.parquet", file);
        // What the program needs at all, and half a gigabyte.
        let ran = limited(&home, 1_500_000, &["add", "c", "c.parquet"]);
        failed(&ran, 1, &["c.parquet", words]);
        assert!(!ran.stderr.contains("ParquetError"), "{ran:?}");
    }
}

/// Runs the binary with a limit of its address space, in KiB.
fn limited(home: &Home, kilobytes: u64, args: &[&str]) -> crate::home::Ran {
    let limited = format!("ulimit -v {kilobytes} && exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_affinis")])
        .args(args)
        .current_dir(home.path("."))
        .output()
        .unwrap();
    crate::home::Ran {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Reads a file as items; whatever it holds, the outcome is items or an error with a reason.
fn read(bytes: &[u8]) {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let expected = Expected {
        dim: 2,
        texts: true,
        distance: affinis::Distance::L2,
        skip_bad: bytes.len() % 2 == 1,
    };
    let layout = Layout {
        columns: input::Columns {
            id: Some("key".to_owned()),
            vector: vec!["x".to_owned(), "y".to_owned()],
            ..input::Columns::default()
        },
        ..Layout::default()
    };
    for layout in [layout, Layout::default()] {
        let file = file.try_clone().unwrap();
        if let Err(error) = input::parquet(file, "f", expected, &layout) {
            assert!(error.file == "f" && !error.reason.is_empty(), "{error}");
            assert!(!error.reason.contains("panicked"), "{error}");
        }
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !affinis::panics::are_caught() {
            report(panic);
        }
    }));
    let (schema, leaves) = full_schema();
    let builder = WriterProperties::builder;
    let properties = [
        builder(),
        builder()
            .set_dictionary_enabled(false)
            .set_compression(Compression::SNAPPY),
        builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_compression(Compression::GZIP(GzipLevel::default())),
    ];
    let mut corpus: Vec<Vec<u8>> = properties
        .into_iter()
        .map(|properties| parquet(&schema, &leaves, properties.build()))
        .collect();
    corpus.push(file(
        1,
        UNCOMPRESSED,
        &[data(1, PLAIN, [all_there(1), plain("a")].concat())],
    ));
    corpus.push(file(
        1,
        UNCOMPRESSED,
        &[data(
            1,
            DELTA_PREFIXED,
            [all_there(1), delta(1), delta(1)].concat(),
        )],
    ));
    for whole in &corpus {
        for end in (0..whole.len()).step_by(7) {
            read(&whole[..end]);
        }
    }
    drive("parquet", read, &corpus);
}

#[test]
fn the_rows_before_damage_are_not_stored() {
    let home = Home::new();
    home.ok(["create", "c"]);
    let page = [all_there(2), plain("apple trees"), vec![0xff; 4]].concat();
    home.write("c.parquet", file(2, UNCOMPRESSED, &[data(2, PLAIN, page)]));
    for more in [&[][..], &["--skip-bad"]] {
        let args = ["add", "c", "c.parquet"]
            .into_iter()
            .chain(more.iter().copied());
        home.fails(args, 1, &["c.parquet, row 0: column \"text\" is damaged"]);
    }
    assert_eq!(home.items(), 0);
}
