//! The ways to the targets of one `[[check]]`: a source for each family, an interface, a PROXY
//! header.

use std::net::IpAddr;
use std::sync::Arc;

use hc_types::{ProxyProtocol, Target, Via};

use crate::diagnostic::Report;
use crate::form::{Settings, Value};
use crate::keys;

/// The ways, shared by all checks that are made of one `[[check]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ways {
    v4: Arc<Via>,
    v6: Arc<Via>,
    /// Without a source, for a target whose family is not known yet.
    none: Arc<Via>,
    /// With all sources, for a target of several addresses.
    all: Arc<Via>,
}

impl Ways {
    pub(crate) fn read(settings: &Settings, report: &mut Report) -> Self {
        let mut sources: [Option<IpAddr>; 2] = [None, None];
        for item in settings.items(&keys::SOURCE) {
            let Value::Address(ip) = item.value else { continue };
            let of_family = &mut sources[usize::from(ip.is_ipv6())];
            if of_family.replace(ip).is_some() {
                let problem = format!("{ip} is a second one of its family");
                report.add(item.at, format!("check.{}", keys::SOURCE.name), problem);
            }
        }
        let mut any = Via::default();
        any.device = settings.text(&keys::DEVICE).map(Into::into);
        any.proxy_protocol = settings.word(&keys::PROXY_PROTOCOL).map(|word| match word {
            "v1" => ProxyProtocol::V1,
            "v2-local" => ProxyProtocol::V2Local,
            _ => ProxyProtocol::V2,
        });
        let from = |source: Option<IpAddr>| {
            let mut way = any.clone();
            way.source = source;
            Arc::new(way)
        };
        // A target of a family without a source is refused with the source of the other.
        let [v4, v6] = sources;
        let mut all = any.clone();
        (all.source, all.second_source) = (v4.or(v6), v4.and(v6));
        Self { v4: from(v4.or(v6)), v6: from(v6.or(v4)), all: Arc::new(all), none: Arc::new(any) }
    }

    /// The sources that the file names.
    pub(crate) fn sources(&self) -> impl Iterator<Item = IpAddr> {
        [self.all.source, self.all.second_source].into_iter().flatten()
    }

    /// The target by its way.
    pub(crate) fn to(&self, target: Target) -> Target {
        let way = if target.ip().is_ipv4() { &self.v4 } else { &self.v6 };
        target.via_shared(way)
    }

    /// The same for a target whose address is a placeholder.
    pub(crate) fn to_placeholder(&self, target: Target) -> Target {
        target.via_shared(&self.none)
    }

    /// The same for a target that stands for several addresses, of one family or of both.
    pub(crate) fn to_all(&self, target: Target) -> Target {
        target.via_shared(&self.all)
    }
}
