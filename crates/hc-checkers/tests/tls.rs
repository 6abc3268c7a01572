//! TLS handshakes with good and bad certificates, and with peers that speak something else.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use hc_checkers::{CheckersConfig, Roots, probe_tcp};
use hc_testkit::backend::Backend;
use hc_testkit::certificate::{Authority, Identity, Purpose, Wish};
use hc_testkit::outcome::as_told;
use hc_testkit::script::{Ended, Step};
use hc_types::{Failure, Outcome, Phase, Target, TcpProbe, Tls};

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const PLENTY: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(150);

fn here() -> Wish {
    Wish::valid_for(FAMILIES)
}

fn trusting<'a>(certificates: impl IntoIterator<Item = &'a Authority>) -> CheckersConfig {
    let (roots, problems) = Roots::new(certificates.into_iter().map(Authority::certificate));
    assert!(problems.is_empty());
    let mut config = CheckersConfig::default();
    config.roots = roots;
    config
}

fn run(probe: &TcpProbe, backend: &Backend, timeout: Duration, config: &CheckersConfig) -> Outcome {
    let target = Target::plain(backend.address().ip(), backend.address().port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    as_told(runtime.block_on(probe_tcp(probe, &target, timeout, config)))
}

fn handshake(backend: &Backend, verify: bool, config: &CheckersConfig) -> Outcome {
    let probe = TcpProbe { tls: Some(Tls::new(verify)), ..TcpProbe::default() };
    run(&probe, backend, PLENTY, config)
}

/// What is found of this identity in both families, with verification: `None` for a pass, or the
/// reason.
#[track_caller]
fn check(identity: &Identity, config: &CheckersConfig, expected: Option<&str>) {
    for ip in FAMILIES {
        let backend = Backend::start_tls(ip, identity, vec![Step::Hang]).unwrap();
        let expected = expected.map_or(Outcome::PASS, |reason| {
            Failure::Tls(reason.replace("ADDRESS", &ip.to_string()).into()).into()
        });
        assert_eq!(handshake(&backend, true, config), expected);
        assert_eq!(handshake(&backend, false, config), Outcome::PASS, "without verification");
    }
}

#[test]
fn a_good_certificate_passes() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let config = trusting([&authority]);
    check(&authority.sign(&here()).unwrap(), &config, None);
    check(&authority.sign(&here()).unwrap().only_tls12(), &config, None);
    for purposes in [vec![Purpose::ServerAuth, Purpose::ClientAuth], vec![Purpose::Any]] {
        check(&authority.sign(&Wish { purposes, ..here() }).unwrap(), &config, None);
    }
}

#[test]
fn a_chain_may_have_a_middle() {
    let root = Authority::new("root", 2000, 2100).unwrap();
    let middle = root.delegate("middle").unwrap();
    let leaf = middle.sign(&here()).unwrap();
    let unknown = Some("certificate signed by unknown authority");
    check(&leaf, &trusting([&root]), unknown);
    check(&leaf.with(middle.certificate()), &trusting([&root]), None);
}

#[test]
fn a_bad_certificate_is_named() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let config = trusting([&authority]);
    let stranger = Authority::new("stranger", 2000, 2100).unwrap();
    let unknown = Some("certificate signed by unknown authority");
    check(&stranger.sign(&here()).unwrap(), &config, unknown);
    check(&authority.sign(&here()).unwrap(), &CheckersConfig::default(), unknown);
    check(&Identity::self_signed(&here()).unwrap(), &config, unknown);
    check(
        &authority.sign(&here().in_years(2001, 2002)).unwrap(),
        &config,
        Some("certificate has expired: not valid after 2002-01-01T00:00:00Z"),
    );
    check(
        &authority.sign(&here().in_years(2098, 2099)).unwrap(),
        &config,
        Some("certificate is not yet valid: not before 2098-01-01T00:00:00Z"),
    );
    check(
        &authority.sign(&Wish::valid_for(["192.0.2.7", "www.example.com"])).unwrap(),
        &config,
        Some("certificate is valid for 192.0.2.7, not for ADDRESS"),
    );
    check(
        &authority.sign(&Wish::valid_for(["localhost"])).unwrap(),
        &config,
        Some("certificate is not valid for ADDRESS: it has no IP SANs"),
    );
    check(
        &authority.sign(&Wish { purposes: vec![Purpose::ClientAuth], ..here() }).unwrap(),
        &config,
        Some("certificate is not for servers (extended key usage)"),
    );
    check(&Identity::version_1(), &config, Some("certificate is not of version 3, so it names nobody"));
    check(
        &Identity::version_1().only_tls12(),
        &config,
        Some("certificate is not of version 3, so it names nobody"),
    );
}

