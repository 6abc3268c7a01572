//! Sets of checks out of messages, held against the rule in `docs/protocol.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hc_ipc::{Assembled, Assembly};
use hc_sources::{Admission, Admitted};
use hc_types::{CheckId, CheckSpec, ProbeSpec, Proposal, Rejection, SetChange, Target, TcpProbe, Timing};
use hc_wire::{CheckEntry, CheckLine, UpdateConfigs, UpdateDelta};

use crate::input::Input;

const MAX_CHECKS: usize = 6;

/// Any order of sets, parts and deltas: a set takes effect exactly when all of its parts have come
/// one after another, a delta exactly when its base is in effect and the checks cannot have become
/// too many, and each holds the checks that are good and told in one way only.
pub fn ipc_sets(data: &[u8]) {
    let mut input = Input::new(data);
    let mut assembly = Assembly::new(MAX_CHECKS);
    let mut run = Run::default();
    let mut base = None;
    // How many checks there can be: those of the last full set, and all that deltas brought since.
    let mut size = 0;
    while !input.is_empty() {
        let generation = *input.pick(&[None, Some(1), Some(2), Some(3)]);
        if input.flag() {
            let update = UpdateConfigs {
                part: *input.pick(&[None, Some(1), Some(2), Some(3), Some(0)]),
                parts: *input.pick(&[None, Some(1), Some(2), Some(3), Some(0)]),
                configs: entries(&mut input),
                generation,
            };
            run.take(&update);
            match judged(assembly.configs(update)) {
                Assembled::Set(SetChange::Full { generation: of, checks }, rejected) => {
                    assert!(run.is_whole(), "a set out of nothing");
                    assert_eq!(of, generation);
                    check_sorted(&run.entries, &checks, &rejected);
                    (base, size) = (generation, run.entries.iter().filter(|entry| entry.is_ok()).count());
                    run = Run::default();
                }
                other => {
                    assert!(!run.is_whole(), "a whole set does not take effect: {other:?}");
                    assert!(!matches!(other, Assembled::Set(..)), "a set is no delta");
                }
            }
        } else {
            let update = UpdateDelta {
                generation: generation.unwrap_or_default(),
                base: input.up_to(3) as u64,
                upsert: entries(&mut input),
                remove: input.short().iter().take(4).map(|id| CheckId((id % 8).into())).collect(),
            };
            let builds = base == Some(update.base);
            let fits = builds && size + update.upsert.len() <= MAX_CHECKS;
            if builds && !fits {
                base = None;
            }
            let (upserted, removed) = (update.upsert.clone(), update.remove.clone());
            let result = update.generation;
            match judged(assembly.delta(update)) {
                Assembled::Set(SetChange::Delta { generation, upsert, remove }, rejected) => {
                    assert!(fits, "a delta upon nothing");
                    assert_eq!(generation, Some(result));
                    check_sorted(&upserted, &upsert, &rejected);
                    let runs: BTreeSet<u64> = upsert.iter().map(|(id, _)| id.0).collect();
                    let stops = removed.iter().copied().chain(rejected.iter().filter_map(|bad| bad.id));
                    let stops: BTreeSet<u64> = stops.map(|id| id.0).filter(|id| !runs.contains(id)).collect();
                    assert_eq!(remove.iter().map(|id| id.0).collect::<BTreeSet<_>>(), stops);
                    (base, size) = (generation, size + upserted.len());
                }
                other => {
                    assert!(!fits, "a delta does not take effect: {other:?}");
                    assert!(!matches!(other, Assembled::Set(..)), "a delta is no set");
                }
            }
        }
    }
}

/// What comes of a set in a server without other sources.
fn judged(assembled: Assembled) -> Assembled {
    let Assembled::Set(change, rejected) = assembled else { return assembled };
    let mut admission = Admission::new(Arc::default());
    let source = admission.add("fuzz");
    let (Admitted { change, rejected }, _) =
        admission.admit(source, Proposal { rejected, ..Proposal::new(change) });
    Assembled::Set(change, rejected)
}

