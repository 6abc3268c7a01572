//! When an override stands: parts of each week, on a clock that hangs on a wall.

use std::time::{Duration, SystemTime};

use hc_types::{WEEKDAYS, WeekTime, Weekly};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};

/// Why a part of the week is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeeklyError {
    /// The text has another form.
    #[error("{0:?}: a part of the week is written \"Sun 02:00-04:00\" or \"Sat 22:00-Sun 04:00\"")]
    Form(String),
    /// There is no such time zone.
    #[error("{0:?} is no time zone; they are named as in the IANA database, such as Europe/Berlin")]
    Zone(String),
}

/// Reads `Sun 02:00-04:00` or `Sat 22:00-Sun 04:00`. Without a second day, an end that is not after
/// the beginning is on the next day.
///
/// # Errors
/// [`WeeklyError`].
pub fn parse_weekly(text: &str, zone: &str) -> Result<Weekly, WeeklyError> {
    let form = || WeeklyError::Form(text.to_owned());
    let (from, to) = text.split_once('-').ok_or_else(form)?;
    let from = with_day(from).ok_or_else(form)?;
    let to = match to.trim().split_once(' ') {
        Some(_) => with_day(to).ok_or_else(form)?,
        None => {
            let minute = minutes(to.trim()).ok_or_else(form)?;
            let next = u8::from(minute <= from.minute);
            WeekTime { day: (from.day + next) % 7, minute }
        }
    };
    let weekly = Weekly { from, to, zone: zone.into() };
    Window::new(&weekly).map(|_| weekly)
}

fn with_day(text: &str) -> Option<WeekTime> {
    let (day, time) = text.trim().split_once(' ')?;
    let day = WEEKDAYS.iter().position(|known| known.eq_ignore_ascii_case(day))?;
    Some(WeekTime { day: u8::try_from(day).ok()?, minute: minutes(time.trim())? })
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: u16| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &u16| is_plain && *number < below)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}

/// Reads an instant (RFC 3339), in any offset from UTC. `None` for anything else.
#[must_use]
pub fn parse_instant(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// A part of the week with its time zone at hand.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    from: WeekTime,
    to: WeekTime,
    zone: TimeZone,
}

/// Whether a window is open, and until when that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) open: bool,
    pub(crate) until: SystemTime,
}

/// One side of a window, where the clock shows a time twice or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Begin,
    End,
}

impl Window {
    /// # Errors
    /// [`WeeklyError::Zone`].
    pub(crate) fn new(weekly: &Weekly) -> Result<Self, WeeklyError> {
        let unknown = |_| WeeklyError::Zone(weekly.zone.to_string());
        // The one that is built in: in the sandbox there is no other.
        let zone = TimeZoneDatabase::bundled().get(&weekly.zone).map_err(unknown)?;
        Ok(Self { from: weekly.from, to: weekly.to, zone })
    }

    /// Whether the window is open at `now`.
    ///
    /// It opens when the clock first shows its beginning, or first shows a later time where it
    /// shows that never; it closes when the clock last shows its end. So no window is shorter than
    /// what the clock on the wall shows. In Berlin, on the Sunday in March on which 03:00 follows
    /// 01:59, `Sun 02:30-04:00` is open from 03:00 to 04:00; on the one in October on which 02:00
    /// to 02:59 come twice, `Sun 02:00-02:30` is open for an hour and a half.
    pub(crate) fn at(&self, now: SystemTime) -> Span {
        // Far from any year that a calendar has; looked at again then.
        let never = Span { open: false, until: now + Duration::from_secs(7 * 24 * 60 * 60) };
        let Ok(here) = Timestamp::try_from(now) else { return never };
        let today = self.zone.to_datetime(here).date();
        let back = i64::from(today.weekday().to_monday_zero_offset()) - i64::from(self.from.day);
        // That of the week before may still be open, and that of next week is the next one if this
        // week's is over.
        let weeks = (-2_i64..=2).filter_map(|week| today.checked_add((week * 7 - back).days()).ok());
        let spans = weeks.filter_map(|day| self.beginning_on(day));
        let Some((begin, end)) = spans.into_iter().find(|(_, end)| *end > here) else { return never };
        let open = begin <= here;
        Span { open, until: SystemTime::from(if open { end } else { begin }) }
    }

