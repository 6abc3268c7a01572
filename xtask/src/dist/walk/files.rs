//! The walk without Seesaw: checks come from a file.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Machine;
use super::backends::{A, B, Backends, Nginx};
use super::browser::Browser;
use super::installed::Installed;

/// What an operator writes, as docs/packaging.md shows it: where checks come from, and the page.
fn five_lines() -> Result<&'static str> {
    let page = include_str!("../../../../docs/packaging.md");
    let block = page.split_once("```toml\n").and_then(|(_, behind)| behind.split_once("```"));
    Ok(block.context("docs/packaging.md shows no settings")?.0)
}

const REASON: &str = "the application is being repaired";

/// By which the test hears what consumers are told.
const EARS: &str =
    "\n[[sink]]\nname = \"changes\"\nkind = \"log\"\npath = \"/var/lib/seesaw-hc/changes.log\"\n";

/// A snapshot that a version before has written: check 3 of the file beside it is healthy after 1003
/// passes, and check 14 unhealthy after 9 failures.
const OLD_STATE: &[u8] = include_bytes!("../../../../crates/hc-server/tests/upgrade/version-1.snapshot");

/// Those two checks as a file has them. The first has a backend, which [`OLD_BACKEND`] is.
const OLD_CHECKS: &str = "\n[[check]]\nname = \"old-up\"\ntarget = \"127.83.67.1:1\"\ntcp = {}\n\n\
    [[check]]\nname = \"old-down\"\ntarget = \"[::1]:1\"\ntcp = {}\n";

const OLD_BACKEND: &str = "127.83.67.1:1";

struct Walk<'a> {
    installed: Installed<'a>,
    page: &'a mut Browser,
    backends: Backends,
    /// How much of what the sink was told has been looked at.
    heard: usize,
}

pub(super) fn walk(machine: &Machine<'_>, page: &mut Browser) -> Result<()> {
    let home = tempfile::tempdir()?;
    let backends = Backends::start(home.path())?;
    let mut walk = Walk { installed: Installed { root: machine.root }, page, backends, heard: 0 };
    walk.install()?;
    walk.five_lines()?;
    walk.a_backend_breaks()?;
    walk.mute()?;
    walk.upgrade()?;
    walk.mend()?;
    walk.remove()?;
    let _old = Nginx::start(home.path(), "old", OLD_BACKEND, "return 200")?;
    walk.install_over_an_older_state()?;
    walk.purge()
}