#[test]
fn the_dates_of_a_root_count() {
    let old = Authority::new("root", 2000, 2001).unwrap();
    let leaf = old.sign(&here()).unwrap();
    let expired = Some("certificate has expired: not valid after 2001-01-01T00:00:00Z");
    check(&leaf, &trusting([&old]), expired);
}

#[test]
fn a_certificate_that_is_itself_trusted_passes() {
    let trust = |identity: &Identity| {
        let (roots, _) = Roots::new(identity.chain.clone());
        let mut config = CheckersConfig::default();
        config.roots = roots;
        config
    };
    // What `openssl req -x509` makes: it may sign others, and signs itself.
    let authority = Identity::self_signed(&Wish { authority: true, ..here() }).unwrap();
    check(&authority, &trust(&authority), None);
    let plain = Identity::self_signed(&here()).unwrap();
    check(&plain, &trust(&plain), None);
    // Signed by somebody who is not trusted.
    let signed = Authority::new("root", 2000, 2100).unwrap().sign(&here()).unwrap();
    check(&signed, &trust(&signed), None);
    // Its dates and names count all the same.
    let expired = Identity::self_signed(&Wish { authority: true, ..here() }.in_years(2001, 2002)).unwrap();
    let reason = "certificate has expired: not valid after 2002-01-01T00:00:00Z";
    check(&expired, &trust(&expired), Some(reason));
    let other = Identity::self_signed(&Wish { authority: true, ..Wish::valid_for(["192.0.2.7"]) }).unwrap();
    check(&other, &trust(&other), Some("certificate is valid for 192.0.2.7, not for ADDRESS"));
    // An authority that is not trusted is no better as a server.
    let reason = "certificate signed by unknown authority (it is one itself, and not among the trusted)";
    check(&authority, &CheckersConfig::default(), Some(reason));
}

#[test]
fn a_server_whose_certificate_may_sign_others_passes() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let config = trusting([&authority]);
    let wish = Wish { authority: true, ..here() };
    check(&authority.sign(&wish).unwrap(), &config, None);
    check(&authority.sign(&wish).unwrap().only_tls12(), &config, None);
    let for_clients = Wish { purposes: vec![Purpose::ClientAuth], ..wish.clone() };
    let unknown =
        Some("certificate signed by unknown authority (it is one itself, and not among the trusted)");
    check(&authority.sign(&for_clients).unwrap(), &config, unknown);
    check(&authority.sign(&Wish { names: vec!["192.0.2.7".into()], ..wish }).unwrap(), &config, unknown);
}

/// What is found of a peer that speaks in plain bytes.
#[track_caller]
fn plain_peer(script: &[Step], expected: impl Into<Outcome>) {
    let expected = expected.into();
    let timeout = if matches!(expected, Outcome::Fail(Failure::Timeout { .. })) { SOON } else { PLENTY };
    for verify in [true, false] {
        let backend = Backend::start(FAMILIES[0], script.to_vec()).unwrap();
        let probe = TcpProbe { tls: Some(Tls::new(verify)), ..TcpProbe::default() };
        assert_eq!(run(&probe, &backend, timeout, &CheckersConfig::default()), expected);
    }
}

fn tls(reason: &str) -> Failure {
    Failure::Tls(reason.into())
}

