//! From the sources to the manager: sets of checks, and questions about them.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use hc_ipc::{IpcEvent, IpcEvents};
use hc_manager::Manager;
use hc_sources::{Admission, Admitted, SourceId};
use hc_types::{CheckStatus, Proposal, Source};
use hc_view::{CheckView, Cursor, Page, View};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::admin::Sources;

/// Rejected checks of one set that the log names.
const NAMED: usize = 100;

/// Slots of the view that one message covers. A message is made when it is written, so that the
/// statuses of a million checks do not hold up everything else on this thread for more than a
/// second.
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

/// Where the proposals of one source are judged and take effect. Those of all sources do so one
/// after the other.
pub(crate) struct Intake {
    admission: Arc<Mutex<Admission>>,
    source: SourceId,
    name: Arc<str>,
    manager: Manager,
    known: Arc<Sources>,
}

impl Intake {
    /// For each of these sources one. What readers want to know of them and of their checks is kept
    /// in `known`.
    pub(crate) fn open(names: Vec<Arc<str>>, known: &Arc<Sources>, manager: &Manager) -> Vec<Self> {
        let mut admission = Admission::new(known.directory());
        let sources: Vec<_> = names.into_iter().map(|name| (admission.add(name.clone()), name)).collect();
        let admission = Arc::new(Mutex::new(admission));
        let intake = |(source, name)| {
            let (admission, manager, known) = (admission.clone(), manager.clone(), known.clone());
            Self { admission, source, name, manager, known }
        };
        sources.into_iter().map(intake).collect()
    }

    /// Returns when the change is in effect and the source has its reply.
    async fn take(&self, proposal: Proposal) {
        let mut admission = self.admission.lock().await;
        let (Admitted { change, rejected }, reply) = admission.admit(self.source, proposal);
        // A manager that has ended takes the process with it: there is nobody to answer.
        let Ok(_) = self.manager.apply(change).await else { return };
        drop(admission);
        self.known.applied(rejected.len(), SystemTime::now());
        for rejection in rejected.iter().take(NAMED) {
            let id = rejection.id.map(tracing::field::display);
            warn!(id, reason = rejection.reason, source = &*self.name, "a check is rejected");
        }
        if rejected.len() > NAMED {
            warn!(checks = rejected.len() - NAMED, "more checks are rejected; the peer is told why");
        }
        reply.applied(rejected);
    }
}

/// Takes what a source proposes, until `stop`.
pub(crate) async fn pump(mut source: impl Source, intake: Intake, stop: CancellationToken) {
    // `next` is cancel safe by its contract.
    while let Some(Some(proposal)) = stop.run_until_cancelled(source.next()).await {
        intake.take(proposal).await;
    }
    // The checks of a source that has ended run on, and so does this task.
    stop.cancelled().await;
}

/// Takes the sets of hc-proxy and answers questions from the view, until the socket is closed. One
/// after the other, so that an answer shows the set that was sent before the question.
pub(crate) async fn serve(mut events: IpcEvents, intake: Intake, view: Arc<View>) -> Result<()> {
    while let Some(event) = events.recv().await {
        match event {
            // Checks run on, whoever comes or goes.
            IpcEvent::Connected { .. } | IpcEvent::Disconnected { .. } => {}
            IpcEvent::Set(proposal) => intake.take(proposal).await,
            IpcEvent::StatusRequest { reply } => reply.pages(Pages::new(view.clone())),
        }
    }
    Ok(())
}