    /// The window that begins on this day; `None` if a clock that is set forward leaves nothing of
    /// it.
    fn beginning_on(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let ahead = |WeekTime { day, minute }: WeekTime| i64::from(day) * 1440 + i64::from(minute);
        let length = (ahead(self.to) - ahead(self.from)).rem_euclid(7 * 1440);
        let length = if length == 0 { 7 * 1440 } else { length };
        let begin = day
            .to_datetime(jiff::civil::Time::midnight())
            .checked_add(i64::from(self.from.minute).minutes())
            .ok()?;
        let end = begin.checked_add(length.minutes()).ok()?;
        let (begin, end) = (self.instant(begin, Side::Begin)?, self.instant(end, Side::End)?);
        (begin < end).then_some((begin, end))
    }

    fn instant(&self, time: DateTime, side: Side) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        match (ambiguous.offset(), side) {
            (AmbiguousOffset::Unambiguous { .. }, _) => ambiguous.compatible().ok(),
            (AmbiguousOffset::Fold { .. }, Side::Begin) => ambiguous.earlier().ok(),
            (AmbiguousOffset::Fold { .. }, Side::End) => ambiguous.later().ok(),
            // Before the gap, and the first instant behind it.
            (AmbiguousOffset::Gap { .. }, Side::Begin) => {
                let before = ambiguous.earlier().ok()?;
                let transition = self.zone.following(before).next()?;
                Some(transition.timestamp())
            }
            (AmbiguousOffset::Gap { .. }, Side::End) => ambiguous.later().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        SystemTime::from(text.parse::<Timestamp>().unwrap())
    }

    fn text(time: SystemTime) -> String {
        Timestamp::try_from(time).unwrap().to_string()
    }

    /// At `now` the window is open or not, until then. All in UTC.
    #[track_caller]
    fn check(weekly: &str, zone: &str, now: &str, open: bool, until: &str) {
        let weekly = parse_weekly(weekly, zone).unwrap();
        let span = Window::new(&weekly).unwrap().at(at(now));
        assert_eq!((span.open, text(span.until)), (open, until.to_owned()), "{weekly} at {now}");
    }

    #[test]
    fn a_window_opens_and_closes_each_week() {
        let check = |now, open, until| check("Sun 02:00-04:00", "Europe/Berlin", now, open, until);
        check("2026-11-27T12:00:00Z", false, "2026-11-29T01:00:00Z");
        check("2026-11-29T00:59:59Z", false, "2026-11-29T01:00:00Z");
        check("2026-11-29T01:00:00Z", true, "2026-11-29T03:00:00Z");
        check("2026-11-29T02:59:59Z", true, "2026-11-29T03:00:00Z");
        check("2026-11-29T03:00:00Z", false, "2026-12-06T01:00:00Z");
    }

    #[test]
    fn a_window_may_go_over_midnight_and_over_the_end_of_the_week() {
        let sunday = |now, open, until| check("Sun 23:00-01:00", "UTC", now, open, until);
        sunday("2026-11-29T23:30:00Z", true, "2026-11-30T01:00:00Z");
        sunday("2026-11-30T00:30:00Z", true, "2026-11-30T01:00:00Z");
        sunday("2026-11-30T01:00:00Z", false, "2026-12-06T23:00:00Z");
        let weekend = |now, open, until| check("Fri 18:00-Mon 06:00", "UTC", now, open, until);
        weekend("2026-11-29T12:00:00Z", true, "2026-11-30T06:00:00Z");
        weekend("2026-11-30T06:00:00Z", false, "2026-12-04T18:00:00Z");
        let always = |now, open, until| check("Mon 06:00-Mon 06:00", "UTC", now, open, until);
        always("2026-11-29T12:00:00Z", true, "2026-11-30T06:00:00Z");
        always("2026-11-30T06:00:00Z", true, "2026-12-07T06:00:00Z");
    }

