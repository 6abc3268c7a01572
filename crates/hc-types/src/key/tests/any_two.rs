//! Any two checks.

use proptest::prelude::*;

use super::*;

/// A check by small numbers: each picks the value of one field.
fn pick(choices: [u8; CHOICES]) -> CheckSpec {
    let [kind, ip, port, mode, host, text, other, tls, list, flag, named, request, condition] = choices;
    let text_of = |choice: u8| ["", "a", "b", "ab"][usize::from(choice % 4)];
    let on = |choice: u8, bit: u8| choice >> bit & 1 == 1;
    let ip: IpAddr = ["192.0.2.1", "192.0.2.2", "2001:db8::1"][usize::from(ip % 3)].parse().unwrap();
    let host = [None, Some("192.0.2.1"), Some("2001:db8::1")][usize::from(host % 3)];
    let host = host.map(|host| host.parse().unwrap());
    let (mode, mark) = [
        (Mode::Plain, None),
        (Mode::Plain, Mark::new(1)),
        (Mode::Dsr, Mark::new(1)),
        (Mode::Dsr, Mark::new(2)),
        (Mode::Tun, Mark::new(1)),
    ][usize::from(mode % 5)];
    let target = Target::from_parts(ip, u16::from(port % 3) + 1, mode, mark, host);
    let tls = on(tls, 0).then(|| Tls {
        verify: on(tls, 1),
        old_versions: on(tls, 2),
        rsa_key_exchange: on(tls, 3),
        sha1: on(tls, 4),
        options: on(tls, 5).then(|| {
            let resumes = !(2..=4).any(|bit| on(tls, bit));
            let resume = if resumes { u16::from(list % 3) } else { 0 };
            TlsOptions { resume, ..tls_options(list, text_of(other)) }.into()
        }),
    });
    let is_old = tls.as_ref().is_some_and(|tls| tls.old_versions || tls.rsa_key_exchange || tls.sha1);
    // An HTTP check offers what it speaks, if anything.
    let of_http = tls.clone().map(|tls| {
        let options =
            tls.options.as_deref().cloned().map(|options| TlsOptions { alpn: [].into(), ..options });
        Tls { options: options.map(Into::into), ..tls }
    });
    let (send, receive) = (text_of(text).into(), text_of(other).into());
    let probe = match kind % 11 {
        0 => ProbeSpec::Icmp,
        1 => ProbeSpec::Udp(Box::new(UdpProbe { send, receive })),
        2 => ProbeSpec::Tcp(TcpProbe { send, receive, tls }),
        3 => http(HttpProbe {
            tls: of_http,
            method: ["GET", "HEAD"][usize::from(text % 2)].into(),
            request_target: format!("/{}", text_of(other)).into(),
            expected_codes: [
                &[][..],
                &[200..=200],
                &[200..=200, 201..=201],
                &[201..=201],
                &[200..=201],
                &[200..=201, 201..=201],
                &[201..=201, 200..=201],
            ][usize::from(list % 7)]
            .iter()
            .cloned()
            .collect(),
            expected_body: text_of(flag >> 1).into(),
            proxy: on(flag, 0),
            overrides: Some(Box::new(HttpOverrides {
                host: on(named, 0).then(|| text_of(named >> 4).into()),
                server_name: on(named, 1).then(|| text_of(named >> 4).into()),
                authorization: on(named, 2).then(|| text_of(named >> 4).into()),
                error: on(named, 3).then(|| text_of(named >> 4).into()),
                request: on(request, 0).then(|| {
                    let names = [&[][..], &["a"], &["b"], &["a", "b"]][usize::from(request >> 4 & 3)];
                    let headers = names.iter().map(|name| field(name, text_of(request >> 6))).collect();
                    let user_agent = on(request, 1).then(|| text_of(request >> 6).into());
                    let body = text_of(request >> 2 & 1).into();
                    {
                        let reuse = if is_old { 0 } else { u16::from(list % 3) };
                        Arc::new(HttpRequest {
                            version: HttpVersion::Http1,
                            user_agent,
                            headers,
                            body,
                            reuse,
                        })
                    }
                }),
            })),
            conditions: (condition > 0).then(|| Arc::new(pick_conditions(condition))),
        }),
        4 => ProbeSpec::Dns(Box::new(DnsProbe {
            query: text_of(text).into(),
            query_type: [RecordType::A, RecordType::AAAA][usize::from(other % 2)],
            query_class: RecordClass(u16::from(flag % 3)),
            expect: {
                let ips = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
                match list % 4 {
                    0 => DnsExpectation::Any,
                    1 => DnsExpectation::Ips([].into()),
                    2 => DnsExpectation::Ips(ips[..1].into()),
                    _ => DnsExpectation::Ips(ips.into()),
                }
            },
            options: None,
        })),
        10 if mark.is_none() => ProbeSpec::HalfOpen,
        5 => dns(RecordType(16), RecordClass::IN, DnsExpectation::Text(text_of(text).into())),
        9 => {
            let bytes = match text % 3 {
                0 => ExpectedBytes::Begin("a".into()),
                1 => ExpectedBytes::Contain("a".into()),
                _ => ExpectedBytes::Pattern(StreamPattern::new("a").unwrap()),
            };
            let limit = u32::from(flag >> 1) + 1;
            let expectation = DialogueExpectation { bytes, limit, rest_of_line: on(flag, 0) };
            let steps = match list % 4 {
                0 => vec![DialogueStep::Expect(expectation)],
                1 => vec![DialogueStep::Send("a".into()), DialogueStep::Expect(expectation)],
                2 => vec![DialogueStep::Expect(expectation), DialogueStep::Send("a".into())],
                _ => vec![DialogueStep::StartTls],
            };
            let dialogue = match other % 5 {
                0 => Dialogue::Steps(steps.into()),
                1 => Dialogue::Agent { send: text_of(text).into() },
                2 => Dialogue::Mysql(MysqlDialogue { username: text_of(text).into() }),
                3 => Dialogue::Postgresql(PostgresqlDialogue {
                    username: "a".into(),
                    database: text_of(text).into(),
                }),
                _ => Dialogue::Redis(RedisDialogue {
                    role: [None, Some(RedisRole::Master), Some(RedisRole::Replica)][usize::from(list % 3)],
                    password: text_of(text).into(),
                    ..RedisDialogue::default()
                }),
            };
            ProbeSpec::Dialogue(Box::new(DialogueProbe { tls, dialogue }))
        }
        7 => radius_status(on(flag, 0)),
        8 => dns_with(DnsOptions {
            fresh_label: on(flag, 0),
            edns_payload: [None, Some(512), Some(1232)][usize::from(list % 3)],
            dnssec_ok: on(flag, 1),
            checking_disabled: on(flag, 2),
            recursion_desired: on(flag, 3),
            expected_rcodes: [&[][..], &[Rcode(0)], &[Rcode(0), Rcode(3)], &[Rcode(3)]]
                [usize::from(text % 4)]
            .into(),
        }),
        _ => ProbeSpec::Radius(Box::new(RadiusProbe {
            username: text_of(text).into(),
            password: text_of(other).into(),
            secret: text_of(flag >> 1).into(),
            expect: {
                use RadiusExpectation::{Accept, Any, Challenge, Reject};
                [Accept, Reject, Challenge, Any][usize::from(list % 4)]
            },
            require_message_authenticator: on(flag, 0),
        })),
    };
    spec(target, probe)
}

