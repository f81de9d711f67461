//! Releases: what is taken and what is not, and their files, whole and in part.

use axum::http::{Method, StatusCode, header};
use serde_json::Value;
use tidegate_bundle::{
    Artifact, ArtifactKind, BUNDLE_BYTES_MAX, Capabilities, Digest, Limits, Release, ReleaseRole,
    Role as KeyRole, Roles, Root, SigningKey, WORLD, seal,
};
use tidegate_cloud::access::Role;
use tidegate_cloud::http::Rooted;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, Caller, Centre};

pub(crate) const BUNDLE: &str = "application/vnd.tidegate.bundle";

fn publisher() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

pub(crate) fn owner() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

pub(crate) fn deployer() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

pub(crate) fn timer() -> SigningKey {
    SigningKey::from_seed(&[6; 32])
}

/// The first root of the fleet: it vouches for the publisher, the deployer and who signs the time.
pub(crate) fn plant() -> Root {
    let (owner, publisher, deployer, timer) = (owner(), publisher(), deployer(), timer());
    let key = |key: &SigningKey| (key.public_key().id(), key.public_key());
    let role = |key: &SigningKey| KeyRole {
        key_ids: vec![key.public_key().id()],
        threshold: 1,
    };
    Root {
        fleet_id: "plant".into(),
        version: 1,
        epoch: 1,
        keys: [&owner, &publisher, &deployer, &timer].map(key).into(),
        roles: Roles {
            root: role(&owner),
            release: ReleaseRole {
                role: role(&publisher),
                modules: [(publisher.public_key().id(), vec!["*".into()])].into(),
            },
            deploy: Some(role(&deployer)),
            time: Some(role(&timer)),
        },
        min_runtime_version: "0.1.0".parse().unwrap(),
        expires: None,
    }
}

pub(crate) fn root() -> Rooted {
    Rooted::open(root_document()).unwrap()
}

pub(crate) fn root_document() -> Vec<u8> {
    plant().sign(&[&owner()]).unwrap()
}

fn bundle_of(module: &str, counter: u64, component: &[u8], key: &SigningKey) -> Vec<u8> {
    let release = Release {
        module: module.into(),
        version: format!("1.{counter}.0").parse().unwrap(),
        description: None,
        counter,
        world: WORLD.into(),
        artifacts: vec![Artifact::of(ArtifactKind::Component, component)],
        capabilities: Capabilities::default(),
        limits: Limits {
            memory_bytes: 16 << 20,
            state_bytes: 256 << 10,
        },
        streams: Vec::new(),
        config: Default::default(),
        sbom: None,
        created: 1_800_000_000,
    };
    seal(&release, &[component], &[key]).unwrap()
}

pub(crate) fn bundle(module: &str, counter: u64) -> Vec<u8> {
    bundle_of(module, counter, b"\0asm", &publisher())
}

impl Centre {
    pub(crate) async fn push(&self, bundle: Vec<u8>) -> Answer {
        let post = Method::POST;
        self.client.call(post, "/v1/releases", BUNDLE, bundle).await
    }

    /// Names in the folder of blobs.
    fn blobs(&self) -> Vec<String> {
        let folder = self.database().with_file_name("blobs").join("sha256");
        let entries = std::fs::read_dir(folder).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        entries.map(name).collect()
    }
}

async fn listed(caller: &Caller) -> Vec<(String, u64)> {
    let answer = caller.get("/v1/releases").await.json();
    let releases = answer["releases"].as_array().unwrap().iter();
    let one = |release: &Value| {
        let module = release["module"].as_str().unwrap().to_owned();
        (module, release["counter"].as_u64().unwrap())
    };
    releases.map(one).collect()
}

fn is(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    let pair = |(module, counter): &(&str, u64)| ((*module).to_owned(), *counter);
    pairs.iter().map(pair).collect()
}

