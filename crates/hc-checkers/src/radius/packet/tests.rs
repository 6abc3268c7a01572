use std::net::{Ipv4Addr, Ipv6Addr};

use hc_testkit::radius::{RadiusReply, RadiusRequest};
use proptest::prelude::*;

use super::*;

const SECRET: &[u8] = b"xyzzy5461";
const AUTHENTICATOR: [u8; 16] = *b"\x0f\x40\x3f\x94\x73\x97\x80\x57\xbd\x83\xd5\xcb\x98\xf4\x22\x7a";

fn request<'a>() -> Request<'a> {
    Request {
        username: b"nemo",
        password: b"arctangent",
        secret: SECRET,
        nas_identifier: b"lb1",
        nas_address: Ipv4Addr::new(192, 168, 1, 16).into(),
    }
}

fn sent() -> RadiusRequest {
    RadiusRequest::parse(&request().encode(7, &AUTHENTICATOR).unwrap()).unwrap()
}

fn expectation(require_message_authenticator: bool) -> Expectation<'static> {
    Expectation {
        identifier: 7,
        authenticator: &AUTHENTICATOR,
        secret: SECRET,
        require_message_authenticator,
    }
}

#[track_caller]
fn check(packet: &[u8], expected: impl Into<Response>) {
    assert_eq!(expectation(false).judge(packet), expected.into());
}

fn malformed(text: &str) -> Response {
    Response::Refused(Failure::MalformedReply(text.into()))
}

fn bad(which: &str) -> Response {
    Response::Refused(Failure::BadAuthenticator(which.into()))
}

#[test]
fn the_password_is_hidden_as_in_the_example_of_the_rfc() {
    // RFC 2865 section 7.1.
    let hidden = hide(b"arctangent", SECRET, &AUTHENTICATOR);
    assert_eq!(hidden, b"\x0d\xbe\x70\x8d\x93\xd4\x13\xce\x31\x96\xe4\x3f\x78\x2a\x0a\xee");
}

#[test]
fn a_response_of_the_rfc_is_verified() {
    // The Access-Accept of RFC 2865 section 7.1.
    let accept = b"\x02\x00\x00\x26\x86\xfe\x22\x0e\x76\x24\xba\x2a\x10\x05\xf6\xbf\x9b\x55\xe0\xb2\
        \x06\x06\x00\x00\x00\x01\x0f\x06\x00\x00\x00\x00\x0e\x06\xc0\xa8\x01\x03";
    let expectation = Expectation { identifier: 0, ..expectation(false) };
    assert_eq!(expectation.judge(accept), Response::Code(2));
}

#[test]
fn a_request_carries_what_seesaw_sends_and_an_authentic_code_first() {
    let sent = sent();
    assert_eq!((sent.code, sent.identifier, sent.authenticator), (1, 7, AUTHENTICATOR));
    let kinds: Vec<u8> = sent.attributes.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [80, 32, 1, 2, 4, 61, 6]);
    assert!(sent.is_authentic(SECRET) && !sent.is_authentic(b"other"));
    assert_eq!(sent.attribute(1).unwrap(), b"nemo");
    assert_eq!(sent.password(SECRET).unwrap(), b"arctangent");
    assert_eq!(sent.attribute(32).unwrap(), b"lb1");
    assert_eq!(sent.attribute(4).unwrap(), [192, 168, 1, 16]);
    assert_eq!(sent.attribute(61).unwrap(), [0, 0, 0, 5]);
    assert_eq!(sent.attribute(6).unwrap(), [0, 0, 0, 1]);
}

#[test]
fn an_ipv6_address_goes_into_its_own_attribute() {
    let ip = Ipv6Addr::LOCALHOST;
    let packet = Request { nas_address: ip.into(), ..request() }.encode(7, &AUTHENTICATOR).unwrap();
    let sent = RadiusRequest::parse(&packet).unwrap();
    assert_eq!((sent.attribute(95), sent.attribute(4)), (Some(ip.octets().as_slice()), None));
}

#[test]
fn lengths_are_kept_or_refused() {
    let encode = |username: usize, password: usize| {
        let (username, password) = (vec![b'u'; username], vec![b'p'; password]);
        let packet =
            Request { username: &username, password: &password, ..request() }.encode(7, &AUTHENTICATOR)?;
        let sent = RadiusRequest::parse(&packet).unwrap();
        assert_eq!(sent.password(SECRET).unwrap(), password);
        Ok((sent.attribute(1).map_or(0, <[u8]>::len), sent.attribute(2).unwrap().len()))
    };
    assert_eq!(encode(0, 0), Ok((0, 16)));
    assert_eq!(encode(1, 16), Ok((1, 16)));
    assert_eq!(encode(253, 17), Ok((253, 32)));
    assert_eq!(encode(1, 128), Ok((1, 128)));
    assert_eq!(encode(254, 1), Err(RequestError::UserNameTooLong(254)));
    assert_eq!(encode(1, 129), Err(RequestError::PasswordTooLong(129)));
    let long = Request { nas_identifier: &[b'n'; 300], ..request() }.encode(7, &AUTHENTICATOR).unwrap();
    assert_eq!(RadiusRequest::parse(&long).unwrap().attribute(32).unwrap().len(), 253);
}

