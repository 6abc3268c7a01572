//! What operators have said, as the model knows it.

use std::time::Duration;

use fastrand::Rng;
use hc_types::{Health, Ruling, WeekTime, Weekly};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60;
/// In minutes.
const WEEK: u64 = 7 * DAY;
/// 1970 began on a Thursday; days are counted from Monday on.
const FIRST_DAY: u64 = 3;

/// What an operator has said of a check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) ruling: Ruling,
    pub(super) until: Option<Duration>,
    pub(super) weekly: Option<Part>,
    /// What consumers had when they began to hear nothing, of a mute that counts.
    pub(super) kept: Option<Health>,
}

impl Said {
    /// Whether it counts at this time since 1970; `until` is not looked at.
    pub(super) fn stands(&self, at: Duration) -> bool {
        self.weekly.is_none_or(|part| part.contains(at))
    }
}

/// A part of each week, in minutes of the week in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    from: u64,
    length: u64,
}

impl Part {
    /// One that begins within minutes, and how it is written in some zone. None of the zones has a
    /// summer time.
    pub(super) fn soon(now: Duration, forget_zone: bool, rng: &mut Rng) -> (Self, Weekly) {
        const ZONES: [(&str, u64); 4] =
            [("UTC", 0), ("Asia/Kolkata", 330), ("Asia/Tokyo", 540), ("America/Bogota", WEEK - 300)];

        let from = (minute_of_week(now) + rng.u64(1..4)) % WEEK;
        let part = Self { from, length: rng.u64(1..5) };
        let (zone, ahead) = ZONES[rng.usize(..ZONES.len())];
        let zone = if forget_zone { "UTC" } else { zone };
        let written = |minute: u64| {
            let minute = (minute + ahead) % WEEK;
            let narrow = |number: u64| u16::try_from(number).unwrap_or_default();
            WeekTime { day: u8::try_from(minute / DAY).unwrap_or_default(), minute: narrow(minute % DAY) }
        };
        (part, Weekly { from: written(from), to: written(from + part.length), zone: zone.into() })
    }

    fn contains(&self, at: Duration) -> bool {
        (minute_of_week(at) + WEEK - self.from) % WEEK < self.length
    }
}

fn minute_of_week(at: Duration) -> u64 {
    (at.as_secs() / MINUTE + FIRST_DAY * DAY) % WEEK
}
