//! How often a check probes its target, and how many results change its health.

use std::time::Duration;

use crate::{AdaptiveTimeout, Health, Outcome, Progress, SpecError, Status};

/// The longest interval and the longest timeout: 24 hours. Above it a number is a mistake in a
/// unit, and sums of durations stay far from overflow.
pub const MAX_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest interval: 10 ms. Below it a number is a mistake in a unit, and one check would load
/// its backend, and this machine, like thousands.
pub const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Why a period makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeriodError {
    /// It is 0.
    #[error("must be above 0")]
    Zero,
    /// An interval below [`MIN_INTERVAL`].
    #[error("must be at least 10ms")]
    TooShort,
    /// It is above [`MAX_PERIOD`].
    #[error("must be at most 24h")]
    TooLong,
    /// A fast interval above the usual one.
    #[error("must be at most the interval")]
    AboveInterval,
    /// A jitter above half of the shortest interval of the check.
    #[error("must be at most half of the shortest interval (50%)")]
    AboveHalf,
}

/// How often a check probes its target, and how many results change its health.
///
/// The default is Seesaw's: an interval of 10 s, a timeout of 5 s, no retries, and one pass makes
/// an unhealthy check healthy. The names are HAProxy's where Seesaw has none: `rise` and `fall`,
/// `fastinter` and `downinter`.
///
/// The first result of a check decides at once, whatever rise and fall are, as in Seesaw.
///
/// ```
/// use std::time::Duration;
/// use hc_types::Timing;
///
/// let second = Duration::from_secs(1);
/// let timing = Timing::every(5 * second).timeout(second).retries(2).rise(3).fast_interval(second);
/// assert_eq!((timing.timeout, timing.rise, timing.down_interval), (second, 3, None));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Timing {
    /// Time between the starts of two probes.
    pub interval: Duration,
    /// Deadline of one whole probe, counted from its start. It may exceed the interval: probes then
    /// run back to back.
    pub timeout: Duration,
    /// Consecutive failures that a healthy check survives: the field's `fall`, minus one.
    pub retries: u32,
    /// Consecutive passes that make an unhealthy check healthy. Default 1.
    pub rise: u32,
    /// The interval while the health may be about to change: a healthy check has failed, or an
    /// unhealthy one passed. At most the interval. `None`: the interval.
    pub fast_interval: Option<Duration>,
    /// The interval of an unhealthy check whose probes fail. `None`: the interval.
    pub down_interval: Option<Duration>,
    /// How much later than planned a probe may start, chosen for each probe. Default none.
    pub jitter: Jitter,
    /// How long after the check begins its first probe starts, at the earliest. Until then the
    /// check is unknown and nothing is reported of it. It does not apply to a check whose health is
    /// remembered, as after a restart of this program. Default 0.
    pub start_delay: Duration,
    /// Whether a shorter timeout follows from how long the passes take. Default: no.
    pub adaptive_timeout: AdaptiveTimeout,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retries: 0,
            rise: 1,
            fast_interval: None,
            down_interval: None,
            jitter: Jitter::None,
            start_delay: Duration::ZERO,
            adaptive_timeout: AdaptiveTimeout::Off,
        }
    }
}

impl Timing {
    /// A probe each `interval`; the rest as by default.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self { interval, ..Self::default() }
    }

    /// The same with another timeout.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same with another number of retries.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// The same with another number of passes that make an unhealthy check healthy.
    #[must_use]
    pub fn rise(self, rise: u32) -> Self {
        Self { rise, ..self }
    }

    /// The same with an interval while the health may be about to change.
    #[must_use]
    pub fn fast_interval(self, interval: Duration) -> Self {
        Self { fast_interval: Some(interval), ..self }
    }

    /// The same with an interval while the check is unhealthy.
    #[must_use]
    pub fn down_interval(self, interval: Duration) -> Self {
        Self { down_interval: Some(interval), ..self }
    }

    /// The same with jitter.
    #[must_use]
    pub fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// The same with a delay before the first probe.
    #[must_use]
    pub fn start_delay(self, start_delay: Duration) -> Self {
        Self { start_delay, ..self }
    }

    /// The same with a timeout that follows from how long the passes take, or is suggested.
    #[must_use]
    pub fn adaptive_timeout(self, adaptive_timeout: AdaptiveTimeout) -> Self {
        Self { adaptive_timeout, ..self }
    }
}

