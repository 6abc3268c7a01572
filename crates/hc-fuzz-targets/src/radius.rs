//! RADIUS: requests and responses.

use std::net::IpAddr;

use hc_checkers::fuzzing::radius::packet::{
    Expectation, MAX_PASSWORD, MAX_VALUE, Request, Response, encode_status,
};
use hc_types::Failure;
use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};

use crate::input::Input;

/// Any credentials: the request holds them in attributes that fill its length exactly, the password
/// can be unhidden with the secret, and the Message-Authenticator comes first and is right.
pub fn radius_request(data: &[u8]) {
    let mut input = Input::new(data);
    let identifier = input.byte();
    let authenticator: [u8; 16] = input.array();
    let nas_address: IpAddr = if input.flag() { [192, 0, 2, 1].into() } else { [0; 16].into() };
    let (username, password, secret) = (input.short(), input.short(), input.short());
    let nas_identifier = input.rest();
    check_status(&encode_status(secret, nas_identifier, nas_address, identifier, &authenticator), secret);
    let request = Request { username, password, secret, nas_identifier, nas_address };
    let Ok(packet) = request.encode(identifier, &authenticator) else {
        return assert!(username.len() > MAX_VALUE || password.len() > MAX_PASSWORD);
    };
    assert_eq!(packet[..2], [1, identifier]);
    assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    assert_eq!(packet[4..20], authenticator);
    let attributes = attributes(&packet[20..]).expect("attributes that fill the packet");
    assert_eq!(attributes[0].0, 80, "Message-Authenticator is the first");
    let value = |kind| attributes.iter().find(|(of, _)| *of == kind).map(|(_, value)| *value);
    assert_eq!(value(1).unwrap_or_default(), username);
    assert_eq!(value(32).unwrap_or_default(), &nas_identifier[..nas_identifier.len().min(MAX_VALUE)]);
    let shown = unhide(value(2).expect("a password"), secret, authenticator);
    let (head, padding) = shown.split_at(password.len());
    assert_eq!(head, password);
    assert!(padding.len() <= 16 && padding.iter().all(|byte| *byte == 0));
    let mut unsigned = packet.clone();
    unsigned[22..38].fill(0);
    assert_eq!(value(80).expect("there it is"), sign(secret, &unsigned));
}

/// A Status-Server: signed, and without a user and a password.
fn check_status(packet: &[u8], secret: &[u8]) {
    assert_eq!(packet[0], 12);
    assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    let attributes = attributes(&packet[20..]).expect("attributes that fill the packet");
    assert!(attributes.iter().all(|(kind, _)| [80, 32, 4, 95].contains(kind)));
    let mut unsigned = packet.to_vec();
    unsigned[22..38].fill(0);
    assert_eq!(attributes[0], (80, &sign(secret, &unsigned)[..]));
}

/// Any response: as it is, and with its authenticators put right, after which it is accepted if its
/// attributes are whole, and refused if any bit of what is signed changes.
pub fn radius_response(data: &[u8]) {
    let mut input = Input::new(data);
    let identifier = input.byte();
    let authenticator: [u8; 16] = input.array();
    let (require, change) = (input.flag(), usize::from(input.u16()));
    let secret = input.short();
    let expectation = Expectation {
        identifier,
        authenticator: &authenticator,
        secret,
        require_message_authenticator: require,
    };
    let raw = input.rest();
    if let Response::Code(_) = expectation.judge(raw) {
        assert_eq!(raw[1], identifier);
    }

    let code = input.byte();
    let body = input.rest();
    let body = &body[..body.len().min(4096 - 20)];
    let length = u16::try_from(20 + body.len()).expect("4096 fits");
    let mut packet = [&[code, identifier][..], &length.to_be_bytes(), &authenticator, body].concat();
    let whole = attributes(body);
    let codes = whole.iter().flatten().filter(|(kind, _)| *kind == 80).collect::<Vec<_>>();
    let is_good = whole.is_some() && codes.iter().all(|(_, value)| value.len() == 16) && codes.len() <= 1;
    if is_good && let Some((_, value)) = codes.first() {
        let at = value.as_ptr().addr() - body.as_ptr().addr() + 20;
        packet[at..at + 16].fill(0);
        let signature = sign(secret, &packet);
        packet[at..at + 16].copy_from_slice(&signature);
    }
    let digest = Md5::new().chain_update(&packet).chain_update(secret).finalize();
    packet[4..20].copy_from_slice(&digest);
    match expectation.judge(&packet) {
        Response::Code(got) => {
            assert!(is_good && got == code && !(require && codes.is_empty()));
            let at = change % packet.len();
            packet[at] ^= 1 << (change % 8);
            assert!(!matches!(expectation.judge(&packet), Response::Code(_)), "forged at {at}");
        }
        Response::Refused(Failure::WrongAnswer(_)) => assert!(require && codes.is_empty()),
        Response::Refused(failure) => {
            assert!(!is_good, "{failure:?}");
            assert!(matches!(failure, Failure::MalformedReply(_)), "{failure:?}");
        }
        Response::Stray => panic!("the identifier is right"),
    }
}

/// Kinds and values of all attributes; `None` if they do not fill the bytes.
fn attributes(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<2>() {
        let (value, rest) = rest.split_at_checked(usize::from(header[1]).checked_sub(2)?)?;
        found.push((header[0], value));
        bytes = rest;
    }
    bytes.is_empty().then_some(found)
}

/// RFC 2865 section 5.2, backwards.
fn unhide(hidden: &[u8], secret: &[u8], authenticator: [u8; 16]) -> Vec<u8> {
    let mut shown = Vec::new();
    let mut previous = &authenticator[..];
    for block in hidden.chunks(16) {
        let mask = Md5::new().chain_update(secret).chain_update(previous).finalize();
        shown.extend(block.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        previous = block;
    }
    shown
}

/// RFC 3579 section 3.2.
fn sign(secret: &[u8], packet: &[u8]) -> [u8; 16] {
    let mac = Hmac::<Md5>::new_from_slice(secret).expect("a key of any length");
    mac.chain_update(packet).finalize().into_bytes().into()
}
