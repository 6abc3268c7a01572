//! The commands that `hcctl explain` gives are run, against real sockets: the tools do what the
//! probe does.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use hc_api::{Reproduction, reproduce};
use hc_testkit::backend::{Backend, Seen};
use hc_testkit::certificate::{Authority, Wish};
use hc_testkit::datagram::DatagramServer;
use hc_testkit::dns::{DnsMessage, DnsServer};
use hc_testkit::port::ClosedPort;
use hc_testkit::radius::{RadiusReply, RadiusRequest};
use hc_testkit::script::Step;
use hc_types::{
    CheckSpec, DnsExpectation, DnsOptions, DnsProbe, HttpOverrides, HttpProbe, Mark, Mode, ProbeSpec,
    RadiusExpectation, RadiusProbe, RadiusStatusProbe, Rcode, RecordClass, RecordType, Target, TcpProbe,
    Timing, Tls, TlsOptions, TlsVersion, UdpProbe, Via,
};
use tempfile::TempDir;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECRET: &str = "s3cret";
const PASSWORD: &str = "pass word$'";

fn spec(address: SocketAddr, probe: ProbeSpec) -> CheckSpec {
    let timing = Timing::every(Duration::from_secs(60)).timeout(Duration::from_millis(4_500));
    CheckSpec::new(Target::plain(address.ip(), address.port()), probe, timing).unwrap()
}

/// A shell in which the commands run, with what their notes ask for.
struct Shell(TempDir);

impl Shell {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
        std::fs::write(dir.path().join("password"), PASSWORD).unwrap();
        Self(dir)
    }

    fn run(&self, Reproduction { command, .. }: &Reproduction) -> Output {
        for secret in [SECRET, PASSWORD, "dXNlcjpwYXNz"] {
            assert!(!command.contains(secret), "{command}");
        }
        let programs = Path::new(env!("CARGO_BIN_EXE_hcctl")).parent().unwrap().display();
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(self.0.path())
            .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()))
            .env("RADIUS_PASSWORD", PASSWORD)
            .env("RADIUS_SECRET_FILE", "secret")
            .env("AUTHORIZATION", "Basic dXNlcjpwYXNz")
            .output();
        output.unwrap()
    }
}

