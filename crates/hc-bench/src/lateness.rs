//! How late probes began, from the buckets of `/metrics`.

use anyhow::Result;

use crate::server::{Server, metric};

/// Upper limits of the buckets, as the metric writes them.
const LIMITS: [&str; 11] =
    ["0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "1.0", "10.0"];

const NAME: &str = "hc_probe_lateness_seconds";

/// Probes by how late they began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lateness {
    /// Of all probes, those not later than each limit.
    within: [f64; LIMITS.len()],
    count: f64,
}

impl Lateness {
    /// Since the server began.
    pub(crate) fn of(server: &Server) -> Result<Self> {
        Self::parse(&server.get("/metrics")?)
    }

    fn parse(page: &str) -> Result<Self> {
        let mut within = [0.0; LIMITS.len()];
        for (value, limit) in within.iter_mut().zip(LIMITS) {
            *value = metric(page, &format!("{NAME}_bucket{{le=\"{limit}\"}}"))?;
        }
        Ok(Self { within, count: metric(page, &format!("{NAME}_count"))? })
    }

    /// What came after an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        rest.within.iter_mut().zip(earlier.within).for_each(|(now, then)| *now -= then);
        rest.count -= earlier.count;
        rest
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.within.iter_mut().zip(other.within).for_each(|(sum, more)| *sum += more);
        self.count += other.count;
    }

    pub(crate) fn count(&self) -> f64 {
        self.count
    }

    /// Probes later than a limit of a bucket, in per cent.
    pub(crate) fn later_than(&self, limit: &str) -> f64 {
        let within = LIMITS.iter().position(|known| *known == limit).map_or(f64::NAN, |at| self.within[at]);
        (self.count - within) / self.count * 100.0
    }

    /// The limit of the bucket below which so many per cent of them are, in ms. `f64::MAX`: above
    /// the last one.
    pub(crate) fn limit(&self, percent: f64) -> f64 {
        let at = self.within.iter().position(|within| *within >= self.count * percent / 100.0);
        at.and_then(|at| LIMITS[at].parse::<f64>().ok()).map_or(f64::MAX, |limit| limit * 1e3)
    }

    /// The same as text: `≤ 2.5`.
    pub(crate) fn below(&self, percent: f64) -> String {
        match self.limit(percent) {
            f64::MAX => "> 10000".to_owned(),
            limit => format!("≤ {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(within: [f64; 11]) -> Lateness {
        Lateness { within, count: 100.0 }
    }

    #[test]
    fn a_percentile_is_the_limit_of_its_bucket() {
        let late = with([10.0, 50.0, 90.0, 98.0, 99.0, 99.0, 99.0, 99.0, 99.0, 99.0, 99.0]);
        assert_eq!([50.0, 90.0, 99.0].map(|percent| late.below(percent)), ["≤ 1", "≤ 2.5", "≤ 10"]);
        assert_eq!(late.below(99.9), "> 10000");
        assert_eq!(late.later_than("0.001"), 50.0);
    }

    #[test]
    fn a_page_of_metrics_is_read_and_readings_are_subtracted() {
        let page = |count: u32| {
            let buckets: Vec<_> =
                LIMITS.iter().map(|limit| format!("{NAME}_bucket{{le=\"{limit}\"}} {count}\n")).collect();
            Lateness::parse(&format!("{}{NAME}_count {count}\n", buckets.concat())).unwrap()
        };
        assert_eq!(page(7).since(&page(3)), page(4));
        let mut sum = page(3);
        sum.add(&page(4));
        assert_eq!(sum, page(7));
        Lateness::parse("").unwrap_err();
    }
}
