//! The sinks of the configuration: consumers beside hc-proxy, on a thread of their own.
//!
//! `SinkPlan` is one of them as the configuration has it, `Sinks` are all of them with what they
//! need open, and `Sinks::serve` runs them. Each is a consumer like hc-proxy, with an outbox of its
//! own.

pub mod commands;
mod delivery;
mod filter;
mod plan;
mod serve;
mod told;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use hc_notifier::SharedOutbox;
use hc_sinks::command::CommandSpec;
use hc_sinks::haproxy::AGENT_CONNECTIONS;
use hc_view::Outlet;

use crate::config::{SinkConfig, plans};
use crate::server::Consumer;

use delivery::Hears;
#[cfg(feature = "otlp")]
pub(crate) use filter::Filter;
pub use filter::Glob;
pub(crate) use plan::{Prepared, Ready, SinkPlan};
pub(crate) use serve::Surroundings;
use told::{SinkOutlet, Told};

/// Descriptors of the thread's runtime, and of the link to the process that runs commands.
const OWN_DESCRIPTORS: u64 = 8;

/// All sinks, with what they need open.
#[derive(Default)]
pub(crate) struct Sinks {
    sinks: Vec<OpenSink>,
    /// The other end of it runs commands.
    runner: Option<UnixStream>,
}

struct OpenSink {
    prepared: Prepared,
    /// Of an agent.
    listener: Option<TcpListener>,
    outbox: Arc<SharedOutbox>,
    told: Arc<Told>,
}

/// What stays within reach in the sandbox.
#[derive(Default)]
pub(crate) struct Reach {
    /// Directories in which files are made and replaced.
    pub(crate) writable: Vec<PathBuf>,
    /// Files that are read.
    pub(crate) readable: Vec<PathBuf>,
}

impl Sinks {
    /// Opens what the sinks need of files and privileges. `runner` leads to the process that runs
    /// commands.
    ///
    /// # Errors
    /// When a sink does not make sense, or cannot have what it needs.
    pub(crate) fn open(sinks: &[SinkConfig], runner: Option<UnixStream>) -> Result<Self> {
        let plans = plans(sinks).map_err(|problems| {
            let words = problems.iter().map(|(_, problem)| format!("`{}`: {}", problem.key, problem.problem));
            anyhow!("sinks: {}", words.collect::<Vec<_>>().join("; "))
        })?;
        let sinks: Vec<OpenSink> = plans.into_iter().map(open).collect::<Result<_>>()?;
        let has_commands = sinks.iter().any(|sink| matches!(sink.prepared.ready, Ready::Command { .. }));
        ensure!(
            runner.is_some() || !has_commands,
            "a sink runs commands, and there is no process to run them: see Server::command_runner"
        );
        Ok(Self { sinks, runner: runner.filter(|_| has_commands) })
    }

    /// As readers see them.
    pub(crate) fn consumers(&self) -> impl Iterator<Item = Consumer> {
        self.sinks.iter().map(|sink| Consumer {
            name: sink.prepared.name.clone(),
            outbox: sink.outbox.clone(),
            required: sink.prepared.required,
        })
    }

    /// What follows the view for them.
    pub(crate) fn outlets(&self) -> impl Iterator<Item = Arc<dyn Outlet>> {
        self.sinks.iter().map(|sink| {
            Arc::new(SinkOutlet { outbox: sink.outbox.clone(), told: sink.told.clone() }) as Arc<dyn Outlet>
        })
    }

    /// Descriptors that they use.
    pub(crate) fn descriptors(&self) -> u64 {
        let each = self.sinks.iter().map(|sink| match sink.prepared.ready {
            Ready::Agent(..) => AGENT_CONNECTIONS as u64 + 1,
            Ready::Webhook(..) | Ready::Runtime(_) | Ready::Log(_) | Ready::StateFile(_) => 4,
            Ready::Command { .. } => 0,
        });
        if self.sinks.is_empty() { 0 } else { OWN_DESCRIPTORS + each.sum::<u64>() }
    }

    /// Threads that they use: one for all, and one for each file.
    pub(crate) fn threads(&self) -> usize {
        let is_file = |sink: &&OpenSink| matches!(sink.prepared.ready, Ready::Log(_) | Ready::StateFile(_));
        usize::from(!self.sinks.is_empty()) + self.sinks.iter().filter(is_file).count()
    }

    /// What stays within reach in the sandbox.
    pub(crate) fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        for sink in &self.sinks {
            match &sink.prepared.ready {
                Ready::StateFile(file) => reach.writable.extend(file.path.parent().map(PathBuf::from)),
                Ready::Log(log) => {
                    let directory = log.path.as_deref().and_then(std::path::Path::parent);
                    reach.writable.extend(directory.map(PathBuf::from));
                }
                Ready::Webhook(webhook, _) if webhook.url.host().parse::<std::net::IpAddr>().is_err() => {
                    reach.readable.extend(hc_resolve::system_reach());
                }
                Ready::Webhook(..) | Ready::Command { .. } | Ready::Runtime(_) | Ready::Agent(..) => {}
            }
        }
        reach
    }

    /// The commands, in the order of their sinks.
    fn commands(&self) -> Vec<CommandSpec> {
        let command = |sink: &OpenSink| match &sink.prepared.ready {
            Ready::Command { spec, .. } => Some(spec.clone()),
            _ => None,
        };
        self.sinks.iter().filter_map(command).collect()
    }
}

fn open(plan: SinkPlan) -> Result<OpenSink> {
    let name = plan.name.clone();
    let prepared =
        plan.prepare().map_err(|wrong| anyhow!("sink {name:?}: `{}`: {}", wrong.key, wrong.problem))?;
    let listener = match &prepared.ready {
        Ready::Agent(_, address) => {
            Some(listen(*address).with_context(|| format!("sink {name:?}: cannot listen on {address}"))?)
        }
        _ => None,
    };
    let outbox = Arc::new(SharedOutbox::new(&prepared.notifier));
    Ok(OpenSink { prepared, listener, outbox, told: Arc::default() })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
