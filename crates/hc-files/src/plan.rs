//! The checks of the files, host names replaced by their addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hc_config::{Check, Checks, HostCheck, Resolve};
use hc_resolve::Change;
use hc_types::{CheckId, CheckSpec, Proposal, Rejection, SetChange};

/// How two readings of the files differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Checks that were not there.
    pub added: usize,
    /// Checks that are not there any more.
    pub removed: usize,
    /// Checks with the same id and another target, probe or timing.
    pub changed: usize,
    /// Checks that are as before.
    pub unchanged: usize,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, removed, changed, unchanged } = self;
        write!(f, "{added} checks added, {removed} removed, {changed} changed, {unchanged} as before")
    }
}

/// What is checked by the files and by the addresses that are known.
#[derive(Debug)]
pub(crate) struct Planned {
    checks: Checks,
    addresses: BTreeMap<Arc<str>, BTreeSet<IpAddr>>,
}

impl Planned {
    /// Without any address of a host name.
    pub(crate) fn new(checks: Checks) -> Self {
        Self { checks, addresses: BTreeMap::new() }
    }

    /// The host names.
    pub(crate) fn hosts(&self) -> BTreeSet<Arc<str>> {
        self.checks.hosts.iter().map(|check| check.host.clone()).collect()
    }

    /// All checks.
    pub(crate) fn all(&self) -> Proposal {
        let (mut checks, mut rejected) = (self.checks.checks.clone(), Vec::new());
        for host in &self.checks.hosts {
            let (some, wrong) = self.of_host(host);
            checks.extend(some);
            rejected.extend(wrong);
        }
        proposal(checks, rejected, |checks| SetChange::Full { generation: None, checks })
    }

    /// Other files. The addresses of names that stay are kept.
    pub(crate) fn replace(&mut self, checks: Checks) -> (Proposal, Difference) {
        let before = specs(&self.all());
        self.checks = checks;
        let hosts = self.hosts();
        self.addresses.retain(|name, _| hosts.contains(name));
        let proposal = self.all();
        let after = specs(&proposal);
        let same = |(id, spec): &(&CheckId, &Arc<CheckSpec>)| before.get(id).map(|old| old == *spec);
        let mut difference = Difference::default();
        for check in &after {
            match same(&check) {
                None => difference.added += 1,
                Some(false) => difference.changed += 1,
                Some(true) => difference.unchanged += 1,
            }
        }
        difference.removed = before.keys().filter(|id| !after.contains_key(id)).count();
        (proposal, difference)
    }

    /// A host name has other addresses. `None` if no check is concerned.
    pub(crate) fn resolved(&mut self, Change { name, addresses }: &Change) -> Option<Proposal> {
        if self.addresses.get(name) == Some(addresses) {
            return None;
        }
        let concerned: Vec<HostCheck> =
            self.checks.hosts.iter().filter(|check| check.host == *name).cloned().collect();
        if concerned.is_empty() {
            return None;
        }
        let before: Vec<Check> = concerned.iter().flat_map(|host| self.of_host(host).0).collect();
        self.addresses.insert(name.clone(), addresses.clone());
        let (mut after, mut rejected) = (Vec::new(), Vec::new());
        for host in &concerned {
            let (some, wrong) = self.of_host(host);
            after.extend(some);
            rejected.extend(wrong);
        }
        let stays: BTreeSet<CheckId> = after.iter().map(|check| check.id).collect();
        let remove: Vec<CheckId> =
            before.iter().map(|check| check.id).filter(|id| !stays.contains(id)).collect();
        Some(proposal(after, rejected, |upsert| SetChange::Delta { generation: None, upsert, remove }))
    }

    /// The checks of the addresses of one name.
    fn of_host(&self, host: &HostCheck) -> (Vec<Check>, Vec<Rejection>) {
        if host.resolve != Resolve::Each {
            let reason = format!(
                "resolve: {:?} needs one check for all addresses, which is not possible yet",
                host.name
            );
            return (Vec::new(), vec![Rejection { id: Some(host.id()), reason }]);
        }
        let (mut checks, mut rejected) = (Vec::new(), Vec::new());
        for ip in self.addresses.get(&host.host).into_iter().flatten() {
            match host.check(*ip) {
                None => {}
                Some(Ok(check)) => checks.push(check),
                Some(Err(error)) => {
                    rejected.push(Rejection { id: None, reason: format!("{}: {ip}: {error}", host.name) });
                }
            }
        }
        (checks, rejected)
    }
}

