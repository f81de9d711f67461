use super::*;

/// Those of RFC 8410, section 10.
const SEED: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
const BOTH_HALVES: &str = "MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
    Z9w7lshQhqowtrbLDFw4rXAxZuE=";
const POINT: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

/// Those of other kinds, as openssl writes them.
const X25519: &str = "MC4CAQAwBQYDK2VuBCIEIJBu0B57M+3oq5zY6ReIl2oSfJcCPs0UgERWpj4oKWFS";
const X25519_POINT: &str = "MCowBQYDK2VuAyEA7UMPcYA+6LnFXIzNnYsnU9N1jrPQPw1m6bMTvNvseUU=";
const P256_POINT: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAETq8kTqH4Ja9o63wYA2TaoRtySAmX\n\
    0LN4eUTogXX9oC14Kx7VCDT5pDAVsW0DfmiERjScdQ5apES8R9Cq40ggqw==";
const RSA: &str = "MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEAuWuCVbWsrDeh9Qoi\n\
    yGkbXSiG7LkacW08sTred27z2f0jUnKXlUEPFvTzTNDsnVx/lkVhvsNBR6GQwDyp\n\
    QU/DFQIDAQABAkBgBM5/uA7tN/oEvPT6N4PWIDCO0eRhrKHrXYLq8mgRD+R6Wcj+\n\
    y3Zc7iNfQ4y4vE0/e9y1AyVVaiBOcw3DLL7ZAiEA83Fk9iKlX+cFTru0mFhwdUDV\n\
    vzIpBPBMGe9MeGo31YcCIQDC++9jMnUlJPMQrhWlYuQPUFf2ixhPQVOzfTLmpNZJ\n\
    gwIgM6AWcwQB4gaR35J6x9vpbVQkf/lZLYzv9ogCxX5w/L0CICcirf+5Bu43plm4\n\
    tzuEx8WTGLSxYmW19PjXrjnA6AnFAiEAhTvaGaUuO6i3DZB5NxDS/4UiQ0UM/PJY\n\
    6O+0OCIf+lE=";
const RSA_POINT: &str = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALUeeNPhMS2tVjKRZ8hePskiSP3zEZ5G\n\
    aCwvmEcqUl/Rlci3bAbu5auyehcFf+xarAbs4CpYmYLKStVmLcbLTq8CAwEAAQ==";
const ENCRYPTED: &str = "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgpO0SL5VUTKgICCAAw\n\
    DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEEPruWIoTN7hv7bPzlGW3I8EQPzD\n\
    Ei0itc/PN2ni0XYqydi233pZY60kPhybue9Zj7e+puqrCOBBwlzleNix2qGp7e50\n\
    5+co2KhHTiFqqIrVMgQ=";

fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[track_caller]
fn refuses_secret(text: &str, words: &[&str]) {
    refused(
        SigningKey::parse_file(text).map(|key| key.public_key()),
        words,
    );
}

#[track_caller]
fn refuses_public(text: &str, words: &[&str]) {
    refused(PublicKey::parse_file(text), words);
}

#[track_caller]
fn refused(read: Result<PublicKey, Error>, words: &[&str]) {
    let error = read.unwrap_err();
    assert_eq!(error.reason(), "malformed");
    for words in words {
        assert!(
            error.to_string().contains(words),
            "{words:?} is not in: {error}"
        );
    }
}

#[test]
fn a_key_in_pem_is_the_same_key() {
    let key = SigningKey::parse_file(&pem("PRIVATE KEY", SEED)).unwrap();
    let public = PublicKey::parse_file(&pem("PUBLIC KEY", POINT)).unwrap();
    assert_eq!(key.public_key(), public);
    let both = SigningKey::parse_file(&pem("PRIVATE KEY", BOTH_HALVES)).unwrap();
    assert_eq!(both.public_key(), public);
    let again = SigningKey::parse_file(&key.to_secret_text()).unwrap();
    assert_eq!(again.public_key(), public);
    assert_eq!(PublicKey::parse_file(&public.to_text()).unwrap(), public);
    // Line ends of another system, and what some tools write before a key.
    let windows = pem("PUBLIC KEY", POINT).replace('\n', "\r\n");
    assert_eq!(PublicKey::parse_file(&windows).unwrap(), public);
}

