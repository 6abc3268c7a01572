//! A manager step by step: its cores under the caller's clock, without a thread, a runtime or a
//! socket.
//!
//! [`Manager`](crate::Manager) and its shards drive the same cores with real clocks and queues
//! between them. Whoever wants to choose every interleaving and every instant (a simulation, a test
//! of hours in a second) drives them through [`Stepped`]. All times are nanoseconds since the start
//! of this manager and must not run backwards.
//!
//! A change of the set takes two steps, as it does between threads: [`plan`](Stepped::plan) it,
//! then let each shard [`apply`](SteppedShard::apply) its orders, in the order in which they were
//! planned. A turn of a shard is [`begin_turn`](SteppedShard::begin_turn),
//! [`complete`](SteppedShard::complete) for each probe that has ended,
//! [`start`](SteppedShard::start) until it gives none, [`updates`](SteppedShard::updates),
//! [`end_turn`](SteppedShard::end_turn); the next one is due at
//! [`next_wake`](SteppedShard::next_wake), or when an order or the report of a probe comes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{CheckId, CheckSpec, Incarnation, Outcome, Pace, Remembered, SetChange, Status, StatusUpdate};

use crate::config::ManagerConfig;
use crate::phases::Phase;
use crate::plan::{Applied, Order, Plan, Registry};
use crate::schedule::{Grid, nanos};
use crate::shard::{FlightId, ProbeReport, ShardCore};
use crate::stats::{Gauges, ManagerStats};

/// A manager without threads.
#[derive(Debug)]
pub struct Stepped {
    registry: Registry,
    shards: Vec<SteppedShard>,
}

/// One shard of it.
#[derive(Debug)]
pub struct SteppedShard {
    core: ShardCore,
    gauges: Arc<Gauges>,
}

/// What a change of the set came to.
#[derive(Debug)]
pub struct Planned {
    /// Lives that ended. The sink hears of them first.
    pub forget: Vec<(CheckId, Incarnation)>,
    /// Lives that began. The sink hears of them next, then that the set is in effect.
    pub begin: Vec<(CheckId, Incarnation, Arc<CheckSpec>)>,
    /// The orders of each shard.
    pub orders: Vec<Orders>,
    /// The sums.
    pub applied: Applied,
}

/// What one shard has to do about a change.
#[derive(Debug)]
pub struct Orders(Vec<Order>);

/// One order, to look at. Slots are places in the table of one shard. The grid of a pace is
/// `offsets` behind the multiples of its interval: those of [`Pace::Steady`], [`Pace::Changing`]
/// and [`Pace::Down`].
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are named by their types")]
pub enum Deed {
    /// A check begins; its first probe is due `after` from when the order is applied, and the start
    /// delay later if nothing is known of it.
    Add {
        slot: u32,
        id: CheckId,
        incarnation: Incarnation,
        spec: Arc<CheckSpec>,
        after: Duration,
        offsets: [Duration; 3],
    },
    /// The check of this slot goes on under another name; a probe is due `after` from then.
    Move {
        slot: u32,
        id: CheckId,
        incarnation: Incarnation,
        spec: Arc<CheckSpec>,
        after: Duration,
        offsets: [Duration; 3],
    },
    /// Other timing for the check of this slot.
    Retime { slot: u32, spec: Arc<CheckSpec>, after: Duration, offsets: [Duration; 3] },
    /// The check of this slot ends.
    Remove { slot: u32 },
}

/// The name of a probe in flight, unique within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight(FlightId);

impl Stepped {
    /// A manager without checks. Of the settings `grace` has no meaning here.
    #[must_use]
    pub fn new(config: &ManagerConfig) -> Self {
        let shards = (0..config.shards.get()).map(|shard| {
            let gauges = Arc::new(Gauges::new());
            let core = ShardCore::new(shard, config, Arc::clone(&gauges));
            SteppedShard { core, gauges }
        });
        Self {
            registry: Registry::new(config.shards.get(), config.first_probes_per_second),
            shards: shards.collect(),
        }
    }

    /// Takes what an earlier process exported; it is remembered for `keep` from the start of this
    /// one.
    pub fn inherit(&mut self, remembered: Vec<Remembered>, keep: Duration) {
        self.registry.inherit(remembered, nanos(keep), |_| None);
    }

    /// Plans a change of the set at `now`.
    pub fn plan(&mut self, change: SetChange, now: u64) -> Planned {
        let Plan { forget, begin, orders, applied } = self.registry.change(change, now);
        Planned { forget, begin, orders: orders.into_iter().map(Orders).collect(), applied }
    }

