//! A quick name for what is checked, inside one process.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use hc_types::CheckSpec;

/// A hash of target and probe: equal for equal subjects, and for others almost never. Where "almost" is not enough,
/// [`CheckSpec::same_subject`] decides. Some hundred nanoseconds cheaper than [`CheckSpec::subject_key`], and not to be
/// kept: another version may hash differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubjectHash(u64);

impl SubjectHash {
    pub(crate) fn of(spec: &CheckSpec) -> Self {
        let mut hasher = DefaultHasher::new();
        spec.target().hash(&mut hasher);
        spec.probe().hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The shard that runs this subject. Taken from the low bits: the order of the first probes is that of the high ones,
    /// so at any moment of a start all shards have their share.
    pub(crate) fn shard(self, shards: usize) -> usize {
        // Below `shards`, so it fits.
        usize::try_from(self.0 % (shards as u64).max(1)).unwrap_or_default()
    }
}
