//! A fleet of five nodes and the store that they share, under one seed.
//!
//! The real [`hc_fleet::Node`] runs here for each node, between a model of etcd and a model of the
//! probes: leases, revisions, watches in the order of revisions, snapshots and transactions on the one
//! side, state machines with rise and fall on the other. Nodes are cut off from the store in one
//! direction or both, stand still, are killed, leave and come back, share a name by mistake, or say that
//! they are not to be believed; backends go up and down, for all nodes or for single ones; the store is
//! slow, changes its leader, is wiped, revokes leases, compacts; its watches fall silent. Each node has
//! a clock of its own, an hour from the others'.
//!
//! Times of trouble and calm ones take turns. In the calm ones everything must come to what the rule
//! makes of what the nodes see, and after more flips of backends again.
//!
//! What the model takes for granted: requests of one node reach the store in the order in which they
//! were made, also after they were given up. Not simulated: the driver that speaks with a real etcd.
//!
//! [`FleetFault`] has what is done wrongly on purpose. `ARCHITECTURE.md` says which changes of the core
//! were tried, and what found them.

mod audit;
mod backends;
mod etcd;
mod process;
mod trouble;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hc_fleet::{Request, StoreEvent};

use self::audit::Seen;
use self::backends::Check;
use self::etcd::Etcd;
use self::process::{Host, Life};
use self::trouble::{Stage, Trouble};
use crate::Summary;
use crate::clock::{Agenda, MILLISECOND, Nanos, SECOND, nanos};
use crate::invariant::{Step, Violation};

/// Nodes, and one more process that has the name of the first.
const HOSTS: usize = 6;
const TWIN: usize = 5;

/// What is done wrongly on purpose, between node and store, to see that an invariant finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetFault {
    /// Changes get lost without a word when a watch breaks.
    GapsAreSilent,
    /// A write that failed is said to be written.
    LostIsWritten,
    /// Leases live on in the store when their nodes are dead.
    LeasesStay,
    /// Whoever is heard of the last time is said to be heard for ever.
    AlwaysQuiet,
    /// A node that abstains is believed.
    Believed,
}

/// Simulates a fleet for so long, in virtual time. Times of trouble and calm take turns of some minutes,
/// so shorter than a quarter of an hour is of little use.
///
/// # Errors
/// The first [`Violation`] of an invariant.
pub fn run_fleet(
    seed: u64,
    length: Duration,
    fault: Option<FleetFault>,
    trace: bool,
) -> Result<Summary, Box<Violation>> {
    let mut world = World::new(seed, nanos(length), fault, trace);
    world.run()?;
    Ok(Summary { probes: world.probes, told: world.told, digest: world.digest })
}

/// One life of a process on a host: what is meant for it is lost when another one runs there.
type Who = (usize, Life);

#[derive(Debug)]
enum Event {
    Start(usize),
    Tick(Who),
    Probe(Who, usize, u64),
    /// A request reaches the store.
    Arrive(Who, u64, Request),
    Answer(Who, u64, StoreEvent),
    TimedOut(Who, u64),
    /// What the watch has is delivered.
    Pump(Who),
    /// The store says that nothing has changed, every three seconds.
    Progress(Who),
    /// All keys are read.
    Read(Who),
    Snapshot(Who, u64, u64, Vec<(String, Vec<u8>)>),
    Expire(hc_fleet::Term),
    Trouble(Trouble),
    Ends(Trouble, usize),
    Stage(Stage),
    Audit,
}

