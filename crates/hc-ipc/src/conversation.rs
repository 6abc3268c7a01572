//! Drives a [`Session`]: its clock, its channels, its one `select!`.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use hc_types::{Proposal, Rejection, Reply};
use tokio::select;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::event::{Numbered, Statuses};
use crate::handle::{Delivery, Link};
use crate::outgoing::OutLine;
use crate::parser::Understood;
use crate::session::{Session, Wish};
use crate::{DisconnectReason, IpcEvent, StatusReply};

/// Sets that the owner has not applied yet; with more of them no further input is taken.
const APPLYING: usize = 4;

/// How a conversation ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: DisconnectReason,
    /// Lines that are still to be written.
    pub(crate) last_words: Vec<Vec<u8>>,
    /// The way to the writer.
    pub(crate) send: mpsc::Sender<OutLine>,
}

/// What a step of it led to.
enum Next {
    Step,
    Applied(Option<Vec<Rejection>>),
    /// `None`: the peer has closed its end.
    Received(Option<Understood>),
    End(DisconnectReason),
}

/// The conversation on one connection.
#[derive(Debug)]
pub(crate) struct Conversation {
    number: u64,
    session: Session,
    events: mpsc::Sender<Numbered>,
    /// An event that the owner has no room for yet. Meanwhile no input is taken.
    event: Option<IpcEvent>,
    deliveries: mpsc::Receiver<Delivery>,
    link: Arc<watch::Sender<Option<Link>>>,
    replaced: oneshot::Receiver<()>,
    shutdown: CancellationToken,
    /// Sets given to the owner, in order, by their generations.
    applying: VecDeque<(Option<u64>, oneshot::Receiver<Vec<Rejection>>)>,
    /// The owner's answer to a request for the statuses.
    statuses: Option<oneshot::Receiver<Statuses>>,
    /// The writer has ended: the peer does not hear us.
    unheard: bool,
}

impl Conversation {
    /// `events` with the first one, `ends` as what can end the conversation from outside.
    pub(crate) fn new(
        number: u64,
        session: Session,
        (events, first): (mpsc::Sender<Numbered>, IpcEvent),
        deliveries: mpsc::Receiver<Delivery>,
        link: Arc<watch::Sender<Option<Link>>>,
        (replaced, shutdown): (oneshot::Receiver<()>, CancellationToken),
    ) -> Self {
        Self {
            number,
            session,
            events,
            event: Some(first),
            deliveries,
            link,
            replaced,
            shutdown,
            applying: VecDeque::new(),
            statuses: None,
            unheard: false,
        }
    }

    /// Runs until the peer, another connection or the server ends it.
    pub(crate) async fn run(
        mut self,
        mut received: mpsc::Receiver<Understood>,
        send: mpsc::Sender<OutLine>,
    ) -> Ended {
        let reason = loop {
            if let Some(reason) = self.step(&mut received, &send).await {
                break reason;
            }
        };
        Ended { reason, last_words: self.session.last_words(), send }
    }

    async fn step(
        &mut self,
        received: &mut mpsc::Receiver<Understood>,
        send: &mpsc::Sender<OutLine>,
    ) -> Option<DisconnectReason> {
        if self.unheard {
            while self.session.next_line(Instant::now()).is_some() {}
        }
        if self.event.is_none() {
            let wish = self.session.wish_left();
            self.grant(wish);
        }
        let deadline = self.session.deadline();
        let room = self.event.is_none() && self.applying.len() < APPLYING && self.session.has_room();
        // All of these are cancel safe: oneshots, cancellation, timers, `recv` and `reserve` of
        // channels. Input comes last, so that what it leads to is on its way before more of it is
        // taken.
        let next = select! {
            biased;
            _ = &mut self.replaced => Next::End(self.session.replaced()),
            () = self.shutdown.cancelled() => Next::End(DisconnectReason::ServerEnds),
            () = until(deadline), if deadline.is_some() => {
                self.session.overdue(Instant::now());
                Next::Step
            }
            applied = first(&mut self.applying), if !self.applying.is_empty() => Next::Applied(applied),
            statuses = answer(&mut self.statuses), if self.statuses.is_some() => {
                self.statuses = None;
                self.session.statuses(statuses);
                Next::Step
            }
            permit = self.events.reserve(), if self.event.is_some() => match (permit, self.event.take()) {
                (Ok(permit), Some(event)) => {
                    permit.send((self.number, event));
                    Next::Step
                }
                // The owner is gone, and the task is about to notice.
                _ => Next::End(DisconnectReason::ServerEnds),
            },
            permit = send.reserve(), if self.session.has_output() => {
                match permit {
                    Ok(permit) => {
                        if let Some(line) = self.session.next_line(Instant::now()) {
                            permit.send(line);
                        }
                    }
                    Err(_) => self.unheard = true,
                }
                Next::Step
            }
            Some(delivery) = self.deliveries.recv(), if !self.unheard && self.session.may_deliver() => {
                self.session.deliver(delivery);
                Next::Step
            }
            message = received.recv(), if room => Next::Received(message),
        };
        match next {
            Next::Step => None,
            Next::Applied(applied) => self.applied(applied),
            Next::Received(Some(message)) => {
                let wish = self.session.receive(message, Instant::now());
                self.grant(wish)
            }
            Next::Received(None) => Some(DisconnectReason::Closed),
            Next::End(reason) => Some(reason),
        }
    }

