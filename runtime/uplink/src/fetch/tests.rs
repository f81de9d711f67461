use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tidegate_record::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::budget::{BUDGET_BYTES_MIN, Bounds, BudgetConfig};

const TYPE: &str = "application/vnd.tidegate.test";
const FILE: &[u8] = b"what a module is made of";

/// Limits that a test can wait for.
fn impatient() -> Limits {
    Limits {
        sync_timeout: Duration::from_millis(500),
        fetch_silence_max: Duration::from_millis(300),
        fetch_rate_window: Duration::from_secs(1),
        fetch_rate_min: 1000,
        ..Limits::DEFAULT
    }
}

/// A server that answers each connection's requests with what `answer` writes, and a fetcher that asks it.
async fn centre<F>(
    limits: Limits,
    answer: impl Fn(String, TcpStream) -> F + Send + 'static,
) -> Fetcher
where
    F: Future<Output = Option<TcpStream>> + Send,
{
    centre_with(limits, None, answer).await
}

async fn centre_with<F>(
    limits: Limits,
    meter: Option<Arc<Meter>>,
    answer: impl Fn(String, TcpStream) -> F + Send + 'static,
) -> Fetcher
where
    F: Future<Output = Option<TcpStream>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/plant", listener.local_addr().unwrap());
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Some(head) = head(&mut stream).await {
                match answer(head, stream).await {
                    Some(kept) => stream = kept,
                    None => break,
                }
            }
        }
    });
    let traffic = meter.as_ref().map(|meter| meter.traffic());
    let config = CentreConfig::new(&url, None).unwrap();
    Fetcher::new(
        &config,
        &Arc::new(limits),
        traffic.unwrap_or_default(),
        meter,
    )
    .unwrap()
}

/// The head of a request without a body; none when the other side has closed.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Writes this, and keeps the connection.
async fn say(mut stream: TcpStream, text: impl AsRef<[u8]>) -> Option<TcpStream> {
    stream.write_all(text.as_ref()).await.ok()?;
    Some(stream)
}

