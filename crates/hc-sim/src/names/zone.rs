//! The names as they really are, and a resolver that may be asked for them: it knows answers for as
//! long as their TTL, and is slow, away, confused or a liar at times.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use hc_resolve::{Answer, Lookup, ResolveError};
use tokio::time::{Instant, sleep};

use super::NamesFault;
use crate::clock::{MILLISECOND, Nanos, SECOND, nanos};

/// The longest that a question waits for its error while the resolver is away.
pub(super) const LONGEST_WAIT: Nanos = 9 * SECOND;
/// The longest that an answer takes while the resolver is well.
pub(super) const LONGEST_ANSWER: Nanos = SECOND / 2;
/// The longest that it is good for that a name has no address.
pub(super) const LONGEST_NEGATIVE: Duration = Duration::from_secs(60);

/// Addresses that no backend can have, and a liar names.
pub(super) const LIES: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::BROADCAST),
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
];

/// What the resolver does with questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// No answer until the deadline of whoever asks.
    Away,
    /// SERVFAIL, at once.
    Fails,
    /// NXDOMAIN for every name.
    Denies,
    /// SERVFAIL or NXDOMAIN, by chance.
    Doubts,
    /// Impossible addresses beside the right ones or in place of them.
    Lies,
    /// Right, and late.
    Slow,
    /// Any of these, by chance for each question.
    Mixed,
}

impl Mood {
    const SINGLE: [Self; 6] = [Self::Well, Self::Away, Self::Fails, Self::Denies, Self::Lies, Self::Slow];

    /// One of those in which something is wrong.
    pub(super) fn bad(rng: &mut Rng) -> Self {
        [Self::Away, Self::Fails, Self::Denies, Self::Doubts, Self::Lies, Self::Slow, Self::Mixed]
            [rng.usize(..7)]
    }
}

/// A name and its addresses.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: Arc<str>,
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Since when it has these.
    pub(super) since: Nanos,
    pub(super) ttl: Duration,
    /// Mean time between two changes; `None` for a name that never changes.
    pub(super) changes_every: Option<Nanos>,
    /// It goes to and fro between two sets.
    other: Option<BTreeSet<IpAddr>>,
    /// The resolver keeps answers for their TTL.
    pub(super) is_cached: bool,
    cache: Option<(BTreeSet<IpAddr>, Nanos)>,
}

/// What came of a question.
#[derive(Debug)]
pub(super) struct Said {
    /// Questions are counted over all processes.
    pub(super) question: u64,
    pub(super) host: usize,
    pub(super) life: u32,
    pub(super) answer: Result<Answer, ResolveError>,
}

#[derive(Debug)]
pub(super) struct Zone {
    pub(super) hosts: Vec<Host>,
    pub(super) mood: Mood,
    pool: Vec<IpAddr>,
    rng: Rng,
    /// Answers that the model has not read.
    pub(super) said: Vec<Said>,
    /// Questions that were asked.
    pub(super) questions: u64,
    origin: Instant,
    fault: Option<NamesFault>,
}

/// The simulated resolver, as one process sees it.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    zone: Arc<Mutex<Zone>>,
    life: u32,
}

pub(super) fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resolver {
    pub(super) fn new(zone: &Arc<Mutex<Zone>>, life: u32) -> Self {
        Self { zone: Arc::clone(zone), life }
    }

    async fn ask(self, name: Arc<str>) -> Result<Answer, ResolveError> {
        let (question, host, mood, wait, early) = {
            let mut zone = lock(&self.zone);
            let Some(host) = zone.hosts.iter().position(|host| host.name == name) else {
                return Err(ResolveError::NotAName(name.as_ref().to_owned()));
            };
            zone.questions += 1;
            let (mood, mut wait) = zone.reacts();
            if zone.fault == Some(NamesFault::Unanswered) && zone.questions > 12 {
                wait = 1_000_000 * SECOND;
            }
            // A packet may be old when it arrives.
            let early = zone.rng.bool().then(|| zone.answer(host, mood));
            (zone.questions, host, mood, wait, early)
        };
        sleep(Duration::from_nanos(wait)).await;
        let mut zone = lock(&self.zone);
        let answer = early.unwrap_or_else(|| zone.answer(host, mood));
        zone.said.push(Said { question, host, life: self.life, answer: answer.clone() });
        match (zone.fault, answer) {
            (Some(NamesFault::AwayClears), Err(_)) => {
                Ok(Answer { addresses: BTreeSet::new(), valid_for: Duration::ZERO })
            }
            (_, answer) => answer,
        }
    }
}

