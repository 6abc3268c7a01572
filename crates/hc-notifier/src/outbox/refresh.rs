//! The refresh of a consumer that keeps statuses: it is told which of them are still so.
//!
//! What it keeps of a check is what it has acknowledged last. From the moment at which a batch with
//! the check is made until the batch is acknowledged, it keeps nothing of it, on either side. So a
//! refresh, which is made only between batches, and the consumer, which reads both in order, are
//! about the same checks.
//!
//! Of a check that the consumer keeps, only what is said in words, and the health, is told when it
//! changes; counters and times go with it. Where neither changes they are told anew after half an
//! hour to an hour ([`FIGURES`]).

use std::ops::RangeInclusive;
use std::time::Instant;

use hc_types::{BUCKETS, CheckId, Health, Refresh};

use super::{Outbox, pause};
use crate::RefreshError;
use crate::delivered::Delivered;
use crate::links::{Kept, Place};
use crate::pace::nanos;

/// No refresh is about more checks, but for those of one bucket: the consumer tells them in one go,
/// and a Seesaw vserver drops what does not fit into its queue of 1000.
const LARGEST: u32 = 1000;
/// After so many intervals, and after half of them at the earliest, a check is told in full although
/// only its counters and times are other ones: an hour with the usual interval.
const FIGURES: u64 = 240;
/// A refresh that has failed so often in a row, over 7 s, is given up: its checks are told in
/// batches, whatever the consumer has against it.
const MOST_FAILURES: u32 = 8;

/// Where the refresh stands.
#[derive(Debug, Default)]
pub(super) struct State {
    under_way: Option<UnderWay>,
    /// A batch was taken since the last refresh: when both are due, it is the turn of a refresh.
    pub(super) is_next: bool,
    paused_until: u64,
    failures_in_a_row: u32,
}

#[derive(Debug)]
struct UnderWay {
    buckets: RangeInclusive<u16>,
    taken: u64,
    /// How many checks count against the pace.
    allowed: u64,
    /// It was made before the latest full set.
    outdated: bool,
}

impl Outbox {
    /// Says whether the consumer keeps statuses, before something is taken for it. Where that has
    /// changed, it is another consumer, and gets everything again.
    pub fn consumer(&mut self, keeps: bool, now: Instant) {
        if keeps != self.delivered.keeps() {
            self.forget_what_is_kept(keeps, self.nanos(now));
            self.pace.restart(self.nanos(now));
        }
    }

    /// The checks whose turn it is, of a consumer that keeps statuses, if one is due. One refresh
    /// is under way at a time, and none is made while a batch is in flight.
    /// [`refreshed`](Self::refreshed) or [`not_refreshed`](Self::not_refreshed) ends it; batches may
    /// be taken meanwhile.
    pub fn take_refresh(&mut self, now: Instant) -> Option<Refresh> {
        let now = self.nanos(now);
        self.keeper_due().filter(|due| *due <= now)?;
        if !self.refresh.is_next && self.batch_due().is_some_and(|due| due <= now) {
            return None;
        }
        self.refresh.is_next = false;
        let first = self.delivered.next()?;
        let allowed = self.pace.allowed(self.delivered.kept, now);
        let pace = self.pace;
        let (last, digest) = self.delivered.span(first, |count, run| {
            let is_turn = u64::from(count) < allowed || pace.deadline_of(run.refreshed) <= now;
            count == 0 || is_turn && count + run.digest.count <= LARGEST
        });
        let buckets = first..=last;
        let allowed = allowed.min(digest.count.into());
        let under_way = UnderWay { buckets: buckets.clone(), taken: now, allowed, outdated: false };
        self.refresh.under_way = Some(under_way);
        Some(Refresh { generation: self.generation, buckets, digest })
    }

    /// The consumer has told the checks of the refresh under way again.
    pub fn refreshed(&mut self, now: Instant) {
        let Some(UnderWay { buckets, taken, allowed, outdated }) = self.refresh.under_way.take() else {
            return;
        };
        self.resume_refresh();
        if outdated {
            return;
        }
        self.had_its_turn(allowed, *buckets.end());
        let now = self.nanos(now);
        for bucket in buckets {
            self.delivered.run(bucket).refreshed = taken;
            self.renew_figures(bucket, now);
        }
    }

    /// It is not certain that the consumer has. After a pause as after a batch that failed, and of
    /// its own, the same checks have their turn again. A consumer that says that it keeps something
    /// else ([`RefreshError::Differs`]) has dropped that, and gets all of it at once, in batches; so
    /// does one that refuses a refresh again and again. Either was the turn of these checks. Says
    /// whether the refresh was given up.
    pub fn not_refreshed(&mut self, error: &RefreshError, now: Instant) -> bool {
        let Some(UnderWay { buckets, allowed, outdated, .. }) = self.refresh.under_way.take() else {
            return false;
        };
        if outdated {
            return false;
        }
        let now = self.nanos(now);
        let failures = self.refresh.failures_in_a_row;
        let differs = matches!(error, RefreshError::Differs);
        let is_given_up = !differs && failures.saturating_add(1) >= MOST_FAILURES;
        if differs || is_given_up {
            self.resume_refresh();
            self.had_its_turn(allowed, *buckets.end());
            self.tell_all_of(&buckets, now);
            return is_given_up;
        }
        self.refresh.paused_until = now.saturating_add(pause(failures));
        self.refresh.failures_in_a_row = failures.saturating_add(1);
        false
    }

    /// So many checks had their turn, those of the bucket `last` at the end.
    fn had_its_turn(&mut self, checks: u64, last: u16) {
        self.pace.used(checks, self.delivered.kept);
        self.delivered.cursor = last.wrapping_add(1) % BUCKETS;
    }

