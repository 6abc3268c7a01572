//! The backends as they really are.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fastrand::Rng;
use hc_types::{
    CheckSpec, Failure, Jitter, LocalFault, Mark, Mode, Outcome, Phase, ProbeSpec, Target, TcpProbe,
};

use crate::clock::{MILLISECOND, Nanos, nanos};

/// A backend and the way in which it is checked.
pub(crate) type Subject = usize;

/// What a backend does with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    /// Answers at once that it is not there.
    Refusing,
    /// Does not answer.
    Silent,
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) state: State,
    /// Since when it is up, or down.
    pub(crate) since: Nanos,
    /// Of a hundred probes, so many fail while it is up. Above 0 there is no truth to hold a
    /// verdict against.
    pub(crate) flaky: u8,
    /// In thousandths of the timeout: the longest that an answer takes.
    slowness: u64,
    /// Mean time between flips; `None` for one that never does.
    pub(crate) flips_every: Option<Nanos>,
}

/// How often a check probes, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) rise: u32,
    pub(crate) fast_interval: Option<Duration>,
    pub(crate) down_interval: Option<Duration>,
    pub(crate) jitter: Jitter,
    pub(crate) start_delay: Duration,
}

/// What a probe comes to, if nothing of ours interferes.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) takes: Nanos,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) backends: Vec<Backend>,
}

/// Which local faults there are at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    /// The checker lacks something.
    Own,
    /// There is no path to the backends.
    Path,
    /// Both, in turns.
    Mixed,
}

impl Faults {
    const OWN: [LocalFault; 3] = [LocalFault::Descriptors, LocalFault::Ports, LocalFault::Buffers];
    const PATH: [LocalFault; 3] = [LocalFault::NoRoute, LocalFault::InterfaceDown, LocalFault::PathChanged];

    pub(crate) fn random(rng: &mut Rng) -> Self {
        [Self::Own, Self::Path, Self::Mixed][rng.usize(..3)]
    }

    /// A local fault, as it hits a probe.
    pub(crate) fn strike(self, rng: &mut Rng) -> Probe {
        let faults = match self {
            Self::Own => Self::OWN,
            Self::Path => Self::PATH,
            Self::Mixed => [Self::OWN, Self::PATH][rng.usize(..2)],
        };
        Probe { takes: rng.u64(..2 * MILLISECOND), outcome: faults[rng.usize(..3)].into() }
    }
}

/// Subjects that share an address: other ports, other probes, another mark.
const PER_ADDRESS: usize = 4;

impl Truth {
    pub(crate) fn new(size: usize, rng: &mut Rng) -> Self {
        let backends = (0..size)
            .map(|_| Backend {
                state: [State::Up, State::Up, State::Up, State::Refusing, State::Silent][rng.usize(..5)],
                since: 0,
                flaky: if rng.u8(..8) == 0 { rng.u8(1..40) } else { 0 },
                // Answers that come later than this are no longer "in time": a loop may be late by
                // a tenth.
                slowness: [5, 50, 200, 700][rng.usize(..4)],
                flips_every: (rng.u8(..3) > 0).then(|| rng.u64(5..300) * 1000 * MILLISECOND),
            })
            .collect();
        Self { backends }
    }

    /// The check of a subject.
    pub(crate) fn spec(subject: Subject, timing: Timing) -> CheckSpec {
        let [.., high, low] = ((subject / PER_ADDRESS) as u64).to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, high, low));
        let tcp = || ProbeSpec::Tcp(TcpProbe::default());
        let (target, probe) = match subject % PER_ADDRESS {
            0 => (Target::plain(ip, 80), tcp()),
            1 => (Target::plain(ip, 80), ProbeSpec::Http(Box::default())),
            2 => (Target::plain(ip, 81), tcp()),
            _ => {
                let mark = Mark::new(1 << 16).expect("2^16 is not 0");
                (Target::marked(ip, 80, Mode::Dsr, mark, None), tcp())
            }
        };
        let Timing { interval, timeout, retries, rise, fast_interval, down_interval, jitter, start_delay } =
            timing;
        let mut timing = hc_types::Timing::every(interval)
            .timeout(timeout)
            .retries(retries)
            .rise(rise)
            .jitter(jitter)
            .start_delay(start_delay);
        (timing.fast_interval, timing.down_interval) = (fast_interval, down_interval);
        CheckSpec::new(target, probe, timing).expect("the timing makes sense")
    }

    /// The subject that a check is about.
    pub(crate) fn subject_of(spec: &CheckSpec) -> Subject {
        let IpAddr::V4(ip) = spec.target().ip() else { unreachable!("all backends have IPv4 addresses") };
        let [.., high, low] = ip.octets();
        let place = match (spec.probe(), spec.target().port(), spec.target().mode()) {
            (ProbeSpec::Http(_), ..) => 1,
            (_, 81, _) => 2,
            (.., Mode::Dsr) => 3,
            _ => 0,
        };
        usize::from(u16::from_be_bytes([high, low])) * PER_ADDRESS + place
    }

    pub(crate) fn is_up(&self, subject: Subject) -> bool {
        self.backends[subject].state == State::Up
    }

    /// Whether there is a truth: it is up or down, and its probes say so.
    pub(crate) fn is_plain(&self, subject: Subject) -> bool {
        self.backends[subject].flaky == 0
    }

    /// A probe that starts now.
    pub(crate) fn probe(&self, subject: Subject, timeout: Duration, rng: &mut Rng) -> Probe {
        let backend = &self.backends[subject];
        let timeout = nanos(timeout);
        // 30 ms and the tenth of the timeout that a loop may be late stay between the slowest
        // answer and the deadline.
        let longest =
            (timeout / 1000 * backend.slowness).min(timeout.saturating_sub(31 * MILLISECOND)).max(1);
        let answer = rng.u64(longest / 2..=longest);
        let failed = |takes, failure: Failure| Probe { takes, outcome: failure.into() };
        match backend.state {
            State::Up if rng.u8(..100) >= backend.flaky => Probe { takes: answer, outcome: Outcome::PASS },
            State::Up | State::Refusing if rng.bool() => failed(answer, Failure::Refused),
            State::Up | State::Refusing => failed(answer, Failure::Closed { heard: None }),
            State::Silent => failed(timeout, Failure::silence(Phase::Connect)),
        }
    }

    /// Turns a backend over.
    pub(crate) fn flip(&mut self, subject: Subject, now: Nanos, rng: &mut Rng) {
        let backend = &mut self.backends[subject];
        backend.state = match backend.state {
            State::Up if rng.bool() => State::Refusing,
            State::Up => State::Silent,
            State::Refusing | State::Silent => State::Up,
        };
        backend.since = now;
    }
}
