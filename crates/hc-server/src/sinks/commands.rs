//! The process that runs commands for sinks.
//!
//! The server gives up the right to start programs. So it starts one, itself again, before:
//! `hc-server --command-runner`, with one end of a pair of sockets as its standard input. That
//! process knows the commands of the configuration and starts nothing else. It ends when the other
//! end closes, however the server ends, and what it runs ends with it.

use std::io;
use std::os::fd::{AsFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use hc_sinks::command::runner;
use listenfd::ListenFd;
use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, SinkKind};

/// The argument with which the server starts itself as a runner.
pub const ARGUMENT: &str = "--command-runner";

/// Starts the process if a sink of `config` runs a command. To be called before the sandbox is
/// entered, of whose restrictions the commands would suffer.
///
/// # Errors
/// When the system has no process or no sockets to spare.
pub fn start(config: &Config) -> Result<Option<UnixStream>> {
    if !config.sinks.iter().any(|sink| sink.kind == SinkKind::Command) {
        return Ok(None);
    }
    keep_socket();
    let (ours, theirs) = UnixStream::pair().context("cannot make a pair of sockets")?;
    // The file of the program may have been replaced, as by an upgrade.
    let mut command = Command::new("/proc/self/exe");
    // In a process group of its own: a key at the terminal ends the server, which then still has
    // something to tell.
    command.arg0("hc-server").arg(ARGUMENT).process_group(0);
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
    // What systemd says is for the server alone.
    for variable in
        ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"]
    {
        command.env_remove(variable);
    }
    // Not waited for: it ends when `ours` closes, which at the latest is the end of this process.
    command.spawn().context("cannot start the process that runs commands")?;
    Ok(Some(ours))
}

/// Marks the socket that systemd has handed over (sd_listen_fds(3)), which is inherited until then:
/// a command would keep it.
fn keep_socket() {
    let mut sockets = ListenFd::from_env();
    for index in 0..sockets.len() {
        // To take it marks it. It is let go again, for the part that serves it, which also says
        // what is wrong with it.
        if let Ok(Some(socket)) = sockets.take_unix_listener(index) {
            let _ = socket.into_raw_fd();
        }
    }
}

/// What the process does. Blocks until its server is gone.
///
/// # Errors
/// When it was not started by a server, or the link to it breaks.
pub fn serve() -> Result<()> {
    // Those that the service has for its checks are not for commands.
    hc_sandbox::pass_on_no_capabilities()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let _heard = outlast_signals().context("cannot watch the signals")?;
        // The server had blocked all of them, and what is started here must not inherit that.
        SigSet::empty().thread_set_mask().context("cannot unblock the signals")?;
        let link = link().with_context(|| format!("{ARGUMENT} is for hc-server alone"))?;
        runner::serve(link).await.context("the link to hc-server broke")
    })
}

/// The socket that is standard input.
fn link() -> io::Result<tokio::net::UnixStream> {
    // A copy, which is closed in whatever is started here.
    let link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Anything but a socket has none.
    link.local_addr()?;
    link.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(link)
}

/// Signals to all processes of a service must not end this one before the server, which still tells
/// what it knows. They are caught and not ignored, since what is ignored stays so in a command.
fn outlast_signals() -> io::Result<Vec<Signal>> {
    let kinds = [
        SignalKind::alarm(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::pipe(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    kinds.into_iter().map(signal).collect()
}
