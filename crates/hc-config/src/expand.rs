//! Targets and ports of one `[[check]]`, one by one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::Limits;
use crate::build::default_port;
use crate::diagnostic::{Report, Span};
use crate::form::{Located, Value};
use crate::inherit::Layer;
use crate::keys;
use crate::range::{PortRange, TargetItem};

/// An address or a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Ip(IpAddr),
    Name(Arc<str>),
}

/// One address or name, and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: Host,
    /// 0 for ICMP.
    pub(crate) port: u16,
    /// The index of its [`Entry`].
    pub(crate) entry: usize,
    /// The entry that it comes from.
    pub(crate) at: Span,
}

/// One entry of `target`.
#[derive(Debug)]
pub(crate) struct Entry<'s> {
    item: &'s TargetItem,
    at: Span,
    /// Its own name and labels.
    name: Option<&'s str>,
    pub(crate) labels: Option<&'s BTreeMap<String, String>>,
    several_ports: bool,
}

impl Place {
    /// What distinguishes its check from the others of the same `[[check]]`.
    pub(crate) fn suffix(&self, entries: &[Entry<'_>]) -> String {
        match (entries[self.entry].name, &self.host, self.port) {
            (Some(name), _, port) if entries[self.entry].several_ports => format!("{name}:{port}"),
            (Some(name), ..) => name.to_owned(),
            (None, Host::Ip(ip), 0) => ip.to_string(),
            (None, Host::Ip(ip), port) => SocketAddr::new(*ip, port).to_string(),
            (None, Host::Name(name), 0) => name.to_string(),
            (None, Host::Name(name), port) => format!("{name}:{port}"),
        }
    }
}

/// The targets of one `[[check]]`.
#[derive(Debug)]
pub(crate) struct Targets<'s> {
    pub(crate) places: Vec<Place>,
    pub(crate) entries: Vec<Entry<'s>>,
    /// Whether there may be more than one, now or after the next edit: then each has its address in
    /// its name.
    pub(crate) several: bool,
}

/// What is left of the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expansion {
    limits: Limits,
    made: usize,
}

impl Expansion {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, made: 0 }
    }

    /// The limit of all checks.
    pub(crate) fn total(&self) -> usize {
        self.limits.total
    }

    /// Whether `count` more checks are within the limit.
    pub(crate) fn take(&mut self, count: usize) -> bool {
        self.made = self.made.saturating_add(count);
        self.made <= self.limits.total
    }
}

/// Expands `target`, `exclude` and `port`. `None` if something is wrong.
pub(crate) fn targets<'s>(
    layer: &'s Layer,
    header: Span,
    expansion: &mut Expansion,
    report: &mut Report,
) -> Option<Targets<'s>> {
    let settings = &layer.settings;
    let Some(target) = settings.get(&keys::TARGET) else {
        if !layer.incomplete {
            report.add(header, "check.target", "a check needs a target");
        }
        return None;
    };
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for item in settings.items(&keys::TARGET) {
        entries.extend(entry(item, report));
    }
    let excluded = excluded(layer);
    let icmp = layer.kind.is_some_and(|kind| kind.name == keys::ICMP.name);
    let mut ports: Vec<PortRange> =
        settings.items(&keys::PORT).iter().filter_map(|item| as_ports(&item.value)).collect();
    if icmp || ports.is_empty() {
        ports = default_port(layer.kind, settings).map(|port| port..=port).into_iter().collect();
    }
    let several = matches!(target.value, Value::List(_) | Value::Table(_))
        || entries.iter().any(|entry| matches!(entry.item, TargetItem::Network(_)))
        || (!icmp && settings.get(&keys::PORT).is_some_and(|port| is_list(port) || ranges(port)));
    let mut places = Vec::new();
    for (index, entry) in entries.iter_mut().enumerate() {
        let (item, at) = (entry.item, entry.at);
        if icmp && item.port().is_some() {
            report.add(at, "check.target", "icmp has no port");
            return None;
        }
        if ports.is_empty() && item.port().is_none() {
            // Without a kind the default is not known either, and that has been reported.
            let known = layer.kind.is_some_and(|kind| settings.table(kind).is_some());
            if known && !layer.incomplete && !settings.has(&keys::PORT) {
                report.add(header, "check.port", "a port is needed, here or behind the target");
            }
            return None;
        }
        let own = item.port().map(|port| port..=port);
        let ports = own.as_ref().map_or(&ports[..], std::slice::from_ref);
        if !within_limits(item, at, ports, expansion, report) {
            return None;
        }
        entry.several_ports = ports.iter().map(ExactSizeIterator::len).sum::<usize>() > 1;
        let ports = || ports.iter().cloned().flatten();
        let place = |host, port| Place { host, port, entry: index, at };
        if let TargetItem::Host(name, _) = item {
            places.extend(ports().map(|port| place(Host::Name(Arc::clone(name)), port)));
        }
        let addresses = item.addresses().flat_map(|ip| ports().map(move |port| (ip, port)));
        let kept = addresses.filter(|(ip, port)| !excluded.iter().any(|item| item.contains(*ip, *port)));
        places.extend(kept.map(|(ip, port)| place(Host::Ip(ip), port)));
    }
    if places.is_empty() {
        let wrong = settings.items(&keys::TARGET).len() > entries.len();
        if !wrong {
            report.add(target.at, "check.target", "no target is left");
        }
        return None;
    }
    Some(Targets { places, entries, several })
}

