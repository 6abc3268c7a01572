//! The pages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::CommandFactory as _;
use hc_metrics::{
    Check, CheckSeries, Fleet, Format, Guard, Histogram, Metrics, Reloads, Sandbox, Shard, Sink, Snapshot,
    Snapshots, Source, Spans,
};
use hc_server::cli::Cli;
use hc_types::{CheckId, CheckSpec, Health, Metadata, ProbeSpec, Progress, Status, Target, Timing};
use serde_json::Value;

use crate::keys::{Section, sections};

const MADE: &str = "This page is made from the program (`cargo xtask reference`).";

/// Names below `docs/reference`, and texts.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    vec![("hc-server.md", settings()), ("admin-api.md", admin_api()), ("metrics.md", metrics())]
}

/// A row of a table.
fn row(text: &mut String, cells: &[&str]) {
    text.push('|');
    for cell in cells {
        // Writing to a String cannot fail.
        let _ = write!(text, " {} |", cell.replace('|', "\\|").replace('\n', " "));
    }
    text.push('\n');
}

fn head(text: &mut String, cells: &[&str]) {
    row(text, cells);
    row(text, &vec!["---"; cells.len()]);
}

fn settings() -> String {
    let mut text = format!(
        "# Settings of hc-server\n\n{MADE} [configuration](../configuration.md) says how they go together.\n\n## Command line\n\n"
    );
    head(&mut text, &["option", "meaning"]);
    for argument in Cli::command().get_arguments().filter(|argument| !argument.is_hide_set()) {
        let Some(long) = argument.get_long() else { continue };
        let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
        let value = value.and_then(<[_]>::first).map(|value| format!(" {value}")).unwrap_or_default();
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        row(&mut text, &[&format!("`--{long}{value}`"), &help]);
    }
    row(&mut text, &["`--help`", "Print help."]);
    row(&mut text, &["`--version`", "Print version."]);
    text.push_str("\n## Keys\n\nDurations are strings such as `\"100ms\"`, `\"15s\"` or `\"1m 30s\"`. Where no default is named, a key that is absent means none.\n");
    for section in sections() {
        of_section(&mut text, &section);
    }
    text
}

fn of_section(text: &mut String, Section { name, is_list, doc, keys }: &Section) {
    let title = if *is_list { format!("[[{name}]]") } else { format!("[{name}]") };
    let _ = write!(text, "\n### `{title}`\n\n");
    if !doc.is_empty() {
        let _ = write!(text, "{doc}\n\n");
    }
    if *is_list {
        head(text, &["key", "value", "meaning"]);
    } else {
        head(text, &["key", "value", "in the environment", "meaning"]);
    }
    for key in keys {
        let quoted = format!("`{}`", key.name);
        let variable = format!("`{}{}_{}`", hc_server::config::PREFIX, name, key.name).to_uppercase();
        if *is_list {
            row(text, &[&quoted, &key.kind, &key.doc]);
        } else {
            row(text, &[&quoted, &key.kind, &variable, &key.doc]);
        }
    }
}

fn admin_api() -> String {
    let document: Value = serde_json::from_str(&hc_admin::openapi()).expect("the document is JSON");
    let mut text = format!(
        "# Admin API\n\n{MADE} [admin](../admin.md) says how to reach it. The server itself has it as OpenAPI 3.1, with the form of every answer: `GET /api/v1/openapi.json`. \
         What changes something (`POST`, `PUT`, `DELETE`) exists on the Unix socket only.\n\n"
    );
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
    });
    let operations: Vec<_> = operations.collect();
    let summary = |operation: &Value| operation["summary"].as_str().unwrap_or_default().to_owned();
    head(&mut text, &["endpoint", "answers with", "does"]);
    for (path, method, operation) in &operations {
        let kinds = operation["responses"]["200"]["content"].as_object();
        let kinds =
            kinds.map(|kinds| kinds.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
        row(&mut text, &[&format!("`{} {path}`", method.to_uppercase()), &kinds, &summary(operation)]);
    }
    for (path, method, operation) in &operations {
        let Some(parameters) = operation["parameters"].as_array().filter(|some| !some.is_empty()) else {
            continue;
        };
        let _ = write!(text, "\n## `{} {path}`\n\n", method.to_uppercase());
        head(&mut text, &["parameter", "in", "meaning"]);
        for parameter in parameters {
            let word = |key: &str| parameter[key].as_str().unwrap_or_default();
            row(&mut text, &[&format!("`{}`", word("name")), word("in"), word("description")]);
        }
    }
    text
}

