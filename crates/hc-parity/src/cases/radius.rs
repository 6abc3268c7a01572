//! RADIUS.

use hc_testkit::radius::{RadiusReply, RadiusRequest};
use serde_json::{Value, json};

use super::{routeless_host, silent_host};
use crate::case::Case;
use crate::serve::Server;

/// What both ends share.
pub(crate) const SECRET: &str = "s3cret";

/// A check that expects this response.
pub(crate) fn expecting(response: &str) -> Value {
    json!({
        "checker_type": "radius", "username": "user", "password": "password", "secret": SECRET,
        "expected_response": response,
    })
}

/// Replies with bytes that a request leads to.
fn raw(
    name: &str,
    expected: &str,
    reply: impl Fn(&RadiusRequest) -> Vec<Vec<u8>> + Send + Sync + 'static,
) -> Case {
    let server =
        Server::datagrams(move |packet| RadiusRequest::parse(packet).map_or_else(Vec::new, |r| reply(&r)));
    Case::new(format!("radius/{name}"), server, expecting(expected))
}

fn case(name: &str, expected: &str, reply: fn(&RadiusRequest) -> RadiusReply) -> Case {
    raw(name, expected, move |request| vec![reply(request).build(SECRET.as_bytes())])
}

/// An authentic Access-Accept in which then something is changed.
fn spoilt(name: &str, spoil: fn(&mut Vec<u8>)) -> Case {
    raw(&format!("broken/{name}"), "accept", move |request| {
        let mut packet = RadiusReply::to(request, 2).attribute(18, b"hello").build(SECRET.as_bytes());
        spoil(&mut packet);
        vec![packet]
    })
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = codes();
    cases.extend(messages());
    cases.extend(broken());
    cases.extend(credentials());
    cases
}

/// Every code against every expectation.
fn codes() -> Vec<Case> {
    let reply = |name: String, expected, code| {
        raw(&name, expected, move |request| vec![RadiusReply::to(request, code).build(SECRET.as_bytes())])
    };
    let mut cases = Vec::new();
    for code in 0..=u8::MAX {
        cases.push(reply(format!("code/{code}-for-accept"), "accept", code));
        cases.push(reply(format!("code/{code}-for-any"), "any", code));
    }
    for code in [1, 2, 3, 11, 77] {
        for expected in ["reject", "challenge", "Accept", "nonsense", ""] {
            cases.push(reply(format!("code/{code}-for-{expected}"), expected, code));
        }
    }
    cases
}

fn messages() -> Vec<Case> {
    let accept = |request: &RadiusRequest| RadiusReply::to(request, 2);
    let two =
        |name: &str, first: fn(&RadiusRequest) -> RadiusReply, second: fn(&RadiusRequest) -> RadiusReply| {
            raw(name, "accept", move |request| {
                [first, second].map(|reply| reply(request).build(SECRET.as_bytes())).to_vec()
            })
        };
    vec![
        case("with-attributes", "accept", |r| {
            RadiusReply::to(r, 2).attribute(18, b"hello").attribute(25, &[7; 253])
        }),
        case("with-message-authenticator", "accept", |r| RadiusReply::to(r, 2).message_authenticator()),
        case("wrong-message-authenticator", "accept", |r| {
            RadiusReply::to(r, 2).wrong_message_authenticator()
        }),
        case("wrong-message-authenticator-any", "any", |r| {
            RadiusReply::to(r, 3).wrong_message_authenticator()
        }),
        case("message-authenticator-twice", "accept", |r| {
            RadiusReply::to(r, 2).message_authenticator().attribute(80, &[0; 16])
        }),
        case("short-message-authenticator", "accept", |r| RadiusReply::to(r, 2).attribute(80, &[0; 5])),
        raw("other-secret", "accept", move |request| vec![accept(request).build(b"other")]),
        raw("other-secret-any", "any", move |request| vec![accept(request).build(b"other")]),
        case("wrong-identifier", "accept", |r| RadiusReply::to(r, 2).wrong_identifier()).without_end(),
        two("late-one-first", |r| RadiusReply::to(r, 3).wrong_identifier(), |r| RadiusReply::to(r, 2)),
        two("reject-first", |r| RadiusReply::to(r, 3), |r| RadiusReply::to(r, 2)),
        two("accept-first", |r| RadiusReply::to(r, 2), |r| RadiusReply::to(r, 3)),
        two("accept-twice", |r| RadiusReply::to(r, 2), |r| RadiusReply::to(r, 2)),
        raw("silence", "accept", |_| Vec::new()).without_end(),
        raw("silence-any", "any", |_| Vec::new()).without_end(),
        Case::new("radius/refused", Server::RefusingDatagrams, expecting("accept")),
        Case::new("radius/silent-host", Server::Elsewhere(silent_host, 1812), expecting("accept"))
            .without_end(),
        Case::new("radius/no-route", Server::Elsewhere(routeless_host, 1812), expecting("accept")),
    ]
}

