//! The life of the server: what starts in which order, what is waited for, what ends in which
//! order.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use hc_checkers::{Checkers, CheckersConfig, Close, ProbeMemory, Roots, SystemRoots, TlsSessions};
use hc_ipc::{IpcConfig, Listener, PeerConfig, serve};
use hc_manager::{Manager, ManagerConfig, ManagerTask};
use hc_metrics::{Metrics, Sandbox};
use hc_notifier::{NotifierConfig, SharedOutbox};
use hc_pipeline::{
    Dependencies, Grouping, Guard, GuardFigures, Overrides, Pipeline, PipelineTask, Quorum, Stage,
};
use hc_types::{Counts, Override, Paused};
use hc_view::{Table, View, ViewConfig};
use listenfd::ListenFd;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Overriding, ServerActions, Sources, Users, ViewReader};
use crate::config::{
    ChecksConfig, CloseConfig, Config, GroupConfig, GuardConfig, NotifyConfig, SocketConfig,
};
use crate::fleet::{Fleet, FleetParts};
use crate::limits::{self, Descriptors};
use crate::parts::{Part, Parts};
use crate::roots::{RootsWatch, tell_problems};
use crate::server::{Consumer, Consumers, Outlet, Server, start_delivery, start_source};
use crate::service::{ServiceManager, Watchdog};
use crate::sets::Intake;
use crate::sinks::{Sinks, Surroundings};
use crate::snapshots::Snapshots;
use crate::traces::Traces;
use crate::wiring::{ChangeFlag, DirectoryNames, IpcDelivery, ManagerReprobe, node};
use crate::{FileChecks, dump, logging, sandbox, sets, source, startup};

/// Threads beside the shards: the main one, and those of the log, the signals, the snapshots, the
/// socket, the root certificates and the admin API. Files of checks have one more, and so has the
/// watchdog where a service manager listens.
const OWN_THREADS: usize = 7;

