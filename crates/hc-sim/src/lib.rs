//! Hours of trouble in a fraction of a second: the health checker under one seed, in virtual time.
//!
//! The real decisions of hc-manager (plan, schedule, state machine, memory, stalls), hc-notifier
//! (the outbox) and hc-ipc (the assembly of sets) run here as they do in hc-server, between models
//! of hc-proxy, of the engine and of the backends. Processes crash, stand still and come back,
//! connections break, acknowledgements get lost or come twice, clocks jump, local faults come and
//! go, and every id may mean something else after the engine has restarted. After each step
//! [`Invariant`]s are checked; the first that does not hold ends the run with its name.
//!
//! Three more simulations have worlds of their own: [`run_stages`], of what stands between the
//! machines and the consumers, [`run_names`], of checks whose targets are host names, and
//! [`run_fleet`], of several nodes that share their checks.
//!
//! Everything follows from the seed: no thread, no clock, no socket, no order of a hash map. A seed
//! that fails fails again.
//!
//! ```
//! use std::time::Duration;
//! use hc_sim::{Settings, run};
//!
//! let settings = Settings { length: Duration::from_secs(300), ..Settings::default() };
//! let summary = run(1, &settings, None).expect("every invariant holds");
//! assert!(summary.probes > 0);
//! // The same seed is the same run.
//! assert_eq!(run(1, &settings, None).expect("as before"), summary);
//! ```

mod chaos;
mod clock;
mod context;
mod engine;
mod fleet;
mod invariant;
mod names;
mod outages;
mod proxy;
mod reference;
mod server;
mod stages;
mod truth;
mod world;

use std::io::Write;
use std::time::{Duration, Instant};

pub use fleet::{FleetFault, run_fleet};
pub use invariant::{Invariant, Violation};
pub use names::{NamesFault, run_names};
pub use stages::{Fault, run_stages};

use crate::clock::nanos;
use crate::world::World;

/// How long and how large simulations are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Virtual time. Default one hour; in the last three minutes nothing goes wrong, so shorter
    /// than ten is of little use.
    pub length: Duration,
    /// The most checks that an engine begins with. Default 40.
    pub checks: usize,
    /// What hc-proxy does wrong. Default nothing.
    pub flaw: Option<ProxyFlaw>,
}

/// Something that hc-proxy could do wrong with the statuses that it keeps. An invariant finds each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFlaw {
    /// It acknowledges a refresh and tells the engine nothing.
    TellsNothing,
    /// It tells what it kept when the refresh came, and not what it keeps by then.
    TellsWhatWas,
    /// It acknowledges a refresh although the engine did not take it.
    AcknowledgesFailures,
}

impl Default for Settings {
    fn default() -> Self {
        Self { length: Duration::from_secs(3600), checks: 40, flaw: None }
    }
}

/// What happened in a run in which every invariant held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Probes that were started.
    pub probes: u64,
    /// Statuses that reached an engine.
    pub told: u64,
    /// Stands for everything that happened.
    pub digest: u64,
}

/// Simulates one seed. What happens is written to `trace`, a line each.
///
/// # Errors
/// The first [`Violation`] of an invariant.
pub fn run(seed: u64, settings: &Settings, trace: Option<&mut dyn Write>) -> Result<Summary, Box<Violation>> {
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant comes from nowhere else; only differences to it are used"
    )]
    let origin = Instant::now();
    let mut world = World::new(seed, nanos(settings.length), settings, origin, trace);
    world.run()?;
    let context = world.context();
    Ok(Summary { probes: context.probes, told: context.told, digest: context.digest })
}
