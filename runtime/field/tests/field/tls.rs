//! Who is let in by TLS, and what is said when somebody is not.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tidegate_field::{Broker, Credentials, Identity, Protocol};

use crate::mosquitto::Mosquitto;
use crate::rig::{Rig, Setup, commit, file, publication, text, until};
use crate::stub::Stub;

both_versions! {
    a_client_certificate_lets_us_in_and_a_strangers_does_not
    a_password_lets_us_in_and_a_wrong_one_is_told_apart_from_a_wrong_authority
    an_expired_certificate_is_named
    a_renewed_certificate_needs_no_restart
}

both_versions! {
    paused:
    a_broker_that_does_not_answer_to_tls_is_left_after_5_s
}

/// Who signs.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

/// Files with a certificate for `name` by `authority` and its key.
fn identity(dir: &TempDir, name: &str, authority: &Authority, last_year: i32) -> Identity {
    let mut certificate = CertificateParams::new([name.to_owned()]).unwrap();
    certificate.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = certificate.signed_by(&key, authority).unwrap();
    Identity {
        certificate_file: file(dir, &format!("{name}.pem"), &certificate.pem()),
        key_file: file(dir, &format!("{name}.key"), &key.serialize_pem()),
    }
}

/// A broker that shows a certificate of `authority`'s, and wants one of `clients`'s where that is given.
async fn broker(
    dir: &TempDir,
    authority: &Authority,
    clients: Option<&Authority>,
) -> Option<Mosquitto> {
    let server = identity(dir, "localhost", authority, 3000);
    let users = file(dir, "users", "");
    // Fails only where there is no mosquitto: then the test is skipped.
    std::process::Command::new("mosquitto_passwd")
        .args(["-b", users.to_str().unwrap(), "gateway", "secret"])
        .status()
        .ok();
    let who = match clients {
        None => format!("allow_anonymous false\npassword_file {}\n", users.display()),
        Some(clients) => {
            let clients = file(dir, "clients.pem", &clients.pem());
            format!(
                "allow_anonymous true\nrequire_certificate true\ncafile {}\n",
                clients.display()
            )
        }
    };
    Mosquitto::with(&format!(
        "certfile {}\nkeyfile {}\n{who}",
        server.certificate_file.display(),
        server.key_file.display()
    ))
    .await
}

fn setup(broker: &Mosquitto, protocol: Protocol, dir: &TempDir, authority: &Authority) -> Setup {
    let mut setup = Setup::new(&format!("mqtts://localhost:{}", broker.port), protocol);
    setup.config.ca_file = Some(file(dir, "ca.pem", &authority.pem()));
    setup
}

/// The field cannot connect: why.
async fn refused(setup: Setup) -> String {
    let rig = setup.start();
    let error = rig.error().await;
    assert_eq!(rig.connections(), 0);
    rig.stop().await;
    error
}

async fn a_client_certificate_lets_us_in_and_a_strangers_does_not(protocol: Protocol) {
    let dir = tempfile::tempdir().unwrap();
    let (ours, strangers) = (authority("ours"), authority("strangers"));
    let Some(broker) = broker(&dir, &ours, Some(&ours)).await else {
        return;
    };
    let setup = |identity| {
        let mut setup = setup(&broker, protocol, &dir, &ours);
        setup.config.identity = identity;
        setup
    };
    let mut rig: Rig = setup(Some(identity(&dir, "gateway", &ours, 3000))).start();
    rig.subscribed().await;
    // Both directions, through the broker and back.
    rig.handle.publish(publication("in/self", "round trip"));
    let record = rig.record().await;
    assert_eq!(text(&record), "round trip");
    commit([record]);
    rig.acknowledged(1).await;
    rig.stop().await;

    let stranger = identity(&dir, "stranger", &strangers, 3000);
    let expected = format!(
        "the broker does not accept our certificate {}: ",
        stranger.certificate_file.display()
    );
    let error = refused(setup(Some(stranger))).await;
    assert!(error.starts_with(&expected), "{error}");
    let error = refused(setup(None)).await;
    assert!(
        error.starts_with("the broker wants a client certificate"),
        "{error}"
    );
}

async fn a_password_lets_us_in_and_a_wrong_one_is_told_apart_from_a_wrong_authority(
    protocol: Protocol,
) {
    let dir = tempfile::tempdir().unwrap();
    let (ours, strangers) = (authority("ours"), authority("strangers"));
    let Some(broker) = broker(&dir, &ours, None).await else {
        return;
    };
    let setup = |password: &str, authority: &Authority| {
        let mut setup = setup(&broker, protocol, &dir, authority);
        setup.config.credentials = Some(Credentials {
            username: "gateway".into(),
            password_file: Some(file(&dir, password, &format!("{password}\n"))),
        });
        setup
    };
    let rig = setup("secret", &ours).start();
    rig.subscribed().await;
    rig.stop().await;

    let error = refused(setup("wrong", &ours)).await;
    assert!(
        error.starts_with("the broker refused the connection"),
        "{error}"
    );
    let error = refused(setup("secret", &strangers)).await;
    assert!(
        error.contains("cannot connect") && error.contains("certificate"),
        "{error}"
    );
}