    /// When a refresh is due, of a consumer that keeps statuses.
    pub(super) fn keeper_due(&self) -> Option<u64> {
        let may = !self.draining && self.in_flight.is_empty() && self.refresh.under_way.is_none();
        let next = self.delivered.next().filter(|_| may)?;
        let oldest = self.delivered.refreshed(next);
        let due = self.pace.due(self.delivered.kept, LARGEST as usize, oldest);
        Some(due.max(self.refresh.paused_until))
    }

    /// When other words are to be told.
    pub(super) fn words_due(&self) -> Option<u64> {
        let oldest = self.links.first(&self.words).filter(|_| !self.draining)?;
        Some(oldest.since.saturating_add(self.interval() / 4 * 3))
    }

    /// Puts other words into the batch: those that wait too long, and those on the way to it, so
    /// that batches are few.
    pub(super) fn take_words(&mut self, room: usize, now: u64) {
        let half = self.interval() / 2;
        while self.in_flight.len() < room
            && let Some(oldest) = self.links.first(&self.words)
            && oldest.since.saturating_add(half) <= now
            && let Some(at) = self.links.pop(&mut self.words)
        {
            self.in_flight.push(at);
        }
    }

    /// What a check says has changed, not its health. Says whether [`due`](Self::due) may have come
    /// nearer.
    pub(super) fn reword(&mut self, at: u32, now: u64) -> bool {
        self.detach(at);
        self.links.get_mut(at).since = now;
        self.links.push_back(&mut self.words, at);
        self.words.len() == 1
    }

    /// The check is in the batch that is made.
    pub(super) fn send(&mut self, at: u32, id: CheckId, health: Health) {
        if !self.delivered.keeps() {
            return;
        }
        let link = self.links.get_mut(at);
        if let Kept::As(before) = std::mem::replace(&mut link.kept, Kept::Sent) {
            self.delivered.drop(link.bucket, id, before);
        }
        self.sent.push((at, id, health));
    }

    /// The batch in flight has ended. What began again, or is to be told again, meanwhile is not
    /// kept.
    pub(super) fn settle_sent(&mut self, has_it: bool, now: u64) {
        for (at, id, health) in std::mem::take(&mut self.sent) {
            if self.links.place(at) == Place::Vacant || self.links.get(at).kept != Kept::Sent {
                continue;
            }
            let link = self.links.get_mut(at);
            link.kept = Kept::No;
            if has_it && self.delivered.keeps() {
                link.kept = Kept::As(health);
                self.delivered.keep(link.bucket, id, health, now);
            }
        }
    }

    /// The consumer, which keeps statuses or does not, has nothing: all that was told is told again.
    pub(super) fn forget_what_is_kept(&mut self, keeps: bool, now: u64) {
        let mut delivered = std::mem::replace(&mut self.delivered, Delivered::new(keeps));
        // What was told longest ago comes first.
        let turn = usize::from(delivered.cursor);
        let (behind, from) = delivered.runs_mut().split_at_mut(turn);
        for run in from.iter_mut().chain(behind) {
            while let Some(at) = self.links.pop(&mut run.queue) {
                self.links.get_mut(at).since = now;
                self.links.push_back(&mut self.resend, at);
            }
        }
        while let Some(at) = self.links.pop(&mut self.words) {
            self.links.get_mut(at).since = now;
            self.links.push_back(&mut self.resend, at);
        }
        if delivered.keeps() {
            self.links.keep_nothing();
        }
        self.resume_refresh();
        if let Some(under_way) = &mut self.refresh.under_way {
            under_way.outdated = true;
        }
    }

    /// The consumer has dropped what it kept of these buckets. What is in flight it gets after that.
    fn tell_all_of(&mut self, buckets: &RangeInclusive<u16>, now: u64) {
        self.delivered.drop_all(*buckets.start(), *buckets.end());
        for bucket in buckets.clone() {
            while let Some(at) = self.links.pop(&mut self.delivered.run(bucket).queue) {
                self.delivered.len -= 1;
                self.links.get_mut(at).since = now;
                self.links.push_back(&mut self.resend, at);
            }
        }
        let is_of = |at: &u32| buckets.contains(&self.links.get(*at).bucket);
        let [words, pending, resend] = [&self.words, &self.pending, &self.resend]
            .map(|queue| self.links.of(queue).filter(is_of).collect::<Vec<u32>>());
        for at in &words {
            self.links.unlink(&mut self.words, *at);
            self.links.get_mut(*at).since = now;
            self.links.push_back(&mut self.resend, *at);
        }
        for at in words.into_iter().chain(pending).chain(resend) {
            let link = self.links.get_mut(at);
            if matches!(link.kept, Kept::As(_)) {
                link.kept = Kept::No;
            }
        }
    }

    /// Checks of this bucket whose counters the consumer has been keeping for long are told anew.
    /// Each bucket has its own time, so that they do not all have their turn together.
    fn renew_figures(&mut self, bucket: u16, now: u64) {
        let most = self.interval().saturating_mul(FIGURES);
        let age = most / 2 + most / 2 / u64::from(BUCKETS) * u64::from(bucket);
        while let queue = &mut self.delivered.run(bucket).queue
            && let Some(oldest) = self.links.first(queue)
            && oldest.since.saturating_add(age) <= now
            && let Some(at) = self.links.pop(queue)
        {
            self.delivered.len -= 1;
            self.links.get_mut(at).since = now;
            self.links.push_back(&mut self.words, at);
        }
    }

    fn resume_refresh(&mut self) {
        self.refresh.paused_until = 0;
        self.refresh.failures_in_a_row = 0;
    }

    fn interval(&self) -> u64 {
        nanos(self.config.notify_interval)
    }
}
