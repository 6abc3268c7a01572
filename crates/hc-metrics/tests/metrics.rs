//! The metrics as Prometheus' own tool reads them.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hc_metrics::{
    Check, CheckSeries, Confined, Fleet, Format, Guard, Histogram, Metrics, Reloads, Sandbox, Shard, Sink,
    Snapshot, Snapshots, Source, Spans,
};
use hc_types::{
    CheckId, CheckSpec, Counts, Evidence, Failure, Health, Held, Incarnation, LocalFault, Metadata,
    Observer as _, Outcome, PhaseTimes, ProbeSpec, Progress, Status, StatusUpdate, Target, TcpProbe, Timing,
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
        evidence: Evidence {
            phases: PhaseTimes { connect: 700, ..PhaseTimes::default() },
            ..Evidence::default()
        },
    }
}

fn snapshot() -> Snapshot {
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
    Snapshot {
        started: Some(at),
        ready: true,
        checks: Counts { healthy: 2, unhealthy: 1, unknown: 0, held: 1, warned: 2 },
        shards: vec![Shard {
            checks: 3,
            in_flight: 1,
            waiting: 2,
            started: 5,
            busy: Duration::from_millis(1500),
            late: Duration::from_millis(4),
            heartbeat: at,
        }],
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
        guard: Some(Guard { alarms: 2, held: 40 }),
        fleet: Some(Fleet {
            nodes: 3,
            abstaining: 1,
            abstains: false,
            cut_off: true,
            checks: 90,
            probed: 31,
            leases_lost: 4,
            failed_requests: 5,
            objects_written: 6,
        }),
        snapshots: Snapshots { failing: true, failures: 3, last_success: Some(at) },
        overrides: vec![("force", 2), ("mute", 0)],
        started_probes: 9,
        waiting: 2,
        lateness: Histogram {
            buckets: vec![(Duration::from_millis(1), 5), (Duration::from_millis(10), 2)],
            sum: Duration::from_millis(30),
            count: 8,
        },
        stalls: (2, Duration::from_millis(1500)),
        episodes: vec![("local_ports", 3), ("local_late", 0)],
        held: vec![("local_ports", 6)],
        reloads: Some(Reloads { applied: 2, wrong: 1, short: 0, is_wrong: true, last_success: at }),
        sandbox: Sandbox { capabilities: Confined::Full, files: Confined::Partial, syscalls: Confined::None },
        check_series: CheckSeries { checks: vec![named(), check(7, Health::Unknown)], left_out: 4 },
        spans: Some(Spans { exported: 5, dropped: 1, rejected: 0 }),
    }
}

/// A check with series of its own.
fn check(id: u64, health: Health) -> Check {
    let StatusUpdate { spec, status, progress, .. } = update(id, Outcome::PASS, None, false);
    let is_new = health == Health::Unknown;
    let status = if is_new { Status::NEW } else { Status { health, ..status } };
    let progress = if is_new { Progress::default() } else { progress };
    Check { id: CheckId(id), metadata: None, spec, status, progress }
}

