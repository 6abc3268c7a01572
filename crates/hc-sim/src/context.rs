//! What every part of the simulation shares: the clocks, the chances, the truth, and what is going
//! to happen.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use hc_manager::stepped::{Flight, Orders};
use hc_types::{CheckKey, Refresh};

use crate::ProxyFlaw;
use crate::chaos::Fault;
use crate::clock::{Agenda, MILLISECOND, Nanos};
use crate::outages::Outages;
use crate::proxy::{Sent, Set};
use crate::server::{Batched, Taken};
use crate::truth::{Faults, Probe, Subject, Truth};

/// A connection to one process of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineConn {
    pub(crate) engine: u32,
    pub(crate) number: u32,
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    // At hc-server.
    Land { life: u32, shard: usize, flight: Flight, probe: Probe },
    Orders { life: u32, shard: usize, orders: Orders, planned: Nanos },
    SnapshotDue { life: u32 },
    SnapshotAsked { life: u32 },
    AckOverdue { life: u32, seq: u64 },
    Accept { conn: u32, keeps: bool },
    Update { conn: u32, sent: Sent },
    Ack { conn: u32, seq: u64, taken: Taken },
    ServerHangup { conn: u32 },
    // At hc-proxy.
    Dial { proxy: u32 },
    Greeted { conn: u32, keeps: bool },
    GreetOverdue { conn: u32 },
    Batch { conn: u32, batch: Batched },
    Refresh { conn: u32, seq: u64, refresh: Refresh },
    ConfigsWanted { conn: u32 },
    ProxyHangup { conn: u32 },
    DialEngine { proxy: u32 },
    EngineUp { proxy: u32, conn: EngineConn },
    EngineLost { conn: EngineConn },
    FetchDue { conn: EngineConn },
    Fetched { conn: EngineConn, number: u32, set: Option<Rc<Set>> },
    FetchOverdue { conn: EngineConn, number: u32 },
    Answer { conn: EngineConn, call: u32, taken: bool },
    CallOverdue { conn: EngineConn, call: u32 },
    // At the engine.
    Asked { conn: EngineConn, number: u32 },
    Call { conn: EngineConn, call: u32, batch: Batched },
    // Beyond all of them.
    ServerStarts,
    ProxyStarts,
    EngineStarts,
    Flip(Subject),
    Chaos(Fault),
    Starve,
    CrashAfterNews,
    Audit,
}

pub(crate) struct Context<'a> {
    pub(crate) now: Nanos,
    /// How far the wall clock has been set, in nanoseconds.
    pub(crate) wall_offset: i64,
    pub(crate) origin: Instant,
    pub(crate) rng: Rng,
    pub(crate) truth: Truth,
    pub(crate) agenda: Agenda<Event>,
    /// When delivery or probing was impossible or slow.
    pub(crate) outages: Outages,
    /// The same without the times when the server was only starved of processor time.
    pub(crate) blackouts: Outages,
    /// Subjects of which a probe has ended with a verdict.
    pub(crate) probed: Vec<bool>,
    pub(crate) probes: u64,
    pub(crate) told: u64,
    /// What hc-proxy does wrong.
    pub(crate) flaw: Option<ProxyFlaw>,
    /// Probes are hit by local faults until then, so many in a hundred.
    pub(crate) faults_until: Nanos,
    pub(crate) fault_share: u8,
    pub(crate) faults: Faults,
    /// When the latest faults of the path are over: what was told unhealthy for them is then to be
    /// told healthy.
    pub(crate) cut_until: Nanos,
    /// Servers are killed right after they have found news, too: before or after it is told, or
    /// written down.
    pub(crate) crashes_after_news: bool,
    pub(crate) subjects: HashMap<CheckKey, Subject>,
    /// The latest arrivals at server and proxy: what is sent over a stream stays in order.
    arrivals: [Nanos; 2],
    trace: Option<&'a mut dyn Write>,
    /// Stands for all that has happened: two runs of a seed give the same.
    pub(crate) digest: u64,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        mut rng: Rng,
        subjects: usize,
        keys: &[CheckKey],
        origin: Instant,
        trace: Option<&'a mut dyn Write>,
    ) -> Self {
        Self {
            now: 0,
            wall_offset: 0,
            origin,
            truth: Truth::new(subjects, &mut rng),
            rng,
            agenda: Agenda::new(),
            outages: Outages::default(),
            blackouts: Outages::default(),
            probed: vec![false; subjects],
            probes: 0,
            told: 0,
            flaw: None,
            faults_until: 0,
            fault_share: 0,
            faults: Faults::Own,
            cut_until: 0,
            crashes_after_news: false,
            subjects: keys.iter().enumerate().map(|(subject, key)| (*key, subject)).collect(),
            arrivals: [0; 2],
            trace,
            digest: 0,
        }
    }

    /// The wall clock: it begins in 2027 and can be set.
    pub(crate) fn wall(&self) -> SystemTime {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let offset = Duration::from_nanos(self.wall_offset.unsigned_abs());
        let set = if self.wall_offset < 0 { begin - offset } else { begin + offset };
        set + Duration::from_nanos(self.now)
    }

    /// Something is out of order between the two.
    pub(crate) fn trouble(&mut self, begin: Nanos, end: Nanos) {
        self.outages.add(begin, end);
        self.blackouts.add(begin, end);
    }

    /// The subject of a key.
    pub(crate) fn subject(&self, key: CheckKey) -> Subject {
        self.subjects.get(&key).copied().expect("every key is of a check of this simulation")
    }

    /// After some milliseconds, mostly one.
    pub(crate) fn soon(&mut self) -> Nanos {
        let longest = if self.rng.u8(..50) == 0 { 50 } else { 2 };
        self.now + self.rng.u64(..longest * MILLISECOND)
    }

    /// Sends to the server, in order.
    pub(crate) fn send_server(&mut self, event: Event) {
        self.send(0, event);
    }

    /// Sends to the proxy, in order.
    pub(crate) fn send_proxy(&mut self, event: Event) {
        self.send(1, event);
    }

    fn send(&mut self, direction: usize, event: Event) {
        let at = self.soon().max(self.arrivals[direction] + 1);
        self.arrivals[direction] = at;
        self.agenda.put(at, event);
    }

    /// Says what happens, to whoever wants to read it.
    pub(crate) fn trace(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let mut line = String::new();
            let _ = write!(line, "{:12.6} {}", Duration::from_nanos(self.now).as_secs_f64(), what());
            // A reader that has gone away misses nothing.
            let _ = writeln!(trace, "{line}");
        }
    }

    /// Takes a step into the digest.
    pub(crate) fn digest(&mut self, what: u64) {
        self.digest = (self.digest ^ what ^ self.now).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }
}
