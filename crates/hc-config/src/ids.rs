//! Ids of checks, from their names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hc_types::CheckId;
use sha2::{Digest as _, Sha256};

use crate::build::Drafts;
use crate::diagnostic::{Report, Span};
use crate::{Check, Checks, depends};

/// The id of the check with this name: the first eight bytes of the SHA-256 of the name in UTF-8,
/// as a big-endian number.
///
/// ```
/// // `printf %s web | sha256sum` begins with 4b5e57f6eb2f42b9.
/// assert_eq!(hc_config::check_id("web").0, 0x4b5e_57f6_eb2f_42b9);
/// ```
#[must_use]
pub fn check_id(name: &str) -> CheckId {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
    CheckId(u64::from_be_bytes(id))
}

/// Gives each check its id. A name that two of them have is reported, and two names with one id.
pub(crate) fn assign(drafts: Drafts, id_of: fn(&str) -> CheckId, report: &mut Report) -> Checks {
    let checks = drafts.checks.iter().map(|draft| (&*draft.name, draft.at));
    let hosts = drafts.hosts.iter().map(|draft| (&*draft.check.name, draft.at));
    let named: Vec<(CheckId, &str, Span)> =
        checks.chain(hosts).map(|(name, at)| (id_of(name), name, at)).collect();
    report_collisions(&named, report);
    depends::judge(&drafts, report);
    let ids: Vec<CheckId> = named.into_iter().map(|(id, ..)| id).collect();
    let checks = ids.into_iter().zip(drafts.checks).map(|(id, draft)| Check {
        id,
        name: draft.name,
        labels: draft.labels,
        depends_on: draft.depends_on,
        metrics: draft.metrics,
        opinions: draft.opinions,
        spec: Arc::new(draft.spec),
    });
    let hosts = drafts.hosts.into_iter().map(|draft| draft.check);
    Checks { checks: checks.collect(), hosts: hosts.collect(), warnings: Vec::new() }
}

fn report_collisions(named: &[(CheckId, &str, Span)], report: &mut Report) {
    let mut first_by_id: HashMap<CheckId, usize> = HashMap::with_capacity(named.len());
    // Two ranges that overlap are one mistake, however many names they share.
    let mut reported = HashSet::new();
    for (index, (id, name, at)) in named.iter().enumerate() {
        let first = *first_by_id.entry(*id).or_insert(index);
        let (_, other_name, other_at) = named[first];
        if first == index || !reported.insert((*at, other_at)) {
            continue;
        }
        let problem = if *name == other_name {
            format!("another check has the name {name:?}")
        } else {
            format!("{other_name:?} and {name:?} have the same id {}: rename one", id.0)
        };
        report.add(*at, "check.name", problem).see(other_at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hc_types::{CheckSpec, ProbeSpec, Target, Timing};

    use super::*;
    use crate::SourceFile;
    use crate::build::Draft;

    /// Ids are in snapshots, in lists and in what other programs keep: these values must never
    /// change.
    #[test]
    fn ids_are_the_same_in_every_version() {
        for (name, id) in [
            ("web", 0x4b5e_57f6_eb2f_42b9),
            ("web/192.0.2.1:80", 0x8685_b463_c608_af1c),
            ("web/[2001:db8::1]:80", 0x7586_2f77_9359_196e),
            ("\u{e9}", 0x4a99_557e_4033_c353),
        ] {
            assert_eq!(check_id(name).0, id, "{name}: {:#x}", check_id(name).0);
        }
    }

    fn draft(name: &str, start: usize) -> Draft {
        let target = Target::plain([192, 0, 2, 1].into(), 0);
        let second = Duration::from_secs(1);
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap();
        Draft {
            name: name.into(),
            labels: Arc::default(),
            depends_on: Arc::default(),
            metrics: false,
            opinions: hc_types::OpinionKeys::default(),
            spec,
            at: Span { file: 0, start },
        }
    }

    #[test]
    fn two_names_with_one_id_are_reported_with_both_places() {
        let mut report = Report::default();
        // The length stands for a hash, since nobody has found two names for SHA-256.
        let id_of = |name: &str| CheckId(name.len() as u64);
        let checks = vec![draft("a", 0), draft("bb", 2), draft("c", 5)];
        assign(Drafts { checks, ..Drafts::default() }, id_of, &mut report);
        let found = report.finish(&[SourceFile::new("f", "a\nbb\nc\n")]);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [r#"f:3:1: check.name: "a" and "c" have the same id 1: rename one (see f:1:1)"#]);
    }
}