#[test]
fn a_key_of_another_algorithm_is_named_and_refused() {
    refuses_secret(
        &pem("PRIVATE KEY", RSA),
        &["RSA", "openssl genpkey -algorithm ed25519"],
    );
    refuses_secret(
        &pem("PRIVATE KEY", X25519),
        &["X25519", "must be an Ed25519 key"],
    );
    refuses_secret(
        &pem("RSA PRIVATE KEY", RSA),
        &["\"RSA PRIVATE KEY\"", "PKCS#8"],
    );
    refuses_secret(
        &pem("OPENSSH PRIVATE KEY", "b3BlbnNzaA=="),
        &["\"OPENSSH PRIVATE KEY\""],
    );
    refuses_public(&pem("PUBLIC KEY", RSA_POINT), &["RSA"]);
    refuses_public(&pem("PUBLIC KEY", P256_POINT), &["ECDSA"]);
    refuses_public(&pem("PUBLIC KEY", X25519_POINT), &["X25519"]);
}

#[test]
fn an_encrypted_key_is_refused_with_what_to_do() {
    let what = [
        "is encrypted",
        "openssl pkey -in FILE -out NEW",
        "signer file",
    ];
    refuses_secret(&pem("ENCRYPTED PRIVATE KEY", ENCRYPTED), &what);
    let older = format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{SEED}");
    refuses_secret(&pem("RSA PRIVATE KEY", &older), &what);
}

#[test]
fn a_half_is_never_taken_for_the_other() {
    refuses_secret(&pem("PUBLIC KEY", POINT), &["\"PUBLIC KEY\""]);
    refuses_public(
        &pem("PRIVATE KEY", SEED),
        &["\"PRIVATE KEY\"", "openssl pkey -pubout"],
    );
    refuses_secret(&pem("PRIVATE KEY", POINT), &["cannot be read"]);
    refuses_public(&pem("PUBLIC KEY", SEED), &["cannot be read"]);
}

#[test]
fn a_public_half_of_another_key_is_refused() {
    // The last byte of the point.
    let other = BOTH_HALVES.replace("rXAxZuE=", "rXAxZuA=");
    assert_ne!(other, BOTH_HALVES);
    refuses_secret(&pem("PRIVATE KEY", &other), &["do not belong together"]);
}

#[test]
fn what_follows_a_key_is_refused() {
    let key = pem("PRIVATE KEY", SEED);
    refuses_secret(&format!("{key}more"), &["cannot be read"]);
    refuses_secret(&format!("{key}{key}"), &["cannot be read"]);
    // Inside: a byte after the outermost sequence.
    refuses_secret(
        &pem("PRIVATE KEY", &format!("{SEED}\nAA==")),
        &["cannot be read"],
    );
    // Inside of it: parameters, which Ed25519 has none of.
    refuses_public(
        &pem(
            "PUBLIC KEY",
            "MCwwBwYDK2VwBQADIQAZv0QJaYTN/oVBusFn3DuWyFCGqjC2tssMXDitcDFm4Q==",
        ),
        &["cannot be read"],
    );
}

#[test]
fn a_weak_key_is_refused_in_pem_as_well() {
    // The identity: signatures under it hold for any message.
    let weak = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let error = PublicKey::parse_file(&pem("PUBLIC KEY", weak)).unwrap_err();
    assert_eq!(error.reason(), "weak-key");
}

#[test]
fn no_cut_or_changed_pem_makes_another_key_or_repeats_the_secret() {
    let text = pem("PRIVATE KEY", SEED);
    let key = SigningKey::parse_file(&text).unwrap().public_key();
    let check = |changed: &str| match SigningKey::parse_file(changed) {
        Ok(read) => assert_eq!(read.public_key(), key, "{changed}"),
        Err(error) => assert!(!error.to_string().contains("Tuctv5"), "{error}"),
    };
    (0..text.len()).for_each(|length| check(text.get(..length).unwrap()));
    // Up to the seed, any change of which is another seed.
    for at in 0..text.find("INTuc").unwrap() {
        for replacement in ["", "A", "-", " ", "\n", "\0", "\u{e9}"] {
            let mut changed = text.clone();
            changed.replace_range(at..=at, replacement);
            check(&changed);
        }
    }
    check(&text.replace('\n', ""));
    check(&text.replace("KEY-----\n", "KEY "));
}
