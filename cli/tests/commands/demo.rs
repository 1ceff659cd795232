//! The command `demo`: its report, and the store that it can keep.

use serde_json::json;

use crate::home::Home;

#[test]
fn the_demo_learns_and_keeps_its_store_on_request() {
    let home = Home::new();
    let report = home.json(["demo", "--keep", "kept"]);
    assert_eq!(
        (&report["items"], &report["categories"]),
        (&json!(6000), &json!(41))
    );
    assert_eq!(
        (
            &report["judged"]["queries"],
            &report["judged"]["judgements"]
        ),
        (&json!(100), &json!(1000))
    );
    assert_eq!(report["queries"].as_array().unwrap().len(), 3);
    assert_eq!(
        report["queries"][0]["learned"].as_array().unwrap().len(),
        10
    );
    assert_eq!(
        (
            &report["reopened"]["all_equal"],
            &report["reopened"]["queries"]
        ),
        (&json!(true), &json!(603))
    );
    assert_eq!(report["refit"]["promoted"], true, "{report}");
    let measure = |row: usize, name: &str| {
        report["evaluation"]["rows"][row][name]["mean"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(report["evaluation"]["queries"], 500);
    assert!(
        measure(1, "precision") > measure(0, "precision")
            && measure(1, "ndcg") > measure(0, "ndcg"),
        "{report}"
    );

    let remembered = |name: &str| report["remembered"][name].as_f64().unwrap();
    assert!(remembered("memory") > remembered("metric"), "{report}");
    assert!(
        remembered("memory_of_new") >= remembered("metric_of_new"),
        "{report}"
    );

    let rank = |ranking: &str| report["named"][ranking].as_u64();
    assert!(rank("hybrid").is_some_and(|rank| rank <= 10), "{report}");
    assert!(rank("by_meaning").is_none_or(|rank| rank > 10), "{report}");

    // The store answers as the demo did, down to the depth at which the demo compares ranks.
    let question = report["queries"][0]["query"].as_str().unwrap();
    let again = home.json([
        "search",
        "wordnet",
        question,
        "-k",
        "100",
        "--no-memory",
        "--store",
        "kept",
    ]);
    let ids = |answers: &serde_json::Value| -> Vec<_> {
        answers
            .as_array()
            .unwrap()
            .iter()
            .take(10)
            .map(|a| (a["id"].clone(), a["distance"].clone()))
            .collect()
    };
    assert_eq!(ids(&again["hits"]), ids(&report["queries"][0]["learned"]));
    home.fails(["demo", "--keep", "kept"], 1, &["kept exists"]);
    assert!(!home.path("affinis.store").exists());
}

#[cfg(feature = "serve")]
#[test]
fn the_demo_opens_its_page_at_the_end() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::process::Stdio;

    let home = Home::new();
    let mut demo = home
        .command(["demo", "--json", "--serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Read to the end of the test, so that it can always be written to.
    let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned))
        .expect("the address");
    let ask = |path: &str| {
        let mut connection = std::net::TcpStream::connect(&address).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/").contains("<!doctype html>"));
    let collections = ask("/v1/collections");
    assert!(collections.contains("wordnet") && collections.contains("6000"));
    let taken = ["demo", "--serve", "--listen", &address];
    home.fails(taken, 1, &[&address, "--listen 127.0.0.1:0"]);
    let ended = std::process::Command::new("kill")
        .args(["-TERM", &demo.id().to_string()])
        .status();
    assert!(ended.unwrap().success());
    let output = demo.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["items"], 6000);
}

#[cfg(not(feature = "serve"))]
#[test]
fn a_build_without_the_page_says_which_has_it() {
    Home::new().fails(["demo", "--serve"], 1, &["--features serve"]);
}
