//! A checker of your own: a protocol that hc-checkers does not know, beside all those that it does.
//!
//! Backends of this example answer `PING` with `PONG`. A TCP check that sends `PING` is probed
//! here, any other check by `Checkers`. The manager gives both the same schedule, retries and
//! states.

use std::io;
use std::sync::Arc;

use hc_checkers::Checkers;
use hc_types::{CheckSpec, Failure, LocalFault, Outcome, Phase, ProbeResult, ProbeSpec, Prober};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What marks a check as one of this protocol, and is sent.
pub(crate) const PING: &[u8] = b"PING\n";

/// Probes checks of one shard.
#[derive(Default)]
pub(crate) struct WithPing {
    others: Checkers,
}

impl Prober for WithPing {
    fn probe(&self, spec: Arc<CheckSpec>) -> impl Future<Output = ProbeResult> + 'static {
        let is_ours = matches!(spec.probe(), ProbeSpec::Tcp(tcp) if tcp.send.as_slice() == PING);
        // It begins only when it is polled, so that one of the two costs nothing.
        let other = Prober::probe(&self.others, spec.clone());
        async move { if is_ours { ping(&spec).await.into() } else { other.await } }
    }
}

/// One deadline for all of it; an error of this machine is no failure of the backend.
async fn ping(spec: &CheckSpec) -> Outcome {
    let exchange = async {
        let mut stream = TcpStream::connect(spec.target().socket_addr()).await?;
        stream.write_all(PING).await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    };
    match timeout(spec.timeout(), exchange).await {
        Ok(Ok(answer)) if &answer == b"PONG\n" => Outcome::PASS,
        Ok(Ok(answer)) => Failure::WrongAnswer(String::from_utf8_lossy(&answer).trim_end().into()).into(),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused.into(),
            io::ErrorKind::ConnectionReset => Failure::Reset(Phase::Response).into(),
            io::ErrorKind::UnexpectedEof => Failure::Closed { heard: None }.into(),
            _ => LocalFault::Other(error.raw_os_error().unwrap_or_default()).into(),
        },
        Err(_) => Failure::timeout(Phase::Response).into(),
    }
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, clippy::print_stdout, reason = "the test of this example has its own; a program talks")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use hc_types::{Target, TcpProbe, Timing};

    let address = std::env::args().nth(1).ok_or("an address and a port are needed: 192.0.2.1:7000")?;
    let address: std::net::SocketAddr = address.parse()?;
    let tcp = TcpProbe { send: PING.into(), ..TcpProbe::default() };
    let target = Target::plain(address.ip(), address.port());
    let spec = CheckSpec::new(target, ProbeSpec::Tcp(tcp), Timing::default())?;
    let result = WithPing::default().probe(Arc::new(spec.clone())).await;
    println!("{}", spec.text(&result.outcome));
    Ok(())
}
