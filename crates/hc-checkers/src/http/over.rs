//! HTTP probes over a connection that an earlier one has made, and what is left of it for the next.
//!
//! A failure over a kept connection is no result. The server may have closed it at the same moment,
//! a firewall may have forgotten it, the process that had it may be gone: none of that keeps others
//! from being served. So the probe is repeated over a new connection, and only that one can fail.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use hc_types::{ConnectionOrigin, HttpProbe, HttpVersion, Pass, Target};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::Ending;
use super::kept::{Connection, Tls};
use super::{CLOSE_TIMEOUT, Keeping, Request, ResponseHead, exchange, probes_at_most, request_of};
use crate::CheckersConfig;
use crate::deadline::Progress;
use crate::fault::ProbeError;
use crate::socket::{CloseOrder, FinishedConn, LingeringClose, Stream};
use crate::tls::{self, Ended, KeptSession, Lineage, TlsStream};

/// A new connection is made beside the kept one when that has been silent for this share of the
/// timeout. Example: 250 ms of 1 s, and the new one has 750 ms.
const PATIENCE: u32 = 4;

/// The rest of a body that is read after the verdict, so that its connection can be kept, in bytes.
const MAX_REST: usize = 64 * 1024;

/// What is known of a connection after the response.
#[derive(Debug)]
pub(crate) struct After {
    keeps: bool,
    order: CloseOrder,
    /// Where the response ends, if the connection may be kept.
    ending: Option<Ending>,
}

/// A connection after the verdict.
pub(super) enum Used {
    /// To be closed.
    Finished(FinishedConn, CloseOrder),
    /// To be kept, once all of the response is there.
    Open(Open),
}

/// A connection over which the rest of a response may still come.
pub(super) struct Open {
    connection: Connection,
    ending: Ending,
}

impl After {
    /// `keeps`: the server was asked to keep the connection.
    pub(super) fn new(keeps: bool, version: HttpVersion) -> Self {
        // With HTTP/2 nobody asks the peer to close.
        let order = if version == HttpVersion::Http1 && !keeps { CloseOrder::Peer } else { CloseOrder::Us };
        Self { keeps, order, ending: None }
    }

    /// The server was asked to close the connection.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn closing() -> Self {
        Self::new(false, HttpVersion::Http1)
    }

    /// The head of the response.
    pub(super) fn head(&mut self, head: &ResponseHead) {
        if self.keeps && head.persistent {
            self.ending = Ending::new(head.framing);
        } else if self.keeps {
            self.order = CloseOrder::Peer;
        }
    }

    /// What has come behind it.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if let Some(ending) = &mut self.ending {
            ending.take(bytes);
        }
    }

    /// What is to be done with the connection.
    fn of(self, connection: Connection, passed: bool) -> Used {
        match self.ending.filter(|ending| passed && ending.is_possible()) {
            Some(ending) => Used::Open(Open { connection, ending }),
            None => Used::Finished(connection.finished(), self.order),
        }
    }

    pub(super) fn of_plain(self, stream: TcpStream, opened: Instant, passed: bool) -> Used {
        self.of(Connection { stream, tls: None, opened, probes: 1 }, passed)
    }

    pub(super) fn of_tls(self, ended: Ended<'_>, opened: Instant, passed: bool) -> Used {
        match ended {
            Ended::Session { session: TlsStream::Rustls(session), lineage, memory }
                if self.ending.is_some() =>
            {
                let (lower, session) = session.into_inner();
                let chain = session.peer_certificates().unwrap_or_default();
                let lineage = lineage.unwrap_or_else(|| Lineage::new(chain));
                let tls = Some(Tls { session: Box::new(session), lineage, _counted: memory });
                let stream = lower.into_inner().into_inner();
                self.of(Connection { stream, tls, opened, probes: 1 }, passed)
            }
            ended => Used::Finished(ended.leave(), self.order),
        }
    }
}

impl Open {
    pub(super) fn finished(self) -> FinishedConn {
        self.connection.finished()
    }

