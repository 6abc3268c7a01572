use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::{
    Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, DnsExpectation, DnsOptions, DnsProbe,
    ExpectedBytes, JsonNumber, Mark, MysqlDialogue, Pattern, PostgresqlDialogue, RadiusExpectation,
    RadiusProbe, RadiusStatusProbe, RawBytes, Rcode, RecordClass, RecordType, RedisDialogue, RedisRole,
    StreamPattern, Timing,
};

mod any_two;

const SECOND: Duration = Duration::from_secs(1);

fn spec(target: Target, probe: ProbeSpec) -> CheckSpec {
    CheckSpec::new(target, probe, Timing::every(5 * SECOND).timeout(SECOND).retries(2)).unwrap()
}

fn plain(ip: &str, port: u16) -> Target {
    Target::plain(ip.parse().unwrap(), port)
}

fn tcp(send: &str, receive: &str, tls: Option<Tls>) -> ProbeSpec {
    ProbeSpec::Tcp(TcpProbe { send: send.into(), receive: receive.into(), tls })
}

fn udp(send: &str, receive: &str) -> ProbeSpec {
    ProbeSpec::Udp(Box::new(UdpProbe { send: send.into(), receive: receive.into() }))
}

fn dns(query_type: RecordType, query_class: RecordClass, expect: DnsExpectation) -> ProbeSpec {
    let query = "www.example.com".into();
    ProbeSpec::Dns(Box::new(DnsProbe { query, query_type, query_class, expect, options: None }))
}

fn radius(expect: RadiusExpectation, require_message_authenticator: bool) -> ProbeSpec {
    let (username, password, secret) = ("probe".into(), "pass".into(), "key".into());
    ProbeSpec::Radius(Box::new(RadiusProbe {
        username,
        password,
        secret,
        expect,
        require_message_authenticator,
    }))
}

fn radius_status(require_message_authenticator: bool) -> ProbeSpec {
    let secret = "key".into();
    ProbeSpec::RadiusStatus(Box::new(RadiusStatusProbe { secret, require_message_authenticator }))
}

fn dns_with(options: DnsOptions) -> ProbeSpec {
    let mut probe = dns(RecordType::A, RecordClass::IN, DnsExpectation::Any);
    if let ProbeSpec::Dns(dns) = &mut probe {
        dns.options = Some(Box::new(options));
    }
    probe
}

fn http(probe: HttpProbe) -> ProbeSpec {
    ProbeSpec::Http(Box::new(probe))
}

fn requesting(request: HttpRequest) -> HttpProbe {
    let overrides = HttpOverrides { request: Some(request.into()), ..HttpOverrides::default() };
    HttpProbe { overrides: Some(Box::new(overrides)), ..HttpProbe::default() }
}

fn field(name: &str, value: &str) -> HeaderField {
    HeaderField { name: name.into(), value: value.into() }
}

fn header(name: &str, test: HeaderTest) -> HeaderCondition {
    HeaderCondition { name: name.into(), test }
}

fn json(pointer: &str, equals: Option<JsonScalar>) -> BodyCondition {
    BodyCondition::Json(Box::new(JsonCondition { pointer: pointer.into(), equals }))
}

#[track_caller]
fn vector(target: Target, probe: ProbeSpec, key: &str) {
    assert_eq!(spec(target, probe).key().to_string(), key);
}

