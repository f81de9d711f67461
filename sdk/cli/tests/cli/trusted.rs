//! A centre whose certificate is not believed.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::PrivateKeyDer;

use crate::fixture::{Ran, Workshop};

/// A certificate that a server shows, as DER and PEM, and its key.
struct Shown {
    config: ServerConfig,
    pem: String,
}

fn shown(is_ca: IsCa) -> Shown {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let chain = vec![certificate.der().clone()];
    Shown {
        config: builder
            .with_no_client_auth()
            .with_single_cert(chain, der)
            .unwrap(),
        pem: certificate.pem(),
    }
}

/// Shows it to one visitor, who is expected to hang up.
fn serve_once(config: ServerConfig) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        while connection.is_handshaking() {
            if connection.complete_io(&mut stream).is_err() {
                return;
            }
        }
    });
    (address, server)
}

fn ask(workshop: &Workshop, config: ServerConfig, ca: &[&str]) -> Ran {
    let (address, server) = serve_once(config);
    let centre = format!("https://{address}");
    let asked = [&["fleet", "ls", "--centre", &centre][..], ca].concat();
    let asked = crate::fleet::with_token(workshop, &asked);
    server.join().unwrap();
    asked
}

#[test]
fn a_certificate_that_is_not_believed_is_told_with_what_helps() {
    let workshop = Workshop::new();
    let plain = shown(IsCa::ExplicitNoCa);
    ask(&workshop, plain.config, &[]).check(1, &["cannot be reached", "hint: --ca FILE"]);

    let authority = shown(IsCa::Ca(BasicConstraints::Unconstrained));
    workshop.write("centre.pem", &authority.pem);
    ask(&workshop, authority.config, &["--ca", "centre.pem"]).check(
        1,
        &[
            "CaUsedAsEndEntity",
            "(CA:TRUE) as its own: it needs one with CA:FALSE",
        ],
    );

    // The control: one that is believed gets as far as the question, and whatever else fails has no such hint.
    let good = shown(IsCa::ExplicitNoCa);
    workshop.write("centre.pem", &good.pem);
    let asked =
        ask(&workshop, good.config, &["--ca", "centre.pem"]).check(1, &["cannot be reached"]);
    assert!(!asked.stderr.contains("hint"), "{}", asked.stderr);
}
