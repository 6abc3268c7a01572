//! Checks from files, where Seesaw does not hand them over: `[source] kind = "file"`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hc_config::{ConfigErrors, Limits};
use hc_files::{FileSource, FilesConfig, Loaded, Reloads};
use hc_resolve::{NamesConfig, Resolver};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::{SourceConfig, SourceKind};

/// The name of this source, as rejections and the log give it.
pub(crate) const NAME: &str = "file";

/// Descriptors that it needs beside those of probes: names that are asked for at once, over two
/// families, and a file.
pub(crate) const DESCRIPTORS: u64 = 130;

/// Files of checks that have been read, for a server that runs them.
#[derive(Debug)]
pub struct FileChecks {
    config: FilesConfig,
    directories: Vec<PathBuf>,
    servers: Vec<SocketAddr>,
    loaded: Loaded,
}

impl FileChecks {
    /// Reads the files of checks that the configuration names. `None` when checks come from
    /// Seesaw's engine.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub fn load(config: &SourceConfig) -> Result<Option<Self>, ConfigErrors> {
        if config.kind != SourceKind::File {
            return Ok(None);
        }
        let mut names = NamesConfig::default();
        (names.min_age, names.max_age) = (config.dns_min_age, config.dns_max_age);
        names.retry = config.dns_retry;
        let files = FilesConfig {
            files: config.files.clone(),
            limits: Limits::new(config.max_range.get(), config.max_checks.get()),
            names,
            watch: config.watch,
        };
        let loaded = hc_files::load(&files)?;
        let (directories, servers) = (config.directories.clone(), config.dns_servers.clone());
        Ok(Some(Self { config: files, directories, servers, loaded }))
    }

    /// How many checks there are, each host name counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.loaded.checks.checks.len() + self.loaded.checks.hosts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What must stay readable. Directories, since a file that is replaced by a rename is another
    /// one to the sandbox; those of files that the checks name, and of links' targets, too.
    pub(crate) fn reach(&self) -> Vec<PathBuf> {
        let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
        if self.servers.is_empty() {
            directories.extend(hc_resolve::system_reach());
        }
        for file in self.loaded.files() {
            directories.extend(directory_of(file));
            directories.extend(std::fs::canonicalize(file).ok().as_deref().and_then(directory_of));
        }
        directories.extend(hc_files::directories(&self.config));
        directories.extend(self.directories.iter().cloned());
        directories.into_iter().filter_map(|directory| std::fs::canonicalize(directory).ok()).collect()
    }

    /// Starts the thread that reads the files again. The future that is returned follows the
    /// addresses of host names until `shutdown`.
    ///
    /// # Errors
    /// When no thread can be had, or the resolver's configuration makes no sense.
    pub(crate) fn start(
        self,
        shutdown: CancellationToken,
    ) -> Result<(FileSource, Reloads, impl Future<Output = ()> + Send + use<>)> {
        let resolver = match &self.servers[..] {
            [] => Resolver::system().context("cannot use the system's resolver (/etc/resolv.conf)")?,
            servers => Resolver::with_servers(servers).context("cannot use [source] dns_servers")?,
        };
        info!(checks = self.len(), file_count = self.loaded.files().count(), "checks come from files");
        FileSource::start(&self.config, self.loaded, resolver, shutdown)
            .context("cannot start the thread of the files of checks")
    }
}

/// The directory that a file is in; that of a bare name is the working directory.
fn directory_of(file: &Path) -> Option<PathBuf> {
    let directory = file.parent()?;
    Some(if directory.as_os_str().is_empty() { ".".into() } else { directory.to_owned() })
}

/// Reads the files again each time that `wanted` is notified, until `shutdown`. What comes of it is
/// logged.
pub(crate) async fn reload_when(
    wanted: Arc<Notify>,
    reloads: Reloads,
    shutdown: CancellationToken,
) -> Result<()> {
    while shutdown.run_until_cancelled(wanted.notified()).await.is_some() {
        if shutdown.run_until_cancelled(reloads.reload()).await.is_none() {
            break;
        }
    }
    Ok(())
}
