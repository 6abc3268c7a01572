//! From the socket to the manager: sets of checks, and questions about them.

use std::sync::Arc;

use anyhow::Result;
use hc_ipc::{IpcEvent, IpcEvents};
use hc_manager::Manager;
use hc_sources::{Admission, Admitted};
use hc_types::CheckStatus;
use hc_view::{CheckView, Cursor, Page, View};
use tracing::warn;

/// Rejected checks of one set that the log names.
const NAMED: usize = 100;

/// Slots of the view that one message covers. A message is made when it is written, so that the statuses of a million
/// checks do not hold up everything else on this thread for more than a second.
const PAGE: usize = 500;

/// The statuses of all checks, page by page.
struct Pages {
    view: Arc<View>,
    next: Option<Cursor>,
    left: usize,
}

impl Pages {
    /// So many as the view has now. What begins or ends meanwhile may be in them or not.
    fn new(view: Arc<View>) -> Self {
        let left = view.slots().div_ceil(PAGE);
        Self { view, next: Some(Cursor::default()), left }
    }
}

impl Iterator for Pages {
    type Item = Vec<CheckStatus>;

    fn next(&mut self) -> Option<Vec<CheckStatus>> {
        self.left = self.left.checked_sub(1)?;
        // The set may have become smaller, but as many pages were promised.
        let Some(from) = self.next.take() else { return Some(Vec::new()) };
        let Page { checks, next } = self.view.page(from, PAGE);
        self.next = next;
        let status = |CheckView { id, spec, status, .. }| CheckStatus { id, spec, status };
        Some(checks.into_iter().map(status).collect())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Pages {}

/// Hands every set to the manager and answers questions from the view, until the socket is closed.
pub(crate) async fn serve(mut events: IpcEvents, manager: Manager, view: Arc<View>) -> Result<()> {
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
                reply.pages(Pages::new(view.clone()));
            }
        }
    }
    Ok(())
}
