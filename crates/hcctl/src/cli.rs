//! What can be asked for. Help, completions and man pages are made from these definitions.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::overrides::{Forced, HowLong, When, Which, Why};

/// Where hc-server serves its admin API.
pub(crate) const DEFAULT_SOCKET: &str = "/var/run/seesaw/hc-admin.sock";

/// Asks hc-server what is down, since when, and why.
///
/// Exit status: 0 if all checks that were asked for are healthy (or what was asked for was done), 1 if one is not, 2 if that cannot be
/// told: no server, no such check, wrong usage.
#[derive(Debug, Parser)]
#[command(name = "hcctl", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The server's admin socket.
    #[arg(long, global = true, env = "HCCTL_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// Ask over TCP instead, at this address; nothing can be changed there.
    #[arg(long, global = true, env = "HCCTL_ADDRESS", value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// How long the server may take for an answer.
    #[arg(long, global = true, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List checks and their health.
    Status(StatusArgs),
    /// Show one check.
    Show {
        /// Id or name.
        check: String,
    },
    /// Show one check, with the reasons for its health, what comes next, and its last changes.
    Explain {
        /// Id or name.
        check: String,
    },
    /// Print changes of health as they happen, until interrupted.
    Watch {
        /// Begin with the changes that are still known.
        #[arg(long)]
        all: bool,
    },
    /// Probe a check now; its result counts like any other.
    Run {
        /// Id or name.
        check: String,
    },
    /// Tell consumers a health, whatever probes find, until the time is over; kept across restarts.
    Force {
        /// What consumers are to get.
        to: Forced,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        length: HowLong,
        #[command(flatten)]
        why: Why,
    },
    /// End `force`: consumers get what probes find.
    Unforce {
        #[command(flatten)]
        which: Which,
    },
    /// Let consumers keep what they have while probes go on: a maintenance window, once or weekly.
    Mute {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        when: When,
        #[command(flatten)]
        why: Why,
    },
    /// End `mute`: consumers get what probes find.
    Unmute {
        #[command(flatten)]
        which: Which,
    },
    /// Stop probes; health stays as it is.
    Pause {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        length: HowLong,
        #[command(flatten)]
        why: Why,
    },
    /// End `pause`: probe at once, and then as usual.
    Resume {
        #[command(flatten)]
        which: Which,
    },
    /// List what operators say of checks: force, mute, pause.
    Overrides,
    /// Read the checks from their source again.
    Reload,
    /// Check files of checks, without a server: prints every problem with its place. Exit status 1 if there is one.
    Validate(FilesArgs),
    /// Show what files of checks would cost, how soon they would notice, and what would change against the running checks.
    Plan(FilesArgs),
    /// Change what is logged until the next restart.
    LogLevel {
        /// As in the configuration: `info`, or `info,hc_manager=debug`.
        level: String,
    },
    /// Whether the checker can do its work: prints the reasons if not.
    Ready,
    /// Print the completions for a shell.
    #[command(hide = true)]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the page of all commands and options, as Markdown.
    #[command(hide = true)]
    Reference,
    /// Write the man pages into a directory.
    #[command(hide = true)]
    Man {
        /// The directory; it must exist.
        directory: PathBuf,
    },
}

/// Which files of checks.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// Files of checks, or globs.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// The most addresses that one CIDR range may stand for.
    #[arg(long, default_value = "65536", value_name = "NUMBER")]
    pub(crate) max_range: NonZeroUsize,
    /// The most checks in all.
    #[arg(long, default_value = "1000000", value_name = "NUMBER")]
    pub(crate) max_checks: NonZeroUsize,
}

/// Which checks, in which order.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only with this health; may be given several times.
    #[arg(long, value_name = "HEALTH")]
    pub(crate) health: Vec<HealthArg>,
    /// Only of this type (tcp, http, dns and so on); may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kinds: Vec<String>,
    /// Only with this name, or with a name that begins so: `web*`.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only with this label; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
    /// Only of this group: short for `--label group=GROUP`.
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Only those whose health is held because of trouble on the checker's machine.
    #[arg(long)]
    pub(crate) held: bool,
    /// In this order.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sort: Sort,
    /// Only those whose name, id, target or message has this text.
    pub(crate) text: Option<String>,
}

pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is written KEY=VALUE".to_owned()),
    }
}

/// A health, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HealthArg {
    /// The backend may get traffic.
    Healthy,
    /// It may not.
    Unhealthy,
    /// There is no verdict yet.
    Unknown,
}

/// An order of checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// What is down first, then what has no verdict, each by name.
    #[default]
    Health,
    /// By name.
    Name,
    /// What changed last first.
    Since,
    /// By address.
    Target,
}
