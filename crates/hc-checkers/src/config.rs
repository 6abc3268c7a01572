//! What all probes have in common.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::{ProbeMemory, Roots, TlsSessions};

/// How a TCP connection that carried nothing is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Close {
    /// With a reset before the handshake is complete, where the kernel allows: the backend's
    /// application sees no connection, and no TIME_WAIT is left here. What HAProxy does.
    #[default]
    Reset,
    /// With a FIN: the backend accepts a connection and sees it close; TIME_WAIT is left here.
    Graceful,
}

/// The `User-Agent` of HTTP checks (RFC 9110 section 10.1.5). Default: `hc-server/` and the
/// version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent(Cow<'static, str>);

impl UserAgent {
    /// A text that is sent as it stands.
    ///
    /// # Errors
    /// [`UserAgentError`] for an empty text, and for one with a control character.
    pub fn new(text: impl Into<String>) -> Result<Self, UserAgentError> {
        let text = text.into();
        if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(UserAgentError(text));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for UserAgent {
    fn default() -> Self {
        Self(concat!("hc-server/", env!("CARGO_PKG_VERSION")).into())
    }
}

/// Why a text cannot be a [`UserAgent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is empty or has a control character")]
pub struct UserAgentError(String);

/// What all probes have in common. Cheap to clone, and `Send`: each shard gets a copy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckersConfig {
    /// How a TCP connection that carried nothing is closed. Default: [`Close::Reset`].
    pub close: Close,
    /// What certificates are verified against. Default: the roots of the system, see [`Roots`].
    pub roots: Roots,
    /// The address that RADIUS requests name as their sender. Default: the local address of each
    /// request's socket.
    pub nas_ip: Option<IpAddr>,
    /// What HTTP requests say of their sender. Default: `hc-server/` and the version of this crate.
    pub user_agent: UserAgent,
    /// Connections of marked probes that one [`Checkers`](crate::Checkers) keeps after the verdict,
    /// for up to 2.2 s each, until the peer has closed too. Each has a descriptor. Of more than
    /// these, and at least one, the oldest is closed. Default: 256.
    pub max_lingering: usize,
    /// Sockets of TCP probes that connect and send nothing, which one
    /// [`Checkers`](crate::Checkers) keeps to connect them again. Each has a descriptor. One that is
    /// not used for 10 s is closed by the next such probe, and none is used for more than 60 s. 0:
    /// each probe opens its own. Default: 64.
    pub max_idle: usize,
    /// Connections of HTTP probes that go over kept ones (`reuse`), which one
    /// [`Checkers`](crate::Checkers) keeps between probes. Each has a descriptor. Of more than these
    /// the one that was kept longest is closed, and its check makes a new one. 0: none is kept.
    /// Default: 512.
    pub max_kept: usize,
    /// What backends can make all probes hold that share it. Default: a limit of its own of
    /// [`ProbeMemory::DEFAULT`] bytes.
    pub memory: ProbeMemory,
    /// The TLS sessions of checks that resume them. Default: a store of its own of
    /// [`TlsSessions::DEFAULT`] bytes, empty until a check asks for it.
    pub tls_sessions: TlsSessions,
    /// Keep of probes that pass, too, what a TLS handshake came to, and the beginning of the answer
    /// of RADIUS and of HTTP/1.1 whose body is judged. Default: false.
    pub full_evidence: bool,
}

impl Default for CheckersConfig {
    fn default() -> Self {
        Self {
            close: Close::default(),
            roots: Roots::default(),
            nas_ip: None,
            user_agent: UserAgent::default(),
            max_lingering: 256,
            max_idle: 64,
            max_kept: 512,
            memory: ProbeMemory::default(),
            tls_sessions: TlsSessions::default(),
            full_evidence: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_agent_is_one_line() {
        assert_eq!(UserAgent::new("probe/2 (lb-7)").unwrap().as_str(), "probe/2 (lb-7)");
        for text in ["", "a\r\nHost: b", "a\0"] {
            assert!(UserAgent::new(text).is_err(), "{text:?}");
        }
    }
}
