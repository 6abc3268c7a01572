//! One sink, from its keys to what it is made of.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hc_notifier::NotifierConfig;
use hc_sinks::command::{CommandMode, CommandSpec};
use hc_sinks::file::{EventLogConfig, StateFileConfig};
use hc_sinks::haproxy::{AgentConfig, RuntimeAddress, RuntimeConfig};
use hc_sinks::{Template, TlsClient, Url, WebhookConfig};
use hc_types::{RawBytes, Secret};

use super::Hears;
use super::filter::Filter;
use crate::config::{EventKind, RunConfig, SinkConfig, SinkKind, SinkProblem};
use crate::wiring::node;

/// The longest secret. One that is longer is most likely another file.
const SECRET: u64 = 64 * 1024;

/// A sink whose keys make sense together. Nothing has been looked up yet.
#[derive(Clone, Debug)]
pub(crate) struct SinkPlan {
    pub(crate) name: Arc<str>,
    filter: Filter,
    hears: Hears,
    required: bool,
    notifier: NotifierConfig,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Log { path: Option<PathBuf>, mode: u32 },
    StateFile { path: PathBuf, mode: u32, interval: Duration },
    Webhook { url: Url, secret_file: Option<PathBuf>, ca_file: Option<PathBuf>, timeout: Duration },
    Command { spec: CommandSpec, mode: CommandMode },
    Runtime(RuntimeConfig),
    Agent { listen: SocketAddr, server: Template },
}

/// A sink with what it needs of files.
pub(crate) struct Prepared {
    pub(crate) name: Arc<str>,
    pub(crate) filter: Filter,
    pub(crate) hears: Hears,
    /// While it fails, the server is not ready.
    pub(crate) required: bool,
    pub(crate) notifier: NotifierConfig,
    pub(crate) node: String,
    pub(crate) ready: Ready,
}

/// What it is made of.
pub(crate) enum Ready {
    Log(EventLogConfig),
    StateFile(StateFileConfig),
    Webhook(WebhookConfig, TlsClient),
    Command { spec: CommandSpec, mode: CommandMode },
    Runtime(RuntimeConfig),
    Agent(AgentConfig, SocketAddr),
}

/// The keys of a kind beside those that all have.
fn keys(kind: SinkKind) -> &'static [&'static str] {
    match kind {
        SinkKind::Log => &["path", "mode", "events"],
        SinkKind::StateFile => &["path", "mode", "write_interval"],
        SinkKind::Webhook => &["url", "secret_file", "ca_file", "timeout", "events"],
        SinkKind::Command => &["command", "run", "timeout", "events"],
        SinkKind::Haproxy => &["socket", "server"],
        SinkKind::HaproxyAgent => &["listen", "server"],
    }
}

fn word(kind: SinkKind) -> &'static str {
    match kind {
        SinkKind::Log => "log",
        SinkKind::StateFile => "state-file",
        SinkKind::Webhook => "webhook",
        SinkKind::Command => "command",
        SinkKind::Haproxy => "haproxy",
        SinkKind::HaproxyAgent => "haproxy-agent",
    }
}

impl SinkPlan {
    /// # Errors
    /// Everything that is wrong with its keys.
    pub(crate) fn new(sink: &SinkConfig) -> Result<Self, Vec<SinkProblem>> {
        let mut problems = foreign_keys(sink);
        let kind = kind(sink, &mut problems);
        let hears = hears(sink, &mut problems);
        let Some(kind) = kind.filter(|_| problems.is_empty()) else { return Err(problems) };
        let labels = sink.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let filter = Filter { names: sink.names.clone(), labels, groups: sink.groups.clone() };
        let defaults = NotifierConfig::default();
        let (delay, interval) = (defaults.batch_delay, defaults.notify_interval);
        let notifier = defaults
            .batch_delay(sink.batch_delay.unwrap_or(delay))
            .batch_size(sink.batch_size.unwrap_or(batch_size(&kind)))
            .notify_interval(sink.interval.unwrap_or(interval));
        Ok(Self { name: sink.name.as_str().into(), filter, hears, required: sink.required, notifier, kind })
    }

