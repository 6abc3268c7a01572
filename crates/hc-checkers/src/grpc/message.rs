//! The two messages of `grpc.health.v1.Health/Check`, and how gRPC frames them.

use std::fmt;

/// What a service says of itself (`HealthCheckResponse.ServingStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServingStatus {
    /// 0, also when nothing is said.
    Unknown,
    /// 1.
    Serving,
    /// 2.
    NotServing,
    /// 3; from `Watch` alone, by the protocol.
    ServiceUnknown,
    /// A number that the protocol does not have.
    Other(u64),
}

impl fmt::Display for ServingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("UNKNOWN"),
            Self::Serving => f.write_str("SERVING"),
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::ServiceUnknown => f.write_str("SERVICE_UNKNOWN"),
            Self::Other(number) => write!(f, "{number}, a status that there is not"),
        }
    }
}

/// Why content is not one message of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A flag of 1 or more: no compression was asked for.
    #[error("gRPC: a compressed message, and none was asked for")]
    Compressed,
    /// Longer than [`Messages::LONGEST`].
    #[error("gRPC: a message of {0} bytes is no answer of a health check")]
    TooLong(u32),
    /// Content after the message.
    #[error("gRPC: more than one message")]
    Several,
    /// The content ends within the message, or before it.
    #[error("gRPC: the call ended well without a whole message")]
    Cut,
    /// Not protobuf.
    #[error("gRPC: the message is not a HealthCheckResponse")]
    Protobuf,
}

/// Flag and length of a message.
const PREFIX: usize = 5;

/// A request for this service, framed: field 1 of `HealthCheckRequest`, left out if it is empty.
#[must_use]
pub fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 8);
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// The content of a response as it comes: one message, in whatever pieces.
#[derive(Clone, Debug, Default)]
pub struct Messages(Vec<u8>);

impl Messages {
    /// The longest message that is read, its prefix included. The protocol's own takes seven bytes
    /// at most.
    pub const LONGEST: u32 = 4096;

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.len()
    }

    /// Takes a piece of content.
    ///
    /// # Errors
    /// As soon as the content cannot be one message.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), MessageError> {
        let room = Self::LONGEST as usize - self.0.len();
        self.0.extend_from_slice(&piece[..piece.len().min(room)]);
        if self.0.first().is_some_and(|flag| *flag != 0) {
            return Err(MessageError::Compressed);
        }
        let Some(whole) = self.whole() else { return Ok(()) };
        if whole > Self::LONGEST as usize {
            return Err(MessageError::TooLong(u32::try_from(whole - PREFIX).unwrap_or(u32::MAX)));
        }
        if self.0.len() > whole || piece.len() > room {
            return Err(MessageError::Several);
        }
        Ok(())
    }

    /// How long the message is with its prefix, once that has come.
    fn whole(&self) -> Option<usize> {
        let [_, a, b, c, d, ..] = self.0[..] else { return None };
        usize::try_from(u32::from_be_bytes([a, b, c, d])).ok().map(|length| length.saturating_add(PREFIX))
    }

    /// What the message says, once the content has ended.
    ///
    /// # Errors
    /// It is not whole, or not of the protocol.
    pub fn status(&self) -> Result<ServingStatus, MessageError> {
        if self.whole() != Some(self.0.len()) {
            return Err(MessageError::Cut);
        }
        let mut rest = &self.0[PREFIX..];
        // Of a field that is there several times the last one counts.
        let mut status = 0;
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            match (tag >> 3, tag & 7) {
                (0, _) => return Err(MessageError::Protobuf),
                (1, 0) => status = varint(&mut rest)?,
                (1, _) => return Err(MessageError::Protobuf),
                (_, 0) => _ = varint(&mut rest)?,
                (_, 1) => skip(&mut rest, 8)?,
                (_, 5) => skip(&mut rest, 4)?,
                (_, 2) => {
                    let length = varint(&mut rest)?;
                    skip(&mut rest, length)?;
                }
                _ => return Err(MessageError::Protobuf),
            }
        }
        Ok(match status {
            0 => ServingStatus::Unknown,
            1 => ServingStatus::Serving,
            2 => ServingStatus::NotServing,
            3 => ServingStatus::ServiceUnknown,
            other => ServingStatus::Other(other),
        })
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, MessageError> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let [byte, after @ ..] = rest else { return Err(MessageError::Protobuf) };
        *rest = after;
        // Bits beyond 64 are dropped, as protobuf's own readers do.
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(MessageError::Protobuf)
}

fn skip(rest: &mut &[u8], length: u64) -> Result<(), MessageError> {
    let after = usize::try_from(length).ok().and_then(|length| rest.get(length..));
    *rest = after.ok_or(MessageError::Protobuf)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<ServingStatus, MessageError> {
        let mut messages = Messages::default();
        pieces.iter().try_for_each(|piece| messages.take(piece))?;
        messages.status()
    }

    #[test]
    fn requests_are_as_protobuf_writes_them() {
        assert_eq!(request(""), b"\0\0\0\0\0");
        assert_eq!(request("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = request(&"a".repeat(300));
        assert_eq!(long[..8], *b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn a_message_is_read_in_any_pieces() {
        assert_eq!(read(&[b"\0\0\0\0\x02\x08\x01"]), Ok(ServingStatus::Serving));
        assert_eq!(read(&[b"\0\0", b"", b"\0\0\x02", b"\x08", b"\x02"]), Ok(ServingStatus::NotServing));
        assert_eq!(read(&[b"\0\0\0\0\0"]), Ok(ServingStatus::Unknown));
        assert_eq!(read(&[b"\0\0\0\0\x02\x08\x03"]), Ok(ServingStatus::ServiceUnknown));
        assert_eq!(read(&[b"\0\0\0\0\x02\x08\x63"]), Ok(ServingStatus::Other(99)));
        // Fields of a later version are skipped: a string, a double, a float; the last status
        // counts.
        let later = b"\0\0\0\0\x16\x08\x02\x12\x02ab\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0\x08\x01";
        assert_eq!(read(&[later]), Ok(ServingStatus::Serving));
    }

    #[test]
    fn what_is_not_one_message_is_an_error() {
        assert_eq!(read(&[b"\x01\0\0\0\x02\x08\x01"]), Err(MessageError::Compressed));
        assert_eq!(read(&[b"\0\0\0\0\x02\x08\x01", b"\0"]), Err(MessageError::Several));
        assert_eq!(read(&[b"\0\xff\xff\xff\xff"]), Err(MessageError::TooLong(u32::MAX)));
        assert_eq!(read(&[&[0; 5000]]), Err(MessageError::Several));
        for cut in [&b""[..], b"\0\0\0", b"\0\0\0\0\x02\x08"] {
            assert_eq!(read(&[cut]), Err(MessageError::Cut));
        }
        for wrong in [
            &b"\x08"[..],
            b"\x0a\x01a",
            b"\x0b",
            b"\x12\x09a",
            b"\x00",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            let framed = [&[0, 0, 0, 0, u8::try_from(wrong.len()).unwrap()], wrong].concat();
            assert_eq!(read(&[&framed]), Err(MessageError::Protobuf), "{wrong:?}");
        }
    }
}
