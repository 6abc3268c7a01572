use std::collections::BTreeMap;
use std::time::Duration;

use hc_types::{ProbeSpec, Target, TcpProbe, Timing};
use proptest::prelude::*;

use super::*;

fn spec(port: u16) -> Arc<CheckSpec> {
    let second = Duration::from_secs(1);
    let target = Target::plain([192, 0, 2, 1].into(), port);
    Arc::new(
        CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), Timing::every(second).timeout(second))
            .unwrap(),
    )
}

fn checks(checks: &[(u64, u16)]) -> Vec<(CheckId, Arc<CheckSpec>)> {
    checks.iter().map(|(id, port)| (CheckId(*id), spec(*port))).collect()
}

fn full(generation: Option<u64>, of: &[(u64, u16)]) -> Proposal {
    Proposal::new(SetChange::Full { generation, checks: checks(of) })
}

fn delta(upsert: &[(u64, u16)], remove: &[u64]) -> Proposal {
    let remove = remove.iter().copied().map(CheckId).collect();
    Proposal::new(SetChange::Delta { generation: None, upsert: checks(upsert), remove })
}

fn rejecting(mut proposal: Proposal, rejected: &[(Option<u64>, &str)]) -> Proposal {
    let rejection =
        |(id, reason): &(Option<u64>, &str)| Rejection { id: id.map(CheckId), reason: (*reason).to_owned() };
    proposal.rejected = rejected.iter().map(rejection).collect();
    proposal
}

fn naming(mut proposal: Proposal, names: &[(u64, &str)]) -> Proposal {
    let metadata = |name: &str| Arc::new(Metadata { name: Some(name.into()), ..Metadata::default() });
    proposal.metadata = names.iter().map(|(id, name)| (CheckId(*id), metadata(name))).collect();
    proposal
}

/// Ids of the checks in a change, sorted, and of those that it removes.
fn ids(change: &SetChange) -> (Vec<u64>, Vec<u64>) {
    let (runs, stops) = match change {
        SetChange::Full { checks, .. } => (checks, &[][..]),
        SetChange::Delta { upsert, remove, .. } | SetChange::Renewal { upsert, remove, .. } => {
            (upsert, &remove[..])
        }
    };
    let mut runs: Vec<u64> = runs.iter().map(|(id, _)| id.0).collect();
    runs.sort_unstable();
    (runs, stops.iter().map(|id| id.0).collect())
}

/// Ids that run, ids that stop, rejections.
type Short = (Vec<u64>, Vec<u64>, Vec<(Option<u64>, String)>);

struct Rig {
    admission: Admission,
    directory: Arc<Directory>,
    sources: Vec<SourceId>,
}

impl Rig {
    fn new(names: &[&str]) -> Self {
        let directory = Arc::new(Directory::default());
        let mut admission = Admission::new(directory.clone());
        let sources = names.iter().map(|name| admission.add(*name)).collect();
        Self { admission, directory, sources }
    }

    fn admit(&mut self, source: usize, proposal: Proposal) -> Short {
        let (Admitted { change, rejected }, _) = self.admission.admit(self.sources[source], proposal);
        let (runs, stops) = ids(&change);
        (
            runs,
            stops,
            rejected.into_iter().map(|rejection| (rejection.id.map(|id| id.0), rejection.reason)).collect(),
        )
    }

    #[track_caller]
    fn check(
        &mut self,
        source: usize,
        proposal: Proposal,
        runs: &[u64],
        stops: &[u64],
        rejected: &[(u64, &str)],
    ) {
        let rejected = rejected.iter().map(|(id, reason)| (Some(*id), (*reason).to_owned())).collect();
        assert_eq!(self.admit(source, proposal), (runs.to_vec(), stops.to_vec(), rejected));
    }
}

const REPEATED: &str = "id: comes more than once, with different contents";

