//! The local ports of SYNs, and the numbers that SYNs have.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hc_types::{LocalFault, Target};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::Instant;

use crate::fault::{self, ProbeError};
use crate::icmp::echo::Family;

/// How many ports a mux has. Probes of one address and port that are in flight together need one
/// each, and a peer that has missed the end of the connection before is asked from another.
pub(super) const PORTS: usize = 8;

/// Ports that are ours alone: a TCP socket is bound to each, and neither listens nor connects. So
/// the kernel gives them to no other socket, and answers what comes to them with a RST.
#[derive(Debug)]
pub(super) struct Ports {
    _held: Vec<Socket>,
    numbers: Vec<u16>,
}

impl Ports {
    /// Takes ports that nobody uses, on all addresses; for the interface of the target if it has
    /// one, since a VRF has ports of its own.
    pub(super) fn reserve(family: Family, target: &Target) -> Result<Self, ProbeError> {
        let (domain, any) = match family {
            Family::V4 => (Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            Family::V6 => (Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        let failed = |error: io::Error| fault::before_sending(&error);
        let (mut held, mut numbers) = (Vec::with_capacity(PORTS), Vec::with_capacity(PORTS));
        for _ in 0..PORTS {
            let socket = Socket::new(domain, Type::STREAM.cloexec(), Some(Protocol::TCP)).map_err(failed)?;
            if family == Family::V6 {
                socket.set_only_v6(true).map_err(failed)?;
            }
            if let Some(device) = target.device() {
                let bound = socket.bind_device(Some(device.as_bytes()));
                bound.map_err(|error| fault::binding(&error, target.ip()))?;
            }
            socket.bind(&any.into()).map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?.as_socket();
            numbers.push(address.ok_or(LocalFault::Ports)?.port());
            held.push(socket);
        }
        Ok(Self { _held: held, numbers })
    }

    pub(super) fn numbers(&self) -> &[u16] {
        &self.numbers
    }
}

/// Initial sequence numbers (RFC 6528): a clock of 4 µs, and an offset for each pair of ends that
/// nobody else can know. So nobody can forge an answer unseen, and the next number of a pair is
/// above the one before: a peer or a firewall that still has that connection in mind takes the SYN
/// for a new one.
#[derive(Debug)]
pub(super) struct Sequences {
    key: RandomState,
    since: Instant,
}

impl Default for Sequences {
    fn default() -> Self {
        Self { key: RandomState::new(), since: Instant::now() }
    }
}

impl Sequences {
    pub(super) fn next(&self, from: SocketAddr, to: SocketAddr) -> u32 {
        let ticks = u64::try_from(self.since.elapsed().as_micros() / 4).unwrap_or_default();
        let [a, b, c, d, ..] = self.key.hash_one((from, to)).wrapping_add(ticks).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}
