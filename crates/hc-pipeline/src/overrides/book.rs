//! The overrides that there are, by number and by what they are of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use hc_types::{CheckId, Health, Override, Ruling, Subject};
use jiff::Timestamp;

use super::window::{WeeklyError, Window};

/// The most overrides that there are.
pub const MAX_OVERRIDES: usize = 100_000;

/// Why overrides are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There would be more than [`MAX_OVERRIDES`].
    #[error("there would be more than {MAX_OVERRIDES} overrides")]
    TooMany,
    /// The part of the week makes no sense.
    #[error(transparent)]
    Weekly(#[from] WeeklyError),
}

/// An override, as readers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its number in this process.
    pub number: u64,
    /// What was asked for.
    pub order: Arc<Override>,
    /// Whether it stands now: not before its beginning, and not outside of its part of the week.
    pub is_open: bool,
    /// When that changes.
    pub next: Option<SystemTime>,
    /// The checks that run and that it is of.
    pub checks: Arc<[CheckId]>,
}

#[derive(Debug)]
struct Entry {
    order: Override,
    window: Option<Window>,
    is_open: bool,
    deadline: Option<SystemTime>,
}

/// All that is said of one subject.
#[derive(Debug, Default)]
struct Said {
    numbers: BTreeSet<u64>,
    ids: BTreeSet<CheckId>,
}

/// What stands of a subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rulings {
    pub(super) forced: Option<(u64, Health)>,
    pub(super) muted: Option<(u64, Option<Health>)>,
    pub(super) paused: bool,
}

/// The overrides.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<u64, Entry>,
    subjects: HashMap<Subject, Said>,
    deadlines: BTreeSet<(SystemTime, u64)>,
    latest: u64,
    /// Goes up with each change that readers can see.
    version: u64,
    /// Goes up with each change that is to be written down.
    edition: u64,
}

impl Book {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn edition(&self) -> u64 {
        self.edition
    }

    pub(crate) fn orders(&self) -> impl Iterator<Item = &Override> {
        self.entries.values().map(|entry| &entry.order)
    }

