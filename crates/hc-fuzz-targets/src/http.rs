//! HTTP: requests, response heads, bodies, whole exchanges.

use std::io::Write as _;
use std::sync::Arc;
use std::task::Poll;

use flate2::Compression;
use flate2::write::GzEncoder;
use hc_checkers::fuzzing::http::{Body, Framing, JsonFound, ResponseHead, find_json};
use hc_checkers::fuzzing::http_exchange as exchange;
use hc_types::{
    BodyCondition, HeaderCondition, HeaderTest, HttpConditions, HttpProbe, JsonCondition, JsonScalar,
    Outcome, Pattern, Target,
};
use regex_automata::nfa::thompson::{self, pikevm::PikeVM};

use crate::input::Input;
use crate::stream::{Pieces, block_on};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "CONNECT"];

fn target() -> Target {
    Target::plain([192, 0, 2, 1].into(), 8080)
}

/// Any head: it is read as soon as it is whole, the same whatever follows, and no beginning of it
/// is an error.
pub fn http_head(data: &[u8]) {
    let mut input = Input::new(data);
    let method = *input.pick(METHODS);
    let cut = usize::from(input.u16());
    let bytes = input.rest();
    match ResponseHead::parse(bytes, method) {
        Ok(None) => {}
        Ok(Some(head)) => {
            assert!(head.length <= bytes.len() && head.length > 0);
            // Three digits, and Go takes 000 for a status too.
            assert!(head.status <= 999);
            assert!(head.status_text.len() < 1024);
            let whole = &bytes[..head.length];
            assert_eq!(ResponseHead::parse(whole, method), Ok(Some(head)));
            let shorter = &whole[..cut % whole.len()];
            assert_eq!(ResponseHead::parse(shorter, method), Ok(None), "{shorter:?}");
        }
        Err(error) => assert!(!error.to_string().contains(|c: char| c.is_control()), "{error}"),
    }
}

/// Any body: however it is cut into pieces the same is read of it; and what is encoded here is
/// decoded there.
pub fn http_body(data: &[u8]) {
    let mut input = Input::new(data);
    let framing = match input.up_to(2) {
        0 => Framing::Length(input.u16().into()),
        1 => Framing::Chunked,
        _ => Framing::Close,
    };
    let gzip = input.flag();
    let wanted = usize::from(input.byte()) + 1;
    let step = usize::from(input.byte()) + 1;
    let bytes = input.rest();
    let head = head(framing, gzip);
    let whole = read_body(&head, wanted, bytes.len().max(1), bytes);
    let pieces = read_body(&head, wanted, step, bytes);
    assert_eq!(whole, pieces, "step {step}");
    if let Some(got) = whole {
        assert!(got.len() <= wanted);
    }

    // `bytes` as the content.
    let encoded = encode(bytes, framing, gzip, step);
    let framing =
        if matches!(framing, Framing::Length(_)) { Framing::Length(encoded.len() as u64) } else { framing };
    let got = read_body(&self::head(framing, gzip), wanted, step, &encoded);
    assert_eq!(got.as_deref(), Some(&bytes[..bytes.len().min(wanted)]));
}

fn head(framing: Framing, gzip: bool) -> ResponseHead {
    ResponseHead {
        length: 0,
        status: 200,
        status_text: "200 OK".into(),
        framing,
        persistent: false,
        gzip,
        has_location: false,
        encoding: None,
        fields: Vec::new(),
    }
}

/// The first bytes of a body that comes in pieces and ends with the connection; `None` if it is
/// malformed before enough has come.
fn read_body(head: &ResponseHead, wanted: usize, step: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Body::new(head, wanted);
    for piece in bytes.chunks(step) {
        body.take(piece).ok()?;
        if body.is_enough() {
            return Some(body.prefix().to_vec());
        }
    }
    body.finish().ok()?;
    Some(body.prefix().to_vec())
}