impl Walk<'_> {
    /// What the sink was told since this was asked last.
    fn is_told(&mut self, changes: &[(&str, &str)], down: &[&str]) -> Result<()> {
        self.heard = self.installed.is_told(self.heard, changes, down)?;
        Ok(())
    }

    fn install(&self) -> Result<()> {
        let installed = &self.installed;
        installed.install("before")?;
        installed
            .process("hc-server")
            .with_context(|| format!("hc-server was not started\n{}", installed.log()))?;
        ensure!(installed.is_enabled("hc-server"), "hc-server is not enabled");
        ensure!(!installed.is_enabled("hc-proxy"), "hc-proxy is enabled, beside seesaw_healthcheck perhaps");
        ensure!(
            installed.process("hc-proxy").is_none(),
            "hc-proxy was started, beside seesaw_healthcheck perhaps"
        );
        let owner = installed.run(&["stat", "-c", "%U:%G %a", "/var/lib/seesaw-hc"])?;
        ensure!(owner.trim() == "seesaw-hc:seesaw-hc 750", "the state directory: {owner}");
        installed.run(&["hc-server", "--check-config"])?;
        for file in [
            "man/man8/hc-server.8.gz",
            "man/man8/hc-proxy.8.gz",
            "man/man1/hcctl.1.gz",
            "hc-server/prometheus/hc-server.rules.yml",
            "hc-server/grafana/hc-server.json",
        ] {
            ensure!(installed.exists(&format!("usr/share/{file}")), "there is no {file}");
        }
        Ok(())
    }

    fn five_lines(&mut self) -> Result<()> {
        let installed = self.installed;
        let checks = format!(
            "[defaults]\ninterval = \"200ms\"\ntimeout = \"5s\"\nretries = 1\n\n[[check]]\nname = \"web\"\n\
             http = {{ path = \"/healthz\" }}\n\
             target = [{{ address = \"{A}\", name = \"a\" }}, {{ address = \"{B}\", name = \"b\" }}]\n",
        );
        installed.write("etc/seesaw/checks.toml", &checks)?;
        installed.add("etc/seesaw/hc-server.toml", &format!("\n{}{EARS}", five_lines()?))?;
        installed.run(&["hc-server", "--check-config"])?;
        installed.service("restart", "hc-server")?;
        installed.status("2 checks: 2 healthy, 0 unhealthy, 0 unknown")?;
        self.page.open()?;
        self.page.look("up", "1-installed", json!({ "checks": ["web/a", "web/b"] }))
    }

    /// What answers is still there, and says that what is behind it is not.
    fn a_backend_breaks(&mut self) -> Result<()> {
        self.backends.application.end()?;
        let says = "502 Bad Gateway";
        self.page.look("down", "2-broken", json!({ "check": "web/a", "says": says }))?;
        self.page.look("why", "3-why", json!({ "check": "web/a", "says": says }))?;
        self.is_told(&[("web/a", "unhealthy")], &[])
    }

    fn mute(&mut self) -> Result<()> {
        self.installed.run(&["hcctl", "mute", "web/a", "--for", "1h", "--reason", REASON])?;
        self.page.look("muted", "4-muted", json!({ "check": "web/a", "reason": REASON }))
    }

    fn upgrade(&mut self) -> Result<()> {
        let installed = self.installed;
        installed.service("start", "hc-proxy")?;
        let daemons = ["hc-server", "hc-proxy"];
        let old = daemons.map(|unit| installed.process(unit));
        let (a, b) = (installed.check("web/a")?, installed.check("web/b")?);
        let was = installed.read("etc/default/hc-server")?;
        ensure!(was.contains("version before"), "the version before has no file of its own");
        installed.install("now")?;
        for (unit, old) in daemons.iter().zip(old) {
            let new = installed.process(unit);
            ensure!(old.is_some() && new.is_some() && new != old, "{unit} was not restarted");
        }
        let is = installed.read("etc/default/hc-server")?;
        ensure!(!is.contains("version before"), "a file that nobody has changed is old");
        let settings = installed.read("etc/seesaw/hc-server.toml")?;
        ensure!(settings.contains("checks.toml"), "settings of the operator are lost");
        installed.status("2 checks: 1 healthy, 1 unhealthy, 0 unknown")?;
        for (name, before) in [("web/a", a), ("web/b", b)] {
            let after = installed.check(name)?;
            ensure!(after["since"] == before["since"], "{name}: {before} became {after}");
            ensure!(after["successes"].as_u64() >= before["successes"].as_u64(), "{name}: {before}, {after}");
        }
        self.page.look("muted", "5-upgraded", json!({ "check": "web/a", "reason": REASON }))?;
        // The page hears of what happens from the new process, and so does the sink.
        self.backends.b.end()?;
        self.page.look("down", "6-broken-again", json!({ "check": "web/b", "says": "refused" }))?;
        self.is_told(&[("web/b", "unhealthy")], &["web/a"])
    }

    fn mend(&mut self) -> Result<()> {
        self.backends.application.begin()?;
        self.backends.b.begin()?;
        self.installed.status("2 checks: 2 healthy")?;
        self.installed.run(&["hcctl", "unmute", "web/a"])?;
        self.page.look("up", "7-mended", json!({ "checks": ["web/a", "web/b"] }))?;
        self.is_told(&[("web/a", "healthy"), ("web/b", "healthy")], &[])
    }

    fn remove(&mut self) -> Result<()> {
        self.installed.away("--remove")?;
        ensure!(!self.installed.exists("usr/sbin/hc-server"), "hc-server is there still");
        for kept in
            ["etc/seesaw/hc-server.toml", "etc/default/hc-server", "var/lib/seesaw-hc/health.snapshot"]
        {
            ensure!(
                self.installed.exists(kept),
                "{kept} is gone, and was only removed with the package, not purged"
            );
        }
        self.page.look("lost", "8-removed", json!({ "checks": ["web/a", "web/b"] }))
    }

    /// What an older version has left behind is read, in its own format.
    fn install_over_an_older_state(&mut self) -> Result<()> {
        let installed = self.installed;
        let snapshot = "var/lib/seesaw-hc/health.snapshot";
        fs::write(installed.root.join(snapshot), OLD_STATE).context(snapshot)?;
        installed.add("etc/seesaw/checks.toml", OLD_CHECKS)?;
        // It was written a while ago.
        installed.add("etc/seesaw/hc-server.toml", "\n[state]\nmax_age = \"1000years\"\n")?;
        installed.install("now")?;
        installed.status("4 checks: 3 healthy, 1 unhealthy, 0 unknown")?;
        let count = |name, what: &str| Ok::<_, anyhow::Error>(installed.check(name)?[what].as_u64());
        let (passes, failures) = (count("old-up", "successes")?, count("old-down", "failures")?);
        ensure!(passes >= Some(1003), "health of the older version is lost: {passes:?}\n{}", installed.log());
        ensure!(
            failures >= Some(9),
            "health of the older version is lost: {failures:?}\n{}",
            installed.log()
        );
        self.page.look("down", "9-installed-again", json!({ "check": "old-down", "says": "refused" }))?;
        self.backends.b.end()?;
        self.is_told(&[("web/b", "unhealthy")], &["old-down"])?;
        self.backends.b.begin()
    }

    fn purge(&mut self) -> Result<()> {
        let installed = self.installed;
        installed.away("--purge")?;
        for gone in [
            "etc/seesaw/hc-server.toml",
            "etc/default/hc-server",
            "etc/default/hc-proxy",
            "var/lib/seesaw-hc",
            "etc/systemd/system/multi-user.target.wants/hc-server.service",
            "usr/share/doc/hc-server",
        ] {
            ensure!(!installed.exists(gone), "{gone} is left after a purge");
        }
        ensure!(installed.exists("etc/seesaw/checks.toml"), "a file of the operator is gone");
        ensure!(installed.read("etc/passwd")?.contains("\nseesaw-hc:"), "the user is gone");
        let left = installed.run(&["sh", "-c", "dpkg-query -W 'hc*' 2>/dev/null || true"])?;
        ensure!(left.trim().is_empty(), "dpkg knows of {left}");
        Ok(())
    }
}
