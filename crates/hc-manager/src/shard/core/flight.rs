//! A probe in flight, as the loop of a shard sees it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use hc_types::{CheckSpec, ProbeResult};

use crate::schedule::Nanos;

/// The name of one probe in flight. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlightId(pub(super) NonZeroU64);

/// A probe to be started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) flight: FlightId,
    pub(crate) spec: Arc<CheckSpec>,
    /// That of the spec, or a shorter one.
    pub(crate) timeout: Duration,
}

/// A probe that has ended.
#[derive(Debug)]
pub(crate) struct ProbeReport {
    pub(crate) flight: FlightId,
    pub(crate) result: ProbeResult,
    /// When it was first polled.
    pub(crate) began: Nanos,
    /// When it resolved.
    pub(crate) ended: Nanos,
}