/// Runs the server: see [`Server::run`].
pub(crate) async fn run(server: Server) -> Result<()> {
    let Server {
        config,
        socket: with_socket,
        confine,
        signals,
        files,
        command_runner,
        shutdown,
        mut sources,
        mut deliveries,
        mut observers,
        fleet_store,
    } = server;
    let Config {
        source,
        socket,
        admin: admin_config,
        metrics: metrics_config,
        notify,
        checks,
        guard,
        log: _,
        state,
        trace,
        fleet,
        shutdown: ends,
        sinks,
    } = config;

    // What needs files and privileges, before they are given up.
    let service = ServiceManager::from_env();
    let files = files.map_or_else(|| FileChecks::load(&source), |files| Ok(Some(files)))?;
    let with_socket = with_socket && files.is_none();
    let threads = checks.shards.unwrap_or(ManagerConfig::default().shards);
    let sinks = Sinks::open(&sinks, command_runner)?;
    let traces = Traces::open(&trace)?;
    let fleet = Fleet::open(&fleet, fleet_store)?;
    let half_open = limits::HALF_OPEN.saturating_mul(u64::try_from(threads.get()).unwrap_or(u64::MAX));
    let of_files = files.as_ref().map_or(0, |_| source::DESCRIPTORS.saturating_add(half_open));
    let beside = of_files
        .saturating_add(sinks.descriptors() + traces.descriptors())
        .saturating_add(fleet.as_ref().map_or(0, Fleet::descriptors));
    let Descriptors { in_flight, lingering, idle, kept } =
        limits::descriptors(threads.get(), checks.max_kept, beside);
    let manager_config = manager_config(&checks, threads, in_flight);
    let sometimes = usize::from(files.is_some())
        + usize::from(service.is_some())
        + usize::from(fleet.is_some())
        + traces.threads();
    startup::memory(threads.get() + OWN_THREADS + sometimes + sinks.threads())?;
    let (system_roots, problems) = SystemRoots::load();
    tell_problems(problems);
    let mut checkers = checkers(&checks, system_roots.roots(), lingering / threads);
    (checkers.max_idle, checkers.max_kept) = (idle / threads, kept / threads);
    let doors = admin::open(&admin_config, &socket.path).await;
    let listener = if with_socket { Some(listen(socket).await?) } else { None };
    let path = listener.as_ref().map(|listener| listener.path().to_owned());
    let snapshots = Snapshots::open(&state)?;
    let (remembered, overrides) = snapshots.read();
    let users = Users::read();
    let mut confined = Sandbox::default();
    if confine {
        let mut readable = system_roots.reach();
        readable.extend(files.iter().flat_map(FileChecks::reach));
        readable.extend(traces.reach());
        readable.extend(fleet.iter().flat_map(Fleet::reach));
        let directories = [listener.as_ref().and_then(Listener::directory), doors.directory()];
        let chown = listener.as_ref().is_some_and(Listener::changes_owner) || doors.changes_owner();
        let sockets: Vec<&Path> = directories.into_iter().flatten().collect();
        confined = sandbox::enter(&sockets, snapshots.dir(), readable, chown, sinks.reach())?;
    }
    let _roots =
        RootsWatch::start(system_roots).context("cannot start the thread of the root certificates")?;
    logging::detach().context("cannot start the thread of the log")?;
    if let Err(error) = hc_checkers::can_observe_paths() {
        warn!(
            error = %error,
            "the kernel does not tell of changes of routes and interfaces: a path that is away for a moment can make checks fail"
        );
    }
    // Who gives up the signals is a whole process.
    let ends_process = signals.is_some();
    let dump = Arc::new(Notify::new());
    let reload = files.is_some().then(|| Arc::new(Notify::new()));
    if let Some(signals) = signals {
        signals
            .watch(shutdown.clone(), dump.clone(), reload.clone())
            .context("cannot start the thread of the signals")?;
    }
    let mut parts = Parts::default();
    let known = Arc::new(Sources::default());
    if let (Some(files), Some(reload)) = (files, reload) {
        let (source, reloads, following) = files.start(shutdown.clone())?;
        sources.push((source::NAME.into(), start_source(source)));
        known.reload_by(reloads.clone());
        parts.start(Part::Sets, source::reload_when(reload, reloads, shutdown.clone()));
        parts.start(Part::Sets, async move {
            following.await;
            Ok(())
        });
    }
    let snapshots = snapshots.start().context("cannot start the thread of the snapshots")?;

    // The parts, each with its own way to be told that it is over.
    let (stop_manager, stop_notifier, stop_ipc) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let has_traces = traces.threads() > 0;
    let (tracing, sending) = traces.start(known.directory(), node(), ends.grace, stop_notifier.clone())?;
    if has_traces {
        parts.start(Part::Traces, sending);
    }
    // Each consumer has one, so that none waits for another.
    let names = (1..=deliveries.len()).map(|number| format!("consumer-{number}").into());
    let outbox = |name: Arc<str>| (name, Arc::new(SharedOutbox::new(&notifier_config(&notify))));
    let own = names.chain(with_socket.then(|| "hc-proxy".into())).map(outbox);
    let own: Vec<(Arc<str>, Arc<SharedOutbox>)> = own.collect();
    let changed = ChangeFlag::default();
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    observers.push(Arc::new(changed.clone()));
    observers.push(metrics.clone());
    observers.extend(tracing.iter().map(|tracing| tracing.observer.clone()));
    let view_config = ViewConfig { transitions: admin_config.journal };
    let outlets = own.iter().map(|(_, outbox)| outbox.clone() as _).chain(sinks.outlets()).collect();
    // hc-proxy, and what a program gives this library, is what the server is there for.
    let required = |(name, outbox)| Consumer { name, outbox, required: true };
    let consumers: Consumers = own.into_iter().map(required).chain(sinks.consumers()).collect();
    let view = Arc::new(View::new(&view_config, outlets));
    let names = Arc::new(DirectoryNames(known.directory()));
    let paused = Arc::new(Paused::default());
    let dependencies = Dependencies::new(names.clone(), paused.clone());
    let dependents_held = dependencies.held();
    let (stages, guard) = stages(&guard, fleet.is_some());
    let pipeline = Pipeline::new(view.clone(), observers, stages);
    let overrides = overrides_stage(names.clone(), paused.clone(), overrides);
    let pipeline = match &fleet {
        None => pipeline.with_overrides(overrides),
        Some(_) => pipeline.with_fleet(Quorum::new(names, paused), overrides),
    };
    let pipeline = Arc::new(pipeline.with_first(Box::new(dependencies)));
    let (manager, manager_task) =
        Manager::start(manager_config, move || Checkers::new(checkers.clone()), pipeline.clone())
            .context("cannot start")?;
    let manager_task: ManagerTask =
        manager_task.with_remembered_of_older(remembered, hc_snapshot::version_1_key);
    let fleet = fleet.map(|fleet| {
        let (pipeline, manager, guard) = (pipeline.clone(), manager.clone(), guard.clone());
        fleet.start(FleetParts { pipeline, manager, guard, shutdown: shutdown.clone() })
    });
    let fleet = fleet.transpose()?.map(|(reader, running)| {
        parts.start(Part::Fleet, running);
        reader
    });
    let mut names: Vec<Arc<str>> = sources.iter().map(|(name, _)| name.clone()).collect();
    names.extend(with_socket.then(|| "hc-proxy".into()));
    let mut intakes = Intake::open(names, &known, &manager);
    let mut proxy = None;
    if let Some(listener) = listener {
        let config = IpcConfig::new(env!("CARGO_PKG_VERSION"));
        let (task, ipc, events) =
            serve(listener, config, stop_ipc.clone()).context("cannot start the thread of the socket")?;
        proxy = Some(ipc.clone());
        deliveries.push(start_delivery(IpcDelivery::new(ipc)));
        parts.start(Part::Ipc, async move {
            task.run().await;
            Ok(())
        });
        let intake = intakes.pop().context("a source without an intake")?;
        parts.start(Part::Sets, sets::serve(events, intake, view.clone()));
    }
    if !doors.is_shut() {
        let reader = ViewReader {
            view: view.clone(),
            pipeline: pipeline.clone(),
            dependents_held,
            guard,
            fleet,
            snapshots: snapshots.figures(),
            manager: manager.clone(),
            consumers: consumers.clone(),
            proxy,
            metrics,
            metrics_config,
            sandbox: confined,
            span_figures: tracing.map(|tracing| tracing.figures),
            sources: known.clone(),
            node: node(),
            started: SystemTime::now(),
        };
        let overriding = Overriding {
            pipeline: pipeline.clone(),
            view: view.clone(),
            known: known.clone(),
            users,
            flush: snapshots.flush(),
        };
        let actions = ServerActions::new(manager.clone(), view.clone(), known.clone(), overriding);
        let serving = admin::serve(doors, Arc::new(reader), Arc::new(actions), shutdown.clone())?;
        parts.start(Part::Admin, serving);
    }
    if sinks.threads() > 0 {
        let (view, pipeline) = (view.clone(), pipeline.clone());
        let (directory, grace, stop) = (known.directory(), ends.grace, stop_notifier.clone());
        parts.start(Part::Sinks, sinks.serve(Surroundings { view, pipeline, directory, grace, stop })?);
    }
    let watchdog = service.map(|service| Watchdog::start(service, manager.clone()));
    let watchdog = watchdog.transpose().context("cannot start the thread of the watchdog")?;
    startup::descriptors()?;
    let dumping = dump::serve(dump, manager.clone(), consumers.clone(), stop_manager.clone());

    parts.start(Part::Manager, {
        let stop = stop_manager.clone();
        async move { Ok(manager_task.run(stop).await?) }
    });
    if pipeline.has_stages() {
        let task = PipelineTask::new(pipeline.clone(), ManagerReprobe::new(manager.clone()));
        let stop = stop_manager.clone();
        parts.start(Part::Pipeline, async move {
            task.run(stop).await;
            Ok(())
        });
    }
    for (start, Consumer { outbox, .. }) in deliveries.into_iter().zip(consumers.iter()) {
        let (view, grace, stop) = (view.clone(), ends.grace, stop_notifier.clone());
        let task = start(Outlet { view, outbox: outbox.clone(), grace, stop });
        parts.start(Part::Notifier, async move {
            task.await;
            Ok(())
        });
    }
    for ((_, start), intake) in sources.into_iter().zip(intakes) {
        let task = start(intake, shutdown.clone());
        parts.start(Part::Sets, async move {
            task.await;
            Ok(())
        });
    }
    parts.start(Part::Snapshots, snapshots.keep(manager, pipeline, changed, shutdown.clone()));

    parts.start(Part::Dump, dumping);

    startup::started();
    logging::release();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = path.as_ref().map(|path| tracing::field::display(path.display())),
        threads,
        in_flight,
        "ready"
    );
    if let Some(watchdog) = &watchdog {
        watchdog.ready();
        watchdog.beat(|| status(&view), parts.wait_for_end(&shutdown)).await;
        watchdog.stopping();
    } else {
        parts.wait_for_end(&shutdown).await;
    }
    // Whatever the reason: the last snapshot while there is a manager to ask, then the probes, then
    // the last news while there is a socket to tell it through, then the socket.
    shutdown.cancel();
    parts.wait_for(Part::Admin).await;
    parts.wait_for(Part::Snapshots).await;
    parts.wait_for(Part::Fleet).await;
    stop_manager.cancel();
    parts.wait_for(Part::Manager).await;
    parts.wait_for(Part::Pipeline).await;
    parts.wait_for(Part::Dump).await;
    stop_notifier.cancel();
    parts.wait_for(Part::Notifier).await;
    parts.wait_for(Part::Sinks).await;
    parts.wait_for(Part::Traces).await;
    stop_ipc.cancel();
    parts.wait_for(Part::Ipc).await;
    parts.wait_for(Part::Sets).await;
    if ends_process {
        // The system takes the memory back at once; a million rows one by one take a while.
        std::mem::forget(view);
    }
    parts.result()
}

