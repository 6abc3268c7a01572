//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Runs the health checks of a layer-4 load balancer and tells hc-proxy what they find.
#[derive(Debug, Parser)]
#[command(name = "hc-server", version)]
pub struct Cli {
    /// Configuration file. Without it, /etc/seesaw/hc-server.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Path of the socket that hc-proxy connects to; wins over the configuration.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Directory for what survives a restart; wins over the configuration.
    #[arg(long, value_name = "PATH")]
    pub state_dir: Option<PathBuf>,
    /// Keep all capabilities, files and system calls after the start: for debugging.
    #[arg(long)]
    pub no_sandbox: bool,
    /// Run commands for the hc-server at the other end of standard input.
    #[arg(long, hide = true)]
    pub command_runner: bool,
    /// Check the configuration, say whether it is right, and end.
    #[arg(long)]
    pub check_config: bool,
}
