//! Whether the way to a target makes sense.

use std::net::IpAddr;

use crate::{ProbeSpec, SpecError, Target};

/// # Errors
/// A source that no packet of the probe can have, a name that no interface can have, a PROXY header
/// before a probe that makes no TCP connection. `ips` are the addresses that are probed, which is
/// none of a host name that is not resolved.
pub(super) fn check(target: &Target, ips: &[IpAddr], probe: &ProbeSpec) -> Result<(), SpecError> {
    let sources = target.way().map_or([None, None], |way| [way.source, way.second_source]);
    let wrong = |source_ip, problem| Err(SpecError::Source { source_ip, problem });
    for source in sources.into_iter().flatten() {
        if source.is_unspecified() || source.is_multicast() {
            return wrong(source, "is no address that packets are sent from");
        }
    }
    match sources {
        [Some(first), Some(second)] if first.is_ipv4() == second.is_ipv4() => {
            return wrong(second, "is a second one of its family");
        }
        [None, Some(second)] => return wrong(second, "is a second one without a first"),
        [Some(first), _] if ips.iter().any(|ip| !target.has_source_for(*ip)) => {
            return wrong(first, "is of another family than the target");
        }
        _ => {}
    }
    if let Some(device) = target.device().filter(|name| !is_interface(name)) {
        return Err(SpecError::Device(device.into()));
    }
    match target.proxy_protocol() {
        Some(_) if !probe.is_over_tcp() => Err(SpecError::ProxyProtocol(probe.type_name())),
        _ => Ok(()),
    }
}

/// What Linux takes for the name of an interface (`dev_valid_name`): up to 15 bytes, IFNAMSIZ with
/// its end.
fn is_interface(name: &str) -> bool {
    let is_odd = |byte: u8| b"/:\0".contains(&byte) || byte.is_ascii_whitespace();
    (1..16).contains(&name.len()) && !matches!(name, "." | "..") && !name.bytes().any(is_odd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckSpec, ProxyProtocol, TcpProbe, Timing, Via};

    #[track_caller]
    fn refused(target: &str, probe: ProbeSpec, via: Via, field: &str) {
        let port = if probe == ProbeSpec::Icmp { 0 } else { 80 };
        let target = Target::plain(target.parse().unwrap(), port).via(via);
        assert_eq!(CheckSpec::new(target, probe, Timing::default()).unwrap_err().field(), field);
    }

    #[test]
    fn a_way_that_no_packet_can_take_is_refused() {
        let tcp = || ProbeSpec::Tcp(TcpProbe::default());
        let from = |source: &str| Via { source: Some(source.parse().unwrap()), ..Via::default() };
        let both =
            |source: &str, second: &str| Via { second_source: Some(second.parse().unwrap()), ..from(source) };
        let second = |second| Via { source: None, ..both("192.0.2.9", second) };
        let on = |device: &str| Via { device: Some(device.into()), ..Via::default() };
        refused("192.0.2.1", tcp(), from("2001:db8::1"), "source");
        refused("2001:db8::1", tcp(), from("192.0.2.1"), "source");
        refused("192.0.2.1", tcp(), both("192.0.2.8", "192.0.2.9"), "source");
        refused("192.0.2.1", tcp(), both("192.0.2.8", "ff02::1"), "source");
        refused("192.0.2.1", tcp(), second("192.0.2.9"), "source");
        refused("192.0.2.1", tcp(), from("0.0.0.0"), "source");
        refused("192.0.2.1", tcp(), from("224.0.0.1"), "source");
        for name in ["", ".", "..", "a/b", "a b", "a:b", "a-name-of-16-byt", "a\0"] {
            refused("192.0.2.1", tcp(), on(name), "device");
        }
        let proxy = Via { proxy_protocol: Some(ProxyProtocol::V1), ..Via::default() };
        refused("192.0.2.1", ProbeSpec::Icmp, proxy, "proxy_protocol");
    }

    #[test]
    fn a_way_is_shown_and_one_that_is_none_is_forgotten() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let via = Via {
            source: Some("::ffff:192.0.2.9".parse().unwrap()),
            device: Some("eth1".into()),
            ..Via::default()
        };
        let target = Target::plain(ip, 80).via(via);
        assert_eq!(target.to_string(), "192.0.2.1:80 (from 192.0.2.9 on eth1)");
        assert_eq!(Target::plain(ip, 80).via(Via::default()), Target::plain(ip, 80));
    }
}
