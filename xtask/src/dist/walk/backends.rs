//! Real servers, which the checks are about.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::command;
use crate::dist::systemctl::wait;

/// Where checks find the backends. The namespace has no other ports than ours.
pub(super) const A: &str = "127.0.0.11:8080";
pub(super) const B: &str = "127.0.0.12:8080";

/// Where the application behind backend A is.
const APPLICATION: &str = "127.0.0.1:8081";

/// Two backends: A, an nginx in front of an application, and B, one by itself.
pub(super) struct Backends {
    pub(super) application: Nginx,
    pub(super) b: Nginx,
    _a: Nginx,
}

impl Backends {
    pub(super) fn start(home: &Path) -> Result<Self> {
        Ok(Self {
            application: Nginx::start(home, "application", APPLICATION, r#"return 200 "well\n""#)?,
            b: Nginx::start(home, "b", B, r#"return 200 "well\n""#)?,
            _a: Nginx::start(home, "a", A, &format!("proxy_pass http://{APPLICATION}"))?,
        })
    }
}

/// A web server, which ends with this.
pub(super) struct Nginx {
    command: Command,
    address: String,
    child: Option<Child>,
}

impl Nginx {
    /// Starts one that does `answer` for every request, and waits until it listens.
    pub(super) fn start(home: &Path, name: &str, address: &str, answer: &str) -> Result<Self> {
        let home = home.join(name);
        fs::create_dir_all(&home)?;
        let config = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log stderr crit;\nevents {{}}\n\
             http {{\n  access_log off;\n  client_body_temp_path {0}/body;\n  proxy_temp_path {0}/proxy;\n  \
             fastcgi_temp_path {0}/fastcgi;\n  uwsgi_temp_path {0}/uwsgi;\n  scgi_temp_path {0}/scgi;\n  \
             server {{ listen {address}; location / {{ {answer}; }} }}\n}}\n",
            home.display()
        );
        let file = home.join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = Command::new(command::find("nginx").context("there is no nginx")?);
        command.arg("-c").arg(&file).arg("-p").arg(&home).stdin(Stdio::null());
        let mut nginx = Self { command, address: address.to_owned(), child: None };
        nginx.begin()?;
        Ok(nginx)
    }

    /// Starts it, again after [`Nginx::end`].
    pub(super) fn begin(&mut self) -> Result<()> {
        self.child = Some(self.command.spawn().context("cannot start nginx")?);
        wait("nginx listens", || TcpStream::connect(&self.address).is_ok())
    }

    /// Ends it; what connects is refused.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        child.wait()?;
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