/// One entry of `target`; none if it is wrong, which has been reported.
fn entry<'s>(located: &'s Located, report: &mut Report) -> Option<Entry<'s>> {
    let entry = |item, name, labels| Entry { item, at: located.at, name, labels, several_ports: false };
    match &located.value {
        Value::Target(item) => Some(entry(item, None, None)),
        Value::Table(table) => {
            let Some(address) = table.get(&keys::ADDRESS) else {
                report.add(located.at, "check.target.address", "a target needs an address");
                return None;
            };
            let name = table.text(&keys::TARGET_NAME);
            match &address.value {
                Value::Target(TargetItem::Network(_)) if name.is_some() => {
                    report.add(address.at, "check.target.address", "a range has many addresses and no name");
                    None
                }
                Value::Target(item) => Some(entry(item, name, table.labels(&keys::LABELS))),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What `exclude` names.
pub(crate) fn excluded(layer: &Layer) -> Arc<[TargetItem]> {
    let items = layer.settings.items(&keys::EXCLUDE).iter().filter_map(as_target);
    items.map(|(item, _)| item.clone()).collect()
}

/// Counts before anything is made of a range: `::/0` must cost no memory.
fn within_limits(
    item: &TargetItem,
    at: Span,
    ports: &[PortRange],
    expansion: &mut Expansion,
    report: &mut Report,
) -> bool {
    let addresses = item.len();
    let limit = expansion.limits.per_range;
    let Some(addresses) = usize::try_from(addresses).ok().filter(|addresses| *addresses <= limit) else {
        let problem = format!("stands for {addresses} addresses; a range has at most {limit}");
        report.add(at, "check.target", problem);
        return false;
    };
    let per_address: usize = ports.iter().map(ExactSizeIterator::len).sum();
    if !expansion.take(addresses.saturating_mul(per_address)) {
        let total = expansion.limits.total;
        report.add(at, "check.target", format!("with this there are more than {total} checks in all"));
        return false;
    }
    true
}

fn as_target(located: &Located) -> Option<(&TargetItem, Span)> {
    match &located.value {
        Value::Target(item) => Some((item, located.at)),
        _ => None,
    }
}

fn as_ports(value: &Value) -> Option<PortRange> {
    match value {
        Value::Ports(ports) => Some(ports.clone()),
        _ => None,
    }
}

fn is_list(located: &Located) -> bool {
    matches!(located.value, Value::List(_))
}

fn ranges(located: &Located) -> bool {
    as_ports(&located.value).is_some_and(|ports| ports.len() > 1)
}
