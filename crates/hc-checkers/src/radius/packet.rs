//! Access-Request, Status-Server and the responses to them, as bytes (RFC 2865, RFC 3162, RFC 3579,
//! RFC 5997).

use std::fmt;
use std::net::IpAddr;

use hc_types::Failure;
use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};

/// The longest value of an attribute (RFC 2865 section 5).
pub const MAX_VALUE: usize = 253;
/// The longest password (RFC 2865 section 5.2).
pub const MAX_PASSWORD: usize = 128;

const HEADER: usize = 20;
const MAX_PACKET: usize = 4096;
const BLOCK: usize = 16;

const ACCESS_REQUEST: u8 = 1;
const STATUS_SERVER: u8 = 12;
const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const NAS_IP_ADDRESS: u8 = 4;
const SERVICE_TYPE: u8 = 6;
const NAS_IDENTIFIER: u8 = 32;
const NAS_PORT_TYPE: u8 = 61;
const MESSAGE_AUTHENTICATOR: u8 = 80;
const NAS_IPV6_ADDRESS: u8 = 95;

/// Service-Type Login and NAS-Port-Type Virtual, as Seesaw asks (`healthcheck/radius.go`).
const LOGIN: u32 = 1;
const VIRTUAL: u32 = 5;

/// Why an Access-Request cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The user name does not fit an attribute.
    #[error("the user name has {0} bytes, more than 253")]
    UserNameTooLong(usize),
    /// The password cannot be hidden.
    #[error("the password has {0} bytes, more than 128")]
    PasswordTooLong(usize),
}

/// What one request carries, apart from its identifier and authenticator.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// User-Name; left out when empty, since an attribute must not be (RFC 2865 section 5).
    pub username: &'a [u8],
    /// User-Password, hidden with PAP; 16 zero bytes when empty.
    pub password: &'a [u8],
    /// The secret shared with the server.
    pub secret: &'a [u8],
    /// NAS-Identifier: the name of this machine; cut at 253 bytes, left out when empty.
    pub nas_identifier: &'a [u8],
    /// NAS-IP-Address or NAS-IPv6-Address: the address that the request is sent from.
    pub nas_address: IpAddr,
}

impl Request<'_> {
    /// The request as a packet. `authenticator` must be unpredictable and fresh (RFC 2865 section
    /// 3).
    ///
    /// Message-Authenticator is always there, and is the first attribute, so that servers hardened
    /// against CVE-2024-3596 answer and the response cannot be forged through a chosen prefix.
    ///
    /// # Errors
    /// [`RequestError`] when the user name or the password is too long.
    pub fn encode(&self, identifier: u8, authenticator: &[u8; 16]) -> Result<Vec<u8>, RequestError> {
        if self.username.len() > MAX_VALUE {
            return Err(RequestError::UserNameTooLong(self.username.len()));
        }
        if self.password.len() > MAX_PASSWORD {
            return Err(RequestError::PasswordTooLong(self.password.len()));
        }
        let mut packet = begin(ACCESS_REQUEST, identifier, authenticator, self.nas_identifier);
        push(&mut packet, USER_NAME, self.username);
        push(&mut packet, USER_PASSWORD, &hide(self.password, self.secret, authenticator));
        push_address(&mut packet, self.nas_address);
        push(&mut packet, NAS_PORT_TYPE, &VIRTUAL.to_be_bytes());
        push(&mut packet, SERVICE_TYPE, &LOGIN.to_be_bytes());
        Ok(sign(packet, self.secret))
    }
}

/// A Status-Server (RFC 5997): it names this machine and no user.
///
/// `authenticator` must be unpredictable and fresh, as that of an Access-Request. The
/// Message-Authenticator, without which servers drop it, is the first attribute.
#[must_use]
pub fn encode_status(
    secret: &[u8],
    nas_identifier: &[u8],
    nas_address: IpAddr,
    identifier: u8,
    authenticator: &[u8; 16],
) -> Vec<u8> {
    let mut packet = begin(STATUS_SERVER, identifier, authenticator, nas_identifier);
    push_address(&mut packet, nas_address);
    sign(packet, secret)
}

/// The header, room for the Message-Authenticator, and NAS-Identifier.
fn begin(code: u8, identifier: u8, authenticator: &[u8; 16], nas_identifier: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(256);
    packet.extend_from_slice(&[code, identifier, 0, 0]);
    packet.extend_from_slice(authenticator);
    push(&mut packet, MESSAGE_AUTHENTICATOR, &[0; 16]);
    push(&mut packet, NAS_IDENTIFIER, &nas_identifier[..nas_identifier.len().min(MAX_VALUE)]);
    packet
}

fn push_address(packet: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(ip) => push(packet, NAS_IP_ADDRESS, &ip.octets()),
        IpAddr::V6(ip) => push(packet, NAS_IPV6_ADDRESS, &ip.octets()),
    }
}

/// Fills in the length and the Message-Authenticator.
fn sign(mut packet: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len()).expect("eight attributes are less than 4096 bytes");
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let code = message_authenticator(secret, &packet).finalize().into_bytes();
    packet[HEADER + 2..HEADER + 18].copy_from_slice(&code);
    packet
}

/// Hides the values that are secret.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("nas_address", &self.nas_address).finish_non_exhaustive()
    }
}

