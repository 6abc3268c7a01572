//! Keeps etcd from filling up: compaction, and a word in time when it fills all the same.
//!
//! Etcd keeps every value that a key ever had until it is told to compact, and when its quota is
//! full it takes no more writes. One node of the fleet compacts: the key `compacted` is rewritten
//! every `keep_revisions`, by whichever node does so first. Who does it then compacts up to where
//! the key was rewritten the time before.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::client::Client;
use crate::message::{
    ALARM, AlarmMember, AlarmResponse, COMPACT, CompactionRequest, Done, Nothing, RangeRequest, STATUS,
    StatusResponse, TXN, TxnRequest, TxnResponse,
};
use crate::{EtcdError, txn};

/// What etcd allows itself unless told otherwise. Before etcd 3.6 it does not say.
const USUAL_QUOTA: i64 = 2 << 30;
/// How often it is looked at most when writes fail.
const HASTE: Duration = Duration::from_secs(1);

pub(crate) struct Upkeep<'a> {
    client: &'a Client,
    /// The revision at which the key was last rewritten; 0: never.
    known: i64,
    alarms: BTreeSet<(u64, i32)>,
    is_nearly_full: bool,
    is_refused: bool,
    /// Where nobody of the fleet compacts: a revision that should be compacted away after a while.
    old: Option<i64>,
    is_kept: bool,
}

impl<'a> Upkeep<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            client,
            known: 0,
            alarms: BTreeSet::new(),
            is_nearly_full: false,
            is_refused: false,
            old: None,
            is_kept: false,
        }
    }

    /// Never ends. `is_full` asks for a look before its time.
    pub(crate) async fn run(mut self, is_full: &Notify) {
        let config = &self.client.shared.settings.config;
        let (look, keep) = (config.look, config.keep_revisions);
        let turn = if keep.is_zero() { look * 60 } else { keep };
        let mut next_turn = self.first().await + turn;
        loop {
            self.look().await;
            let next_look = Instant::now() + look;
            tokio::select! {
                () = sleep_until(next_look.min(next_turn)) => {}
                () = is_full.notified() => sleep(HASTE.min(look)).await,
            }
            if next_turn <= Instant::now() {
                next_turn = Instant::now() + turn;
                if keep.is_zero() { self.see_others().await } else { self.take_turn().await }
            }
        }
    }

    fn key(&self) -> Vec<u8> {
        self.client.shared.key("compacted")
    }

    /// Looks when the key was last rewritten, as soon as that can be read.
    async fn first(&mut self) -> Instant {
        loop {
            let found = self.client.get(&RangeRequest { key: self.key(), ..RangeRequest::default() }).await;
            match found {
                Ok(found) => {
                    self.known = found.kvs.first().map_or(0, |kv| kv.mod_revision);
                    self.old = found.header.map(|header| header.revision);
                    return Instant::now();
                }
                Err(error) => debug!(%error, "compaction waits for etcd"),
            }
            sleep(HASTE).await;
        }
    }

    /// Compacts, unless another node has done so since the turn before.
    async fn take_turn(&mut self) {
        let key = self.key();
        let question = TxnRequest {
            compare: vec![txn::is_of(key.clone(), self.known)],
            success: vec![txn::put(key.clone(), "", 0)],
            failure: vec![txn::get(key)],
        };
        let answer: Result<TxnResponse, EtcdError> = self.client.ask(TXN, &question).await;
        let up_to = self.known;
        match answer {
            Ok(answer) if answer.succeeded => {
                self.known = answer.header.unwrap_or_default().revision;
                self.compact(up_to).await;
            }
            Ok(answer) => {
                let found = answer.responses.iter().find_map(|response| match &response.done {
                    Some(Done::Range(range)) => range.kvs.first(),
                    _ => None,
                });
                self.known = found.map_or(0, |kv| kv.mod_revision);
            }
            // It takes no writes, but compacts.
            Err(error) if error.is_full() => self.compact(up_to).await,
            Err(error) => self.refused(&error),
        }
    }

    async fn compact(&mut self, revision: i64) {
        if revision <= 0 {
            return;
        }
        let answer: Result<(Nothing, _), EtcdError> =
            self.client.ask_again(COMPACT, &CompactionRequest { revision }).await;
        match answer {
            Err(error) if !error.is_compacted() && !error.is_of_the_future() => self.refused(&error),
            _ => {
                self.is_refused = false;
                info!(revision, "etcd's older revisions are compacted away");
            }
        }
    }

    fn refused(&mut self, error: &EtcdError) {
        if !std::mem::replace(&mut self.is_refused, true) {
            warn!(%error, "etcd cannot be compacted: its database grows");
        }
    }

    /// Whether somebody else compacts, where the fleet is told not to.
    async fn see_others(&mut self) {
        let key = self.client.shared.key("schema");
        let Some(revision) = self.old else { return };
        let found = self.client.get(&RangeRequest { key, revision, ..RangeRequest::default() }).await;
        match found {
            Ok(found) => {
                let is_new = !std::mem::replace(&mut self.is_kept, true);
                let now = found.header.unwrap_or_default().revision;
                if is_new && now > revision {
                    warn!(
                        revision,
                        now, "nobody compacts etcd: its database grows until it takes no more writes"
                    );
                }
            }
            Err(error) if error.is_compacted() => {
                self.is_kept = false;
                let key = self.client.shared.key("schema");
                let now = self.client.get(&RangeRequest { key, ..RangeRequest::default() }).await;
                self.old = now.ok().and_then(|now| now.header).map(|header| header.revision);
            }
            Err(error) => debug!(%error, "whether etcd is compacted cannot be seen"),
        }
    }

    /// Names alarms, and a database that is nearly full.
    async fn look(&mut self) {
        let alarms: Result<(AlarmResponse, _), EtcdError> = self.client.ask_again(ALARM, &Nothing {}).await;
        match alarms {
            Ok((answer, _)) => self.alarms(&answer.alarms),
            Err(error) => debug!(%error, "etcd's alarms cannot be seen"),
        }
        let status: Result<(StatusResponse, _), EtcdError> = self.client.ask_again(STATUS, &Nothing {}).await;
        match status {
            Ok((status, _)) => self.size(&status),
            Err(error) => debug!(%error, "the size of etcd's database cannot be seen"),
        }
    }

    fn alarms(&mut self, alarms: &[AlarmMember]) {
        // Whoever answers may say anything; a fleet has a handful.
        let raised: BTreeSet<(u64, i32)> =
            alarms.iter().take(64).map(|alarm| (alarm.member_id, alarm.alarm)).collect();
        for (member, alarm) in raised.difference(&self.alarms) {
            let member = format!("{member:x}");
            match alarm {
                1 => warn!(member, "etcd's quota is full: it takes no writes"),
                2 => warn!(member, "etcd says that its data are corrupt"),
                _ => warn!(member, alarm, "etcd has raised an alarm"),
            }
        }
        if raised.is_empty() && !self.alarms.is_empty() {
            info!("etcd's alarms are over");
        }
        self.alarms = raised;
    }

    fn size(&mut self, status: &StatusResponse) {
        let quota = if status.db_size_quota > 0 { status.db_size_quota } else { USUAL_QUOTA };
        let is_nearly_full = status.db_size >= quota / 5 * 4;
        if is_nearly_full && !self.is_nearly_full {
            warn!(
                bytes = status.db_size,
                in_use = status.db_size_in_use,
                quota,
                "etcd's database is nearly as large as its quota"
            );
        }
        self.is_nearly_full = is_nearly_full;
    }
}
