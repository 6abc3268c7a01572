//! Chains that OpenSSL takes and Go refuses: a server must not pass by choosing a certificate that
//! is for OpenSSL to verify.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hc_checkers::{CheckersConfig, Roots, probe_http};
use hc_testkit::openssl::OpensslServer;
use hc_testkit::outcome::as_told;
use hc_types::{HttpProbe, Outcome, Target, Tls};
use openssl::ec::EcKey;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::x509::X509;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const ROOT: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n";
const NAME: &str = "subjectAltName=IP:127.0.0.1\n";
const MAY_SIGN: &str = "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:TRUE\n";
const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";

fn openssl(home: &Path, arguments: &str) {
    let output =
        Command::new("openssl").args(arguments.split_whitespace()).current_dir(home).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes `NAME.key`, and `NAME.crt` with these extensions, signed by `issuer` or itself.
fn certificate(home: &Path, name: &str, key: &str, extensions: &str, issuer: Option<&str>, digest: &str) {
    std::fs::write(home.join("extensions.cnf"), extensions).unwrap();
    openssl(home, &format!("genpkey -algorithm {key} -out {name}.key"));
    openssl(home, &format!("req -new -key {name}.key -out {name}.csr -subj /CN={name}"));
    let signer = match issuer {
        Some(issuer) => format!("-CA {issuer}.crt -CAkey {issuer}.key"),
        None => format!("-signkey {name}.key"),
    };
    let digest = if digest.is_empty() { String::new() } else { format!("-{digest}") };
    openssl(
        home,
        &format!(
            "x509 -req -in {name}.csr {signer} -set_serial 7 -days 30 {digest} -extfile extensions.cnf -out {name}.crt"
        ),
    );
}

/// What becomes of a check of a server with `leaf.crt`, if `root.crt` is trusted.
fn outcome(home: &Path, sha1: bool) -> Outcome {
    let text = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let certificates = CertificateDer::pem_file_iter(home.join("root.crt")).unwrap().map(Result::unwrap);
    let mut config = CheckersConfig::default();
    config.roots = Roots::new(certificates).0;
    let mut arguments: Vec<String> = ["-www", "-cipher", "ALL:@SECLEVEL=0"].map(str::to_owned).to_vec();
    arguments.extend(["-cert".into(), text("leaf.crt"), "-key".into(), text("leaf.key")]);
    if home.join("middle.crt").exists() {
        arguments.extend(["-cert_chain".into(), text("middle.crt")]);
    }
    let server = OpensslServer::start(IpAddr::V4(Ipv4Addr::LOCALHOST), &arguments).unwrap();
    let tls = Tls { sha1, ..Tls::new(true) };
    let probe = HttpProbe { tls: Some(tls), expected_codes: [200].into(), ..HttpProbe::default() };
    let target = Target::plain(server.address().ip(), server.address().port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    as_told(runtime.block_on(probe_http(&probe, &target, Duration::from_secs(20), &config)))
}

#[track_caller]
fn check(home: &Path, passes: bool, case: &str) {
    for sha1 in [false, true] {
        let outcome = outcome(home, sha1);
        assert_eq!(matches!(outcome, Outcome::Pass(_)), passes, "{case}, sha1 {sha1}: {outcome:?}");
    }
}

#[test]
fn openssl_does_not_add_signature_algorithms_or_curves() {
    for (key, digest, passes) in [
        (P256, "sha256", true),
        ("RSA -pkeyopt rsa_keygen_bits:2048", "sha256", true),
        ("EC -pkeyopt ec_paramgen_curve:brainpoolP256r1", "sha256", false),
        ("EC -pkeyopt ec_paramgen_curve:secp256k1", "sha256", false),
        ("ED448", "", false),
        ("RSA -pkeyopt rsa_keygen_bits:2048", "md5", false),
        ("RSA -pkeyopt rsa_keygen_bits:768", "sha256", false),
    ] {
        let home = tempfile::tempdir().unwrap();
        certificate(home.path(), "root", key, ROOT, None, if digest == "md5" { "sha256" } else { digest });
        certificate(home.path(), "leaf", P256, MAY_SIGN, Some("root"), digest);
        check(home.path(), passes, &format!("{key} {digest}"));
    }
}

#[test]
fn openssl_does_not_add_critical_extensions_of_a_server() {
    for (extensions, passes) in [
        ("certificatePolicies=critical,1.2.3.4", true),
        ("policyConstraints=critical,requireExplicitPolicy:0", false),
        ("nsCertType=critical,server", false),
        ("1.2.3.4=critical,DER:0500", false),
        ("subjectKeyIdentifier=critical,hash", false),
    ] {
        let home = tempfile::tempdir().unwrap();
        certificate(home.path(), "root", P256, ROOT, None, "sha256");
        certificate(home.path(), "leaf", P256, &format!("{NAME}{extensions}"), Some("root"), "sha256");
        check(home.path(), passes, extensions);
    }
}

#[test]
fn openssl_does_not_add_authorities() {
    for (extensions, passes) in [
        ("basicConstraints=critical,CA:TRUE", true),
        ("basicConstraints=critical,CA:TRUE,pathlen:0", true),
        ("keyUsage=critical,keyCertSign", false),
        ("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature", false),
        ("basicConstraints=critical,CA:TRUE\nextendedKeyUsage=clientAuth", false),
        ("basicConstraints=critical,CA:TRUE\nnsCertType=critical,sslCA", false),
        (
            "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,permitted;IP:127.0.0.0/255.0.0.0",
            true,
        ),
        (
            "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,excluded;IP:127.0.0.0/255.0.0.0",
            false,
        ),
        ("basicConstraints=critical,CA:TRUE\nnameConstraints=critical,excluded;RID:1.2.3", false),
    ] {
        let home = tempfile::tempdir().unwrap();
        certificate(home.path(), "root", P256, ROOT, None, "sha256");
        certificate(home.path(), "middle", P256, extensions, Some("root"), "sha256");
        certificate(home.path(), "leaf", P256, MAY_SIGN, Some("middle"), "sha256");
        check(home.path(), passes, extensions);
    }
}

#[test]
fn openssl_does_not_add_ber() {
    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let header = match length {
            [0, short @ ..=0x7f] => vec![tag, short],
            [0, long] => vec![tag, 0x81, long],
            [high, low] => vec![tag, 0x82, high, low],
        };
        [header, content.to_vec()].concat()
    }

    let home = tempfile::tempdir().unwrap();
    certificate(home.path(), "root", P256, ROOT, None, "sha256");
    certificate(home.path(), "leaf", P256, NAME, Some("root"), "sha256");
    let leaf =
        X509::from_pem(&std::fs::read(home.path().join("leaf.crt")).unwrap()).unwrap().to_der().unwrap();
    let key = EcKey::private_key_from_pem(&std::fs::read(home.path().join("root.key")).unwrap()).unwrap();
    let key = PKey::from_ec_key(key).unwrap();
    // The fields to be signed, behind two headers with two bytes of length each (or one).
    let header = |bytes: &[u8]| if bytes[1] < 0x80 { 2 } else { 2 + usize::from(bytes[1] & 0x7f) };
    let inner = &leaf[header(&leaf)..];
    let length = match inner[1] {
        0x81 => usize::from(inner[2]),
        0x82 => usize::from(u16::from_be_bytes([inner[2], inner[3]])),
        short => usize::from(short),
    };
    let fields = &inner[header(inner)..header(inner) + length];
    // The dates: a sequence of two UTCTimes.
    let at = fields.windows(4).position(|bytes| bytes == [0x30, 0x1e, 0x17, 0x0d]).unwrap();
    for (dates, passes) in [(&[0x30, 0x1e][..], true), (&[0x30, 0x81, 0x1e], false)] {
        let signed = tagged(0x30, &[&fields[..at], dates, &fields[at + 2..]].concat());
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        let signature = signer.sign_oneshot_to_vec(&signed).unwrap();
        // ecdsa-with-SHA256
        let algorithm = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02".to_vec();
        let signature = tagged(0x03, &[vec![0], signature].concat());
        let whole = tagged(0x30, &[signed, algorithm, signature].concat());
        std::fs::write(home.path().join("leaf.der"), whole).unwrap();
        openssl(home.path(), "x509 -inform DER -in leaf.der -out leaf.crt");
        check(home.path(), passes, &format!("{dates:?}"));
    }
}

#[test]
fn the_extensions_of_a_root_count() {
    for (extensions, middle, passes) in [
        (ROOT, true, true),
        ("basicConstraints=critical,CA:TRUE,pathlen:0", false, true),
        ("basicConstraints=critical,CA:TRUE,pathlen:0", true, false),
        ("basicConstraints=critical,CA:TRUE\nextendedKeyUsage=clientAuth", false, false),
        ("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature", false, false),
        ("subjectKeyIdentifier=hash", false, false),
    ] {
        for leaf in [NAME, MAY_SIGN] {
            let home = tempfile::tempdir().unwrap();
            certificate(home.path(), "root", P256, extensions, None, "sha256");
            if middle {
                certificate(home.path(), "middle", P256, ROOT, Some("root"), "sha256");
            }
            let issuer = if middle { "middle" } else { "root" };
            certificate(home.path(), "leaf", P256, leaf, Some(issuer), "sha256");
            check(home.path(), passes, &format!("{extensions} {middle}"));
        }
    }
}
