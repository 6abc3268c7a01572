//! Section `[admin]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::values;

/// Section `[admin]`: who may look into the server, and how.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Whether there is an admin API at all. Default true.
    pub enabled: bool,
    /// Path of the socket for hcctl. Default: `hc-admin.sock` beside the socket for hc-proxy.
    pub socket: Option<PathBuf>,
    /// File mode of that socket, an octal string. Default `"0660"`.
    #[serde(deserialize_with = "values::octal_mode")]
    pub mode: u32,
    /// User that owns the socket file. Default: whoever runs the server.
    pub user: Option<String>,
    /// Group of the socket file. Default: that of whoever runs the server.
    pub group: Option<String>,
    /// Users whose processes may connect, beside root and the server's own.
    pub allowed_users: Vec<String>,
    /// Groups whose processes may connect.
    pub allowed_groups: Vec<String>,
    /// Address and port of the read-only API, for Prometheus and probes of the server itself.
    /// Default: none, since Seesaw's program listens nowhere either.
    pub listen: Option<SocketAddr>,
    /// Changes of health that are kept for readers, some 100 bytes each, and as many of overrides,
    /// some 500 bytes each. Default 10,000.
    pub journal: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            socket: None,
            mode: 0o660,
            user: None,
            group: None,
            allowed_users: Vec::new(),
            allowed_groups: Vec::new(),
            listen: None,
            journal: 10_000,
        }
    }
}
