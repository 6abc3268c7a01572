//! Commands that do by hand what a probe does.

mod hcctl;
mod shell;
mod tls;
mod tools;

use hc_types::{CheckSpec, ProbeSpec};
use serde::{Deserialize, Serialize};

/// A command that does what a probe of a check does, for a shell on the machine that checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Reproduction {
    /// The command, quoted for a POSIX shell. Secrets are not in it: it names a file or a variable
    /// instead.
    pub command: String,
    /// What has to be done before, and what the command does otherwise than the probe.
    pub notes: Vec<String>,
}

/// The commands for a check: that of a tool which is everywhere (curl, openssl, nc, dig, ping,
/// radclient), and `hcctl check`, which runs the very probe.
///
/// ```
/// use std::time::Duration;
/// use hc_api::reproduce;
/// use hc_types::{CheckSpec, ProbeSpec, Target, Timing};
///
/// let second = Duration::from_secs(1);
/// let timing = Timing::every(5 * second).timeout(second);
/// let spec = CheckSpec::new(Target::plain("192.0.2.1".parse()?, 0), ProbeSpec::Icmp, timing)?;
/// let commands: Vec<String> = reproduce(&spec).into_iter().map(|one| one.command).collect();
/// assert_eq!(commands, ["ping -n -c 1 -s 56 -W 1 192.0.2.1", "hcctl check -v --timeout 1s icmp://192.0.2.1"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn reproduce(spec: &CheckSpec) -> Vec<Reproduction> {
    let tool = match spec.probe() {
        ProbeSpec::Icmp => tools::ping(spec),
        ProbeSpec::Tcp(tcp) => tools::tcp(spec, tcp),
        ProbeSpec::HalfOpen => tools::syn(spec),
        ProbeSpec::Udp(udp) => tools::udp(spec, udp),
        ProbeSpec::Http(http) => tools::curl(spec, http),
        ProbeSpec::Dns(dns) => tools::dig(spec, dns),
        ProbeSpec::Radius(radius) => tools::radclient(spec, radius),
        ProbeSpec::RadiusStatus(_) => tools::radclient_status(spec),
        ProbeSpec::Dialogue(_) | ProbeSpec::Grpc(_) => tools::dialogue(spec),
    };
    let Some(host) = spec.host_name() else { return vec![tool, hcctl::command(spec)] };
    // The target is the first address, or none.
    if host.addresses().is_empty() {
        return Vec::new();
    }
    let note = format!("asks the first of the {} addresses of {} alone", host.addresses().len(), host.name());
    vec![tool.note(note.as_str()), hcctl::command(spec).note(note)]
}

impl Reproduction {
    fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}
