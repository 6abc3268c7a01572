//! What files mean.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod nearest;
mod targets;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hc_config::{Check, Limits, NoFiles, Resolve, SourceFile, check_id, parse};
use hc_types::{
    BodyCondition, CheckSpec, DnsExpectation, DnsOptions, DnsProbe, GrpcProbe, HeaderCondition, HeaderField,
    HeaderTest, HttpConditions, HttpOverrides, HttpProbe, HttpRequest, HttpVersion, Jitter, JsonCondition,
    JsonNumber, JsonScalar, Mark, Mode, OpinionKeys, Pattern, ProbeSpec, ProxyProtocol, Quorum,
    RadiusExpectation, RadiusProbe, RadiusStatusProbe, Rcode, RecordClass, RecordType, Target, TcpProbe,
    Timing, Tls, TlsOptions, UdpProbe,
};

fn read(text: &str) -> Vec<Check> {
    parse(&[SourceFile::new("checks.toml", text)], &Limits::default(), &NoFiles).unwrap().checks
}

fn label<'c>(check: &'c Check, name: &str) -> &'c str {
    check.labels.iter().find(|(key, _)| &**key == name).map_or("", |(_, value)| value)
}

fn names(text: &str) -> Vec<String> {
    read(text).into_iter().map(|check| check.name.to_string()).collect()
}

const SECOND: Duration = Duration::from_secs(1);

fn spec(target: &str, probe: ProbeSpec) -> CheckSpec {
    let target: std::net::SocketAddr = target.parse().unwrap();
    CheckSpec::new(
        Target::plain(target.ip(), target.port()),
        probe,
        Timing::every(10 * SECOND).timeout(5 * SECOND),
    )
    .unwrap()
}

/// One check of which only the probe matters.
#[track_caller]
fn check_probe(toml: &str, target: &str, probe: ProbeSpec) {
    let checks = read(&format!("[[check]]\nname = 'a'\ntarget = '192.0.2.1'\n{toml}\n"));
    assert_eq!(checks.len(), 1);
    assert_eq!(*checks[0].spec, spec(target, probe));
    assert_eq!(&*checks[0].name, "a");
}

#[test]
fn tcp_and_udp_checks() {
    check_probe("port = 80\ntcp = {}", "192.0.2.1:80", ProbeSpec::Tcp(TcpProbe::default()));
    check_probe(
        "port = 443\ntcp = { tls = true, send = 'a', receive = { hex = '00 ff' } }",
        "192.0.2.1:443",
        ProbeSpec::Tcp(TcpProbe { send: "a".into(), receive: b"\x00\xff".into(), tls: Some(Tls::new(true)) }),
    );
    check_probe(
        "port = 53\nudp = { send = { base64 = 'AP8=' } }",
        "192.0.2.1:53",
        ProbeSpec::Udp(Box::new(UdpProbe { send: b"\x00\xff".into(), ..UdpProbe::default() })),
    );
}

/// A `Host`, and the name in TLS.
fn named(host: &str, name: &str) -> Box<HttpOverrides> {
    let (host, server_name) = (Some(host.into()), Some(name.into()));
    Box::new(HttpOverrides { host, server_name, ..HttpOverrides::default() })
}

#[test]
fn http_checks() {
    let http = |http: HttpProbe| ProbeSpec::Http(Box::new(http));
    let base = || HttpProbe { expected_codes: [200].into(), ..HttpProbe::default() };
    for (host, name) in [("a.example:81", "a.example"), ("[2001:db8::1]:81", "2001:db8::1"), ("[::1]", "::1")]
    {
        check_probe(
            &format!("http = {{ tls = true, host = '{host}' }}"),
            "192.0.2.1:443",
            http(HttpProbe { tls: Some(Tls::new(true)), overrides: Some(named(host, name)), ..base() }),
        );
    }
    check_probe("http = {}", "192.0.2.1:80", http(base()));
    check_probe(
        "http = { tls = { verify = false, sha1 = true } }",
        "192.0.2.1:443",
        http(HttpProbe { tls: Some(Tls { sha1: true, ..Tls::new(false) }), ..base() }),
    );
    check_probe("http = { tls = false, expected_codes = [] }", "192.0.2.1:80", http(HttpProbe::default()));
    check_probe(
        "port = 8080\n[check.http]\nmethod = 'HEAD'\npath = '/a?b'\nhost = 'www.example.com'\nexpected_codes = [204, '301-302']\n\
         expected_body = 'ok'\nproxy = true",
        "192.0.2.1:8080",
        http(HttpProbe {
            method: "HEAD".into(),
            request_target: "/a?b".into(),
            expected_codes: [204..=204, 301..=302].into_iter().collect(),
            expected_body: "ok".into(),
            proxy: true,
            tls: None,
            overrides: Some(named("www.example.com", "www.example.com")),
            conditions: None,
        }),
    );
}

