//! Fetching from a hub of a few lines on this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;
use crate::encode::{Encoder, Similarity};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves files of the repository `owner/tiny` as the hub does; a file named in `broken` ends
/// before its last byte.
struct Hub {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn serve(files: BTreeMap<String, Vec<u8>>, broken: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &files, broken, &seen);
            }
        });
        Self { address, asked }
    }

    fn options(&self) -> PullOptions {
        PullOptions::new().endpoint(&self.address).token("secret")
    }
}

/// One request a connection.
fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    broken: &str,
    seen: &Mutex<Vec<String>>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let path = lines
        .next()
        .and_then(|line| line.split(' ').nth(1).map(str::to_owned))
        .unwrap_or_default();
    let headers: Vec<String> = lines
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_lowercase())
        .collect();
    seen.lock().unwrap().push(path.clone());
    let reply = |stream: &mut TcpStream,
                 status: &str,
                 headers: &str,
                 body: &[u8],
                 length: usize| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
        );
        // A client may close early.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body));
    };
    if !headers.iter().any(|h| h == "authorization: bearer secret") {
        return reply(&mut stream, "401 Unauthorized", "", b"", 0);
    }
    if path.starts_with("/api/models/owner/tiny/revision/") || path == "/api/models/owner/tiny" {
        let siblings: Vec<_> = files
            .keys()
            .map(|name| serde_json::json!({ "rfilename": name }))
            .collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        return reply(
            &mut stream,
            "200 OK",
            "Content-Type: application/json\r\n",
            body.as_bytes(),
            body.len(),
        );
    }
    let name = path.strip_prefix(&format!("/owner/tiny/resolve/{COMMIT}/"));
    let Some((name, bytes)) = name.and_then(|name| files.get_key_value(name)) else {
        return reply(&mut stream, "404 Not Found", "", b"", 0);
    };
    let range = headers
        .iter()
        .find_map(|h| h.strip_prefix("range: bytes="))
        .unwrap_or("0-");
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to
        .parse()
        .map_or(bytes.len(), |last: usize| (last + 1).min(bytes.len()));
    let etag = name.replace('/', "-");
    let head = format!(
        "ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {from}-{}/{}\r\n",
        to - 1,
        bytes.len()
    );
    let body = &bytes[from..to];
    // The announced length stays, so the client can tell that something is missing; a resumed
    // transfer misses it too.
    let sent = if name == broken {
        &bytes[from..to.min(bytes.len() - 1)]
    } else {
        body
    };
    reply(&mut stream, "206 Partial Content", &head, sent, body.len());
}

fn fixture(name: &str) -> Vec<u8> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    std::fs::read(models.join(name)).unwrap()
}

fn files() -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([
        ("onnx/model.onnx".to_owned(), fixture("bert.onnx")),
        ("tokenizer.json".to_owned(), fixture("tokenizer.json")),
        (
            "config.json".to_owned(),
            br#"{"model_type": "bert", "max_position_embeddings": 32}"#.to_vec(),
        ),
        (
            "1_Pooling/config.json".to_owned(),
            br#"{"pooling_mode_cls_token": true}"#.to_vec(),
        ),
        (
            "config_sentence_transformers.json".to_owned(),
            br#"{"similarity_fn_name": "dot"}"#.to_vec(),
        ),
        ("2_Dense/../config.json".to_owned(), vec![1; 100]),
        ("pytorch_model.bin".to_owned(), vec![0; 100]),
        ("../escape.json".to_owned(), vec![1; 100]),
    ])
}

