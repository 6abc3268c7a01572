//! Ids that come more than once in one proposal.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, Rejection, cut};

/// What is kept of a reason for a rejection, in bytes: it may quote a field of any length.
const LONGEST_REASON: usize = 1024;

/// Keeps the checks that run, and adds those that do not to `rejected`, each id once. Of an id that
/// comes more than once no copy runs unless all are equal; of one that was rejected none does.
pub(crate) fn judge(
    checks: Vec<(CheckId, Arc<CheckSpec>)>,
    rejected: Vec<Rejection>,
) -> (Vec<(CheckId, Arc<CheckSpec>)>, Vec<Rejection>) {
    // Where the good copy of an id is; `None` when the id has been rejected.
    let mut seen: HashMap<CheckId, Option<usize>> = HashMap::with_capacity(checks.len());
    let mut bad = Vec::with_capacity(rejected.len());
    for mut rejection in rejected {
        cut(&mut rejection.reason, LONGEST_REASON);
        let first = rejection.id.is_none_or(|id| seen.insert(id, None).is_none());
        if first {
            bad.push(rejection);
        }
    }
    let mut good: Vec<Option<(CheckId, Arc<CheckSpec>)>> = Vec::with_capacity(checks.len());
    for (id, spec) in checks {
        match seen.entry(id) {
            Entry::Vacant(place) => {
                place.insert(Some(good.len()));
                good.push(Some((id, spec)));
            }
            Entry::Occupied(mut place) => {
                let Some(first) = *place.get() else { continue };
                if good[first].as_ref().is_none_or(|(_, known)| *known != spec) {
                    place.insert(None);
                    good[first] = None;
                    let reason = "id: comes more than once, with different contents".to_owned();
                    bad.push(Rejection { id: Some(id), reason });
                }
            }
        }
    }
    (good.into_iter().flatten().collect(), bad)
}
