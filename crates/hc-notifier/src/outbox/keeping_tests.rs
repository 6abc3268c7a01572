//! A consumer that keeps what it got.

use hc_types::{BUCKETS, Digest, Incarnation, Refresh};

use super::tests::{Desk, FIRST_LIFE, desk, update};
use super::*;
use crate::RefreshError;

/// A desk whose consumer keeps statuses.
fn keeping(batch_size: usize) -> Desk {
    let mut desk = desk(batch_size);
    desk.outbox.consumer(true, desk.now);
    desk
}

impl Desk {
    /// Waits until a refresh is due and takes it.
    #[track_caller]
    fn refresh(&mut self) -> Refresh {
        let Due::At(due) = self.outbox.due() else { panic!("{:?}", self.outbox.due()) };
        self.now = self.now.max(due);
        self.outbox.take_refresh(self.now).unwrap()
    }

    /// What the consumer keeps in all, as the outbox knows it.
    fn kept(&self) -> Digest {
        self.outbox.delivered.span(0, |_, _| true).1
    }

    fn refreshed(&mut self) {
        self.outbox.refreshed(self.now);
    }

    /// Takes and answers refreshes for a while, and gives of how many checks they were.
    #[track_caller]
    fn refreshes(&mut self, seconds: u64) -> u64 {
        let until = self.now + Duration::from_secs(seconds);
        let mut checks = 0;
        while let Due::At(due) = self.outbox.due()
            && due <= until
        {
            checks += u64::from(self.refresh().digest.count);
            self.refreshed();
        }
        self.now = until;
        checks
    }

    fn told(&mut self, ids: impl IntoIterator<Item = u64>) {
        self.begin_up(ids);
        while self.outbox.stats(self.now).undelivered > 0 {
            self.take();
            self.deliver();
        }
    }
}

fn digest(ids: impl IntoIterator<Item = u64>) -> Digest {
    let mut digest = Digest::default();
    ids.into_iter().for_each(|id| digest.put(CheckId(id), Health::Healthy));
    digest
}

#[test]
fn what_is_kept_is_refreshed_and_not_told() {
    let mut desk = keeping(100);
    desk.told(1..=3);
    let (mut all, began) = (Digest::default(), desk.now);
    for _ in 0..3 {
        let refresh = desk.refresh();
        all.join(refresh.digest);
        assert_eq!((refresh.digest.count, refresh.generation), (1, None));
        // One at a time.
        assert_eq!(desk.outbox.due(), Due::OnChange);
        desk.refreshed();
    }
    assert_eq!(all, digest(1..=3));
    assert!(desk.now - began <= Duration::from_secs(14));
    assert!(desk.due_in() > Some(4_000) && desk.due_in() <= Some(5_000), "{:?}", desk.due_in());
}

#[test]
fn every_check_is_refreshed_within_the_interval_and_no_more_often() {
    let mut desk = keeping(100);
    desk.told(0..5000);
    assert!((4500..=6000).contains(&desk.refreshes(14)));
    // 13.125 s is a cycle: 10 of them.
    let checks = desk.refreshes(131);
    assert!((49_000..=51_500).contains(&checks), "{checks}");
}

#[test]
fn a_refresh_is_of_a_thousand_checks_at_most() {
    let mut desk = keeping(100);
    desk.told(0..50_000);
    let mut next = 0;
    for _ in 0..60 {
        let refresh = desk.refresh();
        assert!(refresh.digest.count <= 1000 && *refresh.buckets.start() >= next, "{refresh:?} from {next}");
        next = (refresh.buckets.end() + 1) % BUCKETS;
        desk.refreshed();
        if next == 0 {
            return;
        }
    }
    panic!("it does not come round: {next}");
}

#[test]
fn counters_alone_are_not_told_for_long_and_words_are_within_the_interval() {
    let mut desk = keeping(100);
    desk.told([1]);
    let mut counted = update(1, FIRST_LIFE, Health::Healthy, false);
    counted.status.successes = 7;
    desk.update(counted.clone());
    assert_eq!(desk.refreshes(1000), 76);
    counted.status.outcome = Some(hc_types::Outcome::Pass(hc_types::Pass::Plain));
    counted.status.note = Some("by hand".into());
    let at = desk.now;
    desk.update(counted);
    let mut told = Vec::new();
    while told.is_empty() {
        let Due::At(due) = desk.outbox.due() else { panic!() };
        desk.now = desk.now.max(due);
        if desk.outbox.take_refresh(desk.now).is_some() {
            desk.refreshed();
        } else {
            told = desk.take();
        }
    }
    assert_eq!(told, [(1, Health::Healthy)]);
    assert!(desk.now - at <= Duration::from_secs(15));
}

