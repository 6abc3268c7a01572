//! TLS with real servers, `openssl s_server`: what they negotiate, their keys and who signs them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hc_checkers::{CheckersConfig, Roots, probe_http};
use hc_testkit::openssl::OpensslServer;
use hc_testkit::outcome::as_told;
use hc_types::{Failure, HttpProbe, Outcome, Target, Tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PLENTY: Duration = Duration::from_secs(20);

/// Keys and certificates in files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.split_whitespace();
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A self-signed certificate for this machine, `NAME.crt` and `NAME.key`.
    fn self_signed(&self, name: &str, key: &str, more: &str) {
        self.openssl(&format!(
            "req -x509 -nodes -newkey {key} -keyout {name}.key -out {name}.crt -days 30 -subj /CN={name} {more}"
        ));
    }

    /// A certificate for this machine that `authority` signs.
    fn signed(&self, name: &str, authority: &str, digest: &str) {
        self.openssl(&format!(
            "req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        std::fs::write(self.path("san.cnf"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -set_serial 7 -days 30 -{digest} \
             -extfile san.cnf -out {name}.crt"
        ));
    }

    fn server(&self, name: &str, options: &str) -> OpensslServer {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut arguments = vec!["-www".to_owned()];
        arguments.extend(["-cert".to_owned(), text(self.path(&format!("{name}.crt")))]);
        arguments.extend(["-key".to_owned(), text(self.path(&format!("{name}.key")))]);
        if !options.contains("-cipher ") {
            arguments.extend(["-cipher".to_owned(), "ALL:@SECLEVEL=0".to_owned()]);
        }
        arguments.extend(options.split_whitespace().map(str::to_owned));
        OpensslServer::start(HERE, &arguments).unwrap()
    }
}

fn roots(file: &Path) -> CheckersConfig {
    let certificates = CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap);
    let (roots, problems) = Roots::new(certificates);
    assert!(problems.is_empty());
    let mut config = CheckersConfig::default();
    config.roots = roots;
    config
}

