//! Sets as texts, against an owner who keeps what is in effect.

use std::collections::BTreeMap;

use hc_types::{CheckSpec, Rejection, SetChange};
use hc_wire::{ToServer, UpdateDelta, decode, parse_check};
use proptest::prelude::*;

use super::*;
use crate::assembly::{Assembled, Assembly};

/// A version that is no valid check.
const INVALID: u8 = 9;

fn text(id: u64, version: u8) -> String {
    let interval = if version == INVALID { 0 } else { 60 };
    let timeout = version + 1;
    format!(
        r#"{{"id":{id},"interval":"{interval}s","timeout":"{timeout}s","checker_type":"tcp","ip":"192.0.2.1","port":80}}"#
    )
}

fn spec(id: u64, version: u8) -> Arc<CheckSpec> {
    parse_check(&text(id, version)).unwrap().spec
}

fn line(texts: &[String], generation: u64, part: usize, parts: usize) -> Vec<u8> {
    let checks = texts.join(",");
    format!(
        r#"{{"type":"update_configs","configs":[{checks}],"generation":{generation},"part":{part},"parts":{parts}}}"#
    )
    .into_bytes()
}

/// One connection after the other, and what is in effect.
struct Rig {
    memory: Memory,
    digests: Digests,
    assembly: Assembly,
    generation: u64,
    in_effect: BTreeMap<u64, Arc<CheckSpec>>,
    /// Checks that were read of the latest full set.
    read: usize,
}

impl Rig {
    fn new() -> Self {
        let memory = Memory::default();
        let assembly = Assembly::with_memory(1000, memory.clone());
        let digests = Digests::default();
        Self { memory, digests, assembly, generation: 0, in_effect: BTreeMap::new(), read: 0 }
    }

    /// A peer that connects anew.
    fn reconnect(&mut self) {
        self.assembly = Assembly::with_memory(1000, self.memory.clone());
    }

    /// Sends a full set in so many parts, again if it is asked for. Gives it with what is to be
    /// told.
    fn send(&mut self, texts: &[String], parts: usize) -> (SetChange, Vec<Rejection>, Ticket) {
        for again in [false, true] {
            self.generation += 1;
            self.read = 0;
            let size = texts.len().div_ceil(parts).max(1);
            let mut chunks: Vec<_> = texts.chunks(size).collect();
            chunks.resize(parts, &[]);
            for (part, chunk) in (1..).zip(chunks) {
                let line = line(chunk, self.generation, part, parts);
                let (update, texts) = read(&line, self.memory.get(), &self.digests).unwrap();
                self.read += update.configs.len();
                match self.assembly.part(update, Some(texts)) {
                    (Assembled::Nothing, None) => {}
                    (Assembled::Set(change, rejected), Some(ticket)) => {
                        assert_eq!((part, change.generation()), (parts, Some(self.generation)));
                        return (change, rejected, ticket);
                    }
                    (Assembled::Ask(_), None) if !again => break,
                    other => panic!("{other:?}"),
                }
            }
        }
        panic!("no set")
    }

    /// As the admission of sources does it: of an id that comes twice with different contents no
    /// copy runs, nor does one that is rejected, nor `refused`, if the change names it. Says whether
    /// it does.
    fn apply(
        &mut self,
        change: SetChange,
        mut rejected: Vec<Rejection>,
        refused: Option<u64>,
        ticket: Ticket,
    ) -> bool {
        let mut is_refused = false;
        let (checks, remove) = match change {
            SetChange::Full { checks, .. } => {
                self.in_effect.clear();
                (checks, Vec::new())
            }
            SetChange::Renewal { upsert, remove, .. } | SetChange::Delta { upsert, remove, .. } => {
                (upsert, remove)
            }
        };
        for id in remove {
            self.in_effect.remove(&id.0);
        }
        let mut seen: BTreeMap<u64, Arc<CheckSpec>> = BTreeMap::new();
        for (id, spec) in checks {
            let differs = seen.insert(id.0, Arc::clone(&spec)).is_some_and(|before| before != spec);
            is_refused |= refused == Some(id.0);
            if differs || refused == Some(id.0) {
                rejected.push(Rejection { id: Some(id), reason: String::new() });
            }
            self.in_effect.insert(id.0, spec);
        }
        for rejection in &rejected {
            rejection.id.iter().for_each(|id| _ = self.in_effect.remove(&id.0));
        }
        ticket.applied(&rejected);
        is_refused
    }

    fn delta(&mut self, upsert: &[(u64, u8)], remove: &[u64]) -> Option<(SetChange, Vec<Rejection>, Ticket)> {
        let base = self.generation;
        self.generation += 1;
        let upsert: Vec<_> = upsert.iter().map(|(id, version)| parse_check(&text(*id, *version))).collect();
        let remove = remove.iter().map(|id| CheckId(*id)).collect();
        let update = UpdateDelta { generation: self.generation, base, upsert, remove };
        match self.assembly.change(update) {
            (Assembled::Set(change, rejected), Some(ticket)) => Some((change, rejected, ticket)),
            (Assembled::Ask(_) | Assembled::Nothing, None) => None,
            other => panic!("{other:?}"),
        }
    }
}

