//! What specs have in common apart from their targets, kept once in this process.
//!
//! Thousands of checks have the same probe and the same timing; a spec holds a pointer to them.
//! Example: a million TCP checks with one interval share one.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use hashbrown::HashTable;

use crate::timing::Packed;
use crate::{HostName, ProbeSpec};

/// A spec without its target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) probe: ProbeSpec,
    pub(super) timing: Packed,
    pub(super) host_name: Option<Box<HostName>>,
}

/// All that are shared, each for as long as a spec has it.
static SHAPES: LazyLock<Mutex<Shapes>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Shapes {
    /// With their hashes, so that the table can grow without them.
    kept: HashTable<(u64, Weak<Shape>)>,
    /// Keyed, since shapes hold what others have written into files of checks.
    hasher: RandomState,
}

impl Shape {
    /// The one of this process that is equal.
    pub(super) fn shared(self) -> Arc<Self> {
        // Each host name has its own addresses.
        if self.host_name.is_some() {
            return Arc::new(self);
        }
        SHAPES.lock().unwrap_or_else(PoisonError::into_inner).share(self)
    }
}

impl Shapes {
    fn share(&mut self, shape: Shape) -> Arc<Shape> {
        let hash = self.hasher.hash_one((&shape.probe, &shape.timing));
        let is_equal = |(other, known): &(u64, Weak<Shape>)| {
            *other == hash && known.upgrade().is_some_and(|known| *known == shape)
        };
        let known = self.kept.find(hash, is_equal).and_then(|(_, known)| known.upgrade());
        known.unwrap_or_else(|| self.keep(hash, shape))
    }

    fn keep(&mut self, hash: u64, shape: Shape) -> Arc<Shape> {
        let shape = Arc::new(shape);
        if self.kept.len() == self.kept.capacity() {
            // Those that nobody has any more. If they were few, there is to be room for as many as
            // there are: so it is not gone through for each one.
            self.kept.retain(|(_, known)| known.strong_count() > 0);
            self.kept.reserve(self.kept.len().max(8), |(hash, _)| *hash);
        }
        self.kept.insert_unique(hash, (hash, Arc::downgrade(&shape)), |(hash, _)| *hash);
        shape
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{TcpProbe, Timing};

    fn shape(seconds: u64, send: &str) -> Shape {
        let timing = Timing::every(Duration::from_secs(seconds));
        let probe = ProbeSpec::Tcp(TcpProbe { send: send.into(), ..TcpProbe::default() });
        Shape { probe, timing: Packed::new(timing).unwrap(), host_name: None }
    }

    #[test]
    fn equal_shapes_are_one_and_others_are_not() {
        let mut shapes = Shapes::default();
        let first = shapes.share(shape(5, "a"));
        assert!(Arc::ptr_eq(&first, &shapes.share(shape(5, "a"))));
        assert!(!Arc::ptr_eq(&first, &shapes.share(shape(6, "a"))));
        let udp = Shape { probe: ProbeSpec::Udp(Box::default()), ..shape(5, "a") };
        assert!(!Arc::ptr_eq(&first, &shapes.share(udp)));
        assert!(!Arc::ptr_eq(&first, &shapes.share(shape(5, "b"))));
    }

    #[test]
    fn what_nobody_has_any_more_is_forgotten() {
        let mut shapes = Shapes::default();
        let kept: Vec<_> = (1..=100).map(|seconds| shapes.share(shape(seconds, "kept"))).collect();
        for seconds in 1..=10_000 {
            shapes.share(shape(seconds, "gone"));
        }
        assert!(shapes.kept.len() < 1000, "{}", shapes.kept.len());
        for (seconds, known) in (1..).zip(&kept) {
            assert!(Arc::ptr_eq(known, &shapes.share(shape(seconds, "kept"))));
        }
    }
}
