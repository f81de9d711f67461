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
