//! The life of the process: command line, configuration, log, signals, exit status.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use hc_server::cli::Cli;
use hc_server::{Config, ConfigError, logging};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Exit status for wrong usage (given by the command line parser) and wrong configuration.
const WRONG_CONFIGURATION: u8 = 2;

/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match configuration(&cli) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("hc-server: {error}");
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    if cli.check_config {
        eprintln!("hc-server: the configuration is right");
        return ExitCode::SUCCESS;
    }
    if let Err(error) = logging::start(&config.log) {
        eprintln!("hc-server: {error:#}");
        return ExitCode::FAILURE;
    }
    let status = match serve(config, cli.no_sandbox) {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(error = format!("{error:#}"), "stopped by an error");
            ExitCode::FAILURE
        }
    };
    logging::flush(LAST_LINES);
    status
}

fn configuration(cli: &Cli) -> Result<Config, ConfigError> {
    // A variable whose name or value is not UTF-8 is none of ours.
    let variables =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let mut config = Config::load(cli.config.as_deref(), variables)?;
    if let Some(socket) = &cli.socket {
        config.socket.path.clone_from(socket);
    }
    if let Some(dir) = &cli.state_dir {
        config.state.dir.clone_from(dir);
    }
    Ok(config)
}

fn serve(config: Config, no_sandbox: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let signals = watch_signals(shutdown.clone())?;
        let served = hc_server::run(config, !no_sandbox, shutdown).await;
        signals.abort();
        served
    });
    // Not dropped: that would wait for a writer of snapshots whose disk hangs.
    runtime.shutdown_background();
    served
}

/// Cancels `shutdown` at the first of the signals that end Seesaw's healthchecker (`common/server/server.go`). A second one
/// ends the process at once, should the shutdown hang.
#[allow(clippy::disallowed_methods, reason = "the handle is kept by the caller, which aborts it")]
fn watch_signals(shutdown: CancellationToken) -> Result<tokio::task::JoinHandle<()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let mut quit = signal(SignalKind::quit()).context("cannot watch SIGQUIT")?;
    Ok(tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = quit.recv() => "SIGQUIT",
            }
        };
        let name = next().await;
        info!(signal = name, "stopping");
        shutdown.cancel();
        let name = next().await;
        error!(signal = name, "stopped before everything was told");
        logging::flush(LAST_LINES);
        std::process::exit(1);
    }))
}
