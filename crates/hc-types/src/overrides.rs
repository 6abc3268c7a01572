//! What operators say of checks, beside what probes find.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{CheckId, CheckKey, Health};

/// What an override is of. Not an id: those of Seesaw's engine change when it restarts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The check with this name.
    Name(Box<str>),
    /// Every check without a name that checks this: Seesaw's checks have none.
    Key(CheckKey),
}

/// What an override does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ruling {
    /// Consumers get this health, whatever probes find; never [`Health::Unknown`].
    Force(Health),
    /// Consumers keep what they have: a maintenance window.
    Mute {
        /// The health that they had when it began. `None` before, and if they had none.
        kept: Option<Health>,
    },
    /// No probe begins.
    Pause,
}

impl Ruling {
    /// The kind of override in one word, as metrics and JSON have it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Force(_) => "force",
            Self::Mute { .. } => "mute",
            Self::Pause => "pause",
        }
    }
}

/// `forced unhealthy`, `muted`, `paused`.
impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Force(health) => write!(f, "forced {health}"),
            Self::Mute { .. } => f.write_str("muted"),
            Self::Pause => f.write_str("paused"),
        }
    }
}

/// A time of the week, on a clock that hangs on a wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WeekTime {
    /// The day: 0 is Monday, 6 is Sunday.
    pub day: u8,
    /// Minutes since midnight, below 1440.
    pub minute: u16,
}

/// A part of each week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weekly {
    /// When it begins.
    pub from: WeekTime,
    /// When it ends: the next such time after the beginning.
    pub to: WeekTime,
    /// The time zone, by its name in the IANA database: `Europe/Berlin`.
    pub zone: Box<str>,
}

/// `Sun 02:00-04:00 Europe/Berlin`, with the day of its end where that is another.
impl fmt::Display for Weekly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |day: u8| WEEKDAYS.get(usize::from(day)).copied().unwrap_or("?");
        let Self { from, to, zone } = self;
        write!(f, "{} {:02}:{:02}-", day(from.day), from.minute / 60, from.minute % 60)?;
        if from.day != to.day || to.minute <= from.minute {
            write!(f, "{} ", day(to.day))?;
        }
        write!(f, "{:02}:{:02} {zone}", to.minute / 60, to.minute % 60)
    }
}

/// The days of the week as they are written, Monday first.
pub const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Who asked for an override, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// User id.
    pub uid: u32,
    /// The user's name, where it is known.
    pub user: Option<Box<str>>,
}

/// The name, or `uid 1000`.
impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => f.write_str(user),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// What an operator says of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Of which check.
    pub subject: Subject,
    /// What that check was called when the override was asked for, for people.
    pub title: Box<str>,
    /// What it does.
    pub ruling: Ruling,
    /// Who asked for it.
    pub by: Operator,
    /// Why.
    pub reason: Box<str>,
    /// When it was asked for.
    pub asked: SystemTime,
    /// From when on it stands.
    pub from: SystemTime,
    /// When it is over; `None` if only somebody ends it.
    pub until: Option<SystemTime>,
    /// Stands only in this part of each week.
    pub weekly: Option<Weekly>,
}

/// The checks whose probes do not begin, shared between who pauses and who probes.
#[derive(Debug, Default)]
pub struct Paused {
    /// So that nobody waits for a lock while nothing is paused.
    count: AtomicUsize,
    ids: RwLock<HashSet<CheckId>>,
}

impl Paused {
    /// Whether no probe of this check may begin.
    #[must_use]
    pub fn contains(&self, id: CheckId) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.ids.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Pauses a check, or lets its probes begin again. Says whether that is a change.
    pub fn set(&self, id: CheckId, paused: bool) -> bool {
        if !paused && self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        let changed = if paused { ids.insert(id) } else { ids.remove(&id) };
        self.count.store(ids.len(), Ordering::Release);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_is_so_until_it_is_not() {
        let (paused, id) = (Paused::default(), CheckId(7));
        assert!(!paused.contains(id) && !paused.set(id, false));
        assert!(paused.set(id, true) && !paused.set(id, true));
        assert!(paused.contains(id) && !paused.contains(CheckId(8)));
        assert!(paused.set(id, false) && !paused.contains(id));
    }

    #[test]
    fn windows_and_rulings_have_words() {
        let at = |day, hour: u16, minute| WeekTime { day, minute: hour * 60 + minute };
        let weekly = |from, to| Weekly { from, to, zone: "Europe/Berlin".into() }.to_string();
        assert_eq!(weekly(at(6, 2, 0), at(6, 4, 30)), "Sun 02:00-04:30 Europe/Berlin");
        assert_eq!(weekly(at(5, 22, 0), at(6, 4, 0)), "Sat 22:00-Sun 04:00 Europe/Berlin");
        assert_eq!(weekly(at(0, 2, 0), at(0, 2, 0)), "Mon 02:00-Mon 02:00 Europe/Berlin");
        assert_eq!(Ruling::Force(Health::Unhealthy).to_string(), "forced unhealthy");
        assert_eq!(Ruling::Mute { kept: None }.to_string(), "muted");
        assert_eq!(Operator { uid: 7, user: None }.to_string(), "uid 7");
    }
}