    /// In Berlin 2026-03-29 has no times from 02:00 to 02:59: 01:59 CET (UTC+1) is followed by
    /// 03:00 CEST (UTC+2), at 01:00Z.
    #[test]
    fn a_clock_that_is_set_forward_shortens_what_it_leaves_out() {
        let now = "2026-03-28T12:00:00Z";
        let opens = |weekly, until| check(weekly, "Europe/Berlin", now, false, until);
        let closes = |weekly, now, until| check(weekly, "Europe/Berlin", now, true, until);
        opens("Sun 02:00-04:00", "2026-03-29T01:00:00Z");
        closes("Sun 02:00-04:00", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z");
        // The beginning is never shown: at the first time behind it.
        opens("Sun 02:30-04:00", "2026-03-29T01:00:00Z");
        closes("Sun 02:45-03:15", "2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z");
        // The end is never shown: as long as it would have been.
        closes("Sun 01:00-02:30", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");
        closes("Sun 02:15-02:45", "2026-03-29T01:00:00Z", "2026-03-29T01:45:00Z");
        // One that goes over it is shorter by an hour.
        opens("Sun 00:00-06:00", "2026-03-28T23:00:00Z");
        closes("Sun 00:00-06:00", "2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z");
    }

    /// In Berlin 2026-10-25 has the times from 02:00 to 02:59 twice: CEST from 00:00Z, CET from
    /// 01:00Z.
    #[test]
    fn a_clock_that_is_set_back_lengthens_what_it_repeats() {
        let now = "2026-10-24T12:00:00Z";
        let opens = |weekly, until| check(weekly, "Europe/Berlin", now, false, until);
        let closes = |weekly, now, until| check(weekly, "Europe/Berlin", now, true, until);
        opens("Sun 02:00-04:00", "2026-10-25T00:00:00Z");
        closes("Sun 02:00-04:00", "2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z");
        closes("Sun 02:00-02:30", "2026-10-25T00:00:00Z", "2026-10-25T01:30:00Z");
        // Between the two it stays open.
        closes("Sun 02:00-02:30", "2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z");
        closes("Sun 01:30-02:15", "2026-10-24T23:30:00Z", "2026-10-25T01:15:00Z");
        closes("Sun 00:00-06:00", "2026-10-24T22:00:00Z", "2026-10-25T05:00:00Z");
    }

    #[test]
    fn other_zones_have_other_rules() {
        // Half an hour, in the southern autumn.
        check(
            "Sun 01:30-02:00",
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            false,
            "2026-04-04T14:30:00Z",
        );
        check("Sun 01:30-02:00", "Australia/Lord_Howe", "2026-04-04T14:30:00Z", true, "2026-04-04T15:30:00Z");
        // Without any.
        check("Sun 02:00-04:00", "Asia/Kolkata", "2026-03-28T12:00:00Z", false, "2026-03-28T20:30:00Z");
    }

    /// Wherever the clock is: what is said to be so until an instant is so right before it, and
    /// another thing at it.
    #[test]
    fn spans_lie_end_to_end_for_years() {
        for (weekly, zone) in [
            ("Sun 02:00-04:00", "Europe/Berlin"),
            ("Sun 02:15-02:45", "America/New_York"),
            ("Sat 22:00-Mon 02:30", "Australia/Lord_Howe"),
            ("Sun 01:59-03:01", "America/Sao_Paulo"),
        ] {
            let window = Window::new(&parse_weekly(weekly, zone).unwrap()).unwrap();
            let mut now = at("2015-01-01T00:00:00Z");
            while now < at("2028-01-01T00:00:00Z") {
                let span = window.at(now);
                assert!(span.until > now, "{weekly} at {}", text(now));
                assert_eq!(
                    window.at(span.until - Duration::from_secs(1)),
                    span,
                    "{weekly} before {}",
                    text(span.until)
                );
                assert_ne!(window.at(span.until).open, span.open, "{weekly} at {}", text(span.until));
                now = span.until;
            }
        }
    }

    #[test]
    fn what_is_no_part_of_a_week_is_refused() {
        for text in [
            "",
            "-",
            "Sun",
            "Sun 02:00",
            "02:00-04:00",
            "Sun 2:00-04:00",
            "Sun 24:00-25:00",
            "Sun 02:60-03:00",
            "Sunday 02:00-04:00",
            "Sun 02:00-Mo 04:00",
            "Sun 02:00-04:00-06:00",
            "Sun +2:00-04:00",
        ] {
            assert_eq!(parse_weekly(text, "UTC"), Err(WeeklyError::Form(text.to_owned())), "{text}");
        }
        for zone in ["", "Berlin", "../UTC", "Europe/Atlantis"] {
            assert_eq!(
                parse_weekly("Sun 02:00-04:00", zone),
                Err(WeeklyError::Zone(zone.to_owned())),
                "{zone}"
            );
        }
        assert!(parse_weekly(" sun 02:00 - mon 04:00 ", "Europe/Berlin").is_ok());
    }
}
