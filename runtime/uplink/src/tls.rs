//! Whom to trust with TLS, and who we are: the operator's files.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;
use crate::mqtt::Identity;

/// Trusts the authorities in `ca`, or the system's, and shows a certificate to those who ask for one.
pub(crate) fn client_config(
    ca: Option<&Path>,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let roots = match ca {
        Some(path) => authorities(path)?,
        None => system_authorities(),
    };
    let builder = builder.with_root_certificates(roots);
    let Some(Identity { certificate, key }) = identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = certificates(certificate)?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|source| unusable("key", key, source))?;
    let config = builder.with_client_auth_cert(chain, private);
    let config = config.map_err(|source| unusable("key of our certificate", key, source))?;
    Ok(Arc::new(config))
}

fn unusable(
    what: &'static str,
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::File {
        what,
        path: path.display().to_string(),
        source: source.into(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let error = |source| unusable("certificate", path, source);
    let found = CertificateDer::pem_file_iter(path).map_err(error)?;
    found.collect::<Result<_, _>>().map_err(error)
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    const WHAT: &str = "certificate authorities";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|source| unusable(WHAT, path, source))?;
    }
    match roots.is_empty() {
        true => Err(unusable(WHAT, path, "no certificate in it")),
        false => Ok(roots),
    }
}

/// A machine without any can still speak to a centre on loopback; any other is refused by the handshake.
fn system_authorities() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!("cannot read one of the system's certificate authorities: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if unusable > 0 {
        tracing::warn!("{unusable} of the system's certificate authorities cannot be used");
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::AsyncReadExt;
    use tokio_rustls::TlsAcceptor;

    use crate::socket::{self, Address};

    /// A pair for `localhost` in two files.
    fn pair(folder: &Path, name: &str) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let file = |end: &str, text: String| {
            let path = folder.join(format!("{name}.{end}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        Identity {
            certificate: file("pem", params.self_signed(&key).unwrap().pem()),
            key: file("key", key.serialize_pem()),
        }
    }

    /// A server that lets in who shows `ours`.
    fn server(theirs: &Identity, ours: &Identity) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(authorities(&ours.certificate).unwrap());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                certificates(&theirs.certificate).unwrap(),
                PrivateKeyDer::from_pem_file(&theirs.key).unwrap(),
            );
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    #[tokio::test]
    async fn who_asks_for_a_certificate_is_shown_ours_and_without_one_we_do_not_get_in() {
        let folder = tempfile::tempdir().unwrap();
        let (theirs, ours) = (
            pair(folder.path(), "broker"),
            pair(folder.path(), "gateway"),
        );
        let acceptor = server(&theirs, &ours);
        for (identity, expected) in [(Some(&ours), true), (None, false), (Some(&theirs), false)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = Address {
                host: "localhost".into(),
                port: listener.local_addr().unwrap().port(),
            };
            let config = client_config(Some(&theirs.certificate), identity).unwrap();
            let accept = async {
                let (stream, _) = listener.accept().await.unwrap();
                acceptor.accept(stream).await.is_ok()
            };
            let connect = async {
                let socket = socket::connect(&address, Some(config), Arc::default()).await;
                // A refusal comes after the handshake of TLS 1.3.
                if let Ok(mut socket) = socket {
                    let _end = socket.read_u8().await;
                }
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                () = connect => false,
            };
            assert_eq!(accepted, expected, "{identity:?}");
        }
    }

    #[test]
    fn files_that_do_not_hold_what_they_should_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (pair(folder.path(), "one"), pair(folder.path(), "other"));
        let mixed = Identity {
            certificate: one.certificate.clone(),
            key: other.key.clone(),
        };
        let told = |outcome: Result<_, Error>| outcome.map(drop).unwrap_err().to_string();
        let key = told(client_config(Some(&one.certificate), Some(&mixed)));
        assert!(key.contains("other.key"), "{key}");
        let ca = told(client_config(Some(&one.key), None));
        assert!(ca.contains("certificate authorities"), "{ca}");
        let missing = told(client_config(Some(Path::new("/nowhere")), None));
        assert!(missing.contains("/nowhere"), "{missing}");
    }
}
