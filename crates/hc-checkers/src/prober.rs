//! All probes behind the one trait.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hc_types::{CheckSpec, Failure, LocalFault, Outcome, ProbeSpec, Prober};

use crate::path::PathWatch;
use crate::socket::{self, Loopback, Partings};
use crate::{CheckersConfig, Pinger, dns, http, probe_radius, probe_udp, tcp};

/// Runs every kind of probe. One for each shard, made and used on the shard's thread, inside its runtime.
///
/// A failure that this machine may have brought about is a [`LocalFault`](hc_types::LocalFault) and no verdict. That is a timeout while the
/// target has no route (any more), or while this machine is too short of something to look its routes up; and a probe that
/// heard nothing, was cut off or was told "unreachable" while a route, a rule, an address or an interface on its path came,
/// went or changed.
///
/// A target that this machine takes for a broadcast address of one of its networks is [`Failure::BadRequest`].
#[derive(Clone, Debug)]
pub struct Checkers {
    config: Rc<CheckersConfig>,
    pinger: Pinger,
    paths: Rc<PathWatch>,
    loopback: Rc<Loopback>,
    partings: Partings,
}

impl Checkers {
    /// A prober that does what `config` says. Opens two netlink sockets; without them, paths are looked at only when a
    /// probe has timed out (see [`can_observe_paths`](crate::can_observe_paths)).
    #[must_use]
    pub fn new(config: CheckersConfig) -> Self {
        let partings = Partings::new(config.max_partings);
        let paths = Rc::new(PathWatch::open());
        Self { config: Rc::new(config), pinger: Pinger::default(), paths, loopback: Rc::default(), partings }
    }
}

impl Prober for Checkers {
    fn probe(&self, spec: Arc<CheckSpec>) -> impl Future<Output = Outcome> + 'static {
        let Self { config, pinger, paths, loopback, partings } = self.clone();
        async move {
            let (target, timeout) = (spec.target(), spec.timeout());
            let mut flight = paths.begin();
            let mut probe = pin!(async {
                match spec.probe() {
                    ProbeSpec::Tcp(probe) => {
                        partings.outcome(tcp::judge(probe, target, timeout, &config).await)
                    }
                    // The rarer and larger ones are boxed, so that a probe in flight has the size of the common ones.
                    ProbeSpec::Http(probe) => {
                        partings.outcome(Box::pin(http::judge(probe, target, timeout, &config)).await)
                    }
                    ProbeSpec::Udp(probe) => probe_udp(probe, target, timeout).await,
                    ProbeSpec::Dns(probe) => {
                        Box::pin(dns::judge(probe, target, timeout, &config.memory)).await
                    }
                    ProbeSpec::Radius(probe) => {
                        Box::pin(probe_radius(probe, target, timeout, config.nas_ip)).await
                    }
                    ProbeSpec::Icmp => pinger.probe(target, timeout).await,
                }
            });
            let outcome = poll_fn(|context| match probe.as_mut().poll(context) {
                Poll::Pending => {
                    flight.waits(target, timeout);
                    Poll::Pending
                }
                outcome => outcome,
            });
            let outcome = match outcome.await {
                Outcome::Inconclusive(
                    LocalFault::NoRoute | LocalFault::RouteProhibited | LocalFault::Permission,
                ) if socket::is_broadcast(target) => {
                    let text = format!("{} is a broadcast address of this machine's network", target.ip());
                    return Failure::BadRequest(text.into()).into();
                }
                outcome => outcome,
            };
            let Outcome::Fail(failure) = &outcome else { return outcome };
            // Nobody tells a connection that its route is gone: its packets are lost without a word.
            let (heard, looked) = match failure {
                Failure::Timeout { .. } => {
                    let way = socket::look_for_way(target);
                    let looked = way
                        .and_then(|way| if paths.is_open() { Ok(()) } else { loopback.look(way, timeout) });
                    (false, looked)
                }
                // What a path that leads elsewhere for a moment may bring about; but somebody answered.
                Failure::Refused | Failure::Reset(_) | Failure::ResetAfter(_) | Failure::Closed { .. } => {
                    (true, Ok(()))
                }
                // Also what this machine says when a neighbour does not answer.
                Failure::Unreachable(_) => (false, Ok(())),
                _ => return outcome,
            };
            match looked.and_then(|()| flight.fault(target, heard).map_or(Ok(()), Err)) {
                Err(fault) => fault.into(),
                Ok(()) => outcome,
            }
        }
    }
}
