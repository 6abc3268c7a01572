//! Laws that hold for any file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use hc_config::{Checks, ConfigErrors, Limits, NoFiles, SourceFile, parse, print};
use proptest::prelude::*;

fn read(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Checks, ConfigErrors> {
    parse(&[SourceFile::new(name, bytes)], &Limits::new(1000, 5000), &NoFiles)
}

/// Any bytes are read or refused with words, and what was read is written and read again.
fn holds(name: &str, bytes: &[u8]) {
    match read(name, bytes) {
        Ok(read) => prints_and_reads_back(&read),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

fn prints_and_reads_back(first: &Checks) {
    // Only a `cluster.pb` can hold what a TOML file cannot say.
    let Ok(printed) = print(first) else { return };
    let again = read("printed.toml", &*printed).unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
    assert_eq!((&again.checks, &again.hosts), (&first.checks, &first.hosts), "{printed}");
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = |path: &str| std::fs::read(manifest.join(path)).unwrap();
    vec![
        ("a.toml", file("../../docs/examples/checks.toml")),
        ("a.pb", file("tests/seesaw/shared.pb")),
        ("a.pb", file("tests/seesaw/marked.pb")),
        ("a.pb", file("tests/seesaw/odd.pb")),
    ]
}

/// One line of a check, from those that fit a kind of probe.
fn lines(kind: &'static str) -> BoxedStrategy<String> {
    let bytes = prop_oneof![
        any::<String>().prop_map(|text| toml::Value::from(text).to_string()),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{{ hex = '{digits}' }}")
        }),
    ];
    let tls = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        (any::<bool>(), any::<bool>())
            .prop_map(|(verify, sha1)| format!("{{ verify = {verify}, sha1 = {sha1} }}")),
    ];
    let exchange = (bytes.clone(), bytes.clone());
    match kind {
        "icmp" => Just("icmp = {}".to_owned()).boxed(),
        "udp" => exchange
            .prop_map(|(send, receive)| format!("udp = {{ send = {send}, receive = {receive} }}"))
            .boxed(),
        "tcp" => (exchange, tls)
            .prop_map(|((send, receive), tls)| {
                format!("tcp = {{ send = {send}, receive = {receive}, tls = {tls} }}")
            })
            .boxed(),
        "http" => {
            let host = prop_oneof![
                Just(String::new()),
                "[a-z]{1,9}(:[0-9]{1,4})?",
                Just("[2001:db8::1]".to_owned())
            ];
            let extra = prop_oneof![
                Just(""),
                Just("version = '2'\nproxy = false"),
                Just("headers = { X-Token = 'a', x-b = '' }\nuser_agent = ''\nbody = { hex = '00ff' }"),
                Just(
                    "expected_headers = [{ name = 'A' }, { name = 'b', present = false }, { name = 'c', equals = 'x' }]"
                ),
                Just(
                    "expected_headers = [{ name = 'd', contains = { hex = 'ff' } }, { name = 'e', matches = '^x$' }]"
                ),
                Just("body_contains = ['a', { hex = 'ff' }]\nbody_matches = 'a+'\nbody_limit = 1000000"),
                Just(
                    "body_json = [{ pointer = '' }, { pointer = '/a~1b', equals = 1.5 }, { pointer = '/a', equals = -3 }]"
                ),
                Just("body_json = [{ pointer = '/a', equals = true }, { pointer = '/a', equals = 'x' }]"),
            ];
            let codes = proptest::collection::vec(100_u16..=999, 0..3);
            ("/[!-\"$-~]{0,20}", host, tls, bytes, any::<bool>(), codes, extra)
                .prop_map(|(path, host, tls, body, proxy, codes, extra)| {
                    let proxy =
                        if extra.contains("proxy") { String::new() } else { format!("proxy = {proxy}\n") };
                    let path = toml::Value::from(path).to_string();
                    let host = if host.is_empty() { host } else { format!("host = '{host}'\n") };
                    format!(
                        "[check.http]\npath = {path}\n{host}tls = {tls}\nexpected_body = {body}\n{proxy}\
                         expected_codes = {codes:?}\n{extra}"
                    )
                })
                .boxed()
        }
        "dns" => {
            let expect = prop_oneof![
                Just(String::new()),
                Just("expected_ips = '192.0.2.1'".to_owned()),
                Just("query_type = 'AAAA'\nexpected_ips = ['192.0.2.1', '2001:db8::1']".to_owned()),
                Just("query_type = 'TYPE65'\nexpected_answer = '1 .'".to_owned()),
                Just("fresh_label = true\nexpected_rcodes = ['NXDOMAIN', 'RCODE12']".to_owned()),
                Just("edns_payload = 4096\nrecursion_desired = false".to_owned()),
                Just("dnssec_ok = true\nchecking_disabled = true\nexpected_rcodes = 'NOERROR'".to_owned()),
            ];
            ("[a-z.]{0,20}", expect)
                .prop_map(|(query, expect)| format!("[check.dns]\nquery = '{query}'\n{expect}"))
                .boxed()
        }
        "dialogue" => {
            let step = prop_oneof![
                Just("{ send = { hex = '0a ff' } }"),
                Just("{ expect = 'é' }"),
                Just("{ expect = '', rest_of_line = true, limit = 65536 }"),
                Just("{ rest_of_line = true }"),
                Just("{ expect_contains = '250', limit = 3 }"),
                Just(r"{ expect_regex = '^\d+ (a|b)', rest_of_line = true }"),
            ];
            let steps = (proptest::collection::vec(step, 1..5), any::<bool>(), tls.clone()).prop_map(
                |(mut steps, starttls, tls)| {
                    steps.extend(starttls.then_some("{ starttls = true }"));
                    format!("tcp = {{ steps = [{}], tls = {tls} }}", steps.join(", "))
                },
            );
            let named = prop_oneof![
                Just("redis = { username = { hex = 'ff' }, password = 'b', role = 'replica', tls = TLS }"),
                Just("redis = { tls = TLS }"),
                Just("ldap = { username = 'cn=a, dc=b', password = 'c', starttls = true, tls = TLS }"),
                Just("ldap = { tls = TLS }"),
                Just("smtp = { hello = 'a.example', starttls = true, tls = TLS }"),
                Just("smtp = { tls = TLS }"),
                Just("postgresql = { username = 'a', database = 'b', tls = TLS }"),
                Just("mysql = { username = 'a', tls = TLS }"),
                Just("mysql = { tls = TLS }"),
            ];
            let named = (named, tls.clone()).prop_map(|(named, tls)| named.replace("TLS", &tls));
            let agent =
                (bytes, tls).prop_map(|(send, tls)| format!("agent = {{ send = {send}, tls = {tls} }}"));
            prop_oneof![steps, named, agent].boxed()
        }
        "radius_status" => (bytes, any::<bool>())
            .prop_map(|(secret, require)| {
                format!(
                    "[check.radius]\nstatus_server = true\nsecret = {secret}\n\
                     require_message_authenticator = {require}"
                )
            })
            .boxed(),
        _ => (bytes.clone(), bytes.clone(), bytes, any::<bool>())
            .prop_map(|(username, password, secret, require)| {
                format!(
                    "[check.radius]\nusername = {username}\npassword = {password}\nsecret = {secret}\n\
                     require_message_authenticator = {require}"
                )
            })
            .boxed(),
    }
}

