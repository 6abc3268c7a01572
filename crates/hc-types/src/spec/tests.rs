use std::sync::Arc;

use super::*;
use crate::{
    AddressFailure, BodyCondition, Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes,
    Failure, HeaderCondition, HeaderField, HeaderTest, HttpConditions, HttpOverrides, HttpProbe, HttpRequest,
    HttpVersion, JsonCondition, LdapDialogue, LocalFault, MAX_PERIOD, Mark, MysqlDialogue, RadiusExpectation,
    RadiusProbe, Rcode, RecordClass, RedisDialogue, Rule, SmtpDialogue, TcpProbe, Tls,
};

const SECOND: Duration = Duration::from_secs(1);

fn target() -> Target {
    Target::plain("192.0.2.1".parse().unwrap(), 80)
}

fn tcp() -> ProbeSpec {
    ProbeSpec::Tcp(TcpProbe::default())
}

#[track_caller]
fn rejected(spec: Result<CheckSpec, SpecError>, expected: &str) {
    let error = spec.unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert!(expected.starts_with(&format!("{}: ", error.field())), "{}", error.field());
}

fn dns(query_type: RecordType, ips: &[&str]) -> ProbeSpec {
    ProbeSpec::Dns(Box::new(DnsProbe {
        query: "example.com".into(),
        query_type,
        query_class: RecordClass::IN,
        expect: DnsExpectation::Ips(ips.iter().map(|ip| ip.parse().unwrap()).collect()),
        options: None,
    }))
}

#[test]
fn senseless_values_cannot_be_built() {
    rejected(
        CheckSpec::new(target(), tcp(), Timing::every(Duration::ZERO).timeout(SECOND)),
        "interval: must be above 0",
    );
    rejected(
        CheckSpec::new(target(), tcp(), Timing::every(SECOND).timeout(Duration::ZERO)),
        "timeout: must be above 0",
    );
    rejected(
        CheckSpec::new(target(), tcp(), Timing::every(MAX_PERIOD + SECOND).timeout(SECOND)),
        "interval: must be at most 24h",
    );
    rejected(
        CheckSpec::new(target(), tcp(), Timing::every(SECOND / 101).timeout(SECOND)),
        "interval: must be at least 10ms",
    );
    let portless = Target::plain("192.0.2.1".parse().unwrap(), 0);
    rejected(
        CheckSpec::new(portless.clone(), tcp(), Timing::every(SECOND).timeout(SECOND)),
        "port: must be 1 to 65535",
    );
    assert!(CheckSpec::new(portless, ProbeSpec::Icmp, Timing::every(SECOND).timeout(SECOND)).is_ok());
    let unmarked = Target::from_parts("192.0.2.1".parse().unwrap(), 80, Mode::Dsr, None, None);
    rejected(
        CheckSpec::new(unmarked, tcp(), Timing::every(SECOND).timeout(SECOND)),
        "mark: mode dsr and tun need one, from 1 to 4294967295",
    );
}

#[test]
fn addresses_that_no_backend_can_have_are_rejected() {
    let build = |ip: &str, probe| {
        CheckSpec::new(Target::plain(ip.parse().unwrap(), 80), probe, Timing::every(SECOND).timeout(SECOND))
    };
    rejected(build("0.0.0.0", tcp()), "ip: 0.0.0.0 is the unspecified address, which no backend has");
    rejected(
        build("::ffff:0.0.0.0", ProbeSpec::Icmp),
        "ip: 0.0.0.0 is the unspecified address, which no backend has",
    );
    rejected(
        build("fe80::1", tcp()),
        "ip: fe80::1 is a link-local address, which needs an interface, and a check cannot name one",
    );
    assert!(build("240.0.0.1", tcp()).is_ok());
    // A VIP may be a loopback address of this machine, and in every mode.
    let vip = Target::marked([127, 0, 0, 1].into(), 80, Mode::Dsr, Mark::new(1).unwrap(), None);
    assert!(CheckSpec::new(vip, tcp(), Timing::every(SECOND).timeout(SECOND)).is_ok());
    let multicast = Target::marked([224, 0, 0, 1].into(), 80, Mode::Tun, Mark::new(1).unwrap(), None);
    rejected(
        CheckSpec::new(multicast, tcp(), Timing::every(SECOND).timeout(SECOND)),
        "ip: 224.0.0.1 is a multicast address, from which no backend answers",
    );
}

