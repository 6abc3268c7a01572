//! Where a probe goes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

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
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    ip: IpAddr,
    port: u16,
    mode: Mode,
    mark: Option<Mark>,
    host: Option<IpAddr>,
}

impl Target {
    /// The backend's own address, without a mark. `port` is 0 only for ICMP.
    #[must_use]
    pub fn plain(ip: IpAddr, port: u16) -> Self {
        Self { ip: ip.to_canonical(), port, mode: Mode::Plain, mark: None, host: None }
    }

    /// A VIP whose marked traffic reaches one backend, `host`.
    #[must_use]
    pub fn marked(vip: IpAddr, port: u16, mode: Mode, mark: Mark, host: Option<IpAddr>) -> Self {
        Self { ip: vip.to_canonical(), port, mode, mark: Some(mark), host: host.map(|ip| ip.to_canonical()) }
    }

    /// All fields as they come. Whether they fit together is checked by
    /// [`CheckSpec::new`](crate::CheckSpec::new).
    #[must_use]
    pub fn from_parts(ip: IpAddr, port: u16, mode: Mode, mark: Option<Mark>, host: Option<IpAddr>) -> Self {
        Self { ip: ip.to_canonical(), port, mode, mark, host: host.map(|ip| ip.to_canonical()) }
    }

    /// The address that is probed: the backend, or the VIP when the mode is DSR or TUN.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The port that is probed; 0 for ICMP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address and port.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
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
        self.host
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, with ` (via 192.0.2.7 mark 65536)` behind it unless the mode
/// is plain.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == 0 {
            write!(f, "{}", self.ip)?;
        } else {
            write!(f, "{}", self.socket_addr())?;
        }
        match (self.host, self.mark) {
            (Some(host), Some(mark)) => write!(f, " (via {host} mark {})", mark.get()),
            (None, Some(mark)) => write!(f, " (mark {})", mark.get()),
            _ => Ok(()),
        }
    }
}
