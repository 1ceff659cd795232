//! `--store http://..`: each command does to a service what it does to a store in a directory, and
//! prints the same.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::home::{Home, Ran, failed, keys, lines, npy};

/// A running `affinis serve`; it is killed when this is dropped.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    /// Serves the store `there` of a home.
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = home.command(["serve", "--store", "there", "--listen", "127.0.0.1:0"]);
        let mut child = command
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect(&line);
        let url = url.to_owned();
        // Reads what it writes, so that it never waits for a reader.
        std::thread::spawn(move || stderr.read_to_string(&mut String::new()));
        Self { child, url }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same commands on a store in a directory and on a service.
struct Both {
    home: Home,
    serving: Serving,
}

impl Both {
    fn new() -> Self {
        Self::over(Home::new(), &["--backups", "backups"])
    }

    /// Over a home, with a service that has further arguments.
    fn over(home: Home, arguments: &[&str]) -> Self {
        let serving = Serving::start(&home, arguments);
        Self { home, serving }
    }

    fn run(&self, args: &[&str]) -> (Ran, Ran) {
        let on = |store: &str| {
            let args = args.iter().copied();
            self.home.run(args.chain(["--store", store]))
        };
        (on("here"), on(&self.serving.url))
    }

    /// Runs a command on both, which must succeed and print the same but for times and sizes.
    /// Returns its documents.
    fn same(&self, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let (here, there) = self.run(&args);
        assert_eq!(
            (here.status, there.status),
            (Some(0), Some(0)),
            "{args:?}: {here:?} {there:?}"
        );
        let timeless = |ran: &Ran| -> Vec<String> {
            let mut documents = ran.json();
            documents.iter_mut().for_each(without_times);
            documents.iter().map(Value::to_string).collect()
        };
        assert_eq!(timeless(&here), timeless(&there), "{args:?}");
        assert_eq!(here.stderr, there.stderr, "{args:?}");
        here.json()
    }

    /// Runs a command without `--json` on both, which must succeed and print the same.
    fn same_text(&self, args: &[&str]) {
        let (here, there) = self.run(args);
        assert_eq!(
            (here.status, &here.stdout, &here.stderr),
            (there.status, &there.stdout, &there.stderr),
            "{args:?}"
        );
        assert_eq!(here.status, Some(0), "{here:?}");
    }

    /// Runs a command on both, which must fail in the same way and say so with these words.
    fn fails(&self, args: &[&str], words: &[&str]) {
        let (here, there) = self.run(args);
        failed(&here, 1, words);
        failed(&there, 1, words);
    }

    /// Runs a command on the service, which must refuse it and say what to do.
    fn refused(&self, args: &[&str]) {
        let args = args.iter().copied().chain(["--store", &self.serving.url]);
        failed(
            &self.home.run(args),
            1,
            &[&self.serving.url, "--store DIR", "does not do this"],
        );
    }
}

/// Removes what differs between two runs.
fn without_times(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            for name in [
                // Times.
                "at",
                "created",
                "micros",
                "millis",
                // Sizes and segments, which are made anew when a store is opened; and the recall, which a
                // service also measures on what was asked lately.
                "recall",
                "deleted",
                "segments",
                "growing",
                "memory_bytes",
                "disk_bytes",
                "store_bytes",
                "bytes",
            ] {
                fields.shift_remove(name);
            }
            fields.values_mut().for_each(without_times);
        }
        Value::Array(entries) => entries.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// 80 points in four dimensions, of which the first tells two classes apart and the others are
/// larger noise.
fn points() -> String {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) * 3.6 - 1.8
    };
    let items: Vec<_> = (0..80)
        .map(|i| json!({"id": i.to_string(), "vector": [f64::from(i % 2), noise(), noise(), noise()], "meta": {"class": i % 2, "name": format!("point {i}")}}))
        .collect();
    lines(&items)
}

fn judgements() -> String {
    let judgements: Vec<_> = (0..12)
        .flat_map(|query| (20..30).map(move |item| (query, item)))
        .map(|(query, item)| {
            json!({"query_id": query.to_string(), "item": item.to_string(), "relevant": query % 2 == item % 2, "user": if query < 6 { "ann" } else { "bob" }})
        })
        .collect();
    lines(&judgements)
}

