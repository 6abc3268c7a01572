//! DNS.

use std::sync::Arc;

use hc_testkit::dns::{DnsMessage, DnsTransport, framed, wire_name};
use serde_json::{Value, json};

use super::{routeless_host, silent_host};
use crate::case::Case;
use crate::serve::Server;

/// What is asked for.
pub(crate) const NAME: &str = "www.example.com";

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const RIGHT: [u8; 4] = [192, 0, 2, 1];
const WRONG: [u8; 4] = [192, 0, 2, 2];

/// A check for an A record of [`NAME`].
pub(crate) fn expecting(ip: &str) -> Value {
    json!({"checker_type": "dns", "query": NAME, "query_type": "A", "expected_ips": [ip]})
}

/// The replies to a query over UDP. Over TCP the same, as one stream.
fn server(replies: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Server {
    Server::Dns(Arc::new(move |transport, query| {
        let replies = replies(query);
        match transport {
            DnsTransport::Udp => replies,
            DnsTransport::Tcp => replies.iter().map(|reply| framed(reply)).collect(),
        }
    }))
}

fn case(name: &str, reply: impl Fn(DnsMessage) -> DnsMessage + Send + Sync + 'static) -> Case {
    let server = server(move |query| vec![reply(DnsMessage::reply_to(query)).build()]);
    Case::new(format!("dns/{name}"), server, expecting("192.0.2.1"))
}

/// A case whose check differs from the usual one in these fields.
fn asking(
    name: &str,
    fields: Value,
    reply: impl Fn(DnsMessage) -> DnsMessage + Send + Sync + 'static,
) -> Case {
    let mut case = case(name, reply);
    if let (Value::Object(all), Value::Object(own)) = (&mut case.check, fields) {
        all.extend(own);
    }
    case
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = answers();
    cases.extend(questions());
    cases.extend(forgeries());
    cases.extend(broken());
    for code in 1..16 {
        cases.push(case(&format!("rcode/{code}"), move |r| r.rcode(code)));
        cases
            .push(case(&format!("rcode/{code}-with-answer"), move |r| r.rcode(code).answer(NAME, A, &RIGHT)));
        cases.push(case(&format!("rcode/{code}-without-question"), move |r| r.rcode(code).no_question()));
    }
    cases
}

fn answers() -> Vec<Case> {
    let v6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mapped: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
    let aaaa = |ip: &str| json!({"query_type": "AAAA", "expected_ips": [ip]});
    vec![
        case("right", |r| r.answer(NAME, A, &RIGHT)),
        case("wrong", |r| r.answer(NAME, A, &WRONG)),
        case("right-behind-wrong", |r| r.answer(NAME, A, &WRONG).answer(NAME, A, &RIGHT)),
        case("no-answers", |r| r),
        case("in-authority-alone", |r| r.record(1, NAME, A, 1, &RIGHT)),
        case("in-additional-alone", |r| r.record(2, NAME, A, 1, &RIGHT)),
        case("other-name", |r| r.answer("other.example.com", A, &RIGHT)),
        case("parent-name", |r| r.answer("example.com", A, &RIGHT)),
        case("other-case", |r| r.answer("WWW.example.com", A, &RIGHT)),
        case("other-class", |r| r.record(0, NAME, A, 3, &RIGHT)),
        case("other-type", |r| r.answer(NAME, 16, b"\x04text")),
        case("unknown-type", |r| r.answer(NAME, 65_280, b"\x01\x02")),
        case("unknown-type-first", |r| r.answer(NAME, 65_280, b"\x01\x02").answer(NAME, A, &RIGHT)),
        case("cname", |r| r.answer(NAME, CNAME, &wire_name("a.test")).answer("a.test", A, &RIGHT)),
        case("cname-chain", |r| {
            r.answer(NAME, CNAME, &wire_name("a.test"))
                .answer("a.test", CNAME, &wire_name("b.test"))
                .answer("b.test", A, &RIGHT)
        }),
        case("cname-backwards", |r| r.answer("a.test", A, &RIGHT).answer(NAME, CNAME, &wire_name("a.test"))),
        case("cname-to-nowhere", |r| r.answer(NAME, CNAME, &wire_name("a.test"))),
        case("cname-loop", |r| {
            r.answer(NAME, CNAME, &wire_name("a.test")).answer("a.test", CNAME, &wire_name(NAME))
        }),
        case("cname-wrong", |r| r.answer(NAME, CNAME, &wire_name("a.test")).answer("a.test", A, &WRONG)),
        case("answer-points-at-question", |r| {
            r.junk(1, &[&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4][..], &RIGHT].concat())
        }),
        asking("aaaa", aaaa("2001:db8::1"), move |r| r.answer(NAME, AAAA, &v6)),
        asking("aaaa-wrong", aaaa("2001:db8::2"), move |r| r.answer(NAME, AAAA, &v6)),
        asking("aaaa-asked-a-came", aaaa("2001:db8::1"), |r| r.answer(NAME, A, &RIGHT)),
        asking("aaaa-mapped", aaaa("192.0.2.1"), move |r| r.answer(NAME, AAAA, &mapped)),
        asking("a-mapped", json!({"expected_ips": ["::ffff:192.0.2.1"]}), |r| r.answer(NAME, A, &RIGHT)),
        asking("a-asked-aaaa-came", json!({}), move |r| r.answer(NAME, AAAA, &v6)),
        case("over-512-bytes", |r| many(r, 40)),
        case("just-512-bytes", |r| exactly(r, 512)),
        case("513-bytes", |r| exactly(r, 513)),
        case("over-4096-bytes", |r| many(r, 200)),
    ]
}

