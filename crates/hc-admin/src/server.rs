//! Connections.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::{Actions, Caller, Reader};

/// How long the head of a request may take, also the time that a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The longest head of a request.
const MAX_HEAD: usize = 32 * 1024;
/// How long a peer may take nothing of what is sent to it.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted, for example for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub trait Connections: Send + 'static {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and who is at its other end. `None` for one that may change nothing.
    ///
    /// # Errors
    /// What accept(2) says. It is tried again.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Option<Caller>)>> + Send;
}

/// The admin API.
#[derive(Clone)]
pub struct Admin(Arc<Service>, CancellationToken);

impl Admin {
    /// An API that shows what `reader` has and does what `actions` can. It ends with `shutdown`.
    #[must_use]
    pub fn new(reader: Arc<dyn Reader>, actions: Arc<dyn Actions>, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Service::new(reader, actions, shutdown.clone())), shutdown)
    }

    /// Serves `connections`, at most `limit` at once, until the shutdown. When one more comes the
    /// oldest is cut off, so that whoever holds connections without a use cannot lock others out; a
    /// reader of events that is cut off comes back and goes on where it was.
    ///
    /// # Cancel safety
    /// Dropping the future closes all of them.
    pub async fn serve<C: Connections>(&self, mut connections: C, limit: usize) {
        let mut served = JoinSet::new();
        let mut order: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let accepted = tokio::select! {
                accepted = connections.accept() => accepted,
                Some(_) = served.join_next() => {
                    order.retain(|handle| !handle.is_finished());
                    continue;
                }
                () = self.1.cancelled() => return,
            };
            let (stream, caller) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection to the admin API");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            if order.len() >= limit
                && let Some(oldest) = order.pop_front()
            {
                oldest.abort();
            }
            order.push_back(served.spawn(serve_one(self.0.clone(), stream, caller)));
        }
    }
}

async fn serve_one<S>(service: Arc<Service>, stream: S, caller: Option<Caller>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIME));
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(caller, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD);
    // A peer that breaks off has had what it wanted.
    let _ = builder.serve_connection(TokioIo::new(Box::pin(stream)), answer).await;
}
