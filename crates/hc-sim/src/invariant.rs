//! What must hold at every step, by name.

use std::fmt;
use std::time::Duration;

use crate::clock::Nanos;

/// One thing that must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// The engine hears of a check only after a probe of its subject has ended, and never
    /// `unknown`.
    NothingBeforeAProbe,
    /// No failure is counted against a backend that was up and answered in time.
    NoFalseFailure,
    /// A backend that stayed up is never told unhealthy after it was told healthy; nor the other
    /// way round.
    NoFalseTransition,
    /// An inconclusive probe, or one during which the process stood still, is no verdict; every
    /// other one is.
    VerdictsOnly,
    /// A status is what its verdicts amount to, counters, instants and texts included.
    StatusIsTrue,
    /// Every real flip is known to the engine within detection time, batch delay and outage.
    FlipsAreTold,
    /// News is due within the batch delay.
    BatchDelay,
    /// An engine is told under an id only about what it means by that id.
    IdsMeanTheSame,
    /// A batch holds the latest statuses, of checks of the set that it names.
    LatestIsTold,
    /// The checks that run are those of the set.
    RunningIsDesired,
    /// The assembled set is the one that was sent.
    SetsArriveWhole,
    /// Probes of a check do not overlap, and a removed check has none.
    OneProbeAtATime,
    /// Probes start on their grid, neither early nor late.
    OnTheGrid,
    /// Two probes of a check start at most the interval in force and its jitter apart.
    NoLongGap,
    /// Of a check of which nothing is known, no probe starts before its start delay is over.
    StartDelay,
    /// Health changes by the first result, by `rise` passes in a row or by more failures in a row
    /// than `retries`, and then at once.
    RiseAndFall,
    /// Every check is told again within `notify_interval` while delivery works.
    Refresh,
    /// Counters of one life of an id do not go back.
    CountersGrow,
    /// What is held is bounded by the checks there are.
    BoundedMemory,
    /// An export holds what is known, and nothing else.
    ExportIsTrue,
    /// The view shows of each check what its shard says, and of no life but the present one.
    ViewIsTrue,
    /// While an override stands, consumers have what it says.
    OverridesAreHeard,
    /// Within a bound after an override, or an outage of a gateway, is over, consumers have what
    /// probes find.
    TruthReturns,
    /// While a gateway is down, no check behind it is told to be down.
    BehindAGateway,
    /// When everything fails at once and recovers within seconds, nobody is told.
    MassFailuresAreHeld,
    /// The checks that run are those of the last addresses that the resolver gave of each name; a
    /// resolver that is away, fails or denies a name once takes none away.
    LastAddressesStand,
    /// Within what the resolver and we may keep an answer, and detection time, the checks are those
    /// of the addresses that a name has, and their health is told.
    AddressesAreFollowed,
    /// Nothing is told of an address that its name no longer has, least of all that it is dead.
    RemovedIsNotTold,
    /// What stays when addresses change goes on: the same id, the same life, the same counters.
    HealthIsKept,
    /// A check is told to be unhealthy only if a probe of it has failed: never for what a resolver
    /// says or does not say.
    ResolverIsNoVerdict,
    /// One check of all addresses of a name comes to what its rule says.
    AnyAndAll,
    /// A node of a fleet never tells `unknown`.
    FleetNothingBeforeAVerdict,
    /// Of a backend that never changes no node ever tells anything else, whatever happens to nodes and
    /// store.
    FleetNoFalseVerdict,
    /// What a node begins to tell is what the rule may come to with what running nodes have seen lately:
    /// one node alone, cut off or back again, takes nothing down that a majority sees.
    FleetVerdictIsPossible,
    /// A check that nobody probes is probed again when the lease of a lost node has ended.
    FleetTakesOver,
    /// A node that has been cut off for long tells what it sees itself.
    FleetAloneSeesForItself,
    /// A node writes no more than it may, and the fleet neither.
    FleetWritesAreBounded,
    /// No probe is begun twice, none ended that was not begun, and no node is due again at once.
    FleetActsOnce,
    /// When all is calm, every running node is a member.
    FleetSettles,
    /// When all is calm, every node tells what the rule makes of what the nodes see whose turn it is,
    /// and in a tie all the same.
    FleetAgrees,
    /// When all is calm, each check is probed by as many nodes as it wants, and by those whose turn it
    /// is.
    FleetSharesChecks,
    /// When all is calm, opinions of nodes that probe count, and nobody else's.
    FleetCountsTheLiving,
    /// At the end, when all is calm, engine, outbox and truth agree.
    Quiescence,
}

