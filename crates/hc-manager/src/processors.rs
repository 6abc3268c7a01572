//! Which processor a thread runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tracing::warn;

/// The processors that this process may use, in their order (`sched_getaffinity(2)`: what `taskset`,
/// a cpuset of the service manager or a container leaves).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Processors(Vec<usize>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Processor(Option<usize>);

impl Processors {
    /// Those of this process. None where the kernel does not say.
    pub(crate) fn allowed() -> Self {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        Self((0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect())
    }

    /// The one for this shard.
    pub(crate) fn of(&self, shard: usize) -> Processor {
        let number = shard.checked_rem(self.0.len()).and_then(|place| self.0.get(place));
        Processor(number.copied())
    }
}

impl Processor {
    /// Lets the calling thread, that of `shard`, run here alone. Where that is not possible, since
    /// the processor has just been switched off or the system forbids it, a line in the log says so
    /// and the thread runs anywhere: probes count for more than where they are made.
    pub(crate) fn pin(self, shard: usize) {
        if let Err(error) = self.try_pin() {
            warn!(shard, %error, "a thread of probes is not bound to a processor");
        }
    }

    fn try_pin(self) -> io::Result<()> {
        let number = self.0.ok_or(io::ErrorKind::NotFound)?;
        let mut only = CpuSet::new();
        only.set(number);
        Ok(sched_setaffinity(None, &only)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_go_round_the_processors_that_are_allowed() {
        let processors = Processors(vec![2, 5]);
        let of = |shard| processors.of(shard).0;
        assert_eq!([of(0), of(1), of(2)], [Some(2), Some(5), Some(2)]);
        assert_eq!(Processors(Vec::new()).of(0), Processor(None));
        assert!(Processor(None).try_pin().is_err());
    }

    #[test]
    fn a_pinned_thread_is_on_its_processor_and_others_are_not() {
        let before = Processors::allowed();
        let last = before.of(before.0.len() - 1);
        let there = std::thread::spawn(move || {
            last.try_pin().unwrap();
            Processors::allowed()
        });
        assert_eq!(there.join().unwrap().0, [last.0.unwrap()]);
        assert_eq!(Processors::allowed(), before);
    }
}