#[test]
fn items_are_the_same() {
    let both = Both::new();
    let home = &both.home;
    both.same(&["create", "c", "--dim", "4", "--precision", "f16"]);
    both.fails(&["create", "c", "--dim", "4"], &["\"c\"", "exists"]);
    both.same(&["create", "notes", "--distance", "cosine"]);
    both.same(&["collections"]);
    both.same_text(&["collections"]);
    both.same_text(&["list", "c"]);
    home.write("points.jsonl", points());
    both.same(&["add", "c", "points.jsonl"]);
    both.same(&["add", "c", "points.jsonl"]);
    home.write(
        "notes.jsonl",
        r#"{"id": "a1", "text": "how to prune apple trees", "meta": {"year": 2021}}
{"id": "a2", "text": "changing the oil of a car"}
{"id": "a 3/ä", "text": "watering a vegetable garden", "meta": {"year": 2023, "tags": ["x"]}}
"#,
    );
    both.same(&["add", "notes", "notes.jsonl"]);
    home.write("update.csv", "id,year\na1,2022\n");
    both.same(&["add", "notes", "update.csv", "--mode", "update"]);
    home.write("unknown.csv", "id,year\na1,2022\nb9,2023\n");
    both.fails(
        &["add", "notes", "unknown.csv", "--mode", "update"],
        &["unknown.csv", "line 3", "b9"],
    );
    both.fails(
        &["add", "notes", "notes.jsonl", "--mode", "insert"],
        &["notes.jsonl", "line 1", "a1"],
    );
    home.write("labels.tsv", "fruit\tripe apples\ntool\ta sharp saw\n");
    both.same(&["add", "notes", "labels.tsv", "--id-prefix", "n"]);
    both.fails(
        &["add", "notes", "labels.tsv", "--id-prefix", "n"],
        &["n0", "--id-prefix"],
    );
    home.write("vectors.npy", npy(&[&[1., 2., 3., 4.], &[0., 0., 1., 0.]]));
    home.write("ids.txt", "x1\nx2\n");
    both.same(&["add", "c", "vectors.npy", "--ids", "ids.txt"]);
    home.write(
        "bad.jsonl",
        "{\"id\": \"g1\", \"text\": \"good words\"}\n{\"id\": \"g2\", \"text\": \"\"}\n",
    );
    both.fails(&["add", "notes", "bad.jsonl"], &["line 2"]);
    let skipped = both.same(&["add", "notes", "bad.jsonl", "--skip-bad"]);
    assert_eq!(skipped[0]["skipped"].as_array().unwrap().len(), 1);

    for command in [
        &["list", "notes"][..],
        &["list", "c", "--limit", "3", "--after", "17"],
        &["get", "notes", "a 3/ä", "a1"],
        &["get", "c", "--filter", r#"{"class": 1}"#],
        &["count", "c"],
        &["count", "c", "--filter", r#"{"class": {"$ne": 0}}"#],
    ] {
        both.same(command);
        both.same_text(command);
    }
    both.fails(&["get", "notes", "a1", "none"], &["none"]);
    both.fails(&["count", "nothing"], &["nothing"]);
    both.same(&["delete", "notes", "a2"]);
    both.fails(&["delete", "notes", "a1", "a2"], &["a2"]);
    home.write("gone.txt", "x1\n");
    both.same(&["delete", "c", "--ids", "gone.txt"]);
    both.same(&["delete", "c", "--filter", r#"{"class": 1}"#]);
    both.same(&["stats", "c"]);
    both.same(&["drop", "c", "--yes"]);
    both.fails(&["stats", "c"], &["\"c\""]);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one store goes through all commands, in an order that matters"
)]
fn searches_and_learning_are_the_same() {
    let both = Both::new();
    let home = &both.home;
    both.same(&["create", "c", "--dim", "4"]);
    home.write("points.jsonl", points());
    both.same(&["add", "c", "points.jsonl"]);
    both.fails(&["refit", "c"], &["affinis judge"]);
    home.write("judgements.jsonl", judgements());
    both.same(&["judge", "c", "judgements.jsonl"]);
    home.write(
        "unknown.jsonl",
        "{\"a\": \"1\", \"b\": \"3\", \"similar\": true}\n{\"a\": \"1\", \"b\": \"none\", \"similar\": true}\n",
    );
    both.fails(&["judge", "c", "unknown.jsonl"], &["line 2", "none"]);
    both.same(&[
        "judge",
        "c",
        "unknown.jsonl",
        "--skip-unknown",
        "--user",
        "eve",
    ]);
    both.same(&["judgements", "c"]);
    both.same_text(&["judgements", "c"]);
    for (store, file) in [
        ("here", "here.qrels"),
        (both.serving.url.as_str(), "there.qrels"),
    ] {
        home.ok(["judgements", "c", "--qrels", file, "--store", store]);
    }
    let read = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
    assert_eq!(read("here.qrels"), read("there.qrels"));

    both.same(&["refit", "c", "--dry-run", "--seed", "5"]);
    let refit = both.same(&["refit", "c", "--force", "--seed", "5"]);
    assert_eq!(refit[0]["promoted"], true);
    both.same(&[
        "refit",
        "c",
        "--user",
        "ann",
        "--force",
        "--rank",
        "2",
        "--half-life",
        "30",
    ]);
    both.same(&["refit", "c", "--user", "bob", "--ask", "4"]);
    both.same(&["metrics", "c"]);
    both.same(&["metrics", "c", "show", "1"]);
    both.same(&["metrics", "c", "diff", "0", "1"]);
    both.same_text(&["metrics", "c", "diff", "0", "1"]);
    both.same(&["metrics", "c", "drift"]);
    both.same_text(&["metrics", "c", "drift"]);
    both.fails(&["metrics", "c", "show", "77"], &["77"]);

    home.write("queries.npy", npy(&[&[1., 0., 0., 0.], &[0., 1., 0., 0.]]));
    for search in [
        &["search", "c", "--like", "7", "-k", "4"][..],
        &["search", "c", "--like", "7", "--metric", "euclidean"],
        &[
            "search", "c", "--like", "7", "--user", "ann", "--recall", "0.99",
        ],
        &["search", "c", "--like", "7", "--filter", r#"{"class": 1}"#],
        &["search", "c", "--vectors", "queries.npy", "-k", "3"],
        &["explain", "c", "--like", "7", "--item", "9"],
    ] {
        both.same(search);
        both.same_text(search);
    }
    // How a search is executed depends on what the index has done meanwhile.
    let (here, there) = both.run(&["search", "c", "--like", "7", "--explain-search", "--json"]);
    let (here, there) = (&here.json()[0], &there.json()[0]);
    assert_eq!(here["hits"], there["hits"]);
    assert_eq!(keys(here), keys(there));
    both.fails(&["search", "c", "some text"], &["text"]);
    both.fails(&["search", "c", "--like", "none"], &["none"]);
    for (store, file) in [
        ("here", "here.run"),
        (both.serving.url.as_str(), "there.run"),
    ] {
        home.ok([
            "search", "c", "--like", "7", "--run", file, "--store", store,
        ]);
    }
    assert_eq!(read("here.run"), read("there.run"));
    let queries: Vec<Value> = (0..8)
        .map(|at| json!({"query_id": at.to_string(), "relevant": {"21": 3, "22": 1, "30": 0}}))
        .collect();
    home.write("queries.jsonl", lines(&queries));
    let measure = [
        "evaluate",
        "c",
        "queries.jsonl",
        "--relevance-threshold",
        "2",
    ];
    both.same(&measure);
    both.same_text(&measure);

    home.ok([
        "metrics",
        "c",
        "export",
        "1",
        "matrix.npy",
        "--store",
        "here",
    ]);
    home.ok([
        "metrics",
        "c",
        "export",
        "1",
        "there.npy",
        "--store",
        &both.serving.url,
    ]);
    let bytes = |name: &str| std::fs::read(home.path(name)).unwrap();
    assert_eq!(bytes("matrix.npy"), bytes("there.npy"));
    let imported = both.same(&["metrics", "c", "import", "matrix.npy"]);
    let version = imported[0]["version"].to_string();
    both.same(&["metrics", "c", "trial"]);
    both.same(&["metrics", "c", "trial", "start", &version, "--alpha", "0.1"]);
    both.same_text(&["metrics", "c", "trial"]);
    let (here, there) = both.run(&["metrics", "c", "trial", "search", "--like", "7", "--json"]);
    let shape = |ran: &Ran| -> Vec<Vec<String>> {
        let hits = ran.json()[0]["hits"].as_array().unwrap().clone();
        let keys = |hit: &Value| hit.as_object().unwrap().keys().cloned().collect();
        hits.iter().map(keys).collect()
    };
    assert_eq!(shape(&here), shape(&there));
    both.same(&["metrics", "c", "trial", "end"]);
    both.same(&["metrics", "c", "promote", &version]);
    both.same_text(&["metrics", "c", "rollback"]);
    both.same(&["metrics", "c", "delete", &version]);
    both.same(&["metrics", "c", "rollback", "--user", "ann"]);
    both.fails(&["metrics", "c", "rollback", "--user", "eve"], &["eve"]);

    both.same(&["judge", "c", "--withdraw", "3"]);
    both.same(&["forget", "c", "--user", "eve"]);
    both.same(&["forget", "c", "--item", "21"]);
    both.same(&["optimize", "c"]);
    both.same(&["stats", "c"]);
    both.same(&["metrics", "c"]);
}

#[test]
fn the_whole_store_is_checked_and_copied_there() {
    let both = Both::new();
    both.same(&["create", "c", "--dim", "4"]);
    both.home.write("points.jsonl", points());
    both.same(&["add", "c", "points.jsonl"]);
    let url = both.serving.url.as_str();
    let home = &both.home;
    let verified = home.json(["verify", "--store", url]);
    assert_eq!(verified["problems"], json!([]));
    assert!(verified["checked"].as_u64().unwrap() > 80);
    let written = home.json(["backup", "monday", "--store", url]);
    assert_eq!(
        written,
        json!({"backup": "monday", "collections": 1, "items": 80})
    );
    assert_eq!(
        home.json(["count", "c", "--store", "backups/monday"]),
        json!({"count": 80})
    );
    for command in [
        &["restore", "backups/monday"][..],
        &["compact"],
        &["verify", "--repair"],
        &["judge", "c", "--by-field", "class"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        both.refused(command);
    }
    home.fails(
        ["count", "c", "--store", url, "--encoder", "x"],
        2,
        &["--encoder"],
    );
}

#[test]
fn a_token_comes_from_a_file_or_the_environment() {
    let home = Home::new();
    let made = home.json(["token", "ann", "--role", "write"]);
    home.write("tokens.txt", made["line"].as_str().unwrap());
    let token = made["token"].as_str().unwrap();
    home.write("token.txt", format!("{token}\n"));
    let serving = Serving::start(&home, &["--tokens", "tokens.txt"]);
    let url = serving.url.as_str();
    home.fails(
        ["collections", "--store", url],
        1,
        &["AFFINIS_TOKEN", "--token-file"],
    );
    home.ok([
        "create",
        "c",
        "--dim",
        "4",
        "--store",
        url,
        "--token-file",
        "token.txt",
    ]);
    let mut command = home.command(["collections", "--store", url, "--json"]);
    let listed = command.env("AFFINIS_TOKEN", token).output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().contains("\"c\""));
    home.fails(
        [
            "drop",
            "c",
            "--yes",
            "--store",
            url,
            "--token-file",
            "token.txt",
        ],
        1,
        &["role admin"],
    );
    home.fails(
        ["collections", "--store", url, "--token-file", "none.txt"],
        1,
        &["none.txt"],
    );
    drop(serving);
    home.fails(
        ["collections", "--store", "http://127.0.0.1:1"],
        1,
        &["http://127.0.0.1:1", "affinis serve"],
    );
    home.fails(["collections", "--store", "http://"], 1, &["http://"]);
}

/// A file of more items than a request holds, of which one is refused by its collection alone.
fn many(bad: usize) -> String {
    let items: Vec<_> = (0..1_200)
        .map(|i| {
            // Beyond what f16 holds.
            let last = if i == bad {
                1e6
            } else {
                f64::from(i as u32 % 7)
            };
            json!({"id": format!("m{i}"), "vector": [i % 2, 0, 1, last]})
        })
        .collect();
    lines(&items)
}

#[test]
fn a_file_is_added_as_a_whole_or_not_at_all() {
    let both = Both::new();
    both.same(&["create", "c", "--dim", "4", "--precision", "f16"]);
    both.home.write("many.jsonl", many(1_100));
    both.fails(&["add", "c", "many.jsonl"], &["many.jsonl", "line 1101"]);
    both.same(&["count", "c"]);
    let skipped = both.same(&["add", "c", "many.jsonl", "--skip-bad"]);
    assert_eq!(skipped[0]["skipped"][0]["place"], "line 1101");
    both.same(&["count", "c"]);
    both.home.write("many.jsonl", many(usize::MAX));
    both.fails(
        &["add", "c", "many.jsonl", "--mode", "insert"],
        &["many.jsonl", "line 1"],
    );
    both.same(&["add", "c", "many.jsonl"]);
    both.same(&["list", "c"]);
    // One that is refused for all of its items.
    both.home.write(
        "bad.jsonl",
        "{\"id\": \"x\", \"vector\": [0, 0, 0, 1e6]}\n{\"id\": \"y\", \"vector\": [0, 0, 0, 1e6]}\n",
    );
    both.fails(
        &["add", "c", "bad.jsonl", "--skip-bad"],
        &["bad.jsonl", "line 1"],
    );
    both.same(&["list", "c"]);
}

#[test]
fn collections_as_files_are_the_same() {
    let both = Both::new();
    let home = &both.home;
    let url = both.serving.url.as_str();
    both.same(&["create", "c", "--dim", "4"]);
    home.write("points.jsonl", points());
    both.same(&["add", "c", "points.jsonl"]);
    home.write("judgements.jsonl", judgements());
    both.same(&["judge", "c", "judgements.jsonl"]);
    both.same(&["refit", "c", "--force", "--seed", "5"]);
    let told = home.json(["export", "c", "here.jsonl", "--store", "here"]);
    let told_there = home.json(["export", "c", "there.jsonl", "--store", url]);
    for count in ["collection", "items", "judgements", "metrics"] {
        assert_eq!(told[count], told_there[count], "{count}");
    }
    let read = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
    let timeless = |text: &str| -> Vec<String> {
        let documents = text.lines().map(|line| {
            let mut document: Value = serde_json::from_str(line).unwrap();
            without_times(&mut document);
            document.to_string()
        });
        documents.collect()
    };
    assert_eq!(
        timeless(&read("here.jsonl")),
        timeless(&read("there.jsonl"))
    );
    let printed = home.ok(["export", "c", "-", "--store", url]);
    assert!(printed.stdout == read("there.jsonl") && printed.stderr.contains("80 items"));
    both.fails(&["export", "none", "none.jsonl"], &["none"]);
    assert!(!home.path("none.jsonl").exists());

    both.same(&["import", "d", "here.jsonl"]);
    both.same_text(&["import", "e", "here.jsonl"]);
    both.same(&["search", "d", "--like", "7"]);
    both.same(&["metrics", "d"]);
    both.fails(&["import", "d", "here.jsonl"], &["\"d\"", "exists"]);
    let piped = home.run_with(
        ["import", "f", "-", "--store", url],
        read("here.jsonl").as_bytes(),
    );
    assert_eq!(piped.status, Some(0), "{piped:?}");
    home.write("cut.jsonl", &read("here.jsonl")[..2_000]);
    both.fails(&["import", "g", "cut.jsonl"], &["cut.jsonl", "line"]);
    both.fails(
        &["import", "g", "points.jsonl"],
        &["points.jsonl", "affinis export"],
    );
    both.fails(&["import", "g", "missing.jsonl"], &["missing.jsonl"]);
    both.fails(&["count", "g"], &["\"g\""]);
}

#[test]
fn another_encoder_is_the_same() {
    use affinis_testkit::models::{NOT_NORMALISED, model, pooling};
    let home = Home::new();
    for (name, mode) in [("first", "mean_tokens"), ("second", "cls_token")] {
        let pooling = pooling(mode);
        let files = [NOT_NORMALISED, ("1_Pooling/config.json", pooling.as_str())];
        std::fs::create_dir_all(home.path("models")).unwrap();
        let made = model("tokens.onnx", &files).keep();
        std::fs::rename(made, home.path("models").join(name)).unwrap();
    }
    let both = Both::over(home, &["--encoder", "models"]);
    let home = &both.home;
    // The same command on both, of which each names the encoder in its way.
    let named = |args: &[&str], encoder: &str| {
        let directory = format!("models/{encoder}");
        let on = |store: &str, encoder: &str| {
            let more = ["--encoder", encoder, "--store", store];
            let mut told = home.json(args.iter().copied().chain(more));
            without_times(&mut told);
            told
        };
        let here = on("here", &directory);
        let there = on(&both.serving.url, encoder);
        assert_eq!(here["fingerprint"], there["fingerprint"]);
        assert_eq!(here["items"], there["items"]);
        (here, there)
    };
    named(&["create", "fruit"], "first");
    home.write(
        "fruit.jsonl",
        "{\"id\": \"a\", \"text\": \"red apple\"}\n{\"id\": \"b\", \"text\": \"green pear\"}\n{\"id\": \"c\", \"text\": \"blue plum\"}\n",
    );
    both.same(&["add", "fruit", "fruit.jsonl"]);
    home.write(
        "judged.jsonl",
        "{\"query\": \"red\", \"item\": \"a\", \"relevant\": true}\n",
    );
    both.same(&["judge", "fruit", "judged.jsonl"]);
    let (here, there) = named(&["reencode", "fruit"], "second");
    assert_eq!(here, there);
    both.same(&["search", "fruit", "blue plum"]);
    both.same(&["reencode", "fruit", "--back"]);
    both.same(&["search", "fruit", "blue plum"]);
    both.fails(&["reencode", "fruit", "--back"], &["fruit"]);
    both.same(&["drop", "fruit.reencoding", "--yes"]);
    let (here, there) = named(&["reencode", "fruit", "--commit"], "second");
    assert_eq!(here, there);
    assert_eq!(there["committed"], true);
    both.fails(&["reencode", "fruit", "--commit"], &["fruit"]);
    home.fails(
        [
            "reencode",
            "fruit",
            "--encoder",
            "models/first",
            "--store",
            &both.serving.url,
        ],
        1,
        &["models/first", "first, second"],
    );
}

#[test]
fn an_authority_of_ones_own_is_named_by_an_option_or_the_environment() {
    let certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/service/tls");
    let file = |name: &str| format!("{certificates}/{name}");
    let home = Home::new();
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    let serving = Serving::start(&home, &["--tls-cert", &certificate, "--tls-key", &key]);
    let url = serving.url.as_str();
    assert!(url.starts_with("https://"), "{url}");
    home.fails(["collections", "--store", url], 1, &["--root-certificates"]);
    let authority = file("authority.pem");
    let roots = ["--root-certificates", authority.as_str()];
    home.ok(["create", "c", "--dim", "4", "--store", url]
        .into_iter()
        .chain(roots));
    let mut command = home.command(["collections", "--store", url, "--json"]);
    let listed = command
        .env("AFFINIS_ROOT_CERTIFICATES", &authority)
        .output()
        .unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().contains("\"c\""));
    home.fails(
        [
            "collections",
            "--store",
            url,
            "--root-certificates",
            "none.pem",
        ],
        1,
        &["none.pem"],
    );
}
