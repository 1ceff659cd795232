//! TLS: the certificate and its key, and the handshake of a connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::problem::{Kind, Problem};

/// The first byte of a TLS connection: the type of the record of a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 0x16;
/// The most bytes that are read of a request in plain text before it is refused.
const PLAIN_BYTES: usize = 16 << 10;

/// A certificate with its key, with which a service answers over TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file of certificates cannot be read as such.
    #[error(
        "there is no certificate in PEM in it (`-----BEGIN CERTIFICATE-----`, the service's own first): {0}"
    )]
    Certificate(String),
    /// The file of the key cannot be read as such.
    #[error("there is no private key in PEM in it (`-----BEGIN PRIVATE KEY-----`): {0}")]
    Key(String),
    /// The key is that of another certificate.
    #[error(
        "the private key is not that of the certificate; the first certificate must be the one that the key was made for"
    )]
    Mismatch,
    /// They are of a kind that is not supported.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(String),
}

// Prints no key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate, followed by those that lead to its authority, and its private key
    /// (PKCS#8, PKCS#1 or SEC1), both in PEM.
    ///
    /// # Errors
    /// [`TlsError`], which says which of the two is wrong.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| TlsError::Certificate(words(&error)))?;
        if chain.is_empty() {
            return Err(TlsError::Certificate(words(&pem::Error::NoItemsFound)));
        }
        let key = PrivateKeyDer::from_pem_slice(key);
        let key = key.map_err(|error| TlsError::Key(words(&error)))?;
        let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    TlsError::Mismatch
                }
                rustls::Error::InvalidCertificate(error) => {
                    TlsError::Certificate(error.to_string())
                }
                other => unusable(other),
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands on a connection within a time. A request in plain text is answered with a
    /// problem, and refused.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        time: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        let shake_hands = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
                return refuse_plain(stream).await;
            }
            TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).await
        };
        tokio::time::timeout(time, shake_hands)
            .await
            .unwrap_or_else(|_| {
                let reason = "there was no TLS handshake in time";
                Err(io::Error::new(io::ErrorKind::TimedOut, reason))
            })
    }
}

/// Answers a request in plain text with what to do, and gives the error of the connection.
async fn refuse_plain<T>(mut stream: TcpStream) -> io::Result<T> {
    let detail = "this port speaks TLS: ask for https:// in place of http://";
    let document = Problem::new(Kind::InvalidInput, detail).document();
    let body = serde_json::to_string(&document)?;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // A connection that is closed with bytes unread is reset, and the answer may be lost.
    let mut unread = vec![0; PLAIN_BYTES];
    let _ = stream.read(&mut unread).await?;
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let reason = "a request in plain text came instead of a TLS handshake";
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// A fault of a PEM file in words; its own may quote the file, which may be that of the key.
fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "it holds none".to_owned(),
        pem::Error::MissingSectionEnd { .. } => "the line of its end is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "the line of its beginning is cut off".to_owned(),
        pem::Error::Base64Decode(_) => "its base64 is damaged".to_owned(),
        _ => "it cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("../tests/service/tls/certificate.pem");
    const KEY: &[u8] = include_bytes!("../tests/service/tls/key.pem");
    const OTHER_KEY: &[u8] = include_bytes!("../tests/service/tls/other-key.pem");

    #[test]
    fn what_is_wrong_with_a_certificate_or_a_key_is_told_and_no_key_is_quoted() {
        assert!(Tls::from_pem(CERTIFICATE, KEY).is_ok());
        let cut = &KEY[..KEY.len() - 30];
        for (certificates, key, word) in [
            (KEY, KEY, "no certificate"),
            (b"", KEY, "no certificate"),
            (CERTIFICATE, CERTIFICATE, "no private key"),
            (CERTIFICATE, b"", "no private key"),
            (CERTIFICATE, cut, "no private key"),
            (CERTIFICATE, OTHER_KEY, "not that of the certificate"),
        ] {
            let error = Tls::from_pem(certificates, key).expect_err(word);
            let told = format!("{error} {error:?}");
            assert!(told.contains(word), "{told}");
            let secret = std::str::from_utf8(KEY).expect("text");
            let secret = secret.lines().nth(1).expect("its base64");
            assert!(!told.contains(secret), "{told}");
        }
        // A certificate whose bytes are none.
        let damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(Tls::from_pem(damaged, KEY).is_err());
    }
}
