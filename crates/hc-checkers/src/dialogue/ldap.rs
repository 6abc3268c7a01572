//! LDAP messages in BER (RFC 4511, X.690), as much as a check needs.

use hc_types::{Failure, LdapDialogue, Pass};

use super::received::{Next, Received, Talk, malformed, mismatch, refused};

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// How many entries and references may come before the result. The root DSE is one.
const MAX_ENTRIES: u8 = 16;

/// StartTLS (RFC 4511 section 4.14.1).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// UnbindRequest, with the message id 9.
const FAREWELL: &[u8] = &[0x30, 5, 2, 1, 9, 0x42, 0];

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 2;
const OCTET_STRING: u8 = 4;
const ENUMERATED: u8 = 10;
const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const SEARCH_REQUEST: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;

/// Writes an element: tag, length, value.
#[must_use]
pub fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(value.len()) {
        Ok(length @ 0..=127) => bytes.push(length),
        _ => {
            // Names and passwords come from a file of checks, which is shorter than 4 GiB.
            bytes.push(0x84);
            bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    bytes.extend_from_slice(value);
    bytes
}

/// An element: its tag and its value.
pub type Element<'b> = (u8, &'b [u8]);

/// Reads the element that the bytes begin with, and gives what follows it. `None`: it is not
/// complete.
///
/// # Errors
/// In words, for a length of more than 64 KiB, and for one that is written as LDAP forbids (RFC
/// 4511 section 5.1).
pub fn read(bytes: &[u8]) -> Result<Option<(Element<'_>, &[u8])>, &'static str> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err("a tag of more than one byte");
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x80 => return Err("a length without an end"),
        _ => {
            let count = usize::from(first & 0x7f);
            if count > 8 {
                return Err("a length of more than 8 bytes");
            }
            let Some(bytes) = rest.get(..count) else { return Ok(None) };
            let length = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            if length > MAX_MESSAGE as u64 {
                return Err("an element of more than 64 KiB");
            }
            // Not above 64 Ki.
            (usize::try_from(length).unwrap_or(MAX_MESSAGE), &rest[count..])
        }
    };
    Ok(rest.split_at_checked(length).map(|(value, rest)| ((*tag, value), rest)))
}

/// An element that must be complete, and what follows it.
fn whole(bytes: &[u8]) -> Result<(Element<'_>, &[u8]), &'static str> {
    read(bytes)?.ok_or("an element that is longer than what is around it")
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'b> {
    /// Whose answer it is; 0 for none.
    pub id: &'b [u8],
    /// What it is.
    pub operation: u8,
    /// The rest of it.
    pub body: &'b [u8],
}

/// Reads the message that the bytes begin with, and says how many it takes. `None`: it is not
/// complete.
///
/// # Errors
/// In words, when they are none.
pub fn message(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>, &'static str> {
    let Some(((_, message), rest)) = read(bytes)? else { return Ok(None) };
    let used = bytes.len() - rest.len();
    let ((tag, id), more) = whole(message)?;
    if tag != INTEGER {
        return Err("a message without an id");
    }
    let ((operation, body), _controls) = whole(more)?;
    Ok(Some((Message { id, operation, body }, used)))
}

/// Reads an LDAPResult: its code, and the text of the server.
///
/// # Errors
/// In words, when the bytes are none.
pub fn result(body: &[u8]) -> Result<(u8, &[u8]), &'static str> {
    let ((tag, code), rest) = whole(body)?;
    let ([code], ENUMERATED) = (code, tag) else { return Err("a result without a code") };
    let (_matched, rest) = whole(rest)?;
    let ((_, text), _) = whole(rest)?;
    Ok((*code, text))
}

/// The names of the results that a check meets (RFC 4511 appendix A).
fn result_name(code: u8) -> &'static str {
    match code {
        1 => " (operationsError)",
        2 => " (protocolError)",
        8 => " (strongerAuthRequired)",
        10 => " (referral)",
        13 => " (confidentialityRequired)",
        32 => " (noSuchObject)",
        48 => " (inappropriateAuthentication)",
        49 => " (invalidCredentials)",
        50 => " (insufficientAccessRights)",
        51 => " (busy)",
        52 => " (unavailable)",
        53 => " (unwillingToPerform)",
        80 => " (other)",
        _ => "",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    StartTls,
    Tls,
    Bind,
    Search,
}

/// An LDAP check, and where it is.
#[derive(Debug)]
pub struct Ldap<'p> {
    probe: &'p LdapDialogue,
    at: At,
    sent: bool,
    entries: u8,
}

