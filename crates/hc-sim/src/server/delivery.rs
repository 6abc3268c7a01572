//! The outbox and the batch under way, as `NotifierTask` and hc-ipc drive them.

use std::sync::Arc;
use std::time::Duration;

use hc_notifier::{DeliveryError, Due as OutboxDue, RefreshError};
use hc_types::{CheckId, CheckSpec, CheckStatus, Health, Incarnation, Refresh, Status, StatusUpdate};

use super::{Server, differs, same};
use crate::clock::{MILLISECOND, Nanos, SECOND, nanos};
use crate::context::{Context, Event};
use crate::invariant::{Invariant, Step, hold};
use crate::truth::{Subject, Truth};
use crate::world::{ACK_TIMEOUT, PER_CALL};

/// What the outbox has heard of an id.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) incarnation: Incarnation,
    pub(super) known: Option<(Subject, Status)>,
}

#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) conn: u32,
    seq: u64,
    taken: Nanos,
    told: Vec<(CheckId, Incarnation, Health)>,
}

/// A refresh that the proxy has not answered.
#[derive(Debug)]
pub(super) struct Refreshing {
    pub(super) conn: u32,
    seq: u64,
    taken: Nanos,
}

/// What is due for the proxy.
#[derive(Debug)]
pub(crate) enum Due {
    Batch(Batched),
    Refresh(u64, Refresh),
}

/// What the proxy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    No,
    /// To a refresh: it keeps something else, and has dropped it.
    Differs,
}

/// How long the server waits for the answer to a refresh: longer for more checks, which are more
/// calls.
pub(crate) fn refresh_patience(refresh: &Refresh) -> Nanos {
    ACK_TIMEOUT * Nanos::from(refresh.digest.count.div_ceil(PER_CALL).max(1))
}

/// One notification on its way.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: CheckId,
    pub(crate) spec: Arc<CheckSpec>,
    pub(crate) status: Status,
    /// Which process counted, and which life of the id.
    pub(crate) life: (u32, Incarnation),
}

/// A batch on its way.
#[derive(Clone, Debug)]
pub(crate) struct Batched {
    pub(crate) seq: u64,
    pub(crate) generation: Option<u64>,
    pub(crate) items: Vec<Item>,
}

impl Server {
    /// Hands the outbox what a shard found.
    pub(super) fn record(&mut self, shard: usize, ctx: &mut Context<'_>) -> Step {
        if self.manager.shards()[shard].updates().is_empty() {
            return Ok(());
        }
        let now = self.instant(ctx.now);
        let updates: Vec<StatusUpdate> = self.manager.shards()[shard].updates().drain(..).collect();
        for update in updates {
            if !update.reportable {
                let report = self.table.record(update);
                hold(report.is_none(), Invariant::ViewIsTrue, ctx.now, || format!("{report:?}"))?;
                continue;
            }
            let StatusUpdate { id, incarnation, spec, status, transition, .. } = &update;
            let subject = Truth::subject_of(spec);
            let (probed, told) = (ctx.probed[subject], status.health != Health::Unknown);
            hold(probed && told, Invariant::NothingBeforeAProbe, ctx.now, || {
                format!("{update:?} is recorded")
            })?;
            let mut turned = false;
            let current = match self.latest.get_mut(id) {
                Some(latest) if latest.incarnation == *incarnation => {
                    let before = latest.known.replace((subject, status.clone()));
                    turned = before.is_some_and(|(_, before)| before.health != status.health);
                    true
                }
                _ => false,
            };
            if *transition && !std::mem::replace(&mut self.snapshot_asked, true) {
                ctx.agenda.put(ctx.now + 250 * MILLISECOND, Event::SnapshotAsked { life: self.life });
            }
            let news = *transition && current;
            if turned && ctx.crashes_after_news && ctx.rng.u8(..20) == 0 {
                let at = ctx.now + ctx.rng.u64(..500 * MILLISECOND);
                ctx.agenda.put(at, Event::CrashAfterNews);
            }
            let report = self.table.record(update);
            if let Some(report) = report {
                self.outbox.reported(report, now);
            }
            if news && self.outstanding.is_none() && !self.failing {
                let latest = now + self.setup.notifier.batch_delay;
                let due = self.outbox.due();
                let soon = matches!(due, OutboxDue::At(due) if due <= latest);
                hold(soon, Invariant::BatchDelay, ctx.now, || format!("news is {due:?}"))?;
            }
        }
        Ok(())
    }

