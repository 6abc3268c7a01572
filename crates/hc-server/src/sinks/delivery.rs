//! From a batch of an outbox to what a sink takes.

use std::sync::Arc;

use hc_notifier::{Delivery, DeliveryError};
use hc_sinks::command::Command;
use hc_sinks::file::FileSink;
use hc_sinks::haproxy::{Agent, Runtime};
use hc_sinks::{Report, SinkError, Webhook};
use hc_sources::Directory;
use hc_types::{Batch, CheckId, CheckStatus};
use hc_view::View;
use tokio::sync::Mutex;

use super::filter::Filter;
use super::told::Told;

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

/// A sink with what it hears of, for the two tasks that drive it.
pub(super) struct Driven {
    pub(super) sink: Sink,
    pub(super) filter: Filter,
    pub(super) told: Arc<Told>,
    pub(super) directory: Arc<Directory>,
    pub(super) view: Arc<View>,
    /// What has ended is not forgotten while a delivery is under way, which would make it known again.
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

    /// What of a batch is for this sink, with names and labels, and what it is to forget before that. What ends later is forgotten
    /// after it.
    fn reports(&self, statuses: Vec<CheckStatus>) -> (Vec<Report>, Vec<CheckId>) {
        let mut reports: Vec<Report> =
            statuses.into_iter().filter_map(|status| self.report(status)).collect();
        // Told first and looked up then: one that ends in between is either taken back here or ended there.
        self.told.tell(reports.iter().map(|report| report.id));
        let is_current = |table: &hc_view::Table, report: &Report| {
            table.spec(report.id).is_some_and(|spec| spec.same_key(&report.spec))
        };
        let gone = self.view.read(|table| {
            reports.retain(|report| {
                let is_current = is_current(table, report);
                if !is_current {
                    self.told.take_back(report.id);
                }
                is_current
            });
            // While nothing can end.
            self.told.take_gone()
        });
        (reports, gone)
    }

    fn report(&self, CheckStatus { id, spec, status }: CheckStatus) -> Option<Report> {
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
        Some(Report { id, name, labels, spec, status })
    }
}

/// What drives a sink.
pub(super) struct SinkDelivery(pub(super) Arc<Driven>);

impl Delivery for SinkDelivery {
    async fn ready(&self) {
        self.0.sink.ready().await;
    }

    async fn deliver(&self, batch: Batch) -> Result<(), DeliveryError> {
        let Self(driven) = self;
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
