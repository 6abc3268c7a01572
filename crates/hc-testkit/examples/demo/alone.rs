//! The same backends checked by an hc-server without Seesaw, from a file, which writes what it
//! finds to a log.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The file of checks and the events of an hc-server that reads it.
#[derive(Debug)]
pub(crate) struct Alone {
    checks: String,
    events: PathBuf,
    page: SocketAddr,
    /// How many bytes of them were read.
    read: usize,
}

impl Alone {
    /// Writes the files; the names of the checks are those of the backends. The command starts the
    /// server.
    pub(crate) fn prepare(
        directory: &Path,
        server: &Path,
        checks: impl Iterator<Item = (&'static str, SocketAddr, &'static str)>,
    ) -> Result<(Self, Command)> {
        let mut text = "[defaults]\ninterval = \"500ms\"\ntimeout = \"300ms\"\nretries = 1\n".to_owned();
        for (name, address, probe) in checks {
            text += &format!("\n[[check]]\nname = \"{name}\"\ntarget = \"{address}\"\n{probe}\n");
        }
        // Free until somebody else takes it in the moment before the server does.
        let page =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no free port")?;
        let (file, events) = (directory.join("checks.toml"), directory.join("events.log"));
        let config = format!(
            "[source]\nkind = \"file\"\nfiles = [{file:?}]\n\n[[sink]]\nname = \"events\"\nkind = \"log\"\npath = {events:?}\n\n\
             [admin]\nlisten = \"{page}\"\n"
        );
        fs::write(&file, &text).context("cannot write the file of checks")?;
        fs::write(directory.join("alone.toml"), config).context("cannot write the configuration")?;
        let state = directory.join("alone");
        fs::create_dir(&state).context("cannot make a directory")?;
        let mut command = Command::new(server);
        command.arg("--config").arg(directory.join("alone.toml"));
        command.arg("--socket").arg(state.join("hc.sock")).arg("--state-dir").arg(&state);
        Ok((Self { checks: text, events, page, read: 0 }, command))
    }

    /// The file of checks.
    pub(crate) fn checks(&self) -> &str {
        &self.checks
    }

    /// Where its page is.
    pub(crate) fn page(&self) -> String {
        format!("http://{}/", self.page)
    }

    /// Changes that were written since the last call: name, health and words.
    pub(crate) fn news(&mut self) -> Result<Vec<(String, String, String)>> {
        // Not there before the first change.
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        let rest = text.get(self.read..).unwrap_or_default();
        // A line that is being written is left for the next time.
        let whole = rest.rfind('\n').map_or("", |end| &rest[..=end]);
        self.read += whole.len();
        let of_line = |line: &str| {
            let event: Value = serde_json::from_str(line).with_context(|| format!("the log says {line}"))?;
            let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            Ok((word("name"), word("health"), word("message")))
        };
        whole.lines().map(of_line).collect()
    }
}