#[test]
fn equal_copies_count_as_one_and_different_ones_as_none() {
    let set = [(1, 80), (2, 80), (1, 80), (2, 81), (2, 80), (3, 80)];
    Rig::new(&["a"]).check(0, full(None, &set), &[1, 3], &[], &[(2, REPEATED)]);
}

#[test]
fn an_invalid_copy_spoils_a_valid_one() {
    let bad = [
        (Some(1), "port: must be 1 to 65535"),
        (Some(1), "ip: missing"),
        (None, "id: missing"),
        (None, "id: missing"),
    ];
    let proposal = rejecting(full(None, &[(1, 80), (2, 80), (1, 80)]), &bad);
    let (runs, _, rejected) = Rig::new(&["a"]).admit(0, proposal);
    assert_eq!(runs, [2]);
    let missing = || (None, "id: missing".to_owned());
    assert_eq!(rejected, [(Some(1), "port: must be 1 to 65535".to_owned()), missing(), missing()]);
}

#[test]
fn upsert_wins_over_remove_and_a_rejected_check_stops() {
    let proposal = rejecting(delta(&[(1, 80)], &[1, 2]), &[(Some(3), "interval: must be above 0")]);
    Rig::new(&["a"]).check(0, proposal, &[1], &[2, 3], &[(3, "interval: must be above 0")]);
}

#[test]
fn reasons_have_a_limited_length() {
    let long = "é".repeat(10_000);
    let (_, _, rejected) = Rig::new(&["a"]).admit(0, rejecting(full(None, &[]), &[(Some(1), &long)]));
    assert!(rejected[0].1.len() <= 1024 + 3);
}

#[test]
fn sources_add_up_and_the_first_one_keeps_an_id() {
    let mut rig = Rig::new(&["proxy", "file"]);
    let taken = "id: used by a check of proxy";
    rig.check(0, full(None, &[(1, 80), (2, 80)]), &[1, 2], &[], &[]);
    rig.check(1, full(None, &[(2, 90), (3, 90)]), &[1, 2, 3], &[], &[(2, taken)]);
    // Neither changes nor ends what is the other's.
    rig.check(1, delta(&[(1, 90), (4, 90)], &[2, 3]), &[4], &[3], &[(1, taken)]);
    rig.check(0, full(None, &[(1, 80)]), &[1, 4], &[], &[]);
    // It was given back.
    rig.check(1, delta(&[(2, 90)], &[]), &[2], &[], &[]);
    rig.check(0, full(None, &[]), &[2, 4], &[], &[]);
}

/// hc-proxy knows sets by their generation, and refuses news of older ones.
#[test]
fn a_source_without_generations_leaves_that_of_the_others() {
    let mut rig = Rig::new(&["proxy", "file"]);
    for (source, given, expected) in
        [(1, None, None), (0, Some(7), Some(7)), (1, None, Some(7)), (0, Some(8), Some(8))]
    {
        let (Admitted { change, .. }, _) = rig.admission.admit(rig.sources[source], full(given, &[]));
        assert_eq!(change.generation(), expected);
    }
    let mut alone = Rig::new(&["proxy"]);
    for given in [Some(7), None] {
        let (Admitted { change, .. }, _) = alone.admission.admit(alone.sources[0], full(given, &[]));
        assert_eq!(change.generation(), given);
    }
}

#[test]
fn a_name_has_one_check() {
    let mut rig = Rig::new(&["proxy", "file"]);
    rig.check(
        0,
        naming(full(None, &[(1, 80), (2, 80)]), &[(1, "web"), (2, "web")]),
        &[1],
        &[],
        &[(2, "name: \"web\" is the name of check 1")],
    );
    let taken = "name: \"web\" is the name of check 1";
    rig.check(0, naming(delta(&[(3, 80)], &[]), &[(3, "web")]), &[], &[3], &[(3, taken)]);
    rig.check(1, naming(full(None, &[(4, 80)]), &[(4, "web")]), &[1], &[], &[(4, taken)]);
    assert_eq!(rig.directory.id_of("web"), Some(CheckId(1)));
    // Free with the end of its check.
    rig.check(0, delta(&[], &[1]), &[], &[1], &[]);
    assert_eq!((rig.directory.id_of("web"), rig.directory.get(CheckId(1))), (None, None));
    rig.check(1, naming(full(None, &[(4, 80)]), &[(4, "web")]), &[4], &[], &[]);
}

