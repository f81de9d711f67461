//! Who gets in, who may do what, and that nothing is open.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode, header};
use tidegate_cloud::access::Role;
use tidegate_cloud::store::{Credentials, Tenant};
use tidegate_record::{Clock, SystemClock};
use tidegate_wire::WallTime;

use crate::client::{Answer, Caller, Centre};
use crate::samples::{epoch, name, request, rows};

/// Every route, and who may: nobody needs a role for those that have none.
const ROUTES: &[(Method, &str, Option<Role>)] = &[
    (Method::POST, "/v1/sync", None),
    (Method::GET, "/healthz", None),
    (Method::GET, "/sign-in", None),
    (Method::GET, "/assets/{file}", None),
    (Method::GET, "/", Some(Role::Viewer)),
    (Method::GET, "/gateways/{gateway}", Some(Role::Viewer)),
    (Method::POST, "/sign-out", Some(Role::Viewer)),
    (Method::GET, "/metrics", Some(Role::Viewer)),
    (Method::GET, "/v1/events", Some(Role::Viewer)),
    (Method::GET, "/v1/stats", Some(Role::Viewer)),
    (Method::GET, "/v1/gateways", Some(Role::Viewer)),
    (
        Method::GET,
        "/v1/gateways/{gateway}/lag",
        Some(Role::Viewer),
    ),
    (
        Method::GET,
        "/v1/gateways/{gateway}/ledger",
        Some(Role::Viewer),
    ),
    (
        Method::GET,
        "/v1/gateways/{gateway}/streams",
        Some(Role::Viewer),
    ),
    (
        Method::GET,
        "/v1/gateways/{gateway}/streams/{stream}/rows",
        Some(Role::Viewer),
    ),
    (
        Method::GET,
        "/v1/gateways/{gateway}/streams/{stream}/recent",
        Some(Role::Viewer),
    ),
    (
        Method::GET,
        "/v1/gateways/{gateway}/streams/{stream}/count",
        Some(Role::Viewer),
    ),
    (
        Method::POST,
        "/v1/gateways/{gateway}/import",
        Some(Role::Operator),
    ),
    (Method::POST, "/v1/enrol", None),
    (Method::POST, "/v1/device-keys", None),
    (Method::POST, "/v1/enrolments", Some(Role::Operator)),
    (
        Method::POST,
        "/v1/gateways/{gateway}/revoke",
        Some(Role::Operator),
    ),
    (
        Method::DELETE,
        "/v1/gateways/{gateway}/alarm",
        Some(Role::Operator),
    ),
    (Method::GET, "/v1/audit", Some(Role::Operator)),
    (Method::GET, "/releases", Some(Role::Viewer)),
    (Method::GET, "/v1/releases", Some(Role::Viewer)),
    (Method::GET, "/v1/blobs/sha256/{digest}", Some(Role::Viewer)),
    (Method::POST, "/v1/releases", Some(Role::Releaser)),
    (Method::GET, "/v1/desired", None),
    (Method::GET, "/v1/time", None),
    (Method::POST, "/v1/status", None),
    (Method::GET, "/fleet", Some(Role::Viewer)),
    (
        Method::POST,
        "/fleet/rollouts/{number}/{command}",
        Some(Role::Operator),
    ),
    (Method::GET, "/v1/releases/{digest}", Some(Role::Viewer)),
    (Method::GET, "/v1/roots/{version}", Some(Role::Viewer)),
    (Method::POST, "/v1/roots", Some(Role::Releaser)),
    (Method::GET, "/v1/deployments", Some(Role::Viewer)),
    (Method::GET, "/v1/deployments/{digest}", Some(Role::Viewer)),
    (Method::POST, "/v1/deployments", Some(Role::Releaser)),
    (Method::GET, "/v1/groups", Some(Role::Viewer)),
    (Method::POST, "/v1/groups", Some(Role::Operator)),
    (
        Method::POST,
        "/v1/gateways/{gateway}/labels",
        Some(Role::Operator),
    ),
    (Method::GET, "/v1/fleet", Some(Role::Viewer)),
    (Method::GET, "/v1/fleet/{gateway}", Some(Role::Viewer)),
    (Method::GET, "/v1/fleet/{gateway}/why", Some(Role::Viewer)),
    (Method::GET, "/v1/rollouts", Some(Role::Viewer)),
    (Method::GET, "/v1/rollouts/{number}", Some(Role::Viewer)),
    (Method::POST, "/v1/rollouts", Some(Role::Operator)),
    (
        Method::POST,
        "/v1/rollouts/{number}/{command}",
        Some(Role::Operator),
    ),
];

