//! What happens when the engine's checks change.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::backend::{Backend, Protocol, Reply};
use super::rows::{check, steps};
use super::side::{Event, Kind, Side};
use super::{both, verdict};

const OTHER: u64 = 7;
const CHANGING: u64 = 8;

fn last(events: &[Event], id: u64) -> Option<&Event> {
    events.iter().rev().find(|event| event.event == "notification" && event.id == id)
}

fn fetches(events: &[Event]) -> usize {
    events.iter().filter(|event| event.event == "fetch").count()
}

/// Runs every change on both sides.
pub(super) fn run(programs: &Path) -> Result<()> {
    both(|kind| changes(kind, programs))?;
    same_id_other_backend(programs)?;
    bad_checks(programs)
}

/// Added, lowered retries, removed, all removed, added again: the same on both sides.
fn changes(kind: Kind, programs: &Path) -> Result<()> {
    let other = Backend::start(Protocol::Tcp, &[Reply::Right])?;
    let dying = Backend::start(Protocol::Tcp, &[Reply::Right, Reply::Wrong])?;
    let other = || check(OTHER, &other, 0, "20s", Protocol::Tcp.check());
    let dying = |retries| check(CHANGING, &dying, retries, "20s", Protocol::Tcp.check());
    let side = Side::start(kind, programs, None, &[other()])?;
    side.wait("the first check", |events| last(events, OTHER).is_some_and(|event| event.state == "healthy"))?;

    side.set(&[other(), dying(1_000_000)])?;
    let survived = |event: &Event| event.failures >= 3 && event.state == "healthy";
    side.wait("failures that are survived", |events| last(events, CHANGING).is_some_and(survived))?;
    side.set(&[other(), dying(1)])?;
    let events = side.wait("lowered retries to count", |events| {
        last(events, CHANGING).is_some_and(|event| event.state == "unhealthy")
    })?;
    let states: Vec<String> = steps(&events, CHANGING).into_iter().map(|(state, ..)| state).collect();
    ensure!(states == ["healthy", "unhealthy"], "{kind:?}: {states:?}");
    let counted = last(&events, CHANGING).map(|event| event.successes);
    ensure!(counted == Some(1), "{kind:?}: the counters were lost: {counted:?}");

    set_without(kind, &side, &[other()], CHANGING)?;
    set_without(kind, &side, &[], OTHER)?;
    // A check that comes back under its old id is told again.
    let before = side.events().len();
    side.set(&[other()])?;
    side.wait("the check to come back", |events| {
        last(&events[before..], OTHER).is_some_and(|event| event.state == "healthy")
    })?;
    Ok(())
}

/// Gives the engine a set without this check. Once it has taken effect everywhere, nothing more is
/// told of the check.
fn set_without(kind: Kind, side: &Side, checks: &[Value], id: u64) -> Result<()> {
    /// The set is fetched, put into effect, and a batch may be on its way: two seconds.
    const FETCHES: usize = 4;

    let read = |events: &[Event]| events.iter().filter(|event| event.event == "checks").count();
    let before = read(&side.events());
    side.set(checks)?;
    let events = side.wait("the engine to read the set", |events| read(events) > before)?;
    let enough = fetches(&events) + FETCHES;
    let settled = side.wait("the set to take effect", |events| fetches(events) >= enough)?.len();
    // Everything that is known is told again within a second, so this is long enough to hear of it.
    let events = side.wait("some fetches more", |events| fetches(events) >= enough + FETCHES)?;
    ensure!(last(&events[settled..], id).is_none(), "{kind:?}: {id} is told of though it is gone");
    Ok(())
}

/// An id that comes to mean another backend. Seesaw keeps the state, and until the next check puts
/// a dead backend where a living one was; we begin again. Both end at the truth.
fn same_id_other_backend(programs: &Path) -> Result<()> {
    let told = both(|kind| {
        let living = Backend::start(Protocol::Tcp, &[Reply::Right])?;
        let dead = Backend::start(Protocol::Tcp, &[Reply::Wrong])?;
        // With many retries Seesaw takes its time to see that it is another one.
        let side =
            Side::start(kind, programs, None, &[check(CHANGING, &living, 5, "20s", Protocol::Tcp.check())])?;
        side.wait("the living one", |events| {
            last(events, CHANGING).is_some_and(|event| event.state == "healthy")
        })?;
        side.set(&[check(CHANGING, &dead, 5, "20s", Protocol::Tcp.check())])?;
        side.wait("the dead one", |events| {
            last(events, CHANGING).is_some_and(|event| event.state == "unhealthy")
        })
        .map(|events| steps(&events, CHANGING))
    })?;
    let [seesaw, ours] =
        told.map(|steps| steps.last().map(|(_, failures, successes)| (*failures, *successes)));
    let mut problems = Vec::new();
    // Seesaw counts on: six failures, after the successes of another backend.
    if !seesaw.is_some_and(|(failures, successes)| failures == 6 && successes > 0) {
        problems.push(format!("Seesaw is said to keep state and counters, and told {seesaw:?}"));
    }
    if ours != Some((1, 0)) {
        problems.push(format!("we are said to begin again, and told {ours:?}"));
    }
    verdict(&problems)
}

/// Checks that make no sense. Each ends Seesaw's process, or is never healthy or never unhealthy
/// there; here each is left out alone, and the check beside it goes on.
fn bad_checks(programs: &Path) -> Result<()> {
    let mut problems = Vec::new();
    for (name, seesaw_ends, fields) in [
        ("interval-zero", true, json!({"interval": "0s"})),
        ("method-with-a-space", true, json!({"checker_type": "http", "method": "GE T", "receive": null})),
        ("timeout-zero", false, json!({"timeout": "0s"})),
        ("retries-negative", false, json!({"retries": -1})),
    ] {
        let told = both(|kind| {
            let (good, bad) = (
                Backend::start(Protocol::Tcp, &[Reply::Right])?,
                Backend::start(Protocol::Tcp, &[Reply::Right, Reply::Wrong])?,
            );
            let mut odd = check(CHANGING, &bad, 0, "20s", Protocol::Tcp.check());
            if let (Some(all), Some(own)) = (odd.as_object_mut(), fields.as_object()) {
                all.extend(own.clone());
                all.retain(|_, value| !value.is_null());
            }
            let set = [check(OTHER, &good, 0, "20s", Protocol::Tcp.check()), odd];
            let mut side = Side::start(kind, programs, None, &set)?;
            if kind == Kind::Seesaw && seesaw_ends {
                side.wait_for_end("seesaw_healthcheck")?;
                return Ok((true, Vec::new()));
            }
            // Long enough for the odd one to have had its turn, too.
            side.wait("the good one", |events| {
                last(events, OTHER).is_some_and(|event| event.successes >= 10)
            })?;
            Ok((side.has_ended("seesaw_healthcheck"), steps(&side.events(), CHANGING)))
        })?;
        let [(ended, seesaw), (_, ours)] = told;
        if ended != seesaw_ends {
            problems.push(format!("{name}: Seesaw's process ended: {ended}"));
        }
        if !ours.is_empty() {
            problems.push(format!("{name}: we told {ours:?} of a check that is refused"));
        }
        let expected: &[&str] = match name {
            "timeout-zero" => &["unhealthy"],
            "retries-negative" => &["healthy"],
            _ => &[],
        };
        let states: Vec<&str> = seesaw.iter().map(|(state, ..)| state.as_str()).collect();
        if !seesaw_ends && states != expected {
            problems.push(format!("{name}: Seesaw told {seesaw:?}"));
        }
    }
    verdict(&problems)
}
