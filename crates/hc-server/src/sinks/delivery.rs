//! From a batch of an outbox, and from the journal of overrides, to what a sink takes.

use std::collections::BTreeSet;
use std::sync::Arc;

use hc_notifier::{Delivery, DeliveryError};
use hc_pipeline::{Pipeline, Standings};
use hc_sinks::command::Command;
use hc_sinks::file::FileSink;
use hc_sinks::haproxy::{Agent, Runtime};
use hc_sinks::{OverrideNews, Report, SinkError, Webhook};
use hc_sources::Directory;
use hc_types::{Batch, CheckId, CheckStatus};
use hc_view::{CheckView, Cursor, OverrideChange, OverrideChanges, Reported, View};
use tokio::sync::Mutex;

use super::filter::Filter;
use super::told::Told;
use crate::changes::{metadata, override_event, override_state};

/// Changes of overrides that are read from the journal at once.
const AT_ONCE: usize = 100;

/// Rows that are read from the view at once.
const ROWS: usize = 1000;

/// A sink of any kind.
pub(super) enum Sink {
    Agent(Arc<Agent>),
    Runtime(Arc<Runtime>),
    Webhook(Webhook),
    Command(Command),
    File(FileSink),
}

impl Sink {
    async fn ready(&self) {
        match self {
            // HAProxy asks when it wants to know.
            Self::Agent(_) => {}
            Self::Runtime(runtime) => runtime.ready().await,
            Self::Webhook(webhook) => webhook.ready().await,
            Self::Command(command) => command.ready().await,
            Self::File(file) => file.ready().await,
        }
    }

    async fn deliver(&self, reports: &[Report]) -> Result<(), SinkError> {
        match self {
            Self::Agent(agent) => agent.deliver(reports),
            Self::Runtime(runtime) => runtime.deliver(reports).await,
            Self::Webhook(webhook) => webhook.deliver(reports).await,
            Self::Command(command) => command.deliver(reports).await,
            Self::File(file) => file.deliver(reports).await,
        }
    }

    /// Gives how much of the news the sink has taken, from the first on.
    async fn deliver_overrides(&self, news: &[OverrideNews]) -> (usize, Result<(), SinkError>) {
        let all = |result: Result<(), SinkError>| (if result.is_ok() { news.len() } else { 0 }, result);
        match self {
            Self::Webhook(webhook) => all(webhook.deliver_overrides(news).await),
            Self::Command(command) => command.deliver_overrides(news).await,
            Self::File(file) => all(file.deliver_overrides(news).await),
            Self::Agent(_) | Self::Runtime(_) => all(Ok(())),
        }
    }

    async fn forget(&self, ids: &[CheckId]) {
        match self {
            Self::Agent(agent) => agent.forget(ids),
            Self::Runtime(runtime) => runtime.forget(ids),
            Self::Webhook(webhook) => webhook.forget(ids),
            Self::Command(command) => command.forget(ids),
            Self::File(file) => file.forget(ids).await,
        }
    }

    /// Writes down what may wait as long as the server runs.
    pub(super) async fn finish(&self) {
        if let Self::File(file) = self {
            // Logged by the sink.
            let _ = file.flush().await;
        }
    }
}

/// What a sink hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    /// Health as it stands, with the overrides of each check: a file of states.
    States,
    /// Changes of these kinds.
    Changes { health: bool, overrides: bool },
}

/// How far a sink follows the changes of overrides.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// So many of them it has, or is to be told that it has missed.
    after: u64,
    /// So many of those are lost, and it has not been told so.
    missed: u64,
}

/// A sink with what it hears of, for the tasks that drive it.
pub(super) struct Driven {
    pub(super) sink: Sink,
    pub(super) hears: Hears,
    pub(super) name: Arc<str>,
    pub(super) filter: Filter,
    pub(super) told: Arc<Told>,
    pub(super) directory: Arc<Directory>,
    pub(super) view: Arc<View>,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) overrides: Mutex<Followed>,
    /// What has ended is not forgotten while a delivery is under way, which would make it known
    /// again.
    pub(super) turn: Mutex<()>,
}

impl Driven {
    /// Lets the sink forget what has ended, for as long as the future is polled.
    pub(super) async fn forget_what_ends(&self) {
        loop {
            self.told.ended().await;
            let _turn = self.turn.lock().await;
            self.forget().await;
        }
    }

    async fn forget(&self) {
        let gone = self.told.take_gone();
        if !gone.is_empty() {
            self.sink.forget(&gone).await;
        }
    }

