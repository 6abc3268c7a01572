//! DNS: names, questions, answers.

use hc_checkers::fuzzing::dns::message::{Judgement, Question};
use hc_checkers::fuzzing::dns::name::{display_name, parse_name};
use hc_types::{
    DnsAnswer, DnsExpectation, DnsOptions, DnsProbe, Failure, Outcome, Pass, Rcode, RecordClass, RecordType,
    Stray,
};

use crate::input::Input;

const TYPES: &[u16] = &[1, 2, 5, 6, 12, 15, 16, 28, 33, 65, 255];
const CLASSES: &[u16] = &[1, 3, 255];

/// A check at rest keeps the text of its latest answer, so it must stay short, whatever came.
const LONGEST_TEXT: usize = 4096;

/// Any text: a name keeps the limits of RFC 1035, and what is printed reads as the same name.
pub fn dns_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(name) = parse_name(text) else { return };
    assert!(name.iter().all(|label| (1..=63).contains(&label.len())));
    assert!(name.iter().map(|label| label.len() + 1).sum::<usize>() < 255);
    let shown = display_name(&name).to_string();
    assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()));
    let again = parse_name(&shown).expect("what is printed is a name");
    assert!(name.iter().eq(again.iter()), "{shown}");
}

/// Any name, type and expected answer: a question that can be asked is encoded as RFC 1035 says,
/// and is known again in what comes back for it.
pub fn dns_question(data: &[u8]) {
    const ID: u16 = 0x1234;

    let mut input = Input::new(data);
    let query_type = RecordType(*input.pick(TYPES));
    let query_class = RecordClass(*input.pick(CLASSES));
    let kind = input.up_to(2);
    let (Ok(query), Ok(text)) = (std::str::from_utf8(input.short()), std::str::from_utf8(input.rest()))
    else {
        return;
    };
    let expect = match kind {
        0 => DnsExpectation::Any,
        1 => DnsExpectation::Ips([[192, 0, 2, 1].into()].into()),
        _ => DnsExpectation::Text(text.into()),
    };
    let probe = DnsProbe { query: query.into(), query_type, query_class, expect, options: None };
    let question = match Question::new(&probe, 7) {
        Ok(question) => question,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let asked = question.encode(ID);
    // Id, flags with "recursion desired", one question and nothing else; its type and its class at
    // the end.
    assert_eq!(asked[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let [.., type_high, type_low, class_high, class_low] = asked[..] else { panic!("no question") };
    assert_eq!(u16::from_be_bytes([type_high, type_low]), query_type.0);
    assert_eq!(u16::from_be_bytes([class_high, class_low]), query_class.0);

    let judged = |flags: [u8; 2]| {
        let mut reply = asked.clone();
        reply[2..4].copy_from_slice(&flags);
        question.judge(ID, &reply)
    };
    assert_eq!(question.judge(ID + 1, &asked), Judgement::Ignore(Stray::OtherId));
    assert_eq!(judged([0x81, 0x83]), Judgement::Verdict(Failure::DnsRcode(3).into()));
    assert_eq!(judged([0x83, 0x80]), Judgement::Truncated);
    assert_eq!(
        judged([0x81, 0x80]),
        Judgement::Verdict(Failure::WrongAnswer("no answers received".into()).into())
    );
    assert!(matches!(judged([1, 0]), Judgement::Verdict(Outcome::Fail(Failure::MalformedReply(_)))));
}

/// Any packet in answer to one of several questions, as a whole and behind a header and a question
/// that are right: it is judged, in few words, and no answer section without records passes.
pub fn dns_answer(data: &[u8]) {
    const EXPECTED: &[(u16, Option<&str>)] = &[
        (1, None),
        (28, None),
        (5, Some("target.example.")),
        (6, Some("a.example. b.example. 1 2 3 4 5")),
        (15, Some("10 mail.example.")),
        (16, Some("v=spf1 -all")),
        (16, Some("\"v=spf1\" \"-all\"")),
        (33, Some("0 5 5060 sip.example.")),
        (65, Some("\\# 2 abcd")),
        (255, None),
    ];

    let mut input = Input::new(data);
    let (number, text) = *input.pick(EXPECTED);
    let expect = match (text, input.flag()) {
        (Some(text), true) => DnsExpectation::Text(text.into()),
        (None, true) => {
            DnsExpectation::Ips(["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().expect("an address")).into())
        }
        _ => DnsExpectation::Any,
    };
    let query_class = RecordClass(*input.pick(CLASSES));
    let probe = DnsProbe {
        query: "www.example".into(),
        query_type: RecordType(number),
        query_class,
        expect,
        options: None,
    };
    let question = Question::new(&probe, 7).expect("a good question");
    let id = 0x1234;
    check_judgement(&question, id, &[&[0x12, 0x34], data].concat());

    let counts: [u8; 3] = input.array();
    let [answers, authorities, additionals] = counts.map(|count| count % 8);
    let mut packet = question.encode(id);
    packet[2..4].copy_from_slice(&[0x81, 0x80]);
    packet[6..12].copy_from_slice(&[0, answers, 0, authorities, 0, additionals]);
    packet.extend_from_slice(input.rest());
    check_judgement(&question, id, &packet);
    check_expected_codes(&packet);
}

/// With EDNS and every response code but one expected: that code, the upper bits of OPT included,
/// is the only one that fails, and none but NOERROR needs an answer.
fn check_expected_codes(packet: &[u8]) {
    let options = DnsOptions {
        edns_payload: Some(1232),
        expected_rcodes: (0..=Rcode::MAX).filter(|code| *code != 2).map(Rcode).collect(),
        ..DnsOptions::default()
    };
    let probe = DnsProbe {
        query: "www.example".into(),
        query_type: RecordType::A,
        query_class: RecordClass::IN,
        expect: DnsExpectation::Any,
        options: Some(Box::new(options)),
    };
    let question = Question::new(&probe, 7).expect("a good question");
    match question.judge(0x1234, packet) {
        Judgement::Verdict(Outcome::Fail(Failure::DnsRcode(code))) => assert_eq!(code, 2),
        Judgement::Verdict(Outcome::Pass(Pass::Dns(answer))) => {
            if let DnsAnswer::Rcode(code) = *answer {
                assert!(code != Rcode::NOERROR && code.0 & 0xf == u16::from(packet[3] & 0xf));
            }
        }
        _ => {}
    }
}

fn check_judgement(question: &Question, id: u16, packet: &[u8]) {
    let judgement = question.judge(id, packet);
    assert_eq!(judgement, question.judge(id, packet));
    assert_ne!(judgement, Judgement::Ignore(Stray::OtherId));
    match judgement {
        Judgement::Verdict(Outcome::Pass(pass)) => {
            assert!(
                packet.len() > 12 && packet[2] & 0x80 != 0 && packet[3] & 0xf == 0 && packet[6..8] != [0, 0]
            );
            assert!(pass.to_string().len() < LONGEST_TEXT + "received answer ".len());
        }
        Judgement::Verdict(Outcome::Fail(Failure::WrongAnswer(text) | Failure::MalformedReply(text))) => {
            assert!(!text.is_empty() && text.len() < LONGEST_TEXT);
            assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
        }
        Judgement::Verdict(Outcome::Fail(Failure::DnsRcode(code))) => assert_ne!(code, 0),
        Judgement::Verdict(other) => panic!("no verdict on DNS: {other:?}"),
        Judgement::Ignore(_) | Judgement::Truncated => {}
    }
}