fn proposal(
    checks: Vec<Check>,
    rejected: Vec<Rejection>,
    change: impl FnOnce(Vec<(CheckId, Arc<CheckSpec>)>) -> SetChange,
) -> Proposal {
    let metadata = checks.iter().map(|check| (check.id, Arc::new(check.metadata()))).collect();
    let checks = checks.into_iter().map(|check| (check.id, check.spec)).collect();
    Proposal { metadata, rejected, ..Proposal::new(change(checks)) }
}

fn specs(proposal: &Proposal) -> HashMap<CheckId, Arc<CheckSpec>> {
    match &proposal.change {
        SetChange::Full { checks, .. } => checks.iter().cloned().collect(),
        SetChange::Delta { upsert, .. } => upsert.iter().cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use hc_config::{Limits, NoFiles, SourceFile, parse};

    use super::*;

    fn read(text: &str) -> Checks {
        let text = format!("[defaults]\ninterval = \"5s\"\n{text}");
        parse(&[SourceFile::new("f.toml", text)], &Limits::default(), &NoFiles).unwrap()
    }

    fn names(proposal: &Proposal) -> Vec<String> {
        let mut names: Vec<String> = proposal
            .metadata
            .iter()
            .map(|(_, metadata)| metadata.name.as_deref().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    const HOST: &str = "[[check]]\nname = \"h\"\ntarget = \"h.example:80\"\ntcp = {}\n";

    #[test]
    fn another_reading_is_compared_with_the_one_before() {
        let check = |name: &str, port: u16| {
            format!("[[check]]\nname = \"{name}\"\ntarget = \"192.0.2.1:{port}\"\ntcp = {{}}\n")
        };
        let mut planned = Planned::new(read(&[check("a", 1), check("b", 2), check("c", 3)].concat()));
        assert_eq!(names(&planned.all()).len(), 3);
        let (proposal, difference) =
            planned.replace(read(&[check("b", 2), check("c", 4), check("d", 5)].concat()));
        assert_eq!(difference, Difference { added: 1, removed: 1, changed: 1, unchanged: 1 });
        assert_eq!(names(&proposal).len(), 3);
    }

    #[test]
    fn each_address_of_a_name_has_a_check() {
        let mut planned = Planned::new(read(HOST));
        assert_eq!(planned.hosts(), ["h.example".into()].into());
        assert!(names(&planned.all()).is_empty(), "no address is known");
        let mut resolved = |ips: &[[u8; 4]]| {
            let addresses = ips.iter().map(|ip| IpAddr::from(*ip)).collect();
            planned.resolved(&Change { name: "h.example".into(), addresses }).unwrap()
        };
        let proposal = resolved(&[[192, 0, 2, 1], [192, 0, 2, 2]]);
        assert_eq!(names(&proposal), ["h/192.0.2.1", "h/192.0.2.2"]);
        let proposal = resolved(&[[192, 0, 2, 2], [192, 0, 2, 3]]);
        let SetChange::Delta { upsert, remove, .. } = &proposal.change else { panic!("no delta") };
        assert_eq!((upsert.len(), remove.len()), (2, 1));
        let again = Change { name: "h.example".into(), addresses: planned.addresses["h.example"].clone() };
        assert!(planned.resolved(&again).is_none(), "nothing new");
        let other = Change { name: "other.example".into(), addresses: [[192, 0, 2, 1].into()].into() };
        assert!(planned.resolved(&other).is_none() && planned.addresses.len() == 1, "nobody wants it");
        // A name that stays keeps its addresses when the files are read again.
        let (proposal, difference) = planned.replace(read(HOST));
        assert_eq!((names(&proposal).len(), difference.unchanged), (2, 2));
    }
}