#[test]
fn what_http_checks_keep_between_probes() {
    let keeping = |reuse, resume| {
        let request = HttpRequest { reuse, ..HttpRequest::default() };
        let overrides = HttpOverrides { request: Some(request.into()), ..HttpOverrides::default() };
        let mut options = TlsOptions::default();
        options.resume = resume;
        ProbeSpec::Http(Box::new(HttpProbe {
            tls: Some(Tls { options: Some(options.into()), ..Tls::new(true) }),
            expected_codes: [200].into(),
            overrides: Some(Box::new(overrides)),
            ..HttpProbe::default()
        }))
    };
    let at = "192.0.2.1:443";
    check_probe("http = { reuse = 10, tls = { resume = 20 } }", at, keeping(10, 20));
    check_probe("http = { reuse = 1, tls = { resume = 1 } }", at, keeping(0, 0));
    check_probe("http = { tls = true }", at, keeping(0, 0));
}

#[test]
fn requests_and_conditions_of_http_checks() {
    let request = HttpRequest {
        version: HttpVersion::Http2,
        user_agent: Some("probe".into()),
        headers: [("Accept", "text/plain"), ("X-Token", "t0ken")]
            .map(|(name, value)| HeaderField { name: name.into(), value: value.into() })
            .into(),
        body: b"\x00\xff".into(),
        reuse: 0,
    };
    let header = |name: &str, test| HeaderCondition { name: name.into(), test };
    let json = |pointer: &str, equals| {
        BodyCondition::Json(Box::new(JsonCondition { pointer: pointer.into(), equals }))
    };
    let pattern = |text| Pattern::new(text).unwrap();
    let conditions = HttpConditions {
        headers: [
            header("x-a", HeaderTest::Present),
            header("x-b", HeaderTest::Absent),
            header("x-c", HeaderTest::Equals("c".into())),
            header("x-d", HeaderTest::Contains(b"\xff".into())),
            header("x-e", HeaderTest::Matches(pattern("^e"))),
        ]
        .into(),
        body: [
            BodyCondition::Contains("up".into()),
            BodyCondition::Matches(pattern("^u")),
            BodyCondition::Matches(pattern("p$")),
            json("/status", Some(JsonScalar::String("ok".into()))),
            json("/n", Some(JsonScalar::Number(3_i64.into()))),
            json("/x", Some(JsonScalar::Number(JsonNumber::from_f64(0.5).unwrap()))),
            json("/up", Some(JsonScalar::Bool(true))),
            json("", None),
        ]
        .into(),
        body_limit: 1000,
    };
    let overrides = HttpOverrides { request: Some(request.into()), ..HttpOverrides::default() };
    let http = HttpProbe {
        expected_codes: [200..=399].into_iter().collect(),
        overrides: Some(Box::new(overrides)),
        conditions: Some(conditions.into()),
        ..HttpProbe::default()
    };
    let toml = "[check.http]\nversion = '2'\nuser_agent = 'probe'\nbody = { hex = '00ff' }\nexpected_codes = '200-399'\n\
        headers = { X-Token = 't0ken', Accept = 'text/plain' }\nbody_contains = 'up'\nbody_matches = ['^u', 'p$']\n\
        body_limit = 1000\nbody_json = [{ pointer = '/status', equals = 'ok' }, { pointer = '/n', equals = 3 },\n\
        { pointer = '/x', equals = 0.5 }, { pointer = '/up', equals = true }, { pointer = '' }]\n\
        [[check.http.expected_headers]]\nname = 'X-A'\n[[check.http.expected_headers]]\nname = 'x-b'\npresent = false\n\
        [[check.http.expected_headers]]\nname = 'x-c'\nequals = 'c'\n\
        [[check.http.expected_headers]]\nname = 'x-d'\ncontains = { hex = 'ff' }\n\
        [[check.http.expected_headers]]\nname = 'x-e'\nmatches = '^e'";
    check_probe(toml, "192.0.2.1:80", ProbeSpec::Http(Box::new(http)));
}