#[test]
fn counters_are_told_within_an_hour() {
    let mut desk = keeping(100);
    desk.told(0..1000);
    let (mut told, mut early) = (0, 0);
    let (half, hour) = (desk.now + Duration::from_secs(1790), desk.now + Duration::from_secs(3630));
    while let Due::At(due) = desk.outbox.due()
        && due <= hour
    {
        desk.now = desk.now.max(due);
        if desk.outbox.take_refresh(desk.now).is_some() {
            desk.refreshed();
        } else {
            let batch = desk.take().len();
            told += batch;
            early += if desk.now < half { batch } else { 0 };
            desk.deliver();
        }
    }
    assert_eq!((told, early), (1000, 0));
}

#[test]
fn what_is_sent_or_refused_is_not_kept() {
    let mut desk = keeping(100);
    desk.told([1, 2]);
    desk.record(1, Health::Unhealthy);
    // It still keeps the health before.
    desk.now += Duration::from_secs(14);
    assert_eq!(desk.take(), [(1, Health::Unhealthy)]);
    assert_eq!(desk.outbox.due(), Due::OnChange, "no refresh beside a batch");
    desk.fail();
    assert_eq!((desk.refresh().digest, desk.kept()), (digest([2]), digest([2])));
    desk.refreshed();
    desk.take();
    desk.deliver();
    let mut both = digest([2]);
    both.put(CheckId(1), Health::Unhealthy);
    assert_eq!(desk.kept(), both);
}

#[test]
fn a_transition_after_its_batch_was_made_leaves_what_was_sent() {
    let mut desk = keeping(100);
    desk.begin_up([1]);
    desk.take();
    desk.record(1, Health::Unhealthy);
    desk.deliver();
    // Until it is told: what the consumer keeps is the health before.
    desk.outbox.refresh.is_next = true;
    desk.now += Duration::from_secs(14);
    assert_eq!(desk.refresh().digest, digest([1]));
}

#[test]
fn words_that_change_while_their_batch_is_in_flight_are_told() {
    let mut desk = keeping(100);
    desk.begin_up([1]);
    desk.take();
    let mut other = update(1, FIRST_LIFE, Health::Healthy, false);
    other.status.note = Some("other words".into());
    desk.update(other);
    desk.deliver();
    assert_eq!(desk.outbox.stats(desk.now).undelivered, 0);
    desk.now += Duration::from_secs(12);
    assert_eq!(desk.take(), [(1, Health::Healthy)]);
}

#[test]
fn a_consumer_that_differs_gets_all_of_it() {
    let mut desk = keeping(100);
    desk.told(0..10);
    let refresh = desk.refresh();
    desk.record(3, Health::Unhealthy);
    desk.outbox.not_refreshed(&RefreshError::Differs, desk.now);
    let mut told: Vec<u64> = desk.take().into_iter().map(|(id, _)| id).collect();
    told.sort_unstable();
    let of_it = |id: &u64| refresh.buckets.contains(&hc_types::bucket(CheckId(*id))) || *id == 3;
    assert_eq!(told, (0..10).filter(of_it).collect::<Vec<_>>());
    desk.deliver();
    let mut all = digest((0..10).filter(|id| *id != 3));
    all.put(CheckId(3), Health::Unhealthy);
    assert_eq!(desk.kept(), all);
}

#[test]
fn a_refresh_that_fails_comes_again_after_a_pause() {
    let mut desk = keeping(100);
    desk.told([1]);
    let refresh = desk.refresh();
    for pause in [100, 200, 400, 800, 1600, 2000, 2000] {
        desk.outbox.not_refreshed(&DeliveryError::new("no").into(), desk.now);
        assert_eq!(desk.due_in(), Some(pause));
        assert_eq!(desk.refresh(), refresh);
    }
    desk.refreshed();
    desk.refresh();
    desk.outbox.not_refreshed(&DeliveryError::new("no").into(), desk.now);
    // News does not wait for it.
    desk.begin_up([2]);
    assert_eq!(desk.due_in(), Some(100));
}