    /// The view shows of every check what its shard says of it, unless it has just begun: then
    /// nothing.
    pub(super) fn check_view(&mut self, ctx: &Context<'_>) -> Step {
        hold(self.table.len() == self.desired.len(), Invariant::ViewIsTrue, ctx.now, || {
            format!("{} in the view of {}", self.table.len(), self.desired.len())
        })?;
        let table = &self.table;
        for (id, spec, status) in self.manager.shards().iter().flat_map(|core| core.statuses()) {
            // A shard that has not read its orders yet runs what the set no longer has, or has
            // under another life.
            let Some(check) = table.check(id).filter(|_| self.obeying.is_none()) else { continue };
            let latest = self.latest.get(&id);
            let lives = latest.is_some_and(|latest| latest.incarnation == check.incarnation);
            let is_true = lives && check.spec == spec && check.status == status;
            hold(is_true, Invariant::ViewIsTrue, ctx.now, || {
                format!("{check:?} in the view, {status:?} of {spec:?} in the shard, {latest:?}")
            })?;
            let known = latest.and_then(|latest| latest.known.as_ref());
            let reported = check.reported_health() == known.map(|(_, status)| status.health);
            hold(reported, Invariant::ViewIsTrue, ctx.now, || format!("{check:?}, but heard {latest:?}"))?;
        }
        Ok(())
    }

    /// When the next batch is due, if there is somebody to deliver it to.
    pub(super) fn next_batch(&self) -> Option<Nanos> {
        if self.outstanding.is_some() || !self.link.as_ref().is_some_and(|link| link.in_effect) {
            return None;
        }
        match self.outbox.due() {
            OutboxDue::At(due) => Some(nanos(due.saturating_duration_since(self.start))),
            OutboxDue::OnChange | OutboxDue::Never => None,
        }
    }

    /// Takes the batch or the refresh that is due, and says over which connection it goes.
    pub(crate) fn take_due(&mut self, ctx: &mut Context<'_>) -> Step<Option<(u32, Due)>> {
        let Some((conn, keeps)) = self.link.as_ref().map(|link| (link.conn, link.keeps)) else {
            return Ok(None);
        };
        let now = self.instant(ctx.now);
        self.outbox.consumer(keeps, now);
        if !matches!(self.outbox.due(), OutboxDue::At(due) if due <= now) {
            // Another consumer: what was due was so for the one before.
            return Ok(None);
        }
        let Some(refresh) = self.outbox.take_refresh(now) else {
            return Ok(self.take_batch(conn, ctx)?.map(|batch| (conn, Due::Batch(batch))));
        };
        hold(self.refreshing.is_none() && keeps, Invariant::Refresh, ctx.now, || format!("{refresh:?}"))?;
        self.seq += 1;
        self.refreshing = Some(Refreshing { conn, seq: self.seq, taken: ctx.now });
        let patience = refresh_patience(&refresh);
        ctx.agenda.put(ctx.now + patience, Event::AckOverdue { life: self.life, seq: self.seq });
        ctx.trace(|| format!("server: refresh {} of {refresh:?}", self.seq));
        Ok(Some((conn, Due::Refresh(self.seq, refresh))))
    }

    fn take_batch(&mut self, conn: u32, ctx: &mut Context<'_>) -> Step<Option<Batched>> {
        let batch = self.outbox.take(&self.table, self.instant(ctx.now));
        let sized =
            batch.as_ref().is_some_and(|batch| batch.statuses.len() <= self.setup.notifier.batch_size.get());
        hold(sized, Invariant::LatestIsTold, ctx.now, || format!("{batch:?} was due"))?;
        let Some(batch) = batch else { return Ok(None) };
        hold(batch.generation == self.generation, Invariant::LatestIsTold, ctx.now, || {
            format!("a batch of {:?} in {:?}", batch.generation, self.generation)
        })?;
        let mut items = Vec::with_capacity(batch.statuses.len());
        for CheckStatus { id, spec, status } in &batch.statuses {
            let id = *id;
            let latest = self.latest.get(&id);
            let of_the_set = same(self.desired.get(&id), spec);
            hold(of_the_set, Invariant::IdsMeanTheSame, ctx.now, || format!("{id} is told as {spec:?}"))?;
            let stale = differs(status, latest.and_then(|latest| latest.known.as_ref()), spec);
            hold(!stale, Invariant::LatestIsTold, ctx.now, || format!("{id}: {status:?}, not {latest:?}"))?;
            let life = (self.life, latest.map_or(Incarnation(0), |latest| latest.incarnation));
            items.push(Item { id, spec: Arc::clone(spec), status: status.clone(), life });
        }
        self.seq += 1;
        let told = items.iter().map(|item| (item.id, item.life.1, item.status.health)).collect();
        self.outstanding = Some(Outstanding { conn, seq: self.seq, taken: ctx.now, told });
        ctx.agenda.put(ctx.now + ACK_TIMEOUT, Event::AckOverdue { life: self.life, seq: self.seq });
        ctx.trace(|| format!("server: batch {} of {}, {:?}", self.seq, items.len(), batch.generation));
        Ok(Some(Batched { seq: self.seq, generation: batch.generation, items }))
    }