/// A thousand checks of one table hold its conditions once.
#[test]
fn checks_of_one_table_share_their_conditions() {
    let checks = read(
        "[[check]]\nname = 'a'\ntarget = ['192.0.2.1', 'www.example.com', '192.0.2.2']\n\
         http = { body_contains = 'a', headers = { X-A = 'b' }, expected_headers = { name = 'X-B' } }",
    );
    let shared = |check: &Check| match check.spec.probe() {
        ProbeSpec::Http(http) => {
            let request = http.overrides.as_ref().unwrap().request.clone().unwrap();
            (http.conditions.clone().unwrap(), request)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(checks.len(), 2);
    let (first, second) = (shared(&checks[0]), shared(&checks[1]));
    assert!(Arc::ptr_eq(&first.0, &second.0) && Arc::ptr_eq(&first.1, &second.1));
}

/// A host name gives a request its Host, whatever else the file says about the request.
#[test]
fn a_request_to_a_host_with_headers_names_the_host() {
    let text = "[[check]]\nname = 'a'\ntarget = 'www.example.com'\nhttp = { headers = { X-A = 'b' } }";
    let read = parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap();
    let check = read.hosts[0].check([192, 0, 2, 1].into()).unwrap().unwrap();
    let ProbeSpec::Http(http) = check.spec.probe() else { panic!() };
    let overrides = http.overrides.as_ref().unwrap();
    assert_eq!(overrides.host.as_deref(), Some("www.example.com"));
    assert_eq!(overrides.request.as_ref().unwrap().headers.len(), 1);
}

#[test]
fn half_open_checks() {
    for keys in ["tcp = { probe = 'syn' }", "tcp = { probe = 'syn', tls = false }"] {
        check_probe(&format!("port = 1\n{keys}"), "192.0.2.1:1", ProbeSpec::HalfOpen);
    }
    let connect = "port = 1\ntcp = { probe = 'connect' }";
    check_probe(connect, "192.0.2.1:1", ProbeSpec::Tcp(TcpProbe::default()));
}

#[test]
fn grpc_checks() {
    let grpc = |probe| ProbeSpec::Grpc(Box::new(probe));
    check_probe("port = 1\ngrpc = {}", "192.0.2.1:1", grpc(GrpcProbe::default()));
    check_probe(
        "port = 1\ngrpc = { service = 'a.B', host = 'a.example:1', tls = true }",
        "192.0.2.1:1",
        grpc(GrpcProbe {
            tls: Some(Tls::new(true)),
            service: "a.B".into(),
            host: Some("a.example:1".into()),
            server_name: Some("a.example".into()),
        }),
    );
    let text = "[[check]]\nname = 'a'\ntarget = 'www.example.com:50051'\ngrpc = { tls = true }";
    let read = parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap();
    let check = read.hosts[0].check([192, 0, 2, 1].into()).unwrap().unwrap();
    let ProbeSpec::Grpc(probe) = check.spec.probe() else { panic!() };
    assert_eq!(probe.host.as_deref(), Some("www.example.com:50051"));
    assert_eq!(probe.server_name.as_deref(), Some("www.example.com"));
}

#[test]
fn dns_and_icmp_checks() {
    let dns = |expect| {
        let query_type = RecordType::AAAA;
        ProbeSpec::Dns(Box::new(DnsProbe {
            query: "example.com".into(),
            query_type,
            query_class: RecordClass::IN,
            expect,
            options: None,
        }))
    };
    check_probe(
        "dns = { query = 'example.com', query_type = 'AAAA', expected_ips = '2001:db8::1' }",
        "192.0.2.1:53",
        dns(DnsExpectation::Ips(["2001:db8::1".parse().unwrap()].into())),
    );
    check_probe(
        "dns = { query = 'example.com', query_type = 'aaaa' }",
        "192.0.2.1:53",
        dns(DnsExpectation::Any),
    );
    check_probe("icmp = {}", "192.0.2.1:0", ProbeSpec::Icmp);
    let mut probe = dns(DnsExpectation::Any);
    if let ProbeSpec::Dns(dns) = &mut probe {
        dns.options = Some(Box::new(DnsOptions {
            fresh_label: true,
            edns_payload: Some(1400),
            dnssec_ok: true,
            checking_disabled: true,
            recursion_desired: false,
            expected_rcodes: [Rcode(3)].into(),
        }));
    }
    check_probe(
        "dns = { query = 'example.com', query_type = 'AAAA', fresh_label = true, edns_payload = 1400, dnssec_ok = true, \
         checking_disabled = true, recursion_desired = false, expected_rcodes = 'nxdomain' }",
        "192.0.2.1:53",
        probe,
    );
}

#[test]
fn status_server_needs_a_secret_alone() {
    check_probe(
        "radius = { status_server = true, secret = 's' }",
        "192.0.2.1:1812",
        ProbeSpec::RadiusStatus(Box::new(RadiusStatusProbe {
            secret: "s".into(),
            require_message_authenticator: false,
        })),
    );
}

#[test]
fn secrets_may_stand_in_files() {
    let files: BTreeMap<PathBuf, Vec<u8>> = [
        (PathBuf::from("/etc/hc/secret"), b"s3cret\r\n".to_vec()),
        (PathBuf::from("/run/password"), b"pass\n\n".to_vec()),
    ]
    .into();
    let text = "[[check]]\nname = 'a'\ntarget = '192.0.2.1'\n[check.radius]\nusername = 'u'\nsecret_file = 'secret'\n\
                password_file = '/run/password'\nexpected_response = 'reject'\n";
    let checks =
        parse(&[SourceFile::new("/etc/hc/a.toml", text)], &Limits::default(), &files).unwrap().checks;
    let expected = RadiusProbe {
        username: "u".into(),
        password: "pass\n".into(),
        secret: "s3cret".into(),
        expect: RadiusExpectation::Reject,
        require_message_authenticator: false,
    };
    assert_eq!(*checks[0].spec, spec("192.0.2.1:1812", ProbeSpec::Radius(Box::new(expected))));
}

#[test]
fn empty_files_are_empty_sets() {
    assert_eq!(read(""), []);
    assert_eq!(parse(&[], &Limits::default(), &NoFiles).unwrap().checks, []);
}

#[test]
fn timing_beyond_seesaws() {
    let timing = |keys: &str| {
        let checks = read(&format!(
            "[defaults]\nretries = 4\n[[check]]\nname = 'a'\ntarget = '192.0.2.1'\nicmp = {{}}\n{keys}\n"
        ));
        checks[0].spec.timing()
    };
    let base = Timing::default().retries(4);
    assert_eq!(timing(""), base);
    // `fall` is another name of what the defaults have as `retries`; the nearer one wins.
    assert_eq!(timing("fall = 1"), base.retries(0));
    assert_eq!(timing("fall = 4294967296"), base.retries(u32::MAX));
    assert_eq!(timing("rise = 3"), base.rise(3));
    assert_eq!(
        timing("fast_interval = '1s'\ndown_interval = '1min'"),
        base.fast_interval(SECOND).down_interval(60 * SECOND)
    );
    assert_eq!(timing("jitter = '10%'"), base.jitter(Jitter::Percent(10)));
    assert_eq!(timing("jitter = '500ms'"), base.jitter(Jitter::Time(SECOND / 2)));
    assert_eq!(timing("jitter = '0%'\nstart_delay = '0s'"), base);
    assert_eq!(timing("start_delay = '30s'"), base.start_delay(30 * SECOND));
}

#[test]
fn checks_depend_on_others_of_whichever_file() {
    let gateway =
        SourceFile::new("gateways.toml", "[[check]]\nname = 'gw'\ntarget = '192.0.2.1'\nicmp = {}\n");
    let web = "[group.web]\ndepends_on = 'gw'\n[[check]]\nname = 'web'\ngroup = 'web'\ntarget = ['192.0.2.2', '192.0.2.3']\nhttp = {}\n";
    let read = parse(&[SourceFile::new("web.toml", web), gateway], &Limits::default(), &NoFiles).unwrap();
    let depends: Vec<Vec<&str>> =
        read.checks.iter().map(|check| check.depends_on.iter().map(|name| &**name).collect()).collect();
    assert_eq!(depends, [vec!["gw"], vec!["gw"], vec![]]);
    assert_eq!(&*read.checks[0].metadata().depends_on, ["gw".into()]);
    let printed = SourceFile::new("printed.toml", hc_config::print(&read).unwrap());
    let again = parse(&[printed], &Limits::default(), &NoFiles).unwrap();
    assert_eq!(again.checks[1].depends_on, read.checks[1].depends_on);
}

#[test]
fn a_group_asks_for_series_and_a_check_of_it_may_decline() {
    let text = "[group.web]\nmetrics = true\nhttp = {}\n\
                [[check]]\nname = 'a'\ngroup = 'web'\ntarget = ['192.0.2.2', '192.0.2.3']\n\
                [[check]]\nname = 'b'\ngroup = 'web'\ntarget = '192.0.2.4'\nmetrics = false\n\
                [[check]]\nname = 'c'\ntarget = '192.0.2.5'\nicmp = {}\n\
                [[check]]\nname = 'd'\ngroup = 'web'\ntarget = 'example.com'\n";
    let read = parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap();
    let asks: Vec<bool> = read.checks.iter().map(|check| check.metadata().metrics).collect();
    assert_eq!(asks, [true, true, false, false]);
    let of_address = read.hosts[0].check("192.0.2.6".parse().unwrap()).unwrap().unwrap();
    assert!(of_address.metadata().metrics && read.hosts[0].check_of_all([]).unwrap().metadata().metrics);
    let printed = SourceFile::new("printed.toml", hc_config::print(&read).unwrap());
    let again = parse(&[printed], &Limits::default(), &NoFiles).unwrap();
    let asks: Vec<bool> = again.checks.iter().map(|check| check.metrics).collect();
    assert_eq!((asks, again.hosts[0].metrics), (vec![true, true, false, false], true));
}

#[test]
fn opinions_and_quorum_are_inherited_and_judged() {
    let text = "[defaults]\nopinions = 3\n[group.web]\nquorum = 'all'\nhttp = {}\n\
                [[check]]\nname = 'a'\ngroup = 'web'\ntarget = '192.0.2.2'\n\
                [[check]]\nname = 'b'\ntarget = '192.0.2.3'\nopinions = 5\nquorum = 2\nicmp = {}\n\
                [[check]]\nname = 'c'\ngroup = 'web'\ntarget = 'example.com'\n";
    let read = parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap();
    let of = |opinions, quorum| OpinionKeys { opinions: Some(opinions), quorum: Some(quorum) };
    let all: Vec<OpinionKeys> = read.checks.iter().map(|check| check.metadata().opinions).collect();
    assert_eq!(all, [of(3, Quorum::All), of(5, Quorum::AtLeast(2))]);
    assert_eq!(read.hosts[0].check_of_all([]).unwrap().metadata().opinions, of(3, Quorum::All));
    let printed = SourceFile::new("printed.toml", hc_config::print(&read).unwrap());
    let again = parse(&[printed], &Limits::default(), &NoFiles).unwrap();
    assert_eq!(again.checks.iter().map(|check| check.opinions).collect::<Vec<_>>(), all);

    for (keys, words) in [
        ("opinions = 2\nquorum = 3", "3 of 2 opinions"),
        ("opinions = 0", "opinions"),
        ("quorum = 'most'", "a rule is"),
        ("quorum = 16", "quorum"),
    ] {
        let text = format!("[[check]]\nname = 'a'\ntarget = '192.0.2.2'\n{keys}\nicmp = {{}}\n");
        let error =
            parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap_err().to_string();
        assert!(error.contains(words) && error.starts_with('f'), "{keys}: {error}");
    }
}
