//! Time that probes did not have.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Tells how much time the thread of a prober has lost so far: it was stopped, had no processor or had too much to do, so that
/// answers went unread. The sum only grows; a probe is owed what was added to it during its flight.
///
/// Belongs to one thread, that of the shard which keeps the account. Clones share it.
#[derive(Clone, Default)]
pub struct LostTime(Option<Rc<dyn Fn() -> Duration>>);

impl LostTime {
    /// An account that `so_far` reads. By default there is none, and nothing is ever lost.
    pub fn new(so_far: impl Fn() -> Duration + 'static) -> Self {
        Self(Some(Rc::new(so_far)))
    }

    /// All time lost up to now.
    #[must_use]
    pub fn so_far(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |so_far| so_far())
    }
}

impl fmt::Debug for LostTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LostTime").field(&self.so_far()).finish()
    }
}
