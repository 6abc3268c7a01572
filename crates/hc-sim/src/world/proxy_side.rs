//! One process of hc-proxy: its connections, its fetches and its one delivery at a time
//! (`proxy/internal/bridge/run.go`).

use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::context::{EngineConn, Event};
use crate::proxy::{ProxyCore, Sent};
use crate::server::Taken;
use crate::world::World;
use crate::world::lane::Lane;

/// How long an engine counts as young.
const YOUNG: Nanos = 10 * SECOND;
/// The deadline of a call to the engine, and of a greeting.
pub(super) const PATIENCE: Nanos = 10 * SECOND;

/// How long hc-server waits for an acknowledgement.
pub(crate) const ACK_TIMEOUT: Nanos = 30 * SECOND;

#[derive(Debug)]
pub(crate) struct Proxy {
    life: u32,
    /// It can keep what it tells; older ones cannot.
    keeps: bool,
    pub(super) core: ProxyCore,
    pub(crate) stalled_until: Nanos,
    dialled: Option<u32>,
    pub(super) link: Option<u32>,
    server_pause: Nanos,
    pub(super) engine: Option<EngineConn>,
    engine_pause: Nanos,
    epoch: Nanos,
    eager: Nanos,
    fetching: Option<u32>,
    pub(super) lane: Lane,
    pub(super) numbers: u32,
}

impl Proxy {
    /// Its connection to the engine.
    pub(crate) fn engine(&self) -> Option<EngineConn> {
        self.engine
    }
}