fn encode(content: &[u8], framing: Framing, gzip: bool, step: usize) -> Vec<u8> {
    let mut body = content.to_vec();
    if gzip && !content.is_empty() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).expect("a Vec takes all");
        body = encoder.finish().expect("a Vec takes all");
    }
    if framing != Framing::Chunked {
        return body;
    }
    let mut chunked = Vec::new();
    for chunk in body.chunks(step) {
        chunked.extend_from_slice(format!("{:x};n=v\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    chunked
}

/// Conditions of an exchange: none, and some of each kind.
fn conditions(choice: usize) -> Option<HttpConditions> {
    let pattern = |text| Pattern::new(text).expect("a pattern");
    let header = |name: &str, test| HeaderCondition { name: name.into(), test };
    let json = |pointer: &str, equals| {
        BodyCondition::Json(Box::new(JsonCondition { pointer: pointer.into(), equals }))
    };
    let contains = |part: &[u8]| BodyCondition::Contains(part.into());
    let (headers, body, limit): (Vec<_>, Vec<_>, u32) = match choice {
        0 => return None,
        1 => (vec![], vec![contains(b"ok")], 64),
        2 => (vec![], vec![BodyCondition::Matches(pattern("^[a-z ]*ok$"))], 64),
        3 => (vec![], vec![json("/status", Some(JsonScalar::String("ok".into()))), json("/a/0", None)], 64),
        4 => (vec![header("x", HeaderTest::Equals("a".into())), header("y", HeaderTest::Absent)], vec![], 1),
        5 => (
            vec![header("x", HeaderTest::Present), header("x", HeaderTest::Contains("a".into()))],
            vec![contains(b"o"), contains(b"k")],
            8,
        ),
        6 => (
            vec![header("x", HeaderTest::Matches(pattern("^a+$")))],
            vec![BodyCondition::Matches(pattern("o(k|<)")), contains(b"k")],
            4,
        ),
        _ => (vec![], vec![json("", None), contains(b"1")], 16),
    };
    Some(HttpConditions { headers: headers.into(), body: body.into(), body_limit: limit })
}

/// What a response that passes must be, by other means than those of the probe.
fn assert_conditions(conditions: &HttpConditions, method: &str, mut response: &[u8]) {
    let head = loop {
        let head = ResponseHead::parse_for(response, method, &conditions.headers);
        let head = head.ok().flatten().expect("a response that passes has a head");
        response = &response[head.length..];
        if !head.is_interim() {
            break head;
        }
    };
    for HeaderCondition { name, test } in &conditions.headers {
        let mut values = head.fields.iter().filter(|(own, _)| own == name).map(|(_, value)| &**value);
        assert!(match test {
            HeaderTest::Present => values.next().is_some(),
            HeaderTest::Absent => values.next().is_none(),
            HeaderTest::Equals(wanted) => values.any(|value| value == wanted.as_slice()),
            HeaderTest::Contains(part) => values.any(|value| has(value, part.as_slice())),
            HeaderTest::Matches(pattern) => values.any(|value| matches(pattern, value)),
            _ => true,
        });
    }
    // As far as it can be read: what breaks behind the bytes that decide does not matter.
    let mut body = Body::new(&head, conditions.body_limit as usize + 1);
    let _malformed = response.iter().try_for_each(|byte| body.take(std::slice::from_ref(byte)));
    let _malformed = body.finish();
    let limit = body.prefix().len().min(conditions.body_limit as usize);
    let got = &body.prefix()[..limit];
    for condition in &conditions.body {
        assert!(match condition {
            BodyCondition::Contains(part) => has(got, part.as_slice()),
            BodyCondition::Matches(pattern) => matches(pattern, got),
            BodyCondition::Json(json) => {
                let all: serde_json::Value = serde_json::from_slice(got).expect("JSON");
                let found = all.pointer(&json.pointer).expect("a value");
                !matches!(&json.equals, Some(JsonScalar::String(wanted)) if found != &**wanted)
            }
            _ => true,
        });
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// By an engine that is neither lazy nor an automaton.
fn matches(pattern: &Pattern, text: &[u8]) -> bool {
    let syntax = regex_automata::util::syntax::Config::new().utf8(false);
    let mut builder = PikeVM::builder();
    builder.syntax(syntax).thompson(thompson::Config::new().utf8(false));
    let engine = builder.build(pattern.as_str()).expect("a pattern");
    engine.is_match(&mut engine.create_cache(), text)
}

/// Any response to a whole exchange: it is judged, and how the bytes arrive does not decide whether
/// it passes. What passes meets the conditions by other means, too, and does not need the end of
/// the connection unless a condition is about the whole body.
pub fn http_exchange(data: &[u8]) {
    const BODIES: &[&[u8]] = &[b"", b"ok", b"<html>", &[b'a'; 100], b"\0"];
    const CODES: &[&[u16]] = &[&[], &[200], &[204, 404]];
    const CONDITIONS: u8 = 8;

    let mut input = Input::new(data);
    let method = *input.pick(METHODS);
    // One byte for both, so that inputs from before there were conditions mean the same.
    let choice = input.byte();
    let conditions = conditions(usize::from(choice / 3 % CONDITIONS)).map(Arc::new);
    let probe = HttpProbe {
        method: method.into(),
        expected_codes: CODES[usize::from(choice) % CODES.len()].into(),
        expected_body: (*input.pick(BODIES)).into(),
        conditions: conditions.clone(),
        ..HttpProbe::default()
    };
    let step = usize::from(input.byte()) + 1;
    let response = input.rest();
    let target = target();
    let run = |mut stream: Pieces<'_>| {
        let mut verdict = std::pin::pin!(exchange(&probe, &target, &mut stream));
        block_on(std::future::poll_fn(|context| Poll::Ready(verdict.as_mut().poll(context))))
    };
    let whole = run(Pieces::new(response, usize::MAX));
    let pieces = run(Pieces::new(response, step));
    let open = run(Pieces::new(response, usize::MAX).left_open());
    match (&whole, &pieces, &open) {
        (Poll::Ready(Outcome::Pass(_)), ..) => {
            // Most conditions on a body are about all of it, and its end may be that of the
            // connection.
            let waits = open.is_pending() && conditions.as_ref().is_some_and(|all| !all.body.is_empty());
            assert!(whole == pieces && (pieces == open || waits), "{pieces:?} {open:?}");
            if let Some(conditions) = conditions {
                assert_conditions(&conditions, method, response);
            }
        }
        (
            Poll::Ready(Outcome::Fail(_)),
            Poll::Ready(Outcome::Fail(_)),
            Poll::Ready(Outcome::Fail(_)) | Poll::Pending,
        ) => {}
        _ => panic!("at once {whole:?}, in pieces of {step} {pieces:?}, left open {open:?}"),
    }
}

/// Any text and pointer: what is found is what a reader of the whole text finds.
pub fn http_json(data: &[u8]) {
    let mut input = Input::new(data);
    let Ok(pointer) = std::str::from_utf8(input.short()) else { return };
    if !(pointer.is_empty() || pointer.starts_with('/')) {
        return;
    }
    let text = input.rest();
    let found = find_json(text, pointer);
    let Ok(all) = serde_json::from_slice::<serde_json::Value>(text) else { return };
    let found = found.expect("a text that is JSON as a whole is JSON");
    assert_eq!(found == JsonFound::Nothing, all.pointer(pointer).is_none(), "{pointer:?}");
}
