//! The one place where the benchmarks read the clock.

use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
