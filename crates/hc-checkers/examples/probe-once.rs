//! One probe and nothing else: no schedule, no state.
//!
//! `cargo run -p hc-checkers --example probe-once -- 192.0.2.1:80` asks for `/` by HTTP and says
//! what came.

use std::net::SocketAddr;
use std::time::Duration;

use hc_checkers::Checkers;
use hc_types::{CheckSpec, HttpProbe, Outcome, ProbeSpec, SpecError, Target, Timing};

/// Whether the backend answers with a status of 200 within a second, and the words for it.
pub(crate) async fn probe(address: SocketAddr) -> Result<(Outcome, String), SpecError> {
    let http = HttpProbe { expected_codes: [200].into(), ..HttpProbe::default() };
    let target = Target::plain(address.ip(), address.port());
    let timing = Timing::default().timeout(Duration::from_secs(1));
    let spec = CheckSpec::new(target, ProbeSpec::Http(Box::new(http)), timing)?;
    let outcome = Checkers::default().probe(&spec).await;
    let text = spec.text(&outcome);
    Ok((outcome, text))
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, clippy::print_stdout, reason = "the test of this example has its own; a program talks")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address and a port are needed: 192.0.2.1:80")?;
    let (outcome, text) = probe(address.parse()?).await?;
    println!("{text}");
    match outcome {
        Outcome::Pass(_) => println!("the backend passed"),
        Outcome::Fail(failure) => println!("the backend failed: {}", failure.label()),
        Outcome::Inconclusive(fault) => println!("this machine could not ask it: {fault}"),
    }
    Ok(())
}