/// How much later than planned a probe may start.
///
/// The delay of each probe is between 0 and this. It follows from the place of the check among the
/// others and from the number of the probe, so it is the same in each run. Two probes start at most
/// the interval plus this apart, and at least the interval minus this.
///
/// Example: with an interval of 10 s and a jitter of 10 %, probes start 9 s to 11 s apart, and 10 s
/// on average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Jitter {
    /// Every probe starts when it is planned.
    #[default]
    None,
    /// Hundredths of the interval that is in force: 1 to 50.
    Percent(u8),
    /// A time: at most half of the shortest interval of the check.
    Time(Duration),
}

impl Jitter {
    /// The longest delay where probes are this far apart.
    #[must_use]
    pub fn of(self, interval: Duration) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Percent(share) => interval * u32::from(share) / 100,
            Self::Time(time) => time,
        }
    }
}

/// Which of its intervals a check follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// The interval: a healthy check whose probes pass, and one of which nothing is known.
    Steady,
    /// The fast interval: a healthy check whose latest probe failed, or an unhealthy one whose
    /// latest probe passed.
    Changing,
    /// The down interval: an unhealthy check whose probes fail.
    Down,
}

/// What a check still needs to change its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Any result: the first one decides.
    AnyResult,
    /// So many passes in a row; then it is healthy.
    Passes(u32),
    /// So many failures in a row; then it is unhealthy.
    Failures(u64),
}

impl Needed {
    /// What a check that stands so still needs.
    pub(crate) fn of(timing: &Packed, status: &Status, progress: &Progress) -> Self {
        let like_latest = u64::from(progress.in_a_row);
        let (passed, failed) = match status.outcome {
            Some(Outcome::Pass(_)) => (like_latest, 0),
            // Of what an earlier process left, only the failures in a row are known.
            _ => (0, like_latest),
        };
        match status.health {
            Health::Unknown => Self::AnyResult,
            Health::Healthy => Self::Failures((u64::from(timing.retries) + 1).saturating_sub(failed).max(1)),
            Health::Unhealthy => {
                let passes = u64::from(timing.rise()).saturating_sub(passed).max(1);
                Self::Passes(u32::try_from(passes).unwrap_or(u32::MAX))
            }
        }
    }
}

/// The timing of a check, valid, in the 32 bytes that a check has for it. Periods are nanoseconds:
/// 24 hours are below 2^47 of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Packed {
    interval: u64,
    timeout: u64,
    pub(crate) retries: u32,
    /// What few checks have.
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Rare {
    rise: u32,
    fast_interval: Option<Duration>,
    down_interval: Option<Duration>,
    jitter: Jitter,
    start_delay: Duration,
    adaptive_timeout: AdaptiveTimeout,
}

impl Packed {
    pub(crate) fn new(timing: Timing) -> Result<Self, SpecError> {
        let Timing {
            interval,
            timeout,
            retries,
            rise,
            mut fast_interval,
            mut down_interval,
            jitter,
            start_delay,
            adaptive_timeout,
        } = timing;
        check_interval(interval).map_err(SpecError::Interval)?;
        check_period(timeout).map_err(SpecError::Timeout)?;
        if rise == 0 {
            return Err(SpecError::Rise);
        }
        if let Some(fast) = fast_interval {
            check_interval(fast).map_err(SpecError::FastInterval)?;
            if fast > interval {
                return Err(SpecError::FastInterval(PeriodError::AboveInterval));
            }
        }
        if let Some(down) = down_interval {
            check_interval(down).map_err(SpecError::DownInterval)?;
        }
        // One check has one form, so that it is equal to itself wherever it comes from.
        fast_interval.take_if(|fast| *fast == interval);
        down_interval.take_if(|down| *down == interval);
        let shortest = [fast_interval, down_interval].into_iter().flatten().fold(interval, Duration::min);
        let jitter = checked_jitter(jitter, shortest).map_err(SpecError::Jitter)?;
        if start_delay > MAX_PERIOD {
            return Err(SpecError::StartDelay(PeriodError::TooLong));
        }
        if adaptive_timeout == AdaptiveTimeout::Apply && retries == 0 {
            return Err(SpecError::AdaptiveTimeout);
        }
        let rare = Rare { rise, fast_interval, down_interval, jitter, start_delay, adaptive_timeout };
        let rare = (rare != Rare::NONE).then(|| Box::new(rare));
        Ok(Self { interval: nanos(interval), timeout: nanos(timeout), retries, rare })
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_nanos(self.timeout)
    }

    fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&Rare::NONE)
    }

    pub(crate) fn rise(&self) -> u32 {
        self.rare().rise
    }

    pub(crate) fn jitter(&self) -> Jitter {
        self.rare().jitter
    }

    pub(crate) fn start_delay(&self) -> Duration {
        self.rare().start_delay
    }

    pub(crate) fn adaptive_timeout(&self) -> AdaptiveTimeout {
        self.rare().adaptive_timeout
    }

    pub(crate) fn interval_at(&self, pace: Pace) -> Duration {
        let own = match pace {
            Pace::Steady => None,
            Pace::Changing => self.rare().fast_interval,
            Pace::Down => self.rare().down_interval,
        };
        own.unwrap_or(self.interval())
    }

    pub(crate) fn unpacked(&self) -> Timing {
        let Rare { rise, fast_interval, down_interval, jitter, start_delay, adaptive_timeout } = *self.rare();
        Timing {
            interval: self.interval(),
            timeout: self.timeout(),
            retries: self.retries,
            rise,
            fast_interval,
            down_interval,
            jitter,
            start_delay,
            adaptive_timeout,
        }
    }
}

impl Rare {
    const NONE: Self = Self {
        rise: 1,
        fast_interval: None,
        down_interval: None,
        jitter: Jitter::None,
        start_delay: Duration::ZERO,
        adaptive_timeout: AdaptiveTimeout::Off,
    };
}

fn check_period(period: Duration) -> Result<(), PeriodError> {
    if period.is_zero() {
        return Err(PeriodError::Zero);
    }
    if period > MAX_PERIOD {
        return Err(PeriodError::TooLong);
    }
    Ok(())
}

fn check_interval(interval: Duration) -> Result<(), PeriodError> {
    check_period(interval)?;
    if interval < MIN_INTERVAL { Err(PeriodError::TooShort) } else { Ok(()) }
}

fn checked_jitter(jitter: Jitter, shortest: Duration) -> Result<Jitter, PeriodError> {
    match jitter {
        Jitter::None | Jitter::Percent(0) | Jitter::Time(Duration::ZERO) => Ok(Jitter::None),
        Jitter::Percent(share) if share > 50 => Err(PeriodError::AboveHalf),
        Jitter::Time(time) if time > shortest / 2 => Err(PeriodError::AboveHalf),
        jitter => Ok(jitter),
    }
}

