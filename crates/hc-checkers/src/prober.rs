//! All probes behind the one trait.

use std::rc::Rc;
use std::sync::Arc;

use hc_types::{CheckSpec, Failure, Outcome, ProbeSpec, Prober};

use crate::socket::{self, Loopback, Partings};
use crate::{CheckersConfig, Pinger, http, probe_dns, probe_radius, probe_udp, tcp};

/// Runs every kind of probe. One for each shard, made and used on the shard's thread, inside its runtime.
///
/// A timeout while the target has no route (any more) is [`LocalFault::NoRoute`](hc_types::LocalFault::NoRoute), and no verdict; nor is one while this machine
/// is too short of something to look its routes up.
#[derive(Clone, Debug)]
pub struct Checkers {
    config: Rc<CheckersConfig>,
    pinger: Pinger,
    loopback: Rc<Loopback>,
    partings: Partings,
}

impl Checkers {
    /// A prober that does what `config` says. Opens nothing.
    #[must_use]
    pub fn new(config: CheckersConfig) -> Self {
        let partings = Partings::new(config.max_partings);
        Self { config: Rc::new(config), pinger: Pinger::default(), loopback: Rc::default(), partings }
    }
}

impl Prober for Checkers {
    fn probe(&self, spec: Arc<CheckSpec>) -> impl Future<Output = Outcome> + 'static {
        let Self { config, pinger, loopback, partings } = self.clone();
        async move {
            let (target, timeout) = (spec.target(), spec.timeout());
            let outcome = match spec.probe() {
                ProbeSpec::Tcp(probe) => partings.outcome(tcp::judge(probe, target, timeout, &config).await),
                // The rarer and larger ones are boxed, so that a probe in flight has the size of the common ones.
                ProbeSpec::Http(probe) => {
                    partings.outcome(Box::pin(http::judge(probe, target, timeout, &config)).await)
                }
                ProbeSpec::Udp(probe) => probe_udp(probe, target, timeout).await,
                ProbeSpec::Dns(probe) => Box::pin(probe_dns(probe, target, timeout)).await,
                ProbeSpec::Radius(probe) => {
                    Box::pin(probe_radius(probe, target, timeout, config.nas_ip)).await
                }
                ProbeSpec::Icmp => pinger.probe(target, timeout).await,
            };
            // Nobody tells a connection that its route is gone: its packets are lost without a word.
            match outcome {
                Outcome::Fail(Failure::Timeout(_) | Failure::Silence(_) | Failure::Strays(_)) => {
                    socket::look_for_way(target, &loopback, timeout).map_or_else(Outcome::from, |()| outcome)
                }
                outcome => outcome,
            }
        }
    }
}
