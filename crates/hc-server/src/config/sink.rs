//! Section `[[sink]]`: who else hears of health, beside hc-proxy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use hc_sinks::haproxy::RuntimeAddress;
use hc_sinks::{Template, Url};
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use super::values;
use crate::sinks::{Glob, SinkPlan};

/// What a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkKind {
    /// A line of JSON for each change of health.
    Log,
    /// All checks in one JSON file.
    StateFile,
    /// Changes as the body of an HTTP POST.
    Webhook,
    /// A program that runs for changes.
    Command,
    /// HAProxy's runtime API: it is told.
    Haproxy,
    /// HAProxy's agent checks: it asks.
    HaproxyAgent,
}

/// How a command gets changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunConfig {
    /// It runs for each.
    #[default]
    Each,
    /// It runs for those of a batch together.
    Batch,
}

/// A kind of change that a sink hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Changes of health.
    Health,
    /// What happens to overrides: force, mute, pause.
    Override,
}

/// One `[[sink]]`. Which of the keys a kind has is in `docs/sinks.md`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// Its name in logs and metrics, of letters, digits and `-_.`; no two have the same.
    pub name: String,
    /// What it is.
    pub kind: SinkKind,
    /// Only checks whose name is like one of these, with `*` for any text and `?` for any
    /// character. Default: all.
    #[serde(default)]
    pub names: Vec<Glob>,
    /// Only checks that have all these labels. Default: all.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Only checks of these groups. Default: all.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Which kinds of changes a log, a webhook or a command hears of: `"health"`, `"override"`.
    /// Default `["health"]`.
    pub events: Option<Vec<EventKind>>,
    /// Whether the server is not ready (`/readyz`) while the sink fails. Default: it is, and says
    /// so.
    #[serde(default)]
    pub required: bool,
    /// How long the first news of a batch waits for more. Default 100 ms.
    #[serde(default, with = "humantime_serde")]
    pub batch_delay: Option<Duration>,
    /// The most checks in a batch. Default 100; 1000 for files, and 1 for a command that runs for
    /// each.
    #[serde(default, deserialize_with = "values::some_batch_size")]
    pub batch_size: Option<NonZeroUsize>,
    /// Each check is looked at again within this time: a state file and HAProxy get it again, the
    /// others only what has changed. Default 15 s.
    #[serde(default, deserialize_with = "values::some_above_zero")]
    pub interval: Option<Duration>,
    /// The file of a log or of the state.
    pub path: Option<PathBuf>,
    /// The mode of that file, an octal string. Default `"0640"`.
    #[serde(default, deserialize_with = "values::some_octal_mode")]
    pub mode: Option<u32>,
    /// The shortest time between two writings of a state file. Default 1 s.
    #[serde(default, with = "humantime_serde")]
    pub write_interval: Option<Duration>,
    /// Where a webhook posts to.
    #[serde(default, deserialize_with = "values::some_parsed")]
    pub url: Option<Url>,
    /// The file of the secret that signs what a webhook posts. Default: it is not signed.
    pub secret_file: Option<PathBuf>,
    /// The certificates that a webhook trusts, a PEM file. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long a webhook (default 5 s) or a run of a command (10 s) may take.
    #[serde(default, deserialize_with = "values::some_above_zero")]
    pub timeout: Option<Duration>,
    /// A program and its arguments.
    pub command: Option<Vec<String>>,
    /// How the command gets changes. Default `"each"`.
    pub run: Option<RunConfig>,
    /// HAProxy's `stats socket`: a path, or address and port.
    #[serde(default, deserialize_with = "values::some_parsed")]
    pub socket: Option<RuntimeAddress>,
    /// What HAProxy calls the server of a check. Default `"{label.group}/{name}"`; for agent checks
    /// `"{name}"`.
    #[serde(default, deserialize_with = "values::some_parsed")]
    pub server: Option<Template>,
    /// Where agent checks are answered.
    pub listen: Option<SocketAddr>,
}

/// What is wrong with a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkProblem {
    pub(crate) key: &'static str,
    pub(crate) problem: String,
}

impl SinkProblem {
    pub(crate) fn new(key: &'static str, problem: impl fmt::Display) -> Self {
        Self { key, problem: problem.to_string() }
    }
}

/// The sinks, or everything that is wrong with them, each with the number of its sink.
pub(crate) fn plans(sinks: &[SinkConfig]) -> Result<Vec<SinkPlan>, Vec<(usize, SinkProblem)>> {
    let mut names = HashSet::new();
    let (mut plans, mut problems) = (Vec::new(), Vec::new());
    for (number, sink) in sinks.iter().enumerate() {
        if let Err(problem) = name_is_right(&sink.name) {
            problems.push((number, SinkProblem::new("name", problem)));
        } else if !names.insert(&sink.name) {
            problems.push((number, SinkProblem::new("name", "another sink has it")));
        }
        match SinkPlan::new(sink) {
            Ok(plan) => plans.push(plan),
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| (number, problem))),
        }
    }
    if problems.is_empty() { Ok(plans) } else { Err(problems) }
}

fn name_is_right(name: &str) -> Result<(), String> {
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if name.is_empty() || name.len() > 64 || !is_word {
        return Err(format!("{name:?} is not of 1 to 64 letters, digits and -_."));
    }
    if name == "hc-proxy" || name.starts_with("consumer-") {
        return Err(format!("{name:?} is taken by the server itself"));
    }
    Ok(())
}

/// The problems in words, each with its place in the text of the file.
pub(super) fn told(text: &str, sinks: &[SinkConfig], problems: &[(usize, SinkProblem)]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Places {
        #[serde(default)]
        sink: Vec<Spanned<HashMap<Spanned<String>, IgnoredAny>>>,
    }
    // It has been read before: the text is right as TOML.
    let places = toml::from_str::<Places>(text).map(|places| places.sink).unwrap_or_default();
    let place = |number: usize, key: &str| {
        let sink = places.get(number)?;
        let named = sink.get_ref().keys().find(|known| known.get_ref() == key);
        let at = named.map_or(sink.span().start, |known| known.span().start);
        let before = text.get(..at)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        Some(format!("line {line}, column {column}: "))
    };
    let told = problems.iter().map(|(number, SinkProblem { key, problem })| {
        let name = sinks.get(*number).map_or("", |sink| &sink.name);
        format!("{}sink {name:?}: `{key}`: {problem}", place(*number, key).unwrap_or_default())
    });
    told.collect()
}

#[cfg(test)]
mod tests;
