//! Who is served, and who only reads.
//!
//! A connection is a guest until its first message: `request_status` makes it a reader, which stays
//! a guest; `hello` or a set makes it the one that is served, in the place of the one before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use crate::handle::{Delivery, Link};

/// Guests at once. One more, and the oldest is closed.
const GUESTS: usize = 8;

/// The places of all connections.
#[derive(Debug)]
pub(crate) struct Seats {
    inner: Mutex<Inner>,
    link: Arc<watch::Sender<Option<Link>>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Guests that there were.
    admitted: u64,
    /// Dropped, each closes its guest. The oldest first.
    guests: VecDeque<(u64, oneshot::Sender<()>)>,
    /// Connections that were served.
    served: u64,
    /// Tells the connection that is served that it is replaced.
    replace: Option<oneshot::Sender<()>>,
}

/// A guest's place, left when it is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    seats: Arc<Seats>,
    number: u64,
    /// Resolves when the guest has to go.
    pub(crate) evicted: oneshot::Receiver<()>,
}

/// The place of the connection that is served.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) number: u64,
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    /// Resolves when another connection takes the place of this one.
    pub(crate) replaced: oneshot::Receiver<()>,
}

impl Seats {
    pub(crate) fn new(link: Arc<watch::Sender<Option<Link>>>) -> Self {
        Self { inner: Mutex::default(), link }
    }

    /// A place for a new connection.
    pub(crate) fn admit(self: &Arc<Self>) -> Guest {
        let mut inner = self.lock();
        if inner.guests.len() >= GUESTS {
            inner.guests.pop_front();
        }
        inner.admitted += 1;
        let number = inner.admitted;
        let (evict, evicted) = oneshot::channel();
        inner.guests.push_back((number, evict));
        drop(inner);
        Guest { seats: Arc::clone(self), number, evicted }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Takes the place of the connection that is served, and leaves that of a guest.
    pub(crate) fn take_seat(self) -> Seat {
        let mut inner = self.seats.lock();
        if let Some(replace) = inner.replace.take() {
            // It may have ended by itself.
            let _ = replace.send(());
        }
        inner.served += 1;
        let number = inner.served;
        let (deliver, deliveries) = mpsc::channel(1);
        let (replace, replaced) = oneshot::channel();
        // Under the lock, so that the latest number is the one that stays.
        self.seats.link.send_replace(Some(Link {
            number,
            deliveries: deliver,
            in_effect: false,
            keeps: false,
        }));
        inner.replace = Some(replace);
        drop(inner);
        Seat { number, deliveries, replaced }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.seats.lock().guests.retain(|(number, _)| *number != self.number);
    }
}
