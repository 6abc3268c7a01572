//! Overrides, and what happens to them, as the API and the sinks show them.

use hc_api::{OverrideChange as Change, OverrideEvent, OverrideState};
use hc_pipeline::Standing;
use hc_sources::Directory;
use hc_types::{Metadata, Override, Subject};
use hc_view::{OverrideChange, OverrideStep};

/// An override, with the checks that it is of.
pub(crate) fn override_state(standing: &Standing) -> OverrideState {
    let ids = standing.checks.iter().map(|id| id.0).collect();
    OverrideState::new(&standing.order, standing.is_open, standing.next, ids)
}

/// A change of an override, with what its check is called.
pub(crate) fn override_event(change: &OverrideChange, directory: &Directory) -> OverrideEvent {
    let OverrideChange { sequence, at, step, order, is_open, next, checks } = change;
    let (label, ended_by) = match step {
        OverrideStep::Set => (Change::Set, None),
        OverrideStep::Opened => (Change::Opened, None),
        OverrideStep::Closed => (Change::Closed, None),
        OverrideStep::Withdrawn(by) => (Change::Withdrawn, Some(by)),
        OverrideStep::Expired => (Change::Expired, None),
    };
    let state = OverrideState::new(order, *is_open, *next, checks.iter().map(|id| id.0).collect());
    let metadata = metadata(change, directory);
    let labels = metadata.labels.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    OverrideEvent::new(*sequence, *at, label, state).of(metadata.name.as_deref(), labels).ended_by(ended_by)
}

/// What the check of an override is called. Of a check that does not run only the name is known.
/// Checks without a name have nothing in common but what they check.
pub(crate) fn metadata(change: &OverrideChange, directory: &Directory) -> Metadata {
    let Override { subject: Subject::Name(name), .. } = &*change.order else { return Metadata::default() };
    let known = change.checks.first().and_then(|id| directory.get(*id));
    let labels = known.map(|metadata| metadata.labels.clone()).unwrap_or_default();
    Metadata { name: Some((**name).into()), labels, ..Metadata::default() }
}
