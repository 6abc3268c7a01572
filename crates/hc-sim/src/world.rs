//! All processes together, and the loop that moves time from one event to the next.

mod audit;
mod engine_side;
mod lane;
mod proxy_side;
mod trouble;

pub(crate) use self::lane::PER_CALL;
pub(crate) use self::proxy_side::ACK_TIMEOUT;

use std::io::Write;
use std::time::Instant;

use fastrand::Rng;
use hc_types::CheckKey;

use self::engine_side::Calls;
use self::proxy_side::Proxy;
use self::trouble::Starvation;
use crate::Settings;
use crate::chaos::{Chaos, Fault};
use crate::clock::{Nanos, SECOND};
use crate::context::{Context, Event};
use crate::engine::{Engine, Wanted, timing};
use crate::invariant::Step;
use crate::server::{Due, Server, Setup, Snapshot};
use crate::truth::{Subject, Truth};

/// So long before the end nothing goes wrong any more.
const CALM: Nanos = 180 * SECOND;

/// A process that an event happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Server,
    Shard(usize),
    Proxy,
    Engine,
    Nobody,
}

#[derive(Debug)]
pub(crate) struct World<'a> {
    ctx: Context<'a>,
    end: Nanos,
    setup: Setup,
    chaos: Chaos,
    keys: Vec<CheckKey>,
    server: Option<Server>,
    server_lives: u32,
    snapshot: Option<Snapshot>,
    proxy: Option<Proxy>,
    proxy_lives: u32,
    fetch_interval: Nanos,
    conns: u32,
    engine: Option<Engine>,
    engine_lives: u32,
    engine_stalled_until: Nanos,
    /// The engine's pid, as it shows in the ids.
    engine_base: u64,
    wanted: Wanted,
    churn: bool,
    calls: Calls,
    starvation: Option<Starvation>,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        seed: u64,
        end: Nanos,
        settings: &Settings,
        origin: Instant,
        trace: Option<&'a mut dyn Write>,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let size = rng.usize(1..=settings.checks.max(1));
        // Where there is much to choose from, the set changes as a whole now and then.
        let churn = rng.u8(..4) == 0;
        let subjects = if churn { 8 * size } else { size + size / 4 + 1 };
        let wanted = Wanted::new(subjects, size, &mut rng);
        let of = |subject: Subject| Truth::spec(subject, timing(&mut Rng::with_seed(0))).key();
        let keys: Vec<_> = (0..subjects).map(of).collect();
        let (setup, chaos) = (Setup::draw(&mut rng), Chaos::draw(churn, &mut rng));
        let fetch_interval = [5, 15][rng.usize(..2)] * SECOND;
        let mut ctx = Context::new(rng, subjects, &keys, origin, trace);
        ctx.flaw = settings.flaw;
        ctx.crashes_after_news = chaos.faults().any(|fault| fault == Fault::ServerCrash);
        ctx.trace(|| format!("{setup:?}, {chaos:?}, {} checks", wanted.checks.len()));
        let mut world = Self {
            ctx,
            end,
            setup,
            chaos,
            keys,
            server: None,
            server_lives: 0,
            snapshot: None,
            proxy: None,
            proxy_lives: 0,
            fetch_interval,
            conns: 0,
            engine: None,
            engine_lives: 0,
            engine_stalled_until: 0,
            engine_base: 1 << 48,
            wanted,
            churn,
            calls: Calls::default(),
            starvation: None,
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        for start in [Event::ServerStarts, Event::ProxyStarts, Event::EngineStarts] {
            let at = self.ctx.rng.u64(..2 * SECOND);
            self.ctx.agenda.put(at, start);
        }
        self.ctx.trouble(0, 10 * SECOND);
        self.ctx.agenda.put(SECOND, Event::Audit);
        for subject in 0..self.keys.len() {
            self.plan_flip(subject);
        }
        let faults: Vec<_> = self.chaos.faults().collect();
        for fault in faults {
            let pause = self.chaos.pause(fault, &mut self.ctx.rng);
            self.ctx.agenda.put(5 * SECOND + pause, Event::Chaos(fault));
        }
    }

    /// Runs to the end, or to the first invariant that does not hold.
    pub(crate) fn run(&mut self) -> Step {
        loop {
            let event = self.ctx.agenda.next().unwrap_or(Nanos::MAX);
            let own = self.server.as_mut().and_then(|server| server.next(self.ctx.now));
            let at = own.map_or(event, |(at, _)| at.min(event));
            if at > self.end {
                break;
            }
            self.ctx.now = at;
            match own {
                Some((own, shard)) if own < event => self.server_acts(shard)?,
                _ => {
                    if let Some((number, event)) = self.ctx.agenda.take() {
                        self.happen(number, event)?;
                    }
                }
            }
        }
        self.ctx.now = self.end;
        self.audit_end()
    }

    pub(crate) fn context(&self) -> &Context<'a> {
        &self.ctx
    }

    /// The server does what is due by itself.
    fn server_acts(&mut self, shard: Option<usize>) -> Step {
        let Some(server) = &mut self.server else { return Ok(()) };
        match shard {
            Some(shard) => server.turn(shard, None, &mut self.ctx),
            None => {
                match server.take_due(&mut self.ctx)? {
                    Some((conn, Due::Batch(batch))) => {
                        self.ctx.digest(batch.seq);
                        self.ctx.send_proxy(Event::Batch { conn, batch });
                    }
                    Some((conn, Due::Refresh(seq, refresh))) => {
                        self.ctx.digest(refresh.digest.sum);
                        self.ctx.send_proxy(Event::Refresh { conn, seq, refresh });
                    }
                    None => {}
                }
                Ok(())
            }
        }
    }

    fn happen(&mut self, number: u64, event: Event) -> Step {
        let until = self.stands_still(owner(&event));
        if until > self.ctx.now {
            self.ctx.agenda.postpone(until, number, event);
            return Ok(());
        }
        match event {
            Event::Accept { conn, keeps } => self.accept(conn, keeps),
            Event::ServerStarts => self.start_server(),
            Event::ProxyStarts => self.start_proxy(),
            Event::EngineStarts => self.start_engine(),
            Event::Flip(subject) => self.flip(subject),
            Event::Chaos(fault) => self.strike(fault),
            Event::Starve => self.starve(),
            Event::CrashAfterNews => self.crash_after_news(),
            Event::Audit => return self.audit(),
            event => match owner(&event) {
                Owner::Server | Owner::Shard(_) => return self.at_server(event),
                Owner::Engine => return self.at_engine(event),
                _ => self.at_proxy(event),
            },
        }
        Ok(())
    }

    fn at_server(&mut self, event: Event) -> Step {
        let (Some(server), ctx) = (&mut self.server, &mut self.ctx) else { return Ok(()) };
        let of_another = |life: u32| life != server.life;
        match event {
            Event::Land { life, .. }
            | Event::Orders { life, .. }
            | Event::SnapshotDue { life }
            | Event::SnapshotAsked { life }
            | Event::AckOverdue { life, .. }
                if of_another(life) => {}
            Event::Land { shard, flight, probe, .. } => {
                ctx.digest(shard as u64);
                server.turn(shard, Some((flight, probe)), ctx)?;
            }
            Event::Orders { shard, orders, planned, .. } => server.apply(shard, orders, planned, ctx)?,
            Event::SnapshotDue { .. } => {
                self.snapshot = Some(server.snapshot(&self.keys, ctx)?);
                let life = server.life;
                ctx.agenda.put(ctx.now + 5 * SECOND, Event::SnapshotDue { life });
            }
            Event::SnapshotAsked { .. } => self.snapshot = Some(server.snapshot(&self.keys, ctx)?),
            Event::AckOverdue { seq, .. } => server.ack_overdue(seq, ctx),
            Event::Update { conn, sent } => server.receive(conn, sent, ctx)?,
            Event::Ack { conn, seq, taken } => server.acknowledged(conn, seq, taken, ctx)?,
            Event::ServerHangup { conn } => server.hung_up(conn, ctx),
            _ => {}
        }
        Ok(())
    }

    fn stands_still(&self, owner: Owner) -> Nanos {
        match owner {
            Owner::Server => self.server.as_ref().map_or(0, |server| server.stands_still(None)),
            Owner::Shard(shard) => self.server.as_ref().map_or(0, |server| server.stands_still(Some(shard))),
            Owner::Proxy => self.proxy.as_ref().map_or(0, |proxy| proxy.stalled_until),
            Owner::Engine => self.engine_stalled_until,
            Owner::Nobody => 0,
        }
    }
}

