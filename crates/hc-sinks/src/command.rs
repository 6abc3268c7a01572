//! Events as the standard input of a command.
//!
//! hc-server gives up the right to start programs (`hc-sandbox`). So commands are started by a
//! process of their own, the [runner], which is started before, knows the configured commands and
//! starts nothing else.

mod exec;
mod link;
pub mod runner;

use std::sync::Arc;
use std::time::Duration;

use hc_api::{Event, OverrideEvent};
use hc_types::CheckId;

pub use link::{CommandSpec, Exit, RunnerHandle};

use crate::SinkError;
use crate::backoff::Backoff;
use crate::report::{self, OverrideNews, Report, Sent};

/// How a command gets events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommandMode {
    /// It runs once for each event.
    #[default]
    Each,
    /// It runs once for all events of a batch.
    Batch,
}

/// A command that runs for events.
#[derive(Clone, Debug)]
pub struct CommandConfig {
    /// Which of the runner's commands.
    pub command: usize,
    /// Its name, for errors.
    pub program: String,
    /// How long one run may take, as the runner was told.
    pub timeout: Duration,
    /// How it gets events.
    pub mode: CommandMode,
    /// The name of this machine in the events.
    pub node: String,
}

/// Runs a command for events, one run at a time. Its standard input is the same JSON as that of a
/// webhook; in mode [`Each`](CommandMode::Each) the variables `HC_EVENT`, `HC_ID`, `HC_NAME`,
/// `HC_TARGET`, `HC_HEALTH`, `HC_REASON` and `HC_MESSAGE` say the same to a shell script. Exit
/// status 0 means that it has them; after any other the events are given to it again.
pub struct Command {
    config: CommandConfig,
    runner: Arc<RunnerHandle>,
    sent: Sent,
    backoff: Backoff,
}

impl Command {
    /// A command that has not run yet.
    #[must_use]
    pub fn new(config: CommandConfig, runner: Arc<RunnerHandle>) -> Self {
        Self { config, runner, sent: Sent::default(), backoff: Backoff::default() }
    }

    /// Resolves when a run may be tried: at once, or after a pause that doubles from 1 s to 60 s
    /// with each failure in a row.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) {
        self.backoff.wait().await;
    }

    /// Runs the command for what of `reports` is news.
    ///
    /// # Errors
    /// [`SinkError`] when a run did not end with exit status 0 in time. What other runs got is not
    /// given to it again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the run to the runner, which ends it by its time limit.
    pub async fn deliver(&self, reports: &[Report]) -> Result<(), SinkError> {
        let result = match self.config.mode {
            CommandMode::Batch => self.run(reports).await,
            CommandMode::Each => {
                let mut result = Ok(());
                for report in reports {
                    result = self.run(std::slice::from_ref(report)).await;
                    if result.is_err() {
                        break;
                    }
                }
                result
            }
        };
        self.backoff.note(&result);
        result
    }

    /// These checks are gone.
    pub fn forget(&self, ids: &[CheckId]) {
        self.sent.forget(ids);
    }

    /// Runs the command for what is new of overrides. Gives how much of it it has taken, from the
    /// first on.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver), beside the number.
    ///
    /// # Cancel safety
    /// As [`deliver`](Self::deliver).
    pub async fn deliver_overrides(&self, news: &[OverrideNews]) -> (usize, Result<(), SinkError>) {
        let size = match self.config.mode {
            CommandMode::Batch => news.len().max(1),
            CommandMode::Each => 1,
        };
        let (mut taken, mut result) = (0, Ok(()));
        for some in news.chunks(size) {
            let environment = match (self.config.mode, some) {
                (CommandMode::Each, [OverrideNews::Changed(change)]) => override_environment(change),
                (CommandMode::Each, [OverrideNews::Missed(missed)]) => missed_environment(*missed),
                _ => Vec::new(),
            };
            result = self.start(environment, report::override_body(&self.config.node, some)).await;
            if result.is_err() {
                break;
            }
            taken += some.len();
        }
        self.backoff.note(&result);
        (taken, result)
    }

    async fn run(&self, reports: &[Report]) -> Result<(), SinkError> {
        let events = self.sent.news(reports);
        let environment = match (self.config.mode, events.first()) {
            (_, None) => return Ok(()),
            (CommandMode::Each, Some(event)) => environment(event),
            (CommandMode::Batch, _) => Vec::new(),
        };
        self.start(environment, report::body(&self.config.node, events)).await?;
        self.sent.delivered(reports);
        Ok(())
    }

    async fn start(&self, environment: Vec<(String, String)>, input: Vec<u8>) -> Result<(), SinkError> {
        let exit = self.runner.run(self.config.command, environment, input).await;
        let place = || self.config.program.clone();
        match exit.map_err(|error| SinkError::exchange(&self.config.program, error))? {
            Exit::Status { code: 0, .. } => Ok(()),
            Exit::TimedOut => Err(SinkError::Timeout { place: place(), timeout: self.config.timeout }),
            exit => Err(SinkError::Refused {
                place: place(),
                status: None,
                answer: exit.to_string(),
                retry_after: None,
            }),
        }
    }
}

/// What a shell script wants to know without reading JSON.
fn environment(event: &Event) -> Vec<(String, String)> {
    let check = &event.check;
    let variables = [
        ("HC_EVENT", "health".to_owned()),
        ("HC_ID", check.id.clone()),
        ("HC_NAME", check.title().to_owned()),
        ("HC_TARGET", check.target.clone()),
        ("HC_HEALTH", check.health.to_string()),
        ("HC_REASON", check.reason.clone().unwrap_or_default()),
        ("HC_MESSAGE", check.message.clone()),
        ("HC_INITIAL", event.initial.to_string()),
    ];
    variables.map(variable).into()
}

/// The same of a change of an override.
fn override_environment(change: &OverrideEvent) -> Vec<(String, String)> {
    let order = &change.order;
    let time = |time| humantime::format_rfc3339_seconds(time).to_string();
    let variables = [
        ("HC_EVENT", "override".to_owned()),
        ("HC_CHANGE", change.change.label().to_owned()),
        ("HC_OVERRIDE", order.kind.label().to_owned()),
        ("HC_ID", order.ids.first().cloned().unwrap_or_default()),
        ("HC_NAME", order.check.clone()),
        ("HC_HEALTH", order.health.map(|health| health.to_string()).unwrap_or_default()),
        ("HC_BY", change.ended_by.clone().unwrap_or_else(|| order.by.clone())),
        ("HC_REASON", order.reason.clone()),
        ("HC_UNTIL", order.until.map(time).unwrap_or_default()),
        ("HC_MESSAGE", change.sentence()),
    ];
    variables.map(variable).into()
}

/// The same of changes that are lost.
fn missed_environment(missed: u64) -> Vec<(String, String)> {
    let message = format!("{missed} changes of overrides are lost: hcctl overrides says what stands");
    let variables = [
        ("HC_EVENT", "overrides_missed".to_owned()),
        ("HC_MISSED", missed.to_string()),
        ("HC_MESSAGE", message),
    ];
    variables.map(variable).into()
}

/// A value with a zero byte cannot be passed on.
fn variable((key, value): (&str, String)) -> (String, String) {
    (key.to_owned(), value.replace('\0', "\u{fffd}"))
}
