//! What a backend that passed has answered.

use std::fmt;
use std::net::IpAddr;

use crate::{Rcode, radius_code_name};

/// What a backend that passed has answered, in a form that costs a check at rest little.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pass {
    /// Nothing that says more than "it passed": TCP, UDP, ICMP.
    Plain,
    /// HTTP: the status of the response.
    Http {
        /// Its code, such as 200.
        code: u16,
        /// How the peer wrote it: see [`Pass::status_text`].
        text: StatusText,
    },
    /// DNS: the record or the response code that was accepted.
    Dns(Box<DnsAnswer>),
    /// RADIUS: the code of the response.
    Radius(u8),
    /// A dialogue: what the peer said of itself, in words such as `it asks for SCRAM-SHA-256`.
    /// Behind two pointers, so that an [`Outcome`](crate::Outcome) stays at 24 bytes.
    Answer(Box<Box<str>>),
    /// It passed, and somebody should look at it.
    Warned(Box<Warned>),
}

/// A pass with a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warned {
    /// What was answered.
    pub pass: Pass,
    /// What somebody should look at, such as a certificate that ends soon.
    pub warning: Box<str>,
}

impl Pass {
    /// An HTTP response with this status. `text` is the status line after the version, such as
    /// `200 OK`.
    #[must_use]
    pub fn http(code: u16, text: &str) -> Self {
        Self::Http { code, text: StatusText::new(code, text) }
    }

    /// The same with the usual text of its code; without a text if it has none.
    pub(crate) fn usual_http(code: u16) -> Self {
        Self::Http { code, text: StatusText(None) }
    }

    /// A DNS answer.
    #[must_use]
    pub fn dns(answer: DnsAnswer) -> Self {
        Self::Dns(Box::new(answer))
    }

    /// The same with a warning, if there is one.
    #[must_use]
    pub fn warned(self, warning: Option<Box<str>>) -> Self {
        match warning {
            None => self,
            Some(warning) => Self::Warned(Box::new(Warned { pass: self, warning })),
        }
    }

    /// What somebody should look at although the backend has passed.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        match self {
            Self::Warned(warned) => Some(&warned.warning),
            _ => None,
        }
    }

    /// What a peer said of itself in a dialogue.
    #[must_use]
    pub fn answer(text: String) -> Self {
        Self::Answer(Box::new(text.into()))
    }

    /// HTTP: the status line after the version, as the peer wrote it, such as `200 OK`.
    #[must_use]
    pub fn status_text(&self) -> Option<&str> {
        if let Self::Warned(warned) = self {
            return warned.pass.status_text();
        }
        let Self::Http { code, text } = self else { return None };
        Some(match &text.0 {
            Some(text) => text,
            None => StatusText::usual(*code).unwrap_or_default(),
        })
    }
}

/// Reads on as in "HTTP GET to 192.0.2.1:80; got 200 OK". Empty for [`Pass::Plain`].
impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pass::Plain => Ok(()),
            Pass::Http { .. } => write!(f, "got {}", self.status_text().unwrap_or_default()),
            Pass::Dns(answer) => write!(f, "received answer {answer}"),
            Pass::Answer(text) => f.write_str(text),
            Pass::Radius(code) => write!(f, "got RADIUS {} response", radius_code_name(*code)),
            Pass::Warned(warned) if warned.pass == Pass::Plain => write!(f, "warning: {}", warned.warning),
            Pass::Warned(warned) => write!(f, "{}; warning: {}", warned.pass, warned.warning),
        }
    }
}

/// The text of an HTTP status, kept only where it is not the usual one of its code. Behind two
/// pointers, so that an [`Outcome`](crate::Outcome) stays at 24 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusText(Option<Box<Box<str>>>);

impl StatusText {
    /// The usual texts of the statuses that health checks get. They take no memory.
    const USUAL: &[(u16, &str)] = &[
        (200, "200 OK"),
        (201, "201 Created"),
        (202, "202 Accepted"),
        (204, "204 No Content"),
        (301, "301 Moved Permanently"),
        (302, "302 Found"),
        (304, "304 Not Modified"),
        (307, "307 Temporary Redirect"),
        (308, "308 Permanent Redirect"),
        (400, "400 Bad Request"),
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        (405, "405 Method Not Allowed"),
        (500, "500 Internal Server Error"),
        (503, "503 Service Unavailable"),
    ];

    fn new(code: u16, text: &str) -> Self {
        let is_usual = Self::usual(code) == Some(text);
        Self((!is_usual).then(|| Box::new(text.into())))
    }

    fn usual(code: u16) -> Option<&'static str> {
        Self::USUAL.iter().find(|(usual, _)| *usual == code).map(|(_, text)| *text)
    }
}

/// What was accepted in a DNS answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsAnswer {
    /// A or AAAA.
    Address(IpAddr),
    /// Another type: its data in presentation form (RFC 1035 section 5), cut where it is long.
    Text(Box<str>),
    /// A response code other than NOERROR that was expected.
    Rcode(Rcode),
}

impl fmt::Display for DnsAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnsAnswer::Address(ip) => ip.fmt(f),
            DnsAnswer::Text(text) => f.write_str(text),
            DnsAnswer::Rcode(code) => code.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_status_takes_no_memory_and_another_keeps_its_text() {
        for (code, text, kept) in [
            (200, "200 OK", false),
            (200, "200 Fine", true),
            (200, "200", true),
            (299, "299 OK", true),
            (204, "204 No Content", false),
        ] {
            let pass = Pass::http(code, text);
            assert_eq!(pass.status_text(), Some(text));
            assert!(
                matches!(pass, Pass::Http { code: got, text } if got == code && text.0.is_some() == kept)
            );
        }
        for (code, text) in StatusText::USUAL {
            assert!(text.starts_with(&code.to_string()), "{text}");
        }
    }

    #[test]
    fn a_pass_says_what_was_answered() {
        assert_eq!(Pass::Plain.to_string(), "");
        assert_eq!(Pass::http(204, "204 No Content").to_string(), "got 204 No Content");
        let address = DnsAnswer::Address("192.0.2.1".parse().unwrap());
        assert_eq!(Pass::dns(address).to_string(), "received answer 192.0.2.1");
        let text = DnsAnswer::Text("10 mail.example.".into());
        assert_eq!(Pass::dns(text).to_string(), "received answer 10 mail.example.");
        assert_eq!(Pass::answer("it is a master".into()).to_string(), "it is a master");
        assert_eq!(Pass::Radius(2).to_string(), "got RADIUS Access-Accept response");
        assert_eq!(Pass::Radius(77).to_string(), "got RADIUS (unknown 77) response");
    }
}