impl Event {
    /// The process that must run for it.
    fn who(&self) -> Option<Who> {
        match self {
            Self::Tick(who)
            | Self::Probe(who, ..)
            | Self::Answer(who, ..)
            | Self::TimedOut(who, _)
            | Self::Pump(who)
            | Self::Progress(who)
            | Self::Snapshot(who, ..) => Some(*who),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct World {
    rng: Rng,
    fault: Option<FleetFault>,
    is_traced: bool,
    end: Nanos,
    now: Nanos,
    origin: Instant,
    agenda: Agenda<Event>,
    etcd: Etcd,
    hosts: Vec<Host>,
    checks: Vec<Check>,
    /// Names of nodes there may be: others are never started.
    size: usize,
    is_wild: bool,
    /// Kinds of trouble of this seed, and how often each comes.
    kinds: Vec<(Trouble, Nanos)>,
    /// Since when nothing has begun or ended that nodes have to get over.
    calm: Nanos,
    seen: Seen,
    /// Which node does not have which check.
    lacking: BTreeSet<(usize, usize)>,
    ids: u64,
    probes: u64,
    told: u64,
    digest: u64,
}

impl World {
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant comes from nowhere else; only differences to it are used"
    )]
    fn new(seed: u64, end: Nanos, fault: Option<FleetFault>, is_traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let size = [2, 3, 4, 5, 5, 5, 5][rng.usize(..7)];
        let mut world = Self {
            fault,
            is_traced,
            end,
            now: 0,
            origin: Instant::now(),
            agenda: Agenda::new(),
            etcd: Etcd::default(),
            hosts: (0..HOSTS).map(|number| Host::new(number, &mut rng)).collect(),
            checks: (0..rng.usize(6..14)).map(|number| Check::draw(number, &mut rng)).collect(),
            size,
            is_wild: false,
            kinds: Trouble::draw(&mut rng),
            calm: 0,
            seen: Seen::default(),
            lacking: BTreeSet::new(),
            ids: 0,
            probes: 0,
            told: 0,
            digest: 0,
            rng,
        };
        if world.rng.u8(..4) == 0 {
            // One check that some nodes do not have; the others stand in for them.
            world.checks[1].policy.opinions = 1;
            let lacks = (0..size).filter(|_| world.rng.bool()).map(|host| (host, 1)).collect();
            world.lacking = lacks;
        }
        for host in 0..size {
            let at = world.rng.u64(..10) * SECOND;
            world.agenda.put(at, Event::Start(host));
        }
        world.agenda.put(SECOND, Event::Audit);
        world.agenda.put(60 * SECOND, Event::Stage(Stage::Calm));
        world
    }

    fn run(&mut self) -> Step {
        while let Some(at) = self.agenda.next()
            && at <= self.end
            && let Some((number, event)) = self.agenda.take()
        {
            self.now = at.max(self.now);
            if let Some((host, life)) = event.who() {
                let Some(process) = self.hosts[host].process.as_ref().filter(|process| process.life == life)
                else {
                    continue;
                };
                if process.stalled_until > self.now {
                    self.agenda.postpone(process.stalled_until, number, event);
                    continue;
                }
            }
            self.happen(event)?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Step {
        match event {
            Event::Start(host) => return self.start(host),
            Event::Tick(who) => return self.tick(who),
            Event::Probe(who, check, epoch) => return self.probe(who, check, epoch),
            Event::Arrive(who, id, request) => self.arrive(who, id, request),
            Event::Answer(who, id, said) => return self.answer(who, id, said),
            Event::TimedOut(who, id) => return self.timed_out(who, id),
            Event::Pump(who) => return self.pump(who),
            Event::Progress(who) => return self.progress(who),
            Event::Read(who) => self.read(who),
            Event::Snapshot(who, round, revision, entries) => {
                return self.snapshot(who, round, revision, entries);
            }
            Event::Expire(term) => self.expire(term),
            Event::Trouble(trouble) => return self.trouble(trouble),
            Event::Ends(trouble, host) => return self.ends(trouble, host),
            Event::Stage(stage) => return self.stage(stage),
            Event::Audit => {
                self.agenda.put(self.now + SECOND, Event::Audit);
                return self.audit();
            }
        }
        Ok(())
    }

    fn latency(&mut self) -> Nanos {
        let slow = if self.etcd.is_slow { self.rng.u64(500..1500) } else { 0 };
        (self.rng.u64(1..25) + slow) * MILLISECOND
    }

    fn trace(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            #[allow(clippy::print_stdout, reason = "that is what it is for")]
            {
                let now = self.now;
                println!("{:>12.3} {}", Duration::from_nanos(now).as_secs_f64(), text());
            }
        }
    }
}
