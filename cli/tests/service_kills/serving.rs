//! The service as a process, and requests to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A running `affinis serve`, killed at the latest when this is dropped.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Serving {
    /// Starts the program; `None` where it was killed, `after` that time, before it listened.
    pub(crate) fn start(home: &Path, after: Option<Duration>) -> Option<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_affinis"))
            .current_dir(home)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stderr = BufReader::new(child.stderr.take().expect("its errors"));
        if let Some(after) = after {
            std::thread::sleep(after);
            child.kill().expect("killed");
        }
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        // The log is read on, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let address = line.trim().strip_prefix("listening on http://");
        match (address, after) {
            (Some(address), None) => Some(Self {
                child,
                address: address.to_owned(),
            }),
            (_, Some(_)) => {
                child.wait().expect("it ended");
                None
            }
            (None, None) => panic!("the service does not begin: {line}"),
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("it ended");
    }

    pub(crate) fn client(&self) -> Client<'_> {
        Client {
            address: &self.address,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the service, each time on a connection of its own.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) address: &'a str,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) body: Value,
}

impl Client<'_> {
    pub(crate) fn send(self, call: &str, key: Option<&str>, body: &Value) -> Option<TcpStream> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let key = key.map_or_else(String::new, |key| format!("idempotency-key: {key}\r\n"));
        let request = format!(
            "{call} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{key}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut connection = TcpStream::connect(self.address).ok()?;
        let patience = Some(Duration::from_mins(1));
        connection.set_read_timeout(patience).expect("set");
        connection.write_all(request.as_bytes()).ok()?;
        Some(connection)
    }

    /// The answer; `None` where no whole one came.
    pub(crate) fn ask(self, call: &str, key: Option<&str>, body: &Value) -> Option<Answer> {
        let mut answer = String::new();
        let mut connection = self.send(call, key, body)?;
        connection.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| {
            let length = line.to_ascii_lowercase();
            length.strip_prefix("content-length:")?.trim().parse().ok()
        });
        // The kill may have come within the answer.
        if length != Some(body.len()) {
            return None;
        }
        Some(Answer {
            status: head.split(' ').nth(1)?.parse().expect("a status"),
            replayed: head.contains("idempotency-replayed: true"),
            body: serde_json::from_str(body).expect(body),
        })
    }

    /// The answer to a request that must succeed.
    pub(crate) fn get(self, path: &str) -> Value {
        let answer = self.ask(&format!("GET {path}"), None, &Value::Null);
        let answer = answer.unwrap_or_else(|| panic!("{path} is not answered"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }
}
