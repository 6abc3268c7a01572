//! From the socket to the manager: sets of checks, and questions about them.

use std::sync::Arc;
use std::vec::IntoIter;

use anyhow::Result;
use hc_ipc::{IpcEvent, IpcEvents};
use hc_manager::Manager;
use hc_sources::{Admission, Admitted};
use hc_types::{CheckId, CheckSpec, CheckStatus, Status};
use tracing::warn;

/// Rejected checks of one set that the log names.
const NAMED: usize = 100;

/// Statuses in one message. They are put into words when it is written: a million at once would hold up everything else on
/// this thread for more than a second.
const PAGE: usize = 500;

/// Statuses, page by page.
struct Pages(IntoIter<(CheckId, Arc<CheckSpec>, Status)>);

impl Iterator for Pages {
    type Item = Vec<CheckStatus>;

    fn next(&mut self) -> Option<Vec<CheckStatus>> {
        let page: Vec<_> =
            self.0.by_ref().take(PAGE).map(|(id, spec, status)| CheckStatus { id, spec, status }).collect();
        (!page.is_empty()).then_some(page)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let pages = self.0.len().div_ceil(PAGE);
        (pages, Some(pages))
    }
}

impl ExactSizeIterator for Pages {}

/// Hands everything that the peer wants to the manager, until the socket is closed.
pub(crate) async fn serve(mut events: IpcEvents, manager: Manager) -> Result<()> {
    let mut admission = Admission::new(Arc::default());
    let source = admission.add("hc-proxy");
    while let Some(event) = events.recv().await {
        match event {
            // Checks run on, whoever comes or goes.
            IpcEvent::Connected { .. } | IpcEvent::Disconnected { .. } => {}
            IpcEvent::Set(proposal) => {
                let (Admitted { change, rejected }, reply) = admission.admit(source, proposal);
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
                reply.pages(Pages(rows.into_iter()));
            }
        }
    }
    Ok(())
}
