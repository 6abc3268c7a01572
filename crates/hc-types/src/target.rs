//! Where a probe goes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How marked traffic reaches the backend (`common/seesaw/seesaw.go`, `HealthcheckMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The probe goes to the backend's own address.
    #[default]
    Plain,
    /// The probe goes to the VIP; its mark selects the backend, by direct server return.
    Dsr,
    /// The probe goes to the VIP; its mark selects the backend, through a tunnel.
    Tun,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Plain => "PLAIN",
            Mode::Dsr => "DSR",
            Mode::Tun => "TUN",
        })
    }
}

/// A socket mark (`SO_MARK`), never 0: no mark is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(pub NonZeroU32);

impl Mark {
    /// The mark, or `None` for 0.
    #[must_use]
    pub fn new(mark: u32) -> Option<Self> {
        NonZeroU32::new(mark).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// Where a probe goes, and by which path.
///
/// Addresses are canonical: an IPv4-mapped IPv6 address is held as the IPv4 address that it means,
/// since Seesaw's engine sends all IPv4 addresses in mapped form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    addresses: Addresses,
    mode: Mode,
    port: u16,
    mark: Option<Mark>,
    rare: Option<Box<Rare>>,
}

/// The address that is probed, with that of the backend behind it if both are IPv4 addresses: no
/// larger than one IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Addresses {
    V4 { ip: Ipv4Addr, host: Option<Ipv4Addr> },
    V6(Ipv6Addr),
}

/// What few targets have.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Rare {
    /// Where it does not fit into [`Addresses`].
    host: Option<IpAddr>,
    via: Option<Arc<Via>>,
}

/// What few checks ask of the way to their target. The default is what all others do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Via {
    /// The local address that packets are sent from. Default: the one that the route says.
    pub source: Option<IpAddr>,
    /// The same of the other family than `source`, for a host name with addresses of both
    /// ([`CheckSpec::of_host_name`](crate::CheckSpec::of_host_name)). Default: none.
    pub second_source: Option<IpAddr>,
    /// The interface that packets leave and arrive through (`SO_BINDTODEVICE`), whatever the routes
    /// say. Default: that of the route.
    pub device: Option<Box<str>>,
    /// What is sent on a TCP connection before anything else. Default: nothing.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// The header with which a proxy says whose connection it hands on (HAProxy's `proxy-protocol.txt`,
/// sections 2.1 and 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// Version 1, a line of text with the addresses of the connection itself.
    V1,
    /// Version 2, binary, with the addresses of the connection itself.
    V2,
    /// Version 2 with the command LOCAL and no addresses: the proxy speaks for itself.
    V2Local,
}

impl Target {
    /// The same target by this way.
    #[must_use]
    pub fn via(self, mut via: Via) -> Self {
        for source in [&mut via.source, &mut via.second_source] {
            *source = source.map(|ip| ip.to_canonical());
        }
        self.via_shared(&Arc::new(via))
    }

    /// The same with a way that other targets have, too.
    #[must_use]
    pub fn via_shared(self, via: &Arc<Via>) -> Self {
        let via = (**via != Via::default()).then(|| Arc::clone(via));
        Self::build(self.ip(), self.host(), via, (self.port, self.mode, self.mark))
    }