fn address(route: &str) -> String {
    route
        .replace("{gateway}", "gw-1")
        .replace("{stream}", "a")
        .replace("{file}", "centre.css")
        .replace("{digest}", &"0".repeat(64))
        .replace("{version}", "9")
        .replace("{number}", "1")
        .replace("{command}", "pause")
}

async fn code(caller: &Caller, method: &Method, route: &str) -> (u16, String) {
    let path = address(route);
    // An answer without an end is one of somebody who was let in.
    let call = caller.call(method.clone(), &path, "", Vec::new());
    match tokio::time::timeout(std::time::Duration::from_secs(1), call).await {
        Ok(answer) if answer.status.is_success() => (answer.status.as_u16(), String::new()),
        Ok(answer) if answer.status.is_redirection() => {
            let to = answer.headers["location"].to_str().unwrap();
            (answer.status.as_u16(), to.to_owned())
        }
        Ok(answer) => (answer.status.as_u16(), answer.refusal().1),
        Err(_) => (200, String::new()),
    }
}

#[test]
fn the_table_of_these_tests_has_every_route() {
    let source = include_str!("../../src/http/mod.rs");
    let routes: BTreeSet<_> = source
        .split(".route(")
        .skip(1)
        .filter_map(|rest| rest.split('"').nth(1))
        .collect();
    let tested: BTreeSet<_> = ROUTES.iter().map(|(_, route, _)| *route).collect();
    assert_eq!(routes, tested);
}

#[tokio::test]
async fn every_route_is_for_its_role_and_those_above_it() {
    let centre = Centre::start().await;
    centre
        .client
        .sync(&request("gw-1", vec![rows("a", epoch(1), 1..=3)]))
        .await;
    let nobody = centre.client.with_token("");
    let mut people = Vec::new();
    for role in Role::ALL {
        people.push((role, centre.person(role.as_str(), role).await));
    }
    for (method, route, needed) in ROUTES {
        let found = code(&nobody, method, route).await;
        let page = matches!(
            *route,
            "/" | "/gateways/{gateway}"
                | "/releases"
                | "/fleet"
                | "/fleet/rollouts/{number}/{command}"
        );
        match needed {
            None => assert_ne!(found.0, 401, "{route} needs no token"),
            Some(_) if page => {
                assert_eq!(found, (303, format!("/sign-in?to={}", address(route))));
            }
            Some(_) => assert_eq!(found, (401, "no-token".to_owned()), "{route}"),
        }
        for (role, person) in &people {
            let (status, code) = code(person, method, route).await;
            match needed {
                Some(needed) if role < needed => {
                    assert_eq!(
                        (status, code.as_str()),
                        (403, "wrong-role"),
                        "{role} {route}"
                    );
                }
                _ => assert!(![401, 403].contains(&status), "{role} {route}: {code}"),
            }
        }
    }
    let refused = centre.client.get("/v1/stats").await.json()["refused"].clone();
    assert!(refused["no-token"].as_u64().unwrap() > 10, "{refused}");
    let above = |role: &Role| Role::ALL.iter().filter(|other| *other < role).count();
    let needed = ROUTES.iter().filter_map(|(_, _, needed)| needed.as_ref());
    let below: usize = needed.map(above).sum();
    assert_eq!(refused["wrong-role"], below, "{refused}");
}