#[test]
fn http_fields_are_checked() {
    let http = |probe: HttpProbe| {
        CheckSpec::new(target(), ProbeSpec::Http(Box::new(probe)), Timing::every(SECOND).timeout(SECOND))
    };
    rejected(
        http(HttpProbe { method: "GE T".into(), ..HttpProbe::default() }),
        "method: \"GE T\" is not an HTTP method",
    );
    rejected(
        http(HttpProbe { expected_codes: [200, 99].into(), ..HttpProbe::default() }),
        "expected_codes: 99 is not a status code (100 to 999)",
    );
    let ranges = |range| {
        http(HttpProbe { expected_codes: [200..=200, range].into_iter().collect(), ..HttpProbe::default() })
    };
    rejected(ranges(500..=1000), "expected_codes: 1000 is not a status code (100 to 999)");
    #[expect(clippy::reversed_empty_ranges, reason = "this is what is rejected")]
    rejected(ranges(299..=200), "expected_codes: 299-200 ends before it begins");
}

#[test]
fn what_would_break_a_request_is_rejected() {
    let build = |target: &str, overrides: HttpOverrides| {
        let probe = HttpProbe {
            request_target: target.into(),
            overrides: Some(Box::new(overrides)),
            ..HttpProbe::default()
        };
        CheckSpec::new(self::target(), ProbeSpec::Http(Box::new(probe)), Timing::every(SECOND))
    };
    let none = HttpOverrides::default;
    rejected(build("", none()), r#"request_target: "" is empty"#);
    rejected(build("/a b", none()), r#"request_target: "/a b" has a blank (write %20)"#);
    rejected(build("/a\r\nb", none()), r#"request_target: "/a\r\nb" has a control character"#);
    rejected(build("/\x7f", none()), r#"request_target: "/\x7f" has a control character"#);
    let fragment = r#"request_target: "/#a" has a fragment, which is not sent (write %23 for '#')"#;
    rejected(build("/#a", none()), fragment);
    for target in ["*", "healthz", "/?\u{e9}", "http://a/b"] {
        assert!(build(target, none()).is_ok(), "{target}");
    }
    for host in ["a b", "a\nb", "b\u{fc}cher.example"] {
        let problem = format!("http_host: {host:?} has a blank, a control character or one outside ASCII");
        rejected(build("/", HttpOverrides { host: Some(host.into()), ..none() }), &problem);
    }
    assert!(build("/", HttpOverrides { host: Some("".into()), ..none() }).is_ok());
    let secret = HttpOverrides { authorization: Some("s3cret\r\n".into()), ..none() };
    rejected(build("/", secret), "authorization: has a control character");
    // Without TLS there is nobody to name.
    let named = HttpOverrides { server_name: Some("a".into()), ..none() };
    assert_eq!(build("/", named), build("/", none()));
}

#[test]
fn expected_addresses_must_fit_the_query() {
    let build = |probe| CheckSpec::new(target(), probe, Timing::every(SECOND).timeout(SECOND));
    rejected(build(dns(RecordType::A, &["2001:db8::1"])), "expected_ips: 2001:db8::1 is not an IPv4 address");
    rejected(build(dns(RecordType(15), &["192.0.2.1"])), "expected_ips: only for A and AAAA, not for MX");
    assert_eq!(
        build(dns(RecordType::A, &["::ffff:192.0.2.1"])).unwrap(),
        build(dns(RecordType::A, &["192.0.2.1"])).unwrap()
    );
}

#[test]
fn what_is_checked_is_not_how_often() {
    let spec = |interval: u64, retries| {
        CheckSpec::new(
            target(),
            tcp(),
            Timing::every(Duration::from_secs(interval)).timeout(SECOND).retries(retries),
        )
        .unwrap()
    };
    assert!(spec(5, 0).same_key(&spec(9, 3)));
    let mapped = Target::plain("::ffff:192.0.2.1".parse().unwrap(), 80);
    assert!(
        spec(5, 0).same_key(&CheckSpec::new(mapped, tcp(), Timing::every(SECOND).timeout(SECOND)).unwrap())
    );
    let marked = Target::marked(target().ip(), 80, Mode::Dsr, Mark::new(65536).unwrap(), None);
    let marked = CheckSpec::new(marked, tcp(), Timing::every(SECOND).timeout(SECOND)).unwrap();
    assert!(!spec(5, 0).same_key(&marked));
}

#[test]
fn debug_of_a_check_shows_no_secret() {
    let probe = ProbeSpec::Radius(Box::new(RadiusProbe {
        username: "user".into(),
        password: "hunter2".into(),
        secret: "s3cret".into(),
        expect: RadiusExpectation::Accept,
        require_message_authenticator: false,
    }));
    let debug =
        format!("{:?}", CheckSpec::new(target(), probe, Timing::every(SECOND).timeout(SECOND)).unwrap());
    assert!(debug.contains("user") && !debug.contains("hunter2") && !debug.contains("s3cret"), "{debug}");
}

#[test]
fn options_of_a_question_have_one_form() {
    let build = |expect: &[&str], options| {
        let mut probe = dns(RecordType::A, expect);
        if let ProbeSpec::Dns(dns) = &mut probe {
            dns.options = Some(Box::new(options));
            if expect.is_empty() {
                dns.expect = DnsExpectation::Any;
            }
        }
        CheckSpec::new(target(), probe, Timing::every(SECOND).timeout(SECOND))
    };
    let options = |codes: &[u16]| DnsOptions {
        expected_rcodes: codes.iter().copied().map(Rcode).collect(),
        ..DnsOptions::default()
    };
    let plain = build(&[], DnsOptions::default()).unwrap();
    let ProbeSpec::Dns(without) = plain.probe() else { panic!("a DNS check") };
    assert_eq!(without.options, None);
    assert_eq!(build(&[], options(&[0])).unwrap(), plain);
    assert_eq!(build(&[], options(&[3, 0, 3])).unwrap(), build(&[], options(&[0, 3])).unwrap());
    let dnssec = |edns_payload| DnsOptions { dnssec_ok: true, edns_payload, ..DnsOptions::default() };
    assert_eq!(build(&[], dnssec(None)).unwrap(), build(&[], dnssec(Some(1232))).unwrap());
    rejected(build(&[], dnssec(Some(511))), "edns_payload: 511 is below 512");
    rejected(build(&[], options(&[4096])), "expected_rcodes: 4096 is above 4095");
    let ip = ["192.0.2.1"];
    rejected(build(&ip, options(&[3])), "expected_rcodes: without NOERROR no answer can be expected");
    assert!(build(&ip, options(&[0, 3])).is_ok());
}

fn requesting(request: HttpRequest) -> HttpProbe {
    let overrides = HttpOverrides { request: Some(request.into()), ..HttpOverrides::default() };
    HttpProbe { overrides: Some(Box::new(overrides)), ..HttpProbe::default() }
}

fn build(http: HttpProbe) -> Result<CheckSpec, SpecError> {
    CheckSpec::new(target(), ProbeSpec::Http(Box::new(http)), Timing::every(SECOND).timeout(SECOND))
}

#[test]
fn header_fields_that_the_checker_writes_or_that_break_the_request_are_rejected() {
    let with = |fields: &[(&str, &str)]| {
        let field =
            |(name, value): &(&str, &str)| HeaderField { name: (*name).into(), value: (*value).into() };
        build(requesting(HttpRequest {
            headers: fields.iter().map(field).collect(),
            ..HttpRequest::default()
        }))
    };
    rejected(with(&[("Host", "a")]), "headers: \"Host\" is made of the address or of `host`");
    rejected(with(&[("user-agent", "a")]), "headers: \"user-agent\" is set by `user_agent`");
    rejected(with(&[("Content-Length", "1")]), "headers: \"Content-Length\" is made of the body");
    for name in ["Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Expect"] {
        assert!(with(&[(name, "a")]).is_err(), "{name}");
    }
    rejected(with(&[("X A", "a")]), "headers: \"X A\" is not the name of a header field");
    rejected(with(&[("", "a")]), "headers: \"\" is not the name of a header field");
    for value in ["a\r\nX-B: b", "a\0", " a", "a\t", "\x7f"] {
        let expected = "headers: \"X-A\" has a value with a control character, or with a blank at an end";
        rejected(with(&[("X-A", value)]), expected);
    }
    rejected(with(&[("X-A", "1"), ("x-a", "2")]), "headers: \"x-a\" is there twice");
    assert!(with(&[("X-A", ""), ("X-B", "a\tb \u{e9}"), ("Cookie", "a=b")]).is_ok());
    let many: Vec<String> = (0..65).map(|i| format!("X-{i}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "a")).collect();
    rejected(with(&many), "headers: 65 fields of 315 bytes; at most 64 fields of 16384 bytes");
    let long = "a".repeat(16 * 1024);
    rejected(with(&[("X", &long)]), "headers: 1 fields of 16385 bytes; at most 64 fields of 16384 bytes");
}

#[test]
fn requests_and_conditions_are_checked() {
    let request = HttpRequest::default;
    rejected(
        build(requesting(HttpRequest { user_agent: Some("a\n".into()), ..request() })),
        "user_agent: \"a\\n\" has a control character, or a blank at an end",
    );
    let body = vec![b'a'; HttpRequest::MAX_BODY + 1].into();
    rejected(build(requesting(HttpRequest { body, ..request() })), "body: 65537 bytes; at most 65536");
    let reused = |reuse| requesting(HttpRequest { reuse, ..request() });
    assert_eq!(build(reused(1)), build(HttpProbe::default()), "one probe a connection is the default");
    rejected(build(reused(HttpRequest::MAX_REUSE + 1)), "reuse: at most 1000 probes go over one connection");
    let old = Tls { old_versions: true, ..Tls::new(true) };
    rejected(
        build(HttpProbe { tls: Some(old), ..reused(2) }),
        "reuse: not with `old_versions`, `rsa_key_exchange` or `sha1`",
    );
    let second = requesting(HttpRequest { version: HttpVersion::Http2, reuse: 2, ..request() });
    rejected(build(second), "reuse: not with HTTP/2");
    let second = || requesting(HttpRequest { version: HttpVersion::Http2, ..request() });
    assert!(build(second()).is_ok());
    rejected(
        build(HttpProbe { request_target: "*".into(), ..second() }),
        "version: a request target that is not a path in ASCII is not possible with HTTP/2",
    );
    rejected(build(HttpProbe { proxy: true, ..second() }), "version: a proxy is not possible with HTTP/2");
    let with =
        |conditions| build(HttpProbe { conditions: Some(Arc::new(conditions)), ..HttpProbe::default() });
    let conditions = HttpConditions::default;
    let header = |name: &str| HeaderCondition { name: name.into(), test: HeaderTest::Present };
    let body = |condition| HttpConditions { body: [condition].into(), ..conditions() };
    rejected(
        with(HttpConditions { headers: [header("a:")].into(), ..conditions() }),
        "expected_headers: \"a:\" is not the name of a header field",
    );
    let empty = BodyCondition::Contains("".into());
    rejected(with(body(empty)), "body_contains: empty, which any body contains");
    let json = BodyCondition::Json(Box::new(JsonCondition { pointer: "a".into(), equals: None }));
    rejected(with(body(json)), "body_json: the pointer \"a\" does not begin with a slash");
    for body_limit in [0, 1024 * 1024 + 1] {
        rejected(with(HttpConditions { body_limit, ..conditions() }), "body_limit: must be 1 to 1048576");
    }
    let limited = HttpConditions { body_limit: 1, ..body(BodyCondition::Contains("a".into())) };
    let limited =
        HttpProbe { expected_body: "ab".into(), conditions: Some(Arc::new(limited)), ..HttpProbe::default() };
    rejected(build(limited), "body_limit: 1 is below the 2 bytes of expected_body");
}

#[test]
fn what_says_nothing_is_left_out_and_names_of_fields_have_one_form() {
    let plain = build(HttpProbe::default()).unwrap();
    let conditions = Some(Arc::new(HttpConditions { body_limit: 7, ..HttpConditions::default() }));
    let empty = HttpProbe { conditions, ..requesting(HttpRequest::default()) };
    assert_eq!(build(empty).unwrap(), plain);
    let with = |name: &str| {
        let header = HeaderCondition { name: name.into(), test: HeaderTest::Present };
        let conditions = HttpConditions { headers: [header].into(), ..HttpConditions::default() };
        build(HttpProbe { conditions: Some(Arc::new(conditions)), ..HttpProbe::default() }).unwrap()
    };
    assert_eq!(with("X-Role"), with("x-role"));
    assert_eq!(with("X-Role").key(), with("x-role").key());
}

/// Checks without conditions must not become larger by them.
#[test]
fn an_http_probe_is_small() {
    assert!(size_of::<HttpProbe>() <= 104, "{}", size_of::<HttpProbe>());
    assert!(size_of::<HttpOverrides>() <= 72, "{}", size_of::<HttpOverrides>());
}

#[test]
fn dialogues_that_cannot_be_held() {
    let build = |dialogue| {
        let probe = ProbeSpec::Dialogue(Box::new(DialogueProbe { tls: None, dialogue }));
        CheckSpec::new(target(), probe, Timing::every(SECOND).timeout(SECOND))
    };
    let steps = |steps: &[DialogueStep]| build(Dialogue::Steps(steps.into()));
    let expect = |bytes: &str, limit, rest_of_line| {
        DialogueStep::Expect(DialogueExpectation {
            bytes: ExpectedBytes::Begin(bytes.into()),
            limit,
            rest_of_line,
        })
    };
    rejected(steps(&[]), "steps: 0 steps; a dialogue has 1 to 100");
    rejected(steps(&vec![DialogueStep::Send("a".into()); 101]), "steps: 101 steps; a dialogue has 1 to 100");
    rejected(steps(&[DialogueStep::Send("".into())]), "steps: step 1 sends nothing");
    rejected(steps(&[expect("", 1, false)]), "steps: step 1 expects nothing");
    rejected(steps(&[expect("ab", 1, true)]), "steps: step 1 expects more bytes than its limit");
    rejected(steps(&[expect("a", 65_537, true)]), "steps: step 1 has a limit that is not in 1 to 65536");
    let hello = SmtpDialogue { hello: "a b".into(), starttls: false };
    rejected(build(Dialogue::Smtp(hello)), "hello: \"a b\" is no name");
    let user = RedisDialogue { username: "u".into(), ..RedisDialogue::default() };
    rejected(build(Dialogue::Redis(user)), "username: needs a password");
    let anonymous = LdapDialogue { username: "cn=u".into(), ..LdapDialogue::default() };
    rejected(build(Dialogue::Ldap(anonymous)), "username: name and password of a bind need each other");
    rejected(
        build(Dialogue::Mysql(MysqlDialogue { username: "\0".into() })),
        "username: a name has no byte 0",
    );
    // TLS that begins within a dialogue has settings.
    let started = steps(&[DialogueStep::StartTls]).unwrap();
    let ProbeSpec::Dialogue(probe) = started.probe() else { panic!("a dialogue") };
    assert_eq!(probe.tls, Some(Tls::new(true)));
    // A plain check is as small as before.
    assert!(size_of::<ProbeSpec>() <= 48, "{}", size_of::<ProbeSpec>());
}

#[test]
fn a_check_of_a_host_name_says_so_and_costs_others_nothing() {
    assert!(size_of::<CheckSpec>() <= 144, "{}", size_of::<CheckSpec>());
    let named = |addresses: &[&str], port| {
        let host = HostName::new("h.example", addresses.iter().map(|ip| ip.parse().unwrap()), Rule::Any);
        let target = Target::plain([0, 0, 0, 0].into(), port);
        let probe = if port == 0 { ProbeSpec::Icmp } else { tcp() };
        CheckSpec::of_host_name(host, target, probe, Timing::every(SECOND))
    };
    let spec = named(&["192.0.2.2", "192.0.2.1"], 80).unwrap();
    assert_eq!(spec.target().ip(), IpAddr::from([192, 0, 2, 1]));
    assert_eq!(spec.text(&Outcome::PASS), "TCP connect to h.example:80 (any of 2 addresses)");
    let failure =
        AddressFailure { address: [192, 0, 2, 2].into(), failure: Failure::Refused, failed: 2, of: 2 };
    assert_eq!(
        spec.text(&Failure::OfAddress(Box::new(failure)).into()),
        "TCP connect to h.example:80 (any of 2 addresses); 2 of 2 addresses failed; 192.0.2.2: connection refused"
    );
    // None known is none of the check's fault.
    let unresolved = named(&[], 0).unwrap();
    assert_eq!(
        unresolved.text(&LocalFault::Unresolved.into()),
        "ICMP ping to host h.example (any of 0 addresses); not checked: no address of the host name is known"
    );
    rejected(
        named(&["192.0.2.1", "224.0.0.1"], 80),
        "ip: 224.0.0.1 is a multicast address, from which no backend answers",
    );
    let many = (0..257u32).map(|n| IpAddr::from((0x0a00_0001 + n).to_be_bytes()));
    let many = HostName::new("h.example", many, Rule::All);
    rejected(
        CheckSpec::of_host_name(many, target(), tcp(), Timing::default()),
        "ip: the host name has 257 addresses, and one check probes at most 256 (resolve = \"each\" probes any number)",
    );
}