impl Invariant {
    /// The name, as it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingBeforeAProbe => "nothing-before-a-probe",
            Self::NoFalseFailure => "no-false-failure",
            Self::NoFalseTransition => "no-false-transition",
            Self::VerdictsOnly => "verdicts-only",
            Self::StatusIsTrue => "status-is-true",
            Self::FlipsAreTold => "flips-are-told",
            Self::BatchDelay => "batch-delay",
            Self::IdsMeanTheSame => "ids-mean-the-same",
            Self::LatestIsTold => "latest-is-told",
            Self::RunningIsDesired => "running-is-desired",
            Self::SetsArriveWhole => "sets-arrive-whole",
            Self::OneProbeAtATime => "one-probe-at-a-time",
            Self::OnTheGrid => "on-the-grid",
            Self::NoLongGap => "no-long-gap",
            Self::StartDelay => "start-delay",
            Self::RiseAndFall => "rise-and-fall",
            Self::Refresh => "refresh",
            Self::CountersGrow => "counters-grow",
            Self::BoundedMemory => "bounded-memory",
            Self::ExportIsTrue => "export-is-true",
            Self::ViewIsTrue => "view-is-true",
            Self::OverridesAreHeard => "overrides-are-heard",
            Self::TruthReturns => "truth-returns",
            Self::BehindAGateway => "behind-a-gateway",
            Self::MassFailuresAreHeld => "mass-failures-are-held",
            Self::LastAddressesStand => "last-addresses-stand",
            Self::AddressesAreFollowed => "addresses-are-followed",
            Self::RemovedIsNotTold => "removed-is-not-told",
            Self::HealthIsKept => "health-is-kept",
            Self::ResolverIsNoVerdict => "resolver-is-no-verdict",
            Self::AnyAndAll => "any-and-all",
            Self::FleetNothingBeforeAVerdict => "fleet-nothing-before-a-verdict",
            Self::FleetNoFalseVerdict => "fleet-no-false-verdict",
            Self::FleetVerdictIsPossible => "fleet-verdict-is-possible",
            Self::FleetTakesOver => "fleet-takes-over",
            Self::FleetAloneSeesForItself => "fleet-alone-sees-for-itself",
            Self::FleetWritesAreBounded => "fleet-writes-are-bounded",
            Self::FleetActsOnce => "fleet-acts-once",
            Self::FleetSettles => "fleet-settles",
            Self::FleetAgrees => "fleet-agrees",
            Self::FleetSharesChecks => "fleet-shares-checks",
            Self::FleetCountsTheLiving => "fleet-counts-the-living",
            Self::Quiescence => "quiescence",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// When, in virtual time.
    pub at: Duration,
    /// How.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.6}s: {}", self.invariant, self.at.as_secs_f64(), self.detail)
    }
}

/// The result of a step.
pub(crate) type Step<T = ()> = Result<T, Box<Violation>>;

/// Holds `condition` against an invariant.
pub(crate) fn hold(
    condition: bool,
    invariant: Invariant,
    at: Nanos,
    detail: impl FnOnce() -> String,
) -> Step {
    if condition { Ok(()) } else { Err(violated(invariant, at, detail())) }
}

pub(crate) fn violated(invariant: Invariant, at: Nanos, detail: String) -> Box<Violation> {
    Box::new(Violation { invariant, at: Duration::from_nanos(at), detail })
}
