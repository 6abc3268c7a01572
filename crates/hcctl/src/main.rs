//! The operator's command line.

mod check;
mod cli;
mod client;
mod files;
mod overrides;
mod plan;
mod reference;
mod table;
mod watch;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser as _};
use hc_api::{
    Change, CheckDetail, CheckState, Filter, FleetState, LatencyState, MAX_PAGE, OverrideKind, Overrides,
    Overview, Page, PageOf, ProbeState,
};
use hc_types::Health;
use hyper::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use cli::{Cli, Command, FleetCommand, HealthArg, StatusArgs, WatchKind};
use client::{Client, Server};
use overrides::Which;

/// Everything is well.
const HEALTHY: u8 = 0;
/// Something is down.
const DOWN: u8 = 1;
/// It cannot be told.
const UNKNOWN: u8 = 2;

/// Where overrides are.
const OVERRIDES: &str = "/api/v1/overrides";
/// How long a server may take where nothing else is asked for.
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("cannot start").and_then(|runtime| runtime.block_on(run(cli)));
    match done {
        Ok(status) => ExitCode::from(status),
        // Whoever reads our output had enough, as `head` has.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(HEALTHY),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hcctl: {error:#}");
            ExitCode::from(UNKNOWN)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn usual_sockets() -> Vec<PathBuf> {
    cli::SOCKETS.iter().map(PathBuf::from).collect()
}

async fn run(cli: Cli) -> Result<u8> {
    let server = match cli.address {
        Some(address) => Server::Tcp(address),
        None => Server::Unix(cli.socket.map_or_else(usual_sockets, |socket| vec![socket])),
    };
    let client = Client::new(server, cli.timeout.unwrap_or(TIMEOUT));
    let path = |check: &str| format!("/api/v1/checks/{}", utf8_percent_encode(check, NON_ALPHANUMERIC));
    let now = SystemTime::now();
    match cli.command {
        Command::Status(args) => status(&client, args, cli.json, now).await,
        Command::Show { check } => {
            let detail: CheckDetail = client.get(&path(&check)).await?;
            print(cli.json, &Shown::new(&detail), || table::shown(&detail, now))?;
            Ok(exit(&detail.check))
        }
        Command::Explain { check } => {
            let detail: CheckDetail = client.get(&path(&check)).await?;
            print(cli.json, &detail, || table::explanation(&detail, now))?;
            Ok(exit(&detail.check))
        }
        Command::Watch { all, only } => {
            let json = cli.json;
            let show = |change: Change| {
                let (kind, shown) = match &change {
                    Change::Health(transition) => (WatchKind::Health, serde_json::to_value(transition)),
                    Change::Override(event) => (WatchKind::Override, serde_json::to_value(event)),
                    _ => return,
                };
                if only.is_some_and(|only| only != kind) {
                    return;
                }
                let shown = shown.map_err(anyhow::Error::from);
                let shown = shown.and_then(|value| print(json, &value, || table::change(&change) + "\n"));
                if shown.is_err() {
                    std::process::exit(0);
                }
            };
            watch::watch(&client, all, show, |text| drop(writeln!(std::io::stderr(), "hcctl: {text}")))
                .await?;
            Ok(HEALTHY)
        }
        Command::Check(args) => check::check(args, cli.timeout, cli.json).await,
        Command::Run { check } => done(&client, &format!("{}/probe", path(&check)), Vec::new()).await,
        Command::Force { to, which, length, why } => {
            done(&client, OVERRIDES, overrides::force(to, which, length, why)?).await
        }
        Command::Mute { which, when, why } => {
            done(&client, OVERRIDES, overrides::mute(which, when, why)?).await
        }
        Command::Pause { which, length, why } => {
            done(&client, OVERRIDES, overrides::pause(which, length, why)?).await
        }
        Command::Unforce { which } => withdraw(&client, OverrideKind::Force, which).await,
        Command::Unmute { which } => withdraw(&client, OverrideKind::Mute, which).await,
        Command::Resume { which } => withdraw(&client, OverrideKind::Pause, which).await,
        Command::Overrides => {
            let all: Overrides = client.get(OVERRIDES).await?;
            print(cli.json, &all, || table::overrides(&all.overrides))?;
            Ok(HEALTHY)
        }
        Command::Fleet { command: FleetCommand::Status } => {
            let fleet: FleetState = client.get("/api/v1/fleet").await?;
            print(cli.json, &fleet, || table::fleet(&fleet))?;
            let is_well = !fleet.cut_off && fleet.nodes.iter().all(|node| node.abstains.is_none());
            Ok(if is_well { HEALTHY } else { DOWN })
        }
        Command::Reload => done(&client, "/api/v1/reload", Vec::new()).await,
        Command::Validate(args) => files::validate(&args, cli.json),
        Command::Plan(args) => files::plan(&args, listed(&client, &Filter::default()).await, cli.json),
        Command::LogLevel { level } => {
            let body = serde_json::to_vec(&serde_json::json!({ "level": level }))?;
            done(&client, "/api/v1/log-level", body).await
        }
        Command::Ready => {
            let (status, text) = client.text("/readyz").await?;
            write(&text)?;
            Ok(if status == StatusCode::OK { HEALTHY } else { DOWN })
        }
        Command::Completions { shell } => {
            let mut completions = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hcctl", &mut completions);
            write(&String::from_utf8_lossy(&completions))?;
            Ok(HEALTHY)
        }
        Command::Reference => {
            let mut command = Cli::command();
            command.build();
            write(&reference::page(&command))?;
            Ok(HEALTHY)
        }
        Command::Man { directory } => {
            clap_mangen::generate_to(Cli::command(), &directory)
                .with_context(|| format!("cannot write to {}", directory.display()))?;
            Ok(HEALTHY)
        }
    }
}

async fn withdraw(client: &Client, kind: OverrideKind, which: Which) -> Result<u8> {
    done(client, &format!("{OVERRIDES}/withdraw"), overrides::withdraw(kind, which)?).await
}

/// What `show` prints of a check as JSON: all of it but the explanation.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    check: &'a CheckState,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<&'a LatencyState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<&'a ProbeState>,
}

