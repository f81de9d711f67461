//! A centre for one test, and a client for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tidegate_cloud::access::{Person, Role, Secret, Token};
use tidegate_cloud::blobs::Blobs;
use tidegate_cloud::http::{App, Listening, serve};
use tidegate_cloud::store::credentials::Added;
use tidegate_cloud::store::{Credentials, SqliteStore, Tenant};
use tidegate_record::{Clock, SystemClock};
use tidegate_wire::{CONTENT_TYPE, SyncReply, SyncRequest, WallTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::releases::{root, timer};
use crate::samples::name;

/// A centre inside the test's own process.
pub(crate) struct Centre {
    /// With the token `first`, of the highest role.
    pub(crate) client: Caller,
    pub(crate) store: SqliteStore,
    _tasks: JoinSet<()>,
    folder: tempfile::TempDir,
}

impl Centre {
    pub(crate) async fn start() -> Self {
        Self::with_clock(Arc::new(SystemClock::new())).await
    }

    /// One that is open, as most of these tests are not about who a gateway is.
    pub(crate) async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self::begin(clock, true).await
    }

    /// One that believes what was signed and nothing else.
    pub(crate) async fn closed() -> Self {
        Self::begin(Arc::new(SystemClock::new()), false).await
    }

    pub(crate) async fn begin(clock: Arc<dyn Clock>, open: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("centre.db"))
            .await
            .unwrap();
        let device_keys = folder.path().join("device-keys");
        std::fs::create_dir(&device_keys).unwrap();
        let blobs = Blobs::beside(&folder.path().join("centre.db")).unwrap();
        let app = App::new(store.clone(), clock).with_device_keys(Some(device_keys));
        let app = app.opened(open);
        let app = app.with_releases(blobs, Some(root()));
        let app = Arc::new(app.with_time_key(Some(timer())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(
            Listening {
                listener,
                tls: None,
            },
            app,
            std::future::pending(),
        ));
        let mut centre = Self {
            client: Caller::new(address),
            store,
            _tasks: tasks,
            folder,
        };
        centre.client = centre.person("first", Role::Releaser).await;
        centre
    }

    /// A client for someone of this role.
    pub(crate) async fn person(&self, name: &str, role: Role) -> Caller {
        self.person_of("default", name, role, None).await
    }

    pub(crate) async fn person_of(
        &self,
        tenant: &str,
        called: &str,
        role: Role,
        expires: Option<WallTime>,
    ) -> Caller {
        let secret = Secret::token().unwrap();
        let token = Token {
            person: Person {
                tenant: Tenant::new(&name(tenant)),
                name: name(called),
                role,
            },
            created: WallTime(0),
            expires,
            used: None,
        };
        let added = self.store.add_token(&token, secret.digest()).await.unwrap();
        assert_eq!(added, Added::Kept);
        self.client.with_token(secret.reveal())
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("centre.db")
    }

    /// Changes the database behind the centre's back.
    pub(crate) async fn damage(&self, statement: &'static str) {
        let options = SqliteConnectOptions::new().filename(self.database());
        let pool = SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
        pool.close().await;
    }

    /// Lets the centre know a gateway's device keys.
    pub(crate) fn knows(&self, gateway: &str, keys: &str) {
        let file = self
            .folder
            .path()
            .join(format!("device-keys/{gateway}.pub"));
        std::fs::write(file, keys).unwrap();
    }
}

/// Speaks to a centre.
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    /// The token that it shows; none if empty.
    pub(crate) token: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// Status, code and message of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        let text = |name| error[name].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), text("code"), text("message"))
    }
}

impl Caller {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            token: String::new(),
            http: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// One that shows this token, or none.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..Self::new(self.address)
        }
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Answer {
        let headers = [(header::CONTENT_TYPE, content_type)];
        self.send(method, path, &headers, body).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        let request = request.body(Full::from(body)).unwrap();
        answer(self.http.request(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "", Vec::new()).await
    }

    pub(crate) async fn post(&self, body: Vec<u8>) -> Answer {
        self.call(Method::POST, "/v1/sync", CONTENT_TYPE, body)
            .await
    }

    pub(crate) async fn sync(&self, request: &SyncRequest) -> SyncReply {
        let answer = self.post(tidegate_wire::encode(request).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        tidegate_wire::decode(&answer.body).unwrap()
    }

    pub(crate) async fn count(&self, gateway: &str, stream: &str) -> u64 {
        let answer = self
            .get(&format!("/v1/gateways/{gateway}/streams/{stream}/count"))
            .await
            .json();
        assert_eq!(answer["covered"], answer["marks"]);
        answer["rows"].as_u64().unwrap()
    }

    /// The seqs of all rows, page by page.
    pub(crate) async fn seqs(&self, gateway: &str, stream: &str) -> Vec<u64> {
        let mut seqs = Vec::new();
        let mut query = "limit=7".to_owned();
        loop {
            let page = self
                .get(&format!(
                    "/v1/gateways/{gateway}/streams/{stream}/rows?{query}"
                ))
                .await
                .json();
            seqs.extend(
                page["rows"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|row| row["seq"].as_u64().unwrap()),
            );
            match page["next"].as_str() {
                Some(next) => query = format!("limit=7&after={next}"),
                None => return seqs,
            }
        }
    }

    /// A request whose head was taken and whose body is awaited: it came as far as its handler.
    pub(crate) async fn unfinished(&self, body_bytes: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST /v1/sync HTTP/1.1\r\nhost: centre\r\ncontent-type: {CONTENT_TYPE}\r\n\
             content-length: {body_bytes}\r\nexpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }
}

pub(crate) async fn answer<B: hyper::body::Body<Error: std::fmt::Debug>>(
    response: Response<B>,
) -> Answer {
    let headers = response.headers().clone();
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|_| "body")
        .unwrap()
        .to_bytes();
    Answer {
        status,
        headers,
        body,
    }
}
