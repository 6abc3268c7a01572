//! What goes wrong, and how often.

use fastrand::Rng;

use crate::clock::{Nanos, SECOND};

/// Something that happens to the processes and between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9, and a new process after a while.
    ServerCrash,
    ProxyCrash,
    EngineCrash,
    /// SIGSTOP, and SIGCONT after a while.
    ServerStall,
    /// One shard's loop is late.
    ShardStall,
    /// The server gets a small share of a processor for minutes.
    Starvation,
    ProxyStall,
    EngineStall,
    /// The connection between proxy and server breaks.
    LinkReset,
    /// Out of descriptors, ports, buffers, routes.
    LocalFaults,
    /// Somebody sets the wall clock.
    WallJump,
    /// An acknowledgement gets lost, or comes twice.
    AckLost,
    AckRepeated,
    /// The engine answers some calls with an error, or one of them late.
    CallsFail,
    CallSlow,
    /// The operator edits the engine's configuration.
    Edit,
}

/// Every fault, with the number of seconds between two of it where it is frequent.
const EVERY: [(Fault, u64); 16] = [
    (Fault::ServerCrash, 60),
    (Fault::ProxyCrash, 60),
    (Fault::EngineCrash, 60),
    (Fault::ServerStall, 60),
    (Fault::ShardStall, 5),
    (Fault::Starvation, 600),
    (Fault::ProxyStall, 60),
    (Fault::EngineStall, 60),
    (Fault::LinkReset, 30),
    (Fault::LocalFaults, 60),
    (Fault::WallJump, 60),
    (Fault::AckLost, 60),
    (Fault::AckRepeated, 20),
    (Fault::CallsFail, 30),
    (Fault::CallSlow, 30),
    (Fault::Edit, 20),
];

/// How often each fault comes in one simulation.
#[derive(Debug)]
pub(crate) struct Chaos {
    means: Vec<(Fault, Nanos)>,
}

impl Chaos {
    /// In some simulations nearly nothing happens, in some one thing, in some all of them all the
    /// time. With `churn` the configuration is edited every few seconds.
    pub(crate) fn draw(churn: bool, rng: &mut Rng) -> Self {
        let likely = [1, 3, 6, 10][rng.usize(..4)];
        let pace = [1, 4, 10][rng.usize(..3)];
        let chosen = EVERY.into_iter().filter(|_| rng.u64(..10) < likely);
        let mut means: Vec<_> = chosen.map(|(fault, seconds)| (fault, seconds * pace * SECOND)).collect();
        if churn {
            means.retain(|(fault, _)| *fault != Fault::Edit);
            means.push((Fault::Edit, 10 * SECOND));
        }
        Self { means }
    }

    pub(crate) fn faults(&self) -> impl Iterator<Item = Fault> + '_ {
        self.means.iter().map(|(fault, _)| *fault)
    }

    /// How long until this fault comes next.
    pub(crate) fn pause(&self, fault: Fault, rng: &mut Rng) -> Nanos {
        let mean = self.means.iter().find(|(known, _)| *known == fault).map_or(SECOND, |(_, mean)| *mean);
        random_pause(mean, rng)
    }
}

/// A pause of this mean length; short ones are likelier.
pub(crate) fn random_pause(mean: Nanos, rng: &mut Rng) -> Nanos {
    // Twice uniform: between nothing and four times the mean, and the mean is right.
    let share = rng.u64(..=2000) * rng.u64(..=2000);
    u64::try_from(u128::from(mean) * u128::from(share) / 1_000_000).unwrap_or(mean).max(1)
}
