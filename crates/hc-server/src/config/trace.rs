//! Section `[trace]`.

use std::path::PathBuf;
use std::time::Duration;

use hc_sinks::Url;
use serde::Deserialize;

use super::values;
use crate::sinks::Glob;

/// Section `[trace]`: spans of probes for an OpenTelemetry collector. Only in an hc-server that was
/// built with the cargo feature `otlp`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceConfig {
    /// Where spans are posted to (OTLP, protobuf over HTTP), such as
    /// `"http://127.0.0.1:4318/v1/traces"`. Default: nowhere, and none are made.
    #[serde(deserialize_with = "values::some_parsed")]
    pub endpoint: Option<Url>,
    /// The share of all checks of which every probe has a span, from 0 to 1. The ids of checks
    /// decide which. Default 0.01.
    #[serde(deserialize_with = "values::ratio")]
    pub ratio: f64,
    /// Checks of which every probe has a span beside those of the ratio: whose name is like one of
    /// these, with `*` for any text and `?` for any character. Default: none.
    pub names: Vec<Glob>,
    /// Groups of checks of which every probe has a span beside those of the ratio. Default: none.
    pub groups: Vec<String>,
    /// The certificates that the collector's is checked against, a PEM file. Default: those of the
    /// system.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take. Default 10 s.
    #[serde(deserialize_with = "values::above_zero")]
    pub timeout: Duration,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            ratio: 0.01,
            names: Vec::new(),
            groups: Vec::new(),
            ca_file: None,
            timeout: Duration::from_secs(10),
        }
    }
}

impl TraceConfig {
    /// What is wrong with the keys together.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let without = self.endpoint.is_some() && !cfg!(feature = "otlp");
        without.then_some("[trace] endpoint: this hc-server was built without the cargo feature `otlp`")
    }
}
