//! What all probes have in common.

use std::net::IpAddr;

use crate::{ProbeMemory, Roots};

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
    /// Connections of marked probes that one [`Checkers`](crate::Checkers) keeps after the verdict,
    /// for up to 2.2 s each, until the peer has closed too. Each has a descriptor. Of more than
    /// these, and at least one, the oldest is closed. Default: 256.
    pub max_lingering: usize,
    /// What backends can make all probes hold that share it. Default: a limit of its own of
    /// [`ProbeMemory::DEFAULT`] bytes.
    pub memory: ProbeMemory,
}

impl Default for CheckersConfig {
    fn default() -> Self {
        Self {
            close: Close::default(),
            roots: Roots::default(),
            nas_ip: None,
            max_lingering: 256,
            memory: ProbeMemory::default(),
        }
    }
}
