//! The description of the service, and its documentation.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::served::Served;

/// The description is committed, so that a change of the contract is seen in a review. With
/// `AFFINIS_UPDATE=1` the file is written.
#[test]
fn the_committed_description_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let made = affinis_server::openapi_json().unwrap();
    if std::env::var_os("AFFINIS_UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == made,
        "server/openapi.json is not what the types say; AFFINIS_UPDATE=1 cargo test -p affinis-server contract writes it"
    );
    let description: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    let served = Served::new();
    assert_eq!(served.get("/openapi.json").ok(), description);
}

/// The paths and methods of the description.
pub(crate) fn calls() -> Vec<(String, String)> {
    let description: Value =
        serde_json::from_str(&affinis_server::openapi_json().unwrap()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| (method.to_uppercase(), path.clone()))
    });
    calls.collect()
}

#[test]
fn every_call_is_documented() {
    let documentation = include_str!("../../../docs/service.md");
    let rows: Vec<&str> = documentation
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for (method, path) in calls() {
        let is_documented = rows.iter().any(|row| {
            let call = row.trim_start_matches("| ").split(" | ").next().unwrap();
            call.starts_with(&format!("`{method} ")) && call.contains(&path)
        });
        assert!(is_documented, "{method} {path}");
    }
}

#[test]
fn every_call_says_what_it_takes_and_how_it_fails() {
    let description: Value =
        serde_json::from_str(&affinis_server::openapi_json().unwrap()).unwrap();
    let problem = &description["components"]["responses"]["Problem"]["content"];
    assert_eq!(
        problem["application/problem+json"]["schema"]["$ref"],
        "#/components/schemas/ProblemDocument"
    );
    let mut names = BTreeSet::new();
    for (method, path) in calls() {
        let call = &description["paths"][&path][method.to_lowercase()];
        let name = call["operationId"].as_str().unwrap();
        assert!(
            names.insert(name.to_owned()),
            "{name} is the name of two calls"
        );
        assert!(call["summary"].is_string(), "{method} {path}");
        let answers = call["responses"].as_object().unwrap();
        for (status, answer) in answers
            .iter()
            .filter(|(status, _)| !status.starts_with('2'))
        {
            let name = match status.as_str() {
                "429" => "RateLimited",
                _ => "Problem",
            };
            assert_eq!(
                answer["$ref"],
                format!("#/components/responses/{name}"),
                "{status} of {method} {path}"
            );
        }
        assert!(answers.contains_key("403") && answers.contains_key("503"));
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = name.trim_end_matches('}');
            let parameters = call["parameters"].as_array().unwrap();
            assert!(
                parameters
                    .iter()
                    .any(|p| p["name"] == name && p["in"] == "path"),
                "{name} of {method} {path}"
            );
        }
    }
}