/// Health on disk, and later the work that machines share, is found by these keys: they must never
/// change. A change of one of them needs a new [`CheckKey::VERSION`].
#[test]
fn keys_are_the_same_in_every_version() {
    let backend = || plain("192.0.2.1", 80);
    let dsr = |host: Option<&str>| {
        let host = host.map(|host| host.parse().unwrap());
        Target::marked("2001:db8::1".parse().unwrap(), 80, Mode::Dsr, Mark::new(65536).unwrap(), host)
    };
    vector(plain("192.0.2.1", 0), ProbeSpec::Icmp, "024579aa015ddea08a992fb04f42bbae");
    let way = Via {
        source: Some("192.0.2.9".parse().unwrap()),
        device: Some("eth1".into()),
        proxy_protocol: Some(ProxyProtocol::V2),
        ..Via::default()
    };
    vector(backend().via(way), tcp("", "", None), "028b0d70f6fd673ab4b77f5c96a71167");
    vector(backend(), udp("ping", "pong"), "023ff4aff40773dca413d5c0a807f854");
    vector(backend(), tcp("", "", None), "0211e69b100e8d7db3466d956691f8e6");
    vector(backend(), ProbeSpec::HalfOpen, "02694d2ba9b78a06d00f9943d8197538");
    vector(backend(), tcp("hello", "220 ", None), "0285ebf75f2530fed9bc9bf12e8ecf9c");
    vector(backend(), tcp("", "", Some(Tls::new(true))), "027b8730a7f3da42e8b688c4f2cfb9ab");
    vector(dsr(None), tcp("", "", None), "0236cedb24d9320e79d10eb4f554caf8");
    vector(dsr(Some("192.0.2.7")), tcp("", "", None), "0229835efba482906e8e44c7a5ca6f28");
    vector(backend(), http(HttpProbe::default()), "02df27e943c8b02d792d33a645992e86");
    let https = HttpProbe {
        tls: Some(Tls { old_versions: true, sha1: true, ..Tls::new(false) }),
        method: "HEAD".into(),
        request_target: "/health?full=1".into(),
        expected_codes: [200, 204].into(),
        expected_body: "ok".into(),
        proxy: true,
        overrides: None,
        conditions: None,
    };
    vector(backend(), http(https), "0200a3a5af9877773503d211bdd6ee9d");
    for (version, user_agent, key) in [
        (HttpVersion::Http2, None, "02a223bed7752a5113bb6a4e47004489"),
        (HttpVersion::Http1, Some(""), "02e858522c454650b98eb1d70aacbfb9"),
        (HttpVersion::Http1, Some("probe"), "02747b75e9cd5d0fbd405890bc2908e7"),
    ] {
        let user_agent = user_agent.map(Into::into);
        let request = HttpRequest { version, user_agent, ..HttpRequest::default() };
        vector(backend(), http(requesting(request)), key);
    }
    let headers = [field("X-A", "b"), field("X-B", "")].into();
    let reused = HttpRequest { reuse: 10, ..HttpRequest::default() };
    vector(backend(), http(requesting(reused)), "029da68f46d8b4f473f92e8c038954f4");
    let request = HttpRequest { headers, body: "{}".into(), ..HttpRequest::default() };
    vector(backend(), http(requesting(request)), "023061e2c4ab71698c61d62d55f4f104");
    let conditions = HttpConditions {
        headers: [
            header("X-A", HeaderTest::Present),
            header("x-b", HeaderTest::Absent),
            header("x-c", HeaderTest::Equals("".into())),
            header("x-d", HeaderTest::Contains("d".into())),
            header("x-e", HeaderTest::Matches(Pattern::new("^e").unwrap())),
        ]
        .into(),
        body: [
            BodyCondition::Contains("up".into()),
            BodyCondition::Matches(Pattern::new("u.").unwrap()),
            json("", None),
            json("/a", Some(JsonScalar::Null)),
            json("/a", Some(JsonScalar::Bool(true))),
            json("/a", Some(JsonScalar::Number(1_i64.into()))),
            json("/a", Some(JsonScalar::Number(JsonNumber::from_f64(0.5).unwrap()))),
            json("/a", Some(JsonScalar::String("b".into()))),
        ]
        .into(),
        body_limit: 1000,
    };
    let conditions = HttpProbe { conditions: Some(conditions.into()), ..HttpProbe::default() };
    vector(backend(), http(conditions), "027869189dc4bc4b8ad0097c9361fcfe");
    let ranges =
        HttpProbe { expected_codes: [200..=299, 404..=404].into_iter().collect(), ..HttpProbe::default() };
    vector(backend(), http(ranges), "02d98db296d8c171a1e5f710657c4c60");
    let options = TlsOptions {
        sni: Some("www.example.com".into()),
        verify_name: Some("example.com".into()),
        roots: Some(["root".into()].into()),
        identity: Some(TlsIdentity { chain: ["leaf".into()].into(), key: "key".into() }),
        pins: [KeyPin([7; 32])].into(),
        alpn: ["h2".into()].into(),
        min_version: Some(TlsVersion::V1_3),
        min_days_left: Some(7),
        warn_days_left: Some(30),
        resume: 0,
    };
    let tls = Tls { options: Some(options.into()), ..Tls::new(true) };
    vector(backend(), tcp("", "", Some(tls)), "026d98a8fcac3179eab830fb84465dfc");
    let options = TlsOptions { resume: 10, ..TlsOptions::default() };
    let tls = Tls { options: Some(options.into()), ..Tls::new(true) };
    vector(backend(), tcp("", "", Some(tls)), "022c3af87e70492e05f3f6ce158bbc57");
    let named = HttpOverrides {
        host: Some("www.example.com".into()),
        server_name: Some("www.example.com".into()),
        authorization: Some("Basic dXNlcjpwYXNz".into()),
        error: Some("no".into()),
        request: None,
    };
    let tls = Some(Tls::new(true));
    let named = HttpProbe { tls, overrides: Some(Box::new(named)), ..HttpProbe::default() };
    vector(backend(), http(named), "02956e840395181f803da1cef2bb0679");
    let ips = DnsExpectation::Ips(["192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap()].into());
    vector(backend(), dns(RecordType::A, RecordClass::IN, ips), "028bf9589d37f8f13eaa12a36c1c438e");
    vector(
        backend(),
        dns(RecordType(15), RecordClass(3), DnsExpectation::Text("10 mail.".into())),
        "02aa98b4abf8830b6692077d7daeb47e",
    );
    let grpc = crate::GrpcProbe {
        tls: Some(Tls::new(true)),
        service: "a.B".into(),
        host: Some("a:1".into()),
        server_name: Some("a".into()),
    };
    vector(backend(), ProbeSpec::Grpc(Box::default()), "02b4e8a133f92e17fd47758fc3f4ae84");
    vector(backend(), ProbeSpec::Grpc(Box::new(grpc)), "02bdfda5063451147100bf2698c3ee2d");
    vector(backend(), radius(RadiusExpectation::Accept, false), "02ea90a40c7e59544476b5fdfc38d8a7");
    vector(backend(), radius(RadiusExpectation::Reject, true), "02f65814c5e640b2777085efbf83f67b");
    vector(backend(), radius_status(true), "0265b7ea1786119825326d41a2a98ab6");
    let options = DnsOptions {
        fresh_label: true,
        edns_payload: Some(1400),
        dnssec_ok: true,
        checking_disabled: true,
        recursion_desired: false,
        expected_rcodes: [Rcode(3), Rcode(0)].into(),
    };
    vector(backend(), dns_with(options), "020e377b0c710307c0b987ab800198a2");
}

/// The example of the documentation, byte for byte.
#[test]
fn the_encoding_is_as_documented() {
    let mut encoding = Encoding(Vec::new());
    let check = spec(plain("192.0.2.1", 80), tcp("", "", None));
    encoding.target(check.target(), check.host_name());
    encoding.probe(check.probe());
    let expected = [1, 0, 0, 0, 4, 192, 0, 2, 1, 2, 0, 0, 0, 2, 0, 80, 16, 0, 0, 0, 1, 3];
    assert_eq!(encoding.0, expected);
    let digest: [u8; 32] = Sha256::digest(expected).into();
    let key = check.key().to_bytes();
    assert_eq!((key[0], &key[1..]), (2, &digest[1..16]));
}

#[test]
fn the_key_is_of_what_is_checked_not_of_how_often() {
    let build = |interval, timeout, retries| {
        CheckSpec::new(
            plain("192.0.2.1", 80),
            tcp("", "", None),
            Timing::every(interval).timeout(timeout).retries(retries),
        )
        .unwrap()
        .key()
    };
    assert_eq!(build(SECOND, SECOND, 0), build(9 * SECOND, 3 * SECOND, 7));
    let mapped = spec(plain("::ffff:192.0.2.1", 80), tcp("", "", None));
    assert_eq!(mapped.key(), build(SECOND, SECOND, 0));
}

/// Neither the end of a field nor its absence is ambiguous.
#[test]
fn bytes_do_not_move_between_fields() {
    let probes = [
        tcp("ab", "", None),
        tcp("a", "b", None),
        tcp("", "ab", None),
        udp("ab", ""),
        udp("a", "b"),
        udp("", "ab"),
        dns(RecordType::A, RecordClass::IN, DnsExpectation::Any),
        dns(RecordType::A, RecordClass::IN, DnsExpectation::Ips([].into())),
        dns(RecordType(16), RecordClass::IN, DnsExpectation::Any),
        dns(RecordType(16), RecordClass::IN, DnsExpectation::Text("".into())),
    ];
    let keys: HashSet<CheckKey> =
        probes.iter().map(|probe| spec(plain("192.0.2.1", 80), probe.clone()).key()).collect();
    assert_eq!(keys.len(), probes.len());
}

#[test]
fn keys_tell_ways_apart() {
    let sources = [None, Some("192.0.2.8".parse().unwrap()), Some("192.0.2.9".parse().unwrap())];
    let devices = [None, Some("eth1".into()), Some("eth2".into())];
    let headers = [None, Some(ProxyProtocol::V1), Some(ProxyProtocol::V2), Some(ProxyProtocol::V2Local)];
    let mut keys = HashSet::new();
    for source in sources {
        for device in devices.clone() {
            for proxy_protocol in headers {
                let way = Via { source, device: device.clone(), proxy_protocol, second_source: None };
                let second_source = source.and("2001:db8::9".parse().ok());
                let both = Via { second_source, ..way.clone() };
                let of = |way| spec(plain("192.0.2.1", 80).via(way), tcp("", "", None)).key();
                assert!(keys.insert(of(way)));
                assert_eq!(keys.insert(of(both)), source.is_some());
            }
        }
    }
}

/// The options that need verification.
#[test]
fn keys_tell_roots_and_names_apart() {
    let roots: [Option<Box<[RawBytes]>>; 4] =
        [None, Some([].into()), Some(["a".into()].into()), Some(["a".into(), "b".into()].into())];
    let names = [None, Some("a.example".into()), Some("192.0.2.1".into())];
    let mut keys = HashSet::new();
    for roots in roots {
        for verify_name in names.clone() {
            let options = TlsOptions { roots: roots.clone(), verify_name, ..TlsOptions::default() };
            let tls = Tls { options: Some(options.into()), ..Tls::new(true) };
            assert!(keys.insert(spec(plain("192.0.2.1", 80), tcp("", "", Some(tls))).key()));
        }
    }
}

/// What is checked is the name and the rule: not its addresses, and not one of them.
#[test]
fn the_key_of_a_host_name_does_not_depend_on_its_addresses() {
    let named = |name: &str, addresses: &[&str], rule, port| {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap());
        let host = HostName::new(name, addresses, rule);
        CheckSpec::of_host_name(host, plain("192.0.2.9", port), tcp("", "", None), Timing::default()).unwrap()
    };
    let base = named("h.example", &["192.0.2.1", "2001:db8::1"], Rule::Any, 80);
    for addresses in [&["192.0.2.7"][..], &[]] {
        let other = named("h.example", addresses, Rule::Any, 80);
        assert!(other.same_key(&base) && other != base);
        assert_eq!(other.key(), base.key());
    }
    assert_eq!(named("h.example", &["2001:db8::1", "::ffff:192.0.2.1", "192.0.2.1"], Rule::Any, 80), base);
    let different = [
        named("h.example", &["192.0.2.1", "2001:db8::1"], Rule::All, 80),
        named("i.example", &["192.0.2.1", "2001:db8::1"], Rule::Any, 80),
        named("h.example", &["192.0.2.1", "2001:db8::1"], Rule::Any, 81),
        spec(plain("192.0.2.1", 80), tcp("", "", None)),
    ];
    for other in different {
        assert!(!other.same_key(&base) && !base.same_key(&other));
        assert_ne!(other.key(), base.key());
    }
}
