use hc_testkit::dns::{DnsMessage, wire_name};
use hc_types::{DnsExpectation, RawBytes};
use proptest::prelude::*;

use super::*;

/// A pass with this answer.
fn answered(text: impl AsRef<str>) -> Outcome {
    let text = text.as_ref();
    let answer = text.parse().map_or_else(|_| DnsAnswer::Text(text.into()), DnsAnswer::Address);
    Pass::dns(answer).into()
}

const ID: u16 = 0x1234;
const A: u16 = 1;
const MX: u16 = 15;
const AAAA: u16 = 28;
const IP: [u8; 4] = [192, 0, 2, 1];

fn question(name: &str, kind: &str, expect: DnsExpectation) -> Question {
    let probe = DnsProbe {
        query: name.into(),
        query_type: kind.parse().unwrap(),
        query_class: RecordClass::IN,
        expect,
        options: None,
    };
    Question::new(&probe, 7).unwrap()
}

/// `www.example.com A`, expecting 192.0.2.1.
fn www() -> Question {
    question("www.example.com", "A", DnsExpectation::Ips([IP.into()].into()))
}

fn reply(question: &Question) -> DnsMessage {
    DnsMessage::reply_to(&question.encode(ID))
}

#[track_caller]
fn verdict(question: &Question, reply: &DnsMessage, expected: impl Into<Outcome>) {
    assert_eq!(question.judge(ID, &reply.build()), Judgement::Verdict(expected.into()));
}

fn wrong(text: &str) -> Failure {
    Failure::WrongAnswer(text.into())
}

