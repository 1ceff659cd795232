//! TLS to the server, with the meanings of `sslmode` and `sslrootcert` that libpq gives them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Which certificates of a server are taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Any: what is sent is encrypted, and who receives it is not known.
    Anybody,
    /// Those that name the host and are signed by one in the file, or by one that the system trusts.
    Signed(Option<PathBuf>),
}

/// Takes out of a URL what the driver does not know. Gives the rest, and whom to trust.
pub(crate) fn trust_of(url: &str) -> Result<(String, Trust), String> {
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), Trust::Anybody));
    };
    let (mut rest, mut verified, mut file) = (Vec::new(), false, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "verify-full")) => {
                verified = true;
                rest.push("sslmode=require");
            }
            Some(("sslmode", "verify-ca")) => {
                return Err("sslmode=verify-ca is not supported; use verify-full".to_owned());
            }
            Some(("sslmode", "allow")) => rest.push("sslmode=prefer"),
            Some(("sslrootcert", path)) => file = Some(PathBuf::from(path)),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", rest.join("&"))
    };
    let trust = match (verified, file) {
        (true, file) => Trust::Signed(file),
        (false, None) => Trust::Anybody,
        (false, Some(_)) => {
            return Err(
                "sslrootcert says whom to trust, which needs sslmode=verify-full".to_owned(),
            );
        }
    };
    Ok((url, trust))
}

/// What makes TLS connections of this trust.
pub(crate) fn connector(trust: &Trust) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match trust {
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth(),
        Trust::Signed(file) => builder
            .with_root_certificates(roots(file.as_ref())?)
            .with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(file: Option<&PathBuf>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that cannot be read trusts nobody.
            let _ = roots.add(certificate);
        }
        return Ok(roots);
    };
    let unreadable = |why: String| format!("sslrootcert {}: {why}", path.display());
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
        roots
            .add(certificate)
            .map_err(|e| unreadable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Takes any certificate whose key the server has.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_whom_to_trust() {
        let url = "postgres://u:p@h/d";
        for (query, rest, trust) in [
            ("", "", Trust::Anybody),
            ("?sslmode=require", "?sslmode=require", Trust::Anybody),
            (
                "?sslmode=allow&connect_timeout=3",
                "?sslmode=prefer&connect_timeout=3",
                Trust::Anybody,
            ),
            (
                "?sslmode=verify-full",
                "?sslmode=require",
                Trust::Signed(None),
            ),
            (
                "?sslrootcert=/ca.pem&sslmode=verify-full",
                "?sslmode=require",
                Trust::Signed(Some("/ca.pem".into())),
            ),
        ] {
            let expected = (format!("{url}{rest}"), trust);
            assert_eq!(trust_of(&format!("{url}{query}")), Ok(expected), "{query}");
        }
        assert!(trust_of(&format!("{url}?sslmode=verify-ca")).is_err());
        assert!(trust_of(&format!("{url}?sslrootcert=/ca.pem")).is_err());
    }
}
