//! The packages in a clean root of Debian: installed, upgraded, removed, installed again and
//! purged, while checks run.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::systemctl::{in_root, wait};
use super::{Made, files};
use crate::command;
use crate::integration::{namespace_words, our_program};
use crate::workspace::Workspace;

/// The command by which we run ourselves again inside the namespaces. Not for people.
pub(crate) const INSIDE: &str = "dist-inside";

/// The version that is upgraded from: the same programs, with another default file and another
/// number.
const BEFORE: &str = "0.0.9";

/// Tries the packages out.
pub(super) fn packages(workspace: &Workspace, made: &Made) -> Result<()> {
    let work = workspace.target().join("dist");
    let before = work.join("before");
    super::remove(&before)?;
    fs::create_dir_all(&before)?;
    for (name, path) in files(&made.directory)? {
        if is_package(&name) {
            older(&path, &work.join("repacked"), &before)?;
        }
    }
    let clean = clean_root(&work, &made.directory)?;
    let root = tempfile::tempdir_in(&work).context("cannot make a temporary directory")?;
    command::run(Command::new("tar").arg("-xf").arg(clean).arg("-C").arg(root.path()))?;
    let us = our_program()?;
    super::copy(Path::new(&us), &root.path().join("usr/bin/systemctl"))?;
    for (from, to) in [(&before, "before"), (&made.directory, "now")] {
        super::copy_tree(from, &root.path().join(to))?;
    }
    // Namespaces of network and mounts, and in them one of processes, so that nothing is left
    // behind, whatever happens.
    let words = namespace_words()?;
    let mut inside = Command::new(&words[0]);
    inside.args(&words[1..]).args(["unshare", "--pid", "--fork", "--kill-child"]);
    command::run(inside.arg(&us).arg(INSIDE).arg(root.path()))
}

/// Whether a file is a package that people install.
fn is_package(name: &str) -> bool {
    name.ends_with(".deb") && !name.contains("-dbgsym")
}

/// Packs a package again, as that of the version before.
fn older(package: &Path, unpacked: &Path, to: &Path) -> Result<()> {
    super::remove(unpacked)?;
    command::run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(unpacked))?;
    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    fs::write(&control, text.replace(&format!("{}-1", super::version()), &format!("{BEFORE}-1")))?;
    let default = unpacked.join("etc/default/hc-server");
    if let Ok(text) = fs::read_to_string(&default) {
        fs::write(&default, text + "# A line of the version before.\n")?;
    }
    command::run(Command::new("dpkg-deb").args(["-Zgzip", "-z1", "--build"]).arg(unpacked).arg(to))?;
    super::remove(unpacked)
}

/// A root with what the packages depend on, kept for the next time.
fn clean_root(work: &Path, packages: &Path) -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.context("/etc/os-release names no VERSION_CODENAME")?;
    // For the users of sysusers.d and the directories of tmpfiles.d.
    let mut wanted = vec!["systemd".to_owned(), "usr-is-merged".to_owned()];
    for (name, path) in files(packages)? {
        if is_package(&name) {
            wanted.extend(depends(&path)?);
        }
    }
    wanted.sort();
    wanted.dedup();
    let tar = work.join(format!("root-{suite}-{}.tar", wanted.join("+")));
    if !tar.exists() {
        let unfinished = work.join("root.tar");
        command::run(
            Command::new("mmdebstrap")
                .args(["--quiet", "--mode=root", "--variant=essential", "--format=tar"])
                // Otherwise a package with much of Perl merges /usr, and each file is written to
                // the disk before the next.
                .args(["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--dpkgopt=force-unsafe-io"])
                .arg(format!("--include={}", wanted.join(",")))
                // Neither is read by anybody.
                .arg("--dpkgopt=path-exclude=/usr/share/locale/*")
                .arg(suite)
                .arg(&unfinished)
                .args(mirrors()),
        )?;
        fs::rename(&unfinished, &tar).context("cannot keep the root")?;
    }
    Ok(tar)
}

/// What apt of this machine gets Debian from; other sources of it are none of ours.
fn mirrors() -> Option<String> {
    ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list.d/ubuntu.sources"]
        .into_iter()
        .find(|file| Path::new(file).exists())
        .map(str::to_owned)
}

/// The names of the packages that a package depends on, but for ours.
fn depends(package: &Path) -> Result<Vec<String>> {
    let text = command::output(Command::new("dpkg-deb").arg("-f").arg(package).arg("Depends"))?;
    let names = text.trim().split(", ").filter_map(|one| one.split([' ', ':', '|']).next());
    Ok(names.filter(|name| !name.is_empty() && !name.starts_with("hc-")).map(str::to_owned).collect())
}

