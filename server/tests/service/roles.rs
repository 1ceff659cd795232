//! Each call needs the role that the table of `docs/service.md` gives it, and no less.

use affinis_server::Role;

use crate::access::{Guarded, ROLES};
use crate::contract::calls;

/// The role of a call in the documentation; `None` where it says "nobody".
fn documented(method: &str, path: &str) -> Option<Role> {
    let documentation = include_str!("../../../docs/service.md");
    let mut rows = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once(" | "));
    // A row may name several addresses.
    let (_, rest) = rows
        .find(|(call, _)| {
            call.starts_with(&format!("{method} "))
                && call.split(['`', ' ', ',']).any(|word| word == path)
        })
        .unwrap_or_else(|| panic!("{method} {path} is not documented"));
    match rest.split(" | ").next().unwrap().trim() {
        "nobody" => None,
        role => Some(
            role.parse()
                .unwrap_or_else(|error| panic!("{path}: {error}")),
        ),
    }
}

/// The address of something that there is not: who may ask learns that, and nobody else.
fn of_nothing(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{v}" | "{w}" | "{n}" => "9",
        part if part.starts_with('{') => "nothing",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn each_call_needs_its_documented_role() {
    let guarded = Guarded::new();
    let (mut checked, mut free) = (0, 0);
    for (method, path) in calls() {
        let Some(needed) = documented(&method, &path) else {
            free += 1;
            continue;
        };
        let address = of_nothing(&path);
        let call = format!("{method} {path}");
        for wrong in ["", "Bearer wrong", "Basic YW5uOmFubg=="] {
            let detail = guarded
                .with(wrong, &method, &address, None)
                .problem(401, "unauthenticated");
            assert!(detail.contains(&needed.to_string()), "{call}: {detail}");
        }
        for role in ROLES {
            let answer = guarded.ask(role, &method, &address, None);
            if role < needed {
                answer.problem(403, "forbidden");
            } else {
                assert!(![401, 403].contains(&answer.status), "{call} as {role}");
            }
        }
        checked += 1;
    }
    assert!(checked > 40 && free >= 5, "{checked}, {free}");
    for role in ROLES {
        let answer = guarded.ask(role, "PATCH", "/v1/collections/nothing", None);
        let status = if role < Role::Admin { 403 } else { 405 };
        assert_eq!(answer.status, status, "{role}");
    }
}