/// Many answers, the right one last.
fn many(reply: DnsMessage, count: u8) -> DnsMessage {
    let wrong = |reply: DnsMessage, n| reply.answer(NAME, A, &[198, 51, 100, n]);
    (0..count).fold(reply, wrong).answer(NAME, A, &RIGHT)
}

/// The right answer, and text behind it until the message has so many bytes.
fn exactly(reply: DnsMessage, length: usize) -> DnsMessage {
    let reply = reply.answer(NAME, A, &RIGHT);
    let empty = reply.clone().answer(NAME, 65_280, &[]).build().len();
    reply.answer(NAME, 65_280, &vec![0; length.saturating_sub(empty)])
}

fn questions() -> Vec<Case> {
    let right = |name: &'static str| move |r: DnsMessage| r.answer(name, A, &RIGHT);
    let label = "a".repeat(63);
    let longest = [&*label; 3].join(".") + "." + &"b".repeat(61);
    let mut cases = vec![
        asking("dot", json!({"query": "www.example.com."}), right(NAME)),
        asking("upper-case", json!({"query": "WWW.EXAMPLE.COM"}), right("WWW.EXAMPLE.COM")),
        asking("upper-case-answered-in-lower", json!({"query": "WWW.EXAMPLE.COM"}), right(NAME)),
        asking("one-label", json!({"query": "localhost"}), right("localhost")),
        asking("root", json!({"query": "."}), right("")),
        asking("empty", json!({"query": ""}), right("")),
        asking("underscores", json!({"query": "_x._y.example.com"}), right("_x._y.example.com")),
        asking("star", json!({"query": "*.example.com"}), right("*.example.com")),
        asking("space", json!({"query": "a b.example.com"}), right("a b.example.com")),
        asking("two-dots", json!({"query": "a..b"}), right("a.b")),
        asking("first-dot", json!({"query": ".a"}), right("a")),
        asking("escaped-dot", json!({"query": "a\\.b.example.com"}), |r| {
            r.junk(
                1,
                &[b"\x03a.b\x07example\x03com\x00", &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4][..], &RIGHT].concat(),
            )
        }),
        asking("escaped-number", json!({"query": "a\\046b.example.com"}), |r| {
            r.junk(
                1,
                &[b"\x03a.b\x07example\x03com\x00", &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4][..], &RIGHT].concat(),
            )
        }),
        asking("label-of-64", json!({"query": "a".repeat(64)}), right(NAME)),
        asking("not-ascii", json!({"query": "b\u{fc}cher.example"}), right("b\u{fc}cher.example")),
        asking("chaos", json!({"query_class": "CH"}), |r| r.record(0, NAME, A, 3, &RIGHT)),
    ];
    let too_long = format!("{longest}bb");
    // Its name in the answer points at the question, so that all of it fits into 512 bytes.
    let compressed = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4][..], &RIGHT].concat();
    cases.push(asking("longest", json!({"query": longest}), move |r| r.junk(1, &compressed)));
    cases.push(asking("too-long", json!({"query": too_long}), right(NAME)));
    for (word, number, text, data) in [
        ("mx", 15, "10 mail.example.com", [&[0, 10][..], &wire_name("mail.example.com")].concat()),
        ("ns", 2, "ns.example.com", wire_name("ns.example.com")),
        ("ptr", 12, "host.example.com", wire_name("host.example.com")),
        ("txt", 16, "text", b"\x04text".to_vec()),
        ("cname", 5, "a.test", wire_name("a.test")),
        (
            "srv",
            33,
            "1 2 443 h.example.com",
            [&[0, 1, 0, 2, 1, 0xbb][..], &wire_name("h.example.com")].concat(),
        ),
    ] {
        let check = |answer: &str| {
            json!({
                "checker_type": "dns", "query": NAME, "query_type": word.to_uppercase(), "expected_answer": answer,
            })
        };
        for (kind, answer) in [
            ("right", text),
            (
                "wrong",
                if word == "mx" {
                    "20 x"
                } else if word == "srv" {
                    "1 2 3 x"
                } else {
                    "x"
                },
            ),
        ] {
            let data = data.clone();
            let server =
                server(move |query| vec![DnsMessage::reply_to(query).answer(NAME, number, &data).build()]);
            cases.push(Case::new(format!("dns/type/{word}-{kind}"), server, check(answer)));
        }
    }
    cases
}

