//! Encoders by their names, and collections as files.

use std::io::Write as _;
use std::path::Path;

use affinis::Store;
use affinis_mahalanobis::Mahalanobis;
use affinis_server::{Limits, Settings};
use affinis_testkit::models::{NOT_NORMALISED, model, pooling};
use serde_json::{Value, json};

use crate::served::Served;

/// The type of an exported collection.
const JSON_LINES: (&str, &str) = ("content-type", "application/x-ndjson");

/// Puts the tiny model into a directory, with a pooling of its own.
fn put_model(directory: &Path, mode: &str) {
    let pooling = pooling(mode);
    let files = [NOT_NORMALISED, ("1_Pooling/config.json", pooling.as_str())];
    std::fs::create_dir_all(directory.parent().unwrap()).unwrap();
    std::fs::rename(model("tokens.onnx", &files).keep(), directory).unwrap();
}

/// A service over the store in a directory, with the models in another.
fn serve(home: &Path, models: &str) -> Served {
    let store = Store::builder().plugin(Mahalanobis::default());
    let store = store.models(home.join(models)).open(home.join("store"));
    let dir = tempfile::tempdir().unwrap();
    Served::over(dir, store.unwrap(), Settings::default())
}

fn add_fruit(served: &Served) {
    let texts = ["red apple", "green pear", "blue plum"];
    let items = texts.map(|text| json!({"id": text, "text": text}));
    let items = json!({"items": items});
    served.post("/v1/collections/fruit/items", items).ok();
}

fn encoder_of(served: &Served) -> Value {
    let described = served.get("/v1/collections/fruit").ok();
    described["encoder"]["name"].clone()
}

#[test]
fn an_encoder_is_named_found_again_and_never_a_path() {
    let home = tempfile::tempdir().unwrap();
    put_model(&home.path().join("models/tiny"), "mean_tokens");
    let served = serve(home.path(), "models");
    let path = "/v1/collections/fruit";
    assert_eq!(
        served.get("/v1/encoders").ok(),
        json!({"encoders": ["embedded", "tiny"]})
    );
    let absolute = home.path().join("models/tiny");
    for name in [
        "",
        "..",
        "../models/tiny",
        "./tiny",
        "tiny/",
        "models\\tiny",
        absolute.to_str().unwrap(),
    ] {
        served
            .put(path, json!({"encoder": name}))
            .problem(400, "invalid-input");
    }
    let unknown = served.put(path, json!({"encoder": "large"}));
    let detail = unknown.problem(404, "not-found");
    assert!(
        detail.contains("tiny") && detail.contains("--encoder"),
        "{detail}"
    );
    served
        .put(path, json!({"encoder": "tiny", "dim": 4}))
        .problem(400, "invalid-input");
    let made = served.put(path, json!({"encoder": "tiny"}));
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["dim"], 4);
    add_fruit(&served);
    drop(served);

    // The directory of models is elsewhere now, and the model is called otherwise.
    std::fs::create_dir(home.path().join("elsewhere")).unwrap();
    let moved = home.path().join("elsewhere/small");
    std::fs::rename(home.path().join("models/tiny"), moved).unwrap();
    let served = serve(home.path(), "elsewhere");
    let answer = served.post(
        "/v1/collections/fruit/search",
        json!({"query": "green pear", "k": 1}),
    );
    assert_eq!(answer.ok()["hits"][0]["id"], "green pear");
}

#[test]
fn a_collection_gets_another_encoder_and_the_one_before_again() {
    let home = tempfile::tempdir().unwrap();
    put_model(&home.path().join("models/first"), "mean_tokens");
    put_model(&home.path().join("models/second"), "cls_token");
    let served = serve(home.path(), "models");
    let path = "/v1/collections/fruit";
    served.put(path, json!({"encoder": "first"})).ok();
    add_fruit(&served);
    let judgement = json!({"query": "red", "item": "red apple", "relevant": true});
    let judgements = json!({"judgements": [judgement]});
    served.post(&format!("{path}/judgements"), judgements).ok();

    let reencode = format!("{path}/reencode");
    served
        .post(&reencode, json!({"encoder": "../models/second"}))
        .problem(400, "invalid-input");
    served
        .post(&reencode, json!({"encoder": "third"}))
        .problem(404, "not-found");
    let begun = served.post(&reencode, json!({"encoder": "second"}));
    assert_eq!(begun.status, 202);
    let result = served.result(&begun.json());
    assert_eq!(
        [&result["items"], &result["encoded"], &result["judgements"]],
        [&json!(3), &json!(3), &json!(1)],
        "{result}"
    );
    assert_eq!(encoder_of(&served), "second");
    let query = json!({"query": "blue plum", "k": 1});
    served.post(&format!("{path}/search"), query).ok();

    // Not twice without an end of the first.
    let again = served.post(&reencode, json!({"encoder": "first"})).ok();
    assert_eq!(served.finish(&again)["state"], "failed");
    let back = served.post(&format!("{reencode}/back"), json!({})).ok();
    assert_eq!(back, json!({"collection": "fruit", "back": true}));
    assert_eq!(encoder_of(&served), "first");
    let none = served.post(&format!("{reencode}/commit"), json!({}));
    assert_ne!(none.status, 200);

    served.delete("/v1/collections/fruit.reencoding").ok();
    let whole = json!({"encoder": "second", "commit": true});
    let result = served.result(&served.post(&reencode, whole).ok());
    assert_eq!(result["committed"], true);
    assert_eq!(encoder_of(&served), "second");
    let listed = served.get("/v1/collections").ok();
    assert_eq!(listed["collections"].as_array().unwrap().len(), 1);
}