    /// Tells the sink what happens to overrides, for as long as the future is polled.
    pub(super) async fn follow_overrides(&self) {
        let mut is_failing = false;
        loop {
            match self.tell_overrides().await {
                Ok(true) => is_failing = false,
                Ok(false) => self.told.overruled().await,
                Err(error) => {
                    // Once for each time that it begins to fail. The sink itself knows when it may
                    // be tried again.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(sink = &*self.name, %error, "a sink does not take changes of overrides; trying again");
                    }
                }
            }
        }
    }

    /// Tells the sink the next changes of overrides. Says whether there were any.
    pub(super) async fn tell_overrides(&self) -> Result<bool, SinkError> {
        let mut followed = self.overrides.lock().await;
        let OverrideChanges { changes, missed, last } =
            self.view.read(|table| table.overrides_after(followed.after, AT_ONCE));
        // The log says it once, however often the sink is tried until it has been told.
        let begins = missed > 0 && followed.missed == 0;
        followed.after += missed;
        followed.missed += missed;
        if changes.is_empty() && followed.missed == 0 {
            return Ok(false);
        }
        match self.hears {
            Hears::Changes { overrides: false, .. } => {}
            Hears::States if followed.missed > 0 => self.tell_all_states().await?,
            Hears::States => {
                let ids: BTreeSet<CheckId> =
                    changes.iter().flat_map(|change| &*change.checks).copied().collect();
                self.tell_states(|| ids.into_iter().filter_map(|id| self.view.check(id)).collect()).await?;
            }
            Hears::Changes { overrides: true, .. } => {
                if begins {
                    tracing::warn!(sink = &*self.name, missed, "changes of overrides are lost to a sink");
                }
                self.tell_changes(&mut followed, &changes).await?;
            }
        }
        *followed = Followed { after: last, missed: 0 };
        Ok(true)
    }

    /// Tells the sink these changes, and before them how many are lost.
    async fn tell_changes(
        &self,
        followed: &mut Followed,
        changes: &[OverrideChange],
    ) -> Result<(), SinkError> {
        // Whether it would have heard of those that are lost is not known any more.
        let lost = (followed.missed > 0).then_some((followed.after, OverrideNews::Missed(followed.missed)));
        let numbered = (followed.after + 1..).zip(changes);
        let is_for_it = |change: &OverrideChange| self.filter.takes(Some(&metadata(change, &self.directory)));
        let changed = numbered.filter(|(_, change)| is_for_it(change)).map(|(number, change)| {
            (number, OverrideNews::Changed(Box::new(override_event(change, &self.directory))))
        });
        let (numbers, news): (Vec<u64>, Vec<OverrideNews>) = lost.into_iter().chain(changed).unzip();
        if news.is_empty() {
            return Ok(());
        }
        self.sink.ready().await;
        let _turn = self.turn.lock().await;
        let (taken, result) = self.sink.deliver_overrides(&news).await;
        if let Some(after) = taken.checked_sub(1).and_then(|latest| numbers.get(latest)) {
            *followed = Followed { after: *after, missed: 0 };
        }
        result
    }

    /// Tells the sink how all checks stand: which of them lost changes were of is not known.
    async fn tell_all_states(&self) -> Result<(), SinkError> {
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let read = || {
                let page = self.view.page(from, ROWS);
                next = page.next;
                page.checks
            };
            self.tell_states(read).await?;
        }
        Ok(())
    }

    /// Tells the sink how these checks stand.
    async fn tell_states(&self, read: impl FnOnce() -> Vec<CheckView>) -> Result<(), SinkError> {
        self.sink.ready().await;
        let _turn = self.turn.lock().await;
        // Read only now: while this waited, newer states may have been delivered.
        let (reports, gone) = self.reports(read().into_iter().filter_map(status).collect());
        if !gone.is_empty() {
            self.sink.forget(&gone).await;
        }
        if reports.is_empty() { Ok(()) } else { self.sink.deliver(&reports).await }
    }

    /// What of a batch is for this sink, with names and labels, and what it is to forget before
    /// that. What ends later is forgotten after it.
    fn reports(&self, statuses: Vec<CheckStatus>) -> (Vec<Report>, Vec<CheckId>) {
        let overrides = self.pipeline.overrides();
        let mut reports: Vec<Report> =
            statuses.into_iter().filter_map(|status| self.report(status, &overrides)).collect();
        // Told first and looked up then: one that ends in between is either taken back here or
        // ended there.
        self.told.tell(reports.iter().map(|report| report.id));
        let is_current = |table: &hc_view::Table, report: &Report| {
            table.spec(report.id).is_some_and(|spec| spec.same_key(&report.spec))
        };
        let gone = self.view.read(|table| {
            reports.retain_mut(|report| {
                let is_current = is_current(table, report);
                if is_current {
                    report.since = table.since(report.id, report.status.health);
                } else {
                    self.told.take_back(report.id);
                }
                is_current
            });
            // While nothing can end.
            self.told.take_gone()
        });
        (reports, gone)
    }

    fn report(&self, CheckStatus { id, spec, status }: CheckStatus, overrides: &Standings) -> Option<Report> {
        let metadata = self.directory.get(id);
        if !self.filter.takes(metadata.as_deref()) {
            // It may have been for this sink under its name of before.
            self.told.end(id);
            return None;
        }
        let (name, labels) = match metadata {
            Some(metadata) => (metadata.name.clone(), metadata.labels.clone()),
            None => (None, Arc::default()),
        };
        let overrides = overrides.of(id).map(override_state).collect();
        Some(Report { id, name, labels, spec, status, since: None, overrides })
    }
}

/// What consumers get of a check; `None` while that is nothing.
fn status(check: CheckView) -> Option<CheckStatus> {
    let CheckView { id, spec, status, reported, .. } = check;
    let status = match reported {
        Reported::Nothing => return None,
        Reported::Status => status,
        Reported::Other(other) => other.status,
    };
    Some(CheckStatus { id, spec, status })
}

/// What drives a sink.
pub(super) struct SinkDelivery(pub(super) Arc<Driven>);

impl Delivery for SinkDelivery {
    async fn ready(&self) {
        self.0.sink.ready().await;
    }

    async fn deliver(&self, batch: Batch) -> Result<(), DeliveryError> {
        let Self(driven) = self;
        if matches!(driven.hears, Hears::Changes { health: false, .. }) {
            return Ok(());
        }
        let _turn = driven.turn.lock().await;
        let (reports, gone) = driven.reports(batch.statuses);
        // Before what begins again under the same id is told.
        if !gone.is_empty() {
            driven.sink.forget(&gone).await;
        }
        if reports.is_empty() {
            return Ok(());
        }
        driven.sink.deliver(&reports).await.map_err(DeliveryError::new)
    }
}
