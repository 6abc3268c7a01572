//! A target with several addresses.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Of how many addresses of a host name the probes must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Of at least one.
    Any,
    /// Of each.
    All,
}

/// `any` or `all`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Any => "any",
            Rule::All => "all",
        })
    }
}

/// A host name whose addresses are probed as one check.
///
/// What is checked is the name: another set of addresses is the same check, which keeps its health.
/// Without any address its probes are inconclusive
/// ([`LocalFault::Unresolved`](crate::LocalFault::Unresolved)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    name: Arc<str>,
    addresses: Box<[IpAddr]>,
    rule: Rule,
}

impl HostName {
    /// The most addresses of one name: they are probed at once.
    pub const MAX_ADDRESSES: usize = 256;

    /// A name with its addresses. Their order says nothing; repeated ones count once, and
    /// IPv4-mapped IPv6 addresses are the IPv4 addresses that they mean.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, addresses: impl IntoIterator<Item = IpAddr>, rule: Rule) -> Self {
        let mut addresses: Vec<IpAddr> = addresses.into_iter().map(|ip| ip.to_canonical()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self { name: name.into(), addresses: addresses.into(), rule }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses, in order; none if none are known.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Of how many of them the probes must pass.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Whether both are the same name under the same rule, whatever its addresses are.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.rule == other.rule
    }
}
