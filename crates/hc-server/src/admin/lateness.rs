//! Whether probes begin on time: the figures for readers, and when they are worth a word.

use std::time::Duration;

/// A probe that begins so much later than due is late: a tenth of the interval of five seconds that
/// most checks have. Under load milliseconds are usual.
const LATE: Duration = Duration::from_millis(500);

/// So many of them in a minute, and one of a hundred, are worth a word. One that is late is none.
const MANY: u64 = 10;

pub(super) fn figures(of: &hc_manager::Lateness) -> hc_api::Lateness {
    let [p50, p99, max] = [of.p50(), of.p99(), of.max()].map(|late| late.as_secs_f64());
    hc_api::Lateness::new(p50, p99, max)
}

pub(super) fn recent(of: &hc_manager::Recent) -> hc_api::Recent {
    let mut recent = hc_api::Recent::new();
    recent.started = of.lateness.count();
    (recent.inconclusive, recent.stalls) = (of.inconclusive, of.stalls);
    recent.stalled_seconds = of.stalled.as_secs_f64();
    recent.lateness = figures(&of.lateness);
    recent
}

/// The share of the last minute in which shards had work, if they were watched.
pub(super) fn busy(of: &hc_manager::Recent) -> Option<f64> {
    (!of.watched.is_zero()).then(|| of.busy.as_secs_f64() / of.watched.as_secs_f64())
}

/// What to say of the last minute, if there is something.
pub(super) fn trouble(of: &hc_manager::Recent) -> Option<String> {
    let started = of.lateness.count();
    words(started - of.lateness.at_most(LATE), started)
}

fn words(late: u64, started: u64) -> Option<String> {
    let is_much = late >= MANY && late.saturating_mul(100) > started;
    is_much.then(|| {
        let limit = LATE.as_millis();
        format!("{late} of {started} probes of the last minute began more than {limit} ms late: this machine is too busy")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_late_probes_are_no_news_and_many_are() {
        assert_eq!((words(9, 9), words(10, 1000), words(0, 0)), (None, None, None));
        let said =
            "10 of 999 probes of the last minute began more than 500 ms late: this machine is too busy";
        assert_eq!(words(10, 999).as_deref(), Some(said));
    }
}
