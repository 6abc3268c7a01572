//! The admin API of this server: its sockets, its thread, and what it shows.

mod actions;
mod connections;
mod lateness;
mod overrides;
mod reader;
mod scrape;
mod users;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use hc_admin::{Actions, Admin, Reader};
use hc_ipc::{Listener, PeerConfig, SocketConfig};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::AdminConfig;

pub(crate) use actions::ServerActions;
pub(crate) use connections::Doors;
pub(crate) use overrides::Overriding;
pub(crate) use reader::{Sources, ViewReader};
pub(crate) use users::Users;

/// Connections at once over the Unix socket, and over TCP.
const UNIX_CONNECTIONS: usize = 64;
const TCP_CONNECTIONS: usize = 256;

/// Descriptors that all of them need, and the thread's runtime.
pub(crate) const DESCRIPTORS: u64 = (UNIX_CONNECTIONS + TCP_CONNECTIONS + 8) as u64;

/// Opens the sockets. One that cannot be had is logged and done without: a checker that nobody can
/// look into still checks.
pub(crate) async fn open(config: &AdminConfig, beside: &std::path::Path) -> Doors {
    let mut doors = Doors::default();
    if !config.enabled {
        return doors;
    }
    let AdminConfig { socket, mode, user, group, allowed_users, allowed_groups, listen, .. } = config;
    let peers =
        PeerConfig { own_and_root: true, users: allowed_users.clone(), groups: allowed_groups.clone() };
    let path = socket.clone().unwrap_or_else(|| beside.with_file_name("hc-admin.sock"));
    let socket =
        SocketConfig { path: path.clone(), mode: *mode, user: user.clone(), group: group.clone(), peers };
    match Listener::bind(&socket).await {
        Ok(listener) => doors.unix = Some(listener),
        Err(error) => warn!(%error, "no admin socket: hcctl cannot reach this server"),
    }
    if let Some(address) = listen {
        match bind(*address) {
            Ok(listener) => doors.tcp = Some(listener),
            Err(error) => warn!(%address, %error, "no admin API over TCP: the address cannot be listened on"),
        }
    }
    doors
}

fn bind(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves `doors` on a thread of its own until `shutdown`; the future then ends.
///
/// # Errors
/// When no thread or no runtime can be had.
pub(crate) fn serve(
    doors: Doors,
    reader: Arc<dyn Reader>,
    actions: Arc<dyn Actions>,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
    let (ended, end) = oneshot::channel::<()>();
    let (hand_over, handed_over) = connections::channel();
    let (built, is_built) = std::sync::mpsc::sync_channel(1);
    let Doors { unix, tcp } = doors;
    let stop = shutdown.clone();
    thread::Builder::new()
        .name("hc-admin".to_owned())
        .spawn(move || {
            // In here, since a runtime must not be dropped where another one runs, as it would be
            // if there were no thread.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let (runtime, result) = match runtime {
                Ok(runtime) => (Some(runtime), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // It is waited for below.
            let _ = built.send(result);
            let Some(runtime) = runtime else { return };
            runtime.block_on(async {
                let admin = Admin::new(reader, actions, stop);
                let over_unix = admin.serve(handed_over, UNIX_CONNECTIONS);
                let over_tcp = async {
                    if let Some(listener) = tcp.and_then(|listener| connections::Tcp::new(listener).ok()) {
                        admin.serve(listener, TCP_CONNECTIONS).await;
                    }
                };
                tokio::join!(over_unix, over_tcp);
            });
            drop(ended);
        })
        .context("cannot start the thread of the admin API")?;
    is_built.recv().context("the thread of the admin API ended")?.context("cannot start the admin API")?;
    Ok(async move {
        // The socket is accepted on here, where its file is looked after, and served there.
        if let Some(listener) = unix {
            tokio::select! {
                () = connections::accept(listener, hand_over) => {}
                () = shutdown.cancelled() => {}
            }
        } else {
            drop(hand_over);
            shutdown.cancelled().await;
        }
        // An error is the end of the thread, which is what is waited for.
        let _ = end.await;
        Ok(())
    })
}