#[tokio::test]
async fn a_release_is_taken_once_and_of_its_module_the_counter_only_grows() {
    let centre = Centre::start().await;
    let (one, two) = (bundle("pump", 1), bundle("pump", 2));
    for (sent, status, new) in [
        (&one, StatusCode::CREATED, true),
        (&one, StatusCode::OK, false),
        (&two, StatusCode::CREATED, true),
        (&two, StatusCode::OK, false),
        // The same file again is no step back.
        (&one, StatusCode::OK, false),
    ] {
        let answer = centre.push(sent.clone()).await;
        assert_eq!(
            (answer.status, &answer.json()["new"]),
            (status, &new.into())
        );
    }
    for (counter, component) in [(1, b"\0asm other"), (2, b"\0asm other")] {
        let other = bundle_of("pump", counter, component, &publisher());
        let refusal = centre.push(other).await.refusal();
        assert_eq!((refusal.0, refusal.1.as_str()), (409, "stale-counter"));
        assert!(
            refusal.2.contains("has a release with counter 2 here"),
            "{}",
            refusal.2
        );
    }
    // Another module counts for itself.
    centre.push(bundle("fan", 1)).await;
    assert_eq!(
        listed(&centre.client).await,
        is(&[("fan", 1), ("pump", 2), ("pump", 1)])
    );
    assert_eq!(centre.blobs().len(), 3, "what was refused leaves nothing");
    let page = centre.client.get("/v1/releases?limit=2").await.json();
    assert_eq!(page["next"], "pump:2");
    let rest = centre
        .client
        .get("/v1/releases?limit=2&after=pump:2")
        .await
        .json();
    assert_eq!(rest["releases"][0]["counter"], 1);
    assert_eq!(rest["next"], Value::Null);

    let shown = centre.client.get("/releases").await.text();
    for part in [
        r#"<tr data-module="pump" data-counter="2">"#,
        "1.2.0",
        "first",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let log = centre.client.get("/v1/audit").await.json();
    let objects: Vec<_> = log["entries"].as_array().unwrap().iter().rev().collect();
    assert_eq!(objects[0]["object"], "pump 1.1.0, counter 1");
    assert_eq!(objects[5]["outcome"], "stale-counter");
    assert_eq!(objects.len(), 8);
}

#[tokio::test]
async fn what_no_gateway_would_run_is_refused_with_its_reason_and_leaves_nothing() {
    let centre = Centre::start().await;
    let good = bundle("pump", 1);
    let stranger = bundle_of("pump", 1, b"\0asm", &SigningKey::from_seed(&[9; 32]));
    let mut flipped = good.clone();
    let component = good.windows(4).position(|bytes| bytes == b"\0asm").unwrap();
    flipped[component + 1] ^= 1;
    for (sent, reason) in [
        (stranger, "wrong-key"),
        (flipped, "digest-mismatch"),
        (good[..good.len() - 600].to_vec(), "truncated"),
        (b"nonsense".repeat(200), "malformed"),
        (Vec::new(), "truncated"),
    ] {
        let answer = centre.push(sent).await;
        let refusal = answer.refusal();
        assert_eq!(
            (refusal.0, refusal.1.as_str()),
            (422, "bundle-refused"),
            "{reason}"
        );
        assert_eq!(answer.json()["error"]["reason"], reason, "{refusal:?}");
    }
    let other = Method::POST;
    let typed = centre
        .client
        .call(other, "/v1/releases", "application/x-tar", good.clone());
    assert_eq!(typed.await.refusal().1, "wrong-content-type");
    assert!(centre.blobs().is_empty());
    assert!(listed(&centre.client).await.is_empty());
    // The control.
    assert_eq!(centre.push(good).await.status, StatusCode::CREATED);
}

/// Begins a push by hand; gives the connection.
async fn begun(centre: &Centre, length: &str) -> TcpStream {
    let mut connection = TcpStream::connect(centre.client.address).await.unwrap();
    let token = &centre.client.token;
    let head = format!(
        "POST /v1/releases HTTP/1.1\r\nhost: centre\r\nauthorization: Bearer {token}\r\n\
         content-type: {BUNDLE}\r\n{length}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

async fn status(connection: &mut TcpStream) -> String {
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

#[tokio::test]
async fn a_bundle_is_bounded_whether_it_says_its_length_or_not() {
    let centre = Centre::start().await;
    let length = format!("content-length: {}", BUNDLE_BYTES_MAX + 1);
    let mut announced = begun(&centre, &length).await;
    assert_eq!(status(&mut announced).await, "HTTP/1.1 413");

    let mut endless = begun(&centre, "transfer-encoding: chunked").await;
    let piece = [b"100000\r\n".as_slice(), &vec![0; 1 << 20], b"\r\n"].concat();
    for _ in 0..80 {
        if endless.write_all(&piece).await.is_err() {
            break;
        }
    }
    assert_eq!(status(&mut endless).await, "HTTP/1.1 413");
    assert!(centre.blobs().is_empty());
}

#[tokio::test]
async fn a_push_that_is_cut_off_leaves_nothing_and_others_wait_their_turn() {
    let centre = Centre::start().await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = begun(&centre, "content-length: 5000").await;
        connection.write_all(&[0; 100]).await.unwrap();
        open.push(connection);
    }
    while centre.blobs().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(centre.push(bundle("pump", 1)).await.refusal().1, "busy");
    drop(open);
    while !centre.blobs().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        centre.push(bundle("pump", 1)).await.status,
        StatusCode::CREATED
    );
}

/// A centre with one release; gives its file and the file's address.
async fn with_one() -> (Centre, Vec<u8>, String) {
    let centre = Centre::start().await;
    let file = bundle_of("pump", 1, &vec![7; 200_000], &publisher());
    let answer = centre.push(file.clone()).await.json();
    let address = answer["release"]["blob"].as_str().unwrap().to_owned();
    assert_eq!(address, format!("/v1/blobs/sha256/{}", Digest::of(&file)));
    (centre, file, address)
}

#[tokio::test]
async fn a_file_is_got_whole_in_part_and_where_it_was_cut_off() {
    let (centre, file, address) = with_one().await;
    let whole = centre.client.get(&address).await;
    assert_eq!((whole.status, &whole.body[..]), (StatusCode::OK, &file[..]));
    let tag = whole.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", Digest::of(&file)));
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    assert!(
        whole.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );

    let get = async |headers: &[(header::HeaderName, &str)]| {
        let get = Method::GET;
        centre.client.send(get, &address, headers, Vec::new()).await
    };
    let (half, length) = (file.len() / 2, file.len());
    let rest = format!("bytes={half}-");
    for if_range in [tag.as_str(), "\"other\""] {
        let headers = [(header::RANGE, rest.as_str()), (header::IF_RANGE, if_range)];
        let answer = get(&headers).await;
        let same = if_range == tag;
        let expected = if same { &file[half..] } else { &file[..] };
        assert_eq!(&answer.body[..], expected, "{if_range}");
        let status = if same { 206 } else { 200 };
        assert_eq!(answer.status.as_u16(), status);
    }
    let part = get(&[(header::RANGE, "bytes=10-19")]).await;
    assert_eq!(
        part.headers["content-range"],
        format!("bytes 10-19/{length}")
    );
    assert_eq!(part.headers["content-length"], "10");
    assert_eq!(&part.body[..], &file[10..20]);
    let beyond = get(&[(header::RANGE, "bytes=9999999-")]).await;
    assert_eq!(beyond.refusal().1, "bad-range");
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers["content-range"], format!("bytes */{length}"));
    let known = get(&[(header::IF_NONE_MATCH, &tag)]).await;
    assert_eq!(
        (known.status, known.body.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
}

#[tokio::test]
async fn no_name_from_outside_becomes_a_path_and_no_tenant_gets_anothers_file() {
    let (centre, _, address) = with_one().await;
    std::fs::write(centre.database().with_file_name("secret"), "secret").unwrap();
    let upper = address
        .to_uppercase()
        .replace("/V1/BLOBS/SHA256", "/v1/blobs/sha256");
    let unknown = format!("/v1/blobs/sha256/{}", "0".repeat(64));
    for path in [
        "/v1/blobs/sha256/..%2F..%2Fsecret",
        "/v1/blobs/sha256/%2e%2e%2fsecret",
        "/v1/blobs/sha256/../../secret",
        "/v1/blobs/sha256/secret%00",
        &upper,
        &unknown,
    ] {
        let answer = centre.client.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let eve = centre.person_of("other", "eve", Role::Releaser, None).await;
    assert_eq!(eve.get(&address).await.status, StatusCode::NOT_FOUND);
    assert!(listed(&eve).await.is_empty());
    assert_eq!(centre.client.get(&address).await.status, StatusCode::OK);
}