/// How the checks stand, in the words of `hcctl status`.
fn status(view: &View) -> String {
    let Counts { healthy, unhealthy, unknown, .. } = view.read(Table::counts);
    let total = healthy + unhealthy + unknown;
    format!("{total} checks: {healthy} healthy, {unhealthy} unhealthy, {unknown} unknown")
}

/// The socket of hc-proxy.
async fn listen(socket: SocketConfig) -> Result<Listener> {
    let socket = socket_config(socket);
    Ok(match activated()? {
        Some(handed_over) => Listener::handed_over(handed_over, &socket)?,
        None => Listener::bind(&socket).await?,
    })
}

/// The socket that systemd has bound for this process (sd_listen_fds(3)), if any.
fn activated() -> Result<Option<OwnedFd>> {
    let mut sockets = ListenFd::from_env();
    ensure!(sockets.len() <= 1, "{} sockets were handed over (LISTEN_FDS): one is needed", sockets.len());
    if sockets.len() == 0 {
        return Ok(None);
    }
    let socket = sockets.take_unix_listener(0).context("the descriptor that was handed over (LISTEN_FDS)")?;
    Ok(socket.map(OwnedFd::from))
}

fn checkers(config: &ChecksConfig, roots: Roots, max_lingering: usize) -> CheckersConfig {
    let close = match config.close {
        CloseConfig::Reset => Close::Reset,
        CloseConfig::Graceful => Close::Graceful,
    };
    let memory = ProbeMemory::new(config.probe_memory);
    let mut checkers = CheckersConfig::default();
    (checkers.close, checkers.roots) = (close, roots);
    (checkers.max_lingering, checkers.memory) = (max_lingering, memory);
    checkers.tls_sessions = TlsSessions::new(config.session_memory);
    checkers
}

