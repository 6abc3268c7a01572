use proptest::prelude::*;

use super::*;
use crate::codec::Object;
use crate::heard::Heard;

#[allow(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
fn origin() -> Instant {
    Instant::now()
}

const TERM: Term = Term(7);

fn key(number: u32) -> CheckKey {
    let mut bytes = [2; 16];
    // Spread over the slots, as digests are.
    bytes[1..5].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    CheckKey::from_bytes(bytes)
}

fn says(health: Health) -> Opinion {
    Opinion { health, verdict: health, number: 0, streak: 1, label: "pass".into() }
}

/// A node, what it should have written, and the store.
struct Rig {
    publisher: Publisher,
    now: Instant,
    truth: BTreeMap<CheckKey, Health>,
    store: BTreeMap<String, Vec<u8>>,
    /// One who has listened from the beginning.
    listener: Heard,
    writes: usize,
    bytes: usize,
}

impl Rig {
    fn new(rate: u64) -> Self {
        let now = origin();
        let mut publisher = Publisher::new(Duration::from_millis(100), Duration::from_secs(600), now);
        publisher.allow(rate * 1000, now);
        publisher.begin(TERM, now);
        Self {
            publisher,
            now,
            truth: BTreeMap::new(),
            store: BTreeMap::new(),
            listener: Heard::new(TERM),
            writes: 0,
            bytes: 0,
        }
    }

    fn say(&mut self, number: u32, health: Health) {
        let key = key(number);
        if health == Health::Unknown {
            self.truth.remove(&key);
            self.publisher.withdraw(key, self.now);
        } else {
            self.truth.insert(key, health);
            self.publisher.set(key, says(health), self.now);
        }
    }

    /// Writes what is due, or what is due next; the batch may get lost.
    fn write(&mut self, fails: bool) {
        let Some(due) = self.publisher.due() else { return };
        self.now = self.now.max(due);
        let Some(batch) = self.publisher.next(self.now) else { return };
        assert!(batch.puts.len() + batch.deletes.len() <= MOST_IN_A_BATCH + 10);
        if fails {
            return self.publisher.failed(batch.ticket, self.now + Duration::from_secs(1));
        }
        for (name, value) in batch.puts {
            assert!(value.len() <= MOST_BYTES);
            self.writes += 1;
            self.bytes += value.len();
            self.listener.apply(Object::decode(&value).unwrap(), &mut Vec::new());
            self.store.insert(name, value);
        }
        self.store.retain(|name, _| !batch.deletes.iter().any(|gone| name.starts_with(gone)));
        self.publisher.written(batch.ticket, self.now);
    }

    fn settle(&mut self) {
        while self.publisher.unwritten_since().is_some() {
            self.write(false);
        }
    }

    fn seen(heard: &Heard) -> BTreeMap<CheckKey, Health> {
        let all = heard.keys().filter_map(|key| Some((key, heard.get(&place(key))?.health)));
        all.filter(|(_, health)| *health != Health::Unknown).collect()
    }

    /// Who reads the store anew, in any order, and who has listened know the same.
    fn audit(&self, turn: usize) {
        let mut names: Vec<&String> = self.store.keys().collect();
        let turn = turn % names.len().max(1);
        names.rotate_left(turn);
        let mut reader = Heard::new(TERM);
        for name in names {
            reader.apply(Object::decode(&self.store[name]).unwrap(), &mut Vec::new());
        }
        assert_eq!(Self::seen(&reader), self.truth, "read anew");
        assert_eq!(Self::seen(&self.listener), self.truth, "listened");
        let logs = self.store.keys().filter(|name| name.starts_with("log/")).count();
        assert!(u64::try_from(logs).unwrap() <= MOST_LOGS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn everybody_reads_what_is_said(
        steps in proptest::collection::vec((0_u32..60, 0_u8..6, 0_u8..4), 1..300),
        turn: usize,
        bits in 0_u32..4,
    ) {
        let mut rig = Rig::new(20);
        rig.publisher.bits = bits;
        rig.publisher.count();
        for (number, what, then) in steps {
            match what {
                0 | 1 => rig.say(number, Health::Healthy),
                2 => rig.say(number, Health::Unhealthy),
                3 => rig.say(number, Health::Unknown),
                // Something is in the air while more is said.
                4 => rig.publisher.refreshed -= Duration::from_secs(600),
                _ if number == 0 && rig.publisher.bits < 6 => rig.publisher.split(),
                _ => {}
            }
            if then < 2 {
                rig.write(then == 0);
            }
        }
        rig.settle();
        rig.audit(turn);
        // The refresh leaves nothing in the log, and nothing is written after it.
        for _ in 0..300 {
            rig.write(false);
        }
        rig.audit(turn);
        prop_assert_eq!(rig.publisher.due(), None);
        let prefix = format!("base/{:02}-", rig.publisher.bits);
        prop_assert!(rig.store.keys().all(|name| name.starts_with(&prefix)), "{:?}", rig.store.keys());
    }
}

#[test]
fn a_batch_in_the_air_does_not_hide_what_is_said_meanwhile() {
    let mut rig = Rig::new(50);
    rig.say(1, Health::Healthy);
    rig.now = rig.publisher.due().unwrap();
    let batch = rig.publisher.next(rig.now).unwrap();
    assert_eq!(rig.publisher.due(), None);
    rig.say(1, Health::Unhealthy);
    rig.say(2, Health::Healthy);
    rig.publisher.written(batch.ticket, rig.now);
    assert!(!rig.publisher.is_written(key(1)));
    rig.settle();
    rig.audit(0);
}

/// 20,000 checks are found in ten seconds at ten writes a second; when 2,000 fail at once, a handful
/// of objects tells of it.
#[test]
fn many_changes_at_once_are_few_objects() {
    let mut rig = Rig::new(10);
    (0..20_000).for_each(|number| rig.say(number, Health::Healthy));
    let begin = rig.now;
    rig.settle();
    assert!(rig.writes <= 32, "{}", rig.writes);
    assert!(rig.now - begin < Duration::from_secs(10));
    assert!(rig.bytes < 20_000 * 30);
    rig.audit(3);
    rig.writes = 0;
    (0..2_000).for_each(|number| rig.say(number * 10, Health::Unhealthy));
    rig.settle();
    assert_eq!(rig.writes, 1);
    rig.audit(5);
}

#[test]
fn nothing_is_written_without_a_term_or_a_change() {
    let mut rig = Rig::new(10);
    assert_eq!(rig.publisher.due(), None);
    rig.say(1, Health::Healthy);
    rig.settle();
    assert_eq!((rig.publisher.due(), rig.writes), (None, 1));
    rig.publisher.end();
    rig.say(2, Health::Healthy);
    assert_eq!(rig.publisher.due(), None);
    // A new life writes everything anew.
    rig.publisher.begin(TERM, rig.now);
    rig.listener = Heard::new(TERM);
    rig.store.clear();
    rig.settle();
    rig.audit(0);
}
