//! Shapes of chains, and odd certificates.

use std::path::Path;

use anyhow::Result;

use super::openssl::{AUTHORITY, HERE, Order, Pair, Workshop};
use crate::case::Case;

/// Leaves that the trusted root signs: their extensions and options.
const LEAVES: &[(&str, &str, &[&str])] = &[
    ("plain", HERE, &["-sha256"]),
    ("version-1", "", &["-sha256"]),
    ("no-names", "basicConstraints=CA:FALSE", &["-sha256"]),
    ("other-name", "subjectAltName=DNS:other.example.com", &["-sha256"]),
    ("unknown-critical", "subjectAltName=IP:127.0.0.1\n1.2.3.4=critical,DER:0500", &["-sha256"]),
    ("unknown", "subjectAltName=IP:127.0.0.1\n1.2.3.4=DER:0500", &["-sha256"]),
    ("critical-names", "subjectAltName=critical,IP:127.0.0.1", &["-sha256"]),
    ("expired", HERE, &["-sha256", "-days", "-1"]),
    ("serial-0", HERE, &["-sha256", "-set_serial", "0"]),
    ("serial-negative", HERE, &["-sha256", "-set_serial", "-5"]),
    (
        "serial-long",
        HERE,
        &["-sha256", "-set_serial", "0x7fffffffffffffffffffffffffffffffffffffffffffffffff"],
    ),
    ("usage-encipherment", "subjectAltName=IP:127.0.0.1\nkeyUsage=critical,keyEncipherment", &["-sha256"]),
    ("usage-agreement", "subjectAltName=IP:127.0.0.1\nkeyUsage=critical,keyAgreement", &["-sha256"]),
    (
        "usage-signs-certificates",
        "subjectAltName=IP:127.0.0.1\nkeyUsage=critical,keyCertSign,cRLSign",
        &["-sha256"],
    ),
    ("for-servers", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth", &["-sha256"]),
    ("for-clients", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=clientAuth", &["-sha256"]),
    ("for-anything", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=anyExtendedKeyUsage", &["-sha256"]),
    ("for-netscape", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=nsSGC,msSGC", &["-sha256"]),
    ("must-staple", "subjectAltName=IP:127.0.0.1\ntlsfeature=status_request", &["-sha256"]),
    ("netscape-type", "subjectAltName=IP:127.0.0.1\nnsCertType=client", &["-sha256"]),
    ("policies", "subjectAltName=IP:127.0.0.1\ncertificatePolicies=1.2.3.4", &["-sha256"]),
    ("critical-policies", "subjectAltName=IP:127.0.0.1\ncertificatePolicies=critical,1.2.3.4", &["-sha256"]),
    (
        "mail-and-uri",
        "subjectAltName=IP:127.0.0.1,email:a@example.com,URI:https://example.com/",
        &["-sha256"],
    ),
    ("wildcard", "subjectAltName=IP:127.0.0.1,DNS:*.example.com", &["-sha256"]),
    (
        "key-ids",
        "subjectAltName=IP:127.0.0.1\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer",
        &["-sha256"],
    ),
];

/// Authorities between root and leaf.
const MIDDLES: &[(&str, &str, &[&str])] = &[
    ("plain", AUTHORITY, &["-sha256"]),
    ("version-1", "", &["-sha256"]),
    ("no-authority", "basicConstraints=critical,CA:FALSE", &["-sha256"]),
    ("no-constraints", "keyUsage=critical,keyCertSign", &["-sha256"]),
    ("no-usage", "basicConstraints=critical,CA:TRUE", &["-sha256"]),
    (
        "usage-without-signing",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature",
        &["-sha256"],
    ),
    ("path-0", "basicConstraints=critical,CA:TRUE,pathlen:0", &["-sha256"]),
    ("constraints-not-critical", "basicConstraints=CA:TRUE", &["-sha256"]),
    ("expired", AUTHORITY, &["-sha256", "-days", "-1"]),
    ("unknown-critical", "basicConstraints=critical,CA:TRUE\n1.2.3.4=critical,DER:0500", &["-sha256"]),
    (
        "names-permitted",
        "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,permitted;IP:127.0.0.0/255.0.0.0,permitted;DNS:example.com",
        &["-sha256"],
    ),
    (
        "names-elsewhere",
        "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,permitted;IP:192.0.2.0/255.255.255.0",
        &["-sha256"],
    ),
    (
        "names-excluded",
        "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,excluded;IP:127.0.0.0/255.0.0.0",
        &["-sha256"],
    ),
    ("for-clients", "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=clientAuth", &["-sha256"]),
    ("for-servers", "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=serverAuth", &["-sha256"]),
    ("signed-with-sha1", AUTHORITY, &["-sha1"]),
];

pub(super) fn cases(workshop: &Workshop) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (word, kind) in [("p-256", "EC:P-256"), ("rsa-2048", "RSA:2048")] {
        let key = workshop.key(&format!("chains-{word}"), kind)?;
        for (name, extensions, options) in LEAVES {
            let issuer = Some(&workshop.root);
            let name = format!("{name}-{word}");
            let pair = workshop.certificate(&Order { name: &name, extensions, options, issuer }, &key)?;
            for version in ["-tls1_2", "-tls1_3"] {
                cases.extend(workshop.both(&format!("leaf/{name}{version}"), &pair, None, &[version]));
            }
        }
    }
    let keys = (workshop.key("middle", "EC:P-256")?, workshop.key("below", "EC:P-256")?);
    for (name, extensions, options) in MIDDLES {
        let order =
            Order { name: &format!("middle-{name}"), extensions, options, issuer: Some(&workshop.root) };
        let middle = workshop.certificate(&order, &keys.0)?;
        let leaf = workshop.certificate(&Order::leaf(&format!("below-{name}"), &middle), &keys.1)?;
        let chain = workshop.chain(name, &[&middle.certificate])?;
        cases.extend(workshop.both(&format!("middle/{name}"), &leaf, Some(&chain), &[]));
    }
    cases.extend(roots(workshop)?);
    cases.extend(shapes(workshop)?);
    cases.extend(long(workshop)?);
    Ok(cases)
}

/// Trusted certificates of every kind.
fn roots(workshop: &Workshop) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (name, extensions, options) in MIDDLES {
        let key = workshop.key(&format!("root-{name}"), "EC:P-256")?;
        let order = Order { name: &format!("root-{name}"), extensions, options, issuer: None };
        let root = workshop.certificate(&order, &key)?;
        workshop.trust(&root);
        let key = workshop.key(&format!("of-root-{name}"), "EC:P-256")?;
        let leaf = workshop.certificate(&Order::leaf(&format!("of-root-{name}"), &root), &key)?;
        cases.extend(workshop.both(&format!("root/{name}"), &leaf, None, &[]));
    }
    for (name, extensions) in [("authority", format!("{HERE}\n{AUTHORITY}")), ("leaf", HERE.to_owned())] {
        for trusted in [true, false] {
            let name = format!("self-signed-{name}-{trusted}");
            let key = workshop.key(&name, "EC:P-256")?;
            let order = Order { name: &name, extensions: &extensions, options: &["-sha256"], issuer: None };
            let pair = workshop.certificate(&order, &key)?;
            if trusted {
                workshop.trust(&pair);
            }
            for version in ["-tls1_2", "-tls1_3"] {
                cases.extend(workshop.both(&format!("{name}{version}"), &pair, None, &[version]));
            }
        }
    }
    Ok(cases)
}

/// Chains in good and bad order.
fn shapes(workshop: &Workshop) -> Result<Vec<Case>> {
    let authority = |name: &str, issuer: Option<&Pair>| {
        let key = workshop.key(name, "EC:P-256")?;
        workshop.certificate(&Order::authority(name, issuer), &key)
    };
    let mut middles = vec![authority("shape-0", Some(&workshop.root))?];
    for n in 1..8 {
        middles.push(authority(&format!("shape-{n}"), middles.last())?);
    }
    let key = workshop.key("shape-leaf", "EC:P-256")?;
    let leaf = workshop.certificate(&Order::leaf("shape-leaf", &middles[7]), &key)?;
    let short = workshop.certificate(&Order::leaf("shape-short", &middles[0]), &key)?;
    let stranger = authority("stranger", None)?;
    // The same name and key as `shape-0`, by somebody whom nobody trusts, and by another trusted
    // one.
    let again = |name: &'static str, issuer: &Pair| -> Result<Pair> {
        let pair = workshop.certificate(&Order::authority("shape-0", Some(issuer)), &middles[0].key)?;
        let kept = workshop.chain(name, &[&pair.certificate])?;
        Ok(Pair { certificate: kept, key: pair.key })
    };
    let original = workshop.chain("shape-0-original", &[&middles[0].certificate])?;
    let crossed = again("crossed-stranger", &stranger)?;
    let ordered: Vec<&Path> = middles
        .iter()
        .rev()
        .map(|pair| if pair.key == middles[0].key { &*original } else { &*pair.certificate })
        .collect();
    let reversed: Vec<&Path> = ordered.iter().rev().copied().collect();
    let mut cases = Vec::new();
    let mut case = |name: &str, leaf: &Pair, chain: &[&Path]| -> Result<()> {
        let chain = workshop.chain(&format!("shape-{name}"), chain)?;
        cases.extend(workshop.both(&format!("shape/{name}"), leaf, Some(&chain), &[]));
        Ok(())
    };
    case("long", &leaf, &ordered)?;
    case("long-reversed", &leaf, &reversed)?;
    case("one-missing", &leaf, &ordered[1..])?;
    case("twice", &short, &[&original, &original])?;
    case("root-sent", &short, &[&original, &workshop.root.certificate])?;
    case("stranger-behind", &short, &[&original, &stranger.certificate])?;
    case("stranger-first", &short, &[&stranger.certificate, &original])?;
    case("crossed-good-first", &short, &[&original, &crossed.certificate])?;
    case("crossed-bad-first", &short, &[&crossed.certificate, &stranger.certificate, &original])?;
    case("crossed-bad-alone", &short, &[&crossed.certificate, &stranger.certificate])?;
    Ok(cases)
}

/// Many bytes of certificates.
fn long(workshop: &Workshop) -> Result<Vec<Case>> {
    let key = workshop.key("long", "EC:P-256")?;
    let leaf = workshop.certificate(&Order::leaf("long", &workshop.root), &key)?;
    let mut cases = Vec::new();
    // Strangers of 10 kB each behind a good leaf.
    let hex = "00".repeat(9_700);
    let stuffed = format!("basicConstraints=CA:FALSE\n1.2.3.4=DER:0482{:04x}{hex}", 9_700);
    let order = Order { name: "stuffed", extensions: &stuffed, options: &["-sha256"], issuer: None };
    let filler = workshop.certificate(&order, &key)?;
    for count in [5, 6, 7, 8, 9, 10, 15, 20, 25, 26, 27] {
        let chain = workshop.chain(&format!("long-{count}"), &vec![&*filler.certificate; count])?;
        for version in ["-tls1_2", "-tls1_3"] {
            cases.extend(workshop.both(
                &format!("long/{count}0-kB{version}"),
                &leaf,
                Some(&chain),
                &[version],
            ));
        }
    }
    // One certificate of many names.
    for names in [1_000, 2_000, 4_000] {
        let mut extensions = String::from("subjectAltName=@names\n[names]\nIP.1=127.0.0.1\n");
        for n in 0..names {
            extensions.push_str(&format!("DNS.{n}=host-{n:05}.example.com\n"));
        }
        let name = format!("names-{names}");
        let order = Order {
            name: &name,
            extensions: &extensions,
            options: &["-sha256"],
            issuer: Some(&workshop.root),
        };
        let pair = workshop.certificate(&order, &key)?;
        for version in ["-tls1_2", "-tls1_3"] {
            cases.extend(workshop.both(&format!("long/{name}{version}"), &pair, None, &[version]));
        }
    }
    Ok(cases)
}