fn forgeries() -> Vec<Case> {
    let twice = |name: &str, first: fn(DnsMessage) -> DnsMessage, second: fn(DnsMessage) -> DnsMessage| {
        let replies = move |query: &[u8]| {
            [first, second].map(|reply| reply(DnsMessage::reply_to(query)).build()).to_vec()
        };
        Case::new(format!("dns/{name}"), server(replies), expecting("192.0.2.1"))
    };
    let right = |r: DnsMessage| r.answer(NAME, A, &RIGHT);
    vec![
        case("wrong-id", move |r| right(r).wrong_id()).without_end(),
        case("wrong-question-name", move |r| right(r).question("other.example.com", A, 1)).without_end(),
        case("wrong-question-type", move |r| right(r).question(NAME, AAAA, 1)).without_end(),
        case("wrong-question-class", move |r| right(r).question(NAME, A, 3)).without_end(),
        case("question-in-other-case", move |r| right(r).question("WWW.EXAMPLE.COM", A, 1)),
        case("no-question", move |r| right(r).no_question()).without_end(),
        twice("late-one-first", |r| r.wrong_id().answer(NAME, A, &WRONG), |r| r.answer(NAME, A, &RIGHT)),
        twice("forged-one-first", |r| r.wrong_id().answer(NAME, A, &RIGHT), |r| r.answer(NAME, A, &WRONG)),
        twice("wrong-one-first", |r| r.answer(NAME, A, &WRONG), |r| r.answer(NAME, A, &RIGHT)),
        twice("right-one-first", |r| r.answer(NAME, A, &RIGHT), |r| r.answer(NAME, A, &WRONG)),
        case("not-a-response", move |r| right(r).not_a_response()),
        case("truncated-everywhere", move |r| right(r).truncated()),
        Case::new(
            "dns/truncated-then-right",
            over_both(|r| r.truncated(), |r| r.answer(NAME, A, &RIGHT)),
            expecting("192.0.2.1"),
        ),
        Case::new(
            "dns/truncated-then-wrong",
            over_both(|r| r.truncated().answer(NAME, A, &RIGHT), |r| r.answer(NAME, A, &WRONG)),
            expecting("192.0.2.1"),
        ),
        Case::new(
            "dns/truncated-udp-alone",
            Server::datagrams(|query| {
                vec![DnsMessage::reply_to(query).truncated().answer(NAME, A, &RIGHT).build()]
            }),
            expecting("192.0.2.1"),
        ),
    ]
}

