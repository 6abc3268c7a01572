//! SMTP: replies (RFC 5321 section 4.2), and a check in it.

use hc_types::{Failure, SmtpDialogue};

use super::received::{Next, Received, Talk, malformed, mismatch};

/// The longest reply, in bytes. RFC 5321 section 4.5.3.1.5 allows 512 for a line.
const MAX_REPLY: usize = 16 * 1024;

/// Reads the reply that the bytes begin with, and says how many it takes. `None`: it is not
/// complete.
///
/// # Errors
/// With the line that is none of a reply; an empty one for a reply of more than 16 KiB.
pub fn reply(bytes: &[u8]) -> Result<Option<(u16, usize)>, &[u8]> {
    let seen = &bytes[..bytes.len().min(MAX_REPLY)];
    let mut at = 0;
    loop {
        let rest = &seen[at..];
        // What cannot become a code is none, however long it is.
        if !rest.iter().take(3).all(u8::is_ascii_digit) {
            return Err(rest);
        }
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return if seen.len() == MAX_REPLY { Err(&[]) } else { Ok(None) };
        };
        let code = match rest[..end].trim_ascii_end() {
            [a, b, c, more @ ..] => {
                let code = [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(*digit - b'0'));
                match more {
                    [] | [b' ', ..] => Some(code),
                    [b'-', ..] => None,
                    _ => return Err(rest),
                }
            }
            _ => return Err(rest),
        };
        at += end + 1;
        if let Some(code) = code {
            return Ok(Some((code, at)));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Tls,
    Quit,
}

/// An SMTP check, and where it is.
#[derive(Debug)]
pub struct Smtp<'p> {
    probe: &'p SmtpDialogue,
    at: At,
    in_tls: bool,
    /// The command was sent.
    sent: bool,
}

impl<'p> Smtp<'p> {
    /// At its beginning.
    #[must_use]
    pub fn new(probe: &'p SmtpDialogue) -> Self {
        // The greeting comes without a command.
        Self { probe, at: At::Greeting, in_tls: false, sent: true }
    }

    fn go(&mut self, to: At) {
        (self.at, self.sent) = (to, false);
    }

    fn command(&self) -> Vec<u8> {
        let hello = &self.probe.hello;
        match self.at {
            At::Greeting | At::Tls => String::new(),
            At::Ehlo => format!("EHLO {hello}\r\n"),
            At::Helo => format!("HELO {hello}\r\n"),
            At::StartTls => "STARTTLS\r\n".to_owned(),
            At::Quit => "QUIT\r\n".to_owned(),
        }
        .into_bytes()
    }
}

impl Talk for Smtp<'_> {
    fn next(&mut self, received: &mut Received<'_>) -> Result<Next, Failure> {
        loop {
            if !self.sent {
                self.sent = true;
                return Ok(match self.at {
                    At::Tls => Next::StartTls,
                    _ => Next::Send(self.command()),
                });
            }
            if self.at == At::Tls {
                // EHLO again: what was said before TLS does not count (RFC 3207 section 4.2).
                self.in_tls = true;
                self.go(At::Ehlo);
                continue;
            }
            let rest = received.rest();
            let (code, used) = match reply(rest) {
                Ok(Some(reply)) => reply,
                // Whether the farewell is answered does not matter.
                Ok(None) if received.ended && self.at == At::Quit => return Ok(Next::PASS),
                Ok(None) => return Ok(Next::Read),
                Err([]) => return Err(malformed("a reply of more than 16 KiB")),
                Err(line) => return Err(mismatch(line, b"220 ready ESMTP")),
            };
            let wants_tls = self.probe.starttls && !self.in_tls;
            match (self.at, code) {
                (At::Greeting, 220) => self.go(At::Ehlo),
                (At::Ehlo | At::Helo, 250) if wants_tls => self.go(At::StartTls),
                (At::Ehlo | At::Helo, 250) => self.go(At::Quit),
                // A server older than RFC 1869.
                (At::Ehlo, 500..=504) if !wants_tls => self.go(At::Helo),
                (At::StartTls, 220) => self.go(At::Tls),
                (At::Quit, _) => {
                    received.take(used);
                    return Ok(Next::PASS);
                }
                _ => return Err(mismatch(&rest[..used], b"220 ready ESMTP")),
            }
            received.take(used);
        }
    }

    fn step(&self) -> String {
        match self.at {
            At::Greeting => "the greeting",
            At::Ehlo => "EHLO",
            At::Helo => "HELO",
            At::StartTls | At::Tls => "STARTTLS",
            At::Quit => "QUIT",
        }
        .to_owned()
    }
}