/// The entries of a directory, hidden ones too.
fn entries(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_pulled_model_loads_and_holds_what_is_needed_and_no_more() {
    let hub = Hub::serve(files(), "");
    let home = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(BTreeMap::new()));
    let record = told.clone();
    let options = hub.options().progress(move |file, done, total| {
        record
            .lock()
            .unwrap()
            .insert(file.to_owned(), (done, total));
    });
    let pulled = pull("owner/tiny", home.path().join("models/tiny"), &options).unwrap();
    assert_eq!(pulled.commit, COMMIT);
    assert_eq!(entries(&home.path().join("models")), ["tiny"]);
    assert_eq!(
        entries(&pulled.dir),
        [
            "1_Pooling",
            "config.json",
            "config_sentence_transformers.json",
            "model.onnx",
            "tokenizer.json"
        ]
    );
    for (name, bytes) in &pulled.files {
        assert_eq!(told.lock().unwrap()[name], (*bytes, *bytes), "{name}");
    }
    let onnx = Onnx::from_dir(&pulled.dir).unwrap();
    assert_eq!((onnx.dim(), onnx.max_length()), (8, 32));
    assert_eq!(onnx.similarity(), Some(Similarity::Dot));
    assert!(
        !hub.asked
            .lock()
            .unwrap()
            .iter()
            .any(|path| path.contains("pytorch") || path.contains("escape"))
    );
}

#[test]
fn a_broken_transfer_leaves_nothing() {
    for broken in ["onnx/model.onnx", "tokenizer.json"] {
        let hub = Hub::serve(files(), broken);
        let home = tempfile::tempdir().unwrap();
        let result = pull("owner/tiny", home.path().join("tiny"), &hub.options());
        assert!(matches!(result, Err(EncodeError::Hub { .. })), "{result:?}");
        assert!(
            entries(home.path()).is_empty(),
            "{:?}",
            entries(home.path())
        );
    }
}

#[test]
fn files_that_do_not_make_a_model_leave_nothing() {
    let mut wrong = files();
    wrong.insert("onnx/model.onnx".into(), b"no graph".to_vec());
    let hub = Hub::serve(wrong, "");
    let home = tempfile::tempdir().unwrap();
    let result = pull("owner/tiny", home.path().join("tiny"), &hub.options());
    assert!(matches!(result, Err(EncodeError::Hub { .. })), "{result:?}");
    assert!(entries(home.path()).is_empty());
}

#[test]
fn what_a_repository_lacks_is_named() {
    for (missing, mention) in [
        ("onnx/model.onnx", "model.onnx"),
        ("tokenizer.json", "tokenizer.json"),
    ] {
        let mut fewer = files();
        fewer.remove(missing);
        let hub = Hub::serve(fewer, "");
        let home = tempfile::tempdir().unwrap();
        let error = pull("owner/tiny", home.path().join("tiny"), &hub.options())
            .unwrap_err()
            .to_string();
        assert!(error.contains(mention), "{error}");
    }
}

#[test]
fn weights_outside_the_graph_come_with_it() {
    let mut more = files();
    more.insert("onnx/model.onnx".into(), fixture("external.onnx"));
    more.insert("onnx/model.onnx_data".into(), fixture("model.onnx_data"));
    more.remove("config.json");
    let hub = Hub::serve(more, "");
    let home = tempfile::tempdir().unwrap();
    let pulled = pull("owner/tiny", home.path().join("tiny"), &hub.options()).unwrap();
    assert!(pulled.dir.join("model.onnx_data").is_file());
    assert_eq!(Onnx::from_dir(&pulled.dir).unwrap().dim(), 4);
}

#[test]
fn refusals_say_what_to_do_and_touch_nothing() {
    let hub = Hub::serve(files(), "");
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("tiny");
    let said =
        |repo: &str, options: &PullOptions| pull(repo, &dir, options).unwrap_err().to_string();
    assert!(said("owner/tiny", &hub.options().token("wrong")).contains("HF_TOKEN"));
    assert!(said("owner/other", &hub.options()).contains("no such repository"));
    assert!(said("owner/tiny", &hub.options().model("onnx/gone.onnx")).contains("onnx/gone.onnx"));
    for name in [
        "",
        "a/b/c",
        "../up",
        "owner/..",
        "owner/a b",
        "owner/a?x",
        "/etc",
    ] {
        assert!(said(name, &hub.options()).contains("owner/model"), "{name}");
    }
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("mine.txt"), "mine").unwrap();
    assert!(said("owner/tiny", &hub.options()).contains("exists already"));
    assert_eq!(entries(&dir), ["mine.txt"]);
    assert_eq!(entries(home.path()), ["tiny"]);
}
