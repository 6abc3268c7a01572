//! Dialogues with peers that answer as they should, and with those that do not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hc_checkers::{CheckersConfig, ProbeMemory, Roots, probe_dialogue};
use hc_testkit::backend::Backend;
use hc_testkit::certificate::{Authority, Wish};
use hc_testkit::port::ClosedPort;
use hc_testkit::script::{Ended, Step};
use hc_types::{
    CheckSpec, Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, Failure,
    LdapDialogue, LocalFault, MysqlDialogue, Outcome, PostgresqlDialogue, ProbeSpec, RedisDialogue,
    SmtpDialogue, StreamPattern, Target, Timing, Tls,
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PLENTY: Duration = Duration::from_secs(20);
/// Short enough to wait for in vain, where it does not matter how far the dialogue comes.
const SOON: Duration = Duration::from_millis(200);
/// Long enough for the steps before, on a busy machine.
const LATER: Duration = Duration::from_secs(2);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn send(bytes: &str) -> DialogueStep {
    DialogueStep::Send(bytes.into())
}

fn expect(bytes: &str) -> DialogueExpectation {
    DialogueExpectation::new(ExpectedBytes::Begin(bytes.into()))
}

fn contains(bytes: &str) -> DialogueExpectation {
    DialogueExpectation::new(ExpectedBytes::Contain(bytes.into()))
}

fn regex(text: &str) -> DialogueExpectation {
    DialogueExpectation::new(ExpectedBytes::Pattern(StreamPattern::new(text).unwrap()))
}

fn line(expectation: DialogueExpectation) -> DialogueStep {
    DialogueStep::Expect(DialogueExpectation { rest_of_line: true, ..expectation })
}

fn within(limit: u32, expectation: DialogueExpectation) -> DialogueStep {
    DialogueStep::Expect(DialogueExpectation { limit, ..expectation })
}

fn steps(steps: &[DialogueStep]) -> Dialogue {
    Dialogue::Steps(steps.into())
}

/// Label and text of a probe, without its subject.
fn found(port: u16, dialogue: &Dialogue, timeout: Duration, config: &CheckersConfig) -> String {
    let tls = (dialogue.begins_tls() && matches!(dialogue, Dialogue::Steps(_))).then_some(Tls::new(true));
    let probe = DialogueProbe { tls, dialogue: dialogue.clone() };
    let target = Target::plain(HERE, port);
    let outcome = block_on(probe_dialogue(&probe, &target, timeout, config));
    let timing = Timing::default().timeout(timeout);
    let spec = CheckSpec::new(target, ProbeSpec::Dialogue(Box::new(probe)), timing).unwrap();
    let text = spec.text(&outcome);
    let cause = text.split_once("; ").map_or("", |(_, cause)| cause);
    format!("{}: {cause}", outcome.label())
}

#[track_caller]
fn check(dialogue: &Dialogue, script: &[Step], expected: &str) -> Backend {
    let backend = Backend::start(HERE, script.to_vec()).unwrap();
    let timeout = if expected.contains("timed out") { LATER } else { PLENTY };
    let found = found(backend.address().port(), dialogue, timeout, &CheckersConfig::default());
    assert_eq!(found, expected, "{script:?}");
    backend
}

fn drip(bytes: &str) -> Step {
    Step::Drip { bytes: bytes.into(), pause_ms: 1 }
}

#[test]
fn steps_use_up_what_matches() {
    let dialogue = steps(&[
        line(expect("220 ")),
        send("EHLO hc\r\n"),
        DialogueStep::Expect(regex("^(250-[^\n]*\n)*250 [^\n]*\n")),
        send("NOOP\r\n"),
        DialogueStep::Expect(contains("OK")),
        DialogueStep::Expect(expect(" and more\r\n")),
        line(expect("")),
        DialogueStep::Expect(expect("end")),
    ]);
    let script = |piece: fn(&str) -> Step| {
        vec![
            piece("220 mail\r\n"),
            Step::Read(9),
            piece("250-one\r\n250 two\r\n"),
            Step::Read(6),
            piece("250 2.0.0 OK and more\r\nany line\r\nend and what nobody reads"),
            Step::Hang,
        ]
    };
    let backend = check(&dialogue, &script(|text| Step::send(text)), "pass: ");
    assert_eq!(backend.wait_for(|seen| seen[0].over)[0].received, b"EHLO hc\r\nNOOP\r\n");
    check(&dialogue, &script(drip), "pass: ");
}

#[test]
fn a_failure_names_its_step_and_the_bytes() {
    let dialogue = steps(&[line(expect("220 ")), send("QUIT\r\n"), DialogueStep::Expect(expect("221 "))]);
    let greeting = Step::send("220 mail\r\n");
    check(
        &dialogue,
        &[Step::send("554 go away\r\n"), Step::Hang],
        r#"body_mismatch: step 1 (expect "220 "): unexpected response - "554 go away\r\n""#,
    );
    check(
        &dialogue,
        &[greeting.clone(), Step::Read(6), Step::send("500 what\r\n"), Step::Hang],
        r#"body_mismatch: step 3 (expect "221 "): unexpected response - "500 what\r\n""#,
    );
    check(
        &dialogue,
        &[greeting.clone(), Step::Read(6), Step::send("22")],
        r#"closed: step 3 (expect "221 "): connection closed after 2 bytes of the answer: "22""#,
    );
    check(&dialogue, &[], r#"closed: step 1 (expect "220 "): connection closed before any answer"#);
    check(
        &dialogue,
        &[greeting.clone(), Step::Read(6), Step::Reset],
        r#"reset: step 3 (expect "221 "): connection reset by peer waiting for the response"#,
    );
    check(
        &dialogue,
        &[greeting, Step::Read(6), Step::Hang],
        r#"timeout_response: step 3 (expect "221 "): timed out waiting for the response after 2s"#,
    );
    check(
        &dialogue,
        &[Step::send("SSH-2.0-OpenSSH_9.2p1\r\n"), Step::Hang],
        r#"body_mismatch: step 1 (expect "220 "): unexpected response - "SSH-2.0-OpenSSH_9.2p1\r\n"; the peer speaks SSH"#,
    );
    let closed = ClosedPort::reserve(HERE).unwrap();
    let refused = found(closed.address().port(), &dialogue, PLENTY, &CheckersConfig::default());
    assert_eq!(refused, "refused: connection refused");
}

#[test]
fn what_does_not_end_is_bounded() {
    let endless = |bytes: &str| [Step::Repeat(bytes.into())];
    let first = "x".repeat(128);
    let text = |step: &str| format!("body_mismatch: step 1 ({step}): unexpected response - \"{first}\"");
    check(&steps(&[within(300, contains("end"))]), &endless("x"), &text(r#"expect_contains "end""#));
    check(
        &steps(&[within(65_536, regex("end"))]),
        &endless(&"x".repeat(999)),
        &text(r#"expect_regex "end""#),
    );
    check(
        &steps(&[line(expect("x"))]),
        &endless("x"),
        r#"malformed_reply: step 1 (expect "x"): malformed reply: no line end within 4096 bytes"#,
    );
    // One byte a time is no progress either.
    check(
        &steps(&[line(expect("x"))]),
        &[Step::Drip { bytes: "x".repeat(100).into(), pause_ms: 200 }],
        r#"timeout_response: step 1 (expect "x"): timed out waiting for the response after 2s"#,
    );
    // A match just within its limit, and just outside.
    let script = [Step::send("12345end"), Step::Hang];
    check(&steps(&[within(8, contains("end"))]), &script, "pass: ");
    check(
        &steps(&[within(7, contains("end"))]),
        &script,
        r#"body_mismatch: step 1 (expect_contains "end"): unexpected response - "12345end""#,
    );
}

#[test]
fn tls_begins_at_its_step() {
    let dialogue = steps(&[
        line(expect("220 ")),
        DialogueStep::StartTls,
        send("hello"),
        DialogueStep::Expect(expect("inside")),
    ]);
    // What comes before the handshake could be anybody's.
    check(
        &dialogue,
        &[Step::send("220 ready\r\n250 injected\r\n"), Step::Hang],
        "malformed_reply: step 2 (starttls): malformed reply: 14 bytes came before the TLS handshake",
    );
    check(
        &dialogue,
        &[Step::send("220 ready\r\n"), Step::Read(1), Step::send("not TLS"), Step::Hang],
        r#"tls: step 2 (starttls): TLS: first record does not look like a TLS handshake: "not TLS""#,
    );
    check(
        &dialogue,
        &[Step::send("220 ready\r\n"), Step::Read(1), Step::Hang],
        "timeout_tls: step 2 (starttls): timed out in the TLS handshake after 2s",
    );
}

#[test]
fn tls_stands_before_the_first_step_or_not_at_all() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = authority.sign(&Wish::valid_for([HERE])).unwrap();
    let script = vec![Step::Read(2), Step::send("yes"), Step::Hang];
    let backend = Backend::start_tls(HERE, &identity, script).unwrap();
    let mut config = CheckersConfig::default();
    config.roots = Roots::new([authority.certificate()]).0;
    let target = Target::plain(HERE, backend.address().port());
    let dialogue = steps(&[send("hi"), DialogueStep::Expect(expect("yes"))]);
    let probe = DialogueProbe { tls: Some(Tls::new(true)), dialogue };
    assert_eq!(block_on(probe_dialogue(&probe, &target, PLENTY, &config)), Outcome::PASS);
    let seen = backend.wait_for(|seen| seen.iter().all(|seen| seen.ended.is_some()));
    assert_eq!((seen[0].ended, &seen[0].received[..]), (Some(Ended::Closed), &b"hi"[..]));
    // It is no step that fails.
    config.roots = Roots::new([Authority::new("other", 2000, 2100).unwrap().certificate()]).0;
    let outcome = block_on(probe_dialogue(&probe, &target, PLENTY, &config));
    assert!(matches!(outcome, Outcome::Fail(Failure::Tls(_))), "{outcome:?}");
}

#[test]
fn memory_that_is_taken_back_is_no_verdict() {
    let mut config = CheckersConfig::default();
    config.memory = ProbeMemory::new(8 * 1024);
    let dialogue = steps(&[within(65_536, contains("end"))]);
    let backend = Backend::start(HERE, vec![Step::Repeat("x".repeat(4096).into())]).unwrap();
    let outcome = found(backend.address().port(), &dialogue, PLENTY, &config);
    assert!(outcome.starts_with(LocalFault::ProbeMemory.label()), "{outcome}");
    assert!(config.memory.most_used() <= 8 * 1024);
}

#[test]
fn an_agent_says_up_or_down() {
    let says = |line: &str, expected: &str| {
        let agent = Dialogue::Agent { send: "web1\n".into() };
        let backend = check(&agent, &[Step::Read(5), Step::send(line)], expected);
        assert_eq!(backend.seen()[0].received, b"web1\n");
    };
    let answer = "the agent's answer";
    for (line, words) in [
        ("up\n", "up"),
        ("ready\r\n", "ready"),
        ("75%\n", "75%"),
        ("READY UP 50%\n", "up 50%"),
        ("up,1%\tmaxconn:30\n", "up 1%"),
        ("up", "up"),
        ("up # all is well\nmore", "up"),
    ] {
        says(line, &format!("pass: the agent says {words}"));
    }
    for (line, words) in [
        ("down\n", r#""down""#),
        ("down # disk is full\n", r#""down": "disk is full""#),
        ("down disk is full\n", r#""down disk is full""#),
        ("fail\n", r#""fail""#),
        ("failed\n", r#""failed""#),
        ("Stopped\n", r#""Stopped""#),
        ("up maint\n", r#""maint""#),
        ("drain 50%\n", r#""drain 50%""#),
        ("up 0%\n", r#""0%""#),
    ] {
        says(line, &format!("wrong_answer: {answer}: the agent says {words}"));
    }
    says("\n", &format!("body_mismatch: {answer}: unexpected response - \"\""));
    says("%\n", &format!("body_mismatch: {answer}: unexpected response - \"%\""));
    says("", &format!("closed: {answer}: connection closed before any answer"));
    says(
        "HTTP/1.1 400 Bad Request\r\n",
        &format!(
            "body_mismatch: {answer}: unexpected response - \"HTTP/1.1 400 Bad Request\"; the peer speaks HTTP"
        ),
    );
    let endless = Dialogue::Agent { send: "".into() };
    check(
        &endless,
        &[Step::Repeat("up ".into())],
        &format!("malformed_reply: {answer}: malformed reply: a line of 1024 bytes"),
    );
}

/// The named dialogues, and a peer's first answers that are right.
fn named() -> [(Dialogue, Vec<Step>); 5] {
    let redis = Dialogue::Redis(RedisDialogue { password: "p".into(), ..RedisDialogue::default() });
    let smtp = Dialogue::Smtp(SmtpDialogue { hello: "hc".into(), starttls: false });
    let postgresql = Dialogue::Postgresql(PostgresqlDialogue { username: "u".into(), database: "".into() });
    let mysql = Dialogue::Mysql(MysqlDialogue::default());
    let user = LdapDialogue { username: "cn=u".into(), password: "p".into(), starttls: false };
    let greeting = b"\x21\0\0\0\x0a8.0.36\0\x01\0\0\0abcdefgh\0\0\x02\x21\x02\0\0\0\0\0\0\0\0";
    [
        (redis, vec![Step::Read(20), Step::send("+OK\r\n"), Step::send("+PONG\r\n")]),
        (
            smtp,
            vec![
                Step::send("220-one\r\n220 two\r\n"),
                Step::Read(9),
                Step::send("250 hello\r\n"),
                Step::Read(6),
                Step::send("221 bye\r\n"),
            ],
        ),
        (
            postgresql,
            vec![
                Step::Read(8),
                Step::send(b"R\0\0\0\x08\0\0\0\0"),
                Step::send(b"S\0\0\0\x09a\0b\0x"),
                Step::send(b"Z\0\0\0\x05I"),
            ],
        ),
        (
            mysql,
            vec![
                Step::send(greeting),
                Step::Read(38),
                Step::send(b"\x01\0\0\x02\xfe"),
                Step::Read(4),
                Step::send(b"\x07\0\0\x04\0\0\0\x02\0\0\0"),
            ],
        ),
        (
            Dialogue::Ldap(user),
            vec![
                Step::Read(2),
                Step::send(b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\0\x04\0\x04\0"),
                Step::Read(2),
                Step::send(b"\x30\x09\x02\x01\x03\x64\x04\x04\0\x30\0"),
                Step::send(b"\x30\x0c\x02\x01\x03\x65\x07\x0a\x01\0\x04\0\x04\0"),
            ],
        ),
    ]
}

#[test]
fn named_dialogues_pass() {
    for (dialogue, script) in named() {
        let backend = Backend::start(HERE, [&script[..], &[Step::Hang]].concat()).unwrap();
        let found = found(backend.address().port(), &dialogue, PLENTY, &CheckersConfig::default());
        assert!(found.starts_with("pass: "), "{dialogue:?}: {found}");
        // The connection is closed politely.
        let seen = backend.wait_for(|seen| seen.first().is_some_and(|seen| seen.ended.is_some()));
        assert_eq!(seen[0].ended, Some(Ended::Closed), "{dialogue:?}");
    }
}

/// A peer that stops, closes, resets, sends nonsense or sends without end, at each of its steps.
#[test]
fn named_dialogues_end_whatever_the_peer_does() {
    let ends = [
        (Step::Hang, SOON, &["timeout_response"][..]),
        (Step::HalfClose, PLENTY, &["closed"]),
        (Step::Reset, PLENTY, &["reset", "closed"]),
        (Step::send([0xff; 200]), PLENTY, &["body_mismatch", "malformed_reply", "closed"]),
        (Step::Repeat("\x7f\x45\x4c\x46".into()), PLENTY, &["body_mismatch", "malformed_reply"]),
        (
            Step::Drip { bytes: "2".repeat(50).into(), pause_ms: 40 },
            SOON,
            &["timeout_response", "body_mismatch", "malformed_reply"],
        ),
    ];
    for (dialogue, script) in named() {
        for at in 0..script.len() {
            // An end is in place of what is sent.
            if matches!(script[at], Step::Read(_)) {
                continue;
            }
            for (end, timeout, labels) in &ends {
                let steps = [&script[..at], &[end.clone(), Step::Hang]].concat();
                let backend = Backend::start(HERE, steps).unwrap();
                let found = found(backend.address().port(), &dialogue, *timeout, &CheckersConfig::default());
                let label = found.split(':').next().unwrap();
                // Whether a farewell is answered does not matter.
                let quits = matches!(dialogue, Dialogue::Smtp(_)) && at == 4 && label == "pass";
                assert!(labels.contains(&label) || quits, "{dialogue:?}, step {at}, {end:?}: {found}");
            }
        }
    }
}
