//! The centre that is attacked, and what is counted.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tidegate_bundle::Digest;
use tidegate_cloud::access::{Person, Role, Secret, Token};
use tidegate_cloud::http::{App, router};
use tidegate_cloud::store::audit::Event;
use tidegate_cloud::store::devices::EnrolmentToken;
use tidegate_cloud::store::{
    Credentials as _, Devices as _, GatewayId, SqliteStore, Store as _, StreamId, Tenant,
};
use tidegate_record::SystemClock;
use tidegate_wire::{DEVICE_HEADER, Name, WallTime};

use super::Outcome;
use super::device::{Device, STREAM, Sent, epoch};

/// Problems that are told, of each attack.
const PROBLEMS_MAX: usize = 5;

/// Variants between two looks at whether the honest gateway goes on.
const LOOK_AFTER: u64 = 100;

/// Rows of the honest gateway.
const ROWS: u64 = 20;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) code: String,
}

/// A centre with an honest gateway, which has sent rows.
pub(crate) struct Scene {
    service: TowerToHyperService<axum::Router>,
    pub(crate) store: SqliteStore,
    pub(crate) honest: Device,
    operator: String,
    /// Requests that the honest gateway has sent in its opening.
    pub(crate) count: u64,
    watched: Vec<GatewayId>,
    /// Variants since the last look at the honest gateway.
    pending: u64,
    counted: Counted,
    _folder: tempfile::TempDir,
}

#[derive(Debug, Default)]
struct Counted {
    variants: u64,
    refused: u64,
    reason_right: u64,
    state_unchanged: u64,
    running_unchanged: u64,
    problems: Vec<String>,
}

pub(crate) fn tenant(name: &str) -> Outcome<Tenant> {
    Ok(Tenant::new(&Name::new(name)?))
}