/// What the server has to say when there is one of everything. Every field is named, so that nobody
/// adds one and forgets the page.
fn snapshot() -> Snapshot {
    let now = SystemTime::UNIX_EPOCH;
    Snapshot {
        started: Some(now),
        shards: vec![Shard {
            checks: 1,
            in_flight: 1,
            waiting: 1,
            started: 1,
            busy: Duration::from_secs(1),
            late: Duration::from_secs(1),
            heartbeat: now,
        }],
        sinks: vec![Sink {
            failing: false,
            name: "hc-proxy".to_owned(),
            pending: 1,
            oldest_pending: Some(now),
            delivered: 1,
            failed: 1,
        }],
        source: Source { applied: Some(now), applied_total: 1, rejected: 1 },
        results: vec![("local_descriptors", 1)],
        ready: true,
        checks: hc_types::Counts::default(),
        transitions: (1, 1),
        overrides: vec![("force", 1)],
        dependents_held: 1,
        guard: Some(Guard::default()),
        fleet: Some(Fleet::default()),
        snapshots: Snapshots { last_success: Some(now), ..Snapshots::default() },
        started_probes: 1,
        waiting: 1,
        lateness: Histogram {
            buckets: vec![(Duration::from_millis(1), 1)],
            sum: Duration::from_millis(1),
            count: 1,
        },
        stalls: (1, Duration::from_secs(1)),
        episodes: vec![("local_descriptors", 1)],
        held: vec![("local_descriptors", 1)],
        reloads: Some(Reloads { applied: 1, wrong: 1, short: 1, is_wrong: false, last_success: now }),
        sandbox: Sandbox::default(),
        check_series: CheckSeries { checks: vec![check(now)], left_out: 1 },
        spans: Some(Spans::default()),
    }
}

/// A check of which everything is known.
fn check(now: SystemTime) -> Check {
    let second = Duration::from_secs(1);
    let target = Target::plain([192, 0, 2, 1].into(), 0);
    let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second));
    let status = Status { health: Health::Healthy, last_check: Some(now), ..Status::NEW };
    let progress = Progress { since: Some(now), last_probe: Some(now), ..Progress::default() };
    let labels = [("NAME".into(), "value".into())];
    let metadata = Metadata { labels: labels.into(), ..Metadata::default() };
    let spec = Arc::new(spec.expect("a spec that can be"));
    Check { id: CheckId(1), metadata: Some(Arc::new(metadata)), spec, status, progress }
}

fn metrics() -> String {
    let mut text = format!(
        "# Metrics of hc-server\n\n{MADE} `GET /metrics` of the [admin API](admin-api.md) has them, as Prometheus text or as OpenMetrics. Counters have `_total` behind \
         their name there, infos `_info`, and histograms `_bucket`, `_sum` and `_count`.\n\n"
    );
    head(&mut text, &["metric", "type", "labels", "meaning"]);
    for (name, metric) in families(&Metrics::new("0").render(Format::OpenMetrics, snapshot())) {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        row(&mut text, &[&format!("`{name}`"), &metric.kind, &labels.join(", "), &metric.help]);
    }
    text
}

#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The metrics of a text in OpenMetrics.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                let help = help.trim_end_matches('.').to_owned();
                families.entry(name.to_owned()).or_default().help = help;
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            }
            (Some("#"), ..) => {}
            _ => {
                let Some((name, rest)) = line.split_once('{') else { continue };
                // What is behind `#` is an exemplar.
                let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
                // The family of `hc_probes_total` is `hc_probes`: the longest name that the sample
                // begins with.
                let family =
                    families.iter_mut().filter(|(family, _)| name.starts_with(family.as_str())).last();
                let Some((_, family)) = family else { continue };
                let names =
                    labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
                family.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
            }
        }
    }
    families
}
