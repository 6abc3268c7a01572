//! Checks of host names under one seed: their addresses change, and a resolver says so late,
//! wrongly or not at all.
//!
//! The task of hc-resolve that asks for names runs here as it is, on a runtime whose clock is
//! virtual and stands still while anything can go on; in place of its resolver it asks a simulated
//! one (`zone.rs`). Its changes go through the plan of hc-files, the admission of hc-sources, the
//! cores of hc-manager, the view and an outbox to a consumer. Names change, grow, shrink, vanish
//! and go to and fro between two sets; backends go up and down; the resolver is slow, away, denies
//! what exists, lies, or does all of that in turns; the file is edited; the process is killed and
//! comes back with a snapshot. A model of a few lines that knows only what the resolver answered
//! says which checks must run, and one that knows only what probes found says what may be told.
//!
//! Not simulated: the packets between hickory-resolver and name servers
//! (`hc-resolve/tests/resolver.rs`), and the thread of hc-files that reads files.
//!
//! What was changed in the real code, to see that an invariant finds it, and under how many of the
//! first seeds one did. [`NamesFault`] has those that are tried in every run of the tests.
//!
//! | changed | found by | seeds |
//! |---|---|---|
//! | hc-resolve: a resolver that is away clears the addresses | `last-addresses-stand` | 6 of 6 |
//! | one answer without addresses is enough | `last-addresses-stand` | 5 of 6 |
//! | an error does not end a row of such answers | `last-addresses-stand` | 3 of 8 |
//! | after an error a name is not asked for again | `addresses-are-followed` | 3 of 6 |
//! | `max_age` and `min_age` mean nothing | `addresses-are-followed` | 3 of 8 |
//! | an answer counts that was asked for before the name was followed | `removed-is-not-told`, `last-addresses-stand` | 1 or 2 of 100 |
//! | hc-files: checks of addresses that are gone are not removed | `last-addresses-stand` | 6 of 6 |
//! | checks of addresses that stay get other ids | `removed-is-not-told` | 6 of 6 |
//! | impossible addresses are not left out | `last-addresses-stand` | 5 of 6 |
//! | addresses are forgotten when files are read again | `last-addresses-stand` | 5 of 8 |
//! | hc-types: a check without addresses fails | `any-and-all` | 6 of 6 |
//! | any: an inconclusive address counts like one that failed | `any-and-all` | 2 of 6 |
//! | the addresses are part of what is checked | `health-is-kept` | 7 of 8 |
//!
//! The last of hc-resolve was so until this simulation found it.

mod audit;
mod files;
mod model;
mod probes;
mod process;
mod trouble;
mod zone;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use hc_resolve::{Change, NamesConfig};
use hc_types::{CheckId, Remembered};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use self::audit::Told;
use self::files::{File, Wanted, Written};
use self::model::{Found, Model};
use self::probes::Landing;
use self::process::Process;
use self::zone::{Zone, lock};
use crate::Summary;
use crate::chaos::random_pause;
use crate::clock::{Agenda, Nanos, SECOND, nanos};
use crate::invariant::{Step, Violation};

const SHARDS: NonZeroUsize = NonZeroUsize::new(2).expect("2 is not 0");
/// So long before the end nothing goes wrong any more: longer than any wait for an address and its
/// health.
const CALM: Nanos = 700 * SECOND;
/// From a question's task over the one that follows names to the channel of changes there are
/// fewer tasks than this.
const HOPS: usize = 8;

/// What is done wrongly on purpose, to see that an invariant finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesFault {
    /// That no resolver answers counts like an answer without addresses.
    AwayClears,
    /// Checks of addresses that are gone run on.
    RemovedStay,
    /// Checks get other ids when the addresses of their names change.
    NewIds,
    /// A check without addresses fails.
    UnresolvedFails,
    /// One address decides where all should, and all where one should.
    RulesSwapped,
    /// After a dozen questions no answer comes any more, and no error.
    Unanswered,
}