fn texts(set: &BTreeMap<u64, u8>) -> Vec<String> {
    set.iter().map(|(id, version)| text(*id, *version)).collect()
}

#[test]
fn of_a_set_that_comes_again_only_what_differs_is_read() {
    let mut rig = Rig::new();
    let mut set: BTreeMap<u64, u8> = (0..400).map(|n| (5_618_803_485_098_115_072 + n, 1)).collect();
    let (change, rejected, ticket) = rig.send(&texts(&set), 3);
    assert!(matches!(&change, SetChange::Full { checks, .. } if checks.len() == 400), "{change:?}");
    rig.apply(change, rejected, None, ticket);
    // One that is other, one that is gone, one that is new.
    let first = 5_618_803_485_098_115_072;
    set.insert(first + 101, 2);
    set.remove(&(first + 200));
    set.insert(first + 1000, 1);
    rig.reconnect();
    let (change, rejected, ticket) = rig.send(&texts(&set), 3);
    let SetChange::Renewal { upsert, remove, .. } = &change else { panic!("{change:?}") };
    // The neighbours under the same digests, and those of a digest that the end of a part cuts.
    assert!(upsert.len() <= 3 * TOGETHER + 2 * TOGETHER, "{}", upsert.len());
    assert_eq!((rig.read, remove), (upsert.len(), &vec![CheckId(first + 200)]));
    rig.apply(change, rejected, None, ticket);
    let expected: BTreeMap<_, _> = set.iter().map(|(id, version)| (*id, spec(*id, *version))).collect();
    assert_eq!(rig.in_effect, expected);
    // The same once more: all of it is known.
    let (change, _, _) = rig.send(&texts(&set), 3);
    assert!(
        matches!(&change, SetChange::Renewal { upsert, remove, .. } if upsert.is_empty() && remove.is_empty())
    );
}

#[test]
fn a_proposal_without_an_answer_leaves_nothing_known() {
    let mut rig = Rig::new();
    let set: BTreeMap<u64, u8> = (1..50).map(|id| (id, 1)).collect();
    let (change, rejected, ticket) = rig.send(&texts(&set), 1);
    rig.apply(change, rejected, None, ticket);
    assert!(rig.memory.get().is_some());
    let (_, _, ticket) = rig.send(&texts(&set), 1);
    assert!(rig.memory.get().is_none(), "it may be in effect already or not");
    drop(ticket);
    assert!(rig.memory.get().is_none());
    let (change, ..) = rig.send(&texts(&set), 1);
    assert!(matches!(change, SetChange::Full { .. }));
}

#[test]
fn what_was_compared_with_another_set_is_asked_for_again() {
    let mut rig = Rig::new();
    let set: BTreeMap<u64, u8> = (1..50).map(|id| (id, 1)).collect();
    let (change, rejected, ticket) = rig.send(&texts(&set), 1);
    rig.apply(change, rejected, None, ticket);
    let (update, known) = read(&line(&texts(&set), 9, 1, 1), rig.memory.get(), &rig.digests).unwrap();
    assert!(update.configs.is_empty());
    // Meanwhile another connection has changed a check.
    rig.memory.delta(vec![CheckId(7)], Vec::new()).applied(&[]);
    let (assembled, ticket) = rig.assembly.part(update, Some(known));
    assert!(matches!(assembled, Assembled::Ask(_)) && ticket.is_none(), "{assembled:?}");
}

/// Also where all of its checks are known, which are never read.
#[test]
fn a_line_that_is_no_json_is_no_set() {
    let mut rig = Rig::new();
    let set: BTreeMap<u64, u8> = (1..=40).map(|id| (id, 1)).collect();
    let (change, rejected, ticket) = rig.send(&texts(&set), 1);
    rig.apply(change, rejected, None, ticket);
    let right = String::from_utf8(line(&texts(&set), 9, 1, 1)).unwrap();
    let reads = |line: &str| read(line.as_bytes(), rig.memory.get(), &rig.digests).is_some();
    assert!(reads(&right));
    for wrong in ["},]", "}, ]", "},,]", "} }]", "}"] {
        assert!(!reads(&right.replace("}]", wrong)), "{wrong}");
    }
    assert!(!reads(&right.replacen("},{", "},,{", 1)));
    assert!(!reads(&right.replacen("[{", "[,{", 1)));
}