fn ask(server: &OpensslServer, tls: &Tls, config: &CheckersConfig) -> Outcome {
    let probe = HttpProbe { tls: Some(tls.clone()), expected_codes: [200].into(), ..HttpProbe::default() };
    let target = Target::plain(server.address().ip(), server.address().port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    as_told(runtime.block_on(probe_http(&probe, &target, PLENTY, config)))
}

#[track_caller]
fn passes(server: &OpensslServer, tls: &Tls, config: &CheckersConfig) {
    let outcome = ask(server, tls, config);
    assert!(matches!(outcome, Outcome::Pass(_)), "{outcome:?}");
}

#[track_caller]
fn fails(server: &OpensslServer, tls: &Tls, config: &CheckersConfig, reason: &str) {
    assert_eq!(ask(server, tls, config), Failure::Tls(reason.into()).into());
}

const ANY: Tls = Tls::new(false);

#[test]
fn servers_with_cbc_sha_suites_alone_are_reached() {
    let files = Files::new();
    files.self_signed("rsa", "rsa:2048", "");
    files.self_signed("ec", "ec -pkeyopt ec_paramgen_curve:P-256", "");
    let none = CheckersConfig::default();
    for (name, suite) in [
        ("rsa", "ECDHE-RSA-AES256-SHA:ECDHE-RSA-AES128-SHA"),
        ("rsa", "ECDHE-RSA-AES128-SHA"),
        ("rsa", "ECDHE-RSA-AES256-SHA"),
        ("ec", "ECDHE-ECDSA-AES128-SHA"),
        ("ec", "ECDHE-ECDSA-AES256-SHA"),
    ] {
        passes(&files.server(name, &format!("-tls1_2 -cipher {suite}:@SECLEVEL=0")), &ANY, &none);
        // Records of half a kilobyte, too.
        let small = format!("-tls1_2 -max_send_frag 512 -cipher {suite}:@SECLEVEL=0");
        passes(&files.server(name, &small), &ANY, &none);
    }
}

#[test]
fn keys_and_groups_on_p521_are_taken() {
    let files = Files::new();
    files.self_signed("p521", "ec -pkeyopt ec_paramgen_curve:P-521", "-addext subjectAltName=IP:127.0.0.1");
    let config = roots(&files.path("p521.crt"));
    for version in ["-tls1_2", "-tls1_3"] {
        for tls in &[ANY, Tls::new(true)] {
            passes(&files.server("p521", version), tls, &config);
            passes(&files.server("p521", &format!("{version} -groups P-521")), tls, &config);
        }
    }
}

#[test]
fn short_rsa_keys_are_taken_from_1024_bits() {
    let files = Files::new();
    let none = CheckersConfig::default();
    for bits in [1024, 1536] {
        files.self_signed("rsa", &format!("rsa:{bits}"), "");
        for version in ["-tls1_2", "-tls1_3"] {
            passes(&files.server("rsa", version), &ANY, &none);
        }
    }
    files.self_signed("rsa", "rsa:768", "");
    let reason = "certificate with an RSA key of 768 bits: 1024 to 8192 are supported";
    fails(&files.server("rsa", "-tls1_2"), &ANY, &none, reason);
}

#[test]
fn authorities_with_uncommon_signatures_are_trusted() {
    let files = Files::new();
    for (key, digest) in [
        ("ec -pkeyopt ec_paramgen_curve:P-384", "sha512"),
        ("ec -pkeyopt ec_paramgen_curve:P-521", "sha512"),
        ("ec -pkeyopt ec_paramgen_curve:P-521", "sha256"),
        ("rsa:1024", "sha256"),
        ("rsa:1024", "sha384"),
    ] {
        files.self_signed("ca", key, &format!("-{digest} -addext keyUsage=critical,keyCertSign"));
        files.signed("leaf", "ca", digest);
        let config = roots(&files.path("ca.crt"));
        for version in ["-tls1_2", "-tls1_3"] {
            passes(&files.server("leaf", version), &Tls::new(true), &config);
        }
    }
}

#[test]
fn certificate_messages_of_up_to_256_kb_are_taken() {
    let files = Files::new();
    files.self_signed("ec", "ec -pkeyopt ec_paramgen_curve:P-256", "-addext subjectAltName=IP:127.0.0.1");
    let stuffing = format!("1.2.3.4=DER:0482{:04x}{}", 9700, "00".repeat(9700));
    std::fs::write(files.path("big.cnf"), format!("[req]\ndistinguished_name=dn\n[dn]\n[big]\n{stuffing}\n"))
        .unwrap();
    files.self_signed("big", "ec -pkeyopt ec_paramgen_curve:P-256", "-config big.cnf -extensions big");
    let filler = std::fs::read_to_string(files.path("big.crt")).unwrap();
    let config = roots(&files.path("ec.crt"));
    for (count, whole) in [(8, true), (15, true), (25, true), (28, false)] {
        std::fs::write(files.path("chain.pem"), filler.repeat(count)).unwrap();
        for version in ["-tls1_2", "-tls1_3"] {
            let chain = files.path("chain.pem");
            let server = files.server("ec", &format!("{version} -cert_chain {}", chain.display()));
            for tls in &[ANY, Tls::new(true)] {
                match whole {
                    true => passes(&server, tls, &config),
                    false => fails(&server, tls, &config, "excessive message size"),
                }
            }
        }
    }
}

#[test]
fn old_tls_is_spoken_where_a_check_asks_for_it() {
    let files = Files::new();
    files.self_signed("rsa", "rsa:2048", "-addext subjectAltName=IP:127.0.0.1");
    files.self_signed("ec", "ec -pkeyopt ec_paramgen_curve:P-256", "-addext subjectAltName=IP:127.0.0.1");
    let old = Tls { old_versions: true, ..ANY };
    let rsa = Tls { rsa_key_exchange: true, ..ANY };
    let sha1 = Tls { sha1: true, ..ANY };
    let (old, rsa, sha1) = (&old, &rsa, &sha1);
    for (name, setting, options) in [
        ("rsa", old, "-tls1"),
        ("rsa", old, "-tls1_1"),
        ("ec", old, "-tls1"),
        ("rsa", old, "-tls1_2"),
        ("rsa", old, "-tls1_3"),
        ("rsa", rsa, "-tls1_2 -cipher AES128-GCM-SHA256:@SECLEVEL=0"),
        ("rsa", rsa, "-tls1_2 -cipher AES256-SHA256:@SECLEVEL=0"),
        ("rsa", rsa, "-tls1_2 -cipher AES128-SHA:@SECLEVEL=0"),
        ("rsa", sha1, "-tls1_2 -sigalgs RSA+SHA1"),
        ("ec", sha1, "-tls1_2 -sigalgs ECDSA+SHA1"),
    ] {
        let server = files.server(name, options);
        passes(&server, setting, &CheckersConfig::default());
        let config = roots(&files.path(&format!("{name}.crt")));
        let verified = Tls { verify: true, ..setting.clone() };
        passes(&server, &verified, &config);
        let refused = ask(&server, &verified, &CheckersConfig::default());
        assert!(matches!(refused, Outcome::Fail(Failure::Tls(_))), "{name} {options}: {refused:?}");
        if !matches!(options, "-tls1_2" | "-tls1_3") {
            let without = ask(&server, &ANY, &CheckersConfig::default());
            assert!(matches!(without, Outcome::Fail(Failure::Tls(_))), "{name} {options}: {without:?}");
        }
    }
}

#[test]
fn sha1_in_certificates_counts_where_a_check_asks_for_it() {
    let files = Files::new();
    let none = "certificate signed with an algorithm that is not supported";
    for key in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384"] {
        files.self_signed("ca", key, "-addext keyUsage=critical,keyCertSign");
        files.signed("leaf", "ca", "sha1");
        let config = roots(&files.path("ca.crt"));
        let server = files.server("leaf", "-tls1_3");
        passes(&server, &Tls { verify: true, sha1: true, ..ANY }, &config);
        fails(&server, &Tls { verify: true, old_versions: true, ..ANY }, &config, none);
    }
}
