//! What is said of a peer that speaks another protocol than the one that is checked.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::backend::Backend;
use hc_testkit::certificate::{Authority, Wish};
use hc_testkit::network::in_own_network;
use hc_testkit::script::Step;
use hc_types::{CheckSpec, HttpProbe, ProbeSpec, Target, TcpProbe, Timing, Tls};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The text of one probe, behind its subject.
fn text(port: u16, probe: ProbeSpec) -> String {
    let (hour, timeout) = (Duration::from_secs(3600), Duration::from_secs(10));
    let spec = Arc::new(
        CheckSpec::new(Target::plain(HERE, port), probe, Timing::every(hour).timeout(timeout)).unwrap(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(Checkers::new(CheckersConfig::default()).probe(&spec));
    let text = spec.text(&outcome);
    text.split_once("; ").map_or(String::new(), |(_, cause)| cause.to_owned())
}

fn http(tls: bool) -> ProbeSpec {
    let tls = tls.then_some(Tls::new(false));
    ProbeSpec::Http(Box::new(HttpProbe { tls, expected_codes: [200].into(), ..HttpProbe::default() }))
}

fn tcp(receive: &[u8]) -> ProbeSpec {
    ProbeSpec::Tcp(TcpProbe { send: b"ruok".into(), receive: receive.into(), tls: None })
}

/// What is said about a backend that plays these steps.
#[track_caller]
fn check(probe: ProbeSpec, steps: &[Step], expected: &str) {
    let backend = Backend::start(HERE, steps.to_vec()).unwrap();
    assert_eq!(text(backend.address().port(), probe), expected);
}

#[test]
fn http_check_of_another_protocol_names_it() {
    let alert = [Step::ReadHead, Step::send([0x15, 3, 1, 0, 2, 2, 0x16])];
    let text =
        r#"malformed reply: not an HTTP/1.x response: "\x15\x03\x01\x00\x02\x02\x16": the peer speaks TLS"#;
    check(http(false), &alert, text);
    // Also if it stays open.
    check(http(false), &[&alert[..], &[Step::Hang]].concat(), text);
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0x40, 0];
    check(
        http(false),
        &[Step::send(settings), Step::Hang],
        r#"malformed reply: not an HTTP/1.x response: "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00@\x00": the peer speaks HTTP/2"#,
    );
    check(
        http(false),
        &[Step::send(b"SSH-2.0-OpenSSH_9.2p1\r\n"), Step::Hang],
        r#"malformed reply: not an HTTP/1.x response: "SSH-2.0-OpenSSH_9.2p1\r\n": the peer speaks SSH"#,
    );
    check(
        http(false),
        &Step::respond(b"<html>it works</html>"),
        r#"malformed reply: not an HTTP/1.x response: "<html>it works</html>": the peer speaks HTTP/0.9 (a page without a head)"#,
    );
    // Nobody knows this one.
    check(
        http(false),
        &Step::respond(b"\x01\x02"),
        r#"malformed reply: not an HTTP/1.x response: "\x01\x02": no HTTP version"#,
    );
}

#[test]
fn an_answer_that_is_cut_short_is_shown() {
    check(http(false), &[Step::ReadHead], "connection closed before any answer");
    check(
        http(false),
        &Step::respond(b"HTTP/1.1 200 OK\r\nSer"),
        r#"connection closed after 20 bytes of the answer: "HTTP/1.1 200 OK\r\nSer""#,
    );
    check(
        http(false),
        &Step::respond(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        r#"connection closed after 28 bytes of the answer: "HTTP/1.1 103 Early Hints\r\n\r\n""#,
    );
    check(
        tcp(b"imok"),
        &[Step::send(b"im"), Step::Read(4)],
        r#"connection closed after 2 bytes of the answer: "im""#,
    );
}

#[test]
fn tcp_check_with_another_answer_names_its_protocol() {
    check(
        tcp(b"imok"),
        &[Step::send(b"SSH-2.0-OpenSSH_9.2p1\r\n"), Step::Hang],
        r#"unexpected response - "SSH-"; the peer speaks SSH"#,
    );
    // The expected one is the same.
    let probe = tcp(b"HTTP/1.1 200");
    check(
        probe,
        &[Step::Read(4), Step::send(b"HTTP/1.1 500 Oops\r\n\r\n")],
        r#"unexpected response - "HTTP/1.1 500""#,
    );
}

#[test]
fn http_check_of_a_tls_server_says_so() {
    let identity = Authority::new("root", 2000, 2100).unwrap().sign(&Wish::valid_for([HERE])).unwrap();
    let backend = Backend::start_tls(HERE, &identity, vec![Step::Hang]).unwrap();
    let words = text(backend.address().port(), http(false));
    assert!(words.ends_with("the peer speaks TLS"), "{words}");
}

#[test]
fn https_check_of_a_plain_server_names_its_protocol() {
    check(
        http(true),
        &[Step::send(b"SSH-2.0-OpenSSH_9.2p1\r\n"), Step::Hang],
        r#"TLS: first record does not look like a TLS handshake: "SSH-2.0-OpenSSH_9.2p1\r\n"; the peer speaks SSH"#,
    );
    check(
        http(true),
        &[Step::send(b"220 mail.example ESMTP\r\n"), Step::Hang],
        r#"TLS: first record does not look like a TLS handshake: "220 mail.example ESMTP\r\n"; the peer speaks SMTP"#,
    );
}

/// A program that ends with the test.
struct Program(Child);

impl Program {
    /// Starts it, and waits until it answers at `port`.
    fn start(command: &mut Command, port: u16) -> Self {
        let program =
            Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let answers = (0..2000).any(|_| {
            let answers = TcpStream::connect((HERE, port)).is_ok();
            if !answers {
                std::thread::sleep(Duration::from_millis(5));
            }
            answers
        });
        assert!(answers, "{command:?} does not answer");
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// nginx with TLS asked without, and one without TLS asked with it.
#[test]
fn real_servers_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
    let mut request = Command::new("openssl");
    request.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    ]);
    let made = request.arg("-keyout").arg(&key).arg("-out").arg(&certificate).stderr(Stdio::null()).status();
    assert!(made.unwrap().success());
    let at = dir.path().display();
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error; events {{ }} http {{ access_log off;
         client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4;
         scgi_temp_path {at}/5; ssl_certificate {certificate}; ssl_certificate_key {key};
         server {{ listen 8443 ssl; return 200 ok; }} server {{ listen 8080; return 200 ok; }} }}",
        certificate = certificate.display(),
        key = key.display(),
    );
    fs::write(dir.path().join("nginx.conf"), config).unwrap();
    let conf = dir.path().join("nginx.conf");
    in_own_network(move || {
        let _nginx = Program::start(Command::new("nginx").arg("-c").arg(conf), 8080);
        assert_eq!(text(8443, http(false)), "got 400 Bad Request (the port is one for HTTPS); want 200");
        assert_eq!(text(8443, http(true)), "got 200 OK");
        let words = text(8080, http(true));
        assert!(words.ends_with("the peer speaks HTTP"), "{words}");
    });
}