/// A document that is right: defaults, a template, a group, and checks that use them or not.
fn document() -> impl Strategy<Value = String> {
    let kind = prop_oneof![
        lines("icmp"),
        lines("udp"),
        lines("tcp"),
        lines("http"),
        lines("dns"),
        lines("radius"),
        lines("radius_status"),
        lines("dialogue"),
    ];
    let target = prop_oneof![
        Just("'192.0.2.1'"),
        Just("['192.0.2.1', '2001:db8::1']"),
        Just("'192.0.2.0/29'\nexclude = ['192.0.2.2']"),
        Just("'www.example.com'"),
        Just(
            "['a.example', '192.0.2.1', 'B.example']\nresolve = 'any'\nexclude = ['192.0.2.0/30', '10.0.0.1:80']"
        ),
    ];
    let port = prop_oneof![Just("80"), Just("'80-81'"), Just("[80, '90-91']")];
    let place = prop_oneof![
        Just(""),
        Just("mark = 7\n"),
        Just("mode = 'dsr'\nmark = 4294967295\nbackend = '10.0.0.1'\n"),
    ];
    let base = prop_oneof![Just(""), Just("group = 'g'\n"), Just("extends = 't'\n")];
    let labels =
        any::<String>().prop_map(|label| format!("labels = {{ a = {} }}\n", toml::Value::from(label)));
    let interval = 10_000_000_u64..86_400_000_000_000;
    let timing = prop_oneof![
        Just(""),
        Just("fall = 3\nrise = 4294967295\n"),
        Just("fast_interval = '10ms'\ndown_interval = '1h 1ms'\njitter = '7%'\n"),
        Just("jitter = '3ms'\nstart_delay = '1day'\n"),
    ];
    let check = (kind, target, port, place, base, labels, (interval, timing));
    proptest::collection::vec(check, 0..5).prop_map(|checks| {
        let mut text = "[defaults]\ntimeout = '1500ms'\n[template.t]\nretries = 7\n[group.g]\nextends = 't'\n".to_owned();
        for (index, (kind, target, port, place, base, labels, (interval, timing))) in checks.into_iter().enumerate() {
            text.push_str(&format!(
                "[[check]]\nname = 'c{index}'\ninterval = '{interval}ns'\ntarget = {target}\nport = {port}\n{place}{base}{timing}{labels}{kind}\n"
            ));
        }
        text
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        holds("a.toml", &bytes);
        holds("a.pb", &bytes);
    }

    /// A piece of a good file is removed, doubled, or replaced by any bytes.
    #[test]
    fn mutated_files(
        seed in 0_usize..4,
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        piece in prop_oneof![Just(Vec::new()), proptest::collection::vec(any::<u8>(), 1..9)],
        doubled in any::<bool>(),
    ) {
        let (name, mut bytes) = seeds().swap_remove(seed);
        let start = at.index(bytes.len());
        let end = (start + length).min(bytes.len());
        let piece = if doubled { [&bytes[start..end], &bytes[start..end]].concat() } else { piece };
        bytes.splice(start..end, piece);
        holds(name, &bytes);
    }

    #[test]
    fn a_valid_document_printed_and_read_again_gives_the_same_checks(text in document()) {
        let first = read("a.toml", &*text);
        prop_assert!(first.is_ok(), "{}\n{text}", first.unwrap_err());
        let first = first.unwrap();
        prop_assert!(print(&first).is_ok());
        prints_and_reads_back(&first);
    }
}

/// What the property above has no keys for.
#[test]
fn host_names_with_sources_and_names_of_tls_are_printed() {
    let text = "[[check]]\nname = 'a'\ntarget = 'www.example.com:443'\nresolve = 'any'\n\
                source = ['192.0.2.8', '2001:db8::8']\ntcp.tls.sni = 'b.example'\n\
                [[check]]\nname = 'b'\ntarget = 'www.example.com:443'\nsource = '192.0.2.8'\nredis = { tls = true }\n";
    let first = read("a.toml", text).unwrap();
    assert!(print(&first).is_ok());
    prints_and_reads_back(&first);
}

#[test]
fn a_cluster_becomes_a_file_of_its_own() {
    for (name, bytes) in seeds().into_iter().skip(1) {
        let first = read(name, bytes).unwrap();
        assert!(print(&first).is_ok());
        prints_and_reads_back(&first);
    }
}