#[test]
fn a_peer_that_does_not_speak_tls_is_named() {
    plain_peer(&[Step::Hang], Failure::timeout(Phase::Tls));
    plain_peer(&[Step::Read(5)], Failure::Reset(Phase::Tls));
    plain_peer(&[Step::Read(5), Step::Reset], Failure::Reset(Phase::Tls));
    plain_peer(
        &[Step::send(b"220 mail.example.com ESMTP\r\n"), Step::Hang],
        tls(
            "first record does not look like a TLS handshake: \"220 mail.example.com ESMTP\\r\\n\"; the peer speaks SMTP",
        ),
    );
    plain_peer(
        &[Step::send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Step::Hang],
        tls(
            "first record does not look like a TLS handshake: \"HTTP/1.1 400 Bad Request\\r\\n\\r\\n\"; the peer speaks HTTP",
        ),
    );
    plain_peer(&[Step::HalfClose, Step::Hang], tls("the peer closed the connection during the handshake"));
    // Alerts: fatal, protocol_version and handshake_failure.
    plain_peer(
        &[Step::send([21, 3, 1, 0, 2, 2, 70]), Step::Hang],
        tls("remote error: protocol version not supported"),
    );
    plain_peer(&[Step::send([21, 3, 1, 0, 2, 2, 40]), Step::Hang], tls("remote error: handshake failure"));
}

#[test]
fn a_server_of_an_older_version_is_named() {
    // A ServerHello of TLS 1.1: version, random, no session, some suite, no compression.
    let hello = [&[2, 0, 0, 38, 3, 2][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
    let record = [&[22, 3, 2, 0, u8::try_from(hello.len()).unwrap()], &hello[..]].concat();
    plain_peer(
        &[Step::send(record), Step::Hang],
        tls("protocol version not supported: the peer speaks neither TLS 1.2 nor 1.3"),
    );
}

#[test]
fn bytes_are_exchanged_inside() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let config = trusting([&authority]);
    let identity = authority.sign(&here()).unwrap();
    let script = vec![Step::Read(4), Step::send(b"PONG!"), Step::Hang];
    for ip in FAMILIES {
        let backend = Backend::start_tls(ip, &identity, script.clone()).unwrap();
        let probe = |receive: &[u8]| TcpProbe {
            send: b"PING".into(),
            receive: receive.into(),
            tls: Some(Tls::new(true)),
        };
        assert_eq!(run(&probe(b"PONG"), &backend, PLENTY, &config), Outcome::PASS);
        let seen = backend.wait_for(|seen| seen.first().is_some_and(|one| one.over));
        assert_eq!((&seen[0].received[..], seen[0].ended), (&b"PING"[..], Some(Ended::Closed)));
        let outcome = run(&probe(b"PANG"), &backend, PLENTY, &config);
        assert!(matches!(outcome, Outcome::Fail(Failure::BodyMismatch(_))), "{outcome:?}");
        let outcome = run(&probe(b"PONG! and more"), &backend, SOON, &config);
        assert_eq!(outcome, Failure::timeout(Phase::Response).into());
    }
    // An end that TLS does not know of is one all the same.
    for script in [vec![Step::send(b"22")], vec![Step::send(b"22"), Step::HalfClose, Step::Hang]] {
        let backend = Backend::start_tls(FAMILIES[0], &identity, script).unwrap();
        let probe = TcpProbe { receive: b"220 ".into(), tls: Some(Tls::new(true)), ..TcpProbe::default() };
        assert_eq!(run(&probe, &backend, PLENTY, &config), Failure::closed_after(b"22").into());
    }
}

#[test]
fn system_roots_come_from_where_the_environment_says() {
    // Of child processes, since the environment is shared by all threads of this one.
    if let Ok(expected) = std::env::var("HC_TEST_ROOTS") {
        let expected: usize = expected.parse().unwrap();
        assert_eq!(Roots::system().0.len(), expected);
        assert_eq!(Roots::default().len(), expected, "the default reads the same, once");
        return;
    }
    let mut one = tempfile::NamedTempFile::new().unwrap();
    one.write_all(Authority::new("root", 2000, 2100).unwrap().pem().as_bytes()).unwrap();
    let this = std::env::current_exe().unwrap();
    for (file, expected) in [(Path::new("/dev/null"), "0"), (one.path(), "1")] {
        let status = std::process::Command::new(&this)
            .args(["--exact", "system_roots_come_from_where_the_environment_says"])
            .env("SSL_CERT_FILE", file)
            .env_remove("SSL_CERT_DIR")
            .env("HC_TEST_ROOTS", expected)
            .status()
            .unwrap();
        assert!(status.success(), "{}", file.display());
    }
}