    /// The shards, in order.
    pub fn shards(&mut self) -> &mut [SteppedShard] {
        &mut self.shards
    }

    /// What the next process should know: see [`Manager::export`](crate::Manager::export).
    pub fn export(&mut self, now: u64) -> Vec<Remembered> {
        let mut all: Vec<Remembered> = self.registry.inherited(now).copied().collect();
        let cores = || self.shards.iter().map(|shard| &shard.core);
        let kept = cores().flat_map(|core| core.remembered(0, usize::MAX).0);
        all.extend(kept.filter_map(|kept| kept.known.remembered(kept.spec.key())));
        let running = cores().flat_map(|core| core.known(0, usize::MAX).0);
        all.extend(running.filter_map(|(spec, known)| known.remembered(spec.key())));
        all
    }

    /// Figures of all shards. [`ManagerStats::recent`] is empty: no clock says what now is.
    #[must_use]
    pub fn stats(&self) -> ManagerStats {
        ManagerStats::collect(self.shards.iter().map(|shard| &*shard.gauges), u64::MAX)
    }
}

impl SteppedShard {
    /// A turn begins.
    pub fn begin_turn(&mut self, now: u64) {
        self.core.begin_turn(now);
    }

    /// A probe ended, with `outcome` at `ended`; it was first polled at `began`. Ignored when its
    /// check is no more.
    pub fn complete(&mut self, Flight(flight): Flight, outcome: Outcome, began: u64, ended: u64) {
        self.core.complete(ProbeReport { flight, result: outcome.into(), began, ended });
    }

    /// The next probe to start, if one is due and there is room for it. `wall` is what its status
    /// will say.
    pub fn start(&mut self, now: u64, wall: SystemTime) -> Option<(Flight, Arc<CheckSpec>)> {
        self.core.start(now, wall, |_| false).map(|start| (Flight(start.flight), start.spec))
    }

    /// Whether a probe could be started now.
    #[must_use]
    pub fn can_start(&self) -> bool {
        self.core.can_start()
    }

    /// What was found and nobody has been told yet; to be drained.
    pub fn updates(&mut self) -> &mut Vec<StatusUpdate> {
        self.core.updates()
    }

    /// The turn that began at `now` is over.
    pub fn end_turn(&mut self, now: u64) {
        self.core.end_turn(now);
    }

    /// When the next turn is due; `None` while only an order or the report of a probe gives one
    /// something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        self.core.next_wake()
    }

    /// Carries out orders; gives the probes in flight that are to be dropped.
    pub fn apply(&mut self, Orders(orders): Orders, now: u64) -> Vec<Flight> {
        let mut cancelled = Vec::new();
        self.core.apply(orders, now, &mut cancelled);
        cancelled.into_iter().map(Flight).collect()
    }

    /// Where each check stands.
    #[must_use]
    pub fn statuses(&self) -> Vec<(CheckId, Arc<CheckSpec>, Status)> {
        self.core.statuses(0, usize::MAX).0
    }

    /// How many removed checks are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.core.remembered(0, usize::MAX).0.len()
    }
}

impl Orders {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The orders one by one.
    pub fn deeds(&self) -> impl Iterator<Item = Deed> + '_ {
        let duration = |nanos: &u64| Duration::from_nanos(*nanos);
        let offsets = |spec: &CheckSpec, phase: &Phase| {
            [Pace::Steady, Pace::Changing, Pace::Down]
                .map(|pace| Duration::from_nanos(Grid::of(spec, *phase, pace).origin))
        };
        self.0.iter().map(move |order| match order {
            Order::Add { slot, check, phase, after, known: _ } => Deed::Add {
                slot: *slot,
                id: check.id,
                incarnation: check.incarnation,
                spec: Arc::clone(&check.spec),
                after: duration(after),
                offsets: offsets(&check.spec, phase),
            },
            Order::Move { slot, check, phase, after } => Deed::Move {
                slot: *slot,
                id: check.id,
                incarnation: check.incarnation,
                spec: Arc::clone(&check.spec),
                after: duration(after),
                offsets: offsets(&check.spec, phase),
            },
            Order::Retime { slot, spec, phase, after } => Deed::Retime {
                slot: *slot,
                spec: Arc::clone(spec),
                after: duration(after),
                offsets: offsets(spec, phase),
            },
            Order::Remove { slot } => Deed::Remove { slot: *slot },
        })
    }
}
