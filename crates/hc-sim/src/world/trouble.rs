//! Faults as they strike, and the flips of the backends.

use std::time::Duration;

use crate::chaos::{Fault, random_pause};
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::context::Event;
use crate::engine::{Wanted, timing};
use crate::server::Server;
use crate::truth::{Faults, Subject, Timing};
use crate::world::{CALM, World};

/// A snapshot older than this is not used.
const MAX_AGE: Duration = Duration::from_secs(300);

/// The server stands still and runs, in turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Starvation {
    pub(crate) from: Nanos,
    until: Nanos,
    pub(crate) still: Nanos,
    running: Nanos,
}

impl World<'_> {
    fn calm(&self) -> bool {
        self.ctx.now + CALM >= self.end
    }

    pub(crate) fn plan_flip(&mut self, subject: Subject) {
        if let Some(mean) = self.ctx.truth.backends[subject].flips_every {
            let pause = random_pause(mean, &mut self.ctx.rng);
            self.ctx.agenda.put(self.ctx.now + pause, Event::Flip(subject));
        }
    }

    pub(crate) fn flip(&mut self, subject: Subject) {
        if self.calm() {
            return;
        }
        self.ctx.truth.flip(subject, self.ctx.now, &mut self.ctx.rng);
        let state = self.ctx.truth.backends[subject].state;
        self.ctx.trace(|| format!("backend {subject} is {state:?}"));
        self.plan_flip(subject);
    }

    pub(crate) fn start_server(&mut self) {
        self.server_lives += 1;
        let (life, wall) = (self.server_lives, self.ctx.wall());
        // The disk may be gone, too.
        let lost = self.ctx.rng.u8(..8) == 0;
        self.snapshot.take_if(|_| lost);
        let fresh = self.snapshot.as_ref().filter(|found| match wall.duration_since(found.written) {
            Ok(age) => age <= MAX_AGE,
            Err(_) => true,
        });
        let known = fresh.map(|found| found.records.len());
        self.ctx.trace(|| format!("server: process {life} starts, with {known:?} records"));
        self.server = Some(Server::start(life, &self.setup, fresh, &mut self.ctx));
    }

    /// Something goes wrong; and will again.
    pub(crate) fn strike(&mut self, fault: Fault) {
        if self.calm() {
            return;
        }
        let pause = self.chaos.pause(fault, &mut self.ctx.rng);
        self.ctx.agenda.put(self.ctx.now + pause, Event::Chaos(fault));
        let seconds =
            |from: u64, to: u64, rng: &mut fastrand::Rng| rng.u64(from * SECOND / 10..to * SECOND / 10);
        let length = match fault {
            Fault::ServerCrash | Fault::ProxyCrash => seconds(1, 50, &mut self.ctx.rng),
            Fault::EngineCrash => seconds(2, 80, &mut self.ctx.rng),
            Fault::ServerStall | Fault::ProxyStall | Fault::EngineStall => seconds(1, 150, &mut self.ctx.rng),
            Fault::ShardStall => self.ctx.rng.u64(MILLISECOND..400 * MILLISECOND),
            Fault::Starvation => seconds(100, 6000, &mut self.ctx.rng).min(self.end - CALM - self.ctx.now),
            Fault::LocalFaults => seconds(5, 300, &mut self.ctx.rng),
            Fault::CallSlow => seconds(3, 95, &mut self.ctx.rng),
            Fault::LinkReset
            | Fault::WallJump
            | Fault::AckLost
            | Fault::AckRepeated
            | Fault::CallsFail
            | Fault::Edit => 0,
        };
        self.ctx.trace(|| format!("{fault:?}, {} ms", length / MILLISECOND));
        let (now, until) = (self.ctx.now, self.ctx.now + length);
        let recovery = self.inflict(fault, until);
        match (fault, recovery) {
            (_, None) => {}
            (Fault::Starvation, Some(recovery)) => self.ctx.outages.add(now, until + recovery),
            (_, Some(recovery)) => self.ctx.trouble(now, until + recovery),
        }
    }

    /// The next stall of a server that is starved.
    pub(crate) fn starve(&mut self) {
        let now = self.ctx.now;
        let Some(Starvation { still, running, .. }) = self.starvation.filter(|hunger| now < hunger.until)
        else {
            self.starvation = None;
            return;
        };
        self.stall_server(None, now + still);
        self.ctx.agenda.put(now + still + running, Event::Starve);
    }

    pub(crate) fn crash_after_news(&mut self) {
        if self.calm() {
            return;
        }
        self.ctx.trace(|| "ServerCrash, after news".into());
        let (now, until) = (self.ctx.now, self.ctx.now + self.ctx.rng.u64(..3 * SECOND));
        if let Some(recovery) = self.inflict(Fault::ServerCrash, until) {
            self.ctx.trouble(now, until + recovery);
        }
    }

    /// Gives how long it takes to recover from it; `None` for what is to leave no trace.
    fn inflict(&mut self, fault: Fault, until: Nanos) -> Option<Nanos> {
        match fault {
            Fault::ServerCrash => {
                let server = self.server.take()?;
                if let Some(link) = server.link {
                    self.ctx.send_proxy(Event::ProxyHangup { conn: link.conn });
                }
                self.ctx.agenda.put(until, Event::ServerStarts);
                Some(6 * SECOND)
            }
            Fault::ProxyCrash => {
                self.proxy.as_ref()?;
                self.kill_proxy();
                self.ctx.agenda.put(until, Event::ProxyStarts);
                Some(8 * SECOND)
            }
            Fault::EngineCrash => {
                let engine = self.engine.take()?;
                self.engine_stalled_until = 0;
                // In a container the pid is the same each time.
                if self.ctx.rng.bool() {
                    self.engine_base = self.ctx.rng.u64(1..1 << 16) << 48;
                }
                let conn = self.proxy.as_ref().and_then(|proxy| proxy.engine());
                if let Some(conn) = conn.filter(|conn| conn.engine == engine.life) {
                    self.ctx.agenda.put(self.ctx.now + MILLISECOND, Event::EngineLost { conn });
                }
                self.ctx.agenda.put(until, Event::EngineStarts);
                Some(8 * SECOND)
            }
            Fault::ServerStall => self.stall_server(None, until).then_some(6 * SECOND),
            Fault::ShardStall => {
                let shards = self.server.as_ref()?.shard_count();
                let shard = self.ctx.rng.usize(..shards);
                self.stall_server(Some(shard), until).then_some(SECOND)
            }
            Fault::Starvation => {
                if self.starvation.is_some() {
                    return None;
                }
                let [still, running] = [40..200, 20..60].map(|range| self.ctx.rng.u64(range) * MILLISECOND);
                self.starvation = Some(Starvation { from: self.ctx.now, until, still, running });
                self.ctx.agenda.put(self.ctx.now, Event::Starve);
                Some(60 * SECOND)
            }
            Fault::ProxyStall => {
                let proxy = self.proxy.as_mut()?;
                proxy.stalled_until = proxy.stalled_until.max(until);
                Some(8 * SECOND)
            }
            Fault::EngineStall => {
                self.engine_stalled_until = self.engine_stalled_until.max(until);
                // What came out of order is put right by the refresh.
                Some(8 * SECOND + crate::clock::nanos(self.setup.notifier.notify_interval))
            }
            Fault::LinkReset => {
                let conn = self.server.as_ref()?.link.as_ref()?.conn;
                self.ctx.send_server(Event::ServerHangup { conn });
                self.ctx.send_proxy(Event::ProxyHangup { conn });
                Some(6 * SECOND)
            }
            Fault::LocalFaults => {
                self.ctx.faults_until = until;
                self.ctx.faults = Faults::random(&mut self.ctx.rng);
                if self.ctx.faults != Faults::Own {
                    self.ctx.cut_until = until;
                }
                self.ctx.fault_share = [20, 60, 100][self.ctx.rng.usize(..3)];
                Some(SECOND)
            }
            Fault::WallJump => {
                let jump = i64::try_from(random_pause(3600 * SECOND, &mut self.ctx.rng)).unwrap_or_default();
                self.ctx.wall_offset += if self.ctx.rng.bool() { jump } else { -jump };
                None
            }
            // These strike when the next batch comes.
            Fault::AckLost => {
                self.calls.lose_ack = true;
                None
            }
            Fault::AckRepeated => {
                self.calls.repeat_ack = true;
                None
            }
            Fault::CallsFail => {
                self.calls.fail = self.ctx.rng.u32(1..6);
                None
            }
            Fault::CallSlow => {
                self.calls.delay = until - self.ctx.now;
                None
            }
            Fault::Edit => {
                self.edit();
                None
            }
        }
    }

    fn stall_server(&mut self, shard: Option<usize>, until: Nanos) -> bool {
        let Some(server) = &mut self.server else { return false };
        server.note_stall(shard, self.ctx.now, until);
        server.stall(shard, until);
        true
    }

    /// Checks come, go, and get another timing: under a new id, as with the real engine.
    fn edit(&mut self) {
        let rng = &mut self.ctx.rng;
        if self.churn && rng.u8(..3) > 0 {
            let added = Wanted::new(self.keys.len(), self.wanted.checks.len(), rng).checks;
            let dropped = std::mem::replace(&mut self.wanted.checks, added.clone());
            return self.reconfigure(&dropped, &added);
        }
        let (mut dropped, mut added) = (Vec::new(), Vec::new());
        for _ in 0..rng.u8(1..4) {
            let old = match rng.u8(..4) {
                0 => None,
                _ if self.wanted.checks.is_empty() => None,
                _ => Some(self.wanted.checks.swap_remove(rng.usize(..self.wanted.checks.len()))),
            };
            let new = match (rng.u8(..3), old) {
                (0, _) => None,
                // Only the timing is another.
                (1, Some((subject, _))) => Some((subject, timing(rng))),
                _ => Some((rng.usize(..self.keys.len()), timing(rng))),
            };
            dropped.extend(old);
            added.extend(new);
        }
        self.wanted.checks.extend(&added);
        self.reconfigure(&dropped, &added);
    }

    fn reconfigure(&mut self, dropped: &[(Subject, Timing)], added: &[(Subject, Timing)]) {
        let Some(engine) = &mut self.engine else { return };
        // What was added a moment ago can be dropped again.
        added.iter().for_each(|check| engine.add(*check, self.ctx.now));
        dropped.iter().for_each(|check| engine.drop(*check));
    }
}
