//! The life of the process: command line, configuration, log, signals, exit status.

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use hc_server::cli::Cli;
use hc_server::sinks::commands;
use hc_server::startup::{one_line_for_panics, say};
use hc_server::{Config, ConfigError, FileChecks, Server, Signals, logging};
use tracing::{error, info};

/// Exit status for wrong usage (given by the command line parser) and wrong configuration.
const WRONG_CONFIGURATION: u8 = 2;

/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // First, so that a signal that comes early waits until there is somebody to take it.
    let signals = Signals::block();
    one_line_for_panics();
    let cli = Cli::parse();
    if cli.command_runner {
        return run_commands();
    }
    let config = match configuration(&cli) {
        Ok(config) => config,
        Err(error) => {
            say(&error.to_string());
            return if error.is_shortage() { ExitCode::FAILURE } else { ExitCode::from(WRONG_CONFIGURATION) };
        }
    };
    let files = match FileChecks::load(&config.source) {
        Ok(files) => files,
        Err(errors) => {
            errors.diagnostics().iter().for_each(|problem| say(&problem.to_string()));
            return if errors.is_shortage() {
                ExitCode::FAILURE
            } else {
                ExitCode::from(WRONG_CONFIGURATION)
            };
        }
    };
    if cli.check_config {
        say("the configuration is right");
        return ExitCode::SUCCESS;
    }
    // Before there are threads and a sandbox, of which the commands would know.
    let runner = match commands::start(&config) {
        Ok(runner) => runner,
        Err(error) => {
            say(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = logging::start(&config.log) {
        say(&format!("{error:#}"));
        return ExitCode::FAILURE;
    }
    let served = signals
        .context("cannot watch the signals")
        .and_then(|signals| serve(config, files, runner, cli.no_sandbox, signals));
    let status = match served {
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

fn run_commands() -> ExitCode {
    match commands::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(
    config: Config,
    files: Option<FileChecks>,
    runner: Option<UnixStream>,
    no_sandbox: bool,
    signals: Signals,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the runtime")?;
    let mut server = Server::new(config).command_runner(runner).confined(!no_sandbox).signals(signals);
    if let Some(files) = files {
        server = server.files(files);
    }
    runtime.block_on(server.run())
}