/// Adds an attribute, unless its value is empty.
fn push(packet: &mut Vec<u8>, kind: u8, value: &[u8]) {
    debug_assert!(value.len() <= MAX_VALUE);
    let length = u8::try_from(value.len() + 2).unwrap_or(u8::MAX);
    if !value.is_empty() {
        packet.extend_from_slice(&[kind, length]);
        packet.extend_from_slice(value);
    }
}

/// The hiding of RFC 2865 section 5.2: blocks of 16, each masked with a digest of the secret and
/// the block before.
fn hide(password: &[u8], secret: &[u8], authenticator: &[u8; 16]) -> Vec<u8> {
    let mut hidden = password.to_vec();
    hidden.resize(password.len().max(1).next_multiple_of(BLOCK), 0);
    let mut previous = *authenticator;
    for block in hidden.as_chunks_mut::<BLOCK>().0 {
        let mask = Md5::new().chain_update(secret).chain_update(previous).finalize();
        for (byte, mask) in block.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        previous = *block;
    }
    hidden
}

/// The code of RFC 3579 section 3.2, over a packet whose own code is zero. Give it the request's
/// authenticator in the place of the response's.
fn message_authenticator(secret: &[u8], packet: &[u8]) -> Hmac<Md5> {
    Hmac::<Md5>::new_from_slice(secret).expect("HMAC takes a key of any length").chain_update(packet)
}

/// What a response must be an answer to.
#[derive(Clone, Copy)]
pub struct Expectation<'a> {
    /// Identifier of the request.
    pub identifier: u8,
    /// Authenticator of the request.
    pub authenticator: &'a [u8; 16],
    /// The secret shared with the server.
    pub secret: &'a [u8],
    /// Whether a response without Message-Authenticator is refused. One that has it is always
    /// verified.
    pub require_message_authenticator: bool,
}

/// What a packet from the target means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Another request's identifier, or too short to have one: a late or a forged packet, to be
    /// ignored.
    Stray,
    /// An authentic response with this code.
    Code(u8),
    /// The request's identifier, and not an authentic response.
    Refused(Failure),
}

impl Expectation<'_> {
    /// Reads and verifies a packet from the target. Bytes behind the packet's own length are
    /// padding (RFC 2865 section 3).
    #[must_use]
    pub fn judge(&self, packet: &[u8]) -> Response {
        match packet {
            [_, identifier, ..] if *identifier == self.identifier => {
                self.verify(packet).map_or_else(Response::Refused, Response::Code)
            }
            _ => Response::Stray,
        }
    }

    fn verify(&self, packet: &[u8]) -> Result<u8, Failure> {
        let packet = own_length(packet)?;
        let (header, attributes) = packet.split_at(HEADER);
        let found = find_message_authenticator(attributes)?;
        let digest = Md5::new()
            .chain_update(&header[..4])
            .chain_update(self.authenticator)
            .chain_update(attributes)
            .chain_update(self.secret)
            .finalize();
        if digest[..] != header[4..] {
            return Err(Failure::BadAuthenticator("response authenticator".into()));
        }
        match found {
            Some(at) => self.verify_message(header, attributes, at)?,
            None if self.require_message_authenticator => {
                return Err(Failure::WrongAnswer("no Message-Authenticator in the response".into()));
            }
            None => {}
        }
        Ok(header[0])
    }

    fn verify_message(&self, header: &[u8], attributes: &[u8], at: usize) -> Result<(), Failure> {
        let (before, rest) = attributes.split_at(at);
        let (code, after) = rest.split_at(BLOCK);
        message_authenticator(self.secret, &header[..4])
            .chain_update(self.authenticator)
            .chain_update(before)
            .chain_update([0; BLOCK])
            .chain_update(after)
            .verify_slice(code)
            .map_err(|_| Failure::BadAuthenticator("Message-Authenticator".into()))
    }
}

/// Cuts the packet at the length that it states.
fn own_length(packet: &[u8]) -> Result<&[u8], Failure> {
    let malformed = |text: String| Failure::MalformedReply(text.into());
    let Some((&[_, _, high, low], _)) = packet.split_first_chunk::<4>() else {
        return Err(malformed(format!("{} bytes, less than a header", packet.len())));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(HEADER..=MAX_PACKET).contains(&length) {
        return Err(malformed(format!("invalid length {length}")));
    }
    packet.get(..length).ok_or_else(|| malformed(format!("length {length}, but {} bytes came", packet.len())))
}

/// Walks all attributes; says where the value of Message-Authenticator begins.
fn find_message_authenticator(attributes: &[u8]) -> Result<Option<usize>, Failure> {
    let malformed = |text: String| Failure::MalformedReply(text.into());
    let mut found = None;
    let mut at = 0;
    while at < attributes.len() {
        let [kind, length, ..] = attributes[at..] else {
            return Err(malformed("an attribute without a length".into()));
        };
        let end = at + usize::from(length);
        if length < 2 || end > attributes.len() {
            return Err(malformed(format!("attribute {kind} has the invalid length {length}")));
        }
        if kind == MESSAGE_AUTHENTICATOR {
            if usize::from(length) != BLOCK + 2 || found.is_some() {
                return Err(malformed("Message-Authenticator is not 16 bytes, or is there twice".into()));
            }
            found = Some(at + 2);
        }
        at = end;
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