/// Simulates checks of host names for so long, in virtual time. In the last 700 seconds nothing
/// goes wrong, so shorter than half an hour is of little use.
///
/// # Errors
/// The first [`Violation`] of an invariant.
pub fn run_names(seed: u64, length: Duration, fault: Option<NamesFault>) -> Result<Summary, Box<Violation>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing of the system");
    runtime.block_on(async {
        let mut world = World::new(seed, nanos(length), fault);
        world.run().await?;
        let World { probes, told_count: told, digest, .. } = world;
        Ok(Summary { probes, told, digest })
    })
}

#[derive(Debug)]
enum Event {
    Land(Landing),
    Flip(IpAddr),
    Change(usize),
    Mood,
    Well(u32),
    Faults,
    Edit,
    PutBack(Vec<Written>),
    Crash,
    Start,
    Snapshot { life: u32 },
    Audit,
}

#[derive(Debug)]
struct Backend {
    is_up: bool,
    since: Nanos,
    flips_every: Option<Nanos>,
}

#[derive(Debug)]
struct World {
    rng: Rng,
    fault: Option<NamesFault>,
    end: Nanos,
    now: Nanos,
    origin: Instant,
    agenda: Agenda<Event>,
    zone: Arc<Mutex<Zone>>,
    pool: Vec<IpAddr>,
    backends: BTreeMap<IpAddr, Backend>,
    file: File,
    names: NamesConfig,
    process: Option<Process>,
    lives: u32,
    snapshot: Vec<Remembered>,
    model: Model,
    wanted: BTreeMap<CheckId, Wanted>,
    found: Found,
    told: BTreeMap<CheckId, Told>,
    /// How many moods there have been.
    moods: u32,
    faults_until: Nanos,
    /// Since when nothing is wrong with resolver, process and machine.
    calm: Nanos,
    probes: u64,
    told_count: u64,
    digest: u64,
}

fn pool(rng: &mut Rng) -> Vec<IpAddr> {
    let number = |last: u8| match last % 3 {
        0 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into())),
        _ => IpAddr::from([192, 0, 2, last]),
    };
    (1..=rng.u8(2..12)).map(number).collect()
}

impl World {
    fn new(seed: u64, end: Nanos, fault: Option<NamesFault>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let pool = pool(&mut rng);
        let hosts = rng.usize(1..6);
        let mut file = File::default();
        for _ in 0..rng.u8(1..12) {
            file.add(hosts, &pool, 0, &mut rng);
        }
        let backend = |rng: &mut Rng| Backend {
            is_up: rng.u8(..4) > 0,
            since: 0,
            flips_every: rng.bool().then(|| rng.u64(20..400) * SECOND),
        };
        let names = NamesConfig {
            min_age: Duration::from_secs([1, 5, 5, 10][rng.usize(..4)]),
            max_age: Duration::from_secs([10, 60, 300][rng.usize(..3)]),
            retry: Duration::from_secs([1, 5, 5][rng.usize(..3)]),
            ..NamesConfig::default()
        };
        let mut world = Self {
            fault,
            end,
            now: 0,
            origin: Instant::now(),
            agenda: Agenda::new(),
            zone: Arc::new(Mutex::new(Zone::new(hosts, pool.clone(), fault, &mut rng))),
            backends: pool.iter().map(|ip| (*ip, backend(&mut rng))).collect(),
            pool,
            file,
            model: Model::new(names.confirmations),
            names,
            process: None,
            lives: 0,
            snapshot: Vec::new(),
            wanted: BTreeMap::new(),
            found: Found::default(),
            told: BTreeMap::new(),
            moods: 0,
            faults_until: 0,
            calm: 0,
            probes: 0,
            told_count: 0,
            digest: 0,
            rng,
        };
        world.prepare(hosts);
        world
    }

