//! The state machine: each row is a script of answers, and the states that Seesaw's table makes of
//! it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::backend::{Backend, LATE, Protocol, Reply};
use super::side::{Event, Kind, Side};
use super::verdict;

/// A script in letters (right, wrong, never, closed, late), and the states that the engine is told.
struct Row {
    name: &'static str,
    retries: u64,
    script: &'static str,
    states: &'static [&'static str],
}

const HEALTHY: &str = "healthy";
const UNHEALTHY: &str = "unhealthy";

const ROWS: &[Row] = &[
    Row { name: "first-success", retries: 0, script: "r", states: &[HEALTHY] },
    Row { name: "first-failure", retries: 0, script: "w", states: &[UNHEALTHY] },
    Row { name: "first-failure-whatever-the-retries", retries: 5, script: "w", states: &[UNHEALTHY] },
    Row { name: "down-at-once", retries: 0, script: "rrwr", states: &[HEALTHY, UNHEALTHY, HEALTHY] },
    Row { name: "two-failures-survived", retries: 2, script: "rwwrwwrwwr", states: &[HEALTHY] },
    Row { name: "third-failure-counts", retries: 2, script: "rwww", states: &[HEALTHY, UNHEALTHY] },
    Row { name: "back-on-one-success", retries: 2, script: "rwwwwr", states: &[HEALTHY, UNHEALTHY, HEALTHY] },
    Row {
        name: "back-and-down",
        retries: 1,
        script: "rwwrwrww",
        states: &[HEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY],
    },
    Row { name: "unhealthy-stays", retries: 5, script: "wwwwr", states: &[UNHEALTHY, HEALTHY] },
    Row {
        name: "retries-count-from-healthy-alone",
        retries: 3,
        script: "wwrwwww",
        states: &[UNHEALTHY, HEALTHY, UNHEALTHY],
    },
    Row { name: "timeout-is-a-failure", retries: 0, script: "rn", states: &[HEALTHY, UNHEALTHY] },
    Row { name: "first-timeout", retries: 3, script: "n", states: &[UNHEALTHY] },
    Row { name: "late-is-not-a-failure", retries: 0, script: "lllw", states: &[HEALTHY, UNHEALTHY] },
    Row { name: "slow-after-failure", retries: 0, script: "wl", states: &[UNHEALTHY, HEALTHY] },
    Row { name: "closed-is-a-failure", retries: 0, script: "rcr", states: &[HEALTHY, UNHEALTHY, HEALTHY] },
];

fn replies(script: &str) -> Vec<Reply> {
    let reply = |letter| match letter {
        'r' => Reply::Right,
        'w' => Reply::Wrong,
        'n' => Reply::Never,
        'c' => Reply::Closed,
        _ => Reply::Late,
    };
    script.chars().map(reply).collect()
}

/// All rows over all protocols; an id above 2^63 for each, as an engine with a high process id
/// gives.
fn checks() -> impl Iterator<Item = (u64, Protocol, &'static Row)> {
    const FIRST: u64 = (1 << 63) + 1;

    let rows = Protocol::ALL.into_iter().flat_map(|protocol| ROWS.iter().map(move |row| (protocol, row)));
    // Over UDP nothing is closed; that is silence, which is there already.
    let rows = rows.filter(|(protocol, row)| *protocol != Protocol::Udp || !row.script.contains('c'));
    (FIRST..).zip(rows).map(|(id, (protocol, row))| (id, protocol, row))
}

/// A check as the engine has it. What is decided by the timeout has a short one.
pub(super) fn check(id: u64, backend: &Backend, retries: i64, timeout: &str, fields: Value) -> Value {
    let mut check = json!({
        "id": id, "interval": "200ms", "timeout": timeout, "retries": retries,
        "ip": backend.address.ip(), "port": backend.address.port(),
    });
    if let (Some(all), Value::Object(own)) = (check.as_object_mut(), fields) {
        all.extend(own);
    }
    check
}

/// One step of a check, as the engine learns of it: the state, and the counters with it.
pub(super) type Step = (String, u64, u64);

