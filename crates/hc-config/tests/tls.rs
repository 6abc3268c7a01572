//! The table `tls` of a probe.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::process::Command;
use std::sync::Arc;

use hc_config::{Limits, load};
use hc_types::{KeyPin, ProbeSpec, Tls, TlsVersion};
use tempfile::TempDir;

/// A directory with `own.crt` and `own.key`, others of the same kind and of RSA, and files that are
/// neither.
fn directory() -> TempDir {
    let directory = TempDir::new().unwrap();
    let curve = "ec -pkeyopt ec_paramgen_curve:P-256";
    for (name, key) in [("own", curve), ("other", curve), ("rsa", "rsa:2048")] {
        let arguments = format!(
            "req -x509 -nodes -newkey {key} -keyout {name}.key -out {name}.crt -days 30 -subj /CN=own"
        );
        let made =
            Command::new("openssl").args(arguments.split(' ')).current_dir(&directory).output().unwrap();
        assert!(made.status.success());
    }
    fs::write(directory.path().join("empty"), "").unwrap();
    fs::write(directory.path().join("cut"), "-----BEGIN CERTIFICATE-----\nMIIB\n").unwrap();
    fs::create_dir(directory.path().join("ca.d")).unwrap();
    directory
}

fn read(directory: &TempDir, checks: &str) -> Result<Vec<Tls>, Vec<String>> {
    let path = directory.path().join("checks.toml");
    fs::write(&path, checks).unwrap();
    match load(&[path.to_str().unwrap()], &Limits::new(65_536, 100_000)) {
        Ok(checks) => {
            let tls = checks.checks.iter().map(|check| match check.spec.probe() {
                ProbeSpec::Http(http) => http.tls.clone().unwrap(),
                ProbeSpec::Tcp(tcp) => tcp.tls.clone().unwrap(),
                ProbeSpec::Dialogue(dialogue) => dialogue.tls.clone().unwrap(),
                other => panic!("{other:?}"),
            });
            Ok(tls.collect())
        }
        Err(errors) => {
            let here = format!("{}/", directory.path().display());
            let lines = errors.diagnostics().iter();
            Err(lines.map(|line| line.to_string().replace(&here, "")).collect())
        }
    }
}

#[test]
fn every_key_has_its_effect() {
    let directory = directory();
    let pin = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
    let tls = read(
        &directory,
        &format!(
            "[[check]]\nname = 'a'\ntarget = '192.0.2.1:443'\n[check.http.tls]\nverify_name = 'a.example'\nsni = 'b.example'\n\
             ca_file = 'own.crt'\ncert_file = 'own.crt'\nkey_file = 'own.key'\npins = ['{pin}', '{}']\nalpn = 'http/1.1'\n\
             min_version = '1.1'\nmin_days_left = 7\nwarn_days_left = 30\n",
            "ff:".repeat(31) + "fe"
        ),
    );
    let [tls] = tls.unwrap().try_into().unwrap();
    assert!(tls.verify && tls.old_versions);
    let options = tls.options.unwrap();
    assert_eq!(options.verify_name.as_deref(), Some("a.example"));
    assert_eq!(options.sni.as_deref(), Some("b.example"));
    let own = &options.roots.as_ref().unwrap()[0];
    assert_eq!(options.roots.as_ref().unwrap().len(), 1);
    let identity = options.identity.as_ref().unwrap();
    assert_eq!(&identity.chain[..], std::slice::from_ref(own));
    assert!(!identity.key.expose().is_empty());
    let (mut one, mut other) = ([0; 32], [0xff; 32]);
    (one[31], other[31]) = (1, 0xfe);
    assert_eq!(*options.pins, [KeyPin(one), KeyPin(other)]);
    assert_eq!(options.alpn[0].as_slice(), b"http/1.1");
    assert_eq!(options.min_version, Some(TlsVersion::V1_1));
    assert_eq!((options.min_days_left, options.warn_days_left), (Some(7), Some(30)));
}