/// Runs inside the namespaces, as their first process.
pub(crate) fn inside(args: &[OsString]) -> Result<()> {
    let [root] = args else { bail!("{INSIDE} is for `cargo xtask dist --check`") };
    ensure!(std::process::id() == 1, "{INSIDE} is for a private namespace of processes");
    let root = Path::new(root);
    for (kind, place) in [("proc", "proc"), ("tmpfs", "run")] {
        command::output(Command::new("mount").args(["-t", kind, kind]).arg(root.join(place)))?;
    }
    command::output(Command::new("mount").args(["--rbind", "/dev"]).arg(root.join("dev")))?;
    // That is how scripts of packages find out that systemd runs.
    fs::create_dir_all(root.join("run/systemd/system"))?;
    let test = Test { root, backends: [backend()?, backend()?], dead: dead()? };
    test.install()?;
    test.upgrade()?;
    test.remove_and_install_again()?;
    test.purge()
}

/// A backend that is well.
fn backend() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || listener.incoming().for_each(drop));
    Ok(address)
}

/// An address at which nobody listens.
fn dead() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

struct Test<'a> {
    root: &'a Path,
    backends: [SocketAddr; 2],
    dead: SocketAddr,
}

impl Test<'_> {
    fn run(&self, words: &[&str]) -> Result<String> {
        in_root(self.root, words)
    }

    fn dpkg(&self, what: &str, from: &str) -> Result<()> {
        println!("dpkg {what} of {from}");
        let mut words =
            vec!["dpkg".to_owned(), what.to_owned(), "--force-confdef".into(), "--force-confold".into()];
        if from == "packages" {
            words.extend(["hc-proxy", "hc-server", "hcctl"].map(str::to_owned));
        } else {
            let names = files(&self.root.join(from))?.into_keys();
            words.extend(names.filter(|name| is_package(name)).map(|name| format!("/{from}/{name}")));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = self.run(&words).map_err(|error| anyhow::anyhow!("{error:#}\n{}", self.log()))?;
        ensure!(!said.contains("error"), "dpkg said: {said}");
        Ok(())
    }

    fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| file.to_owned())
    }

    fn exists(&self, file: &str) -> bool {
        let path = self.root.join(file);
        path.exists() || path.is_symlink()
    }

    fn log(&self) -> String {
        self.read("run/stand-in/hc-server.service.log").unwrap_or_default()
    }

    /// The process of hc-server.
    fn server(&self) -> Option<String> {
        let pid = self.read("run/stand-in/hc-server.service.pid").ok()?;
        // Of its root, where the processes of our namespace are; ours are those of the machine.
        let name = self.read(&format!("proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "hc-server").then_some(pid)
    }

    fn is_enabled(&self, unit: &str) -> bool {
        self.exists(&format!("etc/systemd/system/multi-user.target.wants/{unit}"))
    }

    /// Waits until two backends are up and one is down.
    fn health_is_right(&self) -> Result<()> {
        let mut last = String::new();
        let right = || {
            // Its exit status says that something is down, which is right.
            let said = self.run(&["sh", "-c", "hcctl status 2>&1 || true"]);
            last = said.unwrap_or_else(|error| error.to_string());
            last.contains("3 checks: 2 healthy, 1 unhealthy, 0 unknown")
        };
        wait("two backends are up and one is down", right).with_context(|| format!("{last}\n{}", self.log()))
    }

    /// What the sink was told; the healthy checks must never be among those that fail.
    fn sink_heard_no_false_verdict(&self) -> Result<()> {
        let told = || self.read("var/lib/seesaw-hc/changes.log").unwrap_or_default();
        let heard = || ["web/a", "web/b", "web/dead"].iter().all(|name| told().contains(name));
        wait("the sink hears of all checks", heard).with_context(told)?;
        let told = told();
        for line in told.lines() {
            ensure!(!line.contains("unhealthy") || line.contains("web/dead"), "a false verdict: {line}");
        }
        Ok(())
    }

    fn install(&self) -> Result<()> {
        self.dpkg("--install", "before")?;
        self.server().with_context(|| format!("hc-server was not started\n{}", self.log()))?;
        ensure!(self.is_enabled("hc-server.service"), "hc-server is not enabled");
        ensure!(
            !self.is_enabled("hc-proxy.service"),
            "hc-proxy is enabled, beside seesaw_healthcheck perhaps"
        );
        ensure!(
            !self.exists("run/stand-in/hc-proxy.service.pid"),
            "hc-proxy was started, beside seesaw_healthcheck perhaps"
        );
        let owner = self.run(&["stat", "-c", "%U:%G %a", "/var/lib/seesaw-hc"])?;
        ensure!(owner.trim() == "seesaw-hc:seesaw-hc 750", "the state directory: {owner}");
        self.run(&["hc-server", "--check-config"])?;
        for page in ["man8/hc-server.8.gz", "man8/hc-proxy.8.gz", "man1/hcctl.1.gz"] {
            ensure!(self.exists(&format!("usr/share/man/{page}")), "there is no {page}");
        }

        let [a, b] = self.backends;
        let checks = format!(
            "[defaults]\ninterval = \"200ms\"\ntimeout = \"100ms\"\nretries = 1\n\n[[check]]\nname = \"web\"\ntcp = {{}}\n\
             target = [{{ address = \"{a}\", name = \"a\" }}, {{ address = \"{b}\", name = \"b\" }}, {{ address = \"{}\", name = \"dead\" }}]\n",
            self.dead
        );
        fs::write(self.root.join("etc/seesaw/checks.toml"), checks)?;
        let settings = self.read("etc/seesaw/hc-server.toml")?
            + "[source]\nkind = \"file\"\nfiles = [\"/etc/seesaw/checks.toml\"]\n\n\
               [[sink]]\nname = \"changes\"\nkind = \"log\"\npath = \"/var/lib/seesaw-hc/changes.log\"\n";
        fs::write(self.root.join("etc/seesaw/hc-server.toml"), settings)?;
        self.run(&["systemctl", "restart", "hc-server.service"]).with_context(|| self.log())?;
        self.health_is_right()?;
        self.run(&["systemctl", "start", "hc-proxy.service"]).with_context(|| "hc-proxy does not start")?;
        self.sink_heard_no_false_verdict()
    }

    fn upgrade(&self) -> Result<()> {
        let (server, proxy) = (self.server(), self.read("run/stand-in/hc-proxy.service.pid")?);
        ensure!(
            self.read("etc/default/hc-server")?.contains("version before"),
            "the version before has no file of its own"
        );
        self.dpkg("--install", "now")?;
        ensure!(self.server().is_some_and(|pid| Some(pid) != server), "hc-server was not restarted");
        ensure!(self.read("run/stand-in/hc-proxy.service.pid")? != proxy, "hc-proxy was not restarted");
        ensure!(
            !self.read("etc/default/hc-server")?.contains("version before"),
            "a file that nobody has changed is old"
        );
        ensure!(
            self.read("etc/seesaw/hc-server.toml")?.contains("checks.toml"),
            "settings of the operator are lost"
        );
        ensure!(
            self.log().contains("health of the last run is remembered"),
            "health is lost\n{}",
            self.log()
        );
        self.health_is_right()?;
        self.sink_heard_no_false_verdict()
    }

    fn remove_and_install_again(&self) -> Result<()> {
        self.dpkg("--remove", "packages")?;
        ensure!(self.server().is_none(), "hc-server runs on");
        ensure!(!self.exists("usr/sbin/hc-server"), "hc-server is there still");
        for kept in
            ["etc/seesaw/hc-server.toml", "etc/default/hc-server", "var/lib/seesaw-hc/health.snapshot"]
        {
            ensure!(self.exists(kept), "{kept} is gone, and was only removed with the package, not purged");
        }
        self.dpkg("--install", "now")?;
        self.health_is_right()?;
        self.sink_heard_no_false_verdict()
    }

    fn purge(&self) -> Result<()> {
        self.dpkg("--purge", "packages")?;
        ensure!(self.server().is_none(), "hc-server runs on");
        for gone in [
            "etc/seesaw/hc-server.toml",
            "etc/default/hc-server",
            "etc/default/hc-proxy",
            "var/lib/seesaw-hc",
            "etc/systemd/system/multi-user.target.wants/hc-server.service",
            "usr/share/doc/hc-server",
        ] {
            ensure!(!self.exists(gone), "{gone} is left after a purge");
        }
        ensure!(self.exists("etc/seesaw/checks.toml"), "a file of the operator is gone");
        ensure!(self.read("etc/passwd")?.contains("\nseesaw-hc:"), "the user is gone");
        let left = self.run(&["sh", "-c", "dpkg-query -W 'hc*' 2>/dev/null || true"])?;
        ensure!(left.trim().is_empty(), "dpkg knows of {left}");
        self.dpkg("--install", "now")?;
        self.server().with_context(|| format!("hc-server was not started after a purge\n{}", self.log()))?;
        self.dpkg("--purge", "packages")
    }
}