impl World<'_> {
    pub(crate) fn start_proxy(&mut self) {
        self.proxy_lives += 1;
        let life = self.proxy_lives;
        let micros = self.ctx.wall().duration_since(std::time::UNIX_EPOCH).map_or(0, |wall| wall.as_micros());
        self.ctx.trace(|| format!("proxy: process {life} starts"));
        self.proxy = Some(Proxy {
            life,
            keeps: self.ctx.rng.u8(..4) > 0,
            core: ProxyCore::new(u64::try_from(micros).unwrap_or_default()),
            stalled_until: 0,
            dialled: None,
            link: None,
            server_pause: 50 * MILLISECOND,
            engine: None,
            engine_pause: 100 * MILLISECOND,
            epoch: 0,
            eager: 0,
            fetching: None,
            lane: Lane::default(),
            numbers: 0,
        });
        self.ctx.agenda.put(self.ctx.now, Event::Dial { proxy: life });
        self.ctx.agenda.put(self.ctx.now, Event::DialEngine { proxy: life });
    }

    /// kill -9: the peers see their connections end.
    pub(crate) fn kill_proxy(&mut self) {
        let Some(proxy) = self.proxy.take() else { return };
        for conn in [proxy.link, proxy.dialled].into_iter().flatten() {
            self.ctx.send_server(Event::ServerHangup { conn });
        }
    }

    pub(crate) fn at_proxy(&mut self, event: Event) {
        let (Some(proxy), ctx) = (&mut self.proxy, &mut self.ctx) else { return };
        match event {
            Event::Dial { proxy: life } if life == proxy.life => self.dial(),
            Event::Greeted { conn, keeps } if proxy.dialled == Some(conn) => {
                (proxy.dialled, proxy.link, proxy.server_pause) = (None, Some(conn), 50 * MILLISECOND);
                let sent = proxy.core.server_up(keeps && proxy.keeps, &mut ctx.rng);
                self.tell(sent);
            }
            Event::GreetOverdue { conn } if proxy.dialled == Some(conn) => {
                ctx.send_server(Event::ServerHangup { conn });
                self.server_lost();
            }
            Event::ProxyHangup { conn } if proxy.dialled == Some(conn) || proxy.link == Some(conn) => {
                self.server_lost();
            }
            Event::ConfigsWanted { conn } if proxy.link == Some(conn) => {
                let sent = proxy.core.full(&mut ctx.rng);
                self.tell(sent);
            }
            Event::Batch { conn, batch } if proxy.link == Some(conn) => self.deliver(conn, batch),
            Event::Refresh { conn, seq, refresh } if proxy.link == Some(conn) => {
                self.refresh(conn, seq, refresh);
            }
            Event::DialEngine { proxy: life } if life == proxy.life => self.dial_engine(),
            Event::EngineUp { proxy: life, conn } if life == proxy.life => {
                proxy.core.engine_up();
                (proxy.engine, proxy.epoch, proxy.eager) = (Some(conn), ctx.now, 50 * MILLISECOND);
                ctx.agenda.put(ctx.now, Event::FetchDue { conn });
            }
            Event::EngineLost { conn } if proxy.engine == Some(conn) => self.engine_lost(),
            Event::FetchDue { conn } if proxy.engine == Some(conn) && proxy.fetching.is_none() => {
                proxy.numbers += 1;
                let number = proxy.numbers;
                proxy.fetching = Some(number);
                let at = ctx.soon();
                ctx.agenda.put(at, Event::Asked { conn, number });
                ctx.agenda.put(ctx.now + PATIENCE, Event::FetchOverdue { conn, number });
            }
            Event::Fetched { conn, number, set }
                if proxy.engine == Some(conn) && proxy.fetching == Some(number) =>
            {
                proxy.fetching = None;
                let young = ctx.now - proxy.epoch < YOUNG;
                let pause = if young {
                    proxy.eager = (2 * proxy.eager).min(SECOND);
                    proxy.eager.min(self.fetch_interval)
                } else {
                    self.fetch_interval
                };
                ctx.agenda.put(ctx.now + pause, Event::FetchDue { conn });
                if set.is_none() && young {
                    return;
                }
                let sent = proxy.core.fetched(set.unwrap_or_default(), &mut ctx.rng);
                self.tell(sent);
            }
            // A connection that does not answer in time is closed.
            Event::FetchOverdue { conn, number }
                if proxy.engine == Some(conn) && proxy.fetching == Some(number) =>
            {
                self.engine_lost();
            }
            Event::CallOverdue { conn, call } if proxy.engine == Some(conn) && proxy.lane.has(call) => {
                self.engine_lost();
            }
            Event::Answer { conn, call, taken } if proxy.engine == Some(conn) => {
                self.answered(call, taken);
            }
            _ => {}
        }
    }

    fn dial(&mut self) {
        self.conns += 1;
        let (conn, ctx) = (self.conns, &mut self.ctx);
        let Some(proxy) = &mut self.proxy else { return };
        proxy.dialled = Some(conn);
        let keeps = proxy.keeps;
        if self.server.is_some() {
            ctx.send_server(Event::Accept { conn, keeps });
            ctx.agenda.put(ctx.now + PATIENCE, Event::GreetOverdue { conn });
        } else {
            self.server_lost();
        }
    }

    pub(crate) fn accept(&mut self, conn: u32, keeps: bool) {
        let Some(server) = &mut self.server else { return self.ctx.send_proxy(Event::ProxyHangup { conn }) };
        // Whoever dialled may have gone meanwhile; the end of the connection is then right behind.
        // An older server does not know what that means.
        let keeps = keeps && server.life % 4 != 0;
        server.accept(conn, keeps, &mut self.ctx);
        self.ctx.trace(|| format!("server: connection {conn}"));
        self.ctx.send_proxy(Event::Greeted { conn, keeps });
    }

    fn server_lost(&mut self) {
        let (Some(proxy), ctx) = (&mut self.proxy, &mut self.ctx) else { return };
        (proxy.dialled, proxy.link) = (None, None);
        proxy.lane.clear();
        proxy.core.server_down();
        ctx.agenda.put(ctx.now + proxy.server_pause, Event::Dial { proxy: proxy.life });
        proxy.server_pause = (2 * proxy.server_pause).min(500 * MILLISECOND);
    }

    fn dial_engine(&mut self) {
        let (Some(proxy), ctx) = (&mut self.proxy, &mut self.ctx) else { return };
        let life = proxy.life;
        match &self.engine {
            Some(engine) => {
                self.conns += 1;
                let conn = EngineConn { engine: engine.life, number: self.conns };
                proxy.engine_pause = 100 * MILLISECOND;
                ctx.agenda.put(ctx.now + MILLISECOND, Event::EngineUp { proxy: life, conn });
            }
            None => {
                ctx.agenda.put(ctx.now + proxy.engine_pause, Event::DialEngine { proxy: life });
                proxy.engine_pause = (2 * proxy.engine_pause).min(500 * MILLISECOND);
            }
        }
    }

    fn engine_lost(&mut self) {
        let (Some(proxy), ctx) = (&mut self.proxy, &mut self.ctx) else { return };
        proxy.engine = None;
        proxy.fetching = None;
        proxy.core.engine_down();
        ctx.agenda.put(ctx.now + proxy.engine_pause, Event::DialEngine { proxy: proxy.life });
        self.call_lost();
    }

    fn tell(&mut self, sent: Vec<Sent>) {
        let Some(conn) = self.proxy.as_ref().and_then(|proxy| proxy.link) else { return };
        for sent in sent {
            self.ctx.send_server(Event::Update { conn, sent });
        }
    }

    pub(super) fn acknowledge(&mut self, conn: u32, seq: u64, taken: Taken) {
        self.answer(conn, seq, taken, ACK_TIMEOUT);
    }

    /// To a server that waits for it so long.
    pub(super) fn answer(&mut self, conn: u32, seq: u64, taken: Taken, patience: Nanos) {
        if self.proxy.as_ref().and_then(|proxy| proxy.link) != Some(conn) {
            return;
        }
        if std::mem::take(&mut self.calls.lose_ack) {
            self.ctx.trace(|| format!("proxy: the acknowledgement of {seq} gets lost"));
            self.ctx.trouble(self.ctx.now, self.ctx.now + patience + 3 * SECOND);
            return;
        }
        for _ in 0..=u8::from(std::mem::take(&mut self.calls.repeat_ack)) {
            self.ctx.send_server(Event::Ack { conn, seq, taken });
        }
    }
}
