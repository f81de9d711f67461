//! Whom to trust with TLS, and who we are: the operator's files.
//!
//! The authorities are read once. Our own certificate is read again for each connection, because certificates are
//! renewed while a gateway runs. An expired one stops nothing here: the broker's clock decides, ours may be wrong. But it
//! is told, and named when a connection fails.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use thiserror::Error;

use crate::Identity;

/// Largest file that is read: a bundle of all the world's authorities has a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How to speak TLS to one broker.
#[derive(Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    identity: Option<Identity>,
}

impl Tls {
    /// Trusts the authorities in `ca_file`, or the system's. All files are read and held against each other.
    pub(crate) fn new(
        ca_file: Option<&Path>,
        identity: Option<Identity>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => read_authorities(path, &mut roots)?,
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let tls = Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            roots: Arc::new(roots),
            identity,
        };
        tls.client_config()?;
        Ok(tls)
    }

    /// The settings for one connection, with our certificate as it is now.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Versions)?
            .with_root_certificates(self.roots.clone());
        let Some(identity) = &self.identity else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let certified = certified_key(identity, &self.provider)?;
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        Ok(Arc::new(
            builder.with_client_cert_resolver(Arc::new(resolver)),
        ))
    }

    /// Our certificate, if we have one.
    pub(crate) fn certificate_file(&self) -> Option<&Path> {
        let identity = self.identity.as_ref()?;
        Some(&identity.certificate_file)
    }

    /// Our certificate, if it has expired, and for how long; `now` since 1970.
    pub(crate) fn expired(&self, now: Duration) -> Option<(&Path, Duration)> {
        let path = self.certificate_file()?;
        let chain = read_certificates(path).ok()?;
        let algorithms = self.provider.signature_verification_algorithms;
        Some((path, expired_for(chain.first()?, now, &algorithms)?))
    }

    /// The private key, if others than its owner and group may read it.
    pub(crate) fn key_open_to_all(&self) -> Option<&Path> {
        let path = self.identity.as_ref()?.key_file.as_path();
        let mode = std::fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o004 != 0).then_some(path)
    }
}

/// Whether the other side ended the connection over our certificate, or for want of one.
pub(crate) fn refuses_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::AlertReceived(alert)) = inner else {
        return false;
    };
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// Why the files for TLS cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the {what} {path}")]
    Read {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any that holds certificates.
    #[error("the {what} {path} has more than {FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file is no PEM.
    #[error("the {what} {path} is damaged")]
    Damaged {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: pem::Error,
    },
    /// A file holds something else.
    #[error("there is no {what} in {path}")]
    Missing {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// What a file holds cannot be used.
    #[error("the {what} {path} cannot be used")]
    Unusable {
        /// What it holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Certificate and key are not of one pair.
    #[error("the key {key} does not fit the certificate {certificate}")]
    Mismatch {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        certificate: PathBuf,
    },
    /// There is no authority to trust.
    #[error("this machine trusts no certificate authority: name one with ca")]
    NoAuthority,
    /// The library cannot speak TLS.
    #[error("no version of tls can be spoken")]
    Versions(#[source] rustls::Error),
}

const AUTHORITIES: &str = "certificate authorities";
const CERTIFICATE: &str = "certificate";
const KEY: &str = "unencrypted private key";

fn read_authorities(path: &Path, roots: &mut RootCertStore) -> Result<(), TlsError> {
    for certificate in read_pem::<CertificateDer<'_>>(path, AUTHORITIES)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Unusable {
                what: AUTHORITIES,
                path: path.to_owned(),
                source,
            })?;
    }
    Ok(())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    read_pem(path, CERTIFICATE)
}

fn certified_key(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let (certificate, key) = (&identity.certificate_file, &identity.key_file);
    let chain = read_certificates(certificate)?;
    let private = read_pem::<PrivateKeyDer<'_>>(key, KEY)?.pop();
    let private = private.ok_or_else(|| TlsError::Missing {
        what: KEY,
        path: key.clone(),
    })?;
    let private = provider.key_provider.load_private_key(private);
    let private = private.map_err(|source| TlsError::Unusable {
        what: KEY,
        path: key.clone(),
        source,
    })?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            key: key.clone(),
            certificate: certificate.clone(),
        }),
        Err(source) => Err(TlsError::Unusable {
            what: CERTIFICATE,
            path: certificate.clone(),
            source,
        }),
    }
}

/// Every `what` in the file at `path`: at least one.
fn read_pem<T: PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let mut text = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    let path = || path.to_owned();
    let bytes = read.map_err(|source| TlsError::Read {
        what,
        path: path(),
        source,
    })?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(TlsError::TooLarge { what, path: path() });
    }
    let found: Vec<T> = T::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Damaged {
            what,
            path: path(),
            source,
        })?;
    match found.is_empty() {
        true => Err(TlsError::Missing { what, path: path() }),
        false => Ok(found),
    }
}

/// How long `certificate` has been expired at `now`; none when it has not. Whom it is signed by plays no role.
fn expired_for(
    certificate: &CertificateDer<'_>,
    now: Duration,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<Duration> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    // Its times are the first thing that is looked at; that nobody is trusted shows only after them.
    let verdict = verify_server_cert_signed_by_trust_anchor(
        &certificate,
        &RootCertStore::empty(),
        &[],
        UnixTime::since_unix_epoch(now),
        algorithms.all,
    );
    match verdict {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Some(now.saturating_sub(Duration::from_secs(not_after.as_secs()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair whose certificate ends with the year 2020, and TLS with it.
    fn tls(dir: &tempfile::TempDir) -> Tls {
        let mut certificate = rcgen::CertificateParams::new(["gateway".to_owned()]).unwrap();
        certificate.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = certificate.self_signed(&key).unwrap().pem();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let identity = Identity {
            certificate_file: file("gateway.pem", &certificate),
            key_file: file("gateway.key", &key.serialize_pem()),
        };
        Tls::new(Some(&file("ca.pem", &certificate)), Some(identity)).unwrap()
    }

    #[test]
    fn an_expired_certificate_is_told_and_one_from_the_future_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let tls = tls(&dir);
        let new_year = Duration::from_secs(1_609_459_200);
        let hour = Duration::from_secs(3600);
        let (path, since) = tls.expired(new_year + hour).unwrap();
        assert_eq!((path, since), (&*dir.path().join("gateway.pem"), hour));
        assert!(tls.expired(new_year - hour).is_none());
        // A gateway that has not got the time yet thinks that it is 1970.
        assert!(tls.expired(hour).is_none());
    }

    #[test]
    fn a_key_that_everybody_can_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let tls = tls(&dir);
        let key = dir.path().join("gateway.key");
        for (mode, told) in [(0o644, true), (0o640, false), (0o600, false)] {
            std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(tls.key_open_to_all().is_some(), told, "{mode:o}");
        }
    }
}
