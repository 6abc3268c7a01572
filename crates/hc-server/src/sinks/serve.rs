//! The thread of the sinks.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hc_notifier::{NotifierTask, SharedOutbox};
use hc_pipeline::Pipeline;
use hc_sinks::command::{Command, CommandConfig, RunnerHandle};
use hc_sinks::file::{EventLog, FileSink, StateFile};
use hc_sinks::haproxy::{Agent, Runtime};
use hc_sinks::{Resolve, Webhook};
use hc_sources::Directory;
use hc_view::View;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::delivery::{Driven, Sink, SinkDelivery};
use super::{OpenSink, Prepared, Ready, Sinks};
use crate::resolver::SystemResolve;

/// How long the last writing of a file may take after the grace.
const LAST_WRITE: Duration = Duration::from_millis(500);

/// What all of them share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) view: Arc<View>,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) directory: Arc<Directory>,
    /// How long the last news may take after `stop`.
    pub(crate) grace: Duration,
    pub(crate) stop: CancellationToken,
}

/// A sink that runs.
struct Running {
    driven: Arc<Driven>,
    outbox: Arc<SharedOutbox>,
    name: Arc<str>,
    /// Ends what goes on beside deliveries.
    end: CancellationToken,
}

impl Sinks {
    /// Starts the thread. The future ends when every sink has told the last that it could, which is
    /// within the grace.
    ///
    /// # Errors
    /// When the system has no thread, no runtime or no link to the process that runs commands.
    pub(crate) fn serve(
        self,
        surroundings: Surroundings,
    ) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        let (ended, end) = oneshot::channel();
        let (started, is_started) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new()
            .name("hc-sinks".to_owned())
            .spawn(move || {
                // In here, since a runtime must not be dropped where another one runs.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(started.send(Err(error.into()))),
                };
                let result = runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    let mut beside = JoinSet::new();
                    let begun = self.begin(&surroundings, &mut tasks, &mut beside).await;
                    let has_begun = begun.is_ok();
                    // Waited for below.
                    let _ = started.send(begun);
                    if !has_begun {
                        return Ok(());
                    }
                    // One that panicked takes the server with it, as every other part does.
                    while let Some(ended) = tasks.join_next().await {
                        ended.context("a sink")?;
                    }
                    Ok(())
                });
                // Nobody waits where the server has ended.
                let _ = ended.send(result);
            })
            .context("cannot start the thread of the sinks")?;
        is_started.recv().context("the thread of the sinks ended")?.context("cannot start the sinks")?;
        Ok(async move { end.await.context("the thread of the sinks ended")? })
    }

    /// `tasks` end by themselves; what is `beside` them does not.
    async fn begin(
        self,
        surroundings: &Surroundings,
        tasks: &mut JoinSet<()>,
        beside: &mut JoinSet<()>,
    ) -> Result<()> {
        let commands = self.commands();
        let Self { sinks, runner } = self;
        let runner = match runner {
            Some(link) => {
                Some(link_up(link, &commands, beside).await.context("the process that runs commands")?)
            }
            None => None,
        };
        let resolve: Arc<dyn Resolve> = Arc::new(SystemResolve::default());
        let mut command = 0;
        for OpenSink { prepared, listener, outbox, told } in sinks {
            let Prepared { name, filter, hears, required: _, notifier: _, node, ready } = prepared;
            let end = CancellationToken::new();
            let sink = match ready {
                Ready::Log(config) => Sink::File(FileSink::start("hc-log-file", EventLog::new(config))?),
                Ready::StateFile(config) => {
                    Sink::File(FileSink::start("hc-state-file", StateFile::new(config))?)
                }
                Ready::Webhook(config, tls) => Sink::Webhook(Webhook::new(config, tls, resolve.clone())),
                Ready::Command { spec, mode } => {
                    let program = spec.argv.first().cloned().unwrap_or_default();
                    let config = CommandConfig { command, program, timeout: spec.timeout, mode, node };
                    command += 1;
                    Sink::Command(Command::new(config, runner.clone().context("no process runs commands")?))
                }
                Ready::Runtime(config) => {
                    let runtime = Arc::new(Runtime::new(config));
                    let (watched, end) = (runtime.clone(), end.clone());
                    beside.spawn(async move { watched.watch(end).await });
                    Sink::Runtime(runtime)
                }
                Ready::Agent(config, _) => {
                    let agent = Arc::new(Agent::new(config));
                    let listener = TcpListener::from_std(listener.context("an agent without its socket")?)?;
                    beside.spawn(agent.clone().serve(listener, end.clone()));
                    Sink::Agent(agent)
                }
            };
            let Surroundings { view, pipeline, directory, .. } = surroundings.clone();
            let driven = Arc::new(Driven {
                sink,
                hears,
                name: name.clone(),
                filter,
                told,
                directory,
                view,
                pipeline,
                overrides: Mutex::default(),
                turn: Mutex::default(),
            });
            tasks.spawn(run(Running { driven, outbox, name, end }, surroundings.clone()));
        }
        Ok(())
    }
}

async fn link_up(
    link: StdUnixStream,
    commands: &[hc_sinks::command::CommandSpec],
    beside: &mut JoinSet<()>,
) -> Result<Arc<RunnerHandle>> {
    link.set_nonblocking(true)?;
    let (runner, task) = RunnerHandle::start(UnixStream::from_std(link)?, commands).await?;
    beside.spawn(task);
    Ok(Arc::new(runner))
}

/// Drives one sink until the end.
async fn run(sink: Running, surroundings: Surroundings) {
    let Running { driven, outbox, name, end } = sink;
    let Surroundings { view, grace, stop, .. } = surroundings;
    let last = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            sleep(grace.saturating_add(LAST_WRITE)).await;
        }
    };
    let told = async {
        NotifierTask::new(view, outbox, SinkDelivery(driven.clone()), grace, stop.clone())
            .named(name)
            .run()
            .await;
        // What was said last. It is tried once; that it fails has been logged if it did so before.
        while let Ok(true) = driven.tell_overrides().await {}
        driven.sink.finish().await;
    };
    tokio::select! {
        // Not before the task that delivers has said what it could not.
        biased;
        () = told => {}
        () = driven.forget_what_ends() => {}
        () = driven.follow_overrides() => {}
        // The task that delivers keeps the grace itself, so only a disk that hangs comes here.
        () = last => {}
    }
    end.cancel();
}