/// Options of TLS that go with verification and without it.
fn tls_options(choice: u8, text: &str) -> TlsOptions {
    let [sni, identity, pin, alpn] = [0, 1, 2, 3].map(|bit| choice >> bit & 1 == 1);
    let days = [None, Some(1), Some(2)];
    TlsOptions {
        sni: sni.then(|| format!("{text}x").into()),
        identity: identity.then(|| TlsIdentity { chain: [text.into()].into(), key: text.into() }),
        pins: if pin { [KeyPin([choice >> 4; 32])].into() } else { [].into() },
        alpn: if alpn { [RawBytes::from("h2"), format!("{text}h").into()].into() } else { [].into() },
        min_version: [None, Some(TlsVersion::V1_2), Some(TlsVersion::V1_3)][usize::from(choice >> 4) % 3],
        min_days_left: days[usize::from(choice >> 5) % 3],
        warn_days_left: days[usize::from(choice >> 6) % 3],
        ..TlsOptions::default()
    }
}

fn pick_conditions(choice: u8) -> HttpConditions {
    let text = ["a", "b", "ab", "abb"][usize::from(choice >> 6)];
    let pattern = || Pattern::new(text).unwrap();
    let headers = match choice & 7 {
        0 => Box::default(),
        1 => [header(text, HeaderTest::Present)].into(),
        2 => [header(text, HeaderTest::Absent)].into(),
        3 => [header("a", HeaderTest::Equals(text.into()))].into(),
        4 => [header("a", HeaderTest::Contains(text.into()))].into(),
        5 => [header("a", HeaderTest::Matches(pattern()))].into(),
        6 => [header(text, HeaderTest::Present), header("a", HeaderTest::Present)].into(),
        _ => [header("a", HeaderTest::Present), header(text, HeaderTest::Present)].into(),
    };
    let body = match choice >> 3 & 7 {
        0 => Box::default(),
        1 => [BodyCondition::Contains(text.into())].into(),
        2 => [BodyCondition::Matches(pattern())].into(),
        3 => [json("/a", None)].into(),
        4 => [json("/a", Some(JsonScalar::Null))].into(),
        5 => [json("/a", Some(JsonScalar::String(text.into())))].into(),
        6 => [json("/a", Some(JsonScalar::Number(i64::from(choice).into())))].into(),
        _ => [json("/a", Some(JsonScalar::Bool(choice >> 6 == 0)))].into(),
    };
    let body_limit = if choice & 7 == 7 { 9 } else { HttpConditions::DEFAULT_BODY_LIMIT };
    HttpConditions { headers, body, body_limit }
}

const CHOICES: usize = 13;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Two checks that differ in one field, or in none, and two that differ in any.
    #[test]
    fn keys_are_equal_exactly_if_the_checks_are(
        choices: [u8; CHOICES], place in 0..CHOICES, choice: u8, others: [u8; CHOICES]
    ) {
        let mut changed = choices;
        changed[place] = choice;
        let first = pick(choices);
        for second in [pick(changed), pick(others)] {
            let same = first.target() == second.target() && first.probe() == second.probe();
            prop_assert_eq!(first.key() == second.key(), same, "{:?} and {:?}", first, second);
            prop_assert_eq!(first.same_key(&second), same);
        }
    }
}
