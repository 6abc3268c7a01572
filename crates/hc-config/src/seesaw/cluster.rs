//! The parts of a cluster that make checks, as the engine keeps them (`engine/config/config.go`).

use std::collections::HashSet;
use std::net::IpAddr;

use super::healthcheck::{self, Healthcheck, Listed};
use super::schema::{FORWARDING_MODES, PRODUCTION, PROTOCOLS, SCHEDULERS, TESTING};
use super::text::Node;
use crate::diagnostic::{Report, Span};
use crate::words::quoted;

/// A vserver that is in service.
pub(super) struct Vserver {
    pub(super) name: String,
    pub(super) addresses: Addresses,
    pub(super) entries: Vec<Entry>,
    /// Checks of the vserver as a whole.
    pub(super) checks: Vec<Listed>,
    /// Those that are in service.
    pub(super) backends: Vec<Backend>,
}

/// A port and protocol of a vserver.
pub(super) struct Entry {
    pub(super) port: u16,
    pub(super) protocol: &'static str,
    pub(super) checks: Vec<Listed>,
}

pub(super) struct Backend {
    pub(super) name: String,
    pub(super) addresses: Addresses,
}

/// The address of `ipv4` and that of `ipv6`. The engine does not look which family stands in which.
pub(super) type Addresses = [Option<IpAddr>; 2];

/// Reads the vservers. `report` gets what makes the engine refuse the whole file, `warnings` what
/// makes it leave out a part.
pub(super) fn vservers(cluster: &Node, report: &mut Report, warnings: &mut Report) -> Vec<Vserver> {
    refuse_repeated(cluster, report);
    refuse_cut_off(cluster, report);
    let mut names = HashSet::new();
    let mut vservers: Vec<Vserver> = Vec::new();
    for node in cluster.messages("vserver") {
        if !names.insert(node.bytes("name")) {
            warn(
                warnings,
                node.at("name"),
                "vserver.name",
                "another vserver has this name; the first one counts",
            );
        } else if is_enabled(node.message("entry_address")) {
            vservers.push(vserver(node, warnings));
        }
    }
    vservers
}

/// What the engine takes only once, and refuses the file if there are two.
fn refuse_repeated(cluster: &Node, report: &mut Report) {
    for (field, key) in [("node", "fqdn"), ("bgp_peer", "fqdn"), ("access_groups", "name")] {
        let mut seen = HashSet::new();
        for node in cluster.messages(field) {
            if !seen.insert(node.bytes(key)) {
                report.add(node.at(key), format!("{field}.{key}"), "another one has this name");
            }
        }
    }
    let mut seen = HashSet::new();
    for vlan in cluster.messages("vlan") {
        if !seen.insert(healthcheck::cut(vlan.integer("vlan_id").unwrap_or(0))) {
            report.add(vlan.at("vlan_id"), "vlan.vlan_id", "another VLAN has this id");
        }
    }
    for (subnet, at) in cluster.texts("dedicated_vip_subnet") {
        if address(subnet).is_none() {
            report.add(at, "dedicated_vip_subnet", "is not an address with a prefix length");
        }
    }
    if let Some(vip) = cluster.message("seesaw_vip")
        && vip.integer("status").is_none()
    {
        report.add(vip.at, "seesaw_vip.status", "is missing; the engine needs it");
    }
}

/// A file that was cut off behind one of its vservers reads as a smaller cluster. Files that Seesaw
/// writes have the metadata behind them, so that it shows.
fn refuse_cut_off(cluster: &Node, report: &mut Report) {
    let last = cluster.messages("vserver").last().map(|vserver| vserver.at);
    match cluster.message("metadata") {
        Some(metadata) if Some(metadata.at) > last => {}
        Some(metadata) => {
            report.add(
                metadata.at,
                "metadata",
                "must stand behind all vservers, so that a file that was cut off is known",
            );
        }
        None => {
            let problem = "is missing, so the file may have been cut off; put `metadata: < last_updated: 0 >` behind all vservers";
            report.add(cluster.at, "metadata", problem);
        }
    }
}