#[test]
fn an_authentic_response_gives_its_code() {
    for code in 0..=255 {
        let reply = RadiusReply::to(&sent(), code).attribute(18, b"welcome");
        check(&reply.build(SECRET), Response::Code(code));
        check(&reply.message_authenticator().build(SECRET), Response::Code(code));
    }
}

#[test]
fn a_response_that_is_not_authentic_is_refused() {
    let reply = RadiusReply::to(&sent(), 2);
    check(&reply.build(b"other"), bad("response authenticator"));
    let signed = reply.clone().message_authenticator();
    check(&signed.build(b"other"), bad("response authenticator"));
    check(&reply.wrong_message_authenticator().build(SECRET), bad("Message-Authenticator"));
}

#[test]
fn a_message_authenticator_can_be_required() {
    let required = expectation(true);
    let reply = RadiusReply::to(&sent(), 2);
    let missing = Response::Refused(Failure::WrongAnswer("no Message-Authenticator in the response".into()));
    assert_eq!(required.judge(&reply.build(SECRET)), missing);
    assert_eq!(required.judge(&reply.message_authenticator().build(SECRET)), Response::Code(2));
}

#[test]
fn responses_to_other_requests_are_strays() {
    check(&RadiusReply::to(&sent(), 2).wrong_identifier().build(SECRET), Response::Stray);
    check(b"", Response::Stray);
    check(b"\x02", Response::Stray);
}

#[test]
fn what_breaks_the_format_is_refused() {
    let reply = || RadiusReply::to(&sent(), 2);
    let build = |reply: RadiusReply| reply.build(SECRET);
    let with_length = |length: u16| {
        let mut packet = build(reply());
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet
    };
    check(b"\x02\x07\x00", malformed("3 bytes, less than a header"));
    check(&with_length(19), malformed("invalid length 19"));
    check(&with_length(4097), malformed("invalid length 4097"));
    check(&with_length(21), malformed("length 21, but 20 bytes came"));
    check(&build(reply().junk(&[18])), malformed("an attribute without a length"));
    check(&build(reply().junk(&[18, 0])), malformed("attribute 18 has the invalid length 0"));
    check(&build(reply().junk(&[18, 1])), malformed("attribute 18 has the invalid length 1"));
    check(&build(reply().junk(&[18, 4, b'x'])), malformed("attribute 18 has the invalid length 4"));
    let twice = "Message-Authenticator is not 16 bytes, or is there twice";
    check(&build(reply().attribute(80, &[0; 15])), malformed(twice));
    check(&build(reply().message_authenticator().attribute(80, &[0; 16])), malformed(twice));
    // An empty attribute is bad manners, and no more; bytes behind the packet are padding.
    check(&build(reply().attribute(18, b"")), Response::Code(2));
    check(&[&build(reply()), b"padding".as_slice()].concat(), Response::Code(2));
}

proptest! {
    #[test]
    fn any_bytes_are_judged(mut packet in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = expectation(false).judge(&packet);
        if let [_, identifier, high, low, ..] = &mut packet[..] {
            (*identifier, *high, *low) = (7, 0, *low % 200);
        }
        prop_assert!(!matches!(expectation(false).judge(&packet), Response::Code(_)));
    }

    #[test]
    fn any_byte_that_changes_is_noticed(at in 0..60_usize, change in 1..=u8::MAX, signed in any::<bool>()) {
        let reply = RadiusReply::to(&sent(), 2).attribute(18, b"welcome to the machine");
        let mut packet = if signed { reply.message_authenticator() } else { reply }.build(SECRET);
        let at = at % packet.len();
        packet[at] ^= change;
        prop_assert!(!matches!(expectation(false).judge(&packet), Response::Code(_)));
    }

    #[test]
    fn a_request_reads_back(
        username in prop::collection::vec(any::<u8>(), 1..=MAX_VALUE),
        password in prop::collection::vec(1..=u8::MAX, 0..=MAX_PASSWORD),
        secret in any::<Vec<u8>>(),
        authenticator in any::<[u8; 16]>(),
        identifier in any::<u8>(),
    ) {
        let request = Request { username: &username, password: &password, secret: &secret, ..request() };
        let sent = RadiusRequest::parse(&request.encode(identifier, &authenticator).unwrap()).unwrap();
        prop_assert!(sent.is_authentic(&secret));
        prop_assert_eq!(sent.attribute(1).unwrap(), &username);
        prop_assert_eq!(sent.password(&secret).unwrap(), password);
        let reply = RadiusReply::to(&sent, 11).message_authenticator().build(&secret);
        let expectation = Expectation {
            identifier,
            authenticator: &authenticator,
            secret: &secret,
            require_message_authenticator: true,
        };
        prop_assert_eq!(expectation.judge(&reply), Response::Code(11));
    }
}