    /// Each override for readers, oldest first.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        self.entries.iter().map(|(number, entry)| self.standing_as(*number, entry)).collect()
    }

    /// One override for readers.
    pub(super) fn standing_of(&self, number: u64) -> Option<Standing> {
        self.entries.get(&number).map(|entry| self.standing_as(number, entry))
    }

    fn standing_as(&self, number: u64, entry: &Entry) -> Standing {
        Standing {
            number,
            order: Arc::new(entry.order.clone()),
            is_open: entry.is_open,
            next: entry.deadline,
            checks: self.ids(&entry.order.subject).into(),
        }
    }

    pub(super) fn has_room(&self, orders: &[Override]) -> Result<(), Refused> {
        if self.entries.len().saturating_add(orders.len()) > MAX_OVERRIDES {
            return Err(Refused::TooMany);
        }
        for weekly in orders.iter().filter_map(|order| order.weekly.as_ref()) {
            Window::new(weekly)?;
        }
        Ok(())
    }

    /// Adds an override in place of the one before of its kind; a weekly one and one that is for
    /// once stand side by side. `None` if it is over already.
    pub(super) fn add(&mut self, mut order: Override, wall: SystemTime) -> Result<Option<u64>, Refused> {
        let window = order.weekly.as_ref().map(Window::new).transpose()?;
        // One that is over takes the place of none.
        if order.until.is_some_and(|until| until <= wall) {
            return Ok(None);
        }
        self.changed();
        let like = |entry: &Entry| {
            entry.order.ruling.label() == order.ruling.label()
                && entry.order.weekly.is_some() == order.weekly.is_some()
        };
        let said = self.subjects.get(&order.subject);
        let before = said
            .and_then(|said| said.numbers.iter().find(|number| self.entries.get(number).is_some_and(like)));
        let before = before.copied().and_then(|before| self.remove(before));
        // A mute that is set again keeps what it kept: a force may stand meanwhile.
        if let Some(Override { ruling: Ruling::Mute { kept: Some(health) }, .. }) = before
            && let Ruling::Mute { kept } = &mut order.ruling
        {
            kept.get_or_insert(health);
        }
        self.latest += 1;
        let number = self.latest;
        self.subjects.entry(order.subject.clone()).or_default().numbers.insert(number);
        self.entries.insert(number, Entry { order, window, is_open: false, deadline: None });
        self.turn(number, wall);
        Ok(Some(number))
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Override> {
        let Entry { order, deadline, .. } = self.entries.remove(&number)?;
        self.changed();
        self.deadlines.drop_one(deadline, number);
        if let Some(said) = self.subjects.get_mut(&order.subject) {
            said.numbers.remove(&number);
            if said.numbers.is_empty() && said.ids.is_empty() {
                self.subjects.remove(&order.subject);
            }
        }
        Some(order)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Override> {
        self.entries.get(&number).map(|entry| &entry.order)
    }

    /// Whether anything is said of a subject.
    pub(super) fn has(&self, subject: &Subject) -> bool {
        self.subjects.get(subject).is_some_and(|said| !said.numbers.is_empty())
    }

    /// A check that runs has this subject. Says whether anything is said of it.
    pub(super) fn bind(&mut self, subject: &Subject, id: CheckId) -> bool {
        let Some(said) = self.subjects.get_mut(subject).filter(|said| !said.numbers.is_empty()) else {
            return false;
        };
        said.ids.insert(id);
        self.version += 1;
        true
    }

    /// The check is no more.
    pub(super) fn unbind(&mut self, subject: &Subject, id: CheckId) {
        self.version += 1;
        if let Some(said) = self.subjects.get_mut(subject) {
            said.ids.remove(&id);
            if said.numbers.is_empty() && said.ids.is_empty() {
                self.subjects.remove(subject);
            }
        }
    }

    /// Nothing is said of this subject any more.
    pub(super) fn unbind_all(&mut self, subject: &Subject) -> BTreeSet<CheckId> {
        self.version += 1;
        self.subjects.remove(subject).map(|said| said.ids).unwrap_or_default()
    }

    /// The checks that run with this subject.
    pub(super) fn ids(&self, subject: &Subject) -> Vec<CheckId> {
        self.subjects.get(subject).map(|said| said.ids.iter().copied().collect()).unwrap_or_default()
    }

    /// What stands of a subject; of several the latest.
    pub(super) fn standing(&self, subject: &Subject) -> Rulings {
        let mut rulings = Rulings::default();
        let numbers = self.subjects.get(subject).into_iter().flat_map(|said| &said.numbers);
        for (number, entry) in numbers.filter_map(|number| Some((*number, self.entries.get(number)?))) {
            match entry.order.ruling {
                _ if !entry.is_open => {}
                Ruling::Force(health) => rulings.forced = Some((number, health)),
                // The first: what consumers had when they began to hear nothing.
                Ruling::Mute { kept } => rulings.muted = rulings.muted.or(Some((number, kept))),
                Ruling::Pause => rulings.paused = true,
            }
        }
        rulings
    }

    /// What consumers have of the check that this mute is of. All mutes of a subject that stand
    /// keep the same, so that it is known still when this one ends before the others, or before a
    /// force that goes before them all.
    pub(super) fn keep(&mut self, number: u64, health: Health) {
        let Some(subject) = self.get(number).map(|order| order.subject.clone()) else { return };
        let numbers = self.subjects.get(&subject).map(|said| said.numbers.clone()).unwrap_or_default();
        for number in numbers {
            if let Some(Entry { order, .. }) = self.entries.get_mut(&number).filter(|entry| entry.is_open)
                && order.ruling == (Ruling::Mute { kept: None })
            {
                order.ruling = Ruling::Mute { kept: Some(health) };
                self.changed();
            }
        }
    }

    /// What the mutes of this subject that stand have kept.
    fn kept(&self, subject: &Subject) -> Option<Health> {
        let numbers = self.subjects.get(subject).into_iter().flat_map(|said| &said.numbers);
        let mut open = numbers.filter_map(|number| self.entries.get(number)).filter(|entry| entry.is_open);
        open.find_map(|entry| match entry.order.ruling {
            Ruling::Mute { kept } => kept,
            _ => None,
        })
    }

    /// The next instant at which something may change.
    pub(super) fn next(&self) -> Option<SystemTime> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// An override that has something due.
    pub(super) fn due(&self, wall: SystemTime) -> Option<u64> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= wall).map(|(_, number)| *number)
    }

    pub(super) fn is_over(&self, number: u64, wall: SystemTime) -> bool {
        self.get(number).is_some_and(|order| order.until.is_some_and(|until| until <= wall))
    }

    pub(super) fn is_open(&self, number: u64) -> Option<bool> {
        self.entries.get(&number).map(|entry| entry.is_open)
    }

    /// Finds out whether an override stands at `wall`, and when that changes.
    pub(super) fn turn(&mut self, number: u64, wall: SystemTime) {
        let others_kept = self.get(number).and_then(|order| self.kept(&order.subject));
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Override { from, until, ruling, .. } = &mut entry.order;
        let (is_open, deadline) = match &entry.window {
            _ if wall < *from => (false, Some(*from)),
            None => (true, *until),
            Some(window) => {
                let span = window.at(wall);
                (span.open, Some(until.map_or(span.until, |until| until.min(span.until))))
            }
        };
        // What consumers had in the window before is of no interest in the next one.
        if let Ruling::Mute { kept } = ruling {
            *kept = if is_open { kept.or(others_kept) } else { None };
        }
        entry.is_open = is_open;
        let before = std::mem::replace(&mut entry.deadline, deadline);
        self.deadlines.drop_one(before, number);
        self.deadlines.extend(deadline.map(|deadline| (deadline, number)));
        self.changed();
    }

    fn changed(&mut self) {
        self.version += 1;
        self.edition += 1;
    }
}

/// A set of deadlines.
trait Deadlines {
    /// Takes out the deadline of one override, if it has one.
    fn drop_one(&mut self, deadline: Option<SystemTime>, number: u64);
}

impl Deadlines for BTreeSet<(SystemTime, u64)> {
    fn drop_one(&mut self, deadline: Option<SystemTime>, number: u64) {
        if let Some(deadline) = deadline {
            self.remove(&(deadline, number));
        }
    }
}

/// An instant for people, to the second.
pub(super) fn text(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "the end of time".to_owned(), |time| format!("{time:.0}"))
}
