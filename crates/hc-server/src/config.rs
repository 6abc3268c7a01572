//! The configuration: a TOML file, then the environment, then the command line.
//!
//! A configuration that does not parse stops the program; there is no fallback to defaults. Only a
//! missing file at the default place is no error. `docs/configuration.md` is the operator's page of
//! the same keys.

mod admin;
mod environment;
mod fleet;
mod guard;
mod metrics;
mod sink;
mod source;
mod trace;
pub(crate) mod values;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hc_checkers::{ProbeMemory, TlsSessions};
use serde::Deserialize;

use crate::sinks::SinkPlan;

pub use admin::AdminConfig;
pub use environment::PREFIX;
pub use fleet::FleetConfig;
pub use guard::{GroupConfig, GuardConfig};
pub use metrics::MetricsConfig;
pub use sink::{EventKind, RunConfig, SinkConfig, SinkKind};
pub(crate) use sink::{SinkProblem, plans};
pub use source::{SourceConfig, SourceKind};
pub use trace::TraceConfig;

pub use crate::sinks::Glob;

/// Where the configuration is looked for when none is named.
pub const DEFAULT_FILE: &str = "/etc/seesaw/hc-server.toml";

/// All settings. Every one has a default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where checks come from.
    pub source: SourceConfig,
    /// The socket that hc-proxy connects to.
    pub socket: SocketConfig,
    /// Who may look into the server, and how.
    pub admin: AdminConfig,
    /// Which checks have series of their own in the metrics.
    pub metrics: MetricsConfig,
    /// How news is told.
    pub notify: NotifyConfig,
    /// How checks are run.
    pub checks: ChecksConfig,
    /// What happens when many checks fail at once.
    pub guard: GuardConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What survives a restart.
    pub state: StateConfig,
    /// Spans of probes for an OpenTelemetry collector.
    pub trace: TraceConfig,
    /// Checks that are shared with other nodes.
    pub fleet: FleetConfig,
    /// How the program ends.
    pub shutdown: ShutdownConfig,
    /// Who hears of health beside hc-proxy, each `[[sink]]` of its own.
    #[serde(rename = "sink")]
    pub sinks: Vec<SinkConfig>,
}

/// Section `[socket]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketConfig {
    /// Path of the socket. Its directory must exist.
    pub path: PathBuf,
    /// File mode, an octal string. Default `"0660"`.
    #[serde(deserialize_with = "values::octal_mode")]
    pub mode: u32,
    /// User that owns the socket file. Default: whoever runs the server.
    pub user: Option<String>,
    /// Group of the socket file. Default: that of whoever runs the server.
    pub group: Option<String>,
    /// Users whose processes may connect, beside root and the server's own.
    pub allowed_users: Vec<String>,
    /// Groups whose processes may connect.
    pub allowed_groups: Vec<String>,
}

/// Section `[notify]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyConfig {
    /// How long the first news of a batch waits for more. Default 100 ms.
    #[serde(with = "humantime_serde")]
    pub batch_delay: Duration,
    /// Notifications in a batch that is sent at once, and the most in any batch. Default 100.
    #[serde(deserialize_with = "values::batch_size")]
    pub batch_size: NonZeroUsize,
    /// Every check is told again within this time, changed or not. Default 15 s.
    #[serde(deserialize_with = "values::above_zero")]
    pub interval: Duration,
}

/// How a probe that exchanged no data ends its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseConfig {
    /// By a reset: no connection is left behind in TIME_WAIT, and the backend need not accept.
    #[default]
    Reset,
    /// By an orderly close.
    Graceful,
}

/// Section `[checks]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChecksConfig {
    /// Threads that run probes. Default: one for each processor that the process may use.
    pub shards: Option<NonZeroUsize>,
    /// Whether each of these threads stays on one processor. Default false.
    pub pin_shards: bool,
    /// Probes in flight at once, over all shards. Default: what the limit of open files leaves.
    pub max_in_flight: Option<NonZeroUsize>,
    /// How a TCP connection without data is closed. Default `"reset"`.
    pub close: CloseConfig,
    /// First probes of new checks that are started in a second. Default 5000.
    pub first_probes_per_second: NonZeroUsize,
    /// What the answers of backends may hold of memory, over all probes, in bytes. Default 64 MiB.
    #[serde(deserialize_with = "values::probe_memory")]
    pub probe_memory: usize,
    /// What the TLS sessions of checks with `resume` may hold of memory, in bytes. Default 32 MiB.
    #[serde(deserialize_with = "values::probe_memory")]
    pub session_memory: usize,
    /// Connections of HTTP checks with `reuse` that are kept between probes, over all shards, half
    /// of what the limit of open files leaves at most. Default: 1024, and an eighth of that at
    /// most.
    pub max_kept: Option<usize>,
    /// How long the health of a check that was removed is remembered, in case it returns. Default
    /// 60 s.
    #[serde(with = "humantime_serde")]
    pub remember: Duration,
    /// How long a check keeps its state while this machine has no way to its backend; never less
    /// than two intervals of the check. After that it is told unhealthy. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub hold_unreachable: Duration,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Section `[log]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `"text"` or `"json"`. Default `"text"`.
    pub format: LogFormat,
    /// Level, or levels by part of the program: `"info"`, `"info,hc_manager=debug"`. Default
    /// `"info"`.
    #[serde(deserialize_with = "values::log_filter")]
    pub level: String,
}