async fn an_expired_certificate_is_named(protocol: Protocol) {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority("ours");
    let Some(broker) = broker(&dir, &ours, Some(&ours)).await else {
        return;
    };
    let mut setup = setup(&broker, protocol, &dir, &ours);
    let expired = identity(&dir, "gateway", &ours, 2020);
    let expected = format!(
        "our certificate {} expired ",
        expired.certificate_file.display()
    );
    setup.config.identity = Some(expired);
    let error = refused(setup).await;
    assert!(error.starts_with(&expected), "{error}");
    assert!(
        error.contains("alert"),
        "what the broker said is told as well: {error}"
    );
}

async fn a_renewed_certificate_needs_no_restart(protocol: Protocol) {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority("ours");
    let Some(broker) = broker(&dir, &ours, Some(&ours)).await else {
        return;
    };
    let mut setup = setup(&broker, protocol, &dir, &ours);
    setup.config.identity = Some(identity(&dir, "gateway", &ours, 2020));
    let rig = setup.start();
    rig.error().await;
    // The same files. Between the two writes they do not fit each other, which costs an attempt and no more.
    identity(&dir, "gateway", &ours, 3000);
    rig.subscribed().await;
}

async fn a_broker_that_does_not_answer_to_tls_is_left_after_5_s(protocol: Protocol) {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(protocol).await;
    let mut setup = Setup::new(&format!("mqtts://{}", stub.address()), protocol);
    setup.config.ca_file = Some(file(&dir, "ca.pem", &authority("ours").pem()));
    let rig = setup.start();
    let _connection = stub.accept_silently().await;
    until(|| rig.handle.counters().last_error().is_some()).await;
    let error = rig.handle.counters().last_error().unwrap();
    assert_eq!(error, "the broker did not answer within 5 s");
}

/// Every file that cannot be used is named, and what is wrong with it.
#[test]
fn a_file_that_cannot_be_used_is_named_with_its_fault() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority("ours");
    let (good, other) = (
        identity(&dir, "good", &ours, 3000),
        identity(&dir, "other", &ours, 3000),
    );
    let ca = file(&dir, "ca.pem", &ours.pem());
    let whole = std::fs::read_to_string(&good.certificate_file).unwrap();
    let (half, _) = whole.split_at(whole.len() / 2);
    let cut = file(&dir, "cut.pem", half);
    let garbage = file(
        &dir,
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let large = file(&dir, "large.pem", &"x".repeat(2 << 20));
    let missing = dir.path().join("missing.pem");
    let error = |ca: &Path, certificate: &Path, key: &Path| {
        let mut setup = Setup::new("mqtts://localhost", Protocol::Mqtt5);
        setup.config.ca_file = Some(ca.to_owned());
        setup.config.identity = Some(Identity {
            certificate_file: certificate.to_owned(),
            key_file: key.to_owned(),
        });
        let error = Broker::new(setup.config).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "cannot set up tls for broker plant");
        std::error::Error::source(&error).unwrap().to_string()
    };
    let (certificate, key) = (&*good.certificate_file, &*good.key_file);
    for (found, expected, named) in [
        (
            error(&missing, certificate, key),
            "cannot read the certificate authorities",
            &*missing,
        ),
        (
            error(&ca, &missing, key),
            "cannot read the certificate ",
            &missing,
        ),
        (
            error(&ca, certificate, &missing),
            "cannot read the unencrypted private key",
            &missing,
        ),
        (
            error(&ca, certificate, dir.path()),
            "cannot read the unencrypted private key",
            dir.path(),
        ),
        (error(&cut, certificate, key), "is damaged", &cut),
        (error(&ca, &cut, key), "is damaged", &cut),
        (
            error(&garbage, certificate, key),
            "cannot be used",
            &garbage,
        ),
        (error(&ca, &garbage, key), "cannot be used", &garbage),
        (error(&ca, &large, key), "more than 1048576 bytes", &large),
        (error(&ca, key, key), "there is no certificate in", key),
        (
            error(&ca, certificate, certificate),
            "there is no unencrypted private key in",
            certificate,
        ),
        (
            error(&ca, certificate, &other.key_file),
            "does not fit the certificate",
            &other.key_file,
        ),
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
        assert!(found.contains(named.to_str().unwrap()), "{found}");
    }
}
