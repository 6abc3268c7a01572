//! PostgreSQL's protocol 3.0 up to the authentication
//! (<https://www.postgresql.org/docs/15/protocol-message-formats.html>).

use hc_types::{Failure, Pass, PostgresqlDialogue};

use super::received::{Next, Received, Talk, malformed, mismatch, refused};

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 16 * 1024;
/// What all messages of a start take at most. A server sends some 15 of them.
const MAX_ALL: usize = 64 * 1024;
/// The version of the protocol.
const VERSION: u32 = 3 << 16;
/// The request for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// Terminate.
const FAREWELL: &[u8] = b"X\0\0\0\x04";

/// A message, without its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'b> {
    /// Its type.
    pub kind: u8,
    /// What follows the length.
    pub body: &'b [u8],
}

/// Reads the message that the bytes begin with, and says how many it takes. `None`: it is not
/// complete.
///
/// # Errors
/// In words, when they are none.
pub fn message(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>, &'static str> {
    let Some((&[kind, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if kind == b'E' && !(8..=MAX_MESSAGE).contains(&length) {
        // As before protocol 3.0, and still when no process could be started: a text.
        return match bytes.iter().take(MAX_MESSAGE).position(|byte| *byte == 0) {
            Some(end) => Ok(Some((Message { kind: b'e', body: &bytes[1..end] }, end + 1))),
            None if bytes.len() >= MAX_MESSAGE => Err("an error without an end"),
            None => Ok(None),
        };
    }
    match length.checked_sub(4) {
        Some(length) if length <= MAX_MESSAGE => {
            Ok(rest.get(..length).map(|body| (Message { kind, body }, 5 + length)))
        }
        _ => Err("a message with an impossible length"),
    }
}

/// The field of an ErrorResponse with this code; empty if there is none.
#[must_use]
pub fn field(body: &[u8], code: u8) -> &[u8] {
    body.split(|byte| *byte == 0)
        .find_map(|field| field.split_first().filter(|(of, _)| **of == code))
        .map(|(_, text)| text)
        .unwrap_or_default()
}

/// A PostgreSQL check, and where it is.
#[derive(Debug)]
pub struct Postgresql<'p> {
    probe: &'p PostgresqlDialogue,
    at: At,
    is_let_in: bool,
    taken: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Request,
    Offer,
    Startup,
    Answer,
}

impl<'p> Postgresql<'p> {
    /// At its beginning.
    #[must_use]
    pub fn new(probe: &'p PostgresqlDialogue, tls: bool) -> Self {
        let at = if tls { At::Request } else { At::Startup };
        Self { probe, at, is_let_in: false, taken: 0 }
    }

    fn startup(&self) -> Vec<u8> {
        let PostgresqlDialogue { username, database } = self.probe;
        let database = if database.is_empty() { username } else { database };
        let mut body = VERSION.to_be_bytes().to_vec();
        for text in ["user", username, "database", database, "application_name", "hc-server"] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        // Names come from a file of checks, which is shorter than 4 GiB.
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], &body].concat()
    }

    fn judge(&mut self, message: Message<'_>) -> Result<Option<Next>, Failure> {
        let Message { kind, body } = message;
        match kind {
            b'R' => {
                let Some((code, more)) = body.split_first_chunk::<4>() else {
                    return Err(malformed("an authentication request of less than 4 bytes"));
                };
                match u32::from_be_bytes(*code) {
                    0 => self.is_let_in = true,
                    // Closed without a word, as psql does that has no password: then the server
                    // logs nothing.
                    code => return Ok(Some(Next::Pass { pass: asked_for(code, more), farewell: &[] })),
                }
            }
            b'Z' if self.is_let_in => {
                return Ok(Some(Next::Pass {
                    pass: Pass::answer("it let us in".into()),
                    farewell: FAREWELL,
                }));
            }
            b'E' => {
                let code = String::from_utf8_lossy(field(body, b'C')).into_owned();
                let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(5).collect();
                return Err(refused(&format!("error {code}: "), field(body, b'M')));
            }
            b'e' => return Err(refused("error: ", body)),
            // ParameterStatus, BackendKeyData, NoticeResponse, NegotiateProtocolVersion.
            b'S' | b'K' if self.is_let_in => {}
            b'N' | b'v' => {}
            _ => return Err(malformed(format!("a message of type {}", char::from(kind).escape_default()))),
        }
        Ok(None)
    }
}

/// What an authentication request asks for.
fn asked_for(code: u32, more: &[u8]) -> Pass {
    let what = match code {
        2 => "Kerberos",
        3 => "a password",
        5 => "an MD5 password",
        7 | 8 => "GSSAPI",
        9 => "SSPI",
        10 if more.starts_with(b"SCRAM-SHA-256") => "SCRAM-SHA-256",
        10 => "SASL",
        _ => "an authentication of a new kind",
    };
    Pass::answer(format!("it asks for {what}"))
}

impl Talk for Postgresql<'_> {
    fn next(&mut self, received: &mut Received<'_>) -> Result<Next, Failure> {
        loop {
            match self.at {
                At::Request => {
                    self.at = At::Offer;
                    return Ok(Next::Send(SSL_REQUEST.to_vec()));
                }
                At::Offer => match received.rest() {
                    [] => return Ok(Next::Read),
                    [b'S', ..] => {
                        received.take(1);
                        self.at = At::Startup;
                        return Ok(Next::StartTls);
                    }
                    [b'N', ..] => return Err(Failure::WrongAnswer("it speaks no TLS".into())),
                    [b'E', ..] => self.at = At::Answer,
                    other => return Err(mismatch(other, b"R\0\0\0")),
                },
                At::Startup => {
                    self.at = At::Answer;
                    return Ok(Next::Send(self.startup()));
                }
                At::Answer => {
                    let rest = received.rest();
                    // Another protocol is named rather than an odd length.
                    if rest.first().is_some_and(|kind| !b"RESKNZv".contains(kind)) {
                        return Err(mismatch(rest, b"R\0\0\0"));
                    }
                    let Some((message, used)) = message(rest).map_err(malformed)? else {
                        return Ok(Next::Read);
                    };
                    if let Some(next) = self.judge(message)? {
                        received.take(used);
                        return Ok(next);
                    }
                    received.take(used);
                    self.taken += used;
                    if self.taken > MAX_ALL {
                        return Err(malformed("more than 64 KiB before it is ready"));
                    }
                }
            }
        }
    }

    fn step(&self) -> String {
        match self.at {
            At::Request | At::Offer => "SSLRequest",
            At::Startup | At::Answer => "StartupMessage",
        }
        .to_owned()
    }
}