fn named() -> Check {
    let labels = [("group", "web"), ("a-b", "1"), ("a.b", "2"), ("odd", "\"}\\\n")];
    let metadata = Metadata {
        name: Some("web/192.0.2.1:80".into()),
        labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
        metrics: true,
        ..Metadata::default()
    };
    let mut check = check(6, Health::Unhealthy);
    (check.status.successes, check.status.failures) = (3, 2);
    check.status.last_check = Some(UNIX_EPOCH);
    check.progress.since = Some(UNIX_EPOCH + Duration::from_secs(5));
    Check { metadata: Some(Arc::new(metadata)), ..check }
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
    let text = metrics().render(Format::Prometheus, snapshot());
    for line in [
        "hc_probes_total{type=\"tcp\"} 3",
        "hc_probes_total{type=\"dns\"} 0",
        "hc_probe_failures_total{type=\"tcp\",reason=\"refused\"} 2",
        "hc_probe_failures_total{type=\"http\",reason=\"status\"} 0",
        "hc_probes_inconclusive_total{reason=\"local_ports\"} 1",
        "hc_probe_duration_seconds_bucket{type=\"tcp\",le=\"0.0025\"} 0",
        "hc_probe_duration_seconds_bucket{type=\"tcp\",le=\"0.005\"} 3",
        "hc_probe_duration_seconds_count{type=\"tcp\"} 3",
        "hc_probe_phase_duration_seconds_bucket{type=\"tcp\",phase=\"connect\",le=\"0.0005\"} 0",
        "hc_probe_phase_duration_seconds_bucket{type=\"tcp\",phase=\"connect\",le=\"0.001\"} 3",
        "hc_probe_phase_duration_seconds_count{type=\"tcp\",phase=\"tls\"} 0",
        "hc_transitions_total{to=\"unhealthy\"} 1",
        "hc_checks{health=\"healthy\"} 2",
        "hc_checks_held 1",
        "hc_checks_warned 2",
        "hc_dependents_held 5",
        "hc_guard_alarms 2",
        "hc_guard_held 40",
        "hc_fleet_nodes 3",
        "hc_fleet_abstaining_nodes 1",
        "hc_fleet_abstains 0",
        "hc_fleet_cut_off 1",
        "hc_fleet_checks 90",
        "hc_fleet_probed_checks 31",
        "hc_fleet_leases_lost_total 4",
        "hc_fleet_store_failures_total 5",
        "hc_fleet_objects_written_total 6",
        "hc_snapshot_failing 1",
        "hc_snapshot_failures_total 3",
        "hc_snapshot_last_success_timestamp_seconds 1700000000.5",
        "hc_reload_last_wrong 1",
        "hc_overrides{kind=\"force\"} 2",
        "hc_overrides{kind=\"mute\"} 0",
        "hc_shard_heartbeat_timestamp_seconds{shard=\"0\"} 1700000000.5",
        "hc_shard_checks_waiting{shard=\"0\"} 2",
        "hc_shard_probes_started_total{shard=\"0\"} 5",
        "hc_shard_busy_seconds_total{shard=\"0\"} 1.5",
        "hc_shard_lateness_p99_seconds{shard=\"0\"} 0.004",
        "hc_sink_batches_total{sink=\"odd \\\"} # {name\\\\\"} 7",
        "hc_source_rejected_checks 4",
        "hc_build_info{version=\"1.2.3\"} 1",
        "hc_probes_started_total 9",
        "hc_probes_waiting 2",
        "hc_probe_lateness_seconds_bucket{le=\"0.001\"} 5",
        "hc_probe_lateness_seconds_bucket{le=\"0.01\"} 7",
        "hc_probe_lateness_seconds_bucket{le=\"+Inf\"} 8",
        "hc_probe_lateness_seconds_sum 0.03",
        "hc_probe_lateness_seconds_count 8",
        "hc_shard_stalls_total 2",
        "hc_shard_stalled_seconds_total 1.5",
        "hc_inconclusive_episodes_total{reason=\"local_ports\"} 3",
        "hc_inconclusive_episodes_total{reason=\"local_late\"} 0",
        "hc_inconclusive_checks{reason=\"local_ports\"} 6",
        "hc_reloads_total{result=\"applied\"} 2",
        "hc_reloads_total{result=\"wrong\"} 1",
        "hc_reloads_total{result=\"shortage\"} 0",
        "hc_reload_last_success_timestamp_seconds 1700000000.5",
        "hc_sandbox{part=\"capabilities\",state=\"full\"} 1",
        "hc_sandbox{part=\"files\",state=\"full\"} 0",
        "hc_sandbox{part=\"files\",state=\"partial\"} 1",
        "hc_sandbox{part=\"syscalls\",state=\"none\"} 1",
        "hc_check_series_left_out 4",
        "hc_spans_total{result=\"exported\"} 5",
        "hc_spans_total{result=\"dropped\"} 1",
        "hc_check_info{check=\"web/192.0.2.1:80\",id=\"6\",type=\"tcp\",address=\"192.0.2.1\",port=\"80\",label_group=\"web\",label_a_b=\"1\",label_odd=\"\\\"}\\\\\\n\"} 1",
        "hc_check_info{check=\"7\",id=\"7\",type=\"tcp\",address=\"192.0.2.1\",port=\"80\"} 1",
        "hc_check_healthy{check=\"web/192.0.2.1:80\"} 0",
        "hc_check_held{check=\"7\"} 0",
        "hc_check_probes_total{check=\"web/192.0.2.1:80\"} 5",
        "hc_check_probe_failures_total{check=\"web/192.0.2.1:80\"} 2",
        "hc_check_last_probe_duration_seconds{check=\"web/192.0.2.1:80\"} 0.003",
        "hc_check_health_since_timestamp_seconds{check=\"web/192.0.2.1:80\"} 5.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("EOF"));
    assert!(!text.contains("hc_check_healthy{check=\"7\"}"), "its health is not known");
}

#[test]
fn exemplars_name_the_check_that_failed() {
    let text = metrics().render(Format::OpenMetrics, snapshot());
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
    let text = metrics().render(Format::Prometheus, snapshot());
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
