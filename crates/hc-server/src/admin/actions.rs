//! What can be done through the admin socket.

use std::sync::Arc;

use hc_admin::{Action, ActionError, Actions, BoxFuture, Caller};
use hc_manager::Manager;
use hc_types::CheckId;
use hc_view::View;

use super::overrides::Overriding;
use super::reader::Sources;
use crate::logging;

/// Does what is asked for with the parts of this server.
pub(crate) struct ServerActions {
    manager: Manager,
    view: Arc<View>,
    sources: Arc<Sources>,
    overriding: Overriding,
}

impl ServerActions {
    pub(crate) fn new(
        manager: Manager,
        view: Arc<View>,
        sources: Arc<Sources>,
        overriding: Overriding,
    ) -> Self {
        Self { manager, view, sources, overriding }
    }

    async fn probe(&self, check: &str) -> Result<String, ActionError> {
        let by_id = check.parse().ok().map(CheckId).filter(|id| self.view.check(*id).is_some());
        let id = by_id.or_else(|| self.sources.id_of(check));
        let Some(id) = id else {
            return Err(ActionError::NotFound(format!("no check with the id or name {check:?}")));
        };
        if self.overriding.is_paused(id) {
            return Err(ActionError::Rejected(format!(
                "{check} is paused: `hcctl resume` lets it be probed"
            )));
        }
        match self.manager.probe_now(vec![id]).await {
            Ok(1..) => Ok(format!("a probe of {check} begins now")),
            Ok(0) => Err(ActionError::NotFound(format!("{check} was removed meanwhile"))),
            Err(_) => Err(ActionError::Failed("the server is stopping".to_owned())),
        }
    }
}

impl Actions for ServerActions {
    fn act(&self, action: Action, caller: Caller) -> BoxFuture<'_, Result<String, ActionError>> {
        Box::pin(async move {
            match action {
                Action::Probe { check } => self.probe(&check).await,
                Action::Override(request) => self.overriding.set(request, caller).await,
                Action::Withdraw(request) => self.overriding.withdraw(request, caller).await,
                Action::Reload => self.sources.reload().await,
                Action::LogLevel { level } => match logging::set_level(&level) {
                    Ok(()) => Ok(format!("the log level is {level} until the next restart")),
                    Err(error) => Err(ActionError::Rejected(format!("{level:?}: {error}"))),
                },
                other => Err(ActionError::Rejected(format!("not possible here: {other:?}"))),
            }
        })
    }
}
