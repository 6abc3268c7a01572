//! Checks as lines of text.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hc_api::{
    Change, CheckDetail, CheckState, Counts, FleetState, OverrideEvent, OverrideState, Phases, ProbeState,
    Transition,
};
use hc_types::Health;

use crate::cli::Sort;

/// Puts checks into an order.
pub(crate) fn sort(checks: &mut [CheckState], by: Sort) {
    let rank = |check: &CheckState| match check.health {
        Health::Unhealthy => 0,
        Health::Unknown => 1,
        Health::Healthy => 2,
    };
    match by {
        Sort::Health => checks.sort_by(|a, b| (rank(a), a.title()).cmp(&(rank(b), b.title()))),
        Sort::Name => checks.sort_by(|a, b| a.title().cmp(b.title())),
        Sort::Since => checks.sort_by_key(|check| std::cmp::Reverse(check.since)),
        Sort::Target => checks.sort_by(|a, b| a.target.cmp(&b.target)),
    }
}

/// The nodes of a fleet, and this node's part in it.
pub(crate) fn fleet(fleet: &FleetState) -> String {
    let mut rows = vec![["NODE", "ZONE", "CAPACITY", "VERSION", "SLOTS", "OPINIONS"].map(str::to_owned)];
    for node in &fleet.nodes {
        let own = if node.name == fleet.node { " (this one)" } else { "" };
        rows.push([
            format!("{}{own}", node.name),
            if node.zone.is_empty() { "-".to_owned() } else { clean(&node.zone) },
            node.capacity.to_string(),
            clean(&node.version),
            node.slots.to_string(),
            node.abstains
                .as_ref()
                .map_or_else(|| "count".to_owned(), |why| format!("do not count: {}", clean(why))),
        ]);
    }
    let mut text = align(&rows);
    let FleetState { node, checks, probed, .. } = fleet;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{node} probes {probed} of {checks} checks");
    if fleet.cut_off {
        let _ = writeln!(text, "{node} is cut off from the fleet: its verdicts are its own");
    }
    text
}

/// A table of checks, with a line of counts below.
pub(crate) fn checks(checks: &[CheckState], now: SystemTime) -> String {
    let mut rows = vec![["CHECK", "HEALTH", "FOR", "TYPE", "TARGET", "LATEST RESULT"].map(str::to_owned)];
    for check in checks {
        let health = health(check);
        rows.push([
            clean(check.title()),
            health,
            check.since.map(|since| ago(now, since)).unwrap_or_else(|| "-".to_owned()),
            check.kind.clone(),
            check.target.clone(),
            clean(&check.message),
        ]);
    }
    let mut text = align(&rows);
    let counts = count(checks);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{} {}: {} healthy, {} unhealthy, {} unknown",
        counts.total,
        if counts.total == 1 { "check" } else { "checks" },
        counts.healthy,
        counts.unhealthy,
        counts.unknown
    );
    if counts.held > 0 {
        let _ = write!(text, "; {} held because of this machine", counts.held);
    }
    if counts.warned > 0 {
        let _ = write!(text, "; {} with a warning", counts.warned);
    }
    text.push('\n');
    text
}

/// The health, and in brackets what is special about it.
fn health(check: &CheckState) -> String {
    let mut words: Vec<String> =
        check.overrides.iter().filter(|order| order.active).map(OverrideState::word).collect();
    let others = check.reported.as_ref().filter(|reported| reported.by != "override");
    words.extend(others.and_then(|reported| Some(format!("{}: {}", reported.by, reported.health?))));
    if check.held.is_some() {
        words.push("held".to_owned());
    }
    if check.warning.is_some() {
        words.push("warning".to_owned());
    }
    match words.is_empty() {
        true => check.health.to_string(),
        false => format!("{} ({})", check.health, words.join(", ")),
    }
}

/// A table of overrides.
pub(crate) fn overrides(overrides: &[OverrideState]) -> String {
    let mut rows = vec![["CHECK", "WHAT", "NOW", "UNTIL", "BY", "REASON"].map(str::to_owned)];
    for order in overrides {
        let until = match (&order.weekly, order.until) {
            (Some(weekly), _) => weekly.clone(),
            (None, Some(until)) => humantime::format_rfc3339_seconds(until).to_string(),
            (None, None) => "ended".to_owned(),
        };
        let now = match (order.active, order.ids.is_empty()) {
            (false, _) => "no",
            (true, false) => "yes",
            (true, true) => "no such check",
        };
        rows.push([
            clean(&order.check),
            order.word(),
            now.to_owned(),
            until,
            clean(&order.by),
            clean(&order.reason),
        ]);
    }
    align(&rows)
}

