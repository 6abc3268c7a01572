//! Targets and ports as they are written: single ones and ranges.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use crate::words::quoted;

/// Ports, both ends included.
pub(crate) type PortRange = RangeInclusive<u16>;

/// One entry of `target` or `exclude`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TargetItem {
    /// An address, and its own port if it has one.
    Address(IpAddr, Option<u16>),
    /// A network in CIDR form.
    Network(IpNet),
    /// A host name in lower case, and its own port if it has one.
    Host(Arc<str>, Option<u16>),
}

impl TargetItem {
    /// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`, `192.0.2.0/28`.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            let network: IpNet = text.parse().map_err(|_| format!("{} is not a CIDR range", quoted(text)))?;
            let whole = network.trunc();
            // `192.0.2.1/24` may be meant as a host or as its network.
            if whole != network {
                return Err(format!("{} has bits behind its prefix: the range is {whole}", quoted(text)));
            }
            if let IpNet::V6(v6) = network
                && v6.addr().to_ipv4_mapped().is_some()
            {
                return Err(format!("{} maps IPv4 addresses: write the range in IPv4", quoted(text)));
            }
            return Ok(Self::Network(network));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Address(ip.to_canonical(), None));
        }
        match text.parse::<SocketAddr>() {
            Ok(addr) if addr.port() == 0 => Err(format!("{} has port 0; ports are 1 to 65535", quoted(text))),
            Ok(SocketAddr::V6(addr)) if addr.scope_id() != 0 => {
                Err(format!("{} names a zone, which a check cannot have", quoted(text)))
            }
            Ok(addr) => Ok(Self::Address(addr.ip().to_canonical(), Some(addr.port()))),
            Err(_) if text.contains('%') => {
                Err(format!("{} names a zone, which a check cannot have", quoted(text)))
            }
            Err(_) => Self::read_host(text).ok_or_else(|| {
                let shown = quoted(text);
                format!("{shown} is not an address, a host name, one of these with a port, or a CIDR range")
            }),
        }
    }

    /// `www.example.com` or `www.example.com:80`.
    fn read_host(text: &str) -> Option<Self> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port_number(port)?)),
            None => (text, None),
        };
        is_host_name(host).then(|| Self::Host(host.to_ascii_lowercase().into(), port))
    }

    /// How many addresses it stands for.
    pub(crate) fn len(&self) -> u128 {
        match self {
            Self::Address(..) | Self::Host(..) => 1,
            Self::Network(network) => {
                let size = 1_u128.checked_shl(u32::from(network.max_prefix_len() - network.prefix_len()));
                size.map_or(u128::MAX, |size| size - reserved(network))
            }
        }
    }

    /// Its addresses. A network of IPv4 with a prefix up to /30 has neither its first nor its last
    /// one, which are the network itself and its broadcast address.
    pub(crate) fn addresses(&self) -> Box<dyn Iterator<Item = IpAddr>> {
        match self {
            Self::Address(ip, _) => Box::new(std::iter::once(*ip)),
            Self::Host(..) => Box::new(std::iter::empty()),
            // Other than its IPv4 twin this begins with the first address, which IPv6 gives to
            // routers only by habit.
            Self::Network(network) => Box::new(network.hosts()),
        }
    }

    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Address(_, port) | Self::Host(_, port) => *port,
            Self::Network(_) => None,
        }
    }

    /// Whether the address, on the port, is among these.
    pub(crate) fn contains(&self, ip: IpAddr, port: u16) -> bool {
        match self {
            Self::Address(own, own_port) => *own == ip && own_port.is_none_or(|own_port| own_port == port),
            Self::Network(network) => network.contains(&ip),
            Self::Host(..) => false,
        }
    }
}

impl fmt::Display for TargetItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip, None) => write!(f, "{ip}"),
            Self::Address(ip, Some(port)) => write!(f, "{}", SocketAddr::new(*ip, *port)),
            Self::Network(network) => write!(f, "{network}"),
            Self::Host(name, None) => f.write_str(name),
            Self::Host(name, Some(port)) => write!(f, "{name}:{port}"),
        }
    }
}

fn reserved(network: &IpNet) -> u128 {
    match network {
        IpNet::V4(network) if network.prefix_len() <= 30 => 2,
        IpNet::V4(_) | IpNet::V6(_) => 0,
    }
}

