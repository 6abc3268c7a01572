//! What servers negotiate: versions, suites, groups, their keys, signatures of the handshake.

use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use super::openssl::{Order, Pair, Workshop, run};
use crate::case::Case;

/// Keys of servers, by the names that the cases have.
const KEYS: &[(&str, &str)] = &[
    ("rsa-512", "RSA:512"),
    ("rsa-1024", "RSA:1024"),
    ("rsa-1536", "RSA:1536"),
    ("rsa-2048", "RSA:2048"),
    ("rsa-3072", "RSA:3072"),
    ("rsa-4096", "RSA:4096"),
    ("rsa-8192", "RSA:8192"),
    ("rsa-pss-2048", "RSA-PSS:2048"),
    ("p-224", "EC:P-224"),
    ("p-256", "EC:P-256"),
    ("p-384", "EC:P-384"),
    ("p-521", "EC:P-521"),
    ("secp256k1", "EC:secp256k1"),
    ("brainpool-256", "EC:brainpoolP256r1"),
    ("ed25519", "ED25519"),
    ("ed448", "ED448"),
    ("dsa-2048", "DSA:2048"),
];

const VERSIONS: [&str; 4] = ["tls1", "tls1_1", "tls1_2", "tls1_3"];

const GROUPS: &[&str] = &[
    "X25519",
    "X448",
    "P-224",
    "P-256",
    "P-384",
    "P-521",
    "secp256k1",
    "brainpoolP256r1",
    "ffdhe2048",
    "P-521:X25519",
];

const SIGNATURES: &[(&str, &[&str])] = &[
    (
        "rsa-2048",
        &[
            "RSA+SHA1",
            "RSA+SHA224",
            "RSA+SHA256",
            "RSA+SHA384",
            "RSA+SHA512",
            "RSA-PSS+SHA256",
            "RSA-PSS+SHA384",
            "RSA-PSS+SHA512",
        ],
    ),
    (
        "rsa-1024",
        &["RSA+SHA256", "RSA+SHA384", "RSA+SHA512", "RSA-PSS+SHA256", "RSA-PSS+SHA384", "RSA-PSS+SHA512"],
    ),
    ("p-256", &["ECDSA+SHA1", "ECDSA+SHA224", "ECDSA+SHA256", "ECDSA+SHA384", "ECDSA+SHA512"]),
    ("p-384", &["ECDSA+SHA1", "ECDSA+SHA256", "ECDSA+SHA384", "ECDSA+SHA512"]),
    ("p-521", &["ECDSA+SHA1", "ECDSA+SHA256", "ECDSA+SHA384", "ECDSA+SHA512"]),
];

/// Options that change what a handshake looks like.
const OPTIONS: &[(&str, &[&str])] = &[
    ("no-tickets", &["-no_ticket"]),
    ("no-tickets-13", &["-tls1_3", "-num_tickets", "0"]),
    ("many-tickets", &["-tls1_3", "-num_tickets", "8"]),
    ("small-fragments", &["-max_send_frag", "512"]),
    ("small-fragments-12", &["-tls1_2", "-max_send_frag", "512"]),
    ("small-fragments-cbc", &["-tls1_2", "-max_send_frag", "512", "-cipher", "ECDHE+SHA:@SECLEVEL=0"]),
    ("asks-for-certificate", &["-verify", "1"]),
    ("asks-for-certificate-12", &["-tls1_2", "-verify", "1"]),
    ("needs-certificate", &["-Verify", "1", "-verify_return_error"]),
    ("needs-certificate-12", &["-tls1_2", "-Verify", "1", "-verify_return_error"]),
    ("alpn", &["-alpn", "h2,http/1.1"]),
    ("server-preference", &["-serverpref"]),
    ("bugs", &["-bugs"]),
    ("no-middlebox", &["-no_middlebox"]),
];

