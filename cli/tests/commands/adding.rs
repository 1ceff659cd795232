//! `add`: ids that the input does not give, modes, columns, and the formats of files.

use std::io::Write;

use serde_json::{Value, json};

use crate::home::{Home, keys, npy};

const JAN: &str = "x,y,label\n1,1,jan\n2,2,jan\n";
const FEB: &str = "x,y,label\n9,9,feb\n8,8,feb\n7,7,feb\n";

fn plane() -> Home {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2"]);
    home
}

fn notes() -> Home {
    let home = Home::new();
    home.ok(["create", "notes"]);
    home
}

#[test]
fn ids_that_no_input_gives_never_replace_an_item() {
    let ways = ["--ids", "--id-column", "--id-prefix"];
    let home = plane();
    home.write("jan.csv", JAN);
    home.write("feb.csv", FEB);
    home.write("feb.tsv", FEB.replace(',', "\t"));
    home.write("feb.npy", npy(&[&[9.0, 9.0], &[8.0, 8.0], &[7.0, 7.0]]));
    home.write("feb.jsonl", "{\"vector\": [9, 9]}\n{\"vector\": [8, 8]}\n");
    home.write("feb.json", "[{\"vector\": [9, 9]}, {\"vector\": [8, 8]}]");
    home.ok(["add", "c", "jan.csv"]);
    let before = home.ok(["list", "c", "--json"]).stdout;
    for file in ["feb.csv", "feb.tsv", "feb.npy", "feb.jsonl", "feb.json"] {
        for mode in ["upsert", "insert"] {
            home.fails(["add", "c", file, "--mode", mode], 1, &ways);
        }
        // Leaving out what is bad does not leave out what would be replaced.
        home.fails(["add", "c", file, "--skip-bad"], 1, &ways);
        assert_eq!(home.ok(["list", "c", "--json"]).stdout, before, "{file}");
    }
    // One number in use is enough, and those that are free are not given either.
    home.ok(["delete", "c", "0"]);
    home.fails(["add", "c", "feb.csv"], 1, &["(1)", "feb.csv"]);
    home.fails(
        ["add", "c", "feb.csv", "--mode", "update"],
        1,
        &["gives no id"],
    );

    let added = home.json(["add", "c", "feb.csv", "--id-prefix", "feb-"]);
    assert_eq!(
        (&added["added"], &added["replaced"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(
        home.json(["get", "c", "feb-0"])["vector"],
        json!([9.0, 9.0])
    );
    home.fails(["add", "c", "feb.csv", "--id-prefix", "feb-"], 1, &ways);
    // Ids that the input gives replace as ever.
    home.write("ids.txt", "feb-0\nfeb-1\nnew\n");
    let added = home.json(["add", "c", "feb.npy", "--ids", "ids.txt"]);
    assert_eq!(
        (&added["added"], &added["replaced"]),
        (&json!(1), &json!(2))
    );
}

#[test]
fn a_mode_says_what_an_id_that_exists_means() {
    let home = Home::with_points();
    home.write(
        "more.jsonl",
        "{\"id\": \"new\", \"vector\": [8, 8]}\n{\"id\": \"a\", \"vector\": [9, 9]}\n",
    );
    home.fails(
        ["add", "c", "more.jsonl", "--mode", "insert"],
        1,
        &["more.jsonl, line 2", "\"a\" exists already"],
    );
    assert_eq!(home.items(), 4);
    home.fails(
        ["add", "c", "more.jsonl", "--mode", "update"],
        1,
        &["more.jsonl, line 1", "no item \"new\" to update"],
    );
    let kept = home.json(["add", "c", "more.jsonl", "--mode", "insert", "--skip-bad"]);
    assert_eq!(
        (
            &kept["added"],
            &kept["replaced"],
            &kept["skipped"][0]["place"]
        ),
        (&json!(1), &json!(0), &json!("line 2"))
    );
    assert_eq!(home.json(["get", "c", "a"])["vector"], json!([0.0, 0.0]));
    let upserted = home.json(["add", "c", "more.jsonl", "--mode", "upsert"]);
    assert_eq!(
        (&upserted["added"], &upserted["replaced"]),
        (&json!(0), &json!(2))
    );
}

#[test]
fn an_update_changes_what_is_given_and_keeps_the_rest() {
    let home = notes();
    home.write(
        "notes.jsonl",
        "{\"id\": \"a\", \"text\": \"how to prune apple trees\", \"meta\": {\"year\": 2019, \"lang\": \"en\"}}\n\
         {\"id\": \"b\", \"text\": \"sharpening a knife\", \"meta\": {\"year\": 2020}}\n",
    );
    home.ok(["add", "notes", "notes.jsonl"]);
    let before = home.json(["get", "notes", "a"]);
    let other = home.json(["get", "notes", "b"]);

    // Metadata: of one key, from a file of every format.
    home.write("years.csv", "id,year\na,2021\n");
    let updated = home.json(["add", "notes", "years.csv", "--mode", "update"]);
    assert_eq!(
        (&updated["added"], &updated["replaced"], &updated["updated"]),
        (&json!(0), &json!(0), &json!(1))
    );
    let mut after = home.json(["get", "notes", "a"]);
    assert_eq!(after["meta"], json!({"year": 2021, "lang": "en"}));
    after["meta"] = before["meta"].clone();
    assert_eq!(after, before);
    home.write(
        "gone.jsonl",
        "{\"id\": \"a\", \"lang\": null, \"tags\": [\"x\"]}\n",
    );
    home.ok(["add", "notes", "gone.jsonl", "--mode", "update"]);
    assert_eq!(
        home.json(["get", "notes", "a"])["meta"],
        json!({"year": 2021, "tags": ["x"]})
    );
    assert_eq!(
        home.json(["count", "notes", "--filter", "{\"year\": 2021}"]),
        json!({"count": 1})
    );

    // A text gets its own vector, and the item is found by it.
    home.write("text.tsv", "id\ttext\na\twatering tomatoes in a garden\n");
    home.ok(["add", "notes", "text.tsv", "--mode", "update"]);
    let after = home.json(["get", "notes", "a"]);
    assert_eq!(after["meta"], json!({"year": 2021, "tags": ["x"]}));
    assert_ne!(after["vector"], before["vector"]);
    let hit = &home.json([
        "search",
        "notes",
        "watering tomatoes in a garden",
        "-k",
        "1",
    ])["hits"][0];
    assert_eq!(hit["id"], "a");
    assert!(hit["distance"].as_f64().unwrap() < 1e-4, "{hit}");

    // What was not named is as it was; an update of nothing is refused.
    assert_eq!(home.json(["get", "notes", "b"]), other);
    home.write("none.jsonl", "{\"id\": \"a\"}\n");
    home.fails(
        ["add", "notes", "none.jsonl", "--mode", "update"],
        1,
        &["line 1", "gives nothing to change"],
    );
    home.ok(["verify"]);
}

#[test]
fn an_update_without_an_encoder_changes_text_or_vector_alone() {
    let home = Home::with_points();
    home.write("text.jsonl", "{\"id\": \"b\", \"text\": \"renamed\"}\n");
    home.ok(["add", "c", "text.jsonl", "--mode", "update"]);
    let b = home.json(["get", "c", "b"]);
    assert_eq!(
        (&b["text"], &b["vector"]),
        (&json!("renamed"), &json!([1.0, 0.0]))
    );
    home.write("moved.npy", npy(&[&[5.0, 5.0]]));
    home.write("ids.txt", "b\n");
    home.ok([
        "add",
        "c",
        "moved.npy",
        "--ids",
        "ids.txt",
        "--mode",
        "update",
    ]);
    let b = home.json(["get", "c", "b"]);
    assert_eq!(
        b,
        json!({"id": "b", "text": "renamed", "vector": [5.0, 5.0], "meta": {"year": 2020, "tags": ["x", "y"]}})
    );
    assert_eq!(
        home.json(["search", "c", "--like", "d", "-k", "1"])["hits"][0]["id"],
        "b"
    );
}

#[test]
fn a_header_that_names_id_and_text_needs_no_options() {
    let home = notes();
    home.write(
        "docs.csv",
        "id,title,text,year\n17,Apples,how to prune apple trees,2020\n18,Pears,\"pears, ripe\",2021\n",
    );
    home.ok(["add", "notes", "docs.csv"]);
    let item = home.json(["get", "notes", "18"]);
    assert_eq!(
        (&item["text"], &item["meta"]),
        (
            &json!("pears, ripe"),
            &json!({"title": "Pears", "year": 2021})
        )
    );
    assert_eq!(
        home.json(["count", "notes", "--filter", "{\"year\": {\"$gte\": 2021}}"])["count"],
        1
    );
    // The same as tab-separated values, which have no quotes.
    home.write("docs.tsv", "id\ttitle\ttext\n19\t\"Plums\"\tplum jam\n");
    home.ok(["add", "notes", "docs.tsv"]);
    let item = home.json(["get", "notes", "19"]);
    assert_eq!(
        (&item["text"], &item["meta"]),
        (&json!("plum jam"), &json!({"title": "\"Plums\""}))
    );
    // A label and a text need no header, and are none.
    home.write(
        "label.tsv",
        "text\tthe first line, which is no header\nfruit\tplums\n",
    );
    home.ok(["add", "notes", "label.tsv"]);
    assert_eq!(
        home.json(["get", "notes", "0"])["meta"],
        json!({"label": "text"})
    );
}

#[test]
fn columns_are_named_by_options() {
    let home = notes();
    home.write(
        "docs.csv",
        "key;title;body;price;sold;code;when;note\n\
         a;Apples;how to prune them;1.5;true;007;2026-03-01T09:30:00+01:00;\n\
         b;Pears;ripe in autumn;2;false;12;2026-03-02T00:00:00Z;x\n",
    );
    home.fails(["add", "notes", "docs.csv"], 1, &["--delimiter ';'"]);
    let options = [
        "--delimiter",
        ";",
        "--id-column",
        "key",
        "--text-column",
        "title,body",
    ];
    home.ok([&["add", "notes", "docs.csv"], &options[..]].concat());
    let a = home.json(["get", "notes", "a"]);
    assert_eq!(a["text"], "Apples how to prune them");
    assert_eq!(
        a["meta"],
        json!({"price": 1.5, "sold": true, "code": "007", "when": "2026-03-01T09:30:00+01:00"})
    );
    let b = home.json(["get", "notes", "b"]);
    assert_eq!(keys(&b["meta"]), ["price", "sold", "code", "when", "note"]);
    home.ok([
        &["add", "notes", "docs.csv", "--meta-column", "price,key"],
        &options[..],
    ]
    .concat());
    assert_eq!(
        home.json(["get", "notes", "b"])["meta"],
        json!({"price": 2, "key": "b"})
    );
    home.fails(
        [
            "add",
            "notes",
            "docs.csv",
            "--delimiter",
            ";",
            "--text-column",
            "titel",
        ],
        1,
        &["no column \"titel\"", "\"title\""],
    );
    home.fails(
        [
            "add",
            "notes",
            "docs.csv",
            "--delimiter",
            ";",
            "--id-column",
            "key",
        ],
        1,
        &[
            "no column gives a text or a vector",
            "--text-column",
            "\"body\"",
        ],
    );
    home.fails(
        ["add", "notes", "docs.csv", "--delimiter", "::"],
        2,
        &["one character"],
    );
}

#[test]
fn an_id_column_is_no_number_of_the_vector() {
    let home = plane();
    home.write(
        "idsn.csv",
        "name,x,y,label\nann,0.5,0.25,a\nbob,0.75,0.5,b\n",
    );
    let bob = json!({"id": "bob", "text": null, "vector": [0.75, 0.5], "meta": {"label": "b"}});
    home.ok(["add", "c", "idsn.csv", "--id-column", "name"]);
    assert_eq!(home.json(["get", "c", "bob"]), bob);
    home.ok([
        "add",
        "c",
        "idsn.csv",
        "--id-column",
        "name",
        "--vector-columns",
        "x,y",
    ]);
    assert_eq!(home.json(["get", "c", "bob"]), bob);
    home.write("numbers.csv", "id,x,y\n7,0.5,0.25\n8,0.75,0.5\n");
    home.ok(["add", "c", "numbers.csv"]);
    assert_eq!(home.json(["get", "c", "8"])["vector"], json!([0.75, 0.5]));
    home.write("three.csv", "id,x,y,z\n9,0.5,0.25,1\n");
    home.fails(
        ["add", "c", "three.csv"],
        1,
        &["--vector-columns", "\"z\"", "dimension is 2"],
    );
    home.write("array.csv", "id,vector\n9,\"[0.5, 1]\"\n");
    home.ok(["add", "c", "array.csv"]);
    assert_eq!(home.json(["get", "c", "9"])["vector"], json!([0.5, 1.0]));
}

#[test]
fn json_is_read_as_lines_or_as_an_array_with_further_fields_as_metadata() {
    let home = notes();
    home.write(
        "notes.json",
        "\n[\n  {\"id\": 17, \"text\": \"how to prune apple trees\",\n   \"year\": 2020},\n\
         {\"id\": \"b\", \"text\": \"plums\", \"lang\": \"en\", \"meta\": {\"year\": 2021}}\n]\n",
    );
    home.ok(["add", "notes", "notes.json"]);
    assert_eq!(
        home.json(["get", "notes", "17"])["meta"],
        json!({"year": 2020})
    );
    assert_eq!(
        home.json(["get", "notes", "b"])["meta"],
        json!({"year": 2021, "lang": "en"})
    );
    home.fails(
        ["add", "notes", "notes.json", "--strict"],
        1,
        &["notes.json, line 3", "unknown field \"year\""],
    );
    home.write(
        "twice.jsonl",
        "{\"id\": 1, \"text\": \"x\", \"y\": 1, \"meta\": {\"y\": 2}}\n",
    );
    home.fails(
        ["add", "notes", "twice.jsonl"],
        1,
        &["line 1", "\"y\"", "beside"],
    );
    home.write(
        "bad.json",
        "[{\"id\": 1, \"text\": \"fine\"},\n {\"id\": 2},\n {\"id\": 3, \"text\": \"fine\"}]",
    );
    home.fails(
        ["add", "notes", "bad.json"],
        1,
        &["bad.json, line 2", "neither a text"],
    );
    let added = home.json(["add", "notes", "bad.json", "--skip-bad"]);
    assert_eq!(
        (&added["added"], &added["skipped"][0]["place"]),
        (&json!(2), &json!("line 2"))
    );
    home.write(
        "cut.json",
        "[{\"id\": 7, \"text\": \"fine\"},\n {\"id\": 8, ",
    );
    home.fails(
        ["add", "notes", "cut.json", "--skip-bad"],
        1,
        &["cut.json, line 2"],
    );
    home.fails(["get", "notes", "7"], 1, &["\"7\""]);
    home.write(
        "keys.jsonl",
        "{\"key\": \"k\", \"title\": \"Apples\", \"body\": \"red\"}\n",
    );
    home.ok([
        "add",
        "notes",
        "keys.jsonl",
        "--id-column",
        "key",
        "--text-column",
        "title,body",
    ]);
    assert_eq!(home.json(["get", "notes", "k"])["text"], "Apples red");
}

#[test]
fn gzip_and_zstd_are_unpacked_by_content() {
    let home = plane();
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    home.write("jan.csv.gz", gzip(JAN.as_bytes()));
    home.ok(["add", "c", "jan.csv.gz"]);
    assert_eq!(home.json(["get", "c", "1"])["vector"], json!([2.0, 2.0]));
    // Two members, or frames, are one file; and the name need not tell.
    let lines = [
        "{\"id\": \"a\", \"vector\": [1, 2]}\n",
        "{\"id\": \"b\", \"vector\": [3, 4]}\n",
    ];
    let members = lines.map(|line| gzip(line.as_bytes())).concat();
    let added = home.run_with(["add", "c", "-", "--json"], &members);
    assert_eq!(added.json()[0]["added"], 2);
    let frames = lines
        .map(|line| zstd::encode_all(line.as_bytes(), 1).unwrap())
        .concat();
    home.write("frames.jsonl", &frames);
    assert_eq!(home.json(["add", "c", "frames.jsonl"])["replaced"], 2);
    home.write(
        "v.npy.zst",
        zstd::encode_all(&npy(&[&[5.0, 6.0]])[..], 1).unwrap(),
    );
    home.ok(["add", "c", "v.npy.zst", "--id-prefix", "v"]);
    assert_eq!(home.json(["get", "c", "v0"])["vector"], json!([5.0, 6.0]));
    for cut in [&members[..members.len() - 9], &frames[..frames.len() - 3]] {
        let ran = home.run_with(["add", "c", "-"], cut);
        crate::home::failed(&ran, 1, &["standard input", "cannot be read"]);
    }
    // What is exported and compressed is imported as it is.
    home.ok(["export", "c", "c.jsonl"]);
    home.write("c.gz", gzip(&std::fs::read(home.path("c.jsonl")).unwrap()));
    home.ok(["import", "again", "c.gz"]);
    assert_eq!(
        home.ok(["list", "again", "--json"]).stdout,
        home.ok(["list", "c", "--json"]).stdout
    );
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_utf8_and_a_link_to_nothing_are_told_from_a_missing_file() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = plane();
    let name = OsStr::from_bytes(b"jan\xff.csv");
    std::fs::write(home.path("").join(name), JAN).unwrap();
    let ran = home.command(["add", "c"]).arg(name).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(home.items(), 2);
    std::os::unix::fs::symlink("nowhere.csv", home.path("link.csv")).unwrap();
    home.fails(
        ["add", "c", "link.csv"],
        1,
        &[
            "link.csv",
            "symbolic link to nowhere.csv, which does not exist",
        ],
    );
    std::os::unix::fs::symlink("nowhere", home.path("linked.store")).unwrap();
    let words = &["symbolic link to nowhere, which does not exist"];
    home.fails(["stats", "c", "--store", "linked.store"], 1, words);
    home.fails(
        ["create", "c", "--dim", "2", "--store", "linked.store"],
        1,
        words,
    );
    home.fails(["backup", "linked.store"], 1, words);
    home.fails(["restore", "linked.store"], 1, words);
}

#[test]
fn metadata_of_a_table_are_typed_by_column() {
    let home = plane();
    home.write("t.csv", "id,x,y,zip,n\na,1,2,12345,1\nb,1,2,A-1010,2\n");
    home.ok(["add", "c", "t.csv", "--vector-columns", "x,y"]);
    let meta = |id| home.json(["get", "c", id])["meta"].clone();
    assert_eq!(meta("a"), json!({"zip": "12345", "n": 1}));
    assert_eq!(meta("b"), json!({"zip": "A-1010", "n": 2}));
    let null: Value = Value::Null;
    home.write("none.csv", "id,x,y,n\nc,1,2,\n");
    home.ok(["add", "c", "none.csv", "--vector-columns", "x,y"]);
    assert_eq!(meta("c"), null);
}
