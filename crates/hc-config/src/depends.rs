//! What depends on what: every name is one of a check, and no check depends on itself, by whatever
//! way.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::build::{Drafts, Edge, HostDraft};
use crate::diagnostic::Report;
use crate::{Resolve, suggest};

const KEY: &str = "check.depends_on";

/// Reports names that no check has, and cycles.
pub(crate) fn judge(drafts: &Drafts, report: &mut Report) {
    let edges = &drafts.edges;
    if edges.is_empty() {
        return;
    }
    let several = |draft: &&HostDraft| draft.check.resolve == Resolve::Each;
    let hosts: HashSet<&str> = drafts.hosts.iter().filter(several).map(|draft| &*draft.check.name).collect();
    let of_hosts = drafts.hosts.iter().map(|draft| &*draft.check.name).filter(|name| !hosts.contains(name));
    let names: BTreeSet<&str> = drafts.checks.iter().map(|draft| &*draft.name).chain(of_hosts).collect();
    // Of a cycle the place of one step is reported.
    let mut ways: HashMap<&str, Vec<(&str, usize)>> = HashMap::new();
    for (index, Edge { from, to, at }) in edges.iter().enumerate() {
        if !names.contains(&**to) {
            let range = format!("{to}/");
            let one = names.range(&*range..).next().filter(|name| name.starts_with(&range));
            let (problem, likely) = match one {
                _ if hosts.contains(&**to) => (
                    format!(
                        "{to:?} has a check for each address of its host: only `resolve` any or all makes one of them"
                    ),
                    None,
                ),
                Some(one) => {
                    (format!("{to:?} stands for several checks: name one of them, such as {one:?}"), None)
                }
                None => {
                    (format!("no check has the name {to:?}"), suggest::nearest(to, names.iter().copied()))
                }
            };
            report.add(*at, KEY, problem).suggest(likely);
            continue;
        }
        for from in from.iter() {
            if **from == **to {
                report.add(*at, KEY, format!("{to:?} depends on itself"));
            } else {
                ways.entry(from).or_default().push((to, index));
            }
        }
    }
    report_cycles(&ways, edges, report);
}

/// Depth first, without recursion: a chain may be as long as there are checks.
fn report_cycles<'d>(ways: &HashMap<&'d str, Vec<(&'d str, usize)>>, edges: &[Edge], report: &mut Report) {
    let mut done: HashSet<&str> = HashSet::new();
    let mut reported: HashSet<usize> = HashSet::new();
    let mut starts: Vec<&str> = ways.keys().copied().collect();
    starts.sort_unstable();
    for start in starts {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        let mut on_path: HashSet<&str> = HashSet::from([start]);
        while let Some((name, next)) = path.last_mut() {
            let name = *name;
            let step = ways.get(name).and_then(|steps| steps.get(*next)).filter(|_| !done.contains(name));
            let Some((to, edge)) = step else {
                done.insert(name);
                on_path.remove(name);
                path.pop();
                continue;
            };
            *next += 1;
            if on_path.contains(to) {
                if reported.insert(*edge) {
                    let begin = path.iter().position(|(name, _)| name == to).unwrap_or_default();
                    let mut cycle: Vec<&str> = path[begin..].iter().map(|(name, _)| *name).collect();
                    cycle.push(to);
                    let problem = format!("checks depend on each other: {}", cycle.join(" -> "));
                    report.add(edges[*edge].at, KEY, problem);
                }
            } else if !done.contains(to) {
                on_path.insert(to);
                path.push((to, 0));
            }
        }
    }
}