fn over_both(udp: fn(DnsMessage) -> DnsMessage, tcp: fn(DnsMessage) -> DnsMessage) -> Server {
    Server::Dns(Arc::new(move |transport, query| match transport {
        DnsTransport::Udp => vec![udp(DnsMessage::reply_to(query)).build()],
        DnsTransport::Tcp => vec![framed(&tcp(DnsMessage::reply_to(query)).build())],
    }))
}

fn broken() -> Vec<Case> {
    let raw = |name: &str, reply: fn(&[u8]) -> Vec<u8>| {
        Case::new(
            format!("dns/broken/{name}"),
            Server::datagrams(move |query| vec![reply(query)]),
            expecting("192.0.2.1"),
        )
    };
    vec![
        raw("empty", |_| Vec::new()).without_end(),
        raw("one-byte", |_| vec![1]).without_end(),
        raw("id-alone", |query| query[..2].to_vec()),
        raw("half-a-header", |query| [&query[..2], &[0x81, 0x80, 0]].concat()),
        raw("header-alone", |query| [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat()),
        raw("text", |_| b"not DNS at all, but long enough for it".to_vec()).without_end(),
        raw("the-query-itself", <[u8]>::to_vec),
        case("broken/count-too-high", |r| r.junk(2, &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1])),
        case("broken/right-then-nothing", |r| r.answer(NAME, A, &RIGHT).junk(1, &[])),
        case("broken/count-too-low", |r| r.answer(NAME, A, &RIGHT).junk(0, &[0xc0, 12, 0, 1])),
        case("broken/data-cut", |r| r.junk(1, &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0])),
        case("broken/a-of-three-bytes", |r| r.answer(NAME, A, &RIGHT[..3])),
        case("broken/a-of-five-bytes", |r| r.answer(NAME, A, &[192, 0, 2, 1, 0])),
        case("broken/a-of-no-bytes", |r| r.answer(NAME, A, &[])),
        case("broken/a-of-no-bytes-then-right", |r| r.answer(NAME, A, &[]).answer(NAME, A, &RIGHT)),
        case("broken/pointer-to-itself", |r| {
            r.junk(1, &[0xc0, 33, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1])
        }),
        case("broken/pointer-beyond", |r| {
            r.junk(1, &[0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1])
        }),
        case("broken/odd-label", |r| r.junk(1, &[0x80, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1])),
        case("broken/trailing-bytes", |r| r.answer(NAME, A, &RIGHT).junk(0, b"trailing")),
        case("broken/other-record-behind", |r| r.answer(NAME, A, &RIGHT).answer(NAME, 15, &[0])),
        case("broken/cname-behind", |r| r.answer(NAME, A, &RIGHT).answer("x.test", CNAME, &[0x80])),
        Case::new("dns/refused", Server::RefusingDatagrams, expecting("192.0.2.1")),
        Case::new("dns/silence", Server::datagrams(|_| Vec::new()), expecting("192.0.2.1")).without_end(),
        Case::new("dns/silent-host", Server::Elsewhere(silent_host, 53), expecting("192.0.2.1"))
            .without_end(),
        Case::new("dns/no-route", Server::Elsewhere(routeless_host, 53), expecting("192.0.2.1")),
    ]
}
