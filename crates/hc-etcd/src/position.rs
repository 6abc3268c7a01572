//! What has been told of the store, and how the rest joins it without a gap.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::connection::MOST_BYTES;
use crate::message::{Event, KeyValue, RangeResponse, WatchResponse};

/// A key below the fleet's prefix, and its value or that it is gone.
pub(crate) type Change = (String, Option<Vec<u8>>);

/// Up to where everything has been told.
///
/// A watch that broke off goes on behind the last change that was told, if that is still what etcd
/// has: one that was restored from a copy, or wiped, counts its revisions anew and may be far
/// ahead already.
#[derive(Debug)]
pub(crate) struct Position {
    cluster: u64,
    anchor: Option<Anchor>,
    /// As of this revision all was told when the store was read.
    read: i64,
    /// As of this one all has been told by now.
    told: i64,
    /// What the watch says of this revision and those before is left out: it is told.
    skip: i64,
    /// The first events of a revision that is not complete, which came in a fragment.
    pending: Vec<Event>,
    pending_bytes: usize,
    latest: i64,
}

/// The last change of a value that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) key: Vec<u8>,
    pub(crate) revision: i64,
    print: u64,
}

impl Anchor {
    fn of(kv: &KeyValue) -> Self {
        let mut hasher = DefaultHasher::new();
        (&kv.value, kv.create_revision, kv.version, kv.lease).hash(&mut hasher);
        Self { key: kv.key.clone(), revision: kv.mod_revision, print: hasher.finish() }
    }
}

impl Position {
    /// Behind everything that was read as of a revision; `latest` is what was changed last of it.
    pub(crate) fn new(cluster: u64, read: i64, latest: Option<Anchor>) -> Self {
        let anchor = latest;
        Self {
            cluster,
            anchor,
            read,
            told: read,
            skip: read,
            pending: Vec::new(),
            pending_bytes: 0,
            latest: read,
        }
    }

    /// What is changed last in a page, if that is later than in the pages before.
    pub(crate) fn latest(page: &[KeyValue], before: Option<Anchor>) -> Option<Anchor> {
        let last = page.iter().max_by_key(|kv| kv.mod_revision);
        match (last, before) {
            (Some(kv), before) if before.as_ref().is_none_or(|anchor| anchor.revision < kv.mod_revision) => {
                Some(Anchor::of(kv))
            }
            (_, before) => before,
        }
    }

    /// What shows that etcd still has what was told: the answer to reading this key as of this
    /// revision is for [`stands`](Self::stands). `None`: there is nothing to hold on to.
    pub(crate) fn anchor(&self) -> Option<&Anchor> {
        self.anchor.as_ref()
    }

    /// Whether etcd still has what was told.
    pub(crate) fn stands(&self, answer: &RangeResponse) -> bool {
        let header = answer.header.unwrap_or_default();
        let is_same = answer.kvs.first().is_some_and(|kv| Some(Anchor::of(kv)) == self.anchor);
        is_same && header.cluster_id == self.cluster && header.revision >= self.latest
    }

    /// A watch begins anew. Gives the revision to begin with: that as of which the store was read, or
    /// else that of the last change of a value. What was deleted since is told twice then, which does
    /// no harm; values that came and went meanwhile are left out.
    ///
    /// It is a revision that etcd has already, and not the one after it: since 3.5.8 etcd does not
    /// say that nothing has changed while a watch begins in the future.
    pub(crate) fn begin(&mut self, is_first: bool) -> i64 {
        self.pending.clear();
        self.pending_bytes = 0;
        self.skip = match &self.anchor {
            Some(anchor) if !is_first => anchor.revision,
            _ => self.read,
        };
        self.latest = self.skip;
        self.skip
    }

    /// The changes in what a watch says, whole revisions only.
    ///
    /// # Errors
    /// In words: it cannot be what etcd says of this store.
    pub(crate) fn take(&mut self, response: WatchResponse, prefix: &[u8]) -> Result<Vec<Change>, String> {
        let cluster = response.header.unwrap_or_default().cluster_id;
        if cluster != self.cluster {
            return Err("another cluster answers".to_owned());
        }
        let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        for event in response.events {
            if revision(&event) < self.latest || revision(&event) <= 0 {
                return Err("revisions go backwards in the watch".to_owned());
            }
            self.latest = revision(&event);
            if self.latest <= self.skip {
                continue;
            }
            self.pending_bytes += event.kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
            self.pending.push(event);
        }
        // The last revision of a fragment may have more events in the next one.
        let held = if response.fragment { self.latest } else { i64::MAX };
        let whole = self.pending.partition_point(|event| revision(event) < held);
        let events: Vec<Event> = self.pending.drain(..whole).collect();
        self.pending_bytes = self
            .pending
            .iter()
            .filter_map(|event| event.kv.as_ref())
            .map(|kv| kv.key.len() + kv.value.len())
            .sum();
        if self.pending_bytes > 2 * MOST_BYTES {
            return Err(format!("one revision has more than {} bytes", 2 * MOST_BYTES));
        }
        let mut changes = Vec::with_capacity(events.len());
        let told = self.told;
        for event in without_overwritten(events, told) {
            let Some(kv) = event.kv else { continue };
            self.told = self.told.max(kv.mod_revision);
            if event.kind == 0 {
                self.anchor = Some(Anchor::of(&kv));
            }
            let Some(rest) = kv.key.strip_prefix(prefix) else {
                return Err("the watch tells of keys that are not below the prefix".to_owned());
            };
            // A key that is no text is none of ours.
            if let Ok(key) = std::str::from_utf8(rest) {
                changes.push((key.to_owned(), (event.kind == 0).then_some(kv.value)));
            }
        }
        Ok(changes)
    }
}