#[test]
fn checks_share_what_they_have_in_common() {
    let directory = directory();
    let tls = read(
        &directory,
        "[defaults]\ntcp.tls = { ca_file = 'own.crt' }\n\
         [[check]]\nname = 'a'\ntarget = ['192.0.2.1:443', '192.0.2.2:443']\ntcp = {}\n\
         [[check]]\nname = 'b'\ntarget = '192.0.2.3:443'\ntcp = {}\n\
         [[check]]\nname = 'c'\ntarget = '192.0.2.3:443'\ntcp.tls.sni = 'c.example'\n",
    );
    let options: Vec<_> = tls.unwrap().into_iter().map(|tls| tls.options.unwrap()).collect();
    let shared = |one: usize, other: usize| Arc::ptr_eq(&options[one], &options[other]);
    assert!(shared(0, 1) && shared(0, 2) && !shared(0, 3));
    assert!(options[3].roots.is_some());
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    let directory = directory();
    let wrong = |keys: &str, expected: &[&str]| {
        let text = format!("[[check]]\nname = 'a'\ntarget = '192.0.2.1:443'\n[check.tcp.tls]\n{keys}\n");
        assert_eq!(read(&directory, &text).unwrap_err(), expected, "{keys}");
    };
    let at = "checks.toml:5:";
    let none = "the file has no certificate (in PEM: BEGIN CERTIFICATE)";
    let no_key = "the file has no private key (in PEM: BEGIN PRIVATE KEY, not encrypted)";
    let is_directory = &format!("{at}11: check.tcp.tls.ca_file: cannot read ca.d: is a directory");
    wrong("ca_file = 'ca.d'", &[is_directory]);
    wrong("ca_file = 'empty'", &[&format!("{at}11: check.tcp.tls.ca_file: {none}")]);
    wrong("ca_file = 'own.key'", &[&format!("{at}11: check.tcp.tls.ca_file: {none}")]);
    let text = "[[check]]\nname = 'a'\ntarget = '192.0.2.1:443'\ntcp.tls.ca_file = 'cut'\n";
    let cut = read(&directory, text).unwrap_err();
    assert!(cut[0].starts_with("checks.toml:4:19: check.tcp.tls.ca_file: the file is not PEM: "), "{cut:?}");
    wrong("cert_file = 'own.crt'", &[&format!("{at}13: check.tcp.tls.cert_file: needs `key_file`")]);
    wrong("key_file = 'own.key'", &[&format!("{at}12: check.tcp.tls.key_file: needs `cert_file`")]);
    wrong(
        "cert_file = 'own.crt'\nkey_file = 'own.crt'",
        &[&format!("checks.toml:6:12: check.tcp.tls.key_file: {no_key}")],
    );
    let another = "is the key of another certificate than the first one in `cert_file`";
    for key in ["other", "rsa"] {
        wrong(
            &format!("cert_file = 'own.crt'\nkey_file = '{key}.key'"),
            &[&format!("checks.toml:6:12: check.tcp.tls.key_file: {another}")],
        );
    }
    let fitting = "[[check]]\nname = 'a'\ntarget = '192.0.2.1:443'\ntcp.tls = { cert_file = 'rsa.crt', key_file = 'rsa.key' }\n";
    assert!(read(&directory, fitting).is_ok());
    wrong(
        "pins = 'sha256/AAAA'",
        &[&format!(
            "{at}8: check.tcp.tls.pins: \"sha256/AAAA\" is not the SHA-256 of a key: sha256/ with base64, or 64 hexadecimal digits"
        )],
    );
    wrong(
        "alpn = ''",
        &[&format!("{at}8: check.tcp.tls.alpn: has 0 bytes; the name of a protocol has 1 to 255")],
    );
    wrong(
        "verify = false\nverify_name = 'a.example'",
        &["checks.toml:6:15: check.tcp.tls.verify_name: nothing is compared with it without verification"],
    );
    wrong("sni = '192.0.2.1'", &[&format!("{at}7: check.tcp.tls.sni: is not a host name")]);
    wrong(
        "min_version = '1.4'",
        &[&format!(
            "{at}15: check.tcp.tls.min_version: \"1.4\" is not one of 1.0, 1.1, 1.2, 1.3; did you mean `1.0`?"
        )],
    );
}

/// As HTTPS does: a host name is what is sent and what the certificate must hold, unless the file
/// says otherwise.
#[test]
fn every_probe_over_tls_names_the_host() {
    let directory = directory();
    let path = directory.path().join("checks.toml");
    let check = |probe: &str| {
        let text = format!("[[check]]\nname = 'a'\ntarget = 'mail.example.:993'\n{probe}\n");
        fs::write(&path, text).unwrap();
        let checks = load(&[path.to_str().unwrap()], &Limits::new(65_536, 100_000)).unwrap();
        let [host] = &checks.hosts[..] else { panic!("{checks:?}") };
        let check = host.check("192.0.2.7".parse().unwrap()).unwrap().unwrap();
        let (tls, host) = match check.spec.probe() {
            ProbeSpec::Tcp(tcp) => (&tcp.tls, None),
            ProbeSpec::Dialogue(dialogue) => (&dialogue.tls, None),
            ProbeSpec::Http(http) => {
                (&http.tls, http.overrides.as_ref().and_then(|one| one.server_name.clone()))
            }
            ProbeSpec::Grpc(grpc) => (&grpc.tls, grpc.server_name.clone()),
            other => panic!("{other:?}"),
        };
        let options = tls.as_ref().unwrap().options.as_deref().cloned().unwrap_or_default();
        (options.sni.or(host.clone()), options.verify_name.or(host))
    };
    let mail = || Some("mail.example".into());
    for probe in [
        "tcp.tls = true",
        "http.tls = true",
        "http = { tls = true, version = '2' }",
        "grpc.tls = true",
        "redis.tls = true",
        "smtp.tls = true",
        "smtp = { tls = true, starttls = true }",
        "postgresql.tls = true",
        "mysql.tls = true",
        "ldap.tls = true",
        "tcp = { tls = true, steps = [{ expect = '* OK' }] }",
    ] {
        assert_eq!(check(probe), (mail(), mail()), "{probe}");
    }
    assert_eq!(check("tcp.tls.verify = false"), (mail(), None));
    let named = "tcp.tls = { sni = 'a.example', verify_name = 'b.example' }";
    assert_eq!(check(named), (Some("a.example".into()), Some("b.example".into())));
}