#[tokio::test]
async fn a_token_that_is_wrong_revoked_or_expired_is_worth_nothing() {
    let centre = Centre::start().await;
    let status = async |caller: &Caller| code(caller, &Method::GET, "/v1/gateways").await;
    let bad = (401, "bad-token".to_owned());
    let viewer = centre.person("anna", Role::Viewer).await;
    assert_eq!(status(&viewer).await.0, 200);
    let mut almost = viewer.token.clone();
    let last = almost.pop().unwrap();
    almost.push(if last == 'A' { 'B' } else { 'A' });
    for wrong in [&almost, "tgt_", "x", &"x".repeat(4000)] {
        assert_eq!(status(&viewer.with_token(wrong)).await, bad, "{wrong}");
    }
    let tenant = Tenant::default();
    assert!(
        centre
            .store
            .revoke_token(&tenant, &name("anna"))
            .await
            .unwrap()
    );
    assert_eq!(status(&viewer).await, bad);

    let now = SystemClock::new().wall_time().0;
    for (called, expires, expected) in [
        ("late", now - 1, 401),
        ("in-time", now + 3_600_000_000_000, 200),
    ] {
        let expires = Some(WallTime(expires));
        let person = centre
            .person_of("default", called, Role::Viewer, expires)
            .await;
        assert_eq!(status(&person).await.0, expected, "{called}");
    }
    let tokens = centre.store.tokens(&tenant).await.unwrap();
    let used = |called| {
        let token = tokens
            .iter()
            .find(|token| token.person.name == name(called));
        token.unwrap().used.is_some()
    };
    assert!(used("in-time") && !used("late"));
}

#[tokio::test]
async fn many_wrong_tokens_lock_nobody_out() {
    let centre = Centre::start().await;
    let guess = centre.client.with_token("tgt_guess");
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(code(&guess, &Method::GET, "/v1/gateways").await.1);
        assert_eq!(
            centre.client.get("/v1/gateways").await.status,
            StatusCode::OK
        );
    }
    assert_eq!(codes[..20], ["bad-token"; 20].map(str::to_owned));
    assert_eq!(codes[20..], ["too-many-attempts"; 10].map(str::to_owned));
    let answer = guess.get("/v1/gateways").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "10");
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another_whatever_it_asks_for() {
    let centre = Centre::start().await;
    centre
        .client
        .sync(&request("gw-1", vec![rows("a", epoch(1), 1..=3)]))
        .await;
    let other = centre.person_of("other", "eve", Role::Releaser, None).await;
    for (method, route, needed) in ROUTES {
        if needed.is_none() || !route.contains("{gateway}") {
            continue;
        }
        let (status, _) = code(&other, method, route).await;
        assert!((400..500).contains(&status), "{route}: {status}");
        // The control: there is something, for whose it is.
        if *method == Method::GET {
            assert_eq!(code(&centre.client, method, route).await.0, 200, "{route}");
        }
    }
    let none = other.get("/v1/gateways").await.json();
    assert_eq!(none["gateways"].as_array().unwrap().len(), 0);
    for path in ["/", "/metrics"] {
        assert!(
            centre.client.get(path).await.text().contains("gw-1"),
            "{path}"
        );
        assert!(!other.get(path).await.text().contains("gw-1"), "{path}");
    }
}

/// A browser that was told its cookie.
pub(crate) struct Browser<'c> {
    centre: &'c Centre,
    cookie: String,
}

impl Browser<'_> {
    /// As a form of the page at this origin.
    pub(crate) async fn post(&self, path: &str, origin: &str, body: &str) -> Answer {
        let nobody = self.centre.client.with_token("");
        let headers = [
            (header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
            (header::ORIGIN, origin),
            (header::COOKIE, &self.cookie),
        ];
        let body = body.as_bytes().to_vec();
        nobody.send(Method::POST, path, &headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        let nobody = self.centre.client.with_token("");
        let headers = [(header::COOKIE, self.cookie.as_str())];
        nobody.send(Method::GET, path, &headers, Vec::new()).await
    }

    pub(crate) fn here(&self) -> String {
        format!("http://{}", self.centre.client.address)
    }
}

pub(crate) async fn signed_in<'c>(centre: &'c Centre, token: &str) -> Browser<'c> {
    let mut browser = Browser {
        centre,
        cookie: String::new(),
    };
    let body = format!("to=%2Fgateways%2Fgw-1&token=%20{token}%0A");
    let answer = browser.post("/sign-in", &browser.here(), &body).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(answer.headers["location"], "/gateways/gw-1");
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let (cookie, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    );
    assert!(!cookie.contains(token));
    browser.cookie = cookie.to_owned();
    browser
}

