//! The cases that were written by hand, kind by kind.

mod datagrams;
mod dns;
mod http;
mod http_bodies;
mod http_heads;
mod http_requests;
mod no_backend;
mod pings;
mod radius;
mod tcp;
mod tls;

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use hc_testkit::network::{run, set_parameter};

use crate::case::{Case, Family};
use crate::serve::{ECHO_HOSTS, echo_host};
use crate::trust::Trust;

pub(crate) use self::dns::{NAME, expecting as dns_expecting};
pub(crate) use self::http_bodies::gzip;
pub(crate) use self::radius::{SECRET, expecting as radius_expecting};

/// All of them, over both families.
pub(crate) fn all(trust: &Trust) -> Vec<Case> {
    let over = |family: Family| {
        let kinds = [
            tcp::cases(),
            tls::cases(trust),
            http::cases(),
            http_heads::cases(),
            http_bodies::cases(),
            http_requests::cases(trust),
            datagrams::cases(),
            dns::cases(),
            radius::cases(),
            pings::cases(),
            no_backend::cases(),
        ];
        kinds.into_iter().flatten().map(move |case| case.over(family))
    };
    Family::BOTH.into_iter().flat_map(over).collect()
}

/// Makes of this thread's network what the cases need of it.
///
/// # Errors
/// When a parameter of the kernel cannot be written.
pub(crate) fn prepare_network() -> Result<()> {
    for parameter in ["net.ipv4.icmp_echo_ignore_all", "net.ipv6.icmp.echo_ignore_all"] {
        set_parameter(parameter, "1").with_context(|| format!("cannot write {parameter}"))?;
    }
    // Each refused datagram is to be told, however many there are.
    set_parameter("net.ipv4.icmp_ratelimit", "0").context("cannot write net.ipv4.icmp_ratelimit")?;
    set_parameter("net.ipv6.icmp.ratelimit", "0").context("cannot write net.ipv6.icmp.ratelimit")?;
    for n in 0..ECHO_HOSTS {
        run(&format!("ip -6 address add {}/128 dev lo nodad", echo_host(Family::V6, n)));
    }
    for (family, reason) in [(Family::V4, "icmp"), (Family::V6, "icmpv6")] {
        let (silent, told) = (silent_host(family), rejecting_host(family));
        if family == Family::V6 {
            run(&format!("ip -6 address add {silent}/128 dev lo nodad"));
            run(&format!("ip -6 address add {told}/128 dev lo nodad"));
        }
        let table = if family == Family::V4 { "ip" } else { "ip6" };
        let unreachable = if family == Family::V4 { "host-unreachable" } else { "addr-unreachable" };
        run(&format!("nft add table {table} parity"));
        run(&format!("nft add chain {table} parity in {{ type filter hook input priority 0 ; }}"));
        run(&format!("nft add rule {table} parity in {table} daddr {silent} drop"));
        run(&format!(
            "nft add rule {table} parity in {table} daddr {told} reject with {reason} type {unreachable}"
        ));
    }
    Ok(())
}

/// A host that takes every packet and says nothing.
pub(crate) fn silent_host(family: Family) -> IpAddr {
    match family {
        Family::V4 => [127, 2, 0, 1].into(),
        Family::V6 => [0xfd00, 0, 0, 0, 0, 0, 2, 1].into(),
    }
}

/// A host about which a router says that it cannot be reached.
pub(crate) fn rejecting_host(family: Family) -> IpAddr {
    match family {
        Family::V4 => [127, 2, 0, 2].into(),
        Family::V6 => [0xfd00, 0, 0, 0, 0, 0, 2, 2].into(),
    }
}

/// A host to which this machine has no route.
pub(crate) fn routeless_host(family: Family) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, 1].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    }
}
