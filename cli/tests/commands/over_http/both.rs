//! The same commands on a store in a directory and on a service.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::home::{Home, Ran, failed, lines};

/// A running `affinis serve`; it is killed when this is dropped.
pub(super) struct Serving {
    child: Child,
    pub(super) url: String,
}

impl Serving {
    /// Serves the store `there` of a home.
    pub(super) fn start(home: &Home, arguments: &[&str]) -> Self {
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
pub(super) struct Both {
    pub(super) home: Home,
    pub(super) serving: Serving,
}

impl Both {
    pub(super) fn new() -> Self {
        Self::over(Home::new(), &["--backups", "backups"])
    }

    /// Over a home, with a service that has further arguments.
    pub(super) fn over(home: Home, arguments: &[&str]) -> Self {
        let serving = Serving::start(&home, arguments);
        Self { home, serving }
    }

    pub(super) fn run(&self, args: &[&str]) -> (Ran, Ran) {
        let on = |store: &str| {
            let args = args.iter().copied();
            self.home.run(args.chain(["--store", store]))
        };
        (on("here"), on(&self.serving.url))
    }

    /// Runs a command on both, which must succeed and print the same but for times and sizes.
    /// Returns its documents.
    pub(super) fn same(&self, args: &[&str]) -> Vec<Value> {
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
    pub(super) fn same_text(&self, args: &[&str]) {
        let (here, there) = self.run(args);
        assert_eq!(
            (here.status, &here.stdout, &here.stderr),
            (there.status, &there.stdout, &there.stderr),
            "{args:?}"
        );
        assert_eq!(here.status, Some(0), "{here:?}");
    }

    /// Runs a command on both, which must fail in the same way and say so with these words.
    pub(super) fn fails(&self, args: &[&str], words: &[&str]) {
        let (here, there) = self.run(args);
        failed(&here, 1, words);
        failed(&there, 1, words);
    }

    /// Runs a command on the service, which must refuse it and say what to do.
    pub(super) fn refused(&self, args: &[&str]) {
        let args = args.iter().copied().chain(["--store", &self.serving.url]);
        failed(
            &self.home.run(args),
            1,
            &[&self.serving.url, "--store DIR", "does not do this"],
        );
    }
}

/// Removes what differs between two runs.
pub(super) fn without_times(document: &mut Value) {
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
            // A half-life weighs judgements by their age, which goes on from one run to the next.
            if let Some(condition) = fields.get_mut("condition")
                && let Some(number) = condition.as_f64()
            {
                *condition = json!((number * 1e4).round() / 1e4);
            }
            fields.values_mut().for_each(without_times);
        }
        Value::Array(entries) => entries.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// 80 points in four dimensions, of which the first tells two classes apart and the others are
/// larger noise.
pub(super) fn points() -> String {
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

pub(super) fn judgements() -> String {
    let judgements: Vec<_> = (0..12)
        .flat_map(|query| (20..30).map(move |item| (query, item)))
        .map(|(query, item)| {
            json!({"query_id": query.to_string(), "item": item.to_string(), "relevant": query % 2 == item % 2, "user": if query < 6 { "ann" } else { "bob" }})
        })
        .collect();
    lines(&judgements)
}
