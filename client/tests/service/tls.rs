//! A service over TLS, with a certificate of an authority that only the tests know.

use std::path::{Path, PathBuf};

use affinis::Item;
use affinis_client::{Client, Error};
use affinis_server::{Settings, Tls};

use crate::serving::Serving;

/// A file of the certificates that the tests of the service are made with.
fn file(name: &str) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/service/tls");
    Path::new(directory).join(name)
}

fn secured(home: &Path) -> Serving {
    let read = |name| std::fs::read(file(name)).expect("a certificate");
    let tls = Tls::from_pem(&read("certificate.pem"), &read("key.pem")).expect("a certificate");
    let settings = Settings {
        tls: Some(tls),
        ..Settings::default()
    };
    Serving::with(home, settings)
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = secured(home.path());
    assert!(
        serving.url.starts_with("https://127.0.0.1:"),
        "{}",
        serving.url
    );
    let trusting = |url: &str| {
        let client = Client::new(url).expect("a client");
        let roots = client.root_certificates(file("authority.pem"));
        roots.expect("an authority")
    };
    let client = trusting(&serving.url);
    client.create("c").dim(2).create().expect("created");
    let items = (0..700_u16).map(|at| Item::vector(at.to_string(), [f32::from(at), 1.0]));
    // In several requests, on one connection and on those of its own.
    client.collection("c").add(items).expect("added");
    assert_eq!(client.collection("c").count(None).expect("counted"), 700);
    client.drop_collection("c").expect("dropped");
    // By its name too, which the certificate has.
    let port = serving.url.rsplit_once(':').expect("a port").1;
    let named = trusting(&format!("https://localhost:{port}"));
    named.health().expect("answered");
}

#[test]
fn an_authority_that_is_not_named_is_not_trusted() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = secured(home.path());
    let client = Client::new(&serving.url).expect("a client");
    let refused = client.health().expect_err("not trusted");
    assert!(matches!(refused, Error::Certificate { .. }), "{refused:?}");
    // The certificate of the service is no authority, and signed itself by another one.
    let other = client.root_certificates(file("certificate.pem"));
    let refused = other.map(|client| client.health());
    assert!(!matches!(refused, Ok(Ok(()))), "{refused:?}");
}

#[test]
fn what_is_no_certificate_is_refused_with_its_file() {
    let home = tempfile::tempdir().expect("a directory");
    let client = Client::new("https://127.0.0.1:1").expect("a client");
    let path = home.path().join("roots.pem");
    // The middle one is a frame of PEM around bytes that are no certificate.
    for text in [
        "nothing",
        "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n",
        &std::fs::read_to_string(file("key.pem")).expect("a key"),
    ] {
        std::fs::write(&path, text).expect("written");
        let error = client.clone().root_certificates(&path);
        let error = error.expect_err("no certificate").to_string();
        assert!(error.contains("roots.pem"), "{error}");
    }
}
