//! The backend of all benchmarks: nginx on a processor of its own, reached at every address of
//! 127.0.0.0/8.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::process::{self, Process, wait_for};

/// Where it listens, at all addresses.
pub(crate) const PORT: u16 = 8080;

/// The processor of backends, and of what only serves the checkers.
pub(crate) const BACKEND_CPU: usize = 1;

/// The processor of whatever is measured.
pub(crate) const CHECKER_CPU: usize = 0;

/// Starts it, with its files in `dir`.
pub(crate) fn start(dir: &Path) -> Result<Process> {
    let config = dir.join("nginx.conf");
    fs::write(
        &config,
        format!(
            "daemon off; worker_processes 1; pid {0}/nginx.pid; error_log {0}/nginx.error;\n\
             worker_rlimit_nofile 65536; events {{ worker_connections 30000; }}\n\
             http {{ access_log off; keepalive_timeout 2s; keepalive_requests 1000000;\n\
             client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;\n\
             uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;\n\
             server {{ listen 0.0.0.0:{PORT} backlog=4096; location / {{ return 200 \"ok\\n\"; }} }} }}\n",
            dir.display()
        ),
    )?;
    let args = ["-c".as_ref(), config.as_os_str()];
    let nginx = process::start(BACKEND_CPU, &dir.join("nginx.log"), Path::new("/usr/sbin/nginx"), &args)?;
    wait_for("nginx answering", Duration::from_secs(5), || TcpStream::connect(("127.0.0.1", PORT)).is_ok())?;
    Ok(nginx)
}

/// An address of its own for each check, so that nobody runs out of ports towards one.
pub(crate) fn address(check: usize) -> String {
    format!("127.{}.{}.{}", 1 + check / 40_000, check / 200 % 200, check % 200 + 1)
}
