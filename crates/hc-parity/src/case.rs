//! One comparison: a server, and a check of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hc_wire::bytes::JsonBytes;
use serde_json::{Value, json};

use crate::serve::Server;

/// Long enough for every answer that comes at all, even on a machine that is busy.
const PATIENT: Duration = Duration::from_secs(4);

/// For servers that never answer: nothing that is decided by this deadline can come before it.
const HASTY: Duration = Duration::from_millis(300);

/// Which family of addresses a case uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both of them.
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Where servers listen.
    pub(crate) fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// A server, and a check that both sides run against it.
pub(crate) struct Case {
    /// What it is about; exceptions are matched by it.
    pub(crate) name: String,
    /// Over which protocol.
    pub(crate) family: Family,
    /// What is checked.
    pub(crate) server: Server,
    /// The check as `docs/protocol.md` describes it, without address and periods.
    pub(crate) check: Value,
    /// Its timeout.
    pub(crate) timeout: Duration,
}

impl Case {
    /// A case over IPv4 whose answer comes long before the timeout.
    pub(crate) fn new(name: impl Into<String>, server: Server, check: Value) -> Self {
        Self { name: name.into(), family: Family::V4, server, check, timeout: PATIENT }
    }

    /// The same with an answer that never comes.
    pub(crate) fn without_end(self) -> Self {
        Self { timeout: HASTY, ..self }
    }

    /// The same over this family.
    pub(crate) fn over(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// What makes a check of the server at `ip` and `port` out of it, in one line.
    pub(crate) fn line(&self, n: u64, ip: IpAddr, port: u16) -> String {
        let mut check = json!({
            "n": n, "id": n, "interval": "1h", "retries": 0,
            "timeout": format!("{}ms", self.timeout.as_millis()),
            "ip": ip, "port": port,
        });
        if let (Value::Object(all), Value::Object(own)) = (&mut check, &self.check) {
            if own["checker_type"] == "icmp" {
                all.remove("port");
            }
            all.extend(own.clone());
        }
        check.to_string()
    }

    /// The kind of check.
    pub(crate) fn kind(&self) -> &str {
        self.check["checker_type"].as_str().unwrap_or_default()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.name, self.family)
    }
}

/// Bytes as they stand in a check.
pub(crate) fn bytes(bytes: impl AsRef<[u8]>) -> Value {
    serde_json::to_value(JsonBytes(bytes.as_ref().into())).unwrap_or_default()
}
