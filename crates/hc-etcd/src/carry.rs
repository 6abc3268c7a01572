//! Carries out what a node asks for.
//!
//! Every write of a node is guarded: the key `guards/NAME`, under the lease of the node, has the
//! number of its latest write. A write whose answer never came may be carried out late, after the
//! one by which the node replaced it; its number is lower then, and it does nothing.

use std::sync::{Mutex, PoisonError};

use hc_fleet::{Batch, NodeName, NodeRecord, Request, StoreEvent, Term};
use tracing::debug;

use crate::client::Client;
use crate::error::code;
use crate::message::{
    Done, GRANT, KEEP_ALIVE, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseRequest,
    Nothing, REVOKE, RequestOp, TXN, TxnRequest, TxnResponse,
};
use crate::{EtcdError, SCHEMA, txn};

pub(crate) struct Carrier<'a> {
    client: &'a Client,
    name: &'a NodeName,
    held: Mutex<Held>,
}

/// The lease that was granted last, and the number of the latest write under it.
#[derive(Clone, Copy, Default)]
struct Held {
    term: Option<Term>,
    writes: u64,
}

/// What became of a write.
enum Wrote {
    Done,
    /// The lease is no more.
    Lost,
    Not(String),
}

fn lease(term: Term) -> i64 {
    term.0.cast_signed()
}

impl<'a> Carrier<'a> {
    pub(crate) fn new(client: &'a Client, name: &'a NodeName) -> Self {
        Self { client, name, held: Mutex::default() }
    }

    /// Does it, and gives what there is to tell of it.
    ///
    /// # Cancel safety
    /// What was under way is done or not.
    pub(crate) async fn carry(&self, request: Request) -> Vec<StoreEvent> {
        match request {
            Request::Grant => vec![self.grant().await.unwrap_or_else(failed("a lease was not granted"))],
            Request::Register(record) => self.register(&record).await,
            Request::Update(record) => {
                let put = txn::put(self.node(), record.to_bytes(), lease(record.term));
                match self.write(record.term, vec![put]).await {
                    Wrote::Done => Vec::new(),
                    Wrote::Lost => vec![StoreEvent::Lost(record.term)],
                    Wrote::Not(why) => {
                        vec![StoreEvent::Failed(format!("the node's key was not written: {why}"))]
                    }
                }
            }
            Request::KeepAlive(term) => {
                vec![self.keep_alive(term).await.unwrap_or_else(failed("the lease was not kept alive"))]
            }
            Request::Revoke(term) => {
                self.revoke(term).await;
                Vec::new()
            }
            Request::Write(batch) => self.batch(batch).await,
        }
    }

    /// What is said of a request that was not finished in time.
    pub(crate) fn unfinished(request: &Request) -> Option<StoreEvent> {
        const WHY: &str = "no answer for as long as a lease lives; nobody knows whether it was done";
        match request {
            Request::Revoke(_) => None,
            Request::Write(batch) => Some(StoreEvent::NotWritten(batch.ticket, WHY.to_owned())),
            _ => Some(StoreEvent::Failed(WHY.to_owned())),
        }
    }

    /// What is said of a request that cannot even wait.
    pub(crate) fn refused(request: &Request) -> Option<StoreEvent> {
        const WHY: &str = "too many requests wait for etcd";
        match request {
            Request::Revoke(_) => None,
            Request::Write(batch) => Some(StoreEvent::NotWritten(batch.ticket, WHY.to_owned())),
            _ => Some(StoreEvent::Failed(WHY.to_owned())),
        }
    }

    /// The lease that the node has, as far as is known.
    pub(crate) fn term(&self) -> Option<Term> {
        self.held().term
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, rest: &str) -> Vec<u8> {
        self.client.shared.key(rest)
    }

    fn node(&self) -> Vec<u8> {
        self.key(&format!("nodes/{}", self.name))
    }

    fn guard(&self) -> Vec<u8> {
        self.key(&format!("guards/{}", self.name))
    }

    /// The next number of a write under this lease, as it stands in the guard.
    fn number(&self, term: Term) -> String {
        let mut held = self.held();
        if held.term == Some(term) {
            held.writes += 1;
        }
        format!("{:016x}", held.writes)
    }

    async fn grant(&self) -> Result<StoreEvent, EtcdError> {
        let ttl = self.client.shared.settings.config.ttl.as_millis().div_ceil(1000);
        let question = LeaseGrantRequest { ttl: i64::try_from(ttl).unwrap_or(i64::MAX), id: 0 };
        let (answer, _): (LeaseGrantResponse, _) = self.client.ask_again(GRANT, &question).await?;
        if !answer.error.is_empty() || answer.id == 0 {
            return Err(EtcdError::Content(format!("no lease: {}", answer.error)));
        }
        let term = Term(answer.id.cast_unsigned());
        *self.held() = Held { term: Some(term), writes: 0 };
        Ok(StoreEvent::Granted(term))
    }

