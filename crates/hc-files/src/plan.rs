//! The checks of the files, host names replaced by their addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hc_config::{Check, Checks, HostCheck, Resolve};
use hc_resolve::Change;
use hc_types::{CheckId, CheckSpec, HostName, Proposal, Rejection, SetChange};

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
            return self.as_one(host);
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

impl Planned {
    /// The one check of all addresses of a name. It runs without any as well: then it says so.
    /// Addresses that no backend can have are left out and reported: a resolver that lies takes no
    /// check away.
    fn as_one(&self, host: &HostCheck) -> (Vec<Check>, Vec<Rejection>) {
        let mut rejected = Vec::new();
        let mut reject = |reason| rejected.push(Rejection { id: None, reason });
        let mut possible = Vec::new();
        for ip in self.addresses.get(&host.host).into_iter().flatten() {
            match host.check(*ip) {
                Some(Err(error)) => reject(format!("{}: {ip}: {error}", host.name)),
                Some(Ok(_)) => possible.push(*ip),
                None => {}
            }
        }
        let (count, most) = (possible.len(), HostName::MAX_ADDRESSES);
        if count > most {
            reject(format!("{}: {} has {count} addresses, of which {most} are probed", host.name, host.host));
            possible.truncate(most);
        }
        match host.check_of_all(possible) {
            Ok(check) => (vec![check], rejected),
            Err(error) => {
                let reason = format!("{}: {error}", host.name);
                (Vec::new(), vec![Rejection { id: Some(host.id()), reason }])
            }
        }
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
        SetChange::Delta { upsert, .. } | SetChange::Renewal { upsert, .. } => {
            upsert.iter().cloned().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use hc_config::{Limits, NoFiles, SourceFile, parse};
    use hc_types::Rule;

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

    /// One check from the start on, whatever its addresses are: no other id, no other key.
    #[test]
    fn all_addresses_of_a_name_are_one_check() {
        for (word, rule) in [("any", Rule::Any), ("all", Rule::All)] {
            let file = format!("{HOST}resolve = \"{word}\"\nexclude = \"192.0.2.3\"\n");
            let mut planned = Planned::new(read(&file));
            let first = planned.all();
            assert_eq!(names(&first), ["h"]);
            let SetChange::Full { checks, .. } = first.change else { panic!("all of them") };
            let (id, unresolved) = checks[0].clone();
            assert!(unresolved.host_name().unwrap().addresses().is_empty());

            let mut resolved = |ips: &[[u8; 4]]| {
                let addresses = ips.iter().map(|ip| IpAddr::from(*ip)).collect();
                let proposal = planned.resolved(&Change { name: "h.example".into(), addresses }).unwrap();
                let SetChange::Delta { upsert, remove, .. } = proposal.change else { panic!("no delta") };
                assert_eq!((upsert.len(), remove.len(), upsert[0].0), (1, 0, id));
                assert!(upsert[0].1.same_key(&unresolved));
                let host = upsert[0].1.host_name().unwrap();
                assert_eq!((host.name(), host.rule()), ("h.example", rule));
                (host.addresses().to_vec(), proposal.rejected)
            };
            let ip = |last| IpAddr::from([192, 0, 2, last]);
            assert_eq!(resolved(&[[192, 0, 2, 2], [192, 0, 2, 1]]), (vec![ip(1), ip(2)], Vec::new()));
            assert_eq!(
                resolved(&[[192, 0, 2, 3], [192, 0, 2, 2]]),
                (vec![ip(2)], Vec::new()),
                "one is excluded"
            );
            // A resolver that lies takes nothing away.
            let (addresses, rejected) = resolved(&[[0, 0, 0, 0], [192, 0, 2, 2]]);
            assert_eq!((addresses, rejected.len(), rejected[0].id), (vec![ip(2)], 1, None));
            let many: Vec<[u8; 4]> =
                (0..300u16).map(|n| [10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]).collect();
            let (addresses, rejected) = resolved(&many);
            assert_eq!((addresses.len(), rejected.len()), (HostName::MAX_ADDRESSES, 1));
            assert_eq!(resolved(&[]), (Vec::new(), Vec::new()));
        }
    }

    /// With a source for one family alone, addresses of the other are left out and named.
    #[test]
    fn addresses_without_a_source_are_left_out_with_a_word() {
        for rule in ["any", "all"] {
            let file = format!("{HOST}resolve = \"{rule}\"\nsource = \"192.0.2.9\"\n");
            let mut planned = Planned::new(read(&file));
            let both: [IpAddr; 2] = [[192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()];
            let change = Change { name: "h.example".into(), addresses: both.into() };
            let proposal = planned.resolved(&change).unwrap();
            let SetChange::Delta { upsert, .. } = proposal.change else { panic!("no delta") };
            assert_eq!(upsert[0].1.host_name().unwrap().addresses(), &both[..1]);
            let reasons: Vec<&str> = proposal.rejected.iter().map(|one| &*one.reason).collect();
            assert_eq!(reasons, ["h: 2001:db8::1: source: 192.0.2.9 is of another family than the target"]);
        }
    }
}