fn count(checks: &[CheckState]) -> Counts {
    let of = |health| checks.iter().filter(|check| check.health == health).count() as u64;
    let held = checks.iter().filter(|check| check.held.is_some()).count() as u64;
    let warned = checks.iter().filter(|check| check.warning.is_some()).count() as u64;
    let (healthy, unhealthy) = (of(Health::Healthy), of(Health::Unhealthy));
    hc_types::Counts { healthy, unhealthy, unknown: of(Health::Unknown), held, warned }.into()
}

fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One check, a line for each field.
pub(crate) fn check(check: &CheckState, now: SystemTime) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |key: &str, value: String| rows.push([format!("{key}:"), clean(&value)]);
    row("check", check.title().to_owned());
    row("id", check.id.clone());
    for (key, value) in &check.labels {
        row(&format!("label {key}"), value.clone());
    }
    if !check.depends_on.is_empty() {
        row("depends on", check.depends_on.join(", "));
    }
    row("type", check.kind.clone());
    row("target", check.target.clone());
    if let Some(mark) = check.mark {
        row("mode", check.mode.to_string().to_lowercase());
        row("mark", mark.to_string());
    }
    if let Some(backend) = check.backend {
        row("backend", backend.to_string());
    }
    if let Some(resolve) = &check.resolve {
        let addresses: Vec<String> = check.addresses.iter().map(ToString::to_string).collect();
        row("addresses", format!("{resolve} of {}", addresses.join(", ")));
    }
    row("health", check.health.to_string());
    if let Some(reported) = &check.reported {
        let health = reported.health.map_or("nothing".to_owned(), |health| health.to_string());
        row("consumers get", format!("{health} ({})", reported.by));
    }
    for order in &check.overrides {
        row("override", order.sentence());
    }
    if let Some(since) = check.since {
        row("since", format!("{} ({} ago)", humantime::format_rfc3339_seconds(since), ago(now, since)));
    }
    if let Some(held) = &check.held {
        row("held since", humantime::format_rfc3339_seconds(held.since).to_string());
        row("held because", held.message.clone());
    }
    if let Some(last) = check.last_check {
        row("latest probe", format!("{} ({} ago)", humantime::format_rfc3339_seconds(last), ago(now, last)));
        row("took", milliseconds(check.duration_seconds));
    }
    row("result", check.message.clone());
    row("passed", check.successes.to_string());
    row("failed", check.failures.to_string());
    row("interval", seconds(check.interval_seconds));
    row("timeout", seconds(check.timeout_seconds));
    row("retries", check.retries.to_string());
    row("rise", check.rise.to_string());
    for (name, value) in [
        ("fast interval", check.fast_interval_seconds),
        ("down interval", check.down_interval_seconds),
        ("jitter", check.jitter_seconds),
        ("start delay", check.start_delay_seconds),
    ] {
        if let Some(value) = value {
            row(name, seconds(value));
        }
    }
    match (check.failures_needed, check.passes_needed) {
        (Some(failures), _) => row("unhealthy after", format!("{failures} more in a row that fail")),
        (_, Some(passes)) => row("healthy after", format!("{passes} more in a row that pass")),
        _ => {}
    }
    align(&rows)
}

/// One check, and how its probes went.
pub(crate) fn shown(detail: &CheckDetail, now: SystemTime) -> String {
    check(&detail.check, now) + &evidence(detail)
}

/// How long the probes took, and the latest that failed.
fn evidence(detail: &CheckDetail) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(latency) = &detail.latency {
        let _ = writeln!(
            text,
            "\nThe latest probe{}: {}. Weighted mean of all: {}; longest: {}.",
            connection(latency.connection.as_deref()),
            phases(&latency.latest_seconds),
            milliseconds(latency.mean_seconds),
            milliseconds(latency.max_seconds)
        );
    }
    if let Some(failure) = &detail.last_failure {
        let time = humantime::format_rfc3339_millis(failure.time);
        let took = milliseconds(failure.duration_seconds);
        let _ = writeln!(text, "\nThe latest failure, at {time}, after {took}: {}", clean(&failure.message));
        text.push_str(&probe(failure));
    }
    text
}

/// How a connection came about, behind "probe".
fn connection(word: Option<&str>) -> &'static str {
    match word {
        Some("resumed") => " (TLS session resumed)",
        Some("reused") => " (over a kept connection)",
        _ => "",
    }
}

fn phases(phases: &Phases) -> String {
    let named: Vec<String> =
        phases.named().map(|(name, seconds)| format!("{} {}", words(name), milliseconds(seconds))).collect();
    if named.is_empty() { "no phase is known".to_owned() } else { named.join(", ") }
}