fn document(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn ask(fetcher: &mut Fetcher) -> Result<Found, Error> {
    fetcher
        .document(
            "/v1/desired?gateway=g",
            TYPE,
            &["aa".into(), "bb".into()],
            100,
        )
        .await
}

#[tokio::test]
async fn a_document_comes_once_and_then_its_tag_is_enough() {
    let mut fetcher = centre(impatient(), async |head, stream| {
        assert!(
            head.starts_with("GET /plant/v1/desired?gateway=g HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("if-none-match: \"aa\", \"bb\"\r\n"), "{head}");
        assert!(head.contains(&format!("accept: {TYPE}\r\n")), "{head}");
        say(stream, document(TYPE, "text")).await
    })
    .await;
    assert_eq!(
        ask(&mut fetcher).await.unwrap(),
        Found::Document(b"text".to_vec())
    );
    for (status, expected) in [
        ("304 Not Modified", Found::Unchanged),
        ("204 No Content", Found::Nothing),
        ("404 Not Found", Found::Nothing),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let mut fetcher = centre(impatient(), move |_, stream| say(stream, answer.clone())).await;
        assert_eq!(ask(&mut fetcher).await.unwrap(), expected, "{status}");
        // And once more on the same connection.
        assert_eq!(ask(&mut fetcher).await.unwrap(), expected, "{status}");
    }
}

#[tokio::test]
async fn a_document_that_is_endless_late_elsewhere_or_something_else_is_refused() {
    let long = "x".repeat(101);
    let answers = [
        (document(TYPE, &long), "at most 100 bytes"),
        // Says nothing of its length, and goes on.
        (
            format!("HTTP/1.1 200 OK\r\ncontent-type: {TYPE}\r\n\r\n{long}"),
            "at most 100 bytes",
        ),
        // Ends before its length: the sender keeps quiet.
        (
            document(TYPE, "text").replace(": 4", ": 5"),
            "not done within",
        ),
        (
            format!("HTTP/1.1 200 OK\r\ncontent-type: {TYPE}\r\n"),
            "not done within",
        ),
        (document("text/html", "text"), "\"text/html\" in place of"),
        (document("", "text"), "in place of"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                .into(),
            "leads elsewhere",
        ),
        (
            "HTTP/1.1 500 No\r\ncontent-length: 6\r\n\r\nsorry\u{7}".into(),
            "500: sorry\\u{7}",
        ),
        ("nonsense\r\n\r\n".into(), "broke"),
    ];
    for (answer, expected) in answers {
        let mut fetcher = centre(impatient(), move |_, stream| say(stream, answer.clone())).await;
        let error = ask(&mut fetcher).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_ask_again() {
    for (header, expected) in [
        ("retry-after: 7\r\n", Some(7)),
        ("", None),
        ("retry-after: soon\r\n", None),
        ("retry-after: -1\r\n", None),
    ] {
        let answer = format!("HTTP/1.1 503 No\r\n{header}content-length: 0\r\n\r\n");
        let mut fetcher = centre(impatient(), move |_, stream| say(stream, answer.clone())).await;
        let error = ask(&mut fetcher).await.unwrap_err();
        let seconds = error.retry_after().map(|wait| wait.as_secs());
        assert_eq!(seconds, expected, "{header}");
    }
}

#[tokio::test]
async fn a_report_is_sent_and_a_refusal_is_told() {
    for (status, taken) in [
        ("200 OK", true),
        ("403 Forbidden", false),
        ("307 Go", false),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
        let mut fetcher = centre(impatient(), move |head: String, mut stream: TcpStream| {
            let answer = answer.clone();
            async move {
                assert!(
                    head.contains(&format!("content-type: {TYPE}\r\n")),
                    "{head}"
                );
                let mut body = [0; 6];
                stream.read_exact(&mut body).await.unwrap();
                assert_eq!(&body, b"report");
                say(stream, answer).await
            }
        })
        .await;
        let told = fetcher
            .report("/v1/status?gateway=g", TYPE, b"report".to_vec())
            .await;
        assert_eq!(told.is_ok(), taken, "{status}: {told:?}");
    }
}

/// All pieces of a part, and where it began.
async fn collect(fetcher: &mut Fetcher, from: u64) -> Result<(u64, Vec<u8>), Error> {
    let length = FILE.len() as u64;
    let part = fetcher
        .part("/v1/blobs/sha256/aa", "aa", from, length)
        .await?;
    let mut part = part.unwrap();
    let at = part.at();
    let mut bytes = Vec::new();
    while let Some(piece) = part.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((at, bytes))
}

fn partial(from: usize) -> String {
    let (length, left) = (FILE.len(), FILE.len() - from);
    format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{}/{length}\r\ncontent-length: {left}\r\n\r\n",
        length - 1,
    )
}

#[tokio::test]
async fn a_file_goes_on_at_the_byte_that_it_is_asked_from() {
    let mut fetcher = centre(impatient(), async |head: String, stream| {
        assert!(head.contains("range: bytes=5-\r\n"), "{head}");
        assert!(head.contains("if-range: \"aa\"\r\n"), "{head}");
        say(stream, [partial(5).as_bytes(), &FILE[5..]].concat()).await
    })
    .await;
    for _ in 0..2 {
        assert_eq!(
            collect(&mut fetcher, 5).await.unwrap(),
            (5, FILE[5..].to_vec())
        );
    }
    // One that knows no parts begins at the beginning, and it is told so.
    let mut fetcher = centre(impatient(), async |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", FILE.len());
        say(stream, [head.as_bytes(), FILE].concat()).await
    })
    .await;
    assert_eq!(collect(&mut fetcher, 5).await.unwrap(), (0, FILE.to_vec()));
}

#[tokio::test]
async fn a_file_of_another_length_or_another_part_is_refused() {
    let whole = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let answers = [
        (
            whole(FILE.len() + 1),
            "another part of the file than 24 bytes",
        ),
        (whole(FILE.len() - 1), "another part"),
        (
            partial(5).replace("bytes 5-", "bytes 4-"),
            "another part of the file than bytes 5-23/24",
        ),
        (partial(5).replace("/24", "/25"), "another part"),
        (
            partial(5).replace("content-range", "x-range"),
            "another part",
        ),
        // No length, and more than there is; or less.
        (
            format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1000)),
            "more than the 24 bytes",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nshort".into(), "after 5 of 24 bytes"),
        (
            "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".into(),
            "leads elsewhere",
        ),
        ("HTTP/1.1 416 No\r\ncontent-length: 0\r\n\r\n".into(), "416"),
        // Quiet, in the middle.
        (format!("{}what", whole(FILE.len())), "nothing came for"),
    ];
    for (answer, expected) in answers {
        let is_quiet = expected.contains("nothing came");
        let mut fetcher = centre(impatient(), move |_, stream| {
            let answer = answer.clone();
            async move { say(stream, answer).await.filter(|_| is_quiet) }
        })
        .await;
        let error = collect(&mut fetcher, 5).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn a_sender_that_trickles_is_given_up_and_one_that_is_fast_enough_is_not() {
    for (rate_min, slow) in [(1000, true), (2, false)] {
        let limits = Limits {
            fetch_rate_min: rate_min,
            fetch_silence_max: Duration::from_secs(10),
            ..impatient()
        };
        let mut fetcher = centre(limits, async |_, mut stream: TcpStream| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", FILE.len());
            stream.write_all(head.as_bytes()).await.ok()?;
            for byte in FILE {
                stream.write_all(&[*byte]).await.ok()?;
                // Never so long that it would be silence.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None
        })
        .await;
        match collect(&mut fetcher, 0).await {
            Err(error) => assert!(slow && matches!(error, Error::Slow { .. }), "{error}"),
            Ok((_, bytes)) => assert!(!slow && bytes == FILE),
        }
    }
}

#[tokio::test]
async fn what_is_fetched_counts_in_the_byte_budget_and_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let meter = meter(folder.path());
    let mut fetcher = centre_with(impatient(), Some(meter.clone()), async |_, stream| {
        say(stream, document(TYPE, "text")).await
    })
    .await;
    ask(&mut fetcher).await.unwrap();
    let (_, used, _) = meter.report().spans[0];
    assert!(used > 100, "{used} bytes");
    meter.traffic().carried(BUDGET_BYTES_MIN);
    let error = ask(&mut fetcher).await.unwrap_err();
    assert!(matches!(error, Error::Budget(_)), "{error}");
}

fn meter(folder: &Path) -> Arc<Meter> {
    let config = BudgetConfig {
        bounds: Bounds {
            hour: Some(BUDGET_BYTES_MIN),
            ..Bounds::default()
        },
        interface: None,
    };
    let clock = Arc::new(SystemClock::new());
    Arc::new(Meter::open(config, folder.join("spent"), clock))
}
