//! Which addresses no backend can have.

use std::net::{IpAddr, Ipv6Addr};

/// Why a probe can never be answered from `ip`. `None`: it may be. [`CheckSpec::new`] refuses such an
/// address.
///
/// Only what can never work is refused. Linux hosts can have addresses in 240.0.0.0/4 (some clouds
/// give them to pods), IPv4-compatible IPv6 addresses and loopback addresses (also as a VIP), so
/// these are fine. A broadcast address of a subnet looks like any other; the kernel knows it, and
/// the probe fails with its words.
///
/// An IPv4-mapped IPv6 address is taken as it is: turn it into an IPv4 address first.
///
/// [`CheckSpec::new`]: crate::CheckSpec::new
#[must_use]
pub fn impossible_backend(ip: IpAddr) -> Option<&'static str> {
    match ip {
        // RFC 1122 section 3.2.1.3. Linux connects 0.0.0.0 to the machine itself.
        IpAddr::V4(ip) if ip.is_unspecified() => Some("the unspecified address, which no backend has"),
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some("in 0.0.0.0/8, whose addresses no backend has"),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("the broadcast address, which no backend has"),
        IpAddr::V4(ip) if ip.is_multicast() => Some("a multicast address, from which no backend answers"),
        IpAddr::V6(ip) if ip.is_unspecified() => Some("the unspecified address, which no backend has"),
        IpAddr::V6(ip) if ip.is_multicast() => Some("a multicast address, from which no backend answers"),
        IpAddr::V6(ip) if is_link_local(ip) => {
            Some("a link-local address, which needs an interface, and a check cannot name one")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// `fe80::/10` (RFC 4291 section 2.5.6).
fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_backend_can_have() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "0.255.255.255",
            "255.255.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "::",
            "ff02::1",
            "ff0e::1234",
            "ffff::",
            "fe80::1",
            "febf::1",
        ] {
            assert!(impossible_backend(ip.parse().unwrap()).is_some(), "{ip}");
        }
        for ip in [
            "1.0.0.0",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.1.1",
            "192.0.2.255",
            "223.255.255.255",
            "240.0.0.1",
            "255.255.255.254",
            "::1",
            "::192.0.2.1",
            "fec0::1",
            "fe7f::1",
            "fc00::1",
            "2001:db8::",
        ] {
            assert_eq!(impossible_backend(ip.parse().unwrap()), None, "{ip}");
        }
    }
}