/// `first_byte` as `first byte`.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// What one probe saw, indented.
pub(crate) fn probe(probe: &ProbeState) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |key: &str, value: String| rows.push([format!("  {key}:"), clean(&value)]);
    for (name, seconds) in probe.phases_seconds.named() {
        row(&words(name), milliseconds(seconds));
    }
    if let Some(connection) = &probe.connection {
        row("connection", connection.clone());
    }
    if let Some(tls) = &probe.tls {
        if !tls.version.is_empty() {
            row("TLS", format!("{}, {}", tls.version, tls.cipher));
        }
        row("certificate", format!("{} from {}", or_nobody(&tls.subject), or_nobody(&tls.issuer)));
        if let Some((until, days)) = tls.not_after.zip(tls.days_left) {
            row("expires", format!("{} ({days} days left)", humantime::format_rfc3339_seconds(until)));
        }
    }
    if let Some(differs) = &probe.differs {
        row("differs", format!("from byte {} on", differs.offset));
        row("expected", differs.expected.clone());
        row("got", differs.got.clone());
    }
    if let Some(answer) = &probe.answer {
        row("answer", answer.clone());
    }
    row("rule", probe.rule.clone());
    align(&rows)
}

fn or_nobody(name: &str) -> &str {
    if name.is_empty() { "(no name)" } else { name }
}

/// Seconds as milliseconds, with microseconds where there is less than one.
pub(crate) fn milliseconds(seconds: f64) -> String {
    let digits = if seconds < 0.001 { 3 } else { 1 };
    format!("{:.digits$} ms", seconds * 1000.0)
}

/// What can be tried by hand.
fn commands(detail: &CheckDetail) -> String {
    let mut text = String::from("\nTo try it by hand:\n");
    for one in &detail.reproduce {
        let _ = writeln!(text, "  {}", clean(&one.command));
        for note in &one.notes {
            let _ = writeln!(text, "      ({})", clean(note));
        }
    }
    text
}

/// One check with its explanation.
pub(crate) fn explanation(detail: &CheckDetail, now: SystemTime) -> String {
    let mut text = check(&detail.check, now);
    text.push('\n');
    for line in &detail.explanation {
        text.push_str(&clean(line));
        text.push('\n');
    }
    text.push_str(&evidence(detail));
    text.push('\n');
    if detail.own_trouble.is_empty() {
        text.push_str("The checker's own machine: nothing is wrong with it.\n");
    }
    for trouble in &detail.own_trouble {
        let _ = writeln!(text, "The checker's own machine: {}.", clean(trouble));
    }
    if !detail.reproduce.is_empty() {
        text.push_str(&commands(detail));
    }
    if !detail.timeline.is_empty() {
        text.push_str("\nThe latest changes that are still known, of its health and of overrides:\n");
        text.push_str(&timeline(&detail.timeline));
    }
    text
}

/// Changes of one check, which need not say of which.
fn timeline(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let (time, words) = match change {
            Change::Health(change) => (change.time, became(change)),
            Change::Override(event) => (event.time, clean(&event.sentence())),
            _ => continue,
        };
        let _ = writeln!(text, "{} {words}", humantime::format_rfc3339_millis(time));
    }
    text
}

/// A change as a line.
pub(crate) fn change(change: &Change) -> String {
    match change {
        Change::Health(change) => transition(change),
        Change::Override(event) => override_event(event),
        _ => String::new(),
    }
}

fn override_event(event: &OverrideEvent) -> String {
    let time = humantime::format_rfc3339_millis(event.time);
    format!("{time} {}: {}", clean(&event.order.check), clean(&event.sentence()))
}

fn transition(change: &Transition) -> String {
    let time = humantime::format_rfc3339_millis(change.time);
    let (title, target) = (clean(change.title()), &change.target);
    format!("{time} {title} ({target}): {}", became(change))
}

fn became(change: &Transition) -> String {
    format!("{} -> {}: {}", change.from, change.to, clean(&change.message))
}

/// What a backend has said must not move the cursor or colour the terminal.
pub(crate) fn clean(text: &str) -> String {
    let is_plain = |character: char| !character.is_control();
    text.chars().map(|character| if is_plain(character) { character } else { '\u{fffd}' }).collect()
}

fn seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds)
        .map(|time| humantime::format_duration(time).to_string())
        .unwrap_or_default()
}

/// A time span in its two largest units.
fn ago(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_have_two_units() {
        let then = SystemTime::UNIX_EPOCH;
        for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m1s"), (3_700, "1h1m"), (90_000, "1d1h")] {
            assert_eq!(ago(then + Duration::from_secs(seconds), then), text);
        }
        assert_eq!(ago(then, then + Duration::from_secs(5)), "0s", "clocks differ");
    }

    #[test]
    fn what_a_backend_says_does_not_reach_the_terminal_raw() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\u{fffd}c");
    }
}
