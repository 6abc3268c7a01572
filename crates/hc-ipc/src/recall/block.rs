//! A few checks that follow each other in a set.

use std::hash::{BuildHasher as _, DefaultHasher, Hasher as _, RandomState};

/// Checks whose texts have one digest: fewer cost more memory, and of more each change makes others
/// be read again. Of a set in which each hundredth check has changed, four of a hundred are read.
pub(crate) const TOGETHER: usize = 4;

/// Checks that follow each other, their ids going up: 24 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    first: u64,
    digest: u64,
    /// Of the text in bytes; 0 if it says nothing of what is in effect.
    length: u32,
    /// From each id to the next one.
    gaps: [u8; TOGETHER - 1],
    count: u8,
}

impl Block {
    /// A block of one check, whose text says nothing so far.
    pub(super) fn new(first: u64) -> Self {
        Self { first, digest: 0, length: 0, gaps: [0; TOGETHER - 1], count: 1 }
    }

    /// Adds the next check. Says whether there was room for it.
    pub(super) fn push(&mut self, id: u64) -> bool {
        let gap = id.checked_sub(self.last()).and_then(|gap| u8::try_from(gap).ok()).filter(|gap| *gap > 0);
        let place = self.gaps.get_mut(usize::from(self.count) - 1);
        let (Some(gap), Some(place)) = (gap, place) else { return false };
        *place = gap;
        self.count += 1;
        true
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn last(&self) -> u64 {
        self.first + self.gaps.iter().map(|gap| u64::from(*gap)).sum::<u64>()
    }

    pub(super) fn len(&self) -> usize {
        self.count.into()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u64> + use<> {
        let gaps = self.gaps;
        let mut id = self.first;
        let rest = gaps.into_iter().take(usize::from(self.count) - 1).map(move |gap| {
            id += u64::from(gap);
            id
        });
        std::iter::once(self.first).chain(rest)
    }

    /// Its text says nothing any more.
    pub(super) fn open(&mut self) {
        self.length = 0;
    }

    /// These are the texts of its checks.
    pub(super) fn close(&mut self, digest: &Digest) {
        (self.length, self.digest) = digest.finish();
    }

    /// How long its text is; `None` if it says nothing.
    pub(super) fn length(&self) -> Option<usize> {
        usize::try_from(self.length).ok().filter(|length| *length > 0)
    }

    /// Whether `text` is its text.
    pub(super) fn is_text(&self, text: &[u8], digests: &Digests) -> bool {
        let mut digest = digests.begin();
        digest.add(text);
        digest.finish() == (self.length, self.digest)
    }
}

/// Makes digests under the key of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digests(RandomState);

impl Digests {
    pub(super) fn begin(&self) -> Digest {
        Digest { hasher: self.0.build_hasher(), length: 0 }
    }
}

/// A digest that is being made.
pub(super) struct Digest {
    hasher: DefaultHasher,
    length: u64,
}

impl Digest {
    pub(super) fn add(&mut self, text: &[u8]) {
        self.hasher.write(text);
        self.length += text.len() as u64;
    }

    /// Length and digest; a length of 0 for a text that is too long to be one of checks.
    fn finish(&self) -> (u32, u64) {
        (u32::try_from(self.length).unwrap_or(0), self.hasher.finish())
    }
}
