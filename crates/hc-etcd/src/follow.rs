//! Reads what is below the prefix, and follows it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hc_fleet::StoreEvent;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use crate::client::{Client, Session};
use crate::connection::Call;
use crate::message::{
    Nothing, RANGE, RangeRequest, RangeResponse, TXN, TxnRequest, TxnResponse, WATCH, WatchCreateRequest,
    WatchRequest, WatchResponse, Watching, end_of,
};
use crate::position::Position;
use crate::{EtcdError, SCHEMA, txn};

/// Keys in one page: 8 MiB of objects of 64 KiB.
const PAGE: i64 = 128;
/// The most that is read of the store at once.
const MOST_BYTES: usize = 1 << 30;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(crate) struct Follower {
    client: Arc<Client>,
    events: mpsc::Sender<StoreEvent>,
    /// Missing until everything has been read, and when that has to be done anew.
    position: Option<Position>,
    /// When the store last said something of which no part is missing.
    heard: Instant,
    is_away: bool,
}

/// Why a watch has ended.
enum End {
    /// It may go on where it broke off.
    Broken(String),
    /// There is a gap.
    Gap(String),
    /// Nobody listens any more.
    Closed,
}

impl From<EtcdError> for End {
    fn from(error: EtcdError) -> Self {
        match error {
            EtcdError::Schema(why) => Self::Gap(why),
            error if error.is_compacted() || error.is_of_the_future() => Self::Gap(error.to_string()),
            error => Self::Broken(error.to_string()),
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<RangeResponse, EtcdError>> + Send>>;

impl Follower {
    pub(crate) fn new(client: Client, events: mpsc::Sender<StoreEvent>) -> Self {
        let client = Arc::new(client);
        Self { client, events, position: None, heard: Instant::now(), is_away: false }
    }

    /// Follows the store until nobody listens any more.
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = self.begin().await;
            let (is_up, end) = match begun {
                Ok((session, call)) => {
                    if std::mem::take(&mut self.is_away) {
                        info!(endpoint = session.who(), "etcd is heard again");
                    }
                    let end = self.watch(call).await;
                    self.client.give_up(&session).await;
                    (true, end)
                }
                Err(end) => (false, end),
            };
            let (why, is_gap) = match end {
                End::Closed => return,
                End::Broken(why) => (why, self.heard + self.silence() <= Instant::now()),
                End::Gap(why) => (why, true),
            };
            if is_gap && self.position.take().is_some() && self.events.send(StoreEvent::Deaf).await.is_err() {
                return;
            }
            if is_up {
                pause = FIRST_PAUSE;
                info!(why, "the watch of etcd ended; it begins anew");
            } else if !std::mem::replace(&mut self.is_away, true) {
                warn!(error = why, "etcd is not heard; trying on");
            }
            sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn silence(&self) -> Duration {
        self.client.shared.settings.config.silence
    }

    /// What nodes write, and what later versions may add behind it in the order of keys. Not the
    /// fleet's own checks, nor the guards.
    fn range(&self) -> (Vec<u8>, Vec<u8>) {
        (self.client.shared.key("nodes/"), end_of(&self.client.shared.key("")))
    }

    /// Begins a watch behind all that was told, or tells everything first. One that goes on has to
    /// do so before the store has been silent for too long.
    async fn begin(&mut self) -> Result<(Arc<Session>, Call), End> {
        if self.position.is_none() {
            return self.begin_anew().await;
        }
        let until = self.heard + self.silence();
        match timeout_at(until, self.resume()).await {
            Ok(result) => result,
            Err(_) => Err(End::Gap("no watch went on in time".to_owned())),
        }
    }

    async fn begin_anew(&mut self) -> Result<(Arc<Session>, Call), End> {
        self.check_schema().await?;
        let (entries, position) = self.read().await?;
        if self.events.send(StoreEvent::Snapshot(entries)).await.is_err() {
            return Err(End::Closed);
        }
        self.position = Some(position);
        self.heard = Instant::now();
        self.create(true).await
    }

    async fn resume(&mut self) -> Result<(Arc<Session>, Call), End> {
        self.check_schema().await?;
        let gap = || End::Gap("etcd does not have what it had: wiped or restored".to_owned());
        let position = self.position.as_ref().ok_or_else(gap)?;
        let anchor = position.anchor().ok_or_else(gap)?;
        let question =
            RangeRequest { key: anchor.key.clone(), revision: anchor.revision, ..RangeRequest::default() };
        let answer = self.client.get(&question).await?;
        if !position.stands(&answer) {
            return Err(gap());
        }
        self.create(false).await
    }

    /// Refuses a prefix with keys that are not ours, and marks one that is empty.
    async fn check_schema(&self) -> Result<(), EtcdError> {
        let key = self.client.shared.key("schema");
        let found = self.client.get(&RangeRequest { key: key.clone(), ..RangeRequest::default() }).await?;
        if self.is_known(&found)? {
            return Ok(());
        }
        let mark = TxnRequest {
            compare: vec![txn::is_of(key.clone(), 0)],
            success: vec![txn::put(key, SCHEMA, 0)],
            failure: Vec::new(),
        };
        // Whoever came first may be of another version; the next look shows.
        let _: (TxnResponse, _) = self.client.ask_again(TXN, &mark).await?;
        let key = self.client.shared.key("schema");
        let found = self.client.get(&RangeRequest { key, ..RangeRequest::default() }).await?;
        self.is_known(&found).map(drop)
    }

    /// `false`: there is no schema yet.
    fn is_known(&self, found: &RangeResponse) -> Result<bool, EtcdError> {
        match found.kvs.first() {
            None => Ok(false),
            Some(kv) if kv.value == SCHEMA.as_bytes() => Ok(true),
            Some(kv) => Err(EtcdError::Schema(format!(
                "the keys below {} are of schema {:.20}, and this program knows schema {SCHEMA}",
                self.client.shared.settings.prefix,
                String::from_utf8_lossy(&kv.value).escape_default(),
            ))),
        }
    }

    /// Reads everything as of one revision, in pages.
    async fn read(&self) -> Result<(Vec<(String, Vec<u8>)>, Position), EtcdError> {
        let (mut key, range_end) = self.range();
        let prefix = self.client.shared.key("");
        let (mut entries, mut bytes, mut limit) = (Vec::new(), 0, PAGE);
        let (mut first, mut latest) = (None, None);
        loop {
            let revision = first.map_or(0, |(_, revision)| revision);
            let question = RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit,
                revision,
                keys_only: false,
            };
            let total = self.client.timeout() * 10;
            let page: RangeResponse = match self.client.ask_long(RANGE, &question, total).await {
                Ok((page, _)) => page,
                Err(EtcdError::TooLong(_)) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let header = page.header.unwrap_or_default();
            let (cluster, revision) = *first.get_or_insert((header.cluster_id, header.revision));
            if header.cluster_id != cluster || revision <= 0 {
                return Err(EtcdError::Content("pages of the store come from several clusters".to_owned()));
            }
            latest = Position::latest(&page.kvs, latest);
            let last = page.kvs.last().map(|kv| kv.key.clone());
            for kv in page.kvs {
                bytes += kv.key.len() + kv.value.len();
                if let Some(Ok(rest)) = kv.key.strip_prefix(prefix.as_slice()).map(std::str::from_utf8) {
                    entries.push((rest.to_owned(), kv.value));
                }
            }
            if bytes > MOST_BYTES {
                return Err(EtcdError::TooLong(MOST_BYTES));
            }
            match last {
                Some(last) if page.more && last >= key => {
                    key = last;
                    key.push(0);
                }
                _ if page.more => {
                    return Err(EtcdError::Content("a page of the store without an end".to_owned()));
                }
                _ => return Ok((entries, Position::new(cluster, revision, latest))),
            }
        }
    }

    async fn create(&mut self, is_first: bool) -> Result<(Arc<Session>, Call), End> {
        let (key, range_end) = self.range();
        let Some(position) = &mut self.position else { return Err(End::Gap("nothing was read".to_owned())) };
        let start_revision = position.begin(is_first);
        let create = WatchCreateRequest { key, range_end, start_revision, fragment: true };
        let message = WatchRequest { request: Some(Watching::Create(create)) };
        let session = self.client.session().await?;
        let created = async {
            let mut call = self.client.begin_call(&session, WATCH, &message).await?;
            let patience = self.client.timeout();
            let first = timeout(patience, call.next::<WatchResponse>()).await.map_err(|_| {
                EtcdError::Unknown(format!("{}: no watch within {patience:?}", session.who()))
            })?;
            Ok::<_, EtcdError>((call, first?))
        };
        match created.await {
            Ok((call, Some(first))) if first.created && !first.canceled => Ok((session, call)),
            Ok((_, Some(first))) if first.canceled => Err(self.cancelled(&session, &first).await),
            Ok(_) => {
                self.client.give_up(&session).await;
                Err(End::Broken("no watch was made".to_owned()))
            }
            Err(error) => {
                if error.wants_login() {
                    self.client.log_in(&session).await?;
                } else {
                    self.client.give_up(&session).await;
                }
                Err(error.into())
            }
        }
    }

    async fn cancelled(&self, session: &Arc<Session>, response: &WatchResponse) -> End {
        if response.compact_revision > 0 {
            return End::Gap("what the watch should begin with has been compacted".to_owned());
        }
        // Of an expired login it says that it is not permitted.
        let _ = self.client.log_in(session).await;
        End::Broken(format!("etcd cancelled the watch: {:.200}", response.cancel_reason))
    }

    /// Tells what the watch says, until it ends.
    async fn watch(&mut self, mut call: Call) -> End {
        let prefix = self.client.shared.key("");
        let mut ticks = interval(self.silence() / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reading: Option<Reading> = None;
        // What a majority has; the watch must have come as far before "nothing new" counts.
        let mut wanted = None;
        loop {
            tokio::select! {
                response = call.next::<WatchResponse>() => {
                    let response = match response {
                        Ok(Some(response)) => response,
                        Ok(None) => return End::Broken("the watch has ended".to_owned()),
                        Err(error) => return error.into(),
                    };
                    if response.canceled {
                        return match response.compact_revision {
                            0 => End::Broken(format!("etcd cancelled the watch: {:.200}", response.cancel_reason)),
                            _ => End::Gap("what the watch should tell has been compacted".to_owned()),
                        };
                    }
                    if let Err(end) = self.tell(response, &prefix, &mut wanted).await {
                        return end;
                    }
                }
                _ = ticks.tick() => {
                    let ask = WatchRequest { request: Some(Watching::Progress(Nothing {})) };
                    if let Err(error) = call.send(&ask, false) {
                        return error.into();
                    }
                    reading.get_or_insert_with(|| {
                        let client = self.client.clone();
                        let key = client.shared.key("schema");
                        Box::pin(async move { client.get(&RangeRequest { key, ..RangeRequest::default() }).await })
                    });
                }
                read = async { match &mut reading {
                    Some(reading) => reading.await,
                    None => std::future::pending().await,
                } } => {
                    reading = None;
                    // When nothing can be read, nothing counts as heard, and that ends the watch in time.
                    if let Ok(found) = read {
                        match self.is_known(&found) {
                            Ok(true) => wanted = Some(found.header.unwrap_or_default().revision),
                            Ok(false) => return End::Gap("the schema below the prefix is gone".to_owned()),
                            Err(error) => return error.into(),
                        }
                    }
                }
                () = sleep_until(self.heard + self.silence()) => {
                    return End::Gap("the watch is silent".to_owned());
                }
            }
        }
    }

    async fn tell(
        &mut self,
        response: WatchResponse,
        prefix: &[u8],
        wanted: &mut Option<i64>,
    ) -> Result<(), End> {
        let Some(position) = &mut self.position else { return Err(End::Gap("nothing was read".to_owned())) };
        let is_progress = response.events.is_empty() && !response.fragment;
        let revision = response.header.unwrap_or_default().revision;
        let changes = position.take(response, prefix).map_err(End::Gap)?;
        let event = if !changes.is_empty() {
            StoreEvent::Changes(changes)
        } else if is_progress && wanted.is_some_and(|wanted| wanted <= revision) {
            *wanted = None;
            StoreEvent::Quiet
        } else {
            return Ok(());
        };
        let sent = self.events.send(event).await;
        self.heard = Instant::now();
        sent.map_err(|_| End::Closed)
    }
}