#[test]
fn a_question_is_one_message_of_rfc_1035() {
    let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03WwW\x07example\x00\x00\x1c\x00\x03";
    let probe = DnsProbe {
        query: "WwW.example".into(),
        query_type: RecordType::AAAA,
        query_class: RecordClass(3),
        expect: DnsExpectation::Any,
        options: None,
    };
    assert_eq!(Question::new(&probe, 7).unwrap().encode(ID), expected);
    let root = question(".", "NS", DnsExpectation::Any).encode(7);
    assert_eq!(root, b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01");
}

#[test]
fn a_question_that_cannot_be_asked_says_why() {
    let new = |name: &str, expect| {
        let (query_type, query_class) = (RecordType(MX), RecordClass::IN);
        let error = Question::new(
            &DnsProbe { query: name.into(), query_type, query_class, expect, options: None },
            7,
        )
        .unwrap_err();
        error.to_string()
    };
    assert_eq!(new("a..b", DnsExpectation::Any), "the name \"a..b\" has an empty label");
    let text = DnsExpectation::Text("mail".into());
    assert_eq!(new("a", text), "expected answer \"mail\" is not \"preference name\"");
}

#[test]
fn an_address_passes_at_any_place_and_in_any_case() {
    let www = www();
    let pass = answered("192.0.2.1");
    verdict(&www, &reply(&www).answer("www.example.com", A, &IP), pass.clone());
    verdict(&www, &reply(&www).answer("WWW.Example.COM", A, &IP), pass.clone());
    let later = reply(&www).answer("www.example.com", A, &[10, 0, 0, 1]).answer("www.example.com", A, &IP);
    verdict(&www, &later, pass.clone());
    let asked_loudly = reply(&www).question("WWW.EXAMPLE.COM", A, 1).answer("www.example.com", A, &IP);
    verdict(&www, &asked_loudly, pass);
    let any = question("www.example.com", "A", DnsExpectation::Any);
    verdict(&any, &reply(&any).answer("www.example.com", A, &[10, 0, 0, 1]), answered("10.0.0.1"));
}

#[test]
fn ipv6_addresses_are_compared_as_they_are() {
    let mapped: std::net::Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
    let aaaa = question("h.example", "AAAA", DnsExpectation::Ips([mapped.into()].into()));
    let good = reply(&aaaa).answer("h.example", AAAA, &mapped.octets());
    verdict(&aaaa, &good, answered("::ffff:192.0.2.1"));
}

#[test]
fn a_wrong_answer_is_named() {
    let www = www();
    verdict(&www, &reply(&www), wrong("no answers received"));
    let other = reply(&www).answer("www.example.com", A, &[10, 0, 0, 1]);
    verdict(&www, &other, wrong("failed to match answer: got 10.0.0.1"));
    let many = (0..9).fold(reply(&www), |r, n| r.answer("www.example.com", A, &[10, 0, 0, n]));
    verdict(&www, &many, wrong("failed to match answer: got 10.0.0.0, 10.0.0.1, 10.0.0.2, …"));
    let other_name = reply(&www).answer("example.com", A, &IP);
    verdict(&www, &other_name, wrong("none of 1 answers is a A record of www.example.com."));
    let other_type = reply(&www).answer("www.example.com", MX, b"\x00\x0a\x00");
    verdict(&www, &other_type, wrong("none of 1 answers is a A record of www.example.com."));
    let other_class = reply(&www).record(0, "www.example.com", A, 3, &IP);
    verdict(&www, &other_class, wrong("none of 1 answers is a A record of www.example.com."));
    let elsewhere =
        reply(&www).record(1, "www.example.com", A, 1, &IP).record(2, "www.example.com", A, 1, &IP);
    verdict(&www, &elsewhere, wrong("no answers received"));
}

#[test]
fn aliases_are_followed() {
    let www = www();
    let pass = answered("192.0.2.1");
    let alias = |r: DnsMessage, from: &str, to: &str| r.answer(from, 5, &wire_name(to));
    let chain = alias(alias(reply(&www), "www.example.com", "b.example"), "B.example", "c.example");
    verdict(&www, &chain.clone().answer("c.example", A, &IP), pass.clone());
    // The order of records means nothing.
    let backwards = reply(&www).answer("c.example", A, &IP);
    let backwards = alias(alias(backwards, "b.example", "c.example"), "www.example.com", "b.example");
    verdict(&www, &backwards, pass);
    verdict(&www, &chain.clone(), wrong("none of 2 answers is a A record of c.example."));
    verdict(&www, &chain.answer("d.example", A, &IP), wrong("none of 3 answers is a A record of c.example."));
    let round = alias(alias(reply(&www), "www.example.com", "b.example"), "b.example", "www.example.com");
    verdict(&www, &round, wrong("none of 2 answers is a A record of b.example."));
}

#[test]
fn the_chain_of_aliases_has_an_end() {
    let chain = |hops: usize| {
        let q = question("n0.example", "A", DnsExpectation::Any);
        let links = (0..hops).fold(reply(&q), |r, n| {
            r.answer(&format!("n{n}.example"), 5, &wire_name(&format!("n{}.example", n + 1)))
        });
        let judged = q.judge(ID, &links.answer(&format!("n{hops}.example"), A, &IP).build());
        matches!(judged, Judgement::Verdict(Outcome::Pass(_)))
    };
    assert!(chain(MAX_CHAIN));
    assert!(!chain(MAX_CHAIN + 1));
}

#[test]
fn an_alias_that_is_asked_for_is_the_answer() {
    let q = question("www.example.com", "CNAME", DnsExpectation::Text("B.example".into()));
    let good = reply(&q).answer("www.example.com", 5, &wire_name("b.example"));
    verdict(&q, &good, answered("b.example."));
    let next = reply(&q).answer("www.example.com", 5, &wire_name("a.example"));
    let next = next.answer("a.example", 5, &wire_name("b.example"));
    verdict(&q, &next, wrong("failed to match answer: got a.example."));
}

#[test]
fn other_types_are_compared_in_words() {
    let q = question("example.com", "MX", DnsExpectation::Text("10 mail.example.com".into()));
    let data = [b"\x00\x0a".as_slice(), &wire_name("Mail.example.com")].concat();
    verdict(&q, &reply(&q).answer("example.com", MX, &data), answered("10 Mail.example.com."));
    let soa = "ns.example.com hostmaster.example.com 1 4294967295 3 4 5";
    let q = question("example.com", "SOA", DnsExpectation::Text(soa.into()));
    let numbers = [1, u32::MAX, 3, 4, 5].map(u32::to_be_bytes).concat();
    let data = [wire_name("ns.example.com"), wire_name("hostmaster.example.com"), numbers].concat();
    let pass = answered("ns.example.com. hostmaster.example.com. 1 4294967295 3 4 5");
    verdict(&q, &reply(&q).answer("example.com", 6, &data), pass);
    let q = question("example.com", "TXT", DnsExpectation::Text("a b".into()));
    verdict(&q, &reply(&q).answer("example.com", 16, b"\x02a \x01b"), answered("\"a \" \"b\""));
    let q = question("_s._tcp.example.com", "SRV", DnsExpectation::Text("1 2 3 h.example".into()));
    let data = [b"\0\x01\0\x02\0\x03".as_slice(), &wire_name("h.example")].concat();
    verdict(&q, &reply(&q).answer("_s._tcp.example.com", 33, &data), answered("1 2 3 h.example."));
    let q = question("example.com", "TYPE65", DnsExpectation::Text("\\# 3 000100".into()));
    verdict(&q, &reply(&q).answer("example.com", 65, &[0, 1, 0]), answered("\\# 3 000100"));
    let q = question("example.com", "ANY", DnsExpectation::Any);
    verdict(&q, &reply(&q).answer("example.com", A, &IP), answered("192.0.2.1"));
}

#[test]
fn long_answers_are_cut_in_the_text() {
    let q = question("example.com", "TXT", DnsExpectation::Any);
    let long = [&[255], [b'x'; 255].as_slice()].concat().repeat(200);
    let told = format!("\"{}…", "x".repeat(255));
    verdict(&q, &reply(&q).answer("example.com", 16, &long), answered(told));
}

#[test]
fn every_response_code_is_told() {
    let www = www();
    for code in 1..=15 {
        let failure = Failure::DnsRcode(code.into());
        let failed = reply(&www).rcode(code).answer("www.example.com", A, &IP);
        verdict(&www, &failed, failure.clone());
        verdict(&www, &reply(&www).rcode(code).no_question(), failure.clone());
        verdict(&www, &reply(&www).rcode(code).truncated(), failure);
    }
}

#[test]
fn what_answers_another_question_is_ignored() {
    let www = www();
    let good = || reply(&www).answer("www.example.com", A, &IP);
    let strays = [
        (good().wrong_id(), Stray::OtherId),
        (good().question("example.com", A, 1), Stray::OtherQuestion),
        (good().question("www.example.com", AAAA, 1), Stray::OtherQuestion),
        (good().question("www.example.com", A, 3), Stray::OtherQuestion),
        (good().no_question(), Stray::OtherQuestion),
        (good().rcode(3).question("example.com", A, 1), Stray::OtherQuestion),
    ];
    for (reply, stray) in strays {
        assert_eq!(www.judge(ID, &reply.build()), Judgement::Ignore(stray), "{reply:?}");
    }
    assert_eq!(www.judge(ID, b""), Judgement::Ignore(Stray::Short));
    assert_eq!(www.judge(ID, b"\x12"), Judgement::Ignore(Stray::Short));
}

#[test]
fn a_truncated_reply_is_to_be_asked_for_again() {
    let www = www();
    let cut = reply(&www).truncated().junk(1, b"\x03www");
    assert_eq!(www.judge(ID, &cut.build()), Judgement::Truncated);
}

#[test]
fn what_breaks_the_format_fails() {
    let www = www();
    let good = reply(&www).answer("www.example.com", A, &IP);
    verdict(&www, &good.clone().not_a_response(), Failure::MalformedReply("not a query response".into()));
    let bytes = good.build();
    // Cut anywhere behind the id it is malformed; no cut may pass.
    for end in 2..bytes.len() {
        let judged = www.judge(ID, &bytes[..end]);
        assert!(
            matches!(judged, Judgement::Verdict(Outcome::Fail(Failure::MalformedReply(_)))),
            "{end}: {judged:?}"
        );
    }
    for broken in [
        reply(&www).answer("www.example.com", A, &IP[..3]),
        reply(&www).answer("www.example.com", A, b"\xc0\x00\x02\x01\x00"),
        reply(&www).junk(7, b""),
        reply(&www).answer("www.example.com", A, &IP).junk(1, b"\xff"),
        reply(&www).answer("www.example.com", 5, b"\xc0\xff"),
        // A name that points at itself.
        reply(&www).junk(1, b"\xc0\x21\x00\x01\x00\x01\0\0\0\0\x00\x04\xc0\x00\x02\x01"),
    ] {
        let judged = www.judge(ID, &broken.build());
        assert!(
            matches!(judged, Judgement::Verdict(Outcome::Fail(Failure::MalformedReply(_)))),
            "{broken:?}: {judged:?}"
        );
    }
    let mut beyond = good.build();
    beyond.extend_from_slice(b"trailing");
    assert_eq!(www.judge(ID, &beyond), Judgement::Verdict(answered("192.0.2.1")));
}

fn any_type() -> impl Strategy<Value = u16> {
    prop_oneof![prop::sample::select(vec![1, 2, 5, 6, 12, 15, 16, 28, 33, 255]), any::<u16>()]
}

proptest! {
    #[test]
    fn any_bytes_are_judged(
        packet in prop::collection::vec(any::<u8>(), 0..300),
        kind in any_type(),
        count in 0..9_u16,
    ) {
        let q = question("www.example.com", &format!("TYPE{kind}"), DnsExpectation::Any);
        let _ = q.judge(ID, &packet);
        // Behind a right header and question, the records are reached.
        let _ = q.judge(ID, &reply(&q).junk(count, &packet).build());
        let _ = q.judge(ID, &reply(&q).answer("www.example.com", kind, &packet).build());
    }

    #[test]
    fn a_reply_with_a_byte_changed_never_passes_for_another_address(at in 2..40_usize, change in 1..=u8::MAX) {
        let www = www();
        let mut bytes = reply(&www).answer("www.example.com", A, &[10, 0, 0, 1]).build();
        let at = at.min(bytes.len() - 5);
        bytes[at] ^= change;
        let passed = matches!(www.judge(ID, &bytes), Judgement::Verdict(Outcome::Pass(_)));
        prop_assert!(!passed);
    }

    #[test]
    fn what_is_answered_is_what_is_told(ip in any::<[u8; 4]>(), text in any::<Vec<u8>>()) {
        let q = question("www.example.com", "A", DnsExpectation::Ips([ip.into()].into()));
        let told = std::net::Ipv4Addr::from(ip).to_string();
        let judged = q.judge(ID, &reply(&q).answer("www.example.com", A, &ip).build());
        prop_assert_eq!(judged, Judgement::Verdict(answered(told)));
        let text = RawBytes::from(text);
        // Each byte takes up to four in the text, which is cut at 256.
        let string = &text.as_slice()[..text.len().min(60)];
        let data = [&[u8::try_from(string.len()).unwrap()], string].concat();
        let any = question("www.example.com", "TXT", DnsExpectation::Any);
        let packet = reply(&any).answer("www.example.com", 16, &data).build();
        let Judgement::Verdict(Outcome::Pass(Pass::Dns(shown))) = any.judge(ID, &packet) else {
            return Err(TestCaseError::fail("did not pass"));
        };
        let again = question("www.example.com", "TXT", DnsExpectation::Text(shown.to_string().into()));
        let passed = matches!(again.judge(ID, &packet), Judgement::Verdict(Outcome::Pass(_)));
        prop_assert!(passed);
    }
}