#[test]
fn a_line_that_is_written_otherwise_is_read_as_it_always_was() {
    let digests = Digests::default();
    let standard = line(&[text(1, 1), text(2, INVALID)], 1, 1, 1);
    let same = |line: &[u8]| {
        let known = read(line, None, &digests).map(|(update, _)| update);
        let ToServer::UpdateConfigs(expected) = decode(line).unwrap() else { panic!("a set") };
        (known, expected)
    };
    let (known, expected) = same(&standard);
    assert_eq!(known, Some(expected));
    let spaced: Vec<u8> = String::from_utf8(standard).unwrap().replace(":[", ": [").into_bytes();
    assert_eq!(same(&spaced).0, None);
    assert!(read(br#"{"type":"update_configs","configs":[{"id":1},"#, None, &digests).is_none());
}

/// What happens to a set or a delta.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Applied,
    /// The owner refuses one check.
    Refused(u64),
    /// The connection is replaced before it is applied.
    Lost,
}

#[derive(Clone, Debug)]
struct Step {
    /// Ids with their versions; a version above [`INVALID`] removes the check.
    edits: Vec<(u64, u8)>,
    is_delta: bool,
    parts: usize,
    fate: Fate,
    reconnects: bool,
    /// Where the set is not in order: this check comes once more, as this version.
    repeated: Option<(u64, u8)>,
    /// White space between checks, as nobody writes it.
    is_spaced: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let version = prop_oneof![4 => 0u8..3, 1 => Just(INVALID), 2 => Just(INVALID + 1)];
    let fate = prop_oneof![
        6 => Just(Fate::Applied),
        1 => (0u64..60).prop_map(Fate::Refused),
        1 => Just(Fate::Lost),
    ];
    let step = (
        prop::collection::vec((0u64..60, version), 0..6),
        prop::bool::weighted(0.4),
        1usize..4,
        fate,
        prop::bool::weighted(0.2),
        prop::option::weighted(0.1, (0u64..60, 0u8..3)),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(edits, is_delta, parts, fate, reconnects, repeated, is_spaced)| Step {
            edits,
            is_delta,
            parts,
            fate,
            reconnects,
            repeated,
            is_spaced,
        });
    prop::collection::vec(step, 1..24)
}

/// Far apart at one place, so that blocks end early.
fn id(n: u64) -> u64 {
    if n < 30 { n } else { n + 1000 }
}

proptest! {
    /// However sets, deltas and lost connections follow each other: what is in effect after a full
    /// set is what its text says, read as a whole.
    #[test]
    fn what_is_in_effect_is_what_the_text_says(steps in steps()) {
        let mut rig = Rig::new();
        let mut wanted: BTreeMap<u64, u8> = (0..60).map(|n| (id(n), 0)).collect();
        for step in steps {
            if step.reconnects {
                rig.reconnect();
            }
            let mut edits: BTreeMap<u64, u8> = step.edits.iter().map(|(n, version)| (id(*n), *version)).collect();
            for (id, version) in &edits {
                if *version > INVALID {
                    wanted.remove(id);
                } else {
                    wanted.insert(*id, *version);
                }
            }
            let mut refused = None;
            if let Fate::Refused(n) = step.fate {
                refused = Some(id(n));
            }
            let delta = if step.is_delta {
                let removed: Vec<u64> = edits.iter().filter(|(_, version)| **version > INVALID).map(|(id, _)| *id).collect();
                edits.retain(|_, version| *version <= INVALID);
                let upsert: Vec<_> = edits.into_iter().collect();
                rig.delta(&upsert, &removed)
            } else {
                None
            };
            if let Some((change, rejected, ticket)) = delta {
                // One that is lost is known to nobody: the peer sends its set again.
                if !matches!(step.fate, Fate::Lost) {
                    rig.apply(change, rejected, refused, ticket);
                    continue;
                }
                drop(ticket);
            }
            let mut set = texts(&wanted);
            if let Some((n, version)) = step.repeated {
                set.push(text(id(n), version));
            }
            if step.is_spaced && set.len() > 3 {
                set[2].insert(0, ' ');
            }
            let (change, rejected, ticket) = rig.send(&set, step.parts);
            if matches!(step.fate, Fate::Lost) {
                drop(ticket);
                rig.reconnect();
                continue;
            }
            // What runs already is not refused.
            let is_refused = rig.apply(change, rejected, refused, ticket);
            let refused = refused.filter(|_| is_refused);
            let mut expected = BTreeMap::new();
            for (check, version) in &wanted {
                let twice = step.repeated.is_some_and(|(n, other)| id(n) == *check && other != *version);
                if *version != INVALID && !twice && refused != Some(*check) {
                    expected.insert(*check, spec(*check, *version));
                }
            }
            if let Some((n, version)) = step.repeated
                && !wanted.contains_key(&id(n))
                && refused != Some(id(n))
            {
                expected.insert(id(n), spec(id(n), version));
            }
            let timeouts = |checks: &BTreeMap<u64, Arc<CheckSpec>>| {
                checks.iter().map(|(id, spec)| (*id, spec.timeout().as_secs())).collect::<Vec<_>>()
            };
            prop_assert_eq!(timeouts(&rig.in_effect), timeouts(&expected));
        }
    }
}
