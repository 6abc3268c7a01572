//! One call for every kind of probe, which also observes the path to the target.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hc_types::verdict::{self, PathCheck, PathFinding};
use hc_types::{CheckSpec, HostName, LocalFault, Outcome, ProbeResult, ProbeSpec, Prober, Target};

use crate::http::{Keeping, KeptConnections};
use crate::path::PathWatch;
use crate::socket::{self, Connector, Lingering, Loopback};
use crate::syn::HalfOpen;
use crate::{CheckersConfig, Pinger, dialogue, dns, http, radius, tcp, udp};

/// Runs every kind of probe. One for each shard, made and used on the shard's thread, inside its
/// runtime.
///
/// A failure that this machine may have caused is a [`LocalFault`](hc_types::LocalFault): the table
/// of [`hc_types::verdict`] has the rules. The functions for one kind of probe do not look at the
/// path to the target; this one does, when a probe has failed in a way that a path may cause.
#[derive(Clone, Debug)]
pub struct Checkers {
    config: Rc<CheckersConfig>,
    pinger: Pinger,
    half_open: HalfOpen,
    paths: Rc<PathWatch>,
    loopback: Rc<Loopback>,
    lingering: Lingering,
    connector: Connector,
    kept: KeptConnections,
}

impl Checkers {
    /// A prober that does what `config` says. Opens two netlink sockets; without them, paths are
    /// looked at only when a probe has timed out (see
    /// [`can_observe_paths`](crate::can_observe_paths)).
    #[must_use]
    pub fn new(config: CheckersConfig) -> Self {
        Self {
            lingering: Lingering::new(config.max_lingering),
            connector: Connector::new(config.max_idle),
            kept: KeptConnections::new(config.max_kept),
            config: Rc::new(config),
            pinger: Pinger::default(),
            half_open: HalfOpen::default(),
            paths: Rc::new(PathWatch::open()),
            loopback: Rc::default(),
        }
    }

    /// Runs one probe of `spec` and returns what it found, at the latest after `spec.timeout()` and
    /// what the runtime is late. The interval and the retries of `spec` have no part in it.
    ///
    /// An error of this machine is [`Outcome::Inconclusive`]. What every result means is the table
    /// of [`hc_types::verdict`].
    ///
    /// The connection of a marked probe is closed in the background, for up to 2.2 s, unless all
    /// clones of this value are dropped before.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    ///
    /// # Cancel safety
    /// Dropping the future ends the probe and closes its socket.
    pub async fn probe(&self, spec: &CheckSpec) -> Outcome {
        self.probe_with_evidence(spec).await.outcome
    }

    /// The same, with how long each phase took and what the peer said.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    ///
    /// # Cancel safety
    /// Dropping the future ends the probe and closes its socket.
    pub async fn probe_with_evidence(&self, spec: &CheckSpec) -> ProbeResult {
        self.run(spec, spec.timeout()).await
    }
}

impl Default for Checkers {
    fn default() -> Self {
        Self::new(CheckersConfig::default())
    }
}

impl Prober for Checkers {
    fn probe(&self, spec: Arc<CheckSpec>) -> impl Future<Output = ProbeResult> + 'static {
        let timeout = spec.timeout();
        self.probe_within(spec, timeout)
    }

    fn probe_within(
        &self,
        spec: Arc<CheckSpec>,
        timeout: Duration,
    ) -> impl Future<Output = ProbeResult> + 'static {
        let checkers = self.clone();
        async move {
            let mut result = checkers.run(&spec, timeout).await;
            if let Outcome::Fail(failure) = &mut result.outcome
                && timeout < spec.timeout()
            {
                failure.note_adapted(timeout);
            }
            result
        }
    }
}

impl Checkers {
    /// One probe.
    async fn run(&self, spec: &CheckSpec, timeout: Duration) -> ProbeResult {
        match spec.host_name() {
            None => self.probe_target(spec, spec.target(), timeout).await,
            Some(host) => Box::pin(self.probe_host(spec, host, timeout)).await,
        }
    }