    /// Keeps the connection, if the rest of the response comes within a moment; else closes it. The
    /// verdict is known already.
    pub(super) async fn settle(self, keeping: Keeping<'_>, target: &Target) -> Option<LingeringClose> {
        let Self { mut connection, mut ending } = self;
        // What has come is acknowledged at once, and not with the next request: a server with
        // Nagle's algorithm holds back what else it has to say until then. Should it fail, that
        // takes 40 ms.
        let _: std::io::Result<()> = SockRef::from(&connection.stream).set_tcp_quickack(true);
        let is_there = ending.is_reached() || {
            let rest = read_rest(&mut connection, &mut ending);
            tokio::time::timeout(CLOSE_TIMEOUT, rest).await.is_ok_and(|is_there| is_there)
        };
        let is_drained = connection.tls.as_mut().is_none_or(|tls| tls::is_drained(&mut tls.session));
        if !is_there || !is_drained {
            return super::end(connection.finished(), target, CloseOrder::Us).await;
        }
        keeping.connections.keep(connection, keeping.spec, target);
        None
    }
}

/// Whether the rest of the response came, and nothing else.
async fn read_rest(connection: &mut Connection, ending: &mut Ending) -> bool {
    let Connection { stream, tls, .. } = connection;
    match tls {
        None => read_until(stream, ending).await,
        Some(tls) => read_until(&mut KeptSession::new(stream, &mut tls.session), ending).await,
    }
}

async fn read_until<S: AsyncRead + Unpin>(stream: &mut S, ending: &mut Ending) -> bool {
    let mut left = MAX_REST;
    let mut buffer = [0; 2048];
    while !ending.is_reached() && ending.is_possible() && left > 0 {
        match stream.read(&mut buffer).await {
            Ok(length @ 1..) => ending.take(&buffer[..length]),
            _ => return false,
        }
        left = left.saturating_sub(buffer.len());
    }
    ending.is_reached()
}

/// Runs a probe over a kept connection, and over a new one where that brings no pass.
pub(super) async fn go_on<'a>(
    kept: Connection,
    (probe, target, timeout): (&HttpProbe, &'a Target, Duration),
    config: &'a CheckersConfig,
    keeping: Keeping<'_>,
    progress: &'a Progress,
) -> Result<(Result<Pass, ProbeError>, Used), ProbeError> {
    progress.set_origin(ConnectionOrigin::Reused);
    let begun = progress.exchanged_at();
    let keeps = kept.probes + 1 < probes_at_most(probe);
    let request = request_of(probe, target, &config.user_agent, keeps)?;
    let after = After::new(keeps, HttpVersion::Http1);
    let mut first = pin!(over_kept(kept, probe, &request, config, after, progress));
    // The probe is polled in any case, 250 ms and half of its timeout after its beginning at the
    // latest (`deadline`).
    let early = poll_fn(|context| match first.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if begun.elapsed() >= timeout / PATIENCE => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    let mut waits = match early.await {
        Some(Ok((pass, used))) => return Ok((Ok(pass), used)),
        Some(Err(connection)) => {
            keeping.connections.close(connection, target);
            false
        }
        None => true,
    };
    progress.begin_again();
    let mut second = Box::pin(super::run(probe, target, config, Some(keeping), progress));
    poll_fn(|context| {
        if waits && let Poll::Ready(result) = first.as_mut().poll(context) {
            match result {
                Ok((pass, used)) => {
                    progress.set_origin(ConnectionOrigin::Reused);
                    return Poll::Ready(Ok((Ok(pass), used)));
                }
                Err(connection) => keeping.connections.close(connection, target),
            }
            waits = false;
        }
        second.as_mut().poll(context)
    })
    .await
}

/// # Errors
/// The connection, when anything has gone wrong.
async fn over_kept(
    kept: Connection,
    probe: &HttpProbe,
    request: &Request,
    config: &CheckersConfig,
    mut after: After,
    progress: &Progress,
) -> Result<(Pass, Used), Connection> {
    let Connection { stream, mut tls, opened, probes } = kept;
    let mut stream = Stream::over(stream, progress);
    let passed = match &mut tls {
        None => exchange(probe, request, &mut stream, &config.memory, progress, &mut after).await.ok(),
        Some(Tls { session, .. }) => {
            let judged =
                probe.tls.as_ref().map_or(Ok(None), |tls| tls::judge_kept(tls, &config.roots, session));
            match judged {
                Ok(warning) => {
                    let mut over = KeptSession::new(&mut stream, session);
                    let verdict =
                        exchange(probe, request, &mut over, &config.memory, progress, &mut after).await;
                    verdict.ok().map(|pass| pass.warned(warning))
                }
                // A new handshake fails with the reason.
                Err(_) => None,
            }
        }
    };
    let connection =
        Connection { stream: stream.into_inner(), tls, opened, probes: probes.saturating_add(1) };
    match passed {
        Some(pass) => Ok((pass, after.of(connection, true))),
        None => Err(connection),
    }
}