/// Only for periods that have been checked.
fn nanos(period: Duration) -> u64 {
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_plain_timing_takes_32_bytes_and_a_rare_one_comes_back_as_it_was() {
        assert_eq!(size_of::<Packed>(), 32);
        let plain = Timing::every(5 * SECOND).timeout(SECOND).retries(2);
        let packed = Packed::new(plain).unwrap();
        assert!(packed.rare.is_none());
        assert_eq!(packed.unpacked(), plain);
        let rare = [
            plain.rise(3),
            plain.fast_interval(SECOND),
            plain.down_interval(60 * SECOND),
            plain.jitter(Jitter::Percent(50)),
            plain.jitter(Jitter::Time(SECOND / 3)),
            plain.start_delay(SECOND),
            plain.adaptive_timeout(AdaptiveTimeout::Suggest),
            plain.adaptive_timeout(AdaptiveTimeout::Apply),
        ];
        for timing in rare {
            let packed = Packed::new(timing).unwrap();
            assert!(packed.rare.is_some());
            assert_eq!(packed.unpacked(), timing);
        }
        // What says nothing is left out, so that equal checks are equal.
        let same = [
            plain.fast_interval(5 * SECOND),
            plain.down_interval(5 * SECOND),
            plain.jitter(Jitter::Percent(0)),
            plain.jitter(Jitter::Time(Duration::ZERO)),
        ];
        for timing in same {
            assert_eq!(Packed::new(timing).unwrap(), packed);
        }
    }

    #[test]
    fn senseless_timings_cannot_be_built() {
        let plain = Timing::every(5 * SECOND);
        for (timing, expected) in [
            (plain.rise(0), "rise: must be at least 1"),
            (plain.fast_interval(Duration::ZERO), "fast_interval: must be above 0"),
            (plain.fast_interval(SECOND / 101), "fast_interval: must be at least 10ms"),
            (plain.fast_interval(6 * SECOND), "fast_interval: must be at most the interval"),
            (plain.down_interval(Duration::ZERO), "down_interval: must be above 0"),
            (plain.down_interval(MAX_PERIOD + SECOND), "down_interval: must be at most 24h"),
            (
                plain.jitter(Jitter::Percent(51)),
                "jitter: must be at most half of the shortest interval (50%)",
            ),
            (
                plain.fast_interval(SECOND).jitter(Jitter::Time(SECOND)),
                "jitter: must be at most half of the shortest interval (50%)",
            ),
            (plain.start_delay(MAX_PERIOD + SECOND), "start_delay: must be at most 24h"),
            (
                plain.adaptive_timeout(AdaptiveTimeout::Apply),
                "adaptive_timeout: \"apply\" needs retries of 1 or more: no check fails by a shorter timeout alone",
            ),
        ] {
            let error = Packed::new(timing).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(expected.starts_with(&format!("{}: ", error.field())), "{}", error.field());
        }
        assert!(Packed::new(plain.jitter(Jitter::Time(5 * SECOND / 2))).is_ok());
    }

    #[test]
    fn each_pace_has_its_interval() {
        let intervals = |timing: Timing| {
            let packed = Packed::new(timing).unwrap();
            [Pace::Steady, Pace::Changing, Pace::Down].map(|pace| packed.interval_at(pace).as_secs())
        };
        let plain = Timing::every(10 * SECOND);
        assert_eq!(intervals(plain), [10, 10, 10]);
        assert_eq!(intervals(plain.fast_interval(2 * SECOND)), [10, 2, 10]);
        assert_eq!(intervals(plain.down_interval(60 * SECOND)), [10, 10, 60]);
        assert_eq!(intervals(plain.fast_interval(SECOND).down_interval(5 * SECOND)), [10, 1, 5]);
        assert_eq!(Jitter::Percent(10).of(10 * SECOND), SECOND);
        assert_eq!(Jitter::Time(SECOND).of(10 * SECOND), SECOND);
        assert_eq!(Jitter::None.of(10 * SECOND), Duration::ZERO);
    }

    #[test]
    fn what_rise_and_fall_still_need() {
        let needed = |health, outcome: Option<Outcome>, in_a_row, timing: Timing| {
            let status = Status { health, outcome, ..Status::NEW };
            let progress = Progress { in_a_row, ..Progress::default() };
            Needed::of(&Packed::new(timing).unwrap(), &status, &progress)
        };
        let timing = Timing::every(SECOND).retries(2).rise(4);
        let (pass, fail) = (Some(Outcome::PASS), Some(Outcome::Fail(Failure::Refused)));
        use Health::{Healthy, Unhealthy, Unknown};
        assert_eq!(needed(Unknown, None, 0, timing), Needed::AnyResult);
        assert_eq!(needed(Healthy, pass.clone(), 7, timing), Needed::Failures(3));
        assert_eq!(needed(Healthy, fail.clone(), 1, timing), Needed::Failures(2));
        assert_eq!(needed(Healthy, fail.clone(), 9, timing), Needed::Failures(1), "retries were lowered");
        assert_eq!(needed(Healthy, None, 2, timing), Needed::Failures(1), "from an earlier process");
        assert_eq!(needed(Unhealthy, fail, 9, timing), Needed::Passes(4));
        assert_eq!(needed(Unhealthy, pass.clone(), 3, timing), Needed::Passes(1));
        assert_eq!(needed(Unhealthy, None, 9, timing), Needed::Passes(4), "from an earlier process");
        assert_eq!(needed(Healthy, pass, 1, timing.retries(u32::MAX)), Needed::Failures(1 << 32));
    }
}