    /// Probes all addresses of a name at once, each with the deadline of the check, and waits for
    /// all of them: so the result says how many failed, and every connection is closed in its own
    /// way.
    async fn probe_host(&self, spec: &CheckSpec, host: &HostName, timeout: Duration) -> ProbeResult {
        let probe = |ip: &IpAddr| {
            let target = spec.target().clone().with_ip(*ip);
            Box::pin(async move { self.probe_target(spec, &target, timeout).await })
        };
        let mut probes: Vec<_> = host.addresses().iter().map(|ip| (probe(ip), None)).collect();
        poll_fn(|context| {
            let mut waits = false;
            for (probe, result) in probes.iter_mut().filter(|(_, result)| result.is_none()) {
                match probe.as_mut().poll(context) {
                    Poll::Ready(found) => *result = Some(found),
                    Poll::Pending => waits = true,
                }
            }
            if waits { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        let results = probes.into_iter().filter_map(|(_, result)| result);
        verdict::of_several(host, results.collect())
    }

    /// One probe of one address.
    async fn probe_target(&self, spec: &CheckSpec, target: &Target, timeout: Duration) -> ProbeResult {
        let Self { config, pinger, half_open, paths, loopback, lingering, connector, kept } = self;
        let mut flight = paths.begin();
        let mut probe = pin!(async {
            match spec.probe() {
                ProbeSpec::Tcp(probe) => {
                    lingering.result(tcp::judge(probe, target, timeout, config, connector).await)
                }
                // The rarer and larger ones are boxed, so that a probe in flight has the size
                // of the common ones.
                ProbeSpec::Http(probe) => {
                    let keeping = Some(Keeping { connections: kept, spec });
                    lingering.result(Box::pin(http::judge(probe, target, timeout, config, keeping)).await)
                }
                ProbeSpec::Udp(probe) => udp::judge(probe, target, timeout).await,
                ProbeSpec::Dns(probe) => Box::pin(dns::judge(probe, target, timeout, &config.memory)).await,
                ProbeSpec::Radius(probe) => {
                    Box::pin(radius::judge(probe, target, timeout, config.nas_ip)).await
                }
                ProbeSpec::RadiusStatus(probe) => {
                    Box::pin(radius::judge_status(probe, target, timeout, config.nas_ip)).await
                }
                ProbeSpec::Dialogue(probe) => {
                    lingering.result(Box::pin(dialogue::judge(probe, target, timeout, config)).await)
                }
                #[cfg(feature = "http2")]
                ProbeSpec::Grpc(probe) => {
                    lingering.result(Box::pin(crate::grpc::judge(probe, target, timeout, config)).await)
                }
                // This program cannot, and the backend perhaps can.
                #[cfg(not(feature = "http2"))]
                ProbeSpec::Grpc(_) => ProbeResult {
                    outcome: LocalFault::Other(libc::EPROTONOSUPPORT).into(),
                    evidence: hc_types::Evidence::default(),
                },
                ProbeSpec::Icmp => pinger.judge(target, timeout).await,
                ProbeSpec::HalfOpen => Box::pin(half_open.judge(target, timeout)).await,
            }
        });
        let result = poll_fn(|context| match probe.as_mut().poll(context) {
            Poll::Pending => {
                flight.waits(target, timeout);
                Poll::Pending
            }
            result => result,
        });
        let ProbeResult { outcome, mut evidence } = result.await;
        if matches!(outcome, Outcome::Pass(_)) && !config.full_evidence {
            evidence.seen = None;
        }
        let route = || {
            let path = socket::check_route(target)?;
            // Without the kernel's notices, the loopback interface is the one that a look at
            // the route misses.
            if paths.is_open() { Ok(()) } else { loopback.look(path, timeout) }
        };
        let or_fine = |fault: Option<LocalFault>| fault.map_or(PathFinding::Fine, PathFinding::Fault);
        let finding = match verdict::path_check(&outcome) {
            PathCheck::None => return ProbeResult { outcome, evidence },
            PathCheck::Broadcast if socket::is_broadcast(target) => PathFinding::Broadcast,
            PathCheck::Broadcast => PathFinding::Fine,
            PathCheck::Changes { answered } => or_fine(flight.fault(target, answered)),
            PathCheck::RouteAndChanges => or_fine(route().err().or_else(|| flight.fault(target, false))),
        };
        ProbeResult { outcome: verdict::with_path(outcome, finding, target.ip()), evidence }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hc_types::{TcpProbe, Timing};

    use super::*;

    /// A shard moves a probe to where it runs, whatever its kind.
    #[tokio::test]
    async fn a_probe_in_flight_is_small() {
        for probe in [ProbeSpec::Tcp(TcpProbe::default()), ProbeSpec::Http(Box::default())] {
            let target = Target::plain([127, 0, 0, 1].into(), 80);
            let timing = Timing::every(Duration::from_secs(60)).timeout(Duration::from_secs(1));
            let spec = Arc::new(CheckSpec::new(target, probe, timing).unwrap());
            let size = size_of_val(&Prober::probe(&Checkers::default(), spec));
            assert!(size <= 2048, "{size}");
        }
    }
}
