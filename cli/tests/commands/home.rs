//! A temporary directory with a store, and runs of the binary in it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The status and the outputs of a run of the binary.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The standard output as JSON, one document a line.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}

pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A home with a collection `c` of four points in the plane: a (0, 0), b (1, 0), c (0, 2), d
    /// (3, 3).
    pub(crate) fn with_points() -> Self {
        let home = Self::new();
        home.ok(["create", "c", "--dim", "2"]);
        home.write(
            "points.jsonl",
            r#"{"id": "a", "vector": [0, 0], "meta": {"year": 2019, "lang": "en"}}
{"id": "b", "vector": [1, 0], "text": "the second", "meta": {"year": 2020, "tags": ["x", "y"]}}
{"id": "c", "vector": [0, 2], "meta": {"year": 2021, "lang": "de"}}
{"id": "d", "vector": [3, 3]}
"#,
        );
        home.ok(["add", "c", "points.jsonl"]);
        home
    }

    /// A home with a collection `c` of 80 points in four dimensions, of which the first tells two
    /// classes apart and the others are larger noise; and 120 judgements by class.
    pub(crate) fn with_judgements() -> Self {
        let home = Self::new();
        home.ok(["create", "c", "--dim", "4"]);
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) * 3.6 - 1.8
        };
        let items: Vec<_> = (0..80)
            .map(|i| json!({"id": i.to_string(), "vector": [f64::from(i % 2), noise(), noise(), noise()], "meta": {"class": i % 2}}))
            .collect();
        home.write("items.jsonl", lines(&items));
        home.ok(["add", "c", "items.jsonl"]);
        let judgements: Vec<_> = (0..12)
            .flat_map(|query| (20..30).map(move |item| (query, item)))
            .map(|(query, item)| {
                json!({"query_id": query.to_string(), "item": item.to_string(), "relevant": query % 2 == item % 2})
            })
            .collect();
        home.write("judgements.jsonl", lines(&judgements));
        home.ok(["judge", "c", "judgements.jsonl"]);
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_affinis"));
        command
            .current_dir(self.0.path())
            .env_remove("AFFINIS_STORE")
            .env_remove("AFFINIS_TOKEN")
            .env_remove("AFFINIS_ROOT_CERTIFICATES")
            .args(args);
        command
    }

    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        self.run_with(args, b"")
    }

    pub(crate) fn run_with<'a>(
        &self,
        args: impl IntoIterator<Item = &'a str>,
        input: &[u8],
    ) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses its arguments ends without reading.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Ran {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran
    }

    /// Runs a command with `--json` that must succeed, and returns its one document.
    pub(crate) fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Value {
        let mut documents = self.all_json(args);
        assert_eq!(documents.len(), 1, "{documents:?}");
        documents.remove(0)
    }

    /// Runs a command with `--json` that must succeed, and returns its documents.
    pub(crate) fn all_json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
        self.ok(args.into_iter().chain(["--json"])).json()
    }

    /// Runs a command that must fail with a status, an empty standard output, and a message that
    /// contains all the words.
    pub(crate) fn fails<'a>(
        &self,
        args: impl IntoIterator<Item = &'a str>,
        status: i32,
        words: &[&str],
    ) {
        failed(&self.run(args), status, words);
    }

    /// The number of live items of `c`.
    pub(crate) fn items(&self) -> u64 {
        self.json(["stats", "c"])["items"].as_u64().unwrap()
    }
}

/// Asserts that a run failed with a status, an empty standard output, and a message that contains
/// all the words.
pub(crate) fn failed(ran: &Ran, status: i32, words: &[&str]) {
    assert_eq!(ran.status, Some(status), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    for word in words {
        assert!(
            ran.stderr.contains(word),
            "{:?} does not say {word:?}",
            ran.stderr
        );
    }
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
}

/// Documents as JSON lines.
pub(crate) fn lines(documents: &[Value]) -> String {
    documents
        .iter()
        .flat_map(|d| [d.to_string(), "\n".to_owned()])
        .collect()
}

/// The keys of a document, in their order.
pub(crate) fn keys(document: &Value) -> Vec<&str> {
    document
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// A 2-D array of f32 as npy.
pub(crate) fn npy(rows: &[&[f32]]) -> Vec<u8> {
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
        rows.len(),
        rows[0].len()
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(
        rows.iter()
            .flat_map(|row| row.iter().flat_map(|v| v.to_le_bytes())),
    );
    bytes
}