impl Lookup for Resolver {
    fn lookup(&self, host: &str) -> impl Future<Output = Result<Answer, ResolveError>> + Send {
        self.clone().ask(host.into())
    }
}

impl Zone {
    pub(super) fn new(hosts: usize, pool: Vec<IpAddr>, fault: Option<NamesFault>, rng: &mut Rng) -> Self {
        let mut zone = Self {
            hosts: Vec::new(),
            mood: Mood::Well,
            pool,
            rng: rng.fork(),
            said: Vec::new(),
            questions: 0,
            origin: Instant::now(),
            fault,
        };
        for number in 0..hosts {
            let ttl = [0, 1, 5, 30, 120, 86_400, 86_400][zone.rng.usize(..7)];
            let host = Host {
                name: format!("h{number}.example").into(),
                addresses: zone.some(),
                since: 0,
                ttl: Duration::from_secs(ttl),
                changes_every: (zone.rng.u8(..4) > 0).then(|| zone.rng.u64(5..300) * SECOND),
                other: zone.rng.bool().then(|| zone.some()),
                // One that keeps an answer for a day says nothing new in this time.
                is_cached: ttl < 1000 && zone.rng.bool(),
                cache: None,
            };
            zone.hosts.push(host);
        }
        zone
    }

    fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }

    fn some(&mut self) -> BTreeSet<IpAddr> {
        let count = self.rng.usize(..=self.pool.len().min(4));
        (0..count).map(|_| self.pool[self.rng.usize(..self.pool.len())]).collect()
    }

    /// What it does with a question, and how long that takes.
    fn reacts(&mut self) -> (Mood, Nanos) {
        let mood = match self.mood {
            Mood::Mixed => Mood::SINGLE[self.rng.usize(..Mood::SINGLE.len())],
            Mood::Doubts => [Mood::Fails, Mood::Denies][self.rng.usize(..2)],
            mood => mood,
        };
        let wait = match mood {
            Mood::Away => self.rng.u64(SECOND..LONGEST_WAIT),
            Mood::Slow => self.rng.u64(SECOND..LONGEST_WAIT - SECOND),
            _ if self.rng.u8(..8) == 0 => self.rng.u64(..LONGEST_ANSWER),
            _ => self.rng.u64(..20 * MILLISECOND),
        };
        (mood, wait)
    }

    fn answer(&mut self, host: usize, mood: Mood) -> Result<Answer, ResolveError> {
        let unavailable = |why: &str| Err(ResolveError::Unavailable(why.to_owned()));
        match mood {
            Mood::Away => unavailable("timed out"),
            Mood::Fails => unavailable("SERVFAIL"),
            Mood::Denies => Ok(self.nothing()),
            Mood::Lies => {
                let mut answer = self.right(host);
                let is_half = self.rng.bool();
                answer.addresses.retain(|_| is_half);
                answer.addresses.insert(LIES[self.rng.usize(..LIES.len())]);
                Ok(answer)
            }
            Mood::Well | Mood::Slow | Mood::Doubts | Mood::Mixed => Ok(self.right(host)),
        }
    }

    fn nothing(&mut self) -> Answer {
        let valid_for = Duration::from_secs([0, 5, 60][self.rng.usize(..3)]).min(LONGEST_NEGATIVE);
        Answer { addresses: BTreeSet::new(), valid_for }
    }

    /// What it takes for right: what the name has, or had when it was last looked up.
    fn right(&mut self, host: usize) -> Answer {
        let now = self.now();
        let known = &mut self.hosts[host];
        let kept = known.cache.take_if(|_| known.is_cached).filter(|(_, until)| *until > now);
        let (addresses, until) = kept.unwrap_or_else(|| (known.addresses.clone(), now + nanos(known.ttl)));
        known.cache = Some((addresses.clone(), until));
        if addresses.is_empty() {
            return self.nothing();
        }
        Answer { addresses, valid_for: Duration::from_nanos(until - now) }
    }

    /// A name gets other addresses: it goes to and fro, grows, shrinks, moves or vanishes.
    pub(super) fn change(&mut self, host: usize, now: Nanos) {
        let any = self.pool[self.rng.usize(..self.pool.len())];
        let (some, way) = (self.some(), self.rng.u8(..4));
        let known = &mut self.hosts[host];
        let before = known.addresses.clone();
        match &mut known.other {
            Some(other) if way > 0 => std::mem::swap(&mut known.addresses, other),
            _ => match way {
                0 => known.addresses = some,
                1 | 2 => drop(known.addresses.insert(any)),
                _ => drop(known.addresses.pop_first()),
            },
        }
        if known.addresses != before {
            known.since = now;
        }
    }
}
