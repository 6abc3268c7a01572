//! What is installed in the root: packages, files, the service, and what it says.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::dist::check::is_package;
use crate::dist::files;
use crate::dist::systemctl::{in_root, wait};

/// Where the sink of the test writes.
const CHANGES: &str = "var/lib/seesaw-hc/changes.log";

#[derive(Clone, Copy)]
pub(super) struct Installed<'a> {
    pub(super) root: &'a Path,
}

impl Installed<'_> {
    /// Runs a program in the root.
    pub(super) fn run(&self, words: &[&str]) -> Result<String> {
        in_root(self.root, words)
    }

    /// Installs the packages of `before` or `now`; a file that an operator has changed stays.
    pub(super) fn install(&self, from: &str) -> Result<()> {
        println!("dpkg --install: {from}");
        let names = files(&self.root.join(from))?.into_keys().filter(|name| is_package(name));
        let names: Vec<String> = names.map(|name| format!("/{from}/{name}")).collect();
        let mut words = vec!["--install", "--force-confdef", "--force-confold"];
        words.extend(names.iter().map(String::as_str));
        self.dpkg(&words)
    }

    /// `--remove` or `--purge` of all our packages.
    pub(super) fn away(&self, how: &str) -> Result<()> {
        println!("dpkg {how}");
        self.dpkg(&[how, "hc-proxy", "hc-server", "hcctl"])?;
        for unit in ["hc-server", "hc-proxy"] {
            ensure!(self.process(unit).is_none(), "{unit} runs on");
        }
        Ok(())
    }

    fn dpkg(&self, words: &[&str]) -> Result<()> {
        let said = self.run(&[&["dpkg"], words].concat());
        let said = said.map_err(|error| anyhow::anyhow!("{error:#}\n{}", self.log()))?;
        ensure!(!said.contains("error"), "dpkg said: {said}");
        Ok(())
    }

    pub(super) fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| file.to_owned())
    }

    pub(super) fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.root.join(file), text).with_context(|| file.to_owned())
    }

    /// Adds lines to a file.
    pub(super) fn add(&self, file: &str, lines: &str) -> Result<()> {
        self.write(file, &(self.read(file)? + lines))
    }

    pub(super) fn exists(&self, file: &str) -> bool {
        let path = self.root.join(file);
        path.exists() || path.is_symlink()
    }

    /// What the service has written so far.
    pub(super) fn log(&self) -> String {
        let log = |unit| self.read(&format!("run/stand-in/{unit}.service.log")).unwrap_or_default();
        format!("--- hc-server\n{}--- hc-proxy\n{}", log("hc-server"), log("hc-proxy"))
    }

    /// The process of a unit, unless it has ended. One that nobody has waited for yet has ended.
    pub(super) fn process(&self, unit: &str) -> Option<String> {
        let pid = self.read(&format!("run/stand-in/{unit}.service.pid")).ok()?;
        let stat = self.read(&format!("proc/{pid}/stat")).ok()?;
        (stat.contains(&format!("({unit}) ")) && !stat.contains(&format!("({unit}) Z"))).then_some(pid)
    }

    pub(super) fn is_enabled(&self, unit: &str) -> bool {
        self.exists(&format!("etc/systemd/system/multi-user.target.wants/{unit}.service"))
    }

    /// `start`, `restart` and so on of a service.
    pub(super) fn service(&self, verb: &str, unit: &str) -> Result<()> {
        let done = self.run(&["systemctl", verb, &format!("{unit}.service")]);
        done.map(drop).with_context(|| self.log())
    }

    /// What `hcctl show` says of a check.
    pub(super) fn check(&self, name: &str) -> Result<Value> {
        // Its exit status says how the check is.
        let said = self.run(&["sh", "-c", &format!("hcctl show {name} --json || test $? = 1")])?;
        serde_json::from_str(&said).with_context(|| said.clone())
    }

    /// The id of the check with this target. Seesaw's checks have no names.
    pub(super) fn id(&self, target: &str) -> Result<String> {
        let said = self.run(&["sh", "-c", "hcctl status --json || test $? = 1"])?;
        let all: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        let mut checks = all.as_array().into_iter().flatten();
        let check = checks.find(|check| check["target"] == target).with_context(|| said.clone())?;
        check["id"].as_str().map(str::to_owned).with_context(|| said.clone())
    }

    /// Waits until `hcctl status` begins with this.
    pub(super) fn status(&self, begin: &str) -> Result<()> {
        let mut last = String::new();
        let right = || {
            // Its exit status says whether something is down.
            let said = self.run(&["sh", "-c", "hcctl status 2>&1 || true"]);
            last = said.unwrap_or_else(|error| error.to_string());
            last.contains(begin)
        };
        wait(begin, right).with_context(|| format!("{last}\n{}", self.log()))
    }

    /// Waits until the sink has been told of each of these changes behind `from`, in whatever order,
    /// and of nothing that is unhealthy but these and what was `down` before. The sink hears in the
    /// order in which things come about: a false verdict would stand before the last of the changes.
    /// Says how much it has been told by then.
    pub(super) fn is_told(&self, from: usize, changes: &[(&str, &str)], down: &[&str]) -> Result<usize> {
        let is = |line: &Value, &(name, health): &(&str, &str)| {
            line["name"] == name && line["health"] == health && line["initial"] == false
        };
        let (mut lines, mut end): (Vec<Value>, usize) = (Vec::new(), from);
        let heard = || {
            let all = self.read(CHANGES).unwrap_or_default();
            // The last line may not be whole yet.
            end = all.rfind('\n').map_or(0, |end| end + 1);
            let new = all.get(from..end).unwrap_or_default().lines();
            lines = new.filter_map(|line| serde_json::from_str(line).ok()).collect();
            changes.iter().all(|change| lines.iter().any(|line| is(line, change)))
        };
        let waited = wait("the sink hears of what changes", heard);
        waited.with_context(|| format!("{lines:#?}"))?;
        let expected = |line: &Value| {
            changes.iter().any(|change| is(line, change)) || down.iter().any(|name| line["name"] == *name)
        };
        match lines.iter().find(|line| line["health"] == "unhealthy" && !expected(line)) {
            Some(line) => bail!("a false verdict: {line}"),
            None => Ok(end),
        }
    }
}