#[tokio::test]
async fn a_person_signs_in_with_a_token_and_out_again() {
    let centre = Centre::start().await;
    centre.client.sync(&request("gw-1", Vec::new())).await;
    let anna = centre.person("anna", Role::Viewer).await;
    let browser = signed_in(&centre, &anna.token).await;
    let page = browser.get("/gateways/gw-1").await.text();
    assert!(
        page.contains(r#"<span title="viewer">anna</span>"#),
        "{page}"
    );
    assert_eq!(browser.get("/v1/gateways").await.status, StatusCode::OK);
    let import = browser
        .post("/v1/gateways/gw-1/import", &browser.here(), "")
        .await;
    assert_eq!(import.refusal().1, "wrong-role");

    let out = browser.post("/sign-out", &browser.here(), "").await;
    assert_eq!(out.headers["location"], "/sign-in");
    assert!(
        out.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(browser.get("/v1/gateways").await.refusal().1, "bad-token");
    let page = browser.get("/").await;
    assert_eq!(page.headers["location"], "/sign-in?to=/");
    assert!(
        page.headers.contains_key("set-cookie"),
        "what is worth nothing is forgotten"
    );
    // From a link of another site a browser shows no cookie, and keeps the one that it has.
    let linked = centre.client.with_token("").get("/").await;
    assert_eq!(linked.status, StatusCode::SEE_OTHER);
    assert!(!linked.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_wrong_token_is_told_on_the_page_and_opens_no_session() {
    let centre = Centre::start().await;
    let browser = Browser {
        centre: &centre,
        cookie: String::new(),
    };
    let answer = browser
        .post("/sign-in", &browser.here(), "token=tgt_x")
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(!answer.headers.contains_key("set-cookie"));
    let page = answer.text();
    assert!(
        page.contains("this token or session is not known here"),
        "{page}"
    );
    assert!(!page.contains("tgt_x"));
    for body in ["", "to=/", "token"] {
        let answer = browser.post("/sign-in", &browser.here(), body).await;
        assert!(answer.status.is_client_error(), "{body}");
    }
}

#[tokio::test]
async fn another_site_can_bring_a_browser_to_nothing() {
    let centre = Centre::start().await;
    let browser = signed_in(&centre, &centre.client.token).await;
    let token = format!("token={}", centre.client.token);
    for (path, body) in [
        ("/sign-in", token.as_str()),
        ("/sign-out", ""),
        ("/v1/gateways/gw-1/import", ""),
    ] {
        for origin in ["https://evil.example", "null", "", "http://127.0.0.1:1"] {
            let answer = browser.post(path, origin, body).await;
            assert_eq!(answer.refusal().1, "cross-site", "{path} from {origin:?}");
        }
        // The control: from a page of this centre it goes through to what is wrong with the import.
        if path != "/sign-out" {
            let answer = browser.post(path, &browser.here(), body).await;
            assert_ne!(answer.status, StatusCode::FORBIDDEN, "{path}");
        }
    }
    assert_eq!(browser.get("/v1/gateways").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let centre = Centre::start().await;
    centre.client.sync(&request("gw-1", Vec::new())).await;
    let anna = centre.person("anna", Role::Viewer).await;
    let browser = signed_in(&centre, &anna.token).await;
    assert_eq!(browser.get("/v1/gateways").await.status, StatusCode::OK);
    let tenant = Tenant::default();
    assert!(
        centre
            .store
            .revoke_token(&tenant, &name("anna"))
            .await
            .unwrap()
    );
    assert_eq!(browser.get("/v1/gateways").await.refusal().1, "bad-token");
    // A new token of that name does not bring it back.
    centre.person("anna", Role::Viewer).await;
    assert_eq!(browser.get("/v1/gateways").await.refusal().1, "bad-token");
}
