//! Checks of all addresses of a host name.

use std::fmt::{self, Display as _};
use std::net::{IpAddr, Ipv4Addr};

use crate::{CheckSpec, HostName, ProbeSpec, SpecError, Target, Timing, impossible_backend};

impl CheckSpec {
    /// Builds one check of all addresses of a host name. The address of `target` has no meaning.
    /// Its way may have a source for each family
    /// ([`Via::second_source`](crate::Via::second_source)).
    ///
    /// # Errors
    /// As of [`new`](Self::new); an address that no backend can have, or for which the way has a
    /// source of the other family alone; more addresses than [`HostName::MAX_ADDRESSES`].
    pub fn of_host_name(
        host_name: HostName,
        target: Target,
        probe: ProbeSpec,
        timing: Timing,
    ) -> Result<Self, SpecError> {
        for ip in host_name.addresses() {
            if let Some(reason) = impossible_backend(*ip) {
                return Err(SpecError::Address { ip: *ip, reason });
            }
        }
        let count = host_name.addresses().len();
        if count > HostName::MAX_ADDRESSES {
            return Err(SpecError::Addresses(count));
        }
        let first = host_name.addresses().first().copied();
        let target = target.with_ip(first.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        Self::build(target, Some(Box::new(host_name)), probe, timing)
    }

    /// The host name whose addresses this is the one check of.
    #[must_use]
    pub fn host_name(&self) -> Option<&HostName> {
        self.shape.host_name.as_deref()
    }

    /// Where the probe goes, in words: the target, or `www.example.com:80 (any of 3 addresses)`.
    #[must_use]
    pub fn place(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| {
            let Some(host) = self.host_name() else { return self.target.fmt(f) };
            f.write_str(host.name())?;
            if self.target.port() != 0 {
                write!(f, ":{}", self.target.port())?;
            }
            write!(f, " ({} of {} addresses)", host.rule(), host.addresses().len())
        })
    }
}