fn vserver(node: &Node, warnings: &mut Report) -> Vserver {
    let mut entries: Vec<Entry> = Vec::new();
    for node in node.messages("vserver_entry") {
        let Some(entry) = entry(node, warnings) else { continue };
        if entries.iter().any(|other| (other.port, other.protocol) == (entry.port, entry.protocol)) {
            warn(
                warnings,
                node.at,
                "vserver.vserver_entry",
                "another entry has this port and protocol; the first one counts",
            );
        } else {
            entries.push(entry);
        }
    }
    Vserver {
        name: String::from_utf8_lossy(node.bytes("name")).into_owned(),
        addresses: addresses(node.message("entry_address"), "vserver.entry_address", warnings),
        entries,
        checks: checks(node, 0, warnings),
        backends: backends(node, warnings),
    }
}

fn entry(node: &Node, warnings: &mut Report) -> Option<Entry> {
    let known = |field, words: &[(&str, i32)], default: i64| {
        let number = node.integer(field).unwrap_or(default);
        words.iter().any(|(_, known)| i64::from(*known) == number)
    };
    let protocol = match node.integer("protocol") {
        Some(2) => "UDP",
        _ => "TCP",
    };
    for (field, words, default) in
        [("protocol", PROTOCOLS, 1), ("scheduler", SCHEDULERS, 4), ("mode", FORWARDING_MODES, 1)]
    {
        if !known(field, words, default) {
            let key = format!("vserver.vserver_entry.{field}");
            warn(warnings, node.at(field), &key, "the number is not known; the entry is left out");
            return None;
        }
    }
    let port = healthcheck::cut(node.integer("port").unwrap_or(0));
    Some(Entry { port, protocol, checks: checks(node, port, warnings) })
}

/// The checks of a list. Of those with the same name the first one counts: HTTP and HTTPS on one
/// port, and TCP and TCP_TLS, have one name.
fn checks(node: &Node, default_port: u16, warnings: &mut Report) -> Vec<Listed> {
    let mut kept: Vec<Listed> = Vec::new();
    for listed in healthcheck::named(node.messages("healthcheck"), default_port) {
        if kept.iter().any(|other| other.check.name == listed.check.name) {
            let Healthcheck { name, .. } = &listed.check;
            warn(
                warnings,
                listed.at,
                "healthcheck",
                &format!("is the second {name} here; the engine drops it"),
            );
        } else {
            kept.push(listed);
        }
    }
    kept
}

fn backends(node: &Node, warnings: &mut Report) -> Vec<Backend> {
    let mut names = HashSet::new();
    let mut backends: Vec<Backend> = Vec::new();
    for host in node.messages("backend").filter_map(|backend| backend.message("host")) {
        if !names.insert(host.bytes("fqdn")) {
            warn(
                warnings,
                host.at("fqdn"),
                "backend.host.fqdn",
                "another backend has this name; the first one counts",
            );
            continue;
        }
        let addresses = addresses(Some(host), "backend.host", warnings);
        if is_enabled(Some(host)) {
            backends
                .push(Backend { name: String::from_utf8_lossy(host.bytes("fqdn")).into_owned(), addresses });
        }
    }
    backends
}

fn is_enabled(host: Option<&Node>) -> bool {
    let status = host.and_then(|host| host.integer("status")).unwrap_or(i64::from(PRODUCTION));
    status == i64::from(PRODUCTION) || status == i64::from(TESTING)
}

fn addresses(host: Option<&Node>, key: &str, warnings: &mut Report) -> Addresses {
    ["ipv4", "ipv6"].map(|field| {
        let (text, at) = host?.texts(field).next()?;
        let address = address(text);
        if address.is_none() && !text.is_empty() {
            let text = quoted(&String::from_utf8_lossy(text));
            let problem =
                format!("{text} is not an address with a prefix length; the engine goes without it");
            warn(warnings, at, &format!("{key}.{field}"), &problem);
        }
        address
    })
}

/// Go's `net.ParseCIDR`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let (ip, length) = std::str::from_utf8(text).ok()?.split_once('/')?;
    let ip: IpAddr = ip.parse().ok()?;
    let bits: u32 = if ip.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let fits = digits && length.parse::<u32>().is_ok_and(|length| length <= bits);
    fits.then(|| ip.to_canonical())
}

pub(super) fn warn(warnings: &mut Report, at: Span, key: &str, problem: &str) {
    warnings.add(at, key, problem);
}
