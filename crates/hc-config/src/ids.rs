//! Ids of checks, from their names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hc_types::CheckId;
use sha2::{Digest as _, Sha256};

use crate::Check;
use crate::build::Draft;
use crate::diagnostic::Report;

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

/// Gives each draft its id. A name that two of them have is reported, and two names with one id.
pub(crate) fn assign(drafts: Vec<Draft>, id_of: fn(&str) -> CheckId, report: &mut Report) -> Vec<Check> {
    let ids: Vec<CheckId> = drafts.iter().map(|draft| id_of(&draft.name)).collect();
    let mut first_by_id: HashMap<CheckId, usize> = HashMap::with_capacity(drafts.len());
    // Two ranges that overlap are one mistake, however many names they share.
    let mut reported = HashSet::new();
    for (index, id) in ids.iter().enumerate() {
        let first = *first_by_id.entry(*id).or_insert(index);
        let (draft, other) = (&drafts[index], &drafts[first]);
        if first == index || !reported.insert((draft.at, other.at)) {
            continue;
        }
        let problem = if draft.name == other.name {
            format!("another check has the name {:?}", draft.name)
        } else {
            format!("{:?} and {:?} have the same id {}: rename one", other.name, draft.name, id.0)
        };
        report.add(draft.at, "check.name", problem).see(other.at);
    }
    let checks = ids.into_iter().zip(drafts);
    checks
        .map(|(id, draft)| Check { id, name: draft.name, labels: draft.labels, spec: Arc::new(draft.spec) })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hc_types::{CheckSpec, ProbeSpec, Target};

    use super::*;
    use crate::SourceFile;
    use crate::diagnostic::Span;

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
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, second, second, 0).unwrap();
        Draft { name: name.to_owned(), labels: Arc::default(), spec, at: Span { file: 0, start } }
    }

    #[test]
    fn two_names_with_one_id_are_reported_with_both_places() {
        let mut report = Report::default();
        // The length stands for a hash, since nobody has found two names for SHA-256.
        let id_of = |name: &str| CheckId(name.len() as u64);
        assign(vec![draft("a", 0), draft("bb", 2), draft("c", 5)], id_of, &mut report);
        let found = report.finish(&[SourceFile::new("f", "a\nbb\nc\n")]);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [r#"f:3:1: check.name: "a" and "c" have the same id 1: rename one (see f:1:1)"#]);
    }
}