#[test]
fn names_can_change_places_and_end_with_a_set() {
    let mut rig = Rig::new(&["file", "other"]);
    rig.check(1, naming(full(None, &[(9, 80)]), &[(9, "nine")]), &[9], &[], &[]);
    rig.check(0, naming(full(None, &[(1, 80), (2, 80)]), &[(1, "a"), (2, "b")]), &[1, 2, 9], &[], &[]);
    rig.check(0, naming(delta(&[(1, 80), (2, 80)], &[]), &[(1, "b"), (2, "a")]), &[1, 2], &[], &[]);
    assert_eq!((rig.directory.id_of("a"), rig.directory.id_of("b")), (Some(CheckId(2)), Some(CheckId(1))));
    rig.check(0, full(None, &[(1, 80)]), &[1, 9], &[], &[]);
    assert_eq!((rig.directory.id_of("a"), rig.directory.id_of("b")), (None, None));
    assert_eq!(rig.directory.id_of("nine"), Some(CheckId(9)));
}

/// Source, whole or not, upserts, removals.
type Drawn = (usize, bool, Vec<(u64, u16)>, Vec<u64>);

fn proposals() -> impl Strategy<Value = Vec<Drawn>> {
    let check = (0..6u64, 80..82u16);
    let one = (
        0..2usize,
        any::<bool>(),
        proptest::collection::vec(check, 0..5),
        proptest::collection::vec(0..6u64, 0..3),
    );
    proptest::collection::vec(one, 1..20)
}

proptest! {
    /// The set that results from all changes is the union of what each source wants and may have,
    /// and no id is of two.
    #[test]
    fn the_set_is_the_union_of_the_sources(proposals in proposals()) {
        let mut rig = Rig::new(&["a", "b"]);
        let mut runs: BTreeMap<u64, Arc<CheckSpec>> = BTreeMap::new();
        let mut owners: BTreeMap<u64, usize> = BTreeMap::new();
        for (source, whole, upsert, remove) in proposals {
            let proposal = if whole { full(None, &upsert) } else { delta(&upsert, &remove) };
            let (Admitted { change, rejected }, _) = rig.admission.admit(rig.sources[source], proposal);
            // The model.
            if whole {
                owners.retain(|_, owner| *owner != source);
            } else {
                owners.retain(|id, owner| *owner != source || !remove.contains(id));
            }
            for (id, port) in &upsert {
                let copies = || upsert.iter().filter(|(other, _)| other == id);
                let free = owners.get(id).is_none_or(|owner| *owner == source);
                let runs = free && copies().all(|(_, other)| other == port);
                prop_assert_eq!(runs, !rejected.iter().any(|rejection| rejection.id == Some(CheckId(*id))));
                if runs {
                    owners.insert(*id, source);
                } else if free {
                    owners.remove(id);
                }
            }
            match change {
                SetChange::Full { checks, .. } => {
                    let count = checks.len();
                    runs = checks.into_iter().map(|(id, spec)| (id.0, spec)).collect();
                    prop_assert_eq!(runs.len(), count, "an id twice");
                }
                SetChange::Delta { upsert, remove, .. } | SetChange::Renewal { upsert, remove, .. } => {
                    remove.iter().for_each(|id| _ = runs.remove(&id.0));
                    runs.extend(upsert.into_iter().map(|(id, spec)| (id.0, spec)));
                }
            }
            prop_assert_eq!(runs.keys().collect::<Vec<_>>(), owners.keys().collect::<Vec<_>>());
        }
    }
}