impl<'a> Shown<'a> {
    fn new(detail: &'a CheckDetail) -> Self {
        let CheckDetail { check, latency, last_failure, .. } = detail;
        Self { check, latency: latency.as_ref(), last_failure: last_failure.as_ref() }
    }
}

async fn done(client: &Client, path: &str, body: Vec<u8>) -> Result<u8> {
    let done = client.post(path, body).await?;
    write(&format!("{done}\n"))?;
    Ok(HEALTHY)
}

async fn status(client: &Client, args: StatusArgs, json: bool, now: SystemTime) -> Result<u8> {
    let sort = args.sort;
    let filter = filter(args);
    let mut checks = listed(client, &filter).await?;
    table::sort(&mut checks, sort);
    print(json, &checks, || table::checks(&checks, now))?;
    if !json {
        let overview: Overview = client.get("/api/v1/status").await?;
        for reason in &overview.readiness.reasons {
            write(&format!("the checker is not ready: {reason}\n"))?;
        }
        for warning in &overview.readiness.warnings {
            write(&format!("warning: {warning}\n"))?;
        }
    }
    if checks.is_empty() {
        // That none of them is down is an answer; that there is none of them, as after a slip of
        // the finger, is not.
        let mut of_any_health = filter.clone();
        (of_any_health.health, of_any_health.held) = (Vec::new(), None);
        if of_any_health == filter || listed(client, &of_any_health).await?.is_empty() {
            writeln!(std::io::stderr(), "hcctl: there is no such check")?;
            return Ok(UNKNOWN);
        }
    }
    Ok(checks.iter().map(exit).max_by_key(|status| [0, 2, 1][usize::from(*status)]).unwrap_or(HEALTHY))
}

/// All checks that `filter` takes, page by page.
async fn listed(client: &Client, filter: &Filter) -> Result<Vec<CheckState>> {
    let mut checks: Vec<CheckState> = Vec::new();
    let mut page = PageOf { limit: MAX_PAGE.try_into().context("a page has a size")?, ..PageOf::default() };
    loop {
        let Page { checks: some, next, .. } =
            client.get(&format!("/api/v1/checks?{}", filter.to_query(&page))).await?;
        checks.extend(some);
        let Some(next) = next else { return Ok(checks) };
        page.after = Some(next.parse().context("the server names no next page")?);
    }
}

fn filter(args: StatusArgs) -> Filter {
    let StatusArgs { health, kinds, name, mut label, group, held, sort: _, text } = args;
    label.extend(group.map(|group| ("group".to_owned(), group)));
    let mut filter = Filter::default();
    filter.health = health
        .into_iter()
        .map(|health| match health {
            HealthArg::Healthy => Health::Healthy,
            HealthArg::Unhealthy => Health::Unhealthy,
            HealthArg::Unknown => Health::Unknown,
        })
        .collect();
    (filter.kinds, filter.name, filter.labels, filter.text) = (kinds, name, label, text);
    filter.held = held.then_some(true);
    filter
}

/// What one check makes of the exit status.
fn exit(check: &CheckState) -> u8 {
    match check.health {
        Health::Healthy => HEALTHY,
        Health::Unhealthy => DOWN,
        Health::Unknown => UNKNOWN,
    }
}

fn print<T: Serialize>(json: bool, value: &T, text: impl FnOnce() -> String) -> Result<()> {
    if json { write(&(serde_json::to_string(value)? + "\n")) } else { write(&text()) }
}

fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
