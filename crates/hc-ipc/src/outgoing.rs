//! What waits to be written on a connection, in the order in which it is.
//!
//! Short messages first, then the batch, then lists of any length piece by piece: so neither a
//! large `status_response` nor a slow reader keeps a batch waiting for more than one line.

use std::collections::VecDeque;

use hc_types::Rejection;
use hc_wire::{MAX_LINE, Message, Rejected, StatusResponse, ToProxy, encode, pieces};
use tokio::sync::oneshot;

use crate::DeliverError;
use crate::event::Statuses;

/// Short messages that may wait; with more of them no further input is taken.
const SHORT: usize = 64;
/// Lists of rejected checks that may wait.
const LISTS: usize = 4;

/// A line to be written.
#[derive(Debug)]
pub(crate) struct OutLine {
    pub(crate) bytes: Vec<u8>,
    /// Whoever is told when it has been written.
    pub(crate) written: Option<oneshot::Sender<Result<(), DeliverError>>>,
    /// Whose time begins to count when it goes to the socket.
    pub(crate) clock: Clock,
}

/// What a line begins to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Nothing.
    None,
    /// The acknowledgement of a batch.
    Batch,
    /// That of a refresh.
    Refresh,
}

/// The queues.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    short: VecDeque<Vec<u8>>,
    batches: VecDeque<OutLine>,
    rejected: VecDeque<(Option<u64>, VecDeque<Vec<Rejection>>)>,
    statuses: Option<Statuses>,
    /// Parts of it that were written.
    part: u32,
}

impl Outgoing {
    /// Whether there is room for what further input may lead to.
    pub(crate) fn has_room(&self) -> bool {
        self.short.len() < SHORT && self.rejected.len() < LISTS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.short.is_empty() && self.rejected.is_empty() && !self.has_batch() && !self.has_statuses()
    }

    pub(crate) fn has_batch(&self) -> bool {
        !self.batches.is_empty()
    }

    pub(crate) fn has_statuses(&self) -> bool {
        self.statuses.is_some()
    }

    pub(crate) fn short(&mut self, message: impl Into<ToProxy>) {
        self.short.push_back(line(&message.into()));
    }

    pub(crate) fn batch(
        &mut self,
        bytes: Vec<u8>,
        written: Option<oneshot::Sender<Result<(), DeliverError>>>,
    ) {
        self.batches.push_back(OutLine { bytes, written, clock: Clock::Batch });
    }

    /// In its place among the batches.
    pub(crate) fn refresh(&mut self, bytes: Vec<u8>) {
        self.batches.push_back(OutLine { bytes, written: None, clock: Clock::Refresh });
    }

    pub(crate) fn rejected(&mut self, generation: Option<u64>, checks: Vec<Rejection>) {
        if !checks.is_empty() {
            self.rejected.push_back((generation, pieces(checks).into()));
        }
    }

    /// The answer to a request; the one before must be out.
    pub(crate) fn statuses(&mut self, statuses: Statuses) {
        self.statuses = Some(statuses);
        self.part = 0;
    }

    /// The next line. Lists become lines only now, one at a time.
    pub(crate) fn next(&mut self) -> Option<OutLine> {
        if let Some(bytes) = self.short.pop_front() {
            return Some(OutLine { bytes, written: None, clock: Clock::None });
        }
        if let Some(batch) = self.batches.pop_front() {
            return Some(batch);
        }
        let message = self.next_rejected().or_else(|| self.next_statuses())?;
        Some(OutLine { bytes: line(&message), written: None, clock: Clock::None })
    }

    /// What is still to be said when the connection is about to be closed.
    pub(crate) fn last_words(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(self).short.into()
    }

    fn next_rejected(&mut self) -> Option<ToProxy> {
        let (generation, lists) = self.rejected.front_mut()?;
        let generation = *generation;
        let checks = lists.pop_front()?;
        if lists.is_empty() {
            self.rejected.pop_front();
        }
        Some(Rejected { generation, checks }.into())
    }

    fn next_statuses(&mut self) -> Option<ToProxy> {
        let Statuses { parts, pages } = self.statuses.as_mut()?;
        let parts = *parts;
        let Some(statuses) = pages.next() else {
            self.statuses = None;
            return None;
        };
        self.part += 1;
        let split = parts > 1;
        let (part, parts) = (split.then_some(self.part), split.then_some(parts));
        if !split || self.part == parts.unwrap_or_default() {
            self.statuses = None;
        }
        Some(StatusResponse { statuses, part, parts }.into())
    }
}

/// A message as a line. What is sent here can always be written ([`hc_wire::writable`]).
pub(crate) fn line(message: &impl Message) -> Vec<u8> {
    let mut line = Vec::new();
    if let Err(error) = encode(message, &mut line) {
        tracing::error!(%error, "a message cannot be written");
    }
    debug_assert!((1..=MAX_LINE).contains(&line.len()), "{} bytes", line.len());
    line
}
