//! What the consumer has: in the order in which it was told, and by bucket where it keeps it.

use hc_types::{BUCKETS, CheckId, Digest, Health};

use crate::links::{Place, Queue};

/// The checks of one bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Those that the consumer has the latest words of, told longest ago first.
    pub(crate) queue: Queue,
    /// All that it keeps, also those that have changed since.
    pub(crate) digest: Digest,
    /// Each of them was told, or told again, at this instant or later.
    pub(crate) refreshed: u64,
}

impl Run {
    const EMPTY: Self =
        Self { queue: Queue::new(Place::Delivered), digest: Digest { count: 0, sum: 0 }, refreshed: 0 };
}

/// One run for all checks, or, of a consumer that keeps statuses, one for each bucket.
#[derive(Debug)]
pub(crate) struct Delivered {
    runs: Vec<Run>,
    /// Checks in the queues.
    pub(crate) len: usize,
    /// Checks that the consumer keeps.
    pub(crate) kept: usize,
    /// The bucket whose turn it is.
    pub(crate) cursor: u16,
}

impl Delivered {
    pub(crate) fn new(keeps: bool) -> Self {
        let runs = if keeps { BUCKETS.into() } else { 1 };
        Self { runs: vec![Run::EMPTY; runs], len: 0, kept: 0, cursor: 0 }
    }

    /// Whether the consumer keeps statuses.
    pub(crate) fn keeps(&self) -> bool {
        self.runs.len() > 1
    }

    /// The run of a bucket.
    pub(crate) fn run(&mut self, bucket: u16) -> &mut Run {
        let index = if self.keeps() { usize::from(bucket) } else { 0 };
        &mut self.runs[index]
    }

    /// The only run of a consumer that keeps nothing.
    pub(crate) fn all(&self) -> Option<&Run> {
        self.runs.first().filter(|_| !self.keeps())
    }

    /// All runs.
    pub(crate) fn runs_mut(&mut self) -> &mut [Run] {
        &mut self.runs
    }

    /// The consumer keeps this health of a check since `now`.
    pub(crate) fn keep(&mut self, bucket: u16, id: CheckId, health: Health, now: u64) {
        if !self.keeps() {
            return;
        }
        let run = self.run(bucket);
        if run.digest.count == 0 {
            run.refreshed = now;
        }
        run.digest.put(id, health);
        self.kept += 1;
    }

    /// It does not any more.
    pub(crate) fn drop(&mut self, bucket: u16, id: CheckId, health: Health) {
        if self.keeps() {
            self.run(bucket).digest.take(id, health);
            self.kept -= 1;
        }
    }

    /// It keeps nothing of these buckets any more.
    pub(crate) fn drop_all(&mut self, first: u16, last: u16) {
        for bucket in first..=last {
            let digest = std::mem::take(&mut self.run(bucket).digest);
            self.kept -= digest.count as usize;
        }
    }

    /// The next bucket of which something is kept, from the one whose turn it is on.
    pub(crate) fn next(&self) -> Option<u16> {
        if !self.keeps() || self.kept == 0 {
            return None;
        }
        let (before, from) = (0..self.cursor, self.cursor..BUCKETS);
        from.chain(before).find(|bucket| self.get(*bucket).digest.count > 0)
    }

    /// When each check of this bucket was told, or later. Only of a consumer that keeps statuses.
    pub(crate) fn refreshed(&self, bucket: u16) -> u64 {
        self.get(bucket).refreshed
    }

    /// The buckets from `first` on, as far as `wanted` says: it gets how many checks there are so
    /// far, how many more there would be, and when they were refreshed.
    pub(crate) fn span(&self, first: u16, mut wanted: impl FnMut(u32, &Run) -> bool) -> (u16, Digest) {
        let (mut last, mut digest) = (first, Digest::default());
        for bucket in first..BUCKETS {
            let run = self.get(bucket);
            if run.digest.count == 0 {
                continue;
            }
            if !wanted(digest.count, run) {
                break;
            }
            digest.join(run.digest);
            last = bucket;
        }
        (last, digest)
    }

    fn get(&self, bucket: u16) -> &Run {
        &self.runs[usize::from(bucket)]
    }
}