impl<'p> Ldap<'p> {
    /// At its beginning.
    #[must_use]
    pub fn new(probe: &'p LdapDialogue) -> Self {
        let at = if probe.starttls { At::StartTls } else { Self::after_tls(probe) };
        Self { probe, at, sent: false, entries: 0 }
    }

    fn after_tls(probe: &LdapDialogue) -> At {
        if probe.username.is_empty() { At::Search } else { At::Bind }
    }

    fn go(&mut self, to: At) {
        (self.at, self.sent) = (to, false);
    }

    fn id(&self) -> u8 {
        match self.at {
            At::StartTls | At::Tls => 1,
            At::Bind => 2,
            At::Search => 3,
        }
    }

    fn request(&self) -> Vec<u8> {
        let operation = match self.at {
            At::StartTls | At::Tls => element(EXTENDED_REQUEST, &element(0x80, START_TLS)),
            At::Bind => {
                let name = element(OCTET_STRING, self.probe.username.as_bytes());
                let password = element(0x80, self.probe.password.expose());
                element(BIND_REQUEST, &[&[INTEGER, 1, 3][..], &name, &password].concat())
            }
            At::Search => {
                // The base "", this object alone, aliases as they are, one entry, no time limit,
                // all of the attributes, objectClass=*; and of the attributes none (RFC 4511
                // section 4.5.1.8).
                let scope = [
                    OCTET_STRING,
                    0,
                    ENUMERATED,
                    1,
                    0,
                    ENUMERATED,
                    1,
                    0,
                    INTEGER,
                    1,
                    1,
                    INTEGER,
                    1,
                    0,
                    1,
                    1,
                    0,
                ];
                let filter = element(0x87, b"objectClass");
                let attributes = element(SEQUENCE, &element(OCTET_STRING, b"1.1"));
                element(SEARCH_REQUEST, &[&scope[..], &filter, &attributes].concat())
            }
        };
        element(SEQUENCE, &[&[INTEGER, 1, self.id()][..], &operation].concat())
    }

    fn judge(&mut self, message: Message<'_>) -> Result<Option<Next>, Failure> {
        let Message { id, operation, body } = message;
        if id == [0] && operation == EXTENDED_RESPONSE {
            // RFC 4511 section 4.4.1.
            let (code, text) = result(body).map_err(malformed)?;
            return Err(refused(
                &format!("it ends the connection, result {code}{}: ", result_name(code)),
                text,
            ));
        }
        if id != [self.id()] {
            return Err(malformed("an answer to another request"));
        }
        match (self.at, operation) {
            (At::Search, SEARCH_ENTRY | SEARCH_REFERENCE) if self.entries < MAX_ENTRIES => {
                self.entries += 1;
                return Ok(None);
            }
            (At::StartTls, EXTENDED_RESPONSE) | (At::Bind, BIND_RESPONSE) | (At::Search, SEARCH_DONE) => {}
            _ => return Err(malformed(format!("an answer with the tag {operation:#04x}"))),
        }
        let (code, text) = result(body).map_err(malformed)?;
        if code != 0 {
            return Err(refused(&format!("result {code}{}: ", result_name(code)), text));
        }
        match self.at {
            At::StartTls | At::Tls => self.go(At::Tls),
            At::Bind => self.go(At::Search),
            At::Search => return Ok(Some(Next::Pass { pass: Pass::Plain, farewell: FAREWELL })),
        }
        Ok(None)
    }
}

impl Talk for Ldap<'_> {
    fn next(&mut self, received: &mut Received<'_>) -> Result<Next, Failure> {
        loop {
            if !self.sent {
                self.sent = true;
                return Ok(match self.at {
                    At::Tls => Next::StartTls,
                    _ => Next::Send(self.request()),
                });
            }
            if self.at == At::Tls {
                self.go(Self::after_tls(self.probe));
                continue;
            }
            let rest = received.rest();
            if rest.first().is_some_and(|tag| *tag != SEQUENCE) {
                return Err(mismatch(rest, &[SEQUENCE, 12, 2, 1, 1, 0x61, 7]));
            }
            let Some((message, used)) = message(rest).map_err(malformed)? else { return Ok(Next::Read) };
            let next = self.judge(message)?;
            received.take(used);
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    fn step(&self) -> String {
        match self.at {
            At::StartTls | At::Tls => "StartTLS",
            At::Bind => "the bind",
            At::Search => "the search of the root DSE",
        }
        .to_owned()
    }
}
