//! Quepid's custom search endpoint: a stand-in of its two ways to ask, and the mapper of
//! `docs/service.md` over the answer.

use std::process::Command;

use affinis_server::{Role, Settings, Tokens};
use serde_json::{Value, json};

use crate::served::{Answer, Served};

/// Where Quepid's own pages come from.
const QUEPID: &str = "https://quepid.example.org";
const PATH: &str = "/v1/collections/c/search";

/// The text of a block of the recipe, by the language that it is marked with.
fn block(language: &str) -> &'static str {
    let documentation = include_str!("../../../docs/service.md");
    let recipe = documentation.split("## Quepid").nth(1).expect("the recipe");
    let block = recipe
        .split(&format!("```{language}\n"))
        .nth(1)
        .expect(language);
    block.split("```").next().unwrap()
}

/// The body that Quepid makes of the recipe's query template for a query.
fn hydrated(query: &str) -> Value {
    let template: Value = serde_json::from_str(block("json")).unwrap();
    let fields = template.as_object().unwrap().iter().map(|(name, value)| {
        let value = match value.as_str() {
            Some(text) => json!(text.replace("#$query##", query)),
            None => value.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(fields.collect())
}

struct Judged {
    served: Served,
    authorization: String,
}

impl Judged {
    fn new(origins: &[&str]) -> Self {
        let made = Tokens::make("quepid", Role::Search).unwrap();
        let admin = Tokens::make("admin", Role::Admin).unwrap();
        let lines = format!("{}\n{}", made.line, admin.line);
        let tokens = Some(Tokens::parse(&lines).unwrap());
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let served = Served::with(|_, settings| Settings {
            tokens,
            origins,
            ..settings
        });
        let bearer = format!("Bearer {}", admin.token);
        let admin = [("authorization", bearer.as_str())];
        served
            .send("PUT", "/v1/collections/c", &admin, json!({}))
            .ok();
        let items = json!({"items": [
            {"id": "a1", "text": "how to prune apple trees", "meta": {"lang": "en", "year": 2021}},
            {"id": "a2", "text": "changing the oil of a car"},
        ]});
        served
            .send("POST", "/v1/collections/c/items", &admin, items)
            .ok();
        Self {
            served,
            authorization: format!("Bearer {}", made.token),
        }
    }

    /// Quepid's page asks from the browser, as `fetch` does with custom headers: after a preflight.
    fn asked_in_the_browser(&self, body: Value) -> (Answer, Answer) {
        let preflight = [
            ("origin", QUEPID),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type",
            ),
        ];
        let preflight = self.served.raw("OPTIONS", PATH, &preflight, None);
        let headers = [
            ("origin", QUEPID),
            ("referer", "https://quepid.example.org/case/1/try/1"),
            ("content-type", "application/json;charset=utf-8"),
            ("authorization", &self.authorization),
        ];
        let body = body.to_string();
        let answer = self
            .served
            .raw("POST", PATH, &headers, Some(body.as_bytes()));
        (preflight, answer)
    }

    /// Quepid's server asks for it ("proxy requests"), and passes on most headers of its page,
    /// `origin` and cookies among them.
    fn asked_through_the_proxy(&self, body: Value) -> Answer {
        let headers = [
            ("origin", QUEPID),
            ("cookie", "_quepid_session=abc"),
            ("x-requested-with", "XMLHttpRequest"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/json"),
            ("authorization", &self.authorization),
        ];
        let body = body.to_string();
        self.served
            .raw("POST", PATH, &headers, Some(body.as_bytes()))
    }
}

#[test]
fn quepid_searches_asked_in_the_browser_and_through_its_proxy() {
    let judged = Judged::new(&[QUEPID]);
    let query = r#"fruit "tree" care"#;
    let (preflight, answer) = judged.asked_in_the_browser(hydrated(query));
    assert_eq!(preflight.header("access-control-allow-origin"), QUEPID);
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("POST")
    );
    for header in ["authorization", "content-type"] {
        let allowed = preflight.header("access-control-allow-headers");
        assert!(allowed.contains(header), "{allowed}");
    }
    assert_eq!(answer.header("access-control-allow-origin"), QUEPID);
    let answer = answer.ok();
    assert_eq!(answer["query"], query);
    assert_eq!(answer["hits"][0]["id"], "a1");
    assert_eq!(judged.asked_through_the_proxy(hydrated(query)).ok(), answer);
}

#[test]
fn without_its_origin_quepid_is_refused() {
    let judged = Judged::new(&[]);
    let (preflight, answer) = judged.asked_in_the_browser(hydrated("fruit"));
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    answer.problem(403, "forbidden");
    let detail = judged
        .asked_through_the_proxy(hydrated("fruit"))
        .problem(403, "forbidden");
    assert!(detail.contains("--origin"), "{detail}");
}

#[test]
fn the_mapper_of_the_recipe_reads_the_answer() {
    if Command::new("node").arg("--version").output().is_err() {
        affinis_testkit::skipped("there is no node");
        return;
    }
    let judged = Judged::new(&[QUEPID]);
    let (_, answer) = judged.asked_in_the_browser(hydrated("fruit tree care"));
    let answer = answer.ok();
    // As Quepid does: the code defines two functions, which are given the parsed answer.
    let script = format!(
        "let numberOfResultsMapper, docsMapper;\n{}\nconst data = {answer};\n\
         console.log(JSON.stringify([numberOfResultsMapper(data), docsMapper(data)]));",
        block("js")
    );
    let output = Command::new("node").args(["-e", &script]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let mapped: Value = serde_json::from_slice(&output.stdout).expect(&error);
    assert_eq!(mapped[0], 2);
    assert_eq!(mapped[1][0]["id"], "a1");
    assert_eq!(mapped[1][0]["text"], "how to prune apple trees");
    assert_eq!(mapped[1][0]["year"], 2021);
    assert_eq!(mapped[1][1]["id"], "a2");
    assert!(mapped[1][0]["score"].is_number());
}
