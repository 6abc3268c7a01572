//! Where etcd is, and how it is spoken to.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::tls::TlsFiles;

/// Where etcd is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// The members: `https://host:port`, `http://host:port`, or `host:port` for `http`. The port is
    /// 2379 if missing. All of `https` or all of `http`.
    pub endpoints: Vec<String>,
    /// What all keys of the fleet begin with. A `/` is put behind it if it lacks one. Default
    /// `/seesaw-hc/v1/`.
    pub prefix: String,
    /// Certificates in PEM that servers are verified against. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to servers, in PEM, with those between it and the root.
    pub cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The name that the servers' certificates must have. Default: the host of the endpoint.
    pub server_name: Option<String>,
    /// Who logs in. Default: nobody, or whom the certificate names.
    pub user: Option<String>,
    /// The file with the user's password. A line break at its end does not count.
    pub password_file: Option<PathBuf>,
    /// How long a lease lives that is not kept alive: 2 seconds to a day. Default 10 s. The same as
    /// that of the node, `hc_fleet::NodeConfig`.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// How long etcd may take for an answer. Default 3 s.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How long the watch may be silent before another member is asked. Default 5 s, and to be less
    /// than `ttl`.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// How long etcd keeps what was overwritten, at least; after twice that time it is compacted
    /// away. This is about all of etcd, also keys of others. Zero: nobody of the fleet compacts, and
    /// a warning says so when nobody else does. Default 10 minutes.
    #[serde(with = "humantime_serde")]
    pub keep_revisions: Duration,
    /// How often alarms and the size of etcd's database are looked at. Default a minute.
    #[serde(with = "humantime_serde")]
    pub look: Duration,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            prefix: "/seesaw-hc/v1/".to_owned(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name: None,
            user: None,
            password_file: None,
            ttl: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            silence: Duration::from_secs(5),
            keep_revisions: Duration::from_mins(10),
            look: Duration::from_mins(1),
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct EtcdConfigError {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it, with the name of the file where there is one.
    pub problem: String,
}

impl EtcdConfigError {
    pub(crate) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

/// What a configuration amounts to.
pub(crate) struct Settings {
    pub(crate) config: EtcdConfig,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Ends in a `/`.
    pub(crate) prefix: String,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) login: Option<Login>,
}

/// A user and where the password is.
pub(crate) struct Login {
    pub(crate) user: String,
    file: PathBuf,
    kept: hc_types::Secret,
}

impl Login {
    fn load(user: &str, file: &std::path::Path) -> Result<Self, EtcdConfigError> {
        let failed = |problem| EtcdConfigError::new("password_file", problem);
        let text =
            std::fs::read_to_string(file).map_err(|error| failed(format!("{}: {error}", file.display())))?;
        let password = text.trim_end_matches(['\n', '\r']);
        if password.is_empty() {
            return Err(failed(format!("{} is empty", file.display())));
        }
        Ok(Self { user: user.to_owned(), file: file.to_owned(), kept: password.into() })
    }

    /// The password as the file has it now, or as it had it in the beginning if the file is out of
    /// reach.
    pub(crate) fn password(&self) -> hc_types::Secret {
        Self::load(&self.user, &self.file).map_or_else(|_| self.kept.clone(), |fresh| fresh.kept)
    }
}

impl Settings {
    pub(crate) fn load(config: EtcdConfig) -> Result<Self, EtcdConfigError> {
        let parsed = config.endpoints.iter().map(|text| Endpoint::parse(text));
        let endpoints: Vec<Endpoint> =
            parsed.collect::<Result<_, _>>().map_err(|problem| EtcdConfigError::new("endpoints", problem))?;
        let Some(first) = endpoints.first() else {
            return Err(EtcdConfigError::new("endpoints", "no member of etcd is named"));
        };
        if endpoints.iter().any(|endpoint| endpoint.tls != first.tls) {
            return Err(EtcdConfigError::new("endpoints", "some are https and some are not"));
        }
        if !first.tls {
            let files = [&config.ca_file, &config.cert_file, &config.key_file];
            if files.iter().any(|file| file.is_some()) || config.server_name.is_some() {
                return Err(EtcdConfigError::new("endpoints", "certificates are for https:// endpoints"));
            }
        }
        let mut prefix = config.prefix.clone();
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        if prefix.len() < 2 || prefix.len() > 200 || prefix.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(EtcdConfigError::new("prefix", "1 to 199 characters before the last '/' are needed"));
        }
        let day = Duration::from_hours(24);
        if !(Duration::from_secs(2)..=day).contains(&config.ttl) {
            return Err(EtcdConfigError::new("ttl", "2 seconds to a day"));
        }
        for (key, value) in [("timeout", config.timeout), ("silence", config.silence), ("look", config.look)]
        {
            if !(Duration::from_millis(10)..=day).contains(&value) {
                return Err(EtcdConfigError::new(key, "10 milliseconds to a day"));
            }
        }
        if config.silence >= config.ttl {
            return Err(EtcdConfigError::new("silence", "must be less than ttl"));
        }
        let login = match (&config.user, &config.password_file) {
            (Some(user), Some(file)) => Some(Login::load(user, file)?),
            (None, None) => None,
            (Some(_), None) => return Err(EtcdConfigError::new("password_file", "needed beside user")),
            (None, Some(_)) => return Err(EtcdConfigError::new("user", "needed beside password_file")),
        };
        let tls = first.tls.then(|| TlsFiles::load(&config)).transpose()?;
        Ok(Self { config, endpoints, prefix, tls, login })
    }
}
