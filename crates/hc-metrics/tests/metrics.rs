//! The metrics as Prometheus' own tool reads them.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hc_metrics::{Format, Metrics, Shard, Sink, Snapshot, Source};
use hc_types::{
    CheckId, CheckSpec, Counts, Evidence, Failure, Health, Held, Incarnation, LocalFault, Observer as _,
    Outcome, PhaseTimes, ProbeSpec, Progress, Status, StatusUpdate, Target, TcpProbe, Timing,
};

fn update(id: u64, outcome: Outcome, held: Option<LocalFault>, transition: bool) -> StatusUpdate {
    let second = Duration::from_secs(1);
    let target = Target::plain([192, 0, 2, 1].into(), 80);
    let spec =
        CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), Timing::every(second).timeout(second))
            .unwrap();
    let health = if matches!(outcome, Outcome::Pass(_)) { Health::Healthy } else { Health::Unhealthy };
    let held = held.map(|fault| Box::new(Held { fault, since: UNIX_EPOCH }));
    let duration = Duration::from_millis(3);
    let status = Status { health, duration, outcome: Some(outcome), held, ..Status::NEW };
    StatusUpdate {
        id: CheckId(id),
        incarnation: Incarnation(0),
        spec: Arc::new(spec),
        status,
        transition,
        reportable: true,
        progress: Progress { next_due: Some(UNIX_EPOCH), ..Progress::default() },
        evidence: Evidence { phases: PhaseTimes { connect: 700, ..PhaseTimes::default() }, seen: None },
    }
}

fn snapshot() -> Snapshot {
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
    Snapshot {
        started: Some(at),
        ready: true,
        checks: Counts { healthy: 2, unhealthy: 1, unknown: 0, held: 1 },
        shards: vec![Shard { checks: 3, in_flight: 1, heartbeat: at }],
        sinks: vec![Sink {
            failing: true,
            name: "odd \"} # {name\\".into(),
            pending: 1,
            oldest_pending: Some(at),
            delivered: 7,
            failed: 2,
        }],
        source: Source { applied: Some(at), applied_total: 1, rejected: 4 },
        results: vec![("pass", 5), ("local_ports", 1)],
        transitions: (7, 1),
        dependents_held: 5,
        overrides: vec![("force", 2), ("mute", 0)],
    }
}

fn metrics() -> Metrics {
    let metrics = Metrics::new("1.2.3");
    let mut of_no_probe = update(4, Outcome::PASS, None, false);
    of_no_probe.progress.next_due = None;
    metrics.updates(&[
        of_no_probe,
        update(1, Outcome::PASS, None, true),
        update(2, Outcome::Fail(Failure::Refused), None, true),
        update(2, Outcome::Fail(Failure::Refused), None, false),
        update(3, Outcome::PASS, Some(LocalFault::Ports), false),
    ]);
    metrics
}

#[test]
fn what_was_counted_is_shown() {
    let text = metrics().render(Format::Prometheus, &snapshot());
    for line in [
        "hc_probes_total{type=\"tcp\"} 3",
        "hc_probes_total{type=\"dns\"} 0",
        "hc_probe_failures_total{type=\"tcp\",reason=\"refused\"} 2",
        "hc_probe_failures_total{type=\"http\",reason=\"status\"} 0",
        "hc_probes_inconclusive_total{reason=\"local_ports\"} 1",
        "hc_probe_duration_seconds_bucket{le=\"0.0025\",type=\"tcp\"} 0",
        "hc_probe_duration_seconds_bucket{le=\"0.005\",type=\"tcp\"} 3",
        "hc_probe_duration_seconds_count{type=\"tcp\"} 3",
        "hc_probe_phase_duration_seconds_bucket{le=\"0.0005\",type=\"tcp\",phase=\"connect\"} 0",
        "hc_probe_phase_duration_seconds_bucket{le=\"0.001\",type=\"tcp\",phase=\"connect\"} 3",
        "hc_probe_phase_duration_seconds_count{type=\"tcp\",phase=\"tls\"} 0",
        "hc_transitions_total{to=\"unhealthy\"} 1",
        "hc_checks{health=\"healthy\"} 2",
        "hc_checks_held 1",
        "hc_dependents_held 5",
        "hc_overrides{kind=\"force\"} 2",
        "hc_overrides{kind=\"mute\"} 0",
        "hc_shard_heartbeat_timestamp_seconds{shard=\"0\"} 1700000000.5",
        "hc_sink_batches_total{sink=\"odd \\\"} # {name\\\\\"} 7",
        "hc_source_rejected_checks 4",
        "hc_build_info{version=\"1.2.3\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("EOF"));
}

#[test]
fn exemplars_name_the_check_that_failed() {
    let text = metrics().render(Format::OpenMetrics, &snapshot());
    let line = "hc_probe_failures_total{type=\"tcp\",reason=\"refused\"} 2 # {check=\"2\"} 1.0";
    assert!(text.lines().any(|found| found.starts_with(line)), "{text}");
    assert_eq!(text.matches("# EOF\n").count(), 1);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let mut promtool = Command::new("promtool");
    let promtool = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool is needed: `cargo xtask setup` installs it");
    let text = metrics().render(Format::Prometheus, &snapshot());
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
