//! UDP: one datagram out, one datagram back (Seesaw's `healthcheck/udp.go`).

use std::time::Duration;

use hc_types::{Failure, Mismatch, Outcome, Phase, ProbeResult, Target, UdpProbe};

use crate::deadline::{self, Progress};
use crate::fault::ProbeError;
use crate::socket::Datagrams;

/// Sends one datagram to `target` and passes if the first datagram that comes back begins with
/// `probe.receive`. Both may be empty: an empty datagram is really sent, and an empty expectation
/// still needs an answer.
///
/// Only datagrams from the target's own address and port count. ICMP errors end the probe at once:
/// port unreachable is [`Failure::Refused`], the others are [`Failure::Unreachable`].
///
/// `timeout` is the deadline of all of it, from the first poll.
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_udp(probe: &UdpProbe, target: &Target, timeout: Duration) -> Outcome {
    judge(probe, target, timeout).await.outcome
}

/// The same with what was seen.
pub(crate) async fn judge(probe: &UdpProbe, target: &Target, timeout: Duration) -> ProbeResult {
    deadline::within(timeout, async |progress| run(probe, target, progress).await).await
}

async fn run(probe: &UdpProbe, target: &Target, progress: &Progress) -> Result<Outcome, ProbeError> {
    let socket = Datagrams::connect(target)?;
    progress.enter(Phase::Send);
    socket.send(probe.send.as_slice(), progress)?;
    progress.enter(Phase::Response);
    let expected = probe.receive.as_slice();
    let judge = |datagram: &[u8]| {
        let got = &datagram[..datagram.len().min(expected.len())];
        if got == expected {
            return Outcome::PASS;
        }
        progress.keep_answer(datagram);
        let mismatch = Mismatch::new(got, None).recognised(datagram, expected);
        Failure::BodyMismatch(Box::new(mismatch)).into()
    };
    socket.receive(progress, judge).await
}
