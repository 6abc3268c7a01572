//! What was to be reached, beside what the files of figures say.

use crate::page::Reports;
use crate::peers::{HAPROXY, OURS, SEESAW};
use crate::report::Table;
use crate::roles::FLOORS;
use crate::stats::{median, percentile, ratios, spread};

/// The word of its marker.
pub(crate) const NAME: &str = "goals";

/// A figure, its limits, and where it comes from.
struct Goal {
    what: String,
    /// What it must not be above, and what it should not.
    least: f64,
    aim: Option<f64>,
    decimals: usize,
    of: Of,
}

/// Samples of one table of a benchmark, by benchmark, number of the table and name.
type Samples = (&'static str, usize, String);

/// What the figure is made of.
enum Of {
    /// The values themselves.
    Values(Samples),
    /// One of their percentiles.
    Percentile(Samples, f64),
    /// The ratios of two, round by round.
    Ratio(Samples, Samples),
    /// By how many per cent the first is above the median of the second.
    Beyond(Samples, Samples),
}

/// The table of all of them.
pub(crate) fn table(reports: &Reports<'_>) -> Table {
    let head = ["what", "at least", "aim", "measured", ""];
    Table::new("What was to be reached", &head, goals().iter().map(|goal| goal.row(reports)).collect())
}

fn goals() -> Vec<Goal> {
    let micros =
        |bench: &'static str, table: usize, peer: &str| -> Samples { (bench, table, format!("{peer}, µs")) };
    let goal =
        |what: String, least: f64, aim: f64, decimals, of| Goal { what, least, aim: Some(aim), decimals, of };
    let ratio = |kind: &str, bench: &'static str, to: &str, least: f64, aim: f64| {
        let of = Of::Ratio(micros(bench, 0, OURS), micros(bench, 0, to));
        goal(format!("processor time of {kind} check, × {to}"), least, aim, 2, of)
    };
    let million = |table: usize, name: &str| -> Samples { ("million", table, name.to_owned()) };
    let full = Of::Ratio(micros("cpu-https", 0, OURS), micros("cpu-https", 0, HAPROXY));
    let resumed = Of::Ratio(micros("cpu-https", 1, OURS), micros("cpu-https", 0, HAPROXY));
    vec![
        ratio("a TCP", "cpu-tcp", HAPROXY, 1.0, 0.85),
        ratio("a TCP", "cpu-tcp", SEESAW, 0.28, 0.25),
        ratio("a TCP", "cpu-tcp", FLOORS[0].name, 1.1, 0.95),
        ratio("an HTTP", "cpu-http", HAPROXY, 1.1, 0.95),
        ratio("an HTTP", "cpu-http", SEESAW, 0.3, 0.25),
        Goal {
            aim: None,
            ..goal(format!("of an HTTPS check, full handshakes, × {HAPROXY}"), 1.0, 1.0, 2, full)
        },
        Goal {
            aim: None,
            ..goal(
                format!("of an HTTPS check, sessions offered, × {HAPROXY} with full handshakes"),
                0.5,
                0.5,
                2,
                resumed,
            )
        },
        goal(
            "memory of an idle check at a million, B".to_owned(),
            450.0,
            250.0,
            0,
            Of::Values(million(4, "memory, B a check")),
        ),
        goal(
            "a million checks at 60 s, a proxy that keeps: processors".to_owned(),
            0.35,
            0.25,
            3,
            Of::Values(million(0, "a proxy that keeps")),
        ),
        goal(
            "the protocol's share of that, %".to_owned(),
            10.0,
            3.0,
            1,
            Of::Beyond(million(0, "a proxy that keeps"), million(0, "no proxy")),
        ),
        goal(
            "a set of a million with 1 % changed, processor time, ms".to_owned(),
            300.0,
            300.0,
            0,
            Of::Values(million(3, "full set, 1 % changed, ms")),
        ),
        goal(
            "… lateness p99 meanwhile, at most, ms".to_owned(),
            5.0,
            1.0,
            1,
            Of::Values(million(3, "full set, 1 % changed, lateness p99 at most, ms")),
        ),
        goal(
            "the same 1 % as deltas, processor time, ms".to_owned(),
            20.0,
            20.0,
            0,
            Of::Values(million(3, "deltas, 1 % changed back, ms")),
        ),
        goal(
            "… lateness p99 meanwhile, at most, ms".to_owned(),
            5.0,
            1.0,
            1,
            Of::Values(million(3, "deltas, 1 % changed back, lateness p99 at most, ms")),
        ),
        goal("lateness at 16,700/s, p50, ms".to_owned(), 1.0, 0.2, 2, Of::Values(million(2, "p50, ms"))),
        goal("lateness at 16,700/s, p99, ms".to_owned(), 5.0, 1.0, 2, Of::Values(million(2, "p99, ms"))),
        goal(
            "from the probe that decides to the engine's RPC, p99, ms (the batch delay is 100)".to_owned(),
            150.0,
            100.0,
            0,
            Of::Percentile(("death", 0, "from the deciding probe, ms".to_owned()), 99.0),
        ),
        goal(
            "SIGTERM to exit with a million checks, ms".to_owned(),
            1_000.0,
            300.0,
            0,
            Of::Values(million(4, "exit, ms")),
        ),
    ]
}

impl Goal {
    fn row(&self, reports: &Reports<'_>) -> Vec<String> {
        let limit = |value: f64| format!("≤ {value}");
        let values = self.of.values(reports);
        let (measured, verdict) = match &values {
            None => ("not measured".to_owned(), ""),
            Some(values) => (spread(values, self.decimals), self.verdict(median(values))),
        };
        let aim = self.aim.map(limit).unwrap_or_default();
        vec![self.what.clone(), limit(self.least), aim, measured, verdict.to_owned()]
    }

    fn verdict(&self, value: f64) -> &'static str {
        match self.aim {
            Some(aim) if value <= aim => "the aim",
            _ if value <= self.least => "reached",
            _ => "**missed**",
        }
    }
}

impl Of {
    fn values(&self, reports: &Reports<'_>) -> Option<Vec<f64>> {
        let samples = |(bench, table, name): &Samples| {
            reports(bench).and_then(|report| report.tables.get(*table)?.samples.get(name).cloned())
        };
        Some(match self {
            Self::Values(of) => samples(of)?,
            Self::Percentile(of, percent) => vec![percentile(&mut samples(of)?, *percent)],
            Self::Ratio(of, to) => ratios(&samples(of)?, &samples(to)?),
            Self::Beyond(of, from) => {
                let from = median(&samples(from)?);
                samples(of)?.iter().map(|value| (1.0 - from / value) * 100.0).collect()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn of_tcp(ours: f64) -> Report {
        let samples = |peer: &str| format!("{peer}, µs");
        Table::new("TCP", &[], Vec::new())
            .with(samples(OURS), &[ours, ours])
            .with(samples(HAPROXY), &[10.0, 10.0])
            .into()
    }

    #[test]
    fn a_goal_is_reached_missed_or_not_measured() {
        for (ours, verdict) in [(8.0, "the aim"), (10.0, "reached"), (30.0, "**missed**")] {
            let table = table(&|bench| (bench == "cpu-tcp").then(|| of_tcp(ours)));
            assert_eq!(table.rows[0][4], verdict, "{ours}");
            assert_eq!(table.rows[1][3..], ["not measured", ""]);
        }
    }
}