    /// The proxy's answer. One to a batch that is no longer awaited is ignored.
    pub(crate) fn acknowledged(&mut self, conn: u32, seq: u64, taken: Taken, ctx: &mut Context<'_>) -> Step {
        let awaited = |refresh: &mut Refreshing| refresh.seq == seq && refresh.conn == conn;
        if let Some(refresh) = self.refreshing.take_if(awaited) {
            self.refreshed(&refresh, taken, ctx);
            return Ok(());
        }
        let taken = taken == Taken::Yes;
        let awaited = |batch: &mut Outstanding| batch.seq == seq && batch.conn == conn;
        if !taken {
            if self.outstanding.as_mut().is_some_and(awaited) {
                self.undelivered("refused", ctx);
            }
            return Ok(());
        }
        let Some(batch) = self.outstanding.take_if(awaited) else { return Ok(()) };
        if ctx.now - batch.taken > 200 * MILLISECOND {
            ctx.trouble(batch.taken, ctx.now + SECOND);
        }
        self.failing = false;
        let now = self.instant(ctx.now);
        self.outbox.delivered(now);
        let overtaken = batch.told.iter().find(|(id, incarnation, health)| {
            let latest = self.latest.get(id).filter(|latest| latest.incarnation == *incarnation);
            latest.and_then(|latest| latest.known.as_ref()).is_some_and(|(_, known)| known.health != *health)
        });
        let due = self.outbox.due();
        let soon = matches!(due, OutboxDue::At(due) if due <= now + self.setup.notifier.batch_delay);
        hold(overtaken.is_none() || soon, Invariant::LatestIsTold, ctx.now, || {
            format!("{overtaken:?} has changed since it was told, and the next batch is {due:?}")
        })
    }

    pub(crate) fn ack_overdue(&mut self, seq: u64, ctx: &mut Context<'_>) {
        if self.outstanding.as_ref().is_some_and(|batch| batch.seq == seq) {
            self.undelivered("not acknowledged in time", ctx);
        }
        if self.refreshing.as_ref().is_some_and(|refresh| refresh.seq == seq) {
            self.not_refreshed("not acknowledged in time", ctx);
        }
    }

    fn refreshed(&mut self, refresh: &Refreshing, taken: Taken, ctx: &mut Context<'_>) {
        let now = self.instant(ctx.now);
        if ctx.now - refresh.taken > 200 * MILLISECOND {
            ctx.trouble(refresh.taken, ctx.now + SECOND);
        }
        ctx.trace(|| format!("server: refresh {}: {taken:?}", refresh.seq));
        match taken {
            Taken::Yes => self.outbox.refreshed(now),
            Taken::No => {
                self.outbox.not_refreshed(&DeliveryError::new("refused").into(), now);
            }
            Taken::Differs => {
                self.outbox.not_refreshed(&RefreshError::Differs, now);
            }
        }
        if taken == Taken::No {
            ctx.trouble(refresh.taken, ctx.now + 3 * SECOND);
        }
    }

    pub(super) fn not_refreshed(&mut self, why: &'static str, ctx: &mut Context<'_>) {
        let Some(refresh) = self.refreshing.take() else { return };
        ctx.trace(|| format!("server: refresh {}: {why}", refresh.seq));
        ctx.trouble(refresh.taken, ctx.now + 3 * SECOND);
        self.outbox.not_refreshed(&DeliveryError::new(why).into(), self.instant(ctx.now));
    }

    pub(super) fn undelivered(&mut self, why: &'static str, ctx: &mut Context<'_>) {
        let Some(batch) = self.outstanding.take() else { return };
        ctx.trace(|| format!("server: batch {}: {why}", batch.seq));
        ctx.trouble(batch.taken, ctx.now + 3 * SECOND);
        self.failing = true;
        self.outbox.failed(&DeliveryError::new(why), self.instant(ctx.now));
    }

    /// Whether nothing is left to tell, and how long the refresh may take.
    pub(crate) fn is_told(&self, now: Nanos) -> bool {
        let stats = self.outbox.stats(self.instant(now));
        stats.undelivered == 0 && stats.known == self.desired.len()
    }

    pub(crate) fn batch_delay(&self) -> Duration {
        self.setup.notifier.batch_delay
    }

    pub(crate) fn notify_interval(&self) -> Duration {
        self.setup.notifier.notify_interval
    }
}