/// The parts since the last part 1.
#[derive(Debug, Default)]
struct Run {
    /// Generation, number and count of each part.
    parts: Vec<(Option<u64>, u32, u32)>,
    entries: Vec<CheckEntry>,
}

impl Run {
    fn take(&mut self, update: &UpdateConfigs) {
        let (part, parts) = match (update.part, update.parts) {
            (None, None) => (1, 1),
            (Some(part), Some(parts)) if part >= 1 && part <= parts => (part, parts),
            // What makes no sense is refused, and changes nothing.
            _ => return,
        };
        if parts > 1 && update.generation.is_none() {
            return;
        }
        if part == 1 {
            *self = Self::default();
        }
        self.parts.push((update.generation, part, parts));
        self.entries.extend(update.configs.iter().cloned());
    }

    fn is_whole(&self) -> bool {
        let Some((generation, _, parts)) = self.parts.first().copied() else { return false };
        let expected = (1..=parts).map(|part| (generation, part, parts));
        self.parts.iter().copied().eq(expected) && self.entries.len() <= MAX_CHECKS
    }
}

/// Of each id either all entries are the same good check, which runs, or none runs and the id is
/// rejected.
fn check_sorted(entries: &[CheckEntry], checks: &[(CheckId, Arc<CheckSpec>)], rejected: &[Rejection]) {
    let mut good: BTreeMap<u64, Option<Arc<CheckSpec>>> = BTreeMap::new();
    let mut nameless = 0;
    for entry in entries {
        match entry {
            Ok(line) => {
                let known = good.entry(line.id.0).or_insert_with(|| Some(Arc::clone(&line.spec)));
                known.take_if(|spec| *spec != line.spec);
            }
            Err(Rejection { id: Some(id), .. }) => _ = good.insert(id.0, None),
            Err(Rejection { id: None, .. }) => nameless += 1,
        }
    }
    let runs: BTreeMap<u64, Option<Arc<CheckSpec>>> =
        checks.iter().map(|(id, spec)| (id.0, Some(Arc::clone(spec)))).collect();
    assert_eq!(runs.len(), checks.len(), "an id twice");
    let bad: BTreeSet<u64> = rejected.iter().filter_map(|rejection| rejection.id).map(|id| id.0).collect();
    assert_eq!(bad.len() + nameless, rejected.len(), "each rejection once");
    assert!(rejected.iter().all(|rejection| (1..2000).contains(&rejection.reason.len())));
    let (expected_good, expected_bad): (BTreeMap<_, _>, BTreeMap<_, _>) =
        good.into_iter().partition(|(_, spec)| spec.is_some());
    assert_eq!(runs, expected_good);
    assert_eq!(bad, expected_bad.into_keys().collect());
}

fn entries(input: &mut Input<'_>) -> Vec<CheckEntry> {
    (0..input.up_to(4)).map(|_| entry(input.byte())).collect()
}

/// Three bits of id, two of contents, three of what is wrong.
fn entry(choice: u8) -> CheckEntry {
    let id = CheckId((choice & 7).into());
    let reason = match choice >> 5 {
        5 => return Err(Rejection { id: None, reason: "id: missing".to_owned() }),
        6 => "port: missing".to_owned(),
        7 => "é".repeat(5000),
        _ => {
            let target = Target::plain([192, 0, 2, 1].into(), 80 + u16::from(choice >> 3 & 3));
            let probe = ProbeSpec::Tcp(TcpProbe::default());
            let second = Duration::from_secs(1);
            let spec =
                CheckSpec::new(target, probe, Timing::every(second).timeout(second)).expect("a good check");
            return Ok(CheckLine { id, spec: Arc::new(spec) });
        }
    };
    Err(Rejection { id: Some(id), reason })
}