/// RFC 1123 section 2.1, with the underscores that are in use. The last label has a letter, since
/// what has none is a mistake in an address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(fits);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn port_number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.filter(|port| *port != 0)
}

/// `80` or `8000-8010`.
pub(crate) fn read_ports(text: &str) -> Result<PortRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port_number(first.trim()), port_number(last.trim())) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => Err(format!("{} ends before it begins", quoted(text))),
        _ => Err(format!("{} is not a port from 1 to 65535 or a range such as \"8000-8010\"", quoted(text))),
    }
}

/// `204`, `200-299` or `2xx`.
pub(crate) fn read_codes(text: &str) -> Result<RangeInclusive<u16>, String> {
    if let Some(hundreds) = text.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok())
        && (1..=9).contains(&hundreds)
        && text.len() == 3
    {
        return Ok(hundreds * 100..=hundreds * 100 + 99);
    }
    let code = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let code = if digits { text.parse::<u16>().ok() } else { None };
        code.filter(|code| *code >= 100)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (code(first.trim()), code(last.trim())) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => Err(format!("{} ends before it begins", quoted(text))),
        _ => Err(format!(
            "{} is not a status code from 100 to 999, a range such as \"200-299\", or \"2xx\"",
            quoted(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn wrong(text: &str, part: &str) {
        let error = TargetItem::read(text).unwrap_err();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn targets_read() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, expected) in [
            ("192.0.2.1", TargetItem::Address(ip("192.0.2.1"), None)),
            ("::ffff:192.0.2.1", TargetItem::Address(ip("192.0.2.1"), None)),
            ("192.0.2.1:80", TargetItem::Address(ip("192.0.2.1"), Some(80))),
            ("[2001:db8::1]:80", TargetItem::Address(ip("2001:db8::1"), Some(80))),
            ("192.0.2.0/28", TargetItem::Network("192.0.2.0/28".parse().unwrap())),
            ("WWW.Example.com", TargetItem::Host("www.example.com".into(), None)),
            ("localhost.:80", TargetItem::Host("localhost.".into(), Some(80))),
        ] {
            assert_eq!(TargetItem::read(text).unwrap(), expected, "{text}");
        }
        wrong("192.0.2.1/24", "the range is 192.0.2.0/24");
        wrong("192.0.2.0/33", "not a CIDR range");
        wrong("192.0.2.1:0", "port 0");
        wrong("fe80::1%eth0", "zone");
        wrong("[fe80::1%2]:80", "zone");
        for text in
            ["", "192.0.2.300", "192.0.2", "a..b", ".", "a b", "a:0", "a:b", "é.example", "10.0.0.1-10.0.0.9"]
        {
            wrong(text, "not an address, a host name");
        }
    }

    /// `len` is computed, `addresses` is counted: they must agree.
    #[test]
    fn a_network_has_as_many_addresses_as_it_says() {
        for text in [
            "192.0.2.0/24",
            "192.0.2.0/30",
            "192.0.2.0/31",
            "192.0.2.1/32",
            "2001:db8::/120",
            "2001:db8::/127",
            "2001:db8::1/128",
        ] {
            let item = TargetItem::read(text).unwrap();
            assert_eq!(item.addresses().count() as u128, item.len(), "{text}");
        }
        assert_eq!(TargetItem::read("0.0.0.0/0").unwrap().len(), (1 << 32) - 2);
        assert_eq!(TargetItem::read("::/0").unwrap().len(), u128::MAX);
    }

    #[test]
    fn ports_and_codes_read() {
        assert_eq!(read_ports("80"), Ok(80..=80));
        assert_eq!(read_ports("8000 - 8010"), Ok(8000..=8010));
        assert_eq!(read_codes("2xx"), Ok(200..=299));
        assert_eq!(read_codes("200-204"), Ok(200..=204));
        for text in ["", "0", "-1", "+80", "65536", "80-", "90-80", "http"] {
            assert!(read_ports(text).is_err(), "{text}");
        }
        for text in ["", "99", "1000", "0xx", "xx", "+1xx", "20x", "+200", "299-200"] {
            assert!(read_codes(text).is_err(), "{text}");
        }
    }
}