    /// Only while there is no event.
    fn grant(&mut self, wish: Wish) -> Option<DisconnectReason> {
        match wish {
            Wish::Nothing => {}
            Wish::Apply(change, rejected, ticket) => {
                let (reply, applied) = oneshot::channel();
                self.applying.push_back((change.generation(), applied));
                // The connection may be gone by then; the next one sends its own set.
                let reply = Reply::new(|rejected| {
                    ticket.applied(&rejected);
                    let _ = reply.send(rejected);
                });
                self.event = Some(IpcEvent::Set(Proposal { change, metadata: Vec::new(), rejected, reply }));
            }
            Wish::Statuses => {
                let (reply, statuses) = oneshot::channel();
                self.statuses = Some(statuses);
                self.event = Some(IpcEvent::StatusRequest { reply: StatusReply(reply) });
            }
            Wish::Close(reason) => return Some(reason),
        }
        None
    }

    /// The owner has answered the oldest set. Dropped without an answer, it leaves open what is in
    /// effect.
    fn applied(&mut self, applied: Option<Vec<Rejection>>) -> Option<DisconnectReason> {
        let generation = self.applying.pop_front().and_then(|(generation, _)| generation);
        let Some(rejected) = applied else { return Some(self.session.not_applied()) };
        self.session.applied(generation, rejected);
        let keeps = self.session.keeps();
        self.link.send_if_modified(|link| match link {
            Some(link) if link.number == self.number => {
                let before = (link.in_effect, link.keeps);
                (link.in_effect, link.keeps) = (true, keeps);
                before != (true, keeps)
            }
            _ => false,
        });
        None
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// The answer to the oldest set; `None` when there will be none.
async fn first(
    applying: &mut VecDeque<(Option<u64>, oneshot::Receiver<Vec<Rejection>>)>,
) -> Option<Vec<Rejection>> {
    match applying.front_mut() {
        Some((_, applied)) => applied.await.ok(),
        None => pending().await,
    }
}

/// The owner's answer; `None` when there will be none.
async fn answer<T>(asked: &mut Option<oneshot::Receiver<T>>) -> Option<T> {
    match asked {
        Some(answer) => answer.await.ok(),
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use hc_wire::{ToServer, UpdateConfigs};

    use super::*;
    use crate::recall::Memory;
    use crate::throttle::Chatter;
    use crate::{IpcConfig, Peer};

    /// Whether the connection of number `linked` takes batches after the set of connection 1 was
    /// applied.
    async fn in_effect(linked: u64) -> bool {
        let (events, mut owner) = mpsc::channel(1);
        let (deliver, deliveries) = mpsc::channel(1);
        let link = Link { number: linked, deliveries: deliver, in_effect: false, keeps: false };
        let (link, linked) = watch::channel(Some(link));
        let (_replace, replaced) = oneshot::channel();
        let (receive, received) = mpsc::channel(1);
        let (send, _written) = mpsc::channel(1);
        let conversation = Conversation::new(
            1,
            Session::new(IpcConfig::new("1.0"), Chatter::new(), Memory::default()),
            (events, IpcEvent::Connected { peer: Peer { uid: 0, gid: 0, pid: None } }),
            deliveries,
            Arc::new(link),
            (replaced, CancellationToken::new()),
        );
        let owner = async {
            let update = UpdateConfigs { configs: Vec::new(), generation: None, part: None, parts: None };
            receive.send(Ok(ToServer::UpdateConfigs(update).into())).await.unwrap();
            while let Some((1, event)) = owner.recv().await {
                if let IpcEvent::Set(proposal) = event {
                    proposal.reply.applied(Vec::new());
                    break;
                }
            }
            // The answer is heard before the end of the input.
            drop(receive);
        };
        let (ended, ()) = tokio::join!(conversation.run(received, send), owner);
        assert_eq!(ended.reason, DisconnectReason::Closed);
        linked.borrow().as_ref().unwrap().in_effect
    }

    /// As when a newer connection comes while the answer to a set of an older one is on its way.
    #[tokio::test]
    async fn a_set_is_in_effect_on_its_own_connection_only() {
        assert!(in_effect(1).await);
        assert!(!in_effect(2).await);
    }
}