fn import(served: &Served, name: &str, archive: &[u8]) -> crate::served::Answer {
    let path = format!("/v1/collections/{name}/import");
    served.raw("POST", &path, &[JSON_LINES], Some(archive))
}

#[test]
fn a_collection_goes_out_and_comes_in_as_a_file() {
    // Larger than any other body may be.
    let small = Limits {
        body_bytes: 4_000,
        ..Limits::default()
    };
    let served = Served::of_kinds_with(60, small);
    let points = "/v1/collections/points";
    served.result(
        &served
            .post(&format!("{points}/refit"), json!({"force": true}))
            .ok(),
    );
    let export = served.get(&format!("{points}/export"));
    assert_eq!(export.header("content-type"), JSON_LINES.1);
    let archive = export.body;
    assert!(archive.len() > 100_000, "{}", archive.len());

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&archive).unwrap();
    let packed = packed.finish().unwrap();
    for (name, file) in [("plain", &archive), ("packed", &packed)] {
        let begun = import(&served, name, file);
        assert_eq!(begun.status, 202);
        let result = served.result(&begun.json());
        assert_eq!(
            [&result["collection"], &result["items"], &result["metrics"]],
            [&json!(name), &json!(1_000), &json!(1)],
            "{result}"
        );
        let search = |collection: &str| {
            let path = format!("/v1/collections/{collection}/search");
            served.post(&path, json!({"like": "7"})).ok()
        };
        assert_eq!(search(name), search("points"));
        let again = served.get(&format!("/v1/collections/{name}/export"));
        let named = String::from_utf8(again.body).unwrap();
        let named = named.replacen(&format!("\"name\":\"{name}\""), "\"name\":\"points\"", 1);
        assert!(named.as_bytes() == archive, "{name} is another collection");
    }
    import(&served, "points", &archive).problem(409, "already-exists");
    let json = [("content-type", "application/json")];
    served
        .raw("POST", "/v1/collections/new/import", &json, Some(&archive))
        .problem(415, "unsupported-media-type");
}

#[test]
fn a_file_that_cannot_be_imported_leaves_nothing() {
    let limit = Limits {
        import_bytes: 1_000_000,
        ..Limits::default()
    };
    let served = Served::of_kinds_with(0, limit);
    let archive = served.get("/v1/collections/points/export").body;
    assert!(archive.len() < 1_000_000, "{}", archive.len());
    let failed = |archive: &[u8]| {
        let job = served.finish(&import(&served, "new", archive).json());
        assert_eq!(job["state"], "failed", "{job}");
        job["error"]["detail"].as_str().unwrap().to_owned()
    };
    let text = String::from_utf8(archive.clone()).unwrap();
    let cut = &archive[..archive.len() / 2];
    assert!(failed(cut).contains("line"), "{}", failed(cut));
    let twice = text.replacen("\"id\":\"1\"", "\"id\":\"0\"", 1);
    let detail = failed(twice.as_bytes());
    assert!(
        detail.contains("line 3") && detail.contains("occurs already"),
        "{detail}"
    );
    let mut lines: Vec<&str> = text.lines().collect();
    lines.pop();
    assert!(failed(lines.join("\n").as_bytes()).contains("incomplete"));
    assert!(failed(b"").contains("empty"));
    // What unpacks to more than the limit.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&archive).unwrap();
    packed.write_all(&vec![b'\n'; 2_000_000]).unwrap();
    let detail = failed(&packed.finish().unwrap());
    assert!(detail.contains("--import-limit"), "{detail}");

    // One that says its length, which is not waited for, and one that does not.
    let head = "POST /v1/collections/new/import HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n";
    let answer = served.bytes(&format!("{head}content-length: 1000001\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", " ".repeat(length));
    let chunks = [600_000, 400_001].map(chunk).concat();
    let answer = served.bytes(&format!(
        "{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    served.get("/v1/collections/new").problem(404, "not-found");
}
