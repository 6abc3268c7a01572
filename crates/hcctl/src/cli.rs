//! What can be asked for. Help, completions and man pages are made from these definitions.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::overrides::{Forced, HowLong, When, Which, Why};

/// Where hc-server serves its admin API: as the packaged service, and as it is without settings.
pub(crate) const SOCKETS: [&str; 2] = ["/run/seesaw-hc/hc-admin.sock", "/var/run/seesaw/hc-admin.sock"];

/// Asks hc-server what is down, since when, and why.
///
/// Exit status: 0 if all checks that were asked for are healthy (or what was asked for was done), 1
/// if one is not, 2 if that cannot be told: no server, no such check, wrong usage.
#[derive(Debug, Parser)]
#[command(name = "hcctl", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The server's admin socket. Without it, the first that is there:
    /// /run/seesaw-hc/hc-admin.sock, which the packaged service has, or
    /// /var/run/seesaw/hc-admin.sock.
    #[arg(long, global = true, env = "HCCTL_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Ask over TCP instead, at this address; nothing can be changed there.
    #[arg(long, global = true, env = "HCCTL_ADDRESS", value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// How long the server may take for an answer (10s unless said otherwise), or the probe of
    /// `check` for all of it (5s, or what the file says).
    #[arg(long, global = true, value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Option<Duration>,
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
    /// Print changes of health and of overrides as they happen, until interrupted.
    Watch {
        /// Begin with the changes that are still known.
        #[arg(long)]
        all: bool,
        /// Only changes of this kind. With `--json` those of overrides have `change` and
        /// `override`, and those of health `from` and `to`.
        #[arg(long, value_name = "KIND")]
        only: Option<WatchKind>,
    },
    /// Run one probe now, from here and without a server. Exit status: 0 if it passed, 1 if it
    /// failed, 2 if it could not be run.
    Check(CheckArgs),
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
    /// The fleet of nodes that share their checks.
    Fleet {
        /// What to do.
        #[command(subcommand)]
        command: FleetCommand,
    },
    /// Read the checks from their source again.
    Reload,
    /// Check files of checks, without a server: prints every problem with its place. Exit status 1
    /// if there is one.
    Validate(FilesArgs),
    /// Show what files of checks would cost, how soon they would notice, and what would change
    /// against the running checks.
    Plan(FilesArgs),
    /// Change what is logged until the next restart.
    LogLevel {
        /// As in the configuration: `info`, or `info,hc_manager=debug`.
        level: String,
    },
    /// Whether the checker can do its work: prints the reasons if not.
    Ready,
    /// Print the completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the page of all commands and options, as Markdown.
    #[command(hide = true)]
    Reference,
    /// Write the man pages into a directory.
    Man {
        /// The directory; it must exist.
        directory: PathBuf,
    },
}

/// What to do with a fleet.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// List the nodes as this server sees them: their zones, their shares, and whose opinions do not
    /// count. Exit status 1 if the server is cut off from the others or the opinions of a node do not
    /// count.
    Status,
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

/// One probe. The flags are short for keys of a file of checks.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CheckArgs {
    /// What to probe: `tcp://HOST:PORT`, `tls://HOST:PORT`, `http://HOST/PATH`,
    /// `https://HOST/PATH`, `grpc://HOST:PORT/SERVICE`, `udp://HOST:PORT`,
    /// `dns://SERVER/NAME?type=A`, `icmp://HOST`, `radius://SERVER?username=NAME`, `redis://HOST`,
    /// `smtp://HOST`, `postgresql://HOST`, `mysql://HOST`, `ldap://HOST`, `agent://HOST:PORT`; with
    /// TLS from the start `grpcs`, `rediss`, `smtps` and `ldaps`; with --file the name of a check
    /// in it.
    pub(crate) what: String,
    /// A file of checks, TOML or a cluster.pb.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mark", "host", "code", "body", "send", "receive", "insecure", "set"])]
    pub(crate) file: Option<PathBuf>,
    /// Print how long each phase took, the TLS handshake, and the beginning of the answer.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Send all packets with this socket mark.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) mark: Option<NonZeroU32>,
    /// HTTP: the Host field, and with https the name for SNI and the certificate.
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// HTTP: a status that passes, a range such as 200-299, or a class such as 2xx; may be given
    /// several times. Without it, 200.
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Vec<String>,
    /// HTTP: text with which the body must begin.
    #[arg(long, value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// TCP, TLS, UDP, agent: text to send.
    #[arg(long, value_name = "TEXT")]
    pub(crate) send: Option<String>,
    /// TCP, TLS, UDP: text with which the answer must begin.
    #[arg(long, value_name = "TEXT")]
    pub(crate) receive: Option<String>,
    /// TLS: take any certificate.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Any other key of a check, as in a file: `--set http.proxy=true`,
    /// `--set 'radius.secret_file="secret"'`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
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

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchKind {
    /// Of health.
    Health,
    /// Of what operators say: force, mute, pause.
    Override,
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;

    /// What is wrong with `hcctl …` as a page writes it: a command or an option that there is not.
    fn wrong_in(usage: &str) -> Option<String> {
        let root = Cli::command();
        let is_option = |word: &&str| word.starts_with('-');
        let words: Vec<&str> =
            usage.split_whitespace().map(|word| word.trim_matches(['[', ']', '\\'])).collect();
        let named = words.iter().copied().find(|word| word.chars().next().is_some_and(char::is_lowercase));
        let mut commands = vec![&root];
        for name in named.into_iter().flat_map(|names| names.split('|')) {
            let Some(found) = root.find_subcommand(name) else { return Some(format!("no command {name}")) };
            commands.push(found);
        }
        let known = |option: &str| {
            let mut all = commands.iter().flat_map(|command| command.get_arguments());
            all.any(|arg| match option.strip_prefix("--") {
                Some(long) => arg.get_long() == Some(long),
                None => arg.get_short().map(|short| format!("-{short}")).as_deref() == Some(option),
            })
        };
        words
            .into_iter()
            .filter(is_option)
            .find(|option| !known(option))
            .map(|option| format!("no option {option}"))
    }

    #[test]
    fn pages_and_alerts_name_commands_and_options_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = vec![root.join("README.md"), root.join("packaging/prometheus/hc-server.rules.yml")];
        let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        files.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
        let mut seen = 0;
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for usage in text.split("`hcctl ").skip(1).filter_map(|rest| rest.split('`').next()) {
                seen += 1;
                assert_eq!(wrong_in(usage), None, "`hcctl {usage}` in {}", file.display());
            }
        }
        assert!(seen > 50, "{seen}");
        assert_eq!(wrong_in("status --text warning"), Some("no option --text".to_owned()));
        assert_eq!(wrong_in("forget CHECK"), Some("no command forget".to_owned()));
    }
}
