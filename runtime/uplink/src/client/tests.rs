use super::*;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidegate_wire::WallTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(20);

const EPOCH: Epoch = Epoch {
    ordinal: 3,
    random: 9,
};

fn reply() -> SyncReply {
    SyncReply {
        version: tidegate_wire::VERSION,
        marks: Vec::new(),
        server_time: WallTime(7),
        next_poll_ms: 5000,
        pace: None,
    }
}

/// Answers one request on `stream`; gives its head. None when the other side has closed it.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    let (head, length) = loop {
        let mut chunk = [0; 4096];
        let read = stream
            .read(&mut chunk)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let whole = head.len() + 4 + length.unwrap().parse::<usize>().unwrap();
            break (head.to_owned(), whole);
        }
    };
    while request.len() < length {
        let mut chunk = [0; 4096];
        let read = stream
            .read(&mut chunk)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        request.extend_from_slice(&chunk[..read]);
    }
    let body = tidegate_wire::encode(&reply()).unwrap();
    let head_back = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head_back.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    stream.flush().await.unwrap();
    Some(head)
}

/// A centre at `localhost` with a certificate of its own, and that in a file.
async fn centre(folder: &tempfile::TempDir) -> (TcpListener, TlsAcceptor, CentreConfig) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key);
    let certificate = certificate.unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let config_of_ours = CentreConfig::new(&url, Some(ca)).unwrap();
    (
        listener,
        TlsAcceptor::from(Arc::new(config)),
        config_of_ours,
    )
}

#[tokio::test]
async fn an_exchange_goes_by_tls_and_all_of_it_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, acceptor, config) = centre(&folder).await;
    let traffic = Arc::<Traffic>::default();
    let mut client = Client::new(&config, PATIENCE, traffic.clone()).unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let head = answer(&mut stream).await.unwrap();
        answer(&mut stream).await.unwrap();
        head
    };
    let sync = async {
        let first = client.sync(vec![1; 1000], EPOCH).await.unwrap();
        let before = traffic.total();
        client.sync(vec![1; 1000], EPOCH).await.unwrap();
        (first, before, traffic.total() - before)
    };
    let (head, (first, handshake, second)) = tokio::join!(serve, sync);
    assert_eq!(first, reply());
    assert!(head.starts_with("POST /v1/sync HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: localhost:"), "{head}");
    assert!((1100..2000).contains(&second), "{second} bytes");
    assert!(
        handshake > second + 1000,
        "the handshake counts: {handshake} bytes"
    );
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, acceptor, config) = centre(&folder).await;
    let other = tempfile::tempdir().unwrap();
    let (_, _, stranger) = centre(&other).await;
    let mut config = config;
    config.ca = stranger.ca;
    let mut client = Client::new(&config, PATIENCE, Arc::default()).unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        assert!(acceptor.accept(stream).await.is_err());
    };
    let (_, outcome) = tokio::join!(serve, client.sync(Vec::new(), EPOCH));
    assert!(matches!(outcome, Err(Error::Connect(_))), "{outcome:?}");
}

/// Counts, and says what it was asked to sign.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl RequestSigner for Counting {
    fn sign(
        &self,
        request: &ToSign<'_>,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        let ToSign {
            method, path, body, ..
        } = request;
        Ok(Some(format!("{count} {method} {path} {body:?}")))
    }
}

#[tokio::test]
async fn each_attempt_is_signed_by_itself_and_by_the_path_of_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, acceptor, config) = centre(&folder).await;
    let url = format!("{}plant/", config.url());
    let config = CentreConfig::new(&url, config.ca).unwrap();
    let client = Client::new(&config, PATIENCE, Arc::default()).unwrap();
    let mut client = client.signed_by(Some(Arc::new(Counting::default())));
    let serve = async {
        let mut heads = String::new();
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            heads.push_str(&answer(&mut stream).await.unwrap());
        }
        heads
    };
    let sync = async {
        client.sync(vec![1], EPOCH).await.unwrap();
        // Its connection is closed: it is sent on that, and again on another.
        client.sync(vec![2], EPOCH).await.unwrap();
    };
    let (heads, ()) = tokio::join!(serve, sync);
    assert!(heads.contains("POST /plant/v1/sync"), "{heads}");
    assert!(
        heads.contains("tidegate-device: 0 POST /v1/sync [1]"),
        "{heads}"
    );
    // Whether the second was tried twice depends on when its closed connection is noticed.
    let again = [1, 2].map(|count| format!("tidegate-device: {count} POST /v1/sync [2]"));
    assert!(again.iter().any(|claim| heads.contains(claim)), "{heads}");
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_centre_and_else_as_it_came() {
    let body = br#"{"error":{"code":"revoked","message":"the device key was revoked"}}"#;
    let (code, text) = told(body);
    assert_eq!(code.as_deref(), Some("revoked"));
    assert_eq!(text, "revoked: the device key was revoked");
    assert_eq!(told(b"<html>"), (None, "<html>".to_owned()));
}

#[tokio::test]
async fn a_connection_that_was_closed_in_between_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, acceptor, config) = centre(&folder).await;
    let mut client = Client::new(&config, PATIENCE, Arc::default()).unwrap();
    let serve = async {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            answer(&mut stream).await.unwrap();
        }
    };
    let sync = async {
        client.sync(vec![1], EPOCH).await.unwrap();
        client.sync(vec![2], EPOCH).await.unwrap();
    };
    tokio::join!(serve, sync);
}
