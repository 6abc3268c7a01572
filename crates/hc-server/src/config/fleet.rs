//! Section `[fleet]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hc_fleet::{NodeName, Policy, Quorum};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::values;

/// Section `[fleet]`: checks are shared with other nodes, through etcd. Off while it names no
/// `endpoints`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FleetConfig {
    /// Members of etcd, such as `"https://etcd1:2379"`. Default: none, and no fleet.
    pub endpoints: Vec<String>,
    /// The name of this node, which no other node of the fleet may have: 1 to 63 letters, digits,
    /// `.`, `-` and `_`. Default: the host name.
    #[serde(deserialize_with = "some_name")]
    pub name: Option<NodeName>,
    /// Where it stands. A check of several opinions is probed from several zones where there are
    /// several. Default: none.
    pub zone: String,
    /// Its share of the checks beside other nodes, 1 to 1000. Default 1.
    #[serde(deserialize_with = "capacity")]
    pub capacity: u16,
    /// What all keys of the fleet begin with. The same on all nodes. Default `"/seesaw-hc/v1/"`.
    pub prefix: String,
    /// How many nodes probe a check that does not say so itself, 1 to 15. The same on all nodes.
    /// Default 1.
    #[serde(deserialize_with = "opinions")]
    pub opinions: u8,
    /// What their opinions amount to: `"any"`, `"majority"`, `"all"`, or how many healthy ones make
    /// a check healthy. The same on all nodes. Default `"majority"`.
    #[serde(deserialize_with = "quorum")]
    pub quorum: Quorum,
    /// How long a node counts that is not heard of, and how long a node goes on without etcd before
    /// it takes itself for cut off. The same on all nodes. Default 10 s.
    #[serde(deserialize_with = "values::above_zero")]
    pub ttl: Duration,
    /// Certificates in PEM that those of etcd are checked against. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to etcd, in PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The name that the certificates of etcd must have. Default: the host of the endpoint.
    pub server_name: Option<String>,
    /// Who logs in to etcd. Default: nobody, or whom the certificate names.
    pub user: Option<String>,
    /// The file with the password of that user.
    pub password_file: Option<PathBuf>,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            name: None,
            zone: String::new(),
            capacity: 1,
            prefix: "/seesaw-hc/v1/".to_owned(),
            opinions: 1,
            quorum: Quorum::default(),
            ttl: Duration::from_secs(10),
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name: None,
            user: None,
            password_file: None,
        }
    }
}

impl FleetConfig {
    /// How a check is judged that does not say so itself.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy { opinions: self.opinions, quorum: self.quorum }
    }

    /// What is wrong with the keys together.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let alone = Self { endpoints: Vec::new(), ..Self::default() };
        let is_unused = self.endpoints.is_empty() && *self != alone;
        match () {
            () if is_unused => Some("[fleet] endpoints: must name etcd, or the section has no effect"),
            () if self.cert_file.is_some() != self.key_file.is_some() => {
                Some("[fleet] cert_file: needs key_file, and the other way round")
            }
            () if self.user.is_some() != self.password_file.is_some() => {
                Some("[fleet] user: needs password_file, and the other way round")
            }
            () if self.ttl < Duration::from_secs(2) => Some("[fleet] ttl: must be at least 2 s"),
            () => None,
        }
    }
}

fn some_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NodeName>, D::Error> {
    NodeName::deserialize(deserializer).map(Some)
}

fn capacity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    within(u16::deserialize(deserializer)?, 1, 1000)
}

fn opinions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    within(u8::deserialize(deserializer)?, 1, Policy::MOST_OPINIONS)
}

fn within<T: PartialOrd + fmt::Display, E: Error>(value: T, least: T, most: T) -> Result<T, E> {
    if value < least || value > most {
        return Err(E::custom(format_args!("must be from {least} to {most}")));
    }
    Ok(value)
}

fn quorum<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Quorum, D::Error> {
    deserializer.deserialize_any(Rule)
}

struct Rule;

impl Visitor<'_> for Rule {
    type Value = Quorum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"any\", \"majority\", \"all\" or a number of opinions")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quorum, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Quorum, E> {
        self.visit_str(&number.to_string())
    }
}
