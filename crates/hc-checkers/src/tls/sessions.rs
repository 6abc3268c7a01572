//! TLS sessions that are kept between probes to be resumed (RFC 8446 section 2.2, RFC 5246 section
//! 7.3, RFC 5077).
//!
//! A resumed handshake brings no certificate. So one full handshake begins a [`Lineage`], and all
//! that follows from it ends after so many handshakes ([`TlsOptions::resume`]), after [`MAX_AGE`],
//! when a certificate of the chain runs out, when the roots change, and with the first probe that
//! fails.
//!
//! Example: `resume = 10` at an interval of 10 s makes a full handshake every 100 s. At an interval
//! of 2 min it makes one every 10 min, which is every fifth time.
//!
//! [`TlsOptions::resume`]: hc_types::TlsOptions::resume

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hc_types::Target;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup};
use tokio::time::Instant;

use super::der;

/// How long handshakes may follow from one full handshake: no certificate goes unseen for longer.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(600);

/// What an entry takes beside what the peer has sent, in bytes.
const OWN_SIZE: usize = 768;

/// The TLS sessions that are kept between probes, of all checks that ask for it (`resume`). A clone
/// is a reference to the same ones; all shards of a process share them.
///
/// They are bounded by memory: each counts with all that its peer sent in the handshake, some 4 to
/// 6 KB with a usual chain of certificates. When they need more than the limit, those that were
/// used longest ago are dropped, and their checks make full handshakes. A check that does not ask
/// for it takes nothing.
#[derive(Clone)]
pub struct TlsSessions(Arc<Mutex<State>>);

struct State {
    limit: usize,
    used: usize,
    next: u64,
    entries: HashMap<Arc<Key>, Entry>,
    /// In the order in which they were kept.
    order: BTreeMap<u64, Arc<Key>>,
}

struct Entry {
    number: u64,
    size: usize,
    lineage: Lineage,
    kept: Kept,
}

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The number of what the handshake is made with: flags, roots, identity, pins and so on.
    pub(super) client: u64,
    pub(super) target: Target,
    pub(super) verified: ServerName<'static>,
    pub(super) sent: ServerName<'static>,
    pub(super) http2: bool,
}

/// What follows from one full handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lineage {
    began: Instant,
    /// How many handshakes there were, the full one included.
    handshakes: u16,
    /// When all certificates of the chain are valid, in seconds since 1970.
    valid: (u64, u64),
    /// How long these certificates are together, in bytes.
    chain: usize,
}

impl Lineage {
    /// Begins with a full handshake in which these certificates were shown.
    pub(crate) fn new(chain: &[CertificateDer<'_>]) -> Self {
        let validity = |one: &CertificateDer<'_>| der::validity(one).unwrap_or((1, 0));
        let valid = chain
            .iter()
            .map(validity)
            .fold((0, u64::MAX), |(from, until), (other, end)| (from.max(other), until.min(end)));
        let length = chain.iter().map(|one| one.len()).sum();
        Self { began: Instant::now(), handshakes: 1, valid, chain: length }
    }

    /// Whether one more handshake may follow, at most `most` in all.
    fn may_go_on(&self, most: u16, now: Instant, wall: SystemTime) -> bool {
        self.handshakes < most && self.holds(now, wall)
    }

    /// Whether the full handshake is not too long ago, and its certificates are still valid.
    pub(crate) fn holds(&self, now: Instant, wall: SystemTime) -> bool {
        let (from, until) = self.valid;
        let seconds = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        now.duration_since(self.began) < MAX_AGE && (from..=until).contains(&seconds)
    }
}

#[derive(Debug, Default)]
struct Kept {
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Option<Tls13ClientSessionValue>,
    group: Option<NamedGroup>,
}

impl Kept {
    fn has_session(&self) -> bool {
        self.tls12.is_some() || self.tls13.is_some()
    }
}

impl TlsSessions {
    /// The default limit: 32 MiB, sessions of some 6,000 checks.
    pub const DEFAULT: usize = 32 * 1024 * 1024;

    /// A limit of so many bytes. 0: every handshake is full.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let (entries, order) = (HashMap::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(State { limit, used: 0, next: 0, entries, order })))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever panicked beside it, entries are whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is kept for a handshake, if it may still be resumed: of so many handshakes one is
    /// full. Whether the probe passes decides whether anything is kept again.
    pub(super) fn offer(&self, key: Key, most: u16) -> Offer {
        let entry = self.state().take(&key);
        #[allow(clippy::disallowed_methods, reason = "certificates are valid by this clock")]
        let wall = SystemTime::now();
        let entry = entry.filter(|entry| entry.lineage.may_go_on(most, Instant::now(), wall));
        let (lineage, kept) = entry.map_or((None, Kept::default()), |Entry { lineage, kept, .. }| {
            (Some(lineage).filter(|_| kept.has_session()), kept)
        });
        Offer { key, lineage, slot: Arc::new(Slot(Mutex::new(kept))) }
    }

