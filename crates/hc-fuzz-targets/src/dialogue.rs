//! Dialogues over TCP, and the patterns in them.

use hc_checkers::fuzzing::dialogue::received::{MAX_UNREAD, Next, Received};
use hc_checkers::fuzzing::dialogue::talk;
use hc_types::{
    CheckSpec, Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, Failure,
    LdapDialogue, Matched, MysqlDialogue, Pass, PostgresqlDialogue, ProbeSpec, RedisDialogue, RedisRole,
    SmtpDialogue, StepFailure, StreamPattern, Target, Timing, Tls,
};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;

use crate::input::Input;

/// A check at rest keeps the text of its latest failure, so it must stay short, whatever came.
const LONGEST_TEXT: usize = 4096;

/// Any bytes of a peer in each of the dialogues: what is sent and the verdict do not depend on how
/// the bytes are cut, little is held, and texts are short.
pub fn dialogue(data: &[u8]) {
    let mut input = Input::new(data);
    let probe = probe(&mut input);
    let step = usize::from(input.byte()).max(2);
    let bytes = input.rest();
    let whole = play(&probe, bytes, bytes.len().max(1));
    assert_eq!(play(&probe, bytes, 1), whole);
    assert_eq!(play(&probe, bytes, step), whole);
}

/// One of the dialogues.
fn probe(input: &mut Input<'_>) -> DialogueProbe {
    let flag = input.flag();
    let dialogue = match input.up_to(7) {
        0 => Dialogue::Redis(RedisDialogue {
            username: if flag { "u".into() } else { "".into() },
            password: if flag { "p".into() } else { "".into() },
            role: Some(if flag { RedisRole::Master } else { RedisRole::Replica }),
        }),
        1 => Dialogue::Smtp(SmtpDialogue { hello: "localhost".into(), starttls: flag }),
        2 => Dialogue::Postgresql(PostgresqlDialogue { username: "u".into(), database: "".into() }),
        3 => Dialogue::Mysql(MysqlDialogue { username: if flag { "u".into() } else { "".into() } }),
        4 => {
            let (username, password) =
                if flag { ("cn=u".into(), "p".into()) } else { ("".into(), "".into()) };
            Dialogue::Ldap(LdapDialogue { username, password, starttls: input.flag() })
        }
        5 => Dialogue::Agent { send: if flag { "web1\n".into() } else { "".into() } },
        _ => steps(input),
    };
    let tls = (flag
        || dialogue.begins_tls() && !matches!(dialogue, Dialogue::Postgresql(_) | Dialogue::Mysql(_)))
    .then(|| Tls::new(true));
    DialogueProbe { tls, dialogue }
}

fn steps(input: &mut Input<'_>) -> Dialogue {
    const PATTERNS: &[&str] =
        &["[0-9]+", "^220[ -]", "(?s)a.*b", "^(250-[^\n]*\n)*250 ", "(?i)pong|ok", r"\xff\x00"];
    let mut steps = Vec::new();
    for _ in 0..=input.up_to(5) {
        steps.push(match input.up_to(4) {
            0 => DialogueStep::Send([input.byte()].as_slice().into()),
            kind => {
                let short = input.short();
                let some = if short.is_empty() { b"ab" } else { &short[..short.len().min(8)] };
                let bytes = match kind {
                    1 => ExpectedBytes::Begin(some.into()),
                    2 => ExpectedBytes::Contain(some.into()),
                    _ => ExpectedBytes::Pattern(
                        StreamPattern::new(input.pick::<&str>(PATTERNS)).expect("a good pattern"),
                    ),
                };
                let limit = 8 + u32::from(input.byte());
                DialogueStep::Expect(DialogueExpectation { bytes, limit, rest_of_line: input.flag() })
            }
        });
    }
    Dialogue::Steps(steps.into())
}

/// What was sent, and how it ended: the words of a pass, the step and the label of a failure.
type Played = (Vec<Vec<u8>>, Result<String, (String, &'static str)>);

/// Plays a dialogue up to TLS, with a peer that sends these bytes in pieces of `step` and closes.
fn play(probe: &DialogueProbe, bytes: &[u8], step: usize) -> Played {
    let mut talk = talk(probe);
    let (mut buffer, mut ended, mut said) = (Vec::new(), false, Vec::new());
    let mut pieces = bytes.chunks(step);
    for _ in 0..bytes.len() * 2 + 1000 {
        let mut received = Received::new(&buffer, ended);
        let next = talk.next(&mut received);
        let used = received.used();
        buffer.drain(..used);
        let failure = match next {
            Ok(Next::Send(bytes)) => {
                said.push(bytes);
                continue;
            }
            Ok(Next::Read) if !ended => {
                assert!(step > 1 || buffer.len() < MAX_UNREAD);
                match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => ended = true,
                }
                continue;
            }
            Ok(Next::Read) => Failure::closed_after(&buffer),
            Ok(Next::StartTls) => return (said, Ok("TLS".to_owned())),
            Ok(Next::Pass { pass, .. }) => {
                let text = pass.to_string();
                assert!(text.len() < LONGEST_TEXT);
                assert!(matches!(pass, Pass::Plain | Pass::Answer(_)));
                return (said, Ok(text));
            }
            Err(failure) => failure,
        };
        let label = failure.label();
        let step = talk.step();
        check_text(probe, StepFailure { step: step.clone().into(), failure });
        return (said, Err((step, label)));
    }
    panic!("the dialogue does not end");
}

fn check_text(probe: &DialogueProbe, failure: StepFailure) {
    let probe = ProbeSpec::Dialogue(Box::new(probe.clone()));
    let target = Target::plain([192, 0, 2, 1].into(), 1);
    let spec = CheckSpec::new(target, probe, Timing::default()).expect("a good check");
    let text = spec.text(&Failure::InStep(Box::new(failure)).into());
    assert!(text.len() < LONGEST_TEXT);
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
}

/// Any pattern over any bytes: the match ends where another engine sees the first one, and a
/// pattern that can match no more does not match any prefix.
pub fn stream_pattern(data: &[u8]) {
    let mut input = Input::new(data);
    let Ok(text) = std::str::from_utf8(input.short()) else { return };
    let pattern = match StreamPattern::new(text) {
        Ok(pattern) => pattern,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let bytes = input.rest();
    let bytes = &bytes[..bytes.len().min(64)];
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let other = PikeVM::builder()
        .syntax(syntax)
        .thompson(regex_automata::nfa::thompson::Config::new().utf8(false))
        .build(text)
        .expect("both read the same patterns");
    let mut cache = other.create_cache();
    let first = (1..=bytes.len()).find(|end| other.is_match(&mut cache, &bytes[..*end]));
    let mut matcher = pattern.matcher();
    for (end, byte) in (1..).zip(bytes) {
        match matcher.feed(*byte) {
            Matched::NotYet => assert_ne!(first, Some(end), "{text:?}"),
            Matched::Yes => return assert_eq!(first, Some(end), "{text:?}"),
            Matched::Never => return assert_eq!(first, None, "{text:?}"),
        }
    }
    assert_eq!(first, None, "{text:?}");
}
