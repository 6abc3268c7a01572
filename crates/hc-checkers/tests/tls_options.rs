//! What few checks ask of TLS, with real servers (`openssl s_server`), by both libraries.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::{CheckersConfig, Roots, probe_http, probe_tcp};
use hc_testkit::openssl::OpensslServer;
use hc_types::{
    Failure, HttpProbe, KeyPin, Outcome, RawBytes, Target, TcpProbe, Tls, TlsIdentity, TlsOptions, TlsVersion,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PLENTY: Duration = Duration::from_secs(20);

/// An authority, `ca`, and certificates that it has signed, in files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self::of("ca")
    }

    /// With an authority of this name.
    fn of(authority: &str) -> Self {
        let files = Self(TempDir::new().unwrap());
        let file = "-keyout ca.key -out ca.crt";
        files.openssl(&format!("req -x509 -nodes -newkey rsa:2048 {file} -days 30 -subj /CN={authority}"));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.split_whitespace();
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A certificate for these names, `DNS:a.example,IP:127.0.0.1`.
    fn signed(&self, name: &str, names: &str, days: u32) {
        let curve = "-pkeyopt ec_paramgen_curve:P-256";
        self.openssl(&format!(
            "req -new -nodes -newkey ec {curve} -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        std::fs::write(self.path("san.cnf"), format!("subjectAltName={names}\n")).unwrap();
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days {days} -extfile san.cnf -out {name}.crt"
        ));
    }

    fn server(&self, name: &str, options: &str) -> OpensslServer {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut arguments = vec!["-www".to_owned()];
        arguments.extend(["-cert".to_owned(), text(self.path(&format!("{name}.crt")))]);
        arguments.extend(["-key".to_owned(), text(self.path(&format!("{name}.key")))]);
        arguments.extend(options.split_whitespace().map(|option| match option.strip_prefix('@') {
            Some(file) => text(self.path(file)),
            None => option.to_owned(),
        }));
        OpensslServer::start(HERE, &arguments).unwrap()
    }

    fn certificate(&self, name: &str) -> RawBytes {
        let der = CertificateDer::from_pem_file(self.path(&format!("{name}.crt"))).unwrap();
        RawBytes::from(der.as_ref())
    }

    fn identity(&self, name: &str, key: &str) -> TlsIdentity {
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{key}.key"))).unwrap();
        TlsIdentity { chain: [self.certificate(name)].into(), key: RawBytes::from(key.secret_der()).into() }
    }
}

/// What a check asks for, by rustls and by OpenSSL.
fn both(verify: bool, set: impl Fn(&mut TlsOptions)) -> [Tls; 2] {
    [false, true].map(|sha1| {
        let mut options = TlsOptions::default();
        set(&mut options);
        Tls { sha1, options: Some(Arc::new(options)), ..Tls::new(verify) }
    })
}

fn ask(server: &OpensslServer, tls: &Tls) -> Outcome {
    let probe = HttpProbe { tls: Some(tls.clone()), expected_codes: [200].into(), ..HttpProbe::default() };
    let target = Target::plain(server.address().ip(), server.address().port());
    let mut config = CheckersConfig::default();
    config.roots = Roots::none();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(probe_http(&probe, &target, PLENTY, &config))
}

#[track_caller]
fn passes(server: &OpensslServer, tls: &[Tls]) {
    for tls in tls {
        let outcome = ask(server, tls);
        assert!(matches!(outcome, Outcome::Pass(_)), "{outcome:?} for {tls:?}");
    }
}

#[track_caller]
fn fails(server: &OpensslServer, tls: &[Tls], reason: &str) {
    for tls in tls {
        match ask(server, tls) {
            Outcome::Fail(Failure::Tls(got)) if got.starts_with(reason) => {}
            other => panic!("{other:?} for {tls:?}"),
        }
    }
}

#[test]
fn a_chain_is_verified_against_an_authority_of_its_own() {
    let files = Files::new();
    files.signed("leaf", "IP:127.0.0.1", 30);
    let server = files.server("leaf", "");
    passes(&server, &both(true, |options| options.roots = Some([files.certificate("ca")].into())));
    let other = Files::of("other");
    let unknown = both(true, |options| options.roots = Some([other.certificate("ca")].into()));
    fails(&server, &unknown, "certificate signed by unknown authority");
    fails(&server, &both(true, |options| options.roots = Some([].into())), "certificate signed by unknown");
    fails(
        &server,
        &both(true, |options| options.alpn = ["x".into()].into()),
        "certificate signed by unknown",
    );
}

#[test]
fn the_name_that_is_sent_and_the_one_that_is_verified_are_apart_from_the_address() {
    let files = Files::new();
    files.signed("default", "DNS:default.example,IP:127.0.0.1", 30);
    files.signed("named", "DNS:named.example", 30);
    let server = files.server("default", "-servername named.example -cert2 @named.crt -key2 @named.key");
    let asking = |sni: Option<&str>, name: Option<&str>| {
        both(true, |options| {
            options.roots = Some([files.certificate("ca")].into());
            options.sni = sni.map(Into::into);
            options.verify_name = name.map(Into::into);
        })
    };
    passes(&server, &asking(None, None));
    passes(&server, &asking(Some("named.example"), Some("named.example")));
    passes(&server, &asking(None, Some("default.example")));
    passes(&server, &asking(Some("other.example"), Some("127.0.0.1")));
    fails(&server, &asking(Some("named.example"), None), "certificate is not valid for 127.0.0.1");
    let wrong = "certificate is valid for default.example, not for named.example";
    fails(&server, &asking(None, Some("named.example")), wrong);
}

