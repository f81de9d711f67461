//! Keys in other tools' form, and keys that are elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::fixture::{Ran, Workshop};

/// The pair of RFC 8410, section 10, as openssl writes it.
const SECRET: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";
const BUNDLE: &str = "pump-1.2.0.tidegate";

/// A workshop with `other.pem` and `other.pub.pem`, and `other.toml` with this script as its command.
fn workshop(script: &str) -> Workshop {
    let workshop = Workshop::new();
    workshop.write("other.pem", SECRET);
    mode(&workshop, "other.pem", 0o600);
    workshop.write("other.pub.pem", PUBLIC);
    let command = format!("command = [\"/bin/sh\", \"-c\", '{script}']\n");
    workshop.write(
        "other.toml",
        &format!("{command}public-key = \"other.pub.pem\"\n"),
    );
    workshop
}

fn mode(workshop: &Workshop, name: &str, mode: u32) {
    fs::set_permissions(workshop.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn root(workshop: &Workshop, root_key: &str, release_key: &str, file: &str) -> Ran {
    let init = [
        "root",
        "init",
        file,
        "--fleet",
        "plant",
        "--root-key",
        root_key,
    ];
    workshop.tide(&[&init[..], &["--release-key", release_key]].concat())
}

#[test]
fn keys_in_pem_sign_and_are_trusted_as_our_own() {
    let workshop = workshop("true");
    root(&workshop, "other.pem", "other.pub.pem", "pem.json").check(0, &[]);
    workshop.tide(&["sign", "--key", "other.pem"]).check(0, &[]);
    let verify = |root| workshop.tide(&["verify", BUNDLE, "--root", root]);
    verify("pem.json").check(0, &["is genuine for fleet plant"]);
    verify("root.json").check(3, &["reason code wrong-key"]);
    let rotate = [
        "root",
        "rotate",
        "pem.json",
        "pem-2.json",
        "--key",
        "other.pem",
    ];
    workshop
        .tide(
            &[
                &rotate[..],
                &[
                    "--release-key",
                    "publisher.key.pub",
                    "--deploy-key",
                    "other.pub.pem",
                ],
            ]
            .concat(),
        )
        .check(0, &["version       2"]);
    verify("pem-2.json").check(3, &["reason code wrong-key"]);
}

#[test]
fn a_secret_key_in_pem_is_for_its_owner_alone() {
    let workshop = workshop("true");
    mode(&workshop, "other.pem", 0o644);
    workshop
        .tide(&["sign", "--key", "other.pem"])
        .check(65, &["can be read by others", "chmod 600 other.pem"]);
    assert!(!workshop.path(BUNDLE).exists());
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_what_to_do() {
    let workshop = workshop("true");
    mode(&workshop, "other.pub.pem", 0o600);
    workshop.tide(&["sign", "--key", "other.pub.pem"]).check(
        65,
        &[
            "other.pub.pem cannot be used",
            "openssl genpkey -algorithm ed25519",
        ],
    );
    root(&workshop, "root.key", "other.pem", "no.json")
        .check(65, &["other.pem cannot be used", "openssl pkey -pubout"]);
    // As long as an RSA key of 4096 bits, which is told as what it is, and not as too large.
    let rsa = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}-----END RSA PRIVATE KEY-----\n",
        format!("{}\n", "A".repeat(64)).repeat(50)
    );
    workshop.write("rsa.pem", &rsa);
    mode(&workshop, "rsa.pem", 0o600);
    workshop.tide(&["sign", "--key", "rsa.pem"]).check(
        65,
        &["rsa.pem cannot be used", "\"RSA PRIVATE KEY\"", "Ed25519"],
    );
    assert!(!workshop.path(BUNDLE).exists() && !workshop.path("no.json").exists());
}

#[test]
fn a_signature_that_does_not_hold_is_told_and_nothing_is_written() {
    let workshop = workshop("head -c 64 /dev/zero");
    let words = ["does not hold", "reason code bad-signature"];
    workshop
        .tide(&["sign", "--key", "other.toml"])
        .check(65, &words)
        .check(65, &["cannot sign module pump", "/bin/sh signs with key"]);
    root(&workshop, "other.toml", "publisher.key.pub", "new.json").check(65, &words);
    let rotate = [
        "root",
        "rotate",
        "root.json",
        "new.json",
        "--key",
        "root.key",
    ];
    workshop
        .tide(&[&rotate[..], &["--key", "other.toml"]].concat())
        .check(65, &words);
    assert!(!workshop.path(BUNDLE).exists() && !workshop.path("new.json").exists());
}

#[test]
fn a_signer_that_fails_is_told_with_what_it_says_and_nothing_is_written() {
    let workshop = workshop("echo no such slot >&2; exit 5");
    workshop
        .tide(&["sign", "--key", "other.toml"])
        .check(1, &["no such slot", "exit status: 5", "reason code signer"]);
    root(&workshop, "other.toml", "publisher.key.pub", "new.json").check(1, &["exit status: 5"]);
    assert!(!workshop.path(BUNDLE).exists() && !workshop.path("new.json").exists());
    workshop.write("other.toml", "command = []\n");
    workshop
        .tide(&["sign", "--key", "other.toml"])
        .check(65, &["other.toml:1: command", "public-key is missing"]);
}