pub(super) fn cases(workshop: &Workshop) -> Result<Vec<Case>> {
    let mut pairs = Vec::new();
    for (name, kind) in KEYS {
        let key = workshop.key(name, kind)?;
        pairs.push((*name, workshop.certificate(&Order::leaf(name, &workshop.root), &key)?));
    }
    let pair =
        |name: &str| -> &Pair { &pairs.iter().find(|(other, _)| *other == name).unwrap_or(&pairs[0]).1 };
    let mut cases = Vec::new();
    for version in VERSIONS {
        let option = format!("-{version}");
        for (name, pair) in &pairs {
            cases.extend(workshop.both(&format!("key/{version}/{name}"), pair, None, &[&option]));
        }
        for group in GROUPS {
            for key in ["rsa-2048", "p-256"] {
                let name = format!("unverified/group/{version}/{group}/{key}");
                cases.push(workshop.case(&name, pair(key), None, &[&option, "-groups", group], false));
            }
        }
    }
    for suite in suites()? {
        let key = if suite.contains("ECDSA") {
            "p-256"
        } else if suite.contains("DSS") {
            "dsa-2048"
        } else {
            "rsa-2048"
        };
        let list = format!("{suite}:@SECLEVEL=0");
        for version in &VERSIONS[..3] {
            let options = [&*format!("-{version}"), "-cipher", &list];
            let name = format!("unverified/suite/{version}/{suite}");
            cases.push(workshop.case(&name, pair(key), None, &options, false));
        }
    }
    for suite in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_CCM_SHA256",
        "TLS_AES_128_CCM_8_SHA256",
    ] {
        let options = ["-tls1_3", "-ciphersuites", suite];
        let name = format!("unverified/suite/tls1_3/{suite}");
        cases.push(workshop.case(&name, pair("rsa-2048"), None, &options, false));
    }
    for (key, signatures) in SIGNATURES {
        for version in &VERSIONS[2..] {
            for signature in *signatures {
                let options = [&*format!("-{version}"), "-sigalgs", signature];
                let name = format!("signature/{version}/{key}/{signature}");
                cases.extend(workshop.both(&name, pair(key), None, &options));
            }
        }
    }
    for (name, options) in OPTIONS {
        cases.extend(workshop.both(&format!("option/{name}"), pair("p-256"), None, options));
    }
    for group in ["4587", "4588", "4589", "25"] {
        for key in ["p-256", "rsa-2048"] {
            let name = format!("unverified/go/group/{group}/{key}");
            cases.push(workshop.go_case(&name, pair(key), &["-version", "0x0304", "-group", group], false));
        }
    }
    for version in ["0x0301", "0x0302", "0x0303", "0x0304"] {
        for key in ["rsa-2048", "p-224", "p-256", "p-521", "ed25519"] {
            let name = format!("verified/go/{version}/{key}");
            cases.push(workshop.go_case(&name, pair(key), &["-version", version], true));
        }
    }
    cases.extend(beyond(workshop, &pair));
    Ok(cases)
}

/// Checks with the settings that go beyond Seesaw.
fn beyond<'a>(workshop: &Workshop, pair: &dyn Fn(&str) -> &'a Pair) -> Vec<Case> {
    let settings: &[(&str, &[&str], &str, &[&str])] = &[
        ("old-versions/tls1", &["tls_old_versions"], "rsa-2048", &["-tls1"]),
        ("old-versions/tls1_1", &["tls_old_versions"], "p-256", &["-tls1_1"]),
        (
            "rsa/gcm",
            &["tls_rsa_key_exchange"],
            "rsa-2048",
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"],
        ),
        ("rsa/cbc", &["tls_rsa_key_exchange"], "rsa-2048", &["-tls1_2", "-cipher", "AES256-SHA:@SECLEVEL=0"]),
        (
            "rsa/old",
            &["tls_rsa_key_exchange", "tls_old_versions"],
            "rsa-1024",
            &["-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"],
        ),
        ("sha1/rsa", &["tls_sha1"], "rsa-2048", &["-tls1_2", "-sigalgs", "RSA+SHA1"]),
        ("sha1/ecdsa", &["tls_sha1"], "p-256", &["-tls1_2", "-sigalgs", "ECDSA+SHA1"]),
    ];
    let mut cases = Vec::new();
    for (name, fields, key, options) in settings {
        for mut case in workshop.both(&format!("beyond/{name}"), pair(key), None, options) {
            for field in *fields {
                case.check[*field] = Value::Bool(true);
            }
            cases.push(case);
        }
    }
    cases
}

/// Every suite that this openssl has for TLS 1.2 and before.
fn suites() -> Result<Vec<String>> {
    let list = run(Command::new("openssl").args(["ciphers", "-s", "-tls1_2", "ALL:eNULL:@SECLEVEL=0"]))?;
    Ok(String::from_utf8_lossy(&list).trim().split(':').map(str::to_owned).collect())
}