    fn prepare(&mut self, hosts: usize) {
        self.agenda.put(0, Event::Start);
        self.agenda.put(SECOND, Event::Audit);
        self.pool.clone().into_iter().for_each(|ip| self.plan_flip(ip));
        (0..hosts).for_each(|host| self.plan_change(host));
        // In some simulations one thing goes wrong, in some everything.
        for (event, seconds) in
            [(Event::Mood, 60), (Event::Faults, 200), (Event::Edit, 120), (Event::Crash, 200)]
        {
            if self.rng.u8(..3) > 0 {
                self.again(event, seconds);
            }
        }
    }

    fn again(&mut self, event: Event, seconds: u64) {
        let pause = random_pause(seconds * SECOND, &mut self.rng);
        self.agenda.put(self.now + pause, event);
    }

    fn plan_flip(&mut self, ip: IpAddr) {
        if let Some(mean) = self.backends[&ip].flips_every {
            let pause = random_pause(mean, &mut self.rng);
            self.agenda.put(self.now + pause, Event::Flip(ip));
        }
    }

    fn plan_change(&mut self, host: usize) {
        let mean = lock(&self.zone).hosts[host].changes_every;
        if let Some(mean) = mean {
            let pause = random_pause(mean, &mut self.rng);
            self.agenda.put(self.now + pause, Event::Change(host));
        }
    }

    /// Runs to the end. The clock goes on by itself, to the next event or to the next one of the
    /// task that follows names, when neither has anything left to do.
    async fn run(&mut self) -> Step {
        loop {
            let own = self.process.as_mut().and_then(Process::next);
            let next = own.into_iter().chain(self.agenda.next()).min().unwrap_or(Nanos::MAX);
            if next > self.end {
                return self.audit_end().await;
            }
            let change = match next > self.now {
                true => self.wait(next).await,
                false => self.process.as_mut().and_then(Process::has_changed),
            };
            self.now = nanos(self.origin.elapsed());
            self.settle(change).await?;
            while self.agenda.next().is_some_and(|at| at <= self.now)
                && let Some((_, event)) = self.agenda.take()
            {
                self.happen(event).await?;
            }
            self.act()?;
        }
    }

    /// Until an instant, or until a name has other addresses.
    async fn wait(&mut self, until: Nanos) -> Option<Change> {
        let changed = async {
            match &mut self.process {
                Some(process) => process.change().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            change = changed => change,
            () = sleep_until(self.origin + Duration::from_nanos(until)) => None,
        }
    }

    /// Lets the process take all answers that there are, and the model, too.
    async fn settle(&mut self, change: Option<Change>) -> Step {
        let mut change = change;
        loop {
            let said = std::mem::take(&mut lock(&self.zone).said);
            let Some(process) = &mut self.process else { return Ok(()) };
            let own = said.iter().filter(|said| said.life == process.life);
            own.for_each(|said| self.model.hears(said));
            if !said.is_empty() {
                for _ in 0..HOPS {
                    yield_now().await;
                }
            }
            change = change.or_else(|| process.has_changed());
            if said.is_empty() && change.is_none() {
                return Ok(());
            }
            if let Some(change) = change.take() {
                process.resolved(&change, self.now)?;
            }
            self.wanted = self.file.wanted(|host| self.model.addresses(host));
        }
    }

    async fn happen(&mut self, event: Event) -> Step {
        match event {
            Event::Land(landing) => return self.land(landing),
            Event::Flip(ip) => self.flip(ip),
            Event::Change(host) => self.change(host),
            Event::Mood => self.sour(),
            Event::Well(mood) if mood == self.moods => self.recover(),
            Event::Well(_) => {}
            Event::Faults => self.lack(),
            Event::Edit => {
                self.settle(None).await?;
                return self.edit();
            }
            Event::PutBack(checks) => {
                self.settle(None).await?;
                return self.put_back(checks);
            }
            Event::Crash => self.crash(),
            Event::Start => return self.start(),
            Event::Snapshot { life } => self.write(life),
            Event::Audit => {
                self.settle(None).await?;
                self.agenda.put(self.now + SECOND, Event::Audit);
                return self.audit();
            }
        }
        Ok(())
    }
}
