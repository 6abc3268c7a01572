//! `hcctl check`: one probe, without a server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use hc_testkit::backend::Backend;
use hc_testkit::certificate::{Authority, Wish};
use hc_testkit::dns::{DnsMessage, DnsServer};
use hc_testkit::network::in_own_network;
use hc_testkit::port::ClosedPort;
use hc_testkit::script::Step;
use serde_json::Value;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Standard output and exit status of `hcctl check`, and then standard error.
fn check(args: &[&str]) -> (String, i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hcctl")).arg("check").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), output.status.code().unwrap(), text(output.stderr))
}

#[test]
fn a_probe_passes_or_fails_and_each_phase_is_shown() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let backend = Backend::start(HERE, Step::respond(response)).unwrap();
    let url = format!("http://{}/healthz", backend.address());
    let (text, status, _) = check(&[&url]);
    let expected = format!("pass: HTTP GET to {}; got 200 OK (", backend.address());
    assert!(status == 0 && text.starts_with(&expected) && text.lines().count() == 1, "{text}");

    let (text, status, _) = check(&["-v", &url, "--body", "help"]);
    assert_eq!(status, 1, "{text}");
    let keys: Vec<&str> = text.lines().skip(1).map(|line| line.split_once(':').unwrap().0.trim()).collect();
    // The whole of the answer may come with its first byte.
    let keys: Vec<&str> = keys.into_iter().filter(|key| *key != "response").collect();
    assert_eq!(
        keys,
        ["connect", "send", "first byte", "differs", "expected", "got", "answer", "rule"],
        "{text}"
    );
    assert!(text.contains("from byte 3 on") && text.contains(r#"Content-Length: 5\r\n\r\nhello""#), "{text}");

    let (text, status, _) = check(&["--json", &url, "--code", "404"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &json["verdict"], &json["reason"]), (1, &"fail".into(), &"status".into()), "{json}");
    assert!(json["phases_seconds"]["connect"].as_f64().unwrap() > 0.0, "{json}");

    let closed = ClosedPort::reserve(HERE).unwrap();
    let (text, status, _) = check(&[&format!("tcp://localhost:{}", closed.address().port())]);
    assert!(status == 1 && text.contains("connection refused"), "{text}");
}

#[test]
fn a_host_name_is_the_name_that_the_certificate_must_hold() {
    let authority = Authority::new("root", 2020, 2120).unwrap();
    let identity = authority.sign(&Wish::valid_for(["localhost"])).unwrap();
    let steps = vec![Step::Read(4), Step::send(b"+PONG\r\n"), Step::Hang];
    let backend = Backend::start_tls(HERE, &identity, steps).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let port = backend.address().port();
    for (scheme, kind) in [("tls", "tcp"), ("rediss", "redis")] {
        let trusted = format!("{kind}.tls.ca_file={:?}", roots.to_str().unwrap());
        let (text, status, error) = check(&[&format!("{scheme}://localhost:{port}"), "--set", &trusted]);
        assert_eq!(status, 0, "{text}{error}");
        let (text, status, _) = check(&[&format!("{scheme}://{HERE}:{port}"), "--set", &trusted]);
        assert!(status == 1 && text.contains("certificate is not valid for 127.0.0.1"), "{text}");
    }
}

#[test]
fn names_of_dns_are_asked_for() {
    let server = DnsServer::udp(HERE, |query| {
        vec![DnsMessage::reply_to(query).answer("www.example.com", 1, &[192, 0, 2, 7]).build()]
    });
    let url = format!("dns://{}/www.example.com?type=A", server.as_ref().unwrap().address());
    let (text, status, _) = check(&[&url, "--set", "dns.expected_ips=[\"192.0.2.7\"]"]);
    assert!(status == 0 && text.contains("received answer 192.0.2.7"), "{text}");
    assert_eq!(check(&[&url, "--set", "dns.expected_ips='192.0.2.8'"]).1, 1);
}

#[test]
fn a_check_of_a_file_is_found_by_its_name() {
    let backend = Backend::start(HERE, vec![Step::send(b"220 ready\r\n"), Step::Hang]).unwrap();
    let port = backend.address().port();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("checks.toml");
    let checks = format!(
        "[[check]]\nname = \"mail\"\ntarget = [\"127.0.0.1\"]\nport = {port}\ntcp = {{ receive = \"220 \" }}\n\
         [[check]]\nname = \"named\"\ntarget = \"localhost\"\nport = {port}\ntcp = {{ receive = \"221 \" }}\n"
    );
    std::fs::write(&file, checks).unwrap();
    let file = file.to_str().unwrap();
    let name = format!("mail/127.0.0.1:{port}");
    assert_eq!(check(&["--file", file, &name]).1, 0);
    let (text, status, _) = check(&["--file", file, "named", "--timeout", "9s"]);
    // The name may come to ::1 first.
    assert!(status == 1 && (text.contains("unexpected response") || text.contains("refused")), "{text}");
    let (_, status, words) = check(&["--file", file, "mail"]);
    let expected = format!("hcctl: no check with the name \"mail\" in {file}; did you mean {name}?\n");
    assert_eq!((words, status), (expected, 2));
}

#[test]
fn what_is_no_check_is_wrong_usage() {
    for (args, expected) in [
        (&["tcp://127.0.0.1"][..], "check.port: a port is needed"),
        (&["http://127.0.0.1", "--set", "http.expectd_codes=200"], "did you mean `expected_codes`?"),
        (&["tcp://no.such.host.invalid:1"], "cannot resolve no.such.host.invalid"),
        (&["tcp://127.0.0.1:1", "--body", "x"], "--body is for http"),
        (&["--file", "/nowhere", "a"], "matches no file"),
        (&["--file", "/nowhere", "a", "--mark", "7"], "cannot be used with"),
    ] {
        let (_, status, words) = check(args);
        assert!(status == 2 && words.contains(expected), "{args:?}: {words}");
    }
}

#[test]
fn a_machine_without_a_way_there_is_inconclusive() {
    let (text, status, _) = in_own_network(|| check(&["tcp://192.0.2.1:80"]));
    assert!(status == 2 && text.starts_with("inconclusive: "), "{text}");
}