fn broken() -> Vec<Case> {
    vec![
        raw("broken/empty", "accept", |_| vec![Vec::new()]).without_end(),
        raw("broken/one-byte", "accept", |_| vec![vec![2]]).without_end(),
        raw("broken/text", "accept", |_| vec![b"not RADIUS, but long enough to be".to_vec()]).without_end(),
        raw("broken/header-cut", "accept", |r| {
            vec![RadiusReply::to(r, 2).build(SECRET.as_bytes())[..19].to_vec()]
        }),
        raw("broken/id-alone", "accept", |r| vec![vec![2, r.identifier]]),
        spoilt("authenticator-bit", |packet| packet[10] ^= 1),
        spoilt("code-changed", |packet| packet[0] = 3),
        spoilt("attribute-bit", |packet| packet[23] ^= 1),
        spoilt("length-too-small", |packet| packet[3] = 19),
        spoilt("length-zero", |packet| packet[3] = 0),
        spoilt("length-one-less", |packet| packet[3] -= 1),
        spoilt("length-one-more", |packet| packet[3] += 1),
        spoilt("length-of-header", |packet| packet[3] = 20),
        spoilt("length-too-big", |packet| packet[2] = 0x20),
        spoilt("attribute-length-0", |packet| packet[21] = 0),
        spoilt("attribute-length-1", |packet| packet[21] = 1),
        spoilt("attribute-length-2", |packet| packet[21] = 2),
        spoilt("attribute-too-long", |packet| packet[21] += 1),
        spoilt("attribute-too-short", |packet| packet[21] -= 1),
        spoilt("cut", |packet| packet.truncate(24)),
        spoilt("trailing-bytes", |packet| packet.extend(b"trailing")),
        case("broken/authentic-attribute-without-value", "accept", |r| {
            RadiusReply::to(r, 2).attribute(18, b"")
        }),
        case("broken/authentic-odd-byte", "accept", |r| RadiusReply::to(r, 2).junk(&[18])),
        case("broken/authentic-attribute-too-long", "accept", |r| RadiusReply::to(r, 2).junk(&[18, 9, 1])),
        case("broken/authentic-attribute-length-1", "accept", |r| RadiusReply::to(r, 2).junk(&[18, 1, 1])),
        case("broken/authentic-attribute-length-0", "accept", |r| RadiusReply::to(r, 2).junk(&[18, 0])),
        raw("broken/authentic-and-padded", "accept", |r| {
            let mut packet = RadiusReply::to(r, 2).build(SECRET.as_bytes());
            packet.extend([0; 10]);
            vec![packet]
        }),
    ]
}

/// User names, passwords and secrets that the protocol has limits for. The server accepts whoever
/// shows the right password.
fn credentials() -> Vec<Case> {
    let case = |name: &str, user: String, password: String, secret: &'static str| {
        let expected = password.clone();
        let server = Server::datagrams(move |packet| {
            let Some(request) = RadiusRequest::parse(packet) else { return Vec::new() };
            let got = request.password(secret.as_bytes()).unwrap_or_default();
            let code = if got == expected.as_bytes() { 2 } else { 3 };
            vec![RadiusReply::to(&request, code).build(secret.as_bytes())]
        });
        let check =
            json!({"checker_type": "radius", "username": user, "password": password, "secret": secret});
        Case::new(format!("radius/credentials/{name}"), server, check)
    };
    let mut cases: Vec<_> = [1, 15, 16, 17, 32, 127, 128]
        .map(|length| case(&format!("password-of-{length}"), "user".into(), "p".repeat(length), SECRET))
        .into();
    cases.extend([
        case("password-of-129", "user".into(), "p".repeat(129), SECRET),
        case("empty-password", "user".into(), String::new(), SECRET).without_end(),
        case("empty-user", String::new(), "password".into(), SECRET).without_end(),
        case("user-of-253", "u".repeat(253), "password".into(), SECRET),
        case("user-of-254", "u".repeat(254), "password".into(), SECRET).without_end(),
        case("empty-secret", "user".into(), "password".into(), ""),
        case("not-ascii", "b\u{fc}cher".into(), "k\u{e4}se".into(), "gr\u{fc}n"),
    ]);
    cases
}
