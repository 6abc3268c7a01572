//! What hc-proxy tells the engine, one call at a time (`proxy/internal/bridge/lane.go`).

use hc_types::Refresh;

use crate::ProxyFlaw;
use crate::clock::{Nanos, SECOND};
use crate::context::{EngineConn, Event};
use crate::proxy::Place;
use crate::server::{Batched, Item, Taken, refresh_patience};
use crate::world::World;
use crate::world::proxy_side::PATIENCE;

/// Checks of a refresh in one call: fewer than in hc-proxy, as there are fewer checks, so that batches
/// come between them.
pub(crate) const PER_CALL: u32 = 1;

#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// The call that the engine has.
    call: Option<Call>,
    /// A batch that waits for its turn, and where it came from.
    batch: Option<(u32, Batched)>,
    refresh: Option<Refreshing>,
    batch_next: bool,
}

#[derive(Debug)]
struct Call {
    number: u32,
    of: Of,
}

#[derive(Debug)]
enum Of {
    Batch(u32, Batched),
    /// A part of the refresh with this number.
    Refresh(u64),
}

#[derive(Debug)]
struct Refreshing {
    conn: u32,
    seq: u64,
    refresh: Refresh,
    /// The check that was told last.
    after: Option<Place>,
    engine: EngineConn,
    whole: u64,
    began: Nanos,
    /// With a flaw: what was kept when it began.
    was: Option<Vec<Item>>,
}

impl Lane {
    /// The connection to the server has ended.
    pub(crate) fn clear(&mut self) {
        (self.batch, self.refresh) = (None, None);
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.call.as_ref().is_some_and(|call| call.number == number)
    }
}

impl World<'_> {
    pub(super) fn deliver(&mut self, conn: u32, batch: Batched) {
        let Some(proxy) = &mut self.proxy else { return };
        proxy.core.begun(&batch);
        let lane = &mut proxy.lane;
        let busy =
            lane.batch.is_some() || lane.call.as_ref().is_some_and(|call| matches!(call.of, Of::Batch(..)));
        if busy || proxy.engine.is_none() || !proxy.core.admits(batch.generation) {
            return self.acknowledge(conn, batch.seq, Taken::No);
        }
        lane.batch = Some((conn, batch));
        self.next_call();
    }

    pub(super) fn refresh(&mut self, conn: u32, seq: u64, refresh: Refresh) {
        let now = self.ctx.now;
        let Some(proxy) = &mut self.proxy else { return };
        // One that is under way is not awaited any more.
        proxy.lane.refresh = None;
        let answer = proxy.core.refresh(&refresh);
        let patience = refresh_patience(&refresh);
        let whole = proxy.core.whole;
        match (answer, proxy.engine) {
            (Taken::Yes, Some(engine)) => {
                let was = (self.ctx.flaw == Some(ProxyFlaw::TellsWhatWas))
                    .then(|| proxy.core.next_kept(&refresh, None, usize::MAX));
                proxy.lane.refresh =
                    Some(Refreshing { conn, seq, refresh, after: None, engine, whole, began: now, was });
                self.next_call();
            }
            (Taken::Differs, _) => {
                self.ctx.trace(|| format!("proxy: refresh {seq} differs"));
                self.answer(conn, seq, Taken::Differs, patience);
            }
            _ => self.answer(conn, seq, Taken::No, patience),
        }
    }

    /// Makes the next call, if the engine has none.
    fn next_call(&mut self) {
        while let Some(proxy) = self.proxy.as_mut().filter(|proxy| proxy.lane.call.is_none()) {
            let lane = &mut proxy.lane;
            let is_turn = lane.batch_next || lane.refresh.is_none();
            if let Some((conn, batch)) = lane.batch.take_if(|_| is_turn) {
                lane.batch_next = false;
                if proxy.engine.is_none() || !proxy.core.admits(batch.generation) {
                    self.acknowledge(conn, batch.seq, Taken::No);
                } else {
                    self.call(Of::Batch(conn, batch.clone()), batch);
                }
            } else if lane.refresh.is_some() {
                lane.batch_next = true;
                self.next_of_refresh();
            } else {
                return;
            }
        }
    }

    fn next_of_refresh(&mut self) {
        let now = self.ctx.now;
        let Some(proxy) = &mut self.proxy else { return };
        let Some(Refreshing { conn, seq, refresh, after, engine, whole, began, was }) =
            &mut proxy.lane.refresh
        else {
            return;
        };
        let (conn, seq) = (*conn, *seq);
        let stands = proxy.engine == Some(*engine) && *whole == proxy.core.whole;
        let items: Vec<Item> = match was {
            _ if !stands || self.ctx.flaw == Some(ProxyFlaw::TellsNothing) => Vec::new(),
            Some(was) => was.drain(..was.len().min(PER_CALL as usize)).collect(),
            None => proxy.core.next_kept(refresh, *after, PER_CALL as usize),
        };
        if let Some(last) = items.last() {
            *after = Some((hc_types::bucket(last.id), last.id));
            let generation = refresh.generation;
            return self.call(Of::Refresh(seq), Batched { seq, generation, items });
        }
        if now - *began > SECOND {
            self.ctx.trouble(*began, now + SECOND);
        }
        let patience = refresh_patience(refresh);
        proxy.lane.refresh = None;
        self.answer(conn, seq, if stands { Taken::Yes } else { Taken::No }, patience);
    }

    fn call(&mut self, of: Of, batch: Batched) {
        let (Some(proxy), ctx) = (&mut self.proxy, &mut self.ctx) else { return };
        let Some(conn) = proxy.engine else { return };
        proxy.numbers += 1;
        let number = proxy.numbers;
        proxy.lane.call = Some(Call { number, of });
        let at = ctx.soon();
        ctx.agenda.put(at, Event::Call { conn, call: number, batch });
        ctx.agenda.put(ctx.now + PATIENCE, Event::CallOverdue { conn, call: number });
    }

    /// The engine has answered.
    pub(super) fn answered(&mut self, number: u32, taken: bool) {
        let Some(proxy) = &mut self.proxy else { return };
        let Some(call) = proxy.lane.call.take_if(|call| call.number == number) else { return };
        self.call_ends(call, taken);
        self.next_call();
    }

    /// The connection to the engine has ended.
    pub(super) fn call_lost(&mut self) {
        let call = self.proxy.as_mut().and_then(|proxy| proxy.lane.call.take());
        if let Some(call) = call {
            self.call_ends(call, false);
        }
        self.next_call();
    }

    fn call_ends(&mut self, call: Call, taken: bool) {
        let Some(proxy) = &mut self.proxy else { return };
        match call.of {
            Of::Batch(conn, batch) => {
                let seq = batch.seq;
                if taken && proxy.link == Some(conn) {
                    proxy.core.told(batch);
                }
                self.acknowledge(conn, seq, if taken { Taken::Yes } else { Taken::No });
            }
            Of::Refresh(_) if taken => {}
            Of::Refresh(seq) => {
                if let Some(refresh) = proxy.lane.refresh.take_if(|refresh| refresh.seq == seq) {
                    let patience = refresh_patience(&refresh.refresh);
                    let flawed = self.ctx.flaw == Some(ProxyFlaw::AcknowledgesFailures);
                    self.answer(refresh.conn, seq, if flawed { Taken::Yes } else { Taken::No }, patience);
                }
            }
        }
    }
}