/// The consumer takes batches, and will never take this refresh: what it is about is told as if it
/// kept nothing.
#[test]
fn a_refresh_that_fails_for_ever_is_given_up() {
    let mut desk = keeping(100);
    desk.told([1, 2]);
    let first = desk.refresh();
    for failure in 1..=8 {
        let is_given_up = desk.outbox.not_refreshed(&DeliveryError::new("another set").into(), desk.now);
        assert_eq!(is_given_up, failure == 8);
        if !is_given_up {
            assert_eq!(desk.refresh(), first);
        }
    }
    let told = desk.take();
    assert_eq!(u32::try_from(told.len()), Ok(first.digest.count), "{told:?}");
    desk.deliver();
    // The others have their turn.
    assert_ne!(desk.refresh().buckets, first.buckets);
}

/// However much differs, it is found out at the pace of the refresh, and not at once.
#[test]
fn what_differs_has_had_its_turn() {
    let mut desk = keeping(100);
    desk.told(0..5000);
    let mut next = 0;
    let began = desk.now;
    for _ in 0..10 {
        let refresh = desk.refresh();
        assert!(*refresh.buckets.start() >= next, "{refresh:?} from {next}");
        next = (refresh.buckets.end() + 1) % BUCKETS;
        assert!(!desk.outbox.not_refreshed(&RefreshError::Differs, desk.now));
        while desk.outbox.stats(desk.now).undelivered > 0 {
            desk.take();
            desk.deliver();
        }
    }
    assert!(desk.now - began >= Duration::from_secs(5), "{:?}", desk.now - began);
}

#[test]
fn what_was_refreshed_longest_ago_is_told_again_first() {
    let mut desk = keeping(5000);
    desk.told(0..5000);
    desk.refreshes(6);
    let turn = desk.outbox.delivered.cursor;
    desk.full_set();
    let told: Vec<u16> = desk.take().into_iter().map(|(id, _)| hc_types::bucket(CheckId(id))).collect();
    let age = |bucket: &u16| bucket.wrapping_sub(turn) % BUCKETS;
    assert!(turn > 0 && told.is_sorted_by_key(age), "from {turn}");
}

#[test]
fn after_a_full_set_nothing_is_kept() {
    let mut desk = keeping(100);
    desk.told([1, 2]);
    desk.refresh();
    desk.full_set();
    // About what the consumer kept before.
    desk.outbox.not_refreshed(&RefreshError::Differs, desk.now);
    desk.takes([1, 2]);
    desk.full_set();
    desk.deliver();
    assert_eq!(desk.outbox.delivered.kept, 0);
    desk.takes([1, 2]);
    desk.deliver();
    assert_eq!(desk.kept(), digest([1, 2]));
}

#[test]
fn checks_that_end_or_begin_again_are_not_kept() {
    let mut desk = keeping(100);
    desk.told([1, 2, 3]);
    desk.forget(1, FIRST_LIFE);
    desk.begin(2, Incarnation(2));
    assert_eq!(desk.refresh().digest, digest([3]));
}

#[test]
fn another_kind_of_consumer_gets_everything() {
    let mut desk = keeping(100);
    desk.told([1, 2]);
    desk.outbox.consumer(false, desk.now);
    desk.takes([1, 2]);
    desk.deliver();
    desk.takes([1]);
    assert!(desk.outbox.take_refresh(desk.now).is_none());
    desk.deliver();
    desk.outbox.consumer(true, desk.now);
    assert_eq!(desk.take().len(), 2);
}

/// When there is always a batch to be taken, and always a refresh, they take turns.
#[test]
fn neither_batches_nor_refreshes_starve() {
    let mut desk = keeping(1);
    desk.told(0..2000);
    desk.now += Duration::from_secs(15);
    desk.begin_up(2000..2200);
    let (mut batches, mut refreshes) = (0, 0);
    for _ in 0..8 {
        if desk.outbox.take_refresh(desk.now).is_some() {
            refreshes += 1;
            desk.refreshed();
        } else {
            batches += 1;
            desk.take();
            desk.deliver();
        }
    }
    assert!(batches >= 4 && refreshes >= 2, "{batches} and {refreshes}");
}
