//! What is in effect of the sets that came over this socket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hc_types::{CheckId, Rejection};

use super::Remembered;

/// The set in effect, while that is certain: from the answer to the latest proposal until the next
/// one. Shared by all connections, so that a peer that comes again is recognised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The number of the latest proposal.
    latest: u64,
    /// It has its answer.
    settled: bool,
    set: Option<Arc<Remembered>>,
}

/// What a proposal will have changed when it is in effect.
#[derive(Debug)]
enum Lesson {
    /// This is the set then; `None` if it is not known how it looks.
    Whole(Option<Remembered>),
    /// These checks are then other ones.
    Changed { upsert: Vec<CheckId>, remove: Vec<CheckId> },
}

/// A proposal that has no answer yet. Dropped without one it leaves open what is in effect.
#[derive(Debug)]
pub(crate) struct Ticket {
    memory: Memory,
    number: u64,
    lesson: Option<Lesson>,
}

impl Memory {
    /// The set in effect, if that is certain.
    pub(crate) fn get(&self) -> Option<Arc<Remembered>> {
        let state = self.lock();
        state.set.clone().filter(|_| state.settled)
    }

    /// A full set is proposed. If it was made as what differs from `base`, that has to be what is
    /// in effect still: `None` if it is not.
    pub(crate) fn full(&self, base: Option<&Arc<Remembered>>, set: Option<Remembered>) -> Option<Ticket> {
        let mut state = self.lock();
        let is_in_effect =
            |base| state.settled && state.set.as_ref().is_some_and(|set| Arc::ptr_eq(set, base));
        base.is_none_or(is_in_effect).then(|| self.propose(&mut state, Lesson::Whole(set)))
    }

    /// A delta is proposed.
    pub(crate) fn delta(&self, upsert: Vec<CheckId>, remove: Vec<CheckId>) -> Ticket {
        self.propose(&mut self.lock(), Lesson::Changed { upsert, remove })
    }

    /// The next full set is to be read as a whole.
    pub(crate) fn forget(&self) {
        self.lock().set = None;
    }

    fn propose(&self, state: &mut State, lesson: Lesson) -> Ticket {
        state.latest += 1;
        state.settled = false;
        Ticket { memory: self.clone(), number: state.latest, lesson: Some(lesson) }
    }

    /// The state is whole after each step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// It is in effect, without the checks that were rejected.
    pub(crate) fn applied(mut self, rejected: &[Rejection]) {
        let mut state = self.memory.lock();
        let before = state.set.take();
        state.settled = state.latest == self.number;
        let mut set = match self.lesson.take() {
            // The base of a delta that follows, too.
            Some(Lesson::Whole(set)) => set.map(Arc::new),
            Some(Lesson::Changed { upsert, remove }) => before.map(|mut set| {
                Arc::make_mut(&mut set).change(&upsert, &remove);
                set
            }),
            None => None,
        };
        if let Some(set) = &mut set
            && !rejected.is_empty()
        {
            // They are to be rejected again.
            Arc::make_mut(set).open(rejected.iter().filter_map(|rejection| rejection.id));
        }
        state.set = set;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Taken by an answer.
        if self.lesson.is_none() {
            return;
        }
        let mut state = self.memory.lock();
        state.set = None;
        state.settled = state.latest == self.number;
    }
}
