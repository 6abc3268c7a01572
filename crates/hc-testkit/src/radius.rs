//! RADIUS responses, right or wrong, and a reader of requests: a second writing of RFC 2865 that
//! shares nothing with the code under test but the digests.

use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct RadiusRequest {
    /// Code.
    pub code: u8,
    /// Identifier.
    pub identifier: u8,
    /// Request authenticator.
    pub authenticator: [u8; 16],
    /// Types and values, in order.
    pub attributes: Vec<(u8, Vec<u8>)>,
    packet: Vec<u8>,
}

impl RadiusRequest {
    /// Reads a request strictly. `None` when anything is wrong with its form.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (header, mut rest) = packet.split_first_chunk::<20>()?;
        if usize::from(u16::from_be_bytes([header[2], header[3]])) != packet.len() {
            return None;
        }
        let mut attributes = Vec::new();
        while let [kind, length, ..] = *rest {
            let length = usize::from(length);
            let value = rest.get(2..length)?;
            // No attribute may be empty (RFC 2865 section 5).
            if value.is_empty() {
                return None;
            }
            attributes.push((kind, value.to_vec()));
            rest = &rest[length..];
        }
        rest.is_empty().then(|| Self {
            code: header[0],
            identifier: header[1],
            authenticator: *header.last_chunk().expect("16 of 20 bytes"),
            attributes,
            packet: packet.to_vec(),
        })
    }

    /// The value of the first attribute of a type.
    #[must_use]
    pub fn attribute(&self, kind: u8) -> Option<&[u8]> {
        self.attributes.iter().find(|(k, _)| *k == kind).map(|(_, value)| &**value)
    }

    /// The password, its padding taken off.
    #[must_use]
    pub fn password(&self, secret: &[u8]) -> Option<Vec<u8>> {
        let hidden = self.attribute(2)?;
        let mut previous = self.authenticator.to_vec();
        let mut plain = Vec::new();
        for block in hidden.chunks(16) {
            let mask = Md5::digest([secret, &previous].concat());
            plain.extend(block.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
            previous = block.to_vec();
        }
        let end = plain.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        plain.truncate(end);
        Some(plain)
    }

    /// Whether the first attribute is a Message-Authenticator that fits `secret`.
    #[must_use]
    pub fn is_authentic(&self, secret: &[u8]) -> bool {
        let Some((80, value)) = self.attributes.first() else { return false };
        let mut zeroed = self.packet.clone();
        zeroed[22..38].fill(0);
        hmac_md5(secret, &zeroed)[..] == **value
    }
}

fn hmac_md5(secret: &[u8], bytes: &[u8]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(secret).expect("any key is long enough");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// What is done about Message-Authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageAuthenticator {
    Absent,
    Right,
    Wrong,
}

/// A response in the making.
#[derive(Clone, Debug)]
pub struct RadiusReply {
    code: u8,
    identifier: u8,
    request_authenticator: [u8; 16],
    attributes: Vec<u8>,
    message_authenticator: MessageAuthenticator,
}

impl RadiusReply {
    /// A response with this code, right in all else, without Message-Authenticator.
    #[must_use]
    pub fn to(request: &RadiusRequest, code: u8) -> Self {
        Self {
            code,
            identifier: request.identifier,
            request_authenticator: request.authenticator,
            attributes: Vec::new(),
            message_authenticator: MessageAuthenticator::Absent,
        }
    }

    /// The identifier that comes after the right one.
    #[must_use]
    pub fn wrong_identifier(mut self) -> Self {
        self.identifier = self.identifier.wrapping_add(1);
        self
    }

    /// One more attribute.
    ///
    /// # Panics
    /// When the value is longer than 253 bytes.
    #[must_use]
    pub fn attribute(mut self, kind: u8, value: &[u8]) -> Self {
        self.attributes.push(kind);
        self.attributes.push(u8::try_from(value.len() + 2).expect("at most 253 bytes"));
        self.attributes.extend_from_slice(value);
        self
    }

    /// Bytes in the place of attributes.
    #[must_use]
    pub fn junk(mut self, bytes: &[u8]) -> Self {
        self.attributes.extend_from_slice(bytes);
        self
    }

    /// A right Message-Authenticator, first.
    #[must_use]
    pub fn message_authenticator(mut self) -> Self {
        self.message_authenticator = MessageAuthenticator::Right;
        self
    }

    /// A wrong Message-Authenticator under a right response authenticator.
    #[must_use]
    pub fn wrong_message_authenticator(mut self) -> Self {
        self.message_authenticator = MessageAuthenticator::Wrong;
        self
    }

    /// The bytes, with the response authenticator that fits `secret`.
    ///
    /// # Panics
    /// When there are more attributes than a packet holds.
    #[must_use]
    pub fn build(&self, secret: &[u8]) -> Vec<u8> {
        let with_code = self.message_authenticator != MessageAuthenticator::Absent;
        let code =
            if with_code { &[80, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..] } else { &[] };
        let length =
            u16::try_from(20 + code.len() + self.attributes.len()).expect("a packet of a test is short");
        let mut packet = vec![self.code, self.identifier];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&self.request_authenticator);
        packet.extend_from_slice(code);
        packet.extend_from_slice(&self.attributes);
        if with_code {
            let mut value = hmac_md5(secret, &packet);
            if self.message_authenticator == MessageAuthenticator::Wrong {
                value[0] ^= 1;
            }
            packet[22..38].copy_from_slice(&value);
        }
        let authenticator = Md5::digest([&packet, secret].concat());
        packet[4..20].copy_from_slice(&authenticator);
        packet
    }
}
