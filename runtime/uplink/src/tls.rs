//! Whom to trust with TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::Error;

/// Trusts the authorities in `ca`, or the system's.
pub(crate) fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let roots = match ca {
        Some(path) => authorities(path)?,
        None => system_authorities(),
    };
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let error = |source: Box<dyn std::error::Error + Send + Sync>| Error::Authorities {
        path: path.display().to_string(),
        source,
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|source| error(source.into()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|source| error(source.into()))?;
        roots
            .add(certificate)
            .map_err(|source| error(source.into()))?;
    }
    match roots.is_empty() {
        true => Err(error("no certificate in it".into())),
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
