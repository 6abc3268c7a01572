//! Addresses that no backend can have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use crate::case::{Case, Family};
use crate::serve::Server;

/// A port on which nobody listens.
const PORT: u16 = 1;

type Host = fn(Family) -> IpAddr;

pub(super) fn cases() -> Vec<Case> {
    let kinds = [
        ("tcp", json!({"checker_type": "tcp"})),
        ("udp", json!({"checker_type": "udp", "send": "x"})),
        ("icmp", json!({"checker_type": "icmp"})),
    ];
    let addresses: [(&str, Host); 3] =
        [("unspecified", unspecified), ("multicast", multicast), ("local", broadcast_or_link_local)];
    let case = |name: &str, kind: &str, host, check: &Value| {
        Case::new(format!("{kind}/no-backend/{name}"), Server::Elsewhere(host, PORT), check.clone())
            .without_end()
    };
    let of = |(kind, check): &(&str, Value)| addresses.map(|(name, host)| case(name, kind, host, check));
    kinds.iter().flat_map(of).collect()
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn multicast(family: Family) -> IpAddr {
    match family {
        Family::V4 => [224, 0, 0, 251].into(),
        Family::V6 => [0xff02, 0, 0, 0, 0, 0, 0, 0xfb].into(),
    }
}

fn broadcast_or_link_local(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::BROADCAST.into(),
        Family::V6 => [0xfe80, 0, 0, 0, 0, 0, 0, 1].into(),
    }
}