#[test]
fn a_pinned_key_is_wanted_with_and_without_verification() {
    let files = Files::new();
    files.signed("leaf", "IP:127.0.0.1", 30);
    let der = Command::new("sh")
        .args([
            "-c",
            "openssl x509 -in leaf.crt -pubkey -noout | openssl pkey -pubin -outform der | sha256sum",
        ])
        .current_dir(files.0.path())
        .output()
        .unwrap();
    let digits = String::from_utf8(der.stdout).unwrap()[..64].to_owned();
    let mut pin = [0; 32];
    for (at, byte) in pin.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    }
    let server = files.server("leaf", "");
    let pinned = |verify: bool, pins: &[[u8; 32]]| {
        both(verify, |options| {
            options.pins = pins.iter().copied().map(KeyPin).collect();
            options.roots = verify.then(|| [files.certificate("ca")].into());
        })
    };
    for verify in [false, true] {
        passes(&server, &pinned(verify, &[[0; 32], pin]));
        let other = format!("the peer's key is not a pinned one: its SHA-256 is {digits}");
        fails(&server, &pinned(verify, &[[0; 32]]), &other);
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_it() {
    let files = Files::new();
    files.signed("leaf", "IP:127.0.0.1", 30);
    files.signed("client", "DNS:client", 30);
    files.signed("other", "DNS:other", 30);
    for version in ["-tls1_2", "-tls1_3"] {
        let server =
            files.server("leaf", &format!("-Verify 1 -verify_return_error -CAfile @ca.crt {version}"));
        passes(&server, &both(false, |options| options.identity = Some(files.identity("client", "client"))));
        fails(&server, &both(false, |options| options.min_days_left = Some(1)), "remote error: ");
        for tls in both(false, |options| options.identity = Some(files.identity("client", "other"))) {
            let outcome = ask(&server, &tls);
            let Outcome::Fail(Failure::BadRequest(reason)) = &outcome else { panic!("{outcome:?}") };
            assert!(reason.contains("the client's certificate cannot be used"), "{reason}");
        }
    }
}

#[test]
fn a_protocol_that_is_offered_must_be_chosen() {
    let files = Files::new();
    files.signed("leaf", "IP:127.0.0.1", 30);
    let offering = |names: &[&str]| {
        both(false, |options| options.alpn = names.iter().map(|name| RawBytes::from(*name)).collect())
    };
    let server = files.server("leaf", "-alpn http/1.1");
    passes(&server, &offering(&["h2", "http/1.1"]));
    fails(&server, &offering(&["h2"]), "remote error: no application protocol");
    let without = files.server("leaf", "");
    fails(&without, &offering(&["h2"]), "the peer chose none of the protocols \"h2\" (ALPN)");
}

#[test]
fn the_lowest_version_can_be_raised_and_lowered() {
    let files = Files::new();
    files.signed("leaf", "IP:127.0.0.1", 30);
    let least = |least| both(false, |options| options.min_version = Some(least));
    let (old, new) = (files.server("leaf", "-tls1_2"), files.server("leaf", "-tls1_3"));
    passes(&old, &least(TlsVersion::V1_2));
    passes(&new, &least(TlsVersion::V1_3));
    for tls in least(TlsVersion::V1_3) {
        let outcome = ask(&old, &tls);
        assert!(matches!(outcome, Outcome::Fail(Failure::Tls(_))), "{outcome:?}");
    }
    let ancient = files.server("leaf", "-tls1_1 -cipher ALL:@SECLEVEL=0");
    for (version, expected) in [(TlsVersion::V1_1, true), (TlsVersion::V1_2, false)] {
        let tls = least(version).map(|tls| Tls { old_versions: true, ..tls });
        let outcome = ask(&ancient, &tls[0]);
        assert_eq!(matches!(outcome, Outcome::Pass(_)), expected, "{version} {outcome:?}");
    }
}

#[test]
fn a_certificate_that_ends_soon_fails_or_warns() {
    let files = Files::new();
    files.signed("leaf", "IP:127.0.0.1", 5);
    let server = files.server("leaf", "");
    let days = |least, warn| {
        both(false, |options| {
            options.min_days_left = least;
            options.warn_days_left = warn;
        })
    };
    passes(&server, &days(Some(4), None));
    fails(&server, &days(Some(7), Some(30)), "certificate ends in 4 days, at ");
    for tls in days(Some(4), Some(7)) {
        for outcome in [ask(&server, &tls), bare(&server, &tls)] {
            let Outcome::Pass(pass) = outcome else { panic!("{outcome:?}") };
            let warning = pass.warning().unwrap();
            assert!(warning.starts_with("certificate ends in 4 days, at "), "{warning}");
        }
    }
    let Outcome::Pass(quiet) = ask(&server, &days(None, Some(4))[0]) else { panic!() };
    assert_eq!(quiet.warning(), None);
}

/// A TCP check with TLS alone.
fn bare(server: &OpensslServer, tls: &Tls) -> Outcome {
    let probe = TcpProbe { tls: Some(tls.clone()), ..TcpProbe::default() };
    let target = Target::plain(server.address().ip(), server.address().port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(probe_tcp(&probe, &target, PLENTY, &CheckersConfig::default()))
}
