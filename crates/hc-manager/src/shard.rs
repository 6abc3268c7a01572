//! One shard: a thread that runs the probes of its share of the checks.

mod core;
mod task;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing_tests;
#[cfg(test)]
mod update_tests;

pub(crate) use self::core::ShardCore;
#[cfg(any(test, feature = "stepped"))]
pub(crate) use self::core::{FlightId, ProbeReport};
pub(crate) use self::task::{Clock, Command, Page, Shard};
