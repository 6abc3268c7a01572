//! A prober that does what the test says, and a sink that writes down what it is told.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hc_types::{
    CheckId, CheckSpec, Incarnation, Outcome, Paused, ProbeResult, ProbeSpec, Prober, Sink, StatusUpdate,
    Target, TcpProbe, Timing,
};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A TCP check of 192.0.2.1 on this port.
pub(crate) fn tcp(port: u16, interval: Duration, retries: u32) -> Arc<CheckSpec> {
    spec(port, ProbeSpec::Tcp(TcpProbe::default()), interval, retries)
}

/// A check of 192.0.2.1 on this port.
pub(crate) fn spec(port: u16, probe: ProbeSpec, interval: Duration, retries: u32) -> Arc<CheckSpec> {
    let target = Target::plain(Ipv4Addr::new(192, 0, 2, 1).into(), port);
    Arc::new(
        CheckSpec::new(
            target,
            probe,
            Timing::every(interval).timeout(Duration::from_secs(1)).retries(retries),
        )
        .unwrap(),
    )
}

/// What a backend does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers at once.
    Answer(Outcome),
    /// Answers after a while.
    After(Duration, Outcome),
    /// Never answers, not even by its deadline.
    Hang,
    /// Takes the probe down.
    Panic,
}

#[derive(Debug, Default)]
struct Seen {
    acts: HashMap<u16, Act>,
    starts: HashMap<u16, Vec<Instant>>,
    in_flight: HashMap<u16, usize>,
    dropped: usize,
    most_in_flight: usize,
}

/// The backends, by port. Those of which nothing was said pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backends(Arc<Mutex<Seen>>, Arc<watch::Sender<()>>);

impl Backends {
    pub(crate) fn set(&self, port: u16, act: Act) {
        lock(&self.0).acts.insert(port, act);
    }

    /// Probes started so far.
    pub(crate) fn started(&self, port: u16) -> usize {
        self.starts(port).len()
    }

    /// When they did.
    pub(crate) fn starts(&self, port: u16) -> Vec<Instant> {
        lock(&self.0).starts.get(&port).cloned().unwrap_or_default()
    }

    pub(crate) fn in_flight(&self, port: u16) -> usize {
        lock(&self.0).in_flight.get(&port).copied().unwrap_or_default()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        lock(&self.0).most_in_flight
    }

    /// Probes dropped before they ended.
    pub(crate) fn dropped(&self) -> usize {
        lock(&self.0).dropped
    }

    pub(crate) async fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        wait(&self.1, what, || holds(self)).await;
    }
}

struct InFlight {
    backends: Backends,
    port: u16,
    ended: bool,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        {
            let mut seen = lock(&self.backends.0);
            *seen.in_flight.entry(self.port).or_default() -= 1;
            seen.dropped += usize::from(!self.ended);
        }
        self.backends.1.send_replace(());
    }
}

impl Prober for Backends {
    fn probe(&self, spec: Arc<CheckSpec>) -> impl Future<Output = ProbeResult> + 'static {
        let port = spec.target().port();
        let act = {
            let mut seen = lock(&self.0);
            seen.starts.entry(port).or_default().push(Instant::now());
            *seen.in_flight.entry(port).or_default() += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight.values().sum());
            seen.acts.get(&port).cloned().unwrap_or(Act::Answer(Outcome::PASS))
        };
        self.1.send_replace(());
        let flight = InFlight { backends: self.clone(), port, ended: false };
        async move {
            // All of it, not only the field that is set below.
            let mut flight = flight;
            let outcome = match act {
                Act::Answer(outcome) => outcome,
                Act::After(delay, outcome) => {
                    tokio::time::sleep(delay).await;
                    outcome
                }
                Act::Hang => std::future::pending().await,
                Act::Panic => panic!("a backend that takes the probe down"),
            };
            flight.ended = true;
            outcome.into()
        }
    }
}

/// What a sink was told.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all of them are statuses")]
pub(crate) enum Told {
    Begin(CheckId, Incarnation),
    Status(StatusUpdate),
    Forget(CheckId, Incarnation),
    InEffect(Option<u64>, bool),
}

/// Keeps everything, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Told>>>, Arc<watch::Sender<()>>, pub(crate) Arc<Paused>);

impl Journal {
    pub(crate) fn told(&self) -> Vec<Told> {
        lock(&self.0).clone()
    }

    /// The statuses of a check, oldest first.
    pub(crate) fn statuses(&self, id: u64) -> Vec<StatusUpdate> {
        let told = lock(&self.0);
        let statuses = told.iter().filter_map(|told| match told {
            Told::Status(update) if update.id == CheckId(id) => Some(update.clone()),
            _ => None,
        });
        statuses.collect()
    }

    /// Those of them that are news.
    pub(crate) fn news(&self, id: u64) -> Vec<StatusUpdate> {
        self.statuses(id).into_iter().filter(|update| update.transition).collect()
    }

    pub(crate) async fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        wait(&self.1, what, || holds(self)).await;
    }

    fn write(&self, told: impl IntoIterator<Item = Told>) {
        lock(&self.0).extend(told);
        self.1.send_replace(());
    }
}

impl Sink for Journal {
    fn begin(&self, id: CheckId, incarnation: Incarnation, _: &Arc<CheckSpec>) {
        self.write([Told::Begin(id, incarnation)]);
    }

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        self.write(updates.drain(..).filter(|update| update.reportable).map(Told::Status));
    }

    fn is_paused(&self, id: CheckId) -> bool {
        self.2.contains(id)
    }

    fn forget(&self, id: CheckId, incarnation: Incarnation) {
        self.write([Told::Forget(id, incarnation)]);
    }

    fn in_effect(&self, generation: Option<u64>, full: bool) {
        self.write([Told::InEffect(generation, full)]);
    }
}

async fn wait(changes: &watch::Sender<()>, what: &str, holds: impl Fn() -> bool) {
    let mut changes = changes.subscribe();
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            changes.changed().await.unwrap();
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}
