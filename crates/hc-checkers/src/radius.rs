//! RADIUS: one Access-Request with PAP (Seesaw's `healthcheck/radius.go`, RFC 2865, RFC 3579), or
//! one Status-Server (RFC 5997).

pub mod packet;

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;
use std::time::Duration;

use hc_types::{
    Failure, Outcome, Pass, Phase, ProbeResult, RadiusExpectation, RadiusProbe, RadiusStatusProbe, Stray,
    Target,
};

use crate::deadline::{self, Progress};
use crate::fault::ProbeError;
use crate::socket::Datagrams;
use packet::{Expectation, Request, Response};

/// Sends `target` one Access-Request and passes if the response is authentic and has the code that
/// `probe` expects.
///
/// Responses with another request's identifier are ignored, and the probe waits on. The first one
/// with ours decides: the response authenticator is verified, and Message-Authenticator where there
/// is one. User name or password too long for the protocol is [`Failure::BadRequest`], and nothing
/// is sent.
///
/// The request names this machine by `nas_ip`, or else by the address that it is sent from, and by
/// its host name, as of the first request of the process.
///
/// `timeout` is the deadline of all of it, from the first poll.
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_radius(
    probe: &RadiusProbe,
    target: &Target,
    timeout: Duration,
    nas_ip: Option<IpAddr>,
) -> Outcome {
    judge(probe, target, timeout, nas_ip).await.outcome
}

/// The same with what was seen.
pub(crate) async fn judge(
    probe: &RadiusProbe,
    target: &Target,
    timeout: Duration,
    nas_ip: Option<IpAddr>,
) -> ProbeResult {
    deadline::within(timeout, async |progress| run(probe, target, nas_ip, progress).await).await
}

async fn run(
    probe: &RadiusProbe,
    target: &Target,
    nas_ip: Option<IpAddr>,
    progress: &Progress,
) -> Result<Outcome, ProbeError> {
    let socket = Datagrams::connect(target)?;
    let nas_address = nas_ip.map_or_else(|| socket.local_addr().map(|local| local.ip()), Ok)?;
    let request = Request {
        username: probe.username.as_slice(),
        password: probe.password.expose(),
        secret: probe.secret.expose(),
        nas_identifier: host_name(),
        nas_address,
    };
    let (identifier, authenticator): (u8, [u8; 16]) = (rand::random(), rand::random());
    let packet = request
        .encode(identifier, &authenticator)
        .map_err(|error| Failure::BadRequest(error.to_string().into()))?;
    progress.enter(Phase::Send);
    socket.send(&packet, progress)?;
    let expectation = Expectation {
        identifier,
        authenticator: &authenticator,
        secret: request.secret,
        require_message_authenticator: probe.require_message_authenticator,
    };
    response(&socket, &expectation, progress, |code| passes(probe.expect, code)).await
}

/// Sends `target` one Status-Server, and passes if the response is authentic and is an
/// Access-Accept or an Accounting-Response. Nobody is logged in, and no account can be locked.
///
/// A server must have Status-Server switched on (`status_server = yes` in FreeRADIUS, which is its
/// default); one that has not drops it in silence.
///
/// Everything else is as in [`probe_radius`].
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_radius_status(
    probe: &RadiusStatusProbe,
    target: &Target,
    timeout: Duration,
    nas_ip: Option<IpAddr>,
) -> Outcome {
    judge_status(probe, target, timeout, nas_ip).await.outcome
}

/// The same with what was seen.
pub(crate) async fn judge_status(
    probe: &RadiusStatusProbe,
    target: &Target,
    timeout: Duration,
    nas_ip: Option<IpAddr>,
) -> ProbeResult {
    deadline::within(timeout, async |progress| run_status(probe, target, nas_ip, progress).await).await
}

async fn run_status(
    probe: &RadiusStatusProbe,
    target: &Target,
    nas_ip: Option<IpAddr>,
    progress: &Progress,
) -> Result<Outcome, ProbeError> {
    let socket = Datagrams::connect(target)?;
    let nas_address = nas_ip.map_or_else(|| socket.local_addr().map(|local| local.ip()), Ok)?;
    let secret = probe.secret.expose();
    let (identifier, authenticator): (u8, [u8; 16]) = (rand::random(), rand::random());
    let packet = packet::encode_status(secret, host_name(), nas_address, identifier, &authenticator);
    progress.enter(Phase::Send);
    socket.send(&packet, progress)?;
    let expectation = Expectation {
        identifier,
        authenticator: &authenticator,
        secret,
        require_message_authenticator: probe.require_message_authenticator,
    };
    response(&socket, &expectation, progress, |code| matches!(code, 2 | 5)).await
}

/// Waits for the response and judges it.
async fn response(
    socket: &Datagrams<'_>,
    expectation: &Expectation<'_>,
    progress: &Progress,
    passes: impl Fn(u8) -> bool,
) -> Result<Outcome, ProbeError> {
    progress.enter(Phase::Response);
    loop {
        let judge = |response: &[u8]| {
            let judged = expectation.judge(response);
            // Dropped again if it passes.
            if !matches!(judged, Response::Stray) {
                progress.keep_answer(response);
            }
            judged
        };
        match socket.receive(progress, judge).await? {
            Response::Stray => progress.ignored(Stray::OtherIdentifier),
            Response::Refused(failure) => return Err(failure.into()),
            Response::Code(code) if passes(code) => return Ok(Pass::Radius(code).into()),
            Response::Code(code) => return Err(Failure::RadiusCode(code).into()),
        }
    }
}

fn passes(expect: RadiusExpectation, code: u8) -> bool {
    match expect {
        RadiusExpectation::Accept => code == 2,
        RadiusExpectation::Reject => code == 3,
        RadiusExpectation::Challenge => code == 11,
        RadiusExpectation::Any => true,
    }
}

/// The name of this machine; empty if it has none.
fn host_name() -> &'static [u8] {
    static NAME: OnceLock<OsString> = OnceLock::new();
    NAME.get_or_init(|| nix::unistd::gethostname().unwrap_or_default()).as_bytes()
}
