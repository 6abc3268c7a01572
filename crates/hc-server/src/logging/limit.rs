//! No kind of line may fill the disk: each has a budget, and what is beyond it is counted and
//! reported.
//!
//! A kind is the place in the program that logs, so "health changed" is one kind for all checks.
//! Each kind may write [`BURST`] lines at once and one line a second in the long run: at most
//! 86,400 a day, some 25 MB. Lines at `debug` and `trace` are not limited, since somebody asked for
//! them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hc_types::Throttle;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one kind that are written at once.
const BURST: u32 = 1000;

/// The time after which one more may be written.
const PAUSE: Duration = Duration::from_secs(1);

/// How often lines that were held back are reported.
pub(super) const REPORT: Duration = Duration::from_secs(10);

/// Lines of one kind that were held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldBack {
    /// Where the lines come from: the module.
    pub(super) target: &'static str,
    /// The line in the file of that module.
    pub(super) place: u32,
    pub(super) lines: u64,
}

/// What one kind has used up.
#[derive(Debug)]
struct Budget {
    target: &'static str,
    place: u32,
    throttle: Throttle,
    /// Since the last report.
    held_back: u64,
}

/// The budgets of all kinds of lines.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<HashMap<Identifier, Budget>>);

impl Limits {
    /// Whether a line may be written at `now`; and if not, whether that is to be announced.
    fn pass(&self, metadata: &'static Metadata<'static>, now: Instant) -> Verdict {
        // A map of numbers is whole at any time.
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = budgets.entry(metadata.callsite()).or_insert_with(|| Budget {
            target: metadata.target(),
            place: metadata.line().unwrap_or_default(),
            throttle: Throttle::new(BURST, PAUSE),
            held_back: 0,
        });
        if budget.throttle.pass(now).is_some() {
            return Verdict::Written;
        }
        budget.held_back += 1;
        // Now and then again, in case the announcement found no room.
        Verdict::HeldBack { announce: budget.held_back % 1024 == 1 }
    }

    /// Takes what was held back since the last call.
    pub(super) fn report(&self) -> Vec<HeldBack> {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held_back = budgets.values_mut().filter(|budget| budget.held_back > 0).map(|budget| HeldBack {
            target: budget.target,
            place: budget.place,
            lines: std::mem::take(&mut budget.held_back),
        });
        held_back.collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    HeldBack { announce: bool },
}

/// Lets through what [`Limits`] allow. `announce` is called when lines begin to be
/// held back.
#[derive(Debug)]
pub(super) struct Limiter<F> {
    pub(super) limits: &'static Limits,
    pub(super) announce: F,
}

impl<S: Subscriber, F: Fn() + Send + Sync + 'static> Filter<S> for Limiter<F> {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    #[allow(clippy::disallowed_methods, reason = "a line is written when it is written")]
    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        match self.limits.pass(event.metadata(), Instant::now()) {
            Verdict::Written => true,
            Verdict::HeldBack { announce } => {
                if announce {
                    (self.announce)();
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer, registry};

    use super::*;

    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    static ANNOUNCED: AtomicU64 = AtomicU64::new(0);

    /// Counts the lines that get as far as the writer.
    struct Counting;

    impl<S: Subscriber> Layer<S> for Counting {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            WRITTEN.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn each_kind_of_line_has_a_budget_of_its_own() {
        let limits: &'static Limits = Box::leak(Box::default());
        let announce = || {
            ANNOUNCED.fetch_add(1, Relaxed);
        };
        let subscriber = registry().with(Counting.with_filter(Limiter { limits, announce }));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..5000 {
                tracing::info!("again and again");
                tracing::debug!("asked for");
            }
            tracing::warn!("another kind");
        });
        let written = WRITTEN.load(Relaxed);
        // A second may have passed, and paid for a line.
        assert!((6001..6050).contains(&written), "{written}");
        assert_eq!(ANNOUNCED.load(Relaxed), 4);
        let report = limits.report();
        assert_eq!(report.len(), 1);
        assert_eq!((report[0].target, report[0].lines + written), (module_path!(), 5000 + 5000 + 1));
        assert!(limits.report().is_empty());
    }

    #[test]
    fn a_second_pays_for_a_line() {
        let limits = Limits::default();
        let metadata = tracing::callsite!(name: "event", kind: tracing::metadata::Kind::EVENT, fields:);
        let metadata = tracing::Callsite::metadata(metadata);
        #[allow(clippy::disallowed_methods, reason = "any instant will do")]
        let mut now = Instant::now();
        let written = |now| (0..2000).filter(|_| limits.pass(metadata, now) == Verdict::Written).count();
        assert_eq!(written(now), BURST as usize);
        now += PAUSE * 7;
        assert_eq!(written(now), 7);
        now += PAUSE * 10 * BURST;
        assert_eq!(written(now), BURST as usize);
    }
}
