//! One probe now, without a server.

mod draft;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use hc_api::ProbeState;
use hc_checkers::{Checkers, CheckersConfig};
use hc_config::{Disk, HostCheck, Limits, SourceFile, load, parse};
use hc_types::{CheckSpec, Outcome, ProbeResult, Timing};
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::CheckArgs;
use crate::{DOWN, HEALTHY, UNKNOWN, print, table};

/// The deadline of a probe where nothing else is asked for.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What one probe found, as JSON.
#[derive(Debug, Serialize)]
struct Probed {
    /// `pass`, `fail` or `inconclusive`.
    verdict: &'static str,
    target: String,
    #[serde(flatten)]
    probe: ProbeState,
}

/// Runs one probe and prints what it found. The status to exit with: 0 if it passed, 1 if it
/// failed, 2 if it is inconclusive.
pub(crate) async fn check(args: CheckArgs, timeout: Option<Duration>, json: bool) -> Result<u8> {
    let spec = match &args.file {
        Some(file) => from_file(file, &args.what, timeout).await?,
        None => from_url(&args, timeout.unwrap_or(TIMEOUT)).await?,
    };
    let mut config = CheckersConfig::default();
    config.full_evidence = true;
    let began = SystemTime::now();
    let begun = Instant::now();
    let ProbeResult { outcome, evidence } = Checkers::new(config).probe_with_evidence(&spec).await;
    let probe = ProbeState::new(&spec, began, begun.elapsed(), &outcome, &evidence);
    let (verdict, status) = match outcome {
        Outcome::Pass(_) => ("pass", HEALTHY),
        Outcome::Fail(_) => ("fail", DOWN),
        Outcome::Inconclusive(_) => ("inconclusive", UNKNOWN),
    };
    let probed = Probed { verdict, target: spec.target().to_string(), probe };
    print(json, &probed, || text(&probed, args.verbose))?;
    Ok(status)
}

fn text(probed: &Probed, verbose: bool) -> String {
    let Probed { verdict, probe, .. } = probed;
    let took = table::milliseconds(probe.duration_seconds);
    let mut text = format!("{verdict}: {} ({took})\n", table::clean(&probe.message));
    if verbose {
        text.push_str(&table::probe(probe));
    }
    text
}

/// The check of a URL and its flags, which are keys of a file of checks in short.
async fn from_url(args: &CheckArgs, timeout: Duration) -> Result<Arc<CheckSpec>> {
    let draft = draft::Draft::new(args)?;
    let source = SourceFile::new("command line", draft.file(timeout));
    let read = parse(&[source], &Limits::default(), &Disk).map_err(|errors| {
        // Lines and columns would be those of a file that nobody sees.
        let problems = errors.diagnostics().iter().cloned().map(|mut one| {
            (one.place, one.other) = (None, None);
            one.to_string()
        });
        anyhow!(problems.collect::<Vec<_>>().join("; "))
    })?;
    if let Some(host) = read.hosts.first() {
        return of_host(host).await;
    }
    let check = read.checks.into_iter().next().context("no check comes of this")?;
    Ok(check.spec)
}

/// The check of the first address of a host name, which it is known by to TLS and HTTP.
async fn of_host(host: &HostCheck) -> Result<Arc<CheckSpec>> {
    let ip = address_of(&host.host).await?;
    let check =
        host.check(ip).with_context(|| format!("{ip}, the address of {}, is excluded", host.host))??;
    Ok(check.spec)
}

/// The check of this name in a file.
async fn from_file(file: &Path, name: &str, timeout: Option<Duration>) -> Result<Arc<CheckSpec>> {
    let pattern = file.to_str().context("the name of the file is not UTF-8")?;
    let read = load(&[pattern], &Limits::default())?;
    let spec = if let Some(check) = read.checks.iter().find(|check| &*check.name == name) {
        Arc::clone(&check.spec)
    } else if let Some(host) = read.hosts.iter().find(|host| &*host.name == name) {
        of_host(host).await?
    } else {
        let names =
            read.checks.iter().map(|check| &check.name).chain(read.hosts.iter().map(|host| &host.name));
        let near: Vec<&str> =
            names.filter(|known| known.contains(name)).take(5).map(|known| &**known).collect();
        let near =
            if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
        bail!("no check with the name {name:?} in {pattern}{near}");
    };
    let Some(timeout) = timeout else { return Ok(spec) };
    let timing = Timing::every(spec.interval()).timeout(timeout);
    Ok(Arc::new(CheckSpec::new(spec.target().clone(), spec.probe().clone(), timing)?))
}

/// An address as it is, or the first one of a name by the system's resolver.
async fn address_of(host: &str) -> Result<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let found = tokio::net::lookup_host((host, 0)).await.with_context(|| format!("cannot resolve {host}"))?;
    let first = found.map(|address| address.ip()).next();
    first.with_context(|| format!("{host} has no address"))
}