    /// Keeps what a handshake and what followed it have left; `read` is how many bytes the peer has
    /// sent.
    pub(super) fn keep(&self, offer: Offer, read: usize) {
        let Offer { key, lineage, slot } = offer;
        let kept = std::mem::take(&mut *slot.kept());
        if let Some(lineage) = lineage.filter(|_| kept.has_session()) {
            // A ticket is part of what was read, and so are certificates after a full handshake.
            let chain = if lineage.handshakes > 1 { lineage.chain } else { 0 };
            let entry = Entry { number: 0, size: OWN_SIZE + chain + read, lineage, kept };
            self.state().insert(key, entry);
        }
    }
}

impl Default for TlsSessions {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

impl fmt::Debug for TlsSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSessions").finish_non_exhaustive()
    }
}

impl State {
    fn take(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.number);
        self.used -= entry.size;
        Some(entry)
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        drop(self.take(&key));
        if entry.size > self.limit {
            return;
        }
        let (key, number) = (Arc::new(key), self.next);
        self.next += 1;
        self.used += entry.size;
        self.order.insert(number, Arc::clone(&key));
        self.entries.insert(key, Entry { number, ..entry });
        while self.used > self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            drop(self.take(&oldest));
        }
    }
}

/// What a handshake is made with that may resume a session.
#[derive(Debug)]
pub(super) struct Offer {
    key: Key,
    /// That of the session that is offered, then that of the one that there is.
    lineage: Option<Lineage>,
    slot: Arc<Slot>,
}

impl Offer {
    /// The configuration with what is offered.
    pub(super) fn config(&self, config: &ClientConfig) -> Arc<ClientConfig> {
        let mut config = config.clone();
        config.resumption = Resumption::store(Arc::clone(&self.slot) as Arc<dyn ClientSessionStore>);
        Arc::new(config)
    }

    /// What the handshake that was made follows from.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        self.lineage
    }

    /// Offers nothing from now on. Gives whether a session was offered.
    pub(super) fn withdraw(&mut self) -> bool {
        *self.slot.kept() = Kept::default();
        self.lineage.take().is_some()
    }

    /// The handshake is made.
    pub(super) fn made(&mut self, resumed: bool, chain: &[CertificateDer<'_>]) {
        match &mut self.lineage {
            Some(lineage) if resumed => lineage.handshakes = lineage.handshakes.saturating_add(1),
            lineage => *lineage = Some(Lineage::new(chain)),
        }
    }
}

/// The store of one handshake. Whatever the library calls its peer, it has one.
struct Slot(Mutex<Kept>);

impl Slot {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tickets and secrets are not shown.
impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl ClientSessionStore for Slot {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.kept().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.kept().tls12 = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.kept().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        // The latest is enough: a ticket is used once, and the resumed session brings another one.
        self.kept().tls13 = Some(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept().tls13.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        let name = ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into());
        let target = Target::plain([127, 0, 0, 1].into(), port);
        Key { client: 1, target, verified: name.clone(), sent: name, http2: false }
    }

    fn lineage(handshakes: u16) -> Lineage {
        Lineage { began: Instant::now(), handshakes, valid: (100, 200), chain: 1000 }
    }

    fn entry(size: usize) -> Entry {
        Entry { number: 0, size, lineage: lineage(1), kept: Kept::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lineage_ends_by_number_by_age_and_with_its_certificates() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let now = Instant::now();
        assert!(lineage(9).may_go_on(10, now, at(100)));
        assert!(!lineage(10).may_go_on(10, now, at(100)), "the tenth is full");
        assert!(!lineage(1).may_go_on(10, now, at(99)), "not valid yet");
        assert!(!lineage(1).may_go_on(10, now, at(201)), "not valid any more");
        assert!(lineage(1).may_go_on(10, now + MAX_AGE - Duration::from_secs(1), at(200)));
        assert!(!lineage(1).may_go_on(10, now + MAX_AGE, at(200)), "too old");
        let unreadable = Lineage::new(&[CertificateDer::from(vec![0; 8])]);
        assert!(!unreadable.may_go_on(10, now, at(0)), "whose dates cannot be read");
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many() {
        let sessions = TlsSessions::new(1000);
        for port in 1..=4 {
            sessions.state().insert(key(port), entry(300));
        }
        sessions.state().insert(key(9), entry(1001));
        let has = |port| sessions.state().entries.contains_key(&key(port));
        assert_eq!([1, 2, 3, 4, 9].map(has), [false, true, true, true, false]);
        // Kept again: now the next one is the oldest.
        sessions.state().insert(key(2), entry(300));
        sessions.state().insert(key(5), entry(300));
        assert_eq!([2, 3, 4, 5].map(has), [true, false, true, true]);
        let state = sessions.state();
        assert_eq!((state.used, state.order.len()), (900, state.entries.len()));
    }
}