    async fn register(&self, record: &NodeRecord) -> Vec<StoreEvent> {
        let term = record.term;
        let puts = |number: String| {
            vec![
                txn::put(self.node(), record.to_bytes(), lease(term)),
                txn::put(self.guard(), number, lease(term)),
            ]
        };
        let number = self.number(term);
        let if_absent = TxnRequest {
            compare: vec![txn::is_of(self.node(), 0)],
            success: puts(number.clone()),
            failure: Vec::new(),
        };
        let if_ours = TxnRequest {
            compare: vec![txn::has_lease(self.node(), lease(term))],
            success: puts(number),
            failure: vec![txn::nested(if_absent)],
        };
        let question = TxnRequest {
            compare: vec![txn::has_value(self.key("schema"), SCHEMA)],
            success: vec![txn::nested(if_ours)],
            failure: Vec::new(),
        };
        let answer: Result<TxnResponse, EtcdError> = self.client.ask(TXN, &question).await;
        let why = match answer {
            Ok(answer) if answer.succeeded => match registered(&answer) {
                Some(is_ours) => return vec![StoreEvent::Registered(term, is_ours)],
                None => "etcd's answer is none to what was asked".to_owned(),
            },
            Ok(_) => "the schema below the prefix is not the one of this version".to_owned(),
            Err(error) if error.is(code::NOT_FOUND) => return vec![StoreEvent::Lost(term)],
            Err(error) => error.to_string(),
        };
        // It may be carried out yet. Without its lease it does nothing, so the name is free.
        self.revoke(term).await;
        vec![StoreEvent::Failed(format!("the node was not registered: {why}"))]
    }

    async fn keep_alive(&self, term: Term) -> Result<StoreEvent, EtcdError> {
        let question = LeaseRequest { id: lease(term) };
        let answer: Result<(LeaseKeepAliveResponse, _), EtcdError> =
            self.client.ask_again(KEEP_ALIVE, &question).await;
        match answer {
            Ok((answer, asked)) if answer.ttl > 0 && answer.id == lease(term) => {
                Ok(StoreEvent::Kept(term, asked.into_std()))
            }
            Ok((answer, _)) if answer.ttl > 0 => {
                Err(EtcdError::Content("etcd answers for another lease".to_owned()))
            }
            Ok(_) => Ok(StoreEvent::Lost(term)),
            Err(error) if error.is(code::NOT_FOUND) => Ok(StoreEvent::Lost(term)),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn revoke(&self, term: Term) {
        let question = LeaseRequest { id: lease(term) };
        let answer: Result<(Nothing, _), EtcdError> = self.client.ask_again(REVOKE, &question).await;
        match answer {
            Err(error) if !error.is(code::NOT_FOUND) => {
                // It ends by itself, a little later.
                debug!(%error, "a lease was not revoked");
            }
            _ => {
                let mut held = self.held();
                held.term.take_if(|of| *of == term);
            }
        }
    }

    async fn batch(&self, batch: Batch) -> Vec<StoreEvent> {
        let Batch { term, ticket, puts, deletes } = batch;
        let key = |rest: &str| self.key(&format!("opinions/{}/{rest}", self.name));
        let puts = puts.into_iter().map(|(rest, value)| txn::put(key(&rest), value, lease(term)));
        let deletes = deletes.iter().map(|rest| txn::delete_all(key(rest)));
        match self.write(term, puts.chain(deletes).collect()).await {
            Wrote::Done => vec![StoreEvent::Written(ticket)],
            Wrote::Lost => {
                let why = "the lease is no more".to_owned();
                vec![StoreEvent::NotWritten(ticket, why), StoreEvent::Lost(term)]
            }
            Wrote::Not(why) => vec![StoreEvent::NotWritten(ticket, why)],
        }
    }

    /// Does all of it or nothing, as the next write under the lease.
    async fn write(&self, term: Term, mut operations: Vec<RequestOp>) -> Wrote {
        let number = self.number(term);
        let compare = vec![
            txn::has_lease(self.guard(), lease(term)),
            txn::is_before(self.guard(), number.clone()),
            txn::has_value(self.key("schema"), SCHEMA),
        ];
        operations.push(txn::put(self.guard(), number, lease(term)));
        let failure = vec![txn::get(self.guard()), txn::get(self.key("schema"))];
        let question = TxnRequest { compare, success: operations, failure };
        let answer: Result<TxnResponse, EtcdError> = self.client.ask(TXN, &question).await;
        match answer {
            Ok(answer) if answer.succeeded => Wrote::Done,
            Ok(answer) => self.why_not(term, &answer),
            Err(error) if error.is(code::NOT_FOUND) => Wrote::Lost,
            Err(error) => Wrote::Not(error.to_string()),
        }
    }

    fn why_not(&self, term: Term, answer: &TxnResponse) -> Wrote {
        let read = answer.responses.iter().filter_map(|response| match &response.done {
            Some(Done::Range(range)) => range.kvs.first(),
            _ => None,
        });
        let (guard, schema) = (self.guard(), self.key("schema"));
        let (mut is_ours, mut is_known) = (false, false);
        for found in read {
            is_ours |= found.key == guard && found.lease == lease(term);
            is_known |= found.key == schema && found.value == SCHEMA.as_bytes();
        }
        match (is_known, is_ours) {
            (true, true) => Wrote::Not("a later write of this node came before it".to_owned()),
            (true, false) => Wrote::Lost,
            (false, _) => Wrote::Not("the schema below the prefix is not the one of this version".to_owned()),
        }
    }
}

/// Whether the node's key is written, by an answer to the transaction that writes it.
fn registered(answer: &TxnResponse) -> Option<bool> {
    let inner = |answer: &TxnResponse| {
        answer.responses.iter().find_map(|response| match &response.done {
            Some(Done::Txn(txn)) => Some(txn.clone()),
            _ => None,
        })
    };
    let if_ours = inner(answer)?;
    if if_ours.succeeded { Some(true) } else { inner(&if_ours).map(|if_absent| if_absent.succeeded) }
}

fn failed(what: &'static str) -> impl Fn(EtcdError) -> StoreEvent {
    move |error| StoreEvent::Failed(format!("{what}: {error}"))
}
