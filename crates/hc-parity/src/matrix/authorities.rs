//! Who signs the server's certificate, and how.

use anyhow::Result;

use super::openssl::{AUTHORITY, HERE, Order, Workshop};
use crate::case::Case;

const PSS: &[&str] = &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];

/// Name, key, and options of the signature below it.
const AUTHORITIES: &[(&str, &str, &[&str])] = &[
    ("p-224-sha256", "EC:P-224", &["-sha256"]),
    ("p-256-sha1", "EC:P-256", &["-sha1"]),
    ("p-256-sha224", "EC:P-256", &["-sha224"]),
    ("p-256-sha384", "EC:P-256", &["-sha384"]),
    ("p-256-sha512", "EC:P-256", &["-sha512"]),
    ("p-384-sha256", "EC:P-384", &["-sha256"]),
    ("p-384-sha384", "EC:P-384", &["-sha384"]),
    ("p-384-sha512", "EC:P-384", &["-sha512"]),
    ("p-521-sha1", "EC:P-521", &["-sha1"]),
    ("p-521-sha256", "EC:P-521", &["-sha256"]),
    ("p-521-sha384", "EC:P-521", &["-sha384"]),
    ("p-521-sha512", "EC:P-521", &["-sha512"]),
    ("secp256k1-sha256", "EC:secp256k1", &["-sha256"]),
    ("brainpool-256-sha256", "EC:brainpoolP256r1", &["-sha256"]),
    ("ed25519", "ED25519", &[]),
    ("ed448", "ED448", &[]),
    ("dsa-sha256", "DSA:2048", &["-sha256"]),
    ("rsa-512-sha256", "RSA:512", &["-sha256"]),
    ("rsa-1024-sha1", "RSA:1024", &["-sha1"]),
    ("rsa-1024-sha256", "RSA:1024", &["-sha256"]),
    ("rsa-1024-sha384", "RSA:1024", &["-sha384"]),
    ("rsa-1024-sha512", "RSA:1024", &["-sha512"]),
    ("rsa-2048-md5", "RSA:2048", &["-md5"]),
    ("rsa-2048-sha1", "RSA:2048", &["-sha1"]),
    ("rsa-2048-sha224", "RSA:2048", &["-sha224"]),
    ("rsa-2048-sha384", "RSA:2048", &["-sha384"]),
    ("rsa-2048-sha512", "RSA:2048", &["-sha512"]),
    ("rsa-3072-sha256", "RSA:3072", &["-sha256"]),
    ("rsa-4096-sha512", "RSA:4096", &["-sha512"]),
    ("rsa-8192-sha256", "RSA:8192", &["-sha256"]),
];

const PSS_AUTHORITIES: &[(&str, &str, &[&str])] = &[
    ("rsa-1024-pss-sha256", "RSA:1024", &["-sha256"]),
    ("rsa-2048-pss-sha1", "RSA:2048", &["-sha1"]),
    ("rsa-2048-pss-sha256", "RSA:2048", &["-sha256"]),
    ("rsa-2048-pss-sha384", "RSA:2048", &["-sha384"]),
    ("rsa-2048-pss-sha512", "RSA:2048", &["-sha512"]),
];

pub(super) fn cases(workshop: &Workshop) -> Result<Vec<Case>> {
    let leaf = workshop.key("authorities-leaf", "EC:P-256")?;
    let authorities = AUTHORITIES.iter().map(|authority| (authority, false));
    let authorities = authorities.chain(PSS_AUTHORITIES.iter().map(|authority| (authority, true)));
    let mut cases = Vec::new();
    for ((name, kind, digest), pss) in authorities {
        let mut options = digest.to_vec();
        if pss {
            options.extend(PSS);
        }
        let key = workshop.key(&format!("ca-{name}"), kind)?;
        let root =
            Order { name: &format!("ca-{name}"), extensions: AUTHORITY, options: &options, issuer: None };
        let root = workshop.certificate(&root, &key)?;
        workshop.trust(&root);
        let below =
            Order { name: &format!("by-{name}"), extensions: HERE, options: &options, issuer: Some(&root) };
        let pair = workshop.certificate(&below, &leaf)?;
        cases.extend(workshop.both(&format!("authority/{name}"), &pair, None, &[]));
        // The same below an intermediate that signs so.
        let middle = Order {
            name: &format!("middle-{name}"),
            extensions: AUTHORITY,
            options: &["-sha256"],
            issuer: Some(&workshop.root),
        };
        let middle = workshop.certificate(&middle, &key)?;
        let below = Order {
            name: &format!("below-{name}"),
            extensions: HERE,
            options: &options,
            issuer: Some(&middle),
        };
        let pair = workshop.certificate(&below, &leaf)?;
        let chain = workshop.chain(&format!("below-{name}"), &[&middle.certificate])?;
        cases.extend(workshop.both(&format!("intermediate/{name}"), &pair, Some(&chain), &[]));
    }
    Ok(cases)
}
