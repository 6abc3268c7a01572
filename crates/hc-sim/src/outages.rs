//! When delivery or probing was impossible, or just recovering from that.

use crate::clock::Nanos;

/// Spans of time, in order, none touching another.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    spans: Vec<(Nanos, Nanos)>,
}

impl Outages {
    /// Adds a span; it may overlap others.
    pub(crate) fn add(&mut self, mut begin: Nanos, mut end: Nanos) {
        let mut later = Vec::new();
        while let Some((from, to)) = self.spans.pop_if(|(_, to)| *to >= begin) {
            if from > end {
                later.push((from, to));
            } else {
                (begin, end) = (begin.min(from), end.max(to));
            }
        }
        self.spans.push((begin, end));
        self.spans.extend(later.into_iter().rev());
    }

    /// How much of the time between the two was good, when each outage in it cost `extra` beyond
    /// its length.
    pub(crate) fn good(&self, from: Nanos, to: Nanos, extra: Nanos) -> Nanos {
        if from >= to {
            return 0;
        }
        let within =
            self.spans.iter().rev().take_while(|(_, end)| *end > from).filter(|(begin, _)| *begin < to);
        let bad = within.map(|(begin, end)| end.min(&to) - begin.max(&from) + extra).sum();
        to.saturating_sub(from).saturating_sub(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_merged_and_counted_once() {
        let mut outages = Outages::default();
        outages.add(10, 20);
        outages.add(40, 50);
        outages.add(15, 30);
        outages.add(60, 70);
        outages.add(5, 8);
        assert_eq!(outages.spans, [(5, 8), (10, 30), (40, 50), (60, 70)]);
        assert_eq!(outages.good(0, 100, 0), 57);
        assert_eq!(outages.good(20, 65, 0), 20);
        assert_eq!(outages.good(20, 65, 2), 14);
        assert_eq!(outages.good(70, 100, 2), 30);
        outages.add(25, 62);
        assert_eq!(outages.spans, [(5, 8), (10, 70)]);
    }
}
