//! What one probe costs: runs N of them one after another, or several at once, and prints the CPU
//! time of this process for each.
//!
//! ```text
//! cargo run --release -p hc-checkers --example cost -- tcp 127.0.0.1:80 100000 [AT ONCE [ADDRESSES]]
//! ```
//!
//! Kinds: `tcp`, `syn` (half open), `http`, `https` (without verification), and `hyper`, which is the same HTTP
//! exchange by hyper's client, to show why it is not used. `https-resume` is `https` with one full
//! handshake of a thousand; `http-reuse` and `https-reuse` send a thousand probes over one
//! connection. These three are for one at once: of several the others find nothing that is kept.
//!
//! With ADDRESSES so many probes go to as many addresses in turn, of which the one named is the
//! first: at most eight half-open probes of one address and port can run at once.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hc_checkers::{Checkers, CheckersConfig};
use hc_types::{
    CheckSpec, HttpOverrides, HttpProbe, HttpRequest, Outcome, ProbeSpec, Target, TcpProbe, Timing, Tls,
    TlsOptions,
};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address, count, rest @ ..] = &arguments[..] else {
        bail!("usage: cost KIND ADDRESS COUNT [AT ONCE [ADDRESSES]]")
    };
    let address: SocketAddr = address.parse().context("an address with a port")?;
    let count: u32 = count.parse()?;
    let [at_once, addresses] = [0, 1].map(|at| rest.get(at).map_or(Ok(1), |text| text.parse::<u32>()));
    let (at_once, addresses) = (at_once?, Addresses { first: address, count: addresses? });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = cpu_time()?;
    LocalSet::new().block_on(&runtime, async {
        match &**kind {
            "tcp" => run(ProbeSpec::Tcp(TcpProbe::default()), addresses, count, at_once).await,
            "syn" => run(ProbeSpec::HalfOpen, addresses, count, at_once).await,
            "http" => {
                let probe = HttpProbe { expected_codes: [200].into(), ..HttpProbe::default() };
                run(ProbeSpec::Http(Box::new(probe)), addresses, count, at_once).await
            }
            "https" | "https-resume" | "http-reuse" | "https-reuse" => {
                run(keeping(kind), addresses, count, at_once).await
            }
            "hyper" => run_hyper(address, count, at_once).await,
            other => {
                bail!(
                    "{other:?} is none of tcp, syn, http, https, hyper, https-resume, http-reuse, https-reuse"
                )
            }
        }
    })?;
    let spent = cpu_time()? - before;
    #[allow(clippy::print_stdout, reason = "the output of an example")]
    {
        println!("{kind}: {:.2} µs of CPU each", spent.as_secs_f64() * 1e6 / f64::from(count));
    }
    Ok(())
}

/// HTTP over TLS, or with something that is kept between probes.
fn keeping(kind: &str) -> ProbeSpec {
    let mut tls = Tls::new(false);
    if kind == "https-resume" {
        let mut options = TlsOptions::default();
        options.resume = TlsOptions::MAX_RESUME;
        tls.options = Some(Arc::new(options));
    }
    let reuse = if kind.ends_with("reuse") { HttpRequest::MAX_REUSE } else { 0 };
    let request = Some(Arc::new(HttpRequest { reuse, ..HttpRequest::default() }));
    ProbeSpec::Http(Box::new(HttpProbe {
        tls: kind.starts_with("https").then_some(tls),
        expected_codes: [200].into(),
        overrides: Some(Box::new(HttpOverrides { request, ..HttpOverrides::default() })),
        ..HttpProbe::default()
    }))
}

/// Where probes go.
#[derive(Clone, Copy)]
struct Addresses {
    first: SocketAddr,
    count: u32,
}

impl Addresses {
    fn targets(self) -> impl Iterator<Item = Target> {
        let ip = move |n: u32| match self.first.ip() {
            IpAddr::V4(ip) => IpAddr::from(Ipv4Addr::from_bits(ip.to_bits().wrapping_add(n))),
            IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from_bits(ip.to_bits().wrapping_add(n.into()))),
        };
        (0..self.count).map(move |n| Target::plain(ip(n), self.first.port()))
    }
}

async fn run(probe: ProbeSpec, addresses: Addresses, count: u32, at_once: u32) -> anyhow::Result<()> {
    let second = Duration::from_secs(1);
    let timing = Timing::every(second).timeout(20 * second);
    let specs = addresses.targets().map(|target| CheckSpec::new(target, probe.clone(), timing).map(Arc::new));
    let specs: Rc<[Arc<CheckSpec>]> = specs.collect::<Result<_, _>>()?;
    let turn = Rc::new(Cell::new(0));
    let checkers = Checkers::new(CheckersConfig::default());
    in_lanes(count, at_once, move || {
        turn.set((turn.get() + 1) % specs.len());
        let (checkers, spec) = (checkers.clone(), Arc::clone(&specs[turn.get()]));
        async move {
            let outcome = checkers.probe(&spec).await;
            ensure!(matches!(outcome, Outcome::Pass(_)), "{outcome:?}");
            Ok(())
        }
    })
    .await
}

async fn run_hyper(address: SocketAddr, count: u32, at_once: u32) -> anyhow::Result<()> {
    in_lanes(count, at_once, move || async move {
        let exchange = async {
            let stream = TcpStream::connect(address).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let request = hyper::Request::get("/")
                .header("host", address.to_string())
                .header("connection", "close")
                .body(Empty::<Bytes>::new())?;
            let answer = async {
                let response = sender.send_request(request).await?;
                ensure!(response.status() == 200, "{}", response.status());
                response.into_body().collect().await?;
                Ok(())
            };
            let (answer, _) = tokio::join!(answer, connection);
            answer
        };
        tokio::time::timeout(Duration::from_secs(1), exchange).await?
    })
    .await
}

/// Runs `count` of what `one` makes, in `at_once` lanes.
async fn in_lanes<F>(count: u32, at_once: u32, one: impl Fn() -> F + Clone + 'static) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let one = one.clone();
        lanes.spawn_local(async move {
            for _ in 0..count / at_once {
                one().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    Ok(())
}

/// User and system time of this process.
fn cpu_time() -> anyhow::Result<Duration> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let [user, system] = [usage.user_time(), usage.system_time()].map(|time| {
        let (seconds, micros) = (time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs());
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    });
    Ok(user + system)
}