    /// Reads the files that it names, and looks whether those are there that it will use.
    ///
    /// # Errors
    /// The key that names what is not as it should be.
    pub(crate) fn prepare(self) -> Result<Prepared, SinkProblem> {
        let Self { name, filter, hears, required, notifier, kind } = self;
        let node = node();
        let ready = match kind {
            Kind::Log { path, mode } => {
                path.as_deref().map_or(Ok(()), file_can_be)?;
                Ready::Log(EventLogConfig { path, mode, node: node.clone() })
            }
            Kind::StateFile { path, mode, interval } => {
                file_can_be(&path)?;
                Ready::StateFile(StateFileConfig { path, mode, interval, node: node.clone() })
            }
            Kind::Webhook { url, secret_file, ca_file, timeout } => {
                let secret = secret_file.as_deref().map(secret).transpose()?;
                let tls = TlsClient::load(ca_file.as_deref());
                let tls = tls.map_err(|error| SinkProblem::new("ca_file", error))?;
                Ready::Webhook(WebhookConfig { url, secret, timeout, node: node.clone() }, tls)
            }
            Kind::Command { spec, mode } => {
                can_be_run(Path::new(&spec.argv[0]))?;
                Ready::Command { spec, mode }
            }
            Kind::Runtime(config) => Ready::Runtime(config),
            Kind::Agent { listen, server } => Ready::Agent(AgentConfig { name: server }, listen),
        };
        Ok(Prepared { name, filter, hears, required, notifier, node, ready })
    }
}

/// Keys that another kind has.
fn foreign_keys(sink: &SinkConfig) -> Vec<SinkProblem> {
    let given = [
        ("path", sink.path.is_some()),
        ("mode", sink.mode.is_some()),
        ("write_interval", sink.write_interval.is_some()),
        ("url", sink.url.is_some()),
        ("secret_file", sink.secret_file.is_some()),
        ("ca_file", sink.ca_file.is_some()),
        ("timeout", sink.timeout.is_some()),
        ("command", sink.command.is_some()),
        ("run", sink.run.is_some()),
        ("socket", sink.socket.is_some()),
        ("server", sink.server.is_some()),
        ("listen", sink.listen.is_some()),
        ("events", sink.events.is_some()),
    ];
    let own = keys(sink.kind);
    let foreign = given.into_iter().filter(|(key, is_given)| *is_given && !own.contains(key));
    let problem = |(key, _)| {
        let text = format!("a sink of kind {:?} has no such key, but {}", word(sink.kind), own.join(", "));
        SinkProblem::new(key, text)
    };
    foreign.map(problem).collect()
}

