//! From the socket to the manager: sets of checks, and questions about them.

use anyhow::Result;
use hc_ipc::{IpcEvent, IpcEvents};
use hc_manager::Manager;
use hc_types::wire::{Notification, StatusLine};
use tracing::warn;

/// Rejected checks of one set that the log names.
const NAMED: usize = 100;

/// Hands everything that the peer wants to the manager, until the socket is closed.
pub(crate) async fn serve(mut events: IpcEvents, manager: Manager) -> Result<()> {
    while let Some(event) = events.recv().await {
        match event {
            // Checks run on, whoever comes or goes.
            IpcEvent::Connected { .. } | IpcEvent::Disconnected { .. } => {}
            IpcEvent::Set { change, rejected, reply } => {
                // A manager that has ended takes the process with it: there is nobody to answer.
                let Ok(_) = manager.apply(change).await else { continue };
                for rejection in rejected.iter().take(NAMED) {
                    warn!(id = rejection.id.map(|id| id.0), reason = rejection.reason, "a check is rejected");
                }
                if rejected.len() > NAMED {
                    warn!(checks = rejected.len() - NAMED, "more checks are rejected; the peer is told why");
                }
                reply.applied(rejected);
            }
            IpcEvent::StatusRequest { reply } => {
                let Ok(rows) = manager.statuses().await else { continue };
                let lines = rows
                    .into_iter()
                    .map(|(id, spec, status)| Notification { id, status: StatusLine::new(&spec, &status) });
                reply.statuses(lines.collect());
            }
        }
    }
    Ok(())
}
