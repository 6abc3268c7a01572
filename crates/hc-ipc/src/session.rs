//! The conversation with one peer: the decisions, without socket, clock or task.

use std::collections::VecDeque;
use std::time::Duration;

use hc_types::{Refresh, Rejection, SetChange};
use hc_wire::{
    Ack, BatchBody, ErrorCode, ErrorMessage, Hello, KEEP, Notification, NotificationBatch, PROTOCOL,
    RefreshMessage, RequestConfigs, ToProxy, ToServer, pieces,
};
use tokio::time::Instant;

use crate::assembly::{Assembled, Assembly};
use crate::event::Statuses;
use crate::handle::{Answer, Delivery};
use crate::outgoing::{Clock, OutLine, Outgoing, line};
use crate::parser::{Received, Understood};
use crate::recall::{Memory, Ticket};
use crate::repeats::Repeats;
use crate::throttle::Chatter;
use crate::{DeliverError, DisconnectReason, IpcConfig};

/// What a message asks of the owner.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Nothing.
    Nothing,
    /// A change of the set.
    Apply(SetChange, Vec<Rejection>, Ticket),
    /// The status of every check.
    Statuses,
    /// The end of the connection.
    Close(DisconnectReason),
}

/// A batch that awaits its acknowledgement.
#[derive(Debug)]
struct UnderWay {
    /// What did not fit into the line that was sent.
    rest: VecDeque<Vec<Notification>>,
    generation: Option<u64>,
    seq: u64,
    /// Set when the line goes to the socket.
    deadline: Option<Instant>,
    reply: Answer,
}

/// A refresh that awaits its acknowledgement; batches go on meanwhile.
#[derive(Debug)]
struct Refreshing {
    seq: u64,
    /// How long it may take: for each call that the peer makes to its engine as long as a batch.
    limit: Duration,
    /// Set when the line goes to the socket.
    deadline: Option<Instant>,
    reply: Answer,
}

/// Checks in one call to the engine, as hc-proxy makes it.
const CALL: u32 = 100;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    config: IpcConfig,
    assembly: Assembly,
    outgoing: Outgoing,
    /// The peer said `hello`, so it acknowledges batches.
    greeted: bool,
    /// It also keeps what it got.
    keeps: bool,
    seq: u64,
    under_way: Option<UnderWay>,
    refreshing: Option<Refreshing>,
    /// The owner has been asked for the statuses.
    asked: bool,
    /// The peer asked for them again meanwhile.
    asked_again: bool,
    /// Lines of the peer that are no messages.
    bad_lines: Repeats,
    /// Errors that the peer reported.
    complaints: Repeats,
    /// What may be logged of this and all other connections.
    chatter: Chatter,
}

impl Session {
    /// The first line, `ready`, has been written.
    pub(crate) fn new(config: IpcConfig, chatter: Chatter, memory: Memory) -> Self {
        let assembly = Assembly::with_memory(config.max_checks, memory);
        Self {
            config,
            assembly,
            outgoing: Outgoing::default(),
            greeted: false,
            keeps: false,
            seq: 0,
            under_way: None,
            refreshing: None,
            asked: false,
            asked_again: false,
            bad_lines: Repeats::default(),
            complaints: Repeats::default(),
            chatter,
        }
    }