fn owner(event: &Event) -> Owner {
    match event {
        Event::Land { shard, .. } | Event::Orders { shard, .. } => Owner::Shard(*shard),
        Event::SnapshotDue { .. }
        | Event::SnapshotAsked { .. }
        | Event::AckOverdue { .. }
        | Event::Accept { .. }
        | Event::Update { .. }
        | Event::Ack { .. }
        | Event::ServerHangup { .. } => Owner::Server,
        Event::Dial { .. }
        | Event::Greeted { .. }
        | Event::GreetOverdue { .. }
        | Event::Batch { .. }
        | Event::Refresh { .. }
        | Event::ConfigsWanted { .. }
        | Event::ProxyHangup { .. }
        | Event::DialEngine { .. }
        | Event::EngineUp { .. }
        | Event::EngineLost { .. }
        | Event::FetchDue { .. }
        | Event::Fetched { .. }
        | Event::FetchOverdue { .. }
        | Event::Answer { .. }
        | Event::CallOverdue { .. } => Owner::Proxy,
        Event::Asked { .. } | Event::Call { .. } => Owner::Engine,
        Event::ServerStarts
        | Event::ProxyStarts
        | Event::EngineStarts
        | Event::Flip(_)
        | Event::Chaos(_)
        | Event::Starve
        | Event::CrashAfterNews
        | Event::Audit => Owner::Nobody,
    }
}