fn socket_config(config: SocketConfig) -> hc_ipc::SocketConfig {
    let SocketConfig { path, mode, user, group, allowed_users, allowed_groups } = config;
    let peers = PeerConfig { own_and_root: true, users: allowed_users, groups: allowed_groups };
    hc_ipc::SocketConfig { path, mode, user, group, peers }
}

fn notifier_config(config: &NotifyConfig) -> NotifierConfig {
    let NotifyConfig { batch_delay, batch_size, interval } = *config;
    NotifierConfig::default().batch_delay(batch_delay).batch_size(batch_size).notify_interval(interval)
}

fn manager_config(config: &ChecksConfig, shards: NonZeroUsize, in_flight: usize) -> ManagerConfig {
    let ChecksConfig {
        shards: _,
        pin_shards,
        max_in_flight,
        close: _,
        first_probes_per_second,
        probe_memory: _,
        session_memory: _,
        max_kept: _,
        remember,
        hold_unreachable,
    } = *config;
    let in_flight = NonZeroUsize::new(in_flight).unwrap_or(NonZeroUsize::MIN);
    ManagerConfig::default()
        .shards(shards)
        .pinned(pin_shards)
        .max_in_flight(max_in_flight.map_or(in_flight, |wanted| wanted.min(in_flight)))
        .first_probes_per_second(first_probes_per_second)
        .remember(remember)
        .hold_unreachable(hold_unreachable)
}

/// The stage of what operators say of checks, with what they have said to an earlier process.
#[allow(clippy::disallowed_methods, reason = "the stage begins now")]
fn overrides_stage(names: Arc<DirectoryNames>, paused: Arc<Paused>, overrides: Vec<Override>) -> Overrides {
    Overrides::new(names, paused, overrides, SystemTime::now(), std::time::Instant::now())
}

/// What stands between the overrides and the consumers, or in a fleet between the dependencies and
/// the stage of the fleet, the first one first; and what the guard holds, if there is one. A new stage is a line here.
fn stages(guard: &GuardConfig, is_fleet: bool) -> (Vec<Box<dyn Stage>>, Option<Arc<GuardFigures>>) {
    let guard = guard_config(guard).map(Guard::new);
    let guard = guard.map(|guard| if is_fleet { guard.for_fleet() } else { guard });
    let figures = guard.as_ref().map(Guard::figures);
    (guard.into_iter().map(|guard| Box::new(guard) as Box<dyn Stage>).collect(), figures)
}

/// `None` while the guard is off.
fn guard_config(config: &GuardConfig) -> Option<hc_pipeline::GuardConfig> {
    let GuardConfig {
        enabled,
        share,
        window,
        min_group,
        ref groups,
        subnet_v4: v4,
        subnet_v6: v6,
        sample,
        rounds,
        round_pause,
        max_hold,
    } = *config;
    let grouping = |group: &GroupConfig| match group {
        GroupConfig::All => Grouping::All,
        GroupConfig::Subnet => Grouping::Subnet { v4, v6 },
        GroupConfig::CheckType => Grouping::CheckType,
    };
    let groups = groups.iter().map(grouping).collect();
    let min_group = min_group.get();
    enabled.then_some(hc_pipeline::GuardConfig {
        share,
        window,
        min_group,
        groups,
        sample,
        rounds,
        round_pause,
        max_hold,
    })
}