/// `None` when a key is missing or wrong, which is then among the problems.
fn kind(sink: &SinkConfig, problems: &mut Vec<SinkProblem>) -> Option<Kind> {
    fn needed<T: Clone>(key: &'static str, value: Option<&T>, problems: &mut Vec<SinkProblem>) -> Option<T> {
        if value.is_none() {
            problems.push(SinkProblem::new(key, "is needed"));
        }
        value.cloned()
    }
    for (key, path) in [("path", &sink.path), ("secret_file", &sink.secret_file), ("ca_file", &sink.ca_file)]
    {
        if path.as_ref().is_some_and(|path| !path.is_absolute() || path.file_name().is_none()) {
            problems.push(SinkProblem::new(key, "is not the absolute path of a file"));
        }
    }
    let mode = sink.mode.unwrap_or(0o640);
    let second = Duration::from_secs(1);
    let template = |text: &str| -> Template { text.parse().expect("a template of the program itself") };
    Some(match sink.kind {
        SinkKind::Log => Kind::Log { path: sink.path.clone(), mode },
        SinkKind::StateFile => Kind::StateFile {
            path: needed("path", sink.path.as_ref(), problems)?,
            mode,
            interval: sink.write_interval.unwrap_or(second),
        },
        SinkKind::Webhook => Kind::Webhook {
            url: needed("url", sink.url.as_ref(), problems)?,
            secret_file: sink.secret_file.clone(),
            ca_file: sink.ca_file.clone(),
            timeout: sink.timeout.unwrap_or(5 * second),
        },
        SinkKind::Command => {
            let argv = needed("command", sink.command.as_ref(), problems)?;
            if !argv.first().is_some_and(|program| program.starts_with('/')) {
                problems
                    .push(SinkProblem::new("command", "does not begin with the absolute path of a program"));
            }
            if argv.iter().any(|word| word.contains('\0')) {
                problems.push(SinkProblem::new("command", "has a zero byte, which no argument can have"));
            }
            let mode = match sink.run.unwrap_or_default() {
                RunConfig::Each => CommandMode::Each,
                RunConfig::Batch => CommandMode::Batch,
            };
            if mode == CommandMode::Each && sink.batch_size.is_some_and(|size| size.get() > 1) {
                problems.push(SinkProblem::new("batch_size", "only with `run = \"batch\"`"));
            }
            Kind::Command { spec: CommandSpec { argv, timeout: sink.timeout.unwrap_or(10 * second) }, mode }
        }
        SinkKind::Haproxy => {
            let address: RuntimeAddress = needed("socket", sink.socket.as_ref(), problems)?;
            let server = sink.server.clone().unwrap_or_else(|| template("{label.group}/{name}"));
            Kind::Runtime(RuntimeConfig { address, server })
        }
        SinkKind::HaproxyAgent => Kind::Agent {
            listen: needed("listen", sink.listen.as_ref(), problems)?,
            server: sink.server.clone().unwrap_or_else(|| template("{name}")),
        },
    })
}

fn hears(sink: &SinkConfig, problems: &mut Vec<SinkProblem>) -> Hears {
    if sink.kind == SinkKind::StateFile {
        return Hears::States;
    }
    // A receiver that was written before there were others takes these.
    let events = sink.events.as_deref().unwrap_or(&[EventKind::Health]);
    if events.is_empty() {
        problems.push(SinkProblem::new("events", "names none, so the sink would hear of nothing"));
    }
    let has = |kind| events.contains(&kind);
    Hears::Changes { health: has(EventKind::Health), overrides: has(EventKind::Override) }
}

fn batch_size(kind: &Kind) -> NonZeroUsize {
    const fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).expect("not 0")
    }
    match kind {
        // What runs next is what is true by then.
        Kind::Command { mode: CommandMode::Each, .. } => const { size(1) },
        Kind::Log { .. } | Kind::StateFile { .. } => const { size(1000) },
        _ => const { size(100) },
    }
}

/// Whether the file can be made or replaced, as far as can be told without doing it.
fn file_can_be(path: &Path) -> Result<(), SinkProblem> {
    if path.is_dir() {
        return Err(SinkProblem::new("path", format_args!("{} is a directory", path.display())));
    }
    let directory = path.parent().unwrap_or(path);
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(SinkProblem::new("path", format_args!("{} is not a directory", directory.display()))),
        Err(error) => Err(at("path", directory, error)),
    }
}

fn secret(path: &Path) -> Result<Secret, SinkProblem> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(SECRET + 1).read_to_end(&mut bytes));
    read.map_err(|error| at("secret_file", path, error))?;
    // An editor ends the line, and a secret is typed on one.
    let end = bytes.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    bytes.truncate(end);
    if bytes.is_empty() {
        return Err(at("secret_file", path, "is empty"));
    }
    if bytes.len() as u64 > SECRET {
        return Err(at("secret_file", path, "is longer than 64 KiB"));
    }
    Ok(RawBytes::from(bytes).into())
}

fn can_be_run(program: &Path) -> Result<(), SinkProblem> {
    let found = fs::metadata(program).map_err(|error| at("command", program, error))?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err(at("command", program, "is not a program"));
    }
    Ok(())
}

fn at(key: &'static str, path: &Path, problem: impl fmt::Display) -> SinkProblem {
    SinkProblem::new(key, format_args!("{}: {problem}", path.display()))
}
