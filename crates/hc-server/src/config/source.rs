//! Section `[source]`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::values;

/// Where checks come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// From Seesaw's engine, through hc-proxy.
    #[default]
    Seesaw,
    /// From files of checks, without Seesaw.
    File,
}

/// Section `[source]`: where checks come from. All keys but `kind` are for files.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceConfig {
    /// `"seesaw"` or `"file"`. Default `"seesaw"`.
    pub kind: SourceKind,
    /// Files of checks, as globs; each must match at least one.
    pub files: Vec<String>,
    /// Directories that stay readable in the sandbox beside those of the files and of what they
    /// name at the start.
    pub directories: Vec<PathBuf>,
    /// Whether the files are read again when they change; else on SIGHUP and `hcctl reload` only.
    /// Default false.
    pub watch: bool,
    /// The most addresses that one CIDR range stands for. Default 65,536.
    pub max_range: NonZeroUsize,
    /// The most checks in all. Default 1,000,000.
    pub max_checks: NonZeroUsize,
    /// Name servers that are asked for host names, in place of those of the system; then
    /// `/etc/hosts` is not read.
    pub dns_servers: Vec<SocketAddr>,
    /// A host name is asked for again no sooner than this after an answer. Default 5 s.
    #[serde(deserialize_with = "values::above_zero")]
    pub dns_min_age: Duration,
    /// A host name is asked for again no later than this after an answer. Default 5 min.
    #[serde(deserialize_with = "values::above_zero")]
    pub dns_max_age: Duration,
    /// How long after a failure a host name is asked for again. Default 5 s.
    #[serde(deserialize_with = "values::above_zero")]
    pub dns_retry: Duration,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            kind: SourceKind::default(),
            files: Vec::new(),
            directories: Vec::new(),
            watch: false,
            max_range: const { NonZeroUsize::new(65_536).expect("not 0") },
            max_checks: const { NonZeroUsize::new(1_000_000).expect("not 0") },
            dns_servers: Vec::new(),
            dns_min_age: Duration::from_secs(5),
            dns_max_age: Duration::from_secs(300),
            dns_retry: Duration::from_secs(5),
        }
    }
}

impl SourceConfig {
    /// What is wrong with the keys together.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self.kind {
            SourceKind::File if self.files.is_empty() => {
                Some("[source] files: must name the files of checks, since kind is \"file\"")
            }
            SourceKind::Seesaw if !self.files.is_empty() => {
                Some("[source] files: has no effect without kind = \"file\"")
            }
            _ if self.dns_min_age > self.dns_max_age => {
                Some("[source] dns_min_age: must not be longer than dns_max_age")
            }
            SourceKind::File | SourceKind::Seesaw => None,
        }
    }
}
