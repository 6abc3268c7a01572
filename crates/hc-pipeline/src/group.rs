//! Which checks belong together.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hc_types::{CheckSpec, Mode};

/// A way to put checks into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// All checks are one group.
    All,
    /// Backends with the same first bits of their address. Numbers above the length of an address
    /// mean the whole of it.
    Subnet {
        /// Bits of an IPv4 address.
        v4: u8,
        /// Bits of an IPv6 address.
        v6: u8,
    },
    /// Checks of the same type.
    CheckType,
}

/// A group of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Every check.
    All,
    /// Those of backends in one network.
    Subnet {
        /// Its address, with zeros behind the prefix.
        network: IpAddr,
        /// Bits of the prefix.
        prefix: u8,
    },
    /// Those of one type, by its name in the protocol.
    CheckType(&'static str),
}

impl Grouping {
    /// The group that this check belongs to.
    #[must_use]
    pub fn of(self, spec: &CheckSpec) -> Group {
        match self {
            Self::All => Group::All,
            Self::Subnet { v4, v6 } => subnet(backend(spec), v4, v6),
            Self::CheckType => Group::CheckType(spec.probe().type_name()),
        }
    }
}

/// With DSR and tunnels the probe goes to the VIP, and a whole service has one.
fn backend(spec: &CheckSpec) -> IpAddr {
    let target = spec.target();
    match target.mode() {
        Mode::Plain => target.ip(),
        Mode::Dsr | Mode::Tun => target.host().unwrap_or(target.ip()),
    }
}

fn subnet(address: IpAddr, v4: u8, v6: u8) -> Group {
    match address {
        IpAddr::V4(address) => {
            let prefix = v4.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Group::Subnet { network: Ipv4Addr::from_bits(address.to_bits() & mask).into(), prefix }
        }
        IpAddr::V6(address) => {
            let prefix = v6.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Group::Subnet { network: Ipv6Addr::from_bits(address.to_bits() & mask).into(), prefix }
        }
    }
}

/// `all`, `subnet 192.0.2.0/24`, `check type tcp`.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Subnet { network, prefix } => write!(f, "subnet {network}/{prefix}"),
            Self::CheckType(name) => write!(f, "check type {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hc_types::{Mark, ProbeSpec, Target, Timing};

    use super::*;

    #[track_caller]
    fn check(target: Target, grouping: Grouping, expected: &str) {
        let second = Duration::from_secs(1);
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap();
        assert_eq!(grouping.of(&spec).to_string(), expected);
    }

    #[test]
    fn each_check_has_its_group() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let plain = |text: &str| Target::plain(ip(text), 0);
        let subnet = |v4, v6| Grouping::Subnet { v4, v6 };
        check(plain("192.0.2.77"), Grouping::All, "all");
        check(plain("192.0.2.77"), Grouping::CheckType, "check type icmp");
        check(plain("192.0.2.77"), subnet(24, 64), "subnet 192.0.2.0/24");
        check(plain("192.0.2.77"), subnet(26, 64), "subnet 192.0.2.64/26");
        check(plain("192.0.2.77"), subnet(0, 64), "subnet 0.0.0.0/0");
        check(plain("192.0.2.77"), subnet(99, 64), "subnet 192.0.2.77/32");
        check(plain("::ffff:192.0.2.77"), subnet(24, 64), "subnet 192.0.2.0/24");
        check(plain("2001:db8:1:2:3::4"), subnet(24, 64), "subnet 2001:db8:1:2::/64");
        check(plain("2001:db8::1"), subnet(24, 0), "subnet ::/0");
        check(plain("2001:db8::1"), subnet(24, 255), "subnet 2001:db8::1/128");
        let marked = |host| Target::marked(ip("198.51.100.1"), 0, Mode::Dsr, Mark::new(7).unwrap(), host);
        check(marked(Some(ip("192.0.2.7"))), subnet(24, 64), "subnet 192.0.2.0/24");
        check(marked(None), subnet(24, 64), "subnet 198.51.100.0/24");
    }
}