/// Section `[state]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// Directory for what survives a restart. Default `/var/lib/seesaw-hc`.
    pub dir: PathBuf,
    /// Longest time between two snapshots of the health of all checks; a change of state is written
    /// sooner. Default 5 s.
    #[serde(deserialize_with = "values::above_zero")]
    pub interval: Duration,
    /// Older snapshots are not used at the start. Default 5 minutes.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
}

/// Section `[shutdown]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownConfig {
    /// How long the last news may take to be delivered, and the threads to end. Default 2 s: below
    /// the 5 s that Seesaw's watchdog waits between SIGTERM and SIGKILL.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for SocketConfig {
    fn default() -> Self {
        Self {
            path: "/var/run/seesaw/healthcheck-proxy.sock".into(),
            mode: 0o660,
            user: None,
            group: None,
            allowed_users: Vec::new(),
            allowed_groups: Vec::new(),
        }
    }
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            batch_delay: Duration::from_millis(100),
            batch_size: const { NonZeroUsize::new(100).expect("100 is not 0") },
            interval: Duration::from_secs(15),
        }
    }
}

impl Default for ChecksConfig {
    fn default() -> Self {
        Self {
            shards: None,
            pin_shards: false,
            max_in_flight: None,
            close: CloseConfig::default(),
            first_probes_per_second: const { NonZeroUsize::new(5000).expect("5000 is not 0") },
            probe_memory: ProbeMemory::DEFAULT,
            session_memory: TlsSessions::DEFAULT,
            max_kept: None,
            remember: Duration::from_secs(60),
            hold_unreachable: Duration::from_secs(10),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            dir: "/var/lib/seesaw-hc".into(),
            interval: Duration::from_secs(5),
            max_age: Duration::from_secs(300),
        }
    }
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { grace: Duration::from_secs(2) }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not say what it should. The text holds line, column and key.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Keys that are each right do not go together.
    #[error("{}: {problem}", path.display())]
    Inconsistent {
        /// The file; the environment may have changed what is in it.
        path: PathBuf,
        /// The key and what is wrong with it.
        problem: &'static str,
    },
    /// Sinks do not say what they should. Each line names line, column, sink and key.
    #[error("{}: {}", path.display(), problems.join("\n"))]
    Sinks {
        /// The file.
        path: PathBuf,
        /// Where and why.
        problems: Vec<String>,
    },
    /// A variable of the environment does not say what it should.
    #[error("environment variable {variable}: {problem}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ConfigError {
    /// Whether the system lacked descriptors or memory to read the file, which says nothing about
    /// what is in it.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        use nix::errno::Errno;
        let Self::Read { source, .. } = self else { return false };
        let errno = source.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM))
    }
}

impl Config {
    /// Reads the configuration: `file`, or the default place if that exists, then `HC_SERVER_…`
    /// from `variables`.
    ///
    /// # Errors
    /// [`ConfigError`] when a file that was named is missing, and when anything in it or in the
    /// environment is wrong.
    pub fn load(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (path, text) = match file {
            Some(path) => (path, read(path)?),
            None => {
                let path = Path::new(DEFAULT_FILE);
                match read(path) {
                    Err(ConfigError::Read { source, .. })
                        if source.kind() == std::io::ErrorKind::NotFound =>
                    {
                        (path, String::new())
                    }
                    read => (path, read?),
                }
            }
        };
        let config = Self::parse(path, &text, variables)?;
        // Their files, too: a secret that is not there is found out now and not when the first
        // change is told.
        config.sinks_with(path, &text, |plan| plan.clone().prepare().map(drop))?;
        Ok(config)
    }

    /// Whether the sinks are right, and `further` holds for each.
    fn sinks_with(
        &self,
        path: &Path,
        text: &str,
        further: impl Fn(&SinkPlan) -> Result<(), SinkProblem>,
    ) -> Result<(), ConfigError> {
        let checked = plans(&self.sinks).and_then(|plans| {
            let wrong = |(number, plan)| further(plan).err().map(|problem| (number, problem));
            let problems: Vec<_> = plans.iter().enumerate().filter_map(wrong).collect();
            if problems.is_empty() { Ok(()) } else { Err(problems) }
        });
        checked.map_err(|problems| ConfigError::Sinks {
            path: path.to_owned(),
            problems: sink::told(text, &self.sinks, &problems),
        })
    }

    /// Reads the configuration from the text of a file, then `HC_SERVER_…` from `variables`. `path`
    /// is for the words of errors.
    ///
    /// # Errors
    /// [`ConfigError`] when anything in the text or in the environment is wrong.
    pub fn parse(
        path: &Path,
        text: &str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let wrong = |source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) };
        // The file by itself first, so that its errors know their line.
        let config: Config = toml::from_str(text).map_err(wrong)?;
        config.sinks_with(path, text, |_| Ok(()))?;
        let overrides = environment::overrides(variables);
        let config = match overrides.is_empty() {
            true => config,
            false => environment::apply(toml::from_str(text).map_err(wrong)?, overrides)?,
        };
        let problems = [config.source.problem(), config.trace.problem(), config.fleet.problem()];
        match problems.into_iter().flatten().next() {
            None => Ok(config),
            Some(problem) => Err(ConfigError::Inconsistent { path: path.to_owned(), problem }),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
