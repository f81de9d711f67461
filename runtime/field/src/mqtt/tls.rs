//! Whom to trust with TLS: the operator's authorities, or the system's.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::{BrokerConfig, FieldError};

/// The TLS settings for `broker`.
pub(crate) fn client_config(broker: &BrokerConfig) -> Result<Arc<ClientConfig>, FieldError> {
    let mut roots = RootCertStore::empty();
    match &broker.ca_file {
        Some(path) => {
            read_authorities(path, &mut roots).map_err(|source| FieldError::Authorities {
                broker: broker.name.clone(),
                path: path.clone(),
                source,
            })?
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(FieldError::NoAuthority {
            broker: broker.name.clone(),
        });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|source| FieldError::Authorities {
        broker: broker.name.clone(),
        path: broker.ca_file.clone().unwrap_or_default(),
        source: Box::new(source),
    })?;
    Ok(Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}

fn read_authorities(
    path: &Path,
    roots: &mut RootCertStore,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    Ok(())
}