impl Scene {
    pub(crate) async fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let store = SqliteStore::open(&folder.path().join("centre.db")).await?;
        let app = Arc::new(App::new(store.clone(), Arc::new(SystemClock::new())));
        let operator = Secret::token()?;
        let token = Token {
            person: Person {
                tenant: Tenant::default(),
                name: Name::new("operator")?,
                role: Role::Operator,
            },
            created: WallTime(0),
            expires: None,
            used: None,
        };
        store.add_token(&token, operator.digest()).await?;
        let centre = store.centre_id().to_owned();
        let mut scene = Self {
            service: TowerToHyperService::new(router(app)),
            store,
            honest: Device::new(7, "gw-1", &centre),
            operator: operator.reveal().to_owned(),
            count: 0,
            watched: Vec::new(),
            pending: 0,
            counted: Counted::default(),
            _folder: folder,
        };
        let token = scene.token("default", Some("gw-1")).await?;
        let enrol = scene.honest.enrol(&token)?;
        scene.must(&enrol).await?;
        for gateway in ["gw-1", "gw-2"] {
            for of in ["default", "other"] {
                scene.watched.push(GatewayId {
                    tenant: tenant(of)?,
                    gateway: Name::new(gateway)?,
                });
            }
        }
        scene.go_on().await?;
        Ok(scene)
    }

    /// A token for this gateway, or for any.
    pub(crate) async fn token(&self, of: &str, gateway: Option<&str>) -> Outcome<String> {
        let secret = Secret::enrolment(self.store.centre_id())?;
        let token = EnrolmentToken {
            tenant: tenant(of)?,
            gateway: gateway.map(Name::new).transpose()?,
            created: WallTime(0),
            expires: WallTime(i64::MAX.cast_unsigned()),
        };
        let event = Event::of_nobody("give", "", "done");
        let added = self
            .store
            .add_enrolment_token(&token, secret.digest(), &event);
        match added.await? {
            true => Ok(secret.reveal().to_owned()),
            false => Err("there is no room for a token".into()),
        }
    }

    pub(crate) async fn send(&self, sent: &Sent, token: Option<&str>) -> Outcome<Answer> {
        let mut request = Request::builder()
            .method(sent.method)
            .uri(&sent.path)
            .header(header::CONTENT_TYPE, sent.content_type);
        if let Some(claim) = &sent.claim {
            request = request.header(DEVICE_HEADER, claim);
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(sent.body.clone()))?;
        let response = self.service.call(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = body.pointer("/error/code").and_then(Value::as_str);
        Ok(Answer {
            status,
            code: code.unwrap_or_default().to_owned(),
        })
    }

    /// Sends something genuine.
    pub(crate) async fn must(&self, sent: &Sent) -> Outcome<Answer> {
        let answer = self.send(sent, None).await?;
        match answer.status {
            200..300 => Ok(answer),
            _ => Err(format!("{} {}: {answer:?}", sent.method, sent.path).into()),
        }
    }

    /// Asks something as the operator.
    pub(crate) async fn operate(&self, sent: &Sent) -> Outcome<Answer> {
        self.send(sent, Some(&self.operator)).await
    }

    /// The honest gateway's next request.
    pub(crate) fn next(&mut self) -> Outcome<Sent> {
        self.count += 1;
        self.honest.sync(epoch(1, 1), self.count, ROWS)
    }

    /// Lets the honest gateway go on. That it can is what the variants since the last look have not changed.
    pub(crate) async fn go_on(&mut self) -> Outcome {
        let next = self.next()?;
        let answer = self.send(&next, None).await?;
        match answer.status {
            200 => self.counted.running_unchanged += self.pending,
            _ => self.problem(format!("the honest gateway is refused: {answer:?}")),
        }
        self.pending = 0;
        Ok(())
    }

    /// What is held, and what is said of gateways.
    async fn held(&self) -> Outcome<Digest> {
        let mut text = String::new();
        for of in &self.watched {
            let gateway = self.store.gateway(of).await?;
            let identity = self.store.identity(of).await?;
            let stream = StreamId {
                of: of.clone(),
                stream: Name::new(STREAM)?,
            };
            let rows = self.store.count(&stream).await?;
            text.push_str(&format!("{gateway:?} {identity:?} {rows:?}\n"));
        }
        Ok(Digest::of(text.as_bytes()))
    }

    /// Tries a variant, which must be refused with this code and change nothing.
    pub(crate) async fn attempt(&mut self, what: &str, sent: &Sent, code: &str) -> Outcome {
        let before = self.held().await?;
        let answer = self.send(sent, None).await?;
        let counted = &mut self.counted;
        counted.variants += 1;
        self.pending += 1;
        if answer.status < 400 {
            self.problem(format!("{what}: was taken"));
        } else {
            counted.refused += 1;
            if answer.code == code {
                counted.reason_right += 1;
            } else {
                self.problem(format!("{what}: refused as {}, not as {code}", answer.code));
            }
        }
        if self.held().await? == before {
            self.counted.state_unchanged += 1;
        } else {
            self.problem(format!("{what}: left something"));
        }
        if self.pending >= LOOK_AFTER {
            self.go_on().await?;
        }
        Ok(())
    }

    /// Counts a variant that is not refused but must be noticed, as it was, and lose nothing.
    pub(crate) fn noticed(&mut self, what: &str, noticed: bool, kept: bool) {
        let counted = &mut self.counted;
        counted.variants += 1;
        counted.running_unchanged += 1;
        counted.refused += u64::from(noticed);
        counted.reason_right += u64::from(noticed);
        counted.state_unchanged += u64::from(kept);
        if !noticed || !kept {
            self.problem(format!("{what}: noticed {noticed}, every row kept {kept}"));
        }
    }

    pub(crate) fn problem(&mut self, problem: String) {
        if self.counted.problems.len() < PROBLEMS_MAX {
            self.counted.problems.push(problem);
        }
    }

    /// The line of the table.
    pub(crate) fn end(self, attack: &str, name: &str) -> Value {
        let Counted {
            variants,
            refused,
            reason_right,
            state_unchanged,
            running_unchanged,
            problems,
        } = self.counted;
        json!({
            "attack": attack, "name": name, "variants": variants, "refused": refused, "reason_right": reason_right,
            "state_unchanged": state_unchanged, "running_unchanged": running_unchanged, "harmless": 0, "problems": problems,
        })
    }
}