/// Runs the command of the tool and that of hcctl. Gives what the tool wrote.
#[track_caller]
fn check(spec: &CheckSpec, status: i32) -> String {
    let shell = Shell::new();
    let commands = reproduce(spec);
    let [tool, hcctl] = &commands[..] else { panic!("{commands:?}") };
    let run = |one: &Reproduction| {
        let output = shell.run(one);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = run(hcctl);
    assert_eq!(code, Some(status), "{}: {text}", hcctl.command);
    let (code, text) = run(tool);
    assert_eq!(code == Some(0), status == 0, "{}: {text}", tool.command);
    text
}

#[test]
fn connections_by_nc() {
    let backend = Backend::start(HERE, vec![Step::Hang]).unwrap();
    check(&spec(backend.address(), ProbeSpec::Tcp(TcpProbe::default())), 0);
    let closed = ClosedPort::reserve(HERE).unwrap();
    let text = check(&spec(closed.address(), ProbeSpec::Tcp(TcpProbe::default())), 1);
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn exchanges_of_any_bytes_by_nc() {
    let send: Vec<u8> = (0..=255).chain(*b"'%s\\n$(id)").collect();
    let backend = Backend::start(HERE, vec![Step::Read(send.len()), Step::send(b"+OK and more"), Step::Hang]);
    let backend = backend.unwrap();
    let tcp = TcpProbe { send: send.as_slice().into(), receive: b"+OK".into(), tls: None };
    assert_eq!(check(&spec(backend.address(), ProbeSpec::Tcp(tcp)), 0), "+OK");
    let seen = backend.wait_for(|seen| seen.len() >= 2);
    assert!(seen.iter().all(|seen| seen.received == send), "{seen:?}");

    let backend = Backend::start(HERE, vec![Step::send(b"220 ready\r\n"), Step::Hang]).unwrap();
    let tcp = TcpProbe { receive: b"220 ".into(), ..TcpProbe::default() };
    assert_eq!(check(&spec(backend.address(), ProbeSpec::Tcp(tcp)), 0), "220 ");

    let server = DatagramServer::start(HERE, |packet| {
        if packet == b"ping\0" { vec![b"pong and more".to_vec()] } else { Vec::new() }
    });
    let udp = UdpProbe { send: b"ping\0".into(), receive: b"pong".into() };
    let text = check(&spec(server.unwrap().address(), ProbeSpec::Udp(Box::new(udp))), 0);
    assert_eq!(text, "pong");
}

#[test]
fn requests_by_curl() {
    let response = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    let backend = Backend::start(HERE, Step::respond(response)).unwrap();
    let overrides = |host: &str| HttpOverrides {
        host: Some(host.into()),
        authorization: Some("Basic dXNlcjpwYXNz".into()),
        ..HttpOverrides::default()
    };
    let http = |request_target: &str, overrides| {
        let probe = HttpProbe {
            method: "OPTIONS".into(),
            request_target: request_target.into(),
            expected_codes: [204].into(),
            overrides,
            ..HttpProbe::default()
        };
        spec(backend.address(), ProbeSpec::Http(Box::new(probe)))
    };
    let paths = ["/", "/a/../b?c=$HOME&d='x'&e=[1-3]{4}"];
    for path in paths {
        let text = check(&http(path, None), 0);
        assert!(text.contains("HTTP/1.1 204 No Content"), "{text}");
    }
    check(&http("/named", Some(Box::new(overrides("www.example.com")))), 0);
    let seen = backend.wait_for(|seen| seen.len() >= 2 * paths.len() + 2);
    let requests: Vec<String> =
        seen.iter().map(|seen| String::from_utf8_lossy(&seen.received).into_owned()).collect();
    let with = |words: &[&str]| {
        requests.iter().filter(|request| words.iter().all(|word| request.contains(word))).count()
    };
    for path in paths {
        assert_eq!(with(&[&format!("OPTIONS {path} HTTP/1.1\r\n")]), 2, "{requests:#?}");
    }
    assert_eq!(with(&["OPTIONS /named ", "Host: www.example.com\r\n"]), 2, "{requests:#?}");
    // hcctl check has no way to send it, and says so.
    assert_eq!(with(&["Authorization: Basic dXNlcjpwYXNz\r\n"]), 1, "{requests:#?}");
    let notes = &reproduce(&http("/", Some(Box::new(overrides("h")))))[1].notes;
    assert!(notes[0].contains("Authorization"), "{notes:?}");
}

#[test]
fn tls_by_curl_and_openssl() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = authority.sign(&Wish::valid_for(["www.example.com"])).unwrap();
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let backend = Backend::start_tls(HERE, &identity, Step::respond(response)).unwrap();
    let https = |verify| {
        let overrides = HttpOverrides {
            host: Some("www.example.com".into()),
            server_name: Some("www.example.com".into()),
            ..HttpOverrides::default()
        };
        let probe = HttpProbe {
            tls: Some(Tls::new(verify)),
            expected_codes: [200].into(),
            expected_body: b"ok".into(),
            overrides: Some(Box::new(overrides)),
            ..HttpProbe::default()
        };
        spec(backend.address(), ProbeSpec::Http(Box::new(probe)))
    };
    let text = check(&https(false), 0);
    assert!(text.contains("200 OK") && text.contains("www.example.com"), "{text}");
    // The roots of the system do not know it.
    let text = check(&https(true), 1);
    assert!(text.contains("certificate"), "{text}");

    let backend =
        Backend::start_tls(HERE, &identity, vec![Step::send(b"220 ready\r\n"), Step::Hang]).unwrap();
    let tls = |verify, receive: &[u8]| {
        let tcp = TcpProbe { receive: receive.into(), tls: Some(Tls::new(verify)), ..TcpProbe::default() };
        spec(backend.address(), ProbeSpec::Tcp(tcp))
    };
    let text = check(&tls(false, b""), 0);
    assert!(text.contains("root"), "{text}");
    check(&tls(true, b""), 1);
    assert!(check(&tls(false, b"220 "), 0).starts_with("220 "));
    let mut options = TlsOptions::default();
    options.sni = Some("sni.example.com".into());
    options.min_version = Some(TlsVersion::V1_3);
    let tls = Tls { options: Some(Arc::new(options)), ..Tls::new(false) };
    let tcp = TcpProbe { receive: b"220 ".into(), tls: Some(tls), ..TcpProbe::default() };
    check(&spec(backend.address(), ProbeSpec::Tcp(tcp)), 0);
    let named = |seen: &Seen| seen.server_name.as_deref() == Some("sni.example.com");
    backend.wait_for(|seen| seen.iter().filter(|one| named(one)).count() == 2);
}

#[test]
fn questions_by_dig() {
    let server = DnsServer::udp(HERE, |query| {
        vec![DnsMessage::reply_to(query).answer("www.example.com", 1, &[192, 0, 2, 7]).build()]
    });
    let server = server.unwrap();
    let dns = |expected: &str| {
        let dns = DnsProbe {
            query: "www.example.com".into(),
            query_type: RecordType::A,
            query_class: RecordClass::IN,
            expect: DnsExpectation::Ips([expected.parse().unwrap()].into()),
            options: None,
        };
        spec(server.address(), ProbeSpec::Dns(Box::new(dns)))
    };
    let text = check(&dns("192.0.2.7"), 0);
    assert!(text.contains("192.0.2.7") && !text.contains("WARNING"), "{text}");

    let server = DnsServer::udp(HERE, |query| vec![DnsMessage::reply_to(query).rcode(3).build()]).unwrap();
    let options = DnsOptions {
        fresh_label: true,
        dnssec_ok: true,
        checking_disabled: true,
        recursion_desired: false,
        expected_rcodes: [Rcode(3)].into(),
        ..DnsOptions::default()
    };
    let fresh = DnsProbe {
        query: "www.example.com".into(),
        query_type: RecordType::A,
        query_class: RecordClass::IN,
        expect: DnsExpectation::Any,
        options: Some(Box::new(options)),
    };
    let text = check(&spec(server.address(), ProbeSpec::Dns(Box::new(fresh))), 0);
    assert!(text.contains("status: NXDOMAIN"), "{text}");
    // Both asked the same, but for id and label: recursion off, CD set, one additional record with
    // DO.
    let questions = server.seen();
    let [first, second] = &questions[..] else { panic!("{questions:?}") };
    let label = 13..29;
    assert_ne!(first[label.clone()], second[label.clone()]);
    for question in [first, second] {
        assert!(question[label.clone()].iter().all(u8::is_ascii_hexdigit), "{question:?}");
        assert_eq!(question[2] & 1, 0, "RD");
        assert_eq!(question[3] & 0x10, 0x10, "CD");
        assert_eq!(question[11], 1, "EDNS");
    }
}

#[test]
fn requests_by_radclient() {
    let server = DatagramServer::start(HERE, |packet| {
        let request = RadiusRequest::parse(packet).into_iter();
        let good = request
            .filter(|request| request.password(SECRET.as_bytes()).as_deref() == Some(PASSWORD.as_bytes()));
        good.map(|request| RadiusReply::to(&request, 2).build(SECRET.as_bytes())).collect()
    });
    let server = server.unwrap();
    for username in [&b"user"[..], b"a \"quoted\" $user'"] {
        let radius = RadiusProbe {
            username: username.into(),
            password: PASSWORD.into(),
            secret: SECRET.into(),
            expect: RadiusExpectation::Accept,
            require_message_authenticator: false,
        };
        let text = check(&spec(server.address(), ProbeSpec::Radius(Box::new(radius))), 0);
        assert!(text.contains("Access-Accept"), "{text}");
    }
    let status = RadiusStatusProbe { secret: SECRET.into(), require_message_authenticator: false };
    let server = DatagramServer::start(HERE, |packet| {
        let request = RadiusRequest::parse(packet).into_iter().filter(|request| request.code == 12);
        request.map(|request| RadiusReply::to(&request, 2).build(SECRET.as_bytes())).collect()
    });
    let text = check(&spec(server.unwrap().address(), ProbeSpec::RadiusStatus(Box::new(status))), 0);
    assert!(text.contains("Access-Accept"), "{text}");
}

#[test]
fn a_syn_by_a_connection() {
    let listener = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let half_open = spec(listener.local_addr().unwrap(), ProbeSpec::HalfOpen);
    check(&half_open, 0);
    let [tool, hcctl] = &reproduce(&half_open)[..] else { panic!() };
    assert!(tool.notes[0].contains("half open"), "{tool:?}");
    assert!(hcctl.command.contains(" --set 'tcp.probe=\"syn\"' tcp://"), "{hcctl:?}");
    let closed = ClosedPort::reserve(HERE).unwrap();
    check(&spec(closed.address(), ProbeSpec::HalfOpen), 1);
}

#[test]
fn echoes_by_ping() {
    let text = check(&spec(SocketAddr::new(HERE, 0), ProbeSpec::Icmp), 0);
    assert!(text.contains("1 received"), "{text}");
}

#[test]
fn a_mark_is_set_or_its_lack_is_noted() {
    let marked = |probe| {
        let target = Target::marked(HERE, 80, Mode::Dsr, Mark::new(65_536).unwrap(), None);
        let timing = Timing::every(Duration::from_secs(5)).timeout(Duration::from_secs(1));
        reproduce(&CheckSpec::new(target, probe, timing).unwrap())
    };
    for probe in [ProbeSpec::Tcp(TcpProbe::default()), ProbeSpec::Http(Box::default())] {
        let [tool, hcctl] = &marked(probe)[..] else { panic!("two commands") };
        assert!(tool.notes.iter().any(|note| note.contains("cannot set a socket mark")), "{tool:?}");
        assert!(hcctl.command.contains(" --mark 65536 "), "{hcctl:?}");
    }
    let target = Target::marked(HERE, 0, Mode::Dsr, Mark::new(65_536).unwrap(), None);
    let timing = Timing::every(Duration::from_secs(5)).timeout(Duration::from_secs(1));
    let sourced = |probe| {
        let mut via = Via::default();
        (via.source, via.device) = (Some(HERE), Some("lo".into()));
        let timing = Timing::every(Duration::from_secs(5)).timeout(Duration::from_secs(1));
        let spec = CheckSpec::new(Target::plain(HERE, 80).via(via), probe, timing).unwrap();
        reproduce(&spec).into_iter().map(|one| one.command).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        sourced(ProbeSpec::Tcp(TcpProbe::default())),
        "nc -v -z -w 1 -s 127.0.0.1 127.0.0.1 80\n\
         hcctl check -v --timeout 1s --set 'source=\"127.0.0.1\"' --set 'device=\"lo\"' tcp://127.0.0.1:80"
    );
    assert!(sourced(ProbeSpec::Http(Box::default())).contains(" --interface 'host!127.0.0.1' "));
    let ping = &reproduce(&CheckSpec::new(target, ProbeSpec::Icmp, timing).unwrap())[0];
    assert!(ping.command.contains(" -m 65536 "), "{ping:?}");
}