    /// Whether further input may be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.has_room()
    }

    /// Whether there is something to write.
    pub(crate) fn has_output(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a batch may be given to [`deliver`](Self::deliver).
    pub(crate) fn may_deliver(&self) -> bool {
        self.under_way.is_none() && !self.outgoing.has_batch()
    }

    /// When [`overdue`](Self::overdue) is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let batch = self.under_way.as_ref().and_then(|batch| batch.deadline);
        let refresh = self.refreshing.as_ref().and_then(|refresh| refresh.deadline);
        batch.into_iter().chain(refresh).min()
    }

    /// Whether the peer keeps what it got.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps
    }

    /// A message came, or a line that is none and the answer to it.
    pub(crate) fn receive(&mut self, understood: Understood, now: Instant) -> Wish {
        let (message, texts) = match understood {
            Ok(Received { message, texts }) => (Ok(message), texts),
            Err(error) => (Err(error), None),
        };
        match message {
            Err(error) => {
                if let Some(lines) = self.bad_lines.worth_telling()
                    && self.chatter.pass(now)
                {
                    tracing::warn!(code = ?error.code, error.message, lines, "the peer sent a line that is no message");
                }
                self.outgoing.short(error);
                Wish::Nothing
            }
            Ok(ToServer::Hello(hello)) => self.greet(hello, now),
            Ok(ToServer::UpdateConfigs(update)) => {
                let assembled = self.assembly.part(update, texts);
                self.assembled(assembled, now)
            }
            Ok(ToServer::UpdateDelta(update)) => {
                let assembled = self.assembly.change(update);
                self.assembled(assembled, now)
            }
            Ok(ToServer::Ack(ack)) => {
                self.acknowledged(ack);
                Wish::Nothing
            }
            Ok(ToServer::RequestStatus(_)) => self.request_statuses(),
            Ok(ToServer::Shutdown(_)) => Wish::Close(DisconnectReason::Shutdown),
            Ok(ToServer::Error(error)) => {
                if let Some(errors) = self.complaints.worth_telling()
                    && self.chatter.pass(now)
                {
                    tracing::warn!(code = ?error.code, error.message, errors, "the peer reports an error");
                }
                Wish::Nothing
            }
        }
    }

    fn greet(&mut self, hello: Hello, now: Instant) -> Wish {
        let Hello { protocol, version, capabilities } = hello;
        if protocol != PROTOCOL {
            self.outgoing.short(other_protocol(protocol));
            return Wish::Close(DisconnectReason::Protocol(protocol));
        }
        if self.chatter.pass(now) {
            tracing::info!(version, "the peer says hello");
        }
        self.greeted = true;
        self.keeps |= capabilities.iter().any(|word| word == KEEP);
        Wish::Nothing
    }

    fn assembled(&mut self, (assembled, ticket): (Assembled, Option<Ticket>), now: Instant) -> Wish {
        match assembled {
            Assembled::Nothing => {}
            Assembled::Set(change, rejected) => {
                return ticket.map_or(Wish::Nothing, |ticket| Wish::Apply(change, rejected, ticket));
            }
            Assembled::Ask(reason) => {
                if self.chatter.pass(now) {
                    tracing::info!(reason, "asking the peer for its full set");
                }
                self.outgoing.short(RequestConfigs { reason });
            }
            Assembled::Refuse(error) => {
                if self.chatter.pass(now) {
                    tracing::warn!(error.message, "the peer sent a set that cannot be taken");
                }
                self.outgoing.short(error);
            }
        }
        Wish::Nothing
    }

    fn request_statuses(&mut self) -> Wish {
        if self.asked || self.outgoing.has_statuses() {
            self.asked_again = true;
            return Wish::Nothing;
        }
        self.asked = true;
        Wish::Statuses
    }

    /// The owner has answered [`Wish::Apply`].
    pub(crate) fn applied(&mut self, generation: Option<u64>, rejected: Vec<Rejection>) {
        self.outgoing.rejected(generation, rejected);
    }

    /// The owner has not answered [`Wish::Apply`] and will not.
    pub(crate) fn not_applied(&mut self) -> DisconnectReason {
        let message = "the set could not be applied".to_owned();
        self.outgoing.short(ErrorMessage { code: ErrorCode::Internal, message });
        DisconnectReason::NotApplied
    }

    /// The owner has answered [`Wish::Statuses`], or will not (`None`).
    pub(crate) fn statuses(&mut self, statuses: Option<Statuses>) {
        self.asked = false;
        match statuses {
            Some(statuses) => self.outgoing.statuses(statuses),
            None => {
                let message = "the statuses are not to be had".to_owned();
                self.outgoing.short(ErrorMessage { code: ErrorCode::Internal, message });
            }
        }
    }

    /// Begins to deliver a batch; only when [`may_deliver`](Self::may_deliver).
    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        let (batch, generation, reply) = match delivery {
            Delivery::Batch { batch, generation, reply } => (batch, generation, reply),
            Delivery::Refresh(refresh, reply) => return self.refresh(&refresh, reply),
        };
        let mut rest: VecDeque<_> = pieces(batch).into();
        if self.greeted {
            self.send_piece(rest, generation, reply);
            return;
        }
        // The bare form: delivered when the last piece is written.
        let mut reply = Some(reply);
        while let Some(notifications) = rest.pop_front() {
            let written = if rest.is_empty() { reply.take() } else { None };
            self.outgoing.batch(batch_line(notifications, None, None), written);
        }
    }

    /// The one before, if any, is not awaited any more.
    fn refresh(&mut self, refresh: &Refresh, reply: Answer) {
        if !self.keeps {
            let _ = reply.send(Err(DeliverError::Refused("it keeps nothing".to_owned())));
            return;
        }
        self.seq += 1;
        let seq = self.seq;
        let limit = self.config.ack_timeout.saturating_mul(refresh.digest.count.div_ceil(CALL).max(1));
        self.outgoing.refresh(line(&ToProxy::from(RefreshMessage::new(seq, refresh))));
        self.refreshing = Some(Refreshing { seq, limit, deadline: None, reply });
    }

    fn send_piece(&mut self, mut rest: VecDeque<Vec<Notification>>, generation: Option<u64>, reply: Answer) {
        let Some(notifications) = rest.pop_front() else {
            // Whoever no longer waits for the answer does not miss it.
            let _ = reply.send(Ok(()));
            return;
        };
        self.seq += 1;
        let seq = self.seq;
        self.outgoing.batch(batch_line(notifications, Some(seq), generation), None);
        self.under_way = Some(UnderWay { rest, generation, seq, deadline: None, reply });
    }

    /// Acknowledgements of batches that are no longer awaited are ignored: they came too late.
    fn acknowledged(&mut self, ack: Ack) {
        if let Some(refresh) = self.refreshing.take_if(|refresh| refresh.seq == ack.seq) {
            let _ = refresh.reply.send(match ack.error {
                None => Ok(()),
                Some(error) if ack.differs => {
                    tracing::debug!(error, "the peer keeps other statuses");
                    Err(DeliverError::Differs)
                }
                Some(error) => Err(DeliverError::Refused(error)),
            });
            return;
        }
        let Some(UnderWay { rest, generation, reply, .. }) =
            self.under_way.take_if(|batch| batch.seq == ack.seq)
        else {
            tracing::debug!(ack.seq, "acknowledgement of a batch that is not awaited");
            return;
        };
        match ack.error {
            None => self.send_piece(rest, generation, reply),
            Some(error) => {
                let _ = reply.send(Err(DeliverError::Refused(error)));
            }
        }
    }

    /// Gives up on a batch or a refresh whose deadline has passed.
    pub(crate) fn overdue(&mut self, now: Instant) {
        let overdue = |batch: &mut UnderWay| batch.deadline.is_some_and(|deadline| deadline <= now);
        if let Some(batch) = self.under_way.take_if(overdue) {
            let _ = batch.reply.send(Err(DeliverError::AckTimeout(self.config.ack_timeout)));
        }
        let overdue = |refresh: &mut Refreshing| refresh.deadline.is_some_and(|deadline| deadline <= now);
        if let Some(refresh) = self.refreshing.take_if(overdue) {
            let _ = refresh.reply.send(Err(DeliverError::AckTimeout(refresh.limit)));
        }
    }

    /// The next line to write, if any.
    pub(crate) fn next_line(&mut self, now: Instant) -> Option<OutLine> {
        let line = self.outgoing.next()?;
        match (line.clock, &mut self.under_way, &mut self.refreshing) {
            (Clock::Batch, Some(batch), _) => batch.deadline = Some(now + self.config.ack_timeout),
            (Clock::Refresh, _, Some(refresh)) => refresh.deadline = Some(now + refresh.limit),
            _ => {}
        }
        Some(line)
    }

    /// What the peer asked for while the answer to its last request was on its way.
    pub(crate) fn wish_left(&mut self) -> Wish {
        if self.asked_again && !self.asked && !self.outgoing.has_statuses() {
            self.asked_again = false;
            return self.request_statuses();
        }
        Wish::Nothing
    }

    /// Another connection has taken the place of this one.
    pub(crate) fn replaced(&mut self) -> DisconnectReason {
        let message = "a newer connection took the place of this one".to_owned();
        self.outgoing.short(ErrorMessage { code: ErrorCode::Replaced, message });
        DisconnectReason::Replaced
    }

    /// What is still to be said before the connection is closed.
    pub(crate) fn last_words(&mut self) -> Vec<Vec<u8>> {
        self.outgoing.last_words()
    }
}

/// The answer to a `hello` of another protocol.
pub(crate) fn other_protocol(protocol: u32) -> ErrorMessage {
    let message = format!("this server speaks protocol {PROTOCOL}, not {protocol}");
    ErrorMessage { code: ErrorCode::Protocol, message }
}

fn batch_line(notifications: Vec<Notification>, seq: Option<u64>, generation: Option<u64>) -> Vec<u8> {
    let batch = NotificationBatch { batch: BatchBody { notifications }, seq, generation };
    line(&ToProxy::from(batch))
}