/// Without those that were told before, up to the revision `told`, and have a later one behind them.
fn without_overwritten(events: Vec<Event>, told: i64) -> Vec<Event> {
    let is_old = |event: &Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision <= told);
    if !events.first().is_some_and(is_old) {
        return events;
    }
    let mut later = HashSet::new();
    let mut kept: Vec<Event> = events
        .into_iter()
        .rev()
        .filter(|event| later.insert(event.kv.as_ref().map(|kv| kv.key.clone())) || !is_old(event))
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Header;

    fn event(kind: i32, key: &str, revision: i64) -> Event {
        let kv = KeyValue {
            key: format!("/p/{key}").into_bytes(),
            mod_revision: revision,
            value: revision.to_string().into_bytes(),
            ..KeyValue::default()
        };
        Event { kind, kv: Some(kv) }
    }

    fn response(fragment: bool, events: Vec<Event>) -> WatchResponse {
        let header = Some(Header { cluster_id: 7, revision: 100, member_id: 1 });
        WatchResponse { header, fragment, events, ..WatchResponse::default() }
    }

    fn keys(changes: Result<Vec<Change>, String>) -> Vec<String> {
        changes.unwrap().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_revision_is_told_when_it_is_complete() {
        let mut position = Position::new(7, 10, None);
        assert_eq!(position.begin(true), 10);
        let known = response(false, vec![event(0, "z", 10)]);
        assert_eq!(keys(position.take(known, b"/p/")), [""; 0]);
        let first = response(true, vec![event(0, "a", 11), event(0, "b", 12)]);
        assert_eq!(keys(position.take(first, b"/p/")), ["a"]);
        let second = response(true, vec![event(0, "c", 12)]);
        assert_eq!(keys(position.take(second, b"/p/")), [""; 0]);
        let third = response(false, vec![event(1, "d", 12), event(0, "e", 13)]);
        assert_eq!(keys(position.take(third, b"/p/")), ["b", "c", "d", "e"]);
    }

    #[test]
    fn a_watch_goes_on_behind_the_last_whole_revision() {
        let mut position = Position::new(7, 10, None);
        position.begin(true);
        let cut = response(true, vec![event(0, "a", 11), event(0, "b", 12)]);
        assert_eq!(keys(position.take(cut, b"/p/")), ["a"]);
        assert_eq!(position.begin(false), 11);
        let whole =
            response(false, vec![event(0, "a", 11), event(0, "b", 12), event(0, "c", 12), event(1, "a", 13)]);
        assert_eq!(keys(position.take(whole, b"/p/")), ["b", "c", "a"]);
        // The value of the last put is what can be looked at; what was deleted since comes again.
        assert_eq!(position.begin(false), 12);
    }

    #[test]
    fn what_came_and_went_before_is_not_told_again() {
        let kv = event(0, "a", 7).kv.unwrap();
        let mut position = Position::new(7, 10, Position::latest(&[kv], None));
        assert_eq!(position.begin(false), 7);
        let again = vec![event(0, "b", 8), event(1, "b", 9), event(0, "c", 11), event(1, "c", 12)];
        let changes = position.take(response(false, again), b"/p/").unwrap();
        let told: Vec<(&str, bool)> =
            changes.iter().map(|(key, value)| (key.as_str(), value.is_some())).collect();
        assert_eq!(told, [("b", false), ("c", true), ("c", false)]);
    }

    #[test]
    fn what_etcd_has_in_the_place_of_the_last_change_must_be_that() {
        let mut position = Position::new(7, 10, None);
        position.begin(true);
        position.take(response(false, vec![event(0, "a", 11)]), b"/p/").unwrap();
        let answer = |cluster_id, revision, kv: KeyValue| RangeResponse {
            header: Some(Header { cluster_id, revision, member_id: 1 }),
            kvs: vec![kv],
            more: false,
        };
        let kv = event(0, "a", 11).kv.unwrap();
        assert!(position.stands(&answer(7, 11, kv.clone())));
        assert!(!position.stands(&answer(8, 11, kv.clone())), "another cluster");
        assert!(!position.stands(&answer(7, 10, kv.clone())), "older");
        let other = KeyValue { value: b"x".to_vec(), ..kv.clone() };
        assert!(!position.stands(&answer(7, 50, other)), "another history");
        let none = RangeResponse { kvs: Vec::new(), ..answer(7, 50, kv) };
        assert!(!position.stands(&none), "wiped");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut position = Position::new(7, 10, None);
        position.begin(true);
        position.take(response(false, vec![event(0, "a", 12)]), b"/p/").unwrap();
        assert!(position.take(response(false, vec![event(0, "a", 11)]), b"/p/").is_err());
        assert!(position.take(response(false, vec![Event { kind: 0, kv: None }]), b"/p/").is_err());
        assert!(position.take(response(false, vec![event(0, "a", 13)]), b"/q/").is_err());
        let other = WatchResponse { header: None, ..response(false, Vec::new()) };
        assert!(position.take(other, b"/p/").is_err());
    }
}