/// The changes of state of a check, in order.
pub(super) fn steps(events: &[Event], id: u64) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for event in events.iter().filter(|event| event.event == "notification" && event.id == id) {
        // Seesaw tells of checks that have not run yet; that is no step.
        if event.state != "unknown" && steps.last().is_none_or(|(state, ..)| *state != event.state) {
            steps.push((event.state.clone(), event.failures, event.successes));
        }
    }
    steps
}

/// What one side told the engine, check by check, and what is wrong with it in itself.
pub(super) struct Told {
    steps: Vec<Vec<Step>>,
    problems: Vec<String>,
}

/// Plays all rows on one side.
pub(super) fn run(kind: Kind, programs: &Path) -> Result<Told> {
    let mut backends = Vec::new();
    let mut set = Vec::new();
    for (id, protocol, row) in checks() {
        let backend = Backend::start(protocol, &replies(row.script))?;
        let timeout = if row.script.contains('n') { "500ms" } else { "20s" };
        set.push(check(id, &backend, i64::try_from(row.retries)?, timeout, protocol.check()));
        backends.push(backend);
    }
    let side = Side::start(kind, programs, None, &set)?;
    let events = side.wait("every script to be played", |events| {
        checks().all(|(id, _, row)| {
            let played = |event: &Event| event.id == id && event.probes() > row.script.len() as u64;
            events.iter().rev().any(played)
        })
    })?;
    let mut told = Told { steps: Vec::new(), problems: Vec::new() };
    for ((id, protocol, row), backend) in checks().zip(&backends) {
        told.steps.push(steps(&events, id));
        for event in events.iter().filter(|event| event.event == "notification" && event.id == id) {
            if let Err(error) = times_are_right(event, row, backend) {
                told.problems.push(format!("{kind:?} {protocol:?} {}: {error:#}; {event:?}", row.name));
            }
        }
    }
    Ok(told)
}

/// `last_check` is when the last check began, `duration` how long it took: it began before the
/// backend had answered, and not before the answer to the check before it.
fn times_are_right(event: &Event, row: &Row, backend: &Backend) -> Result<()> {
    let n = event.probes();
    // Where a deadline decides, a probe may be repeated that does not count, and the backend's log
    // has one more.
    if n == 0 || row.script.contains('n') {
        return Ok(());
    }
    let [asked, answered] = backend.answered(n).context("told of a check that the backend did not see")?;
    let began = event.last_check()?;
    ensure!(began <= answered, "last_check is after the answer");
    if let Some([before, _]) = backend.answered(n - 1) {
        ensure!(began >= before, "last_check is before the check before it");
    }
    if row.script.as_bytes().get(usize::try_from(n)? - 1) == Some(&b'l') {
        ensure!(began <= asked + LATE / 2, "last_check is not when the check began");
        ensure!(event.duration()? >= LATE, "duration is shorter than the check");
    }
    Ok(())
}

/// Holds both sides against the table, and so against each other.
pub(super) fn compare([seesaw, ours]: &[Told; 2]) -> Result<String> {
    let mut problems: Vec<String> = seesaw.problems.iter().chain(&ours.problems).cloned().collect();
    for (((_, protocol, row), seesaw), ours) in checks().zip(&seesaw.steps).zip(&ours.steps) {
        for (side, steps) in [("Seesaw", seesaw), ("we", ours)] {
            let states: Vec<&str> =
                steps.iter().map(|(state, ..)| state.as_str()).take(row.states.len()).collect();
            if states != row.states {
                problems.push(format!("{protocol:?} {}: {side} told {steps:?}", row.name));
            }
        }
        let first = |steps: &[Step]| steps.iter().take(row.states.len()).cloned().collect::<Vec<_>>();
        if first(seesaw) != first(ours) {
            problems.push(format!("{protocol:?} {}: Seesaw told {seesaw:?}, we told {ours:?}", row.name));
        }
    }
    verdict(&problems)?;
    Ok(format!("{} scripts of the state table: states and counters agree", checks().count()))
}
