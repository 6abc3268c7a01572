//! Checks whose target is a host name.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hc_types::{
    CheckId, CheckSpec, HostName, HttpOverrides, OpinionKeys, ProbeSpec, Rule, SpecError, TcpProbe, Tls,
};

use crate::probe::host_overrides;
use crate::range::TargetItem;
use crate::way::Ways;
use crate::{Check, DependsOn, Labels, check_id};

/// The address in a spec whose address is not known yet (RFC 5737).
pub(crate) const PLACEHOLDER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What the addresses of a name make of its check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resolve {
    /// Each address has a check of its own.
    #[default]
    Each,
    /// One check, which passes if that of any address does.
    Any,
    /// One check, which passes if those of all addresses do.
    All,
}

/// A check whose target is a host name. Its addresses are found by who runs the checks.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCheck {
    /// Unique over all files, as the names of checks are.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Names of the checks that it depends on.
    pub depends_on: DependsOn,
    /// Whether it has series of its own in the metrics.
    pub metrics: bool,
    /// How a fleet judges it.
    pub opinions: OpinionKeys,
    /// The host name, in lower case.
    pub host: Arc<str>,
    /// The port; 0 for ICMP.
    pub port: u16,
    /// What its addresses make of it.
    pub resolve: Resolve,
    pub(crate) template: Arc<CheckSpec>,
    pub(crate) excluded: Arc<[TargetItem]>,
    pub(crate) ways: Ways,
}

impl HostCheck {
    /// The id of the check as a whole, for [`Resolve::Any`] and [`Resolve::All`].
    #[must_use]
    pub fn id(&self) -> CheckId {
        check_id(&self.name)
    }

    /// What is checked, with a placeholder in place of the address ([`check`](Self::check) puts one
    /// in).
    #[must_use]
    pub fn spec(&self) -> &CheckSpec {
        &self.template
    }

    /// The check of one address, named `NAME/ADDRESS`. `None` if the address is excluded.
    ///
    /// # Errors
    /// [`SpecError`] for an address that no backend can have, such as a multicast address.
    pub fn check(&self, ip: IpAddr) -> Option<Result<Check, SpecError>> {
        let ip = ip.to_canonical();
        if self.excluded.iter().any(|item| item.contains(ip, self.port)) {
            return None;
        }
        let name: Arc<str> = format!("{}/{ip}", self.name).into();
        let spec = self.with_address(ip);
        Some(spec.map(|spec| Check {
            id: check_id(&name),
            name,
            labels: Arc::clone(&self.labels),
            depends_on: Arc::clone(&self.depends_on),
            metrics: self.metrics,
            opinions: self.opinions,
            spec: Arc::new(spec),
        }))
    }

    /// What is checked, of this address.
    fn with_address(&self, ip: IpAddr) -> Result<CheckSpec, SpecError> {
        let template = &self.template;
        let target = self.ways.to(template.target().clone().with_ip(ip));
        CheckSpec::new(target, template.probe().clone(), template.timing())
    }

    /// The one check of all these addresses, for [`Resolve::Any`] and [`Resolve::All`]; it has the
    /// name of this one. Left out are excluded addresses, and with a `source` for one family alone
    /// the addresses of the other. It is the same check whatever the addresses are, and without any
    /// its probes are inconclusive.
    ///
    /// # Errors
    /// [`SpecError`] for an address that no backend can have, and for too many addresses.
    pub fn check_of_all(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<Check, SpecError> {
        let rule = match self.resolve {
            Resolve::All => Rule::All,
            Resolve::Each | Resolve::Any => Rule::Any,
        };
        let target = self.ways.to_all(self.template.target().clone());
        let is_excluded = |ip: IpAddr| self.excluded.iter().any(|item| item.contains(ip, self.port));
        let is_possible = |ip: &IpAddr| !is_excluded(ip.to_canonical()) && target.has_source_for(*ip);
        let host = HostName::new(Arc::clone(&self.host), addresses.into_iter().filter(is_possible), rule);
        let probe = self.template.probe().clone();
        let spec = CheckSpec::of_host_name(host, target, probe, self.template.timing())?;
        let (name, labels) = (Arc::clone(&self.name), Arc::clone(&self.labels));
        let depends_on = Arc::clone(&self.depends_on);
        let (metrics, opinions) = (self.metrics, self.opinions);
        Ok(Check { id: self.id(), name, labels, depends_on, metrics, opinions, spec: Arc::new(spec) })
    }
}

/// The probe of a host: an HTTP request or a gRPC call names the host unless the file names another
/// one, and so does the TLS of any other probe, by SNI and verification.
pub(crate) fn probe_of(host: &str, port: u16, probe: &ProbeSpec) -> ProbeSpec {
    let mut probe = probe.clone();
    let host = host.trim_end_matches('.');
    let overrides = |tls: bool| {
        let usual = if tls { 443 } else { 80 };
        host_overrides(&if port == usual { host.to_owned() } else { format!("{host}:{port}") })
    };
    match &mut probe {
        ProbeSpec::Http(http) if http.overrides.as_ref().is_none_or(|overrides| overrides.host.is_none()) => {
            let request = http.overrides.take().and_then(|overrides| overrides.request);
            http.overrides = Some(Box::new(HttpOverrides { request, ..overrides(http.tls.is_some()) }));
        }
        ProbeSpec::Grpc(grpc) if grpc.host.is_none() => {
            let named = overrides(grpc.tls.is_some());
            (grpc.host, grpc.server_name) = (named.host, named.server_name);
        }
        ProbeSpec::Tcp(TcpProbe { tls: Some(tls), .. }) => name_in(tls, host),
        ProbeSpec::Dialogue(probe) => {
            // The name belongs to TLS that nothing but STARTTLS asks for, too.
            probe.imply_tls();
            probe.tls.iter_mut().for_each(|tls| name_in(tls, host));
        }
        _ => {}
    }
    probe
}

/// Names the host in a handshake, where the file names nothing else.
fn name_in(tls: &mut Tls, host: &str) {
    let mut options = tls.options.as_deref().cloned().unwrap_or_default();
    options.sni.get_or_insert_with(|| host.into());
    if tls.verify {
        options.verify_name.get_or_insert_with(|| host.into());
    }
    tls.options = Some(Arc::new(options));
}