    /// The local address that packets are sent from, if it is not the one that the route says. Of
    /// two sources it is the one of the target's family.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        let Via { source, second_source, .. } = &**self.way()?;
        second_source.filter(|second| second.is_ipv4() == self.ip().is_ipv4()).or(*source)
    }

    /// Whether packets to this address can be sent from a source that the way says, or it says
    /// none.
    #[must_use]
    pub fn has_source_for(&self, ip: IpAddr) -> bool {
        let source = self.clone().with_ip(ip).source();
        source.is_none_or(|source| source.is_ipv4() == ip.to_canonical().is_ipv4())
    }

    /// The interface that packets go through, if it is not that of the route.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.way()?.device.as_deref()
    }

    /// What is sent on a TCP connection before anything else.
    #[must_use]
    pub fn proxy_protocol(&self) -> Option<ProxyProtocol> {
        self.way()?.proxy_protocol
    }

    /// All of that.
    #[must_use]
    pub fn way(&self) -> Option<&Arc<Via>> {
        self.rare.as_ref()?.via.as_ref()
    }

    /// The backend's own address, without a mark. `port` is 0 only for ICMP.
    #[must_use]
    pub fn plain(ip: IpAddr, port: u16) -> Self {
        Self::from_parts(ip, port, Mode::Plain, None, None)
    }

    /// A VIP whose marked traffic reaches one backend, `host`.
    #[must_use]
    pub fn marked(vip: IpAddr, port: u16, mode: Mode, mark: Mark, host: Option<IpAddr>) -> Self {
        Self::from_parts(vip, port, mode, Some(mark), host)
    }

    /// All fields as they come. Whether they fit together is checked by
    /// [`CheckSpec::new`](crate::CheckSpec::new).
    #[must_use]
    pub fn from_parts(ip: IpAddr, port: u16, mode: Mode, mark: Option<Mark>, host: Option<IpAddr>) -> Self {
        Self::build(ip, host, None, (port, mode, mark))
    }

    /// Each target has one form, so that it is equal to itself.
    fn build(
        ip: IpAddr,
        host: Option<IpAddr>,
        via: Option<Arc<Via>>,
        (port, mode, mark): (u16, Mode, Option<Mark>),
    ) -> Self {
        let host = host.map(|ip| ip.to_canonical());
        let (addresses, host) = match (ip.to_canonical(), host) {
            (IpAddr::V4(ip), Some(IpAddr::V4(host))) => (Addresses::V4 { ip, host: Some(host) }, None),
            (IpAddr::V4(ip), host) => (Addresses::V4 { ip, host: None }, host),
            (IpAddr::V6(ip), host) => (Addresses::V6(ip), host),
        };
        let rare = Rare { host, via };
        let rare = (rare != Rare::default()).then(|| Box::new(rare));
        Self { addresses, mode, port, mark, rare }
    }

    /// The same with another address.
    #[must_use]
    pub fn with_ip(self, ip: IpAddr) -> Self {
        let (host, via) = (self.host(), self.way().map(Arc::clone));
        Self::build(ip, host, via, (self.port, self.mode, self.mark))
    }

    /// The address that is probed: the backend, or the VIP when the mode is DSR or TUN.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        match self.addresses {
            Addresses::V4 { ip, .. } => ip.into(),
            Addresses::V6(ip) => ip.into(),
        }
    }

    /// The port that is probed; 0 for ICMP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address and port.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.port)
    }

    /// How marked traffic reaches the backend.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The mark that every packet of the probe carries.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// The backend behind the VIP, for texts.
    #[must_use]
    pub fn host(&self) -> Option<IpAddr> {
        match self.addresses {
            Addresses::V4 { host: Some(host), .. } => Some(host.into()),
            _ => self.rare.as_ref()?.host,
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, with ` (via 192.0.2.7 mark 65536)` behind it unless the mode
/// is plain, and ` (from 192.0.2.9 on eth1)` if it has a source or a device of its own.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == 0 {
            write!(f, "{}", self.ip())?;
        } else {
            write!(f, "{}", self.socket_addr())?;
        }
        match (self.host(), self.mark) {
            (Some(host), Some(mark)) => write!(f, " (via {host} mark {})", mark.get()),
            (None, Some(mark)) => write!(f, " (mark {})", mark.get()),
            _ => Ok(()),
        }?;
        match (self.source(), self.device()) {
            (Some(source), Some(device)) => write!(f, " (from {source} on {device})"),
            (Some(source), None) => write!(f, " (from {source})"),
            (None, Some(device)) => write!(f, " (on {device})"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_small_and_gives_back_what_it_was_made_of() {
        assert!(size_of::<Target>() <= 32, "{}", size_of::<Target>());
        let addresses = ["192.0.2.1", "192.0.2.7", "2001:db8::1", "2001:db8::7"];
        let addresses = addresses.map(|ip| ip.parse::<IpAddr>().unwrap());
        let via = Arc::new(Via { device: Some("eth1".into()), ..Via::default() });
        let mark = Mark::new(65_536);
        for ip in addresses {
            for host in addresses.into_iter().map(Some).chain([None]) {
                let target = Target::from_parts(ip, 80, Mode::Dsr, mark, host);
                assert_eq!((target.ip(), target.host(), target.way()), (ip, host, None));
                let via_device = target.clone().via_shared(&via);
                assert_eq!((via_device.host(), via_device.device()), (host, Some("eth1")));
                assert_eq!((via_device.port(), via_device.mode(), via_device.mark()), (80, Mode::Dsr, mark));
                assert_eq!(via_device.clone().via_shared(&Arc::default()), target);
                for other in addresses {
                    let moved = via_device.clone().with_ip(other);
                    assert_eq!((moved.ip(), moved.host(), moved.device()), (other, host, Some("eth1")));
                    // As if it had been made so.
                    let made = Target::from_parts(other, 80, Mode::Dsr, mark, host).via_shared(&via);
                    assert_eq!((&moved, moved == via_device), (&made, other == ip));
                }
            }
        }
    }
}
