//! The PROXY protocol's headers (HAProxy's `proxy-protocol.txt`), written.

use std::net::{IpAddr, SocketAddr};

use hc_types::ProxyProtocol;

/// Section 2.2: what no other protocol begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header of a connection from `from` to `to`, of one family.
pub(super) fn header(version: ProxyProtocol, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    match version {
        ProxyProtocol::V1 => {
            let family = if to.is_ipv4() { "TCP4" } else { "TCP6" };
            let (source, target) = (from.ip(), to.ip());
            format!("PROXY {family} {source} {target} {} {}\r\n", from.port(), to.port()).into_bytes()
        }
        ProxyProtocol::V2 => {
            let mut addresses = Vec::with_capacity(36);
            for ip in [from.ip(), to.ip()] {
                match ip {
                    IpAddr::V4(ip) => addresses.extend(ip.octets()),
                    IpAddr::V6(ip) => addresses.extend(ip.octets()),
                }
            }
            addresses.extend(from.port().to_be_bytes());
            addresses.extend(to.port().to_be_bytes());
            let (family, length) = if to.is_ipv4() { (TCP_OVER_IPV4, 12) } else { (TCP_OVER_IPV6, 36) };
            [&SIGNATURE[..], &[PROXY, family, 0, length], &addresses].concat()
        }
        ProxyProtocol::V2Local => [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: ProxyProtocol, from: &str, to: &str, expected: &[u8]) {
        assert_eq!(header(version, from.parse().unwrap(), to.parse().unwrap()), expected);
    }

    #[test]
    fn headers_are_as_the_specification_has_them() {
        let (from, to) = ("192.0.2.9:40000", "192.0.2.1:80");
        check(ProxyProtocol::V1, from, to, b"PROXY TCP4 192.0.2.9 192.0.2.1 40000 80\r\n");
        check(
            ProxyProtocol::V1,
            "[2001:db8::9]:40000",
            "[2001:db8::1]:443",
            b"PROXY TCP6 2001:db8::9 2001:db8::1 40000 443\r\n",
        );
        let head = b"\r\n\r\n\0\r\nQUIT\n";
        let v4 = [&head[..], b"\x21\x11\0\x0c\xc0\0\x02\x09\xc0\0\x02\x01\x9c\x40\0\x50"].concat();
        check(ProxyProtocol::V2, from, to, &v4);
        check(ProxyProtocol::V2Local, from, to, &[&head[..], b"\x20\0\0\0"].concat());
        let v6 = header(
            ProxyProtocol::V2,
            "[2001:db8::9]:40000".parse().unwrap(),
            "[2001:db8::1]:443".parse().unwrap(),
        );
        assert_eq!((v6.len(), v6[13], v6[15]), (16 + 36, 0x21, 36));
    }
}
