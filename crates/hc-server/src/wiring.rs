//! What joins the cores, which do not know each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hc_ipc::{DeliverError, IpcHandle};
use hc_manager::Manager;
use hc_notifier::{Delivery, DeliveryError, RefreshError, Refreshed};
use hc_pipeline::{Names, Reprobe};
use hc_sources::Directory;
use hc_types::{Batch, CheckId, Known, Metadata, Observer, Refresh, StatusUpdate};

/// The name of this machine.
pub(crate) fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Batches of the outbox travel over the socket.
pub(crate) struct IpcDelivery(IpcHandle);

impl IpcDelivery {
    pub(crate) fn new(handle: IpcHandle) -> Self {
        Self(handle)
    }
}

impl Delivery for IpcDelivery {
    async fn ready(&self) {
        self.0.ready().await;
    }

    async fn deliver(&self, batch: Batch) -> Result<(), DeliveryError> {
        self.0.deliver(batch.statuses, batch.generation).await.map_err(DeliveryError::new)
    }

    fn keeps(&self) -> bool {
        self.0.keeps()
    }

    async fn refresh(&self, refresh: Refresh) -> Result<Refreshed, RefreshError> {
        let answer = self.0.refresh(refresh).await.map_err(not_refreshed)?;
        Ok(Box::pin(async { answer.await.map_err(not_refreshed) }))
    }
}

fn not_refreshed(error: DeliverError) -> RefreshError {
    match error {
        DeliverError::Differs => RefreshError::Differs,
        error => RefreshError::Failed(DeliveryError::new(error)),
    }
}

/// The manager probes what a stage of the pipeline wants to know.
pub(crate) struct ManagerReprobe(Manager);

impl ManagerReprobe {
    pub(crate) fn new(manager: Manager) -> Self {
        Self(manager)
    }
}

impl Reprobe for ManagerReprobe {
    async fn probe_now(&self, ids: Vec<CheckId>) {
        // A manager that has ended takes the process with it.
        let _ = self.0.probe_now(ids).await;
    }
}

/// The stages know checks by what the sources call them.
pub(crate) struct DirectoryNames(pub(crate) Arc<Directory>);

impl Names for DirectoryNames {
    fn metadata(&self, id: CheckId) -> Option<Arc<Metadata>> {
        self.0.get(id)
    }

    fn id_of(&self, name: &str) -> Option<CheckId> {
        self.0.id_of(name)
    }

    fn dependants(&self, seen: u64) -> Option<(u64, Known)> {
        self.0.dependants(seen)
    }
}

/// Whether a state has changed since somebody looked.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeFlag(Arc<AtomicBool>);

impl ChangeFlag {
    /// Lowers it, and says whether it was raised.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A change of state is worth writing down soon, also while a stage of the pipeline holds it back.
impl Observer for ChangeFlag {
    fn updates(&self, updates: &[StatusUpdate]) {
        if updates.iter().any(|update| update.transition) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
