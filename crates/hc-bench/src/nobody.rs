//! A sink that forgets what it is given.

use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, Incarnation, Sink, StatusUpdate};

pub(crate) struct Nobody;

impl Sink for Nobody {
    fn begin(&self, _: CheckId, _: Incarnation, _: &Arc<CheckSpec>) {}

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        updates.clear();
    }

    fn forget(&self, _: CheckId, _: Incarnation) {}

    fn in_effect(&self, _: Option<u64>, _: bool) {}
}
