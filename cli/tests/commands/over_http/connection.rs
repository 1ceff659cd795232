//! Who is spoken to, and as whom: tokens, certificates.

use super::both::Serving;
use crate::home::Home;

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
